//! What all processes of the main job must agree in: the store, the configuration, the names.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fogcore::id::{AccountId, TaskKind};
use fogcore::registry::{LivenessPolicy, PowerPolicy};
use fogcore::storage::Stores;
use fogcore::storage::sqlite::{SqliteOptions, SqliteStore};
use fogcore::{Fog, FogConfig, Result};

/// The kind of all tasks: digest a file.
pub(crate) fn kind() -> Result<TaskKind> {
    Ok("digest-file".parse()?)
}

/// Who pays.
pub(crate) fn customer() -> Result<AccountId> {
    Ok("customer".parse()?)
}

/// How a fog of this many worker processes behaves, in every one of them.
///
/// Up to eight are quick, because somebody watches. More take their time: they share one file and
/// two beats a second from each of 64 would keep its lock busy with nothing else.
pub(crate) fn config(nodes: u16) -> FogConfig {
    let pace = f64::from(nodes.max(8)) / 8.0;
    let time = |millis| Duration::from_millis(millis).mul_f64(pace);
    FogConfig {
        // A killed worker's tasks wait this long.
        lease: time(2_000),
        heartbeat_every: time(500),
        // Four beats missed: a machine that swaps must not make all nodes suspect at once.
        liveness: LivenessPolicy { suspect_after: time(2_000), offline_after: time(5_000) },
        maintain_every: time(100),
        idle_poll: time(15),
        progress_every: time(500),
        grace: Duration::from_secs(2),
        // The phone is not charging, and may work all the same: it is only a demonstration.
        power: PowerPolicy { require_charging: false, ..PowerPolicy::default() },
        ..FogConfig::default()
    }
}

/// A fog on the database at a path; unlike a URL, the path may be any bytes.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) fog: Fog,
    store: Arc<SqliteStore>,
}

impl Open {
    pub(crate) async fn at(database: &Path, nodes: u16) -> Result<Self> {
        let store = Arc::new(SqliteStore::open(database, SqliteOptions::default()).await?);
        let stores = Stores::from_one(store.clone());
        let fog = Fog::builder().stores(stores).config(config(nodes)).open().await?;
        Ok(Self { fog, store })
    }

    /// Stops the loops and closes the file, so that no journal is left beside it.
    pub(crate) async fn close(self) {
        self.fog.shutdown().await;
        self.store.close().await;
    }
}
