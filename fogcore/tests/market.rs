//! The marketplace and the meter, as an application sees them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use fogcore::event::{Event, Notice};
use fogcore::registry::{Node, Rates};
use fogcore::scheduler::market::{
    BidSpec, BidState, MarketPolicy, OfferSpec, OfferState, Pricing, Resource, SlaClass, Tier,
    TradeFilter, TradeState,
};
use fogcore::scheduler::{
    Failure, ManualMeter, Output, ProcessReading, TaskSpec, TaskState, Usage, executor_fn,
};
use fogcore::time::Timestamp;
use fogcore::{ErrorKind, Fog, FogConfig};

use common::{
    account_id, both_stores, fog as amount, funds, is_balanced, node, paid, quick, soon, still,
};

const HOUR: Duration = Duration::from_secs(3_600);

fn offer(resource: Resource, price: &str, now: Timestamp) -> OfferSpec {
    OfferSpec {
        node: "laptop".parse().unwrap(),
        owner: account_id("bob"),
        resource,
        amount: 8_000,
        price: amount(price),
        pricing: Pricing::Fixed,
        min_duration: HOUR,
        max_duration: 24 * HOUR,
        sla: SlaClass::B,
        tier: Tier::Basic,
        region: "eu".to_owned(),
        trust: None,
        latency: None,
        expires_at: now.saturating_add(48 * HOUR),
    }
}

fn bid(amount_wanted: u64, most: &str) -> BidSpec {
    BidSpec {
        payer: account_id("alice"),
        resource: Resource::Cpu,
        amount: amount_wanted,
        max_price: amount(most),
        duration: 2 * HOUR,
        sla: SlaClass::B,
        region: None,
        ttl: None,
    }
}

#[tokio::test]
async fn offers_and_bids_become_trades_that_time_ends() {
    let (stores, _folder) = both_stores().await;
    for (name, stores) in stores {
        let (fog, clock) = still();
        let fog = fog.stores(stores).open().await.unwrap();
        let (market, mut events) = (fog.market(), fog.subscribe());
        fog.ledger().mint(&account_id("alice"), amount("10")).await.unwrap();
        let spec = offer(Resource::Cpu, "0.5", fog.clock().now());
        let id = market.new_offer_id();
        let placed = market.place_offer(id, spec.clone()).await.unwrap();
        assert!(!market.place_offer(id, spec).await.unwrap().new, "{name}");
        // Two cores for two hours at 0.5.
        let first = market.place_bid(market.new_bid_id(), bid(2_000, "0.5")).await.unwrap();
        let trade = first.trades[0].clone();
        assert_eq!(trade.cost, amount("2"), "{name}");
        assert_eq!(funds(&fog, "alice").await, (amount("8"), amount("2")), "{name}");
        let second = market.place_bid(market.new_bid_id(), bid(8_000, "0.5")).await.unwrap();
        assert_eq!((second.placed.state, second.placed.left), (BidState::Open, 2_000), "{name}");

        let settled = market.settle(trade.id, amount("1.5")).await.unwrap();
        assert_eq!((settled.state, settled.paid), (TradeState::Settled, amount("1.5")));
        assert_eq!(funds(&fog, "bob").await.0, amount("1.5"), "{name}");

        // The bid waits for ten minutes; nobody says that the second trade was delivered.
        clock.advance(Duration::from_secs(600));
        fog.maintain().await.unwrap();
        assert_eq!(market.bid(second.placed.id).await.unwrap().state, BidState::Expired, "{name}");
        clock.advance(3 * HOUR);
        fog.maintain().await.unwrap();
        let voided = market.trade(second.trades[0].id).await.unwrap();
        assert_eq!(
            (voided.state, market.offer(id).await.unwrap().left),
            (TradeState::Voided, 6_000)
        );
        clock.advance(48 * HOUR);
        fog.maintain().await.unwrap();
        assert_eq!(market.offer(id).await.unwrap().state, OfferState::Expired, "{name}");
        assert_eq!(funds(&fog, "alice").await, (amount("8.5"), amount("0")), "{name}");
        assert!(is_balanced(&fog).await, "{name}");

        let filter = TradeFilter::default();
        let (candles, last) = market.candles(Resource::Cpu, &filter, HOUR, 0, 100).await.unwrap();
        assert_eq!((candles.len(), candles[0].volume, last), (1, 8_000, Some(2)), "{name}");
        assert_eq!(candles[0].close, amount("0.5"), "{name}");
        let heard: Vec<_> = std::iter::from_fn(|| events.try_next()).collect();
        let made = |event: &Notice| matches!(event, Notice::Event(Event::TradeMade { .. }));
        let ended = |event: &Notice| matches!(event, Notice::Event(Event::TradeEnded { .. }));
        assert_eq!(heard.iter().filter(|event| made(event)).count(), 2, "{name}");
        assert_eq!(heard.iter().filter(|event| ended(event)).count(), 2, "{name}");
        assert_eq!(placed.placed.id, id);
    }
}

