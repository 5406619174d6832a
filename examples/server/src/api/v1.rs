//! The form of errors below `/v1`, where two documents live: one body that is the gateway's
//! envelope and mesh's error at once.

use serde_json::{Value, json};

use crate::http::family::{About, Family};
use crate::http::problem::{Kind, Problem};

/// Everything below `/v1`.
pub const FAMILY: Family = Family {
    prefixes: &["/v1"],
    schema: "V1Error",
    status: Kind::status,
    render,
    may_be_open: false,
};

fn render(problem: &Problem, about: About<'_>) -> Value {
    let [gateway, mesh] = codes(problem.kind);
    json!({
        "success": false,
        "data": null,
        "error_code": gateway,
        "message": problem.message,
        "timestamp": about.now.to_string(),
        "request_id": about.request_id,
        "error": {
            "code": mesh,
            "message": problem.message,
            "details": { "field": problem.field },
        },
    })
}

/// What the gateway and mesh call it.
const fn codes(kind: Kind) -> [&'static str; 2] {
    match kind {
        Kind::Unauthenticated => ["AUTHENTICATION_REQUIRED", "AUTHENTICATION_ERROR"],
        Kind::Forbidden => ["INSUFFICIENT_PERMISSIONS", "AUTHORIZATION_ERROR"],
        Kind::NotFound => ["RESOURCE_NOT_FOUND", "NOT_FOUND"],
        Kind::BadRequest
        | Kind::MethodNotAllowed
        | Kind::TooLarge
        | Kind::UnsupportedMedia
        | Kind::Invalid => ["VALIDATION_ERROR"; 2],
        Kind::Conflict | Kind::Exhausted => ["CONFLICT"; 2],
        Kind::TooMany => ["RATE_LIMIT_EXCEEDED", "RATE_LIMIT_ERROR"],
        Kind::Timeout | Kind::Unavailable => ["SERVICE_UNAVAILABLE", "SYSTEM_ERROR"],
        Kind::Internal => ["INTERNAL_ERROR", "SYSTEM_ERROR"],
    }
}
