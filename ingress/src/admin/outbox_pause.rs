//! `/api/v1/admin/outbox`: whether what is owed may run, on the whole instance.

use axum::{Json as Answer, extract::State};
use http::StatusCode;
use picloud_core::event::{
    Event,
    outbox::{Paused, Resumed},
};
use picloud_projections::setup::OutboxPause;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    AdminPlane, Plane,
    access::Caller,
    body::Json,
    time::Time,
    write::{Shown, Written},
};
use crate::problem::{Kind, Problem};

/// A reason is a line, not a report.
const MAX_REASON_CHARS: usize = 300;

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OutboxPause)]
pub(super) struct PauseForm {
    /// Nothing that is owed begins to run, in any app; calls that are waited for do.
    paused: bool,
    /// Why.
    #[schema(required)]
    reason: Option<String>,
    /// When it was paused or resumed last; null: it never was.
    #[schema(required)]
    changed_at: Option<Time>,
}

impl PauseForm {
    fn of(pause: &OutboxPause) -> Self {
        Self { paused: pause.is_paused, reason: pause.reason.clone(), changed_at: pause.changed_at.map(Time) }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPause {
    /// Why, for whoever finds it paused.
    reason: Option<String>,
}

impl AdminPlane {
    /// Pausing what is paused, and resuming what is not, changes nothing.
    async fn set_outbox(&self, caller: &Caller, event: Event) -> Result<Written<Shown<PauseForm>>, Problem> {
        let to_pause = matches!(event, Event::OutboxPaused(_));
        let decided = self
            .decide_instance(&caller.actor(), |setup| {
                let is_so = setup.outbox.is_paused == to_pause;
                Ok((if is_so { Vec::new() } else { vec![event.clone()] }, ()))
            })
            .await?;
        let form = PauseForm::of(&self.setup.get().outbox);
        decided.answer(self, StatusCode::OK, Shown(form)).await
    }
}

pub(super) async fn show(State(plane): State<Plane>) -> Answer<PauseForm> {
    Answer(PauseForm::of(&plane.setup.get().outbox))
}

pub(super) async fn pause(
    State(plane): State<Plane>,
    caller: Caller,
    Json(new): Json<NewPause>,
) -> Result<Written<Shown<PauseForm>>, Problem> {
    let length = new.reason.as_deref().map_or(0, |reason| reason.chars().count());
    if length > MAX_REASON_CHARS {
        let detail = format!("the reason has {length} characters: {MAX_REASON_CHARS} at most");
        return Err(Problem::new(Kind::InvalidInput, detail).field("reason"));
    }
    plane.set_outbox(&caller, Paused { reason: new.reason }.into()).await
}

pub(super) async fn resume(State(plane): State<Plane>, caller: Caller) -> Result<Written<Shown<PauseForm>>, Problem> {
    plane.set_outbox(&caller, Resumed {}.into()).await
}
