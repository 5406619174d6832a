//! What is done with identities: registering, logging in, refreshing, revoking, and finding out who
//! asks. Every decision about a credential is made here.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use fogcore::id::AccountId;
use fogcore::time::Clock;
use uuid::Uuid;

use super::identity::PLAYER;
use super::password::Passwords;
use super::revoked::Revoked;
use super::token::Tokens;
use super::{Role, Secret, check_password, email};
use crate::config::FirstAdmin;
use crate::http::client::counted;
use crate::http::problem::{Kind, Problem};
use crate::http::quota::{Key, Quotas, Rate, Tier};
use crate::random;
use crate::store::{IdentityStore, User};

/// How long things last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetimes {
    /// Of an access token. Default 24 h, as the gateway's document has it.
    pub(super) access: Duration,
    /// Of a refresh token that nobody uses. Default 7 days.
    pub(super) refresh: Duration,
    /// Of a session, however often it is refreshed. Default 30 days.
    pub(super) session: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(86_400);
        Self { access: DAY, refresh: 7 * DAY, session: 30 * DAY }
    }
}

/// Wrong passwords for one account: 10 at once, then one in 90 seconds; 100 a day.
const PER_ACCOUNT: [Rate; 2] =
    [Rate::new(10, Duration::from_secs(900)), Rate::new(100, Duration::from_secs(86_400))];
/// Wrong passwords from one address: more, because many may stand behind it.
const PER_ADDRESS: [Rate; 2] =
    [Rate::new(50, Duration::from_secs(900)), Rate::new(500, Duration::from_secs(86_400))];
/// Accounts and addresses whose wrong passwords are counted apart.
const THROTTLED: usize = 100_000;
/// Revocations that are read at once.
const PAGE: i64 = 10_000;

/// What a login gives.
#[derive(Clone, Debug)]
pub struct Granted {
    /// The access token.
    pub access: String,
    /// The refresh token.
    pub refresh: String,
    /// How long the access token lasts.
    pub expires_in: Duration,
    /// Whose they are.
    pub user: User,
}

/// Everything about identities.
#[derive(Debug)]
pub struct Auth {
    pub(super) store: Arc<dyn IdentityStore>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tokens: Tokens,
    passwords: Passwords,
    pub(super) revoked: Revoked,
    failures: Quotas,
    pub(super) lifetimes: Lifetimes,
}

