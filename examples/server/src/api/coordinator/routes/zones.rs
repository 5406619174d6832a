//! Zones: the parts of a game's world. Whoever looks after the fog makes them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use fogcore::id::ZoneId;
use fogcore::registry::MAX_PAGE;
use fogcore::signaling::{SessionFilter, ZoneFilter, ZonePatch, ZoneSpec, ZoneStatus};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::coordinator::dto::zones::{ChangedZone, NewZone, ZoneAnswer, ZonesQuery};
use crate::app::App;
use crate::auth::Identity;
use crate::auth::dto::Done;
use crate::auth::identity::{Reader, Writer};
use crate::http::extract::{Body, PathText, Query};
use crate::http::problem::Problem;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get, update, remove))
}

fn missing(id: &str) -> Problem {
    Problem::not_found(format!("Zone not found: {id}"))
}

/// The id, or the document's words for its absence.
pub(super) fn id(text: &str) -> Result<ZoneId, Problem> {
    text.parse().map_err(|_| missing(text))
}

/// Makes a zone, or makes it anew.
pub(super) async fn put(
    app: &App,
    identity: &Identity,
    zone: ZoneSpec,
) -> Result<ZoneAnswer, Problem> {
    identity.must_operate()?;
    Ok(app.fog.signaling().put_zone(zone).await?.into())
}

/// Changes a zone.
pub(super) async fn patched(
    app: &App,
    identity: &Identity,
    zone: &str,
    patch: ZonePatch,
) -> Result<ZoneAnswer, Problem> {
    identity.must_operate()?;
    Ok(app.fog.signaling().patch_zone(&id(zone)?, patch).await?.into())
}

/// Make a zone, or make it anew.
#[utoipa::path(post, path = "/api/zones/", tag = "zones", request_body = NewZone,
    responses((status = 201, body = ZoneAnswer)))]
async fn create(
    State(app): State<App>,
    Writer(identity): Writer,
    Body(asked): Body<NewZone>,
) -> Result<(StatusCode, Json<ZoneAnswer>), Problem> {
    Ok((StatusCode::CREATED, Json(put(&app, &identity, asked.parse()?).await?)))
}

/// A zone.
#[utoipa::path(get, path = "/api/zones/{zone_id}", tag = "zones", params(("zone_id" = String, Path)),
    responses((status = 200, body = ZoneAnswer)))]
async fn get(
    State(app): State<App>,
    Reader(_): Reader,
    PathText(text): PathText,
) -> Result<Json<ZoneAnswer>, Problem> {
    let (signaling, id) = (app.fog.signaling(), id(&text)?);
    let zone = signaling.zone(&id).await?;
    let filter = SessionFilter { zone: Some(id), open: true, ..SessionFilter::default() };
    let active = signaling.sessions(&filter, 0, MAX_PAGE).await?.len();
    Ok(Json(ZoneAnswer { active_sessions: Some(active), ..zone.into() }))
}

/// The zones, in the order in which they were made.
#[utoipa::path(get, path = "/api/zones/", tag = "zones", params(ZonesQuery),
    responses((status = 200, body = Vec<ZoneAnswer>)))]
async fn list(
    State(app): State<App>,
    Reader(_): Reader,
    Query(asked): Query<ZonesQuery>,
) -> Result<Json<Vec<ZoneAnswer>>, Problem> {
    let status = asked.status.map(ZoneStatus::from);
    let filter = ZoneFilter { p2p_enabled: asked.p2p_enabled, status };
    let (after, limit) = (asked.after.unwrap_or_default(), asked.limit.unwrap_or(MAX_PAGE));
    let zones = app.fog.signaling().zones(&filter, after, limit).await?;
    Ok(Json(zones.into_iter().map(ZoneAnswer::from).collect()))
}

/// Change what is named.
#[utoipa::path(patch, path = "/api/zones/{zone_id}", tag = "zones", request_body = ChangedZone,
    params(("zone_id" = String, Path)), responses((status = 200, body = ZoneAnswer)))]
async fn update(
    State(app): State<App>,
    Writer(identity): Writer,
    PathText(id): PathText,
    Body(asked): Body<ChangedZone>,
) -> Result<Json<ZoneAnswer>, Problem> {
    Ok(Json(patched(&app, &identity, &id, asked.parse()?).await?))
}

/// Remove a zone in which nobody plays.
#[utoipa::path(delete, path = "/api/zones/{zone_id}", tag = "zones", params(("zone_id" = String, Path)),
    responses((status = 200, body = Done)))]
async fn remove(
    State(app): State<App>,
    Writer(identity): Writer,
    PathText(text): PathText,
) -> Result<Json<Done>, Problem> {
    identity.must_operate()?;
    if app.fog.signaling().remove_zone(&id(&text)?).await? {
        return Ok(Json(Done::told("Zone removed successfully")));
    }
    Err(missing(&text))
}
