-- The ledger in full. Accounts and transfers have short numbers of their own, so that the rows
-- that are written most, and the indexes on them, are small. Zero and "none" are NULL.

ALTER TABLE accounts RENAME TO accounts_1;
ALTER TABLE transfers RENAME TO transfers_1;

CREATE TABLE accounts (
    no           INTEGER PRIMARY KEY, -- the order of opening, without gaps
    id           TEXT    NOT NULL UNIQUE,
    asset        TEXT    NOT NULL,
    scale        INTEGER NOT NULL,
    flags        INTEGER NOT NULL,    -- as opened: 2 and 4 the limits, 8 history, 32 closed
    reference    BLOB,
    user_data_64 INTEGER,
    user_data_32 INTEGER,
    opened_at    INTEGER NOT NULL
) STRICT;

CREATE INDEX accounts_reference ON accounts (reference, id) WHERE reference IS NOT NULL;
CREATE INDEX accounts_user_data_64 ON accounts (user_data_64, id) WHERE user_data_64 IS NOT NULL;
CREATE INDEX accounts_user_data_32 ON accounts (user_data_32, id) WHERE user_data_32 IS NOT NULL;

-- What of an account changes with every transfer, apart from what never does.
CREATE TABLE counters (
    no              INTEGER PRIMARY KEY REFERENCES accounts,
    closed          INTEGER NOT NULL,
    debits_pending  BLOB    NOT NULL,
    debits_posted   BLOB    NOT NULL,
    credits_pending BLOB    NOT NULL,
    credits_posted  BLOB    NOT NULL
) STRICT;

CREATE TABLE transfers (
    seq          INTEGER PRIMARY KEY, -- the journal's order, without gaps
    id           BLOB    NOT NULL UNIQUE,
    type         INTEGER NOT NULL,    -- 0 direct, 1 hold, 2 post, 3 void, 4 expire
    debit        INTEGER NOT NULL REFERENCES accounts, -- of what ends a hold, the hold's
    credit       INTEGER NOT NULL REFERENCES accounts,
    amount       BLOB,                -- of direct, hold and post
    purpose      TEXT    NOT NULL,
    at           INTEGER NOT NULL,
    hold         INTEGER REFERENCES transfers, -- the hold that this ends
    hold_state   INTEGER,             -- of hold: 0 pending, 1 posted, 2 voided, 3 expired
    flags        INTEGER,
    timeout      INTEGER,             -- seconds, of hold
    expires_at   INTEGER,             -- of hold with a timeout
    reference    BLOB,
    user_data_64 INTEGER,
    user_data_32 INTEGER,
    -- What accounts with history had after it: debits pending, debits posted, credits pending and
    -- credits posted, one behind another. In here, because a row of its own for each side, at the
    -- account's place, would cost more than all the rest of a transfer.
    debit_after  BLOB,
    credit_after BLOB
) STRICT;

-- An index ends with the row's seq, so each of these is in the journal's order.
CREATE INDEX transfers_reference ON transfers (reference) WHERE reference IS NOT NULL;
CREATE INDEX transfers_user_data_64 ON transfers (user_data_64) WHERE user_data_64 IS NOT NULL;
CREATE INDEX transfers_user_data_32 ON transfers (user_data_32) WHERE user_data_32 IS NOT NULL;
CREATE INDEX transfers_expiring ON transfers (expires_at, at, id)
    WHERE hold_state = 0 AND expires_at IS NOT NULL;

-- Which transfers an account is in. A transfer's two rows come to any two places of this table, and
-- to write those pages would cost more than all the rest of it: so they are put in for many
-- transfers at once, in order. Those behind the one in ledger_indexed are not in it yet.
CREATE TABLE postings (
    account INTEGER NOT NULL REFERENCES accounts,
    seq     INTEGER NOT NULL REFERENCES transfers,
    PRIMARY KEY (account, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE ledger_indexed (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    seq  INTEGER NOT NULL
) STRICT;

-- Ids that failed and stay so.
CREATE TABLE failed_transfers (
    seq  INTEGER PRIMARY KEY, -- their order, without gaps
    id   BLOB    NOT NULL UNIQUE,
    code TEXT    NOT NULL,
    at   INTEGER NOT NULL
) STRICT;

-- The chain: what each transaction added, in order, and the digest over it.
CREATE TABLE ledger_links (
    writer    INTEGER NOT NULL,
    number    INTEGER NOT NULL,
    accounts  INTEGER NOT NULL,
    transfers INTEGER NOT NULL,
    failed    INTEGER NOT NULL,
    digest    BLOB    NOT NULL,
    PRIMARY KEY (writer, number)
) STRICT, WITHOUT ROWID;

INSERT INTO accounts (no, id, asset, scale, flags, opened_at)
    SELECT row_number() OVER (ORDER BY rowid), id, asset, scale,
        2 * debits_limited + 4 * credits_limited, opened_at
    FROM accounts_1;
INSERT INTO counters
    SELECT a.no, 0, o.debits_pending, o.debits_posted, o.credits_pending, o.credits_posted
    FROM accounts_1 o JOIN accounts a ON a.id = o.id;

-- The old table has no order: by time, and what ends a hold behind it.
CREATE TEMP TABLE journal_1 (seq INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE);
INSERT INTO journal_1
    SELECT row_number() OVER (
        ORDER BY max(t.at, ifnull(h.at, t.at)), t.hold IS NOT NULL, t.id), t.id
    FROM transfers_1 t LEFT JOIN transfers_1 h ON h.id = t.hold;
INSERT INTO transfers
    (seq, id, type, debit, credit, amount, purpose, at, hold, hold_state, reference)
    SELECT j.seq, t.id,
        CASE t.type WHEN 'direct' THEN 0 WHEN 'hold' THEN 1 WHEN 'post' THEN 2
                    WHEN 'void' THEN 3 END,
        d.no, c.no, t.amount, t.purpose, t.at,
        (SELECT seq FROM journal_1 WHERE id = t.hold),
        CASE t.hold_state WHEN 'pending' THEN 0 WHEN 'posted' THEN 1 WHEN 'voided' THEN 2 END,
        t.reference
    FROM journal_1 j
    JOIN transfers_1 t ON t.id = j.id
    LEFT JOIN transfers_1 h ON h.id = t.hold
    JOIN accounts d ON d.id = ifnull(t.debit, h.debit)
    JOIN accounts c ON c.id = ifnull(t.credit, h.credit)
    ORDER BY j.seq;

INSERT INTO postings
    SELECT debit, seq FROM transfers UNION ALL SELECT credit, seq FROM transfers;
INSERT INTO ledger_indexed SELECT 1, ifnull(max(seq), 0) FROM transfers;

DROP TABLE journal_1;
DROP TABLE transfers_1;
DROP TABLE accounts_1;
