//! What is decided and asked, case by case and over long random histories.

mod day;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, atomic::AtomicU64, atomic::Ordering};

use async_trait::async_trait;
use futures::FutureExt as _;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use proptest::prelude::*;

use super::*;
use crate::error::{Error, ErrorKind};

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn name(number: usize) -> NodeId {
    format!("n{number:03}").parse().unwrap()
}

/// As busy as the list says; none is a node that says nothing.
fn nodes(loads: &[Option<f64>]) -> Vec<NodeLoad> {
    let node = |(number, cpu): (usize, &Option<f64>)| NodeLoad {
        cpu: *cpu,
        ..NodeLoad::new(name(number))
    };
    loads.iter().enumerate().map(node).collect()
}

fn equal(count: usize, load: f64) -> Vec<NodeLoad> {
    nodes(&vec![Some(load); count])
}

/// No prediction, and nothing that waits.
fn prompt() -> ScalePolicy {
    ScalePolicy {
        predict: None,
        cool_down_down: Duration::ZERO,
        stabilise_for: Duration::ZERO,
        ..ScalePolicy::default()
    }
}

fn scaler(policy: ScalePolicy) -> Autoscaler {
    Autoscaler::new(policy).unwrap()
}

fn accept(scaler: &mut Autoscaler, nodes: u32) -> ScaleRequest {
    let request = scaler.ask().unwrap();
    scaler.answered(Ok(ScaleAnswer::Accepted { on_its_way: nodes })).unwrap();
    request
}

fn failure() -> Error {
    Error::new(ErrorKind::Unavailable, "the provider does not answer")
}

mod deciding {
    use super::*;

    #[test]
    fn the_defaults_are_the_mesh_documents() {
        let policy = ScalePolicy::default();
        policy.check().unwrap();
        assert_eq!((policy.min, policy.max), (3, 20));
        assert_eq!((policy.up_above, policy.down_below), (0.8, 0.3));
        assert_eq!((policy.cool_down_down, policy.check_every), (at(300), at(30)));
    }

    #[test]
    fn a_load_between_the_thresholds_changes_nothing() {
        for load in [0.3, 0.5, 0.8] {
            let decision = scaler(prompt()).decide(&equal(5, load), at(0)).unwrap();
            assert!(!decision.changes());
            assert_eq!(decision.reason, ScaleReason::WithinBand { load });
            assert_eq!((decision.current, decision.ready, decision.known), (5, 5, 5));
        }
    }

    #[test]
    fn a_high_load_is_brought_to_the_target() {
        let decision = scaler(prompt()).decide(&equal(6, 0.9), at(0)).unwrap();
        assert_eq!((decision.wanted, decision.desired), (9, 9), "0.9 × 6 / 0.6");
        assert_eq!(decision.reason, ScaleReason::LoadHigh { load: 0.9, above: 0.8 });
        assert_eq!((decision.limited_by, decision.remove), (vec![], vec![]));
    }

    #[test]
    fn a_step_and_the_maximum_limit_the_way_up_and_say_so() {
        let policy =
            ScalePolicy { target: 0.31, max_step_up: Step { nodes: 2, share: 0.5 }, ..prompt() };
        let decision = scaler(policy).decide(&equal(6, 0.9), at(0)).unwrap();
        assert_eq!((decision.wanted, decision.desired), (18, 9));
        assert_eq!(decision.limited_by, [ScaleLimit::Step]);
        let decision = scaler(prompt()).decide(&equal(19, 0.9), at(0)).unwrap();
        assert_eq!((decision.wanted, decision.desired), (29, 20));
        assert_eq!(decision.limited_by, [ScaleLimit::Max]);
        let decision = scaler(prompt()).decide(&equal(20, 0.9), at(0)).unwrap();
        assert_eq!((decision.changes(), decision.limited_by), (false, vec![ScaleLimit::Max]));
    }

    #[test]
    fn a_threshold_at_the_target_needs_the_tolerance() {
        let policy = ScalePolicy {
            up_above: 0.6,
            down_below: 0.6,
            max_step_down: Step { nodes: 9, share: 1.0 },
            ..prompt()
        };
        let desired =
            |load| scaler(policy.clone()).decide(&equal(10, load), at(0)).unwrap().desired;
        assert_eq!([0.53, 0.55, 0.6, 0.65, 0.67].map(desired), [9, 10, 10, 10, 12]);
    }

