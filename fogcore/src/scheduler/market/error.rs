//! Why the market refuses, precisely.

use super::{BidState, OfferState, Resource, TradeState};
use crate::error::{Error, ErrorKind};
use crate::id::{BidId, OfferId, TradeId};

/// Why a call to the market was refused. Nothing changed, and no money moved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MarketError {
    /// There is no such offer.
    #[error("there is no offer {0}")]
    OfferNotFound(OfferId),
    /// There is no such bid.
    #[error("there is no bid {0}")]
    BidNotFound(BidId),
    /// There is no such trade.
    #[error("there is no trade {0}")]
    TradeNotFound(TradeId),
    /// The id is taken by another offer.
    #[error("offer {0} exists with different content")]
    OfferExists(OfferId),
    /// The id is taken by another bid.
    #[error("bid {0} exists with different content")]
    BidExists(BidId),
    /// An offer that is over cannot be called off.
    #[error("offer {id} is {state:?} already")]
    OfferEnded {
        /// The offer.
        id: OfferId,
        /// Its state.
        state: OfferState,
    },
    /// A bid that is over cannot be called off.
    #[error("bid {id} is {state:?} already")]
    BidEnded {
        /// The bid.
        id: BidId,
        /// Its state.
        state: BidState,
    },
    /// A trade ends once.
    #[error("trade {id} is {state:?} already")]
    TradeEnded {
        /// The trade.
        id: TradeId,
        /// Its state.
        state: TradeState,
    },
    /// More than was agreed.
    #[error("trade {0} was agreed for less")]
    MoreThanAgreed(TradeId),
    /// The market holds no more.
    #[error("at most {max} {what} of {resource} may be open")]
    Full {
        /// Offers or bids.
        what: &'static str,
        /// Of what.
        resource: Resource,
        /// How many may be open.
        max: u64,
    },
    /// The market knows no more regions.
    #[error("{0} is traded in as many regions as there may be")]
    TooManyRegions(Resource),
    /// Nobody settled it in time.
    #[error("the time of trade {0} is over")]
    TooLate(TradeId),
}

impl From<MarketError> for Error {
    fn from(error: MarketError) -> Self {
        use MarketError as E;
        let kind = match &error {
            E::OfferNotFound(_) | E::BidNotFound(_) | E::TradeNotFound(_) => ErrorKind::NotFound,
            E::OfferExists(_)
            | E::BidExists(_)
            | E::OfferEnded { .. }
            | E::BidEnded { .. }
            | E::TradeEnded { .. }
            | E::TooLate(_) => ErrorKind::Conflict,
            E::MoreThanAgreed(_) => return Self::invalid("price", error),
            E::Full { .. } | E::TooManyRegions(_) => ErrorKind::Exhausted,
        };
        Self::new(kind, error)
    }
}
