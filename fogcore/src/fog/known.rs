//! The registry as it was a moment ago: good enough to weigh nodes by, and read for all at once.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rand::RngExt;
use rand::seq::{IteratorRandom, index};

use super::Shared;
use crate::error::Result;
use crate::registry::{MAX_PAGE, Node, NodeFilter, NodeRecord};
use crate::scheduler::Candidate;
use crate::scheduler::queue::{Demand, FairShares};
use crate::scheduler::replicas::{Trust, TrustPolicy};
use crate::time::Timestamp;

/// Half a second, so that who has just registered elsewhere is soon weighed, too.
const FRESH: Duration = Duration::from_millis(500);

/// At most a twentieth of the time goes into reading a large registry again.
const AT_MOST_EVERY: u32 = 20;

/// What was read, and when.
#[derive(Clone, Debug)]
pub(super) struct KnownNodes {
    at: Duration,
    /// How long that took.
    took: Duration,
    nodes: Arc<Vec<NodeRecord>>,
    /// All that they have.
    capacity: Demand,
    /// What was seen of them.
    trust: Arc<BTreeMap<crate::id::NodeId, Trust>>,
}

impl Shared {
    /// All nodes, as they were a moment ago.
    pub(super) async fn known_nodes(&self) -> Result<Arc<Vec<NodeRecord>>> {
        if let Some(known) = self.fresh_nodes() {
            return Ok(known);
        }
        // One reads; the others wait for what it finds, or go by what is a little older.
        let stale = self.known().as_ref().map(|known| known.nodes.clone());
        let _reading = match (self.reading_nodes.try_lock(), stale) {
            (Ok(reading), _) => reading,
            (Err(_), Some(stale)) => return Ok(stale),
            (Err(_), None) => self.reading_nodes.lock().await,
        };
        if let Some(known) = self.fresh_nodes() {
            return Ok(known);
        }
        let at = self.clock.elapsed();
        let mut nodes: Vec<NodeRecord> = Vec::new();
        loop {
            let after = nodes.last().map(|record| &record.node.id);
            let page = self.stores.nodes.nodes(&NodeFilter::default(), after, MAX_PAGE).await?;
            let is_last = page.len() < MAX_PAGE;
            nodes.extend(page);
            if is_last {
                break;
            }
        }
        let nodes = Arc::new(nodes);
        let all = nodes.iter().map(|record| Demand::of_node(&record.node));
        let capacity = all.fold(Demand::default(), Demand::plus);
        let trust = Arc::new(self.stores.tasks.trust().await?);
        let took = self.clock.elapsed().saturating_sub(at);
        *self.known() = Some(KnownNodes { at, took, nodes: nodes.clone(), capacity, trust });
        Ok(nodes)
    }

    /// What was read, unless that is too long ago.
    fn fresh_nodes(&self) -> Option<Arc<Vec<NodeRecord>>> {
        let known = self.known();
        let known = known.as_ref()?;
        let fresh = (self.config.heartbeat_every / 2).min(FRESH).max(known.took * AT_MOST_EVERY);
        (self.clock.elapsed().saturating_sub(known.at) < fresh).then(|| known.nodes.clone())
    }

    /// Lets the next look read the registry again, if that is soon done.
    pub(super) fn forget_known(&self) {
        let mut known = self.known();
        if known.as_ref().is_some_and(|known| known.took < FRESH / AT_MOST_EVERY) {
            *known = None;
        }
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

    /// At most so many nodes that `may` takes, judged now. Of more than that, those behind a place
    /// that is drawn, so that each look sees others.
    pub(super) async fn some_nodes(
        &self,
        most: usize,
        now: Timestamp,
        may: impl Fn(&Candidate) -> bool,
    ) -> Result<Vec<Candidate>> {
        let known = self.known_nodes().await?;
        let mut start = 0;
        if known.len() > most {
            let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
            start = dice.random_range(0..known.len());
        }
        let (before, behind) = known.split_at(start);
        let all = behind.iter().chain(before).map(|record| self.judge(record, now));
        Ok(all.filter(may).take(most).collect())
    }

    /// The node as placement sees it now.
    pub(super) fn judge(&self, record: &NodeRecord, now: Timestamp) -> Candidate {
        let candidate = Candidate::judge(record, now, self.config.liveness, &self.config.power);
        let mut candidate = candidate.with_experience(&self.experience(), now);
        let known = self.known();
        let seen = known.as_ref().and_then(|known| known.trust.get(&record.node.id));
        let seen = seen.copied().unwrap_or_else(|| Trust::unknown(now));
        candidate.trust = seen.mean(now, &TrustPolicy::default());
        candidate
    }

    /// What the payers' shares are measured by, as of the latest look at the registry.
    pub(super) fn shares(&self) -> FairShares {
        let weights = self.config.fair_weights.clone();
        let capacity = self.known().as_ref().map(|known| known.capacity).unwrap_or_default();
        FairShares { capacity, weights }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Option<KnownNodes>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
