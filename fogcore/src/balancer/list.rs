//! A list without gaps that one thread changes while others read it.

use std::sync::atomic::{AtomicU32, Ordering};

use super::stable::Stable;

/// Numbers of nodes, in no order that lasts. Only the holder of the table's lock may change it.
///
/// A reader may see a number that has just left, or one twice: it checks the node before it uses
/// it, so that this costs another try and no more.
#[derive(Debug, Default)]
pub(super) struct List {
    length: AtomicU32,
    entries: Stable<AtomicU32>,
}

impl List {
    #[inline]
    pub(super) fn len(&self) -> u32 {
        self.length.load(Ordering::Acquire)
    }

    #[inline]
    pub(super) fn get(&self, at: u32) -> Option<u32> {
        Some(self.entries.get(at)?.load(Ordering::Relaxed))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        (0..self.len()).filter_map(|at| self.get(at))
    }

    /// Adds a number at the end; tells its place.
    pub(super) fn push(&self, number: u32) -> u32 {
        let at = self.length.load(Ordering::Relaxed);
        if let Some(entry) = self.entries.get_or_make(at, |_| AtomicU32::new(0)) {
            entry.store(number, Ordering::Relaxed);
            self.length.store(at + 1, Ordering::Release);
        }
        at
    }

    /// Takes a number out; the last one comes into its place, and is told if it is another.
    pub(super) fn swap_remove(&self, at: u32) -> Option<u32> {
        let last = self.length.load(Ordering::Relaxed).checked_sub(1)?;
        let moved = self.get(last)?;
        if at != last {
            self.entries.get(at)?.store(moved, Ordering::Relaxed);
        }
        self.length.store(last, Ordering::Release);
        (at != last).then_some(moved)
    }
}
