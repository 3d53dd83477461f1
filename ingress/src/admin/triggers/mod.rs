//! Triggers: which event runs which script, and in whose name.
//!
//! `wanted` checks what is said of one against its app; `registrant` says in whose name it acts, and what becomes of it when
//! that somebody goes; `state` lets it count or wait; `run` tries it out.

pub(super) mod registrant;
pub(super) mod run;
pub(super) mod state;
pub(super) mod wanted;

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use chrono::{DateTime, Utc};
use http::StatusCode;
use picloud_core::{
    capability::Capability,
    event::{
        Class, Event,
        trigger::{Created, Deleted, Disabled, Enabled, Updated},
    },
    id::{ScriptId, TriggerId},
    retry::RetryPolicy,
    trigger::{When, Written as Said},
};
use picloud_projections::{
    setup::{App, Setup, Trigger},
    travel::{self, Past},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Plane,
    access::{Caller, InApp, short},
    body::Json,
    etag::{IfMatch, Versioned},
    events::unreadable,
    moment::{At, ListAt, was},
    page::Page,
    params::Params,
    time::Time,
    write::{NoContent, Shown, Written},
};
use crate::problem::{Kind, Problem};

/// How many times to come are shown.
const UPCOMING: usize = 5;

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Trigger)]
pub(super) struct TriggerForm {
    id: TriggerId,
    #[serde(flatten)]
    when: When,
    script: ScriptId,
    #[schema(required)]
    script_name: Option<String>,
    retry: RetryPolicy,
    enabled: bool,
    /// Why it is not enabled, when nobody asked for that.
    #[schema(required)]
    disabled_why: Option<String>,
    /// Whether what it makes be owed waits.
    paused: bool,
    /// In whose name its runs act: an account's address, or a key's id.
    registrant: String,
    created_at: Time,
    /// When it fires next, if the clock decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Vec<Time>>,
}

impl TriggerForm {
    fn of(setup: &Setup, app: &App, trigger: &Trigger) -> Self {
        let script = app.scripts.iter().find(|script| script.id == trigger.definition.script);
        Self::running(script.map(|script| script.name.clone()), setup, trigger, Utc::now())
    }

    /// A trigger whose script is called so.
    fn running(script_name: Option<String>, setup: &Setup, trigger: &Trigger, now: DateTime<Utc>) -> Self {
        let definition = &trigger.definition;
        Self {
            id: trigger.id,
            when: definition.when.clone(),
            script: definition.script,
            script_name,
            retry: definition.retry,
            enabled: trigger.is_enabled,
            disabled_why: trigger.disabled_why.clone(),
            paused: trigger.is_paused,
            registrant: registrant::name(setup, &trigger.registrant),
            created_at: Time(trigger.created_at),
            next: next(&definition.when, now),
        }
    }
}

/// The next times of a trigger that fires by the clock.
fn next(when: &When, now: DateTime<Utc>) -> Option<Vec<Time>> {
    let When::Cron(cron) = when else { return None };
    let times = cron.times().ok()?.upcoming(now, UPCOMING);
    Some(times.into_iter().map(Time).collect())
}

fn find<'a>(app: &'a App, named: &str) -> Result<&'a Trigger, Problem> {
    named.parse().ok().and_then(|id| app.trigger(id)).ok_or_else(|| {
        let detail = format!("the app `{}` has no trigger `{}`", app.slug, short(named));
        Problem::new(Kind::NotFound, detail).field("trigger")
    })
}

/// A trigger as people call it: `kv carts`.
pub(super) fn told(when: &When) -> String {
    format!("{} {}", when.kind(), when.selects())
}

pub(super) async fn list(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Params(wanted): Params<ListAt>,
) -> Result<Answer<Page<TriggerForm>>, Problem> {
    let setup = plane.setup.get();
    let forms: Vec<TriggerForm> = match &wanted.at {
        None => app.triggers.iter().map(|trigger| TriggerForm::of(&setup, &app, trigger)).collect(),
        Some(at) => {
            let moment = plane.moment(&app, at, Class::Config).await?;
            let triggers = travel::triggers(&plane.reader, app.id, moment).await.map_err(|error| unreadable(&error))?;
            let names = plane.script_names(&app, moment).await?;
            let name = |trigger: &Trigger| names.get(&trigger.definition.script).cloned();
            triggers.iter().map(|trigger| TriggerForm::running(name(trigger), &setup, trigger, moment.at)).collect()
        }
    };
    wanted.page().of(forms, |trigger| trigger.id.to_string()).map(Answer)
}

