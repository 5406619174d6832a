//! Takes a node's traffic off it, by hand or because it failed, and remembers that it did.
//!
//! Skipping a node is easy; the questions are how fast its traffic should leave (all at once, so
//! that nobody waits for a dead node, or in steps, so that the others warm up), who takes over, and
//! whether anybody is left who can. A node that is drained as the last healthy one is an outage
//! made by hand, so this has to be forced. [`Failover`] answers these, and does nothing else: it is
//! handed how the nodes are, and whoever distributes requests asks it for
//! [`shares`](Failover::shares). A fog does both for its balancers:
//! [`Fog::fail_over`](crate::Fog::fail_over).
//!
//! ```
//! use std::time::Duration;
//! use fogcore::failover::{Failover, FailoverPolicy, FailoverStrategy, NodeStanding};
//!
//! let policy = FailoverPolicy { strategy: FailoverStrategy::gradual(), ..Default::default() };
//! let mut failover = Failover::new(policy)?;
//! let nodes = ["a", "b", "c"].map(|name| NodeStanding::new(name.parse().unwrap()));
//! let (a, now, seconds) = (&nodes[0].node, Duration::ZERO, Duration::from_secs);
//!
//! let started = failover.trigger(a, "maintenance", false, &nodes, now)?;
//! assert_eq!(started.replacement(), Some(&nodes[1].node));
//! assert_eq!(failover.share_of(a, now), 75);
//! assert_eq!(failover.next_step_at(now), Some(seconds(30)));
//! assert_eq!(failover.share_of(a, seconds(90)), 0);
//!
//! let refused = failover.trigger(&nodes[1].node, "too", false, &nodes[..2], now);
//! assert!(refused.is_err(), "b is the last healthy one of these two");
//! assert!(failover.cancel(a, seconds(600)));
//! assert_eq!(failover.share_of(a, seconds(600)), 100);
//! # Ok::<(), fogcore::Error>(())
//! ```

mod history;
mod strategy;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::history::{FailoverOutcome, FailoverReason, FailureRecord};
use self::history::{History, Number};
pub use self::strategy::{FailoverPolicy, FailoverStrategy};
use crate::error::Result;
use crate::failover::{FailoverError, FailureKind};
use crate::id::NodeId;
use crate::time::Timestamp;

/// The longest reason that is kept, in characters.
pub const MAX_REASON_CHARS: usize = 256;

/// How a node is, for the choice of who takes over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeStanding {
    /// The node.
    pub node: NodeId,
    /// Whether requests may go there: it is there, eligible, and its probes and breaker say so.
    pub healthy: bool,
    /// How much it takes compared to others; one of weight 0 takes nothing.
    pub weight: u32,
    /// How much of that is in use, 0–1.
    pub load: f64,
    /// Where it is; empty if that is not known.
    pub region: String,
}

impl NodeStanding {
    /// A healthy node of weight 1 without load, somewhere.
    #[must_use]
    pub const fn new(node: NodeId) -> Self {
        Self { node, healthy: true, weight: 1, load: 0.0, region: String::new() }
    }

    /// The weight that is not in use. What is no number is a full load.
    fn room(&self) -> f64 {
        let used = if self.load.is_nan() { 1.0 } else { self.load.clamp(0.0, 1.0) };
        f64::from(self.weight) * (1.0 - used)
    }
}

/// What a failover began with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailoverStarted {
    /// The node whose traffic leaves it.
    pub node: NodeId,
    /// Who should take over, the best one first: healthy, of the same region if there is one, with
    /// the most room. Several if requests go to several; none if nobody is left.
    pub replacements: Vec<NodeId>,
    /// Per cent of its traffic that the node keeps for now.
    pub keeps: u8,
}

impl FailoverStarted {
    /// The node that should take over before all others.
    #[must_use]
    pub fn replacement(&self) -> Option<&NodeId> {
        self.replacements.first()
    }
}

/// What a node that fails over keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficShare {
    /// The node.
    pub node: NodeId,
    /// Per cent of the traffic that it would have; at most, because who is not healthy is skipped
    /// anyway.
    pub keeps: u8,
    /// Who was named to take over.
    pub replacements: Vec<NodeId>,
    /// To how many nodes each request goes that it does not keep.
    pub copies: u8,
}

#[derive(Debug)]
struct Ongoing {
    began: Duration,
    asked: bool,
    replacements: Vec<NodeId>,
    record: Number,
}

