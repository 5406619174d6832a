//! Calls of a [`Caller`]: where they are tried again, when they end, and that nothing is left
//! behind, wherever they are cut off.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that goes wrong should fail")]

use std::collections::BTreeSet;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use fogcore::balancer::{
    Affinity, Answer, Attempt, AttemptKind, AttemptOutcome, Balancer, BalancerPolicy, CallError,
    CallErrorKind, CallPolicy, Caller, Dice, Endpoint, Failure, Repeat, Request, StrategyKind,
};
use fogcore::failover::{
    BreakerPolicy, BudgetPolicy, FailureKind, HedgePolicy, LoweringPolicy, RetryPolicy,
};
use fogcore::id::NodeId;
use fogcore::time::{Clock, ManualClock, Timestamp};
use proptest::prelude::*;

/// The unit of time: the clock goes on by so much whenever nothing else happens.
const MS: Duration = Duration::from_millis(1);
/// Calls of the tests that run longer than this hang.
const PATIENCE: u32 = 100_000;

fn ms(millis: u32) -> Duration {
    MS * millis
}

/// What a node does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Answers(u32),
    Fails(u32, FailureKind),
    FailsUnsent(FailureKind),
    Hangs,
    Panics(u32),
}

use Act::{Answers, Fails, FailsUnsent, Hangs, Panics};

const ERROR: FailureKind = FailureKind::Error;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("attempt {0} went wrong")]
struct Wrong(u32);

type Working = Pin<Box<dyn Future<Output = Result<u32, Failure<Wrong>>> + Send>>;
type Outcome = Result<Answer<u32>, CallError<Wrong>>;

struct World {
    clock: Arc<ManualClock>,
    balancer: Arc<Balancer>,
    caller: Caller,
    nodes: Vec<NodeId>,
    seen: Arc<Mutex<Vec<Attempt>>>,
}

/// Retries for everybody, no waits, no hedges.
fn eager() -> CallPolicy {
    CallPolicy {
        retry: RetryPolicy { backoff_first: Duration::ZERO, ..RetryPolicy::default() },
        hedge: None,
        budget: BudgetPolicy { share: 10.0, floor_per_second: 0.0, most: 1_000 },
    }
}

/// Another node is asked after exactly 10 ms, once one call was seen.
fn hedging(most: u32) -> CallPolicy {
    let (at_least, at_most) = (ms(10), ms(10));
    let hedge = HedgePolicy { at_least, at_most, min_samples: 1, most, ..HedgePolicy::default() };
    CallPolicy { hedge: Some(hedge), ..eager() }
}

/// Nodes that are never left out for how their calls go.
fn patient() -> BalancerPolicy {
    BalancerPolicy {
        breaker: BreakerPolicy {
            failure_rate: None,
            consecutive_failures: None,
            ..BreakerPolicy::default()
        },
        outliers: None,
        slow_start: Duration::ZERO,
        ..BalancerPolicy::default()
    }
}

impl World {
    fn new(nodes: usize, policy: CallPolicy) -> Self {
        Self::with(nodes, policy, patient(), 1)
    }

    fn with(nodes: usize, policy: CallPolicy, balancing: BalancerPolicy, seed: u64) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
        let balancer = Arc::new(Balancer::new(balancing, StrategyKind::RoundRobin).unwrap());
        let name = |number| format!("node-{number}").parse().unwrap();
        let nodes: Vec<NodeId> = (0..nodes).map(name).collect();
        for node in &nodes {
            balancer.join(Endpoint::new(node.clone()), Duration::ZERO).unwrap();
        }
        let caller = Caller::builder(Arc::clone(&balancer), Arc::<ManualClock>::clone(&clock))
            .policy(policy)
            .seed(seed)
            .build()
            .unwrap();
        Self { clock, balancer, caller, nodes, seen: Arc::default() }
    }

    /// Does what `script` says for each attempt in turn; those beyond it hang.
    fn work(&self, script: &[Act]) -> impl FnMut(Attempt) -> Working + Send + 'static {
        let (clock, seen) = (Arc::clone(&self.clock), Arc::clone(&self.seen));
        let script = script.to_vec();
        move |attempt: Attempt| {
            let number = attempt.number;
            let act = script.get(number as usize - 1).copied().unwrap_or(Hangs);
            seen.lock().unwrap().push(attempt);
            let clock = Arc::clone(&clock);
            Box::pin(async move {
                match act {
                    Answers(after) => {
                        clock.sleep(ms(after)).await;
                        Ok(number)
                    }
                    Fails(after, kind) => {
                        clock.sleep(ms(after)).await;
                        Err(Failure::new(kind, Wrong(number)))
                    }
                    FailsUnsent(kind) => Err(Failure::new(kind, Wrong(number)).before_sending()),
                    Hangs => std::future::pending().await,
                    Panics(after) => {
                        clock.sleep(ms(after)).await;
                        panic!("a defect in the closure")
                    }
                }
            })
        }
    }

    fn call(&self, repeat: Repeat, within: Option<Duration>, script: &[Act]) -> Outcome {
        let deadline = within.map(|span| self.caller.deadline(span));
        let call = self.caller.call(Request::new(), repeat, deadline, self.work(script));
        self.drive(call)
    }

    fn redundant(&self, factor: u8, within: Option<Duration>, script: &[Act]) -> Outcome {
        let deadline = within.map(|span| self.caller.deadline(span));
        self.drive(self.caller.call_redundant(factor, Request::new(), deadline, self.work(script)))
    }

    /// Lets the caller see one call that took 10 ms, so that it hedges after that.
    fn warmed(self) -> Self {
        self.call(Repeat::Never, None, &[Answers(10)]).unwrap();
        assert_eq!(self.caller.hedge_delay(), Some(ms(10)));
        self.seen.lock().unwrap().clear();
        self
    }

    /// Runs the future; whenever it waits, time goes on.
    fn drive<O>(&self, future: impl Future<Output = O>) -> O {
        let mut future = pin!(future);
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        for _ in 0..PATIENCE {
            match woken.poll(future.as_mut()) {
                Some(Poll::Ready(output)) => return output,
                Some(Poll::Pending) => {}
                None => self.clock.advance(MS),
            }
        }
        panic!("this should have ended by now")
    }

    fn in_flight(&self) -> u32 {
        self.nodes.iter().map(|node| self.balancer.in_flight(node).unwrap()).sum()
    }

    fn nodes_asked(&self) -> Vec<NodeId> {
        self.seen.lock().unwrap().iter().map(|attempt| attempt.endpoint.id.clone()).collect()
    }
}

