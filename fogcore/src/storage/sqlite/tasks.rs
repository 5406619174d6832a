//! Tasks in SQLite.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::sqlite::SqliteRow;

use super::SqliteStore;
use super::error::OrStoreError;
use super::lists::texts;
use super::rows::{self, count, get, id, id_bytes, integer, json};
use super::select::is_there_work;
use crate::error::Result;
use crate::id::{NodeId, TaskId};
use crate::registry::page_limit;
use crate::scheduler::queue::{Ahead, Victim};
use crate::scheduler::replicas::Trust;
use crate::scheduler::{
    Assignment, Claim, Completion, Explanation, LeaseRequest, LogLine, NewTask, QueuePolicy,
    Renewal, SchedulerError, Submitted, Tally, Task, TaskCounts, TaskFilter, TaskState, TaskStore,
};
use crate::time::Timestamp;

impl SqliteStore {
    async fn exists(&self, sql: &'static str, now: Timestamp) -> Result<bool> {
        let row = sqlx::query(sql)
            .bind(now.as_micros())
            .fetch_one(&self.readers)
            .await
            .or_store_error()?;
        get(&row, "found")
    }

    async fn attachment<T>(
        &self,
        sql: &'static str,
        task: TaskId,
        read: impl FnOnce(&SqliteRow) -> Result<T>,
    ) -> Result<Option<T>> {
        let row = sqlx::query(sql)
            .bind(id_bytes(task.uuid()))
            .fetch_optional(&self.readers)
            .await
            .or_store_error()?;
        row.map(|row| read(&row)).transpose()
    }
}

/// What comes before a task of this priority and deadline.
const AHEAD: &str = "SELECT kind, state, sum(tasks) AS tasks FROM task_counts
     WHERE (state = 'leased' OR (state = 'queued' AND priority > ?1)) AND tasks > 0
     GROUP BY kind, state
     UNION ALL
     SELECT kind, 'queued', count(*) FROM (
         SELECT kind FROM tasks WHERE (state = 'queued' OR state = 'waiting')
         AND deadline IS NOT NULL AND deadline <= ?2 AND state = 'queued' AND priority = ?1
         LIMIT 100000)
     GROUP BY kind";

/// Ready tasks that are more urgent than the least urgent one that runs. The counts tell which
/// priorities there are, so that nothing is searched while there are none such.
const URGENT: &str = "WITH RECURSIVE
     least (priority) AS (SELECT min(priority) FROM task_counts
                          WHERE state = 'leased' AND tasks > 0),
     classes (class) AS (
         SELECT min(class) FROM tasks WHERE state = 'queued' AND ready = 1
             AND EXISTS (SELECT 1 FROM task_counts, least WHERE state = 'queued' AND tasks > 0
                         AND task_counts.priority > least.priority)
         UNION ALL
         SELECT (SELECT min(class) FROM tasks
                 WHERE state = 'queued' AND ready = 1 AND class > classes.class)
         FROM classes WHERE class IS NOT NULL LIMIT 1024
     )
     SELECT t.task FROM classes c CROSS JOIN tasks t
     WHERE t.seq IN (SELECT seq FROM tasks WHERE state = 'queued' AND ready = 1
                     AND class = c.class AND priority > (SELECT priority FROM least)
                     AND ready_at <= ?1
                     ORDER BY priority DESC, deadline IS NULL, deadline, seq LIMIT ?2 + ?3)
     ORDER BY t.priority DESC, t.deadline IS NULL, t.deadline, t.seq LIMIT +?2 OFFSET +?3";

/// Tasks that are to be looked at, with all that they wait for.
const ADVANCE: &str = "SELECT child, parent FROM task_links WHERE child IN
     (SELECT DISTINCT child FROM task_links WHERE state = 1 LIMIT +?)";

#[async_trait]
impl TaskStore for SqliteStore {
    async fn submit(
        &self,
        tasks: Vec<NewTask>,
        policy: QueuePolicy,
        now: Timestamp,
    ) -> Result<Vec<Result<Submitted>>> {
        self.idle.store(false, Ordering::Relaxed);
        self.writer.submit(tasks, policy, now).await
    }

