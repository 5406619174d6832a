//! The proof that the books balance.

use std::fmt;

use num_bigint::BigUint;
use serde::{Deserialize, Serialize};

use super::Account;
use crate::amount::{Amount, Asset};

/// A sum of amounts, however large: one account cannot pass 2^128 − 1 base units, all together can.
/// In JSON, a string of digits.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Total(BigUint);

impl Total {
    /// Whether this is nothing.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0 == BigUint::ZERO
    }

    /// The same as an amount; none beyond 2^128 − 1 base units.
    #[must_use]
    pub fn amount(&self) -> Option<Amount> {
        u128::try_from(&self.0).ok().map(Amount::from_base_units)
    }

    /// The exact decimal text with all of the asset's decimals: `25.500000000`.
    #[must_use]
    pub fn decimal(&self, asset: &Asset) -> String {
        let scale = usize::from(asset.scale());
        let digits = format!("{:0>width$}", self.0.to_string(), width = scale + 1);
        let (whole, decimals) = digits.split_at(digits.len() - scale);
        if decimals.is_empty() { whole.to_owned() } else { format!("{whole}.{decimals}") }
    }

    fn add(&mut self, amount: Amount) {
        self.0 += amount.base_units();
    }

    fn abs_diff(&self, other: &Self) -> Self {
        Self(if self > other { &self.0 - &other.0 } else { &other.0 - &self.0 })
    }
}

impl From<Amount> for Total {
    fn from(amount: Amount) -> Self {
        Self(amount.base_units().into())
    }
}

impl PartialEq<Amount> for Total {
    fn eq(&self, amount: &Amount) -> bool {
        self.amount() == Some(*amount)
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Total {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Total {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // No sum over 2^64 accounts is longer, and a text of any length would take long to read.
        if text.len() > 64 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(serde::de::Error::custom("a total is a string of up to 64 digits"));
        }
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// The sums of all accounts of one asset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetBalance {
    /// The asset. Two with one code and different decimals are two.
    pub asset: Asset,
    /// How many accounts count it.
    pub accounts: u64,
    /// All debits that are reserved.
    pub debits_pending: Total,
    /// All debits.
    pub debits_posted: Total,
    /// All credits that are reserved.
    pub credits_pending: Total,
    /// All credits.
    pub credits_posted: Total,
}

impl AssetBalance {
    fn new(asset: Asset) -> Self {
        Self {
            asset,
            accounts: 0,
            debits_pending: Total::default(),
            debits_posted: Total::default(),
            credits_pending: Total::default(),
            credits_posted: Total::default(),
        }
    }

    /// Debits less credits, posted and pending together: zero in sound books. The sign says
    /// which side has more.
    #[must_use]
    pub fn difference(&self) -> (std::cmp::Ordering, Total) {
        let sides = [
            (&self.debits_posted, &self.credits_posted),
            (&self.debits_pending, &self.credits_pending),
        ];
        // The two differences cannot hide each other: each must be zero by itself.
        let worst = sides
            .into_iter()
            .map(|(debits, credits)| (debits.cmp(credits), debits.abs_diff(credits)))
            .max_by(|(_, one), (_, other)| one.cmp(other));
        worst.unwrap_or((std::cmp::Ordering::Equal, Total::default()))
    }
}

/// The sums over all accounts, asset by asset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialBalance {
    /// One line per asset, by code and then by decimals.
    pub assets: Vec<AssetBalance>,
}

impl TrialBalance {
    /// The line of an asset, if any account counts it.
    #[must_use]
    pub fn of(&self, asset: &Asset) -> Option<&AssetBalance> {
        let place = self.place(asset).ok()?;
        self.assets.get(place)
    }

    /// Adds an account to its asset's sums.
    pub fn add(&mut self, account: &Account) {
        let place = self.place(&account.asset).unwrap_or_else(|place| {
            self.assets.insert(place, AssetBalance::new(account.asset.clone()));
            place
        });
        let sums = &mut self.assets[place];
        sums.accounts += 1;
        sums.debits_pending.add(account.debits_pending);
        sums.debits_posted.add(account.debits_posted);
        sums.credits_pending.add(account.credits_pending);
        sums.credits_posted.add(account.credits_posted);
    }

    fn place(&self, asset: &Asset) -> Result<usize, usize> {
        self.assets.binary_search_by(|sums| sums.asset.cmp(asset))
    }

    /// Whether debits equal credits in every asset, posted and pending each by itself.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        self.assets.iter().all(|sums| sums.difference().1.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_accounts_pass_what_one_can_hold() {
        let mut books = TrialBalance::default();
        for name in ["a", "b", "c"] {
            let mut account = Account::new(name.parse().unwrap(), Asset::FOG);
            (account.debits_posted, account.credits_posted) = (Amount::MAX, Amount::MAX);
            books.add(&account);
        }
        assert!(books.is_balanced());
        let sums = books.of(&Asset::FOG).unwrap();
        assert_eq!(sums.debits_posted.to_string(), "1020847100762815390390123822295304634365");
        assert_eq!(
            sums.debits_posted.decimal(&Asset::FOG),
            "1020847100762815390390.123822295304634365"
        );
        assert_eq!(sums.debits_posted.amount(), None);
        let json = serde_json::to_string(&books).unwrap();
        assert_eq!(serde_json::from_str::<TrialBalance>(&json).unwrap(), books);
        let mut owing = Account::new("d".parse().unwrap(), Asset::FOG);
        owing.credits_posted = Amount::from_base_units(7);
        books.add(&owing);
        let (side, difference) = books.of(&Asset::FOG).unwrap().difference();
        assert!(side.is_lt());
        assert_eq!(difference, Amount::from_base_units(7));
    }

    #[test]
    fn one_code_with_other_decimals_is_another_asset() {
        let mut books = TrialBalance::default();
        let [coarse, fine] = [2, 6].map(|scale| Asset::new("X", scale).unwrap());
        for (name, asset, debits, credits) in
            [("a", &fine, 0, 7), ("b", &coarse, 7, 0), ("c", &Asset::FOG, 1, 1)]
        {
            let mut account = Account::new(name.parse().unwrap(), asset.clone());
            account.debits_posted = Amount::from_base_units(debits);
            account.credits_posted = Amount::from_base_units(credits);
            books.add(&account);
        }
        let lines: Vec<_> = books.assets.iter().map(|sums| &sums.asset).collect();
        assert_eq!(lines, [&Asset::FOG, &coarse, &fine]);
        assert!(!books.is_balanced(), "seven of the one do not make up for seven of the other");
        assert_eq!(books.of(&fine).unwrap().credits_posted, Amount::from_base_units(7));
        assert_eq!(books.of(&Asset::USD), None);
    }

    #[test]
    fn a_total_is_read_from_digits_alone() {
        let long = format!("\"{}\"", "9".repeat(65));
        for text in ["\"-1\"", "\"1.5\"", "1", "\"0x10\"", "\"+1\"", &long] {
            assert!(serde_json::from_str::<Total>(text).is_err(), "{text}");
        }
        let total: Total = serde_json::from_str("\"12\"").unwrap();
        assert_eq!(total, Amount::from_base_units(12));
        assert_eq!(total.decimal(&Asset::USD), "0.12");
    }
}
