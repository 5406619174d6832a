//! How loaded a node is, as it tells itself.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::failover::words::{quarter, whole};
use crate::registry::{Heartbeat, PowerPolicy, PowerState};

/// What a node tells of its load. What it does not know it leaves out, and then it counts as half
/// used: neither a reason to go there nor to stay away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Load {
    /// CPU in use, 0–1.
    pub cpu: Option<f64>,
    /// Memory in use, 0–1.
    pub memory: Option<f64>,
    /// Storage in use, 0–1.
    pub storage: Option<f64>,
    /// Bandwidth that is free, 0–1 of what it has.
    pub throughput: Option<f64>,
    /// Requests in flight, of all its clients.
    pub in_flight: Option<u32>,
    /// Battery, heat and user, where there is such a thing.
    pub power: Option<PowerState>,
}

impl From<&Heartbeat> for Load {
    fn from(beat: &Heartbeat) -> Self {
        let share = |percent: crate::registry::Percent| percent.get() / 100.0;
        Self {
            cpu: beat.cpu.map(share),
            memory: beat.memory.map(share),
            storage: beat.storage.map(share),
            throughput: beat.bandwidth.map(|used| 1.0 - share(used)),
            in_flight: Some(beat.connections),
            power: beat.power,
        }
    }
}

/// The number that stands for unknown.
const UNKNOWN: u16 = u16::MAX;
/// The number that stands for all of it.
const ALL: f64 = 65_534.0;

impl Load {
    /// Checks that every share is one.
    ///
    /// # Errors
    /// InvalidInput with the field's name.
    pub fn check(&self) -> Result<()> {
        let shares = [
            ("cpu", self.cpu),
            ("memory", self.memory),
            ("storage", self.storage),
            ("throughput", self.throughput),
        ];
        for (field, share) in shares {
            if share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
                return Err(Error::invalid(field, "must be between 0 and 1"));
            }
        }
        Ok(())
    }

    pub(super) fn packed(&self) -> u64 {
        let part = |share: Option<f64>| match share {
            Some(share) => whole(share.clamp(0.0, 1.0) * ALL),
            None => u64::from(UNKNOWN),
        };
        let [cpu, memory, storage, throughput] =
            [self.cpu, self.memory, self.storage, self.throughput].map(part);
        cpu << 48 | memory << 32 | storage << 16 | throughput
    }

    pub(super) fn headroom(&self, policy: &PowerPolicy) -> f64 {
        self.power.map_or(1.0, |power| headroom(&power, policy))
    }
}

/// What a node that reported nothing is packed as.
pub(super) const NOTHING_KNOWN: u64 = u64::MAX;

/// What a node uses, each 0–1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Used {
    pub(super) cpu: f32,
    pub(super) memory: f32,
    pub(super) storage: f32,
    pub(super) throughput: f32,
}

impl Used {
    #[inline]
    pub(super) fn unpacked(word: u64) -> Self {
        let part = |shift: u32| match quarter(word >> shift) {
            UNKNOWN => 0.5,
            part => f32::from(part) * (1.0 / 65_534.0),
        };
        Self { cpu: part(48), memory: part(32), storage: part(16), throughput: part(0) }
    }
}

/// A metered network or a user at the device leave it half of its share.
const HALF: f64 = 0.5;
/// What is left at least: if a device must not be used at all, its eligibility says so.
const LEAST: f64 = 1.0 / 64.0;

/// How much of its share a device should get, 1/64–1: less on battery (half of the charge, as in
/// placement: it is wanted for other things), less the nearer it comes to the heat at which it must
/// stop, half on a metered network, half while somebody uses it.
pub(super) fn headroom(power: &PowerState, policy: &PowerPolicy) -> f64 {
    let battery = match power.battery {
        Some(battery) if !power.charging => battery.get() / 200.0,
        _ => 1.0,
    };
    let span = (policy.stop_at - policy.start_below).max(f64::EPSILON);
    let heat = power
        .temperature
        .map_or(1.0, |heat| ((policy.stop_at - heat.get()) / span).clamp(0.0, 1.0));
    let metered = if power.metered { HALF } else { 1.0 };
    let used = if power.user_active { HALF } else { 1.0 };
    (battery * heat * metered * used).max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Celsius, Percent};

    #[test]
    fn what_is_told_comes_back_and_what_is_not_counts_as_half() {
        let load = Load { cpu: Some(0.25), throughput: Some(1.0), ..Load::default() };
        let used = Used::unpacked(load.packed());
        assert!((used.cpu - 0.25).abs() < 1e-4 && (used.throughput - 1.0).abs() < 1e-4);
        assert!((used.memory - 0.5).abs() < 1e-6);
        assert_eq!(Load::default().packed(), NOTHING_KNOWN);
    }

    #[test]
    fn a_share_that_is_none_is_refused_with_its_field() {
        for bad in [f64::NAN, -0.1, 1.1, f64::INFINITY] {
            let load = Load { storage: Some(bad), ..Load::default() };
            assert_eq!(load.check().unwrap_err().field(), Some("storage"));
        }
    }

    #[test]
    fn battery_heat_and_the_network_leave_less() {
        let policy = PowerPolicy::default();
        let plugged = PowerState { charging: true, ..PowerState::default() };
        let of = |power: PowerState| headroom(&power, &policy);
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} is not {b}");
        close(of(plugged), 1.0);
        let half_full = Some(Percent::new(50.0).unwrap());
        close(of(PowerState { battery: half_full, ..PowerState::default() }), 0.25);
        close(of(PowerState { battery: half_full, ..plugged }), 1.0);
        let warm = Some(Celsius::new(55.0).unwrap());
        close(of(PowerState { temperature: warm, ..plugged }), 0.5);
        close(of(PowerState { temperature: warm, metered: true, ..plugged }), 0.25);
        let hot = Some(Celsius::new(90.0).unwrap());
        close(of(PowerState { temperature: hot, ..plugged }), LEAST);
    }
}
