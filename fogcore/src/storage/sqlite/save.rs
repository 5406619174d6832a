//! Writes back what changed in a working set.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use sqlx::SqliteConnection;

use super::error::OrStoreError;
use super::lists::{Batch, NO_FILLING, Rows, Values, write_all};
use super::loaded::{Loaded, footprint};
use super::rows::{self, amount_bytes, get, id_bytes, integer, to_json};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{NodeId, TaskId};
use crate::scheduler::queue::{Count, Group};
use crate::scheduler::replicas::{Trust, TrustPolicy};
use crate::scheduler::{
    Changes, Explanation, Load, LogLine, MAX_LOG_LINES, Tally, Task, TaskState,
};
use crate::storage::leasing::{ends_at, name_in_row};
use crate::time::Timestamp;

/// Removes what a table holds of these tasks.
macro_rules! goes {
    ($table:literal) => {
        Rows {
            head: concat!("DELETE FROM ", $table, " WHERE seq IN (SELECT column1 FROM ("),
            columns: 1,
            tail: "))",
        }
    };
}

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
        let payers: Vec<_> = changes.counts.keys().map(|group| group.payer.clone()).collect();
        self.payers(connection, &payers, &changes.counts).await?;
        for (group, change) in &changes.counts {
            self.counts.entry(group.clone()).or_default().add(*change);
        }
        let mut money = self.known.number(connection, &self.set.book, &book).await?;
        self.kept += money.bytes;
        let tasks = self.tasks_of(&changes, now)?;
        let statements = money.statements(&self.known);
        let said = self.said(&changes)?;
        let statements = statements.chain(tasks).chain(self.tallied(&changes)).chain(said);
        write_all(connection, statements).await?;
        learn(connection, &changes.trust, now).await?;
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
        // A new task that has ended already, because a parent had, has more to say than new ones.
        let has_ended = |id| self.set.task(id).is_some_and(|task| task.state.is_final());
        let more = |id: &&TaskId| !new.contains(id) || has_ended(**id);
        let changed: BTreeSet<_> = changes.tasks.iter().filter(more).collect();
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
        let counts: Vec<_> =
            changes.counts.keys().filter_map(|group| self.counts.get_key_value(group)).collect();
        TALLIES.batches(tallies, bind_tally).chain(COUNTS.batches(counts, bind_count))
    }

    /// What holders said and saved, and what goes of it.
    fn said(&self, changes: &Changes) -> Result<impl Iterator<Item = Result<Batch>>> {
        let place = |id: &TaskId| Ok(self.placed(*id)?.0);
        let places = |ids: &[TaskId]| ids.iter().map(place).collect::<Result<Vec<_>>>();
        let line = |(id, line): &(TaskId, LogLine)| Ok((place(id)?, line.clone()));
        let lines = changes.logs.iter().map(line).collect::<Result<Vec<_>>>()?;
        let oldest: BTreeMap<_, _> = lines
            .iter()
            .filter(|(_, line)| line.number > MAX_LOG_LINES)
            .map(|(seq, line)| (*seq, line.number - MAX_LOG_LINES))
            .collect();
        let saved = changes.checkpoints.iter();
        let saved = saved.map(|(id, bytes)| Ok((place(id)?, bytes.clone())));
        let finished = places(&changes.finished)?;
        let purged = places(&changes.purged)?;
        let gone = |rows: Rows| rows.batches(purged.clone(), bind_place);
        Ok(LOG_LINES
            .batches(lines, bind_line)
            .chain(OLD_LINES.batches(oldest.into_iter().collect(), bind_oldest))
            .chain(CHECKPOINTS.batches(saved.collect::<Result<_>>()?, bind_bytes))
            .chain(goes!("checkpoints").batches(finished, bind_place))
            .chain(LINKS.batches(changes.linked.clone(), bind_link))
            .chain(PARENTS_ENDED.batches(changes.parents_ended.clone(), bind_id))
            .chain(ADVANCED.batches(changes.advanced.clone(), bind_id))
            .chain(UNLINKED.batches(changes.unlinked.clone(), bind_id))
            .chain(gone(goes!("payloads")))
            .chain(gone(goes!("results")))
            .chain(gone(goes!("explanations")))
            .chain(gone(goes!("log_lines"))))
    }
}

/// Takes in whose results were right. Few tasks have replicas, so each node is a trip of its own.
async fn learn(
    connection: &mut SqliteConnection,
    seen: &[(NodeId, bool)],
    now: Timestamp,
) -> Result<()> {
    for (node, agreed) in seen {
        let row = sqlx::query("SELECT * FROM trust WHERE node = ?")
            .bind(node.as_str())
            .fetch_optional(&mut *connection)
            .await
            .or_store_error()?;
        let known = row.map(|row| rows::trust(&row)).transpose()?;
        let mut trust = known.map_or_else(|| Trust::unknown(now), |(_, trust)| trust);
        trust.observe(*agreed, now, &TrustPolicy::default());
        sqlx::query(
            "INSERT OR REPLACE INTO trust (node, agreed, disagreed, at) VALUES (?, ?, ?, ?)",
        )
        .bind(node.as_str())
        .bind(trust.agreed)
        .bind(trust.disagreed)
        .bind(trust.at.as_micros())
        .execute(&mut *connection)
        .await
        .or_store_error()?;
    }
    Ok(())
}

