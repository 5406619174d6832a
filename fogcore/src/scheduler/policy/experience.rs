//! What nodes were seen to do: how fast they work, and how long they stay.
//!
//! A node's speed for a kind of task is how long all nodes took, divided by how long it took, as
//! geometric means: times are spread by factors. Until it has done some, its speed over all kinds is the guess, and before that what its
//! hardware promises. New runs count more than old ones.
//!
//! ```
//! use fogcore::scheduler::policy::Experience;
//!
//! let mut seen = Experience::default();
//! let kind = "render".parse()?;
//! for _ in 0..20 {
//!     seen.ran(&kind, &"quick".parse()?, 10.0);
//!     seen.ran(&kind, &"slow".parse()?, 40.0);
//! }
//! // The usual time is 20 seconds.
//! assert!((1.7..2.0).contains(&seen.speed(&kind, &"quick".parse()?, 1.0)));
//! assert!((0.5..0.6).contains(&seen.speed(&kind, &"slow".parse()?, 1.0)));
//! assert_eq!(seen.speed(&kind, &"new".parse()?, 1.5), 1.5);
//! # Ok::<(), fogcore::Error>(())
//! ```

use std::collections::HashMap;

use super::Vitals;
use crate::id::{NodeId, TaskKind};

/// How much a new observation counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Learning {
    /// The weight of a new observation beside all before, once there are some, 0–1. Default 0.1.
    pub rate: f64,
    /// How many observations the first guess counts as much as. Default 2.
    pub prior: f64,
    /// The most nodes, and pairs of node and kind, that are remembered. Default 1,000,000; beyond,
    /// no new ones are.
    pub capacity: usize,
}

impl Default for Learning {
    fn default() -> Self {
        Self { rate: 0.1, prior: 2.0, capacity: 1_000_000 }
    }
}

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

/// What was seen of all nodes.
#[derive(Clone, Debug, Default)]
pub struct Experience {
    learning: Learning,
    /// Seconds by kind, over all nodes, in logarithms: times are spread by factors.
    kinds: HashMap<TaskKind, Mean>,
    /// Logarithms of speeds.
    by_kind: HashMap<(TaskKind, NodeId), Mean>,
    by_node: HashMap<NodeId, Mean>,
    stays: HashMap<NodeId, Mean>,
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
        let Learning { rate, capacity, .. } = self.learning;
        let time = seconds.ln();
        let full = self.by_kind.len() >= capacity;
        if full && !self.by_kind.contains_key(&(kind.clone(), node.clone())) {
            return;
        }
        let usual = self.kinds.entry(kind.clone()).or_default();
        usual.add(time, rate);
        let speed = usual.value - time;
        self.by_kind.entry((kind.clone(), node.clone())).or_default().add(speed, rate);
        self.by_node.entry(node.clone()).or_default().add(speed, rate);
    }

    /// A node left after so long.
    pub fn stayed(&mut self, node: &NodeId, seconds: f64) {
        let known = self.stays.contains_key(node);
        if seconds >= 0.0
            && seconds.is_finite()
            && (known || self.stays.len() < self.learning.capacity)
        {
            self.stays.entry(node.clone()).or_default().add(seconds, self.learning.rate);
        }
    }

    /// How fast the node is for this kind beside a usual node, where `promised` is what its
    /// hardware lets expect.
    #[must_use]
    pub fn speed(&self, kind: &TaskKind, node: &NodeId, promised: f64) -> f64 {
        let prior = self.learning.prior;
        let over_all = self.speed_over_all(node, promised).ln();
        match self.by_kind.get(&(kind.clone(), node.clone())) {
            Some(seen) => seen.beside(over_all, prior).exp(),
            None => over_all.exp(),
        }
    }

    fn speed_over_all(&self, node: &NodeId, promised: f64) -> f64 {
        let promised = promised.max(1e-3);
        match self.by_node.get(node) {
            Some(seen) => seen.beside(promised.ln(), self.learning.prior).exp(),
            None => promised,
        }
    }

    /// How long such a task is expected to take there, in seconds; none before one was seen.
    #[must_use]
    pub fn seconds(&self, kind: &TaskKind, node: &NodeId, promised: f64) -> Option<f64> {
        let usual = self.kinds.get(kind)?.value.exp();
        Some(usual / self.speed(kind, node, promised))
    }

    /// The node's vitals with what was seen of it; its speed is that over all kinds.
    #[must_use]
    pub fn applied(&self, node: &NodeId, vitals: Vitals) -> Vitals {
        let speed = self.speed_over_all(node, vitals.speed);
        let stays = self.stays.get(node);
        let stays_seconds = stays.map_or(vitals.stays_seconds, |seen| seen.value);
        Vitals { speed, stays_seconds, ..vitals }
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
        assert_eq!(seen.applied(&node, Vitals::default()), Vitals::default());
        seen.stayed(&node, 100.0);
        seen.stayed(&node, 300.0);
        let stays = seen.applied(&node, Vitals::default()).stays_seconds;
        assert!((stays - 200.0).abs() < 1e-9);
    }
}
