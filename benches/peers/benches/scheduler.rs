//! What it costs to place one task elsewhere.
//!
//! `place.forge.<nodes>`: `schedule_fast_commit` of forge-orchestration, which chooses a node and
//! takes the room, among nodes and tasks like those of fogcore's benchmark; 70 % of the CPU is
//! taken. What was placed is given back outside of the time. It knows whole GPUs only, so the GPUs
//! are left out, which is to its advantage.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use forge_orchestration::scheduler::{
    NodeResources, OptimizedScheduler, ResourceRequirements, Workload,
};
use forge_orchestration::types::NodeId;

#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUND: usize = 64;
/// Cores and GiB.
const SIZES: [(u64, u64); 5] = [(4, 16), (8, 32), (16, 64), (32, 128), (96, 384)];
/// Thousandths of a core, and GiB.
const TASKS: [(u64, u64); 8] = [
    (500, 2),
    (4_000, 16),
    (1_000, 4),
    (6_000, 24),
    (2_000, 8),
    (3_000, 12),
    (1_500, 6),
    (5_000, 20),
];

/// Nodes of which 70 % of the CPU is taken.
fn scheduler(nodes: usize) -> OptimizedScheduler {
    let scheduler = OptimizedScheduler::new();
    for number in 0..nodes {
        let (cores, gib) = SIZES[number % SIZES.len()];
        let mut node = NodeResources::new(NodeId::new(), cores * 1_000, gib * 1_024);
        node.cpu_allocated = cores * (550 + (number as u64 * 7_919) % 300);
        node.memory_allocated = gib * (550 + (number as u64 * 104_729) % 300) * 1_024 / 1_000;
        scheduler.register_node(node);
    }
    scheduler
}

fn place(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scheduler");
    group.sample_size(10);
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    let tasks: Vec<_> = (0..)
        .zip(TASKS)
        .map(|(number, (cpu, gib)): (u32, _)| {
            let needs = ResourceRequirements::new().cpu(cpu).memory(gib * 1_024);
            Workload::new(format!("task-{number}"), "task").with_resources(needs)
        })
        .collect();
    for nodes in [1_000, 10_000, 100_000, 1_000_000] {
        let scheduler = scheduler(nodes);
        let id = BenchmarkId::new(format!("place.forge.{nodes}"), "ns");
        group.bench_function(id, |bencher| {
            bencher.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                let mut left = usize::try_from(rounds).unwrap_or(usize::MAX);
                while left > 0 {
                    let many = left.min(ROUND);
                    let mut placed = Vec::new();
                    let begun = Instant::now();
                    for task in tasks.iter().cycle().take(many) {
                        placed.extend(scheduler.schedule_fast_commit(task).map(|node| (node, task)));
                    }
                    spent += begun.elapsed();
                    for (node, task) in placed {
                        scheduler.release_workload(node, &task.resources, &[]);
                    }
                    left -= many;
                }
                spent
            });
        });
    }
    group.finish();
}

criterion_group!(benches, place);
criterion_main!(benches);
