//! The form of hledger's journal.

use super::{Moved, balance, day, names};
use crate::ledger::Account;

/// Without it, `1.000` might be a thousand.
pub(super) const HEADER: &str = "; The journal of a fog's ledger. Debits are positive.\n\
                                 decimal-mark .\n\n";

pub(super) fn open(account: &Account) -> String {
    // The id is told escaped: a comment ends with its line, but tags end at a comma.
    let id = account.id.as_str().escape_debug();
    format!("account {}  ; {id}\n", names::account(&account.id))
}

pub(super) fn moved(moved: &Moved<'_>) -> String {
    let posted = &moved.entry.posted;
    let (transfer, at) = (&posted.transfer, posted.at);
    let (date, id, purpose) = (day(at), transfer.id, transfer.purpose.name());
    let hold = moved.hold.map(|hold| format!(", hold: {hold}")).unwrap_or_default();
    let place = moved.entry.place.number();
    let code = moved.asset.code();
    let amount = moved.asset.decimal(moved.amount);
    let (debit, credit) = (names::account(moved.debit), names::account(moved.credit));
    format!(
        "\n{date} ({id}) {purpose}  ; place: {place}, at: {at}{hold}\n    \
         {debit}   {amount} \"{code}\"\n    {credit}  -{amount} \"{code}\"\n"
    )
}

pub(super) fn balances<'a>(date: &str, accounts: impl IntoIterator<Item = &'a Account>) -> String {
    let mut text = format!("\n{date} balances\n");
    for account in accounts {
        let (name, code) = (names::account(&account.id), account.asset.code());
        let balance = balance(account);
        text.push_str(&format!("    {name}  0 \"{code}\" = {balance} \"{code}\"\n"));
    }
    text
}
