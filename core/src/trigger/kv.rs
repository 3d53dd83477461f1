//! Triggers on writes of key-value entries.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use utoipa::ToSchema;

use super::{Invalid, Kind, MAX_COPIED_BYTES, Owes, Pattern};
use crate::{event::Event, id::TriggerId, name};

/// What was done to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = KvOp)]
pub enum Op {
    /// It got a value.
    Set,
    /// A number was added to it.
    Increment,
    /// It went. One whose time is up goes without a word.
    Delete,
}

impl Op {
    const ALL: [Self; 3] = [Self::Set, Self::Increment, Self::Delete];
}

/// When an entry of some collections is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = KvTrigger)]
pub struct Kv {
    /// A collection, `prefix*` or `*`.
    #[schema(value_type = String)]
    pub collection: Pattern,
    /// Only when this was done; empty is anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ops: Vec<Op>,
}

#[derive(Serialize)]
struct About<'a> {
    op: Op,
    collection: &'a str,
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a RawValue>,
    /// The value is too long to be shown here.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    value_omitted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<i64>,
}

impl Kv {
    fn has(&self, op: Op) -> bool {
        self.ops.is_empty() || self.ops.contains(&op)
    }
}

impl Kind for Kv {
    const FIELDS: &'static [&'static str] = &["collection", "ops"];

    fn check(&self) -> Result<(), Invalid> {
        let asked = self.collection.as_str();
        let is_pattern = self.collection.prefix().is_some_and(|prefix| prefix.is_empty() || name::is_name(prefix));
        if is_pattern || name::is_name(asked) {
            return Ok(());
        }
        Err(Invalid::new(
            "collection",
            format!("`{asked}` is no collection: give a name ({}), `prefix*` or `*`", name::RULE),
        ))
    }

    fn owes(&self, _: TriggerId, event: &Event) -> Option<Owes> {
        let about = match event {
            Event::KvSet(set) => {
                let is_shown = set.value.get().len() <= MAX_COPIED_BYTES;
                About {
                    op: Op::Set,
                    collection: &set.collection,
                    key: &set.key,
                    value: Some(&*set.value).filter(|_| is_shown),
                    value_omitted: !is_shown,
                    expires_at: set.expires_at,
                    by: None,
                }
            }
            Event::KvIncreased(increased) => {
                About { by: Some(increased.by), ..About::of(Op::Increment, &increased.collection, &increased.key) }
            }
            Event::KvDeleted(deleted) => About::of(Op::Delete, &deleted.collection, &deleted.key),
            _ => return None,
        };
        (self.has(about.op) && self.collection.matches(about.collection)).then(|| Owes::now(&about))
    }

    fn selects(&self) -> String {
        self.collection.to_string()
    }

    fn sample(&self, _: DateTime<Utc>) -> Value {
        let op = self.ops.first().copied().unwrap_or(Op::Set);
        let mut about = json!({ "op": op, "collection": self.collection.example(), "key": "example" });
        match op {
            Op::Set => about["value"] = json!({ "example": true }),
            Op::Increment => about["by"] = json!(1),
            Op::Delete => {}
        }
        about
    }

    fn most_at_once(all: &[&Self]) -> usize {
        let with = |op| all.iter().filter(move |kv| kv.has(op)).map(|kv| &kv.collection).collect::<Vec<_>>();
        Op::ALL.into_iter().map(|op| Pattern::most_at_once(&with(op))).max().unwrap_or(0)
    }
}

impl<'a> About<'a> {
    const fn of(op: Op, collection: &'a str, key: &'a str) -> Self {
        About { op, collection, key, value: None, value_omitted: false, expires_at: None, by: None }
    }
}
