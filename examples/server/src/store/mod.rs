//! What the server itself keeps: users, sessions, refresh tokens, revocations and API keys. In the
//! fog's own database, in tables of its own, which begin with `server_`.
//!
//! Each method is one atomic unit, and has reached the disk when it answers. Who may do what is
//! decided elsewhere.

mod model;
mod postgres;
mod sql;
mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;
use fogcore::id::AccountId;
use fogcore::time::Timestamp;
use fogcore::{Error, Result};

pub use self::model::{KeyRecord, RefreshToken, Revocation, Session, User};
use self::{postgres::PostgresIdentities, sqlite::SqliteIdentities};
use crate::auth::Role;

/// Keeps who may ask.
#[async_trait]
pub trait IdentityStore: Send + Sync + std::fmt::Debug {
    /// Adds a user; false if the address has one.
    async fn add_user(&self, user: &User) -> Result<bool>;
    /// The user with this id.
    async fn user(&self, id: &str) -> Result<Option<User>>;
    /// The user with this address.
    async fn user_by_email(&self, email: &str) -> Result<Option<User>>;
    /// Gives a user another role; false if there is no such user.
    async fn set_role(&self, id: &str, role: Role) -> Result<bool>;

    /// Begins a session.
    async fn add_session(&self, session: &Session) -> Result<()>;
    /// The session with this id.
    async fn session(&self, id: &str) -> Result<Option<Session>>;
    /// The sessions of a user that have not ended by `now`, at most 1,000.
    async fn open_sessions(&self, user: &str, now: Timestamp) -> Result<Vec<Session>>;
    /// Ends a session.
    async fn end_session(&self, id: &str, now: Timestamp) -> Result<()>;

    /// Keeps a refresh token.
    async fn add_refresh(&self, token: &RefreshToken) -> Result<()>;
    /// Uses up a refresh token: gives it if nobody used it before, in one step.
    async fn use_refresh(&self, digest: &[u8], now: Timestamp) -> Result<Option<RefreshToken>>;
    /// The refresh token with this digest, used or not.
    async fn refresh(&self, digest: &[u8]) -> Result<Option<RefreshToken>>;

    /// Revokes; again, it changes nothing.
    async fn revoke(&self, name: &str, until: Timestamp) -> Result<()>;
    /// At most `limit` revocations behind a place, in order.
    async fn revocations(&self, after: i64, limit: i64) -> Result<Vec<Revocation>>;

    /// Keeps an API key.
    async fn add_key(&self, key: &KeyRecord) -> Result<()>;
    /// The API key with this id, revoked or not.
    async fn key(&self, id: &str) -> Result<Option<KeyRecord>>;
    /// The API keys of an account, the oldest first, at most 1,000.
    async fn keys(&self, account: &AccountId) -> Result<Vec<KeyRecord>>;
    /// Revokes an API key; false if there is none that counted.
    async fn revoke_key(&self, id: &str, now: Timestamp) -> Result<bool>;

    /// Forgets what has ended by itself before `now`.
    async fn purge(&self, now: Timestamp) -> Result<()>;
    /// Whether the database answers.
    async fn ping(&self) -> Result<()>;
    /// Waits for what is under way, and closes.
    async fn close(&self);
}

/// Opens the server's tables in the database that the fog's URL names; they are made if need be.
///
/// # Errors
/// InvalidInput for a URL of another kind; what the database says.
pub async fn open(url: &str) -> Result<Arc<dyn IdentityStore>> {
    if url == "memory:" {
        return Ok(Arc::new(SqliteIdentities::in_memory().await?));
    }
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        // The options behind it are the fog's.
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        return Ok(Arc::new(SqliteIdentities::open(path).await?));
    }
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return Ok(Arc::new(PostgresIdentities::open(url).await?));
    }
    let known = "is none of memory:, sqlite:PATH and postgres://USER:PASSWORD@HOST/DATABASE";
    Err(Error::invalid("store url", known))
}

#[cfg(test)]
mod tests;
