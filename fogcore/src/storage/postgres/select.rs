//! Finding work for nodes, at a cost that does not grow with the queue.
//!
//! The queue is ordered by class first: one hop of the index finds the head of each class, and a
//! class whose head the node cannot run is skipped as a whole, however many tasks wait in it. What
//! another process is just giving away is passed over, not waited for.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use sqlx::PgConnection;

use super::error::Failure;
use super::loaded::Loaded;
use super::rows::{self, count, get, integer, parsed};
use crate::error::Result;
use crate::id::{NodeId, TaskId};
use crate::scheduler::{Assignment, Candidate, Load, Matcher, Offer, Task, TaskState};
use crate::storage::leasing::{MAX_CLASSES, MOST_UNWRITTEN, fitting};
use crate::storage::request::Lease;

/// So many tasks that others hold may stand before those that an asker is given.
const PASSED_OVER: usize = 256;

/// Grants each asker what it should have of what is ready, and writes that.
pub(super) async fn grant(
    connection: &mut PgConnection,
    loaded: &mut Loaded,
    cursor: &mut i64,
    leases: &mut [&mut Lease],
) -> Result<(), Failure> {
    let heads = class_heads(connection, cursor).await?;
    if heads.is_empty() {
        leases.iter_mut().for_each(|lease| lease.answer.keep(Vec::new()));
        return Ok(());
    }
    lock_askers(connection, leases).await?;
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
            loaded.save_tasks(connection, lease.now).await?;
            unwritten = 0;
        }
    }
    if let Some(now) = leases.iter().map(|lease| lease.now).max() {
        loaded.save_tasks(connection, now).await?;
    }
    payloads(connection, loaded, leases).await
}

