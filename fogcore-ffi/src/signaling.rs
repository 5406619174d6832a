//! How peers meet, from the other side.

use std::sync::Arc;

use fogcore::fog::Connection;
use fogcore::id::{NodeId, PeerId, SessionId, ZoneId};
use fogcore::signaling::{
    self, Mail, ResumeToken, Said, Sent, SessionChange, SessionStatus, Signal, ZoneSpec,
};
use fogcore::time::Timestamp;
use tokio::sync::{Mutex, Notify};

use crate::error::FogError;
use crate::fog::Fog;
use crate::handles::Counted;
use crate::runtime::Calls;

/// A zone; what is left out is as by default.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct ZoneOptions {
    /// Its id.
    pub id: ZoneId,
    /// Its name for people, up to 256 characters.
    #[uniffi(default)]
    pub display_name: String,
    /// How many players a session of it takes, 1–65,536. Default 100.
    #[uniffi(default)]
    pub max_players: Option<u32>,
    /// The least network of a host, in Mbit/s. Default 100.
    #[uniffi(default)]
    pub min_bandwidth_mbps: Option<u32>,
}

impl From<ZoneOptions> for ZoneSpec {
    fn from(options: ZoneOptions) -> Self {
        let usual = Self::new(options.id);
        let max_players = options.max_players.unwrap_or(usual.max_players);
        Self {
            display_name: options.display_name,
            max_players,
            recommended_players: usual.recommended_players.min(max_players),
            min_bandwidth_mbps: options.min_bandwidth_mbps.unwrap_or(usual.min_bandwidth_mbps),
            ..usual
        }
    }
}

/// A session as it is now.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Who hosts it.
    pub host: NodeId,
    /// Where it plays.
    pub zone: ZoneId,
    /// Where it is in its life.
    pub status: SessionStatus,
    /// How many players it takes.
    pub max_players: u32,
    /// Who is there.
    pub players: Vec<PeerId>,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why it ended.
    pub end_reason: Option<String>,
}

impl From<signaling::Session> for Session {
    fn from(session: signaling::Session) -> Self {
        Self {
            id: session.id,
            host: session.host,
            zone: session.zone,
            status: session.status,
            max_players: session.max_players,
            players: session.players.into_iter().collect(),
            created_at: session.created_at,
            ended_at: session.ended_at,
            end_reason: session.end_reason,
        }
    }
}

/// What a peer left for others who poll.
#[derive(Clone, Debug, PartialEq, uniffi::Record)]
pub struct PeerMail {
    /// Who.
    pub peer: PeerId,
    /// Its offer, if it made one.
    pub offer: Option<String>,
    /// Its answer, if it gave one.
    pub answer: Option<String>,
    /// Its candidates, in order.
    pub candidates: Vec<String>,
    /// Whether there are no more.
    pub ended: bool,
}

impl From<Mail> for PeerMail {
    fn from(mail: Mail) -> Self {
        let Mail { peer, offer, answer, candidates, ended, .. } = mail;
        Self { peer, offer, answer, candidates, ended }
    }
}

/// What a peer hears.
#[derive(Clone, Debug, PartialEq, uniffi::Enum)]
pub enum Delivery {
    /// It is in.
    Joined {
        /// The number of the delivery.
        number: u64,
        /// Who else is, in the order in which they came.
        peers: Vec<PeerId>,
        /// What it resumes with after its connection dropped. A secret.
        token: String,
    },
    /// Somebody came.
    PeerJoined {
        /// The number of the delivery.
        number: u64,
        /// Who.
        peer: PeerId,
    },
    /// Somebody left, or was away for too long.
    PeerLeft {
        /// The number of the delivery.
        number: u64,
        /// Who.
        peer: PeerId,
    },
    /// Somebody says how it can be reached.
    Signaled {
        /// The number of the delivery.
        number: u64,
        /// Who.
        from: PeerId,
        /// What.
        signal: Signal,
        /// Whether the one who hears it gives way to `from` if their offers meet.
        polite: bool,
    },
    /// This offer to `to` is void, because one from there goes first.
    GiveWay {
        /// The number of the delivery.
        number: u64,
        /// To whom the offer was.
        to: PeerId,
        /// The offer.
        sdp: String,
    },
}

