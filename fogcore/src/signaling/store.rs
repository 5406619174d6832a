//! The port through which zones, sessions and mail are kept.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{
    Host, Mail, NewSession, Session, SessionChange, SessionStatus, Signal, SignalingPolicy, Zone,
    ZonePatch, ZoneSpec, ZoneStatus,
};
use crate::error::Result;
use crate::id::{NodeId, PeerId, SessionId, ZoneId};
use crate::time::Timestamp;

/// Which zones are wanted: those that meet every condition set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ZoneFilter {
    /// Open to p2p, or not.
    pub p2p_enabled: Option<bool>,
    /// In this status.
    pub status: Option<ZoneStatus>,
}

impl ZoneFilter {
    /// Whether `zone` is wanted.
    #[must_use]
    pub fn matches(&self, zone: &Zone) -> bool {
        self.p2p_enabled.is_none_or(|enabled| zone.spec.p2p_enabled == enabled)
            && self.status.is_none_or(|status| zone.spec.status == status)
    }
}

/// Which sessions are wanted: those that meet every condition set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionFilter {
    /// On this host.
    pub host: Option<NodeId>,
    /// In this zone.
    pub zone: Option<ZoneId>,
    /// In this status.
    pub status: Option<SessionStatus>,
    /// Only those that are not over.
    pub open: bool,
}

impl SessionFilter {
    /// Whether `session` is wanted. Stores may use indexes, but this is the definition.
    #[must_use]
    pub fn matches(&self, session: &Session) -> bool {
        self.host.as_ref().is_none_or(|host| session.host == *host)
            && self.zone.as_ref().is_none_or(|zone| session.zone == *zone)
            && self.status.is_none_or(|status| session.status == status)
            && (!self.open || session.status.is_open())
    }
}

/// Keeps zones, sessions, and what peers left in them.
///
/// Each method is one atomic unit, and answers only once it is as durable as the store is. The rules,
/// and what each call refuses, are those of [`Zone`], [`Session`] and [`Mail`], which every store
/// lets decide.
#[async_trait]
pub trait SignalStore: Send + Sync {
    /// Makes a zone, or changes the one with its id.
    async fn put_zone(&self, zone: ZoneSpec, now: Timestamp) -> Result<Zone>;

    /// Changes a zone.
    ///
    /// # Errors
    /// NotFound, or what [`ZoneSpec::check`] says.
    async fn patch_zone(&self, zone: &ZoneId, patch: ZonePatch, now: Timestamp) -> Result<Zone>;

    /// Removes a zone; false if it was not there.
    ///
    /// # Errors
    /// Conflict while it has open sessions.
    async fn remove_zone(&self, zone: &ZoneId) -> Result<bool>;

    /// The zone.
    async fn zone(&self, zone: &ZoneId) -> Result<Option<Zone>>;

    /// The zones that match, by number, beginning after the number `after` (0 for the first); at most
    /// `limit` (1–1,000).
    async fn zones(&self, filter: &ZoneFilter, after: u64, limit: usize) -> Result<Vec<Zone>>;

    /// Opens a session on `host`, if it meets the bars; see [`Session::open`]. The same id again with
    /// the same host and zone gives the session as it is.
    ///
    /// # Errors
    /// As there, NotFound for the zone, or Conflict for an id that is taken by another session.
    async fn open_session(&self, new: NewSession, host: Host, now: Timestamp) -> Result<Session>;

    /// Makes a change; see [`Session::change`]. The session as it is then, and whether that changed
    /// it.
    ///
    /// # Errors
    /// NotFound, or as there.
    async fn change_session(
        &self,
        session: &SessionId,
        change: SessionChange,
        now: Timestamp,
    ) -> Result<(Session, bool)>;

    /// The session.
    async fn session(&self, session: &SessionId) -> Result<Option<Session>>;

    /// The session with this number.
    async fn session_number(&self, number: u64) -> Result<Option<Session>>;

    /// The sessions that match, by number, beginning after the number `after` (0 for the first); at
    /// most `limit` (1–1,000).
    async fn sessions(
        &self,
        filter: &SessionFilter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Session>>;

    /// A peer leaves a signal for the others of an open session, which is in use by that.
    ///
    /// # Errors
    /// NotFound, Conflict for a session that is over, Exhausted for too many peers or candidates,
    /// InvalidInput with the field's name.
    async fn put_mail(
        &self,
        session: &SessionId,
        peer: &PeerId,
        signal: Signal,
        policy: SignalingPolicy,
        now: Timestamp,
    ) -> Result<Mail>;

    /// What the peers of a session left, by peer; what is too old is left out.
    async fn mail(
        &self,
        session: &SessionId,
        policy: SignalingPolicy,
        now: Timestamp,
    ) -> Result<Vec<Mail>>;

    /// Whoever reads the mail of a session uses it: what is not too old is kept for as long again.
    async fn touch_mail(
        &self,
        session: &SessionId,
        policy: SignalingPolicy,
        now: Timestamp,
    ) -> Result<()>;

    /// Ends at most `limit` sessions in which nothing happened for too long, and tells which; removes
    /// as much mail that is too old.
    async fn expire_signaling(
        &self,
        policy: SignalingPolicy,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Session>>;
}
