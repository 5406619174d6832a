//! Offers, bids and trades on the wire. Quantities are units (cores, GiB, GPUs, Mbit/s) in
//! thousandths; prices are tokens for a unit for an hour.

use std::time::Duration;

use fogcore::amount::{Asset, DecimalText};
use fogcore::id::AccountId;
use fogcore::registry::{Millis, Percent};
use fogcore::scheduler::market::{
    Bid, BidSpec, Offer, OfferSpec, OfferState, Pricing, Resource, SlaClass, Tier, Trade,
    TradeState,
};
use fogcore::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::nodes::within;
use crate::api::money;
use crate::http::extract::number;
use crate::http::problem::Problem;

/// What is for hire.
#[derive(Debug, Deserialize, ToSchema)]
pub struct OfferBody {
    /// Your own id for it: sent again, it is the same offer.
    pub offer_id: Option<Uuid>,
    /// The node that has it.
    #[schema(example = "laptop-1")]
    pub node_id: String,
    /// Who is paid. Default: you.
    pub owner: Option<String>,
    /// `cpu`, `memory`, `gpu`, `storage` or `bandwidth`.
    #[schema(value_type = String, example = "cpu")]
    pub resource: Resource,
    /// How much, in thousandths of a unit.
    #[schema(minimum = 1, example = 4000)]
    pub amount_milli: u64,
    /// What a unit costs for an hour, in tokens.
    #[schema(value_type = String, example = "0.5")]
    pub price_per_hour: DecimalText,
    /// `fixed` (default), or `spot`: then the price is the base of the market's.
    #[serde(default)]
    #[schema(value_type = String, example = "fixed")]
    pub pricing: Pricing,
    /// The shortest hire. Default one minute.
    #[serde(default = "minute")]
    pub min_duration_seconds: u64,
    /// The longest hire. Default one day.
    #[serde(default = "day")]
    pub max_duration_seconds: u64,
    /// The best class of service that it is good for: `s`, `a` or `b` (default).
    #[serde(default)]
    #[schema(value_type = String, example = "b")]
    pub sla: SlaClass,
    /// `basic` (default), `standard`, `premium` or `enterprise`.
    #[serde(default)]
    #[schema(value_type = String, example = "basic")]
    pub tier: Tier,
    /// Where the node stands.
    #[serde(default)]
    pub region: String,
    /// How far it is trusted, in per cent.
    pub trust_percent: Option<f64>,
    /// How long it takes to answer.
    pub latency_ms: Option<f64>,
    /// When it ends, in RFC 3339. Default: in a day.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
}

const fn minute() -> u64 {
    60
}

const fn day() -> u64 {
    86_400
}

impl OfferBody {
    /// The offer, paid to `owner` unless it names another one.
    ///
    /// # Errors
    /// The field that cannot be.
    pub fn parse(
        self,
        owner: &AccountId,
        asset: &Asset,
        now: Timestamp,
    ) -> Result<OfferSpec, Problem> {
        Ok(OfferSpec {
            node: self.node_id.parse()?,
            owner: self.owner.map_or_else(|| Ok(owner.clone()), |named| named.parse())?,
            resource: self.resource,
            amount: self.amount_milli,
            price: money::read(asset, "price_per_hour", &self.price_per_hour)?,
            pricing: self.pricing,
            min_duration: Duration::from_secs(self.min_duration_seconds),
            max_duration: Duration::from_secs(self.max_duration_seconds),
            sla: self.sla,
            tier: self.tier,
            region: self.region,
            trust: within("trust_percent", self.trust_percent, Percent::new)?,
            latency: within("latency_ms", self.latency_ms, Millis::new)?,
            expires_at: self
                .expires_at
                .unwrap_or_else(|| now.saturating_add(Duration::from_secs(day()))),
        })
    }
}

