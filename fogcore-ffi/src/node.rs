//! Nodes as the other side sees them.

use std::collections::HashMap;

use fogcore::amount::Amount;
use fogcore::id::{AccountId, NodeId, TaskKind};
use fogcore::registry::{
    self, Address, Celsius, Gpu, Heartbeat, Ineligible, Liveness, LivenessPolicy, Millis, NodeKind,
    NodeRecord, Percent, Port, PowerPolicy, PowerState, Resources,
};
use fogcore::time::Timestamp;

/// Where a node can be reached.
#[uniffi::remote(Record)]
pub struct Address {
    /// A host name or an IP address, 1–253 characters.
    pub host: String,
    /// The port.
    pub port: Port,
}

/// One GPU.
#[uniffi::remote(Record)]
pub struct Gpu {
    /// The model, such as `A100`, 1–64 characters.
    pub model: String,
    /// Its memory, in MiB.
    pub memory_mib: u64,
}

/// What a node has in all. Zero means: not told.
#[uniffi::remote(Record)]
pub struct Resources {
    /// CPU cores.
    #[uniffi(default)]
    pub cpu_cores: u32,
    /// CPU frequency, in MHz.
    #[uniffi(default)]
    pub cpu_mhz: u32,
    /// Memory, in MiB.
    #[uniffi(default)]
    pub memory_mib: u64,
    /// Storage on offer, in MiB.
    #[uniffi(default)]
    pub storage_mib: u64,
    /// Network bandwidth, in Mbit/s.
    #[uniffi(default)]
    pub bandwidth_mbps: u32,
    /// GPUs, at most 64.
    #[uniffi(default)]
    pub gpus: Vec<Gpu>,
}

/// What decides whether a device may work without its owner noticing.
#[uniffi::remote(Record)]
pub struct PowerState {
    /// Charge of the battery; none if there is no battery, which counts as charging.
    #[uniffi(default)]
    pub battery: Option<Percent>,
    /// Whether the battery is being charged.
    #[uniffi(default)]
    pub charging: bool,
    /// The hottest of CPU, battery and skin.
    #[uniffi(default)]
    pub temperature: Option<Celsius>,
    /// Whether the network is paid by volume.
    #[uniffi(default)]
    pub metered: bool,
    /// Whether somebody uses the device right now.
    #[uniffi(default)]
    pub user_active: bool,
}

/// One heartbeat. Every measured value is optional: unknown is not zero.
#[uniffi::remote(Record)]
pub struct Heartbeat {
    /// Grows with each beat since the node registered; a worker fills it in.
    #[uniffi(default)]
    pub sequence: u64,
    /// Round-trip time to the coordinator.
    #[uniffi(default)]
    pub latency: Option<Millis>,
    /// Packets lost.
    #[uniffi(default)]
    pub loss: Option<Percent>,
    /// CPU in use.
    #[uniffi(default)]
    pub cpu: Option<Percent>,
    /// Memory in use.
    #[uniffi(default)]
    pub memory: Option<Percent>,
    /// Storage in use.
    #[uniffi(default)]
    pub storage: Option<Percent>,
    /// Bandwidth in use, of what the node registered.
    #[uniffi(default)]
    pub bandwidth: Option<Percent>,
    /// GPUs in use, averaged over all of them.
    #[uniffi(default)]
    pub gpu: Option<Percent>,
    /// Connections (players) now; a worker fills in its running tasks.
    #[uniffi(default)]
    pub connections: u32,
    /// Battery, heat and user, where there is such a thing.
    #[uniffi(default)]
    pub power: Option<PowerState>,
}

/// What a node's owner asks for work, in base units; what is left out costs nothing.
#[derive(Clone, Debug, Default, PartialEq, uniffi::Record)]
pub struct Rates {
    /// For each task done.
    #[uniffi(default)]
    pub per_task: Option<Amount>,
    /// For each second that the task kept a slot busy.
    #[uniffi(default)]
    pub per_busy_second: Option<Amount>,
    /// For each GiB that the task moved.
    #[uniffi(default)]
    pub per_gib: Option<Amount>,
    /// For each hour of one core.
    #[uniffi(default)]
    pub per_cpu_hour: Option<Amount>,
    /// For each hour of a GiB of memory.
    #[uniffi(default)]
    pub per_memory_gib_hour: Option<Amount>,
    /// For each hour of a GPU.
    #[uniffi(default)]
    pub per_gpu_hour: Option<Amount>,
}

impl From<Rates> for registry::Rates {
    fn from(rates: Rates) -> Self {
        Self {
            per_task: rates.per_task.unwrap_or_default(),
            per_busy_second: rates.per_busy_second.unwrap_or_default(),
            per_gib: rates.per_gib.unwrap_or_default(),
            per_cpu_hour: rates.per_cpu_hour.unwrap_or_default(),
            per_memory_gib_hour: rates.per_memory_gib_hour.unwrap_or_default(),
            per_gpu_hour: rates.per_gpu_hour.unwrap_or_default(),
        }
    }
}

impl From<registry::Rates> for Rates {
    fn from(rates: registry::Rates) -> Self {
        let told = |amount: Amount| Some(amount).filter(|amount| !amount.is_zero());
        Self {
            per_task: told(rates.per_task),
            per_busy_second: told(rates.per_busy_second),
            per_gib: told(rates.per_gib),
            per_cpu_hour: told(rates.per_cpu_hour),
            per_memory_gib_hour: told(rates.per_memory_gib_hour),
            per_gpu_hour: told(rates.per_gpu_hour),
        }
    }
}

