//! Passwords: hashed with Argon2id, in threads that may block, and only so many at once.

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;

use crate::http::problem::{Kind, Problem};

/// Checks that a password can be one: 10 to 256 characters. Length is what counts (NIST SP
/// 800-63B, §5.1.1.2), and the upper limit keeps hashing cheap.
///
/// # Errors
/// What is wrong with it.
pub fn check_password(password: &str) -> Result<(), String> {
    let length = password.chars().count();
    if (10..=256).contains(&length) {
        return Ok(());
    }
    Err(format!("has {length} characters, 10 to 256 are allowed"))
}

/// Hashes and checks passwords.
#[derive(Clone, Debug)]
pub struct Passwords {
    /// Each hash takes 19 MiB and tens of milliseconds of a core.
    at_once: Arc<Semaphore>,
    /// What is checked for users that are not there, so that it takes as long.
    nobody: Arc<str>,
}

impl Passwords {
    /// With so many hashes at once. Takes as long as one of them.
    ///
    /// # Errors
    /// Internal, if hashing does not work at all.
    pub fn new(at_once: usize) -> Result<Self, Problem> {
        let nobody = hash(&crate::random::hex::<16>())?.into();
        Ok(Self { at_once: Arc::new(Semaphore::new(at_once.max(1))), nobody })
    }

    /// The hash of a password, with its salt and its parameters.
    ///
    /// # Errors
    /// Unavailable if the server is stopping.
    pub async fn hash(&self, password: String) -> Result<String, Problem> {
        self.blocking(move || hash(&password)).await?
    }

    /// Whether the password is the one that was hashed; never, for a user that is not there, but it
    /// takes as long to find out.
    ///
    /// # Errors
    /// Unavailable if the server is stopping.
    pub async fn is_right(&self, password: String, hash: Option<&str>) -> Result<bool, Problem> {
        let (kept, exists) = (hash.unwrap_or(&self.nobody).to_owned(), hash.is_some());
        let matches = self.blocking(move || verify(&password, &kept)).await?;
        Ok(matches && exists)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let unavailable = || Problem::new(Kind::Unavailable);
        // Held by the work, which goes on when nobody waits for it any more.
        let permit = self.at_once.clone().acquire_owned().await.map_err(|_| unavailable())?;
        let work = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        work.await.map_err(|_| unavailable())
    }
}

fn hash(password: &str) -> Result<String, Problem> {
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string()).map_err(Problem::internal)
}

fn verify(password: &str, hash: &str) -> bool {
    let hash = PasswordHash::new(hash);
    hash.is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_of_somebody_is_right() {
        let passwords = Passwords::new(1).unwrap();
        let hash = passwords.hash("open sesame".to_owned()).await.unwrap();
        assert!(hash.starts_with("$argon2id$"), "{hash}");
        let is_right =
            async |text: &str, hash| passwords.is_right(text.to_owned(), hash).await.unwrap();
        assert!(is_right("open sesame", Some(&hash)).await);
        assert!(!is_right("open barley", Some(&hash)).await);
        assert!(!is_right("open sesame", Some("no hash")).await);
        assert!(!is_right("open sesame", None).await);
    }

    #[test]
    fn a_password_is_neither_short_nor_endless() {
        assert!(check_password("0123456789").is_ok());
        assert!(check_password("012345678").is_err());
        assert!(check_password(&"x".repeat(257)).is_err());
    }
}
