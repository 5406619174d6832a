//! Zones, sessions and mail in PostgreSQL: the records as JSON, with columns for what is searched.

use async_trait::async_trait;
use sqlx::PgConnection;
use sqlx::postgres::PgRow;

use super::PostgresStore;
use super::error::Failure;
use super::rows::{count, get, integer, json, parsed, time, to_json};
use crate::error::{Error, Result};
use crate::id::{PeerId, SessionId, ZoneId};
use crate::registry::page_limit;
use crate::signaling::{
    Host, Mail, NewSession, Session, SessionChange, SessionFilter, Signal, SignalStore,
    SignalingError, SignalingPolicy, Zone, ZoneFilter, ZonePatch, ZoneSpec,
};
use crate::storage::signaling::peers_are_full;
use crate::time::Timestamp;

const ZONE: &str = "SELECT number, served, record FROM zones WHERE id = $1";
const SESSION: &str = "SELECT number, record FROM sessions WHERE id = $1";
/// Whoever changes one locks it before: a session before its zone.
const LOCKED_ZONE: &str = "SELECT number, served, record FROM zones WHERE id = $1 FOR UPDATE";
const LOCKED_SESSION: &str = "SELECT number, record FROM sessions WHERE id = $1 FOR UPDATE";
const OPEN_OF_HOST: &str =
    "SELECT number, record FROM sessions WHERE host = $1 AND open ORDER BY number";

fn zone(row: &PgRow) -> Result<Zone> {
    let (number, players_served) = (count(row, "number")?, count(row, "served")?);
    Ok(Zone { number, players_served, ..json(row, "record")? })
}

fn session(row: &PgRow) -> Result<Session> {
    Ok(Session { number: count(row, "number")?, ..json(row, "record")? })
}

fn mail(row: &PgRow) -> Result<Mail> {
    Ok(Mail { used_at: time(row, "used_at")?, ..json(row, "record")? })
}

async fn one<T>(
    connection: &mut PgConnection,
    sql: &'static str,
    id: &str,
    read: fn(&PgRow) -> Result<T>,
) -> Result<Option<T>, Failure> {
    let row = sqlx::query(sql).bind(id).fetch_optional(connection).await?;
    Ok(row.as_ref().map(read).transpose()?)
}

async fn zone_of(connection: &mut PgConnection, id: &ZoneId) -> Result<Zone, Failure> {
    let found = one(connection, LOCKED_ZONE, id.as_str(), zone).await?;
    Ok(found.ok_or_else(|| Error::from(SignalingError::ZoneNotFound(id.clone())))?)
}

async fn session_of(connection: &mut PgConnection, id: &SessionId) -> Result<Session, Failure> {
    let found = one(connection, LOCKED_SESSION, id.as_str(), session).await?;
    let missing = || SignalingError::SessionNotFound(id.as_str().to_owned());
    Ok(found.ok_or_else(|| Error::from(missing()))?)
}

async fn save_zone(connection: &mut PgConnection, mut zone: Zone) -> Result<Zone, Failure> {
    let row = sqlx::query(
        "INSERT INTO zones (id, served, record) VALUES ($1, 0, $2)
         ON CONFLICT (id) DO UPDATE SET record = excluded.record RETURNING number",
    )
    .bind(zone.spec.id.as_str())
    .bind(to_json(&zone)?)
    .fetch_one(connection)
    .await?;
    zone.number = count(&row, "number")?;
    Ok(zone)
}

async fn save_session(
    connection: &mut PgConnection,
    mut session: Session,
) -> Result<Session, Failure> {
    let row = sqlx::query(
        "INSERT INTO sessions (id, host, zone, status, open, active_at, record)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (id) DO UPDATE SET status = excluded.status, open = excluded.open,
         active_at = excluded.active_at, record = excluded.record RETURNING number",
    )
    .bind(session.id.as_str())
    .bind(session.host.as_str())
    .bind(session.zone.as_str())
    .bind(session.status.name())
    .bind(session.status.is_open())
    .bind(session.active_at.as_micros())
    .bind(to_json(&session)?)
    .fetch_one(connection)
    .await?;
    session.number = count(&row, "number")?;
    Ok(session)
}

