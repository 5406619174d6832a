//! Where to look first: a tree of nodes, in which those that are alike stand together.
//!
//! A leaf has up to 64 nodes, or more that are all alike; a knot has bounds of what is below it. A
//! search takes knots in the order of the least cost that is possible in them, and ends when none
//! that is left can have a better node than the best one found (branch and bound): it is exact, and
//! looks at a few leaves, however many nodes there are.
//!
//! A leaf that is too full is split where its nodes differ most, beside how much all nodes do; an
//! empty one goes. Bounds are kept when nodes come, and only get loose when nodes go; whoever walks
//! by tightens them again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::bounds::{Bounds, Entry, Spread};

/// So many nodes a leaf has at most, unless they are all alike.
const MOST: usize = 64;

#[derive(Debug)]
struct Leaf {
    entries: Vec<Entry>,
    /// Whether no side tells its entries apart.
    alike: bool,
    knot: u32,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Nodes, by the number of the leaf.
    Leaf(u32),
    /// First those below `value` by this side, then the others.
    Fork { side: usize, value: f32, children: [u32; 2] },
}

#[derive(Clone, Copy, Debug)]
struct Knot {
    kind: Kind,
    bounds: Bounds,
    /// Whether somebody has gone since the bounds were tight.
    loose: bool,
    parent: u32,
}

/// Where a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    leaf: u32,
    slot: u32,
}

/// Nobody's number.
const NONE: u32 = u32::MAX;

/// All nodes that may have tasks.
#[derive(Debug)]
pub(super) struct Index {
    /// The first is the root.
    knots: Vec<Knot>,
    leaves: Vec<Leaf>,
    vacant_knots: Vec<u32>,
    vacant_leaves: Vec<u32>,
    /// By the node's number.
    places: Vec<Place>,
    /// How much all nodes differ that came so far.
    spread: Spread,
    /// Kept, so that a search allocates nothing.
    ahead: BinaryHeap<Reverse<(Cost, u32)>>,
}

/// A cost that can be sorted.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cost(f64);

impl Eq for Cost {}

impl PartialOrd for Cost {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Cost {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Index {
    pub(super) fn new() -> Self {
        let mut index = Self::stand_in();
        index.clear();
        index
    }

