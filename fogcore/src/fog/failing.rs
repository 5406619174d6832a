//! Taking a node's traffic off it: the plan decides, the fog's balancers do it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Fog, Shared};
use crate::balancer::NodeLoad;
use crate::error::Result;
use crate::event::Event;
use crate::failover::{
    Failover, FailoverOutcome, FailoverPolicy, FailoverStarted, FailureRecord, Health,
    HealthChange, NodeStanding, TrafficShare,
};
use crate::id::NodeId;
use crate::registry::{Liveness, MAX_PAGE, NodeFilter, NodeRecord};
use crate::time::{Clock, Timestamp};

/// How many nodes are failing over.
const ONGOING: &str = "fogcore_failovers_ongoing";

impl Fog {
    /// Takes a node's traffic off it, as [`FogConfig::failover`](super::FogConfig::failover) says:
    /// at once or in steps. All balancers of this fog follow, also those that are made later.
    /// `reason` says why, for the history, in at most
    /// [`MAX_REASON_CHARS`](crate::failover::MAX_REASON_CHARS) characters. Requests in flight end
    /// as they do, and tasks are not concerned: nodes ask for those themselves.
    ///
    /// The replacements are the nodes with the most room, in the node's own region if there are
    /// any. They are named for people and for callers that move something else than requests;
    /// balancers spread the traffic over all that is left. With a redundant strategy it is for the
    /// callers to send each request to several ([`Caller`](crate::balancer::Caller)).
    ///
    /// It ends when somebody [cancels it](Self::cancel_failover), the node is removed, or, with the
    /// default strategy, a [monitor](Self::health_monitor) of this fog that found it unwell finds
    /// it well again. A drained node gets no calls by which its breaker could close.
    ///
    /// This concerns this process: others that share the store have balancers of their own.
    ///
    /// ```
    /// # use fogcore::balancer::{BalancerPolicy, Dice, Request, StrategyKind};
    /// # use fogcore::{Fog, registry::Node};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let fog = Fog::open("memory:").await?;
    /// let (box_1, box_2) = ("box-1".parse()?, "box-2".parse()?);
    /// for node in [&box_1, &box_2] {
    ///     fog.register(Node::new(fogcore::id::NodeId::clone(node))).await?;
    /// }
    /// let balancer = fog.balancer(BalancerPolicy::default(), StrategyKind::Random).await?;
    ///
    /// let started = fog.fail_over(&box_1, "a new disk", false).await?;
    /// assert_eq!(started.replacement(), Some(&box_2));
    /// let permit = balancer.pick(&Request::new(), fog.clock().elapsed(), &mut Dice::seeded(1))?;
    /// assert_eq!(permit.node(), Some(box_2.clone()));
    /// assert!(fog.fail_over(&box_2, "too", false).await.is_err(), "it is the last healthy one");
    ///
    /// assert!(fog.cancel_failover(&box_1));
    /// assert_eq!(fog.failover_history(None)[0].replacements, [box_2]);
    /// # Ok::<(), fogcore::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// [`FailoverError`](crate::failover::FailoverError), folded in: NotFound for a node that is not
    /// registered; Conflict if it fails over already, or if nobody healthy would be left and it is
    /// not forced; InvalidInput with the field `reason`; Exhausted if too many fail over. Else what
    /// the store says.
    pub async fn fail_over(
        &self,
        node: &NodeId,
        reason: &str,
        force: bool,
    ) -> Result<FailoverStarted> {
        let shared = &self.shared;
        let standings = shared.standings().await?;
        let now = shared.clock.elapsed();
        let started = {
            let mut failing = shared.failing.lock();
            let started = failing.trigger(node, reason, force, &standings, now)?;
            let strategy = failing.policy().strategy.as_str();
            metrics::counter!("fogcore_failovers_total", "strategy" => strategy).increment(1);
            metrics::gauge!(ONGOING).increment(1.0);
            // Before the lock is released, so that nobody hears of the end first.
            shared.events.publish(Event::FailoverStarted {
                node: node.clone(),
                reason: reason.to_owned(),
                strategy: strategy.to_owned(),
                replacement: started.replacement().cloned(),
                keeps: started.keeps,
            });
            started
        };
        shared.tell_at_once(node);
        Ok(started)
    }

    /// Gives a node its traffic back, slowly as to a new one; false if it did not fail over.
    pub fn cancel_failover(&self, node: &NodeId) -> bool {
        self.shared.end_failover(node, FailoverOutcome::Cancelled)
    }

