//! A task ends without success: called off, out of time, or out of attempts. What belongs to it goes
//! later.

use super::WorkingSet;
use crate::error::{Error, Result};
use crate::id::TaskId;
use crate::scheduler::{SchedulerError, Tally, Task, TaskState, settlement};
use crate::time::Timestamp;

impl WorkingSet {
    /// Calls a task off; see [`TaskStore::cancel`](crate::scheduler::TaskStore::cancel).
    ///
    /// # Errors
    /// As there.
    pub fn cancel(&mut self, id: TaskId, now: Timestamp) -> Result<Task> {
        let mut task = self.find(id)?;
        match task.state {
            TaskState::Cancelled => return Ok(task),
            state if !state.is_final() => {}
            state => return Err(SchedulerError::WrongState { task: id, state }.into()),
        }
        self.end_replicas(&task, now)?;
        self.end(&mut task, TaskState::Cancelled, "cancelled".to_owned(), now)?;
        let ended = self.keep(task);
        self.judge_replicas(&ended, now);
        Ok(ended)
    }

    /// Ends what of this task ran out of time, if anything did; see
    /// [`TaskStore::expire`](crate::scheduler::TaskStore::expire).
    ///
    /// # Errors
    /// NotFound.
    pub fn expire(&mut self, id: TaskId, now: Timestamp) -> Result<Option<Task>> {
        let mut task = self.find(id)?;
        if let Some(lease) = task.lease.clone() {
            if lease.expires_at > now {
                return Ok(None);
            }
            if lease.preempt_at.is_some_and(|end| end <= now) {
                // It made room: that is no attempt, and no fault of its node.
                task.attempts -= 1;
                task.failure = Some("its node was needed for something else".to_owned());
                self.wait_again(&mut task, now, now)?;
                self.tally(lease.node, &Tally { released: 1, ..Tally::default() });
                let task = self.keep(task);
                self.judge_replicas(&task, now);
                return Ok(Some(task));
            }
            // Losing its node is not the task's fault: it waits for no backoff.
            let reason = format!("the lease of \"{}\" ran out", lease.node);
            self.fail_attempt(&mut task, &reason, false, now, now)?;
            self.tally(lease.node, &Tally { lost: 1, ..Tally::default() });
        } else if !task.state.is_final()
            // Its replicas have the same deadline, and what runs may go on.
            && !task.waits_for_parts()
            && task.spec.deadline.is_some_and(|deadline| deadline <= now)
        {
            self.end(&mut task, TaskState::Failed, "the deadline passed".to_owned(), now)?;
        } else {
            return Ok(None);
        }
        let ended = self.keep(task);
        self.judge_replicas(&ended, now);
        Ok(Some(ended))
    }

    pub(super) fn end(
        &mut self,
        task: &mut Task,
        state: TaskState,
        reason: String,
        now: Timestamp,
    ) -> Result<()> {
        if let Some(void) = settlement::free(task) {
            self.book.apply(&void, now).map_err(Error::from)?;
        }
        self.close(task, state, Some(reason), now);
        Ok(())
    }

    /// Ends the task, whatever became of its money.
    pub(super) fn close(
        &mut self,
        task: &mut Task,
        state: TaskState,
        failure: Option<String>,
        now: Timestamp,
    ) {
        if task.checkpoint.take().is_some() {
            self.changes.finished.push(task.id);
        }
        if task.awaited {
            self.changes.parents_ended.push(task.id);
        }
        if !task.spec.after.is_empty() {
            self.changes.unlinked.push(task.id);
        }
        task.end(state, failure, now);
    }

    /// Marks what belongs to this task as removed, if it was kept for as long as it should be; see
    /// [`TaskStore::purge`](crate::scheduler::TaskStore::purge).
    ///
    /// # Errors
    /// NotFound.
    pub fn purge(&mut self, id: TaskId, now: Timestamp) -> Result<bool> {
        let mut task = self.find(id)?;
        if task.kept_until().is_none_or(|until| until > now) {
            return Ok(false);
        }
        task.purged_at = Some(now);
        self.changes.purged.push(id);
        self.keep(task);
        Ok(true)
    }
}
