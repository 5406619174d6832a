//! What a transfer may do beside moving its amount.

use serde::{Deserialize, Serialize};

/// What a transfer may do beside moving its amount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct TransferFlags {
    /// It and the next one of the batch are made both or not at all. The last of a chain does not
    /// have it.
    pub linked: bool,
    /// Move at most what the account to debit has: posted credits less all debits. Moves nothing,
    /// and succeeds, if that is nothing. Of direct transfers and holds.
    pub balancing_debit: bool,
    /// Move at most what the account to credit owes: posted debits less all credits. As above.
    pub balancing_credit: bool,
    /// Close the account to debit, until this is voided or its time is over. Of holds.
    pub closing_debit: bool,
    /// Close the account to credit, until this is voided or its time is over. Of holds.
    pub closing_credit: bool,
}

impl TransferFlags {
    /// None of them.
    pub const NONE: Self = Self {
        linked: false,
        balancing_debit: false,
        balancing_credit: false,
        closing_debit: false,
        closing_credit: false,
    };

    /// The flags and their bits, which are TigerBeetle's.
    const BITS: [u16; 5] = [1, 1 << 4, 1 << 5, 1 << 6, 1 << 7];

    /// As one number, for stores. Its bits are TigerBeetle's.
    #[must_use]
    pub fn bits(self) -> u16 {
        let set = self.as_list().into_iter().zip(Self::BITS);
        set.filter(|(set, _)| *set).map(|(_, bit)| bit).sum()
    }

    /// The flags of a number that [`bits`](Self::bits) gave; none if it has other bits.
    #[must_use]
    pub fn from_bits(bits: u16) -> Option<Self> {
        let has = |place: usize| bits & Self::BITS[place] != 0;
        let flags = Self {
            linked: has(0),
            balancing_debit: has(1),
            balancing_credit: has(2),
            closing_debit: has(3),
            closing_credit: has(4),
        };
        (flags.bits() == bits).then_some(flags)
    }

    /// Whether it moves what is there rather than what is asked.
    #[must_use]
    pub const fn is_balancing(self) -> bool {
        self.balancing_debit || self.balancing_credit
    }

    /// Whether it closes an account.
    #[must_use]
    pub const fn is_closing(self) -> bool {
        self.closing_debit || self.closing_credit
    }

    pub(super) fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    const fn as_list(self) -> [bool; 5] {
        [
            self.linked,
            self.balancing_debit,
            self.balancing_credit,
            self.closing_debit,
            self.closing_credit,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::TransferId;
    use crate::ledger::{Purpose, Transfer, TransferKind};

    #[test]
    fn flags_are_the_same_as_a_number() {
        for bits in 0..=u16::MAX {
            if let Some(flags) = TransferFlags::from_bits(bits) {
                assert_eq!(flags.bits(), bits);
            } else {
                assert_ne!(bits & !0b1111_0001, 0, "{bits} has none but known bits");
            }
        }
        assert_eq!(TransferFlags::from_bits(0), Some(TransferFlags::NONE));
        let linked = TransferFlags { linked: true, ..TransferFlags::NONE };
        assert_eq!(TransferFlags::from_bits(1), Some(linked));
    }

    #[test]
    fn a_plain_transfer_has_plain_json() {
        let id = TransferId::derive(b"t", "flags");
        let kind = TransferKind::Void { hold: TransferId::derive(b"h", "flags") };
        let plain = Transfer::new(id, kind, Purpose::Transfer);
        let json = serde_json::to_value(&plain).unwrap();
        let keys: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, ["id", "kind", "purpose", "reference"]);
        assert_eq!(serde_json::from_value::<Transfer>(json).unwrap(), plain);
        let special = Transfer { user_data_64: u64::MAX, ..plain.linked().expiring_after(5) };
        let json = serde_json::to_string(&special).unwrap();
        assert_eq!(serde_json::from_str::<Transfer>(&json).unwrap(), special);
    }
}
