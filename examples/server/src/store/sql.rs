//! The statements, which SQLite and PostgreSQL understand alike, and how rows are read.

use std::fmt::Display;
use std::str::FromStr;

use fogcore::time::Timestamp;
use fogcore::{Error, ErrorKind, Result};

use crate::auth::{Role, Scope, Scopes};
use crate::http::quota::Tier;

/// An error of the database: nobody knows whether something happened.
pub(super) fn unavailable(error: sqlx::Error) -> Error {
    Error::new(ErrorKind::Unavailable, error)
}

/// An error while the tables were made or checked.
pub(super) fn unmigrated(error: sqlx::migrate::MigrateError) -> Error {
    Error::new(ErrorKind::Unavailable, error).context("cannot prepare the server's tables")
}

/// A row that was not written by us.
fn damaged(column: &str, why: impl Display) -> Error {
    Error::new(ErrorKind::Internal, format!("the column {column} is damaged: {why}"))
}

pub(super) fn time(column: &str, micros: i64) -> Result<Timestamp> {
    Timestamp::from_micros(micros).map_err(|error| damaged(column, error))
}

pub(super) fn parsed<T>(column: &str, text: &str) -> Result<T>
where
    T: FromStr,
    T::Err: Display,
{
    text.parse().map_err(|error| damaged(column, error))
}

pub(super) fn role(text: &str) -> Result<Role> {
    Role::named(text).ok_or_else(|| damaged("role", text))
}

pub(super) fn tier(text: &str) -> Result<Tier> {
    Tier::named(text).ok_or_else(|| damaged("tier", text))
}

/// A scope that a later version gives out allows nothing here.
pub(super) fn scopes(text: &str) -> Scopes {
    text.split_whitespace().filter_map(Scope::named).collect()
}

