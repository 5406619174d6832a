//! Why a task would go where it would go, or why it waits: all nodes at once, before any has asked.
//!
//! It goes by what a [`Matcher`] goes by, so what it says is what will be decided, as far as the
//! same nodes ask.

use super::explanation::{Explanation, Reason, Refusal, Relaxation};
use super::policy::{Filter, Score, Standard, Wish};
use super::{Candidate, Load, Matcher, Neighbours, PlacementPolicy, TaskSpec};
use crate::time::Timestamp;

/// What would be decided for such a task now, and why: how many of these nodes each filter refuses
/// (by the first reason of each), the best `top` with every term, how far the second is behind, and
/// if nothing fits, the least that stands in its way anywhere.
///
/// ```
/// use fogcore::registry::{LivenessPolicy, Node, NodeRecord, PowerPolicy};
/// use fogcore::scheduler::{Candidate, PlacementPolicy, TaskSpec, survey};
/// use fogcore::time::Timestamp;
///
/// let now = Timestamp::UNIX_EPOCH;
/// let nodes = [("small", 100), ("large", 900)].map(|(name, memory_mib)| {
///     let mut node = Node::new(name.parse().unwrap());
///     (node.slots, node.resources.memory_mib) = (1, memory_mib);
///     node.serves.insert("sort".parse().unwrap());
///     let record = NodeRecord::new(node, now);
///     let power = PowerPolicy::default();
///     (Candidate::judge(&record, now, LivenessPolicy::default(), &power), Default::default())
/// });
/// let mut spec = TaskSpec::new("sort".parse()?);
/// spec.requirements.memory_mib = 1_000;
/// let why = survey(nodes.to_vec(), &spec, PlacementPolicy::default(), 3, now);
/// assert_eq!(why.refused["resources"], 2);
/// assert_eq!(why.relaxation.unwrap().node.as_str(), "large");
/// # Ok::<(), fogcore::Error>(())
/// ```
#[must_use]
pub fn survey(
    nodes: Vec<(Candidate, Load)>,
    spec: &TaskSpec,
    policy: PlacementPolicy,
    top: usize,
    now: Timestamp,
) -> Explanation {
    let mut neighbours = Neighbours::default();
    if let Some(apart) = &spec.requirements.apart {
        nodes.iter().for_each(|(one, load)| neighbours.add(apart, &one.node, load.of_group(apart)));
    }
    let matcher = Matcher::over(nodes, neighbours, policy, now);
    let scale = matcher.scale_for(&spec.kind);
    let weights: Vec<_> = matcher.weights(spec, &scale).collect();
    let mut explanation = Explanation::new(Reason::NothingFits, now);
    explanation.weights = weights.iter().map(|(merit, weight)| (merit.term(), *weight)).collect();
    let mut fit = Vec::new();
    for (candidate, load) in &matcher.candidates {
        match matcher.refusals(candidate, load, spec).first() {
            Some((filter, _)) => {
                *explanation.refused.entry((*filter).to_owned()).or_default() += 1;
            }
            None => {
                let considered = matcher.consider(candidate, load, spec, &weights, &scale);
                fit.push((considered, candidate, load));
            }
        }
    }
    fit.sort_by(|(a, ..), (b, ..)| b.score.total_cmp(&a.score).then(a.node.cmp(&b.node)));
    let Some((best, candidate, load)) = fit.first() else {
        let nodes = matcher.candidates.iter();
        explanation.relaxation = Relaxation::least(nodes.map(|(candidate, load)| {
            let refusals = matcher.refusals(candidate, load, spec);
            let refusals = refusals.into_iter().map(|(_, refusal)| refusal).collect();
            (&candidate.node.id, refusals)
        }));
        return explanation;
    };
    explanation.reason = if fit.len() == 1 { Reason::OnlyCandidate } else { Reason::BestScore };
    explanation.chosen = Some(best.node.clone());
    explanation.devices = candidate.devices_for(&spec.requirements, load);
    let considered: Vec<_> = fit.into_iter().map(|(considered, ..)| considered).collect();
    explanation.tell_of_others(&considered);
    explanation.considered = considered;
    explanation.considered.truncate(top.max(1));
    explanation
}

