//! The proof that nobody changed the books behind the ledger's back.
//!
//! Whatever a store writes for good in one transaction is a *link*: the accounts that were opened,
//! the transfers, and the ids that failed. The link's digest is BLAKE3 over the digest of the link
//! before and a canonical encoding of its rows, so that no row can be changed, removed or put
//! elsewhere without every later digest being another one. Each writer has a chain of its own, so
//! that writers never queue behind one lock.
//!
//! Counters, the states of holds and histories are not in the encoding, because they change; they
//! follow from what is, and the [`Audit`](super::Audit) makes them anew.
//!
//! Who can write the whole file can make all chains anew. Against that, and against an end that is
//! cut off, a [`Head`] that is kept elsewhere helps: verification can be asked to find it.
//!
//! ```
//! use fogcore::ledger::{Chain, ResultCode, Row};
//! use fogcore::id::TransferId;
//! use fogcore::time::Timestamp;
//!
//! let at = Timestamp::UNIX_EPOCH;
//! let id = TransferId::derive(b"example", "refused");
//! let row = |code| Row::Failed { id, code, at };
//! let mut chain = Chain::new(1);
//! let link = chain.extend([row(ResultCode::ExceedsCredits)]);
//! let mut again = Chain::new(1);
//! assert_eq!(again.extend([row(ResultCode::ExceedsCredits)]), link);
//! let mut other = Chain::new(1);
//! assert_ne!(other.extend([row(ResultCode::DebitAccountNotFound)]).digest, link.digest);
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Account, Fault, Posted, ResultCode, TransferKind};
use crate::error::Error;
use crate::id::TransferId;
use crate::time::Timestamp;

/// A BLAKE3 digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// What the first link of a chain follows.
    pub const ZERO: Self = Self([0; 32]);

    /// The digest with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Digest {
    type Err = Error;
    /// Reads 64 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, Error> {
        let hash = blake3::Hash::from_hex(text).map_err(|error| Error::invalid("digest", error))?;
        Ok(Self(*hash.as_bytes()))
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The end of a writer's chain, now or once. Kept elsewhere, it is an anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Whose chain.
    pub writer: u32,
    /// Which link of it, from 1.
    pub number: u64,
    /// The link's digest.
    pub digest: Digest,
}

/// What one transaction added to a chain: a row of the store's table of links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Whose chain.
    pub writer: u32,
    /// Which link of it, from 1.
    pub number: u64,
    /// How many accounts were opened.
    pub accounts: u64,
    /// How many transfers were made.
    pub transfers: u64,
    /// How many ids failed for good.
    pub failed: u64,
    /// The digest over all of it.
    pub digest: Digest,
}

impl Link {
    /// This link as the end of the chain.
    #[must_use]
    pub const fn head(&self) -> Head {
        Head { writer: self.writer, number: self.number, digest: self.digest }
    }

    /// How many rows it has.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.accounts.saturating_add(self.transfers).saturating_add(self.failed)
    }
}

/// A row of a link. In a link, openings come first, then transfers, then failures, each in the
/// order in which they happened.
#[derive(Clone, Copy, Debug)]
pub enum Row<'a> {
    /// An account as it was opened: its terms (also whether it was closed then). Its counters are
    /// not looked at.
    Opened(&'a Account),
    /// A transfer. What became of it as a hold is not looked at.
    Posted(&'a Posted),
    /// An id that failed for good.
    Failed {
        /// The id.
        id: TransferId,
        /// Why.
        code: ResultCode,
        /// When.
        at: Timestamp,
    },
}

/// A writer's chain: where it ends, and how it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    head: Head,
}

impl Chain {
    /// A chain without links.
    #[must_use]
    pub const fn new(writer: u32) -> Self {
        Self::at(Head { writer, number: 0, digest: Digest::ZERO })
    }

    /// The chain that ends there.
    #[must_use]
    pub const fn at(head: Head) -> Self {
        Self { head }
    }

