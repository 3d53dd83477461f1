//! `/api/v1/admin/apps/{app}/members`: who has a role on an app.

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use http::StatusCode;
use picloud_core::{event::member, id::AccountId, policy::AppRole};
use picloud_projections::setup::{App, Member, Setup};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Plane,
    access::{Caller, InApp},
    accounts,
    body::Json,
    page::{self, Page},
    params::Params,
    time::Time,
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

/// Makes an account a member, or gives it another role. The account is named by id or address.
pub(super) async fn grant(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Path((_, named)): Path<(String, String)>,
    Json(wanted): Json<Wanted>,
) -> Result<Written<Shown<MemberForm>>, Problem> {
    let account = accounts::find(&plane.setup.get(), &named)?;
    let decided = plane
        .decide(&caller, app.id, |picture| {
            let before = picture.app.members.get(&account.id).map(|member| member.role);
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
) -> Result<Written<NoContent>, Problem> {
    let account = accounts::find(&plane.setup.get(), &named)?.id;
    let decided = plane
        .decide(&caller, app.id, |picture| {
            if !picture.app.members.contains_key(&account) {
                let detail = format!("`{account}` is no member of the app `{}`", picture.app.slug);
                return Err(Problem::new(Kind::NotFound, detail));
            }
            Ok((vec![member::Removed { account }.into()], ()))
        })
        .await?;
    decided.no_content(&plane).await
}
