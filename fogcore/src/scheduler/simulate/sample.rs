//! A made-up trace, for trying things out. It stands for nobody's machines.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

use super::{Trace, TraceTask};
use crate::id::NodeId;
use crate::registry::{Gpu, Node, Resources};
use crate::scheduler::{GpuRequirement, Requirements};

/// Cores, GiB, GPUs, and how many of a hundred nodes are so: made up.
const NODES: [(u32, u64, usize, u32); 5] =
    [(8, 16, 0, 20), (16, 64, 1, 25), (32, 128, 2, 25), (64, 256, 4, 15), (96, 384, 8, 15)];

/// Thousandths of a core, MiB, GPUs, thousandths of each, and how many of a hundred tasks are so:
/// made up.
const TASKS: [(u32, u64, u32, u32, u32); 8] = [
    (4_000, 8_192, 0, 0, 15),
    (12_000, 49_152, 0, 0, 5),
    (4_000, 8_192, 1, 250, 15),
    (6_000, 16_384, 1, 400, 15),
    (8_000, 24_576, 1, 600, 10),
    (10_000, 32_768, 1, 1_000, 30),
    (20_000, 65_536, 2, 1_000, 7),
    (64_000, 262_144, 8, 1_000, 3),
];

impl Trace {
    /// A made-up trace of so many nodes and tasks; marked as such.
    #[must_use]
    pub fn sample(nodes: u32, tasks: u32, seed: u64) -> Self {
        let mut dice = Pcg32::seed_from_u64(seed);
        let mut one_of = |weights: &[u32]| {
            let mut left = dice.random_range(0..weights.iter().sum::<u32>());
            weights.iter().position(|weight| {
                let here = left < *weight;
                left = left.saturating_sub(*weight);
                here
            })
        };
        let kinds: Vec<_> = NODES.iter().map(|row| row.3).collect();
        let node = |number: u32, kind: usize| {
            let (cpu_cores, gib, gpus, _) = NODES[kind];
            let gpu = || Gpu { model: "made-up".to_owned(), memory_mib: 16_384 };
            let resources = Resources {
                cpu_cores,
                memory_mib: gib * 1_024,
                gpus: (0..gpus).map(|_| gpu()).collect(),
                ..Resources::default()
            };
            let id = NodeId::try_from(format!("made-up-{number:04}")).ok()?;
            Some(Node { resources, slots: 1_024, ..Node::new(id) })
        };
        let nodes =
            (0..nodes).filter_map(|number| node(number, one_of(&kinds).unwrap_or(0))).collect();
        let kinds: Vec<_> = TASKS.iter().map(|row| row.4).collect();
        let task = |number: u32, kind: usize| {
            let (cpu_milli, memory_mib, count, milli, _) = TASKS[kind];
            let gpus = GpuRequirement { count, milli, ..GpuRequirement::default() };
            let gpus = if count == 0 { GpuRequirement::default() } else { gpus };
            TraceTask {
                name: format!("made-up-{number:05}"),
                payer: format!("payer-{}", number % 5),
                arrives: Duration::from_secs(u64::from(number) * 7),
                runs: Duration::from_secs(600 + u64::from(number * 7_919 % 3_600)),
                requirements: Requirements { cpu_milli, memory_mib, gpus, ..Default::default() },
            }
        };
        let tasks = (0..tasks).map(|number| task(number, one_of(&kinds).unwrap_or(0))).collect();
        Self { nodes, tasks, synthetic: true }
    }
}
