//! Between rows and values.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Row, Sqlite, Type};
use uuid::Uuid;

use super::error::{OrStoreError, StoreError};
use crate::amount::{Amount, Asset};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{AccountId, NodeId, TransferId};
use crate::ledger::{Account, HoldState, Posted, Transfer, TransferKind};
use crate::scheduler::{Tally, Task};
use crate::time::Timestamp;

/// Reads a column, or says that it holds what it should not.
pub(super) fn get<'r, T>(row: &'r SqliteRow, column: &'static str) -> Result<T>
where
    T: Decode<'r, Sqlite> + Type<Sqlite>,
{
    row.try_get(column).or_store_error()
}

fn damaged(column: &'static str) -> Error {
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
    let bytes: &[u8] = get(row, column)?;
    let bytes = bytes.try_into().map_err(|_| damaged(column))?;
    Ok(Amount::from_base_units(u128::from_be_bytes(bytes)))
}

pub(super) fn id_bytes(id: Uuid) -> Vec<u8> {
    id.as_bytes().to_vec()
}

pub(super) fn id(row: &SqliteRow, column: &'static str) -> Result<Uuid> {
    id_option(row, column)?.ok_or_else(|| damaged(column))
}

fn id_option(row: &SqliteRow, column: &'static str) -> Result<Option<Uuid>> {
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

pub(super) fn account(row: &SqliteRow) -> Result<Account> {
    let asset = Asset::new(get(row, "asset")?, count(row, "scale")?);
    Ok(Account {
        debits_must_not_exceed_credits: get(row, "debits_limited")?,
        credits_must_not_exceed_debits: get(row, "credits_limited")?,
        debits_pending: amount(row, "debits_pending")?,
        debits_posted: amount(row, "debits_posted")?,
        credits_pending: amount(row, "credits_pending")?,
        credits_posted: amount(row, "credits_posted")?,
        opened_at: time(row, "opened_at")?,
        ..Account::new(parsed(row, "id")?, asset.map_err(|_| damaged("asset"))?)
    })
}

/// A name of a fieldless enum, as in JSON but without the quotes.
pub(super) fn name<T: Serialize>(value: &T) -> Result<String> {
    Ok(to_json(value)?.trim_matches('"').to_owned())
}

pub(super) fn named<T: DeserializeOwned>(
    row: &SqliteRow,
    column: &'static str,
) -> Result<Option<T>> {
    let text: Option<&str> = get(row, column)?;
    let value = text.map(|text| serde_json::from_value(serde_json::Value::from(text)));
    value.transpose().map_err(|_| damaged(column))
}

pub(super) fn posted(row: &SqliteRow) -> Result<Posted> {
    let pair = || -> Result<(AccountId, AccountId, Amount)> {
        Ok((parsed(row, "debit")?, parsed(row, "credit")?, amount(row, "amount")?))
    };
    let hold = || -> Result<TransferId> { Ok(TransferId::from_uuid(id(row, "hold")?)) };
    let kind = match get::<&str>(row, "type")? {
        "direct" => {
            let (debit, credit, amount) = pair()?;
            TransferKind::Direct { debit, credit, amount }
        }
        "hold" => {
            let (debit, credit, amount) = pair()?;
            TransferKind::Hold { debit, credit, amount }
        }
        "post" => TransferKind::Post { hold: hold()?, amount: amount(row, "amount")? },
        "void" => TransferKind::Void { hold: hold()? },
        _ => return Err(damaged("type")),
    };
    let purpose = named(row, "purpose")?.ok_or_else(|| damaged("purpose"))?;
    let reference = id_option(row, "reference")?;
    let transfer = Transfer::new(TransferId::from_uuid(id(row, "id")?), kind, purpose);
    let transfer = Transfer { reference, ..transfer };
    let hold: Option<HoldState> = named(row, "hold_state")?;
    Ok(Posted { transfer, at: time(row, "at")?, hold })
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
