//! What a run belongs to, as a tree: what began it, its attempts, what it did, and what it set off.

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use chrono::{DateTime, Utc};
use picloud_core::{
    event::{
        Event,
        outbox::{CarriedForward, Source},
    },
    id::{EventId, InvocationId, ScriptId},
    log::Recorded,
};
use picloud_projections::{
    chain::{self, Node},
    setup::App,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{find, not_found};
use crate::{
    admin::{Plane, access::InApp, events::unreadable, time::Time},
    problem::Problem,
};

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InvocationTree)]
pub(in crate::admin) struct Tree {
    /// What was asked for.
    id: InvocationId,
    /// From what began it on; more than one where what joins them is not in the log any more.
    trees: Vec<Form>,
    /// Whether there is more than is shown; `…/events?root=` lists all.
    is_cut: bool,
}

/// Something that happened.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InvocationTreeNode)]
struct Form {
    kind: Kind,
    /// Of the run, the item of the outbox, the letter, or the event.
    id: String,
    /// What it was: the script that ran or is to run, what was done to what.
    what: String,
    /// How far it is: of runs `running`, `ok`, `failed`; of items `pending`, `delivered`, `dead`, `cancelled`; of letters
    /// `open` or how they were closed.
    #[schema(required)]
    status: Option<String>,
    /// Of a run, which attempt it was; of an item, how many failed.
    #[schema(required)]
    attempts: Option<usize>,
    time: Time,
    #[schema(required)]
    ended_at: Option<Time>,
    /// How long a run ran; how long it took until an item was over.
    #[schema(required)]
    duration_us: Option<u64>,
    /// What went wrong, the last time.
    #[schema(required)]
    error: Option<String>,
    /// When it is tried again.
    #[schema(required)]
    due_at: Option<Time>,
    /// How it began, in the log.
    event: EventId,
    /// What follows from it.
    #[schema(no_recursion)]
    children: Vec<Form>,
}

#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = InvocationTreeKind)]
enum Kind {
    Run,
    Item,
    DeadLetter,
    Event,
}

pub(in crate::admin) async fn show(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Path((_, named)): Path<(String, String)>,
) -> Result<Answer<Tree>, Problem> {
    let (_, run) = find(&plane, &app, &named).await?;
    let mut began = plane.reader.at(&[run.position]).await.map_err(|error| unreadable(&error))?;
    let began = began.remove(&run.position).ok_or_else(|| not_found(&app.slug, &run.id.to_string()))?;
    let chain = chain::chain(&plane.reader, app.id, &began).await.map_err(|error| unreadable(&error))?;
    let trees = chain.trees.into_iter().map(|node| Form::of(&app, node)).collect();
    Ok(Answer(Tree { id: run.id, trees, is_cut: chain.is_cut }))
}

fn script_name(app: &App, id: ScriptId) -> String {
    let script = app.scripts.iter().find(|script| script.id == id);
    script.map_or_else(|| id.to_string(), |script| script.name.clone())
}

impl Form {
    fn of(app: &App, node: Node) -> Self {
        let Node { began, then, children } = node;
        let mut form = Self::began(app, &began);
        for recorded in &then {
            form.went_on(recorded);
        }
        form.children = children.into_iter().map(|child| Self::of(app, child)).collect();
        form
    }

    fn began(app: &App, began: &Recorded) -> Self {
        let event = &began.event;
        let form = Self {
            kind: Kind::Event,
            id: event.subject.clone(),
            what: String::new(),
            status: None,
            attempts: None,
            time: Time(began.at),
            ended_at: None,
            duration_us: None,
            error: None,
            due_at: None,
            event: event.id,
            children: Vec::new(),
        };
        match &event.event {
            Event::InvocationStarted(started) => Self {
                kind: Kind::Run,
                what: script_name(app, started.script),
                status: Some("running".to_owned()),
                attempts: started.item.map(|_| started.attempt.into()),
                ..form
            },
            Event::OutboxEnqueued(enqueued) | Event::OutboxCarriedForward(CarriedForward(enqueued)) => {
                let why = match enqueued.source {
                    Source::AsyncRoute { route } => format!("async route {route}"),
                    Source::Trigger { trigger } => format!("trigger {trigger}"),
                    Source::Invoke => "invoke::later".to_owned(),
                };
                Self {
                    kind: Kind::Item,
                    what: format!("{} ({why})", script_name(app, enqueued.script)),
                    status: Some("pending".to_owned()),
                    time: Time(enqueued.since(began.at)),
                    attempts: Some(enqueued.carried.as_ref().map_or(0, |carried| carried.failed.len())),
                    due_at: enqueued.carried.as_ref().map(|carried| carried.due_at).or(enqueued.due_at).map(Time),
                    ..form
                }
            }
            Event::DeadLetterCreated(created) => Self {
                kind: Kind::DeadLetter,
                what: format!("{} ({})", created.script_name, created.reason.as_str()),
                status: Some("open".to_owned()),
                attempts: Some(created.attempts.len()),
                error: Some(created.error.clone()),
                ..form
            },
            other => Self { id: event.id.to_string(), what: format!("{} {}", other.kind(), event.subject), ..form },
        }
    }

    /// What became of it.
    fn went_on(&mut self, recorded: &Recorded) {
        let at = recorded.at;
        match &recorded.event.event {
            Event::InvocationCompleted(completed) => self.ends("ok", at, Some(completed.duration_us)),
            Event::InvocationFailed(failed) => {
                self.ends("failed", at, Some(failed.duration_us));
                self.error = Some(format!("{}: {}", failed.reason.as_str(), failed.message));
            }
            Event::OutboxRescheduled(rescheduled) => {
                self.attempts = Some(rescheduled.attempt.number.into());
                self.error = Some(rescheduled.attempt.error.clone());
                self.due_at = Some(Time(rescheduled.due_at));
            }
            Event::OutboxDelivered(_) => {
                self.error = None;
                self.ends("delivered", at, None);
            }
            Event::OutboxExhausted(_) => self.ends("dead", at, None),
            Event::OutboxCancelled(_) => self.ends("cancelled", at, None),
            Event::DeadLetterReplayed(_) => self.ends("replayed", at, None),
            Event::DeadLetterResolved(resolved) => self.ends(resolved.resolution.as_str(), at, None),
            Event::DeadLetterHandlerEnded(ended) if self.status.as_deref() == Some("open") && ended.error.is_none() => {
                self.ends("handled_by_script", at, None);
            }
            _ => {}
        }
    }

    fn ends(&mut self, status: &str, at: DateTime<Utc>, duration_us: Option<u64>) {
        self.status = Some(status.to_owned());
        self.ended_at = Some(Time(at));
        self.due_at = None;
        let waited = (at - self.time.0).num_microseconds().and_then(|us| u64::try_from(us).ok());
        self.duration_us = duration_us.or(waited);
    }
}
