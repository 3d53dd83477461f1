//! The session as a browser keeps it: a cookie that no script reads, and proof that a request comes from a page of ours.

use axum::response::Response;
use http::{HeaderMap, HeaderValue, Method, Uri, header, request::Parts};
use subtle::ConstantTimeEq as _;

use crate::{
    auth::{SESSION_LASTS, Token},
    data_plane::SESSION_COOKIES,
    problem::{Kind, Problem},
};

/// Where a page shows its proof.
pub(super) const CSRF_HEADER: &str = "x-picloud-csrf";

/// What a request's cookies say about the session.
#[derive(Debug)]
pub(super) enum Kept {
    /// Nothing.
    None,
    /// What may be one.
    Token(Token),
    /// What cannot be one.
    Broken,
    /// More than one: a page of the same host, on another port, has set one beside ours.
    Several,
}

/// The cookie's name where people reach the control plane at this URL. No other counts: over plain http a page of the same
/// host could set the one of https, and a host below ours the one of plain http.
fn name(admin_url: &str) -> &'static str {
    let [secure, plain] = SESSION_COOKIES;
    if is_https(admin_url) { secure } else { plain }
}

fn is_https(admin_url: &str) -> bool {
    admin_url.starts_with("https://")
}

/// The session that a request's cookies name.
pub(super) fn session(headers: &HeaderMap, admin_url: &str) -> Kept {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs.filter(|(given, _)| *given == name(admin_url)).map(|(_, value)| value);
    let Some(value) = values.next() else { return Kept::None };
    if values.any(|other| other != value) {
        return Kept::Several;
    }
    Token::parse(value).map_or(Kept::Broken, Kept::Token)
}

/// Lets a browser keep a session. Over plain http there is no such thing as a secure cookie.
pub(super) fn kept(response: Response, token: &Token, admin_url: &str) -> Response {
    with_cookie(response, admin_url, token.expose(), "/", SESSION_LASTS.num_seconds())
}

/// Makes a browser forget the session.
pub(super) fn cleared(response: Response, admin_url: &str) -> Response {
    with_cookie(response, admin_url, "", "/", 0)
}

/// Makes a browser forget sessions that were set beside ours, for a part of our paths: those that `path` is in.
pub(super) fn cleared_beside(mut response: Response, admin_url: &str, path: &str) -> Response {
    let ends = path.char_indices().filter(|(at, c)| *at > 0 && *c == '/').map(|(at, _)| at);
    for end in ends.chain([path.len()]).take(16) {
        let part = path[..end].trim_end_matches('/');
        // Anything else would end the attribute, or is no path that a cookie could have been set for here.
        if !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';') {
            response = with_cookie(response, admin_url, "", part, 0);
            response = with_cookie(response, admin_url, "", &format!("{part}/"), 0);
        }
    }
    response
}

fn with_cookie(mut response: Response, admin_url: &str, value: &str, path: &str, age_s: i64) -> Response {
    let secure = if is_https(admin_url) { "; Secure" } else { "" };
    let name = name(admin_url);
    let cookie = format!("{name}={value}; Path={path}; HttpOnly; SameSite=Strict; Max-Age={age_s}{secure}");
    let mut cookie = HeaderValue::try_from(cookie).expect("tokens are base64, paths are looked at");
    cookie.set_sensitive(true);
    response.headers_mut().append(header::SET_COOKIE, cookie);
    response
}

/// Refuses a request that changes something unless a page of this very origin sent it: a browser sends cookies along
/// whoever asks it to.
pub(super) fn is_our_page(parts: &Parts, token: &Token, admin_url: &str) -> Result<(), Problem> {
    if matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    is_same_origin(&parts.headers, &parts.uri, admin_url)?;
    let shown = parts.headers.get(CSRF_HEADER).map_or(&b""[..], HeaderValue::as_bytes);
    if bool::from(shown.ct_eq(token.csrf().as_bytes())) {
        return Ok(());
    }
    let detail = format!(
        "a request with a session cookie needs the header `{CSRF_HEADER}` with the token that \
         `GET /api/v1/admin/session` tells"
    );
    Err(Problem::new(Kind::Forbidden, detail).field(CSRF_HEADER))
}

