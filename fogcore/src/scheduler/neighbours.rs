//! Which tasks that must not fail together are near each other.
//!
//! ```
//! use fogcore::registry::Node;
//! use fogcore::scheduler::{Apart, Load, Neighbours};
//!
//! let apart = Apart { group: "db".into(), key: Some("zone".into()), most: 1 };
//! let in_zone = |name: &str| {
//!     let mut node = Node::new(name.parse().unwrap());
//!     node.labels.insert("zone".into(), "east".into());
//!     node
//! };
//! let mut neighbours = Neighbours::default();
//! neighbours.add(&apart, &in_zone("a"), 1);
//! // Nothing runs on b itself, but something of the group is in its zone.
//! assert_eq!(neighbours.alike(&apart, &in_zone("b"), &Load::default()), 1);
//! ```

use std::collections::{BTreeSet, HashMap};

use super::{Apart, Load, Task};
use crate::registry::Node;

/// A group, the label that nodes are told apart by for it, and a value of that label.
type Domain = (String, String, String);

/// Of groups that are kept apart by a label: how many of their tasks are on nodes that share a
/// value of it.
#[derive(Clone, Debug, Default)]
pub struct Neighbours(HashMap<Domain, u32>);

impl Neighbours {
    /// The groups of these tasks that are kept apart by a label, with its key.
    pub fn groups<'t>(tasks: impl Iterator<Item = &'t Task>) -> BTreeSet<(&'t str, &'t str)> {
        let apart = tasks.filter_map(|task| task.spec.requirements.apart.as_ref());
        apart.filter_map(|apart| Some((apart.group.as_str(), apart.key.as_deref()?))).collect()
    }

    /// Adds so many tasks of the group that are on this node.
    pub fn add(&mut self, apart: &Apart, node: &Node, tasks: u32) {
        if let Some((key, value)) = apart.shared_by(node) {
            self.add_near(&apart.group, key, value, tasks);
        }
    }

    /// Adds so many tasks of the group that are on nodes with this label.
    pub fn add_near(&mut self, group: &str, key: &str, value: &str, tasks: u32) {
        if tasks > 0 {
            *self.0.entry((group.into(), key.into(), value.into())).or_default() += tasks;
        }
    }

    /// How many tasks of the group are near this node, which has this `load` itself.
    #[must_use]
    pub fn alike(&self, apart: &Apart, node: &Node, load: &Load) -> u32 {
        let own = load.of_group(apart);
        let Some((key, value)) = apart.shared_by(node) else { return own };
        // Most fogs keep nothing apart by labels, and need no look.
        let near = if self.0.is_empty() {
            None
        } else {
            self.0.get(&(apart.group.clone(), key.to_owned(), value.to_owned()))
        };
        near.copied().unwrap_or_default().max(own)
    }
}
