//! What became of a transfer or of the opening of an account, as one stable word.
//!
//! The words are TigerBeetle's wherever the meaning is, so that its documentation explains them
//! and a run beside it can be compared line by line. What its flat records can express and the
//! types here cannot (a timestamp set by the client, a hold that names other accounts than the
//! transfer that ends it, a code of zero) has no word.
//!
//! ```
//! use fogcore::ErrorKind;
//! use fogcore::ledger::ResultCode;
//!
//! let code: ResultCode = "exceeds_credits".parse()?;
//! assert_eq!(code, ResultCode::ExceedsCredits);
//! assert_eq!(code.kind(), Some(ErrorKind::Exhausted));
//! assert!(code.is_sticky(), "the same id can never succeed later");
//! assert_eq!(ResultCode::Exists.kind(), None, "sent twice is not an error");
//! # Ok::<(), fogcore::Error>(())
//! ```

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Applied, LedgerError};
use crate::error::{Error, ErrorKind};

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What became of one item of a batch.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[non_exhaustive]
        pub enum ResultCode {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl ResultCode {
            /// Every code, in the order of the checks: what fails two of them has the earlier.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its name, as in JSON. Names are never changed and never used again.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

codes! {
    /// Done, and was not there before.
    Created = "created",
    /// Another transfer of its chain failed, so none of them was done.
    LinkedEventFailed = "linked_event_failed",
    /// The batch ends with a transfer that is linked to the next.
    LinkedEventChainOpen = "linked_event_chain_open",
    /// The batch has more than 8,190 items. None was looked at.
    TooMuchData = "too_much_data",
    /// A type of transfer that only the ledger makes ([`TransferKind::Expire`](super::TransferKind::Expire)).
    ReservedFlag = "reserved_flag",
    /// The id is the UUID of zeros.
    IdMustNotBeZero = "id_must_not_be_zero",
    /// The id is the UUID of ones.
    IdMustNotBeIntMax = "id_must_not_be_int_max",
    /// The id is there, as another type (direct, hold, post, void) or with other flags; or the
    /// account with other terms.
    ExistsWithDifferentFlags = "exists_with_different_flags",
    /// The id is there, for another hold.
    ExistsWithDifferentPendingId = "exists_with_different_pending_id",
    /// The id is there, with another timeout.
    ExistsWithDifferentTimeout = "exists_with_different_timeout",
    /// The id is there, with another account to debit.
    ExistsWithDifferentDebitAccountId = "exists_with_different_debit_account_id",
    /// The id is there, with another account to credit.
    ExistsWithDifferentCreditAccountId = "exists_with_different_credit_account_id",
    /// The id is there, and moved another amount (more than the most now asked, if balancing).
    ExistsWithDifferentAmount = "exists_with_different_amount",
    /// The id is there, with another reference.
    ExistsWithDifferentUserData128 = "exists_with_different_user_data_128",
    /// The id is there, with other user data of 64 bits.
    ExistsWithDifferentUserData64 = "exists_with_different_user_data_64",
    /// The id is there, with other user data of 32 bits.
    ExistsWithDifferentUserData32 = "exists_with_different_user_data_32",
    /// The account is there, and counts another asset.
    ExistsWithDifferentAsset = "exists_with_different_asset",
    /// The id is there, for another purpose.
    ExistsWithDifferentCode = "exists_with_different_code",
    /// It is there already, as asked: nothing changed, and nothing needs to. In a chain of which
    /// not all are there, it fails the chain.
    Exists = "exists",
    /// The id failed before, for a reason that may have gone since. It stays failed: ask again
    /// under a new id.
    IdAlreadyFailed = "id_already_failed",
    /// Flags that cannot be together: balancing or closing with a post or void; both limits on one
    /// account.
    FlagsAreMutuallyExclusive = "flags_are_mutually_exclusive",
    /// From an account to itself.
    AccountsMustBeDifferent = "accounts_must_be_different",
    /// The hold to end is the UUID of zeros.
    PendingIdMustNotBeZero = "pending_id_must_not_be_zero",
    /// The hold to end is the UUID of ones.
    PendingIdMustNotBeIntMax = "pending_id_must_not_be_int_max",
    /// The hold to end has the id of the transfer that would end it.
    PendingIdMustBeDifferent = "pending_id_must_be_different",
    /// A timeout on something that is not a hold.
    TimeoutReservedForPendingTransfer = "timeout_reserved_for_pending_transfer",
    /// A closing flag on something that is not a hold, and so could not be taken back.
    ClosingTransferMustBePending = "closing_transfer_must_be_pending",
    /// Nothing to move, and no account to close.
    AmountMustNotBeZero = "amount_must_not_be_zero",
    /// The account to debit does not exist.
    DebitAccountNotFound = "debit_account_not_found",
    /// The account to credit does not exist.
    CreditAccountNotFound = "credit_account_not_found",
    /// The accounts count different assets.
    AccountsMustHaveTheSameAsset = "accounts_must_have_the_same_asset",
    /// The hold to end does not exist.
    PendingTransferNotFound = "pending_transfer_not_found",
    /// The transfer to end is not a hold.
    PendingTransferNotPending = "pending_transfer_not_pending",
    /// More than the hold reserves.
    ExceedsPendingTransferAmount = "exceeds_pending_transfer_amount",
    /// The hold was posted.
    PendingTransferAlreadyPosted = "pending_transfer_already_posted",
    /// The hold was voided.
    PendingTransferAlreadyVoided = "pending_transfer_already_voided",
    /// The hold's time is over.
    PendingTransferExpired = "pending_transfer_expired",
    /// The hold's time is not over (only for the transfers with which the ledger ends it then).
    PendingTransferNotExpired = "pending_transfer_not_expired",
    /// The account to debit is closed.
    DebitAccountAlreadyClosed = "debit_account_already_closed",
    /// The account to credit is closed.
    CreditAccountAlreadyClosed = "credit_account_already_closed",
    /// The debits reserved would pass 2^128 − 1 base units.
    OverflowsDebitsPending = "overflows_debits_pending",
    /// The credits reserved would pass 2^128 − 1 base units.
    OverflowsCreditsPending = "overflows_credits_pending",
    /// The debits would pass 2^128 − 1 base units.
    OverflowsDebitsPosted = "overflows_debits_posted",
    /// The credits would pass 2^128 − 1 base units.
    OverflowsCreditsPosted = "overflows_credits_posted",
    /// The debits, those reserved included, would pass 2^128 − 1 base units.
    OverflowsDebits = "overflows_debits",
    /// The credits, those reserved included, would pass 2^128 − 1 base units.
    OverflowsCredits = "overflows_credits",
    /// The hold would end after the year 9999.
    OverflowsTimeout = "overflows_timeout",
    /// The account to debit would have more debits than credits, which its terms forbid.
    ExceedsCredits = "exceeds_credits",
    /// The account to credit would have more credits than debits, which its terms forbid.
    ExceedsDebits = "exceeds_debits",
    /// The book is damaged, or its store did not load what the batch touches.
    Internal = "internal",
}

impl ResultCode {
    /// What became of one transfer of a batch.
    #[must_use]
    pub const fn of(answer: &Result<Applied, LedgerError>) -> Self {
        match answer {
            Ok(applied) => applied.code(),
            Err(error) => error.code(),
        }
    }

    /// What a caller can do about it; nothing has to be done about what was done, now or before.
    #[must_use]
    pub const fn kind(self) -> Option<ErrorKind> {
        Some(match self {
            Self::Created | Self::Exists => return None,
            Self::DebitAccountNotFound
            | Self::CreditAccountNotFound
            | Self::PendingTransferNotFound => ErrorKind::NotFound,
            Self::LinkedEventFailed
            | Self::ExistsWithDifferentFlags
            | Self::ExistsWithDifferentPendingId
            | Self::ExistsWithDifferentTimeout
            | Self::ExistsWithDifferentDebitAccountId
            | Self::ExistsWithDifferentCreditAccountId
            | Self::ExistsWithDifferentAmount
            | Self::ExistsWithDifferentUserData128
            | Self::ExistsWithDifferentUserData64
            | Self::ExistsWithDifferentUserData32
            | Self::ExistsWithDifferentAsset
            | Self::ExistsWithDifferentCode
            | Self::IdAlreadyFailed
            | Self::PendingTransferAlreadyPosted
            | Self::PendingTransferAlreadyVoided
            | Self::PendingTransferExpired
            | Self::PendingTransferNotExpired
            | Self::DebitAccountAlreadyClosed
            | Self::CreditAccountAlreadyClosed => ErrorKind::Conflict,
            Self::LinkedEventChainOpen
            | Self::TooMuchData
            | Self::ReservedFlag
            | Self::IdMustNotBeZero
            | Self::IdMustNotBeIntMax
            | Self::FlagsAreMutuallyExclusive
            | Self::AccountsMustBeDifferent
            | Self::PendingIdMustNotBeZero
            | Self::PendingIdMustNotBeIntMax
            | Self::PendingIdMustBeDifferent
            | Self::TimeoutReservedForPendingTransfer
            | Self::ClosingTransferMustBePending
            | Self::AmountMustNotBeZero
            | Self::AccountsMustHaveTheSameAsset
            | Self::PendingTransferNotPending
            | Self::ExceedsPendingTransferAmount
            | Self::OverflowsTimeout => ErrorKind::InvalidInput,
            Self::OverflowsDebitsPending
            | Self::OverflowsCreditsPending
            | Self::OverflowsDebitsPosted
            | Self::OverflowsCreditsPosted
            | Self::OverflowsDebits
            | Self::OverflowsCredits
            | Self::ExceedsCredits
            | Self::ExceedsDebits => ErrorKind::Exhausted,
            Self::Internal => ErrorKind::Internal,
        })
    }

    /// Whether an id of a batch that failed for this reason stays failed.
    ///
    /// These reasons depend on what else happened so far: an account that is opened later, credits
    /// that come later. A client that lost the answer and sends the transfer again a day later
    /// must not move money then that it has given up on. Time counts among them: a hold that is over
    /// by one process's clock may not be by another's. All other reasons need no memory: they follow
    /// from the transfer itself, or from what never changes back (a hold that is posted).
    ///
    /// TigerBeetle remembers the same, except for the overflows that can go away when holds end, and
    /// for holds that are over: its one clock never goes back.
    #[must_use]
    pub const fn is_sticky(self) -> bool {
        matches!(
            self,
            Self::DebitAccountNotFound
                | Self::CreditAccountNotFound
                | Self::PendingTransferNotFound
                | Self::PendingTransferExpired
                | Self::DebitAccountAlreadyClosed
                | Self::CreditAccountAlreadyClosed
                | Self::OverflowsDebitsPending
                | Self::OverflowsCreditsPending
                | Self::OverflowsDebits
                | Self::OverflowsCredits
                | Self::ExceedsCredits
                | Self::ExceedsDebits
        )
    }
}

impl fmt::Display for ResultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ResultCode {
    type Err = Error;
    /// Reads a name.
    fn from_str(text: &str) -> Result<Self, Error> {
        let known = Self::ALL.iter().find(|code| code.name() == text);
        known.copied().ok_or_else(|| {
            let shown: String = text.chars().take(64).collect();
            Error::invalid("result code", format!("{shown:?} is no result of the ledger"))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_apart_and_read_back() {
        let names: BTreeSet<_> = ResultCode::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), ResultCode::ALL.len());
        for code in ResultCode::ALL {
            assert_eq!(code.name().parse::<ResultCode>().unwrap(), *code);
            let json = serde_json::to_string(code).unwrap();
            assert_eq!(json, format!("{:?}", code.name()));
            assert_eq!(serde_json::from_str::<ResultCode>(&json).unwrap(), *code);
            assert_eq!(code.to_string(), code.name());
        }
        assert_eq!("ok".parse::<ResultCode>().unwrap_err().field(), Some("result code"));
    }

    #[test]
    fn only_what_is_an_error_is_remembered() {
        for code in ResultCode::ALL.iter().filter(|code| code.is_sticky()) {
            let kind = code.kind().unwrap();
            assert!(!matches!(kind, ErrorKind::InvalidInput | ErrorKind::Internal), "{code}");
        }
    }
}
