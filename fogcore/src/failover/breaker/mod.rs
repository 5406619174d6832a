//! A circuit breaker: stops calling what does not answer, and comes back with care.
//!
//! Closed, it counts how calls go over a window. When too many fail or are slow, it opens and
//! refuses calls for a while; then, half open, it lets a few through; when these succeed it closes,
//! first for a growing share of the calls. (Nygard, "Release It!", 2007; the windows are those of
//! resilience4j.) It does no I/O and reads no clock: `now` is handed in, counted from any fixed
//! point. While it is closed, a call costs a few atomic operations and no lock.
//!
//! ```
//! use std::time::Duration;
//! use fogcore::failover::{Breaker, BreakerPolicy, BreakerState};
//!
//! let breaker = Breaker::new(BreakerPolicy::default())?;
//! let (mut now, second) = (Duration::ZERO, Duration::from_secs(1));
//! for _ in 0..5 {
//!     breaker.acquire(now).expect("closed").failure(now);
//! }
//! assert_eq!(breaker.state(), BreakerState::Open);
//! let refused = breaker.acquire(now).unwrap_err();
//! now += refused.retry_after.unwrap();
//! for _ in 0..3 {
//!     breaker.acquire(now).expect("half open").success(now + second);
//! }
//! assert_eq!(breaker.state(), BreakerState::Closed);
//! # Ok::<(), fogcore::Error>(())
//! ```

mod changes;
mod count_window;
mod frozen;
mod overdue;
mod permit;
mod policy;
mod recovery;
mod report;
mod row;
mod state;
mod steps;
mod ticket;
mod time_window;
mod window;

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

pub(crate) use self::frozen::FrozenBreaker;
use self::overdue::Overdue;
pub use self::permit::BreakerPermit;
pub use self::policy::{BreakerPolicy, Window as BreakerWindow};
use self::recovery::Recovery;
pub use self::report::{BreakerChange, BreakerState, BreakerStats, OpenReason, Refused};
use self::row::Row;
use self::state::{
    CLOSED, FORCED_CLOSED, FORCED_OPEN, HALF_OPEN, OPEN, RAMPING, generation, kind, state_of, word,
};
pub(crate) use self::ticket::Ticket;
use self::window::{Counts, Outcome, Window};
use crate::error::Result;
use crate::failover::atomics::{AtomicU64, Mutex, MutexGuard, Ordering};
use crate::failover::words::nanos;

/// Who is told of each change; called under the breaker's lock, so it must not call it back.
pub type OnChange = Arc<dyn Fn(BreakerChange) + Send + Sync>;

/// The same for many breakers, which it tells apart by their tags.
pub(crate) type OnTaggedChange = Arc<dyn Fn(u32, BreakerChange) + Send + Sync>;

/// A circuit breaker.
// In this order, so that a call through a closed breaker touches one cache line.
#[repr(C)]
pub struct Breaker {
    /// See [`state`]; the generation grows with each change, so that a result is known to be late.
    state: AtomicU64,
    window: Window,
    /// Nanoseconds; the policy's, or more than any call takes.
    slow_after: u64,
    overdue: Option<Box<Overdue>>,
    row: Row,
    policy: Arc<BreakerPolicy>,
    /// Nanoseconds: when an open breaker lets calls through, or since when a closed one ramps.
    turn_at: AtomicU64,
    /// A 32-bit fraction that grows by the ramp's share with each call; a call at which it passes
    /// a whole number goes through.
    admitted: AtomicU64,
    late_successes: AtomicU64,
    late_failures: AtomicU64,
    seed: u64,
    recovery: Mutex<Recovery>,
    on_change: Option<OnTaggedChange>,
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker").field("state", &self.state()).finish_non_exhaustive()
    }
}

impl Breaker {
    /// A closed breaker.
    ///
    /// # Errors
    /// InvalidInput with the field's name for a policy that makes no sense.
    pub fn new(policy: BreakerPolicy) -> Result<Self> {
        policy.check()?;
        Ok(Self::sharing(Arc::new(policy)))
    }

