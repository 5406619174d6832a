//! What the dialect has of its own.

use std::borrow::Cow;
use std::marker::PhantomData;

use fogcore::signaling::SessionMetrics;
use serde::Deserialize;
use serde_json::Value;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::hosts::{HostAnswer, HostHeartbeat, HostStatus};
use super::sessions::{NewMetrics, SessionAnswer, SessionState};
use super::zones::{ZoneAnswer, ZoneState};
use crate::http::extract::number;
use crate::http::problem::Problem;

/// An answer whose status is in lower case here, for the document that describes it.
#[derive(Debug)]
pub(crate) struct Lower<T>(PhantomData<T>);

/// A host, as the dialect has it.
pub(crate) type LowerHost = Lower<HostAnswer>;
/// A zone, as the dialect has it.
pub(crate) type LowerZone = Lower<ZoneAnswer>;
/// A session, as the dialect has it.
pub(crate) type LowerSession = Lower<SessionAnswer>;

/// An answer with a status.
pub(crate) trait HasStatus: ToSchema {
    /// What it may be.
    type Status: PartialSchema;
}

impl HasStatus for HostAnswer {
    type Status = HostStatus;
}

impl HasStatus for ZoneAnswer {
    type Status = ZoneState;
}

impl HasStatus for SessionAnswer {
    type Status = SessionState;
}

impl<T: HasStatus> PartialSchema for Lower<T> {
    fn schema() -> RefOr<Schema> {
        let mut answer = T::schema();
        let mut status = T::Status::schema();
        if let RefOr::T(Schema::Object(status)) = &mut status {
            for value in status.enum_values.iter_mut().flatten() {
                if let Value::String(name) = value {
                    name.make_ascii_lowercase();
                }
            }
        }
        if let RefOr::T(Schema::Object(answer)) = &mut answer {
            answer.properties.insert("status".to_owned(), status);
        }
        answer
    }
}

impl<T: HasStatus> ToSchema for Lower<T> {
    fn name() -> Cow<'static, str> {
        format!("Lower{}", T::name()).into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        T::schemas(schemas);
    }
}

/// What is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct StatusFilter {
    /// In this status, in lower case.
    pub(crate) status_filter: Option<String>,
}

/// A host's heartbeat.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct Beat {
    #[serde(flatten)]
    pub(crate) beat: HostHeartbeat,
    /// As the host counts them; what is told of it are the sessions that are open on it.
    #[serde(rename = "current_zones")]
    _zones: u32,
}

/// The status that a zone gets.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct NewStatus {
    /// `enabled`, `disabled` or `maintenance`.
    pub(crate) new_status: String,
}

/// A session that is opened.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct OpenSession {
    /// The host that it is played on.
    pub(crate) host_id: String,
    /// The zone that is played, for as many players as it takes.
    pub(crate) zone_id: String,
    /// Who is there from the beginning.
    #[serde(default)]
    pub(crate) player_ids: Vec<String>,
}

/// Why a session ends.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Reason {
    /// In words.
    pub(crate) reason: Option<String>,
}

/// What was measured of a session; what is not there was not measured.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct Measured {
    /// Round-trip time, over its players.
    #[schema(minimum = 0)]
    pub(crate) avg_latency_ms: Option<f64>,
    /// Packets lost, over its players.
    #[schema(minimum = 0, maximum = 100)]
    pub(crate) packet_loss_percent: Option<f64>,
    /// Network in use.
    #[schema(minimum = 0)]
    pub(crate) bandwidth_usage_mbps: Option<f64>,
}

impl Measured {
    /// The measures.
    pub(crate) fn parse(&self) -> Result<SessionMetrics, Problem> {
        NewMetrics {
            average_latency_ms: self.avg_latency_ms,
            average_packet_loss_percent: self.packet_loss_percent,
            bandwidth_usage_mbps: self.bandwidth_usage_mbps,
            quality_score: None,
        }
        .parse()
    }
}

/// Which sessions end.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Idle {
    /// Those in which nothing happened for so long. Default 30.
    #[serde(default, deserialize_with = "number::deserialize")]
    #[param(value_type = Option<u32>, minimum = 1)]
    pub(crate) timeout_minutes: Option<u32>,
}
