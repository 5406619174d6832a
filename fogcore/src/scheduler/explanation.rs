//! Why a task went where it went, in a form that people and programs can read.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

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
        }
    }
}

/// What a term of the score measures, each from 0 (bad) to 1 (good).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OnlyCandidate => "no other node could take it",
            Self::BestScore => "it had the best score",
            Self::CloseEnough => "its score was as good as the best",
            Self::PatienceOver => "better nodes did not ask for it in time",
        })
    }
}

/// Why a task was leased to a node.
///
/// ```
/// # use fogcore::scheduler::{Considered, Explanation, Reason, Term};
/// # use fogcore::time::Timestamp;
/// let terms = [(Term::Headroom, 0.5)].into();
/// let node = "laptop".parse().unwrap();
/// let considered = vec![Considered { node, refused: None, terms, score: 0.5 }];
/// let explanation = Explanation {
///     chosen: "laptop".parse().unwrap(),
///     reason: Reason::OnlyCandidate,
///     weights: [(Term::Headroom, 1.0)].into(),
///     considered,
///     at: Timestamp::UNIX_EPOCH,
/// };
/// let text = explanation.to_string();
/// assert!(text.starts_with("laptop was chosen: no other node could take it"));
/// assert!(text.contains("laptop 0.500 = headroom 0.50 × 1.00"));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The node that got the lease.
    pub chosen: NodeId,
    /// Why this one.
    pub reason: Reason,
    /// How much each term counted; the weights sum to 1.
    pub weights: BTreeMap<Term, f64>,
    /// All nodes that were considered, the one that asked first.
    pub considered: Vec<Considered>,
    /// When.
    pub at: Timestamp,
}

impl Explanation {
    /// How much this term counted.
    #[must_use]
    pub fn weight(&self, term: Term) -> f64 {
        self.weights.get(&term).copied().unwrap_or_default()
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was chosen: {}", self.chosen, self.reason)?;
        for considered in &self.considered {
            write!(f, "\n  {}", considered.node)?;
            if let Some(refusal) = &considered.refused {
                write!(f, " refused: {refusal}")?;
                continue;
            }
            write!(f, " {:.3} =", considered.score)?;
            for (index, (term, value)) in considered.terms.iter().enumerate() {
                let plus = if index == 0 { "" } else { " +" };
                let (name, weight) = (format!("{term:?}").to_lowercase(), self.weight(*term));
                write!(f, "{plus} {name} {value:.2} × {weight:.2}")?;
            }
        }
        Ok(())
    }
}
