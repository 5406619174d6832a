//! Fees: what a payment costs beside its amount.

use num_bigint::BigUint;

use super::accounts::{self, FEES, step};
use crate::amount::{Amount, AmountError};
use crate::id::{AccountId, TransferId};
use crate::ledger::{Purpose, Transfer};

/// `bps` ten thousandths of `amount`, rounded up to base units: many small payments cost no less
/// than a large one.
///
/// # Errors
/// [`AmountError::TooLarge`] beyond 2^128 − 1 base units.
pub fn fee(amount: Amount, bps: u16) -> Result<Amount, AmountError> {
    let fee = (BigUint::from(amount.base_units()) * bps + 9_999_u32) / 10_000_u32;
    u128::try_from(fee).map(Amount::from_base_units).map_err(|_| AmountError::TooLarge)
}

/// Pays `amount`, all of which arrives, and the fee beside it: both or neither.
///
/// # Errors
/// As [`fee()`].
pub fn pay(
    id: TransferId,
    from: &AccountId,
    to: &AccountId,
    amount: Amount,
    bps: u16,
    fee_purpose: Purpose,
) -> Result<Vec<Transfer>, AmountError> {
    let payment = Transfer::direct(id, from, to, amount, Purpose::Transfer);
    let fee = fee(amount, bps)?;
    if fee.is_zero() {
        return Ok(vec![payment]);
    }
    let fee_id = step(id, fee_purpose.name(), 0);
    let fee = Transfer::direct(fee_id, from, &accounts::own(FEES), fee, fee_purpose);
    Ok(vec![payment.linked(), fee])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_fee_is_rounded_up() {
        let units = Amount::from_base_units;
        for (amount, bps, expected) in [
            (0, 30, 0),
            (1, 30, 1),
            (333, 30, 1),
            (334, 30, 2),
            (10_000, 10_000, 10_000),
            (9, 0, 0),
        ] {
            assert_eq!(fee(units(amount), bps).unwrap(), units(expected), "{amount} at {bps}");
        }
        assert_eq!(fee(Amount::MAX, 10_000).unwrap(), Amount::MAX);
        assert_eq!(fee(Amount::MAX, 10_001), Err(AmountError::TooLarge));
    }

    #[test]
    fn without_a_fee_it_is_one_transfer_and_else_a_chain() {
        let (id, amount) = (TransferId::derive(b"t", "pay"), Amount::from_base_units(100));
        let [from, to]: [AccountId; 2] = ["alice", "bob"].map(|name| name.parse().unwrap());
        let plain = pay(id, &from, &to, amount, 0, Purpose::TransferFee).unwrap();
        assert_eq!(plain.len(), 1);
        let both = pay(id, &from, &to, amount, 25, Purpose::MarketplaceFee).unwrap();
        assert_eq!(both[0], plain[0].clone().linked());
        assert_eq!(both[1].amount(), Some(Amount::from_base_units(1)));
        assert_eq!(both[1].purpose, Purpose::MarketplaceFee);
    }

    proptest! {
        #[test]
        fn splitting_a_payment_never_saves_a_fee(a: u64, b: u64, bps in 0..=10_000_u16) {
            let units = |units: u64| Amount::from_base_units(units.into());
            let [one, other] = [a, b].map(|part| fee(units(part), bps).unwrap());
            let whole = fee(units(a).checked_add(units(b)).unwrap(), bps).unwrap();
            prop_assert!(one.checked_add(other).unwrap() >= whole);
        }
    }
}
