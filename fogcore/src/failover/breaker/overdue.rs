//! Calls that are in flight for longer than they should be, without a list of them.

use std::time::Duration;

use super::steps::Steps;
use crate::failover::atomics::{AtomicI64, AtomicU64, Ordering};
use crate::failover::words::{nanos, round};

/// A call counts as overdue up to an eighth of its time late.
const STEPS: u64 = 8;
/// Enough buckets for all calls that are not overdue yet, and those that just became it.
const BUCKETS: usize = 16;

/// Counts calls in flight by the step in which they began.
#[derive(Debug)]
pub(super) struct Overdue {
    steps: Steps,
    /// Each a step, and the calls in flight that began in it.
    began: [AtomicU64; BUCKETS],
    /// Calls that began before all of these steps.
    older: AtomicI64,
    /// The latest step in which none was found to be overdue; zero: none yet.
    clear_in: AtomicU64,
    /// The breaker's generation.
    generation: AtomicU64,
    /// Calls in flight from earlier generations: what they tell of the node was told already, and it
    /// would never stay closed as long as they hang. As long as they are not overdue themselves, as
    /// many others are not noticed.
    left_over: AtomicI64,
}

impl Overdue {
    pub(super) fn new(after: Duration, generation: u64) -> Self {
        Self {
            steps: Steps::new(nanos(after) / STEPS),
            began: std::array::from_fn(|_| AtomicU64::new(0)),
            older: AtomicI64::new(0),
            clear_in: AtomicU64::new(0),
            generation: AtomicU64::new(generation),
            left_over: AtomicI64::new(0),
        }
    }

    /// Calls that are in flight now count no more.
    pub(super) fn begin_generation(&self, generation: u64) {
        self.generation.store(generation, Ordering::Release);
        let calls = self.began.iter().map(|word| self.steps.count_of(word.load(Ordering::Acquire)));
        let older = self.older.load(Ordering::Acquire);
        let in_flight = calls.map(u64::cast_signed).sum::<i64>() + older;
        self.left_over.store(in_flight.max(0), Ordering::Release);
    }

    /// Never zero, which is no step, for times of a thousandth of a second and more; shorter ones may
    /// wrap around after some years.
    fn step(&self, at: u64) -> u64 {
        self.steps.kept(self.steps.in_time(at).wrapping_add(1))
    }

