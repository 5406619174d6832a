//! The marketplace in memory.

use async_trait::async_trait;

use super::{MemoryStore, State};
use crate::amount::Amount;
use crate::error::Result;
use crate::id::{BidId, NodeId, OfferId, TradeId};
use crate::registry::{MAX_PAGE, page_limit};
use crate::scheduler::WorkingSet;
use crate::scheduler::market::{
    Bid, BidFilter, BidSpec, Due, Lane, MarketStore, Offer, OfferFilter, OfferSpec, OfferState,
    Placed, Resource, Terms, Trade, TradeFilter,
};
use crate::time::Timestamp;

impl State {
    /// Makes a change of the market, and takes in what it changed.
    fn trade<T>(&mut self, now: Timestamp, change: impl FnOnce(&mut WorkingSet) -> T) -> T {
        let answer = change(&mut self.set);
        // All of it is here already.
        self.set.market.take_changes();
        self.settle(now);
        answer
    }
}

/// The items of a resource that match, in the order of their places.
fn page<'m, T: Clone + 'm>(
    items: impl Iterator<Item = &'m T>,
    place: impl Fn(&T) -> u64,
    after: u64,
    limit: usize,
) -> Result<Vec<T>> {
    let mut items: Vec<_> = items.filter(|item| place(item) > after).collect();
    items.sort_unstable_by_key(|item| place(item));
    Ok(items.into_iter().take(page_limit(limit)?).cloned().collect())
}

#[async_trait]
impl MarketStore for MemoryStore {
    async fn place_offer(
        &self,
        id: OfferId,
        offer: OfferSpec,
        terms: Terms,
        now: Timestamp,
    ) -> Result<Placed<Offer>> {
        self.lock().trade(now, |set| set.market.place_offer(&mut set.book, id, offer, &terms, now))
    }

    async fn place_bid(
        &self,
        id: BidId,
        bid: BidSpec,
        terms: Terms,
        now: Timestamp,
    ) -> Result<Placed<Bid>> {
        self.lock().trade(now, |set| set.market.place_bid(&mut set.book, id, bid, &terms, now))
    }

    async fn cancel_offer(&self, id: OfferId, now: Timestamp) -> Result<Offer> {
        self.lock().trade(now, |set| set.market.cancel_offer(id))
    }

    async fn cancel_bid(&self, id: BidId, now: Timestamp) -> Result<Bid> {
        self.lock().trade(now, |set| set.market.cancel_bid(id))
    }

    async fn settle(&self, trade: TradeId, paid: Amount, now: Timestamp) -> Result<Trade> {
        self.lock().trade(now, |set| set.market.settle(&mut set.book, trade, paid, now))
    }

    async fn void(&self, trade: TradeId, terms: Terms, now: Timestamp) -> Result<Trade> {
        self.lock().trade(now, |set| set.market.void(&mut set.book, trade, &terms, now))
    }

    async fn expire_market(&self, terms: Terms, now: Timestamp, limit: usize) -> Result<Vec<Due>> {
        let limit = page_limit(limit)?;
        let ended = self.lock().trade(now, |set| {
            let mut due = set.market.due(now, limit);
            due.retain(|due| {
                let ended = set.market.expire(&mut set.book, *due, &terms, now);
                ended.unwrap_or_else(|error| {
                    tracing::error!(%error, ?due, "it cannot be ended");
                    false
                })
            });
            due
        });
        Ok(ended)
    }

    async fn offer(&self, id: OfferId) -> Result<Option<Offer>> {
        Ok(self.lock().set.market.offer(id).cloned())
    }

    async fn bid(&self, id: BidId) -> Result<Option<Bid>> {
        Ok(self.lock().set.market.bid(id).cloned())
    }

    async fn trade(&self, id: TradeId) -> Result<Option<Trade>> {
        Ok(self.lock().set.market.trade(id).cloned())
    }

    async fn offers(
        &self,
        resource: Resource,
        filter: &OfferFilter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Offer>> {
        let state = self.lock();
        let of = |offer: &&Offer| offer.spec.resource == resource && filter.matches(offer);
        page(state.set.market.offers().filter(of), |offer| offer.place, after, limit)
    }

    async fn offers_of(&self, node: &NodeId) -> Result<Vec<Offer>> {
        let state = self.lock();
        let open = |offer: &&Offer| offer.spec.node == *node && offer.state == OfferState::Open;
        let mut offers: Vec<_> = state.set.market.offers().filter(open).cloned().collect();
        offers.sort_unstable_by_key(|offer| (offer.spec.resource.name(), offer.place));
        offers.truncate(MAX_PAGE);
        Ok(offers)
    }

    async fn bids(
        &self,
        resource: Resource,
        filter: &BidFilter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Bid>> {
        let state = self.lock();
        let of = |bid: &&Bid| bid.spec.resource == resource && filter.matches(bid);
        page(state.set.market.bids().filter(of), |bid| bid.place, after, limit)
    }

    async fn trades(
        &self,
        resource: Resource,
        filter: &TradeFilter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Trade>> {
        let state = self.lock();
        let of = |trade: &&Trade| trade.resource == resource && filter.matches(trade);
        page(state.set.market.trades().filter(of), |trade| trade.place, after, limit)
    }

    async fn lane(&self, resource: Resource) -> Result<Lane> {
        Ok(self.lock().set.market.lane(resource).cloned().unwrap_or_default())
    }
}
