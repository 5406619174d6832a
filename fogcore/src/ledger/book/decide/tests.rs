//! Every reason for which a transfer or an account is refused, one by one.
#![expect(clippy::needless_pass_by_value, reason = "transfers are made where they are sent")]

use uuid::Uuid;

use super::*;
use crate::amount::Asset;
use crate::error::Error;
use crate::ledger::{Account, Field, Posted, Purpose, ResultCode as C};

fn name(name: &str) -> AccountId {
    name.parse().unwrap()
}

fn named(name: &str) -> TransferId {
    TransferId::derive(name.as_bytes(), "decide")
}

fn units(units: u128) -> Amount {
    Amount::from_base_units(units)
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000).unwrap()
}

/// `mint` gives, `alice` has 100 and cannot owe, `bob` is owed 100 and cannot get more.
fn book() -> Book {
    let mut book = Book::default();
    let open = |account: Account| book.open(account, at(0)).map(|_| ()).unwrap();
    let fog = |n: &str| Account::new(name(n), Asset::FOG);
    [
        fog("mint"),
        fog("free"),
        fog("alice").limited_to_credits(),
        fog("bob").limited_to_debits(),
        Account { closed: true, ..fog("shut") },
        Account::new(name("dollars"), Asset::USD),
    ]
    .into_iter()
    .for_each(open);
    put(&mut book, direct("first", "mint", "alice", 100));
    put(&mut book, direct("second", "bob", "free", 100));
    book
}

fn direct(id: &str, debit: &str, credit: &str, amount: u128) -> Transfer {
    let (debit, credit) = (name(debit), name(credit));
    Transfer::direct(named(id), &debit, &credit, units(amount), Purpose::Transfer)
}

fn hold(id: &str, debit: &str, credit: &str, amount: u128) -> Transfer {
    let (debit, credit) = (name(debit), name(credit));
    Transfer::hold(named(id), &debit, &credit, units(amount), Purpose::Transfer)
}

fn post(id: &str, hold: &str, amount: Amount) -> Transfer {
    Transfer::post(named(id), named(hold), amount, Purpose::Transfer)
}

fn void(id: &str, hold: &str) -> Transfer {
    Transfer::void(named(id), named(hold), Purpose::Transfer)
}

fn put(book: &mut Book, transfer: Transfer) -> Posted {
    put_at(book, transfer, 0)
}

#[track_caller]
fn put_at(book: &mut Book, transfer: Transfer, seconds: i64) -> Posted {
    book.apply(&transfer, at(seconds)).unwrap().clone()
}

#[track_caller]
fn refused(book: &mut Book, transfer: Transfer, code: C) -> LedgerError {
    refused_at(book, transfer, 0, code)
}

/// Refuses with this code, and changes nothing.
#[track_caller]
fn refused_at(book: &mut Book, transfer: Transfer, seconds: i64, code: C) -> LedgerError {
    book.take_changes();
    let error = book.apply(&transfer, at(seconds)).unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    assert_eq!(book.take_changes(), super::super::BookChanges::default());
    assert_eq!(Error::from(error.clone()).kind(), code.kind().unwrap());
    error
}

#[test]
fn a_refusal_reads_as_help() {
    let mut book = book();
    let half = Asset::FOG.parse("0.5").unwrap().base_units();
    let error = refused(&mut book, hold("h", "alice", "free", half), C::ExceedsCredits);
    assert_eq!(
        error.to_string(),
        "0.5 FOG exceeds the 0.0000000000000001 FOG available to \"alice\""
    );
    let error =
        Error::from(refused(&mut book, direct("d", "mint", "free", 0), C::AmountMustNotBeZero));
    assert_eq!(error.to_string(), "amount: the amount must be more than zero");
}

#[test]
fn an_id_must_be_one() {
    let mut book = book();
    for (id, own, hold) in [
        (Uuid::nil(), C::IdMustNotBeZero, C::PendingIdMustNotBeZero),
        (Uuid::max(), C::IdMustNotBeIntMax, C::PendingIdMustNotBeIntMax),
    ] {
        let id = TransferId::from_uuid(id);
        refused(&mut book, Transfer { id, ..direct("a", "mint", "free", 1) }, own);
        refused(&mut book, Transfer::void(named("v"), id, Purpose::Transfer), hold);
    }
    refused(&mut book, void("v", "v"), C::PendingIdMustBeDifferent);
}

