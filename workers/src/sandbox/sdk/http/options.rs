//! A call in the making: what a script says of it, checked.

use std::time::Duration;

use bytes::Bytes;
use picloud_core::nearest::nearest;
use reqwest::{
    Method,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use rhai::{Array, Blob, Dynamic, EvalAltResult, INT, ImmutableString, Map};
use url::Url;

use crate::{
    http::Request,
    sandbox::{
        current::thrown,
        meter,
        sdk::url::encoded,
        value::{Kind, Room, WriteError, kind_name, write_json},
    },
};

type Refused = Box<EvalAltResult>;

/// What `http::request` takes; the other calls take all but the first two.
pub(super) const REQUEST_OPTIONS: &[&str] =
    &["method", "url", "headers", "query", "timeout_ms", "json", "form", "body", "follow"];

const MAX_TIMEOUT_MS: INT = 300_000;
const MAX_URL_BYTES: usize = 8 * 1024;
const MAX_HEADERS: usize = 100;
const MAX_HEADER_BYTES: usize = 32 * 1024;

/// About the connection or the platform, not about the call: not the script's to set.
const NOT_THEIRS: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    crate::http::HOPS,
];

pub(super) struct Asked {
    call: &'static str,
    request: Request,
    has_body: bool,
}

impl Asked {
    pub(super) fn new(call: &'static str, method: Method, url: &str) -> Result<Self, Refused> {
        let refused = |why: &str| thrown(format!("{call}: `{}` {why}", without_secrets(url)));
        if url.len() > MAX_URL_BYTES {
            return Err(refused(&format!("is a URL of more than {MAX_URL_BYTES} bytes")));
        }
        meter::spend(url.len() * 4)?;
        let url = Url::parse(url).map_err(|error| refused(&format!("is no absolute URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refused("is neither an http nor an https URL"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("has a user name or password in it: use the header `authorization`"));
        }
        let request =
            Request { method, url, headers: HeaderMap::new(), body: Bytes::new(), timeout: None, follow: true };
        Ok(Self { call, request, has_body: false })
    }

    pub(super) fn options(&mut self, options: &Map, known: &[&str]) -> Result<(), Refused> {
        for (name, value) in options {
            if !known.contains(&name.as_str()) {
                return Err(self.unknown(name, known));
            }
            if value.is_unit() {
                continue;
            }
            match name.as_str() {
                "headers" => self.headers(&*self.map(name, value)?)?,
                "query" => self.query(&*self.map(name, value)?)?,
                "timeout_ms" => self.timeout(value)?,
                "json" => self.json(value)?,
                "form" => {
                    let form = encoded(self.call, &*self.map(name, value)?)?;
                    self.put_body("form", form.into(), "application/x-www-form-urlencoded")?;
                }
                "body" => self.body("`body`", value)?,
                "follow" => {
                    let follow = value.as_bool();
                    self.request.follow = follow.map_err(|_| self.wrong(name, value, "true or false"))?;
                }
                // Those of `http::request` alone: it has read them.
                _ => {}
            }
        }
        Ok(())
    }

    /// A body as a script has it: text and bytes as they are, other values as JSON.
    pub(super) fn body(&mut self, name: &str, value: &Dynamic) -> Result<(), Refused> {
        if let Some(text) = value.read_lock::<ImmutableString>() {
            return self.put_body(name, text.as_bytes().to_vec(), "text/plain; charset=utf-8");
        }
        if let Some(bytes) = value.read_lock::<Blob>() {
            return self.put_body(name, bytes.clone(), "application/octet-stream");
        }
        self.json(value)
    }

    /// The call, for what makes it.
    pub(super) fn into_request(self) -> Result<(&'static str, Request), Refused> {
        let headers = &self.request.headers;
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        if headers.len() > MAX_HEADERS || bytes > MAX_HEADER_BYTES {
            let message =
                format!("{}: more than {MAX_HEADERS} headers, or {MAX_HEADER_BYTES} bytes of them", self.call);
            return Err(thrown(message));
        }
        Ok((self.call, self.request))
    }

    fn headers(&mut self, given: &Map) -> Result<(), Refused> {
        for (name, value) in given {
            let lower = name.to_ascii_lowercase();
            if NOT_THEIRS.contains(&lower.as_str()) || lower.starts_with("proxy-") {
                return Err(thrown(format!("{}: the header `{lower}` is not the script's to set", self.call)));
            }
            let known = HeaderName::from_bytes(lower.as_bytes());
            let known =
                known.map_err(|_| thrown(format!("{}: `{}` is no name of a header", self.call, shortened(name))))?;
            match value.read_lock::<Array>() {
                Some(all) => {
                    for one in all.iter() {
                        self.header(&known, one)?;
                    }
                }
                None => self.header(&known, value)?,
            }
        }
        Ok(())
    }

    fn header(&mut self, name: &HeaderName, value: &Dynamic) -> Result<(), Refused> {
        let text = match Kind::of(value) {
            Kind::Unit => return Ok(()),
            Kind::Text | Kind::Int | Kind::Float | Kind::Bool => value.to_string(),
            _ => return Err(self.wrong(name.as_str(), value, "a string, or an array of some")),
        };
        meter::spend(text.len())?;
        // The value may be a secret: it is not told.
        let value = HeaderValue::from_str(&text).map_err(|_| {
            thrown(format!("{}: the value of the header `{name}` has characters that headers cannot have", self.call))
        })?;
        // What the options say counts, whatever came with a body before.
        if *name == header::CONTENT_TYPE {
            self.request.headers.insert(name, value);
        } else {
            self.request.headers.append(name, value);
        }
        Ok(())
    }

    fn query(&mut self, given: &Map) -> Result<(), Refused> {
        let more = encoded(self.call, given)?;
        if more.len() > MAX_URL_BYTES {
            return Err(thrown(format!("{}: `query` is longer than {MAX_URL_BYTES} bytes", self.call)));
        }
        if !more.is_empty() {
            let query = match self.request.url.query().filter(|query| !query.is_empty()) {
                Some(query) => format!("{query}&{more}"),
                None => more,
            };
            self.request.url.set_query(Some(&query));
        }
        Ok(())
    }

    fn timeout(&mut self, value: &Dynamic) -> Result<(), Refused> {
        match value.as_int() {
            Ok(ms @ 1..=MAX_TIMEOUT_MS) => {
                self.request.timeout = Some(Duration::from_millis(ms.unsigned_abs()));
                Ok(())
            }
            _ => Err(self.wrong("timeout_ms", value, &format!("an int from 1 to {MAX_TIMEOUT_MS}"))),
        }
    }

    fn json(&mut self, value: &Dynamic) -> Result<(), Refused> {
        let limits = meter::limits();
        let room = Room { bytes: limits.max_string_bytes, limit: "max_string_bytes" };
        let json = write_json(value, &limits, room).map_err(|error| match error {
            WriteError::Limit { name, message } => {
                meter::over_limit(name, format!("{}: the body: {message}", self.call))
            }
            error => thrown(format!("{}: the body: {}", self.call, error.describe())),
        })?;
        self.put_body("json", json, "application/json")
    }

    fn put_body(&mut self, name: &str, body: Vec<u8>, content_type: &'static str) -> Result<(), Refused> {
        if std::mem::replace(&mut self.has_body, true) {
            let message = format!("{}: {name} is a second body: use one of `body`, `json` and `form`", self.call);
            return Err(thrown(message));
        }
        meter::string_fits(body.len())?;
        meter::spend(body.len())?;
        self.request.body = body.into();
        let content_type = HeaderValue::from_static(content_type);
        self.request.headers.entry(header::CONTENT_TYPE).or_insert(content_type);
        Ok(())
    }

    fn map<'v>(&self, name: &str, value: &'v Dynamic) -> Result<rhai::DynamicReadLock<'v, Map>, Refused> {
        value.read_lock::<Map>().ok_or_else(|| self.wrong(name, value, "a map"))
    }

    fn wrong(&self, name: &str, value: &Dynamic, wanted: &str) -> Refused {
        let given = match Kind::of(value) {
            Kind::Int => value.to_string(),
            _ => kind_name(value).to_owned(),
        };
        thrown(format!("{}: `{name}` is {given}: it must be {wanted}", self.call))
    }

    fn unknown(&self, name: &str, known: &[&str]) -> Refused {
        let meant = nearest(name, known.iter().copied()).map_or_else(String::new, |near| format!(", perhaps `{near}`"));
        let (name, known) = (shortened(name), known.join(", "));
        thrown(format!("{}: there is no option `{name}`{meant}; there is {known}", self.call))
    }
}

/// As much of what was given as a URL as can be told: no query, no user name, no password.
fn without_secrets(given: &str) -> String {
    let told = given.split(['?', '#']).next().unwrap_or_default();
    shortened(told.rsplit('@').next().unwrap_or_default())
}

pub(super) fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}
