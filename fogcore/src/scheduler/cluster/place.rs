//! Finding a place for a task, and taking it.

use std::collections::HashMap;

use rand::{Rng, RngExt};

use super::allocation::{Allocation, Taken};
use super::index::Index;
use super::node::{Amounts, Kept, Member};
use super::query::{admitted, suits};
use super::weigh::{Choice, Query, Spot};
use super::{Cluster, ClusterError, Domain};
use crate::id::{NodeId, TaskKind};
use crate::scheduler::policy::{FogPolicy, Policy, Seen, Standard, Wish};
use crate::scheduler::{Apart, Requirements};

/// A place that a task was given.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    /// To give it back.
    pub allocation: Allocation,
    /// The node.
    pub node: NodeId,
    /// Which of the node's GPUs, by their places in its list.
    pub devices: Vec<u32>,
    /// What it cost by the policy's measure. Only costs of one policy can be compared.
    pub cost: f64,
}

/// What is kept from one decision to the next, so that none allocates.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) fog: FogPolicy,
    /// By profile: the decision that asked for it last, times two, plus whether it will do; and
    /// which of its GPUs.
    profiles: Vec<(u64, u64)>,
    decision: u64,
    /// The least waste by what is asked of a GPU and what was free.
    pub(super) waste: HashMap<i16, [f32; 32]>,
}

impl Scratch {
    pub(super) fn forget(&mut self) {
        self.waste.clear();
    }
}

/// What was found: the best node, and what it costs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) node: u32,
    pub(super) choice: Choice,
}

impl Cluster {
    /// Gives the task the place that the policy likes best.
    ///
    /// # Errors
    /// [`ClusterError::NothingFits`]; nothing has changed then, except that the workload has
    /// learned of the task.
    pub fn place(
        &mut self,
        kind: Option<&TaskKind>,
        needs: &Requirements,
    ) -> Result<Placement, ClusterError> {
        if self.learns {
            self.workload.learn(needs, 1.0);
            if self.workload.is_news() {
                self.look_again();
            }
        }
        let wish = Wish { kind, needs };
        let found = self.find(&wish).ok_or(ClusterError::NothingFits)?;
        self.take(found, needs).ok_or(ClusterError::NothingFits)
    }

    /// Gives each task of a gang a place, or none of them.
    ///
    /// # Errors
    /// [`ClusterError::GangDoesNotFit`]; nothing is taken then.
    pub fn place_gang(
        &mut self,
        kind: Option<&TaskKind>,
        gang: &[Requirements],
    ) -> Result<Vec<Placement>, ClusterError> {
        let mut placed = Vec::with_capacity(gang.len());
        for needs in gang {
            match self.place(kind, needs) {
                Ok(placement) => placed.push(placement),
                Err(_) => {
                    let error =
                        ClusterError::GangDoesNotFit { placed: placed.len(), size: gang.len() };
                    for placement in placed {
                        self.release(placement.allocation)?;
                    }
                    return Err(error);
                }
            }
        }
        Ok(placed)
    }

    /// The best node for the wish.
    pub(super) fn find(&mut self, wish: &Wish<'_>) -> Option<Found> {
        if matches!(self.policy, Policy::Random)
            && self.members.len() > self.limits.exact_up_to
            && let Some(found) = self.draw(wish)
        {
            return Some(found);
        }
        self.scratch.decision += 1;
        self.scratch.profiles.resize(self.profiles.len(), (0, 0));
        let mut query = self.query(wish);
        query.profiles = self.suitable(wish);
        // For a kind, a node may be worth more than by itself, so more of them are looked at.
        let doubt = self.doubt(&query);
        let merits = self.merits() - doubt;
        let exact = self.members.len() <= self.limits.exact_up_to;
        let mut left = if exact { usize::MAX } else { self.limits.weighed };
        let bounded = matches!(
            self.policy,
            Policy::BinPack | Policy::Spread | Policy::Thrift | Policy::Fog | Policy::Weighted(_)
        );
        if bounded && doubt <= 0.0 {
            left = MOST_WEIGHED;
        }
        let mut index = std::mem::replace(&mut self.index, Index::stand_in());
        let mut profiles = std::mem::take(&mut self.scratch.profiles);
        let mut dice = self.dice.clone();
        let mut best: Option<Found> = None;
        let mut least = f64::INFINITY;
        let policy = &self.policy;
        let negligible = Query::negligible(policy);
        index.search(
            |bounds| query.may_fit(bounds).then(|| query.least(policy, merits, bounds)),
            |entry| {
                let pruned = bounded && query.least_of(policy, merits, entry) >= least - negligible;
                if pruned || !query.fits(entry) {
                    return if bounded { least - negligible } else { f64::INFINITY };
                }
                if left == 0 {
                    return f64::NEG_INFINITY;
                }
                let stamp = &mut profiles[entry.profile as usize];
                if let Some(found) = self.weigh(wish, &query, entry.node, stamp, &mut dice) {
                    left -= 1;
                    if found.choice.cost < least {
                        least = found.choice.cost;
                        best = Some(found);
                    }
                }
                if bounded { least - negligible } else { f64::INFINITY }
            },
        );
        (self.index, self.scratch.profiles, self.dice) = (index, profiles, dice);
        best
    }

