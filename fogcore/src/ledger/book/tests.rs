//! The book against a model so naive that it can be seen to be right: it keeps the list of what
//! was accepted and adds everything up anew for every question. And against itself: with only what
//! a batch touches loaded, sent everything twice, and run a second time.

use std::collections::BTreeMap;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::amount::{Amount, Asset};
use crate::ledger::ResultCode as C;
use crate::ledger::{Applied, Purpose, TransferFlags, TransferKind};

const NAMES: [&str; 7] = ["free", "limited", "capped", "watched", "dollars", "shut", "late"];

fn id(name: &str) -> AccountId {
    name.parse().unwrap()
}

fn transfer_id(number: u8) -> TransferId {
    match number {
        0 => TransferId::from_uuid(Uuid::nil()),
        1 => TransferId::from_uuid(Uuid::max()),
        _ => TransferId::derive(&[number], "test"),
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000).unwrap()
}

fn new(name: &str) -> Account {
    let account = Account::new(id(name), if name == "dollars" { Asset::USD } else { Asset::FOG });
    match name {
        "limited" => account.limited_to_credits(),
        "capped" => account.limited_to_debits(),
        "watched" => account.with_history(),
        "shut" => Account { closed: true, ..account },
        _ => account,
    }
}

/// All accounts but the one that comes late.
fn book() -> Book {
    let mut book = Book::default();
    for name in NAMES.iter().filter(|name| **name != "late") {
        book.open(new(name), at(0)).unwrap();
    }
    book.take_changes();
    book
}

/// A transfer that was accepted: as it was asked for, what it moved, and when.
#[derive(Clone, Debug)]
struct Entry {
    asked: Transfer,
    moved: u128,
    at: i64,
}

#[derive(Clone, Debug, Default)]
struct Naive {
    opened: Vec<(&'static str, i64)>,
    accepted: Vec<Entry>,
    failed: Vec<(TransferId, C)>,
}

impl Naive {
    fn find(&self, id: TransferId) -> Option<&Entry> {
        self.accepted.iter().find(|entry| entry.asked.id == id)
    }

    fn ending(&self, hold: TransferId) -> Option<&Entry> {
        self.accepted.iter().find(|entry| entry.asked.ends_hold() == Some(hold))
    }

    /// Debits pending, debits posted, credits pending, credits posted.
    fn counters(&self, account: &AccountId) -> [u128; 4] {
        let mut counters = [0; 4];
        for entry in &self.accepted {
            let is_hold = matches!(entry.asked.kind, TransferKind::Hold { .. });
            let (sides, pending, posted) = match &entry.asked.kind {
                TransferKind::Direct { .. } => (entry, 0, entry.moved),
                TransferKind::Hold { .. } => (entry, entry.moved, 0),
                TransferKind::Post { hold, .. } => (self.find(*hold).unwrap(), 0, entry.moved),
                TransferKind::Void { .. } | TransferKind::Expire { .. } => continue,
            };
            if is_hold && self.ending(entry.asked.id).is_some() {
                continue;
            }
            let sides = sides.asked.accounts().unwrap();
            for (side, place) in [(sides[0], 0), (sides[1], 2)] {
                if side == account {
                    counters[place] += pending;
                    counters[place + 1] += posted;
                }
            }
        }
        counters
    }

    fn is_closed(&self, account: &AccountId) -> bool {
        account.as_str() == "shut"
            || self.accepted.iter().any(|entry| {
                let flags = entry.asked.flags;
                let closes = [flags.closing_debit, flags.closing_credit];
                let sides = entry.asked.accounts().into_iter().flatten().zip(closes);
                self.ending(entry.asked.id).is_none()
                    && sides.into_iter().any(|(side, closes)| closes && side == account)
            })
    }

    fn is_over(&self, hold: &Entry, now: i64) -> bool {
        let seconds = i64::from(hold.asked.timeout_seconds);
        seconds > 0 && hold.at + seconds <= now
    }

