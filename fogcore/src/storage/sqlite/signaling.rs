//! Zones, sessions and mail in SQLite: the records as JSON, with columns for what is searched.

use async_trait::async_trait;
use futures::future::BoxFuture;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::SqliteStore;
use super::error::OrStoreError;
use super::rows::{count, get, integer, json, time, to_json};
use crate::error::Result;
use crate::id::{PeerId, SessionId, ZoneId};
use crate::registry::page_limit;
use crate::signaling::{
    Host, Mail, NewSession, Session, SessionChange, SessionFilter, Signal, SignalStore,
    SignalingError, SignalingPolicy, Zone, ZoneFilter, ZonePatch, ZoneSpec,
};
use crate::storage::signaling::peers_are_full;
use crate::time::Timestamp;

const ZONE: &str = "SELECT number, served, record FROM zones WHERE id = ?";
const SESSION: &str = "SELECT number, record FROM sessions WHERE id = ?";
const OPEN_OF_HOST: &str =
    "SELECT number, record FROM sessions WHERE host = ? AND open = 1 ORDER BY number";

fn zone(row: &SqliteRow) -> Result<Zone> {
    let (number, players_served) = (count(row, "number")?, count(row, "served")?);
    Ok(Zone { number, players_served, ..json(row, "record")? })
}

fn session(row: &SqliteRow) -> Result<Session> {
    Ok(Session { number: count(row, "number")?, ..json(row, "record")? })
}

fn mail(row: &SqliteRow) -> Result<Mail> {
    Ok(Mail { used_at: time(row, "used_at")?, ..json(row, "record")? })
}

async fn one<T>(
    connection: &mut SqliteConnection,
    sql: &'static str,
    id: &str,
    read: fn(&SqliteRow) -> Result<T>,
) -> Result<Option<T>> {
    let row = sqlx::query(sql).bind(id).fetch_optional(connection).await.or_store_error()?;
    row.as_ref().map(read).transpose()
}

async fn zone_of(connection: &mut SqliteConnection, id: &ZoneId) -> Result<Zone> {
    let found = one(connection, ZONE, id.as_str(), zone).await?;
    found.ok_or_else(|| SignalingError::ZoneNotFound(id.clone()).into())
}

async fn session_of(connection: &mut SqliteConnection, id: &SessionId) -> Result<Session> {
    let found = one(connection, SESSION, id.as_str(), session).await?;
    found.ok_or_else(|| SignalingError::SessionNotFound(id.as_str().to_owned()).into())
}

async fn save_zone(connection: &mut SqliteConnection, mut zone: Zone) -> Result<Zone> {
    let row = sqlx::query(
        "INSERT INTO zones (id, served, record) VALUES (?1, 0, ?2)
         ON CONFLICT (id) DO UPDATE SET record = excluded.record RETURNING number",
    )
    .bind(zone.spec.id.as_str())
    .bind(to_json(&zone)?)
    .fetch_one(connection)
    .await
    .or_store_error()?;
    zone.number = count(&row, "number")?;
    Ok(zone)
}

