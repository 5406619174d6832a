//! Sessions: what a login begins, and refreshing, revoking and logging out make of it.

use fogcore::time::Timestamp;

use super::Identity;
use super::key::digest;
use super::revoked::{session_name, token_name};
use super::service::{Auth, Granted, not_valid};
use super::token::{Claims, TokenError};
use crate::http::problem::Problem;
use crate::random;
use crate::store::{RefreshToken, Revocation, Session, User};

impl Auth {
    /// Begins a session.
    ///
    /// # Errors
    /// What the store says.
    pub async fn begin(&self, user: User) -> Result<Granted, Problem> {
        let now = self.clock.now();
        let session = Session {
            id: self.new_id(),
            user: user.id.clone(),
            created_at: now,
            expires_at: now.saturating_add(self.lifetimes.session),
            ended_at: None,
        };
        self.store.add_session(&session).await?;
        self.grant(user, &session, now, false).await
    }

    async fn grant(
        &self,
        user: User,
        session: &Session,
        now: Timestamp,
        mfa_verified: bool,
    ) -> Result<Granted, Problem> {
        let refresh = format!("fogr_{}", random::hex::<32>());
        let expires_at = now.saturating_add(self.lifetimes.refresh).min(session.expires_at);
        let kept = RefreshToken {
            digest: digest(&refresh).to_vec(),
            session: session.id.clone(),
            expires_at,
            used_at: None,
        };
        self.store.add_refresh(&kept).await?;
        let expires_in = self.lifetimes.access.min(session.expires_at.since(now));
        let claims = Claims {
            sub: user.id.to_string(),
            iat: seconds(now),
            exp: seconds(now.saturating_add(expires_in)),
            nbf: None,
            jti: Some(self.new_id()),
            scope: user.role.scopes().iter().map(|scope| scope.name().to_owned()).collect(),
            role: user.role,
            rate_limit_tier: user.tier,
            mfa_verified,
            sid: Some(session.id.clone()),
        };
        let access = self.tokens.make(&claims).map_err(Problem::internal)?;
        Ok(Granted { access, refresh, expires_in, user })
    }

    /// Goes on with a session, by a refresh token that was not used.
    ///
    /// # Errors
    /// Unauthenticated; a token that is used a second time ends its session, because one of the two
    /// who had it stole it.
    pub async fn refresh(&self, token: &str) -> Result<Granted, Problem> {
        let now = self.clock.now();
        let digest = digest(token);
        let Some(used) = self.store.use_refresh(&digest, now).await? else {
            if let Some(again) = self.store.refresh(&digest).await? {
                tracing::warn!(session = %again.session, "a refresh token was used twice");
                self.end_session(&again.session).await?;
            }
            return Err(not_valid());
        };
        if used.expires_at <= now {
            return Err(not_valid());
        }
        self.go_on(&used.session, false).await
    }

    /// Goes on with the session of an access token that still counts.
    ///
    /// # Errors
    /// Unauthenticated; Forbidden for a token that another identity provider made: it is for that
    /// one to say how long it lasts.
    pub async fn refresh_with(&self, token: &str) -> Result<Granted, Problem> {
        let claims = self.read(token)?;
        let theirs = "this token was made by another identity provider, which can refresh it";
        let sid = claims.sid.as_deref().ok_or_else(|| Problem::forbidden(theirs))?;
        self.go_on(sid, claims.mfa_verified).await
    }

    async fn go_on(&self, session: &str, mfa_verified: bool) -> Result<Granted, Problem> {
        let now = self.clock.now();
        let session = self.store.session(session).await?.filter(|session| session.is_open(now));
        let session = session.ok_or_else(not_valid)?;
        let user = self.store.user(session.user.as_str()).await?.ok_or_else(not_valid)?;
        self.grant(user, &session, now, mfa_verified).await
    }

    /// Revokes a token, access or refresh, for whoever owns it. What is no token, or has ended, is
    /// revoked already (RFC 7009, §2.2).
    ///
    /// # Errors
    /// Forbidden for somebody else's.
    pub async fn revoke(&self, token: &str, by: &Identity) -> Result<(), Problem> {
        let claims = match self.tokens.read(token, self.clock.now()) {
            Ok(claims) => claims,
            Err(TokenError::NotNow) => return Ok(()),
            Err(TokenError::NotOurs(_)) => return self.revoke_refresh(token, by).await,
        };
        if claims.sub != by.account.as_str() && !by.is_admin() {
            return Err(Problem::forbidden("this token is not yours"));
        }
        self.revoke_name(token_name(&claims, token), claims.ends_at()).await
    }

    async fn revoke_refresh(&self, token: &str, by: &Identity) -> Result<(), Problem> {
        let Some(refresh) = self.store.refresh(&digest(token)).await? else { return Ok(()) };
        let Some(session) = self.store.session(&refresh.session).await? else { return Ok(()) };
        by.must_own(&session.user)?;
        self.end_session(&session.id).await
    }

    /// Ends the session of a token for good, with all its tokens; of a token without one, only it.
    ///
    /// # Errors
    /// What the store says.
    pub async fn log_out(&self, token: &str) -> Result<(), Problem> {
        let claims = self.read(token)?;
        match &claims.sid {
            Some(sid) => self.end_session(sid).await,
            None => self.revoke_name(token_name(&claims, token), claims.ends_at()).await,
        }
    }

    pub(super) async fn end_session(&self, id: &str) -> Result<(), Problem> {
        let now = self.clock.now();
        self.store.end_session(id, now).await?;
        // Its access tokens end by themselves after that time.
        self.revoke_name(session_name(id), now.saturating_add(self.lifetimes.access)).await
    }

    async fn revoke_name(&self, name: String, until: Timestamp) -> Result<(), Problem> {
        self.store.revoke(&name, until).await?;
        self.revoked.add(&Revocation { place: 0, name, until });
        Ok(())
    }
}

fn seconds(time: Timestamp) -> i64 {
    time.as_micros().div_euclid(1_000_000)
}
