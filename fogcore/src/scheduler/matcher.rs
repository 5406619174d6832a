//! Filter, score, choose: is the node that asks for a task the one that should have it?
//!
//! Nodes pull, so a node that cannot reach us is never waited for. But the first to ask is not
//! always the best: for each task the asker is weighed against some rivals, and a clearly worse
//! asker leaves the task to them – for a short while. This is delay scheduling (Zaharia et al.,
//! EuroSys 2010): a little patience finds the better place, and its end keeps everybody busy.
//!
//! Filters and scores are those of [`policy`](super::policy), which the
//! [`Cluster`](super::Cluster) goes by, too.

use std::collections::{BTreeMap, HashMap};

use super::explanation::{Considered, Explanation, Reason, Refusal, Term};
use super::policy::{Merit, Scale, Score, Seen, Vitals, Wish, comparable};
use super::{Candidate, Load, Neighbours, PlacementPolicy, Task, TaskSpec};
use crate::id::{NodeId, TaskKind};
use crate::time::Timestamp;

/// Weighs one asker against its rivals, task by task, while the asker's load grows.
#[derive(Debug)]
pub struct Matcher {
    /// The asker first.
    pub(super) candidates: Vec<(Candidate, Load)>,
    pub(super) neighbours: Neighbours,
    policy: PlacementPolicy,
    scale: Scale,
    /// Whether it is known of any of them how long it stays.
    may_leave: bool,
    pub(super) now: Timestamp,
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
    /// A matcher over `asker` and `rivals`, each with its present load and neighbours.
    #[must_use]
    pub fn new<S: std::hash::BuildHasher>(
        asker: Candidate,
        rivals: Vec<Candidate>,
        loads: &HashMap<NodeId, Load, S>,
        neighbours: Neighbours,
        policy: PlacementPolicy,
        now: Timestamp,
    ) -> Self {
        let with_load = |candidate: Candidate| {
            let load = loads.get(&candidate.node.id).cloned().unwrap_or_default();
            (candidate, load)
        };
        let own = asker.node.id.clone();
        let rivals = rivals.into_iter().filter(|rival| rival.node.id != own);
        let candidates = std::iter::once(asker).chain(rivals).map(with_load).collect();
        Self::over(candidates, neighbours, policy, now)
    }

    pub(super) fn over(
        candidates: Vec<(Candidate, Load)>,
        neighbours: Neighbours,
        policy: PlacementPolicy,
        now: Timestamp,
    ) -> Self {
        let all = || candidates.iter().map(|(candidate, _)| candidate);
        let prices = all().map(|candidate| comparable(candidate.vitals().price));
        let scale = Scale {
            cheapest: prices.fold(f64::INFINITY, f64::min),
            // Who is faster by less than a task would wait for him is not worth waiting for.
            begins: policy.patience.as_secs_f64(),
            ..Scale::default()
        };
        let may_leave = all().any(|candidate| candidate.stays_seconds.is_finite());
        Self { candidates, neighbours, policy, scale, may_leave, now, left_to_others: 0 }
    }

    /// What tasks of this kind are measured by.
    pub(super) fn scale_for(&self, kind: &TaskKind) -> Scale {
        let speeds = self.candidates.iter().map(|(candidate, _)| candidate.speed_for(kind));
        let mut paces = self.candidates.iter().filter_map(|(one, _)| one.paces.get(kind));
        Scale {
            fastest: speeds.fold(f64::MIN_POSITIVE, f64::max),
            seconds: paces.next().map_or(self.scale.seconds, |pace| pace.usual_seconds),
            ..self.scale
        }
    }

    /// Offers the task to the asker.
    pub fn offer(&mut self, task: &Task) -> Offer {
        if task.spec.deadline.is_some_and(|deadline| deadline <= self.now) {
            return Offer::Unfit;
        }
        let scale = self.scale_for(&task.spec.kind);
        let weights: Vec<_> = self.weights(&task.spec, &scale).collect();
        let considered: Vec<_> = self
            .candidates
            .iter()
            .map(|(candidate, load)| self.consider(candidate, load, &task.spec, &weights, &scale))
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
        let needs = &task.spec.requirements;
        let mut explanation = Explanation::new(reason, self.now);
        explanation.chosen = Some(asker.node.clone());
        explanation.weights =
            weights.into_iter().map(|(merit, weight)| (merit.term(), weight)).collect();
        explanation.tell_of_others(&considered);
        explanation.considered = considered;
        if let Some((asker, load)) = self.candidates.first_mut() {
            explanation.devices = asker.devices_for(needs, load);
            load.add(needs, &explanation.devices);
            if let Some(apart) = &needs.apart {
                self.neighbours.add(apart, &asker.node, 1);
            }
        }
        Offer::Taken(Box::new(explanation))
    }

    /// The terms that make a difference for such a task: the others would be the same for all.
    pub(super) fn weights(
        &self,
        spec: &TaskSpec,
        scale: &Scale,
    ) -> impl Iterator<Item = (Merit, f64)> {
        let (needs, stay) = (&spec.requirements, self.may_leave);
        let mut speeds =
            self.candidates.iter().map(|(candidate, _)| candidate.speed_for(&spec.kind));
        let speed = speeds.any(|speed| speed < scale.fastest);
        let (near, preferred) = (!needs.near.is_empty(), !needs.preferred.is_empty());
        let matters = move |merit: &Merit| match merit {
            Merit::Speed => speed,
            Merit::Stay => stay,
            Merit::Locality => near,
            Merit::Preference => preferred,
            _ => true,
        };
        self.policy.weights().into_iter().filter(move |(merit, _)| matters(merit))
    }

