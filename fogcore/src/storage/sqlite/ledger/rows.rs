//! Between the ledger's rows and values.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use serde::Deserialize;
use serde::de::value::{Error as NameError, StrDeserializer};
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::counted::Counters;
use crate::amount::{Amount, Asset};
use crate::error::Result;
use crate::id::{AccountId, TransferId};
use crate::ledger::{
    Account, AccountBalance, Digest, FailedTransfer, HoldState, Link, Posted, Purpose, Transfer,
    TransferFlags, TransferKind,
};
use crate::storage::sqlite::rows::{
    amount_option, count, damaged, get, id, id_option, integer, parsed, time,
};
use crate::time::Timestamp;

/// The bits of an account's flags, which are TigerBeetle's.
const DEBITS_LIMITED: i64 = 2;
const CREDITS_LIMITED: i64 = 4;
const HISTORY: i64 = 8;
const CLOSED: i64 = 32;

/// The flags of an account as it is opened.
pub(super) fn flags(account: &Account) -> i64 {
    let flags = [
        (account.debits_must_not_exceed_credits, DEBITS_LIMITED),
        (account.credits_must_not_exceed_debits, CREDITS_LIMITED),
        (account.history, HISTORY),
        (account.closed, CLOSED),
    ];
    flags.into_iter().filter(|(set, _)| *set).map(|(_, bit)| bit).sum()
}

/// An account, with its counters.
pub(super) fn account(row: &SqliteRow) -> Result<Account> {
    let mut account = opened(row)?;
    counters_of(row)?.put_into(&mut account);
    Ok(account)
}

/// What of an account changes.
pub(super) fn counters_of(row: &SqliteRow) -> Result<Counters> {
    let columns = ["debits_pending", "debits_posted", "credits_pending", "credits_posted"];
    let mut amounts = [Amount::ZERO; 4];
    for (amount, column) in amounts.iter_mut().zip(columns) {
        *amount = counter(row, column)?;
    }
    Ok(Counters { closed: switch(row, "closed")?, amounts })
}

/// An account as it was opened.
pub(super) fn opened(row: &SqliteRow) -> Result<Account> {
    let flags: i64 = get(row, "flags")?;
    let known = DEBITS_LIMITED | CREDITS_LIMITED | HISTORY | CLOSED;
    if flags & !known != 0 {
        return Err(damaged("flags"));
    }
    let code: &str = get(row, "asset")?;
    let scale = count(row, "scale")?;
    let known = Asset::known(code).filter(|asset| asset.scale() == scale);
    let asset = known.map_or_else(|| Asset::new(code, scale), Ok).map_err(|_| damaged("asset"))?;
    let (reference, user_data_64, user_data_32) = user_data(row)?;
    Ok(Account {
        debits_must_not_exceed_credits: flags & DEBITS_LIMITED != 0,
        credits_must_not_exceed_debits: flags & CREDITS_LIMITED != 0,
        history: flags & HISTORY != 0,
        closed: flags & CLOSED != 0,
        reference,
        user_data_64,
        user_data_32,
        opened_at: time(row, "opened_at")?,
        ..Account::new(parsed(row, "id")?, asset)
    })
}

/// Zero is NULL, which is short.
fn counter(row: &SqliteRow, column: &'static str) -> Result<Amount> {
    match amount_option(row, column)? {
        None => Ok(Amount::ZERO),
        Some(Amount::ZERO) => Err(damaged(column)),
        Some(amount) => Ok(amount),
    }
}

fn switch(row: &SqliteRow, column: &'static str) -> Result<bool> {
    match get::<i64>(row, column)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(damaged(column)),
    }
}

fn user_data(row: &SqliteRow) -> Result<(Option<Uuid>, u64, u32)> {
    let long: Option<i64> = get(row, "user_data_64")?;
    let short: Option<i64> = get(row, "user_data_32")?;
    // Zero is NULL, so that what is written one way is read one way.
    if long == Some(0) || short == Some(0) {
        return Err(damaged("user_data_64"));
    }
    let short = u32::try_from(short.unwrap_or(0)).map_err(|_| damaged("user_data_32"))?;
    Ok((id_option(row, "reference")?, long.unwrap_or(0).cast_unsigned(), short))
}

pub(super) fn type_number(kind: &TransferKind) -> i64 {
    match kind {
        TransferKind::Direct { .. } => 0,
        TransferKind::Hold { .. } => 1,
        TransferKind::Post { .. } => 2,
        TransferKind::Void { .. } => 3,
        TransferKind::Expire { .. } => 4,
    }
}

