//! The form of beancount's ledger.

use super::{Moved, balance, day, names};
use crate::amount::Amount;
use crate::ledger::Account;

pub(super) const HEADER: &str = "; The journal of a fog's ledger. Debits are positive.\n\
                                 option \"title\" \"fog\"\n\n";

/// The digits that beancount computes with.
const DIGITS: u32 = 28;

pub(super) fn open(account: &Account) -> String {
    let (name, commodity) = (names::account(&account.id), names::commodity(&account.asset));
    let id = names::quoted(account.id.as_str());
    format!("{} open {name} {commodity}\n  account-id: {id}\n", day(account.opened_at))
}

pub(super) fn moved(moved: &Moved<'_>) -> String {
    let posted = &moved.entry.posted;
    let (transfer, at) = (&posted.transfer, posted.at);
    let (date, id, purpose) = (day(at), transfer.id, transfer.purpose.name());
    let hold = moved.hold.map(|hold| format!("  hold: \"{hold}\"\n")).unwrap_or_default();
    let place = moved.entry.place.number();
    let commodity = names::commodity(moved.asset);
    let amount = moved.asset.decimal(moved.amount);
    let (debit, credit) = (names::account(moved.debit), names::account(moved.credit));
    format!(
        "\n{date} * \"{purpose}\"\n  transfer-id: \"{id}\"\n  place: \"{place}\"\n  at: \"{at}\"\n\
         {hold}  {debit}   {amount} {commodity}\n  {credit}  -{amount} {commodity}\n"
    )
}

pub(super) fn balances<'a>(date: &str, accounts: impl IntoIterator<Item = &'a Account>) -> String {
    let mut text = "\n".to_owned();
    for account in accounts {
        let (name, commodity) = (names::account(&account.id), names::commodity(&account.asset));
        let (balance, tolerance) = (balance(account), tolerance(account));
        text.push_str(&format!("{date} balance {name}  {balance} ~ {tolerance} {commodity}\n"));
    }
    text
}

/// Nothing, unless the sums that led to the balance have more digits than beancount computes
/// with: then what each transfer may have lost of its last digit.
fn tolerance(account: &Account) -> String {
    let most = account.debits_posted.max(account.credits_posted).base_units();
    let lost = most.checked_ilog10().unwrap_or(0).saturating_add(1).saturating_sub(DIGITS);
    if lost == 0 {
        return "0".to_owned();
    }
    let units = 10_u128.saturating_pow(lost.saturating_add(3));
    account.asset.decimal(Amount::from_base_units(units))
}
