//! A node holds a task: it is granted, renewed, ended and given back.

use super::WorkingSet;
use crate::amount::Amount;
use crate::error::Result;
use crate::id::{AccountId, TaskId};
use crate::scheduler::queue::Victim;
use crate::scheduler::task::cut;
use crate::scheduler::{
    Checkpoint, Claim, Completion, Explanation, LogLine, MAX_BYTES, MAX_LOG_LINES, Outcome,
    Progress, Renewal, SchedulerError, Tally, Task, TaskState, settlement,
};
use crate::time::Timestamp;

impl WorkingSet {
    /// Hands a queued task to the node that `explanation` chose, and that `owner` has, until
    /// `expires_at`.
    ///
    /// # Errors
    /// NotFound, or Conflict unless the task is queued.
    pub fn lease(
        &mut self,
        id: TaskId,
        explanation: Explanation,
        owner: Option<&AccountId>,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Task> {
        let mut task = self.find(id)?;
        let expires_at = at_least(&task, now, expires_at);
        let chosen = explanation
            .chosen
            .as_ref()
            .ok_or_else(|| crate::Error::invalid("explanation", "nobody was chosen"))?;
        task.grant(chosen, explanation.devices.clone(), now, expires_at)?;
        self.seat(&task, chosen, owner);
        self.changes.explanations.push((id, explanation));
        Ok(self.keep(task))
    }

    /// Extends a lease; see [`TaskStore::renew`](crate::scheduler::TaskStore::renew).
    ///
    /// # Errors
    /// As there.
    pub fn renew(&mut self, renewal: Renewal, now: Timestamp) -> Result<Task> {
        let mut task = self.find(renewal.claim.task)?;
        let expires_at = at_least(&task, now, renewal.expires_at);
        let lease = task.held_by(&renewal.claim)?;
        // Who has to make room may renew, and say what it has to say, but not stay.
        lease.expires_at = lease.preempt_at.map_or(expires_at, |end| end.min(expires_at));
        let fence = renewal.claim.fence;
        if let Some(bytes) = renewal.news.checkpoint {
            let found = bytes.len();
            if found > MAX_BYTES {
                return Err(SchedulerError::TooLarge { field: "checkpoint", found }.into());
            }
            task.checkpoint = Some(Checkpoint { fence, at: now, bytes: found as u64 });
            self.changes.checkpoints.push((task.id, bytes));
        }
        self.log(&mut task, fence, renewal.news.log, now);
        if let Some(progress) = renewal.news.progress {
            // Whoever filled in its fields: what is kept is in range.
            task.progress = Some(Progress::new(progress.done, &progress.note));
        }
        Ok(self.keep(task))
    }

    /// Ends an attempt; see [`TaskStore::complete`](crate::scheduler::TaskStore::complete).
    ///
    /// # Errors
    /// As there.
    pub fn complete(&mut self, completion: Completion, now: Timestamp) -> Result<Task> {
        let Completion { claim, outcome, usage, log, score } = completion;
        let mut task = self.find(claim.task)?;
        if is_replay(&task, &claim, &outcome) {
            return Ok(task);
        }
        task.held_by(&claim)?;
        let lines = (claim.fence, log);
        let mut tally = Tally { busy: usage.busy.unwrap_or_default(), ..Tally::default() };
        match outcome {
            Outcome::Succeeded { result, reward } => {
                if result.len() > MAX_BYTES {
                    let found = result.len();
                    return Err(SchedulerError::TooLarge { field: "result", found }.into());
                }
                if let Some(better) = self.better_backup(&task, score) {
                    self.take_backup(&mut task, better, now)?;
                    let tally = Tally { succeeded: 1, ..tally };
                    self.log(&mut task, lines.0, lines.1, now);
                    self.tally(claim.node, &tally);
                    return Ok(self.keep(task));
                }
                if task.part.is_some() {
                    self.claim(&mut task, &result, reward, score)?;
                } else {
                    let transfers = settlement::settle(&task, reward.as_ref())?;
                    self.book.apply_chain(&transfers, now)?;
                    task.paid = reward.map_or(Amount::ZERO, |(_, price)| price);
                }
                // Whoever is second has worked in vain.
                self.end_replicas(&task, now)?;
                self.close(&mut task, TaskState::Succeeded, None, now);
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
        // Only now: what was refused says nothing.
        self.log(&mut task, lines.0, lines.1, now);
        self.tally(claim.node, &tally);
        let ended = self.keep(task);
        if ended.part.is_none() {
            return Ok(ended);
        }
        self.judge_replicas(&ended, now);
        // What it was paid is known by now, if it was the last replica.
        self.find(ended.id)
    }

    /// Ends a lease early, at `at`; see [`TaskStore::preempt`](crate::scheduler::TaskStore::preempt).
    ///
    /// # Errors
    /// NotFound.
    pub fn preempt(&mut self, victim: &Victim, at: Timestamp) -> Result<Option<Task>> {
        let mut task = self.find(victim.task)?;
        match &mut task.lease {
            Some(lease) if lease.fence == victim.fence && lease.preempt_at.is_none() => {
                lease.preempt_at = Some(at);
                lease.expires_at = lease.expires_at.min(at);
            }
            // It ended, or makes room already.
            _ => return Ok(None),
        }
        Ok(Some(self.keep(task)))
    }

    /// Gives a lease back; see [`TaskStore::release`](crate::scheduler::TaskStore::release).
    ///
    /// # Errors
    /// As there.
    pub fn release(&mut self, claim: Claim, now: Timestamp) -> Result<Task> {
        let mut task = self.find(claim.task)?;
        task.held_by(&claim)?;
        task.attempts -= 1;
        self.wait_again(&mut task, now, now)?;
        self.tally(claim.node, &Tally { released: 1, ..Tally::default() });
        let task = self.keep(task);
        self.judge_replicas(&task, now);
        Ok(task)
    }

    /// Appends what a holder says to the task's log; of very much, the latest.
    fn log(&mut self, task: &mut Task, fence: u64, lines: Vec<String>, now: Timestamp) {
        let most = usize::try_from(MAX_LOG_LINES).unwrap_or(usize::MAX);
        let skipped = lines.len().saturating_sub(most);
        task.log_lines += skipped as u64;
        for line in lines.into_iter().skip(skipped) {
            task.log_lines += 1;
            let line = LogLine { number: task.log_lines, at: now, fence, text: cut(line) };
            self.changes.logs.push((task.id, line));
        }
    }

    /// The attempt is over; the task waits until `ready_at`, or was tried often enough.
    pub(super) fn fail_attempt(
        &mut self,
        task: &mut Task,
        reason: &str,
        permanent: bool,
        ready_at: Timestamp,
        now: Timestamp,
    ) -> Result<()> {
        if let Some(backup) = self.finished_backup(task) {
            return self.take_backup(task, backup, now);
        }
        // Reasons are kept and shown, so they are bounded like everything else.
        let reason: String = reason.chars().take(4_096).collect();
        if permanent {
            self.end_replicas(task, now)?;
            return self.end(task, TaskState::Failed, reason, now);
        }
        let is_last = task.is_backup() || task.attempts >= task.spec.max_attempts;
        if is_last && !self.backup_runs(task) {
            self.end_replicas(task, now)?;
            return self.end(task, TaskState::Dead, reason, now);
        }
        task.failure = Some(reason);
        self.wait_again(task, ready_at, now)
    }
}

/// The end of a lease whose holder may be away for a while.
fn at_least(task: &Task, now: Timestamp, expires_at: Timestamp) -> Timestamp {
    let away = task.spec.offline_for.map(|time| now.saturating_add(time));
    away.map_or(expires_at, |away| away.max(expires_at))
}

/// A holder may report twice, when the first answer was lost on its way back.
fn is_replay(task: &Task, claim: &Claim, outcome: &Outcome) -> bool {
    task.state == TaskState::Succeeded
        && task.fence == claim.fence
        && task.done_by.as_ref() == Some(&claim.node)
        && matches!(outcome, Outcome::Succeeded { .. })
}