async fn serve(
    connection: &mut PgConnection,
    zone: &ZoneId,
    players: usize,
) -> Result<(), Failure> {
    if players > 0 {
        sqlx::query("UPDATE zones SET served = served + $1 WHERE id = $2")
            .bind(integer(players))
            .bind(zone.as_str())
            .execute(connection)
            .await?;
    }
    Ok(())
}

async fn change(
    connection: &mut PgConnection,
    id: &SessionId,
    change: &SessionChange,
    now: Timestamp,
) -> Result<(Session, bool), Failure> {
    let mut session = session_of(connection, id).await?;
    let before = session.players.len();
    let changed = session.change(change, now)?;
    if !changed {
        return Ok((session, false));
    }
    serve(connection, &session.zone, session.players.len().saturating_sub(before)).await?;
    Ok((save_session(connection, session).await?, true))
}

async fn open(
    connection: &mut PgConnection,
    new: NewSession,
    host: &Host,
    now: Timestamp,
) -> Result<Session, Failure> {
    // Two processes would else both open one session, or give the host its last one. Always in this
    // order, so that nobody waits in a circle.
    for (lock, name) in [(20_234, new.id.as_str()), (20_233, new.host.as_str())] {
        sqlx::query("SELECT pg_advisory_xact_lock($1, hashtext($2))")
            .bind(lock)
            .bind(name)
            .execute(&mut *connection)
            .await?;
    }
    if let Some(existing) = one(connection, SESSION, new.id.as_str(), session).await? {
        return Ok(existing.opened_again(&new)?);
    }
    let zone = zone_of(connection, &new.zone).await?;
    let others =
        sqlx::query(OPEN_OF_HOST).bind(new.host.as_str()).fetch_all(&mut *connection).await?;
    let others = others.iter().map(session).collect::<Result<Vec<_>>>()?;
    let opened = Session::open(new, host, &zone, &others, now)?;
    serve(connection, &opened.zone, opened.players.len()).await?;
    save_session(connection, opened).await
}

async fn put(
    connection: &mut PgConnection,
    (session, peer): (&SessionId, &PeerId),
    signal: Signal,
    policy: &SignalingPolicy,
    now: Timestamp,
) -> Result<Mail, Failure> {
    session_of(connection, session).await?.check_open()?;
    let row = sqlx::query("SELECT used_at, record FROM mail WHERE session = $1 AND peer = $2")
        .bind(session.as_str())
        .bind(peer.as_str())
        .fetch_optional(&mut *connection)
        .await?;
    let known = row.as_ref().map(mail).transpose()?;
    if known.is_none() {
        let row = sqlx::query("SELECT count(*) AS peers FROM mail WHERE session = $1")
            .bind(session.as_str())
            .fetch_one(&mut *connection)
            .await?;
        if count::<usize>(&row, "peers")? >= policy.max_peers {
            return Err(peers_are_full(policy).into());
        }
    }
    let fresh = known.filter(|mail| !mail.is_stale(policy, now));
    let mut mail = fresh.unwrap_or_else(|| Mail::empty(peer.clone(), now));
    mail.put(signal, policy, now)?;
    sqlx::query(
        "INSERT INTO mail (session, peer, used_at, record) VALUES ($1, $2, $3, $4)
         ON CONFLICT (session, peer)
         DO UPDATE SET used_at = excluded.used_at, record = excluded.record",
    )
    .bind(session.as_str())
    .bind(peer.as_str())
    .bind(mail.used_at.as_micros())
    .bind(to_json(&mail)?)
    .execute(&mut *connection)
    .await?;
    change(connection, session, &SessionChange::Touch, now).await?;
    Ok(mail)
}

async fn remove(connection: &mut PgConnection, zone: ZoneId) -> Result<bool, Failure> {
    // Nobody opens a session in it meanwhile.
    if one(connection, LOCKED_ZONE, zone.as_str(), self::zone).await?.is_none() {
        return Ok(false);
    }
    let sql = "SELECT count(*) AS sessions FROM sessions WHERE zone = $1 AND open";
    let row = sqlx::query(sql).bind(zone.as_str()).fetch_one(&mut *connection).await?;
    let sessions = count(&row, "sessions")?;
    if sessions > 0 {
        return Err(Error::from(SignalingError::ZoneInUse { zone, sessions }).into());
    }
    let sql = "DELETE FROM zones WHERE id = $1";
    let done = sqlx::query(sql).bind(zone.as_str()).execute(connection).await?;
    Ok(done.rows_affected() > 0)
}

