//! What a strategy sees: the nodes of one scope, at one moment.
//!
//! Whatever holds for every strategy is in here: nodes are drawn by their weight, and one that
//! starts slowly, runs on battery or fails some of its calls comes up as much less often. A
//! strategy only says how to choose among those that come up.

use super::dice::Draw;
use super::meter::{FULL, Meter, SLOW_START, takes};
use super::pool::{Pool, WeightClass, scatter, serves};
use super::report::Used;
use super::request::Key;
use super::table::Table;
use crate::failover::atomics::Ordering;
use crate::failover::words::{low, round};

/// How often a draw is repeated before a node is taken that would rather have fewer requests.
const DRAWS: u32 = 16;
/// The same for turns, of which a smooth round robin skips those that are nobody's.
const TURNS: u32 = 64;
/// How often a key jumps before the nodes are searched for one with room. With a bound of 1.25 at
/// most four fifths of the nodes are full, so that one key in a million comes to this.
const JUMPS: u32 = 64;

/// How many nodes are looked at for one with room: more would make the busiest times the slowest.
pub(super) const MOST_SEARCHED: usize = 1_024;

/// The nodes of one scope that take requests, at one moment. It is not frozen: two looks at a node
/// may differ, and a choice is checked before it is used.
#[derive(Clone, Copy, Debug)]
pub struct View<'t> {
    pub(super) table: &'t Table,
    pub(super) pool: &'t Pool,
    pub(super) pool_number: u32,
    /// Whether those count that do not do well, because too few do.
    pub(super) panicking: bool,
    pub(super) class: u8,
    /// Nanoseconds.
    pub(super) now: u64,
}

/// A node that could be picked.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'t> {
    pub(super) number: u32,
    pub(super) meter: &'t Meter,
}

impl PartialEq for Candidate<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

