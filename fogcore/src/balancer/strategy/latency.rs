//! The shortest wait.

use super::{Candidate, Draw, Request, Strategy, Term, View};

/// Of some nodes drawn by weight, the one that is likely to answer first: the peak EWMA of its
/// latency, times the requests that it has, for its weight, and the new one. (Finagle's P2C with
/// peak EWMA.)
#[derive(Clone, Copy, Debug)]
pub struct LatencyBased {
    /// How many are drawn, at least 1. Default 2.
    pub choices: u32,
}

impl Default for LatencyBased {
    fn default() -> Self {
        Self { choices: 2 }
    }
}

const USUAL_WEIGHT: f32 = 100.0;

/// What a node counts as that has requests but has never answered, in seconds.
const UNANSWERED: f32 = 1.0;

#[inline]
fn cost(view: &View<'_>, node: Candidate<'_>) -> f32 {
    let in_flight = view.in_flight(node);
    let latency = view.latency_seconds(node);
    // Idle nodes are drawn by weight already: only their load is divided by it. Of one that has
    // never answered, one request is worth finding out.
    if in_flight == 0 {
        return latency;
    }
    let latency = if latency > 0.0 { latency } else { UNANSWERED };
    latency * (1.0 + in_flight as f32 * USUAL_WEIGHT / view.weight(node) as f32)
}

impl Strategy for LatencyBased {
    fn name(&self) -> &str {
        "LatencyBased"
    }

    fn reason(&self) -> &str {
        "lowest_latency"
    }

    fn choose<'t>(
        &self,
        view: &View<'t>,
        _: &Request,
        draw: &mut Draw<'_>,
    ) -> Option<Candidate<'t>> {
        view.best_of(self.choices, draw, |node| cost(view, node))
    }

    fn terms(&self, view: &View<'_>, _: &Request, node: Candidate<'_>) -> Vec<Term> {
        vec![
            Term { name: "latency_seconds", value: view.latency(node).unwrap_or(0.0) },
            Term { name: "in_flight", value: f64::from(view.in_flight(node)) },
            Term { name: "weight", value: f64::from(view.weight(node)) },
        ]
    }
}
