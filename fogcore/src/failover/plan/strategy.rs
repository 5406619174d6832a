//! How a node's traffic leaves it, and how much of this goes on at once.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How a node's traffic leaves it.
///
/// | strategy | the node keeps | it ends when |
/// |---|---|---|
/// | immediate | nothing, at once | it recovers, or is cancelled if somebody asked for it |
/// | gradual | less with each step | as above |
/// | circuit breaker | nothing, at once | the node's breaker closes, whoever asked for it |
/// | redundant | nothing, and each request goes to several others | as for immediate |
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailoverStrategy {
    /// All of it at once.
    Immediate,
    /// In steps, so that the others warm up.
    Gradual {
        /// Per cent that it keeps, from the beginning on: 1–32 steps that fall to 0.
        shares: Vec<u8>,
        /// How long each step takes, up to 1 day.
        every: Duration,
    },
    /// All of it at once, until the node's breaker has closed again.
    #[default]
    CircuitBreaker,
    /// All of it at once, each request to several others: for when no answer may be lost.
    Redundant {
        /// To how many, 2–8.
        factor: u8,
    },
}

impl FailoverStrategy {
    /// In steps of 75, 50, 25 and 0 per cent, every 30 s.
    #[must_use]
    pub fn gradual() -> Self {
        Self::Gradual { shares: vec![75, 50, 25, 0], every: Duration::from_secs(30) }
    }

    /// To two others each.
    #[must_use]
    pub const fn redundant() -> Self {
        Self::Redundant { factor: 2 }
    }

    /// Its name, as in JSON.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Immediate => "immediate",
            Self::Gradual { .. } => "gradual",
            Self::CircuitBreaker => "circuit_breaker",
            Self::Redundant { .. } => "redundant",
        }
    }

    /// Checks every limit that the types do not hold already.
    ///
    /// # Errors
    /// InvalidInput with the field's name.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Gradual { shares, every } => {
                let falls = shares.windows(2).all(|pair| pair[0] > pair[1]);
                let ends =
                    shares.first().is_some_and(|first| *first <= 100) && shares.last() == Some(&0);
                if !falls || !ends || shares.len() > 32 {
                    let rule = "must be 1–32 steps that fall, from at most 100 to 0";
                    return Err(Error::invalid("shares", rule));
                }
                if every.is_zero() || *every > Duration::from_secs(86_400) {
                    return Err(Error::invalid("every", "must be above zero and at most 1 day"));
                }
                Ok(())
            }
            Self::Redundant { factor } if !(2..=8).contains(factor) => {
                Err(Error::invalid("factor", "must be between 2 and 8"))
            }
            Self::Immediate | Self::CircuitBreaker | Self::Redundant { .. } => Ok(()),
        }
    }

    /// Per cent of its traffic that a node keeps, so long after the failover began.
    #[must_use]
    pub fn share(&self, since: Duration) -> u8 {
        let Self::Gradual { shares, every } = self else { return 0 };
        shares.get(step(since, *every)).copied().unwrap_or(0)
    }

    /// How long after the beginning the share changes next, if it does.
    #[must_use]
    pub fn next_step(&self, since: Duration) -> Option<Duration> {
        let Self::Gradual { shares, every } = self else { return None };
        let next = step(since, *every).saturating_add(1);
        let next = (next < shares.len()).then_some(next)?;
        Some(every.saturating_mul(u32::try_from(next).ok()?))
    }

    /// To how many nodes each request goes that the node does not keep.
    #[must_use]
    pub const fn copies(&self) -> u8 {
        match self {
            Self::Redundant { factor } => *factor,
            _ => 1,
        }
    }
}

/// Which step it is, from 0.
fn step(since: Duration, every: Duration) -> usize {
    let step = since.as_nanos() / every.as_nanos().max(1);
    usize::try_from(step).unwrap_or(usize::MAX)
}

/// How nodes fail over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FailoverPolicy {
    /// How a node's traffic leaves it. Default: circuit breaker.
    pub strategy: FailoverStrategy,
    /// How many failovers are remembered, 1–100,000. Default 1,000.
    pub history: usize,
    /// How many nodes may fail over at the same time, 1–1,000,000. Default 10,000.
    pub most_at_once: usize,
}

impl Default for FailoverPolicy {
    fn default() -> Self {
        Self { strategy: FailoverStrategy::default(), history: 1_000, most_at_once: 10_000 }
    }
}

