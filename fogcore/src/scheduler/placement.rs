//! Filter, score, choose: is the node that asks for a task the one that should have it?
//!
//! Nodes pull, so a node that cannot reach us is never waited for. But the first to ask is not
//! always the best: for each task the asker is weighed against some rivals, and a clearly worse
//! asker leaves the task to them – for a short while. This is delay scheduling (Zaharia et al.,
//! EuroSys 2010): a little patience finds the better place, and its end keeps everybody busy.

use std::collections::{BTreeMap, HashMap};
use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::explanation::{Considered, Explanation, Reason, Refusal, Term};
use super::{Load, Requirements, Task, TaskSpec};
use crate::id::{NodeId, TaskKind};
use crate::registry::{
    Eligibility, Liveness, LivenessPolicy, Metered, Node, NodeRecord, PowerPolicy,
};
use crate::time::Timestamp;

/// How nodes are weighed for a task.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlacementPolicy {
    /// Weight of the quality score. Default 0.25.
    pub quality: f64,
    /// Weight of free slots. Default 0.4: spreading work is what shortens waiting most.
    pub headroom: f64,
    /// Weight of mains power or battery. Default 0.25.
    pub energy: f64,
    /// Weight of a low price. Default 0.1.
    pub price: f64,
    /// A better score that is ahead by no more than this is not worth waiting for. Default 0.1.
    pub tolerance: f64,
    /// How long a task that could run waits for a better node to ask. Default 50 ms: some polls
    /// of an idle worker.
    pub patience: Duration,
}

impl Default for PlacementPolicy {
    fn default() -> Self {
        Self {
            quality: 0.25,
            headroom: 0.4,
            energy: 0.25,
            price: 0.1,
            tolerance: 0.1,
            patience: Duration::from_millis(50),
        }
    }
}

impl PlacementPolicy {
    const fn weights(&self) -> [(Term, f64); 4] {
        [
            (Term::Quality, self.quality),
            (Term::Headroom, self.headroom),
            (Term::Energy, self.energy),
            (Term::Price, self.price),
        ]
    }
}

/// A node as placement sees it: its record, judged at one point in time.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The registration.
    pub node: Arc<Node>,
    /// Whether it can be counted on.
    pub liveness: Liveness,
    /// Whether its power state lets it work.
    pub eligibility: Eligibility,
    /// Its quality, 0–100.
    pub quality: f64,
    /// How much its results are worth, 0–1; see [`Trust`](super::replicas::Trust).
    pub trust: f64,
    /// Mains power (1) or what is left of the battery (up to 0.5), 0–1.
    pub energy: f64,
}

impl Candidate {
    /// The node of `record`, judged at `now`.
    #[must_use]
    pub fn judge(
        record: &NodeRecord,
        now: Timestamp,
        liveness: LivenessPolicy,
        power: &PowerPolicy,
    ) -> Self {
        let state = record.heartbeat.as_ref().and_then(|beat| beat.power);
        let energy = match state.and_then(|state| Some((state.charging, state.battery?))) {
            // A full battery is still worth less than a socket: it is wanted for other things.
            Some((false, battery)) => battery.get() / 200.0,
            Some((true, _)) | None => 1.0,
        };
        Self {
            node: Arc::new(record.node.clone()),
            liveness: record.liveness(now, liveness),
            eligibility: record.eligibility(now, power),
            quality: record.quality(),
            trust: 1.0,
            energy,
        }
    }

    /// Why this node cannot run such tasks as long as it is what it is, whatever its load.
    #[must_use]
    pub fn never(&self, kind: &TaskKind, needs: &Requirements) -> Option<Refusal> {
        if self.liveness != Liveness::Online {
            return Some(Refusal::NotOnline { liveness: self.liveness });
        }
        if let Err(reason) = self.eligibility {
            return Some(Refusal::Ineligible { reason });
        }
        if !self.node.serves.contains(kind) {
            return Some(Refusal::KindNotServed);
        }
        if let Some(key) = needs.labels.iter().find_map(|(key, value)| {
            (self.node.labels.get(key) != Some(value)).then(|| key.clone())
        }) {
            return Some(Refusal::LabelMissing { key });
        }
        if needs.region.as_ref().is_some_and(|region| *region != self.node.region) {
            return Some(Refusal::WrongRegion { region: self.node.region.clone() });
        }
        if needs.min_quality.is_some_and(|least| self.quality < least.get()) {
            return Some(Refusal::QualityTooLow { quality: self.quality });
        }
        self.too_little(needs, &Load::default())
    }

