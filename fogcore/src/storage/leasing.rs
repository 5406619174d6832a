//! What looking for work has in common in every database.

use crate::scheduler::{Candidate, Load, Task};

/// How many classes one look goes through; the next one goes on where it ended.
pub(super) const MAX_CLASSES: usize = 256;

/// So much is granted in one group before it is written: every look goes past it.
pub(super) const MOST_UNWRITTEN: usize = 256;

/// The classes of these that the asker has room for beside its load.
pub(super) fn fitting(heads: &[(i64, Task)], asker: &Candidate, load: &Load) -> Vec<i64> {
    let fits = heads.iter().filter(|(_, head)| asker.has_room_for(&head.spec, load));
    fits.map(|(class, _)| *class).collect()
}