/// Whether something woke the future since it was polled.
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Woken {
    /// Polls a future that was woken; none if nobody did.
    fn poll<O>(self: &Arc<Self>, future: Pin<&mut impl Future<Output = O>>) -> Option<Poll<O>> {
        if !self.0.swap(false, Ordering::SeqCst) {
            return None;
        }
        Some(future.poll(&mut Context::from_waker(&Waker::from(Arc::clone(self)))))
    }
}

fn kinds(outcome: &Outcome) -> Vec<AttemptKind> {
    let report = match outcome {
        Ok(answer) => &answer.report,
        Err(error) => &error.report,
    };
    report.attempts.iter().map(|attempt| attempt.kind).collect()
}

fn outcomes(outcome: &Outcome) -> Vec<AttemptOutcome> {
    let report = match outcome {
        Ok(answer) => &answer.report,
        Err(error) => &error.report,
    };
    report.attempts.iter().map(|attempt| attempt.outcome).collect()
}

fn all_different(nodes: &[NodeId]) -> bool {
    nodes.iter().collect::<BTreeSet<_>>().len() == nodes.len()
}

// Retries.

#[test]
fn a_call_that_goes_well_asks_one_node() {
    let world = World::new(3, eager());
    let outcome = world.call(Repeat::Anytime, None, &[Answers(7)]);
    assert_eq!(kinds(&outcome), [AttemptKind::First]);
    let answer = outcome.unwrap();
    assert_eq!((answer.value, answer.report.took), (1, ms(7)));
    assert_eq!(answer.report.attempts[0].node, world.nodes_asked()[0]);
    assert_eq!((answer.report.attempts[0].took, world.in_flight()), (ms(7), 0));
}

#[test]
fn what_failed_is_tried_on_a_node_that_was_not_asked_yet() {
    let world = World::new(3, eager());
    let script = [Fails(1, ERROR), Fails(2, FailureKind::Unreachable), Answers(4)];
    let outcome = world.call(Repeat::AfterFailure, None, &script);
    let expected = [
        AttemptOutcome::Failed(ERROR),
        AttemptOutcome::Failed(FailureKind::Unreachable),
        AttemptOutcome::Succeeded,
    ];
    assert_eq!(outcomes(&outcome), expected);
    assert_eq!(kinds(&outcome), [AttemptKind::First, AttemptKind::Retry, AttemptKind::Retry]);
    assert!(all_different(&world.nodes_asked()), "{:?}", world.nodes_asked());
    let answer = outcome.unwrap();
    assert_eq!((answer.value, answer.report.took), (3, ms(7)));
    let after: Vec<_> = answer.report.attempts.iter().map(|attempt| attempt.after).collect();
    assert_eq!(after, [ms(0), ms(1), ms(3)]);
}

#[test]
fn when_all_nodes_were_tried_any_will_do() {
    let world = World::new(1, eager());
    let answer = world.call(Repeat::AfterFailure, None, &[Fails(0, ERROR), Answers(0)]).unwrap();
    assert_eq!(answer.value, 2);
    assert_eq!(world.nodes_asked(), [world.nodes[0].clone(), world.nodes[0].clone()]);
}

#[test]
fn what_the_request_excludes_stays_excluded() {
    let world = World::new(3, eager());
    let except = vec![world.nodes[0].clone()];
    for _ in 0..6 {
        let request = Request { except: except.clone(), ..Request::new() };
        let script = [Fails(0, ERROR), Fails(0, ERROR), Fails(0, ERROR)];
        let work = world.work(&script);
        let call = world.caller.call(request, Repeat::AfterFailure, None, work);
        assert_eq!(world.drive(call).unwrap_err().report.attempts.len(), 3);
    }
    assert!(!world.nodes_asked().contains(&world.nodes[0]), "{:?}", world.nodes_asked());
}

#[test]
fn a_session_is_served_elsewhere_if_its_node_fails() {
    let world = World::new(3, eager());
    let home = world.nodes[2].clone();
    let request = Request::new().holding_on(Affinity::Node(home.clone()));
    let work = world.work(&[Fails(0, ERROR), Answers(0)]);
    world.drive(world.caller.call(request, Repeat::AfterFailure, None, work)).unwrap();
    let asked = world.nodes_asked();
    assert_eq!(asked[0], home);
    assert_ne!(asked[1], home);
}

#[test]
fn a_round_goes_round_whatever_call_it_is() {
    let world = World::new(4, eager());
    for _ in 0..40 {
        world.call(Repeat::Never, None, &[Answers(0)]).unwrap();
    }
    let asked = world.nodes_asked();
    for node in &world.nodes {
        assert_eq!(asked.iter().filter(|id| *id == node).count(), 10, "{node}");
    }
}

#[test]
fn the_turns_of_a_node_that_is_full_are_spread_over_the_others() {
    let world = World::new(0, eager());
    let names = ["full", "a", "b", "c"].map(|name| name.parse::<NodeId>().unwrap());
    for node in &names {
        let max_in_flight = (node.as_str() == "full").then_some(1);
        let endpoint = Endpoint { max_in_flight, ..Endpoint::new(node.clone()) };
        world.balancer.join(endpoint, Duration::ZERO).unwrap();
    }
    let mut dice = Dice::seeded(0);
    let request = Request::new().holding_on(Affinity::Node(names[0].clone()));
    let _taken = world.balancer.pick(&request, Duration::ZERO, &mut dice).unwrap();
    for _ in 0..60 {
        world.call(Repeat::Never, None, &[Answers(0)]).unwrap();
    }
    let asked = world.nodes_asked();
    let times = |node: &NodeId| asked.iter().filter(|id| *id == node).count();
    let times = names.each_ref().map(times);
    assert!(times[0] == 0 && times[1..].iter().all(|times| (15..=25).contains(times)), "{times:?}");
}

