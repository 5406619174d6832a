//! What every [`TaskStore`](crate::scheduler::TaskStore) promises about money.

use super::{
    account, account_id, at, claim, complete, failure, fund, is_balanced, lease_one, node_id, spec,
    submit, success, task_id, units,
};
use crate::error::ErrorKind;
use crate::ledger::{HoldState, LedgerError, Purpose};
use crate::scheduler::{SchedulerError, TaskSpec, TaskState, settlement};
use crate::storage::Stores;

fn paid(limit: u128) -> TaskSpec {
    spec().paid_by(account_id("alice"), units(limit))
}

/// Debits pending and posted of the payer, credits posted of the worker's owner.
async fn sums(stores: &Stores) -> (u128, u128, u128) {
    let (alice, bob) = (account(stores, "alice").await, account(stores, "bob").await);
    assert!(is_balanced(stores).await);
    let escrow = account(stores, settlement::ESCROW).await;
    assert_eq!(escrow.credits_posted, escrow.debits_posted, "nothing stays in escrow");
    let units = |amount: crate::amount::Amount| amount.base_units();
    (units(alice.debits_pending), units(alice.debits_posted), units(bob.credits_posted))
}

/// The budget is reserved, the price paid, the rest freed – in the steps where it happens.
pub async fn submitting_reserves_and_success_pays_the_price(stores: &Stores) {
    fund(stores, 100).await;
    submit(stores, "t", paid(60)).await.unwrap();
    assert_eq!(sums(stores).await, (60, 0, 0));
    let leased = lease_one(stores, "n", at(1)).await;
    assert_eq!(sums(stores).await, (60, 0, 0));
    let done = complete(stores, success(claim(&leased), Some(45)), at(2)).await.unwrap();
    assert_eq!(done.paid, units(45));
    assert_eq!(sums(stores).await, (0, 45, 45));
    let reward = stores.ledger.posted(settlement::reward_id(done.id)).await.unwrap().unwrap();
    assert_eq!(reward.transfer.purpose, Purpose::TaskReward);
    assert_eq!(reward.transfer.reference, Some(done.id.uuid()));
    let hold = stores.ledger.posted(settlement::hold_id(done.id)).await.unwrap().unwrap();
    assert_eq!(hold.hold, Some(HoldState::Posted));
    assert_eq!(stores.tasks.tallies().await.unwrap()[&node_id("n")].earned, units(45));
}

