//! What every [`TaskStore`](crate::scheduler::TaskStore) promises about tasks that are done more than
//! once.

use super::{
    account, account_id, at, claim, complete, failure, fund, is_balanced, lease, node, node_id,
    spec, submit, task_id, transfer_id, units,
};
use std::time::Duration;

use crate::id::TaskId;
use crate::ledger::{Purpose, Transfer};
use crate::registry::Node;
use crate::scheduler::replicas::{Backup, Reconcile, SlaClass, part_id};
use crate::scheduler::{
    Assignment, Completion, Outcome, QueuePolicy, Renewal, Task, TaskSpec, TaskState, Usage,
};
use crate::storage::Stores;

fn of_class(sla: SlaClass) -> TaskSpec {
    TaskSpec { sla, ..spec() }
}

fn paid(sla: SlaClass, limit: u128) -> TaskSpec {
    of_class(sla).paid_by(account_id("alice"), units(limit))
}

async fn task(stores: &Stores, id: TaskId) -> Task {
    stores.tasks.task(id).await.unwrap().unwrap()
}

/// The replica that a node of this name gets, each with an owner of its own.
async fn take(stores: &Stores, name: &str, second: u64) -> Assignment {
    let mut granted = lease(stores, node(name, 9), 9, at(second)).await;
    assert_eq!(granted.len(), 1, "{name} should have got one");
    granted.remove(0)
}

fn done(given: &Assignment, result: &str, price: Option<u128>) -> Completion {
    let reward = price.map(|price| (account_id("bob"), units(price)));
    let outcome = Outcome::Succeeded { result: result.to_owned().into(), reward };
    Completion {
        claim: claim(given),
        outcome,
        usage: Usage::default(),
        log: Vec::new(),
        score: None,
    }
}

async fn ends(stores: &Stores, given: &Assignment, result: &str, price: u128) -> Task {
    complete(stores, done(given, result, Some(price)), at(9)).await.unwrap()
}

/// Each goes to a node, and to an owner, of its own, and has the task's payload.
pub async fn replicas_go_to_different_nodes_and_owners(stores: &Stores) {
    let named = of_class(SlaClass::S).named("name".parse().unwrap());
    let submitted = submit(stores, "t", named.clone()).await.unwrap();
    assert_eq!((submitted.state, submitted.parts), (TaskState::Waiting, 3));
    assert_eq!(submit(stores, "t", named).await.unwrap().id, submitted.id);
    let owned = |name: &str, owner: &str| Node { owner: owner.parse().ok(), ..node(name, 9) };
    let first = lease(stores, owned("a", "ann"), 9, at(1)).await;
    assert_eq!(first.len(), 1, "one node has one replica");
    assert_eq!(first[0].payload, "t");
    assert_eq!(first[0].task.part.as_ref().unwrap().of, submitted.id);
    assert_eq!(lease(stores, owned("a2", "ann"), 9, at(1)).await, []);
    let second = lease(stores, owned("b", "bob"), 9, at(1)).await;
    assert_eq!((second.len(), second[0].payload.as_ref()), (1, b"t".as_slice()));
    // They stand in nobody's way.
    submit(stores, "plain", spec()).await.unwrap();
    assert_eq!(lease(stores, owned("a", "ann"), 9, at(1)).await[0].task.id, task_id("plain"));
    // Who gave one back makes room for itself and for others.
    stores.tasks.release(vec![claim(&first[0])], at(2)).await.unwrap().remove(0).unwrap();
    assert_eq!(take(stores, "c", 2).await.task.id, first[0].task.id);
    assert_eq!(lease(stores, owned("a", "ann"), 9, at(2)).await.len(), 1);
    assert_eq!(lease(stores, node("d", 9), 9, at(2)).await, []);
    let task = task(stores, submitted.id).await;
    assert_eq!((task.state, task.seats.len()), (TaskState::Waiting, 3));
}

