//! PostgreSQL where it hurts: processes side by side, servers that go away, locks that stay.
#![cfg(all(feature = "postgres", unix))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

#[path = "common/postgres.rs"]
mod database;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fogcore::amount::{Amount, Asset};
use fogcore::id::{AccountId, TaskId, TransferId};
use fogcore::ledger::export::Format;
use fogcore::ledger::{
    Account, Fault, LedgerStore, Place, Purpose, ResultCode, Transfer, TransferFilter,
};
use fogcore::registry::{Heartbeat, LivenessPolicy, Node, NodeRecord, NodeStore, PowerPolicy};
use fogcore::scheduler::queue::FairShares;
use fogcore::scheduler::{
    Candidate, LeaseRequest, NewTask, PlacementPolicy, QueuePolicy, Selector, TaskSpec, TaskStore,
};
use fogcore::storage::postgres::{PostgresOptions, PostgresStore};
use fogcore::storage::{self, Stores};
use fogcore::time::Timestamp;
use fogcore::{ErrorKind, Result};
use fogcore_dev_postgres::Server;
use futures::future::join_all;
use sqlx::{Connection, Executor, PgConnection, Row};
use tokio::task::JoinSet;

use database::{Database, execute};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

async fn open(url: &str) -> Arc<PostgresStore> {
    open_with(url, PostgresOptions::default()).await
}

async fn open_with(url: &str, options: PostgresOptions) -> Arc<PostgresStore> {
    Arc::new(PostgresStore::open(url, options).await.unwrap())
}

fn account_id(name: &str) -> AccountId {
    name.parse().unwrap()
}

fn transfer_id(name: &str) -> TransferId {
    TransferId::derive(name.as_bytes(), "postgres tests")
}

/// Base units from one account to another.
fn pay(name: &str, from: &str, to: &str, units: u128) -> Transfer {
    let (from, to) = (account_id(from), account_id(to));
    let amount = Amount::from_base_units(units);
    Transfer::direct(transfer_id(name), &from, &to, amount, Purpose::Transfer)
}

async fn open_accounts(store: &PostgresStore, names: &[&str]) {
    let accounts = names.iter().map(|name| Account::new(account_id(name), Asset::FOG)).collect();
    for opened in store.open_accounts(accounts, NOW).await.unwrap() {
        opened.unwrap();
    }
}

async fn send(store: &PostgresStore, transfer: Transfer) -> Result<ResultCode> {
    Ok(ResultCode::of(&store.transfer(vec![transfer], NOW).await?[0]))
}

async fn posted(store: &PostgresStore, name: &str) -> [u128; 2] {
    let account = store.account(&account_id(name)).await.unwrap().unwrap();
    [account.debits_posted.base_units(), account.credits_posted.base_units()]
}

async fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), future).await.expect("this takes too long")
}

