//! What SQLite's writer can be asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::BoxFuture;
use sqlx::SqliteConnection;

use crate::error::Result;
use crate::storage::request::{Answer, Change, Lease};
use crate::storage::writer::{self, Writer};

/// Something that wants to be written, and somebody who waits for it.
pub(super) enum Request {
    /// Decides on what was loaded, without I/O.
    Decide(Change),
    /// Looks for work.
    Lease(Box<Lease>),
    /// Writes counters that are behind: a reader found that they are.
    Count(Counting),
    /// Makes statements of its own, on tables that no decision is about.
    Run(Box<dyn Run>),
}

impl Request {
    pub(super) fn as_lease(&mut self) -> Option<&mut Lease> {
        match self {
            Self::Lease(lease) => Some(lease),
            Self::Decide(_) | Self::Count(_) | Self::Run(_) => None,
        }
    }
}

impl From<Change> for Request {
    fn from(change: Change) -> Self {
        Self::Decide(change)
    }
}

impl From<Lease> for Request {
    fn from(lease: Lease) -> Self {
        Self::Lease(Box::new(lease))
    }
}

impl writer::Request for Request {
    fn weight(&self) -> usize {
        match self {
            Self::Decide(decision) => decision.wanted().weight(),
            Self::Lease(_) | Self::Count(_) | Self::Run(_) => 1,
        }
    }

    fn reply(self, outcome: Result<()>) {
        match self {
            Self::Decide(decision) => decision.reply(outcome),
            Self::Lease(lease) => lease.answer.reply(outcome),
            // Nobody waits for it; it may be asked for again from now on.
            Self::Count(counting) => drop((counting, outcome)),
            Self::Run(run) => run.reply(outcome),
        }
    }
}

/// Whether the writer was asked to write counters; it is asked once, however many would like it to.
#[derive(Default)]
pub(super) struct Counting(Arc<AtomicBool>);

impl Drop for Counting {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Statements of its own; an error undoes what they did and nothing else.
pub(super) trait Run: Send + Sync {
    fn run<'c>(&'c mut self, connection: &'c mut SqliteConnection) -> BoxFuture<'c, Result<()>>;
    fn reply(self: Box<Self>, outcome: Result<()>);
}

struct Statements<T, F> {
    work: F,
    answer: Answer<T>,
}

impl<T, F> Run for Statements<T, F>
where
    T: Send + Sync,
    F: for<'c> Fn(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T>> + Send + Sync,
{
    fn run<'c>(&'c mut self, connection: &'c mut SqliteConnection) -> BoxFuture<'c, Result<()>> {
        Box::pin(async move { self.answer.keep_result((self.work)(connection).await) })
    }

    fn reply(self: Box<Self>, outcome: Result<()>) {
        self.answer.reply(outcome);
    }
}

impl Writer<Request> {
    /// Has counters written, unless there is too much else to do. Nobody waits for it.
    pub(super) fn count(&self, asked: &Arc<AtomicBool>) {
        if !asked.swap(true, Ordering::Relaxed) {
            self.try_ask(Request::Count(Counting(asked.clone())));
        }
    }

    /// Runs statements on tables that no decision is about. Their error undoes them.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + Sync + 'static,
        F: for<'c> Fn(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T>> + Send + Sync + 'static,
    {
        let (answer, receiver) = Answer::new();
        self.ask(Request::Run(Box::new(Statements { work, answer })), receiver).await
    }
}
