//! What a breaker tells of itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Whether calls go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// All of them, or a growing share just after it closed.
    Closed,
    /// None.
    Open,
    /// A few, to see how it is.
    HalfOpen,
    /// None, because somebody said so.
    ForcedOpen,
    /// All, because somebody said so.
    ForcedClosed,
}

impl BreakerState {
    /// Its name, as in JSON.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::ForcedOpen => "forced_open",
            Self::ForcedClosed => "forced_closed",
        }
    }
}

/// Why a breaker opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OpenReason {
    /// Too large a share of the window failed.
    FailureRate,
    /// Too large a share of the window was slow, or is still in flight.
    SlowRate,
    /// Too many failures in a row.
    ConsecutiveFailures,
    /// A call that was to see how it is failed.
    ProbeFailed,
    /// The calls that were to see how it is did not come back.
    ProbesHung,
}

impl OpenReason {
    /// Its name, as in JSON.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::FailureRate => "failure_rate",
            Self::SlowRate => "slow_rate",
            Self::ConsecutiveFailures => "consecutive_failures",
            Self::ProbeFailed => "probe_failed",
            Self::ProbesHung => "probes_hung",
        }
    }
}

/// A change of a breaker's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerChange {
    /// What it was.
    pub from: BreakerState,
    /// What it is.
    pub to: BreakerState,
    /// Why it opened, if it did so by itself.
    pub reason: Option<OpenReason>,
    /// When, on the clock that the breaker is asked with.
    pub at: Duration,
}

/// A call that a breaker refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the circuit breaker is {state:?}")]
pub struct Refused {
    /// What it is.
    pub state: BreakerState,
    /// After how long it may let a call through again, if that is known.
    pub retry_after: Option<Duration>,
}

/// What a breaker has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerStats {
    /// What it is.
    pub state: BreakerState,
    /// Calls in the window.
    pub calls: u32,
    /// Failed calls in the window.
    pub failures: u32,
    /// Slow calls in the window.
    pub slow: u32,
    /// Calls in flight for longer than they should be.
    pub overdue: u32,
    /// Successes of calls that began before the state changed: they count nowhere else.
    pub late_successes: u64,
    /// Failures of calls that began before the state changed.
    pub late_failures: u64,
}
