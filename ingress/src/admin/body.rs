//! Reads a JSON body strictly: what is not understood is refused, with its name and place.

use std::time::Duration;

use axum::extract::{FromRequest, Request};
use http::{HeaderMap, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use tokio::time::timeout;

use super::near;
use crate::problem::{Kind, Problem};

/// A deployment with many scripts fits; a commit may not be larger anyway.
const MAX_BYTES: usize = 16 << 20;

/// By then the body must have come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A JSON body, read into a type.
#[derive(Debug)]
pub(super) struct Json<T>(pub(super) T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        is_json(request.headers())?;
        let collected = timeout(PATIENCE, Limited::new(request.into_body(), MAX_BYTES).collect()).await;
        let body = match collected {
            Err(_) => return Err(Problem::new(Kind::RequestTimeout, "the body did not come in time; try again")),
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                let detail = format!("the body is larger than the {MAX_BYTES} bytes that are read here");
                return Err(Problem::new(Kind::BodyTooLarge, detail).with("allowed", MAX_BYTES));
            }
            Ok(Err(_)) => return Err(Problem::new(Kind::BadRequest, "the body broke off; nothing was changed")),
        };
        serde_json::from_slice(&body).map(Self).map_err(|error| refused(&error))
    }
}

fn is_json(headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let essence = given.as_deref().map(|given| given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    match essence {
        Some(essence) if essence == "application/json" || essence.ends_with("+json") => Ok(()),
        Some(other) => {
            let other: String = other.chars().take(100).collect();
            let detail = format!("the body is said to be `{other}`; send JSON, as `content-type: application/json`");
            Err(Problem::new(Kind::UnsupportedMediaType, detail).field("content-type"))
        }
        None => {
            let detail = "send a JSON body, as `content-type: application/json`";
            Err(Problem::new(Kind::UnsupportedMediaType, detail).field("content-type"))
        }
    }
}

/// What is wrong with a body, and where.
fn refused(error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    let place = format!("line {}, column {}", error.line(), error.column());
    let problem = match error.classify() {
        Category::Data => match near::unknown_name(message) {
            Some((name, message)) => Problem::new(Kind::InvalidInput, format!("{message} ({place})")).field(name),
            None => {
                let problem = Problem::new(Kind::InvalidInput, format!("{message} ({place})"));
                let missing = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
                match missing.map(str::to_owned) {
                    Some(field) => problem.field(field),
                    None => problem,
                }
            }
        },
        Category::Syntax | Category::Eof | Category::Io => {
            Problem::new(Kind::BadRequest, format!("the body is not JSON: {message} ({place})"))
        }
    };
    problem.with("line", error.line()).with("column", error.column())
}
