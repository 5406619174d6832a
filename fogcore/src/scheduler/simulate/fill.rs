//! Filling a cluster until it overflows.

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_pcg::Pcg32;
use serde::Serialize;

use super::Trace;
use crate::error::{Error, Result};
use crate::scheduler::policy::{Policy, Vitals, Workload};
use crate::scheduler::{Cluster, Requirements};

/// How a cluster is filled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FillPolicy {
    /// How much GPU share arrives, as a part of all there is. Default 1.3.
    pub arrives: f64,
    /// Whether the workload is known before the first task comes, as the published protocol has
    /// it; else it is learned from what arrives. Default true.
    pub known: bool,
}

impl Default for FillPolicy {
    fn default() -> Self {
        Self { arrives: 1.3, known: true }
    }
}

/// A cluster that was filled.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Filled {
    /// How much of all GPUs was allocated (0–1) when so much had arrived (0 and up), in steps of a
    /// hundredth.
    pub curve: Vec<(f64, f64)>,
    /// The idle GPU share that the next task could not use, as a part of all GPUs, in the end.
    pub fragmentation: f64,
    /// How many tasks came.
    pub tasks: usize,
    /// How many of them fitted nowhere.
    pub refused: usize,
}

impl Filled {
    /// How much was allocated when `arrived` (1 for as much as there is) had come.
    #[must_use]
    pub fn at(&self, arrived: f64) -> f64 {
        let reached = self.curve.iter().find(|(share, _)| *share >= arrived - 1e-9);
        reached.or(self.curve.last()).map_or(0.0, |(_, allocated)| *allocated)
    }
}

/// Tasks drawn from the trace arrive one after another, and none leaves; one that fits nowhere is
/// passed over. They are shuffled, and then some are left out, or repeated, at random until they
/// ask for [`FillPolicy::arrives`] of all GPUs.
///
/// # Errors
/// InvalidInput for a trace without GPUs, or whose tasks want none.
pub fn fill(trace: &Trace, policy: &Policy, seed: u64, how: &FillPolicy) -> Result<Filled> {
    let all = trace.gpu_milli() as f64;
    if all <= 0.0 || trace.tasks.iter().all(|task| milli(&task.requirements) <= 0.0) {
        return Err(Error::invalid(
            "trace",
            "nothing can be filled without GPUs and tasks for them",
        ));
    }
    let mut cluster = Cluster::new(policy.clone(), seed);
    if how.known {
        let mut workload = Workload::default();
        for task in &trace.tasks {
            workload.learn(&task.requirements, 1.0);
        }
        cluster = cluster.with_workload(workload);
    }
    for node in &trace.nodes {
        cluster.add(node, Vitals::default())?;
    }
    let tasks = arrivals(trace, all * how.arrives, seed);
    let mut filled = Filled { tasks: tasks.len(), ..Filled::default() };
    let (mut arrived, mut allocated, mut next) = (0.0, 0.0, 0.01);
    for needs in tasks {
        arrived += milli(needs) / all;
        match cluster.place(None, needs) {
            Ok(_) => allocated += milli(needs) / all,
            Err(_) => filled.refused += 1,
        }
        while arrived >= next - 1e-12 {
            filled.curve.push((next, allocated));
            next += 0.01;
        }
    }
    filled.curve.push((arrived, allocated));
    filled.fragmentation = cluster.fragmentation() / all;
    Ok(filled)
}

fn milli(needs: &Requirements) -> f64 {
    needs.gpus.total_milli() as f64
}

fn arrivals(trace: &Trace, wanted: f64, seed: u64) -> Vec<&Requirements> {
    let mut dice = Pcg32::new(seed, 0x0066_696c_6c00);
    let mut tasks: Vec<_> = trace.tasks.iter().map(|task| &task.requirements).collect();
    tasks.shuffle(&mut dice);
    let mut sum: f64 = tasks.iter().map(|needs| milli(needs)).sum();
    while sum > wanted && tasks.len() > 1 {
        let left_out = tasks.swap_remove(dice.random_range(0..tasks.len()));
        sum -= milli(left_out);
    }
    while sum < wanted {
        let repeated = &trace.tasks[dice.random_range(0..trace.tasks.len())].requirements;
        sum += milli(repeated);
        tasks.push(repeated);
    }
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_fills_the_same_way() {
        let trace = Trace::sample(30, 300, 5);
        for (name, policy) in Policy::ALL {
            let filled = fill(&trace, &policy, 3, &FillPolicy::default()).unwrap();
            let again = fill(&trace, &policy, 3, &FillPolicy::default()).unwrap();
            assert_eq!(filled, again, "{name}");
            assert!(filled.at(1.0) > 0.6 && filled.at(1.3) <= 1.0 + 1e-9, "{name}");
        }
    }

    #[test]
    fn who_looks_to_the_end_allocates_more_than_chance() {
        let trace = Trace::sample(60, 600, 2);
        let mean = |policy: &Policy| {
            let filled = |seed| fill(&trace, policy, seed, &FillPolicy::default()).unwrap().at(1.3);
            (1..=5).map(filled).sum::<f64>() / 5.0
        };
        let (random, best_fit, thrift) =
            (mean(&Policy::Random), mean(&Policy::BinPack), mean(&Policy::Thrift));
        assert!(thrift > random + 0.01, "{thrift} {random}");
        assert!(thrift > best_fit - 0.002, "{thrift} {best_fit}");
    }

    #[test]
    fn a_trace_without_gpus_is_refused() {
        let error = fill(&Trace::default(), &Policy::Fog, 1, &FillPolicy::default()).unwrap_err();
        assert_eq!(error.field(), Some("trace"));
    }
}
