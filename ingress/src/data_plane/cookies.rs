//! The platform's session cookie is no script's business: it is taken out of requests and answers alike.

use std::borrow::Cow;

/// The names the session goes by, over https and over plain http.
pub const SESSION_COOKIES: [&str; 2] = ["__Host-picloud_session", "picloud_session"];

/// A `cookie` header without the session; none when nothing is left.
pub(super) fn without_session(header: &str) -> Option<Cow<'_, str>> {
    if !header.split(';').any(is_session) {
        return Some(Cow::Borrowed(header));
    }
    let kept: Vec<_> = header.split(';').map(str::trim).filter(|pair| !pair.is_empty() && !is_session(pair)).collect();
    if kept.is_empty() { None } else { Some(Cow::Owned(kept.join("; "))) }
}

/// Whether a cookie pair, or a `set-cookie` header, is about the session.
pub(super) fn is_session(pair: &str) -> bool {
    let pair = pair.split(';').next().unwrap_or(pair);
    // A cookie without a name is sent as its bare value: `=picloud_session=x` comes back as `picloud_session=x`.
    let pair = pair.trim_start_matches(|c: char| c == '=' || c.is_whitespace());
    let name = pair.split('=').next().unwrap_or(pair).trim();
    SESSION_COOKIES.iter().any(|session| session.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_is_cut_out_and_the_rest_stays_as_it_was() {
        for (header, left) in [
            ("a=1; b=2", Some("a=1; b=2")),
            ("a=1; picloud_session=x; b=2", Some("a=1; b=2")),
            ("__Host-picloud_session=x", None),
            ("__host-picloud_session=x;a=1", Some("a=1")),
            (" picloud_session = x ; my_picloud_session=y", Some("my_picloud_session=y")),
            ("picloud_session", None),
            ("", Some("")),
        ] {
            assert_eq!(without_session(header).as_deref(), left, "{header}");
        }
    }

    #[test]
    fn no_spelling_of_a_set_cookie_gets_through() {
        for header in
            ["picloud_session=x; Path=/", "=picloud_session=x", " = __Host-picloud_session=x", "PICLOUD_SESSION="]
        {
            assert!(is_session(header), "{header}");
        }
        for header in ["session=picloud_session=x", "a=1; picloud_session=x", "picloud_session2=x"] {
            assert!(!is_session(header), "{header}");
        }
    }
}
