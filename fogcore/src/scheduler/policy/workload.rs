//! Which tasks are usual, and so what is left of a node is still good for.
//!
//! Two tasks can take as much of a node and leave it in very different states: 19 cores beside
//! seven idle GPUs are of little use when a usual task wants eight cores for each. So the workload
//! is learned as it comes (a histogram of shapes in which old arrivals fade), and two measures are
//! made of it:
//!
//! * **Fragmentation** (Weng et al., "Beware of Fragmentation", USENIX ATC 2023, §3): the GPU share
//!   on a node that the *next* task, drawn from the workload, could not use.
//! * **Waste and imbalance**: what *all* tasks to come could not use. A GPU of which some is taken
//!   wastes what the tasks that may still come will probably not fill ([`Outlook::waste`]); a node
//!   is out of balance by the GPU share that its CPU and memory do not last for
//!   ([`Outlook::stranded`]).
//!
//! The first is what FGD descends. It is blind for what one more task does not show: a node with
//! eight idle GPUs counts as whole until its CPU is too little for a single task, and by then seven
//! GPUs are lost. The second looks to the end, and costs two table look-ups.
//!
//! ```
//! use fogcore::scheduler::policy::Workload;
//! use fogcore::scheduler::{GpuRequirement, Requirements};
//!
//! let share = |milli| GpuRequirement { count: 1, milli, ..GpuRequirement::default() };
//! let task = |milli| Requirements { cpu_milli: 8_000, gpus: share(milli), ..Default::default() };
//! let mut workload = Workload::default();
//! workload.learn(&task(600), 0.5);
//! workload.learn(&task(400), 0.5);
//! let outlook = workload.outlook(None);
//! // What 600 leaves will be filled by a 400; what 400 leaves, too; what neither fits is wasted.
//! assert!(outlook.waste(400) < 1.0 && outlook.waste(600) < 1.0 && outlook.waste(300) == 300.0);
//! ```

use std::collections::HashMap;

use crate::scheduler::{Requirements, requirements::WHOLE_GPU};

/// What of a task decides where it fits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    cpu_milli: u32,
    count: u32,
    milli: u32,
    models: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    weight: f64,
    /// Memory is not part of a shape: it varies too much. The mean is kept.
    memory_mib: f64,
}

/// The tasks of late, by shape. Old arrivals count less: they fade by half whenever as many have
/// come as it remembers.
#[derive(Clone, Debug)]
pub struct Workload {
    shapes: HashMap<Key, Seen>,
    total: f64,
    unseen: f64,
    /// After so many arrivals all that came before counts half. Default 20,000.
    pub remembers: f64,
    /// How many of the tasks its shapes make up, the most frequent first. Default 0.95: the rest
    /// are one-offs, which would cost time and say nothing.
    pub covers: f64,
    /// How many arrivals a hole on a GPU can wait for to be filled. Default 64: with fewer, small
    /// holes are given up too early, with many more, rare tasks are counted on that never come.
    pub horizon: f64,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            shapes: HashMap::new(),
            total: 0.0,
            unseen: 0.0,
            remembers: 20_000.0,
            covers: 0.95,
            horizon: 64.0,
        }
    }
}

/// The most shapes that are remembered.
const MOST_SHAPES: usize = 4_096;

impl Workload {
    /// Takes in a task that arrived, `weight` times.
    pub fn learn(&mut self, needs: &Requirements, weight: f64) {
        let gpus = &needs.gpus;
        let (count, milli) = (gpus.count, if gpus.count == 0 { 0 } else { gpus.milli });
        let models = if count == 0 { Vec::new() } else { gpus.models.clone() };
        let key = Key { cpu_milli: needs.cpu_milli, count, milli, models };
        if self.shapes.len() >= MOST_SHAPES && !self.shapes.contains_key(&key) {
            self.forget_the_rarest();
        }
        let seen = self.shapes.entry(key).or_default();
        seen.weight += weight;
        seen.memory_mib += weight * needs.memory_mib as f64;
        self.total += weight;
        self.unseen += weight;
        if self.total > self.remembers * 2.0 {
            self.fade();
        }
    }

