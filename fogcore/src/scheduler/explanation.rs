//! Why a task went where it went, in a form that people and programs can read.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::amount::Amount;
use crate::id::NodeId;
use crate::registry::{Ineligible, Liveness};
use crate::time::Timestamp;

/// Why a node was out of the question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "filter", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Refusal {
    /// It is not online.
    NotOnline {
        /// What it is instead.
        liveness: Liveness,
    },
    /// Its power state forbids work.
    Ineligible {
        /// Which rule.
        reason: Ineligible,
    },
    /// It does not serve the task's kind.
    KindNotServed,
    /// All its slots are taken.
    NoFreeSlot {
        /// How many it has.
        slots: u32,
    },
    /// It has less of a resource than the task needs.
    TooLittle {
        /// Of what.
        resource: String,
        /// What the task needs.
        needed: u64,
        /// What is there, after its running tasks.
        free: u64,
    },
    /// It lacks a label that the task demands.
    LabelMissing {
        /// The label's key.
        key: String,
    },
    /// It stands elsewhere.
    WrongRegion {
        /// Where.
        region: String,
    },
    /// Its quality is below the task's bar.
    QualityTooLow {
        /// Its quality, 0–100.
        quality: f64,
    },
    /// Its trust is below the task's bar.
    TrustTooLow {
        /// Its trust, 0–1.
        trust: f64,
    },
    /// It is farther away than the task allows.
    TooFar {
        /// The round-trip time to it, in ms.
        latency_ms: f64,
    },
    /// It asks for more than the task allows.
    TooDear {
        /// What a second costs there, in base units; none if that is beyond counting.
        price: Option<Amount>,
    },
    /// The task wants it for itself, or another task has it so.
    NotAlone {
        /// How many tasks it has.
        tasks: u32,
    },
    /// Too many tasks of the task's group are there, or share a label's value with it.
    TooManyAlike {
        /// The group.
        group: String,
        /// How many.
        found: u32,
    },
    /// It is being emptied.
    Draining,
    /// Somebody's own filter refused it.
    Own {
        /// Why, for people.
        reason: String,
    },
}

impl Refusal {
    /// The name of the standard filter that says so; `own` for other filters', which have names of
    /// their own.
    #[must_use]
    pub fn filter(&self) -> &'static str {
        match self {
            Self::NotOnline { .. } => "online",
            Self::Ineligible { .. } => "eligible",
            Self::KindNotServed => "kind",
            Self::NoFreeSlot { .. } => "slots",
            Self::TooLittle { resource, .. } if resource == "gpus" => "gpus",
            Self::TooLittle { resource, .. } if resource == "bandwidth_mbps" => "bandwidth",
            Self::TooLittle { .. } => "resources",
            Self::LabelMissing { .. } => "labels",
            Self::WrongRegion { .. } => "region",
            Self::QualityTooLow { .. } => "quality",
            Self::TrustTooLow { .. } => "trust",
            Self::TooFar { .. } => "latency",
            Self::TooDear { .. } => "price",
            Self::NotAlone { .. } => "exclusive",
            Self::TooManyAlike { .. } => "apart",
            Self::Draining => "draining",
            Self::Own { .. } => "own",
        }
    }

    /// How much of what is asked is missing, 0–1; all of it, where it is no amount.
    fn missing(&self) -> f64 {
        match self {
            Self::TooLittle { needed, free, .. } => {
                needed.saturating_sub(*free) as f64 / (*needed).max(1) as f64
            }
            _ => 1.0,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOnline { liveness } => write!(f, "not online ({liveness:?})"),
            Self::Ineligible { reason } => write!(f, "may not work now ({reason})"),
            Self::KindNotServed => f.write_str("does not serve this kind"),
            Self::NoFreeSlot { slots } => write!(f, "all {slots} slots are taken"),
            Self::TooLittle { resource, needed, free } => {
                write!(f, "{resource}: needs {needed}, {free} free")
            }
            Self::LabelMissing { key } => write!(f, "label {key} does not match"),
            Self::WrongRegion { region } => write!(f, "stands in {region:?}"),
            Self::QualityTooLow { quality } => write!(f, "quality is only {quality}"),
            Self::TrustTooLow { trust } => write!(f, "trust is only {trust}"),
            Self::TooFar { latency_ms } => write!(f, "{latency_ms} ms away"),
            Self::TooDear { price: Some(price) } => write!(f, "asks for {}", price.base_units()),
            Self::TooDear { price: None } => f.write_str("asks for more than can be counted"),
            Self::NotAlone { tasks } => write!(f, "not alone beside {tasks} tasks"),
            Self::TooManyAlike { group, found } => write!(f, "{found} of {group} are there"),
            Self::Draining => f.write_str("is being emptied"),
            Self::Own { reason } => f.write_str(reason),
        }
    }
}

