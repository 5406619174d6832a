//! Long random histories: what no list of examples finds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{account_id, at, claim, failure, fund, lease, node, spec, success, task_id, units};
use crate::amount::Amount;
use crate::id::TaskId;
use crate::scheduler::queue::Victim;
use crate::scheduler::{
    Assignment, Backup, NewTask, Outcome, ParentFailure, QueuePolicy, Renewal, SlaClass,
    TaskFilter, TaskSpec, TaskState, settlement,
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

/// Replicas, parents, preemption, lost leases, stale reports and removals at random: holds and counts
/// balance all the way, and in the end every task has ended in one state.
pub async fn everything_ends_and_balances_whatever_happens(stores: &Stores) {
    let mut dice = dice();
    fund(stores, 1_000_000).await;
    let (mut ids, mut claims) = (Vec::new(), Vec::<Assignment>::new());
    let steps = steps();
    let mut step = 0;
    loop {
        step += 1;
        assert!(step < 20 * steps + 2_000, "it should have come to an end");
        let (now, is_drain) = (at(step * 5), step > steps);
        stores.tasks.promote(now, 100).await.unwrap();
        while !stores.tasks.advance(now, 100).await.unwrap().is_empty() {}
        match if is_drain { dice.random_range(3..8) } else { dice.random_range(0..12) } {
            0 | 1 => {
                let spec = random_spec(&mut dice, &ids, step);
                let id = task_id(&format!("life {step}"));
                let new = NewTask { id, spec: Arc::new(spec), payload: "x".into() };
                let answers = stores.tasks.submit(vec![new], QueuePolicy::default(), now).await;
                answers.unwrap().remove(0).unwrap();
                ids.push(id);
            }
            3 | 4 => {
                let name = format!("n{}", dice.random_range(0..6));
                claims.extend(lease(stores, node(&name, 4), dice.random_range(1..4), now).await);
            }
            5..=7 if !claims.is_empty() => {
                let place = dice.random_range(0..claims.len());
                let given = claims[place].clone();
                if is_drain {
                    claims.remove(place);
                }
                let spec = &given.task.spec;
                let limit = spec.budget.as_ref().map(|budget| spec.sla.share(budget.limit));
                let report = match dice.random_range(0..8) {
                    0 => failure(claim(&given), dice.random_bool(0.3)),
                    _ => {
                        let mut done = success(claim(&given), limit.map(Amount::base_units));
                        if dice.random_bool(0.2)
                            && let Outcome::Succeeded { result, .. } = &mut done.outcome
                        {
                            *result = format!("wrong {}", dice.random_range(0..2)).into();
                        }
                        done
                    }
                };
                let _ = stores.tasks.complete(vec![report], now).await.unwrap().remove(0);
            }
            8 if !claims.is_empty() => {
                let given = &claims[dice.random_range(0..claims.len())];
                let victim = Victim::of(&given.task).unwrap();
                let until = at(step * 5 + dice.random_range(0..20));
                stores.tasks.preempt(vec![victim], until, now).await.unwrap();
            }
            9 if !claims.is_empty() => {
                let claim = claim(&claims[dice.random_range(0..claims.len())]);
                let _ = match dice.random_bool(0.5) {
                    true => stores.tasks.release(vec![claim], now).await.unwrap().remove(0),
                    false => stores.tasks.cancel(claim.task, now).await,
                };
            }
            11 if !claims.is_empty() => {
                let late = claim(&claims[dice.random_range(0..claims.len())]);
                stores.tasks.back_up(vec![late], now).await.unwrap();
            }
            10 if !ids.is_empty() => {
                let id = ids[dice.random_range(0..ids.len())];
                let _ = stores.tasks.cancel(id, now).await;
                let _ = stores.tasks.resume(id, now).await;
                stores.tasks.purge(now, 10).await.unwrap();
            }
            _ => {}
        }
        stores.tasks.expire(now, 100).await.unwrap();
        if step % 50 == 0 || is_drain {
            let open = balance(stores, ids.len()).await;
            if is_drain && open == 0 {
                break;
            }
            if is_drain {
                for id in &ids {
                    let _ = stores.tasks.resume(*id, now).await;
                }
            }
        }
    }
    assert!(super::account(stores, "alice").await.debits_pending.is_zero());
}

fn random_spec(dice: &mut StdRng, ids: &[TaskId], step: u64) -> TaskSpec {
    let mut after: Vec<TaskId> = Vec::new();
    while !ids.is_empty() && after.len() < 3 && dice.random_bool(0.3) {
        let parent = ids[dice.random_range(0..ids.len())];
        if !after.contains(&parent) {
            after.push(parent);
        }
    }
    let policies = [ParentFailure::Cancel, ParentFailure::Run, ParentFailure::Hold];
    let classes = [SlaClass::S, SlaClass::A, SlaClass::B, SlaClass::B];
    let paid = spec().paid_by(account_id("alice"), units(dice.random_range(1..100)));
    TaskSpec {
        priority: dice.random_range(-1..=1),
        max_attempts: dice.random_range(1..4),
        sla: classes[dice.random_range(0..4)],
        backup: if dice.random_bool(0.5) { Backup::WhenLate } else { Backup::Never },
        deadline: dice.random_bool(0.2).then(|| at(step * 5 + 200)),
        not_before: dice.random_bool(0.2).then(|| at(step * 5 + 50)),
        retain_for: Some(std::time::Duration::from_secs(dice.random_range(0..500))),
        if_parent_fails: policies[dice.random_range(0..3)],
        after,
        ..if dice.random_bool(0.8) { paid } else { spec() }
    }
}

/// Checks what must be so at any time, and tells how many tasks are open.
async fn balance(stores: &Stores, submitted: usize) -> usize {
    let (mut tasks, mut after) = (Vec::new(), None);
    loop {
        let page = stores.tasks.tasks(&TaskFilter::default(), after, 1_000).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        tasks.extend(page);
    }
    let own = || tasks.iter().filter(|task| task.part.is_none());
    assert_eq!(own().count(), submitted);
    let mut counts = BTreeMap::new();
    for task in &tasks {
        *counts.entry(task.state).or_default() += 1;
        assert_eq!(task.lease.is_some(), task.state == TaskState::Leased);
        assert_eq!(task.ended_at.is_some(), task.state.is_final());
        assert!(task.attempts <= task.spec.max_attempts);
        let nodes: std::collections::BTreeSet<_> =
            task.seats.iter().map(|seat| &seat.node).collect();
        assert_eq!(nodes.len(), task.seats.len(), "two replicas on one node");
    }
    assert_eq!(stores.tasks.counts().await.unwrap(), counts);
    let open = own().filter(|task| !task.state.is_final());
    let reserved: u128 =
        open.filter_map(|task| task.spec.budget.as_ref()).map(|b| b.limit.base_units()).sum();
    let paid: u128 = own().map(|task| task.paid.base_units()).sum();
    let (alice, bob) = (super::account(stores, "alice").await, super::account(stores, "bob").await);
    assert_eq!((alice.debits_pending, alice.debits_posted), (units(reserved), units(paid)));
    assert_eq!(bob.credits_posted, units(paid));
    let escrow = super::account(stores, settlement::ESCROW).await;
    assert_eq!(escrow.credits_posted, escrow.debits_posted);
    tasks.iter().filter(|task| !task.state.is_final()).count()
}
