//! Who gets what, and that nothing is sold twice, lost or paid twice.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::amount::{Amount, Asset};
use crate::error::ErrorKind;
use crate::id::{AccountId, BidId, OfferId, TradeId};
use crate::ledger::economy::accounts;
use crate::ledger::{Account, Book, Purpose, Transfer};
use crate::registry::{Millis, Percent, Rates};
use crate::time::Timestamp;

const HOUR: Duration = Duration::from_secs(3_600);

pub(super) fn offer(node: &str, amount: u64, price: u128) -> OfferSpec {
    OfferSpec {
        node: node.parse().unwrap(),
        owner: account(node),
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
        expires_at: at(100 * 3_600),
    }
}

fn bid(payer: &str, amount: u64, max_price: u128) -> BidSpec {
    BidSpec {
        payer: account(payer),
        resource: Resource::Cpu,
        amount,
        max_price: units(max_price),
        duration: HOUR,
        sla: SlaClass::B,
        region: None,
        ttl: None,
    }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::UNIX_EPOCH.saturating_add(Duration::from_secs(seconds))
}

fn units(units: u128) -> Amount {
    Amount::from_base_units(units)
}

fn account(name: &str) -> AccountId {
    format!("owner-{name}").parse().unwrap()
}

/// A market with its money: `alice` and `carol` have 10,000 each, three owners have nothing.
struct World {
    market: Market,
    book: Book,
    terms: Terms,
}

impl World {
    fn new() -> Self {
        let mut book = Book::default();
        let open = |id| Account::new(id, Asset::FOG);
        book.open(open(account("mint")), at(0)).unwrap();
        for name in ["alice", "carol", "a", "b", "c"] {
            book.open(open(account(name)).limited_to_credits(), at(0)).unwrap();
        }
        book.open(open(accounts::FEES.parse().unwrap()), at(0)).unwrap();
        for name in ["alice", "carol"] {
            let id = crate::id::TransferId::derive(name.as_bytes(), "mint");
            let (from, to) = (account("mint"), account(name));
            let mint = Transfer::direct(id, &from, &to, units(10_000), Purpose::Mint);
            book.apply(&mint, at(0)).unwrap();
        }
        Self { market: Market::default(), book, terms: Terms::default() }
    }

    fn offer(&mut self, name: &str, spec: OfferSpec) -> Placed<Offer> {
        self.try_offer(name, spec, at(0)).unwrap()
    }

    fn try_offer(
        &mut self,
        name: &str,
        spec: OfferSpec,
        now: Timestamp,
    ) -> crate::Result<Placed<Offer>> {
        self.market.place_offer(&mut self.book, offer_id(name), spec, &self.terms, now)
    }

    fn bid(&mut self, name: &str, spec: BidSpec) -> Placed<Bid> {
        self.try_bid(name, spec, at(0)).unwrap()
    }

    fn try_bid(&mut self, name: &str, spec: BidSpec, now: Timestamp) -> crate::Result<Placed<Bid>> {
        self.market.place_bid(&mut self.book, bid_id(name), spec, &self.terms, now)
    }

    fn settle(&mut self, trade: TradeId, paid: u128, now: Timestamp) -> crate::Result<Trade> {
        self.market.settle(&mut self.book, trade, units(paid), now)
    }

    fn void(&mut self, trade: TradeId, now: Timestamp) -> crate::Result<Trade> {
        self.market.void(&mut self.book, trade, &self.terms, now)
    }

    fn left(&self, offer: &str) -> u64 {
        self.market.offer(offer_id(offer)).unwrap().left
    }

    /// What is reserved of a payer, and what was taken.
    fn debits(&self, name: &str) -> (u128, u128) {
        let account = self.book.account(&account(name)).unwrap();
        (account.debits_pending.base_units(), account.debits_posted.base_units())
    }

    fn earned(&self, name: &str) -> u128 {
        self.book.account(&account(name)).unwrap().credits_posted.base_units()
    }
}

fn offer_id(name: &str) -> OfferId {
    OfferId::derive(name.as_bytes(), "offer")
}

fn bid_id(name: &str) -> BidId {
    BidId::derive(name.as_bytes(), "bid")
}

