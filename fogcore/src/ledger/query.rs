//! What can be asked of the ledger: pages of accounts, of the journal, and of an account's history.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Account, AccountBalance, Posted, Purpose, Side};
use crate::amount::Asset;
use crate::id::AccountId;
use crate::time::Timestamp;

/// A position in the journal. Later entries have greater ones; what is between two of them means
/// nothing.
///
/// A reader that goes on after the last place it saw never misses an entry: a store gives a place
/// out only once nothing can come before it any more.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Place(u64);

impl Place {
    /// Before everything.
    pub const START: Self = Self(0);

    /// The place with this number, for stores and for readers that kept one.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// A transfer and where in the journal it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// Where it stands.
    pub place: Place,
    /// The transfer.
    pub posted: Posted,
}

/// What an account with history had after a transfer, and where in the journal that stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalanceEntry {
    /// Where the transfer stands.
    pub place: Place,
    /// What the account had then.
    pub balance: AccountBalance,
}

/// Which accounts are wanted: those that meet every condition set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccountFilter {
    /// Counting this asset.
    pub asset: Option<Asset>,
    /// About this.
    pub reference: Option<Uuid>,
    /// With this user data of 64 bits.
    pub user_data_64: Option<u64>,
    /// With this user data of 32 bits.
    pub user_data_32: Option<u32>,
    /// Closed, or not.
    pub closed: Option<bool>,
}

impl AccountFilter {
    /// Whether the account is wanted.
    #[must_use]
    pub fn matches(&self, account: &Account) -> bool {
        self.asset.as_ref().is_none_or(|asset| *asset == account.asset)
            && self.reference.is_none_or(|reference| account.reference == Some(reference))
            && self.user_data_64.is_none_or(|data| account.user_data_64 == data)
            && self.user_data_32.is_none_or(|data| account.user_data_32 == data)
            && self.closed.is_none_or(|closed| account.closed == closed)
    }
}

/// Which transfers are wanted: those that meet every condition set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TransferFilter {
    /// Of this account. What ends a hold is of the hold's accounts.
    pub account: Option<AccountId>,
    /// With that account on this side; on either if not set.
    pub side: Option<Side>,
    /// Applied at this time or later.
    pub from: Option<Timestamp>,
    /// Applied before this time.
    pub until: Option<Timestamp>,
    /// For this purpose.
    pub purpose: Option<Purpose>,
    /// About this.
    pub reference: Option<Uuid>,
    /// With this user data of 64 bits.
    pub user_data_64: Option<u64>,
    /// With this user data of 32 bits.
    pub user_data_32: Option<u32>,
}

impl TransferFilter {
    /// All transfers of an account.
    #[must_use]
    pub fn of(account: AccountId) -> Self {
        Self { account: Some(account), ..Self::default() }
    }

    /// Whether the transfer is wanted; `sides` are its accounts, or those of the hold that it ends.
    #[must_use]
    pub fn matches(&self, posted: &Posted, sides: [&AccountId; 2]) -> bool {
        let transfer = &posted.transfer;
        let [debit, credit] = sides;
        self.account.as_ref().is_none_or(|account| match self.side {
            Some(Side::Debit) => account == debit,
            Some(Side::Credit) => account == credit,
            None => account == debit || account == credit,
        }) && self.from.is_none_or(|from| from <= posted.at)
            && self.until.is_none_or(|until| posted.at < until)
            && self.purpose.is_none_or(|purpose| purpose == transfer.purpose)
            && self.reference.is_none_or(|reference| transfer.reference == Some(reference))
            && self.user_data_64.is_none_or(|data| transfer.user_data_64 == data)
            && self.user_data_32.is_none_or(|data| transfer.user_data_32 == data)
    }
}
