//! Between rows and values.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::postgres::PgRow;
use sqlx::{Decode, Postgres, Row, Type};
use uuid::Uuid;

use super::error::Failure;
use crate::amount::{Amount, Asset};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{AccountId, NodeId, TransferId};
use crate::ledger::{
    Account, AccountBalance, BalanceEntry, FailedTransfer, HoldState, Place, Posted, Transfer,
    TransferFlags, TransferKind,
};
use crate::scheduler::queue::Demand;
use crate::scheduler::replicas::Trust;
use crate::scheduler::{LogLine, Tally, Task, TaskState};
use crate::time::Timestamp;

/// Reads a column, or says that it holds what it should not.
pub(super) fn get<'r, T>(row: &'r PgRow, column: &'static str) -> Result<T>
where
    T: Decode<'r, Postgres> + Type<Postgres>,
{
    row.try_get(column).map_err(|error| Failure::from(error).into())
}

pub(super) fn damaged(column: &'static str) -> Error {
    let error = sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: "a value that fogcore does not write".into(),
    };
    Failure::from(error).into()
}

/// Reads a text that parses.
pub(super) fn parsed<T: std::str::FromStr>(row: &PgRow, column: &'static str) -> Result<T> {
    get::<&str>(row, column)?.parse().map_err(|_| damaged(column))
}

pub(super) fn to_json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::new(ErrorKind::Internal, error))
}

pub(super) fn json<T: DeserializeOwned>(row: &PgRow, column: &'static str) -> Result<T> {
    serde_json::from_str(get(row, column)?).map_err(|_| damaged(column))
}

/// A name of a fieldless enum, as in JSON but without the quotes.
pub(super) fn name<T: Serialize>(value: &T) -> Result<String> {
    Ok(to_json(value)?.trim_matches('"').to_owned())
}

pub(super) fn named<T: DeserializeOwned>(row: &PgRow, column: &'static str) -> Result<Option<T>> {
    let text: Option<&str> = get(row, column)?;
    let value = text.map(|text| serde_json::from_value(serde_json::Value::from(text)));
    value.transpose().map_err(|_| damaged(column))
}

/// An amount on its way to a numeric column, which no type here is as wide as.
pub(super) fn digits(amount: Amount) -> String {
    amount.base_units().to_string()
}

/// Reads a numeric column that was selected as text.
pub(super) fn amount(row: &PgRow, column: &'static str) -> Result<Amount> {
    parsed(row, column).map(Amount::from_base_units)
}

pub(super) fn time(row: &PgRow, column: &'static str) -> Result<Timestamp> {
    Timestamp::from_micros(get(row, column)?).map_err(|_| damaged(column))
}

pub(super) fn count<T: TryFrom<i64>>(row: &PgRow, column: &'static str) -> Result<T> {
    T::try_from(get(row, column)?).map_err(|_| damaged(column))
}

