//! Writes back what changed in a working set: one statement per table, however many rows.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use sqlx::PgConnection;

use super::error::Failure;
use super::loaded::Loaded;
use super::rows::{self, digits, integer, to_json};
use crate::error::Result;
use crate::id::{NodeId, TaskId};
use crate::scheduler::queue::Count;
use crate::scheduler::replicas::TrustPolicy;
use crate::scheduler::{Changes, Load, MAX_LOG_LINES, Task, TaskState};
use crate::storage::leasing::{ends_at, name_in_row};
use crate::time::Timestamp;

/// One column of many rows.
pub(super) fn column<'r, R, T>(rows: &'r [R], value: impl FnMut(&'r R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

impl Loaded {
    /// Writes what changed in the tasks since it was last written.
    pub(super) async fn save_tasks(
        &mut self,
        connection: &mut PgConnection,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let changes = self.set.take_changes();
        let new: Vec<_> = changes.payloads.iter().map(|(id, _)| *id).collect();
        if !new.is_empty() {
            self.number(connection, &new).await?;
            self.add(connection, &new, now).await?;
        }
        let new: BTreeSet<_> = new.into_iter().collect();
        // A new task that has ended already, because a parent had, has more to say than new ones.
        let has_ended = |id| self.set.task(id).is_some_and(|task| task.state.is_final());
        let more = |id: &&TaskId| !new.contains(id) || has_ended(**id);
        let changed: BTreeSet<_> = changes.tasks.iter().filter(more).collect();
        if !changed.is_empty() {
            let changed: Vec<_> = changed.into_iter().copied().collect();
            self.change(connection, &changed, now).await?;
        }
        self.attach(connection, &changes).await?;
        self.say(connection, &changes).await?;
        tally(connection, &changes).await?;
        count(connection, &changes).await?;
        learn(connection, &changes.trust, now).await
    }

    fn placed(&self, ids: &[TaskId]) -> Result<Vec<(i64, &Task)>> {
        let tasks = ids.iter().filter_map(|id| self.set.task(*id));
        tasks.map(|task| Ok((self.seq(task.id)?, task))).collect()
    }

    async fn add(
        &self,
        connection: &mut PgConnection,
        new: &[TaskId],
        now: Timestamp,
    ) -> Result<(), Failure> {
        let rows = self.placed(new)?;
        let classes = rows.iter().map(|(_, task)| task.class()).collect::<Result<Vec<_>>>()?;
        let tasks = rows.iter().map(|(_, task)| to_json(task)).collect::<Result<Vec<_>>>()?;
        sqlx::query(
            "INSERT INTO tasks (seq, id, class, priority, kind, payer, idempotency_key, deadline,
                 cpu_milli, memory_mib, storage_mib, detailed, apart, state, ready, ready_at, task)
             SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::bigint[], $4::smallint[],
                 $5::text[], $6::text[], $7::text[], $8::bigint[], $9::bigint[], $10::bigint[],
                 $11::bigint[], $12::bigint[], $13::text[], $14::text[], $15::boolean[],
                 $16::bigint[], $17::text[]) ORDER BY 2",
        )
        .bind(column(&rows, |(seq, _)| *seq))
        .bind(column(&rows, |(_, task)| task.id.uuid()))
        .bind(classes)
        .bind(column(&rows, |(_, task)| task.spec.priority))
        .bind(column(&rows, |(_, task)| task.spec.kind.as_str()))
        .bind(column(&rows, |(_, task)| task.spec.payer().map(|payer| payer.as_str())))
        .bind(column(&rows, |(_, t)| name_in_row(t)))
        .bind(column(&rows, |(_, task)| task.spec.deadline.map(Timestamp::as_micros)))
        .bind(column(&rows, |(_, task)| i64::from(task.spec.requirements.cpu_milli)))
        .bind(column(&rows, |(_, task)| integer(task.spec.requirements.memory_mib)))
        .bind(column(&rows, |(_, task)| integer(task.spec.requirements.storage_mib)))
        .bind(column(&rows, |(_, task)| i64::from(Load::is_detailed(&task.spec.requirements))))
        .bind(column(&rows, |(_, task)| {
            let apart = task.spec.requirements.apart.as_ref();
            apart.map(|apart| apart.group.as_str())
        }))
        .bind(column(&rows, |(_, task)| task.state.name()))
        .bind(column(&rows, |(_, task)| task.ready_at <= now))
        .bind(column(&rows, |(_, task)| task.ready_at.as_micros()))
        .bind(tasks)
        .execute(connection)
        .await?;
        Ok(())
    }

    async fn change(
        &self,
        connection: &mut PgConnection,
        changed: &[TaskId],
        now: Timestamp,
    ) -> Result<(), Failure> {
        fn holder(task: &Task) -> Option<&str> {
            let holder = task.lease.as_ref().map(|lease| &lease.node).or(task.done_by.as_ref());
            holder.map(|node| node.as_str())
        }
        let rows = self.placed(changed)?;
        let is_ready = |task: &Task| task.state == TaskState::Queued && task.ready_at <= now;
        let end = |task: &Task| ends_at(task).map(Timestamp::as_micros);
        let tasks = rows.iter().map(|(_, task)| to_json(task)).collect::<Result<Vec<_>>>()?;
        sqlx::query(
            "UPDATE tasks SET state = v.state, ready = v.ready, ready_at = v.ready_at,
                 node = v.node, expires_at = v.expires_at, task = v.task
             FROM unnest($1::bigint[], $2::text[], $3::boolean[], $4::bigint[], $5::text[],
                 $6::bigint[], $7::text[])
                 AS v (seq, state, ready, ready_at, node, expires_at, task)
             WHERE tasks.seq = v.seq",
        )
        .bind(column(&rows, |(seq, _)| *seq))
        .bind(column(&rows, |(_, task)| task.state.name()))
        .bind(column(&rows, |(_, task)| is_ready(task)))
        .bind(column(&rows, |(_, task)| task.ready_at.as_micros()))
        .bind(column(&rows, |(_, task)| holder(task)))
        .bind(column(&rows, |(_, task)| end(task)))
        .bind(tasks)
        .execute(connection)
        .await?;
        Ok(())
    }

    /// Writes payloads, results and explanations.
    async fn attach(
        &self,
        connection: &mut PgConnection,
        changes: &Changes,
    ) -> Result<(), Failure> {
        let attachments = [
            (
                "INSERT INTO payloads SELECT * FROM unnest($1::bigint[], $2::bytea[])",
                &changes.payloads,
            ),
            (
                "INSERT INTO results SELECT * FROM unnest($1::bigint[], $2::bytea[])",
                &changes.results,
            ),
        ];
        for (sql, bytes) in attachments {
            // Only what is not empty needs a row: that the task is there, or succeeded, says the rest.
            let full: Vec<&(TaskId, Bytes)> =
                bytes.iter().filter(|(_, bytes)| !bytes.is_empty()).collect();
            if !full.is_empty() {
                let seqs = full.iter().map(|(id, _)| self.seq(*id)).collect::<Result<Vec<_>>>()?;
                let query = sqlx::query(sql).bind(seqs);
                query.bind(column(&full, |(_, b)| b.as_ref())).execute(&mut *connection).await?;
            }
        }
        self.explain(connection, changes).await
    }

    async fn explain(
        &self,
        connection: &mut PgConnection,
        changes: &Changes,
    ) -> Result<(), Failure> {
        if changes.explanations.is_empty() {
            return Ok(());
        }
        // A task that was leased twice in one transaction keeps the later reason.
        let latest: BTreeMap<_, _> =
            changes.explanations.iter().map(|(id, why)| (*id, why)).collect();
        let seqs = latest.keys().map(|id| self.seq(*id)).collect::<Result<Vec<_>>>()?;
        let texts = latest.values().map(to_json).collect::<Result<Vec<_>>>()?;
        sqlx::query(
            "INSERT INTO explanations SELECT * FROM unnest($1::bigint[], $2::text[])
             ON CONFLICT (seq) DO UPDATE SET explanation = excluded.explanation",
        )
        .bind(seqs)
        .bind(texts)
        .execute(connection)
        .await?;
        Ok(())
    }
}

