//! A fog's balancer follows the registry: who is there, who may work, whose beats are late.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fogcore::balancer::{
    Balancer, BalancerPolicy, Class, Dice, Request, StrategyKind, WeightPolicy,
};
use fogcore::event::{Event, Notice};
use fogcore::failover::{AbsenceReason, FailureKind, Health};
use fogcore::id::NodeId;
use fogcore::registry::{Heartbeat, Node, Percent, PowerState, Resources};
use fogcore::time::{Clock, ManualClock, Timestamp};
use fogcore::{Fog, FogConfig};

use common::{Scripted, node, node_id, still, target, until};

/// Everybody that comes up in a few dozen picks.
fn picked(balancer: &Balancer, clock: &ManualClock) -> BTreeSet<NodeId> {
    let mut dice = Dice::seeded(3);
    let pick = |_| {
        let permit = balancer.pick(&Request::new(), clock.elapsed(), &mut dice).ok()?;
        permit.node()
    };
    (0..64).filter_map(pick).collect()
}

/// How many of a thousand picks each of these nodes gets.
fn shares<const N: usize>(balancer: &Balancer, clock: &ManualClock, nodes: [&str; N]) -> [u32; N] {
    let mut dice = Dice::seeded(3);
    let mut shares = [0; N];
    for _ in 0..1_000 {
        let permit = balancer.pick(&Request::new(), clock.elapsed(), &mut dice).unwrap();
        let name = permit.node().unwrap();
        shares[nodes.iter().position(|node| *node == name.as_str()).unwrap()] += 1;
    }
    shares
}

