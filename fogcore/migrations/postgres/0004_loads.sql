-- CPU is counted in thousandths of a core, and GPUs one by one. Tasks whose load is more than
-- sums (GPUs, a node for themselves, groups that are kept apart) are marked: of those, the load is
-- read from the task.
ALTER TABLE tasks RENAME COLUMN cpu_cores TO cpu_milli;
ALTER TABLE tasks RENAME COLUMN gpus TO detailed;
UPDATE tasks SET cpu_milli = cpu_milli * 1000 WHERE cpu_milli > 0;
UPDATE tasks SET detailed = 1 WHERE detailed > 1;
