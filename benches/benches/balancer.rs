//! What a pick costs, all of it: weight, health, breaker, the count of requests in flight, and the
//! outcome, which feeds latency, load and breaker.
//!
//! Time is handed in, as everywhere in the library, so reading the clock is not part of a pick;
//! `floor.clock` tells what that costs here. `pick2` is the time per pick of two threads together:
//! half of one thread's would be perfect, on a machine that gives two threads twice the speed of one.
//! `floor2.pick` tells what it gives: two threads with a balancer each, which share nothing.
//! `floor.count` is what counting a request in and out at one of 10,000 nodes costs, and nothing
//! else, and `floor2.count` the same for two threads. `floor.misses` is two reads, the second of
//! which depends on the first one: of a list with two cache lines per node (a hash ring's), and of a
//! node's own line, which is counted up. No pick of a random node can grow by less with the number of
//! nodes than this.

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark tells and stops")]
#![allow(clippy::disallowed_methods, reason = "a benchmark measures the clock, too")]

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use fogcore::balancer::{
    Balancer, BalancerPolicy, Dice, Endpoint, Key, Load, Request, Scope, StrategyKind,
};

#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SIZES: [u32; 5] = [10, 100, 1_000, 10_000, 100_000];
const MS: Duration = Duration::from_millis(1);

const NAMES: [(StrategyKind, &str); 9] = [
    (StrategyKind::RoundRobin, "round_robin"),
    (StrategyKind::WeightedRoundRobin, "weighted_round_robin"),
    (StrategyKind::Random, "random"),
    (StrategyKind::LeastConnections, "least_connections"),
    (StrategyKind::LatencyBased, "latency_based"),
    (StrategyKind::ResourceBased, "resource_based"),
    (StrategyKind::AdaptiveIntelligent, "adaptive_intelligent"),
    (StrategyKind::Prequal, "prequal"),
    (StrategyKind::ConsistentHash, "consistent_hash"),
];

fn endpoint(number: u32) -> Endpoint {
    Endpoint {
        region: "here".to_owned(),
        ..Endpoint::new(format!("node-{number}").parse().unwrap())
    }
}

/// A balancer whose nodes have just joined, and were told of their load.
fn joined(strategy: StrategyKind, nodes: u32) -> Balancer {
    let balancer = Balancer::new(BalancerPolicy::default(), strategy).unwrap();
    for number in 0..nodes {
        balancer.join(endpoint(number), Duration::ZERO).unwrap();
        let load = Load {
            cpu: Some(f64::from(number % 100) / 100.0),
            memory: Some(0.5),
            in_flight: Some(number % 7),
            ..Load::default()
        };
        let id = format!("node-{number}").parse().unwrap();
        balancer.report(&id, &load, Duration::from_secs(60)).unwrap();
    }
    balancer
}

/// A balancer whose nodes have long started, told of their load, and answered about 150 calls each,
/// so that their breakers' windows are full.
fn balancer(strategy: StrategyKind, nodes: u32) -> (Balancer, Duration) {
    let balancer = joined(strategy, nodes);
    let now = Duration::from_secs(60);
    balancer.maintain(now);
    let mut dice = Dice::seeded(9);
    for pick in 0..u64::from(nodes) * 150 {
        one(&balancer, &mut dice, now, pick);
    }
    (balancer, now)
}

/// One pick and its outcome.
fn one(balancer: &Balancer, dice: &mut Dice, now: Duration, number: u64) {
    let request = Request::new().keyed(Key(number));
    let permit = balancer.pick(&request, now, dice).unwrap();
    black_box(permit.index());
    permit.success(MS * 3);
}

fn picks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("balancer");
    group.sample_size(20);
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_millis(700));
    for (strategy, name) in NAMES {
        for nodes in SIZES {
            let (mut made, mut dice, mut number) = (None, Dice::seeded(1), 0);
            let id = BenchmarkId::new(format!("pick.{name}.{nodes}"), "ns");
            group.bench_function(id, |bencher| {
                let (balancer, now) = made.get_or_insert_with(|| balancer(strategy, nodes));
                bencher.iter(|| {
                    number += 1;
                    *now += Duration::from_nanos(100);
                    one(balancer, &mut dice, *now, number);
                });
            });
        }
    }
    group.finish();
}

fn picks_of_two(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("balancer");
    group.sample_size(20);
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_millis(700));
    for (strategy, name) in NAMES {
        for nodes in [10, 10_000] {
            let mut made = None;
            let id = BenchmarkId::new(format!("pick2.{name}.{nodes}"), "ns");
            group.bench_function(id, |bencher| {
                let (balancer, now) = made.get_or_insert_with(|| balancer(strategy, nodes));
                bencher.iter_custom(|picks| {
                    two_threads(|seed| pick_as(seed, balancer, *now, picks.div_ceil(2)))
                });
            });
        }
        let mut made = None;
        let id = BenchmarkId::new(format!("floor2.pick.{name}.10000"), "ns");
        group.bench_function(id, |bencher| {
            let pair = made.get_or_insert_with(|| [1, 2].map(|_| balancer(strategy, 10_000)));
            bencher.iter_custom(|picks| {
                two_threads(|seed| {
                    let (balancer, now) = &pair[usize::from(seed == 1)];
                    pick_as(seed, balancer, *now, picks.div_ceil(2));
                })
            });
        });
    }
    group.finish();
}

