//! Which tasks wait for which.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::TaskId;
use crate::scheduler::Changes;

/// The links of all tasks that are open.
#[derive(Debug, Default)]
pub(super) struct Links {
    parents: BTreeMap<TaskId, BTreeSet<TaskId>>,
    children: BTreeMap<TaskId, BTreeSet<TaskId>>,
    /// Tasks that are to be looked at, because a parent ended.
    due: BTreeSet<TaskId>,
}

impl Links {
    /// Takes in what changed.
    pub(super) fn update(&mut self, changes: &Changes) {
        for (child, parent, _) in &changes.linked {
            self.parents.entry(*child).or_default().insert(*parent);
            self.children.entry(*parent).or_default().insert(*child);
        }
        for parent in &changes.parents_ended {
            self.due.extend(self.children.get(parent).into_iter().flatten());
        }
        for child in &changes.advanced {
            self.due.remove(child);
        }
        for child in &changes.unlinked {
            self.due.remove(child);
            for parent in self.parents.remove(child).into_iter().flatten() {
                if let Some(children) = self.children.get_mut(&parent) {
                    children.remove(child);
                    if children.is_empty() {
                        self.children.remove(&parent);
                    }
                }
            }
        }
    }

    /// Some tasks that are to be looked at.
    pub(super) fn due(&self, limit: usize) -> Vec<TaskId> {
        self.due.iter().take(limit).copied().collect()
    }

    /// Whether open tasks need what this one gave.
    pub(super) fn is_needed(&self, task: TaskId) -> bool {
        self.children.contains_key(&task)
    }
}
