//! What nodes were seen to do: how fast they work, and how long they stay.
//!
//! A node's speed for a kind of task is how long all nodes took, divided by how long it took, as
//! geometric means: times are spread by factors. Until it has done some, its speed over all kinds is
//! the guess, and before that what its hardware promises. New runs count more than old ones. What is
//! kept are times, not speeds: whoever is done with a task first stays ahead of the others, even if
//! from then on nobody but him is given any.
//!
//! How long it usually stays is the time that it was seen there, divided by how often it left: the
//! best guess for stays without memory (exponential ones), and it counts what the present stay has
//! lasted so far.
//!
//! Both are guesses that save time when they are right. Losing them costs that time, nothing else,
//! so they are kept in memory, and nodes of which nothing was heard for long make room for others.
//!
//! ```
//! use fogcore::scheduler::policy::Experience;
//! use fogcore::time::Timestamp;
//!
//! let mut seen = Experience::default();
//! let kind = "render".parse()?;
//! for _ in 0..20 {
//!     seen.ran(&kind, &"quick".parse()?, 10.0);
//!     seen.ran(&kind, &"slow".parse()?, 40.0);
//! }
//! // The usual time is 20 seconds.
//! assert!((1.7..2.2).contains(&seen.speed(&kind, &"quick".parse()?, 1.0)));
//! assert!((0.5..0.6).contains(&seen.speed(&kind, &"slow".parse()?, 1.0)));
//! assert_eq!(seen.speed(&kind, &"new".parse()?, 1.5), 1.5);
//!
//! let (phone, at) = ("phone".parse()?, |ms: i64| Timestamp::from_micros(ms * 1_000));
//! seen.came(&phone, at(0)?);
//! seen.left(&phone, at(60_000)?);
//! assert_eq!(seen.stays(&phone, at(90_000)?), Some(60.0));
//! # Ok::<(), fogcore::Error>(())
//! ```

use std::collections::{BTreeMap, HashMap};

use super::Vitals;
use crate::id::{NodeId, TaskKind};
use crate::time::Timestamp;

/// How much a new observation counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Learning {
    /// The weight of a new observation beside all before, once there are some, 0–1. Default 0.1.
    pub rate: f64,
    /// How many observations the first guess counts as much as. Default 2.
    pub prior: f64,
    /// About how many pairs of node and kind, and at most how many nodes, are remembered. Default
    /// 100,000; when there are more, the half that was silent for longest is forgotten.
    pub capacity: usize,
}

impl Default for Learning {
    fn default() -> Self {
        Self { rate: 0.1, prior: 2.0, capacity: 100_000 }
    }
}

/// How many kinds are learned about at most; later ones are not.
const MOST_KINDS: usize = 4_096;

/// How many of them a node is known for by each.
const MOST_KINDS_OF_A_NODE: usize = 64;

/// By what factor the shortest time of a kind grows with each run: nobody is the fastest for ever.
const FASTEST_FADES: f64 = 1.001;

/// A mean of which old values fade.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Mean {
    value: f64,
    seen: f64,
}

impl Mean {
    fn add(&mut self, value: f64, rate: f64) {
        self.seen += 1.0;
        self.value += (value - self.value) * rate.max(1.0 / self.seen);
    }

    /// Beside a guess that counts as `prior` observations.
    fn beside(&self, guess: f64, prior: f64) -> f64 {
        (self.value * self.seen + guess * prior) / (self.seen + prior).max(f64::MIN_POSITIVE)
    }
}

/// How a node does tasks of one kind, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// How fast beside a usual node.
    pub speed: f64,
    /// How long such a task takes on a usual node, in seconds.
    pub usual_seconds: f64,
}

impl Pace {
    /// How long such a task is expected to take there, in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.usual_seconds / self.speed.max(1e-6)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Kind {
    /// Of the logarithms of seconds, over all nodes.
    time: Mean,
    /// Of the fastest node, as a logarithm.
    shortest: f64,
}