    /// What the policy thinks of this node, if it can have the task.
    fn weigh(
        &self,
        wish: &Wish<'_>,
        query: &Query,
        node: u32,
        stamp: &mut (u64, u64),
        dice: &mut impl Rng,
    ) -> Option<Found> {
        let member = self.member(node)?;
        let kept = self.profiles.get(member.profile as usize)?;
        let known = self.scratch.decision * 2;
        if stamp.0 < known {
            let admitted = admitted(wish, kept);
            let suits = suits(wish, kept);
            *stamp = (known + u64::from(suits), admitted);
        }
        if stamp.0 == known || !self.may_have(wish, query, node, member, kept) {
            return None;
        }
        let spot = self.spot(node, member, stamp.1);
        if !spot.fits(query) {
            return None;
        }
        let choice = self.choose(wish, query, &spot, kept, dice);
        Some(Found { node, choice })
    }

    pub(super) fn spot<'a>(&'a self, number: u32, member: &'a Member, admitted: u64) -> Spot<'a> {
        let outlook = self.outlook_of(member.profile);
        let fragmentation = match self.policy {
            Policy::Fgd if member.measured == member.state => member.fragmentation.into(),
            Policy::Fgd => outlook.fragmentation(member.free.cpu_milli, &member.gpu_milli),
            _ => 0.0,
        };
        let free = [member.free.cpu_milli, member.free.memory_mib, member.idle()];
        let tight = super::measure::tightness(free, self.most);
        let most = self.most.map(|most| most as f64);
        Spot { member, admitted, tight, outlook, most, fragmentation, number }
    }

    /// What does not follow from the profile, except GPUs.
    fn may_have(&self, wish: &Wish<'_>, query: &Query, node: u32, m: &Member, k: &Kept) -> bool {
        let needs = wish.needs;
        let plain = m.tasks < k.profile.slots
            && m.exclusive == 0
            && m.free.storage_mib >= query.storage
            && m.free.cpu_milli >= query.cpu
            && m.free.memory_mib >= query.memory;
        if !plain || (needs.exclusive && m.tasks > 0) {
            return false;
        }
        let special = needs.max_latency.is_some()
            || needs.min_quality.is_some()
            || needs.min_trust.is_some()
            || needs.max_price.is_some()
            || needs.apart.is_some()
            || needs.power.is_some();
        if !special && self.filters.is_empty() {
            return true;
        }
        let seen = self.seen_by(needs, node, m, k);
        let rest = [
            Standard::Latency,
            Standard::Quality,
            Standard::Trust,
            Standard::Price,
            Standard::Apart,
            Standard::Power,
        ];
        Standard::first(&rest, wish, &seen).is_none() && self.passes(wish, &seen)
    }

    /// Whether the cluster's own filters have nothing against the node.
    pub(super) fn passes(&self, wish: &Wish<'_>, node: &Seen<'_>) -> bool {
        self.filters.iter().all(|filter| filter.refuse(wish, node).is_none())
    }