    async fn lease(&self, request: LeaseRequest, now: Timestamp) -> Result<Vec<Assignment>> {
        page_limit(request.limit)?;
        // An idle fog polls; it must not take the lock from those who work.
        if self.idle.load(Ordering::Relaxed) {
            let mut reader = self.readers.acquire().await.or_store_error()?;
            let mut cursor = self.cursor.load(Ordering::Relaxed);
            if !is_there_work(&mut reader, &request.asker, &mut cursor).await? {
                self.cursor.store(cursor, Ordering::Relaxed);
                return Ok(Vec::new());
            }
        }
        let assignments = self.writer.lease(request, now).await?;
        self.idle.store(assignments.is_empty(), Ordering::Relaxed);
        Ok(assignments)
    }

    async fn renew(&self, renewals: Vec<Renewal>, now: Timestamp) -> Result<Vec<Result<Task>>> {
        self.writer.renew(renewals, now).await
    }

    async fn complete(
        &self,
        completions: Vec<Completion>,
        now: Timestamp,
    ) -> Result<Vec<Result<Task>>> {
        self.writer.complete(completions, now).await
    }

    async fn release(&self, claims: Vec<Claim>, now: Timestamp) -> Result<Vec<Result<Task>>> {
        self.writer.release(claims, now).await
    }

    async fn cancel(&self, task: TaskId, now: Timestamp) -> Result<Task> {
        self.writer.cancel(task, now).await
    }

    async fn expire(&self, now: Timestamp, limit: usize) -> Result<Vec<Task>> {
        let limit = page_limit(limit)?;
        let due = sqlx::query(
            "SELECT id FROM tasks WHERE state = 'leased' AND expires_at <= ?1
             UNION ALL
             SELECT id FROM tasks
             WHERE (state = 'queued' OR state = 'waiting') AND deadline IS NOT NULL
             AND deadline <= ?1
             -- What waits for its replicas goes by theirs.
             AND NOT (state = 'waiting' AND ifnull(task ->> '$.parts', 0) > 0)
             LIMIT +?2",
        )
        .bind(now.as_micros())
        .bind(integer(limit))
        .fetch_all(&self.readers)
        .await
        .or_store_error()?;
        let due = due.iter().map(|row| Ok(TaskId::from_uuid(id(row, "id")?)));
        self.writer.expire_tasks(due.collect::<Result<_>>()?, now).await
    }

