//! A task is done by several nodes.

use std::sync::Arc;
use std::time::Duration;

use super::WorkingSet;
use crate::amount::Amount;
use crate::error::{Error, Result};
use crate::id::{AccountId, NodeId};
use crate::scheduler::replicas::{Part, Reconcile, Seat, Verdict, judge, may_have_backup, part_id};
use crate::scheduler::{Claim, SchedulerError, Task, TaskState, settlement};
use crate::time::Timestamp;

impl WorkingSet {
    /// Lets a task that is ready wait for its replicas instead of for a node.
    pub(super) fn split(&mut self, task: &mut Task, now: Timestamp) {
        task.state = TaskState::Waiting;
        while task.parts < task.spec.sla.replicas() {
            self.add_part(task, now);
        }
    }

    /// Lets a second node begin; see [`TaskStore::back_up`](crate::scheduler::TaskStore::back_up).
    ///
    /// # Errors
    /// NotFound.
    pub fn back_up(&mut self, late: &Claim, now: Timestamp) -> Result<Option<Task>> {
        let mut task = self.find(late.task)?;
        if task.held_by(late).is_err() || !may_have_backup(&task, now) {
            return Ok(None);
        }
        // The backup goes to another node.
        task.seats = vec![Seat { number: 0, node: late.node.clone(), owner: None }];
        self.add_part(&mut task, now);
        Ok(Some(self.keep(task)))
    }

    /// Whether somebody is at the task's backup.
    pub(super) fn backup_runs(&self, task: &Task) -> bool {
        let is_once = task.part.is_none() && task.parts == 1;
        let backup = self.tasks.get(&part_id(task.id, 1)).filter(|_| is_once);
        backup.is_some_and(|backup| backup.state == TaskState::Leased)
    }

    /// The backup of a task that is done once, if it gave a result and its first node was waited for.
    pub(super) fn finished_backup(&self, task: &Task) -> Option<Task> {
        let is_once = task.part.is_none() && task.parts == 1;
        let backup = self.tasks.get(&part_id(task.id, 1)).filter(|_| is_once)?;
        (backup.state == TaskState::Succeeded).then(|| backup.clone())
    }

    /// The same, if its result is better than one with this score.
    pub(super) fn better_backup(&self, task: &Task, score: Option<i64>) -> Option<Task> {
        let backup = self.finished_backup(task)?;
        let other = backup.part.as_ref()?.score;
        other.zip(score).is_some_and(|(other, own)| other > own).then_some(backup)
    }

    /// Ends the task with the result of its backup.
    pub(super) fn take_backup(
        &mut self,
        of: &mut Task,
        backup: Task,
        now: Timestamp,
    ) -> Result<()> {
        let missing = || Error::new(crate::ErrorKind::Internal, "a backup without a result");
        let digest = digest(&backup).ok_or_else(missing)?;
        self.agree(of, &[backup], digest, now)
    }

    /// Puts a task whose attempt came to nothing back in the queue, or lets it wait for its backup,
    /// if somebody is at that. A backup that nobody is at is not needed any more: its task goes on,
    /// which may also go to its first node again.
    pub(super) fn wait_again(
        &mut self,
        task: &mut Task,
        ready_at: Timestamp,
        now: Timestamp,
    ) -> Result<()> {
        if task.is_backup() {
            return self.end(task, TaskState::Cancelled, "given back".to_owned(), now);
        }
        if let Some(backup) = self.finished_backup(task) {
            return self.take_backup(task, backup, now);
        }
        task.requeue(ready_at);
        if self.backup_runs(task) {
            task.state = TaskState::Waiting;
            return Ok(());
        }
        self.end_replicas(task, now)
    }

    /// The backup of `of` has ended: its result is the task's, or the task goes on without.
    fn judge_backup(&mut self, of: &mut Task, backup: Task, now: Timestamp) -> Result<()> {
        if digest(&backup).is_some() {
            // The better result counts, once the first node is back or given up.
            let waits = of.spec.reconcile == Reconcile::Best && of.state == TaskState::Leased;
            return if waits { Ok(()) } else { self.take_backup(of, backup, now) };
        }
        let reason = backup.failure.unwrap_or_default();
        match of.state {
            TaskState::Waiting if backup.state == TaskState::Failed => {
                self.end(of, TaskState::Failed, reason, now)
            }
            TaskState::Waiting if of.attempts >= of.spec.max_attempts => {
                self.end(of, TaskState::Dead, reason, now)
            }
            TaskState::Waiting => {
                of.requeue(of.ready_at.max(now));
                Ok(())
            }
            // The first attempt goes on.
            _ => Ok(()),
        }
    }

    fn add_part(&mut self, task: &mut Task, now: Timestamp) {
        task.parts += 1;
        let (of, number) = (task.id, task.parts);
        let spec = Arc::clone(&task.spec);
        let mut part = Task::new(part_id(of, number), spec, task.fingerprint, now);
        part.part = Some(Part { of, number, digest: None, claimed: None, score: None });
        part.retain_for = task.retain_for;
        self.count(None, &part);
        self.changes.tasks.push(part.id);
        self.changes.payloads.push((part.id, bytes::Bytes::new()));
        self.load_task(part);
    }

    /// Whether a node of this owner may have the task: no two replicas are with one node or owner.
    #[must_use]
    pub fn may_have(&self, task: &Task, node: &NodeId, owner: Option<&AccountId>) -> bool {
        let Some(part) = &task.part else { return true };
        // Whoever does not know where the others are gives nothing away.
        let of = self.tasks.get(&part.of);
        of.is_some_and(|of| of.seats.iter().all(|seat| seat.leaves_room(part.number, node, owner)))
    }

