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
//! names it, and drops its offer, so both always agree on whose offer holds. An offer that nobody
//! answers [holds for a while](SignalingPolicy::offer_holds) only.
//!
//! A peer that resumes has a new [`Link`], and the old one is nobody's any more: sockets that died
//! quietly end late, and must take nothing from those that came after them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::pace::Pace;
use super::{Delivery, ResumeToken, Said, Sent, Signal, SignalingError, SignalingPolicy};
use crate::error::Result;
use crate::id::PeerId;
use crate::time::Timestamp;

/// One connection of a peer to its room. A peer that resumes has a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    token: ResumeToken,
    number: u64,
}

impl Link {
    /// What the peer resumes with.
    #[must_use]
    pub const fn token(&self) -> &ResumeToken {
        &self.token
    }
}

#[derive(Debug)]
struct Seat {
    /// Grows with every join: who came later is polite.
    order: u64,
    link: Link,
    /// Since when its connection is gone.
    dropped_at: Option<Timestamp>,
    next: u64,
    /// What it has not acknowledged.
    unheard: VecDeque<Delivery>,
    /// Up to which number its connection took what it hears.
    taken: u64,
    /// Up to which number nothing is kept any more although it was not acknowledged.
    lost: u64,
}

/// An offer without an answer.
#[derive(Debug)]
struct Offered {
    sdp: String,
    at: Timestamp,
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
    pace: Pace,
    /// By from and to.
    offers: BTreeMap<(PeerId, PeerId), Offered>,
    /// What was said to peers that have not joined yet.
    absent: BTreeMap<PeerId, VecDeque<Waiting>>,
    /// Who has something new to hear.
    news: BTreeSet<PeerId>,
    /// Who did not listen for so long that it had to go, since the last sweep.
    deaf: BTreeSet<PeerId>,
}

impl Room {
    /// A room without anybody.
    #[must_use]
    pub const fn new(policy: SignalingPolicy) -> Self {
        Self {
            policy,
            seats: BTreeMap::new(),
            joined: 0,
            pace: Pace::new(),
            offers: BTreeMap::new(),
            absent: BTreeMap::new(),
            news: BTreeSet::new(),
            deaf: BTreeSet::new(),
        }
    }

    /// Whether nobody is there, nothing is kept, and nobody has to be slowed down.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty() && self.absent.is_empty() && self.pace.is_empty()
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
    /// Exhausted if too many are there, or if it comes too often; then nothing changes.
    pub fn join(&mut self, peer: &PeerId, token: ResumeToken, now: Timestamp) -> Result<Link> {
        if !self.has(peer) && self.seats.len() >= self.policy.max_peers {
            let max = self.policy.max_peers;
            return Err(SignalingError::Full { what: "peers in a session", max }.into());
        }
        // All others hear of it, so who comes and goes in a loop would fill what is kept for them.
        self.pace.take(peer, self.policy.join_counts as usize, &self.policy, now)?;
        self.leave(peer);
        let peers = self.peers();
        for other in &peers {
            self.tell(other, Said::PeerJoined { peer: peer.clone() });
        }
        self.joined += 1;
        let link = Link { token: token.clone(), number: 0 };
        let seat = Seat {
            order: self.joined,
            link: link.clone(),
            dropped_at: None,
            next: 1,
            unheard: VecDeque::new(),
            taken: 0,
            lost: 0,
        };
        self.seats.insert(peer.clone(), seat);
        self.tell(peer, Said::Joined { peers, token });
        let kept = self.absent.remove(peer).unwrap_or_default();
        for Waiting { from, signal, at } in kept {
            if now.since(at) < self.policy.keep_for_absent {
                if let Signal::Offer { sdp } = &signal {
                    let offered = Offered { sdp: sdp.clone(), at: now };
                    self.offers.insert((from.clone(), peer.clone()), offered);
                }
                let polite = self.is_polite(peer, &from);
                self.tell(peer, Said::Signal { from, signal, polite, at });
            }
        }
        Ok(link)
    }

