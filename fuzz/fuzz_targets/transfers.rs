//! The decoder of transfer batches, and a small book that is given what it accepts: it may refuse
//! anything, but its debits and credits stay equal, and the same batch again changes nothing.

#![no_main]

use fogcore::amount::Asset;
use fogcore::ledger::{Account, Applied, Book, LedgerError, MAX_BATCH, decode};
use fogcore::time::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &[u8]| {
    let Ok(batch) = decode::transfers(json) else { return };
    if let Ok(again) = serde_json::to_vec(&batch) {
        assert_eq!(decode::transfers(&again).as_ref(), Ok(&batch));
    }
    let (mut book, now) = (Book::default(), Timestamp::UNIX_EPOCH);
    for name in ["a", "b", "c"] {
        let Ok(id) = name.parse() else { return };
        let account = Account::new(id, Asset::FOG);
        let account = if name == "a" { account } else { account.limited_to_credits() };
        assert!(book.open(account.with_history(), now).is_ok());
    }
    let Ok(first) = book.apply_batch(&batch, now) else { return assert!(batch.len() > MAX_BATCH) };
    assert_eq!(first.len(), batch.len());
    let sums = book.trial_balance();
    assert!(sums.is_balanced());
    // Sent again, it changes nothing.
    let changes = book.take_changes();
    assert_eq!(changes.journal.len(), new(&first));
    let Ok(again) = book.apply_batch(&batch, now) else { unreachable!("it was accepted before") };
    assert_eq!((again.len(), new(&again)), (batch.len(), 0));
    assert_eq!(book.trial_balance(), sums);
    assert!(book.take_changes().journal.is_empty());
});

/// How many transfers these answers made. One that stands twice in the batch is made once.
fn new(answers: &[Result<Applied, LedgerError>]) -> usize {
    answers.iter().flatten().filter(|applied| applied.new).count()
}
