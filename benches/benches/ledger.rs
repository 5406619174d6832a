//! What a transfer costs: with its id, limits, history rows and the chain, durable when answered.
//!
//! `batch8190` and `batch100` are batches of one client over 10,000 accounts, `clients64` single
//! transfers of 64 clients at once, and `hot2` batches of 8,190 between two accounts. Every account
//! has a limit and keeps a history. PostgreSQL is a server of this run's own, on the same disk, as it
//! is installed: with `fsync` and `synchronous_commit`.
//!
//! `floor.fdatasync` is the same disk's flushes in the same run, `floor.sqlite_rows` what SQLite
//! does with nothing around it: two updates and one insert per transfer, prepared, in one
//! transaction of 8,190.
//!
//! With `FOGCORE_BENCH_TRANSFERS` (say, 10000000) a ledger of a million accounts gets so many
//! transfers first, is measured again as `large.batch8190` by a store that may keep all of the accounts
//! in memory (`?keep_mib=1024`) and as `large_64mib.batch8190` by one with the default, and then a
//! process that writes to it is killed: `large.recovery` is how long opening it takes after that.

#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark tells and stops"
)]
#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use fogcore::amount::{Amount, Asset};
use fogcore::id::{AccountId, IdSource, TransferId};
use fogcore::ledger::{Account, LedgerStore, MAX_BATCH, Purpose, Transfer};
use fogcore::storage;
use fogcore::time::Timestamp;
use fogcore_benches::{StoreKind, flush_once};
use fogcore_dev_postgres::Server;
use futures::future::join_all;
use tokio::runtime::Runtime;

#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ACCOUNTS: u32 = 10_000;
const MANY_ACCOUNTS: u32 = 1_000_000;
const NOW: Timestamp = Timestamp::UNIX_EPOCH;
/// The ledger that a child of this process writes to until it is killed.
const VICTIM: &str = "FOGCORE_BENCH_VICTIM";

/// Chooses accounts and makes ids, the same ones in every run.
struct Client {
    ids: IdSource,
    state: u64,
    accounts: u32,
    made: i64,
}

impl Client {
    fn new(seed: u64, accounts: u32) -> Self {
        Self { ids: IdSource::seeded(seed), state: seed, accounts, made: 0 }
    }

    fn account(&mut self) -> u32 {
        // Any number will do (Knuth's MMIX generator).
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        u32::try_from((self.state >> 32) % u64::from(self.accounts)).unwrap()
    }

    fn transfer(&mut self) -> Transfer {
        let debit = self.account();
        // Another one.
        let credit = (debit + 1 + self.account() % (self.accounts - 1)) % self.accounts;
        let amount = Amount::from_base_units(1);
        let (debit, credit) = (name(debit), name(credit));
        Transfer::direct(self.id(), &debit, &credit, amount, Purpose::Transfer)
    }

    /// Ids begin with the time, as those that clients make.
    fn id(&mut self) -> TransferId {
        self.made += 1;
        let time = Timestamp::from_micros(self.made * 100).unwrap();
        self.ids.transfer(time)
    }

    fn batch(&mut self, length: usize) -> Vec<Transfer> {
        (0..length).map(|_| self.transfer()).collect()
    }
}

fn name(number: u32) -> AccountId {
    format!("account-{number}").parse().unwrap()
}

/// A ledger with so many accounts that can pay.
async fn ledger(url: &str, accounts: u32) -> Arc<dyn LedgerStore> {
    let ledger = storage::open(url).await.unwrap().ledger;
    let mint: AccountId = "mint".parse().unwrap();
    let mut new = vec![Account::new(mint.clone(), Asset::FOG)];
    let holder = |number| {
        let account = Account::new(name(number), Asset::FOG).limited_to_credits();
        Account { history: true, ..account }
    };
    new.extend((0..accounts).map(holder));
    let ids = IdSource::seeded(0);
    for part in new.chunks(MAX_BATCH) {
        for answer in ledger.open_accounts(part.to_vec(), NOW).await.unwrap() {
            answer.unwrap();
        }
        let funded = part.iter().filter(|account| account.id != mint).map(|account| {
            let amount = Amount::from_base_units(1_000_000_000_000);
            Transfer::direct(ids.transfer(NOW), &mint, &account.id, amount, Purpose::Mint)
        });
        apply(&*ledger, funded.collect()).await;
    }
    // As a fog's founding: its own ids begin with no time.
    let own: TransferId = "da938aed-0000-8000-8000-000000000000".parse().unwrap();
    let one = Amount::from_base_units(1);
    let founding = Transfer::direct(own, &mint, &name(0), one, Purpose::Mint);
    apply(&*ledger, vec![founding]).await;
    ledger
}