    /// Why this node cannot run such a task beside its `load` now.
    #[must_use]
    pub fn not_now(&self, needs: &Requirements, load: &Load) -> Option<Refusal> {
        if load.tasks >= self.node.slots {
            return Some(Refusal::NoFreeSlot { slots: self.node.slots });
        }
        self.too_little(needs, load)
    }

    /// Whether this node can run such a task beside its `load` now.
    #[must_use]
    pub fn has_room_for(&self, spec: &TaskSpec, load: &Load) -> bool {
        self.never(&spec.kind, &spec.requirements).is_none()
            && self.not_now(&spec.requirements, load).is_none()
    }

    fn too_little(&self, needs: &Requirements, load: &Load) -> Option<Refusal> {
        let has = &self.node.resources;
        let wanted = [
            ("cpu_cores", needs.cpu_cores.into(), has.cpu_cores.into(), load.cpu_cores.into()),
            ("memory_mib", needs.memory_mib, has.memory_mib, load.memory_mib),
            ("storage_mib", needs.storage_mib, has.storage_mib, load.storage_mib),
            ("bandwidth_mbps", needs.bandwidth_mbps.into(), has.bandwidth_mbps.into(), 0),
            ("gpus", needs.gpus.count.into(), needs.fitting_gpus(has).into(), load.gpus.into()),
        ];
        wanted.into_iter().find_map(|(resource, needed, total, taken): (_, u64, u64, u64)| {
            let free = total.saturating_sub(taken);
            let resource = || resource.to_owned();
            (needed > free).then(|| Refusal::TooLittle { resource: resource(), needed, free })
        })
    }
}

/// Weighs one asker against its rivals, task by task, while the asker's load grows.
#[derive(Debug)]
pub struct Matcher {
    /// The asker first.
    candidates: Vec<(Candidate, Load)>,
    policy: PlacementPolicy,
    cheapest: f64,
    now: Timestamp,
    left_to_others: u32,
}

/// What comes of offering a task to an asker.
#[derive(Debug)]
pub enum Offer {
    /// It should have the task, and this is why; its load has grown by it.
    Taken(Box<Explanation>),
    /// Not this task, but perhaps another.
    Unfit,
    /// No more tasks: its slots are taken, or others are better for all that is offered.
    Enough,
}

/// So many tasks left to better nodes say that the next ones will be, too: looking through the
/// whole queue for an exception would cost more than the short wait for those nodes.
const LEFT_TO_OTHERS: u32 = 4;

impl Matcher {
    /// A matcher over `asker` and `rivals`, each with its present load.
    #[must_use]
    pub fn new<S: std::hash::BuildHasher>(
        asker: Candidate,
        rivals: Vec<Candidate>,
        loads: &HashMap<NodeId, Load, S>,
        policy: PlacementPolicy,
        now: Timestamp,
    ) -> Self {
        let with_load = |candidate: Candidate| {
            let load = loads.get(&candidate.node.id).copied().unwrap_or_default();
            (candidate, load)
        };
        let own = asker.node.id.clone();
        let rivals = rivals.into_iter().filter(|rival| rival.node.id != own);
        let candidates: Vec<_> = std::iter::once(asker).chain(rivals).map(with_load).collect();
        let prices = candidates.iter().map(|(candidate, _)| price_of_a_second(&candidate.node));
        let cheapest = prices.fold(f64::INFINITY, f64::min);
        Self { candidates, policy, cheapest, now, left_to_others: 0 }
    }

