//! What every [`TaskStore`](crate::scheduler::TaskStore) promises about the life of a leased task.

use std::sync::Arc;
use std::time::Duration;

use super::{
    at, claim, complete, failure, lease, lease_one, node, node_id, spec, submit, success, task_id,
};
use crate::error::ErrorKind;
use crate::scheduler::{
    MAX_BATCH, MAX_BYTES, NewTask, Outcome, Progress, QueuePolicy, Reason, Renewal, TaskSpec,
    TaskState, Usage,
};
use crate::storage::Stores;

/// After a failure the task waits for its backoff, then anyone may try.
pub async fn a_failed_attempt_waits_and_is_tried_again(stores: &Stores) {
    submit(stores, "t", spec()).await.unwrap();
    let first = lease_one(stores, "n", at(1)).await;
    assert_eq!((first.task.attempts, first.task.fence), (1, 1));
    let waiting = complete(stores, failure(claim(&first), false), at(2)).await.unwrap();
    assert_eq!(waiting.state, TaskState::Queued);
    assert_eq!(waiting.failure.as_deref(), Some("broke"));
    assert!(waiting.ready_at > at(2) && waiting.ready_at <= at(3));
    assert_eq!(lease(stores, node("m", 1), 1, at(2)).await, []);
    assert_eq!(stores.tasks.promote(at(2), 10).await.unwrap(), 0);
    assert_eq!(stores.tasks.promote(at(3), 10).await.unwrap(), 1);
    let second = lease_one(stores, "m", at(3)).await;
    assert_eq!((second.task.attempts, second.task.fence), (2, 2));
    let done = complete(stores, success(claim(&second), None), at(4)).await.unwrap();
    assert_eq!((done.state, done.done_by), (TaskState::Succeeded, Some(node_id("m"))));
    assert_eq!(done.ended_at, Some(at(4)));
    let tallies = stores.tasks.tallies().await.unwrap();
    let (n, m) = (tallies[&node_id("n")], tallies[&node_id("m")]);
    assert_eq!((n.failed, n.succeeded, n.busy), (1, 0, Duration::from_millis(500)));
    assert_eq!((m.failed, m.succeeded, m.busy), (0, 1, Duration::from_millis(1_500)));
}

/// The last attempt that fails makes a task dead.
pub async fn attempts_run_out(stores: &Stores) {
    submit(stores, "t", TaskSpec { max_attempts: 2, ..spec() }).await.unwrap();
    let first = lease_one(stores, "n", at(1)).await;
    complete(stores, failure(claim(&first), false), at(2)).await.unwrap();
    stores.tasks.promote(at(10), 10).await.unwrap();
    lease_one(stores, "n", at(10)).await;
    let dead = stores.tasks.expire(at(40), 10).await.unwrap().remove(0);
    assert_eq!((dead.state, dead.ended_at), (TaskState::Dead, Some(at(40))));
    assert_eq!(dead.failure.as_deref(), Some("the lease of \"n\" ran out"));
    assert_eq!(lease(stores, node("n", 1), 1, at(50)).await, []);
}

/// An executor that knows better ends the task at once.
pub async fn a_permanent_failure_ends_the_task(stores: &Stores) {
    submit(stores, "t", spec()).await.unwrap();
    let leased = lease_one(stores, "n", at(1)).await;
    let failed = complete(stores, failure(claim(&leased), true), at(2)).await.unwrap();
    assert_eq!((failed.state, failed.ended_at), (TaskState::Failed, Some(at(2))));
    assert_eq!(stores.tasks.result(task_id("t")).await.unwrap(), None);
}

