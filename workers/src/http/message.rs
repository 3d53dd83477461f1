//! What goes out and what comes back.

use std::time::Duration;

use bytes::Bytes;
use picloud_core::trace;
use reqwest::{
    Method,
    header::{HeaderMap, HeaderName},
};
use sha2::{Digest as _, Sha256};
use url::Url;

/// Says how many calls of scripts to scripts of this platform stand inside each other.
pub const HOPS: &str = "x-picloud-hops";

/// Says which trace a call belongs to.
pub const TRACEPARENT: HeaderName = HeaderName::from_static(trace::HEADER);

/// A call that a script wants made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub method: Method,
    /// Where.
    pub url: Url,
    /// In the order they go out.
    pub headers: HeaderMap,
    /// Empty is none.
    pub body: Bytes,
    /// After how long it is given up.
    pub timeout: Option<Duration>,
    /// Whether redirects are followed.
    pub follow: bool,
}

impl Request {
    /// The same for the same method, URL, headers and body, and for no others.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        let mut part = |bytes: &[u8]| {
            digest.update((bytes.len() as u64).to_be_bytes());
            digest.update(bytes);
        };
        part(self.method.as_str().as_bytes());
        part(self.url.as_str().as_bytes());
        part(&self.body);
        for (name, value) in &self.headers {
            part(name.as_str().as_bytes());
            part(value.as_bytes());
        }
        digest.finalize().into()
    }

    /// Where it goes, for messages: without the query, which may hold secrets.
    #[must_use]
    pub fn shown(&self) -> String {
        let port = self.url.port().map_or_else(String::new, |port| format!(":{port}"));
        let (scheme, host) = (self.url.scheme(), self.url.host_str().unwrap_or_default());
        let whole = format!("{} {scheme}://{host}{port}{}", self.method, self.url.path());
        whole.chars().take(200).collect()
    }
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// As the server says.
    pub status: u16,
    /// Lower-case names, in order of arrival; a name may come twice.
    pub headers: Vec<(String, String)>,
    /// The bytes as they came.
    pub body: Bytes,
}

impl Answer {
    /// About how much room it takes.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.body.len() + self.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        let url = "https://shop.example:8443/a/b?key=secret#x".parse().unwrap();
        let (headers, body) = (HeaderMap::new(), Bytes::new());
        Request { method: Method::POST, url, headers, body, timeout: None, follow: true }
    }

    #[test]
    fn messages_do_not_tell_the_query() {
        assert_eq!(request().shown(), "POST https://shop.example:8443/a/b");
    }

    #[test]
    fn a_digest_changes_with_all_that_is_sent_and_with_nothing_else() {
        let same = Request { timeout: Some(Duration::from_secs(1)), follow: false, ..request() };
        assert_eq!(request().digest(), same.digest());
        let mut headed = request();
        headed.headers.insert("a", "b".parse().unwrap());
        let mut moved = request();
        moved.headers.insert("ab", "".parse().unwrap());
        let others = [
            Request { method: Method::PUT, ..request() },
            Request { url: "https://shop.example:8443/a/b?key=other#x".parse().unwrap(), ..request() },
            Request { body: "x".into(), ..request() },
            headed,
            moved,
        ];
        let mut digests: Vec<_> = others.iter().chain([&request()]).map(Request::digest).collect();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), 6);
    }
}