#[test]
fn after_as_many_tries_as_allowed_the_last_error_is_told() {
    let world = World::new(9, eager());
    let error = world.call(Repeat::AfterFailure, None, &[Fails(1, ERROR); 9]).unwrap_err();
    assert_eq!((error.kind, error.last), (CallErrorKind::AttemptsExhausted, Some(Wrong(3))));
    assert_eq!((error.report.attempts.len(), error.report.took), (3, ms(3)));
}

#[test]
fn what_is_rejected_is_not_tried_again_and_blames_nobody() {
    let world = World::new(3, eager());
    let script = [Fails(1, FailureKind::Rejected), Answers(0)];
    let error = world.call(Repeat::Anytime, None, &script).unwrap_err();
    assert_eq!((error.kind, &error.last), (CallErrorKind::Rejected, &Some(Wrong(1))));
    assert_eq!(error.report.attempts.len(), 1);
    let folded = fogcore::Error::from(error);
    assert_eq!(folded.kind(), fogcore::ErrorKind::InvalidInput);
}

#[test]
fn what_must_not_be_sent_twice_is_tried_again_only_if_it_was_not_sent() {
    let world = World::new(3, eager());
    let script = [FailsUnsent(FailureKind::Unreachable), Fails(0, ERROR), Answers(0)];
    let error = world.call(Repeat::Never, None, &script).unwrap_err();
    assert_eq!((error.kind, error.last), (CallErrorKind::NotRepeatable, Some(Wrong(2))));
    assert_eq!(error.report.attempts.len(), 2);
}

#[test]
fn an_empty_purse_ends_a_call_and_other_calls_fill_it() {
    let budget = BudgetPolicy { share: 0.5, floor_per_second: 0.0, most: 10 };
    let world = World::new(3, CallPolicy { budget, ..eager() });
    let script = [Fails(1, ERROR), Answers(1)];
    let error = world.call(Repeat::AfterFailure, None, &script).unwrap_err();
    assert_eq!((error.kind, error.report.attempts.len()), (CallErrorKind::BudgetExhausted, 1));
    assert_eq!(fogcore::Error::from(error).kind(), fogcore::ErrorKind::Exhausted);
    assert_eq!(world.call(Repeat::AfterFailure, None, &script).unwrap().value, 2);
    assert_eq!(world.caller.budget().left(world.caller.now()), 0);
}

#[test]
fn callers_that_share_a_purse_spend_from_the_same_one() {
    let budget = BudgetPolicy { share: 1.0, floor_per_second: 0.0, most: 10 };
    let world = World::new(3, CallPolicy { budget, ..eager() });
    let clock = Arc::<ManualClock>::clone(&world.clock);
    let other = Caller::builder(Arc::clone(&world.balancer), clock)
        .policy(eager())
        .budget(Arc::clone(world.caller.budget()))
        .build()
        .unwrap();
    let work = world.work(&[Answers(0)]);
    world.drive(other.call(Request::new(), Repeat::Never, None, work)).unwrap();
    assert_eq!(world.caller.budget().left(world.caller.now()), 1);
}

#[test]
fn waits_grow_are_jittered_and_stay_below_their_bound() {
    let retry = RetryPolicy {
        attempts: 4,
        backoff_first: ms(100),
        backoff_most: ms(300),
        ..RetryPolicy::default()
    };
    let mut waits = [const { Vec::new() }; 3];
    for seed in 0..40 {
        let world = World::with(5, CallPolicy { retry, ..eager() }, patient(), seed);
        let error = world.call(Repeat::AfterFailure, None, &[Fails(0, ERROR); 4]).unwrap_err();
        let after: Vec<_> = error.report.attempts.iter().map(|attempt| attempt.after).collect();
        for (waits, pair) in waits.iter_mut().zip(after.windows(2)) {
            waits.push(pair[1] - pair[0]);
        }
    }
    for (waits, bound) in waits.iter().zip([100, 200, 300]) {
        assert_eq!(waits.len(), 40);
        // The clock of this test goes on in steps.
        assert!(waits.iter().all(|wait| *wait <= ms(bound) + MS), "{waits:?}");
        let middle = ms(bound / 2);
        assert!(waits.iter().any(|wait| *wait < middle), "some are short: {waits:?}");
        assert!(waits.iter().any(|wait| *wait > middle), "some are long: {waits:?}");
    }
}

