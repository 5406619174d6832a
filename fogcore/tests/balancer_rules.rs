//! What holds for every strategy of the balancer, rule by rule, through the public interface.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail")]
#![allow(clippy::print_stdout, reason = "a test that fails should say for which strategy")]

#[path = "common/balancing.rs"]
mod balancing;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use balancing::*;
use fogcore::ErrorKind;
use fogcore::balancer::{
    Affinity, Balancer, BalancerPolicy, Class, Dice, Endpoint, Hindrance, Key, Load, Request,
    RequestKind, Scope, StrategyKind,
};
use fogcore::failover::{Absence, BreakerPolicy, FailureKind, LoweringPolicy, OutlierPolicy};
use fogcore::registry::{Celsius, Ineligible, Percent, PowerState};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

fn every_strategy(test: impl Fn(StrategyKind)) {
    for kind in StrategyKind::ALL {
        println!("{kind:?}");
        test(kind);
    }
}

fn names(world: &mut World, requests: usize) -> BTreeSet<String> {
    world.counts(requests).into_keys().collect()
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

// Weights.

/// Two hundred requests are in flight all the time, and any of them ends next: what a strategy
/// makes of load must not work against the weights. Bound: five standard deviations and a tenth.
#[test]
fn under_load_nodes_are_picked_as_their_weights_say() {
    let weights = [50_u16, 100, 200, 233, 800];
    let all: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
    every_strategy(|kind| {
        let mut world = World::new(kind, policy());
        for weight in weights {
            world.join(endpoint(&format!("w{weight}"), weight));
        }
        let mut dice = StdRng::seed_from_u64(3);
        let (mut open, mut counts) = (Vec::new(), [0; 5]);
        for turn in 0..14_000 {
            let permit = world.try_pick(&Request::new()).unwrap();
            let name = name_of(&permit);
            open.push(permit);
            world.wait(Duration::from_micros(50));
            if open.len() == 200 {
                open.swap_remove(dice.random_range(0..200)).success(ms(10));
            }
            if turn >= 2_000 {
                counts[weights.iter().position(|weight| name == format!("w{weight}")).unwrap()] +=
                    1;
            }
        }
        for (weight, count) in weights.into_iter().zip(counts) {
            let share = f64::from(weight) / all;
            // Prequal takes the fastest, and who was asked less lately seems faster.
            let slack = if kind == StrategyKind::Prequal { 0.5 } else { 0.1 };
            assert!(is_about(count, 12_000, share, slack), "{kind:?}: {weight} has {count}");
        }
    });
}

/// Without load there is nothing that speaks against the weights. LatencyBased is left out: for
/// it, a weight is a speed, and an idle node of twice the weight is better.
#[test]
fn without_load_nodes_are_picked_as_their_weights_say() {
    let weights = [100_u16, 150, 300];
    every_strategy(|kind| {
        if kind == StrategyKind::LatencyBased {
            return;
        }
        let mut world = World::new(kind, policy());
        for weight in weights {
            world.join(endpoint(&format!("w{weight}"), weight));
        }
        let counts: Vec<_> = (0..6_000)
            .map(|_| {
                let name = world.serve(&Request::new());
                name[1..].parse::<u16>().unwrap()
            })
            .collect();
        for weight in weights {
            let count = counts.iter().filter(|found| **found == weight).count();
            let share = f64::from(weight) / 550.0;
            assert!(is_about(count, 6_000, share, 0.0), "{kind:?}: {weight} has {count}");
        }
    });
}

#[test]
fn the_least_weight_next_to_the_largest_gets_next_to_nothing() {
    every_strategy(|kind| {
        let mut world = World::new(kind, policy());
        world.join(endpoint("light", 1));
        world.join(endpoint("heavy", 65_535));
        let light = (0..50_000).filter(|_| world.serve(&Request::new()) == "light").count();
        // Less than one is expected, and twice that where two are drawn.
        assert!(light <= 8, "{kind:?}: {light}");
    });
}

/// A node of weight 100 has 1,024 points here: the share of its keys has a deviation of about 3 %
/// (one by the root of the points), and one of weight 50 of 4.5 %. Bound: 20 %.
#[test]
fn keys_are_spread_as_the_weights_say() {
    let policy = BalancerPolicy { ring_points: 1_024, ..policy() };
    let mut world = World::new(StrategyKind::ConsistentHash, policy);
    let weights = [50_u16, 100, 200, 400];
    for weight in weights {
        world.join(endpoint(&format!("w{weight}"), weight));
    }
    let counts = world.counts(15_000);
    for weight in weights {
        let count = counts[&format!("w{weight}")];
        assert!(is_about(count, 15_000, f64::from(weight) / 750.0, 0.2), "{weight}: {count}");
    }
}

// Slow start.

fn share_grows(world: &mut World, name: &str, nodes: usize) {
    let fair = 1.0 / nodes as f64;
    let mut shares = Vec::new();
    for step in [0, 3_000, 3_000, 4_500] {
        world.wait(ms(step));
        shares.push(world.share(name, 4_000));
    }
    let kind = world.kind;
    // At first it has a tenth of its share; of two that are drawn, it may be the better one.
    assert!(shares[0] > 0.0 && shares[0] < 0.3 * fair, "{kind:?}: {shares:?}");
    assert!(shares.is_sorted_by(|a, b| a < b), "{kind:?}: {shares:?}");
    assert!(shares[3] > 0.7 * fair, "{kind:?}: {shares:?}");
}

fn slow_policy() -> BalancerPolicy {
    BalancerPolicy { slow_start: secs(10), ring_points: 512, ..policy() }
}

#[test]
fn the_share_of_a_new_node_grows() {
    every_strategy(|kind| {
        let mut world = World::of(kind, slow_policy(), 4);
        world.wait(secs(60));
        world.counts(2_000);
        world.join(endpoint("new", 100));
        share_grows(&mut world, "new", 5);
    });
}

type Out = fn(&mut World);

#[test]
fn the_share_of_a_node_that_is_back_grows_whatever_kept_it_away() {
    let ways: [(Out, Out); 5] = [
        (|world| world.healthy("n0", false), |world| world.healthy("n0", true)),
        (|world| world.drain("n0", true), |world| world.drain("n0", false)),
        (
            |world| world.balancer.set_away(&id("n0"), true, world.now).unwrap(),
            |world| world.balancer.report(&id("n0"), &Load::default(), world.now).unwrap(),
        ),
        (
            |world| {
                let settling = Err(Ineligible::Settling);
                world.balancer.set_eligibility(&id("n0"), settling, world.now).unwrap();
            },
            |world| world.balancer.set_eligibility(&id("n0"), Ok(()), world.now).unwrap(),
        ),
        (
            |world| {
                let retry_after = Some(secs(30));
                world.pick_at("n0").failure(FailureKind::Overloaded { retry_after }, ms(0));
            },
            |_| {},
        ),
    ];
    every_strategy(|kind| {
        for (out, back) in ways {
            let mut world = World::of(kind, slow_policy(), 5);
            world.wait(secs(60));
            world.counts(2_000);
            out(&mut world);
            assert!(!names(&mut world, 400).contains("n0"), "{kind:?}");
            world.wait(secs(30));
            back(&mut world);
            share_grows(&mut world, "n0", 5);
        }
    });
}

// Panic.

#[test]
fn with_too_few_healthy_ones_health_is_ignored_and_nothing_else() {
    every_strategy(|kind| {
        let mut world = World::of(kind, policy(), 14);
        let (balancer, now) = (world.balancer.clone(), world.now);
        balancer.drain(&id("n10"), true, now).unwrap();
        balancer.set_eligibility(&id("n11"), Err(Ineligible::UserActive), now).unwrap();
        balancer.set_away(&id("n12"), true, now).unwrap();
        let retry_after = Some(secs(60));
        world.pick_at("n13").failure(FailureKind::Overloaded { retry_after }, ms(0));
        (0..5).for_each(|node| world.healthy(&format!("n{node}"), false));
        assert_eq!(names(&mut world, 1_000), set(["n5", "n6", "n7", "n8", "n9"]), "{kind:?}");
        world.healthy("n5", false);
        let all: BTreeSet<_> = (0..10).map(|node| format!("n{node}")).collect();
        assert_eq!(names(&mut world, 1_000), all, "{kind:?}");
        // Those that nothing counts for must not be what panics others, or keeps them from it.
        world.healthy("n5", true);
        assert_eq!(names(&mut world, 1_000), set(["n5", "n6", "n7", "n8", "n9"]), "{kind:?}");
        (5..10).for_each(|node| world.drain(&format!("n{node}"), true));
        let unwell: BTreeSet<_> = (0..5).map(|node| format!("n{node}")).collect();
        assert_eq!(names(&mut world, 1_000), unwell, "{kind:?}");
    });
}

#[test]
fn where_all_breakers_are_open_panic_uses_the_nodes_all_the_same() {
    every_strategy(|kind| {
        let mut world = World::of(kind, policy(), 3);
        for name in ["n0", "n1", "n2"] {
            // The first five in a row open it; panic does not ask it any more.
            for _ in 0..5 {
                world.pick_at(name).failure(FailureKind::Error, ms(1));
            }
        }
        let none = world.balancer.scope(Class::default(), None, Some(("id", "n1"))).unwrap();
        let request = Request { except: vec![id("n1")], ..world.request() }.within(none);
        let none = world.try_pick(&request).unwrap_err();
        assert_eq!((none.ready, none.unwell), (0, 1), "{kind:?}");
        assert_eq!(names(&mut world, 300), set(["n0", "n1", "n2"]), "{kind:?}");
    });
}

/// Probes and heartbeats are asked separately, and neither takes back what the other one said.
#[test]
fn a_node_must_be_in_time_and_pass_its_probes() {
    every_strategy(|kind| {
        let mut world = World::of(kind, policy(), 5);
        let late = |world: &World, late| {
            world.balancer.set_late(&id("n1"), late, world.now).unwrap();
        };
        let is_in = |world: &mut World| names(world, 500).contains("n1");
        late(&world, true);
        assert!(!is_in(&mut world), "{kind:?}");
        world.healthy("n1", true);
        assert!(!is_in(&mut world), "{kind:?}: a probe that passes makes no beat");
        world.healthy("n1", false);
        late(&world, false);
        assert!(!is_in(&mut world), "{kind:?}: a beat passes no probe");
        world.healthy("n1", true);
        assert!(is_in(&mut world), "{kind:?}");
        // Where nobody does well, that is ignored.
        for node in 0..5 {
            world.balancer.set_late(&id(&format!("n{node}")), true, world.now).unwrap();
        }
        assert!(is_in(&mut world), "{kind:?}");
        world.balancer.set_late(&id("n0"), false, world.now).unwrap();
        let (_, why) = world.balancer.pick_explained(&Request::new(), world.now, &mut world.dice);
        assert!(why.panicking && why.filtered.is_empty(), "{kind:?}: {why:?}");
        (1..4).for_each(|node| {
            world.balancer.set_late(&id(&format!("n{node}")), false, world.now).unwrap();
        });
        let (_, why) = world.balancer.pick_explained(&Request::new(), world.now, &mut world.dice);
        assert_eq!(why.filtered[0].hindrance, Hindrance::Late, "{kind:?}");
        assert_eq!(why.filtered[0].examples, [id("n4")], "{kind:?}");
        let unknown = world.balancer.set_late(&id("nobody"), true, world.now).unwrap_err();
        assert_eq!(unknown.kind(), ErrorKind::NotFound);
    });
}

// Where and to whom.

fn regions(kind: StrategyKind, near: usize, far: usize) -> (World, Scope) {
    let world = World::new(kind, policy());
    for (region, nodes) in [("near", near), ("far", far)] {
        for node in 0..nodes {
            let name = format!("{region}{node}");
            world.join(Endpoint { region: region.to_owned(), ..endpoint(&name, 100) });
        }
    }
    let scope = world.balancer.scope(Class::default(), Some("near"), None).unwrap();
    (world, scope)
}

fn near_share(world: &mut World, scope: Scope) -> f64 {
    let counts = world.counts_within(scope, 3_000);
    let near = counts.iter().filter(|(name, _)| name.starts_with("near"));
    near.map(|(_, count)| *count).sum::<usize>() as f64 / 3_000.0
}

/// What is too much for the healthy ones nearby, at 1.4 times their number, goes elsewhere.
#[test]
fn a_region_keeps_its_requests_until_too_few_of_it_are_well() {
    every_strategy(|kind| {
        let (mut world, scope) = regions(kind, 10, 30);
        for (unwell, kept) in [(0, 1.0), (2, 1.0), (3, 0.98), (5, 0.7), (8, 0.28), (10, 0.0)] {
            (0..unwell).for_each(|node| world.healthy(&format!("near{node}"), false));
            let share = near_share(&mut world, scope);
            // What spills over goes to any of all nodes, of which some are near.
            let well = 10.0 - f64::from(unwell);
            let kept = kept + (1.0 - kept) * well / (well + 30.0);
            let deviation = (kept * (1.0_f64 - kept) / 3_000.0).sqrt();
            assert!((share - kept).abs() <= 5.0 * deviation + 1e-9, "{kind:?} {unwell}: {share}");
        }
    });
}

/// With a few well ones nearby and many elsewhere, there is no reason for panic.
#[test]
fn a_region_in_trouble_does_not_panic_while_others_are_well() {
    every_strategy(|kind| {
        let (mut world, scope) = regions(kind, 10, 30);
        (1..10).for_each(|node| world.healthy(&format!("near{node}"), false));
        let counts = world.counts_within(scope, 3_000);
        let unwell = counts.keys().find(|name| name.starts_with("near") && *name != "near0");
        assert_eq!(unwell, None, "{kind:?}");
        assert!(counts["near0"] > 0, "{kind:?}");
    });
}

#[test]
fn what_the_near_ones_have_no_room_for_goes_elsewhere() {
    every_strategy(|kind| {
        let world = &mut World::new(kind, policy());
        for region in ["near", "far"] {
            let max_in_flight = Some(3);
            let region = region.to_owned();
            world.join(Endpoint {
                max_in_flight,
                region: region.clone(),
                ..endpoint(&region, 100)
            });
        }
        let scope = world.balancer.scope(Class::default(), Some("near"), None).unwrap();
        let request = Request::new().within(scope).keyed(Key(1));
        let permits: Vec<_> = (0..6).map(|_| world.try_pick(&request).unwrap()).collect();
        let places: Vec<_> = permits.iter().map(name_of).collect();
        assert_eq!(places, ["near", "near", "near", "far", "far", "far"], "{kind:?}");
        let none = world.try_pick(&request).unwrap_err();
        assert_eq!((none.ready, none.unwell, none.retry_after), (2, 0, None), "{kind:?}");
    });
}

#[test]
fn a_subset_is_never_left() {
    every_strategy(|kind| {
        let mut world = World::of(kind, policy(), 10);
        for node in 0..3 {
            let mut with_gpu = endpoint(&format!("gpu{node}"), 1 + 300 * node);
            with_gpu.labels.insert("gpu".to_owned(), "größer ✓".to_owned());
            world.join(with_gpu);
        }
        let scope = world.scope(("gpu", "größer ✓"));
        let served: BTreeSet<_> = world.counts_within(scope, 3_000).into_keys().collect();
        assert!(served.iter().all(|name| name.starts_with("gpu")) && served.len() >= 2);
        for affinity in [Affinity::Node(id("n3")), Affinity::Key(Key(77))] {
            for _ in 0..50 {
                let request = world.request().within(scope).holding_on(affinity.clone());
                assert!(world.serve(&request).starts_with("gpu"), "{kind:?}");
            }
        }
        // Not even if nobody in it takes work, or nobody is in it.
        (0..3).for_each(|node| world.drain(&format!("gpu{node}"), true));
        let request = world.request().within(scope);
        assert_eq!(world.try_pick(&request).unwrap_err().ready, 0);
        let request = world.request().within(world.scope(("gpu", "none")));
        assert!(world.try_pick(&request).is_err());
    });
}

#[test]
fn a_label_whose_key_is_no_subset_key_is_refused() {
    every_strategy(|kind| {
        let world = World::of(kind, policy(), 2);
        let label = Some(("colour", "red"));
        let error = world.balancer.scope(Class::default(), None, label).unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidInput, Some("label")));
        let error = world.balancer.class("gpu").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    });
}

