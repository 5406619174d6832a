//! What is asked for: the scope that a node must be in, and what the request is like.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::id::NodeId;

/// What a request mostly needs, which the adaptive strategy weighs (mesh document).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestKind {
    /// A little of everything.
    #[default]
    General,
    /// Storage, and a way in.
    Upload,
    /// A fast way out.
    Download,
    /// CPU and memory.
    Search,
}

/// A request class, of which each has its own breaker on each node: a phone that fails GPU work
/// still takes CPU work. Made by [`Balancer::class`](super::Balancer::class).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Class(pub(super) u8);

/// Which nodes a request may go to and which of them it prefers: names that were looked up once.
/// Made by [`Balancer::scope`](super::Balancer::scope); the default is every node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scope {
    pub(super) class: u8,
    /// The pool of all nodes that it may go to.
    pub(super) pool: u32,
    /// The pool of those in the region that it comes from.
    pub(super) near: Option<u32>,
}

/// A number that stands for a key, the same in every process and release: XXH3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Key(pub u64);

impl Key {
    /// The key of a name, a user, a document.
    #[must_use]
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        Self(xxh3_64(bytes.as_ref()))
    }
}

/// What a session holds on to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Affinity {
    /// Nothing.
    #[default]
    None,
    /// The node that served it before, as long as that one takes work.
    Node(NodeId),
    /// Whatever node its key leads to: nothing has to be remembered, and all processes agree.
    Key(Key),
}

/// A request to be given a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    /// What it mostly needs.
    pub kind: RequestKind,
    /// Where it may go.
    pub scope: Scope,
    /// What consistent hashing goes by.
    pub key: Option<Key>,
    /// What its session holds on to.
    pub affinity: Affinity,
    /// Nodes that were tried already, at most 40 of which count.
    pub except: Vec<NodeId>,
}

impl Request {
    /// A request that may go anywhere.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether any node of its scope is as good as another.
    #[inline]
    pub(super) const fn is_plain(&self) -> bool {
        self.scope.near.is_none()
            && matches!(self.affinity, Affinity::None)
            && self.except.is_empty()
    }

    /// The same request within a scope.
    #[must_use]
    pub fn within(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    /// The same request with a key for consistent hashing.
    #[must_use]
    pub fn keyed(self, key: Key) -> Self {
        Self { key: Some(key), ..self }
    }

    /// The same request of a kind.
    #[must_use]
    pub fn of_kind(self, kind: RequestKind) -> Self {
        Self { kind, ..self }
    }

    /// The same request with what its session holds on to.
    #[must_use]
    pub fn holding_on(self, affinity: Affinity) -> Self {
        Self { affinity, ..self }
    }
}
