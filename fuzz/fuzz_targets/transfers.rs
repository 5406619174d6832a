//! The decoder of transfer batches, and a small book that is given what it accepts: it may refuse
//! anything, but its debits and credits stay equal.

#![no_main]

use fogcore::amount::Asset;
use fogcore::ledger::{Account, Book, decode};
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
    for _ in 0..2 {
        assert!(book.apply_batch(&batch, now).is_ok_and(|answers| answers.len() == batch.len()));
        assert!(book.trial_balance().is_balanced());
    }
});
