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
use crate::id::{AccountId, NodeId, TaskId};
use crate::registry::Node;
use crate::scheduler::replicas::Seat;
use crate::scheduler::{Candidate, Load, Neighbours, Refusal, Requirements, Task, TaskSpec};
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

/// Where the replicas of tasks are, by task.
pub type Seats = HashMap<TaskId, Vec<Seat>>;

/// Which of the `running` tasks on these nodes make room for the `urgent` ones, most urgent first;
/// `seats` are those of the tasks that urgent ones are replicas of.
#[must_use]
pub fn plan(
    urgent: &[Task],
    mut seats: Seats,
    nodes: &[Candidate],
    running: &[Task],
) -> Vec<Victim> {
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
        let needs = &spec.requirements;
        let near = neighbours(needs, &places);
        let may = |place: &&mut Place| {
            let node = &place.candidate.node;
            place.candidate.never(&spec.kind, needs).is_none()
                && leaves_room(&seats, task, &node.id, node.owner.as_ref())
        };
        let fits = |place: &&mut Place| not_beside(place, needs, &place.load, &near).is_none();
        if let Some(place) = places.iter_mut().filter(may).find(fits) {
            place.load.add(needs, &[]);
            take_seat(&mut seats, task, &place.candidate);
            continue;
        }
        let ways = places.iter_mut().filter(may).filter_map(|place| {
            let gone = give_way(place, spec, &near)?;
            Some((cost(place, &gone), place, gone))
        });
        let Some((_, place, gone)) = ways.min_by(|(one, ..), (other, ..)| one.cmp(other)) else {
            continue;
        };
        take_seat(&mut seats, task, &place.candidate);
        victims.extend(
            gone.iter().filter_map(|index| place.running.get(*index)).map(|run| Victim {
                task: run.task,
                fence: run.fence,
                makes_room_for: Some(task.id),
            }),
        );
        place.load = without(place, &gone);
        place.load.add(needs, &[]);
        let mut index = 0;
        place.running.retain(|_| {
            index += 1;
            !gone.contains(&(index - 1))
        });
    }
    victims
}

/// Which leases of a node are to end because it has less room than they take, as after a smaller
/// registration: the least urgent ones, and of those the newest.
#[must_use]
pub fn overflow(node: &Node, running: &[Task]) -> Vec<Victim> {
    let mut stay = Load::default();
    let mut victims = Vec::new();
    for run in least_urgent_first(running).iter().rev() {
        let mut with = stay.clone();
        with.merge(&run.load);
        if with.fits(node) {
            stay = with;
        } else {
            victims.push(Victim { task: run.task, fence: run.fence, makes_room_for: None });
        }
    }
    victims
}

/// Whether a node of this owner may have the task beside the replicas of the same work.
fn leaves_room(seats: &Seats, task: &Task, node: &NodeId, owner: Option<&AccountId>) -> bool {
    let Some(part) = &task.part else { return true };
    // Whoever does not know where the others are throws nothing away for it.
    let seats = seats.get(&part.of);
    seats.is_some_and(|seats| seats.iter().all(|seat| seat.leaves_room(part.number, node, owner)))
}

fn take_seat(seats: &mut Seats, task: &Task, candidate: &Candidate) {
    if let Some(part) = &task.part
        && let Some(seats) = seats.get_mut(&part.of)
    {
        let (node, owner) = (candidate.node.id.clone(), candidate.node.owner.clone());
        seats.push(Seat { number: part.number, node, owner });
    }
}

/// What of the task's group is near each other on these places.
fn neighbours(needs: &Requirements, places: &[Place]) -> Neighbours {
    let mut near = Neighbours::default();
    if let Some(apart) = &needs.apart {
        for place in places {
            near.add(apart, &place.candidate.node, place.load.of_group(apart));
        }
    }
    near
}

