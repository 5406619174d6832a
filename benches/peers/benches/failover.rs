//! What a call through a closed breaker costs elsewhere, and how long it stays closed.
//!
//! `breaker`: one call that succeeds at once, through a breaker that opens when half of the last
//! hundred calls failed. `opens_after`: how many calls in a row have to fail after 100,000 that
//! succeeded. For a breaker that looks at the last hundred calls that is 50.

use std::future::{self, Ready};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use failsafe::{CircuitBreaker as _, backoff, clock, failure_policy};
use futures_util::FutureExt;
use recloser::Recloser;
use tower::{Layer, Service};
use tower_resilience_circuitbreaker::{
    CircuitBreaker, CircuitBreakerError, CircuitBreakerLayer, DefaultClassifier,
};

#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WINDOW: usize = 100;
const SUCCESSES: u32 = 100_000;
/// A breaker that lets so many failures through is not waited for.
const PATIENCE: u32 = 200_000;
/// So that no breaker closes again while we count.
const OPEN_FOR: Duration = Duration::from_secs(3_600);

fn breakers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("failover");
    group.sample_size(20);
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    let id = |peer: &str| BenchmarkId::new(format!("breaker.{peer}"), "ns");

    let breaker = recloser();
    group.bench_function(id("recloser"), |bencher| {
        bencher.iter(|| breaker.call(|| Ok::<_, ()>(())));
    });
    let breaker = failsafe();
    group.bench_function(id("failsafe"), |bencher| {
        bencher.iter(|| breaker.call(|| Ok::<_, ()>(())));
    });
    let mut breaker = tower_resilience();
    group.bench_function(id("tower_resilience"), |bencher| {
        bencher.iter(|| send(&mut breaker, Ok(())));
    });
}

/// Printed rather than timed: it is a count.
fn opens_after(_: &mut Criterion) {
    let breaker = recloser();
    report("recloser", |outcome| {
        !matches!(breaker.call(|| outcome), Err(recloser::Error::Rejected))
    });

    // Time decides here, so the clock stands still but for 10 ms per call: a hundred per window.
    clock::freeze(|time| {
        let breaker = failsafe();
        report("failsafe", |outcome| {
            time.advance(Duration::from_millis(10));
            !matches!(breaker.call(|| outcome), Err(failsafe::Error::Rejected))
        });
    });

    let mut breaker = tower_resilience();
    report("tower_resilience", |outcome| {
        !matches!(send(&mut breaker, outcome), Err(CircuitBreakerError::OpenCircuit))
    });
}

/// `call` says whether the breaker let it through.
fn report(peer: &str, mut call: impl FnMut(Result<(), ()>) -> bool) {
    assert!((0..SUCCESSES).all(|_| call(Ok(()))), "{peer} is not closed");
    let failures = (0..PATIENCE).take_while(|_| call(Err(()))).count();
    let unit = if failures < PATIENCE as usize { "failures" } else { "failures,still-closed" };
    println!("figure failover.opens_after.{peer} {failures} {unit}");
}

fn recloser() -> Recloser {
    Recloser::custom().closed_len(WINDOW).error_rate(0.5).open_wait(OPEN_FOR).build()
}

/// It has no window of calls, so it gets the shortest of time that it can have, a second. Its rate
/// is an exponential average over that.
fn failsafe() -> impl failsafe::CircuitBreaker {
    let at_least = 50;
    let second = Duration::from_secs(1);
    let wait = backoff::constant(OPEN_FOR);
    let policy = failure_policy::success_rate_over_time_window(0.5, at_least, second, wait);
    failsafe::Config::new().failure_policy(policy).build()
}

/// Its window of calls is not a sliding one: it counts all calls since it last changed its state,
/// and `sliding_window_size` is how many it wants at least.
fn tower_resilience() -> CircuitBreaker<Echo, DefaultClassifier> {
    CircuitBreakerLayer::builder()
        .sliding_window_size(WINDOW)
        .failure_rate_threshold(0.5)
        .wait_duration_in_open(OPEN_FOR)
        .build()
        .unwrap()
        .layer(Echo)
}

/// A service that answers at once, as its request says.
#[derive(Clone)]
struct Echo;

impl Service<Result<(), ()>> for Echo {
    type Response = ();
    type Error = ();
    type Future = Ready<Result<(), ()>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, outcome: Result<(), ()>) -> Self::Future {
        future::ready(outcome)
    }
}

fn send(
    breaker: &mut CircuitBreaker<Echo, DefaultClassifier>,
    outcome: Result<(), ()>,
) -> Result<(), CircuitBreakerError<()>> {
    let ready = breaker.poll_ready(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(ready, Poll::Ready(Ok(()))));
    breaker.call(outcome).now_or_never().unwrap()
}

criterion_group!(benches, opens_after, breakers);
criterion_main!(benches);
