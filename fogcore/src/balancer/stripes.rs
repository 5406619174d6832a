//! A count that many threads change without waiting for each other.

use std::sync::atomic::{AtomicI64, Ordering};

/// How many parts there are: more cores than this share them.
const STRIPES: usize = 8;

/// A count in parts, each in a cache line of its own; a thread changes one and reads all.
#[derive(Debug, Default)]
pub(super) struct Stripes {
    parts: [Part; STRIPES],
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Part(AtomicI64);

impl Stripes {
    #[inline]
    pub(super) fn add(&self, stripe: u16, change: i64) {
        self.parts[usize::from(stripe) % STRIPES].0.fetch_add(change, Ordering::AcqRel);
    }

    pub(super) fn sum(&self) -> u64 {
        let sum: i64 = self.parts.iter().map(|part| part.0.load(Ordering::Acquire)).sum();
        u64::try_from(sum).unwrap_or(0)
    }
}
