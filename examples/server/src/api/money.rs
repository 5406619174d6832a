//! Amounts on the wire: a number for people, and beside it the exact text.

use fogcore::amount::{Amount, Asset, DecimalText};

use crate::http::problem::Problem;

/// The nearest number. Nothing is ever computed from it.
pub(crate) fn number(asset: &Asset, amount: Amount) -> f64 {
    asset.decimal(amount).parse().unwrap_or_default()
}

/// The amount that a client wrote, as a number or as a text, digit by digit.
pub(crate) fn read(
    asset: &Asset,
    field: &'static str,
    text: &DecimalText,
) -> Result<Amount, Problem> {
    asset.parse(text.as_str()).map_err(|error| Problem::invalid(field, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_read_exactly_and_told_nearly() {
        let text = serde_json::from_str("0.1").unwrap();
        let amount = read(&Asset::FOG, "amount", &text).unwrap();
        assert_eq!(amount.base_units(), 100_000_000_000_000_000);
        assert!((number(&Asset::FOG, amount) - 0.1).abs() < f64::EPSILON);
        let negative = serde_json::from_str("-1").unwrap();
        let problem = read(&Asset::FOG, "amount", &negative).unwrap_err();
        assert_eq!(problem.field.as_deref(), Some("amount"));
    }
}
