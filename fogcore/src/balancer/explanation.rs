//! Why a node was picked: who came into question, by which terms, and who did not, and why.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::balancer::Balancer;
use super::dice::Dice;
use super::meter::{
    AWAY, BREAKERS, DRAINING, EJECTED, INELIGIBLE, LATE, NO_SHARE, RESTING, UNHEALTHY, UNWELL,
    breaker_bit,
};
use super::permit::{Held, Permit};
use super::request::Request;
use super::slot::{Record, Slot};
use super::status::NoNode;
use super::strategy::Strategy;
use super::table::Member;
use super::view::{Candidate, View};
use crate::failover::words::nanos;
use crate::id::NodeId;
use crate::registry::Ineligible;

/// How many names an explanation gives for each reason.
const EXAMPLES: usize = 8;

/// Why a node gets no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Hindrance {
    /// It ends what it has, and takes nothing new.
    Draining,
    /// It may not work, for the reason that the registry gave.
    Ineligible,
    /// It is expected to be away.
    Away,
    /// It asked for a rest.
    Resting,
    /// Its health probes fail.
    Unhealthy,
    /// Its heartbeat is late.
    Late,
    /// It does far worse than the others.
    Ejected,
    /// Its breaker for this request class is open.
    BreakerOpen,
    /// Its breaker for this request class tries it out, with as many requests as it may.
    BreakerTrying,
    /// It has as many requests in flight as it takes.
    Full,
    /// The request must not go there.
    Excepted,
}

impl Hindrance {
    /// Whether it only says that a node does not do well.
    const fn is_ignored_in_panic(self) -> bool {
        let unwell = matches!(self, Self::Unhealthy | Self::Late | Self::Ejected);
        unwell || matches!(self, Self::BreakerOpen | Self::BreakerTrying)
    }
}

/// Nodes of the scope that get no request, for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filtered {
    /// The reason; the first one, if there are several.
    pub hindrance: Hindrance,
    /// Why they may not work, if that is the reason.
    pub ineligible: Option<Ineligible>,
    /// How many they are.
    pub count: u32,
    /// Some of them, at most eight.
    pub examples: Vec<NodeId>,
}

/// A part of a node's cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WeighedTerm {
    /// What it is.
    pub name: String,
    /// How much it is.
    pub value: f64,
}

/// A node that was weighed, as it was then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weighed {
    /// The node.
    pub node: NodeId,
    /// Its weight.
    pub weight: u32,
    /// How much of its weight it got, 0–1: slow start, battery, heat, failures.
    pub share: f64,
    /// Requests in flight.
    pub in_flight: u32,
    /// The peak EWMA of its latency, in seconds, if it ever answered.
    pub latency_seconds: Option<f64>,
    /// The share of its latest calls that succeeded.
    pub success: f64,
    /// What the strategy made of it; the least is best.
    pub cost: f64,
    /// What the cost is made of.
    pub terms: Vec<WeighedTerm>,
}

/// Why a node was picked, or none was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The strategy's name.
    pub strategy: String,
    /// Who was picked.
    pub selected_node: Option<NodeId>,
    /// Why: the strategy's reason, `session_affinity`, or `last_resort` if none of its choices took
    /// the request.
    pub selection_reason: String,
    /// Whether health was ignored, because too few of the scope's nodes do well.
    pub panicking: bool,
    /// Nodes of the scope that take requests.
    pub ready: u32,
    /// Nodes of the scope that would, if they did well.
    pub unwell: u32,
    /// Who was weighed, in this order; strategies that look at no load weigh nobody.
    pub considered: Vec<Weighed>,
    /// Who gets no request, and why.
    pub filtered: Vec<Filtered>,
    /// The dice as they were before: with a [`Snapshot`](super::Snapshot) from then, the same node
    /// is picked again.
    pub dice: Dice,
}

/// What is written down while a pick is made.
#[derive(Debug)]
pub(super) struct Notes {
    strategy: Arc<dyn Strategy>,
    request: Request,
    weighed: Vec<Weighed>,
    /// Why somebody was picked, if not by the strategy.
    reason: Option<&'static str>,
}

impl Notes {
    pub(super) const fn because(&mut self, reason: &'static str) {
        self.reason = Some(reason);
    }

    #[cold]
    pub(super) fn weighed(&mut self, view: &View<'_>, candidate: Candidate<'_>, cost: f32) {
        let record = view.table.record(candidate.number);
        let Some(endpoint) = record.and_then(Record::endpoint) else { return };
        let terms = self.strategy.terms(view, &self.request, candidate).into_iter();
        self.weighed.push(Weighed {
            node: endpoint.id.clone(),
            weight: view.weight(candidate),
            share: view.share(candidate),
            in_flight: view.in_flight(candidate),
            latency_seconds: view.latency(candidate),
            success: f64::from(view.success(candidate)),
            cost: f64::from(cost.clamp(f32::MIN, f32::MAX)),
            // Nothing is infinite in JSON: a bound that nobody reaches is as good as none.
            terms: terms
                .filter(|term| term.value.is_finite())
                .map(|term| WeighedTerm { name: term.name.to_owned(), value: term.value })
                .collect(),
        });
    }
}

