//! The server's tables in the fog's PostgreSQL database.

use std::str::FromStr;
use std::time::Duration;

use fogcore::{Error, Result};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgRow};

use super::sql::{identity_store, unmigrated};

/// Keeps identities in PostgreSQL.
#[derive(Debug)]
pub(super) struct PostgresIdentities {
    pool: PgPool,
}

impl PostgresIdentities {
    /// Few: logins are rare beside what the fog does.
    const CONNECTIONS: u32 = 4;

    pub(super) async fn open(url: &str) -> Result<Self> {
        // What the parser says may repeat a part of the URL, and the password with it.
        let connect = PgConnectOptions::from_str(url)
            .map_err(|_| Error::invalid("store url", "cannot be understood"))?
            .application_name("fogcore-server")
            .options([("statement_timeout", "30s"), ("lock_timeout", "10s")]);
        let options = PgPoolOptions::new()
            .max_connections(Self::CONNECTIONS)
            .acquire_timeout(Duration::from_secs(10));
        let pool = options.connect_with(connect).await.map_err(unavailable)?;
        let mut migrations: Migrator = sqlx::migrate!("migrations/postgres");
        // The fog keeps its own list in the same database.
        migrations.dangerous_set_table_name("server_migrations");
        migrations.run(&pool).await.map_err(unmigrated)?;
        Ok(Self { pool })
    }
}

identity_store!(PostgresIdentities, PgRow);
