//! One group of requests, one transaction.

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Executor};

use super::error::{OrStoreError, StoreError, is_busy};
use super::loaded::Loaded;
use super::request::{Lease, Request, Wanted};
use super::select::grant;
use crate::error::{Error, Result};

/// Carries out groups, one after another, on the connection that writes.
pub(super) struct Transactor {
    connect: SqliteConnectOptions,
    connection: Option<SqliteConnection>,
    /// What earlier groups loaded and wrote.
    loaded: Loaded,
    /// Which version of the file `loaded` speaks of.
    version: Option<i64>,
    /// The class of tasks after which the next look for work begins.
    cursor: i64,
}

/// Why a group did not come to its end.
enum Failure {
    /// Nothing of it was done.
    Undone(Error),
    /// Its commit was cut off: nobody knows, and every request may be sent again.
    Unknown(Error),
}

impl Transactor {
    pub(super) fn new(connect: SqliteConnectOptions, connection: SqliteConnection) -> Self {
        let (loaded, connection) = (Loaded::default(), Some(connection));
        Self { connect, connection, loaded, version: None, cursor: i64::MIN }
    }

    pub(super) async fn close(self) {
        if let Some(connection) = self.connection
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "closing the database failed");
        }
    }

    /// Commits the group, and tells what became of each request. All are tried together; if that
    /// fails, each is tried again in a savepoint of its own, so that the one at fault is undone
    /// alone.
    pub(super) async fn transact(&mut self, group: &mut [Request]) -> Vec<Result<()>> {
        let mut outcomes = vec![Ok(()); group.len()];
        let mut done = self.attempt(group, None).await;
        if matches!(done, Err(Failure::Undone(_))) && group.len() > 1 {
            done = self.attempt(group, Some(&mut outcomes)).await;
        }
        if let Err(Failure::Undone(error) | Failure::Unknown(error)) = done {
            tracing::warn!(%error, requests = group.len(), "a group was not committed");
            outcomes.fill(Err(error));
        }
        outcomes
    }

    /// Makes the transaction: all requests together, or each on its own if there is a place for
    /// what becomes of each.
    async fn attempt(
        &mut self,
        group: &mut [Request],
        outcomes: Option<&mut Vec<Result<()>>>,
    ) -> Result<(), Failure> {
        // Both are taken out, so that after an error nobody goes on with what is in an odd state:
        // an open transaction ends with its connection.
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
        let worked = match outcomes {
            None => self.together(&mut connection, &mut loaded, group).await,
            Some(outcomes) => self.apart(&mut connection, &mut loaded, group, outcomes).await,
        };
        worked.map_err(Failure::Undone)?;
        connection.execute("COMMIT").await.or_store_error().map_err(Failure::Unknown)?;
        loaded.trim();
        (self.loaded, self.version, self.connection) = (loaded, Some(version), Some(connection));
        Ok(())
    }

    /// Decides all that can be decided on one set, writes it at once, and looks for work after
    /// that: whoever asks gets what was just submitted, and slots that were just freed.
    async fn together(
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
                    // Its own error is its own answer.
                    within_savepoint(connection, async |connection| run.run(connection).await)
                        .await?
                        .ok();
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

    async fn apart(
        &mut self,
        connection: &mut SqliteConnection,
        loaded: &mut Loaded,
        group: &mut [Request],
        outcomes: &mut [Result<()>],
    ) -> Result<()> {
        for (request, outcome) in group.iter_mut().zip(outcomes) {
            let alone = std::slice::from_mut(request);
            *outcome = within_savepoint(connection, async |connection| {
                self.together(connection, loaded, alone).await
            })
            .await?;
            if outcome.is_err() {
                *loaded = Loaded::default();
            }
        }
        Ok(())
    }
}

/// Begins, and tells a number that is another one whenever somebody else changed the file.
async fn begin(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let row = sqlx::query("BEGIN IMMEDIATE; PRAGMA data_version").fetch_one(connection).await?;
    sqlx::Row::try_get(&row, 0)
}

/// Does the work, or nothing of it. The outer error means that the whole transaction is lost.
async fn within_savepoint(
    connection: &mut SqliteConnection,
    work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<()>,
) -> Result<Result<()>> {
    connection.execute("SAVEPOINT request").await.or_store_error()?;
    let done = work(connection).await;
    if let Err(cause) = &done {
        let undone = connection.execute("ROLLBACK TO request").await;
        // It fails if SQLite gave the whole transaction up, on a full disk for example.
        undone.map_err(|_| cause.clone())?;
    }
    connection.execute("RELEASE request").await.or_store_error()?;
    Ok(done)
}