#[test]
fn a_session_holds_on_to_its_node_and_returns_to_it() {
    every_strategy(|kind| {
        let mut world = World::of(kind, policy(), 6);
        let node = Request::new().holding_on(Affinity::Node(id("n4")));
        let key = Request::new().holding_on(Affinity::Key(Key::of("session 17")));
        let home = world.serve(&key);
        for (request, home) in [(node, "n4"), (key, home.as_str())] {
            let at_home = |world: &mut World| (0..40).all(|_| world.serve(&request) == home);
            let elsewhere = |world: &mut World| (0..40).all(|_| world.serve(&request) != home);
            assert!(at_home(&mut world), "{kind:?}");
            world.drain(home, true);
            assert!(elsewhere(&mut world), "{kind:?}");
            world.drain(home, false);
            assert!(at_home(&mut world), "{kind:?}");
            world.healthy(home, false);
            assert!(elsewhere(&mut world), "{kind:?}");
            world.healthy(home, true);
            let but = Request { except: vec![id(home)], ..request.clone() };
            assert_ne!(world.serve(&but), home, "{kind:?}");
            assert!(at_home(&mut world), "{kind:?}");
            assert!(world.balancer.leave(&id(home), world.now));
            assert!(elsewhere(&mut world), "{kind:?}");
            world.join(endpoint(home, 100));
            assert!(at_home(&mut world), "{kind:?}");
        }
    });
}

