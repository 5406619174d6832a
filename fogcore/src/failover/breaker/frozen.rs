//! What a snapshot keeps of a breaker.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Breaker;
use super::state::{FORCED_CLOSED, kind};
use std::sync::atomic::Ordering;

/// What decides whether a breaker lets a call through, for a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FrozenBreaker {
    kind: u64,
    turn_at: u64,
    admitted: u64,
    probes_in_flight: u32,
    successes: u32,
    /// How long probes may hang.
    patience: Duration,
    overdue_at: Duration,
}

impl Breaker {
    /// What decides whether it lets a call through now; how its window stands is not in it.
    pub(crate) fn freeze(&self) -> FrozenBreaker {
        let recovery = self.lock();
        let (probes_in_flight, successes) = recovery.probes();
        let (patience, overdue_at) = recovery.limits();
        FrozenBreaker {
            kind: kind(self.state.load(Ordering::Acquire)),
            turn_at: self.turn_at.load(Ordering::Acquire),
            admitted: self.admitted.load(Ordering::Acquire),
            probes_in_flight,
            successes,
            patience,
            overdue_at,
        }
    }

    /// Makes a breaker that was just reset what another one was, and tells nobody.
    pub(crate) fn thaw(&self, frozen: FrozenBreaker) {
        let mut recovery = self.lock();
        recovery.set_probes(frozen.probes_in_flight, frozen.successes);
        recovery.set_limits(frozen.patience, frozen.overdue_at);
        self.turn_silently(frozen.kind.min(FORCED_CLOSED));
        self.turn_at.store(frozen.turn_at, Ordering::Release);
        self.admitted.store(frozen.admitted, Ordering::Release);
    }
}
