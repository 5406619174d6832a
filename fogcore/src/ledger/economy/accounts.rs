//! The accounts of the economy, and the ids of the transfers between them.
//!
//! What is the fog's own begins with `fog:`, so that no client can debit it. What belongs to a
//! holder carries the holder's name: who has the stake in `fog:stake:alice` needs no table.

use uuid::Uuid;

use super::EconomyError;
use crate::amount::Asset;
use crate::id::{AccountId, TransferId};
use crate::ledger::Account;
use crate::time::Timestamp;

/// The account that the right to mint comes from; what it owes is the most there may ever be.
pub const AUTHORIZED: &str = "fog:authorized";
/// The account that new supply comes from. It is credited once, with the most there may ever be,
/// and cannot owe: what it has left is what may still be minted.
pub const MINT: &str = "fog:mint";
/// The account that takes what is burned, and gives nothing back.
pub const BURNED: &str = "fog:burned";
/// The account that rewards and interest are paid from. Somebody has to fill it.
pub const REWARDS: &str = "fog:rewards";
/// The account that fees go to.
pub const FEES: &str = "fog:fees";
/// The account that the initial supply goes to.
pub const TREASURY: &str = "fog:treasury";

const STAKE: &str = "fog:stake:";
const UNBONDING: &str = "fog:unbonding:";
const VESTING: &str = "fog:vesting:";
const SHARES: &str = "fog:shares:";

/// The id of one of the accounts above.
#[must_use]
pub(crate) fn own(name: &'static str) -> AccountId {
    #[expect(clippy::expect_used, reason = "constants, each of which a test parses")]
    name.parse().expect("a valid account id")
}

/// The accounts that a fog with this asset has from its beginning, to be opened.
#[must_use]
pub fn founding(asset: &Asset) -> Vec<Account> {
    let account = |name| Account::new(own(name), asset.clone());
    vec![
        account(AUTHORIZED),
        account(MINT).limited_to_credits(),
        account(BURNED),
        account(REWARDS).limited_to_credits(),
        account(FEES).limited_to_credits(),
        account(TREASURY).limited_to_credits(),
    ]
}

/// The account with what `holder` has at stake. Its history is the holder's voting power.
///
/// # Errors
/// [`EconomyError::NameTooLong`] if the name leaves no room, [`EconomyError::Reserved`] for one
/// of the fog's own.
pub fn stake(holder: &AccountId) -> Result<AccountId, EconomyError> {
    of_holder(STAKE, holder, "stakes")
}

/// The account with what `holder` has unstaked and not withdrawn.
///
/// # Errors
/// As for [`stake`].
pub fn unbonding(holder: &AccountId) -> Result<AccountId, EconomyError> {
    of_holder(UNBONDING, holder, "stakes")
}

/// The account with what is left of the grant `id` to `beneficiary`.
///
/// # Errors
/// As for [`stake`].
pub fn vesting(id: TransferId, beneficiary: &AccountId) -> Result<AccountId, EconomyError> {
    of_holder(&format!("{VESTING}{}:", id.uuid().simple()), beneficiary, "grants")
}

/// The account with what is left to be paid to those who took part in `period`.
///
/// # Errors
/// As for [`stake`].
pub fn shares(period: &AccountId) -> Result<AccountId, EconomyError> {
    of_holder(SHARES, period, "periods")
}

/// Whose stake it is, if it is the account of one.
#[must_use]
pub fn staker(account: &AccountId) -> Option<AccountId> {
    account.as_str().strip_prefix(STAKE)?.parse().ok()
}

/// Whose grant it is, and its id, if it is the account of one.
#[must_use]
pub fn grantee(account: &AccountId) -> Option<(TransferId, AccountId)> {
    let (id, beneficiary) = account.as_str().strip_prefix(VESTING)?.split_once(':')?;
    Some((TransferId::from_uuid(Uuid::try_parse(id).ok()?), beneficiary.parse().ok()?))
}

fn of_holder(
    prefix: &str,
    holder: &AccountId,
    what: &'static str,
) -> Result<AccountId, EconomyError> {
    if holder.is_reserved() {
        return Err(EconomyError::Reserved(holder.clone()));
    }
    format!("{prefix}{holder}").parse().map_err(|_| EconomyError::NameTooLong {
        account: holder.clone(),
        what,
        max: AccountId::MAX_CHARS.saturating_sub(prefix.len()),
    })
}

/// The id of the fog's own transfer for `purpose` within what a client asked for as `request`.
///
/// An id of the ledger that failed stays failed. What may succeed later (the reward account was
/// empty) is therefore tried again as another `attempt`, and only after the ledger said that the
/// one before has failed for good: so at most one of them ever succeeds.
pub(super) fn step(request: TransferId, purpose: &str, attempt: u32) -> TransferId {
    TransferId::own(request.uuid(), &numbered(purpose, attempt))
}

/// The same for what nobody asks for, but time brings about: ids of one time are neighbours.
pub(super) fn step_at(at: Timestamp, of: &str, purpose: &str, attempt: u32) -> TransferId {
    let mut bytes = TransferId::derive(of.as_bytes(), purpose).uuid().into_bytes();
    // The first 48 bits of a version 7 UUID: milliseconds since 1970.
    let millis = at.as_micros().div_euclid(1_000).to_be_bytes();
    bytes[..6].copy_from_slice(&millis[2..]);
    TransferId::own(Uuid::from_bytes(bytes), &numbered(purpose, attempt))
}

fn numbered(purpose: &str, attempt: u32) -> String {
    if attempt == 0 { purpose.to_owned() } else { format!("{purpose}, attempt {attempt}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_own_accounts_are_valid_and_reserved() {
        for account in founding(&Asset::FOG) {
            assert!(account.id.is_reserved());
        }
    }

    #[test]
    fn whose_an_account_is_can_be_read_from_its_name() {
        let alice: AccountId = "fo:alice:1".parse().unwrap();
        let grant = TransferId::derive(b"t", "grant");
        assert_eq!(staker(&stake(&alice).unwrap()), Some(alice.clone()));
        assert_eq!(staker(&unbonding(&alice).unwrap()), None);
        assert_eq!(grantee(&vesting(grant, &alice).unwrap()), Some((grant, alice)));
    }

    #[test]
    fn names_without_room_and_own_accounts_cannot_hold() {
        let long: AccountId = "x".repeat(119).parse().unwrap();
        let refused = EconomyError::NameTooLong { account: long.clone(), what: "stakes", max: 118 };
        assert_eq!(stake(&long), Err(refused));
        assert!(stake(&"x".repeat(118).parse().unwrap()).is_ok());
        assert!(matches!(stake(&own(REWARDS)), Err(EconomyError::Reserved(_))));
    }

    #[test]
    fn ids_differ_by_purpose_attempt_and_time() {
        let request = TransferId::derive(b"t", "request");
        let at = |micros| Timestamp::from_micros(micros).unwrap();
        let ids = [
            step(request, "a", 0),
            step(request, "a", 1),
            step(request, "b", 0),
            step_at(at(0), "x", "a", 0),
            step_at(at(1_000), "x", "a", 0),
            step_at(at(0), "y", "a", 0),
            step_at(at(-1), "x", "a", 0),
        ];
        let apart: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(apart.len(), ids.len());
        assert!(ids.iter().all(|id| id.is_own()));
    }
}
