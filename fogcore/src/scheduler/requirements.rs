//! What a task needs of a node.
//!
//! ```
//! use fogcore::scheduler::{GpuRequirement, Requirements, Selector};
//!
//! let needs = Requirements {
//!     cpu_milli: 1_500,
//!     gpus: GpuRequirement { count: 1, milli: 250, ..GpuRequirement::default() },
//!     required: vec![Selector::is("os", "linux")],
//!     ..Requirements::default()
//! };
//! needs.check()?;
//! # Ok::<(), fogcore::Error>(())
//! ```

use serde::{Deserialize, Serialize};

use super::Selector;
use crate::amount::Amount;
use crate::error::{Error, Result};
use crate::id::NodeId;
use crate::registry::{Gpu, Millis, Node, Percent, check_label, check_mib};

/// A whole GPU, in the unit in which GPUs are shared.
pub const WHOLE_GPU: u32 = 1_000;

/// What a node must have for a task. Zero, empty and none ask for nothing, and are not written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Requirements {
    /// CPU in thousandths of a core, for the task alone.
    #[serde(skip_serializing_if = "is_default")]
    pub cpu_milli: u32,
    /// Memory in MiB, for the task alone.
    #[serde(skip_serializing_if = "is_default")]
    pub memory_mib: u64,
    /// Storage in MiB, for the task alone.
    #[serde(skip_serializing_if = "is_default")]
    pub storage_mib: u64,
    /// Network bandwidth in Mbit/s that the node must have; tasks share it.
    #[serde(skip_serializing_if = "is_default")]
    pub bandwidth_mbps: u32,
    /// GPUs, or a part of one.
    #[serde(skip_serializing_if = "is_default")]
    pub gpus: GpuRequirement,
    /// What the node's labels must be like; at most 64.
    #[serde(skip_serializing_if = "is_default")]
    pub required: Vec<Selector>,
    /// What would be nice of its labels; at most 64.
    #[serde(skip_serializing_if = "is_default")]
    pub preferred: Vec<Preference>,
    /// The region that the node must stand in.
    #[serde(skip_serializing_if = "is_default")]
    pub region: Option<String>,
    /// The most latency that the node may have. One whose latency is not known will do.
    #[serde(skip_serializing_if = "is_default")]
    pub max_latency: Option<Millis>,
    /// The least quality, 0–100.
    #[serde(skip_serializing_if = "is_default")]
    pub min_quality: Option<Percent>,
    /// The least trust, 0–100 %.
    #[serde(skip_serializing_if = "is_default")]
    pub min_trust: Option<Percent>,
    /// The most that a task of one second that moves nothing may cost there, in base units.
    #[serde(skip_serializing_if = "is_default")]
    pub max_price: Option<Amount>,
    /// Where its data is; at most 64 places.
    #[serde(skip_serializing_if = "is_default")]
    pub near: Vec<Locality>,
    /// Which other tasks it must keep away from.
    #[serde(skip_serializing_if = "is_default")]
    pub apart: Option<Apart>,
    /// With which other tasks it starts, or not at all.
    #[serde(skip_serializing_if = "is_default")]
    pub gang: Option<Gang>,
    /// Whether it wants the node for itself.
    #[serde(skip_serializing_if = "is_default")]
    pub exclusive: bool,
    /// What it draws of the node's energy budget for tasks of its class.
    #[serde(skip_serializing_if = "is_default")]
    pub power: Option<PowerNeed>,
}

/// The power that a task draws, and for what: nodes may limit how much of their energy goes into
/// which class of tasks ([`Node::power_budget`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PowerNeed {
    /// The class's name, 1–64 characters: `inference`, `games`.
    pub class: String,
    /// How much it draws while it runs, in milliwatts, as far as whoever submits it knows; 1 to
    /// 10^9.
    pub milliwatts: u32,
}

/// What a task needs of a node's GPUs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuRequirement {
    /// How many.
    #[serde(skip_serializing_if = "is_default")]
    pub count: u32,
    /// How much of each, in thousandths, 1–1,000; less than a whole one only with `count` 1.
    /// Default 1,000.
    #[serde(skip_serializing_if = "is_whole")]
    pub milli: u32,
    /// Memory of each, in MiB.
    #[serde(skip_serializing_if = "is_default")]
    pub memory_mib: u64,
    /// Models that will do; empty for any. At most 64.
    #[serde(skip_serializing_if = "is_default")]
    pub models: Vec<String>,
}