    /// What becomes of a transfer, and how much it moves.
    fn judge(&self, t: &Transfer, now: i64) -> (C, u128) {
        match self.verdict(t, now) {
            Ok(moved) => (C::Created, moved),
            Err(code) => (code, 0),
        }
    }

    fn verdict(&self, t: &Transfer, now: i64) -> Result<u128, C> {
        fn refuse(wrong: bool, code: C) -> Result<(), C> {
            if wrong { Err(code) } else { Ok(()) }
        }
        refuse(t.id == transfer_id(0), C::IdMustNotBeZero)?;
        refuse(t.id == transfer_id(1), C::IdMustNotBeIntMax)?;
        if let Some(there) = self.find(t.id) {
            return Err(self.compare(t, there));
        }
        refuse(self.failed.iter().any(|(id, _)| *id == t.id), C::IdAlreadyFailed)?;
        let asked = t.amount().unwrap_or_default().base_units();
        let flags = t.flags;
        let (balancing, closing) = (
            flags.balancing_debit || flags.balancing_credit,
            flags.closing_debit || flags.closing_credit,
        );
        if let Some(hold) = t.ends_hold() {
            refuse(balancing || closing, C::FlagsAreMutuallyExclusive)?;
            refuse(hold == transfer_id(0), C::PendingIdMustNotBeZero)?;
            refuse(hold == transfer_id(1), C::PendingIdMustNotBeIntMax)?;
            refuse(hold == t.id, C::PendingIdMustBeDifferent)?;
            refuse(t.timeout_seconds > 0, C::TimeoutReservedForPendingTransfer)?;
            let there = self.find(hold).ok_or(C::PendingTransferNotFound)?;
            let is_hold = matches!(there.asked.kind, TransferKind::Hold { .. });
            refuse(!is_hold, C::PendingTransferNotPending)?;
            let posts = matches!(t.kind, TransferKind::Post { .. });
            let moved = match asked {
                u128::MAX if posts => there.moved,
                units => units,
            };
            refuse(moved > there.moved, C::ExceedsPendingTransferAmount)?;
            match self.ending(hold).map(|end| &end.asked.kind) {
                Some(TransferKind::Post { .. }) => return Err(C::PendingTransferAlreadyPosted),
                Some(TransferKind::Void { .. }) => return Err(C::PendingTransferAlreadyVoided),
                Some(_) => return Err(C::PendingTransferExpired),
                None => refuse(self.is_over(there, now), C::PendingTransferExpired)?,
            }
            let [debit, credit] = there.asked.accounts().unwrap();
            refuse(posts && self.is_closed(debit), C::DebitAccountAlreadyClosed)?;
            refuse(posts && self.is_closed(credit), C::CreditAccountAlreadyClosed)?;
            return Ok(moved);
        }
        let [debit, credit] = t.accounts().unwrap();
        let is_hold = matches!(t.kind, TransferKind::Hold { .. });
        refuse(debit == credit, C::AccountsMustBeDifferent)?;
        refuse(!is_hold && t.timeout_seconds > 0, C::TimeoutReservedForPendingTransfer)?;
        refuse(!is_hold && closing, C::ClosingTransferMustBePending)?;
        refuse(asked == 0 && !closing, C::AmountMustNotBeZero)?;
        let exists = |name: &AccountId| self.opened.iter().any(|(n, _)| *n == name.as_str());
        refuse(!exists(debit), C::DebitAccountNotFound)?;
        refuse(!exists(credit), C::CreditAccountNotFound)?;
        let dollars = |name: &AccountId| name.as_str() == "dollars";
        refuse(dollars(debit) != dollars(credit), C::AccountsMustHaveTheSameAsset)?;
        refuse(self.is_closed(debit), C::DebitAccountAlreadyClosed)?;
        refuse(self.is_closed(credit), C::CreditAccountAlreadyClosed)?;
        let (d, c) = (self.counters(debit), self.counters(credit));
        let mut moved = asked;
        if flags.balancing_debit {
            moved = moved.min(d[3].saturating_sub(d[0] + d[1]));
        }
        if flags.balancing_credit {
            moved = moved.min(c[1].saturating_sub(c[2] + c[3]));
        }
        let over = |sum: u128| sum.checked_add(moved).is_none();
        refuse(is_hold && over(d[0]), C::OverflowsDebitsPending)?;
        refuse(is_hold && over(c[2]), C::OverflowsCreditsPending)?;
        refuse(over(d[1]), C::OverflowsDebitsPosted)?;
        refuse(over(c[3]), C::OverflowsCreditsPosted)?;
        refuse(over(d[0] + d[1]), C::OverflowsDebits)?;
        refuse(over(c[2] + c[3]), C::OverflowsCredits)?;
        refuse(debit.as_str() == "limited" && d[0] + d[1] + moved > d[3], C::ExceedsCredits)?;
        refuse(credit.as_str() == "capped" && c[2] + c[3] + moved > c[1], C::ExceedsDebits)?;
        Ok(moved)
    }

