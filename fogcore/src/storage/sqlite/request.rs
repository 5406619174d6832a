//! What the writer can be asked for, and how the answer finds its way back.
//!
//! Requests are built so that many of them cost little more than one: those that only decide say
//! what they want to look at, so that it is loaded for all at once, and leave the writing to the
//! writer. Each may be made again from the start, after what it did was undone.

use futures::future::BoxFuture;
use sqlx::SqliteConnection;
use tokio::sync::oneshot;

use crate::error::{Error, ErrorKind, Result};
use crate::id::{AccountId, TaskId, TransferId};
use crate::ledger::Transfer;
use crate::scheduler::{
    Assignment, LeaseRequest, Named, NewTask, TaskSpec, WorkingSet, money_of, name_of,
};
use crate::time::Timestamp;

/// Something that wants to be written, and somebody who waits for it.
pub(super) enum Request {
    /// Decides on what was loaded, without I/O.
    Decide(Box<dyn Decision>),
    /// Looks for work.
    Lease(Lease),
    /// Makes statements of its own, on tables that no decision is about.
    Run(Box<dyn Run>),
}

impl Request {
    pub(super) fn as_lease(&mut self) -> Option<&mut Lease> {
        match self {
            Self::Lease(lease) => Some(lease),
            Self::Decide(_) | Self::Run(_) => None,
        }
    }

    /// Answers, once it is known what became of the request.
    pub(super) fn reply(self, outcome: Result<()>) {
        match self {
            Self::Decide(decision) => decision.reply(outcome),
            Self::Lease(lease) => lease.answer.reply(outcome),
            Self::Run(run) => run.reply(outcome),
        }
    }
}

/// An answer on its way to who waits for it.
pub(super) struct Answer<T> {
    result: Result<T>,
    sender: oneshot::Sender<Result<T>>,
}

impl<T> Answer<T> {
    pub(super) fn new() -> (Self, oneshot::Receiver<Result<T>>) {
        let (sender, receiver) = oneshot::channel();
        (Self { result: Err(closed()), sender }, receiver)
    }

    /// Keeps what is to be answered if all goes well.
    pub(super) fn keep(&mut self, value: T) {
        self.result = Ok(value);
    }

    /// What was kept, if something was.
    pub(super) fn kept(&self) -> Option<&T> {
        self.result.as_ref().ok()
    }

    pub(super) fn kept_mut(&mut self) -> Option<&mut T> {
        self.result.as_mut().ok()
    }

    fn reply(self, outcome: Result<()>) {
        // An error here means that nobody waits any more, which is their choice.
        let _ = self.sender.send(outcome.and(self.result));
    }
}

pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Unavailable, "the store is closed")
}

/// What a decision may look at.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) tasks: Vec<TaskId>,
    pub(super) names: Vec<Named>,
    /// Some more than once.
    pub(super) accounts: Vec<AccountId>,
    pub(super) transfers: Vec<TransferId>,
    /// The latest point in time at which one of them is decided.
    pub(super) now: Option<Timestamp>,
}

impl Wanted {
    /// Tasks with their money, and `payees` besides.
    pub(super) fn tasks(
        tasks: impl IntoIterator<Item = TaskId>,
        payees: impl IntoIterator<Item = AccountId>,
        now: Timestamp,
    ) -> Self {
        let (tasks, accounts) = (tasks.into_iter().collect(), payees.into_iter().collect());
        Self { tasks, accounts, now: Some(now), ..Self::default() }
    }

    /// What submitting these tasks can touch: tasks that are there already, by id or by name, and
    /// the money of the new ones.
    pub(super) fn submissions(tasks: &[NewTask], now: Timestamp) -> Self {
        let mut wanted = Self::tasks(tasks.iter().map(|task| task.id), [], now);
        wanted.names.extend(tasks.iter().filter_map(|task| name_of(&task.spec)));
        tasks.iter().for_each(|task| wanted.money(task.id, &task.spec));
        wanted
    }

    pub(super) fn accounts(ids: impl IntoIterator<Item = AccountId>, now: Timestamp) -> Self {
        Self::tasks([], ids, now)
    }

    pub(super) fn transfers(transfers: &[Transfer], now: Timestamp) -> Self {
        let mut wanted = Self::accounts([], now);
        for transfer in transfers {
            wanted.transfers.push(transfer.id);
            wanted.transfers.extend(transfer.ends_hold());
            wanted.accounts.extend(transfer.accounts().into_iter().flatten().cloned());
        }
        wanted
    }

    /// The money of a task.
    pub(super) fn money(&mut self, task: TaskId, spec: &TaskSpec) {
        if let Some((accounts, transfers)) = money_of(task, spec) {
            self.accounts.extend(accounts);
            self.transfers.extend(transfers);
        }
    }

    /// What `other` wants, too.
    pub(super) fn add(&mut self, other: &Self) {
        self.tasks.extend_from_slice(&other.tasks);
        self.names.extend_from_slice(&other.names);
        self.accounts.extend_from_slice(&other.accounts);
        self.transfers.extend_from_slice(&other.transfers);
        self.now = self.now.max(other.now);
    }
}

/// A change that follows from what is loaded.
pub(super) trait Decision: Send + Sync {
    fn wanted(&self) -> &Wanted;
    fn decide(&mut self, set: &mut WorkingSet);
    fn reply(self: Box<Self>, outcome: Result<()>);
}

pub(super) struct Decide<T, F> {
    pub(super) wanted: Wanted,
    pub(super) decide: F,
    pub(super) answer: Answer<T>,
}

impl<T, F> Decision for Decide<T, F>
where
    T: Send + Sync,
    F: Fn(&mut WorkingSet) -> T + Send + Sync,
{
    fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    fn decide(&mut self, set: &mut WorkingSet) {
        self.answer.keep((self.decide)(set));
    }

    fn reply(self: Box<Self>, outcome: Result<()>) {
        self.answer.reply(outcome);
    }
}

/// A node's wish for work.
pub(super) struct Lease {
    pub(super) request: LeaseRequest,
    pub(super) now: Timestamp,
    pub(super) answer: Answer<Vec<Assignment>>,
}

/// Statements of its own; an error undoes what they did and nothing else.
pub(super) trait Run: Send + Sync {
    fn run<'c>(&'c mut self, connection: &'c mut SqliteConnection) -> BoxFuture<'c, Result<()>>;
    fn reply(self: Box<Self>, outcome: Result<()>);
}

pub(super) struct Statements<T, F> {
    pub(super) work: F,
    pub(super) answer: Answer<T>,
}

impl<T, F> Run for Statements<T, F>
where
    T: Send + Sync,
    F: for<'c> Fn(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T>> + Send + Sync,
{
    fn run<'c>(&'c mut self, connection: &'c mut SqliteConnection) -> BoxFuture<'c, Result<()>> {
        Box::pin(async move {
            self.answer.result = (self.work)(connection).await;
            self.answer.result.as_ref().map(|_| ()).map_err(Clone::clone)
        })
    }

    fn reply(self: Box<Self>, outcome: Result<()>) {
        self.answer.reply(outcome);
    }
}