async fn save_session(connection: &mut SqliteConnection, mut session: Session) -> Result<Session> {
    let row = sqlx::query(
        "INSERT INTO sessions (id, host, zone, status, open, active_at, record)
         VALUES (?, ?, ?, ?, ?, ?, ?)
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
    .await
    .or_store_error()?;
    session.number = count(&row, "number")?;
    Ok(session)
}

async fn serve(connection: &mut SqliteConnection, zone: &ZoneId, players: usize) -> Result<()> {
    if players > 0 {
        sqlx::query("UPDATE zones SET served = served + ? WHERE id = ?")
            .bind(integer(players))
            .bind(zone.as_str())
            .execute(connection)
            .await
            .or_store_error()?;
    }
    Ok(())
}

async fn change(
    connection: &mut SqliteConnection,
    id: &SessionId,
    change: &SessionChange,
    now: Timestamp,
) -> Result<(Session, bool)> {
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
    connection: &mut SqliteConnection,
    new: NewSession,
    host: &Host,
    now: Timestamp,
) -> Result<Session> {
    if let Some(existing) = one(connection, SESSION, new.id.as_str(), session).await? {
        return existing.opened_again(&new);
    }
    let zone = zone_of(connection, &new.zone).await?;
    let others = sqlx::query(OPEN_OF_HOST)
        .bind(new.host.as_str())
        .fetch_all(&mut *connection)
        .await
        .or_store_error()?;
    let others = others.iter().map(session).collect::<Result<Vec<_>>>()?;
    let opened = Session::open(new, host, &zone, &others, now)?;
    serve(connection, &opened.zone, opened.players.len()).await?;
    save_session(connection, opened).await
}

async fn put(
    connection: &mut SqliteConnection,
    (session, peer): (&SessionId, &PeerId),
    signal: Signal,
    policy: &SignalingPolicy,
    now: Timestamp,
) -> Result<Mail> {
    session_of(connection, session).await?.check_open()?;
    let row = sqlx::query("SELECT used_at, record FROM mail WHERE session = ? AND peer = ?")
        .bind(session.as_str())
        .bind(peer.as_str())
        .fetch_optional(&mut *connection)
        .await
        .or_store_error()?;
    let known = row.as_ref().map(mail).transpose()?;
    if known.is_none() {
        let row = sqlx::query("SELECT count(*) AS peers FROM mail WHERE session = ?")
            .bind(session.as_str())
            .fetch_one(&mut *connection)
            .await
            .or_store_error()?;
        if count::<usize>(&row, "peers")? >= policy.max_peers {
            return Err(peers_are_full(policy));
        }
    }
    let fresh = known.filter(|mail| !mail.is_stale(policy, now));
    let mut mail = fresh.unwrap_or_else(|| Mail::empty(peer.clone(), now));
    mail.put(signal, policy, now)?;
    sqlx::query("INSERT OR REPLACE INTO mail (session, peer, used_at, record) VALUES (?, ?, ?, ?)")
        .bind(session.as_str())
        .bind(peer.as_str())
        .bind(mail.used_at.as_micros())
        .bind(to_json(&mail)?)
        .execute(&mut *connection)
        .await
        .or_store_error()?;
    change(connection, session, &SessionChange::Touch, now).await?;
    Ok(mail)
}

impl SqliteStore {
    /// Makes one atomic change.
    async fn signal<I, T>(
        &self,
        input: I,
        work: for<'c> fn(&'c mut SqliteConnection, I) -> BoxFuture<'c, Result<T>>,
    ) -> Result<T>
    where
        I: Clone + Send + Sync + 'static,
        T: Send + Sync + 'static,
    {
        self.writer.run(move |connection| work(connection, input.clone())).await
    }
}

#[async_trait]
impl SignalStore for SqliteStore {
    async fn put_zone(&self, zone: ZoneSpec, now: Timestamp) -> Result<Zone> {
        self.signal((zone, now), |connection, (spec, now)| {
            Box::pin(async move {
                let existing = one(connection, ZONE, spec.id.as_str(), self::zone).await?;
                save_zone(connection, Zone::put(existing.as_ref(), spec, now)?).await
            })
        })
        .await
    }

    async fn patch_zone(&self, zone: &ZoneId, patch: ZonePatch, now: Timestamp) -> Result<Zone> {
        self.signal((zone.clone(), patch, now), |connection, (zone, patch, now)| {
            Box::pin(async move {
                let zone = zone_of(connection, &zone).await?;
                save_zone(connection, Zone::put(Some(&zone), patch.applied(&zone.spec), now)?).await
            })
        })
        .await
    }

    async fn remove_zone(&self, zone: &ZoneId) -> Result<bool> {
        self.signal(zone.clone(), |connection, zone| {
            Box::pin(async move {
                let sql = "SELECT count(*) AS sessions FROM sessions WHERE zone = ? AND open = 1";
                let row = sqlx::query(sql).bind(zone.as_str()).fetch_one(&mut *connection).await;
                let sessions = count(&row.or_store_error()?, "sessions")?;
                if sessions > 0 {
                    return Err(SignalingError::ZoneInUse { zone, sessions }.into());
                }
                let sql = "DELETE FROM zones WHERE id = ?";
                let done = sqlx::query(sql).bind(zone.as_str()).execute(connection).await;
                Ok(done.or_store_error()?.rows_affected() > 0)
            })
        })
        .await
    }

    async fn zone(&self, zone: &ZoneId) -> Result<Option<Zone>> {
        let mut reader = self.readers.acquire().await.or_store_error()?;
        one(&mut reader, ZONE, zone.as_str(), self::zone).await
    }

