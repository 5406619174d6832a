//! What happens to nodes and allocations: they come, go, grow and shrink.

use super::allocation::{Allocation, NONE};
use super::node::{Amounts, Kept, Member, Profile};
use super::{Cluster, ClusterError};
use crate::id::NodeId;
use crate::registry::{Node, Resources};
use crate::scheduler::policy::{Vitals, comparable};

impl Cluster {
    /// Adds a node with nothing taken of it.
    ///
    /// # Errors
    /// [`ClusterError::KnownNode`], or [`ClusterError::TooMany`] GPUs (64) or nodes (2^32 − 1).
    pub fn add(&mut self, node: &Node, vitals: Vitals) -> Result<(), ClusterError> {
        if self.by_id.contains_key(&node.id) {
            return Err(ClusterError::KnownNode(node.id.clone()));
        }
        if node.resources.gpus.len() > 64 {
            return Err(ClusterError::TooMany("GPUs of one node"));
        }
        let profile = self.profile(Profile::of(node), &node.id);
        let number = match self.vacant.pop() {
            Some(number) => number,
            None => {
                self.members.push(None);
                u32::try_from(self.members.len() - 1).unwrap_or(NONE)
            }
        };
        if number == NONE {
            return Err(ClusterError::TooMany("nodes"));
        }
        let has = Amounts::of(&node.resources);
        let member = Member {
            id: node.id.clone(),
            profile,
            first: NONE,
            tasks: 0,
            exclusive: 0,
            draining: false,
            has,
            free: has,
            gpu_milli: vec![1_000; node.resources.gpus.len()].into(),
            told: vitals,
            vitals: self.experience.applied(&node.id, vitals, self.told_at),
            merit: 0.0,
            fragmentation: 0.0,
            measured: 1,
            state: 0,
        };
        self.members[number as usize] = Some(member);
        self.by_id.insert(node.id.clone(), number);
        let grown = self.grow(has, node.resources.gpus.len());
        let vitals = self.member(number).map_or(vitals, |member| member.vitals);
        let rescaled = self.rescale(&vitals);
        self.value(number);
        if grown || rescaled {
            self.settle_all();
        } else {
            self.settle(number);
        }
        Ok(())
    }

    /// Takes a node out, and tells whose allocations are gone with it.
    ///
    /// # Errors
    /// [`ClusterError::UnknownNode`].
    pub fn remove(&mut self, id: &NodeId) -> Result<Vec<Allocation>, ClusterError> {
        let number = self.number(id)?;
        let victims: Vec<_> = self.held_by(number);
        for victim in &victims {
            self.release(*victim)?;
        }
        self.close(number);
        if let Some(member) = self.members[number as usize].take() {
            self.leave_profile(member.profile);
        }
        self.by_id.remove(id);
        self.vacant.push(number);
        Ok(victims)
    }

    /// Gives back what a task was given.
    ///
    /// # Errors
    /// [`ClusterError::NotAllocated`] if that was done before, or its node was removed.
    pub fn release(&mut self, allocation: Allocation) -> Result<(), ClusterError> {
        let removed = self.allocations.remove(allocation);
        let (taken, first) = removed.ok_or(ClusterError::NotAllocated(allocation))?;
        let Some(Some(member)) = self.members.get_mut(taken.node as usize) else { return Ok(()) };
        if let Some(first) = first {
            member.first = first;
        }
        member.free = member.free.plus(taken.amounts);
        member.tasks -= 1;
        member.exclusive -= u32::from(taken.exclusive);
        for place in taken.places() {
            // A GPU that is gone meanwhile is not given back.
            if let Some(free) = member.gpu_milli.get_mut(place) {
                *free += taken.milli;
            }
        }
        if let Some(apart) = &taken.apart
            && let Some(kept) = self.profiles.get(member.profile as usize)
        {
            let domain = super::place::domain(apart, taken.node, kept);
            if let Some(domains) = self.groups.get_mut(&apart.group) {
                if let Some(tasks) = domains.get_mut(&domain) {
                    *tasks = tasks.saturating_sub(1);
                }
                domains.retain(|_, tasks| *tasks > 0);
                if domains.is_empty() {
                    self.groups.remove(&apart.group);
                }
            }
        }
        self.settle(taken.node);
        Ok(())
    }