    /// Whether so much has come since the last look that a new one is worth its cost.
    #[must_use]
    pub fn is_news(&self) -> bool {
        self.unseen >= (self.total / 8.0).max(1.0)
    }

    /// The present shapes are taken note of.
    pub const fn looked(&mut self) {
        self.unseen = 0.0;
    }

    /// How many tasks it remembers.
    #[must_use]
    pub const fn len(&self) -> f64 {
        self.total
    }

    /// Whether it has seen nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shapes.is_empty()
    }

    fn fade(&mut self) {
        for seen in self.shapes.values_mut() {
            seen.weight /= 2.0;
            seen.memory_mib /= 2.0;
        }
        self.shapes.retain(|_, seen| seen.weight > 0.01);
        self.total = self.shapes.values().map(|seen| seen.weight).sum();
    }

    fn forget_the_rarest(&mut self) {
        let mut weights: Vec<f64> = self.shapes.values().map(|seen| seen.weight).collect();
        weights.sort_by(f64::total_cmp);
        let middle = weights.get(weights.len() / 2).copied().unwrap_or_default();
        self.shapes.retain(|_, seen| seen.weight > middle);
        self.total = self.shapes.values().map(|seen| seen.weight).sum();
    }

    /// What the workload means for nodes with GPUs of this model.
    #[must_use]
    pub fn outlook(&self, model: Option<&str>) -> Outlook {
        let mut all: Vec<_> = self.shapes.iter().collect();
        all.sort_by(|(a, x), (b, y)| y.weight.total_cmp(&x.weight).then_with(|| a.cmp(b)));
        let mut shapes = Vec::new();
        let mut covered = 0.0;
        for (key, seen) in all {
            if covered >= self.covers * self.total {
                break;
            }
            covered += seen.weight;
            let admitted = key.models.is_empty()
                || model.is_some_and(|model| key.models.iter().any(|admitted| admitted == model));
            shapes.push(Shape {
                weight: seen.weight,
                cpu_milli: key.cpu_milli.into(),
                memory_mib: seen.memory_mib / seen.weight,
                count: key.count,
                milli: i16::try_from(key.milli).unwrap_or(i16::MAX),
                admitted,
            });
        }
        shapes.iter_mut().for_each(|shape| shape.weight /= covered);
        Outlook::new(shapes, self.horizon)
    }
}

/// A usual task.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Its share of the workload.
    pub weight: f64,
    /// Its CPU, in thousandths of a core.
    pub cpu_milli: i64,
    /// Its memory in MiB, on average.
    pub memory_mib: f64,
    /// How many GPUs.
    pub count: u32,
    /// How much of each.
    pub milli: i16,
    /// Whether the GPUs that the outlook is for will do.
    pub admitted: bool,
}

/// What is left of a node, seen by what will come.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlook {
    shapes: Vec<Shape>,
    asks: Vec<Ask>,
    /// By what is free of a GPU, 0–1,000: what of it will not be used.
    waste: Vec<f32>,
    /// CPU that a usual task takes for each thousandth of a GPU.
    pub cpu_per_milli: f64,
    /// Memory that it takes for that.
    pub mib_per_milli: f64,
}

/// Tasks that ask for the same of GPUs, by the CPU that they ask for.
#[derive(Clone, Debug, PartialEq)]
struct Ask {
    count: u32,
    milli: i16,
    /// Growing.
    cpu_milli: Vec<i64>,
    /// The share of the workload of the first n of them.
    weights: Vec<f64>,
}

impl Ask {
    fn all(shapes: &[Shape]) -> Vec<Self> {
        let mut sorted: Vec<_> =
            shapes.iter().filter(|shape| shape.admitted && shape.count > 0).collect();
        sorted.sort_by_key(|shape| (shape.milli, shape.count, shape.cpu_milli));
        let mut asks: Vec<Self> = Vec::new();
        for shape in sorted {
            let (count, milli) = (shape.count, shape.milli);
            if asks.last().is_none_or(|ask| (ask.count, ask.milli) != (count, milli)) {
                asks.push(Self { count, milli, cpu_milli: Vec::new(), weights: vec![0.0] });
            }
            let Some(ask) = asks.last_mut() else { continue };
            ask.cpu_milli.push(shape.cpu_milli);
            ask.weights.push(ask.weights.last().copied().unwrap_or_default() + shape.weight);
        }
        asks
    }
}

