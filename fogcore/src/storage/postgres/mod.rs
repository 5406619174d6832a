//! The store on PostgreSQL (15 or newer), for processes on several machines.
//!
//! Each store that is open writes through one connection: a task groups what is waiting into one
//! transaction with a few statements per table, however many requests there are, and answers only
//! after COMMIT returned, with `synchronous_commit` on. What one request does wrong is undone
//! alone. Reads have connections of their own.
//!
//! # Several replicas
//! Any number of processes may share a database. Nothing is remembered between transactions: each
//! locks the rows that it decides on, in one order everywhere (nodes, tasks, lanes of the market, accounts,
//! and within them by id), so that nobody waits in a circle; work that another process is just giving away is
//! passed over. Two processes that add the same id at the same time collide on its unique index,
//! and the second one looks again. Each store has a chain of the ledger's proof to itself, so
//! replicas never queue behind one lock; numbers of chains are used again, held by an advisory lock
//! of the session.
//!
//! # Operating it
//! - `fsync` and `full_page_writes` must be on, as they are unless somebody turned them off; a store
//!   says so in the log when it finds them off. `synchronous_commit` is set by the store itself; with
//!   synchronous standbys, an answer also waits for them.
//! - A store takes one connection to write and up to [`PostgresOptions::readers`] to read. Keep
//!   `max_connections` above the sum.
//! - Connect directly, or through a proxy that keeps sessions: locks of a session and prepared
//!   statements do not go through a proxy that hands out single transactions (such as PgBouncer's
//!   `transaction` mode).
//! - The role must be allowed to create tables when a new version is opened for the first time. The
//!   database must be in UTF-8.
//! - Tables are found by the `search_path`; `?options=-csearch_path%3Dfog` in the URL gives a fog a
//!   schema of its own, but let there be one fog per database: locks on ids know no schemas.
//! - Back up with `pg_dump` or a base backup; both are consistent while the fog runs.
//! - Failover to a standby needs one that had everything (synchronous): what was acknowledged and
//!   not yet copied is lost with the disk it was on.
//!
//! ```no_run
//! use fogcore::storage::postgres::{PostgresOptions, PostgresStore};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let url = "postgres://fog:secret@db.example.org/fog";
//! let store = PostgresStore::open(url, PostgresOptions::default()).await?;
//! store.close().await;
//! # Ok::<(), fogcore::Error>(())
//! # }).unwrap();
//! ```

mod error;
mod group;
mod journal;
mod ledger;
mod loaded;
mod market;
mod nodes;
mod readers;
mod request;
mod rows;
mod save;
mod select;
mod session;
mod signaling;
mod tasks;
mod verify;

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection};

use self::error::Failure;
use self::group::{Patience, Transactor};
use self::readers::Readers;
use self::request::Request;
use self::rows::get;
use self::session::{Session, milliseconds};
use super::writer::Writer;
use crate::error::{Error, ErrorKind, Result};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/postgres");

/// How a PostgreSQL store is opened.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// How long a connection may take to be made, or to come free. Default 10 s.
    pub connect_timeout: Duration,
    /// How long a transaction waits for a lock that another process holds. Default 10 s: such
    /// locks are held for milliseconds, so whoever holds one that long hangs.
    pub lock_timeout: Duration,
    /// How long one statement may take. Default 30 s; a proof of the whole ledger is exempt.
    pub statement_timeout: Duration,
    /// Connections that read. Default 4.
    pub readers: u32,
    /// Requests that may wait for the writer; who comes then waits for a place. Default 1,024.
    pub queue: usize,
    /// Requests that share one transaction at most. Default 256.
    pub group: usize,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            lock_timeout: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(30),
            readers: 4,
            queue: 1_024,
            group: 256,
        }
    }
}

impl PostgresOptions {
    /// How long is waited here for the end of a transaction. The server gives up much earlier; this
    /// is for one that is cut off.
    fn transaction_timeout(&self) -> Duration {
        2 * self.statement_timeout + self.connect_timeout
    }
}

/// The PostgreSQL store.
pub struct PostgresStore {
    writer: Writer<Request>,
    readers: Readers,
    /// Whether the last look for work found none: then the next one begins without locks.
    idle: AtomicBool,
    /// The class of tasks after which the next look of an idle fog begins.
    cursor: AtomicI64,
}