    fn compare(&self, t: &Transfer, there: &Entry) -> C {
        let old = &there.asked;
        let side = |t: &Transfer, place: usize| t.accounts().map(|sides| sides[place].clone());
        let asked = t.amount().map(Amount::base_units);
        let same_amount = match (asked, t.ends_hold().and_then(|hold| self.find(hold))) {
            _ if t.flags.balancing_debit || t.flags.balancing_credit => {
                asked.is_some_and(|asked| there.moved <= asked)
            }
            (Some(u128::MAX), Some(hold)) => there.moved == hold.moved,
            (asked, _) => asked.unwrap_or(0) == there.moved,
        };
        if std::mem::discriminant(&t.kind) != std::mem::discriminant(&old.kind)
            || t.flags != old.flags
        {
            C::ExistsWithDifferentFlags
        } else if t.ends_hold() != old.ends_hold() {
            C::ExistsWithDifferentPendingId
        } else if t.timeout_seconds != old.timeout_seconds {
            C::ExistsWithDifferentTimeout
        } else if side(t, 0) != side(old, 0) {
            C::ExistsWithDifferentDebitAccountId
        } else if side(t, 1) != side(old, 1) {
            C::ExistsWithDifferentCreditAccountId
        } else if !same_amount {
            C::ExistsWithDifferentAmount
        } else if t.reference != old.reference {
            C::ExistsWithDifferentUserData128
        } else if t.user_data_64 != old.user_data_64 {
            C::ExistsWithDifferentUserData64
        } else if t.user_data_32 != old.user_data_32 {
            C::ExistsWithDifferentUserData32
        } else if t.purpose != old.purpose {
            C::ExistsWithDifferentCode
        } else {
            C::Exists
        }
    }

    fn accept(&mut self, t: &Transfer, moved: u128, now: i64) {
        let named = t.accounts().into_iter().flatten();
        let opened = named.filter_map(|name| self.opened.iter().find(|(n, _)| *n == name.as_str()));
        let earliest = opened.map(|(_, at)| *at).max().unwrap_or(0);
        let hold = t.ends_hold().and_then(|hold| self.find(hold)).map_or(0, |hold| hold.at);
        let at = now.max(earliest).max(hold);
        self.accepted.push(Entry { asked: t.clone(), moved, at });
    }

    fn fail(&mut self, t: &Transfer, code: C) {
        if code.is_sticky() {
            self.failed.push((t.id, code));
        }
    }

    fn batch(&mut self, batch: &[Transfer], now: i64) -> Vec<C> {
        let mut codes = Vec::new();
        while codes.len() < batch.len() {
            let rest = &batch[codes.len()..];
            let last = rest.iter().position(|t| !t.flags.linked);
            let chain = &rest[..last.map_or(rest.len(), |last| last + 1)];
            codes.extend(self.chain(chain, last.is_none(), now));
        }
        codes
    }

