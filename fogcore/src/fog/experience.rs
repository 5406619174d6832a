//! What this process saw of nodes: how fast they did their tasks, and how long they stayed.
//!
//! It is told where the engine sees it, and asked where a node is judged. Nobody else's eyes are
//! needed, so every process keeps its own; after a restart it begins anew, with what the nodes'
//! hardware promises.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};

use super::{Fog, Shared};
use crate::error::Result;
use crate::id::NodeId;
use crate::registry::{Liveness, MAX_PAGE, NodeRecord};
use crate::scheduler::policy::Experience;
use crate::scheduler::{Explanation, Load, Task, TaskSpec, TaskState, survey};
use crate::time::Timestamp;

impl Fog {
    /// Where a task like this one would go if all nodes asked for it now, and why; or, if it would
    /// wait, what stands in its way. Of the nodes, up to 1,000 are looked at, the best `top` of
    /// those that could have it are told with every term, and the others are counted by the
    /// filters that refuse them. What was decided for a task that had a node is its
    /// [`explanation`](Self::explanation).
    ///
    /// # Errors
    /// What the store says.
    pub async fn explain(&self, spec: &TaskSpec, top: usize) -> Result<Explanation> {
        let shared = &self.shared;
        let known = shared.known_nodes().await?;
        let ids: Vec<_> = known.iter().map(|record| record.node.id.clone()).collect();
        let mut loads: HashMap<NodeId, Load> = HashMap::new();
        for task in shared.stores.tasks.running(&ids, MAX_PAGE).await? {
            if let Some(lease) = &task.lease {
                loads.entry(lease.node.clone()).or_default().merge(&Load::of(&task));
            }
        }
        let now = shared.clock.now();
        let with_load = |record: &NodeRecord| {
            let load = loads.remove(&record.node.id).unwrap_or_default();
            (shared.judge(record, now), load)
        };
        let nodes = known.iter().map(with_load).collect();
        Ok(survey(nodes, spec, shared.config.placement, top, now))
    }
}

impl Shared {
    pub(super) fn experience(&self) -> MutexGuard<'_, Experience> {
        // What was half learned is half a guess.
        self.experience.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An attempt ended now; how it was done says how fast its node is.
    pub(super) fn learn_of(&self, task: &Task) {
        if task.state == TaskState::Succeeded
            && let Some(node) = &task.done_by
            && let Some(busy) = task.usage.and_then(|usage| usage.busy)
        {
            self.experience().ran(&task.spec.kind, node, busy.as_secs_f64());
        }
    }

    /// These nodes are as they are now. Who is silent for long left when it was last heard of; who
    /// must stop is lost for its tasks, too.
    pub(super) fn learn_of_stays(&self, nodes: &[NodeRecord], now: Timestamp) {
        let config = &self.config;
        let mut seen = self.experience();
        for record in nodes {
            let id = &record.node.id;
            let power = record.heartbeat.as_ref().and_then(|beat| beat.power);
            let stops = power.is_some_and(|power| config.power.must_stop(&power).is_err());
            match record.liveness(now, config.liveness) {
                Liveness::Offline => seen.left(id, record.last_seen),
                Liveness::Suspect => {}
                Liveness::Online if stops => seen.left(id, record.last_seen),
                Liveness::Online => seen.came(id, now),
            }
        }
    }

    /// The node was taken out of the fog now.
    pub(super) fn learn_of_removal(&self, node: &NodeId) {
        self.experience().left(node, self.clock.now());
    }
}