// By hand: the connections' options hold the password.
impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// Opens the database that a URL names (`postgres://USER:PASSWORD@HOST:PORT/DATABASE`), and
    /// brings its schema up to date if need be. What the URL leaves out comes from the environment
    /// (`PGHOST`, `PGPASSWORD`, …) and `~/.pgpass`.
    ///
    /// # Errors
    /// InvalidInput for what is no such URL; Unavailable if the database cannot be reached; Denied
    /// if it does not let us in; Internal if it is older than 15, not in UTF-8, or not ours.
    pub async fn open(url: &str, options: PostgresOptions) -> Result<Self> {
        // What the parser says may repeat a part of the URL, and the password with it.
        let connect = PgConnectOptions::from_str(url).map_err(|_| {
            let wanted = "cannot be understood; like postgres://USER:PASSWORD@HOST:PORT/DATABASE, \
                          with what is special in the password written as %40";
            Error::invalid("store url", wanted)
        })?;
        let connect = prepared(connect, &options);
        let opened = tokio::time::timeout(options.transaction_timeout(), start(&connect));
        let session = opened.await.unwrap_or_else(|_| Err(Failure::silent()));
        let session = session.map_err(|failure| {
            Error::from(failure).context("cannot open the database on PostgreSQL")
        })?;
        let transaction = options.transaction_timeout();
        let patience = Patience { lock: options.lock_timeout, transaction };
        let transactor = Transactor::new(connect.clone(), session, patience);
        let writer = Writer::start(transactor, options.queue, options.group);
        // Filters that are not set must not decide how those that are set are looked up.
        let connect = connect.options([("plan_cache_mode", "force_custom_plan")]);
        let wait = options.connect_timeout;
        let readers = Readers::new(connect, options.readers, wait, transaction);
        let (idle, cursor) = (AtomicBool::new(false), AtomicI64::new(i64::MIN));
        Ok(Self { writer, readers, idle, cursor })
    }

    /// Waits for the requests that are under way and closes the connections.
    pub async fn close(&self) {
        self.writer.close().await;
        self.readers.close().await;
    }
}

fn prepared(connect: PgConnectOptions, options: &PostgresOptions) -> PgConnectOptions {
    connect
        .application_name("fogcore")
        .statement_cache_capacity(256)
        .disable_statement_logging()
        .options([
            // Whatever the role or the database have by default.
            ("synchronous_commit", "on".to_owned()),
            ("lock_timeout", milliseconds(options.lock_timeout)),
            ("statement_timeout", milliseconds(options.statement_timeout)),
            // A process that hangs must not keep its locks for ever.
            ("idle_in_transaction_session_timeout", milliseconds(options.transaction_timeout())),
            // Compiling a plan pays for none of these statements.
            ("jit", "off".to_owned()),
        ])
}

/// Brings the schema up to date, one process at a time, and makes the writer's connection.
async fn start(connect: &PgConnectOptions) -> Result<Session, Failure> {
    let mut connection = connect.connect().await?;
    let row = sqlx::query(
        "SELECT current_setting('server_version_num')::bigint AS version,
         current_setting('server_encoding') AS encoding, current_setting('fsync') AS fsync,
         current_setting('full_page_writes') AS full_page_writes",
    )
    .fetch_one(&mut connection)
    .await?;
    let unfit = |what: String| Error::new(ErrorKind::Internal, what);
    let (version, encoding): (i64, &str) = (get(&row, "version")?, get(&row, "encoding")?);
    if version < 150_000 {
        return Err(unfit(format!("PostgreSQL 15 is needed, this is {}", version / 10_000)).into());
    }
    if encoding != "UTF8" {
        return Err(unfit(format!("a database in UTF8 is needed, this is in {encoding}")).into());
    }
    for setting in ["fsync", "full_page_writes"] {
        if get::<&str>(&row, setting)? != "on" {
            tracing::warn!(setting, "PostgreSQL is set to lose what was acknowledged in a crash");
        }
    }
    MIGRATIONS.run_direct(None, &mut connection, false).await.map_err(|error| match error {
        sqlx::migrate::MigrateError::Execute(error)
        | sqlx::migrate::MigrateError::ExecuteMigration(error, _) => Failure::from(error),
        other => Error::new(ErrorKind::Internal, other).into(),
    })?;
    connection.close().await?;
    Session::open(connect).await
}