#[tokio::test]
async fn the_spot_price_is_told() {
    let (fog, _) = still();
    let fog = fog.open().await.unwrap();
    let market = fog.market();
    fog.ledger().mint(&account_id("alice"), amount("100")).await.unwrap();
    let spot = |region: &'static str| {
        let market = market.clone();
        async move { market.spot_price(Resource::Cpu, region, amount("1")).await.unwrap() }
    };
    assert_eq!(spot("eu").await, amount("2"), "nothing is for hire");
    let spec = offer(Resource::Cpu, "1", fog.clock().now());
    let dear = OfferSpec { pricing: Pricing::Spot, ..spec };
    market.place_offer(market.new_offer_id(), dear).await.unwrap();
    assert_eq!(spot("eu").await, amount("0.5"), "nothing is wanted");
    market.place_bid(market.new_bid_id(), bid(6_000, "0.7")).await.unwrap();
    assert_eq!(spot("eu").await, amount("0.75"));
    let wrong = MarketPolicy { bid_ttl: Duration::ZERO, ..MarketPolicy::default() };
    let config = FogConfig { market: wrong, ..FogConfig::default() };
    let refused = Fog::builder().config(config).open().await.unwrap_err();
    assert_eq!(refused.field(), Some("market.bid_ttl"));
}

#[tokio::test]
async fn a_reserved_account_neither_offers_nor_bids() {
    let (fog, _) = still();
    let fog = fog.open().await.unwrap();
    let market = fog.market();
    let own = account_id("fog:treasury");
    let spec = offer(Resource::Cpu, "1", fog.clock().now());
    let spec = OfferSpec { owner: own.clone(), ..spec };
    let refused = market.place_offer(market.new_offer_id(), spec).await.unwrap_err();
    assert_eq!(refused.field(), Some("owner"));
    let refused =
        market.place_bid(market.new_bid_id(), BidSpec { payer: own, ..bid(1, "1") }).await;
    assert_eq!(refused.unwrap_err().field(), Some("payer"));
    let unknown = market.trade(fogcore::id::TradeId::derive(b"", "")).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
}

