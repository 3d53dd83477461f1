//! What subscribers of topics take: tokens, and messages to be listened to.

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use chrono::Utc;
use picloud_core::{
    event::{message::Published, topic::KeyRotated},
    json::has_null_character,
    keys::Grant,
    limits::Limits,
    log::NewEvent,
    name,
    trigger::Invalid,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{
    Plane,
    access::{Caller, InApp, short},
    body::Json,
    time::Time,
    write::{Decided, NoContent, Written},
};
use crate::problem::{Kind, Problem};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewSubscriberToken)]
pub(super) struct NewToken {
    /// Topics, `prefix.*` or `*`; up to a hundred.
    topics: Vec<String>,
    /// For how many seconds it is good, up to a week; not said: an hour.
    #[schema(minimum = 1, maximum = 604_800)]
    ttl_s: Option<i64>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SubscriberToken)]
pub(super) struct TokenForm {
    /// To be sent as `Authorization: Bearer …`, or `?token=…`.
    token: String,
    expires_at: Time,
}

/// The key of the app's tokens is made with the first.
pub(super) async fn mint(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Json(NewToken { topics, ttl_s }): Json<NewToken>,
) -> Result<Answer<TokenForm>, Problem> {
    let invalid = |invalid: Invalid| Problem::new(Kind::InvalidInput, invalid.message).field(invalid.field);
    let grant = Grant::new(topics, ttl_s, Utc::now()).map_err(invalid)?;
    let key = plane.keyring.topic_key(app.id).await.map_err(|error| Problem::internal(&error))?;
    Ok(Answer(TokenForm { token: key.sign(app.id, &grant), expires_at: Time(grant.expires_at) }))
}

/// All tokens there are become worthless; streams that are open end with their time.
pub(super) async fn rotate(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
) -> Result<Written<NoContent>, Problem> {
    let key = plane.keyring.rotate_topic_key(app.id).await.map_err(|error| Problem::internal(&error))?;
    let rotated = vec![KeyRotated { key }.into()];
    let committed = plane.append(&caller, Some(app.id), rotated, Vec::new()).await?;
    Decided { app: Some(app.id), position: committed.last, value: () }.no_content(&plane).await
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewMessage)]
pub(super) struct NewMessage {
    /// Anything.
    #[schema(value_type = serde_json::Value)]
    message: Box<RawValue>,
}

/// As `pubsub::publish` in a script: triggers run for it, and whoever listens is told.
pub(super) async fn publish(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Path((_, topic)): Path<(String, String)>,
    Json(NewMessage { message }): Json<NewMessage>,
) -> Result<Written<NoContent>, Problem> {
    if !name::is_topic(&topic) {
        let detail =
            format!("`{}` is no topic to publish to: give names ({}) joined by dots", short(&topic), name::RULE);
        return Err(Problem::new(Kind::InvalidInput, detail).field("topic"));
    }
    let (bytes, most) = (message.get().len(), Limits::DEFAULT.max_kv_value_bytes);
    if bytes > most {
        let detail = format!("`message` is {bytes} bytes long: allowed are {most}");
        return Err(Problem::new(Kind::InvalidInput, detail).field("message"));
    }
    if has_null_character(message.get().as_bytes()) {
        let detail = "`message` has the character U+0000, which cannot be stored";
        return Err(Problem::new(Kind::InvalidInput, detail).field("message"));
    }
    let event = NewEvent::new(Some(app.id), &caller.actor(), Published { topic, message });
    let committed = plane.append_events(vec![event], Vec::new()).await?;
    Decided { app: Some(app.id), position: committed.last, value: () }.no_content(&plane).await
}
