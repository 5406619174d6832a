//! `/api/v1`, the dialect that game clients speak: the same engine and rules, in lower case and with
//! some paths of its own.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use fogcore::id::PeerId;
use fogcore::registry::MAX_PAGE;
use fogcore::signaling::{SessionChange, SessionFilter, ZoneFilter, ZonePatch, ZoneStatus};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{hosts, sessions, zones};
use crate::api::coordinator::dto::dialect::{
    Beat, Idle, LowerHost, LowerSession, LowerZone, Measured, NewStatus, OpenSession, Reason,
    StatusFilter,
};
use crate::api::coordinator::dto::hosts::{HostAnswer, HostRegistration, HostStatus};
use crate::api::coordinator::dto::parse;
use crate::api::coordinator::dto::zones::{NewZone, ZoneAnswer, ZoneState};
use crate::app::App;
use crate::auth::dto::Done;
use crate::auth::identity::{Reader, Writer};
use crate::http::extract::{Body, PathText, PathTexts, Query};
use crate::http::problem::Problem;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(list_hosts))
        .routes(routes!(host, unregister))
        .routes(routes!(heartbeat))
        .routes(routes!(available))
        .routes(routes!(best))
        .routes(routes!(list_zones, create_zone))
        .routes(routes!(zone))
        .routes(routes!(set_status))
        .routes(routes!(enable))
        .routes(routes!(disable))
        .routes(routes!(enabled_zones))
        .routes(routes!(create_session))
        .routes(routes!(session))
        .routes(routes!(activate))
        .routes(routes!(end))
        .routes(routes!(measure))
        .routes(routes!(join))
        .routes(routes!(leave))
        .routes(routes!(of_host))
        .routes(routes!(of_zone))
        .routes(routes!(clean_up))
}

/// An answer with its status in lower case.
fn lower(answer: impl Serialize) -> Result<Value, Problem> {
    let mut told = serde_json::to_value(answer).map_err(Problem::internal)?;
    if let Some(Value::String(status)) = told.get_mut("status") {
        status.make_ascii_lowercase();
    }
    Ok(told)
}

fn lower_all(answers: impl IntoIterator<Item = impl Serialize>) -> Result<Json<Value>, Problem> {
    let all = answers.into_iter().map(lower).collect::<Result<_, _>>()?;
    Ok(Json(Value::Array(all)))
}

/// A status, which is written in capitals elsewhere.
fn upper<T: for<'de> Deserialize<'de>>(field: &'static str, text: &str) -> Result<T, Problem> {
    let read = serde_json::from_value(text.to_uppercase().into());
    read.map_err(|error| Problem::invalid(field, error.to_string().to_lowercase()))
}

/// Register a host, or register it again.
#[utoipa::path(post, path = "/api/v1/hosts/register", tag = "dialect",
    request_body = HostRegistration, responses((status = 201, body = LowerHost)))]
async fn register(
    State(app): State<App>,
    Writer(identity): Writer,
    Body(asked): Body<HostRegistration>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let record = hosts::registered(&app, &identity, asked.parse(&identity.account)?).await?;
    Ok((StatusCode::CREATED, Json(lower(hosts::told(&app, &record).await?)?)))
}

/// The hosts, the best first.
#[utoipa::path(get, path = "/api/v1/hosts/", tag = "dialect", params(StatusFilter),
    responses((status = 200, body = Vec<LowerHost>)))]
async fn list_hosts(
    State(app): State<App>,
    Reader(_): Reader,
    Query(asked): Query<StatusFilter>,
) -> Result<Json<Value>, Problem> {
    let wanted = asked.status_filter.map(|text| upper::<HostStatus>("status_filter", &text));
    let wanted = wanted.transpose()?;
    let mut all = hosts::best_first(&app).await?;
    all.retain(|host| wanted.is_none_or(|wanted| host.status == wanted));
    lower_all(all)
}

/// A host.
#[utoipa::path(get, path = "/api/v1/hosts/{host_id}", tag = "dialect",
    params(("host_id" = String, Path)), responses((status = 200, body = LowerHost)))]
async fn host(
    State(app): State<App>,
    Reader(_): Reader,
    PathText(id): PathText,
) -> Result<Json<Value>, Problem> {
    let record = hosts::found(&app, &id).await?;
    lower(hosts::told(&app, &record).await?).map(Json)
}

