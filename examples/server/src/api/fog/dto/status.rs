//! The documented answers that are sums over the whole fog. What nobody measured is 0 or empty.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::market::OfferAnswer;
use super::nodes::NodeAnswer;

/// The one state in which an answer comes.
pub const OPERATIONAL: &str = "operational";

/// How the peer-to-peer network is.
#[derive(Debug, Serialize, ToSchema)]
pub struct P2pStatus {
    /// `operational`.
    pub status: &'static str,
    /// Whether the fog answers.
    pub services_available: bool,
    /// The Bluetooth mesh.
    pub bitchat: BitChat,
    /// The mixnet.
    pub betanet: BetaNet,
    /// When, in RFC 3339.
    #[schema(format = DateTime)]
    pub timestamp: String,
}

/// The Bluetooth mesh, which this server has no radio for.
#[derive(Debug, Serialize, ToSchema)]
pub struct BitChat {
    /// Whether it is connected.
    pub connected: bool,
    /// What it would run on.
    pub platform: &'static str,
    /// `offline`.
    pub status: &'static str,
}

/// The mixnet, of which this server has no nodes.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct BetaNet {
    /// Whether it is connected.
    pub connected: bool,
    /// Its nodes.
    pub mixnodes: Vec<String>,
    /// Circuits that are open.
    pub active_circuits: u32,
    /// How private it is, 0–100.
    pub privacy_level: u32,
}

/// The peers.
#[derive(Debug, Serialize, ToSchema)]
pub struct Peers {
    /// `operational`.
    pub status: &'static str,
    /// Nodes that are registered.
    pub total_peers: usize,
    /// Those of them that beat within their time.
    pub connected_peers: usize,
    /// `star`: nodes know each other through this server.
    pub topology: &'static str,
    /// The first 1,000 of them by id; `/api/fog/nodes` has pages.
    pub peers: Vec<Peer>,
    /// The network as a whole.
    pub mesh_stats: MeshStats,
    /// When, in RFC 3339.
    #[schema(format = DateTime)]
    pub timestamp: String,
}

/// A peer.
#[derive(Debug, Serialize, ToSchema)]
pub struct Peer {
    /// The node's id.
    pub peer_id: String,
    /// `active`, `suspect` or `offline`.
    pub status: &'static str,
    /// Its latest latency, if it told one.
    pub latency_ms: Option<f64>,
    /// When it was last heard of, in RFC 3339.
    #[schema(format = DateTime)]
    pub last_seen: String,
}

/// The network as a whole.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct MeshStats {
    /// Connected peers, of all.
    pub connectivity_ratio: f64,
    /// The mean of what connected peers told.
    pub avg_latency_ms: f64,
    /// What connected peers have together.
    pub total_bandwidth_mbps: u64,
    /// Ways between two peers: there is one, through this server, or none.
    pub redundancy_level: u32,
    /// Circuits that are open.
    pub active_circuits: u32,
}

/// Messages between peers, which do not pass this server.
#[derive(Debug, Serialize, ToSchema)]
pub struct Messages {
    /// `operational`.
    pub status: &'static str,
    /// How many there were.
    pub message_stats: MessageStats,
    /// Who is reached through whom.
    #[schema(value_type = Vec<Object>)]
    pub routing_table: Vec<serde_json::Value>,
    /// The latest ones.
    #[schema(value_type = Vec<Object>)]
    pub recent_messages: Vec<serde_json::Value>,
    /// When, in RFC 3339.
    #[schema(format = DateTime)]
    pub timestamp: String,
}

/// How many messages there were.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct MessageStats {
    /// Sent.
    pub total_sent: u64,
    /// Received.
    pub total_received: u64,
    /// How long they took.
    pub avg_latency_ms: f64,
    /// How many of those sent were received.
    pub success_rate: f64,
}

/// The nodes.
#[derive(Debug, Serialize, ToSchema)]
pub struct Nodes {
    /// `operational`.
    pub status: &'static str,
    /// How many there are.
    pub total_nodes: usize,
    /// How many of them beat within their time.
    pub active_nodes: usize,
    /// How many there are of each type.
    pub node_types: NodeTypes,
    /// This page of them, by id.
    pub nodes: Vec<NodeAnswer>,
    /// Where the next page begins (`after`), if there is one.
    pub next: Option<String>,
    /// When, in RFC 3339.
    #[schema(format = DateTime)]
    pub timestamp: String,
}

