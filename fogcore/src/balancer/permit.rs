//! Leave to send a request to a node, which cannot be forgotten: dropping it is an answer, too.

use std::fmt;
use std::num::NonZeroU64;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use super::balancer::Balancer;
use super::endpoint::Endpoint;
use crate::failover::words::{high, low, nanos, pair, quarter};
use crate::failover::{FailureKind, Ticket};
use crate::id::NodeId;

/// A place that was taken at a node: two words, which are handed over in registers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    /// `pool << 32 | number`, and a bit that makes it something.
    place: NonZeroU64,
    /// The breaker's ticket; zero if it was not asked, in a panic.
    pub(super) ticket: u64,
}

impl Taken {
    /// `pool` counts it, if the strategy wants it counted.
    #[inline]
    pub(super) const fn new(number: u32, pool: u32, ticket: u64) -> Self {
        let place = NonZeroU64::MIN.saturating_add(pair(pool, number) << 1);
        Self { place, ticket }
    }

    /// The node's.
    #[inline]
    pub(super) const fn number(self) -> u32 {
        low(self.place.get() >> 1)
    }

    #[inline]
    pub(super) const fn pool(self) -> u32 {
        high(self.place.get() >> 1)
    }
}

/// What a permit must give back. Whole words: a copy of parts waits until all of them are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) taken: Taken,
    /// Nanoseconds.
    pub(super) began: u64,
    /// `class << 32 | stripe`, the latter one of the pool's counters.
    by: u64,
}

impl Held {
    #[inline]
    pub(super) const fn new(taken: Taken, began: u64, class: u8, stripe: u16) -> Self {
        Self { taken, began, by: pair(class as u32, stripe as u32) }
    }

    #[inline]
    pub(super) const fn class(&self) -> u8 {
        high(self.by).to_le_bytes()[0]
    }

    #[inline]
    pub(super) const fn stripe(&self) -> u16 {
        quarter(self.by)
    }

    pub(super) fn ticket(&self) -> Option<Ticket> {
        let word = self.taken.ticket;
        (word != 0).then(|| Ticket::from_word(word, self.began))
    }
}

/// A node that was picked, and leave to send it one request. How that went is told by consuming
/// it; dropped, the request was given up, which says nothing about the node.
///
/// It borrows the balancer, or, from [`Balancer::pick_owned`], holds a share of it.
#[must_use = "dropping a permit gives the request up"]
pub struct Permit<B: Deref<Target = Balancer>> {
    balancer: B,
    held: Held,
    ended: bool,
}

impl<B: Deref<Target = Balancer>> fmt::Debug for Permit<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (index, picked_at) = (self.index(), self.picked_at());
        let mut debug = f.debug_struct("Permit");
        debug.field("index", &index).field("picked_at", &picked_at).finish_non_exhaustive()
    }
}

impl<B: Deref<Target = Balancer>> Permit<B> {
    #[inline]
    pub(super) const fn new(balancer: B, held: Held) -> Self {
        Self { balancer, held, ended: false }
    }

    /// The node's place in the balancer, 0–1,048,447: the same as long as the node stays, and
    /// given to another one at the earliest a minute after it left. For tables beside the balancer,
    /// such as one of connections.
    #[must_use]
    #[inline]
    pub const fn index(&self) -> u32 {
        self.held.taken.number()
    }

    /// The node; none if it has left since.
    #[must_use]
    pub fn endpoint(&self) -> Option<Arc<Endpoint>> {
        self.balancer.endpoint(self.held.taken.number())
    }

    /// The node's id; none if it has left since.
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        self.endpoint().map(|endpoint| endpoint.id.clone())
    }

    /// When it was picked, on the clock that the balancer is asked with.
    #[must_use]
    pub const fn picked_at(&self) -> Duration {
        Duration::from_nanos(self.held.began)
    }

    /// The request succeeded, after `latency`.
    #[inline]
    pub fn success(mut self, latency: Duration) {
        self.ended = true;
        self.balancer.succeeded(&self.held, nanos(latency));
    }

    /// The request failed, after `latency`.
    pub fn failure(mut self, kind: FailureKind, latency: Duration) {
        self.ended = true;
        self.balancer.failed(&self.held, kind, nanos(latency));
    }
}

impl<B: Deref<Target = Balancer>> Drop for Permit<B> {
    #[inline]
    fn drop(&mut self) {
        if !self.ended {
            self.balancer.gave_up(&self.held);
        }
    }
}
