//! Batches by example: chains, and ids that stay failed.

use super::*;
use crate::amount::{Amount, Asset};
use crate::id::{AccountId, TransferId};
use crate::ledger::{
    Account, AccountBalance, BookChanges, FailedTransfer, Purpose, ResultCode as C,
};

fn name(name: &str) -> AccountId {
    name.parse().unwrap()
}

fn named(name: &str) -> TransferId {
    TransferId::derive(name.as_bytes(), "batch")
}

fn units(units: u128) -> Amount {
    Amount::from_base_units(units)
}

fn now() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

fn pay(id: &str, from: &str, to: &str, amount: u128) -> Transfer {
    Transfer::direct(named(id), &name(from), &name(to), units(amount), Purpose::Transfer)
}

/// `alice` has 100 and cannot owe, `bob` has nothing and a history.
fn book() -> Book {
    let mut book = Book::default();
    let fog = |n: &str| Account::new(name(n), Asset::FOG);
    for account in [fog("mint"), fog("alice").limited_to_credits(), fog("bob").with_history()] {
        book.open(account, now()).unwrap();
    }
    book.apply(&pay("first", "mint", "alice", 100), now()).unwrap();
    book.take_changes();
    book
}

fn codes(book: &mut Book, batch: &[Transfer]) -> Vec<C> {
    book.apply_batch(batch, now()).unwrap().iter().map(C::of).collect()
}

#[test]
fn a_batch_is_answered_one_by_one() {
    let mut book = book();
    let batch =
        [pay("a", "alice", "bob", 60), pay("b", "alice", "bob", 60), pay("a", "alice", "bob", 60)];
    assert_eq!(codes(&mut book, &batch), [C::Created, C::ExceedsCredits, C::Exists]);
    assert_eq!(codes(&mut book, &[]), []);
    let long: Vec<_> = (0..=MAX_BATCH).map(|_| pay("c", "alice", "bob", 1)).collect();
    assert_eq!(book.apply_batch(&long, now()), Err(LedgerError::TooMuchData(8_191)));
    assert_eq!(codes(&mut book, &long[1..])[..2], [C::Created, C::Exists]);
}

#[test]
fn a_chain_fails_where_it_fails_and_leaves_nothing() {
    let mut book = book();
    let batch = [
        pay("before", "alice", "bob", 1),
        pay("a", "alice", "bob", 50).linked(),
        pay("b", "alice", "bob", 50).linked(),
        pay("c", "mint", "bob", 1),
        pay("after", "alice", "bob", 99),
    ];
    let failed = C::LinkedEventFailed;
    assert_eq!(
        codes(&mut book, &batch),
        [C::Created, failed, C::ExceedsCredits, failed, C::Created]
    );
    let changes = book.take_changes();
    assert_eq!(changes.journal, [named("before"), named("after")]);
    assert_eq!(changes.accounts, [name("alice"), name("bob")]);
    assert_eq!(
        changes.failed,
        [FailedTransfer { id: named("b"), code: C::ExceedsCredits, at: now() }]
    );
    assert_eq!(changes.history.len(), 2);
    // Its others have not failed, and may be sent anew.
    assert_eq!(codes(&mut book, &[pay("c", "mint", "bob", 1)]), [C::Created]);
}

#[test]
fn a_chain_sees_its_own_holds_and_what_they_free() {
    let mut book = book();
    let held = |id: &str| {
        Transfer::hold(named(id), &name("alice"), &name("bob"), units(100), Purpose::Transfer)
    };
    let batch = [
        held("h").linked(),
        Transfer::void(named("v"), named("h"), Purpose::Transfer).linked(),
        held("h2").expiring_after(5).linked(),
        Transfer::post(named("p"), named("h2"), units(1), Purpose::Transfer).linked(),
        pay("too much", "alice", "bob", 100),
    ];
    let failed = C::LinkedEventFailed;
    assert_eq!(codes(&mut book, &batch), [failed, failed, failed, failed, C::ExceedsCredits]);
    let changes = book.take_changes();
    assert_eq!(BookChanges { failed: Vec::new(), ..changes }, BookChanges::default());
    assert_eq!(
        book.expired(Timestamp::UNIX_EPOCH.saturating_add(std::time::Duration::from_secs(9)), 9),
        []
    );
    assert_eq!(codes(&mut book, &batch[..3])[..2], [failed, failed]);
    let mut batch = batch;
    batch[4] = pay("enough", "alice", "bob", 99);
    assert_eq!(codes(&mut book, &batch), [C::Created; 5]);
    assert_eq!(codes(&mut book, &batch), [C::Exists; 5]);
    assert_eq!(book.account(&name("alice")).unwrap().available(), Amount::ZERO);
}

#[test]
fn a_chain_that_does_not_end_fails() {
    let mut book = book();
    let (one, two) = (pay("a", "alice", "bob", 1).linked(), pay("b", "alice", "bob", 1).linked());
    let open = [C::LinkedEventFailed, C::LinkedEventChainOpen];
    assert_eq!(codes(&mut book, &[one.clone(), two.clone()]), open);
    assert_eq!(codes(&mut book, std::slice::from_ref(&one)), [C::LinkedEventChainOpen]);
    let wrong = pay("w", "alice", "none", 1).linked();
    assert_eq!(
        codes(&mut book, &[one.clone(), wrong, two.clone()]),
        [C::LinkedEventFailed, C::CreditAccountNotFound, C::LinkedEventChainOpen]
    );
    assert_eq!(book.account(&name("bob")).unwrap().credits_posted, Amount::ZERO);
}

