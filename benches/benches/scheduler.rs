//! Placing one task among many nodes.
//!
//! `place.<policy>.<nodes>`: one decision with everything that follows in memory (the node's state
//! and the index), in a cluster of mixed sizes that is 70 % full. What was placed is given back
//! outside of the time. `openb.fgd.seconds_per_seed`: a run of the published protocol, if
//! `FOGCORE_OPENB` names the folder with the trace. `memory.node`: what a node takes, with the
//! index and three tasks.

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark that fails should stop")]

use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use fogcore::registry::{Gpu, Node, Resources};
use fogcore::scheduler::policy::{Policy, Vitals};
use fogcore::scheduler::simulate::{FillPolicy, Trace, fill};
use fogcore::scheduler::{Cluster, GpuRequirement, Requirements};

/// As in the other benchmarks, and in those of the peers.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// So many are placed in a row before they are given back.
const ROUND: u64 = 64;

/// The nodes that the peer's benchmark has, too: cores, GiB and GPUs.
const SIZES: [(u32, u64, usize); 5] =
    [(4, 16, 0), (8, 32, 0), (16, 64, 1), (32, 128, 2), (96, 384, 8)];

fn node(number: usize) -> Node {
    let (cpu_cores, gib, gpus) = SIZES[number % SIZES.len()];
    let gpu = || Gpu { model: "G".into(), memory_mib: 16_384 };
    let gpus = (0..gpus).map(|_| gpu()).collect();
    let resources = Resources { cpu_cores, memory_mib: gib * 1_024, gpus, ..Default::default() };
    Node { resources, slots: 1_024, ..Node::new(format!("node-{number}").parse().unwrap()) }
}

/// The tasks of a made-up workload, in an order that repeats.
fn task(number: usize) -> Requirements {
    let (cpu_milli, gib, count, milli) = [
        (500, 2, 0, 0),
        (4_000, 16, 1, 250),
        (1_000, 4, 0, 0),
        (6_000, 24, 1, 1_000),
        (2_000, 8, 0, 0),
        (3_000, 12, 1, 600),
        (1_500, 6, 0, 0),
        (5_000, 20, 1, 400),
    ][number % 8];
    let gpus = GpuRequirement { count, milli, ..GpuRequirement::default() };
    let gpus = if count == 0 { GpuRequirement::default() } else { gpus };
    Requirements { cpu_milli, memory_mib: gib * 1_024, gpus, ..Requirements::default() }
}

/// A cluster whose CPU is 70 % taken, by tasks at random places.
fn cluster(nodes: usize) -> Cluster {
    let mut cluster = Cluster::new(Policy::Random, 1);
    let mut cores = 0;
    for number in 0..nodes {
        let node = node(number);
        cores += u64::from(node.resources.cpu_cores);
        cluster.add(&node, Vitals::default()).unwrap();
    }
    let (mut taken, mut failed) = (0, 0);
    for number in 0.. {
        // What no longer fits is left out: GPUs are full before CPUs are.
        let needs = task(number);
        if cluster.place(None, &needs).is_ok() {
            taken += u64::from(needs.cpu_milli);
        } else {
            failed += 1;
        }
        if taken >= cores * 700 || failed > nodes {
            break;
        }
    }
    cluster
}

fn place(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scheduler");
    group.sample_size(20);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    let policies = [Policy::BinPack, Policy::Fgd, Policy::Thrift, Policy::Fog, Policy::Random];
    for nodes in [1_000, 10_000, 100_000, 1_000_000] {
        let before = resident();
        let mut cluster = cluster(nodes);
        if nodes == 1_000_000 {
            let each = resident().saturating_sub(before) / nodes as u64;
            println!("figure scheduler.memory.node {each} bytes");
        }
        for policy in &policies {
            cluster.set_policy(policy.clone());
            let id = BenchmarkId::new(format!("place.{policy}.{nodes}"), "ns");
            group.bench_function(id, |bencher| {
                bencher.iter_custom(|rounds| rounds_of(&mut cluster, rounds));
            });
        }
    }
    group.finish();
}

/// How long it takes to place so many tasks; they are given back meanwhile, but not in the time.
fn rounds_of(cluster: &mut Cluster, rounds: u64) -> Duration {
    let tasks: Vec<_> = (0..8).map(task).collect();
    let mut spent = Duration::ZERO;
    let mut placed = Vec::new();
    let mut left = rounds;
    while left > 0 {
        let now_many = left.min(ROUND);
        let begun = now();
        for number in 0..now_many {
            let needs = &tasks[usize::try_from(number % 8).unwrap()];
            placed.extend(cluster.place(None, needs).ok().map(|placed| placed.allocation));
        }
        spent += begun.elapsed();
        placed.drain(..).for_each(|allocation| cluster.release(allocation).unwrap());
        left -= now_many;
    }
    spent
}

fn openb(criterion: &mut Criterion) {
    let Some(folder) = std::env::var_os("FOGCORE_OPENB") else { return };
    let open = |name: &str| std::fs::File::open(Path::new(&folder).join(name)).unwrap();
    let (nodes, tasks) = ("openb_node_list_gpu_node.csv", "openb_pod_list_default.csv");
    let trace = Trace::read(open(nodes), open(tasks)).unwrap();
    let mut group = criterion.benchmark_group("scheduler");
    group.sample_size(10);
    for policy in [Policy::Fgd, Policy::Thrift] {
        let id = BenchmarkId::new(format!("openb.{policy}.seconds_per_seed"), "s");
        group.bench_function(id, |bencher| {
            bencher.iter(|| fill(&trace, &policy, 1, &FillPolicy::default()).unwrap());
        });
    }
    group.finish();
}

/// What the process has in memory, in bytes; 0 where the system does not tell.
fn resident() -> u64 {
    let told = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: Option<u64> = told.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0) * 4_096
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> Instant {
    Instant::now()
}

criterion_group!(benches, place, openb);
criterion_main!(benches);
