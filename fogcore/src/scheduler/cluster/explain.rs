//! Why a task would go where it would go, or why it can go nowhere.
//!
//! An explanation looks at every node, so it is made when somebody asks, not with every decision.

use std::collections::BTreeMap;

use super::Cluster;
use super::node::Member;
use super::query::admitted;
use super::weigh::Query;
use crate::id::TaskKind;
use crate::scheduler::policy::{Filter, Standard, Wish, bounded};
use crate::scheduler::{
    Considered, Explanation, Reason, Refusal, Relaxation, Requirements, Second, Term,
};
use crate::time::Timestamp;

impl Cluster {
    /// What would be decided for such a task now, and why: how many nodes each filter refuses (by
    /// the first reason of each), the best `top` nodes with every term, how far the second is
    /// behind, and if nothing fits, the least that stands in its way anywhere.
    pub fn explain(
        &mut self,
        kind: Option<&TaskKind>,
        needs: &Requirements,
        top: usize,
        now: Timestamp,
    ) -> Explanation {
        let wish = Wish { kind, needs };
        let query = self.query(&wish);
        let mut explanation = Explanation::new(Reason::NothingFits, now);
        explanation.weights = self.weights();
        let mut fit = Vec::new();
        let mut dice = self.dice.clone();
        for (number, member) in (0..).zip(&self.members) {
            let Some(member) = member else { continue };
            if let Some((filter, _)) = self.refusals(&wish, number, member).next() {
                *explanation.refused.entry(filter.to_owned()).or_default() += 1;
                continue;
            }
            let Some(kept) = self.profiles.get(member.profile as usize) else { continue };
            let spot = self.spot(number, member, admitted(&wish, kept));
            let choice = self.choose(&wish, &query, &spot, kept, &mut dice);
            fit.push((choice.cost, number, choice.devices));
        }
        fit.sort_by(|(a, x, _), (b, y, _)| a.total_cmp(b).then(x.cmp(y)));
        let Some((least, _, devices)) = fit.first().copied() else {
            explanation.relaxation = self.relaxation(&wish);
            return explanation;
        };
        explanation.reason = if fit.len() == 1 { Reason::OnlyCandidate } else { Reason::BestScore };
        explanation.cost = Some(least);
        explanation.devices = (0..64).filter(|place| devices >> place & 1 == 1).collect();
        for (cost, number, _) in fit.iter().take(top.max(1)) {
            let Some(member) = self.member(*number) else { continue };
            explanation.considered.push(self.considered(&wish, &query, member, (*cost, least)));
        }
        explanation.chosen = explanation.considered.first().map(|best| best.node.clone());
        if let Some((cost, number, _)) = fit.get(1)
            && let Some(member) = self.member(*number)
        {
            explanation.second = Some(Second { node: member.id.clone(), behind: cost - least });
        }
        explanation
    }

    /// Everything that stands in the way of the wish on this node, with the filters' names.
    fn refusals<'a>(
        &'a self,
        wish: &'a Wish<'a>,
        number: u32,
        member: &'a Member,
    ) -> impl Iterator<Item = (&'static str, Refusal)> + 'a {
        let kept = self.profiles.get(member.profile as usize);
        let draining = member.draining.then_some(("draining", Refusal::Draining));
        let rest = kept.into_iter().flat_map(move |kept| {
            let seen = self.seen_by(wish.needs, number, member, kept);
            let standard = Standard::ALL.iter().map(|filter| filter as &dyn Filter);
            let own = self.filters.iter().map(|filter| &**filter);
            standard
                .chain(own)
                .filter_map(move |filter| Some((filter.name(), filter.refuse(wish, &seen)?)))
        });
        draining.into_iter().chain(rest)
    }

    fn weights(&self) -> BTreeMap<Term, f64> {
        self.fog_policy()
            .map_or_else(|| [(Term::Cost, 1.0)].into(), |policy| policy.weights().collect())
    }

    fn considered(
        &self,
        wish: &Wish<'_>,
        query: &Query,
        member: &Member,
        (cost, least): (f64, f64),
    ) -> Considered {
        let node = member.id.clone();
        let Some(kept) = self.profiles.get(member.profile as usize) else {
            return Considered { node, refused: None, terms: BTreeMap::new(), score: 0.0 };
        };
        let Some(policy) = self.fog_policy() else {
            let value = 1.0 / (1.0 + cost - least);
            let terms = [(Term::Cost, value)].into();
            return Considered { node, refused: None, terms, score: value };
        };
        let seen = self.seen_for(wish, query, member, kept);
        let scale = query.scale.as_ref().unwrap_or(&self.scale);
        let scores = policy.of_the_node.iter().chain(&policy.for_the_task);
        let mut terms: BTreeMap<Term, f64> = BTreeMap::new();
        let mut score = 0.0;
        for (each, weight) in scores {
            let value = bounded(&**each, wish, &seen, scale);
            score += weight * value;
            terms.insert(each.term(), value);
        }
        // What of the cost no term explains is the fit: 0.5 if nothing changes.
        let all: f64 = policy.weights().map(|(_, weight)| weight).sum::<f64>() - policy.fit;
        let fit = (all - score - cost) / policy.fit.max(f64::MIN_POSITIVE);
        let value = 1.0 / (1.0 + (-fit).exp());
        terms.insert(Term::Fit, value);
        Considered { node, refused: None, terms, score: score + policy.fit * value }
    }

    /// The node where least is in the way.
    fn relaxation(&self, wish: &Wish<'_>) -> Option<Relaxation> {
        let members = (0..).zip(&self.members);
        Relaxation::least(members.filter_map(|(number, member)| {
            let member = member.as_ref()?;
            let refusals = self.refusals(wish, number, member).map(|(_, refusal)| refusal);
            Some((&member.id, refusals.collect()))
        }))
    }
}
