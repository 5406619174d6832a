//! The marketplace: offers, bids and trades.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use fogcore::id::{BidId, OfferId, TradeId};
use fogcore::scheduler::market::{OfferFilter, OfferState, TradeFilter};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::page;
use crate::api::fog::dto::market::{
    BidAnswer, BidBody, BidPlaced, MarketQuery, OfferAnswer, OfferBody, OfferPlaced, OffersAnswer,
    SettleBody, TradeAnswer, TradesAnswer,
};
use crate::api::money;
use crate::app::App;
use crate::auth::identity::{Reader, Writer};
use crate::http::extract::{Body, OptionalBody, PathId, Query};
use crate::http::problem::Problem;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(offers, place_offer))
        .routes(routes!(cancel_offer))
        .routes(routes!(place_bid))
        .routes(routes!(bid, cancel_bid))
        .routes(routes!(trades))
        .routes(routes!(settle))
        .routes(routes!(void))
}

/// The open offers of a resource.
#[utoipa::path(get, path = "/api/fog/marketplace/offers", tag = "marketplace", params(MarketQuery),
    responses((status = 200, body = OffersAnswer)))]
async fn offers(
    State(app): State<App>,
    Reader(_): Reader,
    Query(asked): Query<MarketQuery>,
) -> Result<Json<OffersAnswer>, Problem> {
    let limit = page(asked.limit, 100)?;
    let open = OfferFilter { state: Some(OfferState::Open), ..OfferFilter::default() };
    let market = app.fog.market();
    let offers = market.offers(asked.resource, &open, asked.after.unwrap_or(0), limit).await?;
    let next = offers.last().filter(|_| offers.len() == limit).map(|last| last.place);
    let asset = &app.fog.config().asset;
    let offers = offers.iter().map(|offer| OfferAnswer::of(asset, offer)).collect();
    Ok(Json(OffersAnswer { offers, next }))
}

/// Offer what a node of yours has.
#[utoipa::path(post, path = "/api/fog/marketplace/offers", tag = "marketplace",
    request_body = OfferBody, responses((status = 201, body = OfferPlaced)))]
async fn place_offer(
    State(app): State<App>,
    Writer(identity): Writer,
    Body(asked): Body<OfferBody>,
) -> Result<(StatusCode, Json<OfferPlaced>), Problem> {
    let (market, asset) = (app.fog.market(), &app.fog.config().asset);
    let id = asked.offer_id.map_or_else(|| market.new_offer_id(), OfferId::from_uuid);
    let offer = asked.parse(&identity.account, asset, app.fog.clock().now())?;
    identity.must_own(&offer.owner)?;
    let node = super::nodes::found(&app, &offer.node).await?.node;
    if node.owner.as_ref() != Some(&offer.owner) {
        return Err(Problem::forbidden(format!("the node \"{}\" is not the owner's", node.id)));
    }
    let placed = market.place_offer(id, offer).await?;
    let answer = OfferPlaced {
        offer: OfferAnswer::of(asset, &placed.placed),
        trades: placed.trades.iter().map(|trade| TradeAnswer::of(asset, trade)).collect(),
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// Call off what is left of an offer.
#[utoipa::path(delete, path = "/api/fog/marketplace/offers/{offer_id}", tag = "marketplace",
    params(("offer_id" = uuid::Uuid, Path)), responses((status = 200, body = OfferAnswer)))]
async fn cancel_offer(
    State(app): State<App>,
    Writer(identity): Writer,
    PathId(id): PathId<OfferId>,
) -> Result<Json<OfferAnswer>, Problem> {
    let market = app.fog.market();
    identity.must_own(&market.offer(id).await?.spec.owner)?;
    let offer = market.cancel_offer(id).await?;
    Ok(Json(OfferAnswer::of(&app.fog.config().asset, &offer)))
}

/// Bid for a resource: hires of the best offers at once, and waits for the rest.
#[utoipa::path(post, path = "/api/fog/marketplace/bids", tag = "marketplace",
    request_body = BidBody, responses((status = 201, body = BidPlaced)))]
