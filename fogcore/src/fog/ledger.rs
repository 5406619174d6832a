//! The fog's accounts and transfers, with the conveniences of a client.

use std::sync::Arc;

use super::{Shared, tasks::no_answer};
use crate::amount::Amount;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::id::{AccountId, TransferId};
use crate::ledger::{Account, Posted, Purpose, Transfer, TransferKind, TrialBalance};
use crate::scheduler::settlement;

/// The account that new supply comes from; what it owes is what is in circulation.
pub const MINT: &str = "fog:mint";

/// A handle on a fog's ledger.
#[derive(Clone, Debug)]
pub struct Ledger {
    shared: Arc<Shared>,
}

impl Ledger {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Opens an account; again on the same terms, it is returned as it is.
    ///
    /// # Errors
    /// Conflict if it exists on other terms.
    pub async fn open_account(&self, account: Account) -> Result<Account> {
        // Most openings are repeated (a node registers anew), and a look is cheaper than a write.
        let existing = self.account(&account.id).await?;
        if let Some(existing) = existing.filter(|there| there.differs_from(&account).is_none()) {
            return Ok(existing);
        }
        let now = self.shared.clock.now();
        let mut answers = self.shared.stores.ledger.open_accounts(vec![account], now).await?;
        answers.pop().unwrap_or_else(|| Err(no_answer()))
    }

    /// An id for a transfer to be made.
    #[must_use]
    pub fn new_id(&self) -> TransferId {
        self.shared.ids.transfer(self.shared.clock.now())
    }

    /// Gives `account` new supply of the settlement asset; opens it, unable to owe, if need be.
    ///
    /// # Errors
    /// Exhausted if a counter would overflow; what the store says.
    pub async fn mint(&self, account: &AccountId, amount: Amount) -> Result<Posted> {
        let asset = &self.shared.config.asset;
        let mint: AccountId = MINT.parse()?;
        if self.account(account).await?.is_none() {
            let holder = Account::new(account.clone(), asset.clone());
            self.open_account(holder.limited_to_credits()).await?;
        }
        self.transfer(Transfer::direct(self.new_id(), &mint, account, amount, Purpose::Mint)).await
    }

    /// Applies one transfer; see [`Ledger::transfer_all`].
    ///
    /// # Errors
    /// As there.
    pub async fn transfer(&self, transfer: Transfer) -> Result<Posted> {
        let mut answers = self.transfer_all(vec![transfer]).await?;
        answers.pop().unwrap_or_else(|| Err(no_answer()))
    }

    /// Applies up to 8,190 transfers in order, in one durable step, and answers each.
    ///
    /// # Errors
    /// The outer error is the store's, or Denied for transfers that only tasks make, and accounts
    /// of the fog's own: a client who could end a task's hold would leave its worker unpaid. An inner one is that transfer's
    /// [`LedgerError`](crate::ledger::LedgerError).
    pub async fn transfer_all(&self, transfers: Vec<Transfer>) -> Result<Vec<Result<Posted>>> {
        transfers.iter().try_for_each(check_own)?;
        let answers =
            self.shared.stores.ledger.transfer(transfers, self.shared.clock.now()).await?;
        for posted in answers.iter().flatten() {
            self.shared.events.publish(Event::TransferPosted { transfer: posted.transfer.id });
        }
        Ok(answers)
    }

    /// An account as it is now.
    ///
    /// # Errors
    /// What the store says.
    pub async fn account(&self, account: &AccountId) -> Result<Option<Account>> {
        self.shared.stores.ledger.account(account).await
    }

    /// The accounts by id, beginning after `after`; at most `limit` (1–1,000).
    ///
    /// # Errors
    /// InvalidInput for a `limit` out of range.
    pub async fn accounts(&self, after: Option<&AccountId>, limit: usize) -> Result<Vec<Account>> {
        self.shared.stores.ledger.accounts(after, limit).await
    }

    /// A transfer that was applied.
    ///
    /// # Errors
    /// What the store says.
    pub async fn posted(&self, transfer: TransferId) -> Result<Option<Posted>> {
        self.shared.stores.ledger.posted(transfer).await
    }

    /// The sums over all accounts.
    ///
    /// # Errors
    /// What the store says.
    pub async fn trial_balance(&self) -> Result<TrialBalance> {
        self.shared.stores.ledger.trial_balance().await
    }
}

/// Refuses what would meddle with the money of tasks.
fn check_own(transfer: &Transfer) -> Result<()> {
    let ids = [Some(transfer.id), transfer.ends_hold()];
    let reserved = transfer.accounts().is_some_and(|named| named.iter().any(|a| a.is_reserved()));
    if ids.into_iter().flatten().any(settlement::is_own)
        || transfer.purpose.is_of_task()
        || matches!(transfer.kind, TransferKind::Expire { .. })
        || reserved && transfer.purpose != Purpose::Mint
    {
        let refused = format!("the transfer {} is one that only the fog makes", transfer.id);
        return Err(Error::new(ErrorKind::Denied, refused));
    }
    Ok(())
}
