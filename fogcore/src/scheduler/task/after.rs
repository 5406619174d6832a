//! What a task waits for: other tasks, whose results it may need.
//!
//! A task names its parents when it is submitted, and they must be there by then; so there are no
//! circles, and nobody has to look for them.

use serde::{Deserialize, Serialize};

use super::TaskState;
use crate::id::TaskId;

/// The most parents of a task.
pub const MAX_PARENTS: usize = 64;

/// What becomes of a task when one that it waits for ends without success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParentFailure {
    /// It is cancelled, and so are those that wait for it, as they say.
    #[default]
    Cancel,
    /// It runs all the same, once all its parents have ended.
    Run,
    /// It stays where it is until somebody resumes or cancels it.
    Hold,
}

/// What the states of a task's parents mean for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::scheduler) enum Verdict {
    /// Some have not ended.
    Wait,
    /// It may run.
    Run,
    /// It is to be cancelled, because of this one.
    Cancel(TaskId),
    /// It is to be held, because of this one.
    Hold(TaskId),
}

/// What becomes of a task with these parents.
pub(in crate::scheduler) fn judge(
    policy: ParentFailure,
    parents: impl IntoIterator<Item = (TaskId, TaskState)>,
) -> Verdict {
    let (mut open, mut failed) = (false, None);
    for (parent, state) in parents {
        open |= !state.is_final();
        if state.is_final() && state != TaskState::Succeeded {
            failed.get_or_insert(parent);
        }
    }
    match (failed, policy) {
        // Nothing that the others do could change that.
        (Some(parent), ParentFailure::Cancel) => Verdict::Cancel(parent),
        _ if open => Verdict::Wait,
        (Some(parent), ParentFailure::Hold) => Verdict::Hold(parent),
        (None | Some(_), _) => Verdict::Run,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_decides_when_a_parent_fails_and_only_success_is_success() {
        use ParentFailure as F;
        use TaskState as S;
        let [a, b] = ["a", "b"].map(|name| TaskId::derive(b"t", name));
        let cases = [
            (F::Cancel, [S::Succeeded, S::Succeeded], Verdict::Run),
            (F::Cancel, [S::Succeeded, S::Leased], Verdict::Wait),
            (F::Cancel, [S::Waiting, S::Dead], Verdict::Cancel(b)),
            (F::Run, [S::Queued, S::Dead], Verdict::Wait),
            (F::Run, [S::Cancelled, S::Dead], Verdict::Run),
            (F::Hold, [S::Failed, S::Queued], Verdict::Wait),
            (F::Hold, [S::Failed, S::Succeeded], Verdict::Hold(a)),
            (F::Hold, [S::Succeeded, S::Succeeded], Verdict::Run),
        ];
        for (policy, [first, second], expected) in cases {
            assert_eq!(judge(policy, [(a, first), (b, second)]), expected, "{policy:?}");
        }
        assert_eq!(judge(F::Hold, []), Verdict::Run);
    }
}