/// A lease that runs out puts the task back at once; only the new holder is listened to.
pub async fn a_lost_lease_goes_to_another_node(stores: &Stores) {
    submit(stores, "t", spec()).await.unwrap();
    let lost = lease_one(stores, "n", at(1)).await;
    assert_eq!(stores.tasks.expire(at(30), 10).await.unwrap(), []);
    let back = stores.tasks.expire(at(31), 10).await.unwrap().remove(0);
    assert_eq!((back.state, back.ready_at), (TaskState::Queued, at(31)));
    assert_eq!(stores.tasks.expire(at(31), 10).await.unwrap(), []);
    let taken = lease_one(stores, "m", at(32)).await;
    assert_eq!(taken.task.fence, 2);
    for late in [success(claim(&lost), None), failure(claim(&lost), true)] {
        let refused = complete(stores, late, at(33)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict);
    }
    let renewal = Renewal::new(claim(&lost), at(99));
    let refused = stores.tasks.renew(vec![renewal], at(33)).await.unwrap().remove(0);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Conflict);
    complete(stores, success(claim(&taken), None), at(34)).await.unwrap();
    assert_eq!(stores.tasks.tallies().await.unwrap()[&node_id("n")].lost, 1);
}

/// Renewing moves the end of the lease and keeps what the holder told.
pub async fn a_renewed_lease_holds_and_keeps_progress(stores: &Stores) {
    submit(stores, "t", spec()).await.unwrap();
    let leased = lease_one(stores, "n", at(1)).await;
    let renew = |expires_at, progress: Option<Progress>| {
        let renewal = Renewal { news: progress.into(), ..Renewal::new(claim(&leased), expires_at) };
        stores.tasks.renew(vec![renewal], at(2))
    };
    let half = Progress::new(0.5, "half — ½");
    renew(at(100), Some(half.clone())).await.unwrap().remove(0).unwrap();
    let renewed = renew(at(200), None).await.unwrap().remove(0).unwrap();
    assert_eq!(renewed.progress, Some(half));
    assert_eq!(stores.tasks.expire(at(199), 10).await.unwrap(), []);
    assert_eq!(stores.tasks.task(task_id("t")).await.unwrap(), Some(renewed));
    assert_eq!(stores.tasks.expire(at(200), 10).await.unwrap().len(), 1);
}

/// Giving back is not failing.
pub async fn a_released_lease_costs_no_attempt(stores: &Stores) {
    submit(stores, "t", TaskSpec { max_attempts: 1, ..spec() }).await.unwrap();
    for round in 1..4 {
        let leased = lease_one(stores, "n", at(round)).await;
        assert_eq!((leased.task.attempts, leased.task.fence), (1, round));
        let back = stores.tasks.release(vec![claim(&leased)], at(round)).await.unwrap().remove(0);
        assert_eq!(back.unwrap().attempts, 0);
        let again = stores.tasks.release(vec![claim(&leased)], at(round)).await.unwrap().remove(0);
        assert_eq!(again.unwrap_err().kind(), ErrorKind::Conflict);
    }
    assert_eq!(stores.tasks.tallies().await.unwrap()[&node_id("n")].released, 3);
}

/// A task that was not handed out in time fails; one that was may go on.
pub async fn a_passed_deadline_ends_a_waiting_task(stores: &Stores) {
    for name in ["taken", "waits"] {
        submit(stores, name, TaskSpec { deadline: Some(at(5)), ..spec() }).await.unwrap();
    }
    let taken = lease_one(stores, "n", at(1)).await;
    assert_eq!(stores.tasks.expire(at(4), 10).await.unwrap(), []);
    let ended = stores.tasks.expire(at(5), 10).await.unwrap();
    assert_eq!(ended.len(), 1);
    assert_eq!((ended[0].id, ended[0].state), (task_id("waits"), TaskState::Failed));
    let done = complete(stores, success(claim(&taken), None), at(6)).await.unwrap();
    assert_eq!(done.state, TaskState::Succeeded);
}