#[test]
fn a_chain_of_which_only_a_part_is_there_fails() {
    let mut book = book();
    let (one, two) = (pay("a", "alice", "bob", 1).linked(), pay("b", "alice", "bob", 1));
    assert_eq!(codes(&mut book, &[one.clone(), two.clone()]), [C::Created; 2]);
    let other = pay("c", "alice", "bob", 1);
    let part = [C::Exists, C::LinkedEventFailed];
    assert_eq!(codes(&mut book, &[one.clone(), other]), part);
    // An id twice in one chain is the same mistake.
    let new = pay("d", "alice", "bob", 1);
    let twice = [new.clone().linked(), new.linked(), pay("e", "alice", "bob", 1)];
    let failed = C::LinkedEventFailed;
    assert_eq!(codes(&mut book, &twice), [failed, C::Exists, failed]);
    let changed = pay("b", "alice", "bob", 2);
    assert_eq!(
        codes(&mut book, &[one, changed]),
        [C::LinkedEventFailed, C::ExistsWithDifferentAmount]
    );
}

#[test]
fn an_id_that_failed_stays_failed() {
    let mut book = book();
    let (poor, lost) = (pay("poor", "alice", "bob", 101), pay("lost", "alice", "late", 1));
    let zero = pay("zero", "alice", "bob", 0);
    let batch = [poor.clone(), lost.clone(), zero];
    assert_eq!(
        codes(&mut book, &batch),
        [C::ExceedsCredits, C::CreditAccountNotFound, C::AmountMustNotBeZero]
    );
    let changes = book.take_changes();
    let failed: Vec<_> = changes.failed.iter().map(|failed| (failed.id, failed.code)).collect();
    assert_eq!(failed, [(poor.id, C::ExceedsCredits), (lost.id, C::CreditAccountNotFound)]);
    book.apply(&pay("more", "mint", "alice", 100), now()).unwrap();
    book.open(Account::new(name("late"), Asset::FOG), now()).unwrap();
    let already = C::IdAlreadyFailed;
    assert_eq!(codes(&mut book, &batch), [already, already, C::AmountMustNotBeZero]);
    assert_eq!(book.take_changes().failed, [], "it is remembered once");
    // Also by a book that was told so by its store, and whatever else is asked under the id.
    let mut told = book.clone();
    told.load_failed(named("x"), C::ExceedsCredits);
    assert_eq!(told.failed(named("x")), Some(C::ExceedsCredits));
    let error = told.apply(&pay("x", "mint", "bob", 1), now()).unwrap_err();
    assert_eq!(error, LedgerError::IdAlreadyFailed { id: named("x"), code: C::ExceedsCredits });
    // What was wrong with the transfer itself can be mended under its id.
    assert_eq!(codes(&mut book, &[pay("zero", "alice", "bob", 1)]), [C::Created]);
}

#[test]
fn a_change_of_a_domain_may_be_tried_again() {
    let mut book = book();
    let chain = [pay("a", "alice", "bob", 60), pay("b", "alice", "bob", 60)];
    assert_eq!(book.apply_chain(&chain, now()).unwrap_err().code(), C::ExceedsCredits);
    assert!(book.apply(&pay("c", "alice", "late", 1), now()).is_err());
    assert_eq!(book.take_changes(), BookChanges::default());
    book.apply(&pay("more", "mint", "alice", 20), now()).unwrap();
    book.apply_chain(&chain, now()).unwrap();
    book.apply_chain(&chain, now()).unwrap();
}

#[test]
fn only_the_ledger_ends_holds_in_the_name_of_time() {
    let mut book = book();
    let hold = Transfer::hold(named("h"), &name("mint"), &name("bob"), units(1), Purpose::Transfer);
    let end = Transfer::new(
        Transfer::expiry_id(hold.id),
        TransferKind::Expire { hold: hold.id },
        Purpose::Transfer,
    );
    assert_eq!(codes(&mut book, &[hold, end]), [C::Created, C::ReservedFlag]);
}

#[test]
fn history_has_what_an_account_had_after_each_transfer() {
    let mut book = book();
    let hold =
        Transfer::hold(named("h"), &name("alice"), &name("bob"), units(9), Purpose::Transfer);
    let void = Transfer::void(named("v"), named("h"), Purpose::Transfer);
    codes(&mut book, &[pay("a", "alice", "bob", 5), hold, void, pay("b", "mint", "alice", 1)]);
    let row = |transfer: &str, credits_pending, credits_posted| AccountBalance {
        account: name("bob"),
        transfer: named(transfer),
        at: now(),
        debits_pending: Amount::ZERO,
        debits_posted: Amount::ZERO,
        credits_pending: units(credits_pending),
        credits_posted: units(credits_posted),
    };
    assert_eq!(book.take_changes().history, [row("a", 0, 5), row("h", 9, 5), row("v", 0, 5)]);
}