/// The result of most is the task's; who gave another one is not paid, and is trusted less.
pub async fn the_majority_is_paid_and_the_odd_one_loses_trust(stores: &Stores) {
    fund(stores, 1_000).await;
    submit(stores, "t", paid(SlaClass::S, 100)).await.unwrap();
    assert_eq!(account(stores, "alice").await.debits_pending, units(100));
    let (a, b, c) =
        (take(stores, "a", 1).await, take(stores, "b", 1).await, take(stores, "c", 1).await);
    let above = complete(stores, done(&a, "right", Some(34)), at(2)).await.unwrap_err();
    assert_eq!(above.field(), Some("price"), "a third of the budget is the most for each");
    let waiting = ends(stores, &a, "right", 33).await;
    assert_eq!((waiting.state, waiting.paid), (TaskState::Succeeded, units(0)));
    ends(stores, &b, "wrong", 33).await;
    assert_eq!(task(stores, task_id("t")).await.state, TaskState::Waiting);
    assert_eq!(stores.tasks.result(task_id("t")).await.unwrap(), None);
    let last = ends(stores, &c, "right", 10).await;
    assert_eq!(last.paid, units(10));
    let t = task(stores, task_id("t")).await;
    assert_eq!((t.state, t.paid, t.ended_at), (TaskState::Succeeded, units(43), Some(at(9))));
    assert_eq!(stores.tasks.result(t.id).await.unwrap(), Some("right".into()));
    let odd = task(stores, b.task.id).await;
    assert_eq!((odd.state, odd.paid), (TaskState::Succeeded, units(0)));
    let (alice, bob) = (account(stores, "alice").await, account(stores, "bob").await);
    assert_eq!((alice.debits_pending, alice.debits_posted), (units(0), units(43)));
    assert_eq!(bob.credits_posted, units(43));
    assert!(is_balanced(stores).await);
    // A report that is sent again pays nothing again.
    assert_eq!(ends(stores, &c, "right", 10).await, last);
    assert_eq!(account(stores, "bob").await.credits_posted, units(43));
    let trust = stores.tasks.trust().await.unwrap();
    let seen = |name: &str| (trust[&node_id(name)].agreed, trust[&node_id(name)].disagreed);
    assert_eq!([seen("a"), seen("b"), seen("c")], [(1.0, 0.0), (0.0, 1.0), (1.0, 0.0)]);
    let tallies = stores.tasks.tallies().await.unwrap();
    let earned: u128 = tallies.values().map(|tally| tally.earned.base_units()).sum();
    assert_eq!(earned, 43);
}

/// Two that agree are enough; if they do not, a third decides.
pub async fn a_third_decides_between_two(stores: &Stores) {
    fund(stores, 1_000).await;
    submit(stores, "agree", paid(SlaClass::A, 101)).await.unwrap();
    let (a, b) = (take(stores, "a", 1).await, take(stores, "b", 1).await);
    assert_eq!(lease(stores, node("c", 9), 9, at(1)).await, []);
    ends(stores, &a, "x", 50).await;
    ends(stores, &b, "x", 50).await;
    assert_eq!(task(stores, task_id("agree")).await.paid, units(100));

    submit(stores, "differ", paid(SlaClass::A, 100)).await.unwrap();
    let (a, b) = (take(stores, "a", 2).await, take(stores, "b", 2).await);
    ends(stores, &a, "x", 50).await;
    ends(stores, &b, "y", 50).await;
    let t = task(stores, task_id("differ")).await;
    assert_eq!((t.state, t.parts), (TaskState::Waiting, 3));
    assert_eq!(lease(stores, node("a", 9), 9, at(3)).await, [], "it was asked already");
    let c = take(stores, "c", 3).await;
    assert_eq!((c.task.id, c.payload.as_ref()), (part_id(t.id, 3), b"differ".as_slice()));
    ends(stores, &c, "y", 50).await;
    let t = task(stores, task_id("differ")).await;
    assert_eq!(
        (t.state, t.paid, t.done_by),
        (TaskState::Succeeded, units(100), Some(node_id("b")))
    );
    assert_eq!(stores.tasks.result(t.id).await.unwrap(), Some("y".into()));
    assert_eq!(account(stores, "alice").await.debits_pending, units(0));
}

