//! A breaker for each class of requests of each node, made when it is first asked for.
//!
//! One breaker per node is too coarse: a phone that fails GPU work still takes CPU work. One per
//! call site is too fine: what one caller learns, the others should know. So breakers are kept by
//! node and [`RequestClass`], for callers that guard their calls themselves. Asking for one that is
//! there takes a read lock on one of many shards; keep the `Arc` to save even that.
//!
//! Changes are told as [`Event::BreakerChanged`](crate::event::Event::BreakerChanged) and as
//! metrics: the counter `fogcore_breaker_changes_total{class,to}` and the gauge
//! `fogcore_breakers_open{class}`. Nodes are no label there, because there may be a hundred thousand.
//!
//! ```
//! use std::time::Duration;
//! use fogcore::failover::{BreakerPolicy, BreakerState, Breakers, RequestClass};
//!
//! let breakers = Breakers::new(BreakerPolicy::default())?;
//! let (phone, gpu, cpu) = ("phone-1".parse()?, "gpu".parse()?, RequestClass::general());
//! let now = Duration::ZERO;
//! for _ in 0..5 {
//!     breakers.get(&phone, &gpu)?.acquire(now)?.failure(now);
//! }
//! assert_eq!(breakers.get(&phone, &gpu)?.state(), BreakerState::Open);
//! assert_eq!(breakers.get(&phone, &cpu)?.state(), BreakerState::Closed);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::event::EventBus;
use crate::failover::telling;
use crate::failover::words::round;
use crate::failover::{Breaker, BreakerChange, BreakerPolicy, BreakerState, FailoverError};
use crate::id::NodeId;
pub use crate::id::RequestClass;

/// Enough that a few dozen threads rarely meet at one.
const SHARDS: usize = 64;

/// How many breakers are kept unless told: ten classes of ten thousand nodes.
const MAX_BREAKERS: usize = 100_000;

/// Breakers by node and class of requests.
pub struct Breakers {
    policy: BreakerPolicy,
    policies: HashMap<RequestClass, BreakerPolicy>,
    max: usize,
    seed: u64,
    events: Option<EventBus>,
    /// Where a node's breakers are; which shard it is changes nothing that a caller sees.
    hasher: RandomState,
    shards: Box<[RwLock<Shard>]>,
    kept: AtomicUsize,
}

/// The breakers of some nodes. A node has few classes, so a small ordered map is the fastest.
type Shard = HashMap<NodeId, BTreeMap<RequestClass, Kept>>;

/// A breaker of the registry, in its listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerStanding {
    /// The node whose calls it guards.
    pub node: NodeId,
    /// The class of requests.
    pub class: RequestClass,
    /// What it is.
    pub state: BreakerState,
}

impl std::fmt::Debug for Breakers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Breakers").field("kept", &self.len()).finish_non_exhaustive()
    }
}

impl Breakers {
    /// No breakers yet, and at most 100,000 later.
    ///
    /// # Errors
    /// InvalidInput with the field's name for a policy that makes no sense.
    pub fn new(policy: BreakerPolicy) -> Result<Self> {
        policy.check()?;
        Ok(Self {
            policy,
            policies: HashMap::new(),
            max: MAX_BREAKERS,
            seed: 0,
            events: None,
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            kept: AtomicUsize::new(0),
        })
    }

    /// The same, with a policy of its own for one class.
    ///
    /// # Errors
    /// InvalidInput with the field's name for a policy that makes no sense.
    pub fn with_policy_for(mut self, class: RequestClass, policy: BreakerPolicy) -> Result<Self> {
        policy.check()?;
        self.policies.insert(class, policy);
        Ok(self)
    }

    /// The same, with at most so many breakers, 1–10,000,000.
    ///
    /// # Errors
    /// InvalidInput outside these bounds.
    pub fn with_max_breakers(self, max: usize) -> Result<Self> {
        if !(1..=10_000_000).contains(&max) {
            return Err(Error::invalid("max_breakers", "must be between 1 and 10000000"));
        }
        Ok(Self { max, ..self })
    }

