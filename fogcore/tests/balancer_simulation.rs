//! Ten nodes of 1 ms to 1 s (the mix of speeds that queues behind a slow backend are made of): what
//! does each strategy make of them?
//!
//! Events in the order of their time, no clock but theirs, and dice from a printed seed. Each node
//! works on a few requests at once; further ones wait there, first come, first served. Latency is
//! what the caller sees: waiting and work. `FOGCORE_SIM_REQUESTS` sets the size.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail")]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use fogcore::balancer::{
    Balancer, BalancerPolicy, Dice, Endpoint, Key, LatencyBased, Permit, Request, Strategy,
    StrategyKind,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Mean time that a node works on a request, in milliseconds.
const WORK: [u64; 10] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000];
/// Requests that a node works on at once.
const AT_ONCE: usize = 8;
/// Requests per second. Of two that are drawn, the two slowest nodes together are the better ones
/// at least once in 25 times, and can do 24 in a second: beyond 600, no choice of two keeps them
/// from filling up, however well it knows them. This is 60 % of that.
const RATE: f64 = 360.0;
const SEED: u64 = 20_260_301;

struct Job {
    permit: Permit<Arc<Balancer>>,
    arrived: u64,
    work: u64,
}

#[derive(Default)]
struct Node {
    running: BTreeMap<u64, Job>,
    waiting: VecDeque<Job>,
}

#[derive(Clone, Debug, PartialEq)]
struct Figures {
    /// Nanoseconds, in order.
    latencies: Vec<u64>,
    counts: [usize; 10],
}

impl Figures {
    /// The latency in milliseconds that so many of a thousand stay below.
    fn of_thousand(&self, parts: usize) -> f64 {
        self.latencies[(self.latencies.len() - 1) * parts / 1_000] as f64 / 1e6
    }
}

/// A time with this mean, as of independent events: in nanoseconds.
fn exponential(dice: &mut StdRng, mean: f64) -> u64 {
    let uniform: f64 = dice.random_range(f64::MIN_POSITIVE..1.0);
    Duration::from_secs_f64(-uniform.ln() * mean).as_nanos().try_into().unwrap()
}

fn simulate(strategy: Arc<dyn Strategy>, rate: f64, requests: u64, seed: u64) -> Figures {
    let policy = BalancerPolicy { slow_start: Duration::ZERO, ..BalancerPolicy::default() };
    let balancer = Arc::new(Balancer::with_strategy(policy, strategy).unwrap());
    for (node, _) in WORK.iter().enumerate() {
        let endpoint = Endpoint::new(format!("node-{node}").parse().unwrap());
        balancer.join(endpoint, Duration::ZERO).unwrap();
    }
    let (mut world, mut dice) = (StdRng::seed_from_u64(seed), Dice::seeded(seed));
    let mut nodes: Vec<Node> = WORK.iter().map(|_| Node::default()).collect();
    // When, in which order, and which node has ended which request; none: one arrives.
    let mut events = BinaryHeap::from([Reverse((0_u64, 0_u64, None::<(usize, u64)>))]);
    let (mut number, mut arrivals) = (0_u64, 0_u64);
    let mut figures = Figures { latencies: Vec::new(), counts: [0; 10] };
    while let Some(Reverse((now, _, ended))) = events.pop() {
        let node = match ended {
            None => {
                arrivals += 1;
                if arrivals < requests {
                    number += 1;
                    let next = now + exponential(&mut world, 1.0 / rate);
                    events.push(Reverse((next, number, None)));
                }
                let key = Key::of(world.random_range(0..10_000_u32).to_le_bytes());
                // Drawn whatever node is picked, so that all strategies see the same requests.
                let work = exponential(&mut world, 1.0);
                let time = Duration::from_nanos(now);
                let permit = balancer.pick_owned(&Request::new().keyed(key), time, &mut dice);
                let permit = permit.unwrap();
                let node = usize::try_from(permit.index()).unwrap();
                figures.counts[node] += 1;
                let work = work / 1_000 * WORK[node] + 1;
                nodes[node].waiting.push_back(Job { permit, arrived: now, work });
                node
            }
            Some((node, which)) => {
                let job = nodes[node].running.remove(&which).unwrap();
                job.permit.success(Duration::from_nanos(now - job.arrived));
                figures.latencies.push(now - job.arrived);
                node
            }
        };
        let own = &mut nodes[node];
        while own.running.len() < AT_ONCE
            && let Some(job) = own.waiting.pop_front()
        {
            number += 1;
            events.push(Reverse((now + job.work, number, Some((node, number)))));
            own.running.insert(number, job);
        }
    }
    assert_eq!(figures.latencies.len() as u64, requests, "every request ends");
    figures.latencies.sort_unstable();
    figures
}

#[test]
fn strategies_that_look_are_far_ahead_of_those_that_do_not() {
    let requests = match std::env::var("FOGCORE_SIM_REQUESTS") {
        Ok(text) => text.parse().unwrap(),
        Err(_) => 20_000,
    };
    println!("seed {SEED}, {requests} requests");
    let mut by_name = BTreeMap::new();
    for kind in StrategyKind::ALL {
        let figures = simulate(kind.strategy(), RATE, requests, SEED);
        let name = serde_json::to_value(kind).unwrap().as_str().unwrap().to_owned();
        for (figure, parts) in [("p50", 500), ("p99", 990), ("p999", 999)] {
            let value = figures.of_thousand(parts);
            println!("figure balancer.simulation.{name}.{figure} {value:.2} ms");
        }
        let shares: Vec<_> = figures
            .counts
            .iter()
            .map(|count| format!("{:.2}", *count as f64 * 100.0 / requests as f64))
            .collect();
        println!("# {name}: % of requests per node, fastest first: {}", shares.join(" "));
        by_name.insert(name, figures);
    }
    let p99 = |name: &str| by_name[name].of_thousand(990);
    for looks in ["LatencyBased", "LeastConnections"] {
        for does_not in ["RoundRobin", "WeightedRoundRobin", "Random"] {
            let (good, bad) = (p99(looks), p99(does_not));
            assert!(good * 4.0 < bad, "{looks} {good} ms, {does_not} {bad} ms");
        }
    }
    assert!(p99("LatencyBased") < p99("LeastConnections"), "nodes differ");
    let median = |name: &str| by_name[name].of_thousand(500);
    assert!(median("LatencyBased") < median("Random") / 4.0);
}

/// At 60 % of what all can do together, more than half of that by the fastest one, two choices are
/// too few for ten nodes: the fastest one is not drawn often enough. More choices do.
#[test]
fn few_nodes_that_differ_much_need_more_choices_under_load() {
    let capacity: f64 = WORK.iter().map(|work| AT_ONCE as f64 * 1e3 / *work as f64).sum();
    let p99 = |choices| {
        let figures = simulate(Arc::new(LatencyBased { choices }), 0.6 * capacity, 20_000, SEED);
        let p99 = figures.of_thousand(990);
        println!(
            "figure balancer.simulation.LatencyBased_of_{choices}_at_60_percent.p99 {p99:.2} ms"
        );
        p99
    };
    let (two, many) = (p99(2), p99(20));
    assert!(many * 20.0 < two, "{many} ms, {two} ms");
}

#[test]
fn the_same_seed_gives_the_same_numbers() {
    for kind in StrategyKind::ALL {
        let run = |seed| simulate(kind.strategy(), RATE, 2_000, seed);
        let figures = run(7);
        assert_eq!(figures, run(7), "{kind:?}");
        assert_ne!(figures.latencies, run(8).latencies, "{kind:?}");
    }
}
