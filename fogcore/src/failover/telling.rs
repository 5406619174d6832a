//! How a breaker's change is told: the same events and metrics, whoever keeps the breakers.

use super::{BreakerChange, BreakerState};
use crate::event::Event;
use crate::id::NodeId;

/// Whether a breaker in this state lets no call through.
pub(crate) const fn is_open(state: BreakerState) -> bool {
    matches!(state, BreakerState::Open | BreakerState::ForcedOpen)
}

/// Counts a change. Nodes are no label, because there may be a hundred thousand.
pub(crate) fn count_change(class: &str, to: BreakerState) {
    let labels = [("class", class.to_owned()), ("to", to.as_str().to_owned())];
    metrics::counter!("fogcore_breaker_changes_total", &labels).increment(1);
}

/// So many more breakers are open, or fewer.
pub(crate) fn count_open(class: &str, more: f64) {
    metrics::gauge!("fogcore_breakers_open", "class" => class.to_owned()).increment(more);
}

pub(crate) fn event(node: NodeId, class: &str, change: BreakerChange) -> Event {
    Event::BreakerChanged {
        node,
        class: class.to_owned(),
        from: change.from.as_str().to_owned(),
        to: change.to.as_str().to_owned(),
        reason: change.reason.map(|reason| reason.as_str().to_owned()),
    }
}

#[cfg(test)]
pub(crate) use self::recorder::Recorder;

#[cfg(test)]
mod recorder {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex};

    use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};

    /// Keeps the counters and gauges that a test's code tells, by name and labels.
    #[derive(Default)]
    pub(crate) struct Recorder(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

    impl Recorder {
        fn cell(&self, key: &Key) -> Arc<AtomicU64> {
            let labels: Vec<_> =
                key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            let name = format!("{}{{{}}}", key.name(), labels.join(","));
            self.0.lock().unwrap().entry(name).or_default().clone()
        }

        /// A counter as it is, or a gauge's bits: `name{label=value,…}`; zero if it is not there.
        pub(crate) fn bits(&self, name: &str) -> u64 {
            self.0.lock().unwrap().get(name).map_or(0, |cell| cell.load(Ordering::Acquire))
        }

        pub(crate) fn gauge(&self, name: &str) -> f64 {
            f64::from_bits(self.bits(name))
        }

        /// How many breakers of a class are open, as the gauge says.
        pub(crate) fn open(&self, class: &str) -> f64 {
            self.gauge(&format!("fogcore_breakers_open{{class={class}}}"))
        }
    }

    impl metrics::Recorder for Recorder {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.cell(key))
        }
        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(self.cell(key))
        }
        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }
}
