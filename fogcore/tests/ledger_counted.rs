//! Counters that are written behind: whoever reads and whoever goes on sees what the journal says.
//!
//! With `FOGCORE_COUNTED_ROUNDS` (default 60) the random histories get longer, with
//! `FOGCORE_COUNTED_SEED` they get other ones.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::path::Path;

use fogcore::amount::{Amount, Asset};
use fogcore::id::{AccountId, TransferId};
use fogcore::ledger::{
    Account, AccountFilter, Applied, LedgerError, LedgerStore, Purpose, Transfer,
};
use fogcore::storage::memory::MemoryStore;
use fogcore::storage::sqlite::{SqliteOptions, SqliteStore};
use fogcore::time::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Executor, Row};

use common::{account_id, soon};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_767_225_600_000_000 + seconds * 1_000_000).unwrap()
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

const ACCOUNTS: usize = 12;

fn name(number: usize) -> AccountId {
    account_id(&format!("account-{number}"))
}

/// Some of everything that a book can be asked to do.
struct Dice {
    dice: StdRng,
    made: usize,
    holds: Vec<TransferId>,
}

impl Dice {
    fn new(seed: u64) -> Self {
        Self { dice: StdRng::seed_from_u64(seed), made: 0, holds: Vec::new() }
    }

    fn up_to(&mut self, end: usize) -> usize {
        self.dice.random_range(0..end)
    }

    fn id(&mut self) -> TransferId {
        self.made += 1;
        TransferId::derive(b"counted", &self.made.to_string())
    }

    fn transfer(&mut self) -> Transfer {
        let (id, debit) = (self.id(), self.up_to(ACCOUNTS));
        let credit = (debit + 1 + self.up_to(ACCOUNTS - 1)) % ACCOUNTS;
        let (debit, credit) = (name(debit), name(credit));
        // Also so many that a sum over holds passes what a counter can hold.
        let huge = Amount::from_base_units(u128::MAX / 2);
        let amount = match self.up_to(12) {
            0 => huge,
            1 => Amount::ZERO,
            _ => Amount::from_base_units(self.dice.random_range(1..1_000)),
        };
        let purpose = Purpose::Transfer;
        let hold = self.up_to(self.holds.len().max(1));
        let hold = self.holds.get(hold).copied();
        match (self.up_to(10), hold) {
            (0..3, _) => {
                self.holds.push(id);
                let hold = Transfer::hold(id, &debit, &credit, amount, purpose);
                match self.up_to(6) {
                    0 => hold.closing_debit(),
                    1 => hold.closing_credit(),
                    2 => hold.expiring_after(3),
                    _ => hold,
                }
            }
            (3..5, Some(hold)) => Transfer::post(id, hold, Amount::MAX, purpose),
            (5..8, Some(hold)) => Transfer::void(id, hold, purpose),
            _ => Transfer::direct(id, &debit, &credit, amount.min(huge), purpose),
        }
    }

    fn batch(&mut self) -> Vec<Transfer> {
        let length = 1 + self.up_to(12);
        let mut batch: Vec<_> = (0..length).map(|_| self.transfer()).collect();
        for transfer in batch.iter_mut().skip(1).rev() {
            transfer.flags.linked = self.up_to(6) == 0;
        }
        batch.reverse();
        batch
    }
}

async fn open_accounts(ledger: &dyn LedgerStore) {
    let account = |number: usize| {
        let account = Account::new(name(number), Asset::FOG);
        Account { history: number.is_multiple_of(2), closed: number == 11, ..account }
    };
    let accounts = (0..ACCOUNTS).map(account).collect();
    assert!(ledger.open_accounts(accounts, at(0)).await.unwrap().iter().all(Result::is_ok));
}

type Answers = Vec<Result<Applied, LedgerError>>;

async fn send(ledger: &dyn LedgerStore, batch: &[Transfer], seconds: i64) -> Answers {
    ledger.transfer(batch.to_vec(), at(seconds)).await.unwrap()
}

/// Everybody who reads counters sees the same.
async fn assert_same(store: &dyn LedgerStore, truth: &dyn LedgerStore) {
    for closed in [None, Some(true), Some(false)] {
        let filter = AccountFilter { closed, ..AccountFilter::default() };
        let expected = truth.accounts(&filter, None, 100).await.unwrap();
        assert_eq!(store.accounts(&filter, None, 100).await.unwrap(), expected);
        for account in expected {
            assert_eq!(store.account(&account.id).await.unwrap(), Some(account));
        }
    }
    assert_eq!(store.trial_balance().await.unwrap(), truth.trial_balance().await.unwrap());
}

/// How many transfers are behind the counters in the file.
async fn tail(path: &Path) -> i64 {
    let connect = SqliteConnectOptions::new().filename(path).read_only(true);
    let mut connection = connect.connect().await.unwrap();
    let count = "SELECT (SELECT ifnull(max(seq), 0) FROM transfers)
        - (SELECT seq FROM ledger_counted)";
    connection.fetch_one(count).await.unwrap().get(0)
}

