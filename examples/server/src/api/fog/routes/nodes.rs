//! Nodes: listed, registered, heard of, drained and removed.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use fogcore::id::NodeId;
use fogcore::registry::{Beat, Liveness, Node, NodeFilter, NodeRecord};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::page;
use crate::api::fog::dto::nodes::{
    BeatAnswer, DrainAnswer, DrainBody, HeartbeatBody, NodeAnswer, NodeRegistration, NodesQuery,
    type_of,
};
use crate::api::fog::dto::status::{NodeTypes, Nodes, OPERATIONAL};
use crate::api::nodes;
use crate::app::App;
use crate::auth::Identity;
use crate::auth::dto::Done;
use crate::auth::identity::{Reader, Writer};
use crate::http::extract::{Body, OptionalBody, PathId, Query};
use crate::http::problem::Problem;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, register))
        .routes(routes!(get, remove))
        .routes(routes!(beat))
        .routes(routes!(drain))
}

/// The node, which must be there.
pub(super) async fn found(app: &App, id: &NodeId) -> Result<NodeRecord, Problem> {
    let record = app.fog.node(id).await?;
    record.ok_or_else(|| Problem::not_found(format!("there is no node \"{id}\"")))
}

/// The node, which must be there and the caller's.
pub(super) async fn managed(
    app: &App,
    identity: &Identity,
    id: &NodeId,
) -> Result<NodeRecord, Problem> {
    let record = found(app, id).await?;
    identity.must_manage(record.node.owner.as_ref())?;
    Ok(record)
}

/// The nodes of the fog, and how many there are of each type.
#[utoipa::path(get, path = "/api/fog/nodes", tag = "fog", params(NodesQuery),
    responses((status = 200, body = Nodes)))]
async fn list(
    State(app): State<App>,
    Reader(_): Reader,
    Query(asked): Query<NodesQuery>,
) -> Result<Json<Nodes>, Problem> {
    let limit = page(asked.limit, 1_000)?;
    let all = nodes::all(&app.fog, &NodeFilter::default()).await?;
    let mut types = NodeTypes::default();
    for record in &all {
        match type_of(&record.node) {
            "coordinator" => types.coordinator += 1,
            "hybrid" => types.hybrid += 1,
            _ => types.worker += 1,
        }
    }
    let is_active = |record: &&NodeRecord| nodes::liveness(&app.fog, record) == Liveness::Online;
    let behind = |record: &&NodeRecord| {
        asked.after.as_deref().is_none_or(|after| record.node.id.as_str() > after)
    };
    let mut rest = all.iter().filter(behind);
    let told: Vec<_> =
        rest.by_ref().take(limit).map(|record| NodeAnswer::of(&app.fog, record)).collect();
    let next = rest.next().and(told.last()).map(|last| last.node_id.clone());
    Ok(Json(Nodes {
        status: OPERATIONAL,
        total_nodes: all.len(),
        active_nodes: all.iter().filter(is_active).count(),
        node_types: types,
        nodes: told,
        next,
        timestamp: app.fog.clock().now().to_string(),
    }))
}

/// Register a node, or register it again: it comes back from being drained, and its beats begin
/// anew.
#[utoipa::path(post, path = "/api/fog/nodes", tag = "nodes", request_body = NodeRegistration,
    responses((status = 201, body = NodeAnswer)))]
async fn register(
    State(app): State<App>,
    Writer(identity): Writer,
    Body(asked): Body<NodeRegistration>,
) -> Result<(StatusCode, Json<NodeAnswer>), Problem> {
    let node = asked.parse(&identity.account, &app.fog.config().asset)?;
    may_register(&app, &identity, &node).await?;
    let record = app.fog.register(node).await?;
    app.fog.cancel_failover(&record.node.id);
    Ok((StatusCode::CREATED, Json(NodeAnswer::of(&app.fog, &record))))
}

