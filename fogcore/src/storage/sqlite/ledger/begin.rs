//! A chain for a file that has none: what is there when it is brought up to date counts as true.

use sqlx::SqliteConnection;

use super::loaded::WRITER;
use super::{find, rows};
use crate::error::Result;
use crate::ledger::{Chain, Link, MAX_BATCH, Row};
use crate::storage::sqlite::error::OrStoreError;
use crate::storage::sqlite::lists::write_all;
use crate::storage::sqlite::rows::{get, integer};

/// Whether the file is of the schema before the chain.
pub(in crate::storage::sqlite) async fn is_without_chain(
    connection: &mut SqliteConnection,
) -> Result<bool> {
    let row = sqlx::query(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'transfers')
         AND NOT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'ledger_links') AS found",
    )
    .fetch_one(connection)
    .await
    .or_store_error()?;
    get(&row, "found")
}

/// Puts all that is in the ledger into links of the size of a batch.
pub(in crate::storage::sqlite) async fn begin_chain(
    connection: &mut SqliteConnection,
) -> Result<()> {
    let mut chain = Chain::new(WRITER);
    let mut links: Vec<Link> = Vec::new();
    let mut last = 0_i64;
    loop {
        let page = sqlx::query("SELECT * FROM accounts WHERE no > ? ORDER BY no LIMIT +?")
            .bind(last)
            .bind(integer(MAX_BATCH))
            .fetch_all(&mut *connection)
            .await
            .or_store_error()?;
        let Some(end) = page.last() else { break };
        last = get(end, "no")?;
        let opened = page.iter().map(rows::opened).collect::<Result<Vec<_>>>()?;
        links.push(chain.extend(opened.iter().map(Row::Opened)));
    }
    last = 0;
    loop {
        let page = sqlx::query(find::JOURNAL)
            .bind(last)
            .bind(integer(MAX_BATCH))
            .fetch_all(&mut *connection)
            .await
            .or_store_error()?;
        let Some(end) = page.last() else { break };
        last = get(end, "seq")?;
        let posted = page.iter().map(rows::posted).collect::<Result<Vec<_>>>()?;
        links.push(chain.extend(posted.iter().map(Row::Posted)));
    }
    write_all(connection, super::save::links(links)).await
}
