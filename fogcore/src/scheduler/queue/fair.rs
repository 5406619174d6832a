//! Whose turn it is: dominant resource fairness with weights, within a priority.
//!
//! A payer who submits ten thousand tasks at once must not keep everybody else waiting until they
//! are done, and counting tasks would be unfair to those whose tasks are small. So each payer has a
//! *dominant share*: the largest of the shares that their running tasks have of the fog's slots, CPU,
//! memory and GPUs. The next task is one of the payer whose dominant share, divided by their weight,
//! is the smallest (Ghodsi et al., NSDI 2011). Among equal shares, whoever waits longest for a turn
//! is next ([`Turns`]); only among those who had none does the order of tasks decide.
//!
//! # How long a first task waits
//!
//! Shares alone starve: where there are more payers than slots, most have nothing at any moment, and
//! of those the ones with an old backlog would always be first. With turns, let a payer have
//! nothing running and one ready task that any node can run, beside `k` other payers with tasks of
//! the same priority that never run out, in a fog of `n` slots, `m` processes and tasks that take
//! `d` at most. Somebody else is given a slot before only if they have nothing either, and had no
//! turn since: so at most once in each process, `m·k` times in all. All slots fall free within `d`,
//! so the task begins after at most `d·(⌊m·k / n⌋ + 1)`, and the time that a free node takes to ask.
//! Tasks of a higher priority, and tasks that need a certain node, know no such bound. A process
//! that was started anew has forgotten the turns, and counts twice.
//!
//! ```
//! use fogcore::scheduler::queue::{Demand, FairShares, Lane, Rank, Turns, fair};
//!
//! let rank = |place| Rank { priority: 0, deadline: None, place };
//! let lane = |payer: &str, cpu_milli, places: [i64; 3]| Lane {
//!     payer: payer.parse().ok(),
//!     demand: Demand { slots: 1, cpu_milli, ..Demand::default() },
//!     waiting: places.map(rank).into(),
//! };
//! let capacity = Demand { slots: 100, cpu_milli: 10_000, ..Demand::default() };
//! let shares = FairShares { capacity, ..FairShares::default() };
//! // Alice was first, but one of her tasks takes as much of the fog as two of Bob's.
//! let lanes = vec![lane("alice", 2_000, [1, 2, 3]), lane("bob", 1_000, [4, 5, 6])];
//! let order = fair::order(lanes, &shares, &|_| Demand::default(), &Turns::default(), 6);
//! assert_eq!(order, [1, 4, 5, 2, 6, 3]);
//! ```

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::Demand;
use crate::error::{Error, Result};
use crate::id::AccountId;
use crate::time::Timestamp;

/// Where a task stands among all that wait: higher priority first, then the earlier deadline, then
/// the one that was submitted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank {
    /// How urgent it is.
    pub priority: i16,
    /// When it must have been handed out; without one it comes after all that have one.
    pub deadline: Option<Timestamp>,
    /// Its place in the order of submission.
    pub place: i64,
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let key = |rank: &Self| (rank.deadline.is_none(), rank.deadline, rank.place);
        other.priority.cmp(&self.priority).then_with(|| key(self).cmp(&key(other)))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Tasks of one payer that take the same: any node could run all of them or none.
#[derive(Clone, Debug)]
pub struct Lane {
    /// Who pays.
    pub payer: Option<AccountId>,
    /// What each takes.
    pub demand: Demand,
    /// Those that wait, in their order.
    pub waiting: VecDeque<Rank>,
}

/// What the payers' shares are measured by.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FairShares {
    /// All that the fog's nodes have. What is zero is not counted; without any slots, tasks are.
    pub capacity: Demand,
    /// How much more than others a payer may have; who is not named has 1.
    pub weights: Arc<BTreeMap<AccountId, f64>>,
}

impl FairShares {
    /// Checks the weights: finite, and above zero, so that nobody is left out for ever.
    ///
    /// # Errors
    /// InvalidInput.
    pub fn check_weights(weights: &BTreeMap<AccountId, f64>) -> Result<()> {
        match weights.iter().find(|(_, weight)| !(**weight >= 1e-6 && **weight <= 1e6)) {
            None => Ok(()),
            Some((payer, weight)) => {
                let range =
                    format!("the weight {weight} of \"{payer}\" is not between 1e-6 and 1e6");
                Err(Error::invalid("fair_weights", range))
            }
        }
    }

    /// The dominant share of `payer`, whose running tasks take `taken`, divided by their weight.
    #[must_use]
    pub fn dominant(&self, payer: Option<&AccountId>, taken: Demand) -> f64 {
        let slots = if self.capacity.slots > 0 { self.capacity.slots } else { 1 };
        let has = self.capacity;
        let shares = [
            (taken.slots, slots),
            (taken.cpu_milli, has.cpu_milli),
            (taken.memory_mib, has.memory_mib),
            (taken.gpu_milli, has.gpu_milli),
        ];
        let share =
            |(taken, has): (i64, i64)| if has > 0 { taken as f64 / has as f64 } else { 0.0 };
        let dominant = shares.into_iter().map(share).fold(0.0, f64::max);
        let weight = payer.and_then(|payer| self.weights.get(payer)).copied().unwrap_or(1.0);
        dominant / weight
    }
}

