//! The fog's accounts and transfers, with the conveniences of a client.

use std::sync::Arc;

use super::{Shared, tasks::no_answer};
use crate::amount::Amount;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::id::{AccountId, TransferId};
use crate::ledger::economy::EconomyError;
use crate::ledger::export::{Export, Format};
use crate::ledger::{
    Account, AccountBalance, AccountFilter, Applied, BalanceEntry, Head, JournalEntry, LedgerError,
    Place, Posted, Transfer, TransferFilter, TransferKind, TrialBalance, Verified,
};
use crate::time::Timestamp;

pub use crate::ledger::economy::accounts::MINT;

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
    /// Conflict if it exists on other terms, InvalidInput for a name of the fog's own, which begins
    /// with `fog:`.
    pub async fn open_account(&self, account: Account) -> Result<Account> {
        if account.id.is_reserved() {
            return Err(EconomyError::Reserved(account.id).into());
        }
        self.open_any(account).await
    }

    /// As [`Self::open_account`], also for the fog's own.
    pub(super) async fn open_any(&self, account: Account) -> Result<Account> {
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
    /// Under an id of your own, it is [`Economy::mint`](super::Economy::mint).
    ///
    /// # Errors
    /// Exhausted beyond the maximum supply; what the store says.
    pub async fn mint(&self, account: &AccountId, amount: Amount) -> Result<Posted> {
        let economy = super::Economy::new(self.shared.clone());
        economy.mint(self.new_id(), account, amount).await
    }

    /// Applies one transfer; see [`Ledger::transfer_all`].
    ///
    /// # Errors
    /// As an inner one there.
    pub async fn transfer(&self, transfer: Transfer) -> Result<Posted> {
        let mut answers = self.transfer_all(vec![transfer]).await?;
        let applied = answers.pop().unwrap_or_else(|| Err(no_answer()))?;
        Ok(applied.posted)
    }

    /// Applies up to 8,190 transfers in order, in one durable step, and answers each
    /// ([`Book::apply_batch`](crate::ledger::Book::apply_batch)). What is there already, as it is
    /// asked for, is answered as it is now.
    ///
    /// # Errors
    /// The outer error is the store's. An inner one is that transfer's
    /// [`LedgerError`]; or Denied if it is one that only the fog makes:
    /// of a task, of its own accounts, or with an id of its own. A client who could end a task's
    /// hold would leave its worker unpaid. What is denied is denied again, and fails its chain.
    pub async fn transfer_all(&self, transfers: Vec<Transfer>) -> Result<Vec<Result<Applied>>> {
        let (allowed, denied) = sort_out(transfers);
        let mut answers = if allowed.is_empty() {
            Vec::new().into_iter()
        } else {
            self.apply(allowed).await?.into_iter()
        };
        let mut all = Vec::with_capacity(denied.len());
        for denied in denied {
            all.push(match denied {
                Some(error) => Err(error),
                None => match answers.next() {
                    Some(answer) => answer.map_err(Error::from),
                    None => Err(no_answer()),
                },
            });
        }
        Ok(all)
    }

    /// Applies a batch of the fog's own, or one that was looked through.
    pub(super) async fn apply(
        &self,
        transfers: Vec<Transfer>,
    ) -> Result<Vec<Result<Applied, LedgerError>>> {
        let now = self.shared.clock.now();
        let answers = self.shared.stores.ledger.transfer(transfers, now).await?;
        for applied in answers.iter().flatten().filter(|applied| applied.new) {
            let transfer = applied.posted.transfer.id;
            self.shared.events.publish(Event::TransferPosted { transfer });
        }
        Ok(answers)
    }

    /// All accounts, in pages behind the curtain.
    pub(super) async fn all_accounts(&self) -> Result<Vec<Account>> {
        const PAGE: usize = 1_000;
        let (filter, mut all) = (AccountFilter::default(), Vec::new());
        loop {
            let after = all.last().map(|last: &Account| last.id.clone());
            let page = self.accounts(&filter, after.as_ref(), PAGE).await?;
            let more = page.len() == PAGE;
            all.extend(page);
            if !more {
                return Ok(all);
            }
        }
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
    pub async fn accounts(
        &self,
        filter: &AccountFilter,
        after: Option<&AccountId>,
        limit: usize,
    ) -> Result<Vec<Account>> {
        self.shared.stores.ledger.accounts(filter, after, limit).await
    }

    /// The journal in its order, beginning after `after`; at most `limit` (1–1,000).
    ///
    /// # Errors
    /// InvalidInput for a `limit` out of range.
    pub async fn transfers(
        &self,
        filter: &TransferFilter,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Vec<JournalEntry>> {
        self.shared.stores.ledger.transfers(filter, after, limit).await
    }

    /// What an account [with history](Account::with_history) had after each transfer, beginning
    /// after `after`; at most `limit` (1–1,000).
    ///
    /// # Errors
    /// InvalidInput for a `limit` out of range.
    pub async fn balances(
        &self,
        account: &AccountId,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Vec<BalanceEntry>> {
        self.shared.stores.ledger.balances(account, after, limit).await
    }

    /// What an account [with history](Account::with_history) had at that time; none if it had
    /// nothing yet.
    ///
    /// # Errors
    /// What the store says.
    pub async fn balance_at(
        &self,
        account: &AccountId,
        at: Timestamp,
    ) -> Result<Option<AccountBalance>> {
        self.shared.stores.ledger.balance_at(account, at).await
    }

    /// Proves that the books are as they were written, and that they hold `anchors`, which are
    /// heads of an earlier proof that were kept elsewhere
    /// ([`LedgerStore::verify`](crate::ledger::LedgerStore::verify)). Reads the whole ledger.
    ///
    /// # Errors
    /// Internal, with a [`Fault`](crate::ledger::Fault) that says what differs first.
    pub async fn verify(&self, anchors: &[Head]) -> Result<Verified> {
        self.shared.stores.ledger.verify(anchors).await
    }

    /// Writes the whole journal to `out`, for hledger or beancount
    /// ([`ledger::export`](crate::ledger::export)). It ends with the balances of all accounts.
    ///
    /// # Errors
    /// Unavailable if `out` cannot be written, or if the ledger is so busy that no moment is found
    /// at which the balances belong to what was written: then a copy of it has to be exported.
    pub async fn export(
        &self,
        format: Format,
        out: &mut (dyn std::io::Write + Send),
    ) -> Result<()> {
        const PAGE: usize = 1_000;
        const LOOKS: usize = 16;
        let unwritten = |error| Error::new(ErrorKind::Unavailable, error);
        let (mut export, mut after) = (Export::new(format), None);
        let mut accounts = self.all_accounts().await?;
        out.write_all(export.open(&accounts).as_bytes()).map_err(unwritten)?;
        let mut looks = 0;
        loop {
            let page = self.transfers(&TransferFilter::default(), after, PAGE).await?;
            for entry in &page {
                for unknown in export.unknown(entry) {
                    let opened = self.account(&unknown).await?;
                    out.write_all(export.open(&opened).as_bytes()).map_err(unwritten)?;
                }
                out.write_all(export.entry(entry)?.as_bytes()).map_err(unwritten)?;
            }
            after = page.last().map(|last| last.place).or(after);
            // Other processes may have done something that the journal does not tell yet.
            if page.is_empty() && looks > 0 && export.agrees_with(&accounts) {
                return out.write_all(export.close(&accounts).as_bytes()).map_err(unwritten);
            }
            if page.len() < PAGE {
                if looks == LOOKS {
                    let busy = "the ledger changes faster than it can be read";
                    return Err(Error::new(ErrorKind::Unavailable, busy));
                }
                looks += 1;
                accounts = self.all_accounts().await?;
            }
        }
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

/// Takes out what only the fog may do, with the chains that it stands in: what may go on, and for
/// each transfer the answer if it may not.
fn sort_out(transfers: Vec<Transfer>) -> (Vec<Transfer>, Vec<Option<Error>>) {
    let mut denied: Vec<_> = transfers.iter().map(|one| check_own(one).err()).collect();
    let mut start = 0;
    for chain in transfers.split_inclusive(|transfer| !transfer.flags.linked) {
        let answers = &mut denied[start..start + chain.len()];
        if answers.iter().any(Option::is_some) {
            // An open chain would fail anyway, and fails for this reason first.
            for (transfer, answer) in chain.iter().zip(answers) {
                let failed = || LedgerError::LinkedEventFailed(transfer.id).into();
                answer.get_or_insert_with(failed);
            }
        }
        start += chain.len();
    }
    let mut is_denied = denied.iter().map(Option::is_some);
    let mut allowed = transfers;
    allowed.retain(|_| !is_denied.next().unwrap_or_default());
    (allowed, denied)
}

/// Refuses what would meddle with the fog's own money: that of tasks, and of the economy.
fn check_own(transfer: &Transfer) -> Result<()> {
    let ids = [Some(transfer.id), transfer.ends_hold()];
    let reserved = transfer.accounts().is_some_and(|named| named.iter().any(|a| a.is_reserved()));
    if ids.into_iter().flatten().any(TransferId::is_own)
        || !transfer.purpose.is_for_clients()
        || matches!(transfer.kind, TransferKind::Expire { .. })
        || reserved
    {
        let refused = format!("the transfer {} is one that only the fog makes", transfer.id);
        return Err(Error::new(ErrorKind::Denied, refused));
    }
    Ok(())
}