/// What a term of the score measures, each from 0 (bad) to 1 (good).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Term {
    /// The node's quality score.
    Quality,
    /// The share of its slots that is free.
    Headroom,
    /// Mains power, or what is left of the battery.
    Energy,
    /// How cheap it is beside the cheapest one considered.
    Price,
    /// How fast it is beside the fastest.
    Speed,
    /// The chance that it stays until the task is done.
    Stay,
    /// How much of the task's data is there.
    Locality,
    /// How much of what is preferred of its labels is so.
    Preference,
    /// How little of its GPUs is wasted or stranded by the task; 0.5 means that nothing changes.
    Fit,
    /// What a policy without terms makes of it: 1 for the least cost, towards 0 for more.
    Cost,
    /// What a score of somebody's own measures, by its name in snake case.
    #[serde(untagged)]
    Own(Cow<'static, str>),
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(name) => f.pad(name),
            own => f.pad(&format!("{own:?}").to_lowercase()),
        }
    }
}

/// A node that was considered for a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Considered {
    /// The node.
    pub node: NodeId,
    /// Why it was out of the question, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refusal>,
    /// How good it is in each term, 0–1; empty if it was out of the question.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub terms: BTreeMap<Term, f64>,
    /// The sum of value × weight over all terms, 0–1.
    pub score: f64,
}

/// Why the chosen node was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// No other could take it.
    OnlyCandidate,
    /// Nobody scored better.
    BestScore,
    /// Somebody scored better, but by less than is worth waiting for.
    CloseEnough,
    /// A better one did not ask for the task in time.
    PatienceOver,
    /// No node could take it.
    NothingFits,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OnlyCandidate => "no other node could take it",
            Self::BestScore => "it had the best score",
            Self::CloseEnough => "its score was as good as the best",
            Self::PatienceOver => "better nodes did not ask for it in time",
            Self::NothingFits => "no node can take it",
        })
    }
}

/// Why a task went where it went, or nowhere.
///
/// ```
/// # use fogcore::scheduler::{Considered, Explanation, Reason, Term};
/// # use fogcore::time::Timestamp;
/// let terms = [(Term::Headroom, 0.5)].into();
/// let node = "laptop".parse().unwrap();
/// let considered = vec![Considered { node, refused: None, terms, score: 0.5 }];
/// let explanation = Explanation {
///     chosen: Some("laptop".parse().unwrap()),
///     weights: [(Term::Headroom, 1.0)].into(),
///     considered,
///     ..Explanation::new(Reason::OnlyCandidate, Timestamp::UNIX_EPOCH)
/// };
/// let text = explanation.to_string();
/// assert!(text.starts_with("laptop was chosen: no other node could take it"));
/// assert!(text.contains("laptop 0.500 = headroom 0.50 × 1.00"));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The node that got the task; none if nobody could.
    pub chosen: Option<NodeId>,
    /// Why this one.
    pub reason: Reason,
    /// Which of the node's GPUs, by their places in its list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<u32>,
    /// How much each term counted.
    pub weights: BTreeMap<Term, f64>,
    /// The nodes that were considered: the one that asked first, or else the best first. Of many,
    /// those at the head.
    pub considered: Vec<Considered>,
    /// How many nodes each filter refused, by the first reason of each node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, u64>,
    /// What the choice cost, in the policy's own measure; none where nodes asked, and the scores
    /// say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
    /// What the second choice would have cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<Second>,
    /// What would let a task run that nobody could take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relaxation: Option<Relaxation>,
    /// When.
    pub at: Timestamp,
}

