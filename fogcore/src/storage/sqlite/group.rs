//! One group of requests, one transaction.

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Executor};

use super::SqliteOptions;
use super::error::{OrStoreError, StoreError, is_busy, is_full};
use super::ledger::Known;
use super::loaded::Loaded;
use super::request::{Counting, Request, Run};
use super::rows::integer;
use super::select::grant;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::leasing::Search;
use crate::storage::request::{Lease, Wanted};
use crate::storage::writer;

/// Carries out groups, one after another, on the connection that writes.
pub(super) struct Transactor {
    connect: SqliteConnectOptions,
    connection: Option<SqliteConnection>,
    /// What earlier groups loaded and wrote, and how much of that may stay.
    loaded: Loaded,
    keep: usize,
    unlisted: usize,
    /// How many transfers may be behind the counters.
    uncounted: i64,
    /// Whether somebody else changed the file meanwhile: then what is loaded may be lost any time.
    is_shared: bool,
    /// Which version of the file `loaded` speaks of.
    version: Option<i64>,
    search: Search,
}

/// Why a group did not come to its end.
#[derive(Clone)]
enum Failure {
    /// It could not even begin: the file is locked, or cannot be reached.
    NotBegun(Error),
    /// Nothing of it was done.
    Undone(Error),
    /// Its commit was cut off: nobody knows, and every request may be sent again.
    Unknown(Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotBegun(error) | Failure::Undone(error) | Failure::Unknown(error) => error,
        }
    }
}

impl Transactor {
    pub(super) fn new(
        connect: SqliteConnectOptions,
        connection: SqliteConnection,
        options: &SqliteOptions,
    ) -> Self {
        let (loaded, connection) = (Loaded::default(), Some(connection));
        let SqliteOptions { keep, unlisted, .. } = *options;
        Self {
            connect,
            connection,
            loaded,
            keep,
            unlisted,
            uncounted: integer(options.uncounted),
            is_shared: false,
            version: None,
            search: Search::default(),
        }
    }
}

impl writer::Transactor for Transactor {
    type Request = Request;

    /// Commits the group, and tells what became of each request. All are done together; if they
    /// are refused, each is done again in a transaction of its own, so that the one at fault fails
    /// alone.
    async fn transact(&mut self, group: &mut [Request]) -> Vec<Result<()>> {
        let whole = self.attempt(group).await;
        let Err(Failure::Undone(error)) = &whole else {
            return group.iter().map(|_| whole.clone().map_err(Error::from)).collect();
        };
        tracing::debug!(%error, requests = group.len(), "a group was undone");
        if error.kind() == ErrorKind::Exhausted {
            self.make_room().await;
        } else if group.len() == 1 {
            return vec![Err(error.clone())];
        }
        let mut outcomes = Vec::new();
        for request in group {
            outcomes.push(self.attempt(std::slice::from_mut(request)).await.map_err(Error::from));
        }
        outcomes
    }

    async fn close(mut self) {
        // So that nobody has to make it from the journal; but that is no reason to wait for others.
        if self.loaded.known.tail() > 0
            && let Some(connection) = &mut self.connection
            && connection.execute("PRAGMA busy_timeout = 0").await.is_ok()
            && let Err(failure) = self.attempt(&mut [Request::Count(Counting::default())]).await
        {
            tracing::debug!(error = %Error::from(failure), "counters are left to the journal");
        }
        if let Some(connection) = self.connection
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "closing the database failed");
        }
    }
}

impl Transactor {
    /// Copies the log into the database and cuts it off, which may free what a full disk lacks.
    async fn make_room(&mut self) {
        if let Some(connection) = &mut self.connection
            && let Err(error) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").await
        {
            tracing::debug!(%error, "no room could be made");
        }
    }

