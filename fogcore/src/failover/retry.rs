//! How often, and after which wait, a call is tried again.
//!
//! The wait before another try is drawn from the whole span between zero and a bound that grows with
//! each try: with waits of equal length, callers that failed together come back together, and fail
//! again ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015: "full jitter"). Whether
//! there may be another try at all is also up to the [`RetryBudget`](super::RetryBudget), which all
//! calls share, and to the [`Deadline`], which tries and waits share.
//!
//! ```
//! use std::time::Duration;
//! use fogcore::failover::{FailureKind, RetryPolicy};
//!
//! let policy = RetryPolicy { deadline: Some(Duration::from_secs(1)), ..RetryPolicy::default() };
//! policy.check()?;
//! let now = Duration::ZERO;
//! let deadline = policy.deadline(now);
//! let dice = 0x8000_0000_0000_0000; // from a seeded source
//!
//! let wait = policy.wait_before_next(1, FailureKind::Timeout, dice, deadline, now);
//! assert_eq!(wait, Some(Duration::from_millis(25)));
//! assert_eq!(policy.wait_before_next(3, FailureKind::Timeout, dice, deadline, now), None);
//! assert_eq!(policy.wait_before_next(1, FailureKind::Rejected, dice, deadline, now), None);
//! # Ok::<(), fogcore::Error>(())
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::failover::{Deadline, FailureKind};

/// How often, and after which wait, a call is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RetryPolicy {
    /// All tries of a call, the first one counted, 1–16. Default 3.
    pub attempts: u32,
    /// The longest wait after the first try. Default 50 ms.
    pub backoff_first: Duration,
    /// What each further try multiplies that with, 1–10. Default 2.
    pub backoff_growth: f64,
    /// The longest wait at all, at most 1 day. Default 2 s.
    pub backoff_most: Duration,
    /// How much of a wait the dice may take off, 0–1. Default 1: all of it (full jitter).
    pub jitter: f64,
    /// How long one try may take, up to 1 day; none: as long as there is time. Default none.
    pub per_try_timeout: Option<Duration>,
    /// How long all tries and waits may take together, up to 1 day; none: no limit but that of
    /// whoever calls. Default none.
    pub deadline: Option<Duration>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 3,
            backoff_first: Duration::from_millis(50),
            backoff_growth: 2.0,
            backoff_most: Duration::from_secs(2),
            jitter: 1.0,
            per_try_timeout: None,
            deadline: None,
        }
    }
}

impl RetryPolicy {
    /// Checks every limit that the types do not hold already.
    ///
    /// # Errors
    /// InvalidInput with the field's name.
    pub fn check(&self) -> Result<()> {
        let day = Duration::from_secs(86_400);
        if !(1..=16).contains(&self.attempts) {
            return Err(Error::invalid("attempts", "must be between 1 and 16"));
        }
        if self.backoff_most > day {
            return Err(Error::invalid("backoff_most", "must be at most 1 day"));
        }
        if self.backoff_first > self.backoff_most {
            return Err(Error::invalid("backoff_first", "must be at most backoff_most"));
        }
        if !(1.0..=10.0).contains(&self.backoff_growth) {
            return Err(Error::invalid("backoff_growth", "must be between 1 and 10"));
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err(Error::invalid("jitter", "must be between 0 and 1"));
        }
        let spans = [("per_try_timeout", self.per_try_timeout), ("deadline", self.deadline)];
        let wrong = |span: Duration| span.is_zero() || span > day;
        match spans.into_iter().find(|(_, span)| span.is_some_and(wrong)) {
            Some((field, _)) => Err(Error::invalid(field, "must be above zero and at most 1 day")),
            None => Ok(()),
        }
    }

    /// How long to wait after the `attempt`-th try (from 1) failed. `dice` are 64 random bits: the
    /// same bits give the same wait.
    #[must_use]
    pub fn backoff(&self, attempt: u32, dice: u64) -> Duration {
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let grown = self.backoff_first.as_secs_f64() * self.backoff_growth.powi(exponent);
        let bound = Duration::try_from_secs_f64(grown).unwrap_or(self.backoff_most);
        let bound = bound.min(self.backoff_most);
        // A float holds 53 bits exactly, so this is a share below 1.
        let share = (dice >> 11) as f64 / (1_u64 << 53) as f64;
        let taken_off = bound.as_secs_f64() * self.jitter * share;
        bound.saturating_sub(Duration::try_from_secs_f64(taken_off).unwrap_or(bound))
    }

    /// How long to wait before the next try after `tried` tries, the last of which failed as
    /// `kind`. None: give up, because another try cannot help, because there were enough, or
    /// because the deadline is over before it would begin.
    #[must_use]
    pub fn wait_before_next(
        &self,
        tried: u32,
        kind: FailureKind,
        dice: u64,
        deadline: Option<Deadline>,
        now: Duration,
    ) -> Option<Duration> {
        if tried >= self.attempts || !kind.is_retryable() {
            return None;
        }
        let wait = self.backoff(tried, dice);
        let in_time = deadline.is_none_or(|deadline| wait < deadline.left(now));
        in_time.then_some(wait)
    }

    /// Until when a call that begins at `now` may take.
    #[must_use]
    pub fn deadline(&self, now: Duration) -> Option<Deadline> {
        self.deadline.map(|span| Deadline::after(now, span))
    }

