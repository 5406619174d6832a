//! Who is there: nodes come, beat and go, and some are weighed against each other.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rand::seq::IndexedRandom;

use super::{Fog, Shared};
use crate::error::Result;
use crate::event::Event;
use crate::failover::FailoverOutcome;
use crate::id::NodeId;
use crate::ledger::Account;
use crate::registry::{Beat, Heartbeat, Node, NodeFilter, NodeRecord};
use crate::scheduler::queue::{Demand, FairShares};

impl Fog {
    /// Adds a node, or updates it; opens its owner's account if need be.
    ///
    /// # Errors
    /// InvalidInput for what breaks a limit; what the store says.
    pub async fn register(&self, node: Node) -> Result<NodeRecord> {
        let shared = &self.shared;
        node.check()?;
        let now = shared.clock.now();
        if let Some(owner) = &node.owner {
            let account = Account::new(owner.clone(), shared.config.asset.clone());
            self.ledger().open_account(account.limited_to_credits()).await?;
        }
        let record = shared.stores.nodes.register(node, now).await?;
        shared.forget_rivals();
        shared.events.publish(Event::NodeRegistered { node: record.node.id.clone() });
        Ok(record)
    }

    /// Takes a node's heartbeat.
    ///
    /// # Errors
    /// NotFound for a node that is not registered.
    pub async fn beat(&self, node: &NodeId, heartbeat: Heartbeat) -> Result<Beat> {
        let (now, power) = (self.shared.clock.now(), &self.shared.config.power);
        self.shared.stores.nodes.beat(node, heartbeat, now, power).await
    }

    /// A node's record.
    ///
    /// # Errors
    /// What the store says.
    pub async fn node(&self, node: &NodeId) -> Result<Option<NodeRecord>> {
        self.shared.stores.nodes.node(node).await
    }

    /// The nodes that match, by id, beginning after `after`; at most `limit` (1–1,000).
    ///
    /// # Errors
    /// InvalidInput for a `limit` out of range.
    pub async fn nodes(
        &self,
        filter: &NodeFilter,
        after: Option<&NodeId>,
        limit: usize,
    ) -> Result<Vec<NodeRecord>> {
        self.shared.stores.nodes.nodes(filter, after, limit).await
    }

    /// Forgets a node; false if it was not there.
    ///
    /// # Errors
    /// What the store says.
    pub async fn remove_node(&self, node: &NodeId) -> Result<bool> {
        let removed = self.shared.stores.nodes.remove_node(node).await?;
        if removed {
            self.shared.forget_rivals();
            self.shared.end_failover(node, FailoverOutcome::NodeRemoved);
            self.shared.events.publish(Event::NodeRemoved { node: node.clone() });
        }
        Ok(removed)
    }
}

/// The registry as it was a moment ago.
#[derive(Clone, Debug)]
pub(super) struct KnownNodes {
    at: Duration,
    nodes: Arc<Vec<NodeRecord>>,
    /// All that they have.
    capacity: Demand,
}

impl Shared {
    /// Some other nodes that might serve what this one serves.
    pub(super) async fn draw_rivals(&self, asker: &Node) -> Result<Vec<NodeRecord>> {
        if self.config.max_rivals == 0 {
            return Ok(Vec::new());
        }
        let known = self.known_nodes().await?;
        let may: Vec<_> = known
            .iter()
            .filter(|record| record.node.id != asker.id && record.node.slots > 0)
            .filter(|record| !record.node.serves.is_disjoint(&asker.serves))
            .collect();
        if may.len() <= self.config.max_rivals {
            return Ok(may.into_iter().cloned().collect());
        }
        let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(may.sample(&mut *dice, self.config.max_rivals).map(|record| (*record).clone()).collect())
    }

    /// A snapshot of the registry that is a moment old: good enough to weigh rivals by.
    async fn known_nodes(&self) -> Result<Arc<Vec<NodeRecord>>> {
        let now = self.clock.elapsed();
        // Half a second, so that who has just registered elsewhere is soon weighed, too.
        let fresh = (self.config.heartbeat_every / 2).min(Duration::from_millis(500));
        let cached = self.rivals.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = cached
            && now.saturating_sub(known.at) < fresh
        {
            return Ok(known.nodes);
        }
        let limit = crate::registry::MAX_PAGE;
        let nodes = self.stores.nodes.nodes(&NodeFilter::default(), None, limit).await?;
        let nodes = Arc::new(nodes);
        let all = nodes.iter().map(|record| Demand::of_node(&record.node));
        let capacity = all.fold(Demand::default(), Demand::plus);
        let mut cache = self.rivals.lock().unwrap_or_else(PoisonError::into_inner);
        *cache = Some(KnownNodes { at: now, nodes: nodes.clone(), capacity });
        Ok(nodes)
    }

    /// What the payers' shares are measured by, as of the latest look at the registry.
    pub(super) fn shares(&self) -> FairShares {
        let weights = self.config.fair_weights.clone();
        let known = self.rivals.lock().unwrap_or_else(PoisonError::into_inner);
        let capacity = known.as_ref().map(|known| known.capacity).unwrap_or_default();
        FairShares { capacity, weights }
    }

    fn forget_rivals(&self) {
        *self.rivals.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
