//! How a call failed, and what that says about the node.
//!
//! Failures differ in three answers. Does it count against the node, so that breakers and outlier
//! detection hear of it? Is another try worth it? Should the node be asked less for a while? A
//! phone that was put to sleep is no worse than yesterday, a request that is wrong in itself says
//! nothing about who refused it, and a node that asks for a pause is best given one.
//!
//! ```
//! use std::time::Duration;
//! use fogcore::failover::{Absence, FailureKind, LoweringPolicy};
//!
//! let pause = Some(Duration::from_secs(7));
//! let busy = FailureKind::from_http_status(429, pause).unwrap();
//! assert_eq!(busy, FailureKind::Overloaded { retry_after: pause });
//! assert!(busy.is_retryable() && !busy.counts_against_node());
//! assert_eq!(busy.lowers_for(&LoweringPolicy::default()), pause);
//!
//! let asleep = FailureKind::Absent(Absence::Asleep);
//! assert!(asleep.is_retryable() && !asleep.counts_against_node());
//! assert!(!FailureKind::from_http_status(404, None).unwrap().is_retryable());
//! assert_eq!(FailureKind::from_http_status(204, None), None);
//! ```

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureKind {
    /// The node answered that it failed, or with what makes no sense.
    Error,
    /// It did not answer in time.
    Timeout,
    /// No connection came about, or it broke.
    Unreachable,
    /// It has too much to do (HTTP 429 and 503).
    Overloaded {
        /// After how long it wants to be asked again, if it told.
        retry_after: Option<Duration>,
    },
    /// The memory, of the node or its GPU, was too small for the request.
    OutOfMemory,
    /// The request is at fault (HTTP 4xx): every node would refuse it.
    Rejected,
    /// The node is away, as was to be expected of it. A balancer leaves it alone until it reports
    /// its load, or somebody says that it is back.
    Absent(Absence),
}

/// Why a node is away without having failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Absence {
    /// It sleeps, or is switched off.
    Asleep,
    /// It fills its battery first.
    Charging,
    /// It is on no network, or on one that it must not use.
    OffNetwork,
    /// Its owner uses it.
    UserActive,
}

impl Absence {
    /// Its name, as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asleep => "asleep",
            Self::Charging => "charging",
            Self::OffNetwork => "off_network",
            Self::UserActive => "user_active",
        }
    }
}

/// For how long a node is asked less after it said that it has too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoweringPolicy {
    /// If it did not say for how long, above zero. Default 1 s: if it is still too much then, the
    /// next call tells.
    pub unless_told: Duration,
    /// The longest, whatever it said, up to 1 day. Default 5 min: a mistake in a header should end
    /// by itself.
    pub at_most: Duration,
}

impl Default for LoweringPolicy {
    fn default() -> Self {
        Self { unless_told: Duration::from_secs(1), at_most: Duration::from_secs(300) }
    }
}

impl LoweringPolicy {
    /// Checks every limit that the types do not hold already.
    ///
    /// # Errors
    /// InvalidInput with the field's name.
    pub fn check(&self) -> Result<()> {
        if self.at_most > Duration::from_secs(86_400) {
            return Err(Error::invalid("at_most", "must be at most 1 day"));
        }
        if self.unless_told.is_zero() || self.unless_told > self.at_most {
            return Err(Error::invalid("unless_told", "must be above zero and at most at_most"));
        }
        Ok(())
    }
}

impl FailureKind {
    /// What an HTTP status says; `retry_after` is the header of that name, counted from now. None:
    /// the call did not fail (1xx, 2xx, 3xx).
    ///
    /// 429, 503, and each 5xx that says when to come back, are an overload (RFC 9110 §10.2.3, RFC
    /// 6585 §4). 408 and 504 are timeouts. Other 4xx are the request's own fault. What is no HTTP
    /// status at all is the node's error.
    #[must_use]
    pub const fn from_http_status(status: u16, retry_after: Option<Duration>) -> Option<Self> {
        match status {
            100..=399 => None,
            429 | 503 => Some(Self::Overloaded { retry_after }),
            500..=599 if retry_after.is_some() => Some(Self::Overloaded { retry_after }),
            408 | 504 => Some(Self::Timeout),
            400..=499 => Some(Self::Rejected),
            _ => Some(Self::Error),
        }
    }

    /// Whether breakers and outlier detection should count it as the node's failure. What does not
    /// count is no success either: a permit for such a call is dropped.
    ///
    /// An overload counts unless the node named a pause: then the pause is the answer, and an open
    /// breaker would keep it out for longer than it asked for. A pause of zero is none.
    #[must_use]
    pub const fn counts_against_node(self) -> bool {
        match self {
            Self::Error | Self::Timeout | Self::Unreachable | Self::OutOfMemory => true,
            Self::Overloaded { retry_after: Some(pause) } => pause.is_zero(),
            Self::Overloaded { retry_after: None } => true,
            Self::Rejected | Self::Absent(_) => false,
        }
    }

