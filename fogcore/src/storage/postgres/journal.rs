//! Places in the journal, and the writing of money.
//!
//! A transaction takes a block of places once it holds the locks on its accounts, so the order of
//! places is an order in which everything could have happened. Blocks are taken at any time and
//! committed in any order; so that a reader who goes on from the last place it saw never misses
//! one, a writer says by a lock below which block it will not add anything, and readers look only
//! at what lies below all of these ([`frontier`]).

use sqlx::{Executor, PgConnection, Row};

use super::error::Failure;
use super::loaded::Loaded;
use super::rows::{damaged, digits};
use super::save::column;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{Account, BookChanges, Chain, HoldState, Link, Posted, Row as ChainRow};

/// A block has this many places, as a power of two: more than the largest group can have rows.
const BLOCK_BITS: u32 = 22;

/// The first place of a block.
pub(super) fn start_of(block: i64) -> i64 {
    block << BLOCK_BITS
}

/// Takes the next block, after telling that this transaction adds nothing at or below the one that
/// was taken last. Above bit 48 of the lock's number it says what the lock is for.
const TAKE_BLOCK: &str = "SELECT NULL::bigint AS block
         FROM (SELECT pg_advisory_xact_lock_shared((20230::bigint << 48) + last_value)
               FROM journal_blocks) AS locked;
     SELECT nextval('journal_blocks') AS block";

/// The last block that was taken, then the least below which a transaction that is under way adds
/// nothing. The first is looked at first: who takes a block later than that gets a later one.
const FRONTIER: &str = "SELECT last_value AS block FROM journal_blocks;
     SELECT min((classid::bigint & 65535) << 32 | objid::bigint) AS block FROM pg_locks
     WHERE locktype = 'advisory' AND objsubid = 1 AND classid::bigint >> 16 = 20230
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

async fn last_block(
    connection: &mut PgConnection,
    sql: &'static str,
) -> Result<Option<i64>, Failure> {
    let rows = connection.fetch_all(sqlx::raw_sql(sql)).await?;
    let blocks = rows.iter().map(|row| row.try_get::<Option<i64>, _>("block"));
    Ok(blocks.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().min())
}

/// The place before which nothing will be added any more.
pub(super) async fn frontier(connection: &mut PgConnection) -> Result<i64, Failure> {
    let block = last_block(connection, FRONTIER).await?;
    Ok(start_of(block.ok_or_else(|| damaged("journal_blocks"))? + 1))
}

impl Loaded {
    /// Writes what changed in the book since it was last written, as a link of the chain.
    pub(super) async fn save_book(
        &mut self,
        connection: &mut PgConnection,
        chain: &mut Chain,
    ) -> Result<(), Failure> {
        let changes = self.set.book.take_changes();
        if !(changes.opened.is_empty() && changes.journal.is_empty() && changes.failed.is_empty()) {
            let block = last_block(connection, TAKE_BLOCK).await?;
            let block = block.ok_or_else(|| damaged("journal_blocks"))?;
            self.add_rows(connection, &changes, block, chain).await?;
        }
        self.change_accounts(connection, &changes).await?;
        let ended = changes.ended_holds.iter().filter_map(|id| self.set.book.transfer(*id));
        end_holds(connection, &ended.collect::<Vec<_>>()).await?;
        self.accounts.extend(changes.opened.into_iter().map(|account| account.id));
        Ok(())
    }

    /// Adds what was opened, transferred and refused, in the order of the chain. Rows go in by id:
    /// two groups with the same ids then wait for one another, but not in a circle.
    async fn add_rows(
        &self,
        connection: &mut PgConnection,
        changes: &BookChanges,
        block: i64,
        chain: &mut Chain,
    ) -> Result<(), Failure> {
        let book = &self.set.book;
        let journal: Vec<_> = changes.journal.iter().filter_map(|id| book.transfer(*id)).collect();
        let opened = changes.opened.iter().map(ChainRow::Opened);
        let posted = journal.iter().copied().map(ChainRow::Posted);
        let failed = changes.failed.iter().map(|failed| failed.row());
        let at = Some(block.cast_unsigned());
        let link = chain.extend_at(at, opened.chain(posted).chain(failed));
        let mut places =
            (start_of(block)..start_of(block + 1)).map(Ok).chain(std::iter::repeat_with(|| {
                Err(Error::new(ErrorKind::Exhausted, "one transaction cannot hold so many rows"))
            }));
        let mut take = |rows: usize| places.by_ref().take(rows).collect::<Result<Vec<i64>>>();
        let opened = take(changes.opened.len())?;
        self.open(connection, opened, &changes.opened).await?;
        let posted = take(journal.len())?;
        self.post(connection, &posted, &journal).await?;
        self.remember(connection, &posted, changes).await?;
        fail(connection, take(changes.failed.len())?, changes).await?;
        write_link(connection, block, &link).await
    }

