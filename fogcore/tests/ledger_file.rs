//! The ledger in a file: changed behind its back, copied, carried over from older schemas, and on
//! disks that fail.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fogcore::amount::{Amount, Asset};
use fogcore::id::{IdSource, TransferId};
use fogcore::ledger::{
    Account, AccountFilter, Fault, Head, HoldState, LedgerStore, Purpose, ResultCode, Transfer,
    TransferFilter,
};
use fogcore::storage::Stores;
use fogcore::storage::sqlite::{SqliteOptions, SqliteStore};
use fogcore::time::Timestamp;
use fogcore::{Error, ErrorKind};
use futures::future::join_all;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, Row, TypeInfo, ValueRef};

use common::{account_id, soon};

async fn open(path: &Path) -> SqliteStore {
    let options = SqliteOptions { unlisted: 4, uncounted: 4, ..SqliteOptions::default() };
    SqliteStore::open(path, options).await.unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_767_225_600_000_000 + seconds * 1_000_000).unwrap()
}

fn transfer_id(name: &str) -> TransferId {
    TransferId::derive(name.as_bytes(), "ledger file tests")
}

fn units(units: u128) -> Amount {
    Amount::from_base_units(units)
}

fn pay(name: &str, amount: u128) -> Transfer {
    let (alice, bob) = (account_id("alice"), account_id("bob"));
    Transfer::direct(transfer_id(name), &alice, &bob, units(amount), Purpose::Transfer)
}

fn hold(name: &str, amount: u128) -> Transfer {
    let (alice, bob) = (account_id("alice"), account_id("bob"));
    Transfer::hold(transfer_id(name), &alice, &bob, units(amount), Purpose::Transfer)
}

async fn send(store: &SqliteStore, batch: Vec<Transfer>, seconds: i64) -> Vec<ResultCode> {
    let answers = store.transfer(batch, at(seconds)).await.unwrap();
    answers.iter().map(ResultCode::of).collect()
}

