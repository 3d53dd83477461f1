//! What a redirect makes of a request.

use picloud_core::run::CREDENTIALS;
use reqwest::{
    Method, StatusCode,
    header::{self, HeaderMap},
};

use super::{Failure, Request, message::TRACEPARENT};

/// The request that follows an answer; none, when that is the answer.
pub(super) fn next(request: &Request, status: StatusCode, headers: &HeaderMap) -> Result<Option<Request>, Failure> {
    let is_redirect = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
    let Some(location) = headers.get(header::LOCATION).filter(|_| is_redirect && request.follow) else {
        return Ok(None);
    };
    let location = std::str::from_utf8(location.as_bytes()).map_err(|_| Failure::BadRedirect)?;
    let url = request.url.join(location).map_err(|_| Failure::BadRedirect)?;
    let mut next = Request { url, ..request.clone() };
    if !keeps_its_body(&request.method, status) {
        next.method = if request.method == Method::HEAD { Method::HEAD } else { Method::GET };
        next.body.clear();
        for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LANGUAGE] {
            next.headers.remove(name);
        }
    }
    if next.url.origin() != request.url.origin() {
        for name in CREDENTIALS {
            next.headers.remove(name);
        }
        // Told to whom the script called. What that one names is not to know which requests belong together.
        next.headers.remove(TRACEPARENT);
    }
    Ok(Some(next))
}

/// As browsers do it: what was posted is asked for after 301 and 302, and after 303 everything is.
fn keeps_its_body(method: &Method, status: StatusCode) -> bool {
    match status.as_u16() {
        303 => matches!(*method, Method::GET | Method::HEAD),
        301 | 302 => *method != Method::POST,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn request(method: Method) -> Request {
        let headers =
            [("authorization", "a"), ("cookie", "b"), ("content-type", "c"), ("traceparent", "t"), ("x-own", "d")];
        let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        Request {
            method,
            url: "https://one.example/a/b?q".parse().unwrap(),
            headers: headers.into_iter().collect(),
            body: Bytes::from_static(b"body"),
            timeout: None,
            follow: true,
        }
    }

    fn redirected(method: Method, status: u16, location: &str) -> Option<Request> {
        let headers = [(header::LOCATION, location.parse().unwrap())].into_iter().collect();
        next(&request(method), StatusCode::from_u16(status).unwrap(), &headers).unwrap()
    }

    fn names(request: &Request) -> Vec<&str> {
        let mut names: Vec<_> = request.headers.keys().map(header::HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn within_an_origin_everything_goes_along() {
        let next = redirected(Method::PUT, 308, "../c").unwrap();
        assert_eq!(next.url.as_str(), "https://one.example/c");
        assert_eq!((next.method, &next.body[..]), (Method::PUT, &b"body"[..]));
        assert_eq!(next.headers, request(Method::PUT).headers);
    }

    #[test]
    fn neither_credentials_nor_traces_leave_the_origin() {
        for elsewhere in ["https://two.example/", "http://one.example/", "https://one.example:444/", "//two.example"] {
            let next = redirected(Method::POST, 307, elsewhere).unwrap();
            assert_eq!(names(&next), ["content-type", "x-own"], "{elsewhere}");
            assert_eq!(&next.body[..], b"body");
        }
    }

    #[test]
    fn what_was_posted_is_asked_for_elsewhere() {
        for status in [301, 302, 303] {
            let next = redirected(Method::POST, status, "/c").unwrap();
            assert_eq!((&next.method, next.body.len()), (&Method::GET, 0), "{status}");
            assert_eq!(names(&next), ["authorization", "cookie", "traceparent", "x-own"]);
        }
        assert_eq!(redirected(Method::HEAD, 303, "/c").unwrap().method, Method::HEAD);
        assert_eq!(redirected(Method::DELETE, 302, "/c").unwrap().method, Method::DELETE);
        assert_eq!(redirected(Method::DELETE, 303, "/c").unwrap().method, Method::GET);
    }

    #[test]
    fn what_is_no_redirect_is_the_answer() {
        for status in [200, 201, 300, 304, 305, 404] {
            assert_eq!(redirected(Method::GET, status, "/c"), None, "{status}");
        }
        assert_eq!(next(&request(Method::GET), StatusCode::FOUND, &HeaderMap::new()), Ok(None));
        let stays = Request { follow: false, ..request(Method::GET) };
        let headers = [(header::LOCATION, "/c".parse().unwrap())].into_iter().collect();
        assert_eq!(next(&stays, StatusCode::FOUND, &headers), Ok(None));
    }

    #[test]
    fn a_redirect_to_nowhere_is_a_failure() {
        let headers = [(header::LOCATION, "http://[".parse().unwrap())].into_iter().collect();
        assert_eq!(next(&request(Method::GET), StatusCode::FOUND, &headers), Err(Failure::BadRedirect));
    }
}
