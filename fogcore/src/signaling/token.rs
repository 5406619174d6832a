//! What a peer resumes with.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A secret between a peer and its room: whoever knows it is the peer. Never in a log.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResumeToken(String);

impl ResumeToken {
    /// A token of these random bytes.
    #[must_use]
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(format!("{:032x}", u128::from_le_bytes(bytes)))
    }

    /// What a peer sent.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The token, to be handed to its peer.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it is the other one, in a time that says nothing about where they differ.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        // Digests are compared in constant time.
        blake3::hash(self.0.as_bytes()) == blake3::hash(other.0.as_bytes())
    }
}

impl PartialEq for ResumeToken {
    fn eq(&self, other: &Self) -> bool {
        self.is(other)
    }
}

impl Eq for ResumeToken {}

impl fmt::Debug for ResumeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResumeToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_itself_only_and_tells_nobody() {
        let token = ResumeToken::new([7; 16]);
        assert!(token.is(&ResumeToken::from_text(token.expose())));
        assert!(!token.is(&ResumeToken::new([8; 16])) && !token.is(&ResumeToken::from_text("")));
        assert!(!format!("{token:?}").contains("07"));
    }
}
