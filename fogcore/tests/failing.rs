//! A node's traffic is taken off it: the plan decides, the fog's balancers follow.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use fogcore::balancer::{Balancer, BalancerPolicy, Dice, Request, StrategyKind};
use fogcore::event::{Event, Notice, Subscription};
use fogcore::failover::{
    FailoverError, FailoverOutcome, FailoverPolicy, FailoverReason, FailoverStrategy, Health,
};
use fogcore::registry::{Heartbeat, Node, Percent};
use fogcore::time::{Clock, ManualClock};
use fogcore::{ErrorKind, Fog, FogConfig};

use common::{Scripted, node, node_id, still, target, until};

async fn fog(strategy: FailoverStrategy, nodes: &[&str]) -> (Fog, Arc<ManualClock>) {
    let (builder, clock) = still();
    let failover = FailoverPolicy { strategy, ..FailoverPolicy::default() };
    let fog = builder.config(FogConfig { failover, ..FogConfig::default() }).open().await.unwrap();
    for name in nodes {
        fog.register(node(name, 1)).await.unwrap();
    }
    (fog, clock)
}

async fn balancer(fog: &Fog) -> Arc<Balancer> {
    let policy = BalancerPolicy { slow_start: Duration::ZERO, ..BalancerPolicy::default() };
    fog.balancer(policy, StrategyKind::Random).await.unwrap()
}

/// How many of a thousand picks a node gets.
fn share(balancer: &Balancer, clock: &ManualClock, node: &str) -> usize {
    let mut dice = Dice::seeded(7);
    let mut pick = || balancer.pick(&Request::new(), clock.elapsed(), &mut dice).unwrap().node();
    (0..1_000).filter(|_| pick() == Some(node_id(node))).count()
}

fn heard(news: &mut Subscription) -> Vec<Event> {
    let event = || match news.try_next()? {
        Notice::Event(event) => Some(event),
        Notice::Missed(missed) => panic!("{missed} were missed"),
    };
    std::iter::from_fn(event).collect()
}

fn ended(node: &str, outcome: FailoverOutcome) -> Event {
    Event::FailoverEnded { node: node_id(node), outcome: outcome.as_str().to_owned() }
}

fn precise(error: &fogcore::Error) -> &FailoverError {
    error.downcast_ref().unwrap()
}

#[tokio::test]
async fn traffic_leaves_in_steps_and_comes_back_when_it_is_cancelled() {
    let (fog, clock) = fog(FailoverStrategy::gradual(), &["a", "b"]).await;
    let balancer = balancer(&fog).await;
    let mut news = fog.subscribe();
    assert!((450..550).contains(&share(&balancer, &clock, "a")));

    let started = fog.fail_over(&node_id("a"), "a new disk", false).await.unwrap();
    assert_eq!((started.replacement(), started.keeps), (Some(&node_id("b")), 75));
    let told = Event::FailoverStarted {
        node: node_id("a"),
        reason: "a new disk".to_owned(),
        strategy: "gradual".to_owned(),
        replacement: Some(node_id("b")),
        keeps: 75,
    };
    assert_eq!(heard(&mut news), [told]);
    // Of 1.75, 1.5, 1.25 and one weights, in thousandths.
    for expected in [380..480, 280..390, 150..250, 0..1] {
        let share = share(&balancer, &clock, "a");
        assert!(expected.contains(&share), "{share} is not in {expected:?}");
        clock.advance(Duration::from_secs(30));
        // Beats that the fog would else miss.
        for name in ["a", "b"] {
            let beat = Heartbeat::new(clock.elapsed().as_secs());
            fog.beat(&node_id(name), beat).await.unwrap();
        }
        fog.maintain().await.unwrap();
    }
    assert_eq!(fog.failovers()[0].keeps, 0);

    heard(&mut news);
    assert!(fog.cancel_failover(&node_id("a")));
    assert!(!fog.cancel_failover(&node_id("a")));
    assert_eq!(heard(&mut news), [ended("a", FailoverOutcome::Cancelled)]);
    assert!((450..550).contains(&share(&balancer, &clock, "a")));
    let [record] = &fog.failover_history(None)[..] else { panic!("one") };
    assert_eq!(record.reason, FailoverReason::Asked("a new disk".to_owned()));
    assert_eq!(record.outcome, FailoverOutcome::Cancelled);
    assert_eq!(record.began.to_string(), "2026-03-01T12:00:00Z");
    assert_eq!(record.ended.unwrap().to_string(), "2026-03-01T12:02:00Z");
}

#[tokio::test]
async fn the_last_healthy_node_is_only_drained_by_force() {
    let (fog, clock) = fog(FailoverStrategy::Immediate, &["a", "b"]).await;
    let balancer = balancer(&fog).await;
    fog.fail_over(&node_id("a"), "", false).await.unwrap();
    assert_eq!(share(&balancer, &clock, "a"), 0);
    let refused = fog.fail_over(&node_id("b"), "", false).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert_eq!(precise(&refused), &FailoverError::LastHealthyNode(node_id("b")));
    assert_eq!(share(&balancer, &clock, "b"), 1_000, "what is refused changes nothing");

    let again = fog.fail_over(&node_id("a"), "", true).await.unwrap_err();
    assert_eq!(precise(&again), &FailoverError::AlreadyFailingOver(node_id("a")));
    let unknown = fog.fail_over(&node_id("nobody"), "", true).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
    let long = fog.fail_over(&node_id("b"), &"x".repeat(257), true).await.unwrap_err();
    assert_eq!(long.field(), Some("reason"));

    let forced = fog.fail_over(&node_id("b"), "all of it", true).await.unwrap();
    assert_eq!(forced.replacement(), None);
    balancer.pick(&Request::new(), clock.elapsed(), &mut Dice::seeded(1)).unwrap_err();
    assert!(fog.failover_history(Some(&node_id("b")))[0].forced);
}

