//! A request's body as its content type says.

use picloud_core::{limits::Limits, run::Request};
use rhai::{Array, Dynamic, Map};

use super::value::{ReadError, read_json};

const FORM: &str = "application/x-www-form-urlencoded";

/// Why a body could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadBody(pub String);

/// `ctx.request.body`: JSON and forms as values, text as a string, anything else as a blob, nothing as `()`.
///
/// # Errors
/// [`BadBody`] says what is wrong with it: no JSON, not UTF-8, or past a limit of the script.
pub fn decode_body(request: &Request, limits: &Limits) -> Result<Dynamic, BadBody> {
    decode(request.header("content-type").unwrap_or_default(), &request.body, limits)
}

/// A body of that content type, as [`decode_body`] has it.
pub(super) fn decode(content_type: &str, body: &[u8], limits: &Limits) -> Result<Dynamic, BadBody> {
    if body.is_empty() {
        return Ok(Dynamic::UNIT);
    }
    let content_type = content_type.to_ascii_lowercase();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    match media_type {
        _ if is_json(media_type) => read_json(body, limits).map_err(|error| match error {
            ReadError::Invalid(why) => BadBody(format!("the body is not valid JSON: {why}")),
            ReadError::Limit { message, .. } => BadBody(format!("the body cannot be read: {message}")),
            ReadError::Over => BadBody("the body cannot be read within the script's limits".to_owned()),
        }),
        FORM => {
            let pairs = form_urlencoded::parse(body);
            let allowed = limits.max_map_len.min(limits.max_array_len);
            if pairs.clone().nth(allowed).is_some() {
                return Err(BadBody(format!("the body is a form of more than {allowed} fields")));
            }
            Ok(many(pairs.map(|(name, value)| (name.into_owned(), value.into_owned()))))
        }
        _ if media_type.starts_with("text/") && body.len() > limits.max_string_bytes => {
            Err(BadBody(format!("the body is a text longer than {} bytes", limits.max_string_bytes)))
        }
        _ if media_type.starts_with("text/") => match std::str::from_utf8(body) {
            Ok(text) => Ok(text.into()),
            Err(error) => Err(BadBody(format!("the body is `{media_type}` but not UTF-8: {error}"))),
        },
        _ => Ok(Dynamic::from_blob(body.to_vec())),
    }
}

/// Whether decoding can fail, so that it has to be done before the script begins.
pub(super) fn may_be_bad(request: &Request) -> bool {
    !request.body.is_empty()
        && request.header("content-type").is_some_and(|given| {
            let given = given.to_ascii_lowercase();
            let media_type = given.split(';').next().unwrap_or_default().trim();
            is_json(media_type) || media_type.starts_with("text/") || media_type == FORM
        })
}

fn is_json(media_type: &str) -> bool {
    media_type == "application/json" || (media_type.starts_with("application/") && media_type.ends_with("+json"))
}

/// A map of names; one that comes more than once has an array of its values.
pub(super) fn many(pairs: impl Iterator<Item = (String, String)>) -> Dynamic {
    let mut map = Map::new();
    for (name, value) in pairs {
        match map.get_mut(name.as_str()) {
            None => {
                map.insert(name.into(), value.into());
            }
            Some(earlier) if earlier.is_array() => {
                if let Some(mut values) = earlier.write_lock::<Array>() {
                    values.push(value.into());
                }
            }
            Some(earlier) => {
                let first = earlier.take();
                *earlier = Dynamic::from_array(vec![first, value.into()]);
            }
        }
    }
    Dynamic::from_map(map)
}

/// The first header of a name.
pub(super) trait Headers {
    /// `name` in lower case.
    fn header(&self, name: &str) -> Option<&str>;
}

impl Headers for Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }
}
