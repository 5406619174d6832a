//! What a monitor remembers: its targets, who is next, and what is still to be told.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;

use super::HealthEvent;
use crate::error::{Error, ErrorKind, Result};
use crate::failover::{Health, HealthChange, HealthCheck, HealthPolicy, ProbeOutcome, ProbeTarget};
use crate::id::NodeId;

/// The targets of a monitor; does no I/O and knows no clock.
#[derive(Debug)]
pub(super) struct Targets {
    policy: HealthPolicy,
    seed: u64,
    max: usize,
    watched: HashMap<NodeId, Watched>,
    /// Who is probed next: each target that waits for its probe, once.
    queue: BTreeSet<(Duration, NodeId)>,
    /// Whose change is not told yet: each target at most once, in the order of its first change.
    news: BTreeMap<u64, NodeId>,
    /// The last number given to a probe or to news.
    numbers: u64,
}

#[derive(Debug)]
struct Watched {
    target: Arc<ProbeTarget>,
    check: HealthCheck,
    queued: Option<Duration>,
    running: Option<Running>,
    /// The number under which it stands in the news, and all changes since then as one.
    untold: Option<(u64, HealthChange)>,
}

#[derive(Debug)]
struct Running {
    number: u64,
    abort: Option<AbortHandle>,
}

/// A probe that begins.
pub(super) struct Begun {
    pub(super) number: u64,
    pub(super) target: Arc<ProbeTarget>,
}

