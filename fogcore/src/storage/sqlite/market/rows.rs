//! Loads what calls of the market look at, and writes back what changed.

use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::super::error::OrStoreError;
use super::super::loaded::Loaded;
use super::super::rows::{amount_bytes, id_bytes, integer, json, name, to_json};
use crate::amount::Amount;
use crate::error::Result;
use crate::scheduler::market::{
    Bid, BidSpec, Lane, MAX_CANDIDATES, Offer, OfferSpec, Pricing, Resource, Trade,
};
use crate::storage::market::{Search, Touch};
use crate::storage::request::Wanted;
use crate::time::Timestamp;

impl Loaded {
    /// Loads what these calls look at. Nothing of it stays loaded.
    pub(in crate::storage::sqlite) async fn load_market(
        &mut self,
        connection: &mut SqliteConnection,
        wanted: &mut Wanted,
    ) -> Result<()> {
        let touched = std::mem::take(&mut wanted.market);
        let market = &mut self.set.market;
        for touch in &touched {
            if market.lane(touch.resource).is_none() {
                market.load_lane(touch.resource, lane(&mut *connection, touch.resource).await?);
            }
            if let Some(id) = touch.offer {
                let there = one(connection, OFFER, id_bytes(id.uuid()), offer).await?;
                there.into_iter().for_each(|offer| market.load_offer(offer));
            }
            if let Some(id) = touch.bid {
                let there = one(connection, BID, id_bytes(id.uuid()), bid).await?;
                there.into_iter().for_each(|bid| market.load_bid(bid));
            }
            if let Some(id) = touch.trade {
                let there = one(connection, TRADE, id_bytes(id.uuid()), trade).await?;
                there.into_iter().for_each(|trade| market.load_trade(trade));
            }
            match &touch.search {
                Some(Search::Offers { bid, fixed, spot }) => {
                    for (is_spot, most) in [(false, fixed), (true, spot)] {
                        let found = offers_for(connection, bid, is_spot, *most, touch.now).await?;
                        found.into_iter().for_each(|offer| market.load_offer(offer));
                    }
                }
                Some(Search::Bids { offer, least }) => {
                    let found = bids_for(connection, offer, *least, touch.now).await?;
                    found.into_iter().for_each(|bid| market.load_bid(bid));
                }
                None => {}
            }
        }
        Touch::money(&touched, market, wanted);
        Ok(())
    }

    /// Writes what changed in the market, and forgets it: others may change it next.
    pub(in crate::storage::sqlite) async fn save_market(
        &mut self,
        connection: &mut SqliteConnection,
    ) -> Result<()> {
        let mut market = std::mem::take(&mut self.set.market);
        let changes = market.take_changes();
        for resource in &changes.lanes {
            let Some(lane) = market.lane(*resource) else { continue };
            sqlx::query("INSERT OR REPLACE INTO market_lanes (resource, lane) VALUES (?, ?)")
                .bind(resource.name())
                .bind(to_json(lane)?)
                .execute(&mut *connection)
                .await
                .or_store_error()?;
        }
        for offer in changes.offers.iter().filter_map(|id| market.offer(*id)) {
            save_offer(connection, offer).await?;
        }
        for bid in changes.bids.iter().filter_map(|id| market.bid(*id)) {
            save_bid(connection, bid).await?;
        }
        for trade in changes.trades.iter().filter_map(|id| market.trade(*id)) {
            save_trade(connection, trade).await?;
        }
        Ok(())
    }
}

pub(super) const OFFER: &str = "SELECT offer FROM market_offers WHERE id = ?";
pub(super) const BID: &str = "SELECT bid FROM market_bids WHERE id = ?";
pub(super) const TRADE: &str = "SELECT trade FROM market_trades WHERE id = ?";

pub(super) fn offer(row: &SqliteRow) -> Result<Offer> {
    json(row, "offer")
}

pub(super) fn bid(row: &SqliteRow) -> Result<Bid> {
    json(row, "bid")
}

pub(super) fn trade(row: &SqliteRow) -> Result<Trade> {
    json(row, "trade")
}

pub(super) async fn one<T>(
    connection: &mut SqliteConnection,
    sql: &'static str,
    id: Vec<u8>,
    read: fn(&SqliteRow) -> Result<T>,
) -> Result<Option<T>> {
    let row = sqlx::query(sql).bind(id).fetch_optional(connection).await.or_store_error()?;
    row.as_ref().map(read).transpose()
}

pub(super) async fn lane(connection: &mut SqliteConnection, resource: Resource) -> Result<Lane> {
    let row = sqlx::query("SELECT lane FROM market_lanes WHERE resource = ?")
        .bind(resource.name())
        .fetch_optional(connection)
        .await
        .or_store_error()?;
    Ok(row.as_ref().map(|row| json(row, "lane")).transpose()?.unwrap_or_default())
}

