//! The whole, as an application sees it: workers at work, time that passes, and money that follows.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fogcore::event::{Event, Notice, Subscription};
use fogcore::id::TaskId;
use fogcore::ledger::{Account, Purpose, Transfer};
use fogcore::registry::{Heartbeat, Ineligible, Liveness, Node, Percent, PowerState};
use fogcore::scheduler::{
    Backoff, Failure, MAX_BYTES, News, Output, Progress, Refusal, TaskSpec, TaskState, executor_fn,
    settlement,
};
use fogcore::storage;
use fogcore::time::{Clock, ManualClock, Timestamp};
use fogcore::{Error, ErrorKind, Fog, FogConfig};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{Barrier, mpsc};
use tokio_util::sync::CancellationToken;

use common::{
    account_id, both_stores, claim, failure, fog as amount, funds, is_balanced, node, node_id,
    paid, quick, soon, spec, still, success, until,
};

const QUICK_LEASE: Duration = Duration::from_millis(300);

fn without_backoff(spec: TaskSpec) -> TaskSpec {
    let backoff = Backoff { initial: Duration::ZERO, ..Backoff::default() };
    TaskSpec { backoff, ..spec }
}

fn waiting(events: &mut Subscription) -> Vec<Notice> {
    std::iter::from_fn(|| events.try_next()).collect()
}

/// Waits until the bus tells what `wanted` recognises, and gives everything up to it.
async fn hear(events: &mut Subscription, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
    soon(async {
        let mut heard = Vec::new();
        while let Some(notice) = events.next().await {
            if let Notice::Event(event) = notice {
                let found = wanted(&event);
                heard.push(event);
                if found {
                    return heard;
                }
            }
        }
        panic!("the bus ended after {heard:?}");
    })
    .await
}

