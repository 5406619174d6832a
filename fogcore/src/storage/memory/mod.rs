//! Everything in memory, behind one lock: for tests, simulations, and fogs that may forget.

mod index;
mod journal;
mod links;
mod market;
mod signaling;
mod tasks;

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use self::index::TaskIndex;
use self::journal::Journal;
use self::links::Links;
use crate::error::Result;
use crate::id::{AccountId, NodeId, TaskId, TransferId};
use crate::ledger::{
    self, Account, AccountBalance, AccountFilter, Applied, BalanceEntry, Head, JournalEntry,
    LedgerError, LedgerStore, Place, Posted, Transfer, TransferFilter, TrialBalance, Verified,
};
use crate::registry::{
    Beat, Heartbeat, Node, NodeFilter, NodeRecord, NodeStore, PowerPolicy, page_limit,
};
use crate::scheduler::replicas::{Trust, TrustPolicy};
use crate::scheduler::{Explanation, LogLine, MAX_LOG_LINES, Tally, WorkingSet};
use crate::storage::check_batch;
use crate::time::Timestamp;

/// The memory store. As durable as the process.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
    signals: signaling::Signals,
}

#[derive(Debug, Default)]
struct State {
    nodes: BTreeMap<NodeId, NodeRecord>,
    set: WorkingSet,
    journal: Journal,
    index: TaskIndex,
    payloads: HashMap<TaskId, Bytes>,
    results: HashMap<TaskId, Bytes>,
    explanations: HashMap<TaskId, Explanation>,
    tallies: BTreeMap<NodeId, Tally>,
    logs: HashMap<TaskId, BTreeMap<u64, LogLine>>,
    checkpoints: HashMap<TaskId, Bytes>,
    links: Links,
    trust: BTreeMap<NodeId, Trust>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes in what a call changed.
    fn settle(&mut self, now: Timestamp) {
        let changes = self.set.book.take_changes();
        self.journal.record(changes, &self.set.book);
        let changes = self.set.take_changes();
        self.links.update(&changes);
        for id in changes.tasks {
            if let Some(task) = self.set.task(id) {
                self.index.update(task, now);
            }
        }
        self.payloads.extend(changes.payloads);
        self.results.extend(changes.results);
        self.explanations.extend(changes.explanations);
        for (node, more) in changes.tallies {
            self.tallies.entry(node).or_default().add(&more);
        }
        self.index.count(&changes.counts);
        for (node, agreed) in changes.trust {
            let trust = self.trust.entry(node).or_insert_with(|| Trust::unknown(now));
            trust.observe(agreed, now, &TrustPolicy::default());
        }
        for (id, line) in changes.logs {
            let log = self.logs.entry(id).or_default();
            let oldest = (line.number + 1).saturating_sub(MAX_LOG_LINES);
            log.insert(line.number, line);
            *log = log.split_off(&oldest);
        }
        self.checkpoints.extend(changes.checkpoints);
        for id in changes.finished {
            self.checkpoints.remove(&id);
        }
        for id in changes.purged {
            self.payloads.remove(&id);
            self.results.remove(&id);
            self.explanations.remove(&id);
            self.logs.remove(&id);
        }
    }

    fn each<T, R>(
        &mut self,
        items: Vec<T>,
        now: Timestamp,
        mut call: impl FnMut(&mut WorkingSet, T) -> Result<R>,
    ) -> Vec<Result<R>> {
        let answers = items.into_iter().map(|item| call(&mut self.set, item)).collect();
        self.settle(now);
        answers
    }
}

#[async_trait]
impl NodeStore for MemoryStore {
    async fn register(&self, node: Node, now: Timestamp) -> Result<NodeRecord> {
        node.check()?;
        let mut state = self.lock();
        let record = match state.nodes.get(&node.id) {
            Some(existing) => existing.registered_again(node, now),
            None => NodeRecord::new(node, now),
        };
        state.nodes.insert(record.node.id.clone(), record.clone());
        Ok(record)
    }

