//! fog-api.md: nodes, resources, market and tokens of the fog, and the health of it all.

mod dto;
mod peers;
mod resources;
mod tokens;
mod work;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use fogcore::registry::{NodeFilter, NodeRecord};
use fogcore::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::api::all_nodes;
use crate::app::App;
use crate::problem::Problem;

pub(crate) fn router() -> OpenApiRouter<Arc<App>> {
    peers::router().merge(resources::router()).merge(tokens::router()).merge(work::router())
}

pub(crate) fn health_router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(health))
}

/// The document's form of errors.
pub(crate) fn render(problem: &Problem) -> Response {
    let details = problem.field.as_ref().map_or_else(
        || problem.status.canonical_reason().unwrap_or_default().to_owned(),
        |field| format!("the field {field} is at fault"),
    );
    let body = serde_json::json!({
        "error": problem.message,
        "details": details,
        "field": problem.field,
        "timestamp": crate::edge::now().to_string(),
    });
    Json(body).into_response()
}

fn now(app: &App) -> Timestamp {
    app.fog.clock().now()
}

#[derive(Debug, Serialize, ToSchema)]
struct AgentForge {
    available: bool,
    active_phases: u32,
    total_models: u32,
    training_instances: u32,
}

#[derive(Debug, Serialize, ToSchema)]
struct P2pFog {
    available: bool,
    mobile_bridge_connected: bool,
    mixnode_client_connected: bool,
    fog_coordinator_running: bool,
}

#[derive(Debug, Serialize, ToSchema)]
struct Services {
    agent_forge: AgentForge,
    p2p_fog: P2pFog,
    /// The store that everything is kept in.
    database: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
struct Health {
    /// `healthy`, or `unhealthy` if the store does not answer.
    status: &'static str,
    timestamp: String,
    services: Services,
    websocket_connections: usize,
}

/// Whether everything that the server needs is well.
#[utoipa::path(get, path = "/health", tag = "monitoring", responses((status = 200, body = Health)))]
async fn health(State(app): State<Arc<App>>) -> Json<Health> {
    let answers = app.fog.counts().await.is_ok();
    let phones = app.fog.nodes(&NodeFilter::default(), None, 1_000).await.unwrap_or_default();
    let liveness = app.fog.config().liveness;
    let is_phone = |record: &NodeRecord| {
        record.node.kind == fogcore::registry::NodeKind::Phone
            && record.liveness(now(&app), liveness) == fogcore::registry::Liveness::Online
    };
    Json(Health {
        status: if answers { "healthy" } else { "unhealthy" },
        timestamp: now(&app).to_string(),
        services: Services {
            // There is no training here, and no mixnet.
            agent_forge: AgentForge {
                available: false,
                active_phases: 0,
                total_models: 0,
                training_instances: 0,
            },
            p2p_fog: P2pFog {
                available: answers,
                mobile_bridge_connected: phones.iter().any(is_phone),
                mixnode_client_connected: false,
                fog_coordinator_running: answers,
            },
            database: app.database,
        },
        websocket_connections: app.sockets.count(),
    })
}
