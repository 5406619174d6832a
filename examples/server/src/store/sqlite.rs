//! The server's tables in the fog's SQLite file.

use std::path::Path;
use std::time::Duration;

use fogcore::Result;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};

use super::sql::{identity_store, unmigrated};

/// Keeps identities in SQLite.
#[derive(Debug)]
pub(super) struct SqliteIdentities {
    pool: SqlitePool,
}

impl SqliteIdentities {
    /// Few: logins are rare beside what the fog does to the same file.
    const CONNECTIONS: u32 = 4;

    pub(super) async fn open(path: impl AsRef<Path>) -> Result<Self> {
        let connect = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            // As long as the fog's own patience.
            .busy_timeout(Duration::from_secs(30));
        let options = SqlitePoolOptions::new().max_connections(Self::CONNECTIONS);
        Self::ready(options.connect_with(connect).await.map_err(unavailable)?).await
    }

    /// On one connection that never ends: the database is the connection.
    pub(super) async fn in_memory() -> Result<Self> {
        let options = SqlitePoolOptions::new().max_connections(1).idle_timeout(None);
        let options = options.max_lifetime(None);
        let connect = SqliteConnectOptions::new().in_memory(true);
        Self::ready(options.connect_with(connect).await.map_err(unavailable)?).await
    }

    async fn ready(pool: SqlitePool) -> Result<Self> {
        let mut migrations: Migrator = sqlx::migrate!("migrations/sqlite");
        // The fog keeps its own list in the same file.
        migrations.dangerous_set_table_name("server_migrations");
        migrations.run(&pool).await.map_err(unmigrated)?;
        Ok(Self { pool })
    }
}

identity_store!(SqliteIdentities, SqliteRow);
