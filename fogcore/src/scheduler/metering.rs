//! What work takes: measured, or not known – never guessed.
//!
//! A price that nobody can check is no price. So each figure of a [`Usage`] says where it comes
//! from: the time a slot was busy is the fog's own; CPU time is what the system counted for the
//! threads that the work ran on; the rest is told by the executor, who may have it from the system
//! ([`JobMeter::child`] for child processes) or from a device (GPU time, energy). What nobody
//! measured is none, and costs nothing.
//!
//! Asynchronous work has no thread of its own. But while it is polled, it has one to itself: the
//! thread's CPU time between the beginning and the end of each poll is exactly what the work took,
//! and [`JobMeter::count`] adds that up. Work that an executor hands to other threads is counted
//! there, by [`JobMeter::run`].
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use fogcore::scheduler::metering::{JobMeter, ManualMeter, Usage};
//! use fogcore::time::{ManualClock, Timestamp};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let (system, clock) = (Arc::new(ManualMeter::default()), ManualClock::at(Timestamp::UNIX_EPOCH));
//! let meter = JobMeter::new(system.clone(), Arc::new(clock));
//! meter.count(async { system.spend(Duration::from_millis(3)) }).await;
//! meter.add(&Usage { gpu: Some(Duration::from_secs(2)), ..Usage::default() });
//!
//! let used = meter.used();
//! assert_eq!(used.cpu, Some(Duration::from_millis(3)));
//! assert_eq!(used.gpu, Some(Duration::from_secs(2)));
//! assert_eq!(used.energy_millijoules, None);
//! # });
//! ```

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::registry::Metered;
use crate::time::Clock;

/// What an attempt took; none for what nobody measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// How long it kept a slot busy, by the clock on the wall.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub busy: Option<Duration>,
    /// CPU time, of all cores together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Duration>,
    /// Memory, in MiB × milliseconds: 3,686,400,000 are a GiB for an hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mib_millis: Option<u64>,
    /// GPU time, of all GPUs together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Duration>,
    /// Bytes that came in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_in: Option<u64>,
    /// Bytes that went out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_out: Option<u64>,
    /// Bytes that were moved in a direction that nobody told, beside those above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_moved: Option<u64>,
    /// Energy, in thousandths of a joule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy_millijoules: Option<u64>,
}

impl Usage {
    /// Both together. What only one of them knows is that: none adds nothing, and stays none only
    /// if neither knows.
    #[must_use]
    pub fn plus(&self, more: &Self) -> Self {
        let times = |a, b| sum(a, b, Duration::saturating_add);
        let numbers = |a, b| sum(a, b, u64::saturating_add);
        Self {
            busy: times(self.busy, more.busy),
            cpu: times(self.cpu, more.cpu),
            memory_mib_millis: numbers(self.memory_mib_millis, more.memory_mib_millis),
            gpu: times(self.gpu, more.gpu),
            bytes_in: numbers(self.bytes_in, more.bytes_in),
            bytes_out: numbers(self.bytes_out, more.bytes_out),
            bytes_moved: numbers(self.bytes_moved, more.bytes_moved),
            energy_millijoules: numbers(self.energy_millijoules, more.energy_millijoules),
        }
    }

    /// What of it has a price. What was not measured has none.
    #[must_use]
    pub fn metered(&self) -> Metered {
        let bytes = [self.bytes_in, self.bytes_out, self.bytes_moved];
        Metered {
            busy_micros: micros(self.busy),
            cpu_micros: micros(self.cpu),
            memory_mib_millis: self.memory_mib_millis.unwrap_or(0),
            gpu_micros: micros(self.gpu),
            bytes: bytes.into_iter().flatten().fold(0, u64::saturating_add),
        }
    }
}

fn sum<T>(one: Option<T>, other: Option<T>, add: impl Fn(T, T) -> T) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(add(one, other)),
        (one, other) => one.or(other),
    }
}

fn micros(time: Option<Duration>) -> u64 {
    u64::try_from(time.unwrap_or_default().as_micros()).unwrap_or(u64::MAX)
}

/// Reads the system's counters. It may read files, but never waits.
pub trait Meter: Send + Sync + fmt::Debug {
    /// The CPU time that the calling thread has used so far; none where the system does not tell.
    fn thread_cpu(&self) -> Option<Duration>;

    /// What a process has used so far; none if there is no such process, or the system does not
    /// tell.
    fn process(&self, pid: u32) -> Option<ProcessReading>;
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessReading {
    /// CPU time of all its threads, and of its children that it waited for.
    pub cpu: Duration,
    /// Memory that it has now, in MiB.
    pub resident_mib: u64,
    /// Bytes that it read.
    pub bytes_in: Option<u64>,
    /// Bytes that it wrote.
    pub bytes_out: Option<u64>,
    /// Whether it has ended, and its parent has not asked how: these figures are the last.
    pub ended: bool,
}

/// A meter that tests turn by hand.
#[derive(Debug, Default)]
pub struct ManualMeter {
    cpu: Mutex<Duration>,
    processes: Mutex<HashMap<u32, ProcessReading>>,
}

impl ManualMeter {
    /// All threads have used so much more.
    pub fn spend(&self, cpu: Duration) {
        *lock(&self.cpu) += cpu;
    }

