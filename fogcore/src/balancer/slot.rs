//! What is known of one node, in a place that never moves: what a pick reads is in one cache line,
//! what its outcome writes in that one and the next.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use super::endpoint::Endpoint;
use super::outlying::{FailureRow, UsualLatency};
use super::report::{Load, NOTHING_KNOWN};
use crate::error::{Error, Result};
use crate::failover::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::failover::words::{high, low, pair, whole};
use crate::failover::{Breaker, BreakerPolicy, Ticket};

/// A node lives here.
pub(super) const LIVE: u32 = 1;
/// It takes no new work, because somebody said so.
pub(super) const DRAINING: u32 = 1 << 1;
/// Its battery, heat or owner says that it must not work.
pub(super) const INELIGIBLE: u32 = 1 << 2;
/// It is expected to be away: asleep, or off the network.
pub(super) const AWAY: u32 = 1 << 3;
/// It asked for a rest (429, Retry-After, out of memory).
pub(super) const RESTING: u32 = 1 << 4;
/// Its health probes fail.
pub(super) const UNHEALTHY: u32 = 1 << 5;
/// It is far from the rest, as its calls show.
pub(super) const EJECTED: u32 = 1 << 6;
/// It is new or has just come back.
pub(super) const SLOW_START: u32 = 1 << 7;
/// The breaker of request class 0 is open; the next bits are those of the further classes.
pub(super) const BREAKER_OPEN: u32 = 1 << 8;

/// The bits of all breakers: there are at most 16 classes.
pub(super) const BREAKERS: u32 = 0xffff << 8;
/// Nothing of its share is left to it.
pub(super) const NO_SHARE: u32 = 1 << 24;
/// Its heartbeat is late.
pub(super) const LATE: u32 = 1 << 25;

/// What keeps a node from work, however few there are.
pub(super) const OUT: u32 = DRAINING | INELIGIBLE | AWAY | RESTING | NO_SHARE;
/// What a panic ignores, beside the breaker's bit.
pub(super) const UNWELL: u32 = UNHEALTHY | LATE | EJECTED;

/// A full share, of [`Slot::share`].
pub(super) const FULL: u32 = 1 << 16;

/// The bit of a request class's breaker.
pub(super) const fn breaker_bit(class: u8) -> u32 {
    BREAKER_OPEN << class
}

/// The place of one node.
#[derive(Debug)]
// Two lines: the one beside what a pick needs is fetched with it.
#[repr(C, align(128))]
pub(super) struct Slot {
    /// The flags above.
    pub(super) status: AtomicU32,
    pub(super) weight: AtomicU32,
    /// How much of its weight it gets, in parts of [`FULL`].
    pub(super) share: AtomicU32,
    /// The most requests in flight.
    pub(super) limit: AtomicU32,
    /// `completed << 32 | in flight`
    load: AtomicU64,
    /// Nanoseconds, as the bits of a float; zero: unknown.
    latency: AtomicU64,
    /// When the latency was last changed, in nanoseconds.
    latency_at: AtomicU64,
    /// The ticket of its breaker for the general class as long as that one is
    /// [settled](Breaker::settled), else zero: then a call need not look at the breaker, which is
    /// in another cache line.
    settled: AtomicU64,
    /// CPU, memory, storage and throughput, each in parts of 65,534.
    used: AtomicU64,
    /// For the comparison with other nodes; picks go by the other one.
    pub(super) usual_latency: UsualLatency,
    /// Share of calls that succeed, as the bits of a float.
    success: AtomicU32,
    /// In the breaker's order: what a call touches comes first.
    breaker: Breaker,
    /// `requests in flight as the node counted them << 32 | milliseconds when it told`
    reported: AtomicU64,
    failures: AtomicU32,
    /// Since when it starts slowly, in milliseconds.
    slow_since: AtomicU32,
    pub(super) failure_row: FailureRow,
    further_breakers: OnceLock<Box<[Breaker]>>,
    /// Parts of the share: what its power state leaves it, and what failover leaves it.
    pub(super) headroom: AtomicU32,
    pub(super) kept: AtomicU32,
    endpoint: RwLock<Option<Arc<Endpoint>>>,
}

