//! What every [`TaskStore`](crate::scheduler::TaskStore) promises about waiting in turn, and about
//! what holders say and what is kept of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{
    account_id, at, claim, complete, failure, fund, lease, lease_one, node, spec, submit, success,
    task_id, units,
};
use crate::error::ErrorKind;
use crate::scheduler::{
    Completion, MAX_BYTES, MAX_LOG_LINES, NewTask, News, QueuePolicy, Renewal, SchedulerError,
    TaskSpec, TaskState,
};
use crate::storage::Stores;
use crate::time::Timestamp;

fn names(assignments: &[crate::scheduler::Assignment]) -> Vec<String> {
    assignments.iter().map(|a| String::from_utf8(a.payload.to_vec()).unwrap()).collect()
}

fn new(name: &str, spec: TaskSpec) -> NewTask {
    NewTask { id: task_id(name), spec: Arc::new(spec), payload: name.to_owned().into() }
}

fn paid_by(payer: &str) -> TaskSpec {
    spec().paid_by(account_id(payer), units(1))
}

/// Nobody gets a task before its time, and after a lost lease it is not delayed again.
pub async fn a_delayed_task_waits_for_its_time(stores: &Stores) {
    let delayed = TaskSpec { not_before: Some(at(10)), ..spec() };
    let submitted = submit(stores, "delayed", delayed).await.unwrap();
    assert_eq!((submitted.state, submitted.ready_at), (TaskState::Queued, at(10)));
    let past = TaskSpec { not_before: Some(Timestamp::UNIX_EPOCH), ..spec() };
    assert_eq!(submit(stores, "past", past).await.unwrap().ready_at, at(0));
    assert_eq!(names(&lease(stores, node("n", 2), 2, at(9)).await), ["past"]);
    assert_eq!(stores.tasks.promote(at(9), 10).await.unwrap(), 0);
    assert_eq!(stores.tasks.promote(at(10), 10).await.unwrap(), 1);
    lease_one(stores, "m", at(10)).await;
    assert_eq!(stores.tasks.expire(at(40), 10).await.unwrap().len(), 2);
    assert_eq!(lease(stores, node("m", 2), 2, at(40)).await.len(), 2);
}

/// Among tasks of one priority the one that has least time left is first, and those that have time
/// for ever are last.
pub async fn the_earliest_deadline_goes_first_within_a_priority(stores: &Stores) {
    let until = |seconds| TaskSpec { deadline: Some(at(seconds)), ..spec() };
    submit(stores, "whenever", spec()).await.unwrap();
    submit(stores, "late", until(90)).await.unwrap();
    submit(stores, "soon", until(50)).await.unwrap();
    submit(stores, "late too", until(90)).await.unwrap();
    submit(stores, "urgent", TaskSpec { priority: 1, ..spec() }).await.unwrap();
    let first = lease(stores, node("n", 9), 3, at(1)).await;
    assert_eq!(names(&first), ["urgent", "soon", "late"]);
    let rest = lease(stores, node("n", 9), 3, at(1)).await;
    assert_eq!(names(&rest), ["late too", "whenever"]);
}

/// Who comes with very many tasks does not keep others waiting until they are done.
pub async fn payers_take_turns_whoever_was_first(stores: &Stores) {
    fund(stores, 1_000).await;
    let mut batch: Vec<_> = (0..40).map(|n| new(&format!("a{n}"), paid_by("alice"))).collect();
    batch.extend((0..3).map(|n| new(&format!("b{n}"), spec())));
    let urgent = TaskSpec { priority: 1, ..paid_by("alice") };
    batch.extend((0..2).map(|n| new(&format!("urgent{n}"), urgent.clone())));
    stores.tasks.submit(batch, QueuePolicy::default(), at(0)).await.unwrap();
    // The urgent ones count as what their payer has.
    let first = lease(stores, node("n", 99), 5, at(1)).await;
    assert_eq!(names(&first), ["urgent0", "urgent1", "b0", "b1", "a0"]);
    let second = lease(stores, node("m", 99), 4, at(1)).await;
    assert_eq!(names(&second), ["b2", "a1", "a2", "a3"]);
    // What ended counts no more.
    for given in &first[..2] {
        complete(stores, success(claim(given), None), at(2)).await.unwrap();
    }
    submit(stores, "b3", spec()).await.unwrap();
    let third = lease(stores, node("n", 99), 2, at(2)).await;
    assert_eq!(names(&third), ["b3", "a4"]);
}

