//! Typed ids: what names a node cannot name an account, and a badly formed id cannot exist.
//!
//! Names that people choose ([`NodeId`], [`AccountId`], …) are short visible texts. Things that
//! machines make ([`TaskId`], [`TransferId`]) are 128-bit UUIDs, chosen by the caller, so that a
//! request can be sent twice and still happen once.
//!
//! ```
//! use fogcore::id::{NodeId, TransferId};
//!
//! let node: NodeId = "laptop-1".parse()?;
//! assert_eq!(node.as_str(), "laptop-1");
//! assert!("".parse::<NodeId>().is_err());
//!
//! // The same things always derive the same id: a payment for one task cannot happen twice.
//! let hold = TransferId::derive(b"task 17", "hold");
//! assert_eq!(hold, TransferId::derive(b"task 17", "hold"));
//! assert_ne!(hold, TransferId::derive(b"task 17", "payment"));
//! # Ok::<(), fogcore::Error>(())
//! ```

use std::{fmt, str::FromStr, sync::Arc, sync::Mutex};

use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory};
use icu_properties::{CodePointMapData, CodePointSetData};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::Error;
use crate::time::Timestamp;

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is empty.
    #[error("must not be empty")]
    Empty {
        /// What the text should have been.
        field: &'static str,
    },
    /// The text is longer than the kind of id allows.
    #[error("has {found} characters, at most {max} are allowed")]
    TooLong {
        /// What the text should have been.
        field: &'static str,
        /// Characters found.
        found: usize,
        /// Characters allowed.
        max: usize,
    },
    /// A character that cannot be seen: white space, a control or format character, …
    #[error("{character:?} at position {position} is not a visible character")]
    Invisible {
        /// What the text should have been.
        field: &'static str,
        /// The character.
        character: char,
        /// Its position, in characters from 1.
        position: usize,
    },
    /// Letters and their marks are not written in the one form of Unicode (NFC) that all who compare
    /// names can agree on: two names would look the same and be different.
    #[error("is not in Unicode's normal form C")]
    NotNormal {
        /// What the text should have been.
        field: &'static str,
    },
    /// Not a UUID.
    #[error("{text:?} is not a UUID")]
    NotUuid {
        /// What the text should have been.
        field: &'static str,
        /// The text, cut to 64 characters.
        text: String,
    },
}

impl IdError {
    fn field(&self) -> &'static str {
        match self {
            Self::Empty { field }
            | Self::TooLong { field, .. }
            | Self::Invisible { field, .. }
            | Self::NotNormal { field }
            | Self::NotUuid { field, .. } => field,
        }
    }
}

impl From<IdError> for Error {
    fn from(error: IdError) -> Self {
        Self::invalid(error.field(), error)
    }
}

/// Visible: letters, marks, numbers, punctuation and symbols of any script. Everything else hides
/// in a log or an address line, and two ids that look the same are a trap where money is paid.
fn is_visible(character: char) -> bool {
    /// The one symbol without ink: a Braille cell with no dots.
    const BRAILLE_BLANK: char = '\u{2800}';
    use GeneralCategory as C;
    if character.is_ascii() {
        return character.is_ascii_graphic();
    }
    let is_blank = matches!(
        CodePointMapData::<C>::new().get(character),
        C::Control
            | C::Format
            | C::Surrogate
            | C::PrivateUse
            | C::Unassigned
            | C::SpaceSeparator
            | C::LineSeparator
            | C::ParagraphSeparator
    );
    // Fillers and selectors are letters and marks to Unicode, but nobody sees them.
    let is_ignorable = CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(character);
    !is_blank && !is_ignorable && character != BRAILLE_BLANK
}

