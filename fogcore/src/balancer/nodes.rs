//! What a balancer is told of its nodes: who is there, and how they are.

use std::sync::Arc;
use std::time::Duration;

use super::balancer::Balancer;
use super::endpoint::Endpoint;
use super::meter::{AWAY, DRAINING, FULL, INELIGIBLE, LATE, NO_SHARE, UNHEALTHY, takes};
use super::report::Load;
use super::request::Class;
use super::slot::Slot;
use crate::error::{Error, ErrorKind, Result};
use crate::failover::words::{nanos, quarter, whole};
use crate::failover::{EjectReason, far_from_the_rest};
use crate::id::NodeId;
use crate::registry::Eligibility;

impl Balancer {
    // Who is there.

    /// Takes a node in, or takes in what has changed of it. A new one starts slowly.
    ///
    /// # Errors
    /// InvalidInput with the field's name; Exhausted if there are too many nodes, regions or
    /// labels.
    pub fn join(&self, endpoint: Endpoint, now: Duration) -> Result<()> {
        endpoint.check()?;
        self.table.join(endpoint, nanos(now))
    }

    /// Lets a node go; tells whether it was there. Its requests in flight end as they do.
    pub fn leave(&self, node: &NodeId, now: Duration) -> bool {
        self.table.leave(node, nanos(now))
    }

    /// A node by its place, as [`Permit::index`](super::Permit::index) tells it.
    #[must_use]
    pub fn endpoint(&self, index: u32) -> Option<Arc<Endpoint>> {
        self.table.record(index)?.endpoint()
    }

    /// How many requests a node has in flight; none if it is not there.
    #[must_use]
    pub fn in_flight(&self, node: &NodeId) -> Option<u32> {
        Some(self.table.meter(self.table.number(node)?)?.in_flight())
    }

    /// Whether a node is among those that take requests of a class at `now`, as far as nobody
    /// panics: in health, with its breaker closed, neither drained nor away nor at rest. None if it
    /// or the class is not there.
    #[must_use]
    pub fn takes(&self, node: &NodeId, class: Class, now: Duration) -> Option<bool> {
        self.table.tend_all(nanos(now));
        let meter = self.table.meter(self.table.number(node)?)?;
        // A class may come from another process.
        let known = class.0 < self.table.settings.classes;
        known.then(|| takes(meter.flags(), class.0, false))
    }

    // How they are.

    /// Takes in what a node tells of its load. A node that tells something is not away.
    ///
    /// # Errors
    /// InvalidInput with the field's name; NotFound for a node that is not there.
    pub fn report(&self, node: &NodeId, load: &Load, now: Duration) -> Result<()> {
        load.check()?;
        let number = self.table.number(node).ok_or_else(|| not_found(node))?;
        let slot = self.table.slot(number).ok_or_else(|| not_found(node))?;
        slot.meter.report(load, nanos(now));
        if let Some(in_flight) = load.in_flight {
            let weight = slot.meter.weight().max(1);
            self.learn_hot(f64::from(in_flight) * 100.0 / f64::from(weight));
        }
        let share = part(load.headroom(&self.policy.power));
        slot.record.headroom.store(share, std::sync::atomic::Ordering::Relaxed);
        slot.share_again();
        if slot.meter.flags() & AWAY != 0 {
            self.flag(node, AWAY, false, now)?;
        }
        Ok(())
    }

    /// Moves the bound between cold and hot nodes towards what 84 % of the reports stay below
    /// (Robbins and Monro 1951: a step up for each report above it, a smaller one down else).
    #[expect(clippy::cast_possible_truncation, reason = "seven digits are enough")]
    fn learn_hot(&self, requests: f64) {
        const QUANTILE: f64 = 0.84;
        const STEP: f64 = 0.05;
        let before = f64::from(self.table.hot_above());
        let after = if before.is_finite() {
            let below = if requests <= before { 1.0 } else { 0.0 };
            before + STEP * (before + 1.0) * (QUANTILE - below)
        } else {
            requests
        };
        self.table.set_hot_above(after.clamp(0.0, f64::from(f32::MAX)) as f32);
    }

    /// Tells whether a node's health probes pass.
    ///
    /// # Errors
    /// NotFound for a node that is not there.
    pub fn set_healthy(&self, node: &NodeId, healthy: bool, now: Duration) -> Result<()> {
        self.flag(node, UNHEALTHY, !healthy, now)
    }

    /// Tells whether a node's heartbeat is late. Until it is not, the node counts as one that does
    /// not do well, whatever its probes say.
    ///
    /// # Errors
    /// NotFound for a node that is not there.
    pub fn set_late(&self, node: &NodeId, late: bool, now: Duration) -> Result<()> {
        self.flag(node, LATE, late, now)
    }

