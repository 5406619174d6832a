//! Values cross as JSON: the core reads and writes it, and Python's own module does the same.

use std::any::type_name;
use std::str::FromStr;

use fogcore::Error;
use pyo3::PyClassInitializer;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::bridge::Answer;
use crate::error::Fault;

/// Reads a value; what is wrong with it names the field by its path.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Fault> {
    let mut json = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        // Of the whole, the path is a dot.
        let path = if path == "." { "input".to_owned() } else { path };
        let reason = error.into_inner().to_string();
        // Where in the text it stands helps nobody who did not write the text.
        let reason = reason.split(" at line ").next().unwrap_or_default();
        Fault::invalid(&path, reason)
    })
}

/// Reads settings, of which any may be left out: a name that none of them has is refused.
pub(crate) fn read_settings<T: DeserializeOwned + Serialize>(text: &str) -> Result<T, Fault> {
    let settings: T = read(text)?;
    let (given, known) = (read::<Value>(text)?, to_value(&settings)?);
    match unknown(&given, &known) {
        Some(path) => Err(Fault::invalid(&path, "there is no such setting")),
        None => Ok(settings),
    }
}

fn to_value(value: &impl Serialize) -> Result<Value, Fault> {
    serde_json::to_value(value).map_err(|error| Fault::invalid("settings", &error.to_string()))
}

/// The path of a name in `given` that `known` does not have.
fn unknown(given: &Value, known: &Value) -> Option<String> {
    let (given, known) = (given.as_object()?, known.as_object()?);
    given.iter().find_map(|(name, value)| match known.get(name) {
        None => Some(name.clone()),
        Some(known) => unknown(value, known).map(|rest| format!("{name}.{rest}")),
    })
}

/// Reads an id, or anything else that is written as one word.
pub(crate) fn parse<T>(text: &str) -> Result<T, Fault>
where
    T: FromStr,
    T::Err: Into<Error>,
{
    text.parse().map_err(|error: T::Err| Fault::from(error.into()))
}

/// Reads several of them.
pub(crate) fn parse_all<T, C>(texts: Vec<String>) -> Result<C, Fault>
where
    T: FromStr,
    T::Err: Into<Error>,
    C: FromIterator<T>,
{
    texts.iter().map(|text| parse(text)).collect()
}

/// Reads one of a set of names.
pub(crate) fn name<T: DeserializeOwned>(field: &str, text: &str) -> Result<T, Fault> {
    serde_json::from_value(Value::from(text))
        .map_err(|error| Fault::invalid(field, &error.to_string()))
}

/// Writes a value; the text is made here, on a thread that may take its time.
pub(crate) fn render<T: Serialize>(value: T) -> Answer {
    let json = text(&value)?;
    Ok(Box::new(move |py| Ok(PyString::new(py, &json).into_any())))
}

pub(crate) fn text(value: &impl Serialize) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|error| {
        Error::new(fogcore::ErrorKind::Internal, format!("{}: {error}", type_name_of(value))).into()
    })
}

fn type_name_of<T>(_: &T) -> &'static str {
    type_name::<T>()
}

/// Bytes that are there or not.
pub(crate) fn render_bytes(bytes: Option<impl AsRef<[u8]> + Send + 'static>) -> Answer {
    Ok(Box::new(move |py| match bytes {
        Some(bytes) => Ok(PyBytes::new(py, bytes.as_ref()).into_any()),
        None => Ok(py.None().into_bound(py)),
    }))
}

/// An object of a class of this module.
pub(crate) fn render_object<T>(object: T) -> Answer
where
    T: pyo3::PyClass + Into<PyClassInitializer<T>> + Send + 'static,
{
    Ok(Box::new(move |py| Ok(Bound::new(py, object)?.into_any())))
}

/// Nothing but that it was done.
pub(crate) fn render_nothing<T>(_: T) -> Answer {
    Ok(Box::new(|py| Ok(py.None().into_bound(py))))
}

/// A truth.
pub(crate) fn render_bool(value: bool) -> Answer {
    Ok(Box::new(move |py| Ok(value.into_pyobject(py)?.to_owned().into_any())))
}

/// A number of things, as the core counts them.
pub(crate) fn limit(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// The error of one item of a batch.
#[derive(Debug, Serialize)]
pub(crate) struct Refusal {
    pub(crate) kind: String,
    pub(crate) field: Option<&'static str>,
    pub(crate) reason: String,
}

impl From<&Error> for Refusal {
    fn from(error: &Error) -> Self {
        let (kind, field) = (crate::error::name(error.kind()), error.field());
        Self { kind, field, reason: error.to_string() }
    }
}

/// One item of a batch: its value or why it was refused.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Item<T> {
    Done(T),
    Refused(Refusal),
}

impl<T> Item<T> {
    pub(crate) fn of(answer: fogcore::Result<T>) -> Self {
        match answer {
            Ok(value) => Self::Done(value),
            Err(error) => Self::Refused(Refusal::from(&error)),
        }
    }
}
