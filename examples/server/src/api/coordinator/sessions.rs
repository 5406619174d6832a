//! `/sessions` and `/signaling`: players of a zone on a host, and how they find each other.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use fogcore::ErrorKind;
use fogcore::id::SessionId;
use fogcore::signaling::{Mail, Session, SessionChange, SessionFilter, Signal};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::dto::{
    Candidate, CandidateView, Description, DescriptionView, Done, NewMetrics, NewSession, Player,
    SessionQuery, SessionView, peer, status,
};
use super::{hosts, zones};
use crate::app::App;
use crate::problem::{Answer, Asked, Body, Problem, parse};

pub(super) fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(session))
        .routes(routes!(activate))
        .routes(routes!(end))
        .routes(routes!(measure))
        .routes(routes!(join))
        .routes(routes!(leave))
        .routes(routes!(offer))
        .routes(routes!(get_offer))
        .routes(routes!(answer))
        .routes(routes!(get_answer))
        .routes(routes!(candidate))
        .routes(routes!(candidates))
}

/// A session by its id, or by its number.
pub(super) async fn find(app: &App, text: &str) -> Answer<Session> {
    let missing = || Problem::not_found("Session", text);
    if let Ok(number) = text.parse() {
        return app.fog.signaling().session_number(number).await.map_err(|_| missing());
    }
    let id: SessionId = text.parse().map_err(|_| missing())?;
    Ok(app.fog.signaling().session(&id).await?)
}

pub(super) async fn view(app: &App, session: Session) -> Answer<SessionView> {
    // A zone can be removed once its sessions are over.
    let zone = app.fog.signaling().zone(&session.zone).await;
    let number = zone.map_or(0, |zone| zone.number);
    Ok(SessionView::new(session, number))
}

pub(super) async fn change(app: &App, text: &str, change: SessionChange) -> Answer<Session> {
    let session = find(app, text).await?;
    Ok(app.fog.signaling().change(&session.id, change).await?)
}

fn done(message: String) -> Json<Done> {
    Json(Done { message })
}

/// Opens a session, if host and zone meet each other's bars.
#[utoipa::path(post, path = "/sessions/", tag = "sessions", request_body = NewSession,
    responses((status = 201, body = SessionView), (status = 400), (status = 404), (status = 422)))]
async fn create(
    State(app): State<Arc<App>>,
    Body(new): Body<NewSession>,
) -> Answer<(StatusCode, Json<SessionView>)> {
    let host = hosts::find(&app, &new.host_id).await?.node.id;
    let zone = zones::id(&new.zone_id)?;
    let session = app.fog.signaling().open_session(&host, &zone, new.max_players, []).await?;
    Ok((StatusCode::CREATED, Json(view(&app, session).await?)))
}

/// The sessions that match, in the order in which they were opened.
#[utoipa::path(get, path = "/sessions/", tag = "sessions", params(SessionQuery),
    responses((status = 200, body = [SessionView]), (status = 422)))]
async fn list(
    State(app): State<Arc<App>>,
    Asked(query): Asked<SessionQuery>,
) -> Answer<Json<Vec<SessionView>>> {
    let filter = SessionFilter {
        host: query.host_id.map(|id| parse("host_id", &id)).transpose()?,
        zone: query.zone_id.map(|id| parse("zone_id", &id)).transpose()?,
        status: query.status.map(|text| status(&text)).transpose()?,
        open: false,
    };
    let (after, limit) = (query.after.unwrap_or_default(), query.limit.unwrap_or(1_000));
    let mut views = Vec::new();
    for session in app.fog.signaling().sessions(&filter, after, limit).await? {
        views.push(view(&app, session).await?);
    }
    Ok(Json(views))
}

/// One session.
#[utoipa::path(get, path = "/sessions/{session_id}", tag = "sessions",
    params(("session_id" = String, Path)), responses((status = 200, body = SessionView), (status = 404)))]
async fn session(State(app): State<Arc<App>>, Path(id): Path<String>) -> Answer<Json<SessionView>> {
    let session = find(&app, &id).await?;
    Ok(Json(view(&app, session).await?))
}

/// The host begins.
#[utoipa::path(post, path = "/sessions/{session_id}/activate", tag = "sessions",
    params(("session_id" = String, Path)), responses((status = 200, body = Done), (status = 400), (status = 404)))]
async fn activate(State(app): State<Arc<App>>, Path(id): Path<String>) -> Answer<Json<Done>> {
    change(&app, &id, SessionChange::Activate).await?;
    Ok(done("Session activated successfully".to_owned()))
}

/// The session is over.
#[utoipa::path(post, path = "/sessions/{session_id}/end", tag = "sessions",
    params(("session_id" = String, Path)), responses((status = 200, body = Done), (status = 404)))]
async fn end(State(app): State<Arc<App>>, Path(id): Path<String>) -> Answer<Json<Done>> {
    change(&app, &id, SessionChange::End("ended by request".to_owned())).await?;
    Ok(done("Session ended successfully".to_owned()))
}

/// Takes in what was measured.
#[utoipa::path(patch, path = "/sessions/{session_id}/metrics", tag = "sessions", request_body = NewMetrics,
    params(("session_id" = String, Path)), responses((status = 200, body = Done), (status = 400), (status = 404), (status = 422)))]
async fn measure(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Body(new): Body<NewMetrics>,
) -> Answer<Json<Done>> {
    change(&app, &id, SessionChange::Measure(new.metrics()?)).await?;
    Ok(done("Session metrics updated successfully".to_owned()))
}