    #[test]
    fn too_few_or_too_many_nodes_are_corrected_whatever_the_load() {
        let decision = scaler(prompt()).decide(&nodes(&[None]), at(0)).unwrap();
        assert_eq!((decision.desired, decision.reason), (3, ScaleReason::BelowMin));
        let decision = scaler(prompt()).decide(&[], at(0)).unwrap();
        assert_eq!((decision.current, decision.desired), (0, 3));

        let mut loads = equal(23, 0.9);
        loads[7].cpu = Some(0.1);
        loads[21].cpu = Some(0.2);
        loads[4].cpu = Some(0.3);
        loads[5].cpu = None;
        let decision = scaler(ScalePolicy::default()).decide(&loads, at(0)).unwrap();
        assert_eq!((decision.desired, decision.reason), (20, ScaleReason::AboveMax));
        assert_eq!(decision.remove, [name(7), name(21), name(4)]);
    }

    #[test]
    fn above_the_maximum_nodes_on_their_way_are_called_off_first() {
        let mut loads = equal(23, 0.5);
        (0..2).for_each(|node| loads[node].ready = false);
        let mut scaler = scaler(prompt());
        let decision = scaler.decide(&loads, at(0)).unwrap();
        assert_eq!((decision.current, decision.desired, decision.remove.len()), (23, 20, 1));
    }

    #[test]
    fn a_low_load_gives_back_the_idlest_and_never_the_last_of_the_minimum() {
        let loads = nodes(&[0.2, 0.1, 0.25, 0.15, 0.1].map(Some));
        let policy = ScalePolicy { max_step_down: Step { nodes: 9, share: 1.0 }, ..prompt() };
        let decision = scaler(policy).decide(&loads, at(0)).unwrap();
        assert_eq!((decision.wanted, decision.desired), (2, 3));
        assert_eq!(decision.limited_by, [ScaleLimit::Min]);
        assert_eq!(decision.remove, [name(1), name(4)]);
    }

    #[test]
    fn nodes_that_are_not_ready_do_not_protect_those_that_are() {
        let mut loads = equal(5, 0.1);
        (3..5).for_each(|node| loads[node].ready = false);
        let decision = scaler(prompt()).decide(&loads, at(0)).unwrap();
        assert_eq!((decision.current, decision.ready), (5, 3));
        assert!(!decision.changes(), "three must stay ready: {decision:?}");
    }

    #[test]
    fn with_too_few_known_nodes_nothing_is_decided() {
        let loads = nodes(&[Some(0.99), None, None, None]);
        let decision = scaler(prompt()).decide(&loads, at(0)).unwrap();
        assert_eq!(decision.reason, ScaleReason::TooFewKnown { known: 1, ready: 4 });
        assert_eq!((decision.load, decision.changes()), (None, false));
    }

    #[test]
    fn unknown_nodes_make_a_change_smaller_never_larger() {
        let with_unknown = |load: f64, known: usize, unknown: usize| {
            let mut loads = vec![Some(load); known];
            loads.extend(vec![None; unknown]);
            scaler(prompt()).decide(&nodes(&loads), at(0)).unwrap()
        };
        let decision = with_unknown(0.85, 9, 1);
        assert!(!decision.changes(), "0.85 × 9 of 10 nodes is not above 0.8: {decision:?}");
        assert_eq!(with_unknown(0.95, 9, 1).desired, 15, "0.95 × 9 / 0.6, not 0.95 × 10 / 0.6");
        assert!(with_unknown(0.2, 8, 0).changes());
        assert!(with_unknown(0.2, 8, 1).changes(), "0.2 × 8 + 0.6 of 9 nodes is below 0.3");
        assert!(!with_unknown(0.2, 8, 3).changes(), "0.2 × 8 + 0.6 × 3 of 11 nodes is not");
    }

    #[test]
    fn nodes_that_give_no_numbers_are_not_given_back() {
        let policy = ScalePolicy {
            max_step_down: Step { nodes: 9, share: 1.0 },
            min: 1,
            target: 0.8,
            ..prompt()
        };
        let loads = nodes(&[Some(0.0), Some(0.0), Some(0.0), Some(0.0), None]);
        let decision = scaler(policy).decide(&loads, at(0)).unwrap();
        assert_eq!(decision.remove, [name(0), name(1), name(2), name(3)]);
        let policy = ScalePolicy { min_known: 0.1, down_below: 0.7, target: 0.7, ..prompt() };
        let policy = ScalePolicy { max_step_down: Step { nodes: 9, share: 1.0 }, min: 1, ..policy };
        let loads = nodes(&[Some(0.0), None, None, Some(0.0), None]);
        let decision = scaler(policy).decide(&loads, at(0)).unwrap();
        assert_eq!((decision.desired, decision.remove.len()), (3, 2));
    }

