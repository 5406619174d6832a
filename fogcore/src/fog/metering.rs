//! The system's own counters.

use std::time::Duration;

use crate::scheduler::{Meter, ProcessReading};

/// Reads what the operating system counts: the CPU time of a thread on Linux, Android and Apple's
/// systems, and what a process uses on Linux and Android. Elsewhere it knows nothing.
///
/// Of a process, bytes are those that it read and wrote by system calls (`rchar` and `wchar` of
/// `/proc/PID/io`), from the page cache, too; what sockets send and receive by calls of their own is
/// not among them. CPU time comes in ticks of 10 ms on most systems.
///
/// ```
/// use fogcore::fog::SystemMeter;
/// use fogcore::scheduler::Meter;
///
/// if let Some(before) = SystemMeter.thread_cpu() {
///     assert!(SystemMeter.thread_cpu().unwrap() >= before);
/// }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemMeter;

impl Meter for SystemMeter {
    fn thread_cpu(&self) -> Option<Duration> {
        thread_cpu()
    }

    fn process(&self, pid: u32) -> Option<ProcessReading> {
        process(pid)
    }
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn thread_cpu() -> Option<Duration> {
    use rustix::time::{ClockId, clock_gettime};
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).ok()
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
const fn thread_cpu() -> Option<Duration> {
    None
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn process(pid: u32) -> Option<ProcessReading> {
    let process = procfs::process::Process::new(i32::try_from(pid).ok()?).ok()?;
    let stat = process.stat().ok()?;
    // Children that were waited for; the system writes them as signed, and they are never negative.
    let children = [stat.cutime, stat.cstime].map(|ticks| u64::try_from(ticks).unwrap_or(0));
    let ticks = children.into_iter().chain([stat.utime, stat.stime]).fold(0, u64::saturating_add);
    let per_second = procfs::ticks_per_second().max(1);
    let nanos = (ticks % per_second) * 1_000_000_000 / per_second;
    let io = process.io().ok();
    Some(ProcessReading {
        cpu: Duration::from_secs(ticks / per_second) + Duration::from_nanos(nanos),
        resident_mib: stat.rss.saturating_mul(procfs::page_size()) >> 20,
        bytes_in: io.map(|io| io.rchar),
        bytes_out: io.map(|io| io.wchar),
        ended: matches!(stat.state, 'Z' | 'X' | 'x'),
    })
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
const fn process(_pid: u32) -> Option<ProcessReading> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::{Command, Stdio};
    use std::sync::Arc;

    use super::*;
    use crate::scheduler::JobMeter;
    use crate::time::SystemClock;

    #[test]
    fn work_takes_cpu_time_and_waiting_takes_none() {
        let meter = JobMeter::new(Arc::new(SystemMeter), Arc::new(SystemClock::new()));
        let before = SystemMeter.thread_cpu().unwrap();
        meter.run(|| {
            let mut digest = blake3::hash(b"");
            while SystemMeter.thread_cpu().unwrap() < before + Duration::from_millis(2) {
                digest = blake3::hash(digest.as_bytes());
            }
        });
        let used = meter.used().cpu.unwrap();
        assert!(used >= Duration::from_millis(1), "{used:?}");
        assert!(used <= SystemMeter.thread_cpu().unwrap(), "{used:?}");
    }

    /// A child that has written and ended, but was not waited for, is read to the last byte.
    #[tokio::test]
    async fn a_child_is_read_after_its_end() {
        let meter = JobMeter::new(Arc::new(SystemMeter), Arc::new(SystemClock::new()));
        let mut child = Command::new("sh")
            .args(["-c", "head -c 3000000 /dev/zero"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        meter.child(child.id()).await;
        assert!(SystemMeter.process(child.id()).unwrap().ended);
        assert!(child.wait().unwrap().success());
        assert!(SystemMeter.process(child.id()).is_none());
        let used = meter.used();
        // Not every sandbox lets a parent read what its child moved.
        if let Some(written) = used.bytes_out {
            assert!(written >= 3_000_000, "{used:?}");
        }
        assert!(used.cpu.is_some() && used.memory_mib_millis.is_some(), "{used:?}");
    }
}
