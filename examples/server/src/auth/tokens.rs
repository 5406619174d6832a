//! Signed tokens: HS256 and nothing else.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::Scope;
use crate::edge;
use crate::problem::{Answer, Problem};

/// What a token is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    #[default]
    Access,
    Refresh,
}

impl Kind {
    /// How long it lasts, in hours.
    pub(crate) const fn hours(self) -> i64 {
        match self {
            Self::Access => 24,
            Self::Refresh => 7 * 24,
        }
    }
}

/// What a token says. Tokens of another identity provider may leave out what has a default.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Claims {
    pub(crate) sub: String,
    #[serde(default)]
    pub(crate) iat: i64,
    pub(crate) exp: i64,
    pub(crate) jti: String,
    #[serde(default)]
    pub(crate) scope: Vec<Scope>,
    #[serde(default)]
    pub(crate) kind: Kind,
    #[serde(default)]
    pub(crate) mfa_verified: bool,
    #[serde(default = "standard")]
    pub(crate) rate_limit_tier: String,
}

fn standard() -> String {
    "standard".to_owned()
}

/// Makes and reads tokens.
pub(crate) struct Signer {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer(…)")
    }
}

impl Signer {
    pub(crate) fn new(secret: &[u8]) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_required_spec_claims(&["exp", "sub"]);
        validation.leeway = 0;
        Self {
            encoding: EncodingKey::from_secret(secret),
            decoding: DecodingKey::from_secret(secret),
            validation,
        }
    }

    pub(crate) fn sign(&self, subject: &str, scopes: &[Scope], kind: Kind) -> Answer<String> {
        let now = edge::seconds();
        let claims = Claims {
            sub: subject.to_owned(),
            iat: now,
            exp: now + kind.hours() * 3_600,
            jti: edge::id()?,
            scope: scopes.to_vec(),
            kind,
            mfa_verified: false,
            rate_limit_tier: standard(),
        };
        let signed = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding);
        signed.map_err(|error| {
            tracing::error!(%error, "a token cannot be signed");
            Problem::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "internal error")
        })
    }

    pub(crate) fn verify(&self, token: &str, kind: Kind) -> Answer<Claims> {
        // One answer for all that is wrong with a token: nothing is to be learned from it.
        let wrong = || Problem::unauthorized("the token is not valid");
        let claims: Claims = jsonwebtoken::decode(token, &self.decoding, &self.validation)
            .map_err(|_| wrong())?
            .claims;
        if claims.kind == kind { Ok(claims) } else { Err(wrong()) }
    }
}