/// A large task counts for more than a small one.
pub async fn who_has_less_of_what_counts_is_next(stores: &Stores) {
    fund(stores, 1_000).await;
    let mut large = paid_by("alice");
    large.requirements.memory_mib = 30;
    let small = TaskSpec { requirements: Default::default(), ..spec() };
    for number in 0..3 {
        submit(stores, &format!("large{number}"), large.clone()).await.unwrap();
    }
    for number in 0..6 {
        submit(stores, &format!("small{number}"), small.clone()).await.unwrap();
    }
    let mut asker = node("n", 100);
    asker.resources.memory_mib = 100;
    let record = crate::registry::NodeRecord::new(asker.clone(), at(1));
    let request = crate::scheduler::LeaseRequest {
        asker: crate::scheduler::Candidate::judge(
            &record,
            at(1),
            Default::default(),
            &Default::default(),
        ),
        rivals: Vec::new(),
        policy: Default::default(),
        shares: crate::scheduler::queue::FairShares {
            capacity: crate::scheduler::queue::Demand::of_node(&asker),
            ..Default::default()
        },
        limit: 7,
        duration: Duration::from_secs(30),
    };
    let granted = stores.tasks.lease(request, at(1)).await.unwrap();
    // Alice's first task takes 30 % of the memory, each of the others 1 % of the slots.
    let expected = ["large0", "small0", "small1", "small2", "small3", "small4", "small5"];
    assert_eq!(names(&granted), expected);
}

/// The limit is on what is open, for each payer apart, and its error names it.
pub async fn a_payer_has_no_more_open_tasks_than_allowed(stores: &Stores) {
    fund(stores, 100).await;
    let policy = QueuePolicy { open_per_payer: 2, ..QueuePolicy::default() };
    let batch = vec![
        new("a1", paid_by("alice")),
        new("a2", paid_by("alice")),
        new("a3", paid_by("alice")),
        new("n1", spec()),
        new("a1", paid_by("alice")),
    ];
    let answers = stores.tasks.submit(batch, policy, at(0)).await.unwrap();
    let ok: Vec<_> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(ok, [true, true, false, true, true], "what is there already is no new one");
    let refused = answers[2].as_ref().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Exhausted);
    assert!(matches!(
        refused.downcast_ref(),
        Some(SchedulerError::QueueFull { limit: "open_per_payer", most: 2, .. })
    ));
    assert_eq!(super::account(stores, "alice").await.debits_pending, units(2));
    let submit = async |name: &str| {
        let batch = vec![new(name, paid_by("alice"))];
        stores.tasks.submit(batch, policy, at(1)).await.unwrap().remove(0)
    };
    let leased = lease(stores, node("n", 9), 9, at(1)).await;
    assert_eq!(leased.len(), 3);
    assert!(submit("a4").await.is_err(), "what runs is open, too");
    stores.tasks.cancel(task_id("a1"), at(2)).await.unwrap();
    submit("a4").await.unwrap();
    assert!(submit("a5").await.is_err());
}

