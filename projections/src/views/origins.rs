//! Of what the runs are that something is told of: their beginnings say it, and nothing that comes later.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use picloud_core::{
    event::{
        Event,
        invocation::{Completed, Failed, Logged, Started},
    },
    id::{AppId, InvocationId, OutboxId, RequestId, RouteId, ScriptId, TriggerId, VersionId},
    log::{
        Position, Recorded,
        read::{ReadError, Reader},
    },
    run::InvocationType,
};

/// How a run began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub position: Position,
    pub at: DateTime<Utc>,
    pub app: AppId,
    pub script: ScriptId,
    pub version: VersionId,
    pub invocation_type: InvocationType,
    pub route: Option<RouteId>,
    pub trigger: Option<TriggerId>,
    pub item: Option<OutboxId>,
    pub attempt: u16,
    pub actor: Option<String>,
    pub request_id: Option<RequestId>,
}

impl Origin {
    /// None of an event that no app has.
    pub fn of(recorded: &Recorded, started: &Started) -> Option<Self> {
        Some(Self {
            position: recorded.position,
            at: recorded.at,
            app: recorded.event.app?,
            script: started.script,
            version: started.version,
            invocation_type: started.invocation_type,
            route: started.route,
            trigger: started.trigger,
            item: started.item,
            attempt: started.attempt,
            actor: recorded.event.actor.id.clone(),
            request_id: recorded.event.actor.request_id,
        })
    }
}

/// The run that an event tells more of.
pub(super) const fn run_of(event: &Event) -> Option<InvocationId> {
    match event {
        Event::InvocationLogged(Logged { invocation, .. })
        | Event::InvocationCompleted(Completed { invocation, .. })
        | Event::InvocationFailed(Failed { invocation, .. }) => Some(*invocation),
        _ => None,
    }
}

/// Runs that have begun and not ended, as far as they have been met.
#[derive(Debug)]
pub(super) struct Origins {
    reader: Reader,
    open: HashMap<InvocationId, Origin>,
}

impl Origins {
    pub fn new(reader: Reader) -> Self {
        Self { reader, open: HashMap::new() }
    }

    /// Forgets all: they are looked up again.
    pub fn clear(&mut self) {
        self.open.clear();
    }

    /// Looks up what the events to come tell of, and what began before anybody looked.
    pub async fn look_up(&mut self, events: &[Recorded]) -> Result<(), ReadError> {
        let Some(first) = events.first() else { return Ok(()) };
        let mut begun = std::collections::HashSet::new();
        let mut unknown = Vec::new();
        for recorded in events {
            if let Event::InvocationStarted(started) = &recorded.event.event {
                begun.insert(started.invocation);
            } else if let Some(run) = run_of(&recorded.event.event)
                && !self.open.contains_key(&run)
                && begun.insert(run)
            {
                unknown.push(run);
            }
        }
        let before = Position(first.position.0 - 1);
        for recorded in self.reader.beginnings(&unknown, before).await? {
            self.begin(&recorded);
        }
        Ok(())
    }

    /// Takes in the next event; of what run it tells, if of one. When it is its end, that is all there is of it.
    pub fn meet(&mut self, recorded: &Recorded) -> Option<Origin> {
        match &recorded.event.event {
            Event::InvocationStarted(_) => {
                self.begin(recorded);
                None
            }
            Event::InvocationCompleted(Completed { invocation, .. })
            | Event::InvocationFailed(Failed { invocation, .. }) => self.open.remove(invocation),
            event => self.open.get(&run_of(event)?).cloned(),
        }
    }

    fn begin(&mut self, recorded: &Recorded) {
        if let Event::InvocationStarted(started) = &recorded.event.event
            && let Some(origin) = Origin::of(recorded, started)
        {
            self.open.insert(started.invocation, origin);
        }
    }
}