    /// The same, with a seed: each breaker's own follows from it, its node and its class.
    #[must_use]
    pub fn seeded(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// The same, telling changes on a bus.
    #[must_use]
    pub fn with_events(self, events: EventBus) -> Self {
        Self { events: Some(events), ..self }
    }

    /// The breaker for a class of requests of a node, which is made if it is not there.
    ///
    /// # Errors
    /// Exhausted ([`FailoverError::BreakersFull`]) if it is not there and no more may be kept.
    pub fn get(&self, node: &NodeId, class: &RequestClass) -> Result<Arc<Breaker>> {
        let shard = self.shard(node);
        let found = read(shard).get(node).and_then(|classes| Some(classes.get(class)?.breaker()));
        match found {
            Some(breaker) => Ok(breaker),
            None => self.make(shard, node, class),
        }
    }

    /// Forgets a node's breakers, and tells how many there were. Who still has one may go on using
    /// it, but nobody is told of its changes any more.
    pub fn forget(&self, node: &NodeId) -> usize {
        let forgotten = write(self.shard(node)).remove(node).unwrap_or_default();
        self.kept.fetch_sub(forgotten.len(), Ordering::AcqRel);
        forgotten.len()
    }

    /// All breakers, by node and class. Each is listed as it is when its turn comes: the list is not
    /// of one moment.
    #[must_use]
    pub fn states(&self) -> Vec<BreakerStanding> {
        let mut states = Vec::with_capacity(self.len());
        for shard in &self.shards {
            for (node, classes) in read(shard).iter() {
                states.extend(classes.iter().map(|(class, kept)| BreakerStanding {
                    node: node.clone(),
                    class: class.clone(),
                    state: kept.breaker.state(),
                }));
            }
        }
        states.sort_unstable_by(|a, b| (&a.node, &a.class).cmp(&(&b.node, &b.class)));
        states
    }

    /// How many breakers are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.load(Ordering::Acquire)
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, node: &NodeId) -> &RwLock<Shard> {
        &self.shards[round(self.hasher.hash_one(node), self.shards.len())]
    }

    fn make(
        &self,
        shard: &RwLock<Shard>,
        node: &NodeId,
        class: &RequestClass,
    ) -> Result<Arc<Breaker>> {
        let mut shard = write(shard);
        // Somebody else may have been faster.
        if let Some(kept) = shard.get(node).and_then(|classes| classes.get(class)) {
            return Ok(kept.breaker());
        }
        let one_more = |kept: usize| (kept < self.max).then_some(kept + 1);
        if self.kept.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).is_err() {
            return Err(FailoverError::BreakersFull { max: self.max }.into());
        }
        let policy = self.policies.get(class).unwrap_or(&self.policy);
        let teller = Teller::new(node.clone(), class.clone(), self.events.clone());
        match Kept::new(*policy, self.seed_of(node, class), teller) {
            Ok(kept) => {
                let breaker = kept.breaker();
                shard.entry(node.clone()).or_default().insert(class.clone(), kept);
                Ok(breaker)
            }
            // It should not happen: policies were checked when they came in.
            Err(error) => {
                self.kept.fetch_sub(1, Ordering::AcqRel);
                Err(error)
            }
        }
    }

    fn seed_of(&self, node: &NodeId, class: &RequestClass) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed.to_le_bytes());
        // No id contains a zero, so no two keys are the same bytes.
        hasher.update(node.as_str().as_bytes()).update(&[0]).update(class.as_str().as_bytes());
        let mut seed = [0; 8];
        hasher.finalize_xof().fill(&mut seed);
        u64::from_le_bytes(seed)
    }
}

fn read(shard: &RwLock<Shard>) -> RwLockReadGuard<'_, Shard> {
    // Nothing panics half way through a change of a shard.
    shard.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(shard: &RwLock<Shard>) -> RwLockWriteGuard<'_, Shard> {
    shard.write().unwrap_or_else(PoisonError::into_inner)
}

