//! The embedded store where it hurts: processes side by side, crashes, full disks, damaged files.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fogcore::id::{TaskId, TransferId};
use fogcore::ledger::{Account, AccountFilter, Purpose, Transfer};
use fogcore::registry::{Heartbeat, NodeFilter};
use fogcore::scheduler::{
    NewTask, QueuePolicy, Selector, TaskFilter, TaskSpec, TaskState, settlement,
};
use fogcore::storage::Stores;
use fogcore::storage::sqlite::{SqliteOptions, SqliteStore};
use fogcore::{Error, ErrorKind, Fog, FogConfig, Result};
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor};
use tokio::task::JoinSet;

use common::{
    account_id, claim, fog as amount, funds, is_balanced, node, node_id, paid, soon, spec, success,
};

async fn open(path: &Path) -> (Arc<SqliteStore>, Fog) {
    open_with(path, SqliteOptions::default()).await
}

async fn open_with(path: &Path, options: SqliteOptions) -> (Arc<SqliteStore>, Fog) {
    let store = Arc::new(SqliteStore::open(path, options).await.unwrap());
    // Nobody is weighed against others here, so that nobody waits for a better node.
    let config = FogConfig { max_rivals: 0, ..FogConfig::default() };
    let builder = Fog::builder().stores(Stores::from_one(store.clone())).config(config);
    (store, builder.without_loops().open().await.unwrap())
}

fn task_id(name: &str) -> TaskId {
    TaskId::derive(name.as_bytes(), "sqlite tests")
}

fn transfer_id(name: &str) -> TransferId {
    TransferId::derive(name.as_bytes(), "sqlite tests")
}

/// One base unit from `alice` to `bob`.
fn unit(name: &str) -> Transfer {
    let (alice, bob) = (account_id("alice"), account_id("bob"));
    let one = fogcore::amount::Amount::from_base_units(1);
    Transfer::direct(transfer_id(name), &alice, &bob, one, Purpose::Transfer)
}

/// Gives `alice` 100 FOG, and opens `bob`.
async fn fund(fog: &Fog) {
    fog.ledger().mint(&account_id("alice"), amount("100")).await.unwrap();
    let bob = Account::new(account_id("bob"), fog.config().asset.clone());
    fog.ledger().open_account(bob.limited_to_credits()).await.unwrap();
}

async fn earned(fog: &Fog) -> u128 {
    funds(fog, "bob").await.0.base_units()
}

// Durability

/// A task that is paid, one that is leased, one that waits, and a transfer.
async fn leave_traces(fog: &Fog) -> [TaskId; 3] {
    fund(fog).await;
    let laptop = node("laptop", 2);
    fog.register(laptop.clone()).await.unwrap();
    fog.beat(&laptop.id, Heartbeat::new(7)).await.unwrap();
    let done = fog.submit(paid(), "done").await.unwrap().id;
    let first = fog.lease(&laptop.id, 1).await.unwrap().remove(0);
    fog.complete(vec![success(&first, &laptop)]).await.unwrap().remove(0).unwrap();
    let leased = fog.submit(paid(), "leased").await.unwrap().id;
    assert_eq!(fog.lease(&laptop.id, 1).await.unwrap().len(), 1);
    let waiting = fog.submit(paid(), "waiting").await.unwrap().id;
    fog.ledger().transfer(unit("kept")).await.unwrap();
    [done, leased, waiting]
}