#[test]
fn a_full_node_sends_its_session_elsewhere() {
    every_strategy(|kind| {
        let mut world = World::of(kind, policy(), 3);
        world.join(Endpoint { max_in_flight: Some(1), ..endpoint("small", 100) });
        let request = Request::new().holding_on(Affinity::Node(id("small")));
        let first = world.try_pick(&request).unwrap();
        assert_eq!(name_of(&first), "small");
        assert_ne!(world.serve(&request), "small", "{kind:?}");
        first.success(ms(1));
        assert_eq!(world.serve(&request), "small", "{kind:?}");
    });
}

#[test]
fn nodes_that_were_tried_already_are_not_tried_again() {
    every_strategy(|kind| {
        let mut world = World::of(kind, policy(), 6);
        for _ in 0..200 {
            let except: Vec<_> = ["n0", "n2", "n3", "n5", "unknown"].map(id).into();
            let request = Request { except, ..world.request() };
            let name = world.serve(&request);
            assert!(name == "n1" || name == "n4", "{kind:?}: {name}");
        }
        let except = (0..6).map(|node| id(&format!("n{node}"))).collect();
        let none = world.try_pick(&Request { except, ..Request::new() }).unwrap_err();
        assert_eq!(none.ready, 6, "{kind:?}");
    });
}

#[test]
fn every_kind_of_request_is_served() {
    use RequestKind::{Download, General, Search, Upload};
    every_strategy(|kind| {
        let mut world = World::of(kind, policy(), 3);
        for asked in [General, Upload, Download, Search] {
            world.serve(&Request::new().of_kind(asked));
        }
    });
}

// Who takes no work.

#[test]
fn a_draining_node_gets_nothing_new_and_ends_what_it_has() {
    every_strategy(|kind| {
        let mut world = World::of(kind, policy(), 3);
        let running = world.pick_at("n1");
        world.drain("n1", true);
        assert_eq!(names(&mut world, 300), set(["n0", "n2"]), "{kind:?}");
        assert_eq!(running.node(), Some(id("n1")));
        running.success(ms(10));
        world.balancer.set_share(&id("n0"), 0.0, world.now).unwrap();
        assert_eq!(names(&mut world, 300), set(["n2"]), "{kind:?}");
        world.balancer.set_share(&id("n0"), 1.0, world.now).unwrap();
        assert_eq!(names(&mut world, 300), set(["n0", "n2"]), "{kind:?}");
        assert_eq!(world.look_at("n1"), None, "{kind:?}");
        world.drain("n1", false);
        assert_eq!(world.look_at("n1").unwrap().in_flight, 0, "{kind:?}");
    });
}

#[test]
fn what_is_drained_by_hand_is_not_undone_by_a_share() {
    every_strategy(|kind| {
        let mut world = World::of(kind, policy(), 3);
        world.drain("n1", true);
        world.balancer.set_share(&id("n1"), 0.75, world.now).unwrap();
        assert_eq!(names(&mut world, 300), set(["n0", "n2"]), "{kind:?}");
    });
}

/// Half of its weight: of four nodes, one has a seventh then.
#[test]
fn a_share_of_its_weight_is_what_a_node_keeps() {
    every_strategy(|kind| {
        let mut world = World::of(kind, BalancerPolicy { ring_points: 1_024, ..policy() }, 4);
        world.counts(500);
        world.balancer.set_share(&id("n0"), 0.5, world.now).unwrap();
        let counts = world.counts(6_000);
        assert!(is_about(counts["n0"], 6_000, 1.0 / 7.0, 0.12), "{kind:?}: {counts:?}");
    });
}

fn opens_after_two() -> BalancerPolicy {
    let breaker = BreakerPolicy {
        consecutive_failures: Some(2),
        failure_rate: None,
        open_for: secs(30),
        open_jitter: 0.0,
        ramp: Duration::ZERO,
        forgive_after: secs(86_400),
        ..BreakerPolicy::default()
    };
    let classes = vec!["gpu".to_owned(), "cpu".to_owned()];
    // A scope of one node is in a panic as soon as that one does not do well.
    BalancerPolicy { breaker, classes, panic_below: 0.0, failure_latency: ms(1), ..policy() }
}

#[test]
fn an_open_breaker_excludes_its_node_which_comes_back_by_three_probes() {
    every_strategy(|kind| {
        let mut world = World::of(kind, opens_after_two(), 3);
        for _ in 0..2 {
            world.pick_at("n1").failure(FailureKind::Error, ms(5));
        }
        assert_eq!(names(&mut world, 300), set(["n0", "n2"]), "{kind:?}");
        world.wait(ms(29_999));
        assert_eq!(names(&mut world, 300), set(["n0", "n2"]), "{kind:?}");
        world.wait(ms(6));
        let probes: Vec<_> = (0..3).map(|_| world.pick_at("n1")).collect();
        let request = world.request().within(world.scope(("id", "n1")));
        assert!(world.try_pick(&request).is_err(), "{kind:?}: a fourth probe");
        assert_eq!(names(&mut world, 300), set(["n0", "n2"]), "{kind:?}");
        // One that is dropped makes room for another, and counts for nothing.
        let mut probes = probes.into_iter();
        drop(probes.next());
        let fourth = world.pick_at("n1");
        probes.chain([fourth]).for_each(|probe| probe.success(ms(5)));
        assert_eq!(names(&mut world, 900), set(["n0", "n1", "n2"]), "{kind:?}");
        let open: Vec<_> = (0..10).map(|_| world.pick_at("n1")).collect();
        drop(open);
    });
}

#[test]
fn a_probe_that_fails_opens_the_breaker_again_for_longer() {
    every_strategy(|kind| {
        let mut world = World::of(kind, opens_after_two(), 3);
        for _ in 0..2 {
            world.pick_at("n1").failure(FailureKind::Timeout, Duration::ZERO);
        }
        world.wait(secs(30));
        world.pick_at("n1").failure(FailureKind::Timeout, Duration::ZERO);
        world.wait(ms(59_999));
        assert_eq!(names(&mut world, 300), set(["n0", "n2"]), "{kind:?}");
        world.wait(ms(1));
        world.pick_at("n1").success(ms(5));
    });
}

/// Calls that never come back must not keep a node out for ever.
#[test]
fn a_node_whose_probes_hang_is_tried_again() {
    every_strategy(|kind| {
        let mut world = World::of(kind, opens_after_two(), 3);
        for _ in 0..2 {
            world.pick_at("n1").failure(FailureKind::Timeout, Duration::ZERO);
        }
        world.wait(secs(30));
        let hanging: Vec<_> = (0..3).map(|_| world.pick_at("n1")).collect();
        world.wait(secs(30));
        let request = world.request().within(world.scope(("id", "n1")));
        let none = world.try_pick(&request).unwrap_err();
        let expected = (0, 1, Some(secs(60)));
        assert_eq!((none.ready, none.unwell, none.retry_after), expected, "{kind:?}");
        world.wait(secs(60));
        let probes: Vec<_> = (0..3).map(|_| world.pick_at("n1")).collect();
        // They come back at last, and say nothing about how it is now.
        hanging.into_iter().for_each(|late| late.failure(FailureKind::Timeout, secs(90)));
        probes.into_iter().for_each(|probe| probe.success(ms(5)));
        let open: Vec<_> = (0..10).map(|_| world.pick_at("n1")).collect();
        drop(open);
    });
}

/// One breaker that opens during a pick is one too many: that very pick ignores health, and its
/// explanation says so.
#[test]
fn who_panics_on_the_way_is_explained_as_who_panicked() {
    every_strategy(|kind| {
        let policy = BalancerPolicy { panic_below: 0.5, ..opens_after_two() };
        let mut world = World::of(kind, policy, 2);
        world.join(Endpoint { max_in_flight: Some(1), ..endpoint("full", 100) });
        for _ in 0..2 {
            world.pick_at("n0").failure(FailureKind::Timeout, Duration::ZERO);
        }
        let _full = world.pick_at("full");
        world.wait(secs(30));
        let _hanging: Vec<_> = (0..3).map(|_| world.pick_at("n0")).collect();
        world.healthy("n1", false);
        world.wait(secs(30));
        let request = Request { except: vec![id("nobody")], ..world.request() };
        let (permit, why) = world.balancer.pick_explained(&request, world.now, &mut world.dice);
        let node = permit.unwrap().node().unwrap();
        assert!(why.panicking, "{kind:?}: {why:?}");
        let is_out = why.filtered.iter().any(|filtered| filtered.examples.contains(&node));
        assert!(!is_out, "{kind:?}: {node} {why:?}");
    });
}

#[test]
fn a_breaker_keeps_only_its_own_class_from_a_node() {
    every_strategy(|kind| {
        let mut world = World::of(kind, opens_after_two(), 3);
        let class = |name: &str| world.balancer.class(name).unwrap();
        let (gpu, cpu) = (class("gpu"), class("cpu"));
        let scope = |class, name: &str| {
            world.balancer.scope(class, None, Some(("id", name)).filter(|_| !name.is_empty()))
        };
        let at_n1 = scope(gpu, "n1").unwrap();
        let [gpu, cpu] = [gpu, cpu].map(|class| scope(class, "").unwrap());
        for _ in 0..2 {
            let permit = world.try_pick(&Request::new().within(at_n1).keyed(Key(1))).unwrap();
            permit.failure(FailureKind::Error, ms(5));
        }
        let mut served = |scope| {
            let counts = world.counts_within(scope, 600);
            counts.into_keys().collect::<BTreeSet<_>>()
        };
        assert_eq!(served(gpu), set(["n0", "n2"]), "{kind:?}");
        assert_eq!(served(cpu), set(["n0", "n1", "n2"]), "{kind:?}");
        assert_eq!(served(Scope::default()), set(["n0", "n1", "n2"]), "{kind:?}");
    });
}

