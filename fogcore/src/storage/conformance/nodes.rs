//! What every [`NodeStore`](crate::registry::NodeStore) promises.

use super::{account_id, at, node, node_id};
use crate::error::ErrorKind;
use crate::registry::{
    Address, Beat, Celsius, Gpu, Heartbeat, Liveness, LivenessPolicy, Millis, Node, NodeFilter,
    NodeKind, Percent, Port, PowerPolicy, PowerState, Rates, Resources,
};
use crate::storage::Stores;

fn rich(name: &str) -> Node {
    Node {
        kind: NodeKind::Phone,
        name: "Ada's phone 📱".into(),
        owner: Some(account_id("ada")),
        region: "eu".into(),
        addresses: vec![Address { host: "::1".into(), port: Port::new(65_535).unwrap() }],
        labels: [("os".into(), "android".into()), ("quote\"'%".into(), String::new())].into(),
        resources: Resources {
            cpu_cores: 8,
            cpu_mhz: 2_400,
            memory_mib: 1 << 40,
            storage_mib: 1,
            bandwidth_mbps: 100,
            gpus: vec![Gpu { model: "G".into(), memory_mib: 4 }],
        },
        max_connections: u32::MAX,
        rates: Rates { per_task: crate::amount::Amount::MAX, ..Rates::default() },
        ..node(name, 3)
    }
}

/// Registering is an upsert: the new registration holds, the first time is kept, beats start
/// anew.
pub async fn registering_again_updates_the_node(stores: &Stores) {
    let policy = PowerPolicy::default();
    stores.nodes.register(node("n", 1), at(0)).await.unwrap();
    stores.nodes.beat(&node_id("n"), Heartbeat::new(9), at(1), &policy).await.unwrap();
    let again = stores.nodes.register(rich("n"), at(2)).await.unwrap();
    assert_eq!((again.registered_at, again.last_seen), (at(0), at(2)));
    assert_eq!(again.node, rich("n"));
    let beat = stores.nodes.beat(&node_id("n"), Heartbeat::new(1), at(3), &policy).await.unwrap();
    assert!(matches!(beat, Beat::Accepted(_)));
    let bad = Node { max_connections: 0, ..node("n", 1) };
    let refused = stores.nodes.register(bad, at(4)).await.unwrap_err();
    assert_eq!(refused.field(), Some("max_connections"));
    assert_eq!(stores.nodes.node(&node_id("n")).await.unwrap().unwrap().node, rich("n"));
}

/// Every field survives, the extreme ones too.
pub async fn a_record_comes_back_as_it_was(stores: &Stores) {
    let power = PowerState {
        battery: Some(Percent::new(12.5).unwrap()),
        charging: false,
        temperature: Some(Celsius::new(-3.25).unwrap()),
        metered: true,
        user_active: true,
    };
    let beat = Heartbeat {
        sequence: u64::MAX,
        latency: Some(Millis::new(0.125).unwrap()),
        loss: Some(Percent::new(100.0).unwrap()),
        connections: u32::MAX,
        ..Heartbeat::new(0).with_power(power)
    };
    stores.nodes.register(rich("rich"), at(0)).await.unwrap();
    let (rich, policy) = (node_id("rich"), PowerPolicy::default());
    let told = stores.nodes.beat(&rich, beat.clone(), at(5), &policy);
    let Beat::Accepted(told) = told.await.unwrap() else { panic!("the beat is new") };
    let kept = stores.nodes.node(&node_id("rich")).await.unwrap().unwrap();
    assert_eq!(kept, told);
    assert_eq!(kept.heartbeat, Some(beat));
    assert_eq!(stores.nodes.node(&node_id("nobody")).await.unwrap(), None);
}

/// A beat with the same or an older sequence number is ignored and says so.
pub async fn an_older_beat_changes_nothing(stores: &Stores) {
    let policy = PowerPolicy::default();
    stores.nodes.register(node("n", 1), at(0)).await.unwrap();
    for (sequence, accepted) in [(5, true), (5, false), (4, false), (6, true)] {
        let beat = Heartbeat::new(sequence);
        let answer = stores.nodes.beat(&node_id("n"), beat, at(sequence), &policy).await.unwrap();
        assert_eq!(matches!(answer, Beat::Accepted(_)), accepted, "sequence {sequence}");
    }
    let record = stores.nodes.node(&node_id("n")).await.unwrap().unwrap();
    assert_eq!(record.last_seen, at(6));
}

/// Who did not register cannot beat.
pub async fn a_beat_of_an_unknown_node_is_refused(stores: &Stores) {
    let policy = PowerPolicy::default();
    let beat = stores.nodes.beat(&node_id("ghost"), Heartbeat::new(1), at(0), &policy).await;
    assert_eq!(beat.unwrap_err().kind(), ErrorKind::NotFound);
}

/// Pages follow each other without gaps or repeats, and each condition of a filter counts.
pub async fn nodes_are_listed_in_pages_and_filtered(stores: &Stores) {
    for number in 0..25 {
        let name = format!("node-{number:02}");
        let node = if number % 5 == 0 { rich(&name) } else { node(&name, 1) };
        stores.nodes.register(node, at(number)).await.unwrap();
    }
    let every = NodeFilter::default();
    let (mut names, mut after) = (Vec::new(), None);
    loop {
        let page = stores.nodes.nodes(&every, after.as_ref(), 7).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.node.id.clone());
        names.extend(page.into_iter().map(|record| record.node.id.to_string()));
    }
    let expected: Vec<_> = (0..25).map(|number| format!("node-{number:02}")).collect();
    assert_eq!(names, expected);

    let silent = Some((Liveness::Offline, at(70), LivenessPolicy::default()));
    let cases: [(NodeFilter, usize); 9] = [
        (NodeFilter { kind: Some(NodeKind::Phone), ..every.clone() }, 5),
        (NodeFilter { owner: Some(account_id("ada")), ..every.clone() }, 5),
        (NodeFilter { region: Some("eu".into()), ..every.clone() }, 5),
        (NodeFilter { region: Some("us".into()), ..every.clone() }, 0),
        (NodeFilter { labels: [("os".into(), "android".into())].into(), ..every.clone() }, 5),
        (NodeFilter { labels: [("os".into(), "ios".into())].into(), ..every.clone() }, 0),
        (NodeFilter { serves: Some("work".parse().unwrap()), ..every.clone() }, 25),
        (NodeFilter { min_quality: Some(90.0), ..every.clone() }, 5),
        (NodeFilter { liveness: silent, ..every.clone() }, 10),
    ];
    for (filter, expected) in cases {
        let found = stores.nodes.nodes(&filter, None, 1_000).await.unwrap();
        assert_eq!(found.len(), expected, "{filter:?}");
        let two = stores.nodes.nodes(&filter, None, 2).await.unwrap();
        assert_eq!(two[..], found[..found.len().min(2)], "{filter:?}");
    }
    for limit in [0, 1_001] {
        let refused = stores.nodes.nodes(&every, None, limit).await.unwrap_err();
        assert_eq!(refused.field(), Some("limit"));
    }
}

/// Removing tells whether there was something to remove.
pub async fn a_removed_node_is_gone(stores: &Stores) {
    stores.nodes.register(node("n", 1), at(0)).await.unwrap();
    assert!(stores.nodes.remove_node(&node_id("n")).await.unwrap());
    assert!(!stores.nodes.remove_node(&node_id("n")).await.unwrap());
    assert_eq!(stores.nodes.node(&node_id("n")).await.unwrap(), None);
}
