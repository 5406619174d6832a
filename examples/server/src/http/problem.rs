//! Why a request was refused – once for all families, each of which words it in a form of its own.
//!
//! A handler answers a [`Problem`], which travels beside an empty body until
//! [`family::render`](super::family::render) writes it as the path's family does. What axum and its
//! layers refuse by themselves (an unknown path, a body too large) becomes a problem there, too, so
//! nobody ever sees a framework's own words.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use fogcore::ErrorKind;

/// What kind of refusal it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What was asked makes no sense, in a way that no field is to blame for.
    BadRequest,
    /// Nobody knows who asks.
    Unauthenticated,
    /// Who asks may not do this.
    Forbidden,
    /// It is not there.
    NotFound,
    /// It is there, but not for this method.
    MethodNotAllowed,
    /// The request took too long.
    Timeout,
    /// It contradicts what is there.
    Conflict,
    /// A limit of the fog is reached: funds, a queue, a disk.
    Exhausted,
    /// The body is too large.
    TooLarge,
    /// The body is no JSON, by its own word.
    UnsupportedMedia,
    /// A part of the request breaks a rule.
    Invalid,
    /// Too much was asked.
    TooMany,
    /// The server is at fault.
    Internal,
    /// The server cannot answer now.
    Unavailable,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 14] = [
        Self::BadRequest,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Timeout,
        Self::Conflict,
        Self::Exhausted,
        Self::TooLarge,
        Self::UnsupportedMedia,
        Self::Invalid,
        Self::TooMany,
        Self::Internal,
        Self::Unavailable,
    ];

    /// The status it is answered with. What is exhausted is a conflict with the fog's state: asking
    /// again does not help by itself.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Timeout => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict | Self::Exhausted => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMedia => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The kind of what was refused with this status by somebody who knows no problems.
    #[must_use]
    pub fn of(status: StatusCode) -> Self {
        let known = Self::ALL.into_iter().find(|kind| kind.status() == status);
        known.unwrap_or(if status.is_server_error() { Self::Internal } else { Self::BadRequest })
    }

    /// In general words.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::BadRequest => "the request makes no sense",
            Self::Unauthenticated => "a valid token or API key is needed",
            Self::Forbidden => "this is not allowed",
            Self::NotFound => "there is nothing here",
            Self::MethodNotAllowed => "the method is not allowed here",
            Self::Timeout => "the request took too long",
            Self::Conflict => "this contradicts what is there",
            Self::Exhausted => "a limit is reached",
            Self::TooLarge => "the body is too large",
            Self::UnsupportedMedia => "a body of the type application/json is needed",
            Self::Invalid => "a part of the request is not valid",
            Self::TooMany => "too many requests",
            Self::Internal => "the server made a mistake",
            Self::Unavailable => "the server cannot answer now",
        }
    }
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What kind it is.
    pub kind: Kind,
    /// What was asked, what was found, what to do. Nothing of the server's inside.
    pub message: String,
    /// The part of the request that is at fault.
    pub field: Option<String>,
    /// When it may be tried again.
    pub retry_after: Option<Duration>,
}

impl Problem {
    /// A problem in general words.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self::told(kind, kind.title())
    }

    /// A problem in words of its own.
    #[must_use]
    pub fn told(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), field: None, retry_after: None }
    }

    /// A field that breaks a rule.
    #[must_use]
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::told(Kind::Invalid, message) }
    }

    /// Something that is not there.
    #[must_use]
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::told(Kind::NotFound, message)
    }

    /// Something that the caller may not do.
    #[must_use]
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::told(Kind::Forbidden, message)
    }

    /// A mistake of the server's, which only its log tells.
    #[must_use]
    pub fn internal(error: impl std::fmt::Display) -> Self {
        tracing::error!(%error, "a request failed");
        Self::new(Kind::Internal)
    }
}

impl From<fogcore::Error> for Problem {
    fn from(error: fogcore::Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::NotFound => Kind::NotFound,
            ErrorKind::Conflict => Kind::Conflict,
            ErrorKind::InvalidInput => Kind::Invalid,
            ErrorKind::Unavailable => {
                // What a database says of itself is nobody else's business.
                tracing::warn!(%error, "the fog cannot answer");
                return Self {
                    retry_after: Some(Duration::from_secs(1)),
                    ..Self::new(Kind::Unavailable)
                };
            }
            ErrorKind::Exhausted => Kind::Exhausted,
            ErrorKind::Denied => Kind::Forbidden,
            ErrorKind::Internal => return Self::internal(error),
        };
        let field = error.field().map(str::to_owned);
        Self { field, ..Self::told(kind, error.to_string()) }
    }
}

/// Errors of an area that only has a conversion into the fog's.
macro_rules! through_the_fogs_error {
    ($($error:ty),*) => {
        $(impl From<$error> for Problem {
            fn from(error: $error) -> Self {
                fogcore::Error::from(error).into()
            }
        })*
    };
}

through_the_fogs_error!(
    fogcore::amount::AmountError,
    fogcore::id::IdError,
    fogcore::registry::UnitError,
    fogcore::time::TimeError
);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.kind.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_the_fogs_errors_has_a_status() {
        for (kind, status) in ErrorKind::ALL.into_iter().zip([404, 409, 422, 503, 409, 403, 500]) {
            let problem = Problem::from(fogcore::Error::new(kind, "because"));
            assert_eq!(problem.kind.status(), status, "{kind}");
        }
    }

    #[test]
    fn what_the_server_did_wrong_is_not_told() {
        for kind in [ErrorKind::Internal, ErrorKind::Unavailable] {
            let problem = Problem::from(fogcore::Error::new(kind, "table users is locked"));
            assert!(!problem.message.contains("users"), "{problem:?}");
        }
    }

    #[test]
    fn a_foreign_status_finds_its_kind() {
        assert_eq!(Kind::of(StatusCode::PAYLOAD_TOO_LARGE), Kind::TooLarge);
        assert_eq!(Kind::of(StatusCode::IM_A_TEAPOT), Kind::BadRequest);
        assert_eq!(Kind::of(StatusCode::BAD_GATEWAY), Kind::Internal);
    }
}
