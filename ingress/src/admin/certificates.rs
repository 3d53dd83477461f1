//! `/internal/ask`: whether a proxy may get a certificate for a host name.
//!
//! Caddy asks before it gets one for a name that is new to it (on-demand TLS). Without a yes it gets none: anybody could
//! have it ask a certificate authority for names without end.

use std::net::Ipv4Addr;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use picloud_core::routing::{HostPattern, normalise_host};
use picloud_projections::setup::Setup;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    Plane, Urls,
    access::short,
    openapi::{Text, Told},
    params::Params,
};
use crate::problem::{Kind, Problem};

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = CertificateWanted)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    domain: String,
}

pub(super) async fn ask(State(plane): State<Plane>, Params(wanted): Params<Wanted>) -> Result<Told<Text>, Problem> {
    let is_ours = is_name(&wanted.domain).is_some_and(|host| serves(&plane.setup.get(), &plane.urls, &host));
    if !is_ours {
        let detail = format!("`{}` leads to no app and is none of this instance's own names", short(&wanted.domain));
        return Err(Problem::new(Kind::NotFound, detail).field("domain"));
    }
    let answer: Response = "yes".into_response();
    Ok(answer.into())
}

/// The name as it is stored. An address is none.
fn is_name(domain: &str) -> Option<std::borrow::Cow<'_, str>> {
    normalise_host(domain).filter(|host| !host.starts_with('[') && host.parse::<Ipv4Addr>().is_err())
}

fn serves(setup: &Setup, urls: &Urls, host: &str) -> bool {
    let claimed = setup.apps.values().flat_map(|app| &app.domains);
    let mut claimed = claimed.filter_map(|domain| HostPattern::parse(Some(&domain.host)).ok());
    let is_own = |url: &str| {
        let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
        normalise_host(authority.split('/').next().unwrap_or_default()).is_some_and(|own| own == host)
    };
    claimed.any(|pattern| pattern.matches(host)) || is_own(&urls.public) || is_own(&urls.admin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instances_own_names_are_served() {
        let of = |public: &str, admin: &str| Urls { public: public.to_owned(), admin: admin.to_owned() };
        let urls = of("https://apps.example.com", "https://admin.example.com:8443");
        for (host, expected) in [("apps.example.com", true), ("admin.example.com", true), ("example.com", false)] {
            assert_eq!(serves(&Setup::default(), &urls, host), expected, "{host}");
        }
    }
}
