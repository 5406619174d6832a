//! Shares of a period: what is pending, divided among those who took part.
//!
//! All shares are computed at once, from one snapshot, by the largest-remainder method: so they
//! sum to exactly what is paid, and none is a base unit or more off. What is paid is moved into an
//! account of the period's own first. From there each share is a transfer whose id follows from
//! the period and the participant, so that whoever was interrupted can simply go on.

use std::cmp::Reverse;

use num_bigint::BigUint;
use serde::{Deserialize, Serialize};

use super::EconomyError;
use super::accounts::{self, step};
use crate::amount::{Amount, AmountError, Asset};
use crate::id::{AccountId, TransferId};
use crate::ledger::{Account, MAX_BATCH, Purpose, Transfer};

/// How a share depends on how the participant did, in parts in a thousand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SharePolicy {
    /// From this uptime, in parts in a million, `good_permille` counts. Default 95 %.
    pub good_from_ppm: u32,
    /// Default 1.1.
    pub good_permille: u32,
    /// From this uptime `fair_permille` counts. Default 80 %.
    pub fair_from_ppm: u32,
    /// Default 0.95.
    pub fair_permille: u32,
    /// Else this counts. Default 0.8.
    pub poor_permille: u32,
    /// From so many outages on, `outage_permille` is taken off. Default 3.
    pub outages_from: u32,
    /// Default 0.1.
    pub outage_permille: u32,
}

impl Default for SharePolicy {
    fn default() -> Self {
        Self {
            good_from_ppm: 950_000,
            good_permille: 1_100,
            fair_from_ppm: 800_000,
            fair_permille: 950,
            poor_permille: 800,
            outages_from: 3,
            outage_permille: 100,
        }
    }
}

impl SharePolicy {
    /// The factor by which a contribution counts, in parts in a thousand.
    #[must_use]
    pub fn modifier_permille(&self, uptime_ppm: u32, outages: u32) -> u32 {
        let factor = if uptime_ppm >= self.good_from_ppm {
            self.good_permille
        } else if uptime_ppm >= self.fair_from_ppm {
            self.fair_permille
        } else {
            self.poor_permille
        };
        let less = if outages >= self.outages_from { self.outage_permille } else { 0 };
        factor.saturating_sub(less)
    }
}

/// Somebody who took part in a period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Participant {
    /// Who is paid.
    pub account: AccountId,
    /// How much it contributed, in whatever unit all of the snapshot share.
    pub contribution: u64,
    /// The share of the period that it was there, in parts in a million.
    pub uptime_ppm: u32,
    /// How often it failed.
    pub outages: u32,
}

/// What everybody gets of a period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shares {
    /// By account. Who gets nothing is in it.
    pub shares: Vec<(AccountId, Amount)>,
    /// The sum of them. What is pending beyond it stays where it is.
    pub paid: Amount,
}

impl Shares {
    /// Divides `pending` among the participants: `pending · contribution/total · modifier` each.
    ///
    /// If these come to more than is pending, because most modifiers are above 1, they are scaled
    /// down together until they come to what is pending. The sum is rounded down, each share is
    /// rounded down, and the base units that are left over go one each to the shares that lost
    /// most; of equals to the one whose account comes first in the order of names.
    ///
    /// # Errors
    /// [`EconomyError::NoContribution`] if there is nothing to divide by, [`EconomyError::Twice`]
    /// if an account is in the snapshot twice.
    pub fn of(
        policy: &SharePolicy,
        pending: Amount,
        participants: &[Participant],
    ) -> Result<Self, EconomyError> {
        let mut sorted: Vec<_> = participants.iter().collect();
        sorted.sort_unstable_by(|a, b| a.account.cmp(&b.account));
        if let Some(twice) = sorted.windows(2).find(|pair| pair[0].account == pair[1].account) {
            return Err(EconomyError::Twice(twice[0].account.clone()));
        }
        let weight = |p: &&Participant| {
            BigUint::from(p.contribution) * policy.modifier_permille(p.uptime_ppm, p.outages)
        };
        let weights: Vec<BigUint> = sorted.iter().map(weight).collect();
        let weighted: BigUint = weights.iter().sum();
        let plain: BigUint = sorted.iter().map(|p| BigUint::from(p.contribution)).sum();
        if plain == BigUint::ZERO {
            return Err(EconomyError::NoContribution);
        }
        let whole = (plain * 1_000_u32).max(weighted.clone());
        let pending = BigUint::from(pending.base_units());
        let paid = &pending * weighted / &whole;
        let mut left = paid.clone();
        let mut parts = Vec::with_capacity(weights.len());
        let mut remainders = Vec::with_capacity(weights.len());
        for (place, weight) in weights.into_iter().enumerate() {
            let exact = &pending * weight;
            let part = &exact / &whole;
            remainders.push((Reverse(exact % &whole), place));
            left -= &part;
            parts.push(part);
        }
        remainders.sort_unstable();
        // Fewer units are left than there are remainders, so nobody gets two.
        for (_, place) in remainders {
            if left == BigUint::ZERO {
                break;
            }
            parts[place] += 1_u32;
            left -= 1_u32;
        }
        let named = sorted
            .into_iter()
            .zip(parts)
            .map(|(participant, part)| Ok((participant.account.clone(), amount(&part)?)));
        Ok(Self { shares: named.collect::<Result<_, AmountError>>()?, paid: amount(&paid)? })
    }

