//! A trigger as people write it, in a request or a file: flat, and strict about its fields.

use std::fmt::Write as _;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error},
};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{Invalid, When};
use crate::retry::RetryPolicy;

/// What is said of a trigger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = NewTrigger)]
pub struct Written {
    /// When, beginning with `kind`.
    #[serde(flatten)]
    pub when: When,
    /// What is run: a script's name or id.
    pub script: String,
    /// How patiently.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// Whether events count. Not said: a new one is enabled, one that is there stays as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// The fields that triggers of all kinds have.
const FIELDS: [&str; 4] = ["kind", "script", "retry", "enabled"];

impl Written {
    /// Whether it can be.
    ///
    /// # Errors
    /// The first field that cannot.
    pub fn check(&self) -> Result<(), Invalid> {
        self.when.check()?;
        self.retry.map_or(Ok(()), |retry| retry.check()).map_err(|invalid| {
            let field = match invalid.field {
                "max_attempts" => "retry.max_attempts",
                "base_ms" => "retry.base_ms",
                _ => "retry.max_ms",
            };
            Invalid::new(field, invalid.to_string())
        })
    }
}

// By hand: serde refuses no unknown fields through `flatten`. Its words are kept, whoever tells them knows those.
impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = Map::deserialize(deserializer)?;
        let kind: String = take(&mut fields, "kind")?.ok_or_else(|| D::Error::missing_field("kind"))?;
        let own = When::fields(&kind).ok_or_else(|| D::Error::unknown_variant(&kind, When::KINDS))?;
        let is_known = |name: &&String| FIELDS.contains(&name.as_str()) || own.contains(&name.as_str());
        if let Some(unknown) = fields.keys().find(|name| !is_known(name)) {
            return Err(D::Error::custom(unknown_field(unknown, own)));
        }
        let script = take(&mut fields, "script")?.ok_or_else(|| D::Error::missing_field("script"))?;
        let (retry, enabled) = (take(&mut fields, "retry")?, take(&mut fields, "enabled")?);
        fields.insert("kind".to_owned(), Value::String(kind));
        let when = When::deserialize(Value::Object(fields)).map_err(D::Error::custom)?;
        Ok(Self { when, script, retry, enabled })
    }
}

/// A field by its name; null is as good as none.
fn take<T: DeserializeOwned, E: Error>(fields: &mut Map<String, Value>, name: &'static str) -> Result<Option<T>, E> {
    let value = fields.remove(name).filter(|value| !value.is_null());
    value.map(|value| T::deserialize(value).map_err(|error| E::custom(format!("{name}: {error}")))).transpose()
}

fn unknown_field(unknown: &str, own: &[&str]) -> String {
    let mut told = format!("unknown field `{unknown}`, expected one of ");
    for (n, known) in own.iter().chain(&FIELDS).enumerate() {
        let comma = if n == 0 { "" } else { ", " };
        write!(told, "{comma}`{known}`").expect("a string takes everything");
    }
    told
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(json: Value) -> String {
        serde_json::from_value::<Written>(json).expect_err("refused").to_string()
    }

    #[test]
    fn a_trigger_is_read_as_it_is_written() {
        let json = json!({
            "kind": "kv", "collection": "carts", "ops": ["set"], "script": "mail", "enabled": false,
            "retry": { "max_attempts": 8, "backoff": "linear", "base_ms": 1, "max_ms": 2 },
        });
        let written: Written = serde_json::from_value(json.clone()).expect("a trigger");
        assert_eq!(written.check(), Ok(()));
        assert_eq!(serde_json::to_value(&written).expect("JSON"), json);
    }

    #[test]
    fn what_is_not_understood_is_named_as_serde_would() {
        assert_eq!(refused(json!({})), "missing field `kind`");
        assert!(refused(json!({ "kind": "kw" })).starts_with("unknown variant `kw`, expected one of `kv`,"));
        assert_eq!(
            refused(json!({ "kind": "topic", "topc": "a", "script": "b" })),
            "unknown field `topc`, expected one of `topic`, `kind`, `script`, `retry`, `enabled`"
        );
        assert_eq!(refused(json!({ "kind": "topic", "topic": "a" })), "missing field `script`");
        assert_eq!(refused(json!({ "kind": "topic", "script": "b" })), "missing field `topic`");
        let retry = refused(json!({ "kind": "topic", "topic": "a", "script": "b", "retry": { "max_atempts": 1 } }));
        assert!(retry.starts_with("retry: unknown field `max_atempts`, expected one of `max_attempts`"), "{retry}");
    }

    #[test]
    fn patience_that_cannot_be_is_named_with_its_field() {
        let json = json!({ "kind": "topic", "topic": "a", "script": "b", "retry": { "max_attempts": 0 } });
        let written: Written = serde_json::from_value(json).expect("a trigger");
        assert_eq!(written.check().map_err(|invalid| invalid.field), Err("retry.max_attempts"));
    }
}