#[derive(Clone, Debug, Default)]
struct Known {
    /// Of the logarithms of seconds.
    by_kind: BTreeMap<TaskKind, Mean>,
    /// Of seconds.
    stays: Mean,
    here_since: Option<Timestamp>,
    /// The turn in which something was heard of it last.
    heard: u64,
}

impl Known {
    /// Takes in a time, and tells how many more kinds the node is known for.
    fn add(&mut self, kind: &TaskKind, time: f64, rate: f64) -> usize {
        let before = self.by_kind.len();
        // Who serves more is known by these.
        if before < MOST_KINDS_OF_A_NODE || self.by_kind.contains_key(kind) {
            self.by_kind.entry(kind.clone()).or_default().add(time, rate);
        }
        self.by_kind.len() - before
    }
}

/// What was seen of all nodes.
#[derive(Clone, Debug, Default)]
pub struct Experience {
    learning: Learning,
    kinds: HashMap<TaskKind, Kind>,
    nodes: HashMap<NodeId, Known>,
    pairs: usize,
    turn: u64,
}

impl Experience {
    /// With other rates.
    #[must_use]
    pub fn new(learning: Learning) -> Self {
        Self { learning, ..Self::default() }
    }

    /// A node took so long for a task; times that are no positive number are ignored.
    pub fn ran(&mut self, kind: &TaskKind, node: &NodeId, seconds: f64) {
        if !(seconds > 0.0 && seconds.is_finite()) {
            return;
        }
        if self.kinds.len() >= MOST_KINDS && !self.kinds.contains_key(kind) {
            return;
        }
        let rate = self.learning.rate;
        let time = seconds.ln();
        let known = self.known(node);
        let pairs = known.add(kind, time, rate);
        let own = known.by_kind.get(kind).map_or(time, |own| own.value);
        self.pairs += pairs;
        let kind = self.kinds.entry(kind.clone()).or_default();
        let faded = kind.shortest + FASTEST_FADES.ln();
        kind.shortest = if kind.time.seen > 0.0 { own.min(faded) } else { own };
        kind.time.add(time, rate);
    }

    /// A node is there; its stay begins, unless it was there already.
    pub fn came(&mut self, node: &NodeId, at: Timestamp) {
        self.known(node).here_since.get_or_insert(at);
    }

    /// A node that was there has left; nothing, if it was not.
    pub fn left(&mut self, node: &NodeId, at: Timestamp) {
        let known = self.nodes.get_mut(node);
        if let Some(since) = known.and_then(|known| known.here_since.take()) {
            self.stayed(node, at.since(since).as_secs_f64());
        }
    }

    /// A node left after so long, in seconds.
    pub fn stayed(&mut self, node: &NodeId, seconds: f64) {
        if seconds >= 0.0 && seconds.is_finite() {
            let rate = self.learning.rate;
            self.known(node).stays.add(seconds, rate);
        }
    }

    /// What is known of the node, which is the latest to be heard of now.
    fn known(&mut self, node: &NodeId) -> &mut Known {
        let capacity = self.learning.capacity.max(1);
        let full = self.nodes.len() >= capacity || self.pairs >= capacity;
        if full && !self.nodes.contains_key(node) {
            self.forget_half();
        }
        self.turn += 1;
        let known = self.nodes.entry(node.clone()).or_default();
        known.heard = self.turn;
        known
    }

    fn forget_half(&mut self) {
        let mut turns: Vec<_> = self.nodes.values().map(|known| known.heard).collect();
        let middle = turns.len() / 2;
        let (_, last_forgotten, _) = turns.select_nth_unstable(middle);
        let last_forgotten = *last_forgotten;
        self.nodes.retain(|_, known| known.heard > last_forgotten);
        self.pairs = self.nodes.values().map(|known| known.by_kind.len()).sum();
    }

    /// How fast the node is for this kind beside a usual node, where `promised` is what its
    /// hardware lets expect.
    #[must_use]
    pub fn speed(&self, kind: &TaskKind, node: &NodeId, promised: f64) -> f64 {
        let over_all = self.speed_over_all(node, promised);
        self.beside(kind, node, over_all)
    }

