//! A long random stream of ledger operations: through a store and through a [`Book`] that holds
//! everything, with the same answers and the same books at the end.
//!
//! With `FOGCORE_LEDGER_STREAM=FILE` the stream is written there, one JSON object per line, so that
//! an oracle from outside can replay it: operations (`open_accounts`, `transfer`, `expire_holds`)
//! with their time and with the result of each item as one word, and at the end the `accounts` as
//! they are. All stores are given the same stream, unless `FOGCORE_SEED` differs.

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::random::{dice, steps};
use super::{account_id, at, transfer_id, units};
use crate::amount::{Amount, Asset};
use crate::id::TransferId;
use crate::ledger::{
    Account, AccountBalance, Book, BookChanges, Purpose, ResultCode, Transfer, TransferFilter,
    TransferFlags,
};
use crate::storage::Stores;

const NAMES: [&str; 6] = ["free", "limited", "capped", "kept", "dollars", "nobody"];

/// The book that holds everything, and what it said.
#[derive(Default)]
struct Reference {
    book: Book,
    journal: Vec<Transfer>,
    history: Vec<AccountBalance>,
    lines: Vec<String>,
}

impl Reference {
    fn note(&mut self, line: &Value) {
        let BookChanges { journal, history, .. } = self.book.take_changes();
        let posted = journal.iter().filter_map(|id| self.book.transfer(*id));
        self.journal.extend(posted.map(|posted| posted.transfer.clone()));
        self.history.extend(history);
        self.lines.push(line.to_string());
    }
}

/// A store's ledger does what the [`Book`] does, batch by batch, answer by answer: chains,
/// balancing, closing, holds with a timeout, replays, and ids that failed.
pub async fn batches_agree_with_the_book(stores: &Stores) {
    let mut dice = dice();
    let mut reference = Reference::default();
    let accounts = vec![
        Account::new(account_id("free"), Asset::FOG),
        Account::new(account_id("limited"), Asset::FOG).limited_to_credits(),
        Account::new(account_id("capped"), Asset::FOG).limited_to_debits(),
        Account::new(account_id("kept"), Asset::FOG).with_history(),
        Account::new(account_id("dollars"), Asset::USD),
    ];
    for account in &accounts {
        reference.book.open(account.clone(), at(0)).unwrap();
    }
    reference.note(&json!({
        "operation": "open_accounts", "now": at(0), "accounts": accounts,
        "results": vec!["created"; accounts.len()],
    }));
    for opened in stores.ledger.open_accounts(accounts, at(0)).await.unwrap() {
        opened.unwrap();
    }
    let (mut sent, mut seconds) = (Vec::<Vec<Transfer>>::new(), 0);
    let mut holds = Vec::new();
    for step in 0..steps() {
        seconds += dice.random_range(0..4);
        if dice.random_bool(0.1) {
            let limit = dice.random_range(1..6);
            let expected = reference.book.expire_due(at(seconds), limit);
            let ended = stores.ledger.expire_holds(at(seconds), limit).await.unwrap();
            assert_eq!(ended, expected, "step {step}");
            let ended: Vec<_> = ended.iter().map(|posted| &posted.transfer).collect();
            reference.note(&json!({
                "operation": "expire_holds", "now": at(seconds), "limit": limit,
                "results": ended,
            }));
            continue;
        }
        let batch: Vec<_> = if !sent.is_empty() && dice.random_bool(0.1) {
            sent[dice.random_range(0..sent.len())].clone()
        } else {
            let size = dice.random_range(1..12);
            let mut new = Vec::with_capacity(size);
            for _ in 0..size {
                let one = transfer(&mut dice, &holds);
                if one.purpose == Purpose::TaskHold {
                    holds.push(one.id);
                }
                new.push(one);
            }
            new
        };
        let expected = reference.book.apply_batch(&batch, at(seconds)).unwrap();
        let answers = stores.ledger.transfer(batch.clone(), at(seconds)).await.unwrap();
        assert_eq!(answers, expected, "step {step}");
        let codes: Vec<_> = answers.iter().map(ResultCode::of).collect();
        reference.note(&json!({
            "operation": "transfer", "now": at(seconds), "transfers": batch, "results": codes,
        }));
        sent.push(batch);
    }
    compare(stores, &reference).await;
    let accounts: Vec<_> = reference.book.accounts(None).collect();
    let end = json!({ "operation": "accounts", "results": accounts });
    if let Some(path) = std::env::var_os("FOGCORE_LEDGER_STREAM") {
        let lines = reference.lines.iter().map(|line| format!("{line}\n"));
        let stream: String = lines.chain([format!("{end}\n")]).collect();
        // Several stores write the same: none may find it half written.
        let folder = std::path::Path::new(&path).parent().unwrap();
        let part = folder.join(format!("stream-{:?}.part", std::thread::current().id()));
        std::fs::write(&part, stream).unwrap();
        std::fs::rename(part, path).unwrap();
    }
}

/// Mostly what can succeed, so that the books fill, and all that cannot now and then.
fn transfer(dice: &mut StdRng, holds: &[TransferId]) -> Transfer {
    let fresh = if dice.random_bool(0.95) { 1_000_000 } else { 300 };
    let this = transfer_id(&dice.random_range(0..fresh).to_string());
    let hold = match holds.len() {
        0 => this,
        // Mostly one of the latest, which may still be pending.
        all => {
            let latest = if dice.random_bool(0.8) { 10 } else { all };
            holds[dice.random_range(all.saturating_sub(latest)..all)]
        }
    };
    let known = if dice.random_bool(0.95) { 4 } else { NAMES.len() };
    let (first, second) = (dice.random_range(0..known), dice.random_range(0..known));
    let second = if first == second && dice.random_bool(0.9) { (first + 1) % 4 } else { second };
    let (debit, credit) = (account_id(NAMES[first]), account_id(NAMES[second]));
    let amount = match dice.random_range(0..40) {
        0 => Amount::MAX,
        1 => units(u128::MAX / 3),
        _ => units(dice.random_range(0..50)),
    };
    let mut transfer = match dice.random_range(0..6) {
        0 | 1 => Transfer::direct(this, &debit, &credit, amount, Purpose::Transfer),
        2 | 3 => Transfer::hold(this, &debit, &credit, amount, Purpose::TaskHold),
        4 => Transfer::post(this, hold, amount, Purpose::TaskSettle),
        _ => Transfer::void(this, hold, Purpose::TaskRelease),
    };
    let is_hold = transfer.purpose == Purpose::TaskHold;
    let ends = transfer.ends_hold().is_some();
    transfer.flags = TransferFlags {
        linked: dice.random_bool(0.15),
        balancing_debit: dice.random_bool(if ends { 0.01 } else { 0.1 }),
        balancing_credit: dice.random_bool(if ends { 0.01 } else { 0.1 }),
        closing_debit: dice.random_bool(if is_hold { 0.03 } else { 0.003 }),
        closing_credit: dice.random_bool(if is_hold { 0.03 } else { 0.003 }),
    };
    if dice.random_bool(if is_hold { 0.5 } else { 0.01 }) {
        transfer.timeout_seconds = dice.random_range(1..60);
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
    let (mut history, mut after) = (Vec::new(), None);
    loop {
        let page = stores.ledger.balances(&account_id("kept"), after, 1_000).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.place);
        history.extend(page.into_iter().map(|entry| entry.balance));
    }
    assert_eq!(history, reference.history);
    let verified = stores.ledger.verify(&[]).await.unwrap();
    assert_eq!(verified.transfers, reference.journal.len() as u64);
}
