//! The coordinator's form of errors: `{detail}`, and the field if one is at fault.

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::http::family::{About, Family};
use crate::http::problem::{Kind, Problem};

/// The coordinator's paths, and those of its versioned dialect.
pub const FAMILY: Family = Family {
    prefixes: &[
        "/api/hosts",
        "/api/zones",
        "/api/sessions",
        "/api/signaling",
        "/api/monitoring",
        "/api/v1",
    ],
    schema: "Detail",
    status,
    render,
    may_be_open: true,
};

/// A refusal.
#[derive(Debug, Serialize, ToSchema)]
pub struct Detail {
    /// What was asked, what was found, what to do.
    #[schema(example = "Host not found: host-12345")]
    pub detail: String,
    /// The part of the request that is at fault, if one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// What contradicts the state of a session or a zone is a bad request to this document.
const fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::Conflict | Kind::Exhausted => StatusCode::BAD_REQUEST,
        _ => kind.status(),
    }
}

fn render(problem: &Problem, _: About<'_>) -> Value {
    let detail = match &problem.field {
        Some(field) if !problem.message.starts_with(&**field) => {
            format!("{field}: {}", problem.message)
        }
        _ => problem.message.clone(),
    };
    let detail = Detail { detail, field: problem.field.clone() };
    serde_json::to_value(detail).unwrap_or_default()
}
