//! All that a pick depends on, at one moment: the same pick can be made again from it.
//!
//! ```
//! use std::time::Duration;
//! use fogcore::balancer::{Balancer, BalancerPolicy, Dice, Endpoint, Request, StrategyKind};
//!
//! let strategy = StrategyKind::LeastConnections;
//! let balancer = Balancer::new(BalancerPolicy::default(), strategy)?;
//! let (now, mut dice) = (Duration::ZERO, Dice::seeded(1));
//! for name in ["a", "b", "c"] {
//!     balancer.join(Endpoint::new(name.parse()?), now)?;
//! }
//! let snapshot = balancer.snapshot(now);
//! let (permit, why) = balancer.pick_explained(&Request::new(), now, &mut dice);
//!
//! // Later, elsewhere, from JSON: the dice are in the explanation.
//! let again = snapshot.restore(strategy.strategy())?;
//! let replayed = again.pick(&Request::new(), snapshot.now(), &mut why.dice.clone())?;
//! assert_eq!(replayed.node(), permit?.node());
//! # Ok::<(), fogcore::Error>(())
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::balancer::Balancer;
use super::endpoint::Endpoint;
use super::news::News;
use super::policy::BalancerPolicy;
use super::pool::{Health, Pool, WEIGHT_CLASSES};
use super::slot::Readings;
use super::strategy::Strategy;
use super::table::{MOST_NODES, PoolKey};
use crate::error::{Error, Result};
use crate::failover::FrozenBreaker;
use crate::failover::atomics::Ordering;
use crate::failover::words::{low, nanos};

/// A balancer at one moment.
///
/// Not part of it: how the breakers' windows stand and who was left out for how long, which can only
/// change a later pick; and calls that hang, by which a breaker with
/// [`slow_after`](crate::failover::BreakerPolicy::slow_after) may open at this one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    now: Duration,
    policy: BalancerPolicy,
    nodes: Vec<FrozenNode>,
    pools: Vec<FrozenPool>,
    hot_above: Option<f32>,
    /// How many changes of nodes there had been, 32 bits of them.
    changes: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct FrozenNode {
    place: u32,
    endpoint: Endpoint,
    readings: Readings,
    breakers: Vec<FrozenBreaker>,
}

/// The lists in their order, because a number that was drawn means a place in one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct FrozenPool {
    key: PoolKey,
    /// In flight.
    requests: u64,
    /// Who came second the last time, for each thread or so.
    runners_up: Vec<Option<u32>>,
    classes: Vec<FrozenClass>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct FrozenClass {
    class: u8,
    bound: u32,
    ready: Vec<u32>,
    unwell: Vec<u32>,
}

impl Snapshot {
    /// When it was taken.
    #[must_use]
    pub const fn now(&self) -> Duration {
        self.now
    }

    /// A balancer in this state, with the strategy of the one that it was taken of. Picks at
    /// [`Self::now`] are those that the other one made; what comes later may differ. It is for
    /// replays: nobody is told of its breakers and ejections, neither listeners nor metrics.
    ///
    /// # Errors
    /// InvalidInput with the field's name for what no balancer has written.
    pub fn restore(&self, strategy: Arc<dyn Strategy>) -> Result<Balancer> {
        let mut balancer = Balancer::with_strategy(self.policy.clone(), strategy)?;
        balancer.table.news = News::nobodys();
        self.check()?;
        let table = &balancer.table;
        let mut writer = table.lock();
        for pool in &self.pools {
            table.pool_for(&mut writer, pool.key.clone())?;
        }
        for node in &self.nodes {
            let places = table.places(&mut writer, &node.endpoint)?;
            let endpoint = Arc::new(node.endpoint.clone());
            let slot = table.move_in(&mut writer, node.place, endpoint, places)?;
            for (class, frozen) in (0..table.settings.classes).zip(&node.breakers) {
                slot.with_breaker(class, |breaker| breaker.thaw(*frozen));
            }
            slot.restore(&node.readings);
        }
        for (number, pool) in (0..).zip(&self.pools) {
            if table.settings.with_ring
                && let Some(restored) = table.pool(number)
            {
                restored.count_request(0, i64::try_from(pool.requests).unwrap_or(i64::MAX));
            }
            for class in &pool.classes {
                let lists = [(Health::Ready, &class.ready), (Health::Unwell, &class.unwell)];
                for (health, places) in lists {
                    for place in places {
                        table.list(&mut writer, *place, number, class.class, health)?;
                    }
                }
                if let Some(lists) = table.pool(number).and_then(|pool| pool.class(class.class)) {
                    lists.set_bound(class.bound);
                }
            }
        }
        drop(writer);
        table.changes.store(u64::from(self.changes), Ordering::Release);
        for (number, frozen) in (0..).zip(&self.pools) {
            let Some(pool) = table.pool(number) else { continue };
            for (stripe, second) in (0..).zip(&frozen.runners_up) {
                pool.runners_up().remember(stripe, u64::from(self.changes), *second);
            }
        }
        table.set_hot_above(self.hot_above.unwrap_or(f32::INFINITY));
        Ok(balancer)
    }

