//! The balancer: the lists of nodes, a strategy, and what holds for every strategy.

use std::sync::Arc;
use std::time::Duration;

use super::dice::{Dice, Draw};
use super::endpoint::Endpoint;
use super::permit::{Held, Permit};
use super::policy::{BalancerPolicy, StrategyKind};
use super::pool::Pool;
use super::report::Load;
use super::request::{Affinity, Class, Request, Scope};
use super::slot::{AWAY, DRAINING, FULL, INELIGIBLE, Slot, UNHEALTHY, breaker_bit};
use super::status::NoNode;
use super::strategy::Strategy;
use super::stripes::STRIPES;
use super::table::{PoolKey, Table};
use super::view::{Candidate, View, takes};
use crate::error::{Error, ErrorKind, Result};
use crate::failover::words::{low, nanos, whole};
use crate::failover::{BreakerState, FailureKind, Outlier, far_from_the_rest};
use crate::id::NodeId;
use crate::registry::Eligibility;

/// How often a strategy is asked again when its choice cannot take the request.
const TRIES: usize = 8;
/// After so many, a request looks beyond its region.
const NEAR_TRIES: usize = TRIES / 2;

/// Chooses a node for each request. Shared by all threads; picking takes no lock.
///
/// All times are counted from any fixed point that the callers agree on
/// ([`Clock::elapsed`](crate::time::Clock::elapsed)). It does no I/O and starts no task: whoever
/// owns it calls [`maintain`](Self::maintain) from time to time.
#[derive(Debug)]
pub struct Balancer {
    pub(super) policy: BalancerPolicy,
    pub(super) strategy: Arc<dyn Strategy>,
    pub(super) table: Table,
}

impl Balancer {
    /// A balancer without nodes, with one of the library's strategies.
    ///
    /// # Errors
    /// InvalidInput with the field's name for a policy that makes no sense.
    pub fn new(policy: BalancerPolicy, strategy: StrategyKind) -> Result<Self> {
        Self::with_strategy(policy, strategy.strategy())
    }

    /// A balancer without nodes, with any strategy.
    ///
    /// # Errors
    /// InvalidInput with the field's name for a policy that makes no sense.
    pub fn with_strategy(policy: BalancerPolicy, strategy: Arc<dyn Strategy>) -> Result<Self> {
        policy.check()?;
        let table = Table::new(&policy, strategy.needs_ring(), 0);
        Ok(Self { policy, strategy, table })
    }

    /// The same balancer, which jitters its breakers' open times by another seed.
    #[must_use]
    pub fn seeded(mut self, seed: u64) -> Self {
        self.table.seed = seed;
        self
    }

