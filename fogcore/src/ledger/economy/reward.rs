//! What work is worth: an exact formula, rounded once.
//!
//! ```text
//! reward  = 10·(core_hours·1 + gib_hours·0.5 + gb_moved·1.5 + storage_gb_hours·0.3) + 0.1·tasks
//!           × (1 + quality %/100) × scarcity
//! quality = min(50, up + fast + sound)
//!   up    = min(20, (uptime % − 80)/5)   if uptime ≥ 80 %, else 0
//!   fast  = max(0, 15 − latency_ms/10)
//!   sound = min(15, (success % − 85)/5)  if success ≥ 85 %, else 0
//! ```
//!
//! (The factors are applied to the whole sum.) All of it is computed with fractions of whole
//! numbers; the result is rounded down to base units, and the rest stays in the reward account.

use num_bigint::{BigInt, BigUint};
use num_rational::BigRational;
use serde::{Deserialize, Serialize};

use super::EconomyError;
use super::accounts::{self, REWARDS, step};
use crate::amount::{Amount, AmountError, Asset};
use crate::error::{Error, Result};
use crate::id::{AccountId, TransferId};
use crate::ledger::{Purpose, Transfer};

/// What somebody contributed in a period, in units so small that nothing is rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Contribution {
    /// Microseconds of one core.
    pub core_micros: u64,
    /// Bytes of memory × microseconds.
    pub memory_byte_micros: u128,
    /// Bytes moved. A GB is 10^9 of them.
    pub bytes_moved: u64,
    /// Bytes of storage × microseconds. A GB is 10^9 of them.
    pub storage_byte_micros: u128,
    /// Tasks done.
    pub tasks: u64,
}

/// How well it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quality {
    /// The share of the time that the node was there, 0–1,000,000 parts in a million.
    pub uptime_ppm: u32,
    /// How long it takes to answer, in microseconds.
    pub latency_micros: u64,
    /// The share of what it began that succeeded, 0–1,000,000 parts in a million.
    pub success_ppm: u32,
}

/// When there is little, it is worth more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scarcity {
    /// Below so many hours of a core offered in the last seven days …
    pub below_core_hours: u64,
    /// … the reward is multiplied by this, in parts in a million.
    pub factor_ppm: u32,
}

/// A part of the quality that is a share of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareBonus {
    /// The share from which there is any, in parts in a million.
    pub from_ppm: u32,
    /// How many per cent above it give one per cent of quality, at least 1.
    pub percent_per_point: u32,
    /// The most that it gives, in per cent.
    pub at_most: u32,
}

/// The constants of the formula. What is `…_ppm` is in parts in a million of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RewardPolicy {
    /// What one weighted unit of resources is worth. Default 10 tokens.
    pub base_ppm: u64,
    /// The weight of an hour of a core. Default 1.
    pub core_hour_ppm: u64,
    /// The weight of a GiB of memory for an hour. Default 0.5.
    pub gib_hour_ppm: u64,
    /// The weight of a GB moved. Default 1.5.
    pub gb_moved_ppm: u64,
    /// The weight of a GB stored for an hour. Default 0.3.
    pub storage_gb_hour_ppm: u64,
    /// What a task is worth beside its resources. Default 0.1 tokens.
    pub task_ppm: u64,
    /// Default from 80 %, one per cent for each five, at most 20 %.
    pub uptime: ShareBonus,
    /// Default from 85 %, one per cent for each five, at most 15 %.
    pub success: ShareBonus,
    /// The quality, in per cent, of an answer that takes no time. Default 15.
    pub latency_at_most: u32,
    /// How many milliseconds take one per cent of that away, at least 1. Default 10.
    pub millis_per_point: u32,
    /// The most that quality adds, in per cent. Default 50.
    pub quality_at_most: u32,
    /// From the scarcest on; the first that fits counts. Default 2 below 100 hours of a core in
    /// seven days, 1.5 below 1,000; else it is 1.
    pub scarcity: Vec<Scarcity>,
}

impl Default for RewardPolicy {
    fn default() -> Self {
        Self {
            base_ppm: 10_000_000,
            core_hour_ppm: 1_000_000,
            gib_hour_ppm: 500_000,
            gb_moved_ppm: 1_500_000,
            storage_gb_hour_ppm: 300_000,
            task_ppm: 100_000,
            uptime: ShareBonus { from_ppm: 800_000, percent_per_point: 5, at_most: 20 },
            success: ShareBonus { from_ppm: 850_000, percent_per_point: 5, at_most: 15 },
            latency_at_most: 15,
            millis_per_point: 10,
            quality_at_most: 50,
            scarcity: vec![
                Scarcity { below_core_hours: 100, factor_ppm: 2_000_000 },
                Scarcity { below_core_hours: 1_000, factor_ppm: 1_500_000 },
            ],
        }
    }
}

