//! An account: four counters and the terms it was opened on.

use serde::{Deserialize, Serialize};

use crate::amount::{Amount, Asset};
use crate::id::AccountId;
use crate::time::Timestamp;

/// An account of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// What it counts. A transfer stays within one asset.
    pub asset: Asset,
    /// Refuse what would make debits, pending ones included, exceed posted credits: the account
    /// of somebody who cannot owe.
    pub debits_must_not_exceed_credits: bool,
    /// Refuse what would make credits, pending ones included, exceed posted debits.
    pub credits_must_not_exceed_debits: bool,
    /// Reserved to leave.
    pub debits_pending: Amount,
    /// All that left.
    pub debits_posted: Amount,
    /// Reserved to come.
    pub credits_pending: Amount,
    /// All that came.
    pub credits_posted: Amount,
    /// When it was opened.
    pub opened_at: Timestamp,
}

impl Account {
    /// An empty account without limits, to be opened.
    #[must_use]
    pub fn new(id: AccountId, asset: Asset) -> Self {
        Self {
            id,
            asset,
            debits_must_not_exceed_credits: false,
            credits_must_not_exceed_debits: false,
            debits_pending: Amount::ZERO,
            debits_posted: Amount::ZERO,
            credits_pending: Amount::ZERO,
            credits_posted: Amount::ZERO,
            opened_at: Timestamp::UNIX_EPOCH,
        }
    }

    /// The same account, unable to spend more than it was given.
    #[must_use]
    pub fn limited_to_credits(self) -> Self {
        Self { debits_must_not_exceed_credits: true, ..self }
    }

    /// What can be spent: posted credits less all debits, pending ones included; zero if those
    /// are more.
    #[must_use]
    pub fn available(&self) -> Amount {
        self.credits_posted
            .checked_sub(self.debits_posted)
            .and_then(|left| left.checked_sub(self.debits_pending))
            .unwrap_or(Amount::ZERO)
    }

    /// The first term in which two openings of one account differ.
    pub(super) fn differs_from(&self, other: &Self) -> Option<&'static str> {
        if self.asset != other.asset {
            Some("asset")
        } else if self.debits_must_not_exceed_credits != other.debits_must_not_exceed_credits {
            Some("debits_must_not_exceed_credits")
        } else if self.credits_must_not_exceed_debits != other.credits_must_not_exceed_debits {
            Some("credits_must_not_exceed_debits")
        } else {
            None
        }
    }
}
