//! Who asks, and what they may: users with passwords, tokens that they get for them, and API keys.

mod accounts;
mod limits;
mod passwords;
pub(crate) mod routes;
mod tokens;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::{HeaderMap, header, request::Parts};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(crate) use self::accounts::Accounts;
pub(crate) use self::limits::Limits;
pub(crate) use self::passwords::hash as hash_password;
pub(crate) use self::tokens::Signer;
use crate::app::App;
use crate::problem::{Answer, Problem};

/// What somebody may do.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scope {
    Read,
    Write,
    Admin,
}

impl Scope {
    pub(crate) const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];
}

/// What somebody is to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    User,
    Operator,
    Admin,
}

impl Role {
    pub(crate) fn scopes(self) -> BTreeSet<Scope> {
        let most = if self == Self::Admin { 3 } else { 2 };
        Scope::ALL.into_iter().take(most).collect()
    }
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// A user's id, an API key's owner, or whom another identity provider vouches for; none for
    /// somebody on loopback who did not say.
    pub(crate) subject: Option<String>,
    pub(crate) scopes: BTreeSet<Scope>,
    /// The token, so that it can be revoked.
    pub(crate) token: Option<(String, i64)>,
}

impl Identity {
    fn anybody() -> Self {
        Self { subject: None, scopes: Scope::ALL.into(), token: None }
    }

    /// Refuses who may not.
    pub(crate) fn may(&self, scope: Scope) -> Answer<()> {
        if self.scopes.contains(&scope) {
            return Ok(());
        }
        let why = format!("the scope {scope:?} is needed").to_lowercase();
        Err(Problem::new(axum::http::StatusCode::FORBIDDEN, why))
    }

    /// Whose name stands for a user where the document wants one.
    pub(crate) fn user(&self) -> Answer<&str> {
        let missing = || Problem::unauthorized("a token or an API key is needed");
        self.subject.as_deref().ok_or_else(missing)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Identity {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Answer<Self> {
        let missing = || Problem::unauthorized("a token or an API key is needed");
        parts.extensions.get::<Self>().cloned().ok_or_else(missing)
    }
}

/// Finds out who asks, and refuses who may not; routes that are open let everybody in on loopback.
pub(crate) async fn identify(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let query = request.uri().query().and_then(token_in_query);
    let identity = match app.identity(request.headers(), query.as_deref()).await {
        Ok(Some(identity)) => identity,
        Ok(None) if app.open => Identity::anybody(),
        Ok(None) => {
            return Problem::unauthorized("a token or an API key is needed").into_response();
        }
        Err(problem) => return problem.into_response(),
    };
    let needed = if request.method().is_safe() { Scope::Read } else { Scope::Write };
    if let Err(problem) = identity.may(needed) {
        return problem.into_response();
    }
    if let Err(problem) = app.limits.admit(&identity, address(&request)) {
        return problem.into_response();
    }
    request.extensions_mut().insert(identity);
    next.run(request).await
}

/// Where the request came from.
pub(crate) fn address(request: &Request) -> Option<IpAddr> {
    let from = request.extensions().get::<ConnectInfo<SocketAddr>>();
    from.map(|ConnectInfo(address)| address.ip())
}

/// Browsers cannot send headers with a WebSocket.
fn token_in_query(query: &str) -> Option<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(name, _)| *name == "token").map(|(_, value)| value.to_owned()).next()
}

impl App {
    /// Who the headers say that asks, if they say; an error if that is wrong.
    pub(crate) async fn identity(
        &self,
        headers: &HeaderMap,
        token: Option<&str>,
    ) -> Answer<Option<Identity>> {
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        if let Some(key) = text(header::HeaderName::from_static("x-api-key")) {
            return self.accounts.by_key(key).await.map(Some);
        }
        let bearer = match text(header::AUTHORIZATION) {
            Some(value) => {
                let token = value.split_once(' ').filter(|(s, _)| s.eq_ignore_ascii_case("bearer"));
                let (_, token) =
                    token.ok_or_else(|| Problem::unauthorized("not a bearer token"))?;
                Some(token.trim())
            }
            None => token,
        };
        let Some(token) = bearer else { return Ok(None) };
        let claims = self.signer.verify(token, tokens::Kind::Access)?;
        if self.accounts.is_revoked(&claims.jti).await? {
            return Err(Problem::unauthorized("the token was revoked"));
        }
        Ok(Some(Identity {
            scopes: claims.scope.iter().copied().collect(),
            token: Some((claims.jti, claims.exp)),
            subject: Some(claims.sub),
        }))
    }
}
