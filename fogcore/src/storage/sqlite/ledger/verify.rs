//! Proves that the file holds the books as they were written.

use sqlx::{Executor, Row as _, SqliteConnection};

use super::counted::Span;
use super::loaded::WRITER;
use super::{find, integer, postings, rows};
use crate::error::{Error, ErrorKind, Result};
use crate::id::AccountId;
use crate::ledger::{Account, Audit, BalanceEntry, Fault, Head, Link, Row, Verified, Verifier};
use crate::storage::sqlite::error::OrStoreError;
use crate::storage::sqlite::rows::{get, parsed};

/// How many rows are read at once.
const PAGE: i64 = 10_000;

/// Reads everything, in one snapshot.
pub(super) async fn verify(
    connection: &mut SqliteConnection,
    anchors: &[Head],
) -> Result<Verified> {
    sound(connection).await?;
    let (mut verifier, mut audit) = (Verifier::new(anchors), Audit::default());
    let counted = Span::read(connection).await?.counted;
    let (mut ends, mut number) = (Ends { counted, ..Ends::default() }, 0_i64);
    if counted == 0 {
        audit.mark();
    }
    loop {
        let links = sqlx::query(
            "SELECT * FROM ledger_links WHERE writer = ? AND number > ? ORDER BY number LIMIT +?",
        )
        .bind(WRITER)
        .bind(number)
        .bind(PAGE)
        .fetch_all(&mut *connection)
        .await
        .or_store_error()?;
        let Some(last) = links.last() else { break };
        number = get(last, "number")?;
        for link in &links {
            let link = rows::link(link)?;
            verify_link(connection, &link, &mut ends, &mut verifier, &mut audit).await?;
        }
    }
    nothing_else(connection, ends).await?;
    postings::verify(connection, ends.transfer).await?;
    let mut last = 0_i64;
    loop {
        let page = sqlx::query(ACCOUNTS).bind(last).bind(PAGE).fetch_all(&mut *connection);
        let page = page.await.or_store_error()?;
        let Some(end) = page.last() else { break };
        last = get(end, "no")?;
        for row in &page {
            audit.account(&rows::account(row)?)?;
        }
    }
    audit.finish()?;
    Ok(verifier.finish()?)
}

const ACCOUNTS: &str = "SELECT a.*, n.closed, n.debits_pending, n.debits_posted,
    n.credits_pending, n.credits_posted FROM counters n CROSS JOIN accounts a ON a.no = n.no
    WHERE n.no > ? ORDER BY n.no LIMIT +?";

/// Where the rows of the links so far end.
#[derive(Clone, Copy, Default)]
struct Ends {
    account: i64,
    transfer: i64,
    failed: i64,
    /// The transfer after which accounts had what their counters say.
    counted: i64,
}

/// Pages are whole, and indexes have what their tables have.
async fn sound(connection: &mut SqliteConnection) -> Result<()> {
    let row = connection.fetch_one("PRAGMA integrity_check(1)").await.or_store_error()?;
    let found: String = row.try_get(0).or_store_error()?;
    if found == "ok" {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Internal, format!("the database is damaged: {found}")))
}

async fn verify_link(
    connection: &mut SqliteConnection,
    link: &Link,
    ends: &mut Ends,
    verifier: &mut Verifier,
    audit: &mut Audit,
) -> Result<()> {
    let missing = || Fault::Missing { writer: link.writer, number: link.number };
    // Rows have their numbers without gaps, so a range that is not full lacks a row.
    let mut range = async |sql: &'static str, end: &mut i64, count: u64| {
        let first = *end;
        *end = end.checked_add(integer(count)).ok_or_else(missing)?;
        let found = sqlx::query(sql).bind(first).bind(*end).fetch_all(&mut *connection);
        let found = found.await.or_store_error()?;
        let is_full = u64::try_from(found.len()) == Ok(count);
        if is_full { Ok::<_, Error>(found) } else { Err(missing().into()) }
    };
    let opened = range(OPENED, &mut ends.account, link.accounts).await?;
    let transfers = range(TRANSFERS, &mut ends.transfer, link.transfers).await?;
    let failed = range(FAILED, &mut ends.failed, link.failed).await?;
    let opened = opened.iter().map(rows::opened).collect::<Result<Vec<Account>>>()?;
    for account in &opened {
        audit.opened(account)?;
    }
    let mut posted = Vec::with_capacity(transfers.len());
    for row in &transfers {
        let (one, place) = (rows::posted(row)?, find::place(row)?);
        let sides: [AccountId; 2] = [parsed(row, "debit_id")?, parsed(row, "credit_id")?];
        audit.posted(place, &one, [&sides[0], &sides[1]])?;
        for (column, account) in ["debit_after", "credit_after"].into_iter().zip(&sides) {
            if let Some(balance) = rows::balance(row, column, account)? {
                audit.balance(&BalanceEntry { place, balance })?;
            }
        }
        posted.push(one);
        if integer(place.number()) == ends.counted {
            audit.mark();
        }
    }
    let failed = failed.iter().map(rows::failed).collect::<Result<Vec<_>>>()?;
    let rows = opened.iter().map(Row::Opened).chain(posted.iter().map(Row::Posted));
    Ok(verifier.link(link, rows.chain(failed.iter().map(|one| one.row())))?)
}

const OPENED: &str = "SELECT * FROM accounts WHERE no > ? AND no <= ? ORDER BY no";

const TRANSFERS: &str = "SELECT t.*, d.id AS debit_id, c.id AS credit_id, h.id AS hold_id
    FROM transfers t LEFT JOIN accounts d ON d.no = t.debit
    LEFT JOIN accounts c ON c.no = t.credit LEFT JOIN transfers h ON h.seq = t.hold
    WHERE t.seq > ? AND t.seq <= ? ORDER BY t.seq";

const FAILED: &str = "SELECT * FROM failed_transfers WHERE seq > ? AND seq <= ? ORDER BY seq";

/// Whatever no link has is not of the ledger's making.
async fn nothing_else(connection: &mut SqliteConnection, ends: Ends) -> Result<()> {
    let row = sqlx::query(
        "SELECT (SELECT count(*) FROM accounts WHERE no > ?1 OR no < 1) AS accounts,
         (SELECT count(*) FROM transfers WHERE seq > ?2 OR seq < 1) AS transfers,
         (SELECT count(*) FROM failed_transfers WHERE seq > ?3 OR seq < 1) AS failures,
         (SELECT count(*) FROM ledger_links WHERE writer <> ?4 OR number < 1) AS links,
         (SELECT count(*) FROM counters n
          WHERE NOT EXISTS (SELECT 1 FROM accounts a WHERE a.no = n.no)) AS counters,
         (SELECT count(*) FROM postings p
          WHERE NOT EXISTS (SELECT 1 FROM posting_blocks b WHERE b.last = p.block)) AS postings",
    )
    .bind(ends.account)
    .bind(ends.transfer)
    .bind(ends.failed)
    .bind(WRITER)
    .fetch_one(connection)
    .await
    .or_store_error()?;
    for what in ["accounts", "transfers", "failures", "links", "counters", "postings"] {
        let found: i64 = get(&row, what)?;
        if found > 0 {
            return Err(Fault::Unknown { what: format!("there are {found} {what}") }.into());
        }
    }
    Ok(())
}