    fn chain(&mut self, chain: &[Transfer], open: bool, now: i64) -> Vec<C> {
        let before = self.clone();
        let replay = chain.len() == 1 || chain.iter().all(|t| self.find(t.id).is_some());
        let last = chain.len() - 1;
        let (mut codes, mut bad) = (Vec::new(), None);
        for (place, t) in chain.iter().enumerate() {
            if open && place == last {
                break;
            }
            let (code, moved) = self.judge(t, now);
            match code {
                C::Created => self.accept(t, moved, now),
                C::Exists if replay => {}
                _ => {
                    bad = Some(place);
                    *self = before.clone();
                    self.fail(t, code);
                }
            }
            codes.push(code);
            if bad.is_some() {
                break;
            }
        }
        if bad.is_none() && !open {
            return codes;
        }
        if bad.is_none() {
            *self = before;
        }
        let code = |place| match bad {
            Some(bad) if bad == place => codes[place],
            _ if open && place == last => C::LinkedEventChainOpen,
            _ => C::LinkedEventFailed,
        };
        (0..chain.len()).map(code).collect()
    }

    /// Ends the holds whose time is over, the earliest first.
    fn expire(&mut self, now: i64) -> Vec<TransferId> {
        let pending = self
            .accepted
            .iter()
            .filter(|entry| self.is_over(entry, now) && self.ending(entry.asked.id).is_none());
        let mut due: Vec<_> = pending
            .map(|e| (e.at + i64::from(e.asked.timeout_seconds), e.at, e.asked.id))
            .collect();
        due.sort_unstable();
        let due: Vec<_> = due.into_iter().map(|(_, _, hold)| hold).collect();
        for hold in &due {
            let kind = TransferKind::Expire { hold: *hold };
            let end = Transfer::new(Transfer::expiry_id(*hold), kind, Purpose::Transfer);
            self.accept(&end, 0, now);
        }
        due
    }
}

/// What a store keeps, row by row: it loads into a new book only what a batch touches.
#[derive(Clone, Debug, Default, PartialEq)]
struct Rows {
    accounts: BTreeMap<AccountId, Account>,
    transfers: BTreeMap<TransferId, Posted>,
    failed: BTreeMap<TransferId, C>,
    history: Vec<AccountBalance>,
    journal: Vec<TransferId>,
}

impl Rows {
    fn book(&self, batch: &[Transfer]) -> Book {
        let mut book = Book::default();
        let ids = batch.iter().flat_map(|t| [Some(t.id), t.ends_hold()]).flatten();
        for id in ids {
            self.failed.get(&id).into_iter().for_each(|code| book.load_failed(id, *code));
            if let Some(posted) = self.transfers.get(&id) {
                self.load_accounts(&mut book, &posted.transfer);
                book.load_transfer(posted.clone());
            }
        }
        batch.iter().for_each(|transfer| self.load_accounts(&mut book, transfer));
        book
    }

    fn load_accounts(&self, book: &mut Book, transfer: &Transfer) {
        let named = transfer.accounts().into_iter().flatten();
        named.filter_map(|id| self.accounts.get(id)).for_each(|a| book.load_account(a.clone()));
    }

    fn save(&mut self, book: &mut Book) -> BookChanges {
        let changes = book.take_changes();
        for id in &changes.accounts {
            self.accounts.insert(id.clone(), book.account(id).unwrap().clone());
        }
        for id in changes.journal.iter().chain(&changes.ended_holds) {
            self.transfers.insert(*id, book.transfer(*id).unwrap().clone());
        }
        self.failed.extend(changes.failed.iter().map(|failed| (failed.id, failed.code)));
        self.history.extend(changes.history.iter().cloned());
        self.journal.extend(&changes.journal);
        changes
    }

