//! `url::`: percent-encoding, queries and the parts of a URL.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use rhai::{Array, Dynamic, EvalAltResult, Map};
use url::Url;

use crate::sandbox::{
    body::many,
    current::thrown,
    meter,
    registry::Registry,
    value::{Kind, kind_name},
};

type Refused = Box<EvalAltResult>;

/// What stays as it is in a component: RFC 3986's unreserved characters.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(in crate::sandbox) fn register(registry: &mut Registry) {
    registry
        .add(
            "encode(text: string) -> string",
            "The text percent-encoded, fit for a part of a path or query.",
            |text: &str| {
                meter::string_fits(text.len() * 3)?;
                meter::spend(text.len())?;
                Ok::<_, Refused>(utf8_percent_encode(text, COMPONENT).to_string())
            },
        )
        .add("decode(text: string) -> string", "The text of a percent-encoded one.", |text: &str| {
            meter::spend(text.len())?;
            let decoded = percent_decode_str(text).decode_utf8();
            decoded.map(String::from).map_err(|_| thrown("url::decode: what is encoded is not UTF-8"))
        })
        .add(
            "parse(url: string) -> map",
            "The parts of an absolute URL: `#{scheme, host, port, path, query, fragment, username, origin}`.",
            parse,
        )
        .add(
            "query(values: map) -> string",
            "A query string of the map's values, without `?`; an array repeats its name, `()` is left out.",
            |values: Map| encoded("url::query", &values),
        );
}

fn parse(text: &str) -> Result<Map, Refused> {
    meter::spend(text.len() * 4)?;
    let url = Url::parse(text)
        .map_err(|error| thrown(format!("url::parse: `{}` is no absolute URL: {error}", shortened(text))))?;
    let mut parts = Map::new();
    parts.insert("scheme".into(), url.scheme().into());
    parts.insert("host".into(), url.host_str().map_or(Dynamic::UNIT, Into::into));
    parts.insert("port".into(), url.port_or_known_default().map_or(Dynamic::UNIT, |port| i64::from(port).into()));
    parts.insert("path".into(), url.path().into());
    parts.insert("query".into(), many(url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned()))));
    parts.insert("fragment".into(), url.fragment().map_or(Dynamic::UNIT, Into::into));
    parts.insert("username".into(), url.username().into());
    parts.insert("origin".into(), url.origin().ascii_serialization().into());
    Ok(parts)
}

/// The values of a map as a query or form; refuses for the call what has no place in one.
pub(super) fn encoded(call: &str, values: &Map) -> Result<String, Refused> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let mut bytes = 0_usize;
    for (name, value) in values {
        if let Some(items) = value.read_lock::<Array>() {
            for item in items.iter() {
                append(call, &mut query, name, item, &mut bytes)?;
            }
        } else {
            append(call, &mut query, name, value, &mut bytes)?;
        }
    }
    Ok(query.finish())
}

fn append(
    call: &str,
    query: &mut form_urlencoded::Serializer<'_, String>,
    name: &str,
    value: &Dynamic,
    bytes: &mut usize,
) -> Result<(), Refused> {
    let text = match Kind::of(value) {
        Kind::Unit => return Ok(()),
        Kind::Text | Kind::Int | Kind::Float | Kind::Bool | Kind::Char => value.to_string(),
        _ => return Err(thrown(format!("{call}: `{name}` is {}: use strings and numbers", kind_name(value)))),
    };
    *bytes += 3 * (name.len() + text.len()) + 2;
    meter::spend(text.len() + name.len())?;
    meter::string_fits(*bytes)?;
    query.append_pair(name, &text);
    Ok(())
}

fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}
