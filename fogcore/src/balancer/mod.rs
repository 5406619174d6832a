//! Which node serves this request?
//!
//! A [`Balancer`] knows the nodes, how they are and how their calls go. [`Balancer::pick`] chooses
//! one by its [`Strategy`] and gives a [`Permit`]: the request is counted until the permit is
//! consumed with its outcome, or dropped. Nodes join and leave in constant time, and a pick costs
//! the same for ten nodes as for a hundred thousand.
//!
//! ```
//! use std::time::Duration;
//! use fogcore::balancer::{Balancer, BalancerPolicy, Dice, Endpoint, Request, StrategyKind};
//!
//! let balancer = Balancer::new(BalancerPolicy::default(), StrategyKind::LatencyBased)?;
//! let (now, mut dice) = (Duration::ZERO, Dice::seeded(1));
//! for name in ["laptop", "phone", "gpu-box"] {
//!     balancer.join(Endpoint::new(name.parse()?), now)?;
//! }
//! let permit = balancer.pick(&Request::new(), now, &mut dice)?;
//! println!("send it to {:?}", permit.node());
//! permit.success(Duration::from_millis(12));
//! # Ok::<(), fogcore::Error>(())
//! ```
//!
//! Nobody has to ask it what happens. On a bus ([`Balancer::with_events`]; a fog's balancer has its
//! own) it tells of each change of a breaker, and whom it leaves out and takes in again:
//!
//! ```
//! use std::time::Duration;
//! use fogcore::balancer::{Balancer, BalancerPolicy, Class, Endpoint, StrategyKind};
//! use fogcore::event::{Event, EventBus, Notice};
//!
//! let bus = EventBus::new(64);
//! let mut news = bus.subscribe();
//! let balancer =
//!     Balancer::new(BalancerPolicy::default(), StrategyKind::Random)?.with_events(bus);
//! let (now, phone) = (Duration::ZERO, "phone".parse()?);
//! balancer.join(Endpoint::new("phone".parse()?), now)?;
//! balancer.force_breaker(&phone, Class::default(), Some(true), now)?;
//! let Some(Notice::Event(Event::BreakerChanged { node, class, from, to, .. })) = news.try_next()
//! else { panic!("it was told") };
//! assert_eq!((node, class, from, to),
//!     (phone, "general".to_owned(), "closed".to_owned(), "forced_open".to_owned()));
//! # Ok::<(), fogcore::Error>(())
//! ```
//!
//! And metrics, without the node as a label because there may be very many:
//!
//! | metric | what it says |
//! |---|---|
//! | `fogcore_breaker_changes_total{class,to}` | changes of breakers |
//! | `fogcore_breakers_open{class}` | breakers that are open now, forced or not |
//! | `fogcore_ejections_total{reason}` | nodes that were left out |
//! | `fogcore_nodes_ejected` | nodes that are left out now |
//!
//! The gauges come out even: what a node that leaves, or a balancer that is dropped, has added to
//! them is taken back. The first two are those of [`Breakers`](crate::failover::Breakers), too.

pub mod autoscaler;
#[expect(clippy::module_inception, reason = "the main type of the module, in a file of its own")]
mod balancer;
mod call;
mod dice;
mod endpoint;
mod explanation;
mod list;
#[cfg(all(test, fogcore_loom))]
mod loom;
mod meter;
mod news;
mod nodes;
mod outlying;
mod permit;
mod pick;
mod policy;
mod pool;
mod report;
mod request;
mod ring;
mod runner_up;
mod slot;
mod snapshot;
mod stable;
mod status;
mod strategy;
mod stripes;
mod table;
mod view;
mod weight;

pub use autoscaler::{Autoscaler, NodeLoad, ScaleHook, ScalePolicy};
pub use balancer::Balancer;
pub use call::{
    Answer, Attempt, AttemptKind, AttemptOutcome, AttemptReport, CallError, CallErrorKind,
    CallPolicy, CallReport, Caller, CallerBuilder, Failure, Repeat,
};
pub use dice::{Dice, Draw};
pub use endpoint::Endpoint;
pub use explanation::{Explanation, Filtered, Hindrance, Weighed, WeighedTerm};
pub use permit::Permit;
pub use policy::{BalancerPolicy, StrategyKind};
pub use report::Load;
pub use request::{Affinity, Class, Key, Request, RequestKind, Scope};
pub use snapshot::Snapshot;
pub use status::NoNode;
pub use strategy::{
    AdaptiveIntelligent, ConsistentHash, LatencyBased, LeastConnections, Prequal, Random,
    ResourceBased, RoundRobin, Strategy, Term, WeightedRoundRobin,
};
pub use view::{Candidate, View};
pub use weight::WeightPolicy;