async fn place_bid(
    State(app): State<App>,
    Writer(identity): Writer,
    Body(asked): Body<BidBody>,
) -> Result<(StatusCode, Json<BidPlaced>), Problem> {
    let (market, asset) = (app.fog.market(), &app.fog.config().asset);
    let id = asked.bid_id.map_or_else(|| market.new_bid_id(), BidId::from_uuid);
    let bid = asked.parse(&identity.account, asset)?;
    identity.must_own(&bid.payer)?;
    let placed = market.place_bid(id, bid).await?;
    let answer = BidPlaced {
        bid: BidAnswer::of(&placed.placed),
        trades: placed.trades.iter().map(|trade| TradeAnswer::of(asset, trade)).collect(),
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// A bid as it is now.
#[utoipa::path(get, path = "/api/fog/marketplace/bids/{bid_id}", tag = "marketplace",
    params(("bid_id" = uuid::Uuid, Path)), responses((status = 200, body = BidAnswer)))]
async fn bid(
    State(app): State<App>,
    Reader(identity): Reader,
    PathId(id): PathId<BidId>,
) -> Result<Json<BidAnswer>, Problem> {
    let bid = app.fog.market().bid(id).await?;
    identity.must_manage(Some(&bid.spec.payer))?;
    Ok(Json(BidAnswer::of(&bid)))
}

/// Call off what a bid still waits for.
#[utoipa::path(delete, path = "/api/fog/marketplace/bids/{bid_id}", tag = "marketplace",
    params(("bid_id" = uuid::Uuid, Path)), responses((status = 200, body = BidAnswer)))]
async fn cancel_bid(
    State(app): State<App>,
    Writer(identity): Writer,
    PathId(id): PathId<BidId>,
) -> Result<Json<BidAnswer>, Problem> {
    let market = app.fog.market();
    identity.must_own(&market.bid(id).await?.spec.payer)?;
    Ok(Json(BidAnswer::of(&market.cancel_bid(id).await?)))
}

/// The trades of a resource that you pay for; those who look after the fog see all.
#[utoipa::path(get, path = "/api/fog/marketplace/trades", tag = "marketplace", params(MarketQuery),
    responses((status = 200, body = TradesAnswer)))]
async fn trades(
    State(app): State<App>,
    Reader(identity): Reader,
    Query(asked): Query<MarketQuery>,
) -> Result<Json<TradesAnswer>, Problem> {
    let limit = page(asked.limit, 100)?;
    let payer = (!identity.is_operator()).then(|| identity.account.clone());
    let filter = TradeFilter { payer, ..TradeFilter::default() };
    let market = app.fog.market();
    let trades = market.trades(asked.resource, &filter, asked.after.unwrap_or(0), limit).await?;
    let next = trades.last().filter(|_| trades.len() == limit).map(|last| last.place);
    let asset = &app.fog.config().asset;
    let trades = trades.iter().map(|trade| TradeAnswer::of(asset, trade)).collect();
    Ok(Json(TradesAnswer { trades, next }))
}

/// Pay for what was delivered. For whoever pays.
#[utoipa::path(post, path = "/api/fog/marketplace/trades/{trade_id}/settle", tag = "marketplace",
    params(("trade_id" = uuid::Uuid, Path)), request_body = Option<SettleBody>,
    responses((status = 200, body = TradeAnswer)))]
async fn settle(
    State(app): State<App>,
    Writer(identity): Writer,
    PathId(id): PathId<TradeId>,
    OptionalBody(asked): OptionalBody<SettleBody>,
) -> Result<Json<TradeAnswer>, Problem> {
    let (market, asset) = (app.fog.market(), &app.fog.config().asset);
    let trade = market.trade(id).await?;
    identity.must_own(&trade.payer)?;
    let paid = match asked.paid {
        Some(text) => money::read(asset, "paid", &text)?,
        None => trade.cost,
    };
    Ok(Json(TradeAnswer::of(asset, &market.settle(id, paid).await?)))
}

/// Give a trade up: what it costs is free again. For whoever would be paid.
#[utoipa::path(post, path = "/api/fog/marketplace/trades/{trade_id}/void", tag = "marketplace",
    params(("trade_id" = uuid::Uuid, Path)), responses((status = 200, body = TradeAnswer)))]
async fn void(
    State(app): State<App>,
    Writer(identity): Writer,
    PathId(id): PathId<TradeId>,
) -> Result<Json<TradeAnswer>, Problem> {
    let market = app.fog.market();
    identity.must_own(&market.trade(id).await?.owner)?;
    Ok(Json(TradeAnswer::of(&app.fog.config().asset, &market.void(id).await?)))
}