/// How many nodes there are of each type.
#[derive(Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct NodeTypes {
    /// Those that host games.
    pub coordinator: usize,
    /// Those that do tasks.
    pub worker: usize,
    /// Those that do both.
    pub hybrid: usize,
}

/// What the fog has, and how much of it is in use.
#[derive(Debug, Serialize, ToSchema)]
pub struct ResourcesAnswer {
    /// `operational`.
    pub status: &'static str,
    /// Devices whose owners do not need them now.
    pub harvesting: Harvesting,
    /// What can be had of those.
    pub resources: Available,
    /// What is in use, in per cent of what the nodes that told it have.
    pub utilization: Utilization,
    /// Batteries and heat.
    pub energy: Energy,
    /// What was paid.
    pub rewards: Rewards,
    /// When, in RFC 3339.
    #[schema(format = DateTime)]
    pub timestamp: String,
}

/// Devices whose owners do not need them now.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Harvesting {
    /// Nodes that are there and may work.
    pub active_devices: usize,
    /// Nodes that are registered.
    pub total_registered: usize,
    /// Hours of a core that can be had in an hour.
    pub harvest_rate_per_hour: f64,
    /// The idle part of the CPU of those that told it, in per cent.
    pub idle_capacity_percent: f64,
}

/// What can be had, in the coming hour.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Available {
    /// Hours of a core.
    pub cpu_hours_available: f64,
    /// Hours of a GiB of memory.
    pub memory_gb_hours: f64,
    /// GiB of storage.
    pub storage_gb_available: f64,
    /// Mbit/s of network.
    pub bandwidth_mbps_available: f64,
}

/// What is in use, in per cent.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Utilization {
    /// Of the CPU.
    pub cpu_utilization: f64,
    /// Of the memory.
    pub memory_utilization: f64,
    /// Of the storage.
    pub storage_utilization: f64,
    /// Of the network.
    pub bandwidth_utilization: f64,
}

/// Batteries and heat.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Energy {
    /// Devices whose battery is being charged.
    pub devices_charging: usize,
    /// Devices whose battery is full enough to work.
    pub battery_threshold_met: usize,
    /// Devices that are so warm that they should do less.
    pub thermal_throttling: usize,
    /// Where the energy comes from, nobody knows.
    pub green_energy_ratio: f64,
}

/// What was paid to owners of nodes.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Rewards {
    /// Since midnight (UTC).
    pub tokens_distributed_today: f64,
    /// The same, exactly.
    pub tokens_distributed_today_exact: String,
    /// In an hour of today, on average.
    pub avg_reward_per_hour: f64,
    /// The most that quality can add to a reward, as a share of it.
    pub quality_bonus_rate: f64,
}

/// The marketplace.
#[derive(Debug, Serialize, ToSchema)]
pub struct MarketplaceAnswer {
    /// `operational`.
    pub status: &'static str,
    /// The market as a whole.
    pub marketplace_stats: MarketplaceStats,
    /// The first 1,000 open offers; `/api/fog/marketplace/offers` has pages.
    pub services: Vec<OfferAnswer>,
    /// What is for hire and what is wanted, by resource.
    pub demand_metrics: BTreeMap<&'static str, Demand>,
    /// Services that hide where they are: there are none.
    pub hidden_services: HiddenServices,
    /// When, in RFC 3339.
    #[schema(format = DateTime)]
    pub timestamp: String,
}

/// The market as a whole.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct MarketplaceStats {
    /// Offers of which something is left.
    pub total_offerings: u64,
    /// Trades that are neither settled nor void.
    pub active_contracts: usize,
    /// The mean of what open offers ask for a unit for an hour.
    pub avg_price_per_hour: f64,
    /// Owners of open offers.
    pub total_providers: usize,
}

/// What is for hire and what is wanted, in units.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Demand {
    /// What is left of open offers.
    pub supply: f64,
    /// What open bids still want.
    pub demand: f64,
    /// Bids that wait.
    pub open_bids: u64,
    /// Trades that there ever were.
    pub trades: u64,
}

/// Services that hide where they are.
#[derive(Debug, Serialize, ToSchema)]
pub struct HiddenServices {
    /// How many.
    pub total_hidden_services: u32,
    /// How much of the time they are there.
    pub avg_uptime: f64,
    /// `none`.
    pub censorship_resistance: &'static str,
}
