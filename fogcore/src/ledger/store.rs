//! The port behind which accounts and transfers are kept.

use async_trait::async_trait;

use super::{
    Account, AccountBalance, AccountFilter, Applied, BalanceEntry, Head, JournalEntry, LedgerError,
    Place, Posted, Transfer, TransferFilter, TrialBalance, Verified,
};
use crate::error::Result;
use crate::id::{AccountId, TransferId};
use crate::time::Timestamp;

/// Keeps accounts and transfers by the rules of [`Book`](super::Book).
///
/// Each method is one atomic unit and answers only once it is as durable as the store is. The
/// outer error means that nothing changed, or that nobody knows (Unavailable after a lost
/// connection): sending the same batch again is always safe. Who stops waiting leaves a batch done
/// as a whole or not at all.
///
/// Pages have `limit` entries at most (1–1,000); a page that is shorter is the last one for now.
#[async_trait]
pub trait LedgerStore: Send + Sync {
    /// Opens accounts, each on its own; opening one again with the same terms returns it.
    async fn open_accounts(
        &self,
        accounts: Vec<Account>,
        now: Timestamp,
    ) -> Result<Vec<Result<Account>>>;

    /// Applies a batch as [`Book::apply_batch`](super::Book::apply_batch) does, and answers each
    /// transfer in its place: chains stand or fall as a whole, and ids that fail for a
    /// [sticky](super::ResultCode::is_sticky) reason stay failed.
    ///
    /// The outer error is InvalidInput beyond 8,190 transfers.
    async fn transfer(
        &self,
        transfers: Vec<Transfer>,
        now: Timestamp,
    ) -> Result<Vec<Result<Applied, LedgerError>>>;

    /// Ends up to `limit` (1–1,000) holds whose time is over, first those that are over longest,
    /// and returns the transfers that ended them. Fewer than `limit` means that no more are due.
    async fn expire_holds(&self, now: Timestamp, limit: usize) -> Result<Vec<Posted>>;

    /// The account.
    async fn account(&self, account: &AccountId) -> Result<Option<Account>>;

    /// The accounts by id, beginning after `after`.
    async fn accounts(
        &self,
        filter: &AccountFilter,
        after: Option<&AccountId>,
        limit: usize,
    ) -> Result<Vec<Account>>;

    /// The transfer with this id.
    async fn posted(&self, transfer: TransferId) -> Result<Option<Posted>>;

    /// The journal in its order, beginning after `after`.
    async fn transfers(
        &self,
        filter: &TransferFilter,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Vec<JournalEntry>>;

    /// What an account with history had after each transfer, beginning after `after`; nothing of
    /// an account without, or that is not there.
    async fn balances(
        &self,
        account: &AccountId,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Vec<BalanceEntry>>;

    /// What an account with history had at that time: after the last transfer in the journal that
    /// is not later. None if there is none, or the account has no history.
    async fn balance_at(
        &self,
        account: &AccountId,
        at: Timestamp,
    ) -> Result<Option<AccountBalance>>;

    /// The sums over all accounts, from one snapshot.
    async fn trial_balance(&self) -> Result<TrialBalance>;

    /// Proves from one snapshot that the books are as they were written: makes all
    /// [chains](super::Chain) anew, and all counters, states of holds and histories from the
    /// journal. `anchors` are heads that the caller kept elsewhere: each must still be there, so
    /// that an end that was cut off is noticed, too.
    ///
    /// This reads the whole ledger, and holds every account in memory.
    ///
    /// An error that is a [`Fault`](super::Fault) (of kind Internal) says what differs first.
    async fn verify(&self, anchors: &[Head]) -> Result<Verified>;
}
