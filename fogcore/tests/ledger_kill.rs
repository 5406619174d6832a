//! `kill -9` under load. Whatever the ledger answered is there afterwards, exactly once and as it
//! was answered; whatever it did not answer is there as a whole or not at all.
//!
//! The process that is killed is this test binary once more, with only [`victim`] to run. It sends
//! batches that follow from the seed, the round and their number, and reports each answer on its
//! standard output. So the test knows what was answered and what may be under way. After each
//! kill it opens the same books, checks them, sends again what was under way, as a client would, and
//! goes on with them.
//!
//! `FOGCORE_KILL_ROUNDS` says how often to kill, `FOGCORE_SEED` repeats a run as far as the moments
//! of the kills allow.
#![cfg(all(feature = "sqlite", unix))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test reports by panicking and printing, its helpers included"
)]

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use fogcore::amount::{Amount, Asset};
use fogcore::id::{AccountId, TransferId};
use fogcore::ledger::{
    Account, Applied, Head, LedgerError, LedgerStore, MAX_BATCH, Place, Posted, Purpose,
    ResultCode, Transfer, TransferFilter, TransferKind,
};
use fogcore::storage;
#[cfg(feature = "postgres")]
use fogcore::storage::postgres::{PostgresOptions, PostgresStore};
use fogcore::storage::sqlite::{SqliteOptions, SqliteStore};
use fogcore::time::Timestamp;
use rand::rngs::{StdRng, SysRng};
use rand::{Rng, RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

/// How the victim is told what to do.
const ORDER: &str = "FOGCORE_LEDGER_VICTIM";
/// Lanes send one batch after another. The first ones send batches, then come singles, and the last
/// one ends holds.
const BATCHES: u32 = 4;
const SINGLES: u32 = 8;
const EXPIRY: u32 = BATCHES + SINGLES;
/// Far more than a round takes, so that only a victim that hangs ends by this.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Order {
    url: String,
    seed: u64,
    round: u64,
}

/// What became of a batch.
#[derive(Debug, Serialize, Deserialize)]
struct Answered {
    lane: u32,
    number: u64,
    results: Vec<(ResultCode, Option<Posted>)>,
}

impl Answered {
    fn new(lane: u32, number: u64, answers: &[Result<Applied, LedgerError>]) -> Self {
        let result = |answer: &Result<Applied, LedgerError>| {
            (ResultCode::of(answer), answer.as_ref().ok().map(|applied| applied.posted.clone()))
        };
        Self { lane, number, results: answers.iter().map(result).collect() }
    }

    /// Whether anything in it was made by this answer.
    fn is_new(&self) -> bool {
        self.results.iter().any(|(code, _)| *code == ResultCode::Created)
    }

    /// Whether anything in it had been decided before.
    fn is_old(&self) -> bool {
        let old = [ResultCode::Exists, ResultCode::IdAlreadyFailed];
        self.results.iter().any(|(code, _)| old.contains(code))
    }
}

// What is sent

fn account_id(name: &str) -> AccountId {
    name.parse().unwrap()
}

/// Two accounts that everybody uses, and some that are used less.
const NAMES: [&str; 8] = ["mint", "hot", "hot", "hot", "cold-1", "cold-2", "kept", "owing"];

fn accounts() -> Vec<Account> {
    let new = |name: &str| Account::new(account_id(name), Asset::FOG);
    vec![
        new("mint"),
        new("hot").limited_to_credits(),
        new("cold-1").limited_to_credits(),
        new("cold-2"),
        new("kept").with_history(),
        new("owing").limited_to_debits(),
    ]
}

impl Order {
    fn id(&self, lane: u32, number: u64, item: usize) -> TransferId {
        let Self { seed, round, .. } = self;
        TransferId::derive(format!("{seed} {round} {lane} {number} {item}").as_bytes(), "kill")
    }

    fn at(&self, number: u64) -> Timestamp {
        let start = Timestamp::from_micros(1_767_225_600_000_000).unwrap();
        start.saturating_add(Duration::from_secs(self.round * 1_000 + number / 2))
    }

