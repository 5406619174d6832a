//! A long random stream of ledger operations: through stores and through a [`Book`] that holds
//! everything, with the same answers and the same counters after each step, and the same books at
//! the end. The stream follows from `FOGCORE_SEED` alone, so all stores are given the same.
//!
//! # The stream as a file
//!
//! With `FOGCORE_LEDGER_STREAM=FILE` the stream is written there, so that an oracle from outside can
//! replay it: one JSON object per line, in the order in which things happened, with all that an
//! answer depends on. `operation` says what was asked, `now` is the time handed in (RFC 3339), and
//! `results` has one word per item ([`ResultCode`]) unless said otherwise. Amounts are texts of base
//! units; fields that are zero, null or false may be left out.
//!
//! | operation | asked | answered |
//! |---|---|---|
//! | `open_accounts` | `accounts`, as [`Account`]s whose counters mean nothing | `results` |
//! | `transfer` | `transfers`, a batch of [`Transfer`]s | `results`; `amounts`: what each of those that are there moved or reserved, null for a void and for what failed |
//! | `expire_holds` | `limit` | `results`: the [`Transfer`]s that ended holds, in order |
//! | `accounts` | at the end, nothing | `results`: all [`Account`]s by id, with their counters |
//!
//! The rules are TigerBeetle's where they have the same words. What an oracle must know besides: a
//! transfer that fits several words has the first of them in the order of [`ResultCode::ALL`], but an
//! id that is there or failed before is looked at before all else that is wrong with the transfer;
//! a time never goes back (a transfer happens no earlier than its accounts were opened, and its hold
//! was made); holds end in the order of the time at which they are over, then of that at which they
//! were made, then of their ids; what ends one has the id [`Transfer::expiry_id`] and the rest of
//! its hold.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::random::{dice, steps};
use super::{account_id, at, transfer_id, units};
use crate::amount::{Amount, Asset};
use crate::error::Result;
use crate::id::TransferId;
use crate::ledger::{
    Account, AccountBalance, AccountFilter, Applied, Book, BookChanges, LedgerError, Purpose,
    ResultCode, Transfer, TransferFilter, TransferFlags,
};
use crate::storage::Stores;

const NAMES: [&str; 6] = ["free", "limited", "capped", "kept", "dollars", "late"];

fn account(name: &str) -> Account {
    let asset = if name == "dollars" { Asset::USD } else { Asset::FOG };
    let account = Account::new(account_id(name), asset);
    match name {
        "limited" => account.limited_to_credits(),
        "capped" => account.limited_to_debits(),
        "kept" => account.with_history(),
        _ => account,
    }
}

/// The file that the stream is written to, if one is asked for. It has its name only once it is
/// whole, because several stores write the same.
struct Stream {
    part: PathBuf,
    path: PathBuf,
    file: BufWriter<File>,
}

impl Stream {
    fn asked_for() -> Option<Self> {
        let path = PathBuf::from(std::env::var_os("FOGCORE_LEDGER_STREAM")?);
        let folder = path.parent().unwrap_or(Path::new(""));
        let thread = std::thread::current().id();
        let part = folder.join(format!("stream-{}-{thread:?}.part", std::process::id()));
        let file = BufWriter::new(File::create(&part).unwrap());
        Some(Self { part, path, file })
    }

    fn end(self) {
        self.file.into_inner().unwrap();
        std::fs::rename(self.part, self.path).unwrap();
    }
}

/// The book that holds everything, and what it said.
struct Reference {
    book: Book,
    journal: Vec<Transfer>,
    history: Vec<AccountBalance>,
    stream: Option<Stream>,
}

impl Reference {
    fn note(&mut self, line: impl FnOnce() -> Value) {
        let BookChanges { journal, history, .. } = self.book.take_changes();
        let posted = journal.iter().filter_map(|id| self.book.transfer(*id));
        self.journal.extend(posted.map(|posted| posted.transfer.clone()));
        self.history.extend(history);
        if let Some(stream) = &mut self.stream {
            writeln!(stream.file, "{}", line()).unwrap();
        }
    }
}

/// A store's ledger does what the [`Book`] does, batch by batch, answer by answer: chains,
/// balancing, closing, holds with a timeout, replays, and ids that failed.
pub async fn batches_agree_with_the_book(stores: &Stores) {
    stores_agree_with_the_book(&[("the store", stores)]).await;
}

