//! What is said of a route, checked: patterns name the character at fault, and what is not built yet is refused.

use picloud_core::{
    event::route::{Cors, Definition, Mode, RateLimit},
    id::ScriptId,
    retry::RetryPolicy,
    routing::{HostPattern, Pattern},
    run::Record,
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    admin::access::short,
    problem::{Kind, Problem},
};

/// All that a route says but its script, as a manifest has it.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ManifestRoute)]
pub(in crate::admin) struct RouteSaid {
    pub(in crate::admin) method: Option<String>,
    pub(in crate::admin) host: Option<String>,
    pub(in crate::admin) path: String,
    #[serde(default)]
    pub(in crate::admin) mode: Mode,
    #[serde(default)]
    pub(in crate::admin) record: Record,
    pub(in crate::admin) cors: Option<Cors>,
    pub(in crate::admin) rate_limit: Option<RateLimit>,
    pub(in crate::admin) rate_limit_per_address: Option<RateLimit>,
    pub(in crate::admin) retry: Option<RetryPolicy>,
}

/// A route as the API takes it. Spelt out: serde cannot refuse unknown fields through `flatten`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewRoute)]
pub(in crate::admin) struct RouteBody {
    method: Option<String>,
    host: Option<String>,
    path: String,
    /// Id or name.
    script: String,
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    record: Record,
    cors: Option<Cors>,
    rate_limit: Option<RateLimit>,
    rate_limit_per_address: Option<RateLimit>,
    retry: Option<RetryPolicy>,
}

impl RouteBody {
    pub(in crate::admin) fn split(self) -> (RouteSaid, String) {
        let Self { method, host, path, script, mode, record, cors, rate_limit, rate_limit_per_address, retry } = self;
        (RouteSaid { method, host, path, mode, record, cors, rate_limit, rate_limit_per_address, retry }, script)
    }
}

/// A route that can be, if nothing is in its way.
#[derive(Clone, Debug)]
pub(in crate::admin) struct RouteWanted {
    pub(in crate::admin) pattern: Pattern,
    mode: Mode,
    record: Record,
    cors: Option<Cors>,
    rate_limit: Option<RateLimit>,
    rate_limit_per_address: Option<RateLimit>,
    retry: Option<RetryPolicy>,
}

/// Reads a pattern; what cannot be is refused naming the character.
pub(in crate::admin) fn pattern(host: Option<&str>, path: &str, method: Option<&str>) -> Result<Pattern, Problem> {
    Pattern::parse(host, path, method)
        .map_err(|invalid| Problem::new(Kind::InvalidInput, invalid.to_string()).field(invalid.part))
}

impl RouteSaid {
    pub(in crate::admin) fn check(self) -> Result<RouteWanted, Problem> {
        let Self { method, host, path, mode, record, cors, rate_limit, rate_limit_per_address, retry } = self;
        let pattern = pattern(host.as_deref(), &path, method.as_deref())?;
        if let Some(cors) = &cors {
            check_cors(cors)?;
        }
        check_rate("rate_limit", rate_limit)?;
        check_rate("rate_limit_per_address", rate_limit_per_address)?;
        check_retry(retry.as_ref(), mode)?;
        Ok(RouteWanted { pattern, mode, record, cors, rate_limit, rate_limit_per_address, retry })
    }
}

impl RouteWanted {
    /// What the route says once its script is known, the pattern spelt one way.
    pub(in crate::admin) fn definition(&self, script: ScriptId) -> Definition {
        let Pattern { host, path, method } = &self.pattern;
        let host = match host {
            HostPattern::Any => None,
            HostPattern::Exact(_) | HostPattern::Below(_) => Some(host.to_string()),
        };
        Definition {
            method: method.name().map(str::to_owned),
            host,
            path: path.to_string(),
            script,
            mode: self.mode,
            record: self.record,
            cors: self.cors.clone(),
            rate_limit: self.rate_limit,
            rate_limit_per_address: self.rate_limit_per_address,
            retry: self.retry,
        }
    }
}

fn check_cors(cors: &Cors) -> Result<(), Problem> {
    let invalid = |detail: String| Err(Problem::new(Kind::InvalidInput, detail).field("cors"));
    if cors.credentials && cors.origins.iter().any(|origin| origin == "*") {
        return invalid("`cors` allows credentials to every origin (`*`): name the origins instead".to_owned());
    }
    for origin in &cors.origins {
        let is_origin = origin == "*"
            || origin.split_once("://").is_some_and(|(scheme, rest)| {
                matches!(scheme, "http" | "https")
                    && !rest.is_empty()
                    && !rest.contains(['/', '?', '#', ' ', ','])
                    && !rest.chars().any(|c| c.is_ascii_uppercase() || c.is_control())
            });
        if !is_origin {
            return invalid(format!(
                "`{}` in `cors.origins` is not an origin as browsers send it, such as `https://shop.example.com`, nor `*`",
                short(origin).escape_debug()
            ));
        }
    }
    if let Some(header) = cors.headers.iter().find(|name| http::HeaderName::from_bytes(name.as_bytes()).is_err()) {
        return invalid(format!("`{}` in `cors.headers` is not a header name", short(header).escape_debug()));
    }
    Ok(())
}

/// Patience is for calls that nobody waits for.
fn check_retry(retry: Option<&RetryPolicy>, mode: Mode) -> Result<(), Problem> {
    let Some(retry) = retry else { return Ok(()) };
    if mode == Mode::Sync {
        let detail = "`retry` is for routes of mode `async`: the caller of this one waits for its answer";
        return Err(Problem::new(Kind::InvalidInput, detail).field("retry"));
    }
    retry.check().map_err(|invalid| {
        Problem::new(Kind::InvalidInput, invalid.to_string()).field(format!("retry.{}", invalid.field))
    })
}

fn check_rate(field: &'static str, rate: Option<RateLimit>) -> Result<(), Problem> {
    match rate {
        Some(RateLimit { per_second: 0, .. }) => {
            let detail = format!("`{field}.per_second` is 0, which would refuse every call; unbind the route instead");
            Err(Problem::new(Kind::InvalidInput, detail).field(field))
        }
        _ => Ok(()),
    }
}
