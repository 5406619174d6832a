//! `/v1/auth`: register, log in, refresh, revoke, and API keys.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::accounts::{ApiKey, User};
use super::passwords;
use super::tokens::Kind;
use super::{Identity, Role, Scope, identify};
use crate::app::App;
use crate::edge;
use crate::problem::{Answer, Body, Problem};

/// Routes that anybody may use, and those that need a token.
pub(crate) fn router(app: &Arc<App>) -> OpenApiRouter<Arc<App>> {
    let closed = OpenApiRouter::new()
        .routes(routes!(me))
        .routes(routes!(logout))
        .routes(routes!(revoke))
        .routes(routes!(add_key, keys))
        .routes(routes!(remove_key))
        .layer(axum::middleware::from_fn_with_state(app.clone(), identify));
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(login))
        .routes(routes!(refresh))
        .merge(closed)
}

/// The form of mesh-api.md, which owns these routes.
pub(crate) fn render(problem: &Problem) -> Response {
    let code = problem.status.canonical_reason().unwrap_or("error").to_uppercase();
    let error = serde_json::json!({
        "code": code.replace([' ', '-'], "_"),
        "message": problem.message,
        "details": problem.field.as_ref().map(|field| serde_json::json!({ "field": field })),
    });
    Json(serde_json::json!({ "error": error })).into_response()
}

#[derive(Deserialize, ToSchema)]
struct Registration {
    email: String,
    password: String,
    #[serde(default)]
    name: String,
}

#[derive(Deserialize, ToSchema)]
struct Login {
    email: String,
    password: String,
}

#[derive(Deserialize, ToSchema)]
struct Refresh {
    refresh_token: String,
}

#[derive(Serialize, ToSchema)]
struct UserView {
    id: String,
    email: String,
    name: String,
    role: Role,
    scopes: Vec<Scope>,
    created_at: String,
}

#[derive(Serialize, ToSchema)]
struct Tokens {
    access_token: String,
    refresh_token: String,
    /// Always `Bearer`.
    token_type: &'static str,
    /// In seconds.
    expires_in: i64,
    user: UserView,
}

#[derive(Serialize, ToSchema)]
struct Done {
    message: &'static str,
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        let User { id, email, name, role, created_at, .. } = user;
        Self { id, email, name, role, scopes: role.scopes().into_iter().collect(), created_at }
    }
}

fn tokens(app: &App, user: User) -> Answer<Json<Tokens>> {
    let scopes: Vec<_> = user.role.scopes().into_iter().collect();
    let sign = |kind| app.signer.sign(&user.id, &scopes, kind);
    Ok(Json(Tokens {
        access_token: sign(Kind::Access)?,
        refresh_token: sign(Kind::Refresh)?,
        token_type: "Bearer",
        expires_in: Kind::Access.hours() * 3_600,
        user: user.into(),
    }))
}

/// Adds a user, who is logged in at once.
#[utoipa::path(post, path = "/register", tag = "auth", request_body = Registration,
    responses((status = 201, body = Tokens), (status = 409), (status = 422)))]
async fn register(
    State(app): State<Arc<App>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    Body(new): Body<Registration>,
) -> Answer<(StatusCode, Json<Tokens>)> {
    app.limits.admit_login("registrations", Some(from.ip()))?;
    check(&new.email, &new.password, &new.name)?;
    let password = passwords::hash(new.password).await?;
    let user = app.accounts.add(&new.email, &new.name, password, Role::User).await?;
    let taken = || Problem::new(StatusCode::CONFLICT, "there is a user with this address");
    Ok((StatusCode::CREATED, tokens(&app, user.ok_or_else(taken)?)?))
}

/// The least that an address and a password must be.
pub(crate) fn check(email: &str, password: &str, name: &str) -> Answer<()> {
    let parts = email.split_once('@').filter(|(user, host)| !user.is_empty() && !host.is_empty());
    if parts.is_none() || email.len() > 254 || email.chars().any(char::is_whitespace) {
        return Err(Problem::invalid("email", "not an address"));
    }
    if !(8..=1_024).contains(&password.len()) {
        return Err(Problem::invalid("password", "8 to 1024 bytes are needed"));
    }
    if name.chars().count() > 128 {
        return Err(Problem::invalid("name", "at most 128 characters are allowed"));
    }
    Ok(())
}

/// Gives tokens for a password.
#[utoipa::path(post, path = "/login", tag = "auth", request_body = Login,
    responses((status = 200, body = Tokens), (status = 401), (status = 422), (status = 429)))]
async fn login(
    State(app): State<Arc<App>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    Body(login): Body<Login>,
) -> Answer<Json<Tokens>> {
    app.limits.admit_login(&login.email.to_lowercase(), Some(from.ip()))?;
    let user = app.accounts.by_email(&login.email).await?;
    let hash = user.as_ref().map(|user| user.password.clone());
    let right = passwords::verify(login.password, hash).await?;
    // The same answer, after the same time, for an unknown user and a wrong password.
    let wrong = || Problem::unauthorized("the address or the password is wrong");
    tokens(&app, user.filter(|_| right).ok_or_else(wrong)?)
}

/// Gives new tokens for a refresh token, which is of no use after that.
#[utoipa::path(post, path = "/refresh", tag = "auth", request_body = Refresh,
    responses((status = 200, body = Tokens), (status = 401)))]
