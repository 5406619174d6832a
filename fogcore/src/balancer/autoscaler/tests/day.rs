//! A fog that really gets the nodes which are asked for: over hours that flap, and over a day.

use std::f64::consts::TAU;

use super::*;

/// A fog with something to do, in nodes' worth of work, which its ready nodes share.
struct World {
    scaler: Autoscaler,
    now: u64,
    /// Each with the time from which it is ready.
    nodes: Vec<(NodeId, u64)>,
    born: usize,
    /// What takes a node from being asked for to being ready; for half of it nobody sees it.
    boot: u64,
    /// When the number of nodes was changed, from and to.
    changes: Vec<(u64, u32, u32)>,
}

impl World {
    fn new(policy: ScalePolicy, count: usize) -> Self {
        let nodes = (0..count).map(|number| (name(number), 0)).collect();
        Self { scaler: scaler(policy), now: 0, nodes, born: count, boot: 120, changes: vec![] }
    }

    fn ready(&self) -> usize {
        self.nodes.iter().filter(|(_, from)| *from <= self.now).count()
    }

    /// One check, 30 s after the one before.
    fn check(&mut self, demand: f64) -> ScaleDecision {
        self.now += 30;
        let load = (demand / self.ready() as f64).min(1.0);
        let seen = self.nodes.iter().filter(|(_, from)| *from <= self.now + self.boot / 2);
        let loads: Vec<_> = seen
            .map(|(node, from)| {
                let ready = *from <= self.now;
                let cpu = ready.then_some(load);
                NodeLoad { cpu, ready, ..NodeLoad::new(node.clone()) }
            })
            .collect();
        let decision = self.scaler.decide(&loads, at(self.now)).unwrap();
        if let Some(request) = self.scaler.ask() {
            self.changes.push((self.now, request.from, request.to));
            for _ in request.from..request.to {
                self.nodes.push((name(self.born), self.now + self.boot));
                self.born += 1;
            }
            self.nodes.retain(|(node, _)| !request.remove.contains(node));
            let on_its_way = request.from.abs_diff(request.to);
            self.scaler.answered(Ok(ScaleAnswer::Accepted { on_its_way })).unwrap();
        }
        decision
    }
}

/// Slow waves with a peak in the afternoon, from two to eight nodes' worth of work.
fn daily(second: u64) -> f64 {
    5.0 - 3.0 * (TAU * second as f64 / 86_400.0).cos()
}

/// The same over three hours: as steep as a start of the working day.
fn steep(second: u64) -> f64 {
    5.0 - 3.0 * (TAU * second as f64 / 10_800.0).cos()
}

/// What a day of waves and two spikes was like.
#[derive(Debug)]
struct Day {
    /// The share of checks at which no node had too much to do, and not all too little.
    within: f64,
    /// The mean load over the day.
    mean: f64,
    fewest: usize,
    most: usize,
    changes: usize,
}

fn a_day(policy: ScalePolicy, band: std::ops::RangeInclusive<f64>) -> Day {
    let mut world = World::new(policy, 4);
    let spikes = [30_000_u64..30_600, 60_000..60_300];
    let (mut checks, mut within, mut sum) = (0.0, 0.0, 0.0);
    let (mut fewest, mut most) = (usize::MAX, 0);
    while world.now < 86_400 {
        let spike = spikes.iter().any(|spike| spike.contains(&world.now));
        let demand = daily(world.now) + if spike { 4.0 } else { 0.0 };
        world.check(demand);
        let load = demand / world.ready() as f64;
        checks += 1.0;
        sum += load;
        within += f64::from(band.contains(&load));
        (fewest, most) = (fewest.min(world.ready()), most.max(world.ready()));
        assert!((3..=20).contains(&world.nodes.len()));
        // A spike comes without a warning, and nodes take two minutes to start.
        let surprised =
            |spike: &std::ops::Range<u64>| (0..240).contains(&world.now.wrapping_sub(spike.start));
        assert!(load <= 0.85 || spikes.iter().any(surprised), "{load} at {}", world.now);
    }
    let changes = world.changes.len();
    Day { within: within / checks, mean: sum / checks, fewest, most, changes }
}

