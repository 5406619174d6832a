-- Times are microseconds since 1970, digests BLAKE3, scopes words with spaces between them.

CREATE TABLE server_users (
    id            TEXT PRIMARY KEY,
    email         TEXT NOT NULL UNIQUE,
    name          TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    role          TEXT NOT NULL,
    tier          TEXT NOT NULL,
    created_at    INTEGER NOT NULL
) STRICT;

-- A login: what its tokens have in common. Its end is for good.
CREATE TABLE server_sessions (
    id         TEXT PRIMARY KEY,
    user_id    TEXT NOT NULL REFERENCES server_users (id),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    ended_at   INTEGER
) STRICT;
CREATE INDEX server_sessions_by_user ON server_sessions (user_id);
CREATE INDEX server_sessions_by_end ON server_sessions (expires_at);

-- A refresh token is good for one use; used again, it ends its session.
CREATE TABLE server_refresh_tokens (
    digest     BLOB PRIMARY KEY,
    session_id TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at    INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX server_refresh_tokens_by_end ON server_refresh_tokens (expires_at);

CREATE TABLE server_revocations (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    name  TEXT NOT NULL UNIQUE,
    until INTEGER NOT NULL
) STRICT;
CREATE INDEX server_revocations_by_end ON server_revocations (until);

CREATE TABLE server_api_keys (
    id         TEXT PRIMARY KEY,
    digest     BLOB NOT NULL,
    account    TEXT NOT NULL,
    name       TEXT NOT NULL,
    role       TEXT NOT NULL,
    scopes     TEXT NOT NULL,
    tier       TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;
CREATE INDEX server_api_keys_by_account ON server_api_keys (account, created_at);