    /// Tells whether a node may work at all; one that may not gets nothing, however few others
    /// there are.
    ///
    /// # Errors
    /// NotFound for a node that is not there.
    pub fn set_eligibility(
        &self,
        node: &NodeId,
        eligibility: Eligibility,
        now: Duration,
    ) -> Result<()> {
        let updated = self.table.update(node, nanos(now), |slot, member| {
            member.ineligible = eligibility.err();
            set_flag(slot, INELIGIBLE, eligibility.is_err());
        });
        updated.ok_or_else(|| not_found(node))
    }

    /// Tells that a node is away as expected (asleep, off the network), which is no failure, or
    /// back.
    ///
    /// # Errors
    /// NotFound for a node that is not there.
    pub fn set_away(&self, node: &NodeId, away: bool, now: Duration) -> Result<()> {
        self.flag(node, AWAY, away, now)
    }

    /// Lets a node end what it has and gives it nothing new, or takes that back.
    ///
    /// # Errors
    /// NotFound for a node that is not there.
    pub fn drain(&self, node: &NodeId, drain: bool, now: Duration) -> Result<()> {
        self.flag(node, DRAINING, drain, now)
    }

    /// Leaves a node this share of its weight, 0–1; zero drains it.
    ///
    /// # Errors
    /// InvalidInput for what is no share; NotFound for a node that is not there.
    pub fn set_share(&self, node: &NodeId, share: f64, now: Duration) -> Result<()> {
        if !(0.0..=1.0).contains(&share) {
            return Err(Error::invalid("share", "must be between 0 and 1"));
        }
        let part = part(share);
        let updated = self.table.update(node, nanos(now), |slot, _| {
            slot.record.kept.store(part, std::sync::atomic::Ordering::Relaxed);
            slot.share_again();
            set_flag(slot, NO_SHARE, part == 0);
        });
        updated.ok_or_else(|| not_found(node))
    }

    fn flag(&self, node: &NodeId, flag: u32, on: bool, now: Duration) -> Result<()> {
        let updated = self.table.update(node, nanos(now), |slot, _| set_flag(slot, flag, on));
        updated.ok_or_else(|| not_found(node))
    }

    /// Opens or closes a node's breaker until it is released (`None`).
    ///
    /// # Errors
    /// NotFound for a node or a class that is not there.
    pub fn force_breaker(
        &self,
        node: &NodeId,
        class: Class,
        open: Option<bool>,
        now: Duration,
    ) -> Result<()> {
        if class.0 >= self.table.settings.classes {
            return Err(Error::new(ErrorKind::NotFound, "there is no such request class"));
        }
        let updated = self.table.update(node, nanos(now), |slot, _| {
            slot.with_breaker(class.0, |breaker| match open {
                Some(true) => breaker.force_open(now),
                Some(false) => breaker.force_closed(now),
                None => breaker.release(now),
            });
        });
        self.table.tell();
        updated.ok_or_else(|| not_found(node))
    }

    /// What has to be done from time to time, and does not depend on picks: runs timers, tells
    /// listeners what is left to tell and, if a comparison is due, leaves out the nodes that are far
    /// worse than the rest.
    pub fn maintain(&self, now: Duration) {
        self.table.tend_all(nanos(now));
        self.table.tell();
        let Some(outliers) = &self.policy.outliers else { return };
        let mut writer = self.table.lock();
        if now < writer.compared_at.saturating_add(outliers.compare_every) {
            return;
        }
        writer.compared_at = now;
        let numbers: Vec<u32> = writer.numbers().collect();
        let observed: Vec<_> =
            numbers.iter().map(|number| self.table.observed(&mut writer, *number)).collect();
        for outlier in far_from_the_rest(&observed, outliers) {
            let number = numbers[outlier.index];
            self.table.eject(&mut writer, number, nanos(now), outlier.reason, outliers);
        }
        writer.forgive();
    }

    /// Leaves a node out if this failure, before which `place` calls ended there, is the last of too
    /// many in a row.
    pub(super) fn eject_after_row(&self, slot: Slot<'_>, number: u32, place: u32, now: u64) {
        let Some(outliers) = &self.policy.outliers else { return };
        let Some(most) = outliers.consecutive_failures else { return };
        if slot.record.failure_row.fails(place, most) {
            let reason = EjectReason::ConsecutiveFailures;
            self.table.eject(&mut self.table.lock(), number, now, reason, outliers);
        }
    }
}

/// A share, 0–1, in parts of a full one.
fn part(share: f64) -> u16 {
    quarter(whole(share * f64::from(FULL)))
}

fn set_flag(slot: Slot<'_>, flag: u32, on: bool) {
    use std::sync::atomic::Ordering::AcqRel;
    if on {
        slot.meter.status.fetch_or(flag, AcqRel);
    } else {
        slot.meter.status.fetch_and(!flag, AcqRel);
    }
}

fn not_found(node: &NodeId) -> Error {
    Error::new(ErrorKind::NotFound, format!("the balancer knows no node {:?}", node.as_str()))
}