/// What is wanted.
#[derive(Debug, Deserialize, ToSchema)]
pub struct BidBody {
    /// Your own id for it: sent again, it is the same bid.
    pub bid_id: Option<Uuid>,
    /// Who pays. Default: you.
    pub payer: Option<String>,
    /// `cpu`, `memory`, `gpu`, `storage` or `bandwidth`.
    #[schema(value_type = String, example = "cpu")]
    pub resource: Resource,
    /// How much, in thousandths of a unit.
    #[schema(minimum = 1, example = 2000)]
    pub amount_milli: u64,
    /// The most that a unit may cost for an hour, in tokens.
    #[schema(value_type = String, example = "0.6")]
    pub max_price_per_hour: DecimalText,
    /// For how long it is hired.
    #[schema(minimum = 1, example = 3600)]
    pub duration_seconds: u64,
    /// The class of service that it must be good for: `s`, `a` or `b` (default).
    #[serde(default)]
    #[schema(value_type = String, example = "b")]
    pub sla: SlaClass,
    /// Where it must stand.
    pub region: Option<String>,
    /// How long the bid waits. Default 10 minutes.
    pub ttl_seconds: Option<u64>,
}

impl BidBody {
    /// The bid, paid by `payer` unless it names another one.
    ///
    /// # Errors
    /// The field that cannot be.
    pub fn parse(self, payer: &AccountId, asset: &Asset) -> Result<BidSpec, Problem> {
        Ok(BidSpec {
            payer: self.payer.map_or_else(|| Ok(payer.clone()), |named| named.parse())?,
            resource: self.resource,
            amount: self.amount_milli,
            max_price: money::read(asset, "max_price_per_hour", &self.max_price_per_hour)?,
            duration: Duration::from_secs(self.duration_seconds),
            sla: self.sla,
            region: self.region,
            ttl: self.ttl_seconds.map(Duration::from_secs),
        })
    }
}

/// An offer.
#[derive(Debug, Serialize, ToSchema)]
pub struct OfferAnswer {
    /// Its id.
    pub offer_id: String,
    /// Its place among the offers of the resource.
    pub place: u64,
    /// The node that has it.
    pub node_id: String,
    /// Who is paid.
    pub owner: String,
    /// What it is.
    pub resource: &'static str,
    /// What is left of it, in thousandths of a unit.
    pub left_milli: u64,
    /// How much there was, in thousandths of a unit.
    pub amount_milli: u64,
    /// What is asked for a unit for an hour.
    pub price_per_hour: f64,
    /// The same, exactly.
    pub price_per_hour_exact: String,
    /// `fixed` or `spot`.
    #[schema(value_type = String)]
    pub pricing: Pricing,
    /// The shortest hire.
    pub min_duration_seconds: u64,
    /// The longest hire.
    pub max_duration_seconds: u64,
    /// The best class of service that it is good for.
    #[schema(value_type = String)]
    pub sla: SlaClass,
    /// The level of service that it comes with.
    #[schema(value_type = String)]
    pub tier: Tier,
    /// Where the node stands.
    pub region: String,
    /// `open`, `cancelled` or `expired`.
    #[schema(value_type = String)]
    pub state: OfferState,
    /// When it ends, in RFC 3339.
    #[schema(format = DateTime)]
    pub expires_at: String,
}

impl OfferAnswer {
    /// An offer as it is.
    #[must_use]
    pub fn of(asset: &Asset, offer: &Offer) -> Self {
        let spec = &offer.spec;
        Self {
            offer_id: offer.id.to_string(),
            place: offer.place,
            node_id: spec.node.to_string(),
            owner: spec.owner.to_string(),
            resource: spec.resource.name(),
            left_milli: offer.left,
            amount_milli: spec.amount,
            price_per_hour: money::number(asset, spec.price),
            price_per_hour_exact: asset.decimal(spec.price),
            pricing: spec.pricing,
            min_duration_seconds: spec.min_duration.as_secs(),
            max_duration_seconds: spec.max_duration.as_secs(),
            sla: spec.sla,
            tier: spec.tier,
            region: spec.region.clone(),
            state: offer.state,
            expires_at: spec.expires_at.to_string(),
        }
    }
}

/// A bid.
#[derive(Debug, Serialize, ToSchema)]
pub struct BidAnswer {
    /// Its id.
    pub bid_id: String,
    /// Who pays.
    pub payer: String,
    /// What is wanted.
    pub resource: &'static str,
    /// How much, in thousandths of a unit.
    pub amount_milli: u64,
    /// What it has not got, in thousandths of a unit.
    pub left_milli: u64,
    /// `open`, `filled`, `cancelled`, `expired` or `unfunded`.
    #[schema(value_type = String)]
    pub state: fogcore::scheduler::market::BidState,
    /// Until when it waits, in RFC 3339.
    #[schema(format = DateTime)]
    pub expires_at: String,
}

