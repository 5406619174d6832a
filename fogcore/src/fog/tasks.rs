//! What runs where: tasks are submitted, leased, renewed, ended and looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use bytes::Bytes;

use super::{Fog, Shared};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Notice};
use crate::id::{NodeId, TaskId};
use crate::registry::Rates;
use crate::scheduler::queue::forecast::{Forecast, LatePolicy, forecast};
use crate::scheduler::replicas::Trust;
use crate::scheduler::{
    Assignment, Claim, Completion, Explanation, LeaseRequest, LogLine, NewTask, News, Renewal,
    SchedulerError, Submitted, Tally, Task, TaskCounts, TaskFilter, TaskSpec, TaskState,
};
use crate::time::Timestamp;

impl Fog {
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
    /// The outer error is the store's. The inner ones: InvalidInput with the field's name (also for
    /// a gang: nodes ask for tasks one by one, so only a [`Cluster`](crate::scheduler::Cluster)
    /// can place it), Exhausted if the payer cannot cover the budget or has too many open tasks
    /// ([`FogConfig::queue`](super::FogConfig::queue)) or the task does not want to be
    /// [late](TaskSpec::late) and would be, Conflict for a key with another content.
    pub async fn submit_all(
        &self,
        submissions: Vec<(TaskSpec, Bytes)>,
    ) -> Result<Vec<Result<Submitted>>> {
        let shared = &self.shared;
        let now = shared.clock.now();
        let (mut new, mut refused) = (Vec::with_capacity(submissions.len()), Vec::new());
        for (place, (spec, payload)) in submissions.into_iter().enumerate() {
            match self.refuse(&spec, now).await {
                Ok(()) => {
                    new.push(NewTask { id: shared.ids.task(now), spec: spec.into(), payload });
                }
                Err(error) => refused.push((place, error)),
            }
        }
        let mut answers = shared.stores.tasks.submit(new, shared.config.queue, now).await?;
        for (place, error) in refused {
            answers.insert(place.min(answers.len()), Err(error));
        }
        let mut any = false;
        for submitted in answers.iter().flatten().filter(|submitted| submitted.new) {
            any = true;
            if submitted.task.state == TaskState::Queued {
                shared.events.publish(Event::TaskQueued { task: submitted.task.id });
            } else {
                shared.announce(&submitted.task);
            }
        }
        if any {
            shared.work.notify_waiters();
        }
        Ok(answers)
    }

    /// When a task like this one would begin and end if it were submitted now, as far as this
    /// process can tell: it knows how long tasks took that ended here, and which nodes are there.
    ///
    /// # Errors
    /// What the store says.
    pub async fn forecast(&self, spec: &TaskSpec) -> Result<Option<Forecast>> {
        let shared = &self.shared;
        let (known, now) = (shared.known_nodes().await?, shared.clock.now());
        let able: Vec<_> = known
            .iter()
            .map(|record| shared.judge(record, now))
            .filter(|node| node.never(&spec.kind, &spec.requirements).is_none())
            .collect();
        let slots = able.iter().map(|node| u64::from(node.node.slots)).sum();
        let mut ahead = shared.stores.tasks.ahead(spec.priority, spec.deadline).await?;
        // What these nodes do not do keeps none of them busy.
        let is_theirs = |kind: &_| able.iter().any(|node| node.node.serves.contains(kind));
        ahead.queued.retain(|kind, _| is_theirs(kind));
        ahead.running.retain(|kind, _| is_theirs(kind));
        let durations = shared.durations.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(forecast(&spec.kind, &ahead, &durations, slots))
    }

