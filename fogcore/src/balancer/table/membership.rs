//! Nodes that join and leave, and the pools that they belong to.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, PoisonError};

use super::{MOST_NODES, MOST_POOLS, Member, Place, PoolKey, REST_OF_A_PLACE, Table, Writer, full};
use crate::balancer::endpoint::Endpoint;
use crate::balancer::meter::{LIVE, Meter, SLOW_START};
use crate::balancer::news;
use crate::balancer::pool::{Health, weight_class};
use crate::balancer::ring::{self, Ring};
use crate::balancer::slot::{Record, Slot};
use crate::error::{Error, ErrorKind, Result};
use crate::failover::words::nanos;
use crate::failover::{Breaker, BreakerState};
use crate::id::NodeId;

impl Table {
    /// Takes a node in, or takes in what has changed of it.
    pub(in crate::balancer) fn join(&self, endpoint: Endpoint, now: u64) -> Result<()> {
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
        slot.record.start_slowly(now);
        let flags = if slow_start { LIVE | SLOW_START } else { LIVE };
        slot.meter.status.store(flags, Ordering::Release);
        self.refresh(&mut writer, number, now);
        Ok(())
    }

    /// Gives a node its place, but puts it into no list yet.
    pub(in crate::balancer) fn move_in(
        &self,
        writer: &mut Writer,
        number: u32,
        endpoint: Arc<Endpoint>,
        places: Vec<Place>,
    ) -> Result<Slot<'_>> {
        let meter = self.meters.get_or_make(number, |_| Meter::new());
        let make = |number| Record::new(self.breaker(number, 0));
        let record = self.records.get_or_make(number, make);
        let (Some(meter), Some(record)) = (meter, record) else { return Err(full()) };
        let slot = Slot { meter, record };
        self.forget_breakers(slot);
        let classes = self.settings.classes;
        slot.move_in(Arc::clone(&endpoint), classes, |class| self.breaker(number, class));
        self.ring_change(&places, &endpoint, number, Ring::add);
        self.enrol(&places, true);
        let id = endpoint.id.clone();
        let member = Member {
            endpoint,
            places,
            ineligible: None,
            rests_until: None,
            ejected_until: None,
            ejected_times: 0,
            was_ejected: false,
            slow_until: None,
            wakes_at: None,
            was_in: true,
            compared: (meter.completed(), slot.failed()),
        };
        let index = number as usize;
        if writer.members.len() <= index {
            writer.members.resize_with(index + 1, || None);
        }
        writer.members[index] = Some(member);
        self.names.write().unwrap_or_else(PoisonError::into_inner).insert(id, number);
        Ok(slot)
    }

    /// A breaker for a place and a class.
    fn breaker(&self, number: u32, class: u8) -> Breaker {
        let seed = self.seed ^ u64::from(number) ^ u64::from(class) << 32;
        let breaker = Breaker::sharing(Arc::clone(&self.settings.breaker)).seeded(seed);
        match self.news.on_change() {
            Some(on_change) => breaker.telling(on_change, news::tag(number, class)),
            None => breaker,
        }
    }

    /// Makes a place's breakers what they are for a node of which nothing is known.
    fn forget_breakers(&self, slot: Slot<'_>) {
        for class in 0..self.settings.classes {
            let mut was = BreakerState::Closed;
            slot.with_breaker(class, |breaker| was = breaker.reset());
            self.news.breaker_forgotten(class, was);
        }
        // What came in between is nobody's, and must not become the next node's.
        self.tell();
    }

    /// Puts a node into one list, as it was in a snapshot.
    pub(in crate::balancer) fn list(
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
        let Some(Some(member)) = writer.members.get_mut(number as usize) else {
            return Err(full());
        };
        let pools = |places: &[Place]| -> Vec<u32> { places.iter().map(|at| at.pool).collect() };
        // Who only changes its name tag keeps its keys and its place in the lists.
        if member.endpoint.weight == endpoint.weight && pools(&member.places) == pools(&places) {
            member.endpoint = Arc::clone(&endpoint);
        } else {
            self.unlist(writer, number);
            if let Some(Some(member)) = writer.members.get_mut(number as usize) {
                self.ring_change(&member.places, &member.endpoint, number, Ring::remove);
                self.enrol(&member.places, false);
                self.ring_change(&places, &endpoint, number, Ring::add);
                self.enrol(&places, true);
                (member.places, member.endpoint) = (places, Arc::clone(&endpoint));
            }
        }
        slot.redescribe(endpoint);
        self.refresh(writer, number, now);
        Ok(())
    }

    /// Lets a node go. Its requests in flight end as they do.
    pub(in crate::balancer) fn leave(&self, node: &NodeId, now: u64) -> bool {
        let mut writer = self.lock();
        let number = self.names.write().unwrap_or_else(PoisonError::into_inner).remove(node);
        let Some(number) = number else { return false };
        if let Some(slot) = self.slot(number) {
            slot.meter.status.store(0, Ordering::Release);
            // What is still to be told of it, while its name is known.
            self.tell();
            slot.record.set_endpoint(None);
            self.forget_breakers(slot);
        }
        self.unlist(&mut writer, number);
        if let Some(member) = writer.members.get_mut(number as usize).and_then(Option::take) {
            self.ring_change(&member.places, &member.endpoint, number, Ring::remove);
            self.enrol(&member.places, false);
            if member.ejected_until.is_some() {
                writer.ejected -= 1;
                self.news.left_while_out();
            }
        }
        writer.left.push_back((number, now));
        self.changes.fetch_add(1, Ordering::AcqRel);
        true
    }

    /// A place that nobody can be looking at any more, or a new one.
    fn free_place(&self, writer: &mut Writer, now: u64) -> Result<u32> {
        let rest = nanos(REST_OF_A_PLACE);
        if let Some((number, since)) = writer.left.pop_front() {
            let in_flight = self.meter(number).map_or(0, Meter::in_flight);
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
    pub(in crate::balancer) fn places(
        &self,
        writer: &mut Writer,
        endpoint: &Endpoint,
    ) -> Result<Vec<Place>> {
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
    pub(in crate::balancer) fn pool_for(&self, writer: &mut Writer, key: PoolKey) -> Result<u32> {
        if let Some(number) = writer.pools.get(&key) {
            return Ok(*number);
        }
        let number = u32::try_from(writer.pool_keys.len()).unwrap_or(u32::MAX);
        if writer.pool_keys.len() >= MOST_POOLS {
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

    /// Tells pools that a node belongs to them, or no more.
    fn enrol(&self, places: &[Place], joins: bool) {
        for pool in places.iter().filter_map(|place| self.pool(place.pool)) {
            pool.count_member(joins);
        }
    }

    /// Whether a node belongs to a pool, whether it takes requests or not.
    pub(in crate::balancer) fn is_in(&self, number: u32, pool: u32) -> bool {
        // Everybody is in the first ones, and nobody need be asked.
        if pool < u32::from(self.settings.classes) {
            return true;
        }
        let writer = self.lock();
        let member = writer.members.get(number as usize).and_then(Option::as_ref);
        member.is_some_and(|member| member.places.iter().any(|place| place.pool == pool))
    }

    /// Makes a pool's ring, if it has none yet.
    pub(in crate::balancer) fn need_ring(&self, pool_number: u32) {
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
                    let points = ring::points(*weight, self.settings.ring_points);
                    ring.add(id, number, points);
                }
            }
            Box::new(ring)
        });
    }
}
