//! How calls are tried again and hedged, and whether a request may be sent twice at all.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::failover::{BudgetPolicy, HedgePolicy, RetryBudget, RetryPolicy};

/// How calls are tried again and hedged.
///
/// A call makes at most `retry.attempts` tries one after the other and `hedge.most` hedges beside
/// them: never more than 24.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CallPolicy {
    /// How often, after which wait and until when. Its `backoff_most` is also the longest that a
    /// call waits for a node when there is none.
    pub retry: RetryPolicy,
    /// When a second node is asked because the first one is slow; none: never. By default as
    /// [`HedgePolicy`] has it; only calls that are [`Repeat::Anytime`] are hedged.
    pub hedge: Option<HedgePolicy>,
    /// How much retries and hedges may add to the traffic of all calls together.
    pub budget: BudgetPolicy,
}

impl Default for CallPolicy {
    fn default() -> Self {
        Self {
            retry: RetryPolicy::default(),
            hedge: Some(HedgePolicy::default()),
            budget: BudgetPolicy::default(),
        }
    }
}

impl CallPolicy {
    /// Checks every limit that the types do not hold already.
    ///
    /// # Errors
    /// InvalidInput with the field's name.
    pub fn check(&self) -> Result<()> {
        self.retry.check()?;
        if let Some(hedge) = &self.hedge {
            hedge.check()?;
        }
        // The budget's limits are checked where it is made.
        RetryBudget::new(self.budget).map(drop)
    }
}

/// Whether a request may be sent more than once. Only its sender knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Repeat {
    /// Never, because doing it twice does harm: only a failure that is
    /// [`before_sending`](super::Failure::before_sending) is tried elsewhere.
    #[default]
    Never,
    /// After it failed: doing it twice does no harm (it is idempotent).
    AfterFailure,
    /// Even while another node still works on it: hedging is allowed, too.
    Anytime,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_checked_and_the_field_is_named() {
        assert!(CallPolicy::default().check().is_ok());
        let field = |policy: CallPolicy| policy.check().unwrap_err().field();
        let retry = RetryPolicy { attempts: 0, ..RetryPolicy::default() };
        assert_eq!(field(CallPolicy { retry, ..CallPolicy::default() }), Some("attempts"));
        let hedge = Some(HedgePolicy { most: 9, ..HedgePolicy::default() });
        assert_eq!(field(CallPolicy { hedge, ..CallPolicy::default() }), Some("most"));
        let budget = BudgetPolicy { share: -1.0, ..BudgetPolicy::default() };
        assert_eq!(field(CallPolicy { budget, ..CallPolicy::default() }), Some("share"));
    }

    #[test]
    fn what_is_not_told_is_the_default() {
        let policy: CallPolicy = serde_json::from_str(r#"{"hedge":null}"#).unwrap();
        assert_eq!(policy, CallPolicy { hedge: None, ..CallPolicy::default() });
    }
}