async fn apply(ledger: &dyn LedgerStore, batch: Vec<Transfer>) {
    for answer in ledger.transfer(batch, NOW).await.unwrap() {
        assert!(answer.unwrap().new);
    }
}

/// How long `rounds` batches of this length take, one after the other.
async fn batches(
    ledger: &dyn LedgerStore,
    client: &mut Client,
    length: usize,
    rounds: u64,
) -> Duration {
    let mut spent = Duration::ZERO;
    for _ in 0..rounds {
        let batch = client.batch(length);
        let begun = Instant::now();
        apply(ledger, batch).await;
        spent += begun.elapsed();
    }
    spent
}

/// How long it takes 64 clients to make so many transfers each, one at a time.
async fn clients(ledger: &Arc<dyn LedgerStore>, client: &mut Client, each: usize) -> Duration {
    let work: Vec<_> = (0..64).map(|_| client.batch(each)).collect();
    let begun = Instant::now();
    let tasks = work.into_iter().map(|transfers| {
        let ledger = ledger.clone();
        tokio::task::spawn(async move {
            for transfer in transfers {
                apply(&*ledger, vec![transfer]).await;
            }
        })
    });
    join_all(tasks).await.into_iter().for_each(|task| task.unwrap());
    begun.elapsed()
}

fn stores(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let mut group = criterion.benchmark_group("ledger");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.measurement_time(Duration::from_secs(4));
    let (file, _folder) = StoreKind::Sqlite.url().unwrap();
    let mut urls = vec![("memory", "memory:".to_owned()), ("sqlite", file)];
    let server = Server::start();
    match &server {
        Ok(server) => urls.push(("postgres", server.url("postgres"))),
        Err(error) => eprintln!("not measured: postgres, because {error:#}"),
    }
    for (store, url) in urls {
        let ledger = runtime.block_on(ledger(&url, ACCOUNTS));
        let mut client = Client::new(1, ACCOUNTS);
        for (name, length, accounts) in [
            ("batch8190", MAX_BATCH, ACCOUNTS),
            ("batch100", 100, ACCOUNTS),
            ("hot2", MAX_BATCH, 2),
        ] {
            client.accounts = accounts;
            group.throughput(Throughput::Elements(u64::try_from(length).unwrap()));
            let id = BenchmarkId::new(format!("{store}.{name}"), "transfers/s");
            group.bench_function(id, |bencher| {
                bencher.iter_custom(|rounds| {
                    runtime.block_on(batches(&*ledger, &mut client, length, rounds))
                });
            });
        }
        client.accounts = ACCOUNTS;
        group.throughput(Throughput::Elements(64 * 32));
        let id = BenchmarkId::new(format!("{store}.clients64"), "transfers/s");
        group.bench_function(id, |bencher| {
            bencher.iter_custom(|rounds| {
                (0..rounds).map(|_| runtime.block_on(clients(&ledger, &mut client, 32))).sum()
            });
        });
        assert!(runtime.block_on(ledger.trial_balance()).unwrap().is_balanced());
    }
    group.finish();
}

fn floors(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ledger");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    let folder = tempfile::tempdir().unwrap();
    let mut file = std::fs::File::create(folder.path().join("flushed")).unwrap();
    group.throughput(Throughput::Elements(1));
    group.bench_function(BenchmarkId::new("floor.fdatasync", "fdatasync/s"), |bencher| {
        bencher.iter(|| flush_once(&mut file).unwrap());
    });
    let mut bare = Bare::new(&folder.path().join("bare.db"));
    let mut client = Client::new(2, ACCOUNTS);
    group.throughput(Throughput::Elements(u64::try_from(MAX_BATCH).unwrap()));
    group.bench_function(BenchmarkId::new("floor.sqlite_rows", "transfers/s"), |bencher| {
        bencher.iter_custom(|rounds| (0..rounds).map(|_| bare.batch(&mut client)).sum());
    });
    group.finish();
}

/// SQLite, and nothing around it.
struct Bare(rusqlite::Connection);