/// A node as it registers.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// What kind of thing it is.
    pub kind: NodeKind,
    /// A name for people, up to 128 characters.
    #[uniffi(default)]
    pub name: String,
    /// The account that is paid for its work; without one, it works for free.
    #[uniffi(default)]
    pub owner: Option<AccountId>,
    /// Where it stands, up to 64 characters; empty if unknown.
    #[uniffi(default)]
    pub region: String,
    /// Where it can be reached, at most 16.
    #[uniffi(default)]
    pub addresses: Vec<Address>,
    /// Labels for selectors, at most 64.
    #[uniffi(default)]
    pub labels: HashMap<String, String>,
    /// What it has, if that is known.
    #[uniffi(default)]
    pub resources: Option<Resources>,
    /// The task kinds it executes, at most 256; a worker fills them in.
    #[uniffi(default)]
    pub serves: Vec<TaskKind>,
    /// How many tasks it executes at once, 0–65,536; a worker's has at least one.
    #[uniffi(default)]
    pub slots: u32,
    /// How many connections (players) it takes, at least 1; 50 if it is left out.
    #[uniffi(default)]
    pub max_connections: Option<u32>,
    /// How many sessions it hosts at once; 5 if it is left out.
    #[uniffi(default)]
    pub max_zones: Option<u32>,
    /// What its owner asks for work; nothing if it is left out.
    #[uniffi(default)]
    pub rates: Option<Rates>,
    /// How much power the tasks of a class may draw together, in milliwatts, at most 64.
    #[uniffi(default)]
    pub power_budget: HashMap<String, u32>,
}

impl From<Node> for registry::Node {
    fn from(node: Node) -> Self {
        let blank = Self::new(node.id);
        Self {
            kind: node.kind,
            name: node.name,
            owner: node.owner,
            region: node.region,
            addresses: node.addresses,
            labels: node.labels.into_iter().collect(),
            resources: node.resources.unwrap_or_default(),
            serves: node.serves.into_iter().collect(),
            slots: node.slots,
            max_connections: node.max_connections.unwrap_or(blank.max_connections),
            max_zones: node.max_zones.unwrap_or(blank.max_zones),
            rates: node.rates.unwrap_or_default().into(),
            power_budget: node.power_budget.into_iter().collect(),
            id: blank.id,
        }
    }
}

impl From<registry::Node> for Node {
    fn from(node: registry::Node) -> Self {
        Self {
            id: node.id,
            kind: node.kind,
            name: node.name,
            owner: node.owner,
            region: node.region,
            addresses: node.addresses,
            labels: node.labels.into_iter().collect(),
            resources: Some(node.resources),
            serves: node.serves.into_iter().collect(),
            slots: node.slots,
            max_connections: Some(node.max_connections),
            max_zones: Some(node.max_zones),
            rates: Some(node.rates.into()),
            power_budget: node.power_budget.into_iter().collect(),
        }
    }
}

/// A node with what is known of it.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct NodeStatus {
    /// The registration.
    pub node: Node,
    /// When it registered first.
    pub registered_at: Timestamp,
    /// When it was last heard of.
    pub last_seen: Timestamp,
    /// Whether it can be counted on.
    pub liveness: Liveness,
    /// Why its power state does not let it work; none if it does.
    pub ineligible: Option<Ineligible>,
    /// Its quality score, 0–100.
    pub quality: f64,
    /// Its latest beat since it registered.
    pub heartbeat: Option<Heartbeat>,
}

impl NodeStatus {
    pub(crate) fn of(
        record: NodeRecord,
        now: Timestamp,
        liveness: LivenessPolicy,
        power: &PowerPolicy,
    ) -> Self {
        Self {
            registered_at: record.registered_at,
            last_seen: record.last_seen,
            liveness: record.liveness(now, liveness),
            ineligible: record.eligibility(now, power).err(),
            quality: record.quality(),
            heartbeat: record.heartbeat,
            node: record.node.into(),
        }
    }
}

/// Which nodes are wanted; what is left out does not matter.
#[derive(Clone, Debug, Default, PartialEq, uniffi::Record)]
pub struct NodeFilter {
    /// Executing this kind of task.
    #[uniffi(default)]
    pub serves: Option<TaskKind>,
    /// Standing here.
    #[uniffi(default)]
    pub region: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_comes_back_as_it_went() {
        let mut node = registry::Node::new("phone".parse().unwrap());
        node.owner = Some("ann".parse().unwrap());
        node.labels.insert("os".into(), "android".into());
        node.serves.insert("resize".parse().unwrap());
        node.rates.per_task = Amount::from_base_units(7);
        node.power_budget.insert("games".into(), 5);
        assert_eq!(registry::Node::from(Node::from(node.clone())), node);
    }

    #[test]
    fn what_is_left_out_is_the_cores_default() {
        let id: NodeId = "phone".parse().unwrap();
        let bare = Node {
            resources: None,
            max_connections: None,
            max_zones: None,
            rates: None,
            ..registry::Node::new(id.clone()).into()
        };
        assert_eq!(registry::Node::from(bare), registry::Node::new(id));
    }
}
