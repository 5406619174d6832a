//! The breaker and what it counts with under every order of two threads.

use ::loom::sync::Arc;
use ::loom::sync::atomic::AtomicUsize;
use ::loom::thread;

use super::count_window::CountWindow;
use super::time_window::TimeWindow;
use super::*;
use crate::failover::atomics::model;

const SUCCESS: Outcome = Outcome::SUCCESS;
const FAILURE: Outcome = Outcome::new(true, false);
const OPEN_FOR: Duration = Duration::from_secs(1);
/// A breaker that opened at the beginning lets probes through.
const PROBING: u64 = 1_000_000_000;

/// Runs both at once.
fn both<T: Send + Sync + 'static>(
    shared: &Arc<T>,
    one: impl FnOnce(&T) + 'static,
    other: impl FnOnce(&T),
) {
    let theirs = Arc::clone(shared);
    let thread = thread::spawn(move || one(&theirs));
    other(shared);
    thread.join().unwrap();
}

fn seen(calls: u32, failures: u32) -> Counts {
    Counts { calls, failures, slow: 0 }
}

#[test]
fn no_failure_is_lost_or_counted_twice() {
    model(|| {
        let window = Arc::new(CountWindow::new(4));
        let two = |window: &CountWindow| {
            window.record(1, FAILURE);
            window.record(1, SUCCESS);
        };
        both(&window, two, two);
        assert_eq!(window.counts(1), seen(4, 2));
    });
}

#[test]
fn what_leaves_the_window_is_taken_off_once() {
    model(|| {
        let window = Arc::new(CountWindow::new(2));
        window.record(1, FAILURE);
        window.record(1, FAILURE);
        let one = |window: &CountWindow| {
            window.record(1, SUCCESS);
        };
        both(&window, one, one);
        assert_eq!(window.counts(1), seen(2, 0));
        window.record(1, FAILURE);
        assert_eq!(window.counts(1), seen(2, 1));
    });
}

#[test]
fn a_call_that_pushes_another_out_at_once_leaves_the_sums_right() {
    model(|| {
        let window = Arc::new(CountWindow::new(1));
        let one = |outcome| {
            move |window: &CountWindow| {
                window.record(1, outcome);
            }
        };
        both(&window, one(FAILURE), one(FAILURE));
        assert_eq!(window.counts(1), seen(1, 1));
    });
}

#[test]
fn the_first_failure_among_successes_is_counted() {
    model(|| {
        let window = Arc::new(CountWindow::new(3));
        window.record(1, SUCCESS);
        let good = |window: &CountWindow| {
            window.record(1, SUCCESS);
        };
        let bad = |window: &CountWindow| {
            window.record(1, FAILURE);
        };
        both(&window, good, bad);
        assert_eq!(window.counts(1), seen(3, 1));
    });
}

#[test]
fn a_late_result_changes_nothing_in_the_windows_next_generation() {
    model(|| {
        let window = Arc::new(CountWindow::new(2));
        window.record(1, FAILURE);
        let late = |window: &CountWindow| {
            window.record(1, FAILURE);
        };
        let current = |window: &CountWindow| {
            window.record(2, FAILURE);
            window.record(2, SUCCESS);
        };
        both(&window, late, current);
        assert_eq!(window.counts(1), seen(0, 0));
        let Counts { failures, .. } = window.counts(2);
        assert!(failures <= 1, "{failures}");
        window.record(2, SUCCESS);
        window.record(2, SUCCESS);
        assert_eq!(window.counts(2), seen(2, 0));
    });
}

#[test]
fn calls_of_one_step_of_time_are_all_counted() {
    model(|| {
        let window = Arc::new(TimeWindow::new(OPEN_FOR));
        let one = |window: &TimeWindow| {
            window.record(1, FAILURE, 7);
        };
        both(&window, one, one);
        assert_eq!(window.counts(1, 7), seen(2, 2));
    });
}

#[test]
fn a_call_of_long_ago_is_not_counted_in_the_step_that_took_its_place() {
    model(|| {
        let window = Arc::new(TimeWindow::new(OPEN_FOR));
        let at = |now: u64| {
            move |window: &TimeWindow| {
                window.record(1, FAILURE, now);
            }
        };
        // A whole window apart: the same bucket.
        both(&window, at(7), at(7 + PROBING));
        assert_eq!(window.counts(1, 7 + PROBING), seen(1, 1));
    });
}

#[test]
fn calls_in_flight_come_out_even_however_late_they_end() {
    model(|| {
        let after = Duration::from_nanos(8);
        let overdue = Arc::new(Overdue::new(after, 1));
        let call = |began: u64| {
            move |overdue: &Overdue| {
                overdue.begin(began);
                overdue.end(began, 1);
            }
        };
        overdue.begin(3);
        // Sixteen steps apart: the same bucket.
        both(&overdue, call(3), call(19));
        assert_eq!(overdue.count(100), 1);
        overdue.end(3, 1);
        assert_eq!(overdue.count(100), 0);
    });
}

/// One failure opens it, and one probe at a time decides.
fn strict() -> BreakerPolicy {
    BreakerPolicy {
        consecutive_failures: Some(1),
        open_for: OPEN_FOR,
        open_jitter: 0.0,
        half_open_permits: 1,
        successes_to_close: 1,
        ramp: Duration::ZERO,
        ..BreakerPolicy::default()
    }
}

