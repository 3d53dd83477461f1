//! Whether a trigger's events count, and whether what they owe waits.

use axum::extract::{Path, State};
use http::StatusCode;
use picloud_core::{
    capability::Capability,
    event::{
        Event,
        trigger::{Disabled, Enabled, Paused, Resumed},
    },
};
use picloud_projections::setup::{App, Trigger};

use super::{TriggerForm, find, wanted};
use crate::{
    admin::{
        AdminPlane, Plane,
        access::{Caller, InApp},
        write::{Shown, Written},
    },
    problem::Problem,
};

/// Lets events count again, in the name of who asks for it.
pub(in crate::admin) async fn enable(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Path((_, named)): Path<(String, String)>,
) -> Result<Written<Shown<TriggerForm>>, Problem> {
    let enable = |app: &App, trigger: &Trigger| {
        caller.must_still(&plane, Capability::AppManageTriggers, Some(app.id))?;
        if trigger.is_enabled {
            return Ok(None);
        }
        wanted::refuse_too_many(&trigger.definition.when, app, Some(trigger.id))?;
        Ok(Some(Enabled { trigger: trigger.id, registrant: caller.registrant()? }.into()))
    };
    plane.set_trigger(&caller, &app, &named, enable).await
}

/// Events pass it by from then on; of those that come meanwhile nothing is made up for.
pub(in crate::admin) async fn disable(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Path((_, named)): Path<(String, String)>,
) -> Result<Written<Shown<TriggerForm>>, Problem> {
    let disable =
        |_: &App, trigger: &Trigger| Ok(trigger.is_enabled.then(|| Disabled { trigger: trigger.id, why: None }.into()));
    plane.set_trigger(&caller, &app, &named, disable).await
}

/// Events count, and what they owe waits.
pub(in crate::admin) async fn pause(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Path((_, named)): Path<(String, String)>,
) -> Result<Written<Shown<TriggerForm>>, Problem> {
    let pause = |_: &App, trigger: &Trigger| Ok((!trigger.is_paused).then(|| Paused { trigger: trigger.id }.into()));
    plane.set_trigger(&caller, &app, &named, pause).await
}

pub(in crate::admin) async fn resume(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Path((_, named)): Path<(String, String)>,
) -> Result<Written<Shown<TriggerForm>>, Problem> {
    let resume = |_: &App, trigger: &Trigger| Ok(trigger.is_paused.then(|| Resumed { trigger: trigger.id }.into()));
    plane.set_trigger(&caller, &app, &named, resume).await
}

impl AdminPlane {
    /// What is so already makes no event.
    async fn set_trigger(
        &self,
        caller: &Caller,
        app: &App,
        named: &str,
        set: impl Fn(&App, &Trigger) -> Result<Option<Event>, Problem> + Send + Sync,
    ) -> Result<Written<Shown<TriggerForm>>, Problem> {
        let decided = self
            .decide_with_people(caller, app.id, |picture| {
                let event = set(&picture.app, find(&picture.app, named)?)?;
                Ok((event.into_iter().collect(), ()))
            })
            .await?;
        let app = self.picture(app.id).await?.app;
        let form = TriggerForm::of(&self.setup.get(), &app, find(&app, named)?);
        decided.answer(self, StatusCode::OK, Shown(form)).await
    }
}