async fn find_traces(fog: &Fog, [done, leased, waiting]: [TaskId; 3]) {
    let states =
        [(done, TaskState::Succeeded), (leased, TaskState::Leased), (waiting, TaskState::Queued)];
    for (id, state) in states {
        assert_eq!(fog.task(id).await.unwrap().state, state);
        assert!(fog.ledger().posted(settlement::hold_id(id)).await.unwrap().is_some());
    }
    assert_eq!(fog.result(done).await.unwrap().unwrap(), "done");
    assert!(fog.explanation(leased).await.unwrap().is_some());
    assert_eq!(earned(fog).await, amount("0.01").base_units() + 1);
    assert_eq!(funds(fog, "alice").await.1, amount("0.2"));
    let record = fog.node(&node_id("laptop")).await.unwrap().unwrap();
    assert_eq!(record.heartbeat.unwrap().sequence, 7);
    assert!(is_balanced(fog).await);
    // And it goes on.
    let next = fog.lease(&node_id("laptop"), 1).await.unwrap().remove(0);
    assert_eq!((next.task.id, next.payload.as_ref()), (waiting, b"waiting".as_slice()));
    fog.cancel(leased).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fog.db");
    let (store, fog) = open(&path).await;
    let traces = leave_traces(&fog).await;
    soon(store.close()).await;
    let closed = fog.submit(spec(), "too late").await.unwrap_err();
    assert_eq!(closed.kind(), ErrorKind::Unavailable);
    soon(store.close()).await;
    let (_, fog) = open(&path).await;
    find_traces(&fog, traces).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_on_the_disk_although_nothing_was_closed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fog.db");
    let (_store, fog) = open(&path).await;
    let traces = leave_traces(&fog).await;
    // What a process leaves that is killed now.
    let crashed = folder.path().join("crashed.db");
    std::fs::copy(&path, &crashed).unwrap();
    std::fs::copy(folder.path().join("fog.db-wal"), folder.path().join("crashed.db-wal")).unwrap();
    let (_other, after) = open(&crashed).await;
    find_traces(&after, traces).await;
    // The end of the log is torn off in the middle of a later commit: that one is gone, no more.
    fog.ledger().transfer(unit("torn")).await.unwrap();
    let torn = folder.path().join("torn.db");
    std::fs::copy(&path, &torn).unwrap();
    let mut log = std::fs::read(folder.path().join("fog.db-wal")).unwrap();
    log.truncate(log.len() - 100);
    std::fs::write(folder.path().join("torn.db-wal"), log).unwrap();
    let (_other, after) = open(&torn).await;
    assert_eq!(after.ledger().posted(transfer_id("torn")).await.unwrap(), None);
    find_traces(&after, traces).await;
}