    /// The same, where `over_all` is its speed over all kinds.
    fn beside(&self, kind: &TaskKind, node: &NodeId, over_all: f64) -> f64 {
        let own = self.nodes.get(node).and_then(|known| known.by_kind.get(kind));
        let Some((own, usual)) = own.zip(self.kinds.get(kind)) else { return over_all };
        let speed = Mean { value: usual.time.value - own.value, seen: own.seen };
        speed.beside(over_all.ln(), self.learning.prior).exp()
    }

    fn speed_over_all(&self, node: &NodeId, promised: f64) -> f64 {
        let promised = promised.max(1e-3);
        let by_kind = self.nodes.get(node).into_iter().flat_map(|known| &known.by_kind);
        let (sum, seen) = by_kind.fold((0.0, 0.0), |(sum, seen), (kind, own)| {
            let usual = self.kinds.get(kind).map_or(own.value, |kind| kind.time.value);
            (sum + own.seen * (usual - own.value), seen + own.seen)
        });
        // Who has done nothing is as promised, not what logarithms round it to.
        if seen <= 0.0 {
            return promised;
        }
        Mean { value: sum / seen, seen }.beside(promised.ln(), self.learning.prior).exp()
    }

    /// How the node does tasks of this kind; none before one was done by anybody.
    #[must_use]
    pub fn pace(&self, kind: &TaskKind, node: &NodeId, promised: f64) -> Option<Pace> {
        let usual_seconds = self.kinds.get(kind)?.time.value.exp();
        Some(Pace { speed: self.speed(kind, node, promised), usual_seconds })
    }

