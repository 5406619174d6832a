//! A trace in its own time: tasks come, wait, run, lose their nodes and end.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;
use serde::Serialize;

use super::{Trace, TraceTask};
use crate::error::{Error, ErrorKind, Result};
use crate::registry::Metered;
use crate::scheduler::placement::SECOND;
use crate::scheduler::policy::{Policy, Vitals};
use crate::scheduler::{Allocation, Cluster};

/// How a trace is replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReplayPolicy {
    /// How nodes leave and come back; none stays away if there is none.
    pub churn: Option<Churn>,
    /// For how many waiting tasks that differ in what they need a place is looked for in vain,
    /// whenever something ends, the oldest first. Default 64.
    pub tried: usize,
    /// What a core takes while it works, in watts. Default 10: made up, like the next.
    pub core_watts: f64,
    /// What a GPU takes while it works, in watts. Default 250.
    pub gpu_watts: f64,
}

impl Default for ReplayPolicy {
    fn default() -> Self {
        Self { churn: None, tried: 64, core_watts: 10.0, gpu_watts: 250.0 }
    }
}

/// Nodes that leave and come back. SYNTHETIC: times are drawn from exponential distributions, as
/// nobody recorded them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Churn {
    /// How long a node stays, on average.
    pub stays: Duration,
    /// How long it is away, on average.
    pub away: Duration,
}

/// What came of a replay.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Replayed {
    /// Tasks that ran to their end.
    pub done: usize,
    /// Tasks that never found a place.
    pub never_placed: usize,
    /// Attempts that were lost with their nodes.
    pub lost: usize,
    /// How long tasks waited for their first place, on average, in seconds.
    pub wait_seconds: f64,
    /// How long the one in twenty waited that waited longest.
    pub wait_p95_seconds: f64,
    /// When the last task was done, in seconds.
    pub makespan_seconds: f64,
    /// The GPU share in use, 0–1, on average over the makespan.
    pub allocated: f64,
    /// What was used, in kWh; from made-up watts.
    pub energy_kwh: f64,
    /// What tasks cost at the nodes' rates, in base units.
    pub cost: f64,
    /// Jain's index of the payers' mean slowdowns: 1 if all fared alike.
    pub fairness: f64,
    /// Whether churn was made up.
    pub synthetic_churn: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ends { task: usize, attempt: u32 },
    Arrives { task: usize },
    Leaves { node: usize },
    Returns { node: usize },
}

#[derive(Debug)]
struct Run<'t> {
    trace: &'t Trace,
    how: &'t ReplayPolicy,
    cluster: Cluster,
    dice: Pcg32,
    events: BinaryHeap<Reverse<(Duration, Event)>>,
    waiting: VecDeque<usize>,
    running: HashMap<Allocation, usize>,
    places: Vec<Option<Allocation>>,
    attempts: Vec<u32>,
    waits: Vec<Option<f64>>,
    /// By task: the first one that needs the same.
    shapes: Vec<usize>,
    slowdowns: BTreeMap<&'t str, (f64, f64)>,
    gpu_seconds: f64,
    open: usize,
    result: Replayed,
}

/// Replays the trace to the end of its last task.
///
/// # Errors
/// If the trace names a node twice.
pub fn replay(trace: &Trace, policy: &Policy, seed: u64, how: &ReplayPolicy) -> Result<Replayed> {
    let mut cluster = Cluster::new(policy.clone(), seed);
    for node in &trace.nodes {
        let price = node.rates.price(&SECOND).ok();
        let stays = how.churn.map_or(f64::INFINITY, |churn| churn.stays.as_secs_f64());
        cluster.add(node, Vitals { price, stays_seconds: stays, ..Vitals::default() })?;
    }
    let mut run = Run {
        trace,
        how,
        cluster,
        dice: Pcg32::seed_from_u64(seed),
        events: BinaryHeap::new(),
        waiting: VecDeque::new(),
        running: HashMap::new(),
        places: vec![None; trace.tasks.len()],
        attempts: vec![0; trace.tasks.len()],
        waits: vec![None; trace.tasks.len()],
        shapes: shapes(&trace.tasks)?,
        slowdowns: BTreeMap::new(),
        gpu_seconds: 0.0,
        open: trace.tasks.len(),
        result: Replayed { synthetic_churn: how.churn.is_some(), ..Replayed::default() },
    };
    for (task, asked) in trace.tasks.iter().enumerate() {
        run.events.push(Reverse((asked.arrives, Event::Arrives { task })));
    }
    if let Some(churn) = how.churn {
        for node in 0..trace.nodes.len() {
            let leaves = run.draw(churn.stays);
            run.events.push(Reverse((leaves, Event::Leaves { node })));
        }
    }
    run.until_done()?;
    Ok(run.finish())
}

