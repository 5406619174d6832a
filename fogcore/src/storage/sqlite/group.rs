//! One group of requests, one transaction.

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Executor};

use super::error::{OrStoreError, StoreError, is_busy};
use super::loaded::Loaded;
use super::request::{Lease, Request, Run, Wanted};
use super::select::grant;
use crate::error::{Error, Result};

/// Carries out groups, one after another, on the connection that writes.
pub(super) struct Transactor {
    connect: SqliteConnectOptions,
    connection: Option<SqliteConnection>,
    /// What earlier groups loaded and wrote, and how much of that may stay.
    loaded: Loaded,
    keep: usize,
    /// Which version of the file `loaded` speaks of.
    version: Option<i64>,
    /// The class of tasks after which the next look for work begins.
    cursor: i64,
}

/// Why a group did not come to its end.
#[derive(Clone)]
enum Failure {
    /// Nothing of it was done.
    Undone(Error),
    /// Its commit was cut off: nobody knows, and every request may be sent again.
    Unknown(Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Undone(error) | Failure::Unknown(error) => error,
        }
    }
}

impl Transactor {
    pub(super) fn new(
        connect: SqliteConnectOptions,
        connection: SqliteConnection,
        keep: usize,
    ) -> Self {
        let (loaded, connection) = (Loaded::default(), Some(connection));
        Self { connect, connection, loaded, keep, version: None, cursor: i64::MIN }
    }

    pub(super) async fn close(self) {
        if let Some(connection) = self.connection
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "closing the database failed");
        }
    }

    /// Commits the group, and tells what became of each request. All are done together; if that
    /// fails, each is done again in a transaction of its own, so that the one at fault fails alone.
    pub(super) async fn transact(&mut self, group: &mut [Request]) -> Vec<Result<()>> {
        let mut done = vec![self.attempt(group).await; group.len()];
        if matches!(done[..], [Err(Failure::Undone(_)), _, ..]) {
            done.clear();
            for request in &mut *group {
                done.push(self.attempt(std::slice::from_mut(request)).await);
            }
        }
        let errors = done.iter().filter_map(|done| done.as_ref().err());
        if let Some(Failure::Undone(error) | Failure::Unknown(error)) = errors.clone().next() {
            tracing::debug!(%error, refused = errors.count(), "requests were not committed");
        }
        done.into_iter().map(|done| done.map_err(Error::from)).collect()
    }

    /// Makes one transaction.
    async fn attempt(&mut self, group: &mut [Request]) -> Result<(), Failure> {
        // Both are taken out, so that after an error nobody goes on with what is in an odd state.
        let mut loaded = std::mem::take(&mut self.loaded);
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect.connect().await.or_store_error().map_err(Failure::Undone)?,
        };
        let version = match begin(&mut connection).await {
            Ok(version) => version,
            Err(error) => {
                // Busy beyond all patience: nothing was begun, the connection is as good as ever.
                self.connection = is_busy(&error).then_some(connection);
                return Err(Failure::Undone(StoreError(error).into()));
            }
        };
        if self.version != Some(version) {
            loaded = Loaded::default();
        }
        if let Err(error) = self.work(&mut connection, &mut loaded, group).await {
            // It fails if SQLite gave the transaction up already; if it fails for worse, the next
            // transaction cannot begin, and the connection is given up then.
            let _ = connection.execute("ROLLBACK").await;
            self.connection = Some(connection);
            return Err(Failure::Undone(error));
        }
        connection.execute("COMMIT").await.or_store_error().map_err(Failure::Unknown)?;
        loaded.trim(self.keep);
        (self.loaded, self.version, self.connection) = (loaded, Some(version), Some(connection));
        Ok(())
    }

    /// Decides all that can be decided on one set, writes it at once, and looks for work after
    /// that: whoever asks gets what was just submitted, and slots that were just freed.
    async fn work(
        &mut self,
        connection: &mut SqliteConnection,
        loaded: &mut Loaded,
        group: &mut [Request],
    ) -> Result<()> {
        let mut wanted = Wanted::default();
        for request in &mut *group {
            match request {
                Request::Decide(decision) => wanted.add(decision.wanted()),
                Request::Run(run) => {
                    within_savepoint(connection, run.as_mut()).await?;
                }
                Request::Lease(_) => {}
            }
        }
        if let Some(now) = wanted.now {
            loaded.load(connection, wanted).await?;
            for request in &mut *group {
                if let Request::Decide(decision) = request {
                    decision.decide(&mut loaded.set);
                }
            }
            loaded.save(connection, now).await?;
        }
        let mut leases: Vec<&mut Lease> = group.iter_mut().filter_map(Request::as_lease).collect();
        if !leases.is_empty() {
            grant(connection, loaded, &mut self.cursor, &mut leases).await?;
        }
        Ok(())
    }
}

/// Begins, and tells a number that is another one whenever somebody else changed the file.
async fn begin(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let row = sqlx::query("BEGIN IMMEDIATE; PRAGMA data_version").fetch_one(connection).await?;
    sqlx::Row::try_get(&row, 0)
}

/// Runs the request's statements, or nothing of them: their error is its answer. An error here
/// means that the whole transaction is lost.
async fn within_savepoint(connection: &mut SqliteConnection, request: &mut dyn Run) -> Result<()> {
    connection.execute("SAVEPOINT request").await.or_store_error()?;
    if let Err(cause) = request.run(connection).await {
        let undone = connection.execute("ROLLBACK TO request").await;
        // It fails if SQLite gave the whole transaction up, on a full disk for example.
        undone.map_err(|_| cause)?;
    }
    connection.execute("RELEASE request").await.or_store_error()?;
    Ok(())
}
