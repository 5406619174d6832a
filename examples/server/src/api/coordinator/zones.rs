//! `/zones`: the parts of a game's world.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use fogcore::id::ZoneId;
use fogcore::signaling::{SessionFilter, ZoneFilter, ZoneStatus};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::dto::{ChangedZone, Done, NewZone, ZoneQuery, ZoneState, ZoneView};
use crate::app::App;
use crate::problem::{Answer, Asked, Body, Problem};

pub(super) fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(zone, update, remove))
}

pub(super) fn id(text: &str) -> Answer<ZoneId> {
    text.parse().map_err(|_| Problem::not_found("Zone", text))
}

/// Makes a zone, or changes it.
#[utoipa::path(post, path = "/zones/", tag = "zones", request_body = NewZone,
    responses((status = 201, body = ZoneView), (status = 422)))]
async fn create(
    State(app): State<Arc<App>>,
    Body(new): Body<NewZone>,
) -> Answer<(StatusCode, Json<ZoneView>)> {
    let zone = app.fog.signaling().put_zone(new.spec()?).await?;
    Ok((StatusCode::CREATED, Json(zone.into())))
}

/// One zone.
#[utoipa::path(get, path = "/zones/{zone_id}", tag = "zones", params(("zone_id" = String, Path)),
    responses((status = 200, body = ZoneView), (status = 404)))]
async fn zone(State(app): State<Arc<App>>, Path(text): Path<String>) -> Answer<Json<ZoneView>> {
    let (signaling, id) = (app.fog.signaling(), id(&text)?);
    let zone = signaling.zone(&id).await?;
    let filter = SessionFilter { zone: Some(id), open: true, ..SessionFilter::default() };
    let active = signaling.sessions(&filter, 0, 1_000).await?.len();
    let mut view = ZoneView::from(zone);
    view.active_sessions = Some(active);
    Ok(Json(view))
}

/// The zones that match, in the order in which they were made.
#[utoipa::path(get, path = "/zones/", tag = "zones", params(ZoneQuery),
    responses((status = 200, body = [ZoneView]), (status = 422)))]
async fn list(
    State(app): State<Arc<App>>,
    Asked(query): Asked<ZoneQuery>,
) -> Answer<Json<Vec<ZoneView>>> {
    let status: Option<ZoneState> = query
        .status
        .map(|status| serde_json::from_value(status.into()))
        .transpose()
        .map_err(|error| Problem::invalid("status", error))?;
    let filter =
        ZoneFilter { p2p_enabled: query.p2p_enabled, status: status.map(ZoneStatus::from) };
    let (after, limit) = (query.after.unwrap_or_default(), query.limit.unwrap_or(1_000));
    let zones = app.fog.signaling().zones(&filter, after, limit).await?;
    Ok(Json(zones.into_iter().map(ZoneView::from).collect()))
}

/// Changes what is named.
#[utoipa::path(patch, path = "/zones/{zone_id}", tag = "zones", request_body = ChangedZone,
    params(("zone_id" = String, Path)), responses((status = 200, body = ZoneView), (status = 404), (status = 422)))]
async fn update(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
    Body(changed): Body<ChangedZone>,
) -> Answer<Json<ZoneView>> {
    let zone = app.fog.signaling().patch_zone(&id(&text)?, changed.patch()?).await?;
    Ok(Json(zone.into()))
}

/// Removes a zone in which nobody plays.
#[utoipa::path(delete, path = "/zones/{zone_id}", tag = "zones", params(("zone_id" = String, Path)),
    responses((status = 200, body = Done), (status = 400), (status = 404)))]
async fn remove(State(app): State<Arc<App>>, Path(text): Path<String>) -> Answer<Json<Done>> {
    if app.fog.signaling().remove_zone(&id(&text)?).await? {
        return Ok(Json(Done { message: "Zone removed successfully".to_owned() }));
    }
    Err(Problem::not_found("Zone", &text))
}