/// Takes the askers' locks, in order. Two processes that ask for one node at the same time would
/// else both give it its last slot.
async fn lock_askers(connection: &mut PgConnection, leases: &[&mut Lease]) -> Result<(), Failure> {
    let askers: BTreeSet<_> =
        leases.iter().map(|lease| lease.request.asker.node.id.as_str()).collect();
    sqlx::query(
        "SELECT pg_advisory_xact_lock(20231, key)
         FROM (SELECT DISTINCT hashtext(node) AS key FROM unnest($1::text[]) AS n (node)
               ORDER BY key) AS keys",
    )
    .bind(askers.into_iter().collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

/// Hands out the payloads of what was granted: only now, because most tasks that are looked at
/// are not.
async fn payloads(
    connection: &mut PgConnection,
    loaded: &Loaded,
    leases: &mut [&mut Lease],
) -> Result<(), Failure> {
    let granted = leases.iter().filter_map(|lease| lease.answer.kept()).flatten();
    let seqs = granted.map(|given| loaded.seq(given.task.id)).collect::<Result<Vec<_>>>()?;
    if seqs.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query("SELECT seq, payload FROM payloads WHERE seq = ANY($1)")
        .bind(seqs)
        .fetch_all(connection)
        .await?;
    let mut payloads = HashMap::new();
    for row in &rows {
        payloads.insert(get::<i64>(row, "seq")?, Bytes::copy_from_slice(get(row, "payload")?));
    }
    for given in leases.iter_mut().filter_map(|lease| lease.answer.kept_mut()).flatten() {
        // A payload that is empty has no row.
        given.payload = payloads.remove(&loaded.seq(given.task.id)?).unwrap_or_default();
    }
    Ok(())
}

/// Grants one asker what it should have of these classes, without the payloads; `unwritten` of
/// the tasks that are ready in the database were granted before.
async fn assign(
    connection: &mut PgConnection,
    loaded: &mut Loaded,
    loads: &HashMap<NodeId, Load>,
    lease: &Lease,
    classes: &[i64],
    unwritten: usize,
) -> Result<Vec<Assignment>, Failure> {
    let mut assignments = Vec::new();
    if classes.is_empty() {
        return Ok(assignments);
    }
    let (request, now) = (&lease.request, lease.now);
    let (asker, rivals) = (request.asker.clone(), request.rivals.clone());
    let mut matcher = Matcher::new(asker, rivals, loads, request.policy, now);
    for id in heads(connection, loaded, classes, request.limit + unwritten).await? {
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

/// Locks the best ready tasks of these classes that no other process holds.
async fn heads(
    connection: &mut PgConnection,
    loaded: &mut Loaded,
    classes: &[i64],
    most: usize,
) -> Result<Vec<TaskId>, Failure> {
    // First which, without locks and mostly from the index; then no more locks than are needed.
    let best = sqlx::query(
        "SELECT t.seq FROM unnest($1::bigint[]) AS c (class) CROSS JOIN LATERAL
             (SELECT seq, priority FROM tasks
              WHERE state = 'queued' AND ready AND class = c.class
              ORDER BY priority DESC, seq LIMIT $2) AS t
         ORDER BY t.priority DESC, t.seq LIMIT $2",
    )
    .bind(classes)
    .bind(integer(most + PASSED_OVER))
    .fetch_all(&mut *connection)
    .await?;
    let best = best.iter().map(|row| get(row, "seq")).collect::<Result<Vec<i64>>>()?;
    let rows = sqlx::query(
        "SELECT seq, id, task FROM tasks WHERE seq = ANY($1) AND state = 'queued' AND ready
         ORDER BY priority DESC, seq LIMIT $2 FOR UPDATE SKIP LOCKED",
    )
    .bind(best)
    .bind(integer(most))
    .fetch_all(connection)
    .await?;
    Ok(rows.iter().map(|row| loaded.take_in(row)).collect::<Result<_>>()?)
}

/// Whether there may be work for the asker.
pub(super) async fn is_there_work(
    connection: &mut PgConnection,
    asker: &Candidate,
    cursor: &mut i64,
) -> Result<bool, Failure> {
    let heads = class_heads(connection, cursor).await?;
    // Its load is looked up under the lock.
    Ok(!fitting(&heads, asker, &Load::default()).is_empty())
}

/// The next classes of ready tasks, each with a task of it.
async fn class_heads(
    connection: &mut PgConnection,
    cursor: &mut i64,
) -> Result<Vec<(i64, Task)>, Failure> {
    let rows = sqlx::query(
        "WITH RECURSIVE classes (class, n) AS (
             SELECT (SELECT min(class) FROM tasks
                     WHERE state = 'queued' AND ready AND class > $1), 1
             UNION ALL
             SELECT (SELECT min(class) FROM tasks
                     WHERE state = 'queued' AND ready AND class > classes.class), n + 1
             FROM classes WHERE class IS NOT NULL AND n < $2
         )
         SELECT c.class, h.task FROM classes AS c CROSS JOIN LATERAL
             (SELECT task FROM tasks WHERE state = 'queued' AND ready AND class = c.class
              LIMIT 1) AS h
         WHERE c.class IS NOT NULL ORDER BY c.class",
    )
    .bind(*cursor)
    .bind(i32::try_from(MAX_CLASSES).unwrap_or(i32::MAX))
    .fetch_all(connection)
    .await?;
    let last: Option<i64> = match rows.last() {
        Some(row) if rows.len() == MAX_CLASSES => Some(get(row, "class")?),
        _ => None,
    };
    // Classes are hashes, so a start at the least number skips nobody twice in a row.
    *cursor = last.unwrap_or(i64::MIN);
    let heads = rows.iter().map(|row| Ok((get(row, "class")?, rows::task(row)?)));
    Ok(heads.collect::<Result<_>>()?)
}

/// What the leased tasks of the askers and their rivals take of them.
async fn loads(
    connection: &mut PgConnection,
    leases: &[&mut Lease],
) -> Result<HashMap<NodeId, Load>, Failure> {
    let requests = leases.iter().map(|lease| &lease.request);
    let candidates = requests.flat_map(|ask| std::iter::once(&ask.asker).chain(&ask.rivals));
    let nodes: BTreeSet<_> = candidates.map(|candidate| candidate.node.id.as_str()).collect();
    let rows = sqlx::query(
        "SELECT node, count(*) AS tasks,
         least(sum(cpu_milli), 9223372036854775807)::bigint AS cpu_milli,
         least(sum(memory_mib), 9223372036854775807)::bigint AS memory_mib,
         least(sum(storage_mib), 9223372036854775807)::bigint AS storage_mib,
         sum(detailed)::bigint AS detailed
         FROM tasks WHERE state = 'leased' AND node = ANY($1) GROUP BY node",
    )
    .bind(nodes.into_iter().collect::<Vec<_>>())
    .fetch_all(&mut *connection)
    .await?;
    let mut loads = HashMap::new();
    let mut detailed = Vec::new();
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
            detailed.push(node.as_str().to_owned());
        }
        loads.insert(node, load);
    }
    if !detailed.is_empty() {
        let rows = sqlx::query(
            "SELECT node, task FROM tasks WHERE state = 'leased' AND detailed = 1
             AND node = ANY($1) ORDER BY seq",
        )
        .bind(detailed)
        .fetch_all(connection)
        .await?;
        for row in &rows {
            let load: &mut Load = loads.entry(parsed(row, "node")?).or_default();
            load.add_details(&rows::task(row)?);
        }
    }
    Ok(loads)
}
