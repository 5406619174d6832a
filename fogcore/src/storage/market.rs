//! The calls of the marketplace, as requests to a writer: what each touches, and how it is decided.

use super::request::{Change, Wanted};
use super::writer::{Request, Writer};
use crate::amount::Amount;
use crate::error::Result;
use crate::id::{AccountId, BidId, OfferId, TradeId};
use crate::ledger::economy::accounts;
use crate::scheduler::WorkingSet;
use crate::scheduler::market::{
    Bid, BidSpec, Due, Market, MarketError, MarketStore, Offer, OfferSpec, Placed, Resource, Terms,
    Trade,
};
use crate::time::Timestamp;

/// What a call of the market looks at.
#[derive(Clone, Debug)]
pub(super) struct Touch {
    /// The market that it is about.
    pub(super) resource: Resource,
    pub(super) offer: Option<OfferId>,
    pub(super) bid: Option<BidId>,
    pub(super) trade: Option<TradeId>,
    /// Who might trade with it.
    pub(super) search: Option<Search>,
    pub(super) now: Timestamp,
}

/// Who might trade with something; [`Market`] says what fits.
#[derive(Clone, Debug)]
pub(super) enum Search {
    /// The cheapest offers for a bid: fixed ones up to this price, and spot ones up to that.
    Offers { bid: BidSpec, fixed: Amount, spot: Amount },
    /// The bids for an offer that would pay at least this.
    Bids { offer: OfferSpec, least: Amount },
}

impl Touch {
    fn new(resource: Resource, now: Timestamp) -> Self {
        Self { resource, offer: None, bid: None, trade: None, search: None, now }
    }

    /// An offer, and the bids that might get some of it.
    fn offer(id: OfferId, spec: &OfferSpec, terms: &Terms, now: Timestamp) -> Self {
        let least = terms.policy.floor(spec).unwrap_or(spec.price);
        let search = Some(Search::Bids { offer: spec.clone(), least });
        Self { offer: Some(id), search, ..Self::new(spec.resource, now) }
    }

    /// A bid, and the offers that it might get some of.
    fn bid(id: BidId, spec: &BidSpec, terms: &Terms, now: Timestamp) -> Self {
        let fixed = spec.max_price;
        let search = Some(Search::Offers {
            bid: spec.clone(),
            fixed,
            spot: terms.policy.dearest_base(fixed),
        });
        Self { bid: Some(id), search, ..Self::new(spec.resource, now) }
    }

    /// A trade with its offer, and the bids that might get what comes back. Looked up without a lock,
    /// because of both only what never changes is used.
    async fn trade(
        store: &impl MarketStore,
        id: TradeId,
        terms: &Terms,
        now: Timestamp,
    ) -> Result<Self> {
        let trade = store.trade(id).await?.ok_or(MarketError::TradeNotFound(id))?;
        let there = store.offer(trade.offer).await?;
        let offer = there.ok_or(MarketError::OfferNotFound(trade.offer))?;
        Ok(Self { trade: Some(id), ..Self::offer(offer.id, &offer.spec, terms, now) })
    }

    /// The accounts that trading with what was loaded can touch.
    pub(super) fn money(touched: &[Self], market: &Market, wanted: &mut Wanted) {
        if touched.is_empty() {
            return;
        }
        wanted.accounts.push(accounts::own(accounts::FEES));
        wanted.accounts.extend(market.offers().map(|offer| offer.spec.owner.clone()));
        wanted.accounts.extend(market.bids().map(|bid| bid.spec.payer.clone()));
        for trade in market.trades() {
            wanted.accounts.extend([trade.owner.clone(), trade.payer.clone()]);
            wanted.transfers.extend(trade.transfers());
        }
    }
}

impl Wanted {
    fn market(touched: Touch, accounts: impl IntoIterator<Item = AccountId>) -> Self {
        let mut wanted = Self::accounts(accounts, touched.now);
        wanted.market.push(touched);
        wanted
    }
}

