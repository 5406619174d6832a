//! How peers meet.

use std::collections::BTreeSet;
use std::sync::Arc;

use fogcore::fog::Connection;
use fogcore::id::{NodeId, PeerId, SessionId, ZoneId};
use fogcore::signaling::{Delivery, ResumeToken, SessionChange, Signal, ZoneFilter, ZoneSpec};
use pyo3::prelude::*;
use tokio::sync::{Mutex, MutexGuard, Notify};

use crate::bridge::{Bridge, Calls};
use crate::error::Fault;
use crate::fog::Fog;
use crate::json::{
    limit, parse, parse_all, read, render, render_bool, render_nothing, render_object,
};
use crate::process::OfProcess;

/// The signaling of a fog.
#[pyclass(frozen, module = "fogcore._fogcore")]
pub(crate) struct Signaling {
    fog: Py<Fog>,
}

impl Signaling {
    fn core(&self) -> Result<(fogcore::fog::Signaling, &Calls), Fault> {
        let fog = self.fog.get();
        Ok((fog.core()?.signaling(), fog.calls()?))
    }
}

#[pymethods]
impl Signaling {
    #[new]
    fn new(fog: Py<Fog>) -> Self {
        Self { fog }
    }

    fn put_zone(&self, bridge: &Bridge, zone: &str) -> Result<u64, Fault> {
        let ((signaling, calls), zone) = (self.core()?, read::<ZoneSpec>(zone)?);
        calls.finish(bridge, async move { signaling.put_zone(zone).await }, render)
    }

    fn remove_zone(&self, bridge: &Bridge, zone: &str) -> Result<u64, Fault> {
        let ((signaling, calls), zone) = (self.core()?, parse::<ZoneId>(zone)?);
        calls.finish(bridge, async move { signaling.remove_zone(&zone).await }, render_bool)
    }

    fn zones(&self, bridge: &Bridge, after: u64, count: u32) -> Result<u64, Fault> {
        let (signaling, calls) = self.core()?;
        let look =
            async move { signaling.zones(&ZoneFilter::default(), after, limit(count)).await };
        calls.wait(bridge, look, render)
    }

    #[pyo3(signature = (bridge, host, zone, max_players, players))]
    fn open_session(
        &self,
        bridge: &Bridge,
        host: &str,
        zone: &str,
        max_players: Option<u32>,
        players: Vec<String>,
    ) -> Result<u64, Fault> {
        let (signaling, calls) = self.core()?;
        let (host, zone) = (parse::<NodeId>(host)?, parse::<ZoneId>(zone)?);
        let players: BTreeSet<PeerId> = parse_all(players)?;
        let open = async move { signaling.open_session(&host, &zone, max_players, players).await };
        calls.finish(bridge, open, render)
    }

    fn session(&self, bridge: &Bridge, session: &str) -> Result<u64, Fault> {
        let ((signaling, calls), session) = (self.core()?, parse::<SessionId>(session)?);
        calls.wait(bridge, async move { signaling.session(&session).await }, render)
    }

    fn activate(&self, bridge: &Bridge, session: &str) -> Result<u64, Fault> {
        self.change(bridge, session, SessionChange::Activate)
    }

    fn end_session(&self, bridge: &Bridge, session: &str, reason: String) -> Result<u64, Fault> {
        self.change(bridge, session, SessionChange::End(reason))
    }

    fn put_mail(
        &self,
        bridge: &Bridge,
        session: &str,
        peer: &str,
        signal: &str,
    ) -> Result<u64, Fault> {
        let (signaling, calls) = self.core()?;
        let (session, peer) = (parse::<SessionId>(session)?, parse::<PeerId>(peer)?);
        let signal: Signal = read(signal)?;
        let put = async move { signaling.put_mail(&session, &peer, signal).await };
        calls.finish(bridge, put, render)
    }

    fn mail(&self, bridge: &Bridge, session: &str) -> Result<u64, Fault> {
        let ((signaling, calls), session) = (self.core()?, parse::<SessionId>(session)?);
        calls.finish(bridge, async move { signaling.mail(&session).await }, render)
    }

    fn connect(&self, bridge: &Bridge, session: &str, peer: &str) -> Result<u64, Fault> {
        let (signaling, calls) = self.core()?;
        let (session, peer) = (parse::<SessionId>(session)?, parse::<PeerId>(peer)?);
        let of_peer = calls.clone();
        let connect = async move { signaling.connect(&session, &peer).await };
        calls.finish(bridge, connect, |connection| {
            render_object(PeerConnection::new(connection, of_peer))
        })
    }

