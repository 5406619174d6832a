//! A node as the balancer sees it.

use serde::{Deserialize, Serialize};

use super::weight::{ORDINARY, WeightPolicy};
use crate::error::{Error, Result};
use crate::id::NodeId;
use crate::registry::{Labels, Node, check_label};

/// A node that requests can be sent to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The node.
    pub id: NodeId,
    /// Its share of the requests, compared with the others', 1–65,535. Default 100. What a
    /// registered node weighs follows from what it has, as a [`WeightPolicy`] says.
    #[serde(default = "default_weight")]
    pub weight: u16,
    /// Where it stands, up to 64 characters; empty if unknown.
    #[serde(default)]
    pub region: String,
    /// Labels; requests can ask for those whose keys are in
    /// [`BalancerPolicy::subset_keys`](super::BalancerPolicy::subset_keys).
    #[serde(default)]
    pub labels: Labels,
    /// The most requests in flight, at least 1; none: no limit.
    #[serde(default)]
    pub max_in_flight: Option<u32>,
}

const fn default_weight() -> u16 {
    ORDINARY
}

impl Endpoint {
    /// A node of the usual weight, of which nothing else is known.
    #[must_use]
    pub fn new(id: NodeId) -> Self {
        let (region, labels) = (String::new(), Labels::new());
        Self { id, weight: default_weight(), region, labels, max_in_flight: None }
    }

    /// A registered node: it weighs what the policy says, and takes as many requests at once as it
    /// takes connections.
    #[must_use]
    pub fn of(node: &Node, weights: &WeightPolicy) -> Self {
        Self {
            id: node.id.clone(),
            weight: weights.weight(node),
            region: node.region.clone(),
            labels: node.labels.clone(),
            max_in_flight: Some(node.max_connections.max(1)),
        }
    }

    /// Checks every limit that the types do not hold already.
    ///
    /// # Errors
    /// InvalidInput with the field's name.
    pub fn check(&self) -> Result<()> {
        if self.weight == 0 {
            return Err(Error::invalid("weight", "must be at least 1; drain a node to send none"));
        }
        if self.region.chars().count() > 64 {
            return Err(Error::invalid("region", "at most 64 characters are allowed"));
        }
        if self.labels.len() > 64 {
            return Err(Error::invalid("labels", "at most 64 are allowed"));
        }
        self.labels.iter().try_for_each(|(key, value)| check_label(key, value))?;
        if self.max_in_flight == Some(0) {
            return Err(Error::invalid("max_in_flight", "must be at least 1"));
        }
        Ok(())
    }
}

impl From<&Node> for Endpoint {
    /// A registered node, which weighs what it does by default.
    fn from(node: &Node) -> Self {
        Self::of(node, &WeightPolicy::default())
    }
}
