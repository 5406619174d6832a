//! A pick, from the request to the outcome.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use super::balancer::Balancer;
use super::dice::{Dice, Draw};
use super::meter::{Meter, breaker_bit, takes};
use super::permit::{Held, Permit, Taken};
use super::pool::Pool;
use super::request::{Affinity, Request, Scope};
use super::status::NoNode;
use super::view::{Candidate, MOST_SEARCHED, View};
use crate::error::Result;
use crate::failover::atomics::Ordering;
use crate::failover::words::nanos;
use crate::failover::{BreakerState, FailureKind};

/// How often a strategy is asked again when its choice cannot take the request.
const TRIES: usize = 8;
/// After so many, a request looks beyond its region.
const NEAR_TRIES: usize = TRIES / 2;

/// How often the nodes are searched, if they change meanwhile.
const SEARCHES: usize = 3;

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
        let (now, stripe) = (nanos(now), dice.stripe());
        match self.hold(request, now, &mut dice.throw()) {
            Some(taken) => {
                Ok(Permit::new(self, Held::new(taken, now, request.scope.class, stripe)))
            }
            None => Err(self.nobody(request, now)),
        }
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
        let (now, stripe) = (nanos(now), dice.stripe());
        match self.hold(request, now, &mut dice.throw()) {
            Some(taken) => {
                let held = Held::new(taken, now, request.scope.class, stripe);
                Ok(Permit::new(Arc::clone(self), held))
            }
            None => Err(self.nobody(request, now)),
        }
    }

    pub(super) fn hold(&self, request: &Request, now: u64, draw: &mut Draw<'_>) -> Option<Taken> {
        self.table.tend(now);
        let wide = self.wide(request.scope)?;
        // Most requests want nothing special, and their first choice does.
        if request.is_plain() {
            let view = self.view(wide, request, now);
            if let Some(candidate) = self.strategy.choose(&view, request, draw)
                && let Some(taken) = self.take(&view, candidate, now, draw)
            {
                return Some(taken);
            }
        }
        self.hold_with_care(request, now, wide, draw)
    }

    /// The pool of all nodes that a request may go to; none if there is no such scope, which may
    /// come from another process.
    #[inline]
    pub(super) fn wide(&self, scope: Scope) -> Option<&Pool> {
        if scope.class >= self.table.settings.classes {
            return None;
        }
        self.table.pool(scope.pool)
    }

    /// As [`Self::hold`], with all that a request may want, and as many tries as it takes.
    #[cold]
    fn hold_with_care(
        &self,
        request: &Request,
        now: u64,
        wide: &Pool,
        draw: &mut Draw<'_>,
    ) -> Option<Taken> {
        if let Some(taken) = self.hold_on(request, now, wide, draw) {
            draw.because("session_affinity");
            return Some(taken);
        }
        let near = self.near(request, wide, draw);
        let tried = Tried::new(self, request);
        for attempt in 0..TRIES {
            // Whether there is reason for panic, all nodes decide, not those nearby.
            let view = self.view(wide, request, now);
            let view = match near {
                Some((pool, pool_number)) if attempt < NEAR_TRIES => {
                    View { pool, pool_number, ..view }
                }
                _ => view,
            };
            let Some(candidate) = self.strategy.choose(&view, request, draw) else { continue };
            if !tried.has(candidate.number)
                && let Some(taken) = self.take(&view, candidate, now, draw)
            {
                return Some(taken);
            }
        }
        self.search(request, now, wide, &tried, draw)
    }

    /// The nodes nearby, unless so few of them take requests that this one goes elsewhere.
    fn near(&self, request: &Request, wide: &Pool, draw: &mut Draw<'_>) -> Option<(&Pool, u32)> {
        let number = request.scope.near?;
        let near = self.table.pool(number)?;
        // Those that sleep or rest leave the others no more room than those that are unwell.
        let (ready, all) = (near.ready(), near.members());
        if ready == 0 {
            return None;
        }
        if ready >= all || wide.ready() == ready {
            return Some((near, number));
        }
        let kept = f64::from(ready) / f64::from(all) * self.policy.overprovisioning;
        draw.chance(kept).then_some((near, number))
    }

    #[inline]
    pub(super) fn view<'t>(&'t self, pool: &'t Pool, request: &Request, now: u64) -> View<'t> {
        let (ready, unwell) = (pool.ready(), pool.unwell());
        let panicking =
            unwell > 0 && f64::from(ready) < f64::from(ready + unwell) * self.policy.panic_below;
        let Scope { class, pool: pool_number, .. } = request.scope;
        View { table: &self.table, pool, pool_number, panicking, class, now }
    }

    /// The node that the session holds on to, if it takes the request.
    fn hold_on(
        &self,
        request: &Request,
        now: u64,
        wide: &Pool,
        draw: &mut Draw<'_>,
    ) -> Option<Taken> {
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
                let candidate = view.keyed_within(*key, f64::INFINITY, draw);
                draw.land();
                let candidate = candidate?;
                if Tried::new(self, request).has(candidate.number) {
                    return None;
                }
                self.take(&view, candidate, now, draw)
            }
        }
    }

    /// The strategy's choices did not do: any node that takes the request, beginning anywhere.
    #[cold]
    fn search(
        &self,
        request: &Request,
        now: u64,
        wide: &Pool,
        tried: &Tried,
        draw: &mut Draw<'_>,
    ) -> Option<Taken> {
        let mut changes = self.table.changes.load(Ordering::Acquire);
        for _ in 0..SEARCHES {
            let view = self.view(wide, request, now);
            let start = draw.below(view.len()) as usize;
            let mut candidates = wide
                .members_from(start, view.panicking)
                .take(MOST_SEARCHED)
                .filter(|number| !tried.has(*number))
                .filter_map(|number| view.candidate(number));
            let taken = candidates.find_map(|candidate| self.take(&view, candidate, now, draw));
            if taken.is_some() {
                draw.because("last_resort");
                return taken;
            }
            // A node that moves between lists is in none for a moment, and the last breaker may have
            // opened just now, after which nobody's is asked.
            let before = mem::replace(&mut changes, self.table.changes_made());
            if before == changes {
                break;
            }
        }
        None
    }

    #[cold]
    pub(super) fn nobody(&self, request: &Request, now: u64) -> NoNode {
        let Some(wide) = self.wide(request.scope) else { return NoNode::unknown() };
        let Scope { pool, class, .. } = request.scope;
        let changes = self.table.changes.load(Ordering::Acquire);
        let known = wide.known_back(changes, now);
        let next = known.unwrap_or_else(|| self.table.next_back(wide, pool, class, now));
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
    ) -> Option<Taken> {
        let Candidate { number, meter } = candidate;
        if !meter.begin() {
            return None;
        }
        // After it is counted, so that its place is not given to somebody else from here on.
        let flags = meter.flags();
        if !takes(flags, view.class, view.panicking) {
            meter.give_up();
            return None;
        }
        let ticket = if view.panicking {
            0
        } else if let Some(ticket) = self.admit(view.class, candidate, flags, now) {
            ticket
        } else {
            meter.give_up();
            return None;
        };
        if self.table.settings.with_ring {
            view.pool.count_request(draw.stripe(), 1);
        }
        Some(Taken::new(number, view.pool_number, ticket))
    }

    /// Asks a class's breaker for leave to make a call; gives the ticket's word.
    #[inline]
    fn admit(&self, class: u8, candidate: Candidate<'_>, flags: u32, now: u64) -> Option<u64> {
        let settled = candidate.meter.settled(class);
        if settled.is_some() {
            return settled;
        }
        let slot = self.table.slot(candidate.number)?;
        let admitted = slot.admit(class, now);
        // It may have opened just now, by what is in flight.
        if admitted.is_none()
            && flags & breaker_bit(class) == 0
            && slot.breaker(class).state() == BreakerState::Open
        {
            self.table.breaker_opened(candidate.number, now);
        }
        admitted
    }

    // How it went.

    #[inline]
    fn give_back(&self, held: &Held) -> Option<&Meter> {
        if self.table.settings.with_ring
            && let Some(pool) = self.table.pool(held.taken.pool())
        {
            pool.count_request(held.stripe(), -1);
        }
        self.table.meter(held.taken.number())
    }

    #[inline]
    pub(super) fn succeeded(&self, held: &Held, latency: u64) {
        let Some(meter) = self.give_back(held) else { return };
        let now = held.began.saturating_add(latency);
        let better = meter.succeed(latency, now, self.table.settings.latency_fading);
        if better || meter.settled(held.class()) != Some(held.taken.ticket) {
            self.succeeded_with_care(held, now, better);
        }
    }

    /// A node comes back, or its breaker counts.
    fn succeeded_with_care(&self, held: &Held, now: u64, better: bool) {
        let Some(slot) = self.table.slot(held.taken.number()) else { return };
        if better {
            slot.share_again();
        }
        if let Some(ticket) = held.ticket() {
            slot.admitted_well(held.class(), ticket, now);
        }
    }

    pub(super) fn failed(&self, held: &Held, kind: FailureKind, latency: u64) {
        let Some(meter) = self.give_back(held) else { return };
        let Some(slot) = self.table.slot(held.taken.number()) else { return };
        let now = held.began.saturating_add(latency);
        if kind.counts_against_node() {
            let counted = latency.max(nanos(self.policy.failure_latency));
            let place = slot.fail(counted, now, self.table.settings.latency_fading);
            if let Some(ticket) = held.ticket() {
                slot.admitted_badly(held.class(), ticket, now);
                let known = meter.flags() & breaker_bit(held.class()) != 0;
                if !known && slot.breaker(held.class()).open_until().is_some() {
                    self.table.breaker_opened(held.taken.number(), now);
                }
            }
            self.eject_after_row(slot, held.taken.number(), place, now);
        } else {
            meter.give_up();
            if let Some(ticket) = held.ticket() {
                slot.breaker(held.class()).cancel(ticket);
            }
        }
        if let Some(rest) = kind.lowers_for(&self.policy.lowering) {
            self.table.rest(held.taken.number(), now, now.saturating_add(nanos(rest)));
        }
        if let FailureKind::Absent(_) = kind {
            self.table.away(held.taken.number(), now);
        }
    }

    pub(super) fn gave_up(&self, held: &Held) {
        let Some(meter) = self.give_back(held) else { return };
        meter.give_up();
        if let Some(ticket) = held.ticket()
            && let Some(slot) = self.table.slot(held.taken.number())
        {
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
