//! What another version would have made of a script's last runs, before it is activated.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use picloud_core::{
    capability::Capability,
    id::{RouteId, TriggerId},
    log::{Position, read::Direction},
    replay::{CannotReplay, Part, Replayed},
    run::Unavailable,
};
use picloud_projections::views::{
    Page,
    invocations::{self, Filter},
};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use utoipa::ToSchema;

use super::{candidate::Instead, versions::Named};
use crate::{
    admin::{
        Plane,
        access::{Caller, InApp},
        body::Json,
        events::Scope,
        write::database,
    },
    problem::{Kind, Problem},
};

/// How many runs when nobody says,
const RUNS: usize = 100;
/// and how many at most.
const MOST_RUNS: usize = 1_000;

/// Who asks does not wait longer than this for all of them.
const PATIENCE: Duration = Duration::from_secs(60);

/// So many runs that differ are shown in full.
const EXAMPLES: usize = 5;

/// How long to wait when the script's own callers leave no room.
const PAUSE: Duration = Duration::from_millis(200);

/// Which runs, and what they are to be run with: `version` or `source`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewBacktest)]
pub(in crate::admin) struct Wanted {
    /// A version of the script, by its number or id.
    version: Option<Named>,
    /// A source, with the limits of the version that is active.
    source: Option<String>,
    /// Only runs through this route.
    route: Option<RouteId>,
    /// Only runs for this trigger.
    trigger: Option<TriggerId>,
    /// How many of the last ones. Not said: 100.
    limit: Option<usize>,
}

/// How many of the runs would come to something else.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(in crate::admin) struct Backtest {
    /// So many were run again.
    runs: usize,
    /// Of these would come to the same,
    same: usize,
    /// to another answer, or would fail otherwise,
    answers_differ: usize,
    /// would write or send something else,
    effects_differ: usize,
    /// would log something else,
    logs_differ: usize,
    /// would call others otherwise.
    calls_differ: usize,
    /// Asked for something that was not recorded: what came of them is a guess.
    uncertain: usize,
    /// So many more could not be run again: too little is recorded of them, or they are not over.
    left_out: usize,
    /// Whether the time was up before all were found and run.
    is_cut: bool,
    /// Some that would come to something else, the last first.
    examples: Vec<Replayed>,
}

impl Backtest {
    fn add(&mut self, replayed: Replayed) {
        self.runs += 1;
        self.uncertain += usize::from(!replayed.lacking.is_empty());
        let parts: BTreeSet<Part> = replayed.differences.iter().map(|difference| difference.part).collect();
        for (part, count) in [
            (Part::Answer, &mut self.answers_differ),
            (Part::Effects, &mut self.effects_differ),
            (Part::Logs, &mut self.logs_differ),
            (Part::Calls, &mut self.calls_differ),
        ] {
            *count += usize::from(parts.contains(&part));
        }
        if parts.is_empty() {
            self.same += 1;
        } else if self.examples.len() < EXAMPLES {
            self.examples.push(replayed);
        }
    }
}

pub(in crate::admin) async fn backtest(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Path((_, named)): Path<(String, String)>,
    Json(wanted): Json<Wanted>,
) -> Result<Answer<Backtest>, Problem> {
    // What was recorded is shown.
    caller.must(Capability::AppReadLog, Some(app.id))?;
    let script = super::find(&app, &named)?;
    let Wanted { version, source, route, trigger, limit } = wanted;
    let limit = limit.unwrap_or(RUNS);
    if !(1..=MOST_RUNS).contains(&limit) {
        let detail = format!("`limit` is {limit}: from 1 to {MOST_RUNS} runs are run again at once");
        return Err(Problem::new(Kind::InvalidInput, detail).field("limit").with("allowed", MOST_RUNS));
    }
    let candidate = Instead { version, source }.candidate(&plane, &caller, &app, script).await?;
    let Some(candidate) = candidate else {
        let detail = "say with what the runs are to be run again: a `version` of the script, or a `source`";
        return Err(Problem::new(Kind::InvalidInput, detail).field("version"));
    };
    let until = Instant::now() + PATIENCE;
    let scope = Scope::new(&plane, Some(app.id)).await?;
    plane.fresh(invocations::NAME, &scope, None).await?;
    let filter = Filter { script: Some(script.id), route, trigger, ..Filter::of(app.id) };
    let page = Page { direction: Direction::Backward, after: Position::ZERO, up_to: plane.head(), limit };
    let found = invocations::list(&plane.pool, &filter, page, plane.searching).await;
    let found = found.map_err(|error| database(&error))?;
    let mut backtest = Backtest::default();
    for run in &found.runs {
        let replayed = loop {
            backtest.is_cut = Instant::now() > until;
            if backtest.is_cut {
                return Ok(Answer(backtest));
            }
            match plane.replay(app.id, run, Some(candidate.clone())).await {
                Some(Err(CannotReplay::Unavailable(Unavailable::Busy))) => sleep(PAUSE).await,
                replayed => break replayed,
            }
        };
        match replayed {
            Some(Ok(replayed)) => backtest.add(replayed),
            Some(Err(CannotReplay::Unavailable(_))) => {
                let detail = "the runs cannot be read now: try again, or look at `/readyz`";
                return Err(Problem::new(Kind::Unavailable, detail).retry_after(1));
            }
            Some(Err(_)) | None => backtest.left_out += 1,
        }
    }
    backtest.is_cut = found.stopped.is_some();
    Ok(Answer(backtest))
}
