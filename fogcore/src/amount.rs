//! Exact money: whole base units in a `u128`, and assets that say how many decimals they have.
//!
//! A float cannot hold 0.1, so no amount ever passes through one: text is parsed digit by digit,
//! and a JSON number is read from its text ([`DecimalText`]). Arithmetic is checked; what cannot
//! be divided evenly is split by largest remainder, so that the parts add up to the whole.
//!
//! ```
//! use fogcore::amount::{Amount, Asset};
//!
//! let price = Asset::FOG.parse("0.5")?;
//! assert_eq!(price, Amount::from_base_units(500_000_000_000_000_000));
//! assert_eq!(Asset::FOG.display(price).to_string(), "0.5 FOG");
//! assert_eq!(Asset::TON.decimal(Asset::TON.parse("25.5")?), "25.500000000");
//!
//! let parts = Amount::from_base_units(100).split(&[1, 1, 1])?;
//! assert_eq!(parts.iter().map(|part| part.base_units()).collect::<Vec<_>>(), [34, 33, 33]);
//! # Ok::<(), fogcore::Error>(())
//! ```

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::error::{Error, ErrorKind};

/// Why an amount was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not a plain decimal number.
    #[error("{0:?} is not a decimal number such as 25.5")]
    NotDecimal(String),
    /// Below zero.
    #[error("{0:?} is negative")]
    Negative(String),
    /// Finer than the asset can express.
    #[error("{text:?} has more than the {scale} decimals of {code}")]
    TooFine {
        /// The text.
        text: String,
        /// The asset.
        code: String,
        /// Its decimals.
        scale: u8,
    },
    /// More than 2^128 − 1 base units.
    #[error("the amount is too large")]
    TooLarge,
    /// A result below zero.
    #[error("the amount would be less than zero")]
    BelowZero,
    /// Shares that are missing, all zero, or sum to more than 2^64 − 1.
    #[error("the weights must sum to 1–18446744073709551615")]
    BadWeights,
    /// Not the code of an asset.
    #[error("asset code {0:?} is not 1–16 ASCII letters and digits")]
    BadCode(String),
    /// More decimals than 30.
    #[error("scale {0} is more than 30 decimals")]
    BadScale(u8),
}

impl From<AmountError> for Error {
    fn from(error: AmountError) -> Self {
        match error {
            AmountError::BelowZero => Self::new(ErrorKind::Exhausted, error),
            AmountError::BadCode(_) | AmountError::BadScale(_) => Self::invalid("asset", error),
            AmountError::BadWeights => Self::invalid("weights", error),
            _ => Self::invalid("amount", error),
        }
    }
}

