//! `/v1/auth`: plain answers, and mesh's form of errors.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use fogcore::id::AccountId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::dto::{
    Done, KeyAnswer, KeyMade, Keys, Login, Me, NewKey, NewRole, Refresh, Registration, Revoke,
    TokenAnswer, UserAnswer,
};
use super::identity::{Admin, Credential, Identity, Reader, Scope, Writer};
use crate::app::App;
use crate::http::admit::{ClientAddress, bearer};
use crate::http::extract::{Body, OptionalBody, PathId};
use crate::http::problem::{Kind, Problem};

/// Every route below `/v1/auth`.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(login))
        .routes(routes!(refresh))
        .routes(routes!(revoke))
        .routes(routes!(logout))
        .routes(routes!(me))
        .routes(routes!(set_role))
        .routes(routes!(make_key, list_keys))
        .routes(routes!(revoke_key))
}

/// Register a user. Open on loopback; elsewhere an administrator registers users, unless configured
/// otherwise.
#[utoipa::path(post, path = "/v1/auth/register", tag = "auth", request_body = Registration,
    responses((status = 201, body = TokenAnswer)))]
async fn register(
    State(app): State<App>,
    identity: Option<Extension<Identity>>,
    Body(asked): Body<Registration>,
) -> Result<(StatusCode, Json<TokenAnswer>), Problem> {
    if !app.config.open_registration {
        let Extension(identity) = identity.ok_or_else(|| Problem::new(Kind::Unauthenticated))?;
        identity.must_have(Scope::Admin)?;
    }
    let user = app.auth.register(&asked.email, asked.password, &asked.name).await?;
    Ok((StatusCode::CREATED, Json(app.auth.begin(user).await?.into())))
}

/// Log in with an address and a password.
#[utoipa::path(post, path = "/v1/auth/login", tag = "auth", request_body = Login, security(()),
    responses((status = 200, body = TokenAnswer)))]
async fn login(
    State(app): State<App>,
    Extension(ClientAddress(from)): Extension<ClientAddress>,
    Body(asked): Body<Login>,
) -> Result<Json<TokenAnswer>, Problem> {
    Ok(Json(app.auth.log_in(&asked.email, asked.password, from).await?.into()))
}

/// Get new tokens for a refresh token, or for an access token that still counts.
#[utoipa::path(post, path = "/v1/auth/refresh", tag = "auth", request_body = Option<Refresh>,
    security((), ("bearer" = [])), responses((status = 200, body = TokenAnswer)))]
async fn refresh(
    State(app): State<App>,
    headers: HeaderMap,
    OptionalBody(asked): OptionalBody<Refresh>,
) -> Result<Json<TokenAnswer>, Problem> {
    let granted = match (asked.refresh_token, bearer(&headers)) {
        (Some(token), _) => app.auth.refresh(&token).await?,
        (None, Some(token)) => app.auth.refresh_with(token).await?,
        (None, None) => return Err(Problem::new(Kind::Unauthenticated)),
    };
    Ok(Json(granted.into()))
}

/// Revoke a token: the one in the body, or else the one in the header.
#[utoipa::path(post, path = "/v1/auth/revoke", tag = "auth", request_body = Option<Revoke>,
    responses((status = 200, body = Done)))]
async fn revoke(
    State(app): State<App>,
    Extension(identity): Extension<Identity>,
    headers: HeaderMap,
    OptionalBody(asked): OptionalBody<Revoke>,
) -> Result<Json<Done>, Problem> {
    let token = asked.token.as_deref().or_else(|| bearer(&headers));
    let missing = || Problem::invalid("token", "neither the body nor the header has one");
    app.auth.revoke(token.ok_or_else(missing)?, &identity).await?;
    Ok(Json(Done::told("Token revoked")))
}

/// End the session, with all its tokens.
#[utoipa::path(post, path = "/v1/auth/logout", tag = "auth", responses((status = 200, body = Done)))]
async fn logout(State(app): State<App>, headers: HeaderMap) -> Result<Json<Done>, Problem> {
    let token = bearer(&headers).ok_or_else(|| Problem::new(Kind::Unauthenticated))?;
    app.auth.log_out(token).await?;
    Ok(Json(Done::told("Logged out")))
}

/// Who you are.
#[utoipa::path(get, path = "/v1/auth/me", tag = "auth", responses((status = 200, body = Me)))]
async fn me(
    State(app): State<App>,
    Extension(identity): Extension<Identity>,
) -> Result<Json<Me>, Problem> {
    let user = match app.auth.user(&identity.account).await {
        Ok(user) => Some(user.into()),
        Err(problem) if problem.kind == Kind::NotFound => None,
        Err(problem) => return Err(problem),
    };
    Ok(Json(Me {
        account_id: identity.account.to_string(),
        role: identity.role,
        scopes: identity.scopes.iter().collect(),
        tier: identity.tier,
        user,
    }))
}

/// Give a user another role. The user has to log in again, and the user's API keys end.
#[utoipa::path(put, path = "/v1/auth/users/{user_id}/role", tag = "auth", request_body = NewRole,
    params(("user_id" = String, Path, description = "The user's id")),
    responses((status = 200, body = UserAnswer)))]
async fn set_role(
    State(app): State<App>,
    Admin(_): Admin,
    PathId(user): PathId<AccountId>,
    Body(asked): Body<NewRole>,
) -> Result<Json<UserAnswer>, Problem> {
    Ok(Json(app.auth.set_role(&user, asked.role).await?.into()))
}

/// Make an API key. It is shown once.
#[utoipa::path(post, path = "/v1/auth/api-keys", tag = "auth", request_body = NewKey,
    responses((status = 201, body = KeyMade)))]
async fn make_key(
    State(app): State<App>,
    Writer(identity): Writer,
    Body(asked): Body<NewKey>,
) -> Result<(StatusCode, Json<KeyMade>), Problem> {
    if matches!(identity.credential, Credential::Key(_)) {
        return Err(Problem::forbidden("a key cannot make keys"));
    }
    let (scopes, tier) = (asked.scopes.into_iter().collect(), asked.tier.unwrap_or(identity.tier));
    let (key, record) = app.auth.make_key(&identity, &asked.name, scopes, tier).await?;
    let made = KeyMade { api_key: key.reveal(), key: record.into() };
    Ok((StatusCode::CREATED, Json(made)))
}

/// Your API keys, without their secrets.
#[utoipa::path(get, path = "/v1/auth/api-keys", tag = "auth", responses((status = 200, body = Keys)))]
async fn list_keys(
    State(app): State<App>,
    Reader(identity): Reader,
) -> Result<Json<Keys>, Problem> {
    let keys = app.auth.keys(&identity.account).await?;
    Ok(Json(Keys { api_keys: keys.into_iter().map(KeyAnswer::from).collect() }))
}

/// Revoke an API key.
#[utoipa::path(delete, path = "/v1/auth/api-keys/{key_id}", tag = "auth",
    params(("key_id" = String, Path, description = "The key's id")),
    responses((status = 200, body = Done)))]
async fn revoke_key(
    State(app): State<App>,
    Writer(identity): Writer,
    axum::extract::Path(id): axum::extract::Path<String>,
) -> Result<Json<Done>, Problem> {
    app.auth.revoke_key(&identity, &id).await?;
    Ok(Json(Done::told("API key revoked")))
}
