//! What happens, pulled with acknowledgement or told to a listener.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use fogcore::amount::Amount;
use fogcore::event::{Event, Feed, Notice, Numbered};
use fogcore::id::{NodeId, PeerId, SessionId, TaskId, TradeId, TransferId};
use tokio_util::sync::CancellationToken;

use crate::error::FogError;
use crate::fog::Fog;
use crate::handles::Counted;
use crate::runtime::Calls;

/// Something that happened in this process's fog. Other processes on the same store publish on
/// buses of their own.
#[uniffi::remote(Enum)]
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

/// An event with its number in its feed.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct NumberedEvent {
    /// Grows by one with each event of a feed, from 1.
    pub number: u64,
    /// What happened; none if some events are gone.
    pub event: Option<Event>,
    /// How many events are gone, because the feed was read too slowly.
    pub missed: u64,
}

impl From<Numbered> for NumberedEvent {
    fn from(numbered: Numbered) -> Self {
        let (event, missed) = match numbered.notice {
            Notice::Event(event) => (Some(event), 0),
            Notice::Missed(missed) => (None, missed),
        };
        Self { number: numbered.number, event, missed }
    }
}

/// Hears of events. Implemented by the app.
#[uniffi::export(callback_interface)]
#[async_trait]
pub trait ForeignListener: Send + Sync {
    /// Takes some events. They count as heard when it returns; if it throws, it hears no more, and
    /// whoever pulls or listens to the same feed next hears them again.
    ///
    /// # Errors
    /// Whatever kept it from hearing them.
    async fn on_events(&self, events: Vec<NumberedEvent>) -> Result<(), ListenerError>;
}

/// Why a listener did not hear.
#[derive(Clone, Debug, PartialEq, thiserror::Error, uniffi::Error)]
pub enum ListenerError {
    /// It failed.
    #[error("{reason}")]
    Failed {
        /// Why.
        reason: String,
    },
}

impl From<uniffi::UnexpectedUniFFICallbackError> for ListenerError {
    fn from(thrown: uniffi::UnexpectedUniFFICallbackError) -> Self {
        Self::Failed { reason: thrown.reason }
    }
}

/// The feeds of a fog, by name: one that was dropped by its reader is there for the next.
#[derive(Clone, Debug, Default)]
pub(crate) struct Feeds(Arc<Mutex<HashMap<String, Arc<EventFeed>>>>);

/// So many feeds a fog has at most: each keeps what was not acknowledged.
const MOST_FEEDS: usize = 64;

impl Feeds {
    fn open(&self, fog: &Fog, name: String) -> Result<Arc<EventFeed>, FogError> {
        let core = fog.core()?;
        let mut feeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(feed) = feeds.get(&name) {
            return Ok(Arc::clone(feed));
        }
        if feeds.len() >= MOST_FEEDS {
            let reason = format!("there are {MOST_FEEDS} feeds already");
            return Err(FogError::Exhausted { reason });
        }
        let feed = Arc::new(EventFeed {
            feed: Arc::new(tokio::sync::Mutex::new(Feed::new(core.subscribe()))),
            given: Arc::default(),
            heard: AtomicU64::default(),
            calls: fog.calls.clone(),
            _counted: Counted::new(),
        });
        feeds.insert(name, Arc::clone(&feed));
        Ok(feed)
    }

    fn forget(&self, name: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name).is_some()
    }

    /// Lets go of all of them, with what they kept.
    pub(crate) fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Events by pull: what was not acknowledged comes again.
#[derive(Debug, uniffi::Object)]
pub struct EventFeed {
    feed: Arc<tokio::sync::Mutex<Feed>>,
    /// The highest number that was given out.
    given: Arc<AtomicU64>,
    /// The highest number that was acknowledged; the next pull lets go of what came before.
    heard: AtomicU64,
    calls: Calls,
    _counted: Counted,
}

#[uniffi::export]
impl EventFeed {
    /// What was not acknowledged yet, and what happened since: at least one event, for which it
    /// waits, and at most `limit` (1–1,000). Given up, it loses nothing.
    ///
    /// # Errors
    /// Unavailable once the fog shuts down.
    pub async fn pull(&self, limit: u32) -> Result<Vec<NumberedEvent>, FogError> {
        let (feed, given) = (Arc::clone(&self.feed), Arc::clone(&self.given));
        let heard = self.heard.load(Ordering::Acquire);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let pull = async move {
            let mut feed = feed.lock().await;
            feed.acknowledge(heard);
            let taken = feed.pull(limit).await;
            if let Some(last) = taken.last() {
                given.fetch_max(last.number, Ordering::AcqRel);
            }
            Ok::<_, FogError>(taken.into_iter().map(NumberedEvent::from).collect())
        };
        self.calls.wait(pull).await
    }

    /// Everything up to and including `number` was heard, as far as it was given out: it does not
    /// come again.
    pub fn acknowledge(&self, number: u64) {
        let number = number.min(self.given.load(Ordering::Acquire));
        self.heard.fetch_max(number, Ordering::AcqRel);
    }
}

/// A listener that is listening; given back, it hears no more.
#[derive(Debug, uniffi::Object)]
pub struct Listening {
    stop: CancellationToken,
    _counted: Counted,
}

#[uniffi::export]
impl Listening {
    /// The listener hears no more.
    pub fn stop(&self) {
        self.stop.cancel();
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// So many events a listener hears at once.
const AT_ONCE: usize = 100;

#[uniffi::export]
impl Fog {
    /// The feed of this name: what happens in this process from the first time it is asked for,
    /// at most 64 of them. Asked for again, it is the same, with what was not acknowledged.
    ///
    /// # Errors
    /// Exhausted for too many; Unavailable once the fog was shut down.
    pub fn feed(&self, name: String) -> Result<Arc<EventFeed>, FogError> {
        self.feeds.open(self, name)
    }

    /// Forgets a feed with what it kept; false if it was not there.
    pub fn forget_feed(&self, name: String) -> bool {
        self.feeds.forget(&name)
    }

    /// Tells a listener what the feed of this name has, until it throws, stops, or the fog does.
    ///
    /// # Errors
    /// As [`Fog::feed`].
    pub fn listen(
        &self,
        feed: String,
        listener: Box<dyn ForeignListener>,
    ) -> Result<Arc<Listening>, FogError> {
        let feed = Arc::clone(&self.feeds.open(self, feed)?.feed);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let tell = async move {
            loop {
                let events = feed.lock().await.pull(AT_ONCE).await;
                let Some(last) = events.last().map(|last| last.number) else { return };
                let events = events.into_iter().map(NumberedEvent::from).collect();
                if let Err(error) = listener.on_events(events).await {
                    tracing::warn!(%error, "a listener failed, and hears no more");
                    return;
                }
                feed.lock().await.acknowledge(last);
            }
        };
        self.calls.spawn(async move {
            tokio::select! {
                () = tell => {}
                () = stopped.cancelled() => {}
            }
        })?;
        Ok(Arc::new(Listening { stop, _counted: Counted::new() }))
    }
}