/// A breaker of the registry; dropped, it is told of no more.
struct Kept {
    breaker: Arc<Breaker>,
    teller: Arc<Teller>,
}

impl Kept {
    fn new(policy: BreakerPolicy, seed: u64, teller: Teller) -> Result<Self> {
        let teller = Arc::new(teller);
        let told = Arc::clone(&teller);
        let breaker =
            Breaker::new(policy)?.seeded(seed).on_change(Arc::new(move |change| told.tell(change)));
        Ok(Self { breaker: Arc::new(breaker), teller })
    }

    fn breaker(&self) -> Arc<Breaker> {
        Arc::clone(&self.breaker)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.teller.retire();
    }
}

/// Lets calls through, as far as was told.
const SHUT: u8 = 0;
/// Lets none through.
const OPEN: u8 = 1;
/// Nothing is told of it any more.
const RETIRED: u8 = 2;

/// Tells the world of one breaker's changes.
struct Teller {
    node: NodeId,
    class: RequestClass,
    events: Option<EventBus>,
    /// What the gauge was told last: it must come out even, however changes and the breaker's
    /// removal follow one another.
    told: AtomicU8,
}

impl Teller {
    const fn new(node: NodeId, class: RequestClass, events: Option<EventBus>) -> Self {
        Self { node, class, events, told: AtomicU8::new(SHUT) }
    }

    fn tell(&self, change: BreakerChange) {
        let next = if telling::is_open(change.to) { OPEN } else { SHUT };
        let unless_retired = |told: u8| (told != RETIRED).then_some(next);
        let before = self.told.fetch_update(Ordering::AcqRel, Ordering::Acquire, unless_retired);
        let Ok(before) = before else { return };
        self.count_open(before, next);
        telling::count_change(self.class.as_str(), change.to);
        if let Some(events) = &self.events {
            events.publish(telling::event(self.node.clone(), self.class.as_str(), change));
        }
    }

    fn retire(&self) {
        let before = self.told.swap(RETIRED, Ordering::AcqRel);
        self.count_open(before, RETIRED);
    }

