//! Work that is done more than once, because a result that nobody can check is worth what the node
//! is worth that gave it.
//!
//! A task of class S has three replicas, one of class A has two, and a third if those do not agree;
//! class B, the default, is done once. Replicas are tasks of their own ([`Part`]): they are leased,
//! renewed, tried again and preempted like any other, but by different nodes of different owners.
//! When they have ended, their results are compared by digest. The majority's result is the task's,
//! and each node of the majority is paid, at most an equal part of the budget: a third in class S, a
//! half in class A, where never more than two are paid. Whoever gave another result is not paid and
//! loses [trust](Trust). Without a majority the task has failed, and nobody is paid.
//!
//! A task of class B may get a second attempt beside the first one when that takes too long
//! ([`Backup`]): a replica of a task that is done once, whose first result counts.
//!
//! ```
//! use fogcore::scheduler::replicas::{SlaClass, Verdict, judge};
//!
//! let (right, wrong) = (Some([1; 32]), Some([2; 32]));
//! assert_eq!(judge(SlaClass::S, &[right, wrong, right]), Verdict::Agreed([1; 32]));
//! assert_eq!(judge(SlaClass::A, &[right, wrong]), Verdict::OneMore);
//! assert_eq!(judge(SlaClass::A, &[right, wrong, None]), Verdict::Disagreed);
//! ```

mod backup;
mod trust;

use serde::{Deserialize, Serialize};

pub use self::backup::{
    Backup, BackupPolicy, Reconcile, may_have as may_have_backup, plan as plan_backups,
};
pub use self::trust::{Trust, TrustPolicy};
use crate::amount::Amount;
use crate::id::{AccountId, NodeId, TaskId};

/// How often work is done, and so how much its result can be relied on; a better class is greater.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum SlaClass {
    /// By one node.
    #[default]
    B,
    /// By two nodes, and a third if they do not agree.
    A,
    /// By three nodes.
    S,
}

impl SlaClass {
    /// How good it is, for a database: better ones have higher numbers.
    #[must_use]
    pub const fn rank(self) -> u8 {
        match self {
            Self::B => 0,
            Self::A => 1,
            Self::S => 2,
        }
    }

    /// How many replicas it begins with; none for a task that is done once.
    #[must_use]
    pub const fn replicas(self) -> u8 {
        match self {
            Self::S => 3,
            Self::A => 2,
            Self::B => 0,
        }
    }

    /// The most that one node can be paid of a budget of `limit`: an equal part for each that may be
    /// paid, rounded down.
    #[must_use]
    pub fn share(self, limit: Amount) -> Amount {
        let parts = u128::from(self.replicas().max(1));
        Amount::from_base_units(limit.base_units() / parts)
    }
}

/// The most replicas of a task.
pub const MAX_PARTS: u8 = 3;

/// What makes a task a replica of another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The task that it is a replica of.
    pub of: TaskId,
    /// Which, from 1; of a task that is done once, 1 is its backup.
    pub number: u8,
    /// Once it is done: the BLAKE3 digest of its result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<[u8; 32]>,
    /// Once it is done: whom its node wants to be paid, and what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed: Option<(AccountId, Amount)>,
    /// Once it is done: how good its node thinks that its result is; higher is better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<i64>,
}

/// The id of a replica.
#[must_use]
pub fn part_id(of: TaskId, number: u8) -> TaskId {
    TaskId::derive(of.uuid().as_bytes(), &format!("replica {number}"))
}

/// Where a replica is, or was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// Which replica.
    pub number: u8,
    /// By this node.
    pub node: NodeId,
    /// Of this owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<AccountId>,
}

impl Seat {
    /// Whether another replica can be at `node` of `owner` at the same time.
    #[must_use]
    pub fn leaves_room(&self, number: u8, node: &NodeId, owner: Option<&AccountId>) -> bool {
        let is_other_owner =
            self.owner.as_ref().zip(owner).is_none_or(|(mine, other)| mine != other);
        self.number == number || (self.node != *node && is_other_owner)
    }
}

/// What the ends of all replicas mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Most gave a result with this digest.
    Agreed([u8; 32]),
    /// One more has to be asked.
    OneMore,
    /// There is no majority, and there will be none.
    Disagreed,
}

/// What it means that all replicas have ended with these digests; none for one without success.
#[must_use]
pub fn judge(class: SlaClass, digests: &[Option<[u8; 32]>]) -> Verdict {
    let agreed = digests
        .iter()
        .flatten()
        .find(|digest| digests.iter().flatten().filter(|other| other == digest).count() >= 2);
    match agreed {
        Some(digest) => Verdict::Agreed(*digest),
        None if class == SlaClass::A && digests.len() == 2 => Verdict::OneMore,
        None => Verdict::Disagreed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn better_classes_are_greater() {
        assert!(SlaClass::S > SlaClass::A && SlaClass::A > SlaClass::B);
        assert!(SlaClass::S.rank() > SlaClass::A.rank() && SlaClass::A.rank() > SlaClass::B.rank());
    }

    #[test]
    fn two_that_agree_are_a_majority_of_three() {
        let [a, b, c] = [1, 2, 3].map(|byte| Some([byte; 32]));
        assert_eq!(judge(SlaClass::S, &[a, a, a]), Verdict::Agreed([1; 32]));
        assert_eq!(judge(SlaClass::S, &[b, a, a]), Verdict::Agreed([1; 32]));
        assert_eq!(judge(SlaClass::S, &[None, a, a]), Verdict::Agreed([1; 32]));
        assert_eq!(judge(SlaClass::S, &[None, a, b]), Verdict::Disagreed);
        assert_eq!(judge(SlaClass::S, &[a, b, c]), Verdict::Disagreed);
        assert_eq!(judge(SlaClass::A, &[a, a]), Verdict::Agreed([1; 32]));
        assert_eq!(judge(SlaClass::A, &[a, None]), Verdict::OneMore);
        assert_eq!(judge(SlaClass::A, &[a, b, b]), Verdict::Agreed([2; 32]));
    }

    #[test]
    fn all_who_may_be_paid_fit_into_the_budget() {
        for units in [0_u128, 1, 2, 5, 100, u128::MAX] {
            let limit = Amount::from_base_units(units);
            for (class, paid) in [(SlaClass::S, 3), (SlaClass::A, 2), (SlaClass::B, 1)] {
                assert!(class.share(limit).base_units().checked_mul(paid).unwrap() <= units);
            }
        }
    }

    #[test]
    fn a_seat_keeps_other_replicas_from_its_node_and_its_owner() {
        let [n, m]: [NodeId; 2] = ["n", "m"].map(|name| name.parse().unwrap());
        let [ann, bob]: [AccountId; 2] = ["ann", "bob"].map(|name| name.parse().unwrap());
        let seat = Seat { number: 1, node: n.clone(), owner: Some(ann.clone()) };
        assert!(!seat.leaves_room(2, &n, Some(&bob)));
        assert!(!seat.leaves_room(2, &m, Some(&ann)));
        assert!(seat.leaves_room(2, &m, Some(&bob)) && seat.leaves_room(2, &m, None));
        assert!(seat.leaves_room(1, &n, Some(&ann)), "it may come back itself");
    }
}
