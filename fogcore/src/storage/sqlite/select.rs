//! Finding work for nodes, at a cost that does not grow with the queue.
//!
//! The queue is ordered by class first: one hop of the index finds the head of each class, and a
//! class whose head the node cannot run is skipped as a whole, however many tasks wait in it.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use futures::TryStreamExt;
use sqlx::SqliteConnection;

use super::error::OrStoreError;
use super::lists::{integers, texts};
use super::loaded::Loaded;
use super::rows::{self, count, get, integer, parsed};
use crate::error::Result;
use crate::id::NodeId;
use crate::scheduler::{Assignment, Candidate, Load, Matcher, Offer, Task, TaskState};
use crate::storage::leasing::{MAX_CLASSES, MOST_UNWRITTEN, fitting};
use crate::storage::request::Lease;

/// Grants each asker what it should have of what is ready, and writes that.
pub(super) async fn grant(
    connection: &mut SqliteConnection,
    loaded: &mut Loaded,
    cursor: &mut i64,
    leases: &mut [&mut Lease],
) -> Result<()> {
    let heads = class_heads(connection, cursor).await?;
    if heads.is_empty() {
        leases.iter_mut().for_each(|lease| lease.answer.keep(Vec::new()));
        return Ok(());
    }
    let mut loads = loads(connection, leases).await?;
    // What was granted and is not written yet, which a look at the database does not show.
    let mut unwritten = 0;
    for lease in &mut *leases {
        let load = loads.entry(lease.request.asker.node.id.clone()).or_default();
        let classes = fitting(&heads, &lease.request.asker, load);
        let assignments = assign(connection, loaded, &loads, lease, &classes, unwritten).await?;
        let load = loads.entry(lease.request.asker.node.id.clone()).or_default();
        for given in &assignments {
            load.merge(&Load::of(&given.task));
        }
        unwritten += assignments.len();
        lease.answer.keep(assignments);
        if unwritten > MOST_UNWRITTEN {
            loaded.save(connection, lease.now).await?;
            unwritten = 0;
        }
    }
    if let Some(now) = leases.iter().map(|lease| lease.now).max() {
        loaded.save(connection, now).await?;
    }
    payloads(connection, loaded, leases).await
}

/// Hands out the payloads of what was granted: only now, because most tasks that are looked at
/// are not.
async fn payloads(
    connection: &mut SqliteConnection,
    loaded: &Loaded,
    leases: &mut [&mut Lease],
) -> Result<()> {
    let granted = || leases.iter().filter_map(|lease| lease.answer.kept()).flatten();
    let seqs: Vec<i64> =
        granted().filter_map(|given| loaded.seqs.get(&given.task.id).copied()).collect();
    if seqs.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query(
        "SELECT seq, payload FROM payloads WHERE seq IN (SELECT value FROM json_each(?))",
    )
    .bind(integers(&seqs)?)
    .fetch_all(connection)
    .await
    .or_store_error()?;
    let mut payloads = HashMap::new();
    for row in &rows {
        payloads.insert(get::<i64>(row, "seq")?, Bytes::copy_from_slice(get(row, "payload")?));
    }
    for given in leases.iter_mut().filter_map(|lease| lease.answer.kept_mut()).flatten() {
        let seq = loaded.seqs.get(&given.task.id);
        // A payload that is empty has no row.
        given.payload = seq.and_then(|seq| payloads.remove(seq)).unwrap_or_default();
    }
    Ok(())
}

/// Grants one asker what it should have of these classes, without the payloads; `unwritten` of
/// the tasks that are ready in the database were granted before.
async fn assign(
    connection: &mut SqliteConnection,
    loaded: &mut Loaded,
    loads: &HashMap<NodeId, Load>,
    lease: &Lease,
    classes: &[i64],
    unwritten: usize,
) -> Result<Vec<Assignment>> {
    let mut assignments = Vec::new();
    if classes.is_empty() {
        return Ok(assignments);
    }
    let (request, now) = (&lease.request, lease.now);
    let (asker, rivals) = (request.asker.clone(), request.rivals.clone());
    let mut matcher = Matcher::new(asker, rivals, loads, request.policy, now);
    let mut heads = sqlx::query(HEADS)
        .bind(integers(classes)?)
        .bind(integer(request.limit + unwritten))
        .fetch(connection);
    while let Some(row) = heads.try_next().await.or_store_error()? {
        let id = loaded.take_in(&row)?;
        let Some(task) = loaded.set.task(id).filter(|task| task.state == TaskState::Queued) else {
            continue;
        };
        match matcher.offer(task) {
            Offer::Taken(explanation) => {
                let expires_at = now.saturating_add(request.duration);
                let task = loaded.set.lease(id, *explanation, now, expires_at)?;
                assignments.push(Assignment { task, payload: Bytes::new() });
            }
            Offer::Unfit => {}
            Offer::Enough => break,
        }
        if assignments.len() == request.limit {
            break;
        }
    }
    Ok(assignments)
}

