//! What looking for work has in common in every database.

use crate::scheduler::queue::{Demand, Lane, Rank, Turns};
use crate::scheduler::{Candidate, Load, Task};
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

/// The classes of these that the asker has room for beside its load.
pub(super) fn fitting<'h>(
    heads: &'h [(i64, Task)],
    asker: &Candidate,
    load: &Load,
) -> Vec<Fitting<'h>> {
    let fits = heads.iter().filter(|(_, head)| asker.has_room_for(&head.spec, load));
    fits.map(|(class, head)| Fitting { class: *class, head }).collect()
}

/// Whether any of these are replicas, which cannot go to every node that has room.
pub(super) fn has_replicas(classes: &[Fitting<'_>]) -> bool {
    classes.iter().any(|class| class.head.part.is_some())
}

/// So many replicas that cannot go to an asker may stand before what it can be given.
pub(super) const REPLICAS_PASSED_OVER: usize = 64;

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
