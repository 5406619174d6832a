//! One error type for callers, with a coarse kind that every adapter can map completely.
//!
//! Each area of the core has an error enum of its own that says precisely what went wrong
//! ([`AmountError`](crate::amount::AmountError), [`LedgerError`](crate::ledger::LedgerError), …).
//! All of them fold into [`Error`], which keeps the precise error as its source and adds what an
//! adapter needs to answer: the [`ErrorKind`] and, for bad input, the name of the field.
//!
//! ```
//! use fogcore::{Error, ErrorKind, id::NodeId};
//!
//! let error: Error = "two words".parse::<NodeId>().unwrap_err().into();
//! assert_eq!(error.kind(), ErrorKind::InvalidInput);
//! assert_eq!(error.field(), Some("node id"));
//! assert_eq!(error.to_string(), "node id: ' ' at position 4 is not a visible character");
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a caller can do about an error. Adapters map each kind to their own vocabulary (an HTTP
/// status, an exception class), and [`ErrorKind::ALL`] lets their tests prove that none is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The thing named does not exist.
    NotFound,
    /// The request contradicts what is already there: another content under the same id, a stale
    /// lease, a state that does not allow the change. Repeating it cannot help.
    Conflict,
    /// The input breaks a rule; [`Error::field`] names the field.
    InvalidInput,
    /// The service cannot answer now (busy, disconnected, shutting down). Repeating may help.
    Unavailable,
    /// A limit is reached: a full queue, a full disk, an account without the funds.
    Exhausted,
    /// The caller may not do this.
    Denied,
    /// A defect, or damage that the core cannot explain.
    Internal,
}

impl ErrorKind {
    /// Every kind, for adapters that must map all of them.
    pub const ALL: [Self; 7] = [
        Self::NotFound,
        Self::Conflict,
        Self::InvalidInput,
        Self::Unavailable,
        Self::Exhausted,
        Self::Denied,
        Self::Internal,
    ];
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "not found",
            Self::Conflict => "conflict",
            Self::InvalidInput => "invalid input",
            Self::Unavailable => "unavailable",
            Self::Exhausted => "exhausted",
            Self::Denied => "denied",
            Self::Internal => "internal",
        })
    }
}

/// The result of every fallible call of the core.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of any area: its kind, the field it is about, and the precise error as its source.
///
/// Cheap to clone, because one failed commit answers many callers.
#[derive(Clone)]
pub struct Error {
    kind: ErrorKind,
    field: Option<&'static str>,
    source: std::sync::Arc<dyn std::error::Error + Send + Sync>,
}

impl Error {
    /// An error of `kind` that is explained by `source`: an area's error, or a plain text.
    pub fn new(
        kind: ErrorKind,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, field: None, source: source.into().into() }
    }

    /// Bad input in `field`.
    pub fn invalid(
        field: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { field: Some(field), ..Self::new(ErrorKind::InvalidInput, source) }
    }

    /// The same error, with what was being done in front of its text.
    #[must_use]
    pub fn context(self, doing: &str) -> Self {
        let text: Box<dyn std::error::Error + Send + Sync> =
            format!("{doing}: {}", self.source).into();
        Self { source: text.into(), ..self }
    }

    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The input field that is at fault, if one is.
    #[must_use]
    pub fn field(&self) -> Option<&'static str> {
        self.field
    }

    /// The area's own error, if it is an `E`.
    #[must_use]
    pub fn downcast_ref<E: std::error::Error + 'static>(&self) -> Option<&E> {
        self.source.downcast_ref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(field) = self.field {
            write!(f, "{field}: ")?;
        }
        self.source.fmt(f)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.kind)
            .field("field", &self.field)
            .field("source", &self.source)
            .finish()
    }
}

impl std::error::Error for Error {
    // The source is already this error's own text; what lies below it comes next.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_listed_once_and_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> =
            ErrorKind::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(names.len(), ErrorKind::ALL.len());
    }

    #[test]
    fn the_precise_error_survives_the_folding() {
        let precise = "".parse::<crate::id::NodeId>().unwrap_err();
        let folded = Error::from(precise.clone());
        assert_eq!(folded.downcast_ref::<crate::id::IdError>(), Some(&precise));
    }
}
