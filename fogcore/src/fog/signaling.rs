//! How peers meet: zones, sessions and mail through the store, and connections that hear what others
//! say while they are there.

mod connection;

use std::sync::Arc;
use std::time::Duration;

pub use self::connection::Connection;
pub(in crate::fog) use self::connection::Rooms;
use super::{Fog, Shared};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::id::{NodeId, PeerId, SessionId, ZoneId};
use crate::registry::MAX_PAGE;
use crate::signaling::{
    Host, Mail, NewSession, ResumeToken, Session, SessionChange, SessionFilter, Signal,
    SignalingError, Zone, ZoneFilter, ZonePatch, ZoneSpec,
};
use crate::time::Timestamp;

/// How peers of a fog meet. Clones share everything.
///
/// ```
/// use fogcore::Fog;
/// use fogcore::registry::Node;
/// use fogcore::signaling::{Said, Signal, ZoneSpec};
///
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// let fog = Fog::open("memory:").await?;
/// let mut host = Node::new("host".parse()?);
/// host.resources.bandwidth_mbps = 1_000;
/// fog.register(host).await?;
/// let signaling = fog.signaling();
/// signaling.put_zone(ZoneSpec::new("prontera".parse()?)).await?;
/// let session = signaling.open_session(&"host".parse()?, &"prontera".parse()?, None, []).await?;
///
/// let (ann, bob) = ("ann".parse()?, "bob".parse()?);
/// let ann_connection = signaling.connect(&session.id, &ann).await?;
/// let mut bob_connection = signaling.connect(&session.id, &bob).await?;
/// ann_connection.send(&bob, Signal::Offer { sdp: "v=0".into() }).await?;
/// let joined = bob_connection.next().await.unwrap();
/// assert!(matches!(joined.said, Said::Joined { peers, .. } if peers == [ann.clone()]));
/// let offer = bob_connection.next().await.unwrap();
/// assert!(matches!(offer.said, Said::Signal { from, .. } if from == ann));
/// # fog.shutdown().await;
/// # Ok::<(), fogcore::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Signaling {
    shared: Arc<Shared>,
}

impl Fog {
    /// How its peers meet.
    #[must_use]
    pub fn signaling(&self) -> Signaling {
        Signaling { shared: self.shared.clone() }
    }
}

impl Signaling {
    /// Makes a zone, or changes the one with its id.
    ///
    /// # Errors
    /// InvalidInput with the field's name.
    pub async fn put_zone(&self, zone: ZoneSpec) -> Result<Zone> {
        self.shared.stores.signals.put_zone(zone, self.shared.clock.now()).await
    }

    /// Changes what the patch names.
    ///
    /// # Errors
    /// NotFound, or InvalidInput with the field's name.
    pub async fn patch_zone(&self, zone: &ZoneId, patch: ZonePatch) -> Result<Zone> {
        self.shared.stores.signals.patch_zone(zone, patch, self.shared.clock.now()).await
    }

    /// Removes a zone; false if it was not there.
    ///
    /// # Errors
    /// Conflict while it has open sessions.
    pub async fn remove_zone(&self, zone: &ZoneId) -> Result<bool> {
        self.shared.stores.signals.remove_zone(zone).await
    }

    /// A zone.
    ///
    /// # Errors
    /// NotFound.
    pub async fn zone(&self, zone: &ZoneId) -> Result<Zone> {
        let found = self.shared.stores.signals.zone(zone).await?;
        found.ok_or_else(|| SignalingError::ZoneNotFound(zone.clone()).into())
    }

    /// The zones that match, by number, beginning after the number `after` (0 for the first); at most
    /// `limit` (1–1,000).
    ///
    /// # Errors
    /// InvalidInput for a `limit` out of range.
    pub async fn zones(&self, filter: &ZoneFilter, after: u64, limit: usize) -> Result<Vec<Zone>> {
        self.shared.stores.signals.zones(filter, after, limit).await
    }