    #[test]
    fn what_cannot_be_a_load_is_refused_and_changes_nothing() {
        let mut scaler = scaler(ScalePolicy::default());
        let before = scaler.decide(&equal(5, 0.5), at(0)).unwrap();
        let error = scaler.decide(&equal(5, 1.5), at(30)).unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidInput, Some("cpu")));
        assert_eq!(scaler.latest(), Some(&before));
        assert_eq!(scaler.forecast.samples(), 1);
    }

    #[test]
    fn every_decision_survives_json() {
        let mut scaler = scaler(prompt());
        let decision = scaler.decide(&equal(6, 0.9), at(7)).unwrap();
        let json = serde_json::to_string(&decision).unwrap();
        assert_eq!(serde_json::from_str::<ScaleDecision>(&json).unwrap(), decision);
        accept(&mut scaler, 3);
        let report = scaler.history().next().unwrap();
        let json = serde_json::to_string(report).unwrap();
        assert_eq!(&serde_json::from_str::<ScaleReport>(&json).unwrap(), report);
    }
}

mod waiting {
    use super::*;

    #[test]
    fn nodes_on_their_way_are_not_asked_for_again() {
        let mut scaler = scaler(prompt());
        scaler.decide(&equal(6, 0.9), at(0)).unwrap();
        accept(&mut scaler, 3);
        let decision = scaler.decide(&equal(6, 0.9), at(30)).unwrap();
        assert_eq!((decision.current, decision.desired), (9, 9));
        assert_eq!(decision.reason, ScaleReason::OnItsWay { nodes: 3 });
        let mut loads = equal(9, 0.9);
        (6..8).for_each(|node| loads[node].ready = false);
        loads.truncate(8);
        let decision = scaler.decide(&loads, at(60)).unwrap();
        assert_eq!(
            decision.reason,
            ScaleReason::OnItsWay { nodes: 3 },
            "two start, one is promised"
        );
        let decision = scaler.decide(&equal(6, 0.9), at(600)).unwrap();
        assert_eq!((decision.current, decision.desired), (6, 9), "they never came");
    }

    #[test]
    fn what_is_needed_beyond_those_on_their_way_is_asked_for() {
        let mut scaler = scaler(ScalePolicy { max: 40, ..prompt() });
        scaler.decide(&equal(8, 0.85), at(0)).unwrap();
        assert_eq!(accept(&mut scaler, 1).to, 12, "and the hook found only one");
        let decision = scaler.decide(&equal(8, 1.0), at(30)).unwrap();
        assert_eq!((decision.current, decision.desired), (9, 14));
    }

    #[test]
    fn a_hook_cannot_promise_more_than_was_asked_for() {
        let mut scaler = scaler(prompt());
        scaler.decide(&equal(6, 0.9), at(0)).unwrap();
        accept(&mut scaler, 1_000);
        assert_eq!(scaler.decide(&equal(6, 0.9), at(30)).unwrap().current, 9);
    }

    #[test]
    fn after_adding_nodes_a_cool_down_holds_if_there_is_one() {
        let mut scaler = scaler(ScalePolicy { cool_down_up: at(60), ..prompt() });
        scaler.decide(&equal(6, 0.9), at(0)).unwrap();
        accept(&mut scaler, 0);
        let decision = scaler.decide(&equal(6, 0.9), at(30)).unwrap();
        assert_eq!((decision.wanted, decision.desired), (9, 6));
        assert_eq!(decision.limited_by, [ScaleLimit::CoolDown { left: at(30) }]);
        assert!(scaler.decide(&equal(6, 0.9), at(60)).unwrap().changes());
    }

    #[test]
    fn a_load_must_stay_low_before_nodes_are_given_back() {
        let policy = ScalePolicy { stabilise_for: at(300), ..prompt() };
        let mut scaler = scaler(policy);
        for check in 0..10 {
            let decision = scaler.decide(&equal(9, 0.2), at(30 * check)).unwrap();
            let left = at(300 - 30 * check);
            assert_eq!(decision.limited_by[..], [ScaleLimit::Stabilising { left }]);
            assert_eq!((decision.wanted, decision.desired), (3, 9));
        }
        assert_eq!(scaler.decide(&equal(9, 0.2), at(300)).unwrap().desired, 8);
        // One check that is not low, or not known, and it begins anew.
        for not_low in [equal(9, 0.3), nodes(&[None; 9])] {
            scaler.decide(&not_low, at(330)).unwrap();
            assert!(!scaler.decide(&equal(9, 0.2), at(360)).unwrap().changes());
        }
    }

