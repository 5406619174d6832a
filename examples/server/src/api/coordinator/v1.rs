//! `/api/v1`: the dialect that game clients speak. The same engine and rules, in lower case and with
//! some paths of its own.

#![allow(unused_qualifications, reason = "utoipa's macro writes them")]

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use fogcore::id::PeerId;
use fogcore::signaling::{SessionChange, SessionFilter, ZoneFilter, ZonePatch, ZoneStatus};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::dto::{HostStatus, HostView, NewHost, NewZone, SessionView, ZoneState, ZoneView};
use super::{hosts, sessions, zones};
use crate::app::App;
use crate::problem::{Answer, Asked, Body, Problem, parse};

pub(super) fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(list_hosts))
        .routes(routes!(host, unregister))
        .routes(routes!(heartbeat))
        .routes(routes!(available))
        .routes(routes!(best))
        .routes(routes!(create_zone, list_zones))
        .routes(routes!(zone))
        .routes(routes!(set_status))
        .routes(routes!(enable))
        .routes(routes!(disable))
        .routes(routes!(enabled_zones))
        .routes(routes!(create_session))
        .routes(routes!(session))
        .routes(routes!(activate))
        .routes(routes!(end))
        .routes(routes!(of_host))
        .routes(routes!(of_zone))
}

/// A view with its status in lower case.
fn lower(view: impl Serialize) -> Value {
    let mut value = serde_json::to_value(view).unwrap_or_default();
    if let Some(status) = value.get("status").and_then(Value::as_str) {
        value["status"] = status.to_lowercase().into();
    }
    value
}

#[derive(Debug, Deserialize, IntoParams)]
struct StatusFilter {
    /// In lower case.
    status_filter: Option<String>,
}

async fn all_hosts(app: &App) -> Answer<Vec<HostView>> {
    let mut views = Vec::new();
    for record in crate::api::all_nodes(&app.fog).await? {
        views.push(hosts::view(app, &record).await?);
    }
    // The best first.
    views.sort_by(|a, b| {
        b.quality_score.total_cmp(&a.quality_score).then_with(|| a.host_id.cmp(&b.host_id))
    });
    Ok(views)
}

/// Registers a host, or changes it.
#[utoipa::path(post, path = "/v1/hosts/register", tag = "hosts", request_body = NewHost,
    responses((status = 201, body = HostView), (status = 422)))]
async fn register(
    State(app): State<Arc<App>>,
    Body(new): Body<NewHost>,
) -> Answer<(StatusCode, Json<Value>)> {
    let record = app.fog.register(new.node()?).await?;
    Ok((StatusCode::CREATED, Json(lower(hosts::view(&app, &record).await?))))
}

/// The hosts, the best first.
#[utoipa::path(get, path = "/v1/hosts/", tag = "hosts", params(StatusFilter),
    responses((status = 200, body = [HostView]), (status = 422)))]
async fn list_hosts(
    State(app): State<Arc<App>>,
    Asked(asked): Asked<StatusFilter>,
) -> Answer<Json<Vec<Value>>> {
    let wanted = asked.status_filter.map(|status| status.to_uppercase());
    let wanted: Option<HostStatus> = wanted
        .map(|status| serde_json::from_value(status.into()))
        .transpose()
        .map_err(|error| Problem::invalid("status_filter", error))?;
    let hosts = all_hosts(&app).await?.into_iter();
    let hosts = hosts.filter(|host| wanted.is_none_or(|wanted| host.status == wanted));
    Ok(Json(hosts.map(lower).collect()))
}

/// One host.
#[utoipa::path(get, path = "/v1/hosts/{host_id}", tag = "hosts", params(("host_id" = String, Path)),
    responses((status = 200, body = HostView), (status = 404)))]
async fn host(State(app): State<Arc<App>>, Path(id): Path<String>) -> Answer<Json<Value>> {
    let record = hosts::find(&app, &id).await?;
    Ok(Json(lower(hosts::view(&app, &record).await?)))
}

/// Forgets a host.
#[utoipa::path(delete, path = "/v1/hosts/{host_id}", tag = "hosts", params(("host_id" = String, Path)),
    responses((status = 204), (status = 404)))]
async fn unregister(State(app): State<Arc<App>>, Path(id): Path<String>) -> Answer<StatusCode> {
    let record = hosts::find(&app, &id).await?;
    app.fog.remove_node(&record.node.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize, ToSchema)]
struct Beat {
    #[serde(flatten)]
    beat: super::dto::NewBeat,
    /// As the host counts them; the sessions that are open on it count here.
    #[serde(rename = "current_zones")]
    _zones: u32,
}

/// Takes in how a host is.
#[utoipa::path(post, path = "/v1/hosts/{host_id}/heartbeat", tag = "hosts", request_body = Beat,
    params(("host_id" = String, Path)), responses((status = 200, body = HostView), (status = 404), (status = 422)))]
async fn heartbeat(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Body(new): Body<Beat>,
) -> Answer<Json<Value>> {
    let record = hosts::beat(&app, &id, &new.beat).await?;
    Ok(Json(lower(hosts::view(&app, &record).await?)))
}

