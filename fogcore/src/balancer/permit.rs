//! Leave to send a request to a node, which cannot be forgotten: dropping it is an answer, too.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use super::balancer::Balancer;
use super::endpoint::Endpoint;
use crate::failover::words::nanos;
use crate::failover::{FailureKind, Ticket};
use crate::id::NodeId;

/// What was taken at a node, and must be given back. Whole words, because it is copied on each
/// pick, and copies of odd parts wait for each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    /// Nanoseconds.
    pub(super) began: u64,
    /// The breaker's ticket; zero if it was not asked, in a panic.
    pub(super) ticket: u64,
    pub(super) number: u32,
    pub(super) class: u16,
    /// Which of the counters that are kept apart counts it, if the strategy wants it counted.
    pub(super) stripe: u16,
}

impl Held {
    pub(super) const fn class(&self) -> u8 {
        self.class.to_le_bytes()[0]
    }

    pub(super) fn ticket(&self) -> Option<Ticket> {
        (self.ticket != 0).then(|| Ticket::from_word(self.ticket, self.began))
    }
}

/// A node that was picked, and leave to send it one request. How that went is told by consuming
/// it; dropped, the request was given up, which says nothing about the node.
///
/// It borrows the balancer, or, from [`Balancer::pick_owned`], holds a share of it.
#[derive(Debug)]
#[must_use = "dropping a permit gives the request up"]
pub struct Permit<B: Deref<Target = Balancer>> {
    balancer: B,
    held: Held,
    ended: bool,
}

impl<B: Deref<Target = Balancer>> Permit<B> {
    pub(super) const fn new(balancer: B, held: Held) -> Self {
        Self { balancer, held, ended: false }
    }

    /// The node's place in the balancer, 0–1,048,447: the same as long as the node stays, and
    /// given to another one at the earliest a minute after it left. For tables beside the balancer,
    /// such as one of connections.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.held.number
    }

    /// The node; none if it has left since.
    #[must_use]
    pub fn endpoint(&self) -> Option<Arc<Endpoint>> {
        self.balancer.endpoint(self.held.number)
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
    pub fn success(mut self, latency: Duration) {
        self.ended = true;
        self.balancer.succeeded(self.held, nanos(latency));
    }

    /// The request failed, after `latency`.
    pub fn failure(mut self, kind: FailureKind, latency: Duration) {
        self.ended = true;
        self.balancer.failed(self.held, kind, nanos(latency));
    }
}

impl<B: Deref<Target = Balancer>> Drop for Permit<B> {
    fn drop(&mut self) {
        if !self.ended {
            self.balancer.gave_up(self.held);
        }
    }
}