    #[test]
    fn checks_that_were_missed_are_not_taken_for_calm_ones() {
        let mut scaler = scaler(ScalePolicy { stabilise_for: at(300), ..prompt() });
        scaler.decide(&equal(9, 0.2), at(0)).unwrap();
        assert!(!scaler.decide(&equal(9, 0.2), at(3_600)).unwrap().changes());
    }

    #[test]
    fn only_as_many_are_given_back_as_the_busiest_moment_of_the_window_allows() {
        let down = Step { nodes: 20, share: 1.0 };
        let policy = ScalePolicy { stabilise_for: at(60), max_step_down: down, ..prompt() };
        let mut scaler = scaler(policy);
        for (time, load) in [(0, 0.1), (30, 0.29), (60, 0.1)] {
            scaler.decide(&equal(20, load), at(time)).unwrap();
        }
        let decision = scaler.latest().unwrap();
        assert_eq!((decision.wanted, decision.desired), (4, 10), "0.29 × 20 / 0.6");
        assert_eq!(decision.limited_by, [ScaleLimit::BusierLately]);
    }

    #[test]
    fn after_any_change_nodes_are_given_back_only_after_the_cool_down() {
        let policy = ScalePolicy { cool_down_down: at(300), ..prompt() };
        let mut scaler = scaler(policy);
        scaler.decide(&equal(6, 0.9), at(0)).unwrap();
        accept(&mut scaler, 3);
        let decision = scaler.decide(&equal(9, 0.1), at(270)).unwrap();
        assert_eq!(decision.limited_by, [ScaleLimit::CoolDown { left: at(30) }]);
        assert_eq!(scaler.decide(&equal(9, 0.1), at(300)).unwrap().desired, 8);
        assert_eq!(accept(&mut scaler, 1).remove, [name(0)]);
        let left = &equal(9, 0.1)[1..];
        assert!(!scaler.decide(left, at(599)).unwrap().changes());
        assert_eq!(scaler.decide(left, at(600)).unwrap().desired, 7);
    }

    #[test]
    fn who_was_accepted_to_go_is_not_counted_and_not_named_again() {
        let mut scaler = scaler(prompt());
        scaler.decide(&equal(6, 0.1), at(0)).unwrap();
        assert_eq!(accept(&mut scaler, 1).remove, [name(0)]);
        let decision = scaler.decide(&equal(6, 0.1), at(30)).unwrap();
        assert_eq!((decision.current, decision.desired), (5, 4));
        assert_eq!(decision.remove, [name(1)]);
    }
}

mod foreseeing {
    use super::*;

    /// Loads that come every 30 s.
    fn after(loads: impl IntoIterator<Item = f64>) -> (Autoscaler, ScaleDecision) {
        let mut scaler = scaler(ScalePolicy { predict: Some(at(300)), ..prompt() });
        for (check, load) in (0..).zip(loads) {
            scaler.decide(&equal(10, load), at(30 * check)).unwrap();
        }
        let decision = scaler.latest().unwrap().clone();
        (scaler, decision)
    }

    #[test]
    fn nothing_is_predicted_before_there_are_enough_samples() {
        assert_eq!(after([0.5; 9]).1.predicted, None);
        assert!(after([0.5; 10]).1.predicted.is_some());
    }

    #[test]
    fn nodes_are_added_before_a_rising_load_is_high() {
        let (_, decision) = after((0..15).map(|check| 0.4 + 0.025 * f64::from(check)));
        assert!(decision.load.unwrap() < 0.8);
        let predicted = decision.predicted.unwrap();
        assert!(predicted.low < predicted.value && predicted.value < predicted.high);
        let within = at(300);
        let reason = ScaleReason::PredictedHigh { predicted: predicted.value, above: 0.8, within };
        assert_eq!(decision.reason, reason);
        let needed = (predicted.value * 10.0 / 0.6).ceil();
        assert!((f64::from(decision.desired) - needed).abs() < 0.5, "{decision:?}");
    }

    #[test]
    fn nothing_is_given_back_while_a_low_load_rises() {
        let (_, decision) = after((0..15).map(|check| 0.02 * f64::from(check)));
        assert!(decision.load.unwrap() < 0.3 && !decision.changes());
        assert!(matches!(decision.reason, ScaleReason::PredictedNotLow { .. }), "{decision:?}");
        assert!(after([0.2; 15]).1.changes(), "the same without the rise");
    }

