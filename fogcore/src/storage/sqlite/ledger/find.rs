//! What readers ask of the ledger.

use futures::TryStreamExt;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::counted::{Span, Tail};
use super::{id, id_bytes, integer, rows};
use crate::error::Result;
use crate::id::{AccountId, TransferId};
use crate::ledger::{
    Account, AccountFilter, JournalEntry, Place, Side, TransferFilter, TrialBalance,
};
use crate::storage::sqlite::error::OrStoreError;
use crate::storage::sqlite::rows::{count, get};
use crate::time::Timestamp;

const ACCOUNT: &str = "SELECT a.*, n.closed, n.debits_pending, n.debits_posted,
    n.credits_pending, n.credits_posted, (SELECT seq FROM ledger_counted) AS counted,
    (SELECT ifnull(max(seq), 0) FROM transfers) AS last
    FROM accounts a JOIN counters n ON n.no = a.no WHERE a.id = ?";

const EVERY_ACCOUNT: &str = "SELECT a.*, n.closed, n.debits_pending, n.debits_posted,
    n.credits_pending, n.credits_posted FROM accounts a JOIN counters n ON n.no = a.no
    ORDER BY a.no";

pub(super) const TRANSFER: &str = "SELECT t.*, d.id AS debit_id, c.id AS credit_id,
    h.id AS hold_id FROM transfers t CROSS JOIN accounts d ON d.no = t.debit
    CROSS JOIN accounts c ON c.no = t.credit LEFT JOIN transfers h ON h.seq = t.hold
    WHERE t.id = ?";

/// The journal behind a place, in its order.
pub(super) const JOURNAL: &str = "SELECT t.*, d.id AS debit_id, c.id AS credit_id,
    h.id AS hold_id FROM transfers t CROSS JOIN accounts d ON d.no = t.debit
    CROSS JOIN accounts c ON c.no = t.credit LEFT JOIN transfers h ON h.seq = t.hold
    WHERE t.seq > ? ORDER BY t.seq LIMIT +?";

/// What an account had, page by page: from the lists by account as far as they go, and then from one
/// transfer after another. A page costs what is on it, because lists come in the journal's order by
/// themselves, block by block and row by row, and `json_each` keeps that of an array.
pub(super) const BALANCES: &str = "WITH listed (seq) AS MATERIALIZED (
        SELECT j.value FROM posting_blocks b CROSS JOIN postings p
            ON p.block = b.last AND p.account = (SELECT no FROM accounts WHERE id = ?1)
        CROSS JOIN json_each(p.seqs) j
        WHERE b.last > ?2 AND p.last > ?2 AND j.value > ?2
        ORDER BY b.last, p.last LIMIT +?3),
    unlisted (seq) AS (
        SELECT t.seq FROM transfers t
        WHERE (SELECT no FROM accounts WHERE id = ?1) IN (t.debit, t.credit)
            AND t.seq > max(?2, (SELECT ifnull(max(last), 0) FROM posting_blocks))
            AND (SELECT count(*) FROM listed) < ?3
        ORDER BY t.seq LIMIT +?3)
    SELECT t.seq, t.id, t.at,
        CASE a.no WHEN t.debit THEN t.debit_after ELSE t.credit_after END AS after
    FROM accounts a CROSS JOIN (SELECT seq FROM listed UNION ALL SELECT seq FROM unlisted) s
    CROSS JOIN transfers t ON t.seq = s.seq
    WHERE a.id = ?1 AND a.flags & 8 ORDER BY t.seq LIMIT +?3";

pub(super) const BALANCE_AT: &str = "WITH unlisted (seq) AS MATERIALIZED (
        SELECT t.seq FROM transfers t
        WHERE (SELECT no FROM accounts WHERE id = ?1) IN (t.debit, t.credit) AND t.at <= ?2
            AND t.seq > (SELECT ifnull(max(last), 0) FROM posting_blocks)
        ORDER BY t.seq DESC LIMIT 1),
    listed (seq) AS (
        SELECT newest FROM (
            SELECT b.last AS block, p.last, (
                SELECT max(t.seq) FROM json_each(p.seqs) j CROSS JOIN transfers t
                ON t.seq = j.value AND t.at <= ?2) AS newest
            FROM posting_blocks b CROSS JOIN postings p
            ON p.block = b.last AND p.account = (SELECT no FROM accounts WHERE id = ?1)
            WHERE NOT EXISTS (SELECT 1 FROM unlisted))
        WHERE newest IS NOT NULL ORDER BY block DESC, last DESC LIMIT 1)
    SELECT t.seq, t.id, t.at,
        CASE a.no WHEN t.debit THEN t.debit_after ELSE t.credit_after END AS after
    FROM accounts a CROSS JOIN (SELECT seq FROM unlisted UNION ALL SELECT seq FROM listed) s
    CROSS JOIN transfers t ON t.seq = s.seq
    WHERE a.id = ?1 AND a.flags & 8";