    fn count_open(&self, before: u8, after: u8) {
        if (before == OPEN) == (after == OPEN) {
            return;
        }
        telling::count_open(self.class.as_str(), if after == OPEN { 1.0 } else { -1.0 });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::error::ErrorKind;
    use crate::event::{Event, Notice};
    use crate::failover::telling::Recorder;

    const NOW: Duration = Duration::from_secs(1);

    fn node(number: usize) -> NodeId {
        format!("node-{number}").parse().unwrap()
    }

    fn class(number: usize) -> RequestClass {
        format!("class-{number}").parse().unwrap()
    }

    fn breakers() -> Breakers {
        Breakers::new(BreakerPolicy::default()).unwrap()
    }

    #[test]
    fn each_class_of_a_node_has_a_breaker_of_its_own_that_all_share() {
        let breakers = breakers();
        let first = breakers.get(&node(1), &class(1)).unwrap();
        assert!(Arc::ptr_eq(&first, &breakers.get(&node(1), &class(1)).unwrap()));
        assert!(!Arc::ptr_eq(&first, &breakers.get(&node(1), &class(2)).unwrap()));
        assert!(!Arc::ptr_eq(&first, &breakers.get(&node(2), &class(1)).unwrap()));
        first.force_open(NOW);
        let states: Vec<_> = breakers.states().into_iter().map(|standing| standing.state).collect();
        assert_eq!(states, [BreakerState::ForcedOpen, BreakerState::Closed, BreakerState::Closed]);
    }

    #[test]
    fn a_class_may_have_a_policy_of_its_own() {
        let strict = BreakerPolicy { consecutive_failures: Some(1), ..BreakerPolicy::default() };
        let breakers = breakers().with_policy_for(class(1), strict).unwrap();
        for number in 1..=2 {
            let breaker = breakers.get(&node(1), &class(number)).unwrap();
            breaker.acquire(NOW).unwrap().failure(NOW);
            assert_eq!(breaker.state() == BreakerState::Open, number == 1);
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_field() {
        let wrong = BreakerPolicy { min_calls: 0, ..BreakerPolicy::default() };
        assert_eq!(Breakers::new(wrong).unwrap_err().field(), Some("min_calls"));
        let refused = breakers().with_policy_for(class(1), wrong).unwrap_err();
        assert_eq!(refused.field(), Some("min_calls"));
        let refused = breakers().with_max_breakers(0).unwrap_err();
        assert_eq!(refused.field(), Some("max_breakers"));
    }

    #[test]
    fn no_more_breakers_are_made_than_may_be_and_forgetting_makes_room() {
        let breakers = breakers().with_max_breakers(2).unwrap();
        breakers.get(&node(1), &class(1)).unwrap();
        breakers.get(&node(1), &class(2)).unwrap();
        let full = breakers.get(&node(2), &class(1)).unwrap_err();
        assert_eq!(full.kind(), ErrorKind::Exhausted);
        assert_eq!(full.downcast_ref(), Some(&FailoverError::BreakersFull { max: 2 }));
        assert!(breakers.get(&node(1), &class(2)).is_ok(), "it is there already");
        assert_eq!(breakers.forget(&node(1)), 2);
        assert!(breakers.is_empty());
        assert!(breakers.get(&node(2), &class(1)).is_ok());
    }

    #[test]
    fn breakers_open_for_different_times_and_a_replay_for_the_same() {
        let wait = |seed, number| {
            let breakers = breakers().seeded(seed);
            let breaker = breakers.get(&node(number), &class(1)).unwrap();
            (0..5).for_each(|_| breaker.acquire(NOW).unwrap().failure(NOW));
            breaker.acquire(NOW).unwrap_err().retry_after.unwrap()
        };
        let waits: BTreeSet<_> = (0..20).map(|number| wait(7, number)).collect();
        assert!(waits.len() > 10, "{waits:?}");
        assert_eq!(wait(7, 3), wait(7, 3));
        assert!((0..20).any(|number| wait(7, number) != wait(8, number)));
    }

    #[test]
    fn changes_are_told_to_listeners_and_metrics() {
        let (bus, recorder) = (EventBus::new(16), Recorder::default());
        let mut heard = bus.subscribe();
        metrics::with_local_recorder(&recorder, || {
            let breakers = breakers().with_events(bus);
            let breaker = breakers.get(&node(1), &class(1)).unwrap();
            (0..5).for_each(|_| breaker.acquire(NOW).unwrap().failure(NOW));
            assert_eq!(recorder.open("class-1").to_bits(), 1.0_f64.to_bits());
            breaker.force_closed(NOW);
        });
        let event = |from: &str, to: &str, reason: Option<&str>| {
            let (from, to, reason) = (from.to_owned(), to.to_owned(), reason.map(str::to_owned));
            let class = class(1).to_string();
            Some(Notice::Event(Event::BreakerChanged { node: node(1), class, from, to, reason }))
        };
        assert_eq!(heard.try_next(), event("closed", "open", Some("consecutive_failures")));
        assert_eq!(heard.try_next(), event("open", "forced_closed", None));
        assert_eq!(heard.try_next(), None);
        let count =
            |to| recorder.bits(&format!("fogcore_breaker_changes_total{{class=class-1,to={to}}}"));
        assert_eq!([count("open"), count("forced_closed"), count("closed")], [1, 1, 0]);
        assert_eq!(recorder.open("class-1").to_bits(), 0.0_f64.to_bits());
    }

    #[test]
    fn a_forgotten_breaker_works_on_and_tells_nobody() {
        let (bus, recorder) = (EventBus::new(16), Recorder::default());
        metrics::with_local_recorder(&recorder, || {
            let breakers = breakers().with_events(bus.clone());
            let [opened, kept] = [1, 2].map(|number| {
                let breaker = breakers.get(&node(number), &class(1)).unwrap();
                breaker.force_open(NOW);
                breaker
            });
            assert_eq!(recorder.open("class-1").to_bits(), 2.0_f64.to_bits());
            breakers.forget(&node(1));
            assert_eq!(recorder.open("class-1").to_bits(), 1.0_f64.to_bits());
            let mut heard = bus.subscribe();
            opened.release(NOW);
            opened.force_open(NOW);
            assert_eq!(opened.state(), BreakerState::ForcedOpen);
            assert_eq!(heard.try_next(), None);
            drop(breakers);
            assert_eq!(kept.state(), BreakerState::ForcedOpen);
            assert_eq!(recorder.open("class-1").to_bits(), 0.0_f64.to_bits());
        });
    }

    #[test]
    fn names_that_are_told_are_the_names_in_json() {
        use crate::failover::OpenReason as R;
        use BreakerState as S;
        for state in [S::Closed, S::Open, S::HalfOpen, S::ForcedOpen, S::ForcedClosed] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        for reason in [R::FailureRate, R::SlowRate, R::ConsecutiveFailures, R::ProbeFailed] {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }

    #[test]
    fn threads_that_ask_at_once_get_the_same_breakers_and_never_too_many() {
        let breakers = breakers().with_max_breakers(50).unwrap();
        let ask = || -> Vec<Option<Arc<Breaker>>> {
            let keys = (0..80).map(|number| (node(number % 20), class(number / 20)));
            keys.map(|(node, class)| breakers.get(&node, &class).ok()).collect()
        };
        let got: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(breakers.len(), 50);
        assert_eq!(breakers.states().len(), 50);
        for number in 0..80 {
            let mut same = got.iter().filter_map(|list| list[number].as_ref());
            if let Some(first) = same.next() {
                assert!(same.all(|other| Arc::ptr_eq(first, other)));
            }
        }
    }

    proptest! {
        #[test]
        fn over_any_history_it_is_a_map_with_a_limit(
            acts in proptest::collection::vec((0_usize..6, 0_usize..4, 0_u8..8), 1..100),
        ) {
            let recorder = Recorder::default();
            metrics::with_local_recorder(&recorder, || {
                let breakers = breakers().with_max_breakers(10).unwrap();
                let mut naive = BTreeMap::new();
                for (n, c, act) in acts {
                    let key = (node(n), class(c));
                    if act == 0 {
                        let before = naive.len();
                        naive.retain(|(kept, _), _| *kept != key.0);
                        prop_assert_eq!(breakers.forget(&key.0), before - naive.len());
                        continue;
                    }
                    let room = naive.contains_key(&key) || naive.len() < 10;
                    let got = breakers.get(&key.0, &key.1);
                    prop_assert_eq!(got.is_ok(), room);
                    let Ok(breaker) = got else { continue };
                    let state = naive.entry(key).or_insert(BreakerState::Closed);
                    match act {
                        1 | 2 => {
                            breaker.force_open(NOW);
                            *state = BreakerState::ForcedOpen;
                        }
                        3 => {
                            breaker.release(NOW);
                            *state = BreakerState::Closed;
                        }
                        _ => {}
                    }
                }
                let states = breakers.states().into_iter().map(|s| ((s.node, s.class), s.state));
                prop_assert!(states.eq(naive.clone()));
                prop_assert_eq!(breakers.len(), naive.len());
                for number in 0..4 {
                    let class = class(number);
                    let open = naive.iter().filter(|((_, of), state)| {
                        *of == class && **state == BreakerState::ForcedOpen
                    });
                    let told = recorder.open(class.as_str());
                    prop_assert_eq!(told.to_bits(), (open.count() as f64).to_bits());
                }
                Ok(())
            })?;
        }
    }
}
