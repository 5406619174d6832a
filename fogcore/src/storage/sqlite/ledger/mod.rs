//! Accounts and transfers in SQLite.
//!
//! What a batch touches is loaded into the book and stays there ([`loaded`]); what it changed goes
//! back in few statements ([`save`]), and counters some time later ([`counted`]). Readers have queries
//! of their own ([`find`]).

mod begin;
mod counted;
mod find;
mod loaded;
mod postings;
mod rows;
mod save;
mod verify;

use async_trait::async_trait;
use sqlx::{Sqlite, Transaction};

pub(super) use self::begin::{begin_chain, is_without_chain};
use self::counted::{Span, Tail};
pub(super) use self::loaded::Known;
use super::SqliteStore;
use super::error::OrStoreError;
use super::rows::{damaged, id, id_bytes, integer};
use crate::error::Result;
use crate::id::{AccountId, TransferId};
use crate::ledger::{
    Account, AccountBalance, AccountFilter, Applied, BalanceEntry, Fault, Head, JournalEntry,
    LedgerError, LedgerStore, Place, Posted, Transfer, TransferFilter, TrialBalance, Verified,
};
use crate::registry::page_limit;
use crate::time::Timestamp;

/// From how many transfers on readers ask the writer to write counters: it costs them more to add up
/// so many than to ask.
const LONG: i64 = 256;

impl SqliteStore {
    /// One transaction reads one snapshot: with what is to be added to counters.
    async fn snapshot(&self) -> Result<(Transaction<'static, Sqlite>, Tail)> {
        let mut snapshot = self.readers.begin().await.or_store_error()?;
        let span = Span::read(&mut snapshot).await?;
        let tail = Tail::read(&mut snapshot, span, None).await?;
        self.found(span);
        Ok((snapshot, tail))
    }

    /// A reader found such a tail. It does not wait: what it needs follows from the journal.
    fn found(&self, span: Span) {
        if span.len() >= LONG {
            self.writer.count(&self.counting);
        }
    }
}

#[async_trait]
impl LedgerStore for SqliteStore {
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
        let due = find::due(&self.readers, now, page_limit(limit)?).await?;
        self.writer.expire_holds(due, now).await
    }

    async fn account(&self, account: &AccountId) -> Result<Option<Account>> {
        let found = find::account(&self.readers, account).await?;
        Ok(found.map(|(account, span)| {
            self.found(span);
            account
        }))
    }

    async fn accounts(
        &self,
        filter: &AccountFilter,
        after: Option<&AccountId>,
        limit: usize,
    ) -> Result<Vec<Account>> {
        let limit = page_limit(limit)?;
        let (mut snapshot, tail) = self.snapshot().await?;
        let found = find::accounts(&mut snapshot, &tail, filter, after, limit).await;
        snapshot.rollback().await.or_store_error()?;
        found
    }

    async fn posted(&self, transfer: TransferId) -> Result<Option<Posted>> {
        let row = sqlx::query(find::TRANSFER)
            .bind(id_bytes(transfer.uuid()))
            .fetch_optional(&self.readers)
            .await
            .or_store_error()?;
        row.map(|row| rows::posted(&row)).transpose()
    }

    async fn transfers(
        &self,
        filter: &TransferFilter,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Vec<JournalEntry>> {
        find::transfers(&self.readers, filter, after, page_limit(limit)?).await
    }

    async fn balances(
        &self,
        account: &AccountId,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Vec<BalanceEntry>> {
        let rows = sqlx::query(find::BALANCES)
            .bind(account.as_str())
            .bind(integer(after.unwrap_or_default().number()))
            .bind(integer(page_limit(limit)?))
            .fetch_all(&self.readers)
            .await
            .or_store_error()?;
        let entry = |row| {
            let balance = rows::balance(row, "after", account)?;
            let balance = balance.ok_or_else(|| damaged("after"))?;
            Ok(BalanceEntry { place: find::place(row)?, balance })
        };
        rows.iter().map(entry).collect()
    }

    async fn balance_at(
        &self,
        account: &AccountId,
        at: Timestamp,
    ) -> Result<Option<AccountBalance>> {
        let row = sqlx::query(find::BALANCE_AT)
            .bind(account.as_str())
            .bind(at.as_micros())
            .fetch_optional(&self.readers)
            .await
            .or_store_error()?;
        Ok(row.map(|row| rows::balance(&row, "after", account)).transpose()?.flatten())
    }

    async fn trial_balance(&self) -> Result<TrialBalance> {
        let (mut snapshot, tail) = self.snapshot().await?;
        let balance = find::trial_balance(&mut snapshot, &tail).await;
        snapshot.rollback().await.or_store_error()?;
        balance
    }

    async fn verify(&self, anchors: &[Head]) -> Result<Verified> {
        // One transaction reads one snapshot.
        let mut snapshot = self.readers.begin().await.or_store_error()?;
        let verified = verify::verify(&mut snapshot, anchors).await;
        let ended = snapshot.rollback().await.or_store_error();
        verified.and_then(|verified| ended.map(|()| verified)).map_err(Fault::of)
    }
}
