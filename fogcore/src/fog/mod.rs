//! The whole: one handle on a fog, its stores, and the loops that keep it going.
//!
//! [`Fog`] is cheap to clone. Loops in the background take back leases that ran out, let retries
//! go when their backoff is over, and tell who went silent. They stop when the last clone is
//! dropped, or in good order with [`Fog::shutdown`], which leaves no task leased to this process.
//!
//! ```
//! use fogcore::registry::Node;
//! use fogcore::scheduler::{Output, TaskSpec, TaskState, executor_fn};
//! use fogcore::{Fog, amount::Asset};
//!
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
//! let fog = Fog::open("memory:").await?;
//! let node = Node { owner: Some("bob".parse()?), slots: 4, ..Node::new("laptop".parse()?) };
//! let node = Node { rates: fogcore::registry::Rates {
//!     per_task: Asset::FOG.parse("0.01")?, ..Default::default()
//! }, ..node };
//! let shout = executor_fn(|job| async move {
//!     Ok(Output { result: job.payload.to_ascii_uppercase().into(), bytes_moved: 0 })
//! });
//! let worker = fog.worker(node).executor("shout".parse()?, shout).start().await?;
//!
//! let alice = "alice".parse()?;
//! fog.ledger().mint(&alice, Asset::FOG.parse("100")?).await?;
//! let spec = TaskSpec::new("shout".parse()?).paid_by(alice, Asset::FOG.parse("0.5")?);
//! let task = fog.submit(spec, "hello").await?;
//!
//! let done = fog.wait(task.id).await?;
//! assert_eq!(done.state, TaskState::Succeeded);
//! assert_eq!(fog.result(task.id).await?.unwrap(), "HELLO");
//! assert_eq!(Asset::FOG.display(done.paid).to_string(), "0.01 FOG");
//! println!("{}", fog.explanation(task.id).await?.unwrap());
//!
//! worker.stop().await;
//! fog.shutdown().await;
//! # Ok::<(), fogcore::Error>(())
//! # }).unwrap();
//! ```

mod builder;
mod config;
mod ledger;
mod maintenance;
mod worker;

use std::{collections::BTreeMap, sync::Arc, sync::Mutex, sync::PoisonError, time::Duration};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use self::maintenance::LivenessWatch;
pub use self::{
    builder::FogBuilder,
    config::FogConfig,
    ledger::{Ledger, MINT},
    worker::{Vitals, Worker, WorkerBuilder},
};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, EventBus, Notice, Subscription};
use crate::id::{IdSource, NodeId, TaskId};
use crate::ledger::Account;
use crate::registry::{Beat, Heartbeat, Node, NodeFilter, NodeRecord};
use crate::scheduler::{
    Assignment, Candidate, Claim, Completion, Explanation, LeaseRequest, NewTask, Renewal,
    SchedulerError, Submitted, Tally, Task, TaskCounts, TaskFilter, TaskSpec, TaskState,
};
use crate::storage::Stores;
use crate::time::Clock;

/// A handle on a fog. Clones share everything.
#[derive(Clone, Debug)]
pub struct Fog {
    shared: Arc<Shared>,
    /// Stops the loops with the last clone.
    _stop: Arc<DropGuard>,
}

/// What the handle and the background loops share.
#[derive(Debug)]
pub(crate) struct Shared {
    stores: Stores,
    clock: Arc<dyn Clock>,
    config: FogConfig,
    ids: IdSource,
    dice: Mutex<StdRng>,
    events: EventBus,
    /// Wakes idle workers of this process.
    work: Notify,
    stopping: CancellationToken,
    tasks: TaskTracker,
    liveness: Mutex<LivenessWatch>,
    rivals: Mutex<Option<(Duration, Arc<Vec<NodeRecord>>)>>,
}

impl Fog {
    /// A fog on the store that `url` names (see [`storage::open`](crate::storage::open)), with
    /// the machine's clock and the default configuration.
    ///
    /// # Errors
    /// What the store says if it cannot be opened.
    pub async fn open(url: &str) -> Result<Self> {
        Self::builder().url(url).open().await
    }

    /// A fog of your own making.
    #[must_use]
    pub fn builder() -> FogBuilder {
        FogBuilder::default()
    }

    /// How it behaves.
    #[must_use]
    pub fn config(&self) -> &FogConfig {
        &self.shared.config
    }

