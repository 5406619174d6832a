//! What all monitors of a fog think of a node.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::monitor::Core;
use crate::failover::Health;
use crate::id::NodeId;

/// What monitors say of a node; nothing, if none watches it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::fog) struct Probed {
    /// One of them finds it unhealthy.
    pub(in crate::fog) unwell: bool,
    /// One of them was told that it is away.
    pub(in crate::fog) absent: bool,
}

/// The monitors of a fog that still run. They are asked rather than remembered: what a monitor that
/// ended, or that watches the node no more, has said is gone with it.
#[derive(Default)]
pub(in crate::fog) struct Monitors(Mutex<Vec<Weak<Core>>>);

impl std::fmt::Debug for Monitors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Monitors").finish_non_exhaustive()
    }
}

impl Monitors {
    pub(super) fn add(&self, monitor: &Arc<Core>) {
        let mut monitors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        monitors.retain(|monitor| monitor.strong_count() > 0);
        monitors.push(Arc::downgrade(monitor));
    }

    pub(in crate::fog) fn probed(&self, node: &NodeId) -> Probed {
        let monitors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let running = monitors.iter().filter_map(Weak::upgrade);
        running.fold(Probed::default(), |probed, monitor| match monitor.opinion(node) {
            Some(Health::Unhealthy) => Probed { unwell: true, ..probed },
            Some(Health::Absent) => Probed { absent: true, ..probed },
            Some(Health::Unknown | Health::Healthy) | None => probed,
        })
    }
}
