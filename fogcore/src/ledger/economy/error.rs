//! Why the economy refuses, before the ledger is asked.

use crate::amount::{Amount, AmountError, Asset};
use crate::error::{Error, ErrorKind};
use crate::id::AccountId;
use crate::time::Timestamp;

/// Why the economy refuses. No transfer was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EconomyError {
    /// A name that leaves no room for what the fog puts in front of it.
    #[error("\"{account}\" is longer than the {max} characters that a holder of {what} may have")]
    NameTooLong {
        /// The holder.
        account: AccountId,
        /// What it would hold.
        what: &'static str,
        /// The most characters.
        max: usize,
    },
    /// One of the fog's own accounts, where a holder should be.
    #[error("\"{0}\" is one of the fog's own accounts, and cannot hold for itself")]
    Reserved(AccountId),
    /// Nothing to move.
    #[error("the amount must be more than zero")]
    AmountZero,
    /// A stake below the least one.
    #[error("this would leave a stake of {}, and the least is {}", asset.display(*left), asset.display(*min))]
    BelowMinStake {
        /// The asset of the amounts.
        asset: Asset,
        /// What would be left.
        left: Amount,
        /// The least.
        min: Amount,
    },
    /// More than is there.
    #[error("{} is more than the {} there is", asset.display(*asked), asset.display(*there))]
    MoreThanThere {
        /// The asset of the amounts.
        asset: Asset,
        /// What was asked.
        asked: Amount,
        /// What is there.
        there: Amount,
    },
    /// Nothing can be withdrawn, released or taken now.
    #[error("\"{0}\" has nothing that could be moved now")]
    NothingThere(AccountId),
    /// A period that is not over, or too recently for late entries to be in.
    #[error("the period ends at {end} and can be settled from {from}")]
    PeriodNotOver {
        /// Its end.
        end: Timestamp,
        /// From when it can be settled.
        from: Timestamp,
    },
    /// A grant on terms that make no sense.
    #[error("{why}")]
    BadTerms {
        /// The term.
        field: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Not the account or the transfer of a grant, or not of this one.
    #[error("\"{0}\" is not a grant")]
    NotAGrant(AccountId),
    /// A grant that cannot be taken back.
    #[error("the grant \"{0}\" is not revocable")]
    NotRevocable(AccountId),
    /// A grant that was taken back before.
    #[error("the grant \"{0}\" was revoked")]
    AlreadyRevoked(AccountId),
    /// Somebody twice in one snapshot.
    #[error("\"{0}\" takes part twice")]
    Twice(AccountId),
    /// A snapshot that nobody contributed to.
    #[error("nobody contributed anything")]
    NoContribution,
    /// A result beyond all amounts.
    #[error(transparent)]
    Amount(#[from] AmountError),
}

impl From<EconomyError> for Error {
    fn from(error: EconomyError) -> Self {
        let field = match &error {
            EconomyError::NameTooLong { .. } | EconomyError::Reserved(_) => "account",
            EconomyError::AmountZero | EconomyError::BelowMinStake { .. } => "amount",
            EconomyError::BadTerms { field, .. } => field,
            EconomyError::Twice(_) | EconomyError::NoContribution => "participants",
            EconomyError::PeriodNotOver { .. }
            | EconomyError::NotRevocable(_)
            | EconomyError::AlreadyRevoked(_) => return Self::new(ErrorKind::Conflict, error),
            EconomyError::MoreThanThere { .. } | EconomyError::NothingThere(_) => {
                return Self::new(ErrorKind::Exhausted, error);
            }
            EconomyError::NotAGrant(_) => return Self::new(ErrorKind::NotFound, error),
            EconomyError::Amount(error) => return error.clone().into(),
        };
        Self::invalid(field, error)
    }
}
