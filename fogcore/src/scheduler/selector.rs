//! Conditions on a node's labels.
//!
//! ```
//! use fogcore::registry::Labels;
//! use fogcore::scheduler::Selector;
//!
//! let labels: Labels = [("os".to_owned(), "linux".to_owned())].into();
//! assert!(Selector::is("os", "linux").matches(&labels));
//! assert!(Selector::NotIn { key: "os".into(), values: vec!["ios".into()] }.matches(&labels));
//! assert!(!Selector::Exists { key: "battery".into() }.matches(&labels));
//! ```

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::registry::{Labels, check_label};

/// What a node's labels must be like. A label that is not there is in no list of values.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Selector {
    /// The label has one of these values.
    In {
        /// The label's key.
        key: String,
        /// The values, 1–64.
        values: Vec<String>,
    },
    /// The label is not there, or has none of these values.
    NotIn {
        /// The label's key.
        key: String,
        /// The values, 1–64.
        values: Vec<String>,
    },
    /// The label is there.
    Exists {
        /// The label's key.
        key: String,
    },
    /// The label is not there.
    NotExists {
        /// The label's key.
        key: String,
    },
}

impl Selector {
    /// The label `key` has this value.
    #[must_use]
    pub fn is(key: &str, value: &str) -> Self {
        Self::In { key: key.to_owned(), values: vec![value.to_owned()] }
    }

    /// The key of the label that it looks at.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::In { key, .. }
            | Self::NotIn { key, .. }
            | Self::Exists { key }
            | Self::NotExists { key } => key,
        }
    }

    /// Whether these labels meet it.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        match self {
            Self::In { key, values } => labels.get(key).is_some_and(|has| values.contains(has)),
            Self::NotIn { key, values } => !labels.get(key).is_some_and(|has| values.contains(has)),
            Self::Exists { key } => labels.contains_key(key),
            Self::NotExists { key } => !labels.contains_key(key),
        }
    }

    pub(super) fn check(&self, field: &'static str) -> Result<()> {
        check_label(self.key(), "")?;
        if let Self::In { values, .. } | Self::NotIn { values, .. } = self {
            if !(1..=64).contains(&values.len()) {
                return Err(Error::invalid(field, "a selector has 1–64 values"));
            }
            values.iter().try_for_each(|value| check_label(self.key(), value))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_that_is_missing_is_in_no_list() {
        let none = Labels::new();
        let values = vec!["a".to_owned()];
        assert!(!Selector::is("k", "a").matches(&none));
        assert!(Selector::NotIn { key: "k".into(), values }.matches(&none));
        assert!(Selector::NotExists { key: "k".into() }.matches(&none));
    }

    #[test]
    fn its_form_names_the_operation() {
        let text = serde_json::to_string(&Selector::is("os", "linux")).unwrap();
        assert_eq!(text, r#"{"op":"in","key":"os","values":["linux"]}"#);
    }

    #[test]
    fn a_selector_without_values_is_refused() {
        let empty = Selector::In { key: "k".into(), values: Vec::new() };
        assert_eq!(empty.check("required").unwrap_err().field(), Some("required"));
    }
}