fn fills(trades: &[Trade]) -> Vec<(&str, u64, u128)> {
    let fill = |t: &'_ Trade| (t.node.as_str().to_owned(), t.amount, t.price.base_units());
    let all: Vec<_> = trades.iter().map(fill).collect();
    all.into_iter()
        .map(|(n, a, p)| (["a", "b", "c"].into_iter().find(|x| *x == n).unwrap(), a, p))
        .collect()
}

#[test]
fn a_bid_takes_only_what_it_needs_of_the_cheapest() {
    let mut world = World::new();
    world.offer("1", offer("a", 4_000, 20));
    world.offer("2", offer("b", 1_500, 10));
    let placed = world.bid("1", bid("alice", 3_000, 25));
    assert_eq!(fills(&placed.trades), [("b", 1_500, 10), ("a", 1_500, 20)]);
    assert_eq!((world.left("1"), world.left("2")), (2_500, 0));
    assert_eq!(placed.placed.state, BidState::Filled);
    assert_eq!(world.debits("alice"), (15 + 30, 0));
    let lane = world.market.lane(Resource::Cpu).unwrap();
    assert_eq!(lane.depth_of("eu"), Depth { supply: 2_500, demand: 0 });
    assert_eq!((lane.open_offers, lane.open_bids, lane.trades), (1, 0, 2));
}

#[test]
fn what_a_bid_does_not_get_it_waits_for() {
    let mut world = World::new();
    world.offer("1", offer("a", 1_000, 10));
    let placed = world.bid("1", bid("alice", 3_000, 15)).placed;
    assert_eq!((placed.left, placed.state, placed.fills), (2_000, BidState::Open, 1));
    // Too dear, too short, too far away: nothing happens.
    world.offer("2", offer("b", 1_000, 16));
    world.offer("3", OfferSpec { max_duration: HOUR, min_duration: HOUR, ..offer("b", 500, 12) });
    assert_eq!(world.market.bid(bid_id("1")).unwrap().left, 1_500);
    let placed = world.offer("4", offer("c", 5_000, 15));
    assert_eq!(fills(&placed.trades), [("c", 1_500, 15)]);
    assert_eq!(placed.placed.left, 3_500);
    assert_eq!(world.market.bid(bid_id("1")).unwrap().state, BidState::Filled);
}

#[test]
fn an_offer_goes_to_who_would_pay_most_and_then_to_who_came_first() {
    let mut world = World::new();
    for (name, payer, most) in [("1", "alice", 10), ("2", "carol", 12), ("3", "alice", 12)] {
        world.bid(name, bid(payer, 1_000, most));
    }
    let placed = world.offer("1", offer("a", 2_500, 9));
    let bids: Vec<_> = placed.trades.iter().map(|trade| (trade.bid, trade.amount)).collect();
    let expected = [("2", 1_000), ("3", 1_000), ("1", 500)];
    assert_eq!(bids, expected.map(|(name, amount)| (bid_id(name), amount)));
    assert!(placed.trades.iter().all(|trade| trade.price == units(9)), "what is asked is paid");
}

#[test]
fn the_best_offer_is_not_always_the_cheapest() {
    let mut world = World::new();
    let doubted = Some(Percent::new(10.0).unwrap());
    world.offer("1", OfferSpec { trust: doubted, ..offer("a", 1_000, 10) });
    let quick = Some(Millis::new(10.0).unwrap());
    world.offer("2", OfferSpec { latency: quick, tier: Tier::Premium, ..offer("b", 1_000, 14) });
    let placed = world.bid("1", bid("alice", 1_000, 20));
    assert_eq!(fills(&placed.trades), [("b", 1_000, 14)]);
    // Among equals, the one that was there first.
    world.offer("3", offer("c", 1_000, 12));
    world.offer("4", offer("b", 1_000, 12));
    let placed = world.bid("2", bid("alice", 1_000, 20));
    assert_eq!(fills(&placed.trades), [("c", 1_000, 12)]);
}

