//! What peers of a room can count on.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::error::ErrorKind;

mod glare;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn after(seconds: u64) -> Timestamp {
    NOW.saturating_add(Duration::from_secs(seconds))
}

fn id(name: &str) -> PeerId {
    name.parse().unwrap()
}

fn token(number: u8) -> ResumeToken {
    ResumeToken::new([number; 16])
}

fn offer(sdp: &str) -> Signal {
    Signal::Offer { sdp: sdp.into() }
}

fn answer(sdp: &str) -> Signal {
    Signal::Answer { sdp: sdp.into() }
}

fn candidate(text: &str) -> Signal {
    Signal::IceCandidate { candidate: text.into() }
}

fn room(names: &[&str]) -> Room {
    let mut room = Room::new(SignalingPolicy::default());
    for (number, name) in (1..).zip(names) {
        room.join(&id(name), token(number), NOW).unwrap();
    }
    room
}

/// The texts of the signals that a peer has not acknowledged.
fn texts(room: &Room, name: &str) -> Vec<String> {
    let text = |delivery: Delivery| match delivery.said {
        Said::Signal { signal: Signal::Offer { sdp } | Signal::Answer { sdp }, .. } => Some(sdp),
        Said::Signal { signal: Signal::IceCandidate { candidate }, .. } => Some(candidate),
        Said::Signal { signal: Signal::EndOfCandidates, .. } => Some("end".into()),
        _ => None,
    };
    room.unheard(&id(name), 0).into_iter().filter_map(text).collect()
}

#[test]
fn who_comes_hears_who_is_there_and_the_others_hear_of_him() {
    let mut room = room(&["ann", "bob"]);
    let joined = |peers: &[&str], number| Said::Joined {
        peers: peers.iter().map(|name| id(name)).collect(),
        token: token(number),
    };
    let heard = |room: &Room, name: &str| -> Vec<Said> {
        room.unheard(&id(name), 0).into_iter().map(|delivery| delivery.said).collect()
    };
    assert_eq!(heard(&room, "ann"), [joined(&[], 1), Said::PeerJoined { peer: id("bob") }]);
    assert_eq!(heard(&room, "bob"), [joined(&["ann"], 2)]);
    assert!(room.leave(&id("ann")) && !room.leave(&id("ann")));
    assert_eq!(heard(&room, "bob")[1..], [Said::PeerLeft { peer: id("ann") }]);
    // Who joins again begins anew, and hears nothing of before.
    room.join(&id("bob"), token(3), NOW).unwrap();
    assert_eq!(heard(&room, "bob"), [joined(&[], 3)]);
    assert_eq!(room.peers(), [id("bob")]);
}

#[test]
fn what_is_said_to_who_is_not_there_yet_waits_a_while() {
    let mut room = room(&["ann"]);
    let (ann, bob) = (id("ann"), id("bob"));
    assert_eq!(room.send(&ann, &bob, offer("old"), NOW).unwrap(), Sent::Kept);
    assert_eq!(room.send(&ann, &bob, candidate("new"), after(30)).unwrap(), Sent::Kept);
    room.join(&bob, token(2), after(61)).unwrap();
    assert_eq!(texts(&room, "bob"), ["new"]);
    assert_eq!(room.send(&ann, &id("eve"), offer("x"), after(61)).unwrap(), Sent::Kept);
    room.sweep(after(121));
    room.leave(&ann);
    room.leave(&bob);
    assert!(room.is_empty(), "what was kept is gone");
}

