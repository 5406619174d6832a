//! A fog's balancer follows the registry: who is there, who may work, whose beats are late.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fogcore::balancer::{Balancer, BalancerPolicy, Dice, Request, StrategyKind};
use fogcore::id::NodeId;
use fogcore::registry::{Heartbeat, Percent, PowerState};
use fogcore::time::{Clock, ManualClock, Timestamp};
use fogcore::{Fog, FogConfig};

use common::{node, node_id, until};

/// Everybody that comes up in a few dozen picks.
fn picked(balancer: &Balancer, clock: &ManualClock) -> BTreeSet<NodeId> {
    let mut dice = Dice::seeded(3);
    let pick = |_| {
        let permit = balancer.pick(&Request::new(), clock.elapsed(), &mut dice).ok()?;
        permit.node()
    };
    (0..64).filter_map(pick).collect()
}

fn names(names: &[&str]) -> BTreeSet<NodeId> {
    names.iter().map(|name| node_id(name)).collect()
}

/// Lets time pass in steps that let the loop look again after each.
async fn pass(clock: &ManualClock, config: &FogConfig, steps: u32) {
    for _ in 0..steps {
        until(|| clock.sleepers() > 0).await;
        clock.advance(config.heartbeat_every / 2);
    }
    until(|| clock.sleepers() > 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_registers_leaves_and_goes_silent_is_known_to_the_balancer() {
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let fog = Fog::builder().clock(clock.clone()).without_loops().open().await.unwrap();
    let config = fog.config().clone();
    fog.register(node("box", 1)).await.unwrap();
    fog.register(node("phone", 1)).await.unwrap();
    let policy = BalancerPolicy { slow_start: Duration::ZERO, ..BalancerPolicy::default() };
    let balancer = fog.balancer(policy, StrategyKind::RoundRobin).await.unwrap();
    assert_eq!(picked(&balancer, &clock), names(&["box", "phone"]));

    fog.register(node("late", 1)).await.unwrap();
    pass(&clock, &config, 1).await;
    until(|| balancer.len() == 3).await;
    assert_eq!(picked(&balancer, &clock), names(&["box", "late", "phone"]));

    // On battery: not its turn, without any failure.
    let battery =
        PowerState { battery: Some(Percent::new(10.0).unwrap()), ..PowerState::default() };
    fog.beat(&node_id("phone"), Heartbeat::new(1).with_power(battery)).await.unwrap();
    fog.remove_node(&node_id("late")).await.unwrap();
    pass(&clock, &config, 1).await;
    until(|| picked(&balancer, &clock) == names(&["box"])).await;

    // Everybody is silent until nothing is expected of them any more.
    let steps = config.liveness.offline_after.as_secs() / (config.heartbeat_every / 2).as_secs();
    pass(&clock, &config, u32::try_from(steps).unwrap() + 2).await;
    until(|| picked(&balancer, &clock).is_empty()).await;
    fog.beat(&node_id("box"), Heartbeat::new(2)).await.unwrap();
    pass(&clock, &config, 1).await;
    until(|| picked(&balancer, &clock) == names(&["box"])).await;
    fog.shutdown().await;
}

/// Who is asked by probes answers them, and is silent otherwise: its beats are late all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_that_passes_is_no_beat() {
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let fog = Fog::builder().clock(clock.clone()).without_loops().open().await.unwrap();
    let config = fog.config().clone();
    for name in ["box", "phone"] {
        fog.register(node(name, 1)).await.unwrap();
    }
    let policy = BalancerPolicy { slow_start: Duration::ZERO, ..BalancerPolicy::default() };
    let balancer = fog.balancer(policy, StrategyKind::RoundRobin).await.unwrap();
    let steps = config.liveness.suspect_after.as_secs() / (config.heartbeat_every / 2).as_secs();
    pass(&clock, &config, u32::try_from(steps).unwrap()).await;
    fog.beat(&node_id("box"), Heartbeat::new(1)).await.unwrap();
    pass(&clock, &config, 1).await;
    until(|| picked(&balancer, &clock) == names(&["box"])).await;
    balancer.set_healthy(&node_id("phone"), true, clock.elapsed()).unwrap();
    assert_eq!(picked(&balancer, &clock), names(&["box"]));
    fog.beat(&node_id("phone"), Heartbeat::new(1)).await.unwrap();
    pass(&clock, &config, 1).await;
    until(|| picked(&balancer, &clock) == names(&["box", "phone"])).await;
    fog.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loop_ends_with_the_balancer() {
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let fog = Fog::builder().clock(clock.clone()).without_loops().open().await.unwrap();
    let balancer = fog.balancer(BalancerPolicy::default(), StrategyKind::Random).await.unwrap();
    until(|| clock.sleepers() == 1).await;
    drop(balancer);
    clock.advance(fog.config().heartbeat_every);
    until(|| clock.sleepers() == 0).await;
}

#[tokio::test]
async fn a_policy_that_makes_no_sense_is_refused_with_its_field() {
    let fog = Fog::open("memory:").await.unwrap();
    let policy = BalancerPolicy { panic_below: f64::NAN, ..BalancerPolicy::default() };
    let error = fog.balancer(policy, StrategyKind::Random).await.unwrap_err();
    assert_eq!(error.field(), Some("panic_below"));
}
