//! Where a pick's chance comes from: a seeded source that can be copied and played again.
//!
//! Each thread has [`Dice`] of its own. It keeps its own place in every round (round robin), so
//! that threads share no counter and picks on two cores do not slow each other down.
//!
//! ```
//! use fogcore::balancer::Dice;
//!
//! let mut dice = Dice::seeded(7);
//! let mut again = dice.clone();
//! assert_eq!(dice.throw().below(100), again.throw().below(100));
//! ```

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg32;
use serde::{Deserialize, Serialize};

use super::explanation::Notes;
use super::view::{Candidate, View};
use crate::failover::words::{high, quarter};

/// A source of chance and the turn it has come to. A copy throws the same again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dice {
    random: Pcg32,
    turn: u64,
    /// Which of the counters is used that are kept apart to avoid contention.
    stripe: u16,
}

impl Dice {
    /// Dice that start their rounds somewhere, which follows from the seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        let mut random = Pcg32::seed_from_u64(seed);
        let turn = u64::from(random.next_u32());
        // Seeds are often 0, 1, 2, …: then each has a counter of its own.
        Self { random, turn, stripe: quarter(seed) }
    }

    /// Dice for one of many calls: each has a stream of its own.
    pub(super) fn for_call(seed: u64, number: u64) -> Self {
        Self { random: Pcg32::new(seed, number), turn: 0, stripe: quarter(number) }
    }

    /// The turn that the next pick begins at.
    pub(super) const fn next_turn(&self) -> u64 {
        self.turn
    }

    /// Lets the next pick begin at a turn.
    pub(super) const fn turn_to(&mut self, turn: u64) {
        self.turn = turn;
    }

    pub(super) const fn stripe(&self) -> u16 {
        self.stripe
    }

    /// Begins a pick.
    #[inline]
    pub const fn throw(&mut self) -> Draw<'_> {
        Draw { dice: self, jumps: 0, notes: None }
    }
}

/// The chance of one pick.
#[derive(Debug)]
pub struct Draw<'d> {
    dice: &'d mut Dice,
    /// How often its key has jumped.
    jumps: u32,
    /// What was weighed, if anybody wants to know.
    notes: Option<Box<Notes>>,
}

impl Draw<'_> {
    /// A number below `bound`, each as likely; zero if that is zero. (Lemire 2019, without the
    /// correction: the error is below `bound / 2^32`.)
    #[inline]
    pub fn below(&mut self, bound: u32) -> u32 {
        high(u64::from(self.dice.random.next_u32()) * u64::from(bound))
    }

    /// Whether something happens that has this chance, 0–1.
    #[inline]
    pub fn chance(&mut self, chance: f64) -> bool {
        f64::from(self.dice.random.next_u32()) < chance * 4_294_967_296.0
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.dice.random.next_u64()
    }

    /// The turn of this pick; each further call takes the next one, which the next pick then
    /// begins after.
    #[inline]
    pub const fn turn(&mut self) -> u64 {
        let turn = self.dice.turn;
        self.dice.turn = turn.wrapping_add(1);
        turn
    }

    /// The number of this jump of its key, from 0.
    pub(super) const fn jump(&mut self) -> u32 {
        self.jumps += 1;
        self.jumps - 1
    }

    /// The next key begins at its own place.
    pub(super) const fn land(&mut self) {
        self.jumps = 0;
    }

    pub(super) const fn stripe(&self) -> u16 {
        self.dice.stripe()
    }

    pub(super) fn take_notes(&mut self, notes: Notes) {
        self.notes = Some(Box::new(notes));
    }

    #[inline]
    pub(super) fn note(&mut self, view: &View<'_>, candidate: Candidate<'_>, cost: f32) {
        if let Some(notes) = &mut self.notes {
            notes.weighed(view, candidate, cost);
        }
    }

    /// Somebody is picked for another reason than the strategy's.
    pub(super) fn because(&mut self, reason: &'static str) {
        if let Some(notes) = &mut self.notes {
            notes.because(reason);
        }
    }

    pub(super) fn noted(&mut self) -> Option<Box<Notes>> {
        self.notes.take()
    }
}
