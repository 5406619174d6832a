//! What `bindings-python/bench` does, in Rust: the figures that Python's stand beside.
//!
//! `cargo xtask bench python` runs both. Each figure is the best of several rounds after a warm-up.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark tells and stops")]
#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::time::{Duration, Instant};

use fogcore::Fog;
use fogcore::amount::Asset;
use fogcore::balancer::{BalancerPolicy, Dice, Request, StrategyKind};
use fogcore::failover::{Breaker, BreakerPolicy};
use fogcore::id::AccountId;
use fogcore::ledger::{Account, MAX_BATCH, Purpose, Transfer};
use fogcore::registry::Node;
use fogcore::scheduler::{Output, TaskSpec, executor_fn};
use fogcore::time::{Clock, SystemClock};
use fogcore_benches::{StoreKind, kind};
use futures::future::join_all;
use tokio::runtime::Runtime;

/// As in the programs under `examples/`; it serves SQLite, too.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 7;
const TASKS: usize = 500;
/// A batch is one flush of the disk, whose time varies more than anything else: many are tried.
const BATCHES: usize = 40;

fn tell(name: &str, count: usize, taken: Duration, unit: &str) {
    let per_second = count as f64 / taken.as_secs_f64();
    println!("figure python.rust_{name} {per_second:.0} {unit}");
}

fn best(rounds: usize, mut work: impl FnMut()) -> Duration {
    work();
    let round = |_| {
        let begun = Instant::now();
        work();
        begun.elapsed()
    };
    (0..rounds).map(round).min().unwrap()
}

fn main() {
    let runtime = Runtime::new().unwrap();
    let (url, _folder) = StoreKind::Sqlite.url().unwrap();
    let fog = runtime.block_on(Fog::open(&url)).unwrap();
    breakers();
    picks(&runtime, &fog);
    transfers(&runtime, &fog);
    tasks(&runtime, &fog);
    runtime.block_on(fog.shutdown());
}

fn breakers() {
    let (breaker, clock) = (Breaker::new(BreakerPolicy::default()).unwrap(), SystemClock::new());
    let count = 1_000_000;
    let taken = best(ROUNDS, || {
        for _ in 0..count {
            breaker.acquire(clock.elapsed()).unwrap().success(clock.elapsed());
        }
    });
    tell("breaker_call", count, taken, "calls/s");
}

fn picks(runtime: &Runtime, fog: &Fog) {
    let (policy, strategy) = (BalancerPolicy::default(), StrategyKind::default());
    let balancer = runtime.block_on(async {
        for number in 0..100 {
            fog.register(Node::new(format!("node-{number}").parse().unwrap())).await.unwrap();
        }
        fog.balancer(policy, strategy).await.unwrap()
    });
    let (request, mut dice, count) = (Request::new(), Dice::seeded(1), 1_000_000);
    let taken = best(ROUNDS, || {
        for _ in 0..count {
            let begun = fog.clock().elapsed();
            let permit = balancer.pick(&request, begun, &mut dice).unwrap();
            permit.success(fog.clock().elapsed() - begun);
        }
    });
    tell("pick", count, taken, "picks/s");
}

fn transfers(runtime: &Runtime, fog: &Fog) {
    let ledger = fog.ledger();
    let [ann, bob]: [AccountId; 2] = ["ann", "bob"].map(|name| name.parse().unwrap());
    runtime.block_on(async {
        ledger.mint(&ann, Asset::FOG.parse("1000000").unwrap()).await.unwrap();
        let account = Account::new(bob.clone(), Asset::FOG).limited_to_credits();
        ledger.open_account(account).await.unwrap();
    });
    let taken = best(BATCHES, || {
        let transfer = |_| {
            let amount = Asset::FOG.parse("0.1").unwrap();
            Transfer::direct(ledger.new_id(), &ann, &bob, amount, Purpose::Transfer)
        };
        let batch = (0..MAX_BATCH).map(transfer).collect();
        let answers = runtime.block_on(ledger.transfer_all(batch)).unwrap();
        assert!(answers.iter().all(Result::is_ok));
    });
    tell("transfer_batch8190", MAX_BATCH, taken, "transfers/s");
}

fn tasks(runtime: &Runtime, fog: &Fog) {
    let worker = runtime.block_on(async {
        let noop = executor_fn(|_| async { Ok(Output::default()) });
        let node = Node { slots: 64, ..Node::new("here".parse().unwrap()) };
        fog.worker(node).executor(kind().unwrap(), noop).start().await.unwrap()
    });
    let taken = best(ROUNDS, || {
        runtime.block_on(join_all((0..TASKS).map(|_| async {
            let task = fog.submit(TaskSpec::new(kind().unwrap()), "").await.unwrap();
            fog.wait(task.id).await.unwrap();
            fog.result(task.id).await.unwrap();
        })));
    });
    tell("task_roundtrip", TASKS, taken, "tasks/s");
    runtime.block_on(worker.stop());
}