/// One thread's picks, with keys that no other one has.
fn pick_as(seed: u64, balancer: &Balancer, now: Duration, picks: u64) {
    let mut dice = Dice::seeded(seed);
    for number in 0..picks {
        let now = now + Duration::from_nanos(number * 100);
        one(balancer, &mut dice, now, number << 1 | (seed & 1));
    }
}

/// The time in which two threads do something together, each with a seed of its own.
fn two_threads(work: impl Fn(u64) + Sync) -> Duration {
    let start = Barrier::new(3);
    thread::scope(|scope| {
        let threads = [1, 2].map(|seed| {
            let (start, work) = (&start, &work);
            scope.spawn(move || {
                start.wait();
                work(seed);
            })
        });
        start.wait();
        let began = Instant::now();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        began.elapsed()
    })
}

/// A look-up alone, which is what the peers' figures are.
fn lookups(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("balancer");
    group.sample_size(20);
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_millis(700));
    for nodes in SIZES {
        let (mut made, mut number) = (None, 0);
        let id = BenchmarkId::new(format!("lookup.consistent_hash.{nodes}"), "ns");
        group.bench_function(id, |bencher| {
            let (balancer, _) =
                made.get_or_insert_with(|| balancer(StrategyKind::ConsistentHash, nodes));
            bencher.iter(|| {
                number += 1;
                balancer.owner(Key(number), Scope::default())
            });
        });
    }
    group.finish();
}

fn membership(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("balancer");
    group.sample_size(10);
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    for (strategy, name) in
        [(StrategyKind::Random, "random"), (StrategyKind::ConsistentHash, "consistent_hash")]
    {
        for nodes in [10_000, 100_000] {
            let (mut made, mut number) = (None, nodes);
            let id = BenchmarkId::new(format!("join_and_leave.{name}.{nodes}"), "us");
            group.bench_function(id, |bencher| {
                let (balancer, now) = made.get_or_insert_with(|| balancer(strategy, nodes));
                bencher.iter(|| {
                    number += 1;
                    // Long enough for the place to be used again.
                    *now += Duration::from_secs(61);
                    balancer.join(endpoint(number), *now).unwrap();
                    balancer.leave(&format!("node-{number}").parse().unwrap(), *now);
                });
            });
        }
        let id = BenchmarkId::new(format!("rebuild.{name}.10000"), "ms");
        group.bench_function(id, |bencher| {
            bencher.iter_with_large_drop(|| {
                let balancer = Balancer::new(BalancerPolicy::default(), strategy).unwrap();
                for number in 0..10_000 {
                    balancer.join(endpoint(number), Duration::ZERO).unwrap();
                }
                balancer
            });
        });
    }
    group.finish();
}

/// A counter in a cache line of its own.
#[derive(Default)]
#[repr(align(128))]
struct Counter(AtomicU64);

/// Counts requests in and out at nodes chosen at random.
fn count(counters: &[Counter], seed: u64, requests: u64) {
    let mut dice = Dice::seeded(seed);
    let mut draw = dice.throw();
    for _ in 0..requests {
        let counter = &counters[draw.below(10_000) as usize].0;
        counter.fetch_add(1, Ordering::AcqRel);
        counter.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Follows a list of two lines per node, at random, to a node's own line.
fn misses(list: &[[u32; 16]], counters: &[Counter], requests: u64) {
    let mut dice = Dice::seeded(1);
    let mut draw = dice.throw();
    let length = u32::try_from(list.len()).unwrap();
    for _ in 0..requests {
        let number = list[draw.below(length) as usize][0];
        counters[number as usize].0.fetch_add(1, Ordering::AcqRel);
    }
}

fn floors(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("balancer");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_millis(700));
    let counters: Vec<Counter> = (0..10_000).map(|_| Counter::default()).collect();
    group.bench_function(BenchmarkId::new("floor.count.10000", "ns"), |bencher| {
        bencher.iter_custom(|requests| {
            let began = Instant::now();
            count(&counters, 1, requests);
            began.elapsed()
        });
    });
    group.bench_function(BenchmarkId::new("floor2.count.10000", "ns"), |bencher| {
        bencher.iter_custom(|requests| {
            two_threads(|seed| count(&counters, seed, requests.div_ceil(2)))
        });
    });
    for nodes in SIZES {
        let mut dice = Dice::seeded(2);
        let list: Vec<_> = (0..2 * nodes).map(|_| [dice.throw().below(nodes); 16]).collect();
        let counters: Vec<Counter> = (0..nodes).map(|_| Counter::default()).collect();
        group.bench_function(BenchmarkId::new(format!("floor.misses.{nodes}"), "ns"), |bencher| {
            bencher.iter_custom(|requests| {
                let began = Instant::now();
                misses(&list, &counters, requests);
                began.elapsed()
            });
        });
    }
    group.bench_function(BenchmarkId::new("floor.clock", "ns"), |bencher| {
        bencher.iter(Instant::now);
    });
    group.finish();
    for (strategy, name) in
        [(StrategyKind::Random, "random"), (StrategyKind::ConsistentHash, "consistent_hash")]
    {
        let balancer = joined(strategy, 100_000);
        let per_node = balancer.bytes() as f64 / 100_000.0;
        println!("figure balancer.memory.{name}.100000 {per_node:.0} bytes/node");
    }
}

criterion_group!(benches, picks, picks_of_two, lookups, membership, floors);
criterion_main!(benches);
