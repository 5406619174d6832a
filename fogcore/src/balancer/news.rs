//! What a balancer tells of its own accord: breakers that change, nodes that it leaves out.
//!
//! A breaker changes under its own lock, in the middle of somebody's call. There it is only counted
//! and noted; who runs timers, maintains or has seen a breaker open tells the listeners.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::{Event, EventBus};
use crate::failover::{BreakerChange, BreakerState, EjectReason, OnTaggedChange, telling};
use crate::id::{NodeId, RequestClass};

/// How many changes are kept for whoever tells them next. It is an event for each node of a small
/// fog; more of them say only that nobody maintains the balancer.
const MOST_UNTOLD: usize = 1_024;

/// What a breaker is known by: its node's place, and its class in the lowest four bits.
pub(super) const fn tag(number: u32, class: u8) -> u32 {
    number << 4 | class as u32
}

/// Tells listeners and metrics. Dropped, it takes back what its gauges say.
#[derive(Debug)]
pub(super) struct News(Option<Journal>);

/// The part of it that listens to breakers.
struct Journal {
    log: Arc<Log>,
    on_change: OnTaggedChange,
}

#[derive(Debug)]
struct Log {
    /// Names of the request classes, and how many of their breakers are open.
    classes: Vec<(String, AtomicI64)>,
    /// Nodes that are left out.
    out: AtomicI64,
    noted: Mutex<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    events: Option<EventBus>,
    changes: VecDeque<(u32, BreakerChange)>,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.log.fmt(f)
    }
}

impl News {
    /// Of a balancer with these classes beside the general one.
    pub(super) fn new(classes: &[String]) -> Self {
        let general = RequestClass::general().to_string();
        let names = std::iter::once(general).chain(classes.iter().cloned());
        let log = Arc::new(Log {
            classes: names.map(|name| (name, AtomicI64::new(0))).collect(),
            out: AtomicI64::new(0),
            noted: Mutex::default(),
        });
        let noting = Arc::clone(&log);
        let on_change = Arc::new(move |tag, change| noting.changed(tag, change));
        Self(Some(Journal { log, on_change }))
    }

    /// Of a balancer that only plays what another one did.
    pub(super) const fn nobodys() -> Self {
        Self(None)
    }

    fn log(&self) -> Option<&Log> {
        self.0.as_ref().map(|journal| &*journal.log)
    }

    pub(super) fn listen(&self, events: EventBus) {
        if let Some(log) = self.log() {
            log.lock().events = Some(events);
        }
    }

    /// Whom breakers tell of their changes, if anybody.
    pub(super) fn on_change(&self) -> Option<OnTaggedChange> {
        self.0.as_ref().map(|journal| Arc::clone(&journal.on_change))
    }

    /// A breaker guards nobody any more, whatever it was.
    pub(super) fn breaker_forgotten(&self, class: u8, was: BreakerState) {
        if let Some(log) = self.log()
            && telling::is_open(was)
        {
            log.count_open(class, -1);
        }
    }

    /// Publishes what was noted, in its order. Who has left meanwhile is named no more.
    pub(super) fn tell(&self, name: impl Fn(u32) -> Option<NodeId>) {
        let Some(log) = self.log() else { return };
        // Kept until all is told, so that two who tell do not mix up the order.
        let mut noted = log.lock();
        while let Some((tag, change)) = noted.changes.pop_front() {
            if let Some(events) = &noted.events
                && let Some(node) = name(tag >> 4)
                && let Some((class, _)) = log.class(class_of(tag))
            {
                events.publish(telling::event(node, class, change));
            }
        }
    }

    /// A node is left out.
    pub(super) fn ejected(&self, node: &NodeId, reason: EjectReason) {
        let Some(log) = self.log() else { return };
        metrics::counter!("fogcore_ejections_total", "reason" => reason.as_str()).increment(1);
        log.count_out(1);
        let reason = reason.as_str().to_owned();
        log.publish(Event::NodeEjected { node: node.clone(), reason });
    }

    /// A node that was left out takes requests again, as far as that goes.
    pub(super) fn returned(&self, node: &NodeId) {
        let Some(log) = self.log() else { return };
        log.count_out(-1);
        log.publish(Event::NodeReturned { node: node.clone() });
    }