impl Loaded {
    /// Writes what holders said and saved, and removes what goes of it.
    async fn say(&self, connection: &mut PgConnection, changes: &Changes) -> Result<(), Failure> {
        if !changes.logs.is_empty() {
            let lines = &changes.logs;
            let seqs = lines.iter().map(|(id, _)| self.seq(*id)).collect::<Result<Vec<_>>>()?;
            sqlx::query(
                "INSERT INTO log_lines SELECT * FROM unnest($1::bigint[], $2::bigint[],
                     $3::bigint[], $4::bigint[], $5::text[])",
            )
            .bind(&seqs)
            .bind(column(lines, |(_, line)| integer(line.number)))
            .bind(column(lines, |(_, line)| line.at.as_micros()))
            .bind(column(lines, |(_, line)| integer(line.fence)))
            .bind(column(lines, |(_, line)| line.text.as_str()))
            .execute(&mut *connection)
            .await?;
            let old = seqs.iter().zip(lines).filter(|(_, (_, line))| line.number > MAX_LOG_LINES);
            let (old, oldest): (Vec<_>, Vec<_>) =
                old.map(|(seq, (_, line))| (*seq, integer(line.number - MAX_LOG_LINES))).unzip();
            if !old.is_empty() {
                sqlx::query(
                    "DELETE FROM log_lines AS l
                     USING unnest($1::bigint[], $2::bigint[]) AS o (seq, number)
                     WHERE l.seq = o.seq AND l.number <= o.number",
                )
                .bind(old)
                .bind(oldest)
                .execute(&mut *connection)
                .await?;
            }
        }
        // One that was saved twice in one transaction keeps the later one.
        let saved: BTreeMap<_, _> = changes.checkpoints.iter().map(|(id, b)| (*id, b)).collect();
        if !saved.is_empty() {
            let seqs = saved.keys().map(|id| self.seq(*id)).collect::<Result<Vec<_>>>()?;
            sqlx::query(
                "INSERT INTO checkpoints SELECT * FROM unnest($1::bigint[], $2::bytea[])
                 ON CONFLICT (seq) DO UPDATE SET checkpoint = excluded.checkpoint",
            )
            .bind(seqs)
            .bind(saved.values().map(|bytes| bytes.as_ref()).collect::<Vec<_>>())
            .execute(&mut *connection)
            .await?;
        }
        if !changes.linked.is_empty() {
            let linked = &changes.linked;
            sqlx::query(
                "INSERT INTO task_links SELECT * FROM unnest($1::uuid[], $2::uuid[],
                     $3::smallint[])",
            )
            .bind(column(linked, |(child, _, _)| child.uuid()))
            .bind(column(linked, |(_, parent, _)| parent.uuid()))
            .bind(column(linked, |(_, _, open)| if *open { 0_i16 } else { 2 }))
            .execute(&mut *connection)
            .await?;
        }
        let moved = [
            (
                "UPDATE task_links SET state = 1 WHERE parent = ANY($1) AND state = 0",
                &changes.parents_ended,
            ),
            (
                "UPDATE task_links SET state = 2 WHERE child = ANY($1) AND state = 1",
                &changes.advanced,
            ),
            ("DELETE FROM task_links WHERE child = ANY($1)", &changes.unlinked),
        ];
        for (sql, ids) in moved {
            if !ids.is_empty() {
                let ids = column(ids, |id| id.uuid());
                sqlx::query(sql).bind(ids).execute(&mut *connection).await?;
            }
        }
        let gone = [
            ("DELETE FROM checkpoints WHERE seq = ANY($1)", &changes.finished),
            ("DELETE FROM payloads WHERE seq = ANY($1)", &changes.purged),
            ("DELETE FROM results WHERE seq = ANY($1)", &changes.purged),
            ("DELETE FROM explanations WHERE seq = ANY($1)", &changes.purged),
            ("DELETE FROM log_lines WHERE seq = ANY($1)", &changes.purged),
        ];
        for (sql, ids) in gone {
            if !ids.is_empty() {
                let seqs = ids.iter().map(|id| self.seq(*id)).collect::<Result<Vec<_>>>()?;
                sqlx::query(sql).bind(seqs).execute(&mut *connection).await?;
            }
        }
        Ok(())
    }
}