    fn resume(
        &self,
        bridge: &Bridge,
        session: &str,
        peer: &str,
        token: String,
        heard: u64,
    ) -> Result<u64, Fault> {
        let (signaling, calls) = self.core()?;
        let (session, peer) = (parse::<SessionId>(session)?, parse::<PeerId>(peer)?);
        let token = ResumeToken::from_text(token);
        let of_peer = calls.clone();
        let resume = async move { signaling.resume(&session, &peer, &token, heard) };
        calls.finish(bridge, resume, |connection| {
            render_object(PeerConnection::new(connection, of_peer))
        })
    }
}

impl Signaling {
    fn change(&self, bridge: &Bridge, session: &str, change: SessionChange) -> Result<u64, Fault> {
        let ((signaling, calls), session) = (self.core()?, parse::<SessionId>(session)?);
        calls.finish(bridge, async move { signaling.change(&session, change).await }, render)
    }
}

/// What those who wait for a delivery and those who want to speak share.
struct Shared {
    connection: Mutex<Option<Connection>>,
    /// Asks whoever waits for a delivery to let somebody else have the connection.
    knock: Notify,
}

impl Shared {
    async fn held(&self) -> MutexGuard<'_, Option<Connection>> {
        let held = self.connection.lock();
        self.knock.notify_one();
        held.await
    }
}

/// A peer's connection to a session. Dropped without a leave, it is what a dropped socket is: for a
/// while the peer may resume, and the others notice nothing.
#[pyclass(frozen, module = "fogcore._fogcore")]
pub(crate) struct PeerConnection {
    shared: OfProcess<Arc<Shared>>,
    token: String,
    calls: Calls,
}

impl PeerConnection {
    fn new(connection: Connection, calls: Calls) -> Self {
        let token = connection.token().expose().to_owned();
        let shared = Shared { connection: Mutex::new(Some(connection)), knock: Notify::new() };
        Self { shared: OfProcess::new(Arc::new(shared)), token, calls }
    }
}

#[pymethods]
impl PeerConnection {
    /// What the peer resumes with. A secret.
    #[getter]
    fn token(&self) -> &str {
        &self.token
    }

    /// What the peer hears next; none once the session is over, the peer left or connected anew, or
    /// the fog is closed.
    fn next(&self, bridge: &Bridge) -> Result<u64, Fault> {
        let shared = Arc::clone(self.shared.get()?);
        let next = async move {
            loop {
                // The lock is fair: whoever knocked has it before this comes around again.
                let mut held = shared.connection.lock().await;
                let Some(connection) = held.as_mut() else { return Ok::<_, Fault>(None) };
                tokio::select! {
                    delivery = connection.next() => return Ok(delivery),
                    () = shared.knock.notified() => {}
                }
            }
        };
        self.calls.wait_or(bridge, next, render, || render(None::<Delivery>))
    }

    fn send(&self, bridge: &Bridge, to: &str, signal: &str) -> Result<u64, Fault> {
        let (shared, to) = (Arc::clone(self.shared.get()?), parse::<PeerId>(to)?);
        let signal: Signal = read(signal)?;
        let send = async move {
            let held = shared.held().await;
            let gone = || fogcore::Error::new(fogcore::ErrorKind::NotFound, "the peer has left");
            held.as_ref().ok_or_else(gone)?.send(&to, signal).await
        };
        self.calls.finish(bridge, send, render)
    }

    fn acknowledge(&self, bridge: &Bridge, heard: u64) -> Result<u64, Fault> {
        let shared = Arc::clone(self.shared.get()?);
        let acknowledge = async move {
            if let Some(connection) = shared.held().await.as_ref() {
                connection.acknowledge(heard);
            }
            Ok::<(), Fault>(())
        };
        self.calls.finish(bridge, acknowledge, render_nothing)
    }

    /// The peer goes for good, and the others hear of it.
    fn leave(&self, bridge: &Bridge) -> Result<u64, Fault> {
        let shared = Arc::clone(self.shared.get()?);
        let leave = async move {
            if let Some(connection) = shared.held().await.take() {
                connection.leave();
            }
            Ok::<(), Fault>(())
        };
        self.calls.finish(bridge, leave, render_nothing)
    }

    /// The connection drops, as that of a peer that lost its network: for a while it may resume.
    fn drop(&self, bridge: &Bridge) -> Result<u64, Fault> {
        let shared = Arc::clone(self.shared.get()?);
        let drop_it = async move {
            drop(shared.held().await.take());
            Ok::<(), Fault>(())
        };
        self.calls.finish(bridge, drop_it, render_nothing)
    }
}
