//! `/api/v1/admin/apps/{app}/outbox`: what is owed and not done.

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use picloud_core::{
    event::outbox::{Attempt, Cancelled, Source},
    id::{DeadLetterId, OutboxId, ScriptId, VersionId},
    log::{NewEvent, Position, Read},
    retry::RetryPolicy,
};
use picloud_projections::{
    outbox::{self, Pending},
    setup::App,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    AdminPlane, Plane,
    access::{Caller, InApp, short},
    page::{self, Page},
    params::Params,
    time::Time,
    write::{Decided, NoContent, Refused, Written, database},
};
use crate::problem::{Kind, Problem};

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OutboxItem)]
pub(super) struct ItemForm {
    id: OutboxId,
    /// `waiting`, `running`, `delivered`, `dead` or `cancelled`.
    state: String,
    source: Source,
    script: ScriptId,
    #[schema(required)]
    script_name: Option<String>,
    /// Not the active one, but this.
    #[schema(required)]
    version: Option<VersionId>,
    #[schema(required)]
    lane: Option<String>,
    priority: i16,
    retry: RetryPolicy,
    /// What failed so far.
    attempts: Vec<Attempt>,
    enqueued_at: Time,
    due_at: Time,
    #[schema(required)]
    ended_at: Option<Time>,
    /// The letter that it tries again.
    #[schema(required)]
    replay_of: Option<DeadLetterId>,
}

impl ItemForm {
    fn of(app: &App, item: Pending) -> Self {
        let enqueued = item.enqueued;
        let script = app.scripts.iter().find(|script| script.id == enqueued.script);
        let waiting = if item.is_running { "running" } else { "waiting" };
        Self {
            id: item.id,
            state: item.ended.as_ref().map_or(waiting, |(outcome, _)| outcome).to_owned(),
            source: enqueued.source,
            script: enqueued.script,
            script_name: script.map(|script| script.name.clone()),
            version: enqueued.version,
            lane: enqueued.lane,
            priority: enqueued.priority,
            retry: enqueued.retry,
            attempts: item.failed,
            enqueued_at: Time(item.enqueued_at),
            due_at: Time(item.due_at),
            ended_at: item.ended.map(|(_, at)| Time(at)),
            replay_of: enqueued.replay_of,
        }
    }
}

pub(super) async fn list(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Params(wanted): Params<page::Wanted>,
) -> Result<Answer<Page<ItemForm>>, Problem> {
    let limit = page::limit(wanted.limit)?;
    let key = plane.cursor_key(Some(app.id)).await?;
    let after = wanted.cursor.as_deref().map(|cursor| plane.open(&key, "cursor", cursor)).transpose()?;
    let found = outbox::list(&plane.pool, app.id, after.unwrap_or(Position::ZERO), limit + 1).await;
    let mut items = found.map_err(|error| database(&error))?;
    let has_more = items.len() > limit;
    items.truncate(limit);
    let cursor = items.last().filter(|_| has_more).map(|item| plane.seal(&key, item.position));
    Ok(Answer(Page { items: items.into_iter().map(|item| ItemForm::of(&app, item)).collect(), cursor }))
}

pub(super) async fn show(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Path((_, named)): Path<(String, String)>,
) -> Result<Answer<ItemForm>, Problem> {
    let item = plane.item(&app, &named).await?;
    Ok(Answer(ItemForm::of(&app, item)))
}

/// Takes work back. A run under way writes nothing.
pub(super) async fn cancel(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Path((_, named)): Path<(String, String)>,
) -> Result<Written<NoContent>, Problem> {
    let item = plane.item(&app, &named).await?.id;
    let event = NewEvent::new(Some(app.id), &caller.actor(), Cancelled { item });
    match plane.append_events(vec![event], vec![Read::Owed { item }]).await {
        Ok(committed) => {
            let decided = Decided { app: Some(app.id), position: committed.last, value: () };
            decided.no_content(&plane).await
        }
        Err(Refused::Stale) => {
            // Outcomes that nobody waits for are not kept beside the log.
            Err(match plane.item(&app, &named).await.ok().and_then(|item| item.ended) {
                Some((outcome, _)) => {
                    let detail = format!("the item `{item}` is over: it is {outcome}");
                    Problem::new(Kind::Conflict, detail).with("state", outcome)
                }
                None => Problem::new(Kind::Conflict, format!("the item `{item}` has just ended; its events say how")),
            })
        }
        Err(refused) => Err(refused.into()),
    }
}

impl AdminPlane {
    async fn item(&self, app: &App, named: &str) -> Result<Pending, Problem> {
        let found = match named.parse() {
            Ok(id) => outbox::find(&self.pool, id).await.map_err(|error| database(&error))?,
            Err(_) => None,
        };
        found.filter(|item| item.app == app.id).ok_or_else(|| {
            let detail = format!("the app `{}` has no item `{}` in its outbox", app.slug, short(named));
            Problem::new(Kind::NotFound, detail)
        })
    }
}