    /// A node leaves that was left out.
    pub(super) fn left_while_out(&self) {
        if let Some(log) = self.log() {
            log.count_out(-1);
        }
    }
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn class(&self, class: u8) -> Option<&(String, AtomicI64)> {
        self.classes.get(usize::from(class))
    }

    /// Notes a change, under the breaker's lock.
    fn changed(&self, tag: u32, change: BreakerChange) {
        let class = class_of(tag);
        let Some((name, _)) = self.class(class) else { return };
        telling::count_change(name, change.to);
        match (telling::is_open(change.from), telling::is_open(change.to)) {
            (false, true) => self.count_open(class, 1),
            (true, false) => self.count_open(class, -1),
            _ => {}
        }
        let mut noted = self.lock();
        if noted.events.is_none() {
            return;
        }
        if noted.changes.len() >= MOST_UNTOLD {
            noted.changes.pop_front();
        }
        noted.changes.push_back((tag, change));
    }

    fn count_open(&self, class: u8, more: i64) {
        if let Some((name, open)) = self.class(class) {
            open.fetch_add(more, Ordering::AcqRel);
            telling::count_open(name, more as f64);
        }
    }

    fn count_out(&self, more: i64) {
        self.out.fetch_add(more, Ordering::AcqRel);
        metrics::gauge!("fogcore_nodes_ejected").increment(more as f64);
    }

