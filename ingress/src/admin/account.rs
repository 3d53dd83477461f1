//! `/api/v1/admin/account`: one's own account.

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use http::StatusCode;
use picloud_core::{
    event::{Event, account, session},
    id::{AccountId, SecretId, SessionId},
    policy::{InstanceRole, Principal},
};
use picloud_projections::setup::Account;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    AdminPlane, Plane,
    access::{Caller, account_of, short},
    body::Json,
    names,
    page::{self, Page},
    params::Params,
    session::{busy, now_s, secret, too_many},
    time::Time,
    write::{NoContent, Shown, Written, database},
};
use crate::{
    auth::{Factor, OpenSession, RecoveryCodes, SecretKind},
    problem::{Kind, Problem},
};

/// Whether an account can be signed in to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum AccountState {
    /// It can.
    Active,
    /// Not before its holder has set a password.
    Invited,
    /// Not any more.
    Deactivated,
}

/// An account as it is shown.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Account)]
pub(super) struct AccountForm {
    pub(super) id: AccountId,
    email: String,
    name: String,
    pub(super) role: InstanceRole,
    pub(super) state: AccountState,
    /// Whether signing in takes a second factor.
    totp: bool,
    created_at: Time,
}

impl AccountForm {
    pub(super) fn of(account: &Account) -> Self {
        Self {
            id: account.id,
            email: account.email.clone(),
            name: account.name.clone(),
            role: account.rights.role,
            state: match (account.is_active, account.password) {
                (false, _) => AccountState::Deactivated,
                (true, None) => AccountState::Invited,
                (true, Some(_)) => AccountState::Active,
            },
            totp: account.totp.is_some(),
            created_at: Time(account.created_at),
        }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OwnAccountChanges)]
pub(super) struct Changes {
    name: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPassword {
    current: String,
    new: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PasswordProof)]
pub(super) struct Password {
    password: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TotpConfirmation)]
pub(super) struct Confirmation {
    /// What `POST …/totp` told.
    id: String,
    /// What the authenticator shows.
    code: String,
}

/// An authenticator that is offered, and counts once it was confirmed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TotpOffer)]
pub(super) struct Offer {
    id: SecretId,
    /// To be typed.
    secret: String,
    /// To be shown as a QR code.
    url: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RecoveryCodes)]
pub(super) struct Confirmed {
    /// Each stands in for the authenticator once. They are shown here and never again.
    recovery_codes: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Session)]
pub(super) struct SessionForm {
    id: SessionId,
    /// Whether it is the one that asks.
    is_this: bool,
    #[schema(required)]
    address: Option<String>,
    #[schema(required)]
    agent: Option<String>,
    created_at: Time,
    seen_at: Time,
    expires_at: Time,
}

impl SessionForm {
    fn of(session: OpenSession, this: Option<SessionId>) -> Self {
        Self {
            id: session.id,
            is_this: Some(session.id) == this,
            address: session.address,
            agent: session.agent,
            created_at: Time(session.created_at),
            seen_at: Time(session.seen_at),
            expires_at: Time(session.expires_at),
        }
    }
}

/// The account of who asks, itself or by a key.
fn own(plane: &AdminPlane, caller: &Caller) -> Result<std::sync::Arc<Account>, Problem> {
    let id = caller.principal.account().ok_or_else(|| {
        Problem::new(Kind::NotFound, "this key belongs to no account: it was made for the instance itself")
    })?;
    account_of(&plane.setup.get(), id)
}

pub(super) async fn show(State(plane): State<Plane>, caller: Caller) -> Result<Answer<AccountForm>, Problem> {
    Ok(Answer(AccountForm::of(&*own(&plane, &caller)?)))
}

pub(super) async fn change(
    State(plane): State<Plane>,
    caller: Caller,
    Json(changes): Json<Changes>,
) -> Result<Written<Shown<AccountForm>>, Problem> {
    let (account, _) = caller.person()?;
    names::person(&changes.name)?;
    let decided = plane
        .decide_instance(&caller.actor(), |setup| {
            let is_so = account_of(setup, account)?.name == changes.name;
            let renamed = account::Renamed { account, name: changes.name.clone() };
            Ok((if is_so { Vec::new() } else { vec![renamed.into()] }, ()))
        })
        .await?;
    let form = AccountForm::of(&*own(&plane, &caller)?);
    decided.answer(&plane, StatusCode::OK, Shown(form)).await
}

