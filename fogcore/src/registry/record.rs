//! What the registry keeps of a node, and how a beat changes it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Eligibility, Heartbeat, Liveness, LivenessPolicy, Node, PowerHistory, PowerPolicy,
    quality::QualityWeights,
};
use crate::time::Timestamp;

/// A node with what is known of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// The registration.
    pub node: Node,
    /// When it registered first.
    pub registered_at: Timestamp,
    /// When it was last heard of: its registration or its latest beat.
    pub last_seen: Timestamp,
    /// Its latest beat since it registered.
    pub heartbeat: Option<Heartbeat>,
    /// What its power states so far mean for its eligibility.
    pub power: PowerHistory,
}

/// What became of a heartbeat.
#[derive(Clone, Debug, PartialEq)]
pub enum Beat {
    /// It was taken in; this is the record now.
    Accepted(NodeRecord),
    /// It is not newer than the latest one and changed nothing.
    Stale(NodeRecord),
}

/// How long a beat may be on its way to where it is kept.
const UNDER_WAY: Duration = Duration::from_secs(5);

impl NodeRecord {
    /// The record of a node that registers at `now`.
    #[must_use]
    pub fn new(node: Node, now: Timestamp) -> Self {
        let power = PowerHistory::default();
        Self { node, registered_at: now, last_seen: now, heartbeat: None, power }
    }

    /// Registers the node again: the new registration holds, and its sequence starts anew. The
    /// power history stays, because a restart cools nothing.
    #[must_use]
    pub fn registered_again(&self, node: Node, now: Timestamp) -> Self {
        let (registered_at, power) = (self.registered_at, self.power);
        Self { node, registered_at, last_seen: now, heartbeat: None, power }
    }

    /// Takes in a heartbeat; false, and nothing changed, if it is not newer than the last one, or if
    /// it was heard of up to five seconds before the node registered: it took a while to get here,
    /// and is of the registration before. (Much longer before, the clock was set back.)
    pub fn beat(&mut self, beat: Heartbeat, now: Timestamp, policy: &PowerPolicy) -> bool {
        if self.heartbeat.as_ref().is_some_and(|last| beat.sequence <= last.sequence) {
            return false;
        }
        let before = self.last_seen.since(now);
        if self.heartbeat.is_none() && before > Duration::ZERO && before <= UNDER_WAY {
            return false;
        }
        if let Some(power) = &beat.power {
            self.power.observe(power, now, policy);
        }
        self.last_seen = now;
        self.heartbeat = Some(beat);
        true
    }

    /// Whether it can be counted on.
    #[must_use]
    pub fn liveness(&self, now: Timestamp, policy: LivenessPolicy) -> Liveness {
        policy.judge(self.last_seen, now)
    }

    /// Whether its power state lets it work.
    ///
    /// # Errors
    /// Why not.
    pub fn eligibility(&self, now: Timestamp, policy: &PowerPolicy) -> Eligibility {
        self.power.eligibility(now, policy)
    }

    /// Its quality score, 0–100.
    #[must_use]
    pub fn quality(&self) -> f64 {
        QualityWeights::default().score(&self.node, self.heartbeat.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_old_beat_is_ignored_until_the_node_registers_again() {
        let policy = PowerPolicy::default();
        let start = Timestamp::UNIX_EPOCH;
        let later = start.saturating_add(Duration::from_secs(9));
        let mut record = NodeRecord::new(Node::new("n".parse().unwrap()), start);
        assert!(record.beat(Heartbeat::new(5), start, &policy));
        assert!(!record.beat(Heartbeat::new(5), later, &policy));
        assert!(!record.beat(Heartbeat::new(4), later, &policy));
        assert_eq!(record.last_seen, start);

        let mut again = record.registered_again(record.node.clone(), later);
        assert_eq!(again.registered_at, start);
        assert!(again.beat(Heartbeat::new(1), later, &policy));
    }
}
