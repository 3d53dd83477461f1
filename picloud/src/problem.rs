//! What went wrong, as the command line tells it: RFC 9457, whether the server said so or we found out ourselves.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A problem. The server's pass through unchanged, their further members included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// Which kind, `/problems/not-found`.
    #[serde(rename = "type", default = "about_blank")]
    pub kind: String,
    /// The same for all of its kind.
    #[serde(default)]
    pub title: String,
    /// The HTTP status; absent when there was no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What was wrong, with which value, and what to do.
    #[serde(default)]
    pub detail: String,
    /// `request_id`, `field`, `diagnostics` and the like.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Problem {
    /// One that no server told us of.
    #[must_use]
    pub fn local(name: &str, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("/problems/{name}"),
            title: title.to_owned(),
            status: None,
            detail: detail.into(),
            more: Map::new(),
        }
    }

    /// The sentence to show: the detail, or the title when there is none.
    #[must_use]
    pub fn sentence(&self) -> &str {
        if self.detail.is_empty() { &self.title } else { &self.detail }
    }
}

fn about_blank() -> String {
    "about:blank".to_owned()
}
