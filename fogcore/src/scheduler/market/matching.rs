//! Who hires what of whom, at what price: each call of the market, decided.

use super::book::{has_ended, is_over};
use super::{
    Bid, BidSpec, BidState, Lane, MAX_CANDIDATES, Market, MarketError, MarketPolicy, Offer,
    OfferSpec, OfferState, Pricing, Trade, TradeState, cost,
};
use crate::amount::{Amount, AmountError};
use crate::error::{Error, Result};
use crate::id::{AccountId, BidId, OfferId, TradeId};
use crate::ledger::economy::fees;
use crate::ledger::{Book, LedgerError, Side};
use crate::time::Timestamp;

/// What holds for every trade of a fog.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Terms {
    /// How the market behaves.
    pub policy: MarketPolicy,
    /// What the fog takes beside the price, in ten thousandths
    /// ([`EconomyPolicy`](crate::ledger::economy::EconomyPolicy)).
    pub fee_bps: u16,
}

/// What became of an offer or a bid.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed<T> {
    /// As it is now.
    pub placed: T,
    /// Whether it is new; false if the same was placed before.
    pub new: bool,
    /// The trades that it led to at once.
    pub trades: Vec<Trade>,
}

/// Something whose time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// An offer that nobody can hire of any more.
    Offer(OfferId),
    /// A bid that waited long enough.
    Bid(BidId),
    /// A trade that nobody settled.
    Trade(TradeId),
}

/// Why an offer and a bid did not become a trade.
enum Refused {
    /// The payer cannot pay.
    Payer(Error),
    /// The owner cannot be paid.
    Owner,
}

impl From<AmountError> for Refused {
    fn from(error: AmountError) -> Self {
        Self::Payer(error.into())
    }
}

impl Market {
    /// Places an offer, and hires out to the bids that wait for it.
    ///
    /// # Errors
    /// InvalidInput with the field's name, Conflict for an id with another content, NotFound for an
    /// owner without an account, Exhausted in a market that is full.
    pub fn place_offer(
        &mut self,
        book: &mut Book,
        id: OfferId,
        spec: OfferSpec,
        terms: &Terms,
        now: Timestamp,
    ) -> Result<Placed<Offer>> {
        if let Some(there) = self.offer(id) {
            if there.spec != spec {
                return Err(MarketError::OfferExists(id).into());
            }
            return Ok(Placed { placed: there.clone(), new: false, trades: Vec::new() });
        }
        spec.check(now)?;
        must_have_account(book, &spec.owner, Side::Credit)?;
        let open: (_, fn(&Lane) -> u64) = ("offers", |lane| lane.open_offers);
        self.check_room(spec.resource, open, &spec.region, terms.policy.max_open)?;
        let lane = self.change_lane(spec.resource);
        lane.offers += 1;
        let (place, left) = (lane.offers, spec.amount);
        let state = OfferState::Open;
        self.keep_offer(Offer { id, place, spec, left, placed_at: now, state });
        let trades = self.sell(book, id, terms, now)?;
        let placed = self.offer(id).cloned().ok_or(MarketError::OfferNotFound(id))?;
        Ok(Placed { placed, new: true, trades })
    }

    /// Places a bid, and hires of the best offers; what it does not get, it waits for.
    ///
    /// # Errors
    /// InvalidInput with the field's name, Conflict for an id with another content, NotFound for a
    /// payer without an account, Exhausted in a market that is full, or if there is an offer and the
    /// payer can pay nothing of it.
    pub fn place_bid(
        &mut self,
        book: &mut Book,
        id: BidId,
        spec: BidSpec,
        terms: &Terms,
        now: Timestamp,
    ) -> Result<Placed<Bid>> {
        if let Some(there) = self.bid(id) {
            if there.spec != spec {
                return Err(MarketError::BidExists(id).into());
            }
            return Ok(Placed { placed: there.clone(), new: false, trades: Vec::new() });
        }
        spec.check()?;
        must_have_account(book, &spec.payer, Side::Debit)?;
        let region = spec.region.as_deref().unwrap_or_default();
        let open: (_, fn(&Lane) -> u64) = ("bids", |lane| lane.open_bids);
        self.check_room(spec.resource, open, region, terms.policy.max_open)?;
        let mut bid = Bid {
            id,
            place: 0,
            left: spec.amount,
            fills: 0,
            placed_at: now,
            expires_at: now.saturating_add(spec.ttl.unwrap_or(terms.policy.bid_ttl)),
            state: BidState::Open,
            spec,
        };
        let trades = self.buy(book, &mut bid, terms, now)?;
        let lane = self.change_lane(bid.spec.resource);
        lane.bids += 1;
        bid.place = lane.bids;
        self.keep_bid(bid.clone());
        Ok(Placed { placed: bid, new: true, trades })
    }

