//! How peers meet in a running fog: connections that drop and resume, hosts that go, sessions that
//! end, and a store that is opened again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod common;

use std::time::Duration;

use fogcore::event::{Event, Notice};
use fogcore::id::PeerId;
use fogcore::registry::{Heartbeat, Node};
use fogcore::signaling::{
    Delivery, ResumeToken, Said, Sent, Session, SessionChange, SessionStatus, Signal, ZoneSpec,
};
use fogcore::{ErrorKind, Fog, fog::Connection};

use common::{both_stores, node_id, soon, still};

fn peer(name: &str) -> PeerId {
    name.parse().unwrap()
}

fn offer(sdp: &str) -> Signal {
    Signal::Offer { sdp: sdp.into() }
}

fn candidate(text: &str) -> Signal {
    Signal::IceCandidate { candidate: text.into() }
}

/// A session on a host of its own.
async fn session(fog: &Fog) -> Session {
    let mut host = Node::new(node_id("host"));
    host.resources.bandwidth_mbps = 1_000;
    fog.register(host).await.unwrap();
    let zone = ZoneSpec::new("zone".parse().unwrap());
    fog.signaling().put_zone(zone.clone()).await.unwrap();
    fog.signaling().open_session(&node_id("host"), &zone.id, None, []).await.unwrap()
}

async fn hears(connection: &mut Connection) -> Delivery {
    soon(connection.next()).await.expect("the connection is there")
}

