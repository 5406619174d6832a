//! Reports of workers outside of this process, which have the fog only through an adapter.
//!
//! A worker in this process knows the rates at which it leased, and measures what its jobs take. One
//! that speaks HTTP tells how its attempt ended and what it measured; what follows from that (how
//! long its slot was busy, what its owner is owed) is found here, so that every adapter pays alike.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Fog;
use super::tasks::no_answer;
use crate::error::Result;
use crate::id::NodeId;
use crate::registry::Node;
use crate::scheduler::{Claim, Completion, Failure, Outcome, Task, Usage, settlement};
use crate::time::Timestamp;

/// How an attempt ended, as its holder tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Which lease.
    pub claim: Claim,
    /// What the attempt gave, at most 1 MiB, or why it gave nothing.
    pub ended: std::result::Result<Bytes, Failure>,
    /// What the holder measured. How long the slot was busy is the fog's own to say.
    pub usage: Usage,
    /// What it has to say since the last renewal.
    pub log: Vec<String>,
    /// Of a result: how good it is, if the executor tells; higher is better.
    pub score: Option<i64>,
}

impl Fog {
    /// Ends attempts as [`complete`](Self::complete) does, and finds what is owed for them: the
    /// node's [rates](super::Marketplace::rates) as they are now, for what the attempt took, at most
    /// the budget. The slot counts as busy from the beginning of the lease until now.
    ///
    /// ```
    /// # use fogcore::fog::Report;
    /// # use fogcore::registry::Node;
    /// # use fogcore::scheduler::{Claim, TaskSpec, TaskState};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let fog = fogcore::Fog::open("memory:").await?;
    /// let (node, kind) = ("laptop".parse()?, "shout".parse()?);
    /// fog.register(Node { slots: 1, serves: [kind].into(), ..Node::new("laptop".parse()?) }).await?;
    /// fog.submit(TaskSpec::new("shout".parse()?), "hello").await?;
    ///
    /// let leased = fog.lease(&node, 1).await?.remove(0);
    /// let report = Report {
    ///     claim: Claim { task: leased.task.id, node, fence: leased.task.fence },
    ///     ended: Ok("HELLO".into()),
    ///     usage: Default::default(),
    ///     log: Vec::new(),
    ///     score: None,
    /// };
    /// let done = fog.report(vec![report]).await?.remove(0)?;
    /// assert_eq!(done.state, TaskState::Succeeded);
    /// # Ok::<(), fogcore::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// Inner: NotFound for a task that is not there, Conflict for a lease that is not the current
    /// one – it pays nothing.
    pub async fn report(&self, reports: Vec<Report>) -> Result<Vec<Result<Task>>> {
        let now = self.shared.clock.now();
        let mut nodes: BTreeMap<NodeId, Option<Node>> = BTreeMap::new();
        let mut completions = Vec::with_capacity(reports.len());
        for report in reports {
            let id = &report.claim.node;
            if !nodes.contains_key(id) {
                nodes.insert(id.clone(), self.priced(id).await?);
            }
            let node = nodes.get(id).and_then(Option::as_ref);
            let task = self.shared.stores.tasks.task(report.claim.task).await?;
            completions.push(completion(report, task.as_ref(), node, now));
        }
        if completions.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = completions.len();
        let answers = self.complete(completions).await?;
        if answers.len() == wanted { Ok(answers) } else { Err(no_answer()) }
    }

    /// The node with the rates that hold now; none if it was removed, and then nobody is owed.
    async fn priced(&self, id: &NodeId) -> Result<Option<Node>> {
        let Some(record) = self.shared.stores.nodes.node(id).await? else { return Ok(None) };
        let rates = self.shared.rates_now(&record.node).await?;
        Ok(Some(Node { rates, ..record.node }))
    }
}