#[test]
fn a_caller_with_the_same_seed_does_the_same_again() {
    let retry = RetryPolicy { attempts: 5, ..RetryPolicy::default() };
    let run = |seed| {
        let world = World::with(7, CallPolicy { retry, ..eager() }, patient(), seed);
        world.call(Repeat::AfterFailure, None, &[Fails(3, ERROR); 5]).unwrap_err().report
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

// Time.

#[test]
fn nothing_is_sent_after_the_deadline() {
    let world = World::new(3, eager());
    let error = world.call(Repeat::Anytime, Some(Duration::ZERO), &[Answers(0)]).unwrap_err();
    assert_eq!(error.kind, CallErrorKind::DeadlineExceeded);
    assert_eq!((error.report.attempts.len(), world.nodes_asked().len()), (0, 0));
    assert_eq!(world.caller.budget().left(world.caller.now()), 0, "nothing was earned");
}

#[test]
fn tries_and_waits_share_the_deadline_and_each_node_is_told_what_is_left() {
    let retry = RetryPolicy { attempts: 16, jitter: 0.0, ..RetryPolicy::default() };
    let world = World::new(9, CallPolicy { retry, ..eager() });
    // 100 ms and a wait of 50, 100 ms and one of 100: no time for a fourth, after a wait of 200.
    let error =
        world.call(Repeat::AfterFailure, Some(ms(500)), &[Fails(100, ERROR); 9]).unwrap_err();
    assert_eq!((error.kind, error.report.attempts.len()), (CallErrorKind::DeadlineExceeded, 3));
    assert_eq!(error.report.took, ms(450), "it does not wait for what is not to come");
    let left: Vec<_> = world.seen.lock().unwrap().iter().map(|a| a.deadline.unwrap()).collect();
    assert!(left.iter().all(|deadline| deadline.left(Duration::ZERO) == ms(500)));
}

#[test]
fn a_call_that_hangs_ends_at_its_deadline_and_its_node_is_blamed() {
    let world = World::new(3, eager());
    let outcome = world.call(Repeat::AfterFailure, Some(ms(30)), &[Hangs]);
    assert_eq!(outcomes(&outcome), [AttemptOutcome::Failed(FailureKind::Timeout)]);
    let error = outcome.unwrap_err();
    assert_eq!((error.kind, error.report.took), (CallErrorKind::DeadlineExceeded, ms(30)));
    assert!(error.to_string().contains("1 attempt in 30ms: node-"), "{error}");
    assert_eq!(error.last, None);
}

#[test]
fn a_node_that_got_what_others_left_of_the_time_is_not_blamed() {
    let world = World::new(3, eager());
    let outcome = world.call(Repeat::AfterFailure, Some(ms(30)), &[Fails(25, ERROR), Hangs]);
    assert_eq!(outcomes(&outcome), [AttemptOutcome::Failed(ERROR), AttemptOutcome::Cancelled]);
    let error = outcome.unwrap_err();
    assert_eq!((error.kind, error.report.took), (CallErrorKind::DeadlineExceeded, ms(30)));
    assert_eq!((error.report.attempts[1].took, world.in_flight()), (ms(5), 0));
}

#[test]
fn the_policy_has_a_deadline_too_and_the_earlier_one_holds() {
    let retry = RetryPolicy { deadline: Some(ms(20)), ..eager().retry };
    for (own, expected) in [(None, 20), (Some(ms(50)), 20), (Some(ms(5)), 5)] {
        let world = World::new(3, CallPolicy { retry, ..eager() });
        let error = world.call(Repeat::AfterFailure, own, &[Hangs]).unwrap_err();
        assert_eq!(error.report.took, ms(expected));
    }
}

#[test]
fn an_attempt_that_takes_too_long_is_a_timeout_and_opens_the_breaker() {
    let retry = RetryPolicy { per_try_timeout: Some(ms(10)), ..eager().retry };
    let breaker = BreakerPolicy { consecutive_failures: Some(1), ..BreakerPolicy::default() };
    let balancing = BalancerPolicy { breaker, panic_below: 0.0, ..patient() };
    let world = World::with(2, CallPolicy { retry, ..eager() }, balancing, 1);
    let outcome = world.call(Repeat::AfterFailure, Some(ms(100)), &[Hangs, Answers(3)]);
    let timeout = AttemptOutcome::Failed(FailureKind::Timeout);
    assert_eq!(outcomes(&outcome), [timeout, AttemptOutcome::Succeeded]);
    let answer = outcome.unwrap();
    assert_eq!((answer.value, answer.report.took), (2, ms(13)));
    let asked = world.seen.lock().unwrap();
    assert_eq!(asked[0].deadline.unwrap().left(Duration::ZERO), ms(10));
    assert_eq!(asked[1].deadline.unwrap().left(Duration::ZERO), ms(20));
    let slow = asked[0].endpoint.id.clone();
    drop(asked);
    for _ in 0..4 {
        let answer = world.call(Repeat::Never, None, &[Answers(0)]).unwrap();
        assert_ne!(answer.report.attempts[0].node, slow, "its breaker is open");
    }
}

// Nodes that take nothing.

#[test]
fn a_node_that_asks_for_a_rest_gets_one() {
    let world = World::new(2, eager());
    let busy = FailureKind::Overloaded { retry_after: Some(Duration::from_secs(3)) };
    let answer = world.call(Repeat::AfterFailure, None, &[Fails(0, busy), Answers(0)]).unwrap();
    let tired = answer.report.attempts[0].node.clone();
    for _ in 0..4 {
        let answer = world.call(Repeat::Never, None, &[Answers(0)]).unwrap();
        assert_ne!(answer.report.attempts[0].node, tired);
    }
    world.clock.advance(Duration::from_secs(3));
    let later = || world.call(Repeat::Never, None, &[Answers(0)]).unwrap().report;
    assert!((0..4).any(|_| later().attempts[0].node == tired), "it is back");
}

#[test]
fn a_node_that_is_back_soon_is_waited_for() {
    let world = World::new(1, eager());
    let rest = ms(500);
    let busy = FailureKind::Overloaded { retry_after: Some(rest) };
    let answer = world.call(Repeat::AfterFailure, None, &[Fails(0, busy), Answers(0)]).unwrap();
    assert_eq!((answer.value, answer.report.attempts[1].after >= rest), (2, true));

    // Even what must not be sent twice waits: it was not sent.
    world.call(Repeat::Never, None, &[Fails(0, busy)]).unwrap_err();
    assert_eq!(world.call(Repeat::Never, None, &[Answers(0)]).unwrap().value, 1);
}

#[test]
fn nobody_is_waited_for_beyond_deadline_policy_or_budget() {
    let ends = |policy: CallPolicy, within, rest| {
        let world = World::new(1, policy);
        let busy = FailureKind::Overloaded { retry_after: Some(rest) };
        world.call(Repeat::Never, None, &[Fails(0, busy)]).unwrap_err();
        let error = world.call(Repeat::Never, within, &[Answers(0)]).unwrap_err();
        assert!(matches!(error.kind, CallErrorKind::NoNode(_)), "{error:?}");
        assert_eq!((error.report.took, error.report.attempts.len()), (Duration::ZERO, 0));
        assert_eq!(fogcore::Error::from(error).kind(), fogcore::ErrorKind::Unavailable);
    };
    ends(eager(), Some(ms(500)), ms(500));
    ends(eager(), None, ms(2_001));
    let budget = BudgetPolicy { share: 0.0, ..eager().budget };
    ends(CallPolicy { budget, ..eager() }, None, ms(500));
    let retry = RetryPolicy { attempts: 1, ..eager().retry };
    ends(CallPolicy { retry, ..eager() }, None, ms(500));
}

#[test]
fn without_any_node_a_call_ends_at_once() {
    let world = World::new(0, eager());
    let error = world.call(Repeat::Anytime, None, &[]).unwrap_err();
    assert!(matches!(error.kind, CallErrorKind::NoNode(_)));
    assert_eq!((error.report.took, error.last), (Duration::ZERO, None));
}

// Hedges.

#[test]
fn a_slow_node_is_overtaken_by_another_one_and_not_blamed() {
    let world = World::new(3, hedging(1)).warmed();
    let outcome = world.call(Repeat::Anytime, None, &[Answers(100), Answers(5)]);
    assert_eq!(kinds(&outcome), [AttemptKind::First, AttemptKind::Hedge]);
    assert_eq!(outcomes(&outcome), [AttemptOutcome::Cancelled, AttemptOutcome::Succeeded]);
    let answer = outcome.unwrap();
    assert_eq!((answer.value, answer.report.took), (2, ms(15)));
    let [first, hedge] = &answer.report.attempts[..] else { panic!("{answer:?}") };
    assert_eq!((first.took, hedge.after, hedge.took), (ms(15), ms(10), ms(5)));
    assert!(hedge.kind.is_hedge() && first.node != hedge.node);
    assert_eq!(world.in_flight(), 0, "the loser is dropped");
}

#[test]
fn a_hedge_that_is_slower_is_dropped() {
    let world = World::new(3, hedging(1)).warmed();
    let outcome = world.call(Repeat::Anytime, None, &[Answers(12), Answers(5)]);
    assert_eq!(outcomes(&outcome), [AttemptOutcome::Succeeded, AttemptOutcome::Cancelled]);
    assert_eq!((outcome.unwrap().value, world.in_flight()), (1, 0));
}

#[test]
fn who_answers_in_time_is_not_overtaken() {
    let world = World::new(3, hedging(1)).warmed();
    assert_eq!(world.call(Repeat::Anytime, None, &[Answers(9)]).unwrap().report.attempts.len(), 1);
    let once = world.call(Repeat::AfterFailure, None, &[Answers(99)]).unwrap();
    assert_eq!(once.report.attempts.len(), 1, "this one must not be sent twice at a time");
}

#[test]
fn hedges_end_where_policy_nodes_or_purse_do() {
    let asked = |nodes, policy| {
        let world = World::new(nodes, policy).warmed();
        let outcome = world.call(Repeat::Anytime, None, &[Answers(200), Hangs, Hangs, Hangs]);
        assert_eq!(outcome.unwrap().value, 1);
        let asked = world.nodes_asked();
        assert!(all_different(&asked), "{asked:?}");
        asked.len()
    };
    assert_eq!(asked(9, hedging(3)), 4);
    assert_eq!(asked(9, hedging(1)), 2);
    assert_eq!(asked(1, hedging(3)), 1);
    let budget = BudgetPolicy { share: 0.5, ..hedging(3).budget };
    assert_eq!(asked(9, CallPolicy { budget, ..hedging(3) }), 2, "two calls earn one hedge");
}

#[test]
fn a_hedge_is_the_retry_of_what_fails_beside_it() {
    let world = World::new(5, hedging(1)).warmed();
    let outcome = world.call(Repeat::Anytime, None, &[Fails(12, ERROR), Answers(9)]);
    assert_eq!(outcomes(&outcome), [AttemptOutcome::Failed(ERROR), AttemptOutcome::Succeeded]);
    assert_eq!(outcome.unwrap().report.took, ms(19));
}

#[test]
fn when_the_hedge_fails_and_the_first_hangs_a_third_is_asked() {
    let world = World::new(5, hedging(1)).warmed();
    let outcome = world.call(Repeat::Anytime, None, &[Hangs, Fails(1, ERROR), Answers(1)]);
    assert_eq!(kinds(&outcome), [AttemptKind::First, AttemptKind::Hedge, AttemptKind::Retry]);
    let answer = outcome.unwrap();
    assert_eq!((answer.value, answer.report.took), (3, ms(22)), "after another delay");
    assert!(all_different(&world.nodes_asked()));
}

#[test]
fn a_third_that_was_to_be_asked_is_not_waited_for_beyond_the_deadline() {
    let retry =
        RetryPolicy { per_try_timeout: Some(ms(15)), backoff_first: ms(10), ..eager().retry };
    for seed in 0..20 {
        let policy = CallPolicy { retry, ..hedging(1) };
        let world = World::with(5, policy, patient(), seed).warmed();
        let script = [Hangs, Fails(1, ERROR), Hangs];
        let error = world.call(Repeat::Anytime, Some(ms(20)), &script).unwrap_err();
        assert_eq!(error.kind, CallErrorKind::DeadlineExceeded);
        assert!(error.report.took <= ms(20), "{error}");
    }
}

#[test]
fn a_request_at_fault_ends_its_hedges_too() {
    let world = World::new(5, hedging(2)).warmed();
    let script = [Hangs, Fails(1, FailureKind::Rejected), Answers(1)];
    let outcome = world.call(Repeat::Anytime, None, &script);
    let rejected = AttemptOutcome::Failed(FailureKind::Rejected);
    assert_eq!(outcomes(&outcome), [AttemptOutcome::Cancelled, rejected]);
    assert_eq!((outcome.unwrap_err().report.took, world.in_flight()), (ms(11), 0));
}

#[test]
fn who_hangs_is_blamed_at_the_deadline_and_their_hedges_are_not() {
    let world = World::new(5, hedging(1)).warmed();
    let outcome = world.call(Repeat::Anytime, Some(ms(40)), &[Hangs, Hangs]);
    let timeout = AttemptOutcome::Failed(FailureKind::Timeout);
    assert_eq!(outcomes(&outcome), [timeout, AttemptOutcome::Cancelled]);
    let error = outcome.unwrap_err();
    assert_eq!((error.kind, error.report.took), (CallErrorKind::DeadlineExceeded, ms(40)));
}

/// One call in six takes 20 to 200 ms, the others 10 ms. Were those that are overtaken forgotten,
/// the delay would come down to 10 ms.
#[test]
fn the_delay_does_not_shrink_by_what_hedges_cut_off() {
    let hedge = HedgePolicy { percentile: 0.9, min_samples: 100, ..HedgePolicy::default() };
    let world = World::new(9, CallPolicy { hedge: Some(hedge), ..eager() });
    let mut hedged = 0;
    for number in 0..2_000 {
        let first = if number % 6 == 0 { 20 + number / 6 * 37 % 180 } else { 10 };
        let answer = world.call(Repeat::Anytime, None, &[Answers(first), Answers(10)]).unwrap();
        hedged += answer.report.attempts.len() - 1;
    }
    let delay = world.caller.hedge_delay().unwrap();
    assert!(hedged > 100 && delay > ms(40), "{delay:?} after {hedged} hedges");
}

// Copies.

#[test]
fn a_redundant_call_asks_several_nodes_at_once_and_takes_the_first_answer() {
    let world = World::new(5, eager());
    let outcome = world.redundant(3, None, &[Hangs, Answers(7), Answers(5)]);
    assert_eq!(kinds(&outcome), [AttemptKind::First, AttemptKind::Copy, AttemptKind::Copy]);
    let answer = outcome.unwrap();
    assert_eq!((answer.value, answer.report.took), (3, ms(5)));
    assert!(answer.report.attempts.iter().all(|attempt| attempt.after.is_zero()));
    assert!(all_different(&world.nodes_asked()));
    assert_eq!(world.in_flight(), 0);
}

#[test]
fn a_redundant_call_asks_as_many_as_there_are_and_at_most_eight() {
    let asked = |nodes, factor| {
        let world = World::new(nodes, eager());
        world.redundant(factor, None, &[Answers(1); 12]).unwrap().report.attempts.len()
    };
    assert_eq!((asked(2, 5), asked(12, 200), asked(12, 0)), (2, 8, 1));
}

#[test]
fn a_redundant_call_survives_failures_and_costs_no_budget() {
    let budget = BudgetPolicy { share: 0.0, ..eager().budget };
    let world = World::new(5, CallPolicy { budget, ..eager() });
    let outcome = world.redundant(2, None, &[Fails(1, ERROR), Answers(4)]);
    assert_eq!(outcomes(&outcome), [AttemptOutcome::Failed(ERROR), AttemptOutcome::Succeeded]);
    let error = world.redundant(2, None, &[Fails(1, ERROR), Fails(4, ERROR)]).unwrap_err();
    assert_eq!((error.kind, error.last), (CallErrorKind::BudgetExhausted, Some(Wrong(2))));
}

#[test]
fn when_all_copies_fail_a_further_node_is_tried() {
    let world = World::new(5, eager());
    let script = [Fails(1, ERROR), Fails(4, ERROR), Answers(1)];
    let outcome = world.redundant(2, None, &script);
    assert_eq!(kinds(&outcome), [AttemptKind::First, AttemptKind::Copy, AttemptKind::Retry]);
    assert_eq!((outcome.unwrap().value, all_different(&world.nodes_asked())), (3, true));
}

// What callers bring along.

#[test]
fn one_function_may_say_what_errors_mean() {
    let world = World::new(3, eager());
    let classify = |wrong: &Wrong| if wrong.0 < 2 { ERROR } else { FailureKind::Rejected };
    let work = |attempt: Attempt| async move { Err::<(), _>(Wrong(attempt.number)) };
    let call =
        world.caller.call_classified(Request::new(), Repeat::AfterFailure, None, classify, work);
    let error = world.drive(call).unwrap_err();
    assert_eq!((error.kind, error.last), (CallErrorKind::Rejected, Some(Wrong(2))));
}

#[test]
fn a_closure_that_panics_leaves_nothing_behind_and_blames_nobody() {
    let breaker = BreakerPolicy { consecutive_failures: Some(1), ..BreakerPolicy::default() };
    let balancing = BalancerPolicy { breaker, panic_below: 0.0, ..patient() };
    for script in [vec![Panics(0)], vec![Panics(3)], vec![Hangs, Panics(3)]] {
        let world = World::with(3, hedging(1), balancing.clone(), 1).warmed();
        let call = || world.call(Repeat::Anytime, None, &script);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).unwrap_err();
        assert_eq!(world.in_flight(), 0);
        for node in &world.nodes {
            assert!(takes(&world, node), "{node} is not to blame");
        }
    }
}

/// Whether a node takes a request, by whatever way it can be asked.
fn takes(world: &World, node: &NodeId) -> bool {
    let request = Request::new().holding_on(Affinity::Node(node.clone()));
    let work = world.work(&[Answers(0)]);
    let answer = world.drive(world.caller.call(request, Repeat::Never, None, work));
    answer.is_ok_and(|answer| answer.report.attempts[0].node == *node)
}

#[test]
fn a_call_can_move_between_threads() {
    fn is_send<T: Send>(_: &T) {}
    let world = World::new(1, eager());
    is_send(&world.caller.call(Request::new(), Repeat::Never, None, world.work(&[])));
    is_send(&world.caller.call_redundant(2, Request::new(), None, world.work(&[])));
}

#[test]
fn calls_retries_and_hedges_are_counted() {
    let recorder = counting::Recorder::default();
    metrics::with_local_recorder(&recorder, || {
        let world = World::new(5, hedging(1)).warmed();
        world.call(Repeat::Anytime, None, &[Fails(1, ERROR), Answers(1)]).unwrap();
        world.call(Repeat::Anytime, None, &[Hangs, Answers(1)]).unwrap();
        world.call(Repeat::Never, None, &[Fails(1, ERROR)]).unwrap_err();
        let call = world.caller.call(Request::new(), Repeat::Never, None, world.work(&[Hangs]));
        let mut call = Box::pin(call);
        assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    });
    let expected = [
        ("fogcore_call_hedges_total{}", 1),
        ("fogcore_call_retries_total{}", 1),
        ("fogcore_calls_total{result=cancelled}", 1),
        ("fogcore_calls_total{result=not_repeatable}", 1),
        ("fogcore_calls_total{result=success}", 3),
    ];
    assert_eq!(recorder.counts(), expected.map(|(name, count)| (name.to_owned(), count)));
}

// Cut off anywhere.

/// Half-open breakers let one call through each; a call that is cut off must give that back.
fn half_open() -> (World, Vec<Act>) {
    let breaker = BreakerPolicy {
        consecutive_failures: Some(1),
        half_open_permits: 1,
        open_for: ms(50),
        open_jitter: 0.0,
        ramp: Duration::ZERO,
        ..BreakerPolicy::default()
    };
    let balancing = BalancerPolicy { breaker, panic_below: 0.0, ..patient() };
    let retry = RetryPolicy { attempts: 4, ..RetryPolicy::default() };
    let policy = CallPolicy { retry, ..hedging(3) };
    let world = World::with(6, policy, balancing, 5).warmed();
    for node in &world.nodes {
        let request = Request::new().holding_on(Affinity::Node(node.clone()));
        let work = world.work(&[Fails(0, ERROR)]);
        world.drive(world.caller.call(request, Repeat::Never, None, work)).unwrap_err();
    }
    world.clock.advance(ms(60));
    world.seen.lock().unwrap().clear();
    // A retry that hangs, a hedge that fails, a slow one, and one that is faster.
    let script = vec![
        Fails(3, FailureKind::Overloaded { retry_after: Some(MS) }),
        Hangs,
        Fails(2, FailureKind::Overloaded { retry_after: Some(MS) }),
        Answers(60),
        Answers(30),
    ];
    (world, script)
}

fn nothing_is_left_behind(world: &World, cut_at: usize) {
    assert_eq!(world.in_flight(), 0, "cut at {cut_at}");
    assert_eq!(world.clock.sleepers(), 0, "cut at {cut_at}");
    world.clock.advance(ms(2));
    for node in &world.nodes {
        assert!(takes(world, node), "cut at {cut_at}: the probe of {node} is taken");
    }
}

#[test]
fn wherever_a_call_is_dropped_no_permit_stays_behind() {
    let mut most_in_flight = 0;
    for steps in 0.. {
        let (world, script) = half_open();
        let deadline = Some(world.caller.deadline(ms(200)));
        let work = world.work(&script);
        let mut call = Box::pin(world.caller.call(Request::new(), Repeat::Anytime, deadline, work));
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let mut done = None;
        for _ in 0..steps {
            match woken.poll(call.as_mut()) {
                Some(Poll::Ready(outcome)) => {
                    done = Some(outcome);
                    break;
                }
                Some(Poll::Pending) => most_in_flight = most_in_flight.max(world.in_flight()),
                None => world.clock.advance(MS),
            }
        }
        drop(call);
        nothing_is_left_behind(&world, steps);
        if let Some(outcome) = done {
            use AttemptKind::{First, Hedge, Retry};
            assert_eq!(kinds(&outcome), [First, Retry, Hedge, Hedge, Hedge]);
            assert_eq!(outcome.unwrap().value, 5);
            break;
        }
        assert!(steps < 1_000, "this should have ended by now");
    }
    assert!(most_in_flight >= 3, "the script has several in flight: {most_in_flight}");
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "what is spawned is aborted and awaited at once")]
async fn wherever_a_call_is_aborted_no_permit_stays_behind() {
    for steps in 0.. {
        let (world, script) = half_open();
        let (caller, work) = (world.caller.clone(), world.work(&script));
        let task = tokio::spawn(async move {
            let deadline = Some(caller.deadline(ms(200)));
            caller.call(Request::new(), Repeat::Anytime, deadline, work).await
        });
        for _ in 0..steps {
            tokio::task::yield_now().await;
            world.clock.advance(MS);
        }
        let done = task.is_finished();
        task.abort();
        let ended = task.await;
        assert_eq!(ended.is_ok(), done);
        nothing_is_left_behind(&world, steps);
        if done {
            assert_eq!(ended.unwrap().unwrap().value, 5);
            break;
        }
        assert!(steps < 1_000, "this should have ended by now");
    }
}

