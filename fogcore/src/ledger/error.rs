//! Why the ledger refuses, precisely.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{MAX_BATCH, ResultCode};
use crate::amount::{Amount, AmountError, Asset};
use crate::error::{Error, ErrorKind};
use crate::id::{AccountId, TransferId};

/// A side of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Who gives.
    Debit,
    /// Who gets.
    Credit,
}

/// What of a transfer, or of an account, is not as it was the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Field {
    /// The type (direct, hold, post, void) or the flags; an account's terms.
    Flags,
    /// The hold that is ended.
    Hold,
    /// The timeout.
    Timeout,
    /// The account to debit.
    Debit,
    /// The account to credit.
    Credit,
    /// The amount.
    Amount,
    /// The reference.
    Reference,
    /// The user data of 64 bits.
    UserData64,
    /// The user data of 32 bits.
    UserData32,
    /// The asset.
    Asset,
    /// The purpose.
    Purpose,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flags => "flags",
            Self::Hold => "hold",
            Self::Timeout => "timeout",
            Self::Debit => "debit account",
            Self::Credit => "credit account",
            Self::Amount => "amount",
            Self::Reference => "reference",
            Self::UserData64 => "user data of 64 bits",
            Self::UserData32 => "user data of 32 bits",
            Self::Asset => "asset",
            Self::Purpose => "purpose",
        })
    }
}

/// What of an account cannot hold a sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// The debits reserved.
    DebitsPending,
    /// The credits reserved.
    CreditsPending,
    /// The debits posted.
    DebitsPosted,
    /// The credits posted.
    CreditsPosted,
    /// The debits, reserved and posted together.
    Debits,
    /// The credits, reserved and posted together.
    Credits,
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DebitsPending => "pending debits",
            Self::CreditsPending => "pending credits",
            Self::DebitsPosted => "posted debits",
            Self::CreditsPosted => "posted credits",
            Self::Debits => "debits, pending ones included,",
            Self::Credits => "credits, pending ones included,",
        })
    }
}

