//! The rules of the market without I/O: who gets what of whom, and what that changes.
//!
//! A store loads what a call touches, makes the call here together with the ledger's book, and
//! writes back what [`Market::take_changes`] names. Each market (one resource) has a [`Lane`], which
//! every change of it touches: it gives out places, knows how much there is of everything, and in a
//! database its row is the lock.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::{
    Bid, BidState, Depth, Due, MarketError, Offer, OfferState, Resource, Trade, TradeState,
};
use crate::amount::Amount;
use crate::id::{BidId, OfferId, TradeId};
use crate::time::Timestamp;

/// The most offers that a bid is weighed against, of each [pricing](super::Pricing), and the most
/// bids that an offer is: the cheapest, and those that would pay most.
pub const MAX_CANDIDATES: usize = 64;

/// The most regions in which one resource is traded.
const MAX_REGIONS: usize = 1_024;

/// What holds for all of one market.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lane {
    /// How many offers there ever were.
    pub offers: u64,
    /// How many bids there ever were.
    pub bids: u64,
    /// How many trades there ever were.
    pub trades: u64,
    /// How many offers have something left.
    pub open_offers: u64,
    /// How many bids wait.
    pub open_bids: u64,
    /// What is for hire and what is wanted, by region; bids that want any are under none.
    pub depth: BTreeMap<String, Depth>,
}

impl Lane {
    /// What matters to who wants something in `region`: its offers, and the bids for it and for any.
    #[must_use]
    pub fn depth_of(&self, region: &str) -> Depth {
        let here = self.depth.get(region).copied().unwrap_or_default();
        let anywhere = self.depth.get("").copied().unwrap_or_default();
        if region.is_empty() {
            return here;
        }
        Depth { demand: here.demand.saturating_add(anywhere.demand), ..here }
    }
}

/// Where an offer stands among those of its resource and pricing: the cheapest first, then the
/// earliest.
type OfferRank = (Resource, bool, Amount, u64);

/// Where a bid stands among those for its resource: who would pay most first, then the earliest.
type BidRank = (Resource, std::cmp::Reverse<Amount>, u64);

/// The part of the market that one unit of work touches; all of it in the memory store.
#[derive(Debug, Default)]
pub struct Market {
    pub(super) lanes: BTreeMap<Resource, Lane>,
    pub(super) offers: HashMap<OfferId, Offer>,
    pub(super) bids: HashMap<BidId, Bid>,
    pub(super) trades: HashMap<TradeId, Trade>,
    /// Those with something left, in the order in which they are looked at.
    open_offers: BTreeMap<OfferRank, OfferId>,
    open_bids: BTreeMap<BidRank, BidId>,
    /// What ends when, if nothing else ends it.
    ends: BTreeSet<(Timestamp, Due)>,
    changes: MarketChanges,
}

/// What changed in a [`Market`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MarketChanges {
    /// Lanes that changed.
    pub lanes: BTreeSet<Resource>,
    /// Offers that were added or changed.
    pub offers: BTreeSet<OfferId>,
    /// Bids that were added or changed.
    pub bids: BTreeSet<BidId>,
    /// Trades that were added or changed.
    pub trades: BTreeSet<TradeId>,
}

impl Market {
    /// Puts in a lane as it is stored.
    pub fn load_lane(&mut self, resource: Resource, lane: Lane) {
        self.lanes.insert(resource, lane);
    }

    /// Puts in an offer as it is stored, unless it is there.
    pub fn load_offer(&mut self, offer: Offer) {
        if !self.offers.contains_key(&offer.id) {
            self.index_offer(None, &offer);
            self.offers.insert(offer.id, offer);
        }
    }

    /// Puts in a bid as it is stored, unless it is there.
    pub fn load_bid(&mut self, bid: Bid) {
        if !self.bids.contains_key(&bid.id) {
            self.index_bid(None, &bid);
            self.bids.insert(bid.id, bid);
        }
    }

    /// Puts in a trade as it is stored, unless it is there.
    pub fn load_trade(&mut self, trade: Trade) {
        if !self.trades.contains_key(&trade.id) {
            self.index_trade(&trade);
            self.trades.insert(trade.id, trade);
        }
    }

    /// The lane of a resource, as it is known.
    #[must_use]
    pub fn lane(&self, resource: Resource) -> Option<&Lane> {
        self.lanes.get(&resource)
    }

    /// The offer, if it is loaded.
    #[must_use]
    pub fn offer(&self, id: OfferId) -> Option<&Offer> {
        self.offers.get(&id)
    }

    /// The bid, if it is loaded.
    #[must_use]
    pub fn bid(&self, id: BidId) -> Option<&Bid> {
        self.bids.get(&id)
    }

    /// The trade, if it is loaded.
    #[must_use]
    pub fn trade(&self, id: TradeId) -> Option<&Trade> {
        self.trades.get(&id)
    }

    /// All offers that are loaded, in no order.
    pub fn offers(&self) -> impl Iterator<Item = &Offer> {
        self.offers.values()
    }

    /// All bids that are loaded, in no order.
    pub fn bids(&self) -> impl Iterator<Item = &Bid> {
        self.bids.values()
    }

    /// All trades that are loaded, in no order.
    pub fn trades(&self) -> impl Iterator<Item = &Trade> {
        self.trades.values()
    }

    /// What is loaded and over at `now`, at most `limit`, the earliest first.
    #[must_use]
    pub fn due(&self, now: Timestamp, limit: usize) -> Vec<Due> {
        let over = self.ends.iter().take_while(|(at, _)| *at <= now);
        over.map(|(_, due)| *due).take(limit).collect()
    }

    /// Takes what changed since it was last taken.
    pub fn take_changes(&mut self) -> MarketChanges {
        std::mem::take(&mut self.changes)
    }

