-- Zones, sessions, and what peers left in sessions. The records are JSON; columns are what is searched.
CREATE TABLE zones (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id     text COLLATE "C" NOT NULL UNIQUE,
    served bigint NOT NULL, -- players that joined its sessions
    record text   NOT NULL
);

CREATE TABLE sessions (
    number    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id        text COLLATE "C" NOT NULL UNIQUE,
    host      text COLLATE "C" NOT NULL,
    zone      text COLLATE "C" NOT NULL,
    status    text    NOT NULL,
    open      boolean NOT NULL,
    active_at bigint  NOT NULL, -- microseconds since 1970
    record    text    NOT NULL
);
CREATE INDEX sessions_host ON sessions (host, number);
CREATE INDEX sessions_zone ON sessions (zone, number);
CREATE INDEX sessions_idle ON sessions (active_at) WHERE open;

CREATE TABLE mail (
    session text COLLATE "C" NOT NULL,
    peer    text COLLATE "C" NOT NULL,
    used_at bigint NOT NULL,
    record  text   NOT NULL,
    PRIMARY KEY (session, peer)
);
CREATE INDEX mail_used ON mail (used_at);
