//! Leave to make a call, for those who bring it back themselves.

/// Leave to make one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    /// The state in which it was given: half open for a probe.
    pub(super) word: u64,
    pub(super) began: u64,
}

impl Ticket {
    /// Everything but when it began, in one word that is never zero.
    pub(crate) const fn word(self) -> u64 {
        self.word
    }

    pub(crate) const fn from_word(word: u64, began: u64) -> Self {
        Self { word, began }
    }
}