    /// Makes one transaction.
    async fn attempt(&mut self, group: &mut [Request]) -> Result<(), Failure> {
        // Both are taken out, so that after an error nobody goes on with what is in an odd state.
        let mut loaded = std::mem::take(&mut self.loaded);
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect.connect().await.or_store_error().map_err(Failure::NotBegun)?,
        };
        let version = match begin(&mut connection).await {
            Ok(version) => version,
            Err(error) => {
                // Busy beyond all patience: nothing was begun, the connection is as good as ever.
                self.connection = is_busy(&error).then_some(connection);
                return Err(Failure::NotBegun(StoreError(error).into()));
            }
        };
        if self.version != Some(version) {
            loaded = Loaded::default();
            self.is_shared |= self.version.is_some();
        }
        let mut done =
            self.work(&mut connection, &mut loaded, group).await.map_err(Failure::Undone);
        if done.is_ok() {
            done = connection.execute("COMMIT").await.map(|_| ()).map_err(|error| {
                // What the disk or a lock refuses is not committed; of the rest nobody knows.
                let refused = is_full(&error) || is_busy(&error);
                let error = StoreError(error).into();
                if refused { Failure::Undone(error) } else { Failure::Unknown(error) }
            });
        }
        if let Err(Failure::Undone(_)) = &done {
            // It fails if SQLite gave the transaction up already; if it fails for worse, the next
            // transaction cannot begin, and the connection is given up then.
            let _ = connection.execute("ROLLBACK").await;
            self.connection = Some(connection);
            return done;
        }
        done?;
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
                Request::Lease(_) | Request::Count(_) => {}
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
            loaded.save_market(connection).await?;
            loaded.known.list(connection, self.unlisted).await?;
        }
        self.count(connection, &mut loaded.known, group).await?;
        let mut leases: Vec<&mut Lease> = group.iter_mut().filter_map(Request::as_lease).collect();
        if !leases.is_empty() {
            grant(connection, loaded, &mut self.search, &mut leases).await?;
        }
        Ok(())
    }

    /// Writes counters, if it is time.
    async fn count(
        &self,
        connection: &mut SqliteConnection,
        known: &mut Known,
        group: &[Request],
    ) -> Result<()> {
        let asked = group.iter().filter(|one| matches!(one, Request::Count(_))).count();
        let mut most = self.uncounted;
        if self.is_shared {
            // What others do may cost us what is known of the tail, and then it has to be made from the
            // journal: a tail that is short beside what was done meanwhile makes that cheap.
            most = most.min(known.made() / 4);
        } else if asked > 0 {
            // There may be a tail that somebody left behind.
            known.recover(connection).await?;
        }
        if asked == group.len() {
            most = 0; // nobody waits for it
        } else if asked > 0 {
            most = most.min(SHORT);
        }
        known.count(connection, most).await
    }
}

/// A tail that is short enough for readers, while the writer has other things to do: to find those of
/// one account among so many takes less than a millisecond.
const SHORT: i64 = 4_096;

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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::future::join_all;
    use sqlx::{ConnectOptions, Executor};

    use crate::error::ErrorKind;
    use crate::registry::{Node, NodeStore};
    use crate::storage::sqlite::{SqliteOptions, SqliteStore, connect_options};
    use crate::time::Timestamp;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_group_that_cannot_begin_loses_its_patience_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fog.db");
        let options =
            SqliteOptions { busy_timeout: Duration::from_secs(2), ..SqliteOptions::default() };
        let store = SqliteStore::open(&path, options.clone()).await.unwrap();
        let mut other = connect_options(&path, &options).connect().await.unwrap();
        other.execute("BEGIN IMMEDIATE").await.unwrap();
        let requests = (0..60).map(|number| {
            let node = Node::new(format!("node-{number}").parse().unwrap());
            store.register(node, Timestamp::UNIX_EPOCH)
        });
        // One by one they would wait for two minutes.
        let answers = tokio::time::timeout(Duration::from_secs(60), join_all(requests));
        for answer in answers.await.unwrap() {
            assert_eq!(answer.unwrap_err().kind(), ErrorKind::Unavailable);
        }
        other.execute("ROLLBACK").await.unwrap();
        let node = Node::new("node".parse().unwrap());
        store.register(node, Timestamp::UNIX_EPOCH).await.unwrap();
    }
}
