//! Writes back what changed in a working set.

use std::collections::BTreeSet;

use bytes::Bytes;
use sqlx::SqliteConnection;

use super::error::OrStoreError;
use super::lists::{Batch, NO_FILLING, Rows, Values, write_all};
use super::loaded::{Loaded, footprint};
use super::rows::{amount_bytes, get, id_bytes, integer, to_json};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{NodeId, TaskId};
use crate::scheduler::{Changes, Explanation, Load, Tally, Task, TaskState};
use crate::time::Timestamp;

/// A task and where it stands in the order of submission.
type Placed<'s> = (i64, &'s Task);

impl Loaded {
    /// Writes what changed since it was last written. All statements go as one stream, so that
    /// the next one is built while SQLite is busy with the one before.
    pub(super) async fn save(
        &mut self,
        connection: &mut SqliteConnection,
        now: Timestamp,
    ) -> Result<()> {
        let changes = self.set.take_changes();
        let book = self.set.book.take_changes();
        self.number(connection, &changes).await?;
        self.tallies(connection, changes.tallies.keys()).await?;
        for (node, more) in &changes.tallies {
            self.tallies.entry(node.clone()).or_default().add(more);
        }
        let mut money = self.known.number(connection, &self.set.book, &book).await?;
        self.kept += money.bytes;
        let tasks = self.tasks_of(&changes, now)?;
        let statements = money.statements(&self.known);
        let statements = statements.chain(tasks).chain(self.tallied(&changes));
        write_all(connection, statements).await?;
        self.known.link(connection, money).await
    }

    /// Gives the new tasks their places at the end of the order.
    async fn number(&mut self, connection: &mut SqliteConnection, changes: &Changes) -> Result<()> {
        if changes.payloads.is_empty() {
            return Ok(());
        }
        let mut last = match self.last_seq {
            Some(last) => last,
            None => {
                let row = sqlx::query("SELECT ifnull(max(seq), 0) AS last FROM tasks")
                    .fetch_one(connection)
                    .await
                    .or_store_error()?;
                get(&row, "last")?
            }
        };
        for (id, _) in &changes.payloads {
            last += 1;
            self.seqs.insert(*id, last);
            self.kept += self.set.task(*id).map_or(0, footprint);
        }
        self.last_seq = Some(last);
        Ok(())
    }

    fn tasks_of(
        &self,
        changes: &Changes,
        now: Timestamp,
    ) -> Result<impl Iterator<Item = Result<Batch>>> {
        let new: BTreeSet<_> = changes.payloads.iter().map(|(id, _)| *id).collect();
        let changed: BTreeSet<_> = changes.tasks.iter().filter(|id| !new.contains(id)).collect();
        let new = changes.payloads.iter().map(|(id, _)| self.placed(*id)).collect::<Result<_>>()?;
        let changed = changed.into_iter().map(|id| self.placed(*id)).collect::<Result<_>>()?;
        let why = changes.explanations.iter().map(|(id, why)| Ok((self.placed(*id)?.0, why)));
        Ok(NEW_TASKS
            .batches(new, move |values, task| bind_new_task(values, task, now))
            .chain(TASKS.batches(changed, move |values, task| bind_task(values, task, now)))
            .chain(PAYLOADS.batches(self.full(&changes.payloads)?, bind_bytes))
            .chain(RESULTS.batches(self.full(&changes.results)?, bind_bytes))
            .chain(EXPLANATIONS.batches(why.collect::<Result<_>>()?, bind_explanation)))
    }

    /// The task and its place, which everything that changed has.
    fn placed(&self, id: TaskId) -> Result<Placed<'_>> {
        let missing = || Error::new(ErrorKind::Internal, format!("task {id} has no place"));
        self.seqs.get(&id).copied().zip(self.set.task(id)).ok_or_else(missing)
    }

    /// Only what is not empty needs a row: that the task is there, or succeeded, says the rest.
    fn full(&self, bytes: &[(TaskId, Bytes)]) -> Result<Vec<(i64, Bytes)>> {
        let full = bytes.iter().filter(|(_, bytes)| !bytes.is_empty());
        full.map(|(id, bytes)| Ok((self.placed(*id)?.0, bytes.clone()))).collect()
    }

    fn tallied(&self, changes: &Changes) -> impl Iterator<Item = Result<Batch>> {
        let tallies: Vec<_> =
            changes.tallies.keys().filter_map(|node| self.tallies.get_key_value(node)).collect();
        TALLIES.batches(tallies, bind_tally)
    }
}

