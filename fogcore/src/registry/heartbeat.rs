//! How a node is: what it tells with each beat. What it does not know, it leaves out.

use serde::{Deserialize, Serialize};

use super::units::{Celsius, Millis, Percent};

/// One heartbeat. Every measured value is optional: unknown is not zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Heartbeat {
    /// Grows with each beat since the node registered; a beat that is not newer is ignored.
    pub sequence: u64,
    /// Round-trip time to the coordinator.
    pub latency: Option<Millis>,
    /// Packets lost.
    pub loss: Option<Percent>,
    /// CPU in use.
    pub cpu: Option<Percent>,
    /// Memory in use.
    pub memory: Option<Percent>,
    /// Storage in use.
    pub storage: Option<Percent>,
    /// Bandwidth in use, of what the node registered.
    pub bandwidth: Option<Percent>,
    /// GPUs in use, averaged over all of them.
    pub gpu: Option<Percent>,
    /// Connections (players) now.
    pub connections: u32,
    /// Battery, heat and user, where there is such a thing.
    pub power: Option<PowerState>,
}

impl Heartbeat {
    /// A beat that says nothing but that the node is there.
    #[must_use]
    pub fn new(sequence: u64) -> Self {
        Self { sequence, ..Self::default() }
    }

    /// The same beat with the node's power state.
    #[must_use]
    pub fn with_power(self, power: PowerState) -> Self {
        Self { power: Some(power), ..self }
    }
}

/// What decides whether a device may work without its owner noticing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PowerState {
    /// Charge of the battery; none if there is no battery, which counts as charging.
    pub battery: Option<Percent>,
    /// Whether the battery is being charged.
    pub charging: bool,
    /// The hottest of CPU, battery and skin.
    pub temperature: Option<Celsius>,
    /// Whether the network is paid by volume.
    pub metered: bool,
    /// Whether somebody uses the device right now.
    pub user_active: bool,
}
