//! Values that cross as texts or numbers and are read where they enter, and the core's enums.
//!
//! A `remote` enum is the core's own; its variants are named again so that uniffi can describe
//! them. The compiler checks those that the core calls complete; `complete.rs` checks the rest.

use std::time::Duration;

use fogcore::ErrorKind;
use fogcore::amount::{Amount, Asset};
use fogcore::balancer::{RequestKind, StrategyKind};
use fogcore::failover::{Absence, BreakerState, Health};
use fogcore::id::{
    AccountId, IdempotencyKey, NodeId, PeerId, SessionId, TaskId, TaskKind, TradeId, TransferId,
    ZoneId,
};
use fogcore::ledger::HoldState;
use fogcore::registry::{Celsius, Ineligible, Liveness, Millis, NodeKind, Percent, Port};
use fogcore::scheduler::{ParentFailure, SlaClass, TaskState};
use fogcore::signaling::{Sent, SessionStatus, Signal};
use fogcore::time::Timestamp;

use crate::error::FogError;

/// An error of parsing, as the core folds it.
pub(crate) fn refused(error: impl Into<fogcore::Error>) -> FogError {
    FogError::from(error.into())
}

macro_rules! text {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        $(uniffi::custom_type!(
            $(#[$doc])*
            $name, String, {
                remote,
                lower: |value| value.to_string(),
                try_lift: |text| Ok(text.parse::<$name>().map_err(refused)?),
            }
        );)*
    };
}

text! {
    /// A node: 1–128 visible characters.
    NodeId,
    /// An account of the ledger: 1–128 visible characters.
    AccountId,
    /// What a task is about: 1–64 visible characters.
    TaskKind,
    /// A client's own name for a submission: 1–256 visible characters.
    IdempotencyKey,
    /// Somebody who meets others in a session: 1–128 visible characters.
    PeerId,
    /// A part of a game's world: 1–128 visible characters.
    ZoneId,
    /// A session: 1–128 visible characters.
    SessionId,
    /// A task: a UUID.
    TaskId,
    /// A transfer: a UUID, made by the client.
    TransferId,
    /// A trade: a UUID.
    TradeId,
    /// An exact amount in base units of its asset: digits.
    Amount,
    /// A point in time, in RFC 3339, to the microsecond.
    Timestamp,
}

