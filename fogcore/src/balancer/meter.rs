//! What a pick reads of one node, and what its outcome writes: one cache line.

use super::outlying::UsualLatency;
use super::report::{Load, NOTHING_KNOWN};
use crate::failover::atomics::{AtomicU16, AtomicU32, AtomicU64, Ordering};
use crate::failover::words::{high, low, pair, quarter, whole};

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

/// A full share, of [`Meter::share`].
pub(super) const FULL: u16 = u16::MAX;

/// The bit of a request class's breaker.
pub(super) const fn breaker_bit(class: u8) -> u32 {
    BREAKER_OPEN << class
}

/// Whether a node with these flags takes requests of a class.
pub(super) const fn takes(flags: u32, class: u8, panicking: bool) -> bool {
    let hindered = if panicking { OUT } else { OUT | UNWELL | breaker_bit(class) };
    flags & (LIVE | hindered) == LIVE
}

/// The line. The other half of what is known of a node is its [`Record`](super::slot::Record).
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Meter {
    /// The flags above.
    pub(super) status: AtomicU32,
    /// The most requests in flight.
    pub(super) limit: AtomicU32,
    /// `completed << 32 | in flight`
    pub(super) load: AtomicU64,
    pub(super) weight: AtomicU16,
    /// How much of its weight it gets, in parts of [`FULL`].
    pub(super) share: AtomicU16,
    /// Peak EWMA of its latency: nanoseconds, as the bits of a float; zero: unknown.
    pub(super) latency: AtomicU32,
    /// When the latency was last changed, in nanoseconds.
    pub(super) latency_at: AtomicU64,
    /// The ticket of its breaker for the general class as long as that one is
    /// [settled](crate::failover::Breaker::settled), else zero: then a call need not look at the
    /// breaker, which is far from here.
    pub(super) settled_word: AtomicU64,
    /// CPU, memory, storage and throughput, each in parts of 65,534.
    pub(super) used: AtomicU64,
    /// `requests in flight as the node counted them << 32 | milliseconds when it told`
    pub(super) reported: AtomicU64,
    /// Share of calls that succeed, as the bits of a float.
    pub(super) success: AtomicU32,
    /// For the comparison with other nodes; picks go by the other latency.
    pub(super) usual_latency: UsualLatency,
}

#[cfg(not(fogcore_loom))]
const _: () = assert!(size_of::<Meter>() == 64, "one cache line");

/// What one observation moves the share of successes by.
const SUCCESS_STEP: f32 = 1.0 / 16.0;

impl Meter {
    pub(super) fn new() -> Self {
        Self {
            status: AtomicU32::new(0),
            limit: AtomicU32::new(u32::MAX),
            load: AtomicU64::new(0),
            weight: AtomicU16::new(1),
            share: AtomicU16::new(FULL),
            latency: AtomicU32::new(0),
            latency_at: AtomicU64::new(0),
            settled_word: AtomicU64::new(0),
            used: AtomicU64::new(NOTHING_KNOWN),
            reported: AtomicU64::new(0),
            success: AtomicU32::new(1.0_f32.to_bits()),
            usual_latency: UsualLatency::unknown(),
        }
    }