impl FailoverPolicy {
    /// Checks every limit that the types do not hold already.
    ///
    /// # Errors
    /// InvalidInput with the field's name.
    pub fn check(&self) -> Result<()> {
        self.strategy.check()?;
        if !(1..=100_000).contains(&self.history) {
            return Err(Error::invalid("history", "must be between 1 and 100000"));
        }
        if !(1..=1_000_000).contains(&self.most_at_once) {
            return Err(Error::invalid("most_at_once", "must be between 1 and 1000000"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_policy_that_makes_no_sense_is_refused_with_its_field() {
        let gradual =
            |shares: &[u8], every| FailoverStrategy::Gradual { shares: shares.into(), every };
        let many: Vec<u8> = (0..33).rev().collect();
        for (strategy, field) in [
            (gradual(&[], SECOND), "shares"),
            (gradual(&[50], SECOND), "shares"),
            (gradual(&[101, 0], SECOND), "shares"),
            (gradual(&[50, 50, 0], SECOND), "shares"),
            (gradual(&[0, 50, 0], SECOND), "shares"),
            (gradual(&many, SECOND), "shares"),
            (gradual(&[50, 0], Duration::ZERO), "every"),
            (gradual(&[50, 0], 86_401 * SECOND), "every"),
            (FailoverStrategy::Redundant { factor: 1 }, "factor"),
            (FailoverStrategy::Redundant { factor: 9 }, "factor"),
        ] {
            let policy = FailoverPolicy { strategy, ..FailoverPolicy::default() };
            assert_eq!(policy.check().unwrap_err().field(), Some(field), "{policy:?}");
        }
        let policy = FailoverPolicy { history: 0, ..FailoverPolicy::default() };
        assert_eq!(policy.check().unwrap_err().field(), Some("history"));
        let policy = FailoverPolicy { most_at_once: 0, ..FailoverPolicy::default() };
        assert_eq!(policy.check().unwrap_err().field(), Some("most_at_once"));
        assert!(gradual(&many[1..], SECOND).check().is_ok());
        assert!(gradual(&[0], SECOND).check().is_ok());
        assert!(FailoverStrategy::gradual().check().is_ok());
        assert!(FailoverStrategy::redundant().check().is_ok());
        assert!(FailoverPolicy::default().check().is_ok());
    }

    #[test]
    fn the_default_steps_are_exact() {
        let gradual = FailoverStrategy::gradual();
        let nano = Duration::from_nanos(1);
        for (since, keeps, next) in [
            (Duration::ZERO, 75, Some(30)),
            (30 * SECOND - nano, 75, Some(30)),
            (30 * SECOND, 50, Some(60)),
            (60 * SECOND - nano, 50, Some(60)),
            (60 * SECOND, 25, Some(90)),
            (90 * SECOND - nano, 25, Some(90)),
            (90 * SECOND, 0, None),
            (Duration::MAX, 0, None),
        ] {
            assert_eq!(gradual.share(since), keeps, "{since:?}");
            assert_eq!(gradual.next_step(since), next.map(|next| next * SECOND), "{since:?}");
        }
    }

    #[test]
    fn every_other_strategy_drains_at_once() {
        use FailoverStrategy as S;
        for strategy in [S::Immediate, S::CircuitBreaker, S::redundant()] {
            assert_eq!(strategy.share(Duration::ZERO), 0);
            assert_eq!(strategy.next_step(Duration::ZERO), None);
        }
        assert_eq!([S::gradual().copies(), S::redundant().copies()], [1, 2]);
    }

    #[test]
    fn a_strategy_survives_json() {
        use FailoverStrategy as S;
        for strategy in [S::Immediate, S::CircuitBreaker, S::redundant(), S::gradual()] {
            let policy = FailoverPolicy { strategy, ..FailoverPolicy::default() };
            let json = serde_json::to_string(&policy).unwrap();
            assert!(json.contains(policy.strategy.as_str()), "{json}");
            assert_eq!(serde_json::from_str::<FailoverPolicy>(&json).unwrap(), policy);
        }
        assert_eq!(
            serde_json::from_str::<FailoverPolicy>("{}").unwrap(),
            FailoverPolicy::default()
        );
    }

    proptest! {
        #[test]
        fn shares_only_fall_and_exactly_at_the_steps(
            falls in proptest::collection::btree_set(1_u8..=100, 0..31),
            every in 1_u64..100_000_000_000,
            times in proptest::collection::vec(0_u64..4_000_000_000_000, 1..50),
        ) {
            let shares: Vec<u8> = falls.into_iter().rev().chain([0]).collect();
            let every = Duration::from_nanos(every);
            let strategy = FailoverStrategy::Gradual { shares: shares.clone(), every };
            prop_assert!(strategy.check().is_ok());
            let mut since = Duration::ZERO;
            for (number, share) in shares.iter().enumerate() {
                prop_assert_eq!(strategy.share(since), *share);
                let Some(next) = strategy.next_step(since) else {
                    prop_assert_eq!(number + 1, shares.len());
                    break;
                };
                prop_assert_eq!(next, since + every);
                prop_assert_eq!(strategy.share(next - Duration::from_nanos(1)), *share);
                since = next;
            }
            let mut times: Vec<_> = times.into_iter().map(Duration::from_nanos).collect();
            times.sort_unstable();
            prop_assert!(times.is_sorted_by(|a, b| strategy.share(*a) >= strategy.share(*b)));
        }
    }
}
