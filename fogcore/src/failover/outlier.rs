//! Nodes that are worse than the others, told by what their calls show: no probe is sent.
//!
//! After Envoy's outlier detection: a row of failures ejects a node at once; from time to time all
//! nodes are compared, and those whose success rate or latency is far from the rest are ejected. A
//! node stays out for longer each time, until it was fine for a while, and never more than a share of
//! all nodes is out.
//!
//! ```
//! use std::time::Duration;
//! use fogcore::failover::{Observed, OutlierPolicy, far_from_the_rest};
//!
//! let observed: Vec<_> = (0..10)
//!     .map(|node| Observed { calls: 200, failures: if node == 7 { 90 } else { 2 }, latency: None })
//!     .collect();
//! let outliers = far_from_the_rest(&observed, &OutlierPolicy::default());
//! assert_eq!(outliers.iter().map(|outlier| outlier.index).collect::<Vec<_>>(), [7]);
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::failover::words::whole;

/// When a node is an outlier, and how long it is out. Defaults are Envoy's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutlierPolicy {
    /// So many failures in a row, at least 1, eject a node at once; none: they do not. Default 5.
    pub consecutive_failures: Option<u32>,
    /// Time between two comparisons of all nodes. Default 10 s.
    pub compare_every: Duration,
    /// Nodes with fewer calls since the last comparison are left out of it. Default 100.
    pub min_calls: u32,
    /// With fewer nodes than this there is nothing to compare with. Default 5.
    pub min_nodes: usize,
    /// How many standard deviations below the mean a success rate must be. Default 1.9.
    pub deviations: f64,
    /// How many times the median a latency must be; none: latency ejects nobody. Default 3.
    pub latency_factor: Option<f64>,
    /// How long a node is out the first time; the n-th time, n times as long. Each comparison before
    /// which it was not out takes one off n again. Default 30 s.
    pub out_for: Duration,
    /// The longest that a node is out. Default 300 s.
    pub out_at_most: Duration,
    /// The largest share of all nodes that may be out; one may always be. Default 0.1.
    pub most_out: f64,
}

impl Default for OutlierPolicy {
    fn default() -> Self {
        Self {
            consecutive_failures: Some(5),
            compare_every: Duration::from_secs(10),
            min_calls: 100,
            min_nodes: 5,
            deviations: 1.9,
            latency_factor: Some(3.0),
            out_for: Duration::from_secs(30),
            out_at_most: Duration::from_secs(300),
            most_out: 0.1,
        }
    }
}

impl OutlierPolicy {
    /// Checks every limit that the types do not hold already.
    ///
    /// # Errors
    /// InvalidInput with the field's name.
    pub fn check(&self) -> Result<()> {
        if self.consecutive_failures == Some(0) {
            return Err(Error::invalid("consecutive_failures", "must be at least 1"));
        }
        if self.compare_every.is_zero() {
            return Err(Error::invalid("compare_every", "must be above zero"));
        }
        if !(0.0..=100.0).contains(&self.deviations) {
            return Err(Error::invalid("deviations", "must be between 0 and 100"));
        }
        if self.latency_factor.is_some_and(|factor| !(1.0..=1e6).contains(&factor)) {
            return Err(Error::invalid("latency_factor", "must be between 1 and 1000000"));
        }
        if !(0.0..=1.0).contains(&self.most_out) {
            return Err(Error::invalid("most_out", "must be between 0 and 1"));
        }
        Ok(())
    }

    /// How long a node is out that is ejected for the `times`-th time.
    #[must_use]
    pub fn out_for(&self, times: u32) -> Duration {
        self.out_for.saturating_mul(times.max(1)).min(self.out_at_most)
    }

    /// How many of `nodes` may be out at the same time.
    #[must_use]
    pub fn most_out(&self, nodes: usize) -> usize {
        let most = whole(nodes as f64 * self.most_out.clamp(0.0, 1.0));
        usize::try_from(most).unwrap_or(usize::MAX).max(1)
    }
}

/// What was seen of a node since the last comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// Calls that ended.
    pub calls: u32,
    /// Those that failed.
    pub failures: u32,
    /// The mean latency of those that succeeded, if any did. Failures must not be in it: what they
    /// take says nothing about how fast a node is.
    pub latency: Option<Duration>,
}

/// Why a node was ejected.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EjectReason {
    /// Too many failures in a row.
    ConsecutiveFailures,
    /// Its success rate is far below the others'.
    SuccessRate {
        /// Its own, 0–1.
        rate: f64,
        /// What it should have been at least.
        bar: f64,
    },
    /// It is far slower than the others.
    Latency {
        /// Its own.
        latency: Duration,
        /// What it should have been at most.
        bar: Duration,
    },
}

