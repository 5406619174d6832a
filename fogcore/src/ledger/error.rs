//! Why the ledger refuses, precisely.

use crate::amount::{Amount, AmountError, Asset};
use crate::error::{Error, ErrorKind};
use crate::id::{AccountId, TransferId};

/// Why an account was not opened or a transfer not applied. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// An account that the transfer names does not exist.
    #[error("there is no account \"{0}\"")]
    AccountNotFound(AccountId),
    /// The account exists, opened on other terms.
    #[error("account \"{account}\" exists with a different {field}")]
    AccountExistsWithDifferent {
        /// The account.
        account: AccountId,
        /// The first term that differs.
        field: &'static str,
    },
    /// The transfer exists, with another content.
    #[error("transfer {id} exists with different {field}")]
    ExistsWithDifferent {
        /// The transfer.
        id: TransferId,
        /// The first field that differs.
        field: &'static str,
    },
    /// From an account to itself.
    #[error("a transfer needs two accounts, \"{0}\" is on both sides")]
    SameAccount(AccountId),
    /// Nothing to move.
    #[error("the amount must be more than zero")]
    AmountZero,
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
    #[error("a counter of \"{0}\" would pass 2^128 − 1 base units")]
    Overflow(AccountId),
    /// A sum or difference that no account explains.
    #[error(transparent)]
    Amount(#[from] AmountError),
}

impl From<LedgerError> for Error {
    fn from(error: LedgerError) -> Self {
        use LedgerError as E;
        let kind = match &error {
            E::AccountNotFound(_) | E::HoldNotFound(_) => ErrorKind::NotFound,
            E::AccountExistsWithDifferent { .. }
            | E::ExistsWithDifferent { .. }
            | E::AlreadyPosted(_)
            | E::AlreadyVoided(_) => ErrorKind::Conflict,
            E::AmountZero | E::ExceedsHold { .. } => return Self::invalid("amount", error),
            E::SameAccount(_) | E::AssetsDiffer { .. } => return Self::invalid("credit", error),
            E::NotAHold(_) => return Self::invalid("hold", error),
            E::ExceedsCredits { .. } | E::ExceedsDebits { .. } | E::Overflow(_) => {
                ErrorKind::Exhausted
            }
            E::Amount(_) => ErrorKind::Internal,
        };
        Self::new(kind, error)
    }
}