    /// A peer is back on a new connection, and has heard everything up to `heard`; it hears the rest,
    /// beginning behind the number that comes with its new link.
    ///
    /// # Errors
    /// Denied for a token of another join, a peer that was away for too long, or one that would miss
    /// what is not kept any more; it joins again.
    pub fn resume(
        &mut self,
        peer: &PeerId,
        token: &ResumeToken,
        heard: u64,
    ) -> Result<(Link, u64)> {
        let missing = || SignalingError::CannotResume { peer: peer.clone() };
        let seat = self.seats.get_mut(peer);
        let seat = seat.filter(|seat| seat.link.token.is(token) && heard >= seat.lost);
        let seat = seat.ok_or_else(missing)?;
        seat.dropped_at = None;
        seat.link.number += 1;
        // Nobody has heard what was not said: he would miss what comes next.
        let (link, heard) = (seat.link.clone(), heard.min(seat.next - 1));
        seat.taken = heard;
        self.acknowledge(peer, heard);
        self.news.insert(peer.clone());
        Ok((link, heard))
    }

    /// A peer's connection is gone; it may resume for a while.
    pub fn drop_connection(&mut self, peer: &PeerId, now: Timestamp) {
        if let Some(seat) = self.seats.get_mut(peer) {
            seat.dropped_at.get_or_insert(now);
        }
    }

    /// A peer goes for good, and what it said to those who are not there yet with it; false if it was
    /// not there.
    pub fn leave(&mut self, peer: &PeerId) -> bool {
        if self.seats.remove(peer).is_none() {
            return false;
        }
        // Whoever still listens in its name learns of it.
        self.news.insert(peer.clone());
        self.offers.retain(|(from, to), _| from != peer && to != peer);
        self.keep_waiting(|one| one.from != *peer);
        for other in self.peers() {
            self.tell(&other, Said::PeerLeft { peer: peer.clone() });
        }
        true
    }

    /// Lets those leave who were away for too long, forgets what was kept for too long, and tells
    /// who left since the last sweep without having said so.
    pub fn sweep(&mut self, now: Timestamp) -> Vec<PeerId> {
        let (grace, keep) = (self.policy.grace, self.policy.keep_for_absent);
        let is_gone = |seat: &Seat| seat.dropped_at.is_some_and(|at| now.since(at) >= grace);
        let gone = self.seats.iter().filter(|(_, seat)| is_gone(seat));
        let gone: Vec<_> = gone.map(|(id, _)| id.clone()).collect();
        for peer in &gone {
            self.leave(peer);
        }
        self.keep_waiting(|one| now.since(one.at) < keep);
        self.pace.sweep(now);
        let holds = self.policy.offer_holds;
        self.offers.retain(|_, offered| now.since(offered.at) < holds);
        // Who was put out and came again is there.
        let mut left = std::mem::take(&mut self.deaf);
        left.extend(gone);
        left.retain(|peer| !self.has(peer));
        left.into_iter().collect()
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
        if !self.has(from) {
            return Err(SignalingError::NotJoined { peer: from.clone() }.into());
        }
        self.pace.take(from, self.policy.counts(&signal), &self.policy, now)?;
        if !self.has(to) {
            self.make_room(to, signal.size())?;
            let one = Waiting { from: from.clone(), signal, at: now };
            self.absent.entry(to.clone()).or_default().push_back(one);
            return Ok(Sent::Kept);
        }
        let (ours, theirs) = ((from.clone(), to.clone()), (to.clone(), from.clone()));
        let void =
            matches!(signal, Signal::Offer { .. }).then(|| self.held(&theirs, now)).flatten();
        if let (Signal::Offer { sdp }, Some(_), true) = (&signal, &void, self.is_polite(from, to)) {
            self.make_room(from, sdp.len())?;
            self.tell(from, Said::GiveWay { to: to.clone(), sdp: sdp.clone() });
            return Ok(Sent::GaveWay);
        }
        self.make_room(to, signal.size() + void.as_ref().map_or(0, String::len))?;
        match &signal {
            Signal::Offer { sdp } => {
                self.offers.remove(&theirs);
                self.offers.insert(ours, Offered { sdp: sdp.clone(), at: now });
            }
            // Who answers has taken his own offer back.
            Signal::Answer { .. } => {
                self.offers.remove(&theirs);
                self.offers.remove(&ours);
            }
            Signal::IceCandidate { .. } | Signal::EndOfCandidates | Signal::Custom { .. } => {}
        }
        if let Some(sdp) = void {
            self.tell(to, Said::GiveWay { to: from.clone(), sdp });
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

    /// The first of them. What is asked for behind a number was taken up to there: it is kept until it
    /// is acknowledged, or until others need the place.
    pub fn next(&mut self, peer: &PeerId, after: u64) -> Option<Delivery> {
        let seat = self.seats.get_mut(peer).filter(|seat| seat.dropped_at.is_none())?;
        seat.taken = seat.taken.max(after.min(seat.next - 1));
        // Numbers have no gaps, so the place is known.
        let first = seat.unheard.front()?.number;
        let place = usize::try_from(after.saturating_add(1).saturating_sub(first)).ok()?;
        seat.unheard.get(place).cloned()
    }

    /// Whether the peer is there.
    #[must_use]
    pub fn has(&self, peer: &PeerId) -> bool {
        self.seats.contains_key(peer)
    }

    /// Whether this is still the peer's connection, and not one that it had before.
    #[must_use]
    pub fn is_on(&self, peer: &PeerId, link: &Link) -> bool {
        self.seats.get(peer).is_some_and(|seat| seat.link == *link)
    }

    /// A peer has heard everything up to this number.
    pub fn acknowledge(&mut self, peer: &PeerId, heard: u64) {
        if let Some(seat) = self.seats.get_mut(peer) {
            while seat.unheard.front().is_some_and(|first| first.number <= heard) {
                seat.unheard.pop_front();
            }
        }
    }

    /// Who has something new to hear, or is gone, since this was last asked.
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
            self.deaf.insert(peer.clone());
            self.leave(peer);
        }
    }

