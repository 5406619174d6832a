//! A task comes in.

use super::{WorkingSet, name_of};
use crate::error::{Error, Result};
use crate::scheduler::{NewTask, QueuePolicy, SchedulerError, Submitted, Task, settlement};
use crate::time::Timestamp;

impl WorkingSet {
    /// Adds a task and reserves its budget; see [`TaskStore::submit`](crate::scheduler::TaskStore::submit).
    ///
    /// # Errors
    /// As there.
    pub fn submit(
        &mut self,
        new: NewTask,
        policy: &QueuePolicy,
        now: Timestamp,
    ) -> Result<Submitted> {
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
        let payer = new.spec.payer().cloned();
        let open = self.open.get(&payer).copied().unwrap_or_default();
        policy.admit(payer.as_ref(), u64::try_from(open).unwrap_or_default())?;
        // Before any money moves: a parent that is not there refuses the task.
        self.parents(&new.spec)?;
        if let Some(hold) = settlement::reserve(new.id, &new.spec) {
            self.book.apply(&hold, now).map_err(Error::from)?;
        }
        let mut task = Task::new(new.id, new.spec, fingerprint, now);
        task.retain_for = task.spec.retain_for.unwrap_or(policy.retain_for);
        if !task.spec.after.is_empty() {
            self.wait_for(&mut task, now)?;
        } else if task.spec.sla.replicas() > 0 {
            self.split(&mut task, now);
        }
        self.load_task(task.clone());
        self.count(None, &task);
        self.changes.tasks.push(task.id);
        self.changes.payloads.push((task.id, new.payload));
        Ok(Submitted { task, new: true })
    }
}
