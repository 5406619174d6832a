//! Interest against an independent integral, and the periods.

use num_bigint::BigInt;
use proptest::prelude::*;

use super::*;

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros).unwrap()
}

fn units(units: u128) -> Amount {
    Amount::from_base_units(units)
}

const DAY: i64 = 86_400_000_000;

#[test]
fn a_stake_that_lies_for_a_year_earns_its_rate() {
    let policy = EconomyPolicy::default();
    let thousand = units(1_000 * 10_u128.pow(18));
    let mut sum = 0;
    for day in 0..365 {
        let period = Period::with(at(day * DAY), &policy).unwrap();
        let time = StakedTime::new(period, thousand);
        sum += time.interest(&policy).unwrap().base_units();
    }
    // 50 FOG, less a part of a base unit a day.
    assert_eq!(sum, 50 * 10_u128.pow(18) - 50 * 10_u128.pow(18) % 365);
    let year = Period { start: at(0), end: at(365 * DAY) };
    let whole = StakedTime::new(year, thousand).interest(&policy).unwrap();
    assert_eq!(whole, units(50 * 10_u128.pow(18)));
}

#[test]
fn the_largest_stake_does_not_overflow() {
    let policy = EconomyPolicy { interest_ppm: 1_000_000, ..EconomyPolicy::default() };
    let year = Period { start: at(0), end: at(365 * DAY) };
    assert_eq!(StakedTime::new(year, Amount::MAX).interest(&policy), Ok(Amount::MAX));
    let double = EconomyPolicy { interest_ppm: 2_000_000, ..policy };
    let too_much = StakedTime::new(year, Amount::MAX).interest(&double);
    assert_eq!(too_much, Err(AmountError::TooLarge));
}

#[test]
fn periods_follow_one_another_and_have_to_be_over() {
    let policy = EconomyPolicy::default();
    let first = Period::with(at(-1), &policy).unwrap();
    assert_eq!(first, Period { start: at(-DAY), end: at(0) });
    let second = first.next(&policy).unwrap();
    assert_eq!(second, Period { start: at(0), end: at(DAY) });
    let hour = DAY / 24;
    assert!(second.must_be_over(at(DAY + hour - 1), &policy).is_err());
    assert!(second.must_be_over(at(DAY + hour), &policy).is_ok());
    assert_eq!(Period::latest(at(DAY + hour - 1), &policy).unwrap(), first);
    assert_eq!(Period::latest(at(DAY + hour), &policy).unwrap(), second);
}

#[test]
fn each_stake_and_period_has_one_payment() {
    let policy = EconomyPolicy::default();
    let [alice, bob]: [AccountId; 2] = ["alice", "bob"].map(|name| name.parse().unwrap());
    let period = Period::with(at(0), &policy).unwrap();
    let next = period.next(&policy).unwrap();
    let id = |holder, period| pay(holder, period, units(1), 0).unwrap().id;
    assert_eq!(id(&alice, period), id(&alice, period));
    assert_ne!(id(&alice, period), id(&alice, next));
    assert_ne!(id(&alice, period), id(&bob, period));
    assert!(matches!(pay(&alice, period, Amount::ZERO, 0), Err(EconomyError::AmountZero)));
}

proptest! {
    /// Against the integral of a step function, added up over the moments at which it steps.
    #[test]
    fn interest_is_the_exact_integral(
        opening in 0..u128::MAX,
        mut changes in prop::collection::vec((-100..1_100_i64, any::<u128>()), 0..12),
        ppm in 0..=1_000_000_u32,
    ) {
        changes.sort_by_key(|(at, _)| *at);
        let policy = EconomyPolicy {
            interest_ppm: ppm,
            year: Duration::from_micros(1_000),
            ..EconomyPolicy::default()
        };
        let period = Period { start: at(0), end: at(1_000) };
        let mut time = StakedTime::new(period, units(opening));
        for (moment, staked) in &changes {
            time.change(at(*moment), units(*staked));
        }
        let mut integral = BigInt::ZERO;
        for moment in 0..1_000 {
            let last = changes.iter().rev().find(|(at, _)| *at <= moment);
            let staked = last.map_or(opening, |(_, staked)| *staked);
            integral += staked;
        }
        let expected = u128::try_from(integral * ppm / 1_000_000_000_i64).unwrap();
        prop_assert_eq!(time.interest(&policy).unwrap(), units(expected));
    }

    /// Time that is told to go back does not count twice.
    #[test]
    fn disorder_never_earns_more_than_the_largest_stake(
        changes in prop::collection::vec((0..1_000_i64, 0..1_000_u128), 0..12),
    ) {
        let policy = EconomyPolicy { interest_ppm: 1_000_000, ..EconomyPolicy::default() };
        let policy = EconomyPolicy { year: Duration::from_micros(1_000), ..policy };
        let mut time = StakedTime::new(Period { start: at(0), end: at(1_000) }, units(500));
        for (moment, staked) in &changes {
            time.change(at(*moment), units(*staked));
        }
        let most = changes.iter().map(|(_, staked)| *staked).max().unwrap_or(0).max(500);
        prop_assert!(time.interest(&policy).unwrap() <= units(most));
    }
}