#[test]
fn an_id_that_exists_says_what_differs() {
    let mut book = book();
    let first = hold("h", "mint", "free", 10).expiring_after(9);
    let posted = put(&mut book, first.clone());
    assert_eq!(put_at(&mut book, first.clone(), 5), posted, "it is returned as it is");
    put(&mut book, hold("h2", "mint", "free", 10));
    for (other, code) in [
        (direct("h", "mint", "free", 10), C::ExistsWithDifferentFlags),
        (first.clone().closing_debit(), C::ExistsWithDifferentFlags),
        (first.clone().expiring_after(8), C::ExistsWithDifferentTimeout),
        (hold("h", "alice", "bob", 10).expiring_after(9), C::ExistsWithDifferentDebitAccountId),
        (hold("h", "mint", "bob", 10).expiring_after(9), C::ExistsWithDifferentCreditAccountId),
        (hold("h", "mint", "free", 9).expiring_after(9), C::ExistsWithDifferentAmount),
        (first.clone().about(Uuid::from_u128(1)), C::ExistsWithDifferentUserData128),
        (Transfer { user_data_64: 1, ..first.clone() }, C::ExistsWithDifferentUserData64),
        (Transfer { user_data_32: 1, ..first.clone() }, C::ExistsWithDifferentUserData32),
        (Transfer { purpose: Purpose::Mint, ..first.clone() }, C::ExistsWithDifferentCode),
    ] {
        refused(&mut book, other, code);
    }
    put(&mut book, post("p", "h", units(7)));
    refused(&mut book, post("p", "h2", units(7)), C::ExistsWithDifferentPendingId);
    refused(&mut book, post("p", "h", Amount::MAX), C::ExistsWithDifferentAmount);
    put(&mut book, post("p", "h", units(7)));
}

#[test]
fn an_account_that_exists_says_what_differs() {
    let mut book = book();
    let alice = Account::new(name("alice"), Asset::FOG).limited_to_credits();
    let open = |book: &mut Book, account: Account| {
        book.open(account, at(9)).map(|account| account.opened_at).map_err(|error| error.code())
    };
    assert_eq!(open(&mut book, alice.clone()), Ok(at(0)));
    for (other, code) in [
        (
            Account { debits_must_not_exceed_credits: false, ..alice.clone() },
            C::ExistsWithDifferentFlags,
        ),
        (alice.clone().with_history(), C::ExistsWithDifferentFlags),
        (Account { closed: true, ..alice.clone() }, C::ExistsWithDifferentFlags),
        (alice.clone().about(Uuid::from_u128(1)), C::ExistsWithDifferentUserData128),
        (Account { user_data_64: 1, ..alice.clone() }, C::ExistsWithDifferentUserData64),
        (Account { user_data_32: 1, ..alice.clone() }, C::ExistsWithDifferentUserData32),
        (Account { asset: Asset::USD, ..alice.clone() }, C::ExistsWithDifferentAsset),
    ] {
        assert_eq!(open(&mut book, other), Err(code));
    }
    let both = Account::new(name("both"), Asset::FOG).limited_to_credits().limited_to_debits();
    assert_eq!(open(&mut book, both), Err(C::FlagsAreMutuallyExclusive));
    // Closed since: whoever opens it again has not asked for that.
    put(&mut book, hold("close", "alice", "free", 0).closing_debit());
    assert_eq!(open(&mut book, alice.clone()), Ok(at(0)));
    assert_eq!(
        book.open(Account { asset: Asset::USD, ..alice }, at(0)).unwrap_err(),
        LedgerError::AccountExistsWithDifferent { account: name("alice"), field: Field::Asset }
    );
}

#[test]
fn flags_and_timeouts_belong_where_they_mean_something() {
    let mut book = book();
    put(&mut book, hold("h", "mint", "free", 10));
    let post = || post("p", "h", units(1));
    for wrong in [
        post().balancing_debit(),
        post().balancing_credit(),
        void("v", "h").closing_debit(),
        void("v", "h").closing_credit(),
    ] {
        refused(&mut book, wrong, C::FlagsAreMutuallyExclusive);
    }
    let timeout = C::TimeoutReservedForPendingTransfer;
    refused(&mut book, post().expiring_after(1), timeout);
    refused(&mut book, direct("d", "mint", "free", 1).expiring_after(1), timeout);
    let closing = C::ClosingTransferMustBePending;
    refused(&mut book, direct("d", "mint", "free", 1).closing_debit(), closing);
    refused(&mut book, direct("d", "mint", "free", 1).closing_credit(), closing);
    refused(&mut book, direct("d", "mint", "free", 1).linked(), C::LinkedEventChainOpen);
}

