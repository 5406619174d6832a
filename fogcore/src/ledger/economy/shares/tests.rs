//! Shares against exact fractions.

use num_bigint::BigInt;
use num_rational::BigRational;
use proptest::prelude::*;

use super::*;
use crate::ledger::{Book, LedgerError};
use crate::time::Timestamp;

fn name(text: &str) -> AccountId {
    text.parse().unwrap()
}

fn units(units: u128) -> Amount {
    Amount::from_base_units(units)
}

fn plain(account: &str, contribution: u64) -> Participant {
    // No outages and an uptime at which the default factor would be 0.95; see `even`.
    Participant { account: name(account), contribution, uptime_ppm: 900_000, outages: 0 }
}

/// A policy in which everybody counts as much as contributed.
fn even() -> SharePolicy {
    SharePolicy { good_permille: 1_000, fair_permille: 1_000, ..SharePolicy::default() }
}

#[test]
fn modifiers_follow_uptime_and_outages() {
    let policy = SharePolicy::default();
    for (uptime, outages, expected) in [
        (1_000_000, 0, 1_100),
        (950_000, 2, 1_100),
        (949_999, 0, 950),
        (800_000, 3, 850),
        (799_999, 0, 800),
        (0, 9, 700),
    ] {
        assert_eq!(policy.modifier_permille(uptime, outages), expected, "{uptime} {outages}");
    }
}

#[test]
fn what_is_left_over_goes_to_the_largest_remainders_then_by_name() {
    let all = [plain("c", 1), plain("a", 1), plain("b", 1)];
    let shares = Shares::of(&even(), units(100), &all).unwrap();
    let expected = [("a", 34), ("b", 33), ("c", 33)].map(|(who, share)| (name(who), units(share)));
    assert_eq!(shares.shares, expected);
    assert_eq!(shares.paid, units(100));
}

#[test]
fn what_modifiers_take_stays_and_what_they_add_is_shared() {
    let policy = SharePolicy::default();
    let shares = Shares::of(&policy, units(1_000), &[plain("a", 3), plain("b", 1)]).unwrap();
    assert_eq!(shares.paid, units(950));
    let good = |who| Participant { uptime_ppm: 1_000_000, ..plain(who, 1) };
    let shares = Shares::of(&policy, units(1_000), &[good("a"), good("b")]).unwrap();
    assert_eq!(shares.paid, units(1_000), "never more than is pending");
    let mixed = Shares::of(&policy, units(2_000), &[good("a"), plain("b", 1)]).unwrap();
    // 1.1 and 0.95 come to 2.05 of 2: scaled down together.
    assert_eq!(mixed.shares[0].1, units(1_073));
    assert_eq!(mixed.paid, units(2_000));
}

#[test]
fn a_snapshot_has_everybody_once_and_somebody_at_least() {
    let twice = Shares::of(&even(), units(1), &[plain("a", 1), plain("a", 1)]);
    assert_eq!(twice, Err(EconomyError::Twice(name("a"))));
    let nobody = Shares::of(&even(), units(1), &[plain("a", 0)]);
    assert_eq!(nobody, Err(EconomyError::NoContribution));
}

#[test]
fn a_period_is_paid_once_however_often_it_is_sent() {
    let (now, period) = (Timestamp::UNIX_EPOCH, name("2026-01"));
    let mut book = Book::default();
    book.open(Account::new(name("pool"), Asset::FOG), now).unwrap();
    for who in ["a", "b", "c"] {
        book.open(Account::new(name(who), Asset::FOG), now).unwrap();
    }
    book.open(Shares::account(&period, &Asset::FOG).unwrap(), now).unwrap();
    let all = [plain("a", 1), plain("b", 2), plain("c", 4)];
    let shares = Shares::of(&even(), units(1_000), &all).unwrap();
    for _ in 0..2 {
        book.apply(&shares.fund(&period, &name("pool"), 0).unwrap(), now).unwrap();
        for batch in shares.batches(&period).unwrap() {
            let answers = book.apply_batch(&batch, now).unwrap();
            assert!(answers.iter().all(Result::is_ok));
        }
    }
    let left = book.account(&accounts::shares(&period).unwrap()).unwrap().available();
    assert_eq!((left, shares.paid), (Amount::ZERO, units(1_000)));
    assert_eq!(book.account(&name("c")).unwrap().available(), units(571));

    // Another snapshot of the same period, though it pays as much.
    let other = [plain("a", 2), plain("b", 1), plain("c", 4)];
    let other = Shares::of(&even(), units(1_000), &other).unwrap();
    let refused = book.apply(&other.fund(&period, &name("pool"), 0).unwrap(), now).unwrap_err();
    assert!(matches!(refused, LedgerError::ExistsWithDifferent { .. }));
}

#[test]
fn many_participants_are_paid_in_batches() {
    let all: Vec<_> = (0..MAX_BATCH + 1).map(|n| plain(&format!("p{n}"), 1)).collect();
    let shares = Shares::of(&even(), units(1_000_000), &all).unwrap();
    let batches = shares.batches(&name("big")).unwrap();
    assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [MAX_BATCH, 1]);
}

proptest! {
    #[test]
    fn shares_sum_exactly_and_are_within_one_unit_of_the_exact_quotient(
        pending: u128,
        snapshot in prop::collection::vec((any::<u64>(), 0..=1_000_000_u32, 0..6_u32), 1..20),
    ) {
        let policy = SharePolicy::default();
        let participant = |(n, (contribution, uptime_ppm, outages)): (usize, &(u64, u32, u32))| {
            let (contribution, uptime_ppm, outages) = (*contribution, *uptime_ppm, *outages);
            Participant { account: name(&format!("p{n:02}")), contribution, uptime_ppm, outages }
        };
        let all: Vec<_> = snapshot.iter().enumerate().map(participant).collect();
        prop_assume!(all.iter().any(|p| p.contribution > 0));
        let shares = Shares::of(&policy, units(pending), &all).unwrap();
        let mut reversed = all.clone();
        reversed.reverse();
        prop_assert_eq!(&shares, &Shares::of(&policy, units(pending), &reversed).unwrap());

        let sum: BigInt = shares.shares.iter().map(|(_, s)| BigInt::from(s.base_units())).sum();
        prop_assert_eq!(&sum, &shares.paid.base_units().into());
        prop_assert!(shares.paid <= units(pending));
        let total: BigInt = all.iter().map(|p| BigInt::from(p.contribution)).sum();
        let exact = |p: &Participant| {
            let factor = policy.modifier_permille(p.uptime_ppm, p.outages);
            BigRational::new(
                BigInt::from(pending) * p.contribution * factor,
                &total * 1_000,
            )
        };
        let sum: BigRational = all.iter().map(exact).sum();
        let most = BigRational::from_integer(pending.into());
        let down = if sum > most { &most / &sum } else { BigRational::from_integer(1.into()) };
        let one = BigRational::from_integer(1.into());
        for (participant, (_, share)) in all.iter().zip(&shares.shares) {
            let exact = exact(participant) * &down;
            let off = exact - BigRational::from_integer(share.base_units().into());
            prop_assert!(off < one && -off < one);
        }
    }
}
