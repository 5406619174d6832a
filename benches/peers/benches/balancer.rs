//! What a pick costs elsewhere, and what it costs there when a node joins.
//!
//! `pick`: one pick, with whatever the peer itself does around it. pingora asks for the node's
//! health, tower counts the call and measures its answer, the others only choose. `pick2`: two
//! threads at once, wall time over the picks of both. `rebuild`: a balancer of this many nodes from
//! nothing but the nodes; pingora's gets them from its discovery. `join`: one node more.
//!
//! A peer that takes a key gets a fresh one each time, from a seeded generator of about a
//! nanosecond. Nodes are plain numbers wherever the peer lets us choose, which is the cheapest they
//! can be.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::future::{self, Ready};
use std::hash::BuildHasherDefault;
use std::hint::black_box;
use std::mem;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use criterion::measurement::WallTime;
use criterion::{
    BatchSize, Bencher, BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, criterion_group,
    criterion_main,
};
use fastrand::Rng;
use futures_util::FutureExt;
use hashring::HashRing;
use maglev_hash::MaglevTable;
use pick_fast::PickFast;
use pingora_load_balancing::discovery::ServiceDiscovery;
use pingora_load_balancing::selection::{
    BackendIter, BackendSelection, Consistent, Random, RoundRobin,
};
use pingora_load_balancing::{Backend, Backends, LoadBalancer};
use tower::Service;
use tower::balance::p2c::Balance;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, PeakEwma};
use tower::util::rng::HasherRng;

#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SIZES: [u32; 5] = [10, 100, 1_000, 10_000, 100_000];
/// Where only one size is measured.
const MANY: u32 = 10_000;
const SEED: u64 = 7;

fn group(criterion: &mut Criterion) -> BenchmarkGroup<'_, WallTime> {
    let mut group = criterion.benchmark_group("balancer");
    group.sample_size(10);
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    group
}

/// Measures `pick` on what `build` makes. It is built only if this benchmark is asked for.
fn pick<T, P>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    peer: &str,
    nodes: u32,
    build: impl Fn(u32) -> T,
    mut pick: impl FnMut(&mut T) -> P,
) {
    let mut balancer = None;
    group.bench_function(BenchmarkId::new(format!("pick.{peer}.{nodes}"), "ns"), |bencher| {
        let balancer = balancer.get_or_insert_with(|| build(nodes));
        bencher.iter(|| pick(balancer));
    });
}

fn picks(criterion: &mut Criterion) {
    let mut group = group(criterion);
    let group = &mut group;
    for nodes in SIZES {
        // These two number their nodes in 16 bits and refuse more.
        if nodes <= u32::from(u16::MAX) {
            pick(group, "pingora_round_robin", nodes, pingora::<RoundRobin>, |all| select(all));
            pick(group, "pingora_random", nodes, pingora::<Random>, |all| select(all));
        }
        let consistent = |nodes| (pingora::<Consistent>(nodes), keys());
        pick(group, "pingora_consistent", nodes, consistent, |(all, keys)| {
            all.select(&keys.u64(..).to_le_bytes(), MAX_ITERATIONS)
        });

        let mutex = |nodes| Mutex::new(p2c(nodes));
        pick(group, "tower_p2c_mutex", nodes, mutex, |all| call_shared(all));
        pick(group, "tower_p2c_sharded", nodes, p2c, |all| complete(send(all)));

        pick(group, "pick_fast", nodes, pick_fast, |all| all.pick().index);
        let hashed = |nodes| (ring(nodes), keys());
        pick(group, "hashring", nodes, hashed, |(all, keys)| all.get(&keys.u64(..)).copied());
        let hashed = |nodes| (maglev(nodes), keys());
        pick(group, "maglev_hash", nodes, hashed, |(all, keys)| all.get(&keys.u64(..)).copied());
    }
}

