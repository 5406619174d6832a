-- The life of a task: fair shares, deadlines, counts, logs, checkpoints, and an end to what is kept.

-- Within a class, which is one payer's, the earliest deadline goes first. (An index cannot have NULLs
-- last, but it can have whether something is NULL, which takes no bytes.)
DROP INDEX tasks_ready;
CREATE INDEX tasks_ready ON tasks (class, priority DESC, deadline IS NULL, deadline, seq)
    WHERE state = 'queued' AND ready = 1;

-- Of a task that ended, expires_at is when what belongs to it goes, and NULL once it is gone.
CREATE INDEX tasks_kept ON tasks (expires_at)
    WHERE state <> 'queued' AND state <> 'leased' AND expires_at IS NOT NULL;
UPDATE tasks SET expires_at = (unixepoch('now') + 7 * 86400) * 1000000
    WHERE state <> 'queued' AND state <> 'leased';

-- How many tasks there are of what, and what those that are leased take: kept up with each change,
-- so that nobody has to add up the tasks.
CREATE TABLE task_counts (
    payer      TEXT    NOT NULL, -- empty: those that nobody pays
    kind       TEXT    NOT NULL,
    state      TEXT    NOT NULL,
    priority   INTEGER NOT NULL, -- of those that ended: 0
    tasks      INTEGER NOT NULL,
    slots      INTEGER NOT NULL,
    cpu_milli  INTEGER NOT NULL,
    memory_mib INTEGER NOT NULL,
    gpu_milli  INTEGER NOT NULL,
    PRIMARY KEY (payer, kind, state, priority)
) STRICT, WITHOUT ROWID;
INSERT INTO task_counts
    SELECT ifnull(payer, ''), kind, state,
        CASE WHEN state IN ('queued', 'leased') THEN priority ELSE 0 END, count(*),
        CASE WHEN state = 'leased' THEN count(*) ELSE 0 END,
        CASE WHEN state = 'leased' THEN sum(cpu_cores) * 1000 ELSE 0 END,
        CASE WHEN state = 'leased' THEN sum(memory_mib) ELSE 0 END,
        CASE WHEN state = 'leased' THEN sum(gpus) * 1000 ELSE 0 END
    FROM tasks GROUP BY 1, 2, 3, 4;

CREATE TABLE log_lines (
    seq    INTEGER NOT NULL REFERENCES tasks,
    number INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    fence  INTEGER NOT NULL,
    text   TEXT    NOT NULL,
    PRIMARY KEY (seq, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE checkpoints (seq INTEGER PRIMARY KEY REFERENCES tasks, checkpoint BLOB NOT NULL) STRICT;

-- Which tasks wait for which, until they end: meanwhile what those gave is kept.
CREATE TABLE task_links (
    child  BLOB    NOT NULL,
    parent BLOB    NOT NULL,
    state  INTEGER NOT NULL, -- 0: the parent is open, 1: it ended and nobody looked, 2: that was seen
    PRIMARY KEY (child, parent)
) STRICT, WITHOUT ROWID;
CREATE INDEX task_links_parent ON task_links (parent);
CREATE INDEX task_links_due ON task_links (child) WHERE state = 1;

DROP INDEX tasks_deadline;
CREATE INDEX tasks_deadline ON tasks (deadline)
    WHERE (state = 'queued' OR state = 'waiting') AND deadline IS NOT NULL;

-- What was seen of the nodes whose results were compared with others'.
CREATE TABLE trust (
    node      TEXT    NOT NULL PRIMARY KEY,
    agreed    REAL    NOT NULL, -- as it counted at that time
    disagreed REAL    NOT NULL,
    at        INTEGER NOT NULL
) STRICT;
