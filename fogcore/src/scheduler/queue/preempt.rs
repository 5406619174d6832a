//! Who has to make room: when an urgent task finds no place, which less urgent ones give way.
//!
//! Work that is thrown away is lost, so as little as possible gives way: first it is looked whether
//! the task fits somewhere without, or in what others are giving way to already; then the node is
//! chosen whose victims are least urgent and fewest. Among tasks that are equally urgent the ones
//! that began last go, because they lose least. A task never gives way to one that is as urgent as
//! itself.
//!
//! A victim is told with its next renewal and has a notice period to save what it did; then it
//! waits again, and the attempt does not count.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::id::{NodeId, TaskId};
use crate::scheduler::{Candidate, Load, Task, TaskSpec};
use crate::time::Timestamp;

/// When urgent tasks take the place of others, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PreemptionPolicy {
    /// Whether they do at all. Default true: a priority that waits for others to end is little
    /// worth.
    pub enabled: bool,
    /// How long an urgent task waits for a place before others make room. Default 2 s: long enough
    /// for a free node to ask.
    pub after: Duration,
    /// How long those that make room may go on, at most 1 day. Default 20 s: they are told with
    /// their next renewal, which comes after a third of the lease at the latest.
    pub notice: Duration,
}

impl Default for PreemptionPolicy {
    fn default() -> Self {
        Self { enabled: true, after: Duration::from_secs(2), notice: Duration::from_secs(20) }
    }
}

impl PreemptionPolicy {
    /// Checks every limit.
    ///
    /// # Errors
    /// InvalidInput with the field's name.
    pub fn check(&self) -> Result<()> {
        if self.notice > Duration::from_secs(86_400) {
            return Err(Error::invalid("preemption.notice", "at most 1 day is allowed"));
        }
        Ok(())
    }
}

/// A lease that is to end early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Victim {
    /// The task.
    pub task: TaskId,
    /// Its lease's fencing token.
    pub fence: u64,
    /// The task that it makes room for, if it is for one.
    pub makes_room_for: Option<TaskId>,
}

impl Victim {
    /// The lease of `task`, unless nobody holds it or it ends early already.
    #[must_use]
    pub fn of(task: &Task) -> Option<Self> {
        let lease = task.lease.as_ref().filter(|lease| lease.preempt_at.is_none())?;
        Some(Self { task: task.id, fence: lease.fence, makes_room_for: None })
    }
}

/// A node and what runs on it.
#[derive(Clone, Debug)]
struct Place {
    candidate: Candidate,
    /// What is taken of it by now, without what gives way, with what comes in its place.
    load: Load,
    running: Vec<Running>,
}

#[derive(Clone, Debug)]
struct Running {
    task: TaskId,
    fence: u64,
    granted_at: Timestamp,
    spec: Arc<TaskSpec>,
    /// What it takes.
    load: Load,
}

/// Which of the `running` tasks on these nodes make room for the `urgent` ones, most urgent first.
#[must_use]
pub fn plan(urgent: &[Task], nodes: &[Candidate], running: &[Task]) -> Vec<Victim> {
    let mut by_node: HashMap<&NodeId, Vec<&Task>> = HashMap::new();
    for task in running {
        if let Some(lease) = &task.lease {
            by_node.entry(&lease.node).or_default().push(task);
        }
    }
    let on = |node: &Candidate| by_node.get(&node.node.id).map(Vec::as_slice).unwrap_or_default();
    let mut places: Vec<_> = nodes.iter().map(|node| place(node, on(node))).collect();
    let mut victims = Vec::new();
    for task in urgent {
        let spec = &task.spec;
        let may =
            |place: &&mut Place| place.candidate.never(&spec.kind, &spec.requirements).is_none();
        let fits =
            |place: &&mut Place| place.candidate.not_now(&spec.requirements, &place.load).is_none();
        if let Some(place) = places.iter_mut().filter(may).find(fits) {
            place.load.add(&spec.requirements, &[]);
            continue;
        }
        let ways = places.iter_mut().filter(may).filter_map(|place| {
            let gone = give_way(place, spec)?;
            Some((cost(place, &gone), place, gone))
        });
        let Some((_, place, gone)) = ways.min_by(|(one, ..), (other, ..)| one.cmp(other)) else {
            continue;
        };
        victims.extend(
            gone.iter().filter_map(|index| place.running.get(*index)).map(|run| Victim {
                task: run.task,
                fence: run.fence,
                makes_room_for: Some(task.id),
            }),
        );
        place.load = without(place, &gone);
        place.load.add(&spec.requirements, &[]);
        let mut index = 0;
        place.running.retain(|_| {
            index += 1;
            !gone.contains(&(index - 1))
        });
    }
    victims
}

