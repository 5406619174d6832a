//! Access tokens: JSON Web Tokens, signed with HMAC-SHA-256 and nothing else.
//!
//! The one algorithm is all that is compiled in, so a token cannot talk the server into another one.
//! Time comes from the fog's clock, not from the library's.

use std::time::Duration;

use fogcore::time::Timestamp;
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{self, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Deserializer, Serialize};
use sha2::Sha256;

use super::Secret;
use super::identity::{Role, Scope, Scopes};
use crate::http::quota::Tier;

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN: usize = 8 << 10;

/// How far the clock of another identity provider may be ahead.
const LEEWAY: Duration = Duration::from_secs(60);

/// What a token says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who it is for.
    pub sub: String,
    /// When it was made, in seconds since 1970.
    #[serde(default)]
    pub iat: i64,
    /// When it ends, in seconds since 1970.
    pub exp: i64,
    /// From when it counts, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// Its own name, by which it can be revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// What it allows: a list, or words with spaces between them (RFC 8693, §4.2).
    #[serde(default, deserialize_with = "scopes")]
    pub scope: Vec<String>,
    /// What its subject is.
    #[serde(default)]
    pub role: Role,
    /// How much its subject may ask.
    #[serde(default)]
    pub rate_limit_tier: Tier,
    /// Whether a second factor was checked.
    #[serde(default)]
    pub mfa_verified: bool,
    /// The session it belongs to; none if another identity provider made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
}

impl Claims {
    /// What it allows. Scopes that the server does not know allow nothing.
    #[must_use]
    pub fn scopes(&self) -> Scopes {
        self.scope.iter().filter_map(|name| Scope::named(name)).collect()
    }

    /// When it ends.
    #[must_use]
    pub fn ends_at(&self) -> Timestamp {
        self.exp
            .checked_mul(1_000_000)
            .and_then(|micros| Timestamp::from_micros(micros).ok())
            .unwrap_or_else(|| Timestamp::UNIX_EPOCH.saturating_add(Duration::MAX))
    }
}

fn scopes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Told {
        Words(String),
        List(Vec<String>),
    }
    Ok(match Told::deserialize(deserializer)? {
        Told::Words(words) => words.split_whitespace().map(str::to_owned).collect(),
        Told::List(list) => list,
    })
}

/// Why a token is none. Nobody outside is told more than that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not signed with the server's secret, not HS256, or no token at all.
    #[error("not a token of ours: {0}")]
    NotOurs(String),
    /// Its time is over, or has not begun.
    #[error("its time is over, or has not begun")]
    NotNow,
}

/// Makes tokens and reads them.
#[derive(Clone)]
pub struct Tokens {
    sign: EncodingKey,
    verify: DecodingKey,
    validation: Validation,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Tokens {
    /// Tokens that are signed with this secret.
    #[must_use]
    pub fn new(secret: &Secret) -> Self {
        // Another instance in this process has installed the same.
        let _ = HMAC_SHA_256.install_default();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.set_required_spec_claims(&["exp", "sub"]);
        Self {
            sign: EncodingKey::from_secret(secret.as_bytes()),
            verify: DecodingKey::from_secret(secret.as_bytes()),
            validation,
        }
    }

    /// Signs the claims.
    ///
    /// # Errors
    /// Never, as far as we know.
    pub fn make(&self, claims: &Claims) -> Result<String, TokenError> {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &self.sign)
            .map_err(|error| TokenError::NotOurs(error.to_string()))
    }

    /// What a token says, if it is one and counts now.
    ///
    /// # Errors
    /// Why it does not.
    pub fn read(&self, token: &str, now: Timestamp) -> Result<Claims, TokenError> {
        let claims = self.read_whenever(token)?;
        let seconds = now.as_micros().div_euclid(1_000_000);
        let early = i64::try_from(LEEWAY.as_secs()).unwrap_or_default();
        let begins = claims.nbf.unwrap_or(i64::MIN).max(claims.iat);
        // Its end is exact: what has ended is not used by anybody whose clock is right.
        if claims.exp <= seconds || begins > seconds.saturating_add(early) {
            return Err(TokenError::NotNow);
        }
        Ok(claims)
    }