    /// Adds accounts, with the counters that they have by now.
    async fn open(
        &self,
        connection: &mut PgConnection,
        places: Vec<i64>,
        opened: &[Account],
    ) -> Result<(), Failure> {
        if opened.is_empty() {
            return Ok(());
        }
        let now: Vec<_> = opened.iter().filter_map(|one| self.set.book.account(&one.id)).collect();
        sqlx::query(
            "INSERT INTO accounts (place, id, asset, scale, debits_limited, credits_limited,
                 opened_closed, closed, history, reference, user_data_64, user_data_32,
                 debits_pending, debits_posted, credits_pending, credits_posted, opened_at)
             SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::smallint[],
                 $5::boolean[], $6::boolean[], $7::boolean[], $8::boolean[], $9::boolean[],
                 $10::uuid[], $11::bigint[], $12::bigint[], $13::text[]::numeric[],
                 $14::text[]::numeric[], $15::text[]::numeric[], $16::text[]::numeric[],
                 $17::bigint[]) ORDER BY 2",
        )
        .bind(places)
        .bind(column(opened, |a| a.id.as_str()))
        .bind(column(opened, |a| a.asset.code()))
        .bind(column(opened, |a| i16::from(a.asset.scale())))
        .bind(column(opened, |a| a.debits_must_not_exceed_credits))
        .bind(column(opened, |a| a.credits_must_not_exceed_debits))
        .bind(column(opened, |a| a.closed))
        .bind(column(&now, |a| a.closed))
        .bind(column(opened, |a| a.history))
        .bind(column(opened, |a| a.reference))
        .bind(column(opened, |a| a.user_data_64.cast_signed()))
        .bind(column(opened, |a| i64::from(a.user_data_32)))
        .bind(column(&now, |a| digits(a.debits_pending)))
        .bind(column(&now, |a| digits(a.debits_posted)))
        .bind(column(&now, |a| digits(a.credits_pending)))
        .bind(column(&now, |a| digits(a.credits_posted)))
        .bind(column(opened, |a| a.opened_at.as_micros()))
        .execute(connection)
        .await?;
        Ok(())
    }

    /// Writes the counters of accounts that were there, and whether they are closed.
    async fn change_accounts(
        &self,
        connection: &mut PgConnection,
        changes: &BookChanges,
    ) -> Result<(), Failure> {
        let stored = changes.accounts.iter().filter(|id| self.accounts.contains(*id));
        let rows: Vec<_> = stored.filter_map(|id| self.set.book.account(id)).collect();
        if rows.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "UPDATE accounts SET closed = v.closed, debits_pending = v.debits_pending,
                 debits_posted = v.debits_posted, credits_pending = v.credits_pending,
                 credits_posted = v.credits_posted
             FROM unnest($1::text[], $2::boolean[], $3::text[]::numeric[], $4::text[]::numeric[],
                 $5::text[]::numeric[], $6::text[]::numeric[])
                 AS v (id, closed, debits_pending, debits_posted, credits_pending, credits_posted)
             WHERE accounts.id = v.id",
        )
        .bind(column(&rows, |a| a.id.as_str()))
        .bind(column(&rows, |a| a.closed))
        .bind(column(&rows, |a| digits(a.debits_pending)))
        .bind(column(&rows, |a| digits(a.debits_posted)))
        .bind(column(&rows, |a| digits(a.credits_pending)))
        .bind(column(&rows, |a| digits(a.credits_posted)))
        .execute(connection)
        .await?;
        Ok(())
    }

    async fn post(
        &self,
        connection: &mut PgConnection,
        places: &[i64],
        journal: &[&Posted],
    ) -> Result<(), Failure> {
        if journal.is_empty() {
            return Ok(());
        }
        // What ends a hold is found by the hold's accounts.
        let side = |posted: &Posted, side: usize| {
            self.set.book.sides(posted).map(|sides| sides[side].as_str().to_owned())
        };
        sqlx::query(
            "INSERT INTO transfers (place, id, type, at, debit, credit, amount, hold, hold_state,
                 expires_at, purpose, flags, timeout, reference, user_data_64, user_data_32)
             SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::text[], $4::bigint[], $5::text[],
                 $6::text[], $7::text[]::numeric[], $8::uuid[], $9::text[], $10::bigint[],
                 $11::text[], $12::integer[], $13::bigint[], $14::uuid[], $15::bigint[],
                 $16::bigint[]) ORDER BY 2",
        )
        .bind(places)
        .bind(column(journal, |p| p.transfer.id.uuid()))
        .bind(column(journal, |p| p.transfer.kind.name()))
        .bind(column(journal, |p| p.at.as_micros()))
        .bind(column(journal, |p| side(p, 0)))
        .bind(column(journal, |p| side(p, 1)))
        .bind(column(journal, |p| p.transfer.amount().map(digits)))
        .bind(column(journal, |p| p.transfer.ends_hold().map(|hold| hold.uuid())))
        .bind(column(journal, |p| p.hold.map(HoldState::name)))
        .bind(column(journal, |p| p.expires_at().map(crate::time::Timestamp::as_micros)))
        .bind(column(journal, |p| p.transfer.purpose.name()))
        .bind(column(journal, |p| i32::from(p.transfer.flags.bits())))
        .bind(column(journal, |p| i64::from(p.transfer.timeout_seconds)))
        .bind(column(journal, |p| p.transfer.reference))
        .bind(column(journal, |p| p.transfer.user_data_64.cast_signed()))
        .bind(column(journal, |p| i64::from(p.transfer.user_data_32)))
        .execute(connection)
        .await?;
        Ok(())
    }

    /// Writes the history of accounts, each entry at the place of its transfer.
    async fn remember(
        &self,
        connection: &mut PgConnection,
        places: &[i64],
        changes: &BookChanges,
    ) -> Result<(), Failure> {
        let rows = &changes.history;
        if rows.is_empty() {
            return Ok(());
        }
        let places: std::collections::HashMap<_, _> = changes.journal.iter().zip(places).collect();
        let places = rows.iter().map(|row| {
            places.get(&row.transfer).map(|place| **place).ok_or_else(|| damaged("transfer"))
        });
        sqlx::query(
            "INSERT INTO account_balances (place, account, transfer, at, debits_pending,
                 debits_posted, credits_pending, credits_posted)
             SELECT * FROM unnest($1::bigint[], $2::text[], $3::uuid[], $4::bigint[],
                 $5::text[]::numeric[], $6::text[]::numeric[], $7::text[]::numeric[],
                 $8::text[]::numeric[])",
        )
        .bind(places.collect::<Result<Vec<_>>>()?)
        .bind(column(rows, |b| b.account.as_str()))
        .bind(column(rows, |b| b.transfer.uuid()))
        .bind(column(rows, |b| b.at.as_micros()))
        .bind(column(rows, |b| digits(b.debits_pending)))
        .bind(column(rows, |b| digits(b.debits_posted)))
        .bind(column(rows, |b| digits(b.credits_pending)))
        .bind(column(rows, |b| digits(b.credits_posted)))
        .execute(connection)
        .await?;
        Ok(())
    }
}