async fn open(path: &Path, uncounted: usize, keep: usize) -> SqliteStore {
    let options = SqliteOptions { uncounted, keep, ..SqliteOptions::default() };
    SqliteStore::open(path, options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_follows_from_the_journal_is_what_the_book_has() {
    let seed = number("FOGCORE_COUNTED_SEED", 1);
    let mut dice = Dice::new(seed);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fog.db");
    let (store, truth) = (open(&path, 100, 20_000).await, MemoryStore::new());
    open_accounts(&store).await;
    open_accounts(&truth).await;
    let (mut longest, mut closed) = (0, false);
    for round in 0..i64::try_from(number("FOGCORE_COUNTED_ROUNDS", 60)).unwrap() {
        let batch = dice.batch();
        let answers = send(&truth, &batch, round).await;
        assert_eq!(send(&store, &batch, round).await, answers, "seed {seed}, round {round}");
        let ended = truth.expire_holds(at(round), 100).await.unwrap();
        assert_eq!(store.expire_holds(at(round), 100).await.unwrap(), ended);
        longest = longest.max(tail(&path).await);
        assert_same(&store, &truth).await;
        let filter = AccountFilter { closed: Some(true), ..AccountFilter::default() };
        closed |= truth.accounts(&filter, None, 100).await.unwrap().len() > 1;
        if round % 4 == 0 {
            // As after a kill: nobody has in memory what the tail led to.
            let copy = folder.path().join(format!("copy-{round}.db"));
            store.backup(&copy).await.unwrap();
            assert_eq!(tail(&copy).await, tail(&path).await);
            let copied = open(&copy, 100, 20_000).await;
            assert_same(&copied, &truth).await;
            copied.verify(&[]).await.unwrap();
            // One transfer between accounts that the tail may know, and another that it may not.
            let again = Dice::new(seed).batch();
            assert_eq!(send(&copied, &again, round).await, send(&truth, &again, round).await);
            copied.verify(&[]).await.unwrap();
            copied.close().await;
            assert_eq!(tail(&copy).await, 0, "who goes leaves nothing to do");
            assert_same(&open(&copy, 0, 0).await, &truth).await;
        }
        store.verify(&[]).await.unwrap();
    }
    assert!(longest > 50 && closed, "the longest tail was {longest}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_that_take_turns_on_one_file_see_what_the_others_did() {
    let mut dice = Dice::new(number("FOGCORE_COUNTED_SEED", 2));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fog.db");
    let truth = MemoryStore::new();
    open_accounts(&truth).await;
    let stores = [
        open(&path, usize::MAX, 64 << 20).await,
        open(&path, 10, 0).await,
        open(&path, 65_536, 20_000).await,
    ];
    open_accounts(&stores[0]).await;
    let mut tails = 0;
    for round in 0..i64::try_from(number("FOGCORE_COUNTED_ROUNDS", 60)).unwrap() {
        // For a while one after another, then one alone for some time.
        let turn = usize::try_from(if round % 40 < 20 { round % 3 } else { round / 40 % 3 });
        let store = &stores[turn.unwrap()];
        let batch = dice.batch();
        let answers = send(&truth, &batch, round).await;
        assert_eq!(send(store, &batch, round).await, answers, "round {round}");
        tails += i64::from(tail(&path).await > 0);
        for store in &stores {
            assert_same(store, &truth).await;
        }
        stores[0].verify(&[]).await.unwrap();
    }
    assert!(tails > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_are_written_when_it_is_time() {
    let mut dice = Dice::new(3);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fog.db");
    let store = open(&path, 1_000, 64 << 20).await;
    open_accounts(&store).await;
    let mut direct = |length: usize| -> Vec<Transfer> {
        let one = |_| {
            let one = Amount::from_base_units(1);
            Transfer::direct(dice.id(), &name(0), &name(1), one, Purpose::Transfer)
        };
        (0..length).map(one).collect()
    };
    // Behind for as long as the tail is not too long.
    for expected in [400, 800, 0, 400] {
        send(&store, &direct(400), 1).await;
        assert_eq!(tail(&path).await, expected);
    }
    // Whoever reads has it written, but does not wait for that.
    let read = store.account(&name(0)).await.unwrap().unwrap();
    assert_eq!(read.debits_posted, Amount::from_base_units(1_600));
    soon(async {
        while tail(&path).await > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(store.account(&name(0)).await.unwrap(), Some(read));
    // A short one is left to who comes next, and to the end.
    send(&store, &direct(10), 2).await;
    store.account(&name(0)).await.unwrap().unwrap();
    store.trial_balance().await.unwrap();
    send(&store, &direct(10), 3).await;
    assert_eq!(tail(&path).await, 20);
    store.verify(&[]).await.unwrap();
    store.close().await;
    assert_eq!(tail(&path).await, 0);
    // A store that only reads finds one that somebody left behind.
    let left = folder.path().join("left.db");
    let store = open(&path, 1_000, 0).await;
    send(&store, &direct(500), 4).await;
    store.backup(&left).await.unwrap();
    assert_eq!(tail(&left).await, 500);
    let heir = open(&left, 1_000, 0).await;
    let read = heir.account(&name(1)).await.unwrap();
    assert_eq!(read, store.account(&name(1)).await.unwrap());
    soon(async {
        while tail(&left).await > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(heir.account(&name(1)).await.unwrap(), read);
    heir.verify(&[]).await.unwrap();
}
