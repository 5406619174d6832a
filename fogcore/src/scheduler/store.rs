//! The port through which tasks are kept, and what is said through it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::queue::{Ahead, FairShares, QueuePolicy, Victim};
use super::replicas::Trust;
use super::{
    Candidate, Explanation, LogLine, PlacementPolicy, Progress, Task, TaskSpec, TaskState, Usage,
};
use crate::amount::Amount;
use crate::error::Result;
use crate::id::{AccountId, NodeId, TaskId, TaskKind};
use crate::time::Timestamp;

/// The most tasks in one call.
pub const MAX_BATCH: usize = 1_000;

/// A task to be submitted, with the id that its client made.
#[derive(Clone, Debug, PartialEq)]
pub struct NewTask {
    /// Its id.
    pub id: TaskId,
    /// What is asked.
    pub spec: Arc<TaskSpec>,
    /// What it is asked with.
    pub payload: Bytes,
}

/// What became of a submission.
#[derive(Clone, Debug, PartialEq)]
pub struct Submitted {
    /// The task.
    pub task: Task,
    /// Whether it is new; false if the same was submitted before.
    pub new: bool,
}

/// A node's wish for work.
#[derive(Clone, Debug)]
pub struct LeaseRequest {
    /// Who asks. Only kinds that its registration serves are given.
    pub asker: Candidate,
    /// Others that might be the better choice; few, because each is weighed for each task.
    pub rivals: Vec<Candidate>,
    /// How to weigh them.
    pub policy: PlacementPolicy,
    /// What the payers' shares are measured by.
    pub shares: FairShares,
    /// The most tasks wanted, 1–1,000.
    pub limit: usize,
    /// How long the lease is.
    pub duration: Duration,
}

/// A task in the hands of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// The task, with its lease.
    pub task: Task,
    /// What it is asked with.
    pub payload: Bytes,
    /// What an attempt before this one saved; none if none did.
    pub checkpoint: Option<Bytes>,
}

/// Says which lease a holder speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The task.
    pub task: TaskId,
    /// The holder.
    pub node: NodeId,
    /// The lease's fencing token.
    pub fence: u64,
}

/// A holder's wish to hold on.
#[derive(Clone, Debug, PartialEq)]
pub struct Renewal {
    /// Which lease.
    pub claim: Claim,
    /// Until when.
    pub expires_at: Timestamp,
    /// What it has to say.
    pub news: News,
}

impl Renewal {
    /// A renewal without news.
    #[must_use]
    pub fn new(claim: Claim, expires_at: Timestamp) -> Self {
        Self { claim, expires_at, news: News::default() }
    }
}

/// What a holder has to say while it works.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct News {
    /// How far it is, if that changed.
    pub progress: Option<Progress>,
    /// Lines for the task's log; see [`LogLine`] for the limits.
    pub log: Vec<String>,
    /// What the next attempt should begin with, in place of what was saved before; at most 1 MiB.
    pub checkpoint: Option<Bytes>,
}

impl News {
    /// Whether there is nothing to say.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.progress.is_none() && self.log.is_empty() && self.checkpoint.is_none()
    }
}

impl From<Option<Progress>> for News {
    fn from(progress: Option<Progress>) -> Self {
        Self { progress, ..Self::default() }
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Done.
    Succeeded {
        /// What it gave, at most 1 MiB.
        result: Bytes,
        /// Who is paid, and how much of the budget; nobody, if the node works for free.
        reward: Option<(AccountId, Amount)>,
    },
    /// Not done.
    Failed {
        /// Why.
        reason: String,
        /// Whether another attempt would end the same way.
        permanent: bool,
    },
}

/// A holder's report that an attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// Which lease.
    pub claim: Claim,
    /// How it ended.
    pub outcome: Outcome,
    /// What it took.
    pub usage: Usage,
    /// What it has to say since the last renewal.
    pub log: Vec<String>,
    /// Of a success: how good the result is, if its executor tells; higher is better.
    pub score: Option<i64>,
}