    fn of(book: &mut Book) -> Self {
        let mut rows = Self::default();
        rows.accounts.extend(book.accounts(None).map(|a| (a.id.clone(), a.clone())));
        rows.transfers.extend(book.transfers.iter().map(|(id, posted)| (*id, posted.clone())));
        rows.failed.extend(book.failed.iter().map(|(id, code)| (*id, *code)));
        rows
    }
}

#[derive(Clone, Debug)]
enum Step {
    Batch(Vec<Transfer>),
    Expire,
    OpenTheLateOne,
    Wait(i64),
}

fn any_transfer() -> impl Strategy<Value = Transfer> {
    let account = || prop::sample::select(&NAMES[..]).prop_map(id);
    // Few ids, so that replays, conflicts and ended holds are common.
    let any_id = || prop_oneof![1 => 0..2_u8, 40 => 2..26_u8].prop_map(transfer_id);
    let amount = prop_oneof![
        30 => 0..60_u128,
        1 => Just(u128::MAX),
        1 => Just(1 << 127),
        1 => Just(u128::MAX - 20),
    ];
    let rarely = || prop::bool::weighted(0.12);
    let flags = (prop::bool::weighted(0.25), rarely(), rarely(), rarely(), rarely());
    let timeout = prop_oneof![4 => Just(0_u32), 2 => 1..4_u32];
    let extra = prop_oneof![20 => Just(0_u8), 1 => 1..5_u8];
    let parts = (0..10_u8, any_id(), any_id(), account(), account(), amount.prop_map(units));
    (parts, flags, timeout, extra).prop_map(|(parts, flags, timeout, extra)| {
        let (kind, this, hold, debit, credit, amount) = parts;
        let kind = match kind {
            0..4 => TransferKind::Direct { debit, credit, amount },
            4..7 => TransferKind::Hold { debit, credit, amount },
            7..9 => TransferKind::Post { hold, amount },
            _ => TransferKind::Void { hold },
        };
        let (linked, balancing_debit, balancing_credit, closing_debit, closing_credit) = flags;
        let holds = matches!(kind, TransferKind::Hold { .. });
        let ends = matches!(kind, TransferKind::Post { .. } | TransferKind::Void { .. });
        let mut transfer = Transfer::new(this, kind, Purpose::Transfer);
        // Mostly what makes sense; flags in wrong places come with the ids in wrong places.
        let odd = this == hold || extra > 0;
        transfer.flags = TransferFlags {
            linked,
            balancing_debit: balancing_debit && (!ends || odd),
            balancing_credit: balancing_credit && (!ends || odd),
            closing_debit: closing_debit && (holds || odd),
            closing_credit: closing_credit && (holds || odd),
        };
        transfer.timeout_seconds = if holds || odd { timeout } else { 0 };
        match extra {
            1 => transfer.reference = Some(Uuid::from_u128(7)),
            2 => transfer.user_data_64 = 7,
            3 => transfer.user_data_32 = 7,
            4 => transfer.purpose = Purpose::Mint,
            _ => {}
        }
        transfer
    })
}

fn units(units: u128) -> Amount {
    Amount::from_base_units(units)
}

fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        20 => prop::collection::vec(any_transfer(), 1..8).prop_map(Step::Batch),
        2 => Just(Step::Expire),
        1 => Just(Step::OpenTheLateOne),
        3 => (1..4_i64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..40)
}

fn codes(answers: &[Result<Applied, LedgerError>]) -> Vec<C> {
    answers.iter().map(C::of).collect()
}

fn counters(account: &Account) -> [u128; 4] {
    [account.debits_pending, account.debits_posted, account.credits_pending, account.credits_posted]
        .map(Amount::base_units)
}

/// The batches that were sent, and when.
type Sent = Vec<(i64, Vec<Transfer>)>;