macro_rules! number {
    ($($(#[$doc:meta])* $name:ident = $number:ty),* $(,)?) => {
        $(uniffi::custom_type!(
            $(#[$doc])*
            $name, $number, {
                remote,
                lower: |value| value.get(),
                try_lift: |number| Ok($name::new(number).map_err(refused)?),
            }
        );)*
    };
}

number! {
    /// A share in per cent, 0–100.
    Percent = f64,
    /// A temperature in degrees Celsius, −100 to 200.
    Celsius = f64,
    /// A latency in milliseconds, 0 to 3,600,000.
    Millis = f64,
    /// A TCP or UDP port, 1–65535.
    Port = u16,
}

uniffi::custom_type!(
    /// What an account counts: the code of a known asset, such as `FOG`, or `CODE:DECIMALS`.
    Asset, String, {
        remote,
        lower: |asset| asset_text(&asset),
        try_lift: |text| Ok(asset(&text)?),
    }
);

fn asset_text(asset: &Asset) -> String {
    match Asset::known(asset.code()) {
        Some(known) if known == *asset => asset.code().to_owned(),
        _ => format!("{}:{}", asset.code(), asset.scale()),
    }
}

fn asset(text: &str) -> Result<Asset, FogError> {
    let invalid = |reason: &str| FogError::InvalidInput {
        field: Some("asset".to_owned()),
        reason: format!("asset: {reason}"),
    };
    match text.split_once(':') {
        Some((code, scale)) => {
            let scale = scale.parse().map_err(|_| invalid("decimals must be a number"))?;
            Asset::new(code, scale).map_err(refused)
        }
        None => Asset::known(text)
            .ok_or_else(|| invalid("not a known code; others are written as CODE:DECIMALS")),
    }
}

/// A length of time, in whole microseconds at the edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

uniffi::custom_type!(
    /// A length of time, in microseconds.
    Span, u64, {
        lower: |span| u64::try_from(span.0.as_micros()).unwrap_or(u64::MAX),
        try_lift: |micros| Ok(Span(Duration::from_micros(micros))),
    }
);

/// Why one item of a batch was refused.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct Refusal {
    /// What a caller can do about it.
    pub kind: ErrorKind,
    /// The field at fault, if one is.
    pub field: Option<String>,
    /// Why, for people.
    pub reason: String,
}

impl From<fogcore::Error> for Refusal {
    fn from(error: fogcore::Error) -> Self {
        let (kind, field) = (error.kind(), error.field().map(str::to_owned));
        Self { kind, field, reason: error.to_string() }
    }
}

/// What a caller can do about an error.
#[uniffi::remote(Enum)]
pub enum ErrorKind {
    /// The thing named does not exist.
    NotFound,
    /// The request contradicts what is already there.
    Conflict,
    /// The input breaks a rule.
    InvalidInput,
    /// The service cannot answer now.
    Unavailable,
    /// A limit is reached.
    Exhausted,
    /// The caller may not do this.
    Denied,
    /// A defect, or damage that the core cannot explain.
    Internal,
}

/// The rough kind of a node.
#[uniffi::remote(Enum)]
#[non_exhaustive]
pub enum NodeKind {
    /// A phone or tablet.
    Phone,
    /// A laptop.
    Laptop,
    /// A desktop or rack machine.
    Server,
    /// A machine for its GPUs.
    GpuBox,
    /// A player's machine that hosts zones of a game.
    GameHost,
    /// Anything else.
    Other,
}

/// Whether a node can be counted on.
#[uniffi::remote(Enum)]
pub enum Liveness {
    /// It beats within its time.
    Online,
    /// Its beat is late: no new work, but what it holds is left to it.
    Suspect,
    /// Nothing was heard of it for so long that nothing is expected.
    Offline,
}

/// Why a device may not work.
#[uniffi::remote(Enum)]
pub enum Ineligible {
    /// It is not charging.
    Idle,
    /// It is charging but its battery is still low.
    ChargingLow,
    /// It is too warm to begin work.
    ThermalThrottle,
    /// It was so hot that it has to cool down first.
    CoolingDown,
    /// Its network is paid by volume.
    NetworkMetered,
    /// Somebody uses it.
    UserActive,
    /// Its state is good again, but not for long enough yet.
    Settling,
}

/// Where a task is in its life.
#[uniffi::remote(Enum)]
pub enum TaskState {
    /// It waits for other tasks to end.
    Waiting,
    /// It waits for a node.
    Queued,
    /// A node holds it.
    Leased,
    /// Done and paid.
    Succeeded,
    /// It cannot succeed.
    Failed,
    /// Somebody called it off.
    Cancelled,
    /// All its attempts are used up.
    Dead,
}

/// How often a task is done, and so how much its result can be relied on.
#[uniffi::remote(Enum)]
pub enum SlaClass {
    /// By one node.
    B,
    /// By two nodes, and a third if they do not agree.
    A,
    /// By three nodes.
    S,
}

/// What becomes of a task when one that it waits for ends without success.
#[uniffi::remote(Enum)]
pub enum ParentFailure {
    /// It is cancelled.
    Cancel,
    /// It runs all the same.
    Run,
    /// It stays until somebody resumes or cancels it.
    Hold,
}

/// What became of a hold.
#[uniffi::remote(Enum)]
pub enum HoldState {
    /// Still reserved.
    Pending,
    /// Posted.
    Posted,
    /// Freed.
    Voided,
    /// Freed, because its time was over.
    Expired,
}

/// How a balancer chooses.
#[uniffi::remote(Enum)]
#[non_exhaustive]
pub enum StrategyKind {
    /// Each in its turn.
    RoundRobin,
    /// Each in its turn, as often as its weight says, evenly spread.
    WeightedRoundRobin,
    /// Any.
    Random,
    /// Of some drawn at random, the one with the fewest requests in flight for its weight.
    LeastConnections,
    /// Of some drawn at random, the one that is likely to answer first.
    LatencyBased,
    /// Of some drawn at random, the one with the most to spare.
    ResourceBased,
    /// Of some drawn at random, the one with the best score of all that is measured.
    AdaptiveIntelligent,
    /// Of some drawn at random, the fastest that is not hot.
    Prequal,
    /// The one that the request's key leads to.
    ConsistentHash,
}

/// What a request mostly needs.
#[uniffi::remote(Enum)]
pub enum RequestKind {
    /// A little of everything.
    General,
    /// Storage, and a way in.
    Upload,
    /// A fast way out.
    Download,
    /// CPU and memory.
    Search,
}

/// Why a node is away without having failed.
#[uniffi::remote(Enum)]
#[non_exhaustive]
pub enum Absence {
    /// It sleeps, or is switched off.
    Asleep,
    /// It fills its battery first.
    Charging,
    /// It is on no network, or on one that it must not use.
    OffNetwork,
    /// Its owner uses it.
    UserActive,
}

/// Whether a breaker lets calls through.
#[uniffi::remote(Enum)]
pub enum BreakerState {
    /// All of them, or a growing share just after it closed.
    Closed,
    /// None.
    Open,
    /// A few, to see how it is.
    HalfOpen,
    /// None, because somebody said so.
    ForcedOpen,
    /// All, because somebody said so.
    ForcedClosed,
}

/// What a health monitor thinks of a node.
#[uniffi::remote(Enum)]
pub enum Health {
    /// Nothing yet, or nothing since it was absent.
    Unknown,
    /// It is well.
    Healthy,
    /// It is not.
    Unhealthy,
    /// It is not there, and nobody expects it to be.
    Absent,
}

/// Where a session is in its life.
#[uniffi::remote(Enum)]
pub enum SessionStatus {
    /// It was opened, and its host has not begun.
    Pending,
    /// It runs.
    Active,
    /// It is over.
    Ended,
    /// Its host is gone.
    Failed,
}

/// What peers say to each other until they have a connection of their own.
#[uniffi::remote(Enum)]
pub enum Signal {
    /// A session description that asks for an answer.
    Offer {
        /// In SDP.
        sdp: String,
    },
    /// The answer to one.
    Answer {
        /// In SDP.
        sdp: String,
    },
    /// An address that the peer may be reached at.
    IceCandidate {
        /// As the peer's WebRTC stack gave it.
        candidate: String,
    },
    /// There are no more candidates.
    EndOfCandidates,
    /// Something of the application's own, for peers that are connected.
    Custom {
        /// In whatever form they agreed on.
        data: String,
    },
}

/// What became of a signal.
#[uniffi::remote(Enum)]
pub enum Sent {
    /// It is on its way, or kept until the peer resumes.
    Delivered,
    /// The peer has not joined yet; it is kept for a while.
    Kept,
    /// It is an offer that met another one, and gave way.
    GaveWay,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assets_are_written_as_they_are_read() {
        for known in Asset::TABLE {
            assert_eq!(asset(&asset_text(&known)).unwrap(), known);
        }
        let own = Asset::new("GPUH", 3).unwrap();
        assert_eq!(asset_text(&own), "GPUH:3");
        assert_eq!(asset("GPUH:3").unwrap(), own);
        // A known code with other decimals is another asset.
        let odd = Asset::new("FOG", 2).unwrap();
        assert_eq!(asset(&asset_text(&odd)).unwrap(), odd);
        for bad in ["", "NOPE", "FOG:x", ":2"] {
            let error = asset(bad).unwrap_err();
            assert!(matches!(error, FogError::InvalidInput { .. }), "{bad}: {error}");
        }
    }
}