    /// Where it ends.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.head
    }

    /// Adds a link of these rows.
    pub fn extend<'a>(&mut self, rows: impl IntoIterator<Item = Row<'a>>) -> Link {
        self.extend_at(None, rows)
    }

    /// As [`Self::extend`], where chains share one journal: with the place of the link in it, so that
    /// links of different writers cannot change places.
    pub fn extend_at<'a>(
        &mut self,
        block: Option<u64>,
        rows: impl IntoIterator<Item = Row<'a>>,
    ) -> Link {
        let rows: Vec<Row<'a>> = rows.into_iter().collect();
        let count = |is: fn(&Row<'a>) -> bool| rows.iter().map(|row| u64::from(is(row))).sum();
        let counts = [
            count(|row| matches!(row, Row::Opened(_))),
            count(|row| matches!(row, Row::Posted(_))),
            count(|row| matches!(row, Row::Failed { .. })),
        ];
        let mut linking = self.begin(counts, block);
        linking.add(rows);
        let link = linking.finish();
        self.head = link.head();
        link
    }

    /// Begins a link of so many accounts, transfers and failures.
    pub(crate) fn begin(&self, counts: [u64; 3], block: Option<u64>) -> Linking {
        let Head { writer, number, digest } = self.head;
        let number = number.saturating_add(1);
        let [accounts, transfers, failed] = counts;
        // Of a fixed length, so that nothing behind it can pass for a part of it.
        let mut hasher = blake3::Hasher::new();
        hasher.update(if block.is_some() { b"fogcore journal1" } else { b"fogcore ledger 1" });
        hasher.update(digest.as_bytes());
        hasher.update(&writer.to_be_bytes());
        for count in [number, accounts, transfers, failed].into_iter().chain(block) {
            hasher.update(&count.to_be_bytes());
        }
        let link = Link { writer, number, accounts, transfers, failed, digest };
        Linking { link, hasher, encoder: Encoder::default() }
    }
}

/// A link that is being made, a part of its rows at a time.
#[derive(Debug)]
pub(crate) struct Linking {
    link: Link,
    hasher: blake3::Hasher,
    encoder: Encoder,
}

impl Linking {
    /// The next of its rows.
    pub(crate) fn add<'a>(&mut self, rows: impl IntoIterator<Item = Row<'a>>) {
        rows.into_iter().for_each(|row| self.encoder.row(row));
        self.hasher.update(&self.encoder.bytes);
        self.encoder.bytes.clear();
    }

    /// The link, once it has all of its rows.
    pub(crate) fn finish(self) -> Link {
        Link { digest: Digest(*self.hasher.finalize().as_bytes()), ..self.link }
    }
}

/// The canonical encoding: every value of a fixed length or with its length in front, so that no
/// two lists of rows have the same.
#[derive(Debug, Default)]
struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    fn row(&mut self, row: Row<'_>) {
        match row {
            Row::Opened(account) => self.account(account),
            Row::Posted(posted) => self.posted(posted),
            Row::Failed { id, code, at } => {
                self.bytes.push(b'F');
                self.uuid(id.uuid());
                self.text(code.name());
                self.time(at);
            }
        }
    }

    fn account(&mut self, account: &Account) {
        self.bytes.push(b'A');
        self.text(account.id.as_str());
        self.text(account.asset.code());
        self.bytes.push(account.asset.scale());
        let flags = [
            account.debits_must_not_exceed_credits,
            account.credits_must_not_exceed_debits,
            account.closed,
            account.history,
        ];
        self.bytes.extend(flags.map(u8::from));
        self.user_data(account.reference, account.user_data_64, account.user_data_32);
        self.time(account.opened_at);
    }

    fn posted(&mut self, posted: &Posted) {
        let transfer = &posted.transfer;
        self.bytes.push(match transfer.kind {
            TransferKind::Direct { .. } => b'D',
            TransferKind::Hold { .. } => b'H',
            TransferKind::Post { .. } => b'P',
            TransferKind::Void { .. } => b'V',
            TransferKind::Expire { .. } => b'E',
        });
        self.uuid(transfer.id.uuid());
        // The kind says which of these there are.
        for account in transfer.accounts().into_iter().flatten() {
            self.text(account.as_str());
        }
        if let Some(amount) = transfer.amount() {
            self.bytes.extend(amount.base_units().to_be_bytes());
        }
        if let Some(hold) = transfer.ends_hold() {
            self.uuid(hold.uuid());
        }
        self.text(transfer.purpose.name());
        self.bytes.extend(transfer.flags.bits().to_be_bytes());
        self.bytes.extend(transfer.timeout_seconds.to_be_bytes());
        self.user_data(transfer.reference, transfer.user_data_64, transfer.user_data_32);
        self.time(posted.at);
    }

    fn user_data(&mut self, reference: Option<Uuid>, long: u64, short: u32) {
        match reference {
            Some(reference) => {
                self.bytes.push(1);
                self.uuid(reference);
            }
            None => self.bytes.push(0),
        }
        self.bytes.extend(long.to_be_bytes());
        self.bytes.extend(short.to_be_bytes());
    }

    fn uuid(&mut self, id: Uuid) {
        self.bytes.extend(id.as_bytes());
    }

    /// Ids and names have 256 bytes of UTF-8 at most.
    fn text(&mut self, text: &str) {
        self.bytes.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        self.bytes.extend(text.as_bytes());
    }

    fn time(&mut self, time: Timestamp) {
        self.bytes.extend(time.as_micros().to_be_bytes());
    }
}

