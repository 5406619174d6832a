//! Finding work for a node, at a cost that does not grow with the queue.
//!
//! The queue is ordered by class first: one hop of the index finds the head of each class, and a
//! class whose head the node cannot run is skipped as a whole, however many tasks wait in it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};

use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::error::OrStoreError;
use super::lists::texts;
use super::rows::{self, count, get, integer, parsed};
use crate::error::Result;
use crate::id::NodeId;
use crate::scheduler::{Candidate, LeaseRequest, Load};

/// How many classes one look goes through; the next one goes on where it ended.
const MAX_CLASSES: usize = 256;

/// The classes of ready tasks that the asker could run if it were empty.
pub(super) async fn fitting_classes(
    connection: &mut SqliteConnection,
    asker: &Candidate,
    cursor: &AtomicI64,
) -> Result<Vec<i64>> {
    let rows = sqlx::query(
        "WITH RECURSIVE classes (class) AS (
             SELECT min(class) FROM tasks WHERE state = 'queued' AND ready = 1 AND class > ?1
             UNION ALL
             SELECT (SELECT min(class) FROM tasks
                     WHERE state = 'queued' AND ready = 1 AND class > classes.class)
             FROM classes WHERE class IS NOT NULL LIMIT ?2
         )
         SELECT class, (SELECT task FROM tasks
                        WHERE state = 'queued' AND ready = 1 AND class = classes.class
                        LIMIT 1) AS task
         FROM classes WHERE class IS NOT NULL",
    )
    .bind(cursor.load(Ordering::Relaxed))
    .bind(integer(MAX_CLASSES))
    .fetch_all(connection)
    .await
    .or_store_error()?;
    let last: Option<i64> = match rows.last() {
        Some(row) if rows.len() == MAX_CLASSES => Some(get(row, "class")?),
        _ => None,
    };
    // Classes are hashes, so a start at the least number skips nobody twice in a row.
    cursor.store(last.unwrap_or(i64::MIN), Ordering::Relaxed);
    let mut fitting = Vec::new();
    for row in rows {
        let head = rows::task(&row)?;
        if asker.never(&head.spec.kind, &head.spec.requirements).is_none() {
            fitting.push(get(&row, "class")?);
        }
    }
    Ok(fitting)
}

/// The best ready tasks of these classes: a query that takes a list of classes and, twice, how
/// many tasks are wanted.
pub(super) const HEADS: &str = "SELECT t.seq, t.task, p.payload FROM json_each(?1) c
     CROSS JOIN tasks t LEFT JOIN payloads p ON p.seq = t.seq
     WHERE t.seq IN (SELECT seq FROM tasks
                     WHERE state = 'queued' AND ready = 1 AND class = c.value
                     ORDER BY priority DESC, seq LIMIT ?2)
     ORDER BY t.priority DESC, t.seq LIMIT ?2";

/// What the leased tasks of the asker and its rivals take of them.
pub(super) async fn loads(
    connection: &mut SqliteConnection,
    request: &LeaseRequest,
) -> Result<HashMap<NodeId, Load>> {
    let nodes = std::iter::once(&request.asker).chain(&request.rivals);
    let rows = sqlx::query(
        "SELECT node, count(*) AS tasks, sum(cpu_cores) AS cpu_cores,
         sum(memory_mib) AS memory_mib, sum(storage_mib) AS storage_mib, sum(gpus) AS gpus
         FROM tasks WHERE state = 'leased' AND node IN (SELECT value FROM json_each(?))
         GROUP BY node",
    )
    .bind(texts(nodes.map(|candidate| candidate.node.id.as_str()))?)
    .fetch_all(connection)
    .await
    .or_store_error()?;
    let load = |row: &SqliteRow| {
        let load = Load {
            tasks: count(row, "tasks")?,
            cpu_cores: count(row, "cpu_cores")?,
            memory_mib: count(row, "memory_mib")?,
            storage_mib: count(row, "storage_mib")?,
            gpus: count(row, "gpus")?,
        };
        Ok((parsed(row, "node")?, load))
    };
    rows.iter().map(load).collect()
}
