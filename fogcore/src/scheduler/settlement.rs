//! The money of a task: reserved, then paid or freed, under ids that follow from the task's own.
//!
//! Because the ids are derived, a task can be paid once and never again, whatever goes wrong
//! around it: the ledger itself would refuse the second payment.

use super::{SchedulerError, Task, TaskSpec, Usage};
use crate::amount::Amount;
use crate::error::Result;
use crate::id::{AccountId, TaskId, TransferId};
use crate::ledger::{Purpose, Transfer};
use crate::registry::Node;

/// The account through which every task's price passes on its way from payer to worker. What it
/// holds at any time is the open holds; posted, it always comes to zero.
pub const ESCROW: &str = "fog:escrow";

/// The account [`ESCROW`].
#[must_use]
pub fn escrow() -> AccountId {
    #[expect(clippy::expect_used, reason = "a constant that a test parses")]
    ESCROW.parse().expect("a valid account id")
}

/// The id of the hold that reserves a task's budget.
#[must_use]
pub fn hold_id(task: TaskId) -> TransferId {
    derive(task, "hold")
}

/// The id of the transfer that ends the hold: there is only one, so it ends only once.
#[must_use]
pub fn end_id(task: TaskId) -> TransferId {
    derive(task, "end of hold")
}

/// The id of the transfer that pays the worker's owner.
#[must_use]
pub fn reward_id(task: TaskId) -> TransferId {
    derive(task, "reward")
}

fn derive(task: TaskId, purpose: &str) -> TransferId {
    TransferId::own(task.uuid(), purpose)
}

/// Whether this is the id of a transfer that only the fog itself may make or end.
#[must_use]
pub fn is_own(transfer: TransferId) -> bool {
    transfer.is_own()
}

/// What the owner of `node` is owed for work on a task that took `usage`: the node's rates, but
/// never more than the budget; nobody if the node has no owner or the task no budget.
#[must_use]
pub fn reward(node: &Node, spec: &TaskSpec, usage: &Usage) -> Option<(AccountId, Amount)> {
    let (owner, budget) = (node.owner.as_ref()?, spec.budget.as_ref()?);
    let busy = u64::try_from(usage.busy.as_micros()).unwrap_or(u64::MAX);
    // A price beyond all amounts is certainly beyond the budget.
    let price = node.rates.price(busy, usage.bytes_moved).unwrap_or(Amount::MAX);
    Some((owner.clone(), price.min(budget.limit)))
}

/// Reserves the budget, if the task has one.
pub(super) fn reserve(id: TaskId, spec: &TaskSpec) -> Option<Transfer> {
    let budget = spec.budget.as_ref()?;
    let hold =
        Transfer::hold(hold_id(id), &budget.payer, &escrow(), budget.limit, Purpose::TaskHold);
    Some(hold.about(id.uuid()))
}

/// Frees the budget, if the task has one.
pub(super) fn free(task: &Task) -> Option<Transfer> {
    task.spec.budget.as_ref()?;
    let void = Transfer::void(end_id(task.id), hold_id(task.id), Purpose::TaskRelease);
    Some(void.about(task.id.uuid()))
}

/// Pays `price` of the budget to `owner` and frees the rest; frees all of it if nobody is owed.
///
/// # Errors
/// [`SchedulerError::OverBudget`] if the price is more than the budget.
pub(super) fn settle(task: &Task, reward: Option<&(AccountId, Amount)>) -> Result<Vec<Transfer>> {
    let owed = reward.filter(|(_, price)| !price.is_zero());
    let (Some(budget), Some((owner, price))) = (&task.spec.budget, owed) else {
        return match owed {
            Some(_) => Err(SchedulerError::OverBudget(task.id).into()),
            None => Ok(free(task).into_iter().collect()),
        };
    };
    if *price > budget.limit {
        return Err(SchedulerError::OverBudget(task.id).into());
    }
    let (hold, about) = (hold_id(task.id), task.id.uuid());
    let post = Transfer::post(end_id(task.id), hold, *price, Purpose::TaskSettle).about(about);
    let purpose = Purpose::TaskReward;
    let pay = Transfer::direct(reward_id(task.id), &escrow(), owner, *price, purpose).about(about);
    Ok(vec![post, pay])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ids_of_a_task_are_apart_from_those_that_clients_make() {
        let task = TaskId::derive(b"t", "task");
        for id in [hold_id(task), end_id(task), reward_id(task)] {
            assert!(is_own(id));
        }
        let now = crate::time::Timestamp::UNIX_EPOCH;
        assert!(!is_own(TransferId::derive(b"t", "invoice")));
        assert!(!is_own(crate::id::IdSource::seeded(1).transfer(now)));
    }

    #[test]
    fn the_escrow_account_has_a_valid_id() {
        assert_eq!(escrow().as_str(), ESCROW);
    }
}
