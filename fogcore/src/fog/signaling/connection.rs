//! Peers that are connected now, and the rooms that they are in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::error::Result;
use crate::event::Event;
use crate::fog::Shared;
use crate::id::{PeerId, SessionId};
use crate::signaling::{
    Delivery, Link, ResumeToken, Room, Sent, Signal, SignalingError, SignalingPolicy,
};
use crate::time::Timestamp;

/// A session in which peers talk is marked as used this often at most: each time is a write.
const TOUCH_EVERY: Duration = Duration::from_secs(60);

/// A room's session is looked at this often: another process may have ended it.
const CHECK_EVERY: Duration = Duration::from_secs(30);

/// A peer's connection to a session. Dropping it is what a dropped socket is: for
/// [a while](SignalingPolicy::grace) the peer may resume, and the others notice nothing. Once the
/// peer resumed or connected anew, the connections that it had before do nothing any more.
#[derive(Debug)]
pub struct Connection {
    shared: Arc<Shared>,
    session: SessionId,
    peer: PeerId,
    link: Link,
    bell: Arc<Notify>,
    heard: u64,
}

impl Connection {
    pub(super) fn new(
        shared: Arc<Shared>,
        (session, peer): (SessionId, PeerId),
        (link, bell): (Link, Arc<Notify>),
        heard: u64,
    ) -> Self {
        Self { shared, session, peer, link, bell, heard }
    }

    /// Does something in the room, if this is the peer's connection to it.
    fn here<T>(&self, act: impl FnOnce(&mut Live) -> T) -> Option<T> {
        let here = |live: &mut Live| live.room.is_on(&self.peer, &self.link).then(|| act(live));
        self.shared.rooms.look(&self.session, here)?
    }

    /// What the peer hears next, numbered without gaps; none once the session is over, the peer
    /// left, it connected anew, or the fog shuts down. Nothing is lost if nobody waits to the end.
    pub async fn next(&mut self) -> Option<Delivery> {
        loop {
            let bell = self.bell.clone();
            let mut rung = std::pin::pin!(bell.notified());
            rung.as_mut().enable();
            let next = self.here(|live| live.room.next(&self.peer, self.heard))?;
            if let Some(delivery) = next {
                self.heard = delivery.number;
                return Some(delivery);
            }
            tokio::select! {
                () = rung => {}
                () = self.shared.stopping.cancelled() => return None,
            }
        }
    }

    /// Says something to another peer of the session.
    ///
    /// # Errors
    /// As [`Room::send`]; NotFound if the session is over, or this is not the peer's connection any
    /// more.
    pub async fn send(&self, to: &PeerId, signal: Signal) -> Result<Sent> {
        let now = self.shared.clock.now();
        let sent = self.here(|live| {
            let sent = live.room.send(&self.peer, to, signal, now);
            let touches = sent.is_ok() && live.touches(now);
            (sent, touches)
        });
        let missing = || SignalingError::NotJoined { peer: self.peer.clone() };
        let (sent, touches) = sent.ok_or_else(missing)?;
        if touches {
            self.shared.touch(&self.session).await?;
        }
        sent
    }

    /// The peer has heard everything up to this number, and will not ask for it again.
    pub fn acknowledge(&self, heard: u64) {
        self.here(|live| live.room.acknowledge(&self.peer, heard));
    }

    /// Which session it is to.
    #[must_use]
    pub const fn session(&self) -> &SessionId {
        &self.session
    }

    /// What the peer resumes with.
    #[must_use]
    pub const fn token(&self) -> &ResumeToken {
        self.link.token()
    }

    /// The peer goes for good, and the others hear of it.
    pub fn leave(self) {
        let (session, peer) = (self.session.clone(), self.peer.clone());
        if self.here(|live| live.room.leave(&peer)) == Some(true) {
            self.shared.events.publish(Event::PeerLeft { session, peer });
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let now = self.shared.clock.now();
        self.here(|live| live.room.drop_connection(&self.peer, now));
    }
}

/// A room with those who listen.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) room: Room,
    bells: HashMap<PeerId, Arc<Notify>>,
    /// When the session was last marked as used.
    touched_at: Option<Timestamp>,
    /// When it was last seen to be open.
    checked_at: Option<Timestamp>,
}

impl Live {
    fn new(policy: SignalingPolicy) -> Self {
        Self { room: Room::new(policy), bells: HashMap::new(), touched_at: None, checked_at: None }
    }

    /// Whether it is time to mark the session as used; whoever asks does so.
    pub(super) fn touches(&mut self, now: Timestamp) -> bool {
        is_time(&mut self.touched_at, TOUCH_EVERY, now)
    }

    pub(super) fn bell(&mut self, peer: &PeerId) -> Arc<Notify> {
        self.bells.entry(peer.clone()).or_default().clone()
    }

    fn ring(&mut self) {
        for peer in self.room.take_news() {
            if let Some(bell) = self.bells.get(&peer) {
                bell.notify_waiters();
            }
        }
    }
}

/// Whether the last time was so long ago; then it is now.
fn is_time(last: &mut Option<Timestamp>, every: Duration, now: Timestamp) -> bool {
    let is_time = last.is_none_or(|last| now.since(last) >= every);
    if is_time {
        *last = Some(now);
    }
    is_time
}

/// The rooms of this process.
#[derive(Debug, Default)]
pub(in crate::fog) struct Rooms(Mutex<HashMap<SessionId, Live>>);

impl Rooms {
    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Live>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something in a room, which is made if need be.
    pub(super) fn with<T>(
        &self,
        session: &SessionId,
        policy: SignalingPolicy,
        act: impl FnOnce(&mut Live) -> Result<T>,
    ) -> Result<T> {
        let mut rooms = self.lock();
        let live = rooms.entry(session.clone()).or_insert_with(|| Live::new(policy));
        let done = act(live);
        live.ring();
        done
    }

    /// Does something in a room, if it is there.
    pub(super) fn look<T>(
        &self,
        session: &SessionId,
        act: impl FnOnce(&mut Live) -> T,
    ) -> Option<T> {
        let mut rooms = self.lock();
        let live = rooms.get_mut(session)?;
        let done = act(live);
        live.ring();
        Some(done)
    }

    /// The sessions that have not been seen to be open for a while.
    pub(super) fn unchecked(&self, now: Timestamp) -> Vec<SessionId> {
        let mut rooms = self.lock();
        let due = rooms.iter_mut().filter_map(|(session, live)| {
            is_time(&mut live.checked_at, CHECK_EVERY, now).then(|| session.clone())
        });
        due.collect()
    }

    /// Ends a room: who is there hears no more.
    pub(super) fn close(&self, session: &SessionId) {
        let live = self.lock().remove(session);
        live.into_iter().flat_map(|live| live.bells).for_each(|(_, bell)| bell.notify_waiters());
    }

    /// Lets those go who were away for too long, and tells who.
    pub(super) fn sweep(&self, now: Timestamp) -> Vec<(SessionId, PeerId)> {
        let mut gone = Vec::new();
        self.lock().retain(|session, live| {
            gone.extend(live.room.sweep(now).into_iter().map(|peer| (session.clone(), peer)));
            live.ring();
            let Live { room, bells, .. } = live;
            // Whoever still waits for a bell of a peer that is gone learns of it.
            bells.retain(|peer, bell| {
                let stays = room.has(peer);
                if !stays {
                    bell.notify_waiters();
                }
                stays
            });
            !live.room.is_empty()
        });
        gone
    }
}
