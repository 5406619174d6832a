//! A name for each request, by which its answer and its lines in the log are found again.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::Request;
use axum::http::{Extensions, HeaderName, HeaderValue};
use axum::response::Response;

use crate::random;

/// The header that carries it, both ways.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The name of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The client's own name for it, if that can stand in a log: 1–64 letters, digits, `-`, `_`, `.`.
    fn given(request: &Request) -> Option<Self> {
        let given = request.headers().get(X_REQUEST_ID)?;
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        let fits = (1..=64).contains(&given.len()) && given.as_bytes().iter().all(is_plain);
        fits.then(|| Self(given.clone()))
    }

    /// No secret, so it need not come from the operating system each time: this process, and a number.
    fn made() -> Self {
        static PROCESS: LazyLock<String> = LazyLock::new(random::hex::<8>);
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let name = format!("{}-{:x}", *PROCESS, NUMBER.fetch_add(1, Ordering::Relaxed));
        Self(HeaderValue::try_from(name).unwrap_or(HeaderValue::from_static("unnamed")))
    }

    /// The name of the request with these extensions.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get().cloned().unwrap_or_else(Self::made)
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// Names the request.
pub fn name(request: &mut Request) -> RequestId {
    let id = RequestId::given(request).unwrap_or_else(RequestId::made);
    request.extensions_mut().insert(id.clone());
    id
}

/// Names its answer.
pub fn tell(id: RequestId, response: &mut Response) {
    response.headers_mut().insert(X_REQUEST_ID, id.0);
}