    /// How the node does tasks of those of these kinds that were done by anybody.
    #[must_use]
    pub fn paces<'k>(
        &self,
        kinds: impl IntoIterator<Item = &'k TaskKind>,
        node: &NodeId,
        promised: f64,
    ) -> BTreeMap<TaskKind, Pace> {
        let over_all = self.speed_over_all(node, promised);
        let pace = |kind: &TaskKind| {
            let usual_seconds = self.kinds.get(kind)?.time.value.exp();
            let speed = self.beside(kind, node, over_all);
            Some((kind.clone(), Pace { speed, usual_seconds }))
        };
        kinds.into_iter().filter_map(pace).collect()
    }

    /// How long such a task is expected to take there, in seconds; none before one was seen.
    #[must_use]
    pub fn seconds(&self, kind: &TaskKind, node: &NodeId, promised: f64) -> Option<f64> {
        self.pace(kind, node, promised).map(|pace| pace.seconds())
    }

    /// The highest speed that was seen lately for this kind, and how long such a task takes on a
    /// usual node, in seconds.
    #[must_use]
    pub fn usual(&self, kind: &TaskKind) -> Option<(f64, f64)> {
        let Kind { time, shortest } = self.kinds.get(kind)?;
        Some(((time.value - shortest).exp(), time.value.exp()))
    }

    /// How long the node usually stays, in seconds, if it was ever seen to leave: what it has
    /// stayed until `now` counts.
    #[must_use]
    pub fn stays(&self, node: &NodeId, now: Timestamp) -> Option<f64> {
        let known = self.nodes.get(node).filter(|known| known.stays.seen > 0.0)?;
        let here = known.here_since.map_or(0.0, |since| now.since(since).as_secs_f64());
        // As many departures as the mean remembers.
        let left = known.stays.seen.min(1.0 / self.learning.rate.max(1e-9));
        Some(known.stays.value + here / left)
    }

    /// The node's vitals with what was seen of it until `now`; its speed is that over all kinds.
    #[must_use]
    pub fn applied(&self, node: &NodeId, vitals: Vitals, now: Timestamp) -> Vitals {
        let speed = self.speed_over_all(node, vitals.speed);
        let stays_seconds = self.stays(node, now).unwrap_or(vitals.stays_seconds);
        Vitals { speed, stays_seconds, ..vitals }
    }

    /// How many nodes are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_runs_move_the_guess_and_many_replace_it() {
        let mut seen = Experience::default();
        let (kind, node): (TaskKind, NodeId) = ("k".parse().unwrap(), "n".parse().unwrap());
        for _ in 0..50 {
            seen.ran(&kind, &"usual".parse().unwrap(), 10.0);
        }
        seen.ran(&kind, &node, 1.0);
        let few = seen.speed(&kind, &node, 1.0);
        for _ in 0..50 {
            seen.ran(&kind, &node, 1.0);
            seen.ran(&kind, &"usual".parse().unwrap(), 10.0);
        }
        let many = seen.speed(&kind, &node, 1.0);
        assert!(few > 1.0 && many > 2.0, "{few} {many}");
        assert!(seen.seconds(&kind, &node, 1.0).unwrap() < 4.0);
        for nonsense in [f64::NAN, -1.0, 0.0, f64::INFINITY] {
            seen.ran(&kind, &node, nonsense);
        }
        assert!((seen.speed(&kind, &node, 1.0) - many).abs() < 1e-9);
    }

    #[test]
    fn stays_and_speed_become_vitals() {
        let mut seen = Experience::default();
        let node: NodeId = "n".parse().unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let stays = |seen: &Experience| seen.applied(&node, Vitals::default(), now).stays_seconds;
        assert_eq!(seen.applied(&node, Vitals::default(), now), Vitals::default());
        seen.stayed(&node, 100.0);
        seen.stayed(&node, 300.0);
        assert!((stays(&seen) - 200.0).abs() < 1e-9);
    }

    #[test]
    fn a_stay_ends_once_and_the_present_one_counts() {
        let mut seen = Experience::default();
        let node: NodeId = "n".parse().unwrap();
        let at =
            |seconds| Timestamp::UNIX_EPOCH.saturating_add(std::time::Duration::from_secs(seconds));
        seen.came(&node, at(0));
        seen.came(&node, at(50));
        assert_eq!(seen.stays(&node, at(1_000)), None);
        seen.left(&node, at(100));
        seen.left(&node, at(900));
        assert_eq!(seen.stays(&node, at(1_000)), Some(100.0));
        seen.came(&node, at(1_000));
        assert_eq!(seen.stays(&node, at(1_500)), Some(600.0));
        // A clock that was set back ends a stay of no length, not one below zero.
        seen.left(&node, at(10));
        assert_eq!(seen.stays(&node, at(2_000)), Some(50.0));
    }

    #[test]
    fn who_was_silent_for_longest_makes_room() {
        let mut seen = Experience::new(Learning { capacity: 10, ..Learning::default() });
        let (kind, regular): (TaskKind, NodeId) = ("k".parse().unwrap(), "r".parse().unwrap());
        for number in 0..1_000 {
            seen.ran(&kind, &format!("n{number}").parse().unwrap(), 10.0);
            seen.ran(&kind, &regular, 1.0);
            assert!(seen.len() <= 10 && seen.pairs <= 10);
        }
        assert!(seen.speed(&kind, &regular, 1.0) > 1.5);
        assert!((seen.speed(&kind, &"n0".parse().unwrap(), 1.0) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn whoever_is_faster_stays_ahead_when_only_he_works() {
        let mut seen = Experience::default();
        let kind: TaskKind = "k".parse().unwrap();
        let (slow, quick): (NodeId, NodeId) = ("slow".parse().unwrap(), "quick".parse().unwrap());
        (0..50).for_each(|_| seen.ran(&kind, &slow, 40.0));
        (0..500).for_each(|_| seen.ran(&kind, &quick, 10.0));
        let (slow, quick) = (seen.speed(&kind, &slow, 1.0), seen.speed(&kind, &quick, 1.0));
        assert!((3.5..4.1).contains(&(quick / slow)), "{quick} {slow}");
        let (fastest, usual) = seen.usual(&kind).unwrap();
        assert!((fastest - 1.0).abs() < 0.05 && (usual - 10.0).abs() < 0.1, "{fastest} {usual}");
    }
}