/// A holder whose lease ran out is refused and pays nobody, before and after the new one is.
pub async fn a_stale_holder_is_not_paid(stores: &Stores) {
    fund(stores, 100).await;
    submit(stores, "t", paid(60)).await.unwrap();
    let stale = lease_one(stores, "n", at(1)).await;
    stores.tasks.expire(at(31), 10).await.unwrap();
    let current = lease_one(stores, "m", at(32)).await;
    let refused = complete(stores, success(claim(&stale), Some(60)), at(33)).await.unwrap_err();
    let precise = refused.downcast_ref::<SchedulerError>().unwrap();
    assert!(matches!(precise, SchedulerError::StaleLease { fence: 1, .. }), "{precise}");
    assert_eq!(sums(stores).await, (60, 0, 0));
    complete(stores, success(claim(&current), Some(10)), at(34)).await.unwrap();
    let refused = complete(stores, success(claim(&stale), Some(60)), at(35)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert_eq!(sums(stores).await, (0, 10, 10));
}

/// The answer may be lost on its way; the report may come again.
pub async fn a_report_sent_twice_pays_once(stores: &Stores) {
    fund(stores, 100).await;
    submit(stores, "t", paid(60)).await.unwrap();
    let leased = lease_one(stores, "n", at(1)).await;
    let first = complete(stores, success(claim(&leased), Some(10)), at(2)).await.unwrap();
    let again = complete(stores, success(claim(&leased), Some(10)), at(3)).await.unwrap();
    assert_eq!(first, again);
    assert_eq!(sums(stores).await, (0, 10, 10));
    assert_eq!(stores.tasks.tallies().await.unwrap()[&node_id("n")].succeeded, 1);
}

/// Failed, dead, cancelled, late: the payer has all of it back.
pub async fn every_end_without_success_frees_the_budget(stores: &Stores) {
    fund(stores, 100).await;
    submit(stores, "failed", paid(10)).await.unwrap();
    let leased = lease_one(stores, "n", at(1)).await;
    complete(stores, failure(claim(&leased), true), at(1)).await.unwrap();
    assert_eq!(sums(stores).await, (0, 0, 0));

    submit(stores, "dead", TaskSpec { max_attempts: 1, ..paid(10) }).await.unwrap();
    lease_one(stores, "n", at(2)).await;
    let dead = stores.tasks.expire(at(40), 10).await.unwrap().remove(0);
    assert_eq!(dead.state, TaskState::Dead);
    assert_eq!(sums(stores).await, (0, 0, 0));

    submit(stores, "late", TaskSpec { deadline: Some(at(50)), ..paid(10) }).await.unwrap();
    assert_eq!(sums(stores).await, (10, 0, 0));
    stores.tasks.expire(at(50), 10).await.unwrap();
    assert_eq!(sums(stores).await, (0, 0, 0));

    submit(stores, "cancelled", paid(10)).await.unwrap();
    lease_one(stores, "n", at(60)).await;
    stores.tasks.cancel(task_id("cancelled"), at(61)).await.unwrap();
    assert_eq!(sums(stores).await, (0, 0, 0));

    submit(stores, "tried again", paid(10)).await.unwrap();
    let leased = lease_one(stores, "n", at(70)).await;
    complete(stores, failure(claim(&leased), false), at(71)).await.unwrap();
    assert_eq!(sums(stores).await, (10, 0, 0), "a task that is tried again keeps its budget");
}

/// Who cannot pay cannot submit, and those who can are served.
pub async fn a_budget_that_is_not_covered_is_refused(stores: &Stores) {
    fund(stores, 100).await;
    submit(stores, "covered", paid(70)).await.unwrap();
    let refused = submit(stores, "uncovered", paid(31)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Exhausted);
    assert!(refused.downcast_ref::<LedgerError>().is_some());
    let nobody = spec().paid_by(account_id("nobody"), units(1));
    let refused = submit(stores, "no payer", nobody).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    submit(stores, "just covered", paid(30)).await.unwrap();
    assert_eq!(sums(stores).await, (100, 0, 0));
    assert_eq!(stores.tasks.task(task_id("uncovered")).await.unwrap(), None);
}

/// A report that asks for too much, or for somebody unknown, leaves the task to its holder.
pub async fn a_price_above_the_budget_changes_nothing(stores: &Stores) {
    fund(stores, 100).await;
    submit(stores, "t", paid(60)).await.unwrap();
    let leased = lease_one(stores, "n", at(1)).await;
    let refused = complete(stores, success(claim(&leased), Some(61)), at(2)).await.unwrap_err();
    assert_eq!(refused.field(), Some("price"));
    let mut unknown = success(claim(&leased), None);
    if let crate::scheduler::Outcome::Succeeded { reward, .. } = &mut unknown.outcome {
        *reward = Some((account_id("nobody"), units(1)));
    }
    let refused = complete(stores, unknown, at(2)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    assert_eq!(sums(stores).await, (60, 0, 0));
    assert_eq!(stores.tasks.task(task_id("t")).await.unwrap(), Some(leased.task.clone()));
    assert_eq!(stores.tasks.result(task_id("t")).await.unwrap(), None);
    assert!(stores.tasks.tallies().await.unwrap().is_empty());
    complete(stores, success(claim(&leased), Some(60)), at(3)).await.unwrap();
    assert_eq!(sums(stores).await, (0, 60, 60));
}

/// Without a budget nothing moves, and nothing may be asked.
pub async fn an_unpaid_task_moves_no_money(stores: &Stores) {
    fund(stores, 100).await;
    submit(stores, "t", spec()).await.unwrap();
    let leased = lease_one(stores, "n", at(1)).await;
    let refused = complete(stores, success(claim(&leased), Some(1)), at(2)).await.unwrap_err();
    assert_eq!(refused.field(), Some("price"));
    complete(stores, success(claim(&leased), None), at(2)).await.unwrap();
    assert_eq!(sums(stores).await, (0, 0, 0));
    // A paid task whose node works for free pays nobody and keeps nothing.
    submit(stores, "free", paid(10)).await.unwrap();
    let leased = lease_one(stores, "n", at(3)).await;
    complete(stores, success(claim(&leased), None), at(4)).await.unwrap();
    assert_eq!(sums(stores).await, (0, 0, 0));
}