fn parse_text(text: &str, field: &'static str, max: usize) -> Result<Arc<str>, IdError> {
    if text.is_empty() {
        return Err(IdError::Empty { field });
    }
    let found = text.chars().count();
    if found > max {
        return Err(IdError::TooLong { field, found, max });
    }
    if let Some((index, character)) = text.chars().enumerate().find(|(_, c)| !is_visible(*c)) {
        return Err(IdError::Invisible { field, character, position: index + 1 });
    }
    if !text.is_ascii() && !ComposingNormalizerBorrowed::new_nfc().is_normalized(text) {
        return Err(IdError::NotNormal { field });
    }
    Ok(text.into())
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $field:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The longest allowed, in characters.
            pub const MAX_CHARS: usize = $max;

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                parse_text(text, $field, $max).map(Self)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = IdError;
            fn try_from(text: &str) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.as_str().to_owned()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

text_id! {
    /// A node of the fog: a phone, a laptop, a GPU box, a game host. 1–128 visible characters.
    NodeId, "node id", 128
}
text_id! {
    /// An account of the ledger. 1–128 visible characters.
    AccountId, "account id", 128
}
impl AccountId {
    /// Whether its name begins with `fog:`: such accounts are the fog's own (escrow, mint), and
    /// neither pay for tasks nor own nodes.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with("fog:")
    }
}

text_id! {
    /// What a task is about, and what a node must be able to execute. 1–64 visible characters.
    TaskKind, "task kind", 64
}
text_id! {
    /// A class of requests that a node serves well or badly as a whole: `gpu`, `chat`, `upload`.
    /// 1–64 visible characters; `general` unless told.
    RequestClass, "request class", 64
}
impl RequestClass {
    /// The class of requests that nobody has classified.
    #[must_use]
    pub fn general() -> Self {
        Self("general".into())
    }
}
impl Default for RequestClass {
    fn default() -> Self {
        Self::general()
    }
}

