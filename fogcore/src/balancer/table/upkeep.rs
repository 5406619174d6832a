//! What changes while nodes stay: flags, timers, and the lists that follow from them.

use std::cmp::Reverse;
use std::sync::atomic::Ordering;

use super::{Member, Place, Table, Writer};
use crate::balancer::meter::{AWAY, BREAKERS, EJECTED, RESTING, SLOW_START, breaker_bit, takes};
use crate::balancer::pool::{Health, Pool};
use crate::balancer::slot::Slot;
use crate::failover::words::nanos;
use crate::failover::{BreakerState, EjectReason, Observed, OutlierPolicy};
use crate::id::NodeId;

/// One pick must not wait for the timers of all others.
const TIMERS_PER_PICK: usize = 32;

impl Table {
    /// Changes a node's flags and what depends on them.
    pub(in crate::balancer) fn update<T>(
        &self,
        node: &NodeId,
        now: u64,
        change: impl FnOnce(Slot<'_>, &mut Member) -> T,
    ) -> Option<T> {
        let mut writer = self.lock();
        self.update_number(&mut writer, self.number(node)?, now, change)
    }

    pub(in crate::balancer) fn update_number<T>(
        &self,
        writer: &mut Writer,
        number: u32,
        now: u64,
        change: impl FnOnce(Slot<'_>, &mut Member) -> T,
    ) -> Option<T> {
        let slot = self.slot(number)?;
        let member = writer.members.get_mut(number as usize)?.as_mut()?;
        let answer = change(slot, member);
        self.refresh(writer, number, now);
        Some(answer)
    }

    /// Runs what is due, unless somebody else does.
    #[inline]
    pub(in crate::balancer) fn tend(&self, now: u64) {
        if now >= self.next_timer.load(Ordering::Relaxed) {
            self.run_timers(now, TIMERS_PER_PICK);
        }
    }

    /// Runs all that is due.
    pub(in crate::balancer) fn tend_all(&self, now: u64) {
        self.run_timers(now, usize::MAX);
    }

    #[cold]
    fn run_timers(&self, now: u64, mut most: usize) {
        let Ok(mut writer) = self.writer.try_lock() else { return };
        while let Some(Reverse((at, number))) = writer.timers.peek().copied()
            && at <= now
            && most > 0
        {
            most -= 1;
            writer.timers.pop();
            if let Some(Some(member)) = writer.members.get_mut(number as usize) {
                member.wakes_at = member.wakes_at.filter(|wakes_at| *wakes_at > at);
            }
            self.refresh(&mut writer, number, now);
        }
        let next = writer.timers.peek().map_or(u64::MAX, |Reverse((at, _))| *at);
        self.next_timer.store(next, Ordering::Relaxed);
        drop(writer);
        self.tell();
    }

    /// Tells listeners what breakers noted under their own locks.
    pub(in crate::balancer) fn tell(&self) {
        self.news.tell(|number| Some(self.record(number)?.endpoint()?.id.clone()));
    }

    /// Brings a node's flags and lists up to date with the time and its breakers, and sets its
    /// next timer.
    pub(in crate::balancer) fn refresh(&self, writer: &mut Writer, number: u32, now: u64) {
        let Some(slot) = self.slot(number) else { return };
        let Some(Some(member)) = writer.members.get_mut(number as usize) else { return };
        let mut flags = slot.meter.flags();
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
        let was_out = member.ejected_until.is_some();
        timed(EJECTED, &mut member.ejected_until);
        if was_out && member.ejected_until.is_none() {
            writer.ejected -= 1;
            self.news.returned(&member.endpoint.id);
        }
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
            slot.record.start_slowly(now);
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
        slot.meter.status.store(flags, Ordering::Release);
        self.relist(writer, number, flags);
        self.changes.fetch_add(1, Ordering::AcqRel);
        let Some(Some(member)) = writer.members.get_mut(number as usize) else { return };
        // One timer per node is enough: when it runs, it is set anew.
        if next < member.wakes_at.unwrap_or(u64::MAX) {
            member.wakes_at = Some(next);
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
    pub(super) fn unlist(&self, writer: &mut Writer, number: u32) {
        self.relist(writer, number, 0);
    }

    /// Starts a timer for a breaker that has opened, and tells it.
    pub(in crate::balancer) fn breaker_opened(&self, number: u32, now: u64) {
        self.refresh(&mut self.lock(), number, now);
        self.tell();
    }

    /// A node rests until then, or longer if it does so already.
    pub(in crate::balancer) fn rest(&self, number: u32, now: u64, until: u64) {
        self.update_number(&mut self.lock(), number, now, |_, member| {
            member.rests_until = member.rests_until.max(Some(until));
        });
    }

    /// A node turned out to be away.
    pub(in crate::balancer) fn away(&self, number: u32, now: u64) {
        self.update_number(&mut self.lock(), number, now, |slot, _| {
            slot.meter.status.fetch_or(AWAY, Ordering::AcqRel);
        });
    }

    /// What was seen of a node since this was last asked.
    pub(in crate::balancer) fn observed(&self, writer: &mut Writer, number: u32) -> Observed {
        let Some(slot) = self.slot(number) else { return Observed::default() };
        let Some(Some(member)) = writer.members.get_mut(number as usize) else {
            return Observed::default();
        };
        let (completed, failed) = (slot.meter.completed(), slot.failed());
        let (completed_before, failed_before) = member.compared;
        member.compared = (completed, failed);
        let calls = completed.wrapping_sub(completed_before);
        let failures = failed.wrapping_sub(failed_before);
        Observed {
            calls,
            failures,
            latency: slot.meter.usual_latency.get().filter(|_| failures < calls),
        }
    }

    /// Leaves a node out for a while, unless it is out already or as many are as may be.
    pub(in crate::balancer) fn eject(
        &self,
        writer: &mut Writer,
        number: u32,
        now: u64,
        reason: EjectReason,
        policy: &OutlierPolicy,
    ) {
        let has_room = writer.ejected < policy.most_out(self.len());
        let Some(Some(member)) = writer.members.get_mut(number as usize) else { return };
        if !has_room || member.ejected_until.is_some() {
            return;
        }
        member.ejected_times = member.ejected_times.saturating_add(1);
        let out_for = policy.out_for(member.ejected_times);
        member.ejected_until = Some(now.saturating_add(nanos(out_for)));
        member.was_ejected = true;
        self.news.ejected(&member.endpoint.id, reason);
        writer.ejected += 1;
        self.refresh(writer, number, now);
    }

    /// When the first node of a pool comes back by itself, in nanoseconds, if that is known.
    pub(in crate::balancer) fn next_back(
        &self,
        scope: &Pool,
        pool: u32,
        class: u8,
        now: u64,
    ) -> Option<u64> {
        let writer = self.lock();
        // Who had the lock before may have counted for everybody.
        let changes = self.changes.load(Ordering::Acquire);
        if let Some(known) = scope.known_back(changes, now) {
            return known;
        }
        let next = self.count_next_back(&writer, pool, class);
        scope.keep_back(changes, next);
        next
    }

    fn count_next_back(&self, writer: &Writer, pool: u32, class: u8) -> Option<u64> {
        let members = (0_u32..).zip(&writer.members);
        members
            .filter_map(|(number, member)| {
                let (slot, member) = (self.slot(number)?, member.as_ref()?);
                member.places.iter().find(|place| place.pool == pool)?;
                let timed = RESTING | EJECTED | breaker_bit(class);
                // With what ends by itself gone, would it take requests? And does it not yet?
                let flags = slot.meter.flags();
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::TIMERS_PER_PICK;
    use crate::balancer::{Balancer, BalancerPolicy, Dice, Endpoint, Request, StrategyKind};
    use crate::failover::FailureKind;

    /// A hundred nodes come back at the same moment: no request pays for all of them.
    #[test]
    fn a_pick_runs_few_timers_and_maintenance_the_rest() {
        let policy = BalancerPolicy { slow_start: Duration::ZERO, ..BalancerPolicy::default() };
        let balancer = Balancer::new(policy, StrategyKind::Random).unwrap();
        let (mut now, mut dice) = (Duration::ZERO, Dice::seeded(1));
        for node in 0..100 {
            balancer.join(Endpoint::new(format!("n{node}").parse().unwrap()), now).unwrap();
        }
        let pause = Duration::from_secs(20);
        let busy = FailureKind::Overloaded { retry_after: Some(pause) };
        for _ in 0..100 {
            let permit = balancer.pick(&Request::new(), now, &mut dice).unwrap();
            permit.failure(busy, Duration::ZERO);
        }
        let ready = || balancer.table.pool(0).unwrap().ready() as usize;
        assert_eq!(ready(), 0);
        now += pause - Duration::from_nanos(1);
        assert!(balancer.pick(&Request::new(), now, &mut dice).is_err());
        assert_eq!(ready(), 0, "not yet");
        now += Duration::from_nanos(1);
        for picks in 1..=2 {
            drop(balancer.pick(&Request::new(), now, &mut dice).unwrap());
            assert_eq!(ready(), picks * TIMERS_PER_PICK);
        }
        balancer.maintain(now);
        assert_eq!(ready(), 100);
    }
}