    /// A closed breaker with a policy that was checked.
    pub(crate) fn sharing(policy: Arc<BreakerPolicy>) -> Self {
        let overdue =
            policy.slow_after.filter(|_| policy.count_overdue).map(|after| Overdue::new(after, 1));
        Self {
            state: AtomicU64::new(word(1, CLOSED)),
            window: Window::new(policy.window),
            slow_after: policy.slow_after.map_or(u64::MAX, nanos),
            overdue: overdue.map(Box::new),
            row: Row::new(1),
            policy,
            seed: 0,
            turn_at: AtomicU64::new(0),
            admitted: AtomicU64::new(0),
            late_successes: AtomicU64::new(0),
            late_failures: AtomicU64::new(0),
            recovery: Mutex::default(),
            on_change: None,
        }
    }

    /// The same breaker with a seed of its own for the jitter of its open times.
    #[must_use]
    pub fn seeded(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// The same breaker, telling of each change.
    #[must_use]
    pub fn on_change(self, on_change: OnChange) -> Self {
        self.telling(Arc::new(move |_, change| on_change(change)), 0)
    }

    /// The same breaker, telling of each change under a tag.
    pub(crate) fn telling(self, on_change: OnTaggedChange, tag: u32) -> Self {
        self.lock().tag = tag;
        Self { on_change: Some(on_change), ..self }
    }

    /// What it is. An open breaker whose time is over stays open until a call asks.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        state_of(self.state.load(Ordering::Acquire))
    }

    /// What it has counted, at `now`.
    #[must_use]
    pub fn stats(&self, now: Duration) -> BreakerStats {
        let word = self.state.load(Ordering::Acquire);
        let Counts { calls, failures, slow } = self.window.counts(generation(word), nanos(now));
        BreakerStats {
            state: state_of(word),
            calls,
            failures,
            slow,
            overdue: self.overdue.as_ref().map_or(0, |overdue| overdue.count(nanos(now))),
            late_successes: self.late_successes.load(Ordering::Relaxed),
            late_failures: self.late_failures.load(Ordering::Relaxed),
        }
    }

    /// Asks for leave to make a call.
    ///
    /// # Errors
    /// [`Refused`], with the time after which it is worth asking again.
    #[inline]
    pub fn acquire(&self, now: Duration) -> Result<BreakerPermit<&Self>, Refused> {
        let ticket = self.admit(nanos(now))?;
        Ok(BreakerPermit::new(self, ticket))
    }

    /// Asks for leave to make a call; the permit holds a share of the breaker and can go anywhere.
    ///
    /// # Errors
    /// As [`Self::acquire`].
    pub fn acquire_owned(
        self: &Arc<Self>,
        now: Duration,
    ) -> Result<BreakerPermit<Arc<Self>>, Refused> {
        let ticket = self.admit(nanos(now))?;
        Ok(BreakerPermit::new(Arc::clone(self), ticket))
    }

    #[inline]
    pub(crate) fn admit(&self, now: u64) -> Result<Ticket, Refused> {
        let word = self.state.load(Ordering::Acquire);
        if kind(word) == CLOSED && self.overdue.is_none() {
            return Ok(Ticket { word, began: now });
        }
        self.admit_with_care(word, now)
    }

    fn admit_with_care(&self, word: u64, now: u64) -> Result<Ticket, Refused> {
        let word = match kind(word) {
            CLOSED => {
                if let Some(overdue) = &self.overdue {
                    self.judge_overdue(word, overdue, now)?;
                }
                word
            }
            FORCED_CLOSED => word,
            RAMPING => {
                self.ramp(word, now)?;
                word
            }
            _ => self.admit_probe(now)?,
        };
        if let Some(overdue) = &self.overdue {
            overdue.begin(now);
        }
        Ok(Ticket { word, began: now })
    }

    /// Whether an open breaker would let a call through at `now`; changes nothing.
    #[must_use]
    pub fn would_admit(&self, now: Duration) -> bool {
        match kind(self.state.load(Ordering::Acquire)) {
            OPEN => nanos(now) >= self.turn_at.load(Ordering::Acquire),
            FORCED_OPEN => false,
            _ => true,
        }
    }

    /// When an open breaker will let a call through; none unless it opened by itself.
    pub(crate) fn open_until(&self) -> Option<u64> {
        let is_open = kind(self.state.load(Ordering::Acquire)) == OPEN;
        is_open.then(|| self.turn_at.load(Ordering::Acquire))
    }