const NEW_TASKS: Rows = Rows {
    head:
        "INSERT INTO tasks (seq, id, class, priority, kind, payer, idempotency_key, deadline,
        cpu_milli, memory_mib, storage_mib, detailed, state, ready, ready_at, task) SELECT * FROM (",
    columns: 16,
    tail: NO_FILLING,
};

fn bind_new_task(row: &mut Values, (seq, task): Placed<'_>, now: Timestamp) -> Result<()> {
    let (spec, needs) = (&task.spec, &task.spec.requirements);
    row.push(seq)
        .push(id_bytes(task.id.uuid()))
        .push(spec.class()?)
        .push(i64::from(spec.priority))
        .push(spec.kind.as_str())
        .push(spec.payer().map(|payer| payer.as_str()))
        .push(spec.idempotency_key.as_ref().map(|key| key.as_str()))
        .push(spec.deadline.map(Timestamp::as_micros))
        .push(i64::from(needs.cpu_milli))
        .push(integer(needs.memory_mib))
        .push(integer(needs.storage_mib))
        .push(i64::from(Load::is_detailed(needs)))
        .push(task.state.name())
        .push(task.ready_at <= now)
        .push(task.ready_at.as_micros())
        .push(to_json(task)?);
    Ok(())
}

const TASKS: Rows = Rows {
    head: "UPDATE tasks SET state = v.column2, ready = v.column3, ready_at = v.column4,
        node = v.column5, expires_at = v.column6, task = v.column7 FROM (",
    columns: 7,
    tail: ") AS v WHERE tasks.seq = v.column1",
};

fn bind_task(row: &mut Values, (seq, task): Placed<'_>, now: Timestamp) -> Result<()> {
    let lease = task.lease.as_ref();
    let node = lease.map(|lease| &lease.node).or(task.done_by.as_ref());
    row.push(seq)
        .push(task.state.name())
        .push(task.state == TaskState::Queued && task.ready_at <= now)
        .push(task.ready_at.as_micros())
        .push(node.map(|node| node.as_str()))
        .push(lease.map(|lease| lease.expires_at.as_micros()))
        .push(to_json(task)?);
    Ok(())
}

const PAYLOADS: Rows = Rows {
    head: "INSERT INTO payloads (seq, payload) SELECT * FROM (",
    columns: 2,
    tail: NO_FILLING,
};

const RESULTS: Rows = Rows {
    head: "INSERT INTO results (seq, result) SELECT * FROM (",
    columns: 2,
    tail: NO_FILLING,
};

fn bind_bytes(row: &mut Values, (seq, bytes): (i64, Bytes)) -> Result<()> {
    row.push(seq).push(bytes.to_vec());
    Ok(())
}

const EXPLANATIONS: Rows = Rows {
    head: "INSERT INTO explanations (seq, explanation) SELECT * FROM (",
    columns: 2,
    tail: ") WHERE column1 IS NOT NULL
        ON CONFLICT (seq) DO UPDATE SET explanation = excluded.explanation",
};

fn bind_explanation(row: &mut Values, (seq, why): (i64, &Explanation)) -> Result<()> {
    row.push(seq).push(to_json(why)?);
    Ok(())
}

const TALLIES: Rows = Rows {
    head: "INSERT OR REPLACE INTO tallies
        (node, succeeded, failed, lost, released, busy_micros, earned) SELECT * FROM (",
    columns: 7,
    tail: NO_FILLING,
};

fn bind_tally(row: &mut Values, (node, tally): (&NodeId, &Tally)) -> Result<()> {
    row.push(node.as_str())
        .push(integer(tally.succeeded))
        .push(integer(tally.failed))
        .push(integer(tally.lost))
        .push(integer(tally.released))
        .push(integer(tally.busy.as_micros()))
        .push(amount_bytes(tally.earned));
    Ok(())
}
