//! How much there is, and the proof of it from the journal.
//!
//! The right to mint is an account's balance: `fog:mint` is credited once with the most there may
//! ever be, cannot owe, and so the ledger itself refuses to mint more. What is minted leaves it,
//! what is burned ends in `fog:burned`, and everything else only changes hands.

use std::collections::{BTreeMap, HashMap};

use num_bigint::BigInt;
use serde::{Deserialize, Serialize};

use super::accounts::{self, AUTHORIZED, BURNED, MINT, TREASURY};
use super::{EconomyError, EconomyPolicy};
use crate::amount::{Amount, Asset};
use crate::error::{Error, ErrorKind};
use crate::id::{AccountId, TransferId};
use crate::ledger::{Account, Posted, Purpose, Transfer, TransferKind};

/// The transfer that sets aside the most there may ever be. It has one id per asset: asked again
/// it changes nothing, and with another maximum it is refused.
#[must_use]
pub fn authorize(policy: &EconomyPolicy, asset: &Asset) -> Transfer {
    let id = TransferId::derive(asset.code().as_bytes(), "supply");
    let id = accounts::step(id, "authorize", 0);
    let (from, to) = (accounts::own(AUTHORIZED), accounts::own(MINT));
    Transfer::direct(id, &from, &to, policy.maximum_supply, Purpose::Authorize)
}

/// New supply for `to`. The ledger refuses it (exceeds_credits) beyond the maximum.
#[must_use]
pub fn mint(id: TransferId, to: &AccountId, amount: Amount) -> Transfer {
    Transfer::direct(id, &accounts::own(MINT), to, amount, Purpose::Mint)
}

/// The initial supply, for `fog:treasury`; once per asset.
#[must_use]
pub fn mint_initial(policy: &EconomyPolicy, asset: &Asset, attempt: u32) -> Transfer {
    let id = TransferId::derive(asset.code().as_bytes(), "supply");
    let id = |attempt| accounts::step(id, "initial supply", attempt);
    let treasury = accounts::own(TREASURY);
    mint(id(attempt), &treasury, policy.initial_supply).about(id(0).uuid())
}

/// Takes `amount` of `from` out of circulation for ever.
///
/// # Errors
/// [`EconomyError::Reserved`] for one of the fog's own accounts.
pub fn burn(id: TransferId, from: &AccountId, amount: Amount) -> Result<Transfer, EconomyError> {
    if from.is_reserved() {
        return Err(EconomyError::Reserved(from.clone()));
    }
    let id = accounts::step(id, "burn", 0);
    Ok(Transfer::direct(id, from, &accounts::own(BURNED), amount, Purpose::Burn))
}

/// How much there is of the token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supply {
    /// The most that may ever be minted.
    pub maximum: Amount,
    /// What was minted.
    pub minted: Amount,
    /// What was burned of it, penalties included.
    pub burned: Amount,
}

impl Supply {
    /// The supply as the accounts tell it.
    #[must_use]
    pub fn told_by(mint: &Account, burned: &Account) -> Self {
        Self {
            maximum: mint.credits_posted,
            minted: mint.debits_posted,
            burned: burned.credits_posted,
        }
    }

    /// What all holders have together, less what accounts without a limit owe.
    #[must_use]
    pub fn circulating(&self) -> Amount {
        self.minted.checked_sub(self.burned).unwrap_or(Amount::ZERO)
    }

    /// What may still be minted.
    #[must_use]
    pub fn unminted(&self) -> Amount {
        self.maximum.checked_sub(self.minted).unwrap_or(Amount::ZERO)
    }
}

/// What the journal proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SupplyProof {
    /// How much there is.
    pub supply: Supply,
    /// How many transfers were read.
    pub transfers: u64,
    /// What holders have, added up account by account.
    pub held: Amount,
    /// What accounts without a limit owe. Zero where all holders are limited to their
    /// credits, which is how the fog opens them.
    pub owed: Amount,
}

/// Why the journal does not prove a supply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SupplyError {
    /// Something else than the one transfer that sets the maximum touches what it sets.
    #[error("transfer {0} changes how much may be minted")]
    NotAuthorized(TransferId),
    /// New supply that does not say so.
    #[error("transfer {0} takes from fog:mint and is not a mint")]
    NotAMint(TransferId),
    /// What was burned came back.
    #[error("transfer {0} takes from fog:burned")]
    NotBurned(TransferId),
    /// Minted beyond what was authorized.
    #[error("with transfer {0} more is minted than was authorized")]
    BeyondMaximum(TransferId),
    /// The end of a hold that the journal does not have, or has twice.
    #[error("transfer {0} ends no pending hold")]
    NoHold(TransferId),
    /// An account that the journal names and that is not there.
    #[error("there is no account \"{0}\"")]
    NoAccount(AccountId),
    /// What holders have is not what is in circulation.
    #[error("holders have {held}, less {owed} owed; in circulation are {circulating}")]
    NotConserved {
        /// What holders have.
        held: String,
        /// What accounts without a limit owe.
        owed: String,
        /// Minted less burned.
        circulating: Amount,
    },
    /// A sum beyond 2^128 − 1 base units.
    #[error("the sums of \"{0}\" pass 2^128 − 1 base units")]
    TooLarge(AccountId),
}

impl From<SupplyError> for Error {
    fn from(error: SupplyError) -> Self {
        Self::new(ErrorKind::Internal, error)
    }
}

