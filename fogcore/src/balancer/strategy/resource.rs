//! The most to spare.

use super::{Candidate, Draw, Request, Strategy, Term, View};

/// Of some nodes drawn by weight, the one with the most CPU, memory and storage to spare, as it
/// told last. Requests that were given to it since are not in that yet: each sixteen for a weight
/// of 100 halve what it seems to have to spare.
#[derive(Clone, Copy, Debug)]
pub struct ResourceBased {
    /// How many are drawn, at least 1. Default 2.
    pub choices: u32,
}

impl Default for ResourceBased {
    fn default() -> Self {
        Self { choices: 2 }
    }
}

const CPU: f32 = 0.5;
const MEMORY: f32 = 0.3;
const STORAGE: f32 = 0.2;
/// Requests in flight, for each unit of weight, that halve what a node has to spare.
const HALVING: f32 = 0.16;

fn spare(view: &View<'_>, node: Candidate<'_>) -> [f32; 3] {
    let used = view.used(node);
    [CPU * (1.0 - used.cpu), MEMORY * (1.0 - used.memory), STORAGE * (1.0 - used.storage)]
}

fn crowding(view: &View<'_>, node: Candidate<'_>) -> f32 {
    1.0 + view.in_flight(node) as f32 / (view.weight(node) as f32 * HALVING)
}

impl Strategy for ResourceBased {
    fn name(&self) -> &str {
        "ResourceBased"
    }

    fn reason(&self) -> &str {
        "optimal_resources"
    }

    fn choose<'t>(
        &self,
        view: &View<'t>,
        _: &Request,
        draw: &mut Draw<'_>,
    ) -> Option<Candidate<'t>> {
        view.best_of(self.choices, draw, |node| {
            let [cpu, memory, storage] = spare(view, node);
            -(cpu + memory + storage) / crowding(view, node)
        })
    }

    fn terms(&self, view: &View<'_>, _: &Request, node: Candidate<'_>) -> Vec<Term> {
        let crowding = crowding(view, node);
        let names = ["cpu", "memory", "storage"].into_iter().zip(spare(view, node));
        names.map(|(name, spare)| Term { name, value: f64::from(-spare / crowding) }).collect()
    }
}