#[tokio::test]
async fn who_takes_over_is_well_near_and_has_room() {
    let in_region = |name: &str, region: &str| Node { region: region.to_owned(), ..node(name, 1) };
    let (fog, clock) = fog(FailoverStrategy::Immediate, &[]).await;
    for (name, region) in
        [("a", "eu"), ("far", "us"), ("full", "eu"), ("idle", "eu"), ("ill", "eu")]
    {
        fog.register(in_region(name, region)).await.unwrap();
    }
    let balancer = balancer(&fog).await;
    let cpu = |percent| Some(Percent::new(percent).unwrap());
    let busy = Heartbeat { cpu: cpu(95.0), ..Heartbeat::new(1) };
    fog.beat(&node_id("full"), busy).await.unwrap();
    for name in ["far", "idle", "ill"] {
        fog.beat(&node_id(name), Heartbeat { cpu: cpu(10.0), ..Heartbeat::new(1) }).await.unwrap();
    }
    // Only the balancer knows that its calls fail.
    let class = fogcore::balancer::Class::default();
    balancer.force_breaker(&node_id("ill"), class, Some(true), clock.elapsed()).unwrap();
    let named = async |node: &str| {
        let started = fog.fail_over(&node_id(node), "", false).await.unwrap();
        started.replacement().unwrap().to_string()
    };
    assert_eq!(named("a").await, "idle");
    assert_eq!(named("idle").await, "full", "who fails over takes nothing over");
    assert_eq!(named("full").await, "far");
    let last = fog.fail_over(&node_id("far"), "", false).await.unwrap_err();
    assert_eq!(precise(&last), &FailoverError::LastHealthyNode(node_id("far")));
}

#[tokio::test]
async fn balancers_and_nodes_that_come_later_follow_too() {
    let (fog, clock) = fog(FailoverStrategy::Immediate, &["a", "b"]).await;
    fog.fail_over(&node_id("a"), "", false).await.unwrap();
    let balancer = balancer(&fog).await;
    assert_eq!(share(&balancer, &clock, "a"), 0);
    // Registered again, it is still on its way out.
    fog.register(Node { region: "eu".to_owned(), ..node("a", 1) }).await.unwrap();
    until(|| clock.sleepers() > 0).await;
    clock.advance(fog.config().heartbeat_every / 2);
    until(|| clock.sleepers() > 0).await;
    assert_eq!(share(&balancer, &clock, "a"), 0);
}

#[tokio::test]
async fn a_removed_node_fails_over_no_more() {
    let (fog, _clock) = fog(FailoverStrategy::Immediate, &["a", "b", "c"]).await;
    let mut news = fog.subscribe();
    fog.fail_over(&node_id("a"), "", false).await.unwrap();
    fog.fail_over(&node_id("b"), "", false).await.unwrap();
    heard(&mut news);
    fog.remove_node(&node_id("a")).await.unwrap();
    let removed = Event::NodeRemoved { node: node_id("a") };
    assert_eq!(heard(&mut news), [ended("a", FailoverOutcome::NodeRemoved), removed]);
    fog.maintain().await.unwrap();
    assert_eq!(heard(&mut news), [], "b is still there");
    assert_eq!(fog.failovers().len(), 1);
}

#[tokio::test]
async fn a_node_that_another_process_removes_fails_over_no_more() {
    let stores = fogcore::storage::open("memory:").await.unwrap();
    let [here, there] = [stores.clone(), stores].map(|stores| still().0.stores(stores));
    let (here, there) = (here.open().await.unwrap(), there.open().await.unwrap());
    for name in ["a", "b"] {
        here.register(node(name, 1)).await.unwrap();
    }
    here.fail_over(&node_id("a"), "", false).await.unwrap();
    there.remove_node(&node_id("a")).await.unwrap();
    here.maintain().await.unwrap();
    assert_eq!(here.failovers(), []);
    assert_eq!(here.failover_history(None)[0].outcome, FailoverOutcome::NodeRemoved);
}

#[tokio::test]
async fn with_the_default_strategy_it_ends_when_a_monitor_finds_the_node_well_again() {
    let (fog, clock) = fog(FailoverStrategy::CircuitBreaker, &["a", "b"]).await;
    let balancer = balancer(&fog).await;
    let probe = Scripted::new(true);
    fog.fail_over(&node_id("a"), "it smells", false).await.unwrap();
    let monitor = fog.health_monitor(probe.clone()).policy(Scripted::policy()).start().unwrap();
    monitor.add(target("a")).unwrap();
    let is = |health| until(move || monitor.health(&node_id("a")) == Some(health));
    is.clone()(Health::Healthy).await;
    assert_eq!(fog.failovers().len(), 1, "to be well is no recovery");

    probe.set("a", false);
    clock.advance(Scripted::policy().every);
    is.clone()(Health::Unhealthy).await;
    probe.set("a", true);
    clock.advance(Scripted::policy().every);
    until(|| fog.failovers().is_empty()).await;
    assert_eq!(fog.failover_history(None)[0].outcome, FailoverOutcome::Recovered);
    until(|| (450..550).contains(&share(&balancer, &clock, "a"))).await;
}

#[tokio::test]
async fn a_policy_that_makes_no_sense_is_refused_with_its_field() {
    let strategy = FailoverStrategy::Redundant { factor: 1 };
    let failover = FailoverPolicy { strategy, ..FailoverPolicy::default() };
    let config = FogConfig { failover, ..FogConfig::default() };
    let error = Fog::builder().config(config).open().await.unwrap_err();
    assert_eq!(error.field(), Some("factor"));
}