/// Nobody is paid for what nobody can rely on, and nobody is blamed for it.
pub async fn without_a_majority_nobody_is_paid(stores: &Stores) {
    fund(stores, 1_000).await;
    submit(stores, "all differ", paid(SlaClass::S, 100)).await.unwrap();
    for (name, result) in [("a", "x"), ("b", "y"), ("c", "z")] {
        let given = take(stores, name, 1).await;
        ends(stores, &given, result, 33).await;
    }
    let t = task(stores, task_id("all differ")).await;
    assert_eq!(t.state, TaskState::Failed);
    assert!(t.failure.unwrap().contains("(3 gave a result)"));
    submit(stores, "too few", paid(SlaClass::S, 100)).await.unwrap();
    let given = take(stores, "a", 2).await;
    ends(stores, &given, "x", 33).await;
    for name in ["b", "c"] {
        let given = take(stores, name, 2).await;
        complete(stores, failure(claim(&given), true), at(3)).await.unwrap();
    }
    let t = task(stores, task_id("too few")).await;
    assert_eq!((t.state, t.paid), (TaskState::Failed, units(0)));
    assert_eq!(stores.tasks.result(t.id).await.unwrap(), None);
    let alice = account(stores, "alice").await;
    assert_eq!((alice.debits_pending, alice.debits_posted), (units(0), units(0)));
    assert!(stores.tasks.trust().await.unwrap().is_empty());
    assert!(is_balanced(stores).await);
}

/// Called off, its replicas are, too; one whose lease runs out is tried again, like any task; and
/// its deadline is theirs.
pub async fn replicas_live_and_end_with_their_task(stores: &Stores) {
    fund(stores, 1_000).await;
    submit(stores, "t", paid(SlaClass::S, 100)).await.unwrap();
    let first = take(stores, "a", 1).await;
    let lost = take(stores, "b", 1).await;
    ends(stores, &first, "x", 1).await;
    assert_eq!(stores.tasks.expire(at(40), 10).await.unwrap().len(), 1);
    assert_eq!(take(stores, "b", 41).await.task.id, lost.task.id);
    stores.tasks.cancel(task_id("t"), at(42)).await.unwrap();
    for number in 1..=3 {
        let state = task(stores, part_id(task_id("t"), number)).await.state;
        let done = if number == 1 { TaskState::Succeeded } else { TaskState::Cancelled };
        assert_eq!(state, done, "{number}");
    }
    assert_eq!(account(stores, "alice").await.debits_pending, units(0));
    assert_eq!(lease(stores, node("c", 9), 9, at(43)).await, []);

    let late = TaskSpec { deadline: Some(at(60)), ..paid(SlaClass::A, 100) };
    submit(stores, "late", late).await.unwrap();
    assert_eq!(account(stores, "alice").await.debits_pending, units(100));
    for second in [60, 61] {
        stores.tasks.expire(at(second), 10).await.unwrap();
    }
    assert_eq!(task(stores, task_id("late")).await.state, TaskState::Failed);
    assert_eq!(account(stores, "alice").await.debits_pending, units(0));
    // After its parents have ended, and not before.
    submit(stores, "parent", spec()).await.unwrap();
    let after = TaskSpec { after: vec![task_id("parent")], ..of_class(SlaClass::A) };
    assert_eq!(submit(stores, "child", after).await.unwrap().parts, 0);
    let parent = take(stores, "a", 70).await;
    complete(stores, done(&parent, "", None), at(71)).await.unwrap();
    assert_eq!(stores.tasks.advance(at(71), 10).await.unwrap()[0].parts, 2);
    assert_eq!(stores.tasks.advance(at(71), 10).await.unwrap(), []);
    for name in ["a", "b"] {
        let given = take(stores, name, 72).await;
        complete(stores, done(&given, "x", None), at(73)).await.unwrap();
    }
    let child = task(stores, task_id("child")).await;
    assert_eq!(child.state, TaskState::Succeeded);
    let policy = QueuePolicy::default().retain_for;
    let gone = at(73).saturating_add(policy);
    while stores.tasks.purge(gone, 10).await.unwrap() > 0 {}
    assert_eq!(stores.tasks.result(child.id).await.unwrap(), None);
    let counts = stores.tasks.counts().await.unwrap();
    assert!(counts.keys().all(|state| state.is_final()), "{counts:?}");
}

fn with_backup(limit: u128) -> TaskSpec {
    TaskSpec { backup: Backup::WhenLate, max_attempts: 2, ..paid(SlaClass::B, limit) }
}

/// Lets a second node begin with what this one has.
async fn back_up(stores: &Stores, given: &Assignment, second: u64) -> usize {
    stores.tasks.back_up(vec![claim(given)], at(second)).await.unwrap().len()
}

