//! The main job, without the work: submit, place, lease, complete, pay.
//!
//! `roundtrip`: four workers of this process execute tasks that do nothing, submitted in batches
//! of 100; every state change of every task is in the store, and durable where the store is.
//! `floor.fdatasync`: the same disk's flushes in the same run. `queued`: what one task costs
//! (submit, lease, complete in hundreds) behind a backlog of this many others.

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark that fails should stop")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use fogcore::Fog;
use fogcore::event::{Event, Notice};
use fogcore::scheduler::{Claim, Completion, Outcome, Output, Usage, executor_fn, settlement};
use fogcore_benches::{StoreKind, flush_once, funded_fog, kind, paid_node, paid_task};
use tokio::runtime::Runtime;

/// As in the programs under `examples/`; it serves SQLite, too.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 100;
const TASKS: usize = 4_000;

fn batch() -> Vec<(fogcore::scheduler::TaskSpec, Bytes)> {
    let spec = paid_task().unwrap();
    (0..BATCH).map(|_| (spec.clone(), Bytes::new())).collect()
}

/// Submits [`TASKS`] tasks and waits until the last one is paid.
async fn roundtrip(fog: &Fog) {
    let mut events = fog.subscribe();
    let before = done(fog).await;
    let submit = async {
        for _ in 0..TASKS / BATCH {
            for answer in fog.submit_all(batch()).await.unwrap() {
                answer.unwrap();
            }
        }
    };
    let wait = async {
        let mut succeeded = 0;
        while succeeded < TASKS {
            match events.next().await {
                Some(Notice::Event(Event::TaskSucceeded { .. })) => succeeded += 1,
                Some(Notice::Event(_)) => {}
                Some(Notice::Missed(_)) | None => panic!("the bus is too small for this benchmark"),
            }
        }
    };
    tokio::join!(submit, wait);
    assert_eq!(done(fog).await - before, TASKS as u64, "the store agrees");
}

async fn done(fog: &Fog) -> u64 {
    fog.tallies().await.unwrap().values().map(|tally| tally.succeeded).sum()
}

fn roundtrips(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let mut group = criterion.benchmark_group("tasks");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::Elements(TASKS as u64));
    let stores =
        [("roundtrip.sqlite.durable", StoreKind::Sqlite), ("roundtrip.memory", StoreKind::Memory)];
    for (name, store) in stores {
        let (url, _folder) = store.url().unwrap();
        let (fog, workers) = runtime.block_on(async {
            let fog = funded_fog(&url).await.unwrap();
            let mut workers = Vec::new();
            for number in 0..4 {
                let noop = executor_fn(|_| async { Ok(Output::default()) });
                let node = paid_node(&format!("worker-{number}"), 128).unwrap();
                let worker = fog.worker(node).executor(kind().unwrap(), noop);
                workers.push(worker.start().await.unwrap());
            }
            (fog, workers)
        });
        group.bench_function(BenchmarkId::new(name, "tasks/s"), |bencher| {
            bencher.to_async(&runtime).iter(|| roundtrip(&fog));
        });
        drop(workers);
        runtime.block_on(async {
            let balance = fog.ledger().trial_balance().await.unwrap();
            assert!(balance.is_balanced());
            fog.shutdown().await;
        });
    }
    group.finish();
}

fn floor(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tasks");
    group.throughput(Throughput::Elements(1));
    let folder = tempfile::tempdir().unwrap();
    let mut file = std::fs::File::create(folder.path().join("flushed")).unwrap();
    group.bench_function(BenchmarkId::new("floor.fdatasync", "fdatasync/s"), |bencher| {
        bencher.iter(|| flush_once(&mut file).unwrap());
    });
    group.finish();
}

/// Submits a hundred, leases a hundred, completes a hundred: the backlog stays as long as it is.
async fn hundred(fog: &Fog, node: &fogcore::registry::Node) {
    fog.submit_all(batch()).await.unwrap();
    let granted = fog.lease(&node.id, BATCH).await.unwrap();
    assert_eq!(granted.len(), BATCH);
    let usage = Usage::default();
    let completions = granted
        .into_iter()
        .map(|assignment| {
            let task = assignment.task;
            let reward = settlement::reward(node, &task.spec, &usage);
            let claim = Claim { task: task.id, node: node.id.clone(), fence: task.fence };
            Completion {
                claim,
                outcome: Outcome::Succeeded { result: Bytes::new(), reward },
                usage,
                log: Vec::new(),
                score: None,
            }
        })
        .collect();
    for answer in fog.complete(completions).await.unwrap() {
        answer.unwrap();
    }
}

fn queued(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let mut group = criterion.benchmark_group("tasks");
    group.sample_size(20).measurement_time(Duration::from_secs(8));
    for (store, kind_of_store) in [("sqlite", StoreKind::Sqlite), ("memory", StoreKind::Memory)] {
        let (url, _folder) = kind_of_store.url().unwrap();
        let (fog, node) = runtime.block_on(async {
            let fog = funded_fog(&url).await.unwrap();
            let mut node = paid_node("worker", 1_000).unwrap();
            node.serves.insert(kind().unwrap());
            fog.register(node.clone()).await.unwrap();
            (fog, node)
        });
        let backlog = std::cell::Cell::new(0);
        for (name, tasks) in [("1k", 1_000), ("100k", 100_000), ("1m", 1_000_000)] {
            let id = BenchmarkId::new(format!("queued.{store}.{name}"), "us");
            group.bench_function(id, |bencher| {
                // In here, so that it happens only if this one is asked for.
                runtime.block_on(async {
                    let spec = paid_task().unwrap();
                    while backlog.get() < tasks {
                        let thousand = (0..1_000).map(|_| (spec.clone(), Bytes::new())).collect();
                        fog.submit_all(thousand).await.unwrap();
                        backlog.set(backlog.get() + 1_000);
                    }
                });
                bencher.to_async(&runtime).iter_custom(async |rounds| {
                    // A node that was silent while the backlog grew would get no work.
                    fog.register(node.clone()).await.unwrap();
                    let begun = now();
                    for _ in 0..rounds {
                        hundred(&fog, &node).await;
                    }
                    begun.elapsed() / u32::try_from(BATCH).unwrap()
                });
            });
        }
        runtime.block_on(fog.shutdown());
    }
    group.finish();
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> Instant {
    Instant::now()
}

criterion_group!(benches, roundtrips, floor, queued);
criterion_main!(benches);
