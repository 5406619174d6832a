//! The calls of the latest so much time, without a lock: sixteen buckets, whatever the traffic.

use std::time::Duration;

use crate::failover::atomics::{AtomicU64, Ordering};
use crate::failover::words::{low, nanos, round};

use super::steps::Steps;
use super::window::{Counts, Outcome};

/// In how many steps calls leave the window.
const BUCKETS: usize = 16;

#[derive(Debug)]
pub(super) struct TimeWindow {
    /// One per bucket.
    steps: Steps,
    calls: [Counter; BUCKETS],
    failures: [Counter; BUCKETS],
    slow: [Counter; BUCKETS],
    /// The step of the latest call that failed or was slow: while none is in the window, nothing
    /// need be added up.
    latest_bad: AtomicU64,
}

/// A step, and how many calls ended in it; the counter starts anew with the next step.
#[derive(Debug)]
struct Counter(AtomicU64);

impl Counter {
    /// Counts one for this step; if a later step has it already, nobody asks for this one. A clock
    /// that was set back is counted with again when it is where it was.
    fn count(&self, step: u64, steps: &Steps) {
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            let of = steps.step_of(word);
            if of > step {
                return;
            }
            let count = if of == step { steps.count_of(word) + 1 } else { 1 };
            let after = steps.word(step, count);
            match self.0.compare_exchange_weak(word, after, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
    }

    fn of(&self, step: u64, steps: &Steps) -> u32 {
        let word = self.0.load(Ordering::Acquire);
        if steps.step_of(word) == step { low(steps.count_of(word)) } else { 0 }
    }
}

fn counters() -> [Counter; BUCKETS] {
    std::array::from_fn(|_| Counter(AtomicU64::new(0)))
}

impl TimeWindow {
    pub(super) fn new(span: Duration) -> Self {
        Self {
            steps: Steps::new(nanos(span) / BUCKETS as u64),
            calls: counters(),
            failures: counters(),
            slow: counters(),
            latest_bad: AtomicU64::new(0),
        }
    }

    /// The step at `now`. Each generation begins so far ahead that all earlier calls have left.
    fn step(&self, generation: u64, now: u64) -> u64 {
        // Never below BUCKETS, so that a window begins after the beginning of time.
        let ahead = generation.saturating_add(2).saturating_mul(BUCKETS as u64);
        self.steps.kept(self.steps.in_time(now).saturating_add(ahead))
    }

    pub(super) fn record(&self, generation: u64, outcome: Outcome, now: u64) -> Counts {
        let step = self.step(generation, now);
        let place = round(step, BUCKETS);
        self.calls[place].count(step, &self.steps);
        if outcome.failed() {
            self.failures[place].count(step, &self.steps);
        }
        if outcome.slow() {
            self.slow[place].count(step, &self.steps);
        }
        if outcome != Outcome::SUCCESS {
            self.latest_bad.fetch_max(step, Ordering::AcqRel);
        } else if self.latest_bad.load(Ordering::Acquire) + BUCKETS as u64 <= step {
            return Counts { calls: 1, ..Counts::default() };
        }
        self.sum(step)
    }

    pub(super) fn counts(&self, generation: u64, now: u64) -> Counts {
        self.sum(self.step(generation, now))
    }

    fn sum(&self, step: u64) -> Counts {
        let mut counts = Counts::default();
        for step in step + 1 - BUCKETS as u64..=step {
            let place = round(step, BUCKETS);
            let add = |sum: &mut u32, counter: &Counter| {
                *sum = sum.saturating_add(counter.of(step, &self.steps));
            };
            add(&mut counts.calls, &self.calls[place]);
            add(&mut counts.failures, &self.failures[place]);
            add(&mut counts.slow, &self.slow[place]);
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SUCCESS: Outcome = Outcome::SUCCESS;
    const FAILURE: Outcome = Outcome::new(true, false);
    const STEP: u64 = 1_000_000_000;

    #[test]
    fn nothing_was_counted_before_the_first_call_however_early_it_is() {
        let window = TimeWindow::new(Duration::from_nanos(16 * STEP));
        for now in [0, 1, STEP, 15 * STEP, 16 * STEP, 40 * STEP] {
            for generation in [0, 1, 2, u64::MAX >> 3] {
                assert_eq!(window.counts(generation, now), Counts::default());
            }
        }
        window.record(1, FAILURE, 0);
        let one = Counts { calls: 1, failures: 1, slow: 0 };
        assert_eq!(window.counts(1, 0), one);
        assert_eq!(window.counts(1, 15 * STEP), one);
        assert_eq!(window.counts(1, 16 * STEP), Counts::default());
        assert_eq!(window.counts(2, 0), Counts::default(), "another generation");
    }

    /// The shortest window has the most steps: after half of four thousand million of them, its
    /// counters once took all that came for calls of long ago.
    #[test]
    fn after_a_long_silence_calls_are_counted_again() {
        let span = Duration::from_millis(100);
        let day = 86_400 * STEP;
        for silence in [day, 160 * day, 300 * day, 311 * day, 100_000 * day] {
            let window = TimeWindow::new(span);
            for step in 0..16 {
                window.record(1, FAILURE, step * nanos(span) / 16);
            }
            assert_eq!(window.counts(1, nanos(span) - 1).failures, 16);
            let now = silence + nanos(span);
            for _ in 0..7 {
                window.record(1, FAILURE, now);
            }
            let counts = window.counts(1, now);
            assert_eq!((counts.calls, counts.failures), (7, 7), "{silence}");
        }
    }

    proptest! {
        /// Beside a list of all calls. Time mostly passes, now and then it jumps, and it may come to
        /// its end.
        #[test]
        fn a_clock_may_jump_as_far_as_it_likes(
            span in 100_000_000_u64..86_400_000_000_000,
            begin: u64,
            shift in 0_u32..64,
            calls in proptest::collection::vec(
                (any::<u64>(), 0_u32..64, any::<bool>(), prop::bool::weighted(0.1)), 1..60),
        ) {
            let window = TimeWindow::new(Duration::from_nanos(span));
            let length = span / 16;
            let mut list: Vec<(u64, bool)> = Vec::new();
            let (mut now, mut latest) = (begin >> shift, 0);
            for (jump, shift, failed, back) in calls {
                let jump = jump >> shift;
                now = if back { now.saturating_sub(jump) } else { now.saturating_add(jump) };
                let counts = window.record(1, if failed { FAILURE } else { SUCCESS }, now);
                list.push((now / length, failed));
                let step = now / length;
                let inside = |at: u64| at <= step && at + 15 >= step;
                let naive = |failed: bool| {
                    let calls = list.iter().filter(|(at, bad)| inside(*at) && (*bad || !failed));
                    u32::try_from(calls.count()).unwrap()
                };
                let seen = window.counts(1, now);
                prop_assert!(seen.calls <= naive(false) && seen.failures <= naive(true));
                prop_assert!(counts.failures == 0 || counts == seen);
                // Where the clock was not set back, all are there.
                if step >= latest {
                    latest = step;
                    let since = list.iter().rposition(|(at, _)| *at > step);
                    if since.is_none() {
                        prop_assert_eq!((seen.calls, seen.failures), (naive(false), naive(true)));
                    }
                }
            }
        }
    }
}
