//! Queues: what waits in them, how many of their messages are worked on at once, and whether any are.
//!
//! A queue is there as soon as a trigger takes from it or something is said of it. Consumers are triggers of kind `queue`.

use std::collections::BTreeSet;

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use http::StatusCode;
use picloud_core::{
    event::{
        Event,
        queue::{Configured, Paused, Resumed},
    },
    id::{ScriptId, TriggerId},
    log::Position,
};
use picloud_projections::{
    queues::{self, Load, Loads},
    setup::{App, Trigger},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    AdminPlane, Plane,
    access::{Caller, InApp, short},
    body::Json,
    etag::{IfMatch, Versioned},
    names,
    page::{self, Page},
    params::Params,
    write::{Decided, Shown, Written, database},
};
use crate::problem::{Kind, Problem};

/// The most messages of a queue that each consumer can be allowed to work on at once.
const MAX_CONCURRENCY: u32 = 1_000;

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Queue)]
pub(super) struct QueueForm {
    name: String,
    /// How many of its messages each consumer works on at once; null is as many as there is room for.
    #[schema(required)]
    max_concurrency: Option<u32>,
    /// Whether its messages wait.
    paused: bool,
    consumers: Vec<Consumer>,
    /// How many messages wait: for their turn, for their time, or because they are held back.
    waiting: usize,
    /// How many messages are being worked on.
    running: usize,
    /// Whether there are no more than that: the first ten thousand items of the app are counted.
    is_exact: bool,
}

/// A trigger that takes from a queue. Each gets every message.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QueueConsumer)]
struct Consumer {
    trigger: TriggerId,
    script: ScriptId,
    #[schema(required)]
    script_name: Option<String>,
    enabled: bool,
    paused: bool,
}

impl Consumer {
    fn of(app: &App, trigger: &Trigger) -> Self {
        let script = trigger.definition.script;
        Self {
            trigger: trigger.id,
            script,
            script_name: app.scripts.iter().find(|known| known.id == script).map(|script| script.name.clone()),
            enabled: trigger.is_enabled,
            paused: trigger.is_paused,
        }
    }
}

impl QueueForm {
    fn of(app: &App, name: &str, loads: &Loads) -> Self {
        let said = app.queues.get(name);
        let consumers = || consumers(app, name);
        let load = |of: fn(&Load) -> usize| {
            consumers().filter_map(|trigger| loads.behind.get(&trigger.id.into())).map(of).sum()
        };
        Self {
            name: name.to_owned(),
            max_concurrency: said.and_then(|queue| queue.max_concurrency),
            paused: said.is_some_and(|queue| queue.is_paused),
            waiting: load(|load| load.waiting),
            running: load(|load| load.running),
            consumers: consumers().map(|trigger| Consumer::of(app, trigger)).collect(),
            is_exact: loads.is_exact,
        }
    }
}

fn consumers<'a>(app: &'a App, name: &'a str) -> impl Iterator<Item = &'a Trigger> {
    app.triggers.iter().filter(move |trigger| trigger.queue() == Some(name))
}

/// All that are there, in order.
fn all(app: &App) -> BTreeSet<&str> {
    app.triggers.iter().filter_map(Trigger::queue).chain(app.queues.keys().map(String::as_str)).collect()
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = QueueSettings)]
pub(super) struct Settings {
    /// How many of its messages each consumer works on at once, 1 to 1000; null, or not said, is as many as there is room
    /// for.
    #[schema(minimum = 1, maximum = 1000)]
    max_concurrency: Option<u32>,
}

/// Checks how many messages are to be worked on at once.
pub(super) fn check_concurrency(most: Option<u32>) -> Result<(), Problem> {
    match most {
        None | Some(1..=MAX_CONCURRENCY) => Ok(()),
        Some(most) => {
            let detail = format!("`max_concurrency` is {most}: 1 to {MAX_CONCURRENCY} are allowed, or null");
            Err(Problem::new(Kind::InvalidInput, detail).field("max_concurrency"))
        }
    }
}

