//! What a node brings along: the code that does the work.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::{collections::VecDeque, fmt};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{JobMeter, MAX_BYTES, MAX_LOG_LINES, News, Progress, TaskStore};
use crate::id::{TaskId, TaskKind};
use crate::time::Timestamp;

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
    /// What an attempt before this one saved with [`Job::save`]: work that need not be done again.
    pub checkpoint: Option<Bytes>,
    /// The tasks that had to end before this one; see [`Job::result_of`].
    pub parents: Vec<TaskId>,
    pub(crate) results: Results,
    pub(crate) stop: watch::Receiver<Option<Stop>>,
    pub(crate) throttle: watch::Receiver<bool>,
    pub(crate) progress: watch::Sender<Option<Progress>>,
    pub(crate) notes: Arc<Notes>,
    pub(crate) given_back: Arc<AtomicBool>,
}

impl Job {
    /// Tells how far the work is, 0–1, with a note of up to 256 characters. Cheap: only the
    /// latest report travels, with the next renewal of the lease.
    pub fn report(&self, done: f64, note: &str) {
        self.progress.send_replace(Some(Progress::new(done, note)));
    }

    /// Whether the node is so warm that the job should do less
    /// ([`PowerPolicy::throttle_at`](crate::registry::PowerPolicy::throttle_at)), as its latest
    /// heartbeat told. Work that goes on as before may soon have to stop.
    #[must_use]
    pub fn is_throttled(&self) -> bool {
        *self.throttle.borrow()
    }

    /// Whether, and until when, the node is wanted for something else: a more urgent task, or
    /// whoever owns it. The job should [save](Self::save) what it did and end with any failure;
    /// that gives the task back, and the attempt does not count. Whoever goes on is dropped in time.
    #[must_use]
    pub fn stop_asked(&self) -> Option<Stop> {
        *self.stop.borrow()
    }

    /// Says that this is no failure of the job's own: whoever does it here is going away. If the job
    /// then ends with a failure that is not permanent, the task goes back into the queue, and the
    /// attempt does not count.
    pub fn give_back(&self) {
        self.given_back.store(true, Ordering::Release);
    }

    /// Waits until the node is wanted for something else; for ever, if it never is.
    pub async fn until_stop_asked(&self) -> Stop {
        let mut stop = self.stop.clone();
        match stop.wait_for(Option::is_some).await.ok().and_then(|stop| *stop) {
            Some(stop) => stop,
            // The worker is gone, and takes the job with it.
            None => std::future::pending().await,
        }
    }

    /// What one of the [parents](Self::parents) gave; none if it did not succeed.
    ///
    /// # Errors
    /// InvalidInput for a task that is no parent; what the store says.
    pub async fn result_of(&self, parent: TaskId) -> crate::Result<Option<Bytes>> {
        if !self.parents.contains(&parent) {
            let why = format!("task {} does not wait for task {parent}", self.task);
            return Err(crate::Error::invalid("parent", why));
        }
        self.results.0.result(parent).await
    }

    /// Writes a line of up to 1,024 bytes into the task's log, where
    /// [`Fog::log`](crate::Fog::log) finds it. Cheap: lines travel with the next renewal of the
    /// lease, the latest 1,000 of them.
    pub fn log(&self, line: impl Into<String>) {
        let mut notes = self.notes.lock();
        if notes.log.len() as u64 >= MAX_LOG_LINES {
            notes.log.pop_front();
        }
        notes.log.push_back(line.into());
    }

    /// Saves what the next attempt should begin with, should this one not come to its end; at most
    /// 1 MiB, in place of what was saved before. It travels with the next renewal of the lease.
    ///
    /// # Errors
    /// A permanent failure if it is too large.
    pub fn save(&self, checkpoint: impl Into<Bytes>) -> Result<(), Failure> {
        let checkpoint = checkpoint.into();
        if checkpoint.len() > MAX_BYTES {
            let found = checkpoint.len();
            let why = format!("a checkpoint of {found} bytes, {MAX_BYTES} are allowed");
            return Err(Failure::permanent(why));
        }
        self.notes.lock().checkpoint = Some(checkpoint);
        Ok(())
    }
}

/// The end of a job that its node is needed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// When the lease ends, whatever happens.
    pub until: Timestamp,
}

/// Where a job finds what its parents gave.
#[derive(Clone)]
pub(crate) struct Results(pub(crate) Arc<dyn TaskStore>);

impl fmt::Debug for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Results").finish_non_exhaustive()
    }
}

/// What a job says and saves, until it travels.
#[derive(Debug, Default)]
pub(crate) struct Notes(Mutex<Pending>);

#[derive(Debug, Default)]
struct Pending {
    log: VecDeque<String>,
    checkpoint: Option<Bytes>,
}

impl Notes {
    fn lock(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what there is.
    pub(crate) fn take(&self) -> News {
        let Pending { log, checkpoint } = std::mem::take(&mut *self.lock());
        News { progress: None, log: log.into(), checkpoint }
    }

    /// Takes the lines alone.
    pub(crate) fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().log).into()
    }

    /// Gives back what did not arrive, for the next time.
    pub(crate) fn put_back(&self, news: News) {
        let mut notes = self.lock();
        let newer = std::mem::take(&mut notes.log);
        notes.log = news.log.into();
        notes.log.extend(newer);
        // What was saved meanwhile is newer.
        notes.checkpoint = notes.checkpoint.take().or(news.checkpoint);
        let most = usize::try_from(MAX_LOG_LINES).unwrap_or(usize::MAX);
        let old = notes.log.len().saturating_sub(most);
        notes.log.drain(..old);
    }

    /// Whether there is something to take.
    pub(crate) fn any(&self) -> bool {
        let notes = self.lock();
        !notes.log.is_empty() || notes.checkpoint.is_some()
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
    /// How good the result is, if results of such tasks can be better or worse: higher is better.
    /// It decides between two results of one task
    /// ([`Reconcile::Best`](super::Reconcile::Best)).
    pub score: Option<i64>,
}

impl From<Bytes> for Output {
    fn from(result: Bytes) -> Self {
        Self { result, ..Self::default() }
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
