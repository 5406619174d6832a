//! A hash ring that changes one node at a time and is read without a lock.
//!
//! Each node has some points on a circle of 2^44 places, which follow from its id alone: every
//! process that knows the same nodes has the same ring. A key belongs to the first point at or
//! after its own place. (Karger et al., STOC 1997.) The circle is cut into equal pieces with a few
//! points each, and the points of a piece lie side by side in one cache line: a look-up reads that
//! line instead of searching. A node that joins or leaves changes only the lines of its own points.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::stable::Stable;
use crate::failover::words::low;
use crate::id::NodeId;

/// Entries of one line.
const LINE: usize = 8;
/// A table is doubled when there are more points than this per line.
const MOST_FILL: u64 = 6;
/// Bits of a place; an entry is `place << NUMBER_BITS | number`.
const PLACE_BITS: u32 = 64 - NUMBER_BITS;
/// Bits of a node's number.
const NUMBER_BITS: u32 = 20;
const NUMBER: u64 = (1 << NUMBER_BITS) - 1;
/// No entry. An entry whose number is [`NUMBER`] is the index of the line where the piece goes on.
const EMPTY: u64 = u64::MAX;
/// The most points of one node.
const MOST_POINTS: u32 = 4_096;
/// Bits of the smallest table's pieces.
const FEWEST_BITS: u32 = 4;

/// How many points a node of this weight has. A point more for a part of one would be too many, and
/// to turn keys away instead would move those of others.
pub(super) fn points(weight: u16, per_hundred: u16) -> u32 {
    let points = u32::from(weight) * u32::from(per_hundred) / 100;
    points.clamp(1, MOST_POINTS)
}

/// The ring.
#[derive(Debug)]
pub(super) struct Ring {
    table: ArcSwap<Table>,
    changing: Mutex<()>,
}

#[derive(Debug)]
struct Table {
    /// Bits of a place that tell its piece.
    bits: u32,
    lines: Box<[Line]>,
    /// Where pieces go on that have more points than fit in their line.
    further: Stable<Line>,
    free: Mutex<Free>,
    points: AtomicU64,
}

#[derive(Debug, Default)]
struct Free {
    lines: Vec<u32>,
    made: u32,
}

/// Entries in order; the last one may be a link.
#[derive(Debug)]
#[repr(align(64))]
struct Line([AtomicU64; LINE]);

impl Default for Line {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(EMPTY)))
    }
}

impl Default for Ring {
    fn default() -> Self {
        Self { table: ArcSwap::from_pointee(Table::new(FEWEST_BITS)), changing: Mutex::default() }
    }
}

impl Ring {
    /// The number of the node that the `attempt`-th try for `key` leads to. Further tries jump to
    /// other places rather than on to the next point, so that what one node cannot take is spread
    /// over all others (Chen, Coleman and Shrivastava, AAAI 2021).
    pub(super) fn find(&self, key: u64, attempt: u32) -> Option<u32> {
        let hash = xxh3_64_with_seed(&key.to_le_bytes(), u64::from(attempt));
        self.table.load().find(hash)
    }

    /// Gives a node its points.
    pub(super) fn add(&self, node: &NodeId, number: u32, points: u32) {
        let _changing = self.lock();
        let mut table = self.table.load_full();
        let after = table.points.load(Ordering::Relaxed) + u64::from(points);
        if after > table.room() {
            table = Arc::new(table.resized(bits_for(after)));
            self.table.store(Arc::clone(&table));
        }
        for point in 0..points {
            table.change(entry(node, point, number), true);
        }
    }

    /// Takes a node's points away.
    pub(super) fn remove(&self, node: &NodeId, number: u32, points: u32) {
        let _changing = self.lock();
        let table = self.table.load_full();
        for point in 0..points {
            table.change(entry(node, point, number), false);
        }
        let left = table.points.load(Ordering::Relaxed);
        // Far below the size at which it would grow again, so that it cannot flutter.
        if table.bits > FEWEST_BITS && left < table.room() / 8 {
            self.table.store(Arc::new(table.resized(bits_for(left * 2))));
        }
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        let table = self.table.load();
        let further = table.free().made as usize;
        (table.lines.len() + further) * size_of::<Line>()
    }
}

fn bits_for(points: u64) -> u32 {
    let lines = points.div_ceil(MOST_FILL).next_power_of_two();
    lines.trailing_zeros().clamp(FEWEST_BITS, 30)
}

