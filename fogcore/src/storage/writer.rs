//! The one task that changes a database: many requests, one transaction, one flush.

use std::fmt;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::request::{Answer, Decide, Decision, Lease, closed};
use crate::error::{Error, ErrorKind, Result};
use crate::scheduler::{Assignment, LeaseRequest};
use crate::time::Timestamp;

/// Something that wants to be written, and somebody who waits for it.
pub(super) trait Request: Send + 'static {
    /// Answers, once it is known what became of the request.
    fn reply(self, outcome: Result<()>);

    /// About how many rows it may change.
    fn weight(&self) -> usize;
}

/// The most rows that requests may change together: others wait for a transaction until it ends, and
/// a batch can be 8,190 of them by itself.
const MOST_WEIGHT: usize = 16_384;

/// Carries out groups of requests, one after another.
pub(super) trait Transactor: Send + 'static {
    type Request: Request;

    /// Commits the group, and tells what became of each request.
    fn transact(
        &mut self,
        group: &mut [Self::Request],
    ) -> impl Future<Output = Vec<Result<()>>> + Send;

    fn close(self) -> impl Future<Output = ()> + Send;
}

/// A handle on the writer task.
///
/// Each of its calls answers once what it did is on the disk. Who stops waiting stops nothing:
/// once queued, a request is done as a whole.
pub(super) struct Writer<R> {
    queue: mpsc::Sender<R>,
    closing: CancellationToken,
    tasks: TaskTracker,
}

impl<R> fmt::Debug for Writer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl<R: Request> Writer<R> {
    /// Starts the task: up to `queue` requests wait, up to `group` share a transaction.
    pub(super) fn start(
        transactor: impl Transactor<Request = R>,
        queue: usize,
        group: usize,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(queue.max(1));
        let (closing, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(run(waiting, transactor, group.max(1), closing.clone()));
        tasks.close();
        Self { queue, closing, tasks }
    }

    /// Loads what is wanted, lets `decide` change it, and writes what changed.
    pub(super) async fn decide<S, W, T, F>(&self, wanted: W, decide: F) -> Result<T>
    where
        R: From<Box<dyn Decision<S, W>>>,
        S: 'static,
        W: Send + Sync + 'static,
        T: Send + Sync + 'static,
        F: Fn(&mut S) -> T + Send + Sync + 'static,
    {
        let (answer, receiver) = Answer::new();
        let decision: Box<dyn Decision<S, W>> = Box::new(Decide { wanted, decide, answer });
        self.ask(decision.into(), receiver).await
    }

    /// Leases what the request's asker should have.
    pub(super) async fn lease(
        &self,
        request: LeaseRequest,
        now: Timestamp,
    ) -> Result<Vec<Assignment>>
    where
        R: From<Lease>,
    {
        let (answer, receiver) = Answer::new();
        self.ask(Lease { request, now, answer }.into(), receiver).await
    }

    /// Leaves a request that nobody waits for, if there is room.
    #[cfg(feature = "sqlite")]
    pub(super) fn try_ask(&self, request: R) {
        let _ = self.queue.try_send(request);
    }

    pub(super) async fn ask<T>(
        &self,
        request: R,
        answer: oneshot::Receiver<Result<T>>,
    ) -> Result<T> {
        self.queue.send(request).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

impl<R> Writer<R> {
    /// Does what waits, then closes the connection.
    pub(super) async fn close(&self) {
        self.closing.cancel();
        self.tasks.wait().await;
    }
}

impl<R> Drop for Writer<R> {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

/// Lets those get on who are about to ask, most of them because they were just answered: else they
/// would come one moment too late for this group, and there would be two groups where one would do.
async fn gather<R>(waiting: &mut mpsc::Receiver<R>, group: &mut Vec<R>, most: usize) {
    let mut before = 0;
    while before < group.len() && group.len() < most {
        before = group.len();
        tokio::task::yield_now().await;
        while group.len() < most
            && let Ok(request) = waiting.try_recv()
        {
            group.push(request);
        }
    }
}

/// How many of the first requests share a transaction: one at least.
fn fitting<R: Request>(group: &[R]) -> usize {
    let mut weight = 0_usize;
    let light = group.iter().take_while(|request| {
        weight = weight.saturating_add(request.weight());
        weight <= MOST_WEIGHT
    });
    light.count().max(1)
}

async fn run<T: Transactor>(
    mut waiting: mpsc::Receiver<T::Request>,
    mut transactor: T,
    most: usize,
    closing: CancellationToken,
) {
    let (mut group, mut was_shared) = (Vec::new(), false);
    loop {
        tokio::select! {
            // What waits is done before the door closes.
            biased;
            taken = waiting.recv_many(&mut group, most) => {
                if taken == 0 {
                    break;
                }
            }
            () = closing.cancelled(), if !waiting.is_closed() => {
                waiting.close();
                continue;
            }
        }
        if was_shared || group.len() > 1 {
            gather(&mut waiting, &mut group, most).await;
        }
        was_shared = group.len() > 1;
        while !group.is_empty() {
            let part = fitting(&group);
            // A panic in a decision, which would be a fault of ours, must not end all writing: what it
            // left is dropped, and who waited for this group is told.
            let transaction = AssertUnwindSafe(transactor.transact(&mut group[..part]));
            let outcomes = transaction.catch_unwind().await.unwrap_or_else(|_| {
                let error = Error::new(ErrorKind::Internal, "a change of the store panicked");
                vec![Err(error); part]
            });
            for (request, outcome) in group.drain(..part).zip(outcomes) {
                request.reply(outcome);
            }
        }
    }
    transactor.close().await;
}
