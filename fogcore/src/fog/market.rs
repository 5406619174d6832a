//! The fog's marketplace: offers, bids, trades, and what they make of prices.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Fog, Shared};
use crate::amount::Amount;
use crate::error::Result;
use crate::event::Event;
use crate::id::{BidId, NodeId, OfferId, TradeId};
use crate::ledger::Account;
use crate::registry::{Node, Rates};
use crate::scheduler::market::{
    Bid, BidFilter, BidSpec, Candle, Due, Lane, MarketError, Offer, OfferFilter, OfferSpec, Placed,
    PricePoint, Resource, Terms, Trade, TradeFilter, candles, rates_of, spot_price,
};

/// A handle on a fog's marketplace.
///
/// ```
/// use std::time::Duration;
/// use fogcore::Fog;
/// use fogcore::amount::Asset;
/// use fogcore::scheduler::market::{
///     BidSpec, OfferSpec, Pricing, Resource, SlaClass, Tier, TradeState,
/// };
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let fog = Fog::open("memory:").await?;
/// let (market, hour) = (fog.market(), Duration::from_secs(3_600));
/// let fogs = |text| Asset::FOG.parse(text);
/// fog.ledger().mint(&"alice".parse()?, fogs("10")?).await?;
///
/// let offer = OfferSpec {
///     node: "laptop".parse()?,
///     owner: "bob".parse()?,
///     resource: Resource::Cpu,
///     amount: 8_000, // thousandths: eight cores
///     price: fogs("0.5")?,
///     pricing: Pricing::Fixed,
///     min_duration: hour,
///     max_duration: 24 * hour,
///     sla: SlaClass::B,
///     tier: Tier::Basic,
///     region: "eu".to_owned(),
///     trust: None,
///     latency: None,
///     expires_at: fog.clock().now().saturating_add(48 * hour),
/// };
/// market.place_offer(market.new_offer_id(), offer).await?;
/// let bid = BidSpec {
///     payer: "alice".parse()?,
///     resource: Resource::Cpu,
///     amount: 2_000,
///     max_price: fogs("0.6")?,
///     duration: 3 * hour,
///     sla: SlaClass::B,
///     region: None,
///     ttl: None,
/// };
/// let bid = market.place_bid(market.new_bid_id(), bid).await?;
/// let trade = &bid.trades[0];
/// assert_eq!(Asset::FOG.display(trade.cost).to_string(), "3 FOG");
///
/// let settled = market.settle(trade.id, trade.cost).await?;
/// assert_eq!(settled.state, TradeState::Settled);
/// # Ok::<(), fogcore::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Marketplace {
    shared: Arc<Shared>,
}

impl Fog {
    /// Its marketplace.
    #[must_use]
    pub fn market(&self) -> Marketplace {
        Marketplace { shared: self.shared.clone() }
    }
}

impl Marketplace {
    /// An id for an offer to be placed.
    #[must_use]
    pub fn new_offer_id(&self) -> OfferId {
        self.shared.ids.offer(self.shared.clock.now())
    }

    /// An id for a bid to be placed.
    #[must_use]
    pub fn new_bid_id(&self) -> BidId {
        self.shared.ids.bid(self.shared.clock.now())
    }

    /// Places an offer, and hires out to the bids that wait for it; opens the owner's account if
    /// need be. Sent again, it is given back as it is.
    ///
    /// # Errors
    /// InvalidInput with the field's name, Conflict for an id with another content, Exhausted in a
    /// market that is full.
    pub async fn place_offer(&self, id: OfferId, offer: OfferSpec) -> Result<Placed<Offer>> {
        let shared = &self.shared;
        if !offer.owner.is_reserved() {
            let account = Account::new(offer.owner.clone(), shared.config.asset.clone());
            let ledger = super::Ledger::new(shared.clone());
            ledger.open_account(account.limited_to_credits()).await?;
        }
        let node = offer.node.clone();
        let now = shared.clock.now();
        let placed = shared.stores.market.place_offer(id, offer, shared.terms(), now).await?;
        shared.offered.forget(&node);
        shared.announce_trades(&placed.trades);
        Ok(placed)
    }

    /// Places a bid, and hires of the best offers; what it does not get, it waits for. Sent again, it
    /// is given back as it is.
    ///
    /// # Errors
    /// InvalidInput with the field's name, Conflict for an id with another content, NotFound for a
    /// payer without an account, Exhausted in a market that is full, or if there is an offer and the
    /// payer can pay nothing of it.
    pub async fn place_bid(&self, id: BidId, bid: BidSpec) -> Result<Placed<Bid>> {
        let shared = &self.shared;
        let (terms, now) = (shared.terms(), shared.clock.now());
        let placed = shared.stores.market.place_bid(id, bid, terms, now).await?;
        shared.announce_trades(&placed.trades);
        Ok(placed)
    }

