//! Where to look first: nodes in cells of those that are alike.
//!
//! A node stands in one of 64 × 64 cells, by what the policy goes by (how full it is, how well
//! CPU and GPU are in balance, how good it is). A cell knows bounds of what is in it, a row of
//! cells those of its cells. A search takes rows and cells in the order of the least cost that is
//! possible in them, and ends when no cell that is left can have a better node than the best one
//! found: it is exact, and looks at a few cells, however many nodes there are.
//!
//! Bounds are kept when nodes come, and only get loose when nodes go; whoever walks through a
//! whole cell tightens them again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Rows, and cells in a row.
pub(super) const SIDE: u16 = 64;

/// Where a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Row × 64 + column.
    pub(super) cell: u16,
    pub(super) slot: u32,
}

/// What of a node is looked at before it is looked up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Entry {
    pub(super) node: u32,
    pub(super) profile: u32,
    pub(super) cpu: u32,
    pub(super) memory: u32,
    /// How much is free, as one number: see [`super::measure`].
    pub(super) tight: u32,
    /// What is free of its GPUs together, in thousandths.
    pub(super) idle: u32,
    /// Which shares are free on its GPUs: bit n for n/31 of one.
    pub(super) shares: u32,
    pub(super) slack: f32,
    pub(super) merit: f32,
    /// How many of its GPUs are wholly free.
    pub(super) whole: u8,
}

/// Bounds of some entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) cpu: u32,
    pub(super) memory: u32,
    pub(super) shares: u32,
    pub(super) whole: u8,
    /// Profiles, 64 kinds of them.
    pub(super) profiles: u64,
    pub(super) tight: (u32, u32),
    pub(super) idle: u32,
    pub(super) slack: (f32, f32),
    pub(super) merit: f32,
}

impl Bounds {
    const NONE: Self = Self {
        cpu: 0,
        memory: 0,
        shares: 0,
        whole: 0,
        profiles: 0,
        tight: (u32::MAX, 0),
        idle: u32::MAX,
        slack: (f32::INFINITY, f32::NEG_INFINITY),
        merit: 0.0,
    };

    fn add(&mut self, entry: &Entry) {
        self.cpu = self.cpu.max(entry.cpu);
        self.memory = self.memory.max(entry.memory);
        self.shares |= entry.shares;
        self.whole = self.whole.max(entry.whole);
        self.profiles |= 1 << (entry.profile % 64);
        self.tight = (self.tight.0.min(entry.tight), self.tight.1.max(entry.tight));
        self.idle = self.idle.min(entry.idle);
        self.slack = (self.slack.0.min(entry.slack), self.slack.1.max(entry.slack));
        self.merit = self.merit.max(entry.merit);
    }

    fn join(&mut self, other: &Self) {
        self.cpu = self.cpu.max(other.cpu);
        self.memory = self.memory.max(other.memory);
        self.shares |= other.shares;
        self.whole = self.whole.max(other.whole);
        self.profiles |= other.profiles;
        self.tight = (self.tight.0.min(other.tight.0), self.tight.1.max(other.tight.1));
        self.idle = self.idle.min(other.idle);
        self.slack = (self.slack.0.min(other.slack.0), self.slack.1.max(other.slack.1));
        self.merit = self.merit.max(other.merit);
    }
}

#[derive(Debug)]
struct Cell {
    entries: Vec<Entry>,
    bounds: Bounds,
    /// How many have gone since the bounds were tight.
    gone: u32,
}

#[derive(Debug)]
struct Row {
    cells: Vec<Cell>,
    /// Which cells are not empty.
    filled: u64,
    bounds: Bounds,
    gone: u32,
}

/// All cells.
#[derive(Debug)]
pub(super) struct Index {
    rows: Vec<Option<Box<Row>>>,
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

/// In the heap, rows stand above cells.
const ROW: u32 = 1 << 16;

impl Index {
    pub(super) fn new() -> Self {
        Self { rows: (0..SIDE).map(|_| None).collect(), ahead: BinaryHeap::new() }
    }

    /// An index without rows, which stands in while the real one is searched.
    pub(super) const fn stand_in() -> Self {
        Self { rows: Vec::new(), ahead: BinaryHeap::new() }
    }

    pub(super) fn clear(&mut self) {
        self.rows.iter_mut().for_each(|row| *row = None);
    }

