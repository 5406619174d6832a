//! What came of a run, read from the database.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use anyhow::{Context, Result};
use fogcore::amount::{Amount, Asset};
use fogcore::id::{NodeId, TaskId};
use fogcore::ledger::{Total, TrialBalance};
use fogcore::scheduler::{Explanation, Tally, Task, TaskFilter, TaskState};
use fogcore::time::Timestamp;
use fogcore::{Error, Fog};

use crate::digest::Digest;
use crate::store::kind;
use crate::submit::Job;

/// How many explanations are looked through for the samples.
const LOOKED_AT: usize = 200;

/// What came of each file, and what it cost.
#[derive(Debug)]
pub(crate) struct Summary {
    /// The digested files, by path.
    pub(crate) digests: Vec<(PathBuf, Digest)>,
    /// The others, with the reason.
    pub(crate) failed: Vec<(PathBuf, String)>,
    /// How many of this run's tasks needed more than one attempt.
    pub(crate) retried: usize,
    /// What each node did, in this run and before; nothing, for a worker that came too late.
    pub(crate) tallies: BTreeMap<NodeId, Tally>,
    /// What all nodes' owners were paid.
    pub(crate) paid: Amount,
    pub(crate) trial_balance: TrialBalance,
    /// Why some tasks went where they went.
    pub(crate) samples: Vec<Sample>,
}

/// A task whose placement is told.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) path: PathBuf,
    pub(crate) attempts: u32,
    pub(crate) explanation: Explanation,
}

impl Summary {
    /// What came of the `jobs` of a run that began at `begun` with these `workers`.
    pub(crate) async fn of(
        fog: &Fog,
        jobs: &[Job],
        begun: Timestamp,
        workers: impl Iterator<Item = NodeId>,
    ) -> Result<Self> {
        let mut tasks = all_tasks(fog).await?;
        let (mut digests, mut failed) = (Vec::new(), Vec::new());
        let mut ours = Vec::new();
        for job in jobs {
            let task = tasks.remove(&job.task);
            let task = task.with_context(|| format!("task {} is gone", job.task))?;
            if task.state == TaskState::Succeeded {
                let result = fog.result(task.id).await?.unwrap_or_default();
                let digest = serde_json::from_slice(&result)
                    .with_context(|| format!("task {} gave no digest", task.id))?;
                digests.push((job.path.clone(), digest));
            } else {
                let reason = task.failure.clone();
                let reason = reason.unwrap_or_else(|| format!("the task is {}", task.state));
                failed.push((job.path.clone(), reason));
            }
            if task.ended_at.is_some_and(|at| at >= begun) {
                ours.push((job, task));
            }
        }
        let mut tallies = fog.tallies().await?;
        for worker in workers {
            tallies.entry(worker).or_default();
        }
        let mut paid = Amount::ZERO;
        for tally in tallies.values() {
            paid = paid.checked_add(tally.earned).map_err(Error::from)?;
        }
        Ok(Self {
            digests,
            failed,
            retried: ours.iter().filter(|(_, task)| task.attempts > 1).count(),
            samples: samples(fog, &ours, 3).await?,
            tallies,
            paid,
            trial_balance: fog.ledger().trial_balance().await?,
        })
    }
}

/// All tasks of our kind; page by page, because that is a thousand times fewer questions than
/// one for each.
async fn all_tasks(fog: &Fog) -> Result<HashMap<TaskId, Task>> {
    let filter = TaskFilter { kind: Some(kind()?), ..TaskFilter::default() };
    let (mut tasks, mut after) = (HashMap::new(), None);
    loop {
        let page = fog.tasks(&filter, after, 1_000).await?;
        let Some(last) = page.last() else {
            return Ok(tasks);
        };
        after = Some(last.id);
        tasks.extend(page.into_iter().map(|task| (task.id, task)));
    }
}

/// Some explanations that differ as much as possible: a retried task's first, then those of
/// nodes and reasons that were not told of yet.
async fn samples(fog: &Fog, tasks: &[(&Job, Task)], wanted: usize) -> Result<Vec<Sample>> {
    let (retried, others): (Vec<_>, Vec<_>) = tasks.iter().partition(|(_, task)| task.attempts > 1);
    let step = (others.len() / LOOKED_AT).max(1);
    let candidates = retried.into_iter().take(1);
    let candidates = candidates.chain(others.into_iter().step_by(step));
    let mut left = Vec::new();
    for (job, task) in candidates {
        if let Some(explanation) = fog.explanation(task.id).await? {
            let (path, attempts) = (job.path.clone(), task.attempts);
            left.push(Sample { path, attempts, explanation });
        }
    }
    let (mut nodes, mut reasons, mut chosen) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    while chosen.len() < wanted && !left.is_empty() {
        let news = |sample: &Sample| {
            let reason = sample.explanation.reason.to_string();
            usize::from(!nodes.contains(&sample.explanation.chosen))
                + usize::from(!reasons.contains(&reason))
        };
        // Of several with as much news, the first.
        let most = left.iter().map(news).max().unwrap_or(0);
        let index = left.iter().position(|sample| news(sample) == most);
        let sample = left.remove(index.unwrap_or(0));
        nodes.insert(sample.explanation.chosen.clone());
        reasons.insert(sample.explanation.reason.to_string());
        chosen.push(sample);
    }
    Ok(chosen)
}

/// An amount of FOG as people write it: `1.25`.
pub(crate) fn decimal(amount: impl Into<Total>) -> String {
    let text = amount.into().decimal(&Asset::FOG);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// By how much the books are wrong: debits less credits, `0` if they balance.
pub(crate) fn imbalance(books: &TrialBalance) -> String {
    let Some(fog) = books.of(&Asset::FOG) else {
        return "0".to_owned();
    };
    let (side, difference) = fog.difference();
    let sign = if side.is_lt() { "-" } else { "" };
    format!("{sign}{}", decimal(difference))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fogcore::ledger::Account;

    #[test]
    fn amounts_have_no_more_digits_than_they_need() {
        for text in ["0", "1", "1.25", "10", "0.000000000000000001"] {
            assert_eq!(decimal(Asset::FOG.parse(text).unwrap()), text);
        }
    }

    #[test]
    fn books_that_do_not_balance_say_by_how_much() {
        let mut books = TrialBalance::default();
        assert_eq!(imbalance(&books), "0");
        let mut account = Account::new("a".parse().unwrap(), Asset::FOG);
        account.credits_posted = Asset::FOG.parse("1.5").unwrap();
        books.add(&account);
        assert_eq!(imbalance(&books), "-1.5");
        account.debits_posted = Asset::FOG.parse("3").unwrap();
        account.credits_posted = Amount::ZERO;
        books.add(&account);
        assert_eq!(imbalance(&books), "1.5");
    }
}
