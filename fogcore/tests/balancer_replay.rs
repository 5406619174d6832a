//! A pick can be explained and made again: over random histories, a balancer that was restored from
//! a snapshot picks whom the other one picks, and says why in words that make sense.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail")]

#[path = "common/balancing.rs"]
mod balancing;

use std::time::Duration;

use balancing::*;
use fogcore::balancer::{
    Affinity, Balancer, BalancerPolicy, Class, Dice, Endpoint, Explanation, Key, Load, Request,
    RequestKind, Snapshot, StrategyKind,
};
use fogcore::failover::{Absence, BreakerPolicy, FailureKind, OutlierPolicy};
use fogcore::registry::{Celsius, Ineligible, Percent, PowerState};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

const NODES: usize = 7;
const REGIONS: [&str; 3] = ["", "near", "far"];

#[derive(Clone, Debug)]
enum Act {
    Join {
        node: usize,
        weight: u16,
        most: Option<u32>,
        region: usize,
        gpu: bool,
    },
    Leave(usize),
    Tell(usize, Told),
    Pick(Wish),
    /// The same node many times, whoever it is, so that it runs full.
    PickOften(Wish, usize),
    End(Index, Outcome),
    /// All that is in flight at a node.
    EndAll(usize, Outcome),
    Wait(u64),
    Maintain,
}

#[derive(Clone, Copy, Debug)]
enum Told {
    Healthy(bool),
    Late(bool),
    Drained(bool),
    Eligible(bool),
    Away(bool),
    Share(f64),
    Breaker(u8, Option<bool>),
    Load(u32, f64),
    Power(f64),
}

#[derive(Clone, Copy, Debug)]
enum Outcome {
    Success(u64),
    Error,
    Busy(u64),
    Absent,
    Rejected,
    Dropped,
}

/// A request, before its names are looked up.
#[derive(Clone, Debug)]
struct Wish {
    kind: RequestKind,
    class: bool,
    near: Option<usize>,
    gpu: Option<bool>,
    key: Option<u64>,
    affinity: Hold,
    except: Vec<usize>,
}

#[derive(Clone, Copy, Debug)]
enum Hold {
    Nothing,
    Node(usize),
    Key(u64),
}

fn wish() -> impl Strategy<Value = Wish> {
    use RequestKind::{Download, General, Search, Upload};
    let affinity = prop_oneof![
        6 => Just(Hold::Nothing),
        1 => (0..NODES).prop_map(Hold::Node),
        1 => (0_u64..20).prop_map(Hold::Key),
    ];
    let wish = (
        select(vec![General, Upload, Download, Search]),
        prop::bool::weighted(0.2),
        proptest::option::weighted(0.3, 0_usize..3),
        proptest::option::weighted(0.2, any::<bool>()),
        proptest::option::weighted(0.6, 0_u64..50),
        affinity,
        prop_oneof![3 => Just(Vec::new()), 1 => vec(0..NODES, 1..4)],
    );
    wish.prop_map(|(kind, class, near, gpu, key, affinity, except)| Wish {
        kind,
        class,
        near,
        gpu,
        key,
        affinity,
        except,
    })
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        4 => (0_u64..3_000_000).prop_map(Outcome::Success),
        4 => Just(Outcome::Error),
        1 => (1_u64..20).prop_map(Outcome::Busy),
        1 => Just(Outcome::Absent),
        1 => Just(Outcome::Rejected),
        2 => Just(Outcome::Dropped),
    ]
}

