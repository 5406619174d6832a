//! Hot and cold lanes.

use super::{Candidate, Draw, Request, Strategy, Term, View};

/// Of some nodes drawn by weight and the one that came second the last time, the fastest one that is
/// not hot; if all are hot, the one with the fewest requests. (Wydrowski et al., "Load is not what you should balance: Introducing
/// Prequal", NSDI 2024.)
///
/// A node is hot if it has more requests in flight, for its weight, than a given share of the nodes
/// that reported lately. Where the paper sends probes, nodes here tell with their heartbeats, and
/// what was given to a node since counts as well.
#[derive(Clone, Copy, Debug)]
pub struct Prequal {
    /// How many are drawn, at least 1, besides the one that came second the last time. Default 2.
    pub choices: u32,
    /// How old a report may be that is believed, in milliseconds. Default 15,000: a beat and a
    /// half.
    pub fresh_ms: u32,
}

impl Default for Prequal {
    fn default() -> Self {
        Self { choices: 2, fresh_ms: 15_000 }
    }
}

impl Prequal {
    /// A hundred times as many requests as it has.
    #[inline]
    fn hundredfold(&self, view: &View<'_>, node: Candidate<'_>) -> f32 {
        let told = view.reported(node, self.fresh_ms).unwrap_or(0);
        view.in_flight(node).max(told) as f32 * 100.0
    }

    /// Requests for a weight of 100.
    fn requests(&self, view: &View<'_>, node: Candidate<'_>) -> f32 {
        self.hundredfold(view, node) / view.weight(node) as f32
    }

    /// Cold nodes cost their latency, hot ones more than any latency.
    #[inline]
    fn cost(&self, view: &View<'_>, node: Candidate<'_>) -> f32 {
        // Most are cold, and need no division.
        let (hundredfold, weight) = (self.hundredfold(view, node), view.weight(node) as f32);
        if hundredfold > view.hot_above() * weight {
            return HOT + hundredfold / weight;
        }
        view.latency_seconds(node).min(HOT)
    }
}

/// Seconds that no cold node's latency exceeds.
const HOT: f32 = 86_400.0;

impl Strategy for Prequal {
    fn name(&self) -> &str {
        "Prequal"
    }

    fn reason(&self) -> &str {
        "fastest_not_hot"
    }

    fn choose<'t>(
        &self,
        view: &View<'t>,
        _: &Request,
        draw: &mut Draw<'_>,
    ) -> Option<Candidate<'t>> {
        view.best_with_runner_up(self.choices, draw, |node| self.cost(view, node))
    }

    fn terms(&self, view: &View<'_>, _: &Request, node: Candidate<'_>) -> Vec<Term> {
        vec![
            Term { name: "requests", value: f64::from(self.requests(view, node)) },
            Term { name: "hot_above", value: f64::from(view.hot_above()) },
            Term { name: "latency_seconds", value: view.latency(node).unwrap_or(0.0) },
        ]
    }
}
