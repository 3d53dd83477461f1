//! Routes: which request runs which script.
//!
//! `wanted` reads what was sent; `check` says what it would conflict with; `matching` previews which route a request finds.

pub(super) mod check;
pub(super) mod matching;
pub(super) mod wanted;

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use http::StatusCode;
use picloud_core::{
    event::{
        Class,
        route::{Bound, Cors, Definition, Mode, RateLimit, Unbound, Updated},
        script::ScriptKind,
    },
    id::{RouteId, ScriptId},
    retry::RetryPolicy,
    run::Record,
};
use picloud_projections::{
    setup::{App, Route, Script},
    travel::{self, Past},
};
use serde::Serialize;
use utoipa::ToSchema;

use self::wanted::{RouteBody, RouteSaid, RouteWanted};
use super::{
    Plane,
    access::{Caller, InApp, short},
    body::Json,
    etag::{IfMatch, Versioned},
    events::unreadable,
    moment::{At, ListAt, was},
    page::Page,
    params::Params,
    time::Time,
    write::{NoContent, Shown, Written},
};
use crate::problem::{Kind, Problem};

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Route)]
pub(super) struct RouteForm {
    id: RouteId,
    /// `ANY` or one method.
    method: String,
    #[schema(required)]
    host: Option<String>,
    path: String,
    script: ScriptId,
    #[schema(required)]
    script_name: Option<String>,
    mode: Mode,
    record: Record,
    #[schema(required)]
    cors: Option<Cors>,
    #[schema(required)]
    rate_limit: Option<RateLimit>,
    #[schema(required)]
    rate_limit_per_address: Option<RateLimit>,
    #[schema(required)]
    retry: Option<RetryPolicy>,
    created_at: Time,
}

impl RouteForm {
    pub(super) fn of(app: &App, route: &Route) -> Self {
        let script = app.scripts.iter().find(|known| known.id == route.definition.script);
        Self::running(script.map(|script| script.name.clone()), route)
    }

    /// A route whose script is called so.
    fn running(script_name: Option<String>, route: &Route) -> Self {
        let Definition { method, host, path, script, mode, record, cors, rate_limit, rate_limit_per_address, retry } =
            route.definition.clone();
        Self {
            id: route.id,
            method: method.unwrap_or_else(|| "ANY".to_owned()),
            host,
            path,
            script,
            script_name,
            mode,
            record,
            cors,
            rate_limit,
            rate_limit_per_address,
            retry,
            created_at: Time(route.created_at),
        }
    }
}

/// A route's pattern as people write it: `POST /checkout`, `GET shop.example.com/`.
pub(super) fn pattern_text(definition: &Definition) -> String {
    let method = definition.method.as_deref().unwrap_or("ANY");
    format!("{method} {}{}", definition.host.as_deref().unwrap_or_default(), definition.path)
}

fn find<'a>(app: &'a App, named: &str) -> Result<&'a Route, Problem> {
    let id = named.parse::<RouteId>().ok();
    app.routes.iter().find(|route| Some(route.id) == id).ok_or_else(|| {
        let detail = format!("the app `{}` has no route `{}`", app.slug, short(named));
        Problem::new(Kind::NotFound, detail).field("route")
    })
}

/// The script of a route: one of the same app that can be run.
pub(super) fn runnable<'a>(app: &'a App, named: &str) -> Result<&'a Script, Problem> {
    let script = app.script(named).ok_or_else(|| {
        let detail = format!("the app `{}` has no script `{}`", app.slug, short(named));
        Problem::new(Kind::InvalidInput, detail).field("script")
    })?;
    match script.kind {
        ScriptKind::Endpoint => Ok(script),
        ScriptKind::Module => Err(is_module(&script.name)),
    }
}

pub(super) fn is_module(name: &str) -> Problem {
    let detail = format!("the script `{name}` is a module: it is imported by others and cannot answer a route");
    Problem::new(Kind::InvalidInput, detail).field("script")
}

