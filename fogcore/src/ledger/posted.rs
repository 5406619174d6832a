//! What the ledger keeps of a transfer, and answers.

use serde::{Deserialize, Serialize};

use super::{ResultCode, Transfer};
use crate::time::Timestamp;

/// What became of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldState {
    /// Still reserved.
    Pending,
    /// Posted; the amount is in the transfer that posted it.
    Posted,
    /// Freed.
    Voided,
    /// Freed, because its time was over.
    Expired,
}

impl HoldState {
    /// Its name, as in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Posted => "posted",
            Self::Voided => "voided",
            Self::Expired => "expired",
        }
    }
}

/// A transfer in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posted {
    /// The transfer as it was asked for, except for its amount: that is what was moved or
    /// reserved, which may be less than was asked of a balancing transfer, and is the hold's of a
    /// post of [`Amount::MAX`](crate::amount::Amount::MAX).
    pub transfer: Transfer,
    /// When it was applied: the time handed in, but never before its accounts were opened or the
    /// hold that it ends was made.
    pub at: Timestamp,
    /// What became of it, if it is a hold.
    pub hold: Option<HoldState>,
}

impl Posted {
    /// When its time is over or was; none if it is not a hold with a timeout.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.transfer.end_of_time(self.at).ok().flatten()
    }
}

/// The answer to one transfer of a batch that is in the ledger now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The transfer.
    pub posted: Posted,
    /// Whether it was made now; if not, it was there already, as it was asked for.
    pub new: bool,
}

impl Applied {
    /// The answer as one stable word: `created` or `exists`.
    #[must_use]
    pub const fn code(&self) -> ResultCode {
        if self.new { ResultCode::Created } else { ResultCode::Exists }
    }
}
