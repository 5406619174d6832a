//! A node as placement sees it, and the weights that nodes are weighed with.

use std::collections::BTreeMap;
use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::explanation::Refusal;
use super::policy::{Experience, Merit, Pace, Room, Seen, Standard, Vitals, Wish};
use super::{Load, Neighbours, Requirements, TaskSpec, requirements::WHOLE_GPU};
use crate::id::TaskKind;
use crate::registry::{
    Eligibility, Liveness, LivenessPolicy, Metered, Node, NodeRecord, PowerPolicy,
};
use crate::time::Timestamp;

/// How nodes are weighed for a task.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlacementPolicy {
    /// Weight of the quality score. Default 0.25.
    pub quality: f64,
    /// Weight of free slots. Default 0.4: spreading work is what shortens waiting most.
    pub headroom: f64,
    /// Weight of mains power or battery. Default 0.25.
    pub energy: f64,
    /// Weight of a low price. Default 0.1.
    pub price: f64,
    /// Weight of speed, where nodes differ in it. Default 0.2.
    pub speed: f64,
    /// Weight of the chance that the node stays, where that is in doubt. Default 0.2.
    pub stay: f64,
    /// Weight of the task's data being there, if it has any. Default 0.3: what is not there has
    /// to be moved.
    pub locality: f64,
    /// Weight of what the task prefers, if it does. Default 0.2.
    pub preference: f64,
    /// A better score that is ahead by no more than this is not worth waiting for. Default 0.1.
    pub tolerance: f64,
    /// How long a task that could run waits for a better node to ask. Default 50 ms: some polls
    /// of an idle worker.
    pub patience: Duration,
}

impl Default for PlacementPolicy {
    fn default() -> Self {
        Self {
            quality: 0.25,
            headroom: 0.4,
            energy: 0.25,
            price: 0.1,
            speed: 0.2,
            stay: 0.2,
            locality: 0.3,
            preference: 0.2,
            tolerance: 0.1,
            patience: Duration::from_millis(50),
        }
    }
}

impl PlacementPolicy {
    pub(crate) const fn weights(&self) -> [(Merit, f64); 8] {
        [
            (Merit::Quality, self.quality),
            (Merit::Headroom, self.headroom),
            (Merit::Energy, self.energy),
            (Merit::Price, self.price),
            (Merit::Speed, self.speed),
            (Merit::Stay, self.stay),
            (Merit::Locality, self.locality),
            (Merit::Preference, self.preference),
        ]
    }
}

/// A node as placement sees it: its record, judged at one point in time.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The registration.
    pub node: Arc<Node>,
    /// Whether it can be counted on.
    pub liveness: Liveness,
    /// Whether its power state lets it work.
    pub eligibility: Eligibility,
    /// Its quality, 0–100.
    pub quality: f64,
    /// Mains power (1) or what is left of the battery (up to 0.5), and how far it is from being
    /// too hot, 0–1.
    pub energy: f64,
    /// How much its results are worth, 0–1; see [`Trust`](super::replicas::Trust).
    pub trust: f64,
    /// Round-trip time to it in ms, if it told.
    pub latency_ms: Option<f64>,
    /// How fast it works beside a usual node, over all kinds; 1 if nothing is known.
    pub speed: f64,
    /// How it does tasks of the kinds that it serves, as far as they were seen.
    pub paces: BTreeMap<TaskKind, Pace>,
    /// How long it usually stays, in seconds; infinite if it was never seen to leave.
    pub stays_seconds: f64,
}

/// A second of one core, which is the least that can be said of most tasks.
pub(super) const SECOND: Metered = Metered {
    busy_micros: 1_000_000,
    cpu_micros: 1_000_000,
    memory_mib_millis: 0,
    gpu_micros: 0,
    bytes: 0,
};

/// What a node has in all: who needs more can never have it there.
const WHOLE_NODE: [Standard; 3] = [Standard::Resources, Standard::Gpus, Standard::Power];

/// The clock rate of a core that counts as usual, in MHz, until more is known of a node.
const USUAL_MHZ: f64 = 2_500.0;

impl Candidate {
    /// The node of `record`, judged at `now`.
    #[must_use]
    pub fn judge(
        record: &NodeRecord,
        now: Timestamp,
        liveness: LivenessPolicy,
        power: &PowerPolicy,
    ) -> Self {
        let state = record.heartbeat.as_ref().and_then(|beat| beat.power);
        let energy = match state.and_then(|state| Some((state.charging, state.battery?))) {
            // A full battery is still worth less than a socket: it is wanted for other things.
            Some((false, battery)) => battery.get() / 200.0,
            Some((true, _)) | None => 1.0,
        };
        let heat = state.and_then(|state| state.temperature);
        let cool = heat.map_or(1.0, |heat| power.headroom(heat.get()));
        let mhz = f64::from(record.node.resources.cpu_mhz);
        Self {
            node: Arc::new(record.node.clone()),
            liveness: record.liveness(now, liveness),
            eligibility: record.eligibility(now, power),
            quality: record.quality(),
            energy: energy * cool,
            trust: 1.0,
            latency_ms: record.heartbeat.as_ref().and_then(|b| b.latency).map(|l| l.get()),
            speed: if mhz > 0.0 { mhz / USUAL_MHZ } else { 1.0 },
            paces: BTreeMap::new(),
            stays_seconds: f64::INFINITY,
        }
    }