    /// The process has used so much by now; none if it is gone.
    pub fn set(&self, pid: u32, reading: Option<ProcessReading>) {
        match reading {
            Some(reading) => lock(&self.processes).insert(pid, reading),
            None => lock(&self.processes).remove(&pid),
        };
    }
}

impl Meter for ManualMeter {
    fn thread_cpu(&self) -> Option<Duration> {
        Some(*lock(&self.cpu))
    }

    fn process(&self, pid: u32) -> Option<ProcessReading> {
        lock(&self.processes).get(&pid).copied()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    /// Whether somebody further up counts this thread's time already.
    static COUNTING: Cell<bool> = const { Cell::new(false) };
}

/// Adds up what one attempt takes, wherever its parts run. Clones add to the same sum.
#[derive(Clone, Debug)]
pub struct JobMeter {
    meter: Arc<dyn Meter>,
    clock: Arc<dyn Clock>,
    used: Arc<Mutex<Usage>>,
}

impl JobMeter {
    /// The longest wait between two looks at a child process.
    const LOOK: Duration = Duration::from_millis(100);

    /// A meter for an attempt that has used nothing yet.
    #[must_use]
    pub fn new(meter: Arc<dyn Meter>, clock: Arc<dyn Clock>) -> Self {
        Self { meter, clock, used: Arc::default() }
    }

    /// What was used so far.
    #[must_use]
    pub fn used(&self) -> Usage {
        *lock(&self.used)
    }

    /// Adds what somebody else measured.
    pub fn add(&self, more: &Usage) {
        let mut used = lock(&self.used);
        *used = used.plus(more);
    }

    /// Does `work` here and now, and counts the CPU time of this thread. For blocking threads;
    /// within [`count`](Self::count) it is counted once only.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        let counted = Counted::begin(self);
        let done = work();
        drop(counted);
        done
    }

    /// The same work, counting the CPU time of whichever threads poll it, also if it fails, panics
    /// or is dropped half way.
    pub fn count<'w, W>(&self, work: W) -> impl Future<Output = W::Output> + Send + use<'w, W>
    where
        W: Future + Send + 'w,
    {
        Counting { work: Box::pin(work), meter: self.clone() }
    }

    /// Follows a child process until it ends, and adds what it took: its CPU time and the bytes that
    /// it read and wrote, as the system counted them, and its memory, looked at every 100 ms (more
    /// often in the beginning). Call it before waiting for the child, because a process that was
    /// waited for leaves no figures behind; then they are those of the last look. Where the system
    /// does not tell of processes, it returns at once.
    ///
    /// ```no_run
    /// # async fn execute(job: fogcore::scheduler::Job) -> std::io::Result<()> {
    /// let mut child = std::process::Command::new("ffmpeg").spawn()?;
    /// job.meter.child(child.id()).await;
    /// child.wait()?;
    /// # Ok(()) }
    /// ```
    pub async fn child(&self, pid: u32) {
        let (mut wait, mut memory) = (Duration::from_millis(1), 0_u64);
        let mut last: Option<(Duration, ProcessReading)> = None;
        while let Some(reading) = self.meter.process(pid) {
            let now = self.clock.elapsed();
            if let Some((at, before)) = last {
                let millis = u64::try_from(now.saturating_sub(at).as_millis()).unwrap_or(u64::MAX);
                memory = memory.saturating_add(before.resident_mib.saturating_mul(millis));
            }
            last = Some((now, reading));
            if reading.ended {
                break;
            }
            self.clock.sleep(wait).await;
            wait = (2 * wait).min(Self::LOOK);
        }
        if let Some((_, ProcessReading { cpu, bytes_in, bytes_out, .. })) = last {
            let (cpu, memory_mib_millis) = (Some(cpu), Some(memory));
            self.add(&Usage { cpu, memory_mib_millis, bytes_in, bytes_out, ..Usage::default() });
        }
    }
}

/// The CPU time of this thread from here to its end.
struct Counted<'m> {
    meter: &'m JobMeter,
    /// None if somebody further up counts already, or the system does not tell.
    begun: Option<Duration>,
}

impl<'m> Counted<'m> {
    fn begin(meter: &'m JobMeter) -> Self {
        let nested = COUNTING.get();
        let begun = if nested { None } else { meter.meter.thread_cpu() };
        COUNTING.set(nested || begun.is_some());
        Self { meter, begun }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let Some(begun) = self.begun else { return };
        COUNTING.set(false);
        let cpu = self.meter.meter.thread_cpu().map(|now| now.saturating_sub(begun));
        self.meter.add(&Usage { cpu, ..Usage::default() });
    }
}

struct Counting<'w, T> {
    work: Pin<Box<dyn Future<Output = T> + Send + 'w>>,
    meter: JobMeter,
}

impl<T> Future for Counting<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        let _counted = Counted::begin(&this.meter);
        this.work.as_mut().poll(context)
    }
}

#[cfg(test)]
mod tests;
