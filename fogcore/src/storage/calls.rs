//! The calls of the ports that are decided on a working set, as requests to a writer.
//!
//! Each says what it touches and how it is decided. A database only has to find that, and to write
//! back what changed.

use super::request::{Change, Wanted};
use super::writer::{Request, Writer};
use super::{check_batch, ended};
use crate::error::Result;
use crate::id::{AccountId, TaskId, TransferId};
use crate::ledger::{self, Account, Applied, HoldState, LedgerError, Posted, Transfer};
use crate::scheduler::queue::Victim;
use crate::scheduler::{
    self, Claim, Completion, NewTask, Outcome, QueuePolicy, Renewal, SchedulerError, Submitted,
    Task, WorkingSet,
};
use crate::time::Timestamp;

impl<R: Request + From<Change>> Writer<R> {
    /// Makes the call on each of the items, with the tasks that they are about.
    async fn each<T, A>(
        &self,
        items: Vec<T>,
        now: Timestamp,
        task: fn(&T) -> TaskId,
        payee: fn(&T) -> Option<&AccountId>,
        call: fn(&mut WorkingSet, T, Timestamp) -> Result<A>,
    ) -> Result<Vec<Result<A>>>
    where
        T: Clone + Send + Sync + 'static,
        A: Send + Sync + 'static,
    {
        check_batch(items.len(), scheduler::MAX_BATCH)?;
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let payees = items.iter().filter_map(payee).cloned();
        let wanted = Wanted::tasks(items.iter().map(task), payees, now);
        let each = move |set: &mut WorkingSet| {
            items.iter().map(|item| call(set, item.clone(), now)).collect()
        };
        self.decide(wanted, each).await
    }

    pub(super) async fn submit(
        &self,
        tasks: Vec<NewTask>,
        policy: QueuePolicy,
        now: Timestamp,
    ) -> Result<Vec<Result<Submitted>>> {
        check_batch(tasks.len(), scheduler::MAX_BATCH)?;
        let wanted = Wanted::submissions(&tasks, now);
        let submit = move |set: &mut WorkingSet| {
            tasks.iter().map(|task| set.submit(task.clone(), &policy, now)).collect()
        };
        self.decide(wanted, submit).await
    }

    pub(super) async fn renew(
        &self,
        renewals: Vec<Renewal>,
        now: Timestamp,
    ) -> Result<Vec<Result<Task>>> {
        let task = |renewal: &Renewal| renewal.claim.task;
        self.each(renewals, now, task, |_| None, WorkingSet::renew).await
    }

    pub(super) async fn complete(
        &self,
        completions: Vec<Completion>,
        now: Timestamp,
    ) -> Result<Vec<Result<Task>>> {
        fn payee(completion: &Completion) -> Option<&AccountId> {
            match &completion.outcome {
                Outcome::Succeeded { reward: Some((owner, _)), .. } => Some(owner),
                _ => None,
            }
        }
        let task = |completion: &Completion| completion.claim.task;
        self.each(completions, now, task, payee, WorkingSet::complete).await
    }

    pub(super) async fn release(
        &self,
        claims: Vec<Claim>,
        now: Timestamp,
    ) -> Result<Vec<Result<Task>>> {
        self.each(claims, now, |claim| claim.task, |_| None, WorkingSet::release).await
    }

    pub(super) async fn cancel(&self, task: TaskId, now: Timestamp) -> Result<Task> {
        let mut answers =
            self.each(vec![task], now, |task| *task, |_| None, WorkingSet::cancel).await?;
        answers.pop().unwrap_or_else(|| Err(SchedulerError::TaskNotFound(task).into()))
    }

    /// Ends those of the tasks that ran out of time. What changed since they were found is looked
    /// at again, under the lock.
    pub(super) async fn expire_tasks(&self, due: Vec<TaskId>, now: Timestamp) -> Result<Vec<Task>> {
        Ok(ended(self.each(due, now, |task| *task, |_| None, WorkingSet::expire).await?))
    }

