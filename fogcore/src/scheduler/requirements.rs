//! What a task needs of a node, and what a node's running tasks leave of it.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::registry::{Labels, Percent, Resources, check_label, check_mib};

/// What a node must have for a task. Zero, empty and none ask for nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Requirements {
    /// CPU cores, for the task alone.
    pub cpu_cores: u32,
    /// Memory in MiB, for the task alone.
    pub memory_mib: u64,
    /// Storage in MiB, for the task alone.
    pub storage_mib: u64,
    /// Network bandwidth in Mbit/s that the node must have; tasks share it.
    pub bandwidth_mbps: u32,
    /// GPUs, for the task alone.
    pub gpus: GpuRequirement,
    /// Labels that the node must have, with these values; at most 64.
    pub labels: Labels,
    /// The region that the node must stand in.
    pub region: Option<String>,
    /// The least quality, 0–100.
    pub min_quality: Option<Percent>,
}

/// What a task needs of a node's GPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuRequirement {
    /// How many.
    pub count: u32,
    /// Memory of each, in MiB.
    pub memory_mib: u64,
    /// Models that will do; empty for any. At most 64.
    pub models: Vec<String>,
}

impl Requirements {
    /// Checks every limit.
    ///
    /// # Errors
    /// InvalidInput with the field's name.
    pub fn check(&self) -> Result<()> {
        if self.labels.len() > 64 {
            return Err(Error::invalid("requirements.labels", "at most 64 labels are allowed"));
        }
        for (key, value) in &self.labels {
            check_label(key, value)?;
        }
        check_mib("requirements.memory_mib", self.memory_mib)?;
        check_mib("requirements.storage_mib", self.storage_mib)?;
        if self.gpus.models.len() > 64 || self.gpus.models.iter().any(|m| m.chars().count() > 64) {
            let limit = "at most 64 models of at most 64 characters are allowed";
            return Err(Error::invalid("requirements.gpus.models", limit));
        }
        if self.region.as_ref().is_some_and(|region| region.chars().count() > 64) {
            let limit = "at most 64 characters are allowed";
            return Err(Error::invalid("requirements.region", limit));
        }
        Ok(())
    }

    /// How many of the node's GPUs would do.
    #[must_use]
    pub fn fitting_gpus(&self, resources: &Resources) -> u32 {
        let wanted = &self.gpus;
        let fits = resources.gpus.iter().filter(|gpu| {
            gpu.memory_mib >= wanted.memory_mib
                && (wanted.models.is_empty() || wanted.models.contains(&gpu.model))
        });
        u32::try_from(fits.count()).unwrap_or(u32::MAX)
    }
}

/// What a node's leased tasks take of it, as their requirements say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Leased tasks.
    pub tasks: u32,
    /// Their CPU cores.
    pub cpu_cores: u32,
    /// Their memory, in MiB.
    pub memory_mib: u64,
    /// Their storage, in MiB.
    pub storage_mib: u64,
    /// Their GPUs.
    pub gpus: u32,
}

impl Load {
    /// This load with one more task.
    #[must_use]
    pub fn plus(self, task: &Requirements) -> Self {
        Self {
            tasks: self.tasks.saturating_add(1),
            cpu_cores: self.cpu_cores.saturating_add(task.cpu_cores),
            memory_mib: self.memory_mib.saturating_add(task.memory_mib),
            storage_mib: self.storage_mib.saturating_add(task.storage_mib),
            gpus: self.gpus.saturating_add(task.gpus.count),
        }
    }

    /// This load without `other`, which is part of it.
    #[must_use]
    pub fn minus(self, other: &Self) -> Self {
        Self {
            tasks: self.tasks.saturating_sub(other.tasks),
            cpu_cores: self.cpu_cores.saturating_sub(other.cpu_cores),
            memory_mib: self.memory_mib.saturating_sub(other.memory_mib),
            storage_mib: self.storage_mib.saturating_sub(other.storage_mib),
            gpus: self.gpus.saturating_sub(other.gpus),
        }
    }
}