#[test]
fn a_spot_offer_costs_what_demand_and_supply_make_of_it() {
    let mut world = World::new();
    let spot = OfferSpec { pricing: Pricing::Spot, ..offer("a", 4_000, 100) };
    world.offer("1", spot.clone());
    // 3,000 wanted of 4,000: three quarters of the base.
    let placed = world.bid("1", bid("alice", 3_000, 100));
    assert_eq!(fills(&placed.trades), [("a", 3_000, 75)]);
    // 8,000 wanted of 1,000: twice the base is too much for this one.
    let placed = world.bid("2", bid("alice", 8_000, 199));
    assert_eq!(placed.trades, []);
    let placed = world.bid("3", bid("carol", 500, 200));
    assert_eq!(fills(&placed.trades), [("a", 500, 200)]);
    // Much more for hire than wanted: half of it, but those who came first go first.
    let placed = world.offer("2", OfferSpec { amount: 100_000, ..spot });
    assert_eq!(fills(&placed.trades), [("a", 8_000, 50)]);
}

#[test]
fn a_trade_is_settled_once_and_the_rest_is_freed() {
    let mut world = World::new();
    world.terms.fee_bps = 250;
    world.offer("1", offer("a", 4_000, 100));
    let trade = world.bid("1", bid("alice", 4_000, 100)).trades.remove(0);
    assert_eq!((trade.cost, trade.fee), (units(400), units(10)));
    assert_eq!(world.debits("alice"), (410, 0));
    let refused = world.settle(trade.id, 401, at(10)).unwrap_err();
    assert_eq!(refused.field(), Some("price"));
    let settled = world.settle(trade.id, 201, at(10)).unwrap();
    assert_eq!((settled.state, settled.paid), (TradeState::Settled, units(201)));
    assert_eq!(world.debits("alice"), (0, 201 + 6), "the fee on it is rounded up");
    assert_eq!(world.earned("a"), 201);
    assert_eq!(world.settle(trade.id, 201, at(11)).unwrap(), settled);
    for again in [world.settle(trade.id, 200, at(11)), world.void(trade.id, at(11))] {
        assert_eq!(again.unwrap_err().kind(), ErrorKind::Conflict);
    }
    assert_eq!(world.left("1"), 0, "what was sold is sold");
}

#[test]
fn a_trade_that_came_to_nothing_gives_everything_back() {
    let mut world = World::new();
    world.offer("1", offer("a", 4_000, 100));
    let trade = world.bid("1", bid("alice", 3_000, 100)).trades.remove(0);
    let voided = world.void(trade.id, at(10)).unwrap();
    assert_eq!((world.debits("alice"), world.earned("a"), world.left("1")), ((0, 0), 0, 4_000));
    assert_eq!(world.void(trade.id, at(11)).unwrap(), voided);
    assert_eq!(world.settle(trade.id, 1, at(11)).unwrap_err().kind(), ErrorKind::Conflict);
    // Who waits gets what came back.
    let trade = world.bid("2", bid("alice", 4_000, 100)).trades.remove(0);
    world.bid("3", bid("carol", 1_000, 100));
    world.void(trade.id, at(12)).unwrap();
    assert_eq!(world.market.bid(bid_id("3")).unwrap().state, BidState::Filled);
    assert_eq!(world.left("1"), 3_000);
}

#[test]
fn everything_ends_when_its_time_is_over() {
    let mut world = World::new();
    world.offer("1", offer("a", 4_000, 100));
    let trade = world.bid("1", bid("alice", 1_000, 100)).trades.remove(0);
    world.bid("2", bid("alice", 1_000, 50));
    let [bid, offer] = [Due::Bid(bid_id("2")), Due::Offer(offer_id("1"))];
    let mut expire = |due, seconds| {
        world.market.expire(&mut world.book, due, &world.terms, at(seconds)).unwrap()
    };
    assert!(!expire(bid, 599) && expire(bid, 600) && !expire(bid, 601));
    assert!(!expire(Due::Trade(trade.id), 2 * 3_600 - 1));
    assert!(!expire(offer, 100 * 3_600 - 1) && expire(offer, 100 * 3_600));
    // Nobody said that it was delivered.
    let late = world.settle(trade.id, 1, at(2 * 3_600)).unwrap_err();
    assert!(matches!(late.downcast_ref(), Some(MarketError::TooLate(_))));
    let mut expire = |due, seconds| {
        world.market.expire(&mut world.book, due, &world.terms, at(seconds)).unwrap()
    };
    assert!(expire(Due::Trade(trade.id), 2 * 3_600) && !expire(Due::Trade(trade.id), 2 * 3_600));
    assert_eq!(world.debits("alice"), (0, 0));
    assert_eq!(world.left("1"), 3_000, "an offer that is over takes nothing back");
    assert_eq!(world.market.lane(Resource::Cpu).unwrap().depth, BTreeMap::new());
}

