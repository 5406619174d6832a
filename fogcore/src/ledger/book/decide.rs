//! What a transfer does, or why it may not: one look that changes nothing.
//!
//! The checks stand in the order of [`ResultCode::ALL`](crate::ledger::ResultCode::ALL).

use super::Book;
use crate::amount::Amount;
use crate::id::{AccountId, TransferId};
use crate::ledger::{
    Account, Counter, HoldState, LedgerError, Posted, Side, Transfer, TransferKind,
};
use crate::time::Timestamp;

/// What a transfer does.
pub(super) struct Effect {
    /// The places of the two accounts.
    pub(super) sides: [usize; 2],
    /// What it moves or reserves.
    pub(super) amount: Amount,
    /// What the counters on its side are afterwards, of the account to debit and of that to
    /// credit.
    pub(super) counters: [Counters; 2],
    /// When.
    pub(super) at: Timestamp,
    pub(super) change: Change,
}

/// The counters of one side of an account.
pub(super) struct Counters {
    pub(super) pending: Amount,
    pub(super) posted: Amount,
}

/// What it changes beside counters.
pub(super) enum Change {
    Move,
    Reserve { expires_at: Option<Timestamp> },
    End { hold: TransferId, state: HoldState },
}

impl Book {
    /// Whether the transfer is there, as it is asked for.
    ///
    /// # Errors
    /// If its id cannot be used, or was used for something else, or failed before.
    pub(super) fn is_there(&self, transfer: &Transfer) -> Result<bool, LedgerError> {
        let id = transfer.id;
        if id.uuid().is_nil() {
            return Err(LedgerError::IdZero);
        }
        if id.uuid().is_max() {
            return Err(LedgerError::IdMax);
        }
        if let Some(there) = self.transfers.get(&id) {
            let hold = there.transfer.ends_hold().and_then(|hold| self.transfers.get(&hold));
            let held = hold.and_then(|hold| hold.transfer.amount());
            return match transfer.differs_from(&there.transfer, held) {
                Some(field) => Err(LedgerError::ExistsWithDifferent { id, field }),
                None => Ok(true),
            };
        }
        match self.failed.get(&id) {
            Some(code) => Err(LedgerError::IdAlreadyFailed { id, code: *code }),
            None => Ok(false),
        }
    }

    /// What the transfer does, if it may.
    pub(super) fn decide(
        &self,
        transfer: &Transfer,
        now: Timestamp,
    ) -> Result<Effect, LedgerError> {
        match &transfer.kind {
            TransferKind::Direct { debit, credit, amount } => {
                self.begin_of(transfer, debit, credit, *amount, false, now)
            }
            TransferKind::Hold { debit, credit, amount } => {
                self.begin_of(transfer, debit, credit, *amount, true, now)
            }
            TransferKind::Post { hold, amount } => {
                self.end_of(transfer, *hold, Some(*amount), HoldState::Posted, now)
            }
            TransferKind::Void { hold } => {
                self.end_of(transfer, *hold, None, HoldState::Voided, now)
            }
            TransferKind::Expire { hold } => {
                self.end_of(transfer, *hold, None, HoldState::Expired, now)
            }
        }
    }

    /// A direct transfer, or a hold.
    fn begin_of(
        &self,
        transfer: &Transfer,
        debit: &AccountId,
        credit: &AccountId,
        asked: Amount,
        is_hold: bool,
        now: Timestamp,
    ) -> Result<Effect, LedgerError> {
        let flags = transfer.flags;
        if debit == credit {
            return Err(LedgerError::SameAccount(debit.clone()));
        }
        if !is_hold && transfer.timeout_seconds != 0 {
            return Err(LedgerError::TimeoutReserved(transfer.id));
        }
        if !is_hold && flags.is_closing() {
            return Err(LedgerError::ClosingMustBeHold(transfer.id));
        }
        if asked.is_zero() && !flags.is_closing() {
            return Err(LedgerError::AmountZero);
        }
        let sides = [self.side(Side::Debit, debit)?, self.side(Side::Credit, credit)?];
        let [debit, credit] = sides.map(|slot| &self.slots[slot].account);
        if debit.asset != credit.asset {
            return Err(LedgerError::AssetsDiffer {
                debit_asset: debit.asset.code().to_owned(),
                credit_asset: credit.asset.code().to_owned(),
                debit: debit.id.clone(),
                credit: credit.id.clone(),
            });
        }
        must_be_open(debit, credit)?;
        let mut amount = asked;
        if flags.balancing_debit {
            amount = amount.min(debit.available());
        }
        if flags.balancing_credit {
            amount = amount.min(credit.owing());
        }
        let counters = grown(debit, credit, amount, is_hold)?;
        let at = now.max(debit.opened_at).max(credit.opened_at);
        let expires_at = transfer.end_of_time(at)?;
        admit(debit, credit, amount)?;
        let change = if is_hold { Change::Reserve { expires_at } } else { Change::Move };
        Ok(Effect { sides, amount, counters, at, change })
    }

