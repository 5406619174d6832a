//! Every store keeps every promise.
#![allow(clippy::unwrap_used, reason = "a test")]

mod memory {
    use fogcore::storage::{self, Stores};

    async fn open() -> (Stores, ()) {
        (storage::open("memory:").await.unwrap(), ())
    }

    fogcore::conformance_suite!(open);
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use fogcore::storage::{self, Stores};

    async fn open() -> (Stores, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("fog.db").display());
        (storage::open(&url).await.unwrap(), folder)
    }

    fogcore::conformance_suite!(open);
}

/// What stays loaded between two transactions may only ever save time.
#[cfg(feature = "sqlite")]
mod sqlite_that_keeps_nothing_loaded {
    use std::sync::Arc;

    use fogcore::storage::Stores;
    use fogcore::storage::sqlite::{SqliteOptions, SqliteStore};

    async fn open() -> (Stores, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        // And counters are never written: all of them follow from the journal.
        let options = SqliteOptions {
            keep: 0,
            unlisted: 1,
            uncounted: usize::MAX,
            ..SqliteOptions::default()
        };
        let store = SqliteStore::open(folder.path().join("fog.db"), options).await.unwrap();
        (Stores::from_one(Arc::new(store)), folder)
    }

    fogcore::conformance_suite!(open);
}

/// Nodes, tasks and money each go through a store of their own, as in several processes: what one
/// changes, the others must see, whatever they have loaded.
#[cfg(feature = "sqlite")]
mod sqlite_three_stores_on_one_file {
    use std::sync::Arc;

    use fogcore::storage::Stores;
    use fogcore::storage::sqlite::{SqliteOptions, SqliteStore};

    async fn open() -> (Stores, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fog.db");
        // Some stays loaded, but transfers are forgotten again and again.
        let options = SqliteOptions { keep: 20_000, ..SqliteOptions::default() };
        let open = async || Arc::new(SqliteStore::open(&path, options.clone()).await.unwrap());
        let (nodes, tasks, ledger) = (open().await, open().await, open().await);
        let (market, signals) = (open().await, open().await);
        (Stores { nodes, tasks, ledger, market, signals }, folder)
    }

    fogcore::conformance_suite!(open);
}

#[cfg(all(feature = "postgres", unix))]
#[path = "common/postgres.rs"]
mod database;

#[cfg(all(feature = "postgres", unix))]
mod postgres {
    use fogcore::storage::{self, Stores};

    use super::database::Database;

    async fn open() -> (Stores, Database) {
        let database = Database::fresh().await;
        (storage::open(&database.url()).await.unwrap(), database)
    }

    fogcore::conformance_suite!(open);
}

/// Nodes, tasks and money each go through a store of their own, as in several processes.
#[cfg(all(feature = "postgres", unix))]
mod postgres_three_stores_on_one_database {
    use fogcore::storage::{self, Stores};

    use super::database::Database;

    async fn open() -> (Stores, Database) {
        let database = Database::fresh().await;
        let url = database.url();
        let open = async || storage::open(&url).await.unwrap();
        let (nodes, tasks, ledger) = (open().await, open().await, open().await);
        let (nodes, tasks, ledger) = (nodes.nodes, tasks.tasks, ledger.ledger);
        let (market, signals) = (open().await.market, open().await.signals);
        (Stores { nodes, tasks, ledger, market, signals }, database)
    }

    fogcore::conformance_suite!(open);
}

/// One random stream through every store that this build has, all at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_stores_answer_one_stream_alike() {
    let memory = fogcore::storage::open("memory:").await.unwrap();
    let mut stores = vec![("memory", &memory)];
    #[cfg(feature = "sqlite")]
    let folder = tempfile::tempdir().unwrap();
    #[cfg(feature = "sqlite")]
    let sqlite = {
        let url = format!("sqlite:{}", folder.path().join("fog.db").display());
        fogcore::storage::open(&url).await.unwrap()
    };
    #[cfg(feature = "sqlite")]
    stores.push(("sqlite", &sqlite));
    #[cfg(all(feature = "postgres", unix))]
    let database = database::Database::fresh().await;
    #[cfg(all(feature = "postgres", unix))]
    let postgres = fogcore::storage::open(&database.url()).await.unwrap();
    #[cfg(all(feature = "postgres", unix))]
    stores.push(("postgres", &postgres));
    fogcore::storage::conformance::stream::stores_agree_with_the_book(&stores).await;
}