fn entry(node: &NodeId, point: u32, number: u32) -> u64 {
    // In two steps: of up to three bytes, XXH3 takes the exclusive or with the seed, and "n10" and
    // "n11" would have the very same points.
    let name = xxh3_64(node.as_str().as_bytes());
    let hash = xxh3_64_with_seed(&name.to_le_bytes(), u64::from(point));
    hash >> NUMBER_BITS << NUMBER_BITS | u64::from(number)
}

impl Table {
    fn new(bits: u32) -> Self {
        let lines = (0..1_usize << bits).map(|_| Line::default()).collect();
        let (further, free) = (Stable::default(), Mutex::default());
        Self { bits, lines, further, free, points: AtomicU64::new(0) }
    }

    /// How many points fit before it is doubled.
    fn room(&self) -> u64 {
        self.lines.len() as u64 * MOST_FILL
    }

    fn piece(&self, hash: u64) -> usize {
        usize::try_from(hash >> (64 - self.bits)).unwrap_or(0)
    }

    fn find(&self, hash: u64) -> Option<u32> {
        let from = hash >> NUMBER_BITS << NUMBER_BITS;
        let first = self.piece(hash);
        if let Some(number) = self.first_from(first, from) {
            return Some(number);
        }
        // Around the circle once, back to the points before the key's own place.
        let mask = self.lines.len() - 1;
        (1..=self.lines.len()).find_map(|step| self.first_from((first + step) & mask, 0))
    }

    /// The first node of a piece whose point is not before `from`.
    fn first_from(&self, piece: usize, from: u64) -> Option<u32> {
        let mut line = &self.lines[piece];
        // A piece that is being changed might lead in circles.
        for _ in 0..32 {
            for (at, entry) in line.0.iter().enumerate() {
                let entry = entry.load(Ordering::Relaxed);
                let is_point = entry & NUMBER != NUMBER;
                if is_point && entry >= from {
                    return Some(low(entry & NUMBER));
                }
                if entry == EMPTY {
                    return None;
                }
                if !is_point && at == LINE - 1 {
                    line = self.further.get(low(entry >> NUMBER_BITS))?;
                    break;
                }
                if at == LINE - 1 {
                    return None;
                }
            }
        }
        None
    }

    fn entries(&self, piece: usize) -> (Vec<u64>, Vec<u32>) {
        let (mut entries, mut links) = (Vec::with_capacity(LINE), Vec::new());
        let mut line = Some(&self.lines[piece]);
        while let Some(current) = line.take() {
            for entry in &current.0 {
                let entry = entry.load(Ordering::Relaxed);
                if entry & NUMBER != NUMBER {
                    entries.push(entry);
                } else if entry != EMPTY {
                    let link = low(entry >> NUMBER_BITS);
                    links.push(link);
                    line = self.further.get(link);
                }
            }
        }
        (entries, links)
    }

    /// Puts a point in, or takes it out. Only one thread may do so at a time.
    fn change(&self, point: u64, add: bool) {
        let piece = self.piece(point);
        let (mut entries, links) = self.entries(piece);
        match (entries.binary_search(&point), add) {
            (Err(at), true) => {
                entries.insert(at, point);
                self.points.fetch_add(1, Ordering::Relaxed);
            }
            (Ok(at), false) => {
                entries.remove(at);
                self.points.fetch_sub(1, Ordering::Relaxed);
            }
            _ => return,
        }
        self.write(piece, &entries, links);
    }

    fn write(&self, piece: usize, entries: &[u64], mut links: Vec<u32>) {
        links.reverse();
        let mut line = &self.lines[piece];
        let mut left = entries;
        loop {
            let fits = left.len() <= LINE;
            let (here, rest) = left.split_at(if fits { left.len() } else { LINE - 1 });
            let link = if fits { None } else { self.further_line(links.pop()) };
            let mut words = here.iter().copied().chain(link.map(|(link, _)| link));
            for place in &line.0 {
                place.store(words.next().unwrap_or(EMPTY), Ordering::Relaxed);
            }
            match link {
                Some((_, next)) => (line, left) = (next, rest),
                None => break,
            }
        }
        self.free().lines.extend(links);
    }

    /// A further line, and the entry that leads there.
    fn further_line(&self, used_before: Option<u32>) -> Option<(u64, &Line)> {
        let number = used_before.unwrap_or_else(|| {
            let mut free = self.free();
            free.lines.pop().unwrap_or_else(|| {
                free.made += 1;
                free.made - 1
            })
        });
        let line = self.further.get_or_make(number, |_| Line::default())?;
        Some((u64::from(number) << NUMBER_BITS | NUMBER, line))
    }

