//! Paths of the admin API. What someone typed becomes one segment, whatever it holds.

use reqwest::Url;

/// `/api/v1/admin`, and these segments.
pub(super) fn admin(segments: &[&str]) -> String {
    let mut url = Url::parse("http://x/api/v1/admin").expect("a URL");
    url.path_segments_mut().expect("it has a host").extend(segments);
    url.path().to_owned()
}

/// A path with what is asked of it, as far as something is.
pub(super) fn asking(path: &str, pairs: &[(&str, Option<&str>)]) -> String {
    let mut url = Url::parse("http://x/").expect("a URL");
    url.query_pairs_mut().extend_pairs(pairs.iter().filter_map(|(name, value)| Some((name, (*value)?))));
    match url.query() {
        None | Some("") => path.to_owned(),
        Some(query) => format!("{path}?{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_stays_a_segment() {
        assert_eq!(admin(&["apps", "a/b?c#d e", "env"]), "/api/v1/admin/apps/a%2Fb%3Fc%23d%20e/env");
    }

    #[test]
    fn what_is_not_asked_is_not_there() {
        assert_eq!(asking("/a", &[("at", None)]), "/a");
        let at = ("at", Some("2026-01-31T12:00:00+02:00"));
        assert_eq!(asking("/a", &[("q", None), at]), "/a?at=2026-01-31T12%3A00%3A00%2B02%3A00");
    }
}
