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

/// The session that a request's cookies name: none, one that cannot be, or a token.
pub(super) fn session(headers: &HeaderMap) -> Option<Option<Token>> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let named: Vec<(&str, &str)> = pairs.filter(|(name, _)| SESSION_COOKIES.contains(name)).collect();
    // The one that only an https answer of this very host can set comes first.
    let value = named.iter().min_by_key(|(name, _)| SESSION_COOKIES.iter().position(|known| known == name))?.1;
    Some(Token::parse(value))
}

/// Lets a browser keep a session. Over plain http there is no such thing as a secure cookie.
pub(super) fn kept(mut response: Response, token: &Token, is_https: bool) -> Response {
    let [secure, plain] = SESSION_COOKIES;
    let (name, rest) = if is_https { (secure, "; Secure") } else { (plain, "") };
    let age_s = SESSION_LASTS.num_seconds();
    let cookie = format!("{name}={}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age_s}{rest}", token.expose());
    let mut value = HeaderValue::try_from(cookie).expect("tokens are base64");
    value.set_sensitive(true);
    response.headers_mut().append(header::SET_COOKIE, value);
    response
}

/// Makes a browser forget the session.
pub(super) fn cleared(mut response: Response) -> Response {
    let [secure, plain] = SESSION_COOKIES;
    for cookie in [
        format!("{secure}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0; Secure"),
        format!("{plain}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"),
    ] {
        let value = HeaderValue::try_from(cookie).expect("names are plain");
        response.headers_mut().append(header::SET_COOKIE, value);
    }
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
    fn the_cookie_of_https_counts_before_the_other() {
        let headers = parts("GET", &[("cookie", "a=1; picloud_session=pcs_b; __Host-picloud_session=pcs_a")]).headers;
        assert_eq!(session(&headers).flatten().expect("a token").expose(), "pcs_a");
        assert!(session(&parts("GET", &[("cookie", "a=1")]).headers).is_none());
        assert!(session(&parts("GET", &[("cookie", "picloud_session=else")]).headers).expect("a cookie").is_none());
    }
}