fn completion(
    report: Report,
    task: Option<&Task>,
    node: Option<&Node>,
    now: Timestamp,
) -> Completion {
    let Report { claim, ended, usage, log, score } = report;
    // A claim that is not the current one is refused by the store, whatever it says.
    let lease = task.and_then(|task| task.lease.as_ref()).filter(|held| held.fence == claim.fence);
    let busy = lease.map(|lease| now.since(lease.granted_at));
    let usage = Usage { busy, ..usage };
    let outcome = match ended {
        Ok(result) => {
            let reward = node
                .zip(task)
                .and_then(|(node, task)| settlement::reward(node, &task.spec, &usage));
            Outcome::Succeeded { result, reward }
        }
        Err(Failure { reason, permanent }) => Outcome::Failed { reason, permanent },
    };
    Completion { claim, outcome, usage, log, score }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::amount::{Amount, Asset};
    use crate::error::ErrorKind;
    use crate::registry::Rates;
    use crate::scheduler::{Assignment, TaskSpec, TaskState};
    use crate::time::ManualClock;

    async fn leased(budget: &str) -> (Fog, Arc<ManualClock>, Assignment) {
        let clock = Arc::new(ManualClock::at("2026-01-01T00:00:00Z".parse().unwrap()));
        let fog = Fog::builder().clock(clock.clone()).without_loops().open().await.unwrap();
        let rates = Rates { per_busy_second: Asset::FOG.parse("2").unwrap(), ..Rates::default() };
        let node = Node {
            owner: Some("bob".parse().unwrap()),
            slots: 1,
            serves: ["shout".parse().unwrap()].into(),
            rates,
            ..Node::new("laptop".parse().unwrap())
        };
        fog.register(node).await.unwrap();
        let alice = "alice".parse().unwrap();
        fog.ledger().mint(&alice, Asset::FOG.parse("100").unwrap()).await.unwrap();
        let spec = TaskSpec::new("shout".parse().unwrap());
        let spec = spec.paid_by(alice, Asset::FOG.parse(budget).unwrap());
        fog.submit(spec, "hello").await.unwrap();
        let leased = fog.lease(&"laptop".parse().unwrap(), 1).await.unwrap().remove(0);
        (fog, clock, leased)
    }

    fn report(leased: &Assignment, ended: std::result::Result<Bytes, Failure>) -> Report {
        let node = "laptop".parse().unwrap();
        let claim = Claim { task: leased.task.id, node, fence: leased.task.fence };
        // It says to have been busy for a year.
        let busy = Some(Duration::from_secs(31_536_000));
        let usage = Usage { busy, ..Usage::default() };
        Report { claim, ended, usage, log: Vec::new(), score: None }
    }

    async fn paid(fog: &Fog) -> Amount {
        fog.ledger().account(&"bob".parse().unwrap()).await.unwrap().unwrap().available()
    }

    #[tokio::test]
    async fn the_owner_is_paid_for_the_time_that_the_fog_saw() {
        let (fog, clock, leased) = leased("50").await;
        clock.advance(Duration::from_secs(5));
        let done = fog.report(vec![report(&leased, Ok("HELLO".into()))]).await.unwrap();
        let done = done.into_iter().next().unwrap().unwrap();
        assert_eq!(done.paid, Asset::FOG.parse("10").unwrap());
        assert_eq!(done.usage.unwrap().busy, Some(Duration::from_secs(5)));
        assert_eq!(paid(&fog).await, done.paid);
    }

    #[tokio::test]
    async fn a_report_that_is_sent_again_pays_nothing_more() {
        let (fog, clock, leased) = leased("3").await;
        clock.advance(Duration::from_secs(5));
        for _ in 0..2 {
            let done = fog.report(vec![report(&leased, Ok("HELLO".into()))]).await.unwrap();
            assert_eq!(done[0].as_ref().unwrap().state, TaskState::Succeeded);
        }
        assert_eq!(paid(&fog).await, Asset::FOG.parse("3").unwrap(), "at most the budget");
    }

    #[tokio::test]
    async fn a_failure_pays_nothing_and_a_stale_claim_is_a_conflict() {
        let (fog, _, leased) = leased("3").await;
        let failed = report(&leased, Err(Failure::transient("no voice")));
        let again = fog.report(vec![failed.clone()]).await.unwrap();
        assert_eq!(again[0].as_ref().unwrap().failure.as_deref(), Some("no voice"));
        let stale = fog.report(vec![failed]).await.unwrap();
        assert_eq!(stale[0].as_ref().unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(paid(&fog).await, Amount::ZERO);
        assert!(fog.report(Vec::new()).await.unwrap().is_empty());
    }
}
