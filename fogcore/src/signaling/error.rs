//! Why signaling refuses, precisely.

use super::SessionStatus;
use crate::error::{Error, ErrorKind};
use crate::id::{NodeId, PeerId, SessionId, ZoneId};

/// Why a call about zones, sessions or their peers was refused. Nothing changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SignalingError {
    /// There is no such zone.
    #[error("Zone not found: {0}")]
    ZoneNotFound(ZoneId),
    /// There is no such session.
    #[error("Session not found: {0}")]
    SessionNotFound(String),
    /// The id is taken by a session of another host or zone.
    #[error("session {0} exists on another host or in another zone")]
    SessionExists(SessionId),
    /// The session is over.
    #[error("session {id} is over ({status})")]
    SessionOver {
        /// The session.
        id: SessionId,
        /// How it ended.
        status: SessionStatus,
    },
    /// The session cannot take one step more.
    #[error("session {id} is {status} and cannot become active")]
    NotPending {
        /// The session.
        id: SessionId,
        /// What it is.
        status: SessionStatus,
    },
    /// A zone with open sessions stays.
    #[error("zone {zone} has {sessions} open sessions")]
    ZoneInUse {
        /// The zone.
        zone: ZoneId,
        /// How many.
        sessions: u64,
    },
    /// The host may not have the session; this is the bar that it does not meet.
    #[error("host {host} {bar}")]
    HostBelowBar {
        /// The host.
        host: NodeId,
        /// In words.
        bar: String,
    },
    /// The zone takes no sessions.
    #[error("zone {zone} {bar}")]
    ZoneClosed {
        /// The zone.
        zone: ZoneId,
        /// In words.
        bar: &'static str,
    },
    /// Everybody who may be there is.
    #[error("session {id} is full: {max} players")]
    SessionFull {
        /// The session.
        id: SessionId,
        /// How many it takes.
        max: u32,
    },
    /// The player is not in the session.
    #[error("{peer} is not in session {session}")]
    NotThere {
        /// Who.
        peer: PeerId,
        /// Where.
        session: SessionId,
    },
    /// What is said is too large.
    #[error("{found} bytes, at most {max} are allowed")]
    TooLarge {
        /// Which input.
        field: &'static str,
        /// Its size in bytes.
        found: usize,
        /// The most allowed.
        max: usize,
    },
    /// Too much is said at once.
    #[error("{peer} sends too much; again in {wait_ms} ms")]
    TooFast {
        /// Who.
        peer: PeerId,
        /// When it may say more.
        wait_ms: u64,
    },
    /// No more is kept.
    #[error("at most {max} {what}")]
    Full {
        /// Of what.
        what: &'static str,
        /// How many.
        max: usize,
    },
    /// Who has not joined hears and says nothing.
    #[error("{peer} has not joined")]
    NotJoined {
        /// Who.
        peer: PeerId,
    },
    /// The token does not belong to this peer's connection, or it was away for too long.
    #[error("{peer} cannot resume: its connection is gone")]
    CannotResume {
        /// Who.
        peer: PeerId,
    },
}

impl From<SignalingError> for Error {
    fn from(error: SignalingError) -> Self {
        use SignalingError as E;
        let kind = match &error {
            E::ZoneNotFound(_)
            | E::SessionNotFound(_)
            | E::NotThere { .. }
            | E::NotJoined { .. } => ErrorKind::NotFound,
            E::TooLarge { field, .. } => {
                let field = *field;
                return Self::invalid(field, error);
            }
            E::SessionFull { .. } | E::TooFast { .. } | E::Full { .. } => ErrorKind::Exhausted,
            E::CannotResume { .. } => ErrorKind::Denied,
            E::SessionExists(_)
            | E::SessionOver { .. }
            | E::NotPending { .. }
            | E::ZoneInUse { .. }
            | E::HostBelowBar { .. }
            | E::ZoneClosed { .. } => ErrorKind::Conflict,
        };
        Self::new(kind, error)
    }
}
