//! The embedded store: one SQLite file, durable when it answers, shared by several processes.
//!
//! All changes go through one writer task that groups what is waiting into one transaction, and
//! answers only after the commit has reached the disk: a hundred requests share one flush. What
//! one of them does wrong is undone alone. Reads have connections of their own and never wait.
//! Other processes on the same file take turns by `BEGIN IMMEDIATE`.
//!
//! ```
//! use fogcore::storage::sqlite::{SqliteOptions, SqliteStore};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("fog.db");
//! let store = SqliteStore::open(&path, SqliteOptions::default()).await?;
//! store.close().await;
//! # Ok::<(), fogcore::Error>(())
//! # }).unwrap();
//! ```

mod backup;
mod error;
mod group;
mod ledger;
mod lists;
mod loaded;
mod market;
mod nodes;
mod request;
mod rows;
mod save;
mod select;
mod signaling;
mod tasks;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};

use self::error::{OrStoreError, is_busy};
use self::group::Transactor;
use self::request::Request;
use super::writer::Writer;
use crate::error::{Error, Result};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/sqlite");

/// How a SQLite store is opened.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// How long a request waits for another process's transaction. Default 30 s: long enough for
    /// a machine that swaps, short enough to be told that something is stuck.
    pub busy_timeout: Duration,
    /// Connections that read. Default 4.
    pub readers: u32,
    /// Requests that may wait for the writer; who comes then waits for a place. Default 1,024.
    pub queue: usize,
    /// Requests that share one transaction at most. Default 256.
    pub group: usize,
    /// About how many bytes of tasks, accounts and transfers stay loaded for the next transaction.
    /// Default 64 MiB.
    pub keep: usize,
    /// How many transfers may wait until they are put into lists by account, all at once; whoever
    /// asks for an account's transfers searches them one by one. Default 65,536.
    pub unlisted: usize,
    /// After how many transfers the counters of their accounts are written, all at once; until then
    /// they follow from the journal, and whoever reads an account looks there, too. About 200 bytes
    /// of memory for each, beside `keep`. Default 65,536.
    pub uncounted: usize,
    /// The most pages (of 4 KiB) that the file may grow to; beyond them every change is refused
    /// as Exhausted, like on a full disk. Default none.
    pub max_pages: Option<u32>,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            busy_timeout: Duration::from_secs(30),
            readers: 4,
            queue: 1_024,
            group: 256,
            keep: 64 << 20,
            unlisted: 65_536,
            uncounted: 65_536,
            max_pages: None,
        }
    }
}

/// The SQLite store.
#[derive(Debug)]
pub struct SqliteStore {
    connect: SqliteConnectOptions,
    writer: Writer<Request>,
    readers: SqlitePool,
    /// Whether the last look for work found none: then the next one begins without the lock.
    idle: AtomicBool,
    /// The class of tasks after which the next look of an idle fog begins.
    cursor: AtomicI64,
    /// Whether the writer was asked to write counters.
    counting: Arc<AtomicBool>,
}

impl SqliteStore {
    /// Opens the file, making it and bringing its schema up to date if need be.
    ///
    /// # Errors
    /// Unavailable if the file cannot be opened or is locked for too long, Exhausted on a full
    /// disk, Internal if it is damaged or no database.
    pub async fn open(path: impl AsRef<Path>, options: SqliteOptions) -> Result<Self> {
        let path = path.as_ref();
        let connect = connect_options(path, &options);
        let opening = format!("cannot open the database {}", path.display());
        migrate(&connect).await.map_err(|error| error.context(&opening))?;
        let connection = connect.connect().await.or_store_error()?;
        let transactor = Transactor::new(connect.clone(), connection, &options);
        let writer = Writer::start(transactor, options.queue, options.group);
        let readers = SqlitePoolOptions::new()
            .max_connections(options.readers.max(1))
            .connect_lazy_with(connect.clone().pragma("query_only", "ON"));
        let (idle, cursor) = (AtomicBool::new(false), AtomicI64::new(i64::MIN));
        let counting = Arc::default();
        Ok(Self { connect, writer, readers, idle, cursor, counting })
    }

    /// Waits for the requests that are under way and closes the file.
    pub async fn close(&self) {
        self.writer.close().await;
        self.readers.close().await;
    }
}

fn connect_options(path: &Path, options: &SqliteOptions) -> SqliteConnectOptions {
    let connect = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(options.busy_timeout)
        .foreign_keys(false) // every reference is written together with what it refers to
        .pragma("cache_size", "-65536") // 64 MiB
        // What a statement may have to put back stays in memory; spilled to files, it costs more
        // than everything else together.
        .pragma("temp_store", "MEMORY")
        // The log is copied when it has 4,000 pages: those that most transactions change are copied
        // once for many of them. It is cut back to that if it ever became longer.
        .pragma("wal_autocheckpoint", "4000")
        .pragma("journal_size_limit", "16777216")
        // A whole batch: SQLite's thread need not wait for its rows to be fetched.
        .row_buffer_size(2 * crate::scheduler::MAX_BATCH)
        .statement_cache_capacity(256)
        .disable_statement_logging();
    match options.max_pages {
        Some(pages) => connect.pragma("max_page_count", pages.to_string()),
        None => connect,
    }
}

/// Brings the schema up to date, one process at a time.
async fn migrate(connect: &SqliteConnectOptions) -> Result<()> {
    // Turning a new file to WAL takes a lock that SQLite does not wait for, so processes that
    // open a new file together may collide; each collision means that another one got on.
    let mut attempts = 0;
    let mut connection = loop {
        match connect.connect().await {
            Err(error) if is_busy(&error) && attempts < 100 => {
                attempts += 1;
                tokio::task::yield_now().await;
            }
            other => break other.or_store_error()?,
        }
    };
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.or_store_error()?;
    // Only of a file that had no chain: in one that has, rows behind its end are damage.
    let without_chain = ledger::is_without_chain(&mut transaction).await?;
    MIGRATIONS.run_direct(None, &mut *transaction, false).await.map_err(|error| match error {
        sqlx::migrate::MigrateError::Execute(error)
        | sqlx::migrate::MigrateError::ExecuteMigration(error, _) => {
            Error::from(error::StoreError(error))
        }
        other => Error::new(crate::ErrorKind::Internal, other),
    })?;
    if without_chain {
        ledger::begin_chain(&mut transaction).await?;
    }
    transaction.commit().await.or_store_error()?;
    connection.close().await.or_store_error()
}
