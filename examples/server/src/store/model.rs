//! What is kept.

use fogcore::id::AccountId;
use fogcore::time::Timestamp;

use crate::auth::{Role, Scopes};
use crate::http::quota::Tier;

/// Somebody with a password.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Its id, which is also the name of its account.
    pub id: AccountId,
    /// The address to log in with.
    pub email: String,
    /// What people call it, up to 128 characters.
    pub name: String,
    /// The password's hash, with its salt and its parameters.
    pub password_hash: String,
    /// What it is.
    pub role: Role,
    /// How much it may ask.
    pub tier: Tier,
    /// Since when.
    pub created_at: Timestamp,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User")
            .field("id", &self.id)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// A login, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub user: AccountId,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// When it was ended before.
    pub ended_at: Option<Timestamp>,
}

impl Session {
    /// Whether its tokens count.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.ended_at.is_none() && now < self.expires_at
    }
}

/// A refresh token, without its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshToken {
    /// The digest of its text.
    pub digest: Vec<u8>,
    /// The session that it goes on with.
    pub session: String,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it was used.
    pub used_at: Option<Timestamp>,
}

/// Something that counts no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Its place in the order in which they were made.
    pub place: i64,
    /// Of what.
    pub name: String,
    /// Until when it has to be remembered: then it would have ended by itself.
    pub until: Timestamp,
}

/// An API key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// By which it is found.
    pub id: String,
    /// The digest of its secret.
    pub digest: Vec<u8>,
    /// Whose it is.
    pub account: AccountId,
    /// What its owner calls it.
    pub name: String,
    /// What its owner was when it was made.
    pub role: Role,
    /// What it allows.
    pub scopes: Scopes,
    /// How much may be asked with it.
    pub tier: Tier,
    /// Since when.
    pub created_at: Timestamp,
    /// Until when, if it was revoked.
    pub revoked_at: Option<Timestamp>,
}