impl Outlook {
    fn new(shapes: Vec<Shape>, horizon: f64) -> Self {
        let fitting = || shapes.iter().filter(|shape| shape.admitted && shape.count > 0);
        let milli = |shape: &Shape| f64::from(shape.count) * f64::from(shape.milli);
        let gpu: f64 = fitting().map(|shape| shape.weight * milli(shape)).sum();
        let per_milli = |sum: f64| if gpu > 0.0 { sum / gpu } else { 0.0 };
        let cpu = fitting().map(|shape| shape.weight * shape.cpu_milli as f64).sum();
        let memory = fitting().map(|shape| shape.weight * shape.memory_mib).sum();
        let mut shares: Vec<(i16, f64)> = Vec::new();
        for shape in fitting() {
            let weight = shape.weight * f64::from(shape.count);
            match shares.iter_mut().find(|(milli, _)| *milli == shape.milli) {
                Some((_, sum)) => *sum += weight,
                None => shares.push((shape.milli, weight)),
            }
        }
        let (cpu_per_milli, mib_per_milli) = (per_milli(cpu), per_milli(memory));
        let waste = waste(&shares, horizon);
        let asks = Ask::all(&shapes);
        Self { shapes, asks, waste, cpu_per_milli, mib_per_milli }
    }

    /// The usual tasks, the most frequent first.
    #[must_use]
    pub fn shapes(&self) -> &[Shape] {
        &self.shapes
    }

    /// How much of a GPU's free share (0–1,000) will probably not be used.
    #[must_use]
    pub fn waste(&self, free: i16) -> f64 {
        let place = usize::try_from(free).unwrap_or(0);
        self.waste.get(place).or(self.waste.last()).copied().unwrap_or_default().into()
    }

    /// By how much CPU and memory last longer (above zero) or less long than `idle` thousandths of
    /// GPUs, in that unit, when usual tasks fill the node.
    #[must_use]
    pub fn slack(&self, cpu_milli: i64, memory_mib: i64, idle: i64) -> f64 {
        let lasts = |free: i64, per_milli: f64| {
            // A task that needs none of it could go on for ever.
            if per_milli > 0.0 { free as f64 / per_milli } else { 1e9 }
        };
        let cpu = lasts(cpu_milli, self.cpu_per_milli);
        cpu.min(lasts(memory_mib, self.mib_per_milli)) - idle as f64
    }

    /// The idle share of GPUs that CPU and memory do not last for, in thousandths.
    #[must_use]
    pub fn stranded(&self, cpu_milli: i64, memory_mib: i64, idle: i64) -> f64 {
        (-self.slack(cpu_milli, memory_mib, idle)).max(0.0).min(idle as f64)
    }

    /// The fragmentation measure of FGD: how much of the idle GPU share the next task could not
    /// use, in thousandths, on average over the workload.
    ///
    /// For a task that does not fit, or needs no GPU, that is all of it, else what is on GPUs with
    /// less left than its share.
    #[must_use]
    pub fn fragmentation(&self, cpu_milli: i64, gpu_milli: &[i16]) -> f64 {
        let idle: i64 = gpu_milli.iter().map(|free| i64::from(*free).max(0)).sum();
        let (mut fits, mut lost) = (0.0, 0.0);
        for ask in &self.asks {
            let (mut fitting, mut too_small) = (0_u32, 0_i32);
            for free in gpu_milli {
                let enough = *free >= ask.milli;
                fitting += u32::from(enough);
                too_small += if enough { 0 } else { i32::from((*free).max(0)) };
            }
            if fitting >= ask.count {
                let with_cpu = ask.cpu_milli.partition_point(|cpu| *cpu <= cpu_milli);
                let weight = ask.weights[with_cpu];
                fits += weight;
                lost += weight * f64::from(too_small);
            }
        }
        lost + (1.0 - fits) * idle as f64
    }
}