pub(super) async fn show(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Path((_, named)): Path<(String, String)>,
    Params(At { at }): Params<At>,
) -> Result<Versioned<TriggerForm>, Problem> {
    if let Some(at) = at {
        let moment = plane.moment(&app, &at, Class::Config).await?;
        let past = match named.parse() {
            Ok(id) => travel::trigger(&plane.reader, app.id, id, moment).await.map_err(|error| unreadable(&error))?,
            Err(_) => Past::Never,
        };
        let trigger = was(past, &format!("the trigger `{}`", short(&named)), moment)?;
        let names = plane.script_names(&app, moment).await?;
        let name = names.get(&trigger.definition.script).cloned();
        let form = TriggerForm::running(name, &plane.setup.get(), &trigger, moment.at);
        return plane.versioned(Some(app.id), trigger.position, form).await;
    }
    let trigger = find(&app, &named)?;
    let form = TriggerForm::of(&plane.setup.get(), &app, trigger);
    plane.versioned(Some(app.id), trigger.position, form).await
}

pub(super) async fn create(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Json(said): Json<Said>,
) -> Result<Written<Shown<TriggerForm>>, Problem> {
    wanted::check(&said)?;
    let decided = plane
        .decide_with_people(&caller, app.id, |picture| {
            caller.must_still(&plane, Capability::AppManageTriggers, Some(app.id))?;
            let definition = wanted::definition(&said, &picture.app)?;
            let is_enabled = said.enabled.unwrap_or(true);
            if is_enabled {
                wanted::refuse_too_many(&definition.when, &picture.app, None)?;
            }
            let trigger = TriggerId::generate();
            let registrant = caller.registrant()?;
            let mut events: Vec<Event> = vec![Created { trigger, definition, registrant }.into()];
            if !is_enabled {
                events.push(Disabled { trigger, why: None }.into());
            }
            Ok((events, trigger))
        })
        .await?;
    let app = plane.picture(app.id).await?.app;
    let form = TriggerForm::of(&plane.setup.get(), &app, find(&app, &decided.value.to_string())?);
    decided.answer(&plane, StatusCode::CREATED, Shown(form)).await
}

/// Replaces all that a trigger says. Whether it is enabled stays, unless that is said, too.
pub(super) async fn update(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Path((_, named)): Path<(String, String)>,
    if_match: IfMatch,
    Json(said): Json<Said>,
) -> Result<Written<Shown<TriggerForm>>, Problem> {
    wanted::check(&said)?;
    let expected = if_match.of(&plane, Some(app.id)).await?;
    let decided = plane
        .decide_with_people(&caller, app.id, |picture| {
            caller.must_still(&plane, Capability::AppManageTriggers, Some(app.id))?;
            let before = find(&picture.app, &named)?;
            expected.check(before.position)?;
            let definition = wanted::definition(&said, &picture.app)?;
            let is_enabled = said.enabled.unwrap_or(before.is_enabled);
            if is_enabled {
                wanted::refuse_too_many(&definition.when, &picture.app, Some(before.id))?;
            }
            let (trigger, registrant) = (before.id, caller.registrant()?);
            let mut events: Vec<Event> = Vec::new();
            if definition != before.definition {
                events.push(Updated { trigger, definition, registrant: registrant.clone() }.into());
            }
            match (before.is_enabled, is_enabled) {
                (false, true) => events.push(Enabled { trigger, registrant }.into()),
                (true, false) => events.push(Disabled { trigger, why: None }.into()),
                (true, true) | (false, false) => {}
            }
            Ok((events, ()))
        })
        .await?;
    let app = plane.picture(app.id).await?.app;
    let form = TriggerForm::of(&plane.setup.get(), &app, find(&app, &named)?);
    decided.answer(&plane, StatusCode::OK, Shown(form)).await
}

pub(super) async fn delete(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Path((_, named)): Path<(String, String)>,
    if_match: IfMatch,
) -> Result<Written<NoContent>, Problem> {
    let expected = if_match.of(&plane, Some(app.id)).await?;
    let decided = plane
        .decide(&caller, app.id, |picture| {
            let trigger = find(&picture.app, &named)?;
            expected.check(trigger.position)?;
            Ok((vec![Deleted { trigger: trigger.id }.into()], ()))
        })
        .await?;
    decided.no_content(&plane).await
}
