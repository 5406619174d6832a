//! What things cost on the market: the spot price, and what was paid so far.

use std::time::Duration;

use num_bigint::BigUint;
use serde::{Deserialize, Serialize};

use super::{MarketPolicy, Resource};
use crate::amount::{Amount, AmountError};
use crate::error::{Error, Result};
use crate::time::Timestamp;

/// How much of a resource is for hire and how much is wanted in a region, in thousandths of a unit.
/// What ran out counts until maintenance has ended it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Depth {
    /// What is left of all open offers.
    pub supply: u64,
    /// What all open bids still want.
    pub demand: u64,
}

/// `base · clamp(demand/supply, 0.5, 2)`, with the bounds of `policy`: exact, and rounded down to
/// base units once. Where nothing is for hire it is the highest there is.
///
/// ```
/// use fogcore::amount::Amount;
/// use fogcore::scheduler::market::{Depth, MarketPolicy, spot_price};
///
/// let (policy, base) = (MarketPolicy::default(), Amount::from_base_units(100));
/// let price = |demand, supply| spot_price(&policy, base, Depth { supply, demand });
/// assert_eq!(price(4_000, 3_000)?, Amount::from_base_units(133));
/// assert_eq!(price(1, 1_000)?, Amount::from_base_units(50));
/// assert_eq!(price(9_000, 1_000)?, Amount::from_base_units(200));
/// # Ok::<(), fogcore::Error>(())
/// ```
///
/// # Errors
/// [`AmountError::TooLarge`] beyond 2^128 − 1 base units.
pub fn spot_price(
    policy: &MarketPolicy,
    base: Amount,
    depth: Depth,
) -> Result<Amount, AmountError> {
    const MILLION: u128 = 1_000_000;
    let (demand, supply) = (u128::from(depth.demand), u128::from(depth.supply));
    let [lowest, highest] = [policy.spot_min_ppm, policy.spot_max_ppm].map(u128::from);
    let (factor, over) = if supply == 0 || demand * MILLION >= supply * highest {
        (highest, MILLION)
    } else if demand * MILLION <= supply * lowest {
        (lowest, MILLION)
    } else {
        (demand, supply)
    };
    let price = BigUint::from(base.base_units()) * factor / over;
    u128::try_from(price).map(Amount::from_base_units).map_err(|_| AmountError::TooLarge)
}

/// What somebody paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PricePoint {
    /// The place of the trade among all of the resource.
    pub place: u64,
    /// When.
    pub at: Timestamp,
    /// What was hired.
    pub resource: Resource,
    /// Where; empty if unknown.
    pub region: String,
    /// For one unit for one hour, in base units.
    pub price: Amount,
    /// How much was hired, in thousandths of a unit.
    pub amount: u64,
}

/// What was paid within a stretch of time: open, high, low, close, and how much was hired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candle {
    /// The beginning of the stretch.
    pub from: Timestamp,
    /// The first price.
    pub open: Amount,
    /// The highest.
    pub high: Amount,
    /// The lowest.
    pub low: Amount,
    /// The last.
    pub close: Amount,
    /// How much was hired, in thousandths of a unit.
    pub volume: u64,
    /// In how many trades.
    pub trades: u64,
}

/// Prices, summed up in stretches of `width` counted from 1970; where nothing was traded, there is
/// no candle. `points` are in the order of their places.
///
/// # Errors
/// InvalidInput for a width of less than a millisecond.
pub fn candles<'p>(
    points: impl IntoIterator<Item = &'p PricePoint>,
    width: Duration,
) -> Result<Vec<Candle>> {
    let micros = i64::try_from(width.as_micros()).unwrap_or(i64::MAX);
    if micros < 1_000 {
        return Err(Error::invalid("width", "must be at least a millisecond"));
    }
    let mut all: Vec<Candle> = Vec::new();
    for point in points {
        let at = point.at.as_micros();
        // The first stretch may begin before there is a time for it.
        let from = Timestamp::from_micros(at - at.rem_euclid(micros)).unwrap_or(point.at);
        match all.iter_mut().rfind(|candle| candle.from == from) {
            Some(candle) => {
                candle.high = candle.high.max(point.price);
                candle.low = candle.low.min(point.price);
                candle.close = point.price;
                candle.volume = candle.volume.saturating_add(point.amount);
                candle.trades += 1;
            }
            None => all.push(Candle {
                from,
                open: point.price,
                high: point.price,
                low: point.price,
                close: point.price,
                volume: point.amount,
                trades: 1,
            }),
        }
    }
    all.sort_by_key(|candle| candle.from);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use num_rational::BigRational;
    use proptest::prelude::*;

    use super::*;

    fn units(units: u128) -> Amount {
        Amount::from_base_units(units)
    }

    #[test]
    fn candles_say_how_prices_went() {
        let point = |place, seconds, price, amount| PricePoint {
            place,
            at: Timestamp::UNIX_EPOCH.saturating_add(Duration::from_secs(seconds)),
            resource: Resource::Cpu,
            region: String::new(),
            price: units(price),
            amount,
        };
        let points =
            [point(1, 5, 10, 1), point(2, 6, 30, 2), point(3, 59, 20, 3), point(4, 200, 7, 4)];
        let candles = candles(&points, Duration::from_secs(60)).unwrap();
        assert_eq!(candles.len(), 2, "nothing was traded between them");
        let first = &candles[0];
        assert_eq!((first.open, first.high), (units(10), units(30)));
        assert_eq!((first.low, first.close), (units(10), units(20)));
        assert_eq!((first.volume, first.trades, first.from), (6, 3, Timestamp::UNIX_EPOCH));
        assert_eq!(candles[1].from.as_micros(), 180_000_000);
        let refused = super::candles(&points, Duration::ZERO).unwrap_err();
        assert_eq!(refused.field(), Some("width"));
    }

    proptest! {
        #[test]
        fn the_spot_price_is_the_formula_rounded_down_once(base: u64, supply: u64, demand: u64) {
            let policy = MarketPolicy::default();
            let whole = |number: u64| BigRational::from_integer(number.into());
            let half = BigRational::new(1.into(), 2.into());
            let ratio = if supply == 0 { whole(2) } else { whole(demand) / whole(supply) };
            let exact = whole(base) * ratio.max(half).min(whole(2));
            let price = spot_price(&policy, units(base.into()), Depth { supply, demand }).unwrap();
            prop_assert_eq!(BigRational::from_integer(price.base_units().into()), exact.floor());
        }
    }
}
