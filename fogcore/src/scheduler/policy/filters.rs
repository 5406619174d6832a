//! The filters that every placement uses.

use super::{Filter, Seen, Wish};
use crate::registry::Liveness;
use crate::scheduler::Refusal;

/// The filters that are always there, cheap ones first. Those up to [`Standard::LASTING`] follow
/// from what the node is, the others from what runs on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standard {
    /// It can be counted on.
    Online,
    /// Its power state lets it work.
    Eligible,
    /// It executes such tasks.
    Kind,
    /// Its labels are as required.
    Labels,
    /// It stands in the right region.
    Region,
    /// It is near enough.
    Latency,
    /// It is good enough.
    Quality,
    /// It is trusted enough.
    Trust,
    /// It is cheap enough.
    Price,
    /// Its network is fast enough.
    Bandwidth,
    /// It has a slot.
    Slots,
    /// Nobody has it for himself, or wants to beside others.
    Exclusive,
    /// Not too many of the task's group are near.
    Apart,
    /// CPU, memory and storage are enough.
    Resources,
    /// Its GPUs are enough.
    Gpus,
    /// Its power budget for such tasks is enough.
    Power,
}

impl Standard {
    /// All of them, in the order in which they are asked.
    pub const ALL: [Self; 16] = [
        Self::Online,
        Self::Eligible,
        Self::Kind,
        Self::Labels,
        Self::Region,
        Self::Latency,
        Self::Quality,
        Self::Trust,
        Self::Price,
        Self::Bandwidth,
        Self::Slots,
        Self::Exclusive,
        Self::Apart,
        Self::Resources,
        Self::Gpus,
        Self::Power,
    ];

    /// How many of [`Standard::ALL`] do not depend on what runs on the node.
    pub const LASTING: usize = 10;

    /// The first reason against the node, if there is one.
    #[must_use]
    pub fn first(filters: &[Self], wish: &Wish<'_>, node: &Seen<'_>) -> Option<Refusal> {
        filters.iter().find_map(|filter| filter.refuse(wish, node))
    }
}

impl Filter for Standard {
    fn name(&self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Eligible => "eligible",
            Self::Kind => "kind",
            Self::Labels => "labels",
            Self::Region => "region",
            Self::Latency => "latency",
            Self::Quality => "quality",
            Self::Trust => "trust",
            Self::Price => "price",
            Self::Bandwidth => "bandwidth",
            Self::Slots => "slots",
            Self::Exclusive => "exclusive",
            Self::Apart => "apart",
            Self::Resources => "resources",
            Self::Gpus => "gpus",
            Self::Power => "power",
        }
    }

    fn refuse(&self, wish: &Wish<'_>, node: &Seen<'_>) -> Option<Refusal> {
        let (needs, vitals, room) = (wish.needs, &node.vitals, &node.room);
        match self {
            Self::Online => (vitals.liveness != Liveness::Online)
                .then_some(Refusal::NotOnline { liveness: vitals.liveness }),
            Self::Eligible => vitals.eligibility.err().map(|reason| Refusal::Ineligible { reason }),
            Self::Kind => wish
                .kind
                .is_some_and(|kind| !node.serves.contains(kind))
                .then_some(Refusal::KindNotServed),
            Self::Labels => {
                let missing = needs.required.iter().find(|wanted| !wanted.matches(node.labels))?;
                Some(Refusal::LabelMissing { key: missing.key().to_owned() })
            }
            Self::Region => {
                let elsewhere = needs.region.as_ref().is_some_and(|region| region != node.region);
                elsewhere.then(|| Refusal::WrongRegion { region: node.region.to_owned() })
            }
            Self::Latency => {
                let found = vitals.latency_ms?;
                let too_far = needs.max_latency.is_some_and(|most| found > most.get());
                too_far.then_some(Refusal::TooFar { latency_ms: found })
            }
            Self::Quality => {
                let quality = vitals.quality;
                let bad = needs.min_quality.is_some_and(|least| quality < least.get());
                bad.then_some(Refusal::QualityTooLow { quality })
            }
            Self::Trust => {
                let trust = vitals.trust;
                let bad = needs.min_trust.is_some_and(|least| trust * 100.0 < least.get());
                bad.then_some(Refusal::TrustTooLow { trust })
            }
            Self::Price => {
                let most = needs.max_price?;
                let dear = vitals.price.is_none_or(|price| price > most);
                dear.then_some(Refusal::TooDear { price: vitals.price })
            }
            Self::Bandwidth => too_little(
                "bandwidth_mbps",
                needs.bandwidth_mbps.into(),
                node.bandwidth_mbps.into(),
            ),
            Self::Slots => {
                (room.tasks >= node.slots).then_some(Refusal::NoFreeSlot { slots: node.slots })
            }
            Self::Exclusive => {
                let taken = room.exclusive > 0 || (needs.exclusive && room.tasks > 0);
                taken.then_some(Refusal::NotAlone { tasks: room.tasks })
            }
            Self::Apart => {
                let apart = needs.apart.as_ref()?;
                (room.alike >= apart.most).then(|| Refusal::TooManyAlike {
                    group: apart.group.clone(),
                    found: room.alike,
                })
            }
            Self::Resources => too_little("cpu_milli", needs.cpu_milli.into(), room.cpu_milli)
                .or_else(|| too_little("memory_mib", needs.memory_mib, room.memory_mib))
                .or_else(|| too_little("storage_mib", needs.storage_mib, room.storage_mib)),
            Self::Gpus => {
                if needs.gpus.count == 0 {
                    return None;
                }
                let fitting = room.fitting_gpus(wish, node.gpus);
                too_little("gpus", needs.gpus.count.into(), fitting.into())
            }
            Self::Power => {
                let (power, left) = needs.power.as_ref().zip(room.power_mw)?;
                too_little("power_mw", power.milliwatts.into(), left)
            }
        }
    }
}

fn too_little(resource: &str, needed: u64, free: i64) -> Option<Refusal> {
    let free = u64::try_from(free).unwrap_or(0);
    // Who needs nothing does not mind that somebody took too much.
    let resource = || resource.to_owned();
    (needed > free).then(|| Refusal::TooLittle { resource: resource(), needed, free })
}
