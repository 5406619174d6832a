//! All nodes, and the lists that they are in: one lock for those who change them, none for those
//! who pick.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use super::endpoint::Endpoint;
use super::policy::BalancerPolicy;
use super::pool::{Health, Pool, weight_class};
use super::ring::{self, Ring};
use super::slot::{AWAY, BREAKERS, EJECTED, LIVE, RESTING, SLOW_START, Slot, breaker_bit};
use super::stable::{CAPACITY, Stable};
use super::stripes::Stripes;
use super::view::takes;
use crate::error::{Error, ErrorKind, Result};
use crate::failover::words::nanos;
use crate::failover::{BreakerPolicy, BreakerState, Observed};
use crate::id::NodeId;
use crate::registry::Ineligible;

/// The most nodes: their numbers must fit into the ring's entries.
pub(super) const MOST_NODES: u32 = CAPACITY - 64;
/// The most scopes: what names in requests can make a balancer remember.
const MOST_POOLS: u32 = 65_536;
/// A node's place is given to another one only after this: whoever read its number in a list has
/// long used it then.
const REST_OF_A_PLACE: Duration = Duration::from_secs(60);

/// What is needed at every pick, ready for use.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) classes: u8,
    /// Nanoseconds.
    pub(super) latency_memory: f64,
    slow_start: Duration,
    slow_start_from: f64,
    pub(super) breaker: Arc<BreakerPolicy>,
    ring_points: u16,
    subset_keys: Vec<String>,
    pub(super) with_ring: bool,
}

impl Settings {
    fn new(policy: &BalancerPolicy, with_ring: bool) -> Self {
        Self {
            classes: u8::try_from(policy.classes.len() + 1).unwrap_or(u8::MAX),
            latency_memory: policy.latency_memory.as_secs_f64() * 1e9,
            slow_start: policy.slow_start,
            slow_start_from: policy.slow_start_from,
            breaker: Arc::new(policy.breaker),
            ring_points: policy.ring_points,
            subset_keys: policy.subset_keys.clone(),
            with_ring,
        }
    }

    /// The share of a node that has been starting slowly for so many milliseconds, 0–1.
    pub(super) fn slow_share(&self, millis: u32) -> f64 {
        let done = f64::from(millis) / (self.slow_start.as_secs_f64() * 1e3).max(1.0);
        done.clamp(self.slow_start_from, 1.0)
    }
}

/// What a pool is for: a request class, and a region and a label, if they matter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub(super) struct PoolKey {
    pub(super) class: u8,
    pub(super) region: Option<String>,
    pub(super) label: Option<(String, String)>,
}

/// A node's place in a pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) pool: u32,
    pub(super) class: u8,
    /// Which list it is in, and where.
    pub(super) listed: Option<(Health, u32)>,
}

/// What only those who change something need to know of a node.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) places: Vec<Place>,
    /// Why it may not work, if it may not.
    pub(super) ineligible: Option<Ineligible>,
    pub(super) rests_until: Option<u64>,
    pub(super) ejected_until: Option<u64>,
    pub(super) ejected_times: u32,
    slow_until: Option<u64>,
    /// Whether it took requests, its breakers aside, when it was last looked at.
    was_in: bool,
    /// What had been completed and had failed at the last comparison.
    pub(super) compared: (u32, u32),
}

#[derive(Debug, Default)]
pub(super) struct Writer {
    pub(super) members: Vec<Option<Member>>,
    /// Places that somebody has left, and when.
    left: VecDeque<(u32, u64)>,
    pools: HashMap<PoolKey, u32>,
    pub(super) pool_keys: Vec<PoolKey>,
    timers: BinaryHeap<Reverse<(u64, u32)>>,
    pub(super) compared_at: Duration,
}

impl Writer {
    /// The places of all nodes.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        let numbers = (0_u32..).zip(&self.members);
        numbers.filter(|(_, member)| member.is_some()).map(|(number, _)| number)
    }
}

/// All nodes.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) settings: Settings,
    slots: Stable<Slot>,
    pools: Stable<OnceLock<Box<Pool>>>,
    names: RwLock<HashMap<NodeId, u32>>,
    writer: Mutex<Writer>,
    /// Nanoseconds at which the next timer is due.
    next_timer: AtomicU64,
    /// Requests in flight, if the strategy asks for them.
    pub(super) requests: Stripes,
    hot_above: AtomicU32,
    pub(super) seed: u64,
}

