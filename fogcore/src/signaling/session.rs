//! A session: players of a zone on a host, from its beginning to its end.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{SignalingError, SignalingPolicy, Zone, ZoneStatus};
use crate::error::{Error, Result};
use crate::id::{NodeId, PeerId, SessionId, ZoneId};
use crate::registry::{Liveness, Millis, NodeRecord, Percent};
use crate::time::Timestamp;

/// Where a session is in its life.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum SessionStatus {
    /// It was opened, and its host has not begun.
    #[default]
    Pending,
    /// It runs.
    Active,
    /// It is over.
    Ended,
    /// Its host is gone.
    Failed,
}

impl SessionStatus {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Active, Self::Ended, Self::Failed];

    /// Its name in snake case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Ended => "ended",
            Self::Failed => "failed",
        }
    }

    /// Whether players may still come.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Active)
    }
}

impl fmt::Display for SessionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What its host or its players measured of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionMetrics {
    /// Mean latency.
    pub latency: Option<Millis>,
    /// Mean packet loss.
    pub loss: Option<Percent>,
    /// Network in use, in Mbit/s, at least 0.
    pub bandwidth_mbps: Option<f64>,
    /// How good it is, 0–100.
    pub quality: Option<Percent>,
}

/// A session to be opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewSession {
    /// Its id.
    pub id: SessionId,
    /// Who hosts it.
    pub host: NodeId,
    /// Where it plays.
    pub zone: ZoneId,
    /// How many players it takes, at most as many as the zone allows, which is also the default.
    #[serde(default)]
    pub max_players: Option<u32>,
    /// Who is there from the beginning.
    #[serde(default)]
    pub players: BTreeSet<PeerId>,
}

/// A session as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Its number, from 1, in the order in which sessions were opened.
    pub number: u64,
    /// Who hosts it.
    pub host: NodeId,
    /// Where it plays.
    pub zone: ZoneId,
    /// Where it is in its life.
    pub status: SessionStatus,
    /// How many players it takes.
    pub max_players: u32,
    /// Who is there.
    pub players: BTreeSet<PeerId>,
    /// What was measured.
    pub metrics: SessionMetrics,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it became active.
    pub activated_at: Option<Timestamp>,
    /// When something happened in it last.
    pub active_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why it ended.
    pub end_reason: Option<String>,
}

/// What happens to a session.
#[derive(Clone, Debug, PartialEq)]
pub enum SessionChange {
    /// Its host begins.
    Activate,
    /// A player comes; one who is there stays.
    Join(PeerId),
    /// A player goes.
    Leave(PeerId),
    /// Somebody measured; what is left out stays as it was.
    Measure(SessionMetrics),
    /// Something was said in it.
    Touch,
    /// It is over, for this reason (cut to 256 characters).
    End(String),
    /// Its host is gone.
    Fail(String),
    /// It ends if nothing happened in it for so long.
    EndIfIdle(Duration),
}

/// A host, as a session sees it.
#[derive(Clone, Debug)]
pub struct Host {
    /// The node.
    pub record: NodeRecord,
    /// Whether it can be counted on.
    pub liveness: Liveness,
}

