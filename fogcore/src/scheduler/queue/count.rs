//! How many tasks there are of what, counted when they change: nothing ever adds up the tasks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{AccountId, TaskKind};
use crate::registry::Node;
use crate::scheduler::{Requirements, Task, TaskState};

/// What tasks are counted by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group {
    /// Who pays; none for those that nobody pays.
    pub payer: Option<AccountId>,
    /// What they are about.
    pub kind: TaskKind,
    /// Where they are in their life.
    pub state: TaskState,
    /// How urgent they are, while they are open; 0 for those that ended.
    pub priority: i16,
}

impl Group {
    /// The one that `task` is in.
    #[must_use]
    pub fn of(task: &Task) -> Self {
        let spec = &task.spec;
        let priority = if task.state.is_final() { 0 } else { spec.priority };
        Self { payer: spec.payer().cloned(), kind: spec.kind.clone(), state: task.state, priority }
    }
}

/// What tasks take of a fog, in whole units small enough that no share is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Demand {
    /// Slots of nodes: one each.
    pub slots: i64,
    /// Thousandths of CPU cores.
    pub cpu_milli: i64,
    /// Memory in MiB.
    pub memory_mib: i64,
    /// Thousandths of GPUs.
    pub gpu_milli: i64,
}

impl Demand {
    /// What one task with these requirements takes.
    #[must_use]
    pub fn of(needs: &Requirements) -> Self {
        Self {
            slots: 1,
            cpu_milli: i64::from(needs.cpu_milli),
            memory_mib: i64::try_from(needs.memory_mib).unwrap_or(i64::MAX),
            gpu_milli: i64::from(needs.gpus.count).saturating_mul(needs.gpus.milli.into()),
        }
    }

    /// What a node has.
    #[must_use]
    pub fn of_node(node: &Node) -> Self {
        let has = &node.resources;
        Self {
            slots: i64::from(node.slots),
            cpu_milli: i64::from(has.cpu_cores).saturating_mul(1_000),
            memory_mib: i64::try_from(has.memory_mib).unwrap_or(i64::MAX),
            gpu_milli: i64::try_from(has.gpus.len()).unwrap_or(i64::MAX).saturating_mul(1_000),
        }
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            slots: self.slots.saturating_add(other.slots),
            cpu_milli: self.cpu_milli.saturating_add(other.cpu_milli),
            memory_mib: self.memory_mib.saturating_add(other.memory_mib),
            gpu_milli: self.gpu_milli.saturating_add(other.gpu_milli),
        }
    }

    /// This without `other`; a change may be below zero.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self {
            slots: self.slots.saturating_sub(other.slots),
            cpu_milli: self.cpu_milli.saturating_sub(other.cpu_milli),
            memory_mib: self.memory_mib.saturating_sub(other.memory_mib),
            gpu_milli: self.gpu_milli.saturating_sub(other.gpu_milli),
        }
    }
}

/// How many tasks, and what they take while nodes hold them. As a change, either may be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Tasks.
    pub tasks: i64,
    /// What those that are leased take.
    pub taken: Demand,
}

impl Count {
    /// The count of one task.
    #[must_use]
    pub fn one(task: &Task) -> Self {
        let leased = task.state == TaskState::Leased;
        let taken = if leased { Demand::of(&task.spec.requirements) } else { Demand::default() };
        Self { tasks: 1, taken }
    }

    /// Takes in a change.
    pub const fn add(&mut self, change: Self) {
        self.tasks = self.tasks.saturating_add(change.tasks);
        self.taken = self.taken.plus(change.taken);
    }

    /// The opposite change.
    #[must_use]
    pub const fn negated(self) -> Self {
        let nothing = Demand { slots: 0, cpu_milli: 0, memory_mib: 0, gpu_milli: 0 };
        Self { tasks: self.tasks.saturating_neg(), taken: nothing.minus(self.taken) }
    }
}

/// Counts, or changes of them, by group.
pub type Counts = BTreeMap<Group, Count>;

/// What the running tasks of `payer` take, as these counts say.
pub fn taken<'c>(
    counts: impl IntoIterator<Item = (&'c Group, &'c Count)>,
    payer: Option<&AccountId>,
) -> Demand {
    let of_payer = counts
        .into_iter()
        .filter(|(group, _)| group.state == TaskState::Leased && group.payer.as_ref() == payer);
    of_payer.fold(Demand::default(), |sum, (_, count)| sum.plus(count.taken))
}

/// How many open tasks of `payer` these counts tell of.
pub fn open<'c>(
    counts: impl IntoIterator<Item = (&'c Group, &'c Count)>,
    payer: Option<&AccountId>,
) -> i64 {
    let of_payer = counts
        .into_iter()
        .filter(|(group, _)| !group.state.is_final() && group.payer.as_ref() == payer);
    of_payer.fold(0, |sum, (_, count)| sum.saturating_add(count.tasks))
}

/// Adds what changes in the counts when `before` becomes `after`.
pub(in crate::scheduler) fn count_change(counts: &mut Counts, before: Option<&Task>, after: &Task) {
    // Most changes while a lease lasts move nobody.
    if before.is_some_and(|before| before.state == after.state) {
        return;
    }
    if let Some(before) = before {
        counts.entry(Group::of(before)).or_default().add(Count::one(before).negated());
    }
    counts.entry(Group::of(after)).or_default().add(Count::one(after));
}