pub(super) async fn list(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Params(wanted): Params<ListAt>,
) -> Result<Answer<Page<RouteForm>>, Problem> {
    let forms: Vec<RouteForm> = match &wanted.at {
        None => app.routes.iter().map(|route| RouteForm::of(&app, route)).collect(),
        Some(at) => {
            let moment = plane.moment(&app, at, Class::Config).await?;
            let routes = travel::routes(&plane.reader, app.id, moment).await.map_err(|error| unreadable(&error))?;
            let names = plane.script_names(&app, moment).await?;
            routes.iter().map(|route| RouteForm::running(names.get(&route.definition.script).cloned(), route)).collect()
        }
    };
    let key = |route: &RouteForm| {
        format!(
            "{}\u{1}{}\u{1}{}\u{1}{}",
            route.path,
            route.method,
            route.host.as_deref().unwrap_or_default(),
            route.id
        )
    };
    wanted.page().of(forms, key).map(Answer)
}

pub(super) async fn show(
    State(plane): State<Plane>,
    InApp(app): InApp,
    Path((_, named)): Path<(String, String)>,
    Params(At { at }): Params<At>,
) -> Result<Versioned<RouteForm>, Problem> {
    if let Some(at) = at {
        let moment = plane.moment(&app, &at, Class::Config).await?;
        let past = match named.parse() {
            Ok(id) => travel::route(&plane.reader, app.id, id, moment).await.map_err(|error| unreadable(&error))?,
            Err(_) => Past::Never,
        };
        let route = was(past, &format!("the route `{}`", short(&named)), moment)?;
        let names = plane.script_names(&app, moment).await?;
        let form = RouteForm::running(names.get(&route.definition.script).cloned(), &route);
        return plane.versioned(Some(app.id), route.position, form).await;
    }
    let route = find(&app, &named)?;
    plane.versioned(Some(app.id), route.position, RouteForm::of(&app, route)).await
}

pub(super) async fn bind(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Json(body): Json<RouteBody>,
) -> Result<Written<Shown<RouteForm>>, Problem> {
    let (wanted, script) = read(body)?;
    let decided = plane
        .decide(&caller, app.id, |picture| {
            let script = runnable(&picture.app, &script)?;
            check::refuse_conflict(&wanted.pattern, &picture.app.routes, None)?;
            let route = RouteId::generate();
            Ok((vec![Bound { route, definition: wanted.definition(script.id) }.into()], route))
        })
        .await?;
    let app = plane.picture(app.id).await?.app;
    let form = RouteForm::of(&app, find(&app, &decided.value.to_string())?);
    decided.answer(&plane, StatusCode::CREATED, Shown(form)).await
}

/// Replaces all that a route says.
pub(super) async fn update(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Path((_, named)): Path<(String, String)>,
    if_match: IfMatch,
    Json(body): Json<RouteBody>,
) -> Result<Written<Shown<RouteForm>>, Problem> {
    let (wanted, script) = read(body)?;
    let expected = if_match.of(&plane, Some(app.id)).await?;
    let decided = plane
        .decide(&caller, app.id, |picture| {
            let route = find(&picture.app, &named)?;
            expected.check(route.position)?;
            let definition = wanted.definition(runnable(&picture.app, &script)?.id);
            if definition == route.definition {
                return Ok((Vec::new(), ()));
            }
            check::refuse_conflict(&wanted.pattern, &picture.app.routes, Some(route.id))?;
            Ok((vec![Updated { route: route.id, definition }.into()], ()))
        })
        .await?;
    let app = plane.picture(app.id).await?.app;
    let form = RouteForm::of(&app, find(&app, &named)?);
    decided.answer(&plane, StatusCode::OK, Shown(form)).await
}

fn read(body: RouteBody) -> Result<(RouteWanted, String), Problem> {
    let (said, script): (RouteSaid, String) = body.split();
    Ok((said.check()?, script))
}

pub(super) async fn unbind(
    State(plane): State<Plane>,
    caller: Caller,
    InApp(app): InApp,
    Path((_, named)): Path<(String, String)>,
    if_match: IfMatch,
) -> Result<Written<NoContent>, Problem> {
    let expected = if_match.of(&plane, Some(app.id)).await?;
    let decided = plane
        .decide(&caller, app.id, |picture| {
            let route = find(&picture.app, &named)?;
            expected.check(route.position)?;
            Ok((vec![Unbound { route: route.id }.into()], ()))
        })
        .await?;
    decided.no_content(&plane).await
}
