//! What every [`SignalStore`](crate::signaling::SignalStore) promises.

use std::time::Duration;

use super::at;
use crate::error::ErrorKind;
use crate::id::{PeerId, SessionId, ZoneId};
use crate::registry::{Liveness, Node, NodeRecord};
use crate::signaling::{
    Host, NewSession, Session, SessionChange, SessionFilter, SessionMetrics, SessionStatus, Signal,
    SignalingPolicy, Zone, ZoneFilter, ZonePatch, ZoneSpec, ZoneStatus,
};
use crate::storage::Stores;

fn zone_id(name: &str) -> ZoneId {
    name.parse().unwrap()
}

fn session_id(name: &str) -> SessionId {
    name.parse().unwrap()
}

fn peer(name: &str) -> PeerId {
    name.parse().unwrap()
}

fn host(name: &str) -> Host {
    let mut node = Node::new(name.parse().unwrap());
    node.resources.bandwidth_mbps = 1_000;
    Host { record: NodeRecord::new(node, at(0)), liveness: Liveness::Online }
}

fn new(name: &str, host: &str) -> NewSession {
    NewSession {
        id: session_id(name),
        host: host.parse().unwrap(),
        zone: zone_id("zone"),
        max_players: None,
        players: std::collections::BTreeSet::new(),
    }
}

async fn zone(stores: &Stores, name: &str) -> Zone {
    stores.signals.put_zone(ZoneSpec::new(zone_id(name)), at(0)).await.unwrap()
}

async fn open(stores: &Stores, name: &str) -> Session {
    stores.signals.open_session(new(name, "host"), host("host"), at(0)).await.unwrap()
}

async fn change(stores: &Stores, name: &str, change: SessionChange, second: u64) -> Session {
    stores.signals.change_session(&session_id(name), change, at(second)).await.unwrap().0
}

/// Made again, a zone is changed and stays itself; patches change what they name; only a zone that
/// nobody plays in can go.
pub async fn zones_are_made_changed_and_listed(stores: &Stores) {
    let signals = &stores.signals;
    let (one, two) =
        (zone(stores, "zone").await, zone(stores, "größe 2".replace(' ', "-").as_str()).await);
    assert!(one.number < two.number);
    let larger = ZoneSpec { max_players: 200, ..one.spec.clone() };
    let again = signals.put_zone(larger, at(1)).await.unwrap();
    assert_eq!((again.number, again.created_at, again.updated_at), (one.number, at(0), at(1)));
    let patch = ZonePatch {
        p2p_enabled: Some(false),
        status: Some(ZoneStatus::Maintenance),
        ..ZonePatch::default()
    };
    let patched = signals.patch_zone(&two.spec.id, patch, at(2)).await.unwrap();
    assert_eq!((patched.spec.p2p_enabled, patched.spec.max_players), (false, 100));
    assert_eq!(signals.zone(&two.spec.id).await.unwrap(), Some(patched.clone()));
    let wrong = ZonePatch { max_players: Some(0), ..ZonePatch::default() };
    let error = signals.patch_zone(&two.spec.id, wrong, at(3)).await.unwrap_err();
    assert_eq!(error.field(), Some("max_players"));
    let none = signals.patch_zone(&zone_id("none"), ZonePatch::default(), at(3)).await.unwrap_err();
    assert_eq!(none.kind(), ErrorKind::NotFound);
    let all = ZoneFilter::default();
    assert_eq!(signals.zones(&all, 0, 10).await.unwrap(), [again.clone(), patched.clone()]);
    let second = std::slice::from_ref(&patched);
    assert_eq!(signals.zones(&all, again.number, 10).await.unwrap(), second);
    assert_eq!(signals.zones(&all, 0, 1).await.unwrap(), std::slice::from_ref(&again));
    let open_ones = ZoneFilter { p2p_enabled: Some(true), ..all };
    assert_eq!(signals.zones(&open_ones, 0, 10).await.unwrap(), [again]);
    let resting = ZoneFilter { status: Some(ZoneStatus::Maintenance), ..all };
    assert_eq!(signals.zones(&resting, 0, 1).await.unwrap(), [patched]);

    open(stores, "s").await;
    let busy = signals.remove_zone(&zone_id("zone")).await.unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Conflict);
    change(stores, "s", SessionChange::End("over".into()), 4).await;
    assert!(signals.remove_zone(&zone_id("zone")).await.unwrap());
    assert!(!signals.remove_zone(&zone_id("zone")).await.unwrap());
    assert!(zone(stores, "zone").await.number > two.number, "numbers are not given out twice");
}

