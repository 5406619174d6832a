//! Zones on the wire.

use fogcore::registry::{Millis, Percent};
use fogcore::signaling::{Zone, ZonePatch, ZoneSpec, ZoneStatus};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{checked, parse};
use crate::http::extract::number;
use crate::http::problem::Problem;

/// Whether a zone takes sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum ZoneState {
    /// It does.
    Enabled,
    /// It does not.
    Disabled,
    /// It does not, for a while.
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

/// A zone that is made, or made anew.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct NewZone {
    /// Its id.
    #[schema(example = "prontera", min_length = 1, max_length = 128)]
    zone_id: String,
    /// Its name.
    #[schema(example = "Prontera")]
    zone_name: String,
    /// The map that is played.
    #[serde(default)]
    map_name: String,
    /// Everything else.
    #[serde(flatten)]
    rest: ChangedZone,
}

/// What may be changed of a zone; what is not there stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct ChangedZone {
    /// Its name for players.
    zone_display_name: Option<String>,
    /// Players of a session at most.
    max_players: Option<u32>,
    /// Players of a session at its best.
    recommended_players: Option<u32>,
    /// Whether players host it.
    p2p_enabled: Option<bool>,
    /// How much it matters that players host it; more is more.
    p2p_priority: Option<u8>,
    /// Whether somebody else hosts it where players do not.
    fallback_enabled: Option<bool>,
    /// The least score of a host, 0–100.
    #[schema(minimum = 0, maximum = 100)]
    min_host_quality_score: Option<f64>,
    /// The least network of a host.
    min_bandwidth_mbps: Option<u32>,
    /// The most latency of a host.
    #[schema(minimum = 0)]
    max_latency_ms: Option<f64>,
    /// Whether it takes sessions.
    status: Option<ZoneState>,
}

impl ChangedZone {
    /// The change.
    pub(crate) fn parse(self) -> Result<ZonePatch, Problem> {
        let (quality, latency) = (self.min_host_quality_score, self.max_latency_ms);
        Ok(ZonePatch {
            display_name: self.zone_display_name,
            max_players: self.max_players,
            recommended_players: self.recommended_players,
            p2p_enabled: self.p2p_enabled,
            p2p_priority: self.p2p_priority,
            fallback_enabled: self.fallback_enabled,
            min_host_quality: checked("min_host_quality_score", quality, Percent::new)?,
            min_bandwidth_mbps: self.min_bandwidth_mbps,
            max_latency: checked("max_latency_ms", latency, Millis::new)?,
            status: self.status.map(ZoneStatus::from),
        })
    }
}

impl NewZone {
    /// The zone.
    pub(crate) fn parse(mut self) -> Result<ZoneSpec, Problem> {
        let spec = ZoneSpec {
            name: self.zone_name,
            map_name: self.map_name,
            ..ZoneSpec::new(parse("zone_id", &self.zone_id)?)
        };
        // A small zone that does not say is at its best when it is full.
        let most = self.rest.max_players.unwrap_or(spec.max_players);
        self.rest.recommended_players.get_or_insert(spec.recommended_players.min(most));
        Ok(self.rest.parse()?.applied(&spec))
    }
}

/// Which zones are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ZonesQuery {
    /// Those that players host, or the others.
    #[serde(default, deserialize_with = "number::deserialize")]
    #[param(value_type = Option<bool>)]
    pub(crate) p2p_enabled: Option<bool>,
    /// In this status.
    #[param(inline)]
    pub(crate) status: Option<ZoneState>,
    /// Only zones behind the one with this number.
    #[serde(default, deserialize_with = "number::deserialize")]
    #[param(value_type = Option<u64>)]
    pub(crate) after: Option<u64>,
    /// How many, 1–1,000. Default 1,000.
    #[serde(default, deserialize_with = "number::deserialize")]
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000)]
    pub(crate) limit: Option<usize>,
}

/// A zone.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ZoneAnswer {
    /// Its number.
    pub(crate) id: u64,
    /// Its id.
    pub(crate) zone_id: String,
    /// Its name.
    pub(crate) zone_name: String,
    /// Its name for players.
    pub(crate) zone_display_name: String,
    /// The map that is played.
    pub(crate) map_name: String,
    /// Whether it takes sessions.
    pub(crate) status: ZoneState,
    /// Players of a session at most.
    pub(crate) max_players: u32,
    /// Players of a session at its best.
    pub(crate) recommended_players: u32,
    /// Whether players host it.
    pub(crate) p2p_enabled: bool,
    /// How much it matters that players host it.
    pub(crate) p2p_priority: u8,
    /// Whether somebody else hosts it where players do not.
    pub(crate) fallback_enabled: bool,
    /// The least score of a host; 0 if any will do.
    pub(crate) min_host_quality_score: f64,
    /// The least network of a host; 0 if any will do.
    pub(crate) min_bandwidth_mbps: u32,
    /// The most latency of a host.
    pub(crate) max_latency_ms: Option<f64>,
    /// Players who ever joined a session of it.
    pub(crate) total_players_served: u64,
    /// Since when, in RFC 3339.
    #[schema(format = DateTime)]
    pub(crate) created_at: String,
    /// When it was changed, in RFC 3339.
    #[schema(format = DateTime)]
    pub(crate) updated_at: String,
    /// How many of its sessions are open; only where one zone is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) active_sessions: Option<usize>,
}

impl From<Zone> for ZoneAnswer {
    fn from(zone: Zone) -> Self {
        let spec = zone.spec;
        Self {
            id: zone.number,
            zone_id: spec.id.to_string(),
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
