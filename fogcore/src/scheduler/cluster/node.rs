//! A node of the cluster: what it is, what it has and what is free of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{NodeId, TaskKind};
use crate::registry::{Gpu, Labels, Node, Resources};
use crate::scheduler::policy::{Room, Seen, Vitals};

/// What many nodes have in common, and so is kept once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Profile {
    pub(super) labels: Labels,
    pub(super) region: String,
    pub(super) serves: BTreeSet<TaskKind>,
    pub(super) slots: u32,
    pub(super) bandwidth_mbps: u32,
    pub(super) gpus: Vec<ProfileGpu>,
    pub(super) power_budget: BTreeMap<String, u32>,
}

/// [`Gpu`] as a key.
pub(super) type ProfileGpu = (String, u64);

/// A profile with what is derived from it.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) profile: Profile,
    pub(super) gpus: Vec<Gpu>,
    /// Which outlook is for its GPUs.
    pub(super) outlook: usize,
    /// How many nodes have it.
    pub(super) nodes: u32,
    /// The one that had it first, which stands for all where a filter wants to see a node.
    pub(super) first: NodeId,
}

impl Kept {
    /// A node with this profile, of which nothing else is known.
    pub(super) fn seen(&self) -> Seen<'_> {
        Seen {
            id: &self.first,
            labels: &self.profile.labels,
            region: &self.profile.region,
            serves: &self.profile.serves,
            slots: self.profile.slots,
            gpus: &self.gpus,
            bandwidth_mbps: self.profile.bandwidth_mbps,
            vitals: Vitals::default(),
            room: Room::default(),
        }
    }
}

/// What a node has in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amounts {
    pub(super) cpu_milli: i64,
    pub(super) memory_mib: i64,
    pub(super) storage_mib: i64,
}

impl Amounts {
    pub(super) fn of(resources: &Resources) -> Self {
        let whole = |mib: u64| i64::try_from(mib).unwrap_or(i64::MAX);
        Self {
            cpu_milli: i64::from(resources.cpu_cores) * 1_000,
            memory_mib: whole(resources.memory_mib),
            storage_mib: whole(resources.storage_mib),
        }
    }

    pub(super) const fn minus(self, other: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli - other.cpu_milli,
            memory_mib: self.memory_mib - other.memory_mib,
            storage_mib: self.storage_mib - other.storage_mib,
        }
    }

    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli + other.cpu_milli,
            memory_mib: self.memory_mib + other.memory_mib,
            storage_mib: self.storage_mib + other.storage_mib,
        }
    }
}

/// A node in the cluster.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: NodeId,
    pub(super) profile: u32,
    /// The first of its allocations, which are a list.
    pub(super) first: u32,
    pub(super) tasks: u32,
    pub(super) exclusive: u32,
    pub(super) draining: bool,
    pub(super) has: Amounts,
    pub(super) free: Amounts,
    pub(super) gpu_milli: Box<[i16]>,
    /// What was told of it, and that with what was seen of it.
    pub(super) told: Vitals,
    pub(super) vitals: Vitals,
    /// What the policy's terms that do not depend on the task add up to.
    pub(super) merit: f32,
    /// FGD's measure as it was when `state` was the node's state.
    pub(super) fragmentation: f32,
    pub(super) measured: u32,
    pub(super) state: u32,
}

impl Member {
    pub(super) fn seen<'a>(&'a self, kept: &'a Kept, alike: u32) -> Seen<'a> {
        let room = Room {
            cpu_milli: self.free.cpu_milli,
            memory_mib: self.free.memory_mib,
            storage_mib: self.free.storage_mib,
            gpu_milli: &self.gpu_milli,
            tasks: self.tasks,
            exclusive: self.exclusive,
            alike,
            power_mw: None,
        };
        Seen { id: &self.id, vitals: self.vitals, room, ..kept.seen() }
    }

    /// What is free of its GPUs together, in thousandths.
    pub(super) fn idle(&self) -> i64 {
        self.gpu_milli.iter().map(|free| i64::from(*free).max(0)).sum()
    }
}

impl Profile {
    pub(super) fn of(node: &Node) -> Self {
        Self {
            labels: node.labels.clone(),
            region: node.region.clone(),
            serves: node.serves.clone(),
            slots: node.slots,
            bandwidth_mbps: node.resources.bandwidth_mbps,
            gpus: node.resources.gpus.iter().map(|g| (g.model.clone(), g.memory_mib)).collect(),
            power_budget: node.power_budget.clone(),
        }
    }

    pub(super) fn gpus(&self) -> Vec<Gpu> {
        let gpu = |(model, memory_mib): &ProfileGpu| Gpu {
            model: model.clone(),
            memory_mib: *memory_mib,
        };
        self.gpus.iter().map(gpu).collect()
    }
}
