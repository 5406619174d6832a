//! What a policy thinks of one node for one task, and the least that it could think of some.

use super::bounds::{Bounds, Entry};
use super::node::Member;
use crate::scheduler::policy::{Outlook, Policy, Scale};

/// A task, as far as the index is concerned.
#[derive(Clone, Debug)]
pub(super) struct Query {
    pub(super) cpu: i64,
    pub(super) memory: i64,
    pub(super) storage: i64,
    pub(super) count: u32,
    pub(super) milli: i16,
    /// The least that the waste grows by on a GPU with n/31 free, whoever made it.
    pub(super) waste: [f32; 32],
    /// How much of the balance between CPU and GPUs it takes: least and most over all outlooks.
    pub(super) heavy: (f64, f64),
    /// Which of 64 kinds of profiles will do; all, if the task wants nothing special.
    pub(super) profiles: u64,
    /// For dot products: what it asks of CPU and GPUs, as shares of the largest node.
    pub(super) shares: [f64; 2],
    /// What the fog's own policy measures by, if it knows how long tasks of the kind take.
    pub(super) scale: Option<Scale>,
}

/// A place on a node and what it costs; the least is the best.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Choice {
    pub(super) cost: f64,
    pub(super) devices: u64,
}

/// How much more a stranded GPU counts than a wasted one: who strands one does so for long.
const STRANDED: f64 = 2.0;
/// How much an idle GPU counts: between equals, the fuller node is taken.
const IDLE: f64 = 0.01;
/// How much CPU and memory count where GPUs are not concerned.
const TIGHT: f64 = 1e-6;
/// The steps in which FGD's published implementation tells nodes apart, in thousandths.
const FGD_STEP: f64 = 100.0;

/// The weight of a wasted thousandth of a GPU in the fog's own policy, beside merits of 0–1.
pub(super) const FOG_FIT: f64 = 0.1 / 1_000.0;

/// The bit for what is free of a GPU.
pub(super) fn share_bit(free: i16) -> u32 {
    u32::try_from(i32::from(free.max(0)) * 31 / 1_000).unwrap_or(0)
}

impl Query {
    pub(super) const fn is_shared(&self) -> bool {
        self.count == 1 && self.milli < 1_000
    }

    pub(super) fn total(&self) -> i64 {
        i64::from(self.count) * i64::from(self.milli)
    }

    /// What it wants of the GPUs, as bits.
    pub(super) fn wanted(&self) -> u32 {
        if self.count == 0 { u32::MAX } else { u32::MAX << share_bit(self.milli) }
    }

    pub(super) fn may_fit(&self, b: &Bounds) -> bool {
        b.profiles & self.profiles != 0
            && i64::from(b.cpu) >= self.cpu
            && i64::from(b.memory) >= self.memory
            && (self.count == 0
                || (b.shares & self.wanted() != 0
                    && (self.is_shared() || u32::from(b.whole) >= self.count)))
    }

    pub(super) fn fits(&self, e: &Entry) -> bool {
        self.profiles >> (e.profile % 64) & 1 == 1
            && i64::from(e.cpu) >= self.cpu
            && i64::from(e.memory) >= self.memory
            && (self.count == 0
                || (e.shares & self.wanted() != 0
                    && (self.is_shared() || u32::from(e.whole) >= self.count)))
    }

    /// The least of [`Spot::thrift`] within these bounds, but for what floats round.
    fn least_thrift(&self, shares: u32, slack: (f32, f32), idle: u32, tight: u32) -> f64 {
        let taken = self.heavy.0;
        let grows = |slack: f64| (taken - slack).max(0.0) - (-slack).max(0.0);
        let at = if taken >= 0.0 { slack.1 } else { slack.0 };
        let rest = STRANDED * grows(at.into()) + IDLE * f64::from(idle) + TIGHT * f64::from(tight);
        if self.count == 0 {
            return rest;
        }
        let mut bits = shares & self.wanted();
        let mut wasted = f32::INFINITY;
        while bits != 0 {
            wasted = wasted.min(self.waste[bits.trailing_zeros() as usize]);
            bits &= bits - 1;
        }
        f64::from(wasted) + rest
    }