#[test]
fn who_cannot_pay_gets_nothing_and_is_in_nobodys_way() {
    let mut world = World::new();
    world.offer("1", offer("a", 1_000, 6_000));
    world.offer("2", offer("b", 1_000, 6_000));
    let placed = world.bid("1", bid("alice", 2_000, 6_000));
    assert_eq!(fills(&placed.trades), [("a", 1_000, 6_000)]);
    assert_eq!((placed.placed.state, placed.placed.left), (BidState::Unfunded, 1_000));
    // Nothing at all: refused, and nothing is remembered.
    let refused = world.try_bid("2", bid("alice", 1_000, 6_000), at(0)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Exhausted);
    assert!(world.market.bid(bid_id("2")).is_none());
    assert_eq!(world.left("2"), 1_000);
    // One who waits, and has not enough when it comes, makes way.
    let mut world = World::new();
    world.bid("1", bid("alice", 1_000, 20_000));
    world.bid("2", bid("carol", 1_000, 10_000));
    let placed = world.offer("1", offer("a", 1_000, 10_000));
    assert_eq!(placed.trades.len(), 1);
    assert_eq!(world.market.bid(bid_id("1")).unwrap().state, BidState::Filled);
    world.bid("3", bid("alice", 1_000, 20_000));
    let placed = world.offer("2", offer("b", 1_000, 10_000));
    assert_eq!(placed.trades[0].payer, account("carol"));
    assert_eq!(world.market.bid(bid_id("3")).unwrap().state, BidState::Unfunded);
}

