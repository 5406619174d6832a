//! The peers of one session that talk to each other now: who is there, who missed what, and who gives
//! way.
//!
//! Pure: it is told what peers do and when, and tells what to deliver. Each peer's deliveries are
//! numbered from 1 without gaps. What a peer has not acknowledged is kept, so that after a dropped
//! connection it gets the rest, once and in order; the others hear that it left only when it
//! was away for longer than [the grace](SignalingPolicy::grace).
//!
//! When two peers make each other an offer at the same time (glare), the one that joined later is the
//! polite one, in the words of WebRTC's perfect negotiation: it takes its own offer back. The room
//! names it, and drops its offer, so both always agree on whose offer holds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::{ResumeToken, Signal, SignalingError, SignalingPolicy};
use crate::error::Result;
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
    /// The offer to `to` is void, because one from there came first or goes first: answer that one.
    GiveWay {
        /// To whom the offer was.
        to: PeerId,
    },
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is on its way, or kept until the peer resumes.
    Delivered,
    /// The peer has not joined yet; it is kept for a while.
    Kept,
    /// It is an offer that met another one, and gave way.
    GaveWay,
}

#[derive(Debug)]
struct Seat {
    /// Grows with every join: who came later is polite.
    order: u64,
    token: ResumeToken,
    /// Since when its connection is gone.
    dropped_at: Option<Timestamp>,
    next: u64,
    /// What it has not acknowledged.
    unheard: VecDeque<Delivery>,
    /// When its next message would be due if it sent at its rate (the theoretical arrival time of
    /// the generic cell rate algorithm, ITU-T I.371).
    due_micros: i64,
}

#[derive(Debug)]
struct Waiting {
    from: PeerId,
    signal: Signal,
    at: Timestamp,
}

/// The peers of one session that talk to each other.
#[derive(Debug)]
pub struct Room {
    policy: SignalingPolicy,
    seats: BTreeMap<PeerId, Seat>,
    joined: u64,
    /// Offers without an answer, from and to.
    offers: BTreeSet<(PeerId, PeerId)>,
    /// What was said to peers that have not joined yet.
    absent: BTreeMap<PeerId, VecDeque<Waiting>>,
    /// Who has something new to hear.
    news: BTreeSet<PeerId>,
}

impl Room {
    /// A room without anybody.
    #[must_use]
    pub const fn new(policy: SignalingPolicy) -> Self {
        Self {
            policy,
            seats: BTreeMap::new(),
            joined: 0,
            offers: BTreeSet::new(),
            absent: BTreeMap::new(),
            news: BTreeSet::new(),
        }
    }

