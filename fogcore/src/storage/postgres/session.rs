//! The connection that writes, and the chain that it goes on with.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection, Executor};

use super::error::Failure;
use super::rows::{count, damaged, get};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{Chain, Digest, Head};

/// More stores than this cannot write to one database.
const MOST_WRITERS: i32 = 4_096;

/// A connection with a writer's number of its own: no other that is open has it, because each
/// holds a lock on its own that lasts as long as the connection.
pub(super) struct Session {
    pub(super) connection: PgConnection,
    /// As far as it is committed.
    pub(super) chain: Chain,
}

impl Session {
    pub(super) async fn open(connect: &PgConnectOptions) -> Result<Self, Failure> {
        let mut connection = connect.connect().await?;
        let writer = free_number(&mut connection).await?;
        let chain = chain_of(&mut connection, writer).await?;
        Ok(Self { connection, chain })
    }

    pub(super) async fn close(self) {
        if let Err(error) = self.connection.close().await {
            tracing::debug!(error = %Error::from(Failure::from(error)), "closing the connection failed");
        }
    }

    /// Begins a transaction, which ends if a lock is not to be had in time.
    pub(super) async fn begin(&mut self, patience: Duration) -> Result<(), Failure> {
        let patience = milliseconds(patience);
        let begin =
            format!("BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = {patience}");
        self.connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(begin))).await?;
        Ok(())
    }
}

/// A time for the server, to which zero would mean for ever.
pub(super) fn milliseconds(time: Duration) -> String {
    time.as_millis().max(1).to_string()
}

/// Locks the first number that is free. Numbers are used again, so that there are only as many
/// chains as there were writers at the same time.
async fn free_number(connection: &mut PgConnection) -> Result<i32, Failure> {
    // One after another: a query over all of them could lock more than one.
    for number in 1..=MOST_WRITERS {
        let row = sqlx::query("SELECT pg_try_advisory_lock(20230, $1) AS free")
            .bind(number)
            .fetch_one(&mut *connection)
            .await?;
        if get(&row, "free")? {
            return Ok(number);
        }
    }
    Err(Error::new(ErrorKind::Exhausted, "too many stores write to this database").into())
}

async fn chain_of(connection: &mut PgConnection, writer: i32) -> Result<Chain, Failure> {
    let last = sqlx::query(
        "SELECT number, digest FROM ledger_links WHERE writer = $1 ORDER BY number DESC LIMIT 1",
    )
    .bind(writer)
    .fetch_optional(connection)
    .await?;
    let writer = writer.cast_unsigned();
    let Some(row) = last else { return Ok(Chain::new(writer)) };
    let digest: &[u8] = get(&row, "digest")?;
    let digest = digest.try_into().map_err(|_| damaged("digest"))?;
    let digest = Digest::from_bytes(digest);
    Ok(Chain::at(Head { writer, number: count(&row, "number")?, digest }))
}
