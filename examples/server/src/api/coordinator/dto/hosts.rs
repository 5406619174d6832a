//! Hosts on the wire.

use fogcore::Fog;
use fogcore::id::{AccountId, NodeId};
use fogcore::registry::{
    Address, Liveness, Millis, Node, NodeKind, NodeRecord, Percent, Port, Resources,
};
use fogcore::signaling::Session;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::{checked, parse};
use crate::api::fog::dto::nodes::HeartbeatBody;
use crate::api::nodes;
use crate::http::extract::number as in_query;
use crate::http::problem::Problem;

/// Labels of the node that a host is, for what the document calls by other names.
const PLAYER_ID: &str = "player_id";
const PLAYER_NAME: &str = "player_name";

/// A number, where the document wants one: nodes have names, so it is a part of the name's digest,
/// small enough to be exact in every JSON reader.
pub(crate) fn number(node: &NodeId) -> u64 {
    let digest = blake3::hash(node.as_str().as_bytes());
    digest.as_bytes()[..6].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A host that registers.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct HostRegistration {
    /// Its id: that of the node that it is.
    #[schema(example = "host-12345", min_length = 1, max_length = 128)]
    pub(crate) host_id: String,
    /// Whose machine it is.
    #[schema(example = "player-67890", min_length = 1, max_length = 128)]
    pub(crate) player_id: String,
    /// What other players call them.
    #[serde(default)]
    #[schema(max_length = 128)]
    pub(crate) player_name: String,
    /// The node's address in its own network.
    #[schema(example = "192.168.1.100")]
    pub(crate) ip_address: String,
    /// The node's port.
    #[schema(example = 8080, minimum = 1)]
    pub(crate) port: u16,
    /// The node's address as others see it.
    #[serde(default)]
    pub(crate) public_ip: Option<String>,
    /// CPU cores.
    #[schema(example = 8, minimum = 1)]
    pub(crate) cpu_cores: u32,
    /// CPU frequency.
    #[schema(example = 3600, minimum = 1)]
    pub(crate) cpu_frequency_mhz: Option<u32>,
    /// Memory.
    #[schema(example = 16384, minimum = 1)]
    pub(crate) memory_mb: u64,
    /// Network.
    #[schema(example = 1000, minimum = 1)]
    pub(crate) network_speed_mbps: u32,
    /// How many players it takes. Default 50.
    #[schema(minimum = 1)]
    pub(crate) max_players: Option<u32>,
    /// How many zones it takes at once. Default 5.
    #[schema(minimum = 1)]
    pub(crate) max_zones: Option<u32>,
    /// Servers that help peers to connect, as WebRTC has them. Checked, not kept: peers tell each
    /// other.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pub(crate) ice_servers: Vec<Map<String, Value>>,
}

impl HostRegistration {
    /// The node that the host is, paid to `owner`.
    pub(crate) fn parse(&self, owner: &AccountId) -> Result<Node, Problem> {
        let mut node = Node::new(parse("host_id", &self.host_id)?);
        for (field, value) in [
            ("cpu_cores", u64::from(self.cpu_cores)),
            ("memory_mb", self.memory_mb),
            ("network_speed_mbps", self.network_speed_mbps.into()),
            ("cpu_frequency_mhz", self.cpu_frequency_mhz.unwrap_or(1).into()),
            ("max_zones", self.max_zones.unwrap_or(1).into()),
            ("max_players", self.max_players.unwrap_or(1).into()),
        ] {
            if value == 0 {
                return Err(Problem::invalid(field, "must be at least 1"));
            }
        }
        let lengths = [
            (PLAYER_ID, self.player_id.chars().count(), 1..=128),
            (PLAYER_NAME, self.player_name.chars().count(), 0..=128),
            ("ice_servers", self.ice_servers.len(), 0..=16),
        ];
        for (field, length, allowed) in lengths {
            if !allowed.contains(&length) {
                let range = format!("{} to {} are allowed", allowed.start(), allowed.end());
                let told = format!("has a length of {length}, {range}");
                return Err(Problem::invalid(field, told));
            }
        }
        let port = Port::new(self.port);
        let port = port.map_err(|error| Problem::invalid("port", error.to_string()))?;
        let hosts = [Some(&self.ip_address), self.public_ip.as_ref()];
        let address = |host: &String| Address { host: host.clone(), port };
        node.kind = NodeKind::GameHost;
        node.owner = Some(owner.clone());
        node.addresses = hosts.into_iter().flatten().map(address).collect();
        node.resources = Resources {
            cpu_cores: self.cpu_cores,
            cpu_mhz: self.cpu_frequency_mhz.unwrap_or_default(),
            memory_mib: self.memory_mb,
            bandwidth_mbps: self.network_speed_mbps,
            ..Resources::default()
        };
        node.max_connections = self.max_players.unwrap_or(50);
        node.max_zones = self.max_zones.unwrap_or(5);
        for (key, value) in [(PLAYER_ID, &self.player_id), (PLAYER_NAME, &self.player_name)] {
            if !value.is_empty() {
                node.labels.insert(key.to_owned(), value.clone());
            }
        }
        Ok(node)
    }
}

/// A host's heartbeat.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct HostHeartbeat {
    /// Round-trip time to here.
    #[schema(example = 25.5, minimum = 0)]
    pub(crate) latency_ms: f64,
    /// Packets lost.
    #[schema(example = 0.1, minimum = 0, maximum = 100)]
    pub(crate) packet_loss_percent: f64,
    /// Network in use.
    #[serde(default)]
    #[schema(example = 50.0, minimum = 0)]
    pub(crate) bandwidth_usage_mbps: f64,
    /// Players now.
    #[serde(default)]
    #[schema(example = 10)]
    pub(crate) current_players: u32,
}