#[test]
fn a_dropped_connection_resumes_without_loss_and_without_anybody_noticing() {
    let mut room = room(&["ann", "bob"]);
    let (ann, bob) = (id("ann"), id("bob"));
    let heard = room.unheard(&bob, 0).last().unwrap().number;
    room.send(&ann, &bob, offer("1"), NOW).unwrap();
    room.drop_connection(&bob, after(1));
    assert_eq!(room.unheard(&bob, 0), [], "nobody listens");
    room.send(&ann, &bob, candidate("2"), after(2)).unwrap();
    assert_eq!(room.sweep(after(30)), []);
    let stranger = room.resume(&bob, &token(9), heard).unwrap_err();
    assert_eq!(stranger.kind(), ErrorKind::Denied);
    room.resume(&bob, &token(2), heard).unwrap();
    assert_eq!(texts(&room, "bob"), ["1", "2"]);
    room.drop_connection(&bob, after(31));
    assert_eq!(room.sweep(after(61)), std::slice::from_ref(&bob));
    assert_eq!(room.resume(&bob, &token(2), heard).unwrap_err().kind(), ErrorKind::Denied);
    let last = room.unheard(&ann, 0).pop().unwrap().said;
    assert_eq!(last, Said::PeerLeft { peer: bob });
}

#[test]
fn of_two_offers_that_meet_the_one_of_who_came_first_holds() {
    let (ann, bob) = (id("ann"), id("bob"));
    // Whoever is first, ann's holds.
    let mut one = room(&["ann", "bob"]);
    assert_eq!(one.send(&ann, &bob, offer("a"), NOW).unwrap(), Sent::Delivered);
    assert_eq!(one.send(&bob, &ann, offer("b"), NOW).unwrap(), Sent::GaveWay);
    assert_eq!(texts(&one, "ann"), [""; 0]);
    let void = Said::GiveWay { to: ann.clone(), sdp: "b".into() };
    assert!(one.unheard(&bob, 0).iter().any(|d| d.said == void));
    let mut two = room(&["ann", "bob"]);
    assert_eq!(two.send(&bob, &ann, offer("b"), NOW).unwrap(), Sent::Delivered);
    assert_eq!(two.send(&ann, &bob, offer("a"), NOW).unwrap(), Sent::Delivered);
    assert!(two.unheard(&bob, 0).iter().any(|d| d.said == void));
    for room in [&mut one, &mut two] {
        assert_eq!(texts(room, "bob"), ["a"]);
        assert_eq!(room.send(&bob, &ann, answer("yes"), NOW).unwrap(), Sent::Delivered);
        // Afterwards anybody may begin again, as when ICE restarts.
        assert_eq!(room.send(&bob, &ann, offer("b2"), NOW).unwrap(), Sent::Delivered);
    }
}

#[test]
fn floods_and_what_makes_no_sense_are_refused() {
    let mut room = room(&["ann", "bob"]);
    let (ann, bob) = (id("ann"), id("bob"));
    assert_eq!(room.send(&ann, &ann, offer("x"), NOW).unwrap_err().field(), Some("to"));
    assert_eq!(room.send(&ann, &bob, offer(" "), NOW).unwrap_err().field(), Some("sdp"));
    let nobody = room.send(&id("eve"), &bob, offer("x"), NOW).unwrap_err();
    assert_eq!(nobody.kind(), ErrorKind::NotFound);
    let SignalingPolicy { burst, join_counts, .. } = SignalingPolicy::default();
    for number in 0..burst - join_counts {
        room.acknowledge(&bob, u64::MAX);
        room.send(&ann, &bob, candidate(&number.to_string()), NOW).unwrap();
    }
    let fast = room.send(&ann, &bob, candidate("more"), NOW).unwrap_err();
    assert_eq!(fast.kind(), ErrorKind::Exhausted);
    assert!(fast.to_string().contains("again in"), "{fast}");
    room.send(&bob, &ann, candidate("others may"), NOW).unwrap();
    room.send(&ann, &bob, candidate("later"), after(1)).unwrap();
}