// Whatever happens.

fn an_act() -> impl Strategy<Value = Act> {
    let kind = prop_oneof![
        4 => Just(ERROR),
        2 => Just(FailureKind::Unreachable),
        1 => Just(FailureKind::Overloaded { retry_after: None }),
        1 => Just(FailureKind::Rejected),
    ];
    prop_oneof![
        3 => (0_u32..40).prop_map(Answers),
        5 => (0_u32..40, kind.clone()).prop_map(|(after, kind)| Fails(after, kind)),
        1 => kind.prop_map(FailsUnsent),
        2 => Just(Hangs),
    ]
}

fn a_repeat() -> impl Strategy<Value = Repeat> {
    prop_oneof![1 => Just(Repeat::Never), 1 => Just(Repeat::AfterFailure), 3 => Just(Repeat::Anytime)]
}

#[derive(Clone, Debug)]
struct Plan {
    repeat: Repeat,
    copies: u8,
    deadline: u32,
    script: Vec<Act>,
}

fn a_plan() -> impl Strategy<Value = Plan> {
    let script = proptest::collection::vec(an_act(), 12);
    let copies = prop_oneof![3 => Just(1_u8), 1 => 2_u8..5];
    (a_repeat(), copies, 0_u32..120, script).prop_map(|(repeat, copies, deadline, script)| Plan {
        repeat,
        copies,
        deadline,
        script,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_nodes_do_a_call_keeps_within_its_bounds(
        nodes in 1_usize..6,
        attempts in 1_u32..6,
        most in 0_u32..4,
        per_try_timeout in proptest::option::of(1_u32..50),
        share in 0_u32..4,
        seed: u64,
        plans in proptest::collection::vec(a_plan(), 1..8),
    ) {
        let retry = RetryPolicy {
            attempts,
            backoff_first: ms(10),
            per_try_timeout: per_try_timeout.map(ms),
            ..RetryPolicy::default()
        };
        let share = f64::from(share) / 2.0;
        let budget = BudgetPolicy { share, floor_per_second: 0.0, most: 1_000 };
        let hedge = hedging(most).hedge;
        // Nodes that were overloaded rest for longer than the test takes.
        let day = Duration::from_secs(86_400);
        let lowering = LoweringPolicy { unless_told: day, at_most: day };
        let balancing = BalancerPolicy { lowering, ..patient() };
        let world = World::with(nodes, CallPolicy { retry, hedge, budget }, balancing, seed);
        world.call(Repeat::Never, None, &[Answers(0)]).unwrap();
        let (mut calls, mut spent) = (1_u32, 0_u64);
        let mut resting: BTreeSet<NodeId> = BTreeSet::new();
        for Plan { repeat, copies, deadline, script } in plans {
            let began = world.caller.now();
            let redundant = copies > 1;
            let outcome = if redundant {
                world.redundant(copies, Some(ms(deadline)), &script)
            } else {
                world.call(repeat, Some(ms(deadline)), &script)
            };
            let repeat = if redundant { Repeat::Anytime } else { repeat };
            prop_assert_eq!(world.in_flight(), 0);
            let report = match &outcome {
                Ok(answer) => &answer.report,
                Err(error) => &error.report,
            };

            // Time.
            prop_assert!(report.took <= ms(deadline));
            prop_assert_eq!(world.caller.now() - began, report.took);
            for attempt in &report.attempts {
                prop_assert!(attempt.after + attempt.took <= report.took);
                if let Some(timeout) = per_try_timeout {
                    prop_assert!(attempt.took <= ms(timeout));
                }
            }

            // How many.
            let count = |kind| {
                let of_kind = |kind| report.attempts.iter().filter(move |a| a.kind == kind);
                u32::try_from(of_kind(kind).count()).unwrap()
            };
            let (retries, hedges) = (count(AttemptKind::Retry), count(AttemptKind::Hedge));
            let (first, extra) = (count(AttemptKind::First), count(AttemptKind::Copy));
            prop_assert!(first <= 1 && first + retries <= attempts);
            prop_assert!(extra < u32::from(copies));
            let may_hedge = repeat == Repeat::Anytime && !redundant;
            prop_assert!(hedges <= if may_hedge { most } else { 0 }, "hedges");
            if repeat == Repeat::Never {
                let unsent = script.iter().take_while(|act| matches!(act, FailsUnsent(_))).count();
                prop_assert!(report.attempts.len() <= unsent + 1);
            }

            // The purse.
            calls += first;
            spent += u64::from(retries + hedges);
            let left = world.caller.budget().left(world.caller.now());
            prop_assert!((spent + left) as f64 <= share * f64::from(calls) + 1e-9);

            // Elsewhere, as long as there is an elsewhere.
            let mut tried = BTreeSet::new();
            for attempt in &report.attempts {
                prop_assert!(!resting.contains(&attempt.node));
                if !tried.insert(attempt.node.clone()) {
                    prop_assert_eq!(attempt.kind, AttemptKind::Retry);
                    let others = world.nodes.iter().filter(|node| !resting.contains(*node));
                    let missed: Vec<_> = others.filter(|node| !tried.contains(*node)).collect();
                    prop_assert!(missed.is_empty(), "{missed:?} were not tried");
                }
            }
            let overloaded = FailureKind::Overloaded { retry_after: None };
            let tired = report.attempts.iter();
            let tired = tired.filter(|a| a.outcome == AttemptOutcome::Failed(overloaded));
            resting.extend(tired.map(|attempt| attempt.node.clone()));

            // What it says.
            let won = |a: &&_| matches!(a, AttemptOutcome::Succeeded);
            let winners = outcomes(&outcome).iter().filter(won).count();
            prop_assert_eq!(winners, usize::from(outcome.is_ok()));
            match &outcome {
                Ok(answer) => {
                    let winner = &answer.report.attempts[answer.value as usize - 1];
                    prop_assert_eq!(winner.outcome, AttemptOutcome::Succeeded);
                }
                Err(error) => {
                    let rejected = AttemptOutcome::Failed(FailureKind::Rejected);
                    let has = error.report.attempts.iter().any(|a| a.outcome == rejected);
                    prop_assert_eq!(error.kind == CallErrorKind::Rejected, has);
                }
            }
        }
    }
}

/// A recorder of metrics that keeps counters, by name and labels.
mod counting {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex};

    use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};

    #[derive(Default)]
    pub(crate) struct Recorder(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

    impl Recorder {
        pub(crate) fn counts(&self) -> Vec<(String, u64)> {
            let counts = self.0.lock().unwrap();
            counts.iter().map(|(name, n)| (name.clone(), n.load(Ordering::Relaxed))).collect()
        }
    }

    impl metrics::Recorder for Recorder {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            let labels: Vec<_> =
                key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            let name = format!("{}{{{}}}", key.name(), labels.join(","));
            Counter::from_arc(self.0.lock().unwrap().entry(name).or_default().clone())
        }
        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::noop()
        }
        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }
}