    /// The end of a hold; `asked` is how much of it is posted.
    fn end_of(
        &self,
        transfer: &Transfer,
        hold: TransferId,
        asked: Option<Amount>,
        state: HoldState,
        now: Timestamp,
    ) -> Result<Effect, LedgerError> {
        if transfer.flags.is_balancing() || transfer.flags.is_closing() {
            return Err(LedgerError::FlagsExclusive(transfer.id));
        }
        if hold.uuid().is_nil() {
            return Err(LedgerError::HoldIdZero);
        }
        if hold.uuid().is_max() {
            return Err(LedgerError::HoldIdMax);
        }
        if hold == transfer.id {
            return Err(LedgerError::HoldIsSelf(hold));
        }
        if transfer.timeout_seconds != 0 {
            return Err(LedgerError::TimeoutReserved(transfer.id));
        }
        let posted = self.transfers.get(&hold).ok_or(LedgerError::HoldNotFound(hold))?;
        let TransferKind::Hold { debit, credit, amount: held } = &posted.transfer.kind else {
            return Err(LedgerError::NotAHold(hold));
        };
        let find = |id: &AccountId| {
            let slot = self.index.get(id).copied();
            slot.ok_or_else(|| LedgerError::NotLoaded(id.clone()))
        };
        let sides = [find(debit)?, find(credit)?];
        let [debit, credit] = sides.map(|slot| &self.slots[slot].account);
        // All of it, when that is what is asked, without the client having to know how much it is.
        let asked = asked.map(|amount| if amount == Amount::MAX { *held } else { amount });
        if let Some(amount) = asked.filter(|amount| amount > held) {
            let asset = debit.asset.clone();
            return Err(LedgerError::ExceedsHold { asset, amount, held: *held });
        }
        let at = now.max(posted.at);
        must_be_pending(posted, state == HoldState::Expired, at)?;
        // Nothing may move on a closed account, but what was reserved may become free.
        if state == HoldState::Posted {
            must_be_open(debit, credit)?;
        }
        let amount = asked.unwrap_or(Amount::ZERO);
        // In sound books neither can fail: the hold is in what is pending, and posting it leaves
        // the sum as it is.
        let ended = |pending: Amount, posted: Amount| -> Result<Counters, LedgerError> {
            let (pending, posted) = (pending.checked_sub(*held)?, posted.checked_add(amount)?);
            Ok(Counters { pending, posted })
        };
        let counters = [
            ended(debit.debits_pending, debit.debits_posted)?,
            ended(credit.credits_pending, credit.credits_posted)?,
        ];
        Ok(Effect { sides, amount, counters, at, change: Change::End { hold, state } })
    }

    fn side(&self, side: Side, account: &AccountId) -> Result<usize, LedgerError> {
        let slot = self.index.get(account).copied();
        slot.ok_or_else(|| LedgerError::AccountNotFound { side, account: account.clone() })
    }
}

fn must_be_open(debit: &Account, credit: &Account) -> Result<(), LedgerError> {
    for (side, account) in [(Side::Debit, debit), (Side::Credit, credit)] {
        if account.closed {
            return Err(LedgerError::AccountClosed { side, account: account.id.clone() });
        }
    }
    Ok(())
}

/// Checks that the hold can be ended: by a client in its time, by the ledger after it.
fn must_be_pending(posted: &Posted, expire: bool, at: Timestamp) -> Result<(), LedgerError> {
    let hold = posted.transfer.id;
    match posted.hold {
        Some(HoldState::Posted) => return Err(LedgerError::AlreadyPosted(hold)),
        Some(HoldState::Voided) => return Err(LedgerError::AlreadyVoided(hold)),
        Some(HoldState::Expired) => return Err(LedgerError::Expired(hold)),
        Some(HoldState::Pending) | None => {}
    }
    match (posted.expires_at().is_some_and(|end| end <= at), expire) {
        (true, false) => Err(LedgerError::Expired(hold)),
        (false, true) => Err(LedgerError::NotExpired(hold)),
        (true, true) | (false, false) => Ok(()),
    }
}

/// The counters with `amount` more, reserved or moved.
///
/// Pending and posted of a side fit in a counter together, so that posting a hold cannot overflow.
fn grown(
    debit: &Account,
    credit: &Account,
    amount: Amount,
    is_hold: bool,
) -> Result<[Counters; 2], LedgerError> {
    let add = |account: &Account, counter: Counter, to: Amount| {
        to.checked_add(amount)
            .map_err(|_| LedgerError::Overflow { account: account.id.clone(), counter })
    };
    let d = [debit.debits_pending, debit.debits_posted];
    let c = [credit.credits_pending, credit.credits_posted];
    let pending = if is_hold {
        [add(debit, Counter::DebitsPending, d[0])?, add(credit, Counter::CreditsPending, c[0])?]
    } else {
        [d[0], c[0]]
    };
    let posted =
        [add(debit, Counter::DebitsPosted, d[1])?, add(credit, Counter::CreditsPosted, c[1])?];
    let posted = if is_hold { [d[1], c[1]] } else { posted };
    add(debit, Counter::Debits, d[0].checked_add(d[1])?)?;
    add(credit, Counter::Credits, c[0].checked_add(c[1])?)?;
    Ok([0, 1].map(|side| Counters { pending: pending[side], posted: posted[side] }))
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
    if credit.credits_must_not_exceed_debits && amount > credit.owing() {
        let (account, asset) = (credit.id.clone(), credit.asset.clone());
        return Err(LedgerError::ExceedsDebits { account, asset, amount });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
