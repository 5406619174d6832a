//! Accounts and transfers in PostgreSQL.

use async_trait::async_trait;
use futures::TryStreamExt;

use super::PostgresStore;
use super::error::Failure;
use super::journal::frontier;
use super::rows::{self, get, integer, select_accounts, select_balances, select_transfers};
use super::verify::verify;
use crate::error::Result;
use crate::id::{AccountId, TransferId};
use crate::ledger::{
    Account, AccountBalance, AccountFilter, Applied, BalanceEntry, Fault, Head, JournalEntry,
    LedgerError, LedgerStore, Place, Posted, Side, Transfer, TransferFilter, TrialBalance,
    Verified,
};
use crate::registry::page_limit;
use crate::time::Timestamp;

/// The journal from a place on, up to where it is complete, as a filter ($4 to $9) wants it.
macro_rules! wanted_transfers {
    ($account:literal) => {
        select_transfers!(
            "WHERE place > $1 AND place < $2 AND type <> 'failed' AND ",
            $account,
            " AND ($4::bigint IS NULL OR at >= $4) AND ($5::bigint IS NULL OR at < $5)
             AND ($6::text IS NULL OR purpose = $6) AND ($7::uuid IS NULL OR reference = $7)
             AND ($8::bigint IS NULL OR user_data_64 = $8)
             AND ($9::bigint IS NULL OR user_data_32 = $9) ORDER BY place LIMIT $10"
        )
    };
}

/// One statement per kind of question, because each is answered from another index.
const OF_ALL: &str = wanted_transfers!("$3::text IS NULL");
const OF_DEBIT: &str = wanted_transfers!("debit = $3");
const OF_CREDIT: &str = wanted_transfers!("credit = $3");
const OF_EITHER: &str = concat!(
    "SELECT * FROM ((",
    wanted_transfers!("debit = $3"),
    ") UNION ALL (",
    wanted_transfers!("credit = $3"),
    ")) AS t ORDER BY place LIMIT $10"
);

/// The first place that is not asked for any more: places are signed in the database.
fn after(place: Option<Place>) -> i64 {
    place.map_or(0, |place| integer(place.number()))
}

#[async_trait]
impl LedgerStore for PostgresStore {
    async fn open_accounts(
        &self,
        accounts: Vec<Account>,
        now: Timestamp,
    ) -> Result<Vec<Result<Account>>> {
        self.writer.open_accounts(accounts, now).await
    }

    async fn transfer(
        &self,
        transfers: Vec<Transfer>,
        now: Timestamp,
    ) -> Result<Vec<Result<Applied, LedgerError>>> {
        self.writer.transfer(transfers, now).await
    }

    async fn expire_holds(&self, now: Timestamp, limit: usize) -> Result<Vec<Posted>> {
        let limit = page_limit(limit)?;
        let query = sqlx::query(
            "SELECT id FROM transfers
             WHERE hold_state = 'pending' AND expires_at IS NOT NULL AND expires_at <= $1
             ORDER BY expires_at, at, id LIMIT $2",
        );
        let due = self.readers.fetch_all(query.bind(now.as_micros()).bind(integer(limit))).await?;
        let due = due.iter().map(|row| get(row, "id").map(TransferId::from_uuid));
        self.writer.expire_holds(due.collect::<Result<_>>()?, now).await
    }

    async fn account(&self, account: &AccountId) -> Result<Option<Account>> {
        let query = sqlx::query(select_accounts!("WHERE id = $1")).bind(account.as_str());
        let row = self.readers.fetch_optional(query).await?;
        row.map(|row| rows::account(&row)).transpose()
    }

