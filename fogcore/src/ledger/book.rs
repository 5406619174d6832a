//! The rules of the ledger, without I/O: a set of accounts and transfers, and what may change.

use std::collections::HashMap;
use std::collections::btree_map::{BTreeMap, Entry};
use std::ops::Bound;

use super::{Account, HoldState, LedgerError, Posted, Transfer, TransferKind, TrialBalance};
use crate::amount::{Amount, AmountError};
use crate::id::{AccountId, TransferId};
use crate::time::Timestamp;

/// Accounts and transfers in memory: all of them (the memory store), or those that one batch
/// touches (the other stores, which put them in with [`Book::load_account`] and
/// [`Book::load_transfer`] before they apply it).
#[derive(Clone, Debug, Default)]
pub struct Book {
    accounts: BTreeMap<AccountId, Account>,
    transfers: HashMap<TransferId, Posted>,
    changes: BookChanges,
}

/// What changed in a [`Book`] since the changes were last taken, each once, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BookChanges {
    /// Accounts that were opened or whose counters changed.
    pub accounts: Vec<AccountId>,
    /// Transfers that were added.
    pub transfers: Vec<TransferId>,
    /// Holds that were ended and had been there before.
    pub ended_holds: Vec<TransferId>,
}

impl Book {
    /// Puts in an account as it is stored.
    pub fn load_account(&mut self, account: Account) {
        self.accounts.insert(account.id.clone(), account);
    }

    /// Puts in a transfer as it is stored.
    pub fn load_transfer(&mut self, posted: Posted) {
        self.transfers.insert(posted.transfer.id, posted);
    }

    /// The account, if the book holds it.
    #[must_use]
    pub fn account(&self, id: &AccountId) -> Option<&Account> {
        self.accounts.get(id)
    }

    /// The transfer, if the book holds it.
    #[must_use]
    pub fn transfer(&self, id: TransferId) -> Option<&Posted> {
        self.transfers.get(&id)
    }

