//! The constants of the market, each with its reason.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Depth, OfferSpec, Pricing, spot_price};
use crate::amount::{Amount, AmountError};
use crate::error::{Error, Result};

/// How the market behaves. All processes on one store must agree in it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MarketPolicy {
    /// How long a bid waits unless it says otherwise. Default 10 min.
    pub bid_ttl: Duration,
    /// The least that scarcity makes of a base price, in parts in a million. Default 0.5.
    pub spot_min_ppm: u32,
    /// The most, at most 2. Default 2.
    pub spot_max_ppm: u32,
    /// Weight of a low price when the best offer is looked for. Default 0.4.
    pub price: f64,
    /// Weight of trust. Default 0.3.
    pub trust: f64,
    /// Weight of a quick answer. Default 0.2.
    pub latency: f64,
    /// Weight of the level of service. Default 0.1.
    pub tier: f64,
    /// The latency that is worth nothing any more. Default 1 s.
    pub slowest: Duration,
    /// How long after its end a hire can be settled; then its hold is freed, because nobody said
    /// that it was delivered. Default 1 h.
    pub settle_within: Duration,
    /// How many offers, and how many bids, of one resource may be open. Default 100,000.
    pub max_open: u64,
}

impl Default for MarketPolicy {
    fn default() -> Self {
        Self {
            bid_ttl: Duration::from_secs(600),
            spot_min_ppm: 500_000,
            spot_max_ppm: MOST_PPM,
            price: 0.4,
            trust: 0.3,
            latency: 0.2,
            tier: 0.1,
            slowest: Duration::from_secs(1),
            settle_within: Duration::from_secs(3_600),
            max_open: 100_000,
        }
    }
}

/// No policy lets a spot price be more than twice its base.
const MOST_PPM: u32 = 2_000_000;

/// The most that an offer with this price can cost per unit and hour.
pub(super) fn dearest(price: Amount) -> Result<Amount, AmountError> {
    price.scaled(2, 1)
}

impl MarketPolicy {
    /// Checks what would make no sense.
    ///
    /// # Errors
    /// InvalidInput with the field's name.
    pub fn check(&self) -> Result<()> {
        let wrong = |field, why: &str| Err(Error::invalid(field, why.to_owned()));
        super::goods::check_time("market.bid_ttl", self.bid_ttl)?;
        super::goods::check_time("market.settle_within", self.settle_within)?;
        super::goods::check_time("market.slowest", self.slowest)?;
        if self.spot_max_ppm > MOST_PPM || self.spot_min_ppm > self.spot_max_ppm {
            return wrong("market.spot_max_ppm", "must be between spot_min_ppm and 2000000");
        }
        let weights = [self.price, self.trust, self.latency, self.tier];
        if !weights.iter().all(|weight| (0.0..=1.0).contains(weight)) {
            return wrong("market", "every weight must be between 0 and 1");
        }
        Ok(())
    }

    /// What one unit of an offer costs for one hour in a market of this depth.
    ///
    /// # Errors
    /// [`AmountError::TooLarge`] beyond 2^128 − 1 base units.
    pub fn price(&self, offer: &OfferSpec, depth: Depth) -> Result<Amount, AmountError> {
        match offer.pricing {
            Pricing::Fixed => Ok(offer.price),
            Pricing::Spot => spot_price(self, offer.price, depth),
        }
    }

    /// The least that one unit of an offer can cost for one hour, however little is wanted.
    ///
    /// # Errors
    /// None, with the bounds that [`check`](Self::check) lets through.
    pub fn floor(&self, offer: &OfferSpec) -> Result<Amount, AmountError> {
        match offer.pricing {
            Pricing::Fixed => Ok(offer.price),
            Pricing::Spot => offer.price.scaled(self.spot_min_ppm.into(), 1_000_000),
        }
    }

    /// The dearest base of a spot offer that can cost `price` at all: what stores look for.
    #[must_use]
    pub fn dearest_base(&self, price: Amount) -> Amount {
        // floor(base · min) ≤ price exactly if base · min < price + 1.
        let above = price.checked_add(Amount::from_base_units(1));
        above
            .and_then(|above| above.scaled(1_000_000, self.spot_min_ppm.into()))
            .unwrap_or(Amount::MAX)
    }