/// The hosts that have room, the best first.
#[utoipa::path(get, path = "/v1/hosts/available/list", tag = "hosts", responses((status = 200, body = [HostView])))]
async fn available(State(app): State<Arc<App>>) -> Answer<Json<Vec<Value>>> {
    let hosts = all_hosts(&app).await?.into_iter();
    Ok(Json(hosts.filter(HostView::is_available).map(lower).collect()))
}

/// The best host that has room.
#[utoipa::path(get, path = "/v1/hosts/available/best", tag = "hosts", responses((status = 200, body = HostView), (status = 404)))]
async fn best(State(app): State<Arc<App>>) -> Answer<Json<Value>> {
    let best = all_hosts(&app).await?.into_iter().find(HostView::is_available);
    let none = || Problem::new(StatusCode::NOT_FOUND, "No available hosts found");
    Ok(Json(lower(best.ok_or_else(none)?)))
}

/// Makes a zone, or changes it.
#[utoipa::path(post, path = "/v1/zones/", tag = "zones", request_body = NewZone,
    responses((status = 201, body = ZoneView), (status = 422)))]
async fn create_zone(
    State(app): State<Arc<App>>,
    Body(new): Body<NewZone>,
) -> Answer<(StatusCode, Json<Value>)> {
    let zone = app.fog.signaling().put_zone(new.spec()?).await?;
    Ok((StatusCode::CREATED, Json(lower(ZoneView::from(zone)))))
}

async fn zones_of(app: &App, filter: ZoneFilter) -> Answer<Json<Vec<Value>>> {
    let (mut zones, mut after) = (Vec::new(), 0);
    loop {
        let page = app.fog.signaling().zones(&filter, after, 1_000).await?;
        let last = page.last().filter(|_| page.len() == 1_000).map(|zone| zone.number);
        zones.extend(page);
        match last {
            Some(last) => after = last,
            None => break,
        }
    }
    zones.sort_by(|a, b| {
        let by_priority = b.spec.p2p_priority.cmp(&a.spec.p2p_priority);
        by_priority.then_with(|| a.spec.name.cmp(&b.spec.name))
    });
    Ok(Json(zones.into_iter().map(|zone| lower(ZoneView::from(zone))).collect()))
}

fn zone_status(field: &'static str, text: &str) -> Answer<ZoneStatus> {
    let state: ZoneState = serde_json::from_value(text.to_uppercase().into())
        .map_err(|error| Problem::invalid(field, error))?;
    Ok(state.into())
}

/// The zones, by priority, then by name.
#[utoipa::path(get, path = "/v1/zones/", tag = "zones", params(StatusFilter),
    responses((status = 200, body = [ZoneView]), (status = 422)))]
async fn list_zones(
    State(app): State<Arc<App>>,
    Asked(asked): Asked<StatusFilter>,
) -> Answer<Json<Vec<Value>>> {
    let status = asked.status_filter.map(|text| zone_status("status_filter", &text)).transpose()?;
    zones_of(&app, ZoneFilter { status, ..ZoneFilter::default() }).await
}

/// The zones that are open to p2p.
#[utoipa::path(get, path = "/v1/zones/p2p/enabled", tag = "zones", responses((status = 200, body = [ZoneView])))]
async fn enabled_zones(State(app): State<Arc<App>>) -> Answer<Json<Vec<Value>>> {
    zones_of(&app, ZoneFilter { p2p_enabled: Some(true), ..ZoneFilter::default() }).await
}

/// One zone.
#[utoipa::path(get, path = "/v1/zones/{zone_id}", tag = "zones", params(("zone_id" = String, Path)),
    responses((status = 200, body = ZoneView), (status = 404)))]
async fn zone(State(app): State<Arc<App>>, Path(id): Path<String>) -> Answer<Json<Value>> {
    let zone = app.fog.signaling().zone(&zones::id(&id)?).await?;
    Ok(Json(lower(ZoneView::from(zone))))
}

async fn patched(app: &App, id: &str, patch: ZonePatch) -> Answer<Json<Value>> {
    let zone = app.fog.signaling().patch_zone(&zones::id(id)?, patch).await?;
    Ok(Json(lower(ZoneView::from(zone))))
}

#[derive(Debug, Deserialize, IntoParams)]
struct NewStatus {
    /// enabled, disabled or maintenance.
    new_status: String,
}

/// Lets a zone take sessions, or not.
#[utoipa::path(patch, path = "/v1/zones/{zone_id}/status", tag = "zones", params(("zone_id" = String, Path), NewStatus),
    responses((status = 200, body = ZoneView), (status = 404), (status = 422)))]
async fn set_status(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Asked(asked): Asked<NewStatus>,
) -> Answer<Json<Value>> {
    let status = Some(zone_status("new_status", &asked.new_status)?);
    patched(&app, &id, ZonePatch { status, ..ZonePatch::default() }).await
}

