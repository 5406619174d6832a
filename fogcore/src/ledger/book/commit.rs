//! Does what was decided, and takes it back if the rest of a chain is refused.

use super::decide::{Change, Effect};
use super::expiry::Due;
use super::{Book, FailedTransfer, Slot};
use crate::amount::Amount;
use crate::id::TransferId;
use crate::ledger::{AccountBalance, HoldState, LedgerError, Posted, Transfer, TransferFlags};
use crate::time::Timestamp;

/// How a chain that is not complete is taken back: what was before, in the order in which it
/// changed, and how long the lists of changes were.
#[derive(Clone, Debug)]
pub(super) struct Undo {
    steps: Vec<Step>,
    accounts: usize,
    transfers: usize,
    ended_holds: usize,
    history: usize,
}

#[derive(Clone, Debug)]
enum Step {
    /// An account's counters, and whether it was closed.
    Account(usize, [Amount; 4], bool),
    /// A hold that was pending.
    Hold(TransferId),
    /// A transfer that was not there.
    Transfer(TransferId),
}

impl Book {
    /// From here on, changes can be taken back.
    pub(super) fn begin(&mut self) {
        self.undo = Some(Undo {
            steps: Vec::new(),
            accounts: self.changes.accounts.len(),
            transfers: self.changes.transfers.len(),
            ended_holds: self.changes.ended_holds.len(),
            history: self.changes.history.len(),
        });
    }

    /// What changed since the beginning stays.
    pub(super) fn keep(&mut self) {
        self.undo = None;
    }

    /// Takes back what changed since the beginning.
    pub(super) fn roll_back(&mut self) {
        let Some(undo) = self.undo.take() else { return };
        for step in undo.steps.into_iter().rev() {
            match step {
                Step::Account(slot, counters, closed) => {
                    let account = &mut self.slots[slot].account;
                    [
                        account.debits_pending,
                        account.debits_posted,
                        account.credits_pending,
                        account.credits_posted,
                    ] = counters;
                    account.closed = closed;
                }
                Step::Hold(hold) => self.set_hold(hold, HoldState::Pending),
                Step::Transfer(id) => {
                    if let Some(due) = self.transfers.remove(&id).as_ref().and_then(Due::of) {
                        self.due.remove(&due);
                    }
                }
            }
        }
        for slot in self.changes.accounts.drain(undo.accounts..) {
            self.slots[slot].touched = false;
        }
        self.changes.transfers.truncate(undo.transfers);
        self.changes.ended_holds.truncate(undo.ended_holds);
        self.changes.history.truncate(undo.history);
    }

    /// Does what was decided.
    pub(super) fn commit(&mut self, transfer: &Transfer, effect: Effect) {
        let Effect { sides, amount, counters, at, change } = effect;
        sides.into_iter().for_each(|slot| self.touch(slot));
        let [debit, credit] = sides;
        let [debits, credits] = counters;
        let account = &mut self.slots[debit].account;
        (account.debits_pending, account.debits_posted) = (debits.pending, debits.posted);
        let account = &mut self.slots[credit].account;
        (account.credits_pending, account.credits_posted) = (credits.pending, credits.posted);
        let mut own_state = None;
        match change {
            Change::Move => {}
            Change::Reserve { expires_at } => {
                own_state = Some(HoldState::Pending);
                self.close(sides, transfer.flags, true);
                if let Some(expires_at) = expires_at {
                    self.due.insert(Due { expires_at, at, hold: transfer.id });
                }
            }
            Change::End { hold, state } => {
                // What closed cannot be posted, so whatever ends it takes that back.
                let flags = self.transfers.get(&hold).map(|posted| posted.transfer.flags);
                self.close(sides, flags.unwrap_or_default(), false);
                self.set_hold(hold, state);
                self.note(Step::Hold(hold));
                self.changes.ended_holds.push(hold);
            }
        }
        for slot in sides {
            let account = &self.slots[slot].account;
            if account.history {
                self.changes.history.push(AccountBalance::of(account, transfer.id, at));
            }
        }
        let posted = Posted { transfer: transfer.moving(amount), at, hold: own_state };
        self.transfers.insert(transfer.id, posted);
        self.note(Step::Transfer(transfer.id));
        self.changes.transfers.push(transfer.id);
    }

    fn close(&mut self, [debit, credit]: [usize; 2], flags: TransferFlags, closed: bool) {
        for (closes, slot) in [(flags.closing_debit, debit), (flags.closing_credit, credit)] {
            if closes {
                self.slots[slot].account.closed = closed;
            }
        }
    }

    /// Remembers that an id of a batch failed, if that is to last.
    pub(super) fn remember(&mut self, id: TransferId, error: &LedgerError, at: Timestamp) {
        let code = error.code();
        if code.is_sticky() && self.failed.insert(id, code).is_none() {
            self.changes.failed.push(FailedTransfer { id, code, at });
        }
    }

    /// Before an account changes.
    fn touch(&mut self, slot: usize) {
        let Slot { account, touched } = &mut self.slots[slot];
        let counters = [
            account.debits_pending,
            account.debits_posted,
            account.credits_pending,
            account.credits_posted,
        ];
        let closed = account.closed;
        if !std::mem::replace(touched, true) {
            self.changes.accounts.push(slot);
        }
        self.note(Step::Account(slot, counters, closed));
    }

    fn note(&mut self, step: Step) {
        if let Some(undo) = &mut self.undo {
            undo.steps.push(step);
        }
    }

    fn set_hold(&mut self, hold: TransferId, state: HoldState) {
        let Some(posted) = self.transfers.get_mut(&hold) else { return };
        posted.hold = Some(state);
        if let Some(due) = Due::of(posted) {
            if state == HoldState::Pending {
                self.due.insert(due);
            } else {
                self.due.remove(&due);
            }
        }
    }
}
