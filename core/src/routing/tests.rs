//! The table against a specification written as plainly as can be, and patterns by example.

use std::collections::BTreeSet;

use proptest::{prelude::*, sample::select};

use super::*;
use crate::id::RouteId;

fn pattern(host: Option<&str>, path: &str, method: Option<&str>) -> Pattern {
    Pattern::parse(host, path, method).expect("a pattern")
}

fn table(routes: &[&'static str]) -> Table<&'static str> {
    Table::build(routes.iter().map(|route| {
        let (method, rest) = route.split_once(' ').expect("method and path");
        let (host, path) = rest.split_at(rest.find('/').expect("a path"));
        let host = Some(host).filter(|host| !host.is_empty());
        (RouteId::generate(), pattern(host, path, Some(method)), *route)
    }))
}

#[track_caller]
fn assert_finds(table: &Table<&'static str>, request: &str, expected: &str) {
    let (method, rest) = request.split_once(' ').expect("method and path");
    let (host, path) = rest.split_at(rest.find('/').expect("a path"));
    let found = match table.find(host, method, path) {
        Find::Found(found) => {
            let params: String = found.params.iter().map(|(name, value)| format!(" {name}={value}")).collect();
            let rest = found.rest.map(|rest| format!(" rest={rest}")).unwrap_or_default();
            format!("{}{params}{rest}", found.route)
        }
        Find::MethodNotAllowed { allow } => format!("405 {allow}"),
        Find::NotFound => "404".to_owned(),
    };
    assert_eq!(found, expected, "{request}");
}

#[test]
fn each_kind_of_path_matches_what_it_says_and_nothing_near_it() {
    let table = table(&["GET /greet", "GET /users/:id", "GET /files/*", "GET /", "GET /slash/", "GET /café"]);
    for (request, expected) in [
        ("GET /greet", "GET /greet"),
        ("GET /gr%65et", "GET /greet"),
        ("GET /greet/", "404"),
        ("GET /Greet", "404"),
        ("GET /", "GET /"),
        ("GET //", "404"),
        ("GET /slash/", "GET /slash/"),
        ("GET /slash", "404"),
        ("GET /caf%C3%A9", "GET /café"),
        ("GET /users/7", "GET /users/:id id=7"),
        ("GET /users/a%20b%2Fc%25", "GET /users/:id id=a b/c%"),
        ("GET /users/%FF", "GET /users/:id id=%FF"),
        ("GET /users/", "404"),
        ("GET /users/7/", "404"),
        ("GET /users/7/posts", "404"),
        ("GET /users%2F7", "404"),
        ("GET /files/a", "GET /files/* rest=a"),
        ("GET /files/a/b/", "GET /files/* rest=a/b/"),
        ("GET /files", "404"),
        ("GET /files/", "404"),
        ("GET /filesystem", "404"),
    ] {
        assert_finds(&table, request, expected);
    }
}

#[test]
fn host_comes_before_path_and_path_before_method() {
    let table = table(&[
        "ANY shop.example.com/*",
        "GET *.example.com/a",
        "GET *.shop.example.com/a",
        "GET /a",
        "ANY /a/b",
        "GET /a/:x",
        "GET /:x/b",
        "GET /a/*",
        "ANY /*",
    ]);
    for (request, expected) in [
        ("GET shop.example.com/a", "ANY shop.example.com/* rest=a"),
        ("GET eu.shop.example.com/a", "GET *.shop.example.com/a"),
        ("GET one.two.example.com/a", "GET *.example.com/a"),
        ("GET example.com/a", "GET /a"),
        ("POST www.example.com/a", "ANY /* rest=a"),
        ("GET other/a/b", "ANY /a/b"),
        ("GET other/a/c", "GET /a/:x x=c"),
        ("GET other/z/b", "GET /:x/b x=z"),
        ("GET other/a/c/d", "GET /a/* rest=c/d"),
        ("POST other/a/c", "ANY /* rest=a/c"),
    ] {
        assert_finds(&table, request, expected);
    }
}

#[test]
fn a_path_without_the_method_says_which_it_has() {
    let table = table(&["GET /a", "POST /:x", "PUT /b", "DELETE h/a"]);
    assert_finds(&table, "PATCH /a", "405 GET, HEAD, OPTIONS, POST");
    assert_finds(&table, "PATCH h/a", "405 DELETE, GET, HEAD, OPTIONS, POST");
    assert_finds(&table, "GET /b", "405 OPTIONS, POST, PUT");
    assert_finds(&table, "HEAD /a", "GET /a");
    assert_finds(&table, "HEAD /b", "405 OPTIONS, POST, PUT");
    assert_finds(&table, "GET /a/b", "404");
}

#[test]
fn head_prefers_its_own_route_then_get_then_any() {
    assert_finds(&table(&["ANY /a", "GET /a", "HEAD /a"]), "HEAD /a", "HEAD /a");
    assert_finds(&table(&["ANY /a", "GET /a"]), "HEAD /a", "GET /a");
    assert_finds(&table(&["ANY /a", "POST /a"]), "HEAD /a", "ANY /a");
}

#[test]
fn a_named_method_wins_over_any_among_paths_of_one_rank() {
    let table = table(&["HEAD /:a/:b/*", "ANY /:a/x/*", "GET /:a/y/*"]);
    assert_finds(&table, "HEAD /1/x/2", "HEAD /:a/:b/* a=1 b=x rest=2");
    assert_finds(&table, "HEAD /1/y/2", "HEAD /:a/:b/* a=1 b=y rest=2");
    assert_finds(&table, "PUT /1/x/2", "ANY /:a/x/* a=1 rest=2");
}

#[test]
fn bad_patterns_name_the_character_and_its_place() {
    let refused = [
        (None, "greet", None),
        (None, "", None),
        (None, "/a b", None),
        (None, "/é/\u{7}", None),
        (None, "/a//b", None),
        (None, "/a/*/b", None),
        (None, "/a*", None),
        (None, "/a/:", None),
        (None, "/a/:1", None),
        (None, "/a/:id?", None),
        (None, "/a:b", None),
        (None, "/:id/:id", None),
        (None, "/a/{id}", None),
        (None, "/a?b=c", None),
        (None, "/caf%C3%A9", None),
        (None, "/a/../b", None),
        (None, "/healthz", None),
        (None, "/api/v1/execute/:id", None),
        (None, "/realtime/*", None),
        (Some("a.b:80"), "/", None),
        (Some("*"), "/", None),
        (Some("a.*.b"), "/", None),
        (Some("a..b"), "/", None),
        (Some("a."), "/", None),
        (Some("-a.b"), "/", None),
        (Some("münchen.de"), "/", None),
        (Some("a_b/c"), "/", None),
        (Some("[::1"), "/", None),
        (Some("1.2.3.4.5"), "/", None),
        (Some("*."), "/", None),
        (None, "/", Some("GE T")),
        (None, "/", Some("")),
        (None, "/", Some("connect")),
    ];
    let messages: Vec<_> = refused
        .iter()
        .map(|(host, path, method)| Pattern::parse(*host, path, *method).expect_err("refused").to_string())
        .collect();
    insta::assert_snapshot!(messages.join("\n"));
}

#[test]
fn what_lies_beside_the_reserved_paths_belongs_to_the_apps() {
    for path in
        ["/api/users", "/api/v1/execute", "/api/v1/:x/:y", "/*", "/healthz/", "/realtime", "/versions", "/api/*"]
    {
        assert!(PathPattern::parse(path).is_ok(), "{path}");
    }
}

#[test]
fn hosts_are_read_without_port_case_and_trailing_dot() {
    for (header, host) in [
        ("LocalHost:8080", Some("localhost")),
        ("shop.example.com.", Some("shop.example.com")),
        ("127.0.0.1:80", Some("127.0.0.1")),
        ("[::1]:8080", Some("[::1]")),
        ("[0:0::1]", Some("[::1]")),
        ("a:b", None),
        ("", None),
        (":80", None),
        ("a b", None),
        ("[::1]x", None),
        ("[::1", None),
        ("user@host", None),
    ] {
        assert_eq!(normalise_host(header).as_deref(), host, "{header}");
    }
}

#[test]
fn only_routes_that_rank_equal_for_some_request_conflict() {
    let both = |one: &str, two: &str| conflict(&pattern(None, one, None), &pattern(None, two, None));
    for (one, two) in [("/u/:id", "/u/:name"), ("/a/:x/c", "/a/:x/:y"), ("/a/*", "/a/*"), ("/:x/b/*", "/:y/:z/*")] {
        assert!(both(one, two) && both(two, one), "{one} {two}");
    }
    for (one, two) in
        [("/u/:id", "/u/me"), ("/a/:x/c", "/a/:x/d"), ("/a/*", "/a/b/*"), ("/:x/", "/:x/:y"), ("/a/b/:x", "/a/:x/b")]
    {
        assert!(!both(one, two) && !both(two, one), "{one} {two}");
    }
    assert!(!conflict(&pattern(None, "/a", Some("GET")), &pattern(None, "/a", None)));
    assert!(!conflict(&pattern(Some("h"), "/a", None), &pattern(None, "/a", None)));
}

// The specification.

fn path_matches(pattern: &str, path: &str) -> bool {
    if let Some(prefix) = pattern.strip_suffix('*') {
        let slashes = prefix.matches('/').count();
        let Some((cut, _)) = path.match_indices('/').nth(slashes - 1) else { return false };
        return path.len() > cut + 1 && path_matches(prefix, &path[..=cut]);
    }
    let (wanted, given): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
    wanted.len() == given.len()
        && wanted
            .iter()
            .zip(given)
            .all(|(want, got)| if want.starts_with(':') { !got.is_empty() } else { *want == got })
}

/// Host, path, method: each count of a route that matches, in order of precedence.
fn rank(route: &Pattern, (host, method, path): (&str, &str, &str)) -> Option<[usize; 5]> {
    let text = route.path.as_str();
    let host_rank = match &route.host {
        HostPattern::Exact(name) => (**name == *host).then_some(usize::MAX),
        HostPattern::Below(name) => host.ends_with(&format!(".{name}")).then_some(name.len()),
        HostPattern::Any => Some(0),
    }?;
    let method_rank = match (route.method.name(), method) {
        (Some(named), _) if named == method => 3,
        (Some("GET"), "HEAD") => 2,
        (Some(_), _) => return None,
        (None, _) => 1,
    };
    let kind = if text.ends_with('*') { 0 } else { 2 - usize::from(text.contains(':')) };
    let segments = text[1..].split('/').filter(|segment| *segment != "*");
    let leading = segments.clone().take_while(|segment| !segment.starts_with(':')).count();
    let prefix = if kind == 0 { segments.count() } else { 0 };
    path_matches(text, path).then_some([host_rank, kind, leading, prefix, method_rank])
}

const HOSTS: [&str; 4] = ["y", "x.y", "z.x.y", "q"];
const METHODS: [&str; 4] = ["GET", "HEAD", "POST", "PUT"];

/// Every path of up to four segments out of three, with and without a slash at the end.
fn paths() -> Vec<String> {
    let mut level = vec![String::new()];
    let mut all = vec!["/".to_owned(), "//".to_owned()];
    for _ in 0..4 {
        level = level.iter().flat_map(|path| ["a", "b", "c"].map(|segment| format!("{path}/{segment}"))).collect();
        all.extend(level.iter().flat_map(|path| [path.clone(), format!("{path}/")]));
    }
    all
}

fn requests() -> Vec<(&'static str, &'static str, String)> {
    let of_path =
        |path: String| HOSTS.map(|host| METHODS.map(|method| (host, method, path.clone()))).into_iter().flatten();
    paths().into_iter().flat_map(of_path).collect()
}

prop_compose! {
    fn path_pattern()(
        parts in prop::collection::vec(select(vec!["a", "b", ":"]), 0..4),
        end in select(vec!["", "", "/", "/*"]),
        flavour in select(vec!['x', 'y']),
    ) -> String {
        let mut text: String = parts.iter().enumerate().map(|(index, part)| match *part {
            ":" => format!("/:{flavour}{index}"),
            literal => format!("/{literal}"),
        }).collect();
        text.push_str(end);
        if text.is_empty() { "/".to_owned() } else { text }
    }
}

fn any_pattern() -> impl Strategy<Value = Pattern> {
    let host = select(vec![None, None, Some("x.y"), Some("*.y"), Some("*.x.y")]);
    let method = select(vec![None, Some("GET"), Some("HEAD"), Some("POST")]);
    (host, path_pattern(), method).prop_map(|(host, path, method)| pattern(host, &path, method))
}

/// Routes that may stand side by side.
fn peaceful_routes() -> impl Strategy<Value = Vec<Pattern>> {
    prop::collection::vec(any_pattern(), 1..14).prop_map(|patterns| {
        let mut kept: Vec<Pattern> = Vec::new();
        for pattern in patterns {
            if !kept.iter().any(|earlier| conflict(earlier, &pattern)) {
                kept.push(pattern);
            }
        }
        kept
    })
}

fn built(routes: &[Pattern]) -> Table<String> {
    Table::build(routes.iter().map(|route| (RouteId::generate(), route.clone(), route.to_string())))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_conflict_is_a_request_that_could_go_either_way(one in any_pattern(), two in any_pattern()) {
        let ambiguous = requests().iter().any(|(host, method, path)| {
            let request = (*host, *method, path.as_str());
            rank(&one, request).is_some_and(|rank_of_one| rank(&two, request) == Some(rank_of_one))
        });
        prop_assert_eq!(conflict(&one, &two), ambiguous, "{} and {}", &one, &two);
        prop_assert_eq!(conflict(&two, &one), ambiguous);
    }

    #[test]
    fn the_table_finds_what_the_specification_says(routes in peaceful_routes()) {
        let table = built(&routes);
        for (host, method, path) in requests() {
            let request = (host, method, path.as_str());
            let mut ranked: Vec<_> = routes.iter().filter_map(|route| Some((rank(route, request)?, route))).collect();
            ranked.sort_by_key(|(rank, _)| *rank);
            // A total order: no two that match rank equal.
            prop_assert!(ranked.windows(2).all(|pair| pair[0].0 != pair[1].0), "{:?} {:?}", request, &routes);
            let allowed: BTreeSet<String> = routes
                .iter()
                .filter(|route| METHODS.iter().any(|method| rank(route, (host, method, &path)).is_some()))
                .map(|route| route.method.to_string())
                .collect();
            match (table.find(host, method, &path), ranked.last()) {
                (Find::Found(found), Some((_, best))) => prop_assert_eq!(found.route, &best.to_string(), "{:?}", request),
                (Find::MethodNotAllowed { allow }, None) => prop_assert_eq!(allow.named, allowed, "{:?}", request),
                (Find::NotFound, None) => prop_assert!(allowed.is_empty(), "{:?}", request),
                (found, expected) => prop_assert!(false, "{:?}: found {:?}, expected {:?}", request, found, expected),
            }
        }
    }

    #[test]
    fn the_order_of_routes_never_matters(patterns in prop::collection::vec(any_pattern(), 1..10), seed: u64) {
        let mut routes: Vec<_> =
            patterns.iter().map(|pattern| (RouteId::generate(), pattern.clone(), pattern.to_string())).collect();
        let one = Table::build(routes.clone());
        let turn = usize::try_from(seed % routes.len() as u64).expect("a small number");
        routes.rotate_left(turn);
        routes.reverse();
        let two = Table::build(routes);
        for (host, method, path) in requests() {
            prop_assert_eq!(one.find(host, method, &path), two.find(host, method, &path));
        }
    }

    #[test]
    fn no_text_is_too_strange_to_be_parsed_or_looked_up(text in any::<String>(), path in any::<String>()) {
        let _ = (Pattern::parse(Some(&text), "/", None), Pattern::parse(None, "/", Some(&text)), normalise_host(&text));
        let _ = (PathPattern::parse(&text), PathPattern::parse(&format!("/{text}")));
        let table = table(&["GET /a/:b/*", "GET /:x", "POST *.y/*"]);
        let _ = (table.find(&text, &text, &path), table.find("x.y", "GET", &format!("/{path}")));
    }
}