    /// How good an offer is for somebody who would pay `most`, if it costs `price`: 0–1, where
    /// more is better. Only for comparing.
    #[must_use]
    pub fn score(&self, offer: &OfferSpec, price: Amount, most: Amount) -> f64 {
        let cheap = if most.is_zero() { 1.0 } else { 1.0 - ratio(price, most) };
        let trust = offer.trust.map_or(1.0, |trust| trust.get() / 100.0);
        let slowest = self.slowest.as_secs_f64() * 1_000.0;
        let quick = offer.latency.map_or(0.0, |latency| (1.0 - latency.get() / slowest).max(0.0));
        let terms = [
            (self.price, cheap),
            (self.trust, trust),
            (self.latency, quick),
            (self.tier, offer.tier.worth()),
        ];
        terms.into_iter().map(|(weight, term)| weight * term).sum()
    }
}

/// Only for comparing: no float becomes money.
fn ratio(part: Amount, whole: Amount) -> f64 {
    const PARTS: u64 = 1 << 32;
    // Exact to 2^-32, and the same everywhere, however large the amounts.
    let shift = 64_u32.saturating_sub(whole.base_units().leading_zeros());
    let [part, whole] = [part, whole].map(|a| a.base_units() >> shift);
    let whole = u64::try_from(whole).unwrap_or(u64::MAX).max(1);
    let scaled: Result<Amount, AmountError> = Amount::from_base_units(part).scaled(PARTS, whole);
    let parts = scaled.map_or(PARTS, |parts| u64::try_from(parts.base_units()).unwrap_or(PARTS));
    let parts = u32::try_from(parts.min(PARTS - 1)).unwrap_or(u32::MAX);
    f64::from(parts) / 4_294_967_296.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Millis, Percent};
    use crate::scheduler::market::Tier;
    use crate::scheduler::market::tests::offer;

    #[test]
    fn the_score_weighs_price_trust_latency_and_tier() {
        let (policy, units) = (MarketPolicy::default(), Amount::from_base_units);
        let plain = offer("n", 1_000, 10);
        let is = |offer: &OfferSpec, price, expected: f64| {
            let score = policy.score(offer, units(price), units(20));
            assert!((score - expected).abs() < 1e-6, "{score} is not {expected}");
        };
        is(&plain, 0, 0.4 + 0.3);
        is(&plain, 10, 0.2 + 0.3);
        is(&OfferSpec { trust: Some(Percent::new(50.0).unwrap()), ..plain.clone() }, 20, 0.15);
        is(&OfferSpec { latency: Some(Millis::new(250.0).unwrap()), ..plain.clone() }, 20, 0.45);
        is(&OfferSpec { tier: Tier::Enterprise, ..plain.clone() }, 20, 0.4);
        let huge = policy.score(&plain, Amount::MAX, Amount::MAX);
        assert!((huge - 0.3).abs() < 1e-6, "{huge}");
    }

    #[test]
    fn every_limit_names_its_field() {
        type Spoil = fn(&mut MarketPolicy);
        let cases: [(&str, Spoil); 6] = [
            ("market.bid_ttl", |p| p.bid_ttl = Duration::ZERO),
            ("market.settle_within", |p| p.settle_within = Duration::MAX),
            ("market.slowest", |p| p.slowest = Duration::ZERO),
            ("market.spot_max_ppm", |p| p.spot_max_ppm = 2_000_001),
            ("market.spot_max_ppm", |p| p.spot_max_ppm = 1),
            ("market", |p| p.trust = f64::NAN),
        ];
        for (field, spoil) in cases {
            let mut policy = MarketPolicy::default();
            spoil(&mut policy);
            assert_eq!(policy.check().unwrap_err().field(), Some(field));
        }
        MarketPolicy::default().check().unwrap();
        assert_eq!(serde_json::from_str::<MarketPolicy>("{}").unwrap(), MarketPolicy::default());
    }
}
