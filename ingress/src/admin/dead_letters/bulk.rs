//! `POST …/dead_letters/bulk`: the same decision about many letters, made by a job.

use axum::{
    extract::State,
    response::{IntoResponse as _, Json as Answer},
};
use http::StatusCode;
use picloud_core::{
    event::{
        dead_letter::Closing,
        job::{Action, Chosen, Started},
    },
    id::{DeadLetterId, JobId},
    log::NewEvent,
};
use picloud_projections::{dead_letters, jobs, setup::App};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    super::{
        Plane,
        access::{Caller, InApp},
        body::Json,
        jobs::JobForm,
        names,
        openapi::Told,
        write::{Decided, Shown, Written, database},
    },
    Narrowed, Resolution,
};
use crate::problem::{Kind, Problem};

/// The most letters that a job may have: they are in the event that begins it.
const MOST: usize = 10_000;

/// The most jobs of an app that may be open, most of them waiting for the others.
const MOST_OPEN: usize = 20;

/// So many letters a second when nobody says, and the most that may be said: more than a node does.
const PER_SECOND: u32 = 200;
const MOST_PER_SECOND: u32 = 10_000;

/// What is done to each letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::admin) enum BulkAction {
    Replay,
    Resolve,
}

/// A decision about all letters that match.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BulkDecision)]
pub(in crate::admin) struct Wanted {
    action: BulkAction,
    /// Which letters, of those that are open.
    #[serde(default)]
    filter: Narrowed,
    /// How they are closed.
    resolution: Option<Closing>,
    /// Why they are closed.
    reason: Option<String>,
    /// How many letters a second are decided about at most.
    #[schema(minimum = 1, maximum = 10000, default = 200)]
    per_second: Option<u32>,
    /// Only say how many letters match.
    #[serde(default)]
    dry_run: bool,
}

/// What would be done, or who does it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = BulkAnswer)]
pub(in crate::admin) enum Answered {
    DryRun(Matching),
    Started(Box<JobForm>),
}

/// How many open letters match.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BulkMatching)]
pub(in crate::admin) struct Matching {
    matching: usize,
}

pub(in crate::admin) async fn decide(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Json(wanted): Json<Wanted>,
) -> Result<Told<Written<Shown<Answered>>>, Problem> {
    let action = wanted.action()?;
    let per_second = wanted.per_second()?;
    let filter = wanted.open(&app)?;
    if wanted.dry_run {
        let matching = dead_letters::count(&plane.pool, app.id, &filter).await.map_err(|error| database(&error))?;
        return Ok(Answer(Answered::DryRun(Matching { matching })).into_response().into());
    }
    let chosen = Chosen {
        script: filter.script,
        reason: wanted.filter.reason,
        fingerprint: filter.fingerprint.clone(),
        is_handler_failed: filter.resolution.is_some(),
    };
    let letters = plane.choose(&app, &filter).await?;
    let started = Started { job: JobId::generate(), action, chosen, per_second, letters };
    let job = started.job;
    let event = NewEvent::new(Some(app.id), &caller.actor(), started);
    let committed = plane.append_events(vec![event], Vec::new()).await?;
    let decided = Decided { app: Some(app.id), position: committed.last, value: () };
    let form = plane.job(&app, &job.to_string()).await?;
    let form = Answered::Started(Box::new(JobForm::of(&plane.setup.get(), &form)));
    Ok(decided.answer(&plane, StatusCode::ACCEPTED, Shown(form)).await?.into_response().into())
}

impl Wanted {
    fn action(&self) -> Result<Action, Problem> {
        if let Some(reason) = &self.reason {
            names::text("reason", reason, 1_000)?;
        }
        match self.action {
            BulkAction::Resolve => Ok(Action::ResolveLetters {
                resolution: self.resolution.unwrap_or_default(),
                reason: self.reason.clone(),
            }),
            BulkAction::Replay => {
                let field = match (&self.resolution, &self.reason) {
                    (None, None) => return Ok(Action::ReplayLetters),
                    (Some(_), _) => "resolution",
                    (None, Some(_)) => "reason",
                };
                let detail = format!("`{field}` goes with `resolve`: a letter that is tried again has none");
                Err(Problem::new(Kind::InvalidInput, detail).field(field))
            }
        }
    }

    fn per_second(&self) -> Result<u32, Problem> {
        match self.per_second {
            None => Ok(PER_SECOND),
            Some(asked) if (1..=MOST_PER_SECOND).contains(&asked) => Ok(asked),
            Some(asked) => {
                let detail = format!("per_second is {asked}: allowed is 1 to {MOST_PER_SECOND}");
                Err(Problem::new(Kind::InvalidInput, detail).field("per_second"))
            }
        }
    }

    /// The filter, on those about which something can be decided.
    fn open(&self, app: &App) -> Result<dead_letters::Filter, Problem> {
        if let Some(closed) = self.filter.resolution.filter(|resolution| *resolution != Resolution::HandlerFailed) {
            let detail =
                format!("letters that are `{}` are closed: nothing can be decided about them", closed.as_str());
            return Err(Problem::new(Kind::InvalidInput, detail).field("filter.resolution"));
        }
        Ok(dead_letters::Filter { is_unresolved: true, ..self.filter.filter(app)? })
    }
}

impl super::AdminPlane {
    /// The letters that match now, in the order in which they came; refused when they are more than a job takes.
    async fn choose(&self, app: &App, filter: &dead_letters::Filter) -> Result<Vec<DeadLetterId>, Problem> {
        let open = jobs::open(&self.pool, app.id).await.map_err(|error| database(&error))?;
        if open >= MOST_OPEN {
            let detail = format!("{open} jobs of this app are not over: wait for one of them, or cancel it");
            return Err(Problem::new(Kind::Conflict, detail).with("open", open));
        }
        let found = dead_letters::matching(&self.pool, app.id, filter, None, MOST + 1).await;
        let mut letters = found.map_err(|error| database(&error))?;
        if letters.len() > MOST {
            let matching = dead_letters::count(&self.pool, app.id, filter).await.map_err(|error| database(&error))?;
            let detail = format!(
                "{matching} letters match, and a job takes {MOST} at most: nothing was begun; narrow the filter, by \
                 script, reason or fingerprint"
            );
            let problem = Problem::new(Kind::InvalidInput, detail).field("filter");
            return Err(problem.with("matching", matching).with("allowed", MOST));
        }
        letters.reverse();
        Ok(letters)
    }
}