/// The holds whose time is over, first those that are over longest.
pub(super) async fn due(
    readers: &SqlitePool,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<TransferId>> {
    let rows = sqlx::query(
        "SELECT id FROM transfers
         WHERE hold_state = 0 AND expires_at IS NOT NULL AND expires_at <= ?
         ORDER BY expires_at, at, id LIMIT +?",
    )
    .bind(now.as_micros())
    .bind(integer(limit))
    .fetch_all(readers)
    .await
    .or_store_error()?;
    rows.iter().map(|row| Ok(TransferId::from_uuid(id(row, "id")?))).collect()
}

/// The place of a row with a `seq`.
pub(super) fn place(row: &SqliteRow) -> Result<Place> {
    Ok(Place::from_number(count(row, "seq")?))
}

/// The account, and what its counters are behind.
pub(super) async fn account(
    readers: &SqlitePool,
    id: &AccountId,
) -> Result<Option<(Account, Span)>> {
    let row = sqlx::query(ACCOUNT).bind(id.as_str()).fetch_optional(readers).await;
    let Some(row) = row.or_store_error()? else { return Ok(None) };
    let (mut account, span) = (rows::account(&row)?, Span::of(&row)?);
    if span.len() > 0 {
        let no = get(&row, "no")?;
        let mut reader = readers.acquire().await.or_store_error()?;
        Tail::read(&mut reader, span, Some(no)).await?.add_to(no, &mut account);
    }
    Ok(Some((account, span)))
}

/// The sums over all accounts.
pub(super) async fn trial_balance(
    snapshot: &mut SqliteConnection,
    tail: &Tail,
) -> Result<TrialBalance> {
    let mut balance = TrialBalance::default();
    let mut rows = sqlx::query(EVERY_ACCOUNT).fetch(snapshot);
    while let Some(row) = rows.try_next().await.or_store_error()? {
        balance.add(&of_tail(&row, tail)?);
    }
    Ok(balance)
}

/// An account with what the tail adds to it.
fn of_tail(row: &SqliteRow, tail: &Tail) -> Result<Account> {
    let mut account = rows::account(row)?;
    tail.add_to(get(row, "no")?, &mut account);
    Ok(account)
}

/// A page, from one snapshot with the tail.
pub(super) async fn accounts(
    snapshot: &mut SqliteConnection,
    tail: &Tail,
    filter: &AccountFilter,
    after: Option<&AccountId>,
    limit: usize,
) -> Result<Vec<Account>> {
    // Only what is asked for stands in the query, so that it can use the index on that.
    let mut query = QueryBuilder::<Sqlite>::new(
        "SELECT a.*, n.closed, n.debits_pending, n.debits_posted, n.credits_pending,
         n.credits_posted FROM accounts a CROSS JOIN counters n ON n.no = a.no WHERE a.id > ",
    );
    query.push_bind(after.map_or("", AccountId::as_str));
    if let Some(asset) = &filter.asset {
        query.push(" AND a.asset = ").push_bind(asset.code());
        query.push(" AND a.scale = ").push_bind(i64::from(asset.scale()));
    }
    if let Some(closed) = filter.closed {
        query.push(" AND CASE WHEN a.no IN (SELECT value FROM json_each(");
        query.push_bind(tail.with_closed(true)?).push(")) THEN 1 WHEN a.no IN (");
        query.push("SELECT value FROM json_each(").push_bind(tail.with_closed(false)?);
        query.push(")) THEN 0 ELSE n.closed END = ").push_bind(i64::from(closed));
    }
    let user_data = (filter.reference, filter.user_data_64, filter.user_data_32);
    with_user_data(&mut query, "a.", user_data);
    query.push(" ORDER BY a.id LIMIT +").push_bind(integer(limit));
    let rows = query.build().fetch_all(snapshot).await.or_store_error()?;
    rows.iter().map(|row| of_tail(row, tail)).collect()
}

pub(super) async fn transfers(
    readers: &SqlitePool,
    filter: &TransferFilter,
    after: Option<Place>,
    limit: usize,
) -> Result<Vec<JournalEntry>> {
    let (after, limit) = (integer(after.unwrap_or_default().number()), integer(limit));
    let mut query = QueryBuilder::<Sqlite>::new("");
    if let Some(account) = &filter.account {
        // As in [`BALANCES`].
        let account = account.as_str();
        query.push("WITH listed (seq) AS MATERIALIZED (SELECT t.seq FROM posting_blocks b ");
        query.push("CROSS JOIN postings p ON p.block = b.last AND p.account = ");
        query.push("(SELECT no FROM accounts WHERE id = ").push_bind(account).push(")");
        query.push(" CROSS JOIN json_each(p.seqs) j CROSS JOIN transfers t ON t.seq = j.value");
        query.push(" WHERE p.account ").push(on_side(filter.side));
        query.push(" AND b.last > ").push_bind(after).push(" AND p.last > ").push_bind(after);
        query.push(" AND j.value > ").push_bind(after);
        conditions(&mut query, filter);
        query.push(" ORDER BY b.last, p.last LIMIT +").push_bind(limit);
        query.push("), unlisted (seq) AS (SELECT t.seq FROM transfers t");
        query.push(" WHERE (SELECT no FROM accounts WHERE id = ").push_bind(account).push(") ");
        query.push(on_side(filter.side)).push(" AND t.seq > max(").push_bind(after);
        query.push(", (SELECT ifnull(max(last), 0) FROM posting_blocks))");
        query.push(" AND (SELECT count(*) FROM listed) < ").push_bind(limit);
    } else {
        query.push("WITH listed (seq) AS (SELECT NULL WHERE 0), unlisted (seq) AS (");
        query.push("SELECT t.seq FROM transfers t WHERE t.seq > ").push_bind(after);
    }
    conditions(&mut query, filter);
    query.push(" ORDER BY t.seq LIMIT +").push_bind(limit);
    query.push(
        ") SELECT t.*, d.id AS debit_id, c.id AS credit_id, h.id AS hold_id
         FROM (SELECT seq FROM listed UNION ALL SELECT seq FROM unlisted) s
         CROSS JOIN transfers t ON t.seq = s.seq CROSS JOIN accounts d ON d.no = t.debit
         CROSS JOIN accounts c ON c.no = t.credit LEFT JOIN transfers h ON h.seq = t.hold
         ORDER BY t.seq LIMIT +",
    );
    query.push_bind(limit);
    let rows = query.build().fetch_all(readers).await.or_store_error()?;
    let entry = |row| Ok(JournalEntry { place: place(row)?, posted: rows::posted(row)? });
    rows.iter().map(entry).collect()
}

/// That the account before this is on the side that is asked for.
const fn on_side(side: Option<Side>) -> &'static str {
    match side {
        Some(Side::Debit) => "= t.debit",
        Some(Side::Credit) => "= t.credit",
        None => "IN (t.debit, t.credit)",
    }
}

