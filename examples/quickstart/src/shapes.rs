//! The shapes of nodes: what a phone, a laptop and a box bring along and ask for.
//!
//! They are made up, so that the scheduler has something to choose between: all processes run on
//! this one machine. What the nodes do not know (load, latency, heat) they leave out of their
//! heartbeats.

use std::fmt;
use std::sync::Arc;

use clap::ValueEnum;
use fogcore::Result;
use fogcore::amount::Asset;
use fogcore::fog::Vitals;
use fogcore::id::NodeId;
use fogcore::registry::{Heartbeat, Node, NodeKind, Percent, PowerState, Rates, Resources};
use serde::Serialize;

/// The charge of the simulated phone, in per cent.
const PHONE_BATTERY: f64 = 80.0;

/// What a worker process pretends to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Shape {
    /// One slot, on battery, cheap.
    Phone,
    /// Two slots.
    Laptop,
    /// Four slots, dear.
    Box,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Phone => "phone",
            Self::Laptop => "laptop",
            Self::Box => "box",
        })
    }
}

impl Shape {
    /// The shape of the `index`-th worker, from 0.
    pub(crate) fn of(index: usize) -> Self {
        [Self::Phone, Self::Laptop, Self::Box][index % 3]
    }

    /// The shape of a node of an earlier run, by the name that it was given.
    pub(crate) fn by_name(node: &NodeId) -> Option<Self> {
        let (shape, _) = node.as_str().rsplit_once('-')?;
        Self::from_str(shape, false).ok()
    }

    /// The node `id` of this shape.
    pub(crate) fn node(self, id: NodeId) -> Result<Node> {
        let (kind, slots, [per_task, per_busy_second, per_gib]) = match self {
            Self::Phone => (NodeKind::Phone, 1, ["0.001", "0.01", "0.05"]),
            Self::Laptop => (NodeKind::Laptop, 2, ["0.002", "0.02", "0.08"]),
            Self::Box => (NodeKind::Server, 4, ["0.003", "0.05", "0.1"]),
        };
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        Ok(Node {
            kind,
            owner: Some(format!("owner-of-{id}").parse()?),
            labels: [("simulated-shape".to_owned(), self.to_string())].into(),
            resources: Resources {
                cpu_cores: u32::try_from(cores).unwrap_or(0),
                ..Resources::default()
            },
            slots,
            rates: Rates {
                per_task: Asset::FOG.parse(per_task)?,
                per_busy_second: Asset::FOG.parse(per_busy_second)?,
                per_gib: Asset::FOG.parse(per_gib)?,
                ..Rates::default()
            },
            ..Node::new(id)
        })
    }

    /// What it tells with each beat: nothing but the phone's simulated battery.
    pub(crate) fn vitals(self) -> Result<Vitals> {
        let power = match self {
            Self::Phone => Some(PowerState {
                battery: Some(Percent::new(PHONE_BATTERY)?),
                charging: false,
                ..PowerState::default()
            }),
            Self::Laptop | Self::Box => None,
        };
        Ok(Arc::new(move || Heartbeat { power, ..Heartbeat::default() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_of_every_shape_is_valid_and_known_by_its_name() {
        for index in 0..3 {
            let shape = Shape::of(index);
            let id: NodeId = format!("{shape}-{index}").parse().unwrap();
            let node = shape.node(id.clone()).unwrap();
            node.check().unwrap();
            assert!(node.slots > 0 && node.owner.is_some());
            assert_eq!(Shape::by_name(&id), Some(shape));
        }
        assert_eq!(Shape::by_name(&"toaster-1".parse().unwrap()), None);
    }

    #[test]
    fn the_simulated_phone_may_work_in_this_fog() {
        let beat = Shape::Phone.vitals().unwrap()();
        let power = beat.power.unwrap();
        assert_eq!(crate::store::config(3).power.judge(&power), Ok(()));
        assert!(Shape::Box.vitals().unwrap()().power.is_none());
    }
}
