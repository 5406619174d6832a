//! The one task that changes the file: many requests, one transaction, one flush.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use futures::future::BoxFuture;
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::SqliteOptions;
use super::error::OrStoreError;
use super::group::Transactor;
use super::request::{Answer, Decide, Lease, Request, Statements, Wanted, closed};
use crate::error::{Error, ErrorKind, Result};
use crate::scheduler::{Assignment, LeaseRequest, WorkingSet};
use crate::time::Timestamp;

/// A handle on the writer task.
///
/// Each of its calls answers once what it did is on the disk. Who stops waiting stops nothing:
/// once queued, a request is done as a whole.
#[derive(Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Request>,
    closing: CancellationToken,
    tasks: TaskTracker,
}

impl Writer {
    pub(super) async fn start(
        connect: SqliteConnectOptions,
        options: &SqliteOptions,
    ) -> Result<Self> {
        let connection = connect.connect().await.or_store_error()?;
        let (queue, waiting) = mpsc::channel(options.queue.max(1));
        let (closing, tasks) = (CancellationToken::new(), TaskTracker::new());
        let transactor = Transactor::new(connect, connection, options.keep);
        tasks.spawn(run(waiting, transactor, options.group.max(1), closing.clone()));
        tasks.close();
        Ok(Self { queue, closing, tasks })
    }

    /// Loads what is wanted, lets `decide` change it, and writes what changed.
    pub(super) async fn decide<T, F>(&self, wanted: Wanted, decide: F) -> Result<T>
    where
        T: Send + Sync + 'static,
        F: Fn(&mut WorkingSet) -> T + Send + Sync + 'static,
    {
        let (answer, receiver) = Answer::new();
        self.ask(Request::Decide(Box::new(Decide { wanted, decide, answer })), receiver).await
    }

    /// Leases what the request's asker should have.
    pub(super) async fn lease(
        &self,
        request: LeaseRequest,
        now: Timestamp,
    ) -> Result<Vec<Assignment>> {
        let (answer, receiver) = Answer::new();
        self.ask(Request::Lease(Lease { request, now, answer }), receiver).await
    }

    /// Runs statements on tables that no decision is about. Their error undoes them.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + Sync + 'static,
        F: for<'c> Fn(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T>> + Send + Sync + 'static,
    {
        let (answer, receiver) = Answer::new();
        self.ask(Request::Run(Box::new(Statements { work, answer })), receiver).await
    }

    async fn ask<T>(&self, request: Request, answer: oneshot::Receiver<Result<T>>) -> Result<T> {
        self.queue.send(request).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Does what waits, then closes the connection.
    pub(super) async fn close(&self) {
        self.closing.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

async fn run(
    mut waiting: mpsc::Receiver<Request>,
    mut transactor: Transactor,
    most: usize,
    closing: CancellationToken,
) {
    let mut group = Vec::new();
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
        // A panic in a decision, which would be a fault of ours, must not end all writing: what it
        // left is dropped, and who waited for this group is told.
        let outcomes = AssertUnwindSafe(transactor.transact(&mut group)).catch_unwind().await;
        let outcomes = outcomes.unwrap_or_else(|_| {
            let error = Error::new(ErrorKind::Internal, "a change of the store panicked");
            vec![Err(error); group.len()]
        });
        for (request, outcome) in group.drain(..).zip(outcomes) {
            request.reply(outcome);
        }
    }
    transactor.close().await;
}
