//! Stakes: what a holder binds to vote, to validate and to earn interest.
//!
//! Three accounts make a stake: the holder's own, `fog:stake:…` and `fog:unbonding:…`. The last
//! two keep a history, which is all there is to know: how much was staked at any time is the
//! holder's voting power then, and what was credited to the unbonding account until a period ago,
//! less all that has left it since, is what can be withdrawn.
//!
//! What is decided from a state that somebody else may be changing says so to the ledger: a chain
//! ends with a hold of what has to be left, which is voided at once. If less is left the hold, and
//! with it the whole chain, is refused. A chain that takes from what is unbonding begins with a hold
//! whose id follows from all that has left it so far: of two that saw the same, one is refused.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::accounts::{self, step};
use super::{EconomyError, EconomyPolicy};
use crate::amount::{Amount, Asset};
use crate::id::{AccountId, TransferId};
use crate::ledger::{Account, AccountBalance, Purpose, Transfer};

/// What a holder has at stake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stake {
    /// Whose it is.
    pub holder: AccountId,
    /// What is staked: the holder's voting power.
    pub staked: Amount,
    /// What was unstaked and not withdrawn. A penalty can still take it.
    pub unbonding: Amount,
    /// What of that can be withdrawn.
    pub withdrawable: Amount,
    /// What has ever left the unbonding: to the holder, or as a penalty. Each time it grows, so what
    /// is decided from it can be done once.
    pub gone: Amount,
}

impl Stake {
    /// The stake that the ledger tells of: the stake account and the unbonding account as they are
    /// now, and the latter's balance as of [`EconomyPolicy::unbonding`] ago. None of them need be
    /// there.
    #[must_use]
    pub fn told_by(
        holder: &AccountId,
        stake: Option<&Account>,
        unbonding: Option<&Account>,
        matured: Option<&AccountBalance>,
    ) -> Self {
        let left = |account: Option<&Account>| {
            account.map_or(Amount::ZERO, |a| less(a.credits_posted, a.debits_posted))
        };
        let gone = unbonding.map_or(Amount::ZERO, |account| account.debits_posted);
        let matured = matured.map_or(Amount::ZERO, |balance| balance.credits_posted);
        Self {
            holder: holder.clone(),
            staked: left(stake),
            unbonding: left(unbonding),
            // Whatever has left, the oldest of it left first.
            withdrawable: less(matured, gone).min(left(unbonding)),
            gone,
        }
    }

    /// The two accounts of a stake, to be opened.
    ///
    /// # Errors
    /// As [`accounts::stake`].
    pub fn accounts(holder: &AccountId, asset: &Asset) -> Result<[Account; 2], EconomyError> {
        let ids = [accounts::stake(holder)?, accounts::unbonding(holder)?];
        Ok(ids.map(|id| Account::new(id, asset.clone()).limited_to_credits().with_history()))
    }

    /// Whether it is enough to validate.
    #[must_use]
    pub fn is_validator(&self, policy: &EconomyPolicy) -> bool {
        self.staked >= policy.validator_stake
    }

    /// Stakes `amount` more: one transfer or a chain.
    ///
    /// # Errors
    /// [`EconomyError::BelowMinStake`] if the stake would be less than the least one.
    pub fn stake(
        &self,
        policy: &EconomyPolicy,
        asset: &Asset,
        request: TransferId,
        amount: Amount,
    ) -> Result<Vec<Transfer>, EconomyError> {
        if amount.is_zero() {
            return Err(EconomyError::AmountZero);
        }
        let [stake, unbonding] = self.names()?;
        let left = self.staked.checked_add(amount)?;
        self.must_suffice(policy, asset, left)?;
        let id = stake_id(request);
        let moved = Transfer::direct(id, &self.holder, &stake, amount, Purpose::Stake);
        // Enough by itself, whatever else happens.
        let floor = if amount >= policy.min_stake { Amount::ZERO } else { policy.min_stake };
        Ok(leaving(moved, [&stake, &unbonding], floor, request, 0))
    }

    /// Begins to release `amount`: all that is staked, or so much that at least the least stake is
    /// left.
    ///
    /// # Errors
    /// [`EconomyError::BelowMinStake`], and [`EconomyError::MoreThanThere`] beyond what is staked.
    pub fn unstake(
        &self,
        policy: &EconomyPolicy,
        asset: &Asset,
        request: TransferId,
        amount: Amount,
    ) -> Result<Vec<Transfer>, EconomyError> {
        if amount.is_zero() {
            return Err(EconomyError::AmountZero);
        }
        let left = self.staked.checked_sub(amount).map_err(|_| EconomyError::MoreThanThere {
            asset: asset.clone(),
            asked: amount,
            there: self.staked,
        })?;
        let [stake, unbonding] = self.names()?;
        let mut floor = Amount::ZERO;
        if !left.is_zero() {
            self.must_suffice(policy, asset, left)?;
            floor = policy.min_stake;
        }
        let id = unstake_id(request);
        let moved = Transfer::direct(id, &stake, &unbonding, amount, Purpose::Unstake);
        Ok(leaving(moved, [&stake, &unbonding], floor, request, 0))
    }