    /// Calls off what is left of an offer; what was hired stays hired.
    ///
    /// # Errors
    /// NotFound, or Conflict if its time is over.
    pub fn cancel_offer(&mut self, id: OfferId) -> Result<Offer> {
        let mut offer = self.offer(id).cloned().ok_or(MarketError::OfferNotFound(id))?;
        match offer.state {
            OfferState::Cancelled => return Ok(offer),
            OfferState::Open => offer.state = OfferState::Cancelled,
            state @ OfferState::Expired => return Err(MarketError::OfferEnded { id, state }.into()),
        }
        self.keep_offer(offer.clone());
        Ok(offer)
    }

    /// Calls off what a bid still waits for; what it got, it keeps.
    ///
    /// # Errors
    /// NotFound, or Conflict if it ended otherwise.
    pub fn cancel_bid(&mut self, id: BidId) -> Result<Bid> {
        let mut bid = self.bid(id).cloned().ok_or(MarketError::BidNotFound(id))?;
        match bid.state {
            BidState::Cancelled => return Ok(bid),
            BidState::Open => bid.state = BidState::Cancelled,
            state => return Err(MarketError::BidEnded { id, state }.into()),
        }
        self.keep_bid(bid.clone());
        Ok(bid)
    }

    /// Ends a trade: pays `paid` of what it costs to the owner, and the fee on that, and frees the
    /// rest. Again with the same price, it is given back as it is.
    ///
    /// # Errors
    /// NotFound, InvalidInput for more than was agreed, Conflict if it ended otherwise or its time
    /// is over.
    pub fn settle(
        &mut self,
        book: &mut Book,
        id: TradeId,
        paid: Amount,
        now: Timestamp,
    ) -> Result<Trade> {
        let mut trade = self.trade(id).cloned().ok_or(MarketError::TradeNotFound(id))?;
        match trade.state {
            TradeState::Settled if trade.paid == paid => return Ok(trade),
            TradeState::Held if trade.due_at <= now => {
                return Err(MarketError::TooLate(id).into());
            }
            TradeState::Held => {}
            state => return Err(MarketError::TradeEnded { id, state }.into()),
        }
        if paid > trade.cost {
            return Err(MarketError::MoreThanAgreed(id).into());
        }
        book.apply_chain(&trade.settle(paid)?, now)?;
        (trade.state, trade.paid, trade.ended_at) = (TradeState::Settled, paid, Some(now));
        self.keep_trade(trade.clone());
        Ok(trade)
    }

    /// Ends a trade that came to nothing: frees what was reserved, and what was hired is for hire
    /// again if its offer still is. Again, it is given back as it is.
    ///
    /// # Errors
    /// NotFound, or Conflict if it was settled.
    pub fn void(
        &mut self,
        book: &mut Book,
        id: TradeId,
        terms: &Terms,
        now: Timestamp,
    ) -> Result<Trade> {
        let mut trade = self.trade(id).cloned().ok_or(MarketError::TradeNotFound(id))?;
        match trade.state {
            TradeState::Voided => return Ok(trade),
            TradeState::Held => {}
            state @ TradeState::Settled => {
                return Err(MarketError::TradeEnded { id, state }.into());
            }
        }
        book.apply_chain(&trade.void(), now)?;
        (trade.state, trade.ended_at) = (TradeState::Voided, Some(now));
        self.keep_trade(trade.clone());
        let offer = self.offer(trade.offer).filter(|offer| !is_over(offer.state)).cloned();
        if let Some(mut offer) = offer {
            offer.left = offer.left.saturating_add(trade.amount).min(offer.spec.amount);
            self.keep_offer(offer);
            self.sell(book, trade.offer, terms, now)?;
        }
        Ok(trade)
    }

