//! Two real WebRTC peers, over UDP on loopback, that know nothing of each other but what our
//! signaling tells them.
#![expect(clippy::disallowed_methods, reason = "WebRTC runs on the system's time")]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::channel::ChannelId;
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc};
use tokio::net::UdpSocket;

use crate::common::{Running, start};
use crate::signaling::{peer as join, session};
use crate::socket::Socket;

/// A peer: one connection, one socket for its packets, one to our server.
struct Peer {
    name: &'static str,
    other: &'static str,
    rtc: Rtc,
    udp: UdpSocket,
    signals: Socket,
    /// What it resumes with.
    resume: String,
    /// The number of the last signal that it heard.
    heard: u64,
    offered: Option<SdpPendingOffer>,
    channel: Option<ChannelId>,
    /// What the other said over the data channel.
    told: Option<String>,
    gave_way: bool,
}

impl Peer {
    async fn join(running: &Running, session: &str, [name, other]: [&'static str; 2]) -> Self {
        let mut signals = join(running, session, name).await;
        let joined = signals.hear_of("session-joined").await;
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        Self {
            name,
            other,
            rtc: rtc(),
            udp,
            signals,
            resume: joined["resume"].as_str().unwrap().to_owned(),
            heard: joined["seq"].as_u64().unwrap(),
            offered: None,
            channel: None,
            told: None,
            gave_way: false,
        }
    }

    async fn offer(&mut self) {
        let mut change = self.rtc.sdp_api();
        change.add_channel("talk".to_owned());
        let (offer, pending) = change.apply().unwrap();
        self.offered = Some(pending);
        let sdp = offer.to_sdp_string();
        self.signals.say(json!({"type": "offer", "to": self.other, "sdp": sdp})).await;
        self.tell_candidates().await;
    }

    /// Candidates trickle behind the description.
    async fn tell_candidates(&mut self) {
        let own = Candidate::host(self.udp.local_addr().unwrap(), "udp").unwrap();
        let line = own.to_sdp_string();
        self.rtc.add_local_candidate(own);
        let candidate = json!({"type": "ice-candidate", "to": self.other, "candidate": line});
        self.signals.say(candidate).await;
        self.signals.say(json!({"type": "end-of-candidates", "to": self.other})).await;
    }

    /// Does what a signal asks for.
    async fn heed(&mut self, signal: Value) {
        self.heard = signal["seq"].as_u64().unwrap_or(self.heard);
        let text = |name: &str| signal[name].as_str().unwrap_or_default();
        match text("type") {
            "offer" => {
                let offer = SdpOffer::from_sdp_string(text("sdp")).unwrap();
                if self.offered.take().is_some() {
                    // Its own offer is void: it rolls back, and begins anew.
                    assert!(self.gave_way || signal["polite"] == true, "{signal}");
                    self.rtc = rtc();
                }
                let answer = self.rtc.sdp_api().accept_offer(offer).unwrap();
                let sdp = answer.to_sdp_string();
                self.signals.say(json!({"type": "answer", "to": self.other, "sdp": sdp})).await;
                self.tell_candidates().await;
            }
            "answer" => {
                let answer = SdpAnswer::from_sdp_string(text("sdp")).unwrap();
                let offered = self.offered.take().expect("only who offers is answered");
                self.rtc.sdp_api().accept_answer(offered, answer).unwrap();
            }
            "ice-candidate" => {
                let candidate = Candidate::from_sdp_string(text("candidate")).unwrap();
                self.rtc.add_remote_candidate(candidate);
            }
            "give-way" => self.gave_way = true,
            "peer-joined" | "peer-left" | "end-of-candidates" => {}
            other => panic!("{}: {other} {signal}", self.name),
        }
    }

    /// Sends what is to be sent, and says until when nothing else is to do.
    async fn drain(&mut self) -> Instant {
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(until) => return until,
                Output::Transmit(packet) => {
                    self.udp.send_to(&packet.contents, packet.destination).await.unwrap();
                }
                Output::Event(Event::ChannelOpen(channel, _)) => {
                    self.channel = Some(channel);
                    let hello = format!("hello from {}", self.name);
                    let mut channel = self.rtc.channel(channel).unwrap();
                    channel.write(false, hello.as_bytes()).unwrap();
                }
                Output::Event(Event::ChannelData(data)) => {
                    self.told = Some(String::from_utf8(data.data).unwrap());
                }
                Output::Event(_) => {}
            }
        }
    }

    /// One step: a packet, a signal, or time.
    async fn step(&mut self) {
        let until = self.drain().await;
        let mut packet = vec![0; 2_000];
        tokio::select! {
            received = self.udp.recv_from(&mut packet) => {
                let (length, source) = received.unwrap();
                let destination = self.udp.local_addr().unwrap();
                let contents = packet[..length].try_into().unwrap();
                let proto = Protocol::Udp;
                let receive = Receive { proto, source, destination, contents };
                self.rtc.handle_input(Input::Receive(Instant::now(), receive)).unwrap();
            }
            signal = self.signals.hear() => self.heed(signal).await,
            () = tokio::time::sleep_until(until.into()) => {
                self.rtc.handle_input(Input::Timeout(Instant::now())).unwrap();
            }
        }
    }

    /// Until it has heard of the other, and a little longer: the other may still need it.
    async fn talk(&mut self, both: &tokio::sync::Barrier) {
        while self.told.is_none() {
            self.step().await;
        }
        self.drain().await;
        let mut wait = std::pin::pin!(both.wait());
        loop {
            tokio::select! {
                _ = &mut wait => return,
                () = self.step() => {}
            }
        }
    }
}

