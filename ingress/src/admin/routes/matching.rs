//! Which route a request finds, and why not the others.

use axum::Json as Answer;
use picloud_core::{
    id::RouteId,
    routing::{Find, HostPattern, MethodPattern, Pattern, Table, is_reserved, normalise_host},
};
use picloud_projections::setup::{App, Route};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{RouteForm, pattern_text};
use crate::{
    admin::{
        access::{InApp, short},
        body::Json,
    },
    problem::{Kind, Problem},
};

/// More near misses than this help nobody.
const MAX_NEAR: usize = 20;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RequestToMatch)]
pub(in crate::admin) struct Asked {
    method: String,
    host: String,
    path: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RouteMatch)]
pub(in crate::admin) struct Preview {
    /// The route that answers; none: the request is refused with `status`.
    #[schema(required)]
    route: Option<RouteForm>,
    /// What a request is answered that no route takes: 404 or 405.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// What its `:names` caught.
    params: Vec<(String, String)>,
    /// What its `*` stands for.
    #[schema(required)]
    rest: Option<String>,
    /// Whether a domain of the app leads the host here. Without one, no request gets as far as the routes.
    host_leads_here: bool,
    /// Routes that came close, and what was in their way.
    others: Vec<Near>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NearMiss)]
pub(in crate::admin) struct Near {
    id: RouteId,
    pattern: String,
    why_not: String,
}

pub(in crate::admin) async fn preview(InApp(app): InApp, Json(asked): Json<Asked>) -> Result<Answer<Preview>, Problem> {
    let host = normalise_host(&asked.host).ok_or_else(|| {
        let detail = format!("`{}` is not a host name or an address", short(&asked.host).escape_debug());
        Problem::new(Kind::InvalidInput, detail).field("host")
    })?;
    let path = asked.path.split('?').next().unwrap_or_default();
    if !path.starts_with('/') {
        let detail = format!("path `{}` does not begin with /", short(&asked.path));
        return Err(Problem::new(Kind::InvalidInput, detail).field("path"));
    }
    let method = asked.method.to_ascii_uppercase();
    Ok(Answer(Request { host: &host, method: &method, path }.preview(&app)))
}

/// A request, normalised as the data plane does.
#[derive(Clone, Copy)]
struct Request<'r> {
    host: &'r str,
    method: &'r str,
    path: &'r str,
}

impl Request<'_> {
    fn preview(self, app: &App) -> Preview {
        let patterns = app.routes.iter().filter_map(|route| {
            let pattern = Pattern::try_from(&route.definition).ok()?;
            Some((route, pattern))
        });
        let patterns: Vec<(&Route, Pattern)> = patterns.collect();
        let table = Table::build(patterns.iter().map(|(route, pattern)| (route.id, pattern.clone(), *route)));
        let reserved = is_reserved(self.path);
        let (found, status, params, rest) = match table.find(self.host, self.method, self.path) {
            _ if reserved => (None, None, Vec::new(), None),
            Find::Found(found) => (Some(*found.route), None, found.params, found.rest),
            Find::MethodNotAllowed { .. } => (None, Some(405), Vec::new(), None),
            Find::NotFound => (None, Some(404), Vec::new(), None),
        };
        let others = patterns.iter().filter(|(route, _)| found.is_none_or(|found| found.id != route.id));
        let others = others.filter_map(|(route, pattern)| {
            let why_not = self.why_not(pattern, found)?;
            Some(Near { id: route.id, pattern: pattern_text(&route.definition), why_not })
        });
        Preview {
            route: found.map(|route| RouteForm::of(app, route)),
            status,
            params,
            rest,
            host_leads_here: app
                .domains
                .iter()
                .any(|domain| HostPattern::parse(Some(&domain.host)).is_ok_and(|pattern| pattern.matches(self.host))),
            others: if reserved { Vec::new() } else { others.take(MAX_NEAR).collect() },
        }
    }

    /// What keeps a route from answering, when it is one thing alone.
    fn why_not(self, pattern: &Pattern, winner: Option<&Route>) -> Option<String> {
        let Pattern { host, path, method } = pattern;
        let host_fits = host.matches(self.host);
        // The path alone, by the same search as the real one.
        let any = Pattern { host: HostPattern::Any, path: path.clone(), method: MethodPattern::Any };
        let alone = Table::build([(RouteId::generate(), any, ())]);
        let path_fits = matches!(alone.find(self.host, "GET", self.path), Find::Found(_));
        let method_fits = match method.name() {
            None => true,
            Some(name) => name == self.method || (name == "GET" && self.method == "HEAD"),
        };
        match (host_fits, path_fits, method_fits) {
            (true, true, true) => {
                let winner =
                    winner.map_or_else(String::new, |winner| format!(" `{}`", pattern_text(&winner.definition)));
                Some(format!("it matches, but{winner} is more specific"))
            }
            (false, true, true) => Some(format!("the host is not {host}")),
            (true, false, true) => Some(format!("the path does not match {path}")),
            (true, true, false) => Some(format!("the method is not {method}")),
            _ => None,
        }
    }
}