/// After its time nothing is left of an ended task but the task, which says so.
pub async fn what_belongs_to_a_task_goes_when_its_time_is_over(stores: &Stores) {
    let keep = |seconds| TaskSpec { retain_for: Some(Duration::from_secs(seconds)), ..spec() };
    for (name, spec) in [("short", keep(10)), ("long", keep(100)), ("open", keep(0))] {
        let named = spec.named(name.parse().unwrap());
        submit(stores, name, named).await.unwrap();
    }
    let granted = lease(stores, node("n", 3), 3, at(1)).await;
    for given in &granted[..2] {
        let log = vec!["a line".to_owned()];
        let done = Completion { log, ..success(claim(given), None) };
        complete(stores, done, at(2)).await.unwrap();
    }
    let short = task_id("short");
    assert_eq!(stores.tasks.purge(at(11), 10).await.unwrap(), 0);
    assert_eq!(stores.tasks.result(short).await.unwrap(), Some("done".into()));
    assert_eq!(stores.tasks.purge(at(12), 10).await.unwrap(), 1);
    assert_eq!(stores.tasks.purge(at(12), 10).await.unwrap(), 0);
    assert_eq!(stores.tasks.result(short).await.unwrap(), None);
    assert_eq!(stores.tasks.explanation(short).await.unwrap(), None);
    assert_eq!(stores.tasks.log(short, 0, 10).await.unwrap(), []);
    let task = stores.tasks.task(short).await.unwrap().unwrap();
    assert_eq!((task.state, task.purged_at), (TaskState::Succeeded, Some(at(12))));
    // The report that is sent again, and the name, still find it.
    complete(stores, success(claim(&granted[0]), None), at(13)).await.unwrap();
    let again = NewTask {
        id: task_id("another"),
        ..new("short", keep(10).named("short".parse().unwrap()))
    };
    let again = stores.tasks.submit(vec![again], QueuePolicy::default(), at(13)).await.unwrap();
    assert_eq!(again[0].as_ref().unwrap().task.id, short);
    // The others are as they were.
    assert_eq!(stores.tasks.result(task_id("long")).await.unwrap(), Some("done".into()));
    assert_eq!(stores.tasks.log(task_id("long"), 0, 10).await.unwrap().len(), 1);
    stores.tasks.cancel(task_id("open"), at(14)).await.unwrap();
    assert_eq!(stores.tasks.purge(at(14), 10).await.unwrap(), 1);
    let counts = stores.tasks.counts().await.unwrap();
    assert_eq!(counts, [(TaskState::Succeeded, 2), (TaskState::Cancelled, 1)].into());
}

/// Lines come back in their order, in pages, with who wrote them; of too many, the latest.
pub async fn the_log_is_kept_in_order_and_within_its_limits(stores: &Stores) {
    submit(stores, "t", spec()).await.unwrap();
    let id = task_id("t");
    let first = lease_one(stores, "n", at(1)).await;
    let say = async |leased, log: Vec<String>, now| {
        let news = News { log, ..News::default() };
        let renewal = Renewal { news, ..Renewal::new(claim(leased), at(90)) };
        stores.tasks.renew(vec![renewal], now).await.unwrap().remove(0)
    };
    say(&first, vec!["one".into(), "two\0".into()], at(2)).await.unwrap();
    let report = Completion { log: vec!["three".into()], ..failure(claim(&first), false) };
    complete(stores, report, at(3)).await.unwrap();
    assert!(say(&first, vec!["stale".into()], at(3)).await.is_err());
    stores.tasks.promote(at(9), 10).await.unwrap();
    let second = lease_one(stores, "n", at(9)).await;
    say(&second, vec!["ü".repeat(9_999)], at(10)).await.unwrap();
    let lines = stores.tasks.log(id, 0, 10).await.unwrap();
    let told: Vec<_> = lines.iter().map(|line| (line.number, line.at, line.fence)).collect();
    assert_eq!(told, [(1, at(2), 1), (2, at(2), 1), (3, at(3), 1), (4, at(10), 2)]);
    assert_eq!((lines[1].text.as_str(), lines[2].text.as_str()), ("two\u{fffd}", "three"));
    assert_eq!(lines[3].text, "ü".repeat(512));
    assert_eq!(stores.tasks.log(id, 1, 2).await.unwrap(), lines[1..3]);
    let many = (0..MAX_LOG_LINES + 7).map(|number| number.to_string()).collect();
    assert_eq!(say(&second, many, at(11)).await.unwrap().log_lines, MAX_LOG_LINES + 11);
    say(&second, vec!["last".into()], at(12)).await.unwrap();
    let (head, tail) = (
        stores.tasks.log(id, 0, 1).await.unwrap().remove(0),
        stores.tasks.log(id, MAX_LOG_LINES + 11, 9).await.unwrap(),
    );
    assert_eq!((head.number, head.text.as_str()), (13, "8"));
    assert_eq!((tail.len(), tail[0].text.as_str()), (1, "last"));
    assert_eq!(stores.tasks.log(task_id("none"), 0, 10).await.unwrap(), []);
    assert_eq!(stores.tasks.log(id, 0, 0).await.unwrap_err().field(), Some("limit"));
}

