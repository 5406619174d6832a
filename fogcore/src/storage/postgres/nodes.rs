//! Nodes in PostgreSQL: the record as JSON, with columns for what is filtered by most.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use sqlx::PgConnection;

use super::PostgresStore;
use super::error::Failure;
use super::rows::{integer, json, name, to_json};
use crate::error::Result;
use crate::id::NodeId;
use crate::registry::{
    Beat, Heartbeat, Node, NodeFilter, NodeRecord, NodeStore, PowerPolicy, page_limit,
};
use crate::time::Timestamp;

/// The nodes that a group of requests is about.
#[derive(Default)]
pub(super) struct Nodes {
    records: BTreeMap<NodeId, NodeRecord>,
    /// Those that have a row.
    stored: BTreeSet<NodeId>,
    changed: BTreeSet<NodeId>,
}

impl Nodes {
    /// Loads nodes and locks their rows, by id: so nobody can wait for us who has what we want.
    pub(super) async fn load(
        &mut self,
        connection: &mut PgConnection,
        wanted: &BTreeSet<NodeId>,
    ) -> Result<(), Failure> {
        let ids: Vec<_> = wanted.iter().map(NodeId::as_str).collect();
        let rows =
            sqlx::query("SELECT record FROM nodes WHERE id = ANY($1) ORDER BY id FOR UPDATE")
                .bind(ids)
                .fetch_all(connection)
                .await?;
        for row in rows {
            let record: NodeRecord = json(&row, "record")?;
            self.stored.insert(record.node.id.clone());
            self.records.insert(record.node.id.clone(), record);
        }
        Ok(())
    }

    /// Writes what changed.
    pub(super) async fn save(&mut self, connection: &mut PgConnection) -> Result<(), Failure> {
        let changed = std::mem::take(&mut self.changed);
        let (kept, removed): (Vec<_>, Vec<_>) =
            changed.into_iter().partition(|id| self.records.contains_key(id));
        let removed: Vec<_> = removed.iter().map(NodeId::as_str).collect();
        if !removed.is_empty() {
            sqlx::query("DELETE FROM nodes WHERE id = ANY($1)")
                .bind(removed)
                .execute(&mut *connection)
                .await?;
        }
        let kept = kept.iter().filter_map(|id| self.records.get(id));
        let (old, new): (Vec<_>, Vec<_>) =
            kept.partition(|record| self.stored.contains(&record.node.id));
        write(
            connection,
            "INSERT INTO nodes (id, kind, owner, region, record)
             SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])",
            &new,
        )
        .await?;
        write(
            connection,
            "UPDATE nodes SET kind = v.kind, owner = v.owner, region = v.region, record = v.record
             FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
                  AS v (id, kind, owner, region, record)
             WHERE nodes.id = v.id",
            &old,
        )
        .await
    }

    fn register(&mut self, node: Node, now: Timestamp) -> NodeRecord {
        let record = match self.records.get(&node.id) {
            Some(existing) => existing.registered_again(node, now),
            None => NodeRecord::new(node, now),
        };
        let id = record.node.id.clone();
        self.changed.insert(id.clone());
        self.records.insert(id, record.clone());
        record
    }

    fn beat(
        &mut self,
        node: &NodeId,
        heartbeat: Heartbeat,
        now: Timestamp,
        policy: &PowerPolicy,
    ) -> Result<Beat> {
        let record = self.records.get_mut(node).ok_or_else(|| crate::storage::no_node(node))?;
        if !record.beat(heartbeat, now, policy) {
            return Ok(Beat::Stale(record.clone()));
        }
        self.changed.insert(node.clone());
        Ok(Beat::Accepted(record.clone()))
    }

    fn remove(&mut self, node: &NodeId) -> bool {
        self.changed.insert(node.clone());
        self.records.remove(node).is_some()
    }
}

async fn write(
    connection: &mut PgConnection,
    sql: &'static str,
    records: &[&NodeRecord],
) -> Result<(), Failure> {
    if records.is_empty() {
        return Ok(());
    }
    let nodes = || records.iter().map(|record| &record.node);
    let ids: Vec<_> = nodes().map(|node| node.id.as_str()).collect();
    let kinds = nodes().map(|node| name(&node.kind)).collect::<Result<Vec<_>>>()?;
    let owners: Vec<_> =
        nodes().map(|node| node.owner.as_ref().map(|owner| owner.as_str())).collect();
    let regions: Vec<_> = nodes().map(|node| without_nul(&node.region)).collect();
    let records = records.iter().map(to_json).collect::<Result<Vec<_>>>()?;
    let query = sqlx::query(sql).bind(ids).bind(kinds).bind(owners).bind(regions).bind(records);
    query.execute(connection).await?;
    Ok(())
}

/// The one character that a text of PostgreSQL cannot hold. The record keeps it, and decides.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

#[async_trait]
impl NodeStore for PostgresStore {
    async fn register(&self, node: Node, now: Timestamp) -> Result<NodeRecord> {
        node.check()?;
        let id = node.id.clone();
        self.writer.decide(id, move |nodes: &mut Nodes| nodes.register(node.clone(), now)).await
    }

    async fn beat(
        &self,
        node: &NodeId,
        heartbeat: Heartbeat,
        now: Timestamp,
        policy: &PowerPolicy,
    ) -> Result<Beat> {
        let (id, policy) = (node.clone(), *policy);
        let beat = move |nodes: &mut Nodes| nodes.beat(&id, heartbeat.clone(), now, &policy);
        self.writer.decide(node.clone(), beat).await?
    }

    async fn node(&self, node: &NodeId) -> Result<Option<NodeRecord>> {
        let query = sqlx::query("SELECT record FROM nodes WHERE id = $1").bind(node.as_str());
        let row = self.readers.fetch_optional(query).await?;
        row.map(|row| json(&row, "record")).transpose()
    }

    async fn nodes(
        &self,
        filter: &NodeFilter,
        after: Option<&NodeId>,
        limit: usize,
    ) -> Result<Vec<NodeRecord>> {
        let limit = page_limit(limit)?;
        let mut after = after.map_or_else(String::new, |id| id.as_str().to_owned());
        let kind = filter.kind.as_ref().map(name).transpose()?;
        let region = filter.region.as_deref().map(without_nul);
        let mut found = Vec::new();
        // The database leaves out most of what is not wanted; `matches` decides on the rest.
        loop {
            let query = sqlx::query(
                "SELECT record FROM nodes WHERE id > $1 AND ($2::text IS NULL OR kind = $2)
                 AND ($3::text IS NULL OR owner = $3) AND ($4::text IS NULL OR region = $4)
                 ORDER BY id LIMIT $5",
            )
            .bind(&after)
            .bind(kind.as_deref())
            .bind(filter.owner.as_ref().map(|owner| owner.as_str()))
            .bind(region.as_deref())
            .bind(integer(limit));
            let rows = self.readers.fetch_all(query).await?;
            let last = rows.len() < limit;
            for row in rows {
                let record: NodeRecord = json(&row, "record")?;
                record.node.id.as_str().clone_into(&mut after);
                if found.len() < limit && filter.matches(&record) {
                    found.push(record);
                }
            }
            if last || found.len() == limit {
                return Ok(found);
            }
        }
    }

    async fn remove_node(&self, node: &NodeId) -> Result<bool> {
        let id = node.clone();
        self.writer.decide(node.clone(), move |nodes: &mut Nodes| nodes.remove(&id)).await
    }
}