#[async_trait]
impl SignalStore for PostgresStore {
    async fn put_zone(&self, zone: ZoneSpec, now: Timestamp) -> Result<Zone> {
        self.readers
            .change((zone, now), |connection, (spec, now)| {
                Box::pin(async move {
                    let existing =
                        one(connection, LOCKED_ZONE, spec.id.as_str(), self::zone).await?;
                    save_zone(connection, Zone::put(existing.as_ref(), spec, now)?).await
                })
            })
            .await
    }

    async fn patch_zone(&self, zone: &ZoneId, patch: ZonePatch, now: Timestamp) -> Result<Zone> {
        let input = (zone.clone(), patch, now);
        self.readers
            .change(input, |connection, (zone, patch, now)| {
                Box::pin(async move {
                    let zone = zone_of(connection, &zone).await?;
                    let patched = Zone::put(Some(&zone), patch.applied(&zone.spec), now)?;
                    save_zone(connection, patched).await
                })
            })
            .await
    }

    async fn remove_zone(&self, zone: &ZoneId) -> Result<bool> {
        self.readers
            .change(zone.clone(), |connection, zone| {
                Box::pin(async move { remove(connection, zone).await })
            })
            .await
    }

    async fn zone(&self, zone: &ZoneId) -> Result<Option<Zone>> {
        let query = sqlx::query(ZONE).bind(zone.as_str());
        self.readers.fetch_optional(query).await?.as_ref().map(self::zone).transpose()
    }

    async fn zones(&self, filter: &ZoneFilter, after: u64, limit: usize) -> Result<Vec<Zone>> {
        let limit = page_limit(limit)?;
        let (mut after, mut found) = (integer(after), Vec::new());
        loop {
            let query = sqlx::query(
                "SELECT number, served, record FROM zones WHERE number > $1 ORDER BY number LIMIT $2",
            );
            let rows = self.readers.fetch_all(query.bind(after).bind(integer(limit))).await?;
            let last = rows.len() < limit;
            for row in &rows {
                after = get(row, "number")?;
                let zone = zone(row)?;
                if found.len() < limit && filter.matches(&zone) {
                    found.push(zone);
                }
            }
            if last || found.len() == limit {
                return Ok(found);
            }
        }
    }

    async fn open_session(&self, new: NewSession, host: Host, now: Timestamp) -> Result<Session> {
        self.readers
            .change((new, host, now), |connection, (new, host, now)| {
                Box::pin(async move { open(connection, new, &host, now).await })
            })
            .await
    }

    async fn change_session(
        &self,
        session: &SessionId,
        change: SessionChange,
        now: Timestamp,
    ) -> Result<(Session, bool)> {
        let input = (session.clone(), change, now);
        self.readers
            .change(input, |connection, (session, change, now)| {
                Box::pin(async move { self::change(connection, &session, &change, now).await })
            })
            .await
    }

    async fn session(&self, session: &SessionId) -> Result<Option<Session>> {
        let query = sqlx::query(SESSION).bind(session.as_str());
        self.readers.fetch_optional(query).await?.as_ref().map(self::session).transpose()
    }

    async fn session_number(&self, number: u64) -> Result<Option<Session>> {
        let sql = "SELECT number, record FROM sessions WHERE number = $1";
        let query = sqlx::query(sql).bind(integer(number));
        self.readers.fetch_optional(query).await?.as_ref().map(session).transpose()
    }

