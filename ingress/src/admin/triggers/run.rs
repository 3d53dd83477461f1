//! Runs a trigger's script now, with a sample of what it waits for.

use axum::extract::{Path, State};
use chrono::Utc;
use http::StatusCode;
use picloud_core::{
    id::OutboxId,
    json::has_null_character,
    trigger::{MAX_COPIED_BYTES, Matcher},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::find;
use crate::{
    admin::{
        Plane,
        access::{Caller, InApp},
        body::Json,
        write::{Decided, Shown, Written},
    },
    problem::{Kind, Problem},
};

/// What the run finds in `ctx.event`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TriggerRun)]
pub(in crate::admin) struct Wanted {
    /// Under the kind's name, such as `{"collection": "carts", "key": "7", "op": "set", "value": 1}` of a `kv` trigger.
    /// Not said: an example.
    #[schema(value_type = Option<serde_json::Value>)]
    event: Option<Map<String, Value>>,
}

/// The work that is owed now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TriggerRunOwed)]
pub(in crate::admin) struct Owed {
    /// The item: `GET …/outbox/{item}` shows it until it is done.
    outbox_id: OutboxId,
    /// What the run finds under the kind's name.
    event: Value,
}

/// It is owed like what the trigger itself owes, and waits where that would. One that is disabled can be tried out, too.
pub(in crate::admin) async fn run(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Path((_, named)): Path<(String, String)>,
    Json(wanted): Json<Wanted>,
) -> Result<Written<Shown<Owed>>, Problem> {
    let trigger = find(&app, &named)?;
    let definition = trigger.definition.clone();
    let event = match wanted.event {
        Some(event) => checked(Value::Object(event))?,
        None => definition.when.sample(Utc::now()),
    };
    let matcher =
        Matcher { trigger: trigger.id, when: definition.when, script: definition.script, retry: definition.retry };
    let (outbox_id, owed) = matcher.tried_out(app.id, &caller.actor(), &event);
    let committed = plane.append_events(vec![owed], Vec::new()).await?;
    let decided = Decided { app: Some(app.id), position: committed.last, value: () };
    decided.answer(&plane, StatusCode::ACCEPTED, Shown(Owed { outbox_id, event })).await
}

fn checked(event: Value) -> Result<Value, Problem> {
    let wrong = |detail: String| Err(Problem::new(Kind::InvalidInput, detail).field("event"));
    let json = event.to_string();
    let bytes = json.len();
    if bytes > MAX_COPIED_BYTES {
        return wrong(format!("`event` is {bytes} bytes long: allowed are {MAX_COPIED_BYTES}"));
    }
    if has_null_character(json.as_bytes()) {
        return wrong("`event` has the character U+0000, which cannot be stored".to_owned());
    }
    Ok(event)
}