    async fn beat(
        &self,
        node: &NodeId,
        heartbeat: Heartbeat,
        now: Timestamp,
        policy: &PowerPolicy,
    ) -> Result<Beat> {
        let mut state = self.lock();
        let record = state.nodes.get_mut(node).ok_or_else(|| super::no_node(node))?;
        let accepted = record.beat(heartbeat, now, policy);
        let record = record.clone();
        Ok(if accepted { Beat::Accepted(record) } else { Beat::Stale(record) })
    }

    async fn node(&self, node: &NodeId) -> Result<Option<NodeRecord>> {
        Ok(self.lock().nodes.get(node).cloned())
    }

    async fn nodes(
        &self,
        filter: &NodeFilter,
        after: Option<&NodeId>,
        limit: usize,
    ) -> Result<Vec<NodeRecord>> {
        let limit = page_limit(limit)?;
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let state = self.lock();
        let later = state.nodes.range::<NodeId, _>((start, Bound::Unbounded));
        let wanted = later.map(|(_, record)| record).filter(|record| filter.matches(record));
        Ok(wanted.take(limit).cloned().collect())
    }

    async fn remove_node(&self, node: &NodeId) -> Result<bool> {
        Ok(self.lock().nodes.remove(node).is_some())
    }
}

#[async_trait]
impl LedgerStore for MemoryStore {
    async fn open_accounts(
        &self,
        accounts: Vec<Account>,
        now: Timestamp,
    ) -> Result<Vec<Result<Account>>> {
        check_batch(accounts.len(), ledger::MAX_BATCH)?;
        Ok(self.lock().each(accounts, now, |set, account| Ok(set.book.open(account, now)?.clone())))
    }

    async fn transfer(
        &self,
        transfers: Vec<Transfer>,
        now: Timestamp,
    ) -> Result<Vec<Result<Applied, LedgerError>>> {
        let state = &mut *self.lock();
        let answers = state.set.book.apply_batch(&transfers, now)?;
        state.settle(now);
        Ok(answers)
    }

    async fn expire_holds(&self, now: Timestamp, limit: usize) -> Result<Vec<Posted>> {
        let limit = page_limit(limit)?;
        let state = &mut *self.lock();
        let ended = state.set.book.expire_due(now, limit);
        state.settle(now);
        Ok(ended)
    }

    async fn account(&self, account: &AccountId) -> Result<Option<Account>> {
        Ok(self.lock().set.book.account(account).cloned())
    }

    async fn accounts(
        &self,
        filter: &AccountFilter,
        after: Option<&AccountId>,
        limit: usize,
    ) -> Result<Vec<Account>> {
        let limit = page_limit(limit)?;
        let state = self.lock();
        let wanted = state.set.book.accounts(after).filter(|account| filter.matches(account));
        Ok(wanted.take(limit).cloned().collect())
    }

    async fn posted(&self, transfer: TransferId) -> Result<Option<Posted>> {
        Ok(self.lock().set.book.transfer(transfer).cloned())
    }

    async fn transfers(
        &self,
        filter: &TransferFilter,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Vec<JournalEntry>> {
        let limit = page_limit(limit)?;
        let state = self.lock();
        Ok(state.journal.transfers(&state.set.book, filter, after, limit))
    }

    async fn balances(
        &self,
        account: &AccountId,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Vec<BalanceEntry>> {
        let limit = page_limit(limit)?;
        Ok(self.lock().journal.balances(account, after, limit))
    }

    async fn balance_at(
        &self,
        account: &AccountId,
        at: Timestamp,
    ) -> Result<Option<AccountBalance>> {
        Ok(self.lock().journal.balance_at(account, at))
    }

    async fn trial_balance(&self) -> Result<TrialBalance> {
        Ok(self.lock().set.book.trial_balance())
    }

    async fn verify(&self, anchors: &[Head]) -> Result<Verified> {
        let state = self.lock();
        Ok(state.journal.verify(&state.set.book, anchors)?)
    }
}
