//! Leave to make a call, which cannot be forgotten: dropping it is an answer, too.

use std::ops::Deref;
use std::time::Duration;

use super::{Breaker, Ticket};
use crate::failover::words::nanos;

/// Leave to make one call; how it went is told by consuming it. Dropped, the call was given up,
/// which counts for nothing.
///
/// It borrows the breaker, or, from [`Breaker::acquire_owned`], holds a share of it.
#[derive(Debug)]
pub struct BreakerPermit<B: Deref<Target = Breaker>> {
    breaker: B,
    ticket: Ticket,
    ended: bool,
}

impl<B: Deref<Target = Breaker>> BreakerPermit<B> {
    #[inline]
    pub(super) const fn new(breaker: B, ticket: Ticket) -> Self {
        Self { breaker, ticket, ended: false }
    }

    /// The call succeeded, at `now`.
    #[inline]
    pub fn success(mut self, now: Duration) {
        self.ended = true;
        self.breaker.succeed(self.ticket, nanos(now));
    }

    /// The call failed, at `now`.
    #[inline]
    pub fn failure(mut self, now: Duration) {
        self.ended = true;
        self.breaker.fail(self.ticket, nanos(now));
    }
}

impl<B: Deref<Target = Breaker>> Drop for BreakerPermit<B> {
    #[inline]
    fn drop(&mut self) {
        if !self.ended {
            self.breaker.cancel(self.ticket);
        }
    }
}
