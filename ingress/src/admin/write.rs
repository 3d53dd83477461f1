//! From a decision to events in the log.
//!
//! A decision is made on a picture of the app and appended only if nothing about the app was configured since; otherwise it
//! is made anew on a newer picture. So what a decision checks (names, conflicts, numbers) holds when it takes effect.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::response::{IntoResponse, Json, Response};
use http::{HeaderValue, StatusCode};
use picloud_core::{
    event::{Actor, Class, Event},
    id::{AppId, ScriptId},
    log::{Commit, CommitError, Committed, NewEvent, Position, Read, Rejected},
};
use picloud_projections::{
    scripts::{self, Latest},
    setup::{App, Setup},
};
use serde::Serialize;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::warn;

use super::{AdminPlane, access::Caller};
use crate::problem::{Kind, Problem};

/// For how long a decision is made anew before its caller is asked to try later.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait for this node to learn of what was committed. It follows the log: milliseconds are usual.
const CATCH_UP: Duration = Duration::from_secs(5);

/// An app as it was at one position, to decide on.
#[derive(Debug)]
pub(super) struct Picture {
    /// The app.
    pub(super) app: Arc<App>,
    /// The newest version of each of its scripts.
    pub(super) latest: HashMap<ScriptId, Latest>,
    /// Nothing configured up to here is missing from it.
    pub(super) as_of: Position,
}

/// Why events were not appended.
#[derive(Debug)]
pub(super) enum Refused {
    /// The app was configured since it was looked at.
    Stale,
    /// An app of that name was made by someone else.
    Exists(Problem),
    /// Everything else, as it is told.
    Problem(Problem),
}

#[derive(Debug, thiserror::Error)]
#[error("a commit that was based on nothing was refused as stale")]
struct Unexpected;

/// For commits that are not decided anew.
impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Stale => Self::internal(&Unexpected),
            Refused::Exists(problem) | Refused::Problem(problem) => problem,
        }
    }
}

impl AdminPlane {
    /// How an app is now.
    pub(super) async fn picture(&self, app: AppId) -> Result<Picture, Problem> {
        let setup = self.setup.get();
        let gone = || Problem::new(Kind::NotFound, "the app is gone");
        let app = Arc::clone(setup.apps.get(&app).ok_or_else(gone)?);
        let latest = scripts::latest(&self.pool, app.id).await.map_err(|error| database(&error))?;
        Ok(Picture { app, latest, as_of: setup.position })
    }

    /// Decides about an app and appends the decision; decides anew when the app has changed meanwhile. No events, nothing is
    /// appended: everything is as wanted already.
    pub(super) async fn decide<T: Send>(
        &self,
        caller: &Caller,
        app: AppId,
        decide: impl FnMut(&Picture) -> Result<(Vec<Event>, T), Problem> + Send,
    ) -> Result<Decided<T>, Problem> {
        self.decide_on(caller, app, &[Some(app)], decide).await
    }

    /// The same for what depends on people and keys, too: decided anew when any of those has changed.
    pub(super) async fn decide_with_people<T: Send>(
        &self,
        caller: &Caller,
        app: AppId,
        decide: impl FnMut(&Picture) -> Result<(Vec<Event>, T), Problem> + Send,
    ) -> Result<Decided<T>, Problem> {
        self.decide_on(caller, app, &[Some(app), None], decide).await
    }

    async fn decide_on<T: Send>(
        &self,
        caller: &Caller,
        app: AppId,
        looked_at: &[Option<AppId>],
        mut decide: impl FnMut(&Picture) -> Result<(Vec<Event>, T), Problem> + Send,
    ) -> Result<Decided<T>, Problem> {
        let mut tries = Tries::default();
        loop {
            let picture = self.picture(app).await?;
            let (events, value) = decide(&picture)?;
            if events.is_empty() {
                return Ok(Decided { app: Some(app), position: picture.as_of, value });
            }
            match self.append(caller, Some(app), events, configured(looked_at, picture.as_of)).await {
                Ok(committed) => return Ok(Decided { app: Some(app), position: committed.last, value }),
                Err(Refused::Problem(problem) | Refused::Exists(problem)) => return Err(problem),
                Err(Refused::Stale) => tries.again(self, picture.as_of).await?,
            }
        }
    }

    /// Decides about the instance, its accounts above all, and appends the decision; decides anew when any of that has
    /// changed meanwhile.
    pub(super) async fn decide_instance<T: Send>(
        &self,
        actor: &Actor,
        mut decide: impl FnMut(&Setup) -> Result<(Vec<Event>, T), Problem> + Send,
    ) -> Result<Decided<T>, Problem> {
        let about_none =
            |events: Vec<Event>| events.into_iter().map(|event| NewEvent::new(None, actor, event)).collect();
        let decide = |setup: &Setup| decide(setup).map(|(events, value)| (about_none(events), value));
        self.decide_across(|_| Vec::new(), decide).await
    }

