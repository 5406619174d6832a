//! Vesting: tokens that are set aside at once and become somebody's over time.
//!
//! A grant is an account of its own, and its terms stand in the ledger beside the money, so that
//! they are as durable and as unchangeable as that:
//!
//! | Term | Where |
//! | --- | --- |
//! | id, beneficiary | the account's id, `fog:vesting:<id>:<beneficiary>` |
//! | start (µs since 1970, as 64 bits) | the account's `user_data_64` |
//! | revocable | the account's `user_data_32`: 1, else 0 |
//! | total, grantor | the granting transfer: amount, account to debit |
//! | duration (s) | the granting transfer's `user_data_64` |
//! | cliff (s) | the granting transfer's `user_data_32` |
//!
//! Nothing vests before the cliff; then what has vested is `total · elapsed/duration`, rounded
//! down, and from the end on it is the total, exactly.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::EconomyError;
use super::accounts::{self, step};
use super::staking::less;
use crate::amount::{Amount, AmountError, Asset};
use crate::id::{AccountId, TransferId};
use crate::ledger::{Account, Posted, Purpose, Transfer, TransferKind};
use crate::time::Timestamp;

/// A grant: its terms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its id, made by the client.
    pub id: TransferId,
    /// Whose the tokens become.
    pub beneficiary: AccountId,
    /// Who gave them, and gets back what has not vested if it is revoked.
    pub grantor: AccountId,
    /// How much.
    pub total: Amount,
    /// When it begins to count.
    pub start: Timestamp,
    /// How long after that nothing vests. Whole seconds, at most the duration.
    pub cliff: Duration,
    /// How long it takes until all of it has vested. 1 s to 136 years (2^32 − 1 s), whole seconds.
    pub duration: Duration,
    /// Whether it can be taken back.
    pub revocable: bool,
}

impl Grant {
    /// What has vested at `now`.
    ///
    /// # Errors
    /// None for terms that were [checked](Grant::open); [`AmountError`] is for others.
    pub fn vested(&self, now: Timestamp) -> Result<Amount, AmountError> {
        let elapsed = now.since(self.start);
        if elapsed < self.cliff || now < self.start {
            return Ok(Amount::ZERO);
        }
        if elapsed >= self.duration {
            return Ok(self.total);
        }
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.total.scaled(micros(elapsed), micros(self.duration))
    }

    /// The account of the grant, to be opened, and the transfer that fills it.
    ///
    /// # Errors
    /// [`EconomyError::BadTerms`] for terms that make no sense or cannot be kept.
    pub fn open(&self, asset: &Asset) -> Result<(Account, Transfer), EconomyError> {
        let bad = |field, why| EconomyError::BadTerms { field, why };
        if self.total.is_zero() {
            return Err(EconomyError::AmountZero);
        }
        if self.cliff.subsec_nanos() != 0 {
            return Err(bad("cliff", "a cliff is of whole seconds"));
        }
        if self.cliff > self.duration {
            return Err(bad("cliff", "a cliff cannot be longer than the whole grant"));
        }
        if self.duration.subsec_nanos() != 0 {
            return Err(bad("duration", "a duration is of whole seconds"));
        }
        let too_long = || bad("duration", "must be 1 s to 2^32 − 1 s");
        let seconds = |time: Duration| u32::try_from(time.as_secs()).map_err(|_| too_long());
        let (cliff, duration) = (seconds(self.cliff)?, seconds(self.duration)?);
        if duration == 0 {
            return Err(too_long());
        }
        if self.grantor.is_reserved() && self.grantor.as_str() != accounts::TREASURY {
            return Err(EconomyError::Reserved(self.grantor.clone()));
        }
        let account = Account {
            user_data_64: self.start.as_micros().cast_unsigned(),
            user_data_32: self.revocable.into(),
            ..Account::new(self.account()?, asset.clone()).limited_to_credits().with_history()
        };
        let purpose = Purpose::VestingGrant;
        let id = grant_id(self.id);
        let fund = Transfer::direct(id, &self.grantor, &account.id, self.total, purpose);
        let fund = Transfer { user_data_64: duration.into(), user_data_32: cliff, ..fund };
        Ok((account, fund))
    }

    /// The account of the grant.
    ///
    /// # Errors
    /// As [`accounts::vesting`].
    pub fn account(&self) -> Result<AccountId, EconomyError> {
        accounts::vesting(self.id, &self.beneficiary)
    }
}