/// The first result is the task's and is paid; whoever is second hears that it was in vain.
pub async fn the_first_result_of_a_task_and_its_backup_counts(stores: &Stores) {
    fund(stores, 1_000).await;
    for (name, first) in [("original is first", true), ("backup is first", false)] {
        let t = submit(stores, name, with_backup(100)).await.unwrap().id;
        let a = take(stores, "a", 1).await;
        assert_eq!(lease(stores, node("b", 9), 9, at(2)).await, []);
        assert_eq!((back_up(stores, &a, 2).await, back_up(stores, &a, 2).await), (1, 0), "{name}");
        assert_eq!(lease(stores, node("a", 9), 9, at(2)).await, [], "it has it already");
        let b = take(stores, "b", 2).await;
        assert_eq!((b.task.id, b.payload.as_ref()), (part_id(t, 1), name.as_bytes()));
        let (fast, slow) = if first { (&a, &b) } else { (&b, &a) };
        ends(stores, fast, "fast", 60).await;
        let late = complete(stores, done(slow, "slow", Some(70)), at(9)).await.unwrap_err();
        assert_eq!(late.kind(), crate::ErrorKind::Conflict, "{name}");
        let ended = task(stores, t).await;
        assert_eq!((ended.state, ended.paid), (TaskState::Succeeded, units(60)), "{name}");
        let node = &fast.task.lease.as_ref().unwrap().node;
        assert_eq!(ended.done_by.as_ref(), Some(node), "{name}");
        assert_eq!(stores.tasks.result(t).await.unwrap(), Some("fast".into()), "{name}");
        // The answer was lost: reported again, nothing is paid again.
        ends(stores, fast, "fast", 60).await;
    }
    let (alice, bob) = (account(stores, "alice").await, account(stores, "bob").await);
    assert_eq!((alice.debits_pending, alice.debits_posted), (units(0), units(120)));
    assert_eq!(bob.credits_posted, units(120));
    assert!(stores.tasks.trust().await.unwrap().is_empty(), "nobody compared anything");
    assert!(is_balanced(stores).await);
}

/// If the first attempt comes to nothing, the task waits for the backup, if somebody is at it; if
/// that comes to nothing, too, it is tried again.
pub async fn a_backup_takes_over_what_the_first_node_lost(stores: &Stores) {
    fund(stores, 1_000).await;
    let t = submit(stores, "t", with_backup(100)).await.unwrap().id;
    let a = take(stores, "a", 1).await;
    back_up(stores, &a, 2).await;
    let b = take(stores, "b", 20).await;
    assert_eq!(stores.tasks.expire(at(31), 10).await.unwrap().len(), 1);
    assert_eq!(task(stores, t).await.state, TaskState::Waiting);
    assert_eq!(lease(stores, node("c", 9), 9, at(31)).await, []);
    assert_eq!(stores.tasks.expire(at(50), 10).await.unwrap()[0].state, TaskState::Dead);
    let c = take(stores, "c", 51).await;
    assert_eq!((c.task.id, c.task.attempts), (t, 2));
    assert_eq!(back_up(stores, &c, 52).await, 0, "one in its life");
    complete(stores, failure(claim(&c), false), at(53)).await.unwrap();
    assert_eq!(task(stores, t).await.state, TaskState::Dead);
    assert!(complete(stores, done(&b, "", None), at(54)).await.is_err());

    let t = submit(stores, "last", TaskSpec { max_attempts: 1, ..with_backup(100) }).await;
    let a = take(stores, "a", 60).await;
    back_up(stores, &a, 61).await;
    let b = take(stores, "b", 61).await;
    complete(stores, failure(claim(&a), false), at(62)).await.unwrap();
    ends(stores, &b, "saved", 7).await;
    let t = task(stores, t.unwrap().id).await;
    assert_eq!((t.state, t.paid), (TaskState::Succeeded, units(7)));

    // What nobody began with is not needed, once the first attempt is over.
    submit(stores, "u", with_backup(100)).await.unwrap();
    let a = take(stores, "a", 70).await;
    back_up(stores, &a, 71).await;
    stores.tasks.release(vec![claim(&a)], at(72)).await.unwrap().remove(0).unwrap();
    let a = take(stores, "a", 73).await;
    assert_eq!(a.task.id, task_id("u"));
    complete(stores, failure(claim(&a), true), at(74)).await.unwrap();
    assert_eq!(account(stores, "alice").await.debits_pending, units(0));
    assert_eq!(lease(stores, node("b", 9), 9, at(75)).await, []);
    let counts = stores.tasks.counts().await.unwrap();
    assert!(counts.keys().all(|state| state.is_final()), "{counts:?}");
    assert!(is_balanced(stores).await);
}

