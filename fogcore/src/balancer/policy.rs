//! How a balancer behaves, whatever its strategy.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::strategy::{
    AdaptiveIntelligent, ConsistentHash, LatencyBased, LeastConnections, Prequal, Random,
    ResourceBased, RoundRobin, Strategy, WeightedRoundRobin,
};
use crate::error::{Error, Result};
use crate::failover::{BreakerPolicy, LoweringPolicy, OutlierPolicy};
use crate::registry::PowerPolicy;

/// The strategies that come with the library; names as in the mesh document where it has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StrategyKind {
    /// Each in its turn.
    RoundRobin,
    /// Each in its turn, as often as its weight says, evenly spread.
    WeightedRoundRobin,
    /// Any.
    Random,
    /// Of some drawn at random, the one with the fewest requests in flight for its weight.
    LeastConnections,
    /// Of some drawn at random, the one that is likely to answer first.
    LatencyBased,
    /// Of some drawn at random, the one with the most to spare.
    ResourceBased,
    /// Of some drawn at random, the one with the mesh document's best score.
    #[default]
    AdaptiveIntelligent,
    /// Of some drawn at random, the fastest that is not hot.
    Prequal,
    /// The one that the request's key leads to.
    ConsistentHash,
}

impl StrategyKind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::RoundRobin,
        Self::WeightedRoundRobin,
        Self::Random,
        Self::LeastConnections,
        Self::LatencyBased,
        Self::ResourceBased,
        Self::AdaptiveIntelligent,
        Self::Prequal,
        Self::ConsistentHash,
    ];

    /// The strategy, with its defaults.
    #[must_use]
    pub fn strategy(self) -> Arc<dyn Strategy> {
        match self {
            Self::RoundRobin => Arc::new(RoundRobin),
            Self::WeightedRoundRobin => Arc::new(WeightedRoundRobin),
            Self::Random => Arc::new(Random),
            Self::LeastConnections => Arc::new(LeastConnections::default()),
            Self::LatencyBased => Arc::new(LatencyBased::default()),
            Self::ResourceBased => Arc::new(ResourceBased::default()),
            Self::AdaptiveIntelligent => Arc::new(AdaptiveIntelligent::default()),
            Self::Prequal => Arc::new(Prequal::default()),
            Self::ConsistentHash => Arc::new(ConsistentHash::default()),
        }
    }
}

/// How a balancer behaves, whatever its strategy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BalancerPolicy {
    /// Keys of the labels by which requests may ask for a part of the nodes, at most 16. Default
    /// none: each costs some memory per node.
    pub subset_keys: Vec<String>,
    /// Names of the request classes beside the general one, at most 15. Default none.
    pub classes: Vec<String>,
    /// For how long the share of a new or recovered node grows. Default 10 s; zero: not at all.
    pub slow_start: Duration,
    /// The share at its beginning, above 0 and up to 1. Default 0.1.
    pub slow_start_from: f64,
    /// If a smaller share than this of the nodes in a scope is healthy, health is ignored rather
    /// than the few overloaded, 0–1. Default 0.5, as Envoy's. Breakers are ignored with it: with the
    /// default, the only node of a scope is picked although its breaker is open.
    pub panic_below: f64,
    /// A region keeps its requests as long as its healthy share, times this, is one; below, the
    /// rest spills over to other regions, 1–10. Default 1.4, as Envoy's.
    pub overprovisioning: f64,
    /// The time in which a latency fades from a peak by 1/e. Default 10 s, as Finagle's.
    pub latency_memory: Duration,
    /// What a failed call counts as at least, in latency. Default 1 s.
    pub failure_latency: Duration,
    /// For how long a node rests that has too much to do.
    pub lowering: LoweringPolicy,
    /// The breaker of each node and class. Default: the mesh document's.
    pub breaker: BreakerPolicy,
    /// When a node that is worse than the others is left out; none: never.
    ///
    /// By default, failures in a row are left to the breaker: it keeps a node only from the class of
    /// requests that fails there, so that a phone which fails GPU work still takes CPU work. With
    /// [`consecutive_failures`](OutlierPolicy::consecutive_failures), those of all classes together
    /// leave a node out for all of them, at once, as far as `most_out` allows.
    pub outliers: Option<OutlierPolicy>,
    /// By which heat and charge a device's share is lowered. Default: the registry's.
    pub power: PowerPolicy,
    /// The points of a node of weight 100 on the ring of consistent hashing, 1–1,024: more points
    /// spread the keys more evenly, and cost about sixteen bytes each and, with many nodes, time.
    /// Default 8: bounded loads even out the rest. A node has at least one and at most 4,096 points,
    /// so that very light and very heavy ones get other shares than their weights say.
    pub ring_points: u16,
}

impl Default for BalancerPolicy {
    fn default() -> Self {
        Self {
            subset_keys: Vec::new(),
            classes: Vec::new(),
            slow_start: Duration::from_secs(10),
            slow_start_from: 0.1,
            panic_below: 0.5,
            overprovisioning: 1.4,
            latency_memory: Duration::from_secs(10),
            failure_latency: Duration::from_secs(1),
            lowering: LoweringPolicy::default(),
            breaker: BreakerPolicy::default(),
            outliers: Some(OutlierPolicy {
                consecutive_failures: None,
                ..OutlierPolicy::default()
            }),
            power: PowerPolicy::default(),
            ring_points: 8,
        }
    }
}

impl BalancerPolicy {
    /// Checks every limit that the types do not hold already.
    ///
    /// # Errors
    /// InvalidInput with the field's name.
    pub fn check(&self) -> Result<()> {
        if self.subset_keys.len() > 16 {
            return Err(Error::invalid("subset_keys", "at most 16 are allowed"));
        }
        if self.classes.len() > 15 {
            return Err(Error::invalid("classes", "at most 15 are allowed"));
        }
        let lists = [("subset_keys", &self.subset_keys), ("classes", &self.classes)];
        for (field, names) in lists {
            if (1..names.len()).any(|at| names[..at].contains(&names[at])) {
                return Err(Error::invalid(field, "must all be different"));
            }
        }
        let day = Duration::from_secs(86_400);
        let times = [
            ("slow_start", self.slow_start),
            ("latency_memory", self.latency_memory),
            ("failure_latency", self.failure_latency),
        ];
        if let Some((field, _)) = times.into_iter().find(|(_, time)| *time > day) {
            return Err(Error::invalid(field, "must be at most 1 day"));
        }
        if self.latency_memory.is_zero() {
            return Err(Error::invalid("latency_memory", "must be above zero"));
        }
        if !(self.slow_start_from > 0.0 && self.slow_start_from <= 1.0) {
            return Err(Error::invalid("slow_start_from", "must be above 0 and at most 1"));
        }
        if !(0.0..=1.0).contains(&self.panic_below) {
            return Err(Error::invalid("panic_below", "must be between 0 and 1"));
        }
        if !(1.0..=10.0).contains(&self.overprovisioning) {
            return Err(Error::invalid("overprovisioning", "must be between 1 and 10"));
        }
        if !(1..=1_024).contains(&self.ring_points) {
            return Err(Error::invalid("ring_points", "must be between 1 and 1024"));
        }
        self.lowering.check()?;
        self.outliers.as_ref().map_or(Ok(()), OutlierPolicy::check)?;
        self.breaker.check()
    }
}