    async fn sessions(
        &self,
        filter: &SessionFilter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Session>> {
        let query = sqlx::query(
            "SELECT number, record FROM sessions WHERE number > $1
             AND ($2::text IS NULL OR host = $2) AND ($3::text IS NULL OR zone = $3)
             AND ($4::text IS NULL OR status = $4) AND (NOT $5 OR open) ORDER BY number LIMIT $6",
        )
        .bind(integer(after))
        .bind(filter.host.as_ref().map(|host| host.as_str()))
        .bind(filter.zone.as_ref().map(|zone| zone.as_str()))
        .bind(filter.status.map(|status| status.name()))
        .bind(filter.open)
        .bind(integer(page_limit(limit)?));
        self.readers.fetch_all(query).await?.iter().map(session).collect()
    }

    async fn put_mail(
        &self,
        session: &SessionId,
        peer: &PeerId,
        signal: Signal,
        policy: SignalingPolicy,
        now: Timestamp,
    ) -> Result<Mail> {
        let input = (session.clone(), peer.clone(), signal, policy, now);
        self.readers
            .change(input, |connection, (session, peer, signal, policy, now)| {
                Box::pin(
                    async move { put(connection, (&session, &peer), signal, &policy, now).await },
                )
            })
            .await
    }

    async fn mail(
        &self,
        session: &SessionId,
        policy: SignalingPolicy,
        now: Timestamp,
    ) -> Result<Vec<Mail>> {
        let sql = "SELECT used_at, record FROM mail WHERE session = $1 ORDER BY peer";
        let rows = self.readers.fetch_all(sqlx::query(sql).bind(session.as_str())).await?;
        let mail = rows.iter().map(mail).collect::<Result<Vec<_>>>()?;
        Ok(mail.into_iter().filter(|mail| !mail.is_stale(&policy, now)).collect())
    }

    async fn touch_mail(
        &self,
        session: &SessionId,
        policy: SignalingPolicy,
        now: Timestamp,
    ) -> Result<()> {
        let input = (session.clone(), policy, now);
        self.readers
            .change(input, |connection, (session, policy, now)| {
                Box::pin(async move {
                    // Under the session's lock, as whoever leaves mail.
                    one(connection, LOCKED_SESSION, session.as_str(), self::session).await?;
                    let sql = "UPDATE mail SET used_at = $1
                               WHERE session = $2 AND used_at > $3 AND used_at < $1";
                    sqlx::query(sql)
                        .bind(now.as_micros())
                        .bind(session.as_str())
                        .bind(now.saturating_sub(policy.mail_expires).as_micros())
                        .execute(connection)
                        .await?;
                    Ok(())
                })
            })
            .await
    }

    async fn expire_signaling(
        &self,
        policy: SignalingPolicy,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Session>> {
        let limit = page_limit(limit)?;
        let query = sqlx::query(
            "SELECT id, 0::bigint AS mail FROM sessions WHERE open AND active_at <= $1
             UNION ALL SELECT '', 1 FROM mail WHERE used_at <= $2 LIMIT $3",
        )
        .bind(now.saturating_sub(policy.idle_after).as_micros())
        .bind(now.saturating_sub(policy.mail_expires).as_micros())
        .bind(integer(limit));
        let rows = self.readers.fetch_all(query).await?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let idle = rows.iter().filter(|row| get::<i64>(row, "mail").is_ok_and(|mail| mail == 0));
        let mut idle: Vec<SessionId> = idle.map(|row| parsed(row, "id")).collect::<Result<_>>()?;
        // In one order, so that two processes do not wait for each other.
        idle.sort_unstable();
        self.readers
            .change((idle, policy, now, limit), |connection, (idle, policy, now, limit)| {
                Box::pin(async move { expire(connection, idle, &policy, now, limit).await })
            })
            .await
    }
}

async fn expire(
    connection: &mut PgConnection,
    idle: Vec<SessionId>,
    policy: &SignalingPolicy,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Session>, Failure> {
    let mut ended = Vec::new();
    for id in idle {
        // What happened since it was found is looked at again, under the lock.
        let end = SessionChange::EndIfIdle(policy.idle_after);
        let (session, changed) = change(connection, &id, &end, now).await?;
        if changed {
            ended.push(session);
        }
    }
    sqlx::query(
        "DELETE FROM mail WHERE (session, peer) IN
         (SELECT session, peer FROM mail WHERE used_at <= $1 LIMIT $2)",
    )
    .bind(now.saturating_sub(policy.mail_expires).as_micros())
    .bind(integer(limit))
    .execute(connection)
    .await?;
    Ok(ended)
}
