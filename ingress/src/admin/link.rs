//! Links that let their holder in once: to set a first password, another one, or to make the first account.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use picloud_core::id::{AccountId, SecretId};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::auth::{SecretKind, Secrets, SecretsError};

/// What is in a link, for its holder alone.
#[derive(Clone)]
pub(super) struct LinkToken(String);

impl LinkToken {
    /// 32 random bytes.
    pub(super) fn generate() -> Self {
        let mut random = [0_u8; 32];
        getrandom::fill(&mut random).expect("the operating system hands out random bytes");
        Self(BASE64_URL_SAFE_NO_PAD.encode(random))
    }

    /// Keeps what it is recognised by.
    pub(super) async fn store(&self, secrets: &Secrets) -> Result<SecretId, SecretsError> {
        secrets.store(SecretKind::Link, &hash(&self.0)).await
    }

    /// The link to set a password at.
    pub(super) fn join_url(&self, admin_url: &str, account: AccountId) -> String {
        format!("{admin_url}/join/{account}?token={}", self.0)
    }

    /// The link to make the first account at.
    pub(super) fn setup_url(&self, admin_url: &str, link: SecretId) -> String {
        format!("{admin_url}/setup/{link}?token={}", self.0)
    }
}

/// Whether a token is the one of a link that still works.
pub(super) async fn is_good(
    secrets: &Secrets,
    link: SecretId,
    expires_at: DateTime<Utc>,
    token: &str,
) -> Result<bool, SecretsError> {
    let Some(stored) = secrets.read(SecretKind::Link, link).await? else { return Ok(false) };
    Ok(bool::from(stored.ct_eq(&hash(token))) && expires_at > Utc::now())
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::new().chain_update(b"picloud link v1").chain_update(token).finalize().into()
}
