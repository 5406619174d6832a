//! Accounts and transfers in SQLite.

use async_trait::async_trait;
use futures::TryStreamExt;

use super::SqliteStore;
use super::error::{OrStoreError, StoreError};
use super::request::Wanted;
use super::rows::{self, id_bytes, integer};
use crate::error::{Error, Result};
use crate::id::{AccountId, TransferId};
use crate::ledger::{
    Account, AccountBalance, AccountFilter, Applied, BalanceEntry, Head, JournalEntry, LedgerError,
    LedgerStore, MAX_BATCH, Place, Posted, Transfer, TransferFilter, TrialBalance, Verified,
};
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
    ) -> Result<Vec<Result<Applied, LedgerError>>> {
        check_batch(transfers.len(), MAX_BATCH)?;
        let wanted = Wanted::transfers(&transfers, now);
        let apply = move |set: &mut WorkingSet| {
            let each = transfers.iter();
            each.map(|one| {
                let new = set.book.transfer(one.id).is_none();
                Ok(Applied { posted: set.book.apply(one, now)?.clone(), new })
            })
            .collect()
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

    async fn accounts(
        &self,
        _filter: &AccountFilter,
        after: Option<&AccountId>,
        limit: usize,
    ) -> Result<Vec<Account>> {
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

    async fn expire_holds(&self, _now: Timestamp, _limit: usize) -> Result<Vec<Posted>> {
        Ok(Vec::new())
    }

    async fn transfers(
        &self,
        _filter: &TransferFilter,
        _after: Option<Place>,
        _limit: usize,
    ) -> Result<Vec<JournalEntry>> {
        Err(not_yet())
    }

    async fn balances(
        &self,
        _account: &AccountId,
        _after: Option<Place>,
        _limit: usize,
    ) -> Result<Vec<BalanceEntry>> {
        Err(not_yet())
    }

    async fn balance_at(
        &self,
        _account: &AccountId,
        _at: Timestamp,
    ) -> Result<Option<AccountBalance>> {
        Err(not_yet())
    }

    async fn verify(&self, _anchors: &[Head]) -> Result<Verified> {
        Err(not_yet())
    }
}

fn not_yet() -> Error {
    Error::new(crate::ErrorKind::Internal, "not built yet")
}
