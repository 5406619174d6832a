//! What a node is: its registration.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::rates::Rates;
use super::units::Port;
use crate::error::{Error, Result};
use crate::id::{AccountId, NodeId, TaskKind};

/// Labels of a node, for selectors: at most 64; keys of 1–63 and values of up to 255 characters.
pub type Labels = BTreeMap<String, String>;

/// The rough kind of a node.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NodeKind {
    /// A phone or tablet.
    Phone,
    /// A laptop.
    Laptop,
    /// A desktop or rack machine.
    Server,
    /// A machine for its GPUs.
    GpuBox,
    /// A player's machine that hosts zones of a game.
    GameHost,
    /// Anything else.
    #[default]
    Other,
}

/// Where a node can be reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Address {
    /// A host name or an IP address, 1–253 characters.
    pub host: String,
    /// The port.
    pub port: Port,
}

/// One GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// The model, such as `A100`, 1–64 characters.
    pub model: String,
    /// Its memory, in MiB.
    pub memory_mib: u64,
}

/// What a node has in all. Zero means: not told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// CPU cores.
    pub cpu_cores: u32,
    /// CPU frequency, in MHz.
    pub cpu_mhz: u32,
    /// Memory, in MiB.
    pub memory_mib: u64,
    /// Storage on offer, in MiB.
    pub storage_mib: u64,
    /// Network bandwidth, in Mbit/s.
    pub bandwidth_mbps: u32,
    /// GPUs, at most 64.
    pub gpus: Vec<Gpu>,
}

/// A node as it registers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// What kind of thing it is.
    #[serde(default)]
    pub kind: NodeKind,
    /// A name for people, up to 128 characters.
    #[serde(default)]
    pub name: String,
    /// The account that is paid for its work; without one, it works for free.
    #[serde(default)]
    pub owner: Option<AccountId>,
    /// Where it stands, up to 64 characters; empty if unknown.
    #[serde(default)]
    pub region: String,
    /// Where it can be reached, at most 16.
    #[serde(default)]
    pub addresses: Vec<Address>,
    /// Labels for selectors.
    #[serde(default)]
    pub labels: Labels,
    /// What it has.
    #[serde(default)]
    pub resources: Resources,
    /// The task kinds it executes, at most 256.
    #[serde(default)]
    pub serves: BTreeSet<TaskKind>,
    /// How many tasks it executes at once, 0–65,536.
    #[serde(default)]
    pub slots: u32,
    /// How many connections (players) it takes, at least 1.
    #[serde(default = "default_max_connections")]
    pub max_connections: u32,
    /// How many sessions it hosts at once. Default 5.
    #[serde(default = "default_max_zones")]
    pub max_zones: u32,
    /// What its owner asks for work.
    #[serde(default)]
    pub rates: Rates,
    /// How much power the tasks of a class may draw together, in milliwatts; a class that is not
    /// named may draw what it likes. At most 64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub power_budget: BTreeMap<String, u32>,
}

/// A game host's default (semantics of the coordinator document: `max_players` 50).
const fn default_max_connections() -> u32 {
    50
}

/// A game host's default (semantics of the coordinator document: `max_zones` 5).
const fn default_max_zones() -> u32 {
    5
}

impl Node {
    /// A node of which nothing but the id is known.
    #[must_use]
    pub fn new(id: NodeId) -> Self {
        Self {
            id,
            kind: NodeKind::default(),
            name: String::new(),
            owner: None,
            region: String::new(),
            addresses: Vec::new(),
            labels: Labels::new(),
            resources: Resources::default(),
            serves: BTreeSet::new(),
            slots: 0,
            max_connections: default_max_connections(),
            max_zones: default_max_zones(),
            rates: Rates::default(),
            power_budget: BTreeMap::new(),
        }
    }