impl<R: Request + From<Change>> Writer<R> {
    pub(super) async fn place_offer(
        &self,
        id: OfferId,
        spec: OfferSpec,
        terms: Terms,
        now: Timestamp,
    ) -> Result<Placed<Offer>> {
        let touched = Touch::offer(id, &spec, &terms, now);
        let wanted = Wanted::market(touched, [spec.owner.clone()]);
        let place = move |set: &mut WorkingSet| {
            set.market.place_offer(&mut set.book, id, spec.clone(), &terms, now)
        };
        self.decide(wanted, place).await?
    }

    pub(super) async fn place_bid(
        &self,
        id: BidId,
        spec: BidSpec,
        terms: Terms,
        now: Timestamp,
    ) -> Result<Placed<Bid>> {
        let touched = Touch::bid(id, &spec, &terms, now);
        let wanted = Wanted::market(touched, [spec.payer.clone()]);
        let place = move |set: &mut WorkingSet| {
            set.market.place_bid(&mut set.book, id, spec.clone(), &terms, now)
        };
        self.decide(wanted, place).await?
    }

    pub(super) async fn cancel_offer(
        &self,
        store: &impl MarketStore,
        id: OfferId,
        now: Timestamp,
    ) -> Result<Offer> {
        let there = store.offer(id).await?.ok_or(MarketError::OfferNotFound(id))?;
        let touched = Touch { offer: Some(id), ..Touch::new(there.spec.resource, now) };
        let cancel = move |set: &mut WorkingSet| set.market.cancel_offer(id);
        self.decide(Wanted::market(touched, []), cancel).await?
    }

    pub(super) async fn cancel_bid(
        &self,
        store: &impl MarketStore,
        id: BidId,
        now: Timestamp,
    ) -> Result<Bid> {
        let there = store.bid(id).await?.ok_or(MarketError::BidNotFound(id))?;
        let touched = Touch { bid: Some(id), ..Touch::new(there.spec.resource, now) };
        let cancel = move |set: &mut WorkingSet| set.market.cancel_bid(id);
        self.decide(Wanted::market(touched, []), cancel).await?
    }

    pub(super) async fn settle_trade(
        &self,
        store: &impl MarketStore,
        id: TradeId,
        paid: Amount,
        now: Timestamp,
    ) -> Result<Trade> {
        let trade = store.trade(id).await?.ok_or(MarketError::TradeNotFound(id))?;
        let touched = Touch { trade: Some(id), ..Touch::new(trade.resource, now) };
        let settle = move |set: &mut WorkingSet| set.market.settle(&mut set.book, id, paid, now);
        self.decide(Wanted::market(touched, []), settle).await?
    }

    pub(super) async fn void_trade(
        &self,
        store: &impl MarketStore,
        id: TradeId,
        terms: Terms,
        now: Timestamp,
    ) -> Result<Trade> {
        let touched = Touch::trade(store, id, &terms, now).await?;
        let void = move |set: &mut WorkingSet| set.market.void(&mut set.book, id, &terms, now);
        self.decide(Wanted::market(touched, []), void).await?
    }

    /// Ends those of these whose time is over. What changed since they were found is looked at
    /// again, under the lock.
    pub(super) async fn expire_market(
        &self,
        store: &impl MarketStore,
        found: Vec<Due>,
        terms: Terms,
        now: Timestamp,
    ) -> Result<Vec<Due>> {
        let mut ended = Vec::new();
        for due in found {
            let touched = match due {
                Due::Offer(id) => store
                    .offer(id)
                    .await?
                    .map(|offer| Touch { offer: Some(id), ..Touch::new(offer.spec.resource, now) }),
                Due::Bid(id) => store
                    .bid(id)
                    .await?
                    .map(|bid| Touch { bid: Some(id), ..Touch::new(bid.spec.resource, now) }),
                Due::Trade(id) => Some(Touch::trade(store, id, &terms, now).await?),
            };
            let Some(touched) = touched else { continue };
            let expire =
                move |set: &mut WorkingSet| set.market.expire(&mut set.book, due, &terms, now);
            match self.decide(Wanted::market(touched, []), expire).await? {
                Ok(true) => ended.push(due),
                Ok(false) => {}
                Err(error) => tracing::error!(%error, ?due, "it cannot be ended"),
            }
        }
        Ok(ended)
    }
}
