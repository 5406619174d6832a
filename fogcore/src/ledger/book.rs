//! The rules of the ledger, without I/O: a set of accounts and transfers, and what may change.
//!
//! `decide` says what a transfer does or why it may not, in one look that changes nothing; `commit`
//! does it, and remembers how to take it back while a chain is not complete; `batch` is what
//! clients send: chains, and ids that stay failed; `expiry` ends holds whose time is over.

mod batch;
mod commit;
mod decide;
mod expiry;

use std::collections::hash_map::{Entry, HashMap};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Bound;

use self::commit::Undo;
use self::expiry::Due;
use super::{
    Account, AccountBalance, HoldState, LedgerError, Posted, ResultCode, Row, Transfer,
    TrialBalance,
};
use crate::id::{AccountId, TransferId};
use crate::time::Timestamp;

/// Accounts and transfers in memory: all of them (the memory store), or those that one batch
/// touches (the other stores, which put them in before they apply it).
///
/// What a batch touches: the accounts that its transfers name; the transfers that are there under
/// their ids ([`Book::load_transfer`]); the ids that failed ([`Book::load_failed`]); and the holds
/// that they end, with the accounts of those.
///
/// There are two ways in. [`Book::apply_batch`] is for what clients send: it keeps chains
/// together, and an id that fails for a reason that may go away stays failed. [`Book::apply`] and
/// [`Book::apply_chain`] are for changes that are part of a larger one (a task is submitted, a
/// worker is paid): if they are refused, the larger change does not happen, and may be tried again
/// under the same ids.
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// Where the accounts are; and the same in their order, which takes longer to search.
    index: HashMap<AccountId, usize>,
    order: BTreeMap<AccountId, usize>,
    slots: Vec<Slot>,
    transfers: HashMap<TransferId, Posted>,
    failed: HashMap<TransferId, ResultCode>,
    /// The pending holds that have a timeout.
    due: BTreeSet<Due>,
    changes: Changed,
    undo: Option<Undo>,
}

/// An account, and whether it changed since the changes were last taken.
#[derive(Clone, Debug)]
struct Slot {
    account: Account,
    touched: bool,
}

/// What changed, in the order in which it did.
#[derive(Clone, Debug, Default)]
struct Changed {
    opened: Vec<Account>,
    accounts: Vec<usize>,
    transfers: Vec<TransferId>,
    ended_holds: Vec<TransferId>,
    failed: Vec<FailedTransfer>,
    history: Vec<AccountBalance>,
}

/// What changed in a [`Book`] since the changes were last taken, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BookChanges {
    /// Accounts that were opened, as they were then, in order.
    pub opened: Vec<Account>,
    /// Accounts that were opened, or whose counters changed or that were closed or opened again,
    /// in the order in which they first did.
    pub accounts: Vec<AccountId>,
    /// Transfers that were added, in the order in which they were applied.
    pub journal: Vec<TransferId>,
    /// Holds that were ended and had been there before, in order.
    pub ended_holds: Vec<TransferId>,
    /// Ids that failed and stay so, in order.
    pub failed: Vec<FailedTransfer>,
    /// What accounts with history had after each transfer, in order.
    pub history: Vec<AccountBalance>,
}

/// An id of a batch that failed, and stays failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedTransfer {
    /// The id.
    pub id: TransferId,
    /// Why; one of those that are [sticky](ResultCode::is_sticky).
    pub code: ResultCode,
    /// When.
    pub at: Timestamp,
}

impl FailedTransfer {
    /// As a row of the chain.
    #[must_use]
    pub const fn row(self) -> Row<'static> {
        Row::Failed { id: self.id, code: self.code, at: self.at }
    }
}

impl Book {
    /// Puts in an account as it is stored.
    pub fn load_account(&mut self, account: Account) {
        match self.index.get(&account.id) {
            Some(slot) => self.slots[*slot].account = account,
            None => {
                self.index.insert(account.id.clone(), self.slots.len());
                self.order.insert(account.id.clone(), self.slots.len());
                self.slots.push(Slot { account, touched: false });
            }
        }
    }

    /// Puts in a transfer as it is stored.
    pub fn load_transfer(&mut self, posted: Posted) {
        if let Some(due) = Due::of(&posted) {
            if posted.hold == Some(HoldState::Pending) {
                self.due.insert(due);
            } else {
                self.due.remove(&due);
            }
        }
        self.transfers.insert(posted.transfer.id, posted);
    }

    /// Puts in an id that failed, as it is stored.
    pub fn load_failed(&mut self, id: TransferId, code: ResultCode) {
        self.failed.insert(id, code);
    }

    /// The account, if the book holds it.
    #[must_use]
    pub fn account(&self, id: &AccountId) -> Option<&Account> {
        self.index.get(id).map(|slot| &self.slots[*slot].account)
    }