/// Whether there may be work for the asker.
pub(super) async fn is_there_work(
    connection: &mut SqliteConnection,
    asker: &Candidate,
    cursor: &mut i64,
) -> Result<bool> {
    let heads = class_heads(connection, cursor).await?;
    // Its load is looked up under the lock.
    Ok(!fitting(&heads, asker, &Load::default()).is_empty())
}

/// The next classes of ready tasks, each with a task of it.
async fn class_heads(
    connection: &mut SqliteConnection,
    cursor: &mut i64,
) -> Result<Vec<(i64, Task)>> {
    let rows = sqlx::query(
        "WITH RECURSIVE classes (class) AS (
             SELECT min(class) FROM tasks WHERE state = 'queued' AND ready = 1 AND class > ?1
             UNION ALL
             SELECT (SELECT min(class) FROM tasks
                     WHERE state = 'queued' AND ready = 1 AND class > classes.class)
             FROM classes WHERE class IS NOT NULL LIMIT +?2
         )
         SELECT class, (SELECT task FROM tasks
                        WHERE state = 'queued' AND ready = 1 AND class = classes.class
                        LIMIT 1) AS task
         FROM classes WHERE class IS NOT NULL",
    )
    .bind(*cursor)
    .bind(integer(MAX_CLASSES))
    .fetch_all(connection)
    .await
    .or_store_error()?;
    let last: Option<i64> = match rows.last() {
        Some(row) if rows.len() == MAX_CLASSES => Some(get(row, "class")?),
        _ => None,
    };
    // Classes are hashes, so a start at the least number skips nobody twice in a row.
    *cursor = last.unwrap_or(i64::MIN);
    rows.iter().map(|row| Ok((get(row, "class")?, rows::task(row)?))).collect()
}

/// The best ready tasks of these classes: a query that takes a list of classes and how many tasks
/// are wanted. (A bare `LIMIT ?` is prepared anew for each value; after a plus it is not.)
const HEADS: &str = "SELECT t.seq, t.id, t.task FROM json_each(?1) c CROSS JOIN tasks t
     WHERE t.seq IN (SELECT seq FROM tasks
                     WHERE state = 'queued' AND ready = 1 AND class = c.value
                     ORDER BY priority DESC, seq LIMIT +?2)
     ORDER BY t.priority DESC, t.seq LIMIT +?2";

/// What the leased tasks of the askers and their rivals take of them.
async fn loads(
    connection: &mut SqliteConnection,
    leases: &[&mut Lease],
) -> Result<HashMap<NodeId, Load>> {
    let requests = leases.iter().map(|lease| &lease.request);
    let candidates = requests.flat_map(|ask| std::iter::once(&ask.asker).chain(&ask.rivals));
    let nodes: BTreeSet<_> = candidates.map(|candidate| candidate.node.id.as_str()).collect();
    let rows = sqlx::query(
        "SELECT node, count(*) AS tasks, sum(cpu_milli) AS cpu_milli,
         sum(memory_mib) AS memory_mib, sum(storage_mib) AS storage_mib, sum(detailed) AS detailed
         FROM tasks WHERE state = 'leased' AND node IN (SELECT value FROM json_each(?))
         GROUP BY node",
    )
    .bind(texts(nodes)?)
    .fetch_all(&mut *connection)
    .await
    .or_store_error()?;
    let mut loads = HashMap::new();
    let mut detailed = BTreeSet::new();
    for row in &rows {
        let node: NodeId = parsed(row, "node")?;
        let load = Load {
            tasks: count(row, "tasks")?,
            cpu_milli: count(row, "cpu_milli")?,
            memory_mib: count(row, "memory_mib")?,
            storage_mib: count(row, "storage_mib")?,
            ..Load::default()
        };
        if count::<u64>(row, "detailed")? > 0 {
            detailed.insert(node.clone());
        }
        loads.insert(node, load);
    }
    if !detailed.is_empty() {
        let nodes: BTreeSet<_> = detailed.iter().map(|node| node.as_str()).collect();
        let rows = sqlx::query(
            "SELECT node, task FROM tasks WHERE state = 'leased' AND detailed = 1
             AND node IN (SELECT value FROM json_each(?)) ORDER BY seq",
        )
        .bind(texts(nodes)?)
        .fetch_all(connection)
        .await
        .or_store_error()?;
        for row in &rows {
            let load: &mut Load = loads.entry(parsed(row, "node")?).or_default();
            load.add_details(&rows::task(row)?);
        }
    }
    Ok(loads)
}