/// Implements the store for a type with a field `pool`. The databases differ in how a connection is
/// made and in nothing else.
macro_rules! identity_store {
    ($store:ty, $row:ty) => {
        use fogcore::id::AccountId;
        use fogcore::time::Timestamp;
        use sqlx::Row;

        use crate::auth::Role;
        use crate::store::sql::{parsed, role, scopes, tier, time, unavailable};
        use crate::store::{
            IdentityStore, KeyRecord, RefreshToken, Revocation, Session, User,
        };

        fn text(row: &$row, column: &str) -> fogcore::Result<String> {
            row.try_get(column).map_err(unavailable)
        }

        fn moment(row: &$row, column: &str) -> fogcore::Result<Timestamp> {
            time(column, row.try_get(column).map_err(unavailable)?)
        }

        fn maybe(row: &$row, column: &str) -> fogcore::Result<Option<Timestamp>> {
            let micros: Option<i64> = row.try_get(column).map_err(unavailable)?;
            micros.map(|micros| time(column, micros)).transpose()
        }

        fn user(row: &$row) -> fogcore::Result<User> {
            Ok(User {
                id: parsed("id", &text(row, "id")?)?,
                email: text(row, "email")?,
                name: text(row, "name")?,
                password_hash: text(row, "password_hash")?,
                role: role(&text(row, "role")?)?,
                tier: tier(&text(row, "tier")?)?,
                created_at: moment(row, "created_at")?,
            })
        }

        fn session(row: &$row) -> fogcore::Result<Session> {
            Ok(Session {
                id: text(row, "id")?,
                user: parsed("user_id", &text(row, "user_id")?)?,
                created_at: moment(row, "created_at")?,
                expires_at: moment(row, "expires_at")?,
                ended_at: maybe(row, "ended_at")?,
            })
        }

        fn refresh(row: &$row) -> fogcore::Result<RefreshToken> {
            Ok(RefreshToken {
                digest: row.try_get("digest").map_err(unavailable)?,
                session: text(row, "session_id")?,
                expires_at: moment(row, "expires_at")?,
                used_at: maybe(row, "used_at")?,
            })
        }

        fn revocation(row: &$row) -> fogcore::Result<Revocation> {
            Ok(Revocation {
                place: row.try_get("place").map_err(unavailable)?,
                name: text(row, "name")?,
                until: moment(row, "until")?,
            })
        }

        fn key(row: &$row) -> fogcore::Result<KeyRecord> {
            Ok(KeyRecord {
                id: text(row, "id")?,
                digest: row.try_get("digest").map_err(unavailable)?,
                account: parsed("account", &text(row, "account")?)?,
                name: text(row, "name")?,
                role: role(&text(row, "role")?)?,
                scopes: scopes(&text(row, "scopes")?),
                tier: tier(&text(row, "tier")?)?,
                created_at: moment(row, "created_at")?,
                revoked_at: maybe(row, "revoked_at")?,
            })
        }

        #[async_trait::async_trait]
        impl IdentityStore for $store {
            async fn add_user(&self, user: &User) -> fogcore::Result<bool> {
                let done = sqlx::query(
                    "INSERT INTO server_users
                         (id, email, name, password_hash, role, tier, created_at)
                     VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
                )
                .bind(user.id.as_str())
                .bind(&user.email)
                .bind(&user.name)
                .bind(&user.password_hash)
                .bind(user.role.name())
                .bind(user.tier.name())
                .bind(user.created_at.as_micros())
                .execute(&self.pool)
                .await;
                Ok(done.map_err(unavailable)?.rows_affected() > 0)
            }

            async fn user(&self, id: &str) -> fogcore::Result<Option<User>> {
                let query = sqlx::query("SELECT * FROM server_users WHERE id = $1").bind(id);
                let row = query.fetch_optional(&self.pool).await.map_err(unavailable)?;
                row.as_ref().map(user).transpose()
            }

            async fn user_by_email(&self, email: &str) -> fogcore::Result<Option<User>> {
                let query = sqlx::query("SELECT * FROM server_users WHERE email = $1").bind(email);
                let row = query.fetch_optional(&self.pool).await.map_err(unavailable)?;
                row.as_ref().map(user).transpose()
            }

            async fn set_role(&self, id: &str, role: Role) -> fogcore::Result<bool> {
                let query = sqlx::query("UPDATE server_users SET role = $2 WHERE id = $1");
                let done = query.bind(id).bind(role.name()).execute(&self.pool).await;
                Ok(done.map_err(unavailable)?.rows_affected() > 0)
            }

            async fn add_session(&self, session: &Session) -> fogcore::Result<()> {
                let done = sqlx::query(
                    "INSERT INTO server_sessions (id, user_id, created_at, expires_at)
                     VALUES ($1, $2, $3, $4)",
                )
                .bind(&session.id)
                .bind(session.user.as_str())
                .bind(session.created_at.as_micros())
                .bind(session.expires_at.as_micros())
                .execute(&self.pool)
                .await;
                done.map(drop).map_err(unavailable)
            }

            async fn session(&self, id: &str) -> fogcore::Result<Option<Session>> {
                let query = sqlx::query("SELECT * FROM server_sessions WHERE id = $1").bind(id);
                let row = query.fetch_optional(&self.pool).await.map_err(unavailable)?;
                row.as_ref().map(session).transpose()
            }

            async fn open_sessions(
                &self,
                user: &str,
                now: Timestamp,
            ) -> fogcore::Result<Vec<Session>> {
                let rows = sqlx::query(
                    "SELECT * FROM server_sessions
                     WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $2 LIMIT 1000",
                )
                .bind(user)
                .bind(now.as_micros())
                .fetch_all(&self.pool)
                .await;
                rows.map_err(unavailable)?.iter().map(session).collect()
            }

            async fn end_session(&self, id: &str, now: Timestamp) -> fogcore::Result<()> {
                let done = sqlx::query(
                    "UPDATE server_sessions SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL",
                )
                .bind(id)
                .bind(now.as_micros())
                .execute(&self.pool)
                .await;
                done.map(drop).map_err(unavailable)
            }

            async fn add_refresh(&self, token: &RefreshToken) -> fogcore::Result<()> {
                let done = sqlx::query(
                    "INSERT INTO server_refresh_tokens (digest, session_id, expires_at)
                     VALUES ($1, $2, $3)",
                )
                .bind(&token.digest)
                .bind(&token.session)
                .bind(token.expires_at.as_micros())
                .execute(&self.pool)
                .await;
                done.map(drop).map_err(unavailable)
            }

            async fn use_refresh(
                &self,
                digest: &[u8],
                now: Timestamp,
            ) -> fogcore::Result<Option<RefreshToken>> {
                let row = sqlx::query(
                    "UPDATE server_refresh_tokens SET used_at = $2
                     WHERE digest = $1 AND used_at IS NULL RETURNING *",
                )
                .bind(digest)
                .bind(now.as_micros())
                .fetch_optional(&self.pool)
                .await;
                row.map_err(unavailable)?.as_ref().map(refresh).transpose()
            }

            async fn refresh(&self, digest: &[u8]) -> fogcore::Result<Option<RefreshToken>> {
                let query = sqlx::query("SELECT * FROM server_refresh_tokens WHERE digest = $1");
                let row = query.bind(digest).fetch_optional(&self.pool).await;
                row.map_err(unavailable)?.as_ref().map(refresh).transpose()
            }

            async fn revoke(&self, name: &str, until: Timestamp) -> fogcore::Result<()> {
                let done = sqlx::query(
                    "INSERT INTO server_revocations (name, until) VALUES ($1, $2)
                     ON CONFLICT DO NOTHING",
                )
                .bind(name)
                .bind(until.as_micros())
                .execute(&self.pool)
                .await;
                done.map(drop).map_err(unavailable)
            }

            async fn revocations(
                &self,
                after: i64,
                limit: i64,
            ) -> fogcore::Result<Vec<Revocation>> {
                let rows = sqlx::query(
                    "SELECT * FROM server_revocations WHERE place > $1 ORDER BY place LIMIT $2",
                )
                .bind(after)
                .bind(limit)
                .fetch_all(&self.pool)
                .await;
                rows.map_err(unavailable)?.iter().map(revocation).collect()
            }

            async fn add_key(&self, key: &KeyRecord) -> fogcore::Result<()> {
                let done = sqlx::query(
                    "INSERT INTO server_api_keys
                         (id, digest, account, name, role, scopes, tier, created_at)
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                )
                .bind(&key.id)
                .bind(&key.digest)
                .bind(key.account.as_str())
                .bind(&key.name)
                .bind(key.role.name())
                .bind(key.scopes.to_string())
                .bind(key.tier.name())
                .bind(key.created_at.as_micros())
                .execute(&self.pool)
                .await;
                done.map(drop).map_err(unavailable)
            }

            async fn key(&self, id: &str) -> fogcore::Result<Option<KeyRecord>> {
                let query = sqlx::query("SELECT * FROM server_api_keys WHERE id = $1").bind(id);
                let row = query.fetch_optional(&self.pool).await.map_err(unavailable)?;
                row.as_ref().map(key).transpose()
            }

            async fn keys(&self, account: &AccountId) -> fogcore::Result<Vec<KeyRecord>> {
                let rows = sqlx::query(
                    "SELECT * FROM server_api_keys WHERE account = $1
                     ORDER BY created_at, id LIMIT 1000",
                )
                .bind(account.as_str())
                .fetch_all(&self.pool)
                .await;
                rows.map_err(unavailable)?.iter().map(key).collect()
            }

            async fn revoke_key(&self, id: &str, now: Timestamp) -> fogcore::Result<bool> {
                let done = sqlx::query(
                    "UPDATE server_api_keys SET revoked_at = $2
                     WHERE id = $1 AND revoked_at IS NULL",
                )
                .bind(id)
                .bind(now.as_micros())
                .execute(&self.pool)
                .await;
                Ok(done.map_err(unavailable)?.rows_affected() > 0)
            }

            async fn purge(&self, now: Timestamp) -> fogcore::Result<()> {
                for statement in [
                    "DELETE FROM server_refresh_tokens WHERE expires_at <= $1",
                    "DELETE FROM server_revocations WHERE until <= $1",
                    "DELETE FROM server_sessions WHERE expires_at <= $1",
                ] {
                    let done = sqlx::query(statement).bind(now.as_micros()).execute(&self.pool).await;
                    done.map_err(unavailable)?;
                }
                Ok(())
            }

            async fn ping(&self) -> fogcore::Result<()> {
                let done = sqlx::query("SELECT 1").execute(&self.pool).await;
                done.map(drop).map_err(unavailable)
            }

            async fn close(&self) {
                self.pool.close().await;
            }
        }
    };
}

pub(super) use identity_store;