    /// How many nodes it knows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether it knows no node.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that its nodes take, without their names and labels.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.table.bytes()
    }

    // Who is there.

    /// Takes a node in, or takes in what has changed of it. A new one starts slowly.
    ///
    /// # Errors
    /// InvalidInput with the field's name; Exhausted if there are too many nodes, regions or
    /// labels.
    pub fn join(&self, endpoint: Endpoint, now: Duration) -> Result<()> {
        endpoint.check()?;
        self.table.join(endpoint, nanos(now))
    }

    /// Lets a node go; tells whether it was there. Its requests in flight end as they do.
    pub fn leave(&self, node: &NodeId, now: Duration) -> bool {
        self.table.leave(node, nanos(now))
    }

    /// A node by its place, as [`Permit::index`] tells it.
    #[must_use]
    pub fn endpoint(&self, index: u32) -> Option<Arc<Endpoint>> {
        self.table.slot(index)?.endpoint()
    }

    /// How many requests a node has in flight; none if it is not there.
    #[must_use]
    pub fn in_flight(&self, node: &NodeId) -> Option<u32> {
        Some(self.table.slot(self.table.number(node)?)?.in_flight())
    }

    // How they are.

    /// Takes in what a node tells of its load. A node that tells something is not away.
    ///
    /// # Errors
    /// InvalidInput with the field's name; NotFound for a node that is not there.
    pub fn report(&self, node: &NodeId, load: &Load, now: Duration) -> Result<()> {
        load.check()?;
        let number = self.table.number(node).ok_or_else(|| not_found(node))?;
        let slot = self.table.slot(number).ok_or_else(|| not_found(node))?;
        slot.report(load, nanos(now));
        if let Some(in_flight) = load.in_flight {
            let weight = slot.weight.load(std::sync::atomic::Ordering::Relaxed);
            self.learn_hot(f64::from(in_flight) * 100.0 / f64::from(weight.max(1)));
        }
        let share = low(whole(load.headroom(&self.policy.power) * f64::from(FULL)));
        slot.headroom.store(share, std::sync::atomic::Ordering::Relaxed);
        slot.share_again();
        if slot.flags() & AWAY != 0 {
            self.flag(node, AWAY, false, now)?;
        }
        Ok(())
    }

    /// Moves the bound between cold and hot nodes towards what 84 % of the reports stay below
    /// (Robbins and Monro 1951: a step up for each report above it, a smaller one down else).
    #[expect(clippy::cast_possible_truncation, reason = "seven digits are enough")]
    fn learn_hot(&self, requests: f64) {
        const QUANTILE: f64 = 0.84;
        const STEP: f64 = 0.05;
        let before = f64::from(self.table.hot_above());
        let after = if before.is_finite() {
            let below = if requests <= before { 1.0 } else { 0.0 };
            before + STEP * (before + 1.0) * (QUANTILE - below)
        } else {
            requests
        };
        self.table.set_hot_above(after.clamp(0.0, f64::from(f32::MAX)) as f32);
    }

    /// Tells whether a node's health probes pass.
    ///
    /// # Errors
    /// NotFound for a node that is not there.
    pub fn set_healthy(&self, node: &NodeId, healthy: bool, now: Duration) -> Result<()> {
        self.flag(node, UNHEALTHY, !healthy, now)
    }

    /// Tells whether a node may work at all; one that may not gets nothing, however few others
    /// there are.
    ///
    /// # Errors
    /// NotFound for a node that is not there.
    pub fn set_eligibility(
        &self,
        node: &NodeId,
        eligibility: Eligibility,
        now: Duration,
    ) -> Result<()> {
        self.flag(node, INELIGIBLE, eligibility.is_err(), now)
    }

    /// Tells that a node is away as expected (asleep, off the network), which is no failure, or
    /// back.
    ///
    /// # Errors
    /// NotFound for a node that is not there.
    pub fn set_away(&self, node: &NodeId, away: bool, now: Duration) -> Result<()> {
        self.flag(node, AWAY, away, now)
    }

    /// Lets a node end what it has and gives it nothing new, or takes that back.
    ///
    /// # Errors
    /// NotFound for a node that is not there.
    pub fn drain(&self, node: &NodeId, drain: bool, now: Duration) -> Result<()> {
        self.flag(node, DRAINING, drain, now)
    }

    /// Leaves a node this share of its weight, 0–1; zero drains it.
    ///
    /// # Errors
    /// InvalidInput for what is no share; NotFound for a node that is not there.
    pub fn set_share(&self, node: &NodeId, share: f64, now: Duration) -> Result<()> {
        if !(0.0..=1.0).contains(&share) {
            return Err(Error::invalid("share", "must be between 0 and 1"));
        }
        let part = low(whole(share * f64::from(FULL)));
        let set = |slot: &Slot| {
            slot.kept.store(part, std::sync::atomic::Ordering::Relaxed);
            slot.share_again();
        };
        let updated = self.table.update(node, nanos(now), |slot, _| {
            set(slot);
            set_flag(slot, DRAINING, part == 0);
        });
        updated.ok_or_else(|| not_found(node))
    }

    fn flag(&self, node: &NodeId, flag: u32, on: bool, now: Duration) -> Result<()> {
        let updated = self.table.update(node, nanos(now), |slot, _| set_flag(slot, flag, on));
        updated.ok_or_else(|| not_found(node))
    }

    /// Opens or closes a node's breaker until it is released (`None`).
    ///
    /// # Errors
    /// NotFound for a node that is not there.
    pub fn force_breaker(
        &self,
        node: &NodeId,
        class: Class,
        open: Option<bool>,
        now: Duration,
    ) -> Result<()> {
        let updated = self.table.update(node, nanos(now), |slot, _| {
            let breaker = slot.breaker(class.0);
            match open {
                Some(true) => breaker.force_open(now),
                Some(false) => breaker.force_closed(now),
                None => breaker.release(now),
            }
        });
        updated.ok_or_else(|| not_found(node))
    }

    /// What has to be done from time to time, and does not depend on picks: runs timers and, if a
    /// comparison is due, leaves out the nodes that are far worse than the rest.
    pub fn maintain(&self, now: Duration) {
        self.table.tend(nanos(now));
        let Some(outliers) = &self.policy.outliers else { return };
        let mut writer = self.table.lock();
        if now < writer.compared_at.saturating_add(outliers.compare_every) {
            return;
        }
        writer.compared_at = now;
        let numbers: Vec<u32> = writer.numbers().collect();
        let observed: Vec<_> =
            numbers.iter().map(|number| self.table.observed(&mut writer, *number)).collect();
        let out = numbers.iter().filter(|number| self.table.is_ejected(**number)).count();
        let room = outliers.most_out(numbers.len()).saturating_sub(out);
        for Outlier { index, .. } in far_from_the_rest(&observed, outliers).into_iter().take(room) {
            let number = numbers[index];
            self.table.update_number(&mut writer, number, nanos(now), |_, member| {
                member.ejected_times = member.ejected_times.saturating_add(1);
                let until = now.saturating_add(outliers.out_for(member.ejected_times));
                member.ejected_until = Some(nanos(until));
            });
        }
    }

    // What is asked for.

    /// A request class of the policy by its name; the general one is [`Class::default`].
    ///
    /// # Errors
    /// NotFound for a class that the policy does not name.
    pub fn class(&self, name: &str) -> Result<Class> {
        let place = self.policy.classes.iter().position(|class| class == name);
        let class = place.and_then(|place| u8::try_from(place + 1).ok());
        class.map(Class).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("there is no request class {name:?}"))
        })
    }

    /// The scope of the nodes that have this label, if one is given, where those in `region` are
    /// preferred. Looked up once, it is good for any number of requests.
    ///
    /// # Errors
    /// InvalidInput with the field `label` for a key that is not in the policy's `subset_keys`;
    /// Exhausted if too many scopes were asked for.
    pub fn scope(
        &self,
        class: Class,
        region: Option<&str>,
        label: Option<(&str, &str)>,
    ) -> Result<Scope> {
        if let Some((key, _)) = label
            && !self.policy.subset_keys.iter().any(|known| known == key)
        {
            return Err(Error::invalid("label", format!("{key:?} is not in subset_keys")));
        }
        let label = label.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let mut writer = self.table.lock();
        let key = PoolKey { class: class.0, region: None, label: label.clone() };
        let pool = self.table.pool_for(&mut writer, key)?;
        let near = match region {
            Some(region) => {
                let key = PoolKey { class: class.0, region: Some(region.to_owned()), label };
                Some(self.table.pool_for(&mut writer, key)?)
            }
            None => None,
        };
        Ok(Scope { class: class.0, pool, near })
    }

    // Picking.

    /// Picks a node.
    ///
    /// # Errors
    /// [`NoNode`] if none takes the request, with the time after which one may.
    pub fn pick(
        &self,
        request: &Request,
        now: Duration,
        dice: &mut Dice,
    ) -> Result<Permit<&Self>, NoNode> {
        let held = self.hold(request, nanos(now), &mut dice.throw())?;
        Ok(Permit::new(self, held))
    }

    /// Picks a node; the permit holds a share of the balancer and can go anywhere.
    ///
    /// # Errors
    /// As [`Self::pick`].
    pub fn pick_owned(
        self: &Arc<Self>,
        request: &Request,
        now: Duration,
        dice: &mut Dice,
    ) -> Result<Permit<Arc<Self>>, NoNode> {
        let held = self.hold(request, nanos(now), &mut dice.throw())?;
        Ok(Permit::new(Arc::clone(self), held))
    }

    pub(super) fn hold(
        &self,
        request: &Request,
        now: u64,
        draw: &mut Draw<'_>,
    ) -> Result<Held, NoNode> {
        self.table.tend(now);
        let Some(wide) = self.table.pool(request.scope.pool) else { return Err(NoNode::unknown()) };
        if let Some(held) = self.hold_on(request, now, wide, draw) {
            return Ok(held);
        }
        let near = self.near(request, wide, draw);
        let tried = Tried::new(self, request);
        for attempt in 0..TRIES {
            let pool = near.filter(|_| attempt < NEAR_TRIES).unwrap_or(wide);
            let view = self.view(pool, request, now);
            let Some(candidate) = self.strategy.choose(&view, request, draw) else { continue };
            if !tried.has(candidate.number)
                && let Some(held) = self.take(&view, candidate, now, draw)
            {
                return Ok(held);
            }
        }
        self.search(request, now, wide, &tried, draw)
    }

    /// The nodes nearby, unless so few of them are well that this request goes elsewhere.
    fn near(&self, request: &Request, wide: &Pool, draw: &mut Draw<'_>) -> Option<&Pool> {
        let near = self.table.pool(request.scope.near?)?;
        let (ready, all) = (near.ready(), near.ready() + near.unwell());
        if ready == 0 {
            return None;
        }
        if ready == all || wide.ready() == ready {
            return Some(near);
        }
        let kept = f64::from(ready) / f64::from(all) * self.policy.overprovisioning;
        draw.chance(kept).then_some(near)
    }

    pub(super) fn view<'t>(&'t self, pool: &'t Pool, request: &Request, now: u64) -> View<'t> {
        let (ready, unwell) = (pool.ready(), pool.unwell());
        let panicking =
            unwell > 0 && f64::from(ready) < f64::from(ready + unwell) * self.policy.panic_below;
        View { table: &self.table, pool, panicking, class: request.scope.class, now }
    }

    /// The node that the session holds on to, if it takes the request.
    fn hold_on(
        &self,
        request: &Request,
        now: u64,
        wide: &Pool,
        draw: &mut Draw<'_>,
    ) -> Option<Held> {
        let view = || self.view(wide, request, now);
        match &request.affinity {
            Affinity::None => None,
            Affinity::Node(node) => {
                let view = view();
                let candidate = view.candidate(self.table.number(node)?)?;
                let inside = self.table.is_in(candidate.number, request.scope.pool);
                if !inside || !view.takes(candidate) || request.except.contains(node) {
                    return None;
                }
                self.take(&view, candidate, now, draw)
            }
            Affinity::Key(key) => {
                self.table.need_ring(request.scope.pool);
                let view = view();
                let candidate = view.keyed_within(*key, f64::INFINITY, draw)?;
                if Tried::new(self, request).has(candidate.number) {
                    return None;
                }
                self.take(&view, candidate, now, draw)
            }
        }
    }

    /// The strategy's choices did not do: any node that takes the request, beginning anywhere.
    fn search(
        &self,
        request: &Request,
        now: u64,
        wide: &Pool,
        tried: &Tried,
        draw: &mut Draw<'_>,
    ) -> Result<Held, NoNode> {
        let view = self.view(wide, request, now);
        let all: Vec<u32> = wide.members(view.panicking).collect();
        let start = draw.below(u32::try_from(all.len()).unwrap_or(u32::MAX)) as usize;
        let (before, after) = all.split_at(start.min(all.len()));
        let in_order = after.iter().chain(before).copied();
        let mut candidates =
            in_order.filter(|number| !tried.has(*number)).filter_map(|n| view.candidate(n));
        match candidates.find_map(|candidate| self.take(&view, candidate, now, draw)) {
            Some(held) => Ok(held),
            None => Err(self.nobody(wide, now)),
        }
    }

    fn nobody(&self, wide: &Pool, now: u64) -> NoNode {
        let next = self.table.next_timer();
        let retry_after = (next < u64::MAX).then(|| Duration::from_nanos(next.saturating_sub(now)));
        NoNode { ready: wide.ready(), unwell: wide.unwell(), retry_after }
    }

    /// Takes a place at a node, if it still takes requests, has one left, and its breaker agrees.
    fn take(
        &self,
        view: &View<'_>,
        candidate: Candidate<'_>,
        now: u64,
        draw: &mut Draw<'_>,
    ) -> Option<Held> {
        let Candidate { number, slot } = candidate;
        if !slot.begin() {
            return None;
        }
        // After it is counted, so that its place is not given to somebody else from here on.
        let flags = slot.flags();
        if !takes(flags, view.class, view.panicking) {
            slot.give_up();
            return None;
        }
        let breaker = slot.breaker(view.class);
        let ticket = if view.panicking { None } else { Some(breaker.admit(now)) };
        let ticket = match ticket {
            Some(Err(_)) => {
                slot.give_up();
                // It may have opened just now, by what is in flight.
                if breaker.state() == BreakerState::Open && flags & breaker_bit(view.class) == 0 {
                    self.table.breaker_opened(number, now);
                }
                return None;
            }
            Some(Ok(ticket)) => Some(ticket),
            None => None,
        };
        let mut stripe = None;
        if self.table.settings.with_ring {
            let mine = draw.stripe(STRIPES);
            self.table.requests.add(mine, 1);
            stripe = u8::try_from(mine).ok();
        }
        Some(Held { number, class: view.class, stripe, ticket, began: now })
    }

    // How it went.

    fn give_back(&self, held: Held) -> Option<&Slot> {
        if let Some(stripe) = held.stripe {
            self.table.requests.add(usize::from(stripe), -1);
        }
        self.table.slot(held.number)
    }

    pub(super) fn succeeded(&self, held: Held, latency: u64) {
        let Some(slot) = self.give_back(held) else { return };
        let now = held.began.saturating_add(latency);
        slot.succeed(latency, now, self.table.settings.latency_memory);
        if let Some(ticket) = held.ticket {
            slot.breaker(held.class).succeed(ticket, now);
        }
    }

    pub(super) fn failed(&self, held: Held, kind: FailureKind, latency: u64) {
        let Some(slot) = self.give_back(held) else { return };
        let now = held.began.saturating_add(latency);
        if kind.counts_against_node() {
            let counted = latency.max(nanos(self.policy.failure_latency));
            slot.fail(counted, now, self.table.settings.latency_memory);
            if let Some(ticket) = held.ticket {
                let breaker = slot.breaker(held.class);
                breaker.fail(ticket, now);
                if breaker.open_until().is_some() {
                    self.table.breaker_opened(held.number, now);
                }
            }
        } else {
            slot.give_up();
            if let Some(ticket) = held.ticket {
                slot.breaker(held.class).cancel(ticket);
            }
        }
        if let Some(rest) = kind.lowers_for(&self.policy.lowering) {
            self.table.rest(held.number, now, now.saturating_add(nanos(rest)));
        }
        if let FailureKind::Absent(_) = kind {
            self.table.away(held.number, now);
        }
    }

    pub(super) fn gave_up(&self, held: Held) {
        let Some(slot) = self.give_back(held) else { return };
        slot.give_up();
        if let Some(ticket) = held.ticket {
            slot.breaker(held.class).cancel(ticket);
        }
    }
}

/// Places of the nodes that a request must not go to.
struct Tried(Vec<u32>);

impl Tried {
    fn new(balancer: &Balancer, request: &Request) -> Self {
        if request.except.is_empty() {
            return Self(Vec::new());
        }
        let numbers = request.except.iter().take(16);
        Self(numbers.filter_map(|node| balancer.table.number(node)).collect())
    }

    fn has(&self, number: u32) -> bool {
        self.0.contains(&number)
    }
}

fn set_flag(slot: &Slot, flag: u32, on: bool) {
    use std::sync::atomic::Ordering::AcqRel;
    if on {
        slot.status.fetch_or(flag, AcqRel);
    } else {
        slot.status.fetch_and(!flag, AcqRel);
    }
}

fn not_found(node: &NodeId) -> Error {
    Error::new(ErrorKind::NotFound, format!("the balancer knows no node {:?}", node.as_str()))
}