    /// Whether another try, preferably elsewhere, may go better. Whether the request may be sent
    /// twice at all is the caller's to know.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        !matches!(self, Self::Rejected)
    }

    /// For how long the node should be asked less; none if there is no reason to.
    #[must_use]
    pub fn lowers_for(self, policy: &LoweringPolicy) -> Option<Duration> {
        let told = match self {
            Self::Overloaded { retry_after } => retry_after.filter(|pause| !pause.is_zero()),
            Self::OutOfMemory => None,
            _ => return None,
        };
        Some(told.unwrap_or(policy.unless_told).min(policy.at_most))
    }

    /// Its name, for logs and metrics; one for every absence.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Overloaded { .. } => "overloaded",
            Self::OutOfMemory => "out_of_memory",
            Self::Rejected => "rejected",
            Self::Absent(_) => "absent",
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        match self {
            Self::Overloaded { retry_after: Some(pause) } => write!(f, " for {pause:?}"),
            Self::Absent(absence) => write!(f, ": {}", absence.as_str()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Option<Duration> = Some(Duration::from_secs(7));
    const BUSY: FailureKind = FailureKind::Overloaded { retry_after: None };
    const PAUSED: FailureKind = FailureKind::Overloaded { retry_after: PAUSE };
    const AT_ONCE: FailureKind = FailureKind::Overloaded { retry_after: Some(Duration::ZERO) };

    #[test]
    fn each_kind_gives_its_three_answers() {
        use FailureKind as K;
        let policy = LoweringPolicy::default();
        let unless_told = Some(policy.unless_told);
        for (kind, counts, retryable, lowered) in [
            (K::Error, true, true, None),
            (K::Timeout, true, true, None),
            (K::Unreachable, true, true, None),
            (BUSY, true, true, unless_told),
            (PAUSED, false, true, PAUSE),
            (AT_ONCE, true, true, unless_told),
            (K::OutOfMemory, true, true, unless_told),
            (K::Rejected, false, false, None),
            (K::Absent(Absence::Asleep), false, true, None),
            (K::Absent(Absence::UserActive), false, true, None),
        ] {
            assert_eq!(kind.counts_against_node(), counts, "{kind}");
            assert_eq!(kind.is_retryable(), retryable, "{kind}");
            assert_eq!(kind.lowers_for(&policy), lowered, "{kind}");
        }
    }

    #[test]
    fn no_node_is_lowered_for_ever() {
        let year = Some(Duration::from_secs(31_536_000));
        let kind = FailureKind::Overloaded { retry_after: year };
        let policy = LoweringPolicy::default();
        assert_eq!(kind.lowers_for(&policy), Some(policy.at_most));
    }

    #[test]
    fn a_policy_that_makes_no_sense_is_refused_with_its_field() {
        let policy = LoweringPolicy::default();
        assert!(policy.check().is_ok());
        for (policy, field) in [
            (LoweringPolicy { at_most: Duration::from_secs(86_401), ..policy }, "at_most"),
            (LoweringPolicy { unless_told: Duration::ZERO, ..policy }, "unless_told"),
            (LoweringPolicy { unless_told: Duration::from_secs(301), ..policy }, "unless_told"),
        ] {
            assert_eq!(policy.check().unwrap_err().field(), Some(field));
        }
    }

    #[test]
    fn every_status_has_its_kind() {
        use FailureKind as K;
        let expected = |status: u16, pause: bool| match status {
            429 | 503 if pause => Some(PAUSED),
            429 | 503 => Some(BUSY),
            408 | 504 if status == 408 || !pause => Some(K::Timeout),
            500..600 if pause => Some(PAUSED),
            100..400 => None,
            400..500 => Some(K::Rejected),
            _ => Some(K::Error),
        };
        for status in 0..=u16::MAX {
            assert_eq!(K::from_http_status(status, None), expected(status, false), "{status}");
            assert_eq!(K::from_http_status(status, PAUSE), expected(status, true), "{status}");
        }
    }

    #[test]
    fn a_kind_survives_json_and_its_name_is_the_one_there() {
        use FailureKind as K;
        for kind in [K::Error, K::Timeout, K::Unreachable, K::OutOfMemory, K::Rejected] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        use Absence as A;
        for absence in [A::Asleep, A::Charging, A::OffNetwork, A::UserActive] {
            assert_eq!(serde_json::to_value(absence).unwrap(), absence.as_str());
            let json = serde_json::json!({ "absent": absence.as_str() });
            assert_eq!(serde_json::from_value::<K>(json).unwrap(), K::Absent(absence));
        }
        for kind in [BUSY, PAUSED] {
            let json = serde_json::to_string(&kind).unwrap();
            assert_eq!(serde_json::from_str::<K>(&json).unwrap(), kind);
        }
        assert_eq!(PAUSED.to_string(), "overloaded for 7s");
        assert_eq!(K::Absent(A::OffNetwork).to_string(), "absent: off_network");
    }
}
