//! When a breaker opens, and how it comes back.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::report::OpenReason;
use super::window::Counts;
use crate::error::{Error, Result};

/// Which calls the rates are taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// The latest so many calls, 1–65,535.
    Count(u16),
    /// The calls of the latest so much time, 100 ms to 1 day, in sixteen steps: what leaves the
    /// window leaves it a sixteenth at a time.
    Time(Duration),
}

/// When a breaker opens, and how it comes back. Defaults are the mesh document's where it has
/// one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BreakerPolicy {
    /// Which calls the rates are taken over. Default: the latest 100.
    pub window: Window,
    /// Fewer calls in the window say nothing about a rate, 1–65,535. Default 10.
    pub min_calls: u32,
    /// The share of failed calls that opens it, above 0 and up to 1; none: no share does.
    /// Default 0.5.
    pub failure_rate: Option<f64>,
    /// So many failures in a row open it, whatever the window says. Default 5.
    pub consecutive_failures: Option<u32>,
    /// A call that takes longer than this is slow, whether it ends well or not. Default none.
    pub slow_after: Option<Duration>,
    /// The share of slow calls that opens it, above 0 and up to 1. Default 1.
    pub slow_rate: f64,
    /// Whether calls that are still in flight after `slow_after` count as slow already: a node
    /// that hangs is noticed before its calls time out. Default true.
    pub count_overdue: bool,
    /// How long it stays open the first time. Default 60 s.
    pub open_for: Duration,
    /// What each further opening multiplies that with, 1–10. Default 2.
    pub open_growth: f64,
    /// The longest it stays open. Default 10 min.
    pub open_at_most: Duration,
    /// How much of the open time may be added, 0–1, so that many breakers do not probe one node
    /// at the same moment. Default 0.1.
    pub open_jitter: f64,
    /// After it was closed for so long, the next opening counts as the first one. Default 10 min.
    pub forgive_after: Duration,
    /// So many calls may be in flight while it is half open. Default 3.
    pub half_open_permits: u32,
    /// How long those calls may hang: if all of them are in flight and the last one began so long
    /// ago, it opens again, for longer, rather than refuse everybody for ever; what becomes of them
    /// then counts as late. Above zero, at most 1 day. Default none: as long as it was open, and at
    /// least twice as long as `slow_after`, so that it gives slow calls more time at each try.
    pub half_open_at_most: Option<Duration>,
    /// So many successes in a row close it again. Default 3.
    pub successes_to_close: u32,
    /// How long it lets through only a growing share after it closed, so that a recovered node is
    /// not run over. Default 10 s; zero: all at once.
    pub ramp: Duration,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            window: Window::Count(100),
            min_calls: 10,
            failure_rate: Some(0.5),
            consecutive_failures: Some(5),
            slow_after: None,
            slow_rate: 1.0,
            count_overdue: true,
            open_for: Duration::from_secs(60),
            open_growth: 2.0,
            open_at_most: Duration::from_secs(600),
            open_jitter: 0.1,
            forgive_after: Duration::from_secs(600),
            half_open_permits: 3,
            half_open_at_most: None,
            successes_to_close: 3,
            ramp: Duration::from_secs(10),
        }
    }
}

impl BreakerPolicy {
    /// Checks every limit that the types do not hold already.
    ///
    /// # Errors
    /// InvalidInput with the field's name.
    pub fn check(&self) -> Result<()> {
        let day = Duration::from_secs(86_400);
        match self.window {
            Window::Count(0) => {
                return Err(Error::invalid("window", "must hold at least one call"));
            }
            Window::Time(span) if !(Duration::from_millis(100)..=day).contains(&span) => {
                return Err(Error::invalid("window", "must be between 100 ms and 1 day"));
            }
            Window::Count(_) | Window::Time(_) => {}
        }
        if !(1..=65_535).contains(&self.min_calls) {
            return Err(Error::invalid("min_calls", "must be between 1 and 65535"));
        }
        if let Window::Count(calls) = self.window
            && self.min_calls > u32::from(calls)
        {
            return Err(Error::invalid("min_calls", "the window never holds so many"));
        }
        let share = |rate: f64| rate > 0.0 && rate <= 1.0;
        if !self.failure_rate.is_none_or(share) {
            return Err(Error::invalid("failure_rate", "must be above 0 and at most 1"));
        }
        if !share(self.slow_rate) {
            return Err(Error::invalid("slow_rate", "must be above 0 and at most 1"));
        }
        if self.slow_after.is_some_and(|slow| slow.is_zero() || slow > day) {
            return Err(Error::invalid("slow_after", "must be above zero and at most 1 day"));
        }
        if self.open_for.is_zero() || self.open_for > self.open_at_most || self.open_at_most > day {
            let order = "must be above zero, and at most open_at_most, which is at most 1 day";
            return Err(Error::invalid("open_for", order));
        }
        if !(1.0..=10.0).contains(&self.open_growth) {
            return Err(Error::invalid("open_growth", "must be between 1 and 10"));
        }
        if !(0.0..=1.0).contains(&self.open_jitter) {
            return Err(Error::invalid("open_jitter", "must be between 0 and 1"));
        }
        if self.half_open_at_most.is_some_and(|most| most.is_zero() || most > day) {
            return Err(Error::invalid(
                "half_open_at_most",
                "must be above zero and at most 1 day",
            ));
        }
        let counts = [
            ("consecutive_failures", self.consecutive_failures.unwrap_or(1)),
            ("half_open_permits", self.half_open_permits),
            ("successes_to_close", self.successes_to_close),
        ];
        match counts.into_iter().find(|(_, count)| *count == 0) {
            Some((field, _)) => Err(Error::invalid(field, "must be at least 1")),
            None => Ok(()),
        }
    }

    /// How long calls may hang in a half-open breaker that was open for so long.
    pub(super) fn patience(&self, was_open_for: Duration) -> Duration {
        let slow_after = self.slow_after.unwrap_or_default();
        self.half_open_at_most.unwrap_or_else(|| was_open_for.max(slow_after.saturating_mul(2)))
    }

    /// Why it should open, if it should.
    pub(super) fn judge(&self, counts: Counts, in_a_row: u32) -> Option<OpenReason> {
        if counts.failures == 0 && counts.slow == 0 && in_a_row == 0 {
            return None;
        }
        if self.consecutive_failures.is_some_and(|most| in_a_row >= most) {
            return Some(OpenReason::ConsecutiveFailures);
        }
        if counts.calls < self.min_calls {
            return None;
        }
        let share = |bad: u32| f64::from(bad) / f64::from(counts.calls);
        if self
            .failure_rate
            .is_some_and(|rate| counts.failures > 0 && share(counts.failures) >= rate)
        {
            return Some(OpenReason::FailureRate);
        }
        let slow = counts.slow > 0 && share(counts.slow) >= self.slow_rate;
        slow.then_some(OpenReason::SlowRate)
    }
}