/// Why the place has no room beside this `load`, which is part of its own.
fn not_beside(
    place: &Place,
    needs: &Requirements,
    load: &Load,
    near: &Neighbours,
) -> Option<Refusal> {
    let of_group = |load: &Load| needs.apart.as_ref().map_or(0, |apart| load.of_group(apart));
    // What would leave this place counts no more.
    let gone = of_group(&place.load) - of_group(load);
    let alike = place.candidate.alike(needs, &place.load, near) - gone;
    place.candidate.not_beside(needs, load, alike)
}

fn place(node: &Candidate, running: &[&Task]) -> Place {
    let running = least_urgent_first(running.iter().copied());
    let mut load = Load::default();
    running.iter().for_each(|run| load.merge(&run.load));
    Place { candidate: node.clone(), load, running }
}

/// The tasks that run and do not give way yet, and among those that are as urgent the one that
/// began last first. (What gives way already is as good as gone.)
fn least_urgent_first<'t>(running: impl IntoIterator<Item = &'t Task>) -> Vec<Running> {
    let run = |task: &Task| {
        let lease = task.lease.as_ref().filter(|lease| lease.preempt_at.is_none())?;
        Some(Running {
            load: Load::of(task),
            task: task.id,
            fence: lease.fence,
            granted_at: lease.granted_at,
            spec: task.spec.clone(),
        })
    };
    let mut running: Vec<_> = running.into_iter().filter_map(run).collect();
    let key = |run: &Running| (run.spec.priority, std::cmp::Reverse(run.granted_at), run.task);
    running.sort_by_key(key);
    running
}

/// What is taken of the place without these of its running tasks.
fn without(place: &Place, gone: &[usize]) -> Load {
    let mut load = place.load.clone();
    let taken = gone.iter().filter_map(|index| place.running.get(*index));
    taken.for_each(|run| load.remove(&run.load));
    load
}

