//! API keys: `fog_ID_SECRET`. The id finds the key; of the secret only a digest is kept, and because
//! it is 256 random bits, a fast one will do.

use crate::random;

/// A key as its owner has it: shown once.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// By which it is found.
    pub id: String,
    secret: String,
}

impl ApiKey {
    /// A new key.
    #[must_use]
    pub fn make() -> Self {
        Self { id: random::hex::<8>(), secret: random::hex::<32>() }
    }

    /// Reads a key; none if it does not look like one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix("fog_")?.split_once('_')?;
        let is_hex = |text: &str, length| {
            text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        let fits = is_hex(id, 16) && is_hex(secret, 64);
        fits.then(|| Self { id: id.to_owned(), secret: secret.to_owned() })
    }

    /// The key as text.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("fog_{}_{}", self.id, self.secret)
    }

    /// What is kept of the secret.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        digest(&self.secret)
    }

    /// Whether this digest is that of its secret; how long that takes tells nothing.
    #[must_use]
    pub fn fits(&self, kept: &[u8]) -> bool {
        kept.try_into().is_ok_and(|kept: [u8; 32]| blake3::Hash::from(kept) == self.digest())
    }
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The digest of a random secret, which is all that is kept of it.
#[must_use]
pub fn digest(secret: &str) -> [u8; 32] {
    blake3::hash(secret.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_by_its_id_and_proved_by_its_secret() {
        let key = ApiKey::make();
        let read = ApiKey::parse(&key.reveal()).unwrap();
        assert!(read == key && read.fits(&key.digest()));
        assert!(!ApiKey::make().fits(&key.digest()));
        assert!(!key.fits(b"short"));
        assert!(!format!("{key:?}").contains(&key.secret));
    }

    #[test]
    fn what_does_not_look_like_a_key_is_none() {
        let good = ApiKey::make().reveal();
        for wrong in ["", "fog_", &good[1..], &good[..good.len() - 1], &good.replace('_', "-")] {
            assert_eq!(ApiKey::parse(wrong).map(|key| key.id), None, "{wrong}");
        }
    }
}
