//! The mesh document's score.

use super::{Candidate, Draw, Request, Strategy, Term, View};
use crate::balancer::RequestKind;

/// Of some nodes drawn by weight, the one with the best score of the mesh document:
/// `0.3(1−cpu) + 0.2(1−memory) + 0.1(1−storage) + 0.2·success − 0.1·latency − 0.1·connections/100`,
/// and for an upload `+ 0.2(1−storage) + 0.1·throughput`, a download
/// `+ 0.3·throughput − 0.2·latency`, a search `+ 0.4(1−cpu) + 0.3(1−memory)`.
///
/// Every input is first brought to 0–1: latency is in seconds and at most 1, connections are at
/// most 100 for a weight of 100, throughput is the free share of the bandwidth. What a node does not
/// tell counts as half; one that has not answered yet counts as quick.
#[derive(Clone, Copy, Debug)]
pub struct AdaptiveIntelligent {
    /// How many are drawn, at least 1. Default 2.
    pub choices: u32,
}

impl Default for AdaptiveIntelligent {
    fn default() -> Self {
        Self { choices: 2 }
    }
}

/// How many milliseconds a node's own count of its connections is believed.
const FRESH_MS: u32 = 10_000;

/// What is taken from the score counts as cost. A node without an answer yet counts as quick: it
/// is worth finding out.
#[inline]
fn parts(view: &View<'_>, kind: RequestKind, node: Candidate<'_>) -> [f32; 7] {
    let used = view.used(node);
    let latency = view.latency_seconds(node).min(1.0);
    let told = view.reported(node, FRESH_MS).unwrap_or(0);
    let connections = view.in_flight(node).max(told) as f32 / view.weight(node) as f32;
    let (cpu, memory, storage) = (1.0 - used.cpu, 1.0 - used.memory, 1.0 - used.storage);
    let (more_cpu, more_memory, more_storage, throughput, more_latency) = match kind {
        RequestKind::General => (0.0, 0.0, 0.0, 0.0, 0.0),
        RequestKind::Upload => (0.0, 0.0, 0.2, 0.1, 0.0),
        RequestKind::Download => (0.0, 0.0, 0.0, 0.3, 0.2),
        RequestKind::Search => (0.4, 0.3, 0.0, 0.0, 0.0),
    };
    [
        -(0.3 + more_cpu) * cpu,
        -(0.2 + more_memory) * memory,
        -(0.1 + more_storage) * storage,
        -0.2 * view.success(node),
        -throughput * used.throughput,
        (0.1 + more_latency) * latency,
        0.1 * connections.min(1.0),
    ]
}

const NAMES: [&str; 7] =
    ["cpu", "memory", "storage", "success", "throughput", "latency", "connections"];

impl Strategy for AdaptiveIntelligent {
    fn name(&self) -> &str {
        "AdaptiveIntelligent"
    }

    fn reason(&self) -> &str {
        "adaptive_score"
    }

    fn choose<'t>(
        &self,
        view: &View<'t>,
        request: &Request,
        draw: &mut Draw<'_>,
    ) -> Option<Candidate<'t>> {
        view.best_of(self.choices, draw, |node| parts(view, request.kind, node).iter().sum())
    }

    fn terms(&self, view: &View<'_>, request: &Request, node: Candidate<'_>) -> Vec<Term> {
        let parts = NAMES.into_iter().zip(parts(view, request.kind, node));
        parts.map(|(name, value)| Term { name, value: f64::from(value) }).collect()
    }
}
