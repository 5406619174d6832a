//! Users, API keys and tokens that were revoked, kept in a database of the server's own.

use std::str::FromStr;

use axum::http::StatusCode;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{PgPool, Row, SqlitePool};

use super::{Identity, Role, Scope};
use crate::edge;
use crate::problem::{Answer, Problem};

/// Somebody with a password.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) email: String,
    pub(crate) name: String,
    pub(crate) password: String,
    pub(crate) role: Role,
    pub(crate) created_at: String,
}

/// What is known of an API key; the key itself is not.
#[derive(Clone, Debug)]
pub(crate) struct ApiKey {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) scopes: Vec<Scope>,
    pub(crate) created_at: String,
}

/// Where they are kept.
#[derive(Debug)]
pub(crate) enum Accounts {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// Every statement is understood by both databases.
const SCHEMA: [&str; 3] = [
    "CREATE TABLE IF NOT EXISTS server_users (
         id TEXT PRIMARY KEY, email TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
         password TEXT NOT NULL, role TEXT NOT NULL, created_at TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS server_api_keys (
         id TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, name TEXT NOT NULL,
         scopes TEXT NOT NULL, created_at TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS server_revoked (jti TEXT PRIMARY KEY, expires_at BIGINT NOT NULL)",
];

fn failed(error: &sqlx::Error) -> Problem {
    tracing::error!(%error, "the accounts cannot be reached");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the accounts cannot be reached now")
}

/// The same statement on whichever database it is.
macro_rules! on {
    ($self:expr, $pool:ident => $work:expr) => {
        match $self {
            Accounts::Sqlite($pool) => $work,
            Accounts::Postgres($pool) => $work,
        }
    };
}

macro_rules! user {
    ($row:expr) => {
        User {
            id: $row.get("id"),
            email: $row.get("email"),
            name: $row.get("name"),
            password: $row.get("password"),
            role: named($row.get("role")).unwrap_or(Role::User),
            created_at: $row.get("created_at"),
        }
    };
}

fn named<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::from(text)).ok()
}

fn name<T: serde::Serialize>(value: T) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

fn scopes(text: &str) -> Vec<Scope> {
    text.split(' ').filter_map(named).collect()
}

fn digest(key: &str) -> String {
    blake3::hash(key.as_bytes()).to_hex().to_string()
}

impl Accounts {
    /// Opens the accounts that belong to this store: its own PostgreSQL, or a file beside its file.
    pub(crate) async fn open(database: &str) -> anyhow::Result<Self> {
        let accounts = if database.starts_with("postgres") {
            Self::Postgres(PgPool::connect(database).await?)
        } else {
            let path = database.strip_prefix("sqlite:").map(|path| path.trim_start_matches("//"));
            let path = path.map(|path| path.split('?').next().unwrap_or_default());
            let options = match path {
                Some(path) => SqliteConnectOptions::from_str(&format!("sqlite:{path}.accounts"))?,
                None => SqliteConnectOptions::from_str("sqlite::memory:")?,
            };
            let options = options.create_if_missing(true).synchronous(SqliteSynchronous::Full);
            // One connection: few write here, and a database in memory is its connection's.
            let pool = SqlitePoolOptions::new().max_connections(1).idle_timeout(None);
            Self::Sqlite(pool.max_lifetime(None).connect_with(options).await?)
        };
        for statement in SCHEMA {
            on!(&accounts, pool => {
                sqlx::query(statement).execute(pool).await?;
            });
        }
        Ok(accounts)
    }

    /// Adds a user; none if there is one with this address.
    pub(crate) async fn add(
        &self,
        email: &str,
        name_of_user: &str,
        password: String,
        role: Role,
    ) -> Answer<Option<User>> {
        let user = User {
            id: edge::id()?,
            email: email.to_lowercase(),
            name: name_of_user.to_owned(),
            password,
            role,
            created_at: edge::now().to_string(),
        };
        let sql = "INSERT INTO server_users (id, email, name, password, role, created_at)
                   VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (email) DO NOTHING";
        let added = on!(self, pool => sqlx::query(sql)
            .bind(&user.id)
            .bind(&user.email)
            .bind(&user.name)
            .bind(&user.password)
            .bind(name(user.role))
            .bind(&user.created_at)
            .execute(pool)
            .await
            .map(|done| done.rows_affected()));
        Ok((added.map_err(|error| failed(&error))? > 0).then_some(user))
    }

