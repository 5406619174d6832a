-- Counters are written for many transfers at once: they are what accounts had after this transfer.
-- What came of those behind it follows from the journal.
CREATE TABLE ledger_counted (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    seq  INTEGER NOT NULL
) STRICT;
INSERT INTO ledger_counted SELECT 1, ifnull(max(seq), 0) FROM transfers;
