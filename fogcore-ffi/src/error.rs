//! Errors for callers in other languages: one variant for each kind of the core's.

use fogcore::balancer::NoNode;
use fogcore::{Error, ErrorKind};

use crate::values::Span;

/// What went wrong, by what a caller can do about it.
// No field may be called `message`: the generated exceptions have a property of that name.
#[derive(Clone, Debug, PartialEq, thiserror::Error, uniffi::Error)]
pub enum FogError {
    /// The thing named does not exist.
    #[error("{reason}")]
    NotFound {
        /// What was looked for, for people.
        reason: String,
    },
    /// The request contradicts what is already there. Repeating it cannot help.
    #[error("{reason}")]
    Conflict {
        /// What it contradicts, for people.
        reason: String,
    },
    /// The input breaks a rule.
    #[error("{reason}")]
    InvalidInput {
        /// The field that is at fault, if one is.
        field: Option<String>,
        /// The rule, for people.
        reason: String,
    },
    /// The service cannot answer now: busy, disconnected, shutting down. Repeating may help.
    #[error("{reason}")]
    Unavailable {
        /// After how long it is worth asking again, if that is known.
        retry_after: Option<Span>,
        /// Why, for people.
        reason: String,
    },
    /// A limit is reached: a full queue, a full disk, an account without the funds.
    #[error("{reason}")]
    Exhausted {
        /// Which, for people.
        reason: String,
    },
    /// The caller may not do this.
    #[error("{reason}")]
    Denied {
        /// Why, for people.
        reason: String,
    },
    /// A defect, or damage that the core cannot explain.
    #[error("{reason}")]
    Internal {
        /// What is known of it, for a report.
        reason: String,
    },
}

impl FogError {
    pub(crate) fn of_kind(kind: ErrorKind, reason: String) -> Self {
        match kind {
            ErrorKind::NotFound => Self::NotFound { reason },
            ErrorKind::Conflict => Self::Conflict { reason },
            ErrorKind::InvalidInput => Self::InvalidInput { field: None, reason },
            ErrorKind::Unavailable => Self::Unavailable { retry_after: None, reason },
            ErrorKind::Exhausted => Self::Exhausted { reason },
            ErrorKind::Denied => Self::Denied { reason },
            ErrorKind::Internal => Self::Internal { reason },
        }
    }

    pub(crate) fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { retry_after: None, reason: reason.into() }
    }

    pub(crate) fn internal(reason: impl Into<String>) -> Self {
        Self::Internal { reason: reason.into() }
    }

    pub(crate) fn shut_down() -> Self {
        Self::unavailable("this fog was shut down")
    }
}

impl From<Error> for FogError {
    fn from(error: Error) -> Self {
        let reason = error.to_string();
        match Self::of_kind(error.kind(), reason) {
            Self::InvalidInput { reason, .. } => {
                Self::InvalidInput { field: error.field().map(str::to_owned), reason }
            }
            Self::Unavailable { reason, .. } => {
                let told = error.downcast_ref::<NoNode>().and_then(|none| none.retry_after);
                Self::Unavailable { retry_after: told.map(Span), reason }
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(error: &FogError) -> ErrorKind {
        match error {
            FogError::NotFound { .. } => ErrorKind::NotFound,
            FogError::Conflict { .. } => ErrorKind::Conflict,
            FogError::InvalidInput { .. } => ErrorKind::InvalidInput,
            FogError::Unavailable { .. } => ErrorKind::Unavailable,
            FogError::Exhausted { .. } => ErrorKind::Exhausted,
            FogError::Denied { .. } => ErrorKind::Denied,
            FogError::Internal { .. } => ErrorKind::Internal,
        }
    }

    #[test]
    fn every_kind_of_the_core_has_a_variant_of_its_own_and_keeps_its_text() {
        for kind in ErrorKind::ALL {
            let error = FogError::from(Error::new(kind, "what happened"));
            assert_eq!(kind_of(&error), kind);
            assert_eq!(error.to_string(), "what happened");
        }
    }

    #[test]
    fn the_field_at_fault_and_the_time_to_wait_come_along() {
        let bad = Error::invalid("slots", "too many");
        let FogError::InvalidInput { field, reason } = bad.into() else { panic!("another kind") };
        assert_eq!((field.as_deref(), reason.as_str()), (Some("slots"), "slots: too many"));
        let wait = Some(std::time::Duration::from_secs(3));
        let none = Error::from(NoNode { ready: 0, unwell: 1, retry_after: wait });
        let FogError::Unavailable { retry_after, .. } = none.into() else { panic!("another kind") };
        assert_eq!(retry_after.map(|span| span.0), wait);
    }
}