    async fn accounts(
        &self,
        filter: &AccountFilter,
        after: Option<&AccountId>,
        limit: usize,
    ) -> Result<Vec<Account>> {
        let limit = page_limit(limit)?;
        let query = sqlx::query(select_accounts!(
            "WHERE id > $1 AND ($2::text IS NULL OR asset = $2 AND scale = $3)
             AND ($4::uuid IS NULL OR reference = $4)
             AND ($5::bigint IS NULL OR user_data_64 = $5)
             AND ($6::bigint IS NULL OR user_data_32 = $6)
             AND ($7::boolean IS NULL OR closed = $7) ORDER BY id LIMIT $8"
        ))
        .bind(after.map_or("", AccountId::as_str))
        .bind(filter.asset.as_ref().map(|asset| asset.code()))
        .bind(filter.asset.as_ref().map(|asset| i16::from(asset.scale())))
        .bind(filter.reference)
        .bind(filter.user_data_64.map(u64::cast_signed))
        .bind(filter.user_data_32.map(i64::from))
        .bind(filter.closed)
        .bind(integer(limit));
        self.readers.fetch_all(query).await?.iter().map(rows::account).collect()
    }

    async fn posted(&self, transfer: TransferId) -> Result<Option<Posted>> {
        let query = sqlx::query(select_transfers!("WHERE id = $1 AND type <> 'failed'"));
        let row = self.readers.fetch_optional(query.bind(transfer.uuid())).await?;
        row.map(|row| rows::posted(&row)).transpose()
    }

    async fn transfers(
        &self,
        filter: &TransferFilter,
        from: Option<Place>,
        limit: usize,
    ) -> Result<Vec<JournalEntry>> {
        let limit = page_limit(limit)?;
        let sql = match (&filter.account, filter.side) {
            (None, _) => OF_ALL,
            (Some(_), Some(Side::Debit)) => OF_DEBIT,
            (Some(_), Some(Side::Credit)) => OF_CREDIT,
            (Some(_), None) => OF_EITHER,
        };
        let page = async |reader: &mut sqlx::PgConnection| {
            // Before the look at the rows: what is below this is complete from now on.
            let until = frontier(reader).await?;
            let rows = sqlx::query(sql)
                .bind(after(from))
                .bind(until)
                .bind(filter.account.as_ref().map(AccountId::as_str))
                .bind(filter.from.map(Timestamp::as_micros))
                .bind(filter.until.map(Timestamp::as_micros))
                .bind(filter.purpose.map(|purpose| purpose.name()))
                .bind(filter.reference)
                .bind(filter.user_data_64.map(u64::cast_signed))
                .bind(filter.user_data_32.map(i64::from))
                .bind(integer(limit))
                .fetch_all(reader)
                .await?;
            Ok(rows)
        };
        let entry = |row| Ok(JournalEntry { place: rows::place(row)?, posted: rows::posted(row)? });
        self.readers.with(page).await?.iter().map(entry).collect()
    }

    async fn balances(
        &self,
        account: &AccountId,
        from: Option<Place>,
        limit: usize,
    ) -> Result<Vec<BalanceEntry>> {
        let limit = page_limit(limit)?;
        // Who changes an account holds it until the end, so its entries are committed in order.
        let query = sqlx::query(select_balances!(
            "WHERE account = $1 AND place > $2 ORDER BY place LIMIT $3"
        ));
        let query = query.bind(account.as_str()).bind(after(from)).bind(integer(limit));
        self.readers.fetch_all(query).await?.iter().map(rows::balance).collect()
    }

    async fn balance_at(
        &self,
        account: &AccountId,
        at: Timestamp,
    ) -> Result<Option<AccountBalance>> {
        let query = sqlx::query(select_balances!(
            "WHERE account = $1 AND at <= $2 ORDER BY place DESC LIMIT 1"
        ));
        let query = query.bind(account.as_str()).bind(at.as_micros());
        let row = self.readers.fetch_optional(query).await?;
        Ok(row.map(|row| rows::balance(&row)).transpose()?.map(|entry| entry.balance))
    }

    async fn trial_balance(&self) -> Result<TrialBalance> {
        let sum = async |reader: &mut sqlx::PgConnection| {
            // One statement reads one snapshot.
            let mut rows = sqlx::query(select_accounts!("")).fetch(reader);
            let mut balance = TrialBalance::default();
            while let Some(row) = rows.try_next().await? {
                balance.add(&rows::account(&row)?);
            }
            Ok::<_, Failure>(balance)
        };
        self.readers.with(sum).await
    }

    async fn verify(&self, anchors: &[Head]) -> Result<Verified> {
        let verified = self.readers.at_length(async |reader| verify(reader, anchors).await).await;
        verified.map_err(Fault::of)
    }
}