// The ledger

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_on_two_hot_accounts_neither_lock_each_other_out_nor_lose_anything() {
    let database = Database::fresh().await;
    let stores = join_all((0..4).map(|_| async { open(&database.url()).await })).await;
    open_accounts(&stores[0], &["left", "right"]).await;
    let mut writers = JoinSet::new();
    for writer in 0..32 {
        let store = stores[writer % stores.len()].clone();
        writers.spawn(async move {
            for step in 0..8 {
                // In both directions, so that the order of names is not that of locks.
                let (from, to) = [("left", "right"), ("right", "left")][(writer + step) % 2];
                let transfer = pay(&format!("{writer}-{step}"), from, to, 1);
                assert_eq!(send(&store, transfer).await.unwrap(), ResultCode::Created);
            }
        });
    }
    wait(writers.join_all()).await;
    assert_eq!(posted(&stores[1], "left").await, [128, 128]);
    assert_eq!(posted(&stores[2], "right").await, [128, 128]);
    assert!(stores[3].trial_balance().await.unwrap().is_balanced());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_id_sent_through_several_stores_at_once_happens_once() {
    let database = Database::fresh().await;
    let stores = join_all((0..3).map(|_| async { open(&database.url()).await })).await;
    let names = ["a", "b", "c", "d", "e", "f"];
    open_accounts(&stores[0], &names).await;
    let limited = Account::new(account_id("poor"), Asset::FOG).limited_to_credits();
    stores[0].open_accounts(vec![limited], NOW).await.unwrap().remove(0).unwrap();
    for round in 0..20 {
        let id = format!("round {round}");
        // Between other accounts through each store, so that no account's lock keeps them apart;
        // and one of them fails for good.
        let transfers = [pay(&id, "a", "b", 1), pay(&id, "c", "d", 1), pay(&id, "poor", "e", 1)];
        let sent = stores.iter().zip(transfers).map(|(store, one)| send(store, one));
        let codes: Vec<_> = wait(join_all(sent)).await.into_iter().map(Result::unwrap).collect();
        let created = codes.iter().filter(|code| **code == ResultCode::Created).count();
        let there = stores[0].posted(transfer_id(&id)).await.unwrap();
        let last = send(&stores[1], pay(&id, "e", "f", 1)).await.unwrap();
        if there.is_some() {
            assert_eq!(created, 1, "{codes:?}");
            assert_eq!(last, ResultCode::ExistsWithDifferentDebitAccountId);
        } else {
            assert_eq!(created, 0, "{codes:?}");
            assert_eq!(last, ResultCode::IdAlreadyFailed);
        }
    }
    assert!(stores[0].trial_balance().await.unwrap().is_balanced());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_opened_through_several_stores_at_once_are_one() {
    let database = Database::fresh().await;
    let stores = join_all((0..3).map(|_| async { open(&database.url()).await })).await;
    for round in 0..10 {
        let name = format!("account {round}").replace(' ', "-");
        let plain = Account::new(account_id(&name), Asset::FOG);
        let terms = [plain.clone(), plain.clone(), plain.clone().limited_to_credits()];
        let opened =
            stores.iter().zip(terms).map(|(store, one)| store.open_accounts(vec![one], NOW));
        let opened: Vec<_> = wait(join_all(opened)).await;
        let opened: Vec<_> = opened.into_iter().map(|answer| answer.unwrap().remove(0)).collect();
        let is_limited = opened[2].is_ok();
        assert_eq!(opened[0].is_ok(), !is_limited);
        assert_eq!(opened[1].is_ok(), !is_limited);
        let there = stores[0].account(&account_id(&name)).await.unwrap().unwrap();
        assert_eq!(there.debits_must_not_exceed_credits, is_limited);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_pages_the_journal_while_others_write_misses_nothing() {
    const WRITERS: usize = 4;
    const EACH: usize = 60;
    let database = Database::fresh().await;
    let stores = join_all((0..WRITERS).map(|_| async { open(&database.url()).await })).await;
    let reader = open(&database.url()).await;
    let names: Vec<_> = (0..2 * WRITERS).map(|number| format!("account-{number}")).collect();
    open_accounts(&reader, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut writers = JoinSet::new();
    for (number, store) in stores.into_iter().enumerate() {
        let (from, to) = (names[2 * number].clone(), names[2 * number + 1].clone());
        writers.spawn(async move {
            for step in 0..EACH {
                let transfer = pay(&format!("{number}-{step}"), &from, &to, 1);
                assert_eq!(send(&store, transfer).await.unwrap(), ResultCode::Created);
            }
        });
    }
    let mut seen = BTreeSet::new();
    let mut after: Option<Place> = None;
    wait(async {
        loop {
            let done = writers.is_empty();
            let page = reader.transfers(&TransferFilter::default(), after, 7).await.unwrap();
            for entry in &page {
                assert!(after < Some(entry.place), "places grow");
                after = Some(entry.place);
                assert!(seen.insert(entry.posted.transfer.id), "an entry came twice");
            }
            if done && page.is_empty() {
                break;
            }
            while writers.try_join_next().is_some() {}
        }
    })
    .await;
    assert_eq!(seen.len(), WRITERS * EACH);
}

/// Another writer, which has taken a block and is slow to commit.
async fn slow_writer(database: &Database) -> PgConnection {
    let mut slow = PgConnection::connect(&database.url()).await.unwrap();
    slow.execute(
        "BEGIN; SELECT pg_advisory_xact_lock_shared((20230::bigint << 48) + last_value)
         FROM journal_blocks; SELECT nextval('journal_blocks')",
    )
    .await
    .unwrap();
    slow
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_still_be_committed_holds_back_what_comes_after_it() {
    let database = Database::fresh().await;
    let store = open(&database.url()).await;
    open_accounts(&store, &["a", "b"]).await;
    assert_eq!(send(&store, pay("first", "a", "b", 1)).await.unwrap(), ResultCode::Created);
    let mut slow = slow_writer(&database).await;
    assert_eq!(send(&store, pay("second", "a", "b", 1)).await.unwrap(), ResultCode::Created);
    let journal = async || {
        let page = store.transfers(&TransferFilter::default(), None, 10).await.unwrap();
        page.into_iter().map(|entry| entry.posted.transfer.id).collect::<Vec<_>>()
    };
    assert_eq!(journal().await, [transfer_id("first")]);
    slow.execute("ROLLBACK").await.unwrap();
    assert_eq!(journal().await, [transfer_id("first"), transfer_id("second")]);
}

/// Something is done to the tables behind the ledger's back; verification says what it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_changed_behind_its_back_is_found() {
    let deeds = [
        ("UPDATE transfers SET amount = amount + 1 WHERE place = (SELECT max(place) FROM transfers)", "link"),
        ("UPDATE transfers SET purpose = 'mint' WHERE type = 'direct'", "link"),
        ("UPDATE transfers SET code = 'exceeds_debits' WHERE type = 'failed'", "link"),
        ("DELETE FROM transfers WHERE type = 'direct'", "link"),
        ("DELETE FROM transfers WHERE type = 'failed'", "link"),
        ("DELETE FROM ledger_links WHERE number = 2", "missing"),
        ("UPDATE transfers SET place = place + 1000 WHERE type = 'direct'", "missing"),
        ("INSERT INTO transfers SELECT gen_random_uuid(), place + 1000000000, type, at, code, debit,
             credit, amount, hold, hold_state, expires_at, purpose, flags, timeout, reference,
             user_data_64, user_data_32 FROM transfers WHERE type = 'direct'", "there are 2 transfers"),
        ("UPDATE transfers SET hold_state = 'voided' WHERE hold_state = 'posted'", "hold"),
        ("UPDATE accounts SET credits_posted = credits_posted + 1 WHERE id = 'b'", "account"),
        ("UPDATE accounts SET closed = true WHERE id = 'b'", "account"),
        ("DELETE FROM accounts WHERE id = 'b'", "missing"),
        ("UPDATE transfers SET purpose = 'nonsense' WHERE type = 'direct'", "cannot be read"),
        ("UPDATE accounts SET scale = 99 WHERE id = 'b'", "cannot be read"),
        ("UPDATE transfers SET expires_at = NULL WHERE type = 'hold'", "cannot be read"),
        ("UPDATE account_balances SET debits_posted = 0", "history"),
        ("DELETE FROM account_balances", "history"),
    ];
    let database = Database::fresh().await;
    let store = open(&database.url()).await;
    open_accounts(&store, &["a", "b"]).await;
    let kept = Account::new(account_id("kept"), Asset::FOG).with_history();
    store.open_accounts(vec![kept], NOW).await.unwrap().remove(0).unwrap();
    let (kept, b) = (account_id("kept"), account_id("b"));
    let some = Amount::from_base_units(5);
    let hold = Transfer::hold(transfer_id("hold"), &kept, &b, some, Purpose::Transfer);
    let hold = hold.expiring_after(60);
    let post = Transfer::post(transfer_id("post"), hold.id, some, Purpose::Transfer);
    let refused = pay("refused", "a", "nobody", 1);
    for batch in [vec![pay("1", "a", "b", 1), hold, refused], vec![post, pay("2", "b", "a", 2)]] {
        store.transfer(batch, NOW).await.unwrap();
    }
    let verified = store.verify(&[]).await.unwrap();
    assert_eq!((verified.accounts, verified.transfers, verified.failed), (3, 4, 1));
    let heads = verified.heads;
    assert_eq!(store.verify(&heads).await.unwrap().heads, heads);
    store.close().await;
    for (deed, finding) in deeds {
        let copy = database.copy().await;
        execute(&copy.url(), deed.to_owned()).await;
        let error = open(&copy.url()).await.verify(&[]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert!(error.downcast_ref::<Fault>().is_some(), "{deed}: {error}");
        assert!(error.to_string().contains(finding), "{deed}: {error}");
    }
    // What is cut off at the end is found by who kept the head elsewhere.
    let copy = database.copy().await;
    let cut =
        "DELETE FROM transfers WHERE type IN ('post', 'direct') AND place > (SELECT max(block)
               FROM ledger_links) << 22;
               DELETE FROM ledger_links WHERE number = (SELECT max(number) FROM ledger_links)";
    execute(&copy.url(), cut.to_owned()).await;
    let error = open(&copy.url()).await.verify(&heads).await.unwrap_err();
    assert!(error.downcast_ref::<Fault>().is_some(), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_of_two_writers_that_change_places_are_found() {
    let database = Database::fresh().await;
    let (one, other) = (open(&database.url()).await, open(&database.url()).await);
    open_accounts(&one, &["a", "b", "c", "d"]).await;
    assert_eq!(send(&one, pay("1", "a", "b", 1)).await.unwrap(), ResultCode::Created);
    assert_eq!(send(&other, pay("2", "c", "d", 1)).await.unwrap(), ResultCode::Created);
    let heads = one.verify(&[]).await.unwrap().heads;
    assert_eq!(heads.len(), 2);
    // The last two blocks, with all that is in them.
    let exchange = "CREATE TEMP TABLE swap AS
             SELECT max(block) AS y, min(block) AS x
             FROM (SELECT block FROM ledger_links ORDER BY block DESC LIMIT 2) AS last;
         UPDATE transfers SET place = -place - 1
             WHERE place >> 22 IN (SELECT x FROM swap UNION SELECT y FROM swap);
         UPDATE transfers SET place = -place - 1 +
             (SELECT CASE (-place - 1) >> 22 WHEN x THEN y - x ELSE x - y END FROM swap) * 4194304
             WHERE place < 0;
         UPDATE ledger_links SET block = -block
             WHERE block IN (SELECT x FROM swap UNION SELECT y FROM swap);
         UPDATE ledger_links SET block = (SELECT x + y FROM swap) + block WHERE block < 0";
    let journal = async || {
        let page = one.transfers(&TransferFilter::default(), None, 10).await.unwrap();
        page.into_iter().map(|entry| entry.posted.transfer.id).collect::<Vec<_>>()
    };
    assert_eq!(journal().await, [transfer_id("1"), transfer_id("2")]);
    execute(&database.url(), exchange.to_owned()).await;
    assert_eq!(journal().await, [transfer_id("2"), transfer_id("1")]);
    let error = one.verify(&[]).await.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(Fault::Link { .. })), "{error}");
}

/// What is committed behind one that is slow is not in the journal yet, but in the counters.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_has_all_that_its_balances_have_or_is_refused() {
    let database = Database::fresh().await;
    let stores = storage::open(&database.url()).await.unwrap();
    let fog = fogcore::Fog::builder().stores(stores).without_loops().open().await.unwrap();
    let mut slow = slow_writer(&database).await;
    let amount = Amount::from_base_units(7);
    fog.ledger().mint(&account_id("alice"), amount).await.unwrap();
    let mut text = Vec::new();
    let refused = fog.ledger().export(Format::Hledger, &mut text).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    slow.execute("ROLLBACK").await.unwrap();
    let mut text = Vec::new();
    fog.ledger().export(Format::Hledger, &mut text).await.unwrap();
    assert!(String::from_utf8(text).unwrap().contains(" mint "));
}

// Servers that go away, and locks that stay

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_outlives_its_server() {
    let mut server = tokio::task::spawn_blocking(|| Server::start().unwrap()).await.unwrap();
    let database = Database::on(&server.url("postgres")).await;
    let store = open(&database.url()).await;
    open_accounts(&store, &["a", "b"]).await;
    assert_eq!(send(&store, pay("before", "a", "b", 1)).await.unwrap(), ResultCode::Created);
    server.crash().unwrap();
    let away = wait(send(&store, pay("while away", "a", "b", 1))).await.unwrap_err();
    assert_eq!(away.kind(), ErrorKind::Unavailable);
    assert_eq!(wait(store.account(&account_id("a"))).await.unwrap_err().kind(), away.kind());
    server = tokio::task::spawn_blocking(move || {
        server.restart().unwrap();
        server
    })
    .await
    .unwrap();
    assert_eq!(send(&store, pay("while away", "a", "b", 1)).await.unwrap(), ResultCode::Created);
    assert_eq!(send(&store, pay("before", "a", "b", 1)).await.unwrap(), ResultCode::Exists);
    assert_eq!(posted(&store, "a").await, [2, 0]);
    drop((store, database, server));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_was_cut_is_made_again() {
    let database = Database::fresh().await;
    let store = open(&database.url()).await;
    open_accounts(&store, &["a", "b"]).await;
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    for round in 0..3 {
        execute(&database.url(), cut.to_owned()).await;
        let transfer = pay(&format!("round {round}"), "a", "b", 1);
        assert_eq!(send(&store, transfer).await.unwrap(), ResultCode::Created);
    }
    assert_eq!(posted(&store, "b").await, [0, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_needs_what_is_locked_for_too_long_is_told_and_nobody_else() {
    let database = Database::fresh().await;
    let options =
        PostgresOptions { lock_timeout: Duration::from_secs(1), ..PostgresOptions::default() };
    let store = open_with(&database.url(), options).await;
    open_accounts(&store, &["a", "b", "c", "d"]).await;
    let mut other = PgConnection::connect(&database.url()).await.unwrap();
    other.execute("BEGIN; SELECT 1 FROM accounts WHERE id = 'a' FOR UPDATE").await.unwrap();
    let transfers = (0..40).map(|number| {
        let (from, to) = if number % 4 == 0 { ("a", "b") } else { ("c", "d") };
        send(&store, pay(&format!("{number}"), from, to, 1))
    });
    let answers = wait(join_all(transfers)).await;
    for (number, answer) in answers.into_iter().enumerate() {
        match answer {
            Ok(code) => assert!(number % 4 != 0 && code == ResultCode::Created),
            Err(error) => assert_eq!((number % 4, error.kind()), (0, ErrorKind::Unavailable)),
        }
    }
    other.execute("ROLLBACK").await.unwrap();
    assert_eq!(send(&store, pay("0", "a", "b", 1)).await.unwrap(), ResultCode::Created);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_there_after_reopening() {
    let database = Database::fresh().await;
    let store = open(&database.url()).await;
    open_accounts(&store, &["a", "b"]).await;
    send(&store, pay("kept", "a", "b", 7)).await.unwrap();
    store.close().await;
    let closed = send(&store, pay("too late", "a", "b", 1)).await.unwrap_err();
    assert_eq!(closed.kind(), ErrorKind::Unavailable);
    let again = open(&database.url()).await;
    assert_eq!(posted(&again, "b").await, [0, 7]);
    // The chain goes on where it ended, under the number that came free.
    send(&again, pay("later", "a", "b", 1)).await.unwrap();
    let mut reader = PgConnection::connect(&database.url()).await.unwrap();
    let row = reader
        .fetch_one("SELECT count(DISTINCT writer), max(number) FROM ledger_links")
        .await
        .unwrap();
    assert_eq!((row.get::<i64, _>(0), row.get::<i64, _>(1)), (1, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_that_open_an_empty_database_together_all_succeed() {
    let database = Database::fresh().await;
    let stores = wait(join_all((0..6).map(|_| async { open(&database.url()).await }))).await;
    open_accounts(&stores[5], &["a"]).await;
    let mut reader = PgConnection::connect(&database.url()).await.unwrap();
    let row = reader.fetch_one("SELECT writer FROM ledger_links").await.unwrap();
    assert!((1..=6).contains(&row.get::<i32, _>(0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_tasks_needed_in_the_old_form_they_still_need() {
    let database = Database::fresh().await;
    let store = open(&database.url()).await;
    let mut spec = TaskSpec::new("work".parse().unwrap());
    spec.requirements.cpu_milli = 2_000;
    spec.requirements.memory_mib = 512;
    spec.requirements.required = vec![Selector::is("os", "linux")];
    let spec = Arc::new(spec);
    let new = |name: &str| NewTask {
        id: TaskId::derive(name.as_bytes(), "postgres tests"),
        spec: spec.clone(),
        payload: "".into(),
    };
    let ids = ["old", "new"].map(|name| new(name).id);
    let submitted = store.submit(vec![new("old"), new("new")], QueuePolicy::default(), NOW).await;
    assert!(submitted.unwrap().iter().all(Result::is_ok));
    let tasks = async |store: &PostgresStore| {
        [store.task(ids[0]).await.unwrap().unwrap(), store.task(ids[1]).await.unwrap().unwrap()]
    };
    let before = tasks(&store).await;
    drop(store);
    let mut connection = PgConnection::connect(&database.url()).await.unwrap();
    let needs = r#"{"cpu_cores": 2, "memory_mib": 512, "labels": {"os": "linux"}}"#;
    let rewrite = "UPDATE tasks
        SET task = jsonb_set(task::jsonb, '{spec,requirements}', $1::jsonb)::text WHERE id = $2";
    let rewritten = sqlx::query(rewrite).bind(needs).bind(ids[0].uuid());
    assert_eq!(rewritten.execute(&mut connection).await.unwrap().rows_affected(), 1);
    connection.execute("ALTER TABLE tasks DROP COLUMN apart").await.unwrap();
    connection.execute("DROP TABLE zones, sessions, mail").await.unwrap();
    connection.execute("DELETE FROM _sqlx_migrations WHERE version >= 5").await.unwrap();
    assert_eq!(tasks(&*open(&database.url()).await).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_error_and_no_debug_text_repeats_the_password() {
    let database = Database::fresh().await;
    let url = database.url();
    let secret = url.split_once("fogcore:").unwrap().1.split_once('@').unwrap().0;
    let store = open(&url).await;
    assert!(!format!("{store:?}").contains(secret));
    let stores = Stores::from_one(store);
    assert!(!format!("{stores:?}").contains(secret));
    let wrong = [
        url.replace(secret, "hunter2"),
        url.replace("127.0.0.1", "hunter2:hunter2"),
        url.replace(secret, "hunter2/"),
        url.replace("/test", "/hunter2?password=hunter2&x="),
        "postgres://u:hunter2@127.0.0.1:1/none".to_owned(),
        "postgrez://u:hunter2@127.0.0.1/none".to_owned(),
    ];
    for url in wrong {
        let error = wait(storage::open(&url)).await.unwrap_err();
        let text = format!("{error} {error:?} {error:#?}");
        // A database's name is no secret.
        assert!(!text.replace("\"hunter2\"", "").contains("hunter2"), "{text}");
    }
}

// Nodes and tasks

fn lease_request(node: &str, slots: u32, limit: usize) -> LeaseRequest {
    let mut node = Node::new(node.parse().unwrap());
    node.serves.insert("work".parse().unwrap());
    node.slots = slots;
    let record = NodeRecord::new(node, NOW);
    let asker = Candidate::judge(&record, NOW, LivenessPolicy::default(), &PowerPolicy::default());
    LeaseRequest {
        asker,
        rivals: Vec::new(),
        policy: PlacementPolicy::default(),
        shares: FairShares::default(),
        limit,
        duration: Duration::from_secs(30),
    }
}

async fn submit(store: &PostgresStore, tasks: usize) {
    let spec = Arc::new(TaskSpec::new("work".parse().unwrap()));
    let new = |number: usize| NewTask {
        id: TaskId::derive(number.to_string().as_bytes(), "postgres tests"),
        spec: spec.clone(),
        payload: number.to_string().into(),
    };
    for submitted in
        store.submit((0..tasks).map(new).collect(), QueuePolicy::default(), NOW).await.unwrap()
    {
        submitted.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_that_lease_at_the_same_time_share_the_work_without_waiting() {
    let database = Database::fresh().await;
    let stores = join_all((0..4).map(|_| async { open(&database.url()).await })).await;
    submit(&stores[0], 200).await;
    // A task that somebody holds in a transaction that hangs is passed over.
    let mut other = PgConnection::connect(&database.url()).await.unwrap();
    other.execute("BEGIN; SELECT 1 FROM tasks ORDER BY seq LIMIT 1 FOR UPDATE").await.unwrap();
    let lease = async |number: usize| {
        let mut mine = Vec::new();
        loop {
            let request = lease_request(&format!("node-{number}"), 1_000, 5);
            let given = stores[number].lease(request, NOW).await.unwrap();
            if given.is_empty() {
                return mine;
            }
            mine.extend(given);
        }
    };
    let given = wait(join_all((0..4).map(lease))).await.into_iter().flatten();
    let given: Vec<_> = given.map(|assignment| assignment.task.id).collect();
    assert_eq!(given.len(), 199);
    assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), 199, "one was given twice");
    other.execute("ROLLBACK").await.unwrap();
    let last = stores[0].lease(lease_request("node-0", 1_000, 5), NOW).await.unwrap();
    assert_eq!((last.len(), last[0].payload.as_ref()), (1, b"0".as_slice()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_asks_through_several_stores_gets_no_more_than_its_slots() {
    let database = Database::fresh().await;
    let stores = join_all((0..4).map(|_| async { open(&database.url()).await })).await;
    submit(&stores[0], 50).await;
    let asked = (0..40).map(|number| stores[number % 4].lease(lease_request("one", 3, 2), NOW));
    let given: usize = wait(join_all(asked)).await.into_iter().map(|a| a.unwrap().len()).sum();
    assert_eq!(given, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_beat_through_several_stores() {
    let database = Database::fresh().await;
    let stores = join_all((0..3).map(|_| async { open(&database.url()).await })).await;
    let node = |number: usize| Node::new(format!("node-{number}").parse().unwrap());
    // All register everywhere at once.
    let each = (0..60).map(|number| stores[number % 3].register(node(number / 3), NOW));
    assert!(wait(join_all(each)).await.into_iter().all(|record| record.is_ok()));
    let policy = PowerPolicy::default();
    let beats = (0..120).map(|number| {
        let (store, id) = (&stores[number % 3], node(number % 20).id);
        async move { store.beat(&id, Heartbeat::new(1 + number as u64), NOW, &policy).await }
    });
    assert!(wait(join_all(beats)).await.into_iter().all(|beat| beat.is_ok()));
    for number in 0..20 {
        let record = stores[0].node(&node(number).id).await.unwrap().unwrap();
        assert_eq!(record.heartbeat.unwrap().sequence, 101 + number as u64);
    }
    // A text that PostgreSQL cannot hold in a column.
    let odd = Node { region: "a\0b".to_owned(), ..node(70) };
    let record = stores[1].register(odd.clone(), NOW).await.unwrap();
    assert_eq!(stores[2].node(&odd.id).await.unwrap(), Some(record));
}
