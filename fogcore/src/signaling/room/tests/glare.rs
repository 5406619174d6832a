//! Two peers that call each other whenever they like, as WebRTC's perfect negotiation has it.

use super::*;

/// What one of them believes.
#[derive(Debug, Default)]
struct Caller {
    /// Its offer that waits for an answer.
    offered: Option<u64>,
    heard: u64,
    /// Its offers that were answered, and those that it took back.
    agreed: Vec<u64>,
    withdrawn: Vec<u64>,
}

#[derive(Clone, Debug)]
enum Act {
    Offer(usize),
    Hear(usize),
    DropAndResume(usize),
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0_usize..2).prop_map(Act::Offer),
        6 => (0_usize..2).prop_map(Act::Hear),
        1 => (0_usize..2).prop_map(Act::DropAndResume),
        1 => (0_u64..40).prop_map(Act::Wait),
    ]
}

struct Call {
    room: Room,
    names: [PeerId; 2],
    callers: [Caller; 2],
    seconds: u64,
}

impl Call {
    fn new() -> Self {
        let policy = SignalingPolicy { burst: 10_000, ..SignalingPolicy::default() };
        let (mut room, names) = (Room::new(policy), ["ann", "bob"].map(id));
        for (number, name) in (1..).zip(&names) {
            room.join(name, token(number), NOW).unwrap();
        }
        Self { room, names, callers: Default::default(), seconds: 0 }
    }

    fn say(&mut self, who: usize, signal: Signal) -> Sent {
        let now = after(self.seconds);
        self.room.send(&self.names[who], &self.names[1 - who], signal, now).unwrap()
    }

    fn offer(&mut self, who: usize, number: u64) {
        if self.callers[who].offered.is_some() {
            return;
        }
        // What became of it is told later, as to a client behind a socket.
        self.callers[who].offered = Some(number);
        self.say(who, offer(&number.to_string()));
    }

    /// Hears one delivery; false if there is none.
    fn hear(&mut self, who: usize) -> bool {
        let heard = self.callers[who].heard;
        let Some(delivery) = self.room.next(&self.names[who], heard) else { return false };
        assert_eq!(delivery.number, heard + 1);
        self.room.acknowledge(&self.names[who], delivery.number);
        let caller = &mut self.callers[who];
        caller.heard = delivery.number;
        match delivery.said {
            // Who does not give way overhears an offer that meets its own.
            Said::Signal { signal: Signal::Offer { sdp }, polite, .. }
                if caller.offered.is_none() || polite =>
            {
                caller.withdrawn.extend(caller.offered.take());
                self.say(who, answer(&sdp));
            }
            Said::Signal { signal: Signal::Answer { sdp }, .. } => {
                let offered = caller.offered.take();
                assert_eq!(offered.map(|offer| offer.to_string()), Some(sdp), "answered another");
                caller.agreed.extend(offered);
            }
            Said::GiveWay { sdp, .. } => {
                let void = caller.offered.take_if(|offer| offer.to_string() == sdp);
                caller.withdrawn.extend(void);
            }
            _ => {}
        }
        true
    }

    fn drop_and_resume(&mut self, who: usize) {
        let (name, heard) = (&self.names[who], self.callers[who].heard);
        self.room.drop_connection(name, after(self.seconds));
        let token = token(if who == 0 { 1 } else { 2 });
        assert_eq!(self.room.resume(name, &token, heard).unwrap().1, heard);
    }
}

proptest! {
    /// However offers, answers and dropped connections fall together, each answer meets the offer that
    /// it is for, each offer is answered or taken back, and none waits for ever.
    #[test]
    fn of_offers_that_meet_one_wins(acts in prop::collection::vec(act(), 1..150)) {
        let mut call = Call::new();
        let mut offers = 0;
        for (number, act) in (1..).zip(acts) {
            match act {
                Act::Offer(who) => {
                    offers += u64::from(call.callers[who].offered.is_none());
                    call.offer(who, number);
                }
                Act::Hear(who) => _ = call.hear(who),
                Act::DropAndResume(who) => call.drop_and_resume(who),
                Act::Wait(seconds) => call.seconds += seconds,
            }
        }
        // In the end they listen to each other.
        while call.hear(0) || call.hear(1) {}
        let ends = call.callers.iter().map(|c| (c.agreed.len() + c.withdrawn.len()) as u64);
        prop_assert_eq!(ends.sum::<u64>(), offers, "{:?}", call.callers);
        for caller in &call.callers {
            prop_assert_eq!(caller.offered, None, "it waits for ever");
        }
    }
}
