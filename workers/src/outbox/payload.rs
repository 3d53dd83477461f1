//! What a run that is owed gets, from when it is owed to when it runs: in the log, and sealed.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use picloud_core::{
    id::{OutboxId, RequestId},
    keys::{CannotOpen, DataKey, Purpose, Sealed},
    run::{Record, Request},
};
use serde::{Deserialize, Serialize};

/// Headers that hold credentials: these are not stored, so a run after the answer does not see them.
const CREDENTIALS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "set-cookie"];

/// A request that waits for its run.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The request, as its caller was told.
    #[serde(default)]
    pub request_id: Option<RequestId>,
    method: String,
    path: String,
    host: String,
    headers: Vec<(String, String)>,
    query: Vec<(String, String)>,
    params: Vec<(String, String)>,
    rest: Option<String>,
    body_base64: String,
    /// What is kept of the runs.
    #[serde(default)]
    pub record: Record,
}

impl Kept {
    /// What is kept of a request.
    #[must_use]
    pub fn of(request: &Request, request_id: Option<RequestId>, record: Record) -> Self {
        let is_kept = |header: &&(String, String)| !CREDENTIALS.contains(&header.0.as_str());
        Self {
            request_id,
            method: request.method.clone(),
            path: request.path.clone(),
            host: request.host.clone(),
            headers: request.headers.iter().filter(is_kept).cloned().collect(),
            query: request.query.clone(),
            params: request.params.clone(),
            rest: request.rest.clone(),
            body_base64: BASE64_STANDARD.encode(&request.body),
            record,
        }
    }

    /// The request as its run gets it.
    #[must_use]
    pub fn request(self) -> Request {
        Request {
            method: self.method,
            path: self.path,
            host: self.host,
            headers: self.headers,
            query: self.query,
            params: self.params,
            rest: self.rest,
            // It was written here.
            body: BASE64_STANDARD.decode(&self.body_base64).unwrap_or_default().into(),
        }
    }

    /// Encrypted, for one item.
    #[must_use]
    pub fn seal(&self, key: &DataKey, item: OutboxId) -> Sealed {
        let plain = serde_json::to_vec(self).expect("requests are plain data");
        key.seal(Purpose::Payload, item.to_string().as_bytes(), &plain)
    }

    /// Reads what [`Kept::seal`] made.
    ///
    /// # Errors
    /// [`CannotOpen`], when it is another item's, or was changed.
    pub fn open(key: &DataKey, item: OutboxId, sealed: &Sealed) -> Result<Self, CannotOpen> {
        let plain = key.open(Purpose::Payload, item.to_string().as_bytes(), sealed)?;
        serde_json::from_slice(&plain).map_err(|_| CannotOpen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_comes_back_as_it_was_but_for_its_credentials() {
        let header = |name: &str| (name.to_owned(), "x".to_owned());
        let request = Request {
            method: "POST".to_owned(),
            headers: vec![header("authorization"), header("accept"), header("cookie")],
            body: vec![0xff, 0, 1].into(),
            rest: Some("a/b".to_owned()),
            ..Request::default()
        };
        let kept = Kept::of(&request, None, Record::Headers);
        let read: Kept = serde_json::from_str(&serde_json::to_string(&kept).expect("JSON")).expect("the same");
        assert_eq!(read.record, Record::Headers);
        assert_eq!(read.request(), Request { headers: vec![header("accept")], ..request });
    }
}
