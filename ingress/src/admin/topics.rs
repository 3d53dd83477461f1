//! Topics: who may listen to them from outside. Publishing needs nothing of this; what nothing is said of is the app's own.

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use http::StatusCode;
use picloud_core::{
    event::topic::{Deleted, Registered},
    name,
    topic::{Access, Auth},
    trigger::Pattern,
};
use picloud_projections::setup::{App, Topic};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Plane,
    access::{Caller, InApp, short},
    body::Json,
    etag::{IfMatch, Versioned},
    page::{self, Page},
    params::Params,
    time::Time,
    write::{NoContent, Shown, Written},
};
use crate::problem::{Kind, Problem};

/// The most that one app says of topics: each message that is published is looked up among them.
const MAX_TOPICS: usize = 1_000;

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Topic)]
pub(super) struct TopicForm {
    /// One, or with `.*` at its end all below it of which nothing closer is said; `*` is all.
    name: String,
    /// Whether it can be listened to from outside.
    external: bool,
    /// By whom.
    #[schema(required)]
    auth: Option<Auth>,
    created_at: Time,
}

impl TopicForm {
    fn of(topic: &str, said: &Topic) -> Self {
        let auth = said.access.auth();
        Self { name: topic.to_owned(), external: auth.is_some(), auth, created_at: Time(said.created_at) }
    }
}

/// What is to be said of a topic.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TopicSettings)]
pub(super) struct Settings {
    /// Whether it can be listened to from outside.
    external: bool,
    /// By whom: `public` is everybody, `token` is who has a token for it. To be said if, and only if, it is external.
    auth: Option<Auth>,
}

/// Checks what is said of a topic.
pub(super) fn check(topic: &str, external: bool, auth: Option<Auth>) -> Result<Access, Problem> {
    if !name::is_topic_pattern(topic) {
        return Err(Problem::new(Kind::InvalidInput, name::no_topic_pattern(short(topic))).field("topic"));
    }
    match (external, auth) {
        (true, Some(auth)) => Ok(Access::External(auth)),
        (false, None) => Ok(Access::Internal),
        (true, None) => {
            let detail =
                "`auth` is missing: an external topic is for everybody (`public`) or for who has a token (`token`)";
            Err(Problem::new(Kind::InvalidInput, detail).field("auth"))
        }
        (false, Some(_)) => {
            let detail = "`auth` is said of a topic that is not external: nobody can listen to it from outside";
            Err(Problem::new(Kind::InvalidInput, detail).field("auth"))
        }
    }
}

pub(super) async fn list(
    InApp(app): InApp,
    Params(wanted): Params<page::Wanted>,
) -> Result<Answer<Page<TopicForm>>, Problem> {
    let topics = app.topics.iter().map(|(topic, said)| TopicForm::of(topic, said));
    wanted.of(topics, |topic| topic.name.clone()).map(Answer)
}

fn find<'a>(app: &'a App, topic: &str) -> Result<&'a Topic, Problem> {
    app.topics.get(topic).ok_or_else(|| {
        let detail = format!("nothing is said of the topic `{}` in the app `{}`", short(topic), app.slug);
        Problem::new(Kind::NotFound, detail)
    })
}

pub(super) async fn show(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Path((_, topic)): Path<(String, String)>,
) -> Result<Versioned<TopicForm>, Problem> {
    let said = find(&app, &topic)?;
    plane.versioned(Some(app.id), said.position, TopicForm::of(&topic, said)).await
}

pub(super) async fn register(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Path((_, topic)): Path<(String, String)>,
    if_match: IfMatch,
    Json(Settings { external, auth }): Json<Settings>,
) -> Result<Written<Shown<TopicForm>>, Problem> {
    let access = check(&topic, external, auth)?;
    let expected = if_match.of(&plane, Some(app.id)).await?;
    let decided = plane
        .decide(&caller, app.id, |picture| {
            let there = &picture.app.topics;
            let before = there.get(&topic);
            expected.check_if_there(before.map(|said| said.position))?;
            if before.is_none() && there.len() >= MAX_TOPICS {
                let detail =
                    format!("the app says something of {MAX_TOPICS} topics, which is the most: say it of `prefix.*`");
                return Err(Problem::new(Kind::InvalidInput, detail).field("topic"));
            }
            let is_same = before.is_some_and(|said| said.access == access);
            let registered = || Registered::new(Pattern::new(topic.as_str()), access).into();
            Ok((if is_same { Vec::new() } else { vec![registered()] }, ()))
        })
        .await?;
    let app = plane.picture(app.id).await?.app;
    let form = TopicForm::of(&topic, find(&app, &topic)?);
    decided.answer(&plane, StatusCode::OK, Shown(form)).await
}

/// What is published there is for the app's own triggers again, unless more is said of topics above it. Who listens is cut.
pub(super) async fn delete(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Path((_, topic)): Path<(String, String)>,
    if_match: IfMatch,
) -> Result<Written<NoContent>, Problem> {
    let expected = if_match.of(&plane, Some(app.id)).await?;
    let decided = plane
        .decide(&caller, app.id, |picture| {
            expected.check(find(&picture.app, &topic)?.position)?;
            Ok((vec![Deleted { topic: Pattern::new(topic.as_str()) }.into()], ()))
        })
        .await?;
    decided.no_content(&plane).await
}
