//! The state machine beside a model that keeps all that ever happened.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn check(policy: HealthPolicy, seed: u64) -> HealthCheck {
    HealthCheck::new(policy, seed, Duration::ZERO).unwrap()
}

fn passed() -> ProbeOutcome {
    ProbeOutcome::Passed { took: SECOND }
}

fn failed() -> ProbeOutcome {
    ProbeOutcome::Failed { reason: ProbeError::Refused }
}

fn asleep() -> ProbeOutcome {
    ProbeOutcome::Absent(AbsenceReason::Asleep)
}

/// Probes once, and tells the health that follows.
fn probe(check: &mut HealthCheck, outcome: ProbeOutcome) -> Health {
    check.begin(SECOND);
    check.observe(outcome, SECOND);
    check.health()
}

#[test]
fn a_policy_that_makes_no_sense_is_refused_with_its_field() {
    let policy = HealthPolicy::default();
    let (zero, day) = (Duration::ZERO, Duration::from_secs(86_400));
    let cases = [
        ("every", HealthPolicy { every: zero, ..policy }),
        ("every", HealthPolicy { every: day + SECOND, ..policy }),
        ("timeout", HealthPolicy { timeout: zero, ..policy }),
        ("timeout", HealthPolicy { timeout: policy.every + SECOND, ..policy }),
        ("jitter", HealthPolicy { jitter: f64::NAN, ..policy }),
        ("jitter", HealthPolicy { jitter: 0.6, ..policy }),
        ("unhealthy_after", HealthPolicy { unhealthy_after: 0, ..policy }),
        ("healthy_after", HealthPolicy { healthy_after: 0, ..policy }),
    ];
    for (field, policy) in cases {
        let error = HealthCheck::new(policy, 0, zero).unwrap_err();
        assert_eq!(error.field(), Some(field));
    }
    policy.check().unwrap();
}

