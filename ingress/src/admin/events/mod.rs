//! The events of an app, or of the instance: what happened, by whom, as CloudEvents.

mod cloud_event;
mod filter;

use axum::{Json as Answer, extract::State};
use http::HeaderMap;
use picloud_core::{
    capability::Capability,
    id::AppId,
    log::{
        Position, Recorded,
        read::{Direction, Filter, ReadError},
    },
};

pub(super) use cloud_event::{CloudEvent, Scope};

use self::filter::{ListParams, StreamParams};
use super::{
    AdminPlane, Plane,
    access::{Caller, InApp},
    openapi::{Events, Told},
    page::Page,
    params::Params,
    stream::{self, Listener, Telling},
    write::database,
};
use crate::problem::{Kind, Problem};

pub(super) async fn list_app(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Params(params): Params<ListParams>,
) -> Result<Answer<Page<CloudEvent>>, Problem> {
    plane.events(Some(app.id), &params).await.map(Answer)
}

pub(super) async fn list_instance(
    State(plane): State<Plane>,
    Params(params): Params<ListParams>,
) -> Result<Answer<Page<CloudEvent>>, Problem> {
    plane.events(None, &params).await.map(Answer)
}

pub(super) async fn stream_app(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    headers: HeaderMap,
    Params(params): Params<StreamParams>,
) -> Result<Told<Events<CloudEvent>>, Problem> {
    follow(plane, caller, (Capability::AppReadLog, Some(app.id)), &headers, &params).await
}

pub(super) async fn stream_instance(
    State(plane): State<Plane>,
    caller: Caller,
    headers: HeaderMap,
    Params(params): Params<StreamParams>,
) -> Result<Told<Events<CloudEvent>>, Problem> {
    follow(plane, caller, (Capability::InstanceReadLog, None), &headers, &params).await
}

async fn follow(
    plane: Plane,
    caller: Caller,
    needs: (Capability, Option<AppId>),
    headers: &HeaderMap,
    params: &StreamParams,
) -> Result<Told<Events<CloudEvent>>, Problem> {
    let scope = Scope::new(&plane, needs.1).await?;
    let telling = Matching { filter: params.filter(needs.1)?, scope: scope.clone() };
    let listener = Listener { caller, needs, headers, after: params.after.as_deref() };
    stream::open(plane, listener, scope, telling).await
}

/// Tells the events that match.
struct Matching {
    filter: Filter,
    scope: Scope,
}

impl Telling for Matching {
    type Data = CloudEvent;

    async fn tell(&mut self, recorded: &Recorded) -> Vec<CloudEvent> {
        if !self.filter.matches(recorded) {
            return Vec::new();
        }
        vec![self.scope.show(recorded)]
    }
}

impl AdminPlane {
    /// A page of the events of an app, or (`None`) of all.
    async fn events(&self, app: Option<AppId>, params: &ListParams) -> Result<Page<CloudEvent>, Problem> {
        let scope = Scope::new(self, app).await?;
        let filter = params.filter(app)?;
        let (direction, limit) = (params.direction()?, params.limit()?);
        let (mut after, before) = params.bounds(|field, text| self.open(&scope.key, field, text))?;
        let head = self.reader.head().await.map_err(|error| database(&error))?;
        let mut up_to = before.map_or(head, |before| Position(before.0 - 1).min(head));
        // The filter looks at times too; this spares it most of a long log.
        if let Some(since) = filter.since {
            after = after.max(self.around(since, head).await?.0);
        }
        if let Some(until) = filter.until {
            up_to = up_to.min(self.around(until, head).await?.1);
        }
        let found = self.reader.list(&filter, direction, after, up_to, limit + 1).await;
        let mut found = found.map_err(|error| unreadable(&error))?;
        let has_more = found.len() > limit;
        found.truncate(limit);
        let cursor = found.last().filter(|_| has_more).map(|last| scope.seal(last.position));
        Ok(Page { items: found.iter().map(|recorded| scope.show(recorded)).collect(), cursor })
    }
}

/// Events could not be read.
pub(super) fn unreadable(error: &ReadError) -> Problem {
    match error {
        ReadError::Database(error) => database(error),
        ReadError::Undecodable { .. } => Problem::internal(error),
    }
}

/// Which way a list goes.
fn direction(order: Option<&str>) -> Result<Direction, Problem> {
    match order {
        Some("asc") => Ok(Direction::Forward),
        None | Some("desc") => Ok(Direction::Backward),
        Some(other) => {
            let detail = format!("order is `{}`: allowed are `asc` and `desc`", super::access::short(other));
            Err(Problem::new(Kind::InvalidInput, detail).field("order"))
        }
    }
}