    /// If another success would change nothing: closed for good, and the window is full of them. Told
    /// as a ticket's [`word`](Ticket::word), which is as good as asking, until a call fails or
    /// somebody forces it.
    pub(crate) fn settled(&self) -> Option<u64> {
        let word = self.state.load(Ordering::Acquire);
        let settled = kind(word) == CLOSED
            && self.overdue.is_none()
            && self.policy.slow_after.is_none()
            && self.row.is_empty()
            && self.window.is_full_of_good(generation(word));
        settled.then_some(word)
    }

    /// Forgets everything, because it guards somebody else from now on or nobody, and tells what it
    /// was. That is no change, so nobody is told.
    pub(crate) fn reset(&self) -> BreakerState {
        let mut recovery = self.lock();
        recovery.forget();
        self.turn_silently(CLOSED).0
    }

    #[inline]
    pub(crate) fn succeed(&self, ticket: Ticket, now: u64) {
        // What follows would change nothing; this is how nearly all calls end.
        let changes_nothing = kind(ticket.word) == CLOSED
            && self.state.load(Ordering::Acquire) == ticket.word
            && self.window.is_full_of_good(generation(ticket.word))
            && self.row.is_empty()
            && self.overdue.is_none()
            && now.saturating_sub(ticket.began) <= self.slow_after;
        if !changes_nothing {
            self.end(ticket, false, now);
        }
    }

    pub(crate) fn fail(&self, ticket: Ticket, now: u64) {
        self.end(ticket, true, now);
    }

    /// The call was given up, which says nothing about who was called.
    pub(crate) fn cancel(&self, ticket: Ticket) {
        if let Some(overdue) = &self.overdue {
            overdue.end(ticket.began, generation(ticket.word));
        }
        if kind(ticket.word) == HALF_OPEN {
            let mut recovery = self.lock();
            if self.state.load(Ordering::Acquire) == ticket.word {
                recovery.end_probe();
            }
        }
    }

    /// Opens it until it is released.
    pub fn force_open(&self, now: Duration) {
        self.force(FORCED_OPEN, nanos(now));
    }

    /// Closes it until it is released: what its calls give is counted, but changes nothing.
    pub fn force_closed(&self, now: Duration) {
        self.force(FORCED_CLOSED, nanos(now));
    }

    /// Ends what was forced: closed, with an empty window.
    pub fn release(&self, now: Duration) {
        if matches!(self.state(), BreakerState::ForcedOpen | BreakerState::ForcedClosed) {
            self.force(CLOSED, nanos(now));
        }
    }

    fn force(&self, to: u64, now: u64) {
        let mut recovery = self.lock();
        recovery.close(Duration::from_nanos(now));
        self.turn(&recovery, to, None, now);
    }

    fn end(&self, ticket: Ticket, failed: bool, now: u64) {
        if let Some(overdue) = &self.overdue {
            overdue.end(ticket.began, generation(ticket.word));
        }
        let word = self.state.load(Ordering::Acquire);
        if generation(word) != generation(ticket.word) {
            self.count_late(failed);
            return;
        }
        let slow = now.saturating_sub(ticket.began) > self.slow_after;
        if kind(ticket.word) == HALF_OPEN {
            self.end_probe(ticket, failed || slow, now);
            return;
        }
        let counts = self.window.record(generation(word), Outcome::new(failed, slow), now);
        let in_a_row = self.row.count(generation(word), failed);
        if matches!(kind(word), CLOSED | RAMPING)
            && let Some(reason) = self.policy.judge(counts, in_a_row)
        {
            self.trip(word, reason, now);
        }
    }

    fn count_late(&self, failed: bool) {
        let late = if failed { &self.late_failures } else { &self.late_successes };
        late.fetch_add(1, Ordering::Relaxed);
    }

    /// Opens if too many calls are slow, those counted that are still in flight.
    fn judge_overdue(&self, word: u64, overdue: &Overdue, now: u64) -> Result<(), Refused> {
        let hanging = overdue.count_anew(now);
        if hanging == 0 {
            return Ok(());
        }
        let Counts { calls, slow, .. } = self.window.counts(generation(word), now);
        let (calls, slow) = (calls.saturating_add(hanging), slow.saturating_add(hanging));
        if calls < self.policy.min_calls
            || f64::from(slow) / f64::from(calls) < self.policy.slow_rate
        {
            return Ok(());
        }
        self.trip(word, OpenReason::SlowRate, now);
        Err(self.refusal(now))
    }

    fn lock(&self) -> MutexGuard<'_, Recovery> {
        self.recovery.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, fogcore_loom))]
mod loom;
#[cfg(test)]
mod tests;