    /// Calls off what is left of an offer; what was hired stays hired.
    ///
    /// # Errors
    /// NotFound, or Conflict if its time is over.
    pub async fn cancel_offer(&self, id: OfferId) -> Result<Offer> {
        let shared = &self.shared;
        let offer = shared.stores.market.cancel_offer(id, shared.clock.now()).await?;
        shared.offered.forget(&offer.spec.node);
        Ok(offer)
    }

    /// Calls off what a bid still waits for; what it got, it keeps.
    ///
    /// # Errors
    /// NotFound, or Conflict if it ended otherwise.
    pub async fn cancel_bid(&self, id: BidId) -> Result<Bid> {
        self.shared.stores.market.cancel_bid(id, self.shared.clock.now()).await
    }

    /// Ends a trade: pays `paid` of what it costs to the owner, and the fee on that, and frees the
    /// rest. For whoever knows that it was delivered.
    ///
    /// # Errors
    /// NotFound, InvalidInput for more than was agreed, Conflict if it ended otherwise or its time
    /// is over.
    pub async fn settle(&self, trade: TradeId, paid: Amount) -> Result<Trade> {
        let shared = &self.shared;
        let trade = shared.stores.market.settle(trade, paid, shared.clock.now()).await?;
        shared.events.publish(Event::TradeEnded { trade: trade.id, paid: trade.paid });
        Ok(trade)
    }

    /// Ends a trade that came to nothing: all is freed, and what was hired is for hire again if its
    /// offer still is.
    ///
    /// # Errors
    /// NotFound, or Conflict if it was settled.
    pub async fn void(&self, trade: TradeId) -> Result<Trade> {
        let shared = &self.shared;
        let now = shared.clock.now();
        let trade = shared.stores.market.void(trade, shared.terms(), now).await?;
        shared.events.publish(Event::TradeEnded { trade: trade.id, paid: trade.paid });
        Ok(trade)
    }

    /// An offer as it is now.
    ///
    /// # Errors
    /// NotFound.
    pub async fn offer(&self, id: OfferId) -> Result<Offer> {
        let found = self.shared.stores.market.offer(id).await?;
        found.ok_or_else(|| MarketError::OfferNotFound(id).into())
    }

    /// A bid as it is now.
    ///
    /// # Errors
    /// NotFound.
    pub async fn bid(&self, id: BidId) -> Result<Bid> {
        let found = self.shared.stores.market.bid(id).await?;
        found.ok_or_else(|| MarketError::BidNotFound(id).into())
    }

    /// A trade as it is now.
    ///
    /// # Errors
    /// NotFound.
    pub async fn trade(&self, id: TradeId) -> Result<Trade> {
        let found = self.shared.stores.market.trade(id).await?;
        found.ok_or_else(|| MarketError::TradeNotFound(id).into())
    }

