-- The life of a task: fair shares, deadlines, counts, logs, checkpoints, and an end to what is kept.

-- Within a class, which is one payer's, the earliest deadline goes first; those without one are last.
DROP INDEX tasks_ready;
CREATE INDEX tasks_ready ON tasks (class, priority DESC, deadline, seq)
    WHERE state = 'queued' AND ready;

-- Of a task that ended, expires_at is when what belongs to it goes, and NULL once it is gone.
CREATE INDEX tasks_kept ON tasks (expires_at)
    WHERE state <> 'queued' AND state <> 'leased' AND expires_at IS NOT NULL;
UPDATE tasks SET expires_at = (extract(epoch FROM now())::bigint + 7 * 86400) * 1000000
    WHERE state <> 'queued' AND state <> 'leased';

-- How many tasks there are of what, and what those that are leased take: kept up with each change,
-- so that nobody has to add up the tasks. Each count is the sum over its parts: processes add to
-- different parts, so that they do not wait for each other.
CREATE TABLE task_counts (
    payer      text     COLLATE "C" NOT NULL, -- empty: those that nobody pays
    kind       text     COLLATE "C" NOT NULL,
    state      text     COLLATE "C" NOT NULL,
    priority   smallint NOT NULL, -- of those that ended: 0
    part       integer  NOT NULL,
    tasks      bigint   NOT NULL,
    slots      bigint   NOT NULL,
    cpu_milli  bigint   NOT NULL,
    memory_mib bigint   NOT NULL,
    gpu_milli  bigint   NOT NULL,
    PRIMARY KEY (payer, kind, state, priority, part)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
INSERT INTO task_counts
    SELECT coalesce(payer, ''), kind, state,
        CASE WHEN state IN ('queued', 'leased') THEN priority ELSE 0 END, 0, count(*),
        CASE WHEN state = 'leased' THEN count(*) ELSE 0 END,
        CASE WHEN state = 'leased' THEN sum(cpu_cores) * 1000 ELSE 0 END,
        CASE WHEN state = 'leased' THEN sum(memory_mib) ELSE 0 END,
        CASE WHEN state = 'leased' THEN sum(gpus) * 1000 ELSE 0 END
    FROM tasks GROUP BY 1, 2, 3, 4;

CREATE TABLE log_lines (
    seq    bigint  NOT NULL,
    number bigint  NOT NULL,
    at     bigint  NOT NULL,
    fence  bigint  NOT NULL,
    text   text    NOT NULL,
    PRIMARY KEY (seq, number)
);
CREATE TABLE checkpoints (seq bigint PRIMARY KEY, checkpoint bytea NOT NULL);

-- Which tasks wait for which, until they end: meanwhile what those gave is kept.
CREATE TABLE task_links (
    child  uuid     NOT NULL,
    parent uuid     NOT NULL,
    state  smallint NOT NULL, -- 0: the parent is open, 1: it ended and nobody looked, 2: that was seen
    PRIMARY KEY (child, parent)
);
CREATE INDEX task_links_parent ON task_links (parent);
CREATE INDEX task_links_due ON task_links (child) WHERE state = 1;

DROP INDEX tasks_deadline;
CREATE INDEX tasks_deadline ON tasks (deadline)
    WHERE (state = 'queued' OR state = 'waiting') AND deadline IS NOT NULL;

-- What was seen of the nodes whose results were compared with others'.
CREATE TABLE trust (
    node      text COLLATE "C" PRIMARY KEY,
    agreed    double precision NOT NULL, -- as it counted at that time
    disagreed double precision NOT NULL,
    at        bigint NOT NULL
);
