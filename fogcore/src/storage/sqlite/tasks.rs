//! Tasks in SQLite.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::SqliteStore;
use super::error::OrStoreError;
use super::lists::integers;
use super::rows::{self, count, get, id, id_bytes, integer, json};
use super::select::{HEADS, fitting_classes, loads};
use super::working_set::{Loaded, tally};
use crate::error::Result;
use crate::id::{AccountId, NodeId, TaskId};
use crate::registry::page_limit;
use crate::scheduler::{
    Assignment, Claim, Completion, Explanation, LeaseRequest, MAX_BATCH, Matcher, NewTask, Offer,
    Outcome, Renewal, SchedulerError, Submitted, Tally, Task, TaskCounts, TaskFilter, TaskState,
    TaskStore, WorkingSet,
};
use crate::storage::check_batch;
use crate::time::Timestamp;

/// Grants what the request's asker should have of what is ready.
async fn grant(
    connection: &mut SqliteConnection,
    request: LeaseRequest,
    cursor: i64,
    now: Timestamp,
) -> Result<(Vec<Assignment>, i64)> {
    let cursor = AtomicI64::new(cursor);
    let classes = fitting_classes(connection, &request.asker, &cursor).await?;
    let cursor = cursor.into_inner();
    if classes.is_empty() {
        return Ok((Vec::new(), cursor));
    }
    let loads = loads(connection, &request).await?;
    let LeaseRequest { asker, rivals, policy, limit, duration } = request;
    let mut matcher = Matcher::new(asker, rivals, &loads, policy, now);
    let mut loaded = Loaded::default();
    let mut assignments = Vec::new();
    let classes = integers(&classes)?;
    let mut heads = sqlx::query(HEADS).bind(classes).bind(integer(limit)).fetch(&mut *connection);
    while let Some(row) = heads.try_next().await.or_store_error()? {
        let task = loaded.take_in(&row)?;
        match matcher.offer(&task) {
            Offer::Taken(explanation) => {
                let expires_at = now.saturating_add(duration);
                let task = loaded.set.lease(task.id, *explanation, now, expires_at)?;
                let payload: Option<&[u8]> = get(&row, "payload")?;
                let payload = Bytes::copy_from_slice(payload.unwrap_or_default());
                assignments.push(Assignment { task, payload });
            }
            Offer::Unfit => {}
            Offer::Enough => break,
        }
    }
    drop(heads);
    loaded.save(connection, now).await?;
    Ok((assignments, cursor))
}

impl SqliteStore {
    /// Loads the tasks that the items are about, makes the call on each, and saves.
    async fn each<T, R>(
        &self,
        items: Vec<T>,
        now: Timestamp,
        task: fn(&T) -> TaskId,
        payee: fn(&T) -> Option<&AccountId>,
        call: fn(&mut WorkingSet, T, Timestamp) -> Result<R>,
    ) -> Result<Vec<Result<R>>>
    where
        T: Send + Sync + 'static,
        R: Send + 'static,
    {
        check_batch(items.len(), MAX_BATCH)?;
        if items.is_empty() {
            return Ok(Vec::new());
        }
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    let ids: Vec<_> = items.iter().map(task).collect();
                    let payees: Vec<_> = items.iter().filter_map(payee).cloned().collect();
                    let mut loaded = Loaded::tasks(connection, ids, payees).await?;
                    let answers =
                        items.into_iter().map(|item| call(&mut loaded.set, item, now)).collect();
                    loaded.save(connection, now).await?;
                    Ok(answers)
                })
            })
            .await
    }

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