async fn refresh(
    State(app): State<Arc<App>>,
    Body(refresh): Body<Refresh>,
) -> Answer<Json<Tokens>> {
    let claims = app.signer.verify(&refresh.refresh_token, Kind::Refresh)?;
    let gone = || Problem::unauthorized("the token is not valid");
    if app.accounts.is_revoked(&claims.jti).await? {
        return Err(gone());
    }
    let user = app.accounts.by_id(&claims.sub).await?.ok_or_else(gone)?;
    app.accounts.revoke(&claims.jti, claims.exp).await?;
    tokens(&app, user)
}

/// Whom the token is of.
#[utoipa::path(get, path = "/me", tag = "auth", responses((status = 200, body = UserView), (status = 401)))]
async fn me(State(app): State<Arc<App>>, who: Identity) -> Answer<Json<UserView>> {
    let subject = who.user()?;
    if let Some(user) = app.accounts.by_id(subject).await? {
        return Ok(Json(user.into()));
    }
    // Somebody whom another identity provider vouches for.
    let role = if who.scopes.contains(&Scope::Admin) { Role::Admin } else { Role::User };
    Ok(Json(UserView {
        id: subject.to_owned(),
        email: String::new(),
        name: String::new(),
        role,
        scopes: who.scopes.iter().copied().collect(),
        created_at: String::new(),
    }))
}

/// Ends the token that it is called with.
#[utoipa::path(post, path = "/logout", tag = "auth", responses((status = 200, body = Done), (status = 401)))]
async fn logout(State(app): State<Arc<App>>, who: Identity) -> Answer<Json<Done>> {
    who.user()?;
    if let Some((jti, expires_at)) = &who.token {
        app.accounts.revoke(jti, *expires_at).await?;
    }
    Ok(Json(Done { message: "logged out" }))
}

#[derive(Deserialize, ToSchema)]
struct Revocation {
    token: String,
}

/// Ends a token, of either kind, of the same user.
#[utoipa::path(post, path = "/revoke", tag = "auth", request_body = Revocation,
    responses((status = 200, body = Done), (status = 401), (status = 403)))]
async fn revoke(
    State(app): State<Arc<App>>,
    who: Identity,
    Body(revocation): Body<Revocation>,
) -> Answer<Json<Done>> {
    let access = app.signer.verify(&revocation.token, Kind::Access);
    let claims = access.or_else(|_| app.signer.verify(&revocation.token, Kind::Refresh))?;
    if who.user()? != claims.sub {
        who.may(Scope::Admin)?;
    }
    app.accounts.revoke(&claims.jti, claims.exp).await?;
    Ok(Json(Done { message: "revoked" }))
}

#[derive(Deserialize, ToSchema)]
struct NewKey {
    name: String,
    #[serde(default)]
    scopes: Vec<Scope>,
}

#[derive(Serialize, ToSchema)]
struct KeyView {
    /// The key itself: told once, and kept by nobody but its user.
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<String>,
    id: String,
    name: String,
    scopes: Vec<Scope>,
    tier: &'static str,
    created_at: String,
}

impl KeyView {
    fn new(key: ApiKey, api_key: Option<String>) -> Self {
        let ApiKey { id, name, scopes, created_at } = key;
        Self { api_key, id, name, scopes, tier: "standard", created_at }
    }
}

/// Makes an API key with no more scopes than whoever asks has.
#[utoipa::path(post, path = "/api-keys", tag = "auth", request_body = NewKey,
    responses((status = 201, body = KeyView), (status = 401), (status = 403), (status = 422)))]
async fn add_key(
    State(app): State<Arc<App>>,
    who: Identity,
    Body(new): Body<NewKey>,
) -> Answer<(StatusCode, Json<KeyView>)> {
    let owner = who.user()?;
    if !(1..=128).contains(&new.name.chars().count()) {
        return Err(Problem::invalid("name", "1 to 128 characters are needed"));
    }
    new.scopes.iter().try_for_each(|scope| who.may(*scope))?;
    let scopes = if new.scopes.is_empty() { vec![Scope::Read] } else { new.scopes };
    let api_key = format!("fog_{}", blake3::Hash::from_bytes(edge::secret()?).to_hex());
    let id = edge::id()?;
    let created_at = edge::now().to_string();
    let key = ApiKey { id, name: new.name, scopes, created_at };
    app.accounts.add_key(&api_key, owner, &key).await?;
    Ok((StatusCode::CREATED, Json(KeyView::new(key, Some(api_key)))))
}

/// The API keys of whoever asks.
#[utoipa::path(get, path = "/api-keys", tag = "auth", responses((status = 200, body = [KeyView]), (status = 401)))]
async fn keys(State(app): State<Arc<App>>, who: Identity) -> Answer<Json<Vec<KeyView>>> {
    let keys = app.accounts.keys(who.user()?).await?;
    Ok(Json(keys.into_iter().map(|key| KeyView::new(key, None)).collect()))
}

/// Ends an API key.
#[utoipa::path(delete, path = "/api-keys/{id}", tag = "auth", params(("id" = String, Path)),
    responses((status = 204), (status = 401), (status = 404)))]
async fn remove_key(
    State(app): State<Arc<App>>,
    who: Identity,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    if app.accounts.remove_key(who.user()?, &id).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Problem::not_found("API key", &id))
}
