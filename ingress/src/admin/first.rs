//! The first start: an app to deploy to and a key to do it with.

use std::io;

use chrono::TimeDelta;
use picloud_core::{
    capability::Capability,
    event::{Actor, app, domain},
    id::{AppId, DomainId, SecretId},
    log::{Commit, CommitError, Committer, NewEvent, Node, Position, Read, Rejected},
    policy::InstanceRole,
};
use picloud_projections::setup::Setup;
use sqlx::PgPool;

use super::{
    AdminPlane,
    access::Asker,
    accounts::NewPerson,
    api_keys::Secret,
    link::{self, LinkToken},
    names,
    session::{secret, too_many},
};
use crate::{
    auth::{Auth, SecretsError},
    problem::{Kind, Problem},
};

/// How long the link to the first account is good.
const LINK_LASTS: TimeDelta = TimeDelta::minutes(30);

/// The hosts of the `default` app: this machine, however it is called.
const HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// A link at which the account that owns the instance can be made, good for half an hour and until there is one. None, when
/// there is an account.
///
/// # Errors
/// When the database cannot be asked.
pub async fn first_owner_link(auth: &Auth, setup: &Setup, admin_url: &str) -> Result<Option<String>, SecretsError> {
    if !setup.accounts.is_empty() {
        return Ok(None);
    }
    let token = LinkToken::generate();
    let link = token.store(&auth.secrets).await?;
    Ok(Some(token.setup_url(admin_url, link)))
}

/// Who is to own the instance.
pub(super) struct NewOwner {
    pub(super) email: String,
    pub(super) name: String,
    pub(super) password: String,
}

impl AdminPlane {
    /// Makes the first account for who holds the link to it.
    pub(super) async fn make_first_owner(
        &self,
        asker: Asker,
        link: &str,
        token: &str,
        owner: NewOwner,
    ) -> Result<(), Problem> {
        self.auth.throttle.attempt(asker.address, "first owner").map_err(too_many)?;
        let is_first = |setup: &Setup| {
            let detail = "there is an account already: sign in, or ask its holder for an invitation";
            if setup.accounts.is_empty() { Ok(()) } else { Err(Problem::new(Kind::Conflict, detail)) }
        };
        is_first(&self.setup.get())?;
        let used = || {
            let detail = "this link has expired; the next start of the service prints another, \
                          or run `picloud account create` beside it";
            Problem::new(Kind::NotFound, detail).field("token")
        };
        let id: SecretId = link.parse().map_err(|_| used())?;
        let expires_at = id.ulid().datetime() + std::time::Duration::from_secs(LINK_LASTS.num_seconds().unsigned_abs());
        if !link::is_good(&self.auth.secrets, id, expires_at.into(), token).await.map_err(|error| secret(&error))? {
            return Err(used());
        }
        self.auth.throttle.succeeded(asker.address, "first owner");
        names::person(&owner.name)?;
        let person = NewPerson { email: names::email(&owner.email)?, name: owner.name, role: InstanceRole::Owner };
        let actor = Actor::public(asker.request, asker.address_text());
        self.make_account(&actor, person, owner.password, is_first).await?;
        self.auth.secrets.erase([id]).await;
        Ok(())
    }
}

/// Why the first start did not get so far.
#[derive(Debug, thiserror::Error)]
pub enum FirstStartError {
    /// The database could not be asked.
    #[error("failed to look for apps and API keys")]
    Database(#[from] sqlx::Error),
    /// There is nowhere to keep the first key.
    #[error("failed to keep the first API key")]
    Keep(#[source] io::Error),
    /// The first app or key could not be written.
    #[error("failed to set up the first app and API key")]
    Commit(#[from] CommitError),
}

/// What became of the first API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstKey {
    /// The one that was kept works.
    Minted,
    /// Another node was quicker: the one that was kept came to nothing and is to be thrown away.
    Overtaken,
    /// There has been one before; none was kept.
    Present,
}

/// Makes the app `default` when there is no app, and the first API key when there has never been one. Of several nodes
/// that start at once one makes each.
///
/// The key is shown to `keep` and nowhere else, and before it is minted: whatever happens after, the one key that there is
/// is not lost.
///
/// # Errors
/// [`FirstStartError`]. Calling it again is safe; what was kept then may work or not, and is kept anew if not.
pub async fn first_start(
    pool: &PgPool,
    committer: &Committer,
    node: &Node,
    keep: impl FnOnce(&str) -> io::Result<()> + Send,
) -> Result<FirstKey, FirstStartError> {
    make_default_app(pool, committer, node).await?;
    mint_first_key(pool, committer, node, keep).await
}

async fn make_default_app(pool: &PgPool, committer: &Committer, node: &Node) -> Result<(), FirstStartError> {
    let exists = sqlx::query_scalar!(r#"select exists (select from state.app) as "exists!""#).fetch_one(pool).await?;
    if exists {
        return Ok(());
    }
    let id = AppId::generate();
    let created = app::Created { app: id, slug: "default".to_owned() };
    let mut events = vec![NewEvent::new(Some(id), &Actor::SYSTEM, created)];
    for host in HOSTS {
        let claimed = domain::Claimed { domain: DomainId::generate(), host: host.to_owned() };
        events.push(NewEvent::new(Some(id), &Actor::SYSTEM, claimed));
    }
    match committer.commit(Commit::new(node.authority(), events)).await {
        Ok(_) => Ok(()),
        // Another node was quicker: its app is the one.
        Err(CommitError::Rejected(Rejected::Invalid { constraint: Some(constraint) }))
            if matches!(&*constraint, "app_slug_unique" | "domain_host_unique") =>
        {
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

async fn mint_first_key(
    pool: &PgPool,
    committer: &Committer,
    node: &Node,
    keep: impl FnOnce(&str) -> io::Result<()> + Send,
) -> Result<FirstKey, FirstStartError> {
    // Before looking: a key that another node mints after this makes ours stale.
    let as_of = sqlx::query_scalar!(r#"select log.find_head() as "head!""#).fetch_one(pool).await?;
    let exists =
        sqlx::query_scalar!(r#"select exists (select from state.api_key) as "exists!""#).fetch_one(pool).await?;
    if exists {
        return Ok(FirstKey::Present);
    }
    let secret = Secret::generate();
    keep(&secret.text).map_err(FirstStartError::Keep)?;
    secret.store(pool, None).await?;
    let minted = secret.minted("local CLI".to_owned(), Capability::ALL.to_vec(), None, None, None);
    let event = NewEvent::new(None, &Actor::SYSTEM, minted);
    let reads = vec![Read::Config { app: None, as_of: Position(as_of) }];
    match committer.commit(Commit { reads, ..Commit::new(node.authority(), vec![event]) }).await {
        Ok(_) => Ok(FirstKey::Minted),
        Err(CommitError::Rejected(Rejected::Stale)) => {
            secret.discard(pool).await;
            Ok(FirstKey::Overtaken)
        }
        Err(error) => Err(error.into()),
    }
}