#[test]
fn a_breaker_can_be_forced_and_released() {
    every_strategy(|kind| {
        let mut world = World::of(kind, opens_after_two(), 4);
        let force = |world: &World, name: &str, open| {
            world.balancer.force_breaker(&id(name), Class::default(), open, world.now).unwrap();
        };
        force(&world, "n1", Some(true));
        assert!(!names(&mut world, 400).contains("n1"), "{kind:?}");
        world.wait(secs(3_600));
        assert!(!names(&mut world, 400).contains("n1"), "{kind:?}");
        force(&world, "n1", None);
        assert!(names(&mut world, 400).contains("n1"), "{kind:?}");
        force(&world, "n1", Some(false));
        for _ in 0..20 {
            world.pick_at("n1").failure(FailureKind::Error, ms(1));
        }
        assert!(world.look_at("n1").is_some(), "{kind:?}");
    });
}

#[test]
fn a_forced_open_breaker_counts_as_unwell() {
    every_strategy(|kind| {
        let mut world = World::of(kind, policy(), 4);
        world.balancer.force_breaker(&id("n1"), Class::default(), Some(true), world.now).unwrap();
        let except = ["n0", "n2", "n3"].map(id).into();
        let none = world.try_pick(&Request { except, ..Request::new() }).unwrap_err();
        assert_eq!((none.ready, none.unwell), (3, 1), "{kind:?}");
    });
}

#[test]
fn an_ineligible_node_gets_nothing_even_if_it_is_the_only_one() {
    every_strategy(|kind| {
        let mut world = World::of(kind, policy(), 2);
        let judge = |world: &World, name: &str, eligibility| {
            world.balancer.set_eligibility(&id(name), eligibility, world.now).unwrap();
        };
        judge(&world, "n0", Err(Ineligible::ThermalThrottle));
        assert_eq!(names(&mut world, 100), set(["n1"]), "{kind:?}");
        judge(&world, "n1", Err(Ineligible::Idle));
        let none = world.try_pick(&Request::new()).unwrap_err();
        assert_eq!((none.ready, none.unwell, none.retry_after), (0, 0, None), "{kind:?}");
        judge(&world, "n0", Ok(()));
        assert_eq!(names(&mut world, 100), set(["n0"]), "{kind:?}");
    });
}

#[test]
fn battery_heat_and_a_metered_network_leave_a_node_less() {
    let power = PowerState { charging: true, ..PowerState::default() };
    let states = [
        PowerState { charging: false, battery: Some(Percent::new(60.0).unwrap()), ..power },
        PowerState { temperature: Some(Celsius::new(59.0).unwrap()), ..power },
        PowerState { metered: true, ..power },
        PowerState { user_active: true, ..power },
    ];
    every_strategy(|kind| {
        for power in states {
            let mut world = World::of(kind, BalancerPolicy { ring_points: 512, ..policy() }, 5);
            let tell = |world: &World, power| {
                let load = Load { power: Some(power), ..Load::default() };
                world.balancer.report(&id("n2"), &load, world.now).unwrap();
            };
            world.counts(500);
            tell(&world, power);
            let share = world.share("n2", 4_000);
            assert!(share > 0.01 && share < 0.15, "{kind:?} {power:?}: {share}");
            tell(&world, PowerState { charging: true, ..PowerState::default() });
            let share = world.share("n2", 4_000);
            assert!(share > 0.15, "{kind:?} {power:?}: {share}");
        }
    });
}

/// One node is plugged in, and 99 are phones at the end of their strength: they have a share of
/// 1/64 each. The exact one would be 39 % for the strong node; after sixteen draws in vain a
/// strategy takes what it has, so that a third of that is what it must have at least.
#[test]
fn one_strong_node_among_many_weak_ones_gets_its_share() {
    every_strategy(|kind| {
        let mut world = World::of(kind, policy(), 100);
        let empty = Some(Percent::new(0.0).unwrap());
        let power = Some(PowerState { battery: empty, ..PowerState::default() });
        for node in 1..100 {
            let load = Load { power, ..Load::default() };
            world.balancer.report(&id(&format!("n{node}")), &load, world.now).unwrap();
        }
        let served = (0..4_000).filter(|_| world.serve(&Request::new()) == "n0").count();
        assert!(served > 400, "{kind:?}: {served}");
    });
}

#[test]
fn a_node_that_has_too_much_rests_for_as_long_as_it_says() {
    let lowering = LoweringPolicy { unless_told: secs(2), at_most: secs(20) };
    let overloaded = |retry_after| FailureKind::Overloaded { retry_after };
    every_strategy(|kind| {
        for (failure, rest) in [
            (overloaded(Some(secs(7))), 7_000),
            (overloaded(Some(secs(500))), 20_000),
            (overloaded(Some(Duration::ZERO)), 2_000),
            (overloaded(None), 2_000),
            (FailureKind::OutOfMemory, 2_000),
        ] {
            let mut world = World::of(kind, BalancerPolicy { lowering, ..policy() }, 3);
            world.pick_at("n1").failure(failure, ms(500));
            assert_eq!(names(&mut world, 100), set(["n0", "n2"]), "{kind:?}");
            // It counts from when the call ended, half a second later.
            world.wait(ms(rest + 499));
            assert_eq!(names(&mut world, 100), set(["n0", "n2"]), "{kind:?}");
            world.wait(ms(1));
            assert!(world.look_at("n1").is_some(), "{kind:?}");
            // Its slow answer is forgotten as well.
            world.wait(secs(100));
            assert_eq!(names(&mut world, 600), set(["n0", "n1", "n2"]), "{kind:?}");
        }
    });
}

#[test]
fn a_shorter_rest_does_not_end_a_longer_one() {
    every_strategy(|kind| {
        let mut world = World::of(kind, policy(), 2);
        let permits = [world.pick_at("n1"), world.pick_at("n1")];
        for (permit, pause) in permits.into_iter().zip([30, 2]) {
            let retry_after = Some(secs(pause));
            permit.failure(FailureKind::Overloaded { retry_after }, ms(0));
        }
        world.wait(ms(29_999));
        assert_eq!(names(&mut world, 50), set(["n0"]), "{kind:?}");
        world.wait(ms(1));
        assert!(world.look_at("n1").is_some(), "{kind:?}");
    });
}

/// One node refuses in 1 ms what four others answer in 20 ms, and no breaker helps.
#[test]
fn failing_fast_attracts_no_requests() {
    every_strategy(|kind| {
        let policy = BalancerPolicy { breaker: never_opens(), outliers: None, ..policy() };
        let mut world = World::of(kind, policy, 5);
        let mut dice = StdRng::seed_from_u64(8);
        let mut open: Vec<(Duration, Owned)> = Vec::new();
        let (mut late, mut of) = (0, 0);
        for turn in 0..6_000 {
            world.wait(Duration::from_micros(500 + dice.random_range(0..500)));
            let (ended, left) = open.into_iter().partition(|(at, _)| *at <= world.now);
            open = left;
            for (at, permit) in ended as Vec<(Duration, Owned)> {
                let latency = at - permit.picked_at();
                match name_of(&permit).as_str() {
                    "n0" => permit.failure(FailureKind::Error, latency),
                    _ => permit.success(latency),
                }
            }
            let permit = world.pick();
            let bad = name_of(&permit) == "n0";
            if turn > 1_000 {
                (late, of) = (late + usize::from(bad), of + 1);
            }
            open.push((world.now + if bad { ms(1) } else { ms(20) }, permit));
        }
        // Its fair share is a fifth; a third of that is a lot.
        assert!(late * 15 < of, "{kind:?}: {late} of {of}");
    });
}

#[test]
fn a_node_that_works_again_gets_its_share_back() {
    every_strategy(|kind| {
        let policy = BalancerPolicy { breaker: never_opens(), ring_points: 512, ..policy() };
        let mut world = World::of(kind, policy, 5);
        for _ in 0..100 {
            world.pick_at("n0").failure(FailureKind::Error, ms(1));
        }
        let dropped = (0..2_000).filter(|_| name_of(&world.pick()) == "n0").count();
        assert!(dropped < 140, "{kind:?}: {dropped}");
        for _ in 0..200 {
            world.wait(secs(1));
            world.pick_at("n0").success(ms(10));
        }
        // Its latency and its share are again what the others' are.
        let [own, other] = ["n0", "n1"].map(|name| {
            world.pick_at(name).success(ms(10));
            world.look_at(name).unwrap()
        });
        assert!((own.success - other.success).abs() < f32::EPSILON, "{kind:?}");
        let [own, other] = [own, other].map(|seen| seen.latency.unwrap());
        assert!((own - other).abs() < 1e-6, "{kind:?}: {own} {other}");
        let mut served = 0;
        for turn in 0..3_000 {
            world.wait(ms(1));
            let request = world.request();
            served += u32::from(world.serve(&request) == "n0" && turn >= 1_000);
        }
        // Who was slow stays a little slower for ever, and of two that are drawn loses.
        let by_latency = matches!(kind, StrategyKind::LatencyBased | StrategyKind::Prequal);
        let fair = if by_latency { 50 } else { 300 };
        assert!(served > fair, "{kind:?}: {served}");
    });
}