/// Cancelled is final, for the queue and for the holder.
pub async fn a_cancelled_task_accepts_nothing_more(stores: &Stores) {
    for name in ["leased", "queued", "done"] {
        submit(stores, name, spec()).await.unwrap();
    }
    let leased = lease_one(stores, "n", at(1)).await;
    for name in ["leased", "queued", "queued"] {
        let cancelled = stores.tasks.cancel(task_id(name), at(2)).await.unwrap();
        assert_eq!(cancelled.state, TaskState::Cancelled);
        assert_eq!(cancelled.ended_at, Some(at(2)));
    }
    let late = complete(stores, success(claim(&leased), None), at(3)).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Conflict);
    let done = lease_one(stores, "n", at(4)).await;
    assert_eq!(done.task.id, task_id("done"));
    complete(stores, success(claim(&done), None), at(5)).await.unwrap();
    let refused = stores.tasks.cancel(task_id("done"), at(6)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    let missing = stores.tasks.cancel(task_id("none"), at(6)).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

/// Who asks why, is told – the latest why, after a retry.
pub async fn the_explanation_is_kept(stores: &Stores) {
    submit(stores, "t", spec()).await.unwrap();
    assert_eq!(stores.tasks.explanation(task_id("t")).await.unwrap(), None);
    for (second, name) in [(1, "n"), (100, "m")] {
        lease_one(stores, name, at(second)).await;
        let explanation = stores.tasks.explanation(task_id("t")).await.unwrap().unwrap();
        assert_eq!((explanation.chosen, explanation.at), (Some(node_id(name)), at(second)));
        assert_eq!(explanation.reason, Reason::OnlyCandidate);
        assert_eq!(explanation.considered.len(), 1);
        stores.tasks.expire(at(second + 50), 10).await.unwrap();
    }
}

/// One MiB of any bytes is fine, one more is not.
pub async fn large_payloads_and_results_come_back(stores: &Stores) {
    let bytes: bytes::Bytes = (0..MAX_BYTES).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let too_long: bytes::Bytes = vec![0; MAX_BYTES + 1].into();
    let new = |name: &str, payload: &bytes::Bytes| {
        let spec = Arc::new(spec());
        NewTask { id: task_id(name), spec, payload: payload.clone() }
    };
    let batch = vec![new("large", &bytes), new("too large", &too_long), new("empty", &"".into())];
    let answers = stores.tasks.submit(batch, QueuePolicy::default(), at(0)).await.unwrap();
    assert_eq!(answers[1].as_ref().unwrap_err().field(), Some("payload"));
    let granted = lease(stores, node("n", 2), 2, at(1)).await;
    assert_eq!(granted[0].payload, bytes);
    assert_eq!(granted[1].payload.len(), 0);
    let report = |index: usize, result: &bytes::Bytes| crate::scheduler::Completion {
        claim: claim(&granted[index]),
        outcome: Outcome::Succeeded { result: result.clone(), reward: None },
        usage: Usage { bytes_moved: Some(u64::MAX), ..Usage::default() },
        log: Vec::new(),
        score: None,
    };
    let refused = complete(stores, report(0, &too_long), at(2)).await.unwrap_err();
    assert_eq!(refused.field(), Some("result"));
    let done = complete(stores, report(0, &bytes), at(2)).await.unwrap();
    assert_eq!(stores.tasks.task(done.id).await.unwrap().as_ref(), Some(&done));
    assert_eq!(stores.tasks.result(done.id).await.unwrap(), Some(bytes));
    complete(stores, report(1, &"".into()), at(2)).await.unwrap();
    assert_eq!(stores.tasks.result(task_id("empty")).await.unwrap(), Some("".into()));
}

/// What is too long or too short is refused as a whole.
pub async fn limits_of_a_call_are_checked(stores: &Stores) {
    let new = |number: usize| NewTask {
        id: task_id(&number.to_string()),
        spec: Arc::new(spec()),
        payload: "".into(),
    };
    let long = (0..=MAX_BATCH).map(new).collect();
    assert_eq!(
        stores.tasks.submit(long, QueuePolicy::default(), at(0)).await.unwrap_err().field(),
        Some("batch")
    );
    assert_eq!(stores.tasks.expire(at(0), 0).await.unwrap_err().field(), Some("limit"));
    assert_eq!(stores.tasks.promote(at(0), 1_001).await.unwrap_err().field(), Some("limit"));
    assert_eq!(
        stores.tasks.submit(Vec::new(), QueuePolicy::default(), at(0)).await.unwrap().len(),
        0
    );
    assert_eq!(stores.tasks.complete(Vec::new(), at(0)).await.unwrap().len(), 0);
    assert!(stores.tasks.counts().await.unwrap().is_empty());
}