    /// The accounts by id, beginning after `after`.
    pub fn accounts(&self, after: Option<&AccountId>) -> impl Iterator<Item = &Account> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.accounts.range::<AccountId, _>((start, Bound::Unbounded)).map(|(_, account)| account)
    }

    /// Takes the list of what changed since it was last taken.
    pub fn take_changes(&mut self) -> BookChanges {
        let mut changes = std::mem::take(&mut self.changes);
        changes.accounts.sort_unstable();
        changes.accounts.dedup();
        changes.transfers.sort_unstable();
        changes.transfers.dedup();
        changes.ended_holds.sort_unstable();
        let added = &changes.transfers;
        changes.ended_holds.retain(|hold| added.binary_search(hold).is_err());
        changes
    }

    /// Opens an account; again on the same terms, it is returned as it is now.
    ///
    /// # Errors
    /// [`LedgerError::AccountExistsWithDifferent`] on other terms.
    pub fn open(&mut self, account: Account, now: Timestamp) -> Result<&Account, LedgerError> {
        let id = account.id.clone();
        match self.accounts.entry(id) {
            Entry::Occupied(existing) => match account.differs_from(existing.get()) {
                Some(field) => {
                    Err(LedgerError::AccountExistsWithDifferent { account: account.id, field })
                }
                None => Ok(existing.into_mut()),
            },
            Entry::Vacant(place) => {
                self.changes.accounts.push(account.id.clone());
                // Whatever counters the caller filled in: an account opens empty.
                let terms = Account::new(account.id, account.asset);
                Ok(place.insert(Account {
                    debits_must_not_exceed_credits: account.debits_must_not_exceed_credits,
                    credits_must_not_exceed_debits: account.credits_must_not_exceed_debits,
                    opened_at: now,
                    ..terms
                }))
            }
        }
    }

    /// Applies a transfer, all of it or nothing. One that is there already, with the same
    /// content, is returned as it is now.
    ///
    /// # Errors
    /// [`LedgerError`] says which rule refused it.
    pub fn apply(&mut self, transfer: &Transfer, now: Timestamp) -> Result<&Posted, LedgerError> {
        if let Some(existing) = self.transfers.get(&transfer.id) {
            if let Some(field) = transfer.differs_from(&existing.transfer) {
                return Err(LedgerError::ExistsWithDifferent { id: transfer.id, field });
            }
        } else {
            let (debit, credit, hold) = self.decide(transfer)?;
            for account in [debit, credit] {
                self.changes.accounts.push(account.id.clone());
                self.accounts.insert(account.id.clone(), account);
            }
            if let Some((ended, state)) = transfer.ends_hold().zip(hold)
                && let Some(posted) = self.transfers.get_mut(&ended)
            {
                posted.hold = Some(state);
                self.changes.ended_holds.push(ended);
            }
            let is_hold = matches!(transfer.kind, TransferKind::Hold { .. });
            let posted = Posted {
                transfer: transfer.clone(),
                at: now,
                hold: is_hold.then_some(HoldState::Pending),
            };
            self.changes.transfers.push(transfer.id);
            self.transfers.insert(transfer.id, posted);
        }
        Ok(&self.transfers[&transfer.id])
    }

    /// Applies a chain of transfers: all of them or none.
    ///
    /// # Errors
    /// The first refusal; the book is then as it was.
    pub fn apply_chain(
        &mut self,
        transfers: &[Transfer],
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let undo = self.remember(transfers);
        for transfer in transfers {
            if let Err(error) = self.apply(transfer, now) {
                self.restore(undo);
                return Err(error);
            }
        }
        Ok(())
    }

    /// The sums over all accounts in the book.
    ///
    /// # Errors
    /// [`AmountError::TooLarge`] if a sum passes 2^128 − 1 base units.
    pub fn trial_balance(&self) -> Result<TrialBalance, AmountError> {
        let mut balance = TrialBalance::default();
        self.accounts.values().try_for_each(|account| balance.add(account))?;
        Ok(balance)
    }

    /// The two accounts as the transfer leaves them, and the state of the hold it ends.
    fn decide(
        &self,
        transfer: &Transfer,
    ) -> Result<(Account, Account, Option<HoldState>), LedgerError> {
        match &transfer.kind {
            TransferKind::Direct { debit, credit, amount } => {
                let (mut debit, mut credit) = self.pair(debit, credit, *amount)?;
                admit(&debit, &credit, *amount)?;
                grow(&mut debit.debits_posted, *amount, &debit.id)?;
                grow(&mut credit.credits_posted, *amount, &credit.id)?;
                Ok((debit, credit, None))
            }
            TransferKind::Hold { debit, credit, amount } => {
                let (mut debit, mut credit) = self.pair(debit, credit, *amount)?;
                admit(&debit, &credit, *amount)?;
                grow(&mut debit.debits_pending, *amount, &debit.id)?;
                grow(&mut credit.credits_pending, *amount, &credit.id)?;
                Ok((debit, credit, None))
            }
            TransferKind::Post { hold, amount } => {
                let (mut debit, mut credit, held) = self.held(*hold)?;
                if *amount > held {
                    let (asset, amount) = (debit.asset, *amount);
                    return Err(LedgerError::ExceedsHold { asset, amount, held });
                }
                release(&mut debit, &mut credit, held)?;
                grow(&mut debit.debits_posted, *amount, &debit.id)?;
                grow(&mut credit.credits_posted, *amount, &credit.id)?;
                Ok((debit, credit, Some(HoldState::Posted)))
            }
            TransferKind::Void { hold } => {
                let (mut debit, mut credit, held) = self.held(*hold)?;
                release(&mut debit, &mut credit, held)?;
                Ok((debit, credit, Some(HoldState::Voided)))
            }
        }
    }

    fn pair(
        &self,
        debit: &AccountId,
        credit: &AccountId,
        amount: Amount,
    ) -> Result<(Account, Account), LedgerError> {
        if amount.is_zero() {
            return Err(LedgerError::AmountZero);
        }
        if debit == credit {
            return Err(LedgerError::SameAccount(debit.clone()));
        }
        let find = |id: &AccountId| {
            let account = self.accounts.get(id);
            account.cloned().ok_or_else(|| LedgerError::AccountNotFound(id.clone()))
        };
        let (debit, credit) = (find(debit)?, find(credit)?);
        if debit.asset != credit.asset {
            return Err(LedgerError::AssetsDiffer {
                debit_asset: debit.asset.code().to_owned(),
                credit_asset: credit.asset.code().to_owned(),
                debit: debit.id,
                credit: credit.id,
            });
        }
        Ok((debit, credit))
    }

    /// The accounts and the amount of a hold that is still pending.
    fn held(&self, hold: TransferId) -> Result<(Account, Account, Amount), LedgerError> {
        let posted = self.transfers.get(&hold).ok_or(LedgerError::HoldNotFound(hold))?;
        let TransferKind::Hold { debit, credit, amount } = &posted.transfer.kind else {
            return Err(LedgerError::NotAHold(hold));
        };
        match posted.hold {
            Some(HoldState::Posted) => Err(LedgerError::AlreadyPosted(hold)),
            Some(HoldState::Voided) => Err(LedgerError::AlreadyVoided(hold)),
            Some(HoldState::Pending) | None => {
                let (debit, credit) = self.pair(debit, credit, *amount)?;
                Ok((debit, credit, *amount))
            }
        }
    }

    fn remember(&self, transfers: &[Transfer]) -> Undo {
        let changes = [
            self.changes.accounts.len(),
            self.changes.transfers.len(),
            self.changes.ended_holds.len(),
        ];
        let mut undo = Undo { changes, ..Undo::default() };
        for transfer in transfers {
            undo.transfers.push((transfer.id, self.transfers.get(&transfer.id).cloned()));
            let mut named = transfer.accounts();
            if let Some(hold) = transfer.ends_hold() {
                let posted = self.transfers.get(&hold);
                undo.transfers.push((hold, posted.cloned()));
                named = posted.and_then(|posted| posted.transfer.accounts());
            }
            for id in named.into_iter().flatten() {
                undo.accounts.extend(self.accounts.get(id).cloned());
            }
        }
        undo
    }

    fn restore(&mut self, undo: Undo) {
        let [accounts, transfers, ended_holds] = undo.changes;
        self.changes.accounts.truncate(accounts);
        self.changes.transfers.truncate(transfers);
        self.changes.ended_holds.truncate(ended_holds);
        for account in undo.accounts {
            self.accounts.insert(account.id.clone(), account);
        }
        for (id, before) in undo.transfers {
            match before {
                Some(posted) => self.transfers.insert(id, posted),
                None => self.transfers.remove(&id),
            };
        }
    }
}

