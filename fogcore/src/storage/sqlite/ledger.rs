//! Accounts and transfers in SQLite.

use async_trait::async_trait;
use futures::TryStreamExt;

use super::SqliteStore;
use super::error::{OrStoreError, StoreError};
use super::request::Wanted;
use super::rows::{self, id_bytes, integer};
use crate::error::{Error, Result};
use crate::id::{AccountId, TransferId};
use crate::ledger::{Account, LedgerStore, MAX_BATCH, Posted, Transfer, TrialBalance};
use crate::registry::page_limit;
use crate::scheduler::WorkingSet;
use crate::storage::check_batch;
use crate::time::Timestamp;

#[async_trait]
impl LedgerStore for SqliteStore {
    async fn open_accounts(
        &self,
        accounts: Vec<Account>,
        now: Timestamp,
    ) -> Result<Vec<Result<Account>>> {
        check_batch(accounts.len(), MAX_BATCH)?;
        let wanted = Wanted::accounts(accounts.iter().map(|account| account.id.clone()), now);
        let open = move |set: &mut WorkingSet| {
            let each = accounts.iter().cloned();
            each.map(|account| Ok(set.book.open(account, now)?.clone())).collect()
        };
        self.writer.decide(wanted, open).await
    }

    async fn transfer(
        &self,
        transfers: Vec<Transfer>,
        now: Timestamp,
    ) -> Result<Vec<Result<Posted>>> {
        check_batch(transfers.len(), MAX_BATCH)?;
        let wanted = Wanted::transfers(&transfers, now);
        let apply = move |set: &mut WorkingSet| {
            transfers.iter().map(|one| Ok(set.book.apply(one, now)?.clone())).collect()
        };
        self.writer.decide(wanted, apply).await
    }

    async fn account(&self, account: &AccountId) -> Result<Option<Account>> {
        let row = sqlx::query("SELECT * FROM accounts WHERE id = ?")
            .bind(account.as_str())
            .fetch_optional(&self.readers)
            .await
            .or_store_error()?;
        row.map(|row| rows::account(&row)).transpose()
    }

    async fn accounts(&self, after: Option<&AccountId>, limit: usize) -> Result<Vec<Account>> {
        let limit = page_limit(limit)?;
        let rows = sqlx::query("SELECT * FROM accounts WHERE id > ? ORDER BY id LIMIT +?")
            .bind(after.map_or("", AccountId::as_str))
            .bind(integer(limit))
            .fetch_all(&self.readers)
            .await
            .or_store_error()?;
        rows.iter().map(rows::account).collect()
    }

    async fn posted(&self, transfer: TransferId) -> Result<Option<Posted>> {
        let row = sqlx::query("SELECT * FROM transfers WHERE id = ?")
            .bind(id_bytes(transfer.uuid()))
            .fetch_optional(&self.readers)
            .await
            .or_store_error()?;
        row.map(|row| rows::posted(&row)).transpose()
    }

    async fn trial_balance(&self) -> Result<TrialBalance> {
        // One statement reads one snapshot.
        sqlx::query("SELECT * FROM accounts")
            .fetch(&self.readers)
            .map_err(|error| Error::from(StoreError(error)))
            .try_fold(TrialBalance::default(), |mut balance, row| async move {
                balance.add(&rows::account(&row)?)?;
                Ok(balance)
            })
            .await
    }
}
