//! The constants of the economy, each with its reason.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::accounts::{self, BURNED};
use super::{RewardPolicy, SharePolicy};
use crate::amount::{Amount, Asset};
use crate::error::{Error, Result};
use crate::id::AccountId;

/// The constants of the economy. All processes on one store must agree in them.
///
/// Amounts are base units of the fog's asset; the defaults are those of FOG, and
/// [`EconomyPolicy::of`] gives the same for another asset. A part in a million is written `ppm`,
/// one in ten thousand `bps`: shares of money are whole numbers, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EconomyPolicy {
    /// The most that may ever be minted; burning gives none of it back. Default 10^10 FOG. The
    /// ledger is told once, when a fog is opened on it for the first time; from then on a change
    /// here is refused.
    pub maximum_supply: Amount,
    /// What is minted by [`Economy::mint_initial_supply`](crate::fog::Economy::mint_initial_supply),
    /// if that is called. Default 10^9 FOG.
    pub initial_supply: Amount,
    /// The least stake. Default 1,000 FOG: each is an account with history, and interest is paid
    /// to each, so that dust would cost more than it binds.
    pub min_stake: Amount,
    /// The stake from which its holder may validate. Default 10,000 FOG.
    pub validator_stake: Amount,
    /// How long what was unstaked stays within reach of a penalty. Default 7 days. A change holds
    /// for what is unbonding, too.
    pub unbonding: Duration,
    /// Interest on a stake, per year, without compounding: it is paid to the holder, who may
    /// stake it. Default 50,000 ppm, which is 5 %.
    pub interest_ppm: u32,
    /// How long a year is for that. Default 365 days, always.
    pub year: Duration,
    /// How long a period of interest is, counted from 1970. Default 1 day. Once interest was paid,
    /// a change pays some days twice, or never.
    pub interest_period: Duration,
    /// How long after its end a period can be settled. Default 1 hour: longer than the clocks of
    /// two processes of a fog are ever apart, so that nothing can still happen within it.
    pub interest_delay: Duration,
    /// What a transfer costs its payer beside its amount, rounded up. Default 0 bps.
    pub transfer_fee_bps: u16,
    /// What a trade costs its payer beside its price, rounded up. Default 0 bps.
    pub marketplace_fee_bps: u16,
    /// Where penalties go. Default `fog:burned`: nobody may gain by a penalty, and so none is
    /// given for gain.
    pub penalties_to: AccountId,
    /// What work is worth.
    pub reward: RewardPolicy,
    /// How shares of a period depend on how the participant did.
    pub shares: SharePolicy,
}

impl Default for EconomyPolicy {
    fn default() -> Self {
        Self::with_unit(10_u128.pow(u32::from(Asset::FOG.scale())))
    }
}

impl EconomyPolicy {
    const DAY: Duration = Duration::from_secs(86_400);

    /// The defaults, as many of `asset` as they would be of FOG.
    ///
    /// # Errors
    /// InvalidInput for an asset of so many decimals (29 and more) that the maximum supply cannot
    /// be expressed.
    pub fn of(asset: &Asset) -> Result<Self> {
        asset.parse("10000000000")?;
        Ok(Self::with_unit(10_u128.pow(u32::from(asset.scale()))))
    }

    fn with_unit(unit: u128) -> Self {
        let of = |whole: u128| Amount::from_base_units(whole.saturating_mul(unit));
        Self {
            maximum_supply: of(10_000_000_000),
            initial_supply: of(1_000_000_000),
            min_stake: of(1_000),
            validator_stake: of(10_000),
            unbonding: 7 * Self::DAY,
            interest_ppm: 50_000,
            year: 365 * Self::DAY,
            interest_period: Self::DAY,
            interest_delay: Duration::from_secs(3_600),
            transfer_fee_bps: 0,
            marketplace_fee_bps: 0,
            penalties_to: accounts::own(BURNED),
            reward: RewardPolicy::default(),
            shares: SharePolicy::default(),
        }
    }

