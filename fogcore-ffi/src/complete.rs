//! Whether every value of the core's enums crosses.
//!
//! The compiler sees to enums that the core calls complete. Those that may grow are asked for their
//! names, by giving serde one that nobody has: a value that the core gets, and this crate does not
//! name, fails here.

use std::fmt::Debug;

use fogcore::ErrorKind;
use fogcore::balancer::StrategyKind;
use fogcore::event::Event;
use fogcore::failover::{Absence, ProbeError};
use fogcore::registry::NodeKind;
use fogcore::scheduler::TaskState;
use fogcore::signaling::SessionStatus;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uniffi::{Lift, Lower};

use crate::UniFfiTag;

/// The names of an enum's values, from serde's complaint about one that is none.
fn names<T: DeserializeOwned + Debug>(nobody: &Value) -> Vec<String> {
    let complaint = serde_json::from_value::<T>(nobody.clone()).unwrap_err().to_string();
    let (_, expected) = complaint.split_once("expected").unwrap();
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// There and back.
fn crosses<T>(value: T)
where
    T: Lower<UniFfiTag> + Lift<UniFfiTag> + Clone + PartialEq + Debug,
{
    let mut buffer = Vec::new();
    T::write(value.clone(), &mut buffer);
    let mut rest = buffer.as_slice();
    assert_eq!(T::try_read(&mut rest).unwrap(), value);
    assert!(rest.is_empty());
}

/// All values of an enum without fields cross.
fn all_cross<T>(at_least: usize)
where
    T: Lower<UniFfiTag> + Lift<UniFfiTag> + DeserializeOwned + Clone + PartialEq + Debug,
{
    let names = names::<T>(&json!("?"));
    assert!(names.len() >= at_least, "only {names:?}");
    for name in names {
        crosses::<T>(serde_json::from_value(json!(name)).unwrap());
    }
}

#[test]
fn every_kind_of_node_strategy_and_absence_crosses() {
    all_cross::<NodeKind>(6);
    all_cross::<StrategyKind>(StrategyKind::ALL.len());
    all_cross::<Absence>(4);
}

#[test]
fn every_kind_of_error_state_and_status_crosses() {
    ErrorKind::ALL.into_iter().for_each(crosses);
    TaskState::ALL.into_iter().for_each(crosses);
    SessionStatus::ALL.into_iter().for_each(crosses);
}

#[test]
fn every_event_crosses() {
    let uuid = "01890a5d-ac96-774b-bcce-b302099a8057";
    let names = names::<Event>(&json!({"type": "?"}));
    assert!(names.len() >= 25, "only {names:?}");
    for name in names {
        // Two events use these names for different things.
        let (from, to) = match name.as_str() {
            "scale_asked" => (json!(1), json!(2)),
            _ => (json!("closed"), json!("open")),
        };
        let event = json!({
            "type": name, "from": from, "to": to,
            "node": "n", "session": "s", "peer": "p", "task": uuid, "trade": uuid,
            "transfer": uuid, "reason": "r", "strategy": "gradual", "replacement": "m",
            "keeps": 50, "outcome": "accepted", "status": "ended", "class": "general",
            "healthy": true, "id": 1, "attempt": 1, "done": 0.5, "paid": "7", "cost": "8",
        });
        crosses::<Event>(serde_json::from_value(event).unwrap());
    }
}

#[test]
fn every_reason_of_a_probe_that_the_core_has_can_be_given_by_an_app() {
    let names = names::<ProbeError>(&json!("?"));
    let given = [
        crate::ProbeFailure::Refused,
        crate::ProbeFailure::TimedOut,
        crate::ProbeFailure::Unreachable,
        crate::ProbeFailure::BadStatus { status: 500 },
        crate::ProbeFailure::NoAddress,
        crate::ProbeFailure::Other { reason: "odd".to_owned() },
    ];
    let given: Vec<_> = given.into_iter().map(|one| ProbeError::from(one).name()).collect();
    assert_eq!(names, given);
}
