//! May this device work now? A phone that its owner uses, that runs hot or that is on its last
//! fifth of battery is left alone.
//!
//! The state of a device flutters (a charger that wiggles, a temperature at the limit), so the
//! way back is longer than the way out: after a refusal the good state must last, and after an
//! overheat the device cools down first.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::heartbeat::PowerState;
use crate::time::Timestamp;

/// Why a device may not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ineligible {
    /// It is not charging.
    Idle,
    /// It is charging but its battery is still low.
    ChargingLow,
    /// It is too warm to begin work.
    ThermalThrottle,
    /// It was so hot that it has to cool down first.
    CoolingDown,
    /// Its network is paid by volume.
    NetworkMetered,
    /// Somebody uses it.
    UserActive,
    /// Its state is good again, but not for long enough yet.
    Settling,
}

impl fmt::Display for Ineligible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::ChargingLow => "charging_low",
            Self::ThermalThrottle => "thermal_throttle",
            Self::CoolingDown => "cooling_down",
            Self::NetworkMetered => "network_metered",
            Self::UserActive => "user_active",
            Self::Settling => "settling",
        })
    }
}

/// Whether a device may take work.
pub type Eligibility = Result<(), Ineligible>;

/// The limits, as in the fog document's harvest rules.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PowerPolicy {
    /// Whether a device with a battery must be charging. Default true.
    pub require_charging: bool,
    /// The least charge, in per cent. Default 20.
    pub min_battery: f64,
    /// The warmest at which work begins, in °C. Default 45.
    pub start_below: f64,
    /// The heat from which on what runs should do less, in °C. Default 55.
    pub throttle_at: f64,
    /// The heat that makes a device cool down, in °C. Default 65.
    pub stop_at: f64,
    /// How long it cools down after the last such heat. Default 30 min.
    pub cool_down: Duration,
    /// Whether a metered network is fine. Default false.
    pub allow_metered: bool,
    /// Whether work may go on while somebody uses the device. Default false.
    pub allow_user_active: bool,
    /// How long the good state must last after a refusal. Default 5 min.
    pub settle: Duration,
    /// How long what runs may go on when somebody begins to use the device, or it is as hot as
    /// [`stop_at`](Self::stop_at). Default 5 s: enough to save what was done.
    pub stop_within: Duration,
}

impl Default for PowerPolicy {
    fn default() -> Self {
        Self {
            require_charging: true,
            min_battery: 20.0,
            start_below: 45.0,
            throttle_at: 55.0,
            stop_at: 65.0,
            cool_down: Duration::from_secs(30 * 60),
            allow_metered: false,
            allow_user_active: false,
            settle: Duration::from_secs(5 * 60),
            stop_within: Duration::from_secs(5),
        }
    }
}

impl PowerPolicy {
    /// Whether what runs should do less, so that the device does not get so hot that it must stop.
    #[must_use]
    pub fn must_throttle(&self, power: &PowerState) -> bool {
        power.temperature.is_some_and(|heat| heat.get() >= self.throttle_at)
    }

    /// How far such heat, in °C, is from where work does less: 1 up to where it begins
    /// ([`start_below`](Self::start_below)), 0 from [`throttle_at`](Self::throttle_at) on.
    #[must_use]
    pub fn headroom(&self, degrees: f64) -> f64 {
        let span = (self.throttle_at - self.start_below).max(f64::MIN_POSITIVE);
        ((self.throttle_at - degrees) / span).clamp(0.0, 1.0)
    }

    /// Whether what runs may go on: not while somebody uses the device, and not in great heat. What
    /// only forbids to begin (an empty battery, a metered network) does not end what was begun.
    ///
    /// # Errors
    /// Why not.
    pub fn must_stop(&self, power: &PowerState) -> Eligibility {
        if power.temperature.is_some_and(|heat| heat.get() >= self.stop_at) {
            return Err(Ineligible::CoolingDown);
        }
        if power.user_active && !self.allow_user_active {
            return Err(Ineligible::UserActive);
        }
        Ok(())
    }

    /// What `power` alone says, in the document's order; hysteresis comes on top.
    ///
    /// # Errors
    /// The first rule that refuses.
    pub fn judge(&self, power: &PowerState) -> Eligibility {
        let charging = power.charging || power.battery.is_none();
        if self.require_charging && !charging {
            return Err(Ineligible::Idle);
        }
        if power.battery.is_some_and(|battery| battery.get() < self.min_battery) {
            return Err(Ineligible::ChargingLow);
        }
        if power.temperature.is_some_and(|heat| heat.get() > self.start_below) {
            return Err(Ineligible::ThermalThrottle);
        }
        if power.metered && !self.allow_metered {
            return Err(Ineligible::NetworkMetered);
        }
        if power.user_active && !self.allow_user_active {
            return Err(Ineligible::UserActive);
        }
        Ok(())
    }
}

/// What hysteresis must remember of the beats before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PowerHistory {
    /// The latest refusal's reason, until the good state has lasted.
    refused: Option<Ineligible>,
    /// Since when the state is good, after a refusal.
    good_since: Option<Timestamp>,
    /// When the device was last too hot.
    overheated_at: Option<Timestamp>,
}

