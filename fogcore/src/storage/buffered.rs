//! A store of nodes that keeps beats in memory first, and writes many of them at once.
//!
//! A fleet beats all the time, and a beat that is lost is made good by the next one. So a process may
//! choose ([`FogConfig::beats_within`](crate::FogConfig::beats_within)) that beats reach the store a
//! little later than they are answered: of the beats of one node that wait, only the newest is
//! written, unless its power state tells a history. Registrations and removals are never late.
//!
//! What other processes write is seen as late: a record that was read is good for the same time.
//!
//! ```
//! use fogcore::registry::{Heartbeat, Node};
//! use fogcore::{Fog, FogConfig};
//! use std::time::Duration;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let late = FogConfig { beats_within: Duration::from_secs(1), ..FogConfig::default() };
//! let fog = Fog::builder().config(late).open().await?;
//! let node = fog.register(Node::new("laptop".parse()?)).await?.node.id;
//! fog.beat(&node, Heartbeat::new(1)).await?; // seen at once, durable within a second
//! assert_eq!(fog.node(&node).await?.unwrap().heartbeat.unwrap().sequence, 1);
//! # Ok::<(), fogcore::Error>(())
//! # }).unwrap();
//! ```

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, stream};

use crate::error::{ErrorKind, Result};
use crate::id::NodeId;
use crate::registry::{Beat, Heartbeat, Node, NodeFilter, NodeRecord, NodeStore, PowerPolicy};
use crate::time::{Clock, Timestamp};

/// How many beats are on their way to the store at once: it writes them in one go.
const AT_ONCE: usize = 1_024;

/// Beats of one node that wait at most; more would only tell of a store that is away.
const MOST: usize = 64;

/// A beat that the store does not have yet.
#[derive(Clone, Debug)]
struct Waiting {
    heartbeat: Heartbeat,
    at: Timestamp,
    policy: PowerPolicy,
}

/// A node as it is, with the beats that the store does not have yet.
#[derive(Debug)]
struct Entry {
    record: NodeRecord,
    /// When the record was read, by the clock's elapsed time.
    read: Duration,
    waiting: Vec<Waiting>,
}

impl Entry {
    /// A record that was just read, and the beats that are newer than it.
    fn new(record: NodeRecord, read: Duration, waiting: Vec<Waiting>) -> Self {
        let mut entry = Self { record, read, waiting: Vec::new() };
        for beat in waiting {
            entry.beat(beat);
        }
        entry
    }

    /// Takes a beat in; false if it is not newer than the latest.
    fn beat(&mut self, beat: Waiting) -> bool {
        if !self.record.beat(beat.heartbeat.clone(), beat.at, &beat.policy) {
            return false;
        }
        // Without a power state, the newest says it all.
        let replaced = self.waiting.last().is_some_and(|last| last.heartbeat.power.is_none());
        if replaced || self.waiting.len() >= MOST {
            self.waiting.pop();
        }
        self.waiting.push(beat);
        true
    }
}

/// Keeps beats in memory for a moment.
pub(crate) struct BufferedNodes {
    store: Arc<dyn NodeStore>,
    clock: Arc<dyn Clock>,
    /// How late a beat may reach the store, and how old a record may be.
    within: Duration,
    entries: Mutex<HashMap<NodeId, Entry>>,
    /// Held by whoever writes beats or changes registrations, so that no beat reaches a
    /// registration that is newer than it.
    writing: tokio::sync::Mutex<()>,
}

impl fmt::Debug for BufferedNodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferedNodes").field("within", &self.within).finish_non_exhaustive()
    }
}

