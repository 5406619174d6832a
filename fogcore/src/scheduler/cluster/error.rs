//! What a cluster refuses.

use super::Allocation;
use crate::error::{Error, ErrorKind};
use crate::id::NodeId;

/// Why a cluster did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// No node has room for the task, or may have it. [`Cluster::explain`](super::Cluster::explain)
    /// says why.
    #[error("no node can take the task")]
    NothingFits,
    /// Some tasks of a gang found no place, so none was placed.
    #[error("only {placed} of the gang's {size} tasks found a place")]
    GangDoesNotFit {
        /// How many found one.
        placed: usize,
        /// How many there are.
        size: usize,
    },
    /// The allocation was released before, or is another cluster's.
    #[error("{0:?} is not, or no longer, an allocation")]
    NotAllocated(Allocation),
    /// There is no such node.
    #[error("there is no node \"{0}\" in the cluster")]
    UnknownNode(NodeId),
    /// There is such a node already.
    #[error("the node \"{0}\" is in the cluster already")]
    KnownNode(NodeId),
    /// It has too many of something to be counted: nodes, GPUs of one node.
    #[error("too many {0}")]
    TooMany(&'static str),
}

impl From<ClusterError> for Error {
    fn from(error: ClusterError) -> Self {
        let kind = match &error {
            ClusterError::NothingFits | ClusterError::GangDoesNotFit { .. } => ErrorKind::Exhausted,
            ClusterError::NotAllocated(_) | ClusterError::KnownNode(_) => ErrorKind::Conflict,
            ClusterError::UnknownNode(_) => ErrorKind::NotFound,
            ClusterError::TooMany(_) => ErrorKind::InvalidInput,
        };
        Self::new(kind, error)
    }
}