impl PowerHistory {
    /// Takes in the state told by a beat at `now`.
    pub fn observe(&mut self, power: &PowerState, now: Timestamp, policy: &PowerPolicy) {
        if power.temperature.is_some_and(|heat| heat.get() >= policy.stop_at) {
            self.overheated_at = Some(now);
        }
        match policy.judge(power) {
            Err(reason) => {
                self.refused = Some(reason);
                self.good_since = None;
            }
            // A first good beat needs no probation: there was nothing to recover from.
            Ok(()) if self.refused.is_some() => {
                let since = *self.good_since.get_or_insert(now);
                if now.since(since) >= policy.settle && !self.cooling(now, policy) {
                    self.refused = None;
                    self.good_since = None;
                }
            }
            Ok(()) => {}
        }
    }

    /// Whether the device may take work at `now`, by what was observed. Only a beat can make a
    /// device eligible: silence is no proof that it stayed cool.
    ///
    /// # Errors
    /// Why not.
    pub fn eligibility(&self, now: Timestamp, policy: &PowerPolicy) -> Eligibility {
        match (self.refused, self.good_since) {
            (None, _) => Ok(()),
            (Some(_), _) if self.cooling(now, policy) => Err(Ineligible::CoolingDown),
            (Some(reason), None) => Err(reason),
            (Some(_), Some(_)) => Err(Ineligible::Settling),
        }
    }

    fn cooling(&self, now: Timestamp, policy: &PowerPolicy) -> bool {
        self.overheated_at.is_some_and(|at| now.since(at) < policy.cool_down)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Celsius, Percent};

    fn charging(battery: f64) -> PowerState {
        let battery = Some(Percent::new(battery).unwrap());
        PowerState { battery, charging: true, ..PowerState::default() }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::UNIX_EPOCH.saturating_add(Duration::from_secs(seconds))
    }

    #[test]
    fn the_first_rule_that_refuses_is_named() {
        let policy = PowerPolicy::default();
        let warm = Some(Celsius::new(45.1).unwrap());
        let cases = [
            (PowerState { charging: false, ..charging(10.0) }, Err(Ineligible::Idle)),
            (PowerState { temperature: warm, ..charging(19.9) }, Err(Ineligible::ChargingLow)),
            (
                PowerState { temperature: warm, metered: true, ..charging(20.0) },
                Err(Ineligible::ThermalThrottle),
            ),
            (
                PowerState { metered: true, user_active: true, ..charging(20.0) },
                Err(Ineligible::NetworkMetered),
            ),
            (PowerState { user_active: true, ..charging(20.0) }, Err(Ineligible::UserActive)),
            (charging(20.0), Ok(())),
            (PowerState::default(), Ok(())),
        ];
        for (power, expected) in cases {
            assert_eq!(policy.judge(&power), expected, "{power:?}");
        }
    }

    #[test]
    fn only_its_user_and_great_heat_end_what_runs() {
        let policy = PowerPolicy::default();
        let hot = |heat| PowerState { temperature: Celsius::new(heat).ok(), ..charging(50.0) };
        assert_eq!(policy.must_stop(&PowerState { charging: false, ..charging(1.0) }), Ok(()));
        assert_eq!(policy.must_stop(&hot(64.9)), Ok(()));
        assert!(!policy.must_throttle(&hot(54.9)) && policy.must_throttle(&hot(55.0)));
        assert_eq!(policy.must_stop(&hot(65.0)), Err(Ineligible::CoolingDown));
        let used = PowerState { user_active: true, ..charging(50.0) };
        assert_eq!(policy.must_stop(&used), Err(Ineligible::UserActive));
        let shared = PowerPolicy { allow_user_active: true, ..policy };
        assert_eq!(shared.must_stop(&used), Ok(()));
    }

    #[test]
    fn a_device_resumes_only_after_five_good_minutes() {
        let policy = PowerPolicy::default();
        let mut history = PowerHistory::default();
        history.observe(&charging(50.0), at(0), &policy);
        assert_eq!(history.eligibility(at(0), &policy), Ok(()));
        history.observe(&charging(19.0), at(10), &policy);
        assert_eq!(history.eligibility(at(10), &policy), Err(Ineligible::ChargingLow));
        history.observe(&charging(21.0), at(20), &policy);
        history.observe(&charging(21.0), at(319), &policy);
        assert_eq!(history.eligibility(at(319), &policy), Err(Ineligible::Settling));
        history.observe(&charging(21.0), at(320), &policy);
        assert_eq!(history.eligibility(at(320), &policy), Ok(()));
    }

    #[test]
    fn a_relapse_starts_the_five_minutes_anew() {
        let policy = PowerPolicy::default();
        let mut history = PowerHistory::default();
        for (seconds, battery) in [(0, 10.0), (10, 30.0), (200, 10.0), (210, 30.0), (400, 30.0)] {
            history.observe(&charging(battery), at(seconds), &policy);
        }
        assert_eq!(history.eligibility(at(400), &policy), Err(Ineligible::Settling));
    }

    #[test]
    fn an_overheated_device_cools_down_for_half_an_hour() {
        let policy = PowerPolicy::default();
        let mut history = PowerHistory::default();
        let hot = PowerState { temperature: Some(Celsius::new(65.0).unwrap()), ..charging(90.0) };
        history.observe(&hot, at(0), &policy);
        history.observe(&charging(90.0), at(60), &policy);
        history.observe(&charging(90.0), at(1_799), &policy);
        assert_eq!(history.eligibility(at(1_799), &policy), Err(Ineligible::CoolingDown));
        history.observe(&charging(90.0), at(1_800), &policy);
        assert_eq!(history.eligibility(at(1_800), &policy), Ok(()));
    }
}
