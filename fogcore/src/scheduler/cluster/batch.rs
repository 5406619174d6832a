//! Many tasks at once, with more than one thing to wish for: the best compromises.
//!
//! One task after another goes where it costs least, by one measure. For a batch, several measures
//! can be looked at together, and none has to be weighed against another beforehand: a plan is
//! worth showing if no other is better in one respect and as good in all others. Such plans are
//! found by NSGA-II (Deb et al., IEEE Trans. Evol. Comput. 6, 2002): plans are bred, sorted by
//! who is dominated by whom, and among equals those in sparse company live on.

use rand::{Rng, RngExt};

use super::Cluster;
use super::node::{Amounts, Member};
use super::query::admitted;
use crate::id::NodeId;
use crate::scheduler::Requirements;
use crate::scheduler::policy::{Standard, Wish, comparable};

/// How plans are bred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nsga2 {
    /// Plans in each generation. Default 40.
    pub population: usize,
    /// Generations. Default 40.
    pub generations: usize,
    /// Nodes that are considered for each task, at random if there are more. Default 64.
    pub candidates: usize,
}

impl Default for Nsga2 {
    fn default() -> Self {
        Self { population: 40, generations: 40, candidates: 64 }
    }
}

/// A plan for a batch. It takes nothing: capacity was counted, but not reserved.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Where each task goes; none for one that finds no place in this plan.
    pub places: Vec<Option<NodeId>>,
    /// How many find none.
    pub unplaced: usize,
    /// The sum of the tasks' times on the nodes that they have, where a usual node counts as 1.
    pub time: f64,
    /// The sum of the prices of a second there, in base units.
    pub price: f64,
    /// By how much waste and imbalance grow, in thousandths of GPUs.
    pub fit: f64,
}

impl Plan {
    fn objectives(&self) -> [f64; 4] {
        [self.unplaced as f64, self.time, self.price, self.fit]
    }

    /// Better in one respect, and in no other worse.
    fn dominates(&self, other: &Self) -> bool {
        let pairs = self.objectives().into_iter().zip(other.objectives());
        let (mut better, mut worse) = (false, false);
        for (a, b) in pairs {
            better |= a < b;
            worse |= a > b;
        }
        better && !worse
    }
}

/// Which of its candidates each task prefers.
type Genes = Vec<usize>;

impl Cluster {
    /// Plans for the tasks together, none of which is better than another in every respect; the
    /// capacity that they take together is there. At most as many as the population.
    pub fn plans(&mut self, tasks: &[Requirements], how: &Nsga2) -> Vec<Plan> {
        let mut dice = self.dice.clone();
        let candidates: Vec<_> =
            tasks.iter().map(|needs| self.candidates(needs, how.candidates, &mut dice)).collect();
        let size = how.population.max(2);
        let mut living: Vec<(Genes, Plan)> = Vec::with_capacity(size * 2);
        for _ in 0..size {
            let genes: Genes =
                candidates.iter().map(|nodes| dice.random_range(0..nodes.len().max(1))).collect();
            let plan = self.carried_out(tasks, &candidates, &genes);
            living.push((genes, plan));
        }
        for _ in 0..how.generations {
            for _ in 0..size {
                let (one, other) = (dice.random_range(0..size), dice.random_range(0..size));
                let mut genes: Genes = living[one]
                    .0
                    .iter()
                    .zip(&living[other].0)
                    .map(|(a, b)| if dice.random() { *a } else { *b })
                    .collect();
                if !genes.is_empty() {
                    let place = dice.random_range(0..genes.len());
                    genes[place] = dice.random_range(0..candidates[place].len().max(1));
                }
                let plan = self.carried_out(tasks, &candidates, &genes);
                living.push((genes, plan));
            }
            living = survivors(living, size);
        }
        self.dice = dice;
        let plans: Vec<Plan> = living.into_iter().map(|(_, plan)| plan).collect();
        let mut front: Vec<Plan> = Vec::new();
        for plan in &plans {
            let beaten = plans.iter().any(|other| other.dominates(plan));
            let bits = |plan: &Plan| plan.objectives().map(f64::to_bits);
            let known = front.iter().any(|other| bits(other) == bits(plan));
            if !beaten && !known {
                front.push(plan.clone());
            }
        }
        front
    }

