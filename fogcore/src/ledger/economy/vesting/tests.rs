//! Grants by example and by property.

use proptest::prelude::*;

use super::*;
use crate::ledger::Book;

const FOG: Asset = Asset::FOG;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000).unwrap()
}

fn units(units: u128) -> Amount {
    Amount::from_base_units(units)
}

fn grant() -> Grant {
    Grant {
        id: TransferId::derive(b"t", "grant"),
        beneficiary: "bob".parse().unwrap(),
        grantor: "alice".parse().unwrap(),
        total: units(1_000),
        start: at(100),
        cliff: Duration::from_secs(25),
        duration: Duration::from_secs(100),
        revocable: true,
    }
}

fn book(grant: &Grant) -> Book {
    let mut book = Book::default();
    for (name, limited) in [("mint", false), ("alice", true), ("bob", true)] {
        let account = Account::new(name.parse().unwrap(), FOG);
        book.open(if limited { account.limited_to_credits() } else { account }, at(0)).unwrap();
    }
    let mint = TransferId::derive(b"t", "mint");
    let [from, to] = ["mint", "alice"].map(|name| name.parse().unwrap());
    book.apply(&Transfer::direct(mint, &from, &to, grant.total, Purpose::Mint), at(0)).unwrap();
    let (account, fund) = grant.open(&FOG).unwrap();
    book.open(account, at(0)).unwrap();
    book.apply(&fund, at(0)).unwrap();
    book
}

fn told(book: &Book, grant: &Grant) -> Vesting {
    let account = book.account(&grant.account().unwrap()).unwrap();
    let filled = book.transfer(grant_id(grant.id)).unwrap();
    Vesting::told_by(account, filled, book.transfer(revoke_id(grant.id, 0))).unwrap()
}

fn has(book: &Book, name: &str) -> Amount {
    book.account(&name.parse().unwrap()).unwrap().available()
}

#[test]
fn nothing_before_the_cliff_then_linear_then_all() {
    for (seconds, vested) in
        [(0, 0), (100, 0), (124, 0), (125, 250), (133, 330), (199, 990), (200, 1_000), (999, 1_000)]
    {
        assert_eq!(grant().vested(at(seconds)).unwrap(), units(vested), "at {seconds}");
    }
    let all_at_once = Grant { cliff: Duration::from_secs(100), ..grant() };
    assert_eq!(all_at_once.vested(at(199)).unwrap(), Amount::ZERO);
    assert_eq!(all_at_once.vested(at(200)).unwrap(), units(1_000));
}

#[test]
fn the_terms_are_read_back_from_the_ledger() {
    for revocable in [true, false] {
        let start = at(-100);
        let grant = Grant { revocable, start, ..grant() };
        let book = book(&grant);
        let vesting = told(&book, &grant);
        let left = grant.total;
        assert_eq!(vesting, Vesting { grant, released: Amount::ZERO, revoked: None, left });
    }
}

#[test]
fn a_grant_is_released_in_parts_and_exactly() {
    let grant = grant();
    let mut book = book(&grant);
    assert!(matches!(told(&book, &grant).release(at(124), 0), Err(EconomyError::NothingThere(_))));
    for (seconds, has_then) in [(133, 330), (134, 340), (200, 1_000)] {
        let before = told(&book, &grant);
        book.apply(&before.release(at(seconds), 0).unwrap(), at(seconds)).unwrap();
        // Who released at the same moment did the same.
        book.apply(&before.release(at(seconds), 0).unwrap(), at(seconds)).unwrap();
        assert_eq!(has(&book, "bob"), units(has_then));
    }
    assert!(matches!(told(&book, &grant).release(at(999), 0), Err(EconomyError::NothingThere(_))));
}

#[test]
fn revoking_takes_what_has_not_vested_and_leaves_what_has() {
    let grant = grant();
    let mut book = book(&grant);
    book.apply(&told(&book, &grant).release(at(130), 0).unwrap(), at(130)).unwrap();
    book.apply(&told(&book, &grant).revoke(at(150), 0).unwrap(), at(150)).unwrap();
    assert_eq!(has(&book, "alice"), units(500));
    let vesting = told(&book, &grant);
    assert_eq!((vesting.released, vesting.revoked), (units(300), Some(units(500))));
    assert!(matches!(vesting.revoke(at(160), 0), Err(EconomyError::AlreadyRevoked(_))));
    book.apply(&vesting.release(at(999), 0).unwrap(), at(999)).unwrap();
    assert_eq!(has(&book, "bob"), units(500));
}

