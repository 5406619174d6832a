-- The group of tasks that must not be near each other: so few that they are counted by node when
-- one of them is handed out. (jsonb knows no NUL, and a group's name has none.)
ALTER TABLE tasks ADD COLUMN apart text;
UPDATE tasks SET apart = task::jsonb #>> '{spec,requirements,apart,group}'
    WHERE detailed = 1 AND task NOT LIKE '%\\u0000%';
CREATE INDEX tasks_apart ON tasks (apart, node) WHERE state = 'leased' AND apart IS NOT NULL;
