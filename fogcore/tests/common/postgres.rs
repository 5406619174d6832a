//! Databases on PostgreSQL for tests: each test has one of its own.
#![allow(dead_code, reason = "each test file uses a part of it")]

use fogcore_dev_postgres::{fresh_name, shared, with_database};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

/// A database that lasts as long as this.
pub(crate) struct Database {
    server: String,
    name: String,
}

impl Database {
    /// An empty database on the server of this test run.
    pub(crate) async fn fresh() -> Self {
        Self::on(shared().unwrap()).await
    }

    /// An empty database on this server.
    pub(crate) async fn on(server: &str) -> Self {
        let (server, name) = (server.to_owned(), fresh_name());
        execute(&server, format!("CREATE DATABASE {name}")).await;
        Self { server, name }
    }

    /// A copy of this one, which nobody may use meanwhile.
    pub(crate) async fn copy(&self) -> Self {
        let (server, name) = (self.server.clone(), fresh_name());
        execute(&server, format!("CREATE DATABASE {name} TEMPLATE {}", self.name)).await;
        Self { server, name }
    }

    pub(crate) fn url(&self) -> String {
        with_database(&self.server, &self.name).unwrap()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let statement = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        let server = self.server.clone();
        // A runtime of its own: the test's may be about to end.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(execute(&server, statement));
        });
        // A server that was crashed by its test has nothing to drop.
        let _ = dropped.join();
    }
}

/// Runs statements on a connection of their own.
pub(crate) async fn execute(url: &str, statements: String) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    connection.execute(sqlx::raw_sql(AssertSqlSafe(statements))).await.unwrap();
    connection.close().await.unwrap();
}
