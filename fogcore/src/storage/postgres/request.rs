//! What PostgreSQL's writer can be asked for.

use super::nodes::Nodes;
use crate::error::Result;
use crate::id::NodeId;
use crate::storage::request::{Change, Decision, Lease};
use crate::storage::writer;

/// A change of a node.
pub(super) type NodeChange = Box<dyn Decision<Nodes, NodeId>>;

/// Something that wants to be written, and somebody who waits for it.
pub(super) enum Request {
    /// Changes tasks and money.
    Change(Change),
    /// Changes a node.
    Node(NodeChange),
    /// Looks for work.
    Lease(Box<Lease>),
}

impl Request {
    pub(super) fn as_lease(&mut self) -> Option<&mut Lease> {
        match self {
            Self::Lease(lease) => Some(lease),
            Self::Change(_) | Self::Node(_) => None,
        }
    }
}

impl From<Change> for Request {
    fn from(change: Change) -> Self {
        Self::Change(change)
    }
}

impl From<NodeChange> for Request {
    fn from(change: NodeChange) -> Self {
        Self::Node(change)
    }
}

impl From<Lease> for Request {
    fn from(lease: Lease) -> Self {
        Self::Lease(Box::new(lease))
    }
}

impl writer::Request for Request {
    fn weight(&self) -> usize {
        match self {
            Self::Change(change) => change.wanted().weight(),
            Self::Node(_) | Self::Lease(_) => 1,
        }
    }

    fn reply(self, outcome: Result<()>) {
        match self {
            Self::Change(change) => change.reply(outcome),
            Self::Node(change) => change.reply(outcome),
            Self::Lease(lease) => lease.answer.reply(outcome),
        }
    }
}
