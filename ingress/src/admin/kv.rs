//! Stored values, to be looked at.

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use chrono::Utc;
use picloud_core::{event::Class, state::kv as state};
use picloud_projections::{
    kv::{self, Entry},
    setup::App,
    travel,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{
    AdminPlane, Plane,
    access::{InApp, short},
    events::unreadable,
    moment::{At, was},
    names,
    page::{self, Page},
    params::Params,
    time::Time,
    write::database,
};
use crate::problem::{Kind, Problem};

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Collection {
    name: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KvEntry)]
pub(super) struct EntryForm {
    key: String,
    #[schema(value_type = serde_json::Value)]
    value: Box<RawValue>,
    #[schema(required)]
    expires_at: Option<Time>,
}

impl EntryForm {
    /// As it was.
    fn past(key: String, entry: state::Entry) -> Self {
        let value = RawValue::from_string(entry.value).expect("the log holds JSON");
        Self { key, value, expires_at: entry.expires_at.map(Time) }
    }

    fn of(entry: Entry) -> Self {
        Self { key: entry.key, value: entry.value, expires_at: entry.expires_at.map(Time) }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Only keys that begin so.
    #[serde(default)]
    prefix: String,
    /// What the page before gave.
    cursor: Option<String>,
    /// How many keys the page is of at most.
    #[schema(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// As it was then: a time (RFC 3339), right after an event (`evt_…`), or at a cursor of the app's log. The pages that follow
    /// are of the same moment.
    at: Option<String>,
}

/// An expired entry reads as absent, swept or not.
fn is_alive(entry: &Entry) -> bool {
    entry.expires_at.is_none_or(|expires_at| expires_at > Utc::now())
}

pub(super) async fn collections(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Params(wanted): Params<page::Wanted>,
) -> Result<Answer<Page<Collection>>, Problem> {
    let names = kv::collections(&plane.pool, app.id).await.map_err(|error| database(&error))?;
    wanted.of(names.into_iter().map(|name| Collection { name }), |collection| collection.name.clone()).map(Answer)
}

pub(super) async fn list(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Path((_, collection)): Path<(String, String)>,
    Params(wanted): Params<Wanted>,
) -> Result<Answer<Page<EntryForm>>, Problem> {
    names::word("collection", &collection)?;
    storable("prefix", &wanted.prefix)?;
    let limit = page::limit(wanted.limit)?;
    if let Some(at) = &wanted.at {
        return list_at(&plane, &app, &collection, &wanted, at, limit).await.map(Answer);
    }
    let after = wanted.cursor.as_deref().map(page::after).transpose()?;
    let found = kv::list(&plane.pool, app.id, &collection, &wanted.prefix, after.as_deref(), limit + 1).await;
    let mut entries = found.map_err(|error| database(&error))?;
    let has_more = entries.len() > limit;
    entries.truncate(limit);
    let cursor = entries.last().filter(|_| has_more).map(|entry| page::cursor(&entry.key));
    Ok(Answer(Page { items: entries.into_iter().filter(is_alive).map(EntryForm::of).collect(), cursor }))
}

/// As it was. The cursor says of when: a time that is named again might be another moment by then.
async fn list_at(
    plane: &AdminPlane,
    app: &App,
    collection: &str,
    wanted: &Wanted,
    at: &str,
    limit: usize,
) -> Result<Page<EntryForm>, Problem> {
    let key = plane.cursor_key(Some(app.id)).await?;
    let (moment, after) = match &wanted.cursor {
        None => (plane.moment(app, at, Class::Data).await?, None),
        Some(cursor) => {
            let (moment, after) = plane.open_place(&key, cursor)?;
            plane.check_kept(moment, at, Class::Data).await?;
            (moment, Some(after))
        }
    };
    let of = (collection, wanted.prefix.as_str());
    let found = plane.past_entries.list(app.id, of, moment, after.as_deref(), limit).await;
    let found = found.map_err(|error| unreadable(&error))?;
    let cursor = found.goes_on_after.map(|last| plane.seal_place(&key, moment, &last));
    let items = found.entries.into_iter().map(|(key, entry)| EntryForm::past(key, entry)).collect();
    Ok(Page { items, cursor })
}

pub(super) async fn show(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Path((_, collection, key)): Path<(String, String, String)>,
    Params(At { at }): Params<At>,
) -> Result<Answer<EntryForm>, Problem> {
    names::word("collection", &collection)?;
    storable("key", &key)?;
    if let Some(at) = at {
        let moment = plane.moment(&app, &at, Class::Data).await?;
        let past = travel::entry(&plane.reader, app.id, &collection, &key, moment).await;
        let what = format!("the key `{}` of the collection `{collection}`", short(&key).escape_debug());
        let entry = was(past.map_err(|error| unreadable(&error))?, &what, moment)?;
        return Ok(Answer(EntryForm::past(key, entry)));
    }
    let found = kv::get(&plane.pool, app.id, &collection, &key).await.map_err(|error| database(&error))?;
    found.filter(is_alive).map(EntryForm::of).map(Answer).ok_or_else(|| {
        let detail = format!("the collection `{collection}` has no key `{}`", short(&key).escape_debug());
        Problem::new(Kind::NotFound, detail)
    })
}

/// U+0000 cannot be asked for: the database has no such text.
fn storable(field: &'static str, text: &str) -> Result<(), Problem> {
    names::text(field, text, usize::MAX)
}
