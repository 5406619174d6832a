//! Proves that the database holds the books as they were written.

use std::collections::VecDeque;

use sqlx::PgConnection;
use sqlx::postgres::PgRow;

use super::error::Failure;
use super::journal::start_of;
use super::rows::{
    self, count, damaged, get, place, select_accounts, select_balances, select_transfers,
};
use crate::error::Result;
use crate::ledger::{Account, Audit, Digest, Fault, Head, Link, Row, Verified, Verifier};

/// About how many rows are read at once.
const PAGE: u64 = 10_000;

/// Reads everything, in one snapshot.
pub(super) async fn verify(
    connection: &mut PgConnection,
    anchors: &[Head],
) -> Result<Verified, Failure> {
    let (mut verifier, mut audit) = (Verifier::new(anchors), Audit::default());
    let (mut waiting, mut last) = (VecDeque::new(), 0);
    loop {
        if waiting.is_empty() {
            waiting = links(connection, last).await?;
        }
        let mut rows = 0_u64;
        let mut part: Vec<(i64, Link)> = Vec::new();
        while rows < PAGE
            && let Some((block, link)) = waiting.pop_front()
        {
            rows = rows.saturating_add(link.rows());
            part.push((block, link));
        }
        let Some((end, _)) = part.last() else { break };
        last = *end;
        verify_part(connection, &part, &mut verifier, &mut audit).await?;
    }
    history(connection, &mut audit).await?;
    accounts(connection, &mut audit).await?;
    audit.finish()?;
    let verified = verifier.finish()?;
    nothing_else(connection, &verified).await?;
    Ok(verified)
}

/// The next links in the order of their blocks, which is the order of all that happened.
async fn links(
    connection: &mut PgConnection,
    after: i64,
) -> Result<VecDeque<(i64, Link)>, Failure> {
    let rows = sqlx::query("SELECT * FROM ledger_links WHERE block > $1 ORDER BY block LIMIT 1000")
        .bind(after)
        .fetch_all(connection)
        .await?;
    let link = |row: &PgRow| {
        let digest: &[u8] = get(row, "digest")?;
        let digest = digest.try_into().map_err(|_| damaged("digest"))?;
        let link = Link {
            writer: get::<i32>(row, "writer")?.cast_unsigned(),
            number: count(row, "number")?,
            accounts: count(row, "accounts")?,
            transfers: count(row, "transfers")?,
            failed: count(row, "failed")?,
            digest: Digest::from_bytes(digest),
        };
        Ok((get(row, "block")?, link))
    };
    Ok(rows.iter().map(link).collect::<Result<_>>()?)
}

/// Rows with places, from which a link takes those of its block.
struct Rows {
    rows: std::iter::Peekable<std::vec::IntoIter<PgRow>>,
}

impl Rows {
    /// The rows of a block, which must stand at `places`.
    fn take(&mut self, block: i64, next: &mut i64, link: &Link) -> Result<Vec<PgRow>, Failure> {
        let mut taken = Vec::new();
        while let Some(row) = self.rows.peek() {
            let place: i64 = get(row, "place")?;
            if place >= start_of(block + 1) {
                break;
            }
            if place != *next {
                let (writer, number) = (link.writer, link.number);
                return Err(Fault::Missing { writer, number }.into());
            }
            *next += 1;
            taken.extend(self.rows.next());
        }
        Ok(taken)
    }
}

async fn verify_part(
    connection: &mut PgConnection,
    part: &[(i64, Link)],
    verifier: &mut Verifier,
    audit: &mut Audit,
) -> Result<(), Failure> {
    let (Some((first, _)), Some((last, _))) = (part.first(), part.last()) else { return Ok(()) };
    let mut range = async |sql: &'static str| -> Result<Rows, Failure> {
        let query = sqlx::query(sql).bind(start_of(*first)).bind(start_of(*last + 1));
        let rows = query.fetch_all(&mut *connection).await?;
        Ok(Rows { rows: rows.into_iter().peekable() })
    };
    let mut opened =
        range(select_accounts!("WHERE place >= $1 AND place < $2 ORDER BY place")).await?;
    let mut transfers =
        range(select_transfers!("WHERE place >= $1 AND place < $2 ORDER BY place")).await?;
    for (block, link) in part {
        let mut next = start_of(*block);
        let opened = opened.take(*block, &mut next, link)?;
        let opened = opened.iter().map(rows::opened).collect::<Result<Vec<Account>>>()?;
        for account in &opened {
            audit.opened(account)?;
        }
        let (mut posted, mut failed) = (Vec::new(), Vec::new());
        for row in transfers.take(*block, &mut next, link)? {
            if get::<Option<&str>>(&row, "code")?.is_some() {
                failed.push(rows::failed(&row)?);
                continue;
            }
            let one = rows::posted(&row)?;
            let sides = [rows::parsed(&row, "debit")?, rows::parsed(&row, "credit")?];
            let [debit, credit] = &sides;
            audit.posted(place(&row)?, &one, [debit, credit])?;
            posted.push(one);
        }
        let rows = opened.iter().map(Row::Opened).chain(posted.iter().map(Row::Posted));
        let rows = rows.chain(failed.iter().map(|one| one.row()));
        verifier.link_at(Some(block.cast_unsigned()), link, rows)?;
    }
    Ok(())
}

/// All rows of history, account by account.
async fn history(connection: &mut PgConnection, audit: &mut Audit) -> Result<(), Failure> {
    let (mut account, mut after) = (String::new(), i64::MIN);
    loop {
        let page = sqlx::query(select_balances!(
            "WHERE (account, place) > ($1, $2) ORDER BY account, place LIMIT 10000"
        ))
        .bind(&account)
        .bind(after)
        .fetch_all(&mut *connection)
        .await?;
        let Some(last) = page.last() else { return Ok(()) };
        (account, after) = (get(last, "account")?, get(last, "place")?);
        for row in &page {
            audit.balance(&rows::balance(row)?)?;
        }
    }
}

async fn accounts(connection: &mut PgConnection, audit: &mut Audit) -> Result<(), Failure> {
    let mut after = String::new();
    loop {
        let page = sqlx::query(select_accounts!("WHERE id > $1 ORDER BY id LIMIT 10000"))
            .bind(&after)
            .fetch_all(&mut *connection)
            .await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = get(last, "id")?;
        for row in &page {
            audit.account(&rows::account(row)?)?;
        }
    }
}

/// Whatever no link has is not of the ledger's making.
async fn nothing_else(connection: &mut PgConnection, verified: &Verified) -> Result<(), Failure> {
    let row = sqlx::query(
        "SELECT (SELECT count(*) FROM accounts) AS accounts,
         (SELECT count(*) FROM transfers WHERE code IS NULL) AS transfers,
         (SELECT count(*) FROM transfers WHERE code IS NOT NULL) AS failed",
    )
    .fetch_one(connection)
    .await?;
    let known = [
        ("accounts", verified.accounts),
        ("transfers", verified.transfers),
        ("failed", verified.failed),
    ];
    for (what, known) in known {
        let found: u64 = count(&row, what)?;
        if found != known {
            let more = found.saturating_sub(known);
            let what = format!("there are {more} {what}");
            return Err(Fault::Unknown { what }.into());
        }
    }
    Ok(())
}