    fn resized(&self, bits: u32) -> Self {
        let table = Self::new(bits);
        let mut entries: Vec<u64> = Vec::new();
        for piece in 0..self.lines.len() {
            entries.extend(self.entries(piece).0);
        }
        table.points.store(entries.len() as u64, Ordering::Relaxed);
        for piece in entries.chunk_by(|a, b| table.piece(*a) == table.piece(*b)) {
            table.write(table.piece(piece[0]), piece, Vec::new());
        }
        table
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const _: () = assert!(PLACE_BITS == 44, "the documentation says so");

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn name(number: u32) -> NodeId {
        format!("node-{number}").parse().unwrap()
    }

    /// Every point in order, searched from the start.
    #[derive(Default)]
    struct Model(BTreeMap<u64, u32>);

    impl Model {
        fn find(&self, key: u64, attempt: u32) -> Option<u32> {
            let hash = xxh3_64_with_seed(&key.to_le_bytes(), u64::from(attempt));
            let from = hash >> NUMBER_BITS << NUMBER_BITS;
            let at = self.0.range(from..).next().or_else(|| self.0.iter().next());
            at.map(|(_, number)| *number)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn it_finds_what_a_search_over_all_points_finds(
            steps in proptest::collection::vec((0_u32..60, 1_u32..80), 1..80),
        ) {
            let (ring, mut model) = (Ring::default(), Model::default());
            let mut members = BTreeMap::new();
            for (node, points) in steps {
                if let Some(points) = members.remove(&node) {
                    ring.remove(&name(node), node, points);
                    for point in 0..points {
                        model.0.remove(&entry(&name(node), point, node));
                    }
                } else {
                    members.insert(node, points);
                    ring.add(&name(node), node, points);
                    for point in 0..points {
                        model.0.insert(entry(&name(node), point, node), node);
                    }
                }
                for key in 0..50 {
                    prop_assert_eq!(ring.find(key, 0), model.find(key, 0));
                    prop_assert_eq!(ring.find(key, 3), model.find(key, 3));
                }
            }
        }

        /// The bound that Maglev only comes near to: no key moves between nodes that stay.
        #[test]
        fn a_node_that_leaves_moves_its_own_keys_and_no_others(
            nodes in 2_u32..200, leaver in any::<prop::sample::Index>(),
        ) {
            let ring = Ring::default();
            (0..nodes).for_each(|node| ring.add(&name(node), node, 32));
            let before: Vec<_> = (0..2_000).map(|key| ring.find(key, 0).unwrap()).collect();
            let leaver = u32::try_from(leaver.index(nodes as usize)).unwrap();
            ring.remove(&name(leaver), leaver, 32);
            let after: Vec<_> = (0..2_000).map(|key| ring.find(key, 0).unwrap()).collect();
            for (before, after) in before.iter().zip(&after) {
                let stays = if *before == leaver { after != before } else { after == before };
                prop_assert!(stays);
            }
            ring.add(&name(leaver), leaver, 32);
            let back: Vec<_> = (0..2_000).map(|key| ring.find(key, 0).unwrap()).collect();
            prop_assert_eq!(back, before);
        }
    }

    #[test]
    fn the_order_of_joining_and_the_tables_size_make_no_difference() {
        let (one, other) = (Ring::default(), Ring::default());
        (0..100).for_each(|node| one.add(&name(node), node, 32));
        // It has been far larger before.
        (0..3_000).rev().for_each(|node| other.add(&name(node), node, 32));
        (100..3_000).for_each(|node| other.remove(&name(node), node, 32));
        assert!((0..10_000).all(|key| one.find(key, 0) == other.find(key, 0)));
    }

    #[test]
    fn an_empty_ring_finds_nobody_and_one_point_everything() {
        let ring = Ring::default();
        assert_eq!(ring.find(1, 0), None);
        ring.add(&name(5), 5, 1);
        assert!((0..100).all(|key| ring.find(key, 0) == Some(5)));
        ring.remove(&name(5), 5, 1);
        assert_eq!(ring.find(1, 0), None);
    }

    #[test]
    fn nodes_with_short_names_have_points_of_their_own() {
        let names = (0..100_u32).map(|number| (number, format!("n{number}").parse().unwrap()));
        let places = names.flat_map(|(number, name): (u32, NodeId)| {
            (0..32).map(move |point| entry(&name, point, number) >> NUMBER_BITS)
        });
        assert_eq!(places.collect::<BTreeSet<_>>().len(), 3_200);
    }

    #[test]
    fn keys_are_spread_over_all_nodes() {
        let ring = Ring::default();
        (0..50).for_each(|node| ring.add(&name(node), node, 128));
        let found: BTreeSet<_> = (0..5_000).filter_map(|key| ring.find(key, 0)).collect();
        assert_eq!(found.len(), 50);
    }
}