    /// What a lane sends. The first item of a batch is a hold, as is every third single.
    fn batch(&self, lane: u32, number: u64) -> Vec<Transfer> {
        let (dice, _) = self.id(lane, number, MAX_BATCH).uuid().as_u64_pair();
        let mut dice = StdRng::seed_from_u64(dice);
        if lane >= BATCHES {
            let hold = self.id(lane, number.saturating_sub(1), 0);
            return vec![match number % 3 {
                0 => self.hold(lane, number, 0, &mut dice),
                1 => self.end(hold, self.id(lane, number, 0), &mut dice),
                _ => self.direct(lane, number, 0, &mut dice),
            }];
        }
        let mut batch = vec![self.hold(lane, number, 0, &mut dice)];
        for item in 1..dice.random_range(2..16) {
            let mut transfer = match dice.random_range(0..6) {
                0 => self.hold(lane, number, item, &mut dice),
                1 => {
                    let back = dice.random_range(0..4);
                    let hold = self.id(lane, number.saturating_sub(back), 0);
                    self.end(hold, self.id(lane, number, item), &mut dice)
                }
                _ => self.direct(lane, number, item, &mut dice),
            };
            transfer.flags.linked = dice.random_bool(0.3);
            batch.push(transfer);
        }
        if let Some(last) = batch.last_mut() {
            last.flags.linked = false;
        }
        batch
    }

    fn sides(dice: &mut StdRng) -> [AccountId; 2] {
        let debit = dice.random_range(0..NAMES.len());
        let credit = (debit + dice.random_range(1..NAMES.len())) % NAMES.len();
        [debit, credit].map(|place| account_id(NAMES[place]))
    }

    fn direct(&self, lane: u32, number: u64, item: usize, dice: &mut StdRng) -> Transfer {
        let [debit, credit] = Self::sides(dice);
        let amount = Amount::from_base_units(dice.random_range(1..100));
        let id = self.id(lane, number, item);
        let transfer = Transfer::direct(id, &debit, &credit, amount, Purpose::Transfer);
        if dice.random_bool(0.2) { transfer.balancing_debit() } else { transfer }
    }

    fn hold(&self, lane: u32, number: u64, item: usize, dice: &mut StdRng) -> Transfer {
        let [debit, credit] = Self::sides(dice);
        let amount = Amount::from_base_units(dice.random_range(1..100));
        let id = self.id(lane, number, item);
        let hold = Transfer::hold(id, &debit, &credit, amount, Purpose::Transfer);
        if dice.random_bool(0.5) { hold.expiring_after(dice.random_range(1..5)) } else { hold }
    }

    fn end(&self, hold: TransferId, id: TransferId, dice: &mut StdRng) -> Transfer {
        if dice.random_bool(0.4) {
            return Transfer::void(id, hold, Purpose::Transfer);
        }
        let some = Amount::from_base_units(dice.random_range(0..40));
        let amount = if dice.random_bool(0.5) { Amount::MAX } else { some };
        Transfer::post(id, hold, amount, Purpose::Transfer)
    }
}

// The process that is killed

fn tell(answered: &Answered) {
    println!("{}", serde_json::to_string(answered).unwrap());
}

