//! Stakes by example, and against a model that remembers every unstaking.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::ledger::economy::accounts::BURNED;
use crate::ledger::{Book, LedgerError};
use crate::time::Timestamp;

const FOG: Asset = Asset::FOG;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000).unwrap()
}

fn units(units: u128) -> Amount {
    Amount::from_base_units(units)
}

fn id(number: usize) -> TransferId {
    TransferId::derive(&number.to_le_bytes(), "staking tests")
}

fn alice() -> AccountId {
    "alice".parse().unwrap()
}

/// At least 100, validators from 1,000, ten seconds of unbonding.
fn policy() -> EconomyPolicy {
    EconomyPolicy {
        min_stake: units(100),
        validator_stake: units(1_000),
        unbonding: Duration::from_secs(10),
        ..EconomyPolicy::default()
    }
}

/// A book, and the history that a store would keep of it.
struct Ledger {
    book: Book,
    history: Vec<AccountBalance>,
}

impl Ledger {
    fn new() -> Self {
        let mut book = Book::default();
        let mint: AccountId = "mint".parse().unwrap();
        book.open(Account::new(mint.clone(), FOG), at(0)).unwrap();
        book.open(Account::new(accounts::own(BURNED), FOG), at(0)).unwrap();
        book.open(Account::new(alice(), FOG).limited_to_credits(), at(0)).unwrap();
        for account in Stake::accounts(&alice(), &FOG).unwrap() {
            book.open(account, at(0)).unwrap();
        }
        let funds = Transfer::direct(id(0), &mint, &alice(), units(10_000), Purpose::Mint);
        book.apply(&funds, at(0)).unwrap();
        Self { book, history: Vec::new() }
    }

    fn stake(&self, now: i64) -> Stake {
        let (stake, unbonding) =
            (accounts::stake(&alice()).unwrap(), accounts::unbonding(&alice()).unwrap());
        let ago = at(now).saturating_sub(policy().unbonding);
        let matured =
            self.history.iter().rfind(|entry| entry.account == unbonding && entry.at <= ago);
        let account = |id| self.book.account(id);
        Stake::told_by(&alice(), account(&stake), account(&unbonding), matured)
    }

    fn apply(&mut self, chain: &[Transfer], now: i64) -> Result<(), LedgerError> {
        let answers = self.book.apply_batch(chain, at(now))?;
        self.history.extend(self.book.take_changes().history);
        answers.into_iter().try_for_each(|answer| answer.map(|_| ()))
    }

    fn funds(&self) -> Amount {
        self.book.account(&alice()).unwrap().available()
    }
}

#[test]
fn a_stake_is_bound_unbonded_and_withdrawn() {
    let (policy, mut ledger) = (policy(), Ledger::new());
    let low = ledger.stake(0).stake(&policy, &FOG, id(1), units(99));
    assert!(matches!(low, Err(EconomyError::BelowMinStake { .. })));
    let stake = ledger.stake(0).stake(&policy, &FOG, id(2), units(1_000)).unwrap();
    ledger.apply(&stake, 0).unwrap();
    ledger.apply(&stake, 0).unwrap();
    assert!(ledger.stake(0).is_validator(&policy));
    let more = ledger.stake(0).stake(&policy, &FOG, id(3), units(1)).unwrap();
    assert_eq!(more.len(), 3, "it is checked that there is a stake to add to");
    ledger.apply(&more, 0).unwrap();

    let some = ledger.stake(1).unstake(&policy, &FOG, id(4), units(301)).unwrap();
    ledger.apply(&some, 1).unwrap();
    assert!(!ledger.stake(1).is_validator(&policy));
    assert!(ledger.stake(1).unstake(&policy, &FOG, id(5), units(650)).is_err());
    assert!(ledger.stake(1).unstake(&policy, &FOG, id(5), units(701)).is_err());
    let rest = ledger.stake(5).unstake(&policy, &FOG, id(6), units(700)).unwrap();
    ledger.apply(&rest, 5).unwrap();
    assert_eq!(ledger.stake(10).withdrawable, Amount::ZERO);
    assert!(matches!(ledger.stake(10).withdraw(id(7), 0), Err(EconomyError::NothingThere(_))));
    assert_eq!(ledger.stake(11).withdrawable, units(301));
    ledger.apply(&ledger.stake(11).withdraw(id(8), 0).unwrap(), 11).unwrap();
    assert_eq!(ledger.stake(14).withdrawable, Amount::ZERO);
    ledger.apply(&ledger.stake(15).withdraw(id(9), 0).unwrap(), 15).unwrap();
    assert_eq!(ledger.funds(), units(10_000));
}

