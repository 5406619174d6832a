//! A batch of transfers from JSON: what came over a wire and is trusted in nothing.
//!
//! Errors say where in the batch they are, as `[3].kind`. A batch that is too long is refused
//! before the rest of it is looked at, so memory is bounded by what a batch may be.
//!
//! ```
//! use fogcore::ErrorKind;
//! use fogcore::ledger::decode::transfers;
//!
//! let json = br#"[{
//!     "id": "018f3c5e-7e65-7b3a-8c57-2d6f1b1a9e01",
//!     "kind": {"type": "direct", "debit": "alice", "credit": "bob", "amount": "250"},
//!     "purpose": "transfer"
//! }]"#;
//! assert_eq!(transfers(json)?.len(), 1);
//!
//! let wrong = String::from_utf8_lossy(json).replace("\"250\"", "-250");
//! let error = transfers(wrong.as_bytes()).unwrap_err();
//! assert_eq!(error.path, "[0].kind");
//! let error = fogcore::Error::from(error);
//! assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidInput, Some("transfers")));
//! # Ok::<(), fogcore::Error>(())
//! ```

use std::fmt;

use serde::de::{Deserializer as _, SeqAccess, Visitor};

use super::{MAX_BATCH, Transfer};
use crate::error::Error;

/// The longest text of a batch, in bytes: 8,190 transfers of 2 KiB.
pub const MAX_BYTES: usize = MAX_BATCH * 2_048;

/// Why a batch cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct DecodeError {
    /// Where it is: `[3].purpose` is the purpose of the fourth transfer; `.` is the whole.
    pub path: String,
    /// What is wrong there, with the line and column.
    pub reason: String,
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        Self::invalid("transfers", error)
    }
}

/// Reads a batch: a JSON array of up to 8,190 transfers, in at most [`MAX_BYTES`].
///
/// Fields that are not known are ignored. Whether the transfers make sense, the ledger says.
///
/// # Errors
/// [`DecodeError`] at the first thing that is wrong.
pub fn transfers(json: &[u8]) -> Result<Vec<Transfer>, DecodeError> {
    let whole = |reason: String| DecodeError { path: ".".to_owned(), reason };
    if json.len() > MAX_BYTES {
        return Err(whole(format!("{} bytes are more than {MAX_BYTES}", json.len())));
    }
    let mut read = serde_json::Deserializer::from_slice(json);
    let mut track = serde_path_to_error::Track::new();
    let batch = serde_path_to_error::Deserializer::new(&mut read, &mut track);
    let decoded = batch.deserialize_seq(Batch);
    let batch = decoded.map_err(|error| DecodeError {
        path: track.path().to_string(),
        reason: error.to_string(),
    })?;
    read.end().map_err(|error| whole(error.to_string()))?;
    Ok(batch)
}

struct Batch;

impl<'de> Visitor<'de> for Batch {
    type Value = Vec<Transfer>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of up to {MAX_BATCH} transfers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut batch = Vec::new();
        while let Some(transfer) = items.next_element()? {
            if batch.len() == MAX_BATCH {
                let many = format_args!("more than the {MAX_BATCH} transfers of a batch");
                return Err(serde::de::Error::custom(many));
            }
            batch.push(transfer);
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::amount::Amount;
    use crate::id::{AccountId, TransferId};
    use crate::ledger::Purpose;

    fn some(count: usize) -> Vec<Transfer> {
        let [a, b]: [AccountId; 2] = ["a", "b"].map(|name| name.parse().unwrap());
        let id = |n: usize| TransferId::derive(&n.to_le_bytes(), "decode");
        let amount = Amount::from_base_units(7);
        (0..count).map(|n| Transfer::direct(id(n), &a, &b, amount, Purpose::Transfer)).collect()
    }

    #[test]
    fn a_whole_batch_is_read_and_no_more() {
        let full = some(MAX_BATCH);
        let json = serde_json::to_vec(&full).unwrap();
        assert!(json.len() < MAX_BYTES / 4);
        assert_eq!(transfers(&json).unwrap(), full);
        let error = transfers(&serde_json::to_vec(&some(MAX_BATCH + 1)).unwrap()).unwrap_err();
        assert!(error.reason.contains("8190"), "{error}");
        let error = transfers(&vec![b' '; MAX_BYTES + 1]).unwrap_err();
        assert_eq!(error.path, ".");
    }

    #[test]
    fn what_is_wrong_is_found_where_it_is() {
        let json = serde_json::to_string(&some(3)).unwrap();
        let spoil = |from: &str, to: &str| {
            let at = json.rfind(from).unwrap();
            transfers(format!("{}{to}{}", &json[..at], &json[at + from.len()..]).as_bytes())
        };
        for (from, to, path) in [
            ("\"purpose\":\"transfer\"", "\"purpose\":\"theft\"", "[2].purpose"),
            ("\"purpose\":\"transfer\"", "\"purpose\":7", "[2].purpose"),
            ("\"amount\":\"7\"", "\"amount\":7.5", "[2].kind"),
            ("\"debit\":\"a\"", "\"debit\":\"\"", "[2].kind"),
            ("\"type\":\"direct\"", "\"type\":\"gift\"", "[2].kind.type"),
            ("\"purpose\":\"transfer\"", "\"user_data_32\":4294967296", "[2].user_data_32"),
            ("]", "", "?"),
            ("]", "]]", "."),
        ] {
            let error = spoil(from, to).unwrap_err();
            assert!(error.path == path || path == "?", "{to}: {error}");
        }
        assert!(transfers(b"{}").is_err());
        assert!(transfers(b"").is_err());
        assert_eq!(transfers(b" [] ").unwrap(), []);
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_batch_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = transfers(&bytes);
        }

        /// A batch with some bytes changed: close enough to right to get far.
        #[test]
        fn a_damaged_batch_gives_a_batch_or_an_error(
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut json = serde_json::to_vec(&some(3)).unwrap();
            for (place, byte) in damage {
                let place = place.index(json.len());
                json[place] = byte;
            }
            if let Ok(batch) = transfers(&json) {
                let again = serde_json::to_vec(&batch).unwrap();
                prop_assert_eq!(transfers(&again).unwrap(), batch);
            }
        }
    }
}