impl Default for GpuRequirement {
    fn default() -> Self {
        Self { count: 0, milli: WHOLE_GPU, memory_mib: 0, models: Vec::new() }
    }
}

impl GpuRequirement {
    /// Whether this GPU would do, if it were free.
    #[must_use]
    pub fn admits(&self, gpu: &Gpu) -> bool {
        gpu.memory_mib >= self.memory_mib
            && (self.models.is_empty() || self.models.contains(&gpu.model))
    }

    /// All that it takes, in thousandths of a GPU.
    #[must_use]
    pub fn total_milli(&self) -> u64 {
        u64::from(self.count) * u64::from(self.milli)
    }
}

/// A selector that a node should meet, and how much that is worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preference {
    /// What its labels should be like.
    pub selector: Selector,
    /// How much it counts beside the other preferences of the task, above 0 and at most 1,000.
    pub weight: f64,
}

/// Some of the task's data, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locality {
    /// Where.
    pub at: Place,
    /// How much, in MiB: what would have to be moved if the task ran elsewhere.
    pub mib: u64,
}

/// Where data is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// On this node.
    Node(NodeId),
    /// Anywhere in this region.
    Region(String),
    /// On, or close to, nodes with such labels: a zone, a rack, a cache.
    Labels(Selector),
}

/// Tasks that must not fail together: no more than `most` of a group on nodes that share a value
/// of a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Apart {
    /// The group's name, 1–64 characters. All its tasks should say the same of it.
    pub group: String,
    /// The label that nodes are told apart by; each node by itself if there is none. Nodes
    /// without the label count as nodes by themselves.
    #[serde(default, skip_serializing_if = "is_default")]
    pub key: Option<String>,
    /// How many of the group may share, at least 1. Default 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub most: u32,
}

impl Apart {
    /// What the node may have in common with others, if it has the label: its key and value.
    #[must_use]
    pub fn shared_by<'n>(&self, node: &'n Node) -> Option<(&'n str, &'n str)> {
        let (key, value) = node.labels.get_key_value(self.key.as_ref()?)?;
        Some((key, value))
    }
}

/// Tasks that are of use only together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gang {
    /// The gang's name, 1–64 characters.
    pub id: String,
    /// How many tasks it has, 1–1,000.
    pub size: u32,
}

/// What is not set is not written, so a field that a later version adds leaves fingerprints and
/// classes of old submissions as they were.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it in so")]
const fn is_whole(milli: &u32) -> bool {
    *milli == WHOLE_GPU
}

const fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it in so")]
const fn is_one(most: &u32) -> bool {
    *most == 1
}

impl Requirements {
    /// Checks every limit.
    ///
    /// # Errors
    /// InvalidInput with the field's name.
    pub fn check(&self) -> Result<()> {
        at_most_64("requirements.required", self.required.len())?;
        at_most_64("requirements.preferred", self.preferred.len())?;
        at_most_64("requirements.near", self.near.len())?;
        for selector in &self.required {
            selector.check("requirements.required")?;
        }
        for preference in &self.preferred {
            preference.selector.check("requirements.preferred")?;
            if !(preference.weight > 0.0 && preference.weight <= 1_000.0) {
                let limit = "a weight is above 0 and at most 1000";
                return Err(Error::invalid("requirements.preferred", limit));
            }
        }
        check_mib("requirements.memory_mib", self.memory_mib)?;
        check_mib("requirements.storage_mib", self.storage_mib)?;
        for locality in &self.near {
            check_mib("requirements.near", locality.mib)?;
            if let Place::Labels(selector) = &locality.at {
                selector.check("requirements.near")?;
            }
        }
        self.gpus.check()?;
        if self.region.as_ref().is_some_and(|region| region.chars().count() > 64) {
            let limit = "at most 64 characters are allowed";
            return Err(Error::invalid("requirements.region", limit));
        }
        if let Some(apart) = &self.apart {
            name("requirements.apart", &apart.group)?;
            apart.key.as_ref().map_or(Ok(()), |key| check_label(key, ""))?;
            if apart.most == 0 {
                return Err(Error::invalid("requirements.apart", "at least 1 must be allowed"));
            }
        }
        if let Some(power) = &self.power {
            name("requirements.power", &power.class)?;
            if !(1..=1_000_000_000).contains(&power.milliwatts) {
                let limit = "a task draws between 1 mW and 1 MW";
                return Err(Error::invalid("requirements.power", limit));
            }
        }
        if let Some(gang) = &self.gang {
            name("requirements.gang", &gang.id)?;
            if !(1..=1_000).contains(&gang.size) {
                return Err(Error::invalid("requirements.gang", "a gang has 1–1000 tasks"));
            }
        }
        Ok(())
    }
}

