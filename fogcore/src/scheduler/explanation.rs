//! Why a task went where it went, in a form that people and programs can read.

use std::fmt;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TermName {
    /// The node's quality score.
    Quality,
    /// The share of its slots that is free.
    Headroom,
    /// Mains power, or what is left of the battery.
    Energy,
    /// How cheap it is beside the cheapest one considered.
    Price,
}

/// One term of a node's score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Term {
    /// What it measures.
    pub name: TermName,
    /// How good the node is in it, 0–1.
    pub value: f64,
    /// How much that counts; the weights of all terms sum to 1.
    pub weight: f64,
}

/// A node that was considered for a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Considered {
    /// The node.
    pub node: NodeId,
    /// Why it was out of the question, if it was.
    pub refused: Option<Refusal>,
    /// What its score is made of; empty if it was out of the question.
    pub terms: Vec<Term>,
    /// The sum of value × weight, 0–1.
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
/// # use fogcore::scheduler::{Considered, Explanation, Reason, Term, TermName};
/// # use fogcore::time::Timestamp;
/// let terms = vec![Term { name: TermName::Headroom, value: 0.5, weight: 1.0 }];
/// let node = "laptop".parse().unwrap();
/// let considered = vec![Considered { node, refused: None, terms, score: 0.5 }];
/// let explanation = Explanation {
///     chosen: "laptop".parse().unwrap(),
///     reason: Reason::OnlyCandidate,
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
    /// All nodes that were considered, the one that asked first.
    pub considered: Vec<Considered>,
    /// When.
    pub at: Timestamp,
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
            for (index, term) in considered.terms.iter().enumerate() {
                let plus = if index == 0 { "" } else { " +" };
                let name = format!("{:?}", term.name).to_lowercase();
                write!(f, "{plus} {name} {:.2} × {:.2}", term.value, term.weight)?;
            }
        }
        Ok(())
    }
}