/// A number of base units of some [`Asset`], 0 to 2^128 − 1. In JSON, a string of digits.
///
/// The asset is known from where the amount stands (an account, a fog's settlement asset), as in
/// every ledger; texts with a decimal point are made and read by the [`Asset`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(u128);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The most that can be held: 2^128 − 1 base units.
    pub const MAX: Self = Self(u128::MAX);

    /// `units` base units.
    #[must_use]
    pub const fn from_base_units(units: u128) -> Self {
        Self(units)
    }

    /// The number of base units.
    #[must_use]
    pub const fn base_units(self) -> u128 {
        self.0
    }

    /// Whether this is nothing.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum.
    ///
    /// # Errors
    /// [`AmountError::TooLarge`] beyond [`Amount::MAX`].
    pub fn checked_add(self, other: Self) -> Result<Self, AmountError> {
        self.0.checked_add(other.0).map(Self).ok_or(AmountError::TooLarge)
    }

    /// The difference.
    ///
    /// # Errors
    /// [`AmountError::BelowZero`] if `other` is more than this.
    pub fn checked_sub(self, other: Self) -> Result<Self, AmountError> {
        self.0.checked_sub(other.0).map(Self).ok_or(AmountError::BelowZero)
    }

    /// This × `numerator` / `denominator`, rounded down. Exact, whatever the sizes.
    ///
    /// # Errors
    /// [`AmountError::TooLarge`] if the result is, [`AmountError::BadWeights`] for a zero
    /// denominator.
    pub fn scaled(self, numerator: u64, denominator: u64) -> Result<Self, AmountError> {
        if denominator == 0 {
            return Err(AmountError::BadWeights);
        }
        let (numerator, denominator) = (u128::from(numerator), u128::from(denominator));
        // a·n/d = (a/d)·n + (a mod d)·n/d, and (a mod d)·n < 2^64·2^64 cannot overflow.
        let whole = (self.0 / denominator).checked_mul(numerator).ok_or(AmountError::TooLarge)?;
        let rest = (self.0 % denominator) * numerator / denominator;
        whole.checked_add(rest).map(Self).ok_or(AmountError::TooLarge)
    }

    /// Splits this in proportion to `weights` by the largest-remainder (Hamilton) method: every
    /// part is rounded down, and the units left over go one each to the largest remainders, the
    /// earlier part first among equals. The parts always sum to exactly this.
    ///
    /// # Errors
    /// [`AmountError::BadWeights`] if the weights are empty, all zero, or sum to 2^64 or more.
    pub fn split(self, weights: &[u64]) -> Result<Vec<Self>, AmountError> {
        let total = weights
            .iter()
            .try_fold(0_u64, |sum, weight| sum.checked_add(*weight))
            .filter(|total| *total > 0)
            .ok_or(AmountError::BadWeights)?;
        let mut parts = Vec::with_capacity(weights.len());
        let mut remainders = Vec::with_capacity(weights.len());
        let mut left = self.0;
        for (index, weight) in weights.iter().enumerate() {
            let part = self.scaled(*weight, total)?;
            left -= part.0;
            let remainder = (self.0 % u128::from(total)) * u128::from(*weight) % u128::from(total);
            remainders.push((std::cmp::Reverse(remainder), index));
            parts.push(part);
        }
        remainders.sort_unstable();
        // Fewer units are left than there are parts, so nobody gets two.
        for (_, index) in remainders {
            if left == 0 {
                break;
            }
            parts[index].0 += 1;
            left -= 1;
        }
        Ok(parts)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for Amount {
    type Err = AmountError;
    /// Reads base units: digits only.
    fn from_str(text: &str) -> Result<Self, AmountError> {
        if text.contains(['.', 'e', 'E']) {
            return Err(AmountError::NotDecimal(text.chars().take(64).collect()));
        }
        parse_scaled(text, 0, "base units").map(Self)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BaseUnits;
        impl serde::de::Visitor<'_> for BaseUnits {
            type Value = Amount;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number of base units, as a string or an integer")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Amount, E> {
                text.parse().map_err(E::custom)
            }
            // Integers arrive exactly; what arrives as a float is refused by the default.
            fn visit_u64<E>(self, units: u64) -> Result<Amount, E> {
                Ok(Amount(units.into()))
            }
            fn visit_u128<E>(self, units: u128) -> Result<Amount, E> {
                Ok(Amount(units))
            }
        }
        deserializer.deserialize_any(BaseUnits)
    }
}

/// What an amount is of: a short code and the number of decimals (0–30) of its base unit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "UncheckedAsset")]
pub struct Asset {
    code: Cow<'static, str>,
    scale: u8,
}

#[derive(Deserialize)]
struct UncheckedAsset {
    code: String,
    scale: u8,
}

impl TryFrom<UncheckedAsset> for Asset {
    type Error = AmountError;
    fn try_from(asset: UncheckedAsset) -> Result<Self, AmountError> {
        Self::new(&asset.code, asset.scale)
    }
}

impl Asset {
    /// The fog's own token: 18 decimals.
    pub const FOG: Self = Self { code: Cow::Borrowed("FOG"), scale: 18 };
    /// Toncoin: 9 decimals.
    pub const TON: Self = Self { code: Cow::Borrowed("TON"), scale: 9 };
    /// US dollars: 2 decimals.
    pub const USD: Self = Self { code: Cow::Borrowed("USD"), scale: 2 };
    /// Compute units: 6 decimals, so that a unit of one core for an hour can be told to 4 ms. What
    /// a unit is, a fog's price list says.
    pub const COMPUTE: Self = Self { code: Cow::Borrowed("COMPUTE"), scale: 6 };
    /// The assets that every fog knows. 2^127 base units of each can be held and moved.
    pub const TABLE: [Self; 4] = [Self::FOG, Self::TON, Self::USD, Self::COMPUTE];
    /// The most decimals an asset may have.
    pub const MAX_SCALE: u8 = 30;

