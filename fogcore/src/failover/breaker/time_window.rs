//! The calls of the latest so much time, without a lock: sixteen buckets, whatever the traffic.

use std::time::Duration;

use crate::failover::atomics::{AtomicU64, Ordering};
use crate::failover::words::{high, low, nanos, pair, round};

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

/// `step << 32 | count`: a counter that belongs to one step, and starts anew with the next one.
#[derive(Debug)]
struct Counter(AtomicU64);

impl Counter {
    /// Counts one for this step; if a later step has it already, nobody asks for this one.
    fn count(&self, step: u32) {
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            let (of, count) = (high(word), low(word));
            let ahead = of.wrapping_sub(step);
            // A counter that was never used belongs to no step.
            if word != 0 && ahead != 0 && ahead < 1 << 31 {
                return;
            }
            let count = if ahead == 0 { count.saturating_add(1) } else { 1 };
            let after = pair(step, count);
            match self.0.compare_exchange_weak(word, after, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
    }

    fn of(&self, step: u32) -> u32 {
        let word = self.0.load(Ordering::Acquire);
        if high(word) == step { low(word) } else { 0 }
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
        // Never below BUCKETS, so that a counter that was never used belongs to no window.
        self.steps.in_time(now).wrapping_add((generation + 2).wrapping_mul(BUCKETS as u64))
    }

    pub(super) fn record(&self, generation: u64, outcome: Outcome, now: u64) -> Counts {
        let step = self.step(generation, now);
        let place = round(step, BUCKETS);
        self.calls[place].count(low(step));
        if outcome.failed() {
            self.failures[place].count(low(step));
        }
        if outcome.slow() {
            self.slow[place].count(low(step));
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
                *sum = sum.saturating_add(counter.of(low(step)));
            };
            add(&mut counts.calls, &self.calls[place]);
            add(&mut counts.failures, &self.failures[place]);
            add(&mut counts.slow, &self.slow[place]);
        }
        counts
    }
}
