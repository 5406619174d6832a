//! What a meter counts, under every order of two threads.

use loom::sync::Arc;
use loom::sync::atomic::AtomicU32;
use loom::thread;

use super::meter::Meter;
use crate::failover::atomics::{Ordering, model};

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