/// For each task the first one that needs the same.
fn shapes(tasks: &[TraceTask]) -> Result<Vec<usize>> {
    let mut first = HashMap::new();
    let shape = |(place, task): (usize, &TraceTask)| {
        let needs = serde_json::to_string(&task.requirements)
            .map_err(|error| Error::new(ErrorKind::Internal, error))?;
        Ok(*first.entry(needs).or_insert(place))
    };
    tasks.iter().enumerate().map(shape).collect()
}

impl Run<'_> {
    fn until_done(&mut self) -> Result<()> {
        let mut idle_rounds = 0;
        while self.open > 0
            && let Some(Reverse((now, event))) = self.events.pop()
        {
            match event {
                Event::Arrives { task } => self.waiting.push_back(task),
                Event::Ends { task, attempt } if self.attempts[task] == attempt => {
                    self.end(task, now)?;
                }
                Event::Ends { .. } => continue,
                Event::Leaves { node } => self.leave(node, now)?,
                Event::Returns { node } => {
                    self.cluster.undrain(&self.trace.nodes[node].id)?;
                    let leaves = self.how.churn.map(|churn| self.draw(churn.stays));
                    let leaves = now + leaves.unwrap_or_default();
                    self.events.push(Reverse((leaves, Event::Leaves { node })));
                }
            }
            let before = self.waiting.len();
            self.try_waiting(now);
            // With churn events never run out: what fits nowhere must not keep us for ever.
            let stuck = self.running.is_empty() && before == self.waiting.len();
            idle_rounds = if stuck { idle_rounds + 1 } else { 0 };
            if idle_rounds > 4 * self.trace.nodes.len() + self.trace.tasks.len() {
                break;
            }
        }
        Ok(())
    }

    fn try_waiting(&mut self, now: Duration) {
        // What found no place now stands for all that need the same.
        let mut in_vain = HashSet::new();
        let mut place = 0;
        while place < self.waiting.len() && in_vain.len() < self.how.tried {
            let task = self.waiting[place];
            if !in_vain.contains(&self.shapes[task]) && self.start(task, now) {
                self.waiting.remove(place);
            } else {
                in_vain.insert(self.shapes[task]);
                place += 1;
            }
        }
    }

    fn start(&mut self, task: usize, now: Duration) -> bool {
        let asked = &self.trace.tasks[task];
        let Ok(placed) = self.cluster.place(None, &asked.requirements) else { return false };
        let waited = now.saturating_sub(asked.arrives).as_secs_f64();
        self.waits[task].get_or_insert(waited);
        self.attempts[task] += 1;
        self.places[task] = Some(placed.allocation);
        self.running.insert(placed.allocation, task);
        let event = Event::Ends { task, attempt: self.attempts[task] };
        self.events.push(Reverse((now + asked.runs, event)));
        true
    }

    fn end(&mut self, task: usize, now: Duration) -> Result<()> {
        let Some(allocation) = self.places[task].take() else { return Ok(()) };
        let asked = &self.trace.tasks[task];
        let node = self.cluster.node_of(allocation).cloned();
        self.running.remove(&allocation);
        self.cluster.release(allocation)?;
        let seconds = asked.runs.as_secs_f64();
        let gpus = asked.requirements.gpus.total_milli() as f64 / 1_000.0;
        let cores = f64::from(asked.requirements.cpu_milli) / 1_000.0;
        let watts = cores * self.how.core_watts + gpus * self.how.gpu_watts;
        self.gpu_seconds += gpus * seconds;
        self.result.energy_kwh += watts * seconds / 3.6e6;
        if let Some(found) = self.trace.nodes.iter().find(|found| Some(&found.id) == node.as_ref())
        {
            let price = found.rates.price(&taken(asked));
            self.result.cost += price.map_or(0.0, |price| price.base_units() as f64);
        }
        let whole = now.saturating_sub(asked.arrives).as_secs_f64();
        let slowdown = self.slowdowns.entry(&asked.payer).or_default();
        *slowdown = (slowdown.0 + whole / seconds.max(1.0), slowdown.1 + 1.0);
        self.result.done += 1;
        self.result.makespan_seconds = self.result.makespan_seconds.max(now.as_secs_f64());
        self.open -= 1;
        Ok(())
    }

    fn leave(&mut self, node: usize, now: Duration) -> Result<()> {
        let id = &self.trace.nodes[node].id;
        for allocation in self.cluster.drain(id)? {
            self.cluster.release(allocation)?;
            if let Some(task) = self.running.remove(&allocation) {
                self.places[task] = None;
                // Its end will not be that of this attempt.
                self.attempts[task] += 1;
                self.result.lost += 1;
                self.waiting.push_front(task);
            }
        }
        let away = self.how.churn.map(|churn| self.draw(churn.away)).unwrap_or_default();
        self.events.push(Reverse((now + away, Event::Returns { node })));
        Ok(())
    }

    /// A time from the exponential distribution of this mean.
    fn draw(&mut self, mean: Duration) -> Duration {
        let chance: f64 = self.dice.random();
        let seconds = -mean.as_secs_f64() * (1.0 - chance).max(1e-12).ln();
        Duration::try_from_secs_f64(seconds).unwrap_or(mean)
    }

    fn finish(self) -> Replayed {
        let mut result = self.result;
        let mut waits: Vec<f64> = self.waits.iter().flatten().copied().collect();
        waits.sort_by(f64::total_cmp);
        result.never_placed = self.waits.len() - waits.len();
        result.wait_seconds = waits.iter().sum::<f64>() / waits.len().max(1) as f64;
        let late = waits.get(waits.len() * 19 / 20).or(waits.last());
        result.wait_p95_seconds = late.copied().unwrap_or_default();
        let gpus = self.trace.gpu_milli() as f64 / 1_000.0;
        result.allocated = self.gpu_seconds / (gpus * result.makespan_seconds).max(1e-9);
        let means = self.slowdowns.values().map(|(sum, tasks)| sum / tasks);
        let (sum, squares, payers) =
            means.fold((0.0, 0.0, 0.0), |(s, q, n), x| (s + x, q + x * x, n + 1.0));
        result.fairness = if squares > 0.0 { sum * sum / (payers * squares) } else { 1.0 };
        result
    }
}