/// A player comes.
#[utoipa::path(post, path = "/sessions/{session_id}/players", tag = "sessions", request_body = Player,
    params(("session_id" = String, Path)), responses((status = 200, body = Done), (status = 400), (status = 404), (status = 422)))]
async fn join(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Body(player): Body<Player>,
) -> Answer<Json<Done>> {
    let session = find(&app, &id).await?;
    let player = peer("player_id", &player.player_id)?;
    let joined = app.fog.signaling().change(&session.id, SessionChange::Join(player.clone())).await;
    match joined {
        Ok(session) => Ok(done(format!("Player {player} added to session {}", session.number))),
        Err(error) if matches!(error.kind(), ErrorKind::Exhausted | ErrorKind::Conflict) => {
            let number = session.number;
            let message = format!("Failed to add player {player} to session {number}: {error}");
            Err(Problem::new(StatusCode::BAD_REQUEST, message))
        }
        Err(error) => Err(error.into()),
    }
}

/// A player goes.
#[utoipa::path(delete, path = "/sessions/{session_id}/players/{player_id}", tag = "sessions",
    params(("session_id" = String, Path), ("player_id" = String, Path)),
    responses((status = 200, body = Done), (status = 400), (status = 404)))]
async fn leave(
    State(app): State<Arc<App>>,
    Path((id, player)): Path<(String, String)>,
) -> Answer<Json<Done>> {
    let player = peer("player_id", &player)?;
    let session = change(&app, &id, SessionChange::Leave(player.clone())).await?;
    Ok(done(format!("Player {player} removed from session {}", session.number)))
}

async fn put(app: &App, session: &str, name: &str, signal: Signal) -> Answer<()> {
    let session = find(app, session).await?;
    app.fog.signaling().put_mail(&session.id, &peer("peer_id", name)?, signal).await?;
    Ok(())
}

async fn mail(app: &App, session: &str) -> Answer<Vec<Mail>> {
    let session = find(app, session).await?;
    Ok(app.fog.signaling().mail(&session.id).await?)
}

/// A peer leaves its offer.
#[utoipa::path(post, path = "/signaling/offer", tag = "signaling", request_body = Description,
    responses((status = 200, body = Done), (status = 400), (status = 404), (status = 422)))]
async fn offer(State(app): State<Arc<App>>, Body(new): Body<Description>) -> Answer<Json<Done>> {
    put(&app, &new.session_id, &new.peer_id, Signal::Offer { sdp: new.sdp }).await?;
    Ok(done("Offer created successfully".to_owned()))
}

/// The latest offer in a session.
#[utoipa::path(get, path = "/signaling/offer/{session_id}", tag = "signaling",
    params(("session_id" = String, Path)), responses((status = 200, body = DescriptionView), (status = 404)))]
async fn get_offer(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Answer<Json<DescriptionView>> {
    let offers = mail(&app, &id).await?.into_iter();
    let latest = offers.filter(|mail| mail.offer.is_some()).max_by_key(|mail| mail.offered_at);
    let found = latest.and_then(|mail| Some((mail.peer, mail.offer?)));
    let (peer, sdp) = found.ok_or_else(|| Problem::not_found("Offer for session", &id))?;
    Ok(Json(DescriptionView { peer_id: peer.as_str().to_owned(), sdp }))
}

/// A peer leaves its answer.
#[utoipa::path(post, path = "/signaling/answer", tag = "signaling", request_body = Description,
    responses((status = 200, body = Done), (status = 400), (status = 404), (status = 422)))]
async fn answer(State(app): State<Arc<App>>, Body(new): Body<Description>) -> Answer<Json<Done>> {
    put(&app, &new.session_id, &new.peer_id, Signal::Answer { sdp: new.sdp }).await?;
    Ok(done("Answer created successfully".to_owned()))
}

/// The latest answer in a session.
#[utoipa::path(get, path = "/signaling/answer/{session_id}", tag = "signaling",
    params(("session_id" = String, Path)), responses((status = 200, body = DescriptionView), (status = 404)))]
async fn get_answer(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Answer<Json<DescriptionView>> {
    let answers = mail(&app, &id).await?.into_iter();
    let latest = answers.filter(|mail| mail.answer.is_some()).max_by_key(|mail| mail.answered_at);
    let found = latest.and_then(|mail| Some((mail.peer, mail.answer?)));
    let (peer, sdp) = found.ok_or_else(|| Problem::not_found("Answer for session", &id))?;
    Ok(Json(DescriptionView { peer_id: peer.as_str().to_owned(), sdp }))
}

/// A peer leaves a candidate.
#[utoipa::path(post, path = "/signaling/ice-candidate", tag = "signaling", request_body = Candidate,
    responses((status = 200, body = Done), (status = 400), (status = 404), (status = 422)))]
async fn candidate(State(app): State<Arc<App>>, Body(new): Body<Candidate>) -> Answer<Json<Done>> {
    let signal = Signal::IceCandidate { candidate: new.candidate };
    put(&app, &new.session_id, &new.peer_id, signal).await?;
    Ok(done("ICE candidate added successfully".to_owned()))
}

/// The candidates of all peers of a session, each peer's in order.
#[utoipa::path(get, path = "/signaling/ice-candidates/{session_id}", tag = "signaling",
    params(("session_id" = String, Path)), responses((status = 200, body = [CandidateView]), (status = 404)))]
async fn candidates(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Answer<Json<Vec<CandidateView>>> {
    let mut views = Vec::new();
    for mail in mail(&app, &id).await? {
        let peer_id = mail.peer.as_str().to_owned();
        let view = |candidate| CandidateView { peer_id: peer_id.clone(), candidate };
        views.extend(mail.candidates.into_iter().map(view));
    }
    Ok(Json(views))
}