#[test]
fn what_is_not_revocable_or_has_vested_stays() {
    let for_good = Grant { revocable: false, ..grant() };
    let book = book(&for_good);
    let refused = told(&book, &for_good).revoke(at(150), 0);
    assert!(matches!(refused, Err(EconomyError::NotRevocable(_))));
    let vested = Vesting { grant: grant(), ..told(&book, &for_good) };
    assert!(matches!(vested.revoke(at(200), 0), Err(EconomyError::NothingThere(_))));
}

#[test]
fn terms_that_make_no_sense_name_their_field() {
    type Spoil = fn(&mut Grant);
    let cases: [(&str, Spoil); 7] = [
        ("amount", |g| g.total = Amount::ZERO),
        ("cliff", |g| g.cliff = Duration::from_millis(1_500)),
        ("cliff", |g| g.cliff = Duration::from_secs(101)),
        ("duration", |g| g.duration = Duration::from_millis(100_500)),
        ("duration", |g| g.duration = Duration::from_secs(1 << 32)),
        ("account", |g| g.beneficiary = "fog:mint".parse().unwrap()),
        ("account", |g| g.grantor = "fog:mint".parse().unwrap()),
    ];
    for (field, spoil) in cases {
        let mut grant = grant();
        spoil(&mut grant);
        let error: crate::Error = grant.open(&FOG).unwrap_err().into();
        assert_eq!(error.field(), Some(field));
    }
}

proptest! {
    #[test]
    fn vesting_is_monotone_and_never_more_than_the_total(
        total in 1..u128::MAX,
        duration in 1..u32::MAX,
        cliff in 0..=1_000_u32,
        times in prop::collection::vec(any::<u32>(), 1..20),
    ) {
        let duration_of = |seconds: u32| Duration::from_secs(seconds.into());
        let grant = Grant {
            total: units(total),
            cliff: duration_of(cliff.min(duration)),
            duration: duration_of(duration),
            ..grant()
        };
        let mut times: Vec<_> = times.into_iter().map(i64::from).collect();
        times.sort_unstable();
        let mut before = Amount::ZERO;
        for seconds in times {
            let vested = grant.vested(at(100 + seconds)).unwrap();
            prop_assert!(before <= vested && vested <= grant.total);
            before = vested;
        }
        prop_assert_eq!(grant.vested(at(100 + i64::from(duration))).unwrap(), grant.total);
    }

    /// However it is released and revoked, nothing is lost, and the beneficiary has what had
    /// vested when it was revoked.
    #[test]
    fn a_grant_is_conserved(
        steps in prop::collection::vec((0..30_i64, 0..8_u8), 1..12), total in 1..10_000_u128,
    ) {
        let grant = Grant { total: units(total), ..grant() };
        let mut book = book(&grant);
        let (mut now, mut revoked_at) = (90, None);
        for (later, what) in steps {
            now += later;
            let vesting = told(&book, &grant);
            let asked = if what == 0 { vesting.revoke(at(now), 0) } else { vesting.release(at(now), 0) };
            if let Ok(transfer) = asked {
                book.apply(&transfer, at(now)).unwrap();
                if what == 0 {
                    revoked_at = Some(now);
                }
            }
        }
        let vesting = told(&book, &grant);
        if let Ok(transfer) = vesting.release(at(now), 0) {
            book.apply(&transfer, at(now)).unwrap();
        }
        let vested = grant.vested(at(revoked_at.unwrap_or(now))).unwrap();
        prop_assert_eq!(has(&book, "bob"), vested);
        let gone = grant.total.checked_sub(vested).unwrap();
        let (back, left) = (has(&book, "alice"), told(&book, &grant).left);
        prop_assert_eq!(if revoked_at.is_some() { back } else { left }, gone);
    }
}
