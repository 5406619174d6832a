//! The place of one node, which never moves: its [`Meter`], that a pick reads, and its [`Record`],
//! that only failures and changes need.

use std::mem;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use super::endpoint::Endpoint;
use super::meter::{FULL, LIVE, Meter};
use super::outlying::FailureRow;
use crate::error::{Error, Result};
use crate::failover::atomics::{AtomicU16, AtomicU32, Ordering};
use crate::failover::words::low;
use crate::failover::{Breaker, Ticket};

/// What is known of a node and seldom needed.
#[derive(Debug)]
pub(super) struct Record {
    breaker: Breaker,
    further_breakers: OnceLock<Box<[Breaker]>>,
    failures: AtomicU32,
    pub(super) failure_row: FailureRow,
    /// Since when it starts slowly, in milliseconds.
    slow_since: AtomicU32,
    /// Parts of the share: what its power state leaves it, and what failover leaves it.
    pub(super) headroom: AtomicU16,
    pub(super) kept: AtomicU16,
    endpoint: RwLock<Option<Arc<Endpoint>>>,
}

impl Record {
    /// A place that nobody has, with its breaker for the general class.
    pub(super) fn new(breaker: Breaker) -> Self {
        Self {
            breaker,
            further_breakers: OnceLock::new(),
            failures: AtomicU32::new(0),
            failure_row: FailureRow::at(0),
            slow_since: AtomicU32::new(0),
            headroom: AtomicU16::new(FULL),
            kept: AtomicU16::new(FULL),
            endpoint: RwLock::new(None),
        }
    }
}

/// The place of one node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot<'t> {
    pub(super) meter: &'t Meter,
    pub(super) record: &'t Record,
}

/// What a slot holds, for a snapshot. Times are as they are counted in here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Readings {
    flags: u32,
    share: u16,
    headroom: u16,
    kept: u16,
    in_flight: u32,
    /// Nanoseconds; zero: unknown.
    latency: f32,
    latency_at: u64,
    used: u64,
    reported: u64,
    success: f32,
    slow_since: u32,
}

impl Readings {
    pub(super) fn check(&self) -> Result<()> {
        let success = (0.0..=1.0).contains(&self.success);
        if success && self.latency >= 0.0 && self.latency.is_finite() {
            return Ok(());
        }
        Err(Error::invalid("readings", "a share is not one, or a latency is no number"))
    }
}

impl<'t> Slot<'t> {
    pub(super) fn readings(&self) -> Readings {
        let Self { meter, record } = self;
        Readings {
            flags: meter.flags(),
            share: meter.share(),
            headroom: record.headroom.load(Ordering::Relaxed),
            kept: record.kept.load(Ordering::Relaxed),
            in_flight: meter.in_flight(),
            latency: f32::from_bits(meter.latency.load(Ordering::Relaxed)),
            latency_at: meter.latency_at.load(Ordering::Relaxed),
            used: meter.used(),
            reported: meter.reported.load(Ordering::Relaxed),
            success: meter.success(),
            slow_since: record.slow_since.load(Ordering::Relaxed),
        }
    }

    /// Makes it what it was. A place that was just moved into counts no request yet.
    pub(super) fn restore(&self, readings: &Readings) {
        let Self { meter, record } = self;
        meter.status.store(readings.flags | LIVE, Ordering::Release);
        meter.share.store(readings.share, Ordering::Relaxed);
        record.headroom.store(readings.headroom, Ordering::Relaxed);
        record.kept.store(readings.kept, Ordering::Relaxed);
        meter.load.store(u64::from(readings.in_flight), Ordering::Relaxed);
        meter.latency.store(readings.latency.to_bits(), Ordering::Relaxed);
        meter.latency_at.store(readings.latency_at, Ordering::Relaxed);
        meter.used.store(readings.used, Ordering::Relaxed);
        meter.reported.store(readings.reported, Ordering::Relaxed);
        meter.success.store(readings.success.to_bits(), Ordering::Relaxed);
        record.slow_since.store(readings.slow_since, Ordering::Relaxed);
    }