/// The nodes whose traffic is on its way to others, and the latest that were.
#[derive(Debug)]
pub struct Failover {
    policy: FailoverPolicy,
    /// What the wall clock showed when `now` was zero.
    zero: Timestamp,
    ongoing: BTreeMap<NodeId, Ongoing>,
    history: History,
}

impl Failover {
    /// Nothing fails over, and nothing is remembered.
    ///
    /// # Errors
    /// InvalidInput with the field's name for a policy that makes no sense.
    pub fn new(policy: FailoverPolicy) -> Result<Self> {
        policy.check()?;
        let history = History::new(policy.history);
        Ok(Self { policy, zero: Timestamp::UNIX_EPOCH, ongoing: BTreeMap::new(), history })
    }

    /// The same, with what the wall clock showed when `now` was zero, so that records tell times
    /// that mean something elsewhere. Without it they count from 1970.
    #[must_use]
    pub fn counted_from(self, zero: Timestamp) -> Self {
        Self { zero, ..self }
    }

    /// The same, with what an earlier process remembered, the newest first. What went on when it
    /// ended is known as interrupted; what is too much is left out.
    #[must_use]
    pub fn with_history(mut self, newest_first: impl IntoIterator<Item = FailureRecord>) -> Self {
        self.history.restore(newest_first);
        self
    }

    /// The policy.
    #[must_use]
    pub const fn policy(&self) -> &FailoverPolicy {
        &self.policy
    }

    /// Whether the node's traffic is on its way to others.
    #[must_use]
    pub fn is_failing_over(&self, node: &NodeId) -> bool {
        self.ongoing.contains_key(node)
    }

    /// What each node that fails over keeps at `now`, in the order of their ids.
    #[must_use]
    pub fn shares(&self, now: Duration) -> Vec<TrafficShare> {
        let share = |(node, ongoing): (&NodeId, &Ongoing)| TrafficShare {
            node: node.clone(),
            keeps: self.policy.strategy.share(now.saturating_sub(ongoing.began)),
            replacements: ongoing.replacements.clone(),
            copies: self.policy.strategy.copies(),
        };
        self.ongoing.iter().map(share).collect()
    }

    /// Per cent of its traffic that a node keeps at `now`: 100 unless it fails over.
    #[must_use]
    pub fn share_of(&self, node: &NodeId, now: Duration) -> u8 {
        let share =
            |ongoing: &Ongoing| self.policy.strategy.share(now.saturating_sub(ongoing.began));
        self.ongoing.get(node).map_or(100, share)
    }

    /// When a share changes next by itself, if one does.
    #[must_use]
    pub fn next_step_at(&self, now: Duration) -> Option<Duration> {
        let next = |ongoing: &Ongoing| {
            let step = self.policy.strategy.next_step(now.saturating_sub(ongoing.began))?;
            Some(ongoing.began.saturating_add(step))
        };
        self.ongoing.values().filter_map(next).min()
    }

    /// What failed over, the newest first: all nodes, or one.
    pub fn history(&self, node: Option<&NodeId>) -> impl Iterator<Item = &FailureRecord> {
        let wanted = move |record: &&FailureRecord| node.is_none_or(|node| record.node == *node);
        self.history.newest_first().filter(wanted)
    }

    /// Begins to drain a node because somebody asks for it: `reason` says why, in at most
    /// [`MAX_REASON_CHARS`] characters, `standings` how all nodes are.
    ///
    /// # Errors
    /// UnknownNode if it is not among them, AlreadyFailingOver, LastHealthyNode if nobody healthy
    /// would be left that does not fail over itself and it is not forced, ReasonTooLong,
    /// TooManyFailovers.
    pub fn trigger(
        &mut self,
        node: &NodeId,
        reason: &str,
        force: bool,
        standings: &[NodeStanding],
        now: Duration,
    ) -> Result<FailoverStarted, FailoverError> {
        let found = reason.chars().count();
        if found > MAX_REASON_CHARS {
            return Err(FailoverError::ReasonTooLong { found, max: MAX_REASON_CHARS });
        }
        self.begin(node, FailoverReason::Asked(reason.to_owned()), force, standings, now)
    }

