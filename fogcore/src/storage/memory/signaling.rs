//! Zones, sessions and mail in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::MemoryStore;
use crate::error::Result;
use crate::id::{PeerId, SessionId, ZoneId};
use crate::registry::page_limit;
use crate::signaling::{
    Host, Mail, NewSession, Session, SessionChange, SessionFilter, Signal, SignalStore,
    SignalingError, SignalingPolicy, Zone, ZoneFilter, ZonePatch, ZoneSpec,
};
use crate::storage::signaling::peers_are_full;
use crate::time::Timestamp;

/// What the store knows, by number.
#[derive(Debug, Default)]
pub(super) struct Signals(Mutex<Tables>);

#[derive(Debug, Default)]
struct Tables {
    zones: BTreeMap<u64, Zone>,
    zone_numbers: HashMap<ZoneId, u64>,
    last_zone: u64,
    sessions: BTreeMap<u64, Session>,
    session_numbers: HashMap<SessionId, u64>,
    mail: HashMap<SessionId, BTreeMap<PeerId, Mail>>,
}

impl Tables {
    fn zone(&self, id: &ZoneId) -> Result<&Zone> {
        let found = self.zone_numbers.get(id).and_then(|number| self.zones.get(number));
        found.ok_or_else(|| SignalingError::ZoneNotFound(id.clone()).into())
    }

    fn session(&self, id: &SessionId) -> Result<&Session> {
        let found = self.session_numbers.get(id).and_then(|number| self.sessions.get(number));
        found.ok_or_else(|| SignalingError::SessionNotFound(id.as_str().to_owned()).into())
    }

    fn keep_zone(&mut self, mut zone: Zone) -> Zone {
        if zone.number == 0 {
            // Numbers of zones that were removed are not used again.
            self.last_zone += 1;
            zone.number = self.last_zone;
        }
        self.zone_numbers.insert(zone.spec.id.clone(), zone.number);
        self.zones.insert(zone.number, zone.clone());
        zone
    }

    fn serve(&mut self, zone: &ZoneId, players: usize) {
        let number = self.zone_numbers.get(zone).copied().unwrap_or_default();
        if let Some(zone) = self.zones.get_mut(&number) {
            zone.players_served += players as u64;
        }
    }

    fn change(
        &mut self,
        id: &SessionId,
        change: &SessionChange,
        now: Timestamp,
    ) -> Result<(Session, bool)> {
        let mut session = self.session(id)?.clone();
        let before = session.players.len();
        let changed = session.change(change, now)?;
        self.serve(&session.zone, session.players.len().saturating_sub(before));
        self.sessions.insert(session.number, session.clone());
        Ok((session, changed))
    }
}

impl MemoryStore {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.signals.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl SignalStore for MemoryStore {
    async fn put_zone(&self, zone: ZoneSpec, now: Timestamp) -> Result<Zone> {
        let mut tables = self.tables();
        let zone = Zone::put(tables.zone(&zone.id).ok(), zone, now)?;
        Ok(tables.keep_zone(zone))
    }

    async fn patch_zone(&self, zone: &ZoneId, patch: ZonePatch, now: Timestamp) -> Result<Zone> {
        let mut tables = self.tables();
        let existing = tables.zone(zone)?;
        let zone = Zone::put(Some(existing), patch.applied(&existing.spec), now)?;
        Ok(tables.keep_zone(zone))
    }

    async fn remove_zone(&self, zone: &ZoneId) -> Result<bool> {
        let mut tables = self.tables();
        let of_zone = |session: &&Session| session.zone == *zone && session.status.is_open();
        let sessions = tables.sessions.values().filter(of_zone).count() as u64;
        if sessions > 0 {
            return Err(SignalingError::ZoneInUse { zone: zone.clone(), sessions }.into());
        }
        let number = tables.zone_numbers.remove(zone);
        Ok(number.and_then(|number| tables.zones.remove(&number)).is_some())
    }

    async fn zone(&self, zone: &ZoneId) -> Result<Option<Zone>> {
        Ok(self.tables().zone(zone).ok().cloned())
    }

    async fn zones(&self, filter: &ZoneFilter, after: u64, limit: usize) -> Result<Vec<Zone>> {
        let limit = page_limit(limit)?;
        let tables = self.tables();
        let later = tables.zones.range(after.saturating_add(1)..).map(|(_, zone)| zone);
        Ok(later.filter(|zone| filter.matches(zone)).take(limit).cloned().collect())
    }

