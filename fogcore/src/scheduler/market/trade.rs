//! A trade, and its money: reserved when it is made, posted or voided once.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{PricePoint, Resource};
use crate::amount::{Amount, AmountError};
use crate::id::{AccountId, BidId, NodeId, OfferId, TradeId, TransferId};
use crate::ledger::economy::{accounts, fees};
use crate::ledger::{Purpose, Transfer};
use crate::time::Timestamp;

/// Where a trade is in its life. It ends once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TradeState {
    /// What it costs is reserved.
    Held,
    /// The owner is paid, and the rest is free.
    Settled,
    /// Nobody is paid, and all is free.
    Voided,
}

/// What somebody hired of somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trade {
    /// Its id, which follows from the bid and from how many trades that led to before.
    pub id: TradeId,
    /// Its place among the trades of the resource, from 1.
    pub place: u64,
    /// The offer that it is a part of.
    pub offer: OfferId,
    /// The bid that it is a part of.
    pub bid: BidId,
    /// The node that has what was hired.
    pub node: NodeId,
    /// Who is paid.
    pub owner: AccountId,
    /// Who pays.
    pub payer: AccountId,
    /// What was hired.
    pub resource: Resource,
    /// Where; empty if unknown.
    pub region: String,
    /// How much, in thousandths of a unit.
    pub amount: u64,
    /// For one unit for one hour, in base units.
    pub price: Amount,
    /// For how long.
    pub duration: Duration,
    /// What all of it costs: what is reserved for the owner.
    pub cost: Amount,
    /// What the fog takes beside that, in ten thousandths.
    pub fee_bps: u16,
    /// What is reserved for that.
    pub fee: Amount,
    /// When it was made.
    pub at: Timestamp,
    /// Until when it can be settled.
    pub due_at: Timestamp,
    /// Where it is in its life.
    pub state: TradeState,
    /// What the owner was paid.
    pub paid: Amount,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}

impl Trade {
    /// Its entry in the history of prices.
    #[must_use]
    pub fn price_point(&self) -> PricePoint {
        PricePoint {
            place: self.place,
            at: self.at,
            resource: self.resource,
            region: self.region.clone(),
            price: self.price,
            amount: self.amount,
        }
    }

    /// The transfers that can ever be made for it.
    #[must_use]
    pub fn transfers(&self) -> [TransferId; 4] {
        [self.own("trade"), self.own("end of trade"), self.own("fee"), self.own("end of fee")]
    }

    /// Reserves what it costs, and the fee beside it. Nothing is reserved for what costs nothing.
    pub(super) fn reserve(&self) -> Vec<Transfer> {
        let [hold, _, fee_hold, _] = self.transfers();
        let fees = accounts::own(accounts::FEES);
        let parts = [
            (hold, &self.owner, self.cost, Purpose::TradeHold),
            (fee_hold, &fees, self.fee, Purpose::MarketplaceFee),
        ];
        let parts = parts.into_iter().filter(|(_, _, amount, _)| !amount.is_zero());
        let hold = |(id, to, amount, purpose): (TransferId, &AccountId, Amount, Purpose)| {
            Transfer::hold(id, &self.payer, to, amount, purpose).about(self.id.uuid())
        };
        parts.map(hold).collect()
    }

    /// Pays `paid` of the cost to the owner, with the fee on that, and frees the rest.
    pub(super) fn settle(&self, paid: Amount) -> Result<Vec<Transfer>, AmountError> {
        let fee = fees::fee(paid, self.fee_bps)?.min(self.fee);
        Ok(self.end([(paid, Purpose::TradeSettle), (fee, Purpose::MarketplaceFee)]))
    }

    /// Frees all of it.
    pub(super) fn void(&self) -> Vec<Transfer> {
        self.end([Purpose::TradeRelease, Purpose::TradeRelease].map(|p| (Amount::ZERO, p)))
    }

    fn end(&self, parts: [(Amount, Purpose); 2]) -> Vec<Transfer> {
        let [hold, end, fee_hold, fee_end] = self.transfers();
        let reserved = [(hold, end, self.cost), (fee_hold, fee_end, self.fee)];
        let ends = reserved.into_iter().zip(parts).filter(|((_, _, held), _)| !held.is_zero());
        let end = |((hold, end, _), (paid, purpose)): ((_, _, Amount), (Amount, _))| {
            let transfer = if paid.is_zero() {
                Transfer::void(end, hold, Purpose::TradeRelease)
            } else {
                Transfer::post(end, hold, paid, purpose)
            };
            transfer.about(self.id.uuid())
        };
        ends.map(end).collect()
    }

    fn own(&self, purpose: &str) -> TransferId {
        TransferId::own(self.id.uuid(), purpose)
    }
}
