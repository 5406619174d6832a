//! What a breaker must remember while it is not simply closed; only touched under its lock.

use std::time::Duration;

use super::BreakerPolicy;

#[derive(Debug, Default)]
pub(super) struct Recovery {
    /// Openings since the last time it was forgiven.
    openings: u32,
    opened_at: Duration,
    closed_at: Duration,
    probes_in_flight: u32,
    successes: u32,
    /// What whoever is told of its changes knows it by.
    pub(super) tag: u32,
    /// How long probes may hang.
    patience: Duration,
    /// When those in flight have hung for too long.
    overdue_at: Duration,
}

impl Recovery {
    /// As new; who listens still knows it by its tag.
    pub(super) fn forget(&mut self) {
        *self = Self { tag: self.tag, ..Self::default() };
    }

    /// It opens: until when?
    pub(super) fn open(&mut self, now: Duration, policy: &BreakerPolicy, seed: u64) -> Duration {
        // Only a time in which it was closed counts: a long outage is no reason to forgive.
        let has_closed = self.closed_at >= self.opened_at;
        if has_closed && now.saturating_sub(self.closed_at) >= policy.forgive_after {
            self.openings = 0;
        }
        let exponent = i32::try_from(self.openings).unwrap_or(i32::MAX);
        let grown = policy.open_for.as_secs_f64() * policy.open_growth.powi(exponent);
        let capped = grown.min(policy.open_at_most.as_secs_f64());
        // A hash stands in for dice, so that a replay waits as long.
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes()).update(&self.openings.to_le_bytes());
        hasher.update(&now.as_nanos().to_le_bytes());
        let dice = f64::from(hasher.finalize().as_bytes()[0]) / 255.0;
        let wait = Duration::try_from_secs_f64(capped * (1.0 + dice * policy.open_jitter));
        let wait = wait.unwrap_or(policy.open_at_most);
        self.openings = self.openings.saturating_add(1);
        self.opened_at = now;
        self.patience = policy.patience(wait);
        now.saturating_add(wait)
    }

    /// Probes in flight, and successes in a row.
    pub(super) const fn probes(&self) -> (u32, u32) {
        (self.probes_in_flight, self.successes)
    }

    /// How long probes may hang, and until when those in flight may.
    pub(super) const fn limits(&self) -> (Duration, Duration) {
        (self.patience, self.overdue_at)
    }

    pub(super) const fn set_probes(&mut self, in_flight: u32, successes: u32) {
        (self.probes_in_flight, self.successes) = (in_flight, successes);
    }

    pub(super) const fn set_limits(&mut self, patience: Duration, overdue_at: Duration) {
        (self.patience, self.overdue_at) = (patience, overdue_at);
    }

    pub(super) const fn half_open(&mut self) {
        (self.probes_in_flight, self.successes) = (0, 0);
    }

    pub(super) const fn close(&mut self, now: Duration) {
        self.closed_at = now;
    }

    /// Lets one more call through, if not too many are.
    pub(super) const fn begin_probe(&mut self, now: Duration, policy: &BreakerPolicy) -> bool {
        let free = !self.is_full(policy);
        if free {
            self.probes_in_flight += 1;
            self.overdue_at = now.saturating_add(self.patience);
        }
        free
    }

    /// Whether as many probes are in flight as may be.
    pub(super) const fn is_full(&self, policy: &BreakerPolicy) -> bool {
        self.probes_in_flight >= policy.half_open_permits
    }

    /// Whether the calls that fill all its places have hung for too long.
    pub(super) fn hang(&self, now: Duration) -> bool {
        now >= self.overdue_at
    }

    pub(super) const fn end_probe(&mut self) {
        self.probes_in_flight = self.probes_in_flight.saturating_sub(1);
    }

    /// A probe succeeded: was it the last one needed?
    pub(super) const fn succeed(&mut self, policy: &BreakerPolicy) -> bool {
        self.successes += 1;
        self.successes >= policy.successes_to_close
    }
}
