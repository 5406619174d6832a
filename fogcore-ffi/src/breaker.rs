//! A circuit breaker for calls that the app makes by itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fogcore::failover::{self, BreakerPolicy, BreakerState, BreakerWindow};
use fogcore::time::{Clock, SystemClock};

use crate::error::FogError;
use crate::handles::Counted;
use crate::values::Span;

/// When a breaker opens, and how it comes back; what is left out is as by default.
#[derive(Clone, Debug, Default, PartialEq, uniffi::Record)]
pub struct BreakerOptions {
    /// Over how many of the latest calls the rates are taken, 1–65,535. Default 100.
    #[uniffi(default)]
    pub window: Option<u16>,
    /// Fewer calls in the window say nothing about a rate. Default 10.
    #[uniffi(default)]
    pub min_calls: Option<u32>,
    /// The share of failed calls that opens it, above 0 and up to 1. Default 0.5.
    #[uniffi(default)]
    pub failure_rate: Option<f64>,
    /// So many failures in a row open it. Default 5.
    #[uniffi(default)]
    pub consecutive_failures: Option<u32>,
    /// How long it stays open the first time. Default 60 s.
    #[uniffi(default)]
    pub open_for: Option<Span>,
    /// So many calls may be in flight while it is half open. Default 3.
    #[uniffi(default)]
    pub half_open_permits: Option<u32>,
    /// So many successes in a row close it again. Default 3.
    #[uniffi(default)]
    pub successes_to_close: Option<u32>,
}

impl From<BreakerOptions> for BreakerPolicy {
    fn from(options: BreakerOptions) -> Self {
        let usual = Self::default();
        Self {
            window: options.window.map_or(usual.window, BreakerWindow::Count),
            min_calls: options.min_calls.unwrap_or(usual.min_calls),
            failure_rate: options.failure_rate.or(usual.failure_rate),
            consecutive_failures: options.consecutive_failures.or(usual.consecutive_failures),
            open_for: options.open_for.map_or(usual.open_for, |span| span.0),
            half_open_permits: options.half_open_permits.unwrap_or(usual.half_open_permits),
            successes_to_close: options.successes_to_close.unwrap_or(usual.successes_to_close),
            ..usual
        }
    }
}

/// What a breaker has counted.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct BreakerStats {
    /// Whether it lets calls through.
    pub state: BreakerState,
    /// Calls in the window.
    pub calls: u32,
    /// Failed calls in the window.
    pub failures: u32,
    /// Calls in flight for longer than they should be.
    pub overdue: u32,
}

/// A circuit breaker. It needs no fog.
#[derive(Debug, uniffi::Object)]
pub struct Breaker {
    breaker: Arc<failover::Breaker>,
    clock: SystemClock,
    _counted: Counted,
}

impl Breaker {
    fn now(&self) -> Duration {
        self.clock.elapsed()
    }
}

#[uniffi::export]
impl Breaker {
    /// A closed breaker.
    ///
    /// # Errors
    /// InvalidInput with the field's name for options that make no sense.
    #[uniffi::constructor]
    pub fn new(options: BreakerOptions) -> Result<Arc<Self>, FogError> {
        let breaker = Arc::new(failover::Breaker::new(options.into())?);
        Ok(Arc::new(Self { breaker, clock: SystemClock::new(), _counted: Counted::new() }))
    }

    /// Asks for leave to make a call.
    ///
    /// # Errors
    /// Unavailable if it is open, with the time after which it is worth asking again.
    pub fn acquire(&self) -> Result<Arc<BreakerPermit>, FogError> {
        let permit = self.breaker.acquire_owned(self.now()).map_err(|refused| {
            let retry_after = refused.retry_after.map(Span);
            FogError::Unavailable { retry_after, reason: refused.to_string() }
        })?;
        let permit = Mutex::new(Some(permit));
        Ok(Arc::new(BreakerPermit { permit, clock: self.clock, _counted: Counted::new() }))
    }

    /// Whether it lets calls through.
    pub fn state(&self) -> BreakerState {
        self.breaker.state()
    }

    /// What it has counted.
    pub fn stats(&self) -> BreakerStats {
        let stats = self.breaker.stats(self.now());
        let failover::BreakerStats { state, calls, failures, overdue, .. } = stats;
        BreakerStats { state, calls, failures, overdue }
    }

    /// Opens it until it is released.
    pub fn force_open(&self) {
        self.breaker.force_open(self.now());
    }

    /// Closes it until it is released.
    pub fn force_closed(&self) {
        self.breaker.force_closed(self.now());
    }

    /// Ends what was forced.
    pub fn release(&self) {
        self.breaker.release(self.now());
    }
}

/// Leave to make one call. Given back without a word, the call was given up, which counts for
/// nothing; a second word changes nothing.
#[derive(Debug, uniffi::Object)]
pub struct BreakerPermit {
    permit: Mutex<Option<failover::BreakerPermit<Arc<failover::Breaker>>>>,
    clock: SystemClock,
    _counted: Counted,
}

impl BreakerPermit {
    fn take(&self) -> Option<failover::BreakerPermit<Arc<failover::Breaker>>> {
        self.permit.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[uniffi::export]
impl BreakerPermit {
    /// The call succeeded.
    pub fn success(&self) {
        if let Some(permit) = self.take() {
            permit.success(self.clock.elapsed());
        }
    }

    /// The call failed.
    pub fn failure(&self) {
        if let Some(permit) = self.take() {
            permit.failure(self.clock.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_the_cores_default() {
        assert_eq!(BreakerPolicy::from(BreakerOptions::default()), BreakerPolicy::default());
    }

    #[test]
    fn failures_open_it_and_a_permit_counts_once() {
        let options = BreakerOptions { consecutive_failures: Some(2), ..BreakerOptions::default() };
        let breaker = Breaker::new(options).unwrap();
        let first = breaker.acquire().unwrap();
        first.failure();
        first.failure();
        assert_eq!(breaker.stats().failures, 1);
        // Given up: counts for nothing.
        drop(breaker.acquire().unwrap());
        breaker.acquire().unwrap().failure();
        assert_eq!(breaker.state(), BreakerState::Open);
        let Err(FogError::Unavailable { retry_after: Some(_), .. }) = breaker.acquire() else {
            panic!("an open breaker lets nobody through, and says for how long");
        };
        let strange = BreakerOptions { failure_rate: Some(7.0), ..BreakerOptions::default() };
        assert!(matches!(Breaker::new(strange), Err(FogError::InvalidInput { .. })));
    }
}
