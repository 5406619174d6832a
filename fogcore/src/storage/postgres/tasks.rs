//! Tasks in PostgreSQL.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::postgres::PgRow;

use super::PostgresStore;
use super::rows::{self, count, get, integer, json};
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

impl PostgresStore {
    /// What one row says that belongs to the task.
    async fn of_task<T>(
        &self,
        sql: &'static str,
        task: TaskId,
        read: impl FnOnce(&PgRow) -> Result<T>,
    ) -> Result<Option<T>> {
        let row = self.readers.fetch_optional(sqlx::query(sql).bind(task.uuid())).await?;
        row.map(|row| read(&row)).transpose()
    }
}

/// What comes before a task of this priority and deadline.
const AHEAD: &str = "SELECT kind, state, sum(tasks)::bigint AS tasks FROM task_counts
     WHERE state = 'leased' OR (state = 'queued' AND priority > $1)
     GROUP BY kind, state HAVING sum(tasks) > 0
     UNION ALL
     SELECT kind, 'queued', count(*) FROM (
         SELECT kind FROM tasks WHERE (state = 'queued' OR state = 'waiting')
         AND deadline IS NOT NULL AND deadline <= $2 AND state = 'queued' AND priority = $1
         LIMIT 100000) AS first
     GROUP BY kind";

/// Ready tasks that are more urgent than the least urgent one that runs. The counts tell which
/// priorities there are, so that nothing is searched while there are none such.
const URGENT: &str = "WITH RECURSIVE
     least (priority) AS (
         SELECT min(l.priority) FROM (SELECT priority FROM task_counts WHERE state = 'leased'
                                      GROUP BY priority HAVING sum(tasks) > 0) AS l),
     classes (class, n) AS (
         SELECT (SELECT min(class) FROM tasks WHERE state = 'queued' AND ready
             AND EXISTS (SELECT 1 FROM task_counts AS q, least WHERE q.state = 'queued'
                         AND q.priority > least.priority
                         GROUP BY q.priority HAVING sum(q.tasks) > 0)), 1
         UNION ALL
         SELECT (SELECT min(class) FROM tasks
                 WHERE state = 'queued' AND ready AND class > classes.class), n + 1
         FROM classes WHERE class IS NOT NULL AND n < 1024
     )
     SELECT t.task FROM classes AS c CROSS JOIN LATERAL
         (SELECT task, priority, deadline, seq, ready_at FROM tasks
          WHERE state = 'queued' AND ready
          AND class = c.class AND priority > (SELECT priority FROM least)
          AND ready_at <= $1
          ORDER BY priority DESC, deadline, seq LIMIT $2 + $3) AS t
     ORDER BY t.priority DESC, t.deadline, t.seq LIMIT $2 OFFSET $3";

/// Tasks that are to be looked at, with all that they wait for.
const ADVANCE: &str = "SELECT child, parent FROM task_links WHERE child = ANY(ARRAY(
     SELECT DISTINCT child FROM task_links WHERE state = 1 LIMIT $1))";

