//! Finding work for nodes, at a cost that does not grow with the queue.
//!
//! The queue is ordered by class first: one hop of the index finds the head of each class, and a
//! class whose head the node cannot run is skipped as a whole, however many tasks wait in it.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use futures::TryStreamExt;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::error::OrStoreError;
use super::lists::{integers, texts};
use super::loaded::Loaded;
use super::rows::{self, count, get, integer, parsed, to_json};
use crate::error::Result;
use crate::id::NodeId;
use crate::scheduler::queue::{Counts, Rank, Turns, count as counts, fair};
use crate::scheduler::{Assignment, Candidate, Load, Matcher, Neighbours, Offer, Task, TaskState};
use crate::storage::leasing::{
    Fitting, Look, MAX_CLASSES, MOST_UNWRITTEN, Search, fitting, has_one_payer, has_replicas,
};
use crate::storage::request::{Lease, Wanted};

/// Grants each asker what it should have of what is ready, and writes that.
pub(super) async fn grant(
    connection: &mut SqliteConnection,
    loaded: &mut Loaded,
    search: &mut Search,
    leases: &mut [&mut Lease],
) -> Result<()> {
    let heads = class_heads(connection, &mut search.cursor).await?;
    if heads.is_empty() {
        leases.iter_mut().for_each(|lease| lease.answer.keep(Vec::new()));
        return Ok(());
    }
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
            loaded.save(connection, lease.now).await?;
            unwritten = 0;
        }
    }
    if let Some(now) = leases.iter().map(|lease| lease.now).max() {
        loaded.save(connection, now).await?;
    }
    payloads(connection, loaded, leases).await
}

/// Hands out payloads and checkpoints of what was granted: only now, because most tasks that are
/// looked at are not.
async fn payloads(
    connection: &mut SqliteConnection,
    loaded: &Loaded,
    leases: &mut [&mut Lease],
) -> Result<()> {
    let granted = || leases.iter().filter_map(|lease| lease.answer.kept()).flatten();
    let place = |given: &Assignment| loaded.seqs.get(&given.task.id).copied();
    // A replica has what its task has.
    let works = granted().filter_map(|given| loaded.seqs.get(&given.task.work()).copied());
    let seqs: Vec<i64> = works.collect();
    if seqs.is_empty() {
        return Ok(());
    }
    let saved = granted().filter(|given| given.task.checkpoint.is_some());
    let saved: Vec<i64> = saved.filter_map(place).collect();
    let payloads = bytes_of(connection, PAYLOADS, &seqs).await?;
    let mut checkpoints = match saved.as_slice() {
        [] => HashMap::new(),
        saved => bytes_of(connection, CHECKPOINTS, saved).await?,
    };
    for given in leases.iter_mut().filter_map(|lease| lease.answer.kept_mut()).flatten() {
        let seq = loaded.seqs.get(&given.task.id);
        let work = loaded.seqs.get(&given.task.work());
        // A payload that is empty has no row.
        given.payload = work.and_then(|work| payloads.get(work)).cloned().unwrap_or_default();
        given.checkpoint = seq.and_then(|seq| checkpoints.remove(seq));
    }
    Ok(())
}

const PAYLOADS: &str =
    "SELECT seq, payload AS bytes FROM payloads WHERE seq IN (SELECT value FROM json_each(?))";

const CHECKPOINTS: &str = "SELECT seq, checkpoint AS bytes FROM checkpoints WHERE seq IN (SELECT value FROM json_each(?))";

async fn bytes_of(
    connection: &mut SqliteConnection,
    sql: &'static str,
    seqs: &[i64],
) -> Result<HashMap<i64, Bytes>> {
    let rows =
        sqlx::query(sql).bind(integers(seqs)?).fetch_all(connection).await.or_store_error()?;
    let bytes =
        |row: &SqliteRow| Ok((get::<i64>(row, "seq")?, Bytes::copy_from_slice(get(row, "bytes")?)));
    rows.iter().map(bytes).collect()
}