/// Runs the steps through book, model and rows at once; gives the book, and what was sent when.
fn run(steps: &[Step]) -> Result<(Book, Sent), TestCaseError> {
    let (mut book, mut naive) = (book(), Naive::default());
    naive.opened.extend(NAMES.iter().filter(|name| **name != "late").map(|name| (*name, 0)));
    let mut rows = Rows::of(&mut book);
    let (mut now, mut sent) = (1, Vec::new());
    for step in steps {
        match step {
            Step::Wait(seconds) => now += seconds,
            Step::OpenTheLateOne => {
                book.open(new("late"), at(now)).unwrap();
                rows.save(&mut book);
                if naive.opened.len() < NAMES.len() {
                    naive.opened.push(("late", now));
                }
            }
            Step::Expire => {
                let due = book.expired(at(now), usize::MAX);
                for hold in &due {
                    book.expire(*hold, at(now)).unwrap();
                    book.expire(*hold, at(now)).unwrap();
                }
                prop_assert_eq!(due, naive.expire(now));
                rows.save(&mut book);
            }
            Step::Batch(batch) => {
                sent.push((now, batch.clone()));
                let mut part = rows.book(batch);
                let answers = book.apply_batch(batch, at(now)).unwrap();
                prop_assert_eq!(codes(&answers), naive.batch(batch, now), "{:#?}", batch);
                prop_assert_eq!(&part.apply_batch(batch, at(now)).unwrap(), &answers);
                let changes = rows.save(&mut part);
                prop_assert_eq!(changes, book.take_changes());
            }
        }
        let now_rows = Rows::of(&mut book);
        prop_assert_eq!(&now_rows.accounts, &rows.accounts);
        prop_assert_eq!(&now_rows.transfers, &rows.transfers);
        prop_assert_eq!(&now_rows.failed, &rows.failed);
        check(&book, &naive)?;
    }
    // The history of an account ends with what it has, and each row is one step from the last.
    let watched = book.account(&id("watched")).unwrap();
    let last = rows.history.last().map_or([0; 4], |row| {
        [row.debits_pending, row.debits_posted, row.credits_pending, row.credits_posted]
            .map(Amount::base_units)
    });
    prop_assert_eq!(last, counters(watched));
    prop_assert_eq!(rows.journal.len(), rows.transfers.len());
    Ok((book, sent))
}

/// The counters are the model's, debits equal credits, and no limit is passed.
fn check(book: &Book, naive: &Naive) -> Result<(), TestCaseError> {
    let mut sums = [0_u128; 4];
    for account in book.accounts(None) {
        let counters = counters(account);
        prop_assert_eq!(counters, naive.counters(&account.id), "{}", &account.id);
        prop_assert_eq!(account.closed, naive.is_closed(&account.id), "{}", &account.id);
        let [d_pending, d_posted, c_pending, c_posted] = counters;
        let debits = d_pending.checked_add(d_posted).unwrap();
        let credits = c_pending.checked_add(c_posted).unwrap();
        prop_assert!(!account.debits_must_not_exceed_credits || debits <= c_posted);
        prop_assert!(!account.credits_must_not_exceed_debits || credits <= d_posted);
        if account.asset == Asset::FOG {
            (0..4).for_each(|place| sums[place] = sums[place].wrapping_add(counters[place]));
        }
    }
    prop_assert_eq!((sums[0], sums[1]), (sums[2], sums[3]));
    for entry in &naive.accepted {
        let posted = book.transfer(entry.asked.id).unwrap();
        let moved = posted.transfer.amount().unwrap_or_default().base_units();
        prop_assert_eq!((moved, posted.at), (entry.moved, at(entry.at)));
    }
    prop_assert_eq!(book.transfers.len(), naive.accepted.len());
    Ok(())
}

#[test]
fn what_came_too_late_stays_too_late_when_the_clock_goes_back() {
    let mut book = book();
    let hold = Transfer::hold(
        transfer_id(2),
        &id(NAMES[0]),
        &id(NAMES[1]),
        Amount::from_base_units(5),
        Purpose::Transfer,
    );
    let hold = hold.expiring_after(10);
    let post = [Transfer::post(transfer_id(3), hold.id, Amount::MAX, Purpose::Transfer)];
    book.apply_batch(&[hold], at(100)).unwrap()[0].as_ref().unwrap();
    let late = book.apply_batch(&post, at(111)).unwrap();
    assert_eq!(codes(&late), [ResultCode::PendingTransferExpired]);
    let again = book.apply_batch(&post, at(105)).unwrap();
    assert_eq!(codes(&again), [ResultCode::IdAlreadyFailed]);
}

