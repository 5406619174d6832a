//! How one of the nodes that come up is chosen.
//!
//! A strategy is a synchronous function of what can be seen, the request and the dice: played
//! again with the same ones, it chooses the same node. Weights, slow start, health, scopes and
//! draining are not its business: [`View`] only shows it nodes as often as they should be chosen.
//!
//! Which to take? [`LeastConnections`] when requests differ and nothing else is known;
//! [`LatencyBased`] when nodes differ; [`Prequal`] when others send to the same nodes and these
//! report; [`ConsistentHash`] when a node remembers what it did for a key; [`AdaptiveIntelligent`]
//! for the mesh document's own score.
//!
//! ```
//! use std::sync::Arc;
//! use fogcore::balancer::{
//!     Balancer, BalancerPolicy, Candidate, Dice, Draw, Endpoint, Request, Strategy, View,
//! };
//! use std::time::Duration;
//!
//! /// The heaviest of three.
//! #[derive(Debug)]
//! struct Heaviest;
//!
//! impl Strategy for Heaviest {
//!     fn name(&self) -> &str {
//!         "heaviest"
//!     }
//!     fn reason(&self) -> &str {
//!         "most_weight"
//!     }
//!     fn choose<'t>(
//!         &self, view: &View<'t>, _: &Request, draw: &mut Draw<'_>,
//!     ) -> Option<Candidate<'t>> {
//!         view.best_of(3, draw, |node| -(view.weight(node) as f32))
//!     }
//! }
//!
//! let balancer = Balancer::with_strategy(BalancerPolicy::default(), Arc::new(Heaviest))?;
//! let now = Duration::ZERO;
//! balancer.join(Endpoint::new("box".parse()?), now)?;
//! let permit = balancer.pick(&Request::new(), now, &mut Dice::seeded(1))?;
//! permit.success(Duration::from_millis(3));
//! # Ok::<(), fogcore::Error>(())
//! ```

mod adaptive;
mod consistent_hash;
mod latency;
mod least;
mod prequal;
mod resource;
mod turns;

use std::fmt;

pub use self::adaptive::AdaptiveIntelligent;
pub use self::consistent_hash::ConsistentHash;
pub use self::latency::LatencyBased;
pub use self::least::LeastConnections;
pub use self::prequal::Prequal;
pub use self::resource::ResourceBased;
pub use self::turns::{Random, RoundRobin, WeightedRoundRobin};
use super::dice::Draw;
use super::request::Request;
use super::view::{Candidate, View};

/// A part of what a choice was made by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Term {
    /// What it is.
    pub name: &'static str,
    /// How much it adds to the cost, or, negative, takes from it.
    pub value: f64,
}

/// Chooses a node.
pub trait Strategy: fmt::Debug + Send + Sync {
    /// Its name, as the mesh document writes it.
    fn name(&self) -> &str;

    /// Why a node was chosen by it, for `selection_reason`.
    fn reason(&self) -> &str;

    /// Proposes a node. The balancer may refuse it (its breaker is open, or it is full) and ask
    /// again with the same dice, which have moved on.
    fn choose<'t>(
        &self,
        view: &View<'t>,
        request: &Request,
        draw: &mut Draw<'_>,
    ) -> Option<Candidate<'t>>;

    /// What makes a node's cost; the least cost is best. Only asked for explanations, which leave out
    /// what is infinite or no number.
    fn terms(&self, _view: &View<'_>, _request: &Request, _node: Candidate<'_>) -> Vec<Term> {
        Vec::new()
    }

    /// Whether it goes by [`View::keyed`], which must be kept ready then.
    fn needs_ring(&self) -> bool {
        false
    }
}