impl HostHeartbeat {
    /// The beat of the node that the host is.
    pub(crate) fn parse(&self, node: &Node) -> Result<HeartbeatBody, Problem> {
        let used = self.bandwidth_usage_mbps;
        if !(0.0..=f64::from(u32::MAX)).contains(&used) {
            return Err(Problem::invalid("bandwidth_usage_mbps", "must not be negative"));
        }
        let latency = checked("latency_ms", Some(self.latency_ms), Millis::new)?;
        let loss = checked("packet_loss_percent", Some(self.packet_loss_percent), Percent::new)?;
        let have = f64::from(node.resources.bandwidth_mbps);
        // More than there is counts as all of it.
        let share = if have > 0.0 { (used / have * 100.0).min(100.0) } else { 0.0 };
        Ok(HeartbeatBody {
            latency_ms: latency.map(Millis::get),
            packet_loss_percent: loss.map(Percent::get),
            bandwidth_percent: Some(share),
            connections: self.current_players,
            ..HeartbeatBody::default()
        })
    }
}

/// Whether a host takes players.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum HostStatus {
    /// It does.
    Online,
    /// Nothing was heard of it for so long that it does not count.
    Offline,
    /// It is full.
    Busy,
    /// It does not, for a while.
    Maintenance,
}

/// Which hosts are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct HostsQuery {
    /// In this status.
    #[param(inline)]
    pub(crate) status: Option<HostStatus>,
    /// With at least this score, 0–100.
    #[serde(default, deserialize_with = "in_query::deserialize")]
    #[param(value_type = Option<f64>, minimum = 0, maximum = 100)]
    pub(crate) min_quality_score: Option<f64>,
    /// Only hosts behind this one, by id.
    pub(crate) after: Option<String>,
    /// How many, 1–1,000. Default 1,000.
    #[serde(default, deserialize_with = "in_query::deserialize")]
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000)]
    pub(crate) limit: Option<usize>,
}

