//! Sessions: players of a zone on a host. Who owns the host begins and ends them, players come and go.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use fogcore::ErrorKind;
use fogcore::id::{NodeId, PeerId, SessionId};
use fogcore::registry::MAX_PAGE;
use fogcore::signaling::{Session, SessionChange, SessionFilter, SessionStatus};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{hosts, zones};
use crate::api::coordinator::dto::parse;
use crate::api::coordinator::dto::sessions::{
    NewMetrics, NewSession, Player, SessionAnswer, SessionsQuery,
};
use crate::app::App;
use crate::auth::Identity;
use crate::auth::dto::Done;
use crate::auth::identity::{Reader, Writer};
use crate::http::extract::{Body, PathText, PathTexts, Query};
use crate::http::problem::{Kind, Problem};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get))
        .routes(routes!(activate))
        .routes(routes!(end))
        .routes(routes!(measure))
        .routes(routes!(join))
        .routes(routes!(leave))
}

/// A session by its id, or by its number.
pub(crate) async fn found(app: &App, text: &str) -> Result<Session, Problem> {
    let missing = || Problem::not_found(format!("Session not found: {text}"));
    let signaling = app.fog.signaling();
    let session = match text.parse::<u64>() {
        Ok(number) => signaling.session_number(number).await,
        Err(_) => signaling.session(&text.parse::<SessionId>().map_err(|_| missing())?).await,
    };
    session.map_err(|error| match error.kind() {
        ErrorKind::NotFound => missing(),
        _ => error.into(),
    })
}

/// A session, for whoever looks after its host.
pub(super) async fn hosted(app: &App, identity: &Identity, text: &str) -> Result<Session, Problem> {
    let session = found(app, text).await?;
    must_host(app, identity, &session.host).await?;
    Ok(session)
}

async fn must_host(app: &App, identity: &Identity, host: &NodeId) -> Result<(), Problem> {
    // Of a host that is gone only operators speak.
    match app.fog.node(host).await? {
        Some(record) => identity.must_manage(record.node.owner.as_ref()),
        None => identity.must_operate(),
    }
}

/// Whether somebody may speak as this peer: a peer id is its account's, or begins with the account's
/// name and a colon. Operators speak for anybody.
pub(crate) fn may_speak_as(identity: &Identity, peer: &PeerId) -> bool {
    let (account, peer) = (identity.account.as_str(), peer.as_str());
    let suffix = |rest: &str| rest.is_empty() || rest.starts_with(':');
    identity.is_operator()
        || peer.strip_prefix(account).is_some_and(suffix)
        || account.strip_prefix(crate::auth::PLAYER).is_some_and(|player| player == peer)
}

/// The peer, whom the caller may speak as.
pub(super) fn speaker(
    identity: &Identity,
    field: &'static str,
    text: &str,
) -> Result<PeerId, Problem> {
    let peer = parse(field, text)?;
    if may_speak_as(identity, &peer) {
        return Ok(peer);
    }
    Err(Problem::forbidden(format!("{field}: \"{peer}\" belongs to somebody else")))
}

/// A session as it is.
pub(super) async fn told(app: &App, session: Session) -> Result<SessionAnswer, Problem> {
    // A zone can be removed once its sessions are over.
    let zone = match app.fog.signaling().zone(&session.zone).await {
        Ok(zone) => zone.number,
        Err(error) if error.kind() == ErrorKind::NotFound => 0,
        Err(error) => return Err(error.into()),
    };
    Ok(SessionAnswer::of(session, zone))
}

/// Opens a session.
pub(super) async fn opened(
    app: &App,
    identity: &Identity,
    (host, zone): (&str, &str),
    max_players: Option<u32>,
    players: Vec<PeerId>,
) -> Result<SessionAnswer, Problem> {
    let (host, zone) = (hosts::managed(app, identity, host).await?, zones::id(zone)?);
    let signaling = app.fog.signaling();
    let session = signaling.open_session(&host.node.id, &zone, max_players, players).await?;
    told(app, session).await
}

/// Changes a session, for whoever looks after its host.
pub(super) async fn changed(
    app: &App,
    identity: &Identity,
    text: &str,
    change: SessionChange,
) -> Result<Session, Problem> {
    let session = hosted(app, identity, text).await?;
    Ok(app.fog.signaling().change(&session.id, change).await?)
}

/// Open a session, if host and zone meet each other's bars.
#[utoipa::path(post, path = "/api/sessions/", tag = "sessions", request_body = NewSession,
    responses((status = 201, body = SessionAnswer)))]
async fn create(
    State(app): State<App>,
    Writer(identity): Writer,
    Body(asked): Body<NewSession>,
) -> Result<(StatusCode, Json<SessionAnswer>), Problem> {
    let at = (asked.host_id.as_str(), asked.zone_id.as_str());
    let session = opened(&app, &identity, at, asked.max_players, Vec::new()).await?;
    Ok((StatusCode::CREATED, Json(session)))
}

/// The sessions, in the order in which they were opened.
#[utoipa::path(get, path = "/api/sessions/", tag = "sessions", params(SessionsQuery),
    responses((status = 200, body = Vec<SessionAnswer>)))]
async fn list(
    State(app): State<App>,
    Reader(_): Reader,
    Query(asked): Query<SessionsQuery>,
) -> Result<Json<Vec<SessionAnswer>>, Problem> {
    let filter = SessionFilter {
        host: asked.host_id.map(|id| parse("host_id", &id)).transpose()?,
        zone: asked.zone_id.map(|id| parse("zone_id", &id)).transpose()?,
        status: asked.status.map(SessionStatus::from),
        open: false,
    };
    let (after, limit) = (asked.after.unwrap_or_default(), asked.limit.unwrap_or(MAX_PAGE));
    Ok(Json(all_told(&app, &filter, after, limit).await?))
}

