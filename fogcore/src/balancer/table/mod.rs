//! All nodes, and the lists that they are in: one lock for those who change them, none for those
//! who pick.
mod membership;
mod upkeep;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use crate::balancer::endpoint::Endpoint;
use crate::balancer::meter::Meter;
use crate::balancer::news::News;
use crate::balancer::policy::BalancerPolicy;
use crate::balancer::pool::{Health, Pool};
use crate::balancer::slot::{Record, Slot};
use crate::balancer::stable::{CAPACITY, Stable};
use crate::error::{Error, ErrorKind};
use crate::failover::BreakerPolicy;
use crate::id::NodeId;
use crate::registry::Ineligible;

/// The most nodes: their numbers must fit into the ring's entries.
pub(in crate::balancer) const MOST_NODES: u32 = CAPACITY - 64;
/// The most scopes: what names in requests can make a balancer remember.
pub(in crate::balancer) const MOST_POOLS: usize = 65_536;
/// A node's place is given to another one only after this: whoever read its number in a list has
/// long used it then.
const REST_OF_A_PLACE: Duration = Duration::from_secs(60);

/// What is needed at every pick, ready for use.
#[derive(Debug)]
pub(in crate::balancer) struct Settings {
    pub(in crate::balancer) classes: u8,
    /// What a nanosecond takes from a latency, as a share of it.
    pub(in crate::balancer) latency_fading: f32,
    slow_start: Duration,
    slow_start_from: f64,
    pub(in crate::balancer) breaker: Arc<BreakerPolicy>,
    ring_points: u16,
    subset_keys: Vec<String>,
    pub(in crate::balancer) with_ring: bool,
}

impl Settings {
    #[expect(clippy::cast_possible_truncation, reason = "seven digits are enough")]
    fn new(policy: &BalancerPolicy, with_ring: bool) -> Self {
        Self {
            classes: u8::try_from(policy.classes.len() + 1).unwrap_or(u8::MAX),
            latency_fading: (1e-9 / policy.latency_memory.as_secs_f64()) as f32,
            slow_start: policy.slow_start,
            slow_start_from: policy.slow_start_from,
            breaker: Arc::new(policy.breaker),
            ring_points: policy.ring_points,
            subset_keys: policy.subset_keys.clone(),
            with_ring,
        }
    }

    /// The share of a node that has been starting slowly for so many milliseconds, 0–1.
    pub(in crate::balancer) fn slow_share(&self, millis: u32) -> f64 {
        let done = f64::from(millis) / (self.slow_start.as_secs_f64() * 1e3).max(1.0);
        done.clamp(self.slow_start_from, 1.0)
    }
}

/// What a pool is for: a request class, and a region and a label, if they matter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub(in crate::balancer) struct PoolKey {
    pub(in crate::balancer) class: u8,
    pub(in crate::balancer) region: Option<String>,
    pub(in crate::balancer) label: Option<(String, String)>,
}

/// A node's place in a pool.
#[derive(Clone, Copy, Debug)]
pub(in crate::balancer) struct Place {
    pub(in crate::balancer) pool: u32,
    pub(in crate::balancer) class: u8,
    /// Which list it is in, and where.
    pub(in crate::balancer) listed: Option<(Health, u32)>,
}

/// What only those who change something need to know of a node.
#[derive(Debug)]
pub(in crate::balancer) struct Member {
    pub(in crate::balancer) endpoint: Arc<Endpoint>,
    pub(in crate::balancer) places: Vec<Place>,
    /// Why it may not work, if it may not.
    pub(in crate::balancer) ineligible: Option<Ineligible>,
    pub(in crate::balancer) rests_until: Option<u64>,
    pub(in crate::balancer) ejected_until: Option<u64>,
    /// How many times as long as the first time it was out the last time.
    ejected_times: u32,
    /// Whether it was out at any time since the last comparison.
    was_ejected: bool,
    slow_until: Option<u64>,
    /// When its timer runs, if it has one.
    wakes_at: Option<u64>,
    /// Whether it took requests, its breakers aside, when it was last looked at.
    was_in: bool,
    /// What had been completed and had failed at the last comparison.
    pub(in crate::balancer) compared: (u32, u32),
}

#[derive(Debug, Default)]
pub(in crate::balancer) struct Writer {
    pub(in crate::balancer) members: Vec<Option<Member>>,
    /// Places that somebody has left, and when.
    left: VecDeque<(u32, u64)>,
    pools: HashMap<PoolKey, u32>,
    pub(in crate::balancer) pool_keys: Vec<PoolKey>,
    timers: BinaryHeap<Reverse<(u64, u32)>>,
    pub(in crate::balancer) compared_at: Duration,
    /// How many nodes are ejected.
    ejected: usize,
}

