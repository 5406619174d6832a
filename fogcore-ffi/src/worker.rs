//! Work that the other side does: an executor over the boundary, and the worker it serves in.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use fogcore::id::{TaskId, TaskKind};
use fogcore::registry::Heartbeat;
use fogcore::scheduler;
use fogcore::time::Timestamp;

use crate::error::FogError;
use crate::handles::Counted;
use crate::node::Node;
use crate::runtime::Calls;

/// Does the work of some kinds of tasks. Implemented by the app.
///
/// Its call is cancelled when the lease is lost, the task is cancelled, or the fog shuts down. What
/// it throws fails the attempt and nothing else.
#[uniffi::export(callback_interface)]
#[async_trait]
pub trait ForeignExecutor: Send + Sync {
    /// Does the job.
    ///
    /// # Errors
    /// Whether another attempt makes sense. Anything else that is thrown counts as a failure that
    /// another attempt may not meet.
    async fn execute(&self, job: Job, control: Arc<JobControl>) -> Result<Output, ExecutionError>;
}

/// One attempt at a task.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct Job {
    /// The task.
    pub task: TaskId,
    /// Its kind.
    pub kind: TaskKind,
    /// What it is asked with.
    pub payload: Vec<u8>,
    /// The attempt, from 1.
    pub attempt: u32,
    /// What an attempt before this one saved.
    pub checkpoint: Option<Vec<u8>>,
    /// The tasks that had to end before this one.
    pub parents: Vec<TaskId>,
}

/// What an attempt gave.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct Output {
    /// The result, at most 1 MiB.
    pub result: Vec<u8>,
    /// How many bytes were moved, for the price, if the executor counted them.
    #[uniffi(default)]
    pub bytes_moved: Option<u64>,
    /// How good the result is, if results of such tasks can be better or worse.
    #[uniffi(default)]
    pub score: Option<i64>,
}

/// Why an attempt gave nothing.
#[derive(Clone, Debug, PartialEq, thiserror::Error, uniffi::Error)]
pub enum ExecutionError {
    /// Another attempt, here or elsewhere, may not meet it.
    #[error("{reason}")]
    Transient {
        /// Why.
        reason: String,
    },
    /// Every attempt would meet it: bad input.
    #[error("{reason}")]
    Permanent {
        /// Why.
        reason: String,
    },
}

impl From<uniffi::UnexpectedUniFFICallbackError> for ExecutionError {
    fn from(thrown: uniffi::UnexpectedUniFFICallbackError) -> Self {
        Self::Transient { reason: format!("the executor threw: {}", thrown.reason) }
    }
}

impl From<ExecutionError> for scheduler::Failure {
    fn from(error: ExecutionError) -> Self {
        match error {
            ExecutionError::Transient { reason } => Self::transient(reason),
            ExecutionError::Permanent { reason } => Self::permanent(reason),
        }
    }
}

/// What a job can say and ask while it runs.
#[derive(Debug, uniffi::Object)]
pub struct JobControl {
    job: scheduler::Job,
    calls: Calls,
    _counted: Counted,
}

#[uniffi::export]
impl JobControl {
    /// Tells how far the work is, 0–1, with a note of up to 256 characters.
    pub fn report(&self, done: f64, note: String) {
        self.job.report(done, &note);
    }

    /// Writes a line of up to 1,024 bytes into the task's log.
    pub fn log(&self, line: String) {
        self.job.log(line);
    }

    /// Saves what the next attempt should begin with, at most 1 MiB.
    ///
    /// # Errors
    /// Permanent if it is too large.
    pub fn save(&self, checkpoint: Vec<u8>) -> Result<(), ExecutionError> {
        self.job
            .save(checkpoint)
            .map_err(|failure| ExecutionError::Permanent { reason: failure.reason })
    }

    /// Whether the node is so warm that the job should do less.
    pub fn is_throttled(&self) -> bool {
        self.job.is_throttled()
    }

    /// Whether nobody wants the answer any more: work that blocks should look at it.
    pub fn is_cancelled(&self) -> bool {
        self.job.cancelled.is_cancelled()
    }

    /// Until when the job should have ended, if its node is wanted for something else. It should
    /// save what it did and end with any failure, which then does not count.
    pub fn stop_asked(&self) -> Option<Timestamp> {
        self.job.stop_asked().map(|stop| stop.until)
    }

    /// What one of the tasks gave that had to end before this one; none if it did not succeed.
    ///
    /// # Errors
    /// InvalidInput for a task that this one does not wait for; what the store says.
    pub async fn result_of(&self, parent: TaskId) -> Result<Option<Vec<u8>>, FogError> {
        let job = self.job.clone();
        let look = async move { job.result_of(parent).await.map(|found| found.map(Vec::from)) };
        self.calls.wait(look).await
    }
}

/// The other side's executor, as the core sees it.
struct Foreign {
    executor: Box<dyn ForeignExecutor>,
    calls: Calls,
}

#[async_trait]
impl scheduler::Executor for Foreign {
    async fn execute(&self, job: scheduler::Job) -> Result<scheduler::Output, scheduler::Failure> {
        let told = Job {
            task: job.task,
            kind: job.kind.clone(),
            payload: job.payload.to_vec(),
            attempt: job.attempt,
            checkpoint: job.checkpoint.as_ref().map(|bytes| bytes.to_vec()),
            parents: job.parents.clone(),
        };
        let calls = self.calls.clone();
        let control = Arc::new(JobControl { job, calls, _counted: Counted::new() });
        let Output { result, bytes_moved, score } = self.executor.execute(told, control).await?;
        Ok(scheduler::Output { result: result.into(), bytes_moved, score })
    }
}

/// A node at work in this process. Given back without [`Worker::stop`], it stops as well, and
/// nobody waits.
#[derive(Debug, uniffi::Object)]
pub struct Worker {
    worker: Mutex<Option<fogcore::fog::Worker>>,
    vitals: Arc<Mutex<Heartbeat>>,
    calls: Calls,
    _counted: Counted,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Worker {
    pub(crate) async fn start(
        fog: fogcore::Fog,
        calls: Calls,
        node: Node,
        kinds: Vec<TaskKind>,
        executor: Box<dyn ForeignExecutor>,
        vitals: Heartbeat,
    ) -> Result<Arc<Self>, FogError> {
        let executor: Arc<dyn scheduler::Executor> =
            Arc::new(Foreign { executor, calls: calls.clone() });
        let vitals = Arc::new(Mutex::new(vitals));
        let read = Arc::clone(&vitals);
        let mut builder = fog.worker(node.into()).vitals(Arc::new(move || lock(&read).clone()));
        for kind in kinds {
            builder = builder.executor(kind, Arc::clone(&executor));
        }
        let worker = Mutex::new(Some(builder.start().await?));
        Ok(Arc::new(Self { worker, vitals, calls, _counted: Counted::new() }))
    }
}

#[uniffi::export]
impl Worker {
    /// How the node is from now on: told with its next heartbeat, and looked at before it asks for
    /// more work.
    pub fn update(&self, vitals: Heartbeat) {
        *lock(&self.vitals) = vitals;
    }

    /// Takes no more tasks, lets what runs end in time, gives back the rest, and returns when no
    /// task is leased to the worker any more. Given up, it goes on.
    ///
    /// # Errors
    /// Internal if it broke.
    pub async fn stop(&self) -> Result<(), FogError> {
        let Some(worker) = lock(&self.worker).take() else { return Ok(()) };
        let stop = async move {
            worker.stop().await;
            Ok::<(), FogError>(())
        };
        self.calls.finish(stop).await
    }
}
