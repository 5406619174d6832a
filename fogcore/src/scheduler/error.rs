//! Why the scheduler refuses, precisely.

use super::{MAX_BYTES, TaskState};
use crate::error::{Error, ErrorKind};
use crate::id::{AccountId, IdempotencyKey, TaskId};
use crate::time::Timestamp;

/// Why a call about a task was refused. Nothing changed, and nothing was paid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchedulerError {
    /// There is no such task.
    #[error("there is no task {0}")]
    TaskNotFound(TaskId),
    /// The id is taken by another task.
    #[error("task {0} exists with different content")]
    TaskExists(TaskId),
    /// The idempotency key is taken by another content.
    #[error("idempotency key \"{key}\" names task {task}, which has different content")]
    KeyTaken {
        /// The key.
        key: IdempotencyKey,
        /// The task that it names.
        task: TaskId,
    },
    /// The caller does not hold the task (any more).
    #[error("the lease with fence {fence} on task {task} is not the current one ({state})")]
    StaleLease {
        /// The task.
        task: TaskId,
        /// The fencing token that the caller has.
        fence: u64,
        /// The state that the task is in.
        state: TaskState,
    },
    /// The task's state does not allow this.
    #[error("task {task} is {state}")]
    WrongState {
        /// The task.
        task: TaskId,
        /// Its state.
        state: TaskState,
    },
    /// A payload, result or checkpoint beyond [`MAX_BYTES`].
    #[error("{found} bytes, at most {MAX_BYTES} are allowed")]
    TooLarge {
        /// Which of them.
        field: &'static str,
        /// Bytes found.
        found: usize,
    },
    /// A batch that is too long.
    #[error("{found} entries, at most {max} are allowed")]
    BatchTooLong {
        /// Entries found.
        found: usize,
        /// Entries allowed.
        max: usize,
    },
    /// A task would be late, and its client does not want it then.
    #[error("it is expected {expected}, which is after its deadline {deadline}")]
    WouldBeLate {
        /// The deadline.
        deadline: Timestamp,
        /// When it is expected to begin, or to end if that was asked for.
        expected: Timestamp,
    },
    /// A task is to run after one that is not there.
    #[error("there is no task {0} to wait for: it must be submitted first")]
    ParentNotFound(TaskId),
    /// A payer has as many open tasks as one may have.
    #[error(
        "{} has {most} open tasks, which is the most allowed ({limit}): wait until some end",
        payer.as_ref().map_or("who pays nothing", AccountId::as_str)
    )]
    QueueFull {
        /// The limit's name in the [`QueuePolicy`](super::QueuePolicy).
        limit: &'static str,
        /// Tasks allowed.
        most: u64,
        /// The payer.
        payer: Option<AccountId>,
    },
    /// A price that the budget does not cover.
    #[error("the price exceeds the budget of task {0}")]
    OverBudget(TaskId),
}

impl From<SchedulerError> for Error {
    fn from(error: SchedulerError) -> Self {
        use SchedulerError as E;
        let kind = match &error {
            E::TaskNotFound(_) => ErrorKind::NotFound,
            E::TaskExists(_) | E::KeyTaken { .. } | E::StaleLease { .. } | E::WrongState { .. } => {
                ErrorKind::Conflict
            }
            E::TooLarge { field, .. } => return Self::invalid(field, error),
            E::ParentNotFound(_) => return Self::invalid("after", error),
            E::BatchTooLong { .. } => return Self::invalid("batch", error),
            E::QueueFull { .. } | E::WouldBeLate { .. } => ErrorKind::Exhausted,
            E::OverBudget(_) => return Self::invalid("price", error),
        };
        Self::new(kind, error)
    }
}