/// The same stream goes through several stores at once, which have names: all answer the same, and
/// have the same counters after each step.
pub async fn stores_agree_with_the_book(stores: &[(&str, &Stores)]) {
    let mut dice = dice();
    let mut reference = Reference {
        book: Book::default(),
        journal: Vec::new(),
        history: Vec::new(),
        stream: Stream::asked_for(),
    };
    let first = NAMES.iter().filter(|name| **name != "late").map(|name| account(name));
    open(stores, &mut reference, first.collect(), 0).await;
    let (mut sent, mut seconds) = (Vec::<Vec<Transfer>>::new(), 0);
    let (mut holds, steps) = (Vec::new(), steps());
    for step in 0..steps {
        seconds += dice.random_range(0..4);
        match dice.random_range(0..100) {
            0..10 => expire(stores, &mut reference, dice.random_range(1..6), seconds).await,
            10..13 => {
                let opened = accounts_again(&mut dice, step > steps / 2);
                open(stores, &mut reference, opened, seconds).await;
            }
            chance => {
                let batch = if chance < 20 && !sent.is_empty() {
                    sent[dice.random_range(0..sent.len())].clone()
                } else {
                    new_batch(&mut dice, &holds)
                };
                send(stores, &mut reference, &batch, seconds).await;
                let made = |id: &TransferId| reference.book.transfer(*id).is_some();
                let new = batch.iter().filter(|one| one.purpose == Purpose::TaskHold);
                holds.extend(new.map(|one| one.id).filter(made));
                sent.push(batch);
            }
        }
        let accounts: Vec<_> = reference.book.accounts(None).cloned().collect();
        for (name, store) in stores {
            let found = store.ledger.accounts(&AccountFilter::default(), None, 100).await;
            assert_eq!(found.unwrap(), accounts, "{name}, step {step}");
        }
    }
    for (name, store) in stores {
        eprintln!("{name}: the books at the end");
        compare(store, &reference).await;
    }
    let Reference { book, stream, .. } = reference;
    if let Some(mut stream) = stream {
        let accounts: Vec<_> = book.accounts(None).collect();
        let end = json!({ "operation": "accounts", "results": accounts });
        writeln!(stream.file, "{end}").unwrap();
        stream.end();
    }
}

/// Accounts that are opened again, mostly as they are; and one that comes late, after transfers
/// have failed because it was not there.
fn accounts_again(dice: &mut StdRng, late: bool) -> Vec<Account> {
    let known = if late { NAMES.len() } else { NAMES.len() - 1 };
    let mut accounts = Vec::new();
    for _ in 0..dice.random_range(1..4) {
        let mut account = account(NAMES[dice.random_range(0..known)]);
        match dice.random_range(0..12) {
            0 => account.history = !account.history,
            1 => account.user_data_32 = 7,
            2 => account.asset = Asset::TON,
            3 => account.debits_must_not_exceed_credits = true,
            _ => {}
        }
        accounts.push(account);
    }
    accounts
}

async fn open(
    stores: &[(&str, &Stores)],
    reference: &mut Reference,
    accounts: Vec<Account>,
    seconds: u64,
) {
    let mut expected: Vec<Result<Account, LedgerError>> = Vec::new();
    let mut codes = Vec::new();
    for account in &accounts {
        let was_there = reference.book.account(&account.id).is_some();
        let opened = reference.book.open(account.clone(), at(seconds)).cloned();
        codes.push(match &opened {
            Ok(_) if was_there => ResultCode::Exists,
            Ok(_) => ResultCode::Created,
            Err(error) => error.code(),
        });
        expected.push(opened);
    }
    for (name, store) in stores {
        let opened = store.ledger.open_accounts(accounts.clone(), at(seconds)).await.unwrap();
        for (opened, expected) in opened.iter().zip(&expected) {
            let opened = opened.as_ref().map_err(|error| error.downcast_ref().unwrap());
            assert_eq!(opened, expected.as_ref(), "{name}, second {seconds}");
        }
    }
    reference.note(|| {
        json!({
            "operation": "open_accounts", "now": at(seconds), "accounts": accounts,
            "results": codes,
        })
    });
}

async fn expire(stores: &[(&str, &Stores)], reference: &mut Reference, limit: usize, seconds: u64) {
    let expected = reference.book.expire_due(at(seconds), limit);
    for (name, store) in stores {
        let ended = store.ledger.expire_holds(at(seconds), limit).await.unwrap();
        assert_eq!(ended, expected, "{name}, second {seconds}");
    }
    reference.note(|| {
        let ended: Vec<_> = expected.iter().map(|posted| &posted.transfer).collect();
        json!({
            "operation": "expire_holds", "now": at(seconds), "limit": limit, "results": ended,
        })
    });
}

async fn send(
    stores: &[(&str, &Stores)],
    reference: &mut Reference,
    batch: &[Transfer],
    seconds: u64,
) {
    let expected = reference.book.apply_batch(batch, at(seconds)).unwrap();
    for (name, store) in stores {
        let answers = store.ledger.transfer(batch.to_vec(), at(seconds)).await.unwrap();
        assert_eq!(answers, expected, "{name}, second {seconds}");
    }
    reference.note(|| {
        let codes: Vec<_> = expected.iter().map(ResultCode::of).collect();
        let moved = |applied: &Applied| applied.posted.transfer.amount();
        let amounts: Vec<_> =
            expected.iter().map(|answer| answer.as_ref().ok().and_then(moved)).collect();
        json!({
            "operation": "transfer", "now": at(seconds), "transfers": batch,
            "results": codes, "amounts": amounts,
        })
    });
}

