//! What is counted, what is not, and what is read of older rows.

use proptest::prelude::*;

use super::*;
use crate::time::{ManualClock, Timestamp};

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn meter() -> (Arc<ManualMeter>, Arc<ManualClock>, JobMeter) {
    let system = Arc::new(ManualMeter::default());
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let meter = JobMeter::new(system.clone(), clock.clone());
    (system, clock, meter)
}

#[tokio::test]
async fn the_time_between_two_polls_is_not_the_works() {
    let (system, _, meter) = meter();
    let work = async {
        system.spend(millis(2));
        tokio::task::yield_now().await;
        system.spend(millis(3));
    };
    let mut counted = std::pin::pin!(meter.count(work));
    assert!(futures::poll!(&mut counted).is_pending());
    system.spend(millis(100));
    counted.await;
    assert_eq!(meter.used(), Usage { cpu: Some(millis(5)), ..Usage::default() });
}

#[tokio::test]
async fn work_within_work_is_counted_once() {
    let (system, _, meter) = meter();
    let inner = meter.clone();
    meter.count(async { inner.run(|| system.spend(millis(7))) }).await;
    assert_eq!(meter.used().cpu, Some(millis(7)));
    meter.run(|| system.spend(millis(1)));
    assert_eq!(meter.used().cpu, Some(millis(8)));
}

#[tokio::test]
async fn work_that_panics_or_is_dropped_is_counted_too() {
    let (system, _, meter) = meter();
    let spend = system.clone();
    let work = meter.count(async move {
        spend.spend(millis(4));
        panic!("no");
    });
    let work = std::panic::AssertUnwindSafe(work);
    assert!(futures::FutureExt::catch_unwind(work).await.is_err());
    assert_eq!(meter.used().cpu, Some(millis(4)));
    {
        let work = async {
            system.spend(millis(1));
            std::future::pending::<()>().await;
        };
        let mut work = std::pin::pin!(meter.count(work));
        assert!(futures::poll!(&mut work).is_pending());
    }
    assert_eq!(meter.used().cpu, Some(millis(5)));
    // The thread counts anew after all that.
    meter.run(|| system.spend(millis(1)));
    assert_eq!(meter.used().cpu, Some(millis(6)));
}

#[tokio::test]
async fn a_child_is_followed_until_it_ends() {
    let (system, clock, meter) = meter();
    let reading = |cpu, resident_mib| ProcessReading {
        cpu: millis(cpu),
        resident_mib,
        bytes_in: Some(10 * cpu),
        ..ProcessReading::default()
    };
    system.set(7, Some(reading(1, 100)));
    let mut followed = std::pin::pin!(meter.child(7));
    assert!(futures::poll!(&mut followed).is_pending());
    clock.advance(millis(10));
    system.set(7, Some(reading(5, 50)));
    assert!(futures::poll!(&mut followed).is_pending());
    clock.advance(millis(4));
    system.set(7, Some(ProcessReading { ended: true, ..reading(6, 0) }));
    followed.await;
    let used = meter.used();
    assert_eq!((used.cpu, used.bytes_in, used.bytes_out), (Some(millis(6)), Some(60), None));
    assert_eq!(used.memory_mib_millis, Some(10 * 100 + 4 * 50));
    // Nobody is known by this number: nothing is measured, and nothing is made up.
    let before = meter.used();
    meter.child(8).await;
    assert_eq!(meter.used(), before);
}

#[test]
fn nothing_measured_is_nothing_known() {
    #[derive(Debug)]
    struct Blind;
    impl Meter for Blind {
        fn thread_cpu(&self) -> Option<Duration> {
            None
        }
        fn process(&self, _: u32) -> Option<ProcessReading> {
            None
        }
    }
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let meter = JobMeter::new(Arc::new(Blind), clock);
    meter.run(|| ());
    assert_eq!(meter.used(), Usage::default());
    assert_eq!(meter.used().metered(), Metered::default());
    assert_eq!(serde_json::to_string(&meter.used()).unwrap(), "{}");
}

/// As a task's row held it before most of this was measured.
#[test]
fn older_rows_are_read() {
    let old = r#"{"busy":{"secs":1,"nanos":500000000},"bytes_moved":7}"#;
    let usage: Usage = serde_json::from_str(old).unwrap();
    let (busy, bytes_moved) = (Some(millis(1_500)), Some(7));
    assert_eq!(usage, Usage { busy, bytes_moved, ..Usage::default() });
    assert_eq!(serde_json::to_string(&usage).unwrap(), old);
    let metered = usage.metered();
    assert_eq!((metered.busy_micros, metered.bytes, metered.cpu_micros), (1_500_000, 7, 0));
}

fn usage() -> impl Strategy<Value = Usage> {
    let time = || proptest::option::of((0..1_000_000_u64).prop_map(millis));
    let number = || proptest::option::of(0..1_000_000_u64);
    let times = (time(), time(), time());
    (times, number(), number(), number(), number(), number()).prop_map(
        |((busy, cpu, gpu), memory, bytes_in, bytes_out, bytes_moved, energy)| Usage {
            busy,
            cpu,
            memory_mib_millis: memory,
            gpu,
            bytes_in,
            bytes_out,
            bytes_moved,
            energy_millijoules: energy,
        },
    )
}

proptest! {
    #[test]
    fn parts_add_up_in_any_order(a in usage(), b in usage(), c in usage()) {
        prop_assert_eq!(a.plus(&b), b.plus(&a));
        prop_assert_eq!(a.plus(&b).plus(&c), a.plus(&b.plus(&c)));
        prop_assert_eq!(a.plus(&Usage::default()), a);
        let (sum, parts) = (a.plus(&b).metered(), [a.metered(), b.metered()]);
        prop_assert_eq!(sum.bytes, parts[0].bytes + parts[1].bytes);
        prop_assert_eq!(sum.cpu_micros, parts[0].cpu_micros + parts[1].cpu_micros);
    }

    #[test]
    fn a_usage_comes_back_from_json(a in usage()) {
        let json = serde_json::to_string(&a).unwrap();
        prop_assert_eq!(serde_json::from_str::<Usage>(&json).unwrap(), a);
    }
}
