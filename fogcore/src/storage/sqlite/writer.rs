//! The one task that changes the file: many requests, one transaction, one flush.

use futures::future::BoxFuture;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Executor};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::SqliteOptions;
use super::error::{OrStoreError, StoreError};
use crate::error::{Error, ErrorKind, Result};

/// A handle on the writer task.
#[derive(Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Box<dyn Request>>,
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
        let group = options.group.max(1);
        let worker = Worker { connect, connection: Some(connection), waiting, group };
        tasks.spawn(worker.run(closing.clone()));
        tasks.close();
        Ok(Self { queue, closing, tasks })
    }

    /// Runs `work` in a transaction, and answers once that is on the disk. An error of `work`
    /// undoes what it did and nothing else. Who stops waiting stops nothing: once queued, the
    /// work is done as a whole.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        let (sender, answer) = oneshot::channel();
        let request = Pending { work: Some(work), result: Err(closed()), sender };
        self.queue.send(Box::new(request)).await.map_err(|_| closed())?;
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

fn closed() -> Error {
    Error::new(ErrorKind::Unavailable, "the store is closed")
}

/// Something that wants to be written, and somebody who waits for it.
trait Request: Send {
    /// Does the work, and says whether it is to be kept.
    fn run<'a>(&'a mut self, connection: &'a mut SqliteConnection) -> BoxFuture<'a, Result<()>>;

    /// Answers, once it is known whether the group was committed.
    fn reply(self: Box<Self>, committed: Result<()>);
}

struct Pending<F, T> {
    work: Option<F>,
    result: Result<T>,
    sender: oneshot::Sender<Result<T>>,
}

impl<F, T> Request for Pending<F, T>
where
    T: Send + 'static,
    F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T>> + Send,
{
    fn run<'a>(&'a mut self, connection: &'a mut SqliteConnection) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if let Some(work) = self.work.take() {
                self.result = work(connection).await;
            }
            self.result.as_ref().map(|_| ()).map_err(Clone::clone)
        })
    }

    fn reply(self: Box<Self>, committed: Result<()>) {
        // An error here means that nobody waits any more, which is their choice.
        let _ = self.sender.send(committed.and(self.result));
    }
}

struct Worker {
    connect: SqliteConnectOptions,
    connection: Option<SqliteConnection>,
    waiting: mpsc::Receiver<Box<dyn Request>>,
    group: usize,
}

impl Worker {
    async fn run(mut self, closing: CancellationToken) {
        let mut group = Vec::new();
        loop {
            tokio::select! {
                // What waits is done before the door closes.
                biased;
                taken = self.waiting.recv_many(&mut group, self.group) => {
                    if taken == 0 {
                        break;
                    }
                }
                () = closing.cancelled(), if !self.waiting.is_closed() => {
                    self.waiting.close();
                    continue;
                }
            }
            let committed = self.transact(&mut group).await;
            if let Err(error) = &committed {
                tracing::warn!(%error, requests = group.len(), "a group was not committed");
            }
            for request in group.drain(..) {
                request.reply(committed.clone());
            }
        }
        if let Some(connection) = self.connection
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "closing the database failed");
        }
    }

    /// Commits the group as one transaction; an error means that all of it is undone – or, if
    /// the commit itself was cut off, that nobody knows: every request may be sent again.
    async fn transact(&mut self, group: &mut [Box<dyn Request>]) -> Result<()> {
        // Taken out, so that after an error nobody goes on with a connection in an odd state.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect.connect().await.or_store_error()?,
        };
        if let Err(error) = connection.execute("BEGIN IMMEDIATE").await {
            // Busy beyond all patience; nothing was begun, so the connection is as good as ever.
            self.connection = Some(connection);
            return Err(StoreError(error).into());
        }
        for request in group {
            connection.execute("SAVEPOINT request").await.or_store_error()?;
            if let Err(cause) = request.run(&mut connection).await {
                let undone = connection.execute("ROLLBACK TO request").await;
                // It fails if SQLite gave the whole transaction up, on a full disk for example.
                undone.map_err(|_| cause)?;
            }
            connection.execute("RELEASE request").await.or_store_error()?;
        }
        connection.execute("COMMIT").await.or_store_error()?;
        self.connection = Some(connection);
        Ok(())
    }
}