    fn publish(&self, event: Event) {
        if let Some(events) = &self.lock().events {
            events.publish(event);
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        for (name, open) in &mut self.classes {
            match *open.get_mut() {
                0 => {}
                open => telling::count_open(name, -(open as f64)),
            }
        }
        match *self.out.get_mut() {
            0 => {}
            out => metrics::gauge!("fogcore_nodes_ejected").decrement(out as f64),
        }
    }
}

fn class_of(tag: u32) -> u8 {
    tag.to_le_bytes()[0] & 15
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "gauges count whole things")]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::balancer::{
        Balancer, BalancerPolicy, Class, Dice, Endpoint, Request, Scope, StrategyKind,
    };
    use crate::event::{Notice, Subscription};
    use crate::failover::telling::Recorder;
    use crate::failover::{BreakerPolicy, FailureKind, OutlierPolicy};

    const GPU: Class = Class(1);
    const MILLI: Duration = Duration::from_millis(1);
    const OUT: &str = "fogcore_nodes_ejected{}";

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn policy() -> BalancerPolicy {
        BalancerPolicy {
            classes: vec!["gpu".to_owned()],
            slow_start: Duration::ZERO,
            // One probe closes it; how long it is open is no matter of chance.
            breaker: BreakerPolicy {
                successes_to_close: 1,
                open_jitter: 0.0,
                ramp: Duration::ZERO,
                ..BreakerPolicy::default()
            },
            // Not a reason to send it what its breaker keeps off.
            panic_below: 0.0,
            ..BalancerPolicy::default()
        }
    }

    fn node(number: usize) -> NodeId {
        format!("node-{number}").parse().unwrap()
    }

    fn balancer(policy: BalancerPolicy, nodes: usize) -> (Balancer, Subscription) {
        let bus = EventBus::new(64);
        let heard = bus.subscribe();
        let balancer = Balancer::new(policy, StrategyKind::RoundRobin).unwrap().with_events(bus);
        for number in 0..nodes {
            balancer.join(Endpoint::new(node(number)), Duration::ZERO).unwrap();
        }
        (balancer, heard)
    }

    fn request(class: Class) -> Request {
        Request::new().within(Scope { class: class.0, pool: u32::from(class.0), near: None })
    }

    fn fail(balancer: &Balancer, class: Class, times: usize, now: Duration) {
        for _ in 0..times {
            let permit = balancer.pick(&request(class), now, &mut Dice::seeded(1)).unwrap();
            permit.failure(FailureKind::Error, MILLI);
        }
    }

    fn heard(news: &mut Subscription) -> Vec<Event> {
        let event = || match news.try_next()? {
            Notice::Event(event) => Some(event),
            Notice::Missed(missed) => panic!("{missed} were missed"),
        };
        std::iter::from_fn(event).collect()
    }

    fn changed(class: &str, from: &str, to: &str, reason: Option<&str>) -> Event {
        let [class, from, to] = [class, from, to].map(str::to_owned);
        let reason = reason.map(str::to_owned);
        Event::BreakerChanged { node: node(0), class, from, to, reason }
    }

    #[test]
    fn a_breakers_whole_life_is_told_with_its_class_and_reasons() {
        let recorder = Recorder::default();
        metrics::with_local_recorder(&recorder, || {
            let (balancer, mut news) = balancer(policy(), 1);
            fail(&balancer, GPU, 4, secs(1));
            assert_eq!(heard(&mut news), []);
            fail(&balancer, GPU, 1, secs(1));
            let opened = changed("gpu", "closed", "open", Some("consecutive_failures"));
            assert_eq!(heard(&mut news), [opened], "it is told at once");
            assert_eq!((recorder.open("gpu"), recorder.open("general")), (1.0, 0.0));

            // The probe fails, and with the opening its own beginning is told.
            fail(&balancer, GPU, 1, secs(100));
            let again = changed("gpu", "half_open", "open", Some("probe_failed"));
            assert_eq!(heard(&mut news), [changed("gpu", "open", "half_open", None), again]);

            let permit = balancer.pick(&request(GPU), secs(400), &mut Dice::seeded(1)).unwrap();
            assert_eq!(recorder.open("gpu"), 0.0, "metrics do not wait");
            permit.success(MILLI);
            assert_eq!(heard(&mut news), [], "a success waits for nobody");
            balancer.maintain(secs(401));
            let closed = changed("gpu", "half_open", "closed", None);
            assert_eq!(heard(&mut news), [changed("gpu", "open", "half_open", None), closed]);
            let count = |class: &str, to: &str| {
                let labels = format!("class={class},to={to}");
                recorder.bits(&format!("fogcore_breaker_changes_total{{{labels}}}"))
            };
            assert_eq!(["open", "half_open", "closed"].map(|to| count("gpu", to)), [2, 2, 1]);
            assert_eq!(count("general", "open"), 0);
        });
    }

    #[test]
    fn what_is_forced_is_told_at_once() {
        let (balancer, mut news) = balancer(policy(), 1);
        for (open, from, to) in [
            (Some(true), "closed", "forced_open"),
            (Some(false), "forced_open", "forced_closed"),
            (None, "forced_closed", "closed"),
        ] {
            balancer.force_breaker(&node(0), Class::default(), open, secs(1)).unwrap();
            assert_eq!(heard(&mut news), [changed("general", from, to, None)]);
        }
    }

    #[test]
    fn the_gauge_comes_out_even_when_nodes_leave_and_places_are_taken_again() {
        let recorder = Recorder::default();
        metrics::with_local_recorder(&recorder, || {
            let (balancer, mut news) = balancer(policy(), 3);
            for number in 0..3 {
                balancer.force_breaker(&node(number), GPU, Some(true), secs(1)).unwrap();
            }
            balancer.force_breaker(&node(0), Class::default(), Some(true), secs(1)).unwrap();
            assert_eq!((recorder.open("gpu"), recorder.open("general")), (3.0, 1.0));
            let told = heard(&mut news).len();
            assert_eq!(told, 4);

            assert!(balancer.leave(&node(0), secs(2)));
            assert_eq!((recorder.open("gpu"), recorder.open("general")), (2.0, 0.0));
            // Another node in the same place begins with closed breakers, under its own name.
            balancer.join(Endpoint::new(node(7)), secs(100)).unwrap();
            assert_eq!(recorder.open("gpu"), 2.0);
            assert_eq!(heard(&mut news), [], "to leave is no change of a breaker");
            balancer.force_breaker(&node(7), GPU, Some(true), secs(101)).unwrap();
            assert_eq!(recorder.open("gpu"), 3.0);
            let [Event::BreakerChanged { node: named, .. }] = &heard(&mut news)[..] else {
                panic!("one change")
            };
            assert_eq!(*named, node(7));

            drop(balancer);
            assert_eq!((recorder.open("gpu"), recorder.open("general")), (0.0, 0.0));
        });
    }

    #[test]
    fn what_a_node_did_last_is_told_before_it_leaves() {
        let (balancer, mut news) = balancer(policy(), 1);
        fail(&balancer, GPU, 5, secs(1));
        let permit = balancer.pick(&request(GPU), secs(400), &mut Dice::seeded(1)).unwrap();
        heard(&mut news);
        drop(permit);
        balancer.leave(&node(0), secs(401));
        assert_eq!(heard(&mut news), [changed("gpu", "open", "half_open", None)]);
    }

    #[test]
    fn who_is_far_from_the_rest_is_told_and_so_is_its_return() {
        let recorder = Recorder::default();
        metrics::with_local_recorder(&recorder, || {
            let breaker = BreakerPolicy {
                consecutive_failures: None,
                failure_rate: None,
                ..BreakerPolicy::default()
            };
            let outliers = Some(OutlierPolicy {
                min_calls: 10,
                consecutive_failures: None,
                ..OutlierPolicy::default()
            });
            let (balancer, mut news) =
                balancer(BalancerPolicy { breaker, outliers, ..policy() }, 6);
            let mut dice = Dice::seeded(1);
            let mut call_all = |now| {
                for _ in 0..2_000 {
                    let permit = balancer.pick(&Request::new(), now, &mut dice).unwrap();
                    match permit.node() == Some(node(3)) {
                        true => permit.failure(FailureKind::Error, MILLI),
                        false => permit.success(MILLI),
                    }
                }
            };
            call_all(secs(1));
            balancer.maintain(secs(20));
            let reason = "success_rate".to_owned();
            let ejected = Event::NodeEjected { node: node(3), reason };
            assert_eq!(heard(&mut news), std::slice::from_ref(&ejected));
            assert_eq!(recorder.gauge(OUT), 1.0);
            assert_eq!(recorder.bits("fogcore_ejections_total{reason=success_rate}"), 1);

            balancer.maintain(secs(49));
            assert_eq!(heard(&mut news), []);
            balancer.maintain(secs(51));
            assert_eq!(heard(&mut news), [Event::NodeReturned { node: node(3) }]);
            assert_eq!(recorder.gauge(OUT), 0.0);

            call_all(secs(52));
            balancer.maintain(secs(70));
            assert_eq!(heard(&mut news), [ejected]);
            balancer.leave(&node(3), secs(71));
            assert_eq!(recorder.gauge(OUT), 0.0, "it left while it was out");
            balancer.maintain(secs(600));
            assert_eq!(heard(&mut news), []);
        });
    }

    #[test]
    fn a_replay_tells_nobody() {
        let (original, _) = balancer(policy(), 1);
        original.force_breaker(&node(0), GPU, Some(true), secs(1)).unwrap();
        let recorder = Recorder::default();
        metrics::with_local_recorder(&recorder, || {
            let (bus, strategy) = (EventBus::new(8), StrategyKind::RoundRobin.strategy());
            let mut news = bus.subscribe();
            let replay = original.snapshot(secs(2)).restore(strategy).unwrap().with_events(bus);
            replay.force_breaker(&node(0), GPU, None, secs(3)).unwrap();
            assert_eq!(heard(&mut news), []);
            assert_eq!(recorder.open("gpu"), 0.0);
        });
    }

    #[test]
    fn what_nobody_tells_is_kept_up_to_a_limit() {
        let log = News::new(&[]);
        log.listen(EventBus::new(1));
        let on_change = log.on_change().unwrap();
        let (from, to) = (BreakerState::Open, BreakerState::HalfOpen);
        for _ in 0..MOST_UNTOLD + 7 {
            on_change(tag(1, 0), BreakerChange { from, to, reason: None, at: MILLI });
        }
        assert_eq!(log.log().unwrap().lock().changes.len(), MOST_UNTOLD);
        let named = std::cell::Cell::new(0);
        log.tell(|number| {
            assert_eq!(number, 1);
            named.set(named.get() + 1);
            None
        });
        assert_eq!(named.get(), MOST_UNTOLD);
    }

    #[test]
    fn names_that_are_told_are_the_names_in_json() {
        let (rate, bar) = (0.1, 0.5);
        for reason in [
            EjectReason::ConsecutiveFailures,
            EjectReason::SuccessRate { rate, bar },
            EjectReason::Latency { latency: MILLI, bar: MILLI },
        ] {
            let json = serde_json::to_value(reason).unwrap();
            let name = json.as_str().map(str::to_owned);
            let name = name.or_else(|| Some(json.as_object()?.keys().next()?.clone()));
            assert_eq!(name.as_deref(), Some(reason.as_str()));
        }
    }

    /// Breakers of a class that are open, of all nodes that are there.
    fn open(balancer: &Balancer, class: Class) -> usize {
        let ids = (0..4).map(node).filter_map(|node| balancer.table.number(&node));
        let slots = ids.filter_map(|number| balancer.table.slot(number));
        slots.filter(|slot| telling::is_open(slot.breaker(class.0).state())).count()
    }

    proptest! {
        #[test]
        fn over_any_history_the_gauge_counts_what_is_open_and_each_change_follows_the_one_before(
            acts in proptest::collection::vec((0_u8..9, 0_usize..4, 0_u8..2, 0_u64..90), 1..200),
        ) {
            let recorder = Recorder::default();
            metrics::with_local_recorder(&recorder, || {
                let (balancer, mut news) = balancer(policy(), 4);
                let (mut now, mut dice) = (Duration::ZERO, Dice::seeded(1));
                let mut told: BTreeMap<(NodeId, String), String> = BTreeMap::new();
                let mut held = Vec::new();
                for (act, which, class, seconds) in acts {
                    let (which, class) = (node(which), Class(class));
                    let force = |open| drop(balancer.force_breaker(&which, class, open, now));
                    match act {
                        0 => force(Some(true)),
                        1 => force(Some(false)),
                        2 => force(None),
                        3 => drop(balancer.leave(&which, now)),
                        4 => balancer.join(Endpoint::new(which.clone()), now).unwrap(),
                        5 => held.extend(balancer.pick(&request(class), now, &mut dice)),
                        6 => {
                            if let Some(permit) = held.pop() {
                                permit.success(MILLI);
                            }
                        }
                        7 => now += secs(seconds),
                        _ => {
                            for _ in 0..5 {
                                let permit = balancer.pick(&request(class), now, &mut dice);
                                let error = FailureKind::Error;
                                permit.into_iter().for_each(|permit| permit.failure(error, MILLI));
                            }
                        }
                    }
                    balancer.maintain(now);
                    for event in heard(&mut news) {
                        let Event::BreakerChanged { node, class, from, to, .. } = event else {
                            continue;
                        };
                        let before = told.insert((node, class), to);
                        prop_assert_eq!(before.unwrap_or_else(|| "closed".to_owned()), from);
                    }
                    // Who is not there has no breakers; it comes back with new ones.
                    told.retain(|(node, _), _| balancer.table.number(node).is_some());
                    for (class, name) in [(Class(0), "general"), (GPU, "gpu")] {
                        let open = open(&balancer, class);
                        prop_assert_eq!(recorder.open(name), open as f64);
                        let told = told.iter().filter(|((_, class), to)| {
                            class == name && ["open", "forced_open"].contains(&to.as_str())
                        });
                        prop_assert_eq!(told.count(), open);
                    }
                }
                drop(held);
                drop(balancer);
                prop_assert_eq!((recorder.open("general"), recorder.open("gpu")), (0.0, 0.0));
                Ok(())
            })?;
        }
    }

    #[test]
    fn whatever_threads_do_at_once_the_gauge_comes_out_even() {
        let recorder = Recorder::default();
        let (balancer, mut news) =
            metrics::with_local_recorder(&recorder, || balancer(policy(), 4));
        let toil = |thread: usize| {
            let mut dice = Dice::seeded(thread as u64);
            for turn in 0..400_usize {
                let (now, class) = (secs(turn as u64), Class(u8::from(turn % 2 == 0)));
                let which = node((turn + thread) % 4);
                match (turn + thread) % 7 {
                    0 => drop(balancer.leave(&which, now)),
                    1 => balancer.join(Endpoint::new(which), now).unwrap(),
                    2 => drop(balancer.force_breaker(&which, class, Some(true), now)),
                    3 => drop(balancer.force_breaker(&which, class, None, now)),
                    _ => {
                        let permit = balancer.pick(&request(class), now, &mut dice);
                        permit.into_iter().for_each(|p| p.failure(FailureKind::Error, MILLI));
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (recorder, toil) = (&recorder, &toil);
                scope.spawn(move || metrics::with_local_recorder(recorder, || toil(thread)));
            }
        });
        metrics::with_local_recorder(&recorder, || {
            balancer.maintain(secs(400));
            while news.try_next().is_some() {}
            for (class, name) in [(Class(0), "general"), (GPU, "gpu")] {
                assert_eq!(recorder.open(name), open(&balancer, class) as f64, "{name}");
            }
            drop(balancer);
            assert_eq!((recorder.open("general"), recorder.open("gpu")), (0.0, 0.0));
        });
    }
}