    #[test]
    fn a_node_that_joins_is_no_fall_of_the_load() {
        let (mut scaler, before) = after([0.6; 30]);
        let decision = scaler.decide(&equal(12, 0.5), at(900)).unwrap();
        let (before, now) = (before.predicted.unwrap(), decision.predicted.unwrap());
        assert!((before.value - 0.6).abs() < 1e-9 && (now.value - 0.5).abs() < 1e-9);
        assert!(now.high - now.low < 1e-9, "nor is it an error: {now:?}");
    }

    #[test]
    fn checks_between_the_checks_are_no_samples_and_missed_ones_are_skipped() {
        let (mut scaler, _) = after([0.5; 12]);
        for second in 331..344 {
            scaler.decide(&equal(10, 0.9), at(second)).unwrap();
        }
        assert_eq!(scaler.forecast.samples(), 12);
        scaler.decide(&equal(10, 0.5), at(460)).unwrap();
        assert_eq!(scaler.forecast.samples(), 13);
        scaler.decide(&equal(10, 0.5), at(460 + 330)).unwrap();
        assert_eq!(scaler.forecast.samples(), 1, "ten were missed");
    }
}

mod asking {
    use super::*;

    #[test]
    fn a_decision_is_asked_for_once_and_only_if_it_changes_something() {
        let mut scaler = scaler(prompt());
        assert_eq!(scaler.ask(), None);
        scaler.decide(&equal(6, 0.5), at(0)).unwrap();
        assert_eq!(scaler.ask(), None);
        scaler.decide(&equal(6, 0.9), at(30)).unwrap();
        let request = scaler.ask().unwrap();
        assert_eq!((request.id, request.from, request.to, request.load), (1, 6, 9, Some(0.9)));
        assert_eq!(scaler.ask(), None);
        assert!(scaler.answered(Ok(ScaleAnswer::Accepted { on_its_way: 3 })).is_some());
        assert!(scaler.answered(Ok(ScaleAnswer::Accepted { on_its_way: 3 })).is_none());
        assert_eq!(scaler.decide(&equal(6, 0.9), at(60)).unwrap().current, 9, "promised once");
    }

    #[test]
    fn a_request_without_an_answer_is_sent_again_under_its_id() {
        let mut scaler = scaler(prompt());
        let mut ask = |load, time| {
            scaler.decide(&equal(6, load), at(time)).unwrap();
            scaler.ask().map(|request| (request.id, request.to))
        };
        assert_eq!(ask(0.9, 0), Some((1, 9)));
        assert_eq!(ask(0.9, 30), Some((1, 9)), "nobody answered");
        assert_eq!(ask(0.88, 60), Some((1, 9)), "the same change, although the load differs");
        assert_eq!(ask(1.0, 90), Some((2, 10)), "another change");
        scaler.answered(Err(failure()));
        scaler.decide(&equal(6, 1.0), at(120)).unwrap();
        assert_eq!(scaler.ask().unwrap().id, 2, "a failure says nothing of what was done");
        scaler.answered(Ok(ScaleAnswer::Refused { reason: "no".repeat(500) }));
        scaler.decide(&equal(6, 1.0), at(150)).unwrap();
        assert_eq!(scaler.ask().unwrap().id, 3, "a refusal does: nothing");
        let reason = match &scaler.history[scaler.history.len() - 2].outcome {
            ScaleOutcome::Refused { reason } => reason.len(),
            other => panic!("{other:?}"),
        };
        assert_eq!(reason, 256);
    }

    #[test]
    fn what_failed_or_was_refused_begins_no_cool_down_and_promises_nothing() {
        let policy = ScalePolicy { cool_down_down: at(300), cool_down_up: at(300), ..prompt() };
        let refusal = || Ok(ScaleAnswer::Refused { reason: "none left".to_owned() });
        for answer in [refusal(), Err(failure())] {
            let mut scaler = scaler(policy.clone());
            scaler.decide(&equal(6, 0.9), at(0)).unwrap();
            scaler.ask().unwrap();
            scaler.answered(answer).unwrap();
            let decision = scaler.decide(&equal(6, 0.9), at(30)).unwrap();
            assert_eq!((decision.current, decision.desired), (6, 9));
        }
    }

