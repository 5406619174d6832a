//! What a writer can be asked for, and how the answer finds its way back.
//!
//! Requests are built so that many of them cost little more than one: those that only decide say
//! what they want to look at, so that it is loaded for all at once, and leave the writing to the
//! writer. Each may be made again from the start, after what it did was undone.

use tokio::sync::oneshot;

use super::market::Touch;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{AccountId, TaskId, TransferId};
use crate::ledger::Transfer;
use crate::scheduler::{
    Assignment, LeaseRequest, Named, NewTask, Task, WorkingSet, money_of, money_of_work, name_of,
};
use crate::time::Timestamp;

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

    /// Keeps what is to be answered if all else goes well, and tells what went wrong.
    #[cfg(feature = "sqlite")]
    pub(super) fn keep_result(&mut self, result: Result<T>) -> Result<()> {
        self.result = result;
        self.result.as_ref().map(|_| ()).map_err(Clone::clone)
    }

    /// What was kept, if something was.
    pub(super) fn kept(&self) -> Option<&T> {
        self.result.as_ref().ok()
    }

    pub(super) fn kept_mut(&mut self) -> Option<&mut T> {
        self.result.as_mut().ok()
    }

    pub(super) fn reply(self, outcome: Result<()>) {
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
    /// Tasks that are looked at without their money.
    pub(super) bare: Vec<TaskId>,
    /// Those whose open tasks must be known.
    pub(super) payers: Vec<Option<AccountId>>,
    pub(super) names: Vec<Named>,
    /// Some more than once.
    pub(super) accounts: Vec<AccountId>,
    pub(super) transfers: Vec<TransferId>,
    pub(super) market: Vec<Touch>,
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
        wanted.bare.extend(tasks.iter().flat_map(|task| task.spec.after.iter().copied()));
        wanted.names.extend(tasks.iter().filter_map(|task| name_of(&task.spec)));
        wanted.payers.extend(tasks.iter().map(|task| task.spec.payer().cloned()));
        wanted.payers.dedup();
        tasks.iter().for_each(|task| wanted.money(money_of_work(task.id, &task.spec)));
        wanted
    }

    /// Tasks without their money.
    pub(super) fn without_money(tasks: impl IntoIterator<Item = TaskId>, now: Timestamp) -> Self {
        Self { bare: tasks.into_iter().collect(), now: Some(now), ..Self::default() }
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
    pub(super) fn money(&mut self, money: Option<(Vec<AccountId>, [TransferId; 3])>) {
        if let Some((accounts, transfers)) = money {
            self.accounts.extend(accounts);
            self.transfers.extend(transfers);
        }
    }

    /// The money of all that changes with the tasks that are wanted.
    pub(super) fn money_of_families(&mut self, set: &WorkingSet) {
        for id in std::mem::take(&mut self.tasks) {
            let Some(task) = set.task(id) else { continue };
            self.money(money_of(task));
            for relative in task.family().into_iter().filter_map(|id| set.task(id)) {
                self.money(money_of(relative));
            }
        }
    }

    /// The tasks that may change with those that are wanted, which are loaded by now.
    pub(super) fn relatives(&self, set: &WorkingSet) -> Self {
        let tasks = self.tasks.iter().filter_map(|id| set.task(*id));
        Self { bare: tasks.flat_map(Task::family).collect(), ..Self::default() }
    }

    /// About how many rows may change.
    pub(super) fn weight(&self) -> usize {
        (self.tasks.len() + self.bare.len())
            .max(self.transfers.len())
            .max(self.accounts.len() / 2)
            .max(1)
    }

    /// What `other` wants, too.
    pub(super) fn add(&mut self, other: &Self) {
        self.tasks.extend_from_slice(&other.tasks);
        self.bare.extend_from_slice(&other.bare);
        self.payers.extend_from_slice(&other.payers);
        self.names.extend_from_slice(&other.names);
        self.accounts.extend_from_slice(&other.accounts);
        self.transfers.extend_from_slice(&other.transfers);
        self.market.extend_from_slice(&other.market);
        self.now = self.now.max(other.now);
    }
}

/// A change that follows from what is loaded: `S` with all of `W` in it.
pub(super) trait Decision<S, W>: Send + Sync {
    fn wanted(&self) -> &W;
    fn decide(&mut self, set: &mut S);
    fn reply(self: Box<Self>, outcome: Result<()>);
}

/// A change of tasks and money.
pub(super) type Change = Box<dyn Decision<WorkingSet, Wanted>>;

pub(super) struct Decide<W, T, F> {
    pub(super) wanted: W,
    pub(super) decide: F,
    pub(super) answer: Answer<T>,
}

impl<S, W, T, F> Decision<S, W> for Decide<W, T, F>
where
    W: Send + Sync,
    T: Send + Sync,
    F: Fn(&mut S) -> T + Send + Sync,
{
    fn wanted(&self) -> &W {
        &self.wanted
    }

    fn decide(&mut self, set: &mut S) {
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
