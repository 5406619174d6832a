//! The money of metered work: reserved, then paid or freed, under ids that follow from its own.
//!
//! Work is whatever has an id, a payer and a most that it may cost. Because all ids are derived
//! from that of the work, it can be paid once and never again, whatever goes wrong around it: the
//! ledger itself would refuse the second payment.
//!
//! ```
//! use fogcore::amount::Amount;
//! use fogcore::ledger::settlement;
//! use fogcore::registry::{Metered, Rates};
//!
//! let units = Amount::from_base_units;
//! let rates = Rates { per_task: units(5), per_busy_second: units(10), ..Rates::default() };
//! let work = |busy_micros| Metered { busy_micros, ..Metered::default() };
//! assert_eq!(settlement::price(&rates, &work(1_500_000), units(100)), units(20));
//! assert_eq!(settlement::price(&rates, &work(60_000_000), units(100)), units(100));
//! ```

use uuid::Uuid;

use super::{Purpose, Transfer};
use crate::amount::Amount;
use crate::id::{AccountId, TransferId};
use crate::registry::{Metered, Rates};

/// The account through which every price passes on its way from payer to worker. What it holds at
/// any time is the open holds; posted, it always comes to zero.
pub const ESCROW: &str = "fog:escrow";

/// The account [`ESCROW`].
#[must_use]
pub fn escrow() -> AccountId {
    super::economy::accounts::own(ESCROW)
}

/// The id of the hold that reserves what the work may cost.
#[must_use]
pub fn hold_id(work: Uuid) -> TransferId {
    TransferId::own(work, "hold")
}

/// The id of the transfer that ends the hold: there is only one, so it ends only once.
#[must_use]
pub fn end_id(work: Uuid) -> TransferId {
    TransferId::own(work, "end of hold")
}

/// The id of the transfer that pays who did the work.
#[must_use]
pub fn reward_id(work: Uuid) -> TransferId {
    TransferId::own(work, "reward")
}

/// The price of work that took so much: metered use × rate, but never more than `limit`, which is
/// what was reserved.
#[must_use]
pub fn price(rates: &Rates, work: &Metered, limit: Amount) -> Amount {
    // A price beyond all amounts is certainly beyond the limit.
    rates.price(work).unwrap_or(Amount::MAX).min(limit)
}

/// Reserves `limit` of `payer` for the work.
#[must_use]
pub fn reserve(work: Uuid, payer: &AccountId, limit: Amount) -> Transfer {
    Transfer::hold(hold_id(work), payer, &escrow(), limit, Purpose::TaskHold).about(work)
}

/// Frees all that was reserved.
#[must_use]
pub fn free(work: Uuid) -> Transfer {
    Transfer::void(end_id(work), hold_id(work), Purpose::TaskRelease).about(work)
}

/// Pays `price` of what was reserved to `owner` and frees the rest; frees all of it for a price of
/// nothing. The ledger refuses a price above what was reserved.
#[must_use]
pub fn settle(work: Uuid, owner: &AccountId, price: Amount) -> Vec<Transfer> {
    if price.is_zero() {
        return vec![free(work)];
    }
    let post = Transfer::post(end_id(work), hold_id(work), price, Purpose::TaskSettle);
    let pay = Transfer::direct(reward_id(work), &escrow(), owner, price, Purpose::TaskReward);
    vec![post.about(work), pay.about(work)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::amount::Asset;
    use crate::ledger::{Account, Book, LedgerError};
    use crate::time::Timestamp;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn book() -> Book {
        let mut book = Book::default();
        let [mint, alice] = ["mint", "alice"].map(|name| name.parse().unwrap());
        for id in [mint, alice, "bob".parse().unwrap(), escrow()] {
            book.open(Account::new(id, Asset::FOG), NOW).unwrap();
        }
        book
    }

    #[test]
    fn the_ids_of_work_are_apart_from_those_that_clients_make() {
        let work = Uuid::from_u128(7);
        for id in [hold_id(work), end_id(work), reward_id(work)] {
            assert!(id.is_own());
        }
        assert!(!TransferId::derive(b"t", "invoice").is_own());
        assert!(!crate::id::IdSource::seeded(1).transfer(NOW).is_own());
        assert_eq!(escrow().as_str(), ESCROW);
    }

    #[test]
    fn a_price_above_what_was_reserved_is_refused_by_the_ledger() {
        let (mut book, work, units) = (book(), Uuid::from_u128(7), Amount::from_base_units);
        let [alice, bob]: [AccountId; 2] = ["alice", "bob"].map(|name| name.parse().unwrap());
        book.apply(&reserve(work, &alice, units(10)), NOW).unwrap();
        let refused = book.apply_chain(&settle(work, &bob, units(11)), NOW).unwrap_err();
        assert!(matches!(refused, LedgerError::ExceedsHold { .. }));
    }

    proptest! {
        #[test]
        fn work_is_paid_once_and_the_escrow_comes_to_zero(
            limit in 1..1_000_u128, price in 0..1_000_u128, other in 0..1_000_u128,
        ) {
            let (mut book, work, units) = (book(), Uuid::from_u128(7), Amount::from_base_units);
            let [alice, bob]: [AccountId; 2] = ["alice", "bob"].map(|name| name.parse().unwrap());
            book.apply(&reserve(work, &alice, units(limit)), NOW).unwrap();
            let price = units(price.min(limit));
            for again in [price, price, units(other)] {
                let done = book.apply_chain(&settle(work, &bob, again), NOW);
                prop_assert_eq!(done.is_ok(), again == price);
            }
            let (paid, held) = (book.account(&bob).unwrap(), book.account(&escrow()).unwrap());
            prop_assert_eq!(paid.credits_posted, price);
            prop_assert_eq!(held.credits_posted, held.debits_posted);
            prop_assert!(held.credits_pending.is_zero());
            prop_assert!(book.account(&alice).unwrap().debits_pending.is_zero());
        }
    }
}
