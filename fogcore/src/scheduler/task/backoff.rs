//! How long a failed task waits for its next attempt.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::id::TaskId;

/// How long a failed task waits for its next attempt: `initial × factor^(attempt − 1)`, at most
/// `max`, less a share of up to `jitter` that depends on the task and the attempt alone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Backoff {
    /// The wait after the first attempt. Default 1 s.
    pub initial: Duration,
    /// What each further attempt multiplies it with, 1–10. Default 2.
    pub factor: f64,
    /// The longest wait. Default 5 min.
    pub max: Duration,
    /// How much of the wait may be taken off, 0–1, so that tasks that failed together do not
    /// come back together. Default 0.2.
    pub jitter: f64,
}

impl Default for Backoff {
    fn default() -> Self {
        let (initial, max) = (Duration::from_secs(1), Duration::from_secs(300));
        Self { initial, factor: 2.0, max, jitter: 0.2 }
    }
}

impl Backoff {
    /// The wait of `task` after its `attempt`-th attempt failed.
    #[must_use]
    pub fn wait(&self, task: TaskId, attempt: u32) -> Duration {
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let grown = self.initial.as_secs_f64() * self.factor.powi(exponent);
        let capped = grown.min(self.max.as_secs_f64());
        // The hash stands in for dice, so that a replay waits as long.
        let digest =
            blake3::hash(&[task.uuid().as_bytes().as_slice(), &attempt.to_le_bytes()].concat());
        let share = f64::from(digest.as_bytes()[0]) / 255.0 * self.jitter;
        Duration::try_from_secs_f64(capped * (1.0 - share)).unwrap_or(self.max)
    }

    pub(super) fn check(&self) -> Result<()> {
        if !(1.0..=10.0).contains(&self.factor) {
            return Err(Error::invalid("backoff.factor", "must be between 1 and 10"));
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err(Error::invalid("backoff.jitter", "must be between 0 and 1"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backoff_grows_to_its_maximum_and_stays_within_its_jitter() {
        let (backoff, task) = (Backoff::default(), TaskId::derive(b"t", "task"));
        for (attempt, seconds) in [(1, 1.0), (2, 2.0), (5, 16.0), (60, 300.0), (u32::MAX, 300.0)] {
            let wait = backoff.wait(task, attempt).as_secs_f64();
            assert!((seconds * 0.8..=seconds).contains(&wait), "attempt {attempt}: {wait} s");
        }
        assert_eq!(backoff.wait(task, 3), backoff.wait(task, 3));
    }
}
