//! The nodes of one scope, ordered so that one of them can be drawn by weight in constant time.
//!
//! Nodes are kept by the power of two of their weight. A draw chooses a weight class by its size
//! and its largest weight, then a node in it, and keeps it with the chance that its weight has of
//! that largest one, which is more than a half. (Matias, Vitter and Ni, "Dynamic Generation of
//! Discrete Random Variates", 2003.) A node joins and leaves in constant time, and nothing is
//! rebuilt.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::dice::Draw;
use super::list::List;
use super::ring::Ring;
use super::runner_up::RunnersUp;
use super::stripes::Stripes;
use crate::failover::words::{low, round, whole};

/// Weights up to 65,535 have 17 powers of two: 1, 2, 3–4, 5–8, …
pub(super) const WEIGHT_CLASSES: usize = 17;

/// The class of a weight: the exponent of the power of two that it is at most.
pub(super) const fn weight_class(weight: u16) -> u8 {
    let shifted = weight.saturating_sub(1);
    // At most 16.
    (u16::BITS - shifted.leading_zeros()).to_le_bytes()[0]
}

/// Which of a weight class's lists a node is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Ready,
    Unwell,
}

#[derive(Debug, Default)]
pub(super) struct WeightClass {
    /// The largest weight that was seen in it since it was empty.
    bound: AtomicU32,
    pub(super) ready: List,
    /// Those who would take work, but do not do well: for a panic.
    pub(super) unwell: List,
}

impl WeightClass {
    pub(super) fn set_bound(&self, bound: u32) {
        self.bound.store(bound, Ordering::Relaxed);
    }

    pub(super) const fn list(&self, health: Health) -> &List {
        match health {
            Health::Ready => &self.ready,
            Health::Unwell => &self.unwell,
        }
    }

    #[inline]
    pub(super) fn len(&self, with_unwell: bool) -> u32 {
        self.ready.len() + if with_unwell { self.unwell.len() } else { 0 }
    }

