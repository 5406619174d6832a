//! Who is there: nodes come, beat and go.

use std::sync::Arc;

use super::{Fog, Shared};
use crate::error::Result;
use crate::event::Event;
use crate::failover::FailoverOutcome;
use crate::id::NodeId;
use crate::ledger::Account;
use crate::registry::{Beat, Heartbeat, MAX_PAGE, Node, NodeFilter, NodeRecord};
use crate::scheduler::Task;
use crate::scheduler::queue::{Victim, preempt};
use crate::time::Timestamp;

impl Fog {
    /// Adds a node, or updates it; opens its owner's account if need be. If it is smaller than
    /// before, the leases that it has no room for any more, the least urgent ones, end after
    /// [the notice](crate::scheduler::PreemptionPolicy::notice) as if they were preempted.
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
        shared.forget_known();
        shared.events.publish(Event::NodeRegistered { node: record.node.id.clone() });
        // A node may come back smaller than it was.
        let running = shared.running_on(&record.node.id).await?;
        let victims = preempt::overflow(&record.node, &running);
        let until = now.saturating_add(shared.config.preemption.notice);
        shared.take_back(victims, until, now).await?;
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
            let running = self.shared.running_on(node).await?;
            let victims = running.iter().filter_map(Victim::of).collect();
            self.shared.take_back(victims, until, now).await?;
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
            self.shared.forget_known();
            self.shared.learn_of_removal(node);
            self.shared.end_sessions_of(node, false).await?;
            self.shared.end_failover(node, FailoverOutcome::NodeRemoved);
            self.shared.events.publish(Event::NodeRemoved { node: node.clone() });
        }
        Ok(removed)
    }
}

/// Writes beats that wait, as long as there are such.
pub(super) async fn write_beats(shared: Arc<Shared>) {
    if shared.buffered.is_none() {
        return;
    }
    // Twice, so that one that just missed it is in time.
    let every = shared.config.beats_within / 2;
    loop {
        tokio::select! {
            // Also whoever drops the fog without a shutdown loses nothing.
            () = shared.stopping.cancelled() => return shared.write_beats().await,
            () = shared.clock.sleep(every) => shared.write_beats().await,
        }
    }
}

impl Shared {
    /// Writes beats that wait. What the store does not take waits on.
    pub(super) async fn write_beats(&self) {
        if let Some(buffered) = &self.buffered
            && let Err(error) = buffered.flush().await
        {
            tracing::warn!(%error, "beats wait, because they cannot be written");
        }
    }

    async fn running_on(&self, node: &NodeId) -> Result<Vec<Task>> {
        self.stores.tasks.running(std::slice::from_ref(node), MAX_PAGE).await
    }

    /// Lets these leases end at `until`.
    pub(super) async fn take_back(
        &self,
        victims: Vec<Victim>,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<()> {
        if victims.is_empty() {
            return Ok(());
        }
        for task in self.stores.tasks.preempt(victims, until, now).await? {
            if let Some(lease) = task.lease {
                self.events.publish(Event::TaskPreempted { task: task.id, node: lease.node });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::storage;
    use crate::{FogConfig, registry::Node};

    #[tokio::test]
    async fn beats_that_wait_are_written_before_the_fog_ends() {
        let stores = storage::open("memory:").await.unwrap();
        let late = FogConfig { beats_within: Duration::from_secs(5), ..FogConfig::default() };
        let fog = Fog::builder().stores(stores.clone()).config(late).open().await.unwrap();
        let id: NodeId = "n".parse().unwrap();
        fog.register(Node::new(id.clone())).await.unwrap();
        fog.beat(&id, Heartbeat::new(3)).await.unwrap();
        let kept = async || {
            let record = stores.nodes.node(&id).await.unwrap().unwrap();
            record.heartbeat.map(|beat| beat.sequence)
        };
        assert_eq!(kept().await, None);
        fog.shutdown().await;
        assert_eq!(kept().await, Some(3));
    }
}
