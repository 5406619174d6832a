//! The fog's form of errors: `{error, details, timestamp}`.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::http::family::{About, Family};
use crate::http::problem::{Kind, Problem};

/// The fog's paths. What belongs to nobody is worded here, too.
pub const FAMILY: Family = Family {
    prefixes: &["/api/p2p", "/api/fog", "/health", "/metrics", "/ws"],
    schema: "FogError",
    status: Kind::status,
    render,
    may_be_open: true,
};

/// A refusal.
#[derive(Debug, Serialize, ToSchema)]
pub struct FogError {
    /// What kind of refusal it is.
    #[schema(example = "a part of the request is not valid")]
    pub error: String,
    /// What was asked, what was found, what to do.
    pub details: String,
    /// The part of the request that is at fault, if one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// When, in RFC 3339.
    #[schema(format = DateTime)]
    pub timestamp: String,
}

fn render(problem: &Problem, about: About<'_>) -> Value {
    let error = FogError {
        error: problem.kind.title().to_owned(),
        details: problem.message.clone(),
        field: problem.field.clone(),
        timestamp: about.now.to_string(),
    };
    serde_json::to_value(error).unwrap_or_default()
}