#[async_trait]
impl TaskStore for PostgresStore {
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
        // An idle fog polls; it must not take locks from those who work.
        if self.idle.load(Ordering::Relaxed) {
            let mut cursor = self.cursor.load(Ordering::Relaxed);
            let look = async |reader: &mut sqlx::PgConnection| {
                is_there_work(reader, &request.asker, &mut cursor).await
            };
            let found = self.readers.with(look).await?;
            if !found {
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
        let query = sqlx::query(
            "SELECT id FROM tasks WHERE state = 'leased' AND expires_at <= $1
             UNION ALL
             SELECT id FROM tasks
             WHERE (state = 'queued' OR state = 'waiting') AND deadline IS NOT NULL
             AND deadline <= $1
             -- What waits for its replicas goes by theirs.
             AND NOT (state = 'waiting' AND coalesce((task::json ->> 'parts')::int, 0) > 0)
             LIMIT $2",
        );
        let due = self.readers.fetch_all(query.bind(now.as_micros()).bind(integer(limit))).await?;
        let due = due.iter().map(|row| get(row, "id").map(TaskId::from_uuid));
        self.writer.expire_tasks(due.collect::<Result<_>>()?, now).await
    }

    async fn promote(&self, now: Timestamp, limit: usize) -> Result<usize> {
        let limit = page_limit(limit)?;
        // What another process is promoting, or changing otherwise, is not waited for.
        let query = sqlx::query(
            "UPDATE tasks SET ready = true WHERE seq IN (
                 SELECT seq FROM tasks WHERE state = 'queued' AND NOT ready AND ready_at <= $1
                 ORDER BY ready_at LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING seq",
        );
        let done = self.readers.fetch_all(query.bind(now.as_micros()).bind(integer(limit))).await?;
        Ok(done.len())
    }

    async fn ahead(&self, priority: i16, deadline: Option<Timestamp>) -> Result<Ahead> {
        let deadline = deadline.map_or(i64::MAX, Timestamp::as_micros);
        let query = sqlx::query(AHEAD).bind(priority).bind(deadline);
        let rows = self.readers.fetch_all(query).await?;
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
        let query = sqlx::query(URGENT).bind(since.as_micros());
        let query = query.bind(integer(limit)).bind(integer(skip));
        self.readers.fetch_all(query).await?.iter().map(rows::task).collect()
    }

    async fn running(&self, nodes: &[NodeId], limit: usize) -> Result<Vec<Task>> {
        let limit = page_limit(limit)?;
        let query = sqlx::query(
            "SELECT t.task FROM unnest($1::text[]) AS n (node) CROSS JOIN LATERAL
                 (SELECT task FROM tasks WHERE state = 'leased' AND node = n.node LIMIT $2) AS t",
        );
        let nodes: Vec<_> = nodes.iter().map(NodeId::as_str).collect();
        let query = query.bind(nodes).bind(integer(limit));
        self.readers.fetch_all(query).await?.iter().map(rows::task).collect()
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
        let due = self.readers.fetch_all(sqlx::query(ADVANCE).bind(integer(limit))).await?;
        let pair = |row: &PgRow| {
            let task = |column| get(row, column).map(TaskId::from_uuid);
            Ok((task("child")?, task("parent")?))
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
        let query = sqlx::query(
            "SELECT id FROM tasks WHERE state <> 'queued' AND state <> 'leased'
             AND expires_at IS NOT NULL AND expires_at <= $1
             AND NOT EXISTS (SELECT 1 FROM task_links WHERE parent = tasks.id)
             ORDER BY expires_at LIMIT $2",
        );
        let due = self.readers.fetch_all(query.bind(now.as_micros()).bind(integer(limit))).await?;
        let due = due.iter().map(|row| get(row, "id").map(TaskId::from_uuid));
        self.writer.purge(due.collect::<Result<_>>()?, now).await
    }

    async fn task(&self, task: TaskId) -> Result<Option<Task>> {
        self.of_task("SELECT task FROM tasks WHERE id = $1", task, rows::task).await
    }

    async fn tasks(
        &self,
        filter: &TaskFilter,
        after: Option<TaskId>,
        limit: usize,
    ) -> Result<Vec<Task>> {
        let limit = page_limit(limit)?;
        let after: i64 = match after {
            None => 0,
            Some(id) => self
                .of_task("SELECT seq FROM tasks WHERE id = $1", id, |row| get(row, "seq"))
                .await?
                .ok_or(SchedulerError::TaskNotFound(id))?,
        };
        let query = sqlx::query(
            "SELECT task FROM tasks WHERE seq > $1 AND ($2::text IS NULL OR state = $2)
             AND ($3::text IS NULL OR kind = $3) AND ($4::text IS NULL OR node = $4)
             AND ($5::text IS NULL OR payer = $5) ORDER BY seq LIMIT $6",
        )
        .bind(after)
        .bind(filter.state.map(TaskState::name))
        .bind(filter.kind.as_ref().map(|kind| kind.as_str()))
        .bind(filter.node.as_ref().map(|node| node.as_str()))
        .bind(filter.payer.as_ref().map(|payer| payer.as_str()))
        .bind(integer(limit));
        self.readers.fetch_all(query).await?.iter().map(rows::task).collect()
    }

    async fn result(&self, task: TaskId) -> Result<Option<Bytes>> {
        // Only where there are no bytes it may be a replica that gave them.
        let sql = "SELECT r.result, CASE WHEN r.result IS NULL THEN t.task END AS task
                   FROM tasks t LEFT JOIN results r ON r.seq = t.seq
                   WHERE t.id = $1 AND t.state = 'succeeded' AND t.expires_at IS NOT NULL";
        let result = |row: &PgRow| {
            let bytes: Option<&[u8]> = get(row, "result")?;
            let of = if bytes.is_none() { rows::task(row)?.result_of } else { None };
            Ok((Bytes::copy_from_slice(bytes.unwrap_or_default()), of))
        };
        match self.of_task(sql, task, result).await? {
            Some((_, Some(replica))) => {
                Ok(self.of_task(sql, replica, result).await?.map(|(b, _)| b))
            }
            found => Ok(found.map(|(bytes, _)| bytes)),
        }
    }

    async fn explanation(&self, task: TaskId) -> Result<Option<Explanation>> {
        let sql = "SELECT explanation FROM explanations
                   WHERE seq = (SELECT seq FROM tasks WHERE id = $1)";
        self.of_task(sql, task, |row| json(row, "explanation")).await
    }

    async fn log(&self, task: TaskId, after: u64, limit: usize) -> Result<Vec<LogLine>> {
        let limit = page_limit(limit)?;
        let query = sqlx::query(
            "SELECT number, at, fence, text FROM log_lines
             WHERE seq = (SELECT seq FROM tasks WHERE id = $1) AND number > $2
             ORDER BY number LIMIT $3",
        );
        let query = query.bind(task.uuid()).bind(integer(after)).bind(integer(limit));
        self.readers.fetch_all(query).await?.iter().map(rows::log_line).collect()
    }

    async fn counts(&self) -> Result<TaskCounts> {
        let query = sqlx::query(
            "SELECT state, sum(tasks)::bigint AS tasks FROM task_counts GROUP BY state
             HAVING sum(tasks) > 0",
        );
        let rows = self.readers.fetch_all(query).await?;
        rows.iter().map(|row| Ok((rows::state(row)?, count(row, "tasks")?))).collect()
    }

    async fn trust(&self) -> Result<BTreeMap<NodeId, Trust>> {
        let query = sqlx::query("SELECT node, agreed, disagreed, at FROM trust");
        let rows = self.readers.fetch_all(query).await?;
        rows.iter().map(rows::trust).collect()
    }

    async fn tallies(&self) -> Result<BTreeMap<NodeId, Tally>> {
        let query = sqlx::query(
            "SELECT node, succeeded, failed, lost, released, busy_micros, earned::text
             FROM tallies",
        );
        self.readers.fetch_all(query).await?.iter().map(rows::tally).collect()
    }
}
