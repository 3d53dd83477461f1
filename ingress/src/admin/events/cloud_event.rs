//! An event's public form: CloudEvents 1.0, structured mode.

use std::sync::Arc;

use picloud_core::{
    event::{ActorKind, Event},
    id::{AppId, EventId, HistoryId, InvocationId, RequestId},
    keys::{Cursor, DataKey},
    log::{Position, Recorded},
};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    admin::{AdminPlane, time::Time},
    problem::Problem,
};

/// What absent attributes are left out of, as CloudEvents wants.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct CloudEvent {
    specversion: &'static str,
    id: EventId,
    source: String,
    #[serde(rename = "type")]
    kind: &'static str,
    subject: String,
    time: Time,
    datacontenttype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<String>,
    actorkind: ActorKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    actoraddress: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requestid: Option<RequestId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<EventId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<InvocationId>,
    depth: u16,
    cursor: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<Position>,
    #[schema(value_type = serde_json::Value)]
    data: Box<RawValue>,
}

/// For whom events are shown: an app's own people, or who operates the instance.
#[derive(Clone, Debug)]
pub(in crate::admin) struct Scope {
    /// What cursors are under.
    pub(in crate::admin) key: Arc<DataKey>,
    history: HistoryId,
    is_instance: bool,
}

impl Scope {
    pub(in crate::admin) async fn new(plane: &AdminPlane, app: Option<AppId>) -> Result<Self, Problem> {
        Ok(Self { key: plane.cursor_key(app).await?, history: plane.history, is_instance: app.is_none() })
    }

    /// A position as this audience sees it.
    pub(in crate::admin) fn seal(&self, position: Position) -> String {
        Cursor { history: self.history, position }.seal(&self.key)
    }

    /// An event as this audience sees it: positions and addresses are for operators.
    pub(in crate::admin) fn show(&self, recorded: &Recorded) -> CloudEvent {
        let event = &recorded.event;
        CloudEvent {
            specversion: "1.0",
            id: event.id,
            source: event.app.map_or_else(|| "/".to_owned(), |app| format!("/apps/{app}")),
            kind: Event::kind(&event.event),
            subject: event.subject.clone(),
            time: Time(recorded.at),
            datacontenttype: "application/json",
            actor: event.actor.id.clone(),
            actorkind: event.actor.kind,
            actoraddress: event.actor.address.clone().filter(|_| self.is_instance),
            requestid: event.actor.request_id,
            cause: event.cause,
            root: event.root,
            depth: event.depth,
            cursor: self.seal(recorded.position),
            position: self.is_instance.then_some(recorded.position),
            data: RawValue::from_string(event.data.clone()).expect("the log holds JSON"),
        }
    }
}
