//! Leave to make a call, which cannot be forgotten: dropping it is an answer, too.

use std::time::Duration;

use super::{Breaker, Ticket};
use crate::failover::words::nanos;

/// Leave to make one call; how it went is told by consuming it. Dropped, the call was given up,
/// which counts for nothing.
#[derive(Debug)]
pub struct BreakerPermit<'b> {
    breaker: &'b Breaker,
    ticket: Ticket,
    ended: bool,
}

impl<'b> BreakerPermit<'b> {
    #[inline]
    pub(super) const fn new(breaker: &'b Breaker, ticket: Ticket) -> Self {
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

impl Drop for BreakerPermit<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.ended {
            self.breaker.cancel(self.ticket);
        }
    }
}
