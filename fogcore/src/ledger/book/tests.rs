//! The book against a model so naive that it can be seen to be right: it keeps the list of what
//! was applied and adds everything up anew for every question.

use proptest::prelude::*;

use super::*;
use crate::amount::Asset;
use crate::ledger::Purpose;

const NAMES: [&str; 4] = ["free", "limited", "capped", "dollars"];

fn id(name: &str) -> AccountId {
    name.parse().unwrap()
}

fn transfer_id(number: u8) -> TransferId {
    TransferId::derive(&[number], "test")
}

fn book() -> Book {
    let mut book = Book::default();
    let capped = Account { credits_must_not_exceed_debits: true, ..new("capped") };
    for account in [
        new("free"),
        new("limited").limited_to_credits(),
        capped,
        Account::new(id("dollars"), Asset::USD),
    ] {
        book.open(account, Timestamp::UNIX_EPOCH).unwrap();
    }
    book.take_changes();
    book
}

fn new(name: &str) -> Account {
    Account::new(id(name), Asset::FOG)
}

/// All that was applied, in order.
#[derive(Default)]
struct Naive {
    applied: Vec<Transfer>,
}

impl Naive {
    fn find(&self, id: TransferId) -> Option<&Transfer> {
        self.applied.iter().find(|transfer| transfer.id == id)
    }

    fn ending(&self, hold: TransferId) -> Option<&Transfer> {
        self.applied.iter().find(|transfer| transfer.ends_hold() == Some(hold))
    }

    /// Debits pending, debits posted, credits pending, credits posted.
    fn counters(&self, account: &AccountId) -> [u128; 4] {
        let mut counters = [0; 4];
        for transfer in &self.applied {
            let (sides, posted, pending) = match &transfer.kind {
                TransferKind::Direct { amount, .. } => (transfer.accounts(), *amount, None),
                TransferKind::Hold { amount, .. } if self.ending(transfer.id).is_none() => {
                    (transfer.accounts(), Amount::ZERO, Some(*amount))
                }
                TransferKind::Post { hold, amount } => {
                    (self.find(*hold).unwrap().accounts(), *amount, None)
                }
                TransferKind::Hold { .. } | TransferKind::Void { .. } => continue,
            };
            let [debit, credit] = sides.unwrap();
            for (side, at) in [(debit, 0), (credit, 2)] {
                if side == account {
                    counters[at] += pending.unwrap_or_default().base_units();
                    counters[at + 1] += posted.base_units();
                }
            }
        }
        counters
    }

    fn accepts(&self, transfer: &Transfer) -> bool {
        if let Some(existing) = self.find(transfer.id) {
            return existing == transfer;
        }
        match &transfer.kind {
            TransferKind::Direct { debit, credit, amount }
            | TransferKind::Hold { debit, credit, amount } => {
                let amount = amount.base_units();
                let [pending, posted, _, credits] = self.counters(debit);
                let [_, debits, pending_credits, posted_credits] = self.counters(credit);
                amount > 0
                    && debit != credit
                    && (debit.as_str() == "dollars") == (credit.as_str() == "dollars")
                    && (debit.as_str() != "limited" || pending + posted + amount <= credits)
                    && (credit.as_str() != "capped"
                        || pending_credits + posted_credits + amount <= debits)
            }
            TransferKind::Post { hold, amount } => self.may_end(*hold, *amount),
            TransferKind::Void { hold } => self.may_end(*hold, Amount::ZERO),
        }
    }

    fn may_end(&self, hold: TransferId, post: Amount) -> bool {
        let reserved = self.find(hold).map(|transfer| &transfer.kind);
        matches!(reserved, Some(TransferKind::Hold { amount, .. }) if post <= *amount)
            && self.ending(hold).is_none()
    }
}

fn any_transfer() -> impl Strategy<Value = Transfer> {
    let account = || prop::sample::select(&NAMES[..]).prop_map(id);
    let kind = prop_oneof![
        (account(), account(), 0..50_u128).prop_map(|(debit, credit, amount)| {
            TransferKind::Direct { debit, credit, amount: Amount::from_base_units(amount) }
        }),
        (account(), account(), 0..50_u128).prop_map(|(debit, credit, amount)| {
            TransferKind::Hold { debit, credit, amount: Amount::from_base_units(amount) }
        }),
        (any::<u8>(), 0..50_u128).prop_map(|(hold, amount)| TransferKind::Post {
            hold: transfer_id(hold % 24),
            amount: Amount::from_base_units(amount)
        }),
        any::<u8>().prop_map(|hold| TransferKind::Void { hold: transfer_id(hold % 24) }),
    ];
    // Few ids, so that replays, conflicts and ended holds are common.
    (0..24_u8, kind).prop_map(|(number, kind)| Transfer {
        id: transfer_id(number),
        kind,
        purpose: Purpose::Transfer,
        reference: None,
    })
}