impl RewardPolicy {
    /// Checks what would divide by zero.
    ///
    /// # Errors
    /// InvalidInput with the field's name.
    pub fn check(&self) -> Result<()> {
        for (field, divisor) in [
            ("economy.reward.uptime", self.uptime.percent_per_point),
            ("economy.reward.success", self.success.percent_per_point),
            ("economy.reward.millis_per_point", self.millis_per_point),
        ] {
            if divisor == 0 {
                return Err(Error::invalid(field, "must be at least 1"));
            }
        }
        if !self.scarcity.is_sorted_by_key(|scarcity| scarcity.below_core_hours) {
            return Err(Error::invalid("economy.reward.scarcity", "must be ordered by hours"));
        }
        Ok(())
    }

    /// What the contribution is worth, in base units of `asset`, rounded down.
    /// `offered_core_micros` is what all nodes together offered in the last seven days.
    ///
    /// # Errors
    /// [`AmountError::TooLarge`] beyond 2^128 − 1 base units.
    pub fn reward(
        &self,
        asset: &Asset,
        contribution: &Contribution,
        quality: &Quality,
        offered_core_micros: u128,
    ) -> Result<Amount, AmountError> {
        let c = contribution;
        let resources = ratio(c.core_micros, HOUR) * ppm(self.core_hour_ppm)
            + ratio(c.memory_byte_micros, HOUR << 30) * ppm(self.gib_hour_ppm)
            + ratio(c.bytes_moved, GB) * ppm(self.gb_moved_ppm)
            + ratio(c.storage_byte_micros, HOUR * GB) * ppm(self.storage_gb_hour_ppm);
        let sum = resources * ppm(self.base_ppm) + whole(c.tasks) * ppm(self.task_ppm);
        let better = whole(1_u32) + self.quality_percent(quality) / whole(100_u32);
        let tokens = sum * better * ppm(self.scarcity_ppm(offered_core_micros));
        let unit = BigRational::from_integer(BigInt::from(10_u32).pow(asset.scale().into()));
        let units = (tokens * unit).to_integer();
        u128::try_from(units).map(Amount::from_base_units).map_err(|_| AmountError::TooLarge)
    }

    /// By how many per cent quality raises a reward.
    #[must_use]
    pub fn quality_percent(&self, quality: &Quality) -> BigRational {
        let up = share(&self.uptime, quality.uptime_ppm);
        let sound = share(&self.success, quality.success_ppm);
        let lost = ratio(quality.latency_micros, 1_000 * u128::from(self.millis_per_point.max(1)));
        let fast = (whole(self.latency_at_most) - lost).max(whole(0_u32));
        (up + fast + sound).min(whole(self.quality_at_most))
    }

    /// By how much scarcity multiplies a reward, in parts in a million.
    #[must_use]
    pub fn scarcity_ppm(&self, offered_core_micros: u128) -> u64 {
        let fits = |s: &&Scarcity| offered_core_micros < u128::from(s.below_core_hours) * HOUR;
        self.scarcity.iter().find(fits).map_or(1_000_000, |s| s.factor_ppm.into())
    }
}

/// The transfer that pays a reward for what `request` names.
///
/// # Errors
/// [`EconomyError::AmountZero`] if there is none.
pub fn pay(
    request: TransferId,
    to: &AccountId,
    reward: Amount,
    attempt: u32,
) -> Result<Transfer, EconomyError> {
    if reward.is_zero() {
        return Err(EconomyError::AmountZero);
    }
    let id = step(request, "reward", attempt);
    let pay = Transfer::direct(id, &accounts::own(REWARDS), to, reward, Purpose::Reward);
    Ok(pay.about(request.uuid()))
}

/// An hour in microseconds.
const HOUR: u128 = 3_600_000_000;
const GB: u128 = 1_000_000_000;

fn share(bonus: &ShareBonus, ppm: u32) -> BigRational {
    let ppm = ppm.min(1_000_000);
    let Some(above) = ppm.checked_sub(bonus.from_ppm) else { return whole(0_u32) };
    let per_point = 10_000 * u128::from(bonus.percent_per_point.max(1));
    ratio(above, per_point).min(whole(bonus.at_most))
}

fn ppm(parts: u64) -> BigRational {
    ratio(parts, 1_000_000)
}

fn whole(number: impl Into<BigUint>) -> BigRational {
    BigRational::from_integer(number.into().into())
}

/// `denominator` is above zero.
fn ratio(numerator: impl Into<BigUint>, denominator: u128) -> BigRational {
    BigRational::new(numerator.into().into(), denominator.max(1).into())
}

#[cfg(test)]
mod tests;
