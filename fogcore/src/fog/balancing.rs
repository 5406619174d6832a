//! Balancers of a fog: kept up to date with the registry, with monitors, and with who fails over.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::health::Probed;
use super::trouble::Trouble;
use super::{Fog, Shared};
use crate::balancer::{Balancer, BalancerPolicy, Class, Endpoint, Load, StrategyKind};
use crate::error::Result;
use crate::id::NodeId;
use crate::registry::{Eligibility, Liveness, MAX_PAGE, NodeFilter, NodeRecord};
use crate::time::Timestamp;

/// What a balancer was last told of a node.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    endpoint: Endpoint,
    /// The latest beat: its number, and when the node was heard of. The number alone is not enough,
    /// because it begins anew when the node registers again.
    beat: Option<(u64, Timestamp)>,
    liveness: Liveness,
    eligibility: Eligibility,
    probed: Probed,
    /// Per cent of its traffic that failover leaves it.
    keeps: u8,
}

impl Told {
    fn is_healthy(&self) -> bool {
        !self.probed.unwell
    }

    fn is_late(&self) -> bool {
        self.liveness == Liveness::Suspect
    }

    fn is_away(&self) -> bool {
        self.liveness == Liveness::Offline || self.probed.absent
    }
}

/// A balancer that follows the fog, and what it was told.
#[derive(Debug)]
pub(super) struct Follower {
    balancer: Weak<Balancer>,
    told: Mutex<HashMap<NodeId, Told>>,
}

/// All balancers of a fog that somebody still has.
#[derive(Debug, Default)]
pub(super) struct Followers(Mutex<Vec<Weak<Follower>>>);

impl Followers {
    fn add(&self, follower: &Arc<Follower>) {
        let mut followers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        followers.retain(|follower| follower.strong_count() > 0);
        followers.push(Arc::downgrade(follower));
    }

    fn all(&self) -> Vec<Arc<Follower>> {
        let followers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        followers.iter().filter_map(Weak::upgrade).collect()
    }
}

impl Fog {
    /// A balancer over this fog's nodes. A loop in the background, which ends with the fog or with
    /// the balancer's last owner, takes in who registers and leaves, what nodes tell with their
    /// beats (load, battery, heat), whose beats are late, and who may not work; it also runs
    /// [`maintain`](Balancer::maintain). What the fog's own
    /// [monitors](Self::health_monitor) find, and whose traffic
    /// [is taken off it](Self::fail_over), it hears at once. How calls go is told by the permits,
    /// and how breakers change and who is left out to [`subscribe`](Self::subscribe)rs.
    ///
    /// A node whose beat is late, or that a monitor finds unwell, counts as one that does not do
    /// well; one that is offline, or absent for a monitor, as away: that is no failure. A node's
    /// weight follows from [`FogConfig::weights`](super::FogConfig::weights). Heat and charge lower
    /// a node's share as [`FogConfig::power`](super::FogConfig::power) says, whatever the policy
    /// has there.
    ///
    /// # Errors
    /// InvalidInput for a policy that makes no sense; else what the store says.
    pub async fn balancer(
        &self,
        policy: BalancerPolicy,
        strategy: StrategyKind,
    ) -> Result<Arc<Balancer>> {
        let policy = BalancerPolicy { power: self.shared.config.power, ..policy };
        let balancer = Balancer::new(policy, strategy)?.with_events(self.shared.events.clone());
        let balancer = Arc::new(balancer);
        let (weak, told) = (Arc::downgrade(&balancer), Mutex::default());
        let follower = Arc::new(Follower { balancer: weak.clone(), told });
        // From here on it hears of monitors and failovers, and the first look misses none.
        self.shared.followers.add(&follower);
        self.shared.tell(&balancer, &follower).await?;
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn(async move {
            let mut trouble = Trouble::with("the balancer's look at the registry");
            let every = shared.config.heartbeat_every / 2;
            loop {
                tokio::select! {
                    () = shared.stopping.cancelled() => return,
                    () = shared.clock.sleep(trouble.wait(every)) => {}
                }
                let Some(balancer) = weak.upgrade() else { return };
                match shared.tell(&balancer, &follower).await {
                    Ok(()) => trouble.over(),
                    Err(error) => trouble.failed(&error),
                }
                balancer.maintain(shared.clock.elapsed());
            }
        });
        Ok(balancer)
    }
}