fn rtc() -> Rtc {
    str0m::crypto::from_feature_flags().install_process_default();
    Rtc::new(Instant::now())
}

/// Both talk until each has heard the other.
async fn meet(mut a: Peer, mut b: Peer) -> [Peer; 2] {
    let both = tokio::sync::Barrier::new(2);
    let talks = async { tokio::join!(a.talk(&both), b.talk(&both)) };
    tokio::time::timeout(Duration::from_secs(30), talks).await.expect("they meet in time");
    assert_eq!(a.told.as_deref(), Some(&*format!("hello from {}", b.name)));
    assert_eq!(b.told.as_deref(), Some(&*format!("hello from {}", a.name)));
    [a, b]
}

#[tokio::test]
async fn two_peers_connect_and_talk_both_ways() {
    let running = start().await;
    let id = session(&running.anybody(), "host-1").await;
    let mut a = Peer::join(&running, &id, ["a", "b"]).await;
    let b = Peer::join(&running, &id, ["b", "a"]).await;
    a.offer().await;
    let [a, b] = meet(a, b).await;
    assert!(!a.gave_way && !b.gave_way);
}

#[tokio::test]
async fn a_peer_that_comes_late_finds_what_was_said() {
    let running = start().await;
    let id = session(&running.anybody(), "host-1").await;
    let mut a = Peer::join(&running, &id, ["a", "b"]).await;
    a.offer().await;
    // All of it has arrived before the other comes.
    a.signals.say(json!({"type": "ping"})).await;
    a.signals.hear_of("pong").await;
    let b = Peer::join(&running, &id, ["b", "a"]).await;
    meet(a, b).await;
}

#[tokio::test]
async fn when_both_offer_at_once_one_gives_way() {
    let running = start().await;
    let id = session(&running.anybody(), "host-1").await;
    let mut a = Peer::join(&running, &id, ["a", "b"]).await;
    let mut b = Peer::join(&running, &id, ["b", "a"]).await;
    a.offer().await;
    b.offer().await;
    let [a, b] = meet(a, b).await;
    assert!(a.gave_way != b.gave_way, "one of them, and only one");
}

#[tokio::test]
async fn a_dropped_socket_costs_no_signal() {
    let running = start().await;
    let id = session(&running.anybody(), "host-1").await;
    let mut a = Peer::join(&running, &id, ["a", "b"]).await;
    let mut b = Peer::join(&running, &id, ["b", "a"]).await;
    let path = format!(
        "/api/v1/signaling/ws?peer_id=b&session_id={id}&resume={}&after={}",
        b.resume, b.heard
    );
    b.signals.drop_out().await;
    a.offer().await;
    a.signals.say(json!({"type": "ping"})).await;
    a.signals.hear_of("pong").await;
    b.signals = Socket::open(&running, &path, &[]).await.unwrap();
    meet(a, b).await;
}