// Side by side

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_stores_on_one_file_never_lease_a_task_twice() {
    const TASKS: usize = 400;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fog.db");
    let fogs = [open(&path).await.1, open(&path).await.1];
    let submissions = (0..TASKS).map(|i| (spec(), format!("{i}").into())).collect();
    for submitted in fogs[0].submit_all(submissions).await.unwrap() {
        submitted.unwrap();
    }
    let total = Arc::new(AtomicUsize::new(0));
    let mut leasers = JoinSet::new();
    for number in 0..8_usize {
        let (fog, total) = (fogs[number % 2].clone(), total.clone());
        leasers.spawn(async move {
            let name = format!("node-{number}");
            fog.register(node(&name, 400)).await.unwrap();
            let mut got = Vec::new();
            while total.load(Ordering::SeqCst) < TASKS {
                for assignment in fog.lease(&node_id(&name), 7).await.unwrap() {
                    total.fetch_add(1, Ordering::SeqCst);
                    got.push((assignment.task.id, assignment.task.fence));
                }
                tokio::task::yield_now().await;
            }
            got
        });
    }
    let got: Vec<_> = soon(leasers.join_all()).await.into_iter().flatten().collect();
    let different: BTreeSet<_> = got.iter().map(|(id, _)| id).collect();
    assert_eq!((got.len(), different.len()), (TASKS, TASKS));
    assert!(got.iter().all(|(_, fence)| *fence == 1));
    assert_eq!(fogs[1].counts().await.unwrap()[&TaskState::Leased], 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn transfers_through_two_stores_on_one_file_add_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fog.db");
    let fogs = [open(&path).await.1, open(&path).await.1];
    fund(&fogs[0]).await;
    let mut senders = JoinSet::new();
    for number in 0..8_usize {
        let fog = fogs[number % 2].clone();
        senders.spawn(async move {
            for turn in 0..25 {
                // Every transfer is sent by two, over different stores: it happens once.
                fog.ledger().transfer(unit(&format!("{}-{turn}", number / 2))).await.unwrap();
            }
        });
    }
    soon(senders.join_all()).await;
    for fog in &fogs {
        assert_eq!(earned(fog).await, 100);
        assert!(is_balanced(fog).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_who_open_a_fresh_file_at_once_all_get_in() {
    for round in 0..5 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fog.db");
        // Each connection of SQLite has a thread of its own, so they do meet.
        let openers = join_all((0..8).map(|number| {
            let path = &path;
            async move {
                let (_store, fog) = open(path).await;
                fog.submit(spec(), format!("{number}")).await.unwrap();
                fog
            }
        }));
        for fog in soon(openers).await {
            assert_eq!(fog.counts().await.unwrap()[&TaskState::Queued], 8, "round {round}");
        }
    }
}

// Many at once

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_each_get_their_own_answer() {
    let folder = tempfile::tempdir().unwrap();
    let (_store, fog) = open(&folder.path().join("fog.db")).await;
    fund(&fog).await;
    let submits = join_all((0..200).map(|number| {
        let key = format!("key-{number}");
        let submission = fog.submit(paid().named(key.parse().unwrap()), key.clone());
        async move { (key, submission.await) }
    }));
    let transfers = join_all((0..200).map(|number| {
        let mut transfer = unit(&format!("{number}"));
        if number % 4 == 3 {
            let (alice, nobody) = (account_id("alice"), account_id("nobody"));
            let id = transfer.id;
            transfer = Transfer::direct(id, &alice, &nobody, amount("0.1"), Purpose::Transfer);
        }
        let ledger = fog.ledger();
        async move { (number, transfer.clone(), ledger.transfer(transfer).await) }
    }));
    let (submits, transfers) = soon(async { tokio::join!(submits, transfers) }).await;
    for (key, task) in submits {
        let task = task.unwrap();
        assert_eq!(task.spec.idempotency_key.as_ref().unwrap().as_str(), key);
        assert_eq!(fog.task(task.id).await.unwrap(), task);
    }
    for (number, transfer, posted) in transfers {
        match posted {
            Ok(posted) => assert_eq!(posted.transfer, transfer),
            Err(error) => {
                assert_eq!((number % 4, error.kind()), (3, ErrorKind::NotFound), "{error}");
            }
        }
    }
    assert_eq!(earned(&fog).await, 150);
    assert_eq!(funds(&fog, "alice").await.1, amount("20"));
    assert!(is_balanced(&fog).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_waiting_leaves_a_transfer_whole_or_not_begun() {
    let folder = tempfile::tempdir().unwrap();
    // A short queue, so that some are dropped before they have a place in it.
    let options = SqliteOptions { queue: 2, group: 3, ..SqliteOptions::default() };
    let (_store, fog) = open_with(&folder.path().join("fog.db"), options).await;
    fund(&fog).await;
    let seed = 7;
    eprintln!("seed {seed}");
    let mut dice = StdRng::seed_from_u64(seed);
    let (mut names, mut answered) = (Vec::new(), 0);
    for round in 0..150 {
        let some: Vec<_> = (0..4).map(|number| format!("{round}-{number}")).collect();
        names.extend(some.clone());
        let ledger = fog.ledger();
        let transfers = join_all(some.iter().map(|name| ledger.transfer(unit(name))));
        let patience = dice.random_range(0..40);
        let leaves = async {
            for _ in 0..patience {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            posted = transfers => {
                answered += posted.len();
                posted.into_iter().for_each(|posted| drop(posted.unwrap()));
            }
            () = leaves => {}
        }
    }
    // The queue is first come, first served: behind this one nothing is left.
    soon(fog.ledger().transfer(unit("last"))).await.unwrap();
    let mut done = 1;
    for name in &names {
        let posted = fog.ledger().posted(transfer_id(name)).await.unwrap();
        done += u128::from(posted.is_some());
    }
    assert_eq!(earned(&fog).await, done);
    assert!(done > u128::try_from(answered).unwrap());
    assert!(is_balanced(&fog).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_fails_disturbs_nobody_in_its_group() {
    let folder = tempfile::tempdir().unwrap();
    let (_store, fog) = open(&folder.path().join("fog.db")).await;
    fund(&fog).await;
    let seed = std::env::var("FOGCORE_SEED").map_or(11, |seed| seed.parse().unwrap());
    eprintln!("FOGCORE_SEED={seed}");
    let mut dice = StdRng::seed_from_u64(seed);
    let mut sent = 0;
    for round in 0..40 {
        let group: Vec<(u32, String)> =
            (0..24).map(|i| (dice.random_range(0..5), format!("{round}-{i}"))).collect();
        sent += group.iter().filter(|(what, _)| *what < 2).count();
        let requests = group.iter().map(|(what, name)| request(&fog, *what, name));
        for ((what, name), answer) in group.iter().zip(soon(join_all(requests)).await) {
            match what {
                0..3 => assert!(answer.is_ok(), "{name}: {answer:?}"),
                _ => assert_eq!(answer.unwrap_err().kind(), ErrorKind::NotFound, "{name}"),
            }
        }
        assert_eq!(earned(&fog).await, u128::try_from(sent).unwrap(), "round {round}");
    }
    assert!(is_balanced(&fog).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_on_the_disk_is_refused_alone() {
    let folder = tempfile::tempdir().unwrap();
    // Room for all the small ones, but never for the large one.
    let options = SqliteOptions { max_pages: Some(200), ..SqliteOptions::default() };
    let (_store, fog) = open_with(&folder.path().join("fog.db"), options).await;
    fund(&fog).await;
    let large = vec![b'x'; 1 << 20];
    let submissions = (0..20).map(|number| {
        let payload = if number == 7 { large.clone() } else { b"small".to_vec() };
        fog.submit(paid(), payload)
    });
    let answers = soon(join_all(submissions)).await;
    for (number, answer) in answers.into_iter().enumerate() {
        match number {
            7 => assert!(is_full(&answer.unwrap_err())),
            _ => assert_eq!(answer.unwrap().state, TaskState::Queued),
        }
    }
    assert_eq!(fog.counts().await.unwrap()[&TaskState::Queued], 19);
    let reserved = amount("0.1").base_units() * 19;
    assert_eq!(funds(&fog, "alice").await.1.base_units(), reserved);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_process_changed_is_seen_by_the_next_decision() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fog.db");
    let (here, there) = (open(&path).await.1, open(&path).await.1);
    fund(&here).await;
    here.register(node("laptop", 4)).await.unwrap();
    let tasks = [here.submit(paid(), "a").await.unwrap(), here.submit(paid(), "b").await.unwrap()];
    let leased = here.lease(&node_id("laptop"), 2).await.unwrap();
    assert_eq!(leased.len(), 2);
    // All of that is still loaded here; there, one task is called off and the money is spent.
    there.cancel(tasks[0].id).await.unwrap();
    let rest = funds(&there, "alice").await.0;
    let all = Transfer::direct(
        transfer_id("all"),
        &account_id("alice"),
        &account_id("bob"),
        rest,
        Purpose::Transfer,
    );
    there.ledger().transfer(all).await.unwrap();
    let reports = leased.iter().map(|given| success(given, &node("laptop", 4))).collect();
    let answers = here.complete(reports).await.unwrap();
    assert_eq!(answers[0].as_ref().unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(answers[1].as_ref().unwrap().state, TaskState::Succeeded);
    // What the second task left of its budget, and nothing else.
    assert_eq!(funds(&here, "alice").await.0, amount("0.09"));
    let (alice, bob) = (account_id("alice"), account_id("bob"));
    let more =
        Transfer::direct(transfer_id("more"), &alice, &bob, amount("0.1"), Purpose::Transfer);
    let refused = here.ledger().transfer(more).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Exhausted);
}

/// Transfers and submits, and what must fail as a whole request.
async fn request(fog: &Fog, what: u32, name: &str) -> Result<()> {
    match what {
        0 | 1 => fog.ledger().transfer(unit(name)).await.map(drop),
        2 => fog.submit(spec(), name.to_owned()).await.map(drop),
        3 => fog.cancel(task_id(name)).await.map(drop),
        _ => fog.beat(&node_id(name), Heartbeat::new(1)).await.map(drop),
    }
}

// A full disk

fn new_task(name: &str) -> NewTask {
    let payload = vec![b'x'; 6_000].into();
    NewTask { id: task_id(name), spec: Arc::new(paid()), payload }
}

async fn submit(store: &Stores, fog: &Fog, names: &[String]) -> Result<Vec<TaskId>> {
    let tasks = names.iter().map(|name| new_task(name)).collect();
    let answers = store.tasks.submit(tasks, QueuePolicy::default(), fog.clock().now()).await?;
    answers.into_iter().map(|submitted| submitted.map(|submitted| submitted.task.id)).collect()
}

fn is_full(error: &Error) -> bool {
    error.kind() == ErrorKind::Exhausted && error.to_string().contains("the disk is full")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_whole_batches_and_keeps_what_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fog.db");
    let options = SqliteOptions { max_pages: Some(300), ..SqliteOptions::default() };
    let (store, fog) = open_with(&path, options).await;
    let stores = Stores::from_one(store.clone());
    fund(&fog).await;
    fog.register(node("laptop", 4)).await.unwrap();
    let (mut kept, mut refused) = (Vec::new(), Vec::new());
    // Several batches share a group; what was refused is a whole batch.
    for round in 0..200 {
        let batches: Vec<Vec<String>> = (0..4)
            .map(|batch| (0..3).map(|task| format!("{round}-{batch}-{task}")).collect())
            .collect();
        let answers = batches.iter().map(|names| submit(&stores, &fog, names));
        for (names, answer) in batches.iter().zip(soon(join_all(answers)).await) {
            match answer {
                Ok(ids) => kept.extend(ids),
                Err(error) => {
                    assert!(is_full(&error), "{error:?}");
                    refused.push(names.clone());
                }
            }
        }
        if refused.len() > 12 {
            break;
        }
    }
    assert!(!kept.is_empty() && refused.len() > 12, "{} kept", kept.len());
    check_whole(&fog, &kept, &refused).await;

    // What needs no room still works, or says the same; either way the books balance.
    let lease = fog.lease(&node_id("laptop"), 1).await;
    assert!(
        lease.as_ref().is_ok_and(|lease| lease.len() == 1) || lease.is_err_and(|e| is_full(&e))
    );
    soon(store.close()).await;
    drop(fog);

    let (store, fog) = open(&path).await;
    check_whole(&fog, &kept, &refused).await;
    let stores = Stores::from_one(store);
    for names in &refused {
        kept.extend(submit(&stores, &fog, names).await.unwrap());
    }
    check_whole(&fog, &kept, &[]).await;
}

/// Everything that was kept is there with its hold, and nothing of what was refused.
async fn check_whole(fog: &Fog, kept: &[TaskId], refused: &[Vec<String>]) {
    for id in kept {
        assert!(!fog.task(*id).await.unwrap().state.is_final());
        assert!(fog.ledger().posted(settlement::hold_id(*id)).await.unwrap().is_some());
    }
    for name in refused.iter().flatten() {
        let id = task_id(name);
        assert_eq!(fog.task(id).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(fog.ledger().posted(settlement::hold_id(id)).await.unwrap(), None);
    }
    let reserved = amount("0.1").base_units() * u128::try_from(kept.len()).unwrap();
    assert_eq!(funds(fog, "alice").await.1.base_units(), reserved);
    let counts = fog.counts().await.unwrap();
    let open: u64 = counts.values().sum();
    assert_eq!(usize::try_from(open).unwrap(), kept.len(), "{counts:?}");
    assert!(is_balanced(fog).await);
}

// Files that are no good

async fn refusal(path: &Path) -> Error {
    let error = soon(SqliteStore::open(path, SqliteOptions::default())).await.unwrap_err();
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    error
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letter.txt");
    let text = "Dear Alice, this is no database. ".repeat(500);
    std::fs::write(&path, &text).unwrap();
    let error = refusal(&path).await;
    assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
    assert!(error.to_string().contains("the file is not a database"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn a_folder_and_a_missing_folder_cannot_be_opened() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_owned(), folder.path().join("missing").join("fog.db")] {
        let error = refusal(&path).await;
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("the file cannot be opened"), "{error}");
    }
    assert!(!folder.path().join("missing").exists());
}

#[tokio::test]
async fn an_empty_file_becomes_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fog.db");
    std::fs::write(&path, b"").unwrap();
    let (_store, fog) = open(&path).await;
    fog.submit(spec(), "x").await.unwrap();
}

/// A closed store with some hundred pages.
async fn filled(path: &Path) -> Vec<TaskId> {
    let (store, fog) = open(path).await;
    fund(&fog).await;
    fog.register(node("laptop", 400)).await.unwrap();
    let submissions = (0..200).map(|i| (paid(), vec![b'x'; 100 * (i % 50)].into())).collect();
    let submitted = fog.submit_all(submissions).await.unwrap();
    let ids = submitted.into_iter().map(|submitted| submitted.unwrap().task.id).collect();
    let laptop = node("laptop", 400);
    let granted = fog.lease(&laptop.id, 100).await.unwrap();
    let reports = granted.iter().take(50).map(|granted| success(granted, &laptop)).collect();
    for done in fog.complete(reports).await.unwrap() {
        done.unwrap();
    }
    soon(store.close()).await;
    ids
}

/// Reads and changes everything, and gives every error that this met.
async fn use_everything(path: &Path, ids: &[TaskId]) -> Vec<Error> {
    let store = match soon(SqliteStore::open(path, SqliteOptions::default())).await {
        Ok(store) => Arc::new(store),
        Err(error) => return vec![error],
    };
    let fog = Fog::builder().stores(Stores::from_one(store.clone())).without_loops().open().await;
    let fog = match fog {
        Ok(fog) => fog,
        Err(error) => return vec![error],
    };
    let mut errors = Vec::new();
    let mut note = |error: Option<Error>| errors.extend(error);
    for id in ids.iter().step_by(10) {
        note(fog.task(*id).await.err());
        note(fog.result(*id).await.err());
        note(fog.explanation(*id).await.err());
        note(fog.ledger().posted(settlement::hold_id(*id)).await.err());
    }
    note(fog.tasks(&TaskFilter::default(), None, 1_000).await.err());
    note(fog.nodes(&NodeFilter::default(), None, 1_000).await.err());
    note(fog.ledger().accounts(&AccountFilter::default(), None, 1_000).await.err());
    note(fog.counts().await.err());
    note(fog.tallies().await.err());
    note(fog.ledger().trial_balance().await.err());
    note(fog.maintain().await.err());
    note(fog.submit(paid(), vec![b'y'; 10_000]).await.err());
    match fog.lease(&node_id("laptop"), 100).await {
        Ok(granted) => {
            let claims = granted.iter().map(claim).collect();
            match fog.release(claims).await {
                Ok(answers) => answers.into_iter().for_each(|answer| note(answer.err())),
                Err(error) => note(Some(error)),
            }
        }
        Err(error) => note(Some(error)),
    }
    note(fog.cancel(ids[ids.len() - 1]).await.err());
    soon(store.close()).await;
    errors
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_gives_errors_and_never_a_panic() {
    const PAGE: usize = 4_096;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fog.db");
    let ids = filled(&path).await;
    let sound = std::fs::read(&path).unwrap();
    let pages = sound.len() / PAGE;
    assert!(pages > 50, "{pages} pages");
    let damaged = folder.path().join("damaged.db");
    let seed = 3;
    eprintln!("seed {seed}");
    let mut dice = StdRng::seed_from_u64(seed);
    let mut kinds = BTreeMap::<String, usize>::new();
    // One page after another, and then everything but the first.
    let spoilt = (1..pages).step_by(11).map(|page| page..page + 1).chain(std::iter::once(1..pages));
    for spoilt in spoilt {
        let all = spoilt.len() > 1;
        let mut bytes = sound.clone();
        dice.fill(&mut bytes[spoilt.start * PAGE..spoilt.end * PAGE]);
        for left in ["damaged.db-wal", "damaged.db-shm"] {
            let _ = std::fs::remove_file(folder.path().join(left));
        }
        std::fs::write(&damaged, bytes).unwrap();
        let errors = soon(use_everything(&damaged, &ids)).await;
        assert!(!all || !errors.is_empty());
        for error in errors {
            *kinds.entry(error.kind().to_string()).or_default() += 1;
            if all {
                assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
                assert!(error.to_string().contains("the database is damaged"), "{error}");
            }
        }
    }
    eprintln!("{kinds:?}");
    assert!(kinds.contains_key("internal"), "{kinds:?}");
    // A damage is no full disk, and no lack of patience helps against it.
    assert!(!kinds.contains_key("exhausted"), "{kinds:?}");
}

#[tokio::test]
async fn a_task_spec_comes_back_from_the_disk_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fog.db");
    let (store, fog) = open(&path).await;
    fund(&fog).await;
    let mut full = TaskSpec { priority: -7, max_attempts: 1_000, ..paid() };
    let odd = Selector::is("größe", "\u{1f98a} \"'\0");
    full.requirements.required.push(odd);
    full.requirements.region = Some(String::new());
    let before = fog.submit(full.named("ключ".parse().unwrap()), vec![0_u8, 255]).await.unwrap();
    soon(store.close()).await;
    let (_store, fog) = open(&path).await;
    assert_eq!(fog.task(before.id).await.unwrap(), before);
}

#[tokio::test]
async fn what_tasks_needed_in_the_old_form_they_still_need() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fog.db");
    let (store, fog) = open(&path).await;
    let mut spec = spec();
    spec.requirements.cpu_milli = 2_000;
    spec.requirements.memory_mib = 512;
    spec.requirements.required = vec![Selector::is("os", "linux"), Selector::is("größe", "\"2\"")];
    let old = fog.submit(spec.clone(), "old").await.unwrap();
    let new = fog.submit(spec, "new").await.unwrap();
    soon(store.close()).await;
    let needs = r#"{"cpu_cores":2,"memory_mib":512,"labels":{"os":"linux","größe":"\"2\""}}"#;
    let mut connection = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    let rewrite = "UPDATE tasks SET task = json_set(task, '$.spec.requirements', json(?))
        WHERE id = ?";
    let rewritten = sqlx::query(rewrite).bind(needs).bind(old.id.uuid().as_bytes().to_vec());
    assert_eq!(rewritten.execute(&mut connection).await.unwrap().rows_affected(), 1);
    for undo in [
        "DROP INDEX tasks_apart",
        "ALTER TABLE tasks DROP COLUMN apart",
        "DROP TABLE zones",
        "DROP TABLE sessions",
        "DROP TABLE mail",
        "DELETE FROM _sqlx_migrations WHERE version >= 8",
    ] {
        connection.execute(undo).await.unwrap();
    }
    connection.close().await.unwrap();
    let (_store, fog) = open(&path).await;
    assert_eq!(fog.task(old.id).await.unwrap(), old);
    assert_eq!(fog.task(new.id).await.unwrap(), new);
}

#[test]
fn a_fog_can_be_opened_in_a_spawned_task() {
    fn spawnable<T: Send>(_: T) {}
    spawnable(SqliteStore::open("never", SqliteOptions::default()));
    spawnable(fogcore::storage::open("sqlite:never"));
    spawnable(Fog::open("sqlite:never"));
    spawnable(Fog::builder().open());
}