    async fn zones(&self, filter: &ZoneFilter, after: u64, limit: usize) -> Result<Vec<Zone>> {
        let limit = page_limit(limit)?;
        let (mut after, mut found) = (integer(after), Vec::new());
        loop {
            let rows = sqlx::query(
                "SELECT number, served, record FROM zones WHERE number > ? ORDER BY number LIMIT +?",
            )
            .bind(after)
            .bind(integer(limit))
            .fetch_all(&self.readers)
            .await
            .or_store_error()?;
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
        self.signal((new, host, now), |connection, (new, host, now)| {
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
        self.signal((session.clone(), change, now), |connection, (session, change, now)| {
            Box::pin(async move { self::change(connection, &session, &change, now).await })
        })
        .await
    }

    async fn session(&self, session: &SessionId) -> Result<Option<Session>> {
        let mut reader = self.readers.acquire().await.or_store_error()?;
        one(&mut reader, SESSION, session.as_str(), self::session).await
    }

    async fn session_number(&self, number: u64) -> Result<Option<Session>> {
        let row = sqlx::query("SELECT number, record FROM sessions WHERE number = ?")
            .bind(integer(number))
            .fetch_optional(&self.readers)
            .await
            .or_store_error()?;
        row.as_ref().map(session).transpose()
    }

    async fn sessions(
        &self,
        filter: &SessionFilter,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Session>> {
        let rows = sqlx::query(
            "SELECT number, record FROM sessions WHERE number > ?1 AND (?2 IS NULL OR host = ?2)
             AND (?3 IS NULL OR zone = ?3) AND (?4 IS NULL OR status = ?4)
             AND (NOT ?5 OR open = 1) ORDER BY number LIMIT +?6",
        )
        .bind(integer(after))
        .bind(filter.host.as_ref().map(|host| host.as_str()))
        .bind(filter.zone.as_ref().map(|zone| zone.as_str()))
        .bind(filter.status.map(|status| status.name()))
        .bind(filter.open)
        .bind(integer(page_limit(limit)?))
        .fetch_all(&self.readers)
        .await
        .or_store_error()?;
        rows.iter().map(session).collect()
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
        self.signal(input, |connection, (session, peer, signal, policy, now)| {
            Box::pin(async move { put(connection, (&session, &peer), signal, &policy, now).await })
        })
        .await
    }

    async fn mail(
        &self,
        session: &SessionId,
        policy: SignalingPolicy,
        now: Timestamp,
    ) -> Result<Vec<Mail>> {
        let rows = sqlx::query("SELECT used_at, record FROM mail WHERE session = ? ORDER BY peer")
            .bind(session.as_str())
            .fetch_all(&self.readers)
            .await
            .or_store_error()?;
        let mail = rows.iter().map(mail).collect::<Result<Vec<_>>>()?;
        Ok(mail.into_iter().filter(|mail| !mail.is_stale(&policy, now)).collect())
    }

    async fn touch_mail(
        &self,
        session: &SessionId,
        policy: SignalingPolicy,
        now: Timestamp,
    ) -> Result<()> {
        self.signal((session.clone(), policy, now), |connection, (session, policy, now)| {
            Box::pin(async move {
                let sql = "UPDATE mail SET used_at = ?1
                           WHERE session = ?2 AND used_at > ?3 AND used_at < ?1";
                sqlx::query(sql)
                    .bind(now.as_micros())
                    .bind(session.as_str())
                    .bind(now.saturating_sub(policy.mail_expires).as_micros())
                    .execute(connection)
                    .await
                    .or_store_error()?;
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
        let rows = sqlx::query(
            "SELECT id, 0 AS mail FROM sessions WHERE open = 1 AND active_at <= ?1
             UNION ALL SELECT '', 1 FROM mail WHERE used_at <= ?2 LIMIT +?3",
        )
        .bind(now.saturating_sub(policy.idle_after).as_micros())
        .bind(now.saturating_sub(policy.mail_expires).as_micros())
        .bind(integer(limit))
        .fetch_all(&self.readers)
        .await
        .or_store_error()?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let idle = rows.iter().filter(|row| get::<i64>(row, "mail").is_ok_and(|mail| mail == 0));
        let idle: Vec<SessionId> =
            idle.map(|row| super::rows::parsed(row, "id")).collect::<Result<_>>()?;
        self.signal((idle, policy, now, limit), |connection, (idle, policy, now, limit)| {
            Box::pin(async move { expire(connection, idle, &policy, now, limit).await })
        })
        .await
    }
}

async fn expire(
    connection: &mut SqliteConnection,
    idle: Vec<SessionId>,
    policy: &SignalingPolicy,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Session>> {
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
         (SELECT session, peer FROM mail WHERE used_at <= ? LIMIT +?)",
    )
    .bind(now.saturating_sub(policy.mail_expires).as_micros())
    .bind(integer(limit))
    .execute(connection)
    .await
    .or_store_error()?;
    Ok(ended)
}
