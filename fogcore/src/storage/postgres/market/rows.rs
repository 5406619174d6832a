//! Loads what calls of the market look at, and writes back what changed.

use std::collections::BTreeSet;

use sqlx::PgConnection;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::super::error::Failure;
use super::super::loaded::Loaded;
use super::super::rows::{damaged, digits, integer, json, name, named, to_json};
use crate::amount::Amount;
use crate::error::Result;
use crate::scheduler::market::{Bid, BidSpec, MAX_CANDIDATES, Offer, OfferSpec, Pricing, Trade};
use crate::storage::market::{Search, Touch};
use crate::storage::request::Wanted;
use crate::time::Timestamp;

impl Loaded {
    /// Loads what these calls look at. Nothing of it stays loaded.
    pub(in crate::storage::postgres) async fn load_market(
        &mut self,
        connection: &mut PgConnection,
        wanted: &mut Wanted,
    ) -> Result<(), Failure> {
        let touched = std::mem::take(&mut wanted.market);
        if touched.is_empty() {
            return Ok(());
        }
        let market = &mut self.set.market;
        // All that is read after this is as it is until the end of the transaction: who changes a
        // market has its lane.
        let resources: BTreeSet<_> = touched.iter().map(|touch| touch.resource).collect();
        let names: Vec<_> = resources.iter().map(|resource| resource.name()).collect();
        let rows = sqlx::query(
            "SELECT resource, lane FROM market_lanes WHERE resource = ANY($1)
             ORDER BY resource FOR UPDATE",
        )
        .bind(names)
        .fetch_all(&mut *connection)
        .await?;
        for row in rows {
            let resource = named(&row, "resource")?.ok_or_else(|| damaged("resource"))?;
            market.load_lane(resource, json(&row, "lane")?);
        }
        for touch in &touched {
            if let Some(id) = touch.offer {
                let there = one(connection, OFFER, id.uuid(), offer).await?;
                there.into_iter().for_each(|offer| market.load_offer(offer));
            }
            if let Some(id) = touch.bid {
                let there = one(connection, BID, id.uuid(), bid).await?;
                there.into_iter().for_each(|bid| market.load_bid(bid));
            }
            if let Some(id) = touch.trade {
                let there = one(connection, TRADE, id.uuid(), trade).await?;
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
    pub(in crate::storage::postgres) async fn save_market(
        &mut self,
        connection: &mut PgConnection,
    ) -> Result<(), Failure> {
        let mut market = std::mem::take(&mut self.set.market);
        let changes = market.take_changes();
        for resource in &changes.lanes {
            let Some(lane) = market.lane(*resource) else { continue };
            let done = sqlx::query("UPDATE market_lanes SET lane = $2 WHERE resource = $1")
                .bind(resource.name())
                .bind(to_json(lane)?)
                .execute(&mut *connection)
                .await?;
            if done.rows_affected() != 1 {
                return Err(damaged("resource").into());
            }
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

pub(super) const OFFER: &str = "SELECT offer FROM market_offers WHERE id = $1";
pub(super) const BID: &str = "SELECT bid FROM market_bids WHERE id = $1";
pub(super) const TRADE: &str = "SELECT trade FROM market_trades WHERE id = $1";

pub(super) fn offer(row: &PgRow) -> Result<Offer> {
    json(row, "offer")
}

pub(super) fn bid(row: &PgRow) -> Result<Bid> {
    json(row, "bid")
}

pub(super) fn trade(row: &PgRow) -> Result<Trade> {
    json(row, "trade")
}

pub(super) async fn one<T>(
    connection: &mut PgConnection,
    sql: &'static str,
    id: Uuid,
    read: fn(&PgRow) -> Result<T>,
) -> Result<Option<T>, Failure> {
    let row = sqlx::query(sql).bind(id).fetch_optional(connection).await?;
    Ok(row.as_ref().map(read).transpose()?)
}

/// The cheapest offers that fit a bid.
async fn offers_for(
    connection: &mut PgConnection,
    bid: &BidSpec,
    spot: bool,
    most: Amount,
    now: Timestamp,
) -> Result<Vec<Offer>, Failure> {
    let rows = sqlx::query(
        "SELECT offer FROM market_offers WHERE open AND resource = $1 AND spot = $2
         AND price <= $3::text::numeric AND expires_at > $4 AND ($5::text IS NULL OR region = $5) AND sla >= $6
         AND shortest <= $7 AND longest >= $7 AND owner <> $8 ORDER BY price, place LIMIT $9",
    )
    .bind(bid.resource.name())
    .bind(spot)
    .bind(digits(most))
    .bind(now.as_micros())
    .bind(&bid.region)
    .bind(i16::from(bid.sla.rank()))
    .bind(integer(bid.duration.as_micros()))
    .bind(bid.payer.as_str())
    .bind(integer(MAX_CANDIDATES))
    .fetch_all(connection)
    .await?;
    Ok(rows.iter().map(offer).collect::<Result<_>>()?)
}

/// The bids that fit an offer, who would pay most first.
async fn bids_for(
    connection: &mut PgConnection,
    offer: &OfferSpec,
    least: Amount,
    now: Timestamp,
) -> Result<Vec<Bid>, Failure> {
    let rows = sqlx::query(
        "SELECT bid FROM market_bids WHERE state = 'open' AND resource = $1 AND max_price >= $2::text::numeric
         AND expires_at > $3 AND (region IS NULL OR region = $4) AND sla <= $5
         AND duration >= $6 AND duration <= $7 AND payer <> $8
         ORDER BY max_price DESC, place LIMIT $9",
    )
    .bind(offer.resource.name())
    .bind(digits(least))
    .bind(now.as_micros())
    .bind(&offer.region)
    .bind(i16::from(offer.sla.rank()))
    .bind(integer(offer.min_duration.as_micros()))
    .bind(integer(offer.max_duration.as_micros()))
    .bind(offer.owner.as_str())
    .bind(integer(MAX_CANDIDATES))
    .fetch_all(connection)
    .await?;
    Ok(rows.iter().map(bid).collect::<Result<_>>()?)
}

async fn save_offer(connection: &mut PgConnection, offer: &Offer) -> Result<(), Failure> {
    let spec = &offer.spec;
    sqlx::query(
        "INSERT INTO market_offers (id, resource, place, node, owner, region, state, open, spot,
             price, shortest, longest, sla, expires_at, offer)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text::numeric, $11, $12, $13, $14, $15)
         ON CONFLICT (id) DO UPDATE SET state = excluded.state, open = excluded.open,
             offer = excluded.offer",
    )
    .bind(offer.id.uuid())
    .bind(spec.resource.name())
    .bind(integer(offer.place))
    .bind(spec.node.as_str())
    .bind(spec.owner.as_str())
    .bind(&spec.region)
    .bind(name(&offer.state)?)
    .bind(offer.open() > 0)
    .bind(spec.pricing == Pricing::Spot)
    .bind(digits(spec.price))
    .bind(integer(spec.min_duration.as_micros()))
    .bind(integer(spec.max_duration.as_micros()))
    .bind(i16::from(spec.sla.rank()))
    .bind(spec.expires_at.as_micros())
    .bind(to_json(offer)?)
    .execute(connection)
    .await?;
    Ok(())
}

async fn save_bid(connection: &mut PgConnection, bid: &Bid) -> Result<(), Failure> {
    let spec = &bid.spec;
    sqlx::query(
        "INSERT INTO market_bids (id, resource, place, payer, region, state, max_price, duration,
             sla, expires_at, bid)
         VALUES ($1, $2, $3, $4, $5, $6, $7::text::numeric, $8, $9, $10, $11)
         ON CONFLICT (id) DO UPDATE SET state = excluded.state, bid = excluded.bid",
    )
    .bind(bid.id.uuid())
    .bind(spec.resource.name())
    .bind(integer(bid.place))
    .bind(spec.payer.as_str())
    .bind(&spec.region)
    .bind(name(&bid.state)?)
    .bind(digits(spec.max_price))
    .bind(integer(spec.duration.as_micros()))
    .bind(i16::from(spec.sla.rank()))
    .bind(bid.expires_at.as_micros())
    .bind(to_json(bid)?)
    .execute(connection)
    .await?;
    Ok(())
}

async fn save_trade(connection: &mut PgConnection, trade: &Trade) -> Result<(), Failure> {
    sqlx::query(
        "INSERT INTO market_trades (id, resource, place, payer, owner, node, region, state, at,
             due_at, trade)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         ON CONFLICT (id) DO UPDATE SET state = excluded.state, trade = excluded.trade",
    )
    .bind(trade.id.uuid())
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
    .await?;
    Ok(())
}