fn opened() -> Breaker {
    let breaker = Breaker::new(strict()).unwrap();
    breaker.fail(breaker.admit(0).unwrap(), 0);
    breaker
}

#[test]
fn it_opens_once_however_many_calls_fail_at_once() {
    model(|| {
        let told = std::sync::Arc::new(AtomicUsize::new(0));
        let count = std::sync::Arc::clone(&told);
        let counts = Arc::new(Breaker::new(strict()).unwrap().on_change(std::sync::Arc::new(
            move |change| {
                assert_eq!(change.to, BreakerState::Open);
                count.fetch_add(1, Ordering::Relaxed);
            },
        )));
        let fails = |ticket| move |breaker: &Breaker| breaker.fail(ticket, 0);
        let tickets = [counts.admit(0).unwrap(), counts.admit(0).unwrap()];
        both(&counts, fails(tickets[0]), fails(tickets[1]));
        assert_eq!(told.load(Ordering::Relaxed), 1);
        assert_eq!(counts.state.load(Ordering::Acquire), word(2, OPEN));
        assert_eq!(counts.open_until(), Some(PROBING));
    });
}

/// A breaker, and how many probes are on their way.
struct Probed {
    breaker: Breaker,
    probes: AtomicUsize,
}

impl Probed {
    fn new() -> Arc<Self> {
        Arc::new(Self { breaker: opened(), probes: AtomicUsize::new(0) })
    }

    /// Asks for one call, and ends it if there is leave.
    fn probe(&self, end: impl FnOnce(&Breaker, Ticket)) {
        let Ok(ticket) = self.breaker.admit(PROBING) else { return };
        if kind(ticket.word) == HALF_OPEN {
            assert_eq!(self.probes.fetch_add(1, Ordering::Relaxed), 0, "one at a time");
            self.probes.fetch_sub(1, Ordering::Relaxed);
        }
        end(&self.breaker, ticket);
    }
}

#[test]
fn a_probe_that_is_given_up_frees_its_place() {
    model(|| {
        let probed = Probed::new();
        let give_up = |probed: &Probed| probed.probe(Breaker::cancel);
        both(&probed, give_up, give_up);
        assert_eq!(probed.breaker.state(), BreakerState::HalfOpen);
        assert!(probed.breaker.admit(PROBING).is_ok(), "the place is free");
        assert!(probed.breaker.admit(PROBING).is_err(), "there is but one");
    });
}

#[test]
fn a_probe_that_fails_beside_another_opens_it_and_frees_both_places() {
    model(|| {
        let probed = Probed::new();
        let fail = |probed: &Probed| probed.probe(|breaker, ticket| breaker.fail(ticket, PROBING));
        let give_up = |probed: &Probed| probed.probe(Breaker::cancel);
        both(&probed, fail, give_up);
        let later = 10 * PROBING;
        assert!(probed.breaker.admit(later).is_ok(), "the place is free");
        assert!(probed.breaker.admit(later).is_err(), "there is but one");
    });
}

#[test]
fn a_probe_that_succeeds_closes_it_once() {
    model(|| {
        let probed = Probed::new();
        let succeed =
            |probed: &Probed| probed.probe(|breaker, ticket| breaker.succeed(ticket, PROBING));
        both(&probed, succeed, succeed);
        assert_eq!(probed.breaker.state(), BreakerState::Closed);
        // Closed, open, half open, closed: each once.
        assert_eq!(generation(probed.breaker.state.load(Ordering::Acquire)), 4);
    });
}

#[test]
fn a_late_failure_neither_opens_the_next_state_nor_counts_in_its_row() {
    model(|| {
        let policy = BreakerPolicy { consecutive_failures: Some(2), ..strict() };
        let breaker = Arc::new(Breaker::new(policy).unwrap());
        let late = breaker.admit(0).unwrap();
        let change = |breaker: &Breaker| {
            breaker.reset();
        };
        both(&breaker, move |breaker| breaker.fail(late, 0), change);
        assert_eq!(breaker.stats(Duration::ZERO).failures, 0);
        breaker.fail(breaker.admit(0).unwrap(), 0);
        assert_eq!(breaker.state(), BreakerState::Closed, "one in a row");
        breaker.fail(breaker.admit(0).unwrap(), 0);
        assert_eq!(breaker.state(), BreakerState::Open);
    });
}

#[test]
fn a_success_that_changes_nothing_hides_no_failure() {
    model(|| {
        let policy = BreakerPolicy {
            window: BreakerWindow::Count(2),
            min_calls: 2,
            consecutive_failures: None,
            ..strict()
        };
        let breaker = Arc::new(Breaker::new(policy).unwrap());
        (0..2).for_each(|_| breaker.succeed(breaker.admit(0).unwrap(), 0));
        let tickets = [breaker.admit(0).unwrap(), breaker.admit(0).unwrap()];
        let good = move |breaker: &Breaker| breaker.succeed(tickets[0], 0);
        both(&breaker, good, move |breaker| breaker.fail(tickets[1], 0));
        // One of the latest two failed, in whichever order they came.
        assert_eq!(breaker.state(), BreakerState::Open);
    });
}
