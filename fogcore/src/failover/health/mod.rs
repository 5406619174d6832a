//! Is a node well? Told by probes: short questions that are asked all the time.
//!
//! Outliers are found by what calls show, so a node without traffic is never found out, and one
//! that is out never comes back by itself. Probes ask both. A single answer says little: a row of
//! failures makes a node unhealthy, a row of successes brings it back, and one success is enough
//! for a node of which nothing is known yet.
//!
//! Expected absence is not failure. When the registry or the owner says that a device sleeps or
//! left the network, it is [`Health::Absent`]: it is not probed, and its silence counts neither
//! way. The rows of failures and successes are kept, so that sleep heals nobody and harms nobody.
//! When it is back it is probed soon; a node that was healthy is unknown until then, because what
//! was known of it is old, and one that was unhealthy stays so until it has earned its way back.
//!
//! ```
//! use std::time::Duration;
//! use fogcore::failover::{Health, HealthCheck, HealthPolicy, ProbeError, ProbeOutcome};
//!
//! let mut now = Duration::ZERO;
//! let mut check = HealthCheck::new(HealthPolicy::default(), 1, now)?;
//! let second = Duration::from_secs(1);
//! let answers = [Ok(()), Err(ProbeError::TimedOut), Err(ProbeError::TimedOut),
//!     Err(ProbeError::TimedOut)];
//! let mut seen = Vec::new();
//! for answer in answers {
//!     now = check.next_probe_at().expect("it is not absent");
//!     assert!(check.due(now));
//!     check.begin(now);
//!     check.observe(ProbeOutcome::from_result(answer, second), now + second);
//!     seen.push(check.health());
//! }
//! assert_eq!(seen, [Health::Healthy, Health::Healthy, Health::Healthy, Health::Unhealthy]);
//! # Ok::<(), fogcore::Error>(())
//! ```

mod policy;
mod probe;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::policy::HealthPolicy;
pub use self::probe::{HealthProbe, ProbeError, ProbeTarget};
use crate::error::Result;
use crate::registry::Ineligible;

/// What probes say of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Nothing yet, or nothing since it was absent.
    Unknown,
    /// It is well.
    Healthy,
    /// It is not.
    Unhealthy,
    /// It is not there, and nobody expects it to be.
    Absent,
}

/// Why nobody expects a node to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AbsenceReason {
    /// The device sleeps.
    Asleep,
    /// The device charges and does nothing else.
    Charging,
    /// The device left the network.
    OffNetwork,
    /// The owner took it away for a while.
    Maintenance,
    /// The registry says that it may not work now.
    Ineligible(Ineligible),
}

/// What came of a probe, or instead of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeOutcome {
    /// The node is well.
    Passed {
        /// How long its answer took.
        took: Duration,
    },
    /// It does not seem so.
    Failed {
        /// Why.
        reason: ProbeError,
    },
    /// It need not be asked: the registry or the owner said that it is not there.
    Absent(AbsenceReason),
}

impl ProbeOutcome {
    /// The outcome of a probe that took so long.
    #[must_use]
    pub fn from_result(result: Result<(), ProbeError>, took: Duration) -> Self {
        match result {
            Ok(()) => Self::Passed { took },
            Err(reason) => Self::Failed { reason },
        }
    }
}

/// A change of a node's health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthChange {
    /// What it was.
    pub from: Health,
    /// What it is.
    pub to: Health,
    /// What made the difference; none if the node came back or began anew.
    pub because: Option<ProbeOutcome>,
    /// When, on the clock that the check is asked with.
    pub at: Duration,
}

/// What is known of one node, and when to ask it next.
///
/// Whoever probes calls [`due`](Self::due), [`begin`](Self::begin), and at the end
/// [`observe`](Self::observe). The time to the next probe counts from the beginning of the one
/// before, so that probes which time out do not become rarer.
#[derive(Clone, Debug)]
pub struct HealthCheck {
    policy: HealthPolicy,
    seed: u64,
    /// How often dice were thrown: each throw differs, and a replay throws the same.
    throws: u64,
    /// Never [`Health::Absent`], which `absence` says.
    known: Health,
    absence: Option<AbsenceReason>,
    /// Results of the same kind in a row.
    failures: u32,
    successes: u32,
    in_flight: bool,
    next: Duration,
}