    /// What is not worth looking for: so much better a node may be that is not found. It lets a
    /// search end among thousands of equal nodes, whose bounds differ by what floats round.
    pub(super) const fn negligible(policy: &Policy) -> f64 {
        match policy {
            Policy::Thrift => 0.02,
            Policy::Fog | Policy::Weighted(_) => 4e-6,
            _ => 0.0,
        }
    }

    /// The least that the policy could think of nodes within these bounds; for policies that have
    /// no bounds, which nodes to weigh first.
    pub(super) fn least(&self, policy: &Policy, merits: f64, b: &Bounds) -> f64 {
        let thrift = || self.least_thrift(b.shares, b.slack, b.idle, b.tight.0);
        match policy {
            Policy::BinPack => f64::from(b.tight.0),
            Policy::Spread => -f64::from(b.tight.1),
            Policy::Thrift => thrift(),
            Policy::Fog => merits - f64::from(b.merit) + FOG_FIT * thrift(),
            Policy::Weighted(weights) => {
                merits - f64::from(b.merit) + weights.fit / 1_000.0 * thrift()
            }
            // No bounds, but an order to look in.
            Policy::Fgd => thrift(),
            _ => f64::from(b.tight.0),
        }
    }

    /// The least that the policy could think of this node.
    pub(super) fn least_of(&self, policy: &Policy, merits: f64, e: &Entry) -> f64 {
        let thrift = || self.least_thrift(e.shares, (e.slack, e.slack), e.idle, e.tight);
        match policy {
            Policy::BinPack => f64::from(e.tight),
            Policy::Spread => -f64::from(e.tight),
            Policy::Thrift => thrift(),
            Policy::Fog => merits - f64::from(e.merit) + FOG_FIT * thrift(),
            Policy::Weighted(weights) => {
                merits - f64::from(e.merit) + weights.fit / 1_000.0 * thrift()
            }
            _ => f64::NEG_INFINITY,
        }
    }
}

/// A node that fits, with what is to be known for weighing it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot<'a> {
    pub(super) member: &'a Member,
    /// Which of its GPUs the task may have at all.
    pub(super) admitted: u64,
    pub(super) tight: u32,
    pub(super) outlook: &'a Outlook,
    /// The largest node, to measure by.
    pub(super) most: [f64; 3],
    /// FGD's measure of it as it is.
    pub(super) fragmentation: f64,
    /// Its number.
    pub(super) number: u32,
}

