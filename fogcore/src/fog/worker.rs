//! A node that works in this process: asks for tasks, executes them, and reports.
//!
//! Five loops share the state of a worker. One beats. One asks for tasks while slots are free.
//! One renews the leases of what runs, and drops what was lost. One reports what ended, as many at
//! a time as have ended meanwhile: that is what makes many small tasks cheap.
//! And one hears of tasks that are called off in this process.

mod called_off;
mod held;
mod job;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::held::Held;
use self::job::{Ended, Told, execute};
use super::{Fog, trouble::Trouble};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{TaskId, TaskKind};
use crate::registry::{Heartbeat, Node, Rates};
use crate::scheduler::{
    Assignment, Claim, Completion, Executor, JobMeter, News, Notes, Outcome, Results,
};

/// Tells how the node is, for each beat; the sequence number and the connections (running tasks)
/// are filled in.
pub type Vitals = Arc<dyn Fn() -> Heartbeat + Send + Sync>;

/// How many attempts that ended are reported in one step.
const REPORT_BATCH: usize = 256;

/// How often a report is tried while the store is away, before the lease is left to run out.
const REPORT_TRIES: u32 = 12;

/// Makes a [`Worker`].
pub struct WorkerBuilder {
    fog: Fog,
    node: Node,
    executors: BTreeMap<TaskKind, Arc<dyn Executor>>,
    vitals: Vitals,
}

impl std::fmt::Debug for WorkerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerBuilder").field("node", &self.node).finish_non_exhaustive()
    }
}

impl WorkerBuilder {
    pub(super) fn new(fog: Fog, node: Node) -> Self {
        Self { fog, node, executors: BTreeMap::new(), vitals: Arc::new(Heartbeat::default) }
    }

    /// Serves tasks of this kind with that executor.
    #[must_use]
    pub fn executor(mut self, kind: TaskKind, executor: Arc<dyn Executor>) -> Self {
        self.executors.insert(kind, executor);
        self
    }

    /// Reads the node's vital signs (battery, heat, utilisation) with `vitals` for each beat.
    #[must_use]
    pub fn vitals(self, vitals: Vitals) -> Self {
        Self { vitals, ..self }
    }

    /// Registers the node, with the kinds it serves, and begins to work. A node without slots
    /// gets one.
    ///
    /// # Errors
    /// InvalidInput for what breaks a limit or a worker without executors; what the store says.
    pub async fn start(self) -> Result<Worker> {
        if self.executors.is_empty() {
            return Err(Error::invalid("executors", "a worker needs at least one"));
        }
        let mut node = self.node;
        node.serves = self.executors.keys().cloned().collect();
        node.slots = node.slots.max(1);
        let record = self.fog.register(node).await?;
        let node = record.node;
        let slots = node.slots as usize;
        let (ended, reports) = mpsc::channel(2 * slots);
        let core = Arc::new(Core {
            stopping: self.fog.shared.stopping.child_token(),
            fog: self.fog,
            executors: self.executors,
            vitals: self.vitals,
            slots: Arc::new(Semaphore::new(slots)),
            held: Mutex::default(),
            jobs: TaskTracker::new(),
            throttle: watch::channel(false).0,
            node,
        });
        core.beat(1).await?;
        let (tasks, stopping) = (core.fog.shared.tasks.clone(), core.stopping.clone());
        let done = CancellationToken::new();
        let guard = done.clone().drop_guard();
        tasks.spawn(async move {
            core.run(ended, reports).await;
            drop(guard);
        });
        Ok(Worker { stopping, done })
    }
}

/// A worker at work. Dropping it stops it as [`Worker::stop`] does, without waiting.
#[derive(Debug)]
pub struct Worker {
    stopping: CancellationToken,
    done: CancellationToken,
}

