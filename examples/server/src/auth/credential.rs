//! Credentials: finding out who asks by a token or an API key, and making keys.

use fogcore::id::AccountId;

use super::identity::{Credential, Identity, Scopes};
use super::key::ApiKey;
use super::revoked::token_name;
use super::service::{Auth, not_valid};
use super::token::Claims;
use crate::http::problem::Problem;
use crate::http::quota::Tier;
use crate::store::KeyRecord;

impl Auth {
    /// Who has this token.
    ///
    /// # Errors
    /// Unauthenticated.
    pub fn identify(&self, token: &str) -> Result<Identity, Problem> {
        let claims = self.read(token)?;
        let name = token_name(&claims, token);
        let account: AccountId = claims.sub.parse().map_err(|_| not_valid())?;
        if account.is_reserved() {
            return Err(not_valid());
        }
        Ok(Identity {
            account,
            role: claims.role,
            scopes: claims.scopes(),
            tier: claims.rate_limit_tier,
            credential: Credential::Token { claims: Box::new(claims), name },
        })
    }

    /// Who has this token or API key.
    ///
    /// # Errors
    /// Unauthenticated; what the store says.
    pub async fn identify_text(&self, text: &str) -> Result<Identity, Problem> {
        if text.starts_with("fog_") { self.identify_key(text).await } else { self.identify(text) }
    }

    /// Who has this API key.
    ///
    /// # Errors
    /// Unauthenticated; what the store says.
    pub async fn identify_key(&self, text: &str) -> Result<Identity, Problem> {
        let key = ApiKey::parse(text).ok_or_else(not_valid)?;
        let kept = self.store.key(&key.id).await?;
        let kept = kept.filter(|kept| kept.revoked_at.is_none() && key.fits(&kept.digest));
        let kept = kept.ok_or_else(not_valid)?;
        Ok(Identity {
            account: kept.account,
            role: kept.role,
            scopes: kept.scopes,
            tier: kept.tier,
            credential: Credential::Key(kept.id),
        })
    }

    /// Whether what somebody is known by still counts: a socket lives longer than a request.
    ///
    /// # Errors
    /// What the store says.
    pub async fn still_counts(&self, identity: &Identity) -> Result<bool, Problem> {
        Ok(match &identity.credential {
            Credential::Token { claims, name } => {
                self.clock.now() < claims.ends_at() && !self.revoked.has(claims, name)
            }
            Credential::Key(id) => {
                self.store.key(id).await?.is_some_and(|kept| kept.revoked_at.is_none())
            }
            Credential::Local => true,
        })
    }

    /// What a token says, if it counts.
    pub(super) fn read(&self, token: &str) -> Result<Claims, Problem> {
        let claims = self.tokens.read(token, self.clock.now()).map_err(|error| {
            tracing::debug!(%error, "a token was refused");
            not_valid()
        })?;
        if self.revoked.has(&claims, &token_name(&claims, token)) {
            return Err(not_valid());
        }
        Ok(claims)
    }

    /// Makes an API key with no more scopes than its maker has.
    ///
    /// # Errors
    /// Invalid for a name that is none, Forbidden for scopes or a tier beyond the maker's.
    pub async fn make_key(
        &self,
        by: &Identity,
        name: &str,
        scopes: Scopes,
        tier: Tier,
    ) -> Result<(ApiKey, KeyRecord), Problem> {
        if !(1..=128).contains(&name.chars().count()) {
            return Err(Problem::invalid("name", "1 to 128 characters are allowed"));
        }
        if scopes.within(by.scopes) != scopes {
            return Err(Problem::forbidden("a key cannot do more than who makes it"));
        }
        if tier != by.tier && !by.is_admin() {
            return Err(Problem::forbidden("only an administrator gives another tier"));
        }
        let key = ApiKey::make();
        let record = KeyRecord {
            id: key.id.clone(),
            digest: key.digest().to_vec(),
            account: by.account.clone(),
            name: name.to_owned(),
            role: by.role,
            scopes,
            tier,
            created_at: self.clock.now(),
            revoked_at: None,
        };
        self.store.add_key(&record).await?;
        Ok((key, record))
    }

    /// The API keys of an account.
    ///
    /// # Errors
    /// What the store says.
    pub async fn keys(&self, account: &AccountId) -> Result<Vec<KeyRecord>, Problem> {
        Ok(self.store.keys(account).await?)
    }

    /// Revokes an API key.
    ///
    /// # Errors
    /// NotFound, also for somebody else's: ids tell nothing.
    pub async fn revoke_key(&self, by: &Identity, id: &str) -> Result<(), Problem> {
        let missing = || Problem::not_found(format!("there is no key \"{id}\""));
        let key = self.store.key(id).await?.ok_or_else(missing)?;
        if by.must_own(&key.account).is_err() {
            return Err(missing());
        }
        self.store.revoke_key(id, self.clock.now()).await?;
        Ok(())
    }
}