/// Which tasks are wanted: those that meet every condition set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskFilter {
    /// In this state.
    pub state: Option<TaskState>,
    /// Of this kind.
    pub kind: Option<TaskKind>,
    /// Held, or done, by this node.
    pub node: Option<NodeId>,
    /// Paid by this account.
    pub payer: Option<AccountId>,
}

impl TaskFilter {
    /// Whether `task` is wanted. Stores may use indexes, but this is the definition.
    #[must_use]
    pub fn matches(&self, task: &Task) -> bool {
        let node = task.lease.as_ref().map(|lease| &lease.node).or(task.done_by.as_ref());
        self.state.is_none_or(|state| task.state == state)
            && self.kind.as_ref().is_none_or(|kind| task.spec.kind == *kind)
            && self.node.as_ref().is_none_or(|wanted| node == Some(wanted))
            && self.payer.as_ref().is_none_or(|payer| task.spec.payer() == Some(payer))
    }
}

/// How many tasks are in each state; states without any are left out.
pub type TaskCounts = BTreeMap<TaskState, u64>;

/// What a node did so far, counted where it happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Tasks done.
    pub succeeded: u64,
    /// Attempts that it reported as failed.
    pub failed: u64,
    /// Leases that ran out on it.
    pub lost: u64,
    /// Leases that it gave back.
    pub released: u64,
    /// Time that the attempts it reported took, added up.
    pub busy: Duration,
    /// What its owner was paid for its tasks.
    pub earned: Amount,
}

/// Keeps tasks, payloads, results and explanations, and moves their money in the same breath.
///
/// Each method is one atomic unit, and answers only once it is as durable as the store is. The
/// outer error means that nothing changed, or that nobody knows (Unavailable after a lost
/// connection); every call may be sent again. Inner errors are about one item of a batch, which
/// is then unchanged while the others went through.
#[async_trait]
pub trait TaskStore: Send + Sync {
    /// Adds tasks to the queue and reserves their budgets, each on its own. The same id or
    /// idempotency key with the same content gives the existing task; with another, Conflict. What
    /// passes a limit of the policy is Exhausted; several processes that submit to one database at
    /// the same moment may together pass it by what they have under way.
    async fn submit(
        &self,
        tasks: Vec<NewTask>,
        policy: QueuePolicy,
        now: Timestamp,
    ) -> Result<Vec<Result<Submitted>>>;

    /// Grants the asker leases on tasks that it is the choice for: higher priority first, among
    /// equals in [fair shares](super::queue::fair), and of one payer's the earliest deadline first,
    /// then the one submitted first. The explanation is kept with the task.
    async fn lease(&self, request: LeaseRequest, now: Timestamp) -> Result<Vec<Assignment>>;

    /// Extends leases and keeps their holders' progress, log and checkpoint.
    async fn renew(&self, renewals: Vec<Renewal>, now: Timestamp) -> Result<Vec<Result<Task>>>;

    /// Ends attempts: with success, the result is kept, the price goes from the hold to the
    /// reward's account and the rest is freed, all at once. A stale claim is a Conflict and pays
    /// nothing; a success that is reported again gives the task as it is.
    async fn complete(
        &self,
        completions: Vec<Completion>,
        now: Timestamp,
    ) -> Result<Vec<Result<Task>>>;

    /// Gives leases back: the tasks wait again, at once, and keep their attempt.
    async fn release(&self, claims: Vec<Claim>, now: Timestamp) -> Result<Vec<Result<Task>>>;

    /// Calls a task off and frees its hold. One that is cancelled already stays so.
    ///
    /// # Errors
    /// NotFound, or Conflict if it ended otherwise.
    async fn cancel(&self, task: TaskId, now: Timestamp) -> Result<Task>;

    /// Ends what ran out of time, at most `limit` tasks: leases (the task waits again or is
    /// dead) and, in the queue, deadlines (the task failed). One that cannot be ended stays as it
    /// is and keeps no other from ending.
    async fn expire(&self, now: Timestamp, limit: usize) -> Result<Vec<Task>>;