/// By what is free of a GPU, what of it the tasks to come will not use.
///
/// Of the tasks that fit a hole, the one that leaves least (of itself and of what then follows) is
/// best; it is among the next `horizon` arrivals with the chance `1 − exp(−horizon × share)`, else
/// the second best may be, and so on.
fn waste(shares: &[(i16, f64)], horizon: f64) -> Vec<f32> {
    let whole = usize::try_from(WHOLE_GPU).unwrap_or(1_000);
    let mut used = vec![0.0_f64; whole + 1];
    let mut waste = vec![0.0_f32; whole + 1];
    let mut options: Vec<(f64, f64)> = Vec::with_capacity(shares.len());
    for free in 1..=whole {
        options.clear();
        for (milli, share) in shares {
            let milli = usize::try_from(*milli).unwrap_or(0);
            if milli > 0 && milli <= free {
                options.push((milli as f64 + used[free - milli], 1.0 - (-share * horizon).exp()));
            }
        }
        options.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        let mut nobody = 1.0;
        for (value, chance) in &options {
            used[free] += nobody * chance * value;
            nobody *= 1.0 - chance;
        }
        // What is lost is a fraction of 1,000: half of a float's digits are enough.
        #[expect(clippy::cast_possible_truncation, reason = "a table of rough numbers")]
        {
            waste[free] = (free as f64 - used[free]) as f32;
        }
    }
    waste
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::GpuRequirement;

    fn task(cpu_milli: u32, count: u32, milli: u32) -> Requirements {
        let gpus = GpuRequirement { count, milli, ..GpuRequirement::default() };
        Requirements { cpu_milli, memory_mib: 1_000, gpus, ..Requirements::default() }
    }

    #[test]
    fn the_paper_s_measure_counts_what_the_next_task_cannot_use() {
        let mut workload = Workload::default();
        workload.learn(&task(4_000, 1, 500), 0.5);
        workload.learn(&task(4_000, 2, 1_000), 0.25);
        workload.learn(&task(4_000, 0, 0), 0.25);
        workload.covers = 1.0;
        let outlook = workload.outlook(None);
        // Half of the tasks can use only the first, the others nothing at all.
        assert!((outlook.fragmentation(8_000, &[600, 300]) - 600.0).abs() < 1e-9);
        // Without CPU, all is lost.
        assert!((outlook.fragmentation(0, &[600, 300]) - 900.0).abs() < 1e-9);
    }

    #[test]
    fn cpu_that_does_not_last_strands_gpus() {
        let mut workload = Workload::default();
        workload.learn(&task(8_000, 1, 1_000), 1.0);
        let outlook = workload.outlook(None);
        assert!((outlook.stranded(16_000, 1 << 40, 8_000) - 6_000.0).abs() < 1e-9);
        assert!(outlook.stranded(64_000, 1 << 40, 8_000).abs() < 1e-9);
        assert!((outlook.stranded(-5, 1 << 40, 3_000) - 3_000.0).abs() < 1e-9);
    }

    #[test]
    fn a_task_for_another_model_is_no_hope() {
        let mut workload = Workload::default();
        let mut wanted = task(8_000, 1, 1_000);
        wanted.gpus.models = vec!["A100".into()];
        workload.learn(&wanted, 1.0);
        assert!(workload.outlook(Some("A100")).waste(1_000) < 1.0);
        assert!((workload.outlook(Some("T4")).waste(1_000) - 1_000.0).abs() < 1e-3);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_fades() {
        let mut workload = Workload { remembers: 100.0, ..Workload::default() };
        for number in 0..10_000 {
            workload.learn(&task(number, 1, 1_000), 1.0);
        }
        assert!(workload.shapes.len() <= MOST_SHAPES && workload.len() <= 201.0);
    }
}