    /// Checks what could not be kept, or would divide by zero.
    ///
    /// # Errors
    /// InvalidInput with the field's name.
    pub fn check(&self) -> Result<()> {
        let wrong = |field, why: &str| Err(Error::invalid(field, why.to_owned()));
        if self.maximum_supply.base_units() > 1 << 127 {
            return wrong("economy.maximum_supply", "at most 2^127 base units are allowed");
        }
        if self.initial_supply > self.maximum_supply {
            return wrong("economy.initial_supply", "cannot be more than the maximum supply");
        }
        if self.min_stake > self.validator_stake {
            return wrong(
                "economy.min_stake",
                "a validator cannot stake less than the least stake",
            );
        }
        let takers = [BURNED, accounts::TREASURY, accounts::REWARDS, accounts::FEES];
        if self.penalties_to.is_reserved() && !takers.contains(&self.penalties_to.as_str()) {
            return wrong("economy.penalties_to", "this account takes no penalties");
        }
        let second = Duration::from_secs(1);
        for (field, time, least, most) in [
            ("economy.unbonding", self.unbonding, Duration::ZERO, 3_650 * Self::DAY),
            ("economy.year", self.year, Self::DAY, 366 * Self::DAY),
            ("economy.interest_period", self.interest_period, second, 366 * Self::DAY),
            ("economy.interest_delay", self.interest_delay, Duration::ZERO, 366 * Self::DAY),
        ] {
            if !(least..=most).contains(&time) {
                let range = format!("{time:?} is not between {least:?} and {most:?}");
                return Err(Error::invalid(field, range));
            }
        }
        for (field, fee) in [
            ("economy.transfer_fee_bps", self.transfer_fee_bps),
            ("economy.marketplace_fee_bps", self.marketplace_fee_bps),
        ] {
            if fee > 10_000 {
                return wrong(field, "a fee is at most 10000 bps, which is the whole amount");
            }
        }
        self.reward.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_token() {
        let policy = EconomyPolicy::default();
        policy.check().unwrap();
        assert_eq!(Asset::FOG.display(policy.maximum_supply).to_string(), "10000000000 FOG");
        assert_eq!(EconomyPolicy::of(&Asset::FOG).unwrap(), policy);
        let dollars = EconomyPolicy::of(&Asset::USD).unwrap();
        assert_eq!(Asset::USD.decimal(dollars.min_stake), "1000.00");
        assert!(EconomyPolicy::of(&Asset::new("FINE", 29).unwrap()).is_err());
        let json = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<EconomyPolicy>(&json).unwrap(), policy);
        assert_eq!(serde_json::from_str::<EconomyPolicy>("{}").unwrap(), policy);
    }

    #[test]
    fn every_limit_names_its_field() {
        type Spoil = fn(&mut EconomyPolicy);
        let cases: [(&str, Spoil); 9] = [
            ("economy.maximum_supply", |p| p.maximum_supply = Amount::MAX),
            ("economy.initial_supply", |p| p.maximum_supply = Amount::ZERO),
            ("economy.min_stake", |p| p.validator_stake = Amount::ZERO),
            ("economy.unbonding", |p| p.unbonding = Duration::MAX),
            ("economy.year", |p| p.year = Duration::ZERO),
            ("economy.interest_period", |p| p.interest_period = Duration::ZERO),
            ("economy.interest_delay", |p| p.interest_delay = Duration::MAX),
            ("economy.transfer_fee_bps", |p| p.transfer_fee_bps = 10_001),
            ("economy.marketplace_fee_bps", |p| p.marketplace_fee_bps = 10_001),
        ];
        for (field, spoil) in cases {
            let mut policy = EconomyPolicy::default();
            spoil(&mut policy);
            assert_eq!(policy.check().unwrap_err().field(), Some(field));
        }
    }
}