    /// The account of the period, to be opened.
    ///
    /// # Errors
    /// As [`accounts::shares`].
    pub fn account(period: &AccountId, asset: &Asset) -> Result<Account, EconomyError> {
        Ok(Account::new(accounts::shares(period)?, asset.clone()).limited_to_credits())
    }

    /// The transfer that moves what is paid into the account of the period. It carries a digest of
    /// the shares, so that a period that was begun with one snapshot cannot be gone on with
    /// another (the ledger answers that it exists with another reference).
    ///
    /// # Errors
    /// [`EconomyError::AmountZero`] if nothing is paid, and as [`accounts::shares`].
    pub fn fund(
        &self,
        period: &AccountId,
        from: &AccountId,
        attempt: u32,
    ) -> Result<Transfer, EconomyError> {
        if self.paid.is_zero() {
            return Err(EconomyError::AmountZero);
        }
        let to = accounts::shares(period)?;
        let id = step(period_id(period), "fund", attempt);
        let fund = Transfer::direct(id, from, &to, self.paid, Purpose::SharesFund);
        Ok(fund.about(self.digest(from).uuid()))
    }

    /// The transfers that pay the shares, in batches that the ledger takes. They can be sent in
    /// any order, and again.
    ///
    /// # Errors
    /// As [`accounts::shares`].
    pub fn batches(&self, period: &AccountId) -> Result<Vec<Vec<Transfer>>, EconomyError> {
        let from = accounts::shares(period)?;
        let all: Vec<_> = self
            .shares
            .iter()
            .filter(|(_, share)| !share.is_zero())
            .map(|(to, share)| {
                let id = share_id(period, to, 0);
                Transfer::direct(id, &from, to, *share, Purpose::Share)
            })
            .collect();
        Ok(all.chunks(MAX_BATCH).map(<[_]>::to_vec).collect())
    }

    fn digest(&self, from: &AccountId) -> TransferId {
        let mut text = from.to_string();
        for (account, share) in &self.shares {
            // A visible text has no space in it, so this cannot be read in two ways.
            text.push_str(&format!(" {account} {share}"));
        }
        TransferId::derive(text.as_bytes(), "shares")
    }
}

fn period_id(period: &AccountId) -> TransferId {
    TransferId::derive(period.as_str().as_bytes(), "shares of a period")
}

/// The id of the transfer that pays a share. One that failed stays failed, so it is tried again as
/// another `attempt`, and only after the one before has failed for good.
pub(crate) fn share_id(period: &AccountId, to: &AccountId, attempt: u32) -> TransferId {
    step(period_id(period), &format!("share of {to}"), attempt)
}

fn amount(units: &BigUint) -> Result<Amount, AmountError> {
    u128::try_from(units).map(Amount::from_base_units).map_err(|_| AmountError::TooLarge)
}

#[cfg(test)]
mod tests;
