//! What is told: something that began and ended, and what it is part of.

use std::{borrow::Cow, sync::Arc};

use chrono::{DateTime, Utc};

use super::{Context, SpanId, TraceId};

/// Something that began and ended.
#[derive(Clone, Debug)]
pub struct Span {
    /// What it belongs to.
    pub trace: TraceId,
    /// Its name in there.
    pub id: SpanId,
    /// What it is part of, or follows from.
    pub parent: Option<SpanId>,
    /// What of another trace it follows from.
    pub link: Option<Context>,
    /// What it is, in few different words.
    pub name: String,
    /// On which side of something.
    pub kind: Kind,
    /// When it began.
    pub began_at: DateTime<Utc>,
    /// When it was over; not before it began.
    pub ended_at: DateTime<Utc>,
    /// What is known of it, under the names of OpenTelemetry's conventions where there are such. Nothing that somebody sent
    /// besides a path, and nothing that a script said.
    pub attributes: Vec<(&'static str, Value)>,
    /// What kind of failure it was, if it was one.
    pub error: Option<Cow<'static, str>>,
}

/// On which side of something a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Neither.
    Internal,
    /// Answers who waits.
    Server,
    /// Waits for who answers.
    Client,
    /// Leaves work to be done.
    Producer,
    /// Does it.
    Consumer,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(Cow<'static, str>),
    /// A text that others hold, too.
    Shared(Arc<str>),
    /// A number.
    Integer(i64),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<&Arc<str>> for Value {
    fn from(text: &Arc<str>) -> Self {
        Self::Shared(Arc::clone(text))
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Integer(number.into())
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Integer(number.into())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl Span {
    /// A span of which nothing more is known yet.
    #[must_use]
    pub fn new(trace: TraceId, id: SpanId, kind: Kind, name: String, began_at: DateTime<Utc>) -> Self {
        let (parent, link, error) = (None, None, None);
        Self { trace, id, parent, link, name, kind, began_at, ended_at: began_at, attributes: Vec::new(), error }
    }

    /// The same, over at that time, or when it began if the clock was set back since.
    #[must_use]
    pub fn ended(mut self, at: DateTime<Utc>) -> Self {
        self.ended_at = at.max(self.began_at);
        self
    }

    /// The same as a part of another.
    #[must_use]
    pub const fn within(mut self, parent: SpanId) -> Self {
        self.parent = Some(parent);
        self
    }

    /// The same, with something more said of it.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.attributes.push((name, value.into()));
        self
    }

    /// The same as a failure of a kind. `error.type` says it, too.
    #[must_use]
    pub fn failed(mut self, kind: impl Into<Cow<'static, str>>) -> Self {
        let kind = kind.into();
        self.attributes.push(("error.type", Value::Text(kind.clone())));
        self.error = Some(kind);
        self
    }
}