#[test]
fn a_penalty_reaches_what_is_unbonding_and_never_takes_more_than_there_is() {
    let (policy, mut ledger) = (policy(), Ledger::new());
    ledger.apply(&ledger.stake(0).stake(&policy, &FOG, id(1), units(500)).unwrap(), 0).unwrap();
    ledger.apply(&ledger.stake(0).unstake(&policy, &FOG, id(2), units(200)).unwrap(), 0).unwrap();
    let slash = ledger.stake(1).slash(&policy, id(3), units(350), 0).unwrap();
    ledger.apply(&slash, 1).unwrap();
    let stake = ledger.stake(1);
    assert_eq!((stake.staked, stake.unbonding), (Amount::ZERO, units(150)));
    let slash = ledger.stake(1).slash(&policy, id(4), Amount::MAX, 0).unwrap();
    ledger.apply(&slash, 1).unwrap();
    let nothing = ledger.stake(1).slash(&policy, id(5), units(1), 0);
    assert!(matches!(nothing, Err(EconomyError::NothingThere(_))));
    assert_eq!(ledger.book.account(&accounts::own(BURNED)).unwrap().credits_posted, units(500));
}

#[test]
fn a_decision_from_an_old_state_is_refused_by_the_ledger() {
    let (policy, mut ledger) = (policy(), Ledger::new());
    ledger.apply(&ledger.stake(0).stake(&policy, &FOG, id(1), units(500)).unwrap(), 0).unwrap();
    let old = ledger.stake(0);
    ledger.apply(&old.unstake(&policy, &FOG, id(2), units(300)).unwrap(), 0).unwrap();
    // Together these would leave 50, less than the least stake.
    let late = old.unstake(&policy, &FOG, id(3), units(150)).unwrap();
    assert!(ledger.apply(&late, 0).is_err());
    assert_eq!(ledger.stake(0).staked, units(200));

    // Half of what is unbonding is due; a penalty takes it before it is withdrawn.
    ledger.apply(&ledger.stake(5).unstake(&policy, &FOG, id(4), units(100)).unwrap(), 5).unwrap();
    let old = ledger.stake(12);
    assert_eq!(old.withdrawable, units(300));
    let slash = ledger.stake(12).slash(&policy, id(5), units(350), 0).unwrap();
    ledger.apply(&slash, 12).unwrap();
    assert!(ledger.apply(&old.withdraw(id(6), 0).unwrap(), 12).is_err());
    let (now, later) = (ledger.stake(12), ledger.stake(15));
    assert_eq!((now.withdrawable, later.withdrawable), (units(50), units(150)));
    ledger.apply(&now.withdraw(id(6), 1).unwrap(), 12).unwrap();
    assert_eq!(ledger.stake(15).withdrawable, units(100));
}

#[test]
fn what_is_due_is_withdrawn_once_however_much_is_unstaked_meanwhile() {
    let (policy, mut ledger) = (policy(), Ledger::new());
    ledger.apply(&ledger.stake(0).stake(&policy, &FOG, id(1), units(1_000)).unwrap(), 0).unwrap();
    ledger.apply(&ledger.stake(1).unstake(&policy, &FOG, id(2), units(300)).unwrap(), 1).unwrap();
    ledger.apply(&ledger.stake(11).unstake(&policy, &FOG, id(3), units(200)).unwrap(), 11).unwrap();
    // Two withdrawals from one look; what is unstaked between them is not due.
    let seen = ledger.stake(12);
    assert_eq!((seen.withdrawable, seen.unbonding), (units(300), units(500)));
    ledger.apply(&seen.withdraw(id(4), 0).unwrap(), 12).unwrap();
    ledger.apply(&ledger.stake(12).unstake(&policy, &FOG, id(5), units(300)).unwrap(), 12).unwrap();
    let twice = ledger.apply(&seen.withdraw(id(6), 0).unwrap(), 12).unwrap_err();
    assert!(matches!(twice, LedgerError::Exists(_)), "{twice}");
    assert_eq!(ledger.stake(12).unbonding, units(500));
    // Its own id was not spent on that.
    ledger.apply(&ledger.stake(30).withdraw(id(6), 0).unwrap(), 30).unwrap();
    assert_eq!(ledger.stake(30).unbonding, Amount::ZERO);
}

