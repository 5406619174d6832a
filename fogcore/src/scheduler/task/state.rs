//! Where a task is in its life.

use serde::{Deserialize, Serialize};

/// Where a task is in its life.
///
/// `Waiting → Queued → Leased → Succeeded`; it waits only for other tasks. From `Leased` back to `Queued` when an attempt fails or its
/// lease runs out, or on to `Dead` when that was the last attempt; `Failed` when an executor says
/// that trying again is no use, or the deadline passes before it was handed out; `Cancelled` from
/// all three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// It waits for other tasks to end: its parents, or its own replicas.
    Waiting,
    /// It waits for a node.
    Queued,
    /// A node holds it.
    Leased,
    /// Done and paid.
    Succeeded,
    /// It cannot succeed.
    Failed,
    /// Somebody called it off.
    Cancelled,
    /// All its attempts are used up.
    Dead,
}

impl TaskState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Waiting,
        Self::Queued,
        Self::Leased,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Dead,
    ];

    /// Whether nothing can change any more.
    #[must_use]
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Waiting | Self::Queued | Self::Leased)
    }

    /// Its name, as in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Queued => "queued",
            Self::Leased => "leased",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Dead => "dead",
        }
    }
}

impl std::fmt::Display for TaskState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}