#[test]
fn accounts_must_be_two_that_exist_and_count_the_same() {
    let mut book = book();
    refused(&mut book, direct("d", "mint", "mint", 1), C::AccountsMustBeDifferent);
    refused(&mut book, direct("d", "none", "free", 1), C::DebitAccountNotFound);
    refused(&mut book, direct("d", "mint", "none", 1), C::CreditAccountNotFound);
    refused(&mut book, direct("d", "mint", "dollars", 1), C::AccountsMustHaveTheSameAsset);
    refused(&mut book, direct("d", "shut", "free", 1), C::DebitAccountAlreadyClosed);
    refused(&mut book, direct("d", "mint", "shut", 1), C::CreditAccountAlreadyClosed);
    for zero in [direct("d", "mint", "free", 0), hold("h", "mint", "free", 0).balancing_debit()] {
        refused(&mut book, zero, C::AmountMustNotBeZero);
    }
}

#[test]
fn limits_hold_with_what_is_pending() {
    let mut book = book();
    put(&mut book, hold("h", "alice", "free", 60));
    refused(&mut book, direct("d", "alice", "free", 41), C::ExceedsCredits);
    put(&mut book, direct("d", "alice", "free", 40));
    put(&mut book, hold("h2", "mint", "bob", 60));
    refused(&mut book, direct("d2", "mint", "bob", 41), C::ExceedsDebits);
    put(&mut book, direct("d2", "mint", "bob", 40));
}

#[test]
fn a_hold_ends_once_and_for_no_more_than_it_reserves() {
    let mut book = book();
    for id in ["a", "b", "c"] {
        put(&mut book, hold(id, "alice", "free", 10));
    }
    refused(&mut book, void("v", "none"), C::PendingTransferNotFound);
    refused(&mut book, void("v", "first"), C::PendingTransferNotPending);
    refused(&mut book, post("p", "a", units(11)), C::ExceedsPendingTransferAmount);
    put(&mut book, post("p", "a", units(4)));
    refused(&mut book, post("p2", "a", units(1)), C::PendingTransferAlreadyPosted);
    put(&mut book, void("v", "b"));
    refused(&mut book, void("v2", "b"), C::PendingTransferAlreadyVoided);
    // The most is the whole, without the client having to know how much that is.
    let whole = put(&mut book, post("p3", "c", Amount::MAX));
    assert_eq!(whole.transfer.amount(), Some(units(10)));
    assert_eq!(put(&mut book, post("p3", "c", Amount::MAX)), whole);
    assert_eq!(put(&mut book, post("p3", "c", units(10))), whole);
    assert_eq!(book.account(&name("alice")).unwrap().available(), units(86));
}

#[test]
fn a_hold_is_over_when_its_time_is_over() {
    let mut book = book();
    let shop = |id: &str, seconds| hold(id, "alice", "free", 10).expiring_after(seconds);
    for (id, seconds, made) in [("late", 60, 5), ("b", 10, 3), ("a", 10, 3), ("first", 11, 0)] {
        let id = format!("hold {id}");
        let posted = put_at(&mut book, shop(&id, seconds), made);
        assert_eq!(posted.expires_at(), Some(at(made + i64::from(seconds))));
    }
    assert_eq!(book.expired(at(10), 9), []);
    put_at(&mut book, post("in time", "hold late", units(1)), 64);
    refused_at(&mut book, void("v", "hold first"), 11, C::PendingTransferExpired);
    refused_at(&mut book, post("p", "hold first", units(1)), 11, C::PendingTransferExpired);
    assert_eq!(
        book.expire(named("hold a"), at(12)).unwrap_err().code(),
        C::PendingTransferNotExpired
    );
    let mut twins = [named("hold a"), named("hold b")];
    twins.sort_unstable();
    assert_eq!(book.expired(at(99), 9), [named("hold first"), twins[0], twins[1]]);
    assert_eq!(book.expired(at(99), 1), [named("hold first")]);
    for hold in book.expired(at(99), 9) {
        let end = book.expire(hold, at(99)).unwrap().clone();
        assert_eq!((end.transfer.id, end.at), (Transfer::expiry_id(hold), at(99)));
        assert!(end.transfer.id.is_own());
        assert_eq!(book.expire(hold, at(100)), Ok(&end), "it is done once");
        assert_eq!(book.transfer(hold).unwrap().hold, Some(HoldState::Expired));
    }
    assert_eq!(book.expired(at(99), 9), []);
    refused_at(&mut book, void("v", "hold first"), 1, C::PendingTransferExpired);
    assert_eq!(book.account(&name("alice")).unwrap().debits_pending, Amount::ZERO);
    assert_eq!(book.expire(named("none"), at(0)).unwrap_err().code(), C::PendingTransferNotFound);
}

