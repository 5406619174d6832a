//! How much a node's word is worth, as far as others have checked it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// What is believed of nodes before anything is known, and how fast what is known grows old.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrustPolicy {
    /// What an unknown node is taken to have done well. Default 9, so that its trust is 0.9: most
    /// nodes are honest, and one wrong result among the first costs a tenth of it.
    pub prior_agreed: f64,
    /// What an unknown node is taken to have done badly. Default 1.
    pub prior_disagreed: f64,
    /// After this time what was seen counts half. Default 30 days: nodes change hands and ways.
    pub half_life: Duration,
}

impl Default for TrustPolicy {
    fn default() -> Self {
        let half_life = Duration::from_secs(30 * 86_400);
        Self { prior_agreed: 9.0, prior_disagreed: 1.0, half_life }
    }
}

/// What was seen of a node: how often its results agreed with the majority's, and how often not.
/// Together with the prior it is a beta distribution, whose mean is the trust.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trust {
    /// Results that agreed, those of long ago in part.
    pub agreed: f64,
    /// Results that did not.
    pub disagreed: f64,
    /// When both were that many.
    pub at: Timestamp,
}

impl Trust {
    /// Nothing was seen by `now`.
    #[must_use]
    pub const fn unknown(now: Timestamp) -> Self {
        Self { agreed: 0.0, disagreed: 0.0, at: now }
    }

    /// The chance that its next result agrees, 0–1.
    #[must_use]
    pub fn mean(&self, now: Timestamp, policy: &TrustPolicy) -> f64 {
        let seen = self.decayed(now, policy);
        let good = policy.prior_agreed + seen.agreed;
        good / (good + policy.prior_disagreed + seen.disagreed)
    }

    /// Takes in whether one more result agreed.
    pub fn observe(&mut self, agreed: bool, now: Timestamp, policy: &TrustPolicy) {
        *self = self.decayed(now, policy);
        if agreed {
            self.agreed += 1.0;
        } else {
            self.disagreed += 1.0;
        }
    }

    /// The same as it counts at `now`; time that runs backwards changes nothing.
    fn decayed(&self, now: Timestamp, policy: &TrustPolicy) -> Self {
        let half_lives = now.since(self.at).as_secs_f64() / policy.half_life.as_secs_f64();
        let left = if half_lives.is_nan() { 1.0 } else { 0.5_f64.powf(half_lives) };
        Self { agreed: self.agreed * left, disagreed: self.disagreed * left, at: self.at.max(now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(days: u64) -> Timestamp {
        Timestamp::UNIX_EPOCH.saturating_add(Duration::from_secs(days * 86_400))
    }

    #[test]
    fn a_wrong_result_costs_trust_and_time_gives_it_back() {
        let policy = TrustPolicy::default();
        let mut trust = Trust::unknown(at(0));
        let mean = |trust: &Trust, days| (trust.mean(at(days), &policy) * 1_000.0).round() / 1e3;
        assert!((mean(&trust, 0) - 0.9).abs() < 1e-9);
        trust.observe(false, at(0), &policy);
        assert!((mean(&trust, 0) - 0.818).abs() < 1e-9);
        // After a half-life half of it counts: 9 / 10.5.
        assert!((mean(&trust, 30) - 0.857).abs() < 1e-9);
        assert!((mean(&trust, 3_000) - 0.9).abs() < 1e-9);
        (0..90).for_each(|_| trust.observe(true, at(0), &policy));
        assert!(mean(&trust, 0) > 0.97);
    }

    #[test]
    fn trust_stays_between_nothing_and_all() {
        let policy = TrustPolicy { half_life: Duration::ZERO, ..TrustPolicy::default() };
        let mut trust = Trust::unknown(at(1));
        for day in [5, 3, 3, 9] {
            trust.observe(day % 2 == 0, at(day), &policy);
            assert!((0.0..=1.0).contains(&trust.mean(at(day), &policy)));
        }
    }
}