impl Spot<'_> {
    fn usable(&self, query: &Query) -> impl Iterator<Item = (usize, i16)> {
        let (admitted, milli) = (self.admitted, query.milli);
        let devices = self.member.gpu_milli.iter().copied().enumerate();
        devices.filter(move |(place, free)| *free >= milli && admitted >> place & 1 == 1)
    }

    /// Whether the GPUs are enough.
    pub(super) fn fits(&self, query: &Query) -> bool {
        self.usable(query).count() >= query.count as usize
    }

    /// The fullest GPU that will do, or the first whole ones.
    pub(super) fn tightest(&self, query: &Query) -> u64 {
        if query.is_shared() {
            let fullest = self.usable(query).min_by_key(|(_, free)| *free);
            return fullest.map_or(0, |(place, _)| 1 << place);
        }
        self.usable(query).take(query.count as usize).map(|(place, _)| 1 << place).sum()
    }

    /// The GPU on which `cost` of what is free there is least; among equals, the fullest.
    fn cheapest(&self, query: &Query, mut cost: impl FnMut(usize, i16) -> f64) -> Choice {
        let mut best = (f64::INFINITY, i16::MAX, 0);
        for (place, free) in self.usable(query) {
            // Most GPUs of a node are like one before.
            if free == best.1 {
                continue;
            }
            let cost = cost(place, free);
            if (cost, free) < (best.0, best.1) {
                best = (cost, free, place);
            }
        }
        Choice { cost: best.0, devices: 1 << best.2 }
    }

    /// By how much waste and imbalance grow.
    pub(super) fn thrift(&self, query: &Query) -> Choice {
        let (m, o, idle) = (self.member, self.outlook, self.member.idle());
        let (cpu, memory) = (m.free.cpu_milli, m.free.memory_mib);
        let after = o.stranded(cpu - query.cpu, memory - query.memory, idle - query.total());
        let stranded = after - o.stranded(cpu, memory, idle);
        let milli = query.milli;
        let wasted = if query.is_shared() {
            self.cheapest(query, |_, free| o.waste(free - milli) - o.waste(free))
        } else {
            let each = o.waste(1_000 - milli) - o.waste(1_000);
            Choice { cost: f64::from(query.count) * each, devices: self.tightest(query) }
        };
        let rest = IDLE * idle as f64 + TIGHT * f64::from(self.tight);
        Choice { cost: wasted.cost + STRANDED * stranded + rest, ..wasted }
    }

    /// By how much FGD's measure grows, in its steps; then how much is idle.
    pub(super) fn fgd(&self, query: &Query) -> Choice {
        let m = self.member;
        let cpu = m.free.cpu_milli - query.cpu;
        let mut gpus = [0_i16; 64];
        let gpus = &mut gpus[..m.gpu_milli.len()];
        gpus.copy_from_slice(&m.gpu_milli);
        let stepped = |after: f64| ((after - self.fragmentation) / FGD_STEP).round();
        let best = if query.is_shared() {
            self.cheapest(query, |place, free| {
                gpus[place] = free - query.milli;
                let after = self.outlook.fragmentation(cpu, gpus);
                gpus[place] = free;
                stepped(after)
            })
        } else {
            let devices = self.tightest(query);
            for (place, free) in gpus.iter_mut().enumerate() {
                *free -= if devices >> place & 1 == 1 { query.milli } else { 0 };
            }
            Choice { cost: stepped(self.outlook.fragmentation(cpu, gpus)), devices }
        };
        Choice { cost: best.cost * 1e6 + m.idle() as f64, ..best }
    }

    /// The dot product of what is free with what is asked, each as a share of the largest node; in
    /// the steps of the published implementation, in which the first node wins a tie.
    pub(super) fn dot_product(&self, query: &Query) -> Choice {
        let m = self.member;
        let free = |free: i64, most: f64| free as f64 / most.max(1.0);
        let [cpu, gpu] = query.shares;
        let product =
            cpu * free(m.free.cpu_milli, self.most[0]) + gpu * free(m.idle(), self.most[2]);
        let cost = f64::from(self.number) * 1e-10 - ((1.0 - product / 2.0) * 100.0).floor();
        Choice { cost, devices: self.tightest(query) }
    }

    /// GPUs that are shared before idle ones of nodes in use, and those before idle nodes; in the
    /// steps of the published implementation (0–100), in which the first node wins a tie.
    pub(super) fn gpu_packing(&self, query: &Query) -> Choice {
        let gpus = &self.member.gpu_milli;
        let devices = self.tightest(query);
        let chosen = || {
            let all = gpus.iter().enumerate();
            all.filter(|(place, _)| devices >> place & 1 == 1).map(|(_, free)| i64::from(*free))
        };
        let whole = |count: usize| i64::try_from(count).unwrap_or(64);
        let idle = whole(gpus.iter().filter(|free| **free == 1_000).count());
        let opened = whole(chosen().filter(|free| *free == 1_000).count());
        let score = match () {
            () if query.count == 0 => 0,
            () if idle == whole(gpus.len()) => (33 - idle).max(idle),
            () if opened > 0 => (50 - opened).max(33),
            () => (100 - chosen().sum::<i64>() / 100).max(50),
        };
        Choice { cost: self.in_turn(score), devices }
    }

    /// `alike` tells whether the node has tasks that ask for GPUs in the same way, and others. In
    /// the steps of the published implementation, as above.
    pub(super) fn gpu_clustering(&self, query: &Query, alike: (bool, bool)) -> Choice {
        // A quarter of the score goes by how full the node is, beside one with eight GPUs.
        let full = 25 * (8_000 - self.member.idle()).max(0) / 8_000;
        let score = match (query.count, alike) {
            (0, _) => 0,
            (_, (true, false)) => 75 + full,
            (_, (true, true)) => 50 + full,
            (_, (false, false)) => 25 + full,
            (_, (false, true)) => full,
        };
        Choice { cost: self.in_turn(score), devices: self.tightest(query) }
    }

    /// The cost of a score of whole steps: of equal ones, the first node's is the least.
    fn in_turn(&self, score: i64) -> f64 {
        f64::from(self.number) * 1e-10 - score as f64
    }
}