#[test]
fn a_time_beyond_all_times_is_refused() {
    let mut book = book();
    let end = at(253_402_000_000);
    let ask = hold("h", "mint", "free", 1).expiring_after(u32::MAX);
    let error = book.apply(&ask, end).unwrap_err();
    assert_eq!((error.code(), Error::from(error).field()), (C::OverflowsTimeout, Some("timeout")));
}

#[test]
fn a_clock_that_is_set_back_makes_no_transfer_older_than_what_it_needs() {
    let mut book = book();
    book.open(Account::new(name("young"), Asset::FOG), at(50)).unwrap();
    let made = put_at(&mut book, hold("h", "mint", "young", 9).expiring_after(10), 1);
    assert_eq!((made.at, made.expires_at()), (at(50), Some(at(60))));
    assert_eq!(put_at(&mut book, void("v", "h"), 2).at, at(50));
}

#[test]
fn balancing_moves_what_is_there() {
    let mut book = book();
    let most = direct("d", "alice", "free", 1_000).balancing_debit();
    let moved = put(&mut book, most.clone());
    assert_eq!(moved.transfer.amount(), Some(units(100)));
    put(&mut book, direct("d", "alice", "free", 100).balancing_debit());
    let less = direct("d", "alice", "free", 99).balancing_debit();
    refused(&mut book, less, C::ExistsWithDifferentAmount);
    let nothing = put(&mut book, direct("d2", "alice", "free", 5).balancing_debit());
    assert_eq!(nothing.transfer.amount(), Some(Amount::ZERO));
    let back = put(&mut book, hold("d3", "mint", "bob", 1_000).balancing_credit());
    assert_eq!(back.transfer.amount(), Some(units(100)));
    let both = direct("d4", "free", "bob", 9).balancing_debit().balancing_credit();
    assert_eq!(put(&mut book, both).transfer.amount(), Some(Amount::ZERO));
}

#[test]
fn closing_lasts_until_it_is_taken_back() {
    let mut book = book();
    put(&mut book, hold("before", "alice", "free", 10));
    let close = hold("close", "alice", "free", 1_000).balancing_debit();
    let close = close.closing_debit().closing_credit();
    assert_eq!(put(&mut book, close).transfer.amount(), Some(units(90)));
    let closed = |book: &Book| ["alice", "free"].map(|n| book.account(&name(n)).unwrap().closed);
    assert_eq!(closed(&book), [true, true]);
    refused(&mut book, direct("d", "mint", "alice", 1), C::CreditAccountAlreadyClosed);
    refused(&mut book, post("p", "before", units(1)), C::DebitAccountAlreadyClosed);
    refused(&mut book, post("p", "close", units(1)), C::DebitAccountAlreadyClosed);
    put(&mut book, void("v", "before"));
    assert_eq!(closed(&book), [true, true]);
    put(&mut book, void("reopen", "close"));
    assert_eq!(closed(&book), [false, false]);
    // Its time over, it opens by itself.
    put(&mut book, hold("for a while", "mint", "free", 0).closing_credit().expiring_after(5));
    assert_eq!(closed(&book), [false, true]);
    book.expire(named("for a while"), at(5)).unwrap();
    assert_eq!(closed(&book), [false, false]);
}

#[test]
fn no_counter_passes_128_bits() {
    let max = u128::MAX;
    let mut book = book();
    for n in ["x", "y", "z"] {
        book.open(Account::new(name(n), Asset::FOG), at(0)).unwrap();
    }
    put(&mut book, hold("h", "x", "y", max - 5));
    refused(&mut book, hold("a", "x", "z", 6), C::OverflowsDebitsPending);
    refused(&mut book, hold("a", "z", "y", 6), C::OverflowsCreditsPending);
    refused(&mut book, direct("a", "x", "z", 6), C::OverflowsDebits);
    refused(&mut book, direct("a", "z", "y", 6), C::OverflowsCredits);
    put(&mut book, direct("b", "x", "y", 5));
    put(&mut book, post("p", "h", Amount::MAX));
    assert_eq!(book.account(&name("x")).unwrap().debits_posted, Amount::MAX);
    let error = refused(&mut book, direct("a", "x", "z", 1), C::OverflowsDebitsPosted);
    assert_eq!(error.to_string(), "the posted debits of \"x\" would pass 2^128 − 1 base units");
    refused(&mut book, direct("a", "z", "y", 1), C::OverflowsCreditsPosted);
}

#[test]
fn a_hold_without_its_accounts_is_the_stores_fault() {
    let mut full = book();
    let posted = put(&mut full, hold("h", "mint", "free", 1));
    let mut part = Book::default();
    part.load_transfer(posted);
    let error = part.apply(&void("v", "h"), at(0)).unwrap_err();
    assert_eq!(error.code(), C::Internal);
}