/// One asker, and what it was given so far.
struct Giving<'l> {
    lease: &'l Lease,
    matcher: Matcher,
    given: Vec<Assignment>,
    /// How many replicas it may not have, because it has others of the same work.
    passed_over: usize,
}

impl Giving<'_> {
    /// Offers a task to the asker; false once it should have no more.
    fn offer(&mut self, loaded: &mut Loaded, row: &SqliteRow) -> Result<bool> {
        let id = loaded.take_in(row)?;
        let Some(task) = loaded.set.task(id).filter(|task| task.state == TaskState::Queued) else {
            return Ok(true);
        };
        let asker = &self.lease.request.asker.node;
        if !loaded.set.may_have(task, &asker.id, asker.owner.as_ref()) {
            self.passed_over += 1;
            return Ok(true);
        }
        match self.matcher.offer(task) {
            Offer::Taken(explanation) => {
                let (now, duration) = (self.lease.now, self.lease.request.duration);
                let (until, owner) = (now.saturating_add(duration), asker.owner.as_ref());
                let task = loaded.set.lease(id, *explanation, owner, now, until)?;
                self.given.push(Assignment { task, payload: Bytes::new(), checkpoint: None });
            }
            Offer::Unfit => {}
            Offer::Enough => return Ok(false),
        }
        Ok(self.given.len() < self.lease.request.limit)
    }
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
    connection: &mut SqliteConnection,
    loaded: &mut Loaded,
    pass: &Pass<'_>,
    lease: &Lease,
    classes: &[Fitting<'_>],
) -> Result<Vec<Assignment>> {
    if classes.is_empty() {
        return Ok(Vec::new());
    }
    let request = &lease.request;
    let (asker, rivals) = (request.asker.clone(), request.rivals.clone());
    let near = pass.neighbours.clone();
    let matcher = Matcher::new(asker, rivals, pass.loads, near, request.policy, lease.now);
    let mut giving = Giving { lease, matcher, given: Vec::new(), passed_over: 0 };
    let most = request.limit + pass.unwritten;
    if has_one_payer(classes) && !has_replicas(classes) {
        let numbers: Vec<_> = classes.iter().map(|class| class.class).collect();
        let query = sqlx::query(HEADS).bind(integers(&numbers)?).bind(integer(most));
        let mut heads = query.fetch(connection);
        while let Some(row) = heads.try_next().await.or_store_error()? {
            if !giving.offer(loaded, &row)? {
                break;
            }
        }
        return Ok(giving.given);
    }
    for look in Look::first(classes) {
        giving.passed_over = 0;
        let seen: Vec<_> = classes.iter().filter(|class| look.sees(class.head)).copied().collect();
        let order = turns(connection, loaded, pass, lease, &seen, most + look.behind).await?;
        let wants_more = offer_all(connection, loaded, &mut giving, &order).await?;
        if !wants_more || giving.passed_over < look.behind.max(1) {
            break;
        }
    }
    Ok(giving.given)
}