#[test]
fn the_same_again_changes_nothing_and_another_content_is_refused() {
    let mut world = World::new();
    let first = world.offer("1", offer("a", 1_000, 10));
    let bid_first = world.bid("1", bid("alice", 600, 10));
    let again = world.try_offer("1", offer("a", 1_000, 10), at(200 * 3_600)).unwrap();
    assert_eq!((again.new, again.placed.left, first.placed.left), (false, 400, 1_000));
    let again = world.bid("1", bid("alice", 600, 10));
    assert_eq!((again.new, &again.placed), (false, &bid_first.placed));
    assert_eq!(world.debits("alice"), (6, 0));
    for refused in [
        world.try_offer("1", offer("a", 1_001, 10), at(0)).unwrap_err(),
        world.try_bid("1", bid("alice", 601, 10), at(0)).unwrap_err(),
    ] {
        assert_eq!(refused.kind(), ErrorKind::Conflict);
    }
    let stranger = OfferSpec { owner: account("stranger"), ..offer("a", 1, 1) };
    let refused = world.try_offer("2", stranger, at(0)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    world.terms.policy.max_open = 1;
    let refused = world.try_offer("3", offer("b", 1, 1), at(0)).unwrap_err();
    assert!(matches!(refused.downcast_ref(), Some(MarketError::Full { max: 1, .. })));
}

#[test]
fn what_was_called_off_is_not_hired() {
    let mut world = World::new();
    world.offer("1", offer("a", 1_000, 10));
    world.bid("1", bid("alice", 400, 10));
    assert_eq!(world.market.cancel_offer(offer_id("1")).unwrap().left, 600);
    world.market.cancel_offer(offer_id("1")).unwrap();
    world.bid("2", bid("alice", 400, 10));
    world.market.cancel_bid(bid_id("2")).unwrap();
    world.market.cancel_bid(bid_id("2")).unwrap();
    assert_eq!(world.offer("2", offer("b", 400, 10)).trades, []);
    let ended = world.market.cancel_bid(bid_id("1")).unwrap_err();
    assert!(matches!(ended.downcast_ref(), Some(MarketError::BidEnded { .. })));
    assert!(world.market.cancel_offer(offer_id("3")).is_err());
}

#[test]
fn nobody_trades_with_themselves() {
    let mut world = World::new();
    world.offer("1", OfferSpec { owner: account("alice"), ..offer("a", 1_000, 10) });
    assert_eq!(world.bid("1", bid("alice", 400, 10)).trades, []);
}

#[test]
fn an_open_offer_comes_before_a_nodes_rates() {
    let own = Rates { per_task: units(1), per_busy_second: units(2), ..Rates::default() };
    let mut world = World::new();
    let policy = MarketPolicy::default();
    let now = |world: &World| {
        let lane = world.market.lane(Resource::Cpu).cloned().unwrap_or_default();
        let offers = world.market.offers().map(|offer| (offer, &lane));
        rates_of(&own, offers, &policy, at(1))
    };
    assert_eq!(now(&world), own);
    world.offer("1", offer("a", 1_000, 70));
    world.offer("2", offer("a", 1_000, 50));
    let offered = Rates { per_task: units(1), per_cpu_hour: units(50), ..Rates::default() };
    assert_eq!(now(&world), offered);
    world.market.cancel_offer(offer_id("2")).unwrap();
    assert_eq!(now(&world).per_cpu_hour, units(70));
}

#[derive(Clone, Debug)]
enum Step {
    Offer(OfferSpec),
    Bid(BidSpec),
    CancelOffer(usize),
    CancelBid(usize),
    Settle(usize, u128),
    Void(usize),
    Expire,
}

fn step() -> impl Strategy<Value = Step> {
    let spot = prop_oneof![Just(Pricing::Fixed), Just(Pricing::Spot)];
    let region = prop_oneof![Just("eu"), Just("us"), Just("")];
    let offers = ("[abc]", 1..5_000_u64, 0..30_u128, spot, region, 1..100_u64).prop_map(
        |(node, amount, price, pricing, region, hours)| {
            let (region, expires_at) = (region.to_owned(), at(hours * 3_600));
            OfferSpec { pricing, region, expires_at, ..offer(&node, amount, price) }
        },
    );
    let payer = prop_oneof![Just("alice"), Just("carol"), Just("a")];
    let region = prop_oneof![Just(None), Just(Some("eu".to_owned())), Just(Some("us".to_owned()))];
    let bids = (payer, 1..5_000_u64, 0..60_u128, 1..12_u32, region).prop_map(
        |(payer, amount, most, hours, region)| {
            let duration = hours * HOUR;
            BidSpec { duration, region, ttl: Some(20 * HOUR), ..bid(payer, amount, most) }
        },
    );
    prop_oneof![
        3 => offers.prop_map(Step::Offer),
        4 => bids.prop_map(Step::Bid),
        1 => (0..20_usize).prop_map(Step::CancelOffer),
        1 => (0..20_usize).prop_map(Step::CancelBid),
        2 => (0..40_usize, 0..200_u128).prop_map(|(trade, paid)| Step::Settle(trade, paid)),
        1 => (0..40_usize).prop_map(Step::Void),
        1 => Just(Step::Expire),
    ]
}

/// What must hold after every step: what is reserved is what open trades cost, what was paid is what
/// settled ones were paid, never more is sold than was offered or wanted, and the lane knows.
fn check(world: &World) {
    let market = &world.market;
    let (mut held, mut taken) = (BTreeMap::new(), BTreeMap::new());
    let (mut sold, mut got) = (BTreeMap::new(), BTreeMap::new());
    for trade in market.trades() {
        let fee = crate::ledger::economy::fees::fee(trade.paid, trade.fee_bps).unwrap();
        let (reserved, paid) = match trade.state {
            TradeState::Held => (trade.cost.base_units() + trade.fee.base_units(), 0),
            TradeState::Settled => (0, trade.paid.base_units() + fee.base_units()),
            TradeState::Voided => (0, 0),
        };
        *held.entry(trade.payer.clone()).or_insert(0) += reserved;
        *taken.entry(trade.payer.clone()).or_insert(0) += paid;
        if trade.state != TradeState::Voided {
            *sold.entry(trade.offer).or_insert(0) += trade.amount;
        }
        *got.entry(trade.bid).or_insert(0) += trade.amount;
        assert_eq!(trade.ended_at.is_some(), trade.state != TradeState::Held);
        assert!(trade.price <= market.bid(trade.bid).unwrap().spec.max_price);
    }
    for payer in ["alice", "carol"] {
        let of = |sums: &BTreeMap<AccountId, u128>| sums.get(&account(payer)).copied();
        let expected = (of(&held).unwrap_or(0), of(&taken).unwrap_or(0));
        assert_eq!(world.debits(payer), expected, "{payer}");
    }
    let mut depth: BTreeMap<String, Depth> = BTreeMap::new();
    let (mut open_offers, mut open_bids) = (0, 0);
    for offer in market.offers() {
        let sold = sold.get(&offer.id).copied().unwrap_or(0);
        assert!(offer.left + sold <= offer.spec.amount, "never more than was offered");
        assert!(offer.state != OfferState::Open || offer.left + sold == offer.spec.amount);
        depth.entry(offer.spec.region.clone()).or_default().supply += offer.open();
        open_offers += u64::from(offer.open() > 0);
    }
    for bid in market.bids() {
        let got = got.get(&bid.id).copied().unwrap_or(0);
        assert_eq!(bid.left + got, bid.spec.amount, "never more than was wanted");
        assert_eq!(bid.state == BidState::Filled, bid.left == 0);
        let region = bid.spec.region.clone().unwrap_or_default();
        depth.entry(region).or_default().demand += bid.open();
        open_bids += u64::from(bid.open() > 0);
    }
    depth.retain(|_, depth| *depth != Depth::default());
    let lane = market.lane(Resource::Cpu).cloned().unwrap_or_default();
    assert_eq!((lane.depth, lane.open_offers, lane.open_bids), (depth, open_offers, open_bids));
    assert!(world.book.trial_balance().is_balanced());
}

proptest! {
    #[test]
    fn whatever_happens_it_adds_up(
        steps in prop::collection::vec(step(), 1..60), fee_bps in 0..1_000_u16,
    ) {
        let mut world = World::new();
        world.terms.fee_bps = fee_bps;
        let (mut offers, mut bids) = (Vec::new(), Vec::new());
        for (number, step) in steps.into_iter().enumerate() {
            let (now, name) = (at(number as u64 * 1_800), number.to_string());
            let trades: Vec<_> = world.market.trades().map(|t| (t.place, t.id, t.cost)).collect();
            let trade = |at: usize| trades.iter().find(|(place, ..)| *place == at as u64 + 1);
            match step {
                Step::Offer(spec) => {
                    if world.try_offer(&name, spec, now).is_ok() {
                        offers.push(offer_id(&name));
                    }
                }
                Step::Bid(spec) => {
                    if world.try_bid(&name, spec, now).is_ok() {
                        bids.push(bid_id(&name));
                    }
                }
                Step::CancelOffer(at) if at < offers.len() => {
                    let _ = world.market.cancel_offer(offers[at]);
                }
                Step::CancelBid(at) if at < bids.len() => {
                    let _ = world.market.cancel_bid(bids[at]);
                }
                Step::Settle(at, paid) => {
                    if let Some((_, id, cost)) = trade(at).copied() {
                        let _ = world.settle(id, paid.min(cost.base_units()), now);
                    }
                }
                Step::Void(at) => {
                    if let Some((_, id, _)) = trade(at).copied() {
                        let _ = world.void(id, now);
                    }
                }
                Step::Expire => {
                    let all = offers.iter().map(|id| Due::Offer(*id))
                        .chain(bids.iter().map(|id| Due::Bid(*id)))
                        .chain(trades.iter().map(|(_, id, _)| Due::Trade(*id)));
                    for due in all {
                        world.market.expire(&mut world.book, due, &world.terms, now).unwrap();
                    }
                }
                Step::CancelOffer(_) | Step::CancelBid(_) => {}
            }
            check(&world);
        }
    }
}