    /// The transfer, if the book holds it.
    #[must_use]
    pub fn transfer(&self, id: TransferId) -> Option<&Posted> {
        self.transfers.get(&id)
    }

    /// The accounts between which the transfer moves, to debit and to credit: those that it names,
    /// or those of the hold that it ends, if the book holds that.
    #[must_use]
    pub fn sides<'b>(&'b self, posted: &'b Posted) -> Option<[&'b AccountId; 2]> {
        let transfer = &posted.transfer;
        transfer.accounts().or_else(|| self.transfer(transfer.ends_hold()?)?.transfer.accounts())
    }

    /// Why this id stays failed, if it does and the book knows.
    #[must_use]
    pub fn failed(&self, id: TransferId) -> Option<ResultCode> {
        self.failed.get(&id).copied()
    }

    /// The accounts by id, beginning after `after`.
    pub fn accounts(&self, after: Option<&AccountId>) -> impl Iterator<Item = &Account> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let later = self.order.range::<AccountId, _>((start, Bound::Unbounded));
        later.map(|(_, slot)| &self.slots[*slot].account)
    }

    /// Forgets the transfers and the ids that failed; accounts stay. Whoever goes on with this book
    /// has to put in again what a call touches.
    pub fn forget_transfers(&mut self) {
        (self.transfers, self.failed) = (HashMap::new(), HashMap::new());
        self.due.clear();
    }

    /// Takes the list of what changed since it was last taken.
    pub fn take_changes(&mut self) -> BookChanges {
        let changed = std::mem::take(&mut self.changes);
        let mut accounts = Vec::with_capacity(changed.accounts.len());
        for slot in changed.accounts {
            let slot = &mut self.slots[slot];
            slot.touched = false;
            accounts.push(slot.account.id.clone());
        }
        let mut ended_holds = changed.ended_holds;
        if !ended_holds.is_empty() {
            let new: HashSet<_> = changed.transfers.iter().collect();
            ended_holds.retain(|hold| !new.contains(hold));
        }
        BookChanges {
            opened: changed.opened,
            accounts,
            journal: changed.transfers,
            ended_holds,
            failed: changed.failed,
            history: changed.history,
        }
    }

    /// Opens an account; again on the same terms, it is returned as it is now.
    ///
    /// # Errors
    /// [`LedgerError::AccountExistsWithDifferent`] on other terms, [`LedgerError::LimitsExclusive`]
    /// with both limits.
    pub fn open(&mut self, account: Account, now: Timestamp) -> Result<&Account, LedgerError> {
        let slot = match self.index.entry(account.id.clone()) {
            Entry::Occupied(existing) => {
                let slot = *existing.get();
                if let Some(field) = self.slots[slot].account.differs_from(&account) {
                    let account = account.id;
                    return Err(LedgerError::AccountExistsWithDifferent { account, field });
                }
                slot
            }
            Entry::Vacant(place) => {
                let account = account.opened(now)?;
                let slot = *place.insert(self.slots.len());
                self.order.insert(account.id.clone(), slot);
                self.changes.opened.push(account.clone());
                self.slots.push(Slot { account, touched: true });
                self.changes.accounts.push(slot);
                slot
            }
        };
        Ok(&self.slots[slot].account)
    }

    /// Applies a transfer, all of it or nothing. One that is there already, with the same
    /// content, is returned as it is now. If it is refused, it may be tried again.
    ///
    /// # Errors
    /// [`LedgerError`] says which rule refused it.
    pub fn apply(&mut self, transfer: &Transfer, now: Timestamp) -> Result<&Posted, LedgerError> {
        if transfer.flags.linked {
            return Err(LedgerError::LinkedEventChainOpen(transfer.id));
        }
        self.place(transfer, now)?;
        Ok(&self.transfers[&transfer.id])
    }

    /// Applies a chain of transfers: all of them or none. Those that are there already, with the
    /// same content, count as applied. If it is refused, it may be tried again.
    ///
    /// # Errors
    /// The first refusal; the book is then as it was.
    pub fn apply_chain(
        &mut self,
        transfers: &[Transfer],
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        self.begin();
        let placed = transfers.iter().try_for_each(|one| self.place(one, now).map(|_| ()));
        if placed.is_ok() {
            self.keep();
        } else {
            self.roll_back();
        }
        placed
    }

    /// The sums over all accounts in the book.
    #[must_use]
    pub fn trial_balance(&self) -> TrialBalance {
        let mut balance = TrialBalance::default();
        self.slots.iter().for_each(|slot| balance.add(&slot.account));
        balance
    }

    /// Applies the transfer, unless it is there; says whether it did.
    fn place(&mut self, transfer: &Transfer, now: Timestamp) -> Result<bool, LedgerError> {
        if self.is_there(transfer)? {
            return Ok(false);
        }
        let effect = self.decide(transfer, now)?;
        self.commit(transfer, effect);
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
