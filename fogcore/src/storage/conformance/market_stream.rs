//! One random stream of calls to the market, and what the rules alone make of it.

use std::collections::HashMap;

use rand::RngExt;
use rand::rngs::StdRng;

use super::market::{HOUR, accounts_of_it, bid, bid_id, fund, offer, offer_id, terms};
use super::random::{dice, steps};
use super::{account_id, at, units};
use crate::error::Result;
use crate::ledger::Book;
use crate::registry::Percent;
use crate::scheduler::market::{
    BidFilter, BidSpec, Market, OfferFilter, OfferSpec, Pricing, Resource, SlaClass, Tier,
};
use crate::storage::Stores;
use crate::time::Timestamp;

/// A long random history, call by call: the store answers as the rules alone do.
pub async fn the_market_agrees_with_its_rules(stores: &Stores) {
    fund(stores).await;
    let (mut market, mut book) = (Market::default(), Book::default());
    let (accounts, funds) = accounts_of_it();
    for account in accounts {
        book.open(account, at(0)).unwrap();
    }
    for transfer in &funds {
        book.apply(transfer, at(0)).unwrap();
    }
    let (mut dice, terms) = (dice(), terms());
    for step in 0..steps() {
        let (now, name) = (at(step * 1_200), step.to_string());
        let earlier = dice.random_range(0..=step).to_string();
        match dice.random_range(0..10) {
            0..3 => {
                let (id, spec) = (offer_id(&name), random_offer(&mut dice, now));
                let answer = stores.market.place_offer(id, spec.clone(), terms, now).await;
                same(answer, market.place_offer(&mut book, id, spec, &terms, now));
            }
            3..6 => {
                let (id, spec) = (bid_id(&name), random_bid(&mut dice));
                let answer = stores.market.place_bid(id, spec.clone(), terms, now).await;
                same(answer, market.place_bid(&mut book, id, spec, &terms, now));
            }
            6 => {
                let answer = stores.market.cancel_offer(offer_id(&earlier), now).await;
                same(answer, market.cancel_offer(offer_id(&earlier)));
                let answer = stores.market.cancel_bid(bid_id(&earlier), now).await;
                same(answer, market.cancel_bid(bid_id(&earlier)));
            }
            7 | 8 => {
                let mut trades: Vec<_> = market.trades().map(|t| (t.place, t.id, t.cost)).collect();
                trades.sort_unstable_by_key(|(place, ..)| *place);
                let Some((_, id, cost)) = trades
                    .len()
                    .checked_sub(1)
                    .map(|last| trades[dice.random_range(last.saturating_sub(20)..=last)])
                else {
                    continue;
                };
                if dice.random_bool(0.6) {
                    let paid = units(dice.random_range(0..=cost.base_units() + 1));
                    let answer = stores.market.settle(id, paid, now).await;
                    same(answer, market.settle(&mut book, id, paid, now));
                } else {
                    let answer = stores.market.void(id, terms, now).await;
                    same(answer, market.void(&mut book, id, &terms, now));
                }
            }
            _ => {
                let ended = stores.market.expire_market(terms, now, 1_000).await.unwrap();
                let mut due = market.due(now, 1_000);
                due.retain(|due| market.expire(&mut book, *due, &terms, now).unwrap());
                assert_eq!(ended, due);
            }
        }
        if step % 25 == 24 {
            agree(stores, &market, &book).await;
        }
    }
    agree(stores, &market, &book).await;
}

fn same<T: PartialEq + std::fmt::Debug>(store: Result<T>, rules: Result<T>) {
    let text = |error: crate::Error| (error.kind(), error.to_string());
    assert_eq!(store.map_err(text), rules.map_err(text));
}

async fn agree(stores: &Stores, market: &Market, book: &Book) {
    for account in book.accounts(None) {
        let there = stores.ledger.account(&account.id).await.unwrap().unwrap();
        assert_eq!(&there, account);
    }
    let (mut offers, mut bids) = (HashMap::new(), HashMap::new());
    for resource in Resource::ALL {
        let lane = market.lane(resource).cloned().unwrap_or_default();
        assert_eq!(stores.market.lane(resource).await.unwrap(), lane);
        let mut after = 0;
        loop {
            let page = stores.market.offers(resource, &OfferFilter::default(), after, 1_000).await;
            let page = page.unwrap();
            let Some(last) = page.last() else { break };
            after = last.place;
            offers.extend(page.into_iter().map(|offer| (offer.id, offer)));
        }
        let mut after = 0;
        loop {
            let page = stores.market.bids(resource, &BidFilter::default(), after, 1_000).await;
            let page = page.unwrap();
            let Some(last) = page.last() else { break };
            after = last.place;
            bids.extend(page.into_iter().map(|bid| (bid.id, bid)));
        }
    }
    assert_eq!(offers, market.offers().map(|offer| (offer.id, offer.clone())).collect());
    assert_eq!(bids, market.bids().map(|bid| (bid.id, bid.clone())).collect());
}

fn random_offer(dice: &mut StdRng, now: Timestamp) -> OfferSpec {
    let owner = if dice.random_bool(0.5) { "bob" } else { "dave" };
    let hours = dice.random_range(1..40);
    OfferSpec {
        owner: account_id(owner),
        resource: Resource::ALL[dice.random_range(0..2)],
        pricing: if dice.random_bool(0.4) { Pricing::Spot } else { Pricing::Fixed },
        max_duration: dice.random_range(1..5) * HOUR,
        sla: [SlaClass::B, SlaClass::A, SlaClass::S][dice.random_range(0..3)],
        tier: [Tier::Basic, Tier::Premium][dice.random_range(0..2)],
        region: ["eu", "us", ""][dice.random_range(0..3)].to_owned(),
        trust: dice.random_bool(0.5).then(|| Percent::new(50.0).unwrap()),
        expires_at: now.saturating_add(hours * HOUR),
        ..offer(owner, dice.random_range(1..6_000), dice.random_range(0..40))
    }
}

fn random_bid(dice: &mut StdRng) -> BidSpec {
    let payer = ["alice", "carol", "bob"][dice.random_range(0..3)];
    BidSpec {
        payer: account_id(payer),
        resource: Resource::ALL[dice.random_range(0..2)],
        duration: dice.random_range(1..5) * HOUR,
        sla: [SlaClass::B, SlaClass::A, SlaClass::S][dice.random_range(0..3)],
        region: [None, Some("eu".to_owned()), Some("us".to_owned())][dice.random_range(0..3)]
            .clone(),
        ttl: dice.random_bool(0.5).then_some(5 * HOUR),
        ..bid(dice.random_range(1..6_000), dice.random_range(0..80))
    }
}
