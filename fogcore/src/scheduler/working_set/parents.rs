//! A task waits for others.

use super::WorkingSet;
use crate::error::Result;
use crate::id::TaskId;
use crate::scheduler::task::{Verdict, judge};
use crate::scheduler::{SchedulerError, Task, TaskSpec, TaskState};
use crate::time::Timestamp;

impl WorkingSet {
    /// What the parents of such a task are at.
    ///
    /// # Errors
    /// InvalidInput for one that is not there: it must have been submitted before.
    pub(super) fn parents(&self, spec: &TaskSpec) -> Result<Vec<(TaskId, TaskState)>> {
        let state = |id: &TaskId| match self.tasks.get(id) {
            Some(parent) => Ok((*id, parent.state)),
            None => Err(SchedulerError::ParentNotFound(*id).into()),
        };
        spec.after.iter().map(state).collect()
    }

    /// Lets a new task wait for its parents, and them know that it does.
    pub(super) fn wait_for(&mut self, task: &mut Task, now: Timestamp) -> Result<()> {
        let parents = self.parents(&task.spec)?;
        task.state = TaskState::Waiting;
        self.decide(task, &parents, now)?;
        if task.state.is_final() {
            return Ok(());
        }
        for (parent, state) in parents {
            let open = !state.is_final();
            self.changes.linked.push((task.id, parent, open));
            if open
                && let Ok(mut parent) = self.find(parent)
                && !parent.awaited
            {
                parent.awaited = true;
                self.keep(parent);
            }
        }
        Ok(())
    }

    /// Looks again at a task that waits, after one that it waits for ended; see
    /// [`TaskStore::advance`](crate::scheduler::TaskStore::advance).
    ///
    /// # Errors
    /// NotFound.
    pub fn advance(&mut self, id: TaskId, now: Timestamp) -> Result<Option<Task>> {
        let mut task = self.find(id)?;
        self.changes.advanced.push(id);
        if task.state != TaskState::Waiting || task.held || task.parts > 0 {
            return Ok(None);
        }
        let parents = self.parents(&task.spec)?;
        self.decide(&mut task, &parents, now)?;
        let changed = task.held || task.parts > 0 || task.state != TaskState::Waiting;
        Ok(changed.then(|| self.keep(task)))
    }

    /// Lets a task run that is held because of its parents; see
    /// [`TaskStore::resume`](crate::scheduler::TaskStore::resume).
    ///
    /// # Errors
    /// NotFound, or Conflict if it is not held.
    pub fn resume(&mut self, id: TaskId, now: Timestamp) -> Result<Task> {
        let mut task = self.find(id)?;
        if !task.held {
            return Err(SchedulerError::WrongState { task: id, state: task.state }.into());
        }
        self.make_ready(&mut task, now);
        Ok(self.keep(task))
    }

    fn make_ready(&mut self, task: &mut Task, now: Timestamp) {
        task.enqueue(now);
        if task.spec.sla.replicas() > 0 {
            self.split(task, now);
        }
    }

    fn decide(
        &mut self,
        task: &mut Task,
        parents: &[(TaskId, TaskState)],
        now: Timestamp,
    ) -> Result<()> {
        match judge(task.spec.if_parent_fails, parents.iter().copied()) {
            Verdict::Wait => {}
            Verdict::Run => self.make_ready(task, now),
            Verdict::Cancel(parent) => {
                let reason = format!("task {parent} ended without success");
                self.end(task, TaskState::Cancelled, reason, now)?;
            }
            Verdict::Hold(parent) => {
                task.held = true;
                task.failure = Some(format!("held: task {parent} ended without success"));
            }
        }
        Ok(())
    }
}
