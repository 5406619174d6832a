//! The port through which the market is kept.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{
    Bid, BidSpec, BidState, Due, Lane, Offer, OfferSpec, OfferState, Placed, PricePoint, Resource,
    Terms, Trade, TradeState,
};
use crate::amount::Amount;
use crate::error::Result;
use crate::id::{AccountId, BidId, NodeId, OfferId, TradeId};
use crate::time::Timestamp;

/// Which offers are wanted: those that meet every condition set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OfferFilter {
    /// Of this node.
    pub node: Option<NodeId>,
    /// Of this owner.
    pub owner: Option<AccountId>,
    /// In this region.
    pub region: Option<String>,
    /// In this state.
    pub state: Option<OfferState>,
}

impl OfferFilter {
    /// Whether `offer` is wanted. Stores may use indexes, but this is the definition.
    #[must_use]
    pub fn matches(&self, offer: &Offer) -> bool {
        self.node.as_ref().is_none_or(|node| offer.spec.node == *node)
            && self.owner.as_ref().is_none_or(|owner| offer.spec.owner == *owner)
            && self.region.as_ref().is_none_or(|region| offer.spec.region == *region)
            && self.state.is_none_or(|state| offer.state == state)
    }
}

/// Which bids are wanted: those that meet every condition set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BidFilter {
    /// Of this payer.
    pub payer: Option<AccountId>,
    /// In this state.
    pub state: Option<BidState>,
}

impl BidFilter {
    /// Whether `bid` is wanted.
    #[must_use]
    pub fn matches(&self, bid: &Bid) -> bool {
        self.payer.as_ref().is_none_or(|payer| bid.spec.payer == *payer)
            && self.state.is_none_or(|state| bid.state == state)
    }
}

/// Which trades are wanted: those that meet every condition set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TradeFilter {
    /// Of this payer.
    pub payer: Option<AccountId>,
    /// Of this owner.
    pub owner: Option<AccountId>,
    /// Of this node.
    pub node: Option<NodeId>,
    /// In this region.
    pub region: Option<String>,
    /// In this state.
    pub state: Option<TradeState>,
    /// Made then or later.
    pub from: Option<Timestamp>,
    /// Made earlier.
    pub until: Option<Timestamp>,
}

impl TradeFilter {
    /// Whether `trade` is wanted.
    #[must_use]
    pub fn matches(&self, trade: &Trade) -> bool {
        self.payer.as_ref().is_none_or(|payer| trade.payer == *payer)
            && self.owner.as_ref().is_none_or(|owner| trade.owner == *owner)
            && self.node.as_ref().is_none_or(|node| trade.node == *node)
            && self.region.as_ref().is_none_or(|region| trade.region == *region)
            && self.state.is_none_or(|state| trade.state == state)
            && self.from.is_none_or(|from| trade.at >= from)
            && self.until.is_none_or(|until| trade.at < until)
    }
}

/// Keeps offers, bids and trades, and moves the money of trades in the same breath.
///
/// Each method is one atomic unit, and answers only once it is as durable as the store is. An error
/// means that nothing changed, or that nobody knows (Unavailable after a lost connection); every
/// call may be sent again. The rules, and what each call refuses, are those of
/// [`Market`](super::Market), which every store lets decide.
#[async_trait]
pub trait MarketStore: Send + Sync {
    /// Places an offer, and hires out to the bids that wait for it. The same id with the same
    /// content gives the offer as it is.
    async fn place_offer(
        &self,
        id: OfferId,
        offer: OfferSpec,
        terms: Terms,
        now: Timestamp,
    ) -> Result<Placed<Offer>>;

    /// Places a bid, and hires of the best offers. The same id with the same content gives the bid
    /// as it is.
    async fn place_bid(
        &self,
        id: BidId,
        bid: BidSpec,
        terms: Terms,
        now: Timestamp,
    ) -> Result<Placed<Bid>>;

    /// Calls off what is left of an offer.
    async fn cancel_offer(&self, id: OfferId, now: Timestamp) -> Result<Offer>;

    /// Calls off what a bid still waits for.
    async fn cancel_bid(&self, id: BidId, now: Timestamp) -> Result<Bid>;

    /// Ends a trade, and pays its owner.
    async fn settle(&self, trade: TradeId, paid: Amount, now: Timestamp) -> Result<Trade>;

    /// Ends a trade that came to nothing.
    async fn void(&self, trade: TradeId, terms: Terms, now: Timestamp) -> Result<Trade>;

    /// Ends what ran out of time, the earliest first ([`Market::due`](super::Market::due)), at most
    /// `limit` (1–1,000), and tells what. What cannot be ended
    /// stays as it is and keeps nothing else from ending.
    async fn expire_market(&self, terms: Terms, now: Timestamp, limit: usize) -> Result<Vec<Due>>;

    /// The offer.
    async fn offer(&self, id: OfferId) -> Result<Option<Offer>>;

    /// The bid.
    async fn bid(&self, id: BidId) -> Result<Option<Bid>>;

    /// The trade.
    async fn trade(&self, id: TradeId) -> Result<Option<Trade>>;

    /// The offers of a resource that match, in the order in which they were placed, beginning after
    /// the place `after` (0 for the first); at most `limit` (1–1,000).
    async fn offers(
        &self,
        resource: Resource,
        filter: &OfferFilter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Offer>>;

    /// What is open of a node's offers of any resource, by resource and place; at most 1,000.
    async fn offers_of(&self, node: &NodeId) -> Result<Vec<Offer>>;

    /// The bids for a resource that match, in the order in which they were placed.
    async fn bids(
        &self,
        resource: Resource,
        filter: &BidFilter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Bid>>;

    /// The trades of a resource that match, in the order in which they were made.
    async fn trades(
        &self,
        resource: Resource,
        filter: &TradeFilter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Trade>>;

    /// What holds for all of a resource's market: how much is for hire, and how much is wanted.
    async fn lane(&self, resource: Resource) -> Result<Lane>;

    /// The history of prices, which is only ever added to: what was agreed in each trade that
    /// matches, in order.
    async fn prices(
        &self,
        resource: Resource,
        filter: &TradeFilter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<PricePoint>> {
        let trades = self.trades(resource, filter, after, limit).await?;
        Ok(trades.iter().map(Trade::price_point).collect())
    }
}
