//! The proof that counters, states of holds and histories follow from the journal.
//!
//! The [`Verifier`](super::Verifier) proves that the journal is what was written; this makes anew,
//! by the plain arithmetic of double entry, what the journal leads to, and compares. A store feeds
//! it with all openings and transfers in journal order, with the rows of history, each after its
//! account was opened, and at last with all accounts as they are now, or were at a place before that.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::{Account, AccountBalance, BalanceEntry, Fault, HoldState, Place, Posted, TransferKind};
use crate::amount::Amount;
use crate::id::{AccountId, TransferId};
use crate::time::Timestamp;

/// What follows from the journal so far.
#[derive(Debug, Default)]
pub struct Audit {
    index: HashMap<AccountId, usize>,
    lines: Vec<Line>,
    /// The holds that are pending.
    holds: HashMap<TransferId, Held>,
    /// Accounts that changed since the mark, if there is one, as they were then.
    marked: Option<HashMap<usize, Account>>,
}

#[derive(Debug)]
struct Line {
    /// As it should be.
    account: Account,
    /// Digests over the history as it should be, and over what was found of it.
    history: [blake3::Hash; 2],
    /// Whether it was found among the accounts that are there now.
    seen: bool,
}

#[derive(Debug)]
struct Held {
    sides: [usize; 2],
    amount: Amount,
    closes: [bool; 2],
    expires_at: Option<Timestamp>,
    stored: Option<HoldState>,
}

impl Audit {
    /// An account was opened.
    ///
    /// # Errors
    /// [`Fault::Account`] if it was before.
    pub fn opened(&mut self, account: &Account) -> Result<(), Fault> {
        match self.index.entry(account.id.clone()) {
            Entry::Occupied(_) => Err(Fault::Account(account.id.clone())),
            Entry::Vacant(place) => {
                place.insert(self.lines.len());
                let account = Account {
                    debits_pending: Amount::ZERO,
                    debits_posted: Amount::ZERO,
                    credits_pending: Amount::ZERO,
                    credits_posted: Amount::ZERO,
                    ..account.clone()
                };
                let history = [blake3::Hash::from_bytes([0; 32]); 2];
                self.lines.push(Line { account, history, seen: false });
                Ok(())
            }
        }
    }

    /// A transfer was made at `place`, between `sides` as the store has them.
    ///
    /// # Errors
    /// [`Fault::Journal`] if that cannot have been, [`Fault::Hold`] if the state of a hold that it
    /// ends is another one.
    pub fn posted(
        &mut self,
        place: Place,
        posted: &Posted,
        sides: [&AccountId; 2],
    ) -> Result<(), Fault> {
        let (transfer, id) = (&posted.transfer, posted.transfer.id);
        let wrong = |what| Fault::Journal { transfer: id, what };
        let find = |account: &AccountId| {
            self.index.get(account).copied().ok_or(wrong("names an account that is not there"))
        };
        let [debit, credit] = [find(sides[0])?, find(sides[1])?];
        match (&transfer.kind, transfer.ends_hold()) {
            (TransferKind::Direct { amount, .. }, _) => {
                self.change([debit, credit], Amount::ZERO, Amount::ZERO, *amount)
            }
            (TransferKind::Hold { amount, .. }, _) => {
                let flags = transfer.flags;
                let held = Held {
                    sides: [debit, credit],
                    amount: *amount,
                    closes: [flags.closing_debit, flags.closing_credit],
                    expires_at: posted.expires_at(),
                    stored: posted.hold,
                };
                self.close(&held, true);
                self.holds.insert(id, held);
                self.change([debit, credit], *amount, Amount::ZERO, Amount::ZERO)
            }
            (kind, Some(hold)) => {
                let pending = self.holds.remove(&hold);
                let held = pending.ok_or(wrong("ends a hold that is not pending"))?;
                if held.sides != [debit, credit] {
                    return Err(wrong("has other accounts than its hold"));
                }
                let state = match kind {
                    TransferKind::Post { .. } => HoldState::Posted,
                    TransferKind::Expire { .. } => HoldState::Expired,
                    _ => HoldState::Voided,
                };
                if held.stored != Some(state) {
                    return Err(Fault::Hold(hold));
                }
                let over = held.expires_at.is_some_and(|end| end <= posted.at);
                if over != (state == HoldState::Expired) {
                    return Err(wrong("ends a hold at a time at which it cannot"));
                }
                let moved = transfer.amount().unwrap_or(Amount::ZERO);
                if moved > held.amount {
                    return Err(wrong("posts more than its hold"));
                }
                self.close(&held, false);
                self.change([debit, credit], Amount::ZERO, held.amount, moved)
            }
            (_, None) => return Err(wrong("ends no hold")),
        }
        .ok_or(wrong("passes what a counter can hold"))?;
        for side in [debit, credit] {
            let line = &mut self.lines[side];
            if line.account.history {
                let balance = AccountBalance::of(&line.account, id, posted.at);
                line.history[0] = follow(line.history[0], place, &balance);
            }
        }
        Ok(())
    }

