//! One run in full: what happened in its course, what it logged, what it received and answered.

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use picloud_core::{
    event::Event,
    id::{AppId, OutboxId},
    keys::{DataKey, Purpose, Sealed},
    log::{
        Position, Recorded,
        read::{Direction, Filter},
    },
    run::LogLine,
};
use picloud_projections::views::invocations::Invocation;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{Run, find};
use crate::{
    admin::{
        AdminPlane, Plane,
        access::InApp,
        events::{CloudEvent, unreadable},
        write::database,
    },
    problem::Problem,
};

/// More events than this are to be looked up by `?root=` in the list of events.
const MAX_TIMELINE: usize = 1_000;

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InvocationDetail)]
pub(in crate::admin) struct Detail {
    #[serde(flatten)]
    run: Run,
    logs: Vec<LogLine>,
    /// How many lines were cut for being over the run's limit.
    logs_dropped: u32,
    /// What it received; null where that was not recorded, or its key was erased.
    #[schema(value_type = serde_json::Value)]
    request: Option<Box<RawValue>>,
    /// What it answered.
    #[schema(value_type = serde_json::Value)]
    response: Option<Box<RawValue>>,
    /// What it learnt from outside itself.
    #[schema(value_type = serde_json::Value)]
    journal: Option<Box<RawValue>>,
    /// Its events and those that follow from it, in order.
    timeline: Vec<CloudEvent>,
}

pub(in crate::admin) async fn show(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Path((_, named)): Path<(String, String)>,
) -> Result<Answer<Detail>, Problem> {
    let (scope, run) = find(&plane, &app, &named).await?;
    let named = run.id.to_string();
    let events = plane.timeline(&run, app.id).await?;
    let recordings = Recordings { key: &scope.key, invocation: &named };
    let mut detail = Detail {
        run: Run::of(&app, run),
        logs: Vec::new(),
        logs_dropped: 0,
        request: None,
        response: None,
        journal: None,
        timeline: events.iter().map(|recorded| scope.show(recorded)).collect(),
    };
    for recorded in events.iter().filter(|recorded| recorded.event.subject == named) {
        match &recorded.event.event {
            Event::InvocationStarted(started) => {
                detail.request = recordings.open("/request", started.recording.as_ref());
            }
            Event::InvocationLogged(logged) => {
                detail.logs.extend(logged.lines.iter().cloned());
                detail.logs_dropped += logged.dropped;
            }
            Event::InvocationJournaled(journaled) => {
                detail.journal = recordings.open("/journal", Some(&journaled.recording));
            }
            Event::InvocationCompleted(completed) => {
                detail.response = recordings.open("/response", completed.recording.as_ref());
            }
            _ => {}
        }
    }
    Ok(Answer(detail))
}

impl AdminPlane {
    /// What happened to a run and what followed from it.
    async fn timeline(&self, run: &Invocation, app: AppId) -> Result<Vec<Recorded>, Problem> {
        let head = self.reader.head().await.map_err(|error| database(&error))?;
        let since = Position(run.position.0 - 1);
        let ended = run.end.as_ref().map_or(head, |ended| ended.position);
        let of_app = Filter { app: Some(Some(app)), ..Filter::default() };
        let own = Filter { subject: Some(run.id.to_string()), ..of_app.clone() };
        let mut events = self.events_between(&own, since, ended, MAX_TIMELINE).await?;
        // Of a chain that it began itself, or that began with the item that it is an attempt at.
        let begun = [Some(run.id.ulid()), run.item.map(OutboxId::ulid)];
        let root =
            events.iter().filter_map(|recorded| recorded.event.root).find(|root| begun.contains(&Some(root.ulid())));
        let chain = Filter { root: Some(root.unwrap_or(run.id).uuid()), ..of_app };
        events.extend(self.events_between(&chain, since, head, MAX_TIMELINE).await?);
        events.sort_by_key(|recorded| recorded.position);
        events.dedup_by_key(|recorded| recorded.position);
        events.truncate(MAX_TIMELINE);
        Ok(events)
    }

    async fn events_between(
        &self,
        filter: &Filter,
        after: Position,
        up_to: Position,
        limit: usize,
    ) -> Result<Vec<Recorded>, Problem> {
        let found = self.reader.list(filter, Direction::Forward, after, up_to, limit).await;
        found.map_err(|error| unreadable(&error))
    }
}

/// Opens what was recorded of one run.
struct Recordings<'a> {
    key: &'a DataKey,
    invocation: &'a str,
}

impl Recordings<'_> {
    fn open(&self, part: &str, sealed: Option<&Sealed>) -> Option<Box<RawValue>> {
        let bound_to = format!("{}{part}", self.invocation);
        let plain = self.key.open(Purpose::Recording, bound_to.as_bytes(), sealed?).ok()?;
        serde_json::from_slice(&plain).ok()
    }
}
