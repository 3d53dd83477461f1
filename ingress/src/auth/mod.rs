//! Who a person is: passwords, second factors, sessions, and what keeps guesses slow.
//!
//! What may then be done is decided in [`picloud_core::policy`].

mod factor;
mod key_uses;
mod passwords;
mod secrets;
mod sessions;
mod throttle;

use picloud_core::{keys::Keyring, log::Tail};
use sqlx::PgPool;

pub use factor::{Factor, RecoveryCodes, take_step};
pub use key_uses::KeyUses;
pub use passwords::{Busy, Passwords};
pub use secrets::{SecretKind, Secrets, SecretsError};
pub use sessions::{OpenSession, SESSION_LASTS, Session, Sessions, Token};
pub use throttle::{Throttle, TooMany};

/// All of it, for one node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Auth {
    /// Hashes and checks passwords.
    pub passwords: Passwords,
    /// Keeps what is secret of accounts.
    pub secrets: Secrets,
    /// Knows who is signed in.
    pub sessions: Sessions,
    /// Notes when API keys are used.
    pub key_uses: KeyUses,
    /// Counts who guesses.
    pub throttle: Throttle,
}

/// Forgets sessions that have ended, and secrets that nothing names: links never used, authenticators never confirmed, keys
/// that were revoked. To be called now and then, by one node.
///
/// # Errors
/// When the database cannot be asked.
pub async fn sweep(pool: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from live.session where expires_at < now()").execute(pool).await?;
    sqlx::query!(
        "delete from live.secret_material m
        where kind in ('password', 'link', 'totp', 'recovery') and created_at < now() - interval '1 day'
            and not exists (
                select from state.account a where m.id in (a.password, a.link, a.totp, a.recovery)
            )"
    )
    .execute(pool)
    .await?;
    sqlx::query!(
        "with gone as (
            delete from live.secret_material m
            where kind = 'api_key' and created_at < now() - interval '1 day'
                and not exists (select from state.api_key k where k.id = m.id and k.revoked_at is null)
            returning id
        )
        delete from live.api_key_use where key_id in (select id from gone)"
    )
    .execute(pool)
    .await?;
    Ok(())
}

impl Auth {
    /// Starts it on a node that follows the log. Its tasks end with the tail.
    ///
    /// # Errors
    /// When the operating system has no thread left.
    pub fn start(pool: &PgPool, keyring: &Keyring, tail: &Tail) -> std::io::Result<Self> {
        Ok(Self {
            passwords: Passwords::start()?,
            secrets: Secrets::new(pool.clone(), keyring.clone()),
            sessions: Sessions::start(pool.clone(), tail),
            key_uses: KeyUses::start(pool.clone()),
            throttle: Throttle::default(),
        })
    }
}
