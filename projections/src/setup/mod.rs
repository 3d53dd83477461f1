//! How the instance and its apps are set up: what every request needs to know, kept in memory.
//!
//! [`Setup`] is a picture of it at one position; [`LiveSetup`] holds the newest and follows the log. A change of an app makes
//! that app's part anew, the others are shared with the picture before.

mod accounts;
mod alert_channels;
mod http_exceptions;
mod live;
mod load;
mod outbox;
mod rights;
mod topics;
mod triggers;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use picloud_core::{
    capability::Capability,
    event::{Actor, script::ScriptKind, trigger::Registrant},
    http_exception::Exception,
    id::{AccountId, ApiKeyId, AppId, DomainId, ScriptId, SessionId, TriggerId, VersionId},
    limits::Limits,
    log::Position,
    policy::{AppRole, Principal},
    run::Program,
    topic::Topics,
};

pub use accounts::{Account, Link, Totp};
pub use alert_channels::{AlertChannel, AlertChannels};
pub use live::LiveSetup;
pub use outbox::OutboxPause;
pub use picloud_core::state::{route::Route, trigger::Trigger};
pub use topics::Topic;
pub use triggers::{Held, Queue};

/// The whole instance, as of one position. Never changed: a change makes another one.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// All that was configured up to here is in it.
    pub position: Position,
    /// By id.
    pub apps: HashMap<AppId, Arc<App>>,
    /// By the SHA-256 of the key.
    pub keys: HashMap<[u8; 32], Arc<ApiKey>>,
    /// People.
    pub accounts: HashMap<AccountId, Arc<Account>>,
    /// Names that apps had before they were renamed.
    pub former_slugs: HashMap<String, AppId>,
    /// Whether what is owed may run.
    pub outbox: OutboxPause,
    /// Who is told when something is wrong.
    pub alert_channels: Arc<AlertChannels>,
}

/// An app and all that belongs to it.
#[derive(Clone, Debug)]
pub struct App {
    /// Its id.
    pub id: AppId,
    /// Its name in URLs.
    pub slug: Arc<str>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Whether its scripts may not run now.
    pub is_paused: bool,
    /// The event that last changed it: its name, whether it is paused.
    pub position: Position,
    /// Who has a role on it.
    pub members: BTreeMap<AccountId, Member>,
    /// The hosts that lead to it, in order of their names.
    pub domains: Vec<Domain>,
    /// Its plain configuration values.
    pub env: Arc<BTreeMap<String, String>>,
    /// The event that last changed each of them.
    pub env_positions: BTreeMap<String, Position>,
    /// What its scripts may call besides the public internet, in order of their texts.
    pub http_exceptions: Vec<HttpException>,
    /// The same for whoever makes the calls.
    pub may_call: Arc<[Exception]>,
    /// Its scripts, in order of their names.
    pub scripts: Vec<Script>,
    /// Its routes, in order of their paths.
    pub routes: Vec<Route>,
    /// Its triggers, in order of their ids.
    pub triggers: Vec<Trigger>,
    /// In whose name triggers that are gone act, for what they made be owed.
    pub gone_triggers: HashMap<TriggerId, Registrant>,
    /// What is said of its queues.
    pub queues: BTreeMap<String, Queue>,
    /// What is said of its topics, by topic or pattern.
    pub topics: BTreeMap<String, Topic>,
    /// The same for whoever asks who may listen.
    pub access: Arc<Topics>,
}

/// An account with a role on an app.
#[derive(Clone, Debug)]
pub struct Member {
    /// What it may do.
    pub role: AppRole,
    /// Since when.
    pub created_at: DateTime<Utc>,
    /// The event that last changed it.
    pub position: Position,
}

/// A host name that leads to an app.
#[derive(Clone, Debug)]
pub struct Domain {
    /// The claim.
    pub id: DomainId,
    /// The name or wildcard.
    pub host: String,
    /// Since when.
    pub created_at: DateTime<Utc>,
}

/// A host or a network that an app's scripts may call though it is not on the public internet.
#[derive(Clone, Debug)]
pub struct HttpException {
    /// As [`Exception`] writes it.
    pub target: String,
    /// Since when.
    pub created_at: DateTime<Utc>,
}