/// What a slot holds, for a snapshot. Times are as they are counted in here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Readings {
    flags: u32,
    share: u32,
    headroom: u32,
    kept: u32,
    in_flight: u32,
    /// Nanoseconds; zero: unknown.
    latency: f64,
    latency_at: u64,
    used: u64,
    reported: u64,
    success: f32,
    slow_since: u32,
}

impl Readings {
    pub(super) fn check(&self) -> Result<()> {
        let shares = [self.share, self.headroom, self.kept].iter().all(|share| *share <= FULL);
        let success = (0.0..=1.0).contains(&self.success);
        if shares && success && self.latency >= 0.0 && self.latency.is_finite() {
            return Ok(());
        }
        Err(Error::invalid("readings", "a share is not one, or a latency is no number"))
    }
}

/// What one observation moves the share of successes by.
const SUCCESS_STEP: f32 = 1.0 / 16.0;
/// A node keeps this share of its weight however many of its calls fail: without calls, nobody
/// would notice that it is well again.
const LEAST_SUCCESS: f32 = 1.0 / 16.0;

impl Slot {
    pub(super) fn new(policy: &Arc<BreakerPolicy>, seed: u64) -> Self {
        Self {
            status: AtomicU32::new(0),
            weight: AtomicU32::new(1),
            share: AtomicU32::new(FULL),
            limit: AtomicU32::new(u32::MAX),
            load: AtomicU64::new(0),
            latency: AtomicU64::new(0),
            latency_at: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            used: AtomicU64::new(NOTHING_KNOWN),
            usual_latency: UsualLatency::unknown(),
            success: AtomicU32::new(1.0_f32.to_bits()),
            breaker: Breaker::sharing(Arc::clone(policy)).seeded(seed),
            reported: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            slow_since: AtomicU32::new(0),
            failure_row: FailureRow::at(0),
            further_breakers: OnceLock::new(),
            headroom: AtomicU32::new(FULL),
            kept: AtomicU32::new(FULL),
            endpoint: RwLock::new(None),
        }
    }

    pub(super) fn readings(&self) -> Readings {
        Readings {
            flags: self.flags(),
            share: self.share.load(Ordering::Relaxed),
            headroom: self.headroom.load(Ordering::Relaxed),
            kept: self.kept.load(Ordering::Relaxed),
            in_flight: self.in_flight(),
            latency: f64::from_bits(self.latency.load(Ordering::Relaxed)),
            latency_at: self.latency_at.load(Ordering::Relaxed),
            used: self.used(),
            reported: self.reported.load(Ordering::Relaxed),
            success: self.success(),
            slow_since: self.slow_since.load(Ordering::Relaxed),
        }
    }

    /// Makes it what it was. A place that was just moved into counts no request yet.
    pub(super) fn restore(&self, readings: &Readings) {
        self.status.store(readings.flags | LIVE, Ordering::Release);
        self.share.store(readings.share, Ordering::Relaxed);
        self.headroom.store(readings.headroom, Ordering::Relaxed);
        self.kept.store(readings.kept, Ordering::Relaxed);
        self.load.store(u64::from(readings.in_flight), Ordering::Relaxed);
        self.latency.store(readings.latency.to_bits(), Ordering::Relaxed);
        self.latency_at.store(readings.latency_at, Ordering::Relaxed);
        self.used.store(readings.used, Ordering::Relaxed);
        self.reported.store(readings.reported, Ordering::Relaxed);
        self.success.store(readings.success.to_bits(), Ordering::Relaxed);
        self.slow_since.store(readings.slow_since, Ordering::Relaxed);
    }

    /// Makes it the place of `endpoint`, of which nothing is known yet.
    pub(super) fn move_in(
        &self,
        endpoint: Arc<Endpoint>,
        classes: u8,
        policy: &Arc<BreakerPolicy>,
        seed: u64,
    ) {
        self.describe(&endpoint);
        for value in [&self.latency, &self.latency_at, &self.reported] {
            value.store(0, Ordering::Relaxed);
        }
        self.used.store(NOTHING_KNOWN, Ordering::Relaxed);
        self.usual_latency.forget();
        self.failure_row.begin(self.completed());
        self.success.store(1.0_f32.to_bits(), Ordering::Relaxed);
        for share in [&self.headroom, &self.kept, &self.share] {
            share.store(FULL, Ordering::Relaxed);
        }
        self.breaker.reset();
        self.unsettle();
        if classes > 1 {
            let breaker = |class| {
                let seed = seed ^ u64::from(class) << 32;
                Breaker::sharing(Arc::clone(policy)).seeded(seed)
            };
            let further = || (1..classes).map(breaker).collect();
            self.further_breakers.get_or_init(further).iter().for_each(Breaker::reset);
        }
        *self.endpoint.write().unwrap_or_else(PoisonError::into_inner) = Some(endpoint);
    }