    /// Opens a session of a zone on a host, with these players.
    ///
    /// # Errors
    /// NotFound for the host or the zone; Conflict that names the bar which the host or the zone does
    /// not meet ([`Session::open`]); InvalidInput for more players than the zone allows.
    pub async fn open_session(
        &self,
        host: &NodeId,
        zone: &ZoneId,
        max_players: Option<u32>,
        players: impl IntoIterator<Item = PeerId>,
    ) -> Result<Session> {
        let shared = &self.shared;
        let now = shared.clock.now();
        let missing = || Error::new(ErrorKind::NotFound, format!("Host not found: {host}"));
        let record = shared.stores.nodes.node(host).await?.ok_or_else(missing)?;
        let liveness = record.liveness(now, shared.config.liveness);
        let (id, players) = (shared.ids.session(), players.into_iter().collect());
        let (host, zone) = (host.clone(), zone.clone());
        let new = NewSession { id, host, zone, max_players, players };
        let host = Host { record, liveness };
        let session = shared.stores.signals.open_session(new, host, now).await?;
        let (id, node) = (session.id.clone(), session.host.clone());
        shared.events.publish(Event::SessionOpened { session: id, node });
        Ok(session)
    }

    /// Makes a change: a player comes or goes, the session begins or ends, somebody measured. Who
    /// is connected to a session that ends hears no more.
    ///
    /// # Errors
    /// NotFound, or as [`Session::change`].
    pub async fn change(&self, session: &SessionId, change: SessionChange) -> Result<Session> {
        self.shared.change_session(session, change).await
    }

    /// A session.
    ///
    /// # Errors
    /// NotFound.
    pub async fn session(&self, session: &SessionId) -> Result<Session> {
        let found = self.shared.stores.signals.session(session).await?;
        found.ok_or_else(|| SignalingError::SessionNotFound(session.as_str().to_owned()).into())
    }

    /// The session with this number.
    ///
    /// # Errors
    /// NotFound.
    pub async fn session_number(&self, number: u64) -> Result<Session> {
        let found = self.shared.stores.signals.session_number(number).await?;
        found.ok_or_else(|| SignalingError::SessionNotFound(number.to_string()).into())
    }

    /// The sessions that match, by number, beginning after the number `after` (0 for the first); at
    /// most `limit` (1–1,000).
    ///
    /// # Errors
    /// InvalidInput for a `limit` out of range.
    pub async fn sessions(
        &self,
        filter: &SessionFilter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Session>> {
        self.shared.stores.signals.sessions(filter, after, limit).await
    }

    /// Ends the open sessions in which nothing happened for so long, and says how many those were.
    /// By itself the fog ends them after [`SignalingPolicy::idle_after`].
    ///
    /// # Errors
    /// What the store says; sessions that were ended before stay so.
    ///
    /// [`SignalingPolicy::idle_after`]: crate::signaling::SignalingPolicy::idle_after
    pub async fn end_idle(&self, idle: Duration) -> Result<usize> {
        let filter = SessionFilter { open: true, ..SessionFilter::default() };
        let (mut ended, mut after) = (0, 0);
        loop {
            let page = self.sessions(&filter, after, MAX_PAGE).await?;
            for session in &page {
                let change = SessionChange::EndIfIdle(idle);
                let session = self.shared.change_session(&session.id, change).await?;
                ended += usize::from(!session.status.is_open());
            }
            match page.last() {
                Some(last) if page.len() == MAX_PAGE => after = last.number,
                _ => return Ok(ended),
            }
        }
    }

    /// Leaves a signal for the others of a session, durably; for peers that poll.
    ///
    /// # Errors
    /// NotFound, Conflict for a session that is over, Exhausted for too many peers or candidates,
    /// InvalidInput with the field's name.
    pub async fn put_mail(
        &self,
        session: &SessionId,
        peer: &PeerId,
        signal: Signal,
    ) -> Result<Mail> {
        let shared = &self.shared;
        let (policy, now) = (shared.config.signaling, shared.clock.now());
        shared.stores.signals.put_mail(session, peer, signal, policy, now).await
    }

    /// What the peers of a session left, by peer. Reading it uses it, so it is kept for as long again.
    ///
    /// # Errors
    /// What the store says.
    pub async fn mail(&self, session: &SessionId) -> Result<Vec<Mail>> {
        let signals = &self.shared.stores.signals;
        let (policy, now) = (self.shared.config.signaling, self.shared.clock.now());
        let mail = signals.mail(session, policy, now).await?;
        // Each time is a write, so those who poll do not make one each time.
        if mail.iter().any(|mail| now.since(mail.used_at) >= policy.mail_expires / 8) {
            signals.touch_mail(session, policy, now).await?;
        }
        Ok(mail)
    }

    /// Who is connected to a session in this process, or was a moment ago and may resume, in the order
    /// in which they came.
    #[must_use]
    pub fn peers(&self, session: &SessionId) -> Vec<PeerId> {
        self.shared.rooms.look(session, |live| live.room.peers()).unwrap_or_default()
    }

    /// Connects a peer to an open session: it hears who is there, and what is said to it from now on
    /// and was said a moment ago. A connection that it had before hears no more.
    ///
    /// # Errors
    /// NotFound, Conflict for a session that is over, Exhausted if too many are there or the peer
    /// comes too often.
    pub async fn connect(&self, session: &SessionId, peer: &PeerId) -> Result<Connection> {
        let shared = &self.shared;
        self.session(session).await?.check_open()?;
        let token = ResumeToken::new(shared.ids.bytes());
        let now = shared.clock.now();
        let (link, touches) = shared.rooms.with(session, shared.config.signaling, |live| {
            let link = live.room.join(peer, token, now)?;
            Ok(((link, live.bell(peer)), live.touches(now)))
        })?;
        let (session, peer) = (session.clone(), peer.clone());
        let event = Event::PeerJoined { session: session.clone(), peer: peer.clone() };
        let connection = Connection::new(shared.clone(), (session, peer), link, 0);
        if touches {
            shared.touch(connection.session()).await?;
        }
        shared.events.publish(event);
        Ok(connection)
    }

    /// Connects a peer again whose connection dropped, with the token that it got, behind the number
    /// of the last delivery that it heard. What it acknowledged before does not come again.
    ///
    /// # Errors
    /// Denied for a token of another connection, or for a peer that was away for too long.
    pub fn resume(
        &self,
        session: &SessionId,
        peer: &PeerId,
        token: &ResumeToken,
        heard: u64,
    ) -> Result<Connection> {
        let shared = &self.shared;
        let resumed = shared.rooms.look(session, |live| {
            let (link, heard) = live.room.resume(peer, token, heard)?;
            Ok::<_, Error>(((link, live.bell(peer)), heard))
        });
        let missing = || SignalingError::CannotResume { peer: peer.clone() };
        let (link, heard) = resumed.ok_or_else(missing)??;
        Ok(Connection::new(shared.clone(), (session.clone(), peer.clone()), link, heard))
    }
}

impl Shared {
    async fn change_session(&self, session: &SessionId, change: SessionChange) -> Result<Session> {
        let now = self.clock.now();
        let (session, changed) = self.stores.signals.change_session(session, change, now).await?;
        if changed && !session.status.is_open() {
            self.session_ended(&session);
        }
        Ok(session)
    }