    pub(crate) async fn by_email(&self, email: &str) -> Answer<Option<User>> {
        let sql = "SELECT * FROM server_users WHERE email = $1";
        self.user(sql, &email.to_lowercase()).await
    }

    pub(crate) async fn by_id(&self, id: &str) -> Answer<Option<User>> {
        self.user("SELECT * FROM server_users WHERE id = $1", id).await
    }

    async fn user(&self, sql: &'static str, value: &str) -> Answer<Option<User>> {
        let found = on!(self, pool => sqlx::query(sql)
            .bind(value)
            .fetch_optional(pool)
            .await
            .map(|row| row.map(|row| user!(row))));
        found.map_err(|error| failed(&error))
    }

    pub(crate) async fn revoke(&self, jti: &str, expires_at: i64) -> Answer<()> {
        let sql = "INSERT INTO server_revoked (jti, expires_at) VALUES ($1, $2)
                   ON CONFLICT (jti) DO NOTHING";
        let done = on!(self, pool => sqlx::query(sql).bind(jti).bind(expires_at).execute(pool).await.map(|_| ()));
        done.map_err(|error| failed(&error))?;
        // What is over by itself need not be remembered.
        let sql = "DELETE FROM server_revoked WHERE expires_at < $1";
        let now = edge::seconds();
        let done = on!(self, pool => sqlx::query(sql).bind(now).execute(pool).await.map(|_| ()));
        done.map_err(|error| failed(&error))
    }

    pub(crate) async fn is_revoked(&self, jti: &str) -> Answer<bool> {
        let sql = "SELECT jti FROM server_revoked WHERE jti = $1";
        let found = on!(self, pool => sqlx::query(sql).bind(jti).fetch_optional(pool).await.map(|row| row.is_some()));
        found.map_err(|error| failed(&error))
    }

    /// Keeps a key by its digest alone.
    pub(crate) async fn add_key(&self, key: &str, owner: &str, kept: &ApiKey) -> Answer<()> {
        let sql = "INSERT INTO server_api_keys (id, hash, owner, name, scopes, created_at)
                   VALUES ($1, $2, $3, $4, $5, $6)";
        let scopes: Vec<_> = kept.scopes.iter().map(name).collect();
        let done = on!(self, pool => sqlx::query(sql)
            .bind(&kept.id)
            .bind(digest(key))
            .bind(owner)
            .bind(&kept.name)
            .bind(scopes.join(" "))
            .bind(&kept.created_at)
            .execute(pool)
            .await
            .map(|_| ()));
        done.map_err(|error| failed(&error))
    }

    pub(crate) async fn by_key(&self, key: &str) -> Answer<Identity> {
        // Looked up by digest: how long that takes says nothing about the key.
        let sql = "SELECT owner, scopes FROM server_api_keys WHERE hash = $1";
        let found = on!(self, pool => sqlx::query(sql)
        .bind(digest(key))
        .fetch_optional(pool)
        .await
        .map(|row| row.map(|row| Identity {
            subject: Some(row.get("owner")),
            scopes: scopes(row.get("scopes")).into_iter().collect(),
            token: None,
        })));
        let found = found.map_err(|error| failed(&error))?;
        found.ok_or_else(|| Problem::unauthorized("the API key is not valid"))
    }

    pub(crate) async fn keys(&self, owner: &str) -> Answer<Vec<ApiKey>> {
        let sql = "SELECT id, name, scopes, created_at FROM server_api_keys WHERE owner = $1
                   ORDER BY created_at, id LIMIT 1000";
        let found = on!(self, pool => sqlx::query(sql).bind(owner).fetch_all(pool).await.map(|rows| {
            rows.iter()
                .map(|row| ApiKey {
                    id: row.get("id"),
                    name: row.get("name"),
                    scopes: scopes(row.get("scopes")),
                    created_at: row.get("created_at"),
                })
                .collect()
        }));
        found.map_err(|error| failed(&error))
    }

    pub(crate) async fn remove_key(&self, owner: &str, id: &str) -> Answer<bool> {
        let sql = "DELETE FROM server_api_keys WHERE owner = $1 AND id = $2";
        let done = on!(self, pool => sqlx::query(sql)
            .bind(owner)
            .bind(id)
            .execute(pool)
            .await
            .map(|done| done.rows_affected()));
        Ok(done.map_err(|error| failed(&error))? > 0)
    }

    pub(crate) async fn close(&self) {
        on!(self, pool => pool.close().await);
    }
}
