//! How good a host a node is, as one number from 0 to 100.
//!
//! The coordinator document's score, with its constants as fields: latency, loss and free seats
//! as measured, and the hardware as registered. What was not measured yet counts as perfect,
//! because a fresh host has to get its first chance.
//!
//! ```
//! use fogcore::registry::{Node, Resources, quality::QualityWeights};
//!
//! let mut node = Node::new("host".parse()?);
//! node.resources = Resources {
//!     cpu_cores: 8, memory_mib: 16_384, bandwidth_mbps: 1_000, ..Resources::default()
//! };
//! assert_eq!(QualityWeights::default().score(&node, None), 100.0);
//! # Ok::<(), fogcore::Error>(())
//! ```

use serde::{Deserialize, Serialize};

use super::{Heartbeat, Node};

/// The points that each part of the score can give, and where they end.
///
/// `max(0, latency − ms/10) + max(0, loss − 2·%) + seats·max(0, 1 − connections/max)
/// + min(cpu, cpu·cores/4) + min(memory, memory·MiB/8192) + min(bandwidth, bandwidth·mbps/100)`
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct QualityWeights {
    /// Points for no latency; each 10 ms costs one. Default 30.
    pub latency: f64,
    /// Points for no loss; each per cent costs two. Default 20.
    pub loss: f64,
    /// Points for being empty. Default 25.
    pub seats: f64,
    /// Points for the CPU, all of them from 4 cores. Default 10.
    pub cpu: f64,
    /// Points for the memory, all of them from 8 GiB. Default 10.
    pub memory: f64,
    /// Points for the network, all of them from 100 Mbit/s. Default 5.
    pub bandwidth: f64,
}

impl Default for QualityWeights {
    fn default() -> Self {
        Self { latency: 30.0, loss: 20.0, seats: 25.0, cpu: 10.0, memory: 10.0, bandwidth: 5.0 }
    }
}

impl QualityWeights {
    /// The score, rounded to two decimals.
    #[must_use]
    pub fn score(&self, node: &Node, beat: Option<&Heartbeat>) -> f64 {
        let latency_ms = beat.and_then(|b| b.latency).map_or(0.0, |l| l.get());
        let loss_percent = beat.and_then(|b| b.loss).map_or(0.0, |l| l.get());
        let connections = beat.map_or(0.0, |b| f64::from(b.connections));
        let seats = 1.0 - connections / f64::from(node.max_connections.max(1));
        let resources = &node.resources;
        // Beyond the limit of the score, precision is of no interest.
        let share = |have: f64, enough: f64| (have / enough).min(1.0);
        let score = (self.latency - latency_ms / 10.0).max(0.0)
            + (self.loss - 2.0 * loss_percent).max(0.0)
            + self.seats * seats.max(0.0)
            + self.cpu * share(f64::from(resources.cpu_cores), 4.0)
            + self.memory * share(resources.memory_mib as f64, 8_192.0)
            + self.bandwidth * share(f64::from(resources.bandwidth_mbps), 100.0);
        (score * 100.0).round() / 100.0
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "scores are rounded to two decimals")]
mod tests {
    use super::*;
    use crate::registry::{Millis, Percent, Resources};
    use proptest::prelude::*;

    fn host() -> Node {
        let resources = Resources {
            cpu_cores: 8,
            memory_mib: 16_384,
            bandwidth_mbps: 1_000,
            ..Resources::default()
        };
        Node { resources, ..Node::new("host".parse().unwrap()) }
    }

    #[test]
    fn the_documents_example_scores_92_25() {
        let beat = Heartbeat {
            latency: Some(Millis::new(25.5).unwrap()),
            loss: Some(Percent::new(0.1).unwrap()),
            connections: 10,
            ..Heartbeat::new(1)
        };
        assert_eq!(QualityWeights::default().score(&host(), Some(&beat)), 92.25);
    }

    proptest! {
        #[test]
        fn the_score_stays_within_0_and_100(
            latency in 0.0..3_600_000.0, loss in 0.0..=100.0, connections: u32, cores: u32,
            memory_mib: u64, max_connections: u32,
        ) {
            let mut node = host();
            node.resources.cpu_cores = cores;
            node.resources.memory_mib = memory_mib;
            node.max_connections = max_connections;
            let beat = Heartbeat {
                latency: Some(Millis::new(latency).unwrap()),
                loss: Some(Percent::new(loss).unwrap()),
                connections,
                ..Heartbeat::new(1)
            };
            let score = QualityWeights::default().score(&node, Some(&beat));
            prop_assert!((0.0..=100.0).contains(&score), "{score}");
        }
    }
}
