//! The balancer: the lists of nodes, a strategy, and what holds for every strategy.

use std::fmt;
use std::sync::Arc;

use super::policy::{BalancerPolicy, StrategyKind};
use super::request::{Class, Key, Scope};
use super::strategy::Strategy;
use super::table::{MOST_POOLS, PoolKey, Table};
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventBus;

/// Chooses a node for each request. Shared by all threads; a pick takes no lock, unless its session
/// holds on to a node, nodes are excepted, or nobody takes the request.
///
/// All times are counted from any fixed point that the callers agree on
/// ([`Clock::elapsed`](crate::time::Clock::elapsed)). It does no I/O and starts no task: whoever
/// owns it calls [`maintain`](Self::maintain) from time to time.
pub struct Balancer {
    pub(super) policy: BalancerPolicy,
    pub(super) strategy: Arc<dyn Strategy>,
    pub(super) table: Table,
}

impl fmt::Debug for Balancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (strategy, nodes) = (self.strategy.name(), self.len());
        let mut debug = f.debug_struct("Balancer");
        debug.field("strategy", &strategy).field("nodes", &nodes).finish_non_exhaustive()
    }
}

impl Balancer {
    /// A balancer without nodes, with one of the library's strategies.
    ///
    /// # Errors
    /// InvalidInput with the field's name for a policy that makes no sense.
    pub fn new(policy: BalancerPolicy, strategy: StrategyKind) -> Result<Self> {
        Self::with_strategy(policy, strategy.strategy())
    }

    /// A balancer without nodes, with any strategy.
    ///
    /// # Errors
    /// InvalidInput with the field's name for a policy that makes no sense.
    pub fn with_strategy(policy: BalancerPolicy, strategy: Arc<dyn Strategy>) -> Result<Self> {
        policy.check()?;
        let table = Table::new(&policy, strategy.needs_ring(), 0);
        Ok(Self { policy, strategy, table })
    }

    /// The same balancer, which jitters its breakers' open times by another seed.
    #[must_use]
    pub fn seeded(mut self, seed: u64) -> Self {
        self.table.seed = seed;
        self
    }

    /// The same balancer, telling on a bus how its breakers change
    /// ([`Event::BreakerChanged`](crate::event::Event::BreakerChanged)) and whom it leaves out and
    /// takes in again ([`NodeEjected`](crate::event::Event::NodeEjected),
    /// [`NodeReturned`](crate::event::Event::NodeReturned)).
    ///
    /// A breaker that opens is told at once. One that half opens or closes does so at a call that
    /// must not wait for listeners: it is told with the next breaker that opens, at the next timer,
    /// or when [`maintain`](Self::maintain) runs. Of what nobody came to tell, the latest 1,024
    /// changes are kept. Metrics are counted at once, bus or no bus: see [the module](super).
    #[must_use]
    pub fn with_events(self, events: EventBus) -> Self {
        self.table.news.listen(events);
        self
    }

    /// How many nodes it knows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether it knows no node.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that its nodes take, without their names and labels.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.table.bytes()
    }

    /// A request class of the policy by its name; the general one is [`Class::default`].
    ///
    /// # Errors
    /// NotFound for a class that the policy does not name.
    pub fn class(&self, name: &str) -> Result<Class> {
        let place = self.policy.classes.iter().position(|class| class == name);
        let class = place.and_then(|place| u8::try_from(place + 1).ok());
        class.map(Class).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("there is no request class {name:?}"))
        })
    }

    /// The scope of the nodes that have this label, if one is given, where those in `region` are
    /// preferred. Looked up once, it is good for any number of requests.
    ///
    /// # Errors
    /// InvalidInput with the field `label` for a key that is not in the policy's `subset_keys`;
    /// NotFound for a class that is not there; Exhausted if too many scopes were asked for.
    pub fn scope(
        &self,
        class: Class,
        region: Option<&str>,
        label: Option<(&str, &str)>,
    ) -> Result<Scope> {
        if let Some((key, _)) = label
            && !self.policy.subset_keys.iter().any(|known| known == key)
        {
            return Err(Error::invalid("label", format!("{key:?} is not in subset_keys")));
        }
        if class.0 >= self.table.settings.classes {
            return Err(Error::new(ErrorKind::NotFound, "there is no such request class"));
        }
        let label = label.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let mut writer = self.table.lock();
        let mut pool = |region: Option<&str>| {
            let region = region.map(str::to_owned);
            let key = PoolKey { class: class.0, region, label: label.clone() };
            // What requests ask for must leave room for what nodes have.
            if !writer.knows(&key) && writer.pool_keys.len() > MOST_POOLS / 2 {
                let message = "no more scopes can be told apart";
                return Err(Error::new(ErrorKind::Exhausted, message));
            }
            self.table.pool_for(&mut writer, key)
        };
        let wide = pool(None)?;
        let near = region.map(|region| pool(Some(region))).transpose()?;
        Ok(Scope { class: class.0, pool: wide, near })
    }

    /// The place of the node that a key leads to in a scope, whether it takes requests or not; none
    /// if there is none. [`Permit::index`](super::Permit::index) says what a place is.
    #[must_use]
    pub fn owner(&self, key: Key, scope: Scope) -> Option<u32> {
        let pool = self.table.pool(scope.pool)?;
        let ring = pool.ring.get().or_else(|| {
            self.table.need_ring(scope.pool);
            pool.ring.get()
        });
        ring?.find(key.0, 0)
    }
}