    /// What each node that fails over keeps of its traffic now, in the order of their ids.
    #[must_use]
    pub fn failovers(&self) -> Vec<TrafficShare> {
        self.shared.failing.lock().shares(self.shared.clock.elapsed())
    }

    /// What failed over in this process, the newest first: all nodes, or one.
    #[must_use]
    pub fn failover_history(&self, node: Option<&NodeId>) -> Vec<FailureRecord> {
        self.shared.failing.lock().history(node).cloned().collect()
    }
}

/// Who fails over. Dropped, it takes back what its gauge says.
#[derive(Debug)]
pub(super) struct Failing(Mutex<Failover>);

impl Failing {
    /// # Errors
    /// InvalidInput with the field's name for a policy that makes no sense.
    pub(super) fn new(policy: FailoverPolicy, clock: &dyn Clock) -> Result<Self> {
        let zero: Timestamp = clock.now().saturating_sub(clock.elapsed());
        Ok(Self(Mutex::new(Failover::new(policy)?.counted_from(zero))))
    }

    fn lock(&self) -> MutexGuard<'_, Failover> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        let ongoing = self.lock().shares(std::time::Duration::ZERO).len();
        if ongoing > 0 {
            metrics::gauge!(ONGOING).decrement(ongoing as f64);
        }
    }
}

impl Shared {
    /// Per cent of its traffic that a node keeps now.
    pub(super) fn keeps(&self, node: &NodeId) -> u8 {
        self.failing.lock().share_of(node, self.clock.elapsed())
    }

    /// Brings the balancers up to date with failovers that go in steps.
    pub(super) fn step_failovers(&self) {
        for node in self.failing_over() {
            self.tell_at_once(&node);
        }
    }

    pub(super) fn failing_over(&self) -> Vec<NodeId> {
        let shares = self.failing.lock().shares(self.clock.elapsed());
        shares.into_iter().map(|share| share.node).collect()
    }

    /// Ends a node's failover, if it has one and the plan agrees.
    pub(super) fn end_failover(&self, node: &NodeId, outcome: FailoverOutcome) -> bool {
        let now = self.clock.elapsed();
        let ended = {
            let mut failing = self.failing.lock();
            let ended = match outcome {
                FailoverOutcome::Recovered => failing.recovered(node, now),
                FailoverOutcome::NodeRemoved => failing.removed(node, now),
                _ => failing.cancel(node, now),
            };
            if ended {
                metrics::gauge!(ONGOING).decrement(1.0);
                let outcome = outcome.as_str().to_owned();
                self.events.publish(Event::FailoverEnded { node: node.clone(), outcome });
            }
            ended
        };
        if ended {
            self.tell_at_once(node);
        }
        ended
    }

    /// A monitor of this fog finds that a node's health has changed.
    pub(super) fn health_changed(&self, node: &NodeId, change: &HealthChange) {
        self.tell_at_once(node);
        // The first answer of a node is no recovery: it may be drained in the best of health.
        if (change.from, change.to) == (Health::Unhealthy, Health::Healthy) {
            self.end_failover(node, FailoverOutcome::Recovered);
        }
    }

    /// How all nodes are, for the choice of who takes over.
    async fn standings(&self) -> Result<Vec<NodeStanding>> {
        let mut standings = Vec::new();
        let mut after = None;
        loop {
            let filter = NodeFilter::default();
            let page = self.stores.nodes.nodes(&filter, after.as_ref(), MAX_PAGE).await?;
            standings.extend(page.iter().map(|record| self.standing(record)));
            match page.last() {
                Some(last) if page.len() == MAX_PAGE => after = Some(last.node.id.clone()),
                _ => return Ok(standings),
            }
        }
    }

    fn standing(&self, record: &NodeRecord) -> NodeStanding {
        let (node, now) = (record.node.id.clone(), self.clock.now());
        let probed = self.monitors.probed(&node);
        let load = record.heartbeat.as_ref().map(|beat| NodeLoad::from_beat(node.clone(), beat));
        NodeStanding {
            healthy: record.liveness(now, self.config.liveness) == Liveness::Online
                && record.eligibility(now, &self.config.power).is_ok()
                && !probed.unwell
                && !probed.absent
                && self.is_taken(&node),
            weight: u32::from(self.config.weights.weight(&record.node)),
            // What is unknown counts as half used, as in a balancer.
            load: load.and_then(|load| load.load()).unwrap_or(0.5),
            region: record.node.region.clone(),
            node,
        }
    }
}
