//! What happened in an app, by the hour.

use std::collections::BTreeMap;

use axum::{Json as Answer, extract::State};
use chrono::{DateTime, TimeDelta, Utc};
use picloud_projections::views::activity;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Plane, access::InApp, events::Scope, page::Page, params::Params, time::Time, write::database};
use crate::problem::Problem;

/// As far back as it is told, when nobody says.
const USUAL: TimeDelta = TimeDelta::days(1);

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Not said: a day ago.
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Activity)]
pub(super) struct Hour {
    /// When it began.
    hour: Time,
    /// How many events of each kind there were.
    events: BTreeMap<String, u64>,
}

/// The hours in which something happened, oldest first.
pub(super) async fn list(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Params(wanted): Params<Wanted>,
) -> Result<Answer<Page<Hour>>, Problem> {
    let until = wanted.until.unwrap_or(DateTime::<Utc>::MAX_UTC);
    let since = wanted.since.unwrap_or_else(|| until.min(Utc::now()) - USUAL);
    plane.fresh(activity::NAME, &Scope::new(&plane, Some(app.id)).await?, None).await?;
    let found = activity::list(&plane.pool, Some(app.id), since, until).await.map_err(|error| database(&error))?;
    let mut items: Vec<Hour> = Vec::new();
    for happened in found {
        let hour = Time(happened.hour);
        if items.last().is_none_or(|last| last.hour != hour) {
            items.push(Hour { hour, events: BTreeMap::new() });
        }
        if let Some(last) = items.last_mut() {
            last.events.insert(happened.kind, happened.events);
        }
    }
    Ok(Answer(Page { items, cursor: None }))
}
