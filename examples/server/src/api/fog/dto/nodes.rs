//! Nodes on the wire.

use std::collections::{BTreeMap, BTreeSet};

use fogcore::Fog;
use fogcore::amount::{Asset, DecimalText};
use fogcore::id::{AccountId, NodeId};
use fogcore::registry::{
    Address, Beat, Celsius, Gpu, Heartbeat, Liveness, Millis, Node, NodeKind, NodeRecord, Percent,
    Port, PowerState, Rates, Resources,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::{money, nodes};
use crate::http::extract::number;
use crate::http::problem::Problem;

/// A page of nodes.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct NodesQuery {
    /// Only nodes behind this one.
    pub after: Option<String>,
    /// How many, 1–1,000. Default 1,000.
    #[serde(default, deserialize_with = "number::deserialize")]
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
}

/// A node that registers.
#[derive(Debug, Deserialize, ToSchema)]
pub struct NodeRegistration {
    /// 1–128 visible characters.
    #[schema(example = "laptop-1", min_length = 1, max_length = 128)]
    pub node_id: String,
    /// `phone`, `laptop`, `server`, `gpu_box`, `game_host` or `other`.
    #[serde(default)]
    #[schema(value_type = String, example = "laptop")]
    pub kind: NodeKind,
    /// A name for people.
    #[serde(default)]
    pub name: String,
    /// The account that is paid for its work. Default: your own.
    pub owner: Option<String>,
    /// Where it stands.
    #[serde(default)]
    pub region: String,
    /// Where it can be reached.
    #[serde(default)]
    pub addresses: Vec<AddressBody>,
    /// Labels for selectors.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What it has.
    #[serde(default)]
    pub resources: ResourcesBody,
    /// The kinds of tasks it does.
    #[serde(default)]
    #[schema(example = json!(["shout"]))]
    pub serves: BTreeSet<String>,
    /// How many tasks it does at once.
    #[serde(default)]
    pub slots: u32,
    /// How many connections it takes. Default 50.
    pub max_connections: Option<u32>,
    /// What its owner asks for work.
    #[serde(default)]
    pub rates: RatesBody,
}

/// Where a node can be reached.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AddressBody {
    /// A host name or an IP address.
    pub host: String,
    /// 1–65535.
    #[schema(minimum = 1)]
    pub port: u16,
}

/// What a node has. Zero means: not told.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct ResourcesBody {
    /// CPU cores.
    pub cpu_cores: u32,
    /// CPU frequency.
    pub cpu_mhz: u32,
    /// Memory.
    pub memory_mib: u64,
    /// Storage on offer.
    pub storage_mib: u64,
    /// Network.
    pub bandwidth_mbps: u32,
    /// GPUs.
    pub gpus: Vec<GpuBody>,
}

/// A GPU.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct GpuBody {
    /// Its model.
    #[schema(example = "A100")]
    pub model: String,
    /// Its memory.
    pub memory_mib: u64,
}

/// What an owner asks, in tokens. The parts add up.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct RatesBody {
    /// For each task done.
    #[schema(value_type = Option<String>, example = "0.01")]
    pub per_task: Option<DecimalText>,
    /// For each second that a slot was busy.
    #[schema(value_type = Option<String>)]
    pub per_busy_second: Option<DecimalText>,
    /// For each GiB moved.
    #[schema(value_type = Option<String>)]
    pub per_gib: Option<DecimalText>,
    /// For each hour of a core.
    #[schema(value_type = Option<String>)]
    pub per_cpu_hour: Option<DecimalText>,
    /// For each hour of a GiB of memory.
    #[schema(value_type = Option<String>)]
    pub per_memory_gib_hour: Option<DecimalText>,
    /// For each hour of a GPU.
    #[schema(value_type = Option<String>)]
    pub per_gpu_hour: Option<DecimalText>,
}

impl RatesBody {
    fn parse(&self, asset: &Asset) -> Result<Rates, Problem> {
        let read = |text: &Option<DecimalText>| {
            text.as_ref().map_or(Ok(Default::default()), |text| money::read(asset, "rates", text))
        };
        Ok(Rates {
            per_task: read(&self.per_task)?,
            per_busy_second: read(&self.per_busy_second)?,
            per_gib: read(&self.per_gib)?,
            per_cpu_hour: read(&self.per_cpu_hour)?,
            per_memory_gib_hour: read(&self.per_memory_gib_hour)?,
            per_gpu_hour: read(&self.per_gpu_hour)?,
        })
    }
}

