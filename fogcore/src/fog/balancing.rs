//! Balancers of a fog: kept up to date with the registry.

use std::collections::HashMap;
use std::sync::Arc;

use super::trouble::Trouble;
use super::{Fog, Shared};
use crate::balancer::{Balancer, BalancerPolicy, Endpoint, Load, StrategyKind};
use crate::error::Result;
use crate::id::NodeId;
use crate::registry::{Eligibility, Liveness, MAX_PAGE, NodeFilter, NodeRecord};

/// What the balancer was last told of a node.
#[derive(Debug, PartialEq)]
struct Told {
    endpoint: Endpoint,
    sequence: Option<u64>,
    liveness: Liveness,
    eligibility: Eligibility,
}

impl Fog {
    /// A balancer over this fog's nodes. A loop in the background, which ends with the fog or with
    /// the balancer's last owner, takes in who registers and leaves, what nodes tell with their
    /// beats, whose beats are late, and who may not work; it also runs
    /// [`maintain`](Balancer::maintain). How calls go is told by the permits.
    ///
    /// A node whose beat is late counts as one that does not do well, and one that is offline as
    /// away: that is no failure.
    ///
    /// # Errors
    /// InvalidInput for a policy that makes no sense; else what the store says.
    pub async fn balancer(
        &self,
        policy: BalancerPolicy,
        strategy: StrategyKind,
    ) -> Result<Arc<Balancer>> {
        let balancer = Arc::new(Balancer::new(policy, strategy)?);
        let mut told = HashMap::new();
        self.shared.tell(&balancer, &mut told).await?;
        let (shared, weak) = (Arc::clone(&self.shared), Arc::downgrade(&balancer));
        self.shared.tasks.spawn(async move {
            let mut trouble = Trouble::with("the balancer's look at the registry");
            let every = shared.config.heartbeat_every / 2;
            loop {
                tokio::select! {
                    () = shared.stopping.cancelled() => return,
                    () = shared.clock.sleep(trouble.wait(every)) => {}
                }
                let Some(balancer) = weak.upgrade() else { return };
                match shared.tell(&balancer, &mut told).await {
                    Ok(()) => trouble.over(),
                    Err(error) => trouble.failed(&error),
                }
                balancer.maintain(shared.clock.elapsed());
            }
        });
        Ok(balancer)
    }
}

impl Shared {
    /// Tells a balancer what has changed in the registry.
    async fn tell(&self, balancer: &Balancer, told: &mut HashMap<NodeId, Told>) -> Result<()> {
        let mut after = None;
        let mut seen = HashMap::new();
        loop {
            let filter = NodeFilter::default();
            let page = self.stores.nodes.nodes(&filter, after.as_ref(), MAX_PAGE).await?;
            for record in &page {
                // One node that there is no room for must not keep the others from being known.
                match self.tell_of(balancer, record, told.get(&record.node.id)) {
                    Ok(now) => drop(seen.insert(record.node.id.clone(), now)),
                    Err(error) => {
                        tracing::warn!(node = %record.node.id, %error, "not in the balancer");
                    }
                }
            }
            match page.last() {
                Some(last) if page.len() == MAX_PAGE => after = Some(last.node.id.clone()),
                _ => break,
            }
        }
        for node in told.keys().filter(|node| !seen.contains_key(*node)) {
            balancer.leave(node, self.clock.elapsed());
        }
        *told = seen;
        Ok(())
    }

    fn tell_of(
        &self,
        balancer: &Balancer,
        record: &NodeRecord,
        before: Option<&Told>,
    ) -> Result<Told> {
        let now = self.clock.elapsed();
        let node = &record.node.id;
        let told = Told {
            endpoint: Endpoint::from(&record.node),
            sequence: record.heartbeat.as_ref().map(|beat| beat.sequence),
            liveness: record.liveness(self.clock.now(), self.config.liveness),
            eligibility: record.eligibility(self.clock.now(), &self.config.power),
        };
        if before.map(|before| &before.endpoint) != Some(&told.endpoint) {
            balancer.join(told.endpoint.clone(), now)?;
        }
        if let Some(beat) = &record.heartbeat
            && before.and_then(|before| before.sequence) != Some(beat.sequence)
        {
            balancer.report(node, &Load::from(beat), now)?;
        }
        if before.map(|before| before.eligibility) != Some(told.eligibility) {
            balancer.set_eligibility(node, told.eligibility, now)?;
        }
        if before.map_or(Liveness::Online, |before| before.liveness) != told.liveness {
            balancer.set_late(node, told.liveness == Liveness::Suspect, now)?;
            balancer.set_away(node, told.liveness == Liveness::Offline, now)?;
        }
        Ok(told)
    }
}
