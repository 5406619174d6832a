//! What every [`TaskStore`](crate::scheduler::TaskStore) promises about leases that end early.

use super::{
    account_id, at, claim, complete, fund, lease, lease_one, node, node_id, spec, submit, success,
    task_id, units,
};
use crate::error::ErrorKind;
use crate::scheduler::queue::Victim;
use crate::scheduler::{Renewal, Task, TaskSpec, TaskState};
use crate::storage::Stores;

fn with_priority(priority: i16) -> TaskSpec {
    TaskSpec { priority, ..spec() }
}

async fn urgent(stores: &Stores, seconds: u64) -> Vec<Task> {
    stores.tasks.urgent(at(seconds), 0, 10).await.unwrap()
}

/// More urgent tasks, and as urgent ones that are due earlier, come first; what runs counts apart.
pub async fn what_comes_first_is_counted_by_kind(stores: &Stores) {
    let kind = |name: &str| name.parse::<crate::id::TaskKind>().unwrap();
    let task = |kind_name: &str, priority, deadline: Option<u64>| TaskSpec {
        kind: kind(kind_name),
        deadline: deadline.map(at),
        ..with_priority(priority)
    };
    let specs = [
        ("1", task("work", 0, None)),
        ("2", task("work", 1, None)),
        ("3", task("work", 2, None)),
        ("4", task("other", 2, None)),
        ("5", task("other", 1, Some(50))),
        ("6", task("other", 1, Some(60))),
        ("7", task("work", 1, Some(40))),
    ];
    for (name, spec) in specs {
        submit(stores, name, spec).await.unwrap();
    }
    let ahead = stores.tasks.ahead(1, Some(at(50))).await.unwrap();
    assert_eq!(ahead.queued, [(kind("work"), 2), (kind("other"), 2)].into());
    assert!(ahead.running.is_empty());
    assert_eq!(lease_one(stores, "n", at(1)).await.task.id, task_id("3"));
    let ahead = stores.tasks.ahead(1, None).await.unwrap();
    assert_eq!(ahead.queued, [(kind("work"), 1), (kind("other"), 3)].into());
    assert_eq!(ahead.running, [(kind("work"), 1)].into());
    let ahead = stores.tasks.ahead(2, Some(at(1))).await.unwrap();
    assert!(ahead.queued.is_empty());
}

/// Whatever waits, nothing is urgent while all that runs is as urgent.
pub async fn an_urgent_task_is_found_only_if_something_less_urgent_runs(stores: &Stores) {
    submit(stores, "low", with_priority(1)).await.unwrap();
    submit(stores, "equal", with_priority(1)).await.unwrap();
    assert!(urgent(stores, 9).await.is_empty(), "nothing runs");
    lease_one(stores, "n", at(1)).await;
    assert!(urgent(stores, 9).await.is_empty(), "equals wait");
    let other = TaskSpec { kind: "other".parse().unwrap(), ..with_priority(2) };
    submit(stores, "high", other).await.unwrap();
    submit(stores, "higher", with_priority(3)).await.unwrap();
    submit(stores, "lower", with_priority(0)).await.unwrap();
    let found: Vec<_> = urgent(stores, 0).await.iter().map(|task| task.id).collect();
    assert_eq!(found, [task_id("higher"), task_id("high")]);
    let later = TaskSpec { not_before: Some(at(5)), ..with_priority(4) };
    submit(stores, "later", later).await.unwrap();
    stores.tasks.promote(at(5), 10).await.unwrap();
    assert_eq!(urgent(stores, 4).await.len(), 2);
    assert_eq!(urgent(stores, 5).await.len(), 3);
    let page = async |skip| stores.tasks.urgent(at(5), skip, 1).await.unwrap();
    assert_eq!(page(0).await[0].id, task_id("later"));
    assert_eq!(page(2).await[0].id, task_id("high"));
    assert_eq!(page(3).await, []);
    let running = stores.tasks.running(&[node_id("n"), node_id("m")], 9).await.unwrap();
    assert_eq!(running.iter().map(|task| task.id).collect::<Vec<_>>(), [task_id("low")]);
    assert_eq!(stores.tasks.running(&[], 9).await.unwrap(), []);
}

/// Its holder may not stay, however often it renews, and a second notice does not shorten the first.
pub async fn a_preempted_task_waits_again_and_keeps_its_attempt(stores: &Stores) {
    submit(stores, "t", TaskSpec { max_attempts: 1, ..spec() }).await.unwrap();
    let leased = lease_one(stores, "n", at(1)).await;
    let victim = Victim::of(&leased.task).unwrap();
    let stale = Victim { fence: 7, ..victim.clone() };
    let preempt = async |victim: &Victim, until| {
        stores.tasks.preempt(vec![victim.clone()], at(until), at(2)).await.unwrap()
    };
    assert_eq!(preempt(&stale, 10).await, []);
    let told = preempt(&victim, 10).await.remove(0);
    assert_eq!(told.lease.as_ref().unwrap().preempt_at, Some(at(10)));
    assert_eq!(Victim::of(&told), None);
    assert_eq!(preempt(&victim, 5).await, []);
    let renewal = Renewal::new(claim(&leased), at(99));
    let renewed = stores.tasks.renew(vec![renewal], at(3)).await.unwrap().remove(0).unwrap();
    let lease = renewed.lease.unwrap();
    assert_eq!((lease.expires_at, lease.preempt_at), (at(10), Some(at(10))));
    assert_eq!(stores.tasks.expire(at(9), 10).await.unwrap(), []);
    let back = stores.tasks.expire(at(10), 10).await.unwrap().remove(0);
    assert_eq!((back.state, back.attempts, back.ready_at), (TaskState::Queued, 0, at(10)));
    let late = complete(stores, success(claim(&leased), None), at(11)).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Conflict);
    let again = lease_one(stores, "m", at(12)).await;
    assert_eq!((again.task.attempts, again.task.fence), (1, 2));
    assert_eq!(stores.tasks.tallies().await.unwrap()[&node_id("n")].released, 1);
    // One whose lease ran out before the notice was lost like any other.
    let victim = Victim::of(&again.task).unwrap();
    assert_eq!(preempt(&victim, 99).await.len(), 1);
    let dead = stores.tasks.expire(at(50), 10).await.unwrap().remove(0);
    assert_eq!(dead.state, TaskState::Dead);
}

/// Work that is done in time is work that is done.
pub async fn who_ends_within_the_notice_is_paid(stores: &Stores) {
    fund(stores, 100).await;
    let paid = spec().paid_by(account_id("alice"), units(10));
    for name in ["done", "given back"] {
        submit(stores, name, paid.clone()).await.unwrap();
    }
    let granted = lease(stores, node("n", 2), 2, at(1)).await;
    let victims = granted.iter().filter_map(|given| Victim::of(&given.task)).collect();
    assert_eq!(stores.tasks.preempt(victims, at(10), at(2)).await.unwrap().len(), 2);
    let done = complete(stores, success(claim(&granted[0]), Some(7)), at(9)).await.unwrap();
    assert_eq!((done.state, done.paid), (TaskState::Succeeded, units(7)));
    let back = stores.tasks.release(vec![claim(&granted[1])], at(9)).await.unwrap().remove(0);
    assert_eq!(back.unwrap().attempts, 0);
    assert_eq!(stores.tasks.expire(at(99), 10).await.unwrap(), []);
    let alice = super::account(stores, "alice").await;
    assert_eq!((alice.debits_pending, alice.debits_posted), (units(10), units(7)));
}
