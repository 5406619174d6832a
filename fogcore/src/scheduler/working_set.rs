//! The life of tasks without I/O: everything that one atomic unit touches, and what it changes.
//!
//! A store loads the tasks, accounts and transfers that a call is about, makes the call here, and
//! writes back what [`WorkingSet::take_changes`] names. So each rule stands once, and every store
//! keeps it. The memory store simply has everything loaded.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use super::settlement;
use super::{
    Claim, Completion, Explanation, MAX_BYTES, NewTask, Outcome, Progress, Renewal, SchedulerError,
    Submitted, Tally, Task, TaskSpec, TaskState,
};
use crate::amount::Amount;
use crate::error::Result;
use crate::id::{AccountId, IdempotencyKey, NodeId, TaskId, TransferId};
use crate::ledger::Book;
use crate::time::Timestamp;

/// A client's name for a submission is its own: the payer's, or everybody's who pays nothing.
pub type Named = (Option<AccountId>, IdempotencyKey);

/// The tasks, accounts and transfers that one unit of work touches.
#[derive(Debug, Default)]
pub struct WorkingSet {
    /// The ledger's part.
    pub book: Book,
    tasks: HashMap<TaskId, Task>,
    names: HashMap<Named, TaskId>,
    changes: Changes,
}

/// What changed in a [`WorkingSet`] beside its book.
#[derive(Debug, Default)]
pub struct Changes {
    /// Tasks that were added or changed; may name one twice.
    pub tasks: Vec<TaskId>,
    /// Payloads of new tasks.
    pub payloads: Vec<(TaskId, Bytes)>,
    /// Results of tasks that succeeded.
    pub results: Vec<(TaskId, Bytes)>,
    /// Why leases went where they went.
    pub explanations: Vec<(TaskId, Explanation)>,
    /// What to add to the nodes' tallies.
    pub tallies: BTreeMap<NodeId, Tally>,
}

impl WorkingSet {
    /// Puts in a task as it is stored.
    pub fn load_task(&mut self, task: Task) {
        if let Some(named) = name_of(&task.spec) {
            self.names.insert(named, task.id);
        }
        self.tasks.insert(task.id, task);
    }

    /// The task, if it is loaded.
    #[must_use]
    pub fn task(&self, id: TaskId) -> Option<&Task> {
        self.tasks.get(&id)
    }