    /// An asset of your own.
    ///
    /// # Errors
    /// [`AmountError::BadCode`] unless `code` is 1–16 ASCII letters and digits,
    /// [`AmountError::BadScale`] beyond 30 decimals.
    pub fn new(code: &str, scale: u8) -> Result<Self, AmountError> {
        if code.is_empty() || code.len() > 16 || !code.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(AmountError::BadCode(code.chars().take(32).collect()));
        }
        if scale > Self::MAX_SCALE {
            return Err(AmountError::BadScale(scale));
        }
        Ok(Self { code: Cow::Owned(code.to_owned()), scale })
    }

    /// The asset of [`TABLE`](Self::TABLE) with this code, in capitals.
    #[must_use]
    pub fn known(code: &str) -> Option<Self> {
        Self::TABLE.into_iter().find(|asset| asset.code() == code)
    }

    /// The code, such as `FOG`.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The number of decimals.
    #[must_use]
    pub const fn scale(&self) -> u8 {
        self.scale
    }

    /// Reads a decimal text such as `25.5` or `2.55e1`.
    ///
    /// # Errors
    /// Refuses, rather than rounds: negative numbers, NaN and infinity, white space, digits that
    /// the asset's decimals cannot express, and what does not fit in 128 bits.
    pub fn parse(&self, text: &str) -> Result<Amount, AmountError> {
        parse_scaled(text, self.scale, &self.code).map(Amount)
    }

    /// The exact decimal text with all of the asset's decimals: `25.500000000`.
    #[must_use]
    pub fn decimal(&self, amount: Amount) -> String {
        let scale = usize::from(self.scale);
        if scale == 0 {
            return amount.to_string();
        }
        let digits = format!("{:0>width$}", amount.0, width = scale + 1);
        let (whole, decimals) = digits.split_at(digits.len() - scale);
        format!("{whole}.{decimals}")
    }

    /// For people: no trailing zeros, and the code behind it: `25.5 TON`.
    #[must_use]
    pub fn display(&self, amount: Amount) -> impl fmt::Display {
        let mut text = self.decimal(amount);
        if text.contains('.') {
            text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
        }
        format!("{text} {}", self.code)
    }
}

/// No number that fits in 128 bits needs a longer text.
const MAX_TEXT: usize = 128;

/// Reads `text` as a whole number of units of 10^−`scale`.
fn parse_scaled(text: &str, scale: u8, code: &str) -> Result<u128, AmountError> {
    let shown = || text.chars().take(64).collect::<String>();
    let not_decimal = || AmountError::NotDecimal(shown());
    if text.len() > MAX_TEXT {
        return Err(not_decimal());
    }
    if text.starts_with('-') {
        return Err(AmountError::Negative(shown()));
    }
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            (mantissa, exponent.parse::<i16>().map_err(|_| not_decimal())?)
        }
        None => (text, 0),
    };
    let (whole, decimals) = match mantissa.split_once('.') {
        Some((_, "")) => return Err(not_decimal()),
        Some(parts) => parts,
        None => (mantissa, ""),
    };
    if whole.is_empty() || !(whole.bytes().chain(decimals.bytes())).all(|b| b.is_ascii_digit()) {
        return Err(not_decimal());
    }
    let digits = format!("{whole}{decimals}");
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return Ok(0);
    }
    // Trailing zeros carry no information: cut them, and count them into the power of ten.
    let zeros = digits.len() - digits.trim_end_matches('0').len();
    let shift = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let power = i64::from(scale) + i64::from(exponent) + shift(zeros) - shift(decimals.len());
    let Ok(power) = u32::try_from(power) else {
        return Err(AmountError::TooFine { text: shown(), code: code.to_owned(), scale });
    };
    let factor = 10_u128.checked_pow(power).ok_or(AmountError::TooLarge)?;
    let value: u128 = significant.parse().map_err(|_| AmountError::TooLarge)?;
    value.checked_mul(factor).ok_or(AmountError::TooLarge)
}

/// The text of a decimal number that stood in JSON as a string or as a number, for
/// [`Asset::parse`]. A number's digits are taken as they were written: `0.1` is one tenth.
///
/// ```
/// use fogcore::amount::{Asset, DecimalText};
/// let text: DecimalText = serde_json::from_str("25.500000001").unwrap();
/// assert_eq!(Asset::TON.parse(text.as_str())?.base_units(), 25_500_000_001);
/// # Ok::<(), fogcore::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct DecimalText(String);