/// A session is opened once, lives once, and its players are counted where they play.
pub async fn sessions_are_opened_lived_and_ended_once(stores: &Stores) {
    let signals = &stores.signals;
    let missing = signals.open_session(new("s", "host"), host("host"), at(0)).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    zone(stores, "zone").await;
    let first = open(stores, "s").await;
    assert_eq!((first.status, first.max_players), (SessionStatus::Pending, 100));
    assert_eq!(open(stores, "s").await, first, "sent twice, it is opened once");
    let other = signals.open_session(new("s", "other"), host("other"), at(1)).await.unwrap_err();
    assert_eq!(other.kind(), ErrorKind::Conflict);
    for name in ["ann", "bob", "ann"] {
        change(stores, "s", SessionChange::Join(peer(name)), 1).await;
    }
    change(stores, "s", SessionChange::Leave(peer("bob")), 2).await;
    let bandwidth_mbps = Some(75.5);
    let metrics = SessionMetrics { bandwidth_mbps, ..SessionMetrics::default() };
    change(stores, "s", SessionChange::Measure(metrics), 2).await;
    let active = change(stores, "s", SessionChange::Activate, 3).await;
    assert_eq!((active.status, active.activated_at), (SessionStatus::Active, Some(at(3))));
    assert_eq!(active.players.iter().collect::<Vec<_>>(), [&peer("ann")]);
    assert_eq!(signals.session(&session_id("s")).await.unwrap(), Some(active.clone()));
    assert_eq!(signals.session_number(active.number).await.unwrap(), Some(active));
    assert_eq!(signals.zone(&zone_id("zone")).await.unwrap().unwrap().players_served, 2);
    let absent = SessionChange::Leave(peer("bob"));
    let absent = signals.change_session(&session_id("s"), absent, at(4)).await.unwrap_err();
    assert_eq!(absent.kind(), ErrorKind::NotFound);
    let ended = change(stores, "s", SessionChange::Fail("the host is gone".into()), 5).await;
    assert_eq!((ended.status, ended.players.len()), (SessionStatus::Failed, 0));
    let again = SessionChange::End("late".into());
    let again = signals.change_session(&session_id("s"), again, at(6)).await.unwrap();
    assert_eq!(again, (ended, false));
    let none = signals.change_session(&session_id("none"), SessionChange::Touch, at(6)).await;
    assert_eq!(none.unwrap_err().kind(), ErrorKind::NotFound);
}

/// Conditions count together, and pages go by number.
pub async fn sessions_are_listed_in_order_and_filtered(stores: &Stores) {
    zone(stores, "zone").await;
    for (name, host_name) in [("a", "host"), ("b", "other"), ("c", "host")] {
        let opened =
            stores.signals.open_session(new(name, host_name), host(host_name), at(0)).await;
        opened.unwrap();
    }
    change(stores, "a", SessionChange::End(String::new()), 1).await;
    change(stores, "b", SessionChange::Activate, 1).await;
    let names = async |filter: SessionFilter, after: u64, limit: usize| {
        let found = stores.signals.sessions(&filter, after, limit).await.unwrap();
        found.iter().map(|session| session.id.as_str().to_owned()).collect::<Vec<_>>()
    };
    let all = SessionFilter::default();
    assert_eq!(names(all.clone(), 0, 10).await, ["a", "b", "c"]);
    let second = stores.signals.session(&session_id("b")).await.unwrap().unwrap().number;
    assert_eq!(names(all.clone(), second, 10).await, ["c"]);
    assert_eq!(names(all.clone(), 0, 2).await, ["a", "b"]);
    let of_host = SessionFilter { host: "host".parse().ok(), ..all.clone() };
    assert_eq!(names(of_host.clone(), 0, 10).await, ["a", "c"]);
    assert_eq!(names(SessionFilter { open: true, ..of_host }, 0, 10).await, ["c"]);
    let active = SessionFilter { status: Some(SessionStatus::Active), ..all.clone() };
    assert_eq!(names(active, 0, 10).await, ["b"]);
    let elsewhere = SessionFilter { zone: Some(zone_id("none")), ..all };
    assert_eq!(names(elsewhere, 0, 10).await, [""; 0]);
}