/// Something of everything that the ledger can hold.
async fn fill(store: &SqliteStore) {
    let mint = Account::new(account_id("mint"), Asset::FOG);
    let accounts = vec![
        Account { user_data_64: 5, user_data_32: 6, ..mint }.about(transfer_id("about").uuid()),
        Account::new(account_id("alice"), Asset::FOG).limited_to_credits().with_history(),
        Account::new(account_id("bob"), Asset::FOG).with_history(),
        Account { closed: true, ..Account::new(account_id("other"), Asset::FOG) },
        Account::new(account_id("shut"), Asset::FOG),
    ];
    for opened in store.open_accounts(accounts, at(0)).await.unwrap() {
        opened.unwrap();
    }
    let (mint, alice) = (account_id("mint"), account_id("alice"));
    let id = transfer_id("mint");
    let first = Transfer::direct(id, &mint, &alice, units(100_000), Purpose::Mint);
    send(store, vec![first], 1).await;
    let end = |name: &str, of: &str, amount: Option<u128>| {
        let (id, hold) = (transfer_id(name), transfer_id(of));
        match amount {
            Some(amount) => Transfer::post(id, hold, units(amount), Purpose::Transfer),
            None => Transfer::void(id, hold, Purpose::Transfer),
        }
    };
    let special = pay("special", 3).about(transfer_id("invoice").uuid()).balancing_debit();
    let batch = vec![
        pay("plain", 10),
        Transfer { user_data_64: 7, user_data_32: 8, ..special },
        hold("posted", 20),
        end("post", "posted", Some(15)),
        hold("voided", 30),
        end("void", "voided", None),
        hold("expired", 40).expiring_after(5),
        pay("too much", 1_000_000),
    ];
    send(store, batch, 2).await;
    assert_eq!(store.expire_holds(at(10), 10).await.unwrap().len(), 1);
    let rest = vec![
        hold("pending", 5).expiring_after(500),
        pay("too much again", 1_000_000),
        Transfer::hold(
            transfer_id("closing"),
            &alice,
            &account_id("shut"),
            units(0),
            Purpose::Transfer,
        )
        .closing_credit(),
    ];
    send(store, rest, 11).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_is_known_again_whatever_time_it_begins_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fog.db");
    // Nothing stays loaded.
    let options = SqliteOptions { keep: 0, ..SqliteOptions::default() };
    let store = SqliteStore::open(&path, options).await.unwrap();
    let mint = Account::new(account_id("alice"), Asset::FOG);
    let accounts = vec![mint, Account::new(account_id("bob"), Asset::FOG)];
    assert!(store.open_accounts(accounts, at(0)).await.unwrap().iter().all(Result::is_ok));
    let ids = IdSource::seeded(1);
    let hour = 3_600;
    // In order, out of order, hours before and after now, and at no time.
    let mut sent: Vec<_> = [5, 6, 3, -9 * hour, 20, 9 * hour, 4, hour / 2, hour, 7]
        .map(|seconds| ids.transfer(at(seconds)))
        .into();
    sent.extend(["made up", "and more"].map(transfer_id));
    for _ in 0..2 {
        for (round, now) in [0, 10, 2 * hour, 30].into_iter().enumerate() {
            for (place, id) in sent.iter().enumerate().filter(|(place, _)| place % 4 == round) {
                let (alice, bob) = (account_id("alice"), account_id("bob"));
                let one = Transfer::direct(*id, &alice, &bob, units(1), Purpose::Transfer);
                let is_there = store.posted(*id).await.unwrap().is_some();
                let expected = if is_there { ResultCode::Exists } else { ResultCode::Created };
                assert_eq!(send(&store, vec![one], now).await, [expected], "{place}");
            }
        }
    }
    let refused = Transfer::direct(
        ids.transfer(at(8)),
        &account_id("alice"),
        &account_id("nobody"),
        units(1),
        Purpose::Transfer,
    );
    assert_eq!(send(&store, vec![refused.clone()], 40).await, [ResultCode::CreditAccountNotFound]);
    assert_eq!(send(&store, vec![refused], 40).await, [ResultCode::IdAlreadyFailed]);
    store.verify(&[]).await.unwrap();
}

// Changed behind its back

async fn writer(path: &Path) -> SqliteConnection {
    let connect = SqliteConnectOptions::new().filename(path).foreign_keys(false);
    connect.pragma("synchronous", "OFF").connect().await.unwrap()
}

async fn run(connection: &mut SqliteConnection, sql: &str) -> Result<u64, sqlx::Error> {
    let done = connection.execute(AssertSqlSafe(sql.to_owned())).await?;
    Ok(done.rows_affected())
}

const TABLES: [&str; 8] = [
    "accounts",
    "counters",
    "ledger_counted",
    "transfers",
    "postings",
    "posting_blocks",
    "failed_transfers",
    "ledger_links",
];

/// Other values for a cell: near ones, and those that a row of this kind may well have.
fn others(row: &SqliteRow, column: usize) -> Vec<String> {
    let value = row.try_get_raw(column).unwrap();
    let is_null = value.is_null();
    let kind = value.type_info().name().to_owned();
    let others: Vec<String> = match (is_null, kind.as_str()) {
        (true, _) => {
            ["1", "0", "x'00000000000000000000000000000001'", "'x'"].map(str::to_owned).to_vec()
        }
        (false, "INTEGER") => {
            let value: i64 = row.get(column);
            let others = [value + 1, value - 1, value ^ 8, value + 1_000, 0, -1];
            let others = others.into_iter().filter(|other| *other != value);
            others.map(|other| other.to_string()).chain(["NULL".to_owned()]).collect()
        }
        (false, "TEXT") => {
            let value: String = row.get(column);
            let known =
                ["mint", "transfer", "TON", "exceeds_debits", "exceeds_credits", "stranger"];
            let others = known.into_iter().filter(|other| *other != value);
            let longer = format!("'{value}x'");
            others.map(|other| format!("'{other}'")).chain([longer, "''".to_owned()]).collect()
        }
        (false, _) => {
            let mut value: Vec<u8> = row.get(column);
            let shorter = value[1..].to_vec();
            *value.last_mut().unwrap() ^= 1;
            let hex = |bytes: &[u8]| -> String {
                let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("x'{digits}'")
            };
            vec![hex(&value), hex(&shorter), "NULL".to_owned()]
        }
    };
    others
}

