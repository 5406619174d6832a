//! How a breaker opens, tries, and closes again: all but the ramp under its lock.

use std::time::Duration;

use super::recovery::Recovery;
use super::state::{CLOSED, HALF_OPEN, OPEN, RAMPING, generation, kind, state_of, word as word_of};
use super::{Breaker, BreakerChange, BreakerState, OpenReason, Refused, Ticket};
use crate::error::Result;
use crate::failover::atomics::Ordering;
use crate::failover::words::{nanos, whole};

/// The share of calls that goes through when a breaker has just closed.
const FIRST_SHARE: f64 = 0.1;

impl Breaker {
    /// Lets a share through that grows while the ramp lasts.
    pub(super) fn ramp(&self, word: u64, now: u64) -> Result<(), Refused> {
        let since = now.saturating_sub(self.turn_at.load(Ordering::Acquire));
        let share = since as f64 / nanos(self.policy.ramp).max(1) as f64;
        if share >= 1.0 {
            // If this fails, it changed to something else meanwhile, which the next call sees.
            let closed = word_of(generation(word), CLOSED);
            let _ = self.state.compare_exchange(word, closed, Ordering::AcqRel, Ordering::Acquire);
            return Ok(());
        }
        let step = whole(share.max(FIRST_SHARE) * f64::from(u32::MAX));
        let before = self.admitted.fetch_add(step, Ordering::AcqRel);
        if before >> 32 == before.wrapping_add(step) >> 32 {
            return Err(Refused { state: BreakerState::Closed, retry_after: None });
        }
        Ok(())
    }

    pub(super) fn trip(&self, word: u64, reason: OpenReason, now: u64) {
        let mut recovery = self.lock();
        // Somebody else may have been faster.
        if generation(self.state.load(Ordering::Acquire)) == generation(word) {
            self.open(&mut recovery, reason, now);
        }
    }

    fn open(&self, recovery: &mut Recovery, reason: OpenReason, now: u64) {
        let until = recovery.open(Duration::from_nanos(now), &self.policy, self.seed);
        self.turn_at.store(nanos(until), Ordering::Release);
        self.turn(recovery, OPEN, Some(reason), now);
    }

    /// Lets a probe through, and tells the state that it belongs to: read under the lock,
    /// because another probe may fail before this one's caller has its ticket.
    pub(super) fn admit_probe(&self, now: u64) -> Result<u64, Refused> {
        let mut recovery = self.lock();
        let word = self.state.load(Ordering::Acquire);
        match kind(word) {
            OPEN if now >= self.turn_at.load(Ordering::Acquire) => {
                recovery.half_open();
                self.turn(&recovery, HALF_OPEN, None, now);
            }
            HALF_OPEN => {}
            _ => return Err(self.refusal(now)),
        }
        let since_start = Duration::from_nanos(now);
        if recovery.begin_probe(since_start, &self.policy) {
            return Ok(self.state.load(Ordering::Acquire));
        }
        if recovery.hang(since_start) {
            self.open(&mut recovery, OpenReason::ProbesHung, now);
        }
        Err(self.refusal(now))
    }

    /// Whether it is half open and as many calls try it out as may.
    pub(crate) fn is_busy_trying(&self) -> bool {
        kind(self.state.load(Ordering::Acquire)) == HALF_OPEN && self.lock().is_full(&self.policy)
    }

    pub(super) fn end_probe(&self, ticket: Ticket, failed: bool, now: u64) {
        let mut recovery = self.lock();
        if self.state.load(Ordering::Acquire) != ticket.word {
            self.count_late(failed);
            return;
        }
        recovery.end_probe();
        if failed {
            self.open(&mut recovery, OpenReason::ProbeFailed, now);
        } else if recovery.succeed(&self.policy) {
            recovery.close(Duration::from_nanos(now));
            self.turn_at.store(now, Ordering::Release);
            self.admitted.store(u64::from(u32::MAX), Ordering::Release);
            let closed = if self.policy.ramp.is_zero() { CLOSED } else { RAMPING };
            self.turn(&recovery, closed, None, now);
        }
    }

    /// Changes the state, and tells it; the caller holds the lock.
    pub(super) fn turn(&self, held: &Recovery, to: u64, reason: Option<OpenReason>, now: u64) {
        let (from, to) = self.turn_silently(to);
        if let Some(on_change) = &self.on_change
            && from != to
        {
            let change = BreakerChange { from, to, reason, at: Duration::from_nanos(now) };
            on_change(held.tag, change);
        }
    }

    /// Changes the state and tells nobody; the caller holds the lock. What it was, and what it is.
    pub(super) fn turn_silently(&self, to: u64) -> (BreakerState, BreakerState) {
        let word = self.state.load(Ordering::Acquire);
        let next = word_of(generation(word) + 1, to);
        self.row.begin(generation(next));
        self.window.begin(generation(next));
        if let Some(overdue) = &self.overdue {
            overdue.begin_generation(generation(next));
        }
        self.state.store(next, Ordering::Release);
        (state_of(word), state_of(next))
    }

    pub(super) fn refusal(&self, now: u64) -> Refused {
        let state = self.state();
        let left = self.turn_at.load(Ordering::Acquire).saturating_sub(now);
        let open = state == BreakerState::Open;
        Refused { state, retry_after: open.then(|| Duration::from_nanos(left)) }
    }
}
