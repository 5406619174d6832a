//! The life of a task in a fog with workers: what a job says and saves, what it makes room for, and
//! whose results it reads.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fogcore::registry::{Heartbeat, PowerPolicy, PowerState};
use fogcore::scheduler::{
    Backoff, Backup, Executor, Failure, Job, LatePolicy, Output, ParentFailure, PreemptionPolicy,
    QueuePolicy, SchedulerError, SlaClass, TaskSpec, TaskState, executor_fn,
};
use fogcore::time::Clock;
use fogcore::{ErrorKind, Fog, FogConfig};

use common::{both_stores, is_balanced, node, node_id, quick, soon, spec, still, until};

fn work() -> fogcore::id::TaskKind {
    "work".parse().unwrap()
}

/// Leases are renewed every tenth of a second.
fn config() -> FogConfig {
    FogConfig { lease: Duration::from_millis(300), ..quick() }
}

async fn until_state(fog: &Fog, task: fogcore::id::TaskId, state: TaskState) {
    soon(async {
        while fog.task(task).await.unwrap().state != state {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_job_says_is_read_and_what_it_saves_is_gone_on_with() {
    let (stores, _folder) = both_stores().await;
    for (name, stores) in stores {
        let fog = Fog::builder().stores(stores).config(config()).open().await.unwrap();
        let count = executor_fn(|job: Job| async move {
            job.log(format!("attempt {}", job.attempt));
            let begun = job.checkpoint.clone().unwrap_or_default();
            if begun.len() < 3 {
                job.save([&begun[..], b"x"].concat())?;
                return Err(Failure::transient("not yet"));
            }
            job.log("done");
            Ok(Output::from(begun))
        });
        let worker = fog.worker(node("n", 1)).executor(work(), count).start().await.unwrap();
        let backoff = Backoff { initial: Duration::ZERO, ..Backoff::default() };
        let task = fog.submit(TaskSpec { max_attempts: 9, backoff, ..spec() }, "").await.unwrap();
        let done = soon(fog.wait(task.id)).await.unwrap();
        assert_eq!((done.state, done.attempts), (TaskState::Succeeded, 4), "{name}");
        assert_eq!(fog.result(task.id).await.unwrap().unwrap(), "xxx", "{name}");
        let log = fog.log(task.id, 0, 100).await.unwrap();
        let lines: Vec<_> = log.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(lines, ["attempt 1", "attempt 2", "attempt 3", "attempt 4", "done"], "{name}");
        let missing = fog.log(fogcore::id::TaskId::derive(b"t", "none"), 0, 1).await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound, "{name}");
        soon(worker.stop()).await;
        soon(fog.shutdown()).await;
    }
}

/// Counts to three, one step for each time it is let run; stops when it is asked to.
fn patient() -> Arc<dyn Executor> {
    executor_fn(|job: Job| async move {
        if job.payload == "urgent" {
            return Ok(Output::default());
        }
        if job.checkpoint.is_some() {
            return Ok(Output::from(Bytes::from("went on")));
        }
        let stop = job.until_stop_asked().await;
        assert_eq!(job.stop_asked(), Some(stop));
        job.save("half")?;
        Err(Failure::transient("stopped as asked"))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_urgent_task_takes_the_place_of_another_which_goes_on_later() {
    let (stores, _folder) = both_stores().await;
    for (name, stores) in stores {
        let preemption = PreemptionPolicy { after: Duration::ZERO, ..PreemptionPolicy::default() };
        let config = FogConfig { preemption, ..config() };
        let fog = Fog::builder().stores(stores).config(config).open().await.unwrap();
        let worker = fog.worker(node("n", 1)).executor(work(), patient()).start().await.unwrap();
        let once = TaskSpec { max_attempts: 1, ..spec() };
        let low = fog.submit(once.clone(), "patient").await.unwrap();
        until_state(&fog, low.id, TaskState::Leased).await;
        let equal = fog.submit(once, "urgent").await.unwrap();
        let high = fog.submit(TaskSpec { priority: 1, ..spec() }, "urgent").await.unwrap();
        let high = soon(fog.wait(high.id)).await.unwrap();
        assert_eq!(high.state, TaskState::Succeeded, "{name}");
        let low = soon(fog.wait(low.id)).await.unwrap();
        assert_eq!((low.state, low.attempts, low.fence), (TaskState::Succeeded, 1, 2), "{name}");
        assert_eq!(fog.result(low.id).await.unwrap().unwrap(), "went on", "{name}");
        assert!(high.ended_at < low.ended_at, "{name}");
        soon(fog.wait(equal.id)).await.unwrap();
        let tally = fog.tallies().await.unwrap()[&node_id("n")];
        assert_eq!((tally.succeeded, tally.failed, tally.released), (3, 0, 1), "{name}");
        assert!(is_balanced(&fog).await, "{name}");
        soon(worker.stop()).await;
        soon(fog.shutdown()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_is_left_to_whoever_uses_it_and_its_work_goes_on_elsewhere() {
    let power = PowerPolicy { stop_within: Duration::from_secs(10), ..PowerPolicy::default() };
    let heartbeat_every = Duration::from_millis(5);
    let config = FogConfig { power, heartbeat_every, ..config() };
    let fog = Fog::builder().config(config).open().await.unwrap();
    let used = Arc::new(AtomicBool::new(false));
    let seen = used.clone();
    let vitals = move || {
        let user_active = seen.load(Ordering::Relaxed);
        let power = PowerState { charging: true, user_active, ..PowerState::default() };
        Heartbeat::default().with_power(power)
    };
    let phone = fog.worker(node("phone", 1)).executor(work(), patient()).vitals(Arc::new(vitals));
    let phone = phone.start().await.unwrap();
    let task = fog.submit(TaskSpec { max_attempts: 1, ..spec() }, "patient").await.unwrap();
    until_state(&fog, task.id, TaskState::Leased).await;
    used.store(true, Ordering::Relaxed);
    until_state(&fog, task.id, TaskState::Queued).await;
    let other = fog.worker(node("box", 1)).executor(work(), patient()).start().await.unwrap();
    let done = soon(fog.wait(task.id)).await.unwrap();
    assert_eq!((done.state, done.done_by), (TaskState::Succeeded, Some(node_id("box"))));
    assert_eq!(fog.result(task.id).await.unwrap().unwrap(), "went on");
    soon(phone.stop()).await;
    soon(other.stop()).await;
    soon(fog.shutdown()).await;
}

/// Beats are far apart: how the phone is decides when it asks, not how it last said that it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_that_is_used_does_not_ask_for_work() {
    let config = FogConfig { heartbeat_every: Duration::from_secs(3_600), ..config() };
    let fog = Fog::builder().config(config).open().await.unwrap();
    let (used, looks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (seen, looked) = (used.clone(), looks.clone());
    let vitals = move || {
        looked.fetch_add(1, Ordering::Relaxed);
        let user_active = seen.load(Ordering::Relaxed);
        let power = PowerState { charging: true, user_active, ..PowerState::default() };
        Heartbeat::default().with_power(power)
    };
    let phone = fog.worker(node("phone", 1)).executor(work(), patient()).vitals(Arc::new(vitals));
    let phone = phone.start().await.unwrap();
    used.store(true, Ordering::Relaxed);
    // It may be on its way to ask; after the next look at itself it is not.
    let since = looks.load(Ordering::Relaxed);
    until(|| looks.load(Ordering::Relaxed) > since + 2).await;
    let task = fog.submit(spec(), "urgent").await.unwrap();
    let since = looks.load(Ordering::Relaxed);
    until(|| looks.load(Ordering::Relaxed) > since + 2).await;
    assert_eq!(fog.task(task.id).await.unwrap().state, TaskState::Queued);
    used.store(false, Ordering::Relaxed);
    assert_eq!(soon(fog.wait(task.id)).await.unwrap().state, TaskState::Succeeded);
    soon(phone.stop()).await;
    soon(fog.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_reads_what_its_parents_gave() {
    let (stores, _folder) = both_stores().await;
    for (name, stores) in stores {
        let fog = Fog::builder().stores(stores).config(config()).open().await.unwrap();
        let join = executor_fn(|job: Job| async move {
            if job.payload == "bad" {
                return Err(Failure::permanent("bad"));
            }
            let stranger = job.result_of(job.task).await.unwrap_err();
            assert_eq!(stranger.field(), Some("parent"));
            let mut all = job.payload.to_vec();
            for parent in job.parents.clone() {
                all.extend(job.result_of(parent).await.unwrap().unwrap_or_default());
            }
            Ok(Output::from(Bytes::from(all)))
        });
        let submit = async |payload: &'static str, after: &[fogcore::id::TaskId]| {
            let if_parent_fails = ParentFailure::Run;
            let spec = TaskSpec { after: after.to_vec(), if_parent_fails, ..spec() };
            fog.submit(spec, payload).await.unwrap().id
        };
        let (a, b) = (submit("a", &[]).await, submit("b", &[]).await);
        let bad = submit("bad", &[]).await;
        let c = submit("c", &[a, b, bad]).await;
        let d = submit("d", &[c, a]).await;
        assert_eq!(fog.task(d).await.unwrap().state, TaskState::Waiting, "{name}");
        let worker = fog.worker(node("n", 2)).executor(work(), join).start().await.unwrap();
        soon(fog.wait(d)).await.unwrap();
        assert_eq!(fog.result(d).await.unwrap().unwrap(), "dcaba", "{name}");
        let doomed = TaskSpec { after: vec![bad], ..spec() };
        let doomed = fog.submit(doomed, "x").await.unwrap();
        assert_eq!(doomed.state, TaskState::Cancelled, "{name}");
        soon(worker.stop()).await;
        soon(fog.shutdown()).await;
    }
}

#[tokio::test]
async fn a_configuration_of_the_queue_that_makes_no_sense_is_refused() {
    let none = QueuePolicy { open_per_payer: 0, ..QueuePolicy::default() };
    let long = QueuePolicy { retain_for: Duration::MAX, ..QueuePolicy::default() };
    let patient = PreemptionPolicy { notice: Duration::MAX, ..PreemptionPolicy::default() };
    let weights = Arc::new([("alice".parse().unwrap(), 0.0)].into());
    let cases = [
        (FogConfig { queue: none, ..quick() }, "queue.open_per_payer"),
        (FogConfig { queue: long, ..quick() }, "queue.retain_for"),
        (FogConfig { preemption: patient, ..quick() }, "preemption.notice"),
        (FogConfig { fair_weights: weights, ..quick() }, "fair_weights"),
    ];
    for (config, field) in cases {
        let refused = Fog::builder().config(config).open().await.unwrap_err();
        assert_eq!(refused.field(), Some(field));
    }
}

#[tokio::test]
async fn a_task_that_would_be_late_is_refused_if_it_wants_to_be() {
    let (builder, clock) = still();
    let fog = builder.open().await.unwrap();
    let worker = node("n", 2);
    fog.register(worker.clone()).await.unwrap();
    let now = clock.now();
    let in_time = |seconds| Some(now.saturating_add(Duration::from_secs(seconds)));
    let strict = |late, seconds| TaskSpec { late, deadline: in_time(seconds), ..spec() };
    // Nobody knows yet how long it takes.
    let first = fog.submit(strict(LatePolicy::RefuseEnd, 1), "").await.unwrap();
    assert_eq!(fog.forecast(&spec()).await.unwrap(), None);
    let given = fog.lease(&worker.id, 1).await.unwrap().remove(0);
    assert_eq!(given.task.id, first.id);
    let mut report = common::success(&given, &worker);
    report.usage.busy = Some(Duration::from_secs(10));
    fog.complete(vec![report]).await.unwrap().remove(0).unwrap();
    // Six wait that are more urgent: three rounds of ten seconds.
    for _ in 0..6 {
        fog.submit(TaskSpec { priority: 1, ..spec() }, "").await.unwrap();
    }
    let expected = fog.forecast(&spec()).await.unwrap().unwrap();
    assert_eq!(expected.begins_in, Duration::from_secs(30));
    let batch = vec![
        (strict(LatePolicy::RefuseBegin, 29), Bytes::new()),
        (strict(LatePolicy::RefuseEnd, 39), Bytes::new()),
        (strict(LatePolicy::Accept, 1), Bytes::from("taken")),
        (strict(LatePolicy::RefuseBegin, 60), Bytes::from("in time")),
    ];
    let answers = fog.submit_all(batch).await.unwrap();
    for refused in &answers[..2] {
        let refused = refused.as_ref().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Exhausted);
        assert!(matches!(refused.downcast_ref(), Some(SchedulerError::WouldBeLate { .. })));
    }
    assert!(answers[2].is_ok() && answers[3].is_ok());
}

#[tokio::test]
async fn an_end_that_is_reported_again_is_told_once() {
    let (builder, clock) = still();
    let fog = builder.open().await.unwrap();
    let worker = node("n", 2);
    fog.register(worker.clone()).await.unwrap();
    let task = fog.submit(spec(), "").await.unwrap();
    let other = fog.submit(spec(), "").await.unwrap();
    let given = fog.lease(&worker.id, 1).await.unwrap().remove(0);
    let mut events = fog.subscribe();
    for _ in 0..3 {
        let report = common::success(&given, &worker);
        fog.complete(vec![report]).await.unwrap().remove(0).unwrap();
        fog.cancel(other.id).await.unwrap();
        clock.advance(Duration::from_secs(1));
    }
    let told: Vec<_> = std::iter::from_fn(|| events.try_next()).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(fog.task(task.id).await.unwrap().state, TaskState::Succeeded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_workers_do_the_same_and_the_liar_is_found_out() {
    let (stores, _folder) = both_stores().await;
    for (name, stores) in stores {
        let fog = Fog::builder().stores(stores).config(config()).open().await.unwrap();
        fog.ledger().mint(&"alice".parse().unwrap(), common::fog("1")).await.unwrap();
        let mut workers = Vec::new();
        for (id, answer) in [("a", "right"), ("b", "wrong"), ("c", "right")] {
            let answer = executor_fn(move |_| async move { Ok(Output::from(Bytes::from(answer))) });
            let owner = format!("owner-of-{id}").parse().ok();
            let node = fogcore::registry::Node { owner, ..node(id, 2) };
            workers.push(fog.worker(node).executor(work(), answer).start().await.unwrap());
        }
        let task = TaskSpec { sla: SlaClass::S, ..common::paid() };
        let task = fog.submit(task, "x").await.unwrap();
        let done = soon(fog.wait(task.id)).await.unwrap();
        assert_eq!((done.state, done.paid), (TaskState::Succeeded, common::fog("0.02")), "{name}");
        assert_eq!(fog.result(task.id).await.unwrap().unwrap(), "right", "{name}");
        let trust = fog.trust().await.unwrap();
        let seen =
            |id: &str| (trust[&node_id(id)].agreed > 0.5, trust[&node_id(id)].disagreed > 0.5);
        let expected = [(true, false), (false, true), (true, false)];
        assert_eq!([seen("a"), seen("b"), seen("c")], expected, "{name}");
        assert!(is_balanced(&fog).await, "{name}");
        for worker in workers {
            soon(worker.stop()).await;
        }
        soon(fog.shutdown()).await;
    }
}

#[tokio::test]
async fn what_takes_much_longer_than_usual_gets_a_second_node() {
    let (builder, clock) = still();
    let fog = builder.open().await.unwrap();
    let (slow, quick) = (node("slow", 1), node("quick", 1));
    fog.register(slow.clone()).await.unwrap();
    let usual = fog.submit(spec(), "").await.unwrap();
    let given = fog.lease(&slow.id, 1).await.unwrap().remove(0);
    assert_eq!(given.task.id, usual.id);
    let mut report = common::success(&given, &slow);
    report.usage.busy = Some(Duration::from_secs(12));
    fog.complete(vec![report]).await.unwrap().remove(0).unwrap();
    fog.ledger().mint(&"alice".parse().unwrap(), common::fog("1")).await.unwrap();

    let task = TaskSpec { backup: Backup::WhenLate, ..common::paid() };
    let task = fog.submit(task, "").await.unwrap();
    let first = fog.lease(&slow.id, 1).await.unwrap().remove(0);
    fog.register(quick.clone()).await.unwrap();
    for seconds in [24, 5] {
        assert!(fog.lease(&quick.id, 1).await.unwrap().is_empty(), "it is not late yet");
        clock.advance(Duration::from_secs(seconds));
        fog.maintain().await.unwrap();
    }
    let beat = Heartbeat::new(1);
    fog.beat(&quick.id, beat).await.unwrap();
    let second = fog.lease(&quick.id, 1).await.unwrap().remove(0);
    assert_eq!(second.task.work(), task.id);
    let done = common::success(&second, &quick);
    fog.complete(vec![done]).await.unwrap().remove(0).unwrap();
    let done = fog.task(task.id).await.unwrap();
    assert_eq!((done.state, done.paid), (TaskState::Succeeded, common::fog("0.01")));
    assert_eq!(done.done_by, Some(quick.id));
    let renewed = fog.renew(vec![(common::claim(&first), Default::default())]).await.unwrap();
    assert_eq!(renewed[0].as_ref().unwrap_err().kind(), ErrorKind::Conflict);
    assert!(is_balanced(&fog).await);
}
