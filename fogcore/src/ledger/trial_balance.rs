//! The proof that the books balance.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Account;
use crate::amount::{Amount, AmountError};

/// The sums of all accounts of one asset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetBalance {
    /// The asset's decimals.
    pub scale: u8,
    /// How many accounts count it.
    pub accounts: u64,
    /// All debits that are reserved.
    pub debits_pending: Amount,
    /// All debits.
    pub debits_posted: Amount,
    /// All credits that are reserved.
    pub credits_pending: Amount,
    /// All credits.
    pub credits_posted: Amount,
}

impl AssetBalance {
    /// Debits less credits, posted and pending together: zero in sound books. The sign says
    /// which side has more.
    #[must_use]
    pub fn difference(&self) -> (std::cmp::Ordering, Amount) {
        let sides = [
            (self.debits_posted, self.credits_posted),
            (self.debits_pending, self.credits_pending),
        ];
        // The two differences cannot hide each other: each must be zero by itself.
        let worst = sides
            .into_iter()
            .map(|(debits, credits)| {
                let units = debits.base_units().abs_diff(credits.base_units());
                (debits.cmp(&credits), Amount::from_base_units(units))
            })
            .max_by_key(|(_, amount)| *amount);
        worst.unwrap_or((std::cmp::Ordering::Equal, Amount::ZERO))
    }
}

/// The sums over all accounts, by the asset's code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialBalance {
    /// One line per asset.
    pub assets: BTreeMap<String, AssetBalance>,
}

impl TrialBalance {
    /// Adds an account to its asset's sums.
    ///
    /// # Errors
    /// [`AmountError::TooLarge`] if a sum passes 2^128 − 1 base units.
    pub fn add(&mut self, account: &Account) -> Result<(), AmountError> {
        let sums =
            self.assets.entry(account.asset.code().to_owned()).or_insert_with(|| AssetBalance {
                scale: account.asset.scale(),
                accounts: 0,
                debits_pending: Amount::ZERO,
                debits_posted: Amount::ZERO,
                credits_pending: Amount::ZERO,
                credits_posted: Amount::ZERO,
            });
        sums.accounts += 1;
        sums.debits_pending = sums.debits_pending.checked_add(account.debits_pending)?;
        sums.debits_posted = sums.debits_posted.checked_add(account.debits_posted)?;
        sums.credits_pending = sums.credits_pending.checked_add(account.credits_pending)?;
        sums.credits_posted = sums.credits_posted.checked_add(account.credits_posted)?;
        Ok(())
    }

    /// Whether debits equal credits in every asset, posted and pending each by itself.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        self.assets.values().all(|sums| sums.difference().1.is_zero())
    }
}