fn counters(account: &Account) -> [u128; 4] {
    [account.debits_pending, account.debits_posted, account.credits_pending, account.credits_posted]
        .map(Amount::base_units)
}

proptest! {
    #[test]
    fn counters_equal_the_naive_model_after_any_operations(
        transfers in prop::collection::vec(any_transfer(), 1..120),
    ) {
        let (mut book, mut naive) = (book(), Naive::default());
        for transfer in &transfers {
            let expected = naive.accepts(transfer);
            let answer = book.apply(transfer, Timestamp::UNIX_EPOCH);
            prop_assert_eq!(answer.is_ok(), expected, "{:?} gave {:?}", transfer, answer);
            if expected && naive.find(transfer.id).is_none() {
                naive.applied.push(transfer.clone());
            }
            for name in NAMES {
                let account = book.account(&id(name)).unwrap();
                prop_assert_eq!(counters(account), naive.counters(&id(name)), "{}", name);
            }
        }
        prop_assert!(book.trial_balance().unwrap().is_balanced());
    }

    #[test]
    fn a_chain_happens_as_a_whole_or_not_at_all(
        before in prop::collection::vec(any_transfer(), 0..40),
        chain in prop::collection::vec(any_transfer(), 1..6),
    ) {
        let mut book = book();
        for transfer in &before {
            let _ = book.apply(transfer, Timestamp::UNIX_EPOCH);
        }
        let (accounts, transfers) = (book.accounts.clone(), book.transfers.clone());
        let changes = book.changes.clone();
        let mut one_by_one = book.clone();
        let all_fit =
            chain.iter().all(|t| one_by_one.apply(t, Timestamp::UNIX_EPOCH).is_ok());
        prop_assert_eq!(book.apply_chain(&chain, Timestamp::UNIX_EPOCH).is_ok(), all_fit);
        if all_fit {
            prop_assert_eq!(book.accounts, one_by_one.accounts);
            prop_assert_eq!(book.transfers, one_by_one.transfers);
        } else {
            prop_assert_eq!(book.accounts, accounts);
            prop_assert_eq!(book.transfers, transfers);
            prop_assert_eq!(book.changes, changes);
        }
    }
}

#[test]
fn a_refusal_reads_as_help() {
    let mut book = book();
    let half = Asset::FOG.parse("0.5").unwrap();
    let ask = Transfer::hold(transfer_id(1), &id("limited"), &id("free"), half, Purpose::TaskHold);
    let error = book.apply(&ask, Timestamp::UNIX_EPOCH).unwrap_err();
    assert_eq!(error.to_string(), "0.5 FOG exceeds the 0 FOG available to \"limited\"");
}

#[test]
fn counters_refuse_to_overflow() {
    let mut book = book();
    let direct = |number, amount| {
        let (debit, credit) = (id("free"), id("limited"));
        Transfer::direct(transfer_id(number), &debit, &credit, amount, Purpose::Mint)
    };
    book.apply(&direct(1, Amount::MAX), Timestamp::UNIX_EPOCH).unwrap();
    let error = book.apply(&direct(2, Amount::from_base_units(1)), Timestamp::UNIX_EPOCH);
    assert_eq!(error.unwrap_err(), LedgerError::Overflow(id("free")));
}

#[test]
fn changes_name_what_changed_once() {
    let mut book = book();
    let one = Amount::from_base_units(1);
    for number in [1, 2] {
        let mint =
            Transfer::direct(transfer_id(number), &id("free"), &id("limited"), one, Purpose::Mint);
        book.apply(&mint, Timestamp::UNIX_EPOCH).unwrap();
        book.apply(&mint, Timestamp::UNIX_EPOCH).unwrap();
    }
    let changes = book.take_changes();
    assert_eq!(changes.accounts, [id("free"), id("limited")]);
    assert_eq!(changes.transfers.len(), 2);
    assert_eq!(book.take_changes(), BookChanges::default());
}