    /// Offers the task to the asker.
    pub fn offer(&mut self, task: &Task) -> Offer {
        if task.spec.deadline.is_some_and(|deadline| deadline <= self.now) {
            return Offer::Unfit;
        }
        let considered: Vec<_> = self
            .candidates
            .iter()
            .map(|(candidate, load)| self.consider(candidate, load, task))
            .collect();
        let Some((asker, rivals)) = considered.split_first() else { return Offer::Enough };
        match asker.refused {
            Some(Refusal::NoFreeSlot { .. }) => return Offer::Enough,
            Some(_) => return Offer::Unfit,
            None => {}
        }
        let fit = rivals.iter().filter(|rival| rival.refused.is_none());
        let best = fit.map(|rival| rival.score).reduce(f64::max);
        let reason = match best {
            None => Reason::OnlyCandidate,
            Some(best) if best <= asker.score => Reason::BestScore,
            Some(best) if best - asker.score <= self.policy.tolerance => Reason::CloseEnough,
            Some(_) if self.now.since(task.ready_at) >= self.policy.patience => {
                Reason::PatienceOver
            }
            Some(_) => {
                self.left_to_others += 1;
                let enough = self.left_to_others >= LEFT_TO_OTHERS;
                return if enough { Offer::Enough } else { Offer::Unfit };
            }
        };
        let chosen = asker.node.clone();
        if let Some((_, load)) = self.candidates.first_mut() {
            *load = load.plus(&task.spec.requirements);
        }
        let weights = self.policy.weights().into();
        let explanation = Explanation { chosen, reason, weights, considered, at: self.now };
        Offer::Taken(Box::new(explanation))
    }

    fn consider(&self, candidate: &Candidate, load: &Load, task: &Task) -> Considered {
        let node = candidate.node.id.clone();
        let needs = &task.spec.requirements;
        let refused =
            candidate.never(&task.spec.kind, needs).or_else(|| candidate.not_now(needs, load));
        if refused.is_some() {
            return Considered { node, refused, terms: BTreeMap::new(), score: 0.0 };
        }
        let slots = f64::from(candidate.node.slots.max(1));
        let price = price_of_a_second(&candidate.node);
        let cheapness = match price {
            0.0 => 1.0,
            f64::INFINITY => 0.0,
            price => self.cheapest / price,
        };
        let headroom = 1.0 - f64::from(load.tasks) / slots;
        let terms = [
            (Term::Quality, candidate.quality / 100.0),
            (Term::Headroom, headroom),
            (Term::Energy, candidate.energy),
            (Term::Price, cheapness),
        ];
        let weighted = terms.iter().zip(self.policy.weights());
        let score = weighted.map(|((_, value), (_, weight))| value * weight).sum();
        let terms = terms.into();
        Considered { node, refused: None, terms, score }
    }
}

/// A second of one core, which is the least that can be said of most tasks.
const SECOND: Metered = Metered {
    busy_micros: 1_000_000,
    cpu_micros: 1_000_000,
    memory_mib_millis: 0,
    gpu_micros: 0,
    bytes: 0,
};