    /// The offer of that pair, if it waits for its answer and has not done so for too long.
    fn held(&self, pair: &(PeerId, PeerId), now: Timestamp) -> Option<String> {
        let holds = |offered: &&Offered| now.since(offered.at) < self.policy.offer_holds;
        self.offers.get(pair).filter(holds).map(|offered| offered.sdp.clone())
    }

    /// Makes room for what a peer will hear, or refuses. What a connection took and nobody
    /// acknowledged goes first: it is kept only for a connection that drops, and who never
    /// acknowledges must not hear nothing for ever.
    fn make_room(&mut self, to: &PeerId, bytes: usize) -> Result<(), SignalingError> {
        let (most, max_bytes) = (self.policy.max_waiting, self.policy.max_waiting_bytes);
        let (mut count, mut size) = (0, bytes);
        if let Some(seat) = self.seats.get_mut(to) {
            count = seat.unheard.len();
            size += seat.unheard.iter().map(|delivery| delivery.said.size()).sum::<usize>();
            let may_forget = seat.dropped_at.is_none();
            while (count >= most || size > max_bytes) && may_forget {
                let taken = seat.taken;
                let Some(first) = seat.unheard.pop_front_if(|first| first.number <= taken) else {
                    break;
                };
                (count, size) = (count - 1, size - first.said.size());
                seat.lost = first.number;
            }
        } else if let Some(waiting) = self.absent.get(to) {
            count = waiting.len();
            size += waiting.iter().map(|one| one.signal.size()).sum::<usize>();
        } else if self.absent.len() >= self.policy.max_peers {
            let max = self.policy.max_peers;
            return Err(SignalingError::Full { what: "peers that are not there", max });
        }
        if count >= most {
            return Err(SignalingError::Full { what: "messages wait for that peer", max: most });
        }
        if size > max_bytes {
            return Err(SignalingError::Full { what: "bytes wait for that peer", max: max_bytes });
        }
        Ok(())
    }

    /// Keeps of what waits for those who are not there only what is wanted.
    fn keep_waiting(&mut self, wanted: impl Fn(&Waiting) -> bool) {
        self.absent.retain(|_, waiting| {
            waiting.retain(&wanted);
            !waiting.is_empty()
        });
    }
}

#[cfg(test)]
mod tests;
