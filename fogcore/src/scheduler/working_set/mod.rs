//! The life of tasks without I/O: everything that one atomic unit touches, and what it changes.
//!
//! A store loads the tasks, accounts and transfers that a call is about, makes the call here, and
//! writes back what [`WorkingSet::take_changes`] names. So each rule stands once, and every store
//! keeps it. The memory store simply has everything loaded.

mod attempts;
mod ends;
mod parents;
mod replicas;
mod submit;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::market::Market;
use super::queue::{Counts, count_change};
use super::{Explanation, LogLine, SchedulerError, Tally, Task, TaskSpec, settlement};
use crate::amount::Amount;
use crate::error::Result;
use crate::id::{AccountId, IdempotencyKey, NodeId, TaskId, TransferId};
use crate::ledger::Book;

/// A client's name for a submission is its own: the payer's, or everybody's who pays nothing.
pub type Named = (Option<AccountId>, IdempotencyKey);

/// The tasks, accounts and transfers that one unit of work touches.
#[derive(Debug, Default)]
pub struct WorkingSet {
    /// The ledger's part.
    pub book: Book,
    /// The marketplace's part.
    pub market: Market,
    tasks: HashMap<TaskId, Task>,
    names: HashMap<Named, TaskId>,
    /// How many open tasks each payer has: exact for those that were loaded, and for all if
    /// everything is here.
    open: HashMap<Option<AccountId>, i64>,
    loaded_payers: HashSet<Option<AccountId>>,
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
    /// What to add to the counts of tasks.
    pub counts: Counts,
    /// Lines to append to logs; those that are too old by that go.
    pub logs: Vec<(TaskId, LogLine)>,
    /// Checkpoints that were saved; a later one of a task replaces an earlier one.
    pub checkpoints: Vec<(TaskId, Bytes)>,
    /// Tasks whose checkpoint is of no use any more.
    pub finished: Vec<TaskId>,
    /// New tasks that wait for others: which, for whom, and whether that one is still open.
    pub linked: Vec<(TaskId, TaskId, bool)>,
    /// Tasks that ended while others waited for them: those are to be looked at.
    pub parents_ended: Vec<TaskId>,
    /// Tasks that were looked at because of that.
    pub advanced: Vec<TaskId>,
    /// Tasks that ended and needed others: what those gave may go.
    pub unlinked: Vec<TaskId>,
    /// Whose result agreed with the majority's, and whose did not.
    pub trust: Vec<(NodeId, bool)>,
    /// Tasks whose payload, result, explanation and log go.
    pub purged: Vec<TaskId>,
}

impl WorkingSet {
    /// Puts in a task as it is stored.
    pub fn load_task(&mut self, task: Task) {
        // A replica has its task's spec, but is not what the name is for.
        if let Some(named) = name_of(&task.spec).filter(|_| task.part.is_none()) {
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

    /// Tells how many open tasks `payer` has as things are stored; whoever was told before knows.
    pub fn load_open(&mut self, payer: Option<AccountId>, open: i64) {
        if self.loaded_payers.insert(payer.clone()) {
            self.open.insert(payer, open);
        }
    }

    /// Whether it is known how many open tasks `payer` has.
    #[must_use]
    pub fn knows_payer(&self, payer: &Option<AccountId>) -> bool {
        self.loaded_payers.contains(payer)
    }

    /// How the counts changed since changes were last taken.
    #[must_use]
    pub const fn counts_since(&self) -> &Counts {
        &self.changes.counts
    }

    /// Takes what changed since it was last taken.
    pub fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// A copy to change: only [`WorkingSet::keep`] makes a change count, so that a refusal half
    /// way leaves nothing behind.
    fn find(&self, id: TaskId) -> Result<Task> {
        self.tasks.get(&id).cloned().ok_or_else(|| SchedulerError::TaskNotFound(id).into())
    }

    fn keep(&mut self, task: Task) -> Task {
        self.changes.tasks.push(task.id);
        let before = self.tasks.insert(task.id, task.clone());
        self.count(before.as_ref(), &task);
        task
    }

    /// Counts what changed when `before` became `after`.
    fn count(&mut self, before: Option<&Task>, after: &Task) {
        count_change(&mut self.changes.counts, before, after);
        let was_open = before.is_some_and(|before| !before.state.is_final());
        let change = i64::from(!after.state.is_final()) - i64::from(was_open);
        if change != 0 {
            *self.open.entry(after.spec.payer().cloned()).or_default() += change;
        }
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

/// The client's name for the submission, if it gave one.
#[must_use]
pub fn name_of(spec: &Arc<TaskSpec>) -> Option<Named> {
    let key = spec.idempotency_key.clone()?;
    Some((spec.payer().cloned(), key))
}

/// The accounts and transfers that changing `task` may touch.
pub fn money_of(task: &Task) -> Option<(Vec<AccountId>, [TransferId; 3])> {
    let (mut accounts, mut transfers) = money_of_work(task.work(), &task.spec)?;
    if let Some(part) = &task.part {
        accounts.extend(part.claimed.iter().map(|(owner, _)| owner.clone()));
        transfers[2] = settlement::reward_id(task.id);
    }
    Some((accounts, transfers))
}

/// The accounts and transfers that work on such a task may touch.
pub fn money_of_work(work: TaskId, spec: &TaskSpec) -> Option<(Vec<AccountId>, [TransferId; 3])> {
    let payer = spec.payer()?.clone();
    let transfers =
        [settlement::hold_id(work), settlement::end_id(work), settlement::reward_id(work)];
    Some((vec![payer, settlement::escrow()], transfers))
}