/// What a task takes by the end, if it uses what it asked for.
fn taken(task: &TraceTask) -> Metered {
    let micros = u64::try_from(task.runs.as_micros()).unwrap_or(u64::MAX);
    let part = |milli: u64| micros.saturating_mul(milli) / 1_000;
    Metered {
        busy_micros: micros,
        cpu_micros: part(task.requirements.cpu_milli.into()),
        memory_mib_millis: task.requirements.memory_mib.saturating_mul(micros / 1_000),
        gpu_micros: part(task.requirements.gpus.total_milli()),
        bytes: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::Requirements;

    #[test]
    fn every_task_that_fits_is_done_once_whatever_nodes_do() {
        let trace = Trace::sample(20, 300, 4);
        let hour = Duration::from_secs(3_600);
        for churn in [None, Some(Churn { stays: hour * 2, away: hour / 4 })] {
            let how = ReplayPolicy { churn, ..ReplayPolicy::default() };
            let replayed = replay(&trace, &Policy::Fog, 9, &how).unwrap();
            assert_eq!(replayed.done + replayed.never_placed, 300);
            assert_eq!(replayed, replay(&trace, &Policy::Fog, 9, &how).unwrap());
            assert_eq!(replayed.lost > 0, churn.is_some());
            assert!((0.0..=1.0).contains(&replayed.allocated));
            assert!((0.0..=1.0 + 1e-9).contains(&replayed.fairness));
        }
    }

    #[test]
    fn what_fits_nowhere_keeps_no_other_from_running() {
        let mut trace = Trace::sample(5, 200, 4);
        let (never, rest) = trace.tasks.split_at_mut(100);
        let cores = |cpu_milli| Requirements { cpu_milli, ..Requirements::default() };
        for (number, task) in (0..).zip(never) {
            task.requirements = cores(9_000_000 + number % 50);
            task.arrives = Duration::ZERO;
        }
        rest.iter_mut().for_each(|task| task.requirements = cores(1));
        let how = ReplayPolicy::default();
        let replayed = replay(&trace, &Policy::Fog, 9, &how).unwrap();
        assert_eq!((replayed.never_placed, replayed.done), (100, 100));
    }
}
