//! The door: who asks, whether they asked too much, and whether they may come in at all.
//!
//! In this order, because whoever guesses credentials is counted, too. Behind the door, each handler
//! says which scope it needs.

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::client::{self, Peer, counted};
use super::family::Family;
use super::problem::{Kind, Problem};
use super::quota::{Key, Standing, Tier};
use crate::app::App;
use crate::auth::Identity;
use crate::auth::identity::Credential;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// From where the request comes, as far as the server knows.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub IpAddr);

/// Lets requests in, or does not.
pub async fn admit(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().copied();
    // Without one, nobody is near: requests that tests make without a socket.
    let peer = peer.unwrap_or(Peer(([0, 0, 0, 0], 0).into()));
    let address = client::address(peer, request.headers(), &app.config.trusted_proxies);
    request.extensions_mut().insert(ClientAddress(address));

    let known = identify(&app, request.uri().path(), request.headers(), peer).await;
    let (key, tier) = match &known {
        Ok(Some(identity)) => (counted_as(identity, address), identity.tier),
        _ => (Key::Address(counted(address)), Tier::default()),
    };
    let standing =
        app.config.rate_limit.then(|| app.quotas.take(&key, tier, app.fog.clock().elapsed()));
    let mut response = match enter(&app, &mut request, known, standing.as_ref()) {
        Ok(()) => {
            let is_safe = request.method().is_safe();
            let response = next.run(request).await;
            if !is_safe {
                app.kept.changed();
            }
            response
        }
        Err(problem) => problem.into_response(),
    };
    if let Some(standing) = standing {
        tell(response.headers_mut(), tier, standing);
    }
    response
}

/// Those on this machine without a token are counted by address: they are not one person.
fn counted_as(identity: &Identity, address: IpAddr) -> Key {
    match &identity.credential {
        Credential::Local => Key::Address(counted(address)),
        Credential::Key(id) => Key::Subject(format!("key:{id}")),
        Credential::Token { .. } => Key::Subject(identity.account.to_string()),
    }
}

fn enter(
    app: &App,
    request: &mut Request,
    known: Result<Option<Identity>, Problem>,
    standing: Option<&Standing>,
) -> Result<(), Problem> {
    if let Some(wait) = standing.and_then(|standing| standing.retry_after) {
        return Err(Problem { retry_after: Some(wait), ..Problem::new(Kind::TooMany) });
    }
    let identity = known?;
    let (method, path) = (request.method(), request.uri().path());
    let Some(identity) = identity else {
        let is_public = is_public(method, path, app.config.open_registration);
        return if is_public { Ok(()) } else { Err(Problem::new(Kind::Unauthenticated)) };
    };
    must_be_verified(app, &identity, path)?;
    request.extensions_mut().insert(identity);
    Ok(())
}

/// Where a second factor is asked for, only a token that says so does; without one, somebody can
/// still log out.
fn must_be_verified(app: &App, identity: &Identity, path: &str) -> Result<(), Problem> {
    let is_verified = match &identity.credential {
        Credential::Token { claims, .. } => claims.mfa_verified,
        Credential::Key(_) | Credential::Local => true,
    };
    if app.config.require_mfa && !is_verified && !path.starts_with("/v1/auth/") {
        return Err(Problem::forbidden("a second factor must have been checked"));
    }
    Ok(())
}

/// What needs no credential anywhere. Everything else does, also what is not there.
fn is_public(method: &Method, path: &str, open_registration: bool) -> bool {
    match path {
        "/health" | "/openapi.json" | "/docs" => true,
        // Sockets ask for themselves: a browser cannot send the header.
        "/ws" | "/api/signaling/ws" | "/api/v1/signaling/ws" => true,
        "/v1/auth/login" | "/v1/auth/refresh" | "/api/v1/auth/token" | "/api/v1/auth/refresh" => {
            method == Method::POST
        }
        "/v1/auth/register" => method == Method::POST && open_registration,
        _ => path.starts_with("/docs/"),
    }
}

/// Who asks: nobody, if there is no credential and this is not a place where none is needed.
async fn identify(
    app: &App,
    path: &str,
    headers: &HeaderMap,
    peer: Peer,
) -> Result<Option<Identity>, Problem> {
    if let Some(key) = headers.get(X_API_KEY) {
        let key = key.to_str().map_err(|_| Problem::new(Kind::Unauthenticated))?;
        return app.auth.identify_key(key).await.map(Some);
    }
    if headers.contains_key(AUTHORIZATION) {
        let token = bearer(headers).ok_or_else(|| Problem::new(Kind::Unauthenticated))?;
        return app.auth.identify(token).map(Some);
    }
    Ok(is_local(app, path, headers, peer).then(Identity::local))
}

/// Whether the request needs no credential, because it comes from this machine and its documents ask
/// for none. A page from elsewhere that a browser here shows is not from here: it says where it is
/// from (`Origin`), or under which name it found us (`Host`).
fn is_local(app: &App, path: &str, headers: &HeaderMap, peer: Peer) -> bool {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?"));
    let is_near = |authority: &str| {
        let host = authority.rsplit_once(':').map_or(authority, |(host, port)| {
            if port.bytes().all(|byte| byte.is_ascii_digit()) { host } else { authority }
        });
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    let is_from_here = |origin: &str| {
        let named = app.config.cors_origins.iter().any(|allowed| allowed == origin);
        named || origin.split_once("://").is_some_and(|(_, authority)| is_near(authority))
    };
    app.config.open
        && Family::of(path).may_be_open
        && peer.0.ip().to_canonical().is_loopback()
        && !client::is_forwarded(headers)
        && text(HOST).is_none_or(is_near)
        && text(ORIGIN).is_none_or(is_from_here)
}

/// The token in the header `Authorization`, if there is one.
#[must_use]
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn tell(headers: &mut HeaderMap, tier: Tier, standing: Standing) {
    headers.insert("x-ratelimit-tier", HeaderValue::from_static(tier.name()));
    headers.insert("x-ratelimit-limit", standing.limit.into());
    headers.insert("x-ratelimit-remaining", standing.remaining.into());
    headers.insert("x-ratelimit-reset", whole_seconds(standing.reset).into());
}

fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