    /// Makes it the place of `endpoint`, of which nothing is known yet. Its breakers must have been
    /// reset; those for the further classes are made when it is first moved into.
    pub(super) fn move_in(
        &self,
        endpoint: Arc<Endpoint>,
        classes: u8,
        breaker: impl Fn(u8) -> Breaker,
    ) {
        self.describe(&endpoint);
        self.meter.reset();
        let record = self.record;
        for part in [&record.headroom, &record.kept] {
            part.store(FULL, Ordering::Relaxed);
        }
        record.failure_row.begin(self.meter.completed());
        self.unsettle();
        if classes > 1 {
            record.further_breakers.get_or_init(|| (1..classes).map(breaker).collect());
        }
        self.record.set_endpoint(Some(endpoint));
    }

    /// Takes in what may change while a node stays.
    fn describe(&self, endpoint: &Endpoint) {
        self.meter.weight.store(endpoint.weight, Ordering::Relaxed);
        self.meter.limit.store(endpoint.max_in_flight.unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    pub(super) fn redescribe(&self, endpoint: Arc<Endpoint>) {
        self.describe(&endpoint);
        self.record.set_endpoint(Some(endpoint));
    }

    /// Asks a class's breaker for leave to make a call; gives the ticket's word.
    pub(super) fn admit(&self, class: u8, now: u64) -> Option<u64> {
        let settled = self.meter.settled(class);
        if settled.is_some() {
            return settled;
        }
        Some(self.breaker(class).admit(now).ok()?.word())
    }

    /// Tells a class's breaker that a call succeeded.
    pub(super) fn admitted_well(&self, class: u8, ticket: Ticket, now: u64) {
        if self.meter.settled(class) == Some(ticket.word()) {
            return;
        }
        self.breaker(class).succeed(ticket, now);
        if class == 0
            && let Some(word) = self.record.breaker.settled()
        {
            // Exchanges, not stores: what follows must not be seen before them.
            self.meter.settled_word.swap(word, Ordering::AcqRel);
            // A call may have failed meanwhile: who fails one comes back here after it, too.
            if self.record.breaker.settled() != Some(word) {
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
        self.meter.settled_word.swap(0, Ordering::AcqRel);
    }

    pub(super) fn breaker(&self, class: u8) -> &'t Breaker {
        let record = self.record;
        let further = || record.further_breakers.get()?.get(usize::from(class) - 1);
        if class == 0 { &record.breaker } else { further().unwrap_or(&record.breaker) }
    }

    /// A request failed; tells its place among all that ended.
    pub(super) fn fail(&self, latency: u64, now: u64, fading: f32) -> u32 {
        let place = self.meter.fail(latency, now, fading);
        self.record.failures.fetch_add(1, Ordering::Relaxed);
        self.share_again();
        place
    }

    pub(super) fn failed(&self) -> u32 {
        self.record.failures.load(Ordering::Relaxed)
    }

    /// Brings the share up to date with its parts.
    pub(super) fn share_again(&self) {
        let part = |part: &AtomicU16| part.load(Ordering::Acquire);
        let parts = || (part(&self.record.headroom), part(&self.record.kept));
        let mut now = parts();
        loop {
            self.meter.set_share(now.0, now.1);
            // Somebody may have changed one meanwhile, and brought the share up to date before us.
            match mem::replace(&mut now, parts()) {
                before if before == now => break,
                _ => {}
            }
        }
    }
}

impl Record {
    pub(super) fn endpoint(&self) -> Option<Arc<Endpoint>> {
        self.endpoint.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_endpoint(&self, endpoint: Option<Arc<Endpoint>>) {
        *self.endpoint.write().unwrap_or_else(PoisonError::into_inner) = endpoint;
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