/// The running tasks that have to go so that `spec` fits; none if that would not be enough.
fn give_way(place: &Place, spec: &TaskSpec, near: &Neighbours) -> Option<Vec<usize>> {
    let fits = |gone: &[usize]| {
        not_beside(place, &spec.requirements, &without(place, gone), near).is_none()
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
    use crate::registry::{LivenessPolicy, NodeRecord, PowerPolicy};
    use crate::scheduler::Apart;
    use crate::scheduler::replicas::Part;

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
        assert_eq!(names(&plan(&urgent, Seats::new(), &nodes, &run), &all), ["b"]);
        let two = [task("u", 5, 10), task("v", 1, 10)];
        assert_eq!(names(&plan(&two, Seats::new(), &nodes, &run), &all), ["b", "a"]);
        // For memory, one large task rather than two small ones.
        let run =
            [running("a", 0, 60, "n", 1), running("b", 0, 10, "n", 2), running("c", 0, 10, "n", 3)];
        assert_eq!(names(&plan(&[task("u", 5, 70)], Seats::new(), &nodes, &run), &all), ["a"]);
    }

    #[test]
    fn equals_never_give_way_and_room_that_is_there_is_used() {
        let nodes = [candidate("n", 1, 100), candidate("m", 1, 100)];
        let full = [running("a", 3, 10, "n", 1), running("b", 3, 10, "m", 1)];
        assert_eq!(plan(&[task("u", 3, 10)], Seats::new(), &nodes, &full), []);
        assert_eq!(plan(&[task("u", 9, 10)], Seats::new(), &nodes, &full[..1]), []);
        assert_eq!(
            plan(&[task("u", 9, 101)], Seats::new(), &nodes, &full),
            [],
            "it fits nowhere at all"
        );
    }

    #[test]
    fn the_node_whose_tasks_are_least_urgent_makes_room_once() {
        let nodes = [candidate("n", 1, 100), candidate("m", 1, 100)];
        let mut run = [running("a", 2, 10, "n", 1), running("b", 1, 10, "m", 1)];
        let urgent = [task("u", 5, 10)];
        assert_eq!(names(&plan(&urgent, Seats::new(), &nodes, &run), &["a", "b"]), ["b"]);
        // The next look finds that room is being made.
        run[1].lease.as_mut().unwrap().preempt_at = Some(NOW);
        assert_eq!(plan(&urgent, Seats::new(), &nodes, &run), []);
        let two = [task("u", 5, 10), task("v", 5, 10)];
        assert_eq!(names(&plan(&two, Seats::new(), &nodes, &run), &["a", "b"]), ["a"]);
    }

    #[test]
    fn a_replica_takes_no_place_beside_another_one() {
        let of = TaskId::derive(b"t", "of");
        let mut replica = task("u", 5, 10);
        replica.part = Some(Part { of, number: 2, digest: None, claimed: None, score: None });
        let urgent = [replica];
        let seat = Seat { number: 1, node: "n".parse().unwrap(), owner: None };
        let seats = || Seats::from([(of, vec![seat.clone()])]);
        // There is room on n, but that is no place for it.
        let nodes = [candidate("n", 2, 100), candidate("m", 1, 100)];
        let run = [running("a", 0, 10, "n", 1), running("b", 0, 10, "m", 1)];
        assert_eq!(names(&plan(&urgent, seats(), &nodes, &run), &["a", "b"]), ["b"]);
        assert_eq!(plan(&urgent, seats(), &nodes[..1], &run[..1]), []);
        assert_eq!(
            plan(&urgent, Seats::new(), &nodes, &run),
            [],
            "nobody knows where the others are"
        );
    }

    #[test]
    fn who_must_be_apart_by_label_takes_no_place_in_a_full_zone() {
        let zoned = |name: &str, zone: &str| {
            let mut candidate = candidate(name, 1, 100);
            let labels = &mut Arc::make_mut(&mut candidate.node).labels;
            labels.insert("zone".into(), zone.into());
            candidate
        };
        let apart = Apart { group: "db".into(), key: Some("zone".into()), most: 1 };
        let of_group = |mut task: Task| {
            Arc::make_mut(&mut task.spec).requirements.apart = Some(apart.clone());
            task
        };
        let nodes = [zoned("n", "east"), zoned("m", "east"), zoned("o", "west")];
        let run = [
            of_group(running("a", 0, 10, "n", 1)),
            running("b", 0, 10, "m", 1),
            running("c", 1, 10, "o", 1),
        ];
        let urgent = [of_group(task("u", 5, 10))];
        // On m it would be beside a; on n it would be in its place.
        assert_eq!(names(&plan(&urgent, Seats::new(), &nodes[1..], &run), &["a", "b", "c"]), ["b"]);
        assert_eq!(names(&plan(&urgent, Seats::new(), &nodes, &run), &["a", "b", "c"]), ["a"]);
        let full = [zoned("n", "east"), zoned("m", "east")];
        let high = [of_group(running("a", 9, 10, "n", 1)), running("b", 0, 10, "m", 1)];
        assert_eq!(plan(&urgent, Seats::new(), &full, &high), []);
    }

    #[test]
    fn what_a_smaller_node_has_no_room_for_goes() {
        let mut node = Node::new("n".parse().unwrap());
        (node.slots, node.resources.memory_mib) = (3, 100);
        let run = [
            running("old", 0, 40, "n", 1),
            running("urgent", 5, 50, "n", 2),
            running("new", 0, 40, "n", 3),
        ];
        let over = |node: &Node| names(&overflow(node, &run), &["old", "urgent", "new"]);
        assert_eq!(over(&node), ["new"]);
        node.slots = 1;
        assert_eq!(over(&node), ["old", "new"]);
        (node.slots, node.resources.memory_mib) = (3, 130);
        assert_eq!(overflow(&node, &run), []);
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
            let victims = plan(&urgent, Seats::new(), &nodes, &run);
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
                    let fits = candidate.not_now(&served.spec.requirements, &load, &Neighbours::default()).is_none();
                    // Those served before may have taken what was free.
                    prop_assert!(!fits || urgent[0].id != served.id);
                }
            }
        }
    }
}
