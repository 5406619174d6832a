//! `/hosts`: nodes, as games see them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use fogcore::id::NodeId;
use fogcore::registry::{Beat, NodeFilter, NodeRecord};
use fogcore::signaling::{Session, SessionFilter};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::dto::{Beaten, Done, HostQuery, HostStatus, HostView, NewBeat, NewHost};
use crate::app::App;
use crate::problem::{Answer, Asked, Body, Problem, parse};

pub(super) fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(register, list))
        .routes(routes!(host, unregister))
        .routes(routes!(heartbeat))
}

/// The host, or the document's words for its absence.
pub(super) async fn find(app: &App, id: &str) -> Answer<NodeRecord> {
    let missing = || Problem::not_found("Host", id);
    let node: NodeId = id.parse().map_err(|_| missing())?;
    app.fog.node(&node).await?.ok_or_else(missing)
}

async fn open_on(app: &App, host: &NodeId) -> Answer<Vec<Session>> {
    let filter = SessionFilter { host: Some(host.clone()), open: true, ..SessionFilter::default() };
    Ok(app.fog.signaling().sessions(&filter, 0, 1_000).await?)
}

pub(super) async fn view(app: &App, record: &NodeRecord) -> Answer<HostView> {
    let liveness = record.liveness(app.fog.clock().now(), app.fog.config().liveness);
    Ok(HostView::new(record, liveness, &open_on(app, &record.node.id).await?))
}

/// Registers a host, or changes it.
#[utoipa::path(post, path = "/hosts/", tag = "hosts", request_body = NewHost,
    responses((status = 201, body = HostView), (status = 422)))]
async fn register(
    State(app): State<Arc<App>>,
    Body(new): Body<NewHost>,
) -> Answer<(StatusCode, Json<HostView>)> {
    let record = app.fog.register(new.node()?).await?;
    Ok((StatusCode::CREATED, Json(view(&app, &record).await?)))
}

/// One host.
#[utoipa::path(get, path = "/hosts/{host_id}", tag = "hosts", params(("host_id" = String, Path)),
    responses((status = 200, body = HostView), (status = 404)))]
async fn host(State(app): State<Arc<App>>, Path(id): Path<String>) -> Answer<Json<HostView>> {
    let record = find(&app, &id).await?;
    Ok(Json(view(&app, &record).await?))
}

/// The hosts that match, by id.
#[utoipa::path(get, path = "/hosts/", tag = "hosts", params(HostQuery),
    responses((status = 200, body = [HostView]), (status = 422)))]
async fn list(
    State(app): State<Arc<App>>,
    Asked(query): Asked<HostQuery>,
) -> Answer<Json<Vec<HostView>>> {
    let status: Option<HostStatus> = query
        .status
        .map(|status| serde_json::from_value(status.into()))
        .transpose()
        .map_err(|error| Problem::invalid("status", error))?;
    let limit = query.limit.unwrap_or(1_000);
    let mut after: Option<NodeId> = query.after.map(|id| parse("after", &id)).transpose()?;
    let mut found = Vec::new();
    loop {
        let page = app.fog.nodes(&NodeFilter::default(), after.as_ref(), limit).await?;
        let is_last = page.len() < limit;
        after = page.last().map(|record| record.node.id.clone());
        for record in &page {
            let view = view(&app, record).await?;
            let wanted = status.is_none_or(|status| view.status == status)
                && query.min_quality_score.is_none_or(|least| view.quality_score >= least);
            if wanted && found.len() < limit {
                found.push(view);
            }
        }
        if is_last || found.len() == limit {
            return Ok(Json(found));
        }
    }
}

/// A beat has no number in these documents: it is newer than the one before.
pub(super) async fn beat(app: &App, id: &str, new: &NewBeat) -> Answer<NodeRecord> {
    let before = find(app, id).await?;
    let beat = app.fog.beat(&before.node.id, new.heartbeat(&before)?).await?;
    let (Beat::Accepted(record) | Beat::Stale(record)) = beat;
    Ok(record)
}

/// Takes in how a host is.
#[utoipa::path(post, path = "/hosts/{host_id}/heartbeat", tag = "hosts", request_body = NewBeat,
    params(("host_id" = String, Path)), responses((status = 200, body = Beaten), (status = 404), (status = 422)))]
async fn heartbeat(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Body(new): Body<NewBeat>,
) -> Answer<Json<Beaten>> {
    let record = beat(&app, &id, &new).await?;
    Ok(Json(Beaten { message: "Heartbeat updated", quality_score: record.quality() }))
}

/// Forgets a host; its sessions end.
#[utoipa::path(delete, path = "/hosts/{host_id}", tag = "hosts", params(("host_id" = String, Path)),
    responses((status = 200, body = Done), (status = 404)))]
async fn unregister(State(app): State<Arc<App>>, Path(id): Path<String>) -> Answer<Json<Done>> {
    let record = find(&app, &id).await?;
    app.fog.remove_node(&record.node.id).await?;
    Ok(Json(Done { message: "Host unregistered successfully".to_owned() }))
}
