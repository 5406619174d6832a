//! How a call went: who was asked, what came of it, and why it ended.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::attempt::AttemptKind;
use crate::balancer::NoNode;
use crate::error::{Error, ErrorKind};
use crate::failover::FailureKind;
use crate::id::NodeId;

/// What a call gave, and how it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// What the first attempt to succeed gave.
    pub value: T,
    /// Who was asked, and what came of it. The attempt that succeeded is not always the last one.
    pub report: CallReport,
}

/// Who was asked, in the order in which they were, and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallReport {
    /// The attempts, at most 24.
    pub attempts: Vec<AttemptReport>,
    /// How long the call took, with its waits.
    pub took: Duration,
}

/// One attempt of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptReport {
    /// Who was asked.
    pub node: NodeId,
    /// Why it was asked.
    pub kind: AttemptKind,
    /// What came of it.
    pub outcome: AttemptOutcome,
    /// How long after the beginning of the call it began.
    pub after: Duration,
    /// How long it took.
    pub took: Duration,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// It gave the answer.
    Succeeded,
    /// It failed.
    Failed(FailureKind),
    /// It was given up: another one was faster, the request turned out to be at fault, or the call
    /// had no more time. That says nothing about the node.
    Cancelled,
}

impl fmt::Display for AttemptOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Succeeded => f.write_str("succeeded"),
            Self::Failed(kind) => write!(f, "failed ({kind})"),
            Self::Cancelled => f.write_str("cancelled"),
        }
    }
}

impl fmt::Display for CallReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.attempts.len() {
            0 => f.write_str("no attempt")?,
            1 => f.write_str("1 attempt")?,
            many => write!(f, "{many} attempts")?,
        }
        write!(f, " in {:?}", self.took)?;
        for (place, attempt) in self.attempts.iter().enumerate() {
            f.write_str(if place == 0 { ": " } else { ", " })?;
            let AttemptReport { node, outcome, took, .. } = attempt;
            write!(f, "{node} {outcome} after {took:?}")?;
        }
        Ok(())
    }
}

/// Why a call gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CallErrorKind {
    /// Nobody took the request, and nobody was to be expected soon enough.
    #[error(transparent)]
    NoNode(#[from] NoNode),
    /// The time was over, or would have been before the next try.
    #[error("the deadline does not allow for another attempt")]
    DeadlineExceeded,
    /// The request is at fault: every node would refuse it.
    #[error("the request was rejected")]
    Rejected,
    /// As many tries as the policy allows have failed.
    #[error("all attempts failed")]
    AttemptsExhausted,
    /// All calls together were tried again as often as they may.
    #[error("the attempt failed, and the retry budget is spent")]
    BudgetExhausted,
    /// It failed, and must not be sent twice.
    #[error("the attempt failed, and the request must not be sent again")]
    NotRepeatable,
}

impl CallErrorKind {
    /// Its name, for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoNode(_) => "no_node",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Rejected => "rejected",
            Self::AttemptsExhausted => "attempts_exhausted",
            Self::BudgetExhausted => "budget_exhausted",
            Self::NotRepeatable => "not_repeatable",
        }
    }

    /// What a caller can do about it.
    #[must_use]
    pub const fn error_kind(self) -> ErrorKind {
        match self {
            Self::Rejected => ErrorKind::InvalidInput,
            Self::BudgetExhausted => ErrorKind::Exhausted,
            Self::NoNode(_)
            | Self::DeadlineExceeded
            | Self::AttemptsExhausted
            | Self::NotRepeatable => ErrorKind::Unavailable,
        }
    }
}

/// A call gave no answer. Folds into [`Error`] if the callers' own error is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallError<E> {
    /// Why it ended.
    pub kind: CallErrorKind,
    /// Who was asked, and what came of it.
    pub report: CallReport,
    /// What the last attempt that failed told; none if none did, or if it was out of time.
    pub last: Option<E>,
}

impl<E> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.kind, self.report)
    }
}

impl<E: std::error::Error + 'static> std::error::Error for CallError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.last.as_ref().map(|last| last as _)
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<CallError<E>> for Error {
    fn from(error: CallError<E>) -> Self {
        Self::new(error.kind.error_kind(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(node: &str, kind: FailureKind, millis: u64) -> AttemptReport {
        AttemptReport {
            node: node.parse().unwrap(),
            kind: AttemptKind::First,
            outcome: AttemptOutcome::Failed(kind),
            after: Duration::ZERO,
            took: Duration::from_millis(millis),
        }
    }

    #[test]
    fn an_error_says_why_who_was_asked_and_what_they_said() {
        let attempts =
            vec![failed("a", FailureKind::Timeout, 1_000), failed("b", FailureKind::Error, 3)];
        let report = CallReport { attempts, took: Duration::from_secs(2) };
        let last = Some("42".parse::<bool>().unwrap_err());
        let error = CallError { kind: CallErrorKind::AttemptsExhausted, report, last };
        let text = "all attempts failed (2 attempts in 2s: a failed (timeout) after 1s, \
                    b failed (error) after 3ms)";
        assert_eq!(error.to_string(), text);

        let folded = Error::from(error);
        assert_eq!((folded.kind(), folded.to_string().as_str()), (ErrorKind::Unavailable, text));
        let source = std::error::Error::source(&folded).unwrap().to_string();
        assert!(source.contains("true"), "{source}");
        let precise = folded.downcast_ref::<CallError<std::str::ParseBoolError>>().unwrap();
        assert_eq!(precise.report.attempts.len(), 2);
    }

    #[test]
    fn a_call_that_asked_nobody_says_so() {
        let no_node = NoNode { ready: 1, unwell: 2, retry_after: None };
        let kind = CallErrorKind::from(no_node);
        let error = CallError::<fmt::Error> { kind, report: CallReport::default(), last: None };
        assert_eq!(error.to_string(), format!("{no_node} (no attempt in 0ns)"));
    }
}
