//! Lines as they come. Runs that began before the reader came are looked up.

use std::{collections::HashMap, sync::Arc};

use picloud_core::{
    event::Event,
    id::{AppId, InvocationId},
    log::{Position, Recorded},
};
use tracing::warn;

use super::{
    Wanted,
    line::{self, Line, Origin},
};
use crate::{
    admin::{
        AdminPlane, Plane,
        events::{Scope, unreadable},
        stream::Telling,
    },
    problem::Problem,
};

/// Beginnings remembered. Runs whose end is never met would fill it; what is forgotten is looked up again.
const MAX_BEGUN: usize = 10_000;

/// Tells the lines that match.
pub(super) struct Live {
    plane: Plane,
    app: AppId,
    wanted: Wanted,
    scope: Scope,
    begun: HashMap<InvocationId, Origin>,
}

impl Live {
    pub(super) fn new(plane: Plane, app: AppId, wanted: Wanted, scope: Scope) -> Self {
        Self { plane, app, wanted, scope, begun: HashMap::new() }
    }

    async fn origin(&mut self, invocation: InvocationId, met: Position) -> Option<Origin> {
        if let Some(origin) = self.begun.get(&invocation) {
            return Some(*origin);
        }
        match self.plane.origin(self.app, invocation, met).await {
            Ok(origin) => {
                self.begun.extend(origin.map(|origin| (invocation, origin)));
                origin
            }
            Err(problem) => {
                warn!(invocation.id = %invocation, ?problem, "Failed to look up what a run that logs is of");
                None
            }
        }
    }
}

impl Telling for Live {
    type Data = Line;

    async fn tell(&mut self, recorded: &Recorded) -> Vec<Line> {
        if recorded.event.app != Some(self.app) {
            return Vec::new();
        }
        match &recorded.event.event {
            Event::InvocationStarted(started) => {
                if self.begun.len() >= MAX_BEGUN {
                    self.begun.clear();
                }
                self.begun.insert(started.invocation, started.into());
            }
            Event::InvocationCompleted(completed) => {
                self.begun.remove(&completed.invocation);
            }
            _ => {}
        }
        let Some(invocation) = line::run_of(&recorded.event.event) else { return Vec::new() };
        let origin = self.origin(invocation, recorded.position).await;
        if matches!(recorded.event.event, Event::InvocationFailed(_)) {
            self.begun.remove(&invocation);
        }
        let setup = self.plane.setup.get();
        let app = setup.apps.get(&self.app).map(Arc::as_ref);
        line::lines(recorded, origin, &self.wanted, app, &self.scope)
    }
}

impl AdminPlane {
    /// What a run is of, whose end, or a part of it, was met there.
    async fn origin(&self, app: AppId, invocation: InvocationId, met: Position) -> Result<Option<Origin>, Problem> {
        let found = self.reader.beginnings(&[invocation], met).await.map_err(|error| unreadable(&error))?;
        Ok(found.iter().find(|recorded| recorded.event.app == Some(app)).and_then(|recorded| {
            match &recorded.event.event {
                Event::InvocationStarted(started) => Some(started.into()),
                _ => None,
            }
        }))
    }
}