fn told() -> impl Strategy<Value = Told> {
    let on = any::<bool>;
    prop_oneof![
        on().prop_map(Told::Healthy),
        on().prop_map(Told::Late),
        prop::bool::weighted(0.3).prop_map(Told::Drained),
        prop::bool::weighted(0.7).prop_map(Told::Eligible),
        prop::bool::weighted(0.3).prop_map(Told::Away),
        select(vec![0.0, 0.01, 0.3, 1.0]).prop_map(Told::Share),
        (0_u8..2, select(vec![None, Some(true), Some(false)]))
            .prop_map(|(class, open)| Told::Breaker(class, open)),
        (0_u32..300, 0.0..=1.0).prop_map(|(requests, cpu)| Told::Load(requests, cpu)),
        (0.0..=100.0).prop_map(Told::Power),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let weight = select(vec![1_u16, 2, 100, 100, 100, 300, 65_535]);
    let most = proptest::option::weighted(0.6, 1_u32..4);
    prop_oneof![
        5 => (0..NODES, weight, most, 0_usize..3, any::<bool>()).prop_map(
            |(node, weight, most, region, gpu)| Act::Join { node, weight, most, region, gpu }
        ),
        1 => (0..NODES).prop_map(Act::Leave),
        5 => (0..NODES, told()).prop_map(|(node, told)| Act::Tell(node, told)),
        10 => wish().prop_map(Act::Pick),
        3 => (wish(), 2_usize..12).prop_map(|(wish, times)| Act::PickOften(wish, times)),
        4 => (any::<Index>(), outcome()).prop_map(|(which, outcome)| Act::End(which, outcome)),
        4 => (0..NODES, outcome()).prop_map(|(node, outcome)| Act::EndAll(node, outcome)),
        4 => (0_u64..25_000).prop_map(Act::Wait),
        1 => Just(Act::Maintain),
    ]
}

/// Breakers that open, hang, ramp and come back within a history, and nodes that are left out.
fn lively(slow_start: bool) -> BalancerPolicy {
    BalancerPolicy {
        classes: vec!["gpu".to_owned()],
        slow_start: if slow_start { secs(10) } else { Duration::ZERO },
        breaker: BreakerPolicy {
            consecutive_failures: Some(2),
            min_calls: 4,
            open_for: secs(5),
            half_open_permits: 2,
            successes_to_close: 2,
            ..BreakerPolicy::default()
        },
        outliers: Some(OutlierPolicy {
            consecutive_failures: Some(4),
            min_calls: 2,
            min_nodes: 2,
            most_out: 0.5,
            ..OutlierPolicy::default()
        }),
        ..policy()
    }
}

fn name(node: usize) -> String {
    format!("n{node}")
}

fn request(balancer: &Balancer, wish: &Wish) -> Request {
    let class = if wish.class { balancer.class("gpu").unwrap() } else { Class::default() };
    let label = wish.gpu.map(|yes| ("gpu", if yes { "yes" } else { "no" }));
    let scope = balancer.scope(class, wish.near.map(|region| REGIONS[region]), label).unwrap();
    Request {
        kind: wish.kind,
        scope,
        key: wish.key.map(|key| Key::of(key.to_le_bytes())),
        affinity: match wish.affinity {
            Hold::Nothing => Affinity::None,
            Hold::Node(node) => Affinity::Node(id(&name(node))),
            Hold::Key(key) => Affinity::Key(Key::of(key.to_le_bytes())),
        },
        except: wish.except.iter().map(|node| id(&name(*node))).collect(),
    }
}

fn tell(world: &World, node: usize, told: Told) {
    let (balancer, node, now) = (&world.balancer, id(&name(node)), world.now);
    // Some are not there just now, which is told, and no harm.
    let _ = match told {
        Told::Healthy(on) => balancer.set_healthy(&node, on, now),
        Told::Late(on) => balancer.set_late(&node, on, now),
        Told::Drained(on) => balancer.drain(&node, on, now),
        Told::Eligible(on) => {
            let eligibility = if on { Ok(()) } else { Err(Ineligible::UserActive) };
            balancer.set_eligibility(&node, eligibility, now)
        }
        Told::Away(on) => balancer.set_away(&node, on, now),
        Told::Share(share) => balancer.set_share(&node, share, now),
        Told::Breaker(class, open) => {
            let class = if class == 0 { Class::default() } else { balancer.class("gpu").unwrap() };
            balancer.force_breaker(&node, class, open, now)
        }
        Told::Load(in_flight, cpu) => {
            let load = Load { in_flight: Some(in_flight), cpu: Some(cpu), ..Load::default() };
            balancer.report(&node, &load, now)
        }
        Told::Power(percent) => {
            let power = PowerState {
                battery: Some(Percent::new(percent).unwrap()),
                temperature: Some(Celsius::new(percent / 1.5).unwrap()),
                ..PowerState::default()
            };
            balancer.report(&node, &Load { power: Some(power), ..Load::default() }, now)
        }
    };
}

fn end(permit: Owned, outcome: Outcome, now: Duration) {
    let latency = now.saturating_sub(permit.picked_at());
    match outcome {
        Outcome::Success(micros) => permit.success(Duration::from_micros(micros)),
        Outcome::Error => permit.failure(FailureKind::Error, latency),
        Outcome::Rejected => permit.failure(FailureKind::Rejected, latency),
        Outcome::Dropped => drop(permit),
        Outcome::Absent => permit.failure(FailureKind::Absent(Absence::Asleep), latency),
        Outcome::Busy(seconds) => {
            let retry_after = Some(secs(seconds));
            permit.failure(FailureKind::Overloaded { retry_after }, latency);
        }
    }
}

/// Picks, and makes the same pick again from a snapshot in JSON.
fn pick(world: &mut World, wish: &Wish) -> Result<Option<Owned>, TestCaseError> {
    let request = request(&world.balancer, wish);
    let snapshot = world.balancer.snapshot(world.now);
    let json = serde_json::to_string(&snapshot).unwrap();
    let read: Snapshot = serde_json::from_str(&json).unwrap();
    prop_assert_eq!(&read, &snapshot, "what was written comes back");
    let restored = read.restore(world.kind.strategy()).unwrap();
    let mut dice = world.dice.clone();
    let (again, why) = restored.pick_explained(&request, world.now, &mut dice);
    let permit = world.try_pick(&request);
    prop_assert_eq!(
        permit.as_ref().ok().and_then(|permit| permit.node()),
        again.as_ref().ok().and_then(|permit| permit.node()),
        "{:?}",
        why
    );
    if let (Err(none), Err(none_again)) = (&permit, &again) {
        prop_assert_eq!((none.ready, none.unwell), (none_again.ready, none_again.unwell));
    }
    prop_assert_eq!(&dice, &world.dice, "the dice went the same way");
    check(&why, &request, world.kind)?;
    // It can be asked for again by what the explanation holds alone.
    let third = read.restore(world.kind.strategy()).unwrap();
    let replayed = third.pick(&request, read.now(), &mut why.dice.clone());
    prop_assert_eq!(replayed.ok().and_then(|permit| permit.node()), why.selected_node);
    Ok(permit.ok())
}

/// What must hold of every explanation.
fn check(why: &Explanation, request: &Request, kind: StrategyKind) -> Result<(), TestCaseError> {
    let json = serde_json::to_string(why).unwrap();
    let read: Explanation = serde_json::from_str(&json).unwrap();
    prop_assert_eq!(&read, why, "{}", json);
    for weighed in &why.considered {
        prop_assert!(weighed.cost.is_finite(), "{:?}", weighed);
        prop_assert!(weighed.terms.iter().all(|term| term.value.is_finite()), "{:?}", weighed);
        prop_assert!((0.0..=1.0).contains(&weighed.share), "{:?}", weighed);
        prop_assert!((0.0..=1.0).contains(&weighed.success), "{:?}", weighed);
        prop_assert!(weighed.latency_seconds.is_none_or(|latency| latency >= 0.0));
    }
    let Some(node) = &why.selected_node else {
        prop_assert_eq!(&why.selection_reason, "no_node");
        return Ok(());
    };
    prop_assert!(!request.except.contains(node), "{:?}", why);
    // There are fewer nodes than an explanation names.
    let is_out = why.filtered.iter().any(|filtered| filtered.examples.contains(node));
    prop_assert!(!is_out, "{:?}", why);
    match why.selection_reason.as_str() {
        "last_resort" => {}
        "session_affinity" => prop_assert!(request.affinity != Affinity::None),
        reason => {
            let strategy = kind.strategy();
            prop_assert_eq!(reason, strategy.reason());
            let weighed = why.considered.iter().any(|weighed| weighed.node == *node);
            prop_assert!(weighed, "{:?}", why);
        }
    }
    Ok(())
}

fn run(
    kind: StrategyKind,
    slow_start: bool,
    seed: u64,
    acts: Vec<Act>,
) -> Result<(), TestCaseError> {
    let mut world = World::new(kind, lively(slow_start));
    world.dice = Dice::seeded(seed);
    let mut held: Vec<Owned> = Vec::new();
    for act in acts {
        match act {
            Act::Join { node, weight, most, region, gpu } => {
                let name = name(node);
                let region = REGIONS[region].to_owned();
                let mut endpoint =
                    Endpoint { max_in_flight: most, region, ..endpoint(&name, weight) };
                let gpu = if gpu { "yes" } else { "no" };
                endpoint.labels.insert("gpu".to_owned(), gpu.to_owned());
                world.join(endpoint);
            }
            Act::Leave(node) => {
                world.balancer.leave(&id(&name(node)), world.now);
            }
            Act::Tell(node, told) => tell(&world, node, told),
            Act::Pick(wish) => held.extend(pick(&mut world, &wish)?),
            Act::PickOften(wish, times) => {
                for _ in 0..times {
                    held.extend(pick(&mut world, &wish)?);
                }
            }
            Act::End(which, outcome) if !held.is_empty() => {
                let permit = held.swap_remove(which.index(held.len()));
                end(permit, outcome, world.now);
            }
            Act::End(..) => {}
            Act::EndAll(node, outcome) => {
                let node = Some(id(&name(node)));
                let (ended, left) =
                    held.into_iter().partition::<Vec<_>, _>(|permit| permit.node() == node);
                held = left;
                ended.into_iter().for_each(|permit| end(permit, outcome, world.now));
            }
            Act::Wait(millis) => world.wait(ms(millis)),
            Act::Maintain => world.balancer.maintain(world.now),
        }
    }
    Ok(())
}

/// So many cases, of which the failing ones are not written beside the sources, nor made as small
/// as can be whatever that takes.
fn cases() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        max_shrink_time: 20_000,
        ..ProptestConfig::with_cases(32)
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_pick_is_made_again_and_explained_over_any_history(
        kind in select(StrategyKind::ALL.to_vec()), slow_start in any::<bool>(), seed: u64,
        acts in vec(act(), 1..120),
    ) {
        run(kind, slow_start, seed, acts)?;
    }
}
