//! What the core has to say goes to Python's `logging`, by way of an event loop that is there.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use pyo3::IntoPyObject;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::{EnvFilter, Registry};

use crate::bridge::{Queue, rendering};

/// The number under which records come.
pub(crate) const RECORDS: u64 = 0;

/// Event loops that may take a record, the latest last.
static LOOPS: Mutex<Vec<Weak<Queue>>> = Mutex::new(Vec::new());

/// Another event loop takes records.
pub(crate) fn add(queue: &Arc<Queue>) {
    let mut loops = LOOPS.lock().unwrap_or_else(PoisonError::into_inner);
    loops.retain(|known| known.strong_count() > 0);
    loops.push(Arc::downgrade(queue));
}

/// Lets everything from INFO on come; of the database driver, what is wrong.
pub(crate) fn begin() {
    let filter = EnvFilter::new("warn,fogcore=info");
    let subscriber = Registry::default().with(filter).with(ToPython);
    // Somebody else's may be there already, if this library was loaded twice.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

struct ToPython;

impl<S: Subscriber> Layer<S> for ToPython {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        let Text { message, fields } = text;
        let level = level(*event.metadata().level());
        let target = event.metadata().target().replace("::", ".");
        let loops = LOOPS.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = loops.iter().rev().find_map(Weak::upgrade) else { return };
        drop(loops);
        queue.push_record(rendering(move |py| {
            Ok((level, target, message + &fields).into_pyobject(py)?.into_any())
        }));
    }
}

/// Python's number of a level.
fn level(level: Level) -> u8 {
    match level {
        Level::ERROR => 40,
        Level::WARN => 30,
        Level::INFO => 20,
        Level::DEBUG | Level::TRACE => 10,
    }
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a `String` cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
