//! The orders in which tasks are looked for, kept up to date with every change of a task.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::id::{NodeId, TaskId};
use crate::registry::NodeRecord;
use crate::scheduler::queue::{Ahead, Counts, Demand, Lane, Rank, Turns, count, fair};
use crate::scheduler::{LeaseRequest, Load, Neighbours, Task, TaskCounts, TaskState, WorkingSet};
use crate::time::Timestamp;

#[derive(Debug, Default)]
pub(super) struct TaskIndex {
    entries: HashMap<TaskId, Entry>,
    order: BTreeMap<u64, TaskId>,
    ready: BTreeMap<i64, BTreeMap<Rank, TaskId>>,
    delayed: BTreeSet<(Timestamp, TaskId)>,
    leases: BTreeSet<(Timestamp, TaskId)>,
    deadlines: BTreeSet<(Timestamp, TaskId)>,
    held: HashMap<NodeId, HashMap<TaskId, Load>>,
    loads: HashMap<NodeId, Load>,
    /// Tasks that ended, by when what belongs to them goes.
    kept: BTreeSet<(Timestamp, TaskId)>,
    counts: Counts,
    /// Whose turn it was.
    pub(super) turns: Turns,
}

#[derive(Debug)]
struct Entry {
    place: u64,
    class: i64,
    rank: Rank,
    queue: Option<Queue>,
    deadline: Option<Timestamp>,
    lease: Option<(Timestamp, NodeId)>,
    kept_until: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
enum Queue {
    Ready,
    Delayed(Timestamp),
}

impl TaskIndex {
    /// Takes in a task as it is now; new ones go to the end of the order.
    pub(super) fn update(&mut self, task: &Task, now: Timestamp) {
        let known = self.entries.remove(&task.id);
        if let Some(entry) = &known {
            self.take_out(task.id, entry);
        }
        let (place, class) = match known {
            Some(entry) => (entry.place, entry.class),
            // A spec was written as JSON once already, for its fingerprint.
            None => (self.order.len() as u64 + 1, task.class().unwrap_or_default()),
        };
        let queued = task.state == TaskState::Queued;
        let entry = Entry {
            place,
            class,
            rank: Rank {
                priority: task.spec.priority,
                deadline: task.spec.deadline,
                place: i64::try_from(place).unwrap_or(i64::MAX),
            },
            queue: queued.then_some(if task.ready_at <= now {
                Queue::Ready
            } else {
                Queue::Delayed(task.ready_at)
            }),
            // What waits for its replicas goes by theirs.
            deadline: task
                .spec
                .deadline
                .filter(|_| queued || task.state == TaskState::Waiting && !task.waits_for_parts()),
            lease: task.lease.as_ref().map(|lease| (lease.expires_at, lease.node.clone())),
            kept_until: task.kept_until(),
        };
        self.put_in(task, &entry);
        self.entries.insert(task.id, entry);
    }

    fn put_in(&mut self, task: &Task, entry: &Entry) {
        let id = task.id;
        self.order.insert(entry.place, id);
        match entry.queue {
            Some(Queue::Ready) => {
                self.ready.entry(entry.class).or_default().insert(entry.rank, id);
            }
            Some(Queue::Delayed(until)) => drop(self.delayed.insert((until, id))),
            None => {}
        }
        if let Some(deadline) = entry.deadline {
            self.deadlines.insert((deadline, id));
        }
        if let Some(until) = entry.kept_until {
            self.kept.insert((until, id));
        }
        if let Some((expires_at, node)) = &entry.lease {
            self.leases.insert((*expires_at, id));
            let load = Load::of(task);
            self.loads.entry(node.clone()).or_default().merge(&load);
            self.held.entry(node.clone()).or_default().insert(id, load);
        }
    }