/// A script, with the version that runs.
#[derive(Clone, Debug)]
pub struct Script {
    /// Its id.
    pub id: ScriptId,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub kind: ScriptKind,
    /// Since when.
    pub created_at: DateTime<Utc>,
    /// Whether it may not run now.
    pub is_paused: bool,
    /// The event that last changed it.
    pub position: Position,
    /// What runs; none until a version was activated.
    pub active: Option<Active>,
}

/// The active version of a script.
#[derive(Clone, Debug)]
pub struct Active {
    /// The version.
    pub version: VersionId,
    /// Its number.
    pub number: u32,
    /// SHA-256 of the source, hexadecimal.
    pub sha256: String,
    /// Who deployed it.
    pub deployed_by: Actor,
    /// What a run of it may use.
    pub limits: Limits,
    /// Ready to be run.
    pub program: Arc<Program>,
}

/// An API key. Who holds the secret is told by its hash alone.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// Its name.
    pub id: ApiKeyId,
    /// What its maker calls it.
    pub name: String,
    /// Its first characters.
    pub prefix: String,
    /// What it may do at most.
    pub scopes: Arc<[Capability]>,
    /// The only app it is good for.
    pub app: Option<AppId>,
    /// Whose rights it has.
    pub account: Option<AccountId>,
    /// When it stops working.
    pub expires_at: Option<DateTime<Utc>>,
}

impl Setup {
    /// An app by its id or slug.
    #[must_use]
    pub fn app(&self, id_or_slug: &str) -> Option<&Arc<App>> {
        match id_or_slug.parse::<AppId>() {
            Ok(id) => self.apps.get(&id),
            Err(_) => self.apps.values().find(|app| *app.slug == *id_or_slug),
        }
    }

    /// Who holds the key with this hash, when it is good at `now`.
    ///
    /// Looking a SHA-256 up in a map takes no time that depends on how much of a guess was right.
    #[must_use]
    pub fn principal(&self, key_hash: &[u8; 32], now: DateTime<Utc>) -> Option<Principal> {
        self.holder(self.keys.get(key_hash)?, now)
    }

    fn holder(&self, key: &ApiKey, now: DateTime<Utc>) -> Option<Principal> {
        if key.expires_at.is_some_and(|expires_at| expires_at <= now) {
            return None;
        }
        let account = match key.account {
            // A key is worth no more than its account.
            Some(id) => Some((id, self.active(id)?.rights.clone())),
            None => None,
        };
        let scopes = Arc::clone(&key.scopes);
        Some(Principal::ApiKey { key: key.id, scopes, app: key.app, account, expires_at: key.expires_at })
    }

    /// Who acts in a session of an account; nobody, when the account was deactivated.
    #[must_use]
    pub fn signed_in(&self, account: AccountId, session: SessionId) -> Option<Principal> {
        let rights = Arc::clone(&self.active(account)?.rights);
        Some(Principal::Account { account, rights, session })
    }

    /// An account that can be signed in to.
    #[must_use]
    pub fn active(&self, account: AccountId) -> Option<&Arc<Account>> {
        self.accounts.get(&account).filter(|account| account.is_active)
    }

    /// An account by what its holder signs in with, lower case.
    #[must_use]
    pub fn account_of(&self, email: &str) -> Option<&Arc<Account>> {
        self.accounts.values().find(|account| account.email == email)
    }

    /// Whether an account is all that keeps the instance from having no owner.
    #[must_use]
    pub fn is_last_owner(&self, account: AccountId) -> bool {
        let mut owners = self.accounts.values().filter(|account| account.is_owner());
        owners.next().is_some_and(|owner| owner.id == account) && owners.next().is_none()
    }
}

impl App {
    /// A script by its id or name.
    #[must_use]
    pub fn script(&self, id_or_name: &str) -> Option<&Script> {
        match id_or_name.parse::<ScriptId>() {
            Ok(id) => self.scripts.iter().find(|script| script.id == id),
            Err(_) => self.scripts.iter().find(|script| script.name == id_or_name),
        }
    }
}