    /// Looks at these tasks again, each with the parents that it names.
    pub(super) async fn advance(
        &self,
        due: Vec<(TaskId, TaskId)>,
        now: Timestamp,
    ) -> Result<Vec<Task>> {
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let mut wanted = Wanted::tasks(due.iter().map(|(child, _)| *child), [], now);
        wanted.bare.extend(due.iter().map(|(_, parent)| *parent));
        let children: std::collections::BTreeSet<_> =
            due.into_iter().map(|(child, _)| child).collect();
        let advance = move |set: &mut WorkingSet| {
            children.iter().map(|child| set.advance(*child, now)).collect()
        };
        Ok(ended(self.decide(wanted, advance).await?))
    }

    pub(super) async fn preempt(
        &self,
        victims: Vec<Victim>,
        at: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<Task>> {
        check_batch(victims.len(), scheduler::MAX_BATCH)?;
        if victims.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = Wanted::without_money(victims.iter().map(|victim| victim.task), now);
        let preempt = move |set: &mut WorkingSet| {
            victims.iter().map(|victim| set.preempt(victim, at)).collect()
        };
        Ok(ended(self.decide(wanted, preempt).await?))
    }

    pub(super) async fn back_up(&self, late: Vec<Claim>, now: Timestamp) -> Result<Vec<Task>> {
        let back_up = |set: &mut WorkingSet, late: Claim, now| set.back_up(&late, now);
        Ok(ended(self.each(late, now, |late| late.task, |_| None, back_up).await?))
    }

    pub(super) async fn resume(&self, task: TaskId, now: Timestamp) -> Result<Task> {
        let mut answers =
            self.each(vec![task], now, |task| *task, |_| None, WorkingSet::resume).await?;
        answers.pop().unwrap_or_else(|| Err(SchedulerError::TaskNotFound(task).into()))
    }

    /// Marks what belongs to these tasks as removed, where it still is to be.
    pub(super) async fn purge(&self, due: Vec<TaskId>, now: Timestamp) -> Result<usize> {
        if due.is_empty() {
            return Ok(0);
        }
        let wanted = Wanted::without_money(due.iter().copied(), now);
        let purge = move |set: &mut WorkingSet| {
            due.iter().filter(|task| set.purge(**task, now).unwrap_or(false)).count()
        };
        self.decide(wanted, purge).await
    }

    pub(super) async fn open_accounts(
        &self,
        accounts: Vec<Account>,
        now: Timestamp,
    ) -> Result<Vec<Result<Account>>> {
        check_batch(accounts.len(), ledger::MAX_BATCH)?;
        let wanted = Wanted::accounts(accounts.iter().map(|account| account.id.clone()), now);
        let open = move |set: &mut WorkingSet| {
            let each = accounts.iter().cloned();
            each.map(|account| Ok(set.book.open(account, now)?.clone())).collect()
        };
        self.decide(wanted, open).await
    }

    pub(super) async fn transfer(
        &self,
        transfers: Vec<Transfer>,
        now: Timestamp,
    ) -> Result<Vec<Result<Applied, LedgerError>>> {
        if transfers.len() > ledger::MAX_BATCH {
            return Err(LedgerError::TooMuchData(transfers.len()).into());
        }
        let wanted = Wanted::transfers(&transfers, now);
        let apply = move |set: &mut WorkingSet| set.book.apply_batch(&transfers, now);
        Ok(self.decide(wanted, apply).await??)
    }

    /// Ends these holds, which were found to be due, in this order. What somebody else ended
    /// meanwhile is left out, under the lock.
    pub(super) async fn expire_holds(
        &self,
        due: Vec<TransferId>,
        now: Timestamp,
    ) -> Result<Vec<Posted>> {
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let mut wanted = Wanted::accounts([], now);
        let ids = due.iter().flat_map(|hold| [*hold, Transfer::expiry_id(*hold)]);
        wanted.transfers.extend(ids);
        let expire = move |set: &mut WorkingSet| {
            let is_pending = |posted: &Posted| posted.hold == Some(HoldState::Pending);
            let mut ended = Vec::with_capacity(due.len());
            for hold in due.iter().copied() {
                if set.book.transfer(hold).is_some_and(is_pending) {
                    match set.book.expire(hold, now) {
                        Ok(posted) => ended.push(posted.clone()),
                        Err(error) => tracing::error!(%error, %hold, "a hold cannot be ended"),
                    }
                }
            }
            ended
        };
        self.decide(wanted, expire).await
    }
}