/// The cheapest offers that fit a bid.
async fn offers_for(
    connection: &mut SqliteConnection,
    bid: &BidSpec,
    spot: bool,
    most: Amount,
    now: Timestamp,
) -> Result<Vec<Offer>> {
    let rows = sqlx::query(
        "SELECT offer FROM market_offers WHERE open = 1 AND resource = ?1 AND spot = ?2
         AND price <= ?3 AND expires_at > ?4 AND (?5 IS NULL OR region = ?5) AND sla >= ?6
         AND shortest <= ?7 AND longest >= ?7 AND owner <> ?8 ORDER BY price, place LIMIT ?9",
    )
    .bind(bid.resource.name())
    .bind(spot)
    .bind(amount_bytes(most))
    .bind(now.as_micros())
    .bind(&bid.region)
    .bind(i64::from(bid.sla.rank()))
    .bind(integer(bid.duration.as_micros()))
    .bind(bid.payer.as_str())
    .bind(integer(MAX_CANDIDATES))
    .fetch_all(connection)
    .await
    .or_store_error()?;
    rows.iter().map(offer).collect()
}

/// The bids that fit an offer, who would pay most first.
async fn bids_for(
    connection: &mut SqliteConnection,
    offer: &OfferSpec,
    least: Amount,
    now: Timestamp,
) -> Result<Vec<Bid>> {
    let rows = sqlx::query(
        "SELECT bid FROM market_bids WHERE state = 'open' AND resource = ?1 AND max_price >= ?2
         AND expires_at > ?3 AND (region IS NULL OR region = ?4) AND sla <= ?5
         AND duration >= ?6 AND duration <= ?7 AND payer <> ?8
         ORDER BY max_price DESC, place LIMIT ?9",
    )
    .bind(offer.resource.name())
    .bind(amount_bytes(least))
    .bind(now.as_micros())
    .bind(&offer.region)
    .bind(i64::from(offer.sla.rank()))
    .bind(integer(offer.min_duration.as_micros()))
    .bind(integer(offer.max_duration.as_micros()))
    .bind(offer.owner.as_str())
    .bind(integer(MAX_CANDIDATES))
    .fetch_all(connection)
    .await
    .or_store_error()?;
    rows.iter().map(bid).collect()
}

async fn save_offer(connection: &mut SqliteConnection, offer: &Offer) -> Result<()> {
    let spec = &offer.spec;
    sqlx::query(
        "INSERT INTO market_offers (id, resource, place, node, owner, region, state, open, spot,
             price, shortest, longest, sla, expires_at, offer)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET state = excluded.state, open = excluded.open,
             offer = excluded.offer",
    )
    .bind(id_bytes(offer.id.uuid()))
    .bind(spec.resource.name())
    .bind(integer(offer.place))
    .bind(spec.node.as_str())
    .bind(spec.owner.as_str())
    .bind(&spec.region)
    .bind(name(&offer.state)?)
    .bind(offer.open() > 0)
    .bind(spec.pricing == Pricing::Spot)
    .bind(amount_bytes(spec.price))
    .bind(integer(spec.min_duration.as_micros()))
    .bind(integer(spec.max_duration.as_micros()))
    .bind(i64::from(spec.sla.rank()))
    .bind(spec.expires_at.as_micros())
    .bind(to_json(offer)?)
    .execute(connection)
    .await
    .or_store_error()?;
    Ok(())
}

async fn save_bid(connection: &mut SqliteConnection, bid: &Bid) -> Result<()> {
    let spec = &bid.spec;
    sqlx::query(
        "INSERT INTO market_bids (id, resource, place, payer, region, state, max_price, duration,
             sla, expires_at, bid)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET state = excluded.state, bid = excluded.bid",
    )
    .bind(id_bytes(bid.id.uuid()))
    .bind(spec.resource.name())
    .bind(integer(bid.place))
    .bind(spec.payer.as_str())
    .bind(&spec.region)
    .bind(name(&bid.state)?)
    .bind(amount_bytes(spec.max_price))
    .bind(integer(spec.duration.as_micros()))
    .bind(i64::from(spec.sla.rank()))
    .bind(bid.expires_at.as_micros())
    .bind(to_json(bid)?)
    .execute(connection)
    .await
    .or_store_error()?;
    Ok(())
}

async fn save_trade(connection: &mut SqliteConnection, trade: &Trade) -> Result<()> {
    sqlx::query(
        "INSERT INTO market_trades (id, resource, place, payer, owner, node, region, state, at,
             due_at, trade)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET state = excluded.state, trade = excluded.trade",
    )
    .bind(id_bytes(trade.id.uuid()))
    .bind(trade.resource.name())
    .bind(integer(trade.place))
    .bind(trade.payer.as_str())
    .bind(trade.owner.as_str())
    .bind(trade.node.as_str())
    .bind(&trade.region)
    .bind(name(&trade.state)?)
    .bind(trade.at.as_micros())
    .bind(trade.due_at.as_micros())
    .bind(to_json(trade)?)
    .execute(connection)
    .await
    .or_store_error()?;
    Ok(())
}
