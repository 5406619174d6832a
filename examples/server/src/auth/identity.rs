//! Whoever asks, as far as the server knows.

use std::fmt;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use fogcore::id::AccountId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::token::Claims;
use crate::http::problem::{Kind, Problem};
use crate::http::quota::Tier;

/// What a credential allows.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// To look.
    Read,
    /// To change what is one's own.
    Write,
    /// To change what is anybody's.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// Its name, as in tokens.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    /// The scope of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

/// Some scopes. An admin's includes the others only if it says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes([bool; 3]);

impl Scopes {
    /// Whether it is among them.
    #[must_use]
    pub const fn has(self, scope: Scope) -> bool {
        self.0[scope as usize]
    }

    /// Those in both.
    #[must_use]
    pub fn within(self, other: Self) -> Self {
        Self([0, 1, 2].map(|i| self.0[i] && other.0[i]))
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.has(*scope))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let mut all = Self::default();
        scopes.into_iter().for_each(|scope| all.0[scope as usize] = true);
        all
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Scope::name).collect();
        f.write_str(&names.join(" "))
    }
}

/// What somebody is to the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Has an account, nodes and tasks.
    #[default]
    User,
    /// Also looks after the nodes and tasks of others, but not after their money.
    Operator,
    /// Does everything.
    Admin,
}

impl Role {
    /// Its name, as in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The role of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::User, Self::Operator, Self::Admin].into_iter().find(|role| role.name() == name)
    }

    /// What it may do.
    #[must_use]
    pub fn scopes(self) -> Scopes {
        let all = Scope::ALL.into_iter();
        all.filter(|scope| self == Self::Admin || *scope != Scope::Admin).collect()
    }
}

/// By what somebody is known.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A token of a session here, or of another identity provider.
    Token {
        /// What it says.
        claims: Box<Claims>,
        /// The name by which it is revoked.
        name: String,
    },
    /// An API key, by its id.
    Key(String),
    /// None: whoever is on this machine, where that is enough.
    Local,
}

/// Whoever asks.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Who that is: also the account that is spent from.
    pub account: AccountId,
    /// What they are.
    pub role: Role,
    /// What they may do with this credential.
    pub scopes: Scopes,
    /// How much they may ask.
    pub tier: Tier,
    /// By what they are known.
    pub credential: Credential,
}

/// The account of whoever is on this machine.
pub const LOCAL: &str = "local";

/// What the accounts of players begin with: they have no password, and others ask for their tokens.
pub const PLAYER: &str = "player:";

impl Identity {
    /// Whoever is on this machine: looks after nodes and tasks, and has an account as any.
    #[must_use]
    pub fn local() -> Self {
        #[expect(clippy::expect_used, reason = "a constant, which a test parses")]
        let account = LOCAL.parse().expect("a valid account id");
        Self {
            account,
            role: Role::Operator,
            scopes: Role::Operator.scopes(),
            tier: Tier::default(),
            credential: Credential::Local,
        }
    }

    /// Refuses who may not do this.
    ///
    /// # Errors
    /// Forbidden, with the scope's name.
    pub fn must_have(&self, scope: Scope) -> Result<(), Problem> {
        if self.scopes.has(scope) {
            return Ok(());
        }
        Err(Problem::forbidden(format!("this needs the scope \"{}\"", scope.name())))
    }

    /// Whether they may do what anybody may.
    #[must_use]
    pub const fn is_admin(&self) -> bool {
        self.scopes.has(Scope::Admin)
    }

    /// Whether they look after the nodes and tasks of others.
    #[must_use]
    pub fn is_operator(&self) -> bool {
        self.is_admin() || self.role != Role::User
    }

    /// Refuses who does not look after what is everybody's.
    ///
    /// # Errors
    /// Forbidden.
    pub fn must_operate(&self) -> Result<(), Problem> {
        if self.is_operator() {
            return Ok(());
        }
        Err(Problem::forbidden("only operators may do this"))
    }

    /// Refuses who is neither that account's owner nor an administrator.
    ///
    /// # Errors
    /// Forbidden.
    pub fn must_own(&self, account: &AccountId) -> Result<(), Problem> {
        if self.account == *account || self.is_admin() {
            return Ok(());
        }
        Err(Problem::forbidden(format!("the account \"{account}\" is not yours")))
    }

    /// Refuses who neither owns a thing nor looks after those of others. What has no owner is
    /// everybody's.
    ///
    /// # Errors
    /// Forbidden.
    pub fn must_manage(&self, owner: Option<&AccountId>) -> Result<(), Problem> {
        match owner {
            Some(owner) if *owner != self.account && !self.is_operator() => {
                Err(Problem::forbidden(format!("this belongs to \"{owner}\"")))
            }
            _ => Ok(()),
        }
    }
}

macro_rules! callers {
    ($($(#[$doc:meta])* $name:ident = $scope:expr,)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug)]
            pub struct $name(pub Identity);

            impl<S: Send + Sync> FromRequestParts<S> for $name {
                type Rejection = Problem;

                async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
                    let known = parts.extensions.get::<Identity>();
                    let known = known.ok_or_else(|| Problem::new(Kind::Unauthenticated))?;
                    known.must_have($scope)?;
                    Ok(Self(known.clone()))
                }
            }
        )*
    };
}

callers! {
    /// Somebody who may look.
    Reader = Scope::Read,
    /// Somebody who may change things.
    Writer = Scope::Write,
    /// Somebody who may change what is anybody's.
    Admin = Scope::Admin,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_may_what_it_may() {
        assert_eq!(Role::Operator.scopes().to_string(), "read write");
        assert_eq!(Role::Admin.scopes().to_string(), "read write admin");
    }

    #[test]
    fn operators_manage_nodes_and_not_money() {
        let other: AccountId = "bob".parse().unwrap();
        let operator = Identity::local();
        assert!(operator.must_manage(Some(&other)).is_ok());
        assert!(operator.must_own(&other).is_err());
        let user = Identity { role: Role::User, ..operator };
        assert!(user.must_manage(Some(&other)).is_err());
        assert!(user.must_manage(None).is_ok());
    }
}