    #[test]
    fn ids_go_on_from_where_an_earlier_process_was() {
        let mut scaler = scaler(prompt()).numbered_from(41);
        scaler.decide(&equal(6, 0.9), at(0)).unwrap();
        assert_eq!(accept(&mut scaler, 0).id, 41);
        scaler.decide(&equal(6, 0.9), at(30)).unwrap();
        assert_eq!(scaler.ask().unwrap().id, 42);
    }

    #[test]
    fn only_so_many_reports_are_kept() {
        let mut scaler = scaler(ScalePolicy { history: 3, ..prompt() });
        for check in 0..10 {
            scaler.decide(&equal(6, 0.9), at(30 * check)).unwrap();
            accept(&mut scaler, 0);
        }
        let kept: Vec<_> = scaler.history().map(|report| report.request.id).collect();
        assert_eq!(kept, [8, 9, 10]);
    }
}

mod stepping {
    use super::*;

    /// Answers in turn what it was given, then hangs; and remembers what it was asked.
    #[derive(Debug, Default)]
    struct Told {
        answers: Mutex<Vec<Result<ScaleAnswer>>>,
        asked: Mutex<Vec<ScaleRequest>>,
    }

    #[async_trait]
    impl ScaleHook for Told {
        async fn scale(&self, request: &ScaleRequest) -> Result<ScaleAnswer> {
            self.asked.lock().unwrap().push(request.clone());
            let answer = self.answers.lock().unwrap().pop();
            match answer {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        }
    }

    fn hook(answers: Vec<Result<ScaleAnswer>>) -> Told {
        Told { answers: answers.into_iter().rev().collect::<Vec<_>>().into(), ..Told::default() }
    }

    fn now<T>(future: impl Future<Output = T>) -> T {
        future.now_or_never().unwrap()
    }

    #[test]
    fn a_step_asks_when_a_check_is_due_and_reports_the_answer() {
        let hook = hook(vec![Ok(ScaleAnswer::Accepted { on_its_way: 3 })]);
        let mut scaler = scaler(prompt());
        assert_eq!(scaler.next_check(at(9)), Duration::ZERO);
        let report = now(scaler.step(&equal(6, 0.9), &hook, at(10))).unwrap().unwrap();
        assert_eq!(report.outcome, ScaleOutcome::Accepted { on_its_way: 3 });
        assert_eq!((report.at, &report.request), (at(10), &hook.asked.lock().unwrap()[0]));
        assert_eq!(scaler.next_check(at(30)), at(10));
        assert_eq!(now(scaler.step(&equal(6, 1.0), &hook, at(39))).unwrap(), None, "not due");
        assert_eq!(scaler.latest().unwrap().at, at(10));
        assert_eq!(now(scaler.step(&equal(6, 0.9), &hook, at(40))).unwrap(), None, "on its way");
        assert_eq!(scaler.latest().unwrap().at, at(40));
        assert_eq!(hook.asked.lock().unwrap().len(), 1);
    }

    #[test]
    fn a_failure_is_reported_and_the_same_is_asked_at_the_next_check() {
        let hook = hook(vec![Err(failure()), Ok(ScaleAnswer::Accepted { on_its_way: 3 })]);
        let mut scaler = scaler(prompt());
        let report = now(scaler.step(&equal(6, 0.9), &hook, at(0))).unwrap().unwrap();
        assert!(
            matches!(report.outcome, ScaleOutcome::Failed { ref error } if error.contains("provider"))
        );
        now(scaler.step(&equal(6, 0.9), &hook, at(30))).unwrap().unwrap();
        let asked = hook.asked.lock().unwrap();
        assert_eq!((asked.len(), asked[0].id, asked[1].id), (2, 1, 1));
        assert_eq!(scaler.history().len(), 2);
    }

    #[test]
    fn a_step_that_is_given_up_leaves_a_request_without_an_answer() {
        let hook = hook(vec![]);
        let mut scaler = scaler(prompt());
        assert!(scaler.step(&equal(6, 0.9), &hook, at(0)).now_or_never().is_none());
        let last = scaler.history().last().unwrap();
        assert_eq!(last.outcome, ScaleOutcome::Unanswered);
        hook.answers.lock().unwrap().push(Ok(ScaleAnswer::Accepted { on_its_way: 3 }));
        let report = now(scaler.step(&equal(6, 0.9), &hook, at(30))).unwrap().unwrap();
        assert_eq!(report.request.id, 1);
    }