    /// A node has more or less than before. Below zero is what more is taken than it has, and it
    /// gets no new tasks that want of it. GPUs are told apart by their places; those that are no
    /// longer there are lost to whoever has them.
    ///
    /// Returns the tasks that have to go for the rest to fit, the latest first.
    ///
    /// # Errors
    /// [`ClusterError::UnknownNode`], or [`ClusterError::TooMany`] GPUs (64).
    pub fn resize(
        &mut self,
        id: &NodeId,
        resources: &Resources,
    ) -> Result<Vec<Allocation>, ClusterError> {
        let number = self.number(id)?;
        if resources.gpus.len() > 64 {
            return Err(ClusterError::TooMany("GPUs of one node"));
        }
        let Some(member) = self.member(number) else { return Ok(Vec::new()) };
        let Some(kept) = self.profiles.get(member.profile as usize) else { return Ok(Vec::new()) };
        let (before, mut profile) = (member.profile, kept.profile.clone());
        profile.gpus = resources.gpus.iter().map(|g| (g.model.clone(), g.memory_mib)).collect();
        profile.bandwidth_mbps = resources.bandwidth_mbps;
        let mut gpu_milli = vec![1_000_i16; resources.gpus.len()];
        for (_, taken) in self.allocations.of(member.first) {
            for place in taken.places() {
                if let Some(free) = gpu_milli.get_mut(place) {
                    *free -= taken.milli;
                }
            }
        }
        let profile = self.profile(profile, id);
        self.leave_profile(before);
        let has = Amounts::of(resources);
        if let Some(Some(member)) = self.members.get_mut(number as usize) {
            member.profile = profile;
            member.free = has.minus(member.has.minus(member.free));
            member.has = has;
            member.gpu_milli = gpu_milli.into();
        }
        let grown = self.grow(has, resources.gpus.len());
        if grown {
            self.settle_all();
        } else {
            self.settle(number);
        }
        Ok(self.victims(number))
    }

    /// Who has to go, the latest first, until the rest fits.
    fn victims(&self, number: u32) -> Vec<Allocation> {
        let Some(member) = self.member(number) else { return Vec::new() };
        let mut free = member.free;
        let gpus = member.gpu_milli.len();
        let mut victims = Vec::new();
        for (allocation, taken) in self.allocations.of(member.first) {
            let amounts = taken.amounts;
            let helps = (free.cpu_milli < 0 && amounts.cpu_milli > 0)
                || (free.memory_mib < 0 && amounts.memory_mib > 0)
                || (free.storage_mib < 0 && amounts.storage_mib > 0)
                || taken.places().any(|place| place >= gpus);
            if helps {
                free = free.plus(amounts);
                victims.push(allocation);
            }
        }
        victims
    }

    /// The node gets no new tasks; what runs there goes on. Returns what runs there.
    ///
    /// # Errors
    /// [`ClusterError::UnknownNode`].
    pub fn drain(&mut self, id: &NodeId) -> Result<Vec<Allocation>, ClusterError> {
        let number = self.number(id)?;
        self.set_draining(number, true);
        Ok(self.held_by(number))
    }

    /// A drained node gets tasks again.
    ///
    /// # Errors
    /// [`ClusterError::UnknownNode`].
    pub fn undrain(&mut self, id: &NodeId) -> Result<(), ClusterError> {
        let number = self.number(id)?;
        self.set_draining(number, false);
        Ok(())
    }

    /// The node is as told now: online or not, charging or not, fast, trusted. What was
    /// [seen](Self::ran) of it comes before how fast it is told to be, and how long to stay.
    ///
    /// # Errors
    /// [`ClusterError::UnknownNode`].
    pub fn observe(&mut self, id: &NodeId, vitals: Vitals) -> Result<(), ClusterError> {
        let number = self.number(id)?;
        if let Some(Some(member)) = self.members.get_mut(number as usize) {
            member.told = vitals;
        }
        self.learn(number);
        Ok(())
    }