/// A task that wants the better of two results waits for its first node: the higher score counts
/// and is paid, and without one of the first node's, what is there.
pub async fn the_better_of_two_results_counts_once_the_first_node_is_back(stores: &Stores) {
    fund(stores, 1_000).await;
    let best = TaskSpec {
        reconcile: Reconcile::Best,
        offline_for: Some(Duration::from_secs(60)),
        ..paid(SlaClass::B, 100)
    };
    let scored = |given: &Assignment, result: &str, price, score| Completion {
        score,
        ..done(given, result, Some(price))
    };
    let cases = [
        ("first is better", Some(7), Some(5), "first", 10),
        ("backup is better", Some(5), Some(7), "backup", 20),
        ("equal", Some(5), Some(5), "first", 10),
        ("one says nothing", None, Some(7), "first", 10),
    ];
    for (name, own, other, result, price) in cases {
        let t = submit(stores, name, best.clone()).await.unwrap().id;
        let a = take(stores, "a", 1).await;
        assert_eq!(back_up(stores, &a, 2).await, 1);
        let b = take(stores, "b", 3).await;
        complete(stores, scored(&b, "backup", 20, other), at(4)).await.unwrap();
        assert_eq!(task(stores, t).await.state, TaskState::Leased, "{name}");
        assert_eq!(stores.tasks.result(t).await.unwrap(), None, "{name}");
        let ended = complete(stores, scored(&a, "first", 10, own), at(5)).await.unwrap();
        assert_eq!((ended.state, ended.paid), (TaskState::Succeeded, units(price)), "{name}");
        assert_eq!(stores.tasks.result(t).await.unwrap(), Some(result.into()), "{name}");
    }
    // It never comes back, or gives up.
    for name in ["lost", "given back", "failed"] {
        let t = submit(stores, name, best.clone()).await.unwrap().id;
        let a = take(stores, "a", 10).await;
        back_up(stores, &a, 11).await;
        let b = take(stores, "b", 12).await;
        complete(stores, scored(&b, "backup", 20, None), at(13)).await.unwrap();
        match name {
            "lost" => drop(stores.tasks.expire(at(71), 10).await.unwrap()),
            "failed" => drop(complete(stores, failure(claim(&a), true), at(14)).await.unwrap()),
            _ => drop(stores.tasks.release(vec![claim(&a)], at(14)).await.unwrap()),
        }
        let ended = task(stores, t).await;
        assert_eq!((ended.state, ended.paid), (TaskState::Succeeded, units(20)), "{name}");
        assert_eq!(stores.tasks.result(t).await.unwrap(), Some("backup".into()), "{name}");
    }
    assert_eq!(account(stores, "alice").await.debits_pending, units(0));
    assert_eq!(account(stores, "bob").await.credits_posted, units(110));
    assert!(is_balanced(stores).await);
}

/// What comes back from its first node, because nobody had begun with its backup, is a task like
/// any other: its deadline ends it and frees its money.
pub async fn a_deadline_ends_a_task_whose_backup_failed(stores: &Stores) {
    fund(stores, 1_000).await;
    let due = TaskSpec { deadline: Some(at(60)), ..with_backup(100) };
    let t = submit(stores, "t", due).await.unwrap().id;
    let a = take(stores, "a", 1).await;
    back_up(stores, &a, 2).await;
    stores.tasks.release(vec![claim(&a)], at(3)).await.unwrap().remove(0).unwrap();
    assert_eq!(task(stores, t).await.state, TaskState::Queued);
    stores.tasks.expire(at(60), 10).await.unwrap();
    assert_eq!(task(stores, t).await.state, TaskState::Failed);
    assert_eq!(account(stores, "alice").await.debits_pending, units(0));
}