    /// A call begins.
    pub(super) fn begin(&self, now: u64) {
        let step = self.step(now);
        let bucket = &self.began[round(step, BUCKETS)];
        let mut word = bucket.load(Ordering::Acquire);
        loop {
            let (of, calls) = (self.steps.step_of(word), self.steps.count_of(word));
            let after = self.steps.word(step, if of == step { calls + 1 } else { 1 });
            match bucket.compare_exchange_weak(word, after, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) if of == step => return,
                // Who is still in flight since the last time round is older than all steps.
                Ok(_) => {
                    self.older.fetch_add(calls.cast_signed(), Ordering::AcqRel);
                    return;
                }
                Err(now) => word = now,
            }
        }
    }

    /// A call that began at `began`, in this generation, ends.
    pub(super) fn end(&self, began: u64, generation: u64) {
        if generation != self.generation.load(Ordering::Acquire) {
            // Never below zero: one that began while the generations changed was not counted.
            let one_less = |calls: i64| (calls > 0).then_some(calls - 1);
            let _ = self.left_over.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less);
        }
        let step = self.step(began);
        let bucket = &self.began[round(step, BUCKETS)];
        let mut word = bucket.load(Ordering::Acquire);
        loop {
            let (of, calls) = (self.steps.step_of(word), self.steps.count_of(word));
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
        let left_over = self.left_over.load(Ordering::Acquire);
        let mut overdue = self.older.load(Ordering::Acquire) - left_over;
        for bucket in &self.began {
            let word = bucket.load(Ordering::Acquire);
            let age = self.steps.between(self.steps.step_of(word), now);
            if age.is_some_and(|age| age > STEPS) {
                overdue += self.steps.count_of(word).cast_signed();
            }
        }
        u32::try_from(overdue.max(0)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    /// A call that hangs for months is as overdue as before, though nobody else calls.
    #[test]
    fn who_hangs_for_very_long_stays_overdue() {
        let overdue = Overdue::new(Duration::from_millis(1), 1);
        overdue.begin(0);
        for days in [1_u64, 3, 4, 7, 400, 200_000] {
            assert_eq!(overdue.count(days * 86_400_000_000_000), 1, "{days}");
        }
        overdue.end(0, 1);
        assert_eq!(overdue.count(u64::MAX), 0);
    }

    #[derive(Clone, Debug)]
    enum Act {
        Begin,
        End(Index),
        Pass(u64, u32),
        Back(u64, u32),
    }

    fn act(with_back: bool) -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => Just(Act::Begin),
            3 => any::<Index>().prop_map(Act::End),
            4 => (any::<u64>(), 0_u32..64).prop_map(|(time, shift)| Act::Pass(time, shift)),
            u32::from(with_back) => (any::<u64>(), 0_u32..64)
                .prop_map(|(time, shift)| Act::Back(time, shift)),
        ]
    }

    /// Beside a list of the calls in flight; tells how many are left in it.
    fn run(after: u64, acts: Vec<Act>) -> Result<(), TestCaseError> {
        let overdue = Overdue::new(Duration::from_nanos(after), 1);
        let step = |at: u64| at / (after / STEPS);
        let (mut now, mut was_set_back) = (0_u64, false);
        let mut calls: Vec<u64> = Vec::new();
        for act in acts {
            match act {
                Act::Begin => {
                    overdue.begin(now);
                    calls.push(now);
                }
                Act::End(which) if !calls.is_empty() => {
                    overdue.end(calls.swap_remove(which.index(calls.len())), 1);
                }
                Act::End(_) => {}
                Act::Pass(time, shift) => now = now.saturating_add(time >> shift),
                Act::Back(time, shift) => {
                    now = now.saturating_sub(time >> shift);
                    was_set_back = true;
                }
            }
            let found = overdue.count(now) as usize;
            prop_assert!(found <= calls.len(), "{found} of {}", calls.len());
            prop_assert!(overdue.count_anew(now) as usize <= found);
            let late = |began: &&u64| step(now).saturating_sub(step(**began)) > STEPS;
            if !was_set_back {
                prop_assert_eq!(found, calls.iter().filter(late).count());
            }
        }
        for call in calls {
            overdue.end(call, 1);
        }
        prop_assert_eq!(overdue.count(now), 0, "it comes out even");
        prop_assert_eq!(overdue.count(u64::MAX), 0);
        Ok(())
    }

    proptest! {
        #[test]
        fn a_clock_may_jump_ahead_as_far_as_it_likes(
            after in 1_048_576_u64..86_400_000_000_000,
            acts in proptest::collection::vec(act(false), 1..80),
        ) {
            run(after, acts)?;
        }

        #[test]
        fn a_clock_that_is_set_back_loses_no_call(
            after in 1_048_576_u64..86_400_000_000_000,
            acts in proptest::collection::vec(act(true), 1..80),
        ) {
            run(after, acts)?;
        }
    }

    #[test]
    fn a_call_is_overdue_after_its_time_until_it_ends() {
        let ms = |millis: u64| millis * 1_000_000;
        let overdue = Overdue::new(Duration::from_millis(80), 1);
        overdue.begin(ms(0));
        overdue.begin(ms(50));
        assert_eq!(overdue.count(ms(80)), 0);
        assert_eq!(overdue.count(ms(95)), 1);
        assert_eq!(overdue.count(ms(145)), 2);
        // Long after the first bucket was taken over by another round.
        overdue.begin(ms(160));
        assert_eq!(overdue.count(ms(10_000)), 3);
        overdue.end(ms(0), 1);
        overdue.end(ms(50), 1);
        overdue.end(ms(160), 1);
        assert_eq!(overdue.count(ms(10_000)), 0);
    }
}