    fn set_draining(&mut self, number: u32, draining: bool) {
        if let Some(Some(member)) = self.members.get_mut(number as usize) {
            member.draining = draining;
        }
        self.settle(number);
    }

    fn close(&mut self, number: u32) {
        self.set_draining(number, true);
    }

    fn held_by(&self, number: u32) -> Vec<Allocation> {
        let first = self.member(number).map_or(NONE, |member| member.first);
        self.allocations.of(first).map(|(allocation, _)| allocation).collect()
    }

    pub(super) fn number(&self, id: &NodeId) -> Result<u32, ClusterError> {
        self.by_id.get(id).copied().ok_or_else(|| ClusterError::UnknownNode(id.clone()))
    }

    /// The number of this profile, with one more node.
    fn profile(&mut self, profile: Profile, id: &NodeId) -> u32 {
        if let Some(number) = self.profile_of.get(&profile)
            && let Some(kept) = self.profiles.get_mut(*number as usize)
        {
            kept.nodes += 1;
            return *number;
        }
        let gpus = profile.gpus();
        let model = gpus.first().map(|gpu| gpu.model.clone());
        let known = self.outlooks.iter().position(|(known, _)| *known == model);
        let outlook = known.unwrap_or_else(|| {
            let outlook = self.workload.outlook(model.as_deref());
            self.outlooks.push((model, outlook));
            self.scratch.forget();
            self.outlooks.len() - 1
        });
        let kept = Kept { profile: profile.clone(), gpus, outlook, nodes: 1, first: id.clone() };
        // A place that nobody has any more is used again.
        let vacant = (self.empty_profiles > 0)
            .then(|| self.profiles.iter().position(|kept| kept.nodes == 0))
            .flatten();
        let number = match vacant {
            Some(number) => {
                self.empty_profiles -= 1;
                self.profiles[number] = kept;
                number
            }
            None => {
                self.profiles.push(kept);
                self.profiles.len() - 1
            }
        };
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        self.profile_of.insert(profile, number);
        number
    }

    fn leave_profile(&mut self, number: u32) {
        let Some(kept) = self.profiles.get_mut(number as usize) else { return };
        kept.nodes -= 1;
        if kept.nodes == 0 {
            self.profile_of.remove(&kept.profile);
            self.empty_profiles += 1;
        }
    }

    /// Whether the largest node has become larger than what shares are measured by.
    fn grow(&mut self, has: Amounts, gpus: usize) -> bool {
        let gpus = i64::try_from(gpus).unwrap_or(64) * 1_000;
        let mut grown = false;
        for (most, found) in self.most.iter_mut().zip([has.cpu_milli, has.memory_mib, gpus]) {
            if found > *most {
                *most = i64::try_from(found.unsigned_abs().next_power_of_two()).unwrap_or(i64::MAX);
                grown = true;
            }
        }
        grown
    }

    /// Whether somebody is faster or cheaper than all that the others are measured by. Steps of a
    /// half keep that rare.
    pub(super) fn rescale(&mut self, vitals: &Vitals) -> bool {
        let mut changed = false;
        if vitals.speed > self.scale.fastest {
            self.scale.fastest = vitals.speed * 1.5;
            changed = true;
        }
        let price = comparable(vitals.price);
        if price > 0.0 && price.is_finite() {
            let cheapest = self.scale.cheapest;
            if cheapest <= 0.0 || price < cheapest {
                self.scale.cheapest = if cheapest <= 0.0 { price } else { price / 1.5 };
                changed = true;
            }
        }
        if changed {
            let members = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
            (0..members).for_each(|number| self.value(number));
        }
        changed
    }

    /// Works out what the node is worth by itself.
    pub(super) fn value(&mut self, number: u32) {
        let Some(member) = self.member(number) else { return };
        let merit = self.merit(member);
        if let Some(Some(member)) = self.members.get_mut(number as usize) {
            member.merit = merit;
        }
    }
}
