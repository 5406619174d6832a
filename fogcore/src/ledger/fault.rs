//! What verification finds when the books are not as they were written.

use crate::error::{Error, ErrorKind};
use crate::id::{AccountId, TransferId};

/// What in the books is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A link's rows do not have its digest: a row of it, or of one before, was changed, put
    /// elsewhere, or exchanged.
    #[error("link {number} of writer {writer} does not match its rows")]
    Link {
        /// Whose chain.
        writer: u32,
        /// Which link.
        number: u64,
    },
    /// The links of a writer have a gap, or rows of one are missing.
    #[error("link {number} of writer {writer} is missing, or rows of it are")]
    Missing {
        /// Whose chain.
        writer: u32,
        /// Which link.
        number: u64,
    },
    /// There are rows that belong to no link.
    #[error("{what} that no link knows")]
    Unknown {
        /// What they are.
        what: String,
    },
    /// Something holds what the ledger never writes, so that nothing can be made of it.
    #[error("what is stored cannot be read: {what}")]
    Unreadable {
        /// Where, and what the database says of it.
        what: String,
    },
    /// An anchor is not in its chain: its end was cut off, or the chain was made anew.
    #[error("the anchor at link {number} of writer {writer} is not there")]
    Anchor {
        /// Whose chain.
        writer: u32,
        /// Which link.
        number: u64,
    },
    /// The journal cannot have come about.
    #[error("transfer {transfer} {what}")]
    Journal {
        /// The transfer.
        transfer: TransferId,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A hold is not in the state that the journal leaves it in.
    #[error("hold {0} is in a state that does not follow from the journal")]
    Hold(TransferId),
    /// An account has counters, or is closed or not, as does not follow from the journal.
    #[error("account \"{0}\" has what does not follow from the journal")]
    Account(AccountId),
    /// The history of an account does not follow from the journal.
    #[error("the history of account \"{0}\" does not follow from the journal")]
    History(AccountId),
}

impl Fault {
    /// What went wrong while everything was read: of damage that the database tells, or that shows
    /// when a value is made of what is stored, it makes a fault. For stores.
    #[must_use]
    pub fn of(error: Error) -> Error {
        if error.kind() != ErrorKind::Internal || error.downcast_ref::<Self>().is_some() {
            return error;
        }
        Self::Unreadable { what: error.to_string() }.into()
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::new(ErrorKind::Internal, fault)
    }
}
