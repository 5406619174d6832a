//! What every [`TaskStore`](crate::scheduler::TaskStore) promises about tasks that wait for others.

use std::sync::Arc;
use std::time::Duration;

use super::{
    account, account_id, at, claim, complete, failure, fund, lease, lease_one, node, spec, submit,
    success, task_id, units,
};
use crate::error::ErrorKind;
use crate::scheduler::{
    NewTask, ParentFailure, QueuePolicy, SchedulerError, Task, TaskSpec, TaskState,
};
use crate::storage::Stores;

fn after(names: &[&str]) -> TaskSpec {
    TaskSpec { after: names.iter().map(|name| task_id(name)).collect(), ..spec() }
}

async fn task(stores: &Stores, name: &str) -> Task {
    stores.tasks.task(task_id(name)).await.unwrap().unwrap()
}

async fn state(stores: &Stores, name: &str) -> TaskState {
    task(stores, name).await.state
}

/// Looks at what waits until nothing moves.
async fn settle(stores: &Stores, seconds: u64) -> usize {
    let mut moved = 0;
    loop {
        let now = stores.tasks.advance(at(seconds), 10).await.unwrap().len();
        if now == 0 {
            return moved;
        }
        moved += now;
    }
}

/// Nobody gets it before, and it is ready once the last one succeeded, or later if it says so.
pub async fn a_task_waits_until_its_parents_ended(stores: &Stores) {
    let new = |name: &str, spec| NewTask {
        id: task_id(name),
        spec: Arc::new(spec),
        payload: name.to_owned().into(),
    };
    let later = TaskSpec { not_before: Some(at(50)), ..after(&["b"]) };
    // One batch may hold parents and children.
    let batch =
        vec![new("a", spec()), new("b", spec()), new("c", after(&["a", "b"])), new("d", later)];
    let answers = stores.tasks.submit(batch, QueuePolicy::default(), at(0)).await.unwrap();
    let states: Vec<_> = answers.iter().map(|a| a.as_ref().unwrap().task.state).collect();
    use TaskState::{Queued, Waiting};
    assert_eq!(states, [Queued, Queued, Waiting, Waiting]);
    let granted = lease(stores, node("n", 9), 9, at(1)).await;
    assert_eq!(granted.len(), 2);
    let a = complete(stores, success(claim(&granted[0]), None), at(2)).await.unwrap();
    assert!(a.awaited);
    assert_eq!(settle(stores, 2).await, 0);
    assert_eq!(state(stores, "c").await, Waiting);
    complete(stores, success(claim(&granted[1]), None), at(3)).await.unwrap();
    assert_eq!(settle(stores, 4).await, 2);
    let c = lease_one(stores, "m", at(4)).await.task;
    assert_eq!((c.id, c.ready_at), (task_id("c"), at(4)));
    let d = task(stores, "d").await;
    assert_eq!((d.state, d.ready_at), (Queued, at(50)));
    // What waits for tasks that succeeded already does not wait.
    assert_eq!(submit(stores, "e", after(&["a", "b"])).await.unwrap().state, Queued);
    let counts = stores.tasks.counts().await.unwrap();
    let expected = [(Queued, 2), (TaskState::Leased, 1), (TaskState::Succeeded, 2)];
    assert_eq!(counts, expected.into());
}

/// Cancelled with its budget freed, run all the same, or held until somebody decides.
pub async fn what_a_failed_parent_means_is_the_tasks_choice(stores: &Stores) {
    fund(stores, 100).await;
    submit(stores, "bad", spec()).await.unwrap();
    submit(stores, "good", spec()).await.unwrap();
    let both = |if_parent_fails| {
        let spec = after(&["bad", "good"]).paid_by(account_id("alice"), units(10));
        TaskSpec { if_parent_fails, ..spec }
    };
    submit(stores, "cancel", both(ParentFailure::Cancel)).await.unwrap();
    submit(stores, "run", both(ParentFailure::Run)).await.unwrap();
    submit(stores, "hold", both(ParentFailure::Hold)).await.unwrap();
    assert_eq!(account(stores, "alice").await.debits_pending, units(30));
    let granted = lease(stores, node("n", 2), 2, at(1)).await;
    complete(stores, failure(claim(&granted[0]), true), at(2)).await.unwrap();
    assert_eq!(settle(stores, 3).await, 1);
    let cancelled = task(stores, "cancel").await;
    assert_eq!((cancelled.state, cancelled.ended_at), (TaskState::Cancelled, Some(at(3))));
    assert!(cancelled.failure.unwrap().contains(&task_id("bad").to_string()));
    assert_eq!(account(stores, "alice").await.debits_pending, units(20));
    let early = stores.tasks.resume(task_id("hold"), at(3)).await.unwrap_err();
    assert_eq!(early.kind(), ErrorKind::Conflict);
    complete(stores, success(claim(&granted[1]), None), at(4)).await.unwrap();
    assert_eq!(settle(stores, 5).await, 2);
    assert_eq!(state(stores, "run").await, TaskState::Queued);
    let held = task(stores, "hold").await;
    assert!(held.held && held.state == TaskState::Waiting);
    assert_eq!(settle(stores, 6).await, 0);
    let resumed = stores.tasks.resume(task_id("hold"), at(7)).await.unwrap();
    assert_eq!((resumed.state, resumed.held, resumed.ready_at), (TaskState::Queued, false, at(7)));
    assert!(stores.tasks.resume(task_id("hold"), at(7)).await.is_err());
    let missing = stores.tasks.resume(task_id("none"), at(7)).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    // After a failure it makes no difference whether it came before or after the submission.
    let late = submit(stores, "late", both(ParentFailure::Cancel)).await.unwrap();
    assert_eq!(late.state, TaskState::Cancelled);
    let late = submit(stores, "late hold", both(ParentFailure::Hold)).await.unwrap();
    assert!(late.held);
    stores.tasks.cancel(task_id("late hold"), at(8)).await.unwrap();
    assert_eq!(account(stores, "alice").await.debits_pending, units(20));
}