/// Offers the tasks in these places, in this order; false once the asker should have no more.
async fn offer_all(
    connection: &mut SqliteConnection,
    loaded: &mut Loaded,
    giving: &mut Giving<'_>,
    order: &[i64],
) -> Result<bool> {
    let rows = sqlx::query(
        "SELECT seq, id, task FROM tasks WHERE seq IN (SELECT value FROM json_each(?))",
    )
    .bind(integers(order)?)
    .fetch_all(&mut *connection)
    .await
    .or_store_error()?;
    let rows = rows.iter().map(|row| Ok((get::<i64>(row, "seq")?, row)));
    let rows = rows.collect::<Result<HashMap<_, _>>>()?;
    // Where the others are, stands with what they are replicas of.
    let mut wanted = Wanted::default();
    for row in rows.values() {
        let task = loaded.take_in(row)?;
        wanted.bare.extend(loaded.set.task(task).and_then(|task| Some(task.part.as_ref()?.of)));
    }
    loaded.tasks(connection, &wanted).await?;
    for row in order.iter().filter_map(|seq| rows.get(seq)) {
        if !giving.offer(loaded, row)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The places of the best ready tasks of these classes, each payer in their turn.
async fn turns(
    connection: &mut SqliteConnection,
    loaded: &mut Loaded,
    pass: &Pass<'_>,
    lease: &Lease,
    classes: &[Fitting<'_>],
    most: usize,
) -> Result<Vec<i64>> {
    let numbers: Vec<_> = classes.iter().map(|class| class.class).collect();
    let rows = sqlx::query(RANKS)
        .bind(integers(&numbers)?)
        .bind(integer(most))
        .fetch_all(&mut *connection)
        .await
        .or_store_error()?;
    let mut ranks: HashMap<i64, Vec<Rank>> = HashMap::new();
    for row in &rows {
        let deadline: Option<i64> = get(row, "deadline")?;
        let deadline = deadline.map(|_| rows::time(row, "deadline")).transpose()?;
        let rank = Rank { priority: get(row, "priority")?, deadline, place: get(row, "seq")? };
        ranks.entry(get(row, "class")?).or_default().push(rank);
    }
    let lanes: Vec<_> = classes
        .iter()
        .map(|class| {
            let mut waiting = ranks.remove(&class.class).unwrap_or_default();
            waiting.sort_unstable();
            class.lane(waiting)
        })
        .collect();
    let payers: Vec<_> = lanes.iter().map(|lane| lane.payer.clone()).collect();
    let unwritten: Counts = loaded.set.counts_since().clone();
    loaded.payers(connection, &payers, &unwritten).await?;
    let taken = |payer: Option<&_>| {
        counts::taken(&loaded.counts, payer).plus(counts::taken(&unwritten, payer))
    };
    Ok(fair::order(lanes, &lease.request.shares, &taken, pass.turns, most))
}

/// Whether there may be work for the asker.
pub(super) async fn is_there_work(
    connection: &mut SqliteConnection,
    asker: &Candidate,
    cursor: &mut i64,
) -> Result<bool> {
    let heads = class_heads(connection, cursor).await?;
    // Its load is looked up under the lock.
    Ok(!fitting(&heads, asker, &Load::default(), &Neighbours::default()).is_empty())
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
                     ORDER BY priority DESC, deadline IS NULL, deadline, seq LIMIT +?2)
     ORDER BY t.priority DESC, t.deadline IS NULL, t.deadline, t.seq LIMIT +?2";

/// Where the best ready tasks of each of these classes stand.
const RANKS: &str = "SELECT c.value AS class, t.seq, t.priority, t.deadline
     FROM json_each(?1) c CROSS JOIN tasks t
     WHERE t.seq IN (SELECT seq FROM tasks
                     WHERE state = 'queued' AND ready = 1 AND class = c.value
                     ORDER BY priority DESC, deadline IS NULL, deadline, seq LIMIT +?2)";

/// Where the running tasks are of the groups that some of these are to be kept apart from by a
/// label.
async fn neighbours(
    connection: &mut SqliteConnection,
    heads: &[(i64, Task)],
) -> Result<Neighbours> {
    let mut neighbours = Neighbours::default();
    let groups = Neighbours::groups(heads.iter().map(|(_, head)| head));
    if groups.is_empty() {
        return Ok(neighbours);
    }
    let rows = sqlx::query(
        "SELECT g.value ->> 0 AS \"group\", g.value ->> 1 AS key, l.value AS value,
             count(*) AS tasks
         FROM json_each(?) g CROSS JOIN tasks t INDEXED BY tasks_apart
         JOIN nodes n ON n.id = t.node
         CROSS JOIN json_each(n.record, '$.node.labels') l
         WHERE t.state = 'leased' AND t.apart IS NOT NULL AND t.apart = g.value ->> 0
         AND l.key = g.value ->> 1
         GROUP BY 1, 2, 3",
    )
    .bind(to_json(&groups)?)
    .fetch_all(connection)
    .await
    .or_store_error()?;
    for row in &rows {
        let (group, key, value) = (get(row, "group")?, get(row, "key")?, get(row, "value")?);
        neighbours.add_near(group, key, value, count(row, "tasks")?);
    }
    Ok(neighbours)
}

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