/// Why an account was not opened or a transfer not applied. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// Another transfer of the chain failed.
    #[error("transfer {0} was not made, because another one of its chain failed")]
    LinkedEventFailed(TransferId),
    /// The batch ends within a chain.
    #[error("transfer {0} is linked to a next one, and there is none")]
    LinkedEventChainOpen(TransferId),
    /// More than one batch may hold.
    #[error("{0} transfers are more than the {MAX_BATCH} of a batch")]
    TooMuchData(usize),
    /// An id of zeros.
    #[error("the id must not be zero")]
    IdZero,
    /// An id of ones.
    #[error("the id must not be 2^128 − 1")]
    IdMax,
    /// The transfer exists, and others of its chain do not.
    #[error("transfer {0} exists, but not all of its chain")]
    Exists(TransferId),
    /// The transfer exists, with another content.
    #[error("transfer {id} exists with a different {field}")]
    ExistsWithDifferent {
        /// The transfer.
        id: TransferId,
        /// The first field that differs.
        field: Field,
    },
    /// The account exists, opened on other terms.
    #[error("account \"{account}\" exists with a different {field}")]
    AccountExistsWithDifferent {
        /// The account.
        account: AccountId,
        /// The first term that differs.
        field: Field,
    },
    /// The id failed before, and stays failed.
    #[error("transfer {id} failed before ({code}): ask again under a new id")]
    IdAlreadyFailed {
        /// The transfer.
        id: TransferId,
        /// Why it failed.
        code: ResultCode,
    },
    /// Of a type that only the ledger makes.
    #[error("transfer {0} would end a hold whose time is over, which only the ledger does")]
    OnlyTheLedger(TransferId),
    /// Both limits on one account.
    #[error("account \"{0}\" cannot be limited to its credits and to its debits")]
    LimitsExclusive(AccountId),
    /// Flags that only a direct transfer or a hold may have.
    #[error("transfer {0} ends a hold, and can neither balance nor close")]
    FlagsExclusive(TransferId),
    /// A timeout on what is not a hold.
    #[error("transfer {0} is not a hold, and cannot time out")]
    TimeoutReserved(TransferId),
    /// Closing for good.
    #[error("transfer {0} is not a hold, and only a hold can close an account")]
    ClosingMustBeHold(TransferId),
    /// The hold to end has an id of zeros.
    #[error("the hold's id must not be zero")]
    HoldIdZero,
    /// The hold to end has an id of ones.
    #[error("the hold's id must not be 2^128 − 1")]
    HoldIdMax,
    /// Ends itself.
    #[error("transfer {0} cannot end itself")]
    HoldIsSelf(TransferId),
    /// From an account to itself.
    #[error("a transfer needs two accounts, \"{0}\" is on both sides")]
    SameAccount(AccountId),
    /// Nothing to move.
    #[error("the amount must be more than zero")]
    AmountZero,
    /// An account that the transfer names does not exist.
    #[error("there is no account \"{account}\"")]
    AccountNotFound {
        /// On which side it is named.
        side: Side,
        /// The account.
        account: AccountId,
    },
    /// An account that the transfer names is closed.
    #[error("account \"{account}\" is closed")]
    AccountClosed {
        /// On which side it is.
        side: Side,
        /// The account.
        account: AccountId,
    },
    /// The two accounts count different assets.
    #[error("\"{debit}\" counts {debit_asset} and \"{credit}\" counts {credit_asset}")]
    AssetsDiffer {
        /// Who gives.
        debit: AccountId,
        /// Its asset.
        debit_asset: String,
        /// Who gets.
        credit: AccountId,
        /// Its asset.
        credit_asset: String,
    },
    /// The giver's debits would exceed its credits, which its terms forbid.
    #[error(
        "{} exceeds the {} available to \"{account}\"",
        asset.display(*amount), asset.display(*available)
    )]
    ExceedsCredits {
        /// Who gives.
        account: AccountId,
        /// The asset of the amounts.
        asset: Asset,
        /// What was asked.
        amount: Amount,
        /// What could be spent.
        available: Amount,
    },
    /// The receiver's credits would exceed its debits, which its terms forbid.
    #[error("{} would make credits of \"{account}\" exceed its debits", asset.display(*amount))]
    ExceedsDebits {
        /// Who gets.
        account: AccountId,
        /// The asset of the amount.
        asset: Asset,
        /// What was asked.
        amount: Amount,
    },
    /// The hold to end does not exist.
    #[error("there is no hold {0}")]
    HoldNotFound(TransferId),
    /// The transfer to end is not a hold.
    #[error("transfer {0} is not a hold")]
    NotAHold(TransferId),
    /// The hold was posted already.
    #[error("hold {0} is already posted")]
    AlreadyPosted(TransferId),
    /// The hold was voided already.
    #[error("hold {0} is already voided")]
    AlreadyVoided(TransferId),
    /// The hold's time is over.
    #[error("hold {0} has expired")]
    Expired(TransferId),
    /// The hold's time is not over.
    #[error("hold {0} has not expired")]
    NotExpired(TransferId),
    /// More than the hold reserves.
    #[error("{} exceeds the {} of the hold", asset.display(*amount), asset.display(*held))]
    ExceedsHold {
        /// The asset of the amounts.
        asset: Asset,
        /// What was asked.
        amount: Amount,
        /// What the hold reserves.
        held: Amount,
    },
    /// A counter cannot hold the sum.
    #[error("the {counter} of \"{account}\" would pass 2^128 − 1 base units")]
    Overflow {
        /// The account.
        account: AccountId,
        /// What of it.
        counter: Counter,
    },
    /// A hold that would end after the last time there is.
    #[error("hold {0} would end after the year 9999")]
    OverflowsTimeout(TransferId),
    /// A hold is here without one of its accounts: the store did not load it.
    #[error("account \"{0}\" of a hold is not loaded")]
    NotLoaded(AccountId),
    /// A sum or difference that no account explains.
    #[error(transparent)]
    Amount(#[from] AmountError),
}