fn conditions(query: &mut QueryBuilder<Sqlite>, filter: &TransferFilter) {
    if let Some(from) = filter.from {
        query.push(" AND t.at >= ").push_bind(from.as_micros());
    }
    if let Some(until) = filter.until {
        query.push(" AND t.at < ").push_bind(until.as_micros());
    }
    if let Some(purpose) = filter.purpose {
        query.push(" AND t.purpose = ").push_bind(purpose.name());
    }
    with_user_data(query, "t.", (filter.reference, filter.user_data_64, filter.user_data_32));
}

/// Conditions on user data; zero is NULL in the tables.
fn with_user_data(
    query: &mut QueryBuilder<Sqlite>,
    table: &str,
    (reference, long, short): (Option<uuid::Uuid>, Option<u64>, Option<u32>),
) {
    if let Some(reference) = reference {
        query.push(format!(" AND {table}reference = ")).push_bind(id_bytes(reference));
    }
    let numbers =
        [("user_data_64", long.map(rows::long)), ("user_data_32", short.map(rows::short))];
    for (column, data) in numbers {
        match data {
            None => {}
            Some(None) => {
                query.push(format!(" AND {table}{column} IS NULL"));
            }
            Some(Some(data)) => {
                query.push(format!(" AND {table}{column} = ")).push_bind(data);
            }
        }
    }
}
