//! The formula by example, and against floats where these are good enough.

use proptest::prelude::*;

use super::*;

const GOOD: Quality = Quality { uptime_ppm: 1_000_000, latency_micros: 0, success_ppm: 1_000_000 };
const BAD: Quality = Quality { uptime_ppm: 0, latency_micros: 1_000_000, success_ppm: 0 };
const PLENTY: u128 = u128::MAX;

fn hours(hours: u64) -> u128 {
    u128::from(hours) * HOUR
}

fn reward(contribution: &Contribution, quality: &Quality, offered: u128) -> String {
    let policy = RewardPolicy::default();
    let reward = policy.reward(&Asset::FOG, contribution, quality, offered).unwrap();
    Asset::FOG.display(reward).to_string()
}

#[test]
fn each_part_has_its_weight() {
    let none = Contribution::default();
    for (contribution, expected) in [
        (none, "0 FOG"),
        (Contribution { core_micros: 3_600_000_000, ..none }, "10 FOG"),
        (Contribution { memory_byte_micros: hours(1) << 30, ..none }, "5 FOG"),
        (Contribution { bytes_moved: 1_000_000_000, ..none }, "15 FOG"),
        (Contribution { storage_byte_micros: hours(1) * GB, ..none }, "3 FOG"),
        (Contribution { tasks: 3, ..none }, "0.3 FOG"),
        // A third of an hour's third: rounded down.
        (Contribution { core_micros: 400_000_000, ..none }, "1.111111111111111111 FOG"),
    ] {
        assert_eq!(reward(&contribution, &BAD, PLENTY), expected, "{contribution:?}");
    }
}

#[test]
fn quality_and_scarcity_raise_the_whole() {
    let policy = RewardPolicy::default();
    let hour = Contribution { core_micros: 3_600_000_000, tasks: 10, ..Contribution::default() };
    // (100 − 80)/5 + 15 + (100 − 85)/5 = 22 per cent.
    assert_eq!(policy.quality_percent(&GOOD), whole(22_u32));
    assert_eq!(reward(&hour, &GOOD, PLENTY), "13.42 FOG");
    assert_eq!(reward(&hour, &BAD, hours(1_000)), "11 FOG");
    assert_eq!(reward(&hour, &BAD, hours(1_000) - 1), "16.5 FOG");
    assert_eq!(reward(&hour, &BAD, hours(100)), "16.5 FOG");
    assert_eq!(reward(&hour, &BAD, hours(100) - 1), "22 FOG");
}

#[test]
fn quality_has_thresholds_and_a_ceiling() {
    let policy = RewardPolicy::default();
    let percent = |uptime_ppm, latency_micros, success_ppm| {
        policy.quality_percent(&Quality { uptime_ppm, latency_micros, success_ppm })
    };
    assert_eq!(percent(799_999, 150_000, 849_999), whole(0_u32));
    assert_eq!(percent(850_000, 150_000, 0), whole(1_u32));
    assert_eq!(percent(0, 50_000, 0), whole(10_u32));
    assert_eq!(percent(0, 150_000, 900_000), whole(1_u32));
    let generous = RewardPolicy { latency_at_most: 60, ..RewardPolicy::default() };
    assert_eq!(generous.quality_percent(&GOOD), whole(50_u32));
}

#[test]
fn what_would_divide_by_zero_is_refused() {
    let mut policy = RewardPolicy { millis_per_point: 0, ..RewardPolicy::default() };
    let field = Some("economy.reward.millis_per_point");
    assert_eq!(policy.check().unwrap_err().field(), field);
    policy.millis_per_point = 1;
    policy.scarcity.reverse();
    assert_eq!(policy.check().unwrap_err().field(), Some("economy.reward.scarcity"));
}

#[test]
fn too_much_is_an_error() {
    let all = Contribution { memory_byte_micros: u128::MAX, ..Contribution::default() };
    let asset = Asset::new("FINE", 30).unwrap();
    let reward = RewardPolicy::default().reward(&asset, &all, &GOOD, 0);
    assert_eq!(reward, Err(AmountError::TooLarge));
}

proptest! {
    #[test]
    #[allow(clippy::cast_precision_loss, reason = "what floats cannot do is what is tested")]
    fn it_is_the_formula(
        core_micros in 0..1_u64 << 45,
        memory in 0..1_u64 << 53,
        bytes_moved in 0..1_u64 << 45,
        storage in 0..1_u64 << 53,
        tasks in 0..10_000_u64,
        uptime_ppm in 0..=1_000_000_u32,
        latency_micros in 0..300_000_u64,
        success_ppm in 0..=1_000_000_u32,
        offered in 0..1_500_u64,
    ) {
        let contribution = Contribution {
            core_micros,
            memory_byte_micros: u128::from(memory) << 20,
            bytes_moved,
            storage_byte_micros: u128::from(storage) << 20,
            tasks,
        };
        let quality = Quality { uptime_ppm, latency_micros, success_ppm };
        let policy = RewardPolicy::default();
        let exact = policy.reward(&Asset::FOG, &contribution, &quality, hours(offered)).unwrap();
        let exact = exact.base_units() as f64 / 1e18;

        let (uptime, success) = (f64::from(uptime_ppm) / 1e4, f64::from(success_ppm) / 1e4);
        let hour = 3.6e9;
        let mebi = f64::from(1 << 20);
        let resources = core_micros as f64 / hour
            + memory as f64 * mebi / (hour * f64::from(1 << 30)) * 0.5
            + bytes_moved as f64 / 1e9 * 1.5
            + storage as f64 * mebi / (hour * 1e9) * 0.3;
        let up = if uptime >= 80.0 { ((uptime - 80.0) / 5.0).min(20.0) } else { 0.0 };
        let fast = (15.0 - latency_micros as f64 / 1e4).max(0.0);
        let sound = if success >= 85.0 { ((success - 85.0) / 5.0).min(15.0) } else { 0.0 };
        let scarce = if offered < 100 { 2.0 } else if offered < 1_000 { 1.5 } else { 1.0 };
        let better = 1.0 + (up + fast + sound).min(50.0) / 100.0;
        let about = (10.0 * resources + 0.1 * tasks as f64) * better * scarce;
        prop_assert!((exact - about).abs() <= about * 1e-9 + 1e-9, "{exact} is not {about}");
    }
}