    pub(super) fn consider(
        &self,
        candidate: &Candidate,
        load: &Load,
        spec: &TaskSpec,
        weights: &[(Merit, f64)],
        scale: &Scale,
    ) -> Considered {
        let node = candidate.node.id.clone();
        let needs = &spec.requirements;
        let refused = candidate
            .never(&spec.kind, needs)
            .or_else(|| candidate.not_now(needs, load, &self.neighbours));
        if refused.is_some() {
            return Considered { node, refused, terms: BTreeMap::new(), score: 0.0 };
        }
        let wish = Wish { kind: Some(&spec.kind), needs };
        let terms: BTreeMap<Term, f64> = candidate.with_room(needs, load, 0, |seen| {
            let speed = candidate.speed_for(&spec.kind);
            let seen = Seen { vitals: Vitals { speed, ..seen.vitals }, ..*seen };
            let value = |(merit, _): &(Merit, f64)| merit.value(&wish, &seen, scale);
            weights.iter().map(|weighed| (weighed.0.term(), value(weighed))).collect()
        });
        let score = weights
            .iter()
            .map(|(merit, weight)| terms.get(&merit.term()).copied().unwrap_or_default() * weight)
            .sum();
        Considered { node, refused: None, terms, score }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::amount::Amount;
    use crate::id::TaskId;
    use crate::registry::{Ineligible, LivenessPolicy, Node, NodeRecord, PowerPolicy};
    use crate::scheduler::TaskSpec;
    use crate::scheduler::policy::Experience;

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
        Matcher::new(
            asker,
            rivals,
            &HashMap::new(),
            Neighbours::default(),
            PlacementPolicy::default(),
            now,
        )
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
        let chosen = first.chosen.unwrap();
        assert_eq!((chosen.as_str(), first.reason), ("a", Reason::BestScore));
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
                |s| s.requirements.required.push(crate::scheduler::Selector::is("os", "linux")),
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

    #[test]
    fn what_was_seen_of_nodes_decides_by_kind() {
        let mut seen = Experience::default();
        let (add, other) = ("add".parse().unwrap(), "other".parse().unwrap());
        for _ in 0..20 {
            // By the work of other kinds, the asker is the better one.
            seen.ran(&add, &"a".parse().unwrap(), 40.0);
            seen.ran(&add, &"b".parse().unwrap(), 10.0);
            seen.ran(&other, &"a".parse().unwrap(), 1.0);
            seen.ran(&other, &"b".parse().unwrap(), 90.0);
        }
        let known = |name| candidate(name).with_experience(&seen, NOW);
        assert!(known("a").speed > known("b").speed);
        let ask = |after| {
            let rivals = vec![known("b")];
            taken(matcher(known("a"), rivals, after).offer(&task(|_| {})))
        };
        assert!(ask(Duration::ZERO).is_none());
        let late = ask(Duration::from_millis(50)).unwrap();
        assert_eq!(late.reason, Reason::PatienceOver);
        let speed = |place: usize| late.considered[place].terms[&Term::Speed];
        assert!((speed(1) - 1.0).abs() < 1e-9 && (0.2..0.4).contains(&speed(0)), "{}", speed(0));
    }

    #[test]
    fn a_faster_node_is_not_waited_for_with_what_is_soon_done() {
        let mut seen = Experience::default();
        let kind = "add".parse().unwrap();
        for _ in 0..20 {
            seen.ran(&kind, &"a".parse().unwrap(), 0.004);
            seen.ran(&kind, &"b".parse().unwrap(), 0.001);
        }
        let known = |name| candidate(name).with_experience(&seen, NOW);
        let offer = matcher(known("a"), vec![known("b")], Duration::ZERO).offer(&task(|_| {}));
        assert_eq!(taken(offer).unwrap().reason, Reason::CloseEnough);
    }

    #[test]
    fn long_tasks_go_to_those_who_stay_and_short_ones_to_anybody() {
        let mut seen = Experience::default();
        seen.stayed(&"a".parse().unwrap(), 600.0);
        let kind = "add".parse().unwrap();
        let mut asks = |seconds: f64| {
            (0..30).for_each(|_| seen.ran(&kind, &"b".parse().unwrap(), seconds));
            let known = |name| candidate(name).with_experience(&seen, NOW);
            let matcher = matcher(known("a"), vec![known("b")], Duration::ZERO);
            let scale = matcher.scale_for(&kind);
            let stay = |one: &Candidate| {
                let (load, task) = (Load::default(), task(|_| {}));
                let terms = matcher.consider(one, &load, &task.spec, &[(Merit::Stay, 1.0)], &scale);
                terms.terms[&Term::Stay]
            };
            matcher.candidates.iter().map(|(one, _)| stay(one)).collect::<Vec<_>>()
        };
        let short = asks(6.0);
        assert!(short[0] > 0.98 && short[1] > 0.999, "{short:?}");
        let long = asks(6_000.0);
        assert!(long[0] < 0.1 && long[1] > 0.999, "{long:?}");
    }

    #[test]
    fn heat_takes_from_the_energy_that_a_node_has_to_spare() {
        use crate::registry::{Celsius, Heartbeat, PowerState};
        let warm = |degrees: f64| {
            let mut record = NodeRecord::new(Node::new("a".parse().unwrap()), NOW);
            let temperature = Some(Celsius::new(degrees).unwrap());
            let power = PowerState { charging: true, temperature, ..PowerState::default() };
            record.heartbeat = Some(Heartbeat { power: Some(power), ..Heartbeat::default() });
            let policy = PowerPolicy::default();
            Candidate::judge(&record, NOW, LivenessPolicy::default(), &policy).energy
        };
        let warm = [30.0, 45.0, 50.0, 60.0].map(|degrees| warm(degrees).to_string());
        assert_eq!(warm, ["1", "1", "0.5", "0"]);
    }
}
