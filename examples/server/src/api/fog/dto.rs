//! Numbers as the document writes them.

use fogcore::amount::{Amount, Asset};

/// An amount as a JSON number, for people; the exact text stands beside it wherever it matters.
pub(super) fn number(asset: &Asset, amount: Amount) -> f64 {
    exact(asset, amount).parse().unwrap_or_default()
}

/// An amount as a decimal text, exact to the base unit.
pub(super) fn exact(asset: &Asset, amount: Amount) -> String {
    asset.decimal(amount)
}

/// The mean, rounded to two decimals; 0 of nothing.
pub(super) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    if count > 0.0 { (sum / count * 100.0_f64).round() / 100.0 } else { 0.0 }
}