    fn take_out(&mut self, id: TaskId, entry: &Entry) {
        match entry.queue {
            Some(Queue::Ready) => {
                if let Some(class) = self.ready.get_mut(&entry.class) {
                    class.remove(&entry.rank);
                    if class.is_empty() {
                        self.ready.remove(&entry.class);
                    }
                }
            }
            Some(Queue::Delayed(until)) => drop(self.delayed.remove(&(until, id))),
            None => {}
        }
        if let Some(deadline) = entry.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        if let Some(until) = entry.kept_until {
            self.kept.remove(&(until, id));
        }
        if let Some((expires_at, node)) = &entry.lease {
            self.leases.remove(&(*expires_at, id));
            if let Some(held) = self.held.get_mut(node)
                && let Some(load) = held.remove(&id)
            {
                let sum = self.loads.entry(node.clone()).or_default();
                sum.remove(&load);
                if held.is_empty() {
                    self.held.remove(node);
                    self.loads.remove(node);
                }
            }
        }
    }

    /// Ready tasks that the asker has room for and may have, in the order in which they are to be
    /// offered.
    pub(super) fn candidates(
        &self,
        request: &LeaseRequest,
        neighbours: &Neighbours,
        limit: usize,
        set: &WorkingSet,
    ) -> Vec<TaskId> {
        let mut lanes = Vec::new();
        let none = Load::default();
        let asker = &request.asker;
        let (node, owner) = (&asker.node.id, asker.node.owner.as_ref());
        let load = self.loads.get(node).unwrap_or(&none);
        for class in self.ready.values() {
            let head = class.values().next().and_then(|id| set.task(*id));
            let fits = |head: &&Task| asker.has_room_for(&head.spec, load, neighbours);
            let Some(head) = head.filter(fits) else { continue };
            let payer = head.spec.payer().cloned();
            let demand = Demand::of(&head.spec.requirements);
            // Only replicas can be such that the asker has another one.
            let all = head.part.is_none();
            let may =
                |id: &TaskId| all || set.task(*id).is_some_and(|t| set.may_have(t, node, owner));
            let waiting = class.iter().filter(|(_, id)| may(id)).map(|(rank, _)| *rank);
            lanes.push(Lane { payer, demand, waiting: waiting.take(limit).collect() });
        }
        let order = fair::order(
            lanes,
            &request.shares,
            &|payer| count::taken(&self.counts, payer),
            &self.turns,
            limit,
        );
        let places = order.into_iter().filter_map(|place| u64::try_from(place).ok());
        places.filter_map(|place| self.order.get(&place).copied()).collect()
    }

    /// Where the running tasks are of the groups that ready ones are to be kept apart from by a label.
    pub(super) fn neighbours(
        &self,
        nodes: &BTreeMap<NodeId, NodeRecord>,
        set: &WorkingSet,
    ) -> Neighbours {
        let mut neighbours = Neighbours::default();
        let heads = self.ready.values().filter_map(|class| set.task(*class.values().next()?));
        let groups = Neighbours::groups(heads);
        for (node, load) in self.loads.iter().filter(|_| !groups.is_empty()) {
            let Some(record) = nodes.get(node) else { continue };
            for (group, key) in &groups {
                let tasks = load.groups.get(*group).copied().unwrap_or_default();
                if let Some(value) = record.node.labels.get(*key) {
                    neighbours.add_near(group, key, value, tasks);
                }
            }
        }
        neighbours
    }

    /// Takes in how the counts changed.
    pub(super) fn count(&mut self, changes: &Counts) {
        for (group, change) in changes {
            let count = self.counts.entry(group.clone()).or_default();
            count.add(*change);
            if count.tasks == 0 {
                self.counts.remove(group);
            }
        }
    }