    /// Remembers who has a replica.
    pub(super) fn seat(&mut self, task: &Task, node: &NodeId, owner: Option<&AccountId>) {
        let Some(part) = &task.part else { return };
        if let Ok(mut of) = self.find(part.of) {
            of.seats.retain(|seat| seat.number != part.number);
            let seat = Seat { number: part.number, node: node.clone(), owner: owner.cloned() };
            of.seats.push(seat);
            self.keep(of);
        }
    }

    /// Ends a replica with success; what it is worth is decided when all have ended.
    ///
    /// # Errors
    /// InvalidInput for a price above its share, NotFound for an account that is not there.
    pub(super) fn claim(
        &self,
        task: &mut Task,
        result: &[u8],
        reward: Option<(AccountId, Amount)>,
        score: Option<i64>,
    ) -> Result<()> {
        let reward = reward.filter(|(_, price)| !price.is_zero());
        if let Some((owner, price)) = &reward {
            let limit = task.spec.budget.as_ref().map_or(Amount::ZERO, |budget| budget.limit);
            if *price > task.spec.sla.share(limit) {
                return Err(SchedulerError::OverBudget(task.id).into());
            }
            if self.book.account(owner).is_none() {
                let missing = format!("there is no account \"{owner}\"");
                return Err(Error::new(crate::ErrorKind::NotFound, missing));
            }
        }
        if let Some(part) = &mut task.part {
            part.digest = Some(blake3::hash(result).into());
            (part.claimed, part.score) = (reward, score);
        }
        Ok(())
    }

    /// Ends the task that this was a replica of, if it was the last one to end.
    pub(super) fn judge_replicas(&mut self, ended: &Task, now: Timestamp) {
        let Some(part) = ended.part.as_ref().filter(|_| ended.state.is_final()) else { return };
        let Ok(mut of) = self.find(part.of) else { return };
        let parts: Vec<_> = (1..=of.parts)
            .filter_map(|number| self.tasks.get(&part_id(of.id, number)).cloned())
            .collect();
        let all = parts.len() == usize::from(of.parts);
        if of.state.is_final() || !all || parts.iter().any(|part| !part.state.is_final()) {
            return;
        }
        let digests: Vec<_> = parts.iter().map(digest).collect();
        let done = match judge(of.spec.sla, &digests) {
            _ if ended.is_backup() => self.judge_backup(&mut of, ended.clone(), now),
            Verdict::OneMore => {
                self.add_part(&mut of, now);
                Ok(())
            }
            Verdict::Agreed(digest) => self.agree(&mut of, &parts, digest, now),
            Verdict::Disagreed => {
                let succeeded = digests.iter().flatten().count();
                let reason = format!("no two of its replicas agree ({succeeded} gave a result)");
                self.end(&mut of, TaskState::Failed, reason, now)
            }
        };
        if let Err(error) = done {
            tracing::error!(%error, task = %of.id, "the replicas' money cannot be settled");
            let reason = "its replicas cannot be paid".to_owned();
            // Without a hold, because somebody ended it behind our back, there is nothing to free.
            if self.end(&mut of, TaskState::Failed, reason.clone(), now).is_err() {
                self.close(&mut of, TaskState::Failed, Some(reason), now);
            }
        }
        self.keep(of);
    }

    /// Pays the majority, and remembers who was right.
    fn agree(
        &mut self,
        of: &mut Task,
        parts: &[Task],
        digest_of_most: [u8; 32],
        now: Timestamp,
    ) -> Result<()> {
        let right = || parts.iter().filter(|part| digest(part) == Some(digest_of_most));
        let owed: Vec<_> = right()
            .filter_map(|part| Some((part.id, part.part.as_ref()?.claimed.clone()?)))
            .collect();
        let transfers = settlement::settle_parts(of, &owed)?;
        self.book.apply_chain(&transfers, now)?;
        for part in parts {
            let is_right = digest(part) == Some(digest_of_most);
            let mut part = part.clone();
            if let Some(node) = part.done_by.clone().filter(|_| digest(&part).is_some()) {
                // Nobody has checked what a backup gave.
                if !part.is_backup() {
                    self.changes.trust.push((node.clone(), is_right));
                }
                let owed = owed.iter().find(|(id, _)| *id == part.id);
                if let Some((_, (_, price))) = owed {
                    part.paid = *price;
                    let earned = crate::scheduler::Tally { earned: *price, ..Default::default() };
                    self.tally(node, &earned);
                }
            }
            // What it gave is the task's, and is kept as long.
            let since = part.ended_at.map_or(Duration::ZERO, |ended| now.since(ended));
            part.retain_for = part.retain_for.saturating_add(since);
            self.keep(part);
        }
        if let Some(first) = right().next() {
            of.done_by.clone_from(&first.done_by);
            of.usage = first.usage;
            of.result_of = Some(first.id);
        }
        let paid = owed.iter().map(|(_, (_, price))| price.base_units()).sum();
        of.paid = Amount::from_base_units(paid);
        self.close(of, TaskState::Succeeded, None, now);
        Ok(())
    }

    /// Calls the replicas of a task off that has ended itself.
    pub(super) fn end_replicas(&mut self, of: &Task, now: Timestamp) -> Result<()> {
        for number in 1..=of.parts {
            if let Ok(mut part) = self.find(part_id(of.id, number))
                && !part.state.is_final()
            {
                self.end(&mut part, TaskState::Cancelled, "cancelled".to_owned(), now)?;
                self.keep(part);
            }
        }
        Ok(())
    }
}

/// What a replica gave, if it did.
fn digest(part: &Task) -> Option<[u8; 32]> {
    part.part.as_ref().filter(|_| part.state == TaskState::Succeeded)?.digest
}
