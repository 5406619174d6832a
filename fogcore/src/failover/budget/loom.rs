//! The purse under every order of two threads.

use ::loom::sync::Arc;
use ::loom::thread;

use super::*;
use crate::failover::atomics::model;

fn purse(share: f64, floor_per_second: f64) -> Arc<RetryBudget> {
    Arc::new(RetryBudget::new(BudgetPolicy { share, floor_per_second, most: 2 }).unwrap())
}

/// How many of two threads that spend at these times succeed.
fn spent_by_two(budget: &Arc<RetryBudget>, times: [Duration; 2]) -> u32 {
    let threads = times.map(|now| {
        let budget = Arc::clone(budget);
        thread::spawn(move || budget.spend(now))
    });
    threads.into_iter().map(|thread| u32::from(thread.join().unwrap())).sum()
}

#[test]
fn one_retry_is_spent_once() {
    model(|| {
        let budget = purse(1.0, 0.0);
        budget.earn();
        assert_eq!(spent_by_two(&budget, [Duration::ZERO; 2]), 1);
    });
}

#[test]
fn time_is_paid_for_once() {
    model(|| {
        let budget = purse(0.0, 1.0);
        let second = Duration::from_secs(1);
        assert_eq!(spent_by_two(&budget, [second; 2]), 1);
        assert_eq!(budget.left(second), 0);
    });
}

#[test]
fn time_is_paid_for_once_whoever_is_later() {
    model(|| {
        let budget = purse(0.0, 1.0);
        let second = Duration::from_secs(1);
        let spent = spent_by_two(&budget, [second, 2 * second]);
        assert_eq!(u64::from(spent) + budget.left(2 * second), 2);
    });
}

#[test]
fn what_is_earned_while_others_spend_is_not_lost() {
    model(|| {
        let budget = purse(1.0, 0.0);
        budget.earn();
        let earns = Arc::clone(&budget);
        let earner = thread::spawn(move || earns.earn());
        let spent = budget.spend(Duration::ZERO);
        earner.join().unwrap();
        assert!(spent);
        assert_eq!(budget.left(Duration::ZERO), 1);
    });
}
