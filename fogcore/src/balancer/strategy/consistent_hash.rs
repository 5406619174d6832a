//! The node that a key leads to.

use super::{Candidate, Draw, Request, Strategy, Term, View};

/// The node that the request's key leads to, as long as it has not too many of the requests; a
/// request without a key goes anywhere.
///
/// No node gets more than `bound` times its share of its scope's requests in flight (Mirrokni, Thorup and
/// Zadimoghaddam, "Consistent Hashing with Bounded Loads", SODA 2018); what is too much for it
/// jumps to other nodes, the same ones for the same key.
#[derive(Clone, Copy, Debug)]
pub struct ConsistentHash {
    /// Above 1; infinite: no bound. Default 1.25.
    pub bound: f64,
}

impl Default for ConsistentHash {
    fn default() -> Self {
        Self { bound: 1.25 }
    }
}

impl Strategy for ConsistentHash {
    fn name(&self) -> &str {
        "ConsistentHash"
    }

    fn reason(&self) -> &str {
        "consistent_hash"
    }

    fn choose<'t>(
        &self,
        view: &View<'t>,
        request: &Request,
        draw: &mut Draw<'_>,
    ) -> Option<Candidate<'t>> {
        match request.key {
            Some(key) => view.keyed_within(key, self.bound, draw),
            None => {
                let node = view.any(draw)?;
                draw.note(view, node, 0.0);
                Some(node)
            }
        }
    }

    fn terms(&self, view: &View<'_>, _: &Request, node: Candidate<'_>) -> Vec<Term> {
        vec![
            Term { name: "in_flight", value: f64::from(view.in_flight(node)) },
            Term { name: "most", value: view.bound(node, self.bound) },
        ]
    }

    fn needs_ring(&self) -> bool {
        true
    }
}
