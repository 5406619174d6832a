//! What failed over, when, why, and how it ended: the latest so many.

use std::collections::VecDeque;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::FailoverStrategy;
use crate::failover::FailureKind;
use crate::id::NodeId;
use crate::time::Timestamp;

/// Why a node failed over.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailoverReason {
    /// Somebody asked for it, with these words.
    Asked(String),
    /// It lost its health, at last by this failure.
    Failed(FailureKind),
}

impl fmt::Display for FailoverReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked(words) => f.write_str(words),
            Self::Failed(kind) => kind.fmt(f),
        }
    }
}

/// How a failover ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailoverOutcome {
    /// It goes on.
    Ongoing,
    /// The node is well again.
    Recovered,
    /// Somebody ended it.
    Cancelled,
    /// The node was removed.
    NodeRemoved,
    /// The process that ran it ended first.
    Interrupted,
}

impl FailoverOutcome {
    /// Its name, as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ongoing => "ongoing",
            Self::Recovered => "recovered",
            Self::Cancelled => "cancelled",
            Self::NodeRemoved => "node_removed",
            Self::Interrupted => "interrupted",
        }
    }
}

/// One failover, for people and programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureRecord {
    /// The node that failed over.
    pub node: NodeId,
    /// Why.
    pub reason: FailoverReason,
    /// How its traffic left it.
    pub strategy: FailoverStrategy,
    /// Whether it was to be drained even as the last healthy one.
    pub forced: bool,
    /// The nodes named to take over, the best one first.
    pub replacements: Vec<NodeId>,
    /// When it began.
    pub began: Timestamp,
    /// When it ended, if that is known.
    pub ended: Option<Timestamp>,
    /// How it ended.
    pub outcome: FailoverOutcome,
}

/// Which record was meant, counted from the first one ever.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number(u64);

/// The latest records, the oldest one first.
#[derive(Debug)]
pub(super) struct History {
    most: usize,
    records: VecDeque<FailureRecord>,
    /// How many were ever begun here.
    begun: u64,
}

impl History {
    pub(super) const fn new(most: usize) -> Self {
        Self { most, records: VecDeque::new(), begun: 0 }
    }

    /// Puts older records in front, as far as there is room.
    pub(super) fn restore(&mut self, newest_first: impl IntoIterator<Item = FailureRecord>) {
        let room = self.most.saturating_sub(self.records.len());
        for mut record in newest_first.into_iter().take(room) {
            if record.outcome == FailoverOutcome::Ongoing {
                record.outcome = FailoverOutcome::Interrupted;
            }
            self.records.push_front(record);
        }
    }

    pub(super) fn begin(&mut self, record: FailureRecord) -> Number {
        if self.records.len() >= self.most {
            self.records.pop_front();
        }
        self.records.push_back(record);
        self.begun += 1;
        Number(self.begun)
    }

    /// Notes an end, if the record has not made room for a newer one.
    pub(super) fn end(&mut self, number: Number, outcome: FailoverOutcome, at: Timestamp) {
        let since = usize::try_from(self.begun.saturating_sub(number.0)).unwrap_or(usize::MAX);
        let place = self.records.len().checked_sub(since.saturating_add(1));
        if let Some(record) = place.and_then(|place| self.records.get_mut(place)) {
            (record.outcome, record.ended) = (outcome, Some(at));
        }
    }

    pub(super) fn newest_first(&self) -> impl Iterator<Item = &FailureRecord> {
        self.records.iter().rev()
    }
}

#[cfg(test)]
mod tests {
    use super::FailoverOutcome as O;

    #[test]
    fn names_that_are_told_are_the_names_in_json() {
        for outcome in [O::Ongoing, O::Recovered, O::Cancelled, O::NodeRemoved, O::Interrupted] {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
        }
    }
}
