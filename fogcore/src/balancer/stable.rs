//! An array that grows and never moves: readers need no lock while it does.

use std::sync::OnceLock;

/// Entries of the first segment; each further one doubles the array.
const FIRST: u32 = 64;
const SEGMENTS: usize = 16;

/// How many entries there can be: more than `1 << 20`.
pub(super) const CAPACITY: u32 = (1 << 20) - FIRST;

/// An array in segments that are made when they are needed and stay where they are.
#[derive(Debug)]
pub(super) struct Stable<T, const MOST: usize = SEGMENTS> {
    segments: [OnceLock<Box<[T]>>; MOST],
}

impl<T, const MOST: usize> Default for Stable<T, MOST> {
    fn default() -> Self {
        Self { segments: [const { OnceLock::new() }; MOST] }
    }
}

impl<T, const MOST: usize> Stable<T, MOST> {
    /// The entry, if its segment was made.
    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<&T> {
        let (segment, offset) = locate(index);
        self.segments.get(segment)?.get()?.get(offset)
    }

    /// The entry; makes its segment if need be.
    pub(super) fn get_or_make(&self, index: u32, make: impl FnMut(u32) -> T) -> Option<&T> {
        let (at, offset) = locate(index);
        let segment = self.segments.get(at)?;
        let length = FIRST << at;
        let first = length - FIRST;
        segment.get_or_init(|| (first..first + length).map(make).collect()).get(offset)
    }
}

#[inline]
const fn locate(index: u32) -> (usize, usize) {
    let shifted = index.saturating_add(FIRST);
    let segment = FIRST.leading_zeros() - shifted.leading_zeros();
    (segment as usize, (shifted - (FIRST << segment)) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_has_a_place_of_its_own_and_keeps_it() {
        let array = Stable::<u32>::default();
        assert_eq!(array.get(0), None);
        for index in (0..5_000).rev() {
            assert_eq!(array.get_or_make(index, |own| own), Some(&index));
        }
        assert_eq!(array.get(4_999), Some(&4_999));
        assert_eq!(array.get_or_make(CAPACITY, |own| own), Some(&CAPACITY));
        assert_eq!(array.get_or_make(u32::MAX / 2, |own| own), None);
    }
}
