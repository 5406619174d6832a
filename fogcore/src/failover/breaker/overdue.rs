//! Calls that are in flight for longer than they should be, without a list of them.

use std::time::Duration;

use super::steps::Steps;
use crate::failover::atomics::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use crate::failover::words::{high, low, nanos, pair};

/// A call counts as overdue up to an eighth of its time late.
const STEPS: u64 = 8;
/// Enough buckets for all calls that are not overdue yet, and those that just became it.
const BUCKETS: usize = 16;

/// Counts calls in flight by the step in which they began.
#[derive(Debug)]
pub(super) struct Overdue {
    steps: Steps,
    /// `step << 32 | calls in flight that began in it`
    began: [AtomicU64; BUCKETS],
    /// Calls that began before all of these steps.
    older: AtomicI64,
    /// The latest step in which none was found to be overdue.
    clear_in: AtomicU32,
}

impl Overdue {
    pub(super) fn new(after: Duration) -> Self {
        Self {
            steps: Steps::new(nanos(after) / STEPS),
            began: std::array::from_fn(|_| AtomicU64::new(0)),
            older: AtomicI64::new(0),
            clear_in: AtomicU32::new(0),
        }
    }

    fn step(&self, at: u64) -> u32 {
        // Steps wrap around; only the distance of two of them matters.
        low(self.steps.in_time(at).wrapping_add(1))
    }

    /// A call begins.
    pub(super) fn begin(&self, now: u64) {
        let step = self.step(now);
        let bucket = &self.began[step as usize % BUCKETS];
        let mut word = bucket.load(Ordering::Acquire);
        loop {
            let (of, calls) = (high(word), low(word));
            let after = pair(step, if of == step { calls.saturating_add(1) } else { 1 });
            match bucket.compare_exchange_weak(word, after, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) if of == step => return,
                // Who is still in flight since the last time round is older than all steps.
                Ok(_) => {
                    self.older.fetch_add(i64::from(calls), Ordering::AcqRel);
                    return;
                }
                Err(now) => word = now,
            }
        }
    }

    /// A call that began at `began` ends.
    pub(super) fn end(&self, began: u64) {
        let step = self.step(began);
        let bucket = &self.began[step as usize % BUCKETS];
        let mut word = bucket.load(Ordering::Acquire);
        loop {
            let (of, calls) = (high(word), low(word));
            if of != step || calls == 0 {
                self.older.fetch_sub(1, Ordering::AcqRel);
                return;
            }
            let exchanged =
                bucket.compare_exchange_weak(word, word - 1, Ordering::AcqRel, Ordering::Acquire);
            match exchanged {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
    }

    /// The same as [`Self::count`], cheaper for who asks often: calls become overdue when a step
    /// begins, so if there was none in this step, there is none.
    pub(super) fn count_anew(&self, now: u64) -> u32 {
        let step = self.step(now);
        if self.clear_in.load(Ordering::Relaxed) == step {
            return 0;
        }
        let overdue = self.count(now);
        if overdue == 0 {
            self.clear_in.store(step, Ordering::Relaxed);
        }
        overdue
    }

    /// How many calls are in flight for longer than they should be.
    pub(super) fn count(&self, now: u64) -> u32 {
        let now = self.step(now);
        let mut overdue = self.older.load(Ordering::Acquire);
        for bucket in &self.began {
            let word = bucket.load(Ordering::Acquire);
            let age = now.wrapping_sub(high(word));
            if u64::from(age) > STEPS && age < 1 << 31 {
                overdue += i64::from(low(word));
            }
        }
        u32::try_from(overdue.max(0)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_overdue_after_its_time_until_it_ends() {
        let ms = |millis: u64| millis * 1_000_000;
        let overdue = Overdue::new(Duration::from_millis(80));
        overdue.begin(ms(0));
        overdue.begin(ms(50));
        assert_eq!(overdue.count(ms(80)), 0);
        assert_eq!(overdue.count(ms(95)), 1);
        assert_eq!(overdue.count(ms(145)), 2);
        // Long after the first bucket was taken over by another round.
        overdue.begin(ms(160));
        assert_eq!(overdue.count(ms(10_000)), 3);
        overdue.end(ms(0));
        overdue.end(ms(50));
        overdue.end(ms(160));
        assert_eq!(overdue.count(ms(10_000)), 0);
    }
}
