-- Zones, sessions, and what peers left in sessions. The records are JSON; columns are what is searched.
CREATE TABLE zones (
    number INTEGER PRIMARY KEY AUTOINCREMENT, -- never given out twice
    id     TEXT    NOT NULL UNIQUE,
    served INTEGER NOT NULL,                  -- players that joined its sessions
    record TEXT    NOT NULL
) STRICT;

CREATE TABLE sessions (
    number    INTEGER PRIMARY KEY AUTOINCREMENT,
    id        TEXT    NOT NULL UNIQUE,
    host      TEXT    NOT NULL,
    zone      TEXT    NOT NULL,
    status    TEXT    NOT NULL,
    open      INTEGER NOT NULL,
    active_at INTEGER NOT NULL, -- microseconds since 1970
    record    TEXT    NOT NULL
) STRICT;
CREATE INDEX sessions_host ON sessions (host, number);
CREATE INDEX sessions_zone ON sessions (zone, number);
CREATE INDEX sessions_idle ON sessions (active_at) WHERE open = 1;

CREATE TABLE mail (
    session TEXT    NOT NULL,
    peer    TEXT    NOT NULL,
    used_at INTEGER NOT NULL,
    record  TEXT    NOT NULL,
    PRIMARY KEY (session, peer)
) STRICT, WITHOUT ROWID;
CREATE INDEX mail_used ON mail (used_at);