impl Writer {
    /// Whether there is such a pool already.
    pub(in crate::balancer) fn knows(&self, key: &PoolKey) -> bool {
        self.pools.contains_key(key)
    }

    /// The places of all nodes.
    pub(in crate::balancer) fn numbers(&self) -> impl Iterator<Item = u32> {
        let numbers = (0_u32..).zip(&self.members);
        numbers.filter(|(_, member)| member.is_some()).map(|(number, _)| number)
    }

    /// After a comparison: who was not out since the one before is out for less long the next time.
    /// (Envoy, which counts down at each interval.)
    pub(in crate::balancer) fn forgive(&mut self) {
        for member in self.members.iter_mut().flatten() {
            let is_out = member.ejected_until.is_some();
            if !is_out && !member.was_ejected {
                member.ejected_times = member.ejected_times.saturating_sub(1);
            }
            member.was_ejected = is_out;
        }
    }
}

/// All nodes.
#[derive(Debug)]
pub(in crate::balancer) struct Table {
    pub(in crate::balancer) settings: Settings,
    meters: Stable<Meter>,
    records: Stable<Record>,
    pools: Stable<OnceLock<Box<Pool>>>,
    names: RwLock<HashMap<NodeId, u32>>,
    writer: Mutex<Writer>,
    /// Nanoseconds at which the next timer is due.
    next_timer: AtomicU64,
    /// How often a node's flags were brought up to date; it begins at one.
    pub(in crate::balancer) changes: AtomicU64,
    hot_above: AtomicU32,
    pub(in crate::balancer) seed: u64,
    pub(in crate::balancer) news: News,
}

impl Table {
    pub(in crate::balancer) fn new(policy: &BalancerPolicy, with_ring: bool, seed: u64) -> Self {
        let table = Self {
            settings: Settings::new(policy, with_ring),
            meters: Stable::default(),
            records: Stable::default(),
            pools: Stable::default(),
            names: RwLock::default(),
            writer: Mutex::default(),
            next_timer: AtomicU64::new(u64::MAX),
            changes: AtomicU64::new(1),
            hot_above: AtomicU32::new(f32::INFINITY.to_bits()),
            seed,
            news: News::new(&policy.classes),
        };
        let mut writer = table.lock();
        for class in 0..table.settings.classes {
            // The first pools; there is room for them.
            let _ = table.pool_for(&mut writer, PoolKey { class, region: None, label: None });
        }
        drop(writer);
        table
    }

    pub(in crate::balancer) fn lock(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    pub(in crate::balancer) fn meter(&self, number: u32) -> Option<&Meter> {
        self.meters.get(number)
    }

    pub(in crate::balancer) fn record(&self, number: u32) -> Option<&Record> {
        self.records.get(number)
    }

    pub(in crate::balancer) fn slot(&self, number: u32) -> Option<Slot<'_>> {
        Some(Slot { meter: self.meter(number)?, record: self.record(number)? })
    }

    #[inline]
    pub(in crate::balancer) fn pool(&self, number: u32) -> Option<&Pool> {
        Some(self.pools.get(number)?.get()?)
    }

    /// How many changes were made, those that somebody is in the middle of included.
    pub(in crate::balancer) fn changes_made(&self) -> u64 {
        drop(self.lock());
        self.changes.load(Ordering::Acquire)
    }

    pub(in crate::balancer) fn number(&self, node: &NodeId) -> Option<u32> {
        self.names.read().unwrap_or_else(PoisonError::into_inner).get(node).copied()
    }

    pub(in crate::balancer) fn len(&self) -> usize {
        self.names.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(in crate::balancer) fn hot_above(&self) -> f32 {
        f32::from_bits(self.hot_above.load(Ordering::Relaxed))
    }

    pub(in crate::balancer) fn set_hot_above(&self, requests: f32) {
        self.hot_above.store(requests.to_bits(), Ordering::Relaxed);
    }

    /// Bytes that all of it takes, without the names.
    pub(in crate::balancer) fn bytes(&self) -> usize {
        let writer = self.lock();
        let each = size_of::<Meter>() + size_of::<Record>() + size_of::<Option<Member>>();
        let slots = writer.members.len() * each;
        let places: usize = writer
            .members
            .iter()
            .flatten()
            .map(|member| member.places.capacity() * (size_of::<Place>() + size_of::<u32>()))
            .sum();
        let rings = (0..u32::try_from(writer.pool_keys.len()).unwrap_or(0))
            .filter_map(|number| Some(self.pool(number)?.ring.get()?.bytes()))
            .sum::<usize>();
        slots + places + rings
    }
}

fn full() -> Error {
    Error::new(ErrorKind::Exhausted, format!("there is room for {MOST_NODES} nodes"))
}