/// Takes in whose results were right. Few tasks have replicas, so each node is a trip of its own.
async fn learn(
    connection: &mut PgConnection,
    seen: &[(NodeId, bool)],
    now: Timestamp,
) -> Result<(), Failure> {
    let mut seen: Vec<_> = seen.iter().collect();
    seen.sort();
    for (node, agreed) in seen {
        let insert = "INSERT INTO trust VALUES ($1, 0, 0, $2) ON CONFLICT DO NOTHING";
        let insert = sqlx::query(insert).bind(node.as_str()).bind(now.as_micros());
        insert.execute(&mut *connection).await?;
        let select = "SELECT node, agreed, disagreed, at FROM trust WHERE node = $1 FOR UPDATE";
        let row = sqlx::query(select).bind(node.as_str()).fetch_one(&mut *connection).await?;
        let (_, mut trust) = rows::trust(&row)?;
        trust.observe(*agreed, now, &TrustPolicy::default());
        let update = "UPDATE trust SET agreed = $2, disagreed = $3, at = $4 WHERE node = $1";
        let update = sqlx::query(update).bind(node.as_str()).bind(trust.agreed);
        let update = update.bind(trust.disagreed).bind(trust.at.as_micros());
        update.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Adds to the counts of tasks, in a part that few others add to, in one order.
async fn count(connection: &mut PgConnection, changes: &Changes) -> Result<(), Failure> {
    let rows: Vec<_> =
        changes.counts.iter().filter(|(_, count)| **count != Count::default()).collect();
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO task_counts AS t (payer, kind, state, priority, part, tasks, slots,
             cpu_milli, memory_mib, gpu_milli)
         SELECT n.payer, n.kind, n.state, n.priority, pg_backend_pid() % 64, n.tasks, n.slots,
             n.cpu_milli, n.memory_mib, n.gpu_milli
         FROM unnest($1::text[], $2::text[], $3::text[], $4::smallint[], $5::bigint[],
             $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[])
             AS n (payer, kind, state, priority, tasks, slots, cpu_milli, memory_mib, gpu_milli)
         ORDER BY 1, 2, 3, 4
         ON CONFLICT (payer, kind, state, priority, part) DO UPDATE SET
             tasks = t.tasks + excluded.tasks, slots = t.slots + excluded.slots,
             cpu_milli = t.cpu_milli + excluded.cpu_milli,
             memory_mib = t.memory_mib + excluded.memory_mib,
             gpu_milli = t.gpu_milli + excluded.gpu_milli",
    )
    .bind(column(&rows, |(group, _)| group.payer.as_ref().map_or("", |payer| payer.as_str())))
    .bind(column(&rows, |(group, _)| group.kind.as_str()))
    .bind(column(&rows, |(group, _)| group.state.name()))
    .bind(column(&rows, |(group, _)| group.priority))
    .bind(column(&rows, |(_, count)| count.tasks))
    .bind(column(&rows, |(_, count)| count.taken.slots))
    .bind(column(&rows, |(_, count)| count.taken.cpu_milli))
    .bind(column(&rows, |(_, count)| count.taken.memory_mib))
    .bind(column(&rows, |(_, count)| count.taken.gpu_milli))
    .execute(connection)
    .await?;
    Ok(())
}

/// Adds to what the nodes did, by id: so nobody waits for us who has what we want.
async fn tally(connection: &mut PgConnection, changes: &Changes) -> Result<(), Failure> {
    if changes.tallies.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = changes.tallies.iter().collect();
    sqlx::query(
        "INSERT INTO tallies AS t (node, succeeded, failed, lost, released, busy_micros, earned)
         SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[],
             $6::bigint[], $7::text[]::numeric[]) ORDER BY 1
         ON CONFLICT (node) DO UPDATE SET succeeded = t.succeeded + excluded.succeeded,
             failed = t.failed + excluded.failed, lost = t.lost + excluded.lost,
             released = t.released + excluded.released,
             busy_micros = least(t.busy_micros::numeric + excluded.busy_micros,
                                 9223372036854775807)::bigint,
             earned = least(t.earned + excluded.earned, 340282366920938463463374607431768211455)",
    )
    .bind(column(&rows, |(node, _)| node.as_str()))
    .bind(column(&rows, |(_, tally)| integer(tally.succeeded)))
    .bind(column(&rows, |(_, tally)| integer(tally.failed)))
    .bind(column(&rows, |(_, tally)| integer(tally.lost)))
    .bind(column(&rows, |(_, tally)| integer(tally.released)))
    .bind(column(&rows, |(_, tally)| integer(tally.busy.as_micros())))
    .bind(column(&rows, |(_, tally)| digits(tally.earned)))
    .execute(connection)
    .await?;
    Ok(())
}