impl Table {
    pub(super) fn new(policy: &BalancerPolicy, with_ring: bool, seed: u64) -> Self {
        let table = Self {
            settings: Settings::new(policy, with_ring),
            slots: Stable::default(),
            pools: Stable::default(),
            names: RwLock::default(),
            writer: Mutex::default(),
            next_timer: AtomicU64::new(u64::MAX),
            requests: Stripes::default(),
            hot_above: AtomicU32::new(f32::INFINITY.to_bits()),
            seed,
        };
        let mut writer = table.lock();
        for class in 0..table.settings.classes {
            // The first pools; there is room for them.
            let _ = table.pool_for(&mut writer, PoolKey { class, region: None, label: None });
        }
        drop(writer);
        table
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    pub(super) fn slot(&self, number: u32) -> Option<&Slot> {
        self.slots.get(number)
    }

    #[inline]
    pub(super) fn pool(&self, number: u32) -> Option<&Pool> {
        Some(self.pools.get(number)?.get()?)
    }

    pub(super) fn number(&self, node: &NodeId) -> Option<u32> {
        self.names.read().unwrap_or_else(PoisonError::into_inner).get(node).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.names.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// All requests in flight, and the weight that they are spread over.
    pub(super) fn in_flight_for_weight(&self, class: u8) -> (u64, u64) {
        let weight = self.pool(u32::from(class)).map_or(0, Pool::weight);
        (self.requests.sum(), weight)
    }

    pub(super) fn hot_above(&self) -> f32 {
        f32::from_bits(self.hot_above.load(Ordering::Relaxed))
    }

    pub(super) fn set_hot_above(&self, requests: f32) {
        self.hot_above.store(requests.to_bits(), Ordering::Relaxed);
    }

    /// Takes a node in, or takes in what has changed of it.
    pub(super) fn join(&self, endpoint: Endpoint, now: u64) -> Result<()> {
        let mut writer = self.lock();
        let endpoint = Arc::new(endpoint);
        if let Some(number) = self.number(&endpoint.id) {
            return self.rejoin(&mut writer, number, endpoint, now);
        }
        // First what may fail: a place that is taken and not used would be lost.
        let places = self.places(&mut writer, &endpoint)?;
        let number = self.free_place(&mut writer, now)?;
        let slot = self.move_in(&mut writer, number, endpoint, places)?;
        let slow_start = !self.settings.slow_start.is_zero();
        if let Some(Some(member)) = writer.members.get_mut(number as usize) {
            let until = now.saturating_add(nanos(self.settings.slow_start));
            member.slow_until = slow_start.then_some(until);
        }
        slot.start_slowly(now);
        let flags = if slow_start { LIVE | SLOW_START } else { LIVE };
        slot.status.store(flags, Ordering::Release);
        self.refresh(&mut writer, number, now);
        Ok(())
    }

    /// Gives a node its place, but puts it into no list yet.
    pub(super) fn move_in(
        &self,
        writer: &mut Writer,
        number: u32,
        endpoint: Arc<Endpoint>,
        places: Vec<Place>,
    ) -> Result<&Slot> {
        let Settings { breaker, classes, .. } = &self.settings;
        let seed = |number: u32| self.seed ^ u64::from(number);
        let make = |number| Slot::new(breaker, seed(number));
        let Some(slot) = self.slots.get_or_make(number, make) else { return Err(full()) };
        slot.move_in(Arc::clone(&endpoint), *classes, breaker, seed(number));
        self.ring_change(&places, &endpoint, number, Ring::add);
        let id = endpoint.id.clone();
        let member = Member {
            endpoint,
            places,
            ineligible: None,
            rests_until: None,
            ejected_until: None,
            ejected_times: 0,
            slow_until: None,
            was_in: true,
            compared: (slot.completed(), slot.failed()),
        };
        let index = number as usize;
        if writer.members.len() <= index {
            writer.members.resize_with(index + 1, || None);
        }
        writer.members[index] = Some(member);
        self.names.write().unwrap_or_else(PoisonError::into_inner).insert(id, number);
        Ok(slot)
    }

    /// Puts a node into one list, as it was in a snapshot.
    pub(super) fn list(
        &self,
        writer: &mut Writer,
        number: u32,
        pool: u32,
        class: u8,
        health: Health,
    ) -> Result<()> {
        let unknown = || Error::invalid("pools", "a list names a node that is not there");
        let member = writer.members.get_mut(number as usize).and_then(Option::as_mut);
        let member = member.ok_or_else(unknown)?;
        let weight = member.endpoint.weight;
        let place = member.places.iter_mut().find(|place| place.pool == pool);
        let place = place.filter(|place| place.listed.is_none()).ok_or_else(unknown)?;
        if weight_class(weight) != class {
            return Err(Error::invalid("pools", "a node is in a list for another weight"));
        }
        let pool = self.pool(pool).ok_or_else(unknown)?;
        place.listed = Some((health, pool.add(number, weight, health)));
        Ok(())
    }

    fn rejoin(
        &self,
        writer: &mut Writer,
        number: u32,
        endpoint: Arc<Endpoint>,
        now: u64,
    ) -> Result<()> {
        let places = self.places(writer, &endpoint)?;
        let Some(slot) = self.slot(number) else { return Err(full()) };
        self.unlist(writer, number);
        if let Some(Some(member)) = writer.members.get_mut(number as usize) {
            self.ring_change(&member.places, &member.endpoint, number, Ring::remove);
            self.ring_change(&places, &endpoint, number, Ring::add);
            (member.places, member.endpoint) = (places, Arc::clone(&endpoint));
        }
        slot.redescribe(endpoint);
        self.refresh(writer, number, now);
        Ok(())
    }

    /// Lets a node go. Its requests in flight end as they do.
    pub(super) fn leave(&self, node: &NodeId, now: u64) -> bool {
        let mut writer = self.lock();
        let number = self.names.write().unwrap_or_else(PoisonError::into_inner).remove(node);
        let Some(number) = number else { return false };
        if let Some(slot) = self.slot(number) {
            slot.status.store(0, Ordering::Release);
            slot.move_out();
        }
        self.unlist(&mut writer, number);
        if let Some(member) = writer.members.get_mut(number as usize).and_then(Option::take) {
            self.ring_change(&member.places, &member.endpoint, number, Ring::remove);
        }
        writer.left.push_back((number, now));
        true
    }

    /// A place that nobody can be looking at any more, or a new one.
    fn free_place(&self, writer: &mut Writer, now: u64) -> Result<u32> {
        let rest = nanos(REST_OF_A_PLACE);
        if let Some((number, since)) = writer.left.pop_front() {
            let in_flight = self.slot(number).map_or(0, Slot::in_flight);
            if in_flight == 0 && now.saturating_sub(since) >= rest {
                return Ok(number);
            }
            // Requests that never end must not keep the places behind from being used.
            if in_flight > 0 {
                writer.left.push_back((number, since));
            } else {
                writer.left.push_front((number, since));
            }
        }
        let number = u32::try_from(writer.members.len()).unwrap_or(u32::MAX);
        if number >= MOST_NODES { Err(full()) } else { Ok(number) }
    }

    /// The pools that a node belongs to.
    pub(super) fn places(&self, writer: &mut Writer, endpoint: &Endpoint) -> Result<Vec<Place>> {
        let region = (!endpoint.region.is_empty()).then(|| endpoint.region.clone());
        let regions = [None, region];
        let regions = if regions[1].is_some() { &regions[..] } else { &regions[..1] };
        let subset = self.settings.subset_keys.iter();
        let labels = subset.filter_map(|key| endpoint.labels.get_key_value(key));
        let labels: Vec<_> = std::iter::once(None)
            .chain(labels.map(|(key, value)| Some((key.clone(), value.clone()))))
            .collect();
        let mut places = Vec::new();
        for class in 0..self.settings.classes {
            for region in regions {
                for label in &labels {
                    let key = PoolKey { class, region: region.clone(), label: label.clone() };
                    let pool = self.pool_for(writer, key)?;
                    places.push(Place { pool, class, listed: None });
                }
            }
        }
        Ok(places)
    }

    /// The number of a pool, made if need be.
    pub(super) fn pool_for(&self, writer: &mut Writer, key: PoolKey) -> Result<u32> {
        if let Some(number) = writer.pools.get(&key) {
            return Ok(*number);
        }
        let number = u32::try_from(writer.pool_keys.len()).unwrap_or(u32::MAX);
        if number >= MOST_POOLS {
            let message = "no more regions and labels can be told apart";
            return Err(Error::new(ErrorKind::Exhausted, message));
        }
        if let Some(pool) = self.pools.get_or_make(number, |_| OnceLock::new()) {
            let pool = pool.get_or_init(Box::default);
            if self.settings.with_ring {
                pool.ring.get_or_init(Box::default);
            }
        }
        writer.pools.insert(key.clone(), number);
        writer.pool_keys.push(key);
        Ok(number)
    }

    fn ring_change(
        &self,
        places: &[Place],
        endpoint: &Endpoint,
        number: u32,
        change: impl Fn(&Ring, &NodeId, u32, u32),
    ) {
        let points = ring::points(endpoint.weight, self.settings.ring_points);
        for place in places {
            if let Some(ring) = self.pool(place.pool).and_then(|pool| pool.ring.get()) {
                change(ring, &endpoint.id, number, points);
            }
        }
    }

    /// Changes a node's flags and what depends on them.
    pub(super) fn update<T>(
        &self,
        node: &NodeId,
        now: u64,
        change: impl FnOnce(&Slot, &mut Member) -> T,
    ) -> Option<T> {
        let mut writer = self.lock();
        self.update_number(&mut writer, self.number(node)?, now, change)
    }

    pub(super) fn update_number<T>(
        &self,
        writer: &mut Writer,
        number: u32,
        now: u64,
        change: impl FnOnce(&Slot, &mut Member) -> T,
    ) -> Option<T> {
        let slot = self.slot(number)?;
        let member = writer.members.get_mut(number as usize)?.as_mut()?;
        let answer = change(slot, member);
        self.refresh(writer, number, now);
        Some(answer)
    }

    /// Runs what is due, unless somebody else does.
    #[inline]
    pub(super) fn tend(&self, now: u64) {
        if now >= self.next_timer.load(Ordering::Relaxed) {
            self.run_timers(now);
        }
    }

    #[cold]
    fn run_timers(&self, now: u64) {
        let Ok(mut writer) = self.writer.try_lock() else { return };
        while let Some(Reverse((at, number))) = writer.timers.peek().copied()
            && at <= now
        {
            writer.timers.pop();
            self.refresh(&mut writer, number, now);
        }
        let next = writer.timers.peek().map_or(u64::MAX, |Reverse((at, _))| *at);
        self.next_timer.store(next, Ordering::Relaxed);
    }

    /// Brings a node's flags and lists up to date with the time and its breakers, and sets its
    /// next timer.
    pub(super) fn refresh(&self, writer: &mut Writer, number: u32, now: u64) {
        let Some(slot) = self.slot(number) else { return };
        let Some(Some(member)) = writer.members.get_mut(number as usize) else { return };
        let mut flags = slot.flags();
        let mut next = u64::MAX;
        let mut timed = |flag: u32, until: &mut Option<u64>| {
            flags &= !flag;
            match *until {
                Some(at) if at > now => {
                    flags |= flag;
                    next = next.min(at);
                }
                _ => *until = None,
            }
        };
        timed(RESTING, &mut member.rests_until);
        timed(EJECTED, &mut member.ejected_until);
        for class in 0..self.settings.classes {
            let breaker = slot.breaker(class);
            let forced = breaker.state() == BreakerState::ForcedOpen;
            let until = if forced { Some(u64::MAX) } else { breaker.open_until() };
            let open = until.filter(|until| *until > now);
            flags &= !breaker_bit(class);
            if let Some(until) = open {
                flags |= breaker_bit(class);
                next = next.min(until);
            }
        }
        let slow_start = nanos(self.settings.slow_start);
        // Who is back starts slowly. A breaker that closes sees to that itself.
        let is_in = takes(flags & !BREAKERS, 0, false);
        if !std::mem::replace(&mut member.was_in, is_in) && is_in && slow_start > 0 {
            slot.start_slowly(now);
            member.slow_until = Some(now.saturating_add(slow_start));
        }
        flags &= !SLOW_START;
        match member.slow_until {
            Some(at) if at > now => {
                flags |= SLOW_START;
                next = next.min(at);
            }
            _ => member.slow_until = None,
        }
        slot.status.store(flags, Ordering::Release);
        self.relist(writer, number, flags);
        if next < u64::MAX {
            writer.timers.push(Reverse((next, number)));
            self.next_timer.fetch_min(next, Ordering::Relaxed);
        }
    }

    /// Puts a node into the lists where its flags belong.
    fn relist(&self, writer: &mut Writer, number: u32, flags: u32) {
        let Some(Some(member)) = writer.members.get(number as usize) else { return };
        let weight = member.endpoint.weight;
        for index in 0..member.places.len() {
            let Some(Some(member)) = writer.members.get(number as usize) else { return };
            let Place { pool: pool_number, class, listed } = member.places[index];
            let health = if takes(flags, class, false) {
                Some(Health::Ready)
            } else if takes(flags, class, true) {
                Some(Health::Unwell)
            } else {
                None
            };
            if listed.map(|(health, _)| health) == health {
                continue;
            }
            let Some(pool) = self.pool(pool_number) else { continue };
            if let Some((from, at)) = listed {
                let moved = pool.remove(at, weight, from);
                moved.into_iter().for_each(|moved| note_move(writer, moved, pool_number, at));
            }
            let listed = health.map(|health| (health, pool.add(number, weight, health)));
            if let Some(Some(member)) = writer.members.get_mut(number as usize) {
                member.places[index].listed = listed;
            }
        }
    }

    /// Takes a node out of all lists.
    fn unlist(&self, writer: &mut Writer, number: u32) {
        self.relist(writer, number, 0);
    }

    /// Starts a timer for a breaker that has opened.
    pub(super) fn breaker_opened(&self, number: u32, now: u64) {
        let mut writer = self.lock();
        self.refresh(&mut writer, number, now);
    }

    /// A node rests until then, or longer if it does so already.
    pub(super) fn rest(&self, number: u32, now: u64, until: u64) {
        self.update_number(&mut self.lock(), number, now, |_, member| {
            member.rests_until = member.rests_until.max(Some(until));
        });
    }

    /// A node turned out to be away.
    pub(super) fn away(&self, number: u32, now: u64) {
        self.update_number(&mut self.lock(), number, now, |slot, _| {
            slot.status.fetch_or(AWAY, Ordering::AcqRel);
        });
    }

    /// What was seen of a node since this was last asked.
    pub(super) fn observed(&self, writer: &mut Writer, number: u32) -> Observed {
        let Some(slot) = self.slot(number) else { return Observed::default() };
        let Some(Some(member)) = writer.members.get_mut(number as usize) else {
            return Observed::default();
        };
        let (completed, failed) = (slot.completed(), slot.failed());
        let (completed_before, failed_before) = member.compared;
        member.compared = (completed, failed);
        Observed {
            calls: completed.wrapping_sub(completed_before),
            failures: failed.wrapping_sub(failed_before),
            latency: slot.latest_latency(),
        }
    }

    pub(super) fn is_ejected(&self, number: u32) -> bool {
        self.slot(number).is_some_and(|slot| slot.flags() & EJECTED != 0)
    }

    /// Whether a node belongs to a pool, whether it takes requests or not.
    pub(super) fn is_in(&self, number: u32, pool: u32) -> bool {
        // Everybody is in the first ones, and nobody need be asked.
        if pool < u32::from(self.settings.classes) {
            return true;
        }
        let writer = self.lock();
        let member = writer.members.get(number as usize).and_then(Option::as_ref);
        member.is_some_and(|member| member.places.iter().any(|place| place.pool == pool))
    }

    /// Makes a pool's ring, if it has none yet.
    pub(super) fn need_ring(&self, pool_number: u32) {
        let Some(pool) = self.pool(pool_number) else { return };
        if pool.ring.get().is_some() {
            return;
        }
        let writer = self.lock();
        pool.ring.get_or_init(|| {
            let ring = Ring::default();
            for number in writer.numbers() {
                let Some(Some(member)) = writer.members.get(number as usize) else { continue };
                if member.places.iter().any(|place| place.pool == pool_number) {
                    let Endpoint { id, weight, .. } = &*member.endpoint;
                    ring.add(id, number, ring::points(*weight, self.settings.ring_points));
                }
            }
            Box::new(ring)
        });
    }

    /// When the first node of a pool comes back by itself, in nanoseconds, if that is known.
    pub(super) fn next_back(&self, pool: u32, class: u8) -> Option<u64> {
        let writer = self.lock();
        let members = (0_u32..).zip(&writer.members);
        members
            .filter_map(|(number, member)| {
                let (slot, member) = (self.slot(number)?, member.as_ref()?);
                member.places.iter().find(|place| place.pool == pool)?;
                let timed = RESTING | EJECTED | breaker_bit(class);
                // With what ends by itself gone, would it take requests? And does it not yet?
                let flags = slot.flags();
                if !takes(flags & !timed, class, false) || takes(flags, class, false) {
                    return None;
                }
                let breaker = slot.breaker(class);
                let shut = flags & breaker_bit(class) != 0;
                let open_until = if shut { Some(breaker.open_until()?) } else { None };
                [member.rests_until, member.ejected_until, open_until].into_iter().max()?
            })
            .min()
    }

    /// Bytes that all of it takes, without the names.
    pub(super) fn bytes(&self) -> usize {
        let writer = self.lock();
        let slots = writer.members.len() * (size_of::<Slot>() + size_of::<Option<Member>>());
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

/// The node that came into the place of another one.
fn note_move(writer: &mut Writer, moved: u32, pool: u32, to: u32) {
    let Some(Some(member)) = writer.members.get_mut(moved as usize) else { return };
    if let Some(place) = member.places.iter_mut().find(|place| place.pool == pool)
        && let Some((_, at)) = &mut place.listed
    {
        *at = to;
    }
}

fn full() -> Error {
    Error::new(ErrorKind::Exhausted, format!("there is room for {MOST_NODES} nodes"))
}
