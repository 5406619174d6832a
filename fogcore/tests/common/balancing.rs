//! What the balancer's tests share: a balancer with its dice and its time, and a spy that tells
//! what a strategy was shown.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fogcore::balancer::{
    Balancer, BalancerPolicy, Candidate, Class, Dice, Draw, Endpoint, Key, NoNode, Permit, Request,
    Scope, Strategy, StrategyKind, View,
};
use fogcore::failover::BreakerPolicy;
use fogcore::id::NodeId;

pub(crate) type Owned = Permit<Arc<Balancer>>;

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn id(name: &str) -> NodeId {
    name.parse().unwrap()
}

/// A breaker that never opens by itself.
pub(crate) fn never_opens() -> BreakerPolicy {
    BreakerPolicy {
        failure_rate: None,
        consecutive_failures: None,
        slow_after: None,
        ..BreakerPolicy::default()
    }
}

/// No slow start, so that a test sees one rule at a time. Every node has a scope of its own, by
/// the label `id`.
pub(crate) fn policy() -> BalancerPolicy {
    BalancerPolicy {
        slow_start: Duration::ZERO,
        subset_keys: vec!["id".to_owned(), "gpu".to_owned()],
        ..BalancerPolicy::default()
    }
}

pub(crate) fn endpoint(name: &str, weight: u16) -> Endpoint {
    let mut endpoint = Endpoint { weight, ..Endpoint::new(id(name)) };
    endpoint.labels.insert("id".to_owned(), name.to_owned());
    endpoint
}

/// What a strategy was shown of the last node that it proposed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) nodes: u32,
    pub(crate) in_flight: u32,
    pub(crate) latency: Option<f64>,
    pub(crate) success: f32,
    pub(crate) weight: u32,
    pub(crate) bound: f64,
}

/// A strategy of the library, and what it saw.
#[derive(Debug)]
pub(crate) struct Spy {
    inner: Arc<dyn Strategy>,
    seen: Mutex<Option<Seen>>,
}

impl Spy {
    pub(crate) fn on(kind: StrategyKind) -> Arc<Self> {
        Arc::new(Self { inner: kind.strategy(), seen: Mutex::new(None) })
    }
}

impl Strategy for Spy {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn reason(&self) -> &str {
        self.inner.reason()
    }

    fn choose<'t>(
        &self,
        view: &View<'t>,
        request: &Request,
        draw: &mut Draw<'_>,
    ) -> Option<Candidate<'t>> {
        let node = self.inner.choose(view, request, draw);
        *self.seen.lock().unwrap() = node.map(|node| Seen {
            nodes: view.len(),
            in_flight: view.in_flight(node),
            latency: view.latency(node),
            success: view.success(node),
            weight: view.weight(node),
            bound: view.bound(node, 1.25),
        });
        node
    }

    fn needs_ring(&self) -> bool {
        self.inner.needs_ring()
    }
}

/// A balancer, its dice, and what time it is.
pub(crate) struct World {
    pub(crate) kind: StrategyKind,
    pub(crate) balancer: Arc<Balancer>,
    pub(crate) dice: Dice,
    pub(crate) now: Duration,
    spy: Arc<Spy>,
    keys: u64,
}

impl World {
    pub(crate) fn new(kind: StrategyKind, policy: BalancerPolicy) -> Self {
        let spy = Spy::on(kind);
        let balancer = Balancer::with_strategy(policy, spy.clone()).unwrap();
        // Not at zero: what was never set must not look like just now.
        let now = secs(1_000);
        Self { kind, balancer: Arc::new(balancer), dice: Dice::seeded(5), now, spy, keys: 0 }
    }

    /// A world with so many nodes `n0`, `n1`, … of the usual weight.
    pub(crate) fn of(kind: StrategyKind, policy: BalancerPolicy, nodes: usize) -> Self {
        let world = Self::new(kind, policy);
        (0..nodes).for_each(|node| world.join(endpoint(&format!("n{node}"), 100)));
        world
    }

    pub(crate) fn join(&self, endpoint: Endpoint) {
        self.balancer.join(endpoint, self.now).unwrap();
    }

    pub(crate) fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    pub(crate) fn healthy(&self, name: &str, healthy: bool) {
        self.balancer.set_healthy(&id(name), healthy, self.now).unwrap();
    }

    pub(crate) fn drain(&self, name: &str, drain: bool) {
        self.balancer.drain(&id(name), drain, self.now).unwrap();
    }

    pub(crate) fn scope(&self, label: (&str, &str)) -> Scope {
        self.balancer.scope(Class::default(), None, Some(label)).unwrap()
    }

    /// A request with a key that no other one has.
    pub(crate) fn request(&mut self) -> Request {
        self.keys += 1;
        Request::new().keyed(Key::of(self.keys.to_le_bytes()))
    }

    pub(crate) fn try_pick(&mut self, request: &Request) -> Result<Owned, NoNode> {
        self.balancer.pick_owned(request, self.now, &mut self.dice)
    }

    #[track_caller]
    pub(crate) fn pick(&mut self) -> Owned {
        let request = self.request();
        self.try_pick(&request).unwrap()
    }

    /// A permit of this very node.
    #[track_caller]
    pub(crate) fn pick_at(&mut self, name: &str) -> Owned {
        let request = self.request().within(self.scope(("id", name)));
        let permit = self.try_pick(&request).unwrap();
        assert_eq!(permit.node(), Some(id(name)));
        permit
    }

    /// What a strategy is shown of a node that takes requests; none if it takes none.
    pub(crate) fn look_at(&mut self, name: &str) -> Option<Seen> {
        let request = self.request().within(self.scope(("id", name)));
        *self.spy.seen.lock().unwrap() = None;
        let mut dice = self.dice.clone();
        drop(self.balancer.pick_owned(&request, self.now, &mut dice));
        *self.spy.seen.lock().unwrap()
    }

    /// Serves a request in 10 ms; tells where.
    #[track_caller]
    pub(crate) fn serve(&mut self, request: &Request) -> String {
        let permit = self.try_pick(request).unwrap();
        let name = name_of(&permit);
        permit.success(ms(10));
        name
    }

    /// Serves so many requests, one after the other, each with a key of its own; tells how many
    /// each node had.
    pub(crate) fn counts(&mut self, requests: usize) -> BTreeMap<String, usize> {
        self.counts_within(Scope::default(), requests)
    }

    pub(crate) fn counts_within(
        &mut self,
        scope: Scope,
        requests: usize,
    ) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for _ in 0..requests {
            let request = self.request().within(scope);
            *counts.entry(self.serve(&request)).or_default() += 1;
        }
        counts
    }

    /// The share of so many requests that one node has.
    pub(crate) fn share(&mut self, name: &str, requests: usize) -> f64 {
        self.counts(requests).get(name).copied().unwrap_or(0) as f64 / requests as f64
    }
}

pub(crate) fn name_of(permit: &Owned) -> String {
    permit.node().unwrap().as_str().to_owned()
}

/// Whether a count is one that chance gives: within five standard deviations (one of 1.7 million
/// is not) and, where a strategy is no die, a part of what is expected.
pub(crate) fn is_about(count: usize, of: usize, share: f64, slack: f64) -> bool {
    let expected = of as f64 * share;
    let deviation = (expected * (1.0 - share)).sqrt();
    (count as f64 - expected).abs() <= 5.0 * deviation + slack * expected + 1.0
}
