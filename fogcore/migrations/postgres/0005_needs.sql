-- What tasks need was once written in whole cores, and labels as a map. (jsonb knows no NUL.)
UPDATE tasks SET task = jsonb_set(task::jsonb, '{spec,requirements}', needs.old - 'cpu_cores' - 'labels'
    || jsonb_build_object(
        'cpu_milli', 1000 * coalesce((needs.old ->> 'cpu_cores')::bigint, 0),
        'required', (
            SELECT coalesce(jsonb_agg(
                jsonb_build_object('op', 'in', 'key', key, 'values', jsonb_build_array(value))
            ), '[]')
            FROM jsonb_each(coalesce(needs.old -> 'labels', '{}'))
        )
    ))::text
FROM (
    SELECT seq, task::jsonb #> '{spec,requirements}' AS old FROM tasks
    WHERE (task LIKE '%"cpu_cores":%' OR task LIKE '%"labels":%') AND task NOT LIKE '%\\u0000%'
) AS needs
WHERE tasks.seq = needs.seq AND (needs.old ? 'cpu_cores' OR needs.old ? 'labels');
