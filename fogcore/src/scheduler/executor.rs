//! What a node brings along: the code that does the work.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{JobMeter, Progress};
use crate::id::{TaskId, TaskKind};

/// Does the work of one kind of task.
///
/// It may be dropped at any await when its lease is lost, its task is cancelled or its node shuts
/// down; a panic fails the attempt and nothing else. Work that blocks belongs in
/// [`tokio::task::spawn_blocking`], within [`JobMeter::run`] so that its CPU time is counted.
#[async_trait]
pub trait Executor: Send + Sync + 'static {
    /// Does the job.
    ///
    /// # Errors
    /// [`Failure`] says whether another attempt makes sense.
    async fn execute(&self, job: Job) -> Result<Output, Failure>;
}

/// One attempt at a task, in the hands of an executor.
#[derive(Clone, Debug)]
pub struct Job {
    /// The task.
    pub task: TaskId,
    /// Its kind.
    pub kind: TaskKind,
    /// What it is asked with.
    pub payload: Bytes,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Adds up what the attempt takes. What runs within the future of [`Executor::execute`] is
    /// counted by itself; work elsewhere (blocking threads, child processes, GPUs) tells it.
    pub meter: JobMeter,
    /// Says that nobody wants the answer any more: work that blocks should look at it.
    pub cancelled: CancellationToken,
    pub(crate) progress: watch::Sender<Option<Progress>>,
}

impl Job {
    /// Tells how far the work is, 0–1, with a note of up to 256 characters. Cheap: only the
    /// latest report travels, with the next renewal of the lease.
    pub fn report(&self, done: f64, note: &str) {
        self.progress.send_replace(Some(Progress::new(done, note)));
    }
}

/// What an attempt gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// The result, at most 1 MiB.
    pub result: Bytes,
    /// How many bytes were moved, for the price, if the executor counted them; who knows in which
    /// direction tells [`Job::meter`] instead.
    pub bytes_moved: Option<u64>,
}

impl From<Bytes> for Output {
    fn from(result: Bytes) -> Self {
        Self { result, bytes_moved: None }
    }
}

/// Why an attempt gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub reason: String,
    /// Whether another attempt would end the same way.
    pub permanent: bool,
}

impl Failure {
    /// A failure that another attempt, here or elsewhere, may not meet.
    pub fn transient(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), permanent: false }
    }

    /// A failure that every attempt would meet: bad input.
    pub fn permanent(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), permanent: true }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// An executor from a plain async function.
///
/// ```
/// use fogcore::scheduler::{Output, executor_fn};
/// let echo = executor_fn(|job| async move { Ok(Output::from(job.payload)) });
/// ```
pub fn executor_fn<F, R>(function: F) -> Arc<dyn Executor>
where
    F: Fn(Job) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Output, Failure>> + Send + 'static,
{
    struct Function<F>(F);

    #[async_trait]
    impl<F, R> Executor for Function<F>
    where
        F: Fn(Job) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Output, Failure>> + Send + 'static,
    {
        async fn execute(&self, job: Job) -> Result<Output, Failure> {
            (self.0)(job).await
        }
    }

    Arc::new(Function(function))
}
