//! The marketplace in PostgreSQL.

mod rows;

use async_trait::async_trait;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use self::rows::{BID, OFFER, TRADE, bid, offer, trade};
use super::PostgresStore;
use super::rows::{get, integer, json, name};
use crate::amount::Amount;
use crate::error::Result;
use crate::id::{BidId, NodeId, OfferId, TradeId};
use crate::registry::page_limit;
use crate::scheduler::market::{
    Bid, BidFilter, BidSpec, Due, Lane, MarketStore, Offer, OfferFilter, OfferSpec, Placed,
    Resource, Terms, Trade, TradeFilter,
};
use crate::time::Timestamp;

impl PostgresStore {
    async fn of_market<T>(
        &self,
        sql: &'static str,
        id: Uuid,
        read: fn(&PgRow) -> Result<T>,
    ) -> Result<Option<T>> {
        let row = self.readers.fetch_optional(sqlx::query(sql).bind(id)).await?;
        row.as_ref().map(read).transpose()
    }

    /// What is due of each kind, the earliest first.
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>> {
        let query = sqlx::query(
            "SELECT 0 AS kind, id, expires_at AS due FROM market_offers
             WHERE state = 'open' AND expires_at <= $1
             UNION ALL
             SELECT 1, id, expires_at FROM market_bids WHERE state = 'open' AND expires_at <= $1
             UNION ALL
             SELECT 2, id, due_at FROM market_trades WHERE state = 'held' AND due_at <= $1
             ORDER BY due, kind, id LIMIT $2",
        )
        .bind(now.as_micros())
        .bind(integer(limit));
        let due = |row: &PgRow| -> Result<Due> {
            let id = get(row, "id")?;
            Ok(match get::<i32>(row, "kind")? {
                0 => Due::Offer(OfferId::from_uuid(id)),
                1 => Due::Bid(BidId::from_uuid(id)),
                _ => Due::Trade(TradeId::from_uuid(id)),
            })
        };
        self.readers.fetch_all(query).await?.iter().map(due).collect()
    }
}

#[async_trait]
impl MarketStore for PostgresStore {
    async fn place_offer(
        &self,
        id: OfferId,
        offer: OfferSpec,
        terms: Terms,
        now: Timestamp,
    ) -> Result<Placed<Offer>> {
        self.writer.place_offer(id, offer, terms, now).await
    }

    async fn place_bid(
        &self,
        id: BidId,
        bid: BidSpec,
        terms: Terms,
        now: Timestamp,
    ) -> Result<Placed<Bid>> {
        self.writer.place_bid(id, bid, terms, now).await
    }

    async fn cancel_offer(&self, id: OfferId, now: Timestamp) -> Result<Offer> {
        self.writer.cancel_offer(self, id, now).await
    }

    async fn cancel_bid(&self, id: BidId, now: Timestamp) -> Result<Bid> {
        self.writer.cancel_bid(self, id, now).await
    }

    async fn settle(&self, trade: TradeId, paid: Amount, now: Timestamp) -> Result<Trade> {
        self.writer.settle_trade(self, trade, paid, now).await
    }

    async fn void(&self, trade: TradeId, terms: Terms, now: Timestamp) -> Result<Trade> {
        self.writer.void_trade(self, trade, terms, now).await
    }

    async fn expire_market(&self, terms: Terms, now: Timestamp, limit: usize) -> Result<Vec<Due>> {
        let due = self.due(now, page_limit(limit)?).await?;
        self.writer.expire_market(self, due, terms, now).await
    }

    async fn offer(&self, id: OfferId) -> Result<Option<Offer>> {
        self.of_market(OFFER, id.uuid(), offer).await
    }

    async fn bid(&self, id: BidId) -> Result<Option<Bid>> {
        self.of_market(BID, id.uuid(), bid).await
    }

    async fn trade(&self, id: TradeId) -> Result<Option<Trade>> {
        self.of_market(TRADE, id.uuid(), trade).await
    }

    async fn offers(
        &self,
        resource: Resource,
        filter: &OfferFilter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Offer>> {
        let query = sqlx::query(
            "SELECT offer FROM market_offers WHERE resource = $1 AND place > $2
             AND ($3::text IS NULL OR node = $3) AND ($4::text IS NULL OR owner = $4)
             AND ($5::text IS NULL OR region = $5) AND ($6::text IS NULL OR state = $6)
             ORDER BY place LIMIT $7",
        )
        .bind(resource.name())
        .bind(integer(after))
        .bind(filter.node.as_ref().map(|node| node.as_str()))
        .bind(filter.owner.as_ref().map(|owner| owner.as_str()))
        .bind(&filter.region)
        .bind(filter.state.as_ref().map(name).transpose()?)
        .bind(integer(page_limit(limit)?));
        self.readers.fetch_all(query).await?.iter().map(offer).collect()
    }

    async fn offers_of(&self, node: &NodeId) -> Result<Vec<Offer>> {
        let query = sqlx::query(
            "SELECT offer FROM market_offers WHERE node = $1 AND state = 'open'
             ORDER BY resource COLLATE \"C\", place LIMIT 1000",
        );
        let rows = self.readers.fetch_all(query.bind(node.as_str())).await?;
        rows.iter().map(offer).collect()
    }

    async fn bids(
        &self,
        resource: Resource,
        filter: &BidFilter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Bid>> {
        let query = sqlx::query(
            "SELECT bid FROM market_bids WHERE resource = $1 AND place > $2
             AND ($3::text IS NULL OR payer = $3) AND ($4::text IS NULL OR state = $4)
             ORDER BY place LIMIT $5",
        )
        .bind(resource.name())
        .bind(integer(after))
        .bind(filter.payer.as_ref().map(|payer| payer.as_str()))
        .bind(filter.state.as_ref().map(name).transpose()?)
        .bind(integer(page_limit(limit)?));
        self.readers.fetch_all(query).await?.iter().map(bid).collect()
    }

    async fn trades(
        &self,
        resource: Resource,
        filter: &TradeFilter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Trade>> {
        let query = sqlx::query(
            "SELECT trade FROM market_trades WHERE resource = $1 AND place > $2
             AND ($3::text IS NULL OR payer = $3) AND ($4::text IS NULL OR owner = $4)
             AND ($5::text IS NULL OR node = $5) AND ($6::text IS NULL OR region = $6)
             AND ($7::text IS NULL OR state = $7) AND ($8::bigint IS NULL OR at >= $8)
             AND ($9::bigint IS NULL OR at < $9) ORDER BY place LIMIT $10",
        )
        .bind(resource.name())
        .bind(integer(after))
        .bind(filter.payer.as_ref().map(|payer| payer.as_str()))
        .bind(filter.owner.as_ref().map(|owner| owner.as_str()))
        .bind(filter.node.as_ref().map(|node| node.as_str()))
        .bind(&filter.region)
        .bind(filter.state.as_ref().map(name).transpose()?)
        .bind(filter.from.map(Timestamp::as_micros))
        .bind(filter.until.map(Timestamp::as_micros))
        .bind(integer(page_limit(limit)?));
        self.readers.fetch_all(query).await?.iter().map(trade).collect()
    }

    async fn lane(&self, resource: Resource) -> Result<Lane> {
        let query = sqlx::query("SELECT lane FROM market_lanes WHERE resource = $1");
        let row = self.readers.fetch_optional(query.bind(resource.name())).await?;
        Ok(row.as_ref().map(|row| json(row, "lane")).transpose()?.unwrap_or_default())
    }
}
