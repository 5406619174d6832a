//! Finding work for nodes, at a cost that does not grow with the queue.
//!
//! The queue is ordered by class first: one hop of the index finds the head of each class, and a
//! class whose head the node cannot run is skipped as a whole, however many tasks wait in it. What
//! another process is just giving away is passed over, not waited for.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use sqlx::PgConnection;
use sqlx::postgres::PgRow;

use super::error::Failure;
use super::loaded::Loaded;
use super::rows::{self, count, get, integer, parsed};
use crate::error::Result;
use crate::id::{AccountId, NodeId, TaskId};
use crate::scheduler::queue::{Demand, Rank, Turns, count as counts, fair};
use crate::scheduler::{Assignment, Candidate, Load, Matcher, Neighbours, Offer, Task, TaskState};
use crate::storage::leasing::{
    Fitting, Look, MAX_CLASSES, MOST_UNWRITTEN, Search, fitting, has_one_payer,
};
use crate::storage::request::{Lease, Wanted};

/// So many tasks that others hold may stand before those that an asker is given.
const PASSED_OVER: usize = 256;

/// Grants each asker what it should have of what is ready, and writes that.
pub(super) async fn grant(
    connection: &mut PgConnection,
    loaded: &mut Loaded,
    search: &mut Search,
    leases: &mut [&mut Lease],
) -> Result<(), Failure> {
    let heads = class_heads(connection, &mut search.cursor).await?;
    if heads.is_empty() {
        leases.iter_mut().for_each(|lease| lease.answer.keep(Vec::new()));
        return Ok(());
    }
    lock_askers(connection, leases).await?;
    let mut loads = loads(connection, leases).await?;
    let mut neighbours = neighbours(connection, &heads).await?;
    // What was granted and is not written yet, which a look at the database does not show.
    let mut unwritten = 0;
    for lease in &mut *leases {
        let load = loads.entry(lease.request.asker.node.id.clone()).or_default();
        let asker = &lease.request.asker.node;
        let classes = fitting(&heads, &lease.request.asker, load, &neighbours);
        let pass = Pass { loads: &loads, neighbours: &neighbours, turns: &search.turns, unwritten };
        let assignments = assign(connection, loaded, &pass, lease, &classes).await?;
        let load = loads.entry(asker.id.clone()).or_default();
        for given in &assignments {
            load.merge(&Load::of(&given.task));
            if let Some(apart) = &given.task.spec.requirements.apart {
                neighbours.add(apart, asker, 1);
            }
            search.turns.serve(given.task.spec.payer());
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

/// Hands out payloads and checkpoints of what was granted: only now, because most tasks that are
/// looked at are not.
async fn payloads(
    connection: &mut PgConnection,
    loaded: &Loaded,
    leases: &mut [&mut Lease],
) -> Result<(), Failure> {
    let granted = leases.iter().filter_map(|lease| lease.answer.kept()).flatten();
    // A replica has what its task has.
    let seqs = granted.map(|given| loaded.seq(given.task.work())).collect::<Result<Vec<_>>>()?;
    if seqs.is_empty() {
        return Ok(());
    }
    let saved = leases.iter().filter_map(|lease| lease.answer.kept()).flatten();
    let saved = saved.filter(|given| given.task.checkpoint.is_some());
    let saved = saved.map(|given| loaded.seq(given.task.id)).collect::<Result<Vec<_>>>()?;
    let sql = "SELECT seq, payload AS bytes FROM payloads WHERE seq = ANY($1)";
    let payloads = bytes_of(connection, sql, seqs).await?;
    let mut checkpoints = HashMap::new();
    if !saved.is_empty() {
        let sql = "SELECT seq, checkpoint AS bytes FROM checkpoints WHERE seq = ANY($1)";
        checkpoints = bytes_of(connection, sql, saved).await?;
    }
    for given in leases.iter_mut().filter_map(|lease| lease.answer.kept_mut()).flatten() {
        let seq = loaded.seq(given.task.id)?;
        // A payload that is empty has no row.
        let work = loaded.seq(given.task.work())?;
        given.payload = payloads.get(&work).cloned().unwrap_or_default();
        given.checkpoint = checkpoints.remove(&seq);
    }
    Ok(())
}

async fn bytes_of(
    connection: &mut PgConnection,
    sql: &'static str,
    seqs: Vec<i64>,
) -> Result<HashMap<i64, Bytes>, Failure> {
    let rows = sqlx::query(sql).bind(seqs).fetch_all(connection).await?;
    let bytes =
        |row: &PgRow| Ok((get::<i64>(row, "seq")?, Bytes::copy_from_slice(get(row, "bytes")?)));
    Ok(rows.iter().map(bytes).collect::<Result<_>>()?)
}

/// What was given away so far.
struct Pass<'p> {
    loads: &'p HashMap<NodeId, Load>,
    neighbours: &'p Neighbours,
    turns: &'p Turns,
    /// How many of the tasks that are ready in the database were granted before.
    unwritten: usize,
}

/// Grants one asker what it should have of these classes, without the payloads.
async fn assign(
    connection: &mut PgConnection,
    loaded: &mut Loaded,
    pass: &Pass<'_>,
    lease: &Lease,
    classes: &[Fitting<'_>],
) -> Result<Vec<Assignment>, Failure> {
    let mut assignments = Vec::new();
    if classes.is_empty() {
        return Ok(assignments);
    }
    let (request, now) = (&lease.request, lease.now);
    let (asker, rivals) = (request.asker.clone(), request.rivals.clone());
    let near = pass.neighbours.clone();
    let mut matcher = Matcher::new(asker, rivals, pass.loads, near, request.policy, now);
    let owner = request.asker.node.owner.as_ref();
    for look in Look::first(classes) {
        let seen: Vec<_> = classes.iter().filter(|class| look.sees(class.head)).copied().collect();
        // How many replicas the asker may not have, because it has others of the same work.
        let mut passed_over = 0;
        for id in heads(connection, loaded, pass, lease, &seen, look.behind).await? {
            let Some(task) = loaded.set.task(id).filter(|task| task.state == TaskState::Queued)
            else {
                continue;
            };
            if !loaded.set.may_have(task, &request.asker.node.id, owner) {
                passed_over += 1;
                continue;
            }
            match matcher.offer(task) {
                Offer::Taken(explanation) => {
                    let expires_at = now.saturating_add(request.duration);
                    let task = loaded.set.lease(id, *explanation, owner, now, expires_at)?;
                    assignments.push(Assignment { task, payload: Bytes::new(), checkpoint: None });
                }
                Offer::Unfit => {}
                Offer::Enough => return Ok(assignments),
            }
            if assignments.len() == request.limit {
                return Ok(assignments);
            }
        }
        if passed_over < look.behind.max(1) {
            break;
        }
    }
    Ok(assignments)
}

/// Locks the best ready tasks of these classes that no other process holds, each payer in turn.
async fn heads(
    connection: &mut PgConnection,
    loaded: &mut Loaded,
    pass: &Pass<'_>,
    lease: &Lease,
    classes: &[Fitting<'_>],
    behind: usize,
) -> Result<Vec<TaskId>, Failure> {
    let most = lease.request.limit + pass.unwritten + behind;
    // First which, without locks and mostly from the index; then no more locks than are needed.
    let numbers: Vec<_> = classes.iter().map(|class| class.class).collect();
    let rows = sqlx::query(
        "SELECT c.class, t.seq, t.priority, t.deadline
         FROM unnest($1::bigint[]) AS c (class) CROSS JOIN LATERAL
             (SELECT seq, priority, deadline FROM tasks
              WHERE state = 'queued' AND ready AND class = c.class
              ORDER BY priority DESC, deadline, seq LIMIT $2) AS t",
    )
    .bind(&numbers)
    .bind(integer(most + PASSED_OVER))
    .fetch_all(&mut *connection)
    .await?;
    let mut ranks: HashMap<i64, Vec<Rank>> = HashMap::new();
    for row in &rows {
        let deadline: Option<i64> = get(row, "deadline")?;
        let deadline = deadline.map(|_| rows::time(row, "deadline")).transpose()?;
        let rank = Rank { priority: get(row, "priority")?, deadline, place: get(row, "seq")? };
        ranks.entry(get(row, "class")?).or_default().push(rank);
    }
    let best = if has_one_payer(classes) {
        let mut all: Vec<_> = ranks.into_values().flatten().collect();
        all.sort_unstable();
        all.iter().map(|rank| rank.place).collect()
    } else {
        let taken = taken(connection, loaded, classes).await?;
        let lane = |class: &Fitting<'_>| {
            let mut waiting = ranks.get(&class.class).cloned().unwrap_or_default();
            waiting.sort_unstable();
            class.lane(waiting)
        };
        let taken =
            |payer: Option<&AccountId>| taken.get(&payer.cloned()).copied().unwrap_or_default();
        let lanes = classes.iter().map(lane).collect();
        fair::order(lanes, &lease.request.shares, &taken, pass.turns, most + PASSED_OVER)
    };
    let rows = sqlx::query(
        "SELECT t.seq, t.id, t.task FROM unnest($1::bigint[]) WITH ORDINALITY AS o (seq, turn)
         JOIN tasks AS t ON t.seq = o.seq WHERE t.state = 'queued' AND t.ready
         ORDER BY o.turn LIMIT $2 FOR UPDATE OF t SKIP LOCKED",
    )
    .bind(best)
    .bind(integer(most))
    .fetch_all(&mut *connection)
    .await?;
    let heads = rows.iter().map(|row| loaded.take_in(row)).collect::<Result<Vec<_>>>()?;
    // Where the others are, stands with what they are replicas of.
    let parts = heads.iter().filter_map(|id| loaded.set.task(*id)?.part.as_ref());
    let wanted = Wanted { bare: parts.map(|part| part.of).collect(), ..Wanted::default() };
    loaded.tasks(connection, &wanted).await?;
    Ok(heads)
}

/// What the running tasks of these classes' payers take.
async fn taken(
    connection: &mut PgConnection,
    loaded: &Loaded,
    classes: &[Fitting<'_>],
) -> Result<HashMap<Option<AccountId>, Demand>, Failure> {
    let payers: BTreeSet<_> = classes.iter().map(|class| class.head.spec.payer()).collect();
    let names = payers.iter().map(|payer| payer.map_or("", AccountId::as_str));
    let rows = sqlx::query(
        "SELECT payer, sum(slots)::bigint AS slots, sum(cpu_milli)::bigint AS cpu_milli,
             sum(memory_mib)::bigint AS memory_mib, sum(gpu_milli)::bigint AS gpu_milli
         FROM task_counts WHERE payer = ANY($1) AND state = 'leased' GROUP BY payer",
    )
    .bind(names.collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    let mut taken = HashMap::new();
    for payer in payers {
        taken.insert(payer.cloned(), counts::taken(loaded.set.counts_since(), payer));
    }
    for row in &rows {
        let sum = taken.entry(rows::payer(row)?).or_default();
        *sum = sum.plus(rows::demand(row)?);
    }
    Ok(taken)
}

/// Whether there may be work for the asker.
pub(super) async fn is_there_work(
    connection: &mut PgConnection,
    asker: &Candidate,
    cursor: &mut i64,
) -> Result<bool, Failure> {
    let heads = class_heads(connection, cursor).await?;
    // Its load is looked up under the lock.
    Ok(!fitting(&heads, asker, &Load::default(), &Neighbours::default()).is_empty())
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

/// Where the running tasks are of the groups that some of these are to be kept apart from by a
/// label. Locks the groups: two processes would else both put the last one that may be there.
async fn neighbours(
    connection: &mut PgConnection,
    heads: &[(i64, Task)],
) -> Result<Neighbours, Failure> {
    let mut neighbours = Neighbours::default();
    let groups = Neighbours::groups(heads.iter().map(|(_, head)| head));
    if groups.is_empty() {
        return Ok(neighbours);
    }
    let (groups, keys): (Vec<_>, Vec<_>) = groups.into_iter().unzip();
    sqlx::query(
        "SELECT pg_advisory_xact_lock(20232, key)
         FROM (SELECT DISTINCT hashtext(name) AS key FROM unnest($1::text[]) AS g (name)
               ORDER BY key) AS keys",
    )
    .bind(&groups)
    .execute(&mut *connection)
    .await?;
    let rows = sqlx::query(
        "SELECT g.name, g.key, n.record::json #>> ARRAY['node', 'labels', g.key] AS value,
             count(*) AS tasks
         FROM unnest($1::text[], $2::text[]) AS g (name, key)
         JOIN tasks AS t ON t.apart = g.name AND t.state = 'leased'
         JOIN nodes AS n ON n.id = t.node
         WHERE n.record::json #>> ARRAY['node', 'labels', g.key] IS NOT NULL
         GROUP BY 1, 2, 3",
    )
    .bind(&groups)
    .bind(&keys)
    .fetch_all(connection)
    .await?;
    for row in &rows {
        let (group, key, value) = (get(row, "name")?, get(row, "key")?, get(row, "value")?);
        neighbours.add_near(group, key, value, count(row, "tasks")?);
    }
    Ok(neighbours)
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
