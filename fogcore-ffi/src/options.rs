//! How a fog behaves, as far as an app has a say in it; everything else is the core's default.

use fogcore::FogConfig;
use fogcore::amount::Asset;
use fogcore::registry::PowerPolicy;

use crate::values::Span;

/// When a device may work; what is left out is as by default.
#[derive(Clone, Debug, Default, PartialEq, uniffi::Record)]
pub struct PowerRules {
    /// Whether a device with a battery must be charging. Default true.
    #[uniffi(default)]
    pub require_charging: Option<bool>,
    /// The least charge, in per cent. Default 20.
    #[uniffi(default)]
    pub min_battery: Option<f64>,
    /// The warmest at which work begins, in °C. Default 45.
    #[uniffi(default)]
    pub start_below: Option<f64>,
    /// The heat from which on what runs should do less, in °C. Default 55.
    #[uniffi(default)]
    pub throttle_at: Option<f64>,
    /// The heat that makes a device cool down, in °C. Default 65.
    #[uniffi(default)]
    pub stop_at: Option<f64>,
    /// How long it cools down after the last such heat. Default 30 min.
    #[uniffi(default)]
    pub cool_down: Option<Span>,
    /// Whether a metered network is fine. Default false.
    #[uniffi(default)]
    pub allow_metered: Option<bool>,
    /// Whether work may go on while somebody uses the device. Default false.
    #[uniffi(default)]
    pub allow_user_active: Option<bool>,
    /// How long the good state must last after a refusal. Default 5 min.
    #[uniffi(default)]
    pub settle: Option<Span>,
    /// How long what runs may go on when somebody begins to use the device. Default 5 s.
    #[uniffi(default)]
    pub stop_within: Option<Span>,
}

impl From<PowerRules> for PowerPolicy {
    fn from(rules: PowerRules) -> Self {
        let usual = Self::default();
        let time = |span: Option<Span>, usual| span.map_or(usual, |span| span.0);
        Self {
            require_charging: rules.require_charging.unwrap_or(usual.require_charging),
            min_battery: rules.min_battery.unwrap_or(usual.min_battery),
            start_below: rules.start_below.unwrap_or(usual.start_below),
            throttle_at: rules.throttle_at.unwrap_or(usual.throttle_at),
            stop_at: rules.stop_at.unwrap_or(usual.stop_at),
            cool_down: time(rules.cool_down, usual.cool_down),
            allow_metered: rules.allow_metered.unwrap_or(usual.allow_metered),
            allow_user_active: rules.allow_user_active.unwrap_or(usual.allow_user_active),
            settle: time(rules.settle, usual.settle),
            stop_within: time(rules.stop_within, usual.stop_within),
        }
    }
}

/// How a fog behaves; what is left out is as by default. All processes on one store should agree.
#[derive(Clone, Debug, Default, PartialEq, uniffi::Record)]
pub struct FogOptions {
    /// What tasks are paid in. Default FOG.
    #[uniffi(default)]
    pub asset: Option<Asset>,
    /// When a device may work.
    #[uniffi(default)]
    pub power: Option<PowerRules>,
    /// How long a lease is, 100 ms to 1 day. Default 30 s.
    #[uniffi(default)]
    pub lease: Option<Span>,
    /// Time between two beats of a worker's node. Default 10 s.
    #[uniffi(default)]
    pub heartbeat_every: Option<Span>,
    /// Time between two looks for leases, deadlines and backoffs that ran out. Default 250 ms.
    #[uniffi(default)]
    pub maintain_every: Option<Span>,
    /// How long an idle worker waits before it asks again. Default 50 ms.
    #[uniffi(default)]
    pub idle_poll: Option<Span>,
    /// Time between two reports of a task's progress. Default 1 s.
    #[uniffi(default)]
    pub progress_every: Option<Span>,
    /// How long what is running may go on after shutdown began. Default 10 s.
    #[uniffi(default)]
    pub grace: Option<Span>,
    /// How many events are kept for a slow listener. Default 4,096.
    #[uniffi(default)]
    pub event_capacity: Option<u32>,
}

impl From<FogOptions> for FogConfig {
    fn from(options: FogOptions) -> Self {
        let usual = Self::default();
        let time = |span: Option<Span>, usual| span.map_or(usual, |span| span.0);
        let capacity = options.event_capacity.map(|count| usize::try_from(count).unwrap_or(0));
        Self {
            asset: options.asset.unwrap_or(usual.asset),
            power: options.power.unwrap_or_default().into(),
            lease: time(options.lease, usual.lease),
            heartbeat_every: time(options.heartbeat_every, usual.heartbeat_every),
            maintain_every: time(options.maintain_every, usual.maintain_every),
            idle_poll: time(options.idle_poll, usual.idle_poll),
            progress_every: time(options.progress_every, usual.progress_every),
            grace: time(options.grace, usual.grace),
            event_capacity: capacity.unwrap_or(usual.event_capacity),
            ..usual
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_the_cores_default() {
        assert_eq!(FogConfig::from(FogOptions::default()), FogConfig::default());
    }
}