/// Unregister a host; its sessions end.
#[utoipa::path(delete, path = "/api/v1/hosts/{host_id}", tag = "dialect",
    params(("host_id" = String, Path)), responses((status = 204)))]
async fn unregister(
    State(app): State<App>,
    Writer(identity): Writer,
    PathText(id): PathText,
) -> Result<StatusCode, Problem> {
    let record = hosts::managed(&app, &identity, &id).await?;
    app.fog.remove_node(&record.node.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tell how a host is.
#[utoipa::path(post, path = "/api/v1/hosts/{host_id}/heartbeat", tag = "dialect",
    request_body = Beat, params(("host_id" = String, Path)),
    responses((status = 200, body = LowerHost)))]
async fn heartbeat(
    State(app): State<App>,
    Writer(identity): Writer,
    PathText(id): PathText,
    Body(asked): Body<Beat>,
) -> Result<Json<Value>, Problem> {
    let record = hosts::beaten(&app, &identity, &id, &asked.beat).await?;
    lower(hosts::told(&app, &record).await?).map(Json)
}

/// The hosts that have room, the best first.
#[utoipa::path(get, path = "/api/v1/hosts/available/list", tag = "dialect",
    responses((status = 200, body = Vec<LowerHost>)))]
async fn available(State(app): State<App>, Reader(_): Reader) -> Result<Json<Value>, Problem> {
    lower_all(hosts::best_first(&app).await?.into_iter().filter(HostAnswer::is_available))
}

/// The best host that has room.
#[utoipa::path(get, path = "/api/v1/hosts/available/best", tag = "dialect",
    responses((status = 200, body = LowerHost)))]
async fn best(State(app): State<App>, Reader(_): Reader) -> Result<Json<Value>, Problem> {
    let best = hosts::best_first(&app).await?.into_iter().find(HostAnswer::is_available);
    lower(best.ok_or_else(|| Problem::not_found("No available hosts found"))?).map(Json)
}

/// Make a zone, or make it anew.
#[utoipa::path(post, path = "/api/v1/zones/", tag = "dialect", request_body = NewZone,
    responses((status = 201, body = LowerZone)))]
async fn create_zone(
    State(app): State<App>,
    Writer(identity): Writer,
    Body(asked): Body<NewZone>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let zone = zones::put(&app, &identity, asked.parse()?).await?;
    Ok((StatusCode::CREATED, Json(lower(zone)?)))
}

async fn zones_of(app: &App, filter: ZoneFilter) -> Result<Json<Value>, Problem> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let page = app.fog.signaling().zones(&filter, after, MAX_PAGE).await?;
        let last = page.last().filter(|_| page.len() == MAX_PAGE).map(|zone| zone.number);
        all.extend(page);
        match last {
            Some(last) => after = last,
            None => break,
        }
    }
    all.sort_by(|a, b| {
        let by_priority = b.spec.p2p_priority.cmp(&a.spec.p2p_priority);
        by_priority.then_with(|| a.spec.name.cmp(&b.spec.name))
    });
    lower_all(all.into_iter().map(ZoneAnswer::from))
}

/// The zones, by priority, then by name.
#[utoipa::path(get, path = "/api/v1/zones/", tag = "dialect", params(StatusFilter),
    responses((status = 200, body = Vec<LowerZone>)))]
async fn list_zones(
    State(app): State<App>,
    Reader(_): Reader,
    Query(asked): Query<StatusFilter>,
) -> Result<Json<Value>, Problem> {
    let status = asked.status_filter.map(|text| upper::<ZoneState>("status_filter", &text));
    let status = status.transpose()?.map(ZoneStatus::from);
    zones_of(&app, ZoneFilter { status, ..ZoneFilter::default() }).await
}

/// The zones that players host.
#[utoipa::path(get, path = "/api/v1/zones/p2p/enabled", tag = "dialect",
    responses((status = 200, body = Vec<LowerZone>)))]
async fn enabled_zones(State(app): State<App>, Reader(_): Reader) -> Result<Json<Value>, Problem> {
    zones_of(&app, ZoneFilter { p2p_enabled: Some(true), ..ZoneFilter::default() }).await
}