impl Session {
    /// A session on this host, which has these `others`, if all bars are met.
    ///
    /// # Errors
    /// Conflict that names the bar: the host must be online and have room in players and sessions,
    /// the zone must be enabled with p2p on, and the host must meet the zone's quality, bandwidth
    /// and latency. InvalidInput for more players than the zone allows.
    pub fn open(
        new: NewSession,
        host: &Host,
        zone: &Zone,
        others: &[Self],
        now: Timestamp,
    ) -> Result<Self> {
        let max_players = new.max_players.unwrap_or(zone.spec.max_players);
        if !(1..=zone.spec.max_players).contains(&max_players) {
            let most = zone.spec.max_players;
            return Err(Error::invalid("max_players", format!("must be between 1 and {most}")));
        }
        if new.players.len() > max_players as usize {
            return Err(SignalingError::SessionFull { id: new.id, max: max_players }.into());
        }
        if zone.spec.status != ZoneStatus::Enabled {
            let zone = new.zone;
            return Err(SignalingError::ZoneClosed { zone, bar: "is not enabled" }.into());
        }
        if !zone.spec.p2p_enabled {
            let zone = new.zone;
            return Err(SignalingError::ZoneClosed { zone, bar: "is not open to p2p" }.into());
        }
        if let Some(bar) = bar(host, zone, others, new.players.len()) {
            return Err(SignalingError::HostBelowBar { host: new.host, bar }.into());
        }
        Ok(Self {
            id: new.id,
            number: 0,
            host: new.host,
            zone: new.zone,
            status: SessionStatus::Pending,
            max_players,
            players: new.players,
            metrics: SessionMetrics::default(),
            created_at: now,
            activated_at: None,
            active_at: now,
            ended_at: None,
            end_reason: None,
        })
    }

    /// The session, for whoever opens it once more.
    ///
    /// # Errors
    /// Conflict if it is another one.
    pub fn opened_again(self, new: &NewSession) -> Result<Self> {
        if self.host == new.host && self.zone == new.zone {
            return Ok(self);
        }
        Err(SignalingError::SessionExists(self.id).into())
    }

    /// Refuses a session that is over.
    ///
    /// # Errors
    /// Conflict.
    pub fn check_open(&self) -> Result<()> {
        if self.status.is_open() {
            return Ok(());
        }
        let (id, status) = (self.id.clone(), self.status);
        Err(SignalingError::SessionOver { id, status }.into())
    }

    /// Makes the change, and tells whether there was one. A session that is over can be ended again,
    /// which changes nothing.
    ///
    /// # Errors
    /// Conflict for one that is over, or that is not pending and should become active; Exhausted if
    /// it is full; NotFound for a player who is not there; InvalidInput for a bandwidth that is none.
    pub fn change(&mut self, change: &SessionChange, now: Timestamp) -> Result<bool> {
        use SessionChange as C;
        if !self.status.is_open() {
            return match change {
                C::End(_) | C::Fail(_) | C::EndIfIdle(_) => Ok(false),
                C::Activate => {
                    let (id, status) = (self.id.clone(), self.status);
                    Err(SignalingError::NotPending { id, status }.into())
                }
                _ => self.check_open().map(|()| false),
            };
        }
        match change {
            C::Activate if self.status == SessionStatus::Active => return Ok(false),
            C::Activate => {
                self.status = SessionStatus::Active;
                self.activated_at = Some(now);
            }
            C::Join(peer) => {
                let is_new = !self.players.contains(peer);
                if is_new && self.players.len() >= self.max_players as usize {
                    let (id, max) = (self.id.clone(), self.max_players);
                    return Err(SignalingError::SessionFull { id, max }.into());
                }
                self.players.insert(peer.clone());
            }
            C::Leave(peer) => {
                if !self.players.remove(peer) {
                    let (peer, session) = (peer.clone(), self.id.clone());
                    return Err(SignalingError::NotThere { peer, session }.into());
                }
            }
            C::Measure(metrics) => self.metrics = self.metrics.updated(metrics)?,
            C::Touch => {}
            C::End(reason) => self.end(SessionStatus::Ended, reason, now),
            C::Fail(reason) => self.end(SessionStatus::Failed, reason, now),
            C::EndIfIdle(time) => {
                if now.since(self.active_at) < *time {
                    return Ok(false);
                }
                self.end(SessionStatus::Ended, "idle", now);
                return Ok(true);
            }
        }
        self.active_at = self.active_at.max(now);
        Ok(true)
    }

    fn end(&mut self, status: SessionStatus, reason: &str, now: Timestamp) {
        self.status = status;
        self.players.clear();
        self.ended_at = Some(now);
        self.end_reason = Some(reason.chars().take(256).collect());
    }
}

