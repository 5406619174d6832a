//! The marketplace in SQLite.

mod rows;

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;

use self::rows::{BID, OFFER, TRADE, bid, lane, offer, one, trade};
use super::SqliteStore;
use super::error::OrStoreError;
use super::rows::{get, id, id_bytes, integer, name};
use crate::amount::Amount;
use crate::error::Result;
use crate::id::{BidId, NodeId, OfferId, TradeId};
use crate::registry::page_limit;
use crate::scheduler::market::{
    Bid, BidFilter, BidSpec, Due, Lane, MarketStore, Offer, OfferFilter, OfferSpec, Placed,
    Resource, Terms, Trade, TradeFilter,
};
use crate::time::Timestamp;

impl SqliteStore {
    async fn of_market<T>(
        &self,
        sql: &'static str,
        id: Vec<u8>,
        read: fn(&SqliteRow) -> Result<T>,
    ) -> Result<Option<T>> {
        let mut reader = self.readers.acquire().await.or_store_error()?;
        one(&mut reader, sql, id, read).await
    }

    /// What is due of each kind, the earliest first.
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>> {
        let rows = sqlx::query(
            "SELECT 0 AS kind, id, expires_at AS due FROM market_offers
             WHERE state = 'open' AND expires_at <= ?1
             UNION ALL
             SELECT 1, id, expires_at FROM market_bids WHERE state = 'open' AND expires_at <= ?1
             UNION ALL
             SELECT 2, id, due_at FROM market_trades WHERE state = 'held' AND due_at <= ?1
             ORDER BY due, kind, id LIMIT ?2",
        )
        .bind(now.as_micros())
        .bind(integer(limit))
        .fetch_all(&self.readers)
        .await
        .or_store_error()?;
        let due = |row: &SqliteRow| -> Result<Due> {
            let id = id(row, "id")?;
            Ok(match get::<i64>(row, "kind")? {
                0 => Due::Offer(OfferId::from_uuid(id)),
                1 => Due::Bid(BidId::from_uuid(id)),
                _ => Due::Trade(TradeId::from_uuid(id)),
            })
        };
        rows.iter().map(due).collect()
    }
}

#[async_trait]
impl MarketStore for SqliteStore {
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
        self.of_market(OFFER, id_bytes(id.uuid()), offer).await
    }

    async fn bid(&self, id: BidId) -> Result<Option<Bid>> {
        self.of_market(BID, id_bytes(id.uuid()), bid).await
    }

    async fn trade(&self, id: TradeId) -> Result<Option<Trade>> {
        self.of_market(TRADE, id_bytes(id.uuid()), trade).await
    }

    async fn offers(
        &self,
        resource: Resource,
        filter: &OfferFilter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Offer>> {
        let rows = sqlx::query(
            "SELECT offer FROM market_offers WHERE resource = ?1 AND place > ?2
             AND (?3 IS NULL OR node = ?3) AND (?4 IS NULL OR owner = ?4)
             AND (?5 IS NULL OR region = ?5) AND (?6 IS NULL OR state = ?6)
             ORDER BY place LIMIT +?7",
        )
        .bind(resource.name())
        .bind(integer(after))
        .bind(filter.node.as_ref().map(|node| node.as_str()))
        .bind(filter.owner.as_ref().map(|owner| owner.as_str()))
        .bind(&filter.region)
        .bind(filter.state.as_ref().map(name).transpose()?)
        .bind(integer(page_limit(limit)?))
        .fetch_all(&self.readers)
        .await
        .or_store_error()?;
        rows.iter().map(offer).collect()
    }

    async fn offers_of(&self, node: &NodeId) -> Result<Vec<Offer>> {
        let rows = sqlx::query(
            "SELECT offer FROM market_offers WHERE node = ? AND state = 'open'
             ORDER BY resource, place LIMIT 1000",
        )
        .bind(node.as_str())
        .fetch_all(&self.readers)
        .await
        .or_store_error()?;
        rows.iter().map(offer).collect()
    }

    async fn bids(
        &self,
        resource: Resource,
        filter: &BidFilter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Bid>> {
        let rows = sqlx::query(
            "SELECT bid FROM market_bids WHERE resource = ?1 AND place > ?2
             AND (?3 IS NULL OR payer = ?3) AND (?4 IS NULL OR state = ?4)
             ORDER BY place LIMIT +?5",
        )
        .bind(resource.name())
        .bind(integer(after))
        .bind(filter.payer.as_ref().map(|payer| payer.as_str()))
        .bind(filter.state.as_ref().map(name).transpose()?)
        .bind(integer(page_limit(limit)?))
        .fetch_all(&self.readers)
        .await
        .or_store_error()?;
        rows.iter().map(bid).collect()
    }

    async fn trades(
        &self,
        resource: Resource,
        filter: &TradeFilter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Trade>> {
        let rows = sqlx::query(
            "SELECT trade FROM market_trades WHERE resource = ?1 AND place > ?2
             AND (?3 IS NULL OR payer = ?3) AND (?4 IS NULL OR owner = ?4)
             AND (?5 IS NULL OR node = ?5) AND (?6 IS NULL OR region = ?6)
             AND (?7 IS NULL OR state = ?7) AND (?8 IS NULL OR at >= ?8)
             AND (?9 IS NULL OR at < ?9) ORDER BY place LIMIT +?10",
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
        .bind(integer(page_limit(limit)?))
        .fetch_all(&self.readers)
        .await
        .or_store_error()?;
        rows.iter().map(trade).collect()
    }

    async fn lane(&self, resource: Resource) -> Result<Lane> {
        let mut reader = self.readers.acquire().await.or_store_error()?;
        lane(&mut reader, resource).await
    }
}
