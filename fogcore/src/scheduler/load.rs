//! What leased tasks take of a node.
//!
//! ```
//! use fogcore::scheduler::{GpuRequirement, Load, Requirements};
//!
//! let half = GpuRequirement { count: 1, milli: 500, ..GpuRequirement::default() };
//! let task = Requirements { cpu_milli: 2_000, gpus: half, ..Requirements::default() };
//! let mut load = Load::default();
//! load.add(&task, &[1]);
//! assert_eq!((load.tasks, load.cpu_milli), (1, 2_000));
//! assert_eq!(load.gpu_milli, [0, 500]);
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Apart, Requirements, Task, requirements::WHOLE_GPU};
use crate::registry::Node;

/// What a node's leased tasks take of it, as their requirements and their leases say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Load {
    /// Leased tasks.
    pub tasks: u32,
    /// Their CPU, in thousandths of a core.
    pub cpu_milli: u64,
    /// Their memory, in MiB.
    pub memory_mib: u64,
    /// Their storage, in MiB.
    pub storage_mib: u64,
    /// Of each GPU, by its place in the node's list: how many thousandths are taken. GPUs behind
    /// the last entry are free.
    pub gpu_milli: Vec<u32>,
    /// How many of them want the node for themselves.
    pub exclusive: u32,
    /// How many of them belong to each group of tasks that are to be kept apart.
    pub groups: BTreeMap<String, u32>,
    /// The power that they draw by class, in milliwatts.
    pub power_mw: BTreeMap<String, u64>,
}

impl Load {
    /// Adds a task that was given these GPUs. Where fewer are named than it needs (a lease of an
    /// earlier version), the first that are free are taken for it.
    pub fn add(&mut self, task: &Requirements, devices: &[u32]) {
        self.tasks = self.tasks.saturating_add(1);
        self.cpu_milli = self.cpu_milli.saturating_add(task.cpu_milli.into());
        self.memory_mib = self.memory_mib.saturating_add(task.memory_mib);
        self.storage_mib = self.storage_mib.saturating_add(task.storage_mib);
        self.add_detailed(task, devices);
    }

    /// Whether such a task takes more than sums show: GPUs, the node for itself, a place in a
    /// group, power.
    #[must_use]
    pub const fn is_detailed(task: &Requirements) -> bool {
        task.gpus.count > 0 || task.exclusive || task.apart.is_some() || task.power.is_some()
    }

    /// Adds of a leased task what sums do not show; the rest is in them already.
    pub fn add_details(&mut self, task: &Task) {
        let devices = task.lease.as_ref().map_or(&[][..], |lease| &lease.devices);
        self.add_detailed(&task.spec.requirements, devices);
    }

    fn add_detailed(&mut self, task: &Requirements, devices: &[u32]) {
        let (count, milli) = (task.gpus.count as usize, task.gpus.milli);
        for place in devices.iter().take(count) {
            self.take(*place as usize, milli);
        }
        for _ in devices.len()..count.min(64) {
            let fits = |taken: &u32| taken + milli <= WHOLE_GPU;
            let place = self.gpu_milli.iter().position(fits).unwrap_or(self.gpu_milli.len());
            self.take(place, milli);
        }
        self.exclusive += u32::from(task.exclusive);
        if let Some(apart) = &task.apart {
            *self.groups.entry(apart.group.clone()).or_default() += 1;
        }
        if let Some(power) = &task.power {
            *self.power_mw.entry(power.class.clone()).or_default() += u64::from(power.milliwatts);
        }
    }

    /// The load of one leased task.
    #[must_use]
    pub fn of(task: &Task) -> Self {
        let mut load = Self::default();
        let devices = task.lease.as_ref().map_or(&[][..], |lease| &lease.devices);
        load.add(&task.spec.requirements, devices);
        load
    }

    /// Adds what another load takes.
    pub fn merge(&mut self, other: &Self) {
        self.tasks = self.tasks.saturating_add(other.tasks);
        self.cpu_milli = self.cpu_milli.saturating_add(other.cpu_milli);
        self.memory_mib = self.memory_mib.saturating_add(other.memory_mib);
        self.storage_mib = self.storage_mib.saturating_add(other.storage_mib);
        for (place, milli) in other.gpu_milli.iter().enumerate() {
            self.take(place, *milli);
        }
        self.exclusive = self.exclusive.saturating_add(other.exclusive);
        for (group, tasks) in &other.groups {
            *self.groups.entry(group.clone()).or_default() += tasks;
        }
        for (class, milliwatts) in &other.power_mw {
            *self.power_mw.entry(class.clone()).or_default() += milliwatts;
        }
    }