    /// Decides about the instance and some of its apps; decides anew when either has changed meanwhile.
    pub(super) async fn decide_across<T: Send>(
        &self,
        apps: impl Fn(&Setup) -> Vec<AppId> + Send,
        mut decide: impl FnMut(&Setup) -> Result<(Vec<NewEvent>, T), Problem> + Send,
    ) -> Result<Decided<T>, Problem> {
        let mut tries = Tries::default();
        loop {
            let setup = self.setup.get();
            let (events, value) = decide(&setup)?;
            let as_of = setup.position;
            if events.is_empty() {
                return Ok(Decided { app: None, position: as_of, value });
            }
            let looked_at: Vec<_> = apps(&setup).into_iter().map(Some).chain([None]).collect();
            match self.append_events(events, configured(&looked_at, as_of)).await {
                Ok(committed) => return Ok(Decided { app: None, position: committed.last, value }),
                Err(Refused::Problem(problem) | Refused::Exists(problem)) => return Err(problem),
                Err(Refused::Stale) => tries.again(self, as_of).await?,
            }
        }
    }

    /// Appends events by a caller; when it returns, this node knows of them.
    pub(super) async fn append(
        &self,
        caller: &Caller,
        app: Option<AppId>,
        events: Vec<Event>,
        reads: Vec<Read>,
    ) -> Result<Committed, Refused> {
        self.append_as(&caller.actor(), app, events, reads).await
    }

    /// Appends events by whoever it was.
    async fn append_as(
        &self,
        actor: &Actor,
        app: Option<AppId>,
        events: Vec<Event>,
        reads: Vec<Read>,
    ) -> Result<Committed, Refused> {
        let actor_json: Arc<str> = serde_json::to_string(actor).expect("actors are plain data").into();
        let events = events.into_iter().map(|event| NewEvent::with_actor_json(app, actor, &actor_json, event));
        self.append_events(events.collect(), reads).await
    }

    /// Appends events that say themselves by whom they are.
    pub(super) async fn append_events(&self, events: Vec<NewEvent>, reads: Vec<Read>) -> Result<Committed, Refused> {
        let named = Named::of(&events);
        // The setup follows from these alone: of anything else there is nothing to wait for.
        let is_configuration = events.iter().any(|event| event.event.class() == Class::Config);
        let commit = Commit { reads, ..Commit::new(self.node.authority(), events) };
        let committed = match self.committer.commit(commit).await {
            Ok(committed) => committed,
            Err(CommitError::Rejected(Rejected::Stale)) => return Err(Refused::Stale),
            Err(CommitError::Rejected(Rejected::Invalid { constraint: Some(constraint) })) => {
                let problem = self.broken(&constraint, named).await;
                return Err(match &*constraint {
                    "app_slug_unique" => Refused::Exists(problem),
                    _ => Refused::Problem(problem),
                });
            }
            Err(error) => return Err(Refused::Problem(not_appended(&error))),
        };
        if is_configuration && timeout(CATCH_UP, self.setup.reached(committed.last)).await.is_err() {
            // It is durable all the same, and the tail says for itself why it is behind.
            warn!(log.position = %committed.last, "This node has not yet taken in what it has committed");
        }
        Ok(committed)
    }

    /// A constraint that the database keeps for all apps together, with the value that broke it.
    async fn broken(&self, constraint: &str, named: Named) -> Problem {
        match constraint {
            "app_slug_unique" => {
                let slug = named.slug.unwrap_or_default();
                Problem::new(Kind::Conflict, format!("an app named `{slug}` exists already; choose another name"))
                    .field("slug")
                    .with("value", slug)
            }
            "account_email_unique" => {
                let email = named.email.unwrap_or_default();
                Problem::new(Kind::Conflict, format!("an account with the address `{email}` exists already"))
                    .field("email")
                    .with("value", email)
            }
            "domain_host_unique" => {
                let taken =
                    sqlx::query_scalar!("select host from state.domain where host = any ($1) limit 1", &named.hosts)
                        .fetch_optional(&self.pool)
                        .await
                        .unwrap_or_else(|error| {
                            warn!(%error, "Failed to find out which host is taken");
                            None
                        });
                let host = taken.or_else(|| named.hosts.first().cloned()).unwrap_or_default();
                Problem::new(Kind::Conflict, format!("the host `{host}` is claimed already; release it there first"))
                    .field("host")
                    .with("value", host)
            }
            other => {
                warn!(constraint = other, "A decision was refused by the database: it checks too little");
                Problem::new(Kind::Conflict, "what was asked for contradicts what is there; look again and retry")
            }
        }
    }
}