    /// A node lost its health, at last because of `kind`: its breaker opened, or its probes failed.
    /// None: `kind` says nothing against it, or it fails over already.
    ///
    /// # Errors
    /// UnknownNode, TooManyFailovers, and LastHealthyNode if nobody healthy is left to take over:
    /// its traffic then has nowhere better to go.
    pub fn on_failure(
        &mut self,
        node: &NodeId,
        kind: FailureKind,
        standings: &[NodeStanding],
        now: Duration,
    ) -> Result<Option<FailoverStarted>, FailoverError> {
        if !kind.counts_against_node() || self.is_failing_over(node) {
            return Ok(None);
        }
        self.begin(node, FailoverReason::Failed(kind), false, standings, now).map(Some)
    }

    /// A node is well again: its breaker closed, its probes succeed. Ends its failover, unless
    /// somebody asked for that one and the strategy leaves its end to them; tells whether it did.
    pub fn recovered(&mut self, node: &NodeId, now: Duration) -> bool {
        let by_breaker = self.policy.strategy == FailoverStrategy::CircuitBreaker;
        let ends = self.ongoing.get(node).is_some_and(|ongoing| by_breaker || !ongoing.asked);
        ends && self.end(node, FailoverOutcome::Recovered, now)
    }

    /// Gives a node its traffic back; tells whether it failed over.
    pub fn cancel(&mut self, node: &NodeId, now: Duration) -> bool {
        self.end(node, FailoverOutcome::Cancelled, now)
    }

    /// A node was removed from the fog; tells whether it failed over.
    pub fn removed(&mut self, node: &NodeId, now: Duration) -> bool {
        self.end(node, FailoverOutcome::NodeRemoved, now)
    }

    fn begin(
        &mut self,
        node: &NodeId,
        reason: FailoverReason,
        forced: bool,
        standings: &[NodeStanding],
        now: Duration,
    ) -> Result<FailoverStarted, FailoverError> {
        let standing = standings.iter().find(|standing| standing.node == *node);
        let standing = standing.ok_or_else(|| FailoverError::UnknownNode(node.clone()))?;
        if self.is_failing_over(node) {
            return Err(FailoverError::AlreadyFailingOver(node.clone()));
        }
        let replacements = self.replacements(standing, standings);
        if replacements.is_empty() && !forced {
            return Err(FailoverError::LastHealthyNode(node.clone()));
        }
        let max = self.policy.most_at_once;
        if self.ongoing.len() >= max {
            return Err(FailoverError::TooManyFailovers { max });
        }
        let asked = matches!(reason, FailoverReason::Asked(_));
        let record = self.history.begin(FailureRecord {
            node: node.clone(),
            reason,
            strategy: self.policy.strategy.clone(),
            forced,
            replacements: replacements.clone(),
            began: self.zero.saturating_add(now),
            ended: None,
            outcome: FailoverOutcome::Ongoing,
        });
        let ongoing = Ongoing { began: now, asked, replacements: replacements.clone(), record };
        self.ongoing.insert(node.clone(), ongoing);
        let keeps = self.policy.strategy.share(Duration::ZERO);
        Ok(FailoverStarted { node: node.clone(), replacements, keeps })
    }

    /// Who should take over, the best one first.
    fn replacements(&self, from: &NodeStanding, standings: &[NodeStanding]) -> Vec<NodeId> {
        let near = |to: &NodeStanding| !to.region.is_empty() && to.region == from.region;
        let mut best: Vec<&NodeStanding> = Vec::new();
        for _ in 0..self.policy.strategy.copies() {
            let left = standings.iter().filter(|to| {
                to.healthy
                    && to.weight > 0
                    && to.node != from.node
                    && !self.is_failing_over(&to.node)
                    && best.iter().all(|chosen| chosen.node != to.node)
            });
            let next = left.max_by(|a, b| {
                let by_room = || a.room().total_cmp(&b.room());
                // Of equals the first by name, so that a replay names the same one.
                near(a).cmp(&near(b)).then_with(by_room).then_with(|| b.node.cmp(&a.node))
            });
            let Some(next) = next else { break };
            best.push(next);
        }
        best.into_iter().map(|standing| standing.node.clone()).collect()
    }

    fn end(&mut self, node: &NodeId, outcome: FailoverOutcome, now: Duration) -> bool {
        let Some(ongoing) = self.ongoing.remove(node) else { return false };
        self.history.end(ongoing.record, outcome, self.zero.saturating_add(now));
        true
    }
}

#[cfg(test)]
mod tests;