impl HealthCheck {
    /// A node of which nothing is known at `now`. It is probed at once, or a little later as the
    /// policy's jitter and `seed` say.
    ///
    /// # Errors
    /// InvalidInput with the field's name for a policy that makes no sense.
    pub fn new(policy: HealthPolicy, seed: u64, now: Duration) -> Result<Self> {
        policy.check()?;
        let mut check = Self {
            policy,
            seed,
            throws: 0,
            known: Health::Unknown,
            absence: None,
            failures: 0,
            successes: 0,
            in_flight: false,
            next: now,
        };
        check.probe_soon(now);
        Ok(check)
    }

    /// How the node is.
    #[must_use]
    pub fn health(&self) -> Health {
        if self.absence.is_some() { Health::Absent } else { self.known }
    }

    /// Why nobody expects an answer, if that is so.
    #[must_use]
    pub fn absence(&self) -> Option<AbsenceReason> {
        self.absence
    }

    /// When the next probe should begin; none while the node is absent or a probe is in flight.
    #[must_use]
    pub fn next_probe_at(&self) -> Option<Duration> {
        (self.absence.is_none() && !self.in_flight).then_some(self.next)
    }

    /// Whether a probe should begin at `now`.
    #[must_use]
    pub fn due(&self, now: Duration) -> bool {
        self.next_probe_at().is_some_and(|at| at <= now)
    }

    /// Whether a probe has begun of which nothing came yet.
    #[must_use]
    pub fn in_flight(&self) -> bool {
        self.in_flight
    }

    /// A probe begins at `now`, due or not.
    pub fn begin(&mut self, now: Duration) {
        if self.absence.is_none() {
            self.in_flight = true;
            let dice = self.dice();
            self.next = now.saturating_add(self.policy.next(dice));
        }
    }

    /// Takes in what came of a probe, or that the node is absent. Tells the change, if there is
    /// one.
    ///
    /// A result without a probe in flight changes nothing: the node was told absent meanwhile, and
    /// that it did not answer then was to be expected.
    pub fn observe(&mut self, outcome: ProbeOutcome, now: Duration) -> Option<HealthChange> {
        let from = self.health();
        let in_flight = std::mem::replace(&mut self.in_flight, false);
        match &outcome {
            ProbeOutcome::Absent(reason) => self.absence = Some(*reason),
            _ if !in_flight => {}
            ProbeOutcome::Passed { .. } => self.pass(),
            ProbeOutcome::Failed { .. } => self.fail(),
        }
        self.changed(from, Some(outcome), now)
    }

    /// The node is there again. It is probed soon, and as after [`HealthCheck::new`] not all at
    /// once. Tells the change; a node that was not absent does not change.
    pub fn back(&mut self, now: Duration) -> Option<HealthChange> {
        let from = self.health();
        self.absence.take()?;
        if self.known == Health::Healthy {
            self.known = Health::Unknown;
        }
        self.probe_soon(now);
        self.changed(from, None, now)
    }

    fn pass(&mut self) {
        self.failures = 0;
        self.successes = self.successes.saturating_add(1);
        if self.known == Health::Unknown || self.successes >= self.policy.healthy_after {
            self.known = Health::Healthy;
        }
    }

    fn fail(&mut self) {
        self.successes = 0;
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.policy.unhealthy_after {
            self.known = Health::Unhealthy;
        }
    }

    fn probe_soon(&mut self, now: Duration) {
        let dice = self.dice();
        self.next = now.saturating_add(self.policy.first(dice));
    }

    fn changed(
        &self,
        from: Health,
        because: Option<ProbeOutcome>,
        at: Duration,
    ) -> Option<HealthChange> {
        let to = self.health();
        (from != to).then_some(HealthChange { from, to, because, at })
    }

    /// From 0 to 1. A hash stands in for dice, so that a replay asks at the same times.
    fn dice(&mut self) -> f64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed.to_le_bytes()).update(&self.throws.to_le_bytes());
        self.throws = self.throws.wrapping_add(1);
        let [a, b, c, d, ..] = *hasher.finalize().as_bytes();
        f64::from(u32::from_le_bytes([a, b, c, d])) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests;