/// What a failed chain must put back.
#[derive(Default)]
struct Undo {
    accounts: Vec<Account>,
    transfers: Vec<(TransferId, Option<Posted>)>,
    changes: [usize; 3],
}

/// Checks the accounts' limits before `amount` goes from `debit` to `credit`.
fn admit(debit: &Account, credit: &Account, amount: Amount) -> Result<(), LedgerError> {
    if debit.debits_must_not_exceed_credits && amount > debit.available() {
        return Err(LedgerError::ExceedsCredits {
            account: debit.id.clone(),
            asset: debit.asset.clone(),
            amount,
            available: debit.available(),
        });
    }
    let owed = credit
        .debits_posted
        .checked_sub(credit.credits_posted)
        .and_then(|left| left.checked_sub(credit.credits_pending))
        .unwrap_or(Amount::ZERO);
    if credit.credits_must_not_exceed_debits && amount > owed {
        let (account, asset) = (credit.id.clone(), credit.asset.clone());
        return Err(LedgerError::ExceedsDebits { account, asset, amount });
    }
    Ok(())
}

fn grow(counter: &mut Amount, amount: Amount, account: &AccountId) -> Result<(), LedgerError> {
    *counter = counter.checked_add(amount).map_err(|_| LedgerError::Overflow(account.clone()))?;
    Ok(())
}

fn release(debit: &mut Account, credit: &mut Account, held: Amount) -> Result<(), LedgerError> {
    debit.debits_pending = debit.debits_pending.checked_sub(held)?;
    credit.credits_pending = credit.credits_pending.checked_sub(held)?;
    Ok(())
}

#[cfg(test)]
mod tests;
