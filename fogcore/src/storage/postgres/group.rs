//! One group of requests, one transaction.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::Executor;
use sqlx::postgres::PgConnectOptions;

use super::error::Failure;
use super::loaded::Loaded;
use super::nodes::Nodes;
use super::request::Request;
use super::select::grant;
use super::session::Session;
use crate::error::{Error, Result};
use crate::ledger::Chain;
use crate::storage::leasing::Search;
use crate::storage::request::{Lease, Wanted};
use crate::storage::writer;

/// How often a group is made again because of what others did at the same time. Each time, one of
/// those others got on.
const MOST_ATTEMPTS: usize = 10;

/// Carries out groups, one after another, on the connection that writes.
pub(super) struct Transactor {
    connect: PgConnectOptions,
    session: Option<Session>,
    patience: Patience,
    search: Search,
}

/// How long is waited for what.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// For a lock, by the server.
    pub(super) lock: Duration,
    /// For the end of a transaction, here: a server that is cut off says nothing at all.
    pub(super) transaction: Duration,
}

impl Transactor {
    pub(super) fn new(connect: PgConnectOptions, session: Session, patience: Patience) -> Self {
        Self { connect, session: Some(session), patience, search: Search::default() }
    }
}

impl writer::Transactor for Transactor {
    type Request = Request;

    /// Commits the group, and tells what became of each request. All are done together; if they
    /// are refused, each is done again in a transaction of its own, so that the one at fault fails
    /// alone.
    async fn transact(&mut self, group: &mut [Request]) -> Vec<Result<()>> {
        let whole = self.insist(group, self.patience.lock).await;
        let (error, patience) = match &whole {
            Ok(()) | Err(Failure::Lost(_) | Failure::Unknown(_)) => {
                return group.iter().map(|_| whole.clone().map_err(Error::from)).collect();
            }
            // Those who need what is locked wait for it in turn, but not each for as long again.
            Err(Failure::Late(error)) => (error, self.patience.lock / 100),
            Err(Failure::Again(error) | Failure::Refused(error)) => (error, self.patience.lock),
        };
        tracing::debug!(%error, requests = group.len(), "a group was undone");
        if group.len() == 1 {
            return vec![Err(error.clone())];
        }
        let mut outcomes = Vec::new();
        for request in group {
            let outcome = self.insist(std::slice::from_mut(request), patience).await;
            outcomes.push(outcome.map_err(Error::from));
        }
        outcomes
    }

    async fn close(self) {
        if let Some(session) = self.session {
            session.close().await;
        }
    }
}

impl Transactor {
    /// Makes one transaction, again while others are in the way.
    async fn insist(&mut self, group: &mut [Request], lock: Duration) -> Result<(), Failure> {
        let (mut attempts, limit) = (1, self.patience.transaction);
        loop {
            let attempt = self.attempt(group, lock);
            let done = tokio::time::timeout(limit, attempt).await;
            match done.unwrap_or_else(|_| Err(Failure::silent())) {
                Err(Failure::Again(error)) if attempts < MOST_ATTEMPTS => {
                    tracing::debug!(%error, attempts, "a group is made again");
                    attempts += 1;
                }
                // The server was started again, perhaps long ago: another connection may do.
                Err(Failure::Lost(error)) if attempts == 1 => {
                    tracing::debug!(%error, "connecting again");
                    attempts = MOST_ATTEMPTS;
                }
                done => return done,
            }
        }
    }

    async fn attempt(&mut self, group: &mut [Request], lock: Duration) -> Result<(), Failure> {
        // Taken out, so that after an error, or if this is given up half way, nobody goes on with
        // what is in an odd state.
        let mut session = match self.session.take() {
            Some(session) => session,
            None => Session::open(&self.connect).await?,
        };
        session.begin(lock).await?;
        let mut chain = session.chain;
        let mut done = self.work(&mut session, &mut chain, group).await;
        if done.is_ok() {
            let committed = session.connection.execute("COMMIT").await;
            done = committed.map(|_| ()).map_err(Failure::of_commit);
        }
        match &done {
            Ok(()) => session.chain = chain,
            Err(Failure::Lost(_) | Failure::Unknown(_)) => return done,
            Err(Failure::Again(_) | Failure::Late(_) | Failure::Refused(_)) => {
                // After a commit that was refused there is nothing to undo, which is a warning.
                if session.connection.execute("ROLLBACK").await.is_err() {
                    return done;
                }
            }
        }
        self.session = Some(session);
        done
    }

    /// Decides all that can be decided on one set, writes it at once, and looks for work after
    /// that: whoever asks gets what was just submitted, and slots that were just freed.
    async fn work(
        &mut self,
        session: &mut Session,
        chain: &mut Chain,
        group: &mut [Request],
    ) -> Result<(), Failure> {
        let connection = &mut session.connection;
        let (mut wanted, mut wanted_nodes) = (Wanted::default(), BTreeSet::new());
        for request in &*group {
            match request {
                Request::Change(change) => wanted.add(change.wanted()),
                Request::Node(change) => drop(wanted_nodes.insert(change.wanted().clone())),
                Request::Lease(_) => {}
            }
        }
        let (mut nodes, mut loaded) = (Nodes::default(), Loaded::default());
        if !wanted_nodes.is_empty() {
            nodes.load(connection, &wanted_nodes).await?;
        }
        let now = wanted.now;
        if now.is_some() {
            loaded.load(connection, wanted).await?;
        }
        for request in &mut *group {
            match request {
                Request::Change(change) => change.decide(&mut loaded.set),
                Request::Node(change) => change.decide(&mut nodes),
                Request::Lease(_) => {}
            }
        }
        nodes.save(connection).await?;
        if let Some(now) = now {
            loaded.save_book(connection, chain).await?;
            loaded.save_tasks(connection, now).await?;
            loaded.save_market(connection).await?;
        }
        let mut leases: Vec<&mut Lease> = group.iter_mut().filter_map(Request::as_lease).collect();
        if !leases.is_empty() {
            grant(connection, &mut loaded, &mut self.search, &mut leases).await?;
        }
        Ok(())
    }
}