/// The best node so far and the second best, with their costs.
#[derive(Default)]
struct Podium<'t> {
    best: Option<(Candidate<'t>, f32)>,
    second: Option<(Candidate<'t>, f32)>,
}

impl<'t> Podium<'t> {
    /// Puts a node in its place; gives its cost back.
    #[inline]
    fn place(&mut self, node: Candidate<'t>, cost: f32) -> f32 {
        match self.best {
            Some((best, _)) if best == node => {}
            Some((_, least)) if cost >= least => {
                if self.second.is_none_or(|(_, second)| cost < second) {
                    self.second = Some((node, cost));
                }
            }
            best => (self.best, self.second) = (Some((node, cost)), best),
        }
        cost
    }
}

impl<'t> View<'t> {
    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.pool.ready() + if self.panicking { self.pool.unwell() } else { 0 }
    }

    /// Whether there is no node.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    pub(super) fn candidate(&self, number: u32) -> Option<Candidate<'t>> {
        Some(Candidate { number, meter: self.table.meter(number)? })
    }

    /// Any node, each as often as its weight says. Constant time.
    #[inline]
    pub fn any(&self, draw: &mut Draw<'_>) -> Option<Candidate<'t>> {
        self.any_of(self.pool.undivided(self.panicking), draw)
    }

    #[inline]
    fn any_of(&self, all: Option<&'t WeightClass>, draw: &mut Draw<'_>) -> Option<Candidate<'t>> {
        // How nearly all draws go: all nodes weigh about the same, and most get their whole share.
        if let Some(nodes) = all
            && !self.panicking
            && let Some(number) = nodes.ready.get(draw.below(nodes.ready.len()))
            && let Some(candidate) = self.candidate(number)
            && self.comes_up(candidate, nodes.bound(), draw)
        {
            return Some(candidate);
        }
        self.any_with_care(all, draw)
    }

    fn any_with_care(
        &self,
        all: Option<&'t WeightClass>,
        draw: &mut Draw<'_>,
    ) -> Option<Candidate<'t>> {
        let mut last = None;
        for _ in 0..DRAWS {
            // A class may become empty between two looks.
            let Some(nodes) = all.or_else(|| self.pool.drawn(self.panicking, draw)) else { break };
            let at = draw.below(nodes.len(self.panicking));
            let Some(number) = nodes.get(at) else { continue };
            let candidate = self.candidate(number)?;
            if self.comes_up(candidate, nodes.bound(), draw) {
                return Some(candidate);
            }
            last = Some(candidate);
        }
        last
    }

    /// The node whose turn it is. Those with less than a full share are passed over by chance.
    #[inline]
    pub fn next(&self, draw: &mut Draw<'_>) -> Option<Candidate<'t>> {
        let mut last = None;
        for _ in 0..DRAWS {
            let turn = self.pool.in_turn(self.panicking, draw.turn());
            let Some((nodes, visit)) = turn else { break };
            let length = u64::from(nodes.len(self.panicking).max(1));
            let Some(number) = nodes.get(low(visit % length)) else { continue };
            let candidate = self.candidate(number)?;
            if self.comes_up(candidate, nodes.bound(), draw) {
                return Some(candidate);
            }
            last = Some(candidate);
        }
        last
    }

    /// The node whose turn it is, where those with less than a full share are passed over at even
    /// distances: the sequence is smooth, and over any stretch of it each node has its share to
    /// within a few turns.
    #[inline]
    pub fn next_smoothly(&self, draw: &mut Draw<'_>) -> Option<Candidate<'t>> {
        let mut last = None;
        for _ in 0..TURNS {
            let turn = self.pool.in_turn(self.panicking, draw.turn());
            let Some((nodes, visit)) = turn else { break };
            let length = u64::from(nodes.len(self.panicking).max(1));
            let Some(number) = nodes.get(low(visit % length)) else { continue };
            let candidate = self.candidate(number)?;
            let share = self.share(candidate) * f64::from(self.weight(candidate))
                / f64::from(nodes.bound().max(1));
            if share >= 1.0 || serves(share, visit / length, scatter(number)) {
                return Some(candidate);
            }
            last = Some(candidate);
        }
        last
    }

    /// The node that a key leads to at the `attempt`-th try, whether it takes requests or not.
    #[must_use]
    pub fn keyed(&self, key: Key, attempt: u32) -> Option<Candidate<'t>> {
        let ring = self.pool.ring.get()?;
        self.candidate(ring.find(key.0, attempt)?)
    }

    /// The node that a key leads to among those that take requests and have no more of them than
    /// `bound` times their share of all of the scope's in flight. If other scopes' requests leave
    /// none of them room, it is the least busy of those that the key came to. A request that is
    /// refused there goes on where it left off.
    pub fn keyed_within(&self, key: Key, bound: f64, draw: &mut Draw<'_>) -> Option<Candidate<'t>> {
        let mut least: Option<(Candidate<'t>, f64)> = None;
        for _ in 0..JUMPS {
            let attempt = draw.jump();
            let candidate = self.keyed(key, attempt)?;
            if self.takes(candidate) && self.is_its_key(candidate, key) {
                draw.note(self, candidate, attempt as f32);
                if self.has_room(candidate, bound) {
                    return Some(candidate);
                }
                let load = f64::from(self.in_flight(candidate)) / f64::from(self.weight(candidate));
                if least.is_none_or(|(_, least)| load < least) {
                    least = Some((candidate, load));
                }
            }
        }
        // Most nodes are full, of other scopes' requests too, or away; who has room may be in the
        // list. From where the key says, so that not all such keys come to the first one.
        let start = round(key.0, (self.len() as usize).max(1));
        let candidates = self.pool.members_from(start, self.panicking).take(JUMPS as usize);
        let mut candidates = candidates.filter_map(|number| self.candidate(number));
        let found = candidates.find(|node| self.takes(*node) && self.has_room(*node, bound));
        let found = found.or(least.map(|(node, _)| node)).or_else(|| self.any(draw))?;
        draw.note(self, found, JUMPS as f32);
        Some(found)
    }

    fn has_room(&self, candidate: Candidate<'_>, bound: f64) -> bool {
        let in_flight = self.in_flight(candidate);
        // Everybody may have one, which saves adding up all that are in flight.
        in_flight == 0 || bound.is_infinite() || f64::from(in_flight) < self.bound(candidate, bound)
    }

    /// The most requests that a node may have in flight: `bound` times its share of all those that
    /// were sent to this scope, and the new one, rounded up. Requests of other scopes count where
    /// they are, so that a node that is busy with them gets less.
    #[must_use]
    pub fn bound(&self, candidate: Candidate<'_>, bound: f64) -> f64 {
        let share =
            f64::from(self.weight(candidate)) / self.pool.weight(self.panicking).max(1) as f64;
        (bound * (self.pool.requests() + 1) as f64 * share).ceil().max(1.0)
    }

    /// Whether a node takes requests.
    #[must_use]
    pub fn takes(&self, candidate: Candidate<'_>) -> bool {
        takes(candidate.meter.flags(), self.class, self.panicking)
    }

    /// Whether a key stays with its node: a node with less than a full share gives some away,
    /// always the same ones.
    fn is_its_key(&self, candidate: Candidate<'_>, key: Key) -> bool {
        if self.has_full_share(candidate) {
            return true;
        }
        let share = self.share(candidate);
        f64::from(scatter(low(key.0) ^ candidate.number)) < share * 4_294_967_296.0
    }

    /// Above how many requests for a weight of 100 a node counts as hot: more than 84 % (the
    /// paper's 2^−0.25) of the nodes that reported have.
    #[inline]
    #[must_use]
    pub fn hot_above(&self) -> f32 {
        self.table.hot_above()
    }

    /// Of some nodes drawn by weight, the one with the least cost: with two, the largest load
    /// grows with the logarithm of the logarithm of the number of nodes (Mitzenmacher 2001).
    #[inline]
    pub fn best_of(
        &self,
        choices: u32,
        draw: &mut Draw<'_>,
        mut cost: impl FnMut(Candidate<'t>) -> f32,
    ) -> Option<Candidate<'t>> {
        let all = self.pool.undivided(self.panicking);
        let mut best = self.any_of(all, draw)?;
        let mut least = cost(best);
        draw.note(self, best, least);
        for _ in 1..choices {
            // Another one, unless chance insists.
            let Some(mut other) = self.any_of(all, draw) else { break };
            if other == best {
                other = self.any_of(all, draw).unwrap_or(other);
            }
            let own = cost(other);
            draw.note(self, other, own);
            if own < least {
                (best, least) = (other, own);
            }
        }
        Some(best)
    }

    /// As [`Self::best_of`], with one more to choose from: the best one of those that were not
    /// picked the last time. That is worth at least as much as one more draw and costs less, for it
    /// has just been looked at (Mitzenmacher, Prabhakar and Shah, "Load Balancing with Memory",
    /// FOCS 2002).
    #[inline]
    pub fn best_with_runner_up(
        &self,
        choices: u32,
        draw: &mut Draw<'_>,
        cost: impl Fn(Candidate<'t>) -> f32,
    ) -> Option<Candidate<'t>> {
        let changes = self.table.changes.load(Ordering::Acquire);
        let runners_up = self.pool.runners_up();
        let recalled = runners_up.recall(draw.stripe(), changes);
        let mut podium = Podium::default();
        self.best_of(choices, draw, |node| podium.place(node, cost(node)));
        if let Some(other) = recalled.and_then(|number| self.candidate(number))
            && self.takes(other)
        {
            let own = podium.place(other, cost(other));
            draw.note(self, other, own);
        }
        let second = podium.second.map(|(node, _)| node.number);
        runners_up.remember(draw.stripe(), changes, second);
        podium.best.map(|(node, _)| node)
    }

    #[inline]
    fn comes_up(&self, candidate: Candidate<'_>, bound: u32, draw: &mut Draw<'_>) -> bool {
        let weight = self.weight(candidate);
        if weight >= bound && self.has_full_share(candidate) {
            return true;
        }
        self.is_due(candidate, bound, draw)
    }

    /// Whether it comes up although it gets less than others.
    fn is_due(&self, candidate: Candidate<'_>, bound: u32, draw: &mut Draw<'_>) -> bool {
        let weight = self.weight(candidate);
        draw.chance(self.share(candidate) * f64::from(weight) / f64::from(bound.max(1)))
    }

    #[inline]
    fn has_full_share(&self, candidate: Candidate<'_>) -> bool {
        let meter = candidate.meter;
        meter.share() == FULL && meter.flags() & SLOW_START == 0
    }

    /// How much of its weight a node gets now, 0–1.
    pub(super) fn share(&self, candidate: Candidate<'_>) -> f64 {
        let meter = candidate.meter;
        let share = f64::from(meter.share()) / f64::from(FULL);
        if meter.flags() & SLOW_START == 0 {
            return share;
        }
        let slow_for = self.table.record(candidate.number).map_or(0, |it| it.slow_for(self.now));
        share * self.table.settings.slow_share(slow_for)
    }

    /// Its weight, 1–65,535.
    #[inline]
    #[must_use]
    pub fn weight(&self, candidate: Candidate<'_>) -> u32 {
        u32::from(candidate.meter.weight())
    }

    /// Requests in flight that were given to it here.
    #[inline]
    #[must_use]
    pub fn in_flight(&self, candidate: Candidate<'_>) -> u32 {
        candidate.meter.in_flight()
    }

    /// Requests in flight as the node told them last, if that is at most `within_ms` milliseconds
    /// ago.
    #[inline]
    #[must_use]
    pub fn reported(&self, candidate: Candidate<'_>, within_ms: u32) -> Option<u32> {
        let (in_flight, age) = candidate.meter.reported(self.now)?;
        (age <= within_ms).then_some(in_flight)
    }

    /// The peak EWMA of its latency, in seconds; none if it never answered.
    #[must_use]
    pub fn latency(&self, candidate: Candidate<'_>) -> Option<f64> {
        let seconds = self.latency_seconds(candidate);
        (seconds > 0.0).then(|| f64::from(seconds))
    }

    /// The same, zero if it never answered.
    #[inline]
    pub(super) fn latency_seconds(&self, candidate: Candidate<'_>) -> f32 {
        candidate.meter.latency(self.now, self.table.settings.latency_fading) * 1e-9
    }

    /// The share of its latest calls that succeeded, 0–1.
    #[inline]
    #[must_use]
    pub fn success(&self, candidate: Candidate<'_>) -> f32 {
        candidate.meter.success()
    }

    #[inline]
    pub(super) fn used(&self, candidate: Candidate<'_>) -> Used {
        Used::unpacked(candidate.meter.used())
    }
}
