//! Failovers by example, and over random histories beside a naive list of what goes on.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::error::{Error, ErrorKind};

const SECOND: Duration = Duration::from_secs(1);
const NOW: Duration = Duration::from_secs(1_000);

fn id(name: &str) -> NodeId {
    name.parse().unwrap()
}

fn healthy(names: &[&str]) -> Vec<NodeStanding> {
    names.iter().map(|name| NodeStanding::new(id(name))).collect()
}

fn with(strategy: FailoverStrategy) -> Failover {
    Failover::new(FailoverPolicy { strategy, ..FailoverPolicy::default() }).unwrap()
}

fn kind_of(error: FailoverError) -> ErrorKind {
    Error::from(error).kind()
}

#[test]
fn a_trigger_that_cannot_be_followed_says_why() {
    let mut failover = with(FailoverStrategy::Immediate);
    let nodes = healthy(&["a", "b"]);
    let mut trigger =
        |node: &str, reason: &str| failover.trigger(&id(node), reason, false, &nodes, NOW);
    assert_eq!(kind_of(trigger("z", "").unwrap_err()), ErrorKind::NotFound);
    let long = trigger("a", &"é".repeat(257)).unwrap_err();
    assert_eq!(Error::from(long).field(), Some("reason"));
    assert!(trigger("a", &"é".repeat(256)).is_ok());
    assert_eq!(trigger("a", ""), Err(FailoverError::AlreadyFailingOver(id("a"))));
    let last = trigger("b", "").unwrap_err();
    assert_eq!(last, FailoverError::LastHealthyNode(id("b")));
    assert_eq!(kind_of(last), ErrorKind::Conflict);
    assert_eq!(failover.history(None).count(), 1, "what was refused did not happen");
}

#[test]
fn the_last_healthy_node_is_drained_only_by_force_and_has_no_replacement() {
    let mut failover = with(FailoverStrategy::Immediate);
    let mut nodes = healthy(&["a", "b", "c"]);
    nodes[1].healthy = false;
    nodes[2].weight = 0;
    assert!(failover.trigger(&id("a"), "", false, &nodes, NOW).is_err());
    assert_eq!(failover.share_of(&id("a"), NOW), 100);
    let started = failover.trigger(&id("a"), "", true, &nodes, NOW).unwrap();
    assert_eq!(started.replacement(), None);
    assert_eq!(failover.share_of(&id("a"), NOW), 0);
    assert!(failover.history(None).next().unwrap().forced);
}

#[test]
fn the_replacement_is_near_then_roomy_then_first_by_name() {
    let node = |name, region: &str, weight, load| NodeStanding {
        weight,
        load,
        region: region.to_owned(),
        ..NodeStanding::new(id(name))
    };
    let mut nodes = vec![
        node("from", "eu", 1, 0.0),
        node("far", "us", 100, 0.0),
        node("full", "eu", 50, f64::NAN),
        node("roomy", "eu", 8, 0.5),
        node("heavy", "eu", 9, 0.6),
        node("also", "eu", 4, 0.0),
    ];
    let mut order = Vec::new();
    loop {
        let started =
            with(FailoverStrategy::Immediate).trigger(&id("from"), "", true, &nodes, NOW).unwrap();
        let Some(best) = started.replacement() else { break };
        nodes.retain(|node| node.node != *best);
        order.push(best.to_string());
    }
    assert_eq!(order, ["also", "roomy", "heavy", "full", "far"]);
}

#[test]
fn regions_that_nobody_knows_are_not_the_same() {
    let mut nodes = healthy(&["from", "unknown", "eu"]);
    nodes[2].region = "eu".to_owned();
    nodes[2].weight = 2;
    let started =
        with(FailoverStrategy::Immediate).trigger(&id("from"), "", false, &nodes, NOW).unwrap();
    assert_eq!(started.replacement(), Some(&id("eu")));
}

#[test]
fn a_redundant_failover_names_as_many_nodes_as_it_can() {
    let mut failover = with(FailoverStrategy::Redundant { factor: 3 });
    let nodes = healthy(&["a", "b", "c", "d", "e"]);
    let started = failover.trigger(&id("b"), "", false, &nodes, NOW).unwrap();
    assert_eq!(started.replacements, ["a", "c", "d"].map(id));
    let share = &failover.shares(NOW)[0];
    assert_eq!((share.keeps, share.copies), (0, 3));
    let started = failover.trigger(&id("c"), "", false, &nodes[..3], NOW).unwrap();
    assert_eq!(started.replacements, [id("a")], "b fails over itself");
}