/// What a node asks for a task of one second that moves nothing: what prices can be compared by
/// before the work is known. A ratio of two of them is all that is used, so a float will do.
fn price_of_a_second(node: &Node) -> f64 {
    node.rates.price(&SECOND).map_or(f64::INFINITY, |price| price.base_units() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amount::Amount;
    use crate::id::TaskId;
    use crate::registry::Ineligible;
    use crate::scheduler::TaskSpec;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn candidate(name: &str) -> Candidate {
        let mut node = Node::new(name.parse().unwrap());
        node.serves.insert("add".parse().unwrap());
        node.slots = 2;
        node.resources.memory_mib = 100;
        let record = NodeRecord::new(node, NOW);
        Candidate::judge(&record, NOW, LivenessPolicy::default(), &PowerPolicy::default())
    }

    fn task(change: impl FnOnce(&mut TaskSpec)) -> Task {
        let mut spec = TaskSpec::new("add".parse().unwrap());
        change(&mut spec);
        Task::new(TaskId::derive(b"t", "task"), Arc::new(spec), [0; 32], NOW)
    }

    fn matcher(asker: Candidate, rivals: Vec<Candidate>, after: Duration) -> Matcher {
        let now = NOW.saturating_add(after);
        Matcher::new(asker, rivals, &HashMap::new(), PlacementPolicy::default(), now)
    }

    fn taken(offer: Offer) -> Option<Explanation> {
        match offer {
            Offer::Taken(explanation) => Some(*explanation),
            Offer::Unfit | Offer::Enough => None,
        }
    }

    #[test]
    fn the_asker_wins_against_equals_and_its_slots_run_out() {
        let mut matcher = matcher(candidate("a"), vec![candidate("b")], Duration::from_secs(1));
        let first = taken(matcher.offer(&task(|_| {}))).unwrap();
        assert_eq!((first.chosen.as_str(), first.reason), ("a", Reason::BestScore));
        assert_eq!(taken(matcher.offer(&task(|_| {}))).unwrap().reason, Reason::PatienceOver);
        assert!(taken(matcher.offer(&task(|_| {}))).is_none());
    }

    #[test]
    fn a_clearly_worse_asker_waits_for_the_better_one_but_not_for_long() {
        let phone = Candidate { energy: 0.1, ..candidate("phone") };
        let ask = |after| {
            let rivals = vec![candidate("box")];
            taken(matcher(phone.clone(), rivals, after).offer(&task(|_| {})))
        };
        assert!(ask(Duration::from_millis(49)).is_none());
        let late = ask(Duration::from_millis(50)).unwrap();
        assert_eq!(late.reason, Reason::PatienceOver);
        assert!(late.considered[1].score > late.considered[0].score);
    }

    #[test]
    fn a_better_rival_that_cannot_take_the_task_is_not_waited_for() {
        let phone = Candidate { energy: 0.1, ..candidate("phone") };
        let asleep = Candidate { eligibility: Err(Ineligible::UserActive), ..candidate("box") };
        let given =
            taken(matcher(phone, vec![asleep], Duration::ZERO).offer(&task(|_| {}))).unwrap();
        assert_eq!(given.reason, Reason::OnlyCandidate);
        let refused = given.considered[1].refused.as_ref().unwrap();
        assert_eq!(refused.to_string(), "may not work now (user_active)");
    }

    #[test]
    fn every_filter_names_what_is_missing() {
        type Change = fn(&mut TaskSpec);
        let cases: [(Change, &str); 6] = [
            (|s| s.kind = "sub".parse().unwrap(), "does not serve this kind"),
            (|s| s.requirements.memory_mib = 101, "memory_mib: needs 101, 100 free"),
            (|s| s.requirements.gpus.count = 1, "gpus: needs 1, 0 free"),
            (|s| s.requirements.region = Some("eu".into()), "stands in \"\""),
            (
                |s| drop(s.requirements.labels.insert("os".into(), "linux".into())),
                "label os does not match",
            ),
            (
                |s| s.requirements.min_quality = crate::registry::Percent::new(99.0).ok(),
                "quality is only 75.12",
            ),
        ];
        for (change, message) in cases {
            let spec = task(change).spec;
            let refusal = candidate("a").never(&spec.kind, &spec.requirements).unwrap();
            assert_eq!(refusal.to_string(), message);
        }
    }

    #[test]
    fn running_tasks_take_their_memory() {
        let mut matcher = matcher(candidate("a"), vec![], Duration::ZERO);
        let large = task(|spec| spec.requirements.memory_mib = 60);
        assert!(taken(matcher.offer(&large)).is_some());
        assert!(taken(matcher.offer(&large)).is_none());
        assert!(taken(matcher.offer(&task(|spec| spec.requirements.memory_mib = 40))).is_some());
    }

    #[test]
    fn the_cheaper_of_two_equals_scores_higher() {
        let mut dear = candidate("dear");
        let rates = &mut Arc::make_mut(&mut dear.node).rates;
        rates.per_task = Amount::from_base_units(10);
        let mut cheap = candidate("cheap");
        Arc::make_mut(&mut cheap.node).rates.per_task = Amount::from_base_units(5);
        let given = taken(matcher(dear, vec![cheap], Duration::ZERO).offer(&task(|_| {}))).unwrap();
        assert_eq!(given.reason, Reason::CloseEnough);
        assert!(given.considered[1].score - given.considered[0].score > 0.04);
    }
}
