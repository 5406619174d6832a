//! What is kept of a node's calls to tell whether it is far from the others.

use std::time::Duration;

use crate::failover::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::failover::words::{high, low, pair, whole};

/// What one call moves the usual latency by.
const STEP: f32 = 1.0 / 16.0;
/// How many times the usual latency one call counts as at most: a single straggler makes nobody
/// slow, but a few of them soon do.
const MOST_UNUSUAL: f32 = 8.0;

/// What a call that succeeds takes here of late: nanoseconds, as the bits of a float; zero: unknown.
///
/// A mean in which the latest calls weigh most, and not the peak that picks go by: one slow call is
/// reason enough to ask somebody else now, and none to leave a node out for half a minute.
#[derive(Debug)]
pub(super) struct UsualLatency(AtomicU32);

impl UsualLatency {
    pub(super) fn unknown() -> Self {
        Self(AtomicU32::new(0))
    }

    pub(super) fn forget(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Takes in a call that succeeded. Of two that end at the same moment one may be lost, which a
    /// mean can bear.
    #[inline]
    pub(super) fn observe(&self, nanos: u64) {
        let (own, before) = (nanos as f32, f32::from_bits(self.0.load(Ordering::Relaxed)));
        let after = if before == 0.0 {
            own
        } else {
            before + (own.min(before * MOST_UNUSUAL) - before) * STEP
        };
        // Never zero, which means unknown.
        self.0.store(after.max(1.0).to_bits(), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Option<Duration> {
        let usual = f32::from_bits(self.0.load(Ordering::Relaxed));
        (usual > 0.0).then(|| Duration::from_nanos(whole(f64::from(usual))))
    }
}

/// By so many places a failure may come late.
const LATE_PLACES: u32 = 1 << 16;

/// Failures one after another: `the place after the last one << 32 | how many`, where a call's
/// place is how many ended before it.
///
/// A success is not counted here, and costs nothing: it shows as a gap between two places.
#[derive(Debug)]
pub(super) struct FailureRow(AtomicU64);

impl FailureRow {
    /// No failure yet, where the next call has this place.
    pub(super) fn at(place: u32) -> Self {
        Self(AtomicU64::new(pair(place, 0)))
    }

    pub(super) fn begin(&self, place: u32) {
        self.0.store(pair(place, 0), Ordering::Release);
    }

    /// Counts the failure that has this place: is it the `most`-th one in a row? Then the row begins
    /// anew, so that the next one does not say so again.
    ///
    /// Failures that end at the same moment may come here in another order. That breaks the row as
    /// a success does, but never joins two.
    pub(super) fn fails(&self, place: u32, most: u32) -> bool {
        let mut row = self.0.load(Ordering::Acquire);
        loop {
            let behind = high(row).wrapping_sub(place);
            // Who comes late says nothing about the row that goes on. Places wrap around.
            if (1..LATE_PLACES).contains(&behind) {
                return false;
            }
            let in_a_row = if behind == 0 { low(row).saturating_add(1) } else { 1 };
            let is_full = in_a_row >= most;
            let after = pair(place.wrapping_add(1), if is_full { 0 } else { in_a_row });
            match self.0.compare_exchange_weak(row, after, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return is_full,
                Err(now) => row = now,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn usual(latencies: impl IntoIterator<Item = u64>) -> f64 {
        let usual = UsualLatency::unknown();
        latencies.into_iter().for_each(|nanos| usual.observe(nanos));
        usual.get().unwrap().as_nanos() as f64
    }

    #[test]
    fn one_straggler_is_not_usual_but_a_slow_node_is() {
        let calm = || std::iter::repeat_n(10_000_000, 100);
        let straggler = usual(calm().chain([60_000_000_000]));
        assert!(straggler < 1.5 * 1e7, "{straggler}");
        let slow = usual(calm().chain([60_000_000_000; 100]));
        assert!(slow > 0.9 * 6e10, "{slow}");
        // Every fifth call takes a hundred times as long: that is slow, too.
        let often =
            usual((0..500).map(|call| if call % 5 == 0 { 1_000_000_000 } else { 10_000_000 }));
        assert!(often > 3.0 * 1e7, "{often}");
    }

    #[test]
    fn nothing_is_known_before_the_first_call_and_none_takes_no_time() {
        let usual = UsualLatency::unknown();
        assert_eq!(usual.get(), None);
        usual.observe(0);
        assert_eq!(usual.get(), Some(Duration::from_nanos(1)));
        usual.forget();
        assert_eq!(usual.get(), None);
    }

    proptest! {
        #[test]
        fn what_is_usual_is_between_the_fastest_and_the_slowest(
            latencies in proptest::collection::vec(1_u64..u64::MAX, 1..100),
        ) {
            let usual = usual(latencies.iter().copied());
            let (least, most) = (latencies.iter().min().unwrap(), latencies.iter().max().unwrap());
            // A float has seven digits.
            prop_assert!(usual >= *least as f64 * 0.999_999 - 1.0, "{usual} of {least}");
            prop_assert!(usual <= *most as f64 * 1.000_001, "{usual} of {most}");
        }

        /// Beside a plain counter that every success clears.
        #[test]
        fn a_row_is_as_long_as_no_success_comes_between(
            calls in proptest::collection::vec(prop::bool::weighted(0.7), 1..200),
            first: u32,
            most in 1_u32..6,
        ) {
            let row = FailureRow::at(first);
            let mut in_a_row = 0;
            for (ended, failed) in (0..).zip(calls) {
                in_a_row = if failed { in_a_row + 1 } else { 0 };
                if failed {
                    let full = row.fails(first.wrapping_add(ended), most);
                    prop_assert_eq!(full, in_a_row == most);
                    in_a_row = if full { 0 } else { in_a_row };
                }
            }
        }

        /// In whichever order failures arrive, a success between two of them keeps them apart.
        #[test]
        fn no_order_makes_a_row_of_failures_that_were_none(
            places in Just((0_u32..60).filter(|place| place % 3 != 2).collect::<Vec<_>>())
                .prop_shuffle(),
        ) {
            let row = FailureRow::at(0);
            for place in places {
                prop_assert!(!row.fails(place, 3));
            }
        }
    }
}