async fn end_holds(connection: &mut PgConnection, ended: &[&Posted]) -> Result<(), Failure> {
    if ended.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE transfers SET hold_state = v.state FROM unnest($1::uuid[], $2::text[]) AS v (id, state)
         WHERE transfers.id = v.id",
    )
    .bind(column(ended, |hold| hold.transfer.id.uuid()))
    .bind(column(ended, |hold| hold.hold.map(HoldState::name)))
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes the ids that failed for good.
async fn fail(
    connection: &mut PgConnection,
    places: Vec<i64>,
    changes: &BookChanges,
) -> Result<(), Failure> {
    let rows = &changes.failed;
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO transfers (place, id, type, at, code, flags, timeout, user_data_64, user_data_32)
         SELECT place, id, 'failed', at, code, 0, 0, 0, 0
         FROM unnest($1::bigint[], $2::uuid[], $3::bigint[], $4::text[]) AS v (place, id, at, code)",
    )
    .bind(places)
    .bind(column(rows, |failed| failed.id.uuid()))
    .bind(column(rows, |failed| failed.at.as_micros()))
    .bind(column(rows, |failed| failed.code.name()))
    .execute(connection)
    .await?;
    Ok(())
}

async fn write_link(connection: &mut PgConnection, block: i64, link: &Link) -> Result<(), Failure> {
    let signed = u64::cast_signed;
    sqlx::query(
        "INSERT INTO ledger_links (writer, number, block, accounts, transfers, failed, digest)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(link.writer.cast_signed())
    .bind(signed(link.number))
    .bind(block)
    .bind(signed(link.accounts))
    .bind(signed(link.transfers))
    .bind(signed(link.failed))
    .bind(link.digest.as_bytes().as_slice())
    .execute(connection)
    .await?;
    Ok(())
}
