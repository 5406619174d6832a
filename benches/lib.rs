//! What the benchmarks share: a funded fog on a store, and the disk's own speed to compare with.
//!
//! ```
//! use fogcore_benches::StoreKind;
//! let (url, _folder) = StoreKind::Memory.url().unwrap();
//! assert_eq!(url, "memory:");
//! ```

use std::fs::File;
use std::io::{self, Write};

use fogcore::amount::{Amount, Asset};
use fogcore::error::Result;
use fogcore::id::{AccountId, TaskKind};
use fogcore::registry::{Node, Rates};
use fogcore::scheduler::TaskSpec;
use fogcore::{Fog, FogConfig};
use tempfile::TempDir;

/// A store to measure.
#[derive(Clone, Copy, Debug)]
pub enum StoreKind {
    /// In memory.
    Memory,
    /// SQLite on the disk of the temporary folder, every change durable.
    Sqlite,
}

impl StoreKind {
    /// A URL of a fresh store of this kind, and the folder that it lives in.
    ///
    /// # Errors
    /// If there is no room for a temporary folder.
    pub fn url(self) -> io::Result<(String, Option<TempDir>)> {
        match self {
            Self::Memory => Ok(("memory:".to_owned(), None)),
            Self::Sqlite => {
                let folder = TempDir::new()?;
                Ok((format!("sqlite:{}", folder.path().join("fog.db").display()), Some(folder)))
            }
        }
    }
}

/// The kind of task that the benchmarks submit.
///
/// # Errors
/// Never: the name is valid.
pub fn kind() -> Result<TaskKind> {
    Ok("noop".parse()?)
}

/// The account that pays for all tasks.
///
/// # Errors
/// Never: the name is valid.
pub fn payer() -> Result<AccountId> {
    Ok("payer".parse()?)
}

/// A fog on `url` with a payer who can pay for anything.
///
/// # Errors
/// What the store says.
pub async fn funded_fog(url: &str) -> Result<Fog> {
    // Room for all events of a round, because a round counts them.
    let config = FogConfig { event_capacity: 1 << 16, ..FogConfig::default() };
    let fog = Fog::builder().url(url).config(config).open().await?;
    fog.ledger().mint(&payer()?, Asset::FOG.parse("1e9")?).await?;
    Ok(fog)
}

/// A paid task: money moves with every step, as in real life.
///
/// # Errors
/// Never: the names are valid.
pub fn paid_task() -> Result<TaskSpec> {
    Ok(TaskSpec::new(kind()?).paid_by(payer()?, Asset::FOG.parse("0.001")?))
}

/// A node that is paid for each task.
///
/// # Errors
/// InvalidInput for a bad name.
pub fn paid_node(name: &str, slots: u32) -> Result<Node> {
    let rates = Rates { per_task: Amount::from_base_units(1_000), ..Rates::default() };
    let owner = Some(format!("owner-of-{name}").parse()?);
    Ok(Node { slots, owner, rates, ..Node::new(name.parse()?) })
}

/// Writes 4 KiB and waits until they are on the disk: what no durable commit can do without.
///
/// # Errors
/// What the disk says.
pub fn flush_once(file: &mut File) -> io::Result<()> {
    file.write_all(&[0x5a; 4_096])?;
    file.sync_data()
}