pub(super) fn state_number(state: HoldState) -> i64 {
    match state {
        HoldState::Pending => 0,
        HoldState::Posted => 1,
        HoldState::Voided => 2,
        HoldState::Expired => 3,
    }
}

fn state(row: &SqliteRow) -> Result<Option<HoldState>> {
    Ok(match get::<Option<i64>>(row, "hold_state")? {
        None => None,
        Some(0) => Some(HoldState::Pending),
        Some(1) => Some(HoldState::Posted),
        Some(2) => Some(HoldState::Voided),
        Some(3) => Some(HoldState::Expired),
        Some(_) => return Err(damaged("hold_state")),
    })
}

/// A transfer, with the ids that its numbers stand for (`debit_id`, `credit_id`, `hold_id`). What
/// a row has and the value cannot say (an amount of a void) is damage.
pub(super) fn posted(row: &SqliteRow) -> Result<Posted> {
    let kind: i64 = get(row, "type")?;
    let (moved, ends) = (amount_option(row, "amount")?, id_option(row, "hold_id")?);
    let side = |column| -> Result<AccountId> { parsed(row, column) };
    let kind = match (kind, moved, ends.map(TransferId::from_uuid)) {
        (0, Some(amount), None) => {
            let (debit, credit) = (side("debit_id")?, side("credit_id")?);
            TransferKind::Direct { debit, credit, amount }
        }
        (1, Some(amount), None) => {
            let (debit, credit) = (side("debit_id")?, side("credit_id")?);
            TransferKind::Hold { debit, credit, amount }
        }
        (2, Some(amount), Some(hold)) => TransferKind::Post { hold, amount },
        (3, None, Some(hold)) => TransferKind::Void { hold },
        (4, None, Some(hold)) => TransferKind::Expire { hold },
        _ => return Err(damaged("type")),
    };
    let flags_stored: Option<i64> = get(row, "flags")?;
    let flags = u16::try_from(flags_stored.unwrap_or(0)).ok().and_then(TransferFlags::from_bits);
    let timeout: Option<i64> = get(row, "timeout")?;
    // What is written one way is read one way: zero is NULL, and a number is that of a row.
    if flags_stored == Some(0)
        || timeout == Some(0)
        || get::<Option<i64>>(row, "hold")?.is_some() != ends.is_some()
    {
        return Err(damaged("hold"));
    }
    let (reference, user_data_64, user_data_32) = user_data(row)?;
    let transfer = Transfer {
        id: TransferId::from_uuid(id(row, "id")?),
        kind,
        purpose: purpose(get(row, "purpose")?)?,
        flags: flags.ok_or_else(|| damaged("flags"))?,
        timeout_seconds: u32::try_from(timeout.unwrap_or(0)).map_err(|_| damaged("timeout"))?,
        reference,
        user_data_64,
        user_data_32,
    };
    let posted = Posted { transfer, at: time(row, "at")?, hold: state(row)? };
    let expires_at: Option<i64> = get(row, "expires_at")?;
    let is_hold = matches!(posted.transfer.kind, TransferKind::Hold { .. });
    if posted.hold.is_some() != is_hold
        || expires_at != posted.expires_at().map(Timestamp::as_micros)
    {
        return Err(damaged("expires_at"));
    }
    Ok(posted)
}

fn purpose(name: &str) -> Result<Purpose> {
    let name: StrDeserializer<'_, NameError> = StrDeserializer::new(name);
    Purpose::deserialize(name).map_err(|_| damaged("purpose"))
}

/// A purpose's name, made once.
pub(super) fn purpose_name(purpose: Purpose) -> Arc<str> {
    static NAMES: LazyLock<HashMap<Purpose, Arc<str>>> =
        LazyLock::new(|| Purpose::ALL.iter().map(|one| (*one, one.name().into())).collect());
    NAMES.get(&purpose).map_or_else(|| purpose.name().into(), Arc::clone)
}

/// The longest form of an account's four counters: 16 bytes each, one behind another.
const LONG: usize = 64;

/// What an account had, in one piece: how many bytes each counter has, and then those, without
/// zeros in front; or the long form, if that is not longer. Most counters are short, and there are two
/// of these for each transfer.
pub(super) fn counters(balance: &AccountBalance) -> Vec<u8> {
    let counters = [
        balance.debits_pending,
        balance.debits_posted,
        balance.credits_pending,
        balance.credits_posted,
    ]
    .map(|amount| amount.base_units().to_be_bytes());
    let short = counters.each_ref().map(|bytes| {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        &bytes[zeros..]
    });
    let length = short.len() + short.iter().map(|bytes| bytes.len()).sum::<usize>();
    if length >= LONG {
        return counters.concat();
    }
    let mut all = Vec::with_capacity(length);
    all.extend(short.iter().map(|bytes| u8::try_from(bytes.len()).unwrap_or(u8::MAX)));
    short.iter().for_each(|bytes| all.extend_from_slice(bytes));
    all
}