impl From<signaling::Delivery> for Delivery {
    fn from(delivery: signaling::Delivery) -> Self {
        let number = delivery.number;
        match delivery.said {
            Said::Joined { peers, token } => {
                Self::Joined { number, peers, token: token.expose().to_owned() }
            }
            Said::PeerJoined { peer } => Self::PeerJoined { number, peer },
            Said::PeerLeft { peer } => Self::PeerLeft { number, peer },
            Said::Signal { from, signal, polite, .. } => {
                Self::Signaled { number, from, signal, polite }
            }
            Said::GiveWay { to, sdp } => Self::GiveWay { number, to, sdp },
        }
    }
}

/// What those who wait for a delivery and those who want to speak share.
#[derive(Debug)]
struct Shared {
    connection: Mutex<Option<Connection>>,
    /// Asks whoever waits for a delivery to let somebody else have the connection.
    knock: Notify,
}

impl Shared {
    async fn next(&self) -> Option<Delivery> {
        loop {
            // The lock is fair: whoever knocked has it before this comes around again.
            let mut held = self.connection.lock().await;
            tokio::select! {
                delivery = held.as_mut()?.next() => return delivery.map(Delivery::from),
                () = self.knock.notified() => {}
            }
        }
    }

    async fn held(&self) -> tokio::sync::MutexGuard<'_, Option<Connection>> {
        let held = self.connection.lock();
        self.knock.notify_one();
        held.await
    }
}

/// A peer's connection to a session. Given back without [`PeerConnection::leave`], it is what a
/// dropped socket is: for a while the peer may resume, and the others notice nothing.
#[derive(Debug, uniffi::Object)]
pub struct PeerConnection {
    shared: Arc<Shared>,
    token: String,
    calls: Calls,
    _counted: Counted,
}

impl PeerConnection {
    fn new(connection: Connection, calls: Calls) -> Arc<Self> {
        let token = connection.token().expose().to_owned();
        let connection = Mutex::new(Some(connection));
        let shared = Arc::new(Shared { connection, knock: Notify::new() });
        Arc::new(Self { shared, token, calls, _counted: Counted::new() })
    }
}

#[uniffi::export]
impl PeerConnection {
    /// What the peer hears next; none once the session is over, or the peer left or connected
    /// anew.
    ///
    /// # Errors
    /// Unavailable once the fog shuts down.
    pub async fn next(&self) -> Result<Option<Delivery>, FogError> {
        let shared = Arc::clone(&self.shared);
        self.calls.wait(async move { Ok::<_, FogError>(shared.next().await) }).await
    }

    /// Says something to another peer of the session.
    ///
    /// # Errors
    /// InvalidInput for what is too large or empty, Exhausted if too much waits for the other one,
    /// NotFound if the session is over.
    pub async fn send(&self, to: PeerId, signal: Signal) -> Result<Sent, FogError> {
        let shared = Arc::clone(&self.shared);
        let say = async move {
            let held = shared.held().await;
            let gone = || FogError::NotFound { reason: "the peer has left".to_owned() };
            Ok::<_, FogError>(held.as_ref().ok_or_else(gone)?.send(&to, signal).await?)
        };
        self.calls.finish(say).await
    }

    /// The peer has heard everything up to this number, and will not ask for it again.
    ///
    /// # Errors
    /// Internal if it broke.
    pub async fn acknowledge(&self, heard: u64) -> Result<(), FogError> {
        let shared = Arc::clone(&self.shared);
        let heard = async move {
            if let Some(connection) = shared.held().await.as_ref() {
                connection.acknowledge(heard);
            }
            Ok::<(), FogError>(())
        };
        self.calls.finish(heard).await
    }

    /// What the peer resumes with. A secret.
    pub fn token(&self) -> String {
        self.token.clone()
    }

    /// The peer goes for good, and the others hear of it.
    ///
    /// # Errors
    /// Internal if it broke.
    pub async fn leave(&self) -> Result<(), FogError> {
        let shared = Arc::clone(&self.shared);
        let leave = async move {
            if let Some(connection) = shared.held().await.take() {
                connection.leave();
            }
            Ok::<(), FogError>(())
        };
        self.calls.finish(leave).await
    }
}