#[test]
fn a_peer_that_hears_nothing_is_not_kept_for_ever() {
    let policy = SignalingPolicy { max_waiting: 2, burst: 1_000, ..SignalingPolicy::default() };
    let mut room = Room::new(policy);
    let (ann, bob) = (id("ann"), id("bob"));
    room.join(&ann, token(1), NOW).unwrap();
    room.join(&bob, token(2), NOW).unwrap();
    room.send(&ann, &bob, candidate("1"), NOW).unwrap();
    let full = room.send(&ann, &bob, candidate("2"), NOW).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::Exhausted);
    for number in 0..300 {
        let name = format!("p{number}");
        room.join(&id(&name), token(3), NOW).unwrap();
        room.leave(&id(&name));
    }
    assert_eq!(room.peers(), [], "who does not listen is gone");
}

/// Coming and going is heard by all: in a loop it would push those out who are away for a moment.
#[test]
fn who_comes_and_goes_all_the_time_is_slowed_down_and_pushes_nobody_out() {
    let mut room = room(&["ann", "bob"]);
    room.drop_connection(&id("ann"), NOW);
    let mut refused = 0;
    for number in 0..2_000 {
        let now = NOW.saturating_add(Duration::from_millis(10 * number));
        room.leave(&id("bob"));
        if let Err(error) = room.join(&id("bob"), token(2), now) {
            assert_eq!(error.kind(), ErrorKind::Exhausted);
            refused += 1;
        }
    }
    assert!(refused > 1_900, "only {refused} were refused");
    assert!(room.has(&id("ann")));
    room.join(&id("bob"), token(2), after(60)).unwrap();
}

/// A peer cannot get a fresh allowance by leaving.
#[test]
fn who_joins_again_has_said_what_he_said() {
    let mut room = room(&["ann", "bob"]);
    let (ann, bob) = (id("ann"), id("bob"));
    while room.send(&ann, &bob, candidate("x"), NOW).is_ok() {
        room.acknowledge(&bob, u64::MAX);
    }
    room.leave(&ann);
    assert!(!room.is_empty());
    assert_eq!(room.join(&ann, token(3), NOW).unwrap_err().kind(), ErrorKind::Exhausted);
    room.join(&ann, token(3), after(1)).unwrap();
}

/// What somebody said who is gone means nothing any more; an old offer would even be answered.
#[test]
fn what_waits_goes_with_who_said_it() {
    let mut room = room(&["ann", "cyd"]);
    let (ann, bob, cyd) = (id("ann"), id("bob"), id("cyd"));
    room.send(&ann, &bob, offer("old"), NOW).unwrap();
    room.send(&cyd, &bob, offer("cyd's"), NOW).unwrap();
    room.leave(&ann);
    room.join(&ann, token(3), NOW).unwrap();
    room.join(&bob, token(4), NOW).unwrap();
    assert_eq!(texts(&room, "bob"), ["cyd's"]);
    assert_eq!(room.send(&bob, &ann, offer("mine"), NOW).unwrap(), Sent::Delivered);
    assert!(!room.unheard(&ann, 0).iter().any(|d| matches!(d.said, Said::GiveWay { .. })));
}

/// Large messages count for more, and what waits for one peer has an end in bytes, too.
#[test]
fn what_waits_is_bounded_in_bytes() {
    let large = "x".repeat(64 << 10);
    for to in ["bob", "nobody"] {
        let (mut room, mut kept) = (room(&["ann", "bob"]), 0);
        for second in 0..200 {
            let now = after(1 + second / 4);
            kept += usize::from(room.send(&id("ann"), &id(to), offer(&large), now).is_ok());
        }
        assert!((8..=16).contains(&kept), "{kept} of 64 KiB wait for {to}");
    }
    let mut room = room(&["ann", "bob"]);
    let mut said = 0;
    while room.send(&id("ann"), &id("bob"), offer(&large), NOW).is_ok() {
        room.acknowledge(&id("bob"), u64::MAX);
        said += 1;
    }
    assert!((8..=16).contains(&said), "{said} of 64 KiB at once");
}