    /// All tasks that are loaded, in no order.
    pub fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.tasks.values()
    }

    /// Takes what changed since it was last taken.
    pub fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// Adds a task and reserves its budget; see [`TaskStore::submit`](super::TaskStore::submit).
    ///
    /// # Errors
    /// As there.
    pub fn submit(&mut self, new: NewTask, now: Timestamp) -> Result<Submitted> {
        new.spec.check(&new.payload)?;
        let fingerprint = new.spec.fingerprint(&new.payload)?;
        if let Some(named) = name_of(&new.spec)
            && let Some(existing) = self.names.get(&named).and_then(|id| self.tasks.get(id))
        {
            if existing.fingerprint == fingerprint {
                return Ok(Submitted { task: existing.clone(), new: false });
            }
            return Err(SchedulerError::KeyTaken { key: named.1, task: existing.id }.into());
        }
        if let Some(existing) = self.tasks.get(&new.id) {
            if existing.fingerprint == fingerprint {
                return Ok(Submitted { task: existing.clone(), new: false });
            }
            return Err(SchedulerError::TaskExists(new.id).into());
        }
        if let Some(hold) = settlement::reserve(new.id, &new.spec) {
            self.book.apply(&hold, now).map_err(crate::Error::from)?;
        }
        let task = Task::new(new.id, new.spec, fingerprint, now);
        self.load_task(task.clone());
        self.changes.tasks.push(task.id);
        self.changes.payloads.push((task.id, new.payload));
        Ok(Submitted { task, new: true })
    }

    /// Hands a queued task to the node that `explanation` chose, until `expires_at`.
    ///
    /// # Errors
    /// NotFound, or Conflict unless the task is queued.
    pub fn lease(
        &mut self,
        id: TaskId,
        explanation: Explanation,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Task> {
        let mut task = self.find(id)?;
        let chosen = explanation
            .chosen
            .as_ref()
            .ok_or_else(|| crate::Error::invalid("explanation", "nobody was chosen"))?;
        task.grant(chosen, explanation.devices.clone(), now, expires_at)?;
        self.changes.explanations.push((id, explanation));
        Ok(self.keep(task))
    }

    /// Extends a lease; see [`TaskStore::renew`](super::TaskStore::renew).
    ///
    /// # Errors
    /// As there.
    pub fn renew(&mut self, renewal: Renewal) -> Result<Task> {
        let mut task = self.find(renewal.claim.task)?;
        task.held_by(&renewal.claim)?.expires_at = renewal.expires_at;
        if let Some(progress) = renewal.progress {
            // Whoever filled in its fields: what is kept is in range.
            task.progress = Some(Progress::new(progress.done, &progress.note));
        }
        Ok(self.keep(task))
    }

    /// Ends an attempt; see [`TaskStore::complete`](super::TaskStore::complete).
    ///
    /// # Errors
    /// As there.
    pub fn complete(&mut self, completion: Completion, now: Timestamp) -> Result<Task> {
        let Completion { claim, outcome, usage } = completion;
        let mut task = self.find(claim.task)?;
        if is_replay(&task, &claim, &outcome) {
            return Ok(task);
        }
        task.held_by(&claim)?;
        let mut tally = Tally { busy: usage.busy, ..Tally::default() };
        match outcome {
            Outcome::Succeeded { result, reward } => {
                if result.len() > MAX_BYTES {
                    let found = result.len();
                    return Err(SchedulerError::TooLarge { field: "result", found }.into());
                }
                let transfers = settlement::settle(&task, reward.as_ref())?;
                self.book.apply_chain(&transfers, now)?;
                task.end(TaskState::Succeeded, None, now);
                task.paid = reward.map_or(Amount::ZERO, |(_, price)| price);
                task.usage = Some(usage);
                task.done_by = Some(claim.node.clone());
                tally.succeeded = 1;
                tally.earned = task.paid;
                self.changes.results.push((task.id, result));
            }
            Outcome::Failed { reason, permanent } => {
                let wait = task.spec.backoff.wait(task.id, task.attempts);
                let ready_at = now.saturating_add(wait);
                self.fail_attempt(&mut task, &reason, permanent, ready_at, now)?;
                tally.failed = 1;
            }
        }
        self.tally(claim.node, &tally);
        Ok(self.keep(task))
    }

    /// Gives a lease back; see [`TaskStore::release`](super::TaskStore::release).
    ///
    /// # Errors
    /// As there.
    pub fn release(&mut self, claim: Claim, now: Timestamp) -> Result<Task> {
        let mut task = self.find(claim.task)?;
        task.held_by(&claim)?;
        task.attempts -= 1;
        task.requeue(now);
        self.tally(claim.node, &Tally { released: 1, ..Tally::default() });
        Ok(self.keep(task))
    }

    /// Calls a task off; see [`TaskStore::cancel`](super::TaskStore::cancel).
    ///
    /// # Errors
    /// As there.
    pub fn cancel(&mut self, id: TaskId, now: Timestamp) -> Result<Task> {
        let mut task = self.find(id)?;
        match task.state {
            TaskState::Cancelled => return Ok(task),
            TaskState::Queued | TaskState::Leased => {}
            state => return Err(SchedulerError::WrongState { task: id, state }.into()),
        }
        self.end(&mut task, TaskState::Cancelled, "cancelled".to_owned(), now)?;
        Ok(self.keep(task))
    }

    /// Ends what of this task ran out of time, if anything did; see
    /// [`TaskStore::expire`](super::TaskStore::expire).
    ///
    /// # Errors
    /// NotFound.
    pub fn expire(&mut self, id: TaskId, now: Timestamp) -> Result<Option<Task>> {
        let mut task = self.find(id)?;
        if let Some(lease) = task.lease.clone() {
            if lease.expires_at > now {
                return Ok(None);
            }
            // Losing its node is not the task's fault: it waits for no backoff.
            let reason = format!("the lease of \"{}\" ran out", lease.node);
            self.fail_attempt(&mut task, &reason, false, now, now)?;
            self.tally(lease.node, &Tally { lost: 1, ..Tally::default() });
        } else if task.state == TaskState::Queued
            && task.spec.deadline.is_some_and(|deadline| deadline <= now)
        {
            self.end(&mut task, TaskState::Failed, "the deadline passed".to_owned(), now)?;
        } else {
            return Ok(None);
        }
        Ok(Some(self.keep(task)))
    }

    /// The attempt is over; the task waits until `ready_at`, or was tried often enough.
    fn fail_attempt(
        &mut self,
        task: &mut Task,
        reason: &str,
        permanent: bool,
        ready_at: Timestamp,
        now: Timestamp,
    ) -> Result<()> {
        // Reasons are kept and shown, so they are bounded like everything else.
        let reason: String = reason.chars().take(4_096).collect();
        if permanent {
            self.end(task, TaskState::Failed, reason, now)
        } else if task.attempts >= task.spec.max_attempts {
            self.end(task, TaskState::Dead, reason, now)
        } else {
            task.requeue(ready_at);
            task.failure = Some(reason);
            Ok(())
        }
    }

    fn end(
        &mut self,
        task: &mut Task,
        state: TaskState,
        reason: String,
        now: Timestamp,
    ) -> Result<()> {
        if let Some(void) = settlement::free(task) {
            self.book.apply(&void, now).map_err(crate::Error::from)?;
        }
        task.end(state, Some(reason), now);
        Ok(())
    }

    /// A copy to change: only [`WorkingSet::keep`] makes a change count, so that a refusal half
    /// way leaves nothing behind.
    fn find(&self, id: TaskId) -> Result<Task> {
        self.tasks.get(&id).cloned().ok_or_else(|| SchedulerError::TaskNotFound(id).into())
    }

    fn keep(&mut self, task: Task) -> Task {
        self.changes.tasks.push(task.id);
        self.tasks.insert(task.id, task.clone());
        task
    }

    fn tally(&mut self, node: NodeId, more: &Tally) {
        self.changes.tallies.entry(node).or_default().add(more);
    }
}

