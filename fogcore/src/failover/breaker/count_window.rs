//! The latest N calls, exactly, without a lock: constant memory, constant cost.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::window::{Counts, Outcome};

/// A ring of outcomes and their sums. Both carry the generation that they belong to: a result of
/// an earlier one can change neither.
#[derive(Debug)]
pub(super) struct CountWindow {
    /// Each `generation << 8 | outcome`; an entry of an earlier generation is an empty place.
    ring: Box<[AtomicU32]>,
    next: AtomicUsize,
    /// `generation << 48 | calls << 32 | failures << 16 | slow`
    sums: AtomicU64,
}

const FIELD: u64 = 0xffff;

impl CountWindow {
    pub(super) fn new(calls: u16) -> Self {
        let ring = (0..calls.max(1)).map(|_| AtomicU32::new(0)).collect();
        Self { ring, next: AtomicUsize::new(0), sums: AtomicU64::new(0) }
    }

    pub(super) fn record(&self, generation: u16, outcome: Outcome) -> Counts {
        let sums = self.sums.load(Ordering::Acquire);
        let full = u64::from(generation) << 48 | (self.ring.len() as u64) << 32;
        // Another success changes nothing in a window full of them: this is the usual case, and
        // it costs one read.
        if sums == full && outcome == Outcome::SUCCESS {
            return counts(sums);
        }
        let place = &self.ring[self.next.fetch_add(1, Ordering::Relaxed) % self.ring.len()];
        let entry = u32::from(generation) << 8 | u32::from(outcome.bits());
        let mut old = place.load(Ordering::Acquire);
        loop {
            if is_later(generation_of(old), generation) {
                return self.counts(generation);
            }
            match place.compare_exchange_weak(old, entry, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => break,
                Err(now) => old = now,
            }
        }
        // What was there leaves the window; a place of an earlier generation was empty.
        let left = if generation_of(old) == generation { outcome_of(old) } else { None };
        self.add(generation, weight(outcome).wrapping_sub(left.map_or(0, weight)))
    }

    fn add(&self, generation: u16, delta: u64) -> Counts {
        let mut sums = self.sums.load(Ordering::Acquire);
        loop {
            let of = (sums >> 48) as u16;
            let after = if of == generation {
                u64::from(generation) << 48
                    | (sums & !(FIELD << 48)).wrapping_add(delta) & !(FIELD << 48)
            } else if is_later(of, generation) {
                return Counts::default();
            } else {
                u64::from(generation) << 48 | delta & !(FIELD << 48)
            };
            match self.sums.compare_exchange_weak(sums, after, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return counts(after),
                Err(now) => sums = now,
            }
        }
    }

    pub(super) fn counts(&self, generation: u16) -> Counts {
        let sums = self.sums.load(Ordering::Acquire);
        if (sums >> 48) as u16 == generation { counts(sums) } else { Counts::default() }
    }
}

fn generation_of(entry: u32) -> u16 {
    ((entry >> 8) & 0xffff) as u16
}

fn outcome_of(entry: u32) -> Option<Outcome> {
    let bits = (entry & 0xff) as u8;
    (bits != 0).then(|| Outcome::from_bits(bits))
}

/// Whether generation `a` came after `b`; they wrap around.
fn is_later(a: u16, b: u16) -> bool {
    let ahead = a.wrapping_sub(b);
    ahead != 0 && ahead < 1 << 15
}

/// What an outcome adds to the sums.
fn weight(outcome: Outcome) -> u64 {
    1 << 32 | u64::from(outcome.failed()) << 16 | u64::from(outcome.slow())
}

fn counts(sums: u64) -> Counts {
    let field = |shift: u32| (sums >> shift & FIELD) as u32;
    Counts { calls: field(32), failures: field(16), slow: field(0) }
}