impl LedgerError {
    /// The reason as one stable word, for programs.
    #[must_use]
    pub const fn code(&self) -> ResultCode {
        use ResultCode as C;
        match self {
            Self::LinkedEventFailed(_) => C::LinkedEventFailed,
            Self::LinkedEventChainOpen(_) => C::LinkedEventChainOpen,
            Self::TooMuchData(_) => C::TooMuchData,
            Self::IdZero => C::IdMustNotBeZero,
            Self::IdMax => C::IdMustNotBeIntMax,
            Self::Exists(_) => C::Exists,
            Self::ExistsWithDifferent { field, .. }
            | Self::AccountExistsWithDifferent { field, .. } => match field {
                Field::Flags => C::ExistsWithDifferentFlags,
                Field::Hold => C::ExistsWithDifferentPendingId,
                Field::Timeout => C::ExistsWithDifferentTimeout,
                Field::Debit => C::ExistsWithDifferentDebitAccountId,
                Field::Credit => C::ExistsWithDifferentCreditAccountId,
                Field::Amount => C::ExistsWithDifferentAmount,
                Field::Reference => C::ExistsWithDifferentUserData128,
                Field::UserData64 => C::ExistsWithDifferentUserData64,
                Field::UserData32 => C::ExistsWithDifferentUserData32,
                Field::Asset => C::ExistsWithDifferentAsset,
                Field::Purpose => C::ExistsWithDifferentCode,
            },
            Self::IdAlreadyFailed { .. } => C::IdAlreadyFailed,
            Self::OnlyTheLedger(_) => C::ReservedFlag,
            Self::LimitsExclusive(_) | Self::FlagsExclusive(_) => C::FlagsAreMutuallyExclusive,
            Self::TimeoutReserved(_) => C::TimeoutReservedForPendingTransfer,
            Self::ClosingMustBeHold(_) => C::ClosingTransferMustBePending,
            Self::HoldIdZero => C::PendingIdMustNotBeZero,
            Self::HoldIdMax => C::PendingIdMustNotBeIntMax,
            Self::HoldIsSelf(_) => C::PendingIdMustBeDifferent,
            Self::SameAccount(_) => C::AccountsMustBeDifferent,
            Self::AmountZero => C::AmountMustNotBeZero,
            Self::AccountNotFound { side: Side::Debit, .. } => C::DebitAccountNotFound,
            Self::AccountNotFound { side: Side::Credit, .. } => C::CreditAccountNotFound,
            Self::AccountClosed { side: Side::Debit, .. } => C::DebitAccountAlreadyClosed,
            Self::AccountClosed { side: Side::Credit, .. } => C::CreditAccountAlreadyClosed,
            Self::AssetsDiffer { .. } => C::AccountsMustHaveTheSameAsset,
            Self::ExceedsCredits { .. } => C::ExceedsCredits,
            Self::ExceedsDebits { .. } => C::ExceedsDebits,
            Self::HoldNotFound(_) => C::PendingTransferNotFound,
            Self::NotAHold(_) => C::PendingTransferNotPending,
            Self::AlreadyPosted(_) => C::PendingTransferAlreadyPosted,
            Self::AlreadyVoided(_) => C::PendingTransferAlreadyVoided,
            Self::Expired(_) => C::PendingTransferExpired,
            Self::NotExpired(_) => C::PendingTransferNotExpired,
            Self::ExceedsHold { .. } => C::ExceedsPendingTransferAmount,
            Self::Overflow { counter, .. } => match counter {
                Counter::DebitsPending => C::OverflowsDebitsPending,
                Counter::CreditsPending => C::OverflowsCreditsPending,
                Counter::DebitsPosted => C::OverflowsDebitsPosted,
                Counter::CreditsPosted => C::OverflowsCreditsPosted,
                Counter::Debits => C::OverflowsDebits,
                Counter::Credits => C::OverflowsCredits,
            },
            Self::OverflowsTimeout(_) => C::OverflowsTimeout,
            Self::NotLoaded(_) | Self::Amount(_) => C::Internal,
        }
    }

    /// The input that is at fault, where an input is.
    const fn field(&self) -> &'static str {
        match self {
            Self::AmountZero | Self::ExceedsHold { .. } => "amount",
            Self::SameAccount(_) | Self::AssetsDiffer { .. } => "credit",
            Self::NotAHold(_) | Self::HoldIdZero | Self::HoldIdMax | Self::HoldIsSelf(_) => "hold",
            Self::IdZero | Self::IdMax => "id",
            Self::TimeoutReserved(_) | Self::OverflowsTimeout(_) => "timeout",
            Self::TooMuchData(_) => "batch",
            _ => "flags",
        }
    }
}

impl From<LedgerError> for Error {
    fn from(error: LedgerError) -> Self {
        match error.code().kind() {
            Some(ErrorKind::InvalidInput) => Self::invalid(error.field(), error),
            // What exists is no error, except where it breaks its chain.
            kind => Self::new(kind.unwrap_or(ErrorKind::Conflict), error),
        }
    }
}
