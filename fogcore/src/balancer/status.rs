//! What a balancer tells of its nodes, and why it had none to offer.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// Nobody takes the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("no node takes the request: {ready} are ready but full, {unwell} do not do well")]
pub struct NoNode {
    /// Nodes in the scope that do well; those that are not drained, away or resting.
    pub ready: u32,
    /// Nodes in the scope whose breaker is open, whose probes fail, whose heartbeats are late, or
    /// that were left out.
    pub unwell: u32,
    /// After how long a node may come back, if that is known.
    pub retry_after: Option<Duration>,
}

impl NoNode {
    pub(super) const fn unknown() -> Self {
        Self { ready: 0, unwell: 0, retry_after: None }
    }
}

impl From<NoNode> for Error {
    fn from(error: NoNode) -> Self {
        Self::new(ErrorKind::Unavailable, error)
    }
}