    fn candidates(&self, needs: &Requirements, most: usize, dice: &mut impl Rng) -> Vec<u32> {
        let all = self.members.len();
        let draw = |_| if all <= most { 0 } else { dice.random_range(0..all) };
        let places: Vec<usize> =
            if all <= most { (0..all).collect() } else { (0..most).map(draw).collect() };
        let wish = Wish { kind: None, needs };
        let fits = |number: &u32| {
            self.member(*number).is_some_and(|member| {
                let Some(kept) = self.profiles.get(member.profile as usize) else { return false };
                let open = self.index.has(*number);
                let seen = self.seen_by(needs, *number, member, kept);
                open && Standard::first(&Standard::ALL, &wish, &seen).is_none()
                    && self.passes(&wish, &seen)
            })
        };
        places.into_iter().filter_map(|place| u32::try_from(place).ok()).filter(fits).collect()
    }

    /// What comes of a plan: each task goes to the node that it prefers, or to the next of its
    /// candidates that still has room.
    fn carried_out(&mut self, tasks: &[Requirements], nodes: &[Vec<u32>], genes: &Genes) -> Plan {
        let mut plan = Plan { places: Vec::new(), unplaced: 0, time: 0.0, price: 0.0, fit: 0.0 };
        let mut undo: Vec<(u32, Amounts, Box<[i16]>, u32)> = Vec::new();
        for ((needs, nodes), preferred) in tasks.iter().zip(nodes).zip(genes) {
            let wish = Wish { kind: None, needs };
            let query = self.query(&wish);
            let turned = nodes.iter().cycle().skip(*preferred).take(nodes.len());
            let chosen = turned.copied().find_map(|number| {
                let member = self.member(number)?;
                let kept = self.profiles.get(member.profile as usize)?;
                let resources = [Standard::Slots, Standard::Resources, Standard::Gpus];
                let seen = member.seen(kept, 0);
                Standard::first(&resources, &wish, &seen).is_none().then_some(())?;
                let spot = self.spot(number, member, admitted(&wish, kept));
                Some((number, spot.thrift(&query)))
            });
            let Some((number, choice)) = chosen else {
                plan.unplaced += 1;
                plan.places.push(None);
                continue;
            };
            let Some(Some(member)) = self.members.get_mut(number as usize) else { continue };
            undo.push((number, member.free, member.gpu_milli.clone(), member.tasks));
            plan.places.push(Some(member.id.clone()));
            plan.time += 1.0 / member.vitals.speed.max(1e-6);
            plan.price += comparable(member.vitals.price);
            plan.fit += choice.cost;
            take(member, needs, choice.devices);
        }
        for (number, free, gpu_milli, tasks) in undo.into_iter().rev() {
            if let Some(Some(member)) = self.members.get_mut(number as usize) {
                (member.free, member.gpu_milli, member.tasks) = (free, gpu_milli, tasks);
            }
        }
        plan
    }
}

fn take(member: &mut Member, needs: &Requirements, devices: u64) {
    let whole = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
    member.free = member.free.minus(Amounts {
        cpu_milli: needs.cpu_milli.into(),
        memory_mib: whole(needs.memory_mib),
        storage_mib: whole(needs.storage_mib),
    });
    member.tasks += 1;
    let milli = i16::try_from(needs.gpus.milli).unwrap_or(i16::MAX);
    for (place, free) in member.gpu_milli.iter_mut().enumerate() {
        if needs.gpus.count > 0 && devices >> place & 1 == 1 {
            *free -= milli;
        }
    }
}

