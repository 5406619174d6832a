//! What an attempt saves of its work, so that the next one need not begin anew.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// What is known of a task's latest checkpoint, apart from its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The fencing token of the lease under which it was saved.
    pub fence: u64,
    /// When.
    pub at: Timestamp,
    /// How many bytes it has, at most [`MAX_BYTES`](super::MAX_BYTES).
    pub bytes: u64,
}
