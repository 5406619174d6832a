//! Nodes in SQLite: the record as JSON, with columns for what is filtered by most.

use async_trait::async_trait;
use sqlx::SqliteConnection;

use super::SqliteStore;
use super::error::OrStoreError;
use super::rows::{json, name, to_json};
use crate::error::Result;
use crate::id::NodeId;
use crate::registry::{
    Beat, Heartbeat, Node, NodeFilter, NodeRecord, NodeStore, PowerPolicy, page_limit,
};
use crate::time::Timestamp;

async fn load(connection: &mut SqliteConnection, node: &NodeId) -> Result<Option<NodeRecord>> {
    let row = sqlx::query("SELECT record FROM nodes WHERE id = ?")
        .bind(node.as_str())
        .fetch_optional(connection)
        .await
        .or_store_error()?;
    row.map(|row| json(&row, "record")).transpose()
}

async fn save(connection: &mut SqliteConnection, record: &NodeRecord) -> Result<()> {
    let node = &record.node;
    sqlx::query(
        "INSERT INTO nodes (id, kind, owner, region, record) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, owner = excluded.owner,
         region = excluded.region, record = excluded.record",
    )
    .bind(node.id.as_str())
    .bind(name(&node.kind)?)
    .bind(node.owner.as_ref().map(|owner| owner.as_str()))
    .bind(node.region.as_str())
    .bind(to_json(record)?)
    .execute(connection)
    .await
    .or_store_error()?;
    Ok(())
}

#[async_trait]
impl NodeStore for SqliteStore {
    async fn register(&self, node: Node, now: Timestamp) -> Result<NodeRecord> {
        node.check()?;
        self.writer
            .run(move |connection| {
                let node = node.clone();
                Box::pin(async move {
                    let record = match load(connection, &node.id).await? {
                        Some(existing) => existing.registered_again(node, now),
                        None => NodeRecord::new(node, now),
                    };
                    save(connection, &record).await?;
                    Ok(record)
                })
            })
            .await
    }

    async fn beat(
        &self,
        node: &NodeId,
        heartbeat: Heartbeat,
        now: Timestamp,
        policy: &PowerPolicy,
    ) -> Result<Beat> {
        let (node, policy) = (node.clone(), *policy);
        self.writer
            .run(move |connection| {
                let (node, heartbeat) = (node.clone(), heartbeat.clone());
                Box::pin(async move {
                    let found = load(connection, &node).await?;
                    let mut record = found.ok_or_else(|| crate::storage::no_node(&node))?;
                    if !record.beat(heartbeat, now, &policy) {
                        return Ok(Beat::Stale(record));
                    }
                    save(connection, &record).await?;
                    Ok(Beat::Accepted(record))
                })
            })
            .await
    }

    async fn node(&self, node: &NodeId) -> Result<Option<NodeRecord>> {
        let mut connection = self.readers.acquire().await.or_store_error()?;
        load(&mut connection, node).await
    }

    async fn nodes(
        &self,
        filter: &NodeFilter,
        after: Option<&NodeId>,
        limit: usize,
    ) -> Result<Vec<NodeRecord>> {
        let limit = page_limit(limit)?;
        let mut connection = self.readers.acquire().await.or_store_error()?;
        let mut after = after.map_or_else(String::new, |id| id.as_str().to_owned());
        let kind = filter.kind.as_ref().map(name).transpose()?;
        let mut found = Vec::new();
        // The database leaves out most of what is not wanted; `matches` decides on the rest.
        while found.len() < limit {
            let rows = sqlx::query(
                "SELECT record FROM nodes WHERE id > ?1 AND (?2 IS NULL OR kind = ?2)
                 AND (?3 IS NULL OR owner = ?3) AND (?4 IS NULL OR region = ?4)
                 ORDER BY id LIMIT +?5",
            )
            .bind(&after)
            .bind(kind.as_deref())
            .bind(filter.owner.as_ref().map(|owner| owner.as_str()))
            .bind(filter.region.as_deref())
            .bind(super::rows::integer(limit))
            .fetch_all(&mut *connection)
            .await
            .or_store_error()?;
            let last = rows.len() < limit;
            for row in rows {
                let record: NodeRecord = json(&row, "record")?;
                record.node.id.as_str().clone_into(&mut after);
                if found.len() < limit && filter.matches(&record) {
                    found.push(record);
                }
            }
            if last {
                break;
            }
        }
        Ok(found)
    }

    async fn remove_node(&self, node: &NodeId) -> Result<bool> {
        let node = node.clone();
        self.writer
            .run(move |connection| {
                let node = node.clone();
                Box::pin(async move {
                    let done = sqlx::query("DELETE FROM nodes WHERE id = ?")
                        .bind(node.as_str())
                        .execute(connection)
                        .await
                        .or_store_error()?;
                    Ok(done.rows_affected() > 0)
                })
            })
            .await
    }
}