/// A grant, and what became of it so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vesting {
    /// Its terms.
    pub grant: Grant,
    /// What the beneficiary was given.
    pub released: Amount,
    /// What went back to the grantor when it was revoked, if it was.
    pub revoked: Option<Amount>,
    /// What is left in its account.
    pub left: Amount,
}

impl Vesting {
    /// The grant that the ledger tells of: its account, the transfer that filled it
    /// ([`grant_id`]) and the one that revoked it ([`revoke_id`]), if there is one.
    ///
    /// # Errors
    /// [`EconomyError::NotAGrant`] if these are not those of a grant.
    pub fn told_by(
        account: &Account,
        filled: &Posted,
        revoked: Option<&Posted>,
    ) -> Result<Self, EconomyError> {
        let not = || EconomyError::NotAGrant(account.id.clone());
        let (id, beneficiary) = accounts::grantee(&account.id).ok_or_else(not)?;
        let TransferKind::Direct { debit, credit, amount } = &filled.transfer.kind else {
            return Err(not());
        };
        if *credit != account.id || filled.transfer.id != grant_id(id) {
            return Err(not());
        }
        let start = Timestamp::from_micros(account.user_data_64.cast_signed());
        let grant = Grant {
            id,
            beneficiary,
            grantor: debit.clone(),
            total: *amount,
            start: start.map_err(|_| not())?,
            cliff: Duration::from_secs(filled.transfer.user_data_32.into()),
            duration: Duration::from_secs(filled.transfer.user_data_64),
            revocable: account.user_data_32 == 1,
        };
        let revoked = revoked.and_then(|posted| posted.transfer.amount());
        let gone = account.debits_posted;
        // A revocation later than this look at the account counts from the next look on.
        let revoked = revoked.filter(|revoked| *revoked <= gone);
        let released = gone.checked_sub(revoked.unwrap_or(Amount::ZERO)).map_err(|_| not())?;
        let left = account.credits_posted.checked_sub(gone).map_err(|_| not())?;
        Ok(Self { grant, released, revoked, left })
    }

    /// What can be released at `now`.
    ///
    /// # Errors
    /// As [`Grant::vested`].
    pub fn releasable(&self, now: Timestamp) -> Result<Amount, AmountError> {
        if self.revoked.is_some() {
            // What had not vested is gone; all that is left had.
            return Ok(self.left);
        }
        Ok(less(self.grant.vested(now)?, self.released).min(self.left))
    }

    /// Gives the beneficiary what can be released at `now`. The transfer's id follows from what
    /// was released before, so that two who release at once do so once.
    ///
    /// # Errors
    /// [`EconomyError::NothingThere`] if there is nothing.
    pub fn release(&self, now: Timestamp, attempt: u32) -> Result<Transfer, EconomyError> {
        let account = self.grant.account()?;
        let amount = self.releasable(now)?;
        if amount.is_zero() {
            return Err(EconomyError::NothingThere(account));
        }
        let id = step(self.grant.id, &format!("release after {}", self.released), attempt);
        let to = &self.grant.beneficiary;
        Ok(Transfer::direct(id, &account, to, amount, Purpose::VestingRelease))
    }

    /// Gives the grantor back what has not vested at `now`; what has stays to be released.
    ///
    /// # Errors
    /// [`EconomyError::NotRevocable`], [`EconomyError::AlreadyRevoked`], and
    /// [`EconomyError::NothingThere`] if all of it has vested.
    pub fn revoke(&self, now: Timestamp, attempt: u32) -> Result<Transfer, EconomyError> {
        let account = self.grant.account()?;
        if !self.grant.revocable {
            return Err(EconomyError::NotRevocable(account));
        }
        if self.revoked.is_some() {
            return Err(EconomyError::AlreadyRevoked(account));
        }
        // A clock that was set back must not take back what was released.
        let vested = self.grant.vested(now)?.max(self.released);
        let amount = self.grant.total.checked_sub(vested)?;
        if amount.is_zero() {
            return Err(EconomyError::NothingThere(account));
        }
        let (id, to) = (revoke_id(self.grant.id, attempt), &self.grant.grantor);
        let revoke = Transfer::direct(id, &account, to, amount, Purpose::VestingRevoke);
        Ok(revoke.about(self.grant.id.uuid()))
    }
}

/// The id of the transfer that fills the account of a grant.
#[must_use]
pub fn grant_id(grant: TransferId) -> TransferId {
    step(grant, "grant", 0)
}

/// The id of the transfer that revokes a grant.
#[must_use]
pub fn revoke_id(grant: TransferId, attempt: u32) -> TransferId {
    step(grant, "revoke", attempt)
}

#[cfg(test)]
mod tests;
