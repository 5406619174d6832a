//! Writes back what changed in a working set: one statement per table, however many rows.

use std::collections::BTreeSet;

use bytes::Bytes;
use sqlx::PgConnection;

use super::error::Failure;
use super::loaded::Loaded;
use super::rows::{digits, integer, to_json};
use crate::error::Result;
use crate::id::TaskId;
use crate::scheduler::{Changes, Load, Task, TaskState};
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
        let changed: BTreeSet<_> = changes.tasks.iter().filter(|id| !new.contains(id)).collect();
        if !changed.is_empty() {
            let changed: Vec<_> = changed.into_iter().copied().collect();
            self.change(connection, &changed, now).await?;
        }
        self.attach(connection, &changes).await?;
        tally(connection, &changes).await
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
        let classes = rows.iter().map(|(_, task)| task.spec.class()).collect::<Result<Vec<_>>>()?;
        let tasks = rows.iter().map(|(_, task)| to_json(task)).collect::<Result<Vec<_>>>()?;
        sqlx::query(
            "INSERT INTO tasks (seq, id, class, priority, kind, payer, idempotency_key, deadline,
                 cpu_milli, memory_mib, storage_mib, detailed, state, ready, ready_at, task)
             SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::bigint[], $4::smallint[],
                 $5::text[], $6::text[], $7::text[], $8::bigint[], $9::bigint[], $10::bigint[],
                 $11::bigint[], $12::bigint[], $13::text[], $14::boolean[], $15::bigint[],
                 $16::text[]) ORDER BY 2",
        )
        .bind(column(&rows, |(seq, _)| *seq))
        .bind(column(&rows, |(_, task)| task.id.uuid()))
        .bind(classes)
        .bind(column(&rows, |(_, task)| task.spec.priority))
        .bind(column(&rows, |(_, task)| task.spec.kind.as_str()))
        .bind(column(&rows, |(_, task)| task.spec.payer().map(|payer| payer.as_str())))
        .bind(column(&rows, |(_, t)| t.spec.idempotency_key.as_ref().map(|key| key.as_str())))
        .bind(column(&rows, |(_, task)| task.spec.deadline.map(Timestamp::as_micros)))
        .bind(column(&rows, |(_, task)| i64::from(task.spec.requirements.cpu_milli)))
        .bind(column(&rows, |(_, task)| integer(task.spec.requirements.memory_mib)))
        .bind(column(&rows, |(_, task)| integer(task.spec.requirements.storage_mib)))
        .bind(column(&rows, |(_, task)| i64::from(Load::is_detailed(&task.spec.requirements))))
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
        let end = |task: &Task| task.lease.as_ref().map(|lease| lease.expires_at.as_micros());
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
        if changes.explanations.is_empty() {
            return Ok(());
        }
        // A task that was leased twice in one transaction keeps the later reason.
        let latest: std::collections::BTreeMap<_, _> =
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
