//! How the latest calls went: a window over calls or over time.

use super::count_window::CountWindow;
use super::policy;
use super::time_window::TimeWindow;
use crate::failover::words::quarter;

/// How one call went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome(u8);

impl Outcome {
    pub(super) const SUCCESS: Self = Self(1);
    const FAILURE: u8 = 2;
    const SLOW: u8 = 4;

    pub(super) const fn new(failed: bool, slow: bool) -> Self {
        let failed = if failed { Self::FAILURE } else { 0 };
        let slow = if slow { Self::SLOW } else { 0 };
        Self(Self::SUCCESS.0 | failed | slow)
    }

    pub(super) const fn bits(self) -> u8 {
        self.0
    }

    pub(super) const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    pub(super) const fn failed(self) -> bool {
        self.0 & Self::FAILURE != 0
    }

    pub(super) const fn slow(self) -> bool {
        self.0 & Self::SLOW != 0
    }
}

/// What a window holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) calls: u32,
    pub(super) failures: u32,
    pub(super) slow: u32,
}

#[derive(Debug)]
pub(super) enum Window {
    Count(CountWindow),
    Time(Box<TimeWindow>),
}

impl Window {
    pub(super) fn new(policy: policy::Window) -> Self {
        match policy {
            policy::Window::Count(calls) => Self::Count(CountWindow::new(calls)),
            policy::Window::Time(span) => Self::Time(Box::new(TimeWindow::new(span))),
        }
    }

    /// Whether one more success would change nothing: all calls that it holds are, and it is full.
    #[inline]
    pub(super) fn is_full_of_good(&self, generation: u64) -> bool {
        match self {
            Self::Count(window) => window.is_full_of_good(quarter(generation)),
            Self::Time(_) => false,
        }
    }

    /// Takes in a call that ended at `now`, and tells what the window holds then. What it tells
    /// without any bad call may leave out good ones: no rate depends on them.
    pub(super) fn record(&self, generation: u64, outcome: Outcome, now: u64) -> Counts {
        match self {
            Self::Count(window) => window.record(quarter(generation), outcome),
            Self::Time(window) => window.record(generation, outcome, now),
        }
    }

    /// Begins an empty window for another generation.
    pub(super) fn begin(&self, generation: u64) {
        // Over time, generations have bits enough to be told apart.
        if let Self::Count(window) = self {
            window.begin(quarter(generation));
        }
    }

    /// What the window holds at `now`.
    pub(super) fn counts(&self, generation: u64, now: u64) -> Counts {
        match self {
            Self::Count(window) => window.counts(quarter(generation)),
            Self::Time(window) => window.counts(generation, now),
        }
    }
}
