//! Who counts: nodes that are ready, on their way, leaving, or given up.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::NodeLoad;
use super::policy::MAX_NODES;
use crate::id::NodeId;

/// What is remembered of a node.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// When it was listed last.
    last: Duration,
    /// Since when it is not ready.
    waiting: Option<Duration>,
    /// Until when it counts as leaving.
    leaving: Option<Duration>,
}

/// The nodes as they were listed, and those that a hook has promised.
#[derive(Clone, Debug, Default)]
pub(super) struct Fleet {
    seen: BTreeMap<NodeId, Seen>,
    updated: Duration,
    /// How many nodes were promised, and until when they are waited for; oldest first.
    promises: VecDeque<(u32, Duration)>,
}

/// Who is there at one moment.
#[derive(Debug)]
pub(super) struct Census<'a> {
    pub(super) ready: Vec<&'a NodeLoad>,
    /// Nodes that are listed and not ready yet, or promised and not listed yet.
    pub(super) on_its_way: u32,
}

impl Fleet {
    /// Takes the list of nodes. A node that was not listed for `within` is a new one; a new one
    /// keeps a promise, whoever sent it: capacity is capacity.
    pub(super) fn update<'a>(
        &mut self,
        loads: &'a [NodeLoad],
        now: Duration,
        within: Duration,
    ) -> Census<'a> {
        let before = std::mem::replace(&mut self.updated, now);
        let mut census = Census { ready: Vec::new(), on_its_way: 0 };
        let mut arrived = 0_u32;
        for load in loads {
            let seen = self.seen.entry(load.node.clone()).or_insert_with(|| {
                arrived = arrived.saturating_add(1);
                Seen { last: before, waiting: None, leaving: None }
            });
            // One that was gone has left, and is welcome back.
            if seen.last < before || seen.leaving.is_some_and(|until| until <= now) {
                seen.leaving = None;
            }
            seen.last = now;
            seen.waiting = if load.ready { None } else { seen.waiting.or(Some(now)) };
            match seen {
                Seen { leaving: Some(_), .. } => {}
                Seen { waiting: None, .. } => census.ready.push(load),
                Seen { waiting: Some(since), .. } if now.saturating_sub(*since) < within => {
                    census.on_its_way = census.on_its_way.saturating_add(1);
                }
                Seen { .. } => {}
            }
        }
        let crowded = self.seen.len() > 2 * MAX_NODES;
        let keep =
            |seen: &Seen| seen.last == now || !crowded && now.saturating_sub(seen.last) < within;
        self.seen.retain(|_, seen| keep(seen));
        self.settle(arrived, now);
        for (promised, _) in &self.promises {
            census.on_its_way = census.on_its_way.saturating_add(*promised);
        }
        census
    }

    /// So many nodes will come.
    pub(super) fn promise(&mut self, nodes: u32, until: Duration) {
        if nodes > 0 {
            self.promises.push_back((nodes, until));
        }
    }

    /// So many of the promised nodes will not come.
    pub(super) fn call_off(&mut self, mut nodes: u32) {
        while nodes > 0
            && let Some((promised, _)) = self.promises.back_mut()
        {
            let fewer = nodes.min(*promised);
            nodes -= fewer;
            *promised -= fewer;
            if *promised == 0 {
                self.promises.pop_back();
            }
        }
    }

    /// These nodes will go.
    pub(super) fn leave<'a>(&mut self, nodes: impl Iterator<Item = &'a NodeId>, until: Duration) {
        for node in nodes {
            if let Some(seen) = self.seen.get_mut(node) {
                seen.leaving = Some(until);
            }
        }
    }

    /// Nodes that arrived keep the oldest promises; those whose time is over were not kept.
    fn settle(&mut self, mut arrived: u32, now: Duration) {
        while let Some((promised, until)) = self.promises.front_mut() {
            let kept = arrived.min(*promised);
            arrived -= kept;
            *promised -= kept;
            if *promised > 0 && *until > now {
                return;
            }
            self.promises.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_secs(600);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Those with a `-` before their name are not ready.
    fn list(names: &[&str]) -> Vec<NodeLoad> {
        let load = |name: &&str| {
            let node = name.trim_start_matches('-').parse().unwrap();
            NodeLoad { ready: !name.starts_with('-'), ..NodeLoad::new(node) }
        };
        names.iter().map(load).collect()
    }

    /// How many are ready and on their way.
    fn update(fleet: &mut Fleet, names: &[&str], seconds: u64) -> (usize, u32) {
        let loads = list(names);
        let census = fleet.update(&loads, at(seconds), WITHIN);
        (census.ready.len(), census.on_its_way)
    }

    #[test]
    fn a_promise_is_kept_by_whoever_arrives_and_nobody_counts_twice() {
        let mut fleet = Fleet::default();
        assert_eq!(update(&mut fleet, &["a"], 0), (1, 0));
        fleet.promise(3, at(600));
        assert_eq!(update(&mut fleet, &["a"], 30), (1, 3));
        assert_eq!(update(&mut fleet, &["a", "-b"], 60), (1, 3), "b and two more");
        assert_eq!(update(&mut fleet, &["a", "b", "-c"], 90), (2, 2));
        assert_eq!(update(&mut fleet, &["a", "b", "c", "d", "e"], 120), (5, 0));
    }

    #[test]
    fn a_promise_that_is_not_kept_in_time_counts_no_more() {
        let mut fleet = Fleet::default();
        update(&mut fleet, &["a"], 0);
        fleet.promise(2, at(600));
        fleet.promise(1, at(700));
        assert_eq!(update(&mut fleet, &["a", "b"], 599), (2, 2));
        assert_eq!(update(&mut fleet, &["a", "b"], 600), (2, 1));
        assert_eq!(update(&mut fleet, &["a", "b"], 700), (2, 0));
    }

    #[test]
    fn who_comes_back_after_a_moment_has_kept_nobodys_promise() {
        let mut fleet = Fleet::default();
        update(&mut fleet, &["a", "b"], 0);
        fleet.promise(1, at(600));
        assert_eq!(update(&mut fleet, &["a"], 30), (1, 1));
        assert_eq!(update(&mut fleet, &["a", "b"], 60), (2, 1));
    }

    #[test]
    fn a_node_that_never_gets_ready_is_given_up() {
        let mut fleet = Fleet::default();
        assert_eq!(update(&mut fleet, &["a", "-b"], 0), (1, 1));
        assert_eq!(update(&mut fleet, &["a", "-b"], 599), (1, 1));
        assert_eq!(update(&mut fleet, &["a", "-b"], 600), (1, 0));
        assert_eq!(update(&mut fleet, &["a", "b"], 630), (2, 0));
        assert_eq!(update(&mut fleet, &["a", "-b"], 660), (1, 1), "it has a time of its own again");
    }

    #[test]
    fn who_should_go_counts_no_more_unless_it_stays_or_comes_back() {
        let mut fleet = Fleet::default();
        update(&mut fleet, &["a", "b"], 0);
        fleet.leave(list(&["b"]).iter().map(|load| &load.node), at(600));
        assert_eq!(update(&mut fleet, &["a", "b"], 30), (1, 0));
        assert_eq!(update(&mut fleet, &["a", "b"], 599), (1, 0));
        let mut stays = fleet.clone();
        assert_eq!(update(&mut stays, &["a", "b"], 600), (2, 0));
        assert_eq!(update(&mut fleet, &["a"], 630), (1, 0));
        assert_eq!(update(&mut fleet, &["a", "b"], 660), (2, 0));
    }

    #[test]
    fn the_latest_promises_are_called_off_first() {
        let mut fleet = Fleet::default();
        fleet.promise(2, at(600));
        fleet.promise(3, at(700));
        fleet.call_off(4);
        assert_eq!(fleet.promises, [(1, at(600))]);
        fleet.call_off(9);
        assert!(fleet.promises.is_empty());
    }

    #[test]
    fn nodes_that_are_long_gone_are_forgotten() {
        let mut fleet = Fleet::default();
        update(&mut fleet, &["a", "b"], 0);
        update(&mut fleet, &["a"], 599);
        assert_eq!(fleet.seen.len(), 2);
        update(&mut fleet, &["a"], 600);
        assert_eq!(fleet.seen.len(), 1);
    }
}