#[test]
fn over_a_day_the_number_of_nodes_follows_what_is_to_do() {
    // From two to eight nodes' worth of work, and over ten in a spike.
    let day = a_day(ScalePolicy::default(), 0.28..=0.8);
    assert!(day.within > 0.98, "{day:?}");
    assert!(day.fewest <= 5 && day.most >= 17, "{day:?}");
    // A narrower band follows more closely, at the price of more changes.
    let policy = ScalePolicy { down_below: 0.5, up_above: 0.7, ..ScalePolicy::default() };
    let close = a_day(policy, 0.45..=0.7);
    assert!(close.within > 0.95 && close.mean > day.mean, "{close:?}");
    assert!(close.fewest <= 4 && close.most >= 17, "{close:?}");
    assert!(day.changes < close.changes && close.changes < 60, "{day:?} {close:?}");
}

#[test]
fn with_a_forecast_nodes_come_before_the_threshold_is_passed() {
    let run = |predict| {
        let mut world = World::new(ScalePolicy { predict, ..ScalePolicy::default() }, 4);
        let (mut over, mut first) = (0, None);
        while world.now < 86_400 {
            let demand = steep(world.now);
            let decision = world.check(demand);
            over += i32::from(decision.load.unwrap() > 0.8);
            if decision.desired > decision.current {
                first.get_or_insert(decision);
            }
        }
        (over, first.unwrap())
    };
    let (without, first) = run(None);
    assert!(first.load.unwrap() > 0.8, "{first:?}");
    let (with, first) = run(Some(at(300)));
    assert!(matches!(first.reason, ScaleReason::PredictedHigh { .. }), "{first:?}");
    assert!(first.load.unwrap() < 0.8, "{first:?}");
    assert!(without >= 40, "the test asks for nothing: {without}");
    assert_eq!(with, 0, "checks above the threshold, and {without} without a forecast");
}

/// Up after down, or down after up.
fn turns(changes: &[(u64, u32, u32)]) -> usize {
    let ups: Vec<bool> = changes.iter().map(|(_, from, to)| to > from).collect();
    ups.windows(2).filter(|pair| pair[0] != pair[1]).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the swing does, one correction ends it, and nothing is taken back.
    #[test]
    fn a_load_that_swings_around_a_threshold_does_not_flap(
        threshold in prop_oneof![Just(0.8), Just(0.3)],
        swings in proptest::collection::vec(-0.08..0.08_f64, 960),
        slow in 1_usize..20,
        predict in proptest::option::of(Just(at(300))),
    ) {
        let mut world = World::new(ScalePolicy { predict, ..ScalePolicy::default() }, 10);
        for check in 0..swings.len() {
            let demand = threshold * 10.0 * (1.0 + swings[check / slow * slow]);
            world.check(demand);
        }
        let changes = &world.changes;
        prop_assert!(turns(changes) == 0, "it turned around: {changes:?}");
        prop_assert!(changes.len() <= 5, "in eight hours: {changes:?}");
        for pair in changes.windows(2) {
            let down = pair[1].2 < pair[1].1;
            prop_assert!(!down || pair[1].0 - pair[0].0 >= 300, "{changes:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// The same swing around a band so narrow that only the window and the cool-down calm it.
    #[test]
    fn the_window_and_the_cool_down_calm_what_the_band_lets_through(
        swings in proptest::collection::vec(-0.2..0.2_f64, 960),
    ) {
        let narrow = ScalePolicy { down_below: 0.5, target: 0.55, up_above: 0.6, ..prompt() };
        let changes = |policy| {
            let mut world = World::new(policy, 10);
            swings.iter().for_each(|swing| drop(world.check(5.5 * (1.0 + swing))));
            world.changes.len()
        };
        let calm = ScalePolicy { stabilise_for: at(300), cool_down_down: at(300), ..narrow.clone() };
        let (calm, restless) = (changes(calm), changes(narrow));
        prop_assert!(restless >= 50, "the test asks for nothing: {restless}");
        prop_assert!(calm <= 10, "in eight hours: {calm}, and {restless} without them");
    }
}

#[test]
fn a_swing_from_end_to_end_costs_at_most_a_change_per_cool_down() {
    // Ten minutes idle, ten minutes full: the worst that a window of five minutes can be given.
    let mut world = World::new(ScalePolicy { predict: None, ..ScalePolicy::default() }, 10);
    for check in 0..960 {
        let busy = check / 20 % 2 == 1;
        world.check(if busy { 9.0 } else { 1.0 });
    }
    let downs = world.changes.iter().filter(|(_, from, to)| to < from).count();
    assert!(downs <= 2 * 48, "two for each of the calm ten minutes: {downs}");
    assert!(world.ready() >= 10, "they are not lost to the idle half: {}", world.ready());
}
