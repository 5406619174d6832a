//! The handle on a fog: opened, asked, shut down.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fogcore::balancer::Autoscaler;
use fogcore::id::{NodeId, TaskId, TaskKind};
use fogcore::registry::{self, Beat, Heartbeat, NodeRecord};
use fogcore::time::Timestamp;

use crate::error::FogError;
use crate::events::Feeds;
use crate::handles::Counted;
use crate::node::{Node, NodeFilter, NodeStatus};
use crate::options::FogOptions;
use crate::runtime::Calls;
use crate::scaling::{ForeignHook, ForeignScaleHook, ScaleOptions};
use crate::task::{
    Explanation, Submission, SubmitAnswer, Task, TaskCount, TaskFilter, TaskLog, TaskRequest,
};
use crate::worker::{ForeignExecutor, Worker};

/// A fog: its nodes, tasks and accounts, in this process and all others on the same store.
#[derive(Debug, uniffi::Object)]
pub struct Fog {
    /// None once it was shut down: whoever still asks is told so, and the store is let go.
    fog: Mutex<Option<fogcore::Fog>>,
    pub(crate) calls: Calls,
    pub(crate) feeds: Feeds,
    _counted: Counted,
}

impl Fog {
    fn lock(&self) -> MutexGuard<'_, Option<fogcore::Fog>> {
        self.fog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`open_fog`].
    ///
    /// # Errors
    /// As there.
    pub async fn open(
        url: String,
        options: FogOptions,
        scaling: Option<ScaleOptions>,
        scale_hook: Option<Box<dyn ForeignScaleHook>>,
    ) -> Result<Arc<Self>, FogError> {
        let calls = Calls::default();
        let mut builder = fogcore::Fog::builder().url(&url).config(options.into());
        if let Some(hook) = scale_hook {
            let policy = scaling.unwrap_or_default().into();
            builder = builder.autoscaler(Autoscaler::new(policy)?, Arc::new(ForeignHook(hook)));
        }
        let fog = calls.finish(builder.open()).await?;
        let (feeds, fog) = (Feeds::default(), Mutex::new(Some(fog)));
        Ok(Arc::new(Self { fog, calls, feeds, _counted: Counted::new() }))
    }

    /// The core's handle.
    pub(crate) fn core(&self) -> Result<fogcore::Fog, FogError> {
        self.lock().clone().ok_or_else(FogError::shut_down)
    }
}

fn status(fog: &fogcore::Fog, record: NodeRecord) -> NodeStatus {
    let config = fog.config();
    NodeStatus::of(record, fog.clock().now(), config.liveness, &config.power)
}