    /// Until when a try that begins at `now` may take, within the deadline of its call.
    #[must_use]
    pub fn deadline_of_try(&self, call: Option<Deadline>, now: Duration) -> Option<Deadline> {
        let own = self.per_try_timeout.map(|span| Deadline::after(now, span));
        match (own, call) {
            (Some(own), Some(call)) => Some(own.earliest(call)),
            (own, call) => own.or(call),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_policy_that_makes_no_sense_is_refused_with_its_field() {
        let policy = RetryPolicy::default();
        assert!(policy.check().is_ok());
        for (policy, field) in [
            (RetryPolicy { attempts: 0, ..policy }, "attempts"),
            (RetryPolicy { attempts: 17, ..policy }, "attempts"),
            (RetryPolicy { backoff_most: 86_401 * SECOND, ..policy }, "backoff_most"),
            (RetryPolicy { backoff_first: 3 * SECOND, ..policy }, "backoff_first"),
            (RetryPolicy { backoff_growth: 0.5, ..policy }, "backoff_growth"),
            (RetryPolicy { backoff_growth: f64::NAN, ..policy }, "backoff_growth"),
            (RetryPolicy { jitter: 1.1, ..policy }, "jitter"),
            (RetryPolicy { per_try_timeout: Some(Duration::ZERO), ..policy }, "per_try_timeout"),
            (RetryPolicy { deadline: Some(86_401 * SECOND), ..policy }, "deadline"),
        ] {
            assert_eq!(policy.check().unwrap_err().field(), Some(field));
        }
    }

    #[test]
    fn without_jitter_waits_grow_to_the_most() {
        let policy = RetryPolicy { jitter: 0.0, ..RetryPolicy::default() };
        let waits: Vec<_> = [0, 1, 2, 3, 6, 7, u32::MAX]
            .map(|attempt| policy.backoff(attempt, u64::MAX).as_millis())
            .into();
        assert_eq!(waits, [50, 50, 100, 200, 1_600, 2_000, 2_000]);
    }

    #[test]
    fn full_jitter_spreads_waits_evenly_from_zero_to_the_bound() {
        let policy = RetryPolicy::default();
        let wait = |dice| policy.backoff(2, dice);
        assert_eq!(wait(0), Duration::from_millis(100));
        assert!(wait(u64::MAX) <= Duration::from_nanos(1));
        for quarter in 0..4_u32 {
            let dice = u64::from(quarter) << 62;
            assert_eq!(wait(dice), Duration::from_millis(25) * (4 - quarter));
        }
    }

    #[test]
    fn a_try_ends_with_its_call() {
        let policy = RetryPolicy { per_try_timeout: Some(SECOND), ..RetryPolicy::default() };
        let at = |seconds: u32| Some(Deadline::at(seconds * SECOND));
        assert_eq!(policy.deadline(SECOND), None);
        assert_eq!(policy.deadline_of_try(None, SECOND), at(2));
        assert_eq!(policy.deadline_of_try(at(9), SECOND), at(2));
        assert_eq!(policy.deadline_of_try(at(1), SECOND), at(1));
        assert_eq!(RetryPolicy::default().deadline_of_try(at(9), SECOND), at(9));
    }

    #[test]
    fn no_try_begins_when_the_deadline_is_over() {
        let policy = RetryPolicy { jitter: 0.0, ..RetryPolicy::default() };
        let wait = |left| {
            let deadline = Some(Deadline::after(SECOND, left));
            policy.wait_before_next(1, FailureKind::Error, 0, deadline, SECOND)
        };
        let first = policy.backoff_first;
        assert_eq!(wait(first), None);
        assert_eq!(wait(first + Duration::from_nanos(1)), Some(first));
    }

    proptest! {
        #[test]
        fn a_wait_stays_within_its_bounds(
            first in 0_u64..10_000_000_000,
            more in 0_u64..10_000_000_000,
            growth in 1.0..10.0_f64,
            jitter in 0.0..=1.0_f64,
            attempt in 0_u32..20,
            dice: u64,
        ) {
            let (first, most) = (Duration::from_nanos(first), Duration::from_nanos(first + more));
            let policy = RetryPolicy {
                backoff_first: first,
                backoff_growth: growth,
                backoff_most: most,
                jitter,
                ..RetryPolicy::default()
            };
            prop_assert!(policy.check().is_ok());
            // The naive bound: multiply as often as told, stop at the most.
            let mut bound = first.as_secs_f64();
            (1..attempt).for_each(|_| bound = (bound * growth).min(most.as_secs_f64()));
            let wait = policy.backoff(attempt, dice).as_secs_f64();
            prop_assert!(wait <= bound + 2e-9, "{wait} of {bound}");
            prop_assert!(wait >= bound * (1.0 - jitter) - 2e-9, "{wait} of {bound}");
            prop_assert_eq!(policy.backoff(attempt, dice), policy.backoff(attempt, dice));
        }

        #[test]
        fn a_call_ends_within_its_tries_and_its_deadline(
            attempts in 1_u32..=16,
            span in 1_u64..10_000,
            tries in proptest::collection::vec((0_u64..500, any::<u64>()), 20),
        ) {
            let span = Duration::from_millis(span);
            let policy = RetryPolicy { attempts, deadline: Some(span), ..RetryPolicy::default() };
            let deadline = policy.deadline(SECOND);
            let (mut now, mut tried) = (SECOND, 0);
            for (took, dice) in tries {
                prop_assert!(now < SECOND + span, "no try begins after the deadline");
                tried += 1;
                now += Duration::from_millis(took);
                match policy.wait_before_next(tried, FailureKind::Error, dice, deadline, now) {
                    Some(wait) => now += wait,
                    None => break,
                }
            }
            prop_assert!(tried <= attempts);
        }
    }
}
