//! The latest N calls, exactly, without a lock: constant memory, constant cost.

use super::window::{Counts, Outcome};
use crate::failover::atomics::{AtomicU32, AtomicU64, OnceLock, Ordering};
use crate::failover::words::{low, pair, quarter, round};

/// Sums of the window, and a ring that knows when a bad call leaves it.
///
/// A window without a bad call needs no ring: whatever leaves it is a success, so a success only
/// counts up to the window's length. The ring is made at the first bad call, and is written to as
/// long as one is in the window. Sums and entries carry the generation that they belong to: a
/// result of an earlier one can change neither.
#[derive(Debug)]
pub(super) struct CountWindow {
    /// `generation << 48 | calls << 32 | failures << 16 | slow`
    sums: AtomicU64,
    length: u16,
    ring: OnceLock<Box<Ring>>,
}

#[derive(Debug)]
struct Ring {
    next: AtomicU32,
    /// Each `generation << 8 | outcome`; an entry of an earlier generation is an empty place.
    places: Box<[AtomicU32]>,
}

/// After so many generations at most, no place of a ring holds an older one: they wrap around, and
/// one of half a round ago would look like one to come.
const CLEARED_EVERY: u16 = 1 << 14;

impl Ring {
    fn new(length: u16, generation: u16) -> Self {
        let places = (0..length).map(|_| AtomicU32::new(empty(generation))).collect();
        Self { next: AtomicU32::new(0), places }
    }

    fn clear(&self, generation: u16) {
        for place in &self.places {
            place.store(empty(generation), Ordering::Release);
        }
    }

    fn next(&self) -> &AtomicU32 {
        let next = u64::from(self.next.fetch_add(1, Ordering::Relaxed));
        &self.places[round(next, self.places.len())]
    }
}

impl CountWindow {
    pub(super) fn new(calls: u16) -> Self {
        let length = if calls == 0 { 1 } else { calls };
        Self { sums: AtomicU64::new(0), length, ring: OnceLock::new() }
    }

    #[inline]
    pub(super) fn is_full_of_good(&self, generation: u16) -> bool {
        self.sums.load(Ordering::Acquire) == word(generation, self.length, 0)
    }

    pub(super) fn record(&self, generation: u16, outcome: Outcome) -> Counts {
        if outcome == Outcome::SUCCESS
            && let Some(counts) = self.count_among_good(generation)
        {
            return counts;
        }
        self.record_in_ring(generation, outcome)
    }

    /// Takes in a success if all calls in the window are, which is the usual case: in a full
    /// window it costs one read.
    fn count_among_good(&self, generation: u16) -> Option<Counts> {
        let mut sums = self.sums.load(Ordering::Acquire);
        loop {
            let (of, calls) = heads(sums);
            let after = if is_later(of, generation) {
                return Some(Counts::default());
            } else if of != generation {
                word(generation, 1, 0)
            } else if low(sums) != 0 {
                return None;
            } else if calls == self.length {
                return Some(counts(sums));
            } else {
                word(generation, calls + 1, 0)
            };
            match self.sums.compare_exchange_weak(sums, after, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return Some(counts(after)),
                Err(now) => sums = now,
            }
        }
    }

