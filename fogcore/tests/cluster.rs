//! The cluster against a naive one: nothing is taken twice, everything is given back once, and
//! where the search is exact, it finds what a scan finds.
#![allow(clippy::unwrap_used, reason = "a test that fails should say where")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fogcore::id::{NodeId, TaskKind};
use fogcore::registry::{Gpu, Node, Resources};
use fogcore::scheduler::policy::{
    Filter, FogPolicy, Policy, Scale, Score, Seen, Vitals, Wish, Workload,
};
use fogcore::scheduler::{
    Allocation, Apart, Cluster, ClusterError, Explanation, GpuRequirement, Nsga2, Placement,
    PowerNeed, Reason, Refusal, Requirements, Selector, Term,
};
use fogcore::time::Timestamp;
use proptest::prelude::*;

/// How many random histories; set `FOGCORE_TRIALS` for more.
fn trials() -> u32 {
    std::env::var("FOGCORE_TRIALS").ok().and_then(|text| text.parse().ok()).unwrap_or(64)
}

fn node(name: &str, cpu_cores: u32, memory_mib: u64, gpus: usize) -> Node {
    let gpu = || Gpu { model: "G".into(), memory_mib: 16_000 };
    let gpus = (0..gpus).map(|_| gpu()).collect();
    let resources = Resources { cpu_cores, memory_mib, gpus, ..Resources::default() };
    Node { resources, slots: 1_000, ..Node::new(name.parse().unwrap()) }
}

fn task(cpu_milli: u32, memory_mib: u64, count: u32, milli: u32) -> Requirements {
    let gpus = GpuRequirement { count, milli, ..GpuRequirement::default() };
    let gpus = if count == 0 { GpuRequirement::default() } else { gpus };
    Requirements { cpu_milli, memory_mib, gpus, ..Requirements::default() }
}

fn id(name: &str) -> NodeId {
    name.parse().unwrap()
}

// A node as the naive cluster keeps it: what it has, and what each task on it takes.
#[derive(Clone, Debug)]
struct Naive {
    node: Node,
    draining: bool,
    taken: BTreeMap<Allocation, (Requirements, Vec<u32>)>,
}

impl Naive {
    fn free(&self) -> (i64, i64, Vec<i64>) {
        let has = &self.node.resources;
        let mut cpu = i64::from(has.cpu_cores) * 1_000;
        let mut memory = i64::try_from(has.memory_mib).unwrap();
        let mut gpus = vec![1_000_i64; has.gpus.len()];
        for (needs, devices) in self.taken.values() {
            cpu -= i64::from(needs.cpu_milli);
            memory -= i64::try_from(needs.memory_mib).unwrap();
            for place in devices {
                if let Some(free) = gpus.get_mut(*place as usize) {
                    *free -= i64::from(needs.gpus.milli);
                }
            }
        }
        (cpu, memory, gpus)
    }

    fn fits(&self, needs: &Requirements) -> bool {
        let (cpu, memory, gpus) = self.free();
        let fitting = gpus.iter().filter(|free| **free >= i64::from(needs.gpus.milli)).count();
        !self.draining
            && cpu >= i64::from(needs.cpu_milli)
            && memory >= i64::try_from(needs.memory_mib).unwrap()
            && (needs.gpus.count == 0 || fitting >= needs.gpus.count as usize)
    }
}

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a test has few of them")]
enum Step {
    Place(Requirements),
    Release(prop::sample::Index),
    Resize(prop::sample::Index, u32, u64, usize),
    Remove(prop::sample::Index),
    Add(u32, u64, usize),
    Drain(prop::sample::Index, bool),
}

fn needs() -> impl Strategy<Value = Requirements> {
    let gpus = prop_oneof![
        3 => Just((0, 1_000)),
        4 => prop::sample::select(vec![100_u32, 250, 333, 470, 500, 810]).prop_map(|m| (1, m)),
        3 => prop::sample::select(vec![1_u32, 1, 2, 4]).prop_map(|count| (count, 1_000)),
    ];
    (1_u32..8_000, 1_u64..8_192, gpus)
        .prop_map(|(cpu, memory, (count, milli))| task(cpu, memory, count, milli))
}