    /// An index without a root, which stands in while the real one is searched.
    pub(super) const fn stand_in() -> Self {
        Self {
            knots: Vec::new(),
            leaves: Vec::new(),
            vacant_knots: Vec::new(),
            vacant_leaves: Vec::new(),
            places: Vec::new(),
            spread: Spread::NONE,
            ahead: BinaryHeap::new(),
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::stand_in();
        self.leaves.push(Leaf { entries: Vec::new(), alike: true, knot: 0 });
        let root = Knot { kind: Kind::Leaf(0), bounds: Bounds::NONE, loose: false, parent: NONE };
        self.knots.push(root);
    }

    /// Whether the node is in it.
    pub(super) fn has(&self, node: u32) -> bool {
        self.places.get(at(node)).is_some_and(|place| place.leaf != NONE)
    }

    /// Puts a node where it belongs now, wherever it was.
    pub(super) fn set(&mut self, entry: Entry) {
        let leaf = self.leaf_for(&entry);
        let stays = self.has(entry.node) && self.places[at(entry.node)].leaf == leaf;
        if !stays {
            self.remove(entry.node);
        }
        // Whoever was alone in a leaf may have taken it along.
        let leaf = if stays { leaf } else { self.leaf_for(&entry) };
        let found = &mut self.leaves[at(leaf)];
        if stays {
            found.entries[at(self.places[at(entry.node)].slot)] = entry;
        } else {
            found.entries.push(entry);
            let slot = short(found.entries.len() - 1);
            self.put(entry.node, Place { leaf, slot });
        }
        self.spread.add(&entry);
        let found = &mut self.leaves[at(leaf)];
        found.alike &= found.entries[0].is_like(&entry);
        let is_too_full = found.entries.len() > MOST && !found.alike;
        let mut knot = found.knot;
        while let Some(there) = self.knots.get_mut(at(knot)) {
            there.bounds.add(&entry);
            there.loose |= stays;
            knot = there.parent;
        }
        if is_too_full {
            self.split(leaf);
        }
    }

    /// The leaf that such an entry stands in.
    fn leaf_for(&self, entry: &Entry) -> u32 {
        let sides = entry.sides();
        let mut knot = 0;
        loop {
            match self.knots[at(knot)].kind {
                Kind::Leaf(leaf) => return leaf,
                Kind::Fork { side, value, children } => {
                    knot = children[usize::from(sides[side] >= value)];
                }
            }
        }
    }

    fn put(&mut self, node: u32, place: Place) {
        if self.places.len() <= at(node) {
            self.places.resize(at(node) + 1, Place { leaf: NONE, slot: NONE });
        }
        self.places[at(node)] = place;
    }

    /// Takes a node out, if it is in.
    pub(super) fn remove(&mut self, node: u32) {
        if !self.has(node) {
            return;
        }
        let place = self.places[at(node)];
        self.places[at(node)].leaf = NONE;
        self.take(place);
        let found = &mut self.leaves[at(place.leaf)];
        found.alike |= found.entries.len() < 2;
        let (mut knot, is_empty) = (found.knot, found.entries.is_empty());
        if is_empty {
            self.drop_leaf(place.leaf);
            return;
        }
        while let Some(there) = self.knots.get_mut(at(knot)) {
            there.loose = true;
            knot = there.parent;
        }
    }

    /// Takes an entry out of its leaf; the last one takes its slot.
    fn take(&mut self, place: Place) -> Entry {
        let entries = &mut self.leaves[at(place.leaf)].entries;
        let entry = entries.swap_remove(at(place.slot));
        if let Some(moved) = entries.get(at(place.slot)) {
            self.places[at(moved.node)] = place;
        }
        entry
    }

    /// An empty leaf goes, and its sibling takes their parent's place.
    fn drop_leaf(&mut self, leaf: u32) {
        let knot = self.leaves[at(leaf)].knot;
        let parent = self.knots[at(knot)].parent;
        self.knots[at(knot)].bounds = Bounds::NONE;
        let Some(Knot { kind: Kind::Fork { children, .. }, .. }) = self.knots.get(at(parent))
        else {
            return;
        };
        let sibling = if children[0] == knot { children[1] } else { children[0] };
        let Knot { kind, bounds, loose, .. } = self.knots[at(sibling)];
        let there = &mut self.knots[at(parent)];
        (there.kind, there.bounds, there.loose) = (kind, bounds, loose);
        match kind {
            Kind::Leaf(leaf) => self.leaves[at(leaf)].knot = parent,
            Kind::Fork { children, .. } => {
                children.into_iter().for_each(|child| self.knots[at(child)].parent = parent);
            }
        }
        self.vacant_knots.extend([knot, sibling]);
        self.vacant_leaves.push(leaf);
        let mut knot = self.knots[at(parent)].parent;
        while let Some(there) = self.knots.get_mut(at(knot)) {
            there.loose = true;
            knot = there.parent;
        }
    }

    /// Splits a leaf in two. The greater part stays, so that few entries move.
    fn split(&mut self, leaf: u32) {
        let entries = &self.leaves[at(leaf)].entries;
        let mut spread = Spread::NONE;
        entries.iter().for_each(|entry| spread.add(entry));
        let Some(side) = spread.widest(&self.spread) else {
            self.leaves[at(leaf)].alike = true;
            return;
        };
        let mut values: Vec<_> = entries.iter().map(|entry| entry.sides()[side]).collect();
        let middle = values.len() / 2;
        let (_, median, above) = values.select_nth_unstable_by(middle, f32::total_cmp);
        // Nobody is below the least.
        let value = if *median > spread.least(side) {
            *median
        } else {
            let above = above.iter().copied().filter(|value| *value > *median);
            above.fold(f32::INFINITY, f32::min)
        };
        let below = entries.iter().filter(|entry| entry.sides()[side] < value).count();
        let moves_below = below <= middle;
        let parent = self.leaves[at(leaf)].knot;
        let new_leaf = Leaf { entries: Vec::new(), alike: true, knot: NONE };
        let moved = keep(&mut self.leaves, &mut self.vacant_leaves, new_leaf);
        let [stays, goes] = [leaf, moved].map(|leaf| {
            let (kind, bounds) = (Kind::Leaf(leaf), Bounds::NONE);
            let knot = Knot { kind, bounds, loose: false, parent };
            let knot = keep(&mut self.knots, &mut self.vacant_knots, knot);
            self.leaves[at(leaf)].knot = knot;
            knot
        });
        let children = if moves_below { [goes, stays] } else { [stays, goes] };
        self.knots[at(parent)].kind = Kind::Fork { side, value, children };
        // From the end, because the last one takes the slot of whoever goes.
        for slot in (0..short(self.leaves[at(leaf)].entries.len())).rev() {
            let entry = &self.leaves[at(leaf)].entries[at(slot)];
            if (entry.sides()[side] < value) == moves_below {
                let entry = self.take(Place { leaf, slot });
                let slot = short(self.leaves[at(moved)].entries.len());
                self.leaves[at(moved)].entries.push(entry);
                self.places[at(entry.node)] = Place { leaf: moved, slot };
            }
        }
        [leaf, moved].into_iter().for_each(|leaf| self.tighten(leaf));
    }

    /// Makes a leaf's bounds anew.
    fn tighten(&mut self, leaf: u32) {
        let found = &mut self.leaves[at(leaf)];
        let knot = &mut self.knots[at(found.knot)];
        (knot.bounds, knot.loose) = (Bounds::NONE, false);
        found.entries.iter().for_each(|entry| knot.bounds.add(entry));
        found.alike = found.entries.windows(2).all(|pair| pair[0].is_like(&pair[1]));
    }

    /// Shows entries to `weigh`, those first among which the least cost is possible, until none that
    /// is left can be below what `weigh` returned last: the cost of the best node so far.
    ///
    /// `least` gives the least cost possible within bounds; none if nobody there can do it.
    pub(super) fn search(
        &mut self,
        least: impl Fn(&Bounds) -> Option<f64>,
        mut weigh: impl FnMut(&Entry) -> f64,
    ) {
        let Self { knots, leaves, ahead, .. } = self;
        ahead.clear();
        ahead.extend(least(&knots[0].bounds).map(|cost| Reverse((Cost(cost), 0))));
        let mut best = f64::INFINITY;
        while let Some(Reverse((Cost(cost), number))) = ahead.pop() {
            if cost >= best {
                break;
            }
            match knots[at(number)].kind {
                Kind::Leaf(leaf) => {
                    let knot = &mut knots[at(number)];
                    best = leaves[at(leaf)].scan(knot, cost, best, &mut weigh);
                }
                Kind::Fork { children, .. } => {
                    if knots[at(number)].loose {
                        let [mut bounds, other] = children.map(|child| knots[at(child)].bounds);
                        bounds.join(&other);
                        let loose = children.iter().any(|child| knots[at(*child)].loose);
                        let knot = &mut knots[at(number)];
                        (knot.bounds, knot.loose) = (bounds, loose);
                    }
                    for child in children {
                        let cost = least(&knots[at(child)].bounds).filter(|cost| *cost < best);
                        ahead.extend(cost.map(|cost| Reverse((Cost(cost), child))));
                    }
                }
            }
        }
    }
}

impl Leaf {
    fn scan(
        &self,
        knot: &mut Knot,
        least: f64,
        best: f64,
        weigh: &mut impl FnMut(&Entry) -> f64,
    ) -> f64 {
        let mut best = best;
        let mut bounds = Bounds::NONE;
        for entry in &self.entries {
            best = weigh(entry);
            if best <= least {
                return best;
            }
            if knot.loose {
                bounds.add(entry);
            }
        }
        if knot.loose {
            (knot.bounds, knot.loose) = (bounds, false);
        }
        best
    }
}

/// Keeps something where nothing is any more, or at the end; tells its number.
fn keep<T>(all: &mut Vec<T>, vacant: &mut Vec<u32>, one: T) -> u32 {
    if let Some(number) = vacant.pop() {
        all[at(number)] = one;
        return number;
    }
    all.push(one);
    short(all.len() - 1)
}

const fn at(number: u32) -> usize {
    number as usize
}

/// There are fewer than 2^32 nodes, and so of all of this.
fn short(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{Index, Kind, MOST, at};
    use crate::scheduler::cluster::bounds::{Bounds, Entry};

    fn entry(node: u32, [cpu, memory, idle]: [u32; 3]) -> Entry {
        let shares = 1 << (idle % 32);
        Entry { node, cpu, memory, idle, shares, tight: cpu + memory, ..Entry::default() }
    }

    /// The tightest node with so much, as the index finds it and as whoever looks at all does.
    fn check_search(index: &mut Index, all: &BTreeMap<u32, Entry>, cpu: u32, memory: u32) {
        let may = |b: &Bounds| (b.cpu >= cpu && b.memory >= memory).then_some(b.tight.0.into());
        let mut best = f64::INFINITY;
        index.search(may, |entry| {
            if entry.cpu >= cpu && entry.memory >= memory {
                best = best.min(entry.tight.into());
            }
            best
        });
        let fits = all.values().filter(|entry| entry.cpu >= cpu && entry.memory >= memory);
        let least = fits.map(|entry| f64::from(entry.tight)).fold(f64::INFINITY, f64::min);
        assert_eq!(best.to_bits(), least.to_bits());
    }

    /// Each node is where it says, no leaf is too full, and nobody is out of bounds.
    fn check_places(index: &Index, all: &BTreeMap<u32, Entry>) {
        let mut found = 0;
        for (number, leaf) in index.leaves.iter().enumerate() {
            if index.vacant_leaves.contains(&super::short(number)) {
                continue;
            }
            assert!(matches!(index.knots[at(leaf.knot)].kind, Kind::Leaf(l) if at(l) == number));
            assert!(leaf.alike || leaf.entries.len() <= MOST, "{}", leaf.entries.len());
            for (slot, entry) in leaf.entries.iter().enumerate() {
                let place = index.places[at(entry.node)];
                assert_eq!((at(place.leaf), at(place.slot)), (number, slot));
                assert!(all[&entry.node].is_like(entry));
                assert_eq!(at(index.leaf_for(entry)), number);
                let mut knot = leaf.knot;
                while let Some(there) = index.knots.get(at(knot)) {
                    let b = &there.bounds;
                    assert!(b.cpu >= entry.cpu && b.memory >= entry.memory);
                    assert!(b.tight.0 <= entry.tight && b.shares & entry.shares != 0);
                    knot = there.parent;
                }
                found += 1;
            }
        }
        assert_eq!(found, all.len());
        assert!((0..500).all(|node| index.has(node) == all.contains_key(&node)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Few values make many alike, many values make deep trees.
        #[test]
        fn it_finds_what_a_look_at_all_finds(
            values in 1_u32..60,
            steps in proptest::collection::vec((0_u32..500, any::<[u32; 3]>(), 0_u8..10), 1..3_000),
        ) {
            let (mut index, mut all) = (Index::new(), BTreeMap::new());
            for (node, amounts, what) in steps {
                let amounts = amounts.map(|amount| amount % values);
                match what {
                    0 | 1 => {
                        index.remove(node);
                        all.remove(&node);
                    }
                    2 => check_search(&mut index, &all, amounts[0], amounts[1]),
                    _ => {
                        let entry = entry(node, amounts);
                        index.set(entry);
                        all.insert(node, entry);
                    }
                }
            }
            check_places(&index, &all);
            check_search(&mut index, &all, values / 2, values / 2);
            for node in 0..500 {
                index.remove(node);
            }
            prop_assert_eq!(index.knots.len() - index.vacant_knots.len(), 1);
            prop_assert_eq!(index.leaves.len() - index.vacant_leaves.len(), 1);
        }
    }
}