/// Walks chains from their beginning and compares.
#[derive(Debug, Default)]
pub struct Verifier {
    anchors: Vec<Head>,
    chains: BTreeMap<u32, Chain>,
    verified: Verified,
}

impl Verifier {
    /// A walk that must come past these heads.
    #[must_use]
    pub fn new(anchors: &[Head]) -> Self {
        let anchors = anchors.iter().copied().filter(|anchor| anchor.number > 0).collect();
        Self { anchors, ..Self::default() }
    }

    /// The next link of its chain, as it is stored, with the rows that it should have.
    ///
    /// # Errors
    /// [`Fault::Missing`], [`Fault::Link`] or [`Fault::Anchor`].
    pub fn link<'a>(
        &mut self,
        link: &Link,
        rows: impl IntoIterator<Item = Row<'a>>,
    ) -> Result<(), Fault> {
        self.link_at(None, link, rows)
    }

    /// As [`Self::link`], of a link with a place ([`Chain::extend_at`]).
    ///
    /// # Errors
    /// As [`Self::link`].
    pub fn link_at<'a>(
        &mut self,
        block: Option<u64>,
        link: &Link,
        rows: impl IntoIterator<Item = Row<'a>>,
    ) -> Result<(), Fault> {
        let writer = link.writer;
        let chain = self.chains.entry(writer).or_insert(Chain::new(writer));
        let number = chain.head.number.saturating_add(1);
        let made = chain.extend_at(block, rows);
        if made != (Link { digest: made.digest, ..*link }) {
            return Err(Fault::Missing { writer, number });
        }
        if made.digest != link.digest {
            return Err(Fault::Link { writer, number });
        }
        let is_here = |anchor: &Head| (anchor.writer, anchor.number) == (writer, number);
        if self.anchors.iter().any(|anchor| is_here(anchor) && anchor.digest != link.digest) {
            return Err(Fault::Anchor { writer, number });
        }
        self.anchors.retain(|anchor| !is_here(anchor));
        self.verified.accounts += link.accounts;
        self.verified.transfers += link.transfers;
        self.verified.failed += link.failed;
        Ok(())
    }

    /// That was all.
    ///
    /// # Errors
    /// [`Fault::Anchor`] of one that was not passed.
    pub fn finish(self) -> Result<Verified, Fault> {
        if let Some(Head { writer, number, .. }) = self.anchors.first().copied() {
            return Err(Fault::Anchor { writer, number });
        }
        let heads = self.chains.values().map(Chain::head).collect();
        Ok(Verified { heads, ..self.verified })
    }
}

/// What was proved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Where each writer's chain ends, by writer. Kept elsewhere, they are anchors.
    pub heads: Vec<Head>,
    /// How many accounts there are.
    pub accounts: u64,
    /// How many transfers there are.
    pub transfers: u64,
    /// How many ids failed for good.
    pub failed: u64,
}
