//! The events of an app, or of the instance: what happened, by whom, as CloudEvents.

mod chain;
mod cloud_event;
mod filter;
pub(super) mod history;

use axum::{Json as Answer, extract::State};
use http::HeaderMap;
use picloud_core::{
    capability::Capability,
    id::AppId,
    log::{
        Recorded,
        read::{self, Filter, ReadError},
    },
};

pub(super) use cloud_event::{CloudEvent, Scope};

use self::filter::{ListParams, StreamParams};
use super::{
    AdminPlane, Plane,
    access::{Caller, InApp},
    openapi::{Events, Told},
    params::Params,
    searched::{Found, Searched},
    stream::{self, Listener, Telling},
    write::database,
};
use crate::problem::Problem;

pub(super) async fn list_app(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Params(params): Params<ListParams>,
) -> Result<Answer<Searched<CloudEvent>>, Problem> {
    plane.events(Some(app.id), &params).await.map(Answer)
}

pub(super) async fn list_instance(
    State(plane): State<Plane>,
    Params(params): Params<ListParams>,
) -> Result<Answer<Searched<CloudEvent>>, Problem> {
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
    async fn events(&self, app: Option<AppId>, params: &ListParams) -> Result<Searched<CloudEvent>, Problem> {
        let scope = Scope::new(self, app).await?;
        let filter = params.filter(app)?;
        let page = params.span().page(self, &scope).await?;
        let between = (page.after, page.up_to);
        let found = self.reader.search(&filter, page.direction, between, page.limit + 1, self.searching).await;
        let read::Found { events: items, stopped } = found.map_err(|error| unreadable(&error))?;
        let found = Found { items, stopped };
        self.searched(&scope, page, found, |recorded| recorded.position, |recorded| scope.show(&recorded)).await
    }
}

/// Events could not be read.
pub(super) fn unreadable(error: &ReadError) -> Problem {
    match error {
        ReadError::Database(error) => database(error),
        ReadError::Undecodable { .. } => Problem::internal(error),
    }
}