/// However many open at once, a host gets no more sessions than it takes, and a session no more
/// players.
pub async fn a_crowd_passes_no_limit(stores: &Stores) {
    zone(stores, "zone").await;
    let opens = (0..20).map(|number| {
        let signals = stores.signals.clone();
        async move {
            let new = new(&format!("s{number}"), "host");
            signals.open_session(new, host("host"), at(0)).await.is_ok()
        }
    });
    let opened = futures::future::join_all(opens).await;
    assert_eq!(opened.iter().filter(|opened| **opened).count(), 5);
    let few = NewSession { max_players: Some(3), ..new("few", "other") };
    stores.signals.open_session(few, host("other"), at(0)).await.unwrap();
    let joins = (0..20).map(|number| {
        let signals = stores.signals.clone();
        async move {
            let join = SessionChange::Join(peer(&format!("p{number}")));
            signals.change_session(&session_id("few"), join, at(1)).await.is_ok()
        }
    });
    let joined = futures::future::join_all(joins).await;
    assert_eq!(joined.iter().filter(|joined| **joined).count(), 3);
    assert_eq!(stores.signals.zone(&zone_id("zone")).await.unwrap().unwrap().players_served, 3);
}

/// However many open a session with one id at once, there is one, on one host.
pub async fn a_session_id_is_given_once_in_a_crowd(stores: &Stores) {
    zone(stores, "zone").await;
    // Stores that connect when they are needed do so before, or else the first is done too soon.
    let none = session_id("none");
    futures::future::join_all((0..20).map(|_| stores.signals.session(&none))).await;
    let opens = (0..20).map(|number| {
        let signals = stores.signals.clone();
        async move {
            let name = if number % 2 == 0 { "host" } else { "other" };
            let players = [peer(&format!("p{number}"))].into();
            let new = NewSession { players, ..new("one", name) };
            signals.open_session(new, host(name), at(0)).await
        }
    });
    let opened = futures::future::join_all(opens).await;
    let kept = stores.signals.session(&session_id("one")).await.unwrap().unwrap();
    let opened: Vec<_> = opened.into_iter().flatten().collect();
    assert_eq!(opened.len(), 10, "those who named the other host were refused");
    assert!(opened.iter().all(|session| *session == kept), "all were told the same");
    assert_eq!(stores.signals.zone(&zone_id("zone")).await.unwrap().unwrap().players_served, 1);
}