    /// Gives the holder back all that can be withdrawn.
    ///
    /// # Errors
    /// [`EconomyError::NothingThere`] if nothing can.
    pub fn withdraw(
        &self,
        request: TransferId,
        attempt: u32,
    ) -> Result<Vec<Transfer>, EconomyError> {
        let [stake, unbonding] = self.names()?;
        if self.withdrawable.is_zero() {
            return Err(EconomyError::NothingThere(unbonding));
        }
        let (id, amount) = (withdraw_id(request, attempt), self.withdrawable);
        let moved = Transfer::direct(id, &unbonding, &self.holder, amount, Purpose::Withdraw);
        let mut chain = self.in_turn([&unbonding, &stake]);
        chain.push(moved.about(request.uuid()));
        Ok(chain)
    }

    /// Takes `amount` as a penalty, but no more than there is: from the stake first, then from
    /// what is unbonding, which is no way out. The oldest of that goes first. One request is done
    /// once, whichever account pays: the first penalty has the same id.
    ///
    /// # Errors
    /// [`EconomyError::NothingThere`] if nothing is staked or unbonding.
    pub fn slash(
        &self,
        policy: &EconomyPolicy,
        request: TransferId,
        amount: Amount,
        attempt: u32,
    ) -> Result<Vec<Transfer>, EconomyError> {
        if amount.is_zero() {
            return Err(EconomyError::AmountZero);
        }
        let [stake, unbonding] = self.names()?;
        let first = amount.min(self.staked);
        let second = amount.checked_sub(first)?.min(self.unbonding);
        let mut chain = Vec::new();
        if !second.is_zero() {
            chain.extend(self.in_turn([&unbonding, &stake]));
        }
        let parts = [(&stake, first), (&unbonding, second)];
        let parts = parts.into_iter().filter(|(_, part)| !part.is_zero());
        for (id, (from, part)) in slash_ids(request, attempt).into_iter().zip(parts) {
            let penalty = Transfer::direct(id, from, &policy.penalties_to, part, Purpose::Penalty);
            let penalty = penalty.about(request.uuid());
            chain.push(Transfer { user_data_64: asked(amount), ..penalty }.linked());
        }
        match chain.last_mut() {
            Some(last) => last.flags.linked = false,
            None => return Err(EconomyError::NothingThere(stake)),
        }
        Ok(chain)
    }

    /// The beginning of a chain that takes from what is unbonding: refused if anybody took from it
    /// since this was seen, because then the same id has been used.
    fn in_turn(&self, [unbonding, stake]: [&AccountId; 2]) -> Vec<Transfer> {
        let turn = TransferId::derive(unbonding.as_str().as_bytes(), &self.gone.to_string());
        let [turn, over] = ["turn", "over"].map(|what| step(turn, what, 0));
        let one = Amount::from_base_units(1);
        vec![
            Transfer::hold(turn, unbonding, stake, one, Purpose::Withdraw).linked(),
            Transfer::void(over, turn, Purpose::Withdraw).linked(),
        ]
    }

    fn names(&self) -> Result<[AccountId; 2], EconomyError> {
        Ok([accounts::stake(&self.holder)?, accounts::unbonding(&self.holder)?])
    }

    fn must_suffice(
        &self,
        policy: &EconomyPolicy,
        asset: &Asset,
        left: Amount,
    ) -> Result<(), EconomyError> {
        let min = policy.min_stake;
        if left >= min {
            return Ok(());
        }
        Err(EconomyError::BelowMinStake { asset: asset.clone(), left, min })
    }
}

/// The id of the transfer that stakes.
pub(crate) fn stake_id(request: TransferId) -> TransferId {
    step(request, "stake", 0)
}

/// The id of the transfer that unstakes.
pub(crate) fn unstake_id(request: TransferId) -> TransferId {
    step(request, "unstake", 0)
}

/// The id of the transfer that withdraws.
pub(crate) fn withdraw_id(request: TransferId, attempt: u32) -> TransferId {
    step(request, "withdraw", attempt)
}

/// The ids of a penalty's transfers, of which the second is only made if both accounts pay.
pub(crate) fn slash_ids(request: TransferId, attempt: u32) -> [TransferId; 2] {
    ["slash", "slash the rest"].map(|what| step(request, what, attempt))
}

/// What tells one penalty that was asked for from another under the same id.
pub(crate) fn asked(amount: Amount) -> u64 {
    let (high, low) = Uuid::from_u128(amount.base_units()).as_u64_pair();
    high ^ low
}

/// What was staked then.
pub(crate) fn left(balance: &AccountBalance) -> Amount {
    less(balance.credits_posted, balance.debits_posted)
}

/// `moved`, but only if `floor` is left in the first of the accounts.
fn leaving(
    moved: Transfer,
    [from, to]: [&AccountId; 2],
    floor: Amount,
    request: TransferId,
    attempt: u32,
) -> Vec<Transfer> {
    if floor.is_zero() {
        return vec![moved];
    }
    let purpose = moved.purpose;
    let ids = ["enough is left", "so it was"].map(|what| step(request, what, attempt));
    vec![
        moved.linked(),
        Transfer::hold(ids[0], from, to, floor, purpose).linked(),
        Transfer::void(ids[1], ids[0], purpose),
    ]
}

pub(super) fn less(from: Amount, part: Amount) -> Amount {
    from.checked_sub(part).unwrap_or(Amount::ZERO)
}

#[cfg(test)]
mod tests;