/// Opens a zone to p2p.
#[utoipa::path(post, path = "/v1/zones/{zone_id}/enable-p2p", tag = "zones", params(("zone_id" = String, Path)),
    responses((status = 200, body = ZoneView), (status = 404)))]
async fn enable(State(app): State<Arc<App>>, Path(id): Path<String>) -> Answer<Json<Value>> {
    patched(&app, &id, ZonePatch { p2p_enabled: Some(true), ..ZonePatch::default() }).await
}

/// Closes a zone to p2p.
#[utoipa::path(post, path = "/v1/zones/{zone_id}/disable-p2p", tag = "zones", params(("zone_id" = String, Path)),
    responses((status = 200, body = ZoneView), (status = 404)))]
async fn disable(State(app): State<Arc<App>>, Path(id): Path<String>) -> Answer<Json<Value>> {
    patched(&app, &id, ZonePatch { p2p_enabled: Some(false), ..ZonePatch::default() }).await
}

#[derive(Debug, Deserialize, ToSchema)]
struct OpenSession {
    host_id: String,
    zone_id: String,
    /// Who is there from the beginning.
    #[serde(default)]
    player_ids: Vec<String>,
}

async fn shown(app: &App, session: fogcore::signaling::Session) -> Answer<Value> {
    Ok(lower(sessions::view(app, session).await?))
}

/// Opens a session for as many players as the zone takes.
#[utoipa::path(post, path = "/v1/sessions/", tag = "sessions", request_body = OpenSession,
    responses((status = 201, body = SessionView), (status = 400), (status = 404), (status = 422)))]
async fn create_session(
    State(app): State<Arc<App>>,
    Body(new): Body<OpenSession>,
) -> Answer<(StatusCode, Json<Value>)> {
    let host = hosts::find(&app, &new.host_id).await?.node.id;
    let zone = zones::id(&new.zone_id)?;
    let players = new.player_ids.iter().map(|id| parse("player_ids", id));
    let players = players.collect::<Answer<Vec<PeerId>>>()?;
    let session = app.fog.signaling().open_session(&host, &zone, None, players).await?;
    Ok((StatusCode::CREATED, Json(shown(&app, session).await?)))
}

/// One session.
#[utoipa::path(get, path = "/v1/sessions/{session_id}", tag = "sessions", params(("session_id" = String, Path)),
    responses((status = 200, body = SessionView), (status = 404)))]
async fn session(State(app): State<Arc<App>>, Path(id): Path<String>) -> Answer<Json<Value>> {
    let session = sessions::find(&app, &id).await?;
    Ok(Json(shown(&app, session).await?))
}

/// The host begins.
#[utoipa::path(post, path = "/v1/sessions/{session_id}/activate", tag = "sessions", params(("session_id" = String, Path)),
    responses((status = 200, body = SessionView), (status = 400), (status = 404)))]
async fn activate(State(app): State<Arc<App>>, Path(id): Path<String>) -> Answer<Json<Value>> {
    let session = sessions::change(&app, &id, SessionChange::Activate).await?;
    Ok(Json(shown(&app, session).await?))
}

#[derive(Debug, Deserialize, IntoParams)]
struct Reason {
    reason: Option<String>,
}

/// The session is over.
#[utoipa::path(post, path = "/v1/sessions/{session_id}/end", tag = "sessions", params(("session_id" = String, Path), Reason),
    responses((status = 200, body = SessionView), (status = 404)))]
async fn end(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Asked(asked): Asked<Reason>,
) -> Answer<Json<Value>> {
    let reason = asked.reason.unwrap_or_else(|| "ended by request".to_owned());
    let session = sessions::change(&app, &id, SessionChange::End(reason)).await?;
    Ok(Json(shown(&app, session).await?))
}

async fn active(app: &App, filter: SessionFilter) -> Answer<Json<Vec<Value>>> {
    let mut views = Vec::new();
    for session in app.fog.signaling().sessions(&filter, 0, 1_000).await? {
        views.push(shown(app, session).await?);
    }
    Ok(Json(views))
}

/// The open sessions of a host.
#[utoipa::path(get, path = "/v1/sessions/host/{host_id}/active", tag = "sessions", params(("host_id" = String, Path)),
    responses((status = 200, body = [SessionView]), (status = 422)))]
async fn of_host(State(app): State<Arc<App>>, Path(id): Path<String>) -> Answer<Json<Vec<Value>>> {
    let host = Some(parse("host_id", &id)?);
    active(&app, SessionFilter { host, open: true, ..SessionFilter::default() }).await
}

/// The open sessions of a zone.
#[utoipa::path(get, path = "/v1/sessions/zone/{zone_id}/active", tag = "sessions", params(("zone_id" = String, Path)),
    responses((status = 200, body = [SessionView]), (status = 422)))]
async fn of_zone(State(app): State<Arc<App>>, Path(id): Path<String>) -> Answer<Json<Vec<Value>>> {
    let zone = Some(parse("zone_id", &id)?);
    active(&app, SessionFilter { zone, open: true, ..SessionFilter::default() }).await
}
