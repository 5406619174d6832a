//! What goes over the wire about identities.
#![expect(missing_debug_implementations, reason = "they hold passwords, tokens and keys")]

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::identity::{Role, Scope};
use super::service::Granted;
use crate::http::quota::Tier;
use crate::store::{KeyRecord, User};

/// Somebody who wants to be a user.
#[derive(Deserialize, ToSchema)]
pub struct Registration {
    /// The address to log in with.
    #[schema(example = "ada@example.org", max_length = 254)]
    pub email: String,
    /// 10 to 256 characters.
    #[schema(example = "correct horse battery", min_length = 10, max_length = 256)]
    pub password: String,
    /// What people call you.
    #[serde(default)]
    #[schema(max_length = 128)]
    pub name: String,
}

/// Somebody who says to be a user.
#[derive(Deserialize, ToSchema)]
pub struct Login {
    /// The address.
    #[schema(example = "ada@example.org")]
    pub email: String,
    /// The password.
    #[schema(example = "correct horse battery")]
    pub password: String,
}

/// A refresh token; without one, the access token in the header is what counts.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct Refresh {
    /// The token from the last login or refresh. It is good for one use.
    pub refresh_token: Option<String>,
}

/// What is to be revoked; without one, the token in the header is.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct Revoke {
    /// An access or a refresh token.
    pub token: Option<String>,
}

/// What a login gives.
#[derive(Serialize, ToSchema)]
pub struct TokenAnswer {
    /// Goes into the header `Authorization: Bearer …`.
    pub access_token: String,
    /// For a new access token, once.
    pub refresh_token: String,
    /// `Bearer`.
    pub token_type: &'static str,
    /// How long the access token lasts, in seconds.
    pub expires_in: u64,
    /// Whose they are.
    pub user: UserAnswer,
}

impl From<Granted> for TokenAnswer {
    fn from(granted: Granted) -> Self {
        Self {
            access_token: granted.access,
            refresh_token: granted.refresh,
            token_type: "Bearer",
            expires_in: granted.expires_in.as_secs(),
            user: granted.user.into(),
        }
    }
}

/// A user.
#[derive(Serialize, ToSchema)]
pub struct UserAnswer {
    /// The user's id, which is also the name of the user's account.
    pub id: String,
    /// The address to log in with.
    pub email: String,
    /// What people call them.
    pub name: String,
    /// What they are.
    pub role: Role,
    /// How much they may ask.
    pub tier: Tier,
    /// Since when, in RFC 3339.
    #[schema(format = DateTime)]
    pub created_at: String,
}

impl From<User> for UserAnswer {
    fn from(user: User) -> Self {
        Self {
            id: user.id.to_string(),
            email: user.email,
            name: user.name,
            role: user.role,
            tier: user.tier,
            created_at: user.created_at.to_string(),
        }
    }
}

/// Whoever asks.
#[derive(Serialize, ToSchema)]
pub struct Me {
    /// The account that is spent from.
    pub account_id: String,
    /// What they are.
    pub role: Role,
    /// What the credential allows.
    pub scopes: Vec<Scope>,
    /// How much may be asked with it.
    pub tier: Tier,
    /// The user; none for somebody whom another identity provider vouches for.
    pub user: Option<UserAnswer>,
}

/// Another role.
#[derive(Deserialize, ToSchema)]
pub struct NewRole {
    /// What the user is from now on.
    pub role: Role,
}

/// An API key that is wanted.
#[derive(Deserialize, ToSchema)]
pub struct NewKey {
    /// What you call it.
    #[schema(example = "laptop", min_length = 1, max_length = 128)]
    pub name: String,
    /// What it allows, and no more than you may. Default: to read.
    #[serde(default = "only_read")]
    pub scopes: Vec<Scope>,
    /// How much may be asked with it. Default: as much as you may.
    #[serde(default)]
    pub tier: Option<Tier>,
}

fn only_read() -> Vec<Scope> {
    vec![Scope::Read]
}

/// A new API key.
#[derive(Serialize, ToSchema)]
pub struct KeyMade {
    /// The key, for the header `X-API-Key`. It is not shown again.
    pub api_key: String,
    /// What the server knows of it.
    #[serde(flatten)]
    pub key: KeyAnswer,
}

/// An API key.
#[derive(Serialize, ToSchema)]
pub struct KeyAnswer {
    /// Its id.
    pub id: String,
    /// What its owner calls it.
    pub name: String,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// How much may be asked with it.
    pub tier: Tier,
    /// Since when, in RFC 3339.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// Until when, if it was revoked.
    #[schema(format = DateTime)]
    pub revoked_at: Option<String>,
}

impl From<KeyRecord> for KeyAnswer {
    fn from(key: KeyRecord) -> Self {
        Self {
            id: key.id,
            name: key.name,
            scopes: key.scopes.iter().collect(),
            tier: key.tier,
            created_at: key.created_at.to_string(),
            revoked_at: key.revoked_at.map(|at| at.to_string()),
        }
    }
}

/// The API keys of an account.
#[derive(Serialize, ToSchema)]
pub struct Keys {
    /// The oldest first.
    pub api_keys: Vec<KeyAnswer>,
}

/// That something was done.
#[derive(Serialize, ToSchema)]
pub struct Done {
    /// What.
    pub message: String,
}

impl Done {
    /// That this was done.
    #[must_use]
    pub fn told(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}
