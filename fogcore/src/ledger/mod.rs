//! Who is owed what: accounts and transfers, in double entry, exact to the base unit.
//!
//! The vocabulary and the strictness are TigerBeetle's. An [`Account`] is four counters, debits
//! and credits, each pending and posted. A [`Transfer`] moves an amount from one account to
//! another at once, or reserves it as a *hold* that is later *posted* (up to the whole) or *voided*.
//! Nothing else ever changes a counter, so debits and credits are equal at all times
//! ([`TrialBalance`]). A transfer's id is made by the client: sent again, it changes nothing and
//! gives the same answer; with another content, it is a conflict.
//!
//! A batch of transfers is answered one by one ([`Book::apply_batch`], [`ResultCode`]). Some may
//! be *linked* into a chain that happens as a whole or not at all; *balancing* transfers move what
//! is there rather than what is asked; a hold may have a *timeout*, and may *close* an account.
//! An id that failed stays failed: a client that gave up cannot be surprised by a late success.
//!
//! The rules are in the [`Book`], which does no I/O; stores load what a batch touches into one,
//! apply the batch, and write back what changed.
//!
//! ```
//! use fogcore::amount::{Amount, Asset};
//! use fogcore::id::{AccountId, TransferId};
//! use fogcore::ledger::{Account, Book, Purpose, ResultCode, Transfer};
//! use fogcore::time::Timestamp;
//!
//! let (now, units) = (Timestamp::UNIX_EPOCH, Amount::from_base_units);
//! let [mint, alice, bob]: [AccountId; 3] = ["mint", "alice", "bob"].map(|n| n.parse().unwrap());
//! let mut book = Book::default();
//! book.open(Account::new(mint.clone(), Asset::FOG), now)?;
//! book.open(Account::new(alice.clone(), Asset::FOG).limited_to_credits(), now)?;
//! book.open(Account::new(bob.clone(), Asset::FOG), now)?;
//!
//! let id = |name| TransferId::derive(b"example", name);
//! let pay = |name, amount| {
//!     Transfer::direct(id(name), &alice, &bob, units(amount), Purpose::Transfer)
//! };
//! let batch = [
//!     Transfer::direct(id("mint"), &mint, &alice, units(100), Purpose::Mint),
//!     Transfer::hold(id("hold"), &alice, &bob, units(80), Purpose::Transfer).expiring_after(60),
//!     pay("too much", 30),
//!     pay("one half", 10).linked(),
//!     pay("other half", 11),
//!     Transfer::post(id("post"), id("hold"), units(60), Purpose::Transfer),
//!     pay("whatever is left", 1_000).balancing_debit(),
//! ];
//! let answers = book.apply_batch(&batch, now)?;
//! let codes: Vec<_> = answers.iter().map(|answer| ResultCode::of(answer).name()).collect();
//! assert_eq!(codes[..3], ["created", "created", "exceeds_credits"]);
//! assert_eq!(codes[3..5], ["linked_event_failed", "exceeds_credits"]);
//! assert_eq!(codes[5..], ["created", "created"]);
//! assert_eq!(answers[6].as_ref().unwrap().posted.transfer.amount(), Some(units(40)));
//! assert!(book.account(&alice).unwrap().available().is_zero());
//! assert!(book.trial_balance().is_balanced());
//!
//! // Sent again, it changes nothing.
//! let again = book.apply_batch(&batch, now)?;
//! assert_eq!(ResultCode::of(&again[0]), ResultCode::Exists);
//! assert_eq!(ResultCode::of(&again[2]), ResultCode::IdAlreadyFailed);
//! # Ok::<(), fogcore::Error>(())
//! ```

mod account;
mod audit;
mod book;
pub(crate) mod chain;
mod code;
pub mod decode;
pub mod economy;
mod error;
pub mod export;
mod fault;
mod flags;
mod posted;
mod query;
pub mod settlement;
mod store;
mod transfer;
mod trial_balance;

pub use self::{
    account::{Account, AccountBalance},
    audit::Audit,
    book::{Book, BookChanges, FailedTransfer},
    chain::{Chain, Digest, Head, Link, Row, Verified, Verifier},
    code::ResultCode,
    error::{Counter, Field, LedgerError, Side},
    fault::Fault,
    flags::TransferFlags,
    posted::{Applied, HoldState, Posted},
    query::{AccountFilter, BalanceEntry, JournalEntry, Place, TransferFilter},
    store::LedgerStore,
    transfer::{Purpose, Transfer, TransferKind},
    trial_balance::{AssetBalance, Total, TrialBalance},
};

/// The most transfers, or accounts to open, in one batch: TigerBeetle's batch.
pub const MAX_BATCH: usize = 8_190;
