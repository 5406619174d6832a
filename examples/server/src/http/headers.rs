//! What every answer says to browsers.

use axum::http::{HeaderValue, header};
use axum::response::Response;

/// Nothing may be loaded, framed or guessed. The documentation's page has scripts and styles of its
/// own, and no others; its styles are partly inline.
const NOTHING: &str = "default-src 'none'; frame-ancestors 'none'";
const OWN: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                   img-src 'self' data:; connect-src 'self'; font-src 'self'; \
                   frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Adds the headers to an answer, which is a page of the documentation or is not.
pub fn secure(is_page: bool, response: &mut Response) {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, if is_page { OWN } else { NOTHING }),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // Answers are about now, and some hold tokens.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}