impl SessionMetrics {
    fn updated(self, by: &Self) -> Result<Self> {
        let bandwidth = by.bandwidth_mbps.filter(|mbps| !(mbps.is_finite() && *mbps >= 0.0));
        if bandwidth.is_some() {
            let why = "must be a finite number, and not negative";
            return Err(Error::invalid("bandwidth_usage_mbps", why));
        }
        Ok(Self {
            latency: by.latency.or(self.latency),
            loss: by.loss.or(self.loss),
            bandwidth_mbps: by.bandwidth_mbps.or(self.bandwidth_mbps),
            quality: by.quality.or(self.quality),
        })
    }
}

/// The first bar that the host does not meet.
fn bar(host: &Host, zone: &Zone, others: &[Session], more: usize) -> Option<String> {
    let (node, beat) = (&host.record.node, host.record.heartbeat.as_ref());
    if host.liveness != Liveness::Online {
        return Some("is not online".to_owned());
    }
    let open = others.iter().filter(|other| other.status.is_open());
    let (sessions, players) =
        open.fold((0_usize, 0_usize), |(all, players), one| (all + 1, players + one.players.len()));
    if sessions >= node.max_zones as usize {
        return Some(format!("has {sessions} sessions and takes no more"));
    }
    let told = beat.map_or(0, |beat| beat.connections) as usize;
    let players = players.max(told);
    if players + more.max(1) > node.max_connections as usize {
        return Some(format!("has {players} players and takes no more"));
    }
    let quality = host.record.quality();
    if let Some(least) = zone.spec.min_host_quality.filter(|least| quality < least.get()) {
        return Some(format!("has a quality of {quality}, {least} is needed"));
    }
    let (mbps, least) = (node.resources.bandwidth_mbps, zone.spec.min_bandwidth_mbps);
    if mbps < least {
        return Some(format!("has a bandwidth of {mbps} Mbit/s, {least} is needed"));
    }
    let latency = beat.and_then(|beat| beat.latency);
    if let Some((latency, most)) = latency.zip(zone.spec.max_latency)
        && latency > most
    {
        return Some(format!("has a latency of {latency} ms, {most} is allowed"));
    }
    None
}