    /// The offers of a resource and pricing with something left, the cheapest first.
    pub(super) fn cheapest(&self, resource: Resource, spot: bool) -> impl Iterator<Item = &Offer> {
        let from = (resource, spot, Amount::ZERO, 0);
        let to = (resource, spot, Amount::MAX, u64::MAX);
        self.open_offers.range(from..=to).filter_map(|(_, id)| self.offers.get(id))
    }

    /// The bids for a resource that wait, who would pay most first.
    pub(super) fn dearest(&self, resource: Resource) -> impl Iterator<Item = &Bid> {
        let from = (resource, std::cmp::Reverse(Amount::MAX), 0);
        let to = (resource, std::cmp::Reverse(Amount::ZERO), u64::MAX);
        self.open_bids.range(from..=to).filter_map(|(_, id)| self.bids.get(id))
    }

    /// The lane of a resource, to be changed.
    pub(super) fn change_lane(&mut self, resource: Resource) -> &mut Lane {
        self.changes.lanes.insert(resource);
        self.lanes.entry(resource).or_default()
    }

    /// Whether one more may be open in this market.
    pub(super) fn check_room(
        &self,
        resource: Resource,
        (what, open): (&'static str, fn(&Lane) -> u64),
        region: &str,
        max: u64,
    ) -> Result<(), MarketError> {
        let Some(lane) = self.lanes.get(&resource) else { return Ok(()) };
        if open(lane) >= max {
            return Err(MarketError::Full { what, resource, max });
        }
        if lane.depth.len() >= MAX_REGIONS && !lane.depth.contains_key(region) {
            return Err(MarketError::TooManyRegions(resource));
        }
        Ok(())
    }

    /// Keeps an offer as it is now, with all that follows from it.
    pub(super) fn keep_offer(&mut self, offer: Offer) {
        let before = self.offers.get(&offer.id).cloned();
        let (was, is) = (before.as_ref().map_or(0, Offer::open), offer.open());
        let lane = self.change_lane(offer.spec.resource);
        lane.open_offers = counted(lane.open_offers, was, is);
        let region = offer.spec.region.clone();
        lane.changed(region, |depth| depth.supply = depth.supply.saturating_sub(was) + is);
        self.index_offer(before.as_ref(), &offer);
        self.changes.offers.insert(offer.id);
        self.offers.insert(offer.id, offer);
    }

    /// Keeps a bid as it is now, with all that follows from it.
    pub(super) fn keep_bid(&mut self, bid: Bid) {
        let before = self.bids.get(&bid.id).cloned();
        let (was, is) = (before.as_ref().map_or(0, Bid::open), bid.open());
        let lane = self.change_lane(bid.spec.resource);
        lane.open_bids = counted(lane.open_bids, was, is);
        let region = bid.spec.region.clone().unwrap_or_default();
        lane.changed(region, |depth| depth.demand = depth.demand.saturating_sub(was) + is);
        self.index_bid(before.as_ref(), &bid);
        self.changes.bids.insert(bid.id);
        self.bids.insert(bid.id, bid);
    }

    /// Keeps a trade as it is now.
    pub(super) fn keep_trade(&mut self, trade: Trade) {
        self.index_trade(&trade);
        self.changes.trades.insert(trade.id);
        self.trades.insert(trade.id, trade);
    }

    fn index_offer(&mut self, before: Option<&Offer>, offer: &Offer) {
        let rank = |offer: &Offer| {
            let spec = &offer.spec;
            (spec.resource, spec.pricing == super::Pricing::Spot, spec.price, offer.place)
        };
        if let Some(before) = before {
            self.open_offers.remove(&rank(before));
        }
        if offer.open() > 0 {
            self.open_offers.insert(rank(offer), offer.id);
        }
        let is_open = offer.state == OfferState::Open;
        self.index_end(offer.spec.expires_at, Due::Offer(offer.id), is_open);
    }

    fn index_bid(&mut self, before: Option<&Bid>, bid: &Bid) {
        let rank =
            |bid: &Bid| (bid.spec.resource, std::cmp::Reverse(bid.spec.max_price), bid.place);
        if let Some(before) = before {
            self.open_bids.remove(&rank(before));
        }
        if bid.open() > 0 {
            self.open_bids.insert(rank(bid), bid.id);
        }
        self.index_end(bid.expires_at, Due::Bid(bid.id), bid.state == BidState::Open);
    }

    fn index_trade(&mut self, trade: &Trade) {
        self.index_end(trade.due_at, Due::Trade(trade.id), trade.state == TradeState::Held);
    }

    fn index_end(&mut self, at: Timestamp, due: Due, is_open: bool) {
        if is_open {
            self.ends.insert((at, due));
        } else {
            self.ends.remove(&(at, due));
        }
    }
}

impl Lane {
    /// Changes the depth of a region, and forgets regions without any.
    fn changed(&mut self, region: String, change: impl FnOnce(&mut Depth)) {
        let mut depth = self.depth.remove(&region).unwrap_or_default();
        change(&mut depth);
        if depth != Depth::default() {
            self.depth.insert(region, depth);
        }
    }
}

/// How many are open, after one of them went from `was` to `is` left.
fn counted(open: u64, was: u64, is: u64) -> u64 {
    match (was > 0, is > 0) {
        (false, true) => open + 1,
        (true, false) => open.saturating_sub(1),
        _ => open,
    }
}

/// Whether an offer or bid is over.
pub(super) const fn is_over(offer: OfferState) -> bool {
    !matches!(offer, OfferState::Open)
}

/// Whether a bid is over.
pub(super) const fn has_ended(bid: BidState) -> bool {
    !matches!(bid, BidState::Open)
}
