//! A transfer: what is asked of the ledger, and what the ledger keeps of it.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::amount::Amount;
use crate::id::{AccountId, TransferId};
use crate::time::Timestamp;

/// What a transfer does to the counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TransferKind {
    /// Moves the amount at once.
    Direct {
        /// Who gives.
        debit: AccountId,
        /// Who gets.
        credit: AccountId,
        /// How much, above zero.
        amount: Amount,
    },
    /// Reserves the amount, to be posted or voided later.
    Hold {
        /// Who would give.
        debit: AccountId,
        /// Who would get.
        credit: AccountId,
        /// How much at most, above zero.
        amount: Amount,
    },
    /// Ends a hold: moves the amount, and frees the rest.
    Post {
        /// The hold.
        hold: TransferId,
        /// How much, from zero to the whole of the hold.
        amount: Amount,
    },
    /// Ends a hold: frees all of it.
    Void {
        /// The hold.
        hold: TransferId,
    },
}

/// What a transfer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Purpose {
    /// New supply.
    Mint,
    /// A transfer between two holders.
    Transfer,
    /// A task's budget, reserved when it was submitted.
    TaskHold,
    /// A task's price, taken from its hold when it succeeded.
    TaskSettle,
    /// A task's price, given to the owner of the node that did it.
    TaskReward,
    /// A task's hold, freed because the task ended without success.
    TaskRelease,
}

impl Purpose {
    /// Whether it is for a task: such transfers are made with the task's changes, never alone.
    #[must_use]
    pub const fn is_of_task(self) -> bool {
        matches!(self, Self::TaskHold | Self::TaskSettle | Self::TaskReward | Self::TaskRelease)
    }

    /// Its name, as in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mint => "mint",
            Self::Transfer => "transfer",
            Self::TaskHold => "task_hold",
            Self::TaskSettle => "task_settle",
            Self::TaskReward => "task_reward",
            Self::TaskRelease => "task_release",
        }
    }
}

/// A transfer, as a client asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Made by the client, unique in the ledger.
    pub id: TransferId,
    /// What it does.
    pub kind: TransferKind,
    /// What it is for.
    pub purpose: Purpose,
    /// What it is about, in the client's world: a task, an invoice.
    #[serde(default)]
    pub reference: Option<Uuid>,
}

impl Transfer {
    /// Moves `amount` from `debit` to `credit`.
    #[must_use]
    pub fn direct(
        id: TransferId,
        debit: &AccountId,
        credit: &AccountId,
        amount: Amount,
        purpose: Purpose,
    ) -> Self {
        let (debit, credit) = (debit.clone(), credit.clone());
        let kind = TransferKind::Direct { debit, credit, amount };
        Self { id, kind, purpose, reference: None }
    }

    /// Reserves `amount` of `debit` for `credit`.
    #[must_use]
    pub fn hold(
        id: TransferId,
        debit: &AccountId,
        credit: &AccountId,
        amount: Amount,
        purpose: Purpose,
    ) -> Self {
        let (debit, credit) = (debit.clone(), credit.clone());
        let kind = TransferKind::Hold { debit, credit, amount };
        Self { id, kind, purpose, reference: None }
    }

    /// Posts `amount` of `hold` and frees the rest.
    #[must_use]
    pub fn post(id: TransferId, hold: TransferId, amount: Amount, purpose: Purpose) -> Self {
        Self { id, kind: TransferKind::Post { hold, amount }, purpose, reference: None }
    }

    /// Frees all of `hold`.
    #[must_use]
    pub fn void(id: TransferId, hold: TransferId, purpose: Purpose) -> Self {
        Self { id, kind: TransferKind::Void { hold }, purpose, reference: None }
    }

    /// The same transfer with what it is about.
    #[must_use]
    pub fn about(self, reference: Uuid) -> Self {
        Self { reference: Some(reference), ..self }
    }

    /// The accounts that it names; those of a post or a void stand in its hold.
    #[must_use]
    pub fn accounts(&self) -> Option<[&AccountId; 2]> {
        match &self.kind {
            TransferKind::Direct { debit, credit, .. }
            | TransferKind::Hold { debit, credit, .. } => Some([debit, credit]),
            TransferKind::Post { .. } | TransferKind::Void { .. } => None,
        }
    }

    /// The hold that it ends, if it ends one.
    #[must_use]
    pub fn ends_hold(&self) -> Option<TransferId> {
        match self.kind {
            TransferKind::Post { hold, .. } | TransferKind::Void { hold } => Some(hold),
            TransferKind::Direct { .. } | TransferKind::Hold { .. } => None,
        }
    }

    /// The first field in which two transfers with one id differ.
    pub(super) fn differs_from(&self, other: &Self) -> Option<&'static str> {
        if self.kind != other.kind {
            Some(if self.accounts() == other.accounts() { "amount or kind" } else { "accounts" })
        } else if self.purpose != other.purpose {
            Some("purpose")
        } else if self.reference != other.reference {
            Some("reference")
        } else {
            None
        }
    }
}

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
}

impl HoldState {
    /// Its name, as in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Posted => "posted",
            Self::Voided => "voided",
        }
    }
}

/// A transfer in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posted {
    /// The transfer as it was asked for.
    pub transfer: Transfer,
    /// When it was applied.
    pub at: Timestamp,
    /// What became of it, if it is a hold.
    pub hold: Option<HoldState>,
}
