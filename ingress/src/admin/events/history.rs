//! The history of one thing: who changed it, when, and from what to what.

use std::collections::BTreeMap;

use axum::{Json as Answer, extract::State};
use picloud_core::{
    event::{ActorKind, Event},
    id::{EventId, RequestId},
    log::{Position, read::Direction},
};
use picloud_projections::{
    setup::{App, Setup},
    travel,
    views::Page,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{Scope, unreadable};
use crate::{
    admin::{
        Plane,
        access::InApp,
        dead_letters::who,
        deploy::diff,
        names, page,
        params::Params,
        scripts,
        searched::{Found, Searched},
        time::Time,
        write::database,
    },
    problem::Problem,
};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Wanted {
    /// As events name it: `rte_…`, `trg_…`, `scr_…`, `dl_…`, `kv:carts/42`; a script also as `script:checkout`.
    subject: String,
    /// What the page before gave.
    cursor: Option<String>,
    #[schema(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
}

/// One event about a thing.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HistoryEntry)]
pub(in crate::admin) struct Entry {
    /// The event.
    id: EventId,
    time: Time,
    #[serde(rename = "type")]
    kind: &'static str,
    /// Who did it, as people know them.
    by: String,
    actor_kind: ActorKind,
    #[schema(required)]
    request_id: Option<RequestId>,
    /// What is different since. Empty: nothing that is shown.
    changes: Vec<Change>,
    /// For a script's new version: a unified diff of its source from the version before.
    #[schema(required)]
    diff: Option<String>,
    /// With `at`: how it was right after this.
    cursor: String,
}

/// One field that is different.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = HistoryChange)]
pub(in crate::admin) struct Change {
    /// With dots where fields lie in others.
    field: String,
    /// Null: it was not there.
    #[schema(required)]
    before: Option<Value>,
    /// Null: it is not there any more.
    #[schema(required)]
    after: Option<Value>,
}

pub(in crate::admin) async fn show(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Params(wanted): Params<Wanted>,
) -> Result<Answer<Searched<Entry>>, Problem> {
    let limit = page::limit(wanted.limit)?;
    names::text("subject", &wanted.subject, usize::MAX)?;
    let subject = subject(&app, &wanted.subject)?;
    let scope = Scope::new(&plane, Some(app.id)).await?;
    let up_to = match wanted.cursor {
        Some(cursor) => Position(plane.open(&scope.key, "cursor", &cursor)?.0 - 1),
        None => plane.reader.head().await.map_err(|error| database(&error))?,
    };
    let found = travel::history(&plane.reader, app.id, &subject, up_to, limit + 1, plane.searching).await;
    let travel::History { changes: items, stopped } = found.map_err(|error| unreadable(&error))?;
    let page = Page { direction: Direction::Backward, after: Position::ZERO, up_to, limit };
    let setup = plane.setup.get();
    let show = |change| Entry::of(&setup, &scope, change);
    let found = Found { items, stopped };
    plane.searched(&scope, page, found, |change| change.recorded.position, show).await.map(Answer)
}

/// What is meant: scripts are known by their names, too.
fn subject(app: &App, said: &str) -> Result<String, Problem> {
    match said.strip_prefix("script:") {
        Some(name) => Ok(scripts::find(app, name)?.id.to_string()),
        None => Ok(said.to_owned()),
    }
}

impl Entry {
    fn of(setup: &Setup, scope: &Scope, change: travel::Change) -> Self {
        let travel::Change { recorded, before, after, sources } = change;
        let event = &recorded.event;
        Self {
            id: event.id,
            time: Time(recorded.at),
            kind: Event::kind(&event.event),
            by: who(setup, Some(&event.actor)),
            actor_kind: event.actor.kind,
            request_id: event.actor.request_id,
            changes: changes(before.as_ref(), after.as_ref()),
            diff: sources.and_then(|(before, after)| diff(before.as_deref().unwrap_or_default(), &after)),
            cursor: scope.seal(recorded.position),
        }
    }
}

/// The fields that differ, in the order of their names.
fn changes(before: Option<&Value>, after: Option<&Value>) -> Vec<Change> {
    let mut fields: BTreeMap<String, (Option<Value>, Option<Value>)> = BTreeMap::new();
    let mut put = |value: Option<&Value>, is_after: bool| {
        let Some(Value::Object(object)) = value else { return };
        flatten("", object, &mut |field, value| {
            let pair = fields.entry(field).or_default();
            *(if is_after { &mut pair.1 } else { &mut pair.0 }) = Some(value.clone()).filter(|value| !value.is_null());
        });
    };
    put(before, false);
    put(after, true);
    let differ = fields.into_iter().filter(|(_, (before, after))| before != after);
    differ.map(|(field, (before, after))| Change { field, before, after }).collect()
}

/// Visits what lies in an object; what lies in lists is shown with the list.
fn flatten(prefix: &str, object: &Map<String, Value>, visit: &mut impl FnMut(String, &Value)) {
    for (name, value) in object {
        let field = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Object(inner) if !inner.is_empty() => flatten(&field, inner, visit),
            other => visit(field, other),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_fields_that_differ_are_changes() {
        let before =
            json!({ "path": "/a", "mode": "sync", "rate": null, "cors": { "origins": ["*"], "max_age_s": 5 } });
        let after = json!({ "path": "/b", "mode": "sync", "rate": { "per_second": 3 }, "cors": { "origins": ["*"], "max_age_s": 6 } });
        let change = |field: &str, before: Value, after: Value| {
            let some = |value: Value| Some(value).filter(|value| !value.is_null());
            Change { field: field.to_owned(), before: some(before), after: some(after) }
        };
        let wanted = [
            change("cors.max_age_s", json!(5), json!(6)),
            change("path", json!("/a"), json!("/b")),
            change("rate.per_second", Value::Null, json!(3)),
        ];
        assert_eq!(changes(Some(&before), Some(&after)), wanted);
        assert_eq!(changes(Some(&before), Some(&before)), []);
        assert_eq!(changes(None, Some(&json!({ "a": 1 }))), [change("a", Value::Null, json!(1))]);
        assert_eq!(changes(Some(&json!({ "a": 1 })), None), [change("a", json!(1), Value::Null)]);
    }
}