/// A zone.
#[utoipa::path(get, path = "/api/v1/zones/{zone_id}", tag = "dialect",
    params(("zone_id" = String, Path)), responses((status = 200, body = LowerZone)))]
async fn zone(
    State(app): State<App>,
    Reader(_): Reader,
    PathText(id): PathText,
) -> Result<Json<Value>, Problem> {
    let zone = app.fog.signaling().zone(&zones::id(&id)?).await?;
    lower(ZoneAnswer::from(zone)).map(Json)
}

/// Let a zone take sessions, or not.
#[utoipa::path(patch, path = "/api/v1/zones/{zone_id}/status", tag = "dialect",
    params(("zone_id" = String, Path), NewStatus), responses((status = 200, body = LowerZone)))]
async fn set_status(
    State(app): State<App>,
    Writer(identity): Writer,
    PathText(id): PathText,
    Query(asked): Query<NewStatus>,
) -> Result<Json<Value>, Problem> {
    let status = Some(upper::<ZoneState>("new_status", &asked.new_status)?.into());
    let patch = ZonePatch { status, ..ZonePatch::default() };
    lower(zones::patched(&app, &identity, &id, patch).await?).map(Json)
}

/// Let players host a zone.
#[utoipa::path(post, path = "/api/v1/zones/{zone_id}/enable-p2p", tag = "dialect",
    params(("zone_id" = String, Path)), responses((status = 200, body = LowerZone)))]
async fn enable(
    State(app): State<App>,
    Writer(identity): Writer,
    PathText(id): PathText,
) -> Result<Json<Value>, Problem> {
    let patch = ZonePatch { p2p_enabled: Some(true), ..ZonePatch::default() };
    lower(zones::patched(&app, &identity, &id, patch).await?).map(Json)
}

/// Let players host a zone no more.
#[utoipa::path(post, path = "/api/v1/zones/{zone_id}/disable-p2p", tag = "dialect",
    params(("zone_id" = String, Path)), responses((status = 200, body = LowerZone)))]
async fn disable(
    State(app): State<App>,
    Writer(identity): Writer,
    PathText(id): PathText,
) -> Result<Json<Value>, Problem> {
    let patch = ZonePatch { p2p_enabled: Some(false), ..ZonePatch::default() };
    lower(zones::patched(&app, &identity, &id, patch).await?).map(Json)
}

/// Open a session.
#[utoipa::path(post, path = "/api/v1/sessions/", tag = "dialect", request_body = OpenSession,
    responses((status = 201, body = LowerSession)))]
async fn create_session(
    State(app): State<App>,
    Writer(identity): Writer,
    Body(asked): Body<OpenSession>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let players = asked.player_ids.iter().map(|id| parse("player_ids", id));
    let players = players.collect::<Result<Vec<PeerId>, _>>()?;
    let at = (asked.host_id.as_str(), asked.zone_id.as_str());
    let session = sessions::opened(&app, &identity, at, None, players).await?;
    Ok((StatusCode::CREATED, Json(lower(session)?)))
}

/// A session.
#[utoipa::path(get, path = "/api/v1/sessions/{session_id}", tag = "dialect",
    params(("session_id" = String, Path)), responses((status = 200, body = LowerSession)))]
async fn session(
    State(app): State<App>,
    Reader(_): Reader,
    PathText(id): PathText,
) -> Result<Json<Value>, Problem> {
    let session = sessions::found(&app, &id).await?;
    lower(sessions::told(&app, session).await?).map(Json)
}

/// The host begins.
#[utoipa::path(post, path = "/api/v1/sessions/{session_id}/activate", tag = "dialect",
    params(("session_id" = String, Path)), responses((status = 200, body = LowerSession)))]
async fn activate(
    State(app): State<App>,
    Writer(identity): Writer,
    PathText(id): PathText,
) -> Result<Json<Value>, Problem> {
    let session = sessions::changed(&app, &identity, &id, SessionChange::Activate).await?;
    lower(sessions::told(&app, session).await?).map(Json)
}

/// The session is over.
#[utoipa::path(post, path = "/api/v1/sessions/{session_id}/end", tag = "dialect",
    params(("session_id" = String, Path), Reason),
    responses((status = 200, body = LowerSession)))]