/// A diamond and its tail: whoever waits for what was cancelled is cancelled, too.
pub async fn a_chain_of_tasks_is_called_off_from_its_beginning(stores: &Stores) {
    submit(stores, "0", spec()).await.unwrap();
    for (name, parents) in
        [("1", vec!["0"]), ("2", vec!["0"]), ("3", vec!["1", "2"]), ("4", vec!["3"])]
    {
        submit(stores, name, after(&parents)).await.unwrap();
    }
    let run = TaskSpec { if_parent_fails: ParentFailure::Run, ..after(&["4"]) };
    submit(stores, "cleanup", run).await.unwrap();
    stores.tasks.cancel(task_id("0"), at(1)).await.unwrap();
    assert_eq!(settle(stores, 2).await, 5);
    for name in ["1", "2", "3", "4"] {
        assert_eq!(state(stores, name).await, TaskState::Cancelled, "{name}");
    }
    assert_eq!(lease_one(stores, "n", at(3)).await.task.id, task_id("cleanup"));
}

/// There are no circles, because nobody can wait for what is not there; and a limit holds.
pub async fn a_parent_must_be_there(stores: &Stores) {
    fund(stores, 100).await;
    let orphan = after(&["missing"]).paid_by(account_id("alice"), units(10));
    let refused = submit(stores, "t", orphan).await.unwrap_err();
    assert_eq!((refused.kind(), refused.field()), (ErrorKind::InvalidInput, Some("after")));
    assert!(matches!(refused.downcast_ref(), Some(SchedulerError::ParentNotFound(_))));
    assert_eq!(submit(stores, "t", after(&["t"])).await.unwrap_err().field(), Some("after"));
    assert!(account(stores, "alice").await.debits_pending.is_zero());
    submit(stores, "a", spec()).await.unwrap();
    assert_eq!(submit(stores, "t", after(&["a", "a"])).await.unwrap_err().field(), Some("after"));
    let names: Vec<_> = (0..65).map(|number| number.to_string()).collect();
    for name in &names {
        submit(stores, name, spec()).await.unwrap();
    }
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    assert_eq!(submit(stores, "t", after(&names)).await.unwrap_err().field(), Some("after"));
    let most = submit(stores, "t", after(&names[..64])).await.unwrap();
    assert_eq!(most.state, TaskState::Waiting);
    assert_eq!(stores.tasks.task(most.id).await.unwrap(), Some(most));
}

/// Whatever its retention says, a result stays until nobody needs it any more.
pub async fn what_a_parent_gave_is_kept_while_it_is_needed(stores: &Stores) {
    let short = TaskSpec { retain_for: Some(Duration::ZERO), ..spec() };
    submit(stores, "parent", short).await.unwrap();
    submit(stores, "child", after(&["parent"])).await.unwrap();
    let parent = lease_one(stores, "n", at(1)).await;
    complete(stores, success(claim(&parent), None), at(2)).await.unwrap();
    // Also one that is submitted later, as long as it is there.
    submit(stores, "late child", after(&["parent"])).await.unwrap();
    settle(stores, 3).await;
    for name in ["child", "late child"] {
        assert_eq!(stores.tasks.purge(at(9), 10).await.unwrap(), 0);
        assert_eq!(stores.tasks.result(parent.task.id).await.unwrap(), Some("done".into()));
        stores.tasks.cancel(task_id(name), at(9)).await.unwrap();
    }
    assert_eq!(stores.tasks.purge(at(9), 10).await.unwrap(), 1);
    assert_eq!(stores.tasks.result(parent.task.id).await.unwrap(), None);
}

/// Waiting for others is no excuse.
pub async fn the_deadline_of_a_waiting_task_counts(stores: &Stores) {
    submit(stores, "parent", spec()).await.unwrap();
    let late = TaskSpec { deadline: Some(at(5)), ..after(&["parent"]) };
    submit(stores, "late", late).await.unwrap();
    assert_eq!(stores.tasks.expire(at(4), 10).await.unwrap(), []);
    let ended = stores.tasks.expire(at(5), 10).await.unwrap();
    assert_eq!((ended[0].id, ended[0].state), (task_id("late"), TaskState::Failed));
    stores.tasks.cancel(task_id("parent"), at(6)).await.unwrap();
    assert_eq!(settle(stores, 6).await, 0);
}
