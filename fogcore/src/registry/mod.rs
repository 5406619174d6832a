//! Who is there: the nodes of the fog, what they have, how they are, and whether they may work.
//!
//! A node registers once (again is an update) and then beats. From the age of its last beat
//! follows its [`Liveness`]; from its resources and its latest beat its [`quality`]; from its
//! battery, heat and user its [`Eligibility`], with hysteresis, so that a phone at 20 % does not
//! flap. All three are functions of the stored [`NodeRecord`] and the time: nothing has to run
//! for them to be true.
//!
//! ```
//! use fogcore::registry::{Heartbeat, Liveness, LivenessPolicy, Node, NodeRecord, PowerPolicy};
//! use fogcore::time::Timestamp;
//! use std::time::Duration;
//!
//! let start: Timestamp = "2026-01-01T00:00:00Z".parse()?;
//! let mut record = NodeRecord::new(Node::new("laptop-1".parse()?), start);
//! record.beat(Heartbeat::new(1), start, &PowerPolicy::default());
//!
//! let policy = LivenessPolicy::default();
//! assert_eq!(record.liveness(start, policy), Liveness::Online);
//! let later = start.saturating_add(Duration::from_secs(61));
//! assert_eq!(record.liveness(later, policy), Liveness::Offline);
//! # Ok::<(), fogcore::Error>(())
//! ```

mod eligibility;
mod heartbeat;
mod liveness;
mod node;
pub mod quality;
mod query;
mod rates;
mod record;
mod units;

use async_trait::async_trait;

pub use self::{
    eligibility::{Eligibility, Ineligible, PowerHistory, PowerPolicy},
    heartbeat::{Heartbeat, PowerState},
    liveness::{Liveness, LivenessPolicy},
    node::{Address, Gpu, Labels, Node, NodeKind, Resources, check_label, check_mib},
    query::{MAX_PAGE, NodeFilter, page_limit},
    rates::{Metered, Rates},
    record::{Beat, NodeRecord},
    units::{Celsius, Millis, Percent, Port, UnitError},
};

use crate::error::Result;
use crate::id::NodeId;
use crate::time::Timestamp;

/// Keeps node records. Each method is one atomic unit; an error means that nothing changed.
#[async_trait]
pub trait NodeStore: Send + Sync {
    /// Adds the node, or replaces its registration and forgets its beats (it started anew, so its
    /// sequence numbers do too). Counts as contact.
    async fn register(&self, node: Node, now: Timestamp) -> Result<NodeRecord>;

    /// Takes a heartbeat ([`NodeRecord::beat`]). An old one changes nothing and is no error.
    ///
    /// # Errors
    /// NotFound for a node that is not registered.
    async fn beat(
        &self,
        node: &NodeId,
        heartbeat: Heartbeat,
        now: Timestamp,
        policy: &PowerPolicy,
    ) -> Result<Beat>;

    /// The node's record.
    async fn node(&self, node: &NodeId) -> Result<Option<NodeRecord>>;

    /// The nodes that match, by id, beginning after `after`; at most `limit` (1–1,000).
    ///
    /// # Errors
    /// InvalidInput for a `limit` out of range.
    async fn nodes(
        &self,
        filter: &NodeFilter,
        after: Option<&NodeId>,
        limit: usize,
    ) -> Result<Vec<NodeRecord>>;

    /// Forgets the node; false if it was not there. Leases that it holds run out by themselves.
    async fn remove_node(&self, node: &NodeId) -> Result<bool>;
}