    /// Takes in what may change while a node stays.
    pub(super) fn describe(&self, endpoint: &Endpoint) {
        self.weight.store(u32::from(endpoint.weight), Ordering::Relaxed);
        self.limit.store(endpoint.max_in_flight.unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    pub(super) fn redescribe(&self, endpoint: Arc<Endpoint>) {
        self.describe(&endpoint);
        *self.endpoint.write().unwrap_or_else(PoisonError::into_inner) = Some(endpoint);
    }

    pub(super) fn move_out(&self) {
        *self.endpoint.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn endpoint(&self) -> Option<Arc<Endpoint>> {
        self.endpoint.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[inline]
    pub(super) fn breaker(&self, class: u8) -> &Breaker {
        let further = || self.further_breakers.get()?.get(usize::from(class) - 1);
        if class == 0 { &self.breaker } else { further().unwrap_or(&self.breaker) }
    }

    /// Asks a class's breaker for leave to make a call; gives the ticket's word.
    #[inline]
    pub(super) fn admit(&self, class: u8, now: u64) -> Option<u64> {
        let settled = self.settled.load(Ordering::Acquire);
        if class == 0 && settled != 0 {
            return Some(settled);
        }
        Some(self.breaker(class).admit(now).ok()?.word())
    }

    /// Tells a class's breaker that a call succeeded.
    #[inline]
    pub(super) fn admitted_well(&self, class: u8, ticket: Ticket, now: u64) {
        if class == 0 && self.settled.load(Ordering::Acquire) == ticket.word() {
            return;
        }
        self.breaker(class).succeed(ticket, now);
        if class == 0
            && let Some(word) = self.breaker.settled()
        {
            // Exchanges, not stores: what follows must not be seen before them.
            self.settled.swap(word, Ordering::AcqRel);
            // A call may have failed meanwhile: who fails one comes back here after it, too.
            if self.breaker.settled() != Some(word) {
                self.unsettle();
            }
        }
    }

    /// Tells a class's breaker that a call failed.
    pub(super) fn admitted_badly(&self, class: u8, ticket: Ticket, now: u64) {
        self.with_breaker(class, |breaker| breaker.fail(ticket, now));
    }

    /// Does something to a class's breaker that may end its being settled.
    pub(super) fn with_breaker(&self, class: u8, change: impl FnOnce(&Breaker)) {
        self.unsettle();
        change(self.breaker(class));
        self.unsettle();
    }

    fn unsettle(&self) {
        self.settled.swap(0, Ordering::AcqRel);
    }

    #[inline]
    pub(super) fn flags(&self) -> u32 {
        self.status.load(Ordering::Acquire)
    }

    #[inline]
    pub(super) fn in_flight(&self) -> u32 {
        low(self.load.load(Ordering::Relaxed))
    }

    pub(super) fn completed(&self) -> u32 {
        high(self.load.load(Ordering::Relaxed))
    }

    pub(super) fn failed(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    /// A request begins, if one more may be in flight.
    #[inline]
    pub(super) fn begin(&self) -> bool {
        let before = low(self.load.fetch_add(1, Ordering::AcqRel));
        if before < self.limit.load(Ordering::Relaxed) {
            return true;
        }
        self.give_up();
        false
    }

    /// A request that began was given up, or never sent.
    #[inline]
    pub(super) fn give_up(&self) {
        self.load.fetch_sub(1, Ordering::AcqRel);
    }

    /// A request that began has ended: one more completed, one less in flight. Tells its place: how
    /// many ended before it.
    #[inline]
    fn complete(&self) -> u32 {
        high(self.load.fetch_add(pair(1, 0) - 1, Ordering::AcqRel))
    }

    /// A request ended well.
    #[inline]
    pub(super) fn succeed(&self, latency: u64, now: u64, fading: f64) {
        self.complete();
        self.observe_latency(latency, now, fading);
        self.usual_latency.observe(latency);
        let success = self.success();
        if success < 1.0 {
            // The last step is taken whole: the share of a node that is well is exactly one.
            let next = success + (1.0 - success) * SUCCESS_STEP;
            let next = if next > 0.999 { 1.0 } else { next };
            self.success.store(next.to_bits(), Ordering::Relaxed);
            self.share_again();
        }
    }

    /// A request failed: it counts as a slow one, because a node that refuses at once would
    /// otherwise look like the fastest. Tells its place among all that ended.
    pub(super) fn fail(&self, latency: u64, now: u64, fading: f64) -> u32 {
        let place = self.complete();
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.observe_latency(latency, now, fading);
        self.success.store((self.success() * (1.0 - SUCCESS_STEP)).to_bits(), Ordering::Relaxed);
        self.share_again();
        place
    }

    /// Share of the latest calls that succeeded, 0–1.
    pub(super) fn success(&self) -> f32 {
        f32::from_bits(self.success.load(Ordering::Relaxed))
    }

    /// Brings the share up to date with its parts.
    pub(super) fn share_again(&self) {
        let part = |part: &AtomicU32| part.load(Ordering::Relaxed) as f32;
        let share = part(&self.headroom) * part(&self.kept) / FULL as f32;
        let share = share * self.success().max(LEAST_SUCCESS);
        self.share.store(low(whole(f64::from(share))), Ordering::Relaxed);
    }

    /// Peak EWMA: a slower call counts at once, faster ones bring it down, by `fading` per nanosecond.
    /// (Finagle's `PeakEwma`.)
    #[inline]
    fn observe_latency(&self, latency: u64, now: u64, fading: f64) {
        let latency = latency as f64;
        let before = f64::from_bits(self.latency.load(Ordering::Relaxed));
        let after = if latency >= before {
            latency
        } else {
            let kept = self.kept_of_latency(now, fading);
            before * kept + latency * (1.0 - kept)
        };
        // Never zero, which means unknown.
        self.latency.store(after.max(1.0).to_bits(), Ordering::Relaxed);
        self.latency_at.store(now, Ordering::Relaxed);
    }

    /// The peak EWMA of its latency in nanoseconds, faded by the time without news; none if it
    /// never answered.
    #[inline]
    pub(super) fn latency(&self, now: u64, fading: f64) -> Option<f64> {
        let latency = f64::from_bits(self.latency.load(Ordering::Relaxed));
        if latency == 0.0 {
            return None;
        }
        Some(latency * self.kept_of_latency(now, fading))
    }

    /// What is left of the latency by its age, 0–1: `e^(-age * fading)`.
    #[inline]
    fn kept_of_latency(&self, now: u64, fading: f64) -> f64 {
        let age = now.saturating_sub(self.latency_at.load(Ordering::Relaxed)) as f64 * fading;
        // Busy nodes were heard of just now: there four terms are exact to ten digits.
        let near = 1.0 - age * (1.0 - age * (0.5 - age / 6.0));
        if age < 1.0 / 256.0 { near } else { (-age).exp() }
    }

    /// Takes in what the node told of itself.
    pub(super) fn report(&self, load: &Load, now: u64) {
        self.used.store(load.packed(), Ordering::Relaxed);
        if let Some(in_flight) = load.in_flight {
            // Never zero, which means never.
            let told_at = low(now / 1_000_000).max(1);
            self.reported.store(pair(in_flight, told_at), Ordering::Relaxed);
        }
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Requests in flight as the node last counted them, all of its clients' together, and how
    /// many milliseconds ago that was.
    pub(super) fn reported(&self, now: u64) -> Option<(u32, u32)> {
        let word = self.reported.load(Ordering::Relaxed);
        (word != 0).then(|| (high(word), low(now / 1_000_000).wrapping_sub(low(word))))
    }

    /// It is new, or back: it gets its full share only after a while.
    pub(super) fn start_slowly(&self, now: u64) {
        self.slow_since.store(low(now / 1_000_000), Ordering::Relaxed);
    }

    /// For how many milliseconds it has been starting slowly.
    pub(super) fn slow_for(&self, now: u64) -> u32 {
        low(now / 1_000_000).wrapping_sub(self.slow_since.load(Ordering::Relaxed))
    }
}