#[async_trait]
impl TaskStore for SqliteStore {
    async fn submit(&self, tasks: Vec<NewTask>, now: Timestamp) -> Result<Vec<Result<Submitted>>> {
        check_batch(tasks.len(), MAX_BATCH)?;
        self.idle.store(false, Ordering::Relaxed);
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    let mut loaded = Loaded::submissions(connection, &tasks).await?;
                    let answers =
                        tasks.into_iter().map(|task| loaded.set.submit(task, now)).collect();
                    loaded.save(connection, now).await?;
                    Ok(answers)
                })
            })
            .await
    }

    async fn lease(&self, request: LeaseRequest, now: Timestamp) -> Result<Vec<Assignment>> {
        page_limit(request.limit)?;
        let cursor = self.cursor.load(Ordering::Relaxed);
        // An idle fog polls; it must not take the lock from those who work.
        if self.idle.load(Ordering::Relaxed) {
            let mut reader = self.readers.acquire().await.or_store_error()?;
            let cursor = AtomicI64::new(cursor);
            let classes = fitting_classes(&mut reader, &request.asker, &cursor).await?;
            if classes.is_empty() {
                self.cursor.store(cursor.into_inner(), Ordering::Relaxed);
                return Ok(Vec::new());
            }
        }
        let (assignments, cursor) = self
            .writer
            .write(move |connection| Box::pin(grant(connection, request, cursor, now)))
            .await?;
        self.cursor.store(cursor, Ordering::Relaxed);
        self.idle.store(assignments.is_empty(), Ordering::Relaxed);
        Ok(assignments)
    }

    async fn renew(&self, renewals: Vec<Renewal>, now: Timestamp) -> Result<Vec<Result<Task>>> {
        let task = |renewal: &Renewal| renewal.claim.task;
        self.each(renewals, now, task, |_| None, |set, renewal, _| set.renew(renewal)).await
    }

    async fn complete(
        &self,
        completions: Vec<Completion>,
        now: Timestamp,
    ) -> Result<Vec<Result<Task>>> {
        fn payee(completion: &Completion) -> Option<&AccountId> {
            match &completion.outcome {
                Outcome::Succeeded { reward: Some((owner, _)), .. } => Some(owner),
                _ => None,
            }
        }
        let task = |completion: &Completion| completion.claim.task;
        self.each(completions, now, task, payee, WorkingSet::complete).await
    }

    async fn release(&self, claims: Vec<Claim>, now: Timestamp) -> Result<Vec<Result<Task>>> {
        self.each(claims, now, |claim| claim.task, |_| None, WorkingSet::release).await
    }

    async fn cancel(&self, task: TaskId, now: Timestamp) -> Result<Task> {
        let mut answers =
            self.each(vec![task], now, |task| *task, |_| None, WorkingSet::cancel).await?;
        answers.pop().unwrap_or_else(|| Err(SchedulerError::TaskNotFound(task).into()))
    }

    async fn expire(&self, now: Timestamp, limit: usize) -> Result<Vec<Task>> {
        let limit = page_limit(limit)?;
        let due = sqlx::query(
            "SELECT id FROM tasks WHERE state = 'leased' AND expires_at <= ?1
             UNION ALL
             SELECT id FROM tasks
             WHERE state = 'queued' AND deadline IS NOT NULL AND deadline <= ?1
             LIMIT ?2",
        )
        .bind(now.as_micros())
        .bind(integer(limit))
        .fetch_all(&self.readers)
        .await
        .or_store_error()?;
        let due = due.iter().map(|row| Ok(TaskId::from_uuid(id(row, "id")?)));
        let due = due.collect::<Result<Vec<_>>>()?;
        // What changed since it was read is looked at again, under the lock.
        let ended = self.each(due, now, |task| *task, |_| None, WorkingSet::expire).await?;
        ended.into_iter().filter_map(Result::transpose).collect()
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
            .write(move |connection| {
                Box::pin(async move {
                    let done = sqlx::query(
                        "UPDATE tasks SET ready = 1 WHERE seq IN (
                             SELECT seq FROM tasks
                             WHERE state = 'queued' AND ready = 0 AND ready_at <= ? LIMIT ?)",
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
                 AND (?5 IS NULL OR payer = ?5) ORDER BY seq LIMIT ?6",
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
        let sql = "SELECT r.result FROM tasks t LEFT JOIN results r ON r.seq = t.seq
                   WHERE t.id = ? AND t.state = 'succeeded'";
        let result = |row: &SqliteRow| {
            let bytes: Option<&[u8]> = get(row, "result")?;
            Ok(Bytes::copy_from_slice(bytes.unwrap_or_default()))
        };
        self.attachment(sql, task, result).await
    }

    async fn explanation(&self, task: TaskId) -> Result<Option<Explanation>> {
        let sql = "SELECT explanation FROM explanations
                   WHERE seq = (SELECT seq FROM tasks WHERE id = ?)";
        self.attachment(sql, task, |row| json(row, "explanation")).await
    }

    async fn counts(&self) -> Result<TaskCounts> {
        let rows = sqlx::query("SELECT state, count(*) AS tasks FROM tasks GROUP BY state")
            .fetch_all(&self.readers)
            .await
            .or_store_error()?;
        let mut counts = TaskCounts::new();
        for row in rows {
            let state: &str = get(&row, "state")?;
            if let Some(state) = TaskState::ALL.into_iter().find(|known| known.name() == state) {
                counts.insert(state, count(&row, "tasks")?);
            }
        }
        Ok(counts)
    }

    async fn tallies(&self) -> Result<BTreeMap<NodeId, Tally>> {
        let rows =
            sqlx::query("SELECT * FROM tallies").fetch_all(&self.readers).await.or_store_error()?;
        rows.iter().map(tally).collect()
    }
}