#[test]
fn a_gradual_failover_steps_down_from_when_it_began() {
    let mut failover = with(FailoverStrategy::gradual());
    let nodes = healthy(&["a", "b", "c"]);
    failover.trigger(&id("a"), "", false, &nodes, NOW).unwrap();
    failover.trigger(&id("b"), "", false, &nodes, NOW + 10 * SECOND).unwrap();
    let mut steps = Vec::new();
    let mut now = NOW;
    while let Some(next) = failover.next_step_at(now) {
        now = next;
        let keeps: Vec<_> = failover.shares(now).iter().map(|share| share.keeps).collect();
        steps.push(((now - NOW).as_secs(), keeps));
    }
    let expected = [(30, [50, 75]), (40, [50, 50]), (60, [25, 50]), (70, [25, 25]), (90, [0, 25])];
    let expected: Vec<_> =
        expected.into_iter().chain([(100, [0, 0])]).map(|(at, keeps)| (at, keeps.into())).collect();
    assert_eq!(steps, expected);
}

#[test]
fn only_what_counts_against_a_node_makes_it_fail_over_and_only_once() {
    use crate::failover::Absence;
    let mut failover = with(FailoverStrategy::default());
    let nodes = healthy(&["a", "b"]);
    let mut fail = |kind| failover.on_failure(&id("a"), kind, &nodes, NOW).unwrap();
    assert_eq!(fail(FailureKind::Absent(Absence::Asleep)), None);
    assert_eq!(fail(FailureKind::Rejected), None);
    assert_eq!(fail(FailureKind::Timeout).unwrap().replacements, [id("b")]);
    assert_eq!(fail(FailureKind::Unreachable), None);
    let record = failover.history(None).next().unwrap();
    assert_eq!(record.reason, FailoverReason::Failed(FailureKind::Timeout));
    let last = failover.on_failure(&id("b"), FailureKind::Error, &nodes, NOW);
    assert_eq!(last, Err(FailoverError::LastHealthyNode(id("b"))));
}

#[test]
fn who_ends_a_failover_depends_on_who_began_it() {
    use FailoverStrategy as S;
    for strategy in [S::Immediate, S::gradual(), S::redundant(), S::CircuitBreaker] {
        let by_breaker = strategy == S::CircuitBreaker;
        let mut failover = with(strategy);
        let nodes = healthy(&["asked", "failed", "c", "d"]);
        failover.trigger(&id("asked"), "maintenance", false, &nodes, NOW).unwrap();
        failover.on_failure(&id("failed"), FailureKind::Error, &nodes, NOW).unwrap();
        assert!(failover.recovered(&id("failed"), NOW));
        assert_eq!(failover.recovered(&id("asked"), NOW), by_breaker);
        assert_eq!(failover.cancel(&id("asked"), NOW), !by_breaker);
        assert!(!failover.cancel(&id("asked"), NOW) && !failover.removed(&id("c"), NOW));
        assert_eq!(failover.shares(NOW), []);
        assert_eq!(failover.share_of(&id("asked"), NOW), 100);
    }
}