#[test]
fn one_request_is_one_penalty_whichever_account_pays() {
    let (policy, mut ledger) = (policy(), Ledger::new());
    ledger.apply(&ledger.stake(0).stake(&policy, &FOG, id(1), units(3_000)).unwrap(), 0).unwrap();
    ledger.apply(&ledger.stake(0).unstake(&policy, &FOG, id(2), units(2_000)).unwrap(), 0).unwrap();
    // The first takes all of the stake, so the same request would then take what is unbonding.
    ledger.apply(&ledger.stake(1).slash(&policy, id(3), units(1_000), 0).unwrap(), 1).unwrap();
    let again = ledger.stake(1).slash(&policy, id(3), units(1_000), 0).unwrap();
    assert!(ledger.apply(&again, 1).is_err());
    assert_eq!(ledger.stake(1).unbonding, units(2_000));
}

/// Each unstaking by itself, the oldest first.
#[derive(Default)]
struct Model {
    staked: u128,
    unbonding: Vec<(i64, u128)>,
}

impl Model {
    fn take(&mut self, mut amount: u128, until: i64) -> u128 {
        let mut taken = 0;
        for (at, left) in &mut self.unbonding {
            if *at <= until {
                let part = (*left).min(amount);
                (*left, amount, taken) = (*left - part, amount - part, taken + part);
            }
        }
        taken
    }

    fn slash(&mut self, amount: u128) -> u128 {
        let first = self.staked.min(amount);
        self.staked -= first;
        first + self.take(amount - first, i64::MAX)
    }

    fn waiting(&self, until: i64) -> u128 {
        self.unbonding.iter().filter(|(at, _)| *at <= until).map(|(_, left)| left).sum()
    }
}

proptest! {
    #[test]
    fn stakes_are_as_if_each_unstaking_were_remembered(
        operations in prop::collection::vec((0..4_u8, 1..2_000_u128, 0..6_i64), 1..40),
    ) {
        let (policy, mut ledger, mut model) = (policy(), Ledger::new(), Model::default());
        let (mut now, mut burned) = (0, 0);
        for (number, (what, amount, later)) in operations.into_iter().enumerate() {
            now += later;
            let (this, stake) = (id(number + 1), ledger.stake(now));
            let due = now - 10;
            prop_assert_eq!(stake.staked, units(model.staked));
            prop_assert_eq!(stake.unbonding, units(model.waiting(i64::MAX)));
            prop_assert_eq!(stake.withdrawable, units(model.waiting(due)));
            let asked = match what {
                0 => stake.stake(&policy, &FOG, this, units(amount)),
                1 => stake.unstake(&policy, &FOG, this, units(amount)),
                2 => stake.withdraw(this, 0),
                _ => stake.slash(&policy, this, units(amount), 0),
            };
            let Ok(chain) = asked else { continue };
            let done = ledger.apply(&chain, now).is_ok();
            prop_assert!(done || what == 0, "only what the holder has not can be refused");
            if done {
                // Sent again, it changes nothing.
                prop_assert!(ledger.apply(&chain, now).is_ok());
                match what {
                    0 => model.staked += amount,
                    1 => {
                        model.staked -= amount;
                        model.unbonding.push((now, amount));
                    }
                    2 => drop(model.take(u128::MAX, due)),
                    _ => burned += model.slash(amount),
                }
            }
        }
        let total = ledger.funds().base_units() + model.staked + model.waiting(i64::MAX) + burned;
        prop_assert_eq!(total, 10_000);
    }
}
