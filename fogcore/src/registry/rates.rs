//! What a node's owner asks for work, by what the work takes.

use num_bigint::BigUint;
use serde::{Deserialize, Serialize};

use crate::amount::{Amount, AmountError};

/// What a node's owner asks for work, in base units of the fog's settlement asset. The parts add
/// up; a task never pays more than its budget. What was not measured costs nothing.
///
/// ```
/// use fogcore::amount::Amount;
/// use fogcore::registry::{Metered, Rates};
///
/// let units = Amount::from_base_units;
/// let rates = Rates { per_task: units(5), per_cpu_hour: units(7_200), ..Rates::default() };
/// // A second and a half of one core, at two base units a second.
/// let work = Metered { cpu_micros: 1_500_000, ..Metered::default() };
/// assert_eq!(rates.price(&work)?, units(8));
/// # Ok::<(), fogcore::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rates {
    /// For each task done.
    pub per_task: Amount,
    /// For each second that the task kept a slot busy.
    pub per_busy_second: Amount,
    /// For each GiB (2^30 bytes) that the task moved.
    pub per_gib: Amount,
    // Those that came later are by the hour, because a second of a core costs less than one base
    // unit of many an asset; and they are left out where they are not set, as in older rows.
    /// For each hour of one core.
    #[serde(skip_serializing_if = "is_zero")]
    pub per_cpu_hour: Amount,
    /// For each GiB of memory, for each hour.
    #[serde(skip_serializing_if = "is_zero")]
    pub per_memory_gib_hour: Amount,
    /// For each hour of one GPU.
    #[serde(skip_serializing_if = "is_zero")]
    pub per_gpu_hour: Amount,
}

const fn is_zero(amount: &Amount) -> bool {
    amount.is_zero()
}

/// What work took, in units so small that nothing is rounded. What is not known is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metered {
    /// Microseconds that it kept a slot busy.
    pub busy_micros: u64,
    /// Microseconds of one core.
    pub cpu_micros: u64,
    /// MiB of memory × milliseconds.
    pub memory_mib_millis: u64,
    /// Microseconds of one GPU.
    pub gpu_micros: u64,
    /// Bytes moved.
    pub bytes: u64,
}

const SECOND: u64 = 1_000_000;
const HOUR: u64 = 3_600 * SECOND;
/// A GiB for an hour, in MiB × milliseconds.
const GIB_HOUR: u64 = 1_024 * HOUR / 1_000;
const GIB: u64 = 1 << 30;

impl Rates {
    /// The price of one task that took so much: the exact sum, rounded down once to whole base
    /// units, in favour of who pays.
    ///
    /// # Errors
    /// [`AmountError::TooLarge`] beyond 2^128 − 1 base units.
    pub fn price(&self, work: &Metered) -> Result<Amount, AmountError> {
        let parts = [
            (self.per_busy_second, work.busy_micros, SECOND),
            (self.per_gib, work.bytes, GIB),
            (self.per_cpu_hour, work.cpu_micros, HOUR),
            (self.per_memory_gib_hour, work.memory_mib_millis, GIB_HOUR),
            (self.per_gpu_hour, work.gpu_micros, HOUR),
        ];
        // Fractions over the product of what they are parts of: GIB_HOUR and HOUR are both parts
        // of it, so the sum needs no other denominator, and is divided only once.
        let over = BigUint::from(GIB) * HOUR;
        let used = parts.into_iter().filter(|(rate, used, _)| !rate.is_zero() && *used > 0);
        let sum: BigUint =
            used.map(|(rate, used, unit)| (&over / unit) * used * rate.base_units()).sum();
        let metered = u128::try_from(sum / over).map_err(|_| AmountError::TooLarge)?;
        self.per_task.checked_add(Amount::from_base_units(metered))
    }
}

#[cfg(test)]
mod tests {
    use num_rational::BigRational;
    use proptest::prelude::*;

    use super::*;

    const ALL: [u64; 5] = [SECOND, GIB, HOUR, GIB_HOUR, HOUR];

    fn units(units: u128) -> Amount {
        Amount::from_base_units(units)
    }

    fn rates(each: [u128; 5]) -> Rates {
        let [busy, gib, cpu, memory, gpu] = each.map(units);
        Rates {
            per_task: units(5),
            per_busy_second: busy,
            per_gib: gib,
            per_cpu_hour: cpu,
            per_memory_gib_hour: memory,
            per_gpu_hour: gpu,
        }
    }

    fn work(each: [u64; 5]) -> Metered {
        let [busy_micros, bytes, cpu_micros, memory_mib_millis, gpu_micros] = each;
        Metered { busy_micros, cpu_micros, memory_mib_millis, gpu_micros, bytes }
    }

    #[test]
    fn a_unit_of_each_costs_its_rate() {
        let rates = rates([10, 100, 1_000, 10_000, 100_000]);
        assert_eq!(rates.price(&work([0; 5])).unwrap(), units(5));
        for (at, expected) in [10, 100, 1_000, 10_000, 100_000].into_iter().enumerate() {
            let mut used = [0; 5];
            used[at] = ALL[at];
            assert_eq!(rates.price(&work(used)).unwrap(), units(5 + expected), "part {at}");
        }
        assert_eq!(rates.price(&work(ALL)).unwrap(), units(5 + 111_110));
    }

    #[test]
    fn only_the_sum_is_rounded() {
        let halves = ALL.map(|unit| unit / 2);
        assert_eq!(rates([1, 0, 0, 0, 0]).price(&work(halves)).unwrap(), units(5));
        assert_eq!(rates([1; 5]).price(&work(halves)).unwrap(), units(5 + 2), "five halves");
    }

    #[test]
    fn a_price_beyond_all_amounts_is_refused() {
        let dear = Rates { per_busy_second: Amount::MAX, ..Rates::default() };
        assert_eq!(dear.price(&work([1_000_000; 5])).unwrap(), Amount::MAX);
        assert_eq!(dear.price(&work([1_000_002; 5])), Err(AmountError::TooLarge));
        let dear = Rates { per_task: Amount::MAX, ..rates([1; 5]) };
        assert_eq!(dear.price(&work(ALL)), Err(AmountError::TooLarge));
    }

    /// As a node's record held it before there were rates for cores, memory and GPUs.
    #[test]
    fn older_rows_are_read_and_stay_as_they_are() {
        let old = r#"{"per_task":"5","per_busy_second":"10","per_gib":"0"}"#;
        let rates: Rates = serde_json::from_str(old).unwrap();
        assert_eq!(rates.per_busy_second, units(10));
        assert_eq!(rates.per_cpu_hour, Amount::ZERO);
        assert_eq!(serde_json::to_string(&rates).unwrap(), old);
        let new = Rates { per_gpu_hour: units(7), ..rates };
        let json = serde_json::to_string(&new).unwrap();
        assert_eq!(serde_json::from_str::<Rates>(&json).unwrap(), new);
    }

    proptest! {
        #[test]
        fn the_price_is_the_exact_sum_rounded_down_once(each: [u64; 5], used: [u64; 5]) {
            let rates = rates(each.map(u128::from));
            let parts = each.iter().zip(used).zip(ALL).map(|((rate, used), unit)| {
                BigRational::new(used.into(), unit.into()) * BigRational::from_integer((*rate).into())
            });
            let exact: BigRational = parts.sum::<BigRational>().floor();
            let price = rates.price(&work(used)).unwrap();
            prop_assert_eq!(BigRational::from_integer((price.base_units() - 5).into()), exact);
        }
    }
}
