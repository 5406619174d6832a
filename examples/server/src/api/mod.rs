//! One folder for each document: its routes, its wire types, its form of errors, and no decision.

pub(crate) mod coordinator;
pub(crate) mod fog;

use fogcore::Fog;
use fogcore::registry::NodeRecord;

use crate::problem::Answer;

/// Every node there is.
async fn all_nodes(fog: &Fog) -> Answer<Vec<NodeRecord>> {
    const PAGE: usize = 1_000;
    let mut nodes: Vec<NodeRecord> = Vec::new();
    loop {
        let after = nodes.last().map(|record| record.node.id.clone());
        let page =
            fog.nodes(&fogcore::registry::NodeFilter::default(), after.as_ref(), PAGE).await?;
        let is_last = page.len() < PAGE;
        nodes.extend(page);
        if is_last {
            return Ok(nodes);
        }
    }
}
