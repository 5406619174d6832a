//! Hosts: registered, listed, heard of and removed.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use fogcore::id::NodeId;
use fogcore::registry::{Beat, MAX_PAGE, Node, NodeFilter, NodeKind, NodeRecord, page_limit};
use fogcore::signaling::{Session, SessionFilter};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::coordinator::dto::hosts::{
    HostAnswer, HostBeaten, HostHeartbeat, HostRegistration, HostsQuery,
};
use crate::api::fog::writing::{may_register, numbered_beat};
use crate::api::nodes;
use crate::app::App;
use crate::auth::Identity;
use crate::auth::dto::Done;
use crate::auth::identity::{Reader, Writer};
use crate::http::extract::{Body, PathText, Query};
use crate::http::problem::Problem;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, register))
        .routes(routes!(get, unregister))
        .routes(routes!(beat))
}

/// The host, or the document's words for its absence.
pub(super) async fn found(app: &App, id: &str) -> Result<NodeRecord, Problem> {
    let missing = || Problem::not_found(format!("Host not found: {id}"));
    let node: NodeId = id.parse().map_err(|_| missing())?;
    app.fog.node(&node).await?.ok_or_else(missing)
}

/// The host, which must be the caller's.
pub(super) async fn managed(
    app: &App,
    identity: &Identity,
    id: &str,
) -> Result<NodeRecord, Problem> {
    let record = found(app, id).await?;
    identity.must_manage(record.node.owner.as_ref())?;
    Ok(record)
}

/// A host as it is, with what is played on it.
pub(super) async fn told(app: &App, record: &NodeRecord) -> Result<HostAnswer, Problem> {
    let host = Some(record.node.id.clone());
    let filter = SessionFilter { host, open: true, ..SessionFilter::default() };
    let sessions = app.fog.signaling().sessions(&filter, 0, MAX_PAGE).await?;
    Ok(HostAnswer::of(&app.fog, record, &sessions))
}

/// Every open session, by host.
async fn played(app: &App) -> Result<HashMap<NodeId, Vec<Session>>, Problem> {
    let filter = SessionFilter { open: true, ..SessionFilter::default() };
    let mut by_host: HashMap<_, Vec<_>> = HashMap::new();
    let mut after = 0;
    loop {
        let page = app.fog.signaling().sessions(&filter, after, MAX_PAGE).await?;
        let last = page.last().filter(|_| page.len() == MAX_PAGE).map(|session| session.number);
        for session in page {
            by_host.entry(session.host.clone()).or_default().push(session);
        }
        match last {
            Some(last) => after = last,
            None => return Ok(by_host),
        }
    }
}

/// Every host that matches, by id.
async fn all(app: &App, min_quality: Option<f64>) -> Result<Vec<HostAnswer>, Problem> {
    let kind = Some(NodeKind::GameHost);
    let filter = NodeFilter { kind, min_quality, ..NodeFilter::default() };
    let (records, played) = (nodes::all(&app.fog, &filter).await?, played(app).await?);
    let on = |record: &NodeRecord| played.get(&record.node.id).map_or(&[][..], Vec::as_slice);
    Ok(records.iter().map(|record| HostAnswer::of(&app.fog, record, on(record))).collect())
}

/// Every host, the best first.
pub(crate) async fn best_first(app: &App) -> Result<Vec<HostAnswer>, Problem> {
    let mut hosts = all(app, None).await?;
    // They come by id, and stay so among equals.
    hosts.sort_by(|a, b| b.quality_score.total_cmp(&a.quality_score));
    Ok(hosts)
}

/// Registers the host, which comes back from being drained.
pub(super) async fn registered(
    app: &App,
    identity: &Identity,
    node: Node,
) -> Result<NodeRecord, Problem> {
    may_register(app, identity, &node).await?;
    let record = app.fog.register(node).await?;
    app.fog.cancel_failover(&record.node.id);
    Ok(record)
}

/// Register a host, or register it again.
#[utoipa::path(post, path = "/api/hosts/", tag = "hosts", request_body = HostRegistration,
    responses((status = 201, body = HostAnswer)))]
async fn register(
    State(app): State<App>,
    Writer(identity): Writer,
    Body(asked): Body<HostRegistration>,
) -> Result<(StatusCode, Json<HostAnswer>), Problem> {
    let record = registered(&app, &identity, asked.parse(&identity.account)?).await?;
    Ok((StatusCode::CREATED, Json(told(&app, &record).await?)))
}

/// A host.
#[utoipa::path(get, path = "/api/hosts/{host_id}", tag = "hosts", params(("host_id" = String, Path)),
    responses((status = 200, body = HostAnswer)))]
async fn get(
    State(app): State<App>,
    Reader(_): Reader,
    PathText(id): PathText,
    asked: Uri,
) -> Result<Response, Problem> {
    let made = async { told(&app, &found(&app, &id).await?).await };
    app.kept.json(&**app.fog.clock(), &asked, made).await
}

/// The hosts, by id.
#[utoipa::path(get, path = "/api/hosts/", tag = "hosts", params(HostsQuery),
    responses((status = 200, body = Vec<HostAnswer>)))]
async fn list(
    State(app): State<App>,
    Reader(_): Reader,
    uri: Uri,
    Query(asked): Query<HostsQuery>,
) -> Result<Response, Problem> {
    let limit = page_limit(asked.limit.unwrap_or(MAX_PAGE))?;
    let made = async {
        let mut hosts = all(&app, asked.min_quality_score).await?;
        hosts.retain(|host| {
            asked.status.is_none_or(|status| status == host.status)
                && asked.after.as_deref().is_none_or(|after| host.host_id.as_str() > after)
        });
        hosts.truncate(limit);
        Ok(hosts)
    };
    app.kept.json(&**app.fog.clock(), &uri, made).await
}

/// Takes in how a host is.
pub(super) async fn beaten(
    app: &App,
    identity: &Identity,
    id: &str,
    asked: &HostHeartbeat,
) -> Result<NodeRecord, Problem> {
    let record = managed(app, identity, id).await?;
    let beat = numbered_beat(app, &record.node.id, asked.parse(&record.node)?).await?;
    let (Beat::Accepted(record) | Beat::Stale(record)) = beat;
    Ok(record)
}

/// Tell how a host is.
#[utoipa::path(post, path = "/api/hosts/{host_id}/heartbeat", tag = "hosts",
    params(("host_id" = String, Path)), request_body = HostHeartbeat,
    responses((status = 200, body = HostBeaten)))]
async fn beat(
    State(app): State<App>,
    Writer(identity): Writer,
    PathText(id): PathText,
    Body(asked): Body<HostHeartbeat>,
) -> Result<Json<HostBeaten>, Problem> {
    let record = beaten(&app, &identity, &id, &asked).await?;
    Ok(Json(HostBeaten { message: "Heartbeat updated", quality_score: record.quality() }))
}

/// Unregister a host; its sessions end.
#[utoipa::path(delete, path = "/api/hosts/{host_id}", tag = "hosts",
    params(("host_id" = String, Path)), responses((status = 200, body = Done)))]
async fn unregister(
    State(app): State<App>,
    Writer(identity): Writer,
    PathText(id): PathText,
) -> Result<Json<Done>, Problem> {
    let record = managed(&app, &identity, &id).await?;
    app.fog.remove_node(&record.node.id).await?;
    Ok(Json(Done::told("Host unregistered successfully")))
}