// What is in flight.

#[test]
fn no_node_has_more_in_flight_than_it_allows() {
    every_strategy(|kind| {
        let mut world = World::new(kind, policy());
        for (node, most) in [1_u32, 2, 3, 10].into_iter().enumerate() {
            let name = format!("n{node}");
            let weight = 1_000 / u16::try_from(most).unwrap();
            world.join(Endpoint { max_in_flight: Some(most), ..endpoint(&name, weight) });
        }
        let mut permits: Vec<_> = (0..16).map(|_| world.pick()).collect();
        for (node, most) in [1, 2, 3, 10].into_iter().enumerate() {
            let name = format!("n{node}");
            let here = permits.iter().filter(|permit| name_of(permit) == name).count();
            assert_eq!(here, most, "{kind:?}");
        }
        let none = world.try_pick(&Request::new()).unwrap_err();
        assert_eq!((none.ready, none.unwell), (4, 0), "{kind:?}");
        let freed = permits.swap_remove(5);
        let name = name_of(&freed);
        drop(freed);
        assert_eq!(name_of(&world.pick()), name, "{kind:?}");
    });
}

#[test]
fn a_dropped_permit_counts_nowhere() {
    every_strategy(|kind| {
        let mut world = World::of(kind, opens_after_two(), 3);
        let before = world.look_at("n1");
        let permits: Vec<_> = (0..20).map(|_| world.pick_at("n1")).collect();
        assert_eq!(world.look_at("n1").unwrap().in_flight, 20, "{kind:?}");
        drop(permits);
        assert_eq!(world.look_at("n1"), before, "{kind:?}");
        // Between two failures in a row it is no success, either.
        world.pick_at("n1").failure(FailureKind::Error, ms(1));
        drop(world.pick_at("n1"));
        world.pick_at("n1").failure(FailureKind::Error, ms(1));
        assert_eq!(world.look_at("n1"), None, "{kind:?}");
    });
}

#[test]
fn who_is_away_or_was_asked_wrongly_has_not_failed() {
    every_strategy(|kind| {
        let mut world = World::of(kind, opens_after_two(), 3);
        let before = world.look_at("n1");
        for _ in 0..20 {
            world.pick_at("n1").failure(FailureKind::Rejected, ms(1));
        }
        assert_eq!(world.look_at("n1"), before, "{kind:?}");
        for _ in 0..20 {
            let asleep = FailureKind::Absent(Absence::Asleep);
            world.pick_at("n1").failure(asleep, ms(1));
            assert_eq!(names(&mut world, 50), set(["n0", "n2"]), "{kind:?}");
            world.wait(secs(86_400));
            assert_eq!(names(&mut world, 50), set(["n0", "n2"]), "{kind:?}");
            world.balancer.report(&id("n1"), &Load::default(), world.now).unwrap();
        }
        assert_eq!(world.look_at("n1"), before, "{kind:?}");
    });
}

// Outliers.

#[test]
fn a_node_that_is_far_worse_than_the_rest_is_out_for_a_while() {
    let outliers = OutlierPolicy {
        consecutive_failures: None,
        most_out: 0.2,
        deviations: 1.0,
        ..OutlierPolicy::default()
    };
    let policy = BalancerPolicy {
        breaker: never_opens(),
        outliers: Some(outliers),
        panic_below: 0.0,
        ..policy()
    };
    every_strategy(|kind| {
        let mut world = World::of(kind, policy.clone(), 10);
        let work = |world: &mut World| {
            for node in 0..10 {
                let name = format!("n{node}");
                for call in 0..200 {
                    let bad = (3..6).contains(&node) && call % 20 < 15 - node;
                    let permit = world.pick_at(&name);
                    if bad {
                        permit.failure(FailureKind::Error, ms(10));
                    } else {
                        permit.success(ms(10));
                    }
                }
            }
        };
        world.balancer.maintain(world.now);
        work(&mut world);
        world.wait(secs(9));
        world.balancer.maintain(world.now);
        assert!(world.look_at("n3").is_some(), "{kind:?}: not yet");
        world.wait(secs(1));
        world.balancer.maintain(world.now);
        // Two of ten may be out: the worst two, of three that fail about half of their calls.
        let out: Vec<_> = (0..10).filter(|n| world.look_at(&format!("n{n}")).is_none()).collect();
        assert_eq!(out, [3, 4], "{kind:?}");
        assert!(names(&mut world, 500).is_disjoint(&set(["n3", "n4"])), "{kind:?}");
        world.wait(ms(29_999));
        world.balancer.maintain(world.now);
        assert_eq!(world.look_at("n3"), None, "{kind:?}");
        world.wait(ms(1));
        assert!(world.look_at("n3").is_some() && world.look_at("n4").is_some(), "{kind:?}");
        // The second time it is out for twice as long.
        world.wait(secs(10));
        world.balancer.maintain(world.now);
        work(&mut world);
        world.wait(secs(10));
        world.balancer.maintain(world.now);
        assert_eq!(world.look_at("n3"), None, "{kind:?}");
        world.wait(ms(59_999));
        assert_eq!(world.look_at("n3"), None, "{kind:?}");
        world.wait(ms(1));
        assert!(world.look_at("n3").is_some(), "{kind:?}");
    });
}

/// Ten nodes that have done well so far.
fn compared(outliers: OutlierPolicy) -> World {
    let base = policy();
    let policy = BalancerPolicy {
        breaker: never_opens(),
        outliers: Some(OutlierPolicy { consecutive_failures: None, ..outliers }),
        panic_below: 0.0,
        ..base
    };
    let mut world = World::of(StrategyKind::Random, policy, 10);
    world.balancer.maintain(world.now);
    (0..10).for_each(|node| calls(&mut world, node, 200, |_| Ok(ms(10))));
    world
}

/// Calls to one node, and how each ends.
fn calls(
    world: &mut World,
    node: usize,
    count: usize,
    end: impl Fn(usize) -> Result<Duration, ()>,
) {
    for call in 0..count {
        let permit = world.pick_at(&format!("n{node}"));
        match end(call) {
            Ok(latency) => permit.success(latency),
            Err(()) => permit.failure(FailureKind::Error, ms(1)),
        }
    }
}

fn out(world: &mut World) -> Vec<usize> {
    (0..10).filter(|node| world.look_at(&format!("n{node}")).is_none()).collect()
}

fn compare(world: &mut World) -> Vec<usize> {
    world.wait(secs(10));
    world.balancer.maintain(world.now);
    out(world)
}

#[test]
fn one_slow_call_before_a_comparison_ejects_nobody() {
    let mut world = compared(OutlierPolicy::default());
    calls(&mut world, 0, 1, |_| Ok(secs(5)));
    assert_eq!(compare(&mut world), [0; 0]);
}

#[test]
fn a_slow_node_is_ejected_although_some_of_its_calls_and_of_the_others_fail() {
    let mut world = compared(OutlierPolicy { most_out: 0.5, ..OutlierPolicy::default() });
    for node in 0..10 {
        calls(&mut world, node, 200, |call| match call % 100 {
            7 => Err(()),
            _ => Ok(if node == 3 { ms(50) } else { ms(10) }),
        });
    }
    assert_eq!(compare(&mut world), [3]);
}

#[test]
fn failures_make_nobody_slow() {
    // By its success rate alone, nobody is so far from the rest.
    let mut world = compared(OutlierPolicy { deviations: 100.0, ..OutlierPolicy::default() });
    // In picks, each counts as a second.
    calls(&mut world, 0, 2, |_| Err(()));
    assert_eq!(compare(&mut world), [0; 0]);
}

/// For how long a node is out, in seconds.
fn out_for(world: &mut World, name: &str) -> u64 {
    (1..)
        .find(|_| {
            world.wait(secs(1));
            world.look_at(name).is_some()
        })
        .unwrap()
}