/// An offer that nobody answers must not silence the polite peer for ever.
#[test]
fn an_offer_without_an_answer_holds_only_for_a_while() {
    let mut room = room(&["ann", "bob"]);
    let (ann, bob) = (id("ann"), id("bob"));
    room.send(&ann, &bob, offer("a"), NOW).unwrap();
    assert_eq!(room.send(&bob, &ann, offer("b"), after(1)).unwrap(), Sent::GaveWay);
    assert_eq!(room.send(&bob, &ann, offer("b"), after(60)).unwrap(), Sent::Delivered);
    // Who answers after all has taken his own offer back, and need not be told so.
    room.send(&bob, &ann, answer("to a"), after(61)).unwrap();
    room.send(&ann, &bob, offer("a2"), after(62)).unwrap();
    let void = |d: &&Delivery| matches!(d.said, Said::GiveWay { .. });
    assert_eq!(room.unheard(&bob, 0).iter().filter(void).count(), 1, "the first one, at 1 s");
}

/// Who never acknowledges hears on, and is told when it cannot resume without a gap.
#[test]
fn who_acknowledges_nothing_is_not_cut_off() {
    let policy = SignalingPolicy { max_waiting: 8, ..SignalingPolicy::default() };
    let mut room = Room::new(policy);
    let (ann, bob) = (id("ann"), id("bob"));
    room.join(&ann, token(1), NOW).unwrap();
    room.join(&bob, token(2), NOW).unwrap();
    let mut heard = 0;
    for number in 0..50 {
        room.send(&ann, &bob, candidate(&number.to_string()), NOW).unwrap();
        while let Some(delivery) = room.next(&bob, heard) {
            assert_eq!(delivery.number, heard + 1);
            heard = delivery.number;
        }
        room.next(&bob, heard);
    }
    // While nobody listens nothing is forgotten, but no more is taken in either.
    room.drop_connection(&bob, NOW);
    let full = room.send(&ann, &bob, candidate("more"), NOW).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::Exhausted);
    assert_eq!(room.resume(&bob, &token(2), 10).unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(room.resume(&bob, &token(2), heard - 3).unwrap().1, heard - 3);
    assert_eq!(room.unheard(&bob, heard - 3).len(), 3);
}

/// A step of a random history of three peers.
#[derive(Clone, Debug)]
enum Step {
    Join(usize),
    Leave(usize),
    Drop(usize),
    Resume(usize),
    Hear(usize),
    Send(usize, usize, u8),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0_usize..3).prop_map(Step::Join),
        1 => (0_usize..3).prop_map(Step::Leave),
        2 => (0_usize..3).prop_map(Step::Drop),
        3 => (0_usize..3).prop_map(Step::Resume),
        4 => (0_usize..3).prop_map(Step::Hear),
        12 => (0_usize..3, 0_usize..3, 0_u8..3).prop_map(|(a, b, kind)| Step::Send(a, b, kind)),
        2 => (0_u64..20).prop_map(Step::Wait),
    ]
}

/// A peer as the reference sees it.
#[derive(Default)]
struct Model {
    /// What it was told in this stay, in order.
    expected: Vec<String>,
    heard: Vec<String>,
    last: u64,
    token: Option<ResumeToken>,
    dropped_at: Option<u64>,
}

