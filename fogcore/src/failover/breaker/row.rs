//! How many calls failed one after another.

use crate::failover::atomics::{AtomicU64, Ordering};
use crate::failover::words::{high, low, pair};

/// `generation << 32 | failures in a row`: a late failure must not count in the new row.
#[derive(Debug)]
pub(super) struct Row(AtomicU64);

impl Row {
    pub(super) fn new(generation: u64) -> Self {
        Self(AtomicU64::new(pair(low(generation), 0)))
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        low(self.0.load(Ordering::Relaxed)) == 0
    }

    /// Failures in a row, this outcome taken in; none if another generation has begun.
    pub(super) fn count(&self, generation: u64, failed: bool) -> u32 {
        let mut row = self.0.load(Ordering::Acquire);
        while high(row) == low(generation) && (failed || low(row) != 0) {
            let in_a_row = if failed { low(row).saturating_add(1) } else { 0 };
            let after = pair(high(row), in_a_row);
            match self.0.compare_exchange_weak(row, after, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return in_a_row,
                Err(now) => row = now,
            }
        }
        0
    }

    /// Begins a row of another generation.
    pub(super) fn begin(&self, generation: u64) {
        // A store would do; but for loom, one may come before an exchange that found its place.
        self.0.swap(pair(low(generation), 0), Ordering::AcqRel);
    }
}