impl Targets {
    pub(super) fn new(policy: HealthPolicy, seed: u64, max: usize) -> Self {
        let (watched, queue, news) = (HashMap::new(), BTreeSet::new(), BTreeMap::new());
        Self { policy, seed, max, watched, queue, news, numbers: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.watched.len()
    }

    pub(super) fn health(&self, node: &NodeId) -> Option<Health> {
        self.watched.get(node).map(|watched| watched.check.health())
    }

    pub(super) fn all(&self) -> BTreeMap<NodeId, Health> {
        let health = |(node, watched): (&NodeId, &Watched)| (node.clone(), watched.check.health());
        self.watched.iter().map(health).collect()
    }

    /// Adds a target. What was known under another address is about something else, and is
    /// forgotten.
    pub(super) fn add(&mut self, target: ProbeTarget, now: Duration) -> Result<()> {
        let node = target.node.clone();
        let room = self.watched.len() < self.max;
        let seed = seed_of(self.seed, &node);
        match self.watched.get_mut(&node) {
            Some(watched) if *watched.target == target => return Ok(()),
            Some(watched) => {
                let from = watched.check.health();
                watched.check = HealthCheck::new(self.policy, seed, now)?;
                watched.target = Arc::new(target);
                let to = watched.check.health();
                let change = HealthChange { from, to, because: None, at: now };
                self.changed(&node, Some(change).filter(|_| from != to));
            }
            None if room => {
                let check = HealthCheck::new(self.policy, seed, now)?;
                let target = Arc::new(target);
                let (queued, running, untold) = (None, None, None);
                let watched = Watched { target, check, queued, running, untold };
                self.watched.insert(node.clone(), watched);
                self.changed(&node, None);
            }
            None => {
                let text = format!("{} targets are watched, more are not allowed", self.max);
                return Err(Error::new(ErrorKind::Exhausted, text));
            }
        }
        Ok(())
    }

    /// Forgets a target, and what is untold of it.
    pub(super) fn remove(&mut self, node: &NodeId) -> bool {
        let Some(mut watched) = self.watched.remove(node) else { return false };
        watched.stop();
        if let Some(at) = watched.queued {
            self.queue.remove(&(at, node.clone()));
        }
        if let Some((number, _)) = watched.untold {
            self.news.remove(&number);
        }
        true
    }

    /// Lets something happen to a target from outside; false if it is not watched.
    pub(super) fn happen(
        &mut self,
        node: &NodeId,
        what: impl FnOnce(&mut HealthCheck) -> Option<HealthChange>,
    ) -> bool {
        let Some(watched) = self.watched.get_mut(node) else { return false };
        let change = what(&mut watched.check);
        self.changed(node, change);
        true
    }

    /// Begins the probe that is due first, if one is.
    pub(super) fn begin(&mut self, now: Duration) -> Option<Begun> {
        let (at, node) = self.queue.first()?;
        if *at > now {
            return None;
        }
        let node = node.clone();
        let number = self.number();
        let watched = self.watched.get_mut(&node)?;
        watched.check.begin(now);
        watched.running = Some(Running { number, abort: None });
        let target = watched.target.clone();
        self.requeue(&node);
        Some(Begun { number, target })
    }

    /// How the probe that just began can be ended early.
    pub(super) fn began(&mut self, node: &NodeId, abort: AbortHandle) {
        if let Some(running) = self.watched.get_mut(node).and_then(|w| w.running.as_mut()) {
            running.abort = Some(abort);
        }
    }

    /// A probe ended. If it was given up meanwhile, its result means nothing any more.
    pub(super) fn end(&mut self, node: &NodeId, number: u64, outcome: ProbeOutcome, at: Duration) {
        let Some(watched) = self.watched.get_mut(node) else { return };
        if watched.running.take_if(|running| running.number == number).is_some() {
            let change = watched.check.observe(outcome, at);
            self.changed(node, change);
        }
    }

    /// How long until the next probe is due; none if none will be by itself.
    pub(super) fn wait(&self, now: Duration) -> Option<Duration> {
        self.queue.first().map(|(at, _)| at.saturating_sub(now))
    }

    pub(super) fn untold(&self) -> usize {
        self.news.len()
    }

    /// The oldest news; what changed back meanwhile is none.
    pub(super) fn tell(&mut self) -> Option<HealthEvent> {
        while let Some((_, node)) = self.news.pop_first() {
            let untold = self.watched.get_mut(&node).and_then(|watched| watched.untold.take());
            if let Some((_, change)) = untold
                && change.from != change.to
            {
                return Some(HealthEvent { node, change });
            }
        }
        None
    }

    /// After any change: what was in flight and is no more ends, and the queue and the news are
    /// made right.
    fn changed(&mut self, node: &NodeId, change: Option<HealthChange>) {
        self.requeue(node);
        let number = self.number();
        let Some(watched) = self.watched.get_mut(node) else { return };
        if !watched.check.in_flight() {
            watched.stop();
        }
        let Some(change) = change else { return };
        match &mut watched.untold {
            Some((_, untold)) => *untold = HealthChange { from: untold.from, ..change },
            None => {
                watched.untold = Some((number, change));
                self.news.insert(number, node.clone());
            }
        }
    }

    fn requeue(&mut self, node: &NodeId) {
        let Some(watched) = self.watched.get_mut(node) else { return };
        let next = watched.check.next_probe_at();
        let before = std::mem::replace(&mut watched.queued, next);
        if before == next {
            return;
        }
        if let Some(at) = before {
            self.queue.remove(&(at, node.clone()));
        }
        if let Some(at) = next {
            self.queue.insert((at, node.clone()));
        }
    }

    fn number(&mut self) -> u64 {
        self.numbers = self.numbers.wrapping_add(1);
        self.numbers
    }
}

impl Watched {
    /// Ends the probe in flight, if there is one.
    fn stop(&mut self) {
        if let Some(abort) = self.running.take().and_then(|running| running.abort) {
            abort.abort();
        }
    }
}

/// A seed of the node's own, so that nodes added together are spread.
fn seed_of(seed: u64, node: &NodeId) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes()).update(node.as_str().as_bytes());
    let [a, b, c, d, e, f, g, h, ..] = *hasher.finalize().as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::failover::{AbsenceReason, ProbeError};
    use crate::registry::{Address, Port};

    const MAX: usize = 3;

    impl Targets {
        /// What must be true between any two calls.
        fn is_consistent(&self) -> bool {
            let queued = |(node, watched): (&NodeId, &Watched)| {
                watched.queued == watched.check.next_probe_at()
                    && watched.queued.is_none_or(|at| self.queue.contains(&(at, node.clone())))
                    && watched.running.is_some() == watched.check.in_flight()
                    && watched.untold.as_ref().is_none_or(|(n, _)| self.news.get(n) == Some(node))
            };
            let waiting = self.watched.values().filter(|watched| watched.queued.is_some());
            let untold = self.watched.values().filter(|watched| watched.untold.is_some());
            self.watched.len() <= MAX
                && self.watched.iter().all(queued)
                && self.queue.len() == waiting.count()
                && self.news.len() == untold.count()
        }
    }

    proptest! {
        #[test]
        fn whatever_happens_the_queue_and_the_news_fit_the_targets_and_all_changes_are_told(
            steps in proptest::collection::vec((0..8_u8, 0..4_u16, 1..20_u64), 1..300),
        ) {
            let mut targets = Targets::new(HealthPolicy::default(), 1, MAX);
            let mut now = Duration::ZERO;
            let mut begun = Vec::new();
            let mut heard: HashMap<NodeId, Health> = HashMap::new();
            for (step, which, seconds) in steps {
                now += Duration::from_secs(seconds);
                let node: NodeId = which.to_string().parse().unwrap();
                match step {
                    0 => {
                        let port = Port::new(1 + u16::from(seconds > 10)).unwrap();
                        let address = Some(Address { host: "::1".to_owned(), port });
                        let full = targets.len() == MAX && targets.health(&node).is_none();
                        let added = targets.add(ProbeTarget { node, address }, now);
                        prop_assert_eq!(added.is_err(), full);
                    }
                    1 if seconds > 15 => {
                        targets.remove(&node);
                        heard.remove(&node);
                    }
                    2 => {
                        let absent = ProbeOutcome::Absent(AbsenceReason::Asleep);
                        targets.happen(&node, |check| check.observe(absent, now));
                    }
                    3 => drop(targets.happen(&node, |check| check.back(now))),
                    4 | 5 => begun.extend(targets.begin(now)),
                    6 => {
                        if let Some(Begun { number, target }) = begun.pop() {
                            let reason = ProbeError::TimedOut;
                            let outcome = match seconds > 7 {
                                true => ProbeOutcome::Failed { reason },
                                false => ProbeOutcome::Passed { took: now },
                            };
                            targets.end(&target.node, number, outcome, now);
                        }
                    }
                    _ => {
                        while let Some(HealthEvent { node, change }) = targets.tell() {
                            let before = heard.insert(node.clone(), change.to);
                            prop_assert_eq!(before.unwrap_or(Health::Unknown), change.from);
                            prop_assert_eq!(targets.health(&node), Some(change.to));
                        }
                    }
                }
                prop_assert!(targets.is_consistent(), "{targets:?}");
            }
            while let Some(HealthEvent { node, change }) = targets.tell() {
                heard.insert(node, change.to);
            }
            for (node, health) in targets.all() {
                prop_assert_eq!(heard.get(&node).copied().unwrap_or(Health::Unknown), health);
            }
        }
    }
}