impl Balancer {
    /// Picks a node as [`pick`](Self::pick) does, and says why. It looks at every node of the scope:
    /// for questions and for samples, not for each request.
    pub fn pick_explained(
        &self,
        request: &Request,
        now: Duration,
        dice: &mut Dice,
    ) -> (Result<Permit<&Self>, NoNode>, Explanation) {
        let now = nanos(now);
        let (before, stripe) = (dice.clone(), dice.stripe());
        self.table.tend(now);
        let mut draw = dice.throw();
        draw.take_notes(Notes {
            strategy: Arc::clone(&self.strategy),
            request: request.clone(),
            weighed: Vec::new(),
            reason: None,
        });
        let view = self.wide(request.scope).map(|wide| self.view(wide, request, now));
        let mut panicking = view.is_some_and(|view| view.panicking);
        let mut filtered = match view {
            Some(_) => self.filtered(request, panicking),
            None => Vec::new(),
        };
        let taken = self.hold(request, now, &mut draw);
        // A breaker may have opened on the way, which was one too many.
        if !panicking && taken.is_some_and(|taken| taken.ticket == 0) {
            panicking = true;
            filtered.retain(|filtered| !filtered.hindrance.is_ignored_in_panic());
        }
        let notes = draw.noted();
        let reason = notes.as_ref().and_then(|notes| notes.reason);
        let selected_node = taken.and_then(|taken| {
            self.table.record(taken.number())?.endpoint().map(|endpoint| endpoint.id.clone())
        });
        let selection_reason = match (&taken, reason) {
            (None, _) => "no_node",
            (Some(_), Some(reason)) => reason,
            (Some(_), None) => self.strategy.reason(),
        };
        let explanation = Explanation {
            strategy: self.strategy.name().to_owned(),
            selected_node,
            selection_reason: selection_reason.to_owned(),
            panicking,
            ready: view.map_or(0, |view| view.pool.ready()),
            unwell: view.map_or(0, |view| view.pool.unwell()),
            considered: notes.map_or_else(Vec::new, |notes| notes.weighed),
            filtered,
            dice: before,
        };
        let permit = |taken| Permit::new(self, Held::new(taken, now, request.scope.class, stripe));
        (taken.map(permit).ok_or_else(|| self.nobody(request, now)), explanation)
    }

    fn filtered(&self, request: &Request, panicking: bool) -> Vec<Filtered> {
        let writer = self.table.lock();
        let mut reasons = BTreeMap::<(Hindrance, Option<String>), Filtered>::new();
        for number in writer.numbers() {
            let Some(Some(member)) = writer.members.get(number as usize) else { continue };
            let Some(slot) = self.table.slot(number) else { continue };
            let inside = member.places.iter().any(|place| place.pool == request.scope.pool);
            let hindered = if inside { hindrance(slot, member, request, panicking) } else { None };
            let Some(hindrance) = hindered else { continue };
            let ineligible = member.ineligible.filter(|_| hindrance == Hindrance::Ineligible);
            let key = (hindrance, ineligible.map(|reason| reason.to_string()));
            let filtered = reasons.entry(key).or_insert_with(|| Filtered {
                hindrance,
                ineligible,
                count: 0,
                examples: Vec::new(),
            });
            filtered.count += 1;
            if filtered.examples.len() < EXAMPLES {
                filtered.examples.push(member.endpoint.id.clone());
            }
        }
        reasons.into_values().collect()
    }
}

fn hindrance(
    slot: Slot<'_>,
    member: &Member,
    request: &Request,
    panicking: bool,
) -> Option<Hindrance> {
    // A panic ignores how they do.
    let ignored = if panicking { UNWELL | BREAKERS } else { 0 };
    let flags = slot.meter.flags() & !ignored;
    let by_flag = [
        (DRAINING | NO_SHARE, Hindrance::Draining),
        (INELIGIBLE, Hindrance::Ineligible),
        (AWAY, Hindrance::Away),
        (RESTING, Hindrance::Resting),
        (UNHEALTHY, Hindrance::Unhealthy),
        (LATE, Hindrance::Late),
        (EJECTED, Hindrance::Ejected),
        (breaker_bit(request.scope.class), Hindrance::BreakerOpen),
    ];
    if let Some((_, hindrance)) = by_flag.into_iter().find(|(flag, _)| flags & flag != 0) {
        return Some(hindrance);
    }
    if !panicking && slot.breaker(request.scope.class).is_busy_trying() {
        return Some(Hindrance::BreakerTrying);
    }
    if slot.meter.is_full() {
        return Some(Hindrance::Full);
    }
    let excepted = request.except.contains(&member.endpoint.id);
    excepted.then_some(Hindrance::Excepted)
}
