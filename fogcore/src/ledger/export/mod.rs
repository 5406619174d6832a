//! The journal as plain text accounting: a file for [hledger] or [beancount].
//!
//! Both tools then add everything up anew, and check the balances that the file ends with against
//! the ledger's own counters. So the file is a second proof of the books, by a program that shares
//! no code with them.
//!
//! What is in it:
//! - every transfer that moved something, in the journal's order, with its id, purpose, place and
//!   exact time; amounts with all decimals of their asset. Debits are positive, as both tools have
//!   it, so what the fog owes a holder is negative;
//! - what only reserves or frees, and what moved nothing, as a comment: it changes no balance;
//! - every account, with its id as the ledger has it; and the balances at the end, a day after the
//!   last transfer, since both tools tell days only.
//!
//! Account ids may have any visible character, the tools' names may not. The names here are made
//! of ASCII letters and digits, with every other byte as `-` and two hex digits, so that nothing
//! in an id can be read as anything else, and each name leads back to its id ([`account_of`]).
//!
//! Beancount computes with 28 digits. Balances that need more (2^93 base units) are checked to
//! that precision.
//!
//! ```
//! use fogcore::amount::{Amount, Asset};
//! use fogcore::id::TransferId;
//! use fogcore::ledger::export::{Export, Format};
//! use fogcore::ledger::{Account, Book, JournalEntry, Place, Purpose, Transfer};
//! use fogcore::time::Timestamp;
//!
//! let now: Timestamp = "2026-01-31T10:00:00Z".parse()?;
//! let mut book = Book::default();
//! for name in ["till", "alice"] {
//!     book.open(Account::new(name.parse()?, Asset::USD), now)?;
//! }
//! let (id, price) = (TransferId::derive(b"example", "sale"), Asset::USD.parse("12.5")?);
//! let sale = Transfer::direct(id, &"alice".parse()?, &"till".parse()?, price, Purpose::Transfer);
//! let posted = book.apply(&sale, now)?.clone();
//!
//! let mut export = Export::new(Format::Hledger);
//! let accounts: Vec<_> = book.accounts(None).cloned().collect();
//! let mut text = export.open(&accounts);
//! text += &export.entry(&JournalEntry { place: Place::START, posted })?;
//! text += &export.close(&accounts);
//! assert!(text.contains("    Liabilities:Accounts:Nalice   12.50 \"USD\"\n"));
//! assert!(text.contains("2026-02-01 balances\n"));
//! # Ok::<(), fogcore::Error>(())
//! ```
//!
//! [hledger]: https://hledger.org
//! [beancount]: https://beancount.github.io

mod beancount;
mod hledger;
mod names;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

pub use self::names::{account_of, asset_code_of};
use super::{Account, JournalEntry, Posted, TransferKind};
use crate::amount::{Amount, Asset};
use crate::error::{Error, ErrorKind};
use crate::id::{AccountId, TransferId};
use crate::time::Timestamp;

/// For which tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// hledger, from 1.25 on.
    Hledger,
    /// Beancount, from 2.3 on.
    Beancount,
}

/// Why the journal cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// An account that [`Export::open`] was not told of.
    #[error("the account \"{0}\" was not opened")]
    NotOpened(AccountId),
    /// The end of a hold that the export has not seen: it did not begin with the journal.
    #[error("transfer {0} ends a hold that is not in what was read")]
    NoHold(TransferId),
}

impl From<ExportError> for Error {
    fn from(error: ExportError) -> Self {
        Self::new(ErrorKind::Internal, error)
    }
}

/// Writes a file, part by part: [`open`](Self::open) the accounts, tell every
/// [`entry`](Self::entry) of the journal from its beginning, [`close`](Self::close).
#[derive(Clone, Debug)]
pub struct Export {
    format: Format,
    begun: bool,
    assets: HashMap<AccountId, Asset>,
    holds: HashMap<TransferId, [AccountId; 2]>,
    latest: Option<Timestamp>,
    /// What was debited and credited so far.
    sums: HashMap<AccountId, [Amount; 2]>,
}

/// A transfer that moved something, and between whom.
struct Moved<'a> {
    entry: &'a JournalEntry,
    debit: &'a AccountId,
    credit: &'a AccountId,
    amount: Amount,
    asset: &'a Asset,
    hold: Option<TransferId>,
}

impl Export {
    /// Nothing yet.
    #[must_use]
    pub fn new(format: Format) -> Self {
        let (assets, holds, sums) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { format, begun: false, assets, holds, latest: None, sums }
    }

