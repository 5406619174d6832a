//! Counters, which are written behind: in the file is what accounts had after the transfer at the
//! place `counted`; what came of the *tail* of the journal behind that follows from its transfers.
//!
//! A transfer is durable by its own row, so nothing is lost if its accounts are written later, and
//! many at once. Readers add the tail to what they read ([`Tail`]); the writer has in memory what
//! the tail led to ([`Uncounted`]), and makes it from the journal if somebody else wrote the tail.

use std::collections::HashMap;

use futures::TryStreamExt;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::loaded::Known;
use super::rows;
use crate::amount::Amount;
use crate::error::Result;
use crate::ledger::{Account, TransferFlags};
use crate::storage::sqlite::error::OrStoreError;
use crate::storage::sqlite::lists::{NO_FILLING, Rows, Values, integers, write_all};
use crate::storage::sqlite::rows::{amount_bytes, amount_option, damaged, get};

/// What its transfers change of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) closed: bool,
    /// Debits pending and posted, credits pending and posted.
    pub(super) amounts: [Amount; 4],
}

impl Counters {
    pub(super) fn of(account: &Account) -> Self {
        let (debits, credits) = (
            [account.debits_pending, account.debits_posted],
            [account.credits_pending, account.credits_posted],
        );
        let amounts = [debits[0], debits[1], credits[0], credits[1]];
        Self { closed: account.closed, amounts }
    }

    pub(super) fn put_into(self, account: &mut Account) {
        account.closed = self.closed;
        [
            account.debits_pending,
            account.debits_posted,
            account.credits_pending,
            account.credits_posted,
        ] = self.amounts;
    }
}

/// From where to where the tail goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) counted: i64,
    pub(super) last: i64,
}

/// The columns of a [`Span`].
pub(super) const SPAN: &str = "SELECT (SELECT seq FROM ledger_counted) AS counted,
    (SELECT ifnull(max(seq), 0) FROM transfers) AS last";

impl Span {
    pub(super) fn of(row: &SqliteRow) -> Result<Self> {
        let span = Self { counted: get(row, "counted")?, last: get(row, "last")? };
        if span.counted < 0 || span.counted > span.last {
            return Err(damaged("counted"));
        }
        Ok(span)
    }

    pub(super) async fn read(connection: &mut SqliteConnection) -> Result<Self> {
        Self::of(&sqlx::query(SPAN).fetch_one(connection).await.or_store_error()?)
    }

    pub(super) const fn len(self) -> i64 {
        self.last - self.counted
    }
}

/// What some transfers add to an account.
#[derive(Clone, Copy, Debug, Default)]
struct Change {
    /// Modulo 2^128: a hold that is older than the tail may end before another is made, and many may
    /// be made and ended. What the account had at the end is a number that a counter can hold, so it
    /// comes out as it was, whatever sums there are on the way.
    amounts: [u128; 4],
    closed: Option<bool>,
}

impl Change {
    fn add_to(self, counters: &mut Counters) {
        for (amount, more) in counters.amounts.iter_mut().zip(self.amounts) {
            *amount = Amount::from_base_units(amount.base_units().wrapping_add(more));
        }
        counters.closed = self.closed.unwrap_or(counters.closed);
    }
}

/// What the transfers behind those that are counted add to accounts, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Tail(HashMap<i64, Change>);

/// The transfers of a span, of one account if it is named.
const TAIL: &str = "SELECT t.type, t.debit, t.credit, t.amount, h.amount AS held,
    CASE WHEN h.seq IS NULL THEN t.flags ELSE h.flags END AS flags FROM transfers t LEFT JOIN transfers h ON h.seq = t.hold
    WHERE t.seq > ?1 AND t.seq <= ?2 AND (?3 IS NULL OR ?3 IN (t.debit, t.credit)) ORDER BY t.seq";

impl Tail {
    /// Adds up a span. Transfers never change, so it need not be the snapshot that has the span.
    pub(super) async fn read(
        connection: &mut SqliteConnection,
        span: Span,
        account: Option<i64>,
    ) -> Result<Self> {
        let mut tail = Self::default();
        if span.len() == 0 {
            return Ok(tail);
        }
        let mut found = 0;
        let mut transfers =
            sqlx::query(TAIL).bind(span.counted).bind(span.last).bind(account).fetch(connection);
        while let Some(row) = transfers.try_next().await.or_store_error()? {
            tail.add(&row)?;
            found += 1;
        }
        // The journal has no gaps.
        if account.is_none() && found != span.len() {
            return Err(damaged("seq"));
        }
        Ok(tail)
    }

    /// Adds a transfer.
    fn add(&mut self, row: &SqliteRow) -> Result<()> {
        let units = |column| -> Result<u128> {
            let amount = amount_option(row, column)?.ok_or_else(|| damaged(column))?;
            Ok(amount.base_units())
        };
        // What is pending from then on, what is posted, and whether what it closes is closed.
        let (pending, posted, closed) = match get::<i64>(row, "type")? {
            0 => (0, units("amount")?, None),
            1 => (units("amount")?, 0, Some(true)),
            2 => (units("held")?.wrapping_neg(), units("amount")?, Some(false)),
            3 | 4 => (units("held")?.wrapping_neg(), 0, Some(false)),
            _ => return Err(damaged("type")),
        };
        let flags = get::<Option<i64>>(row, "flags")?.unwrap_or(0);
        let flags = u16::try_from(flags).ok().and_then(TransferFlags::from_bits);
        let flags = flags.ok_or_else(|| damaged("flags"))?;
        let sides = [
            ("debit", [pending, posted, 0, 0], flags.closing_debit),
            ("credit", [0, 0, pending, posted], flags.closing_credit),
        ];
        for (side, amounts, closes) in sides {
            let change = self.0.entry(get(row, side)?).or_default();
            for (sum, more) in change.amounts.iter_mut().zip(amounts) {
                *sum = sum.wrapping_add(more);
            }
            change.closed = closed.filter(|_| closes).or(change.closed);
        }
        Ok(())
    }