pub(super) async fn list(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Params(wanted): Params<page::Wanted>,
) -> Result<Answer<Page<QueueForm>>, Problem> {
    let loads = queues::loads(&plane.pool, app.id).await.map_err(|error| database(&error))?;
    wanted
        .of(all(&app).into_iter().map(|name| QueueForm::of(&app, name, &loads)), |queue| queue.name.clone())
        .map(Answer)
}

pub(super) async fn show(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Path((_, name)): Path<(String, String)>,
) -> Result<Versioned<QueueForm>, Problem> {
    if !all(&app).contains(name.as_str()) {
        let detail = format!(
            "the app `{}` has no queue `{}`: no trigger takes from it, and nothing is said of it",
            app.slug,
            short(&name)
        );
        return Err(Problem::new(Kind::NotFound, detail).field("queue"));
    }
    let form = plane.queue(&app, &name).await?;
    plane.versioned(Some(app.id), version(&app, &name), form).await
}

/// The version of what is said of a queue, nothing included.
fn version(app: &App, name: &str) -> Position {
    app.queues.get(name).map_or(Position::ZERO, |queue| queue.position)
}

pub(super) async fn configure(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Path((_, name)): Path<(String, String)>,
    if_match: IfMatch,
    Json(wanted): Json<Settings>,
) -> Result<Written<Shown<QueueForm>>, Problem> {
    names::word("queue", &name)?;
    check_concurrency(wanted.max_concurrency)?;
    let expected = if_match.of(&plane, Some(app.id)).await?;
    let decided = plane
        .decide(&caller, app.id, |picture| {
            expected.check(version(&picture.app, &name))?;
            let before = picture.app.queues.get(&name);
            let configured = Configured { queue: name.clone(), max_concurrency: wanted.max_concurrency };
            let is_same = before.is_some_and(|queue| queue.max_concurrency == wanted.max_concurrency);
            Ok((if is_same { Vec::new() } else { vec![configured.into()] }, ()))
        })
        .await?;
    plane.answer_queue(&decided, &app, &name).await
}

/// Its messages wait until it is resumed; what is being worked on ends.
pub(super) async fn pause(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Path((_, name)): Path<(String, String)>,
) -> Result<Written<Shown<QueueForm>>, Problem> {
    let paused = Paused { queue: name.clone() };
    plane.set_queue(&caller, &app, &name, |is_paused| (!is_paused).then(|| paused.clone().into())).await
}

pub(super) async fn resume(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Path((_, name)): Path<(String, String)>,
) -> Result<Written<Shown<QueueForm>>, Problem> {
    let resumed = Resumed { queue: name.clone() };
    plane.set_queue(&caller, &app, &name, |is_paused| is_paused.then(|| resumed.clone().into())).await
}

impl AdminPlane {
    async fn queue(&self, app: &App, name: &str) -> Result<QueueForm, Problem> {
        let loads = queues::loads(&self.pool, app.id).await.map_err(|error| database(&error))?;
        Ok(QueueForm::of(app, name, &loads))
    }

    /// What is so already makes no event.
    async fn set_queue(
        &self,
        caller: &Caller,
        app: &App,
        name: &str,
        set: impl Fn(bool) -> Option<Event> + Send + Sync,
    ) -> Result<Written<Shown<QueueForm>>, Problem> {
        names::word("queue", name)?;
        let decided = self
            .decide(caller, app.id, |picture| {
                let is_paused = picture.app.queues.get(name).is_some_and(|queue| queue.is_paused);
                Ok((set(is_paused).into_iter().collect(), ()))
            })
            .await?;
        self.answer_queue(&decided, app, name).await
    }

    async fn answer_queue(
        &self,
        decided: &Decided<()>,
        app: &App,
        name: &str,
    ) -> Result<Written<Shown<QueueForm>>, Problem> {
        let app = self.picture(app.id).await?.app;
        let form = self.queue(&app, name).await?;
        decided.answer(self, StatusCode::OK, Shown(form)).await
    }
}
