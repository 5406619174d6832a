//! What is taken, by whom: each allocation can be given back once.

use serde::{Deserialize, Serialize};

use super::node::Amounts;
use crate::scheduler::{Apart, PowerNeed};

/// A place in a cluster that a task was given. It is good for one release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Allocation {
    slot: u32,
    /// Slots are used again; this tells a later user from an earlier one.
    generation: u32,
}

impl Allocation {
    pub(super) const fn slot(self) -> u32 {
        self.slot
    }
}

/// No allocation: the end of a list.
pub(super) const NONE: u32 = u32::MAX;

/// What an allocation takes of its node.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub(super) node: u32,
    pub(super) amounts: Amounts,
    /// Of each of its GPUs.
    pub(super) milli: i16,
    /// Bit n for the node's n-th GPU.
    pub(super) devices: u64,
    pub(super) exclusive: bool,
    pub(super) apart: Option<Box<Apart>>,
    pub(super) power: Option<Box<PowerNeed>>,
    next: u32,
    before: u32,
}

impl Taken {
    pub(super) const fn new(node: u32, amounts: Amounts, milli: i16, devices: u64) -> Self {
        let (exclusive, apart, power) = (false, None, None);
        Self { node, amounts, milli, devices, exclusive, apart, power, next: NONE, before: NONE }
    }

    /// The places of its GPUs in the node's list.
    pub(super) fn places(&self) -> impl Iterator<Item = usize> + use<> {
        let devices = self.devices;
        (0..64).filter(move |place| devices >> place & 1 == 1)
    }
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    taken: Option<Taken>,
}

/// All allocations; those of one node are a list.
#[derive(Debug, Default)]
pub(super) struct Allocations {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl Allocations {
    /// Adds one before `first`, its node's first until now.
    pub(super) fn add(&mut self, mut taken: Taken, first: u32) -> Allocation {
        taken.next = first;
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(Slot { generation: 0, taken: None });
                u32::try_from(self.slots.len() - 1).unwrap_or(NONE)
            }
        };
        if let Some(behind) = self.get_mut(first) {
            behind.before = slot;
        }
        let found = &mut self.slots[slot as usize];
        found.generation = found.generation.wrapping_add(1);
        found.taken = Some(taken);
        Allocation { slot, generation: found.generation }
    }

    /// Takes it out, once. Beside it: its node's new first one, if it was the first.
    pub(super) fn remove(&mut self, allocation: Allocation) -> Option<(Taken, Option<u32>)> {
        let slot = self.slots.get_mut(allocation.slot as usize)?;
        if slot.generation != allocation.generation {
            return None;
        }
        let taken = slot.taken.take()?;
        self.free.push(allocation.slot);
        if let Some(behind) = self.get_mut(taken.next) {
            behind.before = taken.before;
        }
        let first = match self.get_mut(taken.before) {
            Some(before) => {
                before.next = taken.next;
                None
            }
            None => Some(taken.next),
        };
        Some((taken, first))
    }

    pub(super) fn get(&self, allocation: Allocation) -> Option<&Taken> {
        let slot = self.slots.get(allocation.slot as usize)?;
        slot.taken.as_ref().filter(|_| slot.generation == allocation.generation)
    }

    fn get_mut(&mut self, slot: u32) -> Option<&mut Taken> {
        self.slots.get_mut(slot as usize)?.taken.as_mut()
    }

    /// A node's allocations, from its first one; the latest first.
    pub(super) fn of(&self, first: u32) -> impl Iterator<Item = (Allocation, &Taken)> {
        let at = |slot: u32| {
            let found = self.slots.get(slot as usize)?;
            let allocation = Allocation { slot, generation: found.generation };
            Some((allocation, found.taken.as_ref()?))
        };
        std::iter::successors(at(first), move |(_, taken)| at(taken.next))
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}
