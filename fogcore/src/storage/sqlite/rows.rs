//! Between rows and values.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Row, Sqlite, Type};
use uuid::Uuid;

use super::error::{OrStoreError, StoreError};
use crate::amount::Amount;
use crate::error::{Error, ErrorKind, Result};
use crate::id::NodeId;
use crate::scheduler::queue::{Count, Demand, Group};
use crate::scheduler::replicas::Trust;
use crate::scheduler::{LogLine, Tally, Task, TaskState};
use crate::time::Timestamp;

/// Reads a column, or says that it holds what it should not.
pub(super) fn get<'r, T>(row: &'r SqliteRow, column: &'static str) -> Result<T>
where
    T: Decode<'r, Sqlite> + Type<Sqlite>,
{
    row.try_get(column).or_store_error()
}

pub(super) fn damaged(column: &'static str) -> Error {
    let error = sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: "a value that fogcore does not write".into(),
    };
    StoreError(error).into()
}

/// Reads a text that parses.
pub(super) fn parsed<T: std::str::FromStr>(row: &SqliteRow, column: &'static str) -> Result<T> {
    get::<&str>(row, column)?.parse().map_err(|_| damaged(column))
}

pub(super) fn to_json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::new(ErrorKind::Internal, error))
}

pub(super) fn json<T: DeserializeOwned>(row: &SqliteRow, column: &'static str) -> Result<T> {
    serde_json::from_str(get(row, column)?).map_err(|_| damaged(column))
}

pub(super) fn amount_bytes(amount: Amount) -> Vec<u8> {
    amount.base_units().to_be_bytes().to_vec()
}

pub(super) fn amount(row: &SqliteRow, column: &'static str) -> Result<Amount> {
    amount_option(row, column)?.ok_or_else(|| damaged(column))
}

pub(super) fn amount_option(row: &SqliteRow, column: &'static str) -> Result<Option<Amount>> {
    let bytes: Option<&[u8]> = get(row, column)?;
    let units = |bytes: &[u8]| Ok(u128::from_be_bytes(bytes.try_into()?));
    let units = bytes.map(units).transpose();
    let units = units.map_err(|_: std::array::TryFromSliceError| damaged(column))?;
    Ok(units.map(Amount::from_base_units))
}

pub(super) fn id_bytes(id: Uuid) -> Vec<u8> {
    id.as_bytes().to_vec()
}

pub(super) fn id(row: &SqliteRow, column: &'static str) -> Result<Uuid> {
    id_option(row, column)?.ok_or_else(|| damaged(column))
}

pub(super) fn id_option(row: &SqliteRow, column: &'static str) -> Result<Option<Uuid>> {
    let bytes: Option<&[u8]> = get(row, column)?;
    bytes.map(|bytes| Uuid::from_slice(bytes).map_err(|_| damaged(column))).transpose()
}

pub(super) fn time(row: &SqliteRow, column: &'static str) -> Result<Timestamp> {
    Timestamp::from_micros(get(row, column)?).map_err(|_| damaged(column))
}

pub(super) fn count<T: TryFrom<i64>>(row: &SqliteRow, column: &'static str) -> Result<T> {
    T::try_from(get(row, column)?).map_err(|_| damaged(column))
}

/// SQLite's integers are signed: what passes them (a load beyond 9 EiB) may as well be the most.
pub(super) fn integer(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

/// A name of a fieldless enum, as in JSON but without the quotes.
pub(super) fn name<T: Serialize>(value: &T) -> Result<String> {
    Ok(to_json(value)?.trim_matches('"').to_owned())
}

/// Reads a row of `tasks`: of its columns, only `task`.
pub(super) fn task(row: &SqliteRow) -> Result<Task> {
    json(row, "task")
}

/// Reads a row of `tallies`.
pub(super) fn tally(row: &SqliteRow) -> Result<(NodeId, Tally)> {
    let tally = Tally {
        succeeded: count(row, "succeeded")?,
        failed: count(row, "failed")?,
        lost: count(row, "lost")?,
        released: count(row, "released")?,
        busy: std::time::Duration::from_micros(count(row, "busy_micros")?),
        earned: amount(row, "earned")?,
    };
    Ok((parsed(row, "node")?, tally))
}

/// Reads the name of a state.
pub(super) fn state(row: &SqliteRow) -> Result<TaskState> {
    let name: &str = get(row, "state")?;
    let known = TaskState::ALL.into_iter().find(|known| known.name() == name);
    known.ok_or_else(|| damaged("state"))
}

/// Reads a row of `task_counts`.
pub(super) fn counted(row: &SqliteRow) -> Result<(Group, Count)> {
    let payer: &str = get(row, "payer")?;
    let payer = if payer.is_empty() { None } else { Some(parsed(row, "payer")?) };
    let (kind, state, priority) = (parsed(row, "kind")?, state(row)?, get(row, "priority")?);
    Ok((
        Group { payer, kind, state, priority },
        Count { tasks: get(row, "tasks")?, taken: demand(row)? },
    ))
}

/// Reads what tasks take.
pub(super) fn demand(row: &SqliteRow) -> Result<Demand> {
    Ok(Demand {
        slots: get(row, "slots")?,
        cpu_milli: get(row, "cpu_milli")?,
        memory_mib: get(row, "memory_mib")?,
        gpu_milli: get(row, "gpu_milli")?,
    })
}

/// Reads a row of `log_lines`.
pub(super) fn log_line(row: &SqliteRow) -> Result<LogLine> {
    Ok(LogLine {
        number: count(row, "number")?,
        at: time(row, "at")?,
        fence: count(row, "fence")?,
        text: get(row, "text")?,
    })
}

/// Reads a row of `trust`.
pub(super) fn trust(row: &SqliteRow) -> Result<(NodeId, Trust)> {
    let (agreed, disagreed) = (get(row, "agreed")?, get(row, "disagreed")?);
    Ok((parsed(row, "node")?, Trust { agreed, disagreed, at: time(row, "at")? }))
}
