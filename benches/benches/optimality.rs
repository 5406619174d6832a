//! How far each policy is from the best that could be done.
//!
//! `gap.<policy>`: on 200 small random clusters, how much less GPU share is allocated than an exact
//! solver allocates that knows all tasks beforehand, in per cent of the latter, on average.
//! Policies see one task after another and can take nothing back, so none of them can have 0.
//! `FOGCORE_INSTANCES` sets another number of clusters.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark that fails should stop")]

use fogcore::registry::{Gpu, Node, Resources};
use fogcore::scheduler::policy::{Policy, Vitals, Workload};
use fogcore::scheduler::{Cluster, GpuRequirement, Requirements};
use good_lp::{Expression, ProblemVariables, Solution, SolverModel, microlp, variable};
use rand::{RngExt, SeedableRng, rngs::StdRng};

const NODES: usize = 3;
const TASKS: usize = 9;

struct Instance {
    nodes: Vec<Node>,
    tasks: Vec<Requirements>,
}

/// Nodes of one or two GPUs that are a little too small for all the tasks.
fn instance(dice: &mut StdRng) -> Instance {
    let gpu = || Gpu { model: "G".into(), memory_mib: 0 };
    let nodes = (0..NODES).map(|number| {
        let gpus = (0..dice.random_range(1..=2)).map(|_| gpu()).collect();
        let cpu_cores = dice.random_range(8..=24);
        let resources = Resources { cpu_cores, memory_mib: 1 << 20, gpus, ..Default::default() };
        let id = format!("node-{number}").parse().unwrap();
        Node { resources, slots: 1_000, ..Node::new(id) }
    });
    let nodes = nodes.collect();
    let shares = [(1, 250), (1, 330), (1, 470), (1, 600), (1, 810), (1, 1_000), (2, 1_000)];
    let tasks = (0..TASKS).map(|_| {
        let (count, milli) = shares[dice.random_range(0..shares.len())];
        let gpus = GpuRequirement { count, milli, ..GpuRequirement::default() };
        let cpu_milli = dice.random_range(1..=8) * 1_000;
        Requirements { cpu_milli, memory_mib: 1, gpus, ..Requirements::default() }
    });
    Instance { nodes, tasks: tasks.collect() }
}

/// The most GPU share that can be allocated, by integer programming.
fn best(instance: &Instance) -> f64 {
    let mut variables = ProblemVariables::new();
    let mut binary = || variables.add(variable().binary());
    // Whether a task is on a node, and whether it has that GPU of it.
    let on: Vec<Vec<_>> =
        instance.tasks.iter().map(|_| instance.nodes.iter().map(|_| binary()).collect()).collect();
    let has: Vec<Vec<Vec<_>>> = instance
        .tasks
        .iter()
        .map(|_| {
            let gpus = instance.nodes.iter().map(|node| node.resources.gpus.len());
            gpus.map(|gpus| (0..gpus).map(|_| binary()).collect()).collect()
        })
        .collect();
    let share = |task: &Requirements| f64::from(task.gpus.count * task.gpus.milli);
    let allocated: Expression = instance
        .tasks
        .iter()
        .zip(&on)
        .flat_map(|(task, on)| on.iter().map(move |on| share(task) * *on))
        .sum();
    let mut model = variables.maximise(allocated.clone()).using(microlp);
    for (number, task) in instance.tasks.iter().enumerate() {
        model = model.with(on[number].iter().copied().sum::<Expression>().leq(1));
        for (node, has) in has[number].iter().enumerate() {
            let devices: Expression = has.iter().copied().sum();
            model = model.with(devices.eq(f64::from(task.gpus.count) * on[number][node]));
        }
    }
    for (number, node) in instance.nodes.iter().enumerate() {
        let tasks = || instance.tasks.iter().enumerate();
        let cpu: Expression =
            tasks().map(|(task, needs)| f64::from(needs.cpu_milli) * on[task][number]).sum();
        model = model.with(cpu.leq(f64::from(node.resources.cpu_cores) * 1_000.0));
        for (gpu, _) in node.resources.gpus.iter().enumerate() {
            let taken: Expression = tasks()
                .map(|(task, needs)| f64::from(needs.gpus.milli) * has[task][number][gpu])
                .sum();
            model = model.with(taken.leq(1_000.0));
        }
    }
    model.solve().unwrap().eval(allocated)
}

fn allocated(instance: &Instance, policy: &Policy, seed: u64) -> f64 {
    let mut workload = Workload::default();
    instance.tasks.iter().for_each(|task| workload.learn(task, 1.0));
    let mut cluster = Cluster::new(policy.clone(), seed).with_workload(workload);
    for node in &instance.nodes {
        cluster.add(node, Vitals::default()).unwrap();
    }
    let placed = instance.tasks.iter().filter(|task| cluster.place(None, task).is_ok());
    placed.map(|task| f64::from(task.gpus.count * task.gpus.milli)).sum()
}

fn main() {
    let wanted = std::env::var("FOGCORE_INSTANCES").ok().and_then(|text| text.parse().ok());
    let mut dice = StdRng::seed_from_u64(1);
    let instances: Vec<_> = (0..wanted.unwrap_or(200)).map(|_| instance(&mut dice)).collect();
    let bests: Vec<_> = instances.iter().map(best).collect();
    for (name, policy) in Policy::ALL {
        let mut sum = 0.0;
        for (seed, (instance, best)) in (0..).zip(instances.iter().zip(&bests)) {
            let found = allocated(instance, &policy, seed);
            assert!(found <= best + 1e-6, "{name}: {found} is more than the best, {best}");
            sum += 1.0 - found / best.max(1.0);
        }
        println!("figure scheduler.gap.{name} {:.2} %", 100.0 * sum / instances.len() as f64);
    }
}
