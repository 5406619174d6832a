//! The supply under random operations, and journals that prove none.

use proptest::prelude::*;

use super::*;
use crate::ledger::{Book, LedgerError};
use crate::time::Timestamp;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;
const NAMES: [&str; 4] = ["alice", "bob", "carol", "owes"];

fn name(text: &str) -> AccountId {
    text.parse().unwrap()
}

fn id(number: u32) -> TransferId {
    TransferId::derive(&number.to_le_bytes(), "supply tests")
}

fn units(units: u128) -> Amount {
    Amount::from_base_units(units)
}

/// A policy whose numbers are small.
fn policy() -> EconomyPolicy {
    EconomyPolicy { maximum_supply: units(1_000), ..EconomyPolicy::default() }
}

fn book() -> Book {
    let mut book = Book::default();
    for account in accounts::founding(&Asset::FOG) {
        book.open(account, NOW).unwrap();
    }
    for holder in NAMES {
        let account = Account::new(name(holder), Asset::FOG);
        let limited = account.clone().limited_to_credits();
        book.open(if holder == "owes" { account } else { limited }, NOW).unwrap();
    }
    book.open(Account::new(name("dollars"), Asset::USD), NOW).unwrap();
    book.open(Account::new(name("more"), Asset::USD), NOW).unwrap();
    book.apply(&authorize(&policy(), &Asset::FOG), NOW).unwrap();
    book
}

/// Reads the book's journal from its beginning.
fn audit(book: &mut Book) -> Result<SupplyProof, SupplyError> {
    let journal = book.clone().take_changes().journal;
    let mut audit = SupplyAudit::default();
    for id in journal {
        audit.read(book.transfer(id).unwrap())?;
    }
    audit.finish(&Asset::FOG, book.accounts(None))
}

fn told(book: &Book) -> Supply {
    let account = |name| book.account(&accounts::own(name)).unwrap();
    Supply::told_by(account(MINT), account(BURNED))
}

#[test]
fn the_ledger_itself_refuses_to_mint_beyond_the_maximum() {
    let mut book = book();
    book.apply(&mint(id(1), &name("alice"), units(999)), NOW).unwrap();
    let refused = book.apply(&mint(id(2), &name("alice"), units(2)), NOW).unwrap_err();
    assert!(matches!(refused, LedgerError::ExceedsCredits { .. }));
    book.apply(&mint(id(3), &name("alice"), units(1)), NOW).unwrap();
    // What is burned does not come back as something to be minted.
    book.apply(&burn(id(4), &name("alice"), units(400)).unwrap(), NOW).unwrap();
    assert!(book.apply(&mint(id(5), &name("alice"), units(1)), NOW).is_err());
    let proof = audit(&mut book).unwrap();
    assert_eq!(proof.supply, told(&book));
    assert_eq!(proof.supply.circulating(), units(600));
    assert_eq!(proof.supply.unminted(), Amount::ZERO);
    assert_eq!((proof.held, proof.owed, proof.transfers), (units(600), Amount::ZERO, 4));
}

#[test]
fn the_maximum_is_told_once() {
    let mut book = book();
    book.apply(&authorize(&policy(), &Asset::FOG), NOW).unwrap();
    let more = EconomyPolicy { maximum_supply: units(2_000), ..policy() };
    let refused = book.apply(&authorize(&more, &Asset::FOG), NOW).unwrap_err();
    assert!(matches!(refused, LedgerError::ExistsWithDifferent { .. }));
}

#[test]
fn the_initial_supply_is_minted_once() {
    let mut book = book();
    let policy = EconomyPolicy { initial_supply: units(10), ..policy() };
    for _ in 0..2 {
        book.apply(&mint_initial(&policy, &Asset::FOG, 0), NOW).unwrap();
    }
    assert_eq!(told(&book).minted, units(10));
}

#[test]
fn the_fogs_own_accounts_do_not_burn() {
    assert!(matches!(
        burn(id(1), &accounts::own(TREASURY), units(1)),
        Err(EconomyError::Reserved(_))
    ));
}