    /// Puts a node in.
    pub(super) fn insert(&mut self, cell: u16, entry: Entry) -> Place {
        let (row, column) = (usize::from(cell / SIDE), usize::from(cell % SIDE));
        let row = self.rows[row].get_or_insert_with(|| {
            let empty = || Cell { entries: Vec::new(), bounds: Bounds::NONE, gone: 0 };
            let cells = (0..SIDE).map(|_| empty()).collect();
            Box::new(Row { cells, filled: 0, bounds: Bounds::NONE, gone: 0 })
        });
        row.bounds.add(&entry);
        row.filled |= 1 << column;
        let found = &mut row.cells[column];
        found.bounds.add(&entry);
        found.entries.push(entry);
        Place { cell, slot: u32::try_from(found.entries.len() - 1).unwrap_or(u32::MAX) }
    }

    /// Takes a node out; tells who has its slot now, if somebody moved there.
    pub(super) fn remove(&mut self, place: Place) -> Option<u32> {
        let row = self.rows[usize::from(place.cell / SIDE)].as_mut()?;
        let column = usize::from(place.cell % SIDE);
        let cell = &mut row.cells[column];
        let slot = place.slot as usize;
        cell.entries.swap_remove(slot);
        (cell.gone, row.gone) = (cell.gone + 1, row.gone + 1);
        if cell.entries.is_empty() {
            (cell.bounds, cell.gone) = (Bounds::NONE, 0);
            row.filled &= !(1 << column);
        }
        cell.entries.get(slot).map(|moved| moved.node)
    }

    /// Changes a node that stays in its cell.
    pub(super) fn update(&mut self, place: Place, entry: Entry) {
        let Some(row) = self.rows[usize::from(place.cell / SIDE)].as_mut() else { return };
        let cell = &mut row.cells[usize::from(place.cell % SIDE)];
        cell.entries[place.slot as usize] = entry;
        cell.bounds.add(&entry);
        row.bounds.add(&entry);
        (cell.gone, row.gone) = (cell.gone + 1, row.gone + 1);
    }

    /// Shows entries to `weigh`, cells of the least possible cost first, until none that is left
    /// can be below what `weigh` returned last: the cost of the best node so far.
    ///
    /// `least` gives the least cost possible within bounds; none if nobody there can do it.
    pub(super) fn search(
        &mut self,
        least: impl Fn(&Bounds) -> Option<f64>,
        mut weigh: impl FnMut(&Entry) -> f64,
    ) {
        let Self { rows, ahead } = self;
        ahead.clear();
        for (number, row) in (0..).zip(rows.iter()) {
            if let Some(cost) =
                row.as_ref().filter(|r| r.filled != 0).and_then(|r| least(&r.bounds))
            {
                ahead.push(Reverse((Cost(cost), ROW + number)));
            }
        }
        let mut best = f64::INFINITY;
        while let Some(Reverse((Cost(cost), number))) = ahead.pop() {
            if cost >= best {
                break;
            }
            if number >= ROW {
                let Some(Some(row)) = rows.get_mut((number - ROW) as usize) else { continue };
                row.tighten();
                let mut filled = row.filled;
                while filled != 0 {
                    let column = filled.trailing_zeros();
                    filled &= filled - 1;
                    let bounds = &row.cells[column as usize].bounds;
                    if let Some(cost) = least(bounds).filter(|cost| *cost < best) {
                        ahead
                            .push(Reverse((Cost(cost), (number - ROW) * u32::from(SIDE) + column)));
                    }
                }
                continue;
            }
            let (row, column) = (number / u32::from(SIDE), number % u32::from(SIDE));
            let Some(Some(row)) = rows.get_mut(row as usize) else { continue };
            best = row.cells[column as usize].scan(cost, best, &mut weigh);
        }
    }
}

impl Row {
    /// After some have gone, the bounds are made anew from those of the cells.
    fn tighten(&mut self) {
        if self.gone < 32 {
            return;
        }
        self.gone = 0;
        self.bounds = Bounds::NONE;
        for cell in self.cells.iter().filter(|cell| !cell.entries.is_empty()) {
            self.bounds.join(&cell.bounds);
        }
    }
}

impl Cell {
    fn scan(&mut self, least: f64, best: f64, weigh: &mut impl FnMut(&Entry) -> f64) -> f64 {
        let mut best = best;
        let mut bounds = Bounds::NONE;
        let tighten = self.gone > 0;
        for entry in &self.entries {
            best = weigh(entry);
            if best <= least {
                return best;
            }
            if tighten {
                bounds.add(entry);
            }
        }
        if tighten {
            (self.bounds, self.gone) = (bounds, 0);
        }
        best
    }
}
