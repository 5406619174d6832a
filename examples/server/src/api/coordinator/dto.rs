//! The document's wire types, and how the core's values look in them.

use fogcore::id::{NodeId, PeerId};
use fogcore::registry::{
    Address, Heartbeat, Liveness, Millis, Node, NodeKind, NodeRecord, Percent, Port, Resources,
};
use fogcore::signaling::{
    Session, SessionMetrics, SessionStatus, Zone, ZonePatch, ZoneSpec, ZoneStatus,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::problem::{Answer, Problem, parse};

/// A number for a document that wants one: nodes are named, so it is a part of the name's digest,
/// small enough for every JSON reader.
pub(super) fn number(node: &NodeId) -> u64 {
    let digest = blake3::hash(node.as_str().as_bytes());
    let bytes = digest.as_bytes();
    bytes[..6].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct NewHost {
    pub(super) host_id: String,
    #[serde(default)]
    player_id: String,
    #[serde(default)]
    player_name: String,
    ip_address: String,
    port: u16,
    #[serde(default)]
    public_ip: Option<String>,
    cpu_cores: u32,
    #[serde(default)]
    cpu_frequency_mhz: u32,
    memory_mb: u64,
    #[serde(default)]
    network_speed_mbps: u32,
    #[serde(default = "fifty")]
    max_players: u32,
    #[serde(default = "five")]
    max_zones: u32,
}

const fn fifty() -> u32 {
    50
}

const fn five() -> u32 {
    5
}

impl NewHost {
    pub(super) fn node(self) -> Answer<Node> {
        let at_least_one =
            [("cpu_cores", u64::from(self.cpu_cores)), ("memory_mb", self.memory_mb)];
        for (field, value) in at_least_one {
            if value == 0 {
                return Err(Problem::invalid(field, "must be at least 1"));
            }
        }
        let port = Port::new(self.port).map_err(|error| Problem::invalid("port", error))?;
        let addresses = [Some(self.ip_address), self.public_ip];
        let address = |host| Address { host, port };
        let mut node = Node::new(parse("host_id", &self.host_id)?);
        node.kind = NodeKind::GameHost;
        node.addresses = addresses.into_iter().flatten().map(address).collect();
        node.resources = Resources {
            cpu_cores: self.cpu_cores,
            cpu_mhz: self.cpu_frequency_mhz,
            memory_mib: self.memory_mb,
            bandwidth_mbps: self.network_speed_mbps,
            ..Resources::default()
        };
        node.max_connections = self.max_players;
        node.max_zones = self.max_zones;
        for (key, value) in [("player_id", self.player_id), ("player_name", self.player_name)] {
            if !value.is_empty() {
                node.labels.insert(key.to_owned(), value);
            }
        }
        Ok(node)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum HostStatus {
    Online,
    Offline,
    Busy,
    Maintenance,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HostView {
    id: u64,
    pub(super) host_id: String,
    player_id: String,
    player_name: String,
    ip_address: Option<String>,
    port: Option<u16>,
    public_ip: Option<String>,
    cpu_cores: u32,
    cpu_frequency_mhz: u32,
    memory_mb: u64,
    network_speed_mbps: u32,
    pub(super) status: HostStatus,
    pub(super) quality_score: f64,
    max_players: u32,
    current_players: u32,
    max_zones: u32,
    current_zones: u32,
    latency_ms: f64,
    packet_loss_percent: f64,
    created_at: String,
    last_heartbeat: String,
}

impl HostView {
    /// Whether it is there and has room for players and sessions.
    pub(super) fn is_available(&self) -> bool {
        self.status == HostStatus::Online && self.current_zones < self.max_zones
    }

    /// A node with the sessions that are open on it.
    pub(super) fn new(record: &NodeRecord, liveness: Liveness, sessions: &[Session]) -> Self {
        let (node, beat) = (&record.node, record.heartbeat.as_ref());
        let players: usize = sessions.iter().map(|session| session.players.len()).sum();
        let players = u32::try_from(players).unwrap_or(u32::MAX);
        let current_players = players.max(beat.map_or(0, |beat| beat.connections));
        let status = match liveness {
            Liveness::Offline => HostStatus::Offline,
            _ if current_players >= node.max_connections => HostStatus::Busy,
            _ => HostStatus::Online,
        };
        let label = |key: &str| node.labels.get(key).cloned().unwrap_or_default();
        Self {
            id: number(&node.id),
            host_id: node.id.as_str().to_owned(),
            player_id: label("player_id"),
            player_name: label("player_name"),
            ip_address: node.addresses.first().map(|address| address.host.clone()),
            port: node.addresses.first().map(|address| address.port.get()),
            public_ip: node.addresses.get(1).map(|address| address.host.clone()),
            cpu_cores: node.resources.cpu_cores,
            cpu_frequency_mhz: node.resources.cpu_mhz,
            memory_mb: node.resources.memory_mib,
            network_speed_mbps: node.resources.bandwidth_mbps,
            status,
            quality_score: record.quality(),
            max_players: node.max_connections,
            current_players,
            max_zones: node.max_zones,
            current_zones: u32::try_from(sessions.len()).unwrap_or(u32::MAX),
            latency_ms: beat.and_then(|beat| beat.latency).map_or(0.0, Millis::get),
            packet_loss_percent: beat.and_then(|beat| beat.loss).map_or(0.0, Percent::get),
            created_at: record.registered_at.to_string(),
            last_heartbeat: record.last_seen.to_string(),
        }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct NewBeat {
    latency_ms: f64,
    packet_loss_percent: f64,
    #[serde(default)]
    bandwidth_usage_mbps: f64,
    current_players: u32,
}

impl NewBeat {
    pub(super) fn heartbeat(&self, before: &NodeRecord) -> Answer<Heartbeat> {
        let speed = f64::from(before.node.resources.bandwidth_mbps);
        let used = self.bandwidth_usage_mbps;
        if !(used.is_finite() && used >= 0.0) {
            return Err(Problem::invalid("bandwidth_usage_mbps", "must not be negative"));
        }
        let latency = Millis::new(self.latency_ms);
        let loss = Percent::new(self.packet_loss_percent);
        Ok(Heartbeat {
            sequence: before.heartbeat.as_ref().map_or(0, |beat| beat.sequence) + 1,
            latency: Some(latency.map_err(|error| Problem::invalid("latency_ms", error))?),
            loss: Some(loss.map_err(|error| Problem::invalid("packet_loss_percent", error))?),
            bandwidth: Percent::new((100.0 * used / speed).min(100.0)).ok(),
            connections: self.current_players,
            ..Heartbeat::default()
        })
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Beaten {
    pub(super) message: &'static str,
    pub(super) quality_score: f64,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Done {
    pub(super) message: String,
}

#[derive(Debug, Deserialize, IntoParams)]
pub(super) struct HostQuery {
    pub(super) status: Option<String>,
    pub(super) min_quality_score: Option<f64>,
    /// Begin after this host.
    pub(super) after: Option<String>,
    /// 1–1,000.
    pub(super) limit: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum ZoneState {
    Enabled,
    Disabled,
    Maintenance,
}

impl From<ZoneStatus> for ZoneState {
    fn from(status: ZoneStatus) -> Self {
        match status {
            ZoneStatus::Enabled => Self::Enabled,
            ZoneStatus::Disabled => Self::Disabled,
            ZoneStatus::Maintenance => Self::Maintenance,
        }
    }
}

impl From<ZoneState> for ZoneStatus {
    fn from(state: ZoneState) -> Self {
        match state {
            ZoneState::Enabled => Self::Enabled,
            ZoneState::Disabled => Self::Disabled,
            ZoneState::Maintenance => Self::Maintenance,
        }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct NewZone {
    zone_id: String,
    zone_name: String,
    #[serde(flatten)]
    rest: ChangedZone,
    #[serde(default)]
    map_name: String,
}

#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct ChangedZone {
    zone_display_name: Option<String>,
    max_players: Option<u32>,
    recommended_players: Option<u32>,
    p2p_enabled: Option<bool>,
    p2p_priority: Option<u8>,
    fallback_enabled: Option<bool>,
    min_host_quality_score: Option<f64>,
    min_bandwidth_mbps: Option<u32>,
    max_latency_ms: Option<f64>,
    status: Option<ZoneState>,
}

impl ChangedZone {
    pub(super) fn patch(self) -> Answer<ZonePatch> {
        let quality = self.min_host_quality_score.map(Percent::new).transpose();
        let latency = self.max_latency_ms.map(Millis::new).transpose();
        Ok(ZonePatch {
            display_name: self.zone_display_name,
            max_players: self.max_players,
            recommended_players: self.recommended_players,
            p2p_enabled: self.p2p_enabled,
            p2p_priority: self.p2p_priority,
            fallback_enabled: self.fallback_enabled,
            min_host_quality: quality
                .map_err(|error| Problem::invalid("min_host_quality_score", error))?,
            min_bandwidth_mbps: self.min_bandwidth_mbps,
            max_latency: latency.map_err(|error| Problem::invalid("max_latency_ms", error))?,
            status: self.status.map(ZoneStatus::from),
        })
    }
}

impl NewZone {
    pub(super) fn spec(mut self) -> Answer<ZoneSpec> {
        let spec = ZoneSpec {
            name: self.zone_name,
            map_name: self.map_name,
            ..ZoneSpec::new(parse("zone_id", &self.zone_id)?)
        };
        // A small zone that does not say is at its best when it is full.
        let most = self.rest.max_players.unwrap_or(spec.max_players);
        self.rest.recommended_players.get_or_insert(spec.recommended_players.min(most));
        Ok(self.rest.patch()?.applied(&spec))
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ZoneView {
    id: u64,
    zone_id: String,
    zone_name: String,
    zone_display_name: String,
    map_name: String,
    status: ZoneState,
    max_players: u32,
    recommended_players: u32,
    p2p_enabled: bool,
    p2p_priority: u8,
    fallback_enabled: bool,
    min_host_quality_score: f64,
    min_bandwidth_mbps: u32,
    max_latency_ms: Option<f64>,
    total_players_served: u64,
    created_at: String,
    updated_at: String,
    /// How many of its sessions are open; only where one zone is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) active_sessions: Option<usize>,
}

impl From<Zone> for ZoneView {
    fn from(zone: Zone) -> Self {
        let spec = zone.spec;
        Self {
            id: zone.number,
            zone_id: spec.id.as_str().to_owned(),
            zone_name: spec.name,
            zone_display_name: spec.display_name,
            map_name: spec.map_name,
            status: spec.status.into(),
            max_players: spec.max_players,
            recommended_players: spec.recommended_players,
            p2p_enabled: spec.p2p_enabled,
            p2p_priority: spec.p2p_priority,
            fallback_enabled: spec.fallback_enabled,
            min_host_quality_score: spec.min_host_quality.map_or(0.0, Percent::get),
            min_bandwidth_mbps: spec.min_bandwidth_mbps,
            max_latency_ms: spec.max_latency.map(Millis::get),
            total_players_served: zone.players_served,
            created_at: zone.created_at.to_string(),
            updated_at: zone.updated_at.to_string(),
            active_sessions: None,
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
pub(super) struct ZoneQuery {
    pub(super) p2p_enabled: Option<bool>,
    pub(super) status: Option<String>,
    /// Begin after the zone with this number.
    pub(super) after: Option<u64>,
    /// 1–1,000.
    pub(super) limit: Option<usize>,
}

#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct NewSession {
    pub(super) host_id: String,
    pub(super) zone_id: String,
    pub(super) max_players: Option<u32>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionView {
    id: u64,
    session_id: String,
    host_id: u64,
    zone_id: u64,
    /// PENDING, ACTIVE, ENDED or FAILED.
    status: String,
    max_players: u32,
    current_players: usize,
    connected_players: Vec<String>,
    average_latency_ms: f64,
    average_packet_loss_percent: f64,
    bandwidth_usage_mbps: f64,
    quality_score: f64,
    created_at: String,
    started_at: Option<String>,
    ended_at: Option<String>,
    end_reason: Option<String>,
}

impl SessionView {
    pub(super) fn new(session: Session, zone: u64) -> Self {
        let metrics = session.metrics;
        Self {
            id: session.number,
            session_id: session.id.as_str().to_owned(),
            host_id: number(&session.host),
            zone_id: zone,
            status: session.status.name().to_uppercase(),
            max_players: session.max_players,
            current_players: session.players.len(),
            connected_players: session.players.iter().map(|p| p.as_str().to_owned()).collect(),
            average_latency_ms: metrics.latency.map_or(0.0, Millis::get),
            average_packet_loss_percent: metrics.loss.map_or(0.0, Percent::get),
            bandwidth_usage_mbps: metrics.bandwidth_mbps.unwrap_or_default(),
            quality_score: metrics.quality.map_or(0.0, Percent::get),
            created_at: session.created_at.to_string(),
            started_at: session.activated_at.map(|at| at.to_string()),
            ended_at: session.ended_at.map(|at| at.to_string()),
            end_reason: session.end_reason,
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
pub(super) struct SessionQuery {
    pub(super) host_id: Option<String>,
    pub(super) zone_id: Option<String>,
    pub(super) status: Option<String>,
    /// Begin after the session with this number.
    pub(super) after: Option<u64>,
    /// 1–1,000.
    pub(super) limit: Option<usize>,
}

pub(super) fn status(text: &str) -> Answer<SessionStatus> {
    let found = SessionStatus::ALL.into_iter().find(|s| s.name().eq_ignore_ascii_case(text));
    found.ok_or_else(|| Problem::invalid("status", "PENDING, ACTIVE, ENDED or FAILED"))
}

#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct NewMetrics {
    average_latency_ms: Option<f64>,
    average_packet_loss_percent: Option<f64>,
    bandwidth_usage_mbps: Option<f64>,
    quality_score: Option<f64>,
}

impl NewMetrics {
    pub(super) fn metrics(&self) -> Answer<SessionMetrics> {
        let percent = |field, value: Option<f64>| {
            value.map(Percent::new).transpose().map_err(|error| Problem::invalid(field, error))
        };
        let latency = self.average_latency_ms.map(Millis::new).transpose();
        Ok(SessionMetrics {
            latency: latency.map_err(|error| Problem::invalid("average_latency_ms", error))?,
            loss: percent("average_packet_loss_percent", self.average_packet_loss_percent)?,
            bandwidth_mbps: self.bandwidth_usage_mbps,
            quality: percent("quality_score", self.quality_score)?,
        })
    }
}

#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Player {
    pub(super) player_id: String,
}

#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Description {
    pub(super) session_id: String,
    pub(super) peer_id: String,
    pub(super) sdp: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DescriptionView {
    pub(super) peer_id: String,
    pub(super) sdp: String,
}

#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Candidate {
    pub(super) session_id: String,
    pub(super) peer_id: String,
    pub(super) candidate: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CandidateView {
    pub(super) peer_id: String,
    pub(super) candidate: String,
}

pub(super) fn peer(field: &'static str, text: &str) -> Answer<PeerId> {
    parse(field, text)
}