    /// The offers of a resource that match, in the order in which they were placed, beginning after
    /// the place `after` (0 for the first); at most `limit` (1–1,000).
    ///
    /// # Errors
    /// InvalidInput for a `limit` out of range.
    pub async fn offers(
        &self,
        resource: Resource,
        filter: &OfferFilter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Offer>> {
        self.shared.stores.market.offers(resource, filter, after, limit).await
    }

    /// The bids for a resource that match, in the order in which they were placed.
    ///
    /// # Errors
    /// As for [`offers`](Self::offers).
    pub async fn bids(
        &self,
        resource: Resource,
        filter: &BidFilter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Bid>> {
        self.shared.stores.market.bids(resource, filter, after, limit).await
    }

    /// The trades of a resource that match, in the order in which they were made.
    ///
    /// # Errors
    /// As for [`offers`](Self::offers).
    pub async fn trades(
        &self,
        resource: Resource,
        filter: &TradeFilter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Trade>> {
        self.shared.stores.market.trades(resource, filter, after, limit).await
    }

    /// How much of a resource is for hire and how much is wanted, by region.
    ///
    /// # Errors
    /// What the store says.
    pub async fn lane(&self, resource: Resource) -> Result<Lane> {
        self.shared.stores.market.lane(resource).await
    }

    /// What a spot offer with this base costs in `region` now, for one unit for one hour.
    ///
    /// # Errors
    /// What the store says.
    pub async fn spot_price(
        &self,
        resource: Resource,
        region: &str,
        base: Amount,
    ) -> Result<Amount> {
        let depth = self.lane(resource).await?.depth_of(region);
        Ok(spot_price(&self.shared.config.market, base, depth)?)
    }

    /// The history of prices: what was agreed in each trade that matches, in order; see
    /// [`offers`](Self::offers) for pages.
    ///
    /// # Errors
    /// InvalidInput for a `limit` out of range.
    pub async fn prices(
        &self,
        resource: Resource,
        filter: &TradeFilter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<PricePoint>> {
        self.shared.stores.market.prices(resource, filter, after, limit).await
    }

    /// A page of that history, summed up in stretches of `width`, with the place to go on after; none
    /// if there was nothing more.
    ///
    /// # Errors
    /// InvalidInput for a width of less than a millisecond, or a `limit` out of range.
    pub async fn candles(
        &self,
        resource: Resource,
        filter: &TradeFilter,
        width: Duration,
        after: u64,
        limit: usize,
    ) -> Result<(Vec<Candle>, Option<u64>)> {
        let points = self.prices(resource, filter, after, limit).await?;
        Ok((candles(&points, width)?, points.last().map(|last| last.place)))
    }

    /// What work on a node costs now: what its open offers ask for CPU, memory and GPUs, and its own
    /// rates for the rest ([`rates_of`]). Up to half a second old.
    ///
    /// # Errors
    /// What the store says.
    pub async fn rates(&self, node: &Node) -> Result<Rates> {
        self.shared.rates_now(node).await
    }
}

/// What nodes' offers made of their rates, a moment ago.
#[derive(Debug, Default)]
pub(super) struct Offered(Mutex<HashMap<NodeId, (Duration, Rates, Rates)>>);

impl Offered {
    /// How old it may be: whoever asks for work asks often, and prices are agreed for a task.
    const FRESH: Duration = Duration::from_millis(500);
    /// How many are remembered.
    const MOST: usize = 1_024;

    fn get(&self, node: &Node, now: Duration) -> Option<Rates> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, own, rates) = known.get(&node.id)?;
        (now.saturating_sub(*at) < Self::FRESH && *own == node.rates).then_some(*rates)
    }

    fn keep(&self, node: &Node, now: Duration, rates: Rates) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= Self::MOST {
            known.clear();
        }
        known.insert(node.id.clone(), (now, node.rates, rates));
    }

    fn forget(&self, node: &NodeId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(node);
    }
}

impl Shared {
    pub(super) fn terms(&self) -> Terms {
        let fee_bps = self.config.economy.marketplace_fee_bps;
        Terms { policy: self.config.market, fee_bps }
    }

    /// What work on the node costs now.
    pub(super) async fn rates_now(&self, node: &Node) -> Result<Rates> {
        // Who is not paid has no price.
        if node.owner.is_none() {
            return Ok(node.rates);
        }
        let elapsed = self.clock.elapsed();
        if let Some(rates) = self.offered.get(node, elapsed) {
            return Ok(rates);
        }
        let offers = self.stores.market.offers_of(&node.id).await?;
        // An offer in the node's name is not the node's, unless who owns it made it.
        let own: Vec<_> =
            offers.iter().filter(|offer| node.owner.as_ref() == Some(&offer.spec.owner)).collect();
        let mut lanes: BTreeMap<Resource, Lane> = BTreeMap::new();
        for resource in own.iter().map(|offer| offer.spec.resource).collect::<BTreeSet<_>>() {
            lanes.insert(resource, self.stores.market.lane(resource).await?);
        }
        let with_lanes =
            own.iter().filter_map(|offer| Some((*offer, lanes.get(&offer.spec.resource)?)));
        let rates = rates_of(&node.rates, with_lanes, &self.config.market, self.clock.now());
        self.offered.keep(node, elapsed, rates);
        Ok(rates)
    }

    /// Ends what ran out of time on the market.
    pub(super) async fn maintain_market(&self, limit: usize) -> Result<()> {
        loop {
            let now = self.clock.now();
            let ended = self.stores.market.expire_market(self.terms(), now, limit).await?;
            for due in &ended {
                if let Due::Trade(trade) = due {
                    let event = Event::TradeEnded { trade: *trade, paid: Amount::ZERO };
                    self.events.publish(event);
                }
            }
            if ended.len() < limit {
                return Ok(());
            }
        }
    }

    fn announce_trades(&self, trades: &[Trade]) {
        for trade in trades {
            let (node, cost) = (trade.node.clone(), trade.cost);
            self.events.publish(Event::TradeMade { trade: trade.id, node, cost });
        }
    }
}