impl Bare {
    fn new(path: &Path) -> Self {
        let bare = rusqlite::Connection::open(path).unwrap();
        bare.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -65536;
             CREATE TABLE accounts (id INTEGER PRIMARY KEY, debits BLOB NOT NULL,
                 credits BLOB NOT NULL) STRICT;
             CREATE TABLE transfers (id BLOB NOT NULL PRIMARY KEY, debit INTEGER NOT NULL,
                 credit INTEGER NOT NULL, amount BLOB NOT NULL) STRICT, WITHOUT ROWID;
             WITH RECURSIVE n (no) AS (SELECT 0 UNION ALL SELECT no + 1 FROM n WHERE no < 9999)
             INSERT INTO accounts SELECT no, zeroblob(16), zeroblob(16) FROM n;",
        )
        .unwrap();
        Self(bare)
    }

    fn batch(&mut self, client: &mut Client) -> Duration {
        let numbers: Vec<_> =
            (0..MAX_BATCH).map(|_| [client.account(), client.account()]).collect();
        let ids: Vec<_> = (0..MAX_BATCH).map(|_| client.id().uuid()).collect();
        let begun = Instant::now();
        let transaction = self.0.transaction().unwrap();
        {
            let [debit, credit] = ["debits", "credits"].map(|side| {
                let update = format!("UPDATE accounts SET {side} = ?1 WHERE id = ?2");
                transaction.prepare(&update).unwrap()
            });
            let insert = "INSERT INTO transfers VALUES (?1, ?2, ?3, ?4)";
            let (mut debit, mut credit) = (debit, credit);
            let mut insert = transaction.prepare(insert).unwrap();
            let amount = 1_u128.to_be_bytes();
            for ([from, to], id) in numbers.iter().zip(&ids) {
                debit.execute((amount, from)).unwrap();
                credit.execute((amount, to)).unwrap();
                insert.execute((id.as_bytes(), from, to, amount)).unwrap();
            }
        }
        transaction.commit().unwrap();
        begun.elapsed()
    }
}

fn large(criterion: &mut Criterion) {
    let asked = std::env::var("FOGCORE_BENCH_TRANSFERS").unwrap_or_default();
    let Ok(transfers) = asked.parse::<usize>() else { return };
    let runtime = Runtime::new().unwrap();
    let (url, _folder) = StoreKind::Sqlite.url().unwrap();
    let mut client = Client::new(1, MANY_ACCOUNTS);
    runtime.block_on(async {
        let roomy = ledger(&format!("{url}?keep_mib=1024"), MANY_ACCOUNTS).await;
        for _ in 0..transfers.div_ceil(MAX_BATCH) {
            apply(&*roomy, client.batch(MAX_BATCH)).await;
        }
        let mut group = criterion.benchmark_group("ledger");
        group.sample_size(10).sampling_mode(SamplingMode::Flat);
        group.throughput(Throughput::Elements(u64::try_from(MAX_BATCH).unwrap()));
        let modest = storage::open(&url).await.unwrap().ledger;
        for (name, ledger) in [("large", &roomy), ("large_64mib", &modest)] {
            let id = BenchmarkId::new(format!("{name}.batch8190"), "transfers/s");
            group.bench_function(id, |bencher| {
                bencher.iter_custom(|rounds| {
                    let work = batches(&**ledger, &mut client, MAX_BATCH, rounds);
                    tokio::task::block_in_place(|| runtime.handle().block_on(work))
                });
            });
        }
        group.finish();
    });
    for _ in 0..5 {
        kill_a_writer(&url);
        let begun = Instant::now();
        let found = runtime.block_on(async {
            let ledger = storage::open(&url).await.unwrap().ledger;
            ledger.account(&name(7)).await.unwrap()
        });
        let took = begun.elapsed().as_secs_f64() * 1e3;
        assert!(found.is_some());
        println!("# opened in {took:.1} ms after a kill");
    }
    kill_a_writer(&url);
    let begun = Instant::now();
    black_box(runtime.block_on(storage::open(&url)).unwrap());
    println!("figure ledger.large.recovery {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);
}

/// Starts a process that writes to the ledger, and kills it in the middle of that.
fn kill_a_writer(url: &str) {
    let program = std::env::current_exe().unwrap();
    let mut victim = Command::new(program).env(VICTIM, url).stdout(Stdio::piped()).spawn().unwrap();
    let told = BufReader::new(victim.stdout.take().unwrap()).lines();
    // Some batches are done; another one is under way.
    told.take(3).for_each(|line| drop(line.unwrap()));
    victim.kill().unwrap();
    victim.wait().unwrap();
}

/// Writes until it is killed.
async fn write_for_ever(url: &str) {
    let ledger = storage::open(url).await.unwrap().ledger;
    let mut client = Client::new(u64::from(std::process::id()) << 32, MANY_ACCOUNTS);
    loop {
        apply(&*ledger, client.batch(MAX_BATCH)).await;
        println!("done");
    }
}

/// A child does what its parent made it for.
fn victim(_: &mut Criterion) {
    if let Ok(url) = std::env::var(VICTIM) {
        Runtime::new().unwrap().block_on(write_for_ever(&url));
    }
}

criterion_group!(benches, victim, stores, floors, large);
criterion_main!(benches);