    /// Ends it, if its time is over; says whether it did.
    ///
    /// # Errors
    /// What keeps a hold from being ended, which would be damage.
    pub fn expire(
        &mut self,
        book: &mut Book,
        due: Due,
        terms: &Terms,
        now: Timestamp,
    ) -> Result<bool> {
        match due {
            Due::Offer(id) => {
                let over = |offer: &&Offer| !is_over(offer.state) && offer.spec.expires_at <= now;
                let Some(mut offer) = self.offer(id).filter(over).cloned() else {
                    return Ok(false);
                };
                offer.state = OfferState::Expired;
                self.keep_offer(offer);
            }
            Due::Bid(id) => {
                let over = |bid: &&Bid| !has_ended(bid.state) && bid.expires_at <= now;
                let Some(mut bid) = self.bid(id).filter(over).cloned() else { return Ok(false) };
                bid.state = BidState::Expired;
                self.keep_bid(bid);
            }
            Due::Trade(id) => {
                let over = |trade: &Trade| trade.state == TradeState::Held && trade.due_at <= now;
                if !self.trade(id).is_some_and(over) {
                    return Ok(false);
                }
                self.void(book, id, terms, now)?;
            }
        }
        Ok(true)
    }

    /// Hires for a bid that is not kept yet, of the best offers first.
    fn buy(
        &mut self,
        book: &mut Book,
        bid: &mut Bid,
        terms: &Terms,
        now: Timestamp,
    ) -> Result<Vec<Trade>> {
        let (mut trades, policy, most) = (Vec::new(), &terms.policy, bid.spec.max_price);
        let mut found: Vec<(f64, Amount, u64, OfferId)> = Vec::new();
        for pricing in [Pricing::Fixed, Pricing::Spot] {
            let floor = |offer: &Offer| policy.floor(&offer.spec).is_ok_and(|floor| floor <= most);
            let offers = self.cheapest(bid.spec.resource, pricing == Pricing::Spot);
            let fit = offers
                .take_while(|offer| floor(offer))
                .filter(|offer| offer.spec.expires_at > now && bid.spec.fits(&offer.spec));
            for offer in fit.take(MAX_CANDIDATES) {
                let price = self.price_of(&offer.spec, bid.left, policy)?;
                if price <= most {
                    let score = policy.score(&offer.spec, price, most);
                    found.push((score, price, offer.place, offer.id));
                }
            }
        }
        found.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        for (_, price, _, id) in found {
            let Some(mut offer) = self.offer(id).cloned() else { continue };
            match self.fill(book, &mut offer, bid, price, terms, now) {
                Ok(trade) => {
                    self.keep_offer(offer);
                    trades.push(trade);
                }
                Err(Refused::Owner) => continue,
                // Nothing was done yet: the payer may get funds, and try again under the same id.
                Err(Refused::Payer(error)) if trades.is_empty() => return Err(error),
                Err(Refused::Payer(_)) => bid.state = BidState::Unfunded,
            }
            if bid.state != BidState::Open {
                break;
            }
        }
        Ok(trades)
    }

