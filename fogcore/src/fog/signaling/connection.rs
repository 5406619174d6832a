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
    Delivery, ResumeToken, Room, Sent, SessionChange, Signal, SignalingError, SignalingPolicy,
};
use crate::time::Timestamp;

/// A session in which peers talk is marked as used this often at most: each time is a write.
const TOUCH_EVERY: Duration = Duration::from_secs(60);

/// A peer's connection to a session. Dropping it is what a dropped socket is: for
/// [a while](SignalingPolicy::grace) the peer may resume, and the others notice nothing.
#[derive(Debug)]
pub struct Connection {
    shared: Arc<Shared>,
    session: SessionId,
    peer: PeerId,
    token: ResumeToken,
    bell: Arc<Notify>,
    heard: u64,
}

impl Connection {
    pub(super) fn new(
        shared: Arc<Shared>,
        (session, peer): (SessionId, PeerId),
        token: ResumeToken,
        bell: Arc<Notify>,
        heard: u64,
    ) -> Self {
        Self { shared, session, peer, token, bell, heard }
    }

    /// What the peer hears next, numbered without gaps; none once the session is over, the peer
    /// left, it connected anew, or the fog shuts down.
    pub async fn next(&mut self) -> Option<Delivery> {
        loop {
            let bell = self.bell.clone();
            let mut rung = std::pin::pin!(bell.notified());
            rung.as_mut().enable();
            let (session, peer) = (&self.session, &self.peer);
            let next = self.shared.rooms.look(session, |live| {
                live.room.is_of(peer, &self.token).then(|| live.room.next(peer, self.heard))
            })??;
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
    /// As [`Room::send`]; NotFound if the session is over.
    pub async fn send(&self, to: &PeerId, signal: Signal) -> Result<Sent> {
        let now = self.shared.clock.now();
        let missing = || SignalingError::NotJoined { peer: self.peer.clone() };
        let sent = self.shared.rooms.look(&self.session, |live| {
            let sent = live.room.send(&self.peer, to, signal, now);
            let touches = sent.is_ok() && now.since(live.touched_at) >= TOUCH_EVERY;
            if touches {
                live.touched_at = now;
            }
            (sent, touches)
        });
        let (sent, touches) = sent.ok_or_else(missing)?;
        if touches {
            self.shared.change_session(&self.session, SessionChange::Touch).await?;
        }
        sent
    }

    /// The peer has heard everything up to this number, and will not ask for it again.
    pub fn acknowledge(&self, heard: u64) {
        self.shared.rooms.look(&self.session, |live| live.room.acknowledge(&self.peer, heard));
    }

    /// Which session it is to.
    #[must_use]
    pub const fn session(&self) -> &SessionId {
        &self.session
    }

    /// What the peer resumes with.
    #[must_use]
    pub const fn token(&self) -> &ResumeToken {
        &self.token
    }

    /// The peer goes for good, and the others hear of it.
    pub fn leave(self) {
        let (session, peer) = (self.session.clone(), self.peer.clone());
        let left = self
            .shared
            .rooms
            .look(&session, |live| live.room.is_of(&peer, &self.token) && live.room.leave(&peer));
        if left == Some(true) {
            self.shared.events.publish(Event::PeerLeft { session, peer });
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let now = self.shared.clock.now();
        self.shared.rooms.look(&self.session, |live| {
            if live.room.is_of(&self.peer, &self.token) {
                live.room.drop_connection(&self.peer, now);
            }
        });
    }
}

/// A room with those who listen.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) room: Room,
    bells: HashMap<PeerId, Arc<Notify>>,
    /// When the session was last marked as used.
    touched_at: Timestamp,
}

impl Live {
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
        now: Timestamp,
        act: impl FnOnce(&mut Live) -> Result<T>,
    ) -> Result<T> {
        let mut rooms = self.lock();
        let live = rooms.entry(session.clone()).or_insert_with(|| Live {
            room: Room::new(policy),
            bells: HashMap::new(),
            touched_at: now,
        });
        let done = act(live);
        live.ring();
        done
    }

    /// Does something in a room, if it is there.
    fn look<T>(&self, session: &SessionId, act: impl FnOnce(&mut Live) -> T) -> Option<T> {
        let mut rooms = self.lock();
        let live = rooms.get_mut(session)?;
        let done = act(live);
        live.ring();
        Some(done)
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