impl EjectReason {
    /// Its name, as in JSON.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::ConsecutiveFailures => "consecutive_failures",
            Self::SuccessRate { .. } => "success_rate",
            Self::Latency { .. } => "latency",
        }
    }
}

/// A node that is far from the rest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outlier {
    /// Its place in the list of what was observed.
    pub index: usize,
    /// In what it differs.
    pub reason: EjectReason,
}

/// The outliers among nodes, those with the worst success rate first.
#[must_use]
pub fn far_from_the_rest(observed: &[Observed], policy: &OutlierPolicy) -> Vec<Outlier> {
    let busy: Vec<(usize, &Observed)> = observed
        .iter()
        .enumerate()
        .filter(|(_, seen)| seen.calls >= policy.min_calls.max(1))
        .collect();
    if busy.len() < policy.min_nodes {
        return Vec::new();
    }
    let mut outliers = low_success_rates(&busy, policy);
    for slow in high_latencies(&busy, policy) {
        if outliers.iter().all(|outlier| outlier.index != slow.index) {
            outliers.push(slow);
        }
    }
    outliers
}

fn low_success_rates(busy: &[(usize, &Observed)], policy: &OutlierPolicy) -> Vec<Outlier> {
    let rate =
        |seen: &Observed| 1.0 - f64::from(seen.failures.min(seen.calls)) / f64::from(seen.calls);
    let count = busy.len() as f64;
    let mean = busy.iter().map(|(_, seen)| rate(seen)).sum::<f64>() / count;
    let variance = busy.iter().map(|(_, seen)| (rate(seen) - mean).powi(2)).sum::<f64>() / count;
    let bar = mean - policy.deviations * variance.sqrt();
    let mut low: Vec<_> = busy
        .iter()
        .map(|(index, seen)| (*index, rate(seen)))
        // Among nodes that all do the same, rounding must eject nobody.
        .filter(|(_, rate)| bar - rate > 1e-9)
        .collect();
    low.sort_by(|a, b| a.1.total_cmp(&b.1));
    let outlier = |(index, rate)| Outlier { index, reason: EjectReason::SuccessRate { rate, bar } };
    low.into_iter().map(outlier).collect()
}

fn high_latencies(busy: &[(usize, &Observed)], policy: &OutlierPolicy) -> Vec<Outlier> {
    let Some(factor) = policy.latency_factor else { return Vec::new() };
    let mut known: Vec<_> =
        busy.iter().filter_map(|(index, seen)| Some((seen.latency?, *index))).collect();
    if known.len() < policy.min_nodes {
        return Vec::new();
    }
    known.sort_unstable();
    let median = known[known.len() / 2].0;
    let Ok(bar) = Duration::try_from_secs_f64(median.as_secs_f64() * factor) else {
        return Vec::new();
    };
    let slow = known.into_iter().rev().take_while(|(latency, _)| *latency > bar);
    let reason = |latency| EjectReason::Latency { latency, bar };
    slow.map(|(latency, index)| Outlier { index, reason: reason(latency) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(failures: u32, millis: u64) -> Observed {
        Observed { calls: 1_000, failures, latency: Some(Duration::from_millis(millis)) }
    }

    #[test]
    fn equals_eject_nobody_however_bad_they_are() {
        for failures in [0, 333, 1_000] {
            let same = vec![seen(failures, 20); 9];
            assert_eq!(far_from_the_rest(&same, &OutlierPolicy::default()), []);
        }
    }

    #[test]
    fn the_slow_and_the_failing_are_found_each_once() {
        let mut nodes = vec![seen(5, 20); 12];
        nodes[3] = seen(600, 500);
        nodes[8] = seen(5, 61);
        nodes[9] = seen(5, 60);
        let found = far_from_the_rest(&nodes, &OutlierPolicy::default());
        let indexes: Vec<_> = found.iter().map(|outlier| outlier.index).collect();
        assert_eq!(indexes, [3, 8]);
        assert!(matches!(found[1].reason, EjectReason::Latency { .. }));
    }

    #[test]
    fn few_nodes_or_few_calls_prove_nothing() {
        let mut nodes = vec![seen(0, 20); 4];
        nodes.push(Observed { calls: 99, failures: 99, latency: None });
        assert_eq!(far_from_the_rest(&nodes, &OutlierPolicy::default()), []);
    }

    #[test]
    fn a_node_is_out_for_longer_each_time_and_some_always_stay() {
        let policy = OutlierPolicy::default();
        let seconds: Vec<_> = [1, 2, 10, 99].map(|times| policy.out_for(times).as_secs()).into();
        assert_eq!(seconds, [30, 60, 300, 300]);
        assert_eq!([1, 9, 10, 25].map(|nodes| policy.most_out(nodes)), [1, 1, 1, 2]);
    }
}