/// A node belongs to whoever registered it first, and earns for them.
pub(crate) async fn may_register(
    app: &App,
    identity: &Identity,
    node: &Node,
) -> Result<(), Problem> {
    identity.must_manage(node.owner.as_ref())?;
    if let Some(there) = app.fog.node(&node.id).await? {
        identity.must_manage(there.node.owner.as_ref())?;
    }
    Ok(())
}

/// A node.
#[utoipa::path(get, path = "/api/fog/nodes/{node_id}", tag = "nodes",
    params(("node_id" = String, Path)), responses((status = 200, body = NodeAnswer)))]
async fn get(
    State(app): State<App>,
    Reader(_): Reader,
    PathId(id): PathId<NodeId>,
) -> Result<Json<NodeAnswer>, Problem> {
    let record = found(&app, &id).await?;
    Ok(Json(NodeAnswer::of(&app.fog, &record)))
}

/// Forget a node. What it holds goes to others when its leases run out.
#[utoipa::path(delete, path = "/api/fog/nodes/{node_id}", tag = "nodes",
    params(("node_id" = String, Path)), responses((status = 200, body = Done)))]
async fn remove(
    State(app): State<App>,
    Writer(identity): Writer,
    PathId(id): PathId<NodeId>,
) -> Result<Json<Done>, Problem> {
    managed(&app, &identity, &id).await?;
    app.fog.remove_node(&id).await?;
    Ok(Json(Done::told(format!("node \"{id}\" removed"))))
}

/// Tell how a node is.
#[utoipa::path(post, path = "/api/fog/nodes/{node_id}/heartbeat", tag = "nodes",
    params(("node_id" = String, Path)), request_body = HeartbeatBody,
    responses((status = 200, body = BeatAnswer)))]
async fn beat(
    State(app): State<App>,
    Writer(identity): Writer,
    PathId(id): PathId<NodeId>,
    Body(asked): Body<HeartbeatBody>,
) -> Result<Json<BeatAnswer>, Problem> {
    managed(&app, &identity, &id).await?;
    let beat = numbered_beat(&app, &id, asked).await?;
    Ok(Json(BeatAnswer::of(&app.fog, &beat)))
}

/// Takes a beat. One without a number gets the time as its number: later beats have later times.
/// Should the clock have been set back meanwhile, it follows the latest one.
pub(crate) async fn numbered_beat(
    app: &App,
    id: &NodeId,
    asked: HeartbeatBody,
) -> Result<Beat, Problem> {
    let is_numbered = asked.sequence.is_some();
    let time = u64::try_from(app.fog.clock().now().as_micros()).unwrap_or_default();
    let heartbeat = asked.parse(time)?;
    match app.fog.beat(id, heartbeat.clone()).await? {
        Beat::Stale(record) if !is_numbered => {
            let latest = record.heartbeat.map_or(0, |beat| beat.sequence);
            let sequence = latest.saturating_add(1);
            Ok(app.fog.beat(id, fogcore::registry::Heartbeat { sequence, ..heartbeat }).await?)
        }
        beat => Ok(beat),
    }
}

/// Drain a node: it finishes what it holds, gets no new tasks, and its requests go elsewhere. It
/// comes back when it registers again.
#[utoipa::path(post, path = "/api/fog/nodes/{node_id}/drain", tag = "nodes",
    params(("node_id" = String, Path)), request_body = Option<DrainBody>,
    responses((status = 200, body = DrainAnswer)))]
async fn drain(
    State(app): State<App>,
    Writer(identity): Writer,
    PathId(id): PathId<NodeId>,
    OptionalBody(asked): OptionalBody<DrainBody>,
) -> Result<Json<DrainAnswer>, Problem> {
    let record = managed(&app, &identity, &id).await?;
    let reason = if asked.reason.is_empty() { "drained" } else { &asked.reason };
    let started = app.fog.fail_over(&id, reason, asked.force).await?;
    // A node without slots is given nothing, by whichever process it asks.
    app.fog.register(Node { slots: 0, ..record.node }).await?;
    Ok(Json(DrainAnswer {
        node_id: id.to_string(),
        status: "draining",
        replacements: started.replacements.iter().map(ToString::to_string).collect(),
    }))
}
