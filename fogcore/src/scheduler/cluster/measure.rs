//! Where in the index a node stands, and what the index knows of it.

use super::Cluster;
use super::bounds::Entry;
use super::node::Member;
use super::weigh::share_bit;
use crate::scheduler::policy::Policy;

/// What is free of one resource, as a part of the largest node's, is counted in this.
const PARTS: i64 = 1 << 20;

/// How much is free, as one number: the sum of the shares of the largest node's. Memory counts little
/// where there are GPUs.
pub(super) fn tightness(free: [i64; 3], most: [i64; 3]) -> u32 {
    let [cpu, memory, gpus] = [0, 1, 2].map(|which| {
        let free = free[which].clamp(0, most[which]);
        // 2^20 times an amount of at most 2^43.
        let parts = i128::from(free) * i128::from(PARTS) / i128::from(most[which].max(1));
        i64::try_from(parts).unwrap_or(PARTS)
    });
    // Without GPUs, the largest node has less than one.
    let memory = if most[2] > 1 { memory / 64 } else { memory };
    u32::try_from(cpu + memory + gpus).unwrap_or(u32::MAX)
}

impl Cluster {
    pub(super) fn entry(&self, node: u32, m: &Member) -> Entry {
        let short = |amount: i64| u32::try_from(amount.max(0)).unwrap_or(u32::MAX);
        let idle = m.idle();
        let outlook = self.outlook_of(m.profile);
        let slack = outlook.slack(m.free.cpu_milli, m.free.memory_mib, idle);
        Entry {
            node,
            profile: m.profile,
            cpu: short(m.free.cpu_milli),
            memory: short(m.free.memory_mib),
            tight: tightness([m.free.cpu_milli, m.free.memory_mib, idle], self.most),
            idle: short(idle),
            shares: m.gpu_milli.iter().fold(0, |bits, free| bits | 1 << share_bit(*free)),
            slack: narrow(slack),
            merit: m.merit,
            whole: u8::try_from(m.gpu_milli.iter().filter(|f| **f == 1_000).count()).unwrap_or(64),
        }
    }

    /// Puts the node where it belongs now, or takes it out if it is to have no new tasks.
    pub(super) fn settle(&mut self, node: u32) {
        let Some(Some(m)) = self.members.get(node as usize) else { return };
        if !m.draining && m.vitals.is_open() {
            self.index.set(self.entry(node, m));
        } else {
            self.index.remove(node);
        }
        if let Some(Some(m)) = self.members.get_mut(node as usize) {
            m.state = self.states;
            self.states = self.states.wrapping_add(1);
        }
        self.measure(node);
    }

    /// Puts all nodes where they belong, after what they are measured by has changed.
    pub(super) fn settle_all(&mut self) {
        self.index.clear();
        for node in 0..self.members.len() {
            self.settle(u32::try_from(node).unwrap_or(u32::MAX));
        }
    }

    /// Takes note of what is usual by now. Nodes move only if that makes a difference to where.
    pub(super) fn look_again(&mut self) {
        self.workload.looked();
        let mut moved = false;
        for (model, outlook) in &mut self.outlooks {
            let now = self.workload.outlook(model.as_deref());
            let differs = |a: f64, b: f64| (a - b).abs() > 0.05 * a.abs().max(b.abs());
            moved |= differs(now.cpu_per_milli, outlook.cpu_per_milli)
                || differs(now.mib_per_milli, outlook.mib_per_milli);
            *outlook = now;
        }
        self.scratch.forget();
        if matches!(self.policy, Policy::Fgd) && !moved {
            let members = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
            (0..members).for_each(|node| self.measure(node));
        }
        if moved {
            self.settle_all();
        }
    }
}

/// Half of the digits are enough for the index.
#[expect(clippy::cast_possible_truncation, reason = "that is what it is for")]
pub(super) const fn narrow(value: f64) -> f32 {
    value as f32
}