#[test]
fn the_history_tells_what_happened_when_and_survives_json_and_a_new_process() {
    let zero: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let mut failover = with(FailoverStrategy::Immediate).counted_from(zero);
    let nodes = healthy(&["a", "b", "c"]);
    failover.trigger(&id("a"), "maintenance", true, &nodes, 60 * SECOND).unwrap();
    failover.on_failure(&id("b"), FailureKind::Timeout, &nodes, 61 * SECOND).unwrap();
    failover.cancel(&id("a"), 90 * SECOND);

    let json = serde_json::to_string(&failover.history(None).collect::<Vec<_>>()).unwrap();
    let records: Vec<FailureRecord> = serde_json::from_str(&json).unwrap();
    assert_eq!(records.iter().map(|r| r.node.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(records[1].began.to_string(), "2026-01-01T00:01:00Z");
    assert_eq!(records[1].ended.unwrap().to_string(), "2026-01-01T00:01:30Z");
    assert_eq!(records[1].reason.to_string(), "maintenance");
    assert_eq!(records[0].outcome, FailoverOutcome::Ongoing);

    let policy = FailoverPolicy { history: 2, ..FailoverPolicy::default() };
    let mut later = Failover::new(policy).unwrap().with_history(records.clone());
    assert!(!later.is_failing_over(&id("b")));
    let outcomes: Vec<_> = later.history(None).map(|record| record.outcome).collect();
    assert_eq!(outcomes, [FailoverOutcome::Interrupted, FailoverOutcome::Cancelled]);
    later.trigger(&id("c"), "", false, &nodes, NOW).unwrap();
    let kept: Vec<_> = later.history(None).map(|record| record.node.as_str()).collect();
    assert_eq!(kept, ["c", "b"]);
    assert_eq!(later.history(Some(&id("b"))).count(), 1);
    let full = later.with_history(records);
    assert_eq!(full.history(None).count(), 2, "there is no room for what is older");
}

#[test]
fn no_more_nodes_fail_over_at_once_than_may() {
    let policy = FailoverPolicy { most_at_once: 1, ..FailoverPolicy::default() };
    let mut failover = Failover::new(policy).unwrap();
    let nodes = healthy(&["a", "b", "c"]);
    failover.trigger(&id("a"), "", false, &nodes, NOW).unwrap();
    let full = failover.trigger(&id("b"), "", false, &nodes, NOW).unwrap_err();
    assert_eq!(full, FailoverError::TooManyFailovers { max: 1 });
    assert_eq!(kind_of(full), ErrorKind::Exhausted);
}

#[derive(Clone, Debug)]
enum Act {
    Trigger { force: bool },
    Fail,
    Recover,
    Cancel,
    Remove,
    Health(bool),
    Wait,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => any::<bool>().prop_map(|force| Act::Trigger { force }),
        3 => Just(Act::Fail),
        2 => Just(Act::Recover),
        2 => Just(Act::Cancel),
        1 => Just(Act::Remove),
        2 => any::<bool>().prop_map(Act::Health),
        2 => Just(Act::Wait),
    ]
}

fn strategy() -> impl Strategy<Value = FailoverStrategy> {
    use FailoverStrategy as S;
    prop_oneof![
        Just(S::Immediate),
        Just(S::gradual()),
        Just(S::CircuitBreaker),
        Just(S::redundant())
    ]
}

proptest! {
    #[test]
    fn over_any_history_the_last_healthy_node_stays_unless_forced(
        strategy in strategy(),
        most in 1_usize..8,
        acts in proptest::collection::vec((0_usize..4, act()), 1..80),
    ) {
        let policy = FailoverPolicy { strategy, history: most, ..FailoverPolicy::default() };
        let mut failover = Failover::new(policy).unwrap();
        let mut nodes = healthy(&["a", "b", "c", "d"]);
        // The naive side: who is out, and which nodes began to be out, the latest last.
        let (mut out, mut began) = (BTreeSet::new(), Vec::new());
        let mut now = NOW;
        for (at, act) in acts {
            let node = nodes[at].node.clone();
            let others = nodes.iter().filter(|n| n.healthy && n.node != node);
            let left: Vec<_> =
                others.map(|n| n.node.clone()).filter(|n| !out.contains(n)).collect();
            let started = match act {
                Act::Trigger { force } => {
                    let result = failover.trigger(&node, "test", force, &nodes, now);
                    let expected = match (out.contains(&node), left.is_empty() && !force) {
                        (true, _) => Some(FailoverError::AlreadyFailingOver(node.clone())),
                        (false, true) => Some(FailoverError::LastHealthyNode(node.clone())),
                        (false, false) => None,
                    };
                    prop_assert_eq!(result.clone().err(), expected);
                    result.ok()
                }
                Act::Fail => {
                    let kind = FailureKind::Unreachable;
                    let result = failover.on_failure(&node, kind, &nodes, now);
                    prop_assert_eq!(result.is_err(), !out.contains(&node) && left.is_empty());
                    result.ok().flatten()
                }
                Act::Recover => {
                    if failover.recovered(&node, now) {
                        prop_assert!(out.remove(&node));
                    }
                    None
                }
                Act::Cancel => {
                    prop_assert_eq!(failover.cancel(&node, now), out.remove(&node));
                    None
                }
                Act::Remove => {
                    prop_assert_eq!(failover.removed(&node, now), out.remove(&node));
                    None
                }
                Act::Health(healthy) => {
                    nodes[at].healthy = healthy;
                    None
                }
                Act::Wait => {
                    let before = failover.shares(now);
                    now += 25 * SECOND;
                    let after = failover.shares(now);
                    prop_assert!(before.iter().zip(&after).all(|(b, a)| a.keeps <= b.keeps));
                    None
                }
            };
            if let Some(started) = started {
                let copies = usize::from(failover.policy().strategy.copies());
                prop_assert_eq!(started.replacements.len(), left.len().min(copies));
                prop_assert!(started.replacements.iter().all(|node| left.contains(node)));
                prop_assert!(out.insert(node.clone()));
                began.push(node);
            }
            let shares = failover.shares(now);
            prop_assert!(shares.iter().map(|share| &share.node).eq(&out));
            let kept = failover.history(None).map(|record| &record.node);
            prop_assert!(kept.eq(began.iter().rev().take(most)));
        }
        // The latest record of a node that is out goes on, and every other one has ended.
        let mut latest = BTreeSet::new();
        for record in failover.history(None) {
            let goes_on = latest.insert(&record.node) && out.contains(&record.node);
            prop_assert_eq!(record.outcome == FailoverOutcome::Ongoing, goes_on);
            prop_assert_eq!(record.ended.is_none(), goes_on);
        }
    }
}