/// A host.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HostAnswer {
    /// Its number.
    pub(crate) id: u64,
    /// Its id.
    pub(crate) host_id: String,
    /// Whose machine it is.
    pub(crate) player_id: String,
    /// What other players call them.
    pub(crate) player_name: String,
    /// The node's address in its own network.
    pub(crate) ip_address: Option<String>,
    /// The node's port.
    pub(crate) port: Option<u16>,
    /// The node's address as others see it.
    pub(crate) public_ip: Option<String>,
    /// CPU cores.
    pub(crate) cpu_cores: u32,
    /// CPU frequency; 0 if it did not say.
    pub(crate) cpu_frequency_mhz: u32,
    /// Memory.
    pub(crate) memory_mb: u64,
    /// Network.
    pub(crate) network_speed_mbps: u32,
    /// Whether it takes players.
    pub(crate) status: HostStatus,
    /// How good it is, 0–100.
    pub(crate) quality_score: f64,
    /// Players now.
    pub(crate) current_players: u32,
    /// How many it takes.
    pub(crate) max_players: u32,
    /// Zones that are played on it now.
    pub(crate) current_zones: u32,
    /// How many it takes.
    pub(crate) max_zones: u32,
    /// Its latest latency.
    pub(crate) latency_ms: f64,
    /// Its latest loss.
    pub(crate) packet_loss_percent: f64,
    /// Network in use, as it told last.
    pub(crate) bandwidth_usage_mbps: f64,
    /// When it registered first, in RFC 3339.
    #[schema(format = DateTime)]
    pub(crate) created_at: String,
    /// When it was last heard of, in RFC 3339.
    #[schema(format = DateTime)]
    pub(crate) last_heartbeat: String,
}

impl HostAnswer {
    /// A node as a host, with the `sessions` that are open on it.
    pub(crate) fn of(fog: &Fog, record: &NodeRecord, sessions: &[Session]) -> Self {
        let (node, beat) = (&record.node, record.heartbeat.as_ref());
        let players: usize = sessions.iter().map(|session| session.players.len()).sum();
        let players = u32::try_from(players).unwrap_or(u32::MAX);
        let current_players = players.max(beat.map_or(0, |beat| beat.connections));
        let is_drained = || fog.failovers().iter().any(|share| share.node == node.id);
        let status = match nodes::liveness(fog, record) {
            Liveness::Offline => HostStatus::Offline,
            _ if is_drained() => HostStatus::Maintenance,
            _ if current_players >= node.max_connections => HostStatus::Busy,
            _ => HostStatus::Online,
        };
        let label = |key: &str| node.labels.get(key).cloned().unwrap_or_default();
        Self {
            id: number(&node.id),
            host_id: node.id.to_string(),
            player_id: label(PLAYER_ID),
            player_name: label(PLAYER_NAME),
            ip_address: node.addresses.first().map(|address| address.host.clone()),
            port: node.addresses.first().map(|address| address.port.get()),
            public_ip: node.addresses.get(1).map(|address| address.host.clone()),
            cpu_cores: node.resources.cpu_cores,
            cpu_frequency_mhz: node.resources.cpu_mhz,
            memory_mb: node.resources.memory_mib,
            network_speed_mbps: node.resources.bandwidth_mbps,
            status,
            quality_score: record.quality(),
            current_players,
            max_players: node.max_connections,
            current_zones: u32::try_from(sessions.len()).unwrap_or(u32::MAX),
            max_zones: node.max_zones,
            latency_ms: beat.and_then(|beat| beat.latency).map_or(0.0, Millis::get),
            packet_loss_percent: beat.and_then(|beat| beat.loss).map_or(0.0, Percent::get),
            bandwidth_usage_mbps: beat.and_then(|beat| beat.bandwidth).map_or(0.0, |share| {
                share.get() / 100.0 * f64::from(node.resources.bandwidth_mbps)
            }),
            created_at: record.registered_at.to_string(),
            last_heartbeat: record.last_seen.to_string(),
        }
    }

    /// Whether it is there and has room for players and zones.
    pub(crate) fn is_available(&self) -> bool {
        self.status == HostStatus::Online && self.current_zones < self.max_zones
    }
}

/// What a heartbeat came to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HostBeaten {
    /// That it was taken.
    pub(crate) message: &'static str,
    /// How good the host is now, 0–100.
    pub(crate) quality_score: f64,
}
