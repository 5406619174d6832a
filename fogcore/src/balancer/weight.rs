//! How much of the requests a node should get, by what it has.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::failover::words::{low, whole};
use crate::registry::Node;

/// What an ordinary node weighs.
pub(super) const ORDINARY: u16 = 100;

/// How a node's weight follows from what it has:
/// `100 · (min(cores / 4, memory / 8 GiB) + 4 · GPUs)`, rounded, 1–65,535. An ordinary node, with 4
/// cores and 8 GiB, weighs 100. Of cores and memory the scarcer one counts, because requests need
/// both; what a node does not tell is left out, and one that tells neither counts as ordinary. Four
/// cores and 8 GiB are where the registry's quality score is full; what a GPU is worth depends on
/// the requests, and is the number to change first. Latency, load, heat and battery are no part of
/// it: the strategies and the shares follow them from moment to moment.
///
/// ```
/// use fogcore::balancer::{Endpoint, WeightPolicy};
/// use fogcore::registry::{Gpu, Node, Resources};
///
/// let policy = WeightPolicy::default();
/// let mut node = Node::new("laptop".parse()?);
/// assert_eq!(policy.weight(&node), 100);
/// node.resources = Resources { cpu_cores: 16, memory_mib: 16_384, ..Resources::default() };
/// assert_eq!(policy.weight(&node), 200, "16 cores would do for 400, the memory for 200");
/// node.resources.gpus = vec![Gpu { model: "A100".to_owned(), memory_mib: 81_920 }];
/// assert_eq!(policy.weight(&node), 600);
///
/// // Who knows better says so at the node.
/// node.labels.insert("balancer-weight".to_owned(), "30".to_owned());
/// assert_eq!(Endpoint::of(&node, &policy).weight, 30);
/// # Ok::<(), fogcore::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WeightPolicy {
    /// The CPU cores of an ordinary node, above 0 and up to 1,000,000; none: cores do not count.
    /// Default 4.
    pub cores: Option<f64>,
    /// The memory of an ordinary node in MiB, above 0 and up to 10^12; none: memory does not count.
    /// Default 8,192.
    pub memory_mib: Option<f64>,
    /// How many ordinary nodes a GPU is worth, 0–1,000. Default 4.
    pub gpu: f64,
    /// The label by which a node's owner sets its weight, 1–65,535; what is no such number is
    /// ignored. None: no label does, as befits a fog whose nodes would make themselves important.
    /// Default `balancer-weight`.
    pub label: Option<String>,
}

impl Default for WeightPolicy {
    fn default() -> Self {
        Self {
            cores: Some(4.0),
            memory_mib: Some(8_192.0),
            gpu: 4.0,
            label: Some("balancer-weight".to_owned()),
        }
    }
}

impl WeightPolicy {
    /// Every node weighs 100, whatever it has and says.
    #[must_use]
    pub const fn equal() -> Self {
        Self { cores: None, memory_mib: None, gpu: 0.0, label: None }
    }

    /// Checks every limit that the types do not hold already.
    ///
    /// # Errors
    /// InvalidInput with the field's name.
    pub fn check(&self) -> Result<()> {
        let above = |most: f64| move |of: f64| of > 0.0 && of <= most;
        if !self.cores.is_none_or(above(1e6)) {
            return Err(Error::invalid("cores", "must be above 0 and at most 1000000"));
        }
        if !self.memory_mib.is_none_or(above(1e12)) {
            return Err(Error::invalid("memory_mib", "must be above 0 and at most 10^12"));
        }
        if !(0.0..=1_000.0).contains(&self.gpu) {
            return Err(Error::invalid("gpu", "must be between 0 and 1000"));
        }
        Ok(())
    }

    /// A node's weight, 1–65,535.
    #[must_use]
    pub fn weight(&self, node: &Node) -> u16 {
        self.label(node).unwrap_or_else(|| self.of_resources(node))
    }

    /// The weight that its label sets, if it sets one.
    fn label(&self, node: &Node) -> Option<u16> {
        let weight = node.labels.get(self.label.as_ref()?)?.parse().ok()?;
        (weight > 0).then_some(weight)
    }