impl Worker {
    /// Takes no more tasks, lets what runs end within [`FogConfig::grace`](super::FogConfig::grace),
    /// gives back the rest, and returns when no task is leased to the worker any more.
    pub async fn stop(self) {
        self.stopping.cancel();
        self.done.cancelled().await;
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

/// What the loops of a worker share.
struct Core {
    fog: Fog,
    node: Node,
    executors: BTreeMap<TaskKind, Arc<dyn Executor>>,
    vitals: Vitals,
    slots: Arc<Semaphore>,
    /// By task and fence: a task that was lost may be won again while its first attempt ends.
    held: Mutex<HashMap<(TaskId, u64), Held>>,
    jobs: TaskTracker,
    /// Whether jobs should do less, because the node is warm.
    throttle: watch::Sender<bool>,
    stopping: CancellationToken,
}

/// An attempt that ended, on its way to the store; its slot is free only after that.
struct Report {
    ended: Ended,
    _slot: OwnedSemaphorePermit,
}

fn is_failure(completion: &Completion) -> bool {
    matches!(completion.outcome, Outcome::Failed { .. })
}

impl Core {
    async fn run(self: Arc<Self>, ended: mpsc::Sender<Report>, reports: mpsc::Receiver<Report>) {
        let finished = CancellationToken::new();
        let called_off = self.hear_what_is_called_off(&finished);
        let work = async {
            self.pull(ended).await;
            self.drain().await;
        };
        // The reports end when the last job, which holds a sender, has ended.
        let report = async {
            self.report(reports).await;
            finished.cancel();
        };
        tokio::join!(work, report, self.renew(&finished), self.heartbeats(&finished), called_off);
    }

    /// Asks for tasks while slots are free.
    async fn pull(&self, ended: mpsc::Sender<Report>) {
        let shared = &self.fog.shared;
        let mut trouble = Trouble::with("asking for work");
        loop {
            let slot = tokio::select! {
                slot = self.slots.clone().acquire_owned() => slot,
                () = self.stopping.cancelled() => return,
            };
            let Ok(slot) = slot else { return };
            // Registered before asking, so that work submitted meanwhile is not slept through.
            let mut woken = std::pin::pin!(shared.work.notified());
            woken.as_mut().enable();
            if self.must_stop() {
                drop(slot);
                tokio::select! {
                    () = shared.clock.sleep(shared.config.idle_poll) => {}
                    () = self.stopping.cancelled() => return,
                }
                continue;
            }
            let wanted = (1 + self.slots.available_permits()).min(crate::registry::MAX_PAGE);
            // Not cut off by stopping: what was granted must be taken.
            let (granted, rates) = match self.fog.lease_priced(&self.node.id, wanted).await {
                Ok(granted) => {
                    trouble.over();
                    granted
                }
                Err(error) => {
                    trouble.failed(&error);
                    (Vec::new(), self.node.rates)
                }
            };
            if granted.is_empty() {
                drop(slot);
                tokio::select! {
                    () = woken => {}
                    () = shared.clock.sleep(trouble.wait(shared.config.idle_poll)) => {}
                    () = self.stopping.cancelled() => return,
                }
                continue;
            }
            let mut slot = Some(slot);
            for assignment in granted {
                // Nobody else takes slots, so those that were counted are there.
                let slot = slot.take().or_else(|| self.slots.clone().try_acquire_owned().ok());
                if let Some(slot) = slot {
                    self.begin(assignment, rates, slot, ended.clone());
                }
            }
        }
    }

    /// Whether the node is in use, or too hot, since the latest beat told how it is.
    fn must_stop(&self) -> bool {
        let policy = &self.fog.shared.config.power;
        (self.vitals)().power.is_some_and(|power| policy.must_stop(&power).is_err())
    }

    fn begin(
        &self,
        assignment: Assignment,
        rates: Rates,
        slot: OwnedSemaphorePermit,
        ended: mpsc::Sender<Report>,
    ) {
        let (sender, progress) = watch::channel(None);
        let cancelled = CancellationToken::new();
        let clock = self.fog.shared.clock.clone();
        let notes = Arc::new(Notes::default());
        let (stop, stopped) = watch::channel(None);
        let results = Results(self.fog.shared.stores.tasks.clone());
        let (notes_of_job, throttle) = (notes.clone(), self.throttle.subscribe());
        let told = Told { progress: sender, notes: notes_of_job, results, stop: stopped, throttle };
        let held = Held {
            renewed: clock.elapsed(),
            progress,
            notes,
            stop,
            drop_at: None,
            cancelled: cancelled.clone(),
        };
        self.lock().insert((assignment.task.id, assignment.task.fence), held);
        let executor = self.executors.get(&assignment.task.spec.kind).cloned();
        let node = Node { rates, ..self.node.clone() };
        let meter = JobMeter::new(self.fog.shared.meter.clone(), clock.clone());
        self.jobs.spawn(async move {
            let job = execute(executor, assignment, &node, told, cancelled, &*clock, meter);
            let ended_job = job.await;
            // The receiver outlives every job; without it there is nobody to tell.
            let _ = ended.send(Report { ended: ended_job, _slot: slot }).await;
        });
    }

    /// Lets what runs end in time, and takes the rest back.
    async fn drain(&self) {
        self.jobs.close();
        tokio::select! {
            () = self.jobs.wait() => {}
            () = self.fog.shared.clock.sleep(self.fog.shared.config.grace) => {
                for held in self.lock().values() {
                    held.cancelled.cancel();
                }
                self.jobs.wait().await;
            }
        }
    }

    /// Reports what ended, as many at a time as there are.
    async fn report(&self, mut reports: mpsc::Receiver<Report>) {
        let mut batch = Vec::new();
        while reports.recv_many(&mut batch, REPORT_BATCH).await > 0 {
            let (mut completions, mut claims) = (Vec::new(), Vec::new());
            for report in &batch {
                match &report.ended {
                    Ended::Reported(completion) => completions.push((**completion).clone()),
                    Ended::Dropped(claim) => claims.push(claim.clone()),
                }
            }
            let failed = completions.iter().filter(|one| is_failure(one)).map(|one| &one.claim);
            self.save(failed.chain(&claims)).await;
            self.complete(completions).await;
            if !claims.is_empty()
                && let Err(error) = self.fog.release(claims).await
            {
                tracing::warn!(%error, "leases could not be given back, they will run out");
            }
            let mut held = self.lock();
            for report in batch.drain(..) {
                let claim = report.ended.claim();
                held.remove(&(claim.task, claim.fence));
            }
        }
    }

    /// Hands in what attempts that were dropped still have to say: what they saved is for others.
    async fn save(&self, claims: impl Iterator<Item = &Claim>) {
        let last: Vec<(Claim, News)> = {
            let held = self.lock();
            let notes = |claim: &Claim| {
                let held = held.get(&(claim.task, claim.fence)).filter(|held| held.notes.any())?;
                Some((claim.clone(), held.notes.take()))
            };
            claims.filter_map(notes).collect()
        };
        if !last.is_empty()
            && let Err(error) = self.fog.renew(last).await
        {
            tracing::warn!(%error, "what dropped attempts saved is lost");
        }
    }

    async fn complete(&self, completions: Vec<Completion>) {
        if completions.is_empty() {
            return;
        }
        let shared = &self.fog.shared;
        let mut trouble = Trouble::with("reporting");
        for _ in 0..REPORT_TRIES {
            match self.fog.complete(completions.clone()).await {
                Ok(answers) => {
                    trouble.over();
                    for error in answers.into_iter().filter_map(Result::err) {
                        tracing::info!(%error, node = %self.node.id, "a report was refused");
                    }
                    return;
                }
                // Done work is worth some patience: the disk may be emptied, the lock released.
                Err(error) => {
                    trouble.failed(&error);
                    shared.clock.sleep(trouble.wait(shared.config.idle_poll)).await;
                }
            }
        }
    }

    /// Renews leases when a third of their time is over, and earlier where there is progress.
    async fn renew(&self, finished: &CancellationToken) {
        let (clock, config) = (&self.fog.shared.clock, &self.fog.shared.config);
        let third = config.lease / 3;
        let mut trouble = Trouble::with("renewing");
        loop {
            tokio::select! {
                () = finished.cancelled() => return,
                () = clock.sleep(third.min(config.progress_every)) => {}
            }
            let now = clock.elapsed();
            let mut due = Vec::new();
            for ((task, fence), held) in self.lock().iter_mut() {
                if held.drop_at.is_some_and(|end| end <= now) {
                    held.cancelled.cancel();
                }
                let moved = held.progress.has_changed().unwrap_or(false);
                if moved || held.notes.any() || now.saturating_sub(held.renewed) >= third {
                    let mut news = held.notes.take();
                    news.progress =
                        if moved { held.progress.borrow_and_update().clone() } else { None };
                    let (task, fence, node) = (*task, *fence, self.node.id.clone());
                    due.push((Claim { task, node, fence }, news));
                }
            }
            for some in due.chunks(crate::scheduler::MAX_BATCH) {
                match self.renew_some(some.to_vec(), now).await {
                    Ok(()) => trouble.over(),
                    Err(error) => trouble.failed(&error),
                }
            }
        }
    }

    async fn renew_some(&self, due: Vec<(Claim, News)>, now: std::time::Duration) -> Result<()> {
        let leases: Vec<_> = due.iter().map(|(claim, _)| (claim.task, claim.fence)).collect();
        let answers = match self.fog.renew(due.clone()).await {
            Ok(answers) => answers,
            Err(error) => {
                let held = self.lock();
                for (claim, news) in due {
                    if let Some(held) = held.get(&(claim.task, claim.fence)) {
                        held.notes.put_back(news);
                    }
                }
                return Err(error);
            }
        };
        let mut held = self.lock();
        for (lease, answer) in leases.into_iter().zip(answers) {
            let Some(held) = held.get_mut(&lease) else {
                continue;
            };
            match answer {
                Ok(task) => {
                    held.renewed = now;
                    if let Some(until) = task.lease.and_then(|lease| lease.preempt_at) {
                        held.ask_to_stop(until, &*self.fog.shared.clock);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    tracing::info!(%error, "a lease is lost, its work is dropped");
                    held.cancelled.cancel();
                }
                Err(error) => tracing::warn!(%error, task = %lease.0, "a renewal was refused"),
            }
        }
        Ok(())
    }

    async fn heartbeats(&self, finished: &CancellationToken) {
        let mut trouble = Trouble::with("beating");
        for sequence in 2.. {
            tokio::select! {
                () = finished.cancelled() => return,
                () = self.fog.shared.clock.sleep(self.fog.shared.config.heartbeat_every) => {}
            }
            match self.beat(sequence).await {
                Ok(()) => trouble.over(),
                Err(error) => trouble.failed(&error),
            }
        }
    }

    async fn beat(&self, sequence: u64) -> Result<()> {
        let connections = u32::try_from(self.lock().len()).unwrap_or(u32::MAX);
        let beat = Heartbeat { sequence, connections, ..(self.vitals)() };
        let (policy, power) = (&self.fog.shared.config.power, beat.power.as_ref());
        let must_stop = power.is_some_and(|power| policy.must_stop(power).is_err());
        self.throttle.send_replace(power.is_some_and(|power| policy.must_throttle(power)));
        self.fog.beat(&self.node.id, beat).await?;
        if must_stop {
            // Its leases end early now: the jobs hear of it with the next look, not in a third.
            self.lock().values_mut().for_each(|held| held.renewed = std::time::Duration::ZERO);
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(TaskId, u64), Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