text_id! {
    /// Somebody who meets others in a session: a player, a browser, a program. 1–128 visible
    /// characters.
    PeerId, "peer id", 128
}
text_id! {
    /// A part of a game's world. 1–128 visible characters.
    ZoneId, "zone id", 128
}
text_id! {
    /// A session of players. 1–128 visible characters; the fog makes `session-` and 16 digits.
    SessionId, "session id", 128
}
text_id! {
    /// A client's own name for a submission, so that submitting twice makes one task.
    /// 1–256 visible characters, unique per payer.
    IdempotencyKey, "idempotency key", 256
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $field:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// The id as a UUID.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }

            /// An id that a client made.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The id that `context` and `purpose` always lead to: a UUID of version 8 from
            /// the first 128 bits of their BLAKE3 digest.
            #[must_use]
            pub fn derive(context: &[u8], purpose: &str) -> Self {
                let mut hasher = blake3::Hasher::new_derive_key("fogcore 2026 derived id");
                hasher.update(&(context.len() as u64).to_le_bytes());
                hasher.update(context).update(purpose.as_bytes());
                let mut bytes = [0; 16];
                hasher.finalize_xof().fill(&mut bytes);
                Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Uuid::parse_str(text).map(Self).map_err(|_| IdError::NotUuid {
                    field: $field,
                    text: text.chars().take(64).collect(),
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

uuid_id! {
    /// A task.
    TaskId, "task id"
}
uuid_id! {
    /// An offer on the marketplace, made by the client: sent twice, it is placed once.
    OfferId, "offer id"
}
uuid_id! {
    /// A bid on the marketplace, made by the client: sent twice, it is placed once.
    BidId, "bid id"
}
uuid_id! {
    /// A trade on the marketplace: a part of an offer that a bid got.
    TradeId, "trade id"
}
uuid_id! {
    /// A transfer of the ledger, made by the client: sent twice, it happens once.
    TransferId, "transfer id"
}

impl TransferId {
    /// The UUID version of the fog's own ids: none that RFC 9562 gives out, which keeps them apart
    /// from clients' ids.
    const OWN_VERSION: u8 = 15;

    /// The id that `purpose` always leads to for the thing `of`, and that only the fog itself may
    /// use: the 48 bits of `of` that tell its time, then 74 bits of a digest. Ids made one after
    /// another stay neighbours in a store's index: scattered ones cost a page of it each.
    #[must_use]
    pub fn own(of: Uuid, purpose: &str) -> Self {
        let mut bytes = Self::derive(of.as_bytes(), purpose).0.into_bytes();
        bytes[..6].copy_from_slice(&of.as_bytes()[..6]);
        bytes[6] = bytes[6] & 0x0f | Self::OWN_VERSION << 4;
        Self(Uuid::from_bytes(bytes))
    }

    /// Whether this is an id that only the fog itself may use.
    #[must_use]
    pub const fn is_own(self) -> bool {
        self.0.as_bytes()[6] >> 4 == Self::OWN_VERSION
    }
}

/// Makes new ids (UUID version 7) from a clock reading and a seeded source, so that a simulation
/// makes the same ids again.
///
/// Two sources with one seed make colliding ids within a millisecond: give a seed only where one
/// process writes to a store.
#[derive(Debug)]
pub struct IdSource {
    random: Mutex<StdRng>,
}

impl IdSource {
    /// A source that starts from `seed`.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { random: Mutex::new(StdRng::seed_from_u64(seed)) }
    }

    /// A new task id.
    pub fn task(&self, now: Timestamp) -> TaskId {
        TaskId(self.next(now))
    }

    /// A new id for an offer.
    pub fn offer(&self, now: Timestamp) -> OfferId {
        OfferId(self.next(now))
    }

    /// A new id for a bid.
    pub fn bid(&self, now: Timestamp) -> BidId {
        BidId(self.next(now))
    }

    /// A new transfer id.
    pub fn transfer(&self, now: Timestamp) -> TransferId {
        TransferId(self.next(now))
    }

    /// A new session id: `session-` and 64 random bits.
    pub fn session(&self) -> SessionId {
        SessionId(format!("session-{:016x}", u64::from_le_bytes(self.bytes())).into())
    }

    /// Random bytes. As hard to guess as the seed.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        // A poisoned lock still holds a usable source.
        let random = &mut *self.random.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        random.fill_bytes(&mut bytes);
        bytes
    }

    fn next(&self, now: Timestamp) -> Uuid {
        let tail: [u8; 10] = self.bytes();
        let millis = u64::try_from(now.as_micros() / 1_000).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_id_is_refused_with_the_reason_and_the_place() {
        for (text, message) in [
            ("", "node id: must not be empty"),
            ("a b", "node id: ' ' at position 2 is not a visible character"),
            ("a\u{200b}", "node id: '\\u{200b}' at position 2 is not a visible character"),
            ("line\n", "node id: '\\n' at position 5 is not a visible character"),
            ("cafe\u{301}", "node id: is not in Unicode's normal form C"),
        ] {
            let error: Error = text.parse::<NodeId>().unwrap_err().into();
            assert_eq!(error.to_string(), message);
        }
        for blank in ["a\u{fe0f}", "\u{3164}", "\u{34f}", "\u{2800}", "\u{feff}"] {
            let refused = blank.parse::<AccountId>();
            assert!(matches!(refused, Err(IdError::Invisible { .. })), "{blank:?}");
        }
        let long = "é".repeat(129);
        assert!(matches!(long.parse::<NodeId>(), Err(IdError::TooLong { found: 129, .. })));
    }

    #[test]
    fn letters_of_any_script_are_visible() {
        for text in ["ノード-1", "узел_7", "a:b/c@d", "🦊", "café", "नोड"] {
            assert_eq!(text.parse::<NodeId>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn the_default_class_is_one_that_could_be_parsed() {
        assert_eq!("general".parse::<RequestClass>().unwrap(), RequestClass::default());
    }

    #[test]
    fn ids_made_later_sort_later() {
        let source = IdSource::seeded(1);
        let early = source.task(Timestamp::from_micros(1_000_000).unwrap());
        let late = source.task(Timestamp::from_micros(2_000_000).unwrap());
        assert!(early < late);
        assert_eq!(late.to_string().parse::<TaskId>().unwrap(), late);
    }

    proptest! {
        #[test]
        fn what_parses_survives_json(text in "\\PC{1,128}") {
            if let Ok(id) = text.parse::<AccountId>() {
                let json = serde_json::to_string(&id).unwrap();
                prop_assert_eq!(serde_json::from_str::<AccountId>(&json).unwrap(), id);
            }
        }
    }
}