#[test]
fn who_was_fine_for_long_is_out_for_as_short_as_the_first_time() {
    let mut world = compared(OutlierPolicy::default());
    let worse =
        |world: &mut World| {
            for node in 0..10 {
                calls(world, node, 200, |call| {
                    if node == 4 && call % 2 == 0 { Err(()) } else { Ok(ms(10)) }
                });
            }
            assert_eq!(compare(world), [4]);
        };
    for seconds in [30, 60, 90] {
        worse(&mut world);
        assert_eq!(out_for(&mut world, "n4"), seconds);
    }
    // Three times it was out; the interval in which it came back does not count.
    world.balancer.maintain(world.now);
    (0..2).for_each(|_| assert_eq!(compare(&mut world), [0; 0]));
    worse(&mut world);
    assert_eq!(
        out_for(&mut world, "n4"),
        60,
        "one comparison counted for it, and the last does not"
    );
    world.balancer.maintain(world.now);
    (0..20).for_each(|_| assert_eq!(compare(&mut world), [0; 0]));
    worse(&mut world);
    assert_eq!(out_for(&mut world, "n4"), 30);
}

fn by_rows(most: u32, most_out: f64) -> BalancerPolicy {
    let outliers =
        OutlierPolicy { consecutive_failures: Some(most), most_out, ..OutlierPolicy::default() };
    BalancerPolicy {
        breaker: never_opens(),
        outliers: Some(outliers),
        panic_below: 0.0,
        classes: vec!["gpu".to_owned()],
        ..policy()
    }
}

#[test]
fn a_row_of_failures_ejects_a_node_at_once_for_all_classes() {
    every_strategy(|kind| {
        let mut world = World::of(kind, by_rows(5, 0.1), 10);
        let gpu = world.balancer.class("gpu").unwrap();
        let gpu = world.balancer.scope(gpu, None, Some(("id", "n6"))).unwrap();
        let fails = |world: &mut World, scope: Scope| {
            let request = world.request().within(scope);
            world.try_pick(&request).unwrap().failure(FailureKind::Timeout, Duration::ZERO);
        };
        let own = world.scope(("id", "n6"));
        for round in 0..6 {
            (0..2).for_each(|_| fails(&mut world, gpu));
            (0..2).for_each(|_| fails(&mut world, own));
            // What says nothing about the node is neither a success nor a failure.
            drop(world.pick_at("n6"));
            world.pick_at("n6").failure(FailureKind::Rejected, ms(1));
            if round < 5 {
                world.pick_at("n6").success(ms(10));
            }
        }
        assert!(world.look_at("n6").is_some(), "{kind:?}: four in a row");
        fails(&mut world, gpu);
        assert_eq!(world.look_at("n6"), None, "{kind:?}");
        let request = world.request().within(gpu);
        let none = world.try_pick(&request).unwrap_err();
        assert_eq!((none.ready, none.unwell), (0, 1), "{kind:?}");
        assert_eq!(none.retry_after, Some(secs(30)), "{kind:?}");
        // One of ten is as many as may be out.
        for _ in 0..20 {
            world.pick_at("n7").failure(FailureKind::Error, Duration::ZERO);
        }
        assert!(world.look_at("n7").is_some(), "{kind:?}");
        world.wait(secs(30));
        assert!(world.look_at("n6").is_some(), "{kind:?}");
        for _ in 0..5 {
            world.pick_at("n7").failure(FailureKind::Error, Duration::ZERO);
        }
        assert_eq!(world.look_at("n7"), None, "{kind:?}");
        // Who leaves makes room.
        assert!(world.balancer.leave(&id("n7"), world.now));
        world.join(endpoint("n7", 100));
        (0..5).for_each(|_| fails(&mut world, own));
        assert_eq!(world.look_at("n6"), None, "{kind:?}");
        world.wait(ms(59_999));
        assert_eq!(world.look_at("n6"), None, "{kind:?}: the second time");
        world.wait(ms(1));
        assert!(world.look_at("n6").is_some(), "{kind:?}");
    });
}

/// Failures of calls that were in flight when a node was ejected do not eject it for longer.
#[test]
fn who_is_out_already_is_not_ejected_again() {
    let mut world = World::of(StrategyKind::Random, by_rows(3, 1.0), 2);
    let permits: Vec<_> = (0..30).map(|_| world.pick_at("n0")).collect();
    permits.into_iter().for_each(|permit| permit.failure(FailureKind::Error, Duration::ZERO));
    assert_eq!(out_for(&mut world, "n0"), 30);
}

#[test]
fn nobody_inherits_the_failures_of_who_was_in_its_place() {
    let mut world = World::of(StrategyKind::Random, by_rows(5, 1.0), 2);
    let place = world.pick_at("n0").index();
    for _ in 0..4 {
        world.pick_at("n0").failure(FailureKind::Error, Duration::ZERO);
    }
    assert!(world.balancer.leave(&id("n0"), world.now));
    world.wait(secs(61));
    world.join(endpoint("new", 100));
    let permit = world.pick_at("new");
    assert_eq!(permit.index(), place);
    permit.failure(FailureKind::Error, Duration::ZERO);
    assert!(world.look_at("new").is_some());
}

// Nobody.

#[test]
fn who_finds_nobody_is_told_when_to_come_back() {
    let policy = BalancerPolicy { slow_start: secs(10), ..opens_after_two() };
    every_strategy(|kind| {
        let mut world = World::of(kind, policy.clone(), 2);
        assert_eq!(
            World::new(kind, policy.clone()).try_pick(&Request::new()).unwrap_err().ready,
            0
        );
        let rest = |world: &mut World, name: &str, pause| {
            let retry_after = Some(secs(pause));
            world.pick_at(name).failure(FailureKind::Overloaded { retry_after }, ms(0));
        };
        rest(&mut world, "n0", 40);
        rest(&mut world, "n1", 30);
        // The slow start, over in ten seconds, gives nobody back.
        let none = world.try_pick(&Request::new()).unwrap_err();
        assert_eq!((none.ready, none.unwell), (0, 0), "{kind:?}");
        assert_eq!(none.retry_after, Some(secs(30)), "{kind:?}");
        // Within a scope, only those in it count.
        let request = Request::new().within(world.scope(("id", "n0")));
        assert_eq!(world.try_pick(&request).unwrap_err().retry_after, Some(secs(40)), "{kind:?}");
        // One that was drained meanwhile does not come back when its rest is over.
        world.drain("n1", true);
        world.wait(secs(5));
        assert_eq!(world.try_pick(&Request::new()).unwrap_err().retry_after, Some(secs(35)));
        world.wait(secs(35));
        assert_eq!(world.serve(&Request::new()), "n0", "{kind:?}");
    });
}

#[test]
fn who_finds_only_full_nodes_is_not_told_a_time() {
    let policy = BalancerPolicy { slow_start: secs(10), ..policy() };
    every_strategy(|kind| {
        let mut world = World::new(kind, policy.clone());
        world.join(Endpoint { max_in_flight: Some(1), ..endpoint("n0", 100) });
        let _held = world.try_pick(&Request::new()).unwrap();
        let none = world.try_pick(&Request::new()).unwrap_err();
        assert_eq!((none.ready, none.unwell, none.retry_after), (1, 0, None), "{kind:?}");
    });
}

#[test]
fn the_time_of_an_open_breaker_is_told() {
    every_strategy(|kind| {
        let mut world = World::of(kind, opens_after_two(), 1);
        for _ in 0..2 {
            world.pick_at("n0").failure(FailureKind::Error, Duration::ZERO);
        }
        world.wait(secs(12));
        let none = world.try_pick(&Request::new()).unwrap_err();
        let expected = (0, 1, Some(secs(18)));
        assert_eq!((none.ready, none.unwell, none.retry_after), expected, "{kind:?}");
        let error = fogcore::Error::from(none);
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    });
}

// Who comes and goes.

#[test]
fn who_joins_twice_is_there_once_as_told_last() {
    every_strategy(|kind| {
        let mut world = World::of(kind, policy(), 2);
        let held = world.pick_at("n1");
        let mut again = Endpoint { max_in_flight: Some(2), ..endpoint("n1", 65_535) };
        again.labels.insert("gpu".to_owned(), "yes".to_owned());
        world.join(again.clone());
        assert_eq!(world.balancer.len(), 2);
        assert_eq!(*world.balancer.endpoint(held.index()).unwrap(), again);
        assert_eq!(world.look_at("n1").unwrap().weight, 65_535, "{kind:?}");
        assert_eq!(world.look_at("n1").unwrap().in_flight, 1, "{kind:?}");
        let counts = world.counts(1_000);
        assert!(counts["n1"] > 950, "{kind:?}: {counts:?}");
        let scope = world.scope(("gpu", "yes"));
        assert_eq!(world.counts_within(scope, 10)["n1"], 10);
        let second = world.pick_at("n1");
        let third = world.request().within(scope);
        assert!(world.try_pick(&third).is_err(), "{kind:?}: it has room for two");
        // Back to what it was: out of the scope, and light.
        world.join(endpoint("n1", 100));
        assert!(world.try_pick(&third).is_err(), "{kind:?}");
        drop((held, second));
        let share = world.share("n1", 1_000);
        assert!(share > 0.2 && share < 0.8, "{kind:?}: {share}");
        // It stays as drained as it was.
        world.drain("n1", true);
        world.join(endpoint("n1", 200));
        assert_eq!(names(&mut world, 100), set(["n0"]), "{kind:?}");
    });
}

