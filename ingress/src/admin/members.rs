//! `/api/v1/admin/apps/{app}/members`: who has a role on an app.

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use http::StatusCode;
use picloud_core::{
    event::{Event, member},
    id::AccountId,
    policy::AppRole,
};
use picloud_projections::setup::{App, Member, Setup};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Plane,
    access::{Caller, InApp, short},
    accounts,
    body::Json,
    etag::{IfMatch, Versioned},
    page::{self, Page},
    params::Params,
    time::Time,
    triggers::registrant,
    write::{NoContent, Shown, Written},
};
use crate::problem::{Kind, Problem};

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Member)]
pub(super) struct MemberForm {
    account: AccountId,
    email: String,
    name: String,
    role: AppRole,
    created_at: Time,
}

impl MemberForm {
    fn of(setup: &Setup, id: AccountId, member: &Member) -> Option<Self> {
        let account = setup.accounts.get(&id)?;
        Some(Self {
            account: id,
            email: account.email.clone(),
            name: account.name.clone(),
            role: member.role,
            created_at: Time(member.created_at),
        })
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Membership)]
pub(super) struct Wanted {
    role: AppRole,
}

fn members(setup: &Setup, app: &App) -> Vec<MemberForm> {
    app.members.iter().filter_map(|(id, member)| MemberForm::of(setup, *id, member)).collect()
}

pub(super) async fn list(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Params(wanted): Params<page::Wanted>,
) -> Result<Answer<Page<MemberForm>>, Problem> {
    wanted.of(members(&plane.setup.get(), &app), |member| member.account.to_string()).map(Answer)
}

/// A member by its account's id or address. Whether there is such an account at all is nobody's business here.
fn find<'a>(setup: &Setup, app: &'a App, named: &str) -> Result<(AccountId, &'a Member), Problem> {
    let account = accounts::find(setup, named).ok().map(|account| account.id);
    account.and_then(|id| Some((id, app.members.get(&id)?))).ok_or_else(|| no_member(app, named))
}

fn no_member(app: &App, named: &str) -> Problem {
    Problem::new(Kind::NotFound, format!("`{}` is no member of the app `{}`", short(named), app.slug))
}

pub(super) async fn show(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Path((_, named)): Path<(String, String)>,
) -> Result<Versioned<MemberForm>, Problem> {
    let setup = plane.setup.get();
    let (account, member) = find(&setup, &app, &named)?;
    let form = MemberForm::of(&setup, account, member).ok_or_else(|| no_member(&app, &named))?;
    plane.versioned(Some(app.id), member.position, form).await
}

/// Makes an account a member, or gives it another role. The account is named by id or address.
pub(super) async fn grant(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Path((_, named)): Path<(String, String)>,
    if_match: IfMatch,
    Json(wanted): Json<Wanted>,
) -> Result<Written<Shown<MemberForm>>, Problem> {
    let account = accounts::find(&plane.setup.get(), &named)?;
    let expected = if_match.of(&plane, Some(app.id)).await?;
    let decided = plane
        .decide(&caller, app.id, |picture| {
            let member = picture.app.members.get(&account.id);
            expected.check_if_there(member.map(|member| member.position))?;
            let before = member.map(|member| member.role);
            let granted = member::Granted { account: account.id, role: wanted.role };
            let status = if before.is_none() { StatusCode::CREATED } else { StatusCode::OK };
            Ok((if before == Some(wanted.role) { Vec::new() } else { vec![granted.into()] }, status))
        })
        .await?;
    let app = plane.picture(app.id).await?.app;
    let setup = plane.setup.get();
    let member = app.members.get(&account.id).and_then(|member| MemberForm::of(&setup, account.id, member));
    let form = member.ok_or_else(|| Problem::new(Kind::Conflict, "the member was removed again meanwhile"))?;
    let status = decided.value;
    decided.answer(&plane, status, Shown(form)).await
}

pub(super) async fn remove(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Path((_, named)): Path<(String, String)>,
    if_match: IfMatch,
) -> Result<Written<NoContent>, Problem> {
    let expected = if_match.of(&plane, Some(app.id)).await?;
    let decided = plane
        .decide_with_people(&caller, app.id, |picture| {
            let setup = plane.setup.get();
            let (account, member) = find(&setup, &picture.app, &named)?;
            expected.check(member.position)?;
            let mut events: Vec<Event> = vec![member::Removed { account }.into()];
            events.extend(disabled(&setup, &picture.app, account));
            Ok((events, ()))
        })
        .await?;
    decided.no_content(&plane).await
}

/// What an account's triggers come to when it is no member any more. Who has a role on every app keeps them.
fn disabled(setup: &Setup, app: &App, account: AccountId) -> Vec<Event> {
    let account = setup.accounts.get(&account).filter(|account| account.rights.role.everywhere().is_none());
    let Some(account) = account else { return Vec::new() };
    let why = format!("{}, who registered it, is no member of this app any more", account.email);
    registrant::without_account(app, account.id, &why)
}