proptest! {
    #[test]
    fn answers_and_counters_are_those_of_the_naive_model(steps in any_steps()) {
        run(&steps)?;
    }

    #[test]
    fn what_is_sent_again_later_changes_nothing(steps in any_steps(), later in 0..9_i64) {
        let (mut book, sent) = run(&steps)?;
        let before = Rows::of(&mut book);
        book.take_changes();
        let end = sent.last().map_or(1, |(now, _)| *now) + later;
        for (_, batch) in &sent {
            for answer in book.apply_batch(batch, at(end)).unwrap() {
                prop_assert_ne!(C::of(&answer), C::Created);
            }
        }
        let after = Rows::of(&mut book);
        prop_assert_eq!(after.accounts, before.accounts);
        prop_assert_eq!(after.transfers, before.transfers);
        // What only failed with its chain may fail by itself now, which is remembered.
        for (id, code) in before.failed {
            prop_assert_eq!(after.failed.get(&id), Some(&code));
        }
        let changes = book.take_changes();
        prop_assert_eq!(BookChanges { failed: Vec::new(), ..changes }, BookChanges::default());
    }

    #[test]
    fn the_same_steps_give_the_same_book(steps in any_steps()) {
        let (mut first, _) = run(&steps)?;
        let (mut second, _) = run(&steps)?;
        prop_assert_eq!(Rows::of(&mut first), Rows::of(&mut second));
        prop_assert_eq!(first.due, second.due);
    }

    #[test]
    fn a_batch_sent_at_once_again_gives_the_same_answers(
        steps in any_steps(), batch in prop::collection::vec(any_transfer(), 1..8),
    ) {
        let (mut book, sent) = run(&steps)?;
        let now = at(sent.last().map_or(1, |(now, _)| *now));
        // One use of each id: what a client sends that makes its ids new.
        let mut batch = batch;
        batch.iter_mut().zip(100..).for_each(|(t, number)| t.id = transfer_id(number));
        let first = book.apply_batch(&batch, now).unwrap();
        let again = book.apply_batch(&batch, now).unwrap();
        for (first, again) in first.iter().zip(&again) {
            match (first, again) {
                (Ok(first), Ok(again)) => {
                    prop_assert!(first.new && !again.new);
                    prop_assert_eq!(&first.posted.transfer, &again.posted.transfer);
                    prop_assert_eq!(first.posted.at, again.posted.at);
                }
                (Err(first), Err(LedgerError::IdAlreadyFailed { code, .. })) => {
                    prop_assert!(first.code() == *code && code.is_sticky());
                }
                // In a chain another one may be the first to fail now: chains are tried in order. And
                // what can never succeed (a counter is full for good) may fail for another reason,
                // because a later one of the batch closed the account.
                (Err(_), Err(_)) => {}
                (first, again) => prop_assert_eq!(first, again),
            }
        }
    }

    #[test]
    fn a_chain_of_one_domain_happens_as_a_whole_or_not_at_all(
        steps in any_steps(), chain in prop::collection::vec(any_transfer(), 1..6),
    ) {
        let (mut book, _) = run(&steps)?;
        let before = Rows::of(&mut book);
        let mut one_by_one = book.clone();
        let all_fit = chain.iter().all(|t| one_by_one.place(t, at(1_000)).is_ok());
        prop_assert_eq!(book.apply_chain(&chain, at(1_000)).is_ok(), all_fit);
        if all_fit {
            prop_assert_eq!(Rows::of(&mut book), Rows::of(&mut one_by_one));
            prop_assert_eq!(book.take_changes(), one_by_one.take_changes());
        } else {
            prop_assert_eq!(Rows::of(&mut book), before);
            prop_assert_eq!(book.take_changes(), BookChanges::default());
        }
    }
}