fn without_slow_start() -> BalancerPolicy {
    BalancerPolicy { slow_start: Duration::ZERO, ..BalancerPolicy::default() }
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

fn with_resources(name: &str, cpu_cores: u32, memory_mib: u64) -> Node {
    let resources = Resources { cpu_cores, memory_mib, ..Resources::default() };
    Node { resources, ..node(name, 1) }
}

#[tokio::test]
async fn a_node_gets_as_much_as_it_has_or_as_its_label_says() {
    let (builder, clock) = still();
    let fog = builder.open().await.unwrap();
    fog.register(node("plain", 1)).await.unwrap();
    fog.register(with_resources("large", 16, 24_576)).await.unwrap();
    let mut asked = with_resources("asked", 64, 262_144);
    asked.labels.insert("balancer-weight".to_owned(), "100".to_owned());
    fog.register(asked).await.unwrap();
    let balancer = fog.balancer(without_slow_start(), StrategyKind::Random).await.unwrap();
    let [plain, large, asked] = shares(&balancer, &clock, ["plain", "large", "asked"]);
    assert!((150..250).contains(&plain) && (150..250).contains(&asked), "{plain} {asked}");
    assert!((550..650).contains(&large), "{large}, three of five");

    // What it has has changed.
    fog.register(with_resources("large", 4, 24_576)).await.unwrap();
    pass(&clock, fog.config(), 1).await;
    let [_, large, _] = shares(&balancer, &clock, ["plain", "large", "asked"]);
    assert!((280..390).contains(&large), "{large}, one of three");
}

#[tokio::test]
async fn a_fog_may_weigh_its_nodes_alike() {
    let (builder, clock) = still();
    let config = FogConfig { weights: WeightPolicy::equal(), ..FogConfig::default() };
    let fog = builder.config(config).open().await.unwrap();
    fog.register(node("plain", 1)).await.unwrap();
    fog.register(with_resources("large", 64, 262_144)).await.unwrap();
    let balancer = fog.balancer(without_slow_start(), StrategyKind::Random).await.unwrap();
    let [plain, _] = shares(&balancer, &clock, ["plain", "large"]);
    assert!((440..560).contains(&plain), "{plain}");

    let weights = WeightPolicy { cores: Some(0.0), ..WeightPolicy::default() };
    let config = FogConfig { weights, ..FogConfig::default() };
    let error = Fog::builder().config(config).open().await.unwrap_err();
    assert_eq!(error.field(), Some("cores"));
}

#[tokio::test]
async fn battery_and_heat_lower_a_share_by_the_fogs_own_policy() {
    let (builder, clock) = still();
    let mut config = FogConfig::default();
    config.power.stop_at = config.power.start_below + 100.0;
    let fog = builder.config(config).open().await.unwrap();
    for name in ["phone", "plugged"] {
        fog.register(node(name, 1)).await.unwrap();
    }
    let balancer = fog.balancer(without_slow_start(), StrategyKind::Random).await.unwrap();
    let heat = fog.config().power.start_below + 50.0;
    let temperature = Some(fogcore::registry::Celsius::new(heat).unwrap());
    let warm = PowerState { charging: true, temperature, ..PowerState::default() };
    fog.beat(&node_id("phone"), Heartbeat::new(1).with_power(warm)).await.unwrap();
    pass(&clock, fog.config(), 1).await;
    // Warm as it is, the history does not let it start; what is asked here is its share.
    balancer.set_eligibility(&node_id("phone"), Ok(()), clock.elapsed()).unwrap();
    let [phone, _] = shares(&balancer, &clock, ["phone", "plugged"]);
    assert!((280..390).contains(&phone), "{phone}: half of the other's");

    // It registers again and counts its beats anew: the same number is news.
    fog.register(node("phone", 1)).await.unwrap();
    let cold = PowerState { charging: true, ..PowerState::default() };
    fog.beat(&node_id("phone"), Heartbeat::new(1).with_power(cold)).await.unwrap();
    pass(&clock, fog.config(), 1).await;
    balancer.set_eligibility(&node_id("phone"), Ok(()), clock.elapsed()).unwrap();
    let [phone, _] = shares(&balancer, &clock, ["phone", "plugged"]);
    assert!((440..560).contains(&phone), "{phone}");
}

#[tokio::test]
async fn what_monitors_find_is_known_to_the_balancers_at_once() {
    let (builder, clock) = still();
    let fog = builder.open().await.unwrap();
    for name in ["a", "b", "c", "d"] {
        fog.register(node(name, 1)).await.unwrap();
    }
    let balancer = fog.balancer(without_slow_start(), StrategyKind::Random).await.unwrap();
    let (tcp, http) = (Scripted::new(true), Scripted::new(true));
    let monitors = [&tcp, &http].map(|probe| {
        let monitor = fog.health_monitor(probe.clone()).policy(Scripted::policy()).start().unwrap();
        ["a", "b", "c"].into_iter().for_each(|name| monitor.add(target(name)).unwrap());
        monitor
    });
    let all = names(&["a", "b", "c", "d"]);
    until(|| monitors.iter().all(|m| m.all().values().all(|h| *h == Health::Healthy))).await;
    assert_eq!(picked(&balancer, &clock), all);

    // One of two is enough, and no look at the registry is needed.
    http.set("a", false);
    clock.advance(Scripted::policy().every);
    until(|| picked(&balancer, &clock) == names(&["b", "c", "d"])).await;
    http.set("a", true);
    clock.advance(Scripted::policy().every);
    until(|| picked(&balancer, &clock) == all).await;

    assert!(monitors[0].absent(&node_id("b"), AbsenceReason::Asleep));
    until(|| picked(&balancer, &clock) == names(&["a", "c", "d"])).await;
    assert_eq!(balancer.takes(&node_id("b"), Class::default(), clock.elapsed()), Some(false));
    // A beat does not wake who is absent for a monitor.
    fog.beat(&node_id("b"), Heartbeat::new(1)).await.unwrap();
    fog.register(node("e", 1)).await.unwrap();
    pass(&clock, fog.config(), 1).await;
    until(|| balancer.len() == 5).await;
    assert_eq!(picked(&balancer, &clock), names(&["a", "c", "d", "e"]));

    // A balancer that is made later knows, too; and what a monitor no longer watches is forgotten.
    let later = fog.balancer(without_slow_start(), StrategyKind::Random).await.unwrap();
    assert_eq!(picked(&later, &clock), names(&["a", "c", "d", "e"]));
    let all = names(&["a", "b", "c", "d", "e"]);
    monitors[0].remove(&node_id("b"));
    // The loops of two balancers and two monitors.
    until(|| clock.sleepers() == 4).await;
    pass(&clock, fog.config(), 1).await;
    until(|| picked(&balancer, &clock) == all && picked(&later, &clock) == all).await;

    http.set("c", false);
    clock.advance(Scripted::policy().every);
    until(|| picked(&later, &clock) == names(&["a", "b", "d", "e"])).await;
    monitors[1].shutdown().await;
    until(|| clock.sleepers() == 3).await;
    pass(&clock, fog.config(), 1).await;
    until(|| picked(&later, &clock) == all).await;
}

#[tokio::test]
async fn subscribers_hear_of_the_balancers_breakers() {
    let (builder, clock) = still();
    let fog = builder.open().await.unwrap();
    for name in ["a", "b", "c"] {
        fog.register(node(name, 1)).await.unwrap();
    }
    let balancer = fog.balancer(without_slow_start(), StrategyKind::RoundRobin).await.unwrap();
    let mut news = fog.subscribe();
    let mut dice = Dice::seeded(1);
    while balancer.takes(&node_id("a"), Class::default(), clock.elapsed()) == Some(true) {
        let permit = balancer.pick(&Request::new(), clock.elapsed(), &mut dice).unwrap();
        match permit.node() == Some(node_id("a")) {
            true => permit.failure(FailureKind::Unreachable, Duration::ZERO),
            false => permit.success(Duration::ZERO),
        }
    }
    let opened = Event::BreakerChanged {
        node: node_id("a"),
        class: "general".to_owned(),
        from: "closed".to_owned(),
        to: "open".to_owned(),
        reason: Some("consecutive_failures".to_owned()),
    };
    assert_eq!(news.try_next(), Some(Notice::Event(opened)));
}