/// `holds` are those that were made, of which some may still be pending.
fn new_batch(dice: &mut StdRng, holds: &[TransferId]) -> Vec<Transfer> {
    let mut recent = holds[holds.len().saturating_sub(20)..].to_vec();
    let mut new = Vec::new();
    for _ in 0..dice.random_range(1..12) {
        let one = transfer(dice, holds, &recent);
        if one.purpose == Purpose::TaskHold {
            recent.push(one.id);
        }
        new.push(one);
    }
    new
}

/// Mostly what can succeed, so that the books fill and stay in motion, and all that cannot now and
/// then.
fn transfer(dice: &mut StdRng, holds: &[TransferId], recent: &[TransferId]) -> Transfer {
    let fresh = if dice.random_bool(0.97) { u64::MAX } else { 300 };
    let this = transfer_id(&dice.random_range(0..fresh).to_string());
    // Mostly one of the latest, which may still be pending.
    let known = if dice.random_bool(0.9) { recent } else { holds };
    let hold = match known.len() {
        count if count > 0 && dice.random_bool(0.97) => known[dice.random_range(0..count)],
        _ => transfer_id(&dice.random_range(0..1_000).to_string()),
    };
    let known = if dice.random_bool(0.97) { 4 } else { NAMES.len() };
    let (first, second) = (dice.random_range(0..known), dice.random_range(0..known));
    let second = if first == second && dice.random_bool(0.95) { (first + 1) % 4 } else { second };
    let (debit, credit) = (account_id(NAMES[first]), account_id(NAMES[second]));
    let amount = match dice.random_range(0..500) {
        0 => Amount::MAX,
        1 => units(u128::MAX / 3),
        2..10 => Amount::ZERO,
        _ => units(dice.random_range(1..50)),
    };
    let mut transfer = match dice.random_range(0..6) {
        0 | 1 => Transfer::direct(this, &debit, &credit, amount, Purpose::Transfer),
        2 | 3 => Transfer::hold(this, &debit, &credit, amount, Purpose::TaskHold),
        4 => {
            let amount = if dice.random_bool(0.3) { Amount::MAX } else { amount };
            Transfer::post(this, hold, amount, Purpose::TaskSettle)
        }
        _ => Transfer::void(this, hold, Purpose::TaskRelease),
    };
    let is_hold = transfer.purpose == Purpose::TaskHold;
    let ends = transfer.ends_hold().is_some();
    transfer.flags = TransferFlags {
        linked: dice.random_bool(0.1),
        balancing_debit: dice.random_bool(if ends { 0.005 } else { 0.15 }),
        balancing_credit: dice.random_bool(if ends { 0.005 } else { 0.1 }),
        closing_debit: dice.random_bool(if is_hold { 0.007 } else { 0.002 }),
        closing_credit: dice.random_bool(if is_hold { 0.007 } else { 0.002 }),
    };
    // What closes an account opens it again soon, or nothing would happen any more.
    let often = if transfer.flags.is_closing() { 0.97 } else { 0.5 };
    if dice.random_bool(if is_hold { often } else { 0.01 }) {
        transfer.timeout_seconds = dice.random_range(1..20);
    }
    if dice.random_bool(0.3) {
        transfer.reference = Some(uuid::Uuid::from_u128(dice.random_range(1..20)));
        transfer.user_data_64 = dice.random_range(0..3);
        transfer.user_data_32 = dice.random_range(0..3);
    }
    transfer
}

/// The books are the same, and prove it.
async fn compare(stores: &Stores, reference: &Reference) {
    let book = &reference.book;
    for account in book.accounts(None) {
        assert_eq!(stores.ledger.account(&account.id).await.unwrap().as_ref(), Some(account));
    }
    assert_eq!(stores.ledger.trial_balance().await.unwrap(), book.trial_balance());
    let (mut journal, mut after) = (Vec::new(), None);
    loop {
        let all = TransferFilter::default();
        let page = stores.ledger.transfers(&all, after, 1_000).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.place);
        journal.extend(page);
    }
    for entry in &journal {
        assert_eq!(book.transfer(entry.posted.transfer.id), Some(&entry.posted));
    }
    let journal: Vec<_> = journal.into_iter().map(|entry| entry.posted.transfer).collect();
    assert_eq!(journal, reference.journal);
    for account in book.accounts(None) {
        let expected = reference.history.iter().filter(|balance| balance.account == account.id);
        let (mut history, mut after) = (Vec::new(), None);
        loop {
            let page = stores.ledger.balances(&account.id, after, 1_000).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.place);
            history.extend(page.into_iter().map(|entry| entry.balance));
        }
        assert!(history.iter().eq(expected), "the history of {}", account.id);
    }
    let verified = stores.ledger.verify(&[]).await.unwrap();
    assert_eq!(verified.transfers, reference.journal.len() as u64);
}