    /// Adds to the account with this number, as it was read, what came after that.
    pub(super) fn add_to(&self, no: i64, account: &mut Account) {
        if let Some(change) = self.0.get(&no) {
            let mut counters = Counters::of(account);
            change.add_to(&mut counters);
            counters.put_into(account);
        }
    }

    /// The accounts that were closed, or opened again.
    pub(super) fn with_closed(&self, closed: bool) -> Result<String> {
        let those = self.0.iter().filter(|(_, change)| change.closed == Some(closed));
        integers(&those.map(|(no, _)| *no).collect::<Vec<_>>())
    }
}

/// What the tail led to, in the writer's memory: complete, as soon as it is there.
#[derive(Debug)]
pub(super) struct Uncounted {
    span: Span,
    /// What the accounts of the tail have now, by their numbers.
    accounts: HashMap<i64, Counters>,
    /// How many transfers were made since this was made.
    made: i64,
}

impl Uncounted {
    /// From the journal, because somebody else wrote the tail, or because what was known is lost.
    async fn recover(connection: &mut SqliteConnection) -> Result<Self> {
        let span = Span::read(connection).await?;
        let tail = Tail::read(connection, span, None).await?.0;
        let mut accounts = HashMap::with_capacity(tail.len());
        if !tail.is_empty() {
            let mut numbers: Vec<_> = tail.keys().copied().collect();
            numbers.sort_unstable();
            let mut rows = sqlx::query(COUNTED).bind(integers(&numbers)?).fetch(connection);
            while let Some(row) = rows.try_next().await.or_store_error()? {
                let (no, mut counters) = (get(&row, "no")?, rows::counters_of(&row)?);
                tail.get(&no).copied().unwrap_or_default().add_to(&mut counters);
                accounts.insert(no, counters);
            }
        }
        if accounts.len() != tail.len() {
            return Err(damaged("no"));
        }
        Ok(Self { span, accounts, made: 0 })
    }

    /// Transfers were made, up to this one.
    pub(super) const fn made(&mut self, last: i64) {
        self.made += last - self.span.last;
        self.span.last = last;
    }

    /// An account has this now.
    pub(super) fn set(&mut self, no: i64, counters: Counters) {
        self.accounts.insert(no, counters);
    }

    /// What the account has now, if that is not in the file.
    pub(super) fn get(&self, no: i64) -> Option<Counters> {
        self.accounts.get(&no).copied()
    }
}

const COUNTED: &str = "SELECT n.* FROM json_each(?) w CROSS JOIN counters n ON n.no = w.value";

impl Known {
    /// Makes what is not written yet from the journal, unless it is known.
    pub(in crate::storage::sqlite) async fn recover(
        &mut self,
        connection: &mut SqliteConnection,
    ) -> Result<()> {
        self.uncounted(connection).await.map(|_| ())
    }

    /// What is not written yet.
    pub(super) async fn uncounted(
        &mut self,
        connection: &mut SqliteConnection,
    ) -> Result<&mut Uncounted> {
        let uncounted = match self.uncounted.take() {
            Some(uncounted) => uncounted,
            None => Uncounted::recover(connection).await?,
        };
        Ok(self.uncounted.insert(uncounted))
    }

    /// How many transfers are in the tail, as far as is known.
    pub(in crate::storage::sqlite) fn tail(&self) -> i64 {
        self.uncounted.as_ref().map_or(0, |uncounted| uncounted.span.len())
    }

    /// How many transfers were made since others last changed the file, as far as is known.
    pub(in crate::storage::sqlite) fn made(&self) -> i64 {
        self.uncounted.as_ref().map_or(0, |uncounted| uncounted.made)
    }

    /// Writes the counters of all accounts of the tail, if it is longer than that.
    pub(in crate::storage::sqlite) async fn count(
        &mut self,
        connection: &mut SqliteConnection,
        most: i64,
    ) -> Result<()> {
        let Some(uncounted) = &mut self.uncounted else { return Ok(()) };
        if uncounted.span.len() <= most {
            return Ok(());
        }
        let mut rows: Vec<_> = uncounted.accounts.drain().collect();
        // In the table's order, each is next to the one before.
        rows.sort_unstable_by_key(|(no, _)| *no);
        write_all(connection, COUNTERS.batches(rows, bind_counters)).await?;
        let counted = sqlx::query("UPDATE ledger_counted SET seq = ?").bind(uncounted.span.last);
        if counted.execute(connection).await.or_store_error()?.rows_affected() != 1 {
            return Err(damaged("counted"));
        }
        uncounted.span.counted = uncounted.span.last;
        Ok(())
    }
}

/// Writes counters, of accounts that are new or not.
pub(super) const COUNTERS: Rows = Rows {
    head: "INSERT OR REPLACE INTO counters
        (no, closed, debits_pending, debits_posted, credits_pending, credits_posted)
        SELECT * FROM (",
    columns: 6,
    tail: NO_FILLING,
};

pub(super) fn bind_counters(row: &mut Values, (no, counters): (i64, Counters)) -> Result<()> {
    row.push(no).push(i64::from(counters.closed));
    for amount in counters.amounts {
        row.push((!amount.is_zero()).then(|| amount_bytes(amount)));
    }
    Ok(())
}