fn limit(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// Opens the fog on the store that `url` names: `memory:` or `sqlite:PATH` (the file is made if
/// need be). With a `scale_hook`, an autoscaler asks it for more nodes, or gives some back; only
/// one process of a fog should have one.
///
/// # Errors
/// InvalidInput for options or a URL that make no sense; what the store says.
// No constructor: the generator forgets to rename what an asynchronous one returns.
#[uniffi::export]
pub async fn open_fog(
    url: String,
    options: FogOptions,
    scaling: Option<ScaleOptions>,
    scale_hook: Option<Box<dyn ForeignScaleHook>>,
) -> Result<Arc<Fog>, FogError> {
    Fog::open(url, options, scaling, scale_hook).await
}

#[uniffi::export]
impl Fog {
    /// Stops: workers of this fog take no more tasks, what runs has
    /// [`FogOptions::grace`](crate::FogOptions::grace) to end, the rest is given back. Whoever
    /// waits is told, and the store is let go. Again, it does nothing. Given up, it goes on.
    pub async fn shutdown(&self) {
        let Some(fog) = self.lock().take() else { return };
        let calls = self.calls.clone();
        let feeds = self.feeds.clone();
        // On a tracker of its own: it waits for all calls of this one.
        let all = async move {
            fog.shutdown().await;
            feeds.end();
            calls.end().await;
            drop(fog);
            Ok::<(), FogError>(())
        };
        if let Err(error) = Calls::default().finish(all).await {
            tracing::error!(%error, "the fog was not shut down in good order");
        }
    }

    /// The time of this fog's clock.
    ///
    /// # Errors
    /// Unavailable once it was shut down.
    pub fn now(&self) -> Result<Timestamp, FogError> {
        Ok(self.core()?.clock().now())
    }

    /// Adds a node, or updates it; opens its owner's account if need be.
    ///
    /// # Errors
    /// InvalidInput for what breaks a limit; what the store says.
    pub async fn register(&self, node: Node) -> Result<NodeStatus, FogError> {
        let fog = self.core()?;
        self.calls
            .finish(
                async move { Ok::<_, FogError>(status(&fog, fog.register(node.into()).await?)) },
            )
            .await
    }

    /// Takes the heartbeat of a node that no worker of this process beats for. One that is not
    /// newer than the latest changes nothing.
    ///
    /// # Errors
    /// NotFound for a node that is not registered.
    pub async fn heartbeat(
        &self,
        node: NodeId,
        heartbeat: Heartbeat,
    ) -> Result<NodeStatus, FogError> {
        let fog = self.core()?;
        let beat = async move {
            let (Beat::Accepted(record) | Beat::Stale(record)) = fog.beat(&node, heartbeat).await?;
            Ok::<_, FogError>(status(&fog, record))
        };
        self.calls.finish(beat).await
    }

    /// A node, if it is there.
    ///
    /// # Errors
    /// What the store says.
    pub async fn node(&self, node: NodeId) -> Result<Option<NodeStatus>, FogError> {
        let fog = self.core()?;
        let look = async move {
            Ok::<_, FogError>(fog.node(&node).await?.map(|record| status(&fog, record)))
        };
        self.calls.wait(look).await
    }

    /// The nodes that match, by id, beginning after `after`; at most `limit` (1–1,000).
    ///
    /// # Errors
    /// InvalidInput for a `limit` out of range.
    pub async fn nodes(
        &self,
        filter: NodeFilter,
        after: Option<NodeId>,
        limit: u32,
    ) -> Result<Vec<NodeStatus>, FogError> {
        let fog = self.core()?;
        let NodeFilter { serves, region } = filter;
        let filter = registry::NodeFilter { serves, region, ..Default::default() };
        let look = async move {
            let found = fog.nodes(&filter, after.as_ref(), self::limit(limit)).await?;
            Ok::<_, FogError>(found.into_iter().map(|one| status(&fog, one)).collect())
        };
        self.calls.wait(look).await
    }

    /// Forgets a node; false if it was not there.
    ///
    /// # Errors
    /// What the store says.
    pub async fn remove_node(&self, node: NodeId) -> Result<bool, FogError> {
        let fog = self.core()?;
        self.calls.finish(async move { fog.remove_node(&node).await }).await
    }

    /// Registers the node and begins to serve tasks of these kinds with the executor, in this
    /// process. `vitals` is how the node is now; [`Worker::update`] tells what changes.
    ///
    /// # Errors
    /// InvalidInput for what breaks a limit, or without kinds; what the store says.
    pub async fn serve(
        &self,
        node: Node,
        kinds: Vec<TaskKind>,
        executor: Box<dyn ForeignExecutor>,
        vitals: Heartbeat,
    ) -> Result<Arc<Worker>, FogError> {
        let fog = self.core()?;
        let calls = self.calls.clone();
        self.calls.finish(Worker::start(fog, calls, node, kinds, executor, vitals)).await
    }

    /// Submits one task.
    ///
    /// # Errors
    /// InvalidInput with the field's name, Exhausted if the payer cannot cover the budget or has
    /// too many open tasks, Conflict for an idempotency key with another content.
    pub async fn submit(&self, request: TaskRequest, payload: Vec<u8>) -> Result<Task, FogError> {
        let fog = self.core()?;
        let work = async move { fog.submit(request.into(), payload).await.map(Task::from) };
        self.calls.finish(work).await
    }

    /// Submits up to 1,000 tasks in one durable step, each on its own.
    ///
    /// # Errors
    /// What the store says; what is wrong with one task is in its answer.
    pub async fn submit_all(
        &self,
        submissions: Vec<Submission>,
    ) -> Result<Vec<SubmitAnswer>, FogError> {
        let fog = self.core()?;
        let work = async move {
            let all = submissions.into_iter().map(|one| (one.request.into(), one.payload.into()));
            let answers = fog.submit_all(all.collect()).await?;
            Ok::<_, FogError>(answers.into_iter().map(SubmitAnswer::from).collect())
        };
        self.calls.finish(work).await
    }

    /// A task as it is now.
    ///
    /// # Errors
    /// NotFound.
    pub async fn task(&self, task: TaskId) -> Result<Task, FogError> {
        let fog = self.core()?;
        self.calls.wait(async move { fog.task(task).await.map(Task::from) }).await
    }

    /// The tasks that match in the order of submission, beginning after the task `after`; at most
    /// `limit` (1–1,000).
    ///
    /// # Errors
    /// NotFound if `after` does not exist, InvalidInput for a `limit` out of range.
    pub async fn tasks(
        &self,
        filter: TaskFilter,
        after: Option<TaskId>,
        limit: u32,
    ) -> Result<Vec<Task>, FogError> {
        let fog = self.core()?;
        let look = async move {
            let found = fog.tasks(&filter.into(), after, self::limit(limit)).await?;
            Ok::<_, FogError>(found.into_iter().map(Task::from).collect())
        };
        self.calls.wait(look).await
    }

    /// How many tasks are in each state that has some.
    ///
    /// # Errors
    /// What the store says.
    pub async fn task_counts(&self) -> Result<Vec<TaskCount>, FogError> {
        let fog = self.core()?;
        let look = async move {
            let counts = fog.counts().await?.into_iter();
            Ok::<_, FogError>(counts.map(|(state, tasks)| TaskCount { state, tasks }).collect())
        };
        self.calls.wait(look).await
    }

    /// Waits until the task's state is final, wherever it is executed.
    ///
    /// # Errors
    /// NotFound; Unavailable once the fog shuts down.
    pub async fn wait(&self, task: TaskId) -> Result<Task, FogError> {
        let fog = self.core()?;
        self.calls.wait(async move { fog.wait(task).await.map(Task::from) }).await
    }

    /// What a task gave, if it succeeded and that is still kept.
    ///
    /// # Errors
    /// What the store says.
    pub async fn result(&self, task: TaskId) -> Result<Option<Vec<u8>>, FogError> {
        let fog = self.core()?;
        let look = async move { fog.result(task).await.map(|found| found.map(Vec::from)) };
        self.calls.wait(look).await
    }

    /// Calls a task off: its hold is freed, and whoever is at it is told, a worker of this process at
    /// once and any other one with its next renewal.
    ///
    /// # Errors
    /// NotFound, or Conflict if it ended otherwise.
    pub async fn cancel(&self, task: TaskId) -> Result<Task, FogError> {
        let fog = self.core()?;
        self.calls.finish(async move { fog.cancel(task).await.map(Task::from) }).await
    }

    /// Lets a task run that is held because one that it waits for ended without success.
    ///
    /// # Errors
    /// NotFound, or Conflict if it is not held.
    pub async fn resume(&self, task: TaskId) -> Result<Task, FogError> {
        let fog = self.core()?;
        self.calls.finish(async move { fog.resume(task).await.map(Task::from) }).await
    }

    /// Why a task's latest lease went where it went; none before the first.
    ///
    /// # Errors
    /// What the store says.
    pub async fn explanation(&self, task: TaskId) -> Result<Option<Explanation>, FogError> {
        let fog = self.core()?;
        let look =
            async move { fog.explanation(task).await.map(|found| found.map(Explanation::from)) };
        self.calls.wait(look).await
    }

    /// Where a task like this one would go if all nodes asked for it now, and why; or, if it would
    /// wait, what stands in its way. The best `top` nodes are told with every term.
    ///
    /// # Errors
    /// What the store says.
    pub async fn explain(&self, request: TaskRequest, top: u32) -> Result<Explanation, FogError> {
        let fog = self.core()?;
        let look =
            async move { fog.explain(&request.into(), limit(top)).await.map(Explanation::from) };
        self.calls.wait(look).await
    }

    /// The lines of a task's log that are kept, behind the one with the number `after` (0 for
    /// all), at most `limit` (1–1,000).
    ///
    /// # Errors
    /// NotFound; InvalidInput for a `limit` out of range.
    pub async fn log(
        &self,
        task: TaskId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<TaskLog>, FogError> {
        let fog = self.core()?;
        let look = async move {
            let lines = fog.log(task, after, self::limit(limit)).await?.into_iter();
            let lines = lines.map(|line| TaskLog { number: line.number, text: line.text });
            Ok::<_, FogError>(lines.collect())
        };
        self.calls.wait(look).await
    }
}

#[cfg(test)]
mod tests;
