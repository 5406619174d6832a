//! Where everything is kept: the stores behind the domains' traits.
//!
//! [`memory`] is for tests and simulations and forgets everything; [`sqlite`] is the embedded
//! default, durable when it answers, shared by several processes on one file; `postgres` is for
//! processes on several machines. All pass one suite (`conformance`), and nothing else may tell
//! them apart. A store decides nothing: it loads what a call touches, lets the domain change it,
//! and writes back what changed.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let stores = fogcore::storage::open("memory:").await?;
//! assert!(stores.tasks.counts().await?.is_empty());
//! # Ok::<(), fogcore::Error>(())
//! # }).unwrap();
//! ```

mod buffered;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod calls;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod leasing;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod market;
pub mod memory;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod request;
mod signaling;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod writer;

use std::{fmt, sync::Arc};

use crate::error::{Error, ErrorKind, Result};
use crate::id::NodeId;
use crate::ledger::LedgerStore;
use crate::registry::NodeStore;
use crate::scheduler::market::MarketStore;
use crate::scheduler::{SchedulerError, Task, TaskStore};
use crate::signaling::SignalStore;

pub(crate) use self::buffered::BufferedNodes;

/// The stores of all domains. Clones share them.
#[derive(Clone)]
pub struct Stores {
    /// Keeps nodes.
    pub nodes: Arc<dyn NodeStore>,
    /// Keeps tasks, and moves their money.
    pub tasks: Arc<dyn TaskStore>,
    /// Keeps accounts and transfers: the same ones.
    pub ledger: Arc<dyn LedgerStore>,
    /// Keeps offers, bids and trades, and moves their money.
    pub market: Arc<dyn MarketStore>,
    /// Keeps zones, sessions, and what peers left in them.
    pub signals: Arc<dyn SignalStore>,
}

impl Stores {
    /// The stores of all domains from one that keeps everything.
    pub fn from_one<S>(store: Arc<S>) -> Self
    where
        S: NodeStore + TaskStore + LedgerStore + MarketStore + SignalStore + 'static,
    {
        let (nodes, tasks, ledger) = (store.clone(), store.clone(), store.clone());
        Self { nodes, tasks, ledger, market: store.clone(), signals: store }
    }
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stores").finish_non_exhaustive()
    }
}

/// Opens the store that `url` names: `memory:`, `sqlite:PATH` (the file is made if need be), or
/// `postgres://USER:PASSWORD@HOST/DATABASE` (the tables are made if need be).
///
/// `sqlite:PATH?keep_mib=1024` keeps about so many MiB of tasks, accounts and transfers in memory
/// rather than 64 (`SqliteOptions::keep`): a server with very many accounts does better with all of
/// them. Whatever else stands behind the `?` is refused; a path that has one needs
/// `SqliteStore::open`.
///
/// # Errors
/// InvalidInput for anything else, also for what this build has no store for; what the store says
/// if it cannot be opened. No error repeats the URL, which may hold a password.
pub async fn open(url: &str) -> Result<Stores> {
    if url == "memory:" {
        return Ok(Stores::from_one(Arc::new(memory::MemoryStore::new())));
    }
    #[cfg(feature = "sqlite")]
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        // SQLite would make a database of its own for each connection.
        if path.is_empty() || path.starts_with(':') {
            let why = "sqlite: needs the path of a file (memory: is the store without one)";
            return Err(Error::invalid("store url", why));
        }
        let store = sqlite::SqliteStore::open(path, sqlite_options(query)?).await?;
        return Ok(Stores::from_one(Arc::new(store)));
    }
    #[cfg(feature = "postgres")]
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        let options = postgres::PostgresOptions::default();
        let store = postgres::PostgresStore::open(url, options).await?;
        return Ok(Stores::from_one(Arc::new(store)));
    }
    // Not the whole URL: it may hold a password.
    let scheme: String = url.chars().take_while(|c| *c != ':').take(32).collect();
    let feature = match scheme.as_str() {
        "sqlite" => Some("sqlite"),
        "postgres" | "postgresql" => Some("postgres"),
        _ => None,
    };
    Err(Error::invalid(
        "store url",
        match feature {
            Some(feature) => format!("this fogcore was built without its feature `{feature}`"),
            None => {
                let known = "memory:, sqlite:PATH, postgres://USER:PASSWORD@HOST/DATABASE";
                format!("{scheme:?} is none of {known}")
            }
        },
    ))
}

/// The options of a URL.
#[cfg(feature = "sqlite")]
fn sqlite_options(query: &str) -> Result<sqlite::SqliteOptions> {
    let mut options = sqlite::SqliteOptions::default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name != "keep_mib" {
            let why = format!("sqlite: has no option {name:?}, only \"keep_mib\"");
            return Err(Error::invalid("store url", why));
        }
        let bytes = value.parse::<usize>().ok().and_then(|mib| mib.checked_mul(1 << 20));
        let why = || Error::invalid("store url", format!("keep_mib={value:?} is no number of MiB"));
        options.keep = bytes.ok_or_else(why)?;
    }
    Ok(options)
}

/// Refuses a batch that is too long.
fn check_batch(found: usize, max: usize) -> Result<()> {
    if found > max {
        return Err(SchedulerError::BatchTooLong { found, max }.into());
    }
    Ok(())
}

/// The tasks that were ended; what could not be ended is told to the log alone.
fn ended(answers: Vec<Result<Option<Task>>>) -> Vec<Task> {
    let logged = |answer: Result<Option<Task>>| {
        answer.unwrap_or_else(|error| {
            tracing::error!(%error, "a task cannot be ended");
            None
        })
    };
    answers.into_iter().filter_map(logged).collect()
}

fn no_node(node: &NodeId) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no node \"{node}\""))
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use crate::error::ErrorKind;
    use crate::storage::{open, sqlite_options};

    #[tokio::test]
    async fn a_url_sets_what_it_names_and_nothing_else() {
        assert_eq!(sqlite_options("").unwrap().keep, 64 << 20);
        assert_eq!(sqlite_options("keep_mib=1024").unwrap().keep, 1 << 30);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fog.db");
        for (query, told) in [
            ("keep=5", "\"keep\""),
            ("keep_mib=much", "\"much\""),
            ("keep_mib=-1", "\"-1\""),
            ("keep_mib=99999999999999999", "keep_mib"),
            ("keep_mib", "keep_mib"),
        ] {
            let url = format!("sqlite:{}?{query}", path.display());
            let error = open(&url).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{query}");
            assert!(error.to_string().contains(told), "{query}: {error}");
        }
        assert!(!path.exists());
        open(&format!("sqlite:{}?keep_mib=0", path.display())).await.unwrap();
        assert!(path.exists());
    }
}
