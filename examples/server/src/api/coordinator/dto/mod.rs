//! The wire types of the coordinator's document.

pub(super) mod dialect;
pub(super) mod hosts;
pub(super) mod sessions;
pub(super) mod zones;

use std::fmt::Display;
use std::str::FromStr;

use crate::http::problem::Problem;

/// Reads an id or another text that the fog knows the rules of.
pub(super) fn parse<T: FromStr<Err: Display>>(
    field: &'static str,
    text: &str,
) -> Result<T, Problem> {
    text.parse().map_err(|error: T::Err| Problem::invalid(field, error.to_string()))
}

/// Reads a number that has rules of its own, if there is one.
fn checked<V, T, E: Display>(
    field: &'static str,
    value: Option<V>,
    check: impl FnOnce(V) -> Result<T, E>,
) -> Result<Option<T>, Problem> {
    let checked = value.map(check).transpose();
    checked.map_err(|error| Problem::invalid(field, error.to_string()))
}