    fn of_resources(&self, node: &Node) -> u16 {
        let resources = &node.resources;
        // Zero means that it was not told.
        let parts = |have: f64, ordinary: Option<f64>| Some(have / ordinary?).filter(|p| *p > 0.0);
        let cpu = parts(f64::from(resources.cpu_cores), self.cores);
        let memory = parts(resources.memory_mib as f64, self.memory_mib);
        let scarcer = [cpu, memory].into_iter().flatten().reduce(f64::min).unwrap_or(1.0);
        let gpus = self.gpu * resources.gpus.len() as f64;
        let weight = f64::from(ORDINARY) * (scarcer + gpus);
        let weight = low(whole(weight.round().clamp(1.0, f64::from(u16::MAX))));
        u16::try_from(weight).unwrap_or(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::registry::{Gpu, Resources};

    fn node(cpu_cores: u32, memory_mib: u64, gpus: usize) -> Node {
        let gpus = vec![Gpu { model: "x".to_owned(), memory_mib: 1 }; gpus];
        let resources = Resources { cpu_cores, memory_mib, gpus, ..Resources::default() };
        Node { resources, ..Node::new("n".parse().unwrap()) }
    }

    #[test]
    fn the_scarcer_part_counts_and_what_is_not_told_is_left_out() {
        let policy = WeightPolicy::default();
        for (node, weight) in [
            (node(0, 0, 0), 100),
            (node(4, 8_192, 0), 100),
            (node(8, 3_072, 0), 38),
            (node(2, 0, 0), 50),
            (node(0, 65_536, 0), 800),
            (node(0, 0, 1), 500),
            (node(1, 1, 0), 1),
            (node(u32::MAX, 0, 64), 65_535),
        ] {
            assert_eq!(policy.weight(&node), weight, "{:?}", node.resources);
            assert_eq!(WeightPolicy::equal().weight(&node), 100);
        }
        let without_memory = WeightPolicy { memory_mib: None, ..policy };
        assert_eq!(without_memory.weight(&node(8, 1_024, 0)), 200);
    }

    #[test]
    fn a_label_sets_the_weight_if_it_is_one() {
        let policy = WeightPolicy::default();
        for (label, weight) in
            [("1", 1), ("65535", 65_535), ("0", 200), ("65536", 200), ("heavy", 200), ("-3", 200)]
        {
            let mut node = node(8, 0, 0);
            node.labels.insert("balancer-weight".to_owned(), label.to_owned());
            assert_eq!(policy.weight(&node), weight, "{label}");
            let other = WeightPolicy { label: Some("another".to_owned()), ..policy.clone() };
            assert_eq!(other.weight(&node), 200);
        }
    }

    #[test]
    fn a_policy_that_makes_no_sense_is_refused_with_its_field() {
        let policy = WeightPolicy::default;
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let bad_cores = WeightPolicy { cores: Some(bad), ..policy() };
            assert_eq!(bad_cores.check().unwrap_err().field(), Some("cores"));
            let bad_memory = WeightPolicy { memory_mib: Some(bad), ..policy() };
            assert_eq!(bad_memory.check().unwrap_err().field(), Some("memory_mib"));
        }
        let bad_gpu = WeightPolicy { gpu: 1_000.1, ..policy() };
        assert_eq!(bad_gpu.check().unwrap_err().field(), Some("gpu"));
        assert!(policy().check().is_ok() && WeightPolicy::equal().check().is_ok());
    }

    proptest! {
        #[test]
        fn more_of_anything_never_weighs_less(
            cores in 1_u32..10_000, memory in 1_u64..10_000_000, gpus in 0_usize..64,
        ) {
            let policy = WeightPolicy::default();
            let weight = policy.weight(&node(cores, memory, gpus));
            prop_assert!(weight >= 1);
            for more in
                [node(cores + 1, memory, gpus), node(cores, memory * 2, gpus), node(cores, memory, gpus + 1)]
            {
                prop_assert!(policy.weight(&more) >= weight);
            }
        }
    }
}
