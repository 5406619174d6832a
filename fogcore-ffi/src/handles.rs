//! How many objects the other side holds: what is not given back shows as a number.

use std::sync::atomic::{AtomicU64, Ordering};

static LIVE: AtomicU64 = AtomicU64::new(0);

/// Counts the object that it is a part of.
#[derive(Debug)]
pub(crate) struct Counted(());

impl Counted {
    pub(crate) fn new() -> Self {
        LIVE.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many objects of this library are alive in this process: fogs, workers, permits, feeds. For
/// tests that look for leaks; an object that somebody forgot to give back counts until it is
/// collected.
#[uniffi::export]
#[must_use]
pub fn live_handles() -> u64 {
    LIVE.load(Ordering::Relaxed)
}