/// Tasks whose replicas run past the deadline are not looked at again and again.
pub async fn replicas_that_are_late_keep_no_other_from_ending(stores: &Stores) {
    let due = TaskSpec { deadline: Some(at(60)), ..of_class(SlaClass::A) };
    submit(stores, "runs", due.clone()).await.unwrap();
    let (a, b) = (take(stores, "a", 1).await, take(stores, "b", 1).await);
    let alone = TaskSpec { sla: SlaClass::B, deadline: Some(at(61)), ..due };
    submit(stores, "alone", alone).await.unwrap();
    let claims = [&a, &b].map(|given| Renewal::new(claim(given), at(90)));
    stores.tasks.renew(claims.to_vec(), at(20)).await.unwrap();
    assert_eq!(stores.tasks.expire(at(62), 1).await.unwrap()[0].id, task_id("alone"));
    for given in [&a, &b] {
        complete(stores, done(given, "x", None), at(70)).await.unwrap();
    }
    assert_eq!(task(stores, task_id("runs")).await.state, TaskState::Succeeded);
}

/// If the majority cannot be paid, nobody keeps the money, and the task has failed.
pub async fn replicas_that_cannot_be_paid_give_the_money_back(stores: &Stores) {
    fund(stores, 1_000).await;
    submit(stores, "t", paid(SlaClass::A, 100)).await.unwrap();
    let (a, b) = (take(stores, "a", 1).await, take(stores, "b", 1).await);
    let (alice, bob) = (account_id("alice"), account_id("bob"));
    let closing = Transfer::hold(transfer_id("closing"), &bob, &alice, units(0), Purpose::Transfer)
        .closing_debit();
    ends(stores, &a, "x", 50).await;
    stores.ledger.transfer(vec![closing], at(2)).await.unwrap().remove(0).unwrap();
    ends(stores, &b, "x", 50).await;
    let t = task(stores, task_id("t")).await;
    assert_eq!((t.state, t.paid), (TaskState::Failed, units(0)));
    assert_eq!(account(stores, "alice").await.debits_pending, units(0));
    assert!(is_balanced(stores).await);
}

/// A node that has a replica of each of many tasks still gets what else there is.
pub async fn replicas_that_cannot_go_to_a_node_do_not_block_others(stores: &Stores) {
    for number in 0..80 {
        let urgent = TaskSpec { priority: 5, ..of_class(SlaClass::S) };
        submit(stores, &format!("t{number}"), urgent).await.unwrap();
    }
    let mut held = 0;
    while held < 80 {
        let granted = lease(stores, node("a", 200), 200, at(1)).await.len();
        assert!(granted > 0, "only {held} of 80");
        held += granted;
    }
    assert_eq!(lease(stores, node("a", 200), 1, at(2)).await, []);
    submit(stores, "plain", spec()).await.unwrap();
    let granted = lease(stores, node("a", 200), 1, at(2)).await;
    assert_eq!(granted.iter().map(|given| given.task.id).collect::<Vec<_>>(), [task_id("plain")]);
}

/// Only those that allow it, and only while they run; and all of it ends with the task.
pub async fn only_who_asks_for_it_has_a_backup(stores: &Stores) {
    submit(stores, "plain", spec()).await.unwrap();
    let plain = take(stores, "a", 1).await;
    assert_eq!(back_up(stores, &plain, 2).await, 0);
    complete(stores, done(&plain, "", None), at(2)).await.unwrap();
    let asks = TaskSpec { backup: Backup::WhenLate, ..spec() };
    let t = submit(stores, "asks", asks).await.unwrap().id;
    let given = take(stores, "a", 3).await;
    let mut stale = given.clone();
    stale.task.lease.as_mut().unwrap().fence += 1;
    assert_eq!(back_up(stores, &stale, 4).await, 0);
    assert_eq!(back_up(stores, &given, 4).await, 1);
    let backup = take(stores, "b", 4).await;
    stores.tasks.cancel(t, at(5)).await.unwrap();
    for given in [given, backup] {
        assert_eq!(task(stores, given.task.id).await.state, TaskState::Cancelled);
        assert!(complete(stores, done(&given, "", None), at(6)).await.is_err());
    }
    assert_eq!(lease(stores, node("c", 9), 9, at(7)).await, []);
}