fn picks_of_two_threads(criterion: &mut Criterion) {
    let mut group = group(criterion);
    // As many per sample as fit, so that starting two threads does not count.
    group.sampling_mode(SamplingMode::Flat);
    let id = |peer: &str| BenchmarkId::new(format!("pick2.{peer}.{MANY}"), "ns");

    let mut shared = None;
    group.bench_function(id("pingora_round_robin"), |bencher| {
        let all = &*shared.get_or_insert_with(|| pingora::<RoundRobin>(MANY));
        together(bencher, &mut [(); 2], |()| select(all));
    });
    let mut shared = None;
    group.bench_function(id("pingora_random"), |bencher| {
        let all = &*shared.get_or_insert_with(|| pingora::<Random>(MANY));
        together(bencher, &mut [(); 2], |()| select(all));
    });
    let mut shared = None;
    group.bench_function(id("tower_p2c_mutex"), |bencher| {
        let all = &*shared.get_or_insert_with(|| Mutex::new(p2c(MANY)));
        together(bencher, &mut [(); 2], |()| call_shared(all));
    });
    let mut shards = None;
    group.bench_function(id("tower_p2c_sharded"), |bencher| {
        let shards = shards.get_or_insert_with(|| [p2c(MANY), p2c(MANY)].map(CacheAligned));
        together(bencher, shards, |shard| complete(send(&mut shard.0)));
    });
}

/// What one thread owns, apart from what the other owns.
#[repr(align(128))]
struct CacheAligned<T>(T);

/// Two threads pick, each with a state of its own; from the first start to the last end.
fn together<S: Send, P>(
    bencher: &mut Bencher<'_>,
    states: &mut [S; 2],
    pick: impl Fn(&mut S) -> P + Sync,
) {
    bencher.iter_custom(|picks| {
        let each = picks.div_ceil(2);
        let (start, pick) = (Barrier::new(2), &pick);
        let [one, other] = thread::scope(|scope| {
            let threads = states.each_mut().map(|state| {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    let begun = now();
                    for _ in 0..each {
                        black_box(pick(state));
                    }
                    (begun, now())
                })
            });
            threads.map(|thread| thread.join().unwrap())
        });
        let wall = one.1.max(other.1) - one.0.min(other.0);
        // An odd number was rounded up.
        wall.mul_f64(picks as f64 / (2 * each) as f64)
    });
}

fn rebuilds(criterion: &mut Criterion) {
    let mut group = group(criterion);
    group.sampling_mode(SamplingMode::Flat);
    let rebuild = |peer: &str| BenchmarkId::new(format!("rebuild.{peer}.{MANY}"), "ms");
    let join = |peer: &str| BenchmarkId::new(format!("join.{peer}.{MANY}"), "ms");

    // Each rebuild has one node less and another one more: it does nothing for the same nodes.
    let sets = [backends(0..MANY), backends(1..MANY + 1)];
    let (ketama, feed) = ketama(&sets[0]);
    let mut turn = 0;
    group.bench_function(rebuild("pingora_consistent"), |bencher| {
        let next = || {
            turn = 1 - turn;
            feed.supply(&sets[turn]);
        };
        bencher.iter_batched(next, |()| update(&ketama), BatchSize::PerIteration);
    });
    // It has no other way to take in a node.
    let more = backends(0..MANY + 1);
    group.bench_function(join("pingora_consistent"), |bencher| {
        let without = || {
            feed.supply(&sets[0]);
            update(&ketama);
            feed.supply(&more);
        };
        bencher.iter_batched(without, |()| update(&ketama), BatchSize::PerIteration);
    });

    group.bench_function(rebuild("hashring"), |bencher| {
        bencher.iter_with_large_drop(|| ring(MANY));
    });
    let mut all = ring(MANY);
    group.bench_function(join("hashring"), |bencher| {
        bencher.iter_custom(|joins| {
            let mut spent = Duration::ZERO;
            for _ in 0..joins {
                let begun = now();
                all.add(MANY);
                spent += begun.elapsed();
                all.remove(&MANY).unwrap();
            }
            spent
        });
    });

    group.bench_function(rebuild("maglev_hash"), |bencher| {
        bencher.iter_with_large_drop(|| maglev(MANY));
    });
    // Its table never changes, so this too is another one.
    group.bench_function(join("maglev_hash"), |bencher| {
        bencher.iter_with_large_drop(|| maglev(MANY + 1));
    });
}

fn keys() -> Rng {
    Rng::with_seed(SEED)
}

// pingora-load-balancing