// Workers

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_is_submitted_executed_and_paid() {
    let (stores, _folder) = both_stores().await;
    for (name, stores) in stores {
        let fog = Fog::builder().stores(stores).config(quick()).open().await.unwrap();
        let mut events = fog.subscribe();
        let gate = CancellationToken::new();
        let opened = gate.clone();
        let shout = executor_fn(move |job| {
            let opened = opened.clone();
            async move {
                job.report(0.5, "half way");
                opened.cancelled().await;
                let result = job.payload.to_ascii_uppercase().into();
                Ok(Output { result, bytes_moved: Some(3), ..Output::default() })
            }
        });
        let work = "work".parse().unwrap();
        let worker = fog.worker(node("laptop", 2)).executor(work, shout).start().await.unwrap();
        fog.ledger().mint(&account_id("alice"), amount("1")).await.unwrap();
        let task = fog.submit(paid(), "hello").await.unwrap();
        assert_eq!(funds(&fog, "alice").await, (amount("0.9"), amount("0.1")), "{name}");

        // The progress travels with a renewal, long before the work ends.
        hear(&mut events, |event| {
            matches!(event, Event::TaskProgressed { task: about, done } if *about == task.id
                && (0.49..0.51).contains(done))
        })
        .await;
        let at_work = soon(async {
            loop {
                let now = fog.task(task.id).await.unwrap();
                if now.progress.is_some() {
                    return now;
                }
            }
        })
        .await;
        assert_eq!(at_work.progress.unwrap().note, "half way", "{name}");
        assert_eq!(at_work.state, TaskState::Leased, "{name}");
        gate.cancel();

        let done = soon(fog.wait(task.id)).await.unwrap();
        assert_eq!(done.state, TaskState::Succeeded, "{name}");
        assert_eq!(done.done_by, Some(node_id("laptop")), "{name}");
        assert_eq!((done.paid, done.attempts), (amount("0.01"), 1), "{name}");
        assert_eq!(done.usage.unwrap().bytes_moved, Some(3), "{name}");
        assert_eq!(fog.result(task.id).await.unwrap().unwrap(), "HELLO", "{name}");
        let explanation = fog.explanation(task.id).await.unwrap().unwrap();
        assert_eq!(explanation.chosen, Some(node_id("laptop")), "{name}");
        hear(&mut events, |event| {
            matches!(event, Event::TaskSucceeded { task: about, node, paid }
                if *about == task.id && node.as_str() == "laptop" && *paid == amount("0.01"))
        })
        .await;
        assert_eq!(funds(&fog, "alice").await, (amount("0.99"), amount("0")), "{name}");
        assert_eq!(funds(&fog, "bob").await.0, amount("0.01"), "{name}");
        assert_eq!(fog.tallies().await.unwrap()[&node_id("laptop")].succeeded, 1, "{name}");
        assert!(is_balanced(&fog).await, "{name}");
        soon(worker.stop()).await;
        soon(fog.shutdown()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_fails_the_attempt_and_nothing_else() {
    let fog = Fog::builder().config(quick()).open().await.unwrap();
    let mut events = fog.subscribe();
    let executor = executor_fn(|job| async move {
        assert!(job.payload != "bad" || job.attempt > 1, "no good");
        Ok(Output::from(job.payload))
    });
    let work = "work".parse().unwrap();
    let worker = fog.worker(node("laptop", 4)).executor(work, executor).start().await.unwrap();
    fog.ledger().mint(&account_id("alice"), amount("1")).await.unwrap();
    let bad = fog.submit(without_backoff(paid()), "bad").await.unwrap();
    let good = fog.submit(without_backoff(paid()), "good").await.unwrap();
    let (bad, good) = tokio::join!(soon(fog.wait(bad.id)), soon(fog.wait(good.id)));
    let (bad, good) = (bad.unwrap(), good.unwrap());
    assert_eq!((bad.state, bad.attempts), (TaskState::Succeeded, 2));
    assert_eq!((good.state, good.attempts), (TaskState::Succeeded, 1));
    let heard = hear(&mut events, |event| {
        matches!(event, Event::TaskRetrying { task, reason }
            if *task == bad.id && reason == "the executor panicked: no good")
    })
    .await;
    assert!(!heard.iter().any(|event| matches!(event, Event::TaskEnded { .. })));
    assert_eq!(funds(&fog, "alice").await, (amount("0.98"), amount("0")));
    let tally = fog.tallies().await.unwrap()[&node_id("laptop")];
    assert_eq!((tally.succeeded, tally.failed), (2, 1));
    soon(worker.stop()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_that_keep_failing_end_the_task_as_dead_and_free_the_hold() {
    let fog = Fog::builder().config(quick()).open().await.unwrap();
    let executor = executor_fn(|_| async { Err(Failure::transient("not today")) });
    let work = "work".parse().unwrap();
    let _worker = fog.worker(node("laptop", 1)).executor(work, executor).start().await.unwrap();
    fog.ledger().mint(&account_id("alice"), amount("1")).await.unwrap();
    let task = fog.submit(without_backoff(paid()), "x").await.unwrap();
    let dead = soon(fog.wait(task.id)).await.unwrap();
    assert_eq!((dead.state, dead.attempts), (TaskState::Dead, 3));
    assert_eq!(dead.failure.as_deref(), Some("not today"));
    assert_eq!(funds(&fog, "alice").await, (amount("1"), amount("0")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permanent_failure_and_a_result_too_large_end_the_task_and_free_the_hold() {
    let fog = Fog::builder().config(quick()).open().await.unwrap();
    let executor = executor_fn(|job| async move {
        match job.payload.as_ref() {
            b"large" => Ok(Output::from(bytes::Bytes::from(vec![0; MAX_BYTES + 1]))),
            b"largest" => Ok(Output::from(bytes::Bytes::from(vec![7; MAX_BYTES]))),
            _ => Err(Failure::permanent("no such file")),
        }
    });
    let work = "work".parse().unwrap();
    let _worker = fog.worker(node("laptop", 1)).executor(work, executor).start().await.unwrap();
    fog.ledger().mint(&account_id("alice"), amount("1")).await.unwrap();
    for (payload, reason) in
        [("bad", "no such file"), ("large", "a result of 1048577 bytes, 1048576 are allowed")]
    {
        let task = fog.submit(paid(), payload).await.unwrap();
        let failed = soon(fog.wait(task.id)).await.unwrap();
        assert_eq!((failed.state, failed.attempts), (TaskState::Failed, 1), "{payload}");
        assert_eq!(failed.failure.as_deref(), Some(reason));
        assert_eq!(fog.result(task.id).await.unwrap(), None);
        assert_eq!(funds(&fog, "alice").await, (amount("1"), amount("0")), "{payload}");
    }
    let task = fog.submit(paid(), "largest").await.unwrap();
    assert_eq!(soon(fog.wait(task.id)).await.unwrap().state, TaskState::Succeeded);
    assert_eq!(fog.result(task.id).await.unwrap().unwrap().len(), MAX_BYTES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_task_drops_its_executor_and_is_not_paid() {
    // Within one process it need not wait for a renewal, which comes after a third of the lease.
    for (lease, elsewhere) in [(Duration::from_secs(3_600), false), (QUICK_LEASE, true)] {
        let config = FogConfig { lease, ..quick() };
        let stores = storage::open("memory:").await.unwrap();
        let [fog, other] = [stores.clone(), stores]
            .map(|stores| Fog::builder().config(config.clone()).stores(stores).open());
        let (fog, other) = (fog.await.unwrap(), other.await.unwrap());
        cancel_while_it_runs(&fog, if elsewhere { &other } else { &fog }).await;
    }
}

async fn cancel_while_it_runs(fog: &Fog, canceller: &Fog) {
    let (dropped, begun) = (CancellationToken::new(), CancellationToken::new());
    let (wanted, guard) = (CancellationToken::new(), dropped.clone());
    let (unwanted, begins) = (wanted.clone(), begun.clone());
    let executor = executor_fn(move |job| {
        let (guard, unwanted) = (guard.clone().drop_guard(), unwanted.clone());
        let begins = begins.clone();
        async move {
            let _guard = guard;
            begins.cancel();
            // Work that blocks looks at its token from a thread of its own.
            tokio::task::spawn_blocking(move || {
                tokio::runtime::Handle::current().block_on(job.cancelled.cancelled());
                unwanted.cancel();
            });
            std::future::pending().await
        }
    });
    let work = "work".parse().unwrap();
    let worker = fog.worker(node("laptop", 1)).executor(work, executor).start().await.unwrap();
    fog.ledger().mint(&account_id("alice"), amount("1")).await.unwrap();
    let task = fog.submit(paid(), "x").await.unwrap();
    soon(begun.cancelled()).await;
    let cancelled = canceller.cancel(task.id).await.unwrap();
    assert_eq!(cancelled.state, TaskState::Cancelled);
    assert_eq!(funds(fog, "alice").await, (amount("1"), amount("0")));
    soon(dropped.cancelled()).await;
    soon(wanted.cancelled()).await;
    soon(worker.stop()).await;
    let after = fog.task(task.id).await.unwrap();
    assert_eq!((after.state, after.paid), (TaskState::Cancelled, amount("0")));
    assert_eq!(funds(fog, "bob").await.0, amount("0"));
    assert_eq!(fog.cancel(task.id).await.unwrap().state, TaskState::Cancelled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn all_slots_are_used_and_never_more() {
    const SLOTS: usize = 4;
    let (stores, _folder) = both_stores().await;
    for (name, stores) in stores {
        let fog = Fog::builder().stores(stores).config(quick()).open().await.unwrap();
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        // Nobody gets on until four are at it.
        let together = Arc::new(Barrier::new(SLOTS));
        let (count, max) = (running.clone(), most.clone());
        let executor = executor_fn(move |_| {
            let (count, max, together) = (count.clone(), max.clone(), together.clone());
            async move {
                max.fetch_max(count.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                together.wait().await;
                tokio::task::yield_now().await;
                count.fetch_sub(1, Ordering::SeqCst);
                Ok(Output::default())
            }
        });
        let slots = u32::try_from(SLOTS).unwrap();
        let laptop = fog.worker(node("laptop", slots));
        let laptop = laptop.executor("work".parse().unwrap(), executor);
        let worker = laptop.start().await.unwrap();
        let submissions = (0..200).map(|i| (spec(), format!("{i}").into())).collect();
        let submitted = fog.submit_all(submissions).await.unwrap();
        for task in submitted {
            let done = soon(fog.wait(task.unwrap().task.id)).await.unwrap();
            assert_eq!((done.state, done.attempts), (TaskState::Succeeded, 1), "{name}");
        }
        assert_eq!(most.load(Ordering::SeqCst), SLOTS, "{name}");
        assert_eq!(running.load(Ordering::SeqCst), 0, "{name}");
        soon(worker.stop()).await;
    }
}

/// An executor that tells when it begins and never ends, and how many of it are alive.
fn hanging() -> (Arc<dyn fogcore::scheduler::Executor>, mpsc::Receiver<TaskId>, Arc<AtomicUsize>) {
    struct Alive(Arc<AtomicUsize>);
    impl Drop for Alive {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let (begins, begun) = mpsc::channel(1_000);
    let alive = Arc::new(AtomicUsize::new(0));
    let count = alive.clone();
    let executor = executor_fn(move |job| {
        let (begins, count) = (begins.clone(), count.clone());
        async move {
            count.fetch_add(1, Ordering::SeqCst);
            let _alive = Alive(count);
            begins.send(job.task).await.unwrap();
            std::future::pending().await
        }
    });
    (executor, begun, alive)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_worker_gives_back_what_hangs_and_another_finishes_it() {
    let (stores, _folder) = both_stores().await;
    for (name, stores) in stores {
        let config = FogConfig { grace: Duration::from_millis(10), ..quick() };
        let fog = Fog::builder().stores(stores).config(config).open().await.unwrap();
        let (executor, mut begun, alive) = hanging();
        let work: fogcore::id::TaskKind = "work".parse().unwrap();
        let first = fog.worker(node("first", 3)).executor(work.clone(), executor);
        let first = first.start().await.unwrap();
        fog.ledger().mint(&account_id("alice"), amount("1")).await.unwrap();
        let submissions = (0..5).map(|i| (paid(), format!("{i}").into())).collect();
        let submitted = fog.submit_all(submissions).await.unwrap();
        let ids: Vec<_> = submitted.into_iter().map(|task| task.unwrap().task.id).collect();
        for _ in 0..3 {
            soon(begun.recv()).await.unwrap();
        }
        soon(first.stop()).await;

        for id in &ids {
            let task = fog.task(*id).await.unwrap();
            assert_eq!((task.state, task.attempts), (TaskState::Queued, 0), "{name}: {task:?}");
            assert_eq!(task.lease, None, "{name}");
        }
        until(|| alive.load(Ordering::SeqCst) == 0).await;
        assert_eq!(fog.tallies().await.unwrap()[&node_id("first")].released, 3, "{name}");

        let echo = executor_fn(|job| async move { Ok(Output::from(job.payload)) });
        let second = fog.worker(node("second", 1)).executor(work, echo).start().await.unwrap();
        for id in ids {
            let done = soon(fog.wait(id)).await.unwrap();
            assert_eq!((done.state, done.attempts), (TaskState::Succeeded, 1), "{name}");
            assert_eq!(done.done_by, Some(node_id("second")), "{name}");
        }
        assert_eq!(funds(&fog, "bob").await.0, amount("0.05"), "{name}");
        soon(second.stop()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_given_back_is_done_again_and_its_attempt_does_not_count() {
    let (stores, _folder) = both_stores().await;
    for (name, stores) in stores {
        let fog = Fog::builder().stores(stores).config(quick()).open().await.unwrap();
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let fickle = executor_fn(move |job| {
            let call = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                match call {
                    0 | 1 => {
                        job.give_back();
                        Err(Failure::transient("going away"))
                    }
                    2 => Ok(Output::default()),
                    // Giving back is no excuse for bad input.
                    _ => {
                        job.give_back();
                        Err(Failure::permanent("bad input"))
                    }
                }
            }
        });
        let work = "work".parse().unwrap();
        let worker = fog.worker(node("laptop", 1)).executor(work, fickle).start().await.unwrap();
        let once = TaskSpec { max_attempts: 1, ..spec() };
        let task = fog.submit(once.clone(), "").await.unwrap();
        let task = soon(fog.wait(task.id)).await.unwrap();
        assert_eq!((task.state, task.attempts), (TaskState::Succeeded, 1), "{name}");
        assert_eq!(calls.load(Ordering::SeqCst), 3, "{name}");
        let task = fog.submit(once, "").await.unwrap();
        let task = soon(fog.wait(task.id)).await.unwrap();
        assert_eq!((task.state, task.attempts), (TaskState::Failed, 1), "{name}");
        worker.stop().await;
        fog.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_leaves_no_task_leased_and_ends_in_time() {
    let (stores, _folder) = both_stores().await;
    for (name, stores) in stores {
        let config = FogConfig { grace: Duration::from_millis(10), ..quick() };
        let builder = Fog::builder().stores(stores.clone()).config(config);
        let fog = builder.open().await.unwrap();
        let (executor, mut begun, _alive) = hanging();
        let laptop = fog.worker(node("laptop", 2)).executor("work".parse().unwrap(), executor);
        let worker = laptop.start().await.unwrap();
        let task = fog.submit(spec(), "x").await.unwrap();
        soon(begun.recv()).await.unwrap();
        soon(fog.shutdown()).await;
        soon(fog.shutdown()).await;
        soon(worker.stop()).await;
        let counts = fog.counts().await.unwrap();
        assert_eq!(counts.get(&TaskState::Leased), None, "{name}");
        let waits = fog.task(task.id).await.unwrap();
        assert_eq!((waits.state, waits.attempts), (TaskState::Queued, 0), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_within_the_grace_is_reported_and_paid() {
    let fog = Fog::builder().config(quick()).open().await.unwrap();
    let (begun, gate) = (CancellationToken::new(), CancellationToken::new());
    let (begins, opened) = (begun.clone(), gate.clone());
    let executor = executor_fn(move |_| {
        let (begins, opened) = (begins.clone(), opened.clone());
        async move {
            begins.cancel();
            opened.cancelled().await;
            Ok(Output::default())
        }
    });
    let work = "work".parse().unwrap();
    let worker = fog.worker(node("laptop", 1)).executor(work, executor).start().await.unwrap();
    fog.ledger().mint(&account_id("alice"), amount("1")).await.unwrap();
    let task = fog.submit(paid(), "x").await.unwrap();
    soon(begun.cancelled()).await;
    let stopping = async {
        tokio::task::yield_now().await;
        gate.cancel();
    };
    soon(async { tokio::join!(worker.stop(), stopping) }).await;
    let done = fog.task(task.id).await.unwrap();
    assert_eq!((done.state, done.paid), (TaskState::Succeeded, amount("0.01")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_every_handle_stops_the_loops() {
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let fog = Fog::builder().clock(clock.clone()).open().await.unwrap();
    let echo = executor_fn(|job| async move { Ok(Output::from(job.payload)) });
    let laptop = fog.worker(node("laptop", 1)).executor("work".parse().unwrap(), echo);
    let worker = laptop.start().await.unwrap();
    let other = fog.clone();
    drop(fog);
    assert!(Arc::strong_count(&clock) > 1);
    other.submit(spec(), "still open").await.unwrap();
    drop(other);
    drop(worker);
    until(|| Arc::strong_count(&clock) == 1).await;
}

#[tokio::test]
async fn a_worker_without_executors_is_refused() {
    let fog = Fog::open("memory:").await.unwrap();
    let error = fog.worker(node("laptop", 1)).start().await.unwrap_err();
    assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidInput, Some("executors")));
}

/// A worker with two slots whose wall clock jumps over its lease, as after a laptop's sleep: the
/// lease runs out, and the same worker wins the task again while the first attempt still runs.
async fn wins_its_task_again(
    gate: CancellationToken,
) -> (Fog, Arc<ManualClock>, fogcore::fog::Worker, TaskId) {
    let (builder, clock) = still();
    let fog = builder.open().await.unwrap();
    let (begins, mut begun) = mpsc::channel(10);
    let executor = executor_fn(move |job| {
        let (begins, gate) = (begins.clone(), gate.clone());
        async move {
            begins.send(job.attempt).await.unwrap();
            match job.attempt {
                1 => gate.cancelled().await,
                _ => std::future::pending().await,
            }
            Ok(Output::default())
        }
    });
    let laptop = fog.worker(node("laptop", 2)).executor("work".parse().unwrap(), executor);
    let worker = laptop.start().await.unwrap();
    let task = fog.submit(spec(), "x").await.unwrap();
    assert_eq!(soon(begun.recv()).await, Some(1));
    clock.jump_to(clock.now().saturating_add(Duration::from_secs(31)));
    fog.beat(&node_id("laptop"), Heartbeat::new(1_000)).await.unwrap();
    fog.maintain().await.unwrap();
    assert_eq!(soon(begun.recv()).await, Some(2));
    (fog, clock, worker, task.id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_won_its_own_lost_task_again_can_still_be_stopped() {
    let (fog, clock, worker, task) = wins_its_task_again(CancellationToken::new()).await;
    let time_passes = async {
        loop {
            clock.advance(Duration::from_millis(100));
            for _ in 0..200 {
                tokio::task::yield_now().await;
            }
        }
    };
    soon(async {
        tokio::select! {
            () = worker.stop() => {}
            () = time_passes => {}
        }
    })
    .await;
    assert_eq!(fog.task(task).await.unwrap().state, TaskState::Queued);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_lost_attempt_does_not_stop_the_renewals_of_the_next_one() {
    let gate = CancellationToken::new();
    let (fog, clock, _worker, task) = wins_its_task_again(gate.clone()).await;
    let before = fog.task(task).await.unwrap().lease.unwrap();
    // The first attempt ends; its report is refused, because its lease is lost.
    gate.cancel();
    // Half a lease later, the second one must have been renewed. Time goes on only when everybody
    // has done what was due: the renewals, the beats and, on the free slot, the look for work.
    for _ in 0..150 {
        until(|| clock.sleepers() == 3).await;
        clock.advance(Duration::from_millis(100));
    }
    until(|| clock.sleepers() == 3).await;
    let after = fog.task(task).await.unwrap().lease.unwrap();
    assert_eq!(before.fence, after.fence);
    assert!(after.expires_at > before.expires_at, "the lease is not renewed any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_another_process_ends_is_waited_for_too() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("fog.db").display());
    let here = Fog::builder().url(&url).config(quick()).open().await.unwrap();
    let there = Fog::builder().url(&url).config(quick()).open().await.unwrap();
    let echo = executor_fn(|job| async move { Ok(Output::from(job.payload)) });
    let laptop = there.worker(node("laptop", 1)).executor("work".parse().unwrap(), echo);
    let worker = laptop.start().await.unwrap();
    let task = here.submit(spec(), "over there").await.unwrap();
    let done = soon(here.wait(task.id)).await.unwrap();
    assert_eq!(done.state, TaskState::Succeeded);
    assert_eq!(here.result(task.id).await.unwrap().unwrap(), "over there");
    soon(worker.stop()).await;
}

// Time

#[tokio::test]
async fn a_lease_that_runs_out_moves_the_task_and_the_late_report_pays_nothing() {
    let (stores, _folder) = both_stores().await;
    for (name, stores) in stores {
        let (builder, clock) = still();
        let fog = builder.stores(stores).open().await.unwrap();
        let (slow, fast) = (node("slow", 1), node("fast", 1));
        fog.register(slow.clone()).await.unwrap();
        fog.register(fast.clone()).await.unwrap();
        fog.ledger().mint(&account_id("alice"), amount("1")).await.unwrap();
        let task = fog.submit(paid(), "x").await.unwrap();
        let first = fog.lease(&slow.id, 1).await.unwrap().remove(0);
        let expires_at = first.task.lease.as_ref().unwrap().expires_at;
        assert_eq!(expires_at, clock.now().saturating_add(fog.config().lease), "{name}");

        // One renewal holds it over the first end, and no longer.
        clock.advance(Duration::from_secs(20));
        fog.renew(vec![(claim(&first), News::default())]).await.unwrap().remove(0).unwrap();
        clock.advance(Duration::from_micros(29_999_999));
        fog.maintain().await.unwrap();
        assert_eq!(fog.task(task.id).await.unwrap().state, TaskState::Leased, "{name}");
        clock.advance(Duration::from_micros(1));
        let mut events = fog.subscribe();
        fog.maintain().await.unwrap();
        let lost = fog.task(task.id).await.unwrap();
        assert_eq!((lost.state, lost.attempts), (TaskState::Queued, 1), "{name}");
        let reason = "the lease of \"slow\" ran out".to_owned();
        let retrying = Notice::Event(Event::TaskRetrying { task: task.id, reason });
        assert!(waiting(&mut events).contains(&retrying), "{name}");

        fog.beat(&fast.id, Heartbeat::new(1)).await.unwrap();
        let second = fog.lease(&fast.id, 1).await.unwrap().remove(0);
        let late = [
            fog.complete(vec![success(&first, &slow)]).await.unwrap().remove(0),
            fog.renew(vec![(claim(&first), News::default())]).await.unwrap().remove(0),
            fog.release(vec![claim(&first)]).await.unwrap().remove(0),
        ];
        for late in late {
            assert_eq!(late.unwrap_err().kind(), ErrorKind::Conflict, "{name}");
        }
        assert_eq!(funds(&fog, "bob").await.0, amount("0"), "{name}");
        let report = success(&second, &fast);
        for _ in 0..2 {
            let done = fog.complete(vec![report.clone()]).await.unwrap().remove(0).unwrap();
            assert_eq!(done.done_by, Some(fast.id.clone()), "{name}");
        }
        let late = fog.complete(vec![success(&first, &slow)]).await.unwrap().remove(0);
        assert_eq!(late.unwrap_err().kind(), ErrorKind::Conflict, "{name}");
        assert_eq!(funds(&fog, "bob").await.0, amount("0.01"), "{name}");
        assert_eq!(funds(&fog, "alice").await, (amount("0.99"), amount("0")), "{name}");
        assert!(is_balanced(&fog).await, "{name}");
    }
}

#[tokio::test]
async fn silence_is_told_when_it_is_too_long_and_the_next_beat_ends_it() {
    let (builder, clock) = still();
    let fog = builder.open().await.unwrap();
    fog.register(node("n", 1)).await.unwrap();
    let mut events = fog.subscribe();
    let node = node_id("n");
    let silence = [
        (Duration::from_secs(30), None),
        (Duration::from_micros(1), Some(Event::NodeSuspect { node: node.clone() })),
        (Duration::from_micros(29_999_999), None),
        (Duration::from_micros(1), Some(Event::NodeOffline { node: node.clone() })),
        (Duration::from_secs(100), None),
    ];
    for (pause, told) in silence {
        clock.advance(pause);
        fog.maintain().await.unwrap();
        fog.maintain().await.unwrap();
        let told: Vec<_> = told.into_iter().map(Notice::Event).collect();
        assert_eq!(waiting(&mut events), told, "after {:?}", clock.elapsed());
    }
    let record = fog.node(&node).await.unwrap().unwrap();
    assert_eq!(record.liveness(clock.now(), fog.config().liveness), Liveness::Offline);
    fog.beat(&node, Heartbeat::new(1)).await.unwrap();
    fog.maintain().await.unwrap();
    assert_eq!(waiting(&mut events), [Notice::Event(Event::NodeOnline { node })]);
}

#[tokio::test]
async fn a_silent_node_gets_no_work_until_it_beats() {
    let (builder, clock) = still();
    let fog = builder.open().await.unwrap();
    fog.register(node("n", 1)).await.unwrap();
    fog.submit(spec(), "x").await.unwrap();
    clock.advance(Duration::from_secs(31));
    assert!(fog.lease(&node_id("n"), 1).await.unwrap().is_empty());
    fog.beat(&node_id("n"), Heartbeat::new(1)).await.unwrap();
    assert_eq!(fog.lease(&node_id("n"), 1).await.unwrap().len(), 1);
    let unknown = fog.lease(&node_id("nobody"), 1).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_deadline_that_passes_in_the_queue_fails_the_task_and_frees_its_hold() {
    let (stores, _folder) = both_stores().await;
    for (name, stores) in stores {
        let (builder, clock) = still();
        let fog = builder.stores(stores).open().await.unwrap();
        fog.register(node("n", 1)).await.unwrap();
        fog.ledger().mint(&account_id("alice"), amount("1")).await.unwrap();
        let deadline = Some(clock.now().saturating_add(Duration::from_secs(10)));
        let in_time = fog.submit(TaskSpec { deadline, ..paid() }, "a").await.unwrap();
        let late = fog.submit(TaskSpec { deadline, ..paid() }, "b").await.unwrap();
        let lease = fog.lease(&node_id("n"), 1).await.unwrap().remove(0);
        assert_eq!(lease.task.id, in_time.id, "{name}");
        clock.advance(Duration::from_micros(9_999_999));
        fog.maintain().await.unwrap();
        assert_eq!(fog.task(late.id).await.unwrap().state, TaskState::Queued, "{name}");
        clock.advance(Duration::from_micros(1));
        fog.maintain().await.unwrap();
        let failed = fog.task(late.id).await.unwrap();
        assert_eq!(failed.state, TaskState::Failed, "{name}");
        assert_eq!(failed.failure.as_deref(), Some("the deadline passed"), "{name}");
        assert_eq!(failed.ended_at, Some(clock.now()), "{name}");
        // What was handed out in time may still be done.
        assert_eq!(fog.task(in_time.id).await.unwrap().state, TaskState::Leased, "{name}");
        assert_eq!(funds(&fog, "alice").await, (amount("0.9"), amount("0.1")), "{name}");
    }
}

#[tokio::test]
async fn a_failed_attempt_waits_for_its_backoff() {
    let (stores, _folder) = both_stores().await;
    for (name, stores) in stores {
        let (builder, clock) = still();
        let fog = builder.stores(stores).open().await.unwrap();
        fog.register(node("n", 1)).await.unwrap();
        let backoff = Backoff { jitter: 0.0, ..Backoff::default() };
        let task = fog.submit(TaskSpec { backoff, ..spec() }, "x").await.unwrap();
        for (attempt, seconds) in [(1, 1), (2, 2)] {
            let lease = fog.lease(&node_id("n"), 1).await.unwrap().remove(0);
            assert_eq!(lease.task.attempts, attempt, "{name}");
            fog.complete(vec![failure(&lease)]).await.unwrap().remove(0).unwrap();
            clock.advance(Duration::from_secs(seconds) - Duration::from_micros(1));
            fog.maintain().await.unwrap();
            assert!(fog.lease(&node_id("n"), 1).await.unwrap().is_empty(), "{name}");
            clock.advance(Duration::from_micros(1));
            fog.maintain().await.unwrap();
        }
        let lease = fog.lease(&node_id("n"), 1).await.unwrap().remove(0);
        fog.complete(vec![failure(&lease)]).await.unwrap().remove(0).unwrap();
        assert_eq!(fog.task(task.id).await.unwrap().state, TaskState::Dead, "{name}");
    }
}

#[tokio::test]
async fn a_phone_below_its_battery_limit_works_again_only_when_it_has_settled() {
    let (builder, clock) = still();
    let fog = builder.open().await.unwrap();
    fog.register(node("phone", 4)).await.unwrap();
    fog.register(node("laptop", 1)).await.unwrap();
    let (phone, laptop) = (node_id("phone"), node_id("laptop"));
    let mut sequence = 0;
    let mut beat = async |battery: f64| {
        sequence += 1;
        let battery = Some(Percent::new(battery).unwrap());
        let power = PowerState { battery, charging: true, ..PowerState::default() };
        fog.beat(&phone, Heartbeat::new(sequence).with_power(power)).await.unwrap();
        fog.beat(&laptop, Heartbeat::new(sequence)).await.unwrap();
    };
    beat(19.0).await;
    for payload in ["a", "b"] {
        fog.submit(spec(), payload).await.unwrap();
    }
    assert!(fog.lease(&phone, 4).await.unwrap().is_empty());
    // Another node gets it, and the explanation says why the phone did not.
    clock.advance(Duration::from_secs(10));
    let lease = fog.lease(&laptop, 1).await.unwrap().remove(0);
    let explanation = fog.explanation(lease.task.id).await.unwrap().unwrap();
    let about_phone = explanation.considered.iter().find(|other| other.node == phone).unwrap();
    let reason = Ineligible::ChargingLow;
    assert_eq!(about_phone.refused, Some(Refusal::Ineligible { reason }));
    assert!(explanation.to_string().contains("charging_low"), "{explanation}");

    beat(50.0).await;
    let good_since = clock.elapsed();
    let settle = fog.config().power.settle;
    while clock.elapsed() - good_since < settle {
        let record = fog.node(&phone).await.unwrap().unwrap();
        let eligibility = record.eligibility(clock.now(), &fog.config().power);
        assert_eq!(eligibility, Err(Ineligible::Settling));
        assert!(fog.lease(&phone, 4).await.unwrap().is_empty());
        clock.advance(Duration::from_secs(20));
        beat(50.0).await;
    }
    let granted = fog.lease(&phone, 4).await.unwrap();
    assert!(!granted.is_empty());
}

#[tokio::test]
async fn the_loops_do_what_maintain_does_when_their_time_has_come() {
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let fog = Fog::builder().clock(clock.clone()).open().await.unwrap();
    let mut events = fog.subscribe();
    fog.register(node("n", 1)).await.unwrap();
    let task = fog.submit(spec(), "x").await.unwrap();
    fog.lease(&node_id("n"), 1).await.unwrap();
    until(|| clock.sleepers() == 1).await;
    clock.advance(Duration::from_secs(61));
    let lost =
        |event: &Event| matches!(event, Event::TaskRetrying { task: t, .. } if *t == task.id);
    hear(&mut events, lost).await;
    hear(&mut events, |event| matches!(event, Event::NodeOffline { .. })).await;
    soon(fog.shutdown()).await;
}

#[tokio::test]
async fn a_refused_renewal_tells_no_progress() {
    let (builder, clock) = still();
    let fog = builder.open().await.unwrap();
    fog.register(node("n", 1)).await.unwrap();
    fog.submit(spec(), "x").await.unwrap();
    let lease = fog.lease(&node_id("n"), 1).await.unwrap().remove(0);
    clock.advance(fog.config().lease);
    fog.maintain().await.unwrap();
    let mut events = fog.subscribe();
    let progress = Some(Progress::new(0.9, "nearly"));
    let refused = fog.renew(vec![(claim(&lease), progress.into())]).await.unwrap().remove(0);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(waiting(&mut events), []);
}

// Promises to a client

#[tokio::test]
async fn the_same_submission_again_gives_the_same_task() {
    let (stores, _folder) = both_stores().await;
    for (name, stores) in stores {
        let (builder, clock) = still();
        let fog = builder.stores(stores).open().await.unwrap();
        for payer in ["alice", "carol"] {
            fog.ledger().mint(&account_id(payer), amount("1")).await.unwrap();
        }
        let named = || paid().named("order-1".parse().unwrap());
        let first = fog.submit(named(), "x").await.unwrap();
        clock.advance(Duration::from_secs(5));
        let answers = fog.submit_all(vec![
            (named(), "x".into()),
            (named(), "y".into()),
            (TaskSpec { priority: 1, ..named() }, "x".into()),
            (named().paid_by(account_id("carol"), amount("0.1")), "x".into()),
        ]);
        let mut answers = answers.await.unwrap().into_iter();
        let again = answers.next().unwrap().unwrap();
        assert_eq!((again.task, again.new), (first.clone(), false), "{name}");
        for _ in 0..2 {
            let error = answers.next().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict, "{name}: {error}");
            assert!(error.to_string().contains("\"order-1\""), "{name}: {error}");
        }
        let carols = answers.next().unwrap().unwrap();
        assert!(carols.new && carols.task.id != first.id, "{name}");
        assert_eq!(funds(&fog, "alice").await, (amount("0.9"), amount("0.1")), "{name}");
        assert_eq!(fog.counts().await.unwrap()[&TaskState::Queued], 2, "{name}");
    }
}

#[tokio::test]
async fn a_budget_that_is_not_covered_is_refused_in_words() {
    let (stores, _folder) = both_stores().await;
    for (name, stores) in stores {
        let fog = Fog::builder().stores(stores).without_loops().open().await.unwrap();
        fog.ledger().mint(&account_id("alice"), amount("0.3")).await.unwrap();
        let dear = spec().paid_by(account_id("alice"), amount("0.5"));
        let error = fog.submit(dear, "x").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exhausted, "{name}");
        let text = "0.5 FOG exceeds the 0.3 FOG available to \"alice\"";
        assert_eq!(error.to_string(), text, "{name}");
        let stranger = spec().paid_by(account_id("nobody"), amount("0.5"));
        assert_eq!(fog.submit(stranger, "x").await.unwrap_err().kind(), ErrorKind::NotFound);
        assert!(fog.counts().await.unwrap().is_empty(), "{name}");
        assert_eq!(funds(&fog, "alice").await, (amount("0.3"), amount("0")), "{name}");
    }
}

#[tokio::test]
async fn a_configuration_that_makes_no_sense_is_refused_with_its_field() {
    type Spoil = fn(&mut FogConfig, Duration);
    let fields: [(&str, Spoil); 5] = [
        ("lease", |config, time| config.lease = time),
        ("heartbeat_every", |config, time| config.heartbeat_every = time),
        ("maintain_every", |config, time| config.maintain_every = time),
        ("idle_poll", |config, time| config.idle_poll = time),
        ("progress_every", |config, time| config.progress_every = time),
    ];
    for (field, spoil) in fields {
        for time in [Duration::ZERO, Duration::from_secs(86_401), Duration::MAX] {
            let mut config = FogConfig::default();
            spoil(&mut config, time);
            assert_eq!(config.check().unwrap_err().field(), Some(field));
            let error = Fog::builder().config(config).open().await.unwrap_err();
            assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidInput, Some(field)));
        }
    }
    FogConfig::default().check().unwrap();
    quick().check().unwrap();
}

#[tokio::test]
async fn more_that_makes_no_sense_is_refused_with_its_field() {
    let mut vast = FogConfig { event_capacity: usize::MAX, ..FogConfig::default() };
    assert_eq!(vast.check().unwrap_err().field(), Some("event_capacity"));
    vast = FogConfig::default();
    vast.liveness.suspect_after = vast.liveness.offline_after * 2;
    assert_eq!(vast.check().unwrap_err().field(), Some("liveness"));
    vast = FogConfig::default();
    vast.placement.headroom = f64::NAN;
    assert_eq!(vast.check().unwrap_err().field(), Some("placement"));
    vast = FogConfig::default();
    vast.power.min_battery = f64::NAN;
    assert_eq!(vast.check().unwrap_err().field(), Some("power"));
}

#[tokio::test]
async fn a_url_of_no_store_is_refused_without_its_password() {
    for url in [
        "nonsense:",
        "nonsense://alice:hunter2@example.com/fog",
        "mysql://alice:hunter2@example.com/fog",
        "postgres://alice:hunter2@exa mple.com:port/fog",
        "memory:hunter2",
        "",
        "sqlite:",
        "sqlite::memory:",
        "sqlite://:memory:",
        "sqlite://",
    ] {
        let error = Fog::open(url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{url}: {error}");
        assert_eq!(error.field(), Some("store url"), "{url}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn a_slow_subscriber_is_told_how_many_events_it_missed() {
    let (builder, _clock) = still();
    let config = FogConfig { event_capacity: 4, ..FogConfig::default() };
    let fog = builder.config(config).open().await.unwrap();
    let mut slow = fog.subscribe();
    let mut ids = Vec::new();
    for number in 0..10 {
        ids.push(fog.submit(spec(), format!("{number}")).await.unwrap().id);
    }
    let notices = waiting(&mut slow);
    assert_eq!(notices[0], Notice::Missed(6));
    let queued = ids[6..].iter().map(|task| Notice::Event(Event::TaskQueued { task: *task }));
    assert_eq!(notices[1..], queued.collect::<Vec<_>>());
    // Who waits for a task is such a subscriber too, and still sees it end.
    let waits = fog.wait(ids[0]);
    let cancels = async {
        for id in ids.iter().rev() {
            fog.cancel(*id).await.unwrap();
        }
    };
    let (ended, ()) = soon(async { tokio::join!(waits, cancels) }).await;
    assert_eq!(ended.unwrap().state, TaskState::Cancelled);
}

// A simulation

/// What happened to which task, by whom.
type History = Vec<(usize, String, TaskState)>;

/// Two hundred paid tasks on three nodes that fail, fall silent, and report late or twice.
async fn simulate(seed: u64) -> History {
    const TASKS: usize = 200;
    let (builder, clock) = still();
    let config = FogConfig { lease: Duration::from_secs(5), ..FogConfig::default() };
    let fog = builder.config(config).seed(seed).open().await.unwrap();
    let mut dice = StdRng::seed_from_u64(seed);
    let nodes = [node("a", 2), node("b", 3), node("c", 1)];
    for node in &nodes {
        fog.register(node.clone()).await.unwrap();
    }
    fog.ledger().mint(&account_id("alice"), amount("100")).await.unwrap();
    let mut ids = Vec::new();
    let (mut history, mut held) = (History::new(), Vec::new());
    let mut silent_until = [0; 3];
    let mut steps = 0;
    while steps < 500 || !all_ended(&fog, TASKS).await {
        assert!(steps < 2_000, "the tasks do not come to an end");
        // After 500 steps everything goes well, so that everything ends.
        let mishaps = steps < 500;
        if steps % 2 == 0 && ids.len() < TASKS {
            let task = TaskSpec { priority: dice.random_range(0..3), ..paid() };
            ids.push(fog.submit(task, format!("{steps}")).await.unwrap().id);
        }
        let index = |id| ids.iter().position(|known| *known == id).unwrap();
        for (number, node) in nodes.iter().enumerate() {
            if mishaps && dice.random_bool(0.05) {
                silent_until[number] = steps + dice.random_range(1..40);
            }
            if mishaps && silent_until[number] > steps {
                continue;
            }
            fog.beat(&node.id, Heartbeat::new(steps + 1)).await.unwrap();
            for assignment in fog.lease(&node.id, 2).await.unwrap() {
                history.push((index(assignment.task.id), node.id.to_string(), TaskState::Leased));
                held.push((number, assignment));
            }
            let mut kept = Vec::new();
            for (holder, assignment) in held.drain(..) {
                let fate = if mishaps { dice.random_range(0..100) } else { 60 };
                if holder != number || fate < 50 {
                    kept.push((holder, assignment));
                    continue;
                }
                let report = match fate {
                    50..60 => failure(&assignment),
                    _ => success(&assignment, node),
                };
                let times = if fate > 90 { 2 } else { 1 };
                for _ in 0..times {
                    match fog.complete(vec![report.clone()]).await.unwrap().remove(0) {
                        Ok(task) => {
                            history.push((index(task.id), node.id.to_string(), task.state));
                        }
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
                    }
                }
            }
            held = kept;
        }
        clock.advance(Duration::from_secs(1));
        fog.maintain().await.unwrap();
        steps += 1;
    }

    let mut paid_in_all = 0;
    for id in &ids {
        let task = fog.task(*id).await.unwrap();
        let reward = fog.ledger().posted(settlement::reward_id(*id)).await.unwrap();
        assert!(task.state.is_final());
        assert_eq!(task.state == TaskState::Succeeded, reward.is_some(), "{task:?}");
        assert!(task.paid == amount("0.01") || reward.is_none(), "{task:?}");
        paid_in_all += task.paid.base_units();
    }
    assert_eq!(ids.len(), TASKS);
    assert_eq!(funds(&fog, "bob").await.0.base_units(), paid_in_all);
    let (left, reserved) = funds(&fog, "alice").await;
    assert_eq!(left.base_units() + paid_in_all, amount("100").base_units());
    assert_eq!(reserved, amount("0"));
    let escrow = fog.ledger().account(&settlement::escrow()).await.unwrap().unwrap();
    assert_eq!(escrow.credits_posted, escrow.debits_posted);
    assert!(is_balanced(&fog).await);
    let tallies = fog.tallies().await.unwrap();
    let earned: u128 = tallies.values().map(|tally| tally.earned.base_units()).sum();
    assert_eq!(earned, paid_in_all);
    assert!(tallies.values().any(|tally| tally.lost > 0), "nobody fell silent");
    assert!(tallies.values().any(|tally| tally.failed > 0), "nobody failed");
    history
}

async fn all_ended(fog: &Fog, tasks: usize) -> bool {
    let counts = fog.counts().await.unwrap();
    let ended: u64 = counts.iter().filter(|(state, _)| state.is_final()).map(|(_, n)| n).sum();
    usize::try_from(ended).unwrap() == tasks
}

#[tokio::test]
async fn whatever_goes_wrong_every_task_ends_is_paid_at_most_once_and_a_seed_tells_it_all() {
    let seed = std::env::var("FOGCORE_SEED").map_or(20_260_301, |seed| seed.parse().unwrap());
    eprintln!("FOGCORE_SEED={seed}");
    let (first, second) = (simulate(seed).await, simulate(seed).await);
    let differs = first.iter().zip(&second).position(|(a, b)| a != b);
    assert_eq!(differs, None, "{:?}", differs.map(|at| (&first[at], &second[at])));
    assert_eq!(first.len(), second.len());
    assert_ne!(first, simulate(seed.wrapping_add(1)).await);
}

#[tokio::test]
async fn the_money_of_tasks_and_the_fogs_own_accounts_are_out_of_reach() {
    let (stores, _folder) = both_stores().await;
    for (name, stores) in stores {
        let (builder, _clock) = still();
        let fog = builder.stores(stores).open().await.unwrap();
        // Whoever is called like the fog's own accounts neither works nor pays.
        let owner = Some(account_id("fog:mint"));
        let refused = fog.register(Node { owner, ..node("thief", 1) }).await.unwrap_err();
        assert_eq!(refused.field(), Some("owner"), "{name}");
        let spec = spec().paid_by(account_id("fog:mint"), amount("1"));
        assert_eq!(fog.submit(spec, "").await.unwrap_err().field(), Some("budget"), "{name}");

        fog.ledger().mint(&account_id("alice"), amount("1")).await.unwrap();
        let task = fog.submit(paid(), "").await.unwrap();
        let (hold, end) = (settlement::hold_id(task.id), settlement::end_id(task.id));
        let (alice, escrow) = (account_id("alice"), settlement::escrow());
        let (id, cent) = (fog.ledger().new_id(), amount("0.01"));
        let purpose = Purpose::Transfer;
        for theft in [
            Transfer::void(id, hold, purpose),
            Transfer::post(id, hold, cent, purpose),
            Transfer::direct(end, &alice, &escrow, cent, purpose),
            Transfer::direct(id, &escrow, &alice, cent, purpose),
            Transfer::direct(id, &account_id("fog:mint"), &alice, cent, Purpose::TaskReward),
            Transfer::direct(id, &escrow, &alice, cent, Purpose::Mint),
            Transfer::hold(id, &account_id("fog:mint"), &escrow, cent, Purpose::Mint),
        ] {
            let refused = fog.ledger().transfer(theft.clone()).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Denied, "{name}: {theft:?}");
        }
        assert_eq!(funds(&fog, "alice").await, (amount("0.9"), amount("0.1")), "{name}");
    }
}

#[tokio::test]
async fn a_forbidden_transfer_fails_its_chain_and_nothing_else() {
    let (stores, _folder) = both_stores().await;
    for (name, stores) in stores {
        let (builder, _clock) = still();
        let fog = builder.stores(stores).open().await.unwrap();
        let alice = account_id("alice");
        fog.ledger().mint(&alice, amount("1")).await.unwrap();
        let bob = Account::new(account_id("bob"), fog.config().asset.clone());
        fog.ledger().open_account(bob).await.unwrap();
        let mut news = fog.subscribe();
        let pay = |to: &str| {
            let (id, cent) = (fog.ledger().new_id(), amount("0.01"));
            Transfer::direct(id, &alice, &account_id(to), cent, Purpose::Transfer)
        };
        let batch = vec![
            pay("bob"),
            pay("fog:mint"),
            pay("bob").linked(),
            pay("fog:mint").linked(),
            pay("bob"),
            pay("nobody"),
            pay("bob").linked(),
            pay("bob"),
        ];
        let answers = fog.ledger().transfer_all(batch.clone()).await.unwrap();
        let kinds: Vec<_> =
            answers.iter().map(|answer| answer.as_ref().err().map(Error::kind)).collect();
        let (denied, failed) = (Some(ErrorKind::Denied), Some(ErrorKind::Conflict));
        let missing = Some(ErrorKind::NotFound);
        assert_eq!(kinds, [None, denied, failed, denied, failed, missing, None, None], "{name}");
        let cents = fog.ledger().account(&account_id("bob")).await.unwrap().unwrap().credits_posted;
        assert_eq!(cents, amount("0.03"), "{name}");
        for place in [0, 6, 7] {
            let told = Event::TransferPosted { transfer: batch[place].id };
            assert_eq!(news.next().await, Some(Notice::Event(told)), "{name}");
        }
        fog.ledger().verify(&[]).await.unwrap();
    }
}

#[tokio::test]
async fn a_fog_frees_holds_whose_time_is_over() {
    let (stores, _folder) = both_stores().await;
    for (name, stores) in stores {
        let (builder, clock) = still();
        let fog = builder.stores(stores).open().await.unwrap();
        let alice = account_id("alice");
        fog.ledger().mint(&alice, amount("1")).await.unwrap();
        let bob = Account::new(account_id("bob"), fog.config().asset.clone());
        fog.ledger().open_account(bob).await.unwrap();
        let id = fog.ledger().new_id();
        let (bob, part) = (account_id("bob"), amount("0.4"));
        let hold = Transfer::hold(id, &alice, &bob, part, Purpose::Transfer).expiring_after(60);
        fog.ledger().transfer(hold).await.unwrap();
        clock.advance(Duration::from_secs(59));
        fog.maintain().await.unwrap();
        assert_eq!(funds(&fog, "alice").await, (amount("0.6"), part), "{name}");
        clock.advance(Duration::from_secs(1));
        fog.maintain().await.unwrap();
        assert_eq!(funds(&fog, "alice").await, (amount("1"), amount("0")), "{name}");
        let end = fog.ledger().posted(Transfer::expiry_id(id)).await.unwrap();
        assert_eq!(end.unwrap().transfer.ends_hold(), Some(id), "{name}");
    }
}
