//! A task as the search wants to know it: once for a decision, not once for a node.

use super::Cluster;
use super::node::Kept;
use super::weigh::{Query, share_bit};
use crate::scheduler::policy::{Standard, Wish};

impl Cluster {
    pub(super) fn query(&mut self, wish: &Wish<'_>) -> Query {
        let needs = wish.needs;
        let whole = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
        let milli = if needs.gpus.count == 0 { 0 } else { needs.gpus.milli };
        let mut query = Query {
            cpu: needs.cpu_milli.into(),
            memory: whole(needs.memory_mib),
            storage: whole(needs.storage_mib),
            count: needs.gpus.count,
            milli: i16::try_from(milli).unwrap_or(i16::MAX),
            waste: [0.0; 32],
            heavy: (0.0, 0.0),
            profiles: u64::MAX,
            shares: [0.0; 2],
            scale: self.scale_for(wish.kind),
        };
        let share = |amount: i64, most: i64| amount as f64 / most.max(1) as f64;
        query.shares = [share(query.cpu, self.most[0]), share(query.total(), self.most[2])];
        let taken = self.outlooks.iter().map(|(_, outlook)| {
            let lasts =
                |amount: i64, each: f64| if each > 0.0 { amount as f64 / each } else { 0.0 };
            let cpu = lasts(query.cpu, outlook.cpu_per_milli);
            let memory = lasts(query.memory, outlook.mib_per_milli);
            let gpus = query.total() as f64;
            (cpu.min(memory) - gpus, cpu.max(memory) - gpus)
        });
        query.heavy = taken.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), (a, b)| {
            (low.min(a), high.max(b))
        });
        if query.count > 0 {
            query.waste = self.least_waste(&query);
        }
        query
    }

    fn least_waste(&mut self, query: &Query) -> [f32; 32] {
        if !query.is_shared() {
            let each = self.outlooks.iter().map(|(_, o)| o.waste(0) - o.waste(1_000));
            let least = each.fold(f64::INFINITY, f64::min) * f64::from(query.count);
            #[expect(clippy::cast_possible_truncation, reason = "half of the digits will do")]
            return [least as f32; 32];
        }
        let Self { scratch, outlooks, .. } = self;
        if scratch.waste.len() > 4_096 {
            scratch.waste.clear();
        }
        *scratch.waste.entry(query.milli).or_insert_with(|| {
            let mut least = [f32::INFINITY; 32];
            for (_, outlook) in outlooks.iter() {
                for free in query.milli..=1_000 {
                    let wasted = outlook.waste(free - query.milli) - outlook.waste(free);
                    let bit = share_bit(free) as usize;
                    #[expect(clippy::cast_possible_truncation, reason = "as above")]
                    let wasted = wasted as f32;
                    least[bit] = least[bit].min(wasted);
                }
            }
            least
        })
    }

    /// Which kinds of profiles will do, so that the others are passed over cell by cell.
    pub(super) fn suitable(&self, wish: &Wish<'_>) -> u64 {
        let needs = wish.needs;
        let special = wish.kind.is_some()
            || !needs.required.is_empty()
            || needs.region.is_some()
            || needs.bandwidth_mbps > 0
            || !needs.gpus.models.is_empty()
            || needs.gpus.memory_mib > 0;
        // Where nearly every node has its own, they would all have to be looked at.
        if !special || self.profiles.len() > 1_024 {
            return u64::MAX;
        }
        let suit = (0_u32..).zip(&self.profiles).filter(|(_, kept)| {
            suits(wish, kept)
                && (needs.gpus.count == 0 || admitted(wish, kept).count_ones() >= needs.gpus.count)
        });
        suit.fold(0, |kinds, (number, _)| kinds | 1 << (number % 64))
    }
}

/// Which of the profile's GPUs the wish takes.
pub(super) fn admitted(wish: &Wish<'_>, kept: &Kept) -> u64 {
    let admits = kept.gpus.iter().map(|gpu| wish.needs.gpus.admits(gpu));
    (0..)
        .zip(admits)
        .fold(0, |bits, (place, admits): (u32, bool)| bits | u64::from(admits) << place)
}

/// Whether what follows from the profile will do.
pub(super) fn suits(wish: &Wish<'_>, kept: &Kept) -> bool {
    let lasting = [Standard::Kind, Standard::Labels, Standard::Region, Standard::Bandwidth];
    Standard::first(&lasting, wish, &kept.seen()).is_none()
}