    /// The accounts that will be handed in are as they are after what was handed in so far.
    ///
    /// For stores that write counters later than transfers.
    pub fn mark(&mut self) {
        self.marked = Some(HashMap::new());
    }

    /// A row of history, in its account's order.
    ///
    /// # Errors
    /// [`Fault::History`] of an account that is not there.
    pub fn balance(&mut self, entry: &BalanceEntry) -> Result<(), Fault> {
        let account = &entry.balance.account;
        let slot = self.index.get(account).ok_or_else(|| Fault::History(account.clone()))?;
        let found = &mut self.lines[*slot].history[1];
        *found = follow(*found, entry.place, &entry.balance);
        Ok(())
    }

    /// An account as it is now, or was at the [mark](Self::mark).
    ///
    /// # Errors
    /// [`Fault::Account`] if it should be another, [`Fault::History`] if its history should.
    pub fn account(&mut self, account: &Account) -> Result<(), Fault> {
        let slot = self.index.get(&account.id).copied();
        let slot = slot.ok_or_else(|| Fault::Account(account.id.clone()))?;
        let line = &mut self.lines[slot];
        let marked = self.marked.as_ref().and_then(|marked| marked.get(&slot));
        if marked.unwrap_or(&line.account) != account || std::mem::replace(&mut line.seen, true) {
            return Err(Fault::Account(account.id.clone()));
        }
        if line.history[0] != line.history[1] {
            return Err(Fault::History(account.id.clone()));
        }
        Ok(())
    }

    /// That was all.
    ///
    /// # Errors
    /// [`Fault::Account`] of one that is missing, [`Fault::Hold`] of one that should be pending.
    pub fn finish(self) -> Result<(), Fault> {
        if let Some(line) = self.lines.into_iter().find(|line| !line.seen) {
            return Err(Fault::Account(line.account.id));
        }
        let ended = |held: &Held| held.stored != Some(HoldState::Pending);
        match self.holds.into_iter().find(|(_, held)| ended(held)) {
            Some((hold, _)) => Err(Fault::Hold(hold)),
            None => Ok(()),
        }
    }

    /// Reserves, frees, and moves; none if a counter cannot hold it.
    fn change(
        &mut self,
        [debit, credit]: [usize; 2],
        reserved: Amount,
        freed: Amount,
        moved: Amount,
    ) -> Option<()> {
        let pending = |counter: Amount| {
            counter.checked_add(reserved).and_then(|sum| sum.checked_sub(freed)).ok()
        };
        self.keep([debit, credit]);
        let account = &mut self.lines[debit].account;
        account.debits_pending = pending(account.debits_pending)?;
        account.debits_posted = account.debits_posted.checked_add(moved).ok()?;
        let account = &mut self.lines[credit].account;
        account.credits_pending = pending(account.credits_pending)?;
        account.credits_posted = account.credits_posted.checked_add(moved).ok()?;
        Some(())
    }

    /// Before these accounts change.
    fn keep(&mut self, sides: [usize; 2]) {
        if let Some(marked) = &mut self.marked {
            for slot in sides {
                marked.entry(slot).or_insert_with(|| self.lines[slot].account.clone());
            }
        }
    }

    fn close(&mut self, held: &Held, closed: bool) {
        self.keep(held.sides);
        for (slot, closes) in held.sides.into_iter().zip(held.closes) {
            if closes {
                self.lines[slot].account.closed = closed;
            }
        }
    }
}

/// The digest over a history with one more row.
fn follow(digest: blake3::Hash, place: Place, balance: &AccountBalance) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(digest.as_bytes());
    hasher.update(&place.number().to_be_bytes());
    hasher.update(balance.transfer.uuid().as_bytes());
    hasher.update(&balance.at.as_micros().to_be_bytes());
    let debits = [balance.debits_pending, balance.debits_posted];
    for amount in debits.into_iter().chain([balance.credits_pending, balance.credits_posted]) {
        hasher.update(&amount.base_units().to_be_bytes());
    }
    hasher.finalize()
}