/// Whether mail that was used then is too old now.
#[must_use]
pub(super) fn is_stale(used_at: Timestamp, policy: &SignalingPolicy, now: Timestamp) -> bool {
    now.since(used_at) >= policy.mail_expires
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::registry::{Heartbeat, Node};
    use crate::signaling::ZoneSpec;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn host() -> Host {
        let mut node = Node::new("host".parse().unwrap());
        node.resources.bandwidth_mbps = 1_000;
        Host { record: NodeRecord::new(node, NOW), liveness: Liveness::Online }
    }

    fn zone(change: impl FnOnce(&mut ZoneSpec)) -> Zone {
        let mut spec = ZoneSpec::new("zone".parse().unwrap());
        change(&mut spec);
        Zone::put(None, spec, NOW).unwrap()
    }

    fn new(players: &[&str]) -> NewSession {
        NewSession {
            id: "session-1".parse().unwrap(),
            host: "host".parse().unwrap(),
            zone: "zone".parse().unwrap(),
            max_players: None,
            players: players.iter().map(|name| name.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn each_bar_that_is_not_met_is_told() {
        let refusal = |host: &Host, zone: &Zone, others: &[Session]| {
            let error = Session::open(new(&[]), host, zone, others, NOW).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict);
            error.to_string()
        };
        let open = zone(|_| {});
        Session::open(new(&["a"]), &host(), &open, &[], NOW).unwrap();
        let offline = Host { liveness: Liveness::Offline, ..host() };
        assert_eq!(refusal(&offline, &open, &[]), "host host is not online");
        let closed = zone(|zone| zone.status = ZoneStatus::Maintenance);
        assert_eq!(refusal(&host(), &closed, &[]), "zone zone is not enabled");
        let alone = zone(|zone| zone.p2p_enabled = false);
        assert_eq!(refusal(&host(), &alone, &[]), "zone zone is not open to p2p");
        let wide = zone(|zone| zone.min_bandwidth_mbps = 2_000);
        let needed = "host host has a bandwidth of 1000 Mbit/s, 2000 is needed";
        assert_eq!(refusal(&host(), &wide, &[]), needed);
        let good = zone(|zone| zone.min_host_quality = Percent::new(100.0).ok());
        assert!(refusal(&host(), &good, &[]).contains("has a quality of 80"));
        let mut far = host();
        let latency = Millis::new(150.0).ok();
        far.record.heartbeat = Some(Heartbeat { latency, ..Heartbeat::new(1) });
        let late = "host host has a latency of 150 ms, 100 is allowed";
        assert_eq!(refusal(&far, &open, &[]), late);
        let mut full = host();
        full.record.heartbeat = Some(Heartbeat { connections: 50, ..Heartbeat::new(1) });
        assert_eq!(refusal(&full, &open, &[]), "host host has 50 players and takes no more");
        let others: Vec<_> =
            (0..5).map(|_| Session::open(new(&[]), &host(), &open, &[], NOW).unwrap()).collect();
        assert_eq!(refusal(&host(), &open, &others), "host host has 5 sessions and takes no more");
    }

    #[test]
    fn a_session_lives_once_and_its_players_are_counted_once() {
        use SessionChange as C;
        let two = NewSession { max_players: Some(2), ..new(&[]) };
        let mut session = Session::open(two, &host(), &zone(|_| {}), &[], NOW).unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|name| name.parse::<PeerId>().unwrap());
        session.change(&C::Join(a.clone()), NOW).unwrap();
        session.change(&C::Join(a.clone()), NOW).unwrap();
        session.change(&C::Join(b), NOW).unwrap();
        let full = session.change(&C::Join(c.clone()), NOW).unwrap_err();
        assert_eq!(full.kind(), ErrorKind::Exhausted);
        assert_eq!(session.players.len(), 2);
        assert_eq!(session.change(&C::Leave(c), NOW).unwrap_err().kind(), ErrorKind::NotFound);
        session.change(&C::Leave(a.clone()), NOW).unwrap();
        assert!(session.change(&C::Activate, NOW).unwrap());
        assert!(!session.change(&C::Activate, NOW).unwrap());
        let later = NOW.saturating_add(Duration::from_secs(60));
        session.change(&C::Touch, later).unwrap();
        let idle = C::EndIfIdle(Duration::from_secs(61));
        let then = |seconds| NOW.saturating_add(Duration::from_secs(seconds));
        assert!(!session.change(&idle, then(120)).unwrap());
        assert!(session.change(&idle, then(121)).unwrap());
        assert_eq!((session.status, session.players.len()), (SessionStatus::Ended, 0));
        assert!(!session.change(&C::Fail("gone".into()), then(122)).unwrap());
        assert_eq!(session.end_reason.as_deref(), Some("idle"));
        assert_eq!(session.change(&C::Join(a), then(122)).unwrap_err().kind(), ErrorKind::Conflict);
    }

    #[test]
    fn measures_replace_only_what_they_name() {
        let mut session = Session::open(new(&[]), &host(), &zone(|_| {}), &[], NOW).unwrap();
        let latency = Millis::new(45.5).ok();
        let first = SessionMetrics { latency, ..SessionMetrics::default() };
        session.change(&SessionChange::Measure(first), NOW).unwrap();
        let second = SessionMetrics { bandwidth_mbps: Some(75.0), ..SessionMetrics::default() };
        session.change(&SessionChange::Measure(second), NOW).unwrap();
        assert_eq!(
            (session.metrics.latency, session.metrics.bandwidth_mbps),
            (latency, Some(75.0))
        );
        for wrong in [f64::NAN, -1.0, f64::INFINITY] {
            let wrong = SessionMetrics { bandwidth_mbps: Some(wrong), ..SessionMetrics::default() };
            let error = session.change(&SessionChange::Measure(wrong), NOW).unwrap_err();
            assert_eq!(error.field(), Some("bandwidth_usage_mbps"));
        }
    }
}
