//! What the tests of the whole share: stores of both kinds, nodes, accounts and patience.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fogcore::amount::{Amount, Asset};
use fogcore::failover::{HealthPolicy, HealthProbe, ProbeError, ProbeTarget};
use fogcore::fog::FogBuilder;
use fogcore::id::{AccountId, NodeId};
use fogcore::registry::{Node, Rates};
use fogcore::scheduler::{Assignment, Claim, Completion, Outcome, TaskSpec, Usage, settlement};
use fogcore::storage::{self, Stores};
use fogcore::time::{ManualClock, Timestamp};
use fogcore::{Fog, FogConfig};

/// Far beyond what any step takes: a test that waits longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for what must happen soon.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("this should have happened by now")
}

/// Waits, politely, until it is so.
pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    soon(async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// One of each store that this build has; the folder lives as long as the guard.
pub(crate) async fn both_stores() -> (Vec<(&'static str, Stores)>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("fog.db").display());
    let stores = vec![
        ("memory", storage::open("memory:").await.unwrap()),
        ("sqlite", storage::open(&url).await.unwrap()),
    ];
    (stores, folder)
}

pub(crate) fn fog(text: &str) -> Amount {
    Asset::FOG.parse(text).unwrap()
}

pub(crate) fn account_id(name: &str) -> AccountId {
    name.parse().unwrap()
}

pub(crate) fn node_id(name: &str) -> NodeId {
    name.parse().unwrap()
}

/// A node of `bob` that serves `work` for 0.01 FOG a task.
pub(crate) fn node(name: &str, slots: u32) -> Node {
    let mut node = Node::new(node_id(name));
    node.owner = Some(account_id("bob"));
    node.slots = slots;
    node.serves.insert("work".parse().unwrap());
    node.rates = Rates { per_task: fog("0.01"), ..Rates::default() };
    node
}

pub(crate) fn spec() -> TaskSpec {
    TaskSpec::new("work".parse().unwrap())
}

/// A task that `alice` pays with at most 0.1 FOG.
pub(crate) fn paid() -> TaskSpec {
    spec().paid_by(account_id("alice"), fog("0.1"))
}

/// Times short enough for a test and long enough for a busy machine.
pub(crate) fn quick() -> FogConfig {
    FogConfig {
        maintain_every: Duration::from_millis(5),
        idle_poll: Duration::from_millis(5),
        progress_every: Duration::from_millis(5),
        ..FogConfig::default()
    }
}

/// A fog without loops on a clock that stands still.
pub(crate) fn still() -> (FogBuilder, Arc<ManualClock>) {
    let start: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
    let clock = Arc::new(ManualClock::at(start));
    (Fog::builder().clock(clock.clone()).seed(1).without_loops(), clock)
}

/// What `account` can spend, and what of it is reserved.
pub(crate) async fn funds(fog: &Fog, account: &str) -> (Amount, Amount) {
    let account = fog.ledger().account(&account_id(account)).await.unwrap().unwrap();
    (account.available(), account.debits_pending)
}

pub(crate) async fn is_balanced(fog: &Fog) -> bool {
    fog.ledger().trial_balance().await.unwrap().is_balanced()
}

pub(crate) fn claim(assignment: &Assignment) -> Claim {
    let lease = assignment.task.lease.as_ref().unwrap();
    Claim { task: assignment.task.id, node: lease.node.clone(), fence: lease.fence }
}

/// A report of success, priced as `node` asks.
pub(crate) fn success(assignment: &Assignment, node: &Node) -> Completion {
    let usage = Usage { busy: Some(Duration::from_millis(10)), ..Usage::default() };
    let reward = settlement::reward(node, &assignment.task.spec, &usage);
    let outcome = Outcome::Succeeded { result: "done".into(), reward };
    Completion { claim: claim(assignment), outcome, usage, log: Vec::new(), score: None }
}

pub(crate) fn failure(assignment: &Assignment) -> Completion {
    let outcome = Outcome::Failed { reason: "broke".to_owned(), permanent: false };
    Completion {
        claim: claim(assignment),
        outcome,
        usage: Usage::default(),
        log: Vec::new(),
        score: None,
    }
}

/// A probe that finds well whom it is told to.
#[derive(Debug)]
pub(crate) struct Scripted {
    otherwise: bool,
    others: Mutex<HashSet<NodeId>>,
}

impl Scripted {
    pub(crate) fn new(otherwise: bool) -> Arc<Self> {
        Arc::new(Self { otherwise, others: Mutex::default() })
    }

    pub(crate) fn set(&self, node: &str, well: bool) {
        let mut others = self.others.lock().unwrap();
        if well == self.otherwise {
            others.remove(&node_id(node));
        } else {
            others.insert(node_id(node));
        }
    }

    /// One answer is enough, and everybody is asked every second.
    pub(crate) fn policy() -> HealthPolicy {
        let every = Duration::from_secs(1);
        let (unhealthy_after, healthy_after) = (1, 1);
        HealthPolicy { every, timeout: every, jitter: 0.0, unhealthy_after, healthy_after }
    }
}

#[async_trait]
impl HealthProbe for Scripted {
    async fn probe(&self, target: &ProbeTarget) -> Result<(), ProbeError> {
        let is_other = self.others.lock().unwrap().contains(&target.node);
        if is_other == self.otherwise { Err(ProbeError::Refused) } else { Ok(()) }
    }
}

pub(crate) fn target(node: &str) -> ProbeTarget {
    ProbeTarget { node: node_id(node), address: None }
}