    #[test]
    fn bad_input_is_the_callers_error_and_the_hook_hears_nothing() {
        let hook = hook(vec![]);
        let mut scaler = scaler(prompt());
        let error = now(scaler.step(&equal(6, -0.1), &hook, at(0))).unwrap_err();
        assert_eq!(scaler.next_check(at(0)), at(30), "a loop must not spin");
        assert_eq!(error.field(), Some("cpu"));
        assert!(hook.asked.lock().unwrap().is_empty());
    }

    /// Keeps two gauges.
    #[derive(Debug, Default)]
    struct Gauges {
        desired: Arc<AtomicU64>,
        load: Arc<AtomicU64>,
    }

    impl Recorder for Gauges {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            Counter::noop()
        }
        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            match key.name() {
                "fogcore_autoscaler_desired" => Gauge::from_arc(self.desired.clone()),
                "fogcore_autoscaler_load" => Gauge::from_arc(self.load.clone()),
                other => panic!("{other}"),
            }
        }
    }

    #[test]
    fn a_step_sets_the_gauges_and_an_unknown_load_is_not_zero() {
        let gauges = Gauges::default();
        let read = |gauge: &AtomicU64| f64::from_bits(gauge.load(Ordering::Relaxed));
        let hook = hook(vec![Ok(ScaleAnswer::Accepted { on_its_way: 3 })]);
        let mut scaler = scaler(prompt());
        metrics::with_local_recorder(&gauges, || now(scaler.step(&equal(6, 0.9), &hook, at(0))))
            .unwrap();
        assert_eq!((read(&gauges.desired), read(&gauges.load)), (9.0, 0.9));
        let unknown = nodes(&[None; 6]);
        metrics::with_local_recorder(&gauges, || now(scaler.step(&unknown, &hook, at(30))))
            .unwrap();
        assert!(read(&gauges.load).is_nan());
    }
}

fn a_policy() -> impl Strategy<Value = ScalePolicy> {
    let bounds = (1_u32..6, 0_u32..20);
    let shares = (0.0..0.5_f64, 0.0..1.0_f64, 0.5..1.0_f64, 0.0..0.5_f64, 0.1..1.0_f64);
    let times = (0_u64..200, 0_u64..600, 0_u64..600, proptest::option::of(1_u64..900));
    let steps = (1_u32..8, 0.0..2.0_f64, 1_u32..8, 0.0..2.0_f64);
    (bounds, shares, times, steps).prop_map(|(bounds, shares, times, steps)| ScalePolicy {
        min: bounds.0,
        max: bounds.0 + bounds.1,
        down_below: shares.0,
        target: (shares.0 + shares.1 * (shares.2 - shares.0)).max(0.01),
        up_above: shares.2,
        tolerance: shares.3,
        min_known: shares.4,
        cool_down_up: at(times.0),
        cool_down_down: at(times.1),
        stabilise_for: at(times.2),
        predict: times.3.map(at),
        max_step_up: Step { nodes: steps.0, share: steps.1 },
        max_step_down: Step { nodes: steps.2, share: steps.3 },
        ..ScalePolicy::default()
    })
}

/// What happens at one check: the wait before it, how busy each node is, and how the hook answers.
type Check = (u64, Vec<(Option<f64>, bool)>, u8);

fn a_check() -> impl Strategy<Value = Check> {
    let load = prop_oneof![4 => Just(None), 48 => (0.0..=1.0_f64).prop_map(Some)];
    let node = (load, proptest::bool::weighted(0.9));
    // Often all are low or high, or nothing would ever happen.
    let busy = prop_oneof![Just(0.15), Just(1.0), Just(0.95)];
    let list = (proptest::collection::vec(node, 0..14), busy).prop_map(|(mut list, factor)| {
        for (load, _) in &mut list {
            *load = load.map(|load| if factor > 0.9 { 1.0 - load * 0.15 } else { load * factor });
        }
        list
    });
    (prop_oneof![Just(30_u64), 1_u64..400], list, 0_u8..6)
}

