//! The economy of a fog's token: supply, stakes, interest, grants, rewards, fees and shares.
//!
//! All of it is transfers between named accounts, decided here without I/O: a function takes what
//! the ledger tells and the time, and returns the transfers to make. Nothing is created outside a
//! [mint](supply::mint), nothing is lost outside a [burn](supply::burn), and the ledger's own
//! rules keep the limits: what cannot owe, cannot be overdrawn by a fault in here.
//!
//! Divisions are exact and rounded once: towards who pays, down to base units, except for fees,
//! which are rounded up. What rounding leaves over stays in the account that pays.
//!
//! ```
//! use fogcore::amount::Asset;
//! use fogcore::id::{AccountId, TransferId};
//! use fogcore::ledger::economy::{EconomyPolicy, Stake, Supply, accounts, supply};
//! use fogcore::ledger::{Account, Book};
//! use fogcore::time::Timestamp;
//!
//! let (policy, now, fog) = (EconomyPolicy::default(), Timestamp::UNIX_EPOCH, Asset::FOG);
//! let id = |name| TransferId::derive(b"example", name);
//! let alice: AccountId = "alice".parse()?;
//! let mut book = Book::default();
//! for account in accounts::founding(&fog) {
//!     book.open(account, now)?;
//! }
//! book.open(Account::new(alice.clone(), fog.clone()).limited_to_credits(), now)?;
//! for account in Stake::accounts(&alice, &fog)? {
//!     book.open(account, now)?;
//! }
//! book.apply(&supply::authorize(&policy, &fog), now)?;
//! book.apply(&supply::mint(id("mint"), &alice, fog.parse("5000")?), now)?;
//!
//! let none = Stake::told_by(&alice, None, None, None);
//! book.apply_chain(&none.stake(&policy, &fog, id("stake"), fog.parse("1500")?)?, now)?;
//! let stake = Stake::told_by(&alice, book.account(&accounts::stake(&alice)?), None, None);
//! assert_eq!(fog.display(stake.staked).to_string(), "1500 FOG");
//!
//! // No more can be minted than was authorized: the ledger says so, not a check beside it.
//! let too_much = supply::mint(id("too much"), &alice, policy.maximum_supply);
//! assert!(book.apply(&too_much, now).is_err());
//! # Ok::<(), fogcore::Error>(())
//! ```

pub mod accounts;
mod error;
pub mod fees;
pub mod interest;
mod policy;
pub mod reward;
pub(crate) mod shares;
pub(crate) mod staking;
pub mod supply;
pub mod vesting;

pub use self::{
    error::EconomyError,
    interest::{Period, StakedTime},
    policy::EconomyPolicy,
    reward::{Contribution, Quality, RewardPolicy},
    shares::{Participant, SharePolicy, Shares},
    staking::Stake,
    supply::{Supply, SupplyAudit, SupplyError, SupplyProof},
    vesting::{Grant, Vesting},
};