impl Follower {
    fn lock(&self) -> MutexGuard<'_, HashMap<NodeId, Told>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Tells a balancer what has changed in the registry, for monitors, and by failover.
    async fn tell(&self, balancer: &Balancer, follower: &Follower) -> Result<()> {
        let mut after = None;
        let mut seen = HashSet::new();
        loop {
            let filter = NodeFilter::default();
            let page = self.stores.nodes.nodes(&filter, after.as_ref(), MAX_PAGE).await?;
            for record in &page {
                let id = &record.node.id;
                // Held while monitors are asked, so that who asks later is heard later.
                let mut told = follower.lock();
                let now = self.told_of(record);
                let beat = told.get(id).is_none_or(|before| before.beat != now.beat);
                let load = record.heartbeat.as_ref().filter(|_| beat).map(Load::from);
                // One node that there is no room for must not keep the others from being known.
                match self.tell_of(balancer, told.get(id), &now, load) {
                    Ok(()) => drop(told.insert(id.clone(), now)),
                    Err(error) => tracing::warn!(node = %id, %error, "not in the balancer"),
                }
                seen.insert(id.clone());
            }
            match page.last() {
                Some(last) if page.len() == MAX_PAGE => after = Some(last.node.id.clone()),
                _ => break,
            }
        }
        let mut told = follower.lock();
        told.retain(|node, _| {
            seen.contains(node) || {
                balancer.leave(node, self.clock.elapsed());
                false
            }
        });
        Ok(())
    }

    fn told_of(&self, record: &NodeRecord) -> Told {
        let node = &record.node.id;
        Told {
            endpoint: Endpoint::of(&record.node, &self.config.weights),
            beat: record.heartbeat.as_ref().map(|beat| (beat.sequence, record.last_seen)),
            liveness: record.liveness(self.clock.now(), self.config.liveness),
            eligibility: record.eligibility(self.clock.now(), &self.config.power),
            probed: self.monitors.probed(node),
            keeps: self.keeps(node),
        }
    }

    /// Tells what differs from what was told before.
    fn tell_of(
        &self,
        balancer: &Balancer,
        before: Option<&Told>,
        told: &Told,
        load: Option<Load>,
    ) -> Result<()> {
        let (node, now) = (&told.endpoint.id, self.clock.elapsed());
        if before.map(|before| &before.endpoint) != Some(&told.endpoint) {
            balancer.join(told.endpoint.clone(), now)?;
        }
        if let Some(load) = &load {
            balancer.report(node, load, now)?;
        }
        if before.map(|before| before.eligibility) != Some(told.eligibility) {
            balancer.set_eligibility(node, told.eligibility, now)?;
        }
        // Only when it changes: calls, and whoever has the balancer, may have their own opinion.
        if before.is_none_or(Told::is_healthy) != told.is_healthy() {
            balancer.set_healthy(node, told.is_healthy(), now)?;
        }
        if before.is_some_and(Told::is_late) != told.is_late() {
            balancer.set_late(node, told.is_late(), now)?;
        }
        // A node that tells its load is taken for one that is there; who knows better says so.
        let was_away = before.is_some_and(|before| load.is_none() && before.is_away());
        if was_away != told.is_away() {
            balancer.set_away(node, told.is_away(), now)?;
        }
        if before.map_or(100, |before| before.keeps) != told.keeps {
            balancer.set_share(node, f64::from(told.keeps) / 100.0, now)?;
        }
        Ok(())
    }

    /// Tells all balancers that know a node what monitors and failover say of it now.
    pub(super) fn tell_at_once(&self, node: &NodeId) {
        for follower in self.followers.all() {
            let Some(balancer) = follower.balancer.upgrade() else { continue };
            let mut told = follower.lock();
            let Some(before) = told.get_mut(node) else { continue };
            let (probed, keeps) = (self.monitors.probed(node), self.keeps(node));
            let now = Told { probed, keeps, ..before.clone() };
            match self.tell_of(&balancer, Some(before), &now, None) {
                Ok(()) => *before = now,
                // It left by another hand; the next look at the registry says more.
                Err(error) => tracing::debug!(%node, %error, "a balancer was told in vain"),
            }
        }
    }

    /// Whether all balancers that know a node would send it requests.
    pub(super) fn is_taken(&self, node: &NodeId) -> bool {
        let (now, class) = (self.clock.elapsed(), Class::default());
        let balancers = self.followers.all();
        let mut balancers = balancers.iter().filter_map(|follower| follower.balancer.upgrade());
        balancers.all(|balancer| balancer.takes(node, class, now).unwrap_or(true))
    }
}
