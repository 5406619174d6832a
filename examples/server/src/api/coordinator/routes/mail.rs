//! Offers, answers and candidates of peers that poll.

use axum::Json;
use axum::extract::State;
use fogcore::signaling::{Mail, Signal};
use fogcore::time::Timestamp;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::sessions::{found, speaker};
use crate::api::coordinator::dto::sessions::{
    CandidateAnswer, DescriptionAnswer, NewCandidate, NewDescription,
};
use crate::app::App;
use crate::auth::Identity;
use crate::auth::dto::Done;
use crate::auth::identity::{Reader, Writer};
use crate::http::extract::{Body, PathText};
use crate::http::problem::Problem;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(offer))
        .routes(routes!(get_offer))
        .routes(routes!(answer))
        .routes(routes!(get_answer))
        .routes(routes!(candidate))
        .routes(routes!(candidates))
}

/// Leaves a signal, in the name of the caller alone.
async fn put(
    app: &App,
    identity: &Identity,
    (session, peer): (&str, &str),
    signal: Signal,
) -> Result<(), Problem> {
    let peer = speaker(identity, "peer_id", peer)?;
    let session = found(app, session).await?;
    app.fog.signaling().put_mail(&session.id, &peer, signal).await?;
    Ok(())
}

async fn mail(app: &App, session: &str) -> Result<Vec<Mail>, Problem> {
    let session = found(app, session).await?;
    Ok(app.fog.signaling().mail(&session.id).await?)
}

/// The latest of what peers left, as `when` and `what` take it from their mail.
async fn latest(
    app: &App,
    (session, named): (&str, &str),
    when: impl Fn(&Mail) -> Option<Timestamp>,
    what: impl Fn(Mail) -> Option<String>,
) -> Result<Json<DescriptionAnswer>, Problem> {
    let all = mail(app, session).await?;
    let latest = all.into_iter().filter(|mail| when(mail).is_some()).max_by_key(|mail| when(mail));
    let told = latest.and_then(|mail| {
        let peer_id = mail.peer.to_string();
        what(mail).map(|sdp| DescriptionAnswer { peer_id, sdp })
    });
    let missing = || Problem::not_found(format!("{named} for session not found: {session}"));
    told.map(Json).ok_or_else(missing)
}

/// A peer leaves its offer.
#[utoipa::path(post, path = "/api/signaling/offer", tag = "signaling",
    request_body = NewDescription, responses((status = 200, body = Done)))]
async fn offer(
    State(app): State<App>,
    Writer(identity): Writer,
    Body(asked): Body<NewDescription>,
) -> Result<Json<Done>, Problem> {
    let signal = Signal::Offer { sdp: asked.sdp };
    put(&app, &identity, (&asked.session_id, &asked.peer_id), signal).await?;
    Ok(Json(Done::told("Offer created successfully")))
}

/// The latest offer in a session.
#[utoipa::path(get, path = "/api/signaling/offer/{session_id}", tag = "signaling",
    params(("session_id" = String, Path)), responses((status = 200, body = DescriptionAnswer)))]
async fn get_offer(
    State(app): State<App>,
    Reader(_): Reader,
    PathText(id): PathText,
) -> Result<Json<DescriptionAnswer>, Problem> {
    latest(&app, (&id, "Offer"), |mail| mail.offered_at, |mail| mail.offer).await
}

/// A peer leaves its answer.
#[utoipa::path(post, path = "/api/signaling/answer", tag = "signaling",
    request_body = NewDescription, responses((status = 200, body = Done)))]
async fn answer(
    State(app): State<App>,
    Writer(identity): Writer,
    Body(asked): Body<NewDescription>,
) -> Result<Json<Done>, Problem> {
    let signal = Signal::Answer { sdp: asked.sdp };
    put(&app, &identity, (&asked.session_id, &asked.peer_id), signal).await?;
    Ok(Json(Done::told("Answer created successfully")))
}

/// The latest answer in a session.
#[utoipa::path(get, path = "/api/signaling/answer/{session_id}", tag = "signaling",
    params(("session_id" = String, Path)), responses((status = 200, body = DescriptionAnswer)))]
async fn get_answer(
    State(app): State<App>,
    Reader(_): Reader,
    PathText(id): PathText,
) -> Result<Json<DescriptionAnswer>, Problem> {
    latest(&app, (&id, "Answer"), |mail| mail.answered_at, |mail| mail.answer).await
}

/// A peer leaves a candidate.
#[utoipa::path(post, path = "/api/signaling/ice-candidate", tag = "signaling",
    request_body = NewCandidate, responses((status = 200, body = Done)))]
async fn candidate(
    State(app): State<App>,
    Writer(identity): Writer,
    Body(asked): Body<NewCandidate>,
) -> Result<Json<Done>, Problem> {
    let signal = Signal::IceCandidate { candidate: asked.candidate };
    put(&app, &identity, (&asked.session_id, &asked.peer_id), signal).await?;
    Ok(Json(Done::told("ICE candidate added successfully")))
}

/// The candidates of all peers of a session, each peer's in order.
#[utoipa::path(get, path = "/api/signaling/ice-candidates/{session_id}", tag = "signaling",
    params(("session_id" = String, Path)), responses((status = 200, body = Vec<CandidateAnswer>)))]
async fn candidates(
    State(app): State<App>,
    Reader(_): Reader,
    PathText(id): PathText,
) -> Result<Json<Vec<CandidateAnswer>>, Problem> {
    let mut all = Vec::new();
    for mail in mail(&app, &id).await? {
        let peer_id = mail.peer.to_string();
        let told = |candidate| CandidateAnswer { peer_id: peer_id.clone(), candidate };
        all.extend(mail.candidates.into_iter().map(told));
    }
    Ok(Json(all))
}
