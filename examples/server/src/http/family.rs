//! The families of paths, and how each words a refusal.

use axum::Json;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use fogcore::time::{Clock, Timestamp};
use serde_json::Value;

use super::problem::{Kind, Problem};
use super::request_id::RequestId;
use crate::api::{coordinator, fog, v1};

/// What a refusal says besides the problem.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// When.
    pub now: Timestamp,
    /// Of which request.
    pub request_id: &'a str,
}

/// Paths that belong together, as one document describes them.
#[derive(Debug)]
pub struct Family {
    /// The beginnings of its paths.
    pub prefixes: &'static [&'static str],
    /// The schema of its refusals in the OpenAPI document.
    pub schema: &'static str,
    /// Its status for each kind.
    pub status: fn(Kind) -> StatusCode,
    /// Its wording.
    pub render: fn(&Problem, About<'_>) -> Value,
    /// Whether its document asks for no token, so that it may be open to this machine.
    pub may_be_open: bool,
}

static FAMILIES: [Family; 3] = [coordinator::FAMILY, v1::FAMILY, fog::FAMILY];

impl Family {
    /// The family of a path. The fog's words every refusal that belongs to nobody.
    #[must_use]
    pub fn of(path: &str) -> &'static Self {
        let is_below = |prefix: &&str| {
            path.strip_prefix(*prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let named = FAMILIES.iter().find(|family| family.prefixes.iter().any(is_below));
        named.unwrap_or(&fog::FAMILY)
    }
}

/// Beside an answer that is no success and has its own words all the same.
#[derive(Clone, Copy, Debug)]
pub struct Worded;

/// Writes what was refused in the words of the path's family.
pub fn render(
    family: &Family,
    response: Response,
    clock: &dyn Clock,
    request_id: &RequestId,
) -> Response {
    let status = response.status();
    let is_refusal = status.is_client_error() || status.is_server_error();
    if !is_refusal || response.extensions().get::<Worded>().is_some() {
        return response;
    }
    word(family, response, About { now: clock.now(), request_id: request_id.as_str() })
}

fn word(family: &Family, response: Response, about: About<'_>) -> Response {
    let (mut parts, _) = response.into_parts();
    let problem = match parts.extensions.remove::<Problem>() {
        Some(problem) => {
            parts.status = (family.status)(problem.kind);
            problem
        }
        None => Problem::new(Kind::of(parts.status)),
    };
    for described in [CONTENT_TYPE, CONTENT_LENGTH] {
        parts.headers.remove(described);
    }
    if parts.status == StatusCode::UNAUTHORIZED {
        parts.headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(wait) = problem.retry_after {
        // Rounded up: who comes a moment too early is refused again.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        parts.headers.insert(RETRY_AFTER, seconds.max(1).into());
    }
    let body = Json((family.render)(&problem, about)).into_response();
    parts.headers.extend(body.headers().clone());
    Response::from_parts(parts, body.into_body())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_belongs_to_the_family_of_its_document() {
        let schema = |path| Family::of(path).schema;
        assert_eq!(schema("/api/hosts/"), "Detail");
        assert_eq!(schema("/api/hostsfile"), "FogError", "a prefix is a whole segment");
        assert_eq!(schema("/api/fog/nothing"), "FogError");
        assert_eq!(schema("/v1/auth/login"), "V1Error");
        assert_eq!(schema("/favicon.ico"), "FogError");
    }
}
