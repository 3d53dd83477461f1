//! A run, run again against its recording: what it would come to now, or with another version.

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use picloud_core::{
    capability::Capability,
    id::AppId,
    replay::{Candidate, CannotReplay, Replay, Replayed},
};
use picloud_projections::views::invocations::Invocation;

use super::find;
use crate::{
    admin::{
        AdminPlane, Plane,
        access::{Caller, InApp},
        body::Json,
        scripts::candidate::Instead,
    },
    data_plane::outcome,
    problem::{Kind, Problem},
};

pub(in crate::admin) async fn replay(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Path((_, named)): Path<(String, String)>,
    Json(instead): Json<Instead>,
) -> Result<Answer<Replayed>, Problem> {
    // What was recorded is shown.
    caller.must(Capability::AppReadLog, Some(app.id))?;
    let (_, run) = find(&plane, &app, &named).await?;
    let script = app.scripts.iter().find(|script| script.id == run.script);
    let script = script.ok_or_else(|| refused(&run, &CannotReplay::NoScript))?;
    let candidate = instead.candidate(&plane, &caller, &app, script).await?;
    match plane.replay(app.id, &run, candidate).await {
        Some(replayed) => replayed.map(Answer).map_err(|cannot| refused(&run, &cannot)),
        None => {
            let detail = format!("`{}` still runs: what it comes to is not known yet", run.id);
            Err(Problem::new(Kind::Conflict, detail).retry_after(1))
        }
    }
}

impl AdminPlane {
    /// Runs a run again; none, when it is not over.
    pub(in crate::admin) async fn replay(
        &self,
        app: AppId,
        run: &Invocation,
        candidate: Option<Candidate>,
    ) -> Option<Result<Replayed, CannotReplay>> {
        let ended = run.end.as_ref()?.position;
        Some(self.replayer.replay(Replay { app, began: run.position, ended, candidate }).await)
    }
}

/// Why a run is not run again, to whoever asked for that.
fn refused(run: &Invocation, cannot: &CannotReplay) -> Problem {
    match cannot {
        CannotReplay::Unavailable(unavailable) => outcome::not_run(run.id, unavailable),
        cannot => Problem::new(Kind::Conflict, format!("`{}` cannot be run again: {cannot}", run.id)),
    }
}
