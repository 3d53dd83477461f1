//! One run in full: what happened in its course, what it logged, what it received and answered.

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use chrono::{DateTime, TimeDelta, Utc};
use picloud_core::{
    event::Event,
    id::{AppId, InvocationId},
    keys::{DataKey, Purpose, Sealed},
    log::{
        Position, Recorded,
        read::{Direction, Filter},
    },
    run::LogLine,
};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{Run, not_found};
use crate::{
    admin::{
        AdminPlane, Plane,
        access::InApp,
        events::{CloudEvent, Scope, unreadable},
        write::database,
    },
    problem::Problem,
};

/// By how much the clock of a node may be ahead of the database's before a run is searched for in the whole log.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::minutes(1);

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
    let invocation: InvocationId = named.parse().map_err(|_| not_found(&app.slug, &named))?;
    // However the id was spelt in the path.
    let named = invocation.to_string();
    let scope = Scope::new(&plane, Some(app.id)).await?;
    let events = plane.timeline(app.id, invocation).await?;
    let begin = events.iter().find_map(|recorded| match &recorded.event.event {
        Event::InvocationStarted(started) if started.invocation == invocation => Some((recorded, started)),
        _ => None,
    });
    let (begin, started) = begin.ok_or_else(|| not_found(&app.slug, &named))?;
    let of_run = || events.iter().filter(|recorded| recorded.event.subject == named);
    let end = of_run()
        .find(|recorded| matches!(recorded.event.event, Event::InvocationCompleted(_) | Event::InvocationFailed(_)));
    let recordings = Recordings { key: &scope.key, invocation: &named };
    let mut detail = Detail {
        run: Run::of(started, begin, end),
        logs: Vec::new(),
        logs_dropped: 0,
        request: recordings.open("/request", started.recording.as_ref()),
        response: None,
        journal: None,
        timeline: events.iter().map(|recorded| scope.show(recorded)).collect(),
    };
    for recorded in of_run() {
        match &recorded.event.event {
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
    /// What happened to a run and what followed from it. Empty when there is no such run.
    async fn timeline(&self, app: AppId, invocation: InvocationId) -> Result<Vec<Recorded>, Problem> {
        let head = self.reader.head().await.map_err(|error| database(&error))?;
        // Its name says about when it began: what was long before need not be looked at.
        let named_at = DateTime::<Utc>::from(invocation.ulid().datetime());
        let (near, _) = self.around(named_at - CLOCKS_DIFFER, head).await?;
        let of_app = Filter { app: Some(Some(app)), ..Filter::default() };
        let begin = Filter {
            kinds: vec!["invocation.started".to_owned()],
            subject: Some(invocation.to_string()),
            ..of_app.clone()
        };
        let mut found = self.events_between(&begin, near, head, 1).await?;
        if found.is_empty() {
            found = self.events_between(&begin, Position::ZERO, near, 1).await?;
        }
        let Some(started) = found.pop() else { return Ok(Vec::new()) };
        let since = Position(started.position.0 - 1);
        let own = Filter { subject: Some(invocation.to_string()), ..of_app.clone() };
        let chain = Filter { root: Some(invocation.uuid()), ..of_app };
        let mut events = self.events_between(&own, since, head, MAX_TIMELINE).await?;
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
