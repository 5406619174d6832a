//! Asking for some of the nodes.

use serde::{Deserialize, Serialize};

use super::{Labels, Liveness, LivenessPolicy, NodeKind, NodeRecord};
use crate::error::{Error, Result};
use crate::id::{AccountId, TaskKind};
use crate::time::Timestamp;

/// The longest page of any listing.
pub const MAX_PAGE: usize = 1_000;

/// Checks the length asked for a page.
///
/// # Errors
/// InvalidInput unless it is 1–[`MAX_PAGE`].
pub fn page_limit(limit: usize) -> Result<usize> {
    if (1..=MAX_PAGE).contains(&limit) {
        Ok(limit)
    } else {
        Err(Error::invalid("limit", format!("{limit} is not between 1 and {MAX_PAGE}")))
    }
}

/// Which nodes are wanted: those that meet every condition set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeFilter {
    /// Of this kind.
    pub kind: Option<NodeKind>,
    /// Of this owner.
    pub owner: Option<AccountId>,
    /// In this region.
    pub region: Option<String>,
    /// With all of these labels.
    pub labels: Labels,
    /// Executing this kind of task.
    pub serves: Option<TaskKind>,
    /// With at least this quality, 0–100.
    pub min_quality: Option<f64>,
    /// In this state of liveness, as judged at that time.
    pub liveness: Option<(Liveness, Timestamp, LivenessPolicy)>,
}

impl NodeFilter {
    /// Whether `record` is wanted. Stores may use indexes, but this is the definition.
    #[must_use]
    pub fn matches(&self, record: &NodeRecord) -> bool {
        let node = &record.node;
        self.kind.is_none_or(|kind| node.kind == kind)
            && self.owner.as_ref().is_none_or(|owner| node.owner.as_ref() == Some(owner))
            && self.region.as_ref().is_none_or(|region| node.region == *region)
            && self.labels.iter().all(|(key, value)| node.labels.get(key) == Some(value))
            && self.serves.as_ref().is_none_or(|kind| node.serves.contains(kind))
            && self.min_quality.is_none_or(|least| record.quality() >= least)
            && self
                .liveness
                .is_none_or(|(wanted, now, policy)| record.liveness(now, policy) == wanted)
    }
}