#[uniffi::export]
impl Fog {
    /// Makes a zone, or changes the one with its id.
    ///
    /// # Errors
    /// InvalidInput with the field's name.
    pub async fn put_zone(&self, zone: ZoneOptions) -> Result<(), FogError> {
        let signaling = self.core()?.signaling();
        self.calls.finish(async move { signaling.put_zone(zone.into()).await.map(drop) }).await
    }

    /// Opens a session of a zone on a host, with these players.
    ///
    /// # Errors
    /// NotFound for the host or the zone; Conflict that names the bar which one of them does not
    /// meet; InvalidInput for more players than the zone allows.
    pub async fn open_session(
        &self,
        host: NodeId,
        zone: ZoneId,
        max_players: Option<u32>,
        players: Vec<PeerId>,
    ) -> Result<Session, FogError> {
        let signaling = self.core()?.signaling();
        let open = async move {
            signaling.open_session(&host, &zone, max_players, players).await.map(Session::from)
        };
        self.calls.finish(open).await
    }

    /// A session.
    ///
    /// # Errors
    /// NotFound.
    pub async fn session(&self, session: SessionId) -> Result<Session, FogError> {
        let signaling = self.core()?.signaling();
        let look = async move { signaling.session(&session).await.map(Session::from) };
        self.calls.wait(look).await
    }

    /// Ends a session. Who is connected to it hears no more.
    ///
    /// # Errors
    /// NotFound, or Conflict if it is over.
    pub async fn end_session(
        &self,
        session: SessionId,
        reason: String,
    ) -> Result<Session, FogError> {
        let signaling = self.core()?.signaling();
        let end = async move {
            signaling.change(&session, SessionChange::End(reason)).await.map(Session::from)
        };
        self.calls.finish(end).await
    }

    /// Connects a peer to an open session.
    ///
    /// # Errors
    /// NotFound, Conflict for a session that is over, Exhausted if too many are there or the peer
    /// comes too often.
    pub async fn connect(
        &self,
        session: SessionId,
        peer: PeerId,
    ) -> Result<Arc<PeerConnection>, FogError> {
        let (signaling, calls) = (self.core()?.signaling(), self.calls.clone());
        let connect = async move {
            let connection = signaling.connect(&session, &peer).await?;
            Ok::<_, FogError>(PeerConnection::new(connection, calls))
        };
        self.calls.finish(connect).await
    }

    /// Connects a peer again whose connection dropped, with the token that it got, behind the
    /// number of the last delivery that it heard.
    ///
    /// # Errors
    /// Denied for a token of another connection, or for a peer that was away for too long.
    pub async fn reconnect(
        &self,
        session: SessionId,
        peer: PeerId,
        token: String,
        heard: u64,
    ) -> Result<Arc<PeerConnection>, FogError> {
        let (signaling, calls) = (self.core()?.signaling(), self.calls.clone());
        let token = ResumeToken::from_text(token);
        let resume = async move {
            let connection = signaling.resume(&session, &peer, &token, heard)?;
            Ok::<_, FogError>(PeerConnection::new(connection, calls))
        };
        self.calls.finish(resume).await
    }

    /// Leaves a signal for the others of a session, durably; for peers that poll.
    ///
    /// # Errors
    /// NotFound, Conflict for a session that is over, Exhausted for too many peers or candidates,
    /// InvalidInput with the field's name.
    pub async fn put_mail(
        &self,
        session: SessionId,
        peer: PeerId,
        signal: Signal,
    ) -> Result<PeerMail, FogError> {
        let signaling = self.core()?.signaling();
        let put =
            async move { signaling.put_mail(&session, &peer, signal).await.map(PeerMail::from) };
        self.calls.finish(put).await
    }

    /// What the peers of a session left.
    ///
    /// # Errors
    /// What the store says.
    pub async fn mail(&self, session: SessionId) -> Result<Vec<PeerMail>, FogError> {
        let signaling = self.core()?.signaling();
        let read = async move {
            let mail = signaling.mail(&session).await?;
            Ok::<_, FogError>(mail.into_iter().map(PeerMail::from).collect())
        };
        self.calls.finish(read).await
    }
}