    /// Hires out what is left of an offer, to who would pay most first.
    fn sell(
        &mut self,
        book: &mut Book,
        id: OfferId,
        terms: &Terms,
        now: Timestamp,
    ) -> Result<Vec<Trade>> {
        let (mut trades, policy) = (Vec::new(), &terms.policy);
        let alive = |offer: &&Offer| offer.spec.expires_at > now;
        let Some(mut offer) = self.offer(id).filter(alive).cloned() else { return Ok(trades) };
        let price = self.price_of(&offer.spec, 0, policy)?;
        let bids = self.dearest(offer.spec.resource);
        let found: Vec<_> = bids
            .take_while(|bid| bid.spec.max_price >= price)
            .filter(|bid| bid.expires_at > now && bid.spec.fits(&offer.spec))
            .take(MAX_CANDIDATES)
            .map(|bid| bid.id)
            .collect();
        for bid in found {
            let Some(mut bid) = self.bid(bid).cloned() else { continue };
            match self.fill(book, &mut offer, &mut bid, price, terms, now) {
                Ok(trade) => {
                    self.keep_offer(offer.clone());
                    trades.push(trade);
                }
                Err(Refused::Owner) => break,
                // It would only be in the way of those who can pay.
                Err(Refused::Payer(_)) => bid.state = BidState::Unfunded,
            }
            self.keep_bid(bid);
            if offer.open() == 0 {
                break;
            }
        }
        Ok(trades)
    }

    /// What one unit of an offer costs for one hour, where `more` is wanted than is known.
    fn price_of(
        &self,
        offer: &OfferSpec,
        more: u64,
        policy: &MarketPolicy,
    ) -> Result<Amount, AmountError> {
        let lane = self.lane(offer.resource);
        let mut depth = lane.map(|lane| lane.depth_of(&offer.region)).unwrap_or_default();
        depth.demand = depth.demand.saturating_add(more);
        policy.price(offer, depth)
    }

    /// Makes a trade of as much as both can, with its money: all of it or nothing.
    fn fill(
        &mut self,
        book: &mut Book,
        offer: &mut Offer,
        bid: &mut Bid,
        price: Amount,
        terms: &Terms,
        now: Timestamp,
    ) -> Result<Trade, Refused> {
        let (spec, amount) = (&offer.spec, offer.open().min(bid.open()));
        let cost = cost(price, amount, bid.spec.duration)?;
        let fee = fees::fee(cost, terms.fee_bps)?;
        let until = now.saturating_add(bid.spec.duration);
        let number = [bid.id.uuid().as_bytes().as_slice(), &bid.fills.to_le_bytes()].concat();
        let mut trade = Trade {
            id: TradeId::derive(&number, "trade"),
            place: 0,
            offer: offer.id,
            bid: bid.id,
            node: spec.node.clone(),
            owner: spec.owner.clone(),
            payer: bid.spec.payer.clone(),
            resource: spec.resource,
            region: spec.region.clone(),
            amount,
            price,
            duration: bid.spec.duration,
            cost,
            fee_bps: terms.fee_bps,
            fee,
            at: now,
            due_at: until.saturating_add(terms.policy.settle_within),
            state: TradeState::Held,
            paid: Amount::ZERO,
            ended_at: None,
        };
        book.apply_chain(&trade.reserve(), now).map_err(|error| {
            let total = cost.checked_add(fee);
            let can_pay = total.is_ok_and(|total| can_pay(book, &trade.payer, total));
            if can_pay { Refused::Owner } else { Refused::Payer(error.into()) }
        })?;
        let lane = self.change_lane(trade.resource);
        lane.trades += 1;
        trade.place = lane.trades;
        offer.left -= amount;
        bid.left -= amount;
        bid.fills += 1;
        if bid.left == 0 {
            bid.state = BidState::Filled;
        }
        self.keep_trade(trade.clone());
        Ok(trade)
    }
}

/// Whether it is the payer's fault if a payment is refused.
fn can_pay(book: &Book, payer: &AccountId, amount: Amount) -> bool {
    book.account(payer).is_some_and(|account| {
        let covered = !account.debits_must_not_exceed_credits || amount <= account.available();
        covered && !account.closed
    })
}

fn must_have_account(book: &Book, account: &AccountId, side: Side) -> Result<(), LedgerError> {
    match book.account(account) {
        Some(_) => Ok(()),
        None => Err(LedgerError::AccountNotFound { side, account: account.clone() }),
    }
}
