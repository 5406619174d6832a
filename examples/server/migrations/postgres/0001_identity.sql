-- Times are microseconds since 1970, digests BLAKE3, scopes words with spaces between them.

CREATE TABLE server_users (
    id            TEXT PRIMARY KEY,
    email         TEXT NOT NULL UNIQUE,
    name          TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    role          TEXT NOT NULL,
    tier          TEXT NOT NULL,
    created_at    BIGINT NOT NULL
);

-- A login: what its tokens have in common. Its end is for good.
CREATE TABLE server_sessions (
    id         TEXT PRIMARY KEY,
    user_id    TEXT NOT NULL REFERENCES server_users (id),
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    ended_at   BIGINT
);
CREATE INDEX server_sessions_by_user ON server_sessions (user_id);
CREATE INDEX server_sessions_by_end ON server_sessions (expires_at);

-- A refresh token is good for one use; used again, it ends its session.
CREATE TABLE server_refresh_tokens (
    digest     BYTEA PRIMARY KEY,
    session_id TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at    BIGINT
);
CREATE INDEX server_refresh_tokens_by_end ON server_refresh_tokens (expires_at);

CREATE TABLE server_revocations (
    place BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name  TEXT NOT NULL UNIQUE,
    until BIGINT NOT NULL
);
CREATE INDEX server_revocations_by_end ON server_revocations (until);

CREATE TABLE server_api_keys (
    id         TEXT PRIMARY KEY,
    digest     BYTEA NOT NULL,
    account    TEXT NOT NULL,
    name       TEXT NOT NULL,
    role       TEXT NOT NULL,
    scopes     TEXT NOT NULL,
    tier       TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX server_api_keys_by_account ON server_api_keys (account, created_at);
