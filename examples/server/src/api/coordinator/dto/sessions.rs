//! Sessions and mail on the wire.

use fogcore::registry::{Millis, Percent};
use fogcore::signaling::{Session, SessionMetrics, SessionStatus};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::checked;
use super::hosts::number;
use crate::http::extract::number as in_query;
use crate::http::problem::Problem;

/// A session that is opened.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct NewSession {
    /// The host that it is played on.
    #[schema(example = "host-12345")]
    pub(crate) host_id: String,
    /// The zone that is played.
    #[schema(example = "prontera")]
    pub(crate) zone_id: String,
    /// Players at most. Default: what the zone takes.
    pub(crate) max_players: Option<u32>,
}

/// How a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum SessionState {
    /// The host has not begun.
    Pending,
    /// It is played.
    Active,
    /// It is over.
    Ended,
    /// It is over, because its host was lost.
    Failed,
}

impl From<SessionStatus> for SessionState {
    fn from(status: SessionStatus) -> Self {
        match status {
            SessionStatus::Pending => Self::Pending,
            SessionStatus::Active => Self::Active,
            SessionStatus::Ended => Self::Ended,
            SessionStatus::Failed => Self::Failed,
        }
    }
}

impl From<SessionState> for SessionStatus {
    fn from(state: SessionState) -> Self {
        match state {
            SessionState::Pending => Self::Pending,
            SessionState::Active => Self::Active,
            SessionState::Ended => Self::Ended,
            SessionState::Failed => Self::Failed,
        }
    }
}

/// Which sessions are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SessionsQuery {
    /// On this host.
    pub(crate) host_id: Option<String>,
    /// In this zone.
    pub(crate) zone_id: Option<String>,
    /// In this status.
    #[param(inline)]
    pub(crate) status: Option<SessionState>,
    /// Only sessions behind the one with this number.
    #[serde(default, deserialize_with = "in_query::deserialize")]
    #[param(value_type = Option<u64>)]
    pub(crate) after: Option<u64>,
    /// How many, 1–1,000. Default 1,000.
    #[serde(default, deserialize_with = "in_query::deserialize")]
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000)]
    pub(crate) limit: Option<usize>,
}

/// A session.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SessionAnswer {
    /// Its number.
    pub(crate) id: u64,
    /// Its id.
    pub(crate) session_id: String,
    /// The number of the host.
    pub(crate) host_id: u64,
    /// The number of the zone; 0 if the zone is gone.
    pub(crate) zone_id: u64,
    /// How it is.
    pub(crate) status: SessionState,
    /// Players at most.
    pub(crate) max_players: u32,
    /// Players now.
    pub(crate) current_players: usize,
    /// Who they are.
    pub(crate) connected_players: Vec<String>,
    /// The latest that was measured; 0 if nothing was.
    pub(crate) average_latency_ms: f64,
    /// The latest that was measured; 0 if nothing was.
    pub(crate) average_packet_loss_percent: f64,
    /// The latest that was measured; 0 if nothing was.
    pub(crate) bandwidth_usage_mbps: f64,
    /// The latest that was told, 0–100; 0 if nothing was.
    pub(crate) quality_score: f64,
    /// When it was opened, in RFC 3339.
    #[schema(format = DateTime)]
    pub(crate) created_at: String,
    /// When the host began, in RFC 3339.
    #[schema(format = DateTime)]
    pub(crate) started_at: Option<String>,
    /// When it was over, in RFC 3339.
    #[schema(format = DateTime)]
    pub(crate) ended_at: Option<String>,
    /// Why it is over.
    pub(crate) end_reason: Option<String>,
}

impl SessionAnswer {
    /// A session of the zone with this number.
    pub(crate) fn of(session: Session, zone: u64) -> Self {
        let metrics = session.metrics;
        Self {
            id: session.number,
            session_id: session.id.to_string(),
            host_id: number(&session.host),
            zone_id: zone,
            status: session.status.into(),
            max_players: session.max_players,
            current_players: session.players.len(),
            connected_players: session.players.iter().map(ToString::to_string).collect(),
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

/// What was measured of a session; what is not there was not measured.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct NewMetrics {
    /// Round-trip time, over its players.
    #[schema(example = 45.5, minimum = 0)]
    pub(crate) average_latency_ms: Option<f64>,
    /// Packets lost, over its players.
    #[schema(example = 0.2, minimum = 0, maximum = 100)]
    pub(crate) average_packet_loss_percent: Option<f64>,
    /// Network in use.
    #[schema(example = 75.0, minimum = 0)]
    pub(crate) bandwidth_usage_mbps: Option<f64>,
    /// How good it is.
    #[schema(example = 95.0, minimum = 0, maximum = 100)]
    pub(crate) quality_score: Option<f64>,
}

impl NewMetrics {
    /// The measures.
    pub(crate) fn parse(&self) -> Result<SessionMetrics, Problem> {
        let loss = self.average_packet_loss_percent;
        Ok(SessionMetrics {
            latency: checked("average_latency_ms", self.average_latency_ms, Millis::new)?,
            loss: checked("average_packet_loss_percent", loss, Percent::new)?,
            bandwidth_mbps: self.bandwidth_usage_mbps,
            quality: checked("quality_score", self.quality_score, Percent::new)?,
        })
    }
}

/// Who comes.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct Player {
    /// The player's id.
    #[schema(example = "player-12345")]
    pub(crate) player_id: String,
}

/// An offer or an answer that a peer leaves.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct NewDescription {
    /// The session, by id or number.
    #[schema(example = "session-abc123")]
    pub(crate) session_id: String,
    /// Who leaves it.
    #[schema(example = "peer-12345")]
    pub(crate) peer_id: String,
    /// The session description, as WebRTC has it.
    pub(crate) sdp: String,
}

/// An offer or an answer that a peer left.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DescriptionAnswer {
    /// Who left it.
    pub(crate) peer_id: String,
    /// The session description.
    pub(crate) sdp: String,
}

/// A candidate that a peer leaves.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct NewCandidate {
    /// The session, by id or number.
    #[schema(example = "session-abc123")]
    pub(crate) session_id: String,
    /// Who leaves it.
    #[schema(example = "peer-12345")]
    pub(crate) peer_id: String,
    /// The candidate's line.
    pub(crate) candidate: String,
}

/// A candidate that a peer left.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CandidateAnswer {
    /// Who left it.
    pub(crate) peer_id: String,
    /// The candidate's line.
    pub(crate) candidate: String,
}