    /// Lets at most `limit` tasks whose backoff or delay has passed be leased, and tells how many.
    async fn promote(&self, now: Timestamp, limit: usize) -> Result<usize>;

    /// What comes before a task of this priority and deadline; of those that are as urgent and due
    /// earlier, 100,000 at most are counted.
    async fn ahead(&self, priority: i16, deadline: Option<Timestamp>) -> Result<Ahead>;

    /// The most urgent ready tasks that are more urgent than something that runs, and have been
    /// ready since `since` or before, without the first `skip` of them; at most `limit` (1–1,000).
    /// Costs next to nothing while all that runs is as urgent as what waits.
    async fn urgent(&self, since: Timestamp, skip: usize, limit: usize) -> Result<Vec<Task>>;

    /// What these nodes hold, as much of it as fits into `limit` (1–1,000) per node.
    async fn running(&self, nodes: &[NodeId], limit: usize) -> Result<Vec<Task>>;

    /// Ends these leases early, at `at`: until then their holders may go on, and are told with
    /// their next renewal; then the tasks wait again without having lost an attempt. Gives those
    /// that were still held under the named token and do not make room already.
    async fn preempt(
        &self,
        victims: Vec<Victim>,
        at: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<Task>>;

    /// Gives each of these tasks a [backup](super::replicas::Backup), unless the claim does not hold
    /// any more or it may not have one; gives those that got one. The backup is a replica with the
    /// number 1, which waits for another node.
    async fn back_up(&self, late: Vec<Claim>, now: Timestamp) -> Result<Vec<Task>>;

    /// Looks at no more than `limit` tasks that wait for others, one of which ended: they may run
    /// now, are cancelled or held, as they say. Gives those that changed; whoever ends tasks that
    /// are [awaited](Task::awaited) should call it, and again while it gives any, because what it
    /// cancels may be awaited, too. What it did not come to is found the next time.
    async fn advance(&self, now: Timestamp, limit: usize) -> Result<Vec<Task>>;

    /// Lets a task run that is [held](super::ParentFailure::Hold) because of its parents.
    ///
    /// # Errors
    /// NotFound, or Conflict if it is not held.
    async fn resume(&self, task: TaskId, now: Timestamp) -> Result<Task>;

    /// Removes payload, result, explanation and log of at most `limit` tasks that ended and were
    /// kept for as long as they should be, and tells how many. The tasks stay, and say so. What open tasks
    /// wait for keeps what belongs to it for longer.
    async fn purge(&self, now: Timestamp, limit: usize) -> Result<usize>;

    /// The task.
    async fn task(&self, task: TaskId) -> Result<Option<Task>>;

    /// The tasks that match in the order of submission, beginning after the task `after`; at
    /// most `limit` (1–1,000).
    ///
    /// # Errors
    /// NotFound if `after` does not exist.
    async fn tasks(
        &self,
        filter: &TaskFilter,
        after: Option<TaskId>,
        limit: usize,
    ) -> Result<Vec<Task>>;

    /// What the task gave, if it succeeded and that is still kept.
    async fn result(&self, task: TaskId) -> Result<Option<Bytes>>;

    /// Why the task's latest lease went where it went, if that is still kept.
    async fn explanation(&self, task: TaskId) -> Result<Option<Explanation>>;

    /// The lines of the task's log that are kept, behind the one with the number `after` (0 for
    /// all), at most `limit` (1–1,000). None of a task that is not there.
    async fn log(&self, task: TaskId, after: u64, limit: usize) -> Result<Vec<LogLine>>;

    /// How many tasks are in each state.
    async fn counts(&self) -> Result<TaskCounts>;

    /// What was seen of the nodes whose results were compared with others', by id.
    async fn trust(&self) -> Result<BTreeMap<NodeId, Trust>>;

    /// What each node did, by id.
    async fn tallies(&self) -> Result<BTreeMap<NodeId, Tally>>;
}
