//! Accounts and transfers in SQLite.

use async_trait::async_trait;
use futures::TryStreamExt;

use super::SqliteStore;
use super::error::{OrStoreError, StoreError};
use super::rows::{self, id_bytes, integer};
use super::working_set::{Loaded, Money};
use crate::error::{Error, Result};
use crate::id::{AccountId, TransferId};
use crate::ledger::{Account, LedgerStore, MAX_BATCH, Posted, Transfer, TrialBalance};
use crate::registry::page_limit;
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
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    let mut money = Money::default();
                    money.accounts.extend(accounts.iter().map(|account| account.id.clone()));
                    let mut loaded = Loaded::default();
                    loaded.money(connection, money).await?;
                    let book = &mut loaded.set.book;
                    let answers =
                        accounts.into_iter().map(|a| Ok(book.open(a, now)?.clone())).collect();
                    loaded.save(connection, now).await?;
                    Ok(answers)
                })
            })
            .await
    }

    async fn transfer(
        &self,
        transfers: Vec<Transfer>,
        now: Timestamp,
    ) -> Result<Vec<Result<Posted>>> {
        check_batch(transfers.len(), MAX_BATCH)?;
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    let mut money = Money::default();
                    for transfer in &transfers {
                        money.transfers.push(transfer.id);
                        money.transfers.extend(transfer.ends_hold());
                        money.accounts.extend(transfer.accounts().into_iter().flatten().cloned());
                    }
                    let mut loaded = Loaded::default();
                    loaded.money(connection, money).await?;
                    let book = &mut loaded.set.book;
                    let answers =
                        transfers.iter().map(|t| Ok(book.apply(t, now)?.clone())).collect();
                    loaded.save(connection, now).await?;
                    Ok(answers)
                })
            })
            .await
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
        let rows = sqlx::query("SELECT * FROM accounts WHERE id > ? ORDER BY id LIMIT ?")
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
