//! A pick, from the request to the outcome.

use std::sync::Arc;
use std::time::Duration;

use super::balancer::Balancer;
use super::dice::{Dice, Draw};
use super::permit::{Held, Permit};
use super::pool::Pool;
use super::request::{Affinity, Request, Scope};
use super::slot::{Slot, breaker_bit};
use super::status::NoNode;
use super::view::{Candidate, View, takes};
use crate::error::Result;
use crate::failover::words::nanos;
use crate::failover::{BreakerState, FailureKind};

/// How often a strategy is asked again when its choice cannot take the request.
const TRIES: usize = 8;
/// After so many, a request looks beyond its region.
const NEAR_TRIES: usize = TRIES / 2;

/// How many of the nodes that a request must not go to count: the caller's, and those that it has
/// tried.
const MOST_EXCEPT: usize = 40;

impl Balancer {
    /// Picks a node.
    ///
    /// # Errors
    /// [`NoNode`] if none takes the request, with the time after which one may.
    #[inline]
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

    #[inline]
    pub(super) fn hold(
        &self,
        request: &Request,
        now: u64,
        draw: &mut Draw<'_>,
    ) -> Result<Held, NoNode> {
        self.table.tend(now);
        // A scope may come from another process.
        if request.scope.class >= self.table.settings.classes {
            return Err(NoNode::unknown());
        }
        let Some(wide) = self.table.pool(request.scope.pool) else { return Err(NoNode::unknown()) };
        // Most requests want nothing special, and their first choice does.
        if request.is_plain() {
            let view = self.view(wide, request, now);
            if let Some(candidate) = self.strategy.choose(&view, request, draw)
                && let Some(held) = self.take(&view, candidate, now, draw)
            {
                return Ok(held);
            }
        }
        self.hold_with_care(request, now, wide, draw)
    }

    /// As [`Self::hold`], with all that a request may want, and as many tries as it takes.
    #[cold]
    fn hold_with_care(
        &self,
        request: &Request,
        now: u64,
        wide: &Pool,
        draw: &mut Draw<'_>,
    ) -> Result<Held, NoNode> {
        if let Some(held) = self.hold_on(request, now, wide, draw) {
            draw.because("session_affinity");
            return Ok(held);
        }
        let near = self.near(request, wide, draw);
        let tried = Tried::new(self, request);
        for attempt in 0..TRIES {
            let pool = near.filter(|_| attempt < NEAR_TRIES).unwrap_or(wide);
            // Whether there is reason for panic, all nodes decide, not those nearby.
            let view = View { pool, ..self.view(wide, request, now) };
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

    #[inline]
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

    #[cold]
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
            Some(held) => {
                draw.because("last_resort");
                Ok(held)
            }
            // The last one's breaker may have opened just now, and now nobody's is asked.
            None if !view.panicking && self.view(wide, request, now).panicking => {
                self.search(request, now, wide, tried, draw)
            }
            None => Err(self.nobody(request, wide, now)),
        }
    }

    fn nobody(&self, request: &Request, wide: &Pool, now: u64) -> NoNode {
        let Scope { pool, class, .. } = request.scope;
        let next = self.table.next_back(pool, class);
        let retry_after = next.map(|next| Duration::from_nanos(next.saturating_sub(now)));
        NoNode { ready: wide.ready(), unwell: wide.unwell(), retry_after }
    }

    /// Takes a place at a node, if it still takes requests, has one left, and its breaker agrees.
    #[inline]
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
        let mut ticket = 0;
        if !view.panicking {
            let Some(admitted) = slot.admit(view.class, now) else {
                slot.give_up();
                // It may have opened just now, by what is in flight.
                let open = slot.breaker(view.class).state() == BreakerState::Open;
                if open && flags & breaker_bit(view.class) == 0 {
                    self.table.breaker_opened(number, now);
                }
                return None;
            };
            ticket = admitted;
        }
        let stripe = draw.stripe();
        if self.table.settings.with_ring {
            self.table.requests.add(stripe, 1);
        }
        Some(Held { began: now, ticket, number, class: u16::from(view.class), stripe })
    }

    // How it went.

    #[inline]
    fn give_back(&self, held: Held) -> Option<&Slot> {
        if self.table.settings.with_ring {
            self.table.requests.add(held.stripe, -1);
        }
        self.table.slot(held.number)
    }

    #[inline]
    pub(super) fn succeeded(&self, held: Held, latency: u64) {
        let Some(slot) = self.give_back(held) else { return };
        let now = held.began.saturating_add(latency);
        slot.succeed(latency, now, self.table.settings.latency_fading);
        if let Some(ticket) = held.ticket() {
            slot.admitted_well(held.class(), ticket, now);
        }
    }

    pub(super) fn failed(&self, held: Held, kind: FailureKind, latency: u64) {
        let Some(slot) = self.give_back(held) else { return };
        let now = held.began.saturating_add(latency);
        if kind.counts_against_node() {
            let counted = latency.max(nanos(self.policy.failure_latency));
            let place = slot.fail(counted, now, self.table.settings.latency_fading);
            if let Some(ticket) = held.ticket() {
                slot.admitted_badly(held.class(), ticket, now);
                let known = slot.flags() & breaker_bit(held.class()) != 0;
                if !known && slot.breaker(held.class()).open_until().is_some() {
                    self.table.breaker_opened(held.number, now);
                }
            }
            self.eject_after_row(slot, held.number, place, now);
        } else {
            slot.give_up();
            if let Some(ticket) = held.ticket() {
                slot.breaker(held.class()).cancel(ticket);
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
        if let Some(ticket) = held.ticket() {
            slot.breaker(held.class()).cancel(ticket);
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
        let numbers = request.except.iter().take(MOST_EXCEPT);
        Self(numbers.filter_map(|node| balancer.table.number(node)).collect())
    }

    fn has(&self, number: u32) -> bool {
        self.0.contains(&number)
    }
}