    /// Its clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.clock
    }

    /// Its accounts and transfers.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        Ledger::new(self.shared.clone())
    }

    /// What happens in this process from now on.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        self.shared.events.subscribe()
    }

    /// A worker that executes tasks as `node`, in this process.
    #[must_use]
    pub fn worker(&self, node: Node) -> WorkerBuilder {
        WorkerBuilder::new(self.clone(), node)
    }

    /// Adds a node, or updates it; opens its owner's account if need be.
    ///
    /// # Errors
    /// InvalidInput for what breaks a limit; what the store says.
    pub async fn register(&self, node: Node) -> Result<NodeRecord> {
        let shared = &self.shared;
        node.check()?;
        let now = shared.clock.now();
        if let Some(owner) = &node.owner {
            let account = Account::new(owner.clone(), shared.config.asset.clone());
            self.ledger().open_account(account.limited_to_credits()).await?;
        }
        let record = shared.stores.nodes.register(node, now).await?;
        shared.forget_rivals();
        shared.events.publish(Event::NodeRegistered { node: record.node.id.clone() });
        Ok(record)
    }

    /// Takes a node's heartbeat.
    ///
    /// # Errors
    /// NotFound for a node that is not registered.
    pub async fn beat(&self, node: &NodeId, heartbeat: Heartbeat) -> Result<Beat> {
        let (now, power) = (self.shared.clock.now(), &self.shared.config.power);
        self.shared.stores.nodes.beat(node, heartbeat, now, power).await
    }

    /// A node's record.
    ///
    /// # Errors
    /// What the store says.
    pub async fn node(&self, node: &NodeId) -> Result<Option<NodeRecord>> {
        self.shared.stores.nodes.node(node).await
    }

    /// The nodes that match, by id, beginning after `after`; at most `limit` (1–1,000).
    ///
    /// # Errors
    /// InvalidInput for a `limit` out of range.
    pub async fn nodes(
        &self,
        filter: &NodeFilter,
        after: Option<&NodeId>,
        limit: usize,
    ) -> Result<Vec<NodeRecord>> {
        self.shared.stores.nodes.nodes(filter, after, limit).await
    }

    /// Forgets a node; false if it was not there.
    ///
    /// # Errors
    /// What the store says.
    pub async fn remove_node(&self, node: &NodeId) -> Result<bool> {
        let removed = self.shared.stores.nodes.remove_node(node).await?;
        if removed {
            self.shared.forget_rivals();
            self.shared.events.publish(Event::NodeRemoved { node: node.clone() });
        }
        Ok(removed)
    }

    /// Submits one task; see [`Fog::submit_all`].
    ///
    /// # Errors
    /// As there.
    pub async fn submit(&self, spec: TaskSpec, payload: impl Into<Bytes>) -> Result<Task> {
        let mut answers = self.submit_all(vec![(spec, payload.into())]).await?;
        let answer = answers.pop().unwrap_or_else(|| Err(no_answer()))?;
        Ok(answer.task)
    }

    /// Submits up to 1,000 tasks in one durable step, each on its own: their budgets are
    /// reserved, and they wait for nodes. What was submitted before under the same idempotency
    /// key is given back as it is.
    ///
    /// # Errors
    /// The outer error is the store's. The inner ones: InvalidInput with the field's name,
    /// Exhausted if the payer cannot cover the budget, Conflict for a key with another content.
    pub async fn submit_all(
        &self,
        submissions: Vec<(TaskSpec, Bytes)>,
    ) -> Result<Vec<Result<Submitted>>> {
        let shared = &self.shared;
        let now = shared.clock.now();
        let new = submissions
            .into_iter()
            .map(|(spec, payload)| NewTask { id: shared.ids.task(now), spec: spec.into(), payload })
            .collect();
        let answers = shared.stores.tasks.submit(new, now).await?;
        let mut any = false;
        for submitted in answers.iter().flatten().filter(|submitted| submitted.new) {
            any = true;
            shared.events.publish(Event::TaskQueued { task: submitted.task.id });
        }
        if any {
            shared.work.notify_waiters();
        }
        Ok(answers)
    }

    /// A task as it is now.
    ///
    /// # Errors
    /// NotFound.
    pub async fn task(&self, task: TaskId) -> Result<Task> {
        let found = self.shared.stores.tasks.task(task).await?;
        found.ok_or_else(|| SchedulerError::TaskNotFound(task).into())
    }

    /// The tasks that match in the order of submission, beginning after the task `after`; at
    /// most `limit` (1–1,000).
    ///
    /// # Errors
    /// NotFound if `after` does not exist, InvalidInput for a `limit` out of range.
    pub async fn tasks(
        &self,
        filter: &TaskFilter,
        after: Option<TaskId>,
        limit: usize,
    ) -> Result<Vec<Task>> {
        self.shared.stores.tasks.tasks(filter, after, limit).await
    }

    /// What a task gave, if it succeeded.
    ///
    /// # Errors
    /// What the store says.
    pub async fn result(&self, task: TaskId) -> Result<Option<Bytes>> {
        self.shared.stores.tasks.result(task).await
    }

    /// Why a task's latest lease went where it went.
    ///
    /// # Errors
    /// What the store says.
    pub async fn explanation(&self, task: TaskId) -> Result<Option<Explanation>> {
        self.shared.stores.tasks.explanation(task).await
    }

    /// Calls a task off: its hold is freed, and whoever is at it is told with its next renewal.
    ///
    /// # Errors
    /// NotFound, or Conflict if it ended otherwise.
    pub async fn cancel(&self, task: TaskId) -> Result<Task> {
        let task = self.shared.stores.tasks.cancel(task, self.shared.clock.now()).await?;
        self.shared.announce(&task);
        Ok(task)
    }

    /// How many tasks are in each state.
    ///
    /// # Errors
    /// What the store says.
    pub async fn counts(&self) -> Result<TaskCounts> {
        self.shared.stores.tasks.counts().await
    }

    /// What each node did so far.
    ///
    /// # Errors
    /// What the store says.
    pub async fn tallies(&self) -> Result<BTreeMap<NodeId, Tally>> {
        self.shared.stores.tasks.tallies().await
    }

    /// Waits until the task's state is final, wherever it is executed.
    ///
    /// # Errors
    /// NotFound; what the store says.
    pub async fn wait(&self, task: TaskId) -> Result<Task> {
        // Subscribed before the first look, so that nothing can happen in between.
        let mut events = self.subscribe();
        loop {
            let found = self.task(task).await?;
            if found.state.is_final() {
                return Ok(found);
            }
            let ended = async {
                while let Some(notice) = events.next().await {
                    match notice {
                        Notice::Event(
                            Event::TaskSucceeded { task: about, .. }
                            | Event::TaskEnded { task: about, .. },
                        ) if about == task => return,
                        Notice::Missed(_) => return,
                        Notice::Event(_) => {}
                    }
                }
            };
            tokio::select! {
                () = ended => {}
                // Other processes' events are not heard here.
                () = self.shared.clock.sleep(self.shared.config.idle_poll) => {}
            }
        }
    }

    /// Gives `node` leases on at most `limit` (1–1,000) tasks that it is the choice for.
    ///
    /// # Errors
    /// NotFound for a node that is not registered.
    pub async fn lease(&self, node: &NodeId, limit: usize) -> Result<Vec<Assignment>> {
        let shared = &self.shared;
        let (now, config) = (shared.clock.now(), &shared.config);
        let record = shared.stores.nodes.node(node).await?;
        let record = record.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("there is no node \"{node}\""))
        })?;
        let judge = |record| Candidate::judge(record, now, config.liveness, &config.power);
        let asker = judge(&record);
        let rivals = shared.draw_rivals(&record.node).await?.iter().map(judge).collect();
        let (policy, duration) = (config.placement, config.lease);
        let request = LeaseRequest { asker, rivals, policy, limit, duration };
        let assignments = shared.stores.tasks.lease(request, now).await?;
        for Assignment { task, .. } in &assignments {
            let (id, node, attempt) = (task.id, node.clone(), task.attempts);
            shared.events.publish(Event::TaskLeased { task: id, node, attempt });
        }
        Ok(assignments)
    }

    /// Extends leases by [`FogConfig::lease`] from now, and keeps their holders' progress.
    ///
    /// # Errors
    /// Inner: Conflict for a lease that is not the current one – the work is in vain.
    pub async fn renew(
        &self,
        claims: Vec<(Claim, Option<crate::scheduler::Progress>)>,
    ) -> Result<Vec<Result<Task>>> {
        let shared = &self.shared;
        let now = shared.clock.now();
        let expires_at = now.saturating_add(shared.config.lease);
        let renewals: Vec<_> = claims
            .into_iter()
            .map(|(claim, progress)| Renewal { claim, expires_at, progress })
            .collect();
        let news: Vec<_> = renewals.iter().map(|renewal| renewal.progress.is_some()).collect();
        let answers = shared.stores.tasks.renew(renewals, now).await?;
        for task in answers.iter().zip(news).filter(|(_, news)| *news).flat_map(|(a, _)| a) {
            let done = task.progress.as_ref().map_or(0.0, |progress| progress.done);
            shared.events.publish(Event::TaskProgressed { task: task.id, done });
        }
        Ok(answers)
    }

    /// Ends attempts, and settles their money in the same step.
    ///
    /// # Errors
    /// Inner: Conflict for a lease that is not the current one – it pays nothing.
    pub async fn complete(&self, completions: Vec<Completion>) -> Result<Vec<Result<Task>>> {
        let shared = &self.shared;
        let answers = shared.stores.tasks.complete(completions, shared.clock.now()).await?;
        answers.iter().flatten().for_each(|task| shared.announce(task));
        Ok(answers)
    }

    /// Gives leases back: the tasks wait again, and the attempt does not count.
    ///
    /// # Errors
    /// Inner: Conflict for a lease that is not the current one.
    pub async fn release(&self, claims: Vec<Claim>) -> Result<Vec<Result<Task>>> {
        let shared = &self.shared;
        let answers = shared.stores.tasks.release(claims, shared.clock.now()).await?;
        answers.iter().flatten().for_each(|task| shared.announce(task));
        Ok(answers)
    }

    /// Does once what the background loop does all the time: ends leases and deadlines that ran
    /// out, lets retries go, and tells who went silent or came back. For tests and simulations.
    ///
    /// # Errors
    /// What the store says.
    pub async fn maintain(&self) -> Result<()> {
        self.shared.maintain().await?;
        self.shared.watch_liveness().await
    }

    /// Stops: workers of this process take no more tasks, what runs has [`FogConfig::grace`] to
    /// end, the rest is given back, the loops stop. No task stays leased to this process.
    pub async fn shutdown(&self) {
        self.shared.stopping.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl Shared {
    /// Tells the bus what a task's new state means.
    fn announce(&self, task: &Task) {
        let reason = || task.failure.clone().unwrap_or_default();
        self.events.publish(match (task.state, &task.done_by) {
            (TaskState::Succeeded, Some(node)) => {
                Event::TaskSucceeded { task: task.id, node: node.clone(), paid: task.paid }
            }
            (TaskState::Queued | TaskState::Leased, _) => {
                self.work.notify_waiters();
                Event::TaskRetrying { task: task.id, reason: reason() }
            }
            _ => Event::TaskEnded { task: task.id, reason: reason() },
        });
    }

    /// Some other nodes that might serve what this one serves.
    async fn draw_rivals(&self, asker: &Node) -> Result<Vec<NodeRecord>> {
        if self.config.max_rivals == 0 {
            return Ok(Vec::new());
        }
        let known = self.known_nodes().await?;
        let may: Vec<_> = known
            .iter()
            .filter(|record| record.node.id != asker.id && record.node.slots > 0)
            .filter(|record| !record.node.serves.is_disjoint(&asker.serves))
            .collect();
        if may.len() <= self.config.max_rivals {
            return Ok(may.into_iter().cloned().collect());
        }
        let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(may.sample(&mut *dice, self.config.max_rivals).map(|record| (*record).clone()).collect())
    }

    /// A snapshot of the registry that is a moment old: good enough to weigh rivals by.
    async fn known_nodes(&self) -> Result<Arc<Vec<NodeRecord>>> {
        let now = self.clock.elapsed();
        // Half a second, so that who has just registered elsewhere is soon weighed, too.
        let fresh = (self.config.heartbeat_every / 2).min(Duration::from_millis(500));
        let cached = self.rivals.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, nodes)) = cached
            && now.saturating_sub(at) < fresh
        {
            return Ok(nodes);
        }
        let limit = crate::registry::MAX_PAGE;
        let nodes = self.stores.nodes.nodes(&NodeFilter::default(), None, limit).await?;
        let nodes = Arc::new(nodes);
        let mut cache = self.rivals.lock().unwrap_or_else(PoisonError::into_inner);
        *cache = Some((now, nodes.clone()));
        Ok(nodes)
    }

    fn forget_rivals(&self) {
        *self.rivals.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// A store that answers fewer items than it was given.
fn no_answer() -> Error {
    Error::new(ErrorKind::Internal, "the store did not answer every item")
}