fn place(node: &Candidate, running: &[&Task]) -> Place {
    let mut place = Place { candidate: node.clone(), load: Load::default(), running: Vec::new() };
    for task in running {
        let Some(lease) = task.lease.as_ref() else {
            continue;
        };
        // What gives way already is as good as gone.
        if lease.preempt_at.is_none() {
            let load = Load::of(task);
            place.load.merge(&load);
            place.running.push(Running {
                load,
                task: task.id,
                fence: lease.fence,
                granted_at: lease.granted_at,
                spec: task.spec.clone(),
            });
        }
    }
    // Least urgent first, and among those the one that began last.
    place.running.sort_by(|one, other| {
        let key = |run: &Running| (run.spec.priority, std::cmp::Reverse(run.granted_at), run.task);
        key(one).cmp(&key(other))
    });
    place
}

/// What is taken of the place without these of its running tasks.
fn without(place: &Place, gone: &[usize]) -> Load {
    let mut load = place.load.clone();
    let taken = gone.iter().filter_map(|index| place.running.get(*index));
    taken.for_each(|run| load.remove(&run.load));
    load
}

/// The running tasks that have to go so that `spec` fits; none if that would not be enough.
fn give_way(place: &Place, spec: &TaskSpec) -> Option<Vec<usize>> {
    let fits = |gone: &[usize]| {
        place.candidate.not_now(&spec.requirements, &without(place, gone)).is_none()
    };
    let less_urgent = place.running.iter().take_while(|run| run.spec.priority < spec.priority);
    let mut gone = Vec::new();
    for index in 0..less_urgent.count() {
        gone.push(index);
        if fits(&gone) {
            // Whoever can stay, stays: the most urgent and oldest first.
            for spared in (0..gone.len()).rev() {
                let mut fewer = gone.clone();
                fewer.remove(spared);
                if fits(&fewer) {
                    gone = fewer;
                }
            }
            return Some(gone);
        }
    }
    None
}

