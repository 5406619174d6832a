//! What every [`MarketStore`](crate::scheduler::market::MarketStore) promises.

use std::time::Duration;

use futures::future::join_all;

use super::{account, account_id, at, is_balanced, transfer_id, units};
use crate::amount::Asset;
use crate::error::ErrorKind;
use crate::id::{BidId, OfferId, TradeId};
use crate::ledger::economy::accounts;
use crate::ledger::{Account, Purpose, Transfer};
use crate::registry::{Millis, Percent};
use crate::scheduler::market::{
    Bid, BidFilter, BidSpec, BidState, Depth, Due, MAX_CANDIDATES, MarketError, MarketPolicy,
    Offer, OfferFilter, OfferSpec, OfferState, Placed, Pricing, Resource, SlaClass, Terms, Tier,
    Trade, TradeFilter, TradeState,
};
use crate::storage::Stores;

pub(super) const HOUR: Duration = Duration::from_secs(3_600);

pub(super) fn terms() -> Terms {
    Terms { policy: MarketPolicy::default(), fee_bps: 250 }
}

pub(super) fn offer_id(name: &str) -> OfferId {
    OfferId::derive(name.as_bytes(), "conformance")
}

pub(super) fn bid_id(name: &str) -> BidId {
    BidId::derive(name.as_bytes(), "conformance")
}

/// Eight cores of `bob`'s node, for a day.
pub(super) fn offer(node: &str, amount: u64, price: u128) -> OfferSpec {
    OfferSpec {
        node: node.parse().unwrap(),
        owner: account_id("bob"),
        resource: Resource::Cpu,
        amount,
        price: units(price),
        pricing: Pricing::Fixed,
        min_duration: HOUR,
        max_duration: 10 * HOUR,
        sla: SlaClass::A,
        tier: Tier::Basic,
        region: "eu".to_owned(),
        trust: None,
        latency: None,
        expires_at: at(86_400),
    }
}

pub(super) fn bid(amount: u64, max_price: u128) -> BidSpec {
    BidSpec {
        payer: account_id("alice"),
        resource: Resource::Cpu,
        amount,
        max_price: units(max_price),
        duration: 2 * HOUR,
        sla: SlaClass::B,
        region: None,
        ttl: None,
    }
}

/// The accounts of a market: `alice` and `carol` have 100,000 each, `bob` and `dave` nothing.
pub(super) fn accounts_of_it() -> (Vec<Account>, Vec<Transfer>) {
    let mint = account_id("mint");
    let open = |name: &str| Account::new(account_id(name), Asset::FOG);
    let mut accounts = vec![open("mint"), open(accounts::FEES)];
    accounts.extend(["alice", "carol", "bob", "dave"].map(|name| open(name).limited_to_credits()));
    let funds = ["alice", "carol"].map(|name| {
        let to = account_id(name);
        Transfer::direct(transfer_id(name), &mint, &to, units(100_000), Purpose::Mint)
    });
    (accounts, funds.into())
}

pub(super) async fn fund(stores: &Stores) {
    let (accounts, funds) = accounts_of_it();
    for opened in stores.ledger.open_accounts(accounts, at(0)).await.unwrap() {
        opened.unwrap();
    }
    for posted in stores.ledger.transfer(funds, at(0)).await.unwrap() {
        posted.unwrap();
    }
}

async fn place_offer(stores: &Stores, name: &str, spec: OfferSpec) -> Placed<Offer> {
    stores.market.place_offer(offer_id(name), spec, terms(), at(0)).await.unwrap()
}

async fn place_bid(stores: &Stores, name: &str, spec: BidSpec) -> Placed<Bid> {
    stores.market.place_bid(bid_id(name), spec, terms(), at(0)).await.unwrap()
}