    /// Refuses what cannot be kept: a gang, which would begin in parts, and a task that is expected
    /// to be late, if it says that it does not want to be.
    async fn refuse(&self, spec: &TaskSpec, now: Timestamp) -> Result<()> {
        if spec.requirements.gang.is_some() {
            let reason = "nodes ask for tasks one by one; only a cluster places gangs";
            return Err(Error::invalid("requirements.gang", reason));
        }
        let (Some(deadline), false) = (spec.deadline, spec.late == LatePolicy::Accept) else {
            return Ok(());
        };
        let Some(forecast) = self.forecast(spec).await? else { return Ok(()) };
        let expected = match spec.late {
            LatePolicy::RefuseEnd => forecast.ends_in,
            LatePolicy::Accept | LatePolicy::RefuseBegin => forecast.begins_in,
        };
        let begin = spec.not_before.map_or(now, |from| from.max(now));
        // A delay passes while others are worked on.
        let expected = now.saturating_add(expected).max(begin);
        if expected <= deadline {
            return Ok(());
        }
        Err(SchedulerError::WouldBeLate { deadline, expected }.into())
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

    /// What a task gave, if it succeeded and that is still kept; see
    /// [`QueuePolicy::retain_for`](crate::scheduler::QueuePolicy::retain_for).
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

    /// The lines of a task's log that are kept, behind the one with the number `after` (0 for all),
    /// at most `limit` (1–1,000).
    ///
    /// # Errors
    /// NotFound; InvalidInput for a `limit` out of range.
    pub async fn log(&self, task: TaskId, after: u64, limit: usize) -> Result<Vec<LogLine>> {
        self.task(task).await?;
        self.shared.stores.tasks.log(task, after, limit).await
    }

    /// Calls a task off: its hold is freed, and whoever is at it is told, a worker of this process at
    /// once and any other one with its next renewal.
    ///
    /// # Errors
    /// NotFound, or Conflict if it ended otherwise.
    pub async fn cancel(&self, task: TaskId) -> Result<Task> {
        let now = self.shared.clock.now();
        let task = self.shared.stores.tasks.cancel(task, now).await?;
        // Without a worker, nobody hears it.
        let _ = self.shared.called_off.send(task.id);
        if is_news(&task, now) {
            self.shared.announce(&task);
        }
        self.shared.advance_after(&[&task]).await;
        Ok(task)
    }

    /// Lets a task run that is held because one that it waits for ended without success; see
    /// [`ParentFailure::Hold`](crate::scheduler::ParentFailure::Hold).
    ///
    /// # Errors
    /// NotFound, or Conflict if it is not held.
    pub async fn resume(&self, task: TaskId) -> Result<Task> {
        let task = self.shared.stores.tasks.resume(task, self.shared.clock.now()).await?;
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
        Ok(self.lease_priced(node, limit).await?.0)
    }

    /// The same, with the rates at which the tasks that pay are done.
    pub(super) async fn lease_priced(
        &self,
        node: &NodeId,
        limit: usize,
    ) -> Result<(Vec<Assignment>, Rates)> {
        let shared = &self.shared;
        let (now, config) = (shared.clock.now(), &shared.config);
        let record = shared.stores.nodes.node(node).await?;
        let mut record = record.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("there is no node \"{node}\""))
        })?;
        // What the node offers comes before its rates: it is weighed, and paid, by that.
        let rates = shared.rates_now(&record.node).await?;
        record.node.rates = rates;
        let judge = |record| shared.judge(record, now);
        let asker = judge(&record);
        let rivals = shared.draw_rivals(&record.node).await?.iter().map(judge).collect();
        let (policy, duration, shares) = (config.placement, config.lease, shared.shares());
        let request = LeaseRequest { asker, rivals, policy, shares, limit, duration };
        let assignments = shared.stores.tasks.lease(request, now).await?;
        for Assignment { task, .. } in &assignments {
            let (id, node, attempt) = (task.id, node.clone(), task.attempts);
            shared.events.publish(Event::TaskLeased { task: id, node, attempt });
        }
        Ok((assignments, rates))
    }

    /// Extends leases by [`FogConfig::lease`](super::FogConfig::lease) from now, and keeps their
    /// holders' progress, log and checkpoint.
    ///
    /// # Errors
    /// Inner: Conflict for a lease that is not the current one – the work is in vain.
    pub async fn renew(&self, claims: Vec<(Claim, News)>) -> Result<Vec<Result<Task>>> {
        let shared = &self.shared;
        let now = shared.clock.now();
        let expires_at = now.saturating_add(shared.config.lease);
        let renewals: Vec<_> =
            claims.into_iter().map(|(claim, news)| Renewal { claim, expires_at, news }).collect();
        let moved: Vec<_> = renewals.iter().map(|one| one.news.progress.is_some()).collect();
        let answers = shared.stores.tasks.renew(renewals, now).await?;
        for task in answers.iter().zip(moved).filter(|(_, moved)| *moved).flat_map(|(a, _)| a) {
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
        let now = shared.clock.now();
        let answers = shared.stores.tasks.complete(completions, now).await?;
        let news = || answers.iter().flatten().filter(|task| is_news(task, now));
        let succeeded = news().filter_map(|task| Some((task, task.usage?.busy?)));
        {
            let mut durations = shared.durations.lock().unwrap_or_else(PoisonError::into_inner);
            for (task, busy) in succeeded {
                durations.observe(&task.spec.kind, busy);
            }
        }
        news().for_each(|task| shared.learn_of(task));
        news().for_each(|task| shared.announce(task));
        shared.tell_of_replicas(news()).await;
        shared.advance_after(&news().collect::<Vec<_>>()).await;
        Ok(answers)
    }

    /// What was seen of the nodes whose results were compared with others' (tasks of the
    /// [classes](TaskSpec::sla) S and A).
    ///
    /// # Errors
    /// What the store says.
    pub async fn trust(&self) -> Result<BTreeMap<NodeId, Trust>> {
        self.shared.stores.tasks.trust().await
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
}

/// Whether what became of a task became of it now: who reports an end again hears the same answer,
/// but it is told only once.
fn is_news(task: &Task, now: Timestamp) -> bool {
    !task.state.is_final() || task.ended_at == Some(now)
}

/// How many tasks that wait for others are looked at in one step.
const ADVANCE: usize = 1_000;

impl Shared {
    /// Tells what became of the tasks that these are replicas of, if they ended with them.
    async fn tell_of_replicas(&self, ended: impl Iterator<Item = &Task>) {
        let of = ended.filter(|task| task.state.is_final());
        let of: BTreeSet<_> = of.filter_map(|task| Some(task.part.as_ref()?.of)).collect();
        for id in of {
            // An event is a hint: whoever needs to know asks the store.
            if let Ok(Some(task)) = self.stores.tasks.task(id).await
                && task.state.is_final()
            {
                self.announce(&task);
                self.advance_after(&[&task]).await;
            }
        }
    }

    /// Looks at the tasks that wait for these, if they ended. What fails here, maintenance does.
    async fn advance_after(&self, tasks: &[&Task]) {
        if tasks.iter().any(|task| task.awaited && task.state.is_final())
            && let Err(error) = self.advance().await
        {
            tracing::warn!(%error, "tasks that wait for others were not looked at");
        }
    }

    /// Looks at the tasks that wait for others that ended, and at those that wait for these.
    pub(super) async fn advance(&self) -> Result<()> {
        loop {
            let moved = self.stores.tasks.advance(self.clock.now(), ADVANCE).await?;
            moved.iter().for_each(|task| self.announce(task));
            if moved.is_empty() {
                return Ok(());
            }
        }
    }

    /// Tells the bus what a task's new state means.
    pub(super) fn announce(&self, task: &Task) {
        let reason = || task.failure.clone().unwrap_or_default();
        self.events.publish(match (task.state, &task.done_by) {
            (TaskState::Succeeded, Some(node)) => {
                Event::TaskSucceeded { task: task.id, node: node.clone(), paid: task.paid }
            }
            // Held: nothing moves until somebody decides.
            (TaskState::Waiting, _) => return,
            (TaskState::Queued, _) if task.fence == 0 => {
                self.work.notify_waiters();
                Event::TaskQueued { task: task.id }
            }
            (TaskState::Queued | TaskState::Leased, _) => {
                self.work.notify_waiters();
                Event::TaskRetrying { task: task.id, reason: reason() }
            }
            _ => Event::TaskEnded { task: task.id, reason: reason() },
        });
    }
}

/// A store that answers fewer items than it was given.
pub(super) fn no_answer() -> Error {
    Error::new(ErrorKind::Internal, "the store did not answer every item")
}