#[test]
fn a_policy_is_read_from_what_differs() {
    let read: HealthPolicy = serde_json::from_str(r#"{"unhealthy_after":1}"#).unwrap();
    assert_eq!(read, HealthPolicy { unhealthy_after: 1, ..HealthPolicy::default() });
}

#[test]
fn one_success_is_enough_for_a_new_node_and_three_failures_take_it_away() {
    let mut node = check(HealthPolicy::default(), 1);
    assert_eq!(probe(&mut node, failed()), Health::Unknown);
    assert_eq!(probe(&mut node, passed()), Health::Healthy);
    assert_eq!(probe(&mut node, failed()), Health::Healthy);
    assert_eq!(probe(&mut node, failed()), Health::Healthy);
    node.begin(SECOND);
    let change = node.observe(failed(), 2 * SECOND).unwrap();
    let (from, to) = (Health::Healthy, Health::Unhealthy);
    assert_eq!(change, HealthChange { from, to, because: Some(failed()), at: 2 * SECOND });
    assert_eq!(probe(&mut node, passed()), Health::Unhealthy);
    assert_eq!(probe(&mut node, passed()), Health::Healthy);
}

#[test]
fn a_row_that_is_broken_begins_anew() {
    let mut node = check(HealthPolicy::default(), 1);
    for _ in 0..10 {
        assert_eq!(probe(&mut node, passed()), Health::Healthy);
        assert_eq!(probe(&mut node, failed()), Health::Healthy);
        assert_eq!(probe(&mut node, failed()), Health::Healthy);
    }
    assert_eq!(probe(&mut node, failed()), Health::Unhealthy);
    for _ in 0..10 {
        assert_eq!(probe(&mut node, passed()), Health::Unhealthy);
        assert_eq!(probe(&mut node, failed()), Health::Unhealthy);
    }
}

#[test]
fn absence_heals_nobody_and_harms_nobody() {
    let mut node = check(HealthPolicy::default(), 1);
    probe(&mut node, passed());
    probe(&mut node, failed());
    probe(&mut node, failed());
    assert_eq!(node.observe(asleep(), SECOND).unwrap().to, Health::Absent);
    assert_eq!(node.absence(), Some(AbsenceReason::Asleep));
    assert_eq!(node.observe(asleep(), SECOND), None, "told once");
    let back = node.back(2 * SECOND).unwrap();
    assert_eq!((back.from, back.to), (Health::Absent, Health::Unknown));
    assert_eq!(node.back(2 * SECOND), None, "told once");
    assert_eq!(probe(&mut node, failed()), Health::Unhealthy, "the third in a row");
    probe(&mut node, passed());
    node.observe(asleep(), SECOND);
    assert_eq!(node.back(2 * SECOND).unwrap().to, Health::Unhealthy);
    assert_eq!(probe(&mut node, passed()), Health::Healthy, "the second in a row");
}

#[test]
fn an_absent_node_is_not_probed_until_it_is_back() {
    let mut node = check(HealthPolicy::default(), 1);
    assert!(node.due(Duration::MAX));
    node.observe(asleep(), SECOND);
    node.begin(SECOND);
    assert!(!node.due(Duration::MAX));
    assert_eq!(node.observe(failed(), SECOND), None, "nothing was begun");
    node.back(100 * SECOND);
    assert!(!node.due(99 * SECOND));
    assert!(node.due(103 * SECOND));
}

#[test]
fn what_was_asked_before_it_slept_does_not_count() {
    let policy = HealthPolicy { unhealthy_after: 1, ..HealthPolicy::default() };
    let mut node = check(policy, 1);
    node.begin(SECOND);
    node.observe(asleep(), SECOND);
    assert_eq!(node.observe(failed(), SECOND), None);
    node.back(SECOND);
    assert_eq!(node.observe(failed(), SECOND), None);
    assert_eq!(probe(&mut node, failed()), Health::Unhealthy);
}

#[test]
fn a_node_has_one_probe_at_a_time_and_slow_ones_do_not_make_them_rarer() {
    let policy = HealthPolicy { jitter: 0.0, ..HealthPolicy::default() };
    let mut node = check(policy, 1);
    assert_eq!(node.next_probe_at(), Some(Duration::ZERO));
    node.begin(SECOND);
    assert!(!node.due(Duration::MAX));
    node.observe(failed(), 11 * SECOND);
    assert_eq!(node.next_probe_at(), Some(31 * SECOND));
}

#[test]
fn many_nodes_are_spread_evenly_over_the_jitter() {
    let policy = HealthPolicy::default();
    let spread = policy.every.mul_f64(policy.jitter);
    let mut tenths = [0; 10];
    for seed in 0..1_000 {
        let at = check(policy, seed).next_probe_at().unwrap();
        let tenth = (0..9).find(|tenth| at < spread * (tenth + 1) / 10).unwrap_or(9);
        tenths[tenth as usize] += 1;
    }
    assert!(tenths.iter().all(|nodes| (60..140).contains(nodes)), "{tenths:?}");
}

/// Keeps all results that count, and derives the rows anew each time.
#[derive(Default)]
struct Model {
    results: Vec<bool>,
    was: Option<bool>,
    absent: bool,
}

impl Model {
    fn end_with(&self, count: u32, good: bool) -> bool {
        let row = self.results.iter().rev().take_while(|result| **result == good).count();
        row >= count as usize
    }

    fn take(&mut self, good: bool, policy: &HealthPolicy) {
        self.results.push(good);
        match self.was {
            None if good => self.was = Some(true),
            Some(false) if self.end_with(policy.healthy_after, true) => self.was = Some(true),
            Some(true) | None if self.end_with(policy.unhealthy_after, false) => {
                self.was = Some(false);
            }
            _ => {}
        }
    }

    fn health(&self) -> Health {
        match self.was {
            _ if self.absent => Health::Absent,
            None => Health::Unknown,
            Some(true) => Health::Healthy,
            Some(false) => Health::Unhealthy,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Begin,
    Pass,
    Fail,
    Absent,
    Back,
}

proptest! {
    #[test]
    fn it_is_what_the_list_of_all_results_says(
        steps in proptest::collection::vec(
            prop_oneof![
                8 => Just(Step::Begin),
                4 => Just(Step::Pass),
                6 => Just(Step::Fail),
                1 => Just(Step::Absent),
                1 => Just(Step::Back),
            ],
            0..400,
        ),
        unhealthy_after in 1..5_u32,
        healthy_after in 1..5_u32,
    ) {
        let policy = HealthPolicy { unhealthy_after, healthy_after, ..HealthPolicy::default() };
        let (mut check, mut model) = (check(policy, 7), Model::default());
        let mut in_flight = false;
        for step in steps {
            let before = check.health();
            let change = match step {
                Step::Begin => {
                    check.begin(SECOND);
                    in_flight = !model.absent;
                    None
                }
                Step::Pass | Step::Fail => {
                    let good = matches!(step, Step::Pass);
                    if std::mem::take(&mut in_flight) {
                        model.take(good, &policy);
                    }
                    check.observe(if good { passed() } else { failed() }, SECOND)
                }
                Step::Absent => {
                    (model.absent, in_flight) = (true, false);
                    check.observe(asleep(), SECOND)
                }
                Step::Back => {
                    if std::mem::take(&mut model.absent) && model.was == Some(true) {
                        model.was = None;
                    }
                    check.back(SECOND)
                }
            };
            prop_assert_eq!(check.health(), model.health());
            let told = change.map(|change| (change.from, change.to));
            let seen = (before != check.health()).then_some((before, check.health()));
            prop_assert_eq!(told, seen);
            let waits = model.absent || in_flight;
            prop_assert_eq!(check.next_probe_at().is_none(), waits);
        }
    }

    #[test]
    fn the_time_to_the_next_probe_stays_within_the_jitter(
        seed in any::<u64>(),
        jitter in 0.0..=0.5_f64,
        every in 1..86_400_000_u64,
        start in 0..1_000_000_u64,
    ) {
        let every = Duration::from_millis(every);
        let policy = HealthPolicy { every, timeout: every, jitter, ..HealthPolicy::default() };
        let start = Duration::from_secs(start);
        let (nano, spread) = (Duration::from_nanos(1), every.mul_f64(jitter));
        let mut check = HealthCheck::new(policy, seed, start).unwrap();
        let mut now = check.next_probe_at().unwrap();
        prop_assert!(start <= now && now <= start + spread + nano);
        for _ in 0..20 {
            prop_assert!(check.due(now) && !check.due(now.saturating_sub(nano)));
            check.begin(now);
            check.observe(passed(), now);
            let next = check.next_probe_at().unwrap();
            let wait = next - now;
            prop_assert!(wait + nano >= every - spread && wait <= every + spread + nano);
            now = next;
        }
    }
}
