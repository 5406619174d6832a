-- Amounts are unsigned 128-bit numbers: 16 bytes, most significant first, so that they sort.
-- Times are microseconds since 1970. Ids of 128 bits are 16 bytes.

CREATE TABLE nodes (
    id     TEXT NOT NULL PRIMARY KEY,
    kind   TEXT NOT NULL,
    owner  TEXT,
    region TEXT NOT NULL,
    record TEXT NOT NULL -- JSON
) STRICT;

CREATE TABLE accounts (
    id              TEXT    NOT NULL PRIMARY KEY,
    asset           TEXT    NOT NULL,
    scale           INTEGER NOT NULL,
    debits_limited  INTEGER NOT NULL,
    credits_limited INTEGER NOT NULL,
    debits_pending  BLOB    NOT NULL,
    debits_posted   BLOB    NOT NULL,
    credits_pending BLOB    NOT NULL,
    credits_posted  BLOB    NOT NULL,
    opened_at       INTEGER NOT NULL
) STRICT;

CREATE TABLE transfers (
    id         BLOB    NOT NULL PRIMARY KEY,
    type       TEXT    NOT NULL, -- direct, hold, post, void
    debit      TEXT,             -- of direct and hold
    credit     TEXT,             -- of direct and hold
    amount     BLOB,             -- of direct, hold and post
    hold       BLOB,             -- the hold that a post or void ends
    hold_state TEXT,             -- of hold: pending, posted, voided
    purpose    TEXT    NOT NULL,
    reference  BLOB,
    at         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The task itself is JSON; only what is searched or added up has a column of its own, because each
-- column of a row has a price whenever the row is read or written.
CREATE TABLE tasks (
    seq             INTEGER PRIMARY KEY, -- the order of submission
    id              BLOB    NOT NULL UNIQUE,
    class           INTEGER NOT NULL,    -- tasks that the same nodes can run
    priority        INTEGER NOT NULL,
    kind            TEXT    NOT NULL,
    payer           TEXT,
    idempotency_key TEXT,
    deadline        INTEGER,
    cpu_cores       INTEGER NOT NULL,
    memory_mib      INTEGER NOT NULL,
    storage_mib     INTEGER NOT NULL,
    gpus            INTEGER NOT NULL,
    state           TEXT    NOT NULL,
    ready           INTEGER NOT NULL,    -- while queued: 1 once ready_at has come
    ready_at        INTEGER NOT NULL,
    node            TEXT,                -- who holds it, or did it
    expires_at      INTEGER,             -- of the lease
    task            TEXT    NOT NULL     -- JSON
) STRICT;

CREATE UNIQUE INDEX tasks_named ON tasks (ifnull(payer, ''), idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX tasks_ready ON tasks (class, priority DESC, seq)
    WHERE state = 'queued' AND ready = 1;
CREATE INDEX tasks_delayed ON tasks (ready_at) WHERE state = 'queued' AND ready = 0;
CREATE INDEX tasks_deadline ON tasks (deadline)
    WHERE state = 'queued' AND deadline IS NOT NULL;
CREATE INDEX tasks_expiring ON tasks (expires_at) WHERE state = 'leased';
-- All that a node's load is made of, so that the rows need not be read.
CREATE INDEX tasks_held ON tasks (node, cpu_cores, memory_mib, storage_mib, gpus)
    WHERE state = 'leased';

-- Apart from the tasks, because every change of a row writes all of it.
CREATE TABLE payloads (seq INTEGER PRIMARY KEY REFERENCES tasks, payload BLOB NOT NULL) STRICT;
CREATE TABLE results (seq INTEGER PRIMARY KEY REFERENCES tasks, result BLOB NOT NULL) STRICT;
CREATE TABLE explanations (
    seq         INTEGER PRIMARY KEY REFERENCES tasks,
    explanation TEXT NOT NULL -- JSON
) STRICT;

CREATE TABLE tallies (
    node        TEXT    NOT NULL PRIMARY KEY,
    succeeded   INTEGER NOT NULL,
    failed      INTEGER NOT NULL,
    lost        INTEGER NOT NULL,
    released    INTEGER NOT NULL,
    busy_micros INTEGER NOT NULL,
    earned      BLOB    NOT NULL
) STRICT;
