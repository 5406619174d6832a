-- Amounts are unsigned 128-bit numbers of base units. Times are microseconds since 1970: exact, and
-- the same in every store. Ids that people choose sort by their bytes, as everywhere else.

CREATE TABLE nodes (
    id     text COLLATE "C" PRIMARY KEY,
    kind   text NOT NULL,
    owner  text,
    region text NOT NULL,
    record text NOT NULL -- JSON, as text: jsonb cannot hold every character
);

-- Places in the journal: a transaction takes a block, and numbers its rows within it. The first
-- block is taken here, so that the last value is always one that was given out.
CREATE SEQUENCE journal_blocks AS bigint MINVALUE 1 CACHE 1 NO CYCLE;
SELECT nextval('journal_blocks');

CREATE TABLE accounts (
    id              text COLLATE "C" PRIMARY KEY,
    place           bigint   NOT NULL UNIQUE, -- of its opening
    asset           text     NOT NULL,
    scale           smallint NOT NULL,
    debits_limited  boolean  NOT NULL,
    credits_limited boolean  NOT NULL,
    opened_closed   boolean  NOT NULL,
    closed          boolean  NOT NULL,
    history         boolean  NOT NULL,
    reference       uuid,
    user_data_64    bigint   NOT NULL, -- unsigned: the same 64 bits
    user_data_32    bigint   NOT NULL,
    debits_pending  numeric(39, 0) NOT NULL CHECK (debits_pending >= 0),
    debits_posted   numeric(39, 0) NOT NULL CHECK (debits_posted >= 0),
    credits_pending numeric(39, 0) NOT NULL CHECK (credits_pending >= 0),
    credits_posted  numeric(39, 0) NOT NULL CHECK (credits_posted >= 0),
    opened_at       bigint   NOT NULL
) WITH (fillfactor = 70); -- room to change counters in place, without touching an index

CREATE INDEX accounts_reference ON accounts (reference, id) WHERE reference IS NOT NULL;
CREATE INDEX accounts_user_data_64 ON accounts (user_data_64, id) WHERE user_data_64 <> 0;
CREATE INDEX accounts_user_data_32 ON accounts (user_data_32, id) WHERE user_data_32 <> 0;

-- Transfers, and the ids that failed for good: in one table, so that an id is one or the other,
-- whatever two processes do at the same time.
CREATE TABLE transfers (
    id           uuid   PRIMARY KEY,
    place        bigint NOT NULL UNIQUE,
    type         text   NOT NULL, -- direct, hold, post, void, expire; failed
    at           bigint NOT NULL,
    code         text,            -- of failed: why
    debit        text COLLATE "C", -- of what ends a hold: the hold's
    credit       text COLLATE "C",
    amount       numeric(39, 0) CHECK (amount >= 0), -- of direct, hold and post
    hold         uuid,            -- the hold that it ends
    hold_state   text,            -- of hold: pending, posted, voided, expired
    expires_at   bigint,          -- of a hold with a timeout
    purpose      text,
    flags        integer NOT NULL,
    timeout      bigint  NOT NULL, -- seconds
    reference    uuid,
    user_data_64 bigint  NOT NULL,
    user_data_32 bigint  NOT NULL,
    CHECK ((type = 'failed') = (code IS NOT NULL)),
    CHECK (type = 'failed' OR (debit IS NOT NULL AND credit IS NOT NULL AND purpose IS NOT NULL))
);

CREATE INDEX transfers_debit ON transfers (debit, place) WHERE debit IS NOT NULL;
CREATE INDEX transfers_credit ON transfers (credit, place) WHERE credit IS NOT NULL;
CREATE INDEX transfers_reference ON transfers (reference, place) WHERE reference IS NOT NULL;
CREATE INDEX transfers_user_data_64 ON transfers (user_data_64, place) WHERE user_data_64 <> 0;
CREATE INDEX transfers_user_data_32 ON transfers (user_data_32, place) WHERE user_data_32 <> 0;
CREATE INDEX transfers_due ON transfers (expires_at, at, id)
    WHERE hold_state = 'pending' AND expires_at IS NOT NULL;

-- What accounts with history had after each transfer.
CREATE TABLE account_balances (
    account         text COLLATE "C" NOT NULL,
    place           bigint NOT NULL, -- of the transfer
    transfer        uuid   NOT NULL,
    at              bigint NOT NULL,
    debits_pending  numeric(39, 0) NOT NULL,
    debits_posted   numeric(39, 0) NOT NULL,
    credits_pending numeric(39, 0) NOT NULL,
    credits_posted  numeric(39, 0) NOT NULL,
    PRIMARY KEY (account, place)
);

-- The links of the writers' chains: link, and the block of the rows that it is made of.
CREATE TABLE ledger_links (
    writer    integer NOT NULL,
    number    bigint  NOT NULL,
    block     bigint  NOT NULL UNIQUE,
    accounts  bigint  NOT NULL,
    transfers bigint  NOT NULL,
    failed    bigint  NOT NULL,
    digest    bytea   NOT NULL CHECK (length(digest) = 32),
    PRIMARY KEY (writer, number)
);

-- The task itself is JSON; only what is searched or added up has a column of its own, because each
-- column of a row has a price whenever the row is read or written.
CREATE TABLE tasks (
    seq             bigserial PRIMARY KEY, -- the order of submission
    id              uuid     NOT NULL UNIQUE,
    class           bigint   NOT NULL,     -- tasks that the same nodes can run
    priority        smallint NOT NULL,
    kind            text     NOT NULL,
    payer           text,
    idempotency_key text,
    deadline        bigint,
    cpu_cores       bigint   NOT NULL,
    memory_mib      bigint   NOT NULL,
    storage_mib     bigint   NOT NULL,
    gpus            bigint   NOT NULL,
    state           text     NOT NULL,
    ready           boolean  NOT NULL,     -- while queued: whether ready_at has come
    ready_at        bigint   NOT NULL,
    node            text,                  -- who holds it, or did it
    expires_at      bigint,                -- of the lease
    task            text     NOT NULL      -- JSON
) WITH (autovacuum_vacuum_scale_factor = 0.02);

CREATE UNIQUE INDEX tasks_named ON tasks (coalesce(payer, ''), idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX tasks_ready ON tasks (class, priority DESC, seq) WHERE state = 'queued' AND ready;
CREATE INDEX tasks_delayed ON tasks (ready_at) WHERE state = 'queued' AND NOT ready;
CREATE INDEX tasks_deadline ON tasks (deadline)
    WHERE state = 'queued' AND deadline IS NOT NULL;
CREATE INDEX tasks_expiring ON tasks (expires_at) WHERE state = 'leased';
CREATE INDEX tasks_held ON tasks (node) INCLUDE (cpu_cores, memory_mib, storage_mib, gpus)
    WHERE state = 'leased';

-- Apart from the tasks, because every change of a row writes all of it.
CREATE TABLE payloads (seq bigint PRIMARY KEY, payload bytea NOT NULL);
CREATE TABLE results (seq bigint PRIMARY KEY, result bytea NOT NULL);
CREATE TABLE explanations (
    seq         bigint PRIMARY KEY,
    explanation text NOT NULL -- JSON
);

CREATE TABLE tallies (
    node        text COLLATE "C" PRIMARY KEY,
    succeeded   bigint NOT NULL,
    failed      bigint NOT NULL,
    lost        bigint NOT NULL,
    released    bigint NOT NULL,
    busy_micros bigint NOT NULL,
    earned      numeric(39, 0) NOT NULL
);