    /// Checks every limit that the types do not hold already.
    ///
    /// # Errors
    /// InvalidInput with the field's name.
    pub fn check(&self) -> Result<()> {
        at_most("name", self.name.chars().count(), 128, "characters")?;
        if self.owner.as_ref().is_some_and(AccountId::is_reserved) {
            return Err(Error::invalid("owner", "accounts named fog: are the fog's own"));
        }
        at_most("region", self.region.chars().count(), 64, "characters")?;
        at_most("addresses", self.addresses.len(), 16, "entries")?;
        for address in &self.addresses {
            within("addresses.host", address.host.chars().count(), 1, 253)?;
        }
        at_most("labels", self.labels.len(), 64, "entries")?;
        for (key, value) in &self.labels {
            check_label(key, value)?;
        }
        check_mib("resources.memory_mib", self.resources.memory_mib)?;
        check_mib("resources.storage_mib", self.resources.storage_mib)?;
        at_most("resources.gpus", self.resources.gpus.len(), 64, "entries")?;
        for gpu in &self.resources.gpus {
            within("resources.gpus.model", gpu.model.chars().count(), 1, 64)?;
        }
        at_most("serves", self.serves.len(), 256, "entries")?;
        at_most("slots", self.slots as usize, 65_536, "slots")?;
        at_most("power_budget", self.power_budget.len(), 64, "entries")?;
        for class in self.power_budget.keys() {
            within("power_budget", class.chars().count(), 1, 64)?;
        }
        if self.max_connections == 0 {
            return Err(Error::invalid("max_connections", "must be at least 1"));
        }
        Ok(())
    }
}

/// Checks a label's key (1–63 characters) and value (up to 255), on a node or in a selector.
///
/// # Errors
/// InvalidInput with the field `labels`.
pub fn check_label(key: &str, value: &str) -> Result<()> {
    within("labels", key.chars().count(), 1, 63)?;
    at_most("labels", value.chars().count(), 255, "characters")
}

/// Checks an amount of memory or storage: at most 2^40 MiB, so that all that a node's tasks take
/// can be added up.
///
/// # Errors
/// InvalidInput with the field's name.
pub fn check_mib(field: &'static str, mib: u64) -> Result<()> {
    if mib > 1 << 40 {
        return Err(Error::invalid(field, format!("{mib} MiB, at most 2^40 are allowed")));
    }
    Ok(())
}

fn at_most(field: &'static str, found: usize, max: usize, what: &str) -> Result<()> {
    if found > max {
        return Err(Error::invalid(field, format!("{found} {what}, at most {max} are allowed")));
    }
    Ok(())
}

fn within(field: &'static str, found: usize, min: usize, max: usize) -> Result<()> {
    if !(min..=max).contains(&found) {
        return Err(Error::invalid(field, format!("{found} characters, {min}–{max} are allowed")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Node {
        Node::new("n".parse().unwrap())
    }

    #[test]
    fn every_limit_names_its_field() {
        let long = "x".repeat(300);
        type Spoil = fn(&mut Node, String);
        let cases: [(&str, Spoil); 8] = [
            ("name", |n, long| n.name = long),
            ("region", |n, long| n.region = long),
            ("addresses.host", |n, host| {
                n.addresses = vec![Address { host, port: Port::new(1).unwrap() }];
            }),
            ("labels", |n, long| drop(n.labels.insert(long, String::new()))),
            ("labels", |n, long| drop(n.labels.insert("k".into(), long))),
            ("resources.gpus.model", |n, model| {
                n.resources.gpus = vec![Gpu { model, memory_mib: 1 }];
            }),
            ("slots", |n, _| n.slots = 65_537),
            ("max_connections", |n, _| n.max_connections = 0),
        ];
        for (field, spoil) in cases {
            let mut spoiled = node();
            spoil(&mut spoiled, long.clone());
            assert_eq!(spoiled.check().unwrap_err().field(), Some(field));
        }
        node().check().unwrap();
    }

    #[test]
    fn a_registration_needs_no_more_than_an_id() {
        let node: Node = serde_json::from_str(r#"{"id":"n","unknown":1}"#).unwrap();
        assert_eq!(node, Node::new("n".parse().unwrap()));
    }
}