impl GpuRequirement {
    fn check(&self) -> Result<()> {
        if self.models.len() > 64 || self.models.iter().any(|m| m.chars().count() > 64) {
            let limit = "at most 64 models of at most 64 characters are allowed";
            return Err(Error::invalid("requirements.gpus.models", limit));
        }
        if !(1..=WHOLE_GPU).contains(&self.milli) {
            let range = "a share of a GPU is 1–1000 thousandths";
            return Err(Error::invalid("requirements.gpus.milli", range));
        }
        if self.milli < WHOLE_GPU && self.count > 1 {
            let rule = "only one GPU can be shared; ask for whole ones";
            return Err(Error::invalid("requirements.gpus.milli", rule));
        }
        Ok(())
    }
}

fn at_most_64(field: &'static str, found: usize) -> Result<()> {
    if found > 64 {
        return Err(Error::invalid(field, format!("{found} entries, at most 64 are allowed")));
    }
    Ok(())
}

fn name(field: &'static str, name: &str) -> Result<()> {
    if !(1..=64).contains(&name.chars().count()) {
        return Err(Error::invalid(field, "a name has 1–64 characters"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_asked_is_not_written() {
        assert_eq!(serde_json::to_string(&Requirements::default()).unwrap(), "{}");
        let half = GpuRequirement { count: 1, milli: 500, ..GpuRequirement::default() };
        let needs = Requirements { gpus: half, ..Requirements::default() };
        let text = serde_json::to_string(&needs).unwrap();
        assert_eq!(text, r#"{"gpus":{"count":1,"milli":500}}"#);
        assert_eq!(serde_json::from_str::<Requirements>(&text).unwrap(), needs);
    }

    #[test]
    fn every_limit_names_its_field() {
        type Spoil = fn(&mut Requirements);
        let cases: [(&str, Spoil); 11] = [
            ("requirements.memory_mib", |n| n.memory_mib = 1 << 41),
            ("requirements.storage_mib", |n| n.storage_mib = 1 << 41),
            ("requirements.gpus.milli", |n| n.gpus.milli = 0),
            ("requirements.gpus.milli", |n| {
                n.gpus = GpuRequirement { count: 2, milli: 999, ..GpuRequirement::default() };
            }),
            ("requirements.gpus.models", |n| n.gpus.models = vec!["m".repeat(65)]),
            ("requirements.region", |n| n.region = Some("r".repeat(65))),
            ("requirements.apart", |n| {
                n.apart = Some(Apart { group: String::new(), key: None, most: 1 });
            }),
            ("requirements.power", |n| {
                n.power = Some(PowerNeed { class: "games".into(), milliwatts: 0 });
            }),
            ("requirements.power", |n| {
                n.power = Some(PowerNeed { class: String::new(), milliwatts: 1 });
            }),
            ("requirements.gang", |n| n.gang = Some(Gang { id: "g".into(), size: 0 })),
            ("requirements.preferred", |n| {
                let selector = Selector::is("k", "v");
                n.preferred = vec![Preference { selector, weight: f64::NAN }];
            }),
        ];
        for (field, spoil) in cases {
            let mut needs = Requirements::default();
            needs.check().unwrap();
            spoil(&mut needs);
            assert_eq!(needs.check().unwrap_err().field(), Some(field));
        }
    }
}
