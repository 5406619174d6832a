//! Offers and bids: what is for hire, and what is wanted.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::goods::{check_quantity, check_region, check_time};
use super::{MAX_TIME, Resource, SlaClass, Tier};
use crate::amount::Amount;
use crate::error::{Error, Result};
use crate::id::{AccountId, BidId, NodeId, OfferId};
use crate::registry::{Millis, Percent};
use crate::time::Timestamp;

/// How an offer's price follows the market.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pricing {
    /// What is asked is the price.
    #[default]
    Fixed,
    /// What is asked is the base of the [spot price](super::spot_price).
    Spot,
}

/// What is offered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OfferSpec {
    /// The node that has it.
    pub node: NodeId,
    /// Who is paid.
    pub owner: AccountId,
    /// What it is.
    pub resource: Resource,
    /// How much, in thousandths of a unit, 1 to 2^40.
    pub amount: u64,
    /// What is asked for one unit for one hour, in base units.
    pub price: Amount,
    /// Whether that is the price, or its base.
    #[serde(default)]
    pub pricing: Pricing,
    /// The shortest hire.
    pub min_duration: Duration,
    /// The longest hire, up to 366 days.
    pub max_duration: Duration,
    /// The best class of service that it is good for.
    #[serde(default)]
    pub sla: SlaClass,
    /// The level of service that it comes with.
    #[serde(default)]
    pub tier: Tier,
    /// Where the node stands, up to 64 characters; empty if unknown.
    #[serde(default)]
    pub region: String,
    /// How far the node is trusted, as known when it was offered; all the way unless told.
    #[serde(default)]
    pub trust: Option<Percent>,
    /// How long the node takes to answer, as known when it was offered. One that nobody measured
    /// gains nothing by it.
    #[serde(default)]
    pub latency: Option<Millis>,
    /// When it ends, at most 366 days ahead. What was hired until then stays hired.
    pub expires_at: Timestamp,
}

impl OfferSpec {
    /// Checks every limit that the types do not hold already.
    ///
    /// # Errors
    /// InvalidInput with the field's name.
    pub fn check(&self, now: Timestamp) -> Result<()> {
        check_quantity("amount", self.amount)?;
        check_time("min_duration", self.min_duration)?;
        check_time("max_duration", self.max_duration)?;
        if self.min_duration > self.max_duration {
            return Err(Error::invalid("min_duration", "cannot be longer than max_duration"));
        }
        check_region("region", &self.region)?;
        if self.owner.is_reserved() {
            return Err(Error::invalid("owner", "accounts named fog: are the fog's own"));
        }
        if self.expires_at <= now || self.expires_at.since(now) > MAX_TIME {
            return Err(Error::invalid("expires_at", "must be within the next 366 days"));
        }
        // So that every hire has a price: the dearest there can be is still an amount.
        super::dearest(self.price)
            .and_then(|dearest| super::cost(dearest, self.amount, self.max_duration))
            .map_err(|error| Error::invalid("price", error))?;
        Ok(())
    }
}

/// Where an offer is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OfferState {
    /// What is left of it can be hired.
    Open,
    /// Its owner called it off.
    Cancelled,
    /// Its time is over.
    Expired,
}

/// An offer as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// Its id, made by the client.
    pub id: OfferId,
    /// Its place among the offers of the resource, from 1.
    pub place: u64,
    /// What is offered.
    pub spec: OfferSpec,
    /// What is left of it, in thousandths of a unit.
    pub left: u64,
    /// When it was made.
    pub placed_at: Timestamp,
    /// Where it is in its life.
    pub state: OfferState,
}

impl Offer {
    /// What of it can be hired now, or as soon as somebody looks.
    #[must_use]
    pub fn open(&self) -> u64 {
        if self.state == OfferState::Open { self.left } else { 0 }
    }
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BidSpec {
    /// Who pays.
    pub payer: AccountId,
    /// What it is.
    pub resource: Resource,
    /// How much, in thousandths of a unit, 1 to 2^40.
    pub amount: u64,
    /// The most that is paid for one unit for one hour, in base units.
    pub max_price: Amount,
    /// For how long it is hired, up to 366 days.
    pub duration: Duration,
    /// The class of service that it must be good for.
    #[serde(default)]
    pub sla: SlaClass,
    /// The region that it must stand in; any, unless told.
    #[serde(default)]
    pub region: Option<String>,
    /// How long the bid waits; [`MarketPolicy::bid_ttl`](super::MarketPolicy::bid_ttl) unless told.
    #[serde(default)]
    pub ttl: Option<Duration>,
}

impl BidSpec {
    /// Checks every limit that the types do not hold already.
    ///
    /// # Errors
    /// InvalidInput with the field's name.
    pub fn check(&self) -> Result<()> {
        check_quantity("amount", self.amount)?;
        check_time("duration", self.duration)?;
        if let Some(ttl) = self.ttl {
            check_time("ttl", ttl)?;
        }
        if let Some(region) = &self.region {
            check_region("region", region)?;
        }
        if self.payer.is_reserved() {
            return Err(Error::invalid("payer", "accounts named fog: are the fog's own"));
        }
        super::cost(self.max_price, self.amount, self.duration)
            .map_err(|error| Error::invalid("max_price", error))?;
        Ok(())
    }