/// What is lost: how urgent it is, how much it is, and how long ago it began.
fn cost(place: &Place, gone: &[usize]) -> (i16, usize, std::cmp::Reverse<Option<Timestamp>>) {
    let runs = || gone.iter().filter_map(|index| place.running.get(*index));
    let most_urgent = runs().map(|run| run.spec.priority).max().unwrap_or(i16::MIN);
    (most_urgent, gone.len(), std::cmp::Reverse(runs().map(|run| run.granted_at).min()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::registry::{LivenessPolicy, Node, NodeRecord, PowerPolicy};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn candidate(name: &str, slots: u32, memory_mib: u64) -> Candidate {
        let mut node = Node::new(name.parse().unwrap());
        node.serves.insert("work".parse().unwrap());
        node.slots = slots;
        node.resources.memory_mib = memory_mib;
        let record = NodeRecord::new(node, NOW);
        Candidate::judge(&record, NOW, LivenessPolicy::default(), &PowerPolicy::default())
    }

    fn task(name: &str, priority: i16, memory_mib: u64) -> Task {
        let mut spec = TaskSpec::new("work".parse().unwrap());
        spec.priority = priority;
        spec.requirements.memory_mib = memory_mib;
        Task::new(TaskId::derive(b"t", name), Arc::new(spec), [0; 32], NOW)
    }

    fn running(name: &str, priority: i16, memory_mib: u64, node: &str, second: u64) -> Task {
        let mut task = task(name, priority, memory_mib);
        let at = NOW.saturating_add(Duration::from_secs(second));
        let until = at.saturating_add(Duration::from_secs(30));
        task.grant(&node.parse().unwrap(), Vec::new(), at, until).unwrap();
        task
    }

    fn names(victims: &[Victim], all: &[&str]) -> Vec<String> {
        let name = |victim: &Victim| {
            let named = all.iter().find(|name| TaskId::derive(b"t", name) == victim.task);
            named.unwrap().to_string()
        };
        victims.iter().map(name).collect()
    }

    #[test]
    fn the_least_urgent_and_newest_gives_way_and_no_more_than_needed() {
        let nodes = [candidate("n", 3, 100)];
        let all = ["a", "b", "c"];
        let run =
            [running("a", 0, 10, "n", 1), running("b", 0, 10, "n", 2), running("c", 1, 10, "n", 3)];
        let urgent = [task("u", 5, 10)];
        assert_eq!(names(&plan(&urgent, &nodes, &run), &all), ["b"]);
        let two = [task("u", 5, 10), task("v", 1, 10)];
        assert_eq!(names(&plan(&two, &nodes, &run), &all), ["b", "a"]);
        // For memory, one large task rather than two small ones.
        let run =
            [running("a", 0, 60, "n", 1), running("b", 0, 10, "n", 2), running("c", 0, 10, "n", 3)];
        assert_eq!(names(&plan(&[task("u", 5, 70)], &nodes, &run), &all), ["a"]);
    }

    #[test]
    fn equals_never_give_way_and_room_that_is_there_is_used() {
        let nodes = [candidate("n", 1, 100), candidate("m", 1, 100)];
        let full = [running("a", 3, 10, "n", 1), running("b", 3, 10, "m", 1)];
        assert_eq!(plan(&[task("u", 3, 10)], &nodes, &full), []);
        assert_eq!(plan(&[task("u", 9, 10)], &nodes, &full[..1]), []);
        assert_eq!(plan(&[task("u", 9, 101)], &nodes, &full), [], "it fits nowhere at all");
    }

    #[test]
    fn the_node_whose_tasks_are_least_urgent_makes_room_once() {
        let nodes = [candidate("n", 1, 100), candidate("m", 1, 100)];
        let mut run = [running("a", 2, 10, "n", 1), running("b", 1, 10, "m", 1)];
        let urgent = [task("u", 5, 10)];
        assert_eq!(names(&plan(&urgent, &nodes, &run), &["a", "b"]), ["b"]);
        // The next look finds that room is being made.
        run[1].lease.as_mut().unwrap().preempt_at = Some(NOW);
        assert_eq!(plan(&urgent, &nodes, &run), []);
        let two = [task("u", 5, 10), task("v", 5, 10)];
        assert_eq!(names(&plan(&two, &nodes, &run), &["a", "b"]), ["a"]);
    }

    proptest! {
        /// Whoever gives way is less urgent than whom it makes room for, gives way once, and could
        /// not have stayed.
        #[test]
        fn nobody_gives_way_in_vain(
            slots in 1_u32..5,
            run in prop::collection::vec((0_i16..4, 0_u64..60, 0_u64..9, prop::bool::ANY), 0..8),
            urgent in prop::collection::vec((0_i16..6, 0_u64..120), 1..4),
        ) {
            let nodes = [candidate("n", slots, 100), candidate("m", slots, 100)];
            let run: Vec<_> = run
                .iter()
                .enumerate()
                .map(|(n, (priority, memory, second, on_n))| {
                    let node = if *on_n { "n" } else { "m" };
                    running(&format!("r{n}"), *priority, *memory, node, *second)
                })
                .collect();
            let mut urgent: Vec<_> = urgent
                .iter()
                .enumerate()
                .map(|(n, (priority, memory))| task(&format!("u{n}"), *priority, *memory))
                .collect();
            urgent.sort_by_key(|task| std::cmp::Reverse(task.spec.priority));
            let victims = plan(&urgent, &nodes, &run);
            let distinct: std::collections::BTreeSet<_> =
                victims.iter().map(|victim| victim.task).collect();
            prop_assert_eq!(distinct.len(), victims.len());
            for victim in &victims {
                let gone = run.iter().find(|task| task.id == victim.task).unwrap();
                let served = urgent.iter().find(|task| Some(task.id) == victim.makes_room_for).unwrap();
                prop_assert!(gone.spec.priority < served.spec.priority);
            }
            // The first one served: without any one of its victims it would not fit.
            if let Some(first) = victims.first() {
                let served = urgent.iter().find(|task| Some(task.id) == first.makes_room_for).unwrap();
                let own: Vec<_> = victims
                    .iter()
                    .filter(|victim| victim.makes_room_for == Some(served.id))
                    .collect();
                let node = run.iter().find(|task| task.id == first.task).unwrap();
                let node = node.lease.as_ref().unwrap().node.clone();
                let candidate = nodes.iter().find(|one| one.node.id == node).unwrap();
                for spared in &own {
                    let left = run.iter().filter(|task| {
                        task.lease.as_ref().unwrap().node == node
                            && (task.id == spared.task
                                || own.iter().all(|victim| victim.task != task.id))
                    });
                    let mut load = Load::default();
                    left.for_each(|task| load.merge(&Load::of(task)));
                    let fits = candidate.not_now(&served.spec.requirements, &load).is_none();
                    // Those served before may have taken what was free.
                    prop_assert!(!fits || urgent[0].id != served.id);
                }
            }
        }
    }
}
