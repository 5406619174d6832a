//! The fewest requests in flight.

use super::{Candidate, Draw, Request, Strategy, Term, View};

/// Of some nodes drawn by weight, the one with the fewest requests in flight for its weight.
#[derive(Clone, Copy, Debug)]
pub struct LeastConnections {
    /// How many are drawn, at least 1. Default 2.
    pub choices: u32,
}

impl Default for LeastConnections {
    fn default() -> Self {
        Self { choices: 2 }
    }
}

/// Without the request that is to come: among idle nodes, which are drawn by weight already, the
/// heavier one is no better.
fn cost(view: &View<'_>, node: Candidate<'_>) -> f32 {
    view.in_flight(node) as f32 / view.weight(node) as f32
}

impl Strategy for LeastConnections {
    fn name(&self) -> &str {
        "LeastConnections"
    }

    fn reason(&self) -> &str {
        "least_connections"
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
        vec![Term { name: "connections_per_weight", value: f64::from(cost(view, node)) }]
    }
}
