//! Lines as they come. Runs that began before the reader came are looked up.

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use picloud_core::{
    event::Event,
    id::{AppId, InvocationId},
    log::{
        Position, Recorded,
        read::{Direction, Filter},
    },
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

/// By how much the clock of a node may be ahead of the database's.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::minutes(1);

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
        // Its name says about when it began: what was long before need not be looked at.
        let named_at = DateTime::<Utc>::from(invocation.ulid().datetime());
        let (near, _) = self.around(named_at - CLOCKS_DIFFER, met).await?;
        let filter = Filter {
            app: Some(Some(app)),
            kinds: vec!["invocation.started".to_owned()],
            subject: Some(invocation.to_string()),
            ..Filter::default()
        };
        let found = self.reader.list(&filter, Direction::Backward, near, met, 1).await;
        let mut found = found.map_err(|error| unreadable(&error))?;
        if found.is_empty() {
            // Named by a node whose clock was further ahead.
            let before = self.reader.list(&filter, Direction::Backward, Position::ZERO, near, 1).await;
            found = before.map_err(|error| unreadable(&error))?;
        }
        Ok(found.first().and_then(|recorded| match &recorded.event.event {
            Event::InvocationStarted(started) => Some(started.into()),
            _ => None,
        }))
    }
}
