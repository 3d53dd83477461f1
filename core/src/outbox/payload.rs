//! What a run that is owed gets, readable: between being owed and being run it lies in the log, requests sealed.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::{
    event::outbox::Payload,
    id::{OutboxId, RequestId},
    keys::{CannotOpen, DataKey, Purpose},
    run::{CREDENTIALS, Record, Request},
};

/// What a run gets. As JSON it is `{"request": …}` or `{"event": …}`: what a dead letter shows, and takes back edited.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plain {
    /// A request whose caller was answered before.
    Request(Box<Kept>),
    /// Something that happened, as `ctx.event` without what each attempt adds.
    Event(Box<RawValue>),
}

/// A request that waits for its run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The request, as its caller was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
    method: String,
    path: String,
    host: String,
    #[serde(default, deserialize_with = "without_credentials")]
    headers: Vec<(String, String)>,
    #[serde(default)]
    query: Vec<(String, String)>,
    #[serde(default)]
    params: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rest: Option<String>,
    /// What came, where it is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    /// Where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    /// What is kept of the runs.
    #[serde(default)]
    pub record: Record,
}

/// Whoever edits what a letter holds must not put into the log what never enters it.
fn without_credentials<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, String)>, D::Error> {
    let mut headers = Vec::<(String, String)>::deserialize(deserializer)?;
    headers.retain(|(name, _)| !CREDENTIALS.contains(&name.to_ascii_lowercase().as_str()));
    Ok(headers)
}

impl Kept {
    /// What is kept of a request: without credentials, so a run after the answer does not see them.
    #[must_use]
    pub fn of(request: &Request, request_id: Option<RequestId>, record: Record) -> Self {
        let is_kept = |header: &&(String, String)| !CREDENTIALS.contains(&header.0.as_str());
        let (body, body_base64) = match std::str::from_utf8(&request.body) {
            Ok(text) => (Some(text.to_owned()), None),
            Err(_) => (None, Some(BASE64_STANDARD.encode(&request.body))),
        };
        Self {
            request_id,
            method: request.method.clone(),
            path: request.path.clone(),
            host: request.host.clone(),
            headers: request.headers.iter().filter(is_kept).cloned().collect(),
            query: request.query.clone(),
            params: request.params.clone(),
            rest: request.rest.clone(),
            body,
            body_base64,
            record,
        }
    }

    /// The request as its run gets it.
    #[must_use]
    pub fn request(self) -> Request {
        let bytes = self.body_base64.and_then(|text| BASE64_STANDARD.decode(text).ok()).map(Bytes::from);
        Request {
            method: self.method,
            path: self.path,
            host: self.host,
            headers: self.headers,
            query: self.query,
            params: self.params,
            rest: self.rest,
            body: self.body.map(Bytes::from).or(bytes).unwrap_or_default(),
        }
    }
}

impl Plain {
    /// What an item holds.
    ///
    /// # Errors
    /// [`CannotOpen`], when it is another item's, or was changed.
    pub fn open(payload: &Payload, item: OutboxId, key: &DataKey) -> Result<Self, CannotOpen> {
        match payload {
            Payload::Event(event) => Ok(Self::Event(event.clone())),
            Payload::Request(sealed) => {
                let plain = key.open(Purpose::Payload, item.to_string().as_bytes(), sealed)?;
                serde_json::from_slice(&plain).map(Self::Request).map_err(|_| CannotOpen)
            }
        }
    }

    /// The same as an item holds it.
    #[must_use]
    pub fn seal(self, item: OutboxId, key: &DataKey) -> Payload {
        match self {
            Self::Event(event) => Payload::Event(event),
            Self::Request(kept) => {
                let plain = serde_json::to_vec(&kept).expect("requests are plain data");
                Payload::Request(key.seal(Purpose::Payload, item.to_string().as_bytes(), &plain))
            }
        }
    }
}

/// What a run finds in `ctx.event`: what happened, and what more is said of it. What is there already stays.
#[must_use]
pub(super) fn seen(event: &RawValue, more: &[(&str, &RawValue)]) -> Box<RawValue> {
    // Whoever edits a letter may make anything of it.
    let Ok(mut fields) = serde_json::from_str::<BTreeMap<String, &RawValue>>(event.get()) else {
        return event.to_owned();
    };
    for (name, value) in more {
        fields.entry((*name).to_owned()).or_insert(value);
    }
    to_raw_value(&fields).expect("fields are JSON")
}

/// The same of one of its fields.
#[must_use]
pub fn seen_within(event: &RawValue, field: &str, more: &[(&str, &RawValue)]) -> Box<RawValue> {
    let Ok(mut fields) = serde_json::from_str::<BTreeMap<String, &RawValue>>(event.get()) else {
        return event.to_owned();
    };
    let within = fields.get(field).map(|within| seen(within, more));
    if let Some(within) = &within {
        fields.insert(field.to_owned(), within);
    }
    to_raw_value(&fields).expect("fields are JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_that_somebody_writes_into_a_letter_are_left_out() {
        let edited =
            r#"{"method":"POST","path":"/","host":"h","headers":[["Authorization","x"],["cookie","x"],["a","b"]]}"#;
        let kept: Kept = serde_json::from_str(edited).expect("a request");
        assert_eq!(kept.request().headers, [("a".to_owned(), "b".to_owned())]);
    }

    #[test]
    fn a_request_comes_back_as_it_was_but_for_its_credentials() {
        let header = |name: &str| (name.to_owned(), "x".to_owned());
        for body in [&b"text"[..], &[0xff, 0, 1], b""] {
            let request = Request {
                method: "POST".to_owned(),
                headers: vec![header("authorization"), header("accept"), header("cookie")],
                body: Bytes::from_static(body),
                rest: Some("a/b".to_owned()),
                ..Request::default()
            };
            let kept = Kept::of(&request, None, Record::Headers);
            let read: Kept = serde_json::from_str(&serde_json::to_string(&kept).expect("JSON")).expect("the same");
            assert_eq!(read.record, Record::Headers);
            assert_eq!(read.request(), Request { headers: vec![header("accept")], ..request });
        }
    }
}