/// What a holder saved is what the next one begins with, until the task ends; who lost the lease
/// saves nothing.
pub async fn a_checkpoint_goes_to_the_next_attempt(stores: &Stores) {
    submit(stores, "t", spec()).await.unwrap();
    let first = lease_one(stores, "n", at(1)).await;
    assert_eq!(first.checkpoint, None);
    let save = async |leased, checkpoint: Bytes| {
        let news = News { checkpoint: Some(checkpoint), ..News::default() };
        let renewal = Renewal { news, ..Renewal::new(claim(leased), at(30)) };
        stores.tasks.renew(vec![renewal], at(2)).await.unwrap().remove(0)
    };
    save(&first, "old".into()).await.unwrap();
    let large = Bytes::from(vec![7; MAX_BYTES]);
    let saved = save(&first, large.clone()).await.unwrap();
    assert_eq!(saved.checkpoint.unwrap().bytes, MAX_BYTES as u64);
    let refused = save(&first, vec![7; MAX_BYTES + 1].into()).await.unwrap_err();
    assert_eq!(refused.field(), Some("checkpoint"));
    stores.tasks.expire(at(30), 10).await.unwrap();
    let second = lease_one(stores, "m", at(31)).await;
    assert_eq!(second.checkpoint, Some(large));
    assert!(save(&first, "stale".into()).await.is_err());
    save(&second, "".into()).await.unwrap();
    stores.tasks.release(vec![claim(&second)], at(32)).await.unwrap().remove(0).unwrap();
    let third = lease_one(stores, "n", at(33)).await;
    assert_eq!(third.checkpoint, Some("".into()));
    let done = complete(stores, success(claim(&third), None), at(34)).await.unwrap();
    assert_eq!(done.checkpoint, None);
}

/// Its lease lasts for as long as the task says, from its beginning and from each renewal, and not
/// longer.
pub async fn a_node_that_is_away_may_finish_what_it_took_along(stores: &Stores) {
    let offline = TaskSpec { offline_for: Some(Duration::from_secs(3_600)), ..spec() };
    for name in ["back in time", "gone"] {
        submit(stores, name, offline.clone()).await.unwrap();
    }
    let granted = lease(stores, node("phone", 2), 2, at(1)).await;
    assert_eq!(granted[0].task.lease.as_ref().unwrap().expires_at, at(3_601));
    let renewal = Renewal::new(claim(&granted[0]), at(130));
    let renewed = stores.tasks.renew(vec![renewal], at(100)).await.unwrap().remove(0).unwrap();
    assert_eq!(renewed.lease.unwrap().expires_at, at(3_700));
    assert_eq!(stores.tasks.expire(at(3_600), 10).await.unwrap(), []);
    let gone = stores.tasks.expire(at(3_699), 10).await.unwrap();
    assert_eq!(gone.iter().map(|task| task.id).collect::<Vec<_>>(), [granted[1].task.id]);
    let done = complete(stores, success(claim(&granted[0]), None), at(3_699)).await.unwrap();
    assert_eq!(done.state, TaskState::Succeeded);
    let late = complete(stores, success(claim(&granted[1]), None), at(3_700)).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Conflict);
}