/// The rows of a table can be told apart by this.
fn key(table: &str) -> &'static str {
    match table {
        "accounts" | "counters" => "no",
        "transfers" | "failed_transfers" => "seq",
        "posting_blocks" => "last",
        "ledger_counted" => "only",
        "postings" => "block || '/' || account || '/' || last",
        _ => "writer || '/' || number",
    }
}

struct Tampering {
    store: SqliteStore,
    connection: SqliteConnection,
    heads: Vec<Head>,
    _folder: tempfile::TempDir,
}

impl Tampering {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fog.db");
        let store = open(&path).await;
        fill(&store).await;
        let heads = store.verify(&[]).await.unwrap().heads;
        let sound = folder.path().join("sound.db");
        store.backup(&sound).await.unwrap();
        let mut connection = writer(&path).await;
        let attach = format!("ATTACH '{}' AS sound", sound.display());
        run(&mut connection, &attach).await.unwrap();
        Self { store, connection, heads, _folder: folder }
    }

    /// The fault that is found, if one is; the file is sound again after it.
    async fn is_found(&mut self, sql: &str) -> Option<Error> {
        self.tried(sql, &[]).await.unwrap_or_else(|| panic!("not done: {sql}"))
    }

    /// As above, with anchors; none if SQLite itself refused to do it.
    async fn tried(&mut self, sql: &str, anchors: &[Head]) -> Option<Option<Error>> {
        let connection = &mut self.connection;
        match run(connection, sql).await {
            Ok(changed) if changed > 0 => {}
            _ => return None,
        }
        let verified = self.store.verify(anchors).await;
        for table in TABLES {
            let restore = format!(
                "DELETE FROM main.{table}; INSERT INTO main.{table} SELECT * FROM sound.{table}"
            );
            run(&mut self.connection, &restore).await.unwrap();
        }
        Some(verified.err())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_changed_is_found() {
    let mut file = Tampering::new().await;
    let (mut tried, mut refused, mut unreadable) = (0, 0, 0);
    for table in TABLES {
        let list = format!("SELECT {} AS row_key, * FROM {table}", key(table));
        let rows = file.connection.fetch_all(AssertSqlSafe(list)).await.unwrap();
        let may_be_one = ["posting_blocks", "ledger_counted"].contains(&table);
        assert!(rows.len() >= 2 || may_be_one, "{table}");
        for row in &rows {
            let row_key =
                row.try_get::<String, _>(0).unwrap_or_else(|_| row.get::<i64, _>(0).to_string());
            let is_row = format!("{} = '{row_key}'", key(table).replace("no", "CAST(no AS TEXT)"));
            let is_row = if key(table) == "seq" {
                format!("CAST(seq AS TEXT) = '{row_key}'")
            } else {
                is_row
            };
            for (index, column) in row.columns().iter().enumerate().skip(1) {
                let name = sqlx::Column::name(column);
                for other in others(row, index) {
                    let sql = format!("UPDATE {table} SET {name} = {other} WHERE {is_row}");
                    match file.tried(&sql, &[]).await {
                        None => refused += 1,
                        Some(None) => panic!("not found: {sql}"),
                        Some(Some(error)) => {
                            assert_eq!(error.kind(), ErrorKind::Internal, "{sql}: {error}");
                            let fault = error.downcast_ref().expect(&sql);
                            unreadable += i32::from(matches!(fault, Fault::Unreadable { .. }));
                            tried += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(tried > 500 && refused < tried, "{tried} tried, {refused} refused");
    assert!((1..tried).contains(&unreadable), "{unreadable} of {tried} cannot be read");
    file.store.verify(&file.heads).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_removed_or_put_elsewhere_is_found() {
    let mut file = Tampering::new().await;
    for table in TABLES {
        let count = format!("SELECT count(*) FROM {table}");
        let count: i64 = file.connection.fetch_one(AssertSqlSafe(count)).await.unwrap().get(0);
        let key = key(table);
        for row in 0..count {
            let sql = format!(
                "DELETE FROM {table} WHERE {key} IN
                 (SELECT {key} FROM {table} ORDER BY 1 LIMIT 1 OFFSET {row})"
            );
            assert!(file.is_found(&sql).await.is_some(), "{sql}");
        }
    }
    // Two rows that change places, with all else as it was.
    for (table, place) in
        [("transfers", "seq"), ("failed_transfers", "seq"), ("ledger_links", "number")]
    {
        let sql = format!(
            "UPDATE {table} SET {place} = -1 WHERE {place} = 1;
             UPDATE {table} SET {place} = 1 WHERE {place} = 2;
             UPDATE {table} SET {place} = 2 WHERE {place} = -1"
        );
        assert!(file.is_found(&sql).await.is_some(), "{sql}");
    }
    // With everything that refers to it.
    let both = "UPDATE accounts SET no = -1 WHERE no = 1; UPDATE accounts SET no = 1 WHERE no = 3;
         UPDATE accounts SET no = 3 WHERE no = -1;
         UPDATE counters SET no = -1 WHERE no = 1; UPDATE counters SET no = 1 WHERE no = 3;
         UPDATE counters SET no = 3 WHERE no = -1;
         UPDATE postings SET account = -1 WHERE account = 1;
         UPDATE postings SET account = 1 WHERE account = 3;
         UPDATE postings SET account = 3 WHERE account = -1;
         UPDATE transfers SET debit = CASE debit WHEN 1 THEN 3 WHEN 3 THEN 1 ELSE debit END,
             credit = CASE credit WHEN 1 THEN 3 WHEN 3 THEN 1 ELSE credit END";
    let error = file.is_found(both).await.unwrap();
    assert!(matches!(error.downcast_ref(), Some(Fault::Link { number: 1, .. })), "{error}");
    for sql in [
        // A whole link with its rows, out of the middle.
        "DELETE FROM ledger_links WHERE number = 2; DELETE FROM transfers WHERE seq = 1",
        // Money that came from nowhere, on both sides.
        "UPDATE counters SET debits_posted = x'000000000000000000000000000186a1' WHERE no = 1;
         UPDATE counters SET credits_posted = x'000000000000000000000000000186a1' WHERE no = 2",
        "INSERT INTO counters SELECT 99, 0, debits_pending, debits_pending, debits_pending,
         debits_pending FROM counters WHERE no = 4",
        "INSERT INTO transfers SELECT 1000, x'0123456789abcdef0123456789abcdef', type, debit,
         credit, amount, purpose, at, hold, hold_state, flags, timeout, expires_at, reference,
         user_data_64, user_data_32, NULL, NULL FROM transfers WHERE seq = 2",
        "INSERT INTO failed_transfers VALUES (1000, x'0123456789abcdef0123456789abcdef',
         'exceeds_credits', 5)",
        // A history that an account does not keep.
        "UPDATE transfers SET debit_after = credit_after WHERE credit_after IS NOT NULL",
        "INSERT INTO ledger_links SELECT 2, number, accounts, transfers, failed, digest
         FROM ledger_links",
    ] {
        assert!(file.is_found(sql).await.is_some(), "{sql}");
    }
    file.store.verify(&file.heads).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_was_cut_off_is_found_by_an_anchor() {
    let mut file = Tampering::new().await;
    // The last link, with its two holds, its failed id, and all that follows from them; counters are
    // behind.
    let cut = "DELETE FROM ledger_links WHERE number = 5;
        DELETE FROM postings WHERE block > 9;
        DELETE FROM posting_blocks WHERE last > 9;
        DELETE FROM failed_transfers WHERE seq = 2;
        DELETE FROM transfers WHERE seq > 9";
    assert_eq!(file.tried(cut, &[]).await.unwrap().map(|error| error.to_string()), None);
    let heads = file.heads.clone();
    let error = file.tried(cut, &heads).await.unwrap().unwrap();
    assert!(matches!(error.downcast_ref(), Some(Fault::Anchor { number: 5, .. })), "{error}");
    file.store.verify(&heads).await.unwrap();
}

// Copies, and older files

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_backups_to_one_file_one_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("fog.db")).await;
    fill(&store).await;
    let copy = folder.path().join("copy.db");
    // What a backup that was killed left behind is in nobody's way.
    std::fs::write(folder.path().join("copy.db.part"), "half a copy").unwrap();
    let done = soon(join_all((0..8).map(|_| store.backup(&copy)))).await;
    let (made, refused): (Vec<_>, Vec<_>) = done.into_iter().partition(Result::is_ok);
    assert_eq!(made.len(), 1);
    for error in refused {
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Conflict);
    }
    assert!(!folder.path().join("copy.db.part").exists());
    open(&copy).await.verify(&[]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_whole_although_everybody_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(&folder.path().join("fog.db")).await);
    fill(&store).await;
    let copy = folder.path().join("copy.db");
    let going_on = join_all((0..200).map(|number| {
        let store = store.clone();
        async move { send(&store, vec![pay(&number.to_string(), 1)], 20).await[0] }
    }));
    let before = store.verify(&[]).await.unwrap();
    let (done, backed_up) = soon(async { tokio::join!(going_on, store.backup(&copy)) }).await;
    backed_up.unwrap();
    assert!(done.iter().all(|code| *code == ResultCode::Created));
    let again = store.backup(&copy).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Conflict);
    let nowhere = store.backup(folder.path().join("nowhere/copy.db")).await.unwrap_err();
    assert_eq!(nowhere.kind(), ErrorKind::Unavailable);
    let restored = open(&copy).await;
    let verified = restored.verify(&before.heads).await.unwrap();
    assert!(restored.trial_balance().await.unwrap().is_balanced());
    let after = store.verify(&verified.heads).await.unwrap();
    assert!((before.transfers..=after.transfers).contains(&verified.transfers));
    // It goes on where it was.
    send(&restored, vec![pay("restored", 1)], 30).await;
    restored.verify(&verified.heads).await.unwrap();
    assert_eq!(
        std::fs::read_dir(folder.path())
            .unwrap()
            .flatten()
            .filter(|entry| {
                entry.path().extension().is_some_and(|extension| extension == "part")
            })
            .count(),
        0
    );
}

/// A copy of a file that an earlier version wrote.
fn fixture(schema: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let name = format!("sqlite-{schema}.db");
    let path = folder.path().join(&name);
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    std::fs::copy(from, &path).unwrap();
    (folder, path)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_the_first_schema_is_carried_over() {
    let (_folder, path) = fixture("0001");
    let store = Arc::new(open(&path).await);
    assert!(store.trial_balance().await.unwrap().is_balanced());
    let verified = store.verify(&[]).await.unwrap();
    let old = |name: &str| TransferId::derive(name.as_bytes(), "fixture");
    let posted = async |name| store.posted(old(name)).await.unwrap();
    let accounts = store.accounts(&AccountFilter::default(), None, 100).await.unwrap();
    assert_eq!(verified.accounts, accounts.len() as u64);
    let account = |name: &str| accounts.iter().find(|a| a.id.as_str() == name).unwrap();
    assert!(account("alice").debits_must_not_exceed_credits);
    assert!(account("capped").credits_must_not_exceed_debits);
    assert_eq!(account("gpu-2").credits_posted, Amount::MAX);
    assert_eq!(account("gpu-2").asset, Asset::new("GPU", 30).unwrap());
    let tenth = Asset::FOG.parse("0.1").unwrap().base_units();
    assert_eq!(account("alice").debits_pending, units(5 + 2 * tenth), "two tasks are not done");
    let rent = posted("rent").await.unwrap();
    assert_eq!(rent.transfer.reference, Some(old("invoice").uuid()));
    assert_eq!(rent.transfer.amount(), Some(units(30)));
    let states = [
        ("pending", HoldState::Pending),
        ("posted", HoldState::Posted),
        ("voided", HoldState::Voided),
    ];
    for (name, state) in states {
        assert_eq!(posted(name).await.unwrap().hold, Some(state), "{name}");
    }
    assert_eq!(posted("too much").await, None);
    let journal = store.transfers(&TransferFilter::default(), None, 1_000).await.unwrap();
    assert_eq!(journal.len() as u64, verified.transfers);
    assert!(journal.is_sorted_by_key(|entry| entry.posted.at));
    // Everything goes on: holds end, tasks are found, and the chain grows.
    let ends = vec![Transfer::void(transfer_id("end"), old("pending"), Purpose::Transfer)];
    assert_eq!(send(&store, ends, 50).await, [ResultCode::Created]);
    let stores = Stores::from_one(store.clone());
    let counts = stores.tasks.counts().await.unwrap();
    assert_eq!(counts.values().sum::<u64>(), 3);
    let after = store.verify(&verified.heads).await.unwrap();
    assert_eq!(after.transfers, verified.transfers + 1);
    store.close().await;
    // And it is carried over once: a row that is slipped in later finds no chain that takes it.
    let mut connection = writer(&path).await;
    let slip = "INSERT INTO failed_transfers VALUES (1, zeroblob(16), 'exceeds_credits', 5)";
    run(&mut connection, slip).await.unwrap();
    let error = open(&path).await.verify(&[]).await.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(Fault::Unknown { .. })), "{error}");
}

/// With `FOGCORE_FIXTURE=FILE` the file is kept: the fixture of this schema, once it is released.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_each_later_schema_has_all_that_was_put_in() {
    let folder = tempfile::tempdir().unwrap();
    let fresh = open(&folder.path().join("fog.db")).await;
    fill(&fresh).await;
    if let Some(path) = std::env::var_os("FOGCORE_FIXTURE") {
        fresh.backup(path).await.unwrap();
    }
    let everything = async |store: &SqliteStore| {
        let accounts = store.accounts(&AccountFilter::default(), None, 100).await.unwrap();
        let journal = store.transfers(&TransferFilter::default(), None, 100).await.unwrap();
        let history = store.balances(&account_id("alice"), None, 100).await.unwrap();
        // What is written today is what was written then: also the digests.
        let verified = store.verify(&[]).await.unwrap();
        (accounts, journal, history, verified)
    };
    for schema in ["0002", "0003", "0006", "0007", "0008"] {
        let (_folder, path) = fixture(schema);
        let kept = open(&path).await;
        assert_eq!(everything(&kept).await, everything(&fresh).await, "{schema}");
        assert!(kept.trial_balance().await.unwrap().is_balanced());
        let failed = send(&kept, vec![pay("too much", 1)], 50).await;
        assert_eq!(failed, [ResultCode::IdAlreadyFailed]);
        // And it goes on, in what is carried over as well as in what is new.
        assert_eq!(send(&kept, vec![pay("more", 1)], 60).await, [ResultCode::Created]);
        kept.verify(&[]).await.unwrap();
    }
}

// Disks that fail

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_and_loses_nothing_that_was_answered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fog.db");
    let options = SqliteOptions { max_pages: Some(150), ..SqliteOptions::default() };
    let store = SqliteStore::open(&path, options).await.unwrap();
    fill(&store).await;
    let (mut answered, mut full) = (Vec::new(), None);
    for round in 0..200 {
        let about = transfer_id("x").uuid();
        let batch = (0..100).map(|n| pay(&format!("{round}-{n}"), 1).about(about));
        let batch: Vec<_> = batch.collect();
        match store.transfer(batch.clone(), at(20)).await {
            Ok(answers) => {
                assert!(answers.iter().all(Result::is_ok));
                answered.extend(batch.iter().map(|one| one.id));
            }
            Err(error) => {
                full = Some(error);
                break;
            }
        }
    }
    assert_eq!(full.expect("the disk was never full").kind(), ErrorKind::Exhausted);
    let heads = store.verify(&[]).await.unwrap().heads;
    store.close().await;
    let store = open(&path).await;
    for id in &answered {
        assert!(store.posted(*id).await.unwrap().is_some());
    }
    let verified = store.verify(&heads).await.unwrap();
    assert_eq!(verified.transfers, answered.len() as u64 + 11);
    assert_eq!(send(&store, vec![pay("goes on", 1)], 30).await.len(), 1);
}

/// Makes a file unchangeable, or changeable again, also for root; says whether that worked.
fn lock(path: &Path, locked: bool) -> bool {
    let attribute = |flag: &str| {
        let _ = std::process::Command::new("chattr").arg(flag).arg(path).output();
    };
    // Nothing else can be changed of a file that is immutable.
    attribute("-i");
    let mut permissions = std::fs::metadata(path).unwrap().permissions();
    permissions.set_readonly(locked);
    std::fs::set_permissions(path, permissions).unwrap();
    if locked {
        attribute("+i");
    }
    std::fs::OpenOptions::new().append(true).open(path).is_err() == locked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_can_only_be_read_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fog.db");
    let store = open(&path).await;
    fill(&store).await;
    let heads = store.verify(&[]).await.unwrap().heads;
    store.close().await;
    if !lock(&path, true) {
        lock(&path, false);
        eprintln!("not tried: nothing keeps this user from writing");
        return;
    }
    let store = open(&path).await;
    let refused = store.transfer(vec![pay("refused", 1)], at(20)).await;
    let read = store.verify(&heads).await;
    let found = store.posted(transfer_id("refused")).await;
    store.close().await;
    assert!(lock(&path, false));
    let error = refused.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("read-only"), "{error}");
    assert_eq!(found.unwrap(), None);
    read.unwrap();
    let store = open(&path).await;
    assert_eq!(send(&store, vec![pay("refused", 1)], 21).await, [ResultCode::Created]);
    store.verify(&heads).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_was_damaged_is_told_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fog.db");
    let store = open(&path).await;
    fill(&store).await;
    for round in 0..40 {
        let batch = (0..100).map(|n| pay(&format!("{round}-{n}"), 1)).collect();
        send(&store, batch, 20).await;
    }
    store.close().await;
    let sound = std::fs::read(&path).unwrap();
    let pages = sound.len() / 4_096;
    let (mut told, mut damaged) = (0, 0);
    for page in (1..pages).step_by(5) {
        let mut bytes = sound.clone();
        let start = page * 4_096;
        bytes[start + 1_000..start + 3_000].fill(0xa5);
        let copy = folder.path().join(format!("{page}.db"));
        std::fs::write(&copy, &bytes).unwrap();
        damaged += 1;
        let opened = SqliteStore::open(&copy, SqliteOptions::default()).await;
        let verified = match opened {
            Ok(store) => store.verify(&[]).await.map(|_| ()),
            Err(error) => Err(error),
        };
        if let Err(error) = verified {
            assert_eq!(error.kind(), ErrorKind::Internal, "page {page}: {error}");
            told += 1;
        }
        std::fs::remove_file(copy).unwrap();
    }
    // The tables of tasks are empty, and what stands behind the rows of a page is not looked at.
    assert!(told * 2 > damaged, "{told} of {damaged}");
}