/// PostgreSQL's integers are signed: what passes them may as well be the most.
pub(super) fn integer(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

pub(super) fn place(row: &PgRow) -> Result<Place> {
    count(row, "place").map(Place::from_number)
}

/// Everything of `accounts`, and what follows.
macro_rules! select_accounts {
    ($rest:literal) => {
        concat!(
            "SELECT id, place, opened_closed, asset, scale, debits_limited, credits_limited, closed, history, reference,
             user_data_64, user_data_32, debits_pending::text, debits_posted::text,
             credits_pending::text, credits_posted::text, opened_at FROM accounts ",
            $rest
        )
    };
}

/// Everything of `transfers`, and what follows.
macro_rules! select_transfers {
    ($($rest:literal),+) => {
        concat!(
            "SELECT place, id, type, at, code, debit, credit, amount::text, hold, hold_state,
             expires_at, purpose, flags, timeout, reference, user_data_64, user_data_32
             FROM transfers ",
            $($rest),+
        )
    };
}

/// Everything of `account_balances`, and what follows.
macro_rules! select_balances {
    ($rest:literal) => {
        concat!(
            "SELECT place, account, transfer, at, debits_pending::text, debits_posted::text,
             credits_pending::text, credits_posted::text FROM account_balances ",
            $rest
        )
    };
}

pub(super) use {select_accounts, select_balances, select_transfers};

pub(super) fn account(row: &PgRow) -> Result<Account> {
    let scale = u8::try_from(get::<i16>(row, "scale")?).map_err(|_| damaged("scale"))?;
    let asset = Asset::new(get(row, "asset")?, scale).map_err(|_| damaged("asset"))?;
    Ok(Account {
        id: parsed(row, "id")?,
        asset,
        debits_must_not_exceed_credits: get(row, "debits_limited")?,
        credits_must_not_exceed_debits: get(row, "credits_limited")?,
        closed: get(row, "closed")?,
        history: get(row, "history")?,
        reference: get(row, "reference")?,
        user_data_64: get::<i64>(row, "user_data_64")?.cast_unsigned(),
        user_data_32: count(row, "user_data_32")?,
        debits_pending: amount(row, "debits_pending")?,
        debits_posted: amount(row, "debits_posted")?,
        credits_pending: amount(row, "credits_pending")?,
        credits_posted: amount(row, "credits_posted")?,
        opened_at: time(row, "opened_at")?,
    })
}

/// Reads an account as it was opened.
pub(super) fn opened(row: &PgRow) -> Result<Account> {
    Ok(Account { closed: get(row, "opened_closed")?, ..account(row)? })
}

/// Reads a row of `transfers` that is a failed id.
pub(super) fn failed(row: &PgRow) -> Result<FailedTransfer> {
    Ok(FailedTransfer {
        id: TransferId::from_uuid(get(row, "id")?),
        code: named(row, "code")?.ok_or_else(|| damaged("code"))?,
        at: time(row, "at")?,
    })
}

/// Reads a row of `transfers` that is not a failed id.
pub(super) fn posted(row: &PgRow) -> Result<Posted> {
    let pair = || -> Result<(AccountId, AccountId, Amount)> {
        Ok((parsed(row, "debit")?, parsed(row, "credit")?, amount(row, "amount")?))
    };
    let hold = || get::<Uuid>(row, "hold").map(TransferId::from_uuid);
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
        "expire" => TransferKind::Expire { hold: hold()? },
        _ => return Err(damaged("type")),
    };
    let flags = u16::try_from(get::<i32>(row, "flags")?).ok().and_then(TransferFlags::from_bits);
    let transfer = Transfer {
        id: TransferId::from_uuid(get(row, "id")?),
        kind,
        purpose: named(row, "purpose")?.ok_or_else(|| damaged("purpose"))?,
        flags: flags.ok_or_else(|| damaged("flags"))?,
        timeout_seconds: count(row, "timeout")?,
        reference: get(row, "reference")?,
        user_data_64: get::<i64>(row, "user_data_64")?.cast_unsigned(),
        user_data_32: count(row, "user_data_32")?,
    };
    let hold: Option<HoldState> = named(row, "hold_state")?;
    let posted = Posted { transfer, at: time(row, "at")?, hold };
    // What ends holds looks for this.
    if get::<Option<i64>>(row, "expires_at")? != posted.expires_at().map(Timestamp::as_micros) {
        return Err(damaged("expires_at"));
    }
    Ok(posted)
}

/// Reads a row of `account_balances`.
pub(super) fn balance(row: &PgRow) -> Result<BalanceEntry> {
    let balance = AccountBalance {
        account: parsed(row, "account")?,
        transfer: TransferId::from_uuid(get(row, "transfer")?),
        at: time(row, "at")?,
        debits_pending: amount(row, "debits_pending")?,
        debits_posted: amount(row, "debits_posted")?,
        credits_pending: amount(row, "credits_pending")?,
        credits_posted: amount(row, "credits_posted")?,
    };
    Ok(BalanceEntry { place: place(row)?, balance })
}

/// Reads a row of `tasks`: of its columns, only `task`.
pub(super) fn task(row: &PgRow) -> Result<Task> {
    json(row, "task")
}

/// Reads a row of `tallies`.
pub(super) fn tally(row: &PgRow) -> Result<(NodeId, Tally)> {
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
pub(super) fn state(row: &PgRow) -> Result<TaskState> {
    let name: &str = get(row, "state")?;
    let known = TaskState::ALL.into_iter().find(|known| known.name() == name);
    known.ok_or_else(|| damaged("state"))
}

/// Reads who pays; nobody is an empty text.
pub(super) fn payer(row: &PgRow) -> Result<Option<AccountId>> {
    let payer: &str = get(row, "payer")?;
    if payer.is_empty() { Ok(None) } else { parsed(row, "payer").map(Some) }
}

/// Reads what tasks take.
pub(super) fn demand(row: &PgRow) -> Result<Demand> {
    Ok(Demand {
        slots: get(row, "slots")?,
        cpu_milli: get(row, "cpu_milli")?,
        memory_mib: get(row, "memory_mib")?,
        gpu_milli: get(row, "gpu_milli")?,
    })
}

/// Reads a row of `log_lines`.
pub(super) fn log_line(row: &PgRow) -> Result<LogLine> {
    Ok(LogLine {
        number: count(row, "number")?,
        at: time(row, "at")?,
        fence: count(row, "fence")?,
        text: get(row, "text")?,
    })
}

/// Reads a row of `trust`.
pub(super) fn trust(row: &PgRow) -> Result<(NodeId, Trust)> {
    let (agreed, disagreed) = (get(row, "agreed")?, get(row, "disagreed")?);
    Ok((parsed(row, "node")?, Trust { agreed, disagreed, at: time(row, "at")? }))
}