/// Reads the journal from its beginning and proves the supply: that the maximum was set once,
/// that only mints took from it, that nothing burned came back, and that what all holders have,
/// added up from nothing but transfers, is what was minted less what was burned.
///
/// Only the amounts that were posted count: a hold moves nothing. That the journal and the
/// accounts' counters agree is what
/// [`LedgerStore`](crate::ledger::LedgerStore) verifies.
#[derive(Clone, Debug, Default)]
pub struct SupplyAudit {
    supply: Supply,
    transfers: u64,
    /// Credits and debits.
    sums: BTreeMap<AccountId, [u128; 2]>,
    holds: HashMap<TransferId, [AccountId; 2]>,
}

impl SupplyAudit {
    /// Reads the next transfer of the journal.
    ///
    /// # Errors
    /// [`SupplyError`] at the first transfer that breaks the proof.
    pub fn read(&mut self, posted: &Posted) -> Result<(), SupplyError> {
        self.transfers += 1;
        let id = posted.transfer.id;
        match &posted.transfer.kind {
            TransferKind::Direct { debit, credit, amount } => {
                self.admit(posted, debit, credit, *amount)?;
                self.add(debit, credit, *amount)
            }
            TransferKind::Hold { debit, credit, amount } => {
                // What is only reserved needs the same right as what is moved.
                self.admit(posted, debit, credit, Amount::ZERO)?;
                if is_root(debit) && !amount.is_zero() {
                    return Err(SupplyError::NotAMint(id));
                }
                self.holds.insert(id, [debit.clone(), credit.clone()]);
                Ok(())
            }
            TransferKind::Post { hold, amount } => {
                let [debit, credit] = self.holds.remove(hold).ok_or(SupplyError::NoHold(id))?;
                self.add(&debit, &credit, *amount)?;
                self.burn(&credit, *amount)
            }
            TransferKind::Void { hold } | TransferKind::Expire { hold } => {
                self.holds.remove(hold).map(|_| ()).ok_or(SupplyError::NoHold(id))
            }
        }
    }

    /// The proof, given all accounts of the ledger.
    ///
    /// # Errors
    /// [`SupplyError`] if what is held is not what is in circulation.
    pub fn finish<'a>(
        self,
        asset: &Asset,
        accounts: impl IntoIterator<Item = &'a Account>,
    ) -> Result<SupplyProof, SupplyError> {
        let mut sums = self.sums;
        let (mut held, mut owed) = (BigInt::ZERO, BigInt::ZERO);
        for account in accounts {
            let Some([credits, debits]) = sums.remove(&account.id) else { continue };
            if account.asset != *asset || is_root(&account.id) || account.id.as_str() == BURNED {
                continue;
            }
            held += credits.saturating_sub(debits);
            owed += debits.saturating_sub(credits);
        }
        if let Some((account, _)) = sums.pop_first() {
            return Err(SupplyError::NoAccount(account));
        }
        let circulating = self.supply.circulating();
        // Not with the difference: somebody without a limit may burn more than was minted.
        let conserved =
            &held + self.supply.burned.base_units() == &owed + self.supply.minted.base_units();
        let amount = |sum: &BigInt| u128::try_from(sum).ok().map(Amount::from_base_units);
        match (amount(&held), amount(&owed)) {
            (Some(all), Some(owing)) if conserved => {
                let (supply, transfers) = (self.supply, self.transfers);
                Ok(SupplyProof { supply, transfers, held: all, owed: owing })
            }
            _ => {
                let (held, owed) = (held.to_string(), owed.to_string());
                Err(SupplyError::NotConserved { held, owed, circulating })
            }
        }
    }

    /// Whether it may happen, as far as the supply is concerned; counts what it mints and burns.
    fn admit(
        &mut self,
        posted: &Posted,
        debit: &AccountId,
        credit: &AccountId,
        amount: Amount,
    ) -> Result<(), SupplyError> {
        let (id, purpose) = (posted.transfer.id, posted.transfer.purpose);
        let pair = (debit.as_str(), credit.as_str());
        if pair == (AUTHORIZED, MINT) {
            let first = self.supply.maximum.is_zero();
            if purpose != Purpose::Authorize || !first || !id.is_own() {
                return Err(SupplyError::NotAuthorized(id));
            }
            self.supply.maximum = amount;
            return Ok(());
        }
        if is_root(credit) || pair.0 == AUTHORIZED {
            return Err(SupplyError::NotAuthorized(id));
        }
        if pair.0 == BURNED {
            return Err(SupplyError::NotBurned(id));
        }
        if pair.0 == MINT {
            if purpose != Purpose::Mint {
                return Err(SupplyError::NotAMint(id));
            }
            let minted = self.supply.minted.checked_add(amount);
            self.supply.minted = minted
                .ok()
                .filter(|minted| *minted <= self.supply.maximum)
                .ok_or(SupplyError::BeyondMaximum(id))?;
        }
        self.burn(credit, amount)
    }

    fn burn(&mut self, credit: &AccountId, amount: Amount) -> Result<(), SupplyError> {
        if credit.as_str() == BURNED {
            let burned = self.supply.burned.checked_add(amount);
            self.supply.burned = burned.map_err(|_| SupplyError::TooLarge(credit.clone()))?;
        }
        Ok(())
    }

    fn add(
        &mut self,
        debit: &AccountId,
        credit: &AccountId,
        amount: Amount,
    ) -> Result<(), SupplyError> {
        for (side, account) in [credit, debit].into_iter().enumerate() {
            if !self.sums.contains_key(account) {
                self.sums.insert(account.clone(), [0; 2]);
            }
            if let Some(sums) = self.sums.get_mut(account) {
                let sum = sums[side].checked_add(amount.base_units());
                sums[side] = sum.ok_or_else(|| SupplyError::TooLarge(account.clone()))?;
            }
        }
        Ok(())
    }
}

/// Whether it is one of the two accounts from which supply comes.
fn is_root(account: &AccountId) -> bool {
    matches!(account.as_str(), AUTHORIZED | MINT)
}

#[cfg(test)]
mod tests;
