-- Fewer bytes and fewer pages for each transfer.

-- Zero is NULL.
ALTER TABLE counters RENAME TO counters_2;
CREATE TABLE counters (
    no              INTEGER PRIMARY KEY REFERENCES accounts,
    closed          INTEGER NOT NULL,
    debits_pending  BLOB,
    debits_posted   BLOB,
    credits_pending BLOB,
    credits_posted  BLOB
) STRICT;
INSERT INTO counters
    SELECT no, closed, nullif(debits_pending, zeroblob(16)), nullif(debits_posted, zeroblob(16)),
        nullif(credits_pending, zeroblob(16)), nullif(credits_posted, zeroblob(16))
    FROM counters_2;
DROP TABLE counters_2;

-- Which transfers an account is in. A transfer's two sides belong to any two places of a list by
-- account, and to write those pages would cost more than all the rest of it: so there is a list for
-- each block of many transfers, all of it written at once, at the end of the table. Those behind the
-- last block are in none yet; what was in the one list before is put into blocks by the next change.
DROP TABLE postings;
DROP TABLE ledger_indexed;
CREATE TABLE posting_blocks (
    last INTEGER PRIMARY KEY -- the block's last transfer
) STRICT;
CREATE TABLE postings (
    block   INTEGER NOT NULL REFERENCES posting_blocks,
    account INTEGER NOT NULL REFERENCES accounts,
    last    INTEGER NOT NULL, -- of these transfers
    seqs    TEXT    NOT NULL, -- a JSON array, in order; 512 of them at most
    PRIMARY KEY (block, account, last)
) STRICT, WITHOUT ROWID;