proptest! {
    /// Whatever peers do, each hears what was said to it in its stay once and in order, from who said
    /// it, and nothing else.
    #[test]
    fn everything_arrives_once_and_in_order(steps in prop::collection::vec(step(), 1..120)) {
        let names = ["ann", "bob", "cyd"].map(id);
        let mut room = Room::new(SignalingPolicy { burst: 10_000, ..SignalingPolicy::default() });
        let mut models: BTreeMap<usize, Model> = BTreeMap::new();
        let mut kept: Vec<(usize, String, u64)> = Vec::new();
        let (mut second, mut count) = (0, 0_u64);
        for step in steps {
            let now = after(second);
            match step {
                Step::Join(peer) => {
                    count += 1;
                    let token = ResumeToken::new(u128::from(count).to_le_bytes());
                    room.join(&names[peer], token.clone(), now).unwrap();
                    kept.retain(|(_, text, _)| !text.starts_with(names[peer].as_str()));
                    let waited = kept.extract_if(.., |(to, ..)| *to == peer);
                    let expected = waited.filter(|(_, _, at)| second - at < 60);
                    let expected = expected.map(|(_, text, _)| text).collect();
                    models.insert(peer, Model { expected, token: Some(token), ..Model::default() });
                }
                Step::Leave(peer) => {
                    prop_assert_eq!(room.leave(&names[peer]), models.remove(&peer).is_some());
                    kept.retain(|(_, text, _)| !text.starts_with(names[peer].as_str()));
                }
                Step::Drop(peer) => {
                    room.drop_connection(&names[peer], now);
                    if let Some(model) = models.get_mut(&peer) {
                        model.dropped_at.get_or_insert(second);
                    }
                }
                Step::Resume(peer) => {
                    let token = models.get(&peer).and_then(|model| model.token.clone());
                    let last = models.get(&peer).map_or(0, |model| model.last);
                    let token = token.unwrap_or_else(|| ResumeToken::from_text("none"));
                    let resumed = room.resume(&names[peer], &token, last).is_ok();
                    prop_assert_eq!(resumed, models.contains_key(&peer));
                    if let Some(model) = models.get_mut(&peer) {
                        model.dropped_at = None;
                    }
                }
                Step::Hear(peer) => {
                    let Some(model) = models.get_mut(&peer) else { continue };
                    for delivery in room.unheard(&names[peer], model.last) {
                        prop_assert_eq!(delivery.number, model.last + 1, "no gap, nothing twice");
                        model.last = delivery.number;
                        if let Said::Signal { from, signal: Signal::IceCandidate { candidate }, .. }
                            = delivery.said
                        {
                            let said_by = candidate.split(' ').next().unwrap().to_owned();
                            prop_assert_eq!(from.as_str(), said_by);
                            model.heard.push(candidate);
                        }
                    }
                }
                Step::Send(from, to, kind) => {
                    count += 1;
                    let text = format!("{} {count}", names[from].as_str());
                    let signal = match kind {
                        0 => offer(&text),
                        1 => answer(&text),
                        _ => candidate(&text),
                    };
                    let is_candidate = kind == 2;
                    match room.send(&names[from], &names[to], signal, now) {
                        Ok(Sent::Delivered) if is_candidate => {
                            models.get_mut(&to).unwrap().expected.push(text);
                        }
                        Ok(Sent::Kept) if is_candidate => kept.push((to, text, second)),
                        Ok(Sent::GaveWay) => {
                            prop_assert!(room.is_polite(&names[from], &names[to]));
                        }
                        Ok(_) => {}
                        Err(error) => prop_assert!(
                            from == to || !models.contains_key(&from), "{error}"
                        ),
                    }
                }
                Step::Wait(seconds) => {
                    second += seconds;
                    let gone = room.sweep(after(second));
                    models.retain(|peer, model| {
                        let stays = model.dropped_at.is_none_or(|at| second - at < 30);
                        assert_eq!(stays, !gone.contains(&names[*peer]));
                        stays
                    });
                    for peer in gone {
                        kept.retain(|(_, text, _)| !text.starts_with(peer.as_str()));
                    }
                }
            }
        }
        for (peer, model) in &mut models {
            // In the end everybody listens.
            let token = model.token.clone().unwrap();
            room.resume(&names[*peer], &token, model.last).unwrap();
            for delivery in room.unheard(&names[*peer], model.last) {
                if let Said::Signal { signal: Signal::IceCandidate { candidate }, .. } = delivery.said {
                    model.heard.push(candidate);
                }
            }
            prop_assert_eq!(&model.heard, &model.expected);
        }
    }
}