#[test]
fn who_leaves_with_requests_in_flight_ends_them_without_a_trace() {
    every_strategy(|kind| {
        let mut world = World::of(kind, policy(), 2);
        let permits: Vec<_> = (0..4).map(|_| world.pick_at("n1")).collect();
        assert!(world.balancer.leave(&id("n1"), world.now));
        assert!(!world.balancer.leave(&id("n1"), world.now));
        assert_eq!((world.balancer.len(), world.balancer.is_empty()), (1, false));
        assert_eq!(permits[0].node(), None);
        assert_eq!(world.balancer.endpoint(permits[0].index()), None);
        world.join(endpoint("n1", 100));
        let retry_after = Some(secs(60));
        for (permit, failure) in permits.into_iter().zip([
            FailureKind::Error,
            FailureKind::Overloaded { retry_after },
            FailureKind::Absent(Absence::OffNetwork),
            FailureKind::OutOfMemory,
        ]) {
            permit.failure(failure, ms(2_000));
        }
        let seen = world.look_at("n1").unwrap();
        assert_eq!((seen.in_flight, seen.latency, seen.success), (0, None, 1.0), "{kind:?}");
    });
}

#[test]
fn a_place_is_used_again_after_a_minute_and_not_while_requests_are_in_flight() {
    every_strategy(|kind| {
        let mut world = World::of(kind, opens_after_two(), 2);
        let old = world.pick_at("n1");
        for _ in 0..2 {
            world.pick_at("n1").failure(FailureKind::Error, ms(1));
        }
        world.balancer.set_share(&id("n1"), 0.5, world.now).unwrap();
        assert!(world.balancer.leave(&id("n1"), world.now));
        world.wait(secs(61));
        world.join(endpoint("a", 100));
        assert_ne!(world.pick_at("a").index(), old.index(), "{kind:?}: in flight");
        let place = old.index();
        drop(old);
        world.join(endpoint("b", 100));
        let held = world.pick_at("b");
        assert_eq!(held.index(), place, "{kind:?}");
        assert_eq!(held.node(), Some(id("b")));
        drop(held);
        // Nothing of who was here before is left.
        let seen = world.look_at("b").unwrap();
        assert_eq!((seen.in_flight, seen.latency, seen.success), (0, None, 1.0), "{kind:?}");
        assert!(names(&mut world, 600).contains("b"), "{kind:?}");
        assert!(world.balancer.leave(&id("b"), world.now));
        world.wait(ms(59_999));
        world.join(endpoint("c", 100));
        assert_ne!(world.pick_at("c").index(), place, "{kind:?}: too early");
        world.wait(ms(1));
        world.join(endpoint("d", 100));
        assert_eq!(world.pick_at("d").index(), place, "{kind:?}");
    });
}

#[test]
fn ids_and_labels_in_any_script_do() {
    every_strategy(|kind| {
        let mut world = World::new(kind, policy());
        for name in ["löwe", "节点-1", "नोड", "🦀"] {
            world.join(endpoint(name, 100));
            assert_eq!(name_of(&world.pick_at(name)), name);
        }
        assert_eq!(names(&mut world, 600), set(["löwe", "节点-1", "नोड", "🦀"]), "{kind:?}");
    });
}

// Bad input.

#[test]
fn a_bad_endpoint_is_refused_with_its_field_and_changes_nothing() {
    let good = endpoint("n0", 100);
    let labels = |count: usize| (0..count).map(|n| (format!("k{n}"), String::new())).collect();
    let bad = [
        (Endpoint { weight: 0, ..good.clone() }, "weight"),
        (Endpoint { max_in_flight: Some(0), ..good.clone() }, "max_in_flight"),
        (Endpoint { region: "ö".repeat(65), ..good.clone() }, "region"),
        (Endpoint { labels: labels(65), ..good.clone() }, "labels"),
        (Endpoint { labels: [(String::new(), String::new())].into(), ..good.clone() }, "labels"),
        (Endpoint { labels: [("k".to_owned(), "v".repeat(256))].into(), ..good.clone() }, "labels"),
    ];
    every_strategy(|kind| {
        let mut world = World::of(kind, policy(), 2);
        let place = world.pick_at("n0").index();
        for (endpoint, field) in bad.clone() {
            let error = world.balancer.join(endpoint.clone(), world.now).unwrap_err();
            assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidInput, Some(field)));
            let other = Endpoint { id: id("other"), ..endpoint };
            assert_eq!(world.balancer.join(other, world.now).unwrap_err().field(), Some(field));
            assert_eq!(world.balancer.len(), 2, "{kind:?}");
            assert_eq!(*world.balancer.endpoint(place).unwrap(), good, "{kind:?}");
        }
        world.join(Endpoint { region: "ö".repeat(64), labels: labels(64), ..endpoint("n9", 1) });
    });
}

#[test]
fn a_bad_report_is_refused_with_its_field_and_changes_nothing() {
    every_strategy(|kind| {
        let mut world = World::of(kind, policy(), 2);
        let (n0, now) = (id("n0"), world.now);
        world.balancer.set_away(&n0, true, now).unwrap();
        for bad in [f64::NAN, -0.01, 1.01, f64::INFINITY, f64::NEG_INFINITY] {
            let share = Some(bad);
            let metered = PowerState { metered: true, ..PowerState::default() };
            let base = Load { power: Some(metered), ..Load::default() };
            for (load, field) in [
                (Load { cpu: share, ..base }, "cpu"),
                (Load { memory: share, ..base }, "memory"),
                (Load { storage: share, ..base }, "storage"),
                (Load { throughput: share, ..base }, "throughput"),
            ] {
                let error = world.balancer.report(&n0, &load, now).unwrap_err();
                assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidInput, Some(field)));
            }
            let error = world.balancer.set_share(&n0, bad, now).unwrap_err();
            assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidInput, Some("share")));
        }
        assert_eq!(world.look_at("n0"), None, "{kind:?}: it is still away");
        for unknown in [
            world.balancer.report(&id("nobody"), &Load::default(), now),
            world.balancer.set_healthy(&id("nobody"), true, now),
            world.balancer.set_away(&id("nobody"), true, now),
            world.balancer.set_eligibility(&id("nobody"), Ok(()), now),
            world.balancer.drain(&id("nobody"), true, now),
            world.balancer.set_share(&id("nobody"), 0.5, now),
            world.balancer.force_breaker(&id("nobody"), Class::default(), None, now),
        ] {
            assert_eq!(unknown.unwrap_err().kind(), ErrorKind::NotFound);
        }
        assert_eq!(world.balancer.len(), 2);
    });
}

#[test]
fn a_bad_policy_is_refused_with_its_field() {
    let good = BalancerPolicy::default();
    let names = |count: usize| (0..count).map(|n| format!("k{n}")).collect::<Vec<_>>();
    let twice = || vec!["k".to_owned(), "k".to_owned()];
    let year = secs(31_536_000);
    let bad = [
        (BalancerPolicy { subset_keys: names(17), ..good.clone() }, "subset_keys"),
        (BalancerPolicy { subset_keys: twice(), ..good.clone() }, "subset_keys"),
        (BalancerPolicy { classes: names(16), ..good.clone() }, "classes"),
        (BalancerPolicy { classes: twice(), ..good.clone() }, "classes"),
        (BalancerPolicy { slow_start: year, ..good.clone() }, "slow_start"),
        (BalancerPolicy { slow_start_from: f64::NAN, ..good.clone() }, "slow_start_from"),
        (BalancerPolicy { slow_start_from: 0.0, ..good.clone() }, "slow_start_from"),
        (BalancerPolicy { panic_below: f64::NAN, ..good.clone() }, "panic_below"),
        (BalancerPolicy { panic_below: 1.1, ..good.clone() }, "panic_below"),
        (BalancerPolicy { overprovisioning: f64::NAN, ..good.clone() }, "overprovisioning"),
        (BalancerPolicy { overprovisioning: 0.9, ..good.clone() }, "overprovisioning"),
        (BalancerPolicy { latency_memory: Duration::ZERO, ..good.clone() }, "latency_memory"),
        (BalancerPolicy { failure_latency: year, ..good.clone() }, "failure_latency"),
        (BalancerPolicy { ring_points: 0, ..good.clone() }, "ring_points"),
        (BalancerPolicy { ring_points: 1_025, ..good.clone() }, "ring_points"),
        (
            BalancerPolicy {
                lowering: LoweringPolicy { unless_told: Duration::ZERO, ..Default::default() },
                ..good.clone()
            },
            "unless_told",
        ),
        (
            BalancerPolicy {
                breaker: BreakerPolicy { min_calls: 0, ..Default::default() },
                ..good.clone()
            },
            "min_calls",
        ),
    ];
    every_strategy(|kind| {
        for (policy, field) in bad.clone() {
            let error = Balancer::new(policy, kind).unwrap_err();
            assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidInput, Some(field)));
        }
        let policy = BalancerPolicy { subset_keys: names(16), classes: names(15), ..good.clone() };
        let balancer = Balancer::new(policy, kind).unwrap();
        let class = balancer.class("k14").unwrap();
        balancer.join(Endpoint::new(id("n")), Duration::ZERO).unwrap();
        let request = Request::new().within(balancer.scope(class, None, None).unwrap());
        for _ in 0..5 {
            let permit = balancer.pick(&request, Duration::ZERO, &mut Dice::seeded(1)).unwrap();
            permit.failure(FailureKind::Error, ms(1));
        }
    });
}

