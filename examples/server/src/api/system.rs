//! What the server says of itself.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::auth::identity::Reader;

/// The routes of the server itself.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(health)).routes(routes!(metrics))
}

/// How the server is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `healthy`, or `unhealthy` if a component is not.
    #[schema(example = "healthy")]
    pub status: &'static str,
    /// When, in RFC 3339.
    #[schema(format = DateTime)]
    pub timestamp: String,
    /// The server's version.
    pub version: &'static str,
    /// The parts that the fog's document asks for.
    pub services: Services,
    /// What the server stands on: `healthy` or `unhealthy`.
    pub components: BTreeMap<&'static str, &'static str>,
    /// Sockets that are open.
    pub websocket_connections: usize,
}

/// The parts that the fog's document asks for.
#[derive(Debug, Serialize, ToSchema)]
pub struct Services {
    /// Training of models.
    pub agent_forge: AgentForge,
    /// The fog.
    pub p2p_fog: P2pFog,
}

/// Training of models, which this server does not do.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct AgentForge {
    /// Whether there is such a service.
    pub available: bool,
    /// Phases under way.
    pub active_phases: u32,
    /// Models that are there.
    pub total_models: u32,
    /// Trainings under way.
    pub training_instances: u32,
}

/// The fog.
#[derive(Debug, Serialize, ToSchema)]
pub struct P2pFog {
    /// Whether the fog answers.
    pub available: bool,
    /// Whether a Bluetooth mesh is connected: there is none.
    pub mobile_bridge_connected: bool,
    /// Whether a mixnet is connected: there is none.
    pub mixnode_client_connected: bool,
    /// Whether the fog answers.
    pub fog_coordinator_running: bool,
}

/// Looks at every component.
pub async fn health_of(app: &App) -> Health {
    let database = app.store.ping().await.is_ok();
    let fog = app.fog.counts().await.is_ok();
    let word = |is_well| if is_well { "healthy" } else { "unhealthy" };
    Health {
        status: word(database && fog),
        timestamp: app.fog.clock().now().to_string(),
        version: env!("CARGO_PKG_VERSION"),
        services: Services {
            agent_forge: AgentForge::default(),
            p2p_fog: P2pFog {
                available: fog,
                mobile_bridge_connected: false,
                mixnode_client_connected: false,
                fog_coordinator_running: fog,
            },
        },
        components: [("database", word(database)), ("fog", word(fog))].into(),
        websocket_connections: app.hub.sockets(),
    }
}

/// Whether the server is well. 503 if it is not.
#[utoipa::path(get, path = "/health", tag = "system", security(()),
    responses((status = 200, body = Health), (status = 503, body = Health)))]
async fn health(State(app): State<App>) -> impl IntoResponse {
    let health = health_of(&app).await;
    if health.status == "healthy" {
        return Json(health).into_response();
    }
    let mut response = Json(health).into_response();
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.extensions_mut().insert(crate::http::family::Worded);
    response
}

/// Metrics in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "system",
    responses((status = 200, body = String, content_type = "text/plain")))]
async fn metrics(State(app): State<App>, Reader(_): Reader) -> impl IntoResponse {
    const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, TEXT)], app.prometheus.render())
}