    /// Forgets what was measured: another node moves in.
    pub(super) fn reset(&self) {
        for value in [&self.latency_at, &self.reported, &self.settled_word] {
            value.store(0, Ordering::Relaxed);
        }
        self.latency.store(0, Ordering::Relaxed);
        self.usual_latency.forget();
        self.used.store(NOTHING_KNOWN, Ordering::Relaxed);
        self.success.store(1.0_f32.to_bits(), Ordering::Relaxed);
        self.share.store(FULL, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn flags(&self) -> u32 {
        self.status.load(Ordering::Acquire)
    }

    /// Its weight, 1–65,535.
    #[inline]
    pub(super) fn weight(&self) -> u16 {
        self.weight.load(Ordering::Relaxed)
    }

    /// How much of its weight it gets, in parts of [`FULL`], its slow start aside.
    #[inline]
    pub(super) fn share(&self) -> u16 {
        self.share.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn in_flight(&self) -> u32 {
        low(self.load.load(Ordering::Relaxed))
    }

    pub(super) fn completed(&self) -> u32 {
        high(self.load.load(Ordering::Relaxed))
    }

    pub(super) fn is_full(&self) -> bool {
        self.in_flight() >= self.limit.load(Ordering::Relaxed)
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

    /// The ticket's word, if a class's breaker is settled.
    #[inline]
    pub(super) fn settled(&self, class: u8) -> Option<u64> {
        let word = self.settled_word.load(Ordering::Acquire);
        (class == 0 && word != 0).then_some(word)
    }

    /// A request ended well. Tells whether that improves its share of successes, on which its share
    /// of its weight depends.
    #[inline]
    pub(super) fn succeed(&self, latency: u64, now: u64, fading: f32) -> bool {
        self.complete();
        self.observe_latency(latency, now, fading);
        self.usual_latency.observe(latency);
        let success = self.success();
        if success >= 1.0 {
            return false;
        }
        // The last step is taken whole: the share of a node that is well is exactly one.
        let next = success + (1.0 - success) * SUCCESS_STEP;
        let next = if next > 0.999 { 1.0 } else { next };
        self.success.store(next.to_bits(), Ordering::Relaxed);
        true
    }

    /// A request failed: it counts as a slow one, because a node that refuses at once would
    /// otherwise look like the fastest. Tells its place among all that ended.
    pub(super) fn fail(&self, latency: u64, now: u64, fading: f32) -> u32 {
        let place = self.complete();
        self.observe_latency(latency, now, fading);
        self.success.store((self.success() * (1.0 - SUCCESS_STEP)).to_bits(), Ordering::Relaxed);
        place
    }

    /// Share of the latest calls that succeeded, 0–1.
    #[inline]
    pub(super) fn success(&self) -> f32 {
        f32::from_bits(self.success.load(Ordering::Relaxed))
    }

    /// Peak EWMA: a slower call counts at once, faster ones bring it down, by `fading` per nanosecond.
    /// (Finagle's `PeakEwma`.)
    #[inline]
    fn observe_latency(&self, latency: u64, now: u64, fading: f32) {
        let latency = latency as f32;
        let before = f32::from_bits(self.latency.load(Ordering::Relaxed));
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

    /// The peak EWMA of its latency in nanoseconds, faded by the time without news; zero if it
    /// never answered.
    #[inline]
    pub(super) fn latency(&self, now: u64, fading: f32) -> f32 {
        let latency = f32::from_bits(self.latency.load(Ordering::Relaxed));
        latency * self.kept_of_latency(now, fading)
    }

    /// What is left of the latency by its age, 0–1: `e^(-age * fading)`.
    #[inline]
    fn kept_of_latency(&self, now: u64, fading: f32) -> f32 {
        let age = now.saturating_sub(self.latency_at.load(Ordering::Relaxed));
        let age = age.cast_signed() as f32 * fading;
        // Busy nodes were heard of just now: there four terms are exact to the last digit.
        if age < 1.0 / 64.0 { 1.0 - age * (1.0 - age * (0.5 - age / 6.0)) } else { (-age).exp() }
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

    #[inline]
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Requests in flight as the node last counted them, all of its clients' together, and how
    /// many milliseconds ago that was.
    #[inline]
    pub(super) fn reported(&self, now: u64) -> Option<(u32, u32)> {
        let word = self.reported.load(Ordering::Relaxed);
        (word != 0).then(|| (high(word), low(now / 1_000_000).wrapping_sub(low(word))))
    }

    /// The share that these parts of [`FULL`] and its successes leave it.
    pub(super) fn set_share(&self, headroom: u16, kept: u16) {
        // In whole numbers: two full parts make exactly a full one.
        let share = u32::from(headroom) * u32::from(kept) / u32::from(FULL);
        let share = f64::from(share) * f64::from(self.success().max(LEAST_SUCCESS));
        self.share.store(quarter(whole(share)), Ordering::Relaxed);
    }
}

/// A node keeps this share of its weight however many of its calls fail: without calls, nobody
/// would notice that it is well again.
const LEAST_SUCCESS: f32 = 1.0 / 16.0;
