//! What happened, told to whoever listens – and nobody waits for a listener.
//!
//! The bus is bounded. A subscriber that reads too slowly loses the oldest events and is told how
//! many ([`Notice::Missed`]); publishing never blocks and never fails. Events are hints to act
//! on now: the truth is in the store, where a subscriber that missed some reads it again.
//!
//! ```
//! use fogcore::event::{Event, EventBus, Notice};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let bus = EventBus::new(2);
//! let mut slow = bus.subscribe();
//! for name in ["a", "b", "c"] {
//!     bus.publish(Event::NodeRegistered { node: name.parse().unwrap() });
//! }
//! assert_eq!(slow.next().await, Some(Notice::Missed(1)));
//! let b = Event::NodeRegistered { node: "b".parse().unwrap() };
//! assert_eq!(slow.next().await, Some(Notice::Event(b)));
//! # });
//! ```

mod feed;

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::{self, error::RecvError, error::TryRecvError};

pub use self::feed::{Feed, Numbered};
use crate::amount::Amount;
use crate::id::{NodeId, PeerId, SessionId, TaskId, TradeId, TransferId};

/// Something that happened in this process's fog. Other processes on the same store publish on
/// buses of their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A node was registered, or registered again.
    NodeRegistered {
        /// The node.
        node: NodeId,
    },
    /// A node beats within its time again.
    NodeOnline {
        /// The node.
        node: NodeId,
    },
    /// A node's heartbeat is late.
    NodeSuspect {
        /// The node.
        node: NodeId,
    },
    /// A node's heartbeat is missing for so long that nothing is expected of it.
    NodeOffline {
        /// The node.
        node: NodeId,
    },
    /// A health monitor of this process finds that a node is well, or that it is not.
    NodeHealth {
        /// The node.
        node: NodeId,
        /// Whether it is well.
        healthy: bool,
    },
    /// A node's traffic is on its way to others: somebody asked for that.
    FailoverStarted {
        /// The node.
        node: NodeId,
        /// Why, in the words of whoever asked.
        reason: String,
        /// How its traffic leaves it: `immediate`, `gradual`, `circuit_breaker` or `redundant`.
        strategy: String,
        /// Who should take over before all others, if anybody is left.
        replacement: Option<NodeId>,
        /// Per cent of its traffic that it keeps for now.
        keeps: u8,
    },
    /// A node has its traffic back, or is gone.
    FailoverEnded {
        /// The node.
        node: NodeId,
        /// How it ended: `recovered`, `cancelled` or `node_removed`.
        outcome: String,
    },
    /// The autoscaler asked for another number of nodes.
    ScaleAsked {
        /// The request; sent again because its answer was lost, it keeps its number.
        id: u64,
        /// So many nodes were there or on their way.
        from: u32,
        /// So many there should be.
        to: u32,
        /// Why, for people.
        reason: String,
        /// What came of it: `accepted`, `refused` or `failed`.
        outcome: String,
    },
    /// A balancer of this process leaves a node out, or for longer than it did, because it is far
    /// from the rest.
    NodeEjected {
        /// The node.
        node: NodeId,
        /// In what it differs: `success_rate`, `latency`, …
        reason: String,
    },
    /// A balancer of this process takes a node in again that it had left out.
    NodeReturned {
        /// The node.
        node: NodeId,
    },
    /// A session of players was opened.
    SessionOpened {
        /// The session.
        session: SessionId,
        /// Its host.
        node: NodeId,
    },
    /// A session is over.
    SessionEnded {
        /// The session.
        session: SessionId,
        /// How: `ended` or `failed`.
        status: String,
    },
    /// A peer is connected to a session.
    PeerJoined {
        /// The session.
        session: SessionId,
        /// Who.
        peer: PeerId,
    },
    /// A peer left a session, or was away from it for too long.
    PeerLeft {
        /// The session.
        session: SessionId,
        /// Who.
        peer: PeerId,
    },
    /// A node was removed.
    NodeRemoved {
        /// The node.
        node: NodeId,
    },
    /// A task waits for a node.
    TaskQueued {
        /// The task.
        task: TaskId,
    },
    /// A node holds the task.
    TaskLeased {
        /// The task.
        task: TaskId,
        /// The node.
        node: NodeId,
        /// The attempt, from 1.
        attempt: u32,
    },
    /// The node that holds the task has to make room for a more urgent one.
    TaskPreempted {
        /// The task.
        task: TaskId,
        /// The node.
        node: NodeId,
    },
    /// A node told how far it is.
    TaskProgressed {
        /// The task.
        task: TaskId,
        /// The share done, 0 to 1.
        done: f64,
    },
    /// The task is done and its node's owner is paid.
    TaskSucceeded {
        /// The task.
        task: TaskId,
        /// The node that did it.
        node: NodeId,
        /// What its owner was paid.
        paid: Amount,
    },
    /// An attempt ended without success, and the task waits for another.
    TaskRetrying {
        /// The task.
        task: TaskId,
        /// Why the attempt ended.
        reason: String,
    },
    /// Somebody hired something on the marketplace, and what it costs is reserved.
    TradeMade {
        /// The trade.
        trade: TradeId,
        /// The node that has what was hired.
        node: NodeId,
        /// What it costs.
        cost: Amount,
    },
    /// A trade was settled, or came to nothing.
    TradeEnded {
        /// The trade.
        trade: TradeId,
        /// What the owner was paid.
        paid: Amount,
    },
    /// The task ended without success: failed, cancelled or dead.
    TaskEnded {
        /// The task.
        task: TaskId,
        /// Why.
        reason: String,
    },
    /// A transfer was posted.
    TransferPosted {
        /// The transfer.
        transfer: TransferId,
    },
    /// A circuit breaker of this process changed its state.
    BreakerChanged {
        /// The node whose calls it guards.
        node: NodeId,
        /// The class of requests.
        class: String,
        /// What it was: `closed`, `open`, `half_open`, `forced_open` or `forced_closed`.
        from: String,
        /// What it is.
        to: String,
        /// Why it opened, if it did so by itself: `failure_rate`, `consecutive_failures`, …
        reason: Option<String>,
    },
}

