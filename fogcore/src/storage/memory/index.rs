//! The orders in which tasks are looked for, kept up to date with every change of a task.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::id::{NodeId, TaskId};
use crate::scheduler::{Candidate, Load, Task, TaskCounts, TaskState, WorkingSet};
use crate::time::Timestamp;

/// Higher priority first, then the one submitted first.
type Rank = (Reverse<i16>, u64);

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
    counts: TaskCounts,
}

#[derive(Debug)]
struct Entry {
    place: u64,
    class: i64,
    priority: i16,
    state: TaskState,
    queue: Option<Queue>,
    deadline: Option<Timestamp>,
    lease: Option<(Timestamp, NodeId)>,
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
            None => (self.order.len() as u64 + 1, task.spec.class().unwrap_or_default()),
        };
        let queued = task.state == TaskState::Queued;
        let entry = Entry {
            place,
            class,
            priority: task.spec.priority,
            state: task.state,
            queue: queued.then_some(if task.ready_at <= now {
                Queue::Ready
            } else {
                Queue::Delayed(task.ready_at)
            }),
            deadline: task.spec.deadline.filter(|_| queued),
            lease: task.lease.as_ref().map(|lease| (lease.expires_at, lease.node.clone())),
        };
        self.put_in(task, &entry);
        self.entries.insert(task.id, entry);
    }

    fn put_in(&mut self, task: &Task, entry: &Entry) {
        let id = task.id;
        self.order.insert(entry.place, id);
        *self.counts.entry(entry.state).or_default() += 1;
        match entry.queue {
            Some(Queue::Ready) => {
                let rank = (Reverse(entry.priority), entry.place);
                self.ready.entry(entry.class).or_default().insert(rank, id);
            }
            Some(Queue::Delayed(until)) => drop(self.delayed.insert((until, id))),
            None => {}
        }
        if let Some(deadline) = entry.deadline {
            self.deadlines.insert((deadline, id));
        }
        if let Some((expires_at, node)) = &entry.lease {
            self.leases.insert((*expires_at, id));
            let load = Load::of(task);
            self.loads.entry(node.clone()).or_default().merge(&load);
            self.held.entry(node.clone()).or_default().insert(id, load);
        }
    }

    fn take_out(&mut self, id: TaskId, entry: &Entry) {
        if let Some(count) = self.counts.get_mut(&entry.state) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&entry.state);
            }
        }
        match entry.queue {
            Some(Queue::Ready) => {
                if let Some(class) = self.ready.get_mut(&entry.class) {
                    class.remove(&(Reverse(entry.priority), entry.place));
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

    /// Ready tasks that the asker has room for, best first.
    pub(super) fn candidates(
        &self,
        asker: &Candidate,
        limit: usize,
        set: &WorkingSet,
    ) -> Vec<TaskId> {
        let mut ranked = Vec::new();
        let none = Load::default();
        let load = self.loads.get(&asker.node.id).unwrap_or(&none);
        for class in self.ready.values() {
            let fits = class
                .values()
                .next()
                .and_then(|id| set.task(*id))
                .is_some_and(|task| asker.has_room_for(&task.spec, load));
            if fits {
                ranked.extend(class.iter().take(limit));
            }
        }
        ranked.sort_unstable();
        ranked.into_iter().take(limit).map(|(_, id)| *id).collect()
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
        self.counts.clone()
    }
}