/// The best half: front by front, and of the last front those in sparse company.
fn survivors(mut living: Vec<(Genes, Plan)>, size: usize) -> Vec<(Genes, Plan)> {
    let mut kept = Vec::with_capacity(size);
    while kept.len() < size && !living.is_empty() {
        let beaten: Vec<bool> = living
            .iter()
            .map(|(_, plan)| living.iter().any(|(_, other)| other.dominates(plan)))
            .collect();
        let mut front = Vec::new();
        let mut rest = Vec::new();
        for (one, beaten) in living.into_iter().zip(beaten) {
            if beaten { rest.push(one) } else { front.push(one) }
        }
        if kept.len() + front.len() > size {
            let crowding = crowding(&front);
            let mut ranked: Vec<_> = crowding.into_iter().zip(front).collect();
            ranked.sort_by(|(a, _), (b, _)| b.total_cmp(a));
            front = ranked.into_iter().map(|(_, one)| one).collect();
            front.truncate(size - kept.len());
        }
        kept.append(&mut front);
        living = rest;
    }
    kept
}

/// How far a plan's neighbours are, over all objectives; those at an end have none on one side.
fn crowding(front: &[(Genes, Plan)]) -> Vec<f64> {
    let mut distance = vec![0.0; front.len()];
    for which in 0..4 {
        let value = |place: usize| front[place].1.objectives()[which];
        let mut order: Vec<usize> = (0..front.len()).collect();
        order.sort_by(|a, b| value(*a).total_cmp(&value(*b)));
        let (Some(first), Some(last)) = (order.first(), order.last()) else { continue };
        let range = (value(*last) - value(*first)).max(f64::MIN_POSITIVE);
        (distance[*first], distance[*last]) = (f64::INFINITY, f64::INFINITY);
        for window in order.windows(3) {
            distance[window[1]] += (value(window[2]) - value(window[0])) / range;
        }
    }
    distance
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amount::Amount;
    use crate::registry::{Node, Resources};
    use crate::scheduler::policy::{Policy, Vitals};

    #[test]
    fn plans_are_compromises_within_capacity_and_take_nothing() {
        let mut cluster = Cluster::new(Policy::Fog, 1);
        for (name, speed, price) in [("fast", 4.0, 10), ("slow", 1.0, 1)] {
            let resources = Resources { cpu_cores: 4, memory_mib: 1_024, ..Resources::default() };
            let node = Node { resources, slots: 9, ..Node::new(name.parse().unwrap()) };
            let price = Some(Amount::from_base_units(price));
            cluster.add(&node, Vitals { speed, price, ..Vitals::default() }).unwrap();
        }
        let tasks = vec![Requirements { cpu_milli: 2_000, ..Requirements::default() }; 3];
        let plans = cluster.plans(&tasks, &Nsga2::default());
        assert!(plans.len() >= 2, "fast and dear, slow and cheap: {plans:?}");
        for plan in &plans {
            assert_eq!(plan.unplaced, 0);
            for name in ["fast", "slow"] {
                let there = plan.places.iter().flatten().filter(|node| node.as_str() == name);
                assert!(there.count() <= 2, "{plan:?}");
            }
            assert!(plans.iter().all(|other| !other.dominates(plan)));
        }
        assert_eq!(cluster.allocations(), 0);
        assert!((0..4).all(|_| cluster.place(None, &tasks[0]).is_ok()));
    }

    #[test]
    fn what_does_not_fit_together_stays_out_of_the_plan() {
        let mut cluster = Cluster::new(Policy::Fog, 1);
        let resources = Resources { cpu_cores: 4, memory_mib: 1_024, ..Resources::default() };
        let node = Node { resources, slots: 9, ..Node::new("n".parse().unwrap()) };
        cluster.add(&node, Vitals::default()).unwrap();
        let tasks = vec![Requirements { cpu_milli: 3_000, ..Requirements::default() }; 2];
        let plans = cluster.plans(&tasks, &Nsga2::default());
        assert!(plans.iter().all(|plan| plan.unplaced == 1));
        assert!(cluster.plans(&[], &Nsga2::default()).len() == 1);
    }
}
