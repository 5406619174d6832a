//! What the index knows of a node, and of many together.

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
    pub(super) const NONE: Self = Self {
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

    pub(super) fn add(&mut self, entry: &Entry) {
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

    pub(super) fn join(&mut self, other: &Self) {
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

/// By how many of their properties nodes are told apart.
const SIDES: usize = 6;

impl Entry {
    /// What splits go by. Who stands where decides how fast a search is, not what it finds.
    #[expect(clippy::cast_precision_loss, reason = "as above")]
    pub(super) fn sides(&self) -> [f32; SIDES] {
        let greatest_share = 32 - self.shares.leading_zeros();
        [
            self.cpu as f32,
            self.memory as f32,
            self.idle as f32,
            greatest_share as f32,
            self.merit,
            (self.profile % 64) as f32,
        ]
    }

    /// Whether no side tells them apart.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.sides().map(f32::to_bits) == other.sides().map(f32::to_bits)
    }
}

/// The least and the most of some entries, by each side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread([(f32, f32); SIDES]);

impl Spread {
    pub(super) const NONE: Self = Self([(f32::INFINITY, f32::NEG_INFINITY); SIDES]);

    pub(super) fn add(&mut self, entry: &Entry) {
        for ((least, most), value) in self.0.iter_mut().zip(entry.sides()) {
            (*least, *most) = (least.min(value), most.max(value));
        }
    }

    /// The least by that side.
    pub(super) const fn least(&self, side: usize) -> f32 {
        self.0[side].0
    }

    /// The side by which they differ most, beside how much `all` do.
    pub(super) fn widest(&self, all: &Self) -> Option<usize> {
        let share = |side: usize| {
            let ((least, most), (all_least, all_most)) = (self.0[side], all.0[side]);
            if most > least { (most - least) / (all_most - all_least) } else { 0.0 }
        };
        let widest = (0..SIDES).max_by(|a, b| share(*a).total_cmp(&share(*b)));
        widest.filter(|side| share(*side) > 0.0)
    }
}
