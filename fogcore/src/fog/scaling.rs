//! The loop that looks how busy the fog is, and asks for nodes or gives some back.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;

use super::trouble::Trouble;
use super::{Fog, Shared};
use crate::balancer::autoscaler::{ScaleDecision, ScaleReport, ScaleRequest};
use crate::balancer::{Autoscaler, NodeLoad, ScaleHook};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::id::NodeId;
use crate::registry::{Liveness, MAX_PAGE, NodeFilter, NodeRecord};

/// Requests that were made, and what came of them.
const REQUESTS: &str = "fogcore_autoscaler_requests_total";

/// An autoscaler that a fog runs, and whom it asks.
#[derive(Debug)]
pub(super) struct Scaling {
    scaler: Mutex<Autoscaler>,
    hook: Arc<dyn ScaleHook>,
    /// Held from a check to its answer: one request at a time.
    turn: tokio::sync::Mutex<()>,
}

impl Scaling {
    pub(super) fn new(scaler: Autoscaler, hook: Arc<dyn ScaleHook>) -> Self {
        Self { scaler: Mutex::new(scaler), hook, turn: tokio::sync::Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Autoscaler> {
        self.scaler.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time between two checks.
    fn every(&self) -> Duration {
        self.lock().policy().check_every
    }
}

impl Fog {
    /// What the autoscaler decided last, and why; none if the fog has none, or there was no check
    /// yet.
    #[must_use]
    pub fn scale_decision(&self) -> Option<ScaleDecision> {
        self.shared.scaling.as_ref()?.lock().latest().cloned()
    }

    /// What the autoscaler asked for in this process and what came of it, the oldest first; empty
    /// if the fog has none.
    #[must_use]
    pub fn scale_history(&self) -> Vec<ScaleReport> {
        let scaling = self.shared.scaling.as_ref();
        scaling.map_or_else(Vec::new, |scaling| scaling.lock().history().cloned().collect())
    }
}

pub(super) async fn run(shared: Arc<Shared>) {
    let Some(every) = shared.scaling.as_ref().map(Scaling::every) else { return };
    let mut trouble = Trouble::with("the autoscaler's check");
    loop {
        // Nodes that registered with an earlier process may take a moment to be heard of again.
        tokio::select! {
            () = shared.stopping.cancelled() => return,
            () = shared.clock.sleep(trouble.wait(every)) => {}
        }
        tokio::select! {
            () = shared.stopping.cancelled() => return,
            checked = shared.scale() => match checked {
                Ok(()) => trouble.over(),
                Err(error) => trouble.failed(&error),
            },
        }
    }
}

impl Shared {
    /// If a check is due, looks at the nodes, decides, and asks the hook if something should change.
    pub(super) async fn scale(&self) -> Result<()> {
        let Some(scaling) = &self.scaling else { return Ok(()) };
        // Who checks already does so for everybody.
        let Ok(_turn) = scaling.turn.try_lock() else { return Ok(()) };
        if !scaling.lock().next_check(self.clock.elapsed()).is_zero() {
            return Ok(());
        }
        let loads = self.loads().await?;
        let request = scaling.lock().check(&loads, self.clock.elapsed())?;
        let Some(request) = request else { return Ok(()) };
        let answer = AssertUnwindSafe(scaling.hook.scale(&request)).catch_unwind();
        let answer = tokio::select! {
            answer = answer => answer.unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Internal, "the scale hook panicked"))
            }),
            // Nobody knows whether anything was done: the next check sends it again.
            () = self.clock.sleep(scaling.every()) => {
                Err(Error::new(ErrorKind::Unavailable, "the scale hook gave no answer in time"))
            }
        };
        let report = scaling.lock().answered(answer);
        report.iter().for_each(|report| self.tell_scaling(&report.request, report));
        Ok(())
    }

    fn tell_scaling(&self, request: &ScaleRequest, report: &ScaleReport) {
        let direction = if request.to > request.from { "up" } else { "down" };
        let outcome = report.outcome.as_str();
        let labels = [("direction", direction), ("outcome", outcome)];
        metrics::counter!(REQUESTS, &labels).increment(1);
        self.events.publish(Event::ScaleAsked {
            id: request.id,
            from: request.from,
            to: request.to,
            reason: request.reason.to_string(),
            outcome: outcome.to_owned(),
        });
    }

    /// How busy the nodes are that are there.
    async fn loads(&self) -> Result<Vec<NodeLoad>> {
        let mut loads = Vec::new();
        let mut after: Option<NodeId> = None;
        loop {
            let filter = NodeFilter::default();
            let page = self.stores.nodes.nodes(&filter, after.as_ref(), MAX_PAGE).await?;
            loads.extend(page.iter().filter_map(|record| self.load(record)));
            match page.last() {
                Some(last) if page.len() == MAX_PAGE => after = Some(last.node.id.clone()),
                _ => return Ok(loads),
            }
        }
    }

    /// None for a node of which nothing is expected: it is off, asleep, or drained.
    fn load(&self, record: &NodeRecord) -> Option<NodeLoad> {
        let (node, now) = (record.node.id.clone(), self.clock.now());
        let liveness = record.liveness(now, self.config.liveness);
        let probed = self.monitors.probed(&node);
        if liveness == Liveness::Offline || probed.absent || self.keeps(&node) == 0 {
            return None;
        }
        let ready = liveness == Liveness::Online
            && record.eligibility(now, &self.config.power).is_ok()
            && !probed.unwell;
        let load = match &record.heartbeat {
            Some(beat) => NodeLoad::from_beat(node, beat),
            None => NodeLoad::new(node),
        };
        Some(NodeLoad { ready, ..load })
    }
}
