//! `/api/v1/admin/accounts`: everybody's accounts, for who manages them.

use std::sync::Arc;

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use chrono::{DateTime, TimeDelta, Utc};
use http::StatusCode;
use picloud_core::{
    capability::Capability,
    event::{Actor, Event, account, session},
    id::AccountId,
    log::NewEvent,
    policy::InstanceRole,
};
use picloud_projections::setup::{Account, Setup};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    AdminPlane, Plane,
    access::{Asker, Caller, account_of, short},
    account::{AccountForm, AccountState},
    body::Json,
    etag::{IfMatch, Versioned},
    link::{self, LinkToken},
    names,
    page::{self, Page},
    params::Params,
    session::{busy, secret, too_many},
    time::Time,
    triggers::registrant,
    write::{NoContent, Shown, Written, database},
};
use crate::{
    auth::SecretKind,
    problem::{Kind, Problem},
};

/// How long an invitation is good.
const INVITATION_LASTS: TimeDelta = TimeDelta::days(7);

/// How long a link to set another password is good.
const RESET_LASTS: TimeDelta = TimeDelta::minutes(30);

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAccount {
    email: String,
    name: Option<String>,
    role: Option<InstanceRole>,
    /// None: its holder is invited, and sets one at the link in the answer.
    password: Option<String>,
}

/// Which accounts are listed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AccountsWanted)]
pub(super) struct Wanted {
    role: Option<InstanceRole>,
    state: Option<AccountState>,
    limit: Option<usize>,
    cursor: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AccountChanges)]
pub(super) struct Changes {
    email: Option<String>,
    name: Option<String>,
    role: Option<InstanceRole>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Joining {
    token: String,
    password: String,
}

/// A new account, with the link to its first password.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NewAccountMade)]
pub(super) struct Invited {
    #[serde(flatten)]
    account: AccountForm,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<LinkForm>,
}

/// A link for somebody to set a password at.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Link)]
pub(super) struct LinkForm {
    /// It works once. It is shown here and never again.
    url: String,
    expires_at: Time,
}

/// An account by its id or address.
pub(super) fn find(setup: &Setup, named: &str) -> Result<Arc<Account>, Problem> {
    let found = match named.parse::<AccountId>() {
        Ok(id) => setup.accounts.get(&id),
        Err(_) => setup.account_of(&named.to_lowercase()),
    };
    found.cloned().ok_or_else(|| Problem::new(Kind::NotFound, format!("there is no account `{}`", short(named))))
}

/// Owners are made and changed by who does everything: nobody makes himself one.
fn must_manage(caller: &Caller, role: InstanceRole) -> Result<(), Problem> {
    match role {
        InstanceRole::Owner => caller.must(Capability::InstanceManageSettings, None),
        InstanceRole::Admin | InstanceRole::Member => caller.must(Capability::InstanceManageAccounts, None),
    }
}

fn last_owner() -> Problem {
    let detail = "this is the last active owner: make another one first, or nobody could do everything any more";
    Problem::new(Kind::Conflict, detail)
}

pub(super) async fn list(
    State(plane): State<Plane>,
    Params(wanted): Params<Wanted>,
) -> Result<Answer<Page<AccountForm>>, Problem> {
    let Wanted { role, state, limit, cursor } = wanted;
    let setup = plane.setup.get();
    let all = setup.accounts.values().map(|account| AccountForm::of(account));
    let fit =
        all.filter(|form| role.is_none_or(|role| form.role == role) && state.is_none_or(|state| form.state == state));
    page::Wanted { limit, cursor }.of(fit, |form| form.id.to_string()).map(Answer)
}

pub(super) async fn show(
    State(plane): State<Plane>,
    Path(named): Path<String>,
) -> Result<Versioned<AccountForm>, Problem> {
    let account = find(&plane.setup.get(), &named)?;
    plane.versioned(None, account.position, AccountForm::of(&account)).await
}

pub(super) async fn create(
    State(plane): State<Plane>,
    caller: Caller,
    Json(new): Json<NewAccount>,
) -> Result<Written<Shown<Invited>>, Problem> {
    let role = new.role.unwrap_or(InstanceRole::Member);
    must_manage(&caller, role)?;
    let email = names::email(&new.email)?;
    let name = new.name.unwrap_or_else(|| email.split('@').next().unwrap_or_default().to_owned());
    names::person(&name)?;
    let made = NewPerson { email, name, role };
    let (account, link, written) = match new.password {
        Some(password) => {
            let (account, written) = plane.make_account(&caller.actor(), made, password, |_| Ok(())).await?;
            (account, None, written)
        }
        None => {
            let (account, link, written) = plane.invite(&caller.actor(), made).await?;
            (account, Some(link), written)
        }
    };
    let account = AccountForm::of(&*account_of(&plane.setup.get(), account)?);
    written.answer(&plane, StatusCode::CREATED, Shown(Invited { account, link })).await
}

/// Who an account is for.
pub(super) struct NewPerson {
    pub(super) email: String,
    pub(super) name: String,
    pub(super) role: InstanceRole,
}

impl NewPerson {
    fn created(&self, account: AccountId) -> Event {
        account::Created { account, email: self.email.clone(), name: self.name.clone(), role: self.role }.into()
    }
}

impl AdminPlane {
    /// Makes an account with a password, if `check` finds nothing against it.
    pub(super) async fn make_account(
        &self,
        actor: &Actor,
        person: NewPerson,
        password: String,
        check: impl Fn(&Setup) -> Result<(), Problem> + Send + Sync,
    ) -> Result<(AccountId, super::write::Decided<()>), Problem> {
        names::password(&password, &person.email)?;
        let hash = self.auth.passwords.hash(password).await.map_err(busy)?;
        let stored = self.auth.secrets.store(SecretKind::Password, hash.as_bytes()).await;
        let stored = stored.map_err(|error| secret(&error))?;
        let id = AccountId::generate();
        let decided = self
            .decide_instance(actor, |setup| {
                check(setup)?;
                Ok((vec![person.created(id), account::PasswordSet { account: id, password: stored }.into()], ()))
            })
            .await;
        match decided {
            Ok(decided) => Ok((id, decided)),
            Err(problem) => {
                self.auth.secrets.erase([stored]).await;
                Err(problem)
            }
        }
    }

