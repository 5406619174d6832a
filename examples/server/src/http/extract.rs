//! Bodies, queries and paths, parsed where they enter; what cannot be read names the field.

use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::problem::{Kind, Problem};

/// A JSON body.
#[derive(Clone, Debug)]
pub struct Body<T>(pub T);

impl<T, S> FromRequest<S> for Body<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(&request) {
            return Err(Problem::new(Kind::UnsupportedMedia));
        }
        let bytes =
            Bytes::from_request(request, state).await.map_err(|rejection| unread(&rejection))?;
        read(&bytes).map(Self)
    }
}

/// A JSON body that may be left out.
#[derive(Clone, Debug)]
pub struct OptionalBody<T>(pub T);

impl<T, S> FromRequest<S> for OptionalBody<T>
where
    T: DeserializeOwned + Default,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let is_json = is_json(&request);
        let bytes =
            Bytes::from_request(request, state).await.map_err(|rejection| unread(&rejection))?;
        match (bytes.is_empty(), is_json) {
            (true, _) => Ok(Self(T::default())),
            (false, true) => read(&bytes).map(Self),
            (false, false) => Err(Problem::new(Kind::UnsupportedMedia)),
        }
    }
}

fn unread(rejection: &BytesRejection) -> Problem {
    Problem::new(match rejection {
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
            Kind::TooLarge
        }
        _ => Kind::BadRequest,
    })
}

/// `application/json`, or a type that is JSON by its suffix.
fn is_json(request: &Request) -> bool {
    let told = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = told.and_then(|told| told.split(';').next()).unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
        || essence.len() > 5 && essence[essence.len() - 5..].eq_ignore_ascii_case("+json")
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        misread(&path, "body", &error.into_inner().to_string())
    })?;
    reader.end().map_err(|error| misread(".", "body", &error.to_string()))?;
    Ok(value)
}

/// The parameters of the query.
#[derive(Clone, Debug)]
pub struct Query<T>(pub T);

impl<T, S> FromRequestParts<S> for Query<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        // By way of a JSON object of texts: then one reader says which parameter is wrong.
        let pairs = form_urlencoded::parse(query.as_bytes())
            .map(|(name, value)| (name.into_owned(), serde_json::Value::String(value.into_owned())))
            .collect::<serde_json::Map<_, _>>();
        let value = serde_json::Value::Object(pairs);
        serde_path_to_error::deserialize(value).map(Self).map_err(|error| {
            let path = error.path().to_string();
            misread(&path, "query", &error.into_inner().to_string())
        })
    }
}

/// A parameter of the path that is an id.
#[derive(Clone, Debug)]
pub struct PathId<T>(pub T);

impl<T, S> FromRequestParts<S> for PathId<T>
where
    T: std::str::FromStr + Send,
    Problem: From<T::Err>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let PathText(text) = PathText::from_request_parts(parts, state).await?;
        Ok(Self(text.parse()?))
    }
}

/// The parameters of the path, as texts.
#[derive(Clone, Debug)]
pub struct PathTexts<const N: usize>(pub [String; N]);

impl<const N: usize, S: Send + Sync> FromRequestParts<S> for PathTexts<N> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let texts = axum::extract::Path::<Vec<String>>::from_request_parts(parts, state).await;
        let axum::extract::Path(texts) = texts.map_err(|_| Problem::new(Kind::NotFound))?;
        texts.try_into().map(Self).map_err(|_| Problem::new(Kind::NotFound))
    }
}

/// The parameter of the path, as a text.
#[derive(Clone, Debug)]
pub struct PathText(pub String);

impl<S: Send + Sync> FromRequestParts<S> for PathText {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let PathTexts([text]) = PathTexts::from_request_parts(parts, state).await?;
        Ok(Self(text))
    }
}

/// A number in a query, where everything is a text.
pub mod number {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, de::Error};

    /// Reads the number, if there is one.
    ///
    /// # Errors
    /// A text that is no such number.
    pub fn deserialize<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        D: Deserializer<'de>,
        T: FromStr,
        T::Err: Display,
    {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}

/// Says what cannot be read, and where. The reader's words hold a part of the input, but nothing of
/// the server's.
fn misread(path: &str, whole: &str, why: &str) -> Problem {
    let field = if matches!(path, "" | "." | "?") { whole } else { path };
    // Typed ids and amounts say their own name first; the path says it better.
    Problem::invalid(field, why.chars().take(512).collect::<String>())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Asked {
        #[expect(dead_code, reason = "only read")]
        items: Vec<u8>,
    }

    #[test]
    fn a_wrong_field_is_named_by_its_path() {
        let problem = read::<Asked>(br#"{"items": [1, 300]}"#).unwrap_err();
        assert_eq!((problem.kind, problem.field.as_deref()), (Kind::Invalid, Some("items[1]")));
        let problem = read::<Asked>(b"{").unwrap_err();
        assert_eq!(problem.kind, Kind::Invalid);
        let problem = read::<Asked>(br#"{"items": []} and more"#).unwrap_err();
        assert_eq!(problem.field.as_deref(), Some("body"));
    }

    #[test]
    fn deeply_nested_json_is_refused_and_does_no_harm() {
        let deep = format!(r#"{{"items": {}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(read::<Asked>(deep.as_bytes()).unwrap_err().kind, Kind::Invalid);
        let ignored =
            format!(r#"{{"x": {}1{}, "items": []}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert!(
            read::<Asked>(ignored.as_bytes()).is_ok(),
            "what is ignored is passed over in a loop"
        );
    }
}