/// Reads what [`counters`] wrote, or wrote before there was a short form.
fn amounts(bytes: &[u8]) -> Option<[Amount; 4]> {
    let mut amounts = [Amount::ZERO; 4];
    if bytes.len() == LONG {
        for (counter, amount) in bytes.as_chunks().0.iter().zip(&mut amounts) {
            *amount = Amount::from_base_units(u128::from_be_bytes(*counter));
        }
        return Some(amounts);
    }
    let (lengths, mut rest) = bytes.split_first_chunk::<4>()?;
    for (length, amount) in lengths.map(usize::from).into_iter().zip(&mut amounts) {
        let (own, others) = rest.split_at_checked(length)?;
        let mut counter = [0; 16];
        counter[16_usize.checked_sub(length)?..].copy_from_slice(own);
        // What is written one way is read one way: no zeros in front.
        if own.first() == Some(&0) {
            return None;
        }
        (*amount, rest) = (Amount::from_base_units(u128::from_be_bytes(counter)), others);
    }
    rest.is_empty().then_some(amounts)
}

/// What an account had after a transfer, from one of the transfer's columns; none if it keeps no
/// history.
pub(super) fn balance(
    row: &SqliteRow,
    column: &'static str,
    account: &AccountId,
) -> Result<Option<AccountBalance>> {
    let Some(after) = get::<Option<&[u8]>>(row, column)? else { return Ok(None) };
    let [debits_pending, debits_posted, credits_pending, credits_posted] =
        amounts(after).ok_or_else(|| damaged(column))?;
    Ok(Some(AccountBalance {
        account: account.clone(),
        transfer: TransferId::from_uuid(id(row, "id")?),
        at: time(row, "at")?,
        debits_pending,
        debits_posted,
        credits_pending,
        credits_posted,
    }))
}

pub(super) fn failed(row: &SqliteRow) -> Result<FailedTransfer> {
    let id = TransferId::from_uuid(id(row, "id")?);
    Ok(FailedTransfer { id, code: parsed(row, "code")?, at: time(row, "at")? })
}

pub(super) fn link(row: &SqliteRow) -> Result<Link> {
    let digest: &[u8] = get(row, "digest")?;
    Ok(Link {
        writer: count(row, "writer")?,
        number: count(row, "number")?,
        accounts: count(row, "accounts")?,
        transfers: count(row, "transfers")?,
        failed: count(row, "failed")?,
        digest: Digest::from_bytes(digest.try_into().map_err(|_| damaged("digest"))?),
    })
}

/// User data as it is stored: nothing for zero.
pub(super) fn long(data: u64) -> Option<i64> {
    (data != 0).then(|| data.cast_signed())
}

/// As [`long`].
pub(super) fn short(data: u32) -> Option<i64> {
    (data != 0).then(|| integer(data))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn balance_of(counters: [u128; 4]) -> AccountBalance {
        let [debits_pending, debits_posted, credits_pending, credits_posted] =
            counters.map(Amount::from_base_units);
        AccountBalance {
            account: "a".parse().unwrap(),
            transfer: TransferId::derive(b"t", "one"),
            at: Timestamp::UNIX_EPOCH,
            debits_pending,
            debits_posted,
            credits_pending,
            credits_posted,
        }
    }

    proptest! {
        #[test]
        fn counters_are_read_as_they_were_written(
            counters in prop::array::uniform4((any::<u128>(), 0_u32..128)),
        ) {
            let counters = counters.map(|(amount, shift)| amount >> shift);
            let written = super::counters(&balance_of(counters));
            prop_assert!(written.len() <= LONG);
            prop_assert_eq!(amounts(&written), Some(counters.map(Amount::from_base_units)));
        }

        #[test]
        fn one_way_to_write_them_is_read(bytes in prop::collection::vec(0_u8..20, 0..63)) {
            if let Some(read) = amounts(&bytes) {
                prop_assert_eq!(counters(&balance_of(read.map(Amount::base_units))), bytes);
            }
        }
    }

    #[test]
    fn the_long_form_of_older_files_is_read() {
        let counters = [0, 7, 0, u128::MAX];
        let long = counters.map(u128::to_be_bytes).concat();
        assert_eq!(amounts(&long), Some(counters.map(Amount::from_base_units)));
        assert_eq!(super::counters(&balance_of([0, 7, 0, 0x0102])), [0, 1, 0, 2, 7, 1, 2]);
    }
}
