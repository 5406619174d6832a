//! What happens in this process's fog, by pull.

use std::sync::Arc;

use fogcore::event::{Event, Feed, Notice, Subscription};
use pyo3::prelude::*;
use serde::Serialize;
use tokio::sync::Mutex;

use crate::bridge::{Bridge, Calls};
use crate::error::Fault;
use crate::json::{limit, render};
use crate::process::OfProcess;

/// An event with its number, or how many were missed.
#[derive(Serialize)]
struct Told {
    number: u64,
    event: Option<Event>,
    missed: u64,
}

/// A feed of events; what was not acknowledged comes again.
#[pyclass(frozen, module = "fogcore._fogcore")]
pub(crate) struct Events {
    feed: OfProcess<Arc<Mutex<Feed>>>,
    calls: Calls,
}

impl Events {
    pub(crate) fn new(subscription: Subscription, calls: Calls) -> Self {
        Self { feed: OfProcess::new(Arc::new(Mutex::new(Feed::new(subscription)))), calls }
    }
}

#[pymethods]
impl Events {
    /// What happened after the event `heard`, of which the loop is done: at least one event, for
    /// which it waits; none once the fog is closed.
    fn pull(&self, bridge: &Bridge, heard: u64, count: u32) -> Result<u64, Fault> {
        let feed = Arc::clone(self.feed.get()?);
        let pull = async move {
            let mut feed = feed.lock().await;
            feed.acknowledge(heard);
            let told = feed.pull(limit(count)).await.into_iter().map(|one| match one.notice {
                Notice::Event(event) => Told { number: one.number, event: Some(event), missed: 0 },
                Notice::Missed(missed) => Told { number: one.number, event: None, missed },
            });
            Ok::<_, Fault>(told.collect::<Vec<_>>())
        };
        self.calls.wait_or(bridge, pull, render, || render(Vec::<Told>::new()))
    }
}