impl Auth {
    /// With what the store knows of revocations.
    ///
    /// # Errors
    /// What the store says.
    pub async fn open(
        store: Arc<dyn IdentityStore>,
        clock: Arc<dyn Clock>,
        secret: &Secret,
    ) -> Result<Self, Problem> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let auth = Self {
            store,
            clock,
            tokens: Tokens::new(secret),
            passwords: Passwords::new(cores)?,
            revoked: Revoked::default(),
            failures: Quotas::new(THROTTLED),
            lifetimes: Lifetimes::default(),
        };
        auth.learn_revocations().await?;
        Ok(auth)
    }

    /// Makes the first administrator, unless the address has a user. The password of one that is
    /// there stays as it is: it may have been changed since.
    ///
    /// # Errors
    /// What the store says.
    pub async fn ensure_admin(&self, admin: FirstAdmin) -> Result<(), Problem> {
        if let Some(user) = self.store.user_by_email(&admin.email).await? {
            if user.role != Role::Admin {
                tracing::warn!("ADMIN_EMAIL names a user who is no administrator, and stays so");
            }
            return Ok(());
        }
        let password_hash = self.passwords.hash(admin.password).await?;
        let user = User { role: Role::Admin, ..self.new_user(admin.email, "", password_hash)? };
        self.store.add_user(&user).await?;
        Ok(())
    }

    /// Adds a user.
    ///
    /// # Errors
    /// Invalid, naming the field; Conflict for an address that has a user.
    pub async fn register(
        &self,
        address: &str,
        password: String,
        name: &str,
    ) -> Result<User, Problem> {
        let address = email(address).map_err(|why| Problem::invalid("email", why))?;
        check_password(&password).map_err(|why| Problem::invalid("password", why))?;
        if name.chars().count() > 128 {
            return Err(Problem::invalid("name", "at most 128 characters are allowed"));
        }
        let password_hash = self.passwords.hash(password).await?;
        let user = self.new_user(address, name, password_hash)?;
        if self.store.add_user(&user).await? {
            Ok(user)
        } else {
            Err(Problem::told(Kind::Conflict, "the address has a user already"))
        }
    }

    /// The user that a player is, made if need be: without an address or a password, so nobody logs
    /// in as one.
    ///
    /// # Errors
    /// Invalid for an id that cannot be an account's.
    pub async fn player(&self, id: &str) -> Result<User, Problem> {
        let name = format!("{PLAYER}{id}");
        let account: AccountId = name.parse().map_err(|error: fogcore::id::IdError| {
            Problem::invalid("player_id", error.to_string())
        })?;
        if let Some(user) = self.store.user(account.as_str()).await? {
            return Ok(user);
        }
        let user = self.new_user(name, "", String::new())?;
        let user = User { id: account.clone(), ..user };
        if self.store.add_user(&user).await? { Ok(user) } else { self.user(&account).await }
    }

    fn new_user(&self, email: String, name: &str, hash: String) -> Result<User, Problem> {
        let now = self.clock.now();
        Ok(User {
            id: self.new_id().parse()?,
            email,
            name: name.to_owned(),
            password_hash: hash,
            role: Role::User,
            tier: Tier::Standard,
            created_at: now,
        })
    }

    /// Begins a session for whoever knows the password. An unknown address and a wrong password are
    /// told apart neither by the answer nor by its time.
    ///
    /// # Errors
    /// Unauthenticated, or TooMany after too many wrong ones.
    pub async fn log_in(
        &self,
        address: &str,
        password: String,
        from: IpAddr,
    ) -> Result<Granted, Problem> {
        let wrong = || Problem::told(Kind::Unauthenticated, "the address or the password is wrong");
        // What is no address has no user, and is checked all the same.
        let address = email(address).unwrap_or_default();
        self.may_try(&address, from)?;
        let user = self.store.user_by_email(&address).await?;
        let hash = user.as_ref().map(|user| user.password_hash.as_str());
        let is_right = password.len() <= 1_024 && self.passwords.is_right(password, hash).await?;
        let Some(user) = user.filter(|_| is_right) else {
            self.count_failure(&address, from);
            metrics::counter!("fogcore_server_logins_total", "outcome" => "refused").increment(1);
            return Err(wrong());
        };
        metrics::counter!("fogcore_server_logins_total", "outcome" => "granted").increment(1);
        self.begin(user).await
    }

    fn throttles(address: &str, from: IpAddr) -> [(Key, [Rate; 2]); 2] {
        [
            (Key::Subject(address.to_owned()), PER_ACCOUNT),
            (Key::Address(counted(from)), PER_ADDRESS),
        ]
    }

    /// Refuses who had too many wrong passwords. The right one would be refused, too: otherwise it
    /// could be found out behind the limit.
    fn may_try(&self, address: &str, from: IpAddr) -> Result<(), Problem> {
        let now = self.clock.elapsed();
        let waits = Self::throttles(address, from)
            .into_iter()
            .filter_map(|(key, rates)| self.failures.look_at(&key, rates, now).retry_after);
        let Some(wait) = waits.max() else { return Ok(()) };
        let told = Problem::told(Kind::TooMany, "too many wrong passwords: try again later");
        Err(Problem { retry_after: Some(wait), ..told })
    }

    fn count_failure(&self, address: &str, from: IpAddr) {
        for (key, rates) in Self::throttles(address, from) {
            self.failures.take_of(&key, rates, self.clock.elapsed());
        }
    }

    /// Gives a user another role. The user's sessions end: their tokens say what the user was.
    ///
    /// # Errors
    /// NotFound.
    pub async fn set_role(&self, user: &AccountId, role: Role) -> Result<User, Problem> {
        if !self.store.set_role(user.as_str(), role).await? {
            return Err(Problem::not_found(format!("there is no user \"{user}\"")));
        }
        for session in self.store.open_sessions(user.as_str(), self.clock.now()).await? {
            self.end_session(&session.id).await?;
        }
        for key in self.store.keys(user).await? {
            self.store.revoke_key(&key.id, self.clock.now()).await?;
        }
        self.user(user).await
    }

    /// A user.
    ///
    /// # Errors
    /// NotFound.
    pub async fn user(&self, id: &AccountId) -> Result<User, Problem> {
        let user = self.store.user(id.as_str()).await?;
        user.ok_or_else(|| Problem::not_found(format!("there is no user \"{id}\"")))
    }

    /// Reads what other processes revoked, and forgets what has ended.
    ///
    /// # Errors
    /// What the store says.
    pub async fn learn_revocations(&self) -> Result<(), Problem> {
        loop {
            let after = self.revoked.read_after();
            let news = self.store.revocations(after, PAGE).await?;
            let is_all = news.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
            self.revoked.learn(news);
            if is_all {
                break;
            }
        }
        self.revoked.forget(self.clock.now());
        Ok(())
    }

    /// Forgets in the store what has ended by itself.
    ///
    /// # Errors
    /// What the store says.
    pub async fn purge(&self) -> Result<(), Problem> {
        Ok(self.store.purge(self.clock.now()).await?)
    }

    pub(super) fn new_id(&self) -> String {
        let millis = u64::try_from(self.clock.now().as_micros() / 1_000).unwrap_or(0);
        let id: Uuid =
            uuid::Builder::from_unix_timestamp_millis(millis, &random::bytes()).into_uuid();
        id.to_string()
    }
}

/// The one answer to whatever is no credential.
pub(super) fn not_valid() -> Problem {
    Problem::told(Kind::Unauthenticated, "the token or key is not valid")
}
