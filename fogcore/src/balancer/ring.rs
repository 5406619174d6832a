//! A hash ring that changes one node at a time and is read without a lock.
//!
//! Each node has some points on a circle of 2^44 places, which follow from its id alone: every
//! process that knows the same nodes has the same ring. A key belongs to the first point at or
//! after its own place. (Karger et al., STOC 1997.) The circle is cut into pieces with a few points
//! each, and the points of a piece lie side by side in one cache line: a look-up reads that line
//! instead of searching.
//!
//! As points come, pieces are halved, one after the other (Litwin, "Linear Hashing", VLDB 1980, with
//! places read from their last bit to their first): the ring grows and shrinks piece by piece, and a
//! node that joins or leaves changes only the lines of its own points and a few halves.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::stable::Stable;
use crate::failover::words::low;
use crate::id::NodeId;

/// Entries of one line.
const LINE: usize = 8;
/// A piece is halved when there are more points than this per piece.
const MOST_FILL: u64 = 4;
/// Two halves are joined when there are fewer: far less, so that it cannot flutter.
const LEAST_FILL: u64 = 1;
/// Bits of a place; an entry is `place << NUMBER_BITS | number`.
const PLACE_BITS: u32 = 64 - NUMBER_BITS;
/// Bits of a node's number.
const NUMBER_BITS: u32 = 20;
const NUMBER: u64 = (1 << NUMBER_BITS) - 1;
/// No entry. An entry whose number is [`NUMBER`] is the index of the line where the piece goes on.
const EMPTY: u64 = u64::MAX;
/// The most points of one node.
const MOST_POINTS: u32 = 4_096;
const FEWEST_PIECES: u32 = 16;
/// Segments of lines: 67 million of them.
const SEGMENTS: usize = 20;
/// A piece that is being changed might lead in circles.
const LONGEST_CHAIN: usize = 32;
/// How often a look-up is repeated that met a change.
const LOOKS: usize = 3;

/// How many points a node of this weight has. A point more for a part of one would be too many, and
/// to turn keys away instead would move those of others.
pub(super) fn points(weight: u16, per_hundred: u16) -> u32 {
    let points = u32::from(weight) * u32::from(per_hundred) / 100;
    points.clamp(1, MOST_POINTS)
}

/// The ring.
#[derive(Debug)]
pub(super) struct Ring {
    pieces: AtomicU32,
    lines: Stable<Line, SEGMENTS>,
    /// Where pieces go on that have more points than fit in their line.
    further: Stable<Line, SEGMENTS>,
    writer: Mutex<Writer>,
}

#[derive(Debug, Default)]
struct Writer {
    points: u64,
    /// Further lines that nobody uses.
    free: Vec<u32>,
    /// How many further lines there are.
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
        let lines = Stable::default();
        (0..FEWEST_PIECES).for_each(|piece| {
            lines.get_or_make(piece, |_| Line::default());
        });
        let pieces = AtomicU32::new(FEWEST_PIECES);
        Self { pieces, lines, further: Stable::default(), writer: Mutex::default() }
    }
}

/// Which piece a place is in.
#[derive(Clone, Copy)]
struct Piece {
    index: u32,
    /// Bits of its places that are the same.
    depth: u32,
}

impl Piece {
    #[inline]
    const fn of(place: u64, pieces: u32) -> Self {
        let bits = pieces.ilog2();
        let backwards = low(place.reverse_bits());
        let index = backwards & ((1 << bits) - 1);
        // Those before the one that is halved next have been halved.
        if index < pieces - (1 << bits) {
            let index = backwards & ((2 << bits) - 1);
            return Self { index, depth: bits + 1 };
        }
        Self { index, depth: bits }
    }

    /// The first place after it, round the circle.
    const fn end(self, place: u64) -> u64 {
        ((place >> (64 - self.depth)) + 1) << (64 - self.depth)
    }
}

impl Ring {
    /// The number of the node that the `attempt`-th try for `key` leads to. Further tries jump to
    /// other places rather than on to the next point, so that what one node cannot take is spread
    /// over all others (Chen, Coleman and Shrivastava, AAAI 2021).
    #[inline]
    pub(super) fn find(&self, key: u64, attempt: u32) -> Option<u32> {
        let place = number_of(key, attempt) & !NUMBER;
        let pieces = self.pieces.load(Ordering::Acquire);
        let found = self.first_from(Piece::of(place, pieces).index, place);
        if found.is_some() { found } else { self.find_further(place, pieces) }
    }

    /// In the pieces after the place's own, round the circle.
    fn find_further(&self, from: u64, mut pieces: u32) -> Option<u32> {
        let mut found = None;
        for _ in 0..LOOKS {
            let mut place = from;
            found = (0..pieces).find_map(|_| {
                place = Piece::of(place, pieces).end(place);
                self.first_from(Piece::of(place, pieces).index, place)
            });
            let before = std::mem::replace(&mut pieces, self.pieces.load(Ordering::Acquire));
            if before == pieces {
                break;
            }
            // What was halved meanwhile may have been missed.
            let own = self.first_from(Piece::of(from, pieces).index, from);
            if own.is_some() {
                return own;
            }
        }
        found
    }

    /// The first node of a piece whose point is not before `from`.
    #[inline]
    fn first_from(&self, piece: u32, from: u64) -> Option<u32> {
        let mut line = self.lines.get(piece)?;
        for _ in 0..LONGEST_CHAIN {
            // How many are before it is counted, not searched: a branch would be guessed wrong.
            let is_before = |entry: &AtomicU64| usize::from(entry.load(Ordering::Acquire) < from);
            let before: usize = line.0[..LINE - 1].iter().map(is_before).sum();
            let entry = line.0[before].load(Ordering::Acquire);
            let is_point = entry & NUMBER != NUMBER;
            if is_point {
                return (entry >= from).then_some(low(entry & NUMBER));
            }
            if entry == EMPTY {
                return None;
            }
            line = self.further.get(low(entry >> NUMBER_BITS))?;
        }
        None
    }