/// What is reserved of a payer and what was taken; what was earned, and by the fog.
async fn sums(stores: &Stores) -> (u128, u128, u128, u128) {
    let alice = account(stores, "alice").await;
    let (bob, fees) = (account(stores, "bob").await, account(stores, accounts::FEES).await);
    assert!(is_balanced(stores).await);
    let units = |amount: crate::amount::Amount| amount.base_units();
    let earned = (units(bob.credits_posted), units(fees.credits_posted));
    (units(alice.debits_pending), units(alice.debits_posted), earned.0, earned.1)
}

/// A bid takes the best of what fits, of each only what it needs, and its money is held with it.
pub async fn a_bid_takes_only_what_it_needs_and_its_money_is_held(stores: &Stores) {
    fund(stores).await;
    place_offer(stores, "dear", offer("a", 4_000, 200)).await;
    place_offer(stores, "cheap", offer("b", 1_000, 100)).await;
    place_offer(stores, "short", OfferSpec { max_duration: HOUR, ..offer("c", 9_000, 1) }).await;
    let placed = place_bid(stores, "1", bid(3_000, 300)).await;
    assert!(placed.new && placed.placed.state == BidState::Filled);
    let got: Vec<_> = placed.trades.iter().map(|t| (t.node.as_str(), t.amount)).collect();
    assert_eq!(got, [("b", 1_000), ("a", 2_000)]);
    let costs: Vec<_> = placed.trades.iter().map(|t| (t.cost, t.fee)).collect();
    assert_eq!(costs, [(units(200), units(5)), (units(800), units(20))]);
    assert_eq!(sums(stores).await, (1_025, 0, 0, 0));
    for trade in &placed.trades {
        assert_eq!(stores.market.trade(trade.id).await.unwrap().as_ref(), Some(trade));
        let [hold, ..] = trade.transfers();
        let hold = stores.ledger.posted(hold).await.unwrap().unwrap().transfer;
        assert_eq!((hold.purpose, hold.reference), (Purpose::TradeHold, Some(trade.id.uuid())));
    }
    let lane = stores.market.lane(Resource::Cpu).await.unwrap();
    assert_eq!(lane.depth_of("eu"), Depth { supply: 11_000, demand: 0 });
    assert_eq!((lane.offers, lane.bids, lane.trades), (3, 1, 2));
    assert_eq!(stores.market.lane(Resource::Gpu).await.unwrap().offers, 0);
}

/// What a bid does not get it waits for, and offers go to who would pay most.
pub async fn an_offer_goes_to_those_who_wait(stores: &Stores) {
    fund(stores).await;
    place_bid(stores, "first", bid(1_000, 100)).await;
    place_bid(stores, "most", bid(1_000, 150)).await;
    place_bid(stores, "far", BidSpec { region: Some("us".to_owned()), ..bid(1_000, 900) }).await;
    let elsewhere = BidSpec { payer: account_id("carol"), ..bid(1_000, 100) };
    place_bid(stores, "second", elsewhere).await;
    let placed = place_offer(stores, "1", offer("a", 2_500, 90)).await;
    let got: Vec<_> = placed.trades.iter().map(|trade| (trade.bid, trade.amount)).collect();
    let expected = [("most", 1_000), ("first", 1_000), ("second", 500)];
    assert_eq!(got, expected.map(|(name, amount)| (bid_id(name), amount)));
    let second = stores.market.bid(bid_id("second")).await.unwrap().unwrap();
    assert_eq!((second.left, second.fills, second.state), (500, 1, BidState::Open));
    let far = stores.market.bid(bid_id("far")).await.unwrap().unwrap();
    assert_eq!((far.left, far.state), (1_000, BidState::Open));
}