    /// What a token says, if it is one.
    ///
    /// # Errors
    /// That it is none.
    pub fn read_whenever(&self, token: &str) -> Result<Claims, TokenError> {
        let not_ours = |why: String| TokenError::NotOurs(why);
        if token.len() > MAX_TOKEN {
            return Err(not_ours(format!("{} bytes", token.len())));
        }
        let read = jsonwebtoken::decode::<Claims>(token, &self.verify, &self.validation);
        read.map(|data| data.claims).map_err(|error| not_ours(error.to_string()))
    }
}

/// The only algorithm there is here.
static HMAC_SHA_256: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| Ok(Box::new(Key::new(*algorithm, key.as_bytes())?)),
    verifier_factory: |algorithm, key| Ok(Box::new(Key::new(*algorithm, key.try_get_as_bytes()?)?)),
    key_utils: KeyUtils::new_unimplemented(),
};

struct Key(Hmac<Sha256>);

impl Key {
    fn new(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, Error> {
        if algorithm != Algorithm::HS256 {
            return Err(ErrorKind::InvalidAlgorithm.into());
        }
        let key = Hmac::new_from_slice(bytes).map_err(|_| ErrorKind::InvalidKeyFormat)?;
        Ok(Self(key))
    }
}

impl Signer<Vec<u8>> for Key {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(self.0.clone().chain_update(message).finalize().into_bytes().to_vec())
    }
}

impl Verifier<Vec<u8>> for Key {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        // In constant time.
        let all = self.0.clone().chain_update(message);
        all.verify_slice(signature).map_err(signature::Error::from_source)
    }
}

impl JwtSigner for Key {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl JwtVerifier for Key {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn tokens(byte: u8) -> Tokens {
        Tokens::new(&Secret::new([byte; 32]).unwrap())
    }

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn claims() -> Claims {
        let at = now().as_micros() / 1_000_000;
        Claims {
            sub: "ada".into(),
            iat: at,
            exp: at + 60,
            scope: vec!["read".into(), "fly".into()],
            ..Claims::default()
        }
    }

    fn crafted(header: &str, claims: &Claims) -> String {
        let claims = serde_json::to_vec(claims).unwrap();
        format!("{}.{}.", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn what_was_signed_is_read_until_it_ends() {
        let token = tokens(1).make(&claims()).unwrap();
        let read = tokens(1).read(&token, now()).unwrap();
        assert_eq!(read, claims());
        assert_eq!(read.scopes().to_string(), "read");
        let end = now().saturating_add(Duration::from_secs(60));
        assert_eq!(tokens(1).read(&token, end), Err(TokenError::NotNow));
        let before = now().saturating_sub(Duration::from_secs(120));
        assert_eq!(tokens(1).read(&token, before), Err(TokenError::NotNow));
    }

    #[test]
    fn other_keys_algorithms_and_changes_are_refused() {
        let ours = tokens(1);
        let token = ours.make(&claims()).unwrap();
        let [header, body, signature]: [&str; 3] =
            token.split('.').collect::<Vec<_>>().try_into().unwrap();
        let more = Claims { scope: vec!["admin".into()], ..claims() };
        let more = crafted(r#"{"alg":"HS256"}"#, &more);
        let forged = [
            tokens(2).make(&claims()).unwrap(),
            crafted(r#"{"alg":"none","typ":"JWT"}"#, &claims()),
            crafted(r#"{"alg":"None"}"#, &claims()),
            format!("{}{signature}", crafted(r#"{"alg":"HS512"}"#, &claims())),
            format!("{}{signature}", crafted(r#"{"alg":"RS256"}"#, &claims())),
            format!("{more}{signature}"),
            format!("{header}.{body}."),
            format!("{header}.{body}"),
            format!("{header}.{body}.{}", signature.to_lowercase()),
            String::new(),
            "...".to_owned(),
            "a".repeat(MAX_TOKEN + 1),
        ];
        for token in forged {
            let read = ours.read(&token, now());
            assert!(matches!(read, Err(TokenError::NotOurs(_))), "{token}: {read:?}");
        }
    }

    #[test]
    fn another_provider_may_write_scopes_as_words() {
        let text = r#"{"sub":"ada","exp":99,"scope":"read write","aud":"them","groups":["x"]}"#;
        let claims: Claims = serde_json::from_str(text).unwrap();
        assert_eq!(claims.scopes().to_string(), "read write");
        assert_eq!((claims.role, claims.sid), (Role::User, None));
    }
}