/// What an attempt took is measured where it ran, and what nobody measured is not there.
#[tokio::test]
async fn what_a_task_takes_is_measured_and_priced() {
    let (stores, _folder) = both_stores().await;
    for (name, stores) in stores {
        let meter = Arc::new(ManualMeter::default());
        let fog = Fog::builder().stores(stores).config(quick()).meter(meter.clone());
        let fog = fog.open().await.unwrap();
        let ended = ProcessReading {
            cpu: Duration::from_secs(600),
            bytes_out: Some(1 << 30),
            ended: true,
            ..ProcessReading::default()
        };
        meter.set(7, Some(ended));
        let work = executor_fn(move |job| {
            let meter = meter.clone();
            async move {
                meter.spend(Duration::from_secs(1_200));
                job.meter.child(7).await;
                job.meter.add(&Usage { gpu: Some(HOUR / 2), ..Usage::default() });
                if job.payload.is_empty() {
                    return Err(Failure::permanent("nothing to do"));
                }
                Ok(Output { result: job.payload, bytes_moved: Some(1 << 29), ..Output::default() })
            }
        });
        let rates = Rates {
            per_cpu_hour: amount("0.02"),
            per_gpu_hour: amount("0.04"),
            per_gib: amount("0.01"),
            ..Rates::default()
        };
        let node = Node { rates, ..node("laptop", 1) };
        let worker =
            fog.worker(node).executor("work".parse().unwrap(), work).start().await.unwrap();
        fog.ledger().mint(&account_id("alice"), amount("1")).await.unwrap();
        let task = fog.submit(paid(), "hello").await.unwrap();
        let done = soon(fog.wait(task.id)).await.unwrap();
        let usage = done.usage.unwrap();
        assert_eq!(usage.cpu, Some(HOUR / 2), "{name}");
        assert_eq!(usage.gpu, Some(HOUR / 2), "{name}");
        assert_eq!((usage.bytes_in, usage.bytes_out), (None, Some(1 << 30)), "{name}");
        assert_eq!(usage.bytes_moved, Some(1 << 29), "{name}");
        assert!(usage.busy.is_some() && usage.energy_millijoules.is_none(), "{name}");
        // Half an hour of CPU, half an hour of GPU, and a GiB and a half.
        assert_eq!(done.paid, amount("0.045"), "{name}");
        let failed = fog.submit(paid(), "").await.unwrap();
        assert_eq!(soon(fog.wait(failed.id)).await.unwrap().state, TaskState::Failed, "{name}");
        worker.stop().await;
        fog.shutdown().await;
    }
}

/// The price of a task with a budget is that of its node's open offer, or else the node's rates.
#[tokio::test]
async fn a_task_with_a_budget_buys_from_its_nodes_open_offer() {
    let (stores, _folder) = both_stores().await;
    for (name, stores) in stores {
        let meter = Arc::new(ManualMeter::default());
        let fog = Fog::builder().stores(stores).config(quick()).meter(meter.clone());
        let fog = fog.open().await.unwrap();
        let work = executor_fn(move |_| {
            let meter = meter.clone();
            async move {
                meter.spend(HOUR);
                Ok(Output::default())
            }
        });
        let rates =
            Rates { per_task: amount("0.01"), per_cpu_hour: amount("0.05"), ..Rates::default() };
        let node = Node { rates, ..node("laptop", 1) };
        let market = fog.market();
        let id = market.new_offer_id();
        let spec = offer(Resource::Cpu, "0.02", fog.clock().now());
        market.place_offer(id, spec.clone()).await.unwrap();
        // Not the node's owner: it makes no prices.
        let stranger = OfferSpec { owner: account_id("mallory"), price: amount("0"), ..spec };
        market.place_offer(market.new_offer_id(), stranger).await.unwrap();
        assert_eq!(market.rates(&node).await.unwrap().per_cpu_hour, amount("0.02"), "{name}");
        let worker =
            fog.worker(node).executor("work".parse().unwrap(), work).start().await.unwrap();
        fog.ledger().mint(&account_id("alice"), amount("1")).await.unwrap();
        let run = async |spec: TaskSpec| {
            let task = fog.submit(spec, "").await.unwrap();
            soon(fog.wait(task.id)).await.unwrap().paid
        };
        assert_eq!(run(paid()).await, amount("0.03"), "{name}");
        market.cancel_offer(id).await.unwrap();
        assert_eq!(run(paid()).await, amount("0.06"), "{name}");
        let capped = common::spec().paid_by(account_id("alice"), amount("0.04"));
        assert_eq!(run(capped).await, amount("0.04"), "never more than the budget: {name}");
        worker.stop().await;
        fog.shutdown().await;
    }
}