/// A page of sessions. Their zones are looked up once each.
pub(super) async fn all_told(
    app: &App,
    filter: &SessionFilter,
    after: u64,
    limit: usize,
) -> Result<Vec<SessionAnswer>, Problem> {
    let mut numbers = std::collections::HashMap::new();
    let mut answers = Vec::new();
    for session in app.fog.signaling().sessions(filter, after, limit).await? {
        if let Some(number) = numbers.get(&session.zone) {
            answers.push(SessionAnswer::of(session, *number));
            continue;
        }
        let zone = session.zone.clone();
        let answer = told(app, session).await?;
        numbers.insert(zone, answer.zone_id);
        answers.push(answer);
    }
    Ok(answers)
}

/// A session.
#[utoipa::path(get, path = "/api/sessions/{session_id}", tag = "sessions",
    params(("session_id" = String, Path)), responses((status = 200, body = SessionAnswer)))]
async fn get(
    State(app): State<App>,
    Reader(_): Reader,
    PathText(id): PathText,
) -> Result<Json<SessionAnswer>, Problem> {
    Ok(Json(told(&app, found(&app, &id).await?).await?))
}

/// The host begins.
#[utoipa::path(post, path = "/api/sessions/{session_id}/activate", tag = "sessions",
    params(("session_id" = String, Path)), responses((status = 200, body = Done)))]
async fn activate(
    State(app): State<App>,
    Writer(identity): Writer,
    PathText(id): PathText,
) -> Result<Json<Done>, Problem> {
    changed(&app, &identity, &id, SessionChange::Activate).await?;
    Ok(Json(Done::told("Session activated successfully")))
}

/// The session is over.
#[utoipa::path(post, path = "/api/sessions/{session_id}/end", tag = "sessions",
    params(("session_id" = String, Path)), responses((status = 200, body = Done)))]
async fn end(
    State(app): State<App>,
    Writer(identity): Writer,
    PathText(id): PathText,
) -> Result<Json<Done>, Problem> {
    changed(&app, &identity, &id, SessionChange::End("ended by request".to_owned())).await?;
    Ok(Json(Done::told("Session ended successfully")))
}

/// Tell what was measured.
#[utoipa::path(patch, path = "/api/sessions/{session_id}/metrics", tag = "sessions",
    request_body = NewMetrics, params(("session_id" = String, Path)),
    responses((status = 200, body = Done)))]
async fn measure(
    State(app): State<App>,
    Writer(identity): Writer,
    PathText(id): PathText,
    Body(asked): Body<NewMetrics>,
) -> Result<Json<Done>, Problem> {
    changed(&app, &identity, &id, SessionChange::Measure(asked.parse()?)).await?;
    Ok(Json(Done::told("Session metrics updated successfully")))
}

/// Lets a player in or out, who asks for that, or whose host does.
async fn with_player(
    app: &App,
    identity: &Identity,
    (session, player): (&Session, &PeerId),
    change: SessionChange,
) -> Result<Session, Problem> {
    if !may_speak_as(identity, player) {
        must_host(app, identity, &session.host).await?;
    }
    Ok(app.fog.signaling().change(&session.id, change).await?)
}

/// Lets a player in.
pub(super) async fn joined(
    app: &App,
    identity: &Identity,
    session: &str,
    player: &str,
) -> Result<Session, Problem> {
    let (session, player): (_, PeerId) = (found(app, session).await?, parse("player_id", player)?);
    let change = SessionChange::Join(player.clone());
    with_player(app, identity, (&session, &player), change).await.map_err(|problem| {
        if !matches!(problem.kind, Kind::Exhausted | Kind::Conflict) {
            return problem;
        }
        let (number, why) = (session.number, &problem.message);
        let message = format!("Failed to add player {player} to session {number}: {why}");
        Problem { message, ..problem }
    })
}

/// Lets a player out.
pub(super) async fn left(
    app: &App,
    identity: &Identity,
    session: &str,
    player: &str,
) -> Result<Session, Problem> {
    let (session, player): (_, PeerId) = (found(app, session).await?, parse("player_id", player)?);
    let change = SessionChange::Leave(player.clone());
    with_player(app, identity, (&session, &player), change).await
}

/// A player comes.
#[utoipa::path(post, path = "/api/sessions/{session_id}/players", tag = "sessions",
    request_body = Player, params(("session_id" = String, Path)),
    responses((status = 200, body = Done)))]
async fn join(
    State(app): State<App>,
    Writer(identity): Writer,
    PathText(id): PathText,
    Body(asked): Body<Player>,
) -> Result<Json<Done>, Problem> {
    let player = &asked.player_id;
    let session = joined(&app, &identity, &id, player).await?;
    Ok(Json(Done::told(format!("Player {player} added to session {}", session.number))))
}

/// A player goes.
#[utoipa::path(delete, path = "/api/sessions/{session_id}/players/{player_id}", tag = "sessions",
    params(("session_id" = String, Path), ("player_id" = String, Path)),
    responses((status = 200, body = Done)))]
async fn leave(
    State(app): State<App>,
    Writer(identity): Writer,
    PathTexts([id, player]): PathTexts<2>,
) -> Result<Json<Done>, Problem> {
    let session = left(&app, &identity, &id, &player).await?;
    Ok(Json(Done::told(format!("Player {player} removed from session {}", session.number))))
}
