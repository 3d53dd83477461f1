//! People, as every request needs to know them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use picloud_core::{
    id::{AccountId, AppId, SecretId},
    log::Position,
    policy::{AppRole, InstanceRole, Rights},
};
use sqlx::PgConnection;
use tracing::warn;

/// A person's account. What is secret of it is named here and lies elsewhere.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// What its holder signs in with, lower case.
    pub email: String,
    /// What others see.
    pub name: String,
    /// Whether it can be signed in to, and its keys work.
    pub is_active: bool,
    /// What it may do.
    pub rights: Arc<Rights>,
    /// The hash of its password; none until its holder has come.
    pub password: Option<SecretId>,
    /// The authenticator that signing in takes.
    pub totp: Option<Totp>,
    /// The link at which a password can be set, whether it has expired or not.
    pub link: Option<Link>,
    /// Since when.
    pub created_at: DateTime<Utc>,
    /// The event that last changed it; memberships apart.
    pub position: Position,
}

impl Account {
    /// Whether it is one of those who can do everything now.
    #[must_use]
    pub fn is_owner(&self) -> bool {
        self.is_active && self.password.is_some() && self.rights.role == InstanceRole::Owner
    }
}

/// An authenticator (RFC 6238).
#[derive(Clone, Debug)]
pub struct Totp {
    /// The seed that it shares with us.
    pub seed: SecretId,
    /// The hashes of the codes for when it is lost.
    pub recovery: SecretId,
    /// Which of these were used.
    pub used: Vec<u8>,
}

/// A link at which a password can be set.
#[derive(Clone, Debug)]
pub struct Link {
    /// Its secret.
    pub secret: SecretId,
    /// Whether it is for the first password.
    pub is_invitation: bool,
    /// When it stops working.
    pub expires_at: DateTime<Utc>,
}

/// Reads all accounts.
pub(super) async fn load(connection: &mut PgConnection) -> Result<HashMap<AccountId, Arc<Account>>, sqlx::Error> {
    let mut members: HashMap<AccountId, BTreeMap<AppId, AppRole>> = HashMap::new();
    for row in sqlx::query!("select app_id, account_id, role from state.member").fetch_all(&mut *connection).await? {
        if let Some(role) = known(&row.role) {
            members.entry(row.account_id.into()).or_default().insert(row.app_id.into(), role);
        }
    }
    let rows = sqlx::query!(
        "select id, email, name, role, is_active, password, totp, recovery, recovery_used,
            link, link_purpose, link_expires_at, created_at, position
        from state.account"
    )
    .fetch_all(connection)
    .await?;
    let mut accounts = HashMap::with_capacity(rows.len());
    for row in rows {
        let id = AccountId::from(row.id);
        let Some(role) = known(&row.role) else { continue };
        let rights = Rights { role, apps: members.remove(&id).unwrap_or_default() };
        let totp = row.totp.zip(row.recovery).map(|(seed, recovery)| Totp {
            seed: seed.into(),
            recovery: recovery.into(),
            used: row.recovery_used.iter().filter_map(|code| u8::try_from(*code).ok()).collect(),
        });
        let link = row.link.zip(row.link_expires_at).map(|(secret, expires_at)| Link {
            secret: secret.into(),
            is_invitation: row.link_purpose.as_deref() == Some("invitation"),
            expires_at,
        });
        let account = Account {
            id,
            email: row.email,
            name: row.name,
            is_active: row.is_active,
            rights: Arc::new(rights),
            password: row.password.map(Into::into),
            totp,
            link,
            created_at: row.created_at,
            position: Position(row.position),
        };
        accounts.insert(id, Arc::new(account));
    }
    Ok(accounts)
}

/// A role that only a newer version knows gives nothing here.
fn known<R: std::str::FromStr<Err: std::fmt::Display>>(role: &str) -> Option<R> {
    role.parse().inspect_err(|error| warn!(%error, "A stored role is not known to this version")).ok()
}