/// Sets another password. All other sessions end.
pub(super) async fn set_password(
    State(plane): State<Plane>,
    caller: Caller,
    Json(given): Json<NewPassword>,
) -> Result<Written<NoContent>, Problem> {
    caller.person()?;
    let account = own(&plane, &caller)?;
    names::password(&given.new, &account.email)?;
    plane.must_know_password(&caller, &account, given.current).await?;
    let Principal::Account { session, .. } = caller.principal else { return Err(Problem::internal(&NoSession)) };
    let decided = plane.replace_password(&caller.actor(), &account, given.new, Some(session)).await?;
    decided.no_content(&plane).await
}

#[derive(Debug, thiserror::Error)]
#[error("a person without a session")]
struct NoSession;

impl AdminPlane {
    /// Refuses who does not know the password of the account that it is signed in to.
    async fn must_know_password(&self, caller: &Caller, account: &Account, password: String) -> Result<(), Problem> {
        let address = caller.asker.address;
        self.auth.throttle.attempt(address, &account.email).map_err(too_many)?;
        let hash = match account.password {
            Some(id) => self.auth.secrets.read(SecretKind::Password, id).await.map_err(|error| secret(&error))?,
            None => None,
        };
        let hash = hash.and_then(|hash| String::from_utf8(hash).ok());
        if self.auth.passwords.verify(password, hash).await.map_err(busy)? {
            self.auth.throttle.succeeded(address, &account.email);
            return Ok(());
        }
        Err(Problem::new(Kind::Forbidden, "the current password is wrong").field("current"))
    }

    /// Gives an account another password and ends its sessions, all but one.
    pub(super) async fn replace_password(
        &self,
        actor: &picloud_core::event::Actor,
        account: &Account,
        password: String,
        but: Option<SessionId>,
    ) -> Result<super::write::Decided<()>, Problem> {
        let hash = self.auth.passwords.hash(password).await.map_err(busy)?;
        let stored = self.auth.secrets.store(SecretKind::Password, hash.as_bytes()).await;
        let stored = stored.map_err(|error| secret(&error))?;
        let open = self.auth.sessions.of(account.id).await.map_err(|error| database(&error))?;
        let others: Vec<_> = open.iter().map(|session| session.id).filter(|id| Some(*id) != but).collect();
        self.auth.sessions.close(&others).await.map_err(|error| database(&error))?;
        let decided = self
            .decide_instance(actor, |setup| {
                let now = account_of(setup, account.id)?;
                if now.password != account.password
                    || now.link.as_ref().map(|link| link.secret) != account.link.as_ref().map(|link| link.secret)
                {
                    return Err(Problem::new(
                        Kind::Conflict,
                        "another password was set meanwhile; nothing was changed",
                    ));
                }
                let mut events: Vec<Event> =
                    vec![account::PasswordSet { account: account.id, password: stored }.into()];
                events.extend(others.iter().map(|session| {
                    let by = session::ClosedBy::PasswordSet;
                    Event::from(session::Closed { session: *session, account: account.id, by })
                }));
                Ok((events, ()))
            })
            .await;
        match decided {
            Ok(decided) => {
                self.auth
                    .secrets
                    .erase(account.password.into_iter().chain(account.link.as_ref().map(|link| link.secret)))
                    .await;
                Ok(decided)
            }
            Err(problem) => {
                self.auth.secrets.erase([stored]).await;
                Err(problem)
            }
        }
    }
}

/// Offers an authenticator. Nothing changes before it is confirmed.
pub(super) async fn offer_totp(State(plane): State<Plane>, caller: Caller) -> Result<Answer<Offer>, Problem> {
    caller.person()?;
    let account = own(&plane, &caller)?;
    if account.totp.is_some() {
        return Err(Problem::new(Kind::Conflict, "this account has a second factor; disable it first"));
    }
    let factor = Factor::generate(&account.email, "PiCloud");
    let stored = plane.auth.secrets.store(SecretKind::Totp, factor.seed()).await;
    let id = stored.map_err(|error| secret(&error))?;
    Ok(Answer(Offer { id, secret: factor.base32(), url: factor.url() }))
}

