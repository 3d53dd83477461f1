//! Paths of the admin API. What someone typed becomes one segment, whatever it holds.

use reqwest::Url;

/// `/api/v1/admin`, and these segments.
pub(super) fn admin(segments: &[&str]) -> String {
    let mut url = Url::parse("http://x/api/v1/admin").expect("a URL");
    url.path_segments_mut().expect("it has a host").extend(segments);
    url.path().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_stays_a_segment() {
        assert_eq!(admin(&["apps", "a/b?c#d e", "env"]), "/api/v1/admin/apps/a%2Fb%3Fc%23d%20e/env");
    }
}