    /// How many of them belong to the group of `apart`.
    #[must_use]
    pub fn of_group(&self, apart: &Apart) -> u32 {
        self.groups.get(&apart.group).copied().unwrap_or_default()
    }

    /// Whether the node is large enough for all of it.
    #[must_use]
    pub fn fits(&self, node: &Node) -> bool {
        let has = &node.resources;
        self.tasks <= node.slots
            && self.cpu_milli <= u64::from(has.cpu_cores) * 1_000
            && self.memory_mib <= has.memory_mib
            && self.storage_mib <= has.storage_mib
            && self.gpu_milli.len() <= has.gpus.len()
            && self.gpu_milli.iter().all(|taken| *taken <= WHOLE_GPU)
            && node.power_budget.iter().all(|(class, budget)| {
                self.power_mw.get(class).copied().unwrap_or_default() <= u64::from(*budget)
            })
    }

    /// Takes away `other`, which is part of it.
    pub fn remove(&mut self, other: &Self) {
        self.tasks = self.tasks.saturating_sub(other.tasks);
        self.cpu_milli = self.cpu_milli.saturating_sub(other.cpu_milli);
        self.memory_mib = self.memory_mib.saturating_sub(other.memory_mib);
        self.storage_mib = self.storage_mib.saturating_sub(other.storage_mib);
        for (taken, milli) in self.gpu_milli.iter_mut().zip(&other.gpu_milli) {
            *taken = taken.saturating_sub(*milli);
        }
        self.exclusive = self.exclusive.saturating_sub(other.exclusive);
        for (group, tasks) in &other.groups {
            if let Some(left) = self.groups.get_mut(group) {
                *left = left.saturating_sub(*tasks);
            }
        }
        self.groups.retain(|_, tasks| *tasks > 0);
        for (class, milliwatts) in &other.power_mw {
            if let Some(left) = self.power_mw.get_mut(class) {
                *left = left.saturating_sub(*milliwatts);
            }
        }
        self.power_mw.retain(|_, milliwatts| *milliwatts > 0);
    }

    /// What is taken of the GPU at this place, in thousandths.
    #[must_use]
    pub fn gpu(&self, place: usize) -> u32 {
        self.gpu_milli.get(place).copied().unwrap_or_default()
    }

    fn take(&mut self, place: usize, milli: u32) {
        // A node has at most 64; what a lease says beyond that is no GPU.
        if place >= 64 || milli == 0 {
            return;
        }
        if self.gpu_milli.len() <= place {
            self.gpu_milli.resize(place + 1, 0);
        }
        self.gpu_milli[place] = self.gpu_milli[place].saturating_add(milli);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::{Apart, GpuRequirement};

    fn task(count: u32, milli: u32) -> Requirements {
        let gpus = GpuRequirement { count, milli, ..GpuRequirement::default() };
        let apart = Some(Apart { group: "g".into(), key: None, most: 1 });
        Requirements { cpu_milli: 10, memory_mib: 20, gpus, apart, ..Requirements::default() }
    }

    #[test]
    fn what_was_added_can_be_taken_away() {
        let mut load = Load::default();
        load.add(&task(2, 1_000), &[0, 2]);
        let before = load.clone();
        let mut other = Load::default();
        other.add(&task(1, 300), &[1]);
        load.merge(&other);
        assert_eq!(load.gpu_milli, [1_000, 300, 1_000]);
        assert_eq!(load.groups["g"], 2);
        load.remove(&other);
        assert_eq!(load, before);
    }

    #[test]
    fn a_lease_without_devices_takes_the_first_that_are_free() {
        let mut load = Load::default();
        load.add(&task(1, 600), &[0]);
        load.add(&task(1, 600), &[]);
        load.add(&task(1, 300), &[]);
        assert_eq!(load.gpu_milli, [900, 600]);
    }

    #[test]
    fn a_lease_cannot_make_the_list_grow_without_end() {
        let mut load = Load::default();
        load.add(&task(u32::MAX, 1_000), &[u32::MAX]);
        assert!(load.gpu_milli.len() <= 64);
    }
}
