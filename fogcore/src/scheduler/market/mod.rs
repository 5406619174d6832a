//! The marketplace: owners offer what their nodes have, others bid for it, and what fits becomes a
//! trade.
//!
//! There is a market for each [`Resource`]. An offer says how much of it there is, what a unit costs
//! for an hour, and for how long, where and how well it can be had; a bid says what is wanted and
//! what it may cost at most. A bid takes the best of the offers that fit – by price, trust, latency
//! and level of service ([`MarketPolicy::score`]) – and of each only as much as it needs; an offer
//! goes to those who would pay most. What a bid does not get it waits for, 10 minutes unless it says
//! otherwise. The price is that of the offer, either what it asks or, for a [spot](Pricing::Spot)
//! offer, [what demand and supply make of it](spot_price).
//!
//! Money moves in the same atomic unit: a trade is made only together with a hold of what it costs
//! and of the fog's fee. It ends once: it is settled (the owner is paid) or voided (all is freed,
//! and what was hired is for hire again), by somebody who knows or, in the end, by time.
//!
//! ```
//! use std::time::Duration;
//! use fogcore::amount::{Amount, Asset};
//! use fogcore::id::{BidId, OfferId};
//! use fogcore::ledger::{Account, Book};
//! use fogcore::scheduler::market::{
//!     BidSpec, BidState, Market, OfferSpec, Pricing, Resource, SlaClass, Terms, Tier,
//! };
//! use fogcore::time::Timestamp;
//!
//! let (mut market, mut book) = (Market::default(), Book::default());
//! let (now, hour) = (Timestamp::UNIX_EPOCH, Duration::from_secs(3_600));
//! for name in ["alice", "bob"] {
//!     book.open(Account::new(name.parse()?, Asset::FOG), now)?;
//! }
//! let offer = OfferSpec {
//!     node: "laptop".parse()?,
//!     owner: "bob".parse()?,
//!     resource: Resource::Cpu,
//!     amount: 8_000, // eight cores
//!     price: Amount::from_base_units(50),
//!     pricing: Pricing::Fixed,
//!     min_duration: hour,
//!     max_duration: 24 * hour,
//!     sla: SlaClass::B,
//!     tier: Tier::Basic,
//!     region: "eu".to_owned(),
//!     trust: None,
//!     latency: None,
//!     expires_at: now.saturating_add(48 * hour),
//! };
//! let bid = BidSpec {
//!     payer: "alice".parse()?,
//!     resource: Resource::Cpu,
//!     amount: 2_000, // two cores
//!     max_price: Amount::from_base_units(60),
//!     duration: 3 * hour,
//!     sla: SlaClass::B,
//!     region: None,
//!     ttl: None,
//! };
//! let (id, terms) = (OfferId::derive(b"example", "offer"), Terms::default());
//! market.place_offer(&mut book, id, offer, &terms, now)?;
//! let bid = market.place_bid(&mut book, BidId::derive(b"example", "bid"), bid, &terms, now)?;
//!
//! assert_eq!(bid.placed.state, BidState::Filled);
//! assert_eq!(bid.trades[0].cost, Amount::from_base_units(2 * 3 * 50));
//! assert_eq!(market.offer(id).unwrap().left, 6_000);
//! # Ok::<(), fogcore::Error>(())
//! ```

mod book;
mod error;
mod goods;
mod matching;
mod offer;
mod policy;
mod price;
mod rates;
mod store;
mod trade;

use self::policy::dearest;
pub use super::replicas::SlaClass;

pub use self::{
    book::{Lane, MAX_CANDIDATES, Market, MarketChanges},
    error::MarketError,
    goods::{MAX_QUANTITY, MAX_TIME, Resource, Tier, cost},
    matching::{Due, Placed, Terms},
    offer::{Bid, BidSpec, BidState, Offer, OfferSpec, OfferState, Pricing},
    policy::MarketPolicy,
    price::{Candle, Depth, PricePoint, candles, spot_price},
    rates::rates_of,
    store::{BidFilter, MarketStore, OfferFilter, TradeFilter},
    trade::{Trade, TradeState},
};

#[cfg(test)]
mod tests;