    async fn open_session(&self, new: NewSession, host: Host, now: Timestamp) -> Result<Session> {
        let mut tables = self.tables();
        if let Ok(existing) = tables.session(&new.id) {
            return existing.clone().opened_again(&new);
        }
        let zone = tables.zone(&new.zone)?;
        let of_host = |session: &&Session| session.host == new.host && session.status.is_open();
        let others: Vec<_> = tables.sessions.values().filter(of_host).cloned().collect();
        let mut session = Session::open(new, &host, zone, &others, now)?;
        session.number = tables.sessions.keys().last().map_or(1, |last| last + 1);
        tables.serve(&session.zone, session.players.len());
        tables.session_numbers.insert(session.id.clone(), session.number);
        tables.sessions.insert(session.number, session.clone());
        Ok(session)
    }

    async fn change_session(
        &self,
        session: &SessionId,
        change: SessionChange,
        now: Timestamp,
    ) -> Result<(Session, bool)> {
        self.tables().change(session, &change, now)
    }

    async fn session(&self, session: &SessionId) -> Result<Option<Session>> {
        Ok(self.tables().session(session).ok().cloned())
    }

    async fn session_number(&self, number: u64) -> Result<Option<Session>> {
        Ok(self.tables().sessions.get(&number).cloned())
    }

    async fn sessions(
        &self,
        filter: &SessionFilter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Session>> {
        let limit = page_limit(limit)?;
        let tables = self.tables();
        let later = tables.sessions.range(after.saturating_add(1)..).map(|(_, session)| session);
        Ok(later.filter(|session| filter.matches(session)).take(limit).cloned().collect())
    }

    async fn put_mail(
        &self,
        session: &SessionId,
        peer: &PeerId,
        signal: Signal,
        policy: SignalingPolicy,
        now: Timestamp,
    ) -> Result<Mail> {
        let mut tables = self.tables();
        tables.session(session)?.check_open()?;
        let boxes = tables.mail.get(session);
        let fresh = boxes.and_then(|boxes| boxes.get(peer)).filter(|m| !m.is_stale(&policy, now));
        let mut mail = fresh.cloned().unwrap_or_else(|| Mail::empty(peer.clone(), now));
        if boxes.is_some_and(|boxes| !boxes.contains_key(peer) && boxes.len() >= policy.max_peers) {
            return Err(peers_are_full(&policy));
        }
        mail.put(signal, &policy, now)?;
        tables.change(session, &SessionChange::Touch, now)?;
        tables.mail.entry(session.clone()).or_default().insert(peer.clone(), mail.clone());
        Ok(mail)
    }

    async fn mail(
        &self,
        session: &SessionId,
        policy: SignalingPolicy,
        now: Timestamp,
    ) -> Result<Vec<Mail>> {
        let tables = self.tables();
        let boxes = tables.mail.get(session).into_iter().flat_map(BTreeMap::values);
        Ok(boxes.filter(|mail| !mail.is_stale(&policy, now)).cloned().collect())
    }

    async fn touch_mail(
        &self,
        session: &SessionId,
        policy: SignalingPolicy,
        now: Timestamp,
    ) -> Result<()> {
        let mut tables = self.tables();
        let boxes = tables.mail.get_mut(session).into_iter().flat_map(BTreeMap::values_mut);
        for mail in boxes.filter(|mail| !mail.is_stale(&policy, now)) {
            mail.used_at = mail.used_at.max(now);
        }
        Ok(())
    }

    async fn expire_signaling(
        &self,
        policy: SignalingPolicy,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Session>> {
        let limit = page_limit(limit)?;
        let mut tables = self.tables();
        let idle = |session: &&Session| {
            session.status.is_open() && now.since(session.active_at) >= policy.idle_after
        };
        let due = tables.sessions.values().filter(idle).take(limit);
        let due: Vec<_> = due.map(|session| session.id.clone()).collect();
        let mut ended = Vec::new();
        for session in due {
            let change = SessionChange::EndIfIdle(policy.idle_after);
            ended.push(tables.change(&session, &change, now)?.0);
        }
        for boxes in tables.mail.values_mut() {
            boxes.retain(|_, mail| !mail.is_stale(&policy, now));
        }
        tables.mail.retain(|_, boxes| !boxes.is_empty());
        Ok(ended)
    }
}
