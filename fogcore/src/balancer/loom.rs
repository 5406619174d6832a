//! What a meter counts, under every order of two threads.

use loom::sync::Arc;
use loom::sync::atomic::AtomicU32;
use loom::thread;

use super::meter::Meter;
use super::slot::{Record, Slot};
use crate::failover::atomics::{Ordering, model};
use crate::failover::{Breaker, BreakerPolicy, BreakerWindow, Ticket};

/// A node that takes so many requests at once, and how many it has.
struct Node {
    meter: Meter,
    has: AtomicU32,
    most: u32,
}

impl Node {
    fn new(most: u32) -> Arc<Self> {
        let meter = Meter::new();
        meter.limit.store(most, Ordering::Relaxed);
        Arc::new(Self { meter, has: AtomicU32::new(0), most })
    }

    /// Sends a request, if there is room, and tells whether it did.
    fn request(&self, end: impl FnOnce(&Meter)) -> u32 {
        if !self.meter.begin() {
            return 0;
        }
        assert!(self.has.fetch_add(1, Ordering::Relaxed) < self.most, "too many in flight");
        self.has.fetch_sub(1, Ordering::Relaxed);
        end(&self.meter);
        1
    }
}

fn complete(meter: &Meter) {
    meter.succeed(1, 1, 1.0);
}

/// Two threads' requests: how many of each were let through?
fn both(
    node: &Arc<Node>,
    one: impl FnOnce(&Node) -> u32 + 'static,
    other: impl FnOnce(&Node) -> u32,
) -> (u32, u32) {
    let theirs = Arc::clone(node);
    let thread = thread::spawn(move || one(&theirs));
    let other = other(node);
    (thread.join().unwrap(), other)
}

#[test]
fn no_more_requests_are_in_flight_than_may_be_and_none_stays_counted() {
    model(|| {
        let node = Node::new(1);
        let two = |node: &Node| node.request(complete) + node.request(complete);
        let (one, other) = both(&node, two, two);
        assert!(one + other >= 1, "there is always room for somebody");
        assert_eq!(node.meter.in_flight(), 0);
        assert_eq!(node.meter.completed(), one + other);
    });
}

#[test]
fn what_is_given_up_is_neither_in_flight_nor_completed() {
    model(|| {
        let node = Node::new(2);
        let given_up = |node: &Node| node.request(Meter::give_up);
        let (one, other) = both(&node, given_up, |node| node.request(complete));
        assert_eq!((one, other), (1, 1), "there is room for both");
        assert_eq!((node.meter.in_flight(), node.meter.completed()), (0, 1));
    });
}

#[test]
fn who_is_refused_leaves_no_trace() {
    model(|| {
        let node = Node::new(1);
        assert!(node.meter.begin());
        let refused = |node: &Node| node.request(|_| {});
        assert_eq!(both(&node, refused, refused), (0, 0));
        assert_eq!((node.meter.in_flight(), node.meter.completed()), (1, 0));
        complete(&node.meter);
        assert_eq!((node.meter.in_flight(), node.meter.completed()), (0, 1));
    });
}

/// Both halves of a slot.
struct Place {
    meter: Meter,
    record: Record,
}

impl Place {
    const fn slot(&self) -> Slot<'_> {
        Slot { meter: &self.meter, record: &self.record }
    }
}

/// Two failures in a row open its breaker, and one success fills its window.
fn wary() -> Arc<Place> {
    let policy = BreakerPolicy {
        window: BreakerWindow::Count(1),
        min_calls: 1,
        failure_rate: None,
        consecutive_failures: Some(2),
        ..BreakerPolicy::default()
    };
    let record = Record::new(Breaker::sharing(std::sync::Arc::new(policy)));
    Arc::new(Place { meter: Meter::new(), record })
}

fn ask(slot: Slot<'_>) -> Ticket {
    Ticket::from_word(slot.admit(0, 1).expect("it is closed"), 1)
}

fn well(slot: Slot<'_>) {
    slot.admitted_well(0, ask(slot), 1);
}

fn badly(slot: Slot<'_>) {
    slot.admitted_badly(0, ask(slot), 1);
}

/// A success that the slot takes for one that changes nothing must not be the one that ends a row.
#[test]
fn a_success_after_a_failure_is_never_kept_from_the_breaker() {
    model(|| {
        let place = wary();
        let slot = place.slot();
        well(slot);
        let theirs = Arc::clone(&place);
        let late = ask(slot);
        let thread = thread::spawn(move || theirs.slot().admitted_well(0, late, 1));
        badly(slot);
        thread.join().unwrap();
        well(slot);
        badly(slot);
        assert!(slot.admit(0, 1).is_some(), "a success came between the two failures");
        badly(slot);
        assert!(slot.admit(0, 1).is_none(), "two in a row");
    });
}

/// Failures of the same moment may break each other's row, but a success is never overlooked.
#[test]
fn a_row_is_full_only_if_no_success_came_between() {
    model(|| {
        let place = wary();
        let slot = place.slot();
        let fail = || {
            assert!(slot.meter.begin());
            let place = slot.fail(1, 1, 1.0);
            slot.record.failure_row.fails(place, 2)
        };
        assert!(!fail());
        assert!(slot.meter.begin());
        complete(slot.meter);
        let theirs = Arc::clone(&place);
        let thread = thread::spawn(move || {
            assert!(theirs.meter.begin());
            complete(&theirs.meter);
        });
        let second = fail();
        thread.join().unwrap();
        assert!(!second, "it is the first one of its row");
        assert!(slot.meter.begin());
        complete(slot.meter);
        assert!(!fail());
        assert!(fail(), "two in a row");
    });
}