impl BufferedNodes {
    /// In front of `store`.
    pub(crate) fn new(store: Arc<dyn NodeStore>, clock: Arc<dyn Clock>, within: Duration) -> Self {
        let (entries, writing) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { store, clock, within, entries, writing }
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<NodeId, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_fresh(&self, entry: &Entry) -> bool {
        self.clock.elapsed().saturating_sub(entry.read) < self.within
    }

    /// Looks at a node's entry, which is read from the store if it is not there or too old. None if
    /// there is no such node.
    async fn with<T>(
        &self,
        node: &NodeId,
        look: impl FnOnce(&mut Entry) -> T,
    ) -> Result<Option<T>> {
        if let Some(entry) = self.entries().get_mut(node).filter(|entry| self.is_fresh(entry)) {
            return Ok(Some(look(entry)));
        }
        let read = self.clock.elapsed();
        let found = self.store.node(node).await?;
        let mut entries = self.entries();
        // Somebody who was faster may have taken beats in meanwhile.
        let before = entries.remove(node);
        let Some(record) = found else { return Ok(None) };
        let entry = match before {
            Some(newer) if newer.read >= read => newer,
            Some(older) => Entry::new(record, read, older.waiting),
            None => Entry::new(record, read, Vec::new()),
        };
        Ok(Some(look(entries.entry(node.clone()).insert_entry(entry).get_mut())))
    }

    /// Writes every beat that waits, and forgets records that are too old.
    ///
    /// # Errors
    /// What the store says; what it did not take waits on.
    pub(crate) async fn flush(&self) -> Result<()> {
        let _writing = self.writing.lock().await;
        self.write().await
    }

    async fn write(&self) -> Result<()> {
        let waiting: Vec<_> = {
            let mut entries = self.entries();
            entries.retain(|_, entry| !entry.waiting.is_empty() || self.is_fresh(entry));
            let waiting = entries.iter().filter(|(_, entry)| !entry.waiting.is_empty());
            waiting.map(|(node, entry)| (node.clone(), entry.waiting.clone())).collect()
        };
        let written = stream::iter(waiting).map(async |(node, beats)| {
            for beat in beats {
                let sequence = beat.heartbeat.sequence;
                let done = self.store.beat(&node, beat.heartbeat, beat.at, &beat.policy).await;
                match done {
                    Ok(_) => self.has_written(&node, sequence),
                    // It is gone, and its beats with it.
                    Err(error) if error.kind() == ErrorKind::NotFound => {
                        self.entries().remove(&node);
                        return Ok(());
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        });
        let written: Vec<Result<()>> = written.buffer_unordered(AT_ONCE).collect().await;
        written.into_iter().collect()
    }

    fn has_written(&self, node: &NodeId, sequence: u64) {
        if let Some(entry) = self.entries().get_mut(node) {
            entry.waiting.retain(|beat| beat.heartbeat.sequence > sequence);
        }
    }
}

#[async_trait]
impl NodeStore for BufferedNodes {
    async fn register(&self, node: Node, now: Timestamp) -> Result<NodeRecord> {
        let _writing = self.writing.lock().await;
        let id = node.id.clone();
        // The power history outlives a registration, so what is told of it must be there.
        self.write().await?;
        self.entries().remove(&id);
        let record = self.store.register(node, now).await?;
        // What somebody read or heard meanwhile is of the registration before.
        self.entries().insert(id, Entry::new(record.clone(), self.clock.elapsed(), Vec::new()));
        Ok(record)
    }

    async fn beat(
        &self,
        node: &NodeId,
        heartbeat: Heartbeat,
        now: Timestamp,
        policy: &PowerPolicy,
    ) -> Result<Beat> {
        let waiting = Waiting { heartbeat, at: now, policy: *policy };
        let taken = self.with(node, |entry| match entry.beat(waiting) {
            true => Beat::Accepted(entry.record.clone()),
            false => Beat::Stale(entry.record.clone()),
        });
        taken.await?.ok_or_else(|| super::no_node(node))
    }

    async fn node(&self, node: &NodeId) -> Result<Option<NodeRecord>> {
        self.with(node, |entry| entry.record.clone()).await
    }

    /// Reads from the store, which is given what waits before: filters look at beats, too.
    async fn nodes(
        &self,
        filter: &NodeFilter,
        after: Option<&NodeId>,
        limit: usize,
    ) -> Result<Vec<NodeRecord>> {
        self.flush().await?;
        self.store.nodes(filter, after, limit).await
    }

    async fn remove_node(&self, node: &NodeId) -> Result<bool> {
        let _writing = self.writing.lock().await;
        self.entries().remove(node);
        let removed = self.store.remove_node(node).await?;
        self.entries().remove(node);
        Ok(removed)
    }
}

#[cfg(all(test, feature = "conformance"))]
mod tests {
    use super::*;
    use crate::registry::{Celsius, Percent, PowerState};
    use crate::storage::Stores;
    use crate::storage::conformance::nodes;
    use crate::storage::memory::MemoryStore;
    use crate::time::ManualClock;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::UNIX_EPOCH.saturating_add(Duration::from_secs(seconds))
    }

    struct Bench {
        clock: Arc<ManualClock>,
        /// What is behind.
        store: Arc<dyn NodeStore>,
        buffered: Arc<BufferedNodes>,
    }

    fn bench() -> Bench {
        let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
        let store: Arc<dyn NodeStore> = Arc::new(MemoryStore::new());
        let within = Duration::from_secs(1);
        let buffered = Arc::new(BufferedNodes::new(store.clone(), clock.clone(), within));
        Bench { clock, store, buffered }
    }

    fn stores() -> Stores {
        let memory = Stores::from_one(Arc::new(MemoryStore::new()));
        let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
        let within = Duration::from_secs(1);
        let nodes = Arc::new(BufferedNodes::new(memory.nodes.clone(), clock, within));
        Stores { nodes, ..memory }
    }

    #[tokio::test]
    async fn it_keeps_what_every_store_of_nodes_promises() {
        nodes::registering_again_updates_the_node(&stores()).await;
        nodes::a_record_comes_back_as_it_was(&stores()).await;
        nodes::an_older_beat_changes_nothing(&stores()).await;
        nodes::a_beat_of_an_unknown_node_is_refused(&stores()).await;
        nodes::nodes_are_listed_in_pages_and_filtered(&stores()).await;
        nodes::a_removed_node_is_gone(&stores()).await;
    }

    #[expect(clippy::unwrap_used, reason = "a test reports by panicking, its helpers included")]
    async fn sequence(store: &dyn NodeStore, node: &NodeId) -> Option<u64> {
        store.node(node).await.unwrap().unwrap().heartbeat.map(|beat| beat.sequence)
    }

    #[tokio::test]
    async fn beats_are_seen_at_once_and_written_with_the_next_flush() {
        let Bench { store, buffered, .. } = bench();
        let id: NodeId = "n".parse().unwrap();
        buffered.register(Node::new(id.clone()), at(0)).await.unwrap();
        let policy = PowerPolicy::default();
        for number in 1..=10 {
            buffered.beat(&id, Heartbeat::new(number), at(number), &policy).await.unwrap();
        }
        assert_eq!(sequence(&*buffered, &id).await, Some(10));
        assert_eq!(sequence(&*store, &id).await, None);
        buffered.flush().await.unwrap();
        assert_eq!(sequence(&*store, &id).await, Some(10));
        let record = store.node(&id).await.unwrap().unwrap();
        assert_eq!(record.last_seen, at(10), "the time is the beat's, not the flush's");
    }

    #[tokio::test]
    async fn a_power_history_is_told_in_full() {
        let Bench { store, buffered, .. } = bench();
        let id: NodeId = "phone".parse().unwrap();
        buffered.register(Node::new(id.clone()), at(0)).await.unwrap();
        let policy = PowerPolicy::default();
        let hot = PowerState {
            battery: Some(Percent::new(90.0).unwrap()),
            charging: true,
            temperature: Some(Celsius::new(80.0).unwrap()),
            ..PowerState::default()
        };
        let cool = PowerState { temperature: Some(Celsius::new(20.0).unwrap()), ..hot };
        for (number, power) in [(1, hot), (2, cool)] {
            let beat = Heartbeat { power: Some(power), ..Heartbeat::new(number) };
            buffered.beat(&id, beat, at(number), &policy).await.unwrap();
        }
        buffered.flush().await.unwrap();
        let kept = store.node(&id).await.unwrap();
        assert_eq!(kept, buffered.node(&id).await.unwrap());
        assert!(kept.unwrap().eligibility(at(3), &policy).is_err(), "that it was hot counts on");
    }

    #[tokio::test]
    async fn what_others_write_is_seen_in_time() {
        let Bench { clock, store, buffered } = bench();
        let id: NodeId = "n".parse().unwrap();
        buffered.register(Node::new(id.clone()), at(0)).await.unwrap();
        buffered.beat(&id, Heartbeat::new(7), at(1), &PowerPolicy::default()).await.unwrap();
        let renamed = Node { name: "elsewhere".to_owned(), ..Node::new(id.clone()) };
        store.register(renamed, at(2)).await.unwrap();
        clock.advance(Duration::from_secs(1));
        let seen = buffered.node(&id).await.unwrap().unwrap();
        assert_eq!(seen.node.name, "elsewhere");
        assert_eq!(seen.heartbeat, None, "the beat is of the registration before");
        store.remove_node(&id).await.unwrap();
        clock.advance(Duration::from_secs(1));
        assert_eq!(buffered.node(&id).await.unwrap(), None);
        buffered.flush().await.unwrap();
    }

    #[tokio::test]
    async fn no_beat_reaches_a_newer_registration() {
        let Bench { store, buffered, .. } = bench();
        let id: NodeId = "n".parse().unwrap();
        buffered.register(Node::new(id.clone()), at(0)).await.unwrap();
        let policy = PowerPolicy::default();
        buffered.beat(&id, Heartbeat::new(9), at(1), &policy).await.unwrap();
        // Elsewhere, it starts anew.
        store.register(Node::new(id.clone()), at(2)).await.unwrap();
        buffered.flush().await.unwrap();
        let first = store.beat(&id, Heartbeat::new(1), at(3), &policy).await.unwrap();
        assert!(matches!(first, Beat::Accepted(_)), "{first:?}");
        // And here.
        buffered.beat(&id, Heartbeat::new(12), at(4), &policy).await.unwrap();
        buffered.register(Node::new(id.clone()), at(5)).await.unwrap();
        let first = buffered.beat(&id, Heartbeat::new(1), at(6), &policy).await.unwrap();
        assert!(matches!(first, Beat::Accepted(_)), "{first:?}");
    }
}
