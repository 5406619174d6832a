//! Connections beside the writer: they read, and change what no decision of the writer is about.

use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::query::Query;
use sqlx::{Executor, PgConnection, Postgres};

use super::error::Failure;
use crate::error::Result;

/// How often a change is made again because of what others did at the same time.
const MOST_ATTEMPTS: usize = 10;

/// The statements of a change, with what it is about.
pub(super) type Work<I, T> =
    for<'c> fn(&'c mut PgConnection, I) -> BoxFuture<'c, Result<T, Failure>>;

type Ask<'q> = Query<'q, Postgres, PgArguments>;

/// A few connections, made when they are needed.
pub(super) struct Readers {
    pool: PgPool,
    /// How long one answer may take: a server that is cut off says nothing at all.
    patience: Duration,
}

impl Readers {
    pub(super) fn new(
        connect: PgConnectOptions,
        most: u32,
        wait: Duration,
        patience: Duration,
    ) -> Self {
        let options = PgPoolOptions::new().max_connections(most.max(1)).acquire_timeout(wait);
        Self { pool: options.connect_lazy_with(connect), patience }
    }

    /// Makes some statements, on one connection.
    pub(super) async fn with<T>(
        &self,
        ask: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Failure>,
    ) -> Result<T> {
        let mut connection: PoolConnection<_> = self.pool.acquire().await.map_err(Failure::from)?;
        match tokio::time::timeout(self.patience, ask(&mut connection)).await {
            Ok(answer) => Ok(answer?),
            Err(_) => {
                // Whatever it is in the middle of, nobody is to go on with it.
                drop(connection.detach());
                Err(Failure::silent().into())
            }
        }
    }

    /// Makes one atomic change, again while others are in the way.
    pub(super) async fn change<I: Clone, T>(&self, input: I, work: Work<I, T>) -> Result<T> {
        let mut attempts = 1;
        loop {
            let made = tokio::time::timeout(self.patience, self.attempt(input.clone(), work));
            match made.await.unwrap_or_else(|_| Err(Failure::silent())) {
                Err(Failure::Again(_)) if attempts < MOST_ATTEMPTS => attempts += 1,
                done => return Ok(done?),
            }
        }
    }

    async fn attempt<I, T>(&self, input: I, work: Work<I, T>) -> Result<T, Failure> {
        // Given up half way, it is rolled back before somebody else gets the connection.
        let mut transaction = self.pool.begin().await?;
        let answer = work(&mut transaction, input).await?;
        transaction.commit().await.map_err(Failure::of_commit)?;
        Ok(answer)
    }

    /// Makes statements that see one snapshot and may take as long as they do.
    pub(super) async fn at_length<T>(
        &self,
        ask: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Failure>,
    ) -> Result<T> {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        let mut snapshot = self.pool.begin_with(begin).await.map_err(Failure::from)?;
        let timeout = snapshot.execute("SET LOCAL statement_timeout = 0").await;
        timeout.map_err(Failure::from)?;
        // Given up half way, it is rolled back before somebody else gets the connection.
        let answer = ask(&mut snapshot).await;
        snapshot.rollback().await.map_err(Failure::from)?;
        Ok(answer?)
    }

    pub(super) async fn fetch_all(&self, query: Ask<'_>) -> Result<Vec<PgRow>> {
        let asked = tokio::time::timeout(self.patience, query.fetch_all(&self.pool));
        Ok(asked.await.map_err(|_| Failure::silent())?.map_err(Failure::from)?)
    }

    pub(super) async fn fetch_optional(&self, query: Ask<'_>) -> Result<Option<PgRow>> {
        let asked = tokio::time::timeout(self.patience, query.fetch_optional(&self.pool));
        Ok(asked.await.map_err(|_| Failure::silent())?.map_err(Failure::from)?)
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}
