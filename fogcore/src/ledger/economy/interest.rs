//! Interest on stakes: for each period, from the history of what was staked in it.
//!
//! The sum of amount × time over the period is exact, however often the stake changed; it is
//! divided once, and rounded down once. The transfer that pays a period has an id that follows
//! from the stake and the period, so a period is paid once.

use std::time::Duration;

use num_bigint::BigUint;
use serde::{Deserialize, Serialize};

use super::accounts::{self, REWARDS, step_at};
use super::staking::left;
use super::{EconomyError, EconomyPolicy};
use crate::amount::{Amount, AmountError};
use crate::id::{AccountId, TransferId};
use crate::ledger::{AccountBalance, Purpose, Transfer};
use crate::time::Timestamp;

/// A period for which interest is paid: from `start` until before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Period {
    /// Its first moment.
    pub start: Timestamp,
    /// The first moment after it.
    pub end: Timestamp,
}

impl Period {
    /// The period with the moment `at`. Periods are counted from 1970.
    ///
    /// # Errors
    /// InvalidInput at the ends of time.
    pub fn with(at: Timestamp, policy: &EconomyPolicy) -> crate::Result<Self> {
        let length = i64::try_from(policy.interest_period.as_micros()).unwrap_or(i64::MAX).max(1);
        let start = at.as_micros().div_euclid(length).saturating_mul(length);
        let end = Timestamp::from_micros(start.saturating_add(length))?;
        Ok(Self { start: Timestamp::from_micros(start)?, end })
    }

    /// The latest period that can be settled at `now`.
    ///
    /// # Errors
    /// As [`Period::with`].
    pub fn latest(now: Timestamp, policy: &EconomyPolicy) -> crate::Result<Self> {
        let seen = now.saturating_sub(policy.interest_delay);
        Self::with(seen.saturating_sub(policy.interest_period), policy)
    }

    /// The period after this one.
    ///
    /// # Errors
    /// As [`Period::with`].
    pub fn next(&self, policy: &EconomyPolicy) -> crate::Result<Self> {
        Self::with(self.end, policy)
    }

    /// Checks that the period is over, and for so long that nothing can still happen in it.
    ///
    /// # Errors
    /// [`EconomyError::PeriodNotOver`].
    pub fn must_be_over(&self, now: Timestamp, policy: &EconomyPolicy) -> Result<(), EconomyError> {
        let from = self.end.saturating_add(policy.interest_delay);
        if now < from {
            return Err(EconomyError::PeriodNotOver { end: self.end, from });
        }
        Ok(())
    }
}

/// What was staked over a period: base units × microseconds, exactly.
#[derive(Clone, Debug)]
pub struct StakedTime {
    period: Period,
    staked: Amount,
    since: Timestamp,
    sum: BigUint,
}

impl StakedTime {
    /// Begins with what was staked when the period began.
    #[must_use]
    pub fn new(period: Period, staked: Amount) -> Self {
        Self { period, staked, since: period.start, sum: BigUint::ZERO }
    }

    /// From `at` on, `staked` is staked. Changes before the period set what it begins with, those
    /// after it do not count. They come in the journal's order; one that is told to be earlier
    /// than the one before it counts from that.
    pub fn change(&mut self, at: Timestamp, staked: Amount) {
        if at >= self.period.end {
            return;
        }
        self.run_until(at);
        self.staked = staked;
    }

    /// The same, from the history of the stake account.
    pub fn read(&mut self, balance: &AccountBalance) {
        self.change(balance.at, left(balance));
    }

    /// The interest for the period, rounded down to base units; the rest stays where it is.
    ///
    /// # Errors
    /// [`AmountError::TooLarge`] beyond 2^128 − 1 base units.
    pub fn interest(mut self, policy: &EconomyPolicy) -> Result<Amount, AmountError> {
        self.run_until(self.period.end);
        let year = policy.year.as_micros().max(1);
        let interest = self.sum * policy.interest_ppm / (BigUint::from(year) * BigUint::from(PPM));
        let units = u128::try_from(interest).map_err(|_| AmountError::TooLarge)?;
        Ok(Amount::from_base_units(units))
    }

    fn run_until(&mut self, at: Timestamp) {
        let time: Duration = at.since(self.since);
        self.sum += BigUint::from(self.staked.base_units()) * time.as_micros();
        self.since = self.since.max(at);
    }
}

const PPM: u32 = 1_000_000;

/// The transfer that pays `interest` for the period to the holder.
///
/// # Errors
/// [`EconomyError::AmountZero`] if there is none, and as [`accounts::stake`].
pub fn pay(
    holder: &AccountId,
    period: Period,
    interest: Amount,
    attempt: u32,
) -> Result<Transfer, EconomyError> {
    if interest.is_zero() {
        return Err(EconomyError::AmountZero);
    }
    let id = payment_id(holder, period, attempt)?;
    let pay = Transfer::direct(id, &accounts::own(REWARDS), holder, interest, Purpose::Reward);
    Ok(pay.about(payment_id(holder, period, 0)?.uuid()))
}

/// The id of the transfer that pays the period. That of attempt 0 is every attempt's reference.
pub(crate) fn payment_id(
    holder: &AccountId,
    period: Period,
    attempt: u32,
) -> Result<TransferId, EconomyError> {
    let stake = accounts::stake(holder)?;
    let what = format!("interest since {}", period.start.as_micros());
    Ok(step_at(period.end, stake.as_str(), &what, attempt))
}

#[cfg(test)]
mod tests;