fn step() -> impl Strategy<Value = Step> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        10 => needs().prop_map(Step::Place),
        5 => at().prop_map(Step::Release),
        1 => (at(), 0_u32..16, 0_u64..32_768, 0_usize..5)
            .prop_map(|(at, cpu, memory, gpus)| Step::Resize(at, cpu, memory, gpus)),
        1 => at().prop_map(Step::Remove),
        2 => (1_u32..16, 1_u64..32_768, 0_usize..5)
            .prop_map(|(cpu, memory, gpus)| Step::Add(cpu, memory, gpus)),
        1 => (at(), any::<bool>()).prop_map(|(at, on)| Step::Drain(at, on)),
    ]
}

fn policies() -> impl Strategy<Value = Policy> {
    prop::sample::select(Policy::ALL.map(|(_, policy)| policy).to_vec())
}

// Both clusters, and the steps that are taken on both.
struct Both {
    cluster: Cluster,
    naive: BTreeMap<NodeId, Naive>,
    made: u32,
}

impl Both {
    fn find(&self, at: prop::sample::Index) -> Option<NodeId> {
        let names: Vec<_> = self.naive.keys().cloned().collect();
        (!names.is_empty()).then(|| names[at.index(names.len())].clone())
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Add(cpu, memory, gpus) => {
                self.made += 1;
                let node = node(&format!("n{}", self.made), cpu, memory, gpus);
                self.cluster.add(&node, Vitals::default()).unwrap();
                let naive = Naive { node: node.clone(), draining: false, taken: BTreeMap::new() };
                self.naive.insert(node.id, naive);
            }
            Step::Place(needs) => self.place(&needs),
            Step::Release(at) => {
                let open: Vec<_> =
                    self.naive.values().flat_map(|node| node.taken.keys().copied()).collect();
                if open.is_empty() {
                    return;
                }
                let given = open[at.index(open.len())];
                self.cluster.release(given).unwrap();
                let again = self.cluster.release(given);
                assert_eq!(again, Err(ClusterError::NotAllocated(given)), "once is enough");
                self.naive.values_mut().for_each(|node| drop(node.taken.remove(&given)));
            }
            Step::Resize(at, cpu_cores, memory_mib, gpus) => {
                let Some(name) = self.find(at) else { return };
                let resources = node("x", cpu_cores, memory_mib, gpus).resources;
                let victims = self.cluster.resize(&name, &resources).unwrap();
                let found = self.naive.get_mut(&name).unwrap();
                found.node.resources = resources;
                // Whoever is told to go, is enough.
                let mut after = found.clone();
                victims.iter().for_each(|victim| assert!(after.taken.remove(victim).is_some()));
                let (cpu, memory, _) = after.free();
                assert!(cpu >= 0 && memory >= 0, "{cpu} {memory}");
            }
            Step::Remove(at) => {
                let Some(name) = self.find(at) else { return };
                let victims = self.cluster.remove(&name).unwrap();
                let found = self.naive.remove(&name).unwrap();
                let mut gone: Vec<_> = found.taken.keys().copied().collect();
                gone.sort_unstable();
                let mut told = victims.clone();
                told.sort_unstable();
                assert_eq!(gone, told);
                for victim in victims {
                    assert_eq!(
                        self.cluster.release(victim),
                        Err(ClusterError::NotAllocated(victim))
                    );
                }
            }
            Step::Drain(at, on) => {
                let Some(name) = self.find(at) else { return };
                if on {
                    self.cluster.drain(&name).unwrap();
                } else {
                    self.cluster.undrain(&name).unwrap();
                }
                self.naive.get_mut(&name).unwrap().draining = on;
            }
        }
    }

    fn place(&mut self, needs: &Requirements) {
        match self.cluster.place(None, needs) {
            Ok(Placement { allocation, node, devices, .. }) => {
                let found = self.naive.get_mut(&node).unwrap();
                assert!(found.fits(needs), "{node} has no room for {needs:?}: {:?}", found.free());
                assert_eq!(devices.len(), needs.gpus.count as usize);
                found.taken.insert(allocation, (needs.clone(), devices));
                let (.., gpus) = found.free();
                assert!(gpus.iter().all(|free| *free >= 0), "a GPU was given twice: {gpus:?}");
            }
            Err(_) => {
                let missed = self.naive.values().find(|node| node.fits(needs));
                assert!(missed.is_none(), "{:?} has room for {needs:?}", missed.unwrap().node.id);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: trials(), ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_taken_twice_and_all_is_given_back(
        policy in policies(), steps in prop::collection::vec(step(), 1..200), seed: u64,
    ) {
        let cluster = Cluster::new(policy, seed);
        let mut both = Both { cluster, naive: BTreeMap::new(), made: 0 };
        for (cpu, memory, gpus) in [(16, 32_768, 4), (8, 16_384, 0), (4, 8_192, 2)] {
            both.take(Step::Add(cpu, memory, gpus));
        }
        steps.into_iter().for_each(|step| both.take(step));
        let open: usize = both.naive.values().map(|node| node.taken.len()).sum();
        prop_assert_eq!(both.cluster.allocations(), open);
        let all: Vec<_> =
            both.naive.values().flat_map(|node| node.taken.keys().copied()).collect();
        all.into_iter().for_each(|given| both.cluster.release(given).unwrap());
        prop_assert_eq!(both.cluster.allocations(), 0);
    }

    /// What the search finds has the cost that the best of a scan over all nodes has.
    #[test]
    fn the_search_is_as_good_as_a_scan(
        policy in prop::sample::select(vec![
            Policy::BinPack, Policy::Spread, Policy::DotProduct, Policy::Fgd, Policy::Thrift,
            Policy::Fog, Policy::Weighted(FogPolicy::default().into()),
        ]),
        nodes in prop::collection::vec((1_u32..64, 1_u64..65_536, 0_usize..9), 1..80),
        tasks in prop::collection::vec(needs(), 1..120),
    ) {
        let mut workload = Workload::default();
        tasks.iter().for_each(|needs| workload.learn(needs, 1.0));
        let mut cluster = Cluster::new(policy, 1).with_workload(workload);
        for (number, (cpu, memory, gpus)) in nodes.into_iter().enumerate() {
            let node = node(&format!("n{number}"), cpu, memory, gpus);
            cluster.add(&node, Vitals::default()).unwrap();
        }
        for (number, needs) in tasks.iter().enumerate() {
            let scan = cluster.explain(None, needs, 1, Timestamp::UNIX_EPOCH);
            let placed = cluster.place(None, needs);
            prop_assert_eq!(scan.chosen.is_some(), placed.is_ok());
            if let Ok(placed) = &placed {
                let best = cost(&scan);
                // Less than this is not worth looking for.
                let told = 0.03_f64.max(1e-6 * best.abs());
                prop_assert!(placed.cost <= best + told, "{} > {}", placed.cost, best);
                if number % 3 == 0 {
                    cluster.release(placed.allocation).unwrap();
                }
            }
        }
    }
}

fn cost(explanation: &Explanation) -> f64 {
    explanation.cost.unwrap()
}

#[test]
fn a_node_that_shrinks_gets_nothing_new_until_it_fits_again() {
    let mut cluster = Cluster::new(Policy::BinPack, 1);
    cluster.add(&node("n", 8, 8_192, 0), Vitals::default()).unwrap();
    let first = cluster.place(None, &task(3_000, 10, 0, 0)).unwrap();
    let second = cluster.place(None, &task(3_000, 10, 0, 0)).unwrap();
    let victims = cluster.resize(&id("n"), &node("n", 4, 8_192, 0).resources).unwrap();
    assert_eq!(victims, [second.allocation], "the latest goes");
    assert_eq!(cluster.place(None, &task(1, 1, 0, 0)), Err(ClusterError::NothingFits));
    cluster.release(second.allocation).unwrap();
    cluster.place(None, &task(1_000, 1, 0, 0)).unwrap();
    cluster.release(first.allocation).unwrap();
}

#[test]
fn a_gang_is_placed_as_a_whole_or_not_at_all() {
    let mut cluster = Cluster::new(Policy::Fog, 1);
    cluster.add(&node("n", 4, 8_192, 0), Vitals::default()).unwrap();
    let gang = vec![task(1_500, 1, 0, 0); 3];
    let error = cluster.place_gang(None, &gang).unwrap_err();
    assert_eq!(error, ClusterError::GangDoesNotFit { placed: 2, size: 3 });
    assert_eq!(cluster.allocations(), 0);
    assert_eq!(cluster.place_gang(None, &gang[..2]).unwrap().len(), 2);
}

#[test]
fn tasks_of_a_group_keep_apart_by_label_and_by_node() {
    let mut cluster = Cluster::new(Policy::BinPack, 1);
    for (name, zone) in [("a1", "a"), ("a2", "a"), ("b1", "b")] {
        let mut node = node(name, 8, 8_192, 0);
        node.labels.insert("zone".into(), zone.into());
        cluster.add(&node, Vitals::default()).unwrap();
    }
    let by_zone = Apart { group: "g".into(), key: Some("zone".into()), most: 1 };
    let needs = Requirements { apart: Some(by_zone), ..task(1, 1, 0, 0) };
    let (one, two) = (cluster.place(None, &needs).unwrap(), cluster.place(None, &needs).unwrap());
    assert_ne!(one.node.as_str()[..1], two.node.as_str()[..1]);
    assert_eq!(cluster.place(None, &needs), Err(ClusterError::NothingFits));
    cluster.release(one.allocation).unwrap();
    cluster.place(None, &needs).unwrap();
    let by_node = Apart { group: "h".into(), key: None, most: 2 };
    let needs = Requirements { apart: Some(by_node), ..task(1, 1, 0, 0) };
    (0..6).for_each(|_| drop(cluster.place(None, &needs).unwrap()));
    assert_eq!(cluster.place(None, &needs), Err(ClusterError::NothingFits));
}

#[test]
fn tasks_of_a_class_share_the_power_budget_of_a_node() {
    let mut cluster = Cluster::new(Policy::Fog, 1);
    let mut phone = node("phone", 8, 1_000, 0);
    phone.power_budget.insert("games".into(), 1_000);
    cluster.add(&phone, Vitals::default()).unwrap();
    let draws = |class: &str, milliwatts| Requirements {
        power: Some(PowerNeed { class: class.into(), milliwatts }),
        ..Requirements::default()
    };
    let first = cluster.place(None, &draws("games", 600)).unwrap();
    cluster.place(None, &draws("inference", 9_000)).unwrap();
    cluster.place(None, &Requirements::default()).unwrap();
    assert!(cluster.place(None, &draws("games", 401)).is_err());
    let why = cluster.explain(None, &draws("games", 401), 1, Timestamp::UNIX_EPOCH);
    assert_eq!(why.refused["power"], 1);
    cluster.place(None, &draws("games", 400)).unwrap();
    cluster.release(first.allocation).unwrap();
    assert!(cluster.place(None, &draws("games", 601)).is_err());
    cluster.place(None, &draws("games", 600)).unwrap();
}

#[test]
fn who_wants_a_node_alone_has_it_alone() {
    let mut cluster = Cluster::new(Policy::BinPack, 1);
    cluster.add(&node("n", 8, 8_192, 0), Vitals::default()).unwrap();
    let alone = Requirements { exclusive: true, ..task(1, 1, 0, 0) };
    let other = cluster.place(None, &task(1, 1, 0, 0)).unwrap();
    assert_eq!(cluster.place(None, &alone), Err(ClusterError::NothingFits));
    cluster.release(other.allocation).unwrap();
    cluster.place(None, &alone).unwrap();
    assert_eq!(cluster.place(None, &task(1, 1, 0, 0)), Err(ClusterError::NothingFits));
}

#[test]
fn an_explanation_counts_refusals_and_says_what_would_help() {
    let mut cluster = Cluster::new(Policy::Fog, 1);
    for (name, cores) in [("small", 2), ("large", 8)] {
        cluster.add(&node(name, cores, 8_192, 0), Vitals::default()).unwrap();
    }
    let mut needs = task(9_000, 1, 0, 0);
    let why = cluster.explain(None, &needs, 3, Timestamp::UNIX_EPOCH);
    assert_eq!((why.reason, why.refused["resources"]), (Reason::NothingFits, 2));
    let relaxation = why.relaxation.unwrap();
    let missing = Refusal::TooLittle { resource: "cpu_milli".into(), needed: 9_000, free: 8_000 };
    assert_eq!((relaxation.node, relaxation.refusals), (id("large"), vec![missing]));
    needs.cpu_milli = 1_000;
    let why = cluster.explain(None, &needs, 3, Timestamp::UNIX_EPOCH);
    assert_eq!(why.considered.len(), 2);
    assert!(why.second.is_some() && why.considered[0].terms.len() > 5);
    let text = serde_json::to_string(&why).unwrap();
    assert_eq!(serde_json::from_str::<Explanation>(&text).unwrap(), why);
    assert_eq!(cluster.place(None, &needs).unwrap().node, why.chosen.unwrap());
    needs.required.push(Selector::is("os", "linux"));
    let why = cluster.explain(None, &needs, 3, Timestamp::UNIX_EPOCH);
    assert_eq!(why.refused["labels"], 2);
}

#[test]
fn what_a_node_is_worth_decides_and_changes_with_it() {
    let mut cluster = Cluster::new(Policy::Fog, 1);
    for name in ["plugged", "battery"] {
        cluster.add(&node(name, 8, 8_192, 0), Vitals::default()).unwrap();
    }
    let low = Vitals { energy: 0.1, ..Vitals::default() };
    cluster.observe(&id("battery"), low).unwrap();
    let on = |cluster: &mut Cluster| cluster.place(None, &task(1, 1, 0, 0)).unwrap().node;
    assert_eq!(on(&mut cluster), id("plugged"));
    cluster.observe(&id("plugged"), Vitals { energy: 0.05, ..Vitals::default() }).unwrap();
    assert_eq!(on(&mut cluster), id("battery"));
    let fast = Vitals { energy: 0.05, speed: 4.0, ..Vitals::default() };
    cluster.observe(&id("plugged"), fast).unwrap();
    assert_eq!(on(&mut cluster), id("plugged"));
}

#[test]
fn thousands_of_equal_nodes_are_not_looked_at_one_by_one() {
    let mut cluster = Cluster::new(Policy::Thrift, 1);
    for number in 0..5_000 {
        cluster.add(&node(&format!("n{number}"), 8, 8_192, 2), Vitals::default()).unwrap();
    }
    for _ in 0..2_000 {
        cluster.place(None, &task(1_000, 100, 1, 500)).unwrap();
    }
    assert_eq!(cluster.allocations(), 2_000);
}

/// Nodes whose names end in an odd digit are left alone.
#[derive(Debug)]
struct EvenOnly;

impl Filter for EvenOnly {
    fn name(&self) -> &'static str {
        "even_only"
    }

    fn refuse(&self, _: &Wish<'_>, node: &Seen<'_>) -> Option<Refusal> {
        let digit = node.id.as_str().bytes().last()?;
        (digit % 2 == 1).then(|| Refusal::Own { reason: "odd".into() })
    }
}

#[test]
fn a_filter_of_ones_own_holds_for_every_policy_and_is_counted_by_its_name() {
    for (name, policy) in Policy::ALL {
        let mut cluster = Cluster::new(policy, 1).with_filter(Arc::new(EvenOnly));
        for number in 0..10 {
            cluster.add(&node(&format!("n{number}"), 8, 8_192, 2), Vitals::default()).unwrap();
        }
        let small = task(100, 100, 1, 100);
        let why = cluster.explain(None, &small, 20, Timestamp::UNIX_EPOCH);
        assert_eq!((why.refused["even_only"], why.considered.len()), (5, 5), "{name}");
        for _ in 0..50 {
            let placed = cluster.place(None, &small).unwrap();
            assert!(placed.node.as_str().ends_with(['0', '2', '4', '6', '8']), "{name}");
        }
        let plans = cluster.plans(std::slice::from_ref(&small), &Nsga2::default());
        let places = plans.iter().flat_map(|plan| plan.places.iter().flatten());
        assert!(places.clone().count() > 0, "{name}");
        assert!(places.into_iter().all(|n| n.as_str().ends_with(['0', '2', '4', '6', '8'])));
        // What would let a task run that nobody takes counts it, too.
        let large = task(99_000, 1, 0, 0);
        let why = cluster.explain(None, &large, 1, Timestamp::UNIX_EPOCH);
        assert_eq!(why.relaxation.unwrap().refusals.len(), 1, "{name}");
    }
}

/// What it makes of a node is told by a label, be it sense or nonsense.
#[derive(Debug)]
struct Told;

impl Score for Told {
    fn term(&self) -> Term {
        Term::Own("told".into())
    }

    fn value(&self, _: &Wish<'_>, node: &Seen<'_>, _: &Scale) -> f64 {
        node.labels["told"].parse().unwrap()
    }
}

#[test]
fn a_score_of_ones_own_is_a_term_and_keeps_to_its_limits() {
    let mut cluster = Cluster::new(Policy::Fog, 1).with_score(Arc::new(Told), 0.2);
    for (name, told, quality) in
        [("liar", "1e9", 0.0), ("broken", "NaN", 100.0), ("good", "0.9", 100.0)]
    {
        let labels = [("told".to_owned(), told.to_owned())].into();
        let node = Node { labels, ..node(name, 8, 8_192, 0) };
        cluster.add(&node, Vitals { quality, ..Vitals::default() }).unwrap();
    }
    let why = cluster.explain(None, &task(1, 1, 0, 0), 3, Timestamp::UNIX_EPOCH);
    let told = |place: usize| why.considered[place].terms[&Term::Own("told".into())];
    let order: Vec<_> = why.considered.iter().map(|one| one.node.as_str()).collect();
    assert_eq!(order, ["good", "liar", "broken"]);
    let told = [told(0), told(1), told(2)].map(|value| value.to_string());
    assert_eq!(told, ["0.9", "1", "0"]);
    assert!(why.to_string().contains("told 0.90 × 0.20"), "{why}");
    let text = serde_json::to_string(&why).unwrap();
    assert_eq!(serde_json::from_str::<Explanation>(&text).unwrap(), why);
    assert_eq!(cluster.place(None, &task(1, 1, 0, 0)).unwrap().node, id("good"));
}

#[test]
fn what_nodes_did_of_a_kind_decides_where_the_next_of_it_goes() {
    let (render, sort): (TaskKind, TaskKind) = ("render".parse().unwrap(), "sort".parse().unwrap());
    let mut cluster = Cluster::new(Policy::Fog, 1);
    for name in ["n7", "n8", "new"] {
        let mut node = node(name, 8, 8_192, 0);
        node.serves = [render.clone(), sort.clone()].into();
        cluster.add(&node, Vitals::default()).unwrap();
    }
    for _ in 0..20 {
        for (kind, node, seconds) in
            [(&render, "n7", 10.0), (&render, "n8", 40.0), (&sort, "n7", 40.0), (&sort, "n8", 10.0)]
        {
            cluster.ran(kind, &id(node), seconds).unwrap();
        }
    }
    for (kind, best) in [(&render, "n7"), (&sort, "n8")] {
        let why = cluster.explain(Some(kind), &task(1, 1, 0, 0), 3, Timestamp::UNIX_EPOCH);
        let placed = cluster.place(Some(kind), &task(1, 1, 0, 0)).unwrap();
        assert_eq!((why.chosen, placed.node), (Some(id(best)), id(best)));
        assert_eq!(why.second.unwrap().node, id("new"));
        cluster.release(placed.allocation).unwrap();
    }
}

#[test]
fn who_was_seen_to_leave_gets_short_tasks_rather_than_long_ones() {
    let mut cluster = Cluster::new(Policy::Fog, 1);
    let (short, long): (TaskKind, TaskKind) = ("short".parse().unwrap(), "long".parse().unwrap());
    for (name, quality) in [("phone", 100.0), ("box", 50.0)] {
        let mut node = node(name, 8, 8_192, 0);
        node.serves = [short.clone(), long.clone()].into();
        cluster.add(&node, Vitals { quality, ..Vitals::default() }).unwrap();
    }
    let at = |seconds| Timestamp::UNIX_EPOCH.saturating_add(Duration::from_secs(seconds));
    let phone = id("phone");
    for hour in 0..5 {
        cluster.came(&phone, at(hour * 3_600)).unwrap();
        cluster.left(&phone, at(hour * 3_600 + 600)).unwrap();
    }
    for node in [&phone, &id("box")] {
        cluster.ran(&short, node, 1.0).unwrap();
        cluster.ran(&long, node, 3_600.0).unwrap();
    }
    let mut on = |kind| cluster.place(Some(kind), &task(1, 1, 0, 0)).unwrap().node;
    assert_eq!((on(&short), on(&long)), (phone.clone(), id("box")));
    assert!(cluster.ran(&short, &id("nobody"), 1.0).is_err());
}