impl Matcher {
    /// Everything that stands in the way of such a task on this node, with the filters' names.
    fn refusals(
        &self,
        candidate: &Candidate,
        load: &Load,
        spec: &TaskSpec,
    ) -> Vec<(&'static str, Refusal)> {
        let needs = &spec.requirements;
        let wish = Wish { kind: Some(&spec.kind), needs };
        let alike = candidate.alike(needs, load, &self.neighbours);
        candidate.with_room(needs, load, alike, |seen| {
            let all = Standard::ALL.iter();
            all.filter_map(|filter| Some((filter.name(), filter.refuse(&wish, seen)?))).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{LivenessPolicy, Node, NodeRecord, PowerPolicy};
    use crate::scheduler::Offer;
    use crate::scheduler::policy::Experience;
    use crate::{id::TaskId, scheduler::Task};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn candidate(name: &str, memory_mib: u64) -> (Candidate, Load) {
        let mut node = Node::new(name.parse().unwrap());
        node.serves.insert("add".parse().unwrap());
        (node.slots, node.resources.memory_mib) = (2, memory_mib);
        let record = NodeRecord::new(node, NOW);
        let power = PowerPolicy::default();
        (Candidate::judge(&record, NOW, LivenessPolicy::default(), &power), Load::default())
    }

    #[test]
    fn each_refusal_counts_once_and_a_full_node_is_not_the_one_to_change() {
        let mut spec = TaskSpec::new("add".parse().unwrap());
        spec.requirements.memory_mib = 600;
        let mut full = candidate("full", 500);
        full.1.tasks = 2;
        let nodes = vec![full, candidate("near", 500), candidate("far", 100)];
        let why = survey(nodes.clone(), &spec, PlacementPolicy::default(), 2, NOW);
        assert_eq!((why.reason, why.refused.values().sum::<u64>()), (Reason::NothingFits, 3));
        assert_eq!((why.refused["slots"], why.refused["resources"]), (1, 2));
        let relaxation = why.relaxation.unwrap();
        assert_eq!((relaxation.node.as_str(), relaxation.refusals.len()), ("near", 1));
    }

    #[test]
    fn it_says_what_will_be_decided() {
        let mut seen = Experience::default();
        let kind = "add".parse().unwrap();
        for (node, seconds) in [("a", 40.0), ("b", 10.0), ("c", 20.0)] {
            (0..20).for_each(|_| seen.ran(&kind, &node.parse().unwrap(), seconds));
        }
        let nodes = ["a", "b", "c"].map(|name| {
            let (candidate, load) = candidate(name, 100);
            (candidate.with_experience(&seen, NOW), load)
        });
        let spec = TaskSpec::new(kind);
        let policy = PlacementPolicy { tolerance: 0.0, ..PlacementPolicy::default() };
        let why = survey(nodes.to_vec(), &spec, policy, 2, NOW);
        let second = why.second.as_ref().unwrap();
        assert_eq!(
            (why.chosen.as_ref().unwrap().as_str(), second.node.as_str(), why.considered.len()),
            ("b", "c", 2)
        );
        assert!((why.considered[0].score - why.considered[1].score - second.behind).abs() < 1e-9);
        let task = Task::new(TaskId::derive(b"t", "task"), spec.into(), [0; 32], NOW);
        for asker in ["a", "b", "c"] {
            let (own, rivals): (Vec<_>, Vec<_>) =
                nodes.iter().cloned().partition(|(node, _)| node.node.id.as_str() == asker);
            let mut matcher =
                Matcher::over([own, rivals].concat(), Neighbours::default(), policy, NOW);
            let taken = matches!(matcher.offer(&task), Offer::Taken(_));
            assert_eq!(taken, asker == "b", "{asker}");
        }
    }
}