    fn check(&self) -> Result<()> {
        let mut ids = BTreeSet::new();
        for node in &self.nodes {
            if !ids.insert(&node.endpoint.id) {
                return Err(Error::invalid("nodes", "a node is there twice"));
            }
            if node.place >= MOST_NODES {
                return Err(Error::invalid("nodes", "a place is beyond the largest balancer"));
            }
            node.endpoint.check()?;
            node.readings.check()?;
        }
        if self.pools.iter().any(|pool| pool.requests > u64::from(u32::MAX)) {
            return Err(Error::invalid("pools", "more requests are in flight than can be"));
        }
        if self.pools.iter().any(|pool| pool.runners_up.len() > usize::from(u8::MAX)) {
            return Err(Error::invalid("pools", "there are more runners-up than can be"));
        }
        let mut classes = self.pools.iter().flat_map(|pool| &pool.classes);
        if classes.any(|class| usize::from(class.class) >= WEIGHT_CLASSES || class.bound > 65_535) {
            return Err(Error::invalid("pools", "a weight is beyond the largest one"));
        }
        Ok(())
    }
}

impl Balancer {
    /// All that a pick depends on. It takes a moment during which nobody joins or leaves; requests
    /// that come and go meanwhile are in it or not.
    #[must_use]
    pub fn snapshot(&self, now: Duration) -> Snapshot {
        self.table.tend_all(nanos(now));
        let writer = self.table.lock();
        let mut nodes = Vec::new();
        for place in writer.numbers() {
            let (Some(slot), Some(Some(member))) =
                (self.table.slot(place), writer.members.get(place as usize))
            else {
                continue;
            };
            let classes = 0..self.table.settings.classes;
            nodes.push(FrozenNode {
                place,
                endpoint: (*member.endpoint).clone(),
                readings: slot.readings(),
                breakers: classes.map(|class| slot.breaker(class).freeze()).collect(),
            });
        }
        let changes = self.table.changes.load(Ordering::Acquire);
        let runners_up = |pool: &Pool| pool.runners_up().all(changes);
        let pools = (0..).zip(&writer.pool_keys).map(|(number, key)| FrozenPool {
            key: key.clone(),
            requests: self.table.pool(number).map_or(0, Pool::requests),
            runners_up: self.table.pool(number).map(runners_up).unwrap_or_default(),
            classes: self.frozen_classes(number),
        });
        let hot_above = self.table.hot_above();
        Snapshot {
            now,
            policy: self.policy.clone(),
            nodes,
            pools: pools.collect(),
            hot_above: hot_above.is_finite().then_some(hot_above),
            changes: low(changes),
        }
    }

    fn frozen_classes(&self, pool: u32) -> Vec<FrozenClass> {
        let Some(pool) = self.table.pool(pool) else { return Vec::new() };
        let classes = (0..).take(WEIGHT_CLASSES).filter_map(|class| {
            let lists = pool.class(class)?;
            Some(FrozenClass {
                class,
                bound: lists.bound(),
                ready: lists.ready.iter().collect(),
                unwell: lists.unwell.iter().collect(),
            })
        });
        classes.collect()
    }
}
