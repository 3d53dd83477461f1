//! Reading parts of events that are read strictly where people write them.
//!
//! A field that only a newer version knows is passed over: a cluster is upgraded node by node, and an old node must be able
//! to follow what a new one writes.

use serde::{Deserialize, Deserializer, de, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::route::{Cors, RateLimit};
use crate::{limits::Limits, retry::RetryPolicy};

pub(super) fn limits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Limits, D::Error> {
    known(deserializer, Limits::NAMES)?.ok_or_else(|| de::Error::custom("a version has limits"))
}

pub(super) fn cors<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cors>, D::Error> {
    known(deserializer, &["origins", "headers", "credentials", "max_age_s"])
}

pub(super) fn rate_limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RateLimit>, D::Error> {
    known(deserializer, &["per_second", "burst"])
}

pub(super) fn maybe_retry<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RetryPolicy>, D::Error> {
    known(deserializer, &["max_attempts", "backoff", "base_ms", "max_ms"])
}

pub(super) fn retry<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RetryPolicy, D::Error> {
    maybe_retry(deserializer)?.ok_or_else(|| de::Error::custom("an item has a policy"))
}

fn known<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    deserializer: D,
    names: &[&str],
) -> Result<Option<T>, D::Error> {
    let Some(mut fields) = Option::<Map<String, Value>>::deserialize(deserializer)? else { return Ok(None) };
    fields.retain(|name, _| names.contains(&name.as_str()));
    serde_json::from_value(fields.into()).map(Some).map_err(de::Error::custom)
}
