//! What looking for work has in common in every database.

use crate::scheduler::queue::{Demand, Lane, Rank, Turns};
use crate::scheduler::{Candidate, Load, Neighbours, Task};
use crate::time::Timestamp;

/// How many classes one look goes through; the next one goes on where it ended.
pub(super) const MAX_CLASSES: usize = 256;

/// So much is granted in one group before it is written: every look goes past it.
pub(super) const MOST_UNWRITTEN: usize = 256;

/// Where a writer's looks for work stand.
pub(super) struct Search {
    /// The class of tasks after which the next one begins.
    pub(super) cursor: i64,
    /// Whose turn it was.
    pub(super) turns: Turns,
}

impl Default for Search {
    fn default() -> Self {
        Self { cursor: i64::MIN, turns: Turns::default() }
    }
}

/// A class of tasks that an asker may be given, as one of them tells.
#[derive(Clone, Copy)]
pub(super) struct Fitting<'h> {
    pub(super) class: i64,
    pub(super) head: &'h Task,
}

impl Fitting<'_> {
    /// The class with these of its tasks.
    pub(super) fn lane(&self, waiting: impl IntoIterator<Item = Rank>) -> Lane {
        let spec = &self.head.spec;
        let (payer, demand) = (spec.payer().cloned(), Demand::of(&spec.requirements));
        Lane { payer, demand, waiting: waiting.into_iter().collect() }
    }
}

/// The classes of these that the asker has room for beside its load and its neighbours.
pub(super) fn fitting<'h>(
    heads: &'h [(i64, Task)],
    asker: &Candidate,
    load: &Load,
    neighbours: &Neighbours,
) -> Vec<Fitting<'h>> {
    let fits = heads.iter().filter(|(_, head)| asker.has_room_for(&head.spec, load, neighbours));
    fits.map(|(class, head)| Fitting { class: *class, head }).collect()
}

/// Whether any of these are replicas, which cannot go to every node that has room.
pub(super) fn has_replicas(classes: &[Fitting<'_>]) -> bool {
    classes.iter().any(|class| class.head.part.is_some())
}

/// How far a look goes behind as many tasks as are wanted, and of which classes: replicas that the
/// asker may not have, because it has another of the same work, stand in nobody's way. The next
/// look is only made if such replicas took all of one.
pub(super) const LOOKS: [Look; 3] = [
    Look { behind: 64, replicas: true },
    Look { behind: 4_096, replicas: true },
    Look { behind: 0, replicas: false },
];

/// See [`LOOKS`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) behind: usize,
    pub(super) replicas: bool,
}

impl Look {
    /// The first one, for askers of these classes.
    pub(super) fn first(classes: &[Fitting<'_>]) -> &'static [Self] {
        // Without replicas, the last one sees it all.
        if has_replicas(classes) { &LOOKS } else { &LOOKS[LOOKS.len() - 1..] }
    }

    /// Whether a task is looked at, or a class by one of its tasks.
    pub(super) const fn sees(self, task: &Task) -> bool {
        self.replicas || task.part.is_none()
    }
}

/// Whether one payer has all of these: then there is nothing to share.
pub(super) fn has_one_payer(classes: &[Fitting<'_>]) -> bool {
    let mut payers = classes.iter().map(|class| class.head.spec.payer());
    let first = payers.next();
    payers.all(|payer| Some(payer) == first)
}

/// When the next thing is due of a task that does not wait: its lease ends, or what belongs to it
/// goes.
pub(super) fn ends_at(task: &Task) -> Option<Timestamp> {
    task.lease.as_ref().map(|lease| lease.expires_at).or_else(|| task.kept_until())
}

/// The client's name for a task, which a replica of it does not have.
pub(super) fn name_in_row(task: &Task) -> Option<&str> {
    task.spec.idempotency_key.as_ref().filter(|_| task.part.is_none()).map(|key| key.as_str())
}