    /// The largest weight.
    #[inline]
    pub(super) fn bound(&self) -> u32 {
        self.bound.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn get(&self, at: u32) -> Option<u32> {
        let ready = self.ready.len();
        if at < ready { self.ready.get(at) } else { self.unwell.get(at - ready) }
    }
}

/// The nodes of one scope.
#[derive(Debug, Default)]
pub(super) struct Pool {
    /// Which weight classes have a ready node, as bits.
    ready_classes: AtomicU32,
    /// Which have one that is unwell.
    unwell_classes: AtomicU32,
    ready: AtomicU32,
    unwell: AtomicU32,
    members: AtomicU32,
    /// The weights of the ready nodes together.
    weight: AtomicU64,
    /// Those of the unwell ones.
    unwell_weight: AtomicU64,
    classes: [OnceLock<Box<WeightClass>>; WEIGHT_CLASSES],
    /// Made when the first request with a key comes.
    pub(super) ring: OnceLock<Box<Ring>>,
    /// Requests in flight that were given to somebody as one of these nodes, if the strategy wants
    /// them counted.
    requests: OnceLock<Box<Stripes>>,
    back: Back,
    runners_up: OnceLock<Box<RunnersUp>>,
}

/// When the first of those comes back who take no requests, as it was counted last.
#[derive(Debug, Default)]
struct Back {
    /// How many changes of nodes there had been then.
    changes: AtomicU64,
    /// Nanoseconds; zero: nobody.
    at: AtomicU64,
}

impl Pool {
    #[inline]
    pub(super) fn ready(&self) -> u32 {
        self.ready.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn unwell(&self) -> u32 {
        self.unwell.load(Ordering::Relaxed)
    }

    pub(super) fn weight(&self, with_unwell: bool) -> u64 {
        let unwell = if with_unwell { self.unwell_weight.load(Ordering::Relaxed) } else { 0 };
        self.weight.load(Ordering::Relaxed) + unwell
    }

    #[inline]
    pub(super) fn count_request(&self, stripe: u16, change: i64) {
        self.requests.get_or_init(Box::default).add(stripe, change);
    }

    /// Requests in flight, if they are counted.
    pub(super) fn requests(&self) -> u64 {
        self.requests.get().map_or(0, |requests| requests.sum())
    }

    #[inline]
    pub(super) fn runners_up(&self) -> &RunnersUp {
        self.runners_up.get_or_init(Box::default)
    }

    /// When the first node comes back, in nanoseconds, or that nobody does so by itself, if it was
    /// counted since nodes last changed: when nobody takes requests, everybody asks.
    pub(super) fn known_back(&self, changes: u64, now: u64) -> Option<Option<u64>> {
        let known = self.back.changes.load(Ordering::Acquire) == changes;
        let at = self.back.at.load(Ordering::Relaxed);
        (known && (at == 0 || at > now)).then_some((at != 0).then_some(at))
    }

    /// Keeps that; the caller holds the table's lock.
    pub(super) fn keep_back(&self, changes: u64, at: Option<u64>) {
        self.back.at.store(at.unwrap_or(0), Ordering::Relaxed);
        self.back.changes.store(changes, Ordering::Release);
    }

    /// How many nodes belong to it, whether they take requests or not.
    pub(super) fn members(&self) -> u32 {
        self.members.load(Ordering::Relaxed)
    }

    /// One node more or less belongs to it.
    pub(super) fn count_member(&self, joins: bool) {
        if joins {
            self.members.fetch_add(1, Ordering::Relaxed);
        } else {
            self.members.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(super) fn class(&self, class: u8) -> Option<&WeightClass> {
        self.classes.get(usize::from(class))?.get().map(Box::as_ref)
    }

    #[inline]
    fn bits(&self, with_unwell: bool) -> u32 {
        let ready = self.ready_classes.load(Ordering::Acquire);
        if with_unwell { ready | self.unwell_classes.load(Ordering::Acquire) } else { ready }
    }

    fn occupied(&self, bits: u32) -> impl Iterator<Item = &WeightClass> {
        (0..WEIGHT_CLASSES)
            .filter(move |class| bits >> class & 1 == 1)
            .filter_map(|class| self.classes[class].get().map(Box::as_ref))
    }

    #[inline]
    fn only(&self, bits: u32) -> Option<&WeightClass> {
        self.classes.get(bits.trailing_zeros() as usize)?.get().map(Box::as_ref)
    }

    /// The only weight class that has nodes, if there is but one.
    #[inline]
    pub(super) fn undivided(&self, with_unwell: bool) -> Option<&WeightClass> {
        let bits = self.bits(with_unwell);
        if bits.is_power_of_two() { self.only(bits) } else { None }
    }

    /// A weight class, drawn by its size and largest weight.
    pub(super) fn drawn(&self, with_unwell: bool, draw: &mut Draw<'_>) -> Option<&WeightClass> {
        let bits = self.bits(with_unwell);
        let total: u64 = self.occupied(bits).map(|class| size(class, with_unwell)).sum();
        let mut left = draw.number().checked_rem(total)?;
        for class in self.occupied(bits) {
            let size = size(class, with_unwell);
            if left < size {
                return Some(class);
            }
            left -= size;
        }
        self.occupied(bits).last()
    }

    /// The weight class whose turn it is, and how often it had its turn before: each has its share
    /// of the turns, evenly spread, and its visits are counted without a gap.
    ///
    /// Of the first `t` turns, `⌊t·s⌋` belong to a class with the share `s`, and the turns that
    /// are not its own are the turns of the others (a Sturmian word, one per class).
    #[inline]
    pub(super) fn in_turn(&self, with_unwell: bool, turn: u64) -> Option<(&WeightClass, u64)> {
        match self.undivided(with_unwell) {
            Some(class) => Some((class, turn)),
            None => self.in_divided_turn(with_unwell, turn),
        }
    }

    fn in_divided_turn(&self, with_unwell: bool, turn: u64) -> Option<(&WeightClass, u64)> {
        let bits = self.bits(with_unwell);
        let mut rest: u64 = self.occupied(bits).map(|class| size(class, with_unwell)).sum();
        // Floats are exact enough below 2^40 turns, and after that it starts anew.
        let mut turn = turn & ((1 << 40) - 1);
        let mut last = None;
        for class in self.occupied(bits) {
            let size = size(class, with_unwell);
            if size == 0 {
                continue;
            }
            let share = size as f64 / rest as f64;
            let before = whole(turn as f64 * share);
            if size >= rest || whole((turn + 1) as f64 * share) > before {
                return Some((class, before));
            }
            turn -= before;
            rest -= size;
            last = Some((class, before));
        }
        last
    }

    /// Every node, beginning at one of them; ready ones come before unwell ones.
    pub(super) fn members_from(
        &self,
        start: usize,
        with_unwell: bool,
    ) -> impl Iterator<Item = u32> {
        let length = self.ready() + if with_unwell { self.unwell() } else { 0 };
        let length = length as usize;
        (start..start + length).filter_map(move |at| self.member(round(at as u64, length)))
    }

    /// One of all nodes, ready ones first.
    fn member(&self, mut at: usize) -> Option<u32> {
        for health in [Health::Ready, Health::Unwell] {
            for class in self.occupied(u32::MAX) {
                let list = class.list(health);
                let length = list.len() as usize;
                if at < length {
                    return list.get(low(at as u64));
                }
                at -= length;
            }
        }
        None
    }

    // The rest is for the holder of the table's lock.

    /// Takes a node in; tells its place.
    pub(super) fn add(&self, number: u32, weight: u16, health: Health) -> u32 {
        let index = weight_class(weight);
        let class = self.classes[usize::from(index)].get_or_init(Box::default);
        if class.len(true) == 0 {
            class.bound.store(0, Ordering::Relaxed);
        }
        class.bound.fetch_max(u32::from(weight), Ordering::Relaxed);
        let at = class.list(health).push(number);
        self.counts(index, health, i64::from(weight));
        at
    }

    /// Lets a node go; tells who came into its place.
    pub(super) fn remove(&self, at: u32, weight: u16, health: Health) -> Option<u32> {
        let index = weight_class(weight);
        let class = self.class(index)?;
        let moved = class.list(health).swap_remove(at);
        self.counts(index, health, -i64::from(weight));
        moved
    }

    fn counts(&self, index: u8, health: Health, weight: i64) {
        let Some(class) = self.class(index) else { return };
        let (count, bits) = match health {
            Health::Ready => (&self.ready, &self.ready_classes),
            Health::Unwell => (&self.unwell, &self.unwell_classes),
        };
        if weight > 0 {
            count.fetch_add(1, Ordering::Relaxed);
        } else {
            count.fetch_sub(1, Ordering::Relaxed);
        }
        let sum = if health == Health::Ready { &self.weight } else { &self.unwell_weight };
        sum.fetch_add(weight.cast_unsigned(), Ordering::Relaxed);
        if class.list(health).len() == 0 {
            bits.fetch_and(!(1 << index), Ordering::Release);
        } else {
            bits.fetch_or(1 << index, Ordering::Release);
        }
    }
}

fn size(class: &WeightClass, with_unwell: bool) -> u64 {
    u64::from(class.len(with_unwell)) * u64::from(class.bound())
}

/// Whether the `round`-th visit of a node is one that it serves, if it serves `share` (0–1) of
/// them: as evenly spread as can be. `offset` moves its visits against those of others.
pub(super) fn serves(share: f64, round: u64, offset: u32) -> bool {
    let at = |round: u64| whole(round as f64 * share + f64::from(offset) / 4_294_967_296.0);
    at(round + 1) > at(round)
}

/// A number that is as good as random, for [`serves`].
pub(super) const fn scatter(number: u32) -> u32 {
    low((number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32)
}