async fn end(
    State(app): State<App>,
    Writer(identity): Writer,
    PathText(id): PathText,
    Query(asked): Query<Reason>,
) -> Result<Json<Value>, Problem> {
    let reason = asked.reason.unwrap_or_else(|| "ended by request".to_owned());
    let session = sessions::changed(&app, &identity, &id, SessionChange::End(reason)).await?;
    lower(sessions::told(&app, session).await?).map(Json)
}

/// Tell what was measured.
#[utoipa::path(patch, path = "/api/v1/sessions/{session_id}/metrics", tag = "dialect",
    request_body = Measured, params(("session_id" = String, Path)),
    responses((status = 200, body = LowerSession)))]
async fn measure(
    State(app): State<App>,
    Writer(identity): Writer,
    PathText(id): PathText,
    Body(asked): Body<Measured>,
) -> Result<Json<Value>, Problem> {
    let change = SessionChange::Measure(asked.parse()?);
    let session = sessions::changed(&app, &identity, &id, change).await?;
    lower(sessions::told(&app, session).await?).map(Json)
}

/// A player comes.
#[utoipa::path(post, path = "/api/v1/sessions/{session_id}/players/{player_id}", tag = "dialect",
    params(("session_id" = String, Path), ("player_id" = String, Path)),
    responses((status = 200, body = LowerSession)))]
async fn join(
    State(app): State<App>,
    Writer(identity): Writer,
    PathTexts([id, player]): PathTexts<2>,
) -> Result<Json<Value>, Problem> {
    let session = sessions::joined(&app, &identity, &id, &player).await?;
    lower(sessions::told(&app, session).await?).map(Json)
}

/// A player goes.
#[utoipa::path(delete, path = "/api/v1/sessions/{session_id}/players/{player_id}", tag = "dialect",
    params(("session_id" = String, Path), ("player_id" = String, Path)),
    responses((status = 200, body = LowerSession)))]
async fn leave(
    State(app): State<App>,
    Writer(identity): Writer,
    PathTexts([id, player]): PathTexts<2>,
) -> Result<Json<Value>, Problem> {
    let session = sessions::left(&app, &identity, &id, &player).await?;
    lower(sessions::told(&app, session).await?).map(Json)
}

async fn active(app: &App, filter: SessionFilter) -> Result<Json<Value>, Problem> {
    lower_all(sessions::all_told(app, &filter, 0, MAX_PAGE).await?)
}

/// The open sessions of a host.
#[utoipa::path(get, path = "/api/v1/sessions/host/{host_id}/active", tag = "dialect",
    params(("host_id" = String, Path)), responses((status = 200, body = Vec<LowerSession>)))]
async fn of_host(
    State(app): State<App>,
    Reader(_): Reader,
    PathText(id): PathText,
) -> Result<Json<Value>, Problem> {
    let host = Some(parse("host_id", &id)?);
    active(&app, SessionFilter { host, open: true, ..SessionFilter::default() }).await
}

/// The open sessions of a zone.
#[utoipa::path(get, path = "/api/v1/sessions/zone/{zone_id}/active", tag = "dialect",
    params(("zone_id" = String, Path)), responses((status = 200, body = Vec<LowerSession>)))]
async fn of_zone(
    State(app): State<App>,
    Reader(_): Reader,
    PathText(id): PathText,
) -> Result<Json<Value>, Problem> {
    let zone = Some(parse("zone_id", &id)?);
    active(&app, SessionFilter { zone, open: true, ..SessionFilter::default() }).await
}

/// End the sessions in which nothing happens.
#[utoipa::path(post, path = "/api/v1/sessions/cleanup", tag = "dialect", params(Idle),
    responses((status = 200, body = Done)))]
async fn clean_up(
    State(app): State<App>,
    Writer(identity): Writer,
    Query(asked): Query<Idle>,
) -> Result<Json<Done>, Problem> {
    identity.must_operate()?;
    let minutes = u64::from(asked.timeout_minutes.unwrap_or(30));
    if minutes == 0 {
        return Err(Problem::invalid("timeout_minutes", "must be at least 1"));
    }
    let ended = app.fog.signaling().end_idle(std::time::Duration::from_secs(minutes * 60)).await?;
    Ok(Json(Done::told(format!("Cleaned up {ended} inactive sessions"))))
}