    /// Whether the offer is of what is wanted, whatever its price and whatever is left of it.
    #[must_use]
    pub fn fits(&self, offer: &OfferSpec) -> bool {
        self.resource == offer.resource
            && self.region.as_ref().is_none_or(|region| *region == offer.region)
            && self.sla <= offer.sla
            && (offer.min_duration..=offer.max_duration).contains(&self.duration)
            // Nobody makes prices by trading with themselves.
            && self.payer != offer.owner
    }
}

/// Where a bid is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BidState {
    /// It waits for offers.
    Open,
    /// It got all that it wanted.
    Filled,
    /// Its payer called the rest off.
    Cancelled,
    /// It waited long enough.
    Expired,
    /// There was an offer that its payer could not pay.
    Unfunded,
}

/// A bid as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bid {
    /// Its id, made by the client.
    pub id: BidId,
    /// Its place among the bids for the resource, from 1.
    pub place: u64,
    /// What is wanted.
    pub spec: BidSpec,
    /// What it has not got, in thousandths of a unit.
    pub left: u64,
    /// How many trades it led to.
    pub fills: u32,
    /// When it was made.
    pub placed_at: Timestamp,
    /// Until when it waits.
    pub expires_at: Timestamp,
    /// Where it is in its life.
    pub state: BidState,
}

impl Bid {
    /// What it still waits for.
    #[must_use]
    pub fn open(&self) -> u64 {
        if self.state == BidState::Open { self.left } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;
    const HOUR: Duration = Duration::from_secs(3_600);

    fn offer() -> OfferSpec {
        OfferSpec {
            node: "n".parse().unwrap(),
            owner: "bob".parse().unwrap(),
            resource: Resource::Cpu,
            amount: 1_000,
            price: Amount::from_base_units(10),
            pricing: Pricing::Fixed,
            min_duration: HOUR,
            max_duration: 2 * HOUR,
            sla: SlaClass::A,
            tier: Tier::Basic,
            region: "eu".to_owned(),
            trust: None,
            latency: None,
            expires_at: NOW.saturating_add(HOUR),
        }
    }

    fn bid() -> BidSpec {
        BidSpec {
            payer: "alice".parse().unwrap(),
            resource: Resource::Cpu,
            amount: 1_000,
            max_price: Amount::from_base_units(10),
            duration: HOUR,
            sla: SlaClass::B,
            region: None,
            ttl: None,
        }
    }

    #[test]
    fn every_limit_names_its_field() {
        type Spoil = fn(&mut OfferSpec);
        let cases: [(&str, Spoil); 9] = [
            ("amount", |o| o.amount = 0),
            ("amount", |o| o.amount = super::super::MAX_QUANTITY + 1),
            ("min_duration", |o| o.min_duration = Duration::ZERO),
            ("min_duration", |o| o.min_duration = 3 * HOUR),
            ("max_duration", |o| o.max_duration = Duration::MAX),
            ("region", |o| o.region = "x".repeat(65)),
            ("owner", |o| o.owner = "fog:mint".parse().unwrap()),
            ("expires_at", |o| o.expires_at = NOW),
            ("price", |o| o.price = Amount::MAX),
        ];
        for (field, spoil) in cases {
            let mut spoiled = offer();
            spoil(&mut spoiled);
            assert_eq!(spoiled.check(NOW).unwrap_err().field(), Some(field));
        }
        offer().check(NOW).unwrap();
        type Ruin = fn(&mut BidSpec);
        let cases: [(&str, Ruin); 6] = [
            ("amount", |b| b.amount = 0),
            ("duration", |b| b.duration = Duration::MAX),
            ("ttl", |b| b.ttl = Some(Duration::ZERO)),
            ("region", |b| b.region = Some("x".repeat(65))),
            ("payer", |b| b.payer = "fog:escrow".parse().unwrap()),
            ("max_price", |b| (b.max_price, b.amount) = (Amount::MAX, 1_001)),
        ];
        for (field, spoil) in cases {
            let mut spoiled = bid();
            spoil(&mut spoiled);
            assert_eq!(spoiled.check().unwrap_err().field(), Some(field));
        }
        bid().check().unwrap();
    }

    #[test]
    fn only_what_is_wanted_fits() {
        assert!(bid().fits(&offer()));
        assert!(BidSpec { region: Some("eu".to_owned()), ..bid() }.fits(&offer()));
        for unfit in [
            BidSpec { region: Some("us".to_owned()), ..bid() },
            BidSpec { resource: Resource::Gpu, ..bid() },
            BidSpec { sla: SlaClass::S, ..bid() },
            BidSpec { duration: HOUR / 2, ..bid() },
            BidSpec { duration: 3 * HOUR, ..bid() },
            BidSpec { payer: "bob".parse().unwrap(), ..bid() },
        ] {
            assert!(!unfit.fits(&offer()), "{unfit:?}");
        }
    }
}