    /// Whether nobody is there, and nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty() && self.absent.is_empty()
    }

    /// Who is there, in the order in which they came.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerId> {
        let mut peers: Vec<_> = self.seats.iter().map(|(id, seat)| (seat.order, id)).collect();
        peers.sort_unstable();
        peers.into_iter().map(|(_, id)| id.clone()).collect()
    }

    /// A peer comes, and hears who is there and what was said to it before. One that is there
    /// already begins anew, as after a restart of its own: the others hear that it left and came.
    ///
    /// # Errors
    /// Exhausted if too many are there.
    pub fn join(&mut self, peer: &PeerId, token: ResumeToken, now: Timestamp) -> Result<()> {
        self.leave(peer);
        if self.seats.len() >= self.policy.max_peers {
            let max = self.policy.max_peers;
            return Err(SignalingError::Full { what: "peers in a session", max }.into());
        }
        let peers = self.peers();
        for other in &peers {
            self.tell(other, Said::PeerJoined { peer: peer.clone() });
        }
        self.joined += 1;
        let seat = Seat {
            order: self.joined,
            token: token.clone(),
            dropped_at: None,
            next: 1,
            unheard: VecDeque::new(),
            due_micros: now.as_micros(),
        };
        self.seats.insert(peer.clone(), seat);
        self.tell(peer, Said::Joined { peers, token });
        let kept = self.absent.remove(peer).unwrap_or_default();
        for Waiting { from, signal, at } in kept {
            if now.since(at) < self.policy.keep_for_absent {
                if matches!(signal, Signal::Offer { .. }) {
                    self.offers.insert((from.clone(), peer.clone()));
                }
                let polite = self.is_polite(peer, &from);
                self.tell(peer, Said::Signal { from, signal, polite, at });
            }
        }
        Ok(())
    }

    /// A peer is back on a new connection, and has heard everything up to `heard`; it hears the rest.
    ///
    /// # Errors
    /// Denied for a token of another join, or a peer that was away for too long.
    pub fn resume(&mut self, peer: &PeerId, token: &ResumeToken, heard: u64) -> Result<()> {
        let missing = || SignalingError::CannotResume { peer: peer.clone() };
        let seat = self.seats.get_mut(peer).filter(|seat| seat.token.is(token));
        seat.ok_or_else(missing)?.dropped_at = None;
        self.acknowledge(peer, heard);
        self.news.insert(peer.clone());
        Ok(())
    }

    /// A peer's connection is gone; it may resume for a while.
    pub fn drop_connection(&mut self, peer: &PeerId, now: Timestamp) {
        if let Some(seat) = self.seats.get_mut(peer) {
            seat.dropped_at.get_or_insert(now);
        }
    }

    /// A peer goes for good; false if it was not there.
    pub fn leave(&mut self, peer: &PeerId) -> bool {
        if self.seats.remove(peer).is_none() {
            return false;
        }
        self.news.remove(peer);
        self.offers.retain(|(from, to)| from != peer && to != peer);
        for other in self.peers() {
            self.tell(&other, Said::PeerLeft { peer: peer.clone() });
        }
        true
    }

    /// Lets those leave who were away for too long, forgets what was kept for too long, and tells
    /// who left.
    pub fn sweep(&mut self, now: Timestamp) -> Vec<PeerId> {
        let (grace, keep) = (self.policy.grace, self.policy.keep_for_absent);
        let is_gone = |seat: &Seat| seat.dropped_at.is_some_and(|at| now.since(at) >= grace);
        let gone = self.seats.iter().filter(|(_, seat)| is_gone(seat));
        let gone: Vec<_> = gone.map(|(id, _)| id.clone()).collect();
        for peer in &gone {
            self.leave(peer);
        }
        self.absent.retain(|_, waiting| {
            waiting.retain(|one| now.since(one.at) < keep);
            !waiting.is_empty()
        });
        gone
    }

    /// A peer says something to another one.
    ///
    /// # Errors
    /// NotFound if the sender has not joined, InvalidInput with the field's name for what is empty,
    /// too large or said to oneself, Exhausted if it sends too fast or no more is kept for the other.
    pub fn send(
        &mut self,
        from: &PeerId,
        to: &PeerId,
        signal: Signal,
        now: Timestamp,
    ) -> Result<Sent> {
        if from == to {
            return Err(crate::Error::invalid("to", "nobody talks to himself"));
        }
        signal.check(&self.policy)?;
        self.limit(from, now)?;
        let max = self.policy.max_waiting;
        let full = || SignalingError::Full { what: "messages wait for that peer", max };
        if !self.seats.contains_key(to) {
            let others = self.absent.len();
            let waiting = self.absent.get(to).map_or(0, VecDeque::len);
            if waiting >= max || (waiting == 0 && others >= self.policy.max_peers) {
                return Err(full().into());
            }
            let one = Waiting { from: from.clone(), signal, at: now };
            self.absent.entry(to.clone()).or_default().push_back(one);
            return Ok(Sent::Kept);
        }
        if self.seats.get(to).is_some_and(|seat| seat.unheard.len() >= max) {
            return Err(full().into());
        }
        let (ours, theirs) = ((from.clone(), to.clone()), (to.clone(), from.clone()));
        match &signal {
            Signal::Offer { .. } if self.offers.contains(&theirs) => {
                if self.is_polite(from, to) {
                    self.tell(from, Said::GiveWay { to: to.clone() });
                    return Ok(Sent::GaveWay);
                }
                self.offers.remove(&theirs);
                self.offers.insert(ours);
                self.tell(to, Said::GiveWay { to: from.clone() });
            }
            Signal::Offer { .. } => {
                self.offers.insert(ours);
            }
            Signal::Answer { .. } => {
                self.offers.remove(&theirs);
            }
            Signal::IceCandidate { .. } | Signal::EndOfCandidates => {}
        }
        let (from, polite) = (from.clone(), self.is_polite(to, from));
        self.tell(to, Said::Signal { from, signal, polite, at: now });
        Ok(Sent::Delivered)
    }

    /// What a peer has to hear behind the number `after`, in order, if its connection is there.
    #[must_use]
    pub fn unheard(&self, peer: &PeerId, after: u64) -> Vec<Delivery> {
        let seat = self.seats.get(peer).filter(|seat| seat.dropped_at.is_none());
        let unheard = seat.into_iter().flat_map(|seat| &seat.unheard);
        unheard.filter(|delivery| delivery.number > after).cloned().collect()
    }

    /// The first of them.
    #[must_use]
    pub fn next(&self, peer: &PeerId, after: u64) -> Option<Delivery> {
        let seat = self.seats.get(peer).filter(|seat| seat.dropped_at.is_none())?;
        // Numbers have no gaps, so the place is known.
        let first = seat.unheard.front()?.number;
        let place = usize::try_from((after + 1).saturating_sub(first)).ok()?;
        seat.unheard.get(place).cloned()
    }

    /// Whether the peer is there.
    #[must_use]
    pub fn has(&self, peer: &PeerId) -> bool {
        self.seats.contains_key(peer)
    }

    /// Whether the peer is there by the join that this token was given for.
    #[must_use]
    pub fn is_of(&self, peer: &PeerId, token: &ResumeToken) -> bool {
        self.seats.get(peer).is_some_and(|seat| seat.token.is(token))
    }

    /// A peer has heard everything up to this number.
    pub fn acknowledge(&mut self, peer: &PeerId, heard: u64) {
        if let Some(seat) = self.seats.get_mut(peer) {
            while seat.unheard.front().is_some_and(|first| first.number <= heard) {
                seat.unheard.pop_front();
            }
        }
    }

    /// Who has something new to hear since this was last asked.
    pub fn take_news(&mut self) -> BTreeSet<PeerId> {
        std::mem::take(&mut self.news)
    }

    /// Whether `peer` is the one that gives way to `other`: it came later.
    #[must_use]
    pub fn is_polite(&self, peer: &PeerId, other: &PeerId) -> bool {
        let order = |id| self.seats.get(id).map(|seat| seat.order);
        order(peer) > order(other)
    }

    fn tell(&mut self, peer: &PeerId, said: Said) {
        let Some(seat) = self.seats.get_mut(peer) else { return };
        seat.unheard.push_back(Delivery { number: seat.next, said });
        seat.next += 1;
        self.news.insert(peer.clone());
        // Comings and goings cannot be refused, so who hears nothing for that long has to begin anew.
        if seat.unheard.len() > 2 * self.policy.max_waiting + self.policy.max_peers {
            self.leave(peer);
        }
    }

    /// Refuses what comes faster than the policy allows.
    fn limit(&mut self, peer: &PeerId, now: Timestamp) -> Result<()> {
        let step = 1_000_000 / i64::from(self.policy.rate_per_second.max(1));
        let most = step.saturating_mul(i64::from(self.policy.burst));
        let missing = || SignalingError::NotJoined { peer: peer.clone() };
        let seat = self.seats.get_mut(peer).ok_or_else(missing)?;
        let now = now.as_micros();
        let due = seat.due_micros.max(now).saturating_add(step);
        let over = due.saturating_sub(now).saturating_sub(most);
        if over > 0 {
            let wait_ms = u64::try_from(over / 1_000).unwrap_or_default() + 1;
            return Err(SignalingError::TooFast { peer: peer.clone(), wait_ms }.into());
        }
        seat.due_micros = due;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
