//! Several small numbers in one atomic word.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "taking a part of a word, or the whole part of a float, is what this is for"
)]

use std::time::Duration;

/// A word of two halves.
#[inline]
pub(crate) const fn pair(high: u32, low: u32) -> u64 {
    (high as u64) << 32 | low as u64
}

#[inline]
pub(crate) const fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

#[inline]
pub(crate) const fn low(word: u64) -> u32 {
    word as u32
}

/// The lowest quarter of a word.
#[inline]
pub(crate) const fn quarter(word: u64) -> u16 {
    word as u16
}

/// A time in nanoseconds, up to 584 years.
#[inline]
pub(crate) const fn nanos(time: Duration) -> u64 {
    // `Duration::as_nanos` has 128 bits, which costs ten times as much.
    time.as_secs().saturating_mul(1_000_000_000).saturating_add(time.subsec_nanos() as u64)
}

/// The whole part; what is no number or negative gives zero, what is too large the most.
#[inline]
pub(crate) const fn whole(value: f64) -> u64 {
    value as u64
}

/// A place in a list of `length`, counted round and round.
#[inline]
pub(crate) const fn round(number: u64, length: usize) -> usize {
    (number % length as u64) as usize
}
