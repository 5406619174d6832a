-- The group of tasks that must not be near each other: so few that they are counted by node when
-- one of them is handed out.
ALTER TABLE tasks ADD COLUMN apart TEXT;
UPDATE tasks SET apart = task ->> '$.spec.requirements.apart.group' WHERE detailed = 1;
CREATE INDEX tasks_apart ON tasks (apart, node) WHERE state = 'leased' AND apart IS NOT NULL;