impl NodeRegistration {
    /// The node, paid to `owner` unless it names another one.
    ///
    /// # Errors
    /// The field that cannot be.
    pub fn parse(self, owner: &AccountId, asset: &Asset) -> Result<Node, Problem> {
        let id: NodeId = self.node_id.parse().map_err(|error: fogcore::id::IdError| {
            Problem::invalid("node_id", error.to_string())
        })?;
        let owner = match self.owner {
            Some(named) => named.parse()?,
            None => owner.clone(),
        };
        let addresses = self.addresses.into_iter().map(|address| {
            Ok::<_, Problem>(Address { host: address.host, port: Port::new(address.port)? })
        });
        let serves = self.serves.iter().map(|kind| kind.parse());
        let node = Node::new(id);
        let max_connections = self.max_connections.unwrap_or(node.max_connections);
        let r = self.resources;
        let gpu = |gpu: GpuBody| Gpu { model: gpu.model, memory_mib: gpu.memory_mib };
        Ok(Node {
            kind: self.kind,
            name: self.name,
            owner: Some(owner),
            region: self.region,
            addresses: addresses.collect::<Result<_, _>>()?,
            labels: self.labels,
            resources: Resources {
                cpu_cores: r.cpu_cores,
                cpu_mhz: r.cpu_mhz,
                memory_mib: r.memory_mib,
                storage_mib: r.storage_mib,
                bandwidth_mbps: r.bandwidth_mbps,
                gpus: r.gpus.into_iter().map(gpu).collect(),
            },
            serves: serves.collect::<Result<_, _>>()?,
            slots: self.slots,
            max_connections,
            rates: self.rates.parse(asset)?,
            ..node
        })
    }
}

/// A heartbeat. What is not known is left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct HeartbeatBody {
    /// Grows with each beat; a beat that is not newer is ignored. Default: the server's time.
    pub sequence: Option<u64>,
    /// Round-trip time to here.
    #[schema(minimum = 0)]
    pub latency_ms: Option<f64>,
    /// Packets lost.
    #[schema(minimum = 0, maximum = 100)]
    pub packet_loss_percent: Option<f64>,
    /// CPU in use.
    #[schema(minimum = 0, maximum = 100)]
    pub cpu_percent: Option<f64>,
    /// Memory in use.
    #[schema(minimum = 0, maximum = 100)]
    pub memory_percent: Option<f64>,
    /// Storage in use.
    #[schema(minimum = 0, maximum = 100)]
    pub storage_percent: Option<f64>,
    /// Network in use.
    #[schema(minimum = 0, maximum = 100)]
    pub bandwidth_percent: Option<f64>,
    /// GPUs in use.
    #[schema(minimum = 0, maximum = 100)]
    pub gpu_percent: Option<f64>,
    /// Connections now.
    pub connections: u32,
    /// Battery, heat and user.
    pub power: Option<PowerBody>,
}

/// What decides whether a device may work.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct PowerBody {
    /// The battery's charge; none if there is no battery.
    #[schema(minimum = 0, maximum = 100)]
    pub battery_percent: Option<f64>,
    /// Whether it is being charged.
    pub charging: bool,
    /// The hottest of CPU, battery and skin.
    pub temperature_celsius: Option<f64>,
    /// Whether the network is paid by volume.
    pub metered: bool,
    /// Whether somebody uses the device now.
    pub user_active: bool,
}

impl HeartbeatBody {
    /// The heartbeat. One without a number has `number`.
    ///
    /// # Errors
    /// The field that is out of its range.
    pub fn parse(self, number: u64) -> Result<Heartbeat, Problem> {
        let percent = |field: &'static str, value: Option<f64>| within(field, value, Percent::new);
        let power = self.power.map(|power| {
            Ok::<_, Problem>(PowerState {
                battery: percent("power.battery_percent", power.battery_percent)?,
                charging: power.charging,
                temperature: within(
                    "power.temperature_celsius",
                    power.temperature_celsius,
                    Celsius::new,
                )?,
                metered: power.metered,
                user_active: power.user_active,
            })
        });
        Ok(Heartbeat {
            sequence: self.sequence.unwrap_or(number),
            latency: within("latency_ms", self.latency_ms, Millis::new)?,
            loss: percent("packet_loss_percent", self.packet_loss_percent)?,
            cpu: percent("cpu_percent", self.cpu_percent)?,
            memory: percent("memory_percent", self.memory_percent)?,
            storage: percent("storage_percent", self.storage_percent)?,
            bandwidth: percent("bandwidth_percent", self.bandwidth_percent)?,
            gpu: percent("gpu_percent", self.gpu_percent)?,
            connections: self.connections,
            power: power.transpose()?,
        })
    }
}

/// A number in its unit, or the name of the field that it is in.
pub(crate) fn within<T, E: std::fmt::Display>(
    field: &'static str,
    value: Option<f64>,
    unit: impl Fn(f64) -> Result<T, E>,
) -> Result<Option<T>, Problem> {
    let parse = |value| unit(value).map_err(|error| Problem::invalid(field, error.to_string()));
    value.map(parse).transpose()
}