    /// Marks a session as used. If it is over, so is its room; a store that is away for a while keeps
    /// nobody from talking.
    async fn touch(&self, session: &SessionId) -> Result<()> {
        let touched = self.change_session(session, SessionChange::Touch).await;
        touched.map(drop).or_else(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::Conflict => {
                self.rooms.close(session);
                Err(error)
            }
            _ => {
                tracing::debug!(%session, %error, "a session cannot be marked as used");
                Ok(())
            }
        })
    }

    fn session_ended(&self, session: &Session) {
        self.rooms.close(&session.id);
        let (id, status) = (session.id.clone(), session.status.name().to_owned());
        self.events.publish(Event::SessionEnded { session: id, status });
    }

    /// Ends what nobody uses any more.
    pub(super) async fn maintain_signaling(&self, now: Timestamp, limit: usize) -> Result<()> {
        for (session, peer) in self.rooms.sweep(now) {
            self.events.publish(Event::PeerLeft { session, peer });
        }
        for session in self.rooms.unchecked(now) {
            match self.stores.signals.session(&session).await? {
                Some(session) if session.status.is_open() => {}
                Some(session) => self.session_ended(&session),
                None => self.rooms.close(&session),
            }
        }
        loop {
            let policy = self.config.signaling;
            let ended = self.stores.signals.expire_signaling(policy, now, limit).await?;
            ended.iter().for_each(|session| self.session_ended(session));
            if ended.len() < limit {
                return Ok(());
            }
        }
    }

    /// Ends the sessions of a host: with success if it was taken out in good order.
    pub(super) async fn end_sessions_of(&self, host: &NodeId, failed: bool) -> Result<()> {
        let filter =
            SessionFilter { host: Some(host.clone()), open: true, ..SessionFilter::default() };
        loop {
            let open = self.stores.signals.sessions(&filter, 0, MAX_PAGE).await?;
            for session in &open {
                let change = if failed {
                    SessionChange::Fail("its host is offline".to_owned())
                } else {
                    SessionChange::End("its host was removed".to_owned())
                };
                self.change_session(&session.id, change).await?;
            }
            if open.len() < MAX_PAGE {
                return Ok(());
            }
        }
    }
}
