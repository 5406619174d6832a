//! What is traded: resources, how much of them, for how long, and how good.

use std::time::Duration;

use num_bigint::BigUint;
use serde::{Deserialize, Serialize};

use crate::amount::{Amount, AmountError};
use crate::error::{Error, Result};

/// What is hired. A market of its own for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// CPU cores.
    Cpu,
    /// GiB of memory.
    Memory,
    /// GPUs.
    Gpu,
    /// GiB of storage.
    Storage,
    /// Mbit/s of network bandwidth.
    Bandwidth,
}

impl Resource {
    /// Every resource.
    pub const ALL: [Self; 5] = [Self::Cpu, Self::Memory, Self::Gpu, Self::Storage, Self::Bandwidth];

    /// Its name, as in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Gpu => "gpu",
            Self::Storage => "storage",
            Self::Bandwidth => "bandwidth",
        }
    }
}

impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// The level of service that an offer comes with.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// As it comes.
    #[default]
    Basic,
    /// 99 % of the time.
    Standard,
    /// 99.9 % of the time.
    Premium,
    /// 99.99 % of the time.
    Enterprise,
}

impl Tier {
    /// How good it is, 0–1.
    #[must_use]
    pub const fn worth(self) -> f64 {
        match self {
            Self::Basic => 0.0,
            Self::Standard => 1.0 / 3.0,
            Self::Premium => 2.0 / 3.0,
            Self::Enterprise => 1.0,
        }
    }
}

/// The most that can be offered or wanted at once, in thousandths of a unit: 2^40.
pub const MAX_QUANTITY: u64 = 1 << 40;

/// The longest hire, and the longest life of an offer: 366 days.
pub const MAX_TIME: Duration = Duration::from_secs(366 * 86_400);

const HOUR_MICROS: u128 = 3_600_000_000;

/// What `thousandths` of a unit cost for so long at `price` per unit and hour: exact, and rounded up
/// to base units once, so that many small hires cost no less than a large one.
///
/// # Errors
/// [`AmountError::TooLarge`] beyond 2^128 − 1 base units.
pub fn cost(price: Amount, thousandths: u64, duration: Duration) -> Result<Amount, AmountError> {
    let whole = BigUint::from(1_000 * HOUR_MICROS);
    let exact = BigUint::from(price.base_units()) * thousandths * duration.as_micros();
    let cost = (exact + &whole - 1_u32) / whole;
    u128::try_from(cost).map(Amount::from_base_units).map_err(|_| AmountError::TooLarge)
}

/// Checks how much of something is offered or wanted.
pub(super) fn check_quantity(field: &'static str, thousandths: u64) -> Result<()> {
    if !(1..=MAX_QUANTITY).contains(&thousandths) {
        let range = format!("{thousandths} thousandths, 1 to 2^40 are allowed");
        return Err(Error::invalid(field, range));
    }
    Ok(())
}

/// Checks a length of time: above zero, at most 366 days.
pub(super) fn check_time(field: &'static str, time: Duration) -> Result<()> {
    if time < Duration::from_micros(1) || time > MAX_TIME {
        return Err(Error::invalid(field, format!("{time:?}, up to 366 days are allowed")));
    }
    Ok(())
}

/// Checks a region: up to 64 characters.
pub(super) fn check_region(field: &'static str, region: &str) -> Result<()> {
    let found = region.chars().count();
    if found > 64 {
        return Err(Error::invalid(field, format!("{found} characters, at most 64 are allowed")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn units(units: u128) -> Amount {
        Amount::from_base_units(units)
    }

    #[test]
    fn a_hire_costs_price_by_amount_by_time_rounded_up() {
        assert_eq!(cost(units(7), 1_000, HOUR), Ok(units(7)));
        assert_eq!(cost(units(7), 2_500, 4 * HOUR), Ok(units(70)));
        assert_eq!(cost(units(1), 1, Duration::from_micros(1)), Ok(units(1)), "rounded up");
        assert_eq!(cost(Amount::ZERO, MAX_QUANTITY, MAX_TIME), Ok(Amount::ZERO));
        assert_eq!(cost(Amount::MAX, 1_000, HOUR), Ok(Amount::MAX));
        assert_eq!(cost(Amount::MAX, 1_001, HOUR), Err(AmountError::TooLarge));
    }

    #[test]
    fn names_are_those_of_json() {
        for resource in Resource::ALL {
            let json = serde_json::to_string(&resource).unwrap();
            assert_eq!(json, format!("\"{resource}\""));
        }
    }

    proptest! {
        #[test]
        fn splitting_a_hire_never_saves_anything(
            price: u64, a in 1..MAX_QUANTITY / 2, b in 1..MAX_QUANTITY / 2, seconds in 1..1_000_000_u64,
        ) {
            let (price, time) = (units(price.into()), Duration::from_secs(seconds));
            let parts = [a, b].map(|part| cost(price, part, time).unwrap().base_units());
            let whole = cost(price, a + b, time).unwrap().base_units();
            let split = parts[0] + parts[1];
            prop_assert!(split == whole || split == whole + 1);
        }
    }
}
