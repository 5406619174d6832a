//! What a task's changes mean for the [settlement] of its work.

use super::{SchedulerError, Task, TaskSpec, Usage};
use crate::amount::Amount;
use crate::error::Result;
use crate::id::{AccountId, TaskId, TransferId};
use crate::ledger::{Purpose, Transfer, settlement};
use crate::registry::Node;

pub use crate::ledger::settlement::{ESCROW, escrow};

/// The id of the hold that reserves a task's budget.
#[must_use]
pub fn hold_id(task: TaskId) -> TransferId {
    settlement::hold_id(task.uuid())
}

/// The id of the transfer that ends the hold: there is only one, so it ends only once.
#[must_use]
pub fn end_id(task: TaskId) -> TransferId {
    settlement::end_id(task.uuid())
}

/// The id of the transfer that pays the worker's owner.
#[must_use]
pub fn reward_id(task: TaskId) -> TransferId {
    settlement::reward_id(task.uuid())
}

/// What the owner of `node` is owed for work on a task that took `usage`: the node's rates, but
/// never more than the budget, or its part of it if the task is done by several; nobody if the node has no owner or the task no budget.
#[must_use]
pub fn reward(node: &Node, spec: &TaskSpec, usage: &Usage) -> Option<(AccountId, Amount)> {
    let (owner, budget) = (node.owner.as_ref()?, spec.budget.as_ref()?);
    let limit = spec.sla.share(budget.limit);
    let price = settlement::price(&node.rates, &usage.metered(), limit);
    Some((owner.clone(), price))
}

/// Reserves the budget, if the task has one.
pub(super) fn reserve(id: TaskId, spec: &TaskSpec) -> Option<Transfer> {
    let budget = spec.budget.as_ref()?;
    Some(settlement::reserve(id.uuid(), &budget.payer, budget.limit))
}

/// Frees the budget, if the task has one.
pub(super) fn free(task: &Task) -> Option<Transfer> {
    task.spec.budget.as_ref().filter(|_| task.part.is_none())?;
    Some(settlement::free(task.id.uuid()))
}

/// Pays each of these replicas of a task its price and frees the rest; frees all of it if nobody is
/// owed.
///
/// # Errors
/// [`SchedulerError::OverBudget`] if they ask for more than the budget together.
pub(super) fn settle_parts(
    task: &Task,
    owed: &[(TaskId, (AccountId, Amount))],
) -> Result<Vec<Transfer>> {
    let over = || SchedulerError::OverBudget(task.id);
    let mut sum = Amount::ZERO;
    for (_, (_, price)) in owed {
        sum = sum.checked_add(*price).map_err(|_| over())?;
    }
    if sum.is_zero() {
        return Ok(free(task).into_iter().collect());
    }
    let limit = task.spec.budget.as_ref().map_or(Amount::ZERO, |budget| budget.limit);
    if sum > limit {
        return Err(over().into());
    }
    let work = task.id.uuid();
    let (post, pay) = (Purpose::TaskSettle, Purpose::TaskReward);
    let post = Transfer::post(end_id(task.id), hold_id(task.id), sum, post).about(work);
    let pay = owed.iter().map(|(part, (owner, price))| {
        Transfer::direct(reward_id(*part), &escrow(), owner, *price, pay).about(work)
    });
    Ok(std::iter::once(post).chain(pay).collect())
}

/// Pays `price` of the budget to `owner` and frees the rest; frees all of it if nobody is owed.
///
/// # Errors
/// [`SchedulerError::OverBudget`] if the price is more than the budget.
pub(super) fn settle(task: &Task, reward: Option<&(AccountId, Amount)>) -> Result<Vec<Transfer>> {
    let Some((owner, price)) = reward.filter(|(_, price)| !price.is_zero()) else {
        return Ok(free(task).into_iter().collect());
    };
    let limit = task.spec.budget.as_ref().map_or(Amount::ZERO, |budget| budget.limit);
    if *price > limit {
        return Err(SchedulerError::OverBudget(task.id).into());
    }
    Ok(settlement::settle(task.id.uuid(), owner, *price))
}
