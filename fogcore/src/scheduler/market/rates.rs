//! What a node's open offers make of its rates.

use super::{Lane, MarketPolicy, Offer, Resource};
use crate::amount::Amount;
use crate::registry::Rates;
use crate::time::Timestamp;

/// What work on a node costs while some of it is on offer: an hour of CPU, memory or GPU costs what
/// the cheapest of the node's open offers says instead of what its rates say. With an offer for CPU
/// or GPU, the time that a slot was busy costs nothing: it is the same work.
///
/// `offers` are those of the node, each with the lane of its resource; those that are over, or have
/// nothing left, count for nothing.
#[must_use]
pub fn rates_of<'o>(
    own: &Rates,
    offers: impl IntoIterator<Item = (&'o Offer, &'o Lane)>,
    policy: &MarketPolicy,
    now: Timestamp,
) -> Rates {
    let [mut cpu, mut memory, mut gpu] = [None::<Amount>; 3];
    for (offer, lane) in offers {
        let cheapest = match offer.spec.resource {
            Resource::Cpu => &mut cpu,
            Resource::Memory => &mut memory,
            Resource::Gpu => &mut gpu,
            // Nobody meters these.
            Resource::Storage | Resource::Bandwidth => continue,
        };
        let is_open = offer.open() > 0 && offer.spec.expires_at > now;
        let depth = lane.depth_of(&offer.spec.region);
        if is_open && let Ok(price) = policy.price(&offer.spec, depth) {
            *cheapest = Some(cheapest.map_or(price, |other| other.min(price)));
        }
    }
    let is_work = cpu.is_some() || gpu.is_some();
    Rates {
        per_busy_second: if is_work { Amount::ZERO } else { own.per_busy_second },
        per_cpu_hour: cpu.unwrap_or(own.per_cpu_hour),
        per_memory_gib_hour: memory.unwrap_or(own.per_memory_gib_hour),
        per_gpu_hour: gpu.unwrap_or(own.per_gpu_hour),
        ..*own
    }
}
