-- What tasks need was once written in whole cores, and labels as a map.
UPDATE tasks SET task = json_set(
    json_remove(task, '$.spec.requirements.cpu_cores', '$.spec.requirements.labels'),
    '$.spec.requirements.cpu_milli', 1000 * ifnull(task ->> '$.spec.requirements.cpu_cores', 0),
    '$.spec.requirements.required', (
        SELECT json_group_array(json_object('op', 'in', 'key', key, 'values', json_array(value)))
        FROM json_each(task, '$.spec.requirements.labels')
    )
) WHERE json_type(task, '$.spec.requirements.cpu_cores') IS NOT NULL
    OR json_type(task, '$.spec.requirements.labels') IS NOT NULL;
