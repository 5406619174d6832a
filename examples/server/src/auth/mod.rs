//! Who asks: users with passwords, tokens, refresh tokens and API keys. Identity is the server's
//! business alone; the fog knows accounts and nodes, and nobody's password.
//!
//! - A user logs in and is given an access token ([`token`]: a JWT, HS256 and nothing else) and a
//!   refresh token, which is random, kept hashed, and good for one use. Both belong to a session,
//!   which ends for good with a logout, or when a refresh token is used twice (somebody stole it).
//! - A token that somebody else signed with the server's secret (an identity provider of the
//!   operator's) is accepted with the scopes that it carries.
//! - An API key is shown once and kept hashed.
//! - What is revoked stays revoked ([`revoked`]), also after a restart.
//!
//! A subject is also the name of an account of the ledger: whoever has the token may spend from it.

mod credential;
pub mod dto;
pub mod identity;
pub mod key;
pub mod password;
pub mod revoked;
pub mod routes;
mod secret;
mod service;
mod session;
pub mod token;

pub(crate) use self::secret::make_folder;
pub use self::{
    identity::{Identity, PLAYER, Role, Scope, Scopes},
    password::check_password,
    secret::Secret,
    service::Auth,
};

/// An address in the form in which it is kept: lower case, with something on both sides of an `@`.
///
/// # Errors
/// What is wrong with it.
pub fn email(text: &str) -> Result<String, String> {
    let email = text.trim().to_lowercase();
    let parts = email.split_once('@');
    let is_plain = email.chars().all(|c| !c.is_whitespace() && !c.is_control());
    let has_parts = parts
        .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'));
    if !has_parts || !is_plain || email.chars().count() > 254 {
        return Err("is not an address such as ada@example.org, of at most 254 characters".into());
    }
    Ok(email)
}

#[cfg(test)]
mod tests {
    use crate::auth::email;

    #[test]
    fn addresses_are_kept_in_one_form() {
        assert_eq!(email(" Ada@Example.ORG ").unwrap(), "ada@example.org");
        for wrong in ["", "ada", "@x", "ada@", "a@b@c", "a b@c", &format!("{}@x", "a".repeat(260))]
        {
            assert!(email(wrong).is_err(), "{wrong}");
        }
    }
}
