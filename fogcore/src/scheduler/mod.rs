//! What runs where: tasks, the queue they wait in, the leases that nodes hold on them, and why.
//!
//! A node that wants work asks for it. The scheduler looks at the tasks that the node could do,
//! highest priority first, weighs the node against others that could do them too
//! ([`Matcher`]), and grants it a [`Lease`] – with an [`Explanation`] that is kept. The lease runs
//! out unless it is renewed; then the task goes to another node. Each lease has a higher fencing
//! token than the one before, and only the holder of the latest is listened to, so a node that
//! comes back from the dead can neither overwrite a result nor be paid a second time.
//!
//! Whoever knows all nodes can also decide the other way round: a [`Cluster`] finds the best of
//! them for a task, by the same filters and scores ([`policy`]).
//!
//! Money moves in the same atomic unit: submitting reserves the budget, success pays the price and
//! frees the rest, every other end frees all of it.
//!
//! ```
//! use std::sync::Arc;
//! use fogcore::id::TaskId;
//! use fogcore::scheduler::{NewTask, QueuePolicy, TaskSpec, TaskState, WorkingSet};
//! use fogcore::time::Timestamp;
//!
//! let mut tasks = WorkingSet::default();
//! let (id, now) = (TaskId::derive(b"example", "task"), Timestamp::UNIX_EPOCH);
//! let spec = Arc::new(TaskSpec::new("digest".parse()?));
//! let new = NewTask { id, spec, payload: "file.txt".into() };
//! let submitted = tasks.submit(new, &QueuePolicy::default(), now)?;
//! assert_eq!(submitted.task.state, TaskState::Queued);
//! # Ok::<(), fogcore::Error>(())
//! ```

mod cluster;
mod error;
mod executor;
mod explanation;
mod load;
pub mod market;
mod matcher;
pub mod metering;
mod neighbours;
mod placement;
pub mod policy;
pub mod queue;
pub mod replicas;
mod requirements;
mod selector;
pub mod settlement;
#[cfg(feature = "simulate")]
pub mod simulate;
mod store;
mod survey;
mod task;
mod working_set;

pub(crate) use self::executor::{Notes, Results};
pub use self::{
    cluster::{Allocation, Cluster, ClusterError, Limits, Nsga2, Placement, Plan},
    error::SchedulerError,
    executor::{Executor, Failure, Job, Output, Stop, executor_fn},
    explanation::{Considered, Explanation, Reason, Refusal, Relaxation, Second, Term},
    load::Load,
    matcher::{Matcher, Offer},
    metering::{JobMeter, ManualMeter, Meter, ProcessReading, Usage},
    neighbours::Neighbours,
    placement::{Candidate, PlacementPolicy},
    queue::{LatePolicy, PreemptionPolicy, QueuePolicy},
    replicas::{Backup, BackupPolicy, Reconcile, SlaClass},
    requirements::{
        Apart, Gang, GpuRequirement, Locality, Place, PowerNeed, Preference, Requirements,
        WHOLE_GPU,
    },
    selector::Selector,
    store::{
        Assignment, Claim, Completion, LeaseRequest, MAX_BATCH, NewTask, News, Outcome, Renewal,
        Submitted, Tally, TaskCounts, TaskFilter, TaskStore,
    },
    survey::survey,
    task::{
        Backoff, Budget, Checkpoint, Lease, LogLine, MAX_BYTES, MAX_LOG_LINE, MAX_LOG_LINES,
        MAX_PARENTS, ParentFailure, Progress, Task, TaskSpec, TaskState,
    },
    working_set::{Changes, Named, WorkingSet, money_of, money_of_work, name_of},
};
