//! The fog's own policy: what a node is worth, by itself and for the kind of work in hand.

use super::Cluster;
use super::node::{Kept, Member};
use super::weigh::{Choice, Query, Spot};
use super::{ClusterError, measure::narrow};
use crate::id::{NodeId, TaskKind};
use crate::scheduler::policy::{
    Experience, FogPolicy, Policy, Scale, Score, Seen, Vitals, Wish, bounded,
};
use crate::scheduler::{Requirements, Term};
use crate::time::Timestamp;

impl Cluster {
    /// What its nodes were seen to do.
    #[must_use]
    pub const fn experience(&self) -> &Experience {
        &self.experience
    }

    /// A node took so long, in seconds, for a task of this kind. Where the fog's own policy decides,
    /// tasks of the kind go by it from now on, and others by how fast the node is over all.
    ///
    /// # Errors
    /// [`ClusterError::UnknownNode`].
    pub fn ran(&mut self, kind: &TaskKind, id: &NodeId, seconds: f64) -> Result<(), ClusterError> {
        let number = self.number(id)?;
        self.experience.ran(kind, id, seconds);
        self.learn(number);
        Ok(())
    }

    /// A node is there from now on, and its stay begins. That it gets tasks is told by
    /// [`observe`](Self::observe) or [`undrain`](Self::undrain).
    ///
    /// # Errors
    /// [`ClusterError::UnknownNode`].
    pub fn came(&mut self, id: &NodeId, at: Timestamp) -> Result<(), ClusterError> {
        let number = self.number(id)?;
        self.experience.came(id, at);
        self.told_at = self.told_at.max(at);
        self.learn(number);
        Ok(())
    }

    /// A node has left, and its stay is over.
    ///
    /// # Errors
    /// [`ClusterError::UnknownNode`].
    pub fn left(&mut self, id: &NodeId, at: Timestamp) -> Result<(), ClusterError> {
        let number = self.number(id)?;
        self.experience.left(id, at);
        self.told_at = self.told_at.max(at);
        self.learn(number);
        Ok(())
    }

    /// The node's vitals follow from what was told of it and what was seen of it.
    pub(super) fn learn(&mut self, number: u32) {
        let Some(Some(member)) = self.members.get_mut(number as usize) else { return };
        let vitals = self.experience.applied(&member.id, member.told, self.told_at);
        member.vitals = vitals;
        let rescaled = self.rescale(&vitals);
        self.value(number);
        if rescaled {
            self.settle_all();
        } else {
            self.settle(number);
        }
    }

    /// The weights of the policy, if it has any.
    pub(super) fn fog_policy(&self) -> Option<&FogPolicy> {
        match &self.policy {
            Policy::Fog => Some(&self.scratch.fog),
            Policy::Weighted(policy) => Some(policy),
            _ => None,
        }
    }

    /// What a node is worth by itself.
    pub(super) fn merit(&self, m: &Member) -> f32 {
        let kept = self.profiles.get(m.profile as usize);
        let Some((policy, kept)) = self.fog_policy().zip(kept) else { return 0.0 };
        let needs = Requirements::default();
        let (wish, seen) = (Wish { kind: None, needs: &needs }, m.seen(kept, 0));
        narrow(worth(policy, &wish, &seen, &self.scale))
    }

    /// What all nodes together could be worth at most: the sum of the weights.
    pub(super) fn merits(&self) -> f64 {
        let policy = self.fog_policy();
        policy.map_or(0.0, |policy| policy.of_the_node.iter().map(|(_, weight)| weight).sum())
    }

    /// By how much more than by itself a node may be worth for a kind, at most.
    pub(super) fn doubt(&self, query: &Query) -> f64 {
        let Some(policy) = self.fog_policy().filter(|_| query.scale.is_some()) else { return 0.0 };
        let same = |score: &dyn Score| {
            matches!(score.term(), Term::Energy | Term::Price | Term::Quality | Term::Headroom)
        };
        let scores = policy.of_the_node.iter().filter(|(score, _)| !same(&**score));
        scores.map(|(_, weight)| weight).sum()
    }

    /// What tasks of the kind are measured by, if it is known how long they take.
    pub(super) fn scale_for(&self, kind: Option<&TaskKind>) -> Option<Scale> {
        let (kind, _) = kind.zip(self.fog_policy())?;
        let (fastest, seconds) = self.experience.usual(kind)?;
        Some(Scale { fastest: fastest.max(f64::MIN_POSITIVE), seconds, ..self.scale })
    }

    /// The node as it is for the wish.
    pub(super) fn seen_for<'a>(
        &self,
        wish: &Wish<'_>,
        query: &Query,
        member: &'a Member,
        kept: &'a Kept,
    ) -> Seen<'a> {
        let seen = member.seen(kept, 0);
        let Some(kind) = wish.kind.filter(|_| query.scale.is_some()) else { return seen };
        let speed = self.experience.speed(kind, &member.id, member.told.speed);
        Seen { vitals: Vitals { speed, ..seen.vitals }, ..seen }
    }

    pub(super) fn fog(
        &self,
        policy: &FogPolicy,
        wish: &Wish<'_>,
        query: &Query,
        spot: &Spot<'_>,
        kept: &Kept,
    ) -> Choice {
        let fit = spot.thrift(query);
        let seen = self.seen_for(wish, query, spot.member, kept);
        let scale = query.scale.as_ref().unwrap_or(&self.scale);
        let mut cost = self.merits()
            - match &query.scale {
                Some(scale) => worth(policy, wish, &seen, scale),
                None => f64::from(spot.member.merit),
            };
        let particular = !wish.needs.near.is_empty() || !wish.needs.preferred.is_empty();
        for (score, weight) in &policy.for_the_task {
            // Whoever wants nothing of the kind has it everywhere.
            if particular || !matches!(score.term(), Term::Locality | Term::Preference) {
                cost += weight * (1.0 - bounded(&**score, wish, &seen, scale));
            }
        }
        Choice { cost: cost + policy.fit / 1_000.0 * fit.cost, devices: fit.devices }
    }
}

/// The sum of what the scores that do not depend on the task make of the node.
fn worth(policy: &FogPolicy, wish: &Wish<'_>, seen: &Seen<'_>, scale: &Scale) -> f64 {
    let scores = policy.of_the_node.iter();
    scores.map(|(score, weight)| weight * bounded(&**score, wish, seen, scale)).sum()
}
