//! The scores that the fog's own policy adds up.

use super::{Scale, Score, Seen, Wish, comparable};
use crate::scheduler::{Place, Requirements, Term};

/// What a node is worth for a task in one respect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Merit {
    /// Its quality score.
    Quality,
    /// The share of its slots that is free: spreads work.
    Headroom,
    /// Mains power, battery and heat.
    Energy,
    /// How cheap it is beside the cheapest.
    Price,
    /// How soon the task would be done beside where it would be done first, by what was learned of
    /// the node and else by what it has: 0.5 where it is expected to take twice as long.
    Speed,
    /// The chance that it is still there when the task is done: `exp(−time / usual stay)`.
    Stay,
    /// How much of the task's data is there.
    Locality,
    /// How much of what is preferred of its labels is so.
    Preference,
}

impl Merit {
    /// Those that say the same for every task.
    pub const OF_THE_NODE: [Self; 5] =
        [Self::Quality, Self::Energy, Self::Price, Self::Speed, Self::Stay];
}

impl Score for Merit {
    fn term(&self) -> Term {
        match self {
            Self::Quality => Term::Quality,
            Self::Headroom => Term::Headroom,
            Self::Energy => Term::Energy,
            Self::Price => Term::Price,
            Self::Speed => Term::Speed,
            Self::Stay => Term::Stay,
            Self::Locality => Term::Locality,
            Self::Preference => Term::Preference,
        }
    }

    fn value(&self, wish: &Wish<'_>, node: &Seen<'_>, scale: &Scale) -> f64 {
        let vitals = &node.vitals;
        match self {
            Self::Quality => vitals.quality / 100.0,
            Self::Headroom => 1.0 - f64::from(node.room.tasks) / f64::from(node.slots.max(1)),
            Self::Energy => vitals.energy,
            Self::Price => match comparable(vitals.price) {
                0.0 => 1.0,
                f64::INFINITY => 0.0,
                price => scale.cheapest / price,
            },
            Self::Speed => {
                let done = |speed: f64| scale.begins + scale.seconds / speed.max(1e-6);
                (done(scale.fastest) / done(vitals.speed)).clamp(0.0, 1.0)
            }
            Self::Stay => {
                let seconds = scale.seconds / vitals.speed.max(1e-6);
                (-seconds / vitals.stays_seconds.max(1e-6)).exp()
            }
            Self::Locality => locality(wish.needs, node),
            Self::Preference => preference(wish.needs, node),
        }
    }
}

/// The share of the task's data that is on or near the node, 0–1; 1 if it has none anywhere.
#[must_use]
pub fn locality(needs: &Requirements, node: &Seen<'_>) -> f64 {
    let all: f64 = needs.near.iter().map(|data| data.mib as f64).sum();
    if all <= 0.0 {
        return 1.0;
    }
    let here = needs.near.iter().filter(|data| match &data.at {
        Place::Node(id) => id == node.id,
        Place::Region(region) => region == node.region,
        Place::Labels(selector) => selector.matches(node.labels),
    });
    here.map(|data| data.mib as f64).sum::<f64>() / all
}

/// The weight of the preferences that the node meets among all, 0–1; 1 if there are none.
#[must_use]
pub fn preference(needs: &Requirements, node: &Seen<'_>) -> f64 {
    let all: f64 = needs.preferred.iter().map(|wanted| wanted.weight).sum();
    if all <= 0.0 {
        return 1.0;
    }
    let met = needs.preferred.iter().filter(|wanted| wanted.selector.matches(node.labels));
    met.map(|wanted| wanted.weight).sum::<f64>() / all
}
