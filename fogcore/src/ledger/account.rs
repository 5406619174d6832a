//! An account: four counters and the terms it was opened on.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Field, LedgerError};
use crate::amount::{Amount, Asset};
use crate::id::{AccountId, TransferId};
use crate::time::Timestamp;

/// An account of the ledger.
///
/// Counters are base units of the asset, 0 to 2^128 − 1; so are the sums of pending and posted on
/// each side. They only change by transfers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// What it counts. A transfer stays within one asset.
    pub asset: Asset,
    /// Refuse what would make debits, pending ones included, exceed posted credits: the account
    /// of somebody who cannot owe.
    pub debits_must_not_exceed_credits: bool,
    /// Refuse what would make credits, pending ones included, exceed posted debits. Not together
    /// with the other limit.
    pub credits_must_not_exceed_debits: bool,
    /// Refuse all transfers, except those that void a hold. Set by a closing hold, and taken back
    /// by voiding that; an account that was opened closed stays so.
    #[serde(default)]
    pub closed: bool,
    /// Keep its counters as they were after each transfer ([`AccountBalance`]).
    #[serde(default)]
    pub history: bool,
    /// What it is about, in the client's world: a user, a contract. This is user data of 128
    /// bits; the ledger only keeps it and finds by it.
    #[serde(default)]
    pub reference: Option<Uuid>,
    /// More of that, in 64 bits: a time, a number of the client's. Zero if there is none.
    #[serde(default)]
    pub user_data_64: u64,
    /// More of that, in 32 bits: a kind, a region. Zero if there is none.
    #[serde(default)]
    pub user_data_32: u32,
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
            closed: false,
            history: false,
            reference: None,
            user_data_64: 0,
            user_data_32: 0,
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

    /// The same account, unable to be given more than it spent: of somebody who may only be paid
    /// back.
    #[must_use]
    pub fn limited_to_debits(self) -> Self {
        Self { credits_must_not_exceed_debits: true, ..self }
    }

    /// The same account, with its counters kept as they were after each transfer.
    #[must_use]
    pub fn with_history(self) -> Self {
        Self { history: true, ..self }
    }

    /// The same account with what it is about.
    #[must_use]
    pub fn about(self, reference: Uuid) -> Self {
        Self { reference: Some(reference), ..self }
    }

    /// What can be spent: posted credits less all debits, pending ones included; zero if those
    /// are more.
    #[must_use]
    pub fn available(&self) -> Amount {
        less(self.credits_posted, self.debits_posted, self.debits_pending)
    }

    /// What can be paid back: posted debits less all credits, pending ones included; zero if those
    /// are more.
    #[must_use]
    pub fn owing(&self) -> Amount {
        less(self.debits_posted, self.credits_posted, self.credits_pending)
    }

    /// The first term in which `asked` differs from this account, which is open.
    ///
    /// That it was closed since is no difference: a client that opens an account again has not
    /// asked for that.
    #[must_use]
    pub fn differs_from(&self, asked: &Self) -> Option<Field> {
        let limits =
            |a: &Self| (a.debits_must_not_exceed_credits, a.credits_must_not_exceed_debits);
        if limits(self) != limits(asked)
            || self.history != asked.history
            || asked.closed && !self.closed
        {
            Some(Field::Flags)
        } else if self.reference != asked.reference {
            Some(Field::Reference)
        } else if self.user_data_64 != asked.user_data_64 {
            Some(Field::UserData64)
        } else if self.user_data_32 != asked.user_data_32 {
            Some(Field::UserData32)
        } else if self.asset != asked.asset {
            Some(Field::Asset)
        } else {
            None
        }
    }

    /// The account that opening this one makes: whatever counters were filled in, it is empty.
    ///
    /// # Errors
    /// [`LedgerError::LimitsExclusive`] with both limits.
    pub(super) fn opened(self, now: Timestamp) -> Result<Self, LedgerError> {
        if self.debits_must_not_exceed_credits && self.credits_must_not_exceed_debits {
            return Err(LedgerError::LimitsExclusive(self.id));
        }
        Ok(Self {
            debits_pending: Amount::ZERO,
            debits_posted: Amount::ZERO,
            credits_pending: Amount::ZERO,
            credits_posted: Amount::ZERO,
            opened_at: now,
            ..self
        })
    }
}

fn less(from: Amount, one: Amount, other: Amount) -> Amount {
    from.checked_sub(one).and_then(|left| left.checked_sub(other)).unwrap_or(Amount::ZERO)
}

/// What an account with history had after a transfer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountBalance {
    /// The account.
    pub account: AccountId,
    /// The transfer.
    pub transfer: TransferId,
    /// When it was applied.
    pub at: Timestamp,
    /// Reserved to leave.
    pub debits_pending: Amount,
    /// All that left.
    pub debits_posted: Amount,
    /// Reserved to come.
    pub credits_pending: Amount,
    /// All that came.
    pub credits_posted: Amount,
}

impl AccountBalance {
    pub(super) fn of(account: &Account, transfer: TransferId, at: Timestamp) -> Self {
        Self {
            account: account.id.clone(),
            transfer,
            at,
            debits_pending: account.debits_pending,
            debits_posted: account.debits_posted,
            credits_pending: account.credits_pending,
            credits_posted: account.credits_posted,
        }
    }
}
