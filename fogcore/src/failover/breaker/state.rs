//! The word that holds a breaker's state: `generation << 3 | kind`.

use super::report::BreakerState;

pub(super) const CLOSED: u64 = 0;
pub(super) const RAMPING: u64 = 1;
pub(super) const OPEN: u64 = 2;
pub(super) const HALF_OPEN: u64 = 3;
pub(super) const FORCED_OPEN: u64 = 4;
pub(super) const FORCED_CLOSED: u64 = 5;

#[inline]
pub(super) const fn kind(word: u64) -> u64 {
    word & 7
}

#[inline]
pub(super) const fn generation(word: u64) -> u64 {
    word >> 3
}

pub(super) const fn state_of(word: u64) -> BreakerState {
    match kind(word) {
        OPEN => BreakerState::Open,
        HALF_OPEN => BreakerState::HalfOpen,
        FORCED_OPEN => BreakerState::ForcedOpen,
        FORCED_CLOSED => BreakerState::ForcedClosed,
        _ => BreakerState::Closed,
    }
}

#[inline]
pub(super) const fn word(generation: u64, kind: u64) -> u64 {
    generation << 3 | kind
}
