//! How often nodes are probed, and how many answers decide.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How often nodes are probed, and how many answers decide. Defaults are the mesh document's where
/// it has one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthPolicy {
    /// Time from one probe of a node to the next, 1 ms to 1 day. Default 30 s.
    pub every: Duration,
    /// How long a probe may take, above zero and at most `every`, so that a node has one probe at
    /// a time. Default 10 s.
    pub timeout: Duration,
    /// The share of `every` by which the time to the next probe varies in both directions, 0–0.5,
    /// and within which a new node is first probed: many nodes are not probed in one burst.
    /// Default 0.1.
    pub jitter: f64,
    /// So many failures in a row make a node unhealthy, at least 1. Default 3: one lost packet
    /// should not take a node away.
    pub unhealthy_after: u32,
    /// So many successes in a row make an unhealthy node healthy again, at least 1. Default 2.
    pub healthy_after: u32,
}

impl Default for HealthPolicy {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(30),
            timeout: Duration::from_secs(10),
            jitter: 0.1,
            unhealthy_after: 3,
            healthy_after: 2,
        }
    }
}

impl HealthPolicy {
    /// Checks every limit that the types do not hold already.
    ///
    /// # Errors
    /// InvalidInput with the field's name.
    pub fn check(&self) -> Result<()> {
        if !(Duration::from_millis(1)..=Duration::from_secs(86_400)).contains(&self.every) {
            return Err(Error::invalid("every", "must be between 1 ms and 1 day"));
        }
        if self.timeout.is_zero() || self.timeout > self.every {
            return Err(Error::invalid("timeout", "must be above zero and at most `every`"));
        }
        if !(0.0..=0.5).contains(&self.jitter) {
            return Err(Error::invalid("jitter", "must be between 0 and 0.5"));
        }
        let counts =
            [("unhealthy_after", self.unhealthy_after), ("healthy_after", self.healthy_after)];
        match counts.into_iter().find(|(_, count)| *count == 0) {
            Some((field, _)) => Err(Error::invalid(field, "must be at least 1")),
            None => Ok(()),
        }
    }

    /// How long a new node waits for its first probe: `every · jitter · dice`, dice in 0–1.
    pub(super) fn first(&self, dice: f64) -> Duration {
        self.share(self.jitter * dice)
    }

    /// How long after a probe the next one begins: `every · (1 ± jitter)`, dice in 0–1.
    pub(super) fn next(&self, dice: f64) -> Duration {
        self.share(1.0 + self.jitter * (2.0 * dice - 1.0))
    }

    fn share(&self, share: f64) -> Duration {
        Duration::try_from_secs_f64(self.every.as_secs_f64() * share).unwrap_or(self.every)
    }
}