const COUNTS: Rows = Rows {
    head: "INSERT OR REPLACE INTO task_counts (payer, kind, state, priority, tasks, slots,
        cpu_milli, memory_mib, gpu_milli) SELECT * FROM (",
    columns: 9,
    tail: NO_FILLING,
};

fn bind_count(row: &mut Values, (group, count): (&Group, &Count)) -> Result<()> {
    row.push(group.payer.as_ref().map_or("", |payer| payer.as_str()))
        .push(group.kind.as_str())
        .push(group.state.name())
        .push(i64::from(group.priority))
        .push(count.tasks)
        .push(count.taken.slots)
        .push(count.taken.cpu_milli)
        .push(count.taken.memory_mib)
        .push(count.taken.gpu_milli);
    Ok(())
}

const LOG_LINES: Rows = Rows {
    head: "INSERT INTO log_lines (seq, number, at, fence, text) SELECT * FROM (",
    columns: 5,
    tail: NO_FILLING,
};

fn bind_line(row: &mut Values, (seq, line): (i64, LogLine)) -> Result<()> {
    row.push(seq)
        .push(integer(line.number))
        .push(line.at.as_micros())
        .push(integer(line.fence))
        .push(line.text);
    Ok(())
}

/// Lines that are too old by now: of these tasks, up to that number.
const OLD_LINES: Rows = Rows {
    head: "DELETE FROM log_lines WHERE (seq, number) IN (SELECT l.seq, l.number FROM (",
    columns: 2,
    tail: ") v CROSS JOIN log_lines l ON l.seq = v.column1 AND l.number <= v.column2)",
};

fn bind_oldest(row: &mut Values, (seq, number): (i64, u64)) -> Result<()> {
    row.push(seq).push(integer(number));
    Ok(())
}

const LINKS: Rows = Rows {
    head: "INSERT INTO task_links (child, parent, state) SELECT * FROM (",
    columns: 3,
    tail: NO_FILLING,
};

fn bind_link(row: &mut Values, (child, parent, open): (TaskId, TaskId, bool)) -> Result<()> {
    let state = if open { 0 } else { 2 };
    row.push(id_bytes(child.uuid())).push(id_bytes(parent.uuid())).push(state);
    Ok(())
}

const PARENTS_ENDED: Rows = Rows {
    head: "UPDATE task_links SET state = 1 WHERE state = 0
        AND parent IN (SELECT column1 FROM (",
    columns: 1,
    tail: "))",
};

const ADVANCED: Rows = Rows {
    head: "UPDATE task_links SET state = 2 WHERE state = 1
        AND child IN (SELECT column1 FROM (",
    columns: 1,
    tail: "))",
};

const UNLINKED: Rows = Rows {
    head: "DELETE FROM task_links WHERE child IN (SELECT column1 FROM (",
    columns: 1,
    tail: "))",
};

fn bind_id(row: &mut Values, id: TaskId) -> Result<()> {
    row.push(id_bytes(id.uuid()));
    Ok(())
}

const CHECKPOINTS: Rows = Rows {
    head: "INSERT OR REPLACE INTO checkpoints (seq, checkpoint) SELECT * FROM (",
    columns: 2,
    tail: NO_FILLING,
};

fn bind_place(row: &mut Values, seq: i64) -> Result<()> {
    row.push(seq);
    Ok(())
}

const NEW_TASKS: Rows = Rows {
    head: "INSERT INTO tasks (seq, id, class, priority, kind, payer, idempotency_key, deadline,
        cpu_milli, memory_mib, storage_mib, detailed, apart, state, ready, ready_at, task)
        SELECT * FROM (",
    columns: 17,
    tail: NO_FILLING,
};

fn bind_new_task(row: &mut Values, (seq, task): Placed<'_>, now: Timestamp) -> Result<()> {
    let (spec, needs) = (&task.spec, &task.spec.requirements);
    row.push(seq)
        .push(id_bytes(task.id.uuid()))
        .push(task.class()?)
        .push(i64::from(spec.priority))
        .push(spec.kind.as_str())
        .push(spec.payer().map(|payer| payer.as_str()))
        .push(name_in_row(task))
        .push(spec.deadline.map(Timestamp::as_micros))
        .push(i64::from(needs.cpu_milli))
        .push(integer(needs.memory_mib))
        .push(integer(needs.storage_mib))
        .push(i64::from(Load::is_detailed(needs)))
        .push(needs.apart.as_ref().map(|apart| apart.group.as_str()))
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
        .push(ends_at(task).map(Timestamp::as_micros))
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
