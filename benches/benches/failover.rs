//! What it costs to be careful: breakers, the registry that keeps them, budgets, hedges.
//!
//! `breaker` is one call that succeeds at once through a closed breaker: leave, and the outcome.
//! Time is handed in and goes on a little with each call. `breaker2` is the time per call of two
//! threads together through the same breaker. A window of time is filled before it is measured; it
//! spans ten seconds, and its figure's name tells how many calls it holds then.

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark tells and stops")]
#![allow(clippy::disallowed_methods, reason = "a benchmark measures the clock, too")]

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, criterion_group, criterion_main};
use fogcore::failover::{
    Breaker, BreakerPolicy, BreakerState, BreakerWindow, Breakers, BudgetPolicy, HedgeDelay,
    HedgePolicy, RequestClass, RetryBudget,
};
use fogcore::id::NodeId;

#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TICK: Duration = Duration::from_nanos(100);
const SPAN: Duration = Duration::from_secs(10);
const SUCCESSES: u32 = 100_000;
const NODES: u32 = 10_000;

/// The window decides alone, so that failures on the way can be measured, too.
fn by_window(window: BreakerWindow) -> BreakerPolicy {
    BreakerPolicy { window, consecutive_failures: None, ..BreakerPolicy::default() }
}

fn breaker(policy: BreakerPolicy) -> Breaker {
    Breaker::new(policy).unwrap()
}

fn group(criterion: &mut Criterion) -> BenchmarkGroup<'_, WallTime> {
    let mut group = criterion.benchmark_group("failover");
    group.sample_size(20);
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    group
}

fn breakers(criterion: &mut Criterion) {
    let count = by_window(BreakerWindow::Count(100));
    let time = by_window(BreakerWindow::Time(SPAN));
    // What a breaker for calls of milliseconds would have.
    let slow = BreakerPolicy { slow_after: Some(Duration::from_millis(100)), ..count };
    let mut group = group(criterion);
    for (name, policy, tick, fails_every) in [
        ("count", count, TICK, u64::MAX),
        ("count_with_failures", count, TICK, 100),
        ("time_10", time, SPAN / 10, u64::MAX),
        ("time_1k", time, SPAN / 1_000, u64::MAX),
        ("time_100k", time, SPAN / 100_000, u64::MAX),
        ("time_1m", time, SPAN / 1_000_000, u64::MAX),
        ("time_1m_with_failures", time, SPAN / 1_000_000, 100),
        ("slow_calls", slow, TICK, u64::MAX),
    ] {
        let breaker = breaker(policy);
        let (mut now, mut good_ones) = (Duration::ZERO, fails_every);
        let mut one = || {
            now += tick;
            good_ones -= 1;
            let permit = breaker.acquire(now).unwrap();
            if good_ones == 0 {
                good_ones = fails_every;
                permit.failure(now);
            } else {
                permit.success(now);
            }
        };
        (0..1_000_000).for_each(|_| one());
        let id = BenchmarkId::new(format!("breaker.{name}"), "ns");
        group.bench_function(id, |bencher| bencher.iter(&mut one));
    }
    let breaker = breaker(count);
    group.bench_function(BenchmarkId::new("breaker2.count", "ns"), |bencher| {
        bencher.iter_custom(|calls| two_threads(&breaker, calls));
    });
    group.finish();
}

/// The time in which two threads make so many calls together.
fn two_threads(breaker: &Breaker, calls: u64) -> Duration {
    let start = Barrier::new(3);
    thread::scope(|scope| {
        let threads = [(); 2].map(|()| {
            scope.spawn(|| {
                let mut now = Duration::ZERO;
                start.wait();
                for _ in 0..calls.div_ceil(2) {
                    now += TICK;
                    black_box(breaker).acquire(now).unwrap().success(now);
                }
            })
        });
        start.wait();
        let began = Instant::now();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        began.elapsed()
    })
}

fn others(criterion: &mut Criterion) {
    let mut group = group(criterion);
    // Time pays for each retry: what a purse does that nobody else fills.
    let paid = BudgetPolicy { share: 0.0, floor_per_second: 1e6, most: 100 };
    let (budget, mut now) = (RetryBudget::new(paid).unwrap(), Duration::ZERO);
    group.bench_function(BenchmarkId::new("budget.spend", "ns"), |bencher| {
        bencher.iter(|| {
            now += Duration::from_micros(1);
            assert!(budget.spend(now));
        });
    });
    let (hedge, mut latency) = (HedgeDelay::new(HedgePolicy::default()).unwrap(), 0);
    group.bench_function(BenchmarkId::new("hedge.record", "ns"), |bencher| {
        bencher.iter(|| {
            // From 1 to 65 ms, in no order.
            latency = (latency + 40_503) % 65_536;
            hedge.record(Duration::from_micros(1_000 + latency));
        });
    });
    let breakers = Breakers::new(BreakerPolicy::default()).unwrap();
    let class = RequestClass::general();
    let nodes: Vec<NodeId> = (0..NODES).map(|n| format!("node-{n}").parse().unwrap()).collect();
    for node in &nodes {
        breakers.get(node, &class).unwrap();
    }
    let mut next = 0;
    group.bench_function(BenchmarkId::new("breakers.get", "ns"), |bencher| {
        bencher.iter(|| {
            next = (next + 4_001) % nodes.len();
            breakers.get(&nodes[next], &class).unwrap()
        });
    });
    group.finish();
}

/// Printed rather than timed: these are counts.
fn counts(_: &mut Criterion) {
    // Its first bad call adds four bytes for each call in the window.
    println!("figure failover.memory.breaker.count {} bytes", size_of::<Breaker>());

    let breaker = breaker(by_window(BreakerWindow::Count(100)));
    let now = Duration::ZERO;
    (0..SUCCESSES).for_each(|_| breaker.acquire(now).unwrap().success(now));
    let fails = || breaker.acquire(now).map(|permit| permit.failure(now)).is_ok();
    let failures = (0..SUCCESSES).take_while(|_| fails()).count();
    assert_eq!(breaker.state(), BreakerState::Open);
    println!("figure failover.opens_after.fogcore {failures} failures");
}

criterion_group!(benches, counts, breakers, others);
criterion_main!(benches);