proptest! {
    /// Whatever the nodes say and the hook answers.
    #[test]
    fn no_history_leads_out_of_the_bounds(
        policy in a_policy(),
        checks in proptest::collection::vec(a_check(), 1..60),
    ) {
        let mut scaler = scaler(policy.clone());
        let (mut now, mut changed_at, mut latest_id) = (at(0), None::<Duration>, 0);
        for (wait, list, answer) in checks {
            now += at(wait);
            let loads: Vec<_> = list.iter().enumerate().map(|(number, (cpu, ready))| {
                NodeLoad { cpu: *cpu, ready: *ready, ..NodeLoad::new(name(number)) }
            }).collect();
            let decision = scaler.decide(&loads, now).unwrap();
            prop_assert!((policy.min..=policy.max).contains(&decision.desired), "{decision:?}");
            let within_bounds = (policy.min..=policy.max).contains(&decision.current);
            if decision.desired < decision.current && within_bounds {
                let cool = changed_at.is_none_or(|then| now - then >= policy.cool_down_down);
                prop_assert!(cool, "within the cool-down: {decision:?}");
                let step = policy.max_step_down.most(decision.current);
                prop_assert!(decision.current - decision.desired <= step);
                let going = usize::try_from(decision.current - decision.desired).unwrap();
                prop_assert_eq!(decision.remove.len(), going);
            }
            if decision.desired > decision.current && within_bounds {
                let step = policy.max_step_up.most(decision.current);
                prop_assert!(decision.desired - decision.current <= step);
            }
            prop_assert_eq!(decision.desired == decision.wanted, decision.limited_by.is_empty());
            prop_assert!(decision.desired < decision.current || decision.remove.is_empty());
            check_removal(&decision, &loads, policy.min)?;
            let Some(request) = scaler.ask() else { continue };
            prop_assert!(request.id >= latest_id);
            latest_id = request.id;
            let outcome = scaler.answered(match answer {
                0 => Err(failure()),
                1 => Ok(ScaleAnswer::Refused { reason: String::new() }),
                2 => Ok(ScaleAnswer::Accepted { on_its_way: u32::MAX }),
                more => Ok(ScaleAnswer::Accepted { on_its_way: u32::from(more) }),
            });
            if matches!(outcome.unwrap().outcome, ScaleOutcome::Accepted { .. }) {
                changed_at = Some(now);
            }
            prop_assert!(scaler.history().len() <= policy.history);
        }
    }

    #[test]
    fn the_same_history_leads_to_the_same_decisions(
        checks in proptest::collection::vec(a_check(), 1..20),
    ) {
        let run = || {
            let (mut scaler, mut now) = (scaler(ScalePolicy::default()), at(0));
            checks.iter().map(|(wait, list, _)| {
                now += at(*wait);
                let loads: Vec<_> = list.iter().map(|(load, _)| *load).collect();
                let decision = scaler.decide(&nodes(&loads), now).unwrap();
                if scaler.ask().is_some() {
                    scaler.answered(Ok(ScaleAnswer::Accepted { on_its_way: 1 }));
                }
                decision
            }).collect::<Vec<_>>()
        };
        prop_assert_eq!(run(), run());
    }

    #[test]
    fn no_number_that_is_no_share_gets_in(
        share in prop_oneof![
            any::<f64>(), Just(f64::NAN), Just(f64::INFINITY), Just(-f64::MIN_POSITIVE),
        ],
        place in 0_usize..3,
    ) {
        let mut loads = equal(4, 0.5);
        let node = &mut loads[2];
        let field = ["cpu", "memory", "storage"][place];
        *[&mut node.cpu, &mut node.memory, &mut node.storage][place] = Some(share);
        match scaler(ScalePolicy::default()).decide(&loads, at(0)) {
            Ok(_) => prop_assert!((0.0..=1.0).contains(&share)),
            Err(error) => {
                prop_assert_eq!(error.field(), Some(field));
                prop_assert!(!(0.0..=1.0).contains(&share));
            }
        }
    }
}

/// Those to remove are ready and known, no other known node is less busy, and enough stay.
fn check_removal(
    decision: &ScaleDecision,
    loads: &[NodeLoad],
    min: u32,
) -> std::result::Result<(), TestCaseError> {
    if decision.remove.is_empty() {
        return Ok(());
    }
    let named: BTreeSet<_> = decision.remove.iter().collect();
    prop_assert_eq!(named.len(), decision.remove.len());
    prop_assert!(decision.ready - policy::count(named.len()) >= min);
    let of = |node: &NodeId| loads.iter().find(|load| load.node == *node).unwrap();
    let busiest = of(&decision.remove[decision.remove.len() - 1]).load().unwrap();
    prop_assert!(named.iter().all(|node| of(node).ready && of(node).load().unwrap() <= busiest));
    // Nodes that are leaving already are less busy and not named.
    let less_busy = loads.iter().filter(|load| {
        load.ready && !named.contains(&load.node) && load.load().is_some_and(|load| load < busiest)
    });
    let ready = loads.iter().filter(|load| load.ready).count();
    prop_assert!(less_busy.count() <= ready - usize::try_from(decision.ready).unwrap());
    Ok(())
}