/// Scopes and classes go over the wire, where anything may come back.
#[test]
fn a_scope_or_class_of_somewhere_else_finds_nobody() {
    every_strategy(|kind| {
        let mut world = World::of(kind, policy(), 2);
        for json in [
            r#"{"class":255,"pool":0,"near":null}"#,
            r#"{"class":24,"pool":0,"near":0}"#,
            r#"{"class":0,"pool":4294967295,"near":null}"#,
            r#"{"class":0,"pool":60000,"near":4294967295}"#,
        ] {
            let scope: Scope = serde_json::from_str(json).unwrap();
            for affinity in [Affinity::None, Affinity::Node(id("n0")), Affinity::Key(Key(3))] {
                let request = Request::new().within(scope).holding_on(affinity);
                let found = world.try_pick(&request);
                assert_eq!(found.map(|_| ()).unwrap_err().ready, 0, "{kind:?}: {json}");
            }
        }
        let foreign: Scope = serde_json::from_str(r#"{"class":0,"pool":0,"near":9999}"#).unwrap();
        world.serve(&Request::new().within(foreign));
        let class: Class = serde_json::from_str("77").unwrap();
        let error = world.balancer.force_breaker(&id("n0"), class, Some(true), world.now);
        assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound, "{kind:?}");
    });
}

/// With the average of all nodes as its bound, no node of the busy two could take a second request,
/// and keys would go anywhere.
#[test]
fn a_busy_scope_is_bounded_by_its_own_average() {
    let mut world = World::of(StrategyKind::ConsistentHash, policy(), 1);
    for number in 0..100 {
        let mut node = endpoint(&format!("n{number}"), 100);
        if number < 4 {
            node.labels.insert("gpu".to_owned(), "yes".to_owned());
        }
        world.join(node);
    }
    let gpus = world.balancer.scope(Class::default(), None, Some(("gpu", "yes"))).unwrap();
    let (mut held, mut at_home, mut counts) = (Vec::new(), 0, BTreeMap::new());
    for number in 0..400_u64 {
        let key = Key::of(number.to_le_bytes());
        let permit = world.try_pick(&Request::new().within(gpus).keyed(key)).unwrap();
        at_home += u32::from(world.balancer.owner(key, gpus) == Some(permit.index()));
        *counts.entry(permit.index()).or_insert(0_u32) += 1;
        held.push(permit);
    }
    assert!(counts.values().all(|count| *count <= 125), "{counts:?}");
    assert!(at_home > 250, "{at_home} of 400 keys are where they belong");
}

#[test]
fn names_that_are_known_are_found_when_no_more_can_be_told_apart() {
    let world = World::of(StrategyKind::Random, policy(), 1);
    let scope = |name: &str| world.balancer.scope(Class::default(), Some(name), None);
    let known = scope("known").unwrap();
    let refused = (0..70_000).find_map(|number| scope(&format!("r{number}")).err()).unwrap();
    assert_eq!(refused.kind(), ErrorKind::Exhausted);
    assert_eq!(scope("known").unwrap(), known);
}

/// The answer is kept as long as no node changes, and no longer.
#[test]
fn who_finds_nobody_is_told_when_somebody_comes_back() {
    let mut world = World::new(StrategyKind::RoundRobin, policy());
    let overloaded = |seconds| FailureKind::Overloaded { retry_after: Some(secs(seconds)) };
    for name in ["a", "b"] {
        world.join(endpoint(name, 100));
    }
    world.pick_at("a").failure(overloaded(60), ms(0));
    world.pick_at("b").failure(overloaded(90), ms(0));
    let retry_after = |world: &mut World| world.try_pick(&Request::new()).unwrap_err().retry_after;
    assert_eq!(retry_after(&mut world), Some(secs(60)));
    world.wait(secs(20));
    assert_eq!(retry_after(&mut world), Some(secs(40)));
    world.balancer.leave(&id("a"), world.now);
    assert_eq!(retry_after(&mut world), Some(secs(70)));
    world.balancer.leave(&id("b"), world.now);
    assert_eq!(retry_after(&mut world), None);
}

/// The bound is there against overload, and a panic is when it is needed most.
#[test]
fn loads_are_bounded_in_a_panic_too() {
    let mut world = World::of(StrategyKind::ConsistentHash, policy(), 4);
    for name in ["n0", "n1", "n2"] {
        world.healthy(name, false);
    }
    let request = Request::new().keyed(Key(7));
    let mut counts = BTreeMap::new();
    let held: Vec<_> = (0..100).map(|_| world.try_pick(&request).unwrap()).collect();
    held.iter().for_each(|permit| *counts.entry(permit.index()).or_insert(0) += 1);
    assert!(counts.values().all(|count| *count <= 32), "{counts:?}");
}

/// When others' requests leave nobody room, a key does not go home regardless.
#[test]
fn beside_another_scopes_traffic_no_node_is_overrun() {
    let mut world = World::of(StrategyKind::ConsistentHash, policy(), 0);
    for number in 0..40 {
        let mut node = endpoint(&format!("n{number}"), 100);
        node.labels.insert("gpu".to_owned(), "yes".to_owned());
        world.join(node);
    }
    let general = (0..400_u64).map(|key| Request::new().keyed(Key::of(key.to_le_bytes())));
    let mut held: Vec<_> = general.map(|request| world.try_pick(&request).unwrap()).collect();
    let gpus = world.balancer.scope(Class::default(), None, Some(("gpu", "yes"))).unwrap();
    let request = Request::new().within(gpus).keyed(Key(7));
    held.extend((0..200).map(|_| world.try_pick(&request).unwrap()));
    let mut counts = BTreeMap::new();
    held.iter().for_each(|permit| *counts.entry(permit.index()).or_insert(0) += 1);
    assert!(counts.values().all(|count| *count <= 25), "{counts:?}");
}

#[test]
fn a_scope_that_no_balancer_made_finds_nobody() {
    let mut world = World::of(StrategyKind::Random, policy(), 3);
    let scope: Scope = serde_json::from_str(r#"{"class":200,"pool":0,"near":null}"#).unwrap();
    let request = Request::new().within(scope);
    assert!(world.try_pick(&request).is_err());
    let (picked, why) = world.balancer.pick_explained(&request, world.now, &mut Dice::seeded(1));
    assert!(picked.is_err() && why.filtered.is_empty());
    let class: Class = serde_json::from_str("200").unwrap();
    let refused = world.balancer.scope(class, None, None).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
}

/// Phones sleep: the one that is awake cannot serve its whole region.
#[test]
fn a_region_whose_nodes_are_away_gives_its_requests_to_others() {
    let mut world = World::of(StrategyKind::Random, policy(), 0);
    for number in 0..20 {
        let region = if number < 10 { "here" } else { "there" }.to_owned();
        world.join(Endpoint { region, ..endpoint(&format!("n{number}"), 100) });
    }
    for number in 0..9 {
        world.balancer.set_away(&id(&format!("n{number}")), true, world.now).unwrap();
    }
    let here = world.balancer.scope(Class::default(), Some("here"), None).unwrap();
    let request = Request::new().within(here);
    let at_home = (0..2_000).filter(|_| world.serve(&request) == "n9").count();
    assert!((200..700).contains(&at_home), "{at_home} of 2000");
}

#[test]
fn a_session_that_cannot_be_kept_leaves_the_key_its_own_place() {
    let mut world = World::of(StrategyKind::ConsistentHash, policy(), 20);
    for number in 0..50_u64 {
        let (session, key) = (Key::of(number.to_le_bytes()), Key(number));
        let all = Scope::default();
        let place = |world: &World, key| world.balancer.owner(key, all).unwrap();
        let held = world.balancer.endpoint(place(&world, session)).unwrap().id.clone();
        if place(&world, session) == place(&world, key) {
            continue;
        }
        let except = vec![held];
        let request = Request { except, ..Request::new().keyed(key) };
        let permit = world.try_pick(&request.holding_on(Affinity::Key(session))).unwrap();
        assert_eq!(permit.index(), place(&world, key));
    }
}

#[test]
fn who_is_tried_out_by_as_many_as_may_is_named() {
    let mut world = World::of(StrategyKind::Random, policy(), 1);
    for _ in 0..5 {
        world.pick().failure(FailureKind::Error, ms(1));
    }
    world.wait(secs(100));
    let _trying: Vec<_> = (0..3).map(|_| world.pick()).collect();
    let (picked, why) =
        world.balancer.pick_explained(&Request::new(), world.now, &mut Dice::seeded(1));
    assert!(picked.is_err());
    let reasons: Vec<_> = why.filtered.iter().map(|filtered| filtered.hindrance).collect();
    assert_eq!(reasons, [Hindrance::BreakerTrying]);
}