    async fn promote(&self, now: Timestamp, limit: usize) -> Result<usize> {
        let limit = page_limit(limit)?;
        let due = "SELECT EXISTS (SELECT 1 FROM tasks
                   WHERE state = 'queued' AND ready = 0 AND ready_at <= ?) AS found";
        if !self.exists(due, now).await? {
            return Ok(0);
        }
        let promoted = self
            .writer
            .run(move |connection| {
                Box::pin(async move {
                    let done = sqlx::query(
                        "UPDATE tasks SET ready = 1 WHERE seq IN (
                             SELECT seq FROM tasks
                             WHERE state = 'queued' AND ready = 0 AND ready_at <= ? LIMIT +?)",
                    )
                    .bind(now.as_micros())
                    .bind(integer(limit))
                    .execute(connection)
                    .await
                    .or_store_error()?;
                    Ok(done.rows_affected())
                })
            })
            .await?;
        Ok(usize::try_from(promoted).unwrap_or(usize::MAX))
    }

    async fn ahead(&self, priority: i16, deadline: Option<Timestamp>) -> Result<Ahead> {
        let rows = sqlx::query(AHEAD)
            .bind(priority)
            .bind(deadline.map_or(i64::MAX, Timestamp::as_micros))
            .fetch_all(&self.readers)
            .await
            .or_store_error()?;
        let mut ahead = Ahead::default();
        for row in &rows {
            let kind = rows::parsed(row, "kind")?;
            let by_state = match rows::state(row)? {
                TaskState::Leased => &mut ahead.running,
                _ => &mut ahead.queued,
            };
            *by_state.entry(kind).or_default() += count::<u64>(row, "tasks")?;
        }
        Ok(ahead)
    }

    async fn urgent(&self, since: Timestamp, skip: usize, limit: usize) -> Result<Vec<Task>> {
        let limit = page_limit(limit)?;
        let rows = sqlx::query(URGENT)
            .bind(since.as_micros())
            .bind(integer(limit))
            .bind(integer(skip))
            .fetch_all(&self.readers)
            .await
            .or_store_error()?;
        rows.iter().map(rows::task).collect()
    }

    async fn running(&self, nodes: &[NodeId], limit: usize) -> Result<Vec<Task>> {
        let limit = page_limit(limit)?;
        let rows = sqlx::query(
            "SELECT t.task FROM json_each(?1) n CROSS JOIN tasks t WHERE t.seq IN
             (SELECT seq FROM tasks WHERE state = 'leased' AND node = n.value LIMIT +?2)",
        )
        .bind(texts(nodes.iter().map(NodeId::as_str))?)
        .bind(integer(limit))
        .fetch_all(&self.readers)
        .await
        .or_store_error()?;
        rows.iter().map(rows::task).collect()
    }

    async fn preempt(
        &self,
        victims: Vec<Victim>,
        at: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<Task>> {
        self.writer.preempt(victims, at, now).await
    }

    async fn back_up(&self, late: Vec<Claim>, now: Timestamp) -> Result<Vec<Task>> {
        self.idle.store(false, Ordering::Relaxed);
        self.writer.back_up(late, now).await
    }

    async fn advance(&self, now: Timestamp, limit: usize) -> Result<Vec<Task>> {
        let limit = page_limit(limit)?;
        let due = sqlx::query(ADVANCE)
            .bind(integer(limit))
            .fetch_all(&self.readers)
            .await
            .or_store_error()?;
        let pair = |row: &SqliteRow| {
            let (child, parent) = (id(row, "child")?, id(row, "parent")?);
            Ok((TaskId::from_uuid(child), TaskId::from_uuid(parent)))
        };
        let due = due.iter().map(pair).collect::<Result<_>>()?;
        self.idle.store(false, Ordering::Relaxed);
        self.writer.advance(due, now).await
    }

    async fn resume(&self, task: TaskId, now: Timestamp) -> Result<Task> {
        self.idle.store(false, Ordering::Relaxed);
        self.writer.resume(task, now).await
    }

    async fn purge(&self, now: Timestamp, limit: usize) -> Result<usize> {
        let limit = page_limit(limit)?;
        let due = sqlx::query(
            "SELECT id FROM tasks WHERE state <> 'queued' AND state <> 'leased'
             AND expires_at IS NOT NULL AND expires_at <= ?
             AND NOT EXISTS (SELECT 1 FROM task_links WHERE parent = tasks.id)
             ORDER BY expires_at LIMIT +?",
        )
        .bind(now.as_micros())
        .bind(integer(limit))
        .fetch_all(&self.readers)
        .await
        .or_store_error()?;
        let due = due.iter().map(|row| Ok(TaskId::from_uuid(id(row, "id")?)));
        self.writer.purge(due.collect::<Result<_>>()?, now).await
    }

    async fn task(&self, task: TaskId) -> Result<Option<Task>> {
        self.attachment("SELECT task FROM tasks WHERE id = ?", task, rows::task).await
    }

    async fn tasks(
        &self,
        filter: &TaskFilter,
        after: Option<TaskId>,
        limit: usize,
    ) -> Result<Vec<Task>> {
        let limit = page_limit(limit)?;
        let mut after = match after {
            None => 0,
            Some(id) => self
                .attachment("SELECT seq FROM tasks WHERE id = ?", id, |row| get(row, "seq"))
                .await?
                .ok_or(SchedulerError::TaskNotFound(id))?,
        };
        let mut found = Vec::new();
        // The database leaves out most of what is not wanted; `matches` decides on the rest.
        loop {
            let rows = sqlx::query(
                "SELECT seq, task FROM tasks WHERE seq > ?1 AND (?2 IS NULL OR state = ?2)
                 AND (?3 IS NULL OR kind = ?3) AND (?4 IS NULL OR node = ?4)
                 AND (?5 IS NULL OR payer = ?5) ORDER BY seq LIMIT +?6",
            )
            .bind(after)
            .bind(filter.state.map(TaskState::name))
            .bind(filter.kind.as_ref().map(|kind| kind.as_str()))
            .bind(filter.node.as_ref().map(|node| node.as_str()))
            .bind(filter.payer.as_ref().map(|payer| payer.as_str()))
            .bind(integer(limit))
            .fetch_all(&self.readers)
            .await
            .or_store_error()?;
            let last = rows.len() < limit;
            for row in rows {
                after = get(&row, "seq")?;
                let task = rows::task(&row)?;
                if found.len() < limit && filter.matches(&task) {
                    found.push(task);
                }
            }
            if last || found.len() == limit {
                return Ok(found);
            }
        }
    }

    async fn result(&self, task: TaskId) -> Result<Option<Bytes>> {
        // Only where there are no bytes it may be a replica that gave them.
        let sql = "SELECT r.result, CASE WHEN r.result IS NULL THEN t.task END AS task
                   FROM tasks t LEFT JOIN results r ON r.seq = t.seq
                   WHERE t.id = ? AND t.state = 'succeeded' AND t.expires_at IS NOT NULL";
        let result = |row: &SqliteRow| {
            let bytes: Option<&[u8]> = get(row, "result")?;
            let of = if bytes.is_none() { rows::task(row)?.result_of } else { None };
            Ok((Bytes::copy_from_slice(bytes.unwrap_or_default()), of))
        };
        match self.attachment(sql, task, result).await? {
            Some((_, Some(replica))) => {
                Ok(self.attachment(sql, replica, result).await?.map(|(b, _)| b))
            }
            found => Ok(found.map(|(bytes, _)| bytes)),
        }
    }

    async fn explanation(&self, task: TaskId) -> Result<Option<Explanation>> {
        let sql = "SELECT explanation FROM explanations
                   WHERE seq = (SELECT seq FROM tasks WHERE id = ?)";
        self.attachment(sql, task, |row| json(row, "explanation")).await
    }

    async fn log(&self, task: TaskId, after: u64, limit: usize) -> Result<Vec<LogLine>> {
        let limit = page_limit(limit)?;
        let rows = sqlx::query(
            "SELECT number, at, fence, text FROM log_lines
             WHERE seq = (SELECT seq FROM tasks WHERE id = ?) AND number > ?
             ORDER BY number LIMIT +?",
        )
        .bind(id_bytes(task.uuid()))
        .bind(integer(after))
        .bind(integer(limit))
        .fetch_all(&self.readers)
        .await
        .or_store_error()?;
        rows.iter().map(rows::log_line).collect()
    }

    async fn counts(&self) -> Result<TaskCounts> {
        let rows = sqlx::query(
            "SELECT state, sum(tasks) AS tasks FROM task_counts GROUP BY state
             HAVING sum(tasks) > 0",
        )
        .fetch_all(&self.readers)
        .await
        .or_store_error()?;
        rows.iter().map(|row| Ok((rows::state(row)?, count(row, "tasks")?))).collect()
    }

    async fn trust(&self) -> Result<BTreeMap<NodeId, Trust>> {
        let rows =
            sqlx::query("SELECT * FROM trust").fetch_all(&self.readers).await.or_store_error()?;
        rows.iter().map(rows::trust).collect()
    }

    async fn tallies(&self) -> Result<BTreeMap<NodeId, Tally>> {
        let rows =
            sqlx::query("SELECT * FROM tallies").fetch_all(&self.readers).await.or_store_error()?;
        rows.iter().map(rows::tally).collect()
    }
}