impl DecimalText {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for DecimalText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text = raw.get();
        match text.as_bytes().first() {
            Some(b'"') => serde_json::from_str(text).map(Self).map_err(D::Error::custom),
            Some(b'-' | b'0'..=b'9') => Ok(Self(text.to_owned())),
            _ => Err(D::Error::custom("expected a number or a decimal string")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimal_texts_are_read_exactly() {
        for (text, units) in [
            ("0", 0),
            ("1", 1_000_000_000),
            ("0.000000001", 1),
            ("25.5", 25_500_000_000),
            ("2.55e1", 25_500_000_000),
            ("1e-9", 1),
            ("1E+2", 100_000_000_000),
            ("0.0000000010", 1),
            ("000.5", 500_000_000),
            ("0e-999", 0),
        ] {
            assert_eq!(Asset::TON.parse(text).unwrap().base_units(), units, "{text}");
        }
    }

    #[test]
    fn what_is_not_exactly_an_amount_is_refused() {
        for text in
            ["", " 1", "1 ", "+1", ".5", "5.", "1.2.3", "NaN", "inf", "0x10", "1e", "1_000", "１"]
        {
            let error = Asset::TON.parse(text).unwrap_err();
            assert!(matches!(error, AmountError::NotDecimal(_)), "{text:?} gave {error:?}");
        }
        for text in ["1e3", "1.0", "10e-1", "1E0", ""] {
            assert!(text.parse::<Amount>().is_err(), "base units are digits: {text:?}");
        }
        assert!(matches!(Asset::TON.parse("-1"), Err(AmountError::Negative(_))));
        assert!(matches!(Asset::TON.parse("0.0000000001"), Err(AmountError::TooFine { .. })));
        assert!(matches!(Asset::TON.parse("1e30"), Err(AmountError::TooLarge)));
        assert!(matches!(Asset::TON.parse("1e32767"), Err(AmountError::TooLarge)));
        assert!(matches!(Asset::TON.parse(&"9".repeat(129)), Err(AmountError::NotDecimal(_))));
    }

    #[test]
    fn an_asset_checks_its_code_and_scale_also_from_json() {
        assert!(Asset::new("", 2).is_err());
        assert!(Asset::new("A B", 2).is_err());
        assert!(Asset::new("GPU", 31).is_err());
        assert!(serde_json::from_str::<Asset>(r#"{"code":"GPU","scale":31}"#).is_err());
    }

    #[test]
    fn the_table_of_assets_is_one_that_could_be_made() {
        let scales = Asset::TABLE.map(|asset| (asset.code().to_owned(), asset.scale()));
        let named = [("FOG", 18), ("TON", 9), ("USD", 2), ("COMPUTE", 6)];
        assert_eq!(scales, named.map(|(code, scale)| (code.to_owned(), scale)));
        for asset in Asset::TABLE {
            assert_eq!(Asset::new(asset.code(), asset.scale()).unwrap(), asset);
            assert_eq!(Asset::known(asset.code()), Some(asset));
        }
        assert_eq!(Asset::known("fog"), None);
    }

    #[test]
    fn the_largest_amount_prints_and_parses() {
        for scale in [0, 2, 18, 30] {
            let asset = Asset::new("X", scale).unwrap();
            assert_eq!(asset.parse(&asset.decimal(Amount::MAX)).unwrap(), Amount::MAX);
        }
        let json = serde_json::to_string(&Amount::MAX).unwrap();
        assert_eq!(json, "\"340282366920938463463374607431768211455\"");
    }

    #[test]
    fn json_floats_are_refused_as_base_units() {
        assert!(serde_json::from_str::<Amount>("1.5").is_err());
        assert!(serde_json::from_str::<Amount>("\"1.5\"").is_err());
        assert!(serde_json::from_str::<Amount>("-1").is_err());
        assert_eq!(serde_json::from_str::<Amount>("15").unwrap(), Amount(15));
        assert!(serde_json::from_str::<DecimalText>("true").is_err());
        assert_eq!(serde_json::from_str::<DecimalText>("\"0.1\"").unwrap().as_str(), "0.1");
    }

    proptest! {
        #[test]
        fn printing_and_parsing_is_a_round_trip(units: u128, scale in 0..=30_u8) {
            let (asset, amount) = (Asset::new("X", scale).unwrap(), Amount(units));
            prop_assert_eq!(asset.parse(&asset.decimal(amount)).unwrap(), amount);
            let shown = asset.display(amount).to_string();
            prop_assert_eq!(asset.parse(shown.strip_suffix(" X").unwrap()).unwrap(), amount);
            let json = serde_json::to_string(&amount).unwrap();
            prop_assert_eq!(serde_json::from_str::<Amount>(&json).unwrap(), amount);
        }

        #[test]
        fn any_text_gives_an_amount_or_an_error(text in ".{0,140}", scale in 0..=30_u8) {
            let _ = Asset::new("X", scale).unwrap().parse(&text);
        }

        #[test]
        fn parts_sum_to_the_whole_and_are_within_one_of_their_share(
            units: u128, weights in prop::collection::vec(0..1_000_u64, 1..20),
        ) {
            prop_assume!(weights.iter().any(|w| *w > 0));
            let amount = Amount(units);
            let parts = amount.split(&weights).unwrap();
            let total = weights.iter().sum();
            prop_assert_eq!(parts.iter().try_fold(0_u128, |s, p| s.checked_add(p.0)), Some(units));
            for (part, weight) in parts.iter().zip(&weights) {
                let floor = amount.scaled(*weight, total).unwrap().0;
                prop_assert!(part.0 == floor || part.0 == floor + 1);
            }
        }

        #[test]
        fn scaling_agrees_with_plain_arithmetic_where_that_fits(
            units: u64, numerator: u64, denominator in 1..u64::MAX,
        ) {
            let plain = u128::from(units) * u128::from(numerator) / u128::from(denominator);
            let scaled = Amount(units.into()).scaled(numerator, denominator).unwrap();
            prop_assert_eq!(scaled.0, plain);
        }
    }
}
