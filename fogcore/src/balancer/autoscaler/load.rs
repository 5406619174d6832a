//! How busy a node is, as far as it is known.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::policy::{MAX_NODES, count};
use crate::error::{Error, Result};
use crate::id::NodeId;
use crate::registry::{Heartbeat, Percent};

/// How busy one node is. What nobody measured is none: unknown is not idle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeLoad {
    /// The node.
    pub node: NodeId,
    /// The share of its CPU in use, 0–1.
    pub cpu: Option<f64>,
    /// The share of its memory in use, 0–1.
    pub memory: Option<f64>,
    /// The share of its storage in use, 0–1.
    pub storage: Option<f64>,
    /// Whether it serves requests. One that does not is taken for one that starts: its numbers
    /// say nothing yet, and it is capacity on its way.
    pub ready: bool,
}

impl NodeLoad {
    /// A node that is ready and has told nothing.
    #[must_use]
    pub fn new(node: NodeId) -> Self {
        Self { node, cpu: None, memory: None, storage: None, ready: true }
    }

    /// A node that is ready, as busy as its latest beat says. Give no beat that is so old that it
    /// says nothing about now.
    #[must_use]
    pub fn from_beat(node: NodeId, beat: &Heartbeat) -> Self {
        let share = |percent: Percent| percent.get() / 100.0;
        Self {
            cpu: beat.cpu.map(share),
            memory: beat.memory.map(share),
            storage: beat.storage.map(share),
            ..Self::new(node)
        }
    }

    /// The mean of what is known of CPU, memory and storage, 0–1; none if nothing is.
    #[must_use]
    pub fn load(&self) -> Option<f64> {
        let known = [self.cpu, self.memory, self.storage].into_iter().flatten();
        let (sum, count) = known.fold((0.0, 0.0), |(sum, count), share| (sum + share, count + 1.0));
        (count > 0.0).then(|| sum / count)
    }

    fn check(&self) -> Result<()> {
        let shares = [("cpu", self.cpu), ("memory", self.memory), ("storage", self.storage)];
        for (field, share) in shares {
            if let Some(share) = share
                && !(0.0..=1.0).contains(&share)
            {
                let text = format!("{share} of {:?} is not a share between 0 and 1", self.node);
                return Err(Error::invalid(field, text));
            }
        }
        Ok(())
    }
}

/// Checks all of them, and that each node is there once.
pub(super) fn check(loads: &[NodeLoad]) -> Result<()> {
    if loads.len() > MAX_NODES {
        return Err(Error::invalid("loads", format!("{} nodes, at most 100000", loads.len())));
    }
    let mut nodes = BTreeSet::new();
    for load in loads {
        load.check()?;
        if !nodes.insert(&load.node) {
            return Err(Error::invalid("node", format!("{:?} is listed twice", load.node)));
        }
    }
    Ok(())
}

/// What the ready nodes say together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) ready: u32,
    /// How many of them say how busy they are.
    pub(super) known: u32,
    /// The mean of those; none if they are too few.
    pub(super) load: Option<f64>,
}

impl Reading {
    pub(super) fn of(ready: &[&NodeLoad], min_known: f64) -> Self {
        let known: Vec<f64> = ready.iter().filter_map(|load| load.load()).collect();
        let enough = !known.is_empty() && known.len() as f64 >= min_known * ready.len() as f64;
        Self {
            ready: count(ready.len()),
            known: count(known.len()),
            load: enough.then(|| known.iter().sum::<f64>() / known.len() as f64),
        }
    }

    /// The share of the ready nodes that is known, 0–1.
    pub(super) fn share(&self) -> f64 {
        f64::from(self.known) / f64::from(self.ready.max(1))
    }
}

/// The nodes whose load is known, least busy first; equally busy ones by id.
pub(super) fn idlest(ready: &[&NodeLoad]) -> Vec<NodeId> {
    let mut known: Vec<_> =
        ready.iter().filter_map(|load| Some((load.load()?, &load.node))).collect();
    known.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(b.1)));
    known.into_iter().map(|(_, node)| node.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, cpu: Option<f64>, memory: Option<f64>) -> NodeLoad {
        NodeLoad { cpu, memory, ..NodeLoad::new(name.parse().unwrap()) }
    }

    #[test]
    fn a_load_is_the_mean_of_what_is_known_and_unknown_is_not_idle() {
        let load = NodeLoad { storage: Some(0.1), ..node("a", Some(0.9), Some(0.5)) };
        assert!((load.load().unwrap() - 0.5).abs() < 1e-12);
        assert_eq!(node("a", Some(0.9), None).load(), Some(0.9));
        assert_eq!(node("a", None, None).load(), None);
    }

    #[test]
    fn a_beat_tells_in_per_cent_what_a_load_tells_as_a_share() {
        let beat = Heartbeat { cpu: Some(Percent::new(25.0).unwrap()), ..Heartbeat::new(1) };
        let load = NodeLoad::from_beat("a".parse().unwrap(), &beat);
        assert_eq!(load, node("a", Some(0.25), None));
    }

    #[test]
    fn what_is_no_share_is_refused_with_its_field() {
        for share in [f64::NAN, f64::INFINITY, -0.01, 1.01, 1e300] {
            let good = node("a", Some(0.1), Some(0.2));
            let cases = [
                ("cpu", NodeLoad { cpu: Some(share), ..good.clone() }),
                ("memory", NodeLoad { memory: Some(share), ..good.clone() }),
                ("storage", NodeLoad { storage: Some(share), ..good }),
            ];
            for (field, load) in cases {
                assert_eq!(check(&[load]).unwrap_err().field(), Some(field), "{share}");
            }
        }
        let twice = [node("a", None, None), node("a", None, None)];
        assert_eq!(check(&twice).unwrap_err().field(), Some("node"));
    }

    #[test]
    fn too_few_known_nodes_say_nothing() {
        let (known, unknown) = (node("a", Some(0.4), None), node("b", None, None));
        let half = Reading::of(&[&known, &unknown], 0.5);
        assert_eq!((half.load, half.known, half.ready), (Some(0.4), 1, 2));
        assert_eq!(Reading::of(&[&known, &unknown, &unknown], 0.5).load, None);
        assert_eq!(Reading::of(&[&unknown], 0.001).load, None);
        assert_eq!(Reading::of(&[], 0.5).load, None);
    }

    #[test]
    fn the_idlest_come_first_and_the_unknown_not_at_all() {
        let nodes = [
            node("c", Some(0.2), None),
            node("x", None, None),
            node("a", Some(0.2), None),
            node("b", Some(0.1), None),
        ];
        let names: Vec<_> = idlest(&nodes.iter().collect::<Vec<_>>());
        assert_eq!(names.iter().map(NodeId::as_str).collect::<Vec<_>>(), ["b", "a", "c"]);
    }
}
