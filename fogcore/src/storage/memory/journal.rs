//! The journal in memory: which transfer came when, and what accounts with history had then.

use std::collections::HashMap;

use crate::id::{AccountId, TransferId};
use crate::ledger::{
    Account, AccountBalance, Audit, BalanceEntry, Book, BookChanges, Chain, FailedTransfer, Fault,
    Head, JournalEntry, Link, Place, Row, TransferFilter, Verified, Verifier,
};
use crate::time::Timestamp;

/// All that happened, in order.
#[derive(Debug)]
pub(super) struct Journal {
    /// The transfer at place n is the n-th.
    transfers: Vec<TransferId>,
    by_account: HashMap<AccountId, Vec<Place>>,
    history: HashMap<AccountId, Vec<BalanceEntry>>,
    opened: Vec<Account>,
    failed: Vec<FailedTransfer>,
    links: Vec<Link>,
    chain: Chain,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            transfers: Vec::new(),
            by_account: HashMap::new(),
            history: HashMap::new(),
            opened: Vec::new(),
            failed: Vec::new(),
            links: Vec::new(),
            chain: Chain::new(1),
        }
    }
}

impl Journal {
    /// Takes in what a call changed.
    pub(super) fn record(&mut self, changes: BookChanges, book: &Book) {
        if changes.opened.is_empty() && changes.journal.is_empty() && changes.failed.is_empty() {
            return;
        }
        let opened = changes.opened.iter().map(Row::Opened);
        let posted = changes.journal.iter().filter_map(|id| book.transfer(*id)).map(Row::Posted);
        let failed = changes.failed.iter().map(|one| one.row());
        self.links.push(self.chain.extend(opened.chain(posted).chain(failed)));
        let mut balances = changes.history.into_iter().peekable();
        for id in changes.journal {
            self.transfers.push(id);
            let place = Place::from_number(self.transfers.len() as u64);
            let posted = book.transfer(id);
            for side in posted.and_then(|posted| book.sides(posted)).into_iter().flatten() {
                self.by_account.entry(side.clone()).or_default().push(place);
            }
            while let Some(balance) = balances.next_if(|balance| balance.transfer == id) {
                let history = self.history.entry(balance.account.clone()).or_default();
                history.push(BalanceEntry { place, balance });
            }
        }
        self.opened.extend(changes.opened);
        self.failed.extend(changes.failed);
    }

    pub(super) fn transfers(
        &self,
        book: &Book,
        filter: &TransferFilter,
        after: Option<Place>,
        limit: usize,
    ) -> Vec<JournalEntry> {
        let after = after.unwrap_or_default();
        let wanted = |place: Place| -> Option<JournalEntry> {
            let index = usize::try_from(place.number().checked_sub(1)?).ok()?;
            let posted = book.transfer(*self.transfers.get(index)?)?;
            let is_wanted = filter.matches(posted, book.sides(posted)?);
            is_wanted.then(|| JournalEntry { place, posted: posted.clone() })
        };
        match &filter.account {
            Some(account) => {
                let places = self.by_account.get(account).map_or(&[][..], Vec::as_slice);
                let later = &places[places.partition_point(|place| *place <= after)..];
                later.iter().filter_map(|place| wanted(*place)).take(limit).collect()
            }
            None => {
                let places = after.number().saturating_add(1)..=self.transfers.len() as u64;
                places.map(Place::from_number).filter_map(wanted).take(limit).collect()
            }
        }
    }

    pub(super) fn balances(
        &self,
        account: &AccountId,
        after: Option<Place>,
        limit: usize,
    ) -> Vec<BalanceEntry> {
        let history = self.history.get(account).map_or(&[][..], Vec::as_slice);
        let start = history.partition_point(|entry| entry.place <= after.unwrap_or_default());
        history[start..].iter().take(limit).cloned().collect()
    }

    pub(super) fn balance_at(&self, account: &AccountId, at: Timestamp) -> Option<AccountBalance> {
        let history = self.history.get(account)?;
        let last = history.iter().rev().find(|entry| entry.balance.at <= at);
        last.map(|entry| entry.balance.clone())
    }

    /// Makes all of it anew, from the beginning.
    pub(super) fn verify(&self, book: &Book, anchors: &[Head]) -> Result<Verified, Fault> {
        let (mut verifier, mut audit) = (Verifier::new(anchors), Audit::default());
        self.opened.iter().try_for_each(|account| audit.opened(account))?;
        let mut opened = self.opened.iter();
        let mut transfers = self.transfers.iter().filter_map(|id| book.transfer(*id));
        let mut failed = self.failed.iter();
        for link in &self.links {
            let size = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
            let rows = opened.by_ref().take(size(link.accounts)).map(Row::Opened);
            let rows = rows.chain(transfers.by_ref().take(size(link.transfers)).map(Row::Posted));
            let failed = failed.by_ref().take(size(link.failed)).map(|one| one.row());
            verifier.link(link, rows.chain(failed))?;
        }
        for (place, id) in (1..).map(Place::from_number).zip(&self.transfers) {
            if let Some(posted) = book.transfer(*id)
                && let Some(sides) = book.sides(posted)
            {
                audit.posted(place, posted, sides)?;
            }
        }
        self.history.values().flatten().try_for_each(|entry| audit.balance(entry))?;
        book.accounts(None).try_for_each(|account| audit.account(account))?;
        audit.finish()?;
        verifier.finish()
    }
}
