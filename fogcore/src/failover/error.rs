//! Why this area refuses, precisely.

use crate::error::{Error, ErrorKind};
use crate::id::NodeId;

/// Why a call was refused. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FailoverError {
    /// As many breakers are kept as may be.
    #[error("{max} circuit breakers are kept, and no more may be: forget nodes that are gone")]
    BreakersFull {
        /// How many may be.
        max: usize,
    },
    /// The node is not among those that were handed in.
    #[error("there is no node {0}")]
    UnknownNode(NodeId),
    /// The node's traffic is on its way to others already.
    #[error("node {0} is failing over already")]
    AlreadyFailingOver(NodeId),
    /// Nobody would serve what the node serves now.
    #[error("no other healthy node can take over from {0}: force it to drain it all the same")]
    LastHealthyNode(NodeId),
    /// As many nodes fail over as may.
    #[error("{max} nodes are failing over, and no more may at the same time")]
    TooManyFailovers {
        /// How many may.
        max: usize,
    },
    /// A reason that is too long to be kept.
    #[error("has {found} characters, at most {max} are allowed")]
    ReasonTooLong {
        /// Characters found.
        found: usize,
        /// Characters allowed.
        max: usize,
    },
}

impl From<FailoverError> for Error {
    fn from(error: FailoverError) -> Self {
        use FailoverError as E;
        let kind = match &error {
            E::UnknownNode(_) => ErrorKind::NotFound,
            E::AlreadyFailingOver(_) | E::LastHealthyNode(_) => ErrorKind::Conflict,
            E::BreakersFull { .. } | E::TooManyFailovers { .. } => ErrorKind::Exhausted,
            E::ReasonTooLong { .. } => return Self::invalid("reason", error),
        };
        Self::new(kind, error)
    }
}
