//! `http::`: calls to others. They happen at once, whatever becomes of the run.

mod answer;
mod options;

use picloud_core::capability::Capability;
use reqwest::Method;
use rhai::{Dynamic, EvalAltResult, ImmutableString, Map};

use self::options::{Asked, REQUEST_OPTIONS};
use crate::sandbox::{
    current::{thrown, with_data},
    data::DataError,
    registry::Registry,
    rights::need,
    value::kind_name,
};

type Refused = Box<EvalAltResult>;

/// One way of calling: its name and what it does.
#[derive(Clone, Copy)]
struct Verb {
    call: &'static str,
    method: &'static str,
}

pub(in crate::sandbox) fn register(registry: &mut Registry) {
    asking(
        registry,
        Verb { call: "http::get", method: "GET" },
        "get(url: string) -> map",
        "Asks a URL for what is there: `#{status, headers, body, body_raw}`, whatever the status. `body` is JSON as a \
         value, text as a string, anything else as the blob that `body_raw` is.",
        "get(url: string, options: map) -> map",
        "As `get(url)`, with options `#{headers, query, timeout_ms, follow}`: maps, milliseconds, and whether \
         redirects are followed.",
    );
    asking(
        registry,
        Verb { call: "http::head", method: "HEAD" },
        "head(url: string) -> map",
        "Asks a URL for its status and headers.",
        "head(url: string, options: map) -> map",
        "Asks a URL for its status and headers, with options as `http::get`.",
    );
    asking(
        registry,
        Verb { call: "http::delete", method: "DELETE" },
        "delete(url: string) -> map",
        "Sends DELETE to a URL; answers as `http::get`.",
        "delete(url: string, options: map) -> map",
        "Sends DELETE to a URL, with options as `http::get`; answers as that does.",
    );
    sending(
        registry,
        Verb { call: "http::post", method: "POST" },
        ("post(url: string) -> map", "Sends POST to a URL, without a body; answers as `http::get`."),
        (
            "post(url: string, body: ?) -> map",
            "Sends POST with a body: a string or a blob as it is, any other value as JSON. Answers as `http::get`.",
        ),
        (
            "post(url: string, body: ?, options: map) -> map",
            "Sends POST with options as `http::get`; instead of a body, `()`, there may be `json: value`, `form: map` or \
             `body` among them.",
        ),
    );
    sending(
        registry,
        Verb { call: "http::put", method: "PUT" },
        ("put(url: string) -> map", "Sends PUT to a URL, without a body; answers as `http::get`."),
        ("put(url: string, body: ?) -> map", "Sends PUT with a body, as `http::post`."),
        ("put(url: string, body: ?, options: map) -> map", "Sends PUT with a body and options, as `http::post`."),
    );
    sending(
        registry,
        Verb { call: "http::patch", method: "PATCH" },
        ("patch(url: string) -> map", "Sends PATCH to a URL, without a body; answers as `http::get`."),
        ("patch(url: string, body: ?) -> map", "Sends PATCH with a body, as `http::post`."),
        ("patch(url: string, body: ?, options: map) -> map", "Sends PATCH with a body and options, as `http::post`."),
    );
    registry.add(
        "request(options: map) -> map",
        "Sends what the options say: `url` and, besides those of `http::post`, `method`, which is GET without a word.",
        request,
    );
}

/// A call that usually has no body.
fn asking(
    registry: &mut Registry,
    verb: Verb,
    plain: &'static str,
    plain_doc: &'static str,
    with_options: &'static str,
    options_doc: &'static str,
) {
    registry.add(plain, plain_doc, move |url: &str| verb.make(url, None, None)).add(
        with_options,
        options_doc,
        move |url: &str, options: Map| verb.make(url, None, Some(&options)),
    );
}

/// A call that usually has one. Each form with its documentation.
fn sending(
    registry: &mut Registry,
    verb: Verb,
    plain: (&'static str, &'static str),
    with_body: (&'static str, &'static str),
    with_options: (&'static str, &'static str),
) {
    registry
        .add(plain.0, plain.1, move |url: &str| verb.make(url, None, None))
        .add(with_body.0, with_body.1, move |url: &str, body: Dynamic| verb.make(url, Some(&body), None))
        .add(with_options.0, with_options.1, move |url: &str, body: Dynamic, options: Map| {
            verb.make(url, Some(&body), Some(&options))
        });
}

impl Verb {
    fn make(self, url: &str, body: Option<&Dynamic>, options: Option<&Map>) -> Result<Map, Refused> {
        need(self.call, Capability::AppHttpRequest)?;
        let mut asked = Asked::new(self.call, method(self.call, self.method)?, url)?;
        if let Some(options) = options {
            asked.options(options, &REQUEST_OPTIONS[2..])?;
        }
        if let Some(body) = body.filter(|body| !body.is_unit()) {
            asked.body("the second argument", body)?;
        }
        make(asked)
    }
}

fn request(options: Map) -> Result<Map, Refused> {
    const CALL: &str = "http::request";
    need(CALL, Capability::AppHttpRequest)?;
    let text = |name: &str| match options.get(name).filter(|value| !value.is_unit()) {
        None => Ok(None),
        Some(value) => match value.read_lock::<ImmutableString>() {
            Some(text) => Ok(Some(text.to_string())),
            None => Err(thrown(format!("{CALL}: `{name}` is {}: it must be a string", kind_name(value)))),
        },
    };
    let Some(url) = text("url")? else {
        return Err(thrown(format!("{CALL}: there is no `url` among the options")));
    };
    let method = method(CALL, &text("method")?.unwrap_or_else(|| "GET".to_owned()))?;
    let mut asked = Asked::new(CALL, method, &url)?;
    asked.options(&options, REQUEST_OPTIONS)?;
    make(asked)
}

fn method(call: &str, name: &str) -> Result<Method, Refused> {
    let refused = || thrown(format!("{call}: `{}` is no method that can be sent", options::shortened(name)));
    let method = Method::from_bytes(name.to_ascii_uppercase().as_bytes()).map_err(|_| refused())?;
    // Neither asks for anything: one is for proxies, one would show a server's credentials to whoever asks.
    if matches!(method, Method::CONNECT | Method::TRACE) || name.len() > 20 { Err(refused()) } else { Ok(method) }
}

fn make(asked: Asked) -> Result<Map, Refused> {
    let (call, request) = asked.into_request()?;
    let shown = request.shown();
    let answer = with_data(|data| {
        data.http(request).map_err(|error| match error {
            DataError::Refused(why) => DataError::Refused(format!("{call}: {shown}: {why}")),
            other => other,
        })
    })?;
    answer::value(&answer)
}