/// A node.
#[derive(Debug, Serialize, ToSchema)]
pub struct NodeAnswer {
    /// Its id.
    pub node_id: String,
    /// `coordinator` if it hosts games, `worker` if it does tasks, `hybrid` if both.
    pub r#type: &'static str,
    /// `active`, `suspect` (its beat is late) or `offline`.
    pub status: &'static str,
    /// What it has.
    pub resources: ResourcesToldAnswer,
    /// When it was last heard of, in RFC 3339.
    #[schema(format = DateTime)]
    pub last_seen: String,
    /// What kind of thing it is.
    #[schema(value_type = String)]
    pub kind: NodeKind,
    /// A name for people.
    pub name: String,
    /// Whose it is.
    pub owner: Option<String>,
    /// Where it stands.
    pub region: String,
    /// The kinds of tasks it does.
    pub serves: Vec<String>,
    /// How many tasks it does at once.
    pub slots: u32,
    /// How good it is, 0–100.
    pub quality_score: f64,
    /// Whether it may work now.
    pub eligible: bool,
    /// Why not.
    pub ineligible_reason: Option<String>,
    /// When it registered first, in RFC 3339.
    #[schema(format = DateTime)]
    pub registered_at: String,
}

/// What a node has.
#[derive(Debug, Serialize, ToSchema)]
pub struct ResourcesToldAnswer {
    /// CPU cores.
    pub cpu_cores: u32,
    /// Memory in GiB.
    pub memory_gb: f64,
    /// Storage in GiB.
    pub storage_gb: f64,
    /// Network.
    pub bandwidth_mbps: u32,
    /// GPUs.
    pub gpus: Vec<GpuBody>,
}

/// GiB of so many MiB. Beyond 2^53 MiB the last digits are of no interest.
#[expect(clippy::cast_precision_loss, reason = "told to people")]
#[must_use]
pub fn gib(mib: u64) -> f64 {
    mib as f64 / 1_024.0
}

impl NodeAnswer {
    /// A node as it is now.
    #[must_use]
    pub fn of(fog: &Fog, record: &NodeRecord) -> Self {
        let node = &record.node;
        let refused = record.eligibility(fog.clock().now(), &fog.config().power).err();
        let gpu = |gpu: &Gpu| GpuBody { model: gpu.model.clone(), memory_mib: gpu.memory_mib };
        Self {
            node_id: node.id.to_string(),
            r#type: type_of(node),
            status: status_of(nodes::liveness(fog, record)),
            resources: ResourcesToldAnswer {
                cpu_cores: node.resources.cpu_cores,
                memory_gb: gib(node.resources.memory_mib),
                storage_gb: gib(node.resources.storage_mib),
                bandwidth_mbps: node.resources.bandwidth_mbps,
                gpus: node.resources.gpus.iter().map(gpu).collect(),
            },
            last_seen: record.last_seen.to_string(),
            kind: node.kind,
            name: node.name.clone(),
            owner: node.owner.as_ref().map(ToString::to_string),
            region: node.region.clone(),
            serves: node.serves.iter().map(ToString::to_string).collect(),
            slots: node.slots,
            quality_score: record.quality(),
            eligible: nodes::is_eligible(fog, record),
            ineligible_reason: refused.map(|reason| reason.to_string()),
            registered_at: record.registered_at.to_string(),
        }
    }
}

/// The document's word for what a node does.
#[must_use]
pub fn type_of(node: &Node) -> &'static str {
    match (node.kind, node.serves.is_empty()) {
        (NodeKind::GameHost, true) => "coordinator",
        (NodeKind::GameHost, false) => "hybrid",
        _ => "worker",
    }
}

/// The document's word for a node's liveness.
#[must_use]
pub const fn status_of(liveness: Liveness) -> &'static str {
    match liveness {
        Liveness::Online => "active",
        Liveness::Suspect => "suspect",
        Liveness::Offline => "offline",
    }
}

/// What became of a heartbeat.
#[derive(Debug, Serialize, ToSchema)]
pub struct BeatAnswer {
    /// False if it was not newer than the latest one, and changed nothing.
    pub accepted: bool,
    /// The number of the latest beat.
    pub sequence: u64,
    /// The node as it is now.
    pub node: NodeAnswer,
}

impl BeatAnswer {
    /// What became of it.
    #[must_use]
    pub fn of(fog: &Fog, beat: &Beat) -> Self {
        let (accepted, record) = match beat {
            Beat::Accepted(record) => (true, record),
            Beat::Stale(record) => (false, record),
        };
        let sequence = record.heartbeat.as_ref().map_or(0, |beat| beat.sequence);
        Self { accepted, sequence, node: NodeAnswer::of(fog, record) }
    }
}

/// Why, and how firmly, a node is drained.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct DrainBody {
    /// Why, for the history.
    pub reason: String,
    /// Also if nobody healthy is left then.
    pub force: bool,
}

/// A node that is drained.
#[derive(Debug, Serialize, ToSchema)]
pub struct DrainAnswer {
    /// The node.
    pub node_id: String,
    /// `draining`.
    pub status: &'static str,
    /// Who takes over, the best first.
    pub replacements: Vec<String>,
}