/// Refuses what a page of another origin made a browser send. Ours is the one that was asked, or, behind a proxy that asks
/// under another name, the one that people are told of.
pub(super) fn is_same_origin(headers: &HeaderMap, uri: &Uri, admin_url: &str) -> Result<(), Problem> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let host = uri.authority().map(|authority| authority.as_str()).or_else(|| text(header::HOST));
    let is_same = match (text(header::ORIGIN), text(header::HeaderName::from_static("sec-fetch-site"))) {
        (_, Some(site)) if site != "same-origin" => false,
        (Some(origin), _) => origin == admin_url || origin.split_once("://").map(|(_, origin)| origin) == host,
        (None, Some(_)) => true,
        (None, None) => false,
    };
    if is_same {
        return Ok(());
    }
    let detail = "this came from a page of another origin, or does not say from which (the header `origin`); \
                  programs send an API key or a session as `Authorization: Bearer …` instead of a cookie";
    Err(Problem::new(Kind::Forbidden, detail).field("origin"))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const ADMIN: &str = "https://admin.example.com";

    fn token() -> Token {
        Token::parse("pcs_test").expect("a token")
    }

    fn parts(method: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri("/api/v1/admin/apps").header("host", "pi.local:8081");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn what_only_reads_needs_no_proof() {
        assert!(is_our_page(&parts("GET", &[]), &token(), ADMIN).is_ok());
    }

    #[test]
    fn what_changes_something_needs_the_origin_and_the_token() {
        let csrf = token().csrf();
        let ours = ("origin", "http://pi.local:8081");
        for ours in [ours, ("origin", ADMIN)] {
            assert!(is_our_page(&parts("POST", &[ours, (CSRF_HEADER, &csrf)]), &token(), ADMIN).is_ok(), "{ours:?}");
        }
        for bad in [
            vec![],
            vec![ours],
            vec![(CSRF_HEADER, &*csrf)],
            vec![ours, (CSRF_HEADER, "guess")],
            vec![("origin", "http://pi.local:8080"), (CSRF_HEADER, &csrf)],
            vec![("origin", "https://evil.example"), (CSRF_HEADER, &csrf)],
            vec![("origin", "null"), (CSRF_HEADER, &csrf)],
            vec![ours, ("sec-fetch-site", "same-site"), (CSRF_HEADER, &csrf)],
            vec![ours, ("sec-fetch-site", "cross-site"), (CSRF_HEADER, &csrf)],
        ] {
            assert!(is_our_page(&parts("POST", &bad), &token(), ADMIN).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_the_cookie_that_we_would_set_counts_and_two_are_none() {
        let both = parts("GET", &[("cookie", "a=1; picloud_session=pcs_b; __Host-picloud_session=pcs_a")]).headers;
        let token = |kept| match kept {
            Kept::Token(token) => token.expose().to_owned(),
            other => format!("{other:?}"),
        };
        assert_eq!(token(session(&both, "https://pi.local")), "pcs_a");
        assert_eq!(token(session(&both, "http://pi.local")), "pcs_b");
        for (cookies, told) in [
            ("a=1", "None"),
            ("picloud_session=else", "Broken"),
            ("picloud_session=pcs_a; picloud_session=pcs_b", "Several"),
            ("picloud_session=pcs_a; picloud_session=pcs_a", "pcs_a"),
        ] {
            let headers = parts("GET", &[("cookie", cookies)]).headers;
            assert_eq!(token(session(&headers, "http://pi.local")), told, "{cookies}");
        }
    }

    #[test]
    fn what_was_set_for_a_part_of_our_paths_is_cleared_there() {
        let response = cleared_beside(Response::default(), "http://pi.local", "/api/v1/x");
        let cleared: Vec<&str> =
            response.headers().get_all("set-cookie").iter().map(|cookie| cookie.to_str().expect("text")).collect();
        for path in ["/api", "/api/", "/api/v1", "/api/v1/", "/api/v1/x"] {
            assert!(cleared.iter().any(|cookie| cookie.contains(&format!("Path={path};"))), "{path}: {cleared:?}");
        }
        assert!(
            cleared.iter().all(|cookie| cookie.contains("Max-Age=0") && !cookie.contains("Path=/;")),
            "{cleared:?}"
        );
    }
}