/// The second choice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// The node.
    pub node: NodeId,
    /// How much worse it is, in the policy's own measure; zero for one that is as good, less for a
    /// better one that did not ask.
    pub behind: f64,
}

/// The smallest change that would let a task run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Relaxation {
    /// Where it would run then.
    pub node: NodeId,
    /// What stands in its way there.
    pub refusals: Vec<Refusal>,
}

impl Relaxation {
    /// Where least is in the way: as few filters as possible, and of those that miss resources, the
    /// smallest share of what is asked.
    pub(super) fn least<'n>(
        nodes: impl Iterator<Item = (&'n NodeId, Vec<Refusal>)>,
    ) -> Option<Self> {
        let far = |(_, refusals): &(&NodeId, Vec<Refusal>)| {
            (refusals.len(), refusals.iter().map(Refusal::missing).sum::<f64>())
        };
        let least = nodes.min_by(|one, other| {
            let ((a, x), (b, y)) = (far(one), far(other));
            a.cmp(&b).then(x.total_cmp(&y))
        });
        least.map(|(node, refusals)| Self { node: node.clone(), refusals })
    }
}

impl Explanation {
    /// An explanation with nothing in it but the reason.
    #[must_use]
    pub fn new(reason: Reason, at: Timestamp) -> Self {
        Self {
            chosen: None,
            reason,
            devices: Vec::new(),
            weights: BTreeMap::new(),
            considered: Vec::new(),
            refused: BTreeMap::new(),
            cost: None,
            second: None,
            relaxation: None,
            at,
        }
    }

    /// What of the others that were considered for a task is told in short: who would have been
    /// next, and how many each filter refused. The chosen one is the first.
    pub(super) fn tell_of_others(&mut self, considered: &[Considered]) {
        let Some((chosen, others)) = considered.split_first() else { return };
        for refusal in others.iter().filter_map(|other| other.refused.as_ref()) {
            *self.refused.entry(refusal.filter().to_owned()).or_default() += 1;
        }
        let fit = others.iter().filter(|other| other.refused.is_none());
        let next = fit.max_by(|one, other| one.score.total_cmp(&other.score));
        self.second =
            next.map(|next| Second { node: next.node.clone(), behind: chosen.score - next.score });
    }

    /// How much this term counted.
    #[must_use]
    pub fn weight(&self, term: &Term) -> f64 {
        self.weights.get(term).copied().unwrap_or_default()
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.chosen {
            Some(chosen) => write!(f, "{chosen} was chosen: {}", self.reason)?,
            None => write!(f, "nobody was chosen: {}", self.reason)?,
        }
        for considered in &self.considered {
            write!(f, "\n  {}", considered.node)?;
            if let Some(refusal) = &considered.refused {
                write!(f, " refused: {refusal}")?;
                continue;
            }
            write!(f, " {:.3} =", considered.score)?;
            for (index, (term, value)) in considered.terms.iter().enumerate() {
                let plus = if index == 0 { "" } else { " +" };
                write!(f, "{plus} {term} {value:.2} × {:.2}", self.weight(term))?;
            }
        }
        for (filter, nodes) in &self.refused {
            write!(f, "\n  {nodes} nodes refused by {filter}")?;
        }
        if let Some(second) = &self.second {
            write!(f, "\n  second choice {}, {:.3} behind", second.node, second.behind)?;
        }
        if let Some(relaxation) = &self.relaxation {
            write!(f, "\n  it would run on {} but for", relaxation.node)?;
            for (index, refusal) in relaxation.refusals.iter().enumerate() {
                write!(f, "{} {refusal}", if index == 0 { ":" } else { ";" })?;
            }
        }
        Ok(())
    }
}