/// What a subscriber receives.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// An event.
    Event(Event),
    /// The subscriber was too slow: this many events are gone.
    Missed(u64),
}

/// A bounded bus from one process's fog to its subscribers. Clones share the bus.
#[derive(Clone, Debug)]
pub struct EventBus {
    sender: broadcast::Sender<Event>,
}

impl EventBus {
    /// A bus that keeps the last `capacity` events (at least 1) for slow subscribers.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { sender: broadcast::Sender::new(capacity.max(1)) }
    }

    /// Tells all present subscribers; nobody is waited for.
    pub fn publish(&self, event: Event) {
        // An error only says that nobody listens.
        let _ = self.sender.send(event);
    }

    /// A subscription to what is published from now on.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        Subscription { receiver: self.sender.subscribe() }
    }
}

/// One subscriber's place on the bus.
#[derive(Debug)]
pub struct Subscription {
    receiver: broadcast::Receiver<Event>,
}

impl Subscription {
    /// Waits for the next notice; `None` once the bus is gone and everything was read.
    pub async fn next(&mut self) -> Option<Notice> {
        match self.receiver.recv().await {
            Ok(event) => Some(Notice::Event(event)),
            Err(RecvError::Lagged(missed)) => Some(Notice::Missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }

    /// The next notice, if one is waiting.
    pub fn try_next(&mut self) -> Option<Notice> {
        match self.receiver.try_recv() {
            Ok(event) => Some(Notice::Event(event)),
            Err(TryRecvError::Lagged(missed)) => Some(Notice::Missed(missed)),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str) -> Event {
        Event::NodeOnline { node: name.parse().unwrap() }
    }

    #[tokio::test]
    async fn a_bus_without_listeners_takes_events_and_a_closed_one_ends_the_stream() {
        let bus = EventBus::new(4);
        bus.publish(event("early"));
        let mut subscription = bus.subscribe();
        bus.publish(event("late"));
        drop(bus);
        assert_eq!(subscription.next().await, Some(Notice::Event(event("late"))));
        assert_eq!(subscription.next().await, None);
    }

    #[test]
    fn a_slow_subscriber_is_told_exactly_how_many_it_missed_and_a_fast_one_misses_none() {
        let bus = EventBus::new(8);
        let (mut slow, mut fast) = (bus.subscribe(), bus.subscribe());
        for number in 0..100 {
            bus.publish(event(&number.to_string()));
            assert_eq!(fast.try_next(), Some(Notice::Event(event(&number.to_string()))));
        }
        assert_eq!(slow.try_next(), Some(Notice::Missed(92)));
        let rest = std::iter::from_fn(|| slow.try_next()).count();
        assert_eq!(rest, 8);
    }
}