/// As in the examples of pingora. All nodes are healthy, so the first is taken.
const MAX_ITERATIONS: usize = 256;

fn address(node: u32) -> SocketAddr {
    (Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 0).to_bits() + node), 80).into()
}

fn pingora<S>(nodes: u32) -> LoadBalancer<S>
where
    S: BackendSelection + 'static,
    S::Iter: BackendIter,
{
    LoadBalancer::try_from_iter((0..nodes).map(address)).unwrap()
}

/// For selections that need no key.
fn select<S>(all: &LoadBalancer<S>) -> Backend
where
    S: BackendSelection + 'static,
    S::Iter: BackendIter,
{
    all.select(b"", MAX_ITERATIONS).unwrap()
}

fn backends(nodes: impl Iterator<Item = u32>) -> BTreeSet<Backend> {
    nodes.map(|node| Backend::new(&address(node).to_string()).unwrap()).collect()
}

/// A discovery that has the nodes at hand.
#[derive(Clone, Default)]
struct Feed(Arc<Mutex<BTreeSet<Backend>>>);

impl Feed {
    fn supply(&self, backends: &BTreeSet<Backend>) {
        *self.0.lock().unwrap() = backends.clone();
    }
}

#[async_trait]
impl ServiceDiscovery for Feed {
    async fn discover(&self) -> pingora_error::Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        Ok((mem::take(&mut *self.0.lock().unwrap()), HashMap::new()))
    }
}

fn ketama(nodes: &BTreeSet<Backend>) -> (LoadBalancer<Consistent>, Feed) {
    let feed = Feed::default();
    let all = LoadBalancer::from_backends(Backends::new(Box::new(feed.clone())));
    feed.supply(nodes);
    update(&all);
    (all, feed)
}

fn update(all: &LoadBalancer<Consistent>) {
    all.update().now_or_never().unwrap().unwrap();
}

// tower

type P2c = Balance<ServiceList<Vec<PeakEwma<Idle>>>, ()>;

/// A node that answers at once.
struct Idle;

impl Service<()> for Idle {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        future::ready(Ok(()))
    }
}

/// Power of two choices by peak EWMA, over nodes that are all ready.
fn p2c(nodes: u32) -> P2c {
    // A first guess and a decay as Linkerd's proxy has them.
    let (guess, decay) = (Duration::from_millis(30), Duration::from_secs(10));
    let node =
        || PeakEwma::new(Idle, guess, decay.as_nanos() as f64, CompleteOnResponse::default());
    let services = ServiceList::new::<()>((0..nodes).map(|_| node()).collect());
    // The default generator, but for its random keys.
    let rng = HasherRng::with_hasher(BuildHasherDefault::<DefaultHasher>::default());
    let mut all = Balance::from_rng(services, rng);
    complete(send(&mut all));
    assert_eq!(all.len(), nodes as usize);
    all
}

fn send(all: &mut P2c) -> <P2c as Service<()>>::Future {
    let ready = all.poll_ready(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(ready, Poll::Ready(Ok(()))));
    all.call(())
}

/// The answer arrives, and the load of its node takes it in.
fn complete(answer: <P2c as Service<()>>::Future) {
    answer.now_or_never().unwrap().unwrap();
}

/// A pick needs `&mut`, so a balancer that threads share is locked meanwhile; not while the call
/// runs.
fn call_shared(all: &Mutex<P2c>) {
    let answer = send(&mut all.lock().unwrap());
    complete(answer);
}

// The small ones

/// It picks by a thread's generator.
fn pick_fast(nodes: u32) -> PickFast<u32> {
    fastrand::seed(SEED);
    PickFast::new(0..nodes)
}

/// One point per node: more would be spread better, and take longer.
fn ring(nodes: u32) -> HashRing<u32> {
    let mut ring = HashRing::new();
    ring.batch_add((0..nodes).collect());
    ring
}

/// As it comes, with a hundred slots per node.
fn maglev(nodes: u32) -> MaglevTable<u32> {
    MaglevTable::new((0..nodes).collect())
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> Instant {
    Instant::now()
}

criterion_group!(benches, picks, picks_of_two_threads, rebuilds);
criterion_main!(benches);
