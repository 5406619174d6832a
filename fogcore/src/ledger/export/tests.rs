//! What the files say; that the tools agree is tested in `tests/export.rs`.

use super::*;
use crate::ledger::{Book, Place, Purpose, Transfer};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn sample(format: Format) -> Result<String, ExportError> {
    let (now, units) = (at("2026-01-31T10:00:00Z"), Amount::from_base_units);
    let mut book = Book::default();
    for name in ["alice", "bob", "fog:mint"] {
        book.open(Account::new(name.parse().unwrap(), Asset::USD), now).unwrap();
    }
    let [alice, bob, mint]: [AccountId; 3] =
        ["alice", "bob", "fog:mint"].map(|name| name.parse().unwrap());
    let id = |name| TransferId::derive(b"t", name);
    let all = [
        Transfer::direct(id("m"), &mint, &alice, units(1_005), Purpose::Mint),
        Transfer::hold(id("h"), &alice, &bob, units(1_000), Purpose::Transfer),
        Transfer::post(id("p"), id("h"), units(250), Purpose::Transfer),
        Transfer::hold(id("h2"), &alice, &bob, units(1), Purpose::Transfer),
        Transfer::void(id("v"), id("h2"), Purpose::Transfer),
    ];
    let mut export = Export::new(format);
    let mut text = export.open(book.accounts(None));
    for (number, transfer) in all.iter().enumerate() {
        let posted = book.apply(transfer, now).unwrap().clone();
        let place = Place::from_number(u64::try_from(number).unwrap());
        text += &export.entry(&JournalEntry { place, posted })?;
    }
    let accounts: Vec<_> = book.accounts(None).cloned().collect();
    Ok(text + &export.close(&accounts))
}

#[test]
fn hledger_is_told_what_moved_and_what_is_left() {
    let text = sample(Format::Hledger).unwrap();
    assert!(text.contains("account Equity:Fog:Nmint  ; fog:mint\n"), "{text}");
    assert!(text.contains("    Liabilities:Accounts:Nbob  -2.50 \"USD\"\n"), "{text}");
    assert!(
        text.contains("    Liabilities:Accounts:Nalice  0 \"USD\" = -7.55 \"USD\"\n"),
        "{text}"
    );
    assert_eq!(text.matches("\n2026-01-31 (").count(), 2, "holds move nothing\n{text}");
    assert_eq!(text.matches("\n; 2026-01-31T10:00:00Z hold ").count(), 2, "{text}");
}

#[test]
fn beancount_is_told_the_same() {
    let text = sample(Format::Beancount).unwrap();
    assert!(text.contains("2026-01-31 open Equity:Fog:Nmint USD\n"), "{text}");
    assert!(text.contains("  account-id: \"fog:mint\"\n"), "{text}");
    let balance = "2026-02-01 balance Liabilities:Accounts:Nalice  -7.55 ~ 0 USD\n";
    assert!(text.contains(balance), "{text}");
}

#[test]
fn an_export_that_did_not_begin_at_the_beginning_is_refused() {
    let id = |name| TransferId::derive(b"t", name);
    let post = Transfer::post(id("p"), id("h"), Amount::ZERO, Purpose::Transfer);
    let posted = Posted { transfer: post, at: Timestamp::UNIX_EPOCH, hold: None };
    let entry = JournalEntry { place: Place::START, posted };
    let refused = Export::new(Format::Hledger).entry(&entry);
    assert_eq!(refused, Err(ExportError::NoHold(id("p"))));
    let [a, b]: [AccountId; 2] = ["a", "b"].map(|name| name.parse().unwrap());
    let direct = Transfer::direct(id("d"), &a, &b, Amount::MAX, Purpose::Transfer);
    let posted = Posted { transfer: direct, at: Timestamp::UNIX_EPOCH, hold: None };
    let entry = JournalEntry { place: Place::START, posted };
    let export = Export::new(Format::Hledger);
    assert_eq!(export.unknown(&entry), [a.clone(), b]);
    assert_eq!(export.clone().entry(&entry), Err(ExportError::NotOpened(a)));
}

#[test]
fn days_stay_within_what_the_tools_can_have() {
    assert_eq!(day(at("2026-01-31T10:00:00Z")), "2026-01-31");
    assert_eq!(day(Timestamp::from_micros(-370_000_000_000_000_000).unwrap()), "0001-01-01");
}
