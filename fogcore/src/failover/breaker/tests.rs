//! The breaker beside a list of calls, and the promises that such a list does not make.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const STEP: Duration = Duration::from_millis(1);

/// No ramp, no row of failures: the window decides alone.
fn by_window(window: BreakerWindow) -> BreakerPolicy {
    BreakerPolicy {
        window,
        consecutive_failures: None,
        ramp: Duration::ZERO,
        open_jitter: 0.0,
        ..BreakerPolicy::default()
    }
}

fn call(breaker: &Breaker, failed: bool, now: Duration) {
    let permit = breaker.acquire(now).unwrap();
    if failed { permit.failure(now) } else { permit.success(now) }
}

/// What hangs since before it opened was a reason to open, and is none to do so again.
#[test]
fn calls_that_hang_for_ever_do_not_keep_it_from_closing() {
    let policy = BreakerPolicy {
        slow_after: Some(Duration::from_secs(1)),
        slow_rate: 0.5,
        ramp: Duration::from_secs(10),
        ..by_window(BreakerWindow::Count(100))
    };
    let breaker = Breaker::new(policy).unwrap();
    let (mut now, second) = (Duration::ZERO, Duration::from_secs(1));
    let hanging: Vec<_> = (0..20).map(|_| breaker.acquire(now).unwrap()).collect();
    now += second * 3;
    let refused = breaker.acquire(now).unwrap_err();
    assert_eq!(breaker.state(), BreakerState::Open, "so many hang");
    now += refused.retry_after.unwrap();
    for _ in 0..3 {
        call(&breaker, false, now);
    }
    for _ in 0..300 {
        now += Duration::from_millis(100);
        if let Ok(permit) = breaker.acquire(now) {
            permit.success(now);
        }
        assert_eq!(breaker.state(), BreakerState::Closed, "at {now:?}");
    }
    // They end at last, late; and others begin to hang, which is news.
    hanging.into_iter().for_each(|permit| permit.success(now));
    assert_eq!(breaker.stats(now).late_successes, 20);
    let hanging: Vec<_> = (0..150).map(|_| breaker.acquire(now).unwrap()).collect();
    now += second * 3;
    assert_eq!(breaker.stats(now).overdue, 150);
    breaker.acquire(now).unwrap_err();
    assert_eq!(breaker.state(), BreakerState::Open);
    drop(hanging);
    assert_eq!(breaker.stats(now).overdue, 0);
}

