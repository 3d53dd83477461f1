//! Where an app's routes answer, as links.

use std::collections::BTreeSet;

use http::Uri;
use picloud_core::{event::route::Definition, routing::normalise_host};

/// One link a route; none for a route that no host leads to, and one for all methods of a path.
pub(super) fn of(public: &str, hosts: &BTreeSet<String>, routes: &[Definition]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let links = routes.iter().filter_map(|route| Some(format!("{}{}", base(public, hosts, route)?, route.path)));
    links.filter(|link| seen.insert(link.clone())).collect()
}

fn base(public: &str, hosts: &BTreeSet<String>, route: &Definition) -> Option<String> {
    let uri = public.parse::<Uri>().ok()?;
    let own = normalise_host(uri.authority()?.as_str())?;
    let exact = |host: &&String| !host.starts_with("*.");
    let host = match &route.host {
        Some(host) if exact(&host) => host,
        // Which of the names below it is meant is not ours to say.
        Some(_) => return None,
        None if hosts.contains(&*own) => return Some(public.trim_end_matches('/').to_owned()),
        None => hosts.iter().find(exact)?,
    };
    let scheme = uri.scheme_str().unwrap_or("http");
    let port = uri.port_u16().map_or_else(String::new, |port| format!(":{port}"));
    Some(format!("{scheme}://{host}{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(host: Option<&str>, path: &str) -> Definition {
        let script = picloud_core::id::ScriptId::generate();
        serde_json::from_value(serde_json::json!({ "host": host, "path": path, "script": script }))
            .expect("a definition")
    }

    fn urls(hosts: &[&str], route: Definition) -> Vec<String> {
        of("http://127.0.0.1:8080", &hosts.iter().map(|host| (*host).to_owned()).collect(), &[route])
    }

    #[test]
    fn the_public_url_is_kept_where_it_leads_to_the_app() {
        assert_eq!(urls(&["127.0.0.1", "localhost"], route(None, "/greet")), ["http://127.0.0.1:8080/greet"]);
    }

    #[test]
    fn another_host_keeps_scheme_and_port() {
        assert_eq!(urls(&["*.x.test", "shop.localhost"], route(None, "/a")), ["http://shop.localhost:8080/a"]);
        assert_eq!(urls(&["127.0.0.1"], route(Some("b.test"), "/a")), ["http://b.test:8080/a"]);
    }

    #[test]
    fn methods_of_one_path_share_a_link() {
        let hosts = ["127.0.0.1".to_owned()].into();
        let routes = [route(None, "/a"), route(None, "/b"), route(None, "/a")];
        assert_eq!(
            of("http://127.0.0.1:8080", &hosts, &routes),
            ["http://127.0.0.1:8080/a", "http://127.0.0.1:8080/b"]
        );
    }

    #[test]
    fn what_no_host_leads_to_has_no_link() {
        assert!(urls(&[], route(None, "/a")).is_empty());
        assert!(urls(&["*.x.test"], route(None, "/a")).is_empty());
        assert!(urls(&["a.test"], route(Some("*.a.test"), "/a")).is_empty());
    }
}
