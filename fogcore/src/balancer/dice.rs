//! Where a pick's chance comes from: a seed and a count of turns, so that it can be played again.
//!
//! Each thread has [`Dice`] of its own. It keeps its own place in every round (round robin), so
//! that threads share no counter and picks on two cores do not slow each other down.
//!
//! ```
//! use fogcore::balancer::Dice;
//!
//! let mut dice = Dice::seeded(7);
//! let again = dice;
//! let first = dice.throw().below(100);
//! assert_eq!(first, { again }.throw().below(100));
//! ```

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// Golden ratio in 64 bits: consecutive turns give seeds that are far apart.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A seed and how far it has come. A copy throws the same again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dice {
    seed: u64,
    throws: u64,
    turn: u64,
}

impl Dice {
    /// Dice that start their rounds somewhere, which follows from the seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        let start = seed.wrapping_mul(GOLDEN) >> 33;
        Self { seed, throws: 0, turn: start }
    }

    /// Dice for one of many calls, as far from those of the next one as can be.
    pub(super) fn for_call(seed: u64, number: u64) -> Self {
        let seed = SmallRng::seed_from_u64(seed ^ number.wrapping_mul(GOLDEN)).next_u64();
        Self { seed, throws: 0, turn: 0 }
    }

    /// The turn that the next pick begins at.
    pub(super) const fn next_turn(&self) -> u64 {
        self.turn
    }

    /// Lets the next pick begin at a turn.
    pub(super) const fn turn_to(&mut self, turn: u64) {
        self.turn = turn;
    }

    /// Begins a pick.
    pub fn throw(&mut self) -> Draw<'_> {
        self.throws = self.throws.wrapping_add(1);
        let seed = self.seed ^ self.throws.wrapping_mul(GOLDEN);
        Draw { random: SmallRng::seed_from_u64(seed), dice: self, jumps: 0, notes: None }
    }

    /// Which of the counters that are kept apart to avoid contention is used.
    pub(super) const fn stripe(&self, stripes: usize) -> usize {
        crate::failover::words::round(self.seed, stripes)
    }
}

/// The chance of one pick.
#[derive(Debug)]
pub struct Draw<'d> {
    random: SmallRng,
    dice: &'d mut Dice,
    /// How often its key has jumped.
    jumps: u32,
    /// Numbers of the nodes that were weighed, if anybody wants to know.
    notes: Option<Vec<u32>>,
}

impl Draw<'_> {
    /// A number below `bound`, each as likely; zero if that is zero. (Lemire 2019, without the
    /// correction: the error is below `bound / 2^32`.)
    pub fn below(&mut self, bound: u32) -> u32 {
        crate::failover::words::high(u64::from(self.random.next_u32()) * u64::from(bound))
    }

    /// Whether something happens that has this chance, 0–1.
    pub fn chance(&mut self, chance: f64) -> bool {
        f64::from(self.random.next_u32()) < chance * 4_294_967_296.0
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.random.next_u64()
    }

    /// The turn of this pick; each further call takes the next one, which the next pick then
    /// begins after.
    pub fn turn(&mut self) -> u64 {
        let turn = self.dice.turn;
        self.dice.turn = turn.wrapping_add(1);
        turn
    }

    /// The number of this jump of its key, from 0.
    pub(super) fn jump(&mut self) -> u32 {
        self.jumps += 1;
        self.jumps - 1
    }

    pub(super) fn take_notes(&mut self) {
        self.notes = Some(Vec::new());
    }

    pub(super) fn note(&mut self, number: u32) {
        if let Some(notes) = &mut self.notes {
            notes.push(number);
        }
    }

    pub(super) fn notes(&mut self) -> Vec<u32> {
        self.notes.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(super) const fn stripe(&self, stripes: usize) -> usize {
        self.dice.stripe(stripes)
    }
}