    /// The most urgent ready tasks that are more urgent than something that runs.
    pub(super) fn urgent(
        &self,
        since: Timestamp,
        skip: usize,
        limit: usize,
        set: &WorkingSet,
    ) -> Vec<Task> {
        let leased = self.counts.keys().filter(|group| group.state == TaskState::Leased);
        let Some(least) = leased.map(|group| group.priority).min() else { return Vec::new() };
        let mut ranks: Vec<_> = self
            .ready
            .values()
            .flat_map(|class| class.iter().take_while(|(rank, _)| rank.priority > least))
            .collect();
        ranks.sort_unstable_by_key(|(rank, _)| **rank);
        let tasks = ranks.into_iter().filter_map(|(_, id)| set.task(*id));
        tasks.filter(|task| task.ready_at <= since).skip(skip).take(limit).cloned().collect()
    }

    /// What comes before a task of this priority and deadline.
    pub(super) fn ahead(
        &self,
        priority: i16,
        deadline: Option<Timestamp>,
        set: &WorkingSet,
    ) -> Ahead {
        let mut ahead = Ahead::default();
        for (group, count) in &self.counts {
            let tasks = u64::try_from(count.tasks).unwrap_or(0);
            match group.state {
                TaskState::Leased => *ahead.running.entry(group.kind.clone()).or_default() += tasks,
                TaskState::Queued if group.priority > priority => {
                    *ahead.queued.entry(group.kind.clone()).or_default() += tasks;
                }
                _ => {}
            }
        }
        let forever = Timestamp::UNIX_EPOCH.saturating_add(std::time::Duration::MAX);
        let last = (deadline.unwrap_or(forever), TaskId::from_uuid(uuid::Uuid::max()));
        let due = self.deadlines.range(..=last).filter_map(|(_, id)| set.task(*id));
        let first =
            due.filter(|task| task.state == TaskState::Queued && task.spec.priority == priority);
        for task in first.take(100_000) {
            *ahead.queued.entry(task.spec.kind.clone()).or_default() += 1;
        }
        ahead
    }

    /// What the node holds.
    pub(super) fn held_by(&self, node: &NodeId) -> impl Iterator<Item = TaskId> {
        self.held.get(node).into_iter().flat_map(|held| held.keys().copied())
    }

    /// Tasks that ended and were kept until now.
    pub(super) fn kept_until(
        &self,
        now: Timestamp,
        limit: usize,
        may_go: impl Fn(TaskId) -> bool,
    ) -> Vec<TaskId> {
        let until = (now, TaskId::from_uuid(uuid::Uuid::max()));
        let over = self.kept.range(..=until).map(|(_, id)| *id);
        over.filter(|id| may_go(*id)).take(limit).collect()
    }

    pub(super) fn loads(&self) -> &HashMap<NodeId, Load> {
        &self.loads
    }

    /// Tasks whose lease or deadline has run out.
    pub(super) fn due(&self, now: Timestamp, limit: usize) -> Vec<TaskId> {
        let until = (now, TaskId::from_uuid(uuid::Uuid::max()));
        let leases = self.leases.range(..=until);
        let due = leases.chain(self.deadlines.range(..=until)).take(limit);
        due.map(|(_, id)| *id).collect()
    }

    pub(super) fn delayed_until(&self, now: Timestamp, limit: usize) -> Vec<TaskId> {
        let until = (now, TaskId::from_uuid(uuid::Uuid::max()));
        self.delayed.range(..=until).take(limit).map(|(_, id)| *id).collect()
    }

    /// Where in the order the task stands.
    pub(super) fn place(&self, id: TaskId) -> Option<u64> {
        self.entries.get(&id).map(|entry| entry.place)
    }

    /// The tasks behind that place.
    pub(super) fn in_order(&self, after: u64) -> impl Iterator<Item = TaskId> {
        self.order.range(after + 1..).map(|(_, id)| *id)
    }

    pub(super) fn counts(&self) -> TaskCounts {
        let mut counts = TaskCounts::new();
        for (group, count) in &self.counts {
            *counts.entry(group.state).or_default() += u64::try_from(count.tasks).unwrap_or(0);
        }
        counts
    }
}
