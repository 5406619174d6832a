//! Who is there: nodes come, beat and go, and some are weighed against each other.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rand::seq::{IteratorRandom, index};

use super::{Fog, Shared};
use crate::error::Result;
use crate::event::Event;
use crate::failover::FailoverOutcome;
use crate::id::NodeId;
use crate::ledger::Account;
use crate::registry::{Beat, Heartbeat, MAX_PAGE, Node, NodeFilter, NodeRecord};
use crate::scheduler::Candidate;
use crate::scheduler::queue::{Demand, FairShares, Victim};
use crate::scheduler::replicas::{Trust, TrustPolicy};
use crate::time::Timestamp;

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

    /// Takes a node's heartbeat. If it tells that somebody uses the node, or that it is too hot
    /// ([`PowerPolicy::must_stop`](crate::registry::PowerPolicy::must_stop)), the node's leases end
    /// soon, and its tasks go elsewhere without having lost an attempt.
    ///
    /// # Errors
    /// NotFound for a node that is not registered.
    pub async fn beat(&self, node: &NodeId, heartbeat: Heartbeat) -> Result<Beat> {
        let (now, power) = (self.shared.clock.now(), &self.shared.config.power);
        let stop = heartbeat.power.as_ref().is_some_and(|state| power.must_stop(state).is_err());
        let beat = self.shared.stores.nodes.beat(node, heartbeat, now, power).await?;
        if stop && matches!(beat, Beat::Accepted(_)) {
            let until = now.saturating_add(power.stop_within);
            self.shared.take_back(node, until, now).await?;
        }
        Ok(beat)
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
            self.shared.learn_of_removal(node);
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
    /// What was seen of them.
    trust: Arc<BTreeMap<NodeId, Trust>>,
}

impl Shared {
    /// Lets the leases of a node end at `until`.
    async fn take_back(&self, node: &NodeId, until: Timestamp, now: Timestamp) -> Result<()> {
        let tasks = &self.stores.tasks;
        let running = tasks.running(std::slice::from_ref(node), MAX_PAGE).await?;
        let victims = running.iter().filter_map(Victim::of).collect();
        for task in tasks.preempt(victims, until, now).await? {
            self.events.publish(Event::TaskPreempted { task: task.id, node: node.clone() });
        }
        Ok(())
    }

    /// Some other nodes that might serve what this one serves.
    pub(super) async fn draw_rivals(&self, asker: &Node) -> Result<Vec<NodeRecord>> {
        if self.config.max_rivals == 0 {
            return Ok(Vec::new());
        }
        let (known, most) = (self.known_nodes().await?, self.config.max_rivals);
        let may = |record: &&NodeRecord| {
            record.node.id != asker.id
                && record.node.slots > 0
                && !record.node.serves.is_disjoint(&asker.serves)
        };
        let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        // Where most nodes do the same, a few draws find enough; each asker would else look at all.
        let drawn = index::sample(&mut *dice, known.len(), known.len().min(4 * most));
        let some = drawn.iter().filter_map(|place| known.get(place)).filter(may).take(most);
        let some: Vec<_> = some.cloned().collect();
        if some.len() == most {
            return Ok(some);
        }
        Ok(known.iter().filter(may).sample(&mut *dice, most).into_iter().cloned().collect())
    }

    /// A snapshot of the registry that is a moment old: good enough to weigh rivals by.
    pub(super) async fn known_nodes(&self) -> Result<Arc<Vec<NodeRecord>>> {
        let now = self.clock.elapsed();
        // Half a second, so that who has just registered elsewhere is soon weighed, too.
        let fresh = (self.config.heartbeat_every / 2).min(Duration::from_millis(500));
        let cached = self.rivals.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = cached
            && now.saturating_sub(known.at) < fresh
        {
            return Ok(known.nodes);
        }
        let limit = MAX_PAGE;
        let nodes = self.stores.nodes.nodes(&NodeFilter::default(), None, limit).await?;
        let nodes = Arc::new(nodes);
        let all = nodes.iter().map(|record| Demand::of_node(&record.node));
        let capacity = all.fold(Demand::default(), Demand::plus);
        let trust = Arc::new(self.stores.tasks.trust().await?);
        let mut cache = self.rivals.lock().unwrap_or_else(PoisonError::into_inner);
        *cache = Some(KnownNodes { at: now, nodes: nodes.clone(), capacity, trust });
        Ok(nodes)
    }

    /// The node as placement sees it now.
    pub(super) fn judge(&self, record: &NodeRecord, now: Timestamp) -> Candidate {
        let candidate = Candidate::judge(record, now, self.config.liveness, &self.config.power);
        let mut candidate = candidate.with_experience(&self.experience(), now);
        let known = self.rivals.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = known.as_ref().and_then(|known| known.trust.get(&record.node.id));
        let seen = seen.copied().unwrap_or_else(|| Trust::unknown(now));
        candidate.trust = seen.mean(now, &TrustPolicy::default());
        candidate
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