/// That none of these was set up differently since.
pub(super) fn configured(looked_at: &[Option<AppId>], as_of: Position) -> Vec<Read> {
    looked_at.iter().map(|app| Read::Config { app: *app, as_of }).collect()
}

/// What a decision came to, and up to where the log was when it held.
#[derive(Debug)]
pub(super) struct Decided<T> {
    pub(super) app: Option<AppId>,
    pub(super) position: Position,
    pub(super) value: T,
}

/// Decides how long a decision is made anew when others overtake it.
#[derive(Debug)]
pub(super) struct Tries {
    until: Instant,
}

impl Default for Tries {
    fn default() -> Self {
        Self { until: Instant::now() + PATIENCE }
    }
}

impl Tries {
    /// Waits until this node has learnt of what made a picture stale.
    pub(super) async fn again(&mut self, plane: &AdminPlane, seen: Position) -> Result<(), Problem> {
        if Instant::now() >= self.until {
            let detail = "others keep changing this app; nothing was changed, try again shortly";
            return Err(Problem::new(Kind::Conflict, detail).retry_after(1));
        }
        // Not learnt of in time: the next try finds that out by itself.
        let _ = timeout_at(self.until, plane.setup.watch().wait_for(|position| *position > seen)).await;
        Ok(())
    }
}

/// What events say that must be unique on the instance.
#[derive(Debug)]
struct Named {
    slug: Option<String>,
    email: Option<String>,
    hosts: Vec<String>,
}

impl Named {
    fn of(events: &[NewEvent]) -> Self {
        let events = || events.iter().map(|event| &event.event);
        let slug = events().find_map(|event| match event {
            Event::AppCreated(created) => Some(created.slug.clone()),
            Event::AppRenamed(renamed) => Some(renamed.slug.clone()),
            _ => None,
        });
        let email = events().find_map(|event| match event {
            Event::AccountCreated(created) => Some(created.email.clone()),
            Event::AccountEmailChanged(changed) => Some(changed.email.clone()),
            _ => None,
        });
        let hosts = events().filter_map(|event| match event {
            Event::DomainClaimed(claimed) => Some(claimed.host.clone()),
            _ => None,
        });
        Self { slug, email, hosts: hosts.collect() }
    }
}

/// A commit that was not made, or is not known to be.
pub(super) fn not_appended(error: &CommitError) -> Problem {
    match error {
        CommitError::Busy => {
            let detail = "too much waits to be written; nothing was changed, try again shortly";
            Problem::new(Kind::Unavailable, detail).retry_after(1)
        }
        CommitError::Unavailable | CommitError::Revoked => Problem::unavailable(error),
        CommitError::Unknown => {
            warn!(%error, "A change may have been made or not");
            let detail =
                "the database went away while committing; look whether the change was made before trying again";
            Problem::new(Kind::Unavailable, detail).retry_after(5)
        }
        CommitError::Rejected(rejected) => Problem::internal(rejected),
    }
}

/// The database could not be asked.
pub(super) fn database(error: &sqlx::Error) -> Problem {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => Problem::unavailable(error),
        other => Problem::internal(other),
    }
}

/// The answer to a write, with the cursor up to which it is in the log.
#[derive(Debug)]
pub(super) struct Written<B> {
    pub(super) status: StatusCode,
    pub(super) cursor: String,
    pub(super) body: B,
}

impl<T> Decided<T> {
    /// Answers with a status and a body.
    pub(super) async fn answer<B>(
        &self,
        plane: &AdminPlane,
        status: StatusCode,
        body: B,
    ) -> Result<Written<B>, Problem> {
        let key = plane.cursor_key(self.app).await?;
        Ok(Written { status, cursor: plane.seal(&key, self.position), body })
    }

    /// Answers that it is done, which is all there is to say.
    pub(super) async fn no_content(&self, plane: &AdminPlane) -> Result<Written<NoContent>, Problem> {
        self.answer(plane, StatusCode::NO_CONTENT, NoContent).await
    }
}

/// No body.
#[derive(Debug)]
pub(super) struct NoContent;

impl IntoResponse for Written<NoContent> {
    fn into_response(self) -> Response {
        with_cursor(self.status.into_response(), &self.cursor)
    }
}

/// A body of JSON.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Shown<T>(pub(super) T);

impl<T: Serialize> IntoResponse for Written<Shown<T>> {
    fn into_response(self) -> Response {
        with_cursor((self.status, Json(self.body)).into_response(), &self.cursor)
    }
}

fn with_cursor(mut response: Response, cursor: &str) -> Response {
    let value = HeaderValue::try_from(cursor).expect("cursors are base64");
    response.headers_mut().insert("x-picloud-cursor", value);
    response
}