    /// Gives a node its points.
    pub(super) fn add(&self, node: &NodeId, number: u32, points: u32) {
        let mut writer = self.lock();
        for point in 0..points {
            self.change(&mut writer, entry(node, point, number), true);
            self.grow(&mut writer);
        }
    }

    /// Takes a node's points away.
    pub(super) fn remove(&self, node: &NodeId, number: u32, points: u32) {
        let mut writer = self.lock();
        for point in 0..points {
            self.change(&mut writer, entry(node, point, number), false);
            self.shrink(&mut writer);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        let lines = self.pieces.load(Ordering::Relaxed) + self.lock().made;
        lines as usize * size_of::<Line>()
    }

    /// Halves the next piece, if there are too many points.
    fn grow(&self, writer: &mut Writer) {
        let pieces = self.pieces.load(Ordering::Relaxed);
        if writer.points <= u64::from(pieces) * MOST_FILL
            || self.lines.get_or_make(pieces, |_| Line::default()).is_none()
        {
            return;
        }
        let halved = pieces - (1 << pieces.ilog2());
        let (entries, links) = self.entries(halved);
        let stays = |entry: &&u64| Piece::of(**entry, pieces + 1).index == halved;
        let (first, second): (Vec<u64>, Vec<u64>) = entries.iter().partition(stays);
        // In this order: until the end, each point is where a look-up expects it.
        self.write(writer, pieces, &second, Vec::new());
        self.pieces.store(pieces + 1, Ordering::Release);
        self.write(writer, halved, &first, links);
    }

    /// Joins the last piece with its other half, if there are too few points.
    fn shrink(&self, writer: &mut Writer) {
        let last = self.pieces.load(Ordering::Relaxed) - 1;
        if last < FEWEST_PIECES || writer.points >= u64::from(last) * LEAST_FILL {
            return;
        }
        let other = last - (1 << last.ilog2());
        let (second, second_links) = self.entries(last);
        let (mut entries, links) = self.entries(other);
        entries.extend(second);
        entries.sort_unstable();
        self.write(writer, other, &entries, links);
        self.pieces.store(last, Ordering::Release);
        self.write(writer, last, &[], second_links);
    }

    fn entries(&self, piece: u32) -> (Vec<u64>, Vec<u32>) {
        let (mut entries, mut links) = (Vec::with_capacity(LINE), Vec::new());
        let mut line = self.lines.get(piece);
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

    /// Puts a point in, or takes it out.
    fn change(&self, writer: &mut Writer, point: u64, add: bool) {
        let piece = Piece::of(point, self.pieces.load(Ordering::Relaxed)).index;
        let (mut entries, links) = self.entries(piece);
        match (entries.binary_search(&point), add) {
            (Err(at), true) => {
                entries.insert(at, point);
                writer.points += 1;
            }
            (Ok(at), false) => {
                entries.remove(at);
                writer.points -= 1;
            }
            _ => return,
        }
        self.write(writer, piece, &entries, links);
    }

    fn write(&self, writer: &mut Writer, piece: u32, entries: &[u64], mut links: Vec<u32>) {
        links.reverse();
        let mut line = self.lines.get(piece);
        let mut left = entries;
        while let Some(current) = line.take() {
            let fits = left.len() <= LINE;
            let (here, rest) = left.split_at(if fits { left.len() } else { LINE - 1 });
            let link = if fits { None } else { self.further_line(writer, links.pop()) };
            let mut words = here.iter().copied().chain(link.map(|(link, _)| link));
            for place in &current.0 {
                place.store(words.next().unwrap_or(EMPTY), Ordering::Release);
            }
            (line, left) = (link.map(|(_, next)| next), rest);
        }
        writer.free.extend(links);
    }

    /// A further line, and the entry that leads there.
    fn further_line(&self, writer: &mut Writer, used_before: Option<u32>) -> Option<(u64, &Line)> {
        let number = used_before.or_else(|| writer.free.pop()).unwrap_or_else(|| {
            writer.made += 1;
            writer.made - 1
        });
        let line = self.further.get_or_make(number, |_| Line::default())?;
        Some((u64::from(number) << NUMBER_BITS | NUMBER, line))
    }
}

/// The `attempt`-th number of SplitMix64 with this seed (Steele, Lea and Flood, OOPSLA 2014): keys
/// are numbers already, for which it takes half of the time of a hash for bytes.
#[inline]
const fn number_of(key: u64, attempt: u32) -> u64 {
    let state = key.wrapping_add((attempt as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

fn entry(node: &NodeId, point: u32, number: u32) -> u64 {
    // In two steps: of up to three bytes, XXH3 takes the exclusive or with the seed, and "n10" and
    // "n11" would have the very same points.
    let name = xxh3_64(node.as_str().as_bytes());
    let hash = xxh3_64_with_seed(&name.to_le_bytes(), u64::from(point));
    hash & !NUMBER | u64::from(number)
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
            let from = number_of(key, attempt) >> NUMBER_BITS << NUMBER_BITS;
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
    fn the_order_of_joining_and_what_was_there_before_make_no_difference() {
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

    /// The first outputs for seed 0, as every implementation of it gives them.
    #[test]
    fn keys_are_led_by_splitmix64() {
        let numbers = [0, 1, 2].map(|attempt| number_of(0, attempt));
        assert_eq!(numbers, [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]);
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
