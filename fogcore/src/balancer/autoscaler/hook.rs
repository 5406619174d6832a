//! Who makes nodes come and go, what it is asked, and what it answers.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::ScaleReason;
use crate::error::{Error, Result};
use crate::id::NodeId;

/// Makes nodes come and go: starts machines at a provider, wakes up volunteers, or rings somebody
/// up.
///
/// - It is asked at most once per decision, and one request at a time.
/// - A request is idempotent by its `id`: when an answer is lost or late, the same request is sent
///   again under the same id at the next check, and must not be done twice. If the situation has
///   changed meanwhile, the next request has a higher id, and the older one is void.
/// - `to` is the total that is wanted, not a difference. A hook whose total is `to` already, because
///   an answer was lost, accepts and does nothing.
/// - An error means that nobody knows whether anything was done; a refusal means that nothing was.
///   Neither counts as a change: it begins no cool-down.
/// - An answer promises; it does not claim that a node is there. A node counts when it is listed,
///   and a promise that is not kept within `ScalePolicy::arrive_within` is forgotten.
///
/// It should answer when the request is taken, not when the nodes are there.
///
/// ```
/// use async_trait::async_trait;
/// use fogcore::Result;
/// use fogcore::balancer::autoscaler::{ScaleAnswer, ScaleHook, ScaleRequest};
///
/// /// Starts whatever it is asked for, and gives nothing back.
/// #[derive(Debug)]
/// struct OnlyMore;
///
/// #[async_trait]
/// impl ScaleHook for OnlyMore {
///     async fn scale(&self, request: &ScaleRequest) -> Result<ScaleAnswer> {
///         if request.to < request.from {
///             return Ok(ScaleAnswer::Refused { reason: "these nodes are ours".to_owned() });
///         }
///         Ok(ScaleAnswer::Accepted { on_its_way: request.to - request.from })
///     }
/// }
/// ```
#[async_trait]
pub trait ScaleHook: Send + Sync + fmt::Debug {
    /// Asks for another number of nodes.
    ///
    /// # Errors
    /// Whatever kept it from taking the request; it is asked again after the next check.
    async fn scale(&self, request: &ScaleRequest) -> Result<ScaleAnswer>;
}

/// What a hook is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScaleRequest {
    /// Grows with each new request of an autoscaler.
    pub id: u64,
    /// So many nodes are there or on their way.
    pub from: u32,
    /// So many there should be.
    pub to: u32,
    /// Why.
    pub reason: ScaleReason,
    /// The mean load, 0–1, if it is known.
    pub load: Option<f64>,
    /// The nodes to give back, least busy first: never so many that fewer than the policy's `min`
    /// stay ready, and only nodes whose load is known. No other node that is ready may be taken;
    /// where it names fewer than `from − to`, the rest is called off while it is on its way, or
    /// stays.
    pub remove: Vec<NodeId>,
}

impl ScaleRequest {
    /// Whether it asks for the same change, whatever the reason.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        (self.from, self.to, &self.remove) == (other.from, other.to, &other.remove)
    }
}

/// What a hook answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScaleAnswer {
    /// It is done as far as it can be.
    Accepted {
        /// So many nodes are coming, or going: first those named, in their order, then those that
        /// are called off. It may be less than was asked for; what is more does not count.
        on_its_way: u32,
    },
    /// It is not done, and nothing has changed.
    Refused {
        /// Why, for people; the first 256 characters are kept.
        reason: String,
    },
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ScaleOutcome {
    /// There is no answer yet, or whoever waited for it gave up.
    Unanswered,
    /// It was accepted.
    Accepted {
        /// So many nodes are coming or going.
        on_its_way: u32,
    },
    /// It was refused.
    Refused {
        /// Why, up to 256 characters.
        reason: String,
    },
    /// The hook failed.
    Failed {
        /// Its error, up to 256 characters.
        error: String,
    },
}

impl ScaleOutcome {
    /// Its name, as in JSON.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Unanswered => "unanswered",
            Self::Accepted { .. } => "accepted",
            Self::Refused { .. } => "refused",
            Self::Failed { .. } => "failed",
        }
    }
}

impl From<Result<ScaleAnswer, Error>> for ScaleOutcome {
    fn from(answer: Result<ScaleAnswer, Error>) -> Self {
        let short = |text: &str| text.chars().take(256).collect();
        match answer {
            Ok(ScaleAnswer::Accepted { on_its_way }) => Self::Accepted { on_its_way },
            Ok(ScaleAnswer::Refused { reason }) => Self::Refused { reason: short(&reason) },
            Err(error) => Self::Failed { error: short(&error.to_string()) },
        }
    }
}

/// What was asked, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScaleReport {
    /// The time of the decision.
    pub at: Duration,
    /// What was asked.
    pub request: ScaleRequest,
    /// What came of it.
    pub outcome: ScaleOutcome,
}

#[cfg(test)]
mod tests {
    use super::ScaleOutcome as O;

    #[test]
    fn names_that_are_told_are_the_names_in_json() {
        let text = String::new;
        for outcome in [
            O::Unanswered,
            O::Accepted { on_its_way: 1 },
            O::Refused { reason: text() },
            O::Failed { error: text() },
        ] {
            let json = serde_json::to_string(&outcome).unwrap();
            assert!(json.contains(&format!("{:?}", outcome.as_str())), "{json}");
        }
    }
}