    async fn invite(
        &self,
        actor: &Actor,
        person: NewPerson,
    ) -> Result<(AccountId, LinkForm, super::write::Decided<()>), Problem> {
        let id = AccountId::generate();
        let (issued, form) = self.issue(id, account::LinkPurpose::Invitation, Utc::now() + INVITATION_LASTS).await?;
        let link = issued.link;
        let decided = self.decide_instance(actor, |_| Ok((vec![person.created(id), issued.clone().into()], ()))).await;
        match decided {
            Ok(decided) => Ok((id, form, decided)),
            Err(problem) => {
                self.auth.secrets.erase([link]).await;
                Err(problem)
            }
        }
    }

    /// Makes a link: the event that says so, and what its holder gets.
    async fn issue(
        &self,
        account: AccountId,
        purpose: account::LinkPurpose,
        expires_at: DateTime<Utc>,
    ) -> Result<(account::LinkIssued, LinkForm), Problem> {
        let token = LinkToken::generate();
        let link = token.store(&self.auth.secrets).await.map_err(|error| secret(&error))?;
        let form = LinkForm { url: token.join_url(&self.urls.admin, account), expires_at: Time(expires_at) };
        Ok((account::LinkIssued { account, link, purpose, expires_at }, form))
    }
}

pub(super) async fn change(
    State(plane): State<Plane>,
    caller: Caller,
    Path(named): Path<String>,
    if_match: IfMatch,
    Json(changes): Json<Changes>,
) -> Result<Written<Shown<AccountForm>>, Problem> {
    let email = changes.email.as_deref().map(names::email).transpose()?;
    changes.name.as_deref().map(names::person).transpose()?;
    let id = find(&plane.setup.get(), &named)?.id;
    let expected = if_match.of(&plane, None).await?;
    let (actor, reach) = (caller.actor(), |setup: &Setup| registrant::reach(setup, id));
    let decided = plane
        .decide_across(reach, |setup| {
            let now = account_of(setup, id)?;
            expected.check(now.position)?;
            must_manage(&caller, now.rights.role)?;
            let (mut events, mut disabled): (Vec<Event>, _) = (Vec::new(), Vec::new());
            if let Some(email) = email.clone().filter(|email| *email != now.email) {
                events.push(account::EmailChanged { account: id, email }.into());
            }
            if let Some(name) = changes.name.clone().filter(|name| *name != now.name) {
                events.push(account::Renamed { account: id, name }.into());
            }
            if let Some(role) = changes.role.filter(|role| *role != now.rights.role) {
                must_manage(&caller, role)?;
                if setup.is_last_owner(id) {
                    return Err(last_owner());
                }
                events.push(account::RoleGranted { account: id, role }.into());
                let why = format!("{}, who registered it, has no role on this app any more", now.email);
                disabled = registrant::beyond_reach(setup, &actor, id, Some(role), &why);
            }
            let events = events.into_iter().map(|event| NewEvent::new(None, &actor, event));
            Ok((events.chain(disabled).collect(), ()))
        })
        .await?;
    let form = AccountForm::of(&*account_of(&plane.setup.get(), id)?);
    decided.answer(&plane, StatusCode::OK, Shown(form)).await
}

/// Ends its sessions and its keys, at once and on every node, and disables its triggers.
pub(super) async fn deactivate(
    State(plane): State<Plane>,
    caller: Caller,
    Path(named): Path<String>,
) -> Result<Written<NoContent>, Problem> {
    let id = find(&plane.setup.get(), &named)?.id;
    let open = plane.auth.sessions.of(id).await.map_err(|error| database(&error))?;
    let (actor, reach) = (caller.actor(), |setup: &Setup| registrant::reach(setup, id));
    let decided = plane
        .decide_across(reach, |setup| {
            let now = account_of(setup, id)?;
            must_manage(&caller, now.rights.role)?;
            if setup.is_last_owner(id) {
                return Err(last_owner());
            }
            let mut events = Vec::new();
            if now.is_active {
                events.push(NewEvent::new(None, &actor, account::Deactivated { account: id }));
                events.extend(open.iter().map(|open| {
                    let by = session::ClosedBy::Deactivated;
                    NewEvent::new(None, &actor, session::Closed { session: open.id, account: id, by })
                }));
                let why = format!("the account of {}, who registered it, was deactivated", now.email);
                events.extend(registrant::beyond_reach(setup, &actor, id, None, &why));
            }
            Ok((events, ()))
        })
        .await?;
    let sessions: Vec<_> = open.iter().map(|session| session.id).collect();
    plane.auth.sessions.close(&sessions).await.map_err(|error| database(&error))?;
    decided.no_content(&plane).await
}

pub(super) async fn reactivate(
    State(plane): State<Plane>,
    caller: Caller,
    Path(named): Path<String>,
) -> Result<Written<NoContent>, Problem> {
    let id = find(&plane.setup.get(), &named)?.id;
    let decided = plane
        .decide_instance(&caller.actor(), |setup| {
            let now = account_of(setup, id)?;
            must_manage(&caller, now.rights.role)?;
            let reactivated = account::Reactivated { account: id };
            Ok((if now.is_active { Vec::new() } else { vec![reactivated.into()] }, ()))
        })
        .await?;
    decided.no_content(&plane).await
}

/// A link at which its holder can set another password. The one there is goes on working until then.
pub(super) async fn reset_password(
    State(plane): State<Plane>,
    caller: Caller,
    Path(named): Path<String>,
) -> Result<Written<Shown<LinkForm>>, Problem> {
    let account = find(&plane.setup.get(), &named)?;
    let (purpose, lasts) = match account.password {
        None => (account::LinkPurpose::Invitation, INVITATION_LASTS),
        Some(_) => (account::LinkPurpose::Reset, RESET_LASTS),
    };
    let (issued, form) = plane.issue(account.id, purpose, Utc::now() + lasts).await?;
    let link = issued.link;
    let decided = plane
        .decide_instance(&caller.actor(), |setup| {
            let now = account_of(setup, account.id)?;
            must_manage(&caller, now.rights.role)?;
            Ok((vec![issued.clone().into()], now.link.as_ref().map(|link| link.secret)))
        })
        .await;
    match decided {
        Ok(decided) => {
            plane.auth.secrets.erase(decided.value).await;
            decided.answer(&plane, StatusCode::CREATED, Shown(form)).await
        }
        Err(problem) => {
            plane.auth.secrets.erase([link]).await;
            Err(problem)
        }
    }
}

/// Sets the password of an account at its link. Works once.
pub(super) async fn join(
    State(plane): State<Plane>,
    asker: Asker,
    Path(named): Path<String>,
    Json(given): Json<Joining>,
) -> Result<Written<NoContent>, Problem> {
    let decided = plane.join(asker, &named, &given.token, given.password).await?;
    decided.no_content(&plane).await
}

impl AdminPlane {
    /// Sets the password of an account for who holds its link.
    pub(super) async fn join(
        &self,
        asker: Asker,
        named: &str,
        token: &str,
        password: String,
    ) -> Result<super::write::Decided<()>, Problem> {
        self.auth.throttle.attempt(asker.address, named).map_err(too_many)?;
        let setup = self.setup.get();
        let account = named.parse().ok().and_then(|id: AccountId| setup.active(id));
        let is_good = match account.and_then(|account| account.link.as_ref()) {
            Some(link) => {
                let checked = link::is_good(&self.auth.secrets, link.secret, link.expires_at, token).await;
                checked.map_err(|error| secret(&error))?
            }
            None => false,
        };
        let Some(account) = account.filter(|_| is_good) else {
            let detail = "this link has been used, has expired, or was replaced by a newer one; ask for another";
            return Err(Problem::new(Kind::NotFound, detail).field("token"));
        };
        names::password(&password, &account.email)?;
        self.auth.throttle.succeeded(asker.address, named);
        let actor = Actor::account(account.id, asker.request, asker.address_text());
        self.replace_password(&actor, account, password, None).await
    }
}
