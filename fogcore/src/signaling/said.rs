//! What a peer of a room hears, and what becomes of what it says.

use serde::{Deserialize, Serialize};

use super::{ResumeToken, Signal};
use crate::id::PeerId;
use crate::time::Timestamp;

/// What a peer hears.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Said {
    /// It is in.
    Joined {
        /// Who else is, in the order in which they came.
        peers: Vec<PeerId>,
        /// What it resumes with after its connection dropped.
        token: ResumeToken,
    },
    /// Somebody came.
    PeerJoined {
        /// Who.
        peer: PeerId,
    },
    /// Somebody left, or was away for too long.
    PeerLeft {
        /// Who.
        peer: PeerId,
    },
    /// Somebody says how it can be reached.
    Signal {
        /// Who; the room knows, and nobody can say otherwise.
        from: PeerId,
        /// What.
        signal: Signal,
        /// Whether the one who hears it gives way to `from` if their offers meet.
        polite: bool,
        /// When it was said.
        at: Timestamp,
    },
    /// This offer to `to` is void, because one from there goes first: answer that one, which comes
    /// next or came already. A later offer is another one, and stands.
    GiveWay {
        /// To whom the offer was.
        to: PeerId,
        /// The offer.
        sdp: String,
    },
}

impl Said {
    /// How much it takes to keep, in bytes of what peers wrote.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Signal { signal, .. } => signal.size(),
            Self::GiveWay { sdp, .. } => sdp.len(),
            Self::Joined { .. } | Self::PeerJoined { .. } | Self::PeerLeft { .. } => 0,
        }
    }
}

/// A numbered delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Its number, from 1 for each peer.
    pub number: u64,
    /// What is said.
    pub said: Said,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sent {
    /// It is on its way, or kept until the peer resumes.
    Delivered,
    /// The peer has not joined yet; it is kept for a while.
    Kept,
    /// It is an offer that met another one, and gave way: it was not delivered, and its sender hears
    /// so.
    GaveWay,
}
