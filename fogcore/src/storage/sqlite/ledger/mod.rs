//! Accounts and transfers in SQLite.
//!
//! What a batch touches is loaded into the book and stays there ([`loaded`]); what it changed goes
//! back in few statements ([`save`]). Readers have queries of their own ([`find`]).

mod begin;
mod find;
mod loaded;
mod postings;
mod rows;
mod save;
mod verify;

use async_trait::async_trait;
use futures::TryStreamExt;

pub(super) use self::begin::{begin_chain, is_without_chain};
pub(super) use self::loaded::Known;
use super::SqliteStore;
use super::error::{OrStoreError, StoreError};
use super::rows::{damaged, id, id_bytes, integer};
use crate::error::{Error, Result};
use crate::id::{AccountId, TransferId};
use crate::ledger::{
    Account, AccountBalance, AccountFilter, Applied, BalanceEntry, Fault, Head, JournalEntry,
    LedgerError, LedgerStore, Place, Posted, Transfer, TransferFilter, TrialBalance, Verified,
};
use crate::registry::page_limit;
use crate::time::Timestamp;

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
        let row = sqlx::query(find::ACCOUNT)
            .bind(account.as_str())
            .fetch_optional(&self.readers)
            .await
            .or_store_error()?;
        row.map(|row| rows::account(&row)).transpose()
    }

    async fn accounts(
        &self,
        filter: &AccountFilter,
        after: Option<&AccountId>,
        limit: usize,
    ) -> Result<Vec<Account>> {
        find::accounts(&self.readers, filter, after, page_limit(limit)?).await
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
        // One statement reads one snapshot.
        sqlx::query(find::EVERY_ACCOUNT)
            .fetch(&self.readers)
            .map_err(|error| Error::from(StoreError(error)))
            .try_fold(TrialBalance::default(), |mut balance, row| async move {
                balance.add(&rows::account(&row)?);
                Ok(balance)
            })
            .await
    }

    async fn verify(&self, anchors: &[Head]) -> Result<Verified> {
        // One transaction reads one snapshot.
        let mut snapshot = self.readers.begin().await.or_store_error()?;
        let verified = verify::verify(&mut snapshot, anchors).await;
        let ended = snapshot.rollback().await.or_store_error();
        verified.and_then(|verified| ended.map(|()| verified)).map_err(Fault::of)
    }
}