    /// Tells of accounts, each once however often it is named. Before the first entry that names
    /// one, it has to be told.
    pub fn open<'a>(&mut self, accounts: impl IntoIterator<Item = &'a Account>) -> String {
        let mut text = String::new();
        if !std::mem::replace(&mut self.begun, true) {
            text.push_str(match self.format {
                Format::Hledger => hledger::HEADER,
                Format::Beancount => beancount::HEADER,
            });
        }
        for account in accounts {
            if self.assets.insert(account.id.clone(), account.asset.clone()).is_none() {
                text.push_str(&match self.format {
                    Format::Hledger => hledger::open(account),
                    Format::Beancount => beancount::open(account),
                });
            }
        }
        text
    }

    /// The accounts that the entry names and that were not told yet.
    #[must_use]
    pub fn unknown(&self, entry: &JournalEntry) -> Vec<AccountId> {
        let named = entry.posted.transfer.accounts().into_iter().flatten();
        named.filter(|account| !self.assets.contains_key(*account)).cloned().collect()
    }

    /// Tells the next entry of the journal.
    ///
    /// # Errors
    /// [`ExportError`] if what it refers to was not told.
    pub fn entry(&mut self, entry: &JournalEntry) -> Result<String, ExportError> {
        let Posted { transfer, at, .. } = &entry.posted;
        self.latest = self.latest.max(Some(*at));
        let (sides, amount, hold) = match &transfer.kind {
            TransferKind::Direct { debit, credit, amount } => {
                ([debit.clone(), credit.clone()], *amount, None)
            }
            TransferKind::Hold { debit, credit, amount } => {
                let asset = self.asset(debit)?;
                let note = format!(
                    "{} -> {}, {}",
                    names::account(debit),
                    names::account(credit),
                    asset.display(*amount)
                );
                self.holds.insert(transfer.id, [debit.clone(), credit.clone()]);
                return Ok(comment(entry, &note));
            }
            TransferKind::Post { hold, amount } => {
                (self.ended(transfer.id, *hold)?, *amount, Some(*hold))
            }
            TransferKind::Void { hold } | TransferKind::Expire { hold } => {
                self.ended(transfer.id, *hold)?;
                return Ok(comment(entry, &format!("of {hold}")));
            }
        };
        if amount.is_zero() {
            return Ok(comment(entry, "moved nothing"));
        }
        let [debit, credit] = &sides;
        for (side, account) in sides.iter().enumerate() {
            let sum = &mut self.sums.entry(account.clone()).or_default()[side];
            // In sound books it fits, as the account's own counter does.
            *sum = sum.checked_add(amount).unwrap_or(Amount::MAX);
        }
        let moved = Moved { entry, debit, credit, amount, asset: self.asset(debit)?, hold };
        Ok(match self.format {
            Format::Hledger => hledger::moved(&moved),
            Format::Beancount => beancount::moved(&moved),
        })
    }

    /// Whether what was told adds up to what these accounts have: all of the journal was there, and
    /// nothing happened since it was read.
    #[must_use]
    pub fn agrees_with(&self, accounts: &[Account]) -> bool {
        accounts.iter().all(|account| {
            let sums = self.sums.get(&account.id).copied().unwrap_or_default();
            sums == [account.debits_posted, account.credits_posted]
        })
    }

    /// Tells the balances of the accounts, as their counters have them after the last entry.
    pub fn close(mut self, accounts: &[Account]) -> String {
        let mut text = self.open(accounts);
        let Some(latest) = self.latest else { return text };
        let next = latest.saturating_add(std::time::Duration::from_secs(86_400));
        if day(next) <= day(latest) {
            text.push_str("\n; There is no day after the last one, to tell the balances of.\n");
            return text;
        }
        text.push_str(&match self.format {
            Format::Hledger => hledger::balances(&day(next), accounts),
            Format::Beancount => beancount::balances(&day(next), accounts),
        });
        text
    }

    fn asset(&self, account: &AccountId) -> Result<&Asset, ExportError> {
        self.assets.get(account).ok_or_else(|| ExportError::NotOpened(account.clone()))
    }

    fn ended(&mut self, by: TransferId, hold: TransferId) -> Result<[AccountId; 2], ExportError> {
        self.holds.remove(&hold).ok_or(ExportError::NoHold(by))
    }
}

/// What changes no balance.
fn comment(entry: &JournalEntry, note: &str) -> String {
    let Posted { transfer, at, .. } = &entry.posted;
    let (kind, purpose) = (transfer.kind.name(), transfer.purpose.name());
    format!("\n; {at} {kind} {} ({purpose}): {note}\n", transfer.id)
}

/// The day, as both tools can have it: years 1 to 9999.
fn day(at: Timestamp) -> String {
    let text = at.to_string();
    match text.split_once('T') {
        Some((day, _)) if day.len() == 10 && day >= "0001-01-01" => day.to_owned(),
        _ => "0001-01-01".to_owned(),
    }
}

/// What the account has, debits being positive, with all decimals.
fn balance(account: &Account) -> String {
    let (debits, credits) = (account.debits_posted, account.credits_posted);
    let units = debits.base_units().abs_diff(credits.base_units());
    let decimal = account.asset.decimal(Amount::from_base_units(units));
    if credits > debits { format!("-{decimal}") } else { decimal }
}

#[cfg(test)]
mod tests;
