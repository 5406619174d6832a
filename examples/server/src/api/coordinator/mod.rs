//! coordinator-api.md: hosts of games, zones, sessions and how their peers meet.

mod dto;
mod hosts;
mod monitoring;
mod sessions;
mod v1;
mod zones;

use std::sync::Arc;

use axum::Json;
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;

use crate::app::App;
use crate::problem::Problem;

pub(crate) fn router() -> OpenApiRouter<Arc<App>> {
    hosts::router()
        .merge(zones::router())
        .merge(sessions::router())
        .merge(monitoring::router())
        .merge(v1::router())
}

/// The document's form of errors.
pub(crate) fn render(problem: &Problem) -> Response {
    let mut body = serde_json::json!({ "detail": problem.message });
    if let Some(field) = &problem.field {
        body["field"] = field.as_str().into();
    }
    Json(body).into_response()
}