    /// The node as filters see it for such a task, with what it shares with others.
    pub(super) fn seen_by<'a>(
        &self,
        needs: &Requirements,
        node: u32,
        member: &'a Member,
        kept: &'a Kept,
    ) -> Seen<'a> {
        let alike = needs.apart.as_ref().map_or(0, |apart| self.alike(apart, node, kept));
        let mut seen = member.seen(kept, alike);
        seen.room.power_mw = needs.power.as_ref().and_then(|power| {
            let budget = kept.profile.power_budget.get(&power.class)?;
            let taken = self.allocations.of(member.first);
            let taken = taken.filter_map(|(_, taken)| taken.power.as_ref());
            let alike = taken.filter(|other| other.class == power.class);
            let drawn: i64 = alike.map(|other| i64::from(other.milliwatts)).sum();
            Some(i64::from(*budget) - drawn)
        });
        seen
    }

    /// How many tasks of the group share a domain with the node.
    pub(super) fn alike(&self, apart: &Apart, node: u32, kept: &Kept) -> u32 {
        let Some(domains) = self.groups.get(&apart.group) else { return 0 };
        domains.get(&domain(apart, node, kept)).copied().unwrap_or_default()
    }

    pub(super) fn choose(
        &self,
        wish: &Wish<'_>,
        query: &Query,
        spot: &Spot<'_>,
        kept: &Kept,
        dice: &mut impl Rng,
    ) -> Choice {
        let tight = f64::from(spot.tight);
        match &self.policy {
            Policy::Random => {
                let usable = spot.tightest(query);
                Choice { cost: dice.random(), devices: self.any_device(query, spot, usable, dice) }
            }
            Policy::Spread => Choice { cost: -tight, devices: spot.tightest(query) },
            Policy::BinPack => Choice { cost: tight, devices: spot.tightest(query) },
            Policy::DotProduct => spot.dot_product(query),
            Policy::GpuPacking => spot.gpu_packing(query),
            Policy::GpuClustering => {
                let mut alike = (false, false);
                for (_, taken) in self.allocations.of(spot.member.first) {
                    if taken.devices != 0 {
                        let count = taken.devices.count_ones();
                        let shared = count == 1 && taken.milli < 1_000;
                        let same = (shared, count) == (query.is_shared(), query.count);
                        alike = (alike.0 || same, alike.1 || !same);
                    }
                }
                spot.gpu_clustering(query, alike)
            }
            Policy::Fgd => spot.fgd(query),
            Policy::Thrift => spot.thrift(query),
            Policy::Fog => self.fog(&self.scratch.fog, wish, query, spot, kept),
            Policy::Weighted(policy) => self.fog(policy, wish, query, spot, kept),
        }
    }

    fn any_device(
        &self,
        query: &Query,
        spot: &Spot<'_>,
        tightest: u64,
        dice: &mut impl Rng,
    ) -> u64 {
        if !query.is_shared() {
            return tightest;
        }
        let usable = |place: &usize| {
            spot.member.gpu_milli[*place] >= query.milli && spot.admitted >> place & 1 == 1
        };
        let places: Vec<_> = (0..spot.member.gpu_milli.len()).filter(usable).collect();
        let place = places.get(dice.random_range(0..places.len().max(1)));
        place.map_or(tightest, |place| 1 << place)
    }

    /// Some tries at random: among many nodes, one that fits is found soon, if there are any.
    fn draw(&mut self, wish: &Wish<'_>) -> Option<Found> {
        self.scratch.decision += 1;
        let query = self.query(wish);
        let mut dice = self.dice.clone();
        let mut found = None;
        for _ in 0..64 {
            let node = u32::try_from(dice.random_range(0..self.members.len())).unwrap_or(0);
            if self.index.has(node) {
                found = self.weigh(wish, &query, node, &mut (0, 0), &mut dice);
            }
            if found.is_some() {
                break;
            }
        }
        self.dice = dice;
        found
    }

    /// Takes what was found.
    pub(super) fn take(&mut self, found: Found, needs: &Requirements) -> Option<Placement> {
        let query = self.query(&Wish { kind: None, needs });
        let (node, devices) = (found.node, found.choice.devices);
        let devices = if query.count == 0 { 0 } else { devices };
        let amounts =
            Amounts { cpu_milli: query.cpu, memory_mib: query.memory, storage_mib: query.storage };
        let mut taken = Taken::new(node, amounts, query.milli, devices);
        taken.exclusive = needs.exclusive;
        taken.apart = needs.apart.clone().map(Box::new);
        taken.power = needs.power.clone().map(Box::new);
        let places: Vec<_> = taken.places().collect();
        if let Some(apart) = &needs.apart {
            let kept = self.profiles.get(self.member(node)?.profile as usize)?;
            let domain = domain(apart, node, kept);
            *self.groups.entry(apart.group.clone()).or_default().entry(domain).or_default() += 1;
        }
        let member = self.members.get_mut(node as usize)?.as_mut()?;
        let allocation = self.allocations.add(taken, member.first);
        member.first = allocation.slot();
        member.free = member.free.minus(amounts);
        member.tasks += 1;
        member.exclusive += u32::from(needs.exclusive);
        for place in &places {
            member.gpu_milli[*place] -= query.milli;
        }
        let id = member.id.clone();
        self.settle(node);
        let devices = places.into_iter().filter_map(|place| u32::try_from(place).ok()).collect();
        Some(Placement { allocation, node: id, devices, cost: found.choice.cost })
    }

    /// FGD's measure of a node is kept, because it is asked for at every decision.
    pub(super) fn measure(&mut self, node: u32) {
        if !matches!(self.policy, Policy::Fgd) {
            return;
        }
        let Some(m) = self.member(node) else { return };
        let now = self.outlook_of(m.profile).fragmentation(m.free.cpu_milli, &m.gpu_milli);
        if let Some(Some(m)) = self.members.get_mut(node as usize) {
            #[expect(clippy::cast_possible_truncation, reason = "as above")]
            let now = now as f32;
            (m.fragmentation, m.measured) = (now, m.state);
        }
    }
}

/// The most nodes that one decision weighs, for policies that have bounds: those are exact
/// unless thousands of nodes are as good as the best, and then it does not matter.
const MOST_WEIGHED: usize = 4_096;

/// The domain of a node for a group.
pub(super) fn domain(apart: &Apart, node: u32, kept: &Kept) -> Domain {
    let label = apart.key.as_ref().and_then(|key| {
        let value = kept.profile.labels.get(key)?;
        Some(Domain::Label(key.clone(), value.clone()))
    });
    label.unwrap_or(Domain::Node(node))
}
