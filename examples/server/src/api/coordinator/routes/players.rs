//! Tokens for players, who have no password: a game's own server asks for them, with its key, and
//! hands them on.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::{Extension, Json};
use fogcore::id::PeerId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::may_speak_as;
use crate::api::coordinator::dto::parse;
use crate::app::App;
use crate::auth::Identity;
use crate::auth::dto::{Refresh, TokenAnswer};
use crate::auth::identity::Scope;
use crate::http::admit::bearer;
use crate::http::extract::{Body, OptionalBody};
use crate::http::problem::{Kind, Problem};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(token)).routes(routes!(refresh))
}

/// For whom a token is.
#[derive(Deserialize, ToSchema)]
struct PlayerToken {
    /// The player.
    player_id: Option<String>,
    /// The player, under another name.
    peer_id: Option<String>,
    /// Whoever asks for it, if the header does not say.
    api_key: Option<String>,
}

/// A player's tokens.
#[derive(Serialize, ToSchema)]
struct PlayerTokenAnswer {
    /// The access token again.
    token: String,
    #[serde(flatten)]
    #[schema(inline)]
    tokens: TokenAnswer,
}

impl From<TokenAnswer> for PlayerTokenAnswer {
    fn from(tokens: TokenAnswer) -> Self {
        Self { token: tokens.access_token.clone(), tokens }
    }
}

/// A token for a player: for operators and on loopback, for anybody else only their own.
#[utoipa::path(post, path = "/api/v1/auth/token", tag = "dialect", request_body = PlayerToken,
    responses((status = 200, body = PlayerTokenAnswer)))]
async fn token(
    State(app): State<App>,
    identity: Option<Extension<Identity>>,
    Body(asked): Body<PlayerToken>,
) -> Result<Json<PlayerTokenAnswer>, Problem> {
    let identity = match (identity, asked.api_key) {
        (_, Some(key)) => app.auth.identify_key(&key).await?,
        (Some(Extension(identity)), None) => identity,
        (None, None) => return Err(Problem::new(Kind::Unauthenticated)),
    };
    identity.must_have(Scope::Write)?;
    let player = asked.player_id.or(asked.peer_id);
    let player = player.ok_or_else(|| Problem::invalid("player_id", "is missing"))?;
    let player: PeerId = parse("player_id", &player)?;
    if !may_speak_as(&identity, &player) {
        return Err(Problem::forbidden("a token for somebody else is for operators to ask for"));
    }
    let user = app.auth.player(player.as_str()).await?;
    let granted = app.auth.begin(user).await?;
    Ok(Json(TokenAnswer::from(granted).into()))
}

/// New tokens for a refresh token, or for the access token in the header.
#[utoipa::path(post, path = "/api/v1/auth/refresh", tag = "dialect",
    request_body = Option<Refresh>, responses((status = 200, body = PlayerTokenAnswer)))]
async fn refresh(
    State(app): State<App>,
    headers: HeaderMap,
    OptionalBody(asked): OptionalBody<Refresh>,
) -> Result<Json<PlayerTokenAnswer>, Problem> {
    let granted = match (&asked.refresh_token, bearer(&headers)) {
        (Some(token), _) => app.auth.refresh(token).await?,
        (None, Some(token)) => app.auth.refresh_with(token).await?,
        (None, None) => return Err(Problem::new(Kind::Unauthenticated)),
    };
    Ok(Json(TokenAnswer::from(granted).into()))
}
