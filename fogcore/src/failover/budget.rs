//! How much may be tried again: a share of the traffic and a floor, so that retries never make an
//! overload worse.
//!
//! The idea is Finagle's retry budget: each first try earns a part of a retry, and time earns a few
//! more, so that little traffic can be tried again, too. Hedged requests spend from the same purse.
//!
//! ```
//! use std::time::Duration;
//! use fogcore::failover::{BudgetPolicy, RetryBudget};
//!
//! let policy = BudgetPolicy { share: 0.5, floor_per_second: 0.0, ..BudgetPolicy::default() };
//! let budget = RetryBudget::new(policy)?;
//! let now = Duration::ZERO;
//! (0..4).for_each(|_| budget.earn());
//! assert!(budget.spend(now) && budget.spend(now));
//! assert!(!budget.spend(now), "four tries earn two retries");
//! # Ok::<(), fogcore::Error>(())
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::failover::atomics::{AtomicU64, Ordering};
use crate::failover::words::{nanos, whole};

/// How much may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BudgetPolicy {
    /// Retries per first try, 0–10. Default 0.2.
    pub share: f64,
    /// Retries per second that are there without any traffic, 0–1,000,000. Default 10.
    pub floor_per_second: f64,
    /// The most retries that are saved up, 1–1,000,000. Default 100.
    pub most: u32,
}

impl Default for BudgetPolicy {
    fn default() -> Self {
        Self { share: 0.2, floor_per_second: 10.0, most: 100 }
    }
}

/// What one retry costs, so that a thousandth of one can be earned.
const RETRY: u64 = 1_000;

/// The purse that retries and hedges are paid from; shared by all calls to one service.
#[derive(Debug)]
pub struct RetryBudget {
    per_try: u64,
    per_second: f64,
    most: u64,
    /// Thousandths of a retry.
    saved: AtomicU64,
    /// Nanoseconds up to which the floor is paid in.
    paid_until: AtomicU64,
}

impl RetryBudget {
    /// An empty purse.
    ///
    /// # Errors
    /// InvalidInput with the field's name.
    pub fn new(policy: BudgetPolicy) -> Result<Self> {
        if !(0.0..=10.0).contains(&policy.share) {
            return Err(Error::invalid("share", "must be between 0 and 10"));
        }
        if !(0.0..=1e6).contains(&policy.floor_per_second) {
            return Err(Error::invalid("floor_per_second", "must be between 0 and 1000000"));
        }
        if !(1..=1_000_000).contains(&policy.most) {
            return Err(Error::invalid("most", "must be between 1 and 1000000"));
        }
        Ok(Self {
            per_try: whole((policy.share * RETRY as f64).round()),
            per_second: policy.floor_per_second * RETRY as f64,
            most: u64::from(policy.most) * RETRY,
            saved: AtomicU64::new(0),
            paid_until: AtomicU64::new(0),
        })
    }

    /// A first try was made.
    pub fn earn(&self) {
        self.pay_in(self.per_try);
    }

    /// Takes one retry out, if it is there.
    pub fn spend(&self, now: Duration) -> bool {
        self.pay_floor(now);
        let take = |saved: u64| saved.checked_sub(RETRY);
        self.saved.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok()
    }

    /// How many retries are there at `now`.
    #[must_use]
    pub fn left(&self, now: Duration) -> u64 {
        self.pay_floor(now);
        self.saved.load(Ordering::Acquire) / RETRY
    }

    fn pay_in(&self, amount: u64) {
        let add = |saved: u64| Some(saved.saturating_add(amount).min(self.most));
        // It always gives a new value, so it always succeeds.
        let _ = self.saved.fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
    }

    /// Pays in what time has earned; whole thousandths only, and the time of the rest is kept.
    fn pay_floor(&self, now: Duration) {
        let now = nanos(now);
        let paid = self.paid_until.load(Ordering::Acquire);
        let earned = now.saturating_sub(paid) as f64 / 1e9 * self.per_second;
        if earned < 1.0 {
            return;
        }
        // Only the time that was paid for is over: what is left of it counts the next time.
        let paid_for = whole(whole(earned) as f64 / self.per_second * 1e9);
        let until = paid.saturating_add(paid_for).min(now);
        let exchanged =
            self.paid_until.compare_exchange(paid, until, Ordering::AcqRel, Ordering::Acquire);
        // Who loses this race knows that the winner pays for the same time.
        if exchanged.is_ok() {
            self.pay_in(whole(earned));
        }
    }
}

#[cfg(all(test, fogcore_loom))]
mod loom;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_policy_that_makes_no_sense_is_refused_with_its_field() {
        let refused = |policy| RetryBudget::new(policy).unwrap_err().field().map(str::to_owned);
        let policy = BudgetPolicy::default();
        assert_eq!(refused(BudgetPolicy { share: f64::NAN, ..policy }).unwrap(), "share");
        let floor = BudgetPolicy { floor_per_second: -1.0, ..policy };
        assert_eq!(refused(floor).unwrap(), "floor_per_second");
        assert_eq!(refused(BudgetPolicy { most: 0, ..policy }).unwrap(), "most");
    }

    proptest! {
        /// However often it is asked, no part of what time earns is lost on the way.
        #[test]
        fn all_that_the_floor_earns_can_be_spent(
            waits in proptest::collection::vec(0_u64..200_000_000, 1..300),
            floor in 0.001..100.0_f64,
            scale in 0_u32..24,
        ) {
            let policy = BudgetPolicy { share: 0.0, floor_per_second: floor, most: 100 };
            let budget = RetryBudget::new(policy).unwrap();
            let (mut now, mut spent) = (Duration::ZERO, 0_u32);
            for wait in waits {
                now += Duration::from_nanos(wait >> scale);
                while budget.spend(now) {
                    spent += 1;
                }
                // One may be there in part, and a thousandth of it is on its way.
                let earned = now.as_secs_f64() * floor;
                prop_assert!(f64::from(spent) + 1.002 >= earned, "{spent} of {earned}");
                prop_assert!(f64::from(spent) <= earned + 0.001, "{spent} of {earned}");
            }
        }

        #[test]
        fn never_more_is_spent_than_traffic_and_time_have_earned(
            steps in proptest::collection::vec((0_u64..50_000_000, any::<bool>()), 1..500),
            share in 0.0..1.0_f64,
            floor in 0.0..100.0_f64,
        ) {
            let policy = BudgetPolicy { share, floor_per_second: floor, most: 20 };
            let budget = RetryBudget::new(policy).unwrap();
            let (mut now, mut tries, mut spent) = (Duration::ZERO, 0_u32, 0_u32);
            for (wait, is_retry) in steps {
                now += Duration::from_nanos(wait);
                if is_retry {
                    spent += u32::from(budget.spend(now));
                } else {
                    tries += 1;
                    budget.earn();
                }
                // A thousandth of each earning may be rounded up.
                let earned = f64::from(tries) * (share + 0.001) + now.as_secs_f64() * floor;
                prop_assert!(f64::from(spent) <= earned, "{spent} of {earned}");
                prop_assert!(budget.left(now) <= 20);
            }
        }
    }
}
