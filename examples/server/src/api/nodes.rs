//! Nodes as all families see them: pages put together, and words for their states.

use fogcore::Fog;
use fogcore::error::Result;
use fogcore::registry::{Liveness, MAX_PAGE, NodeFilter, NodeRecord};

/// All nodes that match, by id.
///
/// # Errors
/// What the store says.
pub async fn all(fog: &Fog, filter: &NodeFilter) -> Result<Vec<NodeRecord>> {
    let mut all: Vec<NodeRecord> = Vec::new();
    loop {
        let after = all.last().map(|last| last.node.id.clone());
        let page = fog.nodes(filter, after.as_ref(), MAX_PAGE).await?;
        let is_last = page.len() < MAX_PAGE;
        all.extend(page);
        if is_last {
            return Ok(all);
        }
    }
}

/// Whether a node is counted on now.
#[must_use]
pub fn liveness(fog: &Fog, record: &NodeRecord) -> Liveness {
    record.liveness(fog.clock().now(), fog.config().liveness)
}

/// Whether a node is there, and may work.
#[must_use]
pub fn is_eligible(fog: &Fog, record: &NodeRecord) -> bool {
    liveness(fog, record) == Liveness::Online
        && record.eligibility(fog.clock().now(), &fog.config().power).is_ok()
}