impl Tally {
    /// Adds what happened since.
    pub fn add(&mut self, more: &Self) {
        self.succeeded += more.succeeded;
        self.failed += more.failed;
        self.lost += more.lost;
        self.released += more.released;
        self.busy = self.busy.saturating_add(more.busy);
        // The ledger holds the same sum in a counter of the same width.
        self.earned = self.earned.checked_add(more.earned).unwrap_or(Amount::MAX);
    }
}

/// A holder may report twice, when the first answer was lost on its way back.
fn is_replay(task: &Task, claim: &Claim, outcome: &Outcome) -> bool {
    task.state == TaskState::Succeeded
        && task.fence == claim.fence
        && task.done_by.as_ref() == Some(&claim.node)
        && matches!(outcome, Outcome::Succeeded { .. })
}

/// The client's name for the submission, if it gave one.
#[must_use]
pub fn name_of(spec: &Arc<TaskSpec>) -> Option<Named> {
    let key = spec.idempotency_key.clone()?;
    Some((spec.payer().cloned(), key))
}

/// The accounts and transfers that changing `task` may touch.
pub fn money_of(task: TaskId, spec: &TaskSpec) -> Option<([AccountId; 2], [TransferId; 3])> {
    let payer = spec.payer()?.clone();
    let transfers =
        [settlement::hold_id(task), settlement::end_id(task), settlement::reward_id(task)];
    Some(([payer, settlement::escrow()], transfers))
}