fn is_candidate(delivery: &Delivery, from_name: &str, text: &str) -> bool {
    matches!(&delivery.said, Said::Signal { from, signal, .. }
        if *from == peer(from_name) && *signal == candidate(text))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_connection_resumes_where_it_was_and_only_with_its_token() {
    let (builder, clock) = still();
    let fog = builder.open().await.unwrap();
    let session = session(&fog).await;
    let signaling = fog.signaling();
    let mut ann = signaling.connect(&session.id, &peer("ann")).await.unwrap();
    let mut bob = signaling.connect(&session.id, &peer("bob")).await.unwrap();
    for connection in [&mut ann, &mut bob] {
        assert!(matches!(hears(connection).await.said, Said::Joined { .. }));
    }
    assert_eq!(hears(&mut ann).await.said, Said::PeerJoined { peer: peer("bob") });
    let (token, heard) = (bob.token().clone(), 1);
    drop(bob);
    for text in ["1", "2"] {
        ann.send(&peer("bob"), candidate(text)).await.unwrap();
    }
    let stranger = ResumeToken::from_text("guess");
    let refused = signaling.resume(&session.id, &peer("bob"), &stranger, heard).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied);
    let mut bob = signaling.resume(&session.id, &peer("bob"), &token, heard).unwrap();
    assert!(is_candidate(&hears(&mut bob).await, "ann", "1"));
    let second = hears(&mut bob).await;
    assert!(is_candidate(&second, "ann", "2"));
    bob.acknowledge(second.number);
    // Away for longer than the grace: the others hear it, and it cannot come back as it was.
    drop(bob);
    clock.advance(Duration::from_secs(31));
    fog.maintain().await.unwrap();
    assert_eq!(hears(&mut ann).await.said, Said::PeerLeft { peer: peer("bob") });
    let late = signaling.resume(&session.id, &peer("bob"), &token, second.number).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Denied);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_is_woken_and_a_second_connection_ends_the_first() {
    let fog = Fog::builder().open().await.unwrap();
    let session = session(&fog).await;
    let signaling = fog.signaling();
    let ann = signaling.connect(&session.id, &peer("ann")).await.unwrap();
    assert_eq!(ann.send(&peer("bob"), offer("early")).await.unwrap(), Sent::Kept);
    let mut first = signaling.connect(&session.id, &peer("bob")).await.unwrap();
    assert!(matches!(hears(&mut first).await.said, Said::Joined { .. }));
    let early = hears(&mut first).await.said;
    assert!(matches!(early, Said::Signal { signal, polite: true, .. } if signal == offer("early")));
    let bob = peer("bob");
    let says = ann.send(&bob, candidate("now"));
    let (heard, said) = tokio::join!(hears(&mut first), says);
    assert!(is_candidate(&heard, "ann", "now") && said.is_ok());
    let anew = signaling.connect(&session.id, &bob);
    let (ended, second) = tokio::join!(soon(first.next()), anew);
    assert_eq!(ended, None, "the peer connected anew");
    let mut second = second.unwrap();
    assert!(matches!(hears(&mut second).await.said, Said::Joined { .. }));
    drop(first);
    ann.send(&peer("bob"), candidate("still there")).await.unwrap();
    assert!(is_candidate(&hears(&mut second).await, "ann", "still there"));
    soon(fog.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_host_is_gone_has_failed_and_tells_its_peers() {
    let (builder, clock) = still();
    let fog = builder.open().await.unwrap();
    let mut events = fog.subscribe();
    let session = session(&fog).await;
    let signaling = fog.signaling();
    signaling.change(&session.id, SessionChange::Join(peer("ann"))).await.unwrap();
    let mut ann = signaling.connect(&session.id, &peer("ann")).await.unwrap();
    hears(&mut ann).await;
    fog.maintain().await.unwrap();
    clock.advance(fog.config().liveness.offline_after + Duration::from_secs(1));
    fog.maintain().await.unwrap();
    let failed = signaling.session(&session.id).await.unwrap();
    assert_eq!((failed.status, failed.players.len()), (SessionStatus::Failed, 0));
    assert_eq!(soon(ann.next()).await, None);
    assert_eq!(ann.send(&peer("bob"), offer("x")).await.unwrap_err().kind(), ErrorKind::NotFound);
    let refused = signaling.connect(&session.id, &peer("ann")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    let told = std::iter::from_fn(|| events.try_next());
    let ended = Event::SessionEnded { session: session.id.clone(), status: "failed".into() };
    assert_eq!(told.filter(|notice| *notice == Notice::Event(ended.clone())).count(), 1);
    let offline =
        signaling.open_session(&node_id("host"), &session.zone, None, []).await.unwrap_err();
    assert_eq!(offline.to_string(), "host host is not online");
}

/// A removed host's sessions end, idle ones do by themselves, and use keeps one open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_end_when_nobody_needs_them() {
    let (builder, clock) = still();
    let fog = builder.open().await.unwrap();
    let idle = session(&fog).await;
    let used = session(&fog).await;
    let signaling = fog.signaling();
    let ann = signaling.connect(&used.id, &peer("ann")).await.unwrap();
    for sequence in 1..4 {
        clock.advance(Duration::from_secs(11 * 60));
        fog.beat(&node_id("host"), Heartbeat::new(sequence)).await.unwrap();
        ann.send(&peer("bob"), candidate("x")).await.unwrap();
        fog.maintain().await.unwrap();
    }
    let status = async |session: &Session| signaling.session(&session.id).await.unwrap().status;
    assert_eq!(status(&idle).await, SessionStatus::Ended);
    assert_eq!(status(&used).await, SessionStatus::Pending);
    assert!(fog.remove_node(&node_id("host")).await.unwrap());
    assert_eq!(status(&used).await, SessionStatus::Ended);
}

/// Mail goes an hour after its last use, and who reads it uses it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_that_is_read_is_kept() {
    let (builder, clock) = still();
    let fog = builder.open().await.unwrap();
    let session = session(&fog).await;
    let signaling = fog.signaling();
    signaling.put_mail(&session.id, &peer("ann"), offer("v=0")).await.unwrap();
    let reads = async |minutes: u64| {
        clock.advance(Duration::from_secs(60 * minutes));
        fog.maintain().await.unwrap();
        signaling.mail(&session.id).await.unwrap().len()
    };
    assert_eq!((reads(50).await, reads(50).await, reads(60).await), (1, 1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let (stores, folder) = both_stores().await;
    drop(stores);
    let url = format!("sqlite:{}/again.db", folder.path().display());
    let fog = Fog::open(&url).await.unwrap();
    let session = session(&fog).await;
    let signaling = fog.signaling();
    signaling.change(&session.id, SessionChange::Join(peer("ann"))).await.unwrap();
    signaling.put_mail(&session.id, &peer("ann"), offer("v=0")).await.unwrap();
    soon(fog.shutdown()).await;
    drop((fog, signaling));
    let fog = Fog::open(&url).await.unwrap();
    let found = fog.signaling().session(&session.id).await.unwrap();
    assert!(found.players.contains(&peer("ann")));
    let mail = fog.signaling().mail(&session.id).await.unwrap();
    assert_eq!(mail[0].offer.as_deref(), Some("v=0"));
    let zone = fog.signaling().zone(&session.zone).await.unwrap();
    assert_eq!(zone.players_served, 1);
    soon(fog.shutdown()).await;
}

/// A socket that died quietly is noticed late: by then its peer has resumed on another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_connection_that_ends_late_takes_nothing_from_the_new_one() {
    let (builder, clock) = still();
    let fog = builder.open().await.unwrap();
    let session = session(&fog).await;
    let signaling = fog.signaling();
    let ann = signaling.connect(&session.id, &peer("ann")).await.unwrap();
    let mut old = signaling.connect(&session.id, &peer("bob")).await.unwrap();
    let joined = hears(&mut old).await;
    let token = old.token().clone();
    let mut new = signaling.resume(&session.id, &peer("bob"), &token, joined.number).unwrap();
    assert_eq!(soon(old.next()).await, None, "the peer resumed elsewhere");
    ann.send(&peer("bob"), candidate("1")).await.unwrap();
    old.acknowledge(u64::MAX);
    let refused = old.send(&peer("ann"), candidate("from the past")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    drop(old);
    assert!(is_candidate(&hears(&mut new).await, "ann", "1"));
    clock.advance(Duration::from_secs(31));
    fog.maintain().await.unwrap();
    ann.send(&peer("bob"), candidate("2")).await.unwrap();
    assert!(is_candidate(&hears(&mut new).await, "ann", "2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_claims_to_have_heard_what_nobody_said_misses_nothing() {
    let fog = Fog::builder().open().await.unwrap();
    let session = session(&fog).await;
    let signaling = fog.signaling();
    let ann = signaling.connect(&session.id, &peer("ann")).await.unwrap();
    let bob = signaling.connect(&session.id, &peer("bob")).await.unwrap();
    let mut bob = signaling
        .resume(&session.id, &peer("bob"), bob.token(), u64::MAX)
        .expect("the token is right");
    ann.send(&peer("bob"), candidate("1")).await.unwrap();
    let heard = hears(&mut bob).await;
    assert!(is_candidate(&heard, "ann", "1") && heard.number == 2, "{heard:?}");
    soon(fog.shutdown()).await;
}

/// Two processes share a store: what one ends is over for those who are connected to the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_another_process_ended_is_over_here_too() {
    let (stores, folder) = both_stores().await;
    drop(stores);
    let url = format!("sqlite:{}/two.db", folder.path().display());
    let (builder, clock) = still();
    let (here, there) = (builder.url(&url).open().await.unwrap(), still().0.url(&url));
    let there = there.open().await.unwrap();
    let session = session(&here).await;
    let mut ann = here.signaling().connect(&session.id, &peer("ann")).await.unwrap();
    hears(&mut ann).await;
    assert_eq!(here.signaling().peers(&session.id), [peer("ann")]);
    here.maintain().await.unwrap();
    clock.advance(Duration::from_secs(31));
    there.signaling().change(&session.id, SessionChange::End("over".into())).await.unwrap();
    here.maintain().await.unwrap();
    assert_eq!(soon(ann.next()).await, None);
    assert_eq!(here.signaling().peers(&session.id), []);
    // Nobody begins a room by guessing.
    let guess = ResumeToken::from_text("guess");
    let refused = here.signaling().resume(&session.id, &peer("ann"), &guess, 0).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Denied);
    soon(here.shutdown()).await;
    soon(there.shutdown()).await;
}