impl BidAnswer {
    /// A bid as it is.
    #[must_use]
    pub fn of(bid: &Bid) -> Self {
        Self {
            bid_id: bid.id.to_string(),
            payer: bid.spec.payer.to_string(),
            resource: bid.spec.resource.name(),
            amount_milli: bid.spec.amount,
            left_milli: bid.left,
            state: bid.state,
            expires_at: bid.expires_at.to_string(),
        }
    }
}

/// A trade.
#[derive(Debug, Serialize, ToSchema)]
pub struct TradeAnswer {
    /// Its id.
    pub trade_id: String,
    /// Its place among the trades of the resource.
    pub place: u64,
    /// The offer that it is a part of.
    pub offer_id: String,
    /// The bid that it is a part of.
    pub bid_id: String,
    /// The node that has what was hired.
    pub node_id: String,
    /// Who is paid.
    pub owner: String,
    /// Who pays.
    pub payer: String,
    /// What was hired.
    pub resource: &'static str,
    /// How much, in thousandths of a unit.
    pub amount_milli: u64,
    /// For how long.
    pub duration_seconds: u64,
    /// What all of it costs.
    pub cost: f64,
    /// The same, exactly.
    pub cost_exact: String,
    /// The fee beside it, exactly.
    pub fee_exact: String,
    /// What the owner was paid, exactly.
    pub paid_exact: String,
    /// `held`, `settled` or `voided`.
    #[schema(value_type = String)]
    pub state: TradeState,
    /// When it was made, in RFC 3339.
    #[schema(format = DateTime)]
    pub at: String,
    /// Until when it can be settled, in RFC 3339.
    #[schema(format = DateTime)]
    pub due_at: String,
}

impl TradeAnswer {
    /// A trade as it is.
    #[must_use]
    pub fn of(asset: &Asset, trade: &Trade) -> Self {
        Self {
            trade_id: trade.id.to_string(),
            place: trade.place,
            offer_id: trade.offer.to_string(),
            bid_id: trade.bid.to_string(),
            node_id: trade.node.to_string(),
            owner: trade.owner.to_string(),
            payer: trade.payer.to_string(),
            resource: trade.resource.name(),
            amount_milli: trade.amount,
            duration_seconds: trade.duration.as_secs(),
            cost: money::number(asset, trade.cost),
            cost_exact: asset.decimal(trade.cost),
            fee_exact: asset.decimal(trade.fee),
            paid_exact: asset.decimal(trade.paid),
            state: trade.state,
            at: trade.at.to_string(),
            due_at: trade.due_at.to_string(),
        }
    }
}

/// An offer that was placed, and what came of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct OfferPlaced {
    /// The offer.
    pub offer: OfferAnswer,
    /// The trades that it led to at once.
    pub trades: Vec<TradeAnswer>,
}

/// A bid that was placed, and what came of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct BidPlaced {
    /// The bid.
    pub bid: BidAnswer,
    /// The trades that it led to at once.
    pub trades: Vec<TradeAnswer>,
}

/// Which offers or trades are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct MarketQuery {
    /// `cpu`, `memory`, `gpu`, `storage` or `bandwidth`.
    #[param(value_type = String)]
    pub resource: Resource,
    /// Only those behind this place.
    #[serde(default, deserialize_with = "number::deserialize")]
    #[param(value_type = Option<u64>)]
    pub after: Option<u64>,
    /// How many, 1–1,000. Default 100.
    #[serde(default, deserialize_with = "number::deserialize")]
    #[param(value_type = Option<usize>, minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
}

/// A page of offers.
#[derive(Debug, Serialize, ToSchema)]
pub struct OffersAnswer {
    /// In the order in which they were placed.
    pub offers: Vec<OfferAnswer>,
    /// Where the next page begins (`after`), if there may be one.
    pub next: Option<u64>,
}

/// A page of trades.
#[derive(Debug, Serialize, ToSchema)]
pub struct TradesAnswer {
    /// In the order in which they were made.
    pub trades: Vec<TradeAnswer>,
    /// Where the next page begins (`after`), if there may be one.
    pub next: Option<u64>,
}

/// How much of a trade's cost is paid.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct SettleBody {
    /// In tokens, at most what was agreed. Default: all of it.
    #[schema(value_type = Option<String>)]
    pub paid: Option<DecimalText>,
}