    /// The same node with what was seen of it until `now`.
    #[must_use]
    pub fn with_experience(mut self, seen: &Experience, now: Timestamp) -> Self {
        let promised = self.vitals();
        self.paces = seen.paces(&self.node.serves, &self.node.id, promised.speed);
        let Vitals { speed, stays_seconds, .. } = seen.applied(&self.node.id, promised, now);
        Self { speed, stays_seconds, ..self }
    }

    pub(super) fn speed_for(&self, kind: &TaskKind) -> f64 {
        self.paces.get(kind).map_or(self.speed, |pace| pace.speed)
    }

    /// How it is, apart from what runs on it.
    #[must_use]
    pub fn vitals(&self) -> Vitals {
        Vitals {
            liveness: self.liveness,
            eligibility: self.eligibility,
            quality: self.quality,
            energy: self.energy,
            trust: self.trust,
            latency_ms: self.latency_ms,
            // What prices can be compared by before the work is known.
            price: self.node.rates.price(&SECOND).ok(),
            speed: self.speed,
            stays_seconds: self.stays_seconds,
        }
    }

    /// Why this node cannot run such tasks as long as it is what it is, whatever its load.
    #[must_use]
    pub fn never(&self, kind: &TaskKind, needs: &Requirements) -> Option<Refusal> {
        let wish = Wish { kind: Some(kind), needs };
        let lasting = &Standard::ALL[..Standard::LASTING];
        self.with_room(needs, &Load::default(), 0, |node| {
            Standard::first(lasting, &wish, node)
                .or_else(|| Standard::first(&WHOLE_NODE, &wish, node))
        })
    }

    /// Why this node cannot run such a task beside its `load` and its neighbours now.
    #[must_use]
    pub fn not_now(
        &self,
        needs: &Requirements,
        load: &Load,
        neighbours: &Neighbours,
    ) -> Option<Refusal> {
        self.not_beside(needs, load, self.alike(needs, load, neighbours))
    }

    pub(super) fn alike(&self, needs: &Requirements, load: &Load, near: &Neighbours) -> u32 {
        needs.apart.as_ref().map_or(0, |apart| near.alike(apart, &self.node, load))
    }

    pub(super) fn not_beside(
        &self,
        needs: &Requirements,
        load: &Load,
        alike: u32,
    ) -> Option<Refusal> {
        let wish = Wish { kind: None, needs };
        let passing = &Standard::ALL[Standard::LASTING..];
        self.with_room(needs, load, alike, |node| Standard::first(passing, &wish, node))
    }

    /// Whether this node can run such a task beside its `load` and its neighbours now.
    #[must_use]
    pub fn has_room_for(&self, spec: &TaskSpec, load: &Load, neighbours: &Neighbours) -> bool {
        self.never(&spec.kind, &spec.requirements).is_none()
            && self.not_now(&spec.requirements, load, neighbours).is_none()
    }

    /// The GPUs that the task would be given beside this `load`, by their places: the fullest
    /// that will do, so that others stay whole.
    #[must_use]
    pub fn devices_for(&self, needs: &Requirements, load: &Load) -> Vec<u32> {
        let gpus = self.node.resources.gpus.iter().enumerate();
        let mut fitting: Vec<_> = gpus
            .filter(|(place, gpu)| {
                needs.gpus.admits(gpu) && load.gpu(*place) + needs.gpus.milli <= WHOLE_GPU
            })
            .map(|(place, _)| (std::cmp::Reverse(load.gpu(place)), place))
            .collect();
        fitting.sort_unstable();
        let chosen = fitting.into_iter().take(needs.gpus.count as usize);
        chosen.filter_map(|(_, place)| u32::try_from(place).ok()).collect()
    }

    pub(super) fn with_room<R>(
        &self,
        needs: &Requirements,
        load: &Load,
        alike: u32,
        look: impl FnOnce(&Seen<'_>) -> R,
    ) -> R {
        let has = &self.node.resources;
        let mut gpus = [0_i16; 64];
        let gpus = &mut gpus[..has.gpus.len().min(64)];
        for (place, free) in gpus.iter_mut().enumerate() {
            let taken = i64::from(load.gpu(place));
            *free = i16::try_from(i64::from(WHOLE_GPU) - taken).unwrap_or(i16::MIN);
        }
        let left = |has: u64, taken: u64| {
            let whole = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
            whole(has) - whole(taken)
        };
        look(&Seen {
            id: &self.node.id,
            labels: &self.node.labels,
            region: &self.node.region,
            serves: &self.node.serves,
            slots: self.node.slots,
            gpus: &has.gpus,
            bandwidth_mbps: has.bandwidth_mbps,
            vitals: self.vitals(),
            room: Room {
                cpu_milli: left(u64::from(has.cpu_cores) * 1_000, load.cpu_milli),
                memory_mib: left(has.memory_mib, load.memory_mib),
                storage_mib: left(has.storage_mib, load.storage_mib),
                gpu_milli: gpus,
                tasks: load.tasks,
                exclusive: load.exclusive,
                alike,
                power_mw: needs.power.as_ref().and_then(|power| {
                    let budget = self.node.power_budget.get(&power.class)?;
                    let drawn = load.power_mw.get(&power.class).copied().unwrap_or_default();
                    Some(left(u64::from(*budget), drawn))
                }),
            },
        })
    }
}