/// What nobody who goes through the fog can do, but somebody who edits its database might.
#[test]
fn a_journal_that_creates_something_proves_nothing() {
    type Spoil = fn() -> Transfer;
    type Expected = fn(&SupplyError) -> bool;
    let cases: [(Spoil, Expected); 6] = [
        (
            || Transfer::direct(id(9), &name(AUTHORIZED), &name("alice"), units(5), Purpose::Mint),
            |error| matches!(error, SupplyError::NotAuthorized(_)),
        ),
        (
            || {
                Transfer::direct(
                    id(9),
                    &name(AUTHORIZED),
                    &name(MINT),
                    units(5),
                    Purpose::Authorize,
                )
            },
            |error| matches!(error, SupplyError::NotAuthorized(_)),
        ),
        (
            || Transfer::direct(id(9), &name("alice"), &name(MINT), units(5), Purpose::Transfer),
            |error| matches!(error, SupplyError::NotAuthorized(_)),
        ),
        (
            || Transfer::direct(id(9), &name(MINT), &name("alice"), units(5), Purpose::Reward),
            |error| matches!(error, SupplyError::NotAMint(_)),
        ),
        (
            || Transfer::hold(id(9), &name(MINT), &name("alice"), units(5), Purpose::Mint),
            |error| matches!(error, SupplyError::NotAMint(_)),
        ),
        (
            || Transfer::direct(id(9), &name(BURNED), &name("alice"), units(5), Purpose::Transfer),
            |error| matches!(error, SupplyError::NotBurned(_)),
        ),
    ];
    for (spoil, expected) in cases {
        let mut book = book();
        book.apply(&mint(id(1), &name("alice"), units(100)), NOW).unwrap();
        book.apply(&burn(id(2), &name("alice"), units(50)).unwrap(), NOW).unwrap();
        assert!(audit(&mut book).is_ok());
        book.apply(&spoil(), NOW).unwrap();
        let error = audit(&mut book).unwrap_err();
        assert!(expected(&error), "{error:?}");
    }
    // A journal with an entry missing.
    let mut book = book();
    book.apply(&mint(id(1), &name("alice"), units(100)), NOW).unwrap();
    let hold = Transfer::hold(id(2), &name("alice"), &name("bob"), units(5), Purpose::Transfer);
    book.apply(&hold, NOW).unwrap();
    book.apply(&Transfer::post(id(3), id(2), units(5), Purpose::Transfer), NOW).unwrap();
    let mut audit = SupplyAudit::default();
    audit.read(book.transfer(authorize(&policy(), &Asset::FOG).id).unwrap()).unwrap();
    let post = book.transfer(id(3)).unwrap();
    assert_eq!(audit.clone().read(post), Err(SupplyError::NoHold(id(3))));
    audit.read(book.transfer(id(1)).unwrap()).unwrap();
    let nobody = audit.finish(&Asset::FOG, []);
    assert!(matches!(nobody, Err(SupplyError::NoAccount(_))), "{nobody:?}");
}

proptest! {
    /// Whatever is tried, what is held is what was minted less what was burned.
    #[test]
    fn supply_is_conserved_under_random_operations(
        operations in prop::collection::vec((0..7_u8, 0..4_usize, 0..4_usize, 1..400_u128), 1..60),
    ) {
        let mut book = book();
        let (mut minted, mut burned) = (0_u128, 0_u128);
        for (number, (what, from, to, amount)) in operations.into_iter().enumerate() {
            let number = u32::try_from(number).unwrap();
            let (from, to, amount) = (name(NAMES[from]), name(NAMES[to]), units(amount));
            let this = id(number);
            let transfer = match what {
                0 => mint(this, &to, amount),
                1 => burn(this, &from, amount).unwrap(),
                2 => Transfer::hold(this, &from, &to, amount, Purpose::Transfer),
                3 => Transfer::post(this, id(number / 2), amount, Purpose::Transfer),
                4 => Transfer::void(this, id(number / 2), Purpose::Transfer),
                5 => Transfer::direct(this, &name("dollars"), &name("more"), amount, Purpose::Transfer),
                _ => Transfer::direct(this, &from, &to, amount, Purpose::Transfer),
            };
            if book.apply(&transfer, NOW).is_ok() {
                match what {
                    0 => minted += amount.base_units(),
                    1 => burned += amount.base_units(),
                    _ => {}
                }
            }
            let supply = told(&book);
            prop_assert_eq!(supply.minted, units(minted));
            prop_assert_eq!(supply.burned, units(burned));
            prop_assert!(supply.minted <= supply.maximum);
        }
        let proof = audit(&mut book).unwrap();
        prop_assert_eq!(proof.supply, told(&book));
        let (held, owed) = (proof.held.base_units(), proof.owed.base_units());
        prop_assert_eq!(held + burned, minted + owed);
        prop_assert!(book.trial_balance().is_balanced());
    }
}
