//! What clients send to signaling, and a room in which peers say it: whatever is accepted reads the
//! same again, and each peer hears, without gaps and from who said it, only what was said to it; what
//! waits for somebody stays within the policy, and in the end nothing is left.

#![no_main]

use std::collections::BTreeMap;
use std::time::Duration;

use fogcore::id::PeerId;
use fogcore::signaling::{
    Link, NewSession, ResumeToken, Room, Said, Signal, SignalingPolicy, Zone, ZonePatch, ZoneSpec,
};
use fogcore::time::Timestamp;
use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};

/// What is done, by whom, to whom, what is said, and a number: heard up to, or milliseconds.
type Step = (u8, PeerId, PeerId, Signal, u64);

fuzz_target!(|json: &[u8]| {
    if let Some(spec) = reads_the_same::<ZoneSpec>(json)
        && let Err(error) = Zone::put(None, spec, Timestamp::UNIX_EPOCH)
    {
        assert!(error.field().is_some(), "{error}");
    }
    reads_the_same::<ZonePatch>(json);
    reads_the_same::<NewSession>(json);
    if let Some(steps) = reads_the_same::<Vec<Step>>(json) {
        History::new().play(&steps);
    }
});

fn reads_the_same<T: DeserializeOwned + Serialize + PartialEq>(json: &[u8]) -> Option<T> {
    let value: T = serde_json::from_slice(json).ok()?;
    let again = serde_json::to_vec(&value).unwrap_or_default();
    assert!(serde_json::from_slice::<T>(&again).is_ok_and(|again| again == value));
    Some(value)
}

/// A room with what its peers know of it.
struct History {
    room: Room,
    policy: SignalingPolicy,
    now: Timestamp,
    joins: u64,
    /// Each peer's connection, and the number of what it heard last.
    links: BTreeMap<PeerId, (Link, u64)>,
    /// What was accepted: from, to, and what.
    said: Vec<(PeerId, PeerId, Signal)>,
}

impl History {
    /// With limits that a short history reaches.
    fn new() -> Self {
        let policy = SignalingPolicy {
            max_sdp: 64,
            max_candidate: 16,
            max_custom: 32,
            max_peers: 4,
            max_waiting: 6,
            max_waiting_bytes: 128,
            join_counts: 5,
            ..SignalingPolicy::default()
        };
        assert!(policy.check().is_ok());
        let (room, now) = (Room::new(policy), Timestamp::UNIX_EPOCH);
        Self { room, policy, now, joins: 0, links: BTreeMap::new(), said: Vec::new() }
    }

    fn play(&mut self, steps: &[Step]) {
        for (kind, from, to, signal, number) in steps {
            match kind % 7 {
                0 => self.join(from),
                1 => assert_eq!(self.room.leave(from), self.links.remove(from).is_some()),
                2 => self.room.drop_connection(from, self.now),
                3 => self.resume(from, *number),
                4 => self.hear(from, number % 2 == 0),
                5 => self.wait(Duration::from_millis(*number % 40_000)),
                _ => {
                    if self.room.send(from, to, signal.clone(), self.now).is_ok() {
                        assert!(self.links.contains_key(from), "nobody speaks who is not there");
                        self.said.push((from.clone(), to.clone(), signal.clone()));
                    }
                }
            }
            // Who hears nothing for too long is put out at once.
            self.links.retain(|peer, (link, _)| self.room.is_on(peer, link));
            self.check();
        }
        for peer in self.room.peers() {
            self.hear(&peer, true);
            self.room.leave(&peer);
        }
        self.wait(Duration::from_secs(3_600));
        assert!(self.room.is_empty());
    }

    fn join(&mut self, peer: &PeerId) {
        self.joins += 1;
        let token = ResumeToken::new(u128::from(self.joins).to_le_bytes());
        if let Ok(link) = self.room.join(peer, token, self.now) {
            self.links.insert(peer.clone(), (link, 0));
        }
    }

    fn resume(&mut self, peer: &PeerId, heard: u64) {
        let Some((link, last)) = self.links.get(peer).cloned() else { return };
        // Either it tells the truth, or anything else.
        let claimed = if heard % 2 == 0 { last } else { heard };
        let (new, heard) = match self.room.resume(peer, link.token(), claimed) {
            Ok(resumed) => resumed,
            // Only who missed what he took before, and who may join again.
            Err(_) => return assert!(claimed < last),
        };
        assert!(heard <= claimed && !self.room.is_on(peer, &link) && self.room.is_on(peer, &new));
        let stranger = ResumeToken::from_text("guess");
        assert!(self.room.resume(peer, &stranger, 0).is_err());
        self.links.insert(peer.clone(), (new, heard.max(last)));
    }

    fn hear(&mut self, peer: &PeerId, acknowledges: bool) {
        let Some((_, heard)) = self.links.get_mut(peer) else { return };
        while let Some(delivery) = self.room.next(peer, *heard) {
            assert_eq!(delivery.number, *heard + 1, "a gap, or heard twice");
            *heard = delivery.number;
            if let Said::Signal { from, signal, .. } = delivery.said {
                assert!(from != *peer && self.said.contains(&(from, peer.clone(), signal)));
            }
        }
        if acknowledges {
            self.room.acknowledge(peer, *heard);
        }
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now.saturating_add(time);
        for peer in self.room.sweep(self.now) {
            assert!(!self.room.has(&peer));
            self.links.remove(&peer);
        }
    }

    fn check(&self) {
        let (peers, policy) = (self.room.peers(), &self.policy);
        assert_eq!(peers.len(), self.links.len());
        assert!(peers.len() <= policy.max_peers);
        for peer in &peers {
            let waiting = self.room.unheard(peer, 0);
            assert!(waiting.len() <= 2 * policy.max_waiting + policy.max_peers);
            let bytes: usize = waiting.iter().map(|delivery| delivery.said.size()).sum();
            let heard = self.links.get(peer).map_or(0, |(_, heard)| *heard);
            if let Some(next) = self.room.unheard(peer, heard).first() {
                assert_eq!(next.number, heard + 1, "what comes next is missing");
            }
            // What waited for it before it joined is bounded by itself.
            assert!(bytes <= 2 * policy.max_waiting_bytes, "{bytes} bytes wait for {peer}");
        }
    }
}
