//! Long random histories: what no list of examples finds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{account_id, at, claim, failure, fund, lease, node, spec, success, task_id, units};
use crate::amount::Amount;
use crate::id::TaskId;
use crate::scheduler::{
    Assignment, NewTask, QueuePolicy, Renewal, TaskFilter, TaskSpec, TaskState, settlement,
};
use crate::storage::Stores;

/// Seeds are printed, so that a failure can be run again: `FOGCORE_SEED=… cargo test …`.
pub(super) fn dice() -> StdRng {
    let seed = std::env::var("FOGCORE_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or(7);
    eprintln!("FOGCORE_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// How many steps a history has: `FOGCORE_HISTORY_STEPS`, by default few.
pub(super) fn steps() -> u64 {
    let steps = std::env::var("FOGCORE_HISTORY_STEPS").ok().and_then(|text| text.parse().ok());
    steps.unwrap_or(300)
}

/// Whatever happens, in whatever order: each task is in one state, held by one node at most, paid
/// once at most, and what is reserved is what the open tasks may cost.
pub async fn a_random_history_loses_nothing(stores: &Stores) {
    let mut dice = dice();
    fund(stores, 1_000_000).await;
    let mut submitted = 0;
    let mut claims: Vec<Assignment> = Vec::new();
    let mut prices: HashMap<TaskId, u128> = HashMap::new();
    for step in 0..steps() {
        let now = at(step * 5);
        match dice.random_range(0..8) {
            0 | 1 => {
                let mut new = |_| {
                    submitted += 1;
                    let budget = units(dice.random_range(1..100));
                    let paid = spec().paid_by(account_id("alice"), budget);
                    let spec = TaskSpec {
                        priority: dice.random_range(-1..=1),
                        max_attempts: dice.random_range(1..4),
                        deadline: dice.random_bool(0.2).then(|| at(step * 5 + 60)),
                        ..if dice.random_bool(0.8) { paid } else { spec() }
                    };
                    let id = task_id(&submitted.to_string());
                    NewTask { id, spec: Arc::new(spec), payload: "x".into() }
                };
                let batch = (0..5).map(&mut new).collect();
                for answer in stores.tasks.submit(batch, QueuePolicy::default(), now).await.unwrap()
                {
                    answer.unwrap();
                }
            }
            2 | 3 => {
                let name = format!("n{}", dice.random_range(0..4));
                let granted = lease(stores, node(&name, 8), dice.random_range(1..5), now).await;
                claims.extend(granted);
            }
            // Claims are never forgotten, so that many reports are stale or come twice.
            4 | 5 if !claims.is_empty() => {
                let leased = claims[dice.random_range(0..claims.len())].clone();
                let limit = leased.task.spec.budget.as_ref().map(|b| b.limit.base_units());
                let price = limit.map(|limit| dice.random_range(0..=limit));
                let report = match dice.random_range(0..4) {
                    0 => failure(claim(&leased), dice.random_bool(0.3)),
                    _ => success(claim(&leased), price),
                };
                let ended = stores.tasks.complete(vec![report], now).await.unwrap().remove(0);
                if let Ok(task) = ended
                    && task.state == TaskState::Succeeded
                {
                    let paid = task.paid.base_units();
                    assert_eq!(*prices.entry(task.id).or_insert(paid), paid, "paid once");
                }
            }
            6 if !claims.is_empty() => {
                let leased = &claims[dice.random_range(0..claims.len())];
                let (claim, expires_at) = (claim(leased), at(step * 5 + 30));
                let renewal = Renewal::new(claim.clone(), expires_at);
                let _ = match dice.random_range(0..3) {
                    0 => stores.tasks.renew(vec![renewal], now).await.unwrap().remove(0),
                    1 => stores.tasks.release(vec![claim], now).await.unwrap().remove(0),
                    _ => stores.tasks.cancel(claim.task, now).await,
                };
            }
            _ => {
                stores.tasks.expire(now, 1_000).await.unwrap();
                stores.tasks.promote(now, 1_000).await.unwrap();
            }
        }
        if step % 10 == 9 {
            check(stores, submitted, &prices).await;
        }
    }
    check(stores, submitted, &prices).await;
}

async fn check(stores: &Stores, submitted: usize, prices: &HashMap<TaskId, u128>) {
    let (mut tasks, mut after) = (Vec::new(), None);
    loop {
        let page = stores.tasks.tasks(&TaskFilter::default(), after, 1_000).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        tasks.extend(page);
    }
    assert_eq!(tasks.len(), submitted);
    let mut counts = BTreeMap::new();
    let (mut reserved, mut paid) = (0, 0);
    for task in &tasks {
        *counts.entry(task.state).or_default() += 1;
        assert_eq!(task.lease.is_some(), task.state == TaskState::Leased);
        assert_eq!(task.ended_at.is_some(), task.state.is_final());
        assert!(task.attempts <= task.spec.max_attempts);
        let limit = task.spec.budget.as_ref().map_or(Amount::ZERO, |budget| budget.limit);
        if !task.state.is_final() {
            reserved += limit.base_units();
        }
        let price = if task.state == TaskState::Succeeded { prices[&task.id] } else { 0 };
        assert_eq!(task.paid, units(price));
        paid += price;
    }
    assert_eq!(stores.tasks.counts().await.unwrap(), counts);
    let (alice, bob) = (super::account(stores, "alice").await, super::account(stores, "bob").await);
    assert_eq!(alice.debits_pending, units(reserved));
    assert_eq!((alice.debits_posted, bob.credits_posted), (units(paid), units(paid)));
    let escrow = super::account(stores, settlement::ESCROW).await;
    assert_eq!(escrow.credits_posted, escrow.debits_posted);
    assert!(super::is_balanced(stores).await);
    let tallies = stores.tasks.tallies().await.unwrap();
    let earned: u128 = tallies.values().map(|tally| tally.earned.base_units()).sum();
    assert_eq!(earned, paid);
}