/// The price of a spot offer follows demand and supply, which the store counts.
pub async fn a_spot_price_follows_demand_and_supply(stores: &Stores) {
    fund(stores).await;
    let spot = OfferSpec { pricing: Pricing::Spot, ..offer("a", 4_000, 100) };
    place_offer(stores, "1", spot).await;
    let prices = |placed: Placed<Bid>| -> Vec<u128> {
        placed.trades.iter().map(|trade| trade.price.base_units()).collect()
    };
    assert_eq!(prices(place_bid(stores, "1", bid(3_000, 100)).await), [75]);
    assert_eq!(prices(place_bid(stores, "2", bid(1_000, 99)).await), []);
    assert_eq!(prices(place_bid(stores, "3", bid(1_000, 200)).await), [200]);
}

/// Sent again, a call changes nothing; with another content it is refused.
pub async fn an_offer_and_a_bid_sent_twice_are_placed_once(stores: &Stores) {
    fund(stores).await;
    place_offer(stores, "1", offer("a", 1_000, 100)).await;
    let first = place_bid(stores, "1", bid(400, 100)).await;
    let offered = place_offer(stores, "1", offer("a", 1_000, 100)).await;
    assert_eq!((offered.new, offered.placed.left, offered.trades), (false, 600, Vec::new()));
    let again = place_bid(stores, "1", bid(400, 100)).await;
    assert_eq!((again.new, again.placed), (false, first.placed));
    let other = stores.market.place_offer(offer_id("1"), offer("a", 1, 1), terms(), at(0)).await;
    assert_eq!(other.unwrap_err().kind(), ErrorKind::Conflict);
    let other = stores.market.place_bid(bid_id("1"), bid(1, 1), terms(), at(0)).await;
    assert_eq!(other.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(sums(stores).await, (80 + 2, 0, 0, 0));
}

/// Settled, the owner and the fog are paid and the rest is free; it cannot end again.
pub async fn a_trade_is_settled_once(stores: &Stores) {
    fund(stores).await;
    place_offer(stores, "1", offer("a", 1_000, 100)).await;
    let trade = place_bid(stores, "1", bid(1_000, 100)).await.trades.remove(0);
    let market = &stores.market;
    let refused = market.settle(trade.id, units(201), at(5)).await.unwrap_err();
    assert_eq!(refused.field(), Some("price"));
    assert_eq!(sums(stores).await, (205, 0, 0, 0));
    let settled = market.settle(trade.id, units(120), at(5)).await.unwrap();
    assert_eq!((settled.state, settled.paid), (TradeState::Settled, units(120)));
    assert_eq!(sums(stores).await, (0, 123, 120, 3));
    assert_eq!(market.settle(trade.id, units(120), at(6)).await.unwrap(), settled);
    let refused = market.settle(trade.id, units(119), at(6)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    let refused = market.void(trade.id, terms(), at(6)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert_eq!(sums(stores).await, (0, 123, 120, 3));
    let unknown = TradeId::derive(b"nothing", "conformance");
    assert_eq!(
        market.settle(unknown, units(0), at(6)).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert_eq!(market.void(unknown, terms(), at(6)).await.unwrap_err().kind(), ErrorKind::NotFound);
}

/// Voided, nobody is paid, and who waits gets what came back.
pub async fn a_voided_trade_gives_everything_back(stores: &Stores) {
    fund(stores).await;
    place_offer(stores, "1", offer("a", 1_000, 100)).await;
    let trade = place_bid(stores, "1", bid(1_000, 100)).await.trades.remove(0);
    let carol = BidSpec { payer: account_id("carol"), ..bid(400, 100) };
    place_bid(stores, "2", carol).await;
    let voided = stores.market.void(trade.id, terms(), at(5)).await.unwrap();
    assert_eq!((voided.state, voided.ended_at), (TradeState::Voided, Some(at(5))));
    assert_eq!(stores.market.void(trade.id, terms(), at(6)).await.unwrap(), voided);
    assert_eq!(sums(stores).await, (0, 0, 0, 0));
    let offer = stores.market.offer(offer_id("1")).await.unwrap().unwrap();
    assert_eq!(offer.left, 600);
    let bid = stores.market.bid(bid_id("2")).await.unwrap().unwrap();
    assert_eq!(bid.state, BidState::Filled);
    assert_eq!(account(stores, "carol").await.debits_pending, units(82));
}

/// Offers, bids and trades that nobody ends are ended by time, each once.
pub async fn everything_on_the_market_ends_in_time(stores: &Stores) {
    fund(stores).await;
    place_offer(stores, "1", offer("a", 1_000, 100)).await;
    let trade = place_bid(stores, "1", bid(600, 100)).await.trades.remove(0);
    place_bid(stores, "2", bid(600, 50)).await;
    let expire = async |seconds, limit| {
        stores.market.expire_market(terms(), at(seconds), limit).await.unwrap()
    };
    assert_eq!(expire(599, 10).await, []);
    assert_eq!(expire(600, 10).await, [Due::Bid(bid_id("2"))]);
    assert_eq!(expire(600, 10).await, []);
    assert_eq!(sums(stores).await, (123, 0, 0, 0));
    let late = stores.market.settle(trade.id, units(1), at(3 * 3_600)).await.unwrap_err();
    assert!(matches!(late.downcast_ref(), Some(MarketError::TooLate(_))), "{late}");
    assert_eq!(expire(3 * 3_600, 10).await, [Due::Trade(trade.id)]);
    assert_eq!(sums(stores).await, (0, 0, 0, 0));
    assert_eq!(stores.market.offer(offer_id("1")).await.unwrap().unwrap().left, 1_000);
    assert_eq!(expire(86_400, 10).await, [Due::Offer(offer_id("1"))]);
    let offer = stores.market.offer(offer_id("1")).await.unwrap().unwrap();
    assert_eq!(offer.state, OfferState::Expired);
    assert!(stores.market.lane(Resource::Cpu).await.unwrap().depth.is_empty());
    assert!(stores.market.expire_market(terms(), at(0), 0).await.is_err(), "a limit of nothing");
}

/// What was called off is not hired, and stays what it was.
pub async fn what_was_called_off_is_not_hired(stores: &Stores) {
    fund(stores).await;
    place_offer(stores, "1", offer("a", 1_000, 100)).await;
    place_bid(stores, "1", bid(300, 100)).await;
    let market = &stores.market;
    let cancelled = market.cancel_offer(offer_id("1"), at(1)).await.unwrap();
    assert_eq!((cancelled.state, cancelled.left), (OfferState::Cancelled, 700));
    assert_eq!(market.cancel_offer(offer_id("1"), at(2)).await.unwrap(), cancelled);
    assert_eq!(place_bid(stores, "2", bid(300, 100)).await.trades, []);
    let cancelled = market.cancel_bid(bid_id("2"), at(1)).await.unwrap();
    assert_eq!(market.cancel_bid(bid_id("2"), at(2)).await.unwrap(), cancelled);
    assert_eq!(place_offer(stores, "2", offer("a", 300, 100)).await.trades, []);
    let ended = market.cancel_bid(bid_id("1"), at(3)).await.unwrap_err();
    assert_eq!(ended.kind(), ErrorKind::Conflict);
    for unknown in [
        market.cancel_offer(offer_id("none"), at(3)).await.map(drop),
        market.cancel_bid(bid_id("none"), at(3)).await.map(drop),
    ] {
        assert_eq!(unknown.unwrap_err().kind(), ErrorKind::NotFound);
    }
}

/// Of very many offers a bid is weighed against the cheapest that fit, and an offer against those
/// bids that would pay most; what does not fit is in nobody's way.
pub async fn of_very_many_only_the_best_are_looked_at(stores: &Stores) {
    const MOST: u128 = MAX_CANDIDATES as u128;
    fund(stores).await;
    for number in 0..MOST + 10 {
        let unfit = OfferSpec { region: "us".to_owned(), ..offer("far", 500, 1) };
        place_offer(stores, &format!("us {number}"), unfit).await;
        let spec = offer("a", 500, 2 * MOST - number);
        place_offer(stores, &format!("eu {number}"), spec).await;
    }
    let wanted = BidSpec { region: Some("eu".to_owned()), ..bid(1 << 20, 2 * MOST) };
    let placed = place_bid(stores, "all", wanted).await;
    let mut prices: Vec<_> = placed.trades.iter().map(|t| t.price.base_units()).collect();
    prices.sort_unstable();
    assert_eq!(prices, (MOST - 9..=2 * MOST - 10).collect::<Vec<_>>());
    stores.market.cancel_bid(bid_id("all"), at(1)).await.unwrap();
    for number in 0..MOST + 10 {
        let unfit = BidSpec { region: Some("eu".to_owned()), ..bid(1, 900) };
        let unfit = BidSpec { payer: account_id("carol"), sla: SlaClass::S, ..unfit };
        place_bid(stores, &format!("unfit {number}"), unfit).await;
        let spec = BidSpec { region: Some("asia".to_owned()), ..bid(1, 10 + number) };
        place_bid(stores, &format!("asia {number}"), spec).await;
    }
    let spec = OfferSpec { region: "asia".to_owned(), ..offer("b", 1 << 20, 10) };
    let placed = place_offer(stores, "all", spec).await;
    assert_eq!(placed.trades.len(), MAX_CANDIDATES);
    assert_eq!(placed.trades[0].bid, bid_id(&format!("asia {}", MOST + 9)), "who would pay most");
}

/// Who cannot pay gets nothing; who never had an account, neither offers nor bids.
pub async fn who_cannot_pay_hires_nothing(stores: &Stores) {
    fund(stores).await;
    place_offer(stores, "1", offer("a", 1_000, 60_000)).await;
    let refused = stores.market.place_bid(bid_id("1"), bid(1_000, 60_000), terms(), at(0)).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Exhausted);
    assert_eq!(stores.market.bid(bid_id("1")).await.unwrap(), None);
    assert_eq!(sums(stores).await, (0, 0, 0, 0));
    // A part of it, and then no more.
    place_offer(stores, "2", offer("b", 500, 50_000)).await;
    let placed = place_bid(stores, "1", bid(1_500, 60_000)).await;
    assert_eq!((placed.placed.state, placed.placed.left), (BidState::Unfunded, 1_000));
    assert_eq!(sums(stores).await, (51_250, 0, 0, 0));
    let nobody = BidSpec { payer: account_id("nobody"), ..bid(1, 1) };
    let refused = stores.market.place_bid(bid_id("3"), nobody, terms(), at(0)).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::NotFound);
    let nobody = OfferSpec { owner: account_id("nobody"), ..offer("a", 1, 1) };
    let refused = stores.market.place_offer(offer_id("3"), nobody, terms(), at(0)).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::NotFound);
}

/// Every field comes back, and lists are in order, paged and filtered.
pub async fn the_market_is_listed_in_pages_and_filtered(stores: &Stores) {
    fund(stores).await;
    let full = OfferSpec {
        pricing: Pricing::Spot,
        sla: SlaClass::S,
        tier: Tier::Enterprise,
        trust: Some(Percent::new(99.5).unwrap()),
        latency: Some(Millis::new(12.25).unwrap()),
        price: units(u128::MAX >> 60),
        region: "ä'\"".to_owned(),
        ..offer("node-ü", 1, 1)
    };
    let placed = place_offer(stores, "full", full.clone()).await.placed;
    assert_eq!(placed.spec, full);
    assert_eq!(stores.market.offer(offer_id("full")).await.unwrap(), Some(placed));
    for number in 0..5 {
        place_offer(stores, &format!("o{number}"), offer(&format!("n{}", number % 2), 1_000, 10))
            .await;
        place_bid(stores, &format!("b{number}"), bid(500, 10)).await;
    }
    let (market, cpu) = (&stores.market, Resource::Cpu);
    let page = market.offers(cpu, &OfferFilter::default(), 2, 3).await.unwrap();
    assert_eq!(page.iter().map(|offer| offer.place).collect::<Vec<_>>(), [3, 4, 5]);
    let of_n1 = OfferFilter {
        node: Some("n1".parse().unwrap()),
        owner: Some(account_id("bob")),
        region: Some("eu".to_owned()),
        state: Some(OfferState::Open),
    };
    assert_eq!(market.offers(cpu, &of_n1, 0, 10).await.unwrap().len(), 2);
    let open = market.offers_of(&"n1".parse().unwrap()).await.unwrap();
    assert_eq!(open.iter().map(|offer| offer.place).collect::<Vec<_>>(), [3, 5]);
    assert_eq!(market.offers(Resource::Gpu, &OfferFilter::default(), 0, 10).await.unwrap(), []);
    let filled = BidFilter { state: Some(BidState::Filled), payer: Some(account_id("alice")) };
    assert_eq!(market.bids(cpu, &filled, 3, 10).await.unwrap().len(), 2);
    let trades = market.trades(cpu, &TradeFilter::default(), 0, 10).await.unwrap();
    assert_eq!(trades.iter().map(|trade| trade.place).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    market.void(trades[0].id, terms(), at(9)).await.unwrap();
    let of = TradeFilter {
        payer: Some(account_id("alice")),
        owner: Some(account_id("bob")),
        node: Some(trades[1].node.clone()),
        region: Some("eu".to_owned()),
        state: Some(TradeState::Held),
        from: Some(at(0)),
        until: Some(at(1)),
    };
    let expected: Vec<_> = trades[1..].iter().filter(|t| t.node == trades[1].node).collect();
    assert_eq!(market.trades(cpu, &of, 0, 10).await.unwrap().iter().collect::<Vec<_>>(), expected);
    let later = TradeFilter { from: Some(at(1)), ..of };
    assert_eq!(market.trades(cpu, &later, 0, 10).await.unwrap(), []);
    assert!(market.trades(cpu, &later, 0, 0).await.is_err(), "a page of nothing");
    // Prices are history: what became of the trade does not change them.
    let prices = market.prices(cpu, &TradeFilter::default(), 0, 2).await.unwrap();
    let expected: Vec<_> = trades[..2].iter().map(Trade::price_point).collect();
    assert_eq!(prices, expected);
}

/// Many at once: each is answered, and no more is sold than there is.
pub async fn a_crowd_of_bids_gets_no_more_than_there_is(stores: &Stores) {
    fund(stores).await;
    for (name, amount) in [("1", 7_000), ("2", 5_000)] {
        place_offer(stores, name, offer("a", amount, 10)).await;
    }
    let names: Vec<_> = (0..40).map(|number| number.to_string()).collect();
    let bids = names.iter().map(|name| place_bid(stores, name, bid(500, 10)));
    let got: u64 = join_all(bids).await.iter().flat_map(|bid| &bid.trades).map(|t| t.amount).sum();
    assert_eq!(got, 12_000);
    let places =
        stores.market.trades(Resource::Cpu, &TradeFilter::default(), 0, 100).await.unwrap();
    let places: Vec<_> = places.iter().map(|trade| trade.place).collect();
    assert_eq!(places, (1..=places.len() as u64).collect::<Vec<_>>(), "no place twice, no gap");
    let lane = stores.market.lane(Resource::Cpu).await.unwrap();
    assert_eq!((lane.depth_of("eu").supply, lane.depth_of("eu").demand), (0, 8_000));
    assert_eq!((lane.open_offers, lane.bids), (0, 40));
    // 24 trades of half a core for two hours at 10: 10 and a fee of 1 each.
    assert_eq!(sums(stores).await.0, 24 * 11);
}
