//! `/api/v1/admin/apps/{app}/jobs`: work on many things at once, to be followed and called off.

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use http::StatusCode;
use picloud_core::{
    event::{
        dead_letter::{Closing, Reason},
        job::{Action, CancellationRequested, Chosen},
    },
    id::{JobId, ScriptId},
    log::NewEvent,
};
use picloud_projections::{
    jobs::{self, Job},
    setup::{App, Setup},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    AdminPlane, Plane,
    access::{Caller, InApp, short},
    dead_letters::{BulkAction, who},
    page::{self, Page},
    params::Params,
    time::Time,
    write::{Decided, Shown, Written, database},
};
use crate::problem::{Kind, Problem};

/// What a job does now, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum JobState {
    /// For another job of the app, or for a node.
    Waiting,
    Running,
    /// Somebody wants it to end, and it will.
    Cancelling,
    Done,
    Cancelled,
    Failed,
}

impl JobState {
    fn of(job: &Job) -> Self {
        match &job.ended {
            Some((outcome, _)) => match outcome.as_str() {
                "done" => Self::Done,
                "cancelled" => Self::Cancelled,
                _ => Self::Failed,
            },
            None if job.cancelled.is_some() => Self::Cancelling,
            None if job.is_running => Self::Running,
            None => Self::Waiting,
        }
    }
}

/// How the letters of a job were chosen, of those that were open.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobFilter)]
struct FilterForm {
    #[serde(skip_serializing_if = "Option::is_none")]
    script: Option<ScriptId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    /// `handler_failed`, or not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    resolution: Option<String>,
}

impl FilterForm {
    fn of(chosen: &Chosen) -> Self {
        Self {
            script: chosen.script,
            reason: chosen.reason,
            fingerprint: chosen.fingerprint.clone(),
            resolution: chosen.is_handler_failed.then(|| "handler_failed".to_owned()),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Job)]
pub(super) struct JobForm {
    id: JobId,
    action: BulkAction,
    filter: FilterForm,
    /// How letters are closed.
    #[schema(required)]
    resolution: Option<Closing>,
    /// Why they are closed.
    #[schema(required)]
    reason: Option<String>,
    per_second: u32,
    state: JobState,
    /// How many letters it has.
    total: u32,
    /// How many it has decided about. While it runs these numbers are a few seconds old.
    done: u32,
    /// How many somebody else had decided about by then, or were gone.
    skipped: u32,
    /// How many could not be decided about.
    failed: u32,
    /// Why the last of those could not.
    #[schema(required)]
    trouble: Option<String>,
    /// Why the job could not go on.
    #[schema(required)]
    error: Option<String>,
    started_at: Time,
    started_by: String,
    #[schema(required)]
    progressed_at: Option<Time>,
    /// Who wanted it to end.
    #[schema(required)]
    cancelled_by: Option<String>,
    #[schema(required)]
    ended_at: Option<Time>,
}

impl JobForm {
    pub(super) fn of(setup: &Setup, job: &Job) -> Self {
        let (action, resolution, reason) = match &job.action {
            Action::ReplayLetters => (BulkAction::Replay, None, None),
            Action::ResolveLetters { resolution, reason } => (BulkAction::Resolve, Some(*resolution), reason.clone()),
        };
        Self {
            id: job.id,
            action,
            filter: FilterForm::of(&job.chosen),
            resolution,
            reason,
            per_second: job.per_second,
            state: JobState::of(job),
            total: job.total,
            done: job.counts.done,
            skipped: job.counts.skipped,
            failed: job.counts.failed,
            trouble: job.counts.trouble.clone(),
            error: job.error.clone(),
            started_at: Time(job.started_at),
            started_by: who(setup, Some(&job.actor)),
            progressed_at: job.progressed_at.map(Time),
            cancelled_by: job.cancelled.as_ref().map(|(by, _)| who(setup, Some(by))),
            ended_at: job.ended.as_ref().map(|(_, at)| Time(*at)),
        }
    }
}

pub(super) async fn list(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Params(wanted): Params<page::Wanted>,
) -> Result<Answer<Page<JobForm>>, Problem> {
    let limit = page::limit(wanted.limit)?;
    let before = wanted.cursor.as_deref().map(|cursor| {
        page::after(cursor)?.parse().map_err(|_| {
            let detail = format!("`{}` is not a cursor of this list: begin anew without one", short(cursor));
            Problem::new(Kind::InvalidInput, detail).field("cursor")
        })
    });
    let found = jobs::list(&plane.pool, app.id, before.transpose()?, limit + 1).await;
    let mut jobs = found.map_err(|error| database(&error))?;
    let has_more = jobs.len() > limit;
    jobs.truncate(limit);
    let cursor = jobs.last().filter(|_| has_more).map(|job| page::cursor(&job.id.to_string()));
    let setup = plane.setup.get();
    Ok(Answer(Page { items: jobs.iter().map(|job| JobForm::of(&setup, job)).collect(), cursor }))
}

pub(super) async fn show(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Path((_, named)): Path<(String, String)>,
) -> Result<Answer<JobForm>, Problem> {
    let job = plane.job(&app, &named).await?;
    Ok(Answer(JobForm::of(&plane.setup.get(), &job)))
}

/// Says that somebody wants a job to end; whoever works on it ends it. Saying it again changes nothing.
pub(super) async fn cancel(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Path((_, named)): Path<(String, String)>,
) -> Result<Written<Shown<JobForm>>, Problem> {
    let mut job = plane.job(&app, &named).await?;
    if let Some((outcome, _)) = &job.ended {
        let detail = format!("the job `{}` is over: it is {outcome}", job.id);
        return Err(Problem::new(Kind::Conflict, detail).with("state", outcome));
    }
    let mut position = plane.setup.get().position;
    if job.cancelled.is_none() {
        let event = NewEvent::new(Some(app.id), &caller.actor(), CancellationRequested { job: job.id });
        position = plane.append_events(vec![event], Vec::new()).await?.last;
        job = plane.job(&app, &named).await?;
    }
    let form = JobForm::of(&plane.setup.get(), &job);
    let decided = Decided { app: Some(app.id), position, value: () };
    decided.answer(&plane, StatusCode::OK, Shown(form)).await
}

impl AdminPlane {
    /// A job of an app; another app's is not there.
    pub(super) async fn job(&self, app: &App, named: &str) -> Result<Job, Problem> {
        let found = match named.parse() {
            Ok(id) => jobs::find(&self.pool, id).await.map_err(|error| database(&error))?,
            Err(_) => None,
        };
        found.filter(|job| job.app == app.id).ok_or_else(|| {
            let detail = format!("the app `{}` has no job `{}`", app.slug, short(named));
            Problem::new(Kind::NotFound, detail)
        })
    }
}