    fn record_in_ring(&self, generation: u16, outcome: Outcome) -> Counts {
        let ring = self.ring.get_or_init(|| Box::new(Ring::new(self.length, generation)));
        let place = ring.next();
        let entry = empty(generation) | u32::from(outcome.bits());
        let mut old = place.load(Ordering::Acquire);
        // One like it leaves the window for it: nothing to write.
        while old != entry {
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
        self.add(generation, bad(outcome).wrapping_sub(left.map_or(0, bad)))
    }

    /// Counts a call and the change in bad ones. Of two threads, the one whose entry is pushed out
    /// may be the later one to get here: the sums wrap around until it did.
    fn add(&self, generation: u16, delta: u32) -> Counts {
        let mut sums = self.sums.load(Ordering::Acquire);
        loop {
            let (of, calls) = heads(sums);
            let after = if is_later(of, generation) {
                return Counts::default();
            } else if of == generation {
                word(generation, (calls + 1).min(self.length), low(sums).wrapping_add(delta))
            } else {
                word(generation, 1, delta)
            };
            if after == sums {
                return counts(after);
            }
            match self.sums.compare_exchange_weak(sums, after, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return counts(after),
                Err(now) => sums = now,
            }
        }
    }

    /// Begins an empty window: generations wrap around, and the one of the latest call may be long
    /// ago.
    pub(super) fn begin(&self, generation: u16) {
        if generation.is_multiple_of(CLEARED_EVERY)
            && let Some(ring) = self.ring.get()
        {
            ring.clear(generation);
        }
        self.sums.swap(word(generation, 0, 0), Ordering::AcqRel);
    }

    pub(super) fn counts(&self, generation: u16) -> Counts {
        let sums = self.sums.load(Ordering::Acquire);
        if heads(sums).0 == generation { counts(sums) } else { Counts::default() }
    }
}

#[inline]
fn word(generation: u16, calls: u16, bad: u32) -> u64 {
    pair(u32::from(generation) << 16 | u32::from(calls), bad)
}

/// Generation and calls.
fn heads(sums: u64) -> (u16, u16) {
    (quarter(sums >> 48), quarter(sums >> 32))
}

/// The entry of a place that nothing was written to in this generation.
fn empty(generation: u16) -> u32 {
    u32::from(generation) << 8
}

fn generation_of(entry: u32) -> u16 {
    quarter(u64::from(entry >> 8))
}

fn outcome_of(entry: u32) -> Option<Outcome> {
    let bits = entry.to_le_bytes()[0];
    (bits != 0).then(|| Outcome::from_bits(bits))
}

/// Whether generation `a` came after `b`; they wrap around.
fn is_later(a: u16, b: u16) -> bool {
    let ahead = a.wrapping_sub(b);
    ahead != 0 && ahead < 1 << 15
}

/// What an outcome adds to the bad calls: `failures << 16 | slow`.
fn bad(outcome: Outcome) -> u32 {
    u32::from(outcome.failed()) << 16 | u32::from(outcome.slow())
}

/// More bad calls than calls: sums that wrapped around, which ends with the next addition.
fn counts(sums: u64) -> Counts {
    let calls = u32::from(heads(sums).1);
    let sane = |bad: u32| if bad > calls { 0 } else { bad };
    let bad = low(sums);
    Counts { calls, failures: sane(bad >> 16), slow: sane(bad & 0xffff) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUCCESS: Outcome = Outcome::SUCCESS;
    const FAILURE: Outcome = Outcome::new(true, false);

    fn seen(calls: u32, failures: u32) -> Counts {
        Counts { calls, failures, slow: 0 }
    }

    /// Opens and closes so many times that generations wrap around, and is called in each hundredth.
    #[test]
    fn no_generation_finds_what_another_one_of_its_number_left() {
        let window = CountWindow::new(8);
        for generation in 0..200_000_u32 {
            let number = quarter(u64::from(generation));
            window.begin(number);
            assert_eq!(window.counts(number), seen(0, 0), "{generation}");
            if generation % 100 == 0 || generation % 65_536 < 2 {
                assert_eq!(window.record(number, FAILURE), seen(1, 1), "{generation}");
                assert_eq!(window.record(number, SUCCESS), seen(2, 1), "{generation}");
            }
        }
    }

    /// Places that were last used, or never, half a round of generations ago or more.
    #[test]
    fn whatever_is_left_in_the_ring_failures_are_counted() {
        for quiet in [1_u32, 32_767, 32_768, 32_769, 50_000, 65_535, 65_536, 65_537, 131_072] {
            for used in 0..=4 {
                let window = CountWindow::new(4);
                window.begin(1);
                for _ in 0..used {
                    window.record(1, FAILURE);
                }
                for generation in 0..quiet {
                    window.begin(quarter(u64::from(generation) + 2));
                }
                let now = quarter(u64::from(quiet) + 1);
                for call in 1..=4 {
                    assert_eq!(window.record(now, FAILURE), seen(call, call), "{quiet} {used}");
                }
                for left in (0..4).rev() {
                    assert_eq!(window.record(now, SUCCESS), seen(4, left), "{quiet} {used}");
                }
            }
        }
    }
}