#[test]
fn after_very_many_successes_it_opens_after_exactly_half_a_window_of_failures() {
    let breaker = Breaker::new(by_window(BreakerWindow::Count(100))).unwrap();
    for _ in 0..100_000 {
        call(&breaker, false, STEP);
    }
    for _ in 0..49 {
        call(&breaker, true, STEP);
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
    call(&breaker, true, STEP);
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[test]
fn a_window_of_time_forgets_what_is_older() {
    let second = Duration::from_secs(1);
    let breaker = Breaker::new(by_window(BreakerWindow::Time(16 * second))).unwrap();
    for _ in 0..20 {
        call(&breaker, false, second);
    }
    for _ in 0..9 {
        call(&breaker, true, second);
    }
    assert_eq!(breaker.stats(15 * second).calls, 29);
    let now = 17 * second;
    assert_eq!(breaker.stats(now).calls, 0);
    for _ in 0..9 {
        call(&breaker, true, now);
    }
    assert_eq!(breaker.state(), BreakerState::Closed, "nine calls say nothing about a rate");
    call(&breaker, true, now);
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[test]
fn half_open_lets_a_few_through_and_a_failure_opens_it_for_longer() {
    let policy = by_window(BreakerWindow::Count(10));
    let breaker = Breaker::new(policy).unwrap();
    (0..10).for_each(|_| call(&breaker, true, STEP));
    let refused = breaker.acquire(STEP).unwrap_err();
    assert_eq!(refused.retry_after, Some(policy.open_for));
    let now = STEP + policy.open_for;
    let probes: Vec<_> = (0..3).map(|_| breaker.acquire(now).unwrap()).collect();
    assert!(breaker.acquire(now).is_err());
    // Giving up makes room, and says nothing.
    drop(probes);
    let probe = breaker.acquire(now).unwrap();
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    let other = breaker.acquire(now).unwrap();
    probe.failure(now);
    assert_eq!(breaker.acquire(now).unwrap_err().retry_after, Some(2 * policy.open_for));
    // What comes after the change is counted as late, and as nothing else.
    other.success(now);
    assert_eq!(breaker.stats(now).late_successes, 1);
    let now = now + 2 * policy.open_for;
    (0..3).for_each(|_| call(&breaker, false, now));
    assert_eq!(breaker.state(), BreakerState::Closed);
    assert_eq!(breaker.stats(now).failures, 0);
}

#[test]
fn probes_that_hang_open_it_again_for_longer_and_come_back_late() {
    let policy = by_window(BreakerWindow::Count(10));
    let breaker = Breaker::new(policy).unwrap();
    (0..10).for_each(|_| call(&breaker, true, STEP));
    let mut now = STEP + policy.open_for;
    let hanging: Vec<_> = (0..3).map(|_| breaker.acquire(now).unwrap()).collect();
    now += policy.open_for - STEP;
    assert_eq!(breaker.acquire(now).unwrap_err().state, BreakerState::HalfOpen);
    // As long as it was open.
    now += STEP;
    let refused = breaker.acquire(now).unwrap_err();
    assert_eq!(refused.state, BreakerState::Open);
    assert_eq!(refused.retry_after, Some(2 * policy.open_for));
    // What they bring is late, and takes nothing from those who come after them.
    let mut hanging = hanging.into_iter();
    hanging.next().unwrap().success(now);
    hanging.next().unwrap().failure(now);
    drop(hanging);
    let stats = breaker.stats(now);
    assert_eq!((stats.late_successes, stats.late_failures), (1, 1));
    now += 2 * policy.open_for;
    let probes: Vec<_> = (0..3).map(|_| breaker.acquire(now).unwrap()).collect();
    assert!(breaker.acquire(now).is_err());
    probes.into_iter().for_each(|probe| probe.success(now));
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn only_probes_that_fill_all_places_are_waited_for() {
    let policy = by_window(BreakerWindow::Count(10));
    let breaker = Breaker::new(policy).unwrap();
    (0..10).for_each(|_| call(&breaker, true, STEP));
    let mut now = STEP + policy.open_for;
    let _hanging = [breaker.acquire(now).unwrap(), breaker.acquire(now).unwrap()];
    // One after the other, each of which is in time.
    for _ in 0..2 {
        now += 2 * policy.open_for;
        let probe = breaker.acquire(now).unwrap();
        now += policy.open_for - STEP;
        assert_eq!(breaker.acquire(now).unwrap_err().state, BreakerState::HalfOpen);
        probe.success(now);
    }
    call(&breaker, false, now);
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[test]
fn how_long_probes_may_hang_follows_from_the_policy() {
    let second = Duration::from_secs(1);
    let policy = by_window(BreakerWindow::Count(10));
    let slow = BreakerPolicy { slow_after: Some(90 * second), count_overdue: false, ..policy };
    let told = BreakerPolicy { half_open_at_most: Some(7 * second), ..slow };
    for (policy, patience) in [(policy, 60), (slow, 180), (told, 7)] {
        let breaker = Breaker::new(policy).unwrap();
        (0..10).for_each(|_| call(&breaker, true, STEP));
        let began = STEP + policy.open_for;
        let _hanging: Vec<_> = (0..3).map(|_| breaker.acquire(began).unwrap()).collect();
        let state = |after: Duration| breaker.acquire(began + after).unwrap_err().state;
        assert_eq!(state(patience * second - STEP), BreakerState::HalfOpen);
        assert_eq!(state(patience * second), BreakerState::Open);
    }
    for most in [Duration::ZERO, 86_401 * second] {
        let policy = BreakerPolicy { half_open_at_most: Some(most), ..policy };
        assert_eq!(Breaker::new(policy).unwrap_err().field(), Some("half_open_at_most"));
    }
}

#[test]
fn of_several_openings_each_is_told_once_with_its_reason() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&told);
    let policy = BreakerPolicy { half_open_permits: 1, ..by_window(BreakerWindow::Count(10)) };
    let on_change: OnChange = Arc::new(move |change| {
        listener.lock().unwrap().push((change.to, change.reason));
    });
    let breaker = Breaker::new(policy).unwrap().on_change(on_change);
    (0..10).for_each(|_| call(&breaker, true, STEP));
    let now = STEP + policy.open_for;
    let _hanging = breaker.acquire(now).unwrap();
    let later = now + policy.open_for;
    (0..3).for_each(|_| assert!(breaker.acquire(later).is_err()));
    assert_eq!(
        *told.lock().unwrap(),
        [
            (BreakerState::Open, Some(OpenReason::FailureRate)),
            (BreakerState::HalfOpen, None),
            (BreakerState::Open, Some(OpenReason::ProbesHung)),
        ]
    );
}

/// Only time in which it was closed is forgiven, and not a moment too early.
#[test]
fn after_an_hour_in_which_it_was_closed_it_is_forgiven() {
    let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3_600));
    let policy = BreakerPolicy {
        forgive_after: hour,
        open_at_most: 10 * hour,
        ..by_window(BreakerWindow::Count(10))
    };
    let breaker = Breaker::new(policy).unwrap();
    let mut now = Duration::ZERO;
    // How long it is open after it was closed for so long.
    let mut opens_after = |closed_for: Duration| {
        now += closed_for;
        (0..10).for_each(|_| call(&breaker, true, now));
        let open_for = breaker.acquire(now).unwrap_err().retry_after.unwrap();
        now += open_for;
        (0..3).for_each(|_| call(&breaker, false, now));
        assert_eq!(breaker.state(), BreakerState::Closed);
        open_for.as_secs()
    };
    assert_eq!(opens_after(second), 60, "the first time");
    assert_eq!(opens_after(hour - STEP), 120);
    assert_eq!(opens_after(hour - STEP), 240);
    assert_eq!(opens_after(hour), 60);
    for minutes in [2, 4, 8, 16, 32, 64] {
        assert_eq!(opens_after(second), 60 * minutes);
    }
    // It was open for longer than an hour, which is no hour without a failure.
    assert_eq!(opens_after(second), 60 * 128);
    assert_eq!(opens_after(2 * hour), 60);
}

#[test]
fn after_it_closed_a_growing_share_goes_through() {
    let policy = BreakerPolicy { ramp: Duration::from_secs(10), ..BreakerPolicy::default() };
    let breaker = Breaker::new(policy).unwrap();
    (0..5).for_each(|_| call(&breaker, true, STEP));
    let closed = Duration::from_secs(100);
    (0..3).for_each(|_| call(&breaker, false, closed));
    let through = |seconds: u64| {
        let now = closed + Duration::from_secs(seconds);
        (0..1_000)
            .filter(|_| breaker.acquire(now).map(|permit| permit.success(now)).is_ok())
            .count()
    };
    for (seconds, expected) in [(0, 100), (3, 300), (9, 900), (10, 1_000)] {
        let found = through(seconds);
        assert!(found.abs_diff(expected) <= 1, "{found} at {seconds} s");
    }
}

#[test]
fn calls_that_hang_open_it_before_they_end() {
    let policy = BreakerPolicy {
        slow_after: Some(Duration::from_secs(1)),
        slow_rate: 0.5,
        ..by_window(BreakerWindow::Count(100))
    };
    let breaker = Breaker::new(policy).unwrap();
    (0..10).for_each(|_| call(&breaker, false, STEP));
    let hanging: Vec<_> = (0..10).map(|_| breaker.acquire(STEP).unwrap()).collect();
    assert!(breaker.acquire(Duration::from_millis(900)).is_ok());
    let refused = breaker.acquire(Duration::from_secs(2)).unwrap_err();
    assert_eq!(refused.state, BreakerState::Open);
    drop(hanging);
    assert_eq!(breaker.stats(Duration::from_secs(2)).overdue, 0);
}

#[test]
fn what_is_forced_stays_until_it_is_released() {
    let breaker = Breaker::new(BreakerPolicy::default()).unwrap();
    breaker.force_open(STEP);
    assert!(breaker.acquire(Duration::from_secs(10_000)).is_err());
    breaker.force_closed(STEP);
    (0..50).for_each(|_| call(&breaker, true, STEP));
    assert_eq!(breaker.state(), BreakerState::ForcedClosed);
    breaker.release(STEP);
    assert_eq!((breaker.state(), breaker.stats(STEP).calls), (BreakerState::Closed, 0));
}

/// A breaker as one would write it first: a list of the calls.
struct Naive {
    calls: VecDeque<(Duration, bool)>,
    window: BreakerWindow,
    state: BreakerState,
    reopens: Duration,
    opened: u32,
    /// When it closed, if it has since it opened.
    closed_at: Option<Duration>,
    successes: u32,
}

impl Naive {
    fn call(&mut self, failed: bool, now: Duration, policy: &BreakerPolicy) -> bool {
        if self.state == BreakerState::Open {
            if now < self.reopens {
                return false;
            }
            (self.state, self.successes) = (BreakerState::HalfOpen, 0);
        }
        if self.state == BreakerState::HalfOpen {
            self.successes += 1;
            if failed {
                self.open(now, policy);
            } else if self.successes == policy.successes_to_close {
                (self.state, self.closed_at) = (BreakerState::Closed, Some(now));
                self.calls.clear();
            }
            return true;
        }
        self.calls.push_back((now, failed));
        match self.window {
            BreakerWindow::Count(most) => {
                while self.calls.len() > usize::from(most) {
                    self.calls.pop_front();
                }
            }
            BreakerWindow::Time(span) => {
                // Whole sixteenths of the span, as documented.
                let step = (span / 16).as_nanos();
                let oldest = (now.as_nanos() / step).saturating_sub(15);
                self.calls.retain(|(at, _)| at.as_nanos() / step >= oldest);
            }
        }
        let failures = self.calls.iter().filter(|(_, failed)| *failed).count();
        let enough = self.calls.len() >= policy.min_calls as usize;
        if enough && failures > 0 && failures as f64 / self.calls.len() as f64 >= 0.5 {
            self.open(now, policy);
        }
        true
    }

    fn open(&mut self, now: Duration, policy: &BreakerPolicy) {
        let closed_for = self.closed_at.take().map(|closed_at| now - closed_at);
        if closed_for.is_some_and(|closed_for| closed_for >= policy.forgive_after) {
            self.opened = 0;
        }
        let wait = policy.open_for * 2_u32.pow(self.opened);
        self.reopens = now + wait.min(policy.open_at_most);
        self.opened += 1;
        self.state = BreakerState::Open;
    }
}

proptest! {
    #[test]
    fn it_behaves_like_a_list_of_calls(
        calls in proptest::collection::vec((0_u64..40_000, prop::bool::weighted(0.45)), 1..400),
        by_time in any::<bool>(),
    ) {
        let window = if by_time {
            BreakerWindow::Time(Duration::from_secs(160))
        } else {
            BreakerWindow::Count(20)
        };
        let policy = by_window(window);
        let breaker = Breaker::new(policy).unwrap();
        let mut naive = Naive {
            calls: VecDeque::new(),
            window,
            state: BreakerState::Closed,
            reopens: Duration::ZERO,
            opened: 0,
            closed_at: None,
            successes: 0,
        };
        let mut now = Duration::ZERO;
        for (wait, failed) in calls {
            now += Duration::from_millis(wait);
            let went_through = breaker.acquire(now).map(|permit| {
                if failed { permit.failure(now) } else { permit.success(now) }
            });
            prop_assert_eq!(went_through.is_ok(), naive.call(failed, now, &policy));
            prop_assert_eq!(breaker.state(), naive.state, "at {:?}", now);
        }
    }
}