/// Turns the second factor on: whoever asks has shown that the authenticator works.
pub(super) async fn confirm_totp(
    State(plane): State<Plane>,
    caller: Caller,
    Json(given): Json<Confirmation>,
) -> Result<Written<Shown<Confirmed>>, Problem> {
    caller.person()?;
    let account = own(&plane, &caller)?;
    let wrong = |detail: &'static str, field| Problem::new(Kind::InvalidInput, detail).field(field);
    let unknown = || wrong("`id` is not of an authenticator that was offered; ask for one first", "id");
    let seed: SecretId = given.id.parse().map_err(|_| unknown())?;
    let stored = plane.auth.secrets.read(SecretKind::Totp, seed).await.map_err(|error| secret(&error))?;
    let factor = Factor::of(&stored.ok_or_else(unknown)?);
    if factor.check(given.code.trim(), now_s()).is_none() {
        return Err(wrong("the code is not the one the authenticator shows now; is its clock right?", "code"));
    }
    let codes = RecoveryCodes::generate();
    let recovery = plane.auth.secrets.store(SecretKind::Recovery, &codes.hashes()).await;
    let recovery = recovery.map_err(|error| secret(&error))?;
    let decided = plane
        .decide_instance(&caller.actor(), |setup| {
            if account_of(setup, account.id)?.totp.is_some() {
                return Err(Problem::new(Kind::Conflict, "this account has a second factor already"));
            }
            Ok((vec![account::TotpEnabled { account: account.id, seed, recovery }.into()], ()))
        })
        .await;
    match decided {
        Ok(decided) => {
            let confirmed = Confirmed { recovery_codes: codes.codes().to_vec() };
            decided.answer(&plane, StatusCode::OK, Shown(confirmed)).await
        }
        Err(problem) => {
            plane.auth.secrets.erase([recovery]).await;
            Err(problem)
        }
    }
}

pub(super) async fn disable_totp(
    State(plane): State<Plane>,
    caller: Caller,
    Json(given): Json<Password>,
) -> Result<Written<NoContent>, Problem> {
    caller.person()?;
    let account = own(&plane, &caller)?;
    plane.must_know_password(&caller, &account, given.password).await?;
    let decided = plane
        .decide_instance(&caller.actor(), |setup| {
            let has_one = account_of(setup, account.id)?.totp.is_some();
            let disabled = account::TotpDisabled { account: account.id };
            Ok((if has_one { vec![disabled.into()] } else { Vec::new() }, ()))
        })
        .await?;
    if let Some(totp) = &account.totp {
        plane.auth.secrets.erase([totp.seed, totp.recovery]).await;
    }
    decided.no_content(&plane).await
}

pub(super) async fn sessions(
    State(plane): State<Plane>,
    caller: Caller,
    Params(wanted): Params<page::Wanted>,
) -> Result<Answer<Page<SessionForm>>, Problem> {
    let account = own(&plane, &caller)?;
    let this = match caller.principal {
        Principal::Account { session, .. } => Some(session),
        Principal::ApiKey { .. } | Principal::Public => None,
    };
    let open = plane.auth.sessions.of(account.id).await.map_err(|error| database(&error))?;
    wanted.of(open.into_iter().map(|session| SessionForm::of(session, this)), |form| form.id.to_string()).map(Answer)
}

pub(super) async fn end_session(
    State(plane): State<Plane>,
    caller: Caller,
    Path(named): Path<String>,
) -> Result<StatusCode, Problem> {
    let (account, _) = caller.person()?;
    let open = plane.auth.sessions.of(account).await.map_err(|error| database(&error))?;
    let found = named.parse().ok().filter(|id| open.iter().any(|session| session.id == *id));
    let session =
        found.ok_or_else(|| Problem::new(Kind::NotFound, format!("you have no open session `{}`", short(&named))))?;
    plane.end_sessions(&caller.actor(), account, &[session], session::ClosedBy::Revoked).await?;
    Ok(StatusCode::NO_CONTENT)
}