/// Each peer has its own offer, answer and candidates; a new offer begins anew; what is old goes.
pub async fn mail_is_kept_by_peer_until_it_is_old(stores: &Stores) {
    zone(stores, "zone").await;
    open(stores, "s").await;
    let policy = SignalingPolicy { max_peers: 2, max_candidates: 2, ..SignalingPolicy::default() };
    let put = async |name: &str, signal: Signal, second: u64| {
        let (session, peer) = (session_id("s"), peer(name));
        stores.signals.put_mail(&session, &peer, signal, policy, at(second)).await
    };
    let candidate = |text: &str| Signal::IceCandidate { candidate: text.into() };
    let offer = |text: &str| Signal::Offer { sdp: text.into() };
    put("ann", offer("v=0\r\n\u{0}é"), 1).await.unwrap();
    put("ann", candidate("one"), 2).await.unwrap();
    put("ann", candidate("two"), 3).await.unwrap();
    assert_eq!(put("ann", candidate("three"), 3).await.unwrap_err().kind(), ErrorKind::Exhausted);
    put("bob", Signal::Answer { sdp: "yes".into() }, 4).await.unwrap();
    assert_eq!(put("eve", offer("x"), 5).await.unwrap_err().kind(), ErrorKind::Exhausted);
    assert_eq!(put("ann", offer(""), 5).await.unwrap_err().field(), Some("sdp"));
    let mail =
        async |second| stores.signals.mail(&session_id("s"), policy, at(second)).await.unwrap();
    let found = mail(6).await;
    assert_eq!(
        found.iter().map(|mail| &mail.peer).collect::<Vec<_>>(),
        [&peer("ann"), &peer("bob")]
    );
    assert_eq!(found[0].offer.as_deref(), Some("v=0\r\n\u{0}é"));
    assert_eq!(found[0].candidates, ["one", "two"]);
    assert_eq!((found[1].answer.as_deref(), found[1].answered_at), (Some("yes"), Some(at(4))));
    put("ann", offer("again"), 7).await.unwrap();
    assert!(mail(7).await[0].candidates.is_empty());
    // It is an hour old, and gone also before it is removed.
    assert_eq!(mail(4 + 3_600).await.len(), 1);
    // Who reads it uses it; what is too old does not come back.
    let touch =
        async |second| stores.signals.touch_mail(&session_id("s"), policy, at(second)).await;
    touch(5 + 3_600).await.unwrap();
    touch(6).await.unwrap();
    stores.signals.touch_mail(&session_id("none"), policy, at(9)).await.unwrap();
    let kept = mail(7 + 3_600).await;
    assert_eq!(kept.iter().map(|mail| &mail.peer).collect::<Vec<_>>(), [&peer("ann")]);
    assert_eq!(kept[0].used_at, at(5 + 3_600));
    put("ann", candidate("still hers"), 8 + 3_600).await.unwrap();
    let kept = &mail(4 + 7_200).await[0];
    assert_eq!((kept.offer.as_deref(), kept.used_at), (Some("again"), at(8 + 3_600)));
    let active_at = stores.signals.session(&session_id("s")).await.unwrap().unwrap().active_at;
    assert_eq!(active_at, at(8 + 3_600));
    change(stores, "s", SessionChange::End(String::new()), 9 + 3_600).await;
    assert_eq!(
        put("ann", candidate("late"), 10 + 3_600).await.unwrap_err().kind(),
        ErrorKind::Conflict
    );
}

/// Sessions in which nothing happens end, once, and mail that nobody wants goes.
pub async fn what_is_idle_ends(stores: &Stores) {
    zone(stores, "zone").await;
    for name in ["idle", "busy", "over"] {
        open(stores, name).await;
    }
    let policy = SignalingPolicy {
        idle_after: Duration::from_secs(60),
        mail_expires: Duration::from_secs(90),
        ..SignalingPolicy::default()
    };
    let offer = Signal::Offer { sdp: "v=0".into() };
    let (idle, ann) = (session_id("idle"), peer("ann"));
    stores.signals.put_mail(&idle, &ann, offer, policy, at(10)).await.unwrap();
    change(stores, "over", SessionChange::End("over".into()), 20).await;
    change(stores, "busy", SessionChange::Touch, 40).await;
    let expire = async |second: u64, limit: usize| {
        let ended = stores.signals.expire_signaling(policy, at(second), limit).await.unwrap();
        ended.iter().map(|session| session.id.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(expire(69, 10).await, [""; 0]);
    assert_eq!(expire(70, 10).await, ["idle"]);
    assert_eq!(expire(70, 10).await, [""; 0]);
    let ended = stores.signals.session(&idle).await.unwrap().unwrap();
    assert_eq!((ended.status, ended.end_reason.as_deref()), (SessionStatus::Ended, Some("idle")));
    let forever = SignalingPolicy { mail_expires: Duration::from_secs(9_999), ..policy };
    assert_eq!(stores.signals.mail(&idle, forever, at(99)).await.unwrap().len(), 1);
    assert_eq!(expire(100, 10).await, ["busy"]);
    assert_eq!(stores.signals.mail(&idle, forever, at(100)).await.unwrap(), []);
}