async fn lane(ledger: Arc<dyn LedgerStore>, order: Order, lane: u32) {
    for number in 0.. {
        if lane == EXPIRY {
            let ended = ledger.expire_holds(order.at(number), 20).await.unwrap();
            let results = ended.into_iter().map(|posted| (ResultCode::Created, Some(posted)));
            tell(&Answered { lane, number, results: results.collect() });
        } else {
            let batch = order.batch(lane, number);
            let answers = ledger.transfer(batch, order.at(number)).await.unwrap();
            tell(&Answered::new(lane, number, &answers));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "this is the process that the other tests kill; by itself it does nothing"]
async fn victim() {
    let Ok(order) = std::env::var(ORDER) else { return };
    let order: Order = serde_json::from_str(&order).unwrap();
    println!("{{\"opening\":true}}");
    let ledger = storage::open(&order.url).await.unwrap().ledger;
    println!("{{\"open\":true}}");
    let mut lanes = JoinSet::new();
    for number in 0..=EXPIRY {
        lanes.spawn(lane(ledger.clone(), order.clone(), number));
    }
    // Whatever ends here went wrong; nobody reading any more does, too.
    let ended = tokio::time::timeout(PATIENCE, lanes.join_next()).await;
    panic!("a lane ended: {ended:?}");
}

/// A child that does not outlive its test.
struct Kept(Child);

impl Drop for Kept {
    fn drop(&mut self) {
        // It may have ended, which is as well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the victim, kills it once it has said so many lines, and returns what it was answered.
fn load_and_kill(order: &Order, moment: usize) -> Vec<Answered> {
    let arguments = ["victim", "--exact", "--ignored", "--nocapture", "--test-threads=1"];
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(arguments).env(ORDER, serde_json::to_string(order).unwrap());
    let mut child = Kept(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut said = BufReader::new(child.0.stdout.take().unwrap());
    let (mut line, mut lines, mut answered) = (Vec::new(), 0, Vec::new());
    // Until the pipe is empty: what stands in it when the process dies was answered, too.
    while said.read_until(b'\n', &mut line).unwrap() > 0 {
        if line.starts_with(b"{") {
            lines += 1;
            match serde_json::from_slice::<Answered>(&line) {
                Ok(answer) => answered.push(answer),
                // The last one may have been cut off, which makes it one that was not heard.
                Err(_) => assert!(lines <= 2 || !line.ends_with(b"\n"), "a line of another kind"),
            }
        }
        if lines == moment {
            // SIGKILL.
            child.0.kill().unwrap();
        }
        line.clear();
    }
    assert!(lines >= moment, "the victim ended by itself");
    assert_eq!(child.0.wait().unwrap().signal(), Some(9));
    answered
}

// What is left of it

/// What the test knows of the books.
#[derive(Default)]
struct Books {
    /// Where the chains ended after the last round.
    heads: Vec<Head>,
    /// What was answered or found, of all rounds.
    transfers: HashMap<TransferId, Known>,
    /// Where the last round ended.
    end: Option<Place>,
    under_way: [usize; 2],
}

struct Known {
    posted: Posted,
    /// Where it was found in the journal.
    place: Option<Place>,
}

impl Books {
    fn expect(&mut self, posted: &Posted) {
        let id = posted.transfer.id;
        let known = Known { posted: posted.clone(), place: None };
        let known = self.transfers.entry(id).or_insert(known);
        assert_same(&known.posted, posted);
    }

    /// Checks the books after a round, and sends again what was under way.
    async fn check(&mut self, ledger: &dyn LedgerStore, order: &Order, answered: &[Answered]) {
        ledger.verify(&self.heads).await.unwrap();
        assert!(ledger.trial_balance().await.unwrap().is_balanced());
        let mut next: BTreeMap<u32, u64> = (0..=EXPIRY).map(|lane| (lane, 0)).collect();
        for answer in answered {
            let posted = answer.results.iter().filter_map(|(_, posted)| posted.as_ref());
            posted.for_each(|posted| self.expect(posted));
            let next = next.get_mut(&answer.lane).unwrap();
            assert_eq!(answer.number, *next, "lane {}", answer.lane);
            *next += 1;
        }
        next.remove(&EXPIRY);
        for (lane, number) in next {
            self.send_again(ledger, order, lane, number).await;
            // What was answered stays answered, also what failed.
            if let Some(last) = number.checked_sub(1) {
                let again = send(ledger, order, lane, last).await;
                assert!(!again.is_new(), "lane {lane}, batch {last}: {again:?}");
            }
        }
        self.read_journal(ledger).await;
        let verified = ledger.verify(&self.heads).await.unwrap();
        assert_eq!(verified.transfers, self.transfers.len() as u64);
        assert!(ledger.trial_balance().await.unwrap().is_balanced());
        self.heads = verified.heads;
    }

    /// What was under way was done as a whole, or is now, or is refused as a whole.
    async fn send_again(
        &mut self,
        ledger: &dyn LedgerStore,
        order: &Order,
        lane: u32,
        number: u64,
    ) {
        let again = send(ledger, order, lane, number).await;
        assert!(!(again.is_new() && again.is_old()), "half of it was there: {again:?}");
        self.under_way[usize::from(again.is_new())] += 1;
        for (_, posted) in &again.results {
            posted.iter().for_each(|posted| self.expect(posted));
        }
    }

    /// The journal since the last round has everything that was answered, once, and nothing else
    /// but the ends of holds.
    async fn read_journal(&mut self, ledger: &dyn LedgerStore) {
        loop {
            let page = ledger.transfers(&TransferFilter::default(), self.end, 1_000).await.unwrap();
            let Some(last) = page.last() else { break };
            self.end = Some(last.place);
            for entry in page {
                let id = entry.posted.transfer.id;
                if let TransferKind::Expire { hold } = entry.posted.transfer.kind {
                    assert!(self.transfers.contains_key(&hold), "{id} ends what nobody made");
                    self.expect(&entry.posted);
                }
                let known = self.transfers.get_mut(&id).expect("nobody sent this");
                assert_same(&known.posted, &entry.posted);
                assert_eq!(known.place.replace(entry.place), None, "{id} is there twice");
            }
        }
        let lost = self.transfers.iter().find(|(_, known)| known.place.is_none());
        assert!(lost.is_none(), "{} was answered, and is not there", lost.unwrap().0);
    }

    /// The whole journal once more, from its beginning.
    async fn read_again(&mut self, ledger: &dyn LedgerStore) {
        self.end = None;
        self.transfers.values_mut().for_each(|known| known.place = None);
        self.read_journal(ledger).await;
    }
}

/// The same transfer; as a hold, it may have ended since.
fn assert_same(one: &Posted, other: &Posted) {
    assert_eq!((&one.transfer, one.at), (&other.transfer, other.at));
}

async fn send(ledger: &dyn LedgerStore, order: &Order, lane: u32, number: u64) -> Answered {
    let answers = ledger.transfer(order.batch(lane, number), order.at(number)).await.unwrap();
    Answered::new(lane, number, &answers)
}

/// Opens the accounts, with something to spend.
async fn begin(ledger: &dyn LedgerStore, books: &mut Books) {
    for opened in ledger.open_accounts(accounts(), Timestamp::UNIX_EPOCH).await.unwrap() {
        opened.unwrap();
    }
    let id = TransferId::derive(b"first", "kill");
    let (mint, hot) = (account_id("mint"), account_id("hot"));
    let amount = Amount::from_base_units(5_000);
    let first = Transfer::direct(id, &mint, &hot, amount, Purpose::Mint);
    let made = ledger.transfer(vec![first], Timestamp::UNIX_EPOCH).await.unwrap().remove(0);
    books.expect(&made.unwrap().posted);
}

// The tests

fn seed() -> u64 {
    let seed = match std::env::var("FOGCORE_SEED") {
        Ok(seed) => seed.parse().expect("FOGCORE_SEED is a number"),
        Err(_) => StdRng::try_from_rng(&mut SysRng).unwrap().next_u64(),
    };
    println!("FOGCORE_SEED={seed}");
    seed
}

fn rounds() -> u64 {
    let rounds = std::env::var("FOGCORE_KILL_ROUNDS");
    rounds.map_or(5, |rounds| rounds.parse().expect("FOGCORE_KILL_ROUNDS is a number"))
}

/// A store that can be closed, so that what a kill leaves is opened by nobody before the next.
enum Store {
    Sqlite(Box<SqliteStore>),
    #[cfg(feature = "postgres")]
    Postgres(Box<PostgresStore>),
}

impl Store {
    async fn open(url: &str) -> Self {
        #[cfg(feature = "postgres")]
        if url.starts_with("postgres:") {
            let store = PostgresStore::open(url, PostgresOptions::default()).await;
            return Self::Postgres(Box::new(store.unwrap()));
        }
        let path = url.strip_prefix("sqlite:").unwrap();
        let store = SqliteStore::open(path, SqliteOptions::default()).await;
        Self::Sqlite(Box::new(store.unwrap()))
    }

    fn ledger(&self) -> &dyn LedgerStore {
        match self {
            Self::Sqlite(store) => &**store,
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => &**store,
        }
    }

    async fn close(self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.close().await,
        }
    }
}

/// Kills again and again, going on with the same books. `killed` is told of each kill before the
/// books are opened again.
async fn survive(url: &str, mut killed: impl AsyncFnMut()) {
    let (seed, rounds) = (seed(), rounds());
    let (mut dice, mut books) = (StdRng::seed_from_u64(seed), Books::default());
    let store = Store::open(url).await;
    begin(store.ledger(), &mut books).await;
    store.close().await;
    let mut answers = 0;
    for round in 0..rounds {
        let order = Order { url: url.to_owned(), seed, round };
        let answered = load_and_kill(&order, dice.random_range(1..400));
        answers += answered.len();
        killed().await;
        let store = Store::open(url).await;
        books.check(store.ledger(), &order, &answered).await;
        store.close().await;
    }
    let store = Store::open(url).await;
    books.read_again(store.ledger()).await;
    store.close().await;
    let (transfers, [done, not_done]) = (books.transfers.len(), books.under_way);
    println!(
        "{rounds} kills: {answers} batches were answered, {transfers} transfers are there; of the \
         batches under way {done} had been done and {not_done} had not"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_survives_kills_of_its_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fog.db");
    // Something committed must be left beside the file now and then, or nothing was recovered.
    let (log, mut left) = (path.with_extension("db-wal"), 0_u64);
    survive(&format!("sqlite:{}", path.display()), async || {
        left += u64::from(std::fs::metadata(&log).is_ok_and(|log| log.len() > 0));
    })
    .await;
    assert!(!log.exists(), "the file is still open");
    assert!(left * 2 >= rounds(), "only {left} kills left something to recover");
}

#[cfg(feature = "postgres")]
#[path = "common/postgres.rs"]
mod database;

#[cfg(feature = "postgres")]
mod postgres {
    use std::sync::atomic::{AtomicBool, Ordering};

    use fogcore::{ErrorKind, Result};
    use fogcore_dev_postgres::Server;
    use sqlx::{Connection, PgConnection, Row};
    use tokio::sync::mpsc;

    use super::database::Database;
    use super::*;

    /// Waits until the server has noticed that the process is gone: until then, what it was doing
    /// may still be committed, and readers of the journal wait for it.
    async fn noticed(url: &str) {
        let mut connection = PgConnection::connect(url).await.unwrap();
        let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
             AND application_name = 'fogcore'";
        let gone = async {
            while sqlx::query(others).fetch_one(&mut connection).await.unwrap().get::<i64, _>(0) > 0
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.expect("its connections stay");
        connection.close().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_database_survives_kills_of_its_client() {
        let database = Database::fresh().await;
        let url = database.url();
        survive(&url, async || noticed(&url).await).await;
    }

    async fn ask(store: &PostgresStore, order: &Order, lane: u32, number: u64) -> Result<Answered> {
        if lane == EXPIRY {
            let ended = store.expire_holds(order.at(number), 20).await?.into_iter();
            let results = ended.map(|posted| (ResultCode::Created, Some(posted))).collect();
            return Ok(Answered { lane, number, results });
        }
        let answers = store.transfer(order.batch(lane, number), order.at(number)).await?;
        Ok(Answered::new(lane, number, &answers))
    }

    /// A lane that goes on, whatever becomes of the server; returns how often it asked in vain.
    async fn lane(
        store: Arc<PostgresStore>,
        order: Order,
        lane: u32,
        answered: mpsc::Sender<Answered>,
        stop: Arc<AtomicBool>,
    ) -> u64 {
        let mut retries = 0;
        for number in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            // A server that is away is no answer.
            let answer = loop {
                match ask(&store, &order, lane, number).await {
                    Ok(answer) => break answer,
                    Err(error) if error.kind() == ErrorKind::Unavailable => retries += 1,
                    Err(error) => panic!("{error}"),
                }
                tokio::task::yield_now().await;
            };
            assert!(!(answer.is_new() && answer.is_old()), "half of it was there: {answer:?}");
            answered.send(answer).await.unwrap();
        }
        retries
    }

    /// The server crashes under a client that goes on sending: it loses nothing that it answered,
    /// and the client needs no more than to send again.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn crashes_of_the_server_lose_nothing() {
        let mut server = Server::start().unwrap();
        let database = Database::on(&server.url("postgres")).await;
        let (url, seed) = (database.url(), seed());
        let store = PostgresStore::open(&url, PostgresOptions::default()).await.unwrap();
        let (store, mut books) = (Arc::new(store), Books::default());
        begin(&*store, &mut books).await;
        books.heads = store.verify(&[]).await.unwrap().heads;
        let order = Order { url, seed, round: 0 };
        let (sender, mut receiver) = mpsc::channel(64);
        let (stop, mut lanes) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
        for number in 0..=EXPIRY {
            let (store, order) = (store.clone(), order.clone());
            lanes.spawn(lane(store, order, number, sender.clone(), stop.clone()));
        }
        drop(sender);
        let (mut dice, mut answered) = (StdRng::seed_from_u64(seed), Vec::new());
        let crashes = 1 + rounds() / 10;
        let work = async {
            for _ in 0..crashes {
                let wanted = answered.len() + dice.random_range(50..300);
                while answered.len() < wanted {
                    answered.push(receiver.recv().await.expect("a lane ended"));
                }
                server.crash().unwrap();
                server.restart().unwrap();
            }
            let wanted = answered.len() + 100;
            while answered.len() < wanted {
                answered.push(receiver.recv().await.expect("a lane ended"));
            }
            stop.store(true, Ordering::Relaxed);
            while let Some(answer) = receiver.recv().await {
                answered.push(answer);
            }
        };
        tokio::time::timeout(PATIENCE * (u32::try_from(crashes).unwrap() + 1), work)
            .await
            .expect("the client gets no answers any more");
        let retries: u64 = lanes.join_all().await.into_iter().sum();
        assert!(retries > 0, "nobody noticed that the server was away");
        books.check(&*store, &order, &answered).await;
        store.close().await;
        println!("{crashes} crashes: {} batches answered, {retries} sent again", answered.len());
    }
}