/// Who was given something when, as far as one process knows: it is forgotten with it.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    last: u64,
    of: HashMap<Option<AccountId>, u64>,
}

impl Turns {
    /// So many payers are remembered; then all are forgotten, and begin anew as equals.
    const MOST: usize = 65_536;

    /// Remembers that `payer` was given something now.
    pub fn serve(&mut self, payer: Option<&AccountId>) {
        self.last += 1;
        if self.of.len() >= Self::MOST && !self.of.contains_key(&payer.cloned()) {
            self.of.clear();
        }
        self.of.insert(payer.cloned(), self.last);
    }

    /// When `payer` was last given something: later is more, 0 is never.
    fn latest(&self, payer: &Option<AccountId>) -> u64 {
        self.of.get(payer).copied().unwrap_or_default()
    }
}

/// What a payer has, and when they last had a turn.
struct Standing {
    taken: Demand,
    share: f64,
    turn: u64,
}

/// The places of the tasks that are next, at most `most`, as if each were given away when its turn
/// comes; `taken` tells what a payer's running tasks take before the first one, and `turns` who was
/// given something when.
#[must_use]
pub fn order(
    mut lanes: Vec<Lane>,
    shares: &FairShares,
    taken: &dyn Fn(Option<&AccountId>) -> Demand,
    turns: &Turns,
    most: usize,
) -> Vec<i64> {
    let mut payers: HashMap<Option<AccountId>, usize> = HashMap::new();
    let mut standing: Vec<Standing> = Vec::new();
    let mut owner = Vec::with_capacity(lanes.len());
    for lane in &lanes {
        let next = standing.len();
        let payer = *payers.entry(lane.payer.clone()).or_insert(next);
        if payer == next {
            let taken = taken(lane.payer.as_ref());
            let share = shares.dominant(lane.payer.as_ref(), taken);
            standing.push(Standing { taken, share, turn: turns.latest(&lane.payer) });
        }
        owner.push(payer);
    }
    let mut order = Vec::new();
    let mut turn = turns.last;
    while order.len() < most {
        let has = |lane: usize| owner.get(lane).and_then(|payer| standing.get(*payer));
        let heads = lanes.iter().enumerate().filter_map(|(index, lane)| {
            let (head, has) = (lane.waiting.front()?, has(index)?);
            Some((index, *head, has.share, has.turn))
        });
        let next = heads.min_by(|(_, one, a, before), (_, other, b, after)| {
            let by_share = other.priority.cmp(&one.priority).then(a.total_cmp(b));
            by_share.then(before.cmp(after)).then_with(|| one.cmp(other))
        });
        let Some((index, head, ..)) = next else { break };
        order.push(head.place);
        let Some((lane, standing)) =
            lanes.get_mut(index).zip(owner.get(index).and_then(|payer| standing.get_mut(*payer)))
        else {
            break;
        };
        lane.waiting.pop_front();
        turn += 1;
        standing.turn = turn;
        standing.taken = standing.taken.plus(lane.demand);
        standing.share = shares.dominant(lane.payer.as_ref(), standing.taken);
    }
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rank(priority: i16, place: i64) -> Rank {
        Rank { priority, deadline: None, place }
    }

    fn lane(payer: &str, demand: Demand, waiting: Vec<Rank>) -> Lane {
        Lane { payer: payer.parse().ok(), demand, waiting: waiting.into() }
    }

    fn slot() -> Demand {
        Demand { slots: 1, ..Demand::default() }
    }

    #[test]
    fn deadlines_go_before_places_and_priorities_before_both() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000).ok();
        let mut ranks = [
            Rank { priority: 0, deadline: None, place: 1 },
            Rank { priority: 0, deadline: at(9), place: 2 },
            Rank { priority: 0, deadline: at(5), place: 3 },
            Rank { priority: 1, deadline: None, place: 4 },
        ];
        ranks.sort();
        assert_eq!(ranks.iter().map(|rank| rank.place).collect::<Vec<_>>(), [4, 3, 2, 1]);
    }

    #[test]
    fn a_higher_priority_goes_before_a_smaller_share() {
        let lanes = vec![
            lane("alice", slot(), vec![rank(1, 1), rank(0, 2)]),
            lane("bob", slot(), vec![rank(0, 3)]),
        ];
        let taken = |payer: Option<&AccountId>| match payer.map(AccountId::as_str) {
            Some("alice") => Demand { slots: 5, ..Demand::default() },
            _ => Demand::default(),
        };
        let order = order(lanes, &FairShares::default(), &taken, &Turns::default(), 9);
        assert_eq!(order, [1, 3, 2]);
    }

    #[test]
    fn who_weighs_more_has_more() {
        let weights = [("alice".parse().unwrap(), 3.0)].into();
        let shares = FairShares { capacity: slot(), weights: Arc::new(weights) };
        let ranks = |from: i64| (from..from + 100).map(|place| rank(0, place)).collect();
        let lanes = vec![lane("alice", slot(), ranks(0)), lane("bob", slot(), ranks(1_000))];
        let order = order(lanes, &shares, &|_| Demand::default(), &Turns::default(), 40);
        assert_eq!(order.iter().filter(|place| **place < 1_000).count(), 30);
    }

    #[test]
    fn a_weight_of_nothing_is_refused() {
        for weight in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let weights = [("alice".parse().unwrap(), weight)].into();
            let refused = FairShares::check_weights(&weights).unwrap_err();
            assert_eq!(refused.field(), Some("fair_weights"));
        }
    }

    proptest! {
        /// Others have backlogs that are older than a newcomer's only task, and `slots` tasks run at
        /// a time, in whatever order they end: the newcomer is next after at most as many tasks as
        /// there are others, however few slots there are.
        #[test]
        fn a_first_task_waits_for_no_more_than_one_of_each_other(
            others in 1_usize..8,
            slots in 1_i64..10,
            before in 0_usize..40,
            ends in prop::collection::vec(0_usize..100, 60),
        ) {
            let shares = FairShares {
                capacity: Demand { slots, ..Demand::default() },
                ..FairShares::default()
            };
            let (mut running, mut turns) = (Vec::new(), Turns::default());
            let mut next = vec![0_i64; others];
            let newcomer: Option<AccountId> = "newcomer".parse().ok();
            for (given, end) in ends.iter().enumerate() {
                let has = |payer: Option<&AccountId>| {
                    let count = running.iter().filter(|p: &&Option<AccountId>| p.as_ref() == payer);
                    Demand { slots: i64::try_from(count.count()).unwrap(), ..Demand::default() }
                };
                let mut lanes: Vec<_> = (0..others)
                    .map(|payer| {
                        let place = i64::try_from(payer).unwrap() * 1_000 + next[payer];
                        lane(&format!("p{payer}"), slot(), vec![rank(0, place)])
                    })
                    .collect();
                if given >= before {
                    lanes.push(lane("newcomer", slot(), vec![rank(0, 1_000_000)]));
                }
                let place = order(lanes, &shares, &has, &turns, 1)[0];
                if place == 1_000_000 {
                    prop_assert!(given - before <= others);
                    return Ok(());
                }
                let payer = usize::try_from(place / 1_000).unwrap();
                next[payer] += 1;
                let payer = format!("p{payer}").parse().ok();
                prop_assert_ne!(&payer, &newcomer);
                turns.serve(payer.as_ref());
                running.push(payer);
                if i64::try_from(running.len()).unwrap() >= slots {
                    running.swap_remove(end % running.len());
                }
            }
            prop_assert!(false, "the newcomer was never served");
        }

        /// While everybody has something to do, nobody's dominant share is ever further behind
        /// another's than one task of the other's: so nobody starves.
        #[test]
        fn no_payer_falls_behind_by_more_than_a_task(
            demands in prop::collection::vec((1_i64..5, 1_i64..9, 1_i64..9), 2..6),
            steps in 1_usize..200,
        ) {
            let capacity = Demand { slots: 100, cpu_milli: 100, memory_mib: 100, gpu_milli: 0 };
            let shares = FairShares { capacity, ..FairShares::default() };
            let demands: Vec<_> = demands
                .into_iter()
                .map(|(slots, cpu_milli, memory_mib)| Demand {
                    slots, cpu_milli, memory_mib, gpu_milli: 0,
                })
                .collect();
            let lanes = demands.iter().enumerate().map(|(payer, demand)| {
                let from = i64::try_from(payer).unwrap() * 1_000;
                let ranks = (from..from + 200).map(|place| rank(0, place)).collect();
                lane(&format!("p{payer}"), *demand, ranks)
            });
            let given = order(lanes.collect(), &shares, &|_| Demand::default(), &Turns::default(), steps);
            prop_assert_eq!(given.len(), steps);
            let share = |payer: usize| {
                let count = given.iter().filter(|place| usize::try_from(**place / 1_000) == Ok(payer)).count();
                let all = (0..count).fold(Demand::default(), |sum, _| sum.plus(demands[payer]));
                (shares.dominant(None, all), shares.dominant(None, demands[payer]))
            };
            for one in 0..demands.len() {
                for other in 0..demands.len() {
                    let ((behind, _), (ahead, task)) = (share(one), share(other));
                    prop_assert!(ahead - task <= behind + 1e-9, "{one} against {other}");
                }
            }
        }
    }
}
